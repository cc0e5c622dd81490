"""From files to pictures. Pillow decides what an image is; where it would cut 16-bit colour to 8 bits, OpenCV reads the
same bytes and must agree with it."""

from __future__ import annotations

import io
import re
import stat
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from i2i import shards
from i2i.errors import UserError
from i2i.images.picture import Array, Picture, as_depth, fitting_profile, unpremultiplied
from i2i.images.xmp import descriptions

__all__ = ["LARGEST_FILE", "Head", "count_frames", "from_pil", "read", "read_head"]

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
# What Pillow may try, in this order: its own order depends on what the process opened before, and its own list has
# EPS, which starts Ghostscript.
READ = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "DIB", "PPM", "AVIF", "JPEG2000", "PCX", "SGI", "TGA", "ICO")
# Tags of TIFF's first directory that describe the stored strips, not the picture: wrong for any other file.
STRUCTURE = {*range(254, 270), 273, *range(277, 282), 284, 285, 292, 293, *range(301, 304), *range(317, 348), *range(512, 533), 700, 33723, 34377, 34675, 37724, 50341}  # fmt: skip # noqa: E501


def read(source: str | Path | bytes, *, keep_truncated: bool = False, name: str = "") -> Picture:
    """The picture in a file or in bytes: the first frame, upright.

    Args:
        source: a path, or the bytes of a file.
        keep_truncated: take what is there of a file whose end is missing, instead of refusing it.
        name: how errors call the picture; the path unless given.

    Raises UserError (code 1), one sentence that names the picture and the reason.
    """
    name, data = contents(source, name)
    try:
        return decode(data)
    except Exception as error:  # decoders of other projects: on bad bytes they raise whatever they like
        if keep_truncated and truncated(error):
            return read_truncated(data, name)
        raise refusal(error, name) from None


def contents(source: str | Path | bytes, name: str) -> tuple[str, bytes]:
    """What errors call the picture, and the bytes of its file. Raises UserError (code 1) where there are none."""
    name = name or ("standard input" if isinstance(source, bytes) else str(source))
    data = source if isinstance(source, bytes) else read_bytes(Path(source))
    if not data:
        raise UserError(f"{name}: the file is empty", code=1)
    return name, data


def truncated(error: Exception) -> bool:
    """Whether a decoder says that the end is missing."""
    return isinstance(error, OSError | SyntaxError) and "truncated" in str(error).lower()


def refusal(error: Exception, name: str) -> UserError:
    """What a user is told of a picture that could not be decoded."""
    if isinstance(error, UserError):
        return UserError(f"{name}: {error}", code=1)
    if isinstance(error, UnidentifiedImageError):
        return UserError(f"{name}: this is no image, one without pixels, or one of a kind that cannot be read", code=1)
    if isinstance(error, Image.DecompressionBombError | TooLarge):
        size = re.search(r"\((\d+) pixels\)", str(error))
        count = f"{int(size[1]) / 1e6:,.0f} million pixels are" if size else "that is"
        return UserError(f"{name}: {count} too many; at most {LARGEST // 10**6} million are read, scale it down",
                         code=1)  # fmt: skip
    if truncated(error):
        return UserError(f"{name}: the end of the file is missing; --keep-truncated takes what is there", code=1)
    reason = "too large for memory" if isinstance(error, MemoryError) else str(error) or type(error).__name__
    return UserError(f"{name}: the image is damaged ({' '.join(reason.split())[:120]})", code=1)


class Head(NamedTuple):
    """What the head of a file says of the picture `read` will make of it.

    Attributes:
        width, height: upright, in pixels.
        channels: 1 gray, 2 gray and alpha, 3 colour, 4 colour and alpha.
        deep: whether it has 16 bits per channel.
        frames: how many `read_frames` gives.
    """

    width: int
    height: int
    channels: int
    deep: bool
    frames: int = 1

    @property
    def alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.channels in (2, 4)


