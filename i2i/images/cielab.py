"""Colours as CIE L*a*b* under D65: OpenCV's arithmetic, between sRGB's own curves, which OpenCV only approximates."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from i2i.images.picture import Array

__all__ = ["CHROMA", "coloured", "from_lab", "lab", "lightness"]

CHROMA = 110.0  # no a or b of an sRGB colour is larger: -86.2 to 98.2, -107.9 to 94.5
OUTSIDE = 0.1  # of L, a or b that clipping to sRGB changes, from which a colour counts as outside
HALVINGS = 8  # of the interval in which the largest chroma that sRGB has is looked for
BLOCK = 1 << 20  # pixels converted at once


def lab(pixels: Array) -> Array:
    """[H,W], [H,W,1] or [H,W,3] sRGB, uint8, uint16 or float in [0,1] => [H,W,3] float32: L in 0..100, a, b."""
    gray = pixels.ndim == 2 or pixels.shape[2] == 1
    light = linear(pixels)
    if gray:
        light = np.repeat(light.reshape(*pixels.shape[:2], 1), 3, axis=2)
    found = cv2.cvtColor(np.ascontiguousarray(light), cv2.COLOR_LRGB2LAB)
    if gray:
        found[..., 1:] = 0
    return found


def lightness(pixels: Array) -> Array:
    """The L of `lab`, [H,W] float32 in 0..100, in little more memory than that."""
    made = np.empty(pixels.shape[:2], np.float32)
    step = max(1, BLOCK // pixels.shape[1])
    for top in range(0, len(made), step):
        made[top : top + step] = lab(pixels[top : top + step])[..., 0]
    return made


def coloured(chroma: Array, source: Array) -> Array:
    """The lightness of one picture with other colours, [H,W,3] of its type.

    Where sRGB has no such colour, its chroma shrinks until it has: the lightness stays, and so does the hue.

    Args:
        chroma: [H,W,2], a and b.
        source: [H,W], [H,W,1] or [H,W,3] sRGB, uint8, uint16 or float in [0,1].
    """
    height, width = source.shape[:2]
    made = np.empty((height, width, 3), source.dtype)
    step = max(1, BLOCK // width)
    for top in range(0, height, step):
        rows = slice(top, top + step)
        wanted = np.concatenate([lightness(source[rows])[..., None], chroma[rows].astype(np.float32)], axis=2)
        made[rows] = encoded(within(wanted), source.dtype)
    return made


def from_lab(wanted: Array) -> Array:
    """The inverse of `lab`: [H,W,3] float32 => sRGB in [0,1]; as `coloured` where there is no such colour."""
    return encoded(within(np.ascontiguousarray(wanted)), np.dtype(np.float32))


def within(wanted: Array) -> Array:
    """[H,W,3] L, a, b => [H,W,3] linear sRGB in [0,1] of the same L and hue, and of the same chroma where there is such
    a colour."""
    light = cv2.cvtColor(wanted, cv2.COLOR_LAB2LRGB)
    outside = ~there(light, wanted)
    if not outside.any():
        return light
    colours = wanted[outside][None]  # => [1,N,3], a picture for OpenCV
    low, high = (np.full((1, colours.shape[1], 1), share, np.float32) for share in (0, 1))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        paler = np.concatenate([colours[..., :1], middle * colours[..., 1:]], axis=2)
        found = there(cv2.cvtColor(paler, cv2.COLOR_LAB2LRGB), paler)[..., None]
        low, high = np.where(found, middle, low), np.where(found, high, middle)
    paler = np.concatenate([colours[..., :1], low * colours[..., 1:]], axis=2)
    light[outside] = cv2.cvtColor(paler, cv2.COLOR_LAB2LRGB)[0]
    return light


def there(light: Array, wanted: Array) -> Array:
    """Where linear sRGB that was clipped to [0,1] still is the colour that was wanted."""
    apart = np.abs(cv2.cvtColor(light, cv2.COLOR_LRGB2LAB) - wanted)
    return np.maximum(np.maximum(apart[..., 0], apart[..., 1]), apart[..., 2]) < OUTSIDE  # faster than max


def linear(values: Array) -> Array:
    """sRGB as amounts of light, float32 in [0,1] (IEC 61966-2-1)."""
    if values.dtype.kind == "u":
        top = np.iinfo(values.dtype).max
        return linear(np.arange(top + 1) / top)[values]
    unit = values.astype(np.float32) if values.dtype == np.float16 else values
    curve = ((np.maximum(unit, 0.04045) + 0.055) / 1.055) ** 2.4
    return np.where(unit <= 0.04045, unit / 12.92, curve).astype(np.float32)


def encoded(light: Array, kind: np.dtype[Any]) -> Array:
    """The inverse of `linear`, in a type of numbers."""
    unit = np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055)
    unit = unit.clip(0, 1)
    return np.rint(unit * np.iinfo(kind).max).astype(kind) if kind.kind == "u" else unit.astype(kind)
