"""The figures of a picture beside the wanted one, by name; how each was measured is part of what it is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from i2i.errors import UserError
from i2i.metrics.fidelity import SCALES, Pixels, ms_ssim, psnr, rmse, smallest, ssim

__all__ = ["PAIRED", "PairMetric", "pair_metric"]

PAIRED = ("psnr", "ssim", "ms-ssim", "rmse")


class PairMetric(NamedTuple):
    """A figure of two pictures; as text its name with the protocol: "psnr (Y, shave 4)", "psnr (RGB)".

    Attributes:
        name: "psnr"; protocol: "Y, shave 4".
        unit: "dB", "levels", or empty.
        better: which figures are the better ones.
        least: pixels that height and width must have.
        measure: (fake, real) => the figure; uint8 [H,W,3], equally large. Raises ValueError for others.
        pool: the figures of all pairs => that of the set.
        coloured: whether it means nothing where the real picture is gray.
    """

    name: str
    protocol: str
    unit: str
    better: Literal["higher", "lower"]
    least: int
    measure: Callable[[Pixels, Pixels], float]
    pool: Callable[[Sequence[float]], float]
    coloured: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({self.protocol})"


def mean(figures: Sequence[float]) -> float:
    return float(np.mean(figures))


def root_mean_square(figures: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(figures))))


def pair_metric(name: str, *, luma: bool = False, shave: int = 0) -> PairMetric:
    """One of PAIRED, by the plain protocol or by that of super-resolution.

    Args:
        luma: compare Y of BT.601 instead of red, green and blue; root mean squares have no such variant.
        shave: pixels left out at each border.

    Raises UserError for a name that is none of them.
    """
    rgb = not luma or name == "rmse"
    protocol = ("RGB" if rgb else "Y") + (f", shave {shave}" if shave else "")
    edges = 2 * shave
    match name:
        case "psnr":
            measure = partial(psnr, shave=shave, rgb=rgb)
            return PairMetric(name, protocol, "dB", "higher", smallest(0) + edges, measure, mean)
        case "ssim":
            measure = partial(ssim, shave=shave, rgb=rgb)
            return PairMetric(name, protocol, "", "higher", smallest(1) + edges, measure, mean)
        case "ms-ssim":
            measure = partial(ms_ssim, shave=shave, rgb=rgb)
            return PairMetric(name, protocol, "", "higher", smallest(len(SCALES)) + edges, measure, mean)
        case "rmse":
            measure = partial(rmse, shave=shave)
            return PairMetric(name, protocol, "levels", "lower", smallest(0) + edges, measure, root_mean_square)
    raise UserError(f"no figure of pairs is called '{name}'; there are {', '.join(PAIRED)}")
