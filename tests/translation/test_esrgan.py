"""ESRGAN: the networks' sizes and reach, what each loss is, the two stages, spectral norm."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from games import AVERAGE
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from i2i.checkpoint import save_generator
from i2i.data.degrade import SecondOrder
from i2i.game import Made, Spec
from i2i.layers import power_iteration, spectral_norm
from i2i.losses import LOGISTIC, relative
from i2i.recipe import Training
from i2i.schedules import Clock
from i2i.testing import assert_sound
from i2i.trainer import Trainer
from i2i.translation.esrgan import ESRGAN, DenseBlock, RRDBNet, UNetDiscriminator
from i2i.translation.srgan import SRDiscriminator
from i2i.zoo import load_generator


class Picture(NamedTuple):
    hr: Tensor


class Photographs:
    """Endless random 8-bit pictures: position p is drawn from p alone."""

    fields = Picture

    def __init__(self, size: int = 16) -> None:
        self.size = size

    def __len__(self) -> int:
        return 8

    def __getitem__(self, position: int) -> Picture:
        draw = torch.Generator().manual_seed(position)
        return Picture(torch.randint(0, 256, (3, self.size, self.size), generator=draw, dtype=torch.uint8))


SMALL = Spec.to(RRDBNet, scale=2, width=4, growth=2, blocks=1)
JUDGE = Spec.to(UNetDiscriminator, width=2)
RELATIVE = {"generator/adversarial", "discriminator/real", "discriminator/fake"}


def tiny(**more: Any) -> ESRGAN:
    chosen = {"pixels": 4, "average": AVERAGE, "adversarial": 0.1, **more}
    return ESRGAN(chosen.pop("generator", SMALL), chosen.pop("discriminator", JUDGE), **chosen)


def batch(count: int = 2, size: int = 16) -> Picture:
    hr = torch.stack([Photographs(size)[position].hr for position in range(count)])
    return Picture(hr.float() / 127.5 - 1)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_pixels_alone_is_sound() -> None:
    assert_sound(lambda: ESRGAN(SMALL, average=AVERAGE), Photographs())


@pytest.mark.parametrize("images", [8, 12])  # stopped at the change of stages, and within the second
def test_both_stages_are_sound(images: int) -> None:
    assert_sound(tiny, Photographs(), images=images, lane=2, sees_all=RELATIVE)


def test_the_relativistic_stage_is_sound_and_couples_the_pictures_of_a_lane() -> None:
    assert_sound(lambda: tiny(pixels=0), Photographs(), lane=2, sees_all=RELATIVE)


def test_with_the_plain_rule_nothing_is_coupled() -> None:
    assert_sound(lambda: tiny(pixels=0, relativistic=False), Photographs(), lane=2)


def test_with_srgans_discriminator_it_is_sound() -> None:
    judge = Spec.to(SRDiscriminator, width=2, size=32)
    assert_sound(lambda: tiny(pixels=0, discriminator=judge), Photographs(32), lane=2, sees_all=RELATIVE)


@pytest.mark.parametrize("lane", [1, 2])
def test_real_esrgans_game_is_sound(lane: int) -> None:
    degrade = SecondOrder()
    random = {"generator/adversarial", "generator/pixel", "discriminator/fake"}  # what is drawn differs each time
    assert_sound(lambda: tiny(pixels=0, relativistic=False, degrade=degrade), Photographs(), lane=lane, sees_all=random)


def test_parameter_counts_are_those_of_the_published_networks() -> None:
    with torch.device("meta"):
        assert count(RRDBNet(4)) == 16_697_987
        assert count(RRDBNet(2)) == 16_697_987 + 64 * 9 * 9  # 12 channels in
        assert count(RRDBNet(4, blocks=6)) == 4_467_779
        assert count(UNetDiscriminator()) == 4_376_897


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("unshuffle", [None, 1])
def test_every_scale_enlarges_by_it(scale: Any, unshuffle: Any) -> None:
    network = RRDBNet(scale, inputs=4, outputs=1, width=4, growth=2, blocks=1, unshuffle=unshuffle)
    assert network(torch.rand(1, 4, 8, 12)).shape == (1, 1, 8 * scale, 12 * scale)
    card = network.card()
    assert (card.scale, card.channels, card.value_range) == (scale, (4, 1), ((0, 1), (0, 1)))
    assert card.multiple == (1 if unshuffle or scale > 2 else 4 // scale)


@pytest.mark.parametrize(("scale", "unshuffle"), [(1, 1), (2, 1), (4, 1), (8, 1), (2, 2), (1, 4), (1, 2)])
def test_an_output_pixel_sees_as_far_as_said(scale: Any, unshuffle: Any) -> None:
    network = RRDBNet(scale, inputs=1, outputs=1, width=2, growth=1, blocks=1, unshuffle=unshuffle).double()
    for parameter in network.parameters():
        nn.init.uniform_(parameter, 0.1, 0.5)
    reach = network.reach()
    middle = -(-(reach + 1) // unshuffle) * unshuffle
    small = torch.rand(1, 1, 2 * middle + unshuffle, unshuffle, dtype=torch.float64, requires_grad=True)
    far = 0
    for row in range(middle * scale, (middle + unshuffle) * scale):
        (seen,) = torch.autograd.grad(network(small)[0, 0, row, 0], small)
        rows = seen.sum((0, 1, 3)).nonzero().flatten() - row // scale
        far = max(far, -int(rows[0]), int(rows[-1]))
    assert far == reach


def test_deep_networks_overlap_and_shallow_ones_are_exact() -> None:
    with torch.device("meta"):
        paper, shallow = RRDBNet(4), RRDBNet(4, blocks=3)
    assert paper.reach() == 349
    assert (paper.card().tiling, paper.card().halo) == ("overlap", 32)
    assert (shallow.card().tiling, shallow.card().halo) == ("exact", shallow.reach()) == ("exact", 49)


def test_a_dense_block_is_fig_4s() -> None:
    torch.manual_seed(0)
    block, x = DenseBlock(4, 2), torch.rand(1, 4, 5, 5)
    found = [x]
    for layer in block.layers[:4]:
        found.append(F.leaky_relu(layer(torch.cat(found, 1)), 0.2))
    assert torch.allclose(block(x), x + 0.2 * block.layers[4](torch.cat(found, 1)))


def test_what_no_network_has_is_refused() -> None:
    with pytest.raises(ValueError, match="enlarges 1, 2, 4, 8 or 16 times, not 3"):
        RRDBNet(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1, 2 or 4 pixels in a row to channels, not 3"):
        RRDBNet(4, unshuffle=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="as 'pixels'"):
        ESRGAN(SMALL, JUDGE)


def test_a_file_of_it_loads(tmp_path: Path) -> None:
    network = SMALL.build()
    save_generator(tmp_path / "rrdb.safetensors", network, SMALL, network.card())
    x = torch.rand(1, 3, 6, 4)
    assert torch.equal(load_generator(tmp_path / "rrdb.safetensors")(x), network(x))


def test_first_stage_is_l1_in_units_of_the_pictures() -> None:
    torch.manual_seed(0)
    game, pictures = tiny(), batch()
    drawn = (game.draw(pictures) + 1) / 2
    wanted = (pictures.hr + 1) / 2
    assert torch.allclose(game.pixel_loss(pictures, Made())["pixel"], (drawn - wanted).abs().mean())


def test_second_stage_losses_are_the_papers() -> None:
    torch.manual_seed(0)
    game, pictures, made = tiny(adversarial=5e-3), batch(), Made()
    terms = game.generator_loss(pictures, made)
    real, fake = game.on_large(pictures.hr), game.on_large(game.draw(pictures))
    more_real, more_fake = torch.sigmoid(real - fake.mean()), torch.sigmoid(fake - real.mean())
    expected = -(1 - more_real).log().mean() - more_fake.log().mean()
    assert torch.allclose(terms["adversarial"], 5e-3 * expected)
    assert torch.allclose(terms["pixel"], 1e-2 * game.pixel_loss(pictures, made)["pixel"])
    judged = game.discriminator_loss(pictures, made)
    assert torch.allclose(judged["real"], -more_real.log().mean())
    assert torch.allclose(judged["fake"], -(1 - more_fake).log().mean())


class Doubled(nn.Module):
    """A content loss without weights to fetch."""

    def forward(self, drawn: Tensor, wanted: Tensor) -> Tensor:
        return 2 * (drawn - wanted).abs().mean()


def test_any_module_can_be_the_content_loss() -> None:
    game, pictures = tiny(content=Spec.to(Doubled)), batch()
    terms = game.generator_loss(pictures, Made())
    assert torch.allclose(terms["content"], 2 * F.l1_loss(game.draw(pictures), pictures.hr))
    assert [type(network) for network in game.frozen()] == [Doubled]


def test_relative_scores_of_equals_say_nothing() -> None:
    scores = torch.full((3, 1), 7.0)
    assert LOGISTIC.real(relative(scores, scores)) == LOGISTIC.fake(relative(scores, scores))
    assert torch.allclose(LOGISTIC.real(relative(scores, scores)), torch.tensor(2.0).log())


def test_turns_and_stages() -> None:
    assert [(stage.name, stage.images) for stage in tiny().stages()] == [("pixels", 4), ("adversarial", None)]
    assert [stage.name for stage in tiny(pixels=0).stages()] == ["adversarial"]
    assert [stage.name for stage in ESRGAN(SMALL).stages()] == ["pixels"]
    assert [player.name for player, _ in tiny().both(Clock())] == ["generator", "discriminator"]


# --- spectral norm


def largest(weight: Tensor) -> float:
    return float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2))


def normed(module: nn.Module) -> list[nn.Module]:
    return [layer for layer in module.modules() if parametrize.is_parametrized(layer)]


def test_all_but_the_first_and_last_weights_have_a_largest_singular_value_of_one() -> None:
    torch.manual_seed(0)
    judge = UNetDiscriminator(width=4)
    assert len(normed(judge)) == 8
    for _ in range(200):
        power_iteration(judge)
    assert all(abs(largest(layer.weight) - 1) < 1e-3 for layer in normed(judge))


def test_spectral_norm_follows_the_weights_in_training(tmp_path: Path) -> None:
    torch.manual_seed(0)
    game = tiny(pixels=0)
    before = [layer.parametrizations.weight[0].u.clone() for layer in normed(game.on_large)]
    settings = Training(images=2, threads=1)
    Trainer(game, Photographs(), settings, tmp_path, device="cpu", say=lambda text: None).run(quiet=True)
    now = [layer.parametrizations.weight[0].u for layer in normed(game.on_large)]
    assert before and not any(map(torch.equal, before, now))


def test_a_forward_pass_can_be_repeated_and_recomputed() -> None:
    torch.manual_seed(0)
    judge, x = UNetDiscriminator(width=2).train(), torch.rand(2, 3, 16, 16)
    judge(x).square().mean().backward()
    plain = [parameter.grad.clone() for parameter in judge.parameters()]
    judge.zero_grad()
    checkpoint(judge, x, use_reentrant=False).square().mean().backward()
    assert all(torch.equal(a, b.grad) for a, b in zip(plain, judge.parameters(), strict=True))


def test_it_is_torchs_own_where_that_does_not_iterate() -> None:
    torch.manual_seed(0)
    ours = spectral_norm(nn.Conv2d(3, 5, 3))
    theirs = nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 5, 3)).eval()
    inner, outer = theirs.parametrizations.weight, ours.parametrizations.weight
    inner.original.data.copy_(outer.original.data)
    inner[0]._u.copy_(outer[0].u)
    inner[0]._v.copy_(outer[0].v)
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)


def test_the_discriminator_scores_every_pixel_and_without_skips_too() -> None:
    for skips in (True, False):
        assert UNetDiscriminator(1, width=2, skips=skips)(torch.rand(2, 1, 24, 16)).shape == (2, 1, 24, 16)
