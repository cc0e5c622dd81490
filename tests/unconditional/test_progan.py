"""ProGAN: what grows and what leaves, that nothing jumps when it does, and the published networks' sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from games import GROWING, Gray, tiny_progan
from torch import Tensor
from torch.nn import functional as F

from i2i.aids import R1
from i2i.data.labelled import Alone
from i2i.errors import UserError
from i2i.game import Made, Spec
from i2i.host import seeded
from i2i.layers import PixelNorm
from i2i.losses import LOGISTIC
from i2i.recipe import Training
from i2i.schedules import Clock
from i2i.testing import assert_sound
from i2i.trainer import Trainer
from i2i.unconditional.progan import GrowingCritic, GrowingGenerator, ProGAN, down, up, widths
from i2i.zoo import load_generator

SEES_ALL = {"generator/adversarial", "critic/real", "critic/fake", "critic/penalty", "critic/drift"}


def batch(count: int = 4) -> Alone:
    return Alone(torch.stack([Gray()[position].x for position in range(count)]).float() / 127.5 - 1)


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("images", [20, 28, 32])  # stopped in the steady 8x8, in the fade to 16x16, and at its end
def test_progan_is_sound_in_all_its_stages(images: int) -> None:
    assert_sound(tiny_progan, Gray(), images=images, lane=2, sees_all=SEES_ALL)


def test_another_rule_with_r1_in_the_place_of_the_penalty() -> None:
    """As the authors' later StyleGAN: R1 looks at the pictures of the stage, each by itself but for the deviation."""
    more = {"rule": LOGISTIC, "penalty": 0.0, "drift": 0.0, "r1": R1(weight=0.1, every=2)}
    terms = {"generator/adversarial", "critic/real", "critic/fake", "critic/r1"}
    assert_sound(lambda: tiny_progan(**more), Gray(), images=28, lane=2, sees_all=terms)
    game, x = tiny_progan(**more), batch()
    made = Made()
    game.generator_loss(x, made)
    found = game.r1(Clock(steps=0), game.critic_loss, lambda pictures, one: game.judges(game.shown(pictures)))(x, made)
    shown = game.shown(x.x).requires_grad_()  # a mean of 4x4 pixels has a sixteenth of each one's slope
    (slope,) = torch.autograd.grad(game.judges(shown).sum(), shown)
    assert torch.allclose(found["r1"], 2 * 0.1 / 2 * slope.square().sum((1, 2, 3)).mean() / 16, rtol=1e-4)
    assert "penalty" not in found


def test_the_stages_are_a_fade_and_a_steady_one_for_each_resolution() -> None:
    stages = tiny_progan().stages()
    assert [stage.name for stage in stages] == ["4x4", "8x8, fading in", "8x8", "16x16, fading in", "16x16"]
    assert [stage.images for stage in stages] == [4, 4, 4, 4, None]
    assert [stage.fresh for stage in stages] == [True, True, False, True, False]  # Adam anew with each resolution


def test_the_published_networks() -> None:
    with torch.device("meta"):
        generator, critic = GrowingGenerator(), GrowingCritic()
    # Table 2: features at 4, 8, ..., 1024 pixels
    assert generator.widths == dict(zip([2**k for k in range(2, 11)], [512] * 4 + [256, 128, 64, 32, 16], strict=True))
    pairs = [(512, 512)] * 3 + [(512, 256), (256, 128), (128, 64), (64, 32), (32, 16)]
    grown = sum(9 * few * (many + few) + 2 * few for many, few in pairs)
    shrunk = sum(9 * few * (few + many) + few + many for many, few in pairs)
    assert count(generator) == 512 * 512 * 16 + 512 + 512 * 512 * 9 + 512 + grown + 16 * 3 + 3 == 23_071_507
    last = 9 * 513 * 512 + 512 + 512 * 512 * 16 + 512 + 512 + 1
    assert count(critic) == 3 * 16 + 16 + shrunk + last == 23_077_137  # Table 2: 23.1 million each
    assert generator.card().size == 1024


@pytest.mark.parametrize("resolution", [4, 8, 16])
@pytest.mark.parametrize("fade", [None, 0.5])
def test_a_network_of_any_stage_is_built_at_once_as_it_grows(resolution: int, fade: float | None) -> None:
    if resolution == 4 and fade is not None:
        with pytest.raises(ValueError, match="4 pixels have no fade"):
            GrowingGenerator(**GROWING, resolution=4, fade=fade)
        return
    at_once = GrowingGenerator(**GROWING, latent=6, resolution=resolution, fade=fade)
    grown = GrowingGenerator(**GROWING, latent=6, resolution=4)
    for size in (8, 16)[: (4, 8, 16).index(resolution)]:
        grown.grow()
        if size < resolution or fade is None:
            grown.settle()
    assert list(at_once.state_dict()) == list(grown.state_dict())
    assert at_once(torch.zeros(3, 6)).shape == (3, 1, resolution, resolution)
    seen = torch.zeros(3, 1, resolution, resolution)
    assert GrowingCritic(**GROWING, resolution=resolution, fade=fade)(seen).shape == (3, 1)


