"""WGAN-GP: the penalty, whose turn it is, a critic that sees each picture alone, and the published networks' sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from games import Gray, tiny_wgan_gp
from torch import Tensor, nn

from i2i.data.labelled import Alone
from i2i.game import Clock, Made, Spec
from i2i.layers import BatchNorm
from i2i.losses import gradient_penalty, slopes
from i2i.recipe import Training, build, load
from i2i.testing import assert_sound
from i2i.trainer import Trainer
from i2i.unconditional.wgan_gp import ADAM, WGANGP, LargeResCritic, LayerNorm, ResCritic, ResGenerator

SEES_ALL = {"critic/fake", "critic/penalty", "generator/adversarial"}  # by batch norm: the generator's
RECIPES = Path(__file__).parents[2] / "recipes"


def batch(count: int = 4, size: int = 16) -> Alone:
    return Alone(torch.stack([Gray(size=size)[position].x for position in range(count)]).float() / 127.5 - 1)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("images", [16, 24])  # stopped before and after a move of the generator
def test_wgan_gp_is_sound(images: int) -> None:
    assert_sound(tiny_wgan_gp, Gray(), images=images, lane=2, sees_all=SEES_ALL)


def test_the_resnets_for_cifar_are_sound() -> None:
    def make() -> WGANGP:
        generator = Spec.to(ResGenerator, channels=1, latent=4, widths=[4, 4])
        critic = Spec.to(ResCritic, channels=1, size=8, width=4)
        return WGANGP(generator, critic, critic_steps=2, multiple=2, grain=0.01)

    assert_sound(make, Gray(size=8), lane=2, sees_all=SEES_ALL)


def test_the_resnets_for_64x64_are_sound() -> None:
    def make() -> WGANGP:
        generator = Spec.to(ResGenerator, channels=1, latent=4, widths=[4, 2])
        return WGANGP(generator, Spec.to(LargeResCritic, channels=1, widths=[2, 4]), critic_steps=2)

    assert_sound(make, Gray(size=8), lane=2, sees_all=SEES_ALL)


def steep(slope: float) -> Any:
    """A critic of that slope everywhere: a linear function of the picture, by a vector of that length."""

    def critic(x: Tensor) -> Tensor:
        direction = torch.linspace(-1, 2, x[0].numel(), dtype=x.dtype).reshape(x[0].shape)
        return (x * direction / direction.norm() * slope).flatten(1).sum(1, keepdim=True)

    return critic


@pytest.mark.parametrize(("slope", "penalty"), [(1.0, 0.0), (0.0, 1.0), (3.0, 4.0)])
@pytest.mark.parametrize("pictures", [1, 8])
def test_penalty_is_that_of_each_pictures_whole_gradient(slope: float, penalty: float, pictures: int) -> None:
    real, fake = torch.rand(2, pictures, 3, 5, 7, dtype=torch.float64)
    found = gradient_penalty(steep(slope), real, fake)
    assert found == pytest.approx(penalty, abs=1e-12)


def test_two_known_mistakes_would_punish_a_critic_of_slope_one() -> None:
    """A length for each pixel, over the channels only, and one of the whole batch: neither is 1 where the slope is."""
    torch.manual_seed(0)
    x = torch.rand(8, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    direction = torch.nn.functional.normalize(torch.randn(3 * 16 * 16, dtype=torch.float64), dim=0)
    (gradient,) = torch.autograd.grad((x.flatten(1) @ direction).sum(), x)
    assert (gradient.norm(dim=1) - 1).square().mean() == pytest.approx(0.889, abs=0.002)
    assert (gradient.norm() - 1).square() == pytest.approx((8**0.5 - 1) ** 2)  # 3.343
    assert slopes(lambda y: y.flatten(1) @ direction, x).tolist() == pytest.approx([1.0] * 8)


def test_penalty_is_taken_between_true_and_drawn_pictures_one_point_for_each() -> None:
    seen = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.flatten(1).sum(1)

    gradient_penalty(critic, torch.ones(64, 1, 4, 4), -torch.ones(64, 1, 4, 4))
    (points,) = seen
    assert points.amin() >= -1 and points.amax() <= 1
    assert (points.flatten(1).std(1) == 0).all()  # on the straight line
    assert len(points[:, 0, 0, 0].unique()) == 64


def test_every_parameter_has_a_gradient_of_the_whole_loss_and_the_last_bias_none_of_the_penalty() -> None:
    game = tiny_wgan_gp()
    terms = game.critic_loss(batch(), Made())
    assert set(terms) == {"real", "fake", "penalty"}
    alone = torch.autograd.grad(terms["penalty"], list(game.judges.parameters()), allow_unused=True, retain_graph=True)
    names = [name for name, _ in game.judges.named_parameters()]
    assert "last.bias" in [name for name, gradient in zip(names, alone, strict=True) if gradient is None]
    torch.stack(list(terms.values())).sum().backward()
    assert all(parameter.grad is not None for parameter in game.judges.parameters())
    assert all(parameter.grad is None for parameter in game.draws.parameters())


def test_penalty_is_weighted_by_lambda_and_stays_in_float32_under_autocast() -> None:
    game = tiny_wgan_gp(penalty=10.0)
    kinds: list[torch.dtype] = []
    game.judges.last.register_forward_hook(lambda module, given, made: kinds.append(made.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        torch.manual_seed(1)
        ten = float(game.critic_loss(batch(), Made())["penalty"].detach())
        game.penalty = 1.0
        torch.manual_seed(1)
        one = float(game.critic_loss(batch(), Made())["penalty"].detach())
    assert ten == pytest.approx(10 * one)
    assert kinds == [torch.bfloat16, torch.bfloat16, torch.float32] * 2


def test_the_generator_moves_after_every_fifth_step_of_the_critic() -> None:
    game = tiny_wgan_gp(critic_steps=5)
    turns = [[player.name for player, _ in game.turns(Clock(steps=steps))] for steps in range(10)]
    assert turns == ([["critic"]] * 4 + [["critic", "generator"]]) * 2


def test_the_generator_draws_more_and_true_pictures_have_grain_where_that_is_asked_for() -> None:
    game, seen = tiny_wgan_gp(multiple=2, grain=0.5), []
    game.judges.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach()))
    given = batch()
    game.critic_loss(given, Made())
    assert 0.2 < (seen[0] - given.x).abs().max() <= 0.25
    assert game.generator_loss(given, Made())["adversarial"].ndim == 0
    assert [len(x) for x in seen] == [4, 4, 4, 8]


@pytest.mark.parametrize("recipe", sorted(path.stem for path in RECIPES.glob("wgan-gp-*.yaml")))
def test_no_critic_has_batch_norm_and_each_picture_is_judged_alone(recipe: str) -> None:
    game = load(RECIPES / f"{recipe}.yaml").game
    with torch.device("meta"):
        critic: nn.Module = build(build(game).specs[1])
    assert not any(isinstance(module, BatchNorm | nn.modules.batchnorm._BatchNorm) for module in critic.modules())


@pytest.mark.parametrize("critic", [ResCritic(1, 16, width=4), LargeResCritic(1, widths=[2, 4, 4])])
def test_a_score_does_not_depend_on_the_neighbours(critic: nn.Module) -> None:
    x = batch().x
    together, alone = critic(x), torch.cat([critic(picture) for picture in x.split(1)])
    assert torch.allclose(together, alone, atol=1e-6)


def test_parameter_counts_for_cifar() -> None:
    with torch.device("meta"):
        generator, critic = ResGenerator(), ResCritic()
    block = 2 * (2 * 128) + 2 * 9 * 128**2 + 128 + (128**2 + 128)  # two norms, two convolutions, the shortcut
    # the authors' code, which has a bias before the second norm of each block: 1,204,483
    assert count(generator) == (128 + 1) * 2048 + 3 * block + 2 * 128 + (9 * 128 * 3 + 3) == 1_204_483 - 3 * 128
    convolution = 9 * 128**2 + 128
    begin = (9 * 3 * 128 + 128) + convolution + (3 * 128 + 128)
    assert count(critic) == begin + 6 * convolution + (128**2 + 128) + (128 + 1) == 1_053_825
    assert generator.size == 32


def test_parameter_counts_for_64x64() -> None:
    def block(inputs: int, outputs: int, inner: int) -> int:
        norms = 2 * inputs + 2 * inner
        return norms + 9 * inputs * inner + (9 * inner * outputs + outputs) + (inputs * outputs + outputs)

    with torch.device("meta"):
        generator, critic = ResGenerator(widths=[512, 512, 256, 128, 64]), LargeResCritic()
    ups = block(512, 512, 512) + block(512, 256, 256) + block(256, 128, 128) + block(128, 64, 64)
    assert count(generator) == (128 + 1) * 8192 + ups + 2 * 64 + (9 * 64 * 3 + 3) == 8_540_483
    downs = block(64, 128, 64) + block(128, 256, 128) + block(256, 512, 256) + block(512, 512, 512)
    assert count(critic) == (9 * 3 * 64 + 64) + downs + (8192 + 1) == 7_491_841
    assert (generator.size, critic.size) == (64, 64)
    assert sum(isinstance(module, LayerNorm) for module in critic.modules()) == 8


def test_first_weights_have_hes_and_glorots_spread() -> None:
    torch.manual_seed(0)
    critic = ResCritic(width=64)
    second = critic.blocks[1]
    he, glorot = second.layers[1].weight, second.shortcut[1].weight
    assert float(he.detach().std()) == pytest.approx((4 / (9 * 64 + 9 * 64)) ** 0.5, rel=0.02)
    assert float(glorot.detach().std()) == pytest.approx((2 / (64 + 64)) ** 0.5, rel=0.02)
    assert all(not parameter.any() for name, parameter in critic.named_parameters() if name.endswith("bias"))


def test_pictures_are_in_range_and_of_the_size() -> None:
    torch.manual_seed(0)
    generator = ResGenerator(latent=4, widths=[4, 4, 2])
    drawn = generator(10 * torch.randn(3, 4))
    assert drawn.shape == (3, 3, 16, 16)
    assert drawn.abs().max() <= 1
    assert generator.card().latent[0].kind == "normal"


def test_defaults_are_the_papers() -> None:
    assert Spec("torch.optim:Adam", {"lr": 1e-4, "betas": [0.0, 0.9]}) == ADAM
    game = WGANGP(Spec.to(ResGenerator, widths=[2, 2]), Spec.to(ResCritic, size=8, width=2))
    assert (game.penalty, game.critic_steps, game.multiple, game.grain) == (10.0, 5, 1, 0.0)


def test_estimate_is_in_the_journal_and_every_checkpoint_can_be_kept(tmp_path: Path) -> None:
    settings = Training(images=32, batch=4, threads=1, log_every=8, save_every=8, keep=20)
    Trainer(tiny_wgan_gp(), Gray(), settings, tmp_path, device="cpu", say=lambda sentence: None).run(quiet=True)
    lines = (tmp_path / "journal.jsonl").read_text().splitlines()
    assert len(lines) == 4
    assert all('"critic/estimate"' in line for line in lines)
    assert len(list((tmp_path / "state").iterdir())) == 4
    assert {path.stem for path in (tmp_path / "generators").iterdir()} == {"generator", "critic"}


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="no multiple of 4"):
        ResCritic(1, 30)
    with pytest.raises(ValueError, match="at least two"):
        ResGenerator(widths=[8])
