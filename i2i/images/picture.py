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
    "LUMA",
    "PILLOW",
    "SUFFIXES",
    "Array",
    "Layout",
    "Picture",
    "as_depth",
    "filled",
    "fitting_profile",
    "premultiplied",
    "settled",
    "sheet",
    "shrunk",
    "side_by_side",
    "to_pil",
    "unpremultiplied",
]  # fmt: skip

Array = NDArray[Any]
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, what Pillow takes for gray


class Format(NamedTuple):
    """What a file format can hold."""

    suffixes: tuple[str, ...]
    deep: bool  # 16 bits
    alpha: bool
    side: int  # the longest side, in pixels
    area: int = 1 << 60  # pixels altogether


FORMATS = {
    "png": Format((".png", ".apng"), True, True, 1 << 30),
    "jpeg": Format((".jpg", ".jpeg", ".jpe", ".jfif"), False, False, 65_500),
    "webp": Format((".webp",), False, True, 16_383),
    "tiff": Format((".tif", ".tiff"), True, True, 1 << 30),
    "avif": Format((".avif",), False, True, 32_768, 16_384**2),  # libavif writes more than it reads
    "jp2": Format((".jp2", ".j2k", ".jpx"), False, True, 1 << 30),
    "bmp": Format((".bmp",), False, False, 1 << 30, 1_400_000_000),  # its 32 bits count 4 GB
    "ppm": Format((".ppm", ".pgm", ".pnm"), True, False, 1 << 30),
}
PILLOW = {"MPO": "jpeg", "HEIF": "jpeg", "JPEG2000": "jp2", "DIB": "bmp"} | {
    name.upper(): name for name in FORMATS if name != "jp2"
}  # Pillow's name of a format -> ours
SUFFIXES = frozenset(
    {suffix for held in FORMATS.values() for suffix in held.suffixes}
    | {".gif", ".ico", ".tga", ".mpo", ".pbm", ".j2c", ".jpc", ".jpf", ".dib", ".pcx", ".sgi", ".avifs"}
    | {".heic", ".heif", ".hif"}
)  # what a scan of a folder takes for a picture


