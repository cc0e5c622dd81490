"""StackGAN: the published networks' sizes, the losses, what is frozen under stage II, and one file that does it all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from games import TEXT, Said, tiny_stackgan
from torch.nn import functional as F

from i2i.aids import R1
from i2i.checkpoint import save_generator
from i2i.data.captioned import Captions, codes
from i2i.errors import UserError
from i2i.game import Made, Spec
from i2i.host import seeded
from i2i.latents import fixed, latent_size
from i2i.recipe import Training
from i2i.schedules import Clock
from i2i.testing import assert_sound
from i2i.trainer import Trainer
from i2i.unconditional.stackgan import (
    Normal,
    StackedGenerator,
    StackGAN,
    StageOne,
    StageTwo,
    TextDiscriminator,
)
from i2i.zoo import load_generator

TERMS = {
    "generator": ["adversarial"],
    "discriminator": ["real", "fake", "mismatched"],
}
ALONE = {"discriminator_two/real_alone", "discriminator_two/fake_alone"}
SEES_ALL = ALONE | {f"{player}_{n}/{term}" for player, terms in TERMS.items() for term in terms for n in ("one", "two")}


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def batch(size: int = 4) -> Captions:
    made = Captions(*(torch.stack(field) for field in zip(*(Said()[n] for n in range(size)), strict=True)))
    return made._replace(x=made.x / 127.5 - 1)


def silent(sentence: str) -> None:
    pass


@pytest.mark.parametrize("images", [16, 24, 28])  # stopped within stage I, at the change of stages, within stage II
def test_stackgan_is_sound(images: int) -> None:
    assert_sound(tiny_stackgan, Said(), images=images, lane=2, sees_all=SEES_ALL)  # batch norm sees a lane


def test_without_batch_norm_no_text_and_no_mismatched_pair_couples_pictures() -> None:
    """The mismatched text comes with the sample: what is left are the norms."""
    from i2i.lanes import coupled

    game = tiny_stackgan()
    for network in (game.one, game.on_one, game.two, game.on_two):
        for module in network.modules():
            if hasattr(module, "running_mean"):
                module.stored = True
                module.eval()
    assert coupled(game, batch(2)) == set()


def test_the_published_networks() -> None:
    with torch.device("meta"):
        one, two = StageOne(), StageTwo()
        judge_one, judge_two = TextDiscriminator(), TextDiscriminator(256, alone=True)
    augmentation = 1024 * 256 + 256
    ups = sum(9 * given * given // 2 + given for given in (1024, 512, 256, 128))
    assert count(one) == augmentation + 228 * 1024 * 16 + 2 * 1024 + ups + 64 * 3 * 9
    read = 3 * 128 * 9 + 128 * 256 * 16 + 512 + 256 * 512 * 16 + 1024
    join, blocks = (512 + 128) * 512 * 9 + 1024, 8 * (512 * 512 * 9 + 1024)
    ups = sum(9 * given * given // 2 + given for given in (512, 256, 128, 64))
    assert count(two) == augmentation + read + join + blocks + ups + 32 * 3 * 9
    downs = 3 * 64 * 16 + sum(given * 2 * given * 16 + 4 * given for given in (64, 128, 256))
    joined = (512 + 128) * 512 * 9 + 1024 + 512 * 16 + 1
    assert count(judge_one) == downs + 1024 * 128 + 128 + joined
    downs += sum(given * 2 * given * 16 + 4 * given for given in (512, 1024))
    halved = sum(given * given // 2 * 9 + given for given in (2048, 1024))
    assert count(judge_two) == downs + halved + 1024 * 128 + 128 + joined + 512 * 16 + 1


def test_shapes_and_ranges_of_both_stages() -> None:
    torch.manual_seed(0)
    game = tiny_stackgan()
    generator = game.generator.eval()
    latent = fixed(generator.parts, 3, given={"text": torch.randn(3, 6)})
    assert [(part.name, part.size, part.kind) for part in generator.parts] == [
        ("text", 6, "text"), ("augmentation", 3, "normal"), ("z", 2, "normal"), ("augmentation_two", 3, "normal"),
    ]  # fmt: skip
    assert latent.shape == (3, latent_size(generator.parts))
    small, large = generator.sketch(latent), generator(latent)
    assert (small.shape, large.shape) == ((3, 3, 8, 8), (3, 3, 16, 16))
    assert small.abs().max() <= 1 and large.abs().max() <= 1


def test_the_divergence_is_that_of_normal_distributions() -> None:
    torch.manual_seed(0)
    condition = Normal(torch.randn(4, 5), torch.randn(4, 5))
    apart = torch.distributions.kl_divergence(
        torch.distributions.Normal(condition.mean, (condition.logarithm / 2).exp()),
        torch.distributions.Normal(0.0, 1.0),
    )
    assert torch.allclose(condition.divergence(), apart.mean())
    assert torch.equal(condition.at(torch.zeros(4, 5)), condition.mean)
    assert torch.allclose(condition.at(torch.ones(4, 5)) - condition.mean, (condition.logarithm / 2).exp(), atol=1e-6)


def test_the_losses_of_stage_one() -> None:
    torch.manual_seed(0)
    game, made, b = tiny_stackgan(), Made(), batch()
    terms = game.generator_one_loss(b, made)
    assert torch.allclose(terms["adversarial"], F.softplus(-game.on_one(made.fake, b.text)).mean())
    assert torch.allclose(terms["divergence"], 2 * game.one.augmentation(b.text).divergence())
    terms, x = game.discriminator_one_loss(b, made), F.avg_pool2d(b.x, 2)
    assert torch.allclose(terms["real"], F.softplus(-game.on_one(x, b.text)).mean())
    assert torch.allclose(terms["fake"], F.softplus(game.on_one(made.fake, b.text)).mean() / 2)
    assert torch.allclose(terms["mismatched"], F.softplus(game.on_one(x, b.other)).mean() / 2)  # weight 1/2


def test_the_losses_of_stage_two_have_scores_of_pictures_alone() -> None:
    torch.manual_seed(0)
    game, made, b = tiny_stackgan(), Made(), batch()
    game.freeze()
    terms = game.generator_two_loss(b, made)
    alone = game.on_two.alone(game.on_two.features(made.fake))[0]
    both = F.softplus(-game.on_two(made.fake, b.text)).mean() + F.softplus(-alone).mean()
    assert torch.allclose(terms["adversarial"], both)
    terms = game.discriminator_two_loss(b, made)
    assert list(terms) == ["real", "real_alone", "fake", "mismatched", "fake_alone"]
    assert torch.allclose(terms["real"], F.softplus(-game.on_two(b.x, b.text)).mean() / 2)
    assert torch.allclose(terms["mismatched"], F.softplus(game.on_two(b.x, b.other)).mean() / 3)


def test_no_gradient_reaches_stage_one_from_stage_two() -> None:
    game = tiny_stackgan()
    game.freeze()
    before = {name: tensor.clone() for name, tensor in game.one.state_dict().items()}
    sum(game.generator_two_loss(batch(), Made()).values()).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is None for parameter in game.one.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in game.one.state_dict().items())  # no statistics


def play(out: Path, stop: int, **more: Any) -> Trainer:
    with seeded(1):
        game = tiny_stackgan(**more)
    settings = Training(images=24, batch=4, threads=1, grid_every=4)
    trainer = Trainer(game, Said(), settings, out, device="cpu", say=silent)
    trainer.run(stop_at=stop, quiet=True)
    return trainer


def test_stage_one_stays_as_it_was_averaged_while_stage_two_is_trained(tmp_path: Path) -> None:
    trainer = play(tmp_path, 12)
    average = {k: v.clone() for k, v in trainer.seats["generator_one"].average["one"].state_dict().items()}  # type: ignore[index]
    now: Any = trainer.game.one.state_dict()
    assert any(not torch.equal(now[name], tensor) for name, tensor in average.items())
    trainer.run(stop_at=24, quiet=True)
    game: Any = trainer.game
    assert not game.one.training and game.two.training and game.on_two.training  # after a sheet, too
    assert all(torch.equal(game.one.state_dict()[name], tensor) for name, tensor in average.items())
    file: Any = load_generator(tmp_path / "generators" / "generator.safetensors")
    assert all(torch.equal(file.one.state_dict()[name], tensor) for name, tensor in average.items())
    averaged: Any = trainer.seats["generator_two"].average
    kept = averaged["two"].state_dict()
    assert all(torch.equal(file.two.state_dict()[name], tensor) for name, tensor in kept.items())


def test_one_file_reads_a_sentence_and_draws_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder, path = TEXT.build(), tmp_path / "encoder.safetensors"
    save_generator(path, encoder, TEXT, encoder.card())

    class Sentences(Said):
        def texts(self, position: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
            return codes(f"a picture, number {position}", 66), codes("another one", 66)

    with seeded(1):
        game = tiny_stackgan(encoder=str(path))
    settings = Training(images=16, batch=4, threads=1)
    Trainer(game, Sentences(), settings, tmp_path / "run", device="cpu", say=silent).run(quiet=True)
    file: Any = load_generator(tmp_path / "run" / "generators" / "generator.safetensors")
    path.unlink()
    assert isinstance(file, StackedGenerator) and file.longest == 66 and file.card.kind == "latent"
    text = file.encode(["a picture", "another"])
    assert torch.equal(text, encoder.encode(["a picture", "another"]))  # it is not trained on
    latent = fixed(file.card.latent, 2, given={"text": text})
    drawn, again = file(latent), file(latent[:1])
    assert drawn.shape == (2, 3, 16, 16) and torch.allclose(drawn[:1], again, atol=1e-6)


def test_an_encoder_must_be_one(tmp_path: Path) -> None:
    with torch.no_grad():
        network = tiny_stackgan().generator
    path = tmp_path / "other.safetensors"
    save_generator(path, network, tiny_stackgan().spec, network.card())
    with pytest.raises(UserError, match="holds no text encoder"):
        tiny_stackgan(encoder=str(path))
    with pytest.raises(UserError, match="reads embeddings of texts made elsewhere"):
        network.encode(["a red seven"])


def test_data_that_does_not_fit_is_refused_in_a_sentence() -> None:
    game, b = tiny_stackgan(), batch()
    with pytest.raises(UserError, match="have 5 numbers, but the networks read 6"):
        game.generator_one_loss(b._replace(text=torch.zeros(4, 5)), Made())
    with pytest.raises(UserError, match="name a text encoder as game.encoder"):
        game.generator_one_loss(b._replace(text=torch.ones(4, 60).long()), Made())
    game.generator_one_loss(b, made := Made())
    with pytest.raises(UserError, match="draws 3x16x16, but the data's pictures are 3x32x32; set data.size=16"):
        game.discriminator_one_loss(b._replace(x=torch.zeros(4, 3, 32, 32)), made)


def test_networks_that_do_not_fit_are_refused() -> None:
    one = Spec.to(StageOne, size=8, text=7, condition=3, noise=2, width=8)
    with pytest.raises(ValueError, match="embeddings of 6 and 7 numbers"):
        tiny_stackgan(one=one)
    with pytest.raises(ValueError, match="stage I draws 16 and stage II 16 pixels"):
        tiny_stackgan(one=replace(one, kwargs={**one.kwargs, "size": 16, "text": 6}))


def test_r1_joins_the_discriminators_terms() -> None:
    game = tiny_stackgan(r1=R1(weight=1.0, every=1))
    (_, generate), (_, judge) = game.turns_one(Clock())
    made, b = Made(), batch()
    generate(b, made)
    assert "r1" in judge(b._replace(x=F.avg_pool2d(b.x, 2).repeat_interleave(2, -1).repeat_interleave(2, -2)), made)


def test_a_sheet_has_a_column_for_each_text() -> None:
    game = tiny_stackgan()
    networks = {"generator": game.generator.eval()}
    assert [column.shape for column in game.preview(batch(), networks)] == [(4, 3, 16, 16)] * 8
    game.freeze()
    assert [column.shape for column in game.preview(batch(), networks)] == [(8, 3, 16, 16)] * 8


def test_stackgan_is_final_and_says_what_it_exports() -> None:
    export = tiny_stackgan().exports()["generator"]
    assert isinstance(export.network, StackedGenerator)
    assert export.card.size == 16 and export.card.channels == (6 + 3 + 2 + 3, 3) and export.card.mode == "stored"
    assert StackGAN.Batch is Captions