@pytest.mark.parametrize("steps", [0, 1])  # from 4 to 8 pixels, from 8 to 16
def test_at_fade_0_nothing_has_changed_and_at_1_the_old_layers_count_for_nothing(steps: int) -> None:
    torch.manual_seed(0)
    game = tiny_progan()
    for _ in range(steps):
        game.grow()
        game.settle()
    latent, x = torch.randn(4, 6), game.shown(batch().x)
    larger = F.avg_pool2d(batch().x, 16 // game.draws.resolution // 2)
    assert torch.equal(down(larger), x) or torch.allclose(down(larger), x, atol=1e-6)
    drawn, scores = game.draws(latent), game.judges(down(larger))
    game.grow()
    assert torch.equal(game.draws(latent), up(drawn))
    assert torch.equal(game.judges(larger), scores)
    assert torch.equal(game.shown(batch().x), up(down(larger)))
    game.draws.fade = game.judges.fade = 1.0
    last = game.draws(latent), game.judges(larger), game.shown(batch().x)
    game.settle()
    assert all(torch.equal(one, other) for one, other in zip(
        last, (game.draws(latent), game.judges(larger), game.shown(batch().x)), strict=True))  # fmt: skip
    assert torch.equal(last[2], larger)


def test_the_share_of_the_new_layers_rises_with_the_images_of_the_stage() -> None:
    game = tiny_progan(fade=8)
    game.grow()
    for images, share in ((0, 0.0), (2, 0.25), (7, 0.875)):
        next(game.fading(Clock(images=100, stage_images=images)))
        assert game.draws.fade == game.judges.fade == share


def test_latents_are_normalised_and_so_are_all_features_of_the_generator_alone() -> None:
    torch.manual_seed(0)
    generator = GrowingGenerator(**GROWING, latent=6)
    latent = torch.randn(2, 6)
    assert torch.allclose(generator(latent), generator(5 * latent), atol=1e-5)
    networks = (generator, GrowingCritic(**GROWING))
    assert [sum(type(one) is PixelNorm for one in net.modules()) for net in networks] == [1 + 2 * 3, 0]


def test_the_critics_loss_is_the_papers() -> None:
    torch.manual_seed(0)
    game, made, x = tiny_progan(slope=750.0), Made(), batch()
    fooled = game.generator_loss(x, made)["adversarial"]
    assert torch.allclose(fooled, -game.judges(made.fake).mean())
    terms = game.critic_loss(x, made)
    real, fake = game.judges(F.avg_pool2d(x.x, 4)), game.judges(made.fake)
    assert torch.allclose(terms["real"] + terms["fake"], fake.mean() - real.mean())
    assert torch.allclose(terms["drift"], 0.001 * (real**2).mean())
    torch.manual_seed(1)
    penalty = game.critic_loss(x, made)["penalty"]
    torch.manual_seed(1)
    share = torch.rand(4, 1, 1, 1)
    between = (share * F.avg_pool2d(x.x, 4) + (1 - share) * made.fake).requires_grad_()
    (slope,) = torch.autograd.grad(game.judges(between).sum(), between)
    assert torch.allclose(penalty, 10 * ((slope.flatten(1).norm(dim=1) - 750) ** 2).mean() / 750**2, rtol=1e-5)


def test_pictures_of_another_size_are_refused_in_a_sentence() -> None:
    with pytest.raises(UserError, match="grows to 16x16 pixels, the data has 28x28"):
        tiny_progan().shown(torch.zeros(2, 1, 28, 28))
    with pytest.raises(ValueError, match="never makes 28"):
        widths(28, 2, 4)
    with pytest.raises(ValueError, match="12 pixels are no stage on the way from 4 to 16"):
        GrowingCritic(**GROWING, resolution=12)
    with pytest.raises(ValueError, match="of one size"):
        ProGAN(Spec.to(GrowingGenerator, size=8), Spec.to(GrowingCritic, size=16))


def play(out: Path, *stops: int) -> Trainer:
    for stop in stops:
        with seeded(1):
            game = tiny_progan()
        settings = Training(images=24, batch=2, threads=1, save_every=100)
        trainer = Trainer(game, Gray(), settings, out, device="cpu", say=lambda sentence: None)
        trainer.run(stop_at=stop, quiet=True)
    return trainer


def test_averages_survive_growth_and_optimizers_forget_what_left(tmp_path: Path) -> None:
    trainer = play(tmp_path, 8)
    fading = {name: tensor.clone() for name, tensor in trainer.seats["generator"].average.state_dict().items()}
    trainer.enter(2)
    seat = trainer.seats["generator"]
    kept = seat.average.state_dict()
    assert fading.keys() - kept.keys() == {"draws.to_rgb.4.weight", "draws.to_rgb.4.bias"}
    assert all(torch.equal(tensor, fading[name]) for name, tensor in kept.items())
    assert {id(p) for p in seat.parameters} == {id(p) for group in seat.optimizer.param_groups for p in group["params"]}
    assert len(seat.optimizer.state) == len(seat.parameters)  # carried over
    trainer.enter(3)
    grown = trainer.seats["generator"]
    now = grown.average.state_dict()
    assert {name.split(".")[2] for name in now.keys() - kept.keys()} == {"16"}
    assert all(torch.equal(now[name], tensor) for name, tensor in kept.items())
    assert not grown.optimizer.state  # Adam anew


def test_a_file_saved_while_fading_draws_what_the_average_draws(tmp_path: Path) -> None:
    trainer = play(tmp_path, 14)
    trainer.run(stop_at=16, quiet=True)  # the fade to 16x16 began at 12; its last step was at 14, half way
    file = load_generator(tmp_path / "generators" / "generator.safetensors")
    assert (file.card.size, file.fade) == (16, 0.5)
    average: Any = trainer.networks()["generator"]
    latent = torch.randn(2, 6)
    average.fade = 0.5
    with torch.no_grad():
        assert torch.allclose(file(latent), average(latent), atol=1e-6)  # another memory layout
    whole = play(tmp_path, 24)
    last = load_generator(tmp_path / "generators" / "generator.safetensors")
    assert (last.card.size, last.fade) == (16, None)
    assert isinstance(last(latent), Tensor)
    assert [c.shape for c in whole.game.preview(batch(), whole.networks())] == [(8, 1, 16, 16)] * 8
