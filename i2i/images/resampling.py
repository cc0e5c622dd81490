"""Antialiased bicubic resizing (a = -0.5), for any number of channels and 8 or 16 bits or floats: Pillow's own."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from PIL import Image

from i2i.images.picture import LUMA, Array

__all__ = ["Resampler", "recolored", "resampled", "resize"]

Box = tuple[float, float, float, float]


def resize(pixels: Array, *, width: int, height: int, box: Box | None = None) -> Array:
    """[H,W,C] -> [height,width,C] of the same dtype (uint8, uint16 or float32).

    uint8 is Pillow's 8-bit bicubic, each channel by itself (alpha is one more channel: colours are not weighted by it).
    uint16 goes through float and is rounded and clipped; float32 may overshoot its range, as bicubic does. A picture
    that has the size already is returned as it is.

    `box` is (left, top, right, bottom) of what is resized, in pixels; what lies around it is seen by the filter.
    """
    if pixels.shape[:2] == (height, width) and box is None:
        return pixels
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return bicubic(pixels, width, height, box)
    if pixels.dtype == np.uint8:
        return np.stack([bicubic(channel, width, height, box) for channel in np.moveaxis(pixels, 2, 0)], axis=2)
    channels = [bicubic(channel.astype(np.float32), width, height, box) for channel in np.moveaxis(pixels, 2, 0)]
    resized = np.stack(channels, axis=2)
    if pixels.dtype == np.uint16:
        return np.rint(resized).clip(0, 65535).astype(np.uint16)
    if pixels.dtype == np.float32:
        return resized
    raise TypeError(f"resize takes uint8, uint16 or float32, not {pixels.dtype}")


def bicubic(pixels: Array, width: int, height: int, box: Box | None) -> Array:
    """Pillow's resize of [H,W] uint8 or float32, or [H,W,3] uint8."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC, box))


def resampled(values: Array, width: int, height: int, *, rows: tuple[float, float] | None = None) -> Array:
    """[H,W] or [H,W,C], uint8 or uint16, alpha last where C is 2 or 4 => the same at [height,width]; colours count by
    their alpha, so that what is transparent leaves no fringe.

    `rows` are the first and the last of what is resized; what lies around them is seen by the filter.
    """
    if values.ndim == 2:
        return resampled(values[..., None], width, height, rows=rows)[..., 0]
    if values.shape[:2] == (height, width) and rows is None:
        return values
    if values.shape[2] not in (2, 4):
        return in_turn(values, width, height, rows)
    top = float(np.iinfo(values.dtype).max)
    cover = values[..., -1:].astype(np.float32) / np.float32(top)
    weighted = in_turn(np.concatenate([values[..., :-1] * cover, cover], axis=2), width, height, rows)
    plain = in_turn(values[..., :-1], width, height, rows)  # where nothing covers: what was there
    cover = weighted[..., -1:].clip(0, 1)
    color = np.where(cover > 0.5 / top, weighted[..., :-1] / np.maximum(cover, 0.5 / top), plain)
    return np.rint(np.concatenate([color, cover * top], axis=2)).clip(0, top).astype(values.dtype)


def in_turn(values: Array, width: int, height: int, rows: tuple[float, float] | None) -> Array:
    """Across, then down. Pillow's order depends on the sizes, and overshoots are clipped after the first."""
    first, last = rows or (0, len(values))
    across = resize(values, width=width, height=len(values))
    return resize(across, width=width, height=height, box=(0, first, width, last))


def recolored(luma: Array, source: Array, *, top: int = 0, height: int | None = None) -> Array:
    """Rows [rows,W,3] of an enlarged picture, of its luma and the colours that it had before, enlarged bicubically.

    Args:
        luma: [rows,W], rows of the result from `top` on, of one type with the source.
        source: [h,w,3] before it was enlarged.
        height: of the whole result; the rows' own unless given.
    """
    rows, width = luma.shape
    ratio = len(source) / (height or rows)
    first, last = top * ratio, (top + rows) * ratio
    above = max(0, math.floor(first) - 3)  # the filter reaches two rows
    near = source[above : math.ceil(last) + 3].astype(np.float32)
    plain = in_turn(near, width, rows, (first - above, min(last - above, len(near))))
    made = plain + (luma - plain @ LUMA)[..., None]
    return np.rint(made).clip(0, np.iinfo(luma.dtype).max).astype(luma.dtype)


class Resampler:
    """`resampled` of a picture whose rows come in pieces from top to bottom, to the same result."""

    def __init__(self, size: tuple[int, int], wanted: tuple[int, int]) -> None:
        """`size` and `wanted` are (width, height) of what comes and of what is made."""
        self.size, self.wanted = size, wanted
        self.ratio = size[1] / wanted[1]
        self.reach = 2 * max(1.0, self.ratio) + 1  # rows on either side that the filter may look at
        self.held: Array | None = None
        self.first = self.made = 0  # the first row that is held, and the next to be made

    def feed(self, rows: Array) -> Iterator[Array]:
        """The rows [rows,width] or [rows,width,C] that these complete, if any."""
        self.held = rows if self.held is None else np.concatenate([self.held, rows])
        known = self.first + len(self.held)
        complete = known == self.size[1]
        ready = self.wanted[1] if complete else math.floor((known - self.reach) / self.ratio)
        if ready <= self.made:
            return
        part = self.made * self.ratio - self.first, min(ready * self.ratio - self.first, len(self.held))
        yield resampled(self.held, self.wanted[0], ready - self.made, rows=part)
        self.made = ready
        spent = max(0, math.floor(ready * self.ratio - self.reach) - self.first)
        self.held, self.first = self.held[spent:].copy(), self.first + spent
