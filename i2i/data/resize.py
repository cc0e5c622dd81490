"""The size that a picture has in training, by the names that the reference code gave the choices."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from i2i.images.resampling import resize

__all__ = ["PREPROCESSES", "Preprocess", "fit", "fitted", "nearest", "resize"]

Preprocess = Literal["resize+crop", "crop", "scale-width", "scale-width+crop", "none"]
PREPROCESSES = ("resize+crop", "crop", "scale-width", "scale-width+crop", "none")


def fitted(width: int, height: int, preprocess: str, load: int) -> tuple[int, int]:
    """(width, height) that a picture of that size has before its random crop."""
    if preprocess == "resize+crop":
        return load, load
    if preprocess.startswith("scale-width"):
        return load, max(1, round(load * height / width))
    return width, height


def nearest(pixels: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """[H,W,C] => [height,width,C], each the pixel nearest to its middle: nothing is mixed."""
    rows, columns = (((np.arange(wanted) + 0.5) * given / wanted).astype(np.intp)
                     for wanted, given in ((height, pixels.shape[0]), (width, pixels.shape[1])))  # fmt: skip
    return pixels[rows[:, None], columns]


def fit(pixels: NDArray[Any], preprocess: str, load: int) -> NDArray[Any]:
    """[H,W,C] resized as `preprocess` says: what of it needs no chance."""
    width, height = fitted(pixels.shape[1], pixels.shape[0], preprocess, load)
    return resize(pixels, width=width, height=height)
