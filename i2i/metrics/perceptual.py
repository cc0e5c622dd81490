"""LPIPS (Zhang et al. 2018, 1801.03924), version 0.1: how different two pictures look, 0 for equal ones.

The network and the weights of its heads are those of the package `lpips`; the trunk's weights are torchvision's and
looked for as all weights are (`i2i.weights`). Pictures are compared at their own size.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from i2i.download import digest
from i2i.engine import find_device
from i2i.errors import UserError
from i2i.metrics.pairs import PairMetric, mean
from i2i.weights import find_weights, read_state

__all__ = ["LEAST", "Lpips", "Trunk"]

Pixels = NDArray[np.uint8]  # [H,W,3] RGB
Trunk = Literal["alex", "vgg", "squeeze"]
Looks = list[Tensor]
"""A picture as LPIPS sees it: of each layer [1,C,h,w], the channels of every place scaled to length 1."""

TRUNKS: dict[Trunk, str] = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}  # as `i2i.weights` has them
LEAST: dict[Trunk, int] = {"alex": 31, "vgg": 16, "squeeze": 17}  # pixels a side; of fewer nothing reaches the end


class Lpips:
    """LPIPS with one of its trunks. Called with two pictures it gives their distance.

    Args:
        trunk: alex is what most papers report, vgg what the authors optimise with.
        weights: the trunk's file; None looks for it, see `find_weights`.
        random: draw the trunk's weights with this seed instead. For tests: the numbers mean nothing.
        device: "auto", or as torch writes it.
        precision: of the trunk; heads and sums are fp32.

    Attributes:
        identity: network, sha256 of the trunk's weights, precision: what two figures must have in common.
        said: what a user must know about numbers that it makes.

    Raises UserError where the weights are missing or wrong.
    """

    def __init__(
        self,
        trunk: Trunk = "alex",
        *,
        weights: Path | None = None,
        random: int | None = None,
        device: str = "auto",
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        if trunk not in TRUNKS:
            raise UserError(f"LPIPS has no trunk '{trunk}'; take {', '.join(get_args(Trunk))}")
        self.trunk, self.device, self.precision = trunk, find_device(device), precision
        self.network = empty(trunk)
        self.said: tuple[str, ...] = ()
        if random is not None:
            draw(self.network.net, random)
            state, source = self.network.net.state_dict(prefix="net."), f"random {random}"
            self.said += (f"LPIPS has random weights (seed {random}): the numbers mean nothing",)
        else:
            path = find_weights(TRUNKS[trunk], weights)
            state, source = trunk_state(self.network, path), digest(path)
        fill(self.network, state)
        self.network.eval().requires_grad_(False).to(self.device, memory_format=torch.channels_last)
        if precision == "bf16":
            self.said += ("LPIPS in bf16: compare the figures with others in bf16 alone",)
        self.identity: dict[str, str | int] = {
            "network": f"lpips 0.1 {trunk}", "weights": source, "precision": precision,
        }  # fmt: skip

    @property
    def metric(self) -> PairMetric:
        """The distance as one of the figures of pairs: "lpips (alex, v0.1)"."""
        protocol = f"{self.trunk}, v0.1" + (", bf16" if self.precision == "bf16" else "")
        return PairMetric("lpips", protocol, "", "lower", LEAST[self.trunk], self, mean)

    def __call__(self, fake: Pixels, real: Pixels) -> float:
        """The distance of two pictures, uint8 [H,W,3] of one size. Raises TypeError, ValueError for others."""
        return self.between(*self.both(fake, real))

    @torch.inference_mode()
    def map(self, fake: Pixels, real: Pixels) -> NDArray[np.float32]:
        """Where they differ, [H,W]; arguments and errors as of a call, whose distance is about the map's mean."""
        import lpips

        spread = partial(lpips.upsample, out_HW=fake.shape[:2])
        return np.asarray(sum(map(spread, self.layers(*self.both(fake, real))))[0, 0].cpu().numpy())

    @torch.inference_mode()
    def looks(self, pixels: Pixels) -> Looks:
        """What `between` compares: for pictures of which several distances are wanted."""
        return self.see([pixels])

    @torch.inference_mode()
    def between(self, one: Looks, other: Looks) -> float:
        """The distance of two pictures seen before."""
        return float(sum(layer.mean((2, 3)) for layer in self.layers(one, other)))

    def both(self, fake: Pixels, real: Pixels) -> tuple[Looks, Looks]:
        """Two pictures, seen together."""
        if fake.shape != real.shape:
            sizes = " and ".join(f"{picture.shape[1]}x{picture.shape[0]}" for picture in (fake, real))
            raise ValueError(f"pictures of {sizes} pixels cannot be compared")
        seen = self.see([fake, real])
        return [layer[:1] for layer in seen], [layer[1:] for layer in seen]

    @torch.inference_mode()
    def see(self, pictures: Sequence[Pixels]) -> Looks:
        """As `Looks`, but of N pictures of one size."""
        import lpips

        for picture in pictures:
            check(picture, self.trunk)
        x = torch.from_numpy(np.stack(pictures)).to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        cast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")
        with cast, torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            layers = self.network.net(self.network.scaling_layer(x))
        return [lpips.normalize_tensor(layer.float()) for layer in layers]

    def layers(self, one: Looks, other: Looks) -> list[Tensor]:
        """Of each layer the weighted squares of the differences, [1,1,h,w]."""
        return [head((a - b) ** 2) for head, a, b in zip(self.network.lins, one, other, strict=True)]


