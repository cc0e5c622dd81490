"""Tiny games and data for the tests of trainer and papers."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from i2i.game import HalfLife, Spec
from i2i.layers import InstanceNorm
from i2i.translation.cyclegan import CycleGAN, ResnetGenerator
from i2i.translation.pix2pix import PatchDiscriminator, Pix2Pix, UnetGenerator

AVERAGE = HalfLife(images=8, ramp=None)


class Pair(NamedTuple):
    a: Tensor
    b: Tensor


class Noise:
    """Endless random pictures: position p is drawn from p alone."""

    fields = Pair

    def __init__(self, *, size: int = 16, dtype: torch.dtype = torch.float32, length: int = 8) -> None:
        self.size, self.dtype, self.length = size, dtype, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: int) -> Pair:
        generator = torch.Generator().manual_seed(position)
        a, b = torch.rand(2, 3, self.size, self.size, generator=generator, dtype=torch.float64).mul(2).sub(1)
        return Pair(a.to(self.dtype), b.to(self.dtype))


def tiny_pix2pix(**more: Any) -> Pix2Pix:
    generator = Spec.to(UnetGenerator, width=4, depth=4, dropout=more.pop("dropout", 0.5))
    discriminator = Spec.to(PatchDiscriminator, channels=6, width=4, field=16)
    return Pix2Pix(generator, discriminator, average=AVERAGE, **more)


def tiny_cyclegan(**more: Any) -> CycleGAN:
    generator = Spec.to(ResnetGenerator, width=4, blocks=1, bias=False)
    norm = f"{InstanceNorm.__module__}:{InstanceNorm.__qualname__}"
    discriminator = Spec.to(PatchDiscriminator, channels=3, width=4, field=16, norm=norm)
    return CycleGAN(generator, discriminator, average=AVERAGE, **{"pool": 3, "identity": 5.0, **more})
