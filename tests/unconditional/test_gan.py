"""The game of 2014: the published network, its rules, its schedules, and aids in it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from games import AVERAGE, Gray
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.aids import R1, noisy, smoothed
from i2i.data.labelled import Alone
from i2i.game import Made, Player, Spec
from i2i.losses import HINGE, LOGISTIC, PEARSON, SATURATING, Adversarial
from i2i.recipe import Training
from i2i.schedules import Clock, Exponential, Ramp
from i2i.testing import assert_sound
from i2i.trainer import Trainer
from i2i.unconditional.gan import GAN, Maxout, MLPDiscriminator, MLPGenerator

GENERATOR = Spec.to(MLPGenerator, size=8, latent=6, widths=[12, 12])
DISCRIMINATOR = Spec.to(MLPDiscriminator, size=8, units=[6, 5], pieces=3, reach=0.05)
SMALL = Gray(size=8)


def tiny(**more: Any) -> GAN:
    return GAN(GENERATOR, more.pop("discriminator", DISCRIMINATOR), **{"average": AVERAGE, **more})


def batch(count: int = 4) -> Alone:
    return Alone(torch.stack([SMALL[position].x for position in range(count)]) / 127.5 - 1)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("rule", [LOGISTIC, SATURATING, HINGE, PEARSON])
def test_is_sound_by_any_rule(rule: Adversarial) -> None:
    assert_sound(lambda: tiny(rule=rule), SMALL, lane=2)


def test_is_sound_with_every_aid() -> None:
    aids = {
        "rule": smoothed(LOGISTIC),
        "r1": R1(weight=1.0, every=2),
        "discriminator_optimizer": Spec("torch.optim:Adam", {"lr": 1e-3}),
        "momentum": Ramp(0.5, 0.7, end=12),
    }
    discriminator = Spec.to(noisy, network=DISCRIMINATOR, std=0.1, until=8)
    assert_sound(lambda: tiny(discriminator=discriminator, **aids), SMALL, lane=2)


def test_published_networks_have_their_size() -> None:
    with torch.device("meta"):
        generator, discriminator = MLPGenerator(), MLPDiscriminator()
    assert count(generator) == (100 + 1) * 1200 + (1200 + 1) * 1200 + (1200 + 1) * 784 == 2_503_984
    assert count(discriminator) == (784 + 1) * 240 * 5 + (240 + 1) * 240 * 5 + (240 + 1) == 1_231_441
    kept = [layer.p for layer in discriminator.modules() if isinstance(layer, nn.Dropout)]
    assert kept == [0.2, 0.5, 0.5]
    assert [(part.size, part.kind) for part in generator.parts] == [(100, "normal")]


def test_first_weights_are_the_authors() -> None:
    torch.manual_seed(0)
    for network, reach in ((MLPGenerator(), 0.05), (MLPDiscriminator(), 0.005)):
        for layer in network.modules():
            if isinstance(layer, nn.Linear):
                assert layer.weight.abs().max() <= reach
                assert layer.weight.std().item() == pytest.approx(reach / math.sqrt(3), rel=0.1)
                assert not layer.bias.any()


def test_a_maxout_unit_is_the_largest_of_its_pieces() -> None:
    torch.manual_seed(0)
    layer, x = Maxout(3, 2, pieces=4), torch.randn(5, 3)
    weight, bias = layer.linear.weight.reshape(2, 4, 3), layer.linear.bias.reshape(2, 4)
    expected = torch.stack([(x @ weight[unit].T + bias[unit]).max(1).values for unit in range(2)], 1)
    assert torch.allclose(layer(x), expected)
    assert count(layer) == (3 + 1) * 2 * 4


def test_pictures_are_in_the_range_of_the_card() -> None:
    torch.manual_seed(0)
    network = MLPGenerator(size=8, latent=6, widths=[12, 12], reach=2.0)
    made = network(torch.randn(4, 6))
    assert made.shape == (4, 1, 8, 8)
    assert -1 <= made.min() < -0.9 < 0.9 < made.max() <= 1
    card = network.card()
    assert (card.kind, card.size, card.channels, card.value_range[1]) == ("latent", 8, (6, 1), (-1, 1))


def test_the_discriminator_sees_what_the_paper_shows_it() -> None:
    """Pixels from 0 to 1: a black picture has no weight."""
    network = DISCRIMINATOR.build().eval()
    black = network(torch.full((1, 1, 8, 8), -1.0))
    nn.init.normal_(network.layers[1].linear.weight)
    assert torch.equal(network(torch.full((1, 1, 8, 8), -1.0)), black)


def test_losses_are_those_of_equation_1() -> None:
    torch.manual_seed(0)
    game, made = tiny(), Made()
    game.judges.eval()
    adversarial = game.generator_loss(batch(), made)["adversarial"]
    terms = game.discriminator_loss(batch(), made)
    on_true, on_fake = torch.sigmoid(game.judges(batch().x)), torch.sigmoid(game.judges(made.fake))
    assert torch.allclose(terms["real"], -on_true.log().mean())
    assert torch.allclose(terms["fake"], -(1 - on_fake).log().mean())
    assert torch.allclose(adversarial, -on_fake.log().mean())
    assert not made.fake.requires_grad
    assert set(made.notes) == {"apart", "spread"}


def gradient(rule: Adversarial, score: float) -> Tensor:
    at = torch.tensor([[score]], requires_grad=True)
    (found,) = torch.autograd.grad(rule.fool(at), at)
    return found


def test_the_saturating_rule_has_no_gradient_where_the_discriminator_is_sure() -> None:
    """Sec. 3. With D = sigmoid(s), the slopes are -D and -(1 - D): they pull the same way, one where it is needed."""
    for score in (-12.0, -3.0, 0.0, 3.0):
        judged = torch.sigmoid(torch.tensor(score))
        assert gradient(SATURATING, score).item() == pytest.approx(-judged.item(), rel=1e-5)
        assert gradient(LOGISTIC, score).item() == pytest.approx(judged.item() - 1, rel=1e-5)
    assert gradient(SATURATING, -12.0) / gradient(LOGISTIC, -12.0) < 1e-3


def test_the_saturating_game_stands_still_once_the_discriminator_has_won() -> None:
    """The discriminator alone learns to tell black from white; then each rule's gradient at the generator's weights."""
    torch.manual_seed(0)
    game = GAN(GENERATOR, Spec.to(MLPDiscriminator, size=8, units=[6], dropout=[0.0, 0.0], reach=0.05))
    optimizer = torch.optim.Adam(game.judges.parameters(), lr=0.1)
    white = Alone(torch.ones(16, 1, 8, 8))
    for _ in range(200):
        made = Made()
        made.fake = game.draws(torch.randn(16, 6)).detach()
        optimizer.zero_grad()
        torch.stack(list(game.discriminator_loss(white, made).values())).sum().backward()
        optimizer.step()
    sizes = []
    for rule in (SATURATING, LOGISTIC):
        game.rule = rule
        torch.manual_seed(1)
        found = torch.autograd.grad(game.generator_loss(white, Made())["adversarial"], list(game.draws.parameters()))
        sizes.append(torch.cat([part.flatten() for part in found]).norm())
    assert 0 < sizes[0] < 1e-3 * sizes[1]


def test_one_sided_smoothing_is_cross_entropy_with_another_target() -> None:
    game, made = tiny(rule=smoothed(LOGISTIC, real=0.9)), Made()
    game.judges.eval()
    made.fake = batch().x.flip(0)
    terms = game.discriminator_loss(batch(), made)
    scores = game.judges(batch().x)
    assert torch.allclose(terms["real"], F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, 0.9)))
    fakes = game.judges(made.fake)  # one-sided: 0 stays 0
    assert torch.allclose(terms["fake"], F.binary_cross_entropy_with_logits(fakes, torch.zeros_like(fakes)))


def test_turns() -> None:
    game = tiny()
    assert [player.name for player, _ in game.turns(Clock())] == ["generator", "discriminator"]
    assert [type(player) for player, _ in game.turns(Clock())] == [Player, Player]


def test_the_learning_rate_falls_as_in_the_authors_code() -> None:
    rate = Exponential(1.000004, 100, floor=1e-5)
    for step in (0, 1, 1000, 250_000):
        assert rate(Clock(stage_images=100 * step)) == pytest.approx(1 / 1.000004**step)
    assert rate(Clock(stage_images=100 * 10_000_000)) == 1e-5  # of 0.1: the code's 1e-6


def test_the_momentum_rises_and_reaches_the_optimizer(tmp_path: Path) -> None:
    ramp = Ramp(0.5, 0.7, start=4, end=12)
    assert [round(ramp(Clock(images=images)), 3) for images in (0, 4, 6, 8, 12, 99)] == [0.5, 0.5, 0.55, 0.6, 0.7, 0.7]
    with pytest.raises(ValueError, match="0 <= start < end"):
        Ramp(0.5, 0.7, start=4, end=4)
    settings = Training(images=12, batch=2, threads=1)
    trainer = Trainer(tiny(momentum=ramp), SMALL, settings, tmp_path, device="cpu", say=lambda sentence: None)
    trainer.run(quiet=True)
    for seat in trainer.seats.values():
        assert seat.optimizer.param_groups[0]["momentum"] == pytest.approx(0.5 + 0.2 * 6 / 8)  # of the step from 10 on


def test_the_sheet_shows_64_pictures() -> None:
    game = tiny()
    columns = game.preview(batch(), {"generator": game.draws})
    assert [tuple(column.shape) for column in columns] == [(8, 1, 8, 8)] * 8
    assert all(
        torch.equal(x, y) for x, y in zip(columns, game.preview(batch(), {"generator": game.draws}), strict=True)
    )