def check(pixels: Pixels, trunk: Trunk) -> None:
    """Raises TypeError or ValueError for what LPIPS cannot look at: lpips takes any range and any channels silently."""
    if pixels.dtype != np.uint8:
        raise TypeError(f"LPIPS compares pictures in 8 bits (0..255), not {pixels.dtype}")
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"LPIPS compares RGB pictures, not an array of shape {pixels.shape}")
    if min(pixels.shape[:2]) < LEAST[trunk]:
        raise ValueError(
            f"{pixels.shape[1]}x{pixels.shape[0]} pixels are too few: LPIPS with {trunk} needs {LEAST[trunk]} in "
            "height and width"
        )


def empty(trunk: Trunk) -> Any:
    """The network of `lpips` on the meta device: nothing is fetched, printed, or drawn only to be replaced."""
    import lpips

    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks torchvision in words of 2021
        return lpips.LPIPS(net=trunk, version="0.1", pretrained=False, pnet_rand=True, verbose=False)


def trunk_state(network: Any, path: Path) -> dict[str, Tensor]:
    """The trunk's weights out of torchvision's file, under lpips' names. Raises UserError."""
    given, wanted = read_state(path), network.net.state_dict()
    state = {name: given.get(f"features.{name.split('.', 1)[1]}") for name in wanted}  # slice2.3.weight: features.3
    if any(value is None or value.shape != wanted[name].shape for name, value in state.items()):
        raise UserError(f"{path} holds no weights of torchvision's {TRUNKS[network.pnet_type]}", code=1)
    return {f"net.{name}": value.float() for name, value in state.items() if value is not None}


def fill(network: Any, trunk: dict[str, Tensor]) -> None:
    """Give it the weights of its trunk, and the packaged ones of its heads."""
    import lpips

    file = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{network.pnet_type}.pth"
    heads = torch.load(file, map_location="cpu", weights_only=True)
    heads |= {name.replace("lin", "lins.", 1): value for name, value in heads.items()}  # lpips keeps them twice
    scaling = network.scaling_layer.state_dict(prefix="scaling_layer.")
    network.load_state_dict({**scaling, **heads, **trunk}, assign=True)


def draw(trunk: nn.Module, seed: int) -> None:
    """Random weights, as torch draws them for convolutions."""
    trunk.to_empty(device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in trunk.modules():
            if isinstance(layer, nn.Conv2d):
                layer.reset_parameters()