def read_head(path: Path) -> Head:
    """The head of a picture's file; its pixels are not decoded, so they may still turn out damaged.

    Raises UserError (code 1) as `read` does, if the file is missing, empty, no picture or too large.
    """
    try:
        with opened(path) as image:
            width, height = image.size
            # Image's own getexif: PNG's would decode all pixels. Pillow has turned the size of a TIFF already.
            if image.format != "TIFF" and Image.Image.getexif(image).get(ORIENTATION) in (5, 6, 7, 8):
                width, height = height, width
            alpha = image.has_transparency_data
            gray = image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16")
            deep = image.mode in ("I", "F") or image.mode.startswith("I;16") or bool(wide_kind(image))
            return Head(width, height, (1 if gray else 3) + alpha, deep, len(shown(image)))
    except Exception as error:  # decoders of other projects: on bad bytes they raise whatever they like
        read(path)  # says in a sentence what is wrong
        raise UserError(f"{path}: the head of the image is damaged ({error})", code=1) from error


class TooLarge(Exception):
    """More pixels than are read; worded as Pillow's own error."""


def read_bytes(path: Path) -> bytes:
    """The bytes of a regular file of at most 1 GiB, on the disk or in shards."""
    try:
        try:
            status = path.stat()
        except FileNotFoundError:
            if (held := shards.held(path)) is None:
                raise
            return held
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path}: this is no regular file; pipe it into - instead", code=1)
        if status.st_size > LARGEST_FILE:
            raise UserError(f"{path}: {status.st_size / 1e9:.1f} GB are too many; at most 1 GB is read", code=1)
        return path.read_bytes()
    except OSError as error:
        if path.is_symlink() and not path.exists():
            raise UserError(f"{path}: this link leads nowhere", code=1) from None
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
    with opened(data) as image:
        wide = wide_kind(image)  # before load(), which forgets how the pixels are stored
        stored = orientation(image)  # before load(), in which Pillow itself turns a TIFF
        image.load()
        picture = from_pil(image, kind=wide)
        if wide and not picture.deep:
            picture = deepen(picture, data, premultiplied=wide.startswith("RGBa"), turn=stored)
        with suppress(Exception):  # counting frames reads on, into bytes that may be damaged: only a note depends on it
            if getattr(image, "is_animated", False):
                picture = replace(picture, notes=(*picture.notes, "of several frames the first was taken"))
    return picture


