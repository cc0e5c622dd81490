"""SRGAN: the networks' sizes, what each loss is, the two stages, and how the small pictures are made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from games import AVERAGE
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.checkpoint import save_generator
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.game import Made, Spec
from i2i.recipe import Training
from i2i.schedules import Clock
from i2i.testing import assert_sound
from i2i.trainer import Trainer
from i2i.translation.srgan import SRGAN, SRDiscriminator, SRResNet, unevenness


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


def same(channels: int) -> nn.Module:
    return nn.Identity()


PLAIN = Spec.to(SRResNet, scale=2, width=4, blocks=1, norm=None, residual=True)
JUDGE = Spec.to(SRDiscriminator, width=2, size=16)


def tiny(**more: Any) -> SRGAN:
    chosen = {"pixels": 4, "matching": 1.0, "pixel": 1.0, "adversarial": 0.1, "average": AVERAGE, **more}
    return SRGAN(chosen.pop("generator", PLAIN), chosen.pop("discriminator", JUDGE), **chosen)


def batch(count: int = 2, size: int = 16) -> Picture:
    hr = torch.stack([Photographs(size)[position].hr for position in range(count)])
    return Picture(hr.float() / 127.5 - 1)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_srresnet_is_sound() -> None:
    assert_sound(lambda: SRGAN(PLAIN, average=AVERAGE), Photographs())


def test_srresnet_with_the_papers_norm_is_sound() -> None:
    generator = Spec.to(SRResNet, scale=2, width=4, blocks=1)
    assert_sound(lambda: SRGAN(generator), Photographs(), lane=2, sees_all={"generator/pixel"})


@pytest.mark.parametrize("images", [8, 12])  # stopped at the change of stages, and within the second
def test_both_stages_are_sound(images: int) -> None:
    seen = {"generator/adversarial", "generator/matching", "discriminator/real", "discriminator/fake"}
    assert_sound(tiny, Photographs(), images=images, lane=2, sees_all=seen)


def test_adversarial_stage_alone_is_sound_and_its_norms_see_the_batch() -> None:
    seen = {"generator/adversarial", "generator/matching", "discriminator/real", "discriminator/fake"}
    assert_sound(lambda: tiny(pixels=0), Photographs(32), lane=2, sees_all=seen)


def test_stages_follow_one_another(tmp_path: Path) -> None:
    said: list[str] = []
    settings = Training(images=8, batch=2, threads=1, log_every=2)
    trainer = Trainer(tiny(), Photographs(), settings, tmp_path, device="cpu", say=said.append)
    trainer.run(quiet=True)
    lines = (tmp_path / "journal.jsonl").read_text().splitlines()
    assert ['"pixels"' in line for line in lines] == [True, True, False, False]
    assert all("discriminator/real" in line for line in lines[2:])


def test_parameter_counts_are_those_of_the_known_copies() -> None:
    with torch.device("meta"):
        assert count(SRResNet(4)) == 1_549_462
        assert count(SRResNet(4, norm=None)) == 1_549_462 - 33 * 2 * 64
        assert count(SRDiscriminator()) == 23_563_649


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("residual", [False, True])
def test_every_scale_enlarges_by_it(scale: Any, residual: bool) -> None:
    network = SRResNet(scale, width=4, blocks=1, residual=residual).eval()
    assert network(torch.rand(1, 3, 7, 5)).shape == (1, 3, 7 * scale, 5 * scale)
    assert network.card().scale == scale
    assert network.card().value_range == ((0, 1), (-1, 1))


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("residual", [False, True])
def test_an_output_pixel_sees_no_further_than_the_halo(scale: Any, residual: bool) -> None:
    torch.manual_seed(0)
    network = SRResNet(scale, inputs=1, outputs=1, width=2, blocks=2, norm=None, residual=residual).double()
    halo = network.card().halo
    small = torch.rand(1, 1, 2 * halo + 3, 1, dtype=torch.float64, requires_grad=True)
    middle = halo + 1
    for row in (middle * scale, middle * scale + scale - 1):
        (seen,) = torch.autograd.grad(network(small)[0, 0, row, 0], small)
        found = seen.flatten().nonzero().flatten()
        assert middle - halo <= found[0]
        assert found[-1] <= middle + halo
    assert found[-1] >= middle + halo - 1  # and the halo is not larger than it must be


def test_papers_halo() -> None:
    with torch.device("meta"):
        assert SRResNet(4).card().halo == 40
        assert SRResNet(4).card().tiling == "exact"


def test_a_residual_begins_near_the_bicubic_enlargement() -> None:
    torch.manual_seed(0)
    small = batch(1).hr.add(1).div(2)
    enlarged = 2 * F.interpolate(small, scale_factor=4, mode="bicubic") - 1
    assert (SRResNet(4, width=8, blocks=2, norm=None, residual=True)(small) - enlarged).abs().mean() < 0.1


def test_a_scale_that_no_srresnet_has_is_refused() -> None:
    with pytest.raises(ValueError, match="2, 3, 4 or 8 times, not 5"):
        SRResNet(5)  # type: ignore[arg-type]


def test_stored_statistics_are_used_when_run() -> None:
    torch.manual_seed(0)
    network = SRResNet(2, width=4, blocks=1)
    assert network.card().mode == "stored"
    for _ in range(3):
        network.train()(torch.rand(2, 3, 8, 8))
    network.eval()
    both = torch.rand(2, 3, 8, 8)
    assert torch.allclose(network(both)[:1], network(both[:1]), atol=1e-6)


def test_the_discriminator_takes_other_sizes_than_its_own() -> None:
    judge = SRDiscriminator(width=2, size=32)
    assert judge(torch.zeros(2, 3, 32, 32)).shape == judge(torch.zeros(2, 3, 96, 48)).shape == (2, 1)
    assert [tuple(x.shape[1:]) for x in judge.features(torch.zeros(1, 3, 32, 32))] == [
        (2, 32, 32), (2, 16, 16), (4, 16, 16), (4, 8, 8), (8, 8, 8), (8, 4, 4), (16, 4, 4), (16, 2, 2),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="100 pixels are no multiple of 16"):
        SRDiscriminator(size=100)


def test_pixel_loss_is_the_distance_to_the_original() -> None:
    torch.manual_seed(0)
    game, pictures = SRGAN(PLAIN), batch()
    drawn = game.draw(pictures)
    assert torch.equal(game.pixel_loss(pictures, Made())["pixel"], F.mse_loss(drawn, pictures.hr))
    game = SRGAN(PLAIN, distance=F.l1_loss)
    assert torch.equal(game.pixel_loss(pictures, Made())["pixel"], F.l1_loss(game.draw(pictures), pictures.hr))


def test_second_stage_losses_are_the_papers() -> None:
    torch.manual_seed(0)
    game, pictures, made = tiny(adversarial=1e-3, matching=2.0, pixel=3.0), batch(), Made()
    terms = game.generator_loss(pictures, made)
    drawn = game.draw(pictures).detach()
    assert torch.allclose(made.drawn, drawn)
    score = game.on_large(drawn)
    assert torch.allclose(terms["adversarial"], -1e-3 * torch.sigmoid(score).log().mean(), atol=1e-7)
    apart = [
        (ours - theirs).abs().mean()
        for ours, theirs in zip(game.on_large.features(drawn), game.on_large.features(pictures.hr), strict=True)
    ]
    assert torch.allclose(terms["matching"], 2 * torch.stack(apart).mean(), rtol=1e-4)
    assert torch.allclose(terms["pixel"], 3 * (drawn - pictures.hr).abs().mean())
    judged = game.discriminator_loss(pictures, made)
    assert torch.allclose(judged["fake"], -torch.log(1 - torch.sigmoid(game.on_large(drawn))).mean(), atol=1e-6)


class Doubled(nn.Module):
    """A content loss without weights to fetch."""

    def forward(self, drawn: Tensor, wanted: Tensor) -> Tensor:
        return 2 * (drawn - wanted).abs().mean()


def test_any_module_can_be_the_content_loss() -> None:
    torch.manual_seed(0)
    game, pictures = tiny(content=Spec.to(Doubled), matching=0.0, pixel=0.0), batch()
    terms = game.generator_loss(pictures, Made())
    assert set(terms) == {"adversarial", "content"}
    assert torch.allclose(terms["content"], 2 * F.l1_loss(game.draw(pictures), pictures.hr))
    assert [type(network) for network in game.frozen()] == [Doubled]


def test_turns_and_stages() -> None:
    game = tiny()
    assert [(stage.name, stage.images) for stage in game.stages()] == [("pixels", 4), ("adversarial", None)]
    assert [player.name for player, _ in game.both(Clock())] == ["generator", "discriminator"]
    assert [stage.name for stage in tiny(pixels=0).stages()] == ["adversarial"]
    assert [stage.name for stage in SRGAN(PLAIN).stages()] == ["pixels"]


def test_a_second_stage_without_content_or_first_length_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a content, matching or pixel loss"):
        SRGAN(PLAIN, JUDGE, pixels=0)
    with pytest.raises(ValueError, match="as 'pixels'"):
        SRGAN(PLAIN, JUDGE, pixel=1.0)


def test_begins_with_given_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, path = PLAIN.build(), tmp_path / "given.safetensors"
    save_generator(path, network, PLAIN, network.card())
    torch.manual_seed(1)
    begun = SRGAN(PLAIN, start=str(path)).a2b.state_dict()
    assert all(torch.equal(weights, begun[name]) for name, weights in network.state_dict().items())
    wider = replace(PLAIN, kwargs={**PLAIN.kwargs, "width": 6})
    with pytest.raises(UserError, match="holds another network than the recipe's generator"):
        SRGAN(wider, start=str(path))


def test_unevenness_sees_a_grid_and_nothing_else() -> None:
    grid, flat, draw = torch.zeros(2, 3, 32, 32), torch.zeros(2, 3, 32, 32), torch.Generator().manual_seed(0)
    grid[..., 1::4, 2::4] = 1
    # one of 16 places is 1: it is 15/16 from their mean, the others 1/16
    assert unevenness(grid, flat, 4) == pytest.approx((15 / 16 + 15 * 1 / 16) / 16)
    assert unevenness(flat + 0.7, flat, 2) == 0
    slow = torch.rand(2, 3, 8, 8, generator=draw).repeat_interleave(4, -1).repeat_interleave(4, -2)
    assert unevenness(slow, flat, 4) < 1e-7  # whatever is constant within input pixels
    busy = torch.cat([torch.rand(2, 3, 32, 16, generator=draw), torch.zeros(2, 3, 32, 16)], dim=-1)
    left, right = grid.clone(), grid.clone()
    left[..., 16:], right[..., :16] = 0, 0
    assert unevenness(busy + right, busy, 4) > 10 * unevenness(busy + left, busy, 4)


def test_the_grid_weighs_what_the_recipe_says() -> None:
    game = tiny(pixels=0, even=3.0)
    terms = game.generator_loss(batch(), Made(0))
    plain = unevenness(game.draw(batch()), batch().hr, 2)
    assert terms["even"].item() == pytest.approx(3 * plain.item(), rel=1e-5)


@pytest.mark.parametrize("tile", ["off", 8])
def test_what_the_residual_is_added_to_keeps_all_levels_in_bf16(tile: Any) -> None:
    network: Any = SRResNet(scale=4, width=4, blocks=1, norm=None, residual=True).eval()
    nn.init.zeros_(network.last.weight)
    nn.init.zeros_(network.last.bias)
    network.card = network.card()
    picture = np.arange(24 * 20, dtype=np.uint8).reshape(24, 20)[..., None].repeat(3, 2)
    plain = Engine(network, device="cpu", precision="fp32", tile="off").run([picture])[0]
    narrow = Engine(network, device="cpu", precision="bf16", tile=tile, say=str).run([picture])[0]
    assert np.array_equal(plain, narrow)
