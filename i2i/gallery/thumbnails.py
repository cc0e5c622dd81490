"""Small versions of pictures, encoded, as a page embeds them."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

from i2i import images
from i2i.images import Picture
from i2i.images.picture import as_depth

__all__ = ["SIDE", "Thumbnail", "thumbnail"]

SIDE = 512  # pixels
QUALITY = 85


class Thumbnail(NamedTuple):
    """A picture as a page embeds it.

    Attributes:
        data: a JPEG file; WebP where there is alpha.
        size: its (width, height).
        full: (width, height) of the picture itself.
        original: the picture's own file, if it has one.
    """

    data: bytes
    size: tuple[int, int]
    full: tuple[int, int]
    original: Path | None = None

    @property
    def transparent(self) -> bool:
        """Whether it has alpha."""
        return self.data.startswith(b"RIFF")

    @property
    def address(self) -> str:
        """The data URI."""
        kind = "webp" if self.transparent else "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(self.data).decode()}"


def thumbnail(picture: Picture, original: str | Path | None = None, *, side: int = SIDE) -> Thumbnail:
    """`picture` with its longer side at most `side` pixels, never enlarged, in sRGB."""
    height, width = picture.pixels.shape[:2]
    alpha = None if picture.alpha is None else as_depth(picture.alpha, np.uint8)
    image = images.to_pil(replace(picture, pixels=as_depth(picture.pixels, np.uint8), alpha=alpha))
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3)  # weighs colours by their alpha
    image = to_srgb(image, picture.icc)
    small = images.from_pil(image)
    data, _ = images.encode(small, "jpeg" if small.alpha is None else "webp", quality=QUALITY)
    return Thumbnail(data, image.size, (width, height), None if original is None else Path(original))


def to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Colours through their profile: the picture beside it may have another, and profiles can be larger than pixels."""
    image.info.clear()
    if icc is None or image.mode not in ("RGB", "RGBA"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        turned = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=image.mode)
    except (OSError, ImageCms.PyCMSError, ValueError, TypeError):
        return image  # a damaged profile; the numbers are shown as they are
    assert turned is not None  # only None when converted in place
    turned.info.clear()
    return turned
