"""A network in bands of rows is the network: each layer by itself, whole networks, and the engine on large pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from i2i import bands, layers
from i2i import engine as engines
from i2i.bands import Kept, Plan, kind_of_module
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.layers import Residual
from i2i.memory import Ledger
from i2i.translation.cut import AntialiasedResnet
from i2i.translation.cyclegan import ResnetGenerator
from i2i.translation.esrgan import RRDBNet
from i2i.translation.pix2pix import UnetGenerator
from i2i.translation.srgan import SRResNet

ALL = [
    nn.Conv2d(3, 4, 3),
    nn.Conv2d(3, 4, 3, padding=1),
    nn.Conv2d(3, 4, 7, stride=2, padding=3),
    nn.Conv2d(3, 4, 4, stride=2, padding=1, bias=False),
    nn.Conv2d(3, 6, 3, dilation=2, padding=2, groups=3),
    nn.Conv2d(3, 4, 1),
    nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1),
    nn.ConvTranspose2d(3, 4, 4, stride=2, padding=1),
    nn.ConvTranspose2d(3, 4, 4, stride=2),
    nn.ConvTranspose2d(3, 4, 3, stride=3),
    nn.ReflectionPad2d(3),
    nn.ReflectionPad2d((1, 2, 3, 0)),
    nn.ReplicationPad2d(2),
    nn.ZeroPad2d((0, 1, 2, 3)),
    nn.ReLU(),
    nn.LeakyReLU(0.2),
    nn.Tanh(),
]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def trained(network: nn.Module) -> nn.Module:
    """A network whose weights are of the size of trained ones."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and isinstance(module.weight, nn.Parameter):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.normal_(module.bias)
    return network.eval().requires_grad_(False)


def in_bands(network: nn.Module, x: Tensor, **options: Any) -> tuple[Tensor, Any]:
    plan, out = Plan.of(network), []
    assert plan is not None
    x = x.contiguous(memory_format=torch.channels_last)
    found = plan.run(
        lambda rows: x[:, :, slice(*rows)], x.shape[1:], lambda rows, band: out.append(band.clone()), **options
    )
    return torch.cat(out, 2), found


@pytest.mark.parametrize("layer", ALL, ids=str)
def test_any_rows_of_a_layer_are_those_of_the_whole(layer: nn.Module) -> None:
    x = noise(1, 3, 11, 9)
    step = kind_of_module(layer)
    with torch.no_grad():
        whole = layer(x)
        assert step.height(11) == whole.shape[2]
        for first in range(whole.shape[2]):
            for last in range(first + 1, whole.shape[2] + 1):
                have = step.needs((first, last), 11)
                assert 0 <= have[0] < have[1] <= 11
                band = step.run(x[:, :, slice(*have)], have, (first, last), 11)
                torch.testing.assert_close(band, whole[:, :, first:last], rtol=0, atol=2e-6)


def networks() -> list[nn.Module]:
    return [
        trained(ResnetGenerator(width=8, blocks=2)),
        trained(ResnetGenerator(1, 2, width=8, blocks=1, norm=layers.BatchNorm, bias=False)),
        trained(ResnetGenerator(width=8, blocks=1, norm=layers.StoredBatchNorm)),
        trained(AntialiasedResnet(width=8, blocks=2)),
        trained(UnetGenerator(width=4, depth=2)),
        trained(SRResNet(4, width=8, blocks=2)),
        trained(RRDBNet(4, width=8, growth=4, blocks=2)),
        trained(RRDBNet(2, width=8, growth=4, blocks=1, unshuffle=True)),
        trained(SRResNet(3, width=8, blocks=2, norm=None, residual=True)),
        trained(SRResNet(2, width=8, blocks=1, norm=layers.InstanceNorm, residual=True)),
    ]