HEIF = re.compile(rb".{4}ftyp(.{4})*?(hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL)  # ISO 23008-12, 10: brands


def opened(source: Path | bytes) -> Image.Image:
    """The image, its head read and looked at. Raises what Pillow raises, TooLarge, and UserError."""
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    if isinstance(file, Path) and not file.exists() and (held := shards.held(file)) is not None:
        file = io.BytesIO(held)
    try:
        image: Image.Image = Image.open(file, formats=READ)
    except UnidentifiedImageError:
        image = open_heif(file)
    if image.format == "PNG" and isinstance(source, bytes) and not sound(source):
        raise ValueError("the checksum of its pixels is wrong")
    if image.width * image.height > LARGEST:
        image.close()
        raise TooLarge(f"({image.width * image.height} pixels)")
    return image


def open_heif(file: Path | io.BytesIO) -> Image.Image:
    """HEIC or HEIF, by an optional package."""
    with file.open("rb") if isinstance(file, Path) else io.BytesIO(file.getvalue()) as head:
        if not HEIF.match(head.read(64)):
            raise UnidentifiedImageError
    try:
        import pillow_heif
    except ImportError:
        raise UserError("HEIC is read by a package of its own: pip install 'i2i-toolkit[heif]'", code=1) from None
    pillow_heif.register_heif_opener()
    return Image.open(file, formats=("HEIF",))


def count_frames(source: str | Path | bytes) -> int:
    """How many frames or pages a file holds; 1 where it is damaged, or no picture: what is wrong `read` says."""
    try:
        with opened(source if isinstance(source, bytes) else Path(source)) as image:
            return len(shown(image))
    except Exception:  # decoders of other projects: on bad bytes they raise whatever they like
        return 1


def shown(image: Image.Image) -> list[int]:
    """Which of the pictures in a file are frames or pages: not the still that stands in for an animation, nor pages
    that are other pages made smaller, nor the views and previews that cameras add. Moves `image` to another frame."""
    if image.format not in ("GIF", "PNG", "WEBP", "AVIF", "TIFF"):
        return [0]
    with suppress(Exception):  # counting reads on, into bytes that may be damaged
        count = told_by_gif(image) if image.format == "GIF" else 1
        with suppress(Exception):
            count = max(count, getattr(image, "n_frames", 1))
        if image.format == "PNG" and image.info.get("default_image"):
            return list(range(1, count)) if count > 2 else [0]
        if image.format != "TIFF" or count == 1:
            return list(range(count))
        pages = []
        for page in range(count):
            image.seek(page)
            if not int(getattr(image, "tag_v2", {}).get(254, 0)) & 5:  # TIFF 6.0: made smaller, or a mask
                pages.append(page)
        return pages or [0]
    return [0]


def told_by_gif(image: Image.Image) -> int:
    """Whole frames of a GIF, and one more where it breaks off after them: Pillow then leaves out what is not whole."""
    file: IO[bytes] = image.fp  # type: ignore[attr-defined]
    here = file.tell()
    file.seek(0)
    gif = file.read()
    file.seek(here)
    at, frames = 13 + color_table(gif[10]), 0
    while gif[at : at + 1] in (b"!", b","):  # GIF89a, 15: an extension, an image
        picture = gif[at : at + 1] == b","
        at += 2
        if picture:
            at += 9 + (color_table(gif[at + 7]) if at + 7 < len(gif) else 0)
        while at < len(gif) and gif[at]:
            at += 1 + gif[at]
        if at >= len(gif):
            return frames + 1 if frames else 1
        at, frames = at + 1, frames + picture
    return frames


def color_table(flags: int) -> int:
    """Bytes of a GIF's table of colours."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def sound(png: bytes) -> bool:
    """Whether the checksums of a PNG's pixel data are right, as far as the file goes. Pillow does not look at them."""
    at, size = 8, len(png)
    while at + 12 <= size:
        end = at + 8 + int.from_bytes(png[at : at + 4], "big")
        kind = png[at + 4 : at + 8]
        if kind == b"IEND" or end + 4 > size:
            break
        if kind == b"IDAT" and zlib.crc32(memoryview(png)[at + 4 : end]) != int.from_bytes(png[end : end + 4], "big"):
            return False
        at = end + 4
    return True


def wide_kind(image: Image.Image) -> str:
    """How a file stores more than 8 bits per channel ("RGB;16B", "I;12", ...), or ""."""
    for tile in getattr(image, "tile", ()):
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
    dpi, xmp = resolution(image, turn), descriptions(image)
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
    return Picture(upright(pixels, turn), alpha, icc, exif, image.format or "PNG", notes + more, dpi, xmp)


def wide_gray(image: Image.Image, kind: str) -> tuple[Array, Array | None, tuple[str, ...]]:
    """Gray of more than 8 bits as uint16. Pillow's own conversion would clip it to 0..255."""
    values = np.asarray(image)
    if image.mode == "F" or values.min(initial=0) < 0 or values.max(initial=0) > 65_535:
        good = values[np.isfinite(values)].astype(np.float64)
        low, high = (float(good.min()), float(good.max())) if good.size else (0.0, 0.0)
        if low >= 0 and high <= 1:
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


def resolution(image: Image.Image, turn: int) -> tuple[float, float] | None:
    """Pixels per inch across and down of the upright picture."""
    try:
        across, down = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    if not (1 <= across <= 100_000 and 1 <= down <= 100_000):
        return None
    return (down, across) if turn > 4 else (across, down)


def deepen(picture: Picture, data: bytes, *, premultiplied: bool, turn: int, page: int | None = 0) -> Picture:
    """`picture` with 16 bits where OpenCV reads the same picture as Pillow did in 8; else as it is, said. `page` is its
    place in a file of several; None where OpenCV cannot go there."""
    values = None if page is None else by_opencv(np.frombuffer(data, np.uint8), page)
    refused = replace(picture, notes=(*picture.notes, "its 16 bits could only be read as 8"))
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        return refused
    values = upright(values, turn)
    alpha = np.ascontiguousarray(values[..., 3]) if values.shape[2] == 4 else None
    pixels = np.ascontiguousarray(values[..., 2::-1])
    if data[:2] in (b"P3", b"P6") and (top := re.match(rb"P[36](?:\s|#[^\n]*\n)+(?:\d+\s+){2}(\d+)", data)):
        pixels = (pixels.astype(np.uint32) * 65_535 // int(top[1])).clip(0, 65_535).astype(np.uint16)
    if alpha is not None and premultiplied:
        pixels = unpremultiplied(pixels, alpha)
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


def by_opencv(data: Array, page: int) -> Array | None:
    """OpenCV's values of a picture or a page; None where it reads none."""
    if page == 0:
        return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    done, pages = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, range=(page, page + 1))
    return pages[0] if done and len(pages) == 1 else None
