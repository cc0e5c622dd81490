"""Pictures in and out: the only module that opens image files for running.

Pixels are RGB or gray, uint8 or uint16, upright (EXIF orientation applied), with alpha apart. Pillow decides what an
image is; where it would cut 16-bit colour to 8 bits, OpenCV reads the same bytes and must agree with it.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, TiffImagePlugin, UnidentifiedImageError

from i2i.errors import UserError

__all__ = ["FORMATS", "SUFFIXES", "Picture", "encode", "fitting_format", "from_pil", "read", "save", "side_by_side",
           "sheet", "to_pil", "write"]  # fmt: skip

Array = NDArray[Any]

LARGEST = 100_000_000  # pixels; beyond it a picture is refused before it is decoded
LARGEST_FILE = 1 << 30  # bytes
ORIENTATION = 0x0112
UPRIGHT: dict[int, Callable[[Array], Array]] = {  # EXIF 2.3, 4.6.4 A: what makes the stored pixels upright
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x.swapaxes(0, 1)[:, ::-1],
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x.swapaxes(0, 1)[::-1],
}
# Tags of TIFF's first directory that describe the stored strips, not the picture: wrong for any other file.
STRUCTURE = {*range(254, 270), 273, *range(277, 282), 284, 285, 292, 293, *range(301, 304), *range(317, 348), *range(512, 533), 700, 33723, 34377, 34675, 37724, 50341}  # fmt: skip # noqa: E501


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
READ = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "DIB", "PPM", "AVIF", "JPEG2000", "PCX", "SGI", "TGA", "ICO")
# What Pillow may try, in this order: its own order depends on what the process opened before, and its own list has
# EPS, which starts Ghostscript.
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


# --- reading


def read(source: str | Path | bytes, *, keep_truncated: bool = False, name: str = "") -> Picture:
    """The picture in a file or in bytes: the first frame, upright.

    Args:
        source: a path, or the bytes of a file.
        keep_truncated: take what is there of a file whose end is missing, instead of refusing it.
        name: how errors call the picture; the path unless given.

    Raises UserError (code 1), one sentence that names the picture and the reason.
    """
    name = name or ("standard input" if isinstance(source, bytes) else str(source))
    data = source if isinstance(source, bytes) else read_bytes(Path(source))
    if not data:
        raise UserError(f"{name}: the file is empty", code=1)
    try:
        return decode(data)
    except UnidentifiedImageError:
        raise UserError(f"{name}: this is no image, or one of a kind that cannot be read", code=1) from None
    except (Image.DecompressionBombError, TooLarge) as error:
        size = re.search(r"\((\d+) pixels\)", str(error))
        count = f"{int(size[1]) / 1e6:,.0f} million pixels are" if size else "that is"
        raise UserError(f"{name}: {count} too many; at most {LARGEST // 10**6} million are read", code=1) from None
    except Exception as error:  # decoders of other projects: on bad bytes they raise whatever they like
        if isinstance(error, OSError | SyntaxError) and "truncated" in str(error).lower():
            if keep_truncated:
                return read_truncated(data, name)
            raise UserError(f"{name}: the end of the file is missing; --keep-truncated takes what is there",
                            code=1) from None  # fmt: skip
        reason = "too large for memory" if isinstance(error, MemoryError) else str(error) or type(error).__name__
        raise UserError(f"{name}: the image is damaged ({' '.join(reason.split())[:120]})", code=1) from None


class TooLarge(Exception):
    """More pixels than are read; worded as Pillow's own error."""