@pytest.mark.parametrize("network", networks(), ids=lambda network: type(network).__name__)
@pytest.mark.parametrize(("size", "band"), [((32, 32), 1 << 25), ((64, 100), 1 << 14), ((100, 36), 1 << 12)])
def test_bands_equal_the_whole(
    network: nn.Module, size: tuple[int, int], band: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bands, "BAND", band)  # the small ones have maps in memory of their own, given back when read
    network, x = network.double(), noise(1, network.inputs, *size).double()
    with torch.inference_mode():
        whole = network(x)
    for rows in (None, 1, 7, 64):
        got, found = in_bands(network, x, rows=rows)
        torch.testing.assert_close(got, whole, rtol=0, atol=1e-10)
    again, _ = in_bands(network, x, rows=7, statistics=found)  # nothing kept, and the same
    torch.testing.assert_close(again, whole, rtol=0, atol=1e-10)


def test_a_map_that_several_norms_read_is_measured_for_each() -> None:
    class Parallel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.down = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1)
            self.one, self.other, self.third = (layers.InstanceNorm(4) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            v = self.first(x)
            return torch.tanh(torch.cat([self.one(self.down(v)), self.other(v), 2 * self.third(v) + v], 1))

    network, x = trained(Parallel()).double(), noise(1, 3, 40, 28).double()
    got, found = in_bands(network, x, rows=3)
    torch.testing.assert_close(got, network(x), rtol=0, atol=1e-10)
    assert len(found) == 3


def test_statistics_are_the_whole_pictures() -> None:
    network = trained(ResnetGenerator(width=4, blocks=1))
    x = noise(1, 3, 64, 48)
    _, found = in_bands(network, x, rows=5)
    assert len(found) == 1 + 2 + 2 + 2  # after the first layer, two down, two in the block, two up
    first = network.layers[1](network.layers[0](x))
    torch.testing.assert_close(found[0].mean, first.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[0].variance, first.var((0, 2, 3), correction=0), rtol=1e-5, atol=1e-6)


def test_a_flat_picture_has_no_variance_and_is_finite() -> None:
    network = trained(ResnetGenerator(width=4, blocks=1))
    got, _ = in_bands(network, torch.zeros(1, 3, 64, 64))
    assert torch.isfinite(got).all()


def test_memory_is_bounded_by_the_maps_that_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "BAND", 1 << 18)
    network = trained(ResnetGenerator(width=16, blocks=2))
    x = noise(1, 3, 512, 512)
    plan = Plan.of(network)
    with torch.inference_mode(), Ledger() as whole:
        network(x)
    kept = plan.wanted((3, 512, 512), 4)
    with Ledger() as banded:
        plan.run(lambda rows: x[:, :, slice(*rows)].clone(), (3, 512, 512), lambda rows, band: None, rows=16)
    assert kept == 2 * 64 * 128 * 128 * 4  # maps of 4 * width channels at a quarter of the size: x, and within a block
    assert whole.peak > 4 * kept
    assert kept <= banded.peak < 3 * kept  # what was given back to the system is counted here too


def test_a_network_of_unknown_operations_has_no_plan() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.mean() > 0 else -x

    assert Plan.of(nn.Sequential(nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(4))) is None
    assert Plan.of(nn.Linear(3, 3)) is None
    assert Plan.of(Odd()) is None
    assert Plan.of(layers.test_time(UnetGenerator(width=4, depth=5), "paper")) is None  # its dropout draws whole maps


def ready(network: nn.Module, **options: Any) -> Engine:
    network.card = network.card()
    return Engine(network, device="cpu", **options)


def picture(height: int, width: int, dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (height, width, 3), dtype, endpoint=True)


@pytest.mark.parametrize("tile", [1, 50, 128])
def test_tiles_of_any_height_give_the_result_in_one_piece(tile: int) -> None:
    image = picture(150, 203)
    whole = ready(trained(ResnetGenerator(width=8, blocks=2)), precision="fp32", tile="off")(image)
    tiled = ready(trained(ResnetGenerator(width=8, blocks=2)), precision="fp32", tile=tile)(image)
    apart = np.abs(whole.astype(int) - tiled)
    assert tiled.shape == (150, 203, 3) and apart.max() <= 1 and apart.mean() < 0.01


