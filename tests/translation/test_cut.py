"""CUT's generator: what its blurs do to pictures, how far it sees, and that its filters are in no file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.bands import Plan
from i2i.checkpoint import read_header, save_generator
from i2i.layers import BlurDown, BlurUp, init_normal
from i2i.spec import Spec
from i2i.translation.cut import AntialiasedResnet
from i2i.zoo import load_generator


def halved(x: Tensor) -> Tensor:
    return BlurDown(x.shape[1])(F.pad(x, (1, 1, 1, 1), "reflect"))


def doubled(x: Tensor) -> Tensor:
    return BlurUp(x.shape[1])(F.pad(x, (1, 1, 1, 1), "replicate"))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 7), (2, 3)])
def test_blurs_halve_upwards_and_double_exactly(height: int, width: int) -> None:
    x = torch.full((2, 3, height, width), 0.7)
    small, large = halved(x), doubled(x)
    assert small.shape[2:] == ((height + 1) // 2, (width + 1) // 2)
    assert large.shape[2:] == (2 * height, 2 * width)
    for made in (small, large):
        assert torch.allclose(made, torch.tensor(0.7), rtol=0, atol=1e-6)  # an even picture stays so, rims and all


def test_blurs_keep_channels_apart_and_are_binomial() -> None:
    point = torch.zeros(1, 2, 8, 8)
    point[0, 1, 4, 4] = 1
    small, large = halved(point), doubled(point)
    assert not small[0, 0].any() and not large[0, 0].any()
    assert small[0, 1, 2, 2] == 4 / 16
    assert torch.equal(large[0, 1, 8, 7:11], torch.tensor([3.0, 9, 9, 3]) / 16)
    stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 1, 8, 8)
    assert halved(stripes).abs().max() < 1e-6  # the finest stripes, which plain striding would turn into an even colour


@pytest.mark.parametrize("down", [True, False])
@pytest.mark.parametrize("up", [True, False])
def test_how_far_it_sees(down: bool, up: bool) -> None:
    network = AntialiasedResnet(width=1, blocks=1, norm=nn.Identity, bias=False, blur_down=down, blur_up=up).double()
    network.layers[-1] = nn.Identity()
    for parameter in network.parameters():
        nn.init.uniform_(parameter, 0.1, 1)
    far = 0
    for row in range(60, 64):
        x = torch.ones(1, 3, 128, 128, dtype=torch.double, requires_grad=True)
        network(x)[0, 0, row, 64].backward()
        assert x.grad is not None
        seen = x.grad.abs().sum((0, 1, 3)).nonzero().flatten()
        far = max(far, row - int(seen[0]), int(seen[-1]) - row)
    assert network.card().halo == far


def test_it_is_cyclegans_size_and_any_size_passes() -> None:
    network = AntialiasedResnet()
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_378_179  # blurs have no parameters
    small = AntialiasedResnet(1, 2, width=2, blocks=1).eval()
    assert small(torch.zeros(1, 1, 40, 36)).shape == (1, 2, 40, 36)
    card = small.card()
    assert (card.multiple, card.channels, card.modes) == (4, (1, 2), ("deterministic",))


def test_first_weights_leave_the_filters_alone() -> None:
    network = init_normal(AntialiasedResnet(width=2, blocks=1), std=5.0)
    blur = next(module for module in network.modules() if isinstance(module, BlurDown))
    assert torch.equal(blur.weight[0, 0], torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16)


def test_its_file_holds_no_filters_and_gives_them_back(tmp_path: Path) -> None:
    spec = Spec.to(AntialiasedResnet, width=2, blocks=1)
    network: Any = spec.build().eval()
    path = tmp_path / "x.safetensors"
    save_generator(path, network, spec, network.card())
    assert not [name for name in read_header(path).shapes if name.startswith("layers.8.")]
    loaded, x = load_generator(path), torch.rand(1, 3, 32, 32)
    assert torch.equal(loaded(x), network(x))
    assert {value.dtype for value in loaded.to(torch.bfloat16).buffers()} == {torch.bfloat16}


def test_it_runs_in_bands() -> None:
    network = init_normal(AntialiasedResnet(width=4, blocks=2), std=0.1).eval()
    x, made = torch.rand(1, 3, 100, 60) * 2 - 1, torch.empty(1, 3, 100, 60)
    plan = Plan.of(network)
    assert plan is not None

    def write(rows: tuple[int, int], band: Tensor) -> None:
        made[:, :, rows[0] : rows[1]] = band

    plan.run(lambda rows: x[:, :, rows[0] : rows[1]], x.shape[1:], write, rows=16)
    with torch.no_grad():
        assert (made - network(x)).abs().max() < 1e-4
