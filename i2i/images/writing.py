"""From pictures to files, each whole or not there."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin

from i2i.errors import UserError
from i2i.images.picture import FORMATS, PILLOW, Picture, as_depth, to_pil

__all__ = ["encode", "fitting_format", "save", "write"]


def fitting_format(picture: Picture, wished: str | None = None) -> tuple[str, str]:
    """The format to write `picture` in, and a note where that is not the one it came in.

    `wished`, or else the input's format, where it can hold the depth, the alpha and the size; else PNG.
    """
    own = PILLOW.get(picture.format, "")
    format = wished or own or "png"
    held, lacks = FORMATS[format], ""
    if picture.deep and not held.deep:
        lacks = "16 bits"
    elif picture.alpha is not None and not held.alpha:
        lacks = "alpha"
    elif max(picture.pixels.shape[:2]) > held.side:
        lacks = f"sides beyond {held.side} pixels"
    if lacks:
        return "png", f"{format} cannot hold {lacks}; it became png"
    return format, "" if format == own else f"{picture.format.lower()} became {format}"


def encode(picture: Picture, format: str, *, quality: int | None = None) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of a file, and notes on what the format could not hold.

    Args:
        format: a key of FORMATS.
        quality: 1 to 100 for jpeg, webp and avif (95 unless given); the others are lossless.

    Raises UserError (code 1) where the format cannot hold the picture's size.
    """
    held = FORMATS[format]
    notes = []
    if max(picture.pixels.shape[:2]) > held.side:
        raise UserError(f"{format} holds sides of at most {held.side} pixels; take --format png", code=1)
    if picture.deep and not held.deep:
        narrow = None if picture.alpha is None else as_depth(picture.alpha, np.uint8)
        picture = replace(picture, pixels=as_depth(picture.pixels, np.uint8), alpha=narrow)
        notes.append(f"{format} holds 8 bits; 16 were rounded")
    if picture.alpha is not None and not held.alpha:
        picture = replace(picture, alpha=None)
        notes.append(f"{format} holds no alpha; it was dropped")
    if format in ("bmp", "ppm", "jp2") and (picture.icc or picture.exif):
        picture = replace(picture, icc=None, exif=None)
        notes.append(f"{format} holds no colour profile or EXIF; they were dropped")
    exif = fitted_exif(picture)
    if exif and format == "jpeg" and len(exif) > 65_533:
        exif = None
        notes.append("its EXIF is too long for jpeg and was dropped")
    if format == "tiff":
        return as_tiff(picture, exif), tuple(notes)
    if picture.deep or (format == "png" and (picture.alpha is None or picture.pixels.ndim == 3)):
        return by_opencv(picture, format, exif), tuple(notes)
    return by_pillow(picture, format, exif, 95 if quality is None else quality), tuple(notes)


def fitted_exif(picture: Picture) -> bytes | None:
    """The picture's EXIF with its width and height put right where it tells them."""
    if picture.exif is None:
        return None
    exif = Image.Exif()
    exif.load(picture.exif)
    inner = exif.get_ifd(0x8769)
    if 0xA002 not in inner and 0xA003 not in inner:
        return picture.exif
    inner[0xA003], inner[0xA002] = picture.pixels.shape[:2]
    return exif.tobytes()