@dataclass(frozen=True)
class Layout:
    """A picture without its pixels: what must be known before the first row of a file is written.

    Attributes:
        width, height: in pixels.
        channels: 1 gray, 2 gray and alpha, 3 colour, 4 colour and alpha.
        deep: whether it has 16 bits per channel.
        icc, exif, dpi, xmp, palette: as in Picture.
    """

    width: int
    height: int
    channels: int
    deep: bool = False
    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    palette: tuple[tuple[int, int, int], ...] | None = None

    @property
    def alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.channels in (2, 4)

    @property
    def color(self) -> bool:
        """Whether it is not gray."""
        return self.channels > 2


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
        dpi: pixels per inch across and down, where the file tells them outside of EXIF too.
        xmp: what people wrote about it, in XML (see i2i.images.xmp).
        palette: the only colours that it has, in 8 bits, at most 256, where their places are numbers that mean
            something: a PNG then holds those.
    """

    pixels: Array
    alpha: Array | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    format: str = "PNG"
    notes: tuple[str, ...] = ()
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    palette: tuple[tuple[int, int, int], ...] | None = None

    @property
    def deep(self) -> bool:
        """Whether it has 16 bits per channel."""
        return self.pixels.dtype == np.uint16

    @property
    def values(self) -> Array:
        """[H,W,C]: pixels and, as the last channel, alpha."""
        pixels = self.pixels if self.pixels.ndim == 3 else self.pixels[..., None]
        return pixels if self.alpha is None else np.dstack([pixels, self.alpha])

    @property
    def layout(self) -> Layout:
        """What its file will say of it beside the pixels."""
        height, width = self.pixels.shape[:2]
        channels = (1 if self.pixels.ndim == 2 else 3) + (self.alpha is not None)
        return Layout(width, height, channels, self.deep, self.icc, self.exif, self.dpi, self.xmp, self.palette)

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


def premultiplied(pixels: Array, alpha: Array) -> Array:
    """`pixels` [H,W] or [H,W,C] times `alpha` [H,W], where the type's largest value counts as 1; rounded."""
    top = int(np.iinfo(pixels.dtype).max)
    cover = alpha.astype(np.uint32).reshape(*alpha.shape, *[1] * (pixels.ndim - 2))
    return ((pixels * cover + top // 2) // top).astype(pixels.dtype)


def unpremultiplied(pixels: Array, alpha: Array) -> Array:
    """What `premultiplied` made `pixels` of, as far as its rounding left it; 0 where alpha is 0."""
    top = int(np.iinfo(pixels.dtype).max)
    cover = alpha.astype(np.uint32).reshape(*alpha.shape, *[1] * (pixels.ndim - 2))
    whole = (pixels.astype(np.uint32) * top + cover // 2) // np.maximum(cover, 1)
    return np.where(cover == 0, 0, np.minimum(whole, top)).astype(pixels.dtype)


def filled(pixels: Array, alpha: Array) -> Array:
    """`pixels` [H,W] or [H,W,C] with colours from the neighbourhood where `alpha` [H,W] hides them.

    What a file keeps under transparency is arbitrary, often black; a network, or any filter, draws it into the edge as
    a fringe. The neighbourhood's colour is the mean of the premultiplied colours over that of alpha, at the finest of
    the halved sizes where anything shows. It takes over from the pixel's own colour, the fainter that is covered: in
    full at alpha 0, not at all from a sixteenth of full cover, where the colour is the picture's own.
    """
    if alpha.min() > np.iinfo(alpha.dtype).max // 16 or not alpha.any():
        return pixels
    top = float(np.iinfo(alpha.dtype).max)
    cover = (alpha / np.float32(top)).astype(np.float32)[..., None]
    values = pixels.reshape(*alpha.shape, -1).astype(np.float32)
    own = np.minimum(cover * 16, 1)
    spread = around(np.concatenate([values * cover, cover], axis=2))
    made = values * own + (1 - own) * spread[..., :-1] / np.maximum(spread[..., -1:], 1e-12)
    return np.rint(made).clip(0, top).astype(pixels.dtype).reshape(pixels.shape)


def around(weighted: Array) -> Array:
    """[H,W,C+1] premultiplied colours and cover => the same with the holes filled from ever coarser means."""
    height, width = weighted.shape[:2]
    if min(height, width) == 1 and max(height, width) == 1:
        return weighted
    # means of 2x2 pixels; a size that is odd repeats its last row or column
    even = np.pad(weighted, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    coarse = around((even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4)
    fine = cv2.resize(coarse, (even.shape[1], even.shape[0]), interpolation=cv2.INTER_LINEAR)
    fine = fine.reshape(*even.shape[:2], -1)[:height, :width]
    hole = 1 - np.minimum(weighted[..., -1:] * 16, 1)
    # the coarse colour with a cover of at most 1, so that what is far does not outweigh what is near
    return weighted + hole * fine


def settled(values: Array, source: Array, *, top: int = 0, height: int | None = None) -> Array:
    """Rows of an enlarged channel, with what is flat in `source` made flat again: opaque is opaque, and what shows
    nothing shows no specks. Edges stay as they were made.

    Args:
        values: [rows,W]: rows of the result from `top` on, of one type with the source.
        source: [h,w] before it was enlarged.
        height: of the whole result; the rows' own unless given.
    """
    rows, width = values.shape
    down = np.arange(top, top + rows) * source.shape[0] // (height or rows)
    across = np.arange(width) * source.shape[1] // width
    above = max(0, int(down[0]) - 1)
    near = np.ascontiguousarray(source[above : int(down[-1]) + 2])
    square = np.ones((3, 3), np.uint8)
    flat = cv2.erode(near, square) == cv2.dilate(near, square)
    at = np.ix_(down - above, across)
    return np.where(flat[at], near[at], values)


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
    cover = as_depth(picture.alpha, np.uint8)
    return premultiplied(pixels, cover) + (255 - cover)[..., None]


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
