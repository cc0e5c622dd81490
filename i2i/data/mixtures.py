"""Points of two mixtures of normal distributions in the plane: a toy for translating without pairs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from i2i.data.datasets import A_SIDE, B_SIDE, Unpaired, locate
from i2i.errors import UserError
from i2i.schedules import Purpose, mix

__all__ = ["Mixtures", "Points"]


class Points(NamedTuple):
    """x: [N,2] in the plane; mode: [N], the number of the mode that each was drawn from."""

    x: Tensor
    mode: Tensor


class Mixtures:
    """Points of two domains, each a mixture of equally likely modes evenly around a circle (Kim et al. 2017, Sec. 3.1;
    where the modes of a lie, and how wide any are, is not said there).

    A sample is two points as pictures of one pixel and two channels, [2,1,1].

    Args:
        modes: of a and of b.
        radius: of both circles.
        spread: standard deviation of each mode, in both directions.
        points: of each domain, drawn once.
        seed: of the points and their order; >= 0.
    """

    fields = Unpaired

    def __init__(
        self,
        *,
        modes: tuple[int, int] = (5, 10),
        radius: float = 6.0,
        spread: float = 0.4,
        points: int = 10_000,
        seed: int = 0,
    ) -> None:
        if min(modes) < 1 or radius <= 0 or spread <= 0 or points < 1 or seed < 0:
            raise UserError("Mixtures needs modes and points from 1 on, a radius and a spread above 0, a seed from 0")
        self.modes, self.radius, self.spread, self.seed = modes, radius, spread, seed
        self.tables = [self.draw(side, points, mix(seed, Purpose.SAMPLE, side)).x for side in (A_SIDE, B_SIDE)]

    def centres(self, side: int) -> Tensor:
        """The middles of the modes of a (0) or b (1), [K,2]."""
        angle = 2 * np.pi * torch.arange(self.modes[side]) / self.modes[side]
        return self.radius * torch.stack([angle.cos(), angle.sin()], 1)

    def draw(self, side: int, count: int, seed: int) -> Points:
        """New points of a (0) or b (1)."""
        chance = np.random.Generator(np.random.PCG64(seed))
        mode = torch.from_numpy(chance.integers(self.modes[side], size=count))
        noise = torch.from_numpy(chance.standard_normal((count, 2), dtype=np.float32))
        return Points(self.centres(side)[mode] + self.spread * noise, mode)

    def __len__(self) -> int:
        return len(self.tables[A_SIDE])

    def __getitem__(self, position: int) -> Unpaired:
        taken = (locate(position, len(self), self.seed, side)[1] for side in (A_SIDE, B_SIDE))
        return Unpaired(*(table[index].reshape(2, 1, 1) for table, index in zip(self.tables, taken, strict=True)))
