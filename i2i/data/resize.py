"""Antialiased bicubic resizing (a = -0.5), for any number of channels and 8 or 16 bits or floats: Pillow's own."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["PREPROCESSES", "Preprocess", "fit", "fitted", "resize"]

Preprocess = Literal["resize+crop", "crop", "scale-width", "scale-width+crop", "none"]
PREPROCESSES = ("resize+crop", "crop", "scale-width", "scale-width+crop", "none")


def resize(pixels: NDArray[Any], *, width: int, height: int) -> NDArray[Any]:
    """[H,W,C] -> [height,width,C] of the same dtype (uint8, uint16 or float32).

    uint8 is Pillow's 8-bit bicubic, each channel by itself (alpha is one more channel: colours are not weighted by it).
    uint16 goes through float and is rounded and clipped; float32 may overshoot its range, as bicubic does. A picture
    that has the size already is returned as it is.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return bicubic(pixels, width, height)
    if pixels.dtype == np.uint8:
        return np.stack([bicubic(channel, width, height) for channel in np.moveaxis(pixels, 2, 0)], axis=2)
    channels = [bicubic(channel.astype(np.float32), width, height) for channel in np.moveaxis(pixels, 2, 0)]
    resized = np.stack(channels, axis=2)
    if pixels.dtype == np.uint16:
        return np.rint(resized).clip(0, 65535).astype(np.uint16)
    if pixels.dtype == np.float32:
        return resized
    raise TypeError(f"resize takes uint8, uint16 or float32, not {pixels.dtype}")


def bicubic(pixels: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """Pillow's resize of [H,W] uint8 or float32, or [H,W,3] uint8."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))


def fitted(width: int, height: int, preprocess: str, load: int) -> tuple[int, int]:
    """(width, height) that a picture of that size has before its random crop."""
    if preprocess == "resize+crop":
        return load, load
    if preprocess.startswith("scale-width"):
        return load, max(1, round(load * height / width))
    return width, height


def fit(pixels: NDArray[Any], preprocess: str, load: int) -> NDArray[Any]:
    """[H,W,C] resized as `preprocess` says: what of it needs no chance."""
    width, height = fitted(pixels.shape[1], pixels.shape[0], preprocess, load)
    return resize(pixels, width=width, height=height)
