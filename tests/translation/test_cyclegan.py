"""CycleGAN: the generator's size and range, the pool of old images, what each loss is and whom it moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from games import Noise, tiny_cyclegan
from torch import Tensor, nn

from i2i.checkpoint import read_header
from i2i.game import Made, Origin
from i2i.layers import InstanceNorm, init_normal
from i2i.recipe import Training
from i2i.schedules import Clock
from i2i.trainer import Trainer
from i2i.translation.cyclegan import ImagePool, ResnetBlock, ResnetGenerator
from i2i.translation.pix2pix import PatchDiscriminator


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def pictures(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


def numbered(*numbers: int) -> Tensor:
    """[N,1,2,2] pictures, each of one number."""
    return torch.tensor(numbers, dtype=torch.float32).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()


def batch_of(game: Any) -> Any:
    data = Noise(size=32)
    return game.Batch(*(torch.stack(field) for field in zip(data[0], data[1], strict=True)))


def test_parameter_counts_are_the_originals() -> None:
    with torch.device("meta"):
        assert count(ResnetGenerator(3, 3)) == 11_378_179
        assert count(ResnetGenerator(3, 3, blocks=6)) == 7_837_699
        assert count(PatchDiscriminator(3, norm=InstanceNorm, bias=True)) == 2_764_737


@pytest.mark.parametrize("blocks", [6, 9])
def test_it_has_as_many_blocks_as_it_was_given(blocks: int) -> None:
    with torch.device("meta"):
        network = ResnetGenerator(blocks=blocks)
    assert sum(isinstance(module, ResnetBlock) for module in network.modules()) == blocks
    assert network.card().halo == 12 + 8 * blocks


@pytest.mark.parametrize(("height", "width"), [(32, 32), (36, 52), (64, 40)])
@pytest.mark.parametrize("blocks", [6, 9])
def test_any_multiple_of_four_comes_back_in_range(blocks: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    network = ResnetGenerator(3, 2, width=2, blocks=blocks)
    made = network(pictures(2, 3, height, width))
    assert made.shape == (2, 2, height, width)
    assert -1 < made.min() < made.max() < 1


def test_an_output_depends_on_the_halo_and_not_beyond() -> None:
    network = ResnetGenerator(1, 1, width=1, blocks=1, norm=lambda channels: nn.Identity())
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.01)
    picture = torch.ones(1, 1, 96, 96, requires_grad=True, dtype=torch.float64)
    network.double()(picture)[0, 0, 48, 48].backward()
    assert picture.grad is not None
    seen = picture.grad.sum(dim=(0, 1, 2)).nonzero().flatten()
    assert max(48 - int(seen[0]), int(seen[-1]) - 48) <= network.card().halo


def test_a_pool_of_none_is_the_identity() -> None:
    pool, images = ImagePool(0), numbered(1, 2)
    assert pool(images, 0) is images
    assert not pool.kept


def test_a_pool_fills_first_and_then_gives_back_an_old_image_half_of_the_time() -> None:
    torch.manual_seed(0)
    pool = ImagePool(10)
    for number in range(10):
        assert torch.equal(pool(numbered(number), 0), numbered(number))
    old = 0
    for number in range(10, 1010):
        given = pool(numbered(number), 0)[0, 0, 0, 0].item()
        assert given <= number
        old += given != number
        assert len(pool.kept[0]) == 10
    assert 440 < old < 560


def test_what_a_pool_gives_back_it_no_longer_holds() -> None:
    torch.manual_seed(0)
    pool = ImagePool(3)
    given = [pool(numbered(number), 0)[0, 0, 0, 0].item() for number in range(200)]
    held = [image[0, 0, 0, 0].item() for image in pool.kept[0]]
    later = given[3:]  # while the pool fills it keeps what it gives
    assert len(set(later)) == len(later)
    assert not set(later) & set(held)


def test_what_comes_out_is_detached_and_shaped_and_laid_out_as_what_went_in() -> None:
    torch.manual_seed(0)
    pool = ImagePool(2)
    for _ in range(5):
        images = pictures(3, 4, 6, 5).to(memory_format=torch.channels_last)
        out = pool(images, 0)
        assert out.shape == images.shape
        assert out.dtype == images.dtype
        assert out.is_contiguous(memory_format=torch.channels_last)
        assert not out.requires_grad
        kept = {image.untyped_storage().data_ptr() for image in pool.kept[0]}
        assert images.untyped_storage().data_ptr() not in kept  # it keeps copies


def test_each_lane_has_a_pool_of_its_own() -> None:
    pool = ImagePool(2)
    pool(numbered(1, 2), 0)
    pool(numbered(3), 1)
    assert [image[0, 0, 0, 0].item() for image in pool.kept[0]] == [1, 2]
    assert [image[0, 0, 0, 0].item() for image in pool.kept[1]] == [3]


def test_the_pools_survive_a_round_trip_by_lane() -> None:
    game, other = tiny_cyclegan(), tiny_cyclegan()
    for lane in (0, 2):
        game.pools["a"](pictures(2, 3, 4, 4) + lane, lane)
        game.pools["b"](pictures(3, 3, 4, 4) - lane, lane)
    state = game.state()
    assert set(state) == {f"lane/{lane}/pool_{side}" for lane in (0, 2) for side in "ab"}
    other.pools["a"](pictures(1, 3, 4, 4), 7)  # forgotten
    other.load_state(state)
    again = other.state()
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)


def test_the_losses_are_the_papers() -> None:
    torch.manual_seed(0)
    game = tiny_cyclegan(pool=0)
    batch, made = batch_of(game), Made()
    terms = game.identity_loss(batch, made)
    fake_b, fake_a = game.a2b(batch.a), game.b2a(batch.b)
    back_a, back_b = game.b2a(fake_b), game.a2b(fake_a)
    fooled = (game.on_b(fake_b) - 1).square().mean() + (game.on_a(fake_a) - 1).square().mean()
    cycle = (back_a - batch.a).abs().mean() + (back_b - batch.b).abs().mean()
    identity = (game.a2b(batch.b) - batch.b).abs().mean() + (game.b2a(batch.a) - batch.a).abs().mean()
    assert set(terms) == {"adversarial", "cycle", "identity"}
    assert torch.allclose(terms["adversarial"], fooled)
    assert torch.allclose(terms["cycle"], 10 * cycle)
    assert torch.allclose(terms["identity"], 5 * identity)
    terms = game.discriminator_loss(batch, made)
    assert torch.allclose(  # Sec. 7.1: halved
        terms["a"], ((game.on_a(batch.a) - 1).square().mean() + game.on_a(fake_a).square().mean()) / 2
    )
    assert torch.allclose(
        terms["b"], ((game.on_b(batch.b) - 1).square().mean() + game.on_b(fake_b).square().mean()) / 2
    )


def test_weights_scale_their_terms() -> None:
    values = []
    for cycle, identity in ((10.0, 5.0), (1.0, 0.5)):
        torch.manual_seed(0)
        game = tiny_cyclegan(cycle=cycle, identity=identity)
        values.append(game.identity_loss(batch_of(game), Made()))
    assert torch.allclose(values[0]["cycle"], 10 * values[1]["cycle"])
    assert torch.allclose(values[0]["identity"], 10 * values[1]["identity"])
    assert torch.equal(values[0]["adversarial"], values[1]["adversarial"])


def test_without_identity_the_term_is_not_there() -> None:
    game = tiny_cyclegan(identity=0.0)
    (player, loss), (other, _) = game.turns(Clock())
    assert (player, other) == (game.generators, game.discriminators)
    assert set(loss(batch_of(game), Made())) == {"adversarial", "cycle"}


def test_the_discriminators_turn_does_not_reach_the_generators() -> None:
    game = tiny_cyclegan()
    batch, made = batch_of(game), Made()
    game.generator_loss(batch, made)
    assert not made.fake_a.requires_grad
    assert not made.fake_b.requires_grad
    sum(game.discriminator_loss(batch, made).values()).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is None for parameter in game.generators.parameters())
    assert all(parameter.grad is not None for parameter in game.discriminators.parameters())


def test_a_discriminator_is_shown_the_pools_images() -> None:
    torch.manual_seed(0)
    game = tiny_cyclegan(pool=1)
    batch, made = batch_of(game), Made()
    game.pools["a"].kept[0] = [torch.zeros(1, 3, 32, 32)]
    game.generator_loss(batch, made)
    shown: list[Tensor] = []
    game.on_a.register_forward_pre_hook(lambda module, arguments: shown.append(arguments[0]))
    for seed in range(8):
        torch.manual_seed(seed)
        game.discriminator_loss(batch, made)
    assert torch.equal(shown[0], batch.a)
    assert any(not image.any() for fake in shown[1::2] for image in fake)  # the zeros came out of the pool once


def test_both_directions_are_exported_and_shown() -> None:
    game = tiny_cyclegan()
    exports, batch = game.exports(), batch_of(game)
    assert exports["a2b"].network is game.a2b
    assert exports["b2a"].network is game.b2a
    columns = game.preview(batch, {name: export.network for name, export in exports.items()})
    assert len(columns) == 6
    assert torch.equal(columns[0], batch.a)
    assert torch.equal(columns[3], batch.b)


def test_the_first_weights_are_those_of_the_global_seed() -> None:
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        weights.append(torch.cat([p.flatten() for p in init_normal(ResnetGenerator(width=4, blocks=1)).parameters()]))
    assert torch.equal(*weights)


@pytest.mark.parametrize(("given", "other"), [("maps/testA", "maps/testB"), ("maps/testB", "maps/testA"), ("q", "q")])
def test_the_way_back_is_tried_on_the_other_set(given: str, other: str, tmp_path: Path) -> None:
    told: dict[str, Any] = {"a": "horse", "b": "zebra", "origin": Origin(prepared=given)}
    trainer = Trainer(tiny_cyclegan(), Noise(size=32), Training(images=2), tmp_path, device="cpu", **told)
    forth, back = (read_header(file).card for file in trainer.export(tmp_path))
    assert (forth.a, forth.b, forth.origin.prepared) == ("horse", "zebra", given)
    assert (back.a, back.b, back.origin.prepared) == ("zebra", "horse", other)
