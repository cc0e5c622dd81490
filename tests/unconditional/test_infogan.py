"""InfoGAN: the networks of App. C.1, and that the information term is what the paper says, in both players' losses."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from games import Gray, tiny_infogan
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.aids import R1, noisy
from i2i.data.labelled import Alone
from i2i.game import Made, Spec
from i2i.host import seeded
from i2i.latents import draw, fixed, split
from i2i.recipe import Training
from i2i.schedules import Clock
from i2i.testing import assert_sound
from i2i.trainer import Trainer
from i2i.unconditional.infogan import Discriminator, Generator, InfoGAN
from i2i.zoo import load_generator

SMALL: dict[str, Any] = {"size": 16, "width": 2, "hidden": 6}
INFORMATION = {"class", "numbers"}
SEES_ALL = {
    *(f"generator/{term}" for term in {"adversarial", *INFORMATION}),
    *(f"discriminator/{term}" for term in {"real", "fake", *INFORMATION}),
}


def batch(count: int = 4) -> Alone:
    return Alone(torch.stack([Gray()[position].x for position in range(count)]).float() / 127.5 - 1)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def gradients(network: nn.Module, total: Tensor) -> list[Tensor | None]:
    return list(torch.autograd.grad(total, list(network.parameters()), retain_graph=True, allow_unused=True))


def reached(network: nn.Module, total: Tensor) -> bool:
    return any(gradient is not None and gradient.any() for gradient in gradients(network, total))


def test_infogan_is_sound() -> None:
    assert_sound(tiny_infogan, Gray(), lane=2, sees_all=SEES_ALL)


def test_with_every_aid_it_is_sound() -> None:
    judge = Spec.to(noisy, network=Spec.to(Discriminator, **SMALL), std=0.1, until=100_000)
    aids = {"r1": R1(10.0, every=2), "average": None}
    assert_sound(lambda: tiny_infogan(judge, **aids), Gray(), lane=2, sees_all={*SEES_ALL, "discriminator/r1"})


def test_parameter_counts_of_the_published_networks() -> None:
    """App. C.1, but for the biases before norms."""
    dense = 74 * 1024 + 2 * 1024 + 1024 * 6272 + 2 * 6272
    drawn = 16 * 128 * 64 + 2 * 64 + 16 * 64 + 1
    trunk = 16 * 64 + 64 + 16 * 64 * 128 + 2 * 128 + 6272 * 1024 + 2 * 1024
    q = 1024 * 128 + 2 * 128 + 128 * 12 + 12
    with torch.device("meta"):
        assert count(Generator()) == dense + drawn == 6_645_121
        assert count(Discriminator()) == trunk + 1025 + q == 6_690_893


def test_the_latent_vector_is_the_papers() -> None:
    with torch.device("meta"):
        card = Generator().card()
    assert [(part.name, part.size, part.kind) for part in card.latent] == [
        ("z", 62, "uniform"), ("digit", 10, "class"), ("c1", 1, "uniform"), ("c2", 1, "uniform")
    ]  # fmt: skip
    assert (card.channels, card.size, card.value_range[1]) == ((74, 1), 28, (0, 1))


def test_pictures_are_28_pixels_in_0_to_1() -> None:
    torch.manual_seed(0)
    generator = Generator(width=2, hidden=8).eval()
    drawn = generator(100 * fixed(generator.parts, 3))
    assert drawn.shape == (3, 1, 28, 28)
    assert drawn.min() >= 0 and drawn.max() <= 1
    score, codes = Discriminator(width=2, hidden=8).eval()(drawn)
    assert (score.shape, codes.shape) == ((3, 1), (3, 12))


@pytest.mark.parametrize("size", [0, 30])
def test_a_size_that_cannot_be_halved_twice_is_refused(size: int) -> None:
    for network in (Generator, Discriminator):
        with pytest.raises(ValueError, match="no multiple of 4"):
            network(size)


def test_networks_of_other_codes_are_refused() -> None:
    with pytest.raises(ValueError, match="the same 'classes' and 'continuous'"):
        tiny_infogan(Spec.to(Discriminator, continuous=1, **SMALL))


def test_the_information_term_is_the_log_likelihood_of_the_codes_up_to_a_constant() -> None:
    game = tiny_infogan(categorical=2.0, continuous=3.0)
    latent = fixed(game.parts, 6)
    codes = split(game.parts, latent)
    read = torch.randn(6, 12)
    terms = game.information(latent, read)
    chances = read[:, :10].softmax(1)[torch.arange(6), codes["digit"].argmax(1)]
    assert terms["class"] == pytest.approx(-2 * chances.log().mean())
    numbers = torch.distributions.Normal(read[:, 10:], 1.0).log_prob(torch.cat([codes["c1"], codes["c2"]], 1))
    constant = 3 * math.log(2 * math.pi)
    assert terms["numbers"] + constant == pytest.approx(-3 * numbers.sum(1).mean())


def test_there_is_no_softmax_before_the_cross_entropy() -> None:
    """With one, no code could be read better than 1.46 nats."""
    game = tiny_infogan()
    latent = fixed(game.parts, 6)
    certain = torch.cat([50 * split(game.parts, latent)["digit"], torch.zeros(6, 2)], 1)
    floor = F.cross_entropy(torch.eye(10), torch.arange(10))
    assert floor == pytest.approx(1.4612, abs=1e-4)
    assert game.information(latent, certain)["class"] < 1e-6


def test_classes_alone_have_no_other_term() -> None:
    networks = (Spec.to(Generator, continuous=0, **SMALL), Spec.to(Discriminator, continuous=0, **SMALL))
    game = InfoGAN(*networks)
    assert set(game.generator_loss(batch(), Made())) == {"adversarial", "class"}


def test_information_is_in_both_losses_and_moves_generator_q_and_trunk() -> None:
    torch.manual_seed(0)
    game, made = tiny_infogan(), Made()
    terms = game.generator_loss(batch(), made)
    for name in INFORMATION:
        assert reached(game.g, terms[name])
    terms = game.discriminator_loss(batch(), made)
    for name in INFORMATION:
        assert reached(game.on_x.read, terms[name]) and reached(game.on_x.trunk, terms[name])
        assert not reached(game.on_x.score, terms[name])
    for name in ("real", "fake"):
        assert not reached(game.on_x.read, terms[name]) and reached(game.on_x.trunk, terms[name])


def test_q_belongs_to_the_discriminators_optimizer() -> None:
    game = tiny_infogan()
    theirs = {id(parameter) for parameter in game.discriminator.parameters()}
    assert {id(parameter) for parameter in game.on_x.read.parameters()} < theirs
    assert {id(parameter) for parameter in game.generator.parameters()}.isdisjoint(theirs)


def test_the_authors_learning_rates() -> None:
    game = tiny_infogan()
    rates = [player.optimizer(player.parameters()).param_groups[0] for player in (game.generator, game.discriminator)]
    assert [(group["lr"], group["betas"][0]) for group in rates] == [(1e-3, 0.5), (2e-4, 0.5)]


def test_codes_are_learned_below_the_floor_that_a_softmax_would_have() -> None:
    torch.manual_seed(0)
    game = tiny_infogan()
    optimizer = torch.optim.Adam([*game.generator.parameters(), *game.discriminator.parameters()], 0.02)
    for _ in range(60):
        latent = draw(game.parts, 64)
        terms = game.information(latent, game.on_x(game.g(latent)).codes)
        optimizer.zero_grad()
        sum(terms.values()).backward()  # type: ignore[union-attr]
        optimizer.step()
    assert terms["class"] < 1.2


def test_the_recogniser_file_reads_codes_as_the_game_does(tmp_path: Path) -> None:
    with seeded(1):
        game = tiny_infogan(average=None)
    settings = Training(images=8, batch=4, threads=1)
    Trainer(game, Gray(), settings, tmp_path, a="noise", b="digits", device="cpu", say=lambda sentence: None).run(
        quiet=True
    )
    recogniser: Any = load_generator(tmp_path / "generators" / "recogniser.safetensors")
    assert recogniser.card.a == "digits" and recogniser.card.b.startswith("code 0, code 1, ")
    assert (recogniser.card.kind, recogniser.card.size, len(recogniser.card.classes)) == ("classifier", 16, 10)
    shown = torch.rand(3, 1, 16, 16)
    codes = game.on_x.eval()(shown).codes
    assert torch.equal(recogniser(shown), codes[:, :10])
    assert torch.equal(recogniser.numbers(shown), codes[:, 10:])


def test_a_sheet_has_a_column_for_each_class_and_the_same_noise_in_each_row() -> None:
    game = tiny_infogan()
    seen: list[Tensor] = []

    def remember(latent: Tensor) -> Tensor:
        seen.append(latent)
        return torch.zeros(len(latent), 1, 16, 16)

    columns = game.preview(batch(), {"generator": remember})  # type: ignore[dict-item]
    assert len(columns) == 10
    for place, latent in enumerate(seen):
        parts = split(game.parts, latent)
        assert (parts["digit"].argmax(1) == place).all()
        assert all(torch.equal(parts[name], split(game.parts, seen[0])[name]) for name in ("z", "c1", "c2"))


def test_the_clock_says_when_the_slope_is_penalised() -> None:
    game = tiny_infogan(r1=R1(10.0, every=4))
    turns = [list(game.turns(Clock(steps=step)))[1][1] for step in (0, 1)]
    made = Made()
    game.generator_loss(batch(), made)
    assert ["r1" in loss(batch(), made) for loss in turns] == [True, False]
