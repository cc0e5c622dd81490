"""A picture in memory: pixels upright, RGB or gray, uint8 or uint16, alpha apart; and what file formats can hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = [
    "FORMATS",
    "PILLOW",
    "SUFFIXES",
    "Array",
    "Picture",
    "as_depth",
    "fitting_profile",
    "sheet",
    "shrunk",
    "side_by_side",
    "to_pil",
]  # fmt: skip

Array = NDArray[Any]


class Format(NamedTuple):
    """What a file format can hold."""

    suffixes: tuple[str, ...]
    deep: bool  # 16 bits
    alpha: bool
    side: int  # the longest side, in pixels


FORMATS = {
    "png": Format((".png", ".apng"), True, True, 1 << 30),
    "jpeg": Format((".jpg", ".jpeg", ".jpe", ".jfif"), False, False, 65_500),
    "webp": Format((".webp",), False, True, 16_383),
    "tiff": Format((".tif", ".tiff"), True, True, 1 << 30),
    "avif": Format((".avif",), False, True, 65_536),
    "jp2": Format((".jp2", ".j2k", ".jpx"), False, True, 1 << 30),
    "bmp": Format((".bmp",), False, False, 1 << 30),
    "ppm": Format((".ppm", ".pgm", ".pnm"), True, False, 1 << 30),
}
PILLOW = {"MPO": "jpeg", "JPEG2000": "jp2", "DIB": "bmp"} | {
    name.upper(): name for name in FORMATS if name != "jp2"
}  # Pillow's name of a format -> ours
SUFFIXES = frozenset(
    {suffix for held in FORMATS.values() for suffix in held.suffixes}
    | {".gif", ".ico", ".tga", ".mpo", ".pbm", ".j2c", ".jpc", ".jpf", ".dib", ".pcx", ".sgi", ".avifs"}
)  # what a scan of a folder takes for a picture


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: [H,W] gray or [H,W,3] RGB, uint8 or uint16, upright.
        alpha: [H,W] of the same type, not multiplied into the pixels; None where all is opaque.
        icc: the colour profile, fitting the pixels' channels; None means sRGB.
        exif: "Exif\\0\\0..." with the orientation reset and without thumbnail.
        format: Pillow's name of the format it was read from.
        notes: what a user should know was done to it.
    """

    pixels: Array
    alpha: Array | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    format: str = "PNG"
    notes: tuple[str, ...] = ()

    @property
    def deep(self) -> bool:
        """Whether it has 16 bits per channel."""
        return self.pixels.dtype == np.uint16

    def with_pixels(self, pixels: Array) -> Picture:
        """The same picture with other pixels [H,W] or [H,W,C]: a second or fourth channel is alpha; else the old alpha
        follows, in size and depth. A profile of the wrong kind is left behind."""
        alpha = self.alpha
        if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
            alpha, pixels = pixels[..., -1], pixels[..., :-1]
        if pixels.ndim == 3 and pixels.shape[2] == 1:
            pixels = pixels[..., 0]
        if alpha is not None:
            alpha = as_depth(alpha, pixels.dtype)
            if alpha.shape != pixels.shape[:2]:
                alpha = cv2.resize(alpha, (pixels.shape[1], pixels.shape[0]), interpolation=cv2.INTER_CUBIC)
        icc, notes = fitting_profile(self.icc, pixels.ndim == 2)
        return replace(self, pixels=pixels, alpha=alpha, icc=icc, notes=self.notes + notes)


def as_depth(values: Array, dtype: Any) -> Array:
    """uint8 or uint16 `values` as `dtype`, white staying white."""
    if values.dtype == dtype:
        return values
    if dtype == np.uint16:
        return values.astype(np.uint16) * np.uint16(257)
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def fitting_profile(icc: bytes | None, gray: bool) -> tuple[bytes | None, tuple[str, ...]]:
    """The profile if it is one for these channels, and a note if it was not."""
    if icc is None:
        return None, ()
    if len(icc) < 128 or icc[36:40] != b"acsp":
        return None, ("its colour profile is damaged and was left out",)
    if icc[16:20] != (b"GRAY" if gray else b"RGB "):
        return None, ("its colour profile is for other channels and was left out",)
    return icc, ()


def to_pil(picture: Picture) -> Image.Image:
    """An 8-bit picture as L, LA, RGB or RGBA; 16-bit gray as I;16, 16-bit colour rounded to 8 (Pillow has no other)."""
    pixels, alpha = picture.pixels, picture.alpha
    if picture.deep and (pixels.ndim == 3 or alpha is not None):
        pixels = as_depth(pixels, np.uint8)
    if alpha is None:
        return Image.fromarray(np.ascontiguousarray(pixels))
    return Image.fromarray(np.dstack([pixels, as_depth(alpha, np.uint8)]))


def side_by_side(left: Picture, right: Picture, *, height: int | None = None, gap: int = 4) -> Picture:
    """Two pictures beside each other in 8-bit RGB on white, scaled to one height (the right one's unless given)."""
    height = height or right.pixels.shape[0]
    tiles = []
    for picture in (left, right):
        tile = flat(picture)
        if tile.shape[0] != height:
            width = max(1, round(tile.shape[1] * height / tile.shape[0]))
            shrink = height < tile.shape[0]
            tile = cv2.resize(tile, (width, height), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)
        tiles.append(tile)
    tiles.insert(1, np.full((height, gap, 3), 255, np.uint8))
    return Picture(np.ascontiguousarray(np.hstack(tiles)))


def shrunk(pixels: Array, width: int, height: int) -> Array:
    """[H,W,C] made smaller by averaging."""
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return small.reshape(height, width, pixels.shape[2])


def flat(picture: Picture) -> Array:
    """[H,W,3] uint8, alpha laid over white."""
    pixels = as_depth(picture.pixels, np.uint8)
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_GRAY2RGB)
    if picture.alpha is None:
        return pixels
    cover = as_depth(picture.alpha, np.uint8)[..., None].astype(np.uint16)
    return ((pixels * cover + 255 * (255 - cover) + 127) // 255).astype(np.uint8)


def sheet(tiles: list[Picture], *, columns: int = 2, gap: int = 12) -> Picture:
    """Pictures in rows of `columns` on white."""
    flats = [flat(tile) for tile in tiles]
    columns = min(columns, len(flats))
    width, height = max(tile.shape[1] for tile in flats), max(tile.shape[0] for tile in flats)
    rows = -(-len(flats) // columns)
    page = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    for place, tile in enumerate(flats):
        top, left = gap + place // columns * (height + gap), gap + place % columns * (width + gap)
        page[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return Picture(page)