def by_opencv(picture: Picture, format: str, exif: bytes | None) -> bytes:
    """PNG (7 times faster than Pillow's at like size; leave its level alone, a given one is slower) and 16-bit PPM."""
    if picture.alpha is not None:
        color = picture.pixels if picture.pixels.ndim == 3 else cv2.cvtColor(picture.pixels, cv2.COLOR_GRAY2RGB)
        values = np.dstack([color[..., ::-1], picture.alpha])
    else:
        values = picture.pixels
        if values.ndim == 3:
            values = cv2.cvtColor(np.ascontiguousarray(values), cv2.COLOR_RGB2BGR)
    name = "pgm" if format == "ppm" and values.ndim == 2 else format
    done, data = cv2.imencode("." + name, np.ascontiguousarray(values))
    assert done
    if format != "png":
        return data.tobytes()
    extra = b""
    if picture.icc:
        extra += chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(picture.icc))
    if exif:
        extra += chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    if not extra:
        return data.tobytes()
    plain = data.tobytes()
    return plain[:33] + extra + plain[33:]  # 8 bytes of signature, 25 of IHDR


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def by_pillow(picture: Picture, format: str, exif: bytes | None, quality: int) -> bytes:
    """8-bit files of every kind."""
    options: dict[str, Any] = {}
    if format in ("jpeg", "webp", "avif"):
        options["quality"] = quality
    if format == "jpeg":
        options["subsampling"] = 0 if quality >= 90 else 2
    if picture.icc:
        options["icc_profile"] = picture.icc
    if exif:
        options["exif"] = exif
    out = io.BytesIO()
    to_pil(picture).save(out, "JPEG2000" if format == "jp2" else format.upper(), **options)
    return out.getvalue()


def as_tiff(picture: Picture, exif: bytes | None) -> bytes:
    """A TIFF of one deflated strip, with profile and EXIF; for 16 bits neither Pillow nor OpenCV writes all of that."""
    values = picture.pixels if picture.pixels.ndim == 3 else picture.pixels[..., None]
    if picture.alpha is not None:
        if picture.deep:
            values = np.broadcast_to(values, (*values.shape[:2], 3))  # Pillow reads no 16-bit gray with alpha
        values = np.dstack([values, picture.alpha])
    colors = values.shape[2] - (picture.alpha is not None)
    steps = values.copy()
    steps[:, 1:] -= values[:, :-1]  # predictor 2: differences along the row, wrapping around
    strip = zlib.compress(steps.astype(steps.dtype.newbyteorder("<")).tobytes(), 3)
    tags = TiffImagePlugin.ImageFileDirectory_v2(ifh=b"II\x2a\0\0\0\0\0")
    if exif:
        kept = Image.Exif()
        kept.load(exif)
        for tag in kept:
            tags[tag] = kept.get_ifd(tag) if tag in (0x8769, 0x8825) else kept[tag]
    height, width, channels = values.shape
    tags[256], tags[257], tags[258] = width, height, (8 * values.itemsize,) * channels
    tags[259], tags[262], tags[317] = 8, 2 if colors == 3 else 1, 2  # deflate; RGB or black is zero; predictor
    tags[273], tags[277], tags[278], tags[279] = 0, channels, height, len(strip)  # 273: counted from the tags' end
    tags[284] = 1  # channels interleaved
    if picture.alpha is not None:
        tags[338] = (2,)  # alpha, not multiplied in
    if picture.icc:
        tags.tagtype[34675] = 7
        tags[34675] = picture.icc
    return b"II\x2a\0" + struct.pack("<I", 8) + tags.tobytes(8) + strip


def save(data: bytes, path: Path) -> None:
    """Write `data` under a temporary name in the same folder and rename it: `path` is whole or is not there.

    Raises OSError; the temporary file is gone then.
    """
    # not the name itself: where that is as long as names may be, nothing longer can be written
    part = path.with_name(f".{hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except BaseException:  # an interrupt too must leave nothing behind
        with suppress(OSError):
            part.unlink()
        raise


def write(picture: Picture, path: str | Path, *, format: str | None = None,
          quality: int | None = None) -> tuple[str, ...]:  # fmt: skip
    """Write `picture` whole or not at all; the format is the suffix's unless given. Returns notes on what was lost."""
    path = Path(path)
    if format is None:
        format = next((name for name, held in FORMATS.items() if path.suffix.lower() in held.suffixes), None)
        if format is None:
            raise UserError(f"{path}: no format is known by that ending; take one of {', '.join(FORMATS)}")
    data, notes = encode(picture, format, quality=quality)
    save(data, path)
    return notes