def read_bytes(path: Path) -> bytes:
    """The bytes of a regular file of at most 1 GiB."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path}: this is no regular file", code=1)
        if status.st_size > LARGEST_FILE:
            raise UserError(f"{path}: {status.st_size / 1e9:.1f} GB are too many; at most 1 GB is read", code=1)
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}", code=1) from None


LENIENT = threading.Lock()  # Pillow keeps this choice in a global


def read_truncated(data: bytes, name: str) -> Picture:
    """What is there of a truncated file; the rest is what the decoder left."""
    with LENIENT:
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            picture = decode(data)
        except Exception as error:  # as in `read`
            raise UserError(f"{name}: too much of the file is missing ({error})", code=1) from None
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
    return replace(picture, notes=(*picture.notes, "the end of the file is missing; what is there was kept"))


def decode(data: bytes) -> Picture:
    """The picture in `data`. Raises what Pillow raises, and TooLarge."""
    with Image.open(io.BytesIO(data), formats=READ) as image:
        if image.width * image.height > LARGEST:
            raise TooLarge(f"({image.width * image.height} pixels)")
        stored = orientation(image)
        wide = wide_kind(image)  # before load(), which forgets how the pixels are stored
        image.load()
        picture = from_pil(image, kind=wide)
        if wide and not picture.deep:
            picture = deepen(picture, data, premultiplied=wide.startswith("RGBa"), turn=stored)
        with suppress(Exception):  # counting frames reads on, into bytes that may be damaged: only a note depends on it
            if getattr(image, "is_animated", False):
                picture = replace(picture, notes=(*picture.notes, "of several frames the first was taken"))
    return picture


def wide_kind(image: Image.Image) -> str:
    """How a file stores more than 8 bits per channel ("RGB;16B", "I;12", ...), or ""."""
    for tile in image.tile:
        arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        first = str(arguments[0]) if arguments else ""
        if re.match(r"(RGB|RGBA|RGBa|RGBX|LA);16|I;1\d", first):
            return first
        if image.format == "PPM" and image.mode == "RGB" and isinstance(arguments[-1], int) and arguments[-1] > 255:
            return f"RGB;16 of {arguments[-1]}"
    return ""


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or it cannot be read."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # EXIF is written by anybody; Pillow raises whatever the parsing met
        return 1
    return found if found in UPRIGHT else 1


def upright(values: Array, turn: int) -> Array:
    """`values` [H,W] or [H,W,C] turned upright, contiguous."""
    return np.ascontiguousarray(UPRIGHT[turn](values)) if turn in UPRIGHT else values


def from_pil(image: Image.Image, *, kind: str = "") -> Picture:
    """A loaded PIL image of any mode as a Picture; `kind` is how its file stores the values, where that matters."""
    notes: tuple[str, ...] = ()
    turn, exif = orientation(image), clean_exif(image)
    icc = image.info.get("icc_profile") or None
    alpha = None
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        pixels, alpha, notes = wide_gray(image, kind)
    else:
        transparent = image.has_transparency_data
        if image.mode == "CMYK" and icc:
            image, notes = from_print(image, icc)
            icc = None
        if image.mode in ("1", "L", "LA", "La"):
            mode = "LA" if transparent else "L"
        else:
            mode = "RGBA" if transparent else "RGB"
            if image.mode in ("LAB", "CMYK", "YCbCr", "HSV"):
                icc = None  # it describes channels that are gone
        values = np.asarray(image if image.mode == mode else image.convert(mode))
        pixels = values
        if transparent:
            pixels = np.ascontiguousarray(values[..., :-1]) if mode == "RGBA" else np.ascontiguousarray(values[..., 0])
            alpha = np.ascontiguousarray(values[..., -1])
    icc, more = fitting_profile(icc, pixels.ndim == 2)
    alpha = None if alpha is None else upright(alpha, turn)
    return Picture(upright(pixels, turn), alpha, icc, exif, image.format or "PNG", notes + more)


def wide_gray(image: Image.Image, kind: str) -> tuple[Array, Array | None, tuple[str, ...]]:
    """Gray of more than 8 bits as uint16. Pillow's own conversion would clip it to 0..255."""
    values = np.asarray(image)
    if image.mode == "F" or values.min(initial=0) < 0 or values.max(initial=0) > 65_535:
        good = values[np.isfinite(values)].astype(np.float64)
        low, high = (float(good.min()), float(good.max())) if good.size else (0.0, 0.0)
        if 0 <= low and high <= 1:
            low, high = 0.0, 1.0
        stretched = (np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low) - low) * (
            65_535 / max(high - low, 1e-30)
        )
        note = f"values {low:g} to {high:g} were taken as black to white"
        return np.clip(np.rint(stretched), 0, 65_535).astype(np.uint16), None, (note,)
    alpha = None
    if isinstance(image.info.get("transparency"), int):
        alpha = np.where(values == image.info["transparency"], 0, 65_535).astype(np.uint16)
    if match := re.match(r"I;1([0-5])", kind):
        top = (1 << (10 + int(match[1]))) - 1
        return (values.astype(np.uint32) * 65_535 // top).clip(0, 65_535).astype(np.uint16), alpha, ()
    return values.astype(np.uint16), alpha, ()


def from_print(image: Image.Image, icc: bytes) -> tuple[Image.Image, tuple[str, ...]]:
    """CMYK through its profile to sRGB; by the plain formula where the profile is of no use."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        turned = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (OSError, ImageCms.PyCMSError, ValueError, TypeError):
        return image, ("its print profile is damaged; colours were converted without it",)
    assert turned is not None  # only None when converted in place
    turned.format = image.format
    return turned, ()


def fitting_profile(icc: bytes | None, gray: bool) -> tuple[bytes | None, tuple[str, ...]]:
    """The profile if it is one for these channels, and a note if it was not."""
    if icc is None:
        return None, ()
    if len(icc) < 128 or icc[36:40] != b"acsp":
        return None, ("its colour profile is damaged and was left out",)
    if icc[16:20] != (b"GRAY" if gray else b"RGB "):
        return None, ("its colour profile is for other channels and was left out",)
    return icc, ()


def clean_exif(image: Image.Image) -> bytes | None:
    """EXIF with the orientation reset, and without the thumbnail and tags about the stored strips."""
    try:
        exif = image.getexif()
        for tag in [tag for tag in exif if tag in STRUCTURE]:
            del exif[tag]
        if not any(tag != ORIENTATION for tag in exif):
            return None
        if ORIENTATION in exif:
            exif[ORIENTATION] = 1
        return exif.tobytes()  # the second directory, the thumbnail, is not written
    except Exception:  # EXIF is written by anybody; a picture is worth more than its tags
        return None


def deepen(picture: Picture, data: bytes, *, premultiplied: bool, turn: int) -> Picture:
    """`picture` with 16 bits where OpenCV reads the same picture as Pillow did in 8; else as it is, said."""
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    refused = replace(picture, notes=(*picture.notes, "its 16 bits could only be read as 8"))
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        return refused
    values = upright(values, turn)
    alpha = np.ascontiguousarray(values[..., 3]) if values.shape[2] == 4 else None
    pixels = np.ascontiguousarray(values[..., 2::-1])
    if data[:2] in (b"P3", b"P6") and (top := re.match(rb"P[36](?:\s|#[^\n]*\n)+(?:\d+\s+){2}(\d+)", data)):
        pixels = (pixels.astype(np.uint32) * 65_535 // int(top[1])).clip(0, 65_535).astype(np.uint16)
    if alpha is not None and premultiplied:
        scaled = pixels.astype(np.uint64) * 65_535 // np.maximum(alpha, 1)[..., None]
        pixels = scaled.clip(0, 65_535).astype(np.uint16)
    if picture.pixels.ndim == 2:
        pixels = np.ascontiguousarray(pixels[..., 0])
    if picture.alpha is not None and alpha is None:
        alpha = as_depth(picture.alpha, np.uint16)  # a transparent colour, which OpenCV does not know
    if picture.alpha is None:
        alpha = None
    seen, deep = (picture.alpha, alpha) if premultiplied else (picture.pixels, pixels)
    if seen is None or deep is None or seen.shape != deep.shape:
        return refused
    if np.abs(as_depth(deep, np.uint8).astype(np.int16) - seen).max() > 1:
        return refused
    return replace(picture, pixels=pixels, alpha=alpha)


# --- writing


def fitting_format(picture: Picture, asked: str | None = None) -> tuple[str, str]:
    """The format to write `picture` in, and a note where that is not the one it came in.

    `asked` binds. Otherwise the input's format where it can hold the depth, the alpha and the size, else PNG.
    """
    if asked:
        return asked, ""
    format = PILLOW.get(picture.format, "")
    if not format:
        return "png", f"{picture.format} is not written; it became PNG"
    held, lacks = FORMATS[format], ""
    if picture.deep and not held.deep:
        lacks = "16 bits"
    elif picture.alpha is not None and not held.alpha:
        lacks = "alpha"
    elif max(picture.pixels.shape[:2]) > held.side:
        lacks = f"sides beyond {held.side} pixels"
    return ("png", f"{picture.format} cannot hold {lacks}; it became PNG") if lacks else (format, "")


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
    options: dict[str, Any] = {
        "jpeg": {"quality": quality, "subsampling": 0 if quality >= 90 else 2},
        "webp": {"quality": quality},
        "avif": {"quality": quality},
        "jp2": {"irreversible": False},
    }.get(format, {})
    if picture.icc:
        options["icc_profile"] = picture.icc
    if exif:
        options["exif"] = exif
    out = io.BytesIO()
    to_pil(picture).save(out, "JPEG2000" if format == "jp2" else format.upper(), **options)
    return out.getvalue()


def to_pil(picture: Picture) -> Image.Image:
    """An 8-bit picture as L, LA, RGB or RGBA; 16-bit gray as I;16, 16-bit colour rounded to 8 (Pillow has no other)."""
    pixels, alpha = picture.pixels, picture.alpha
    if picture.deep and (pixels.ndim == 3 or alpha is not None):
        pixels = as_depth(pixels, np.uint8)
    if alpha is None:
        return Image.fromarray(np.ascontiguousarray(pixels))
    return Image.fromarray(np.dstack([pixels, as_depth(alpha, np.uint8)]))


def as_tiff(picture: Picture, exif: bytes | None) -> bytes:
    """A TIFF of one deflated strip, with profile and EXIF; for 16 bits neither Pillow nor OpenCV writes all of that."""
    values = picture.pixels if picture.pixels.ndim == 3 else picture.pixels[..., None]
    colors = values.shape[2]
    if picture.alpha is not None:
        values = np.dstack([values, picture.alpha])
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
    part = path.with_name(f".{path.name[:200]}.{os.getpid()}.part")
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


# --- to look at


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