def test_every_kind_of_image_goes_in_bands() -> None:
    for given in (picture(70, 64, np.uint16), picture(70, 64)[..., 0], picture(70, 64) / np.float32(255)):
        whole = ready(trained(ResnetGenerator(width=8, blocks=1)), precision="fp32", tile="off")(given)
        tiled = ready(trained(ResnetGenerator(width=8, blocks=1)), precision="fp32", tile=20)(given)
        assert tiled.dtype == given.dtype
        top = 1 if tiled.dtype.kind == "f" else np.iinfo(tiled.dtype).max
        np.testing.assert_allclose(tiled / top, whole / top, rtol=0, atol=1.01 / 255)
        assert np.abs(tiled / top - whole / top).mean() < 2e-5
    tensor = noise(2, 3, 64, 64)
    tiled = ready(trained(ResnetGenerator(width=8, blocks=1)), precision="fp32", tile=20)(tensor)
    whole = ready(trained(ResnetGenerator(width=8, blocks=1)), precision="fp32", tile="off")(tensor)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-4)


def test_large_pictures_take_bands_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "LARGE", 64 * 64)
    ran: list[tuple[int, ...]] = []
    bands = Plan.bands

    def noted(self: Plan, read: Any, shape: Any, **options: Any) -> Any:
        ran.append(tuple(shape))
        return bands(self, read, shape, **options)

    monkeypatch.setattr(Plan, "bands", noted)
    engine = ready(trained(ResnetGenerator(width=4, blocks=1)), precision="fp32")
    engine(picture(64, 64))
    assert not ran
    engine(picture(68, 64))
    assert ran == [(3, 68, 64)]


def test_what_is_too_large_to_keep_takes_its_statistics_from_a_smaller_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    network, image = trained(ResnetGenerator(width=4, blocks=1)), picture(128, 96)
    monkeypatch.setattr(engines, "free_memory", lambda device: 80_000)
    engine = ready(network, precision="fp32", tile=32, say=said.append)
    got = engine(image)
    assert len(said) == 1 and "96 x 128 pixels are too many to keep" in said[0] and "1/2 of the size" in said[0]

    def entered(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).permute(2, 0, 1)[None].float() / 127.5 - 1

    halves = image.reshape(64, 2, 48, 2, 3).mean((1, 3)).round().astype(np.uint8)
    _, found = in_bands(network, entered(halves))
    wanted, _ = in_bands(network, entered(image), statistics=found)
    levels = wanted[0].permute(1, 2, 0).add(1).mul(127.5).numpy()
    assert np.abs(got - levels).mean() < 1  # the means of four pixels may be rounded another way


def test_what_is_not_finite_is_computed_again_in_fp32() -> None:
    said: list[str] = []
    network = trained(ResnetGenerator(width=4, blocks=1))
    network.layers[1].weight.data *= 1e30  # the squares of this overflow, whatever the precision
    network.layers[1].weight.data *= 1e8
    with pytest.raises(UserError, match="not finite"):
        ready(network, precision="bf16", tile=32, say=said.append)(picture(64, 64))
    assert any("computed again in fp32" in sentence for sentence in said)


def test_a_tile_is_refused_where_it_cannot_be() -> None:
    with pytest.raises(UserError, match="cannot run in bands"):
        ready(UnetGenerator(width=4, depth=5), tile=64, mode="paper")
    ready(UnetGenerator(width=4, depth=5), tile="auto", mode="paper")(picture(64, 64))
    with pytest.raises(UserError, match="a number of rows from 1 on, auto or off, not 0"):
        ready(trained(ResnetGenerator(width=4, blocks=1)), tile=0)


def test_a_map_that_no_memory_holds_is_said_as_such() -> None:
    with pytest.raises(MemoryError):
        Kept(torch.zeros(1, 64, 1, 4096), 10**10)


def test_residual_blocks_make_the_rows_of_a_band_at_once() -> None:
    blocks = [Residual(nn.Conv2d(2, 2, 3, 1, 1), nn.ReLU(), nn.Conv2d(2, 2, 3, 1, 1)) for _ in range(6)]
    plan, x = Plan.of(nn.Sequential(*blocks).eval()), torch.randn(1, 2, 64, 8)
    assert plan is not None
    with torch.autograd.profiler.profile() as seen:
        plan.run(lambda rows: x[:, :, rows[0] : rows[1]], x.shape[1:], lambda rows, band: None, rows=8)
    calls = sum(event.count for event in seen.key_averages() if event.key == "aten::conv2d")
    assert calls <= 12 * (64 // 8 + 1)  # convolutions; bands, and what shapes are found with
