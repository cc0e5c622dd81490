"""From pictures to files, each whole or not there."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from i2i.errors import UserError
from i2i.images.encoders import Encoder, Jpeg, Png, Ppm, Tiff, Whole
from i2i.images.picture import FORMATS, PILLOW, Array, Layout, Picture, as_depth
from i2i.images.reading import Head

__all__ = [
    "Fitted",
    "destination",
    "encode",
    "fit_layout",
    "fit_rows",
    "fitting_format",
    "lacks",
    "promise",
    "save",
    "sweep",
    "whole_file",
    "write",
]

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
LOSSY = ("jpeg", "webp", "avif", "jp2")


def lacks(format: str, width: int, height: int, *, alpha: bool = False, deep: bool = False) -> str:
    """What `format` cannot hold of such a picture: "16 bits", "alpha", "sides beyond 16383 pixels"; "" if nothing."""
    held = FORMATS[format]
    if max(width, height) > held.side:
        return f"sides beyond {held.side} pixels"
    if width * height > held.area:
        return f"more than {held.area / 1e6:.0f} million pixels"
    if deep and not held.deep:
        return "16 bits"
    return "alpha" if alpha and not held.alpha else ""


def promise(
    head: Head | Layout, scale: float, format: str, *, asked: bool = False, size: tuple[int, int] | None = None
) -> tuple[str, str]:
    """The format that a result `scale` times as large as `head` will be written in, and a note where it must differ or
    loses something: known before any pixel is decoded.

    Args:
        format: of the result's name, or asked for by the user.
        asked: the user insists on it: alpha and 16 bits go, said; else a format that holds everything takes its place.
        size: (width, height) of the result, where that is not `scale` times the input's.

    Raises UserError (code 1) where the format asked for cannot hold the size, or no format can.
    """
    width, height = size or (round(head.width * scale), round(head.height * scale))
    lacking = lacks(format, width, height, alpha=head.alpha, deep=head.deep)
    if not lacking and format in LOSSY and getattr(head, "palette", None):
        return format, f"{format} changes the colours of classes; take --format png to keep them"
    if not lacking:
        return format, ""
    if not asked and not lacks("png", width, height):
        return "png", f"{format} cannot hold {lacking}; it becomes png"
    if too_large := lacks(format, width, height):
        raise UserError(f"the result has {width}x{height} pixels, but {format} cannot hold {too_large}; "
                        "take --format png or tiff", code=1)  # fmt: skip
    lost = [what for what in ("16 bits" if head.deep and not FORMATS[format].deep else "",
                              "alpha" if head.alpha and not FORMATS[format].alpha else "") if what]  # fmt: skip
    return format, f"{format} cannot hold {' or '.join(lost)}; take --format png to keep {'them' if lost[1:] else 'it'}"


def fitting_format(picture: Picture, wished: str | None = None) -> tuple[str, str]:
    """The format to write `picture` in, and a note where that is not the one it came in.

    `wished`, or else the input's format, where it can hold the depth, the alpha and the size; else PNG.
    """
    own = PILLOW.get(picture.format, "")
    format = wished or own or "png"
    if picture.palette and format in LOSSY:
        return "png", f"{format} would change the colours of classes; it became png"
    height, width = picture.pixels.shape[:2]
    if lacking := lacks(format, width, height, alpha=picture.alpha is not None, deep=picture.deep):
        return "png", f"{format} cannot hold {lacking}; it became png"
    return format, "" if format == own else f"{picture.format.lower()} became {format}"


class Fitted:
    """An encoder behind what makes rows and metadata fit it.

    Attributes:
        notes: what the format could not hold.
    """

    def __init__(
        self, out: IO[bytes], layout: Layout, format: str, *, quality: int | None = None, keep_gps: bool = False
    ) -> None:
        """Raises UserError (code 1) where the format cannot hold the size."""
        self.layout, self.notes = fit_layout(layout, format, keep_gps=keep_gps)
        self.rows = 0
        self.encoder = encoder(out, self.layout, format, 95 if quality is None else quality)

    def write(self, rows: Array) -> None:
        """The next rows, [rows,W] or [rows,W,C], uint8 or uint16, alpha last."""
        self.encoder.write(fit_rows(rows, self.layout))
        self.rows += len(rows)

    def finish(self) -> None:
        """Write what is still to be written."""
        assert self.rows == self.layout.height, f"{self.rows} of {self.layout.height} rows came"
        self.encoder.finish()


def fit_layout(layout: Layout, format: str, *, keep_gps: bool) -> tuple[Layout, tuple[str, ...]]:
    """The layout as a file of that format can have it, and notes on what it could not hold.

    Raises UserError (code 1) where that is the size.
    """
    held = FORMATS[format]
    notes = []
    if too_large := lacks(format, layout.width, layout.height):
        raise UserError(f"{format} cannot hold {too_large}; take --format png or tiff", code=1)
    if layout.deep and not held.deep:
        layout = replace(layout, deep=False)
        notes.append(f"{format} holds 8 bits; 16 were rounded")
    if layout.alpha and not held.alpha:
        layout = replace(layout, channels=layout.channels - 1)
        notes.append(f"{format} holds no alpha; it was dropped")
    if format == "tiff" and layout.deep and layout.channels == 2:
        layout = replace(layout, channels=4)  # Pillow reads no 16-bit gray with alpha
    if format in ("bmp", "ppm", "jp2"):
        if layout.icc or layout.exif:
            notes.append(f"{format} holds no colour profile or EXIF; they were dropped")
        return replace(layout, icc=None, exif=None, xmp=None), tuple(notes)
    exif = fitted_exif(layout, keep_gps)
    if exif and format == "jpeg" and len(exif) > 65_533:
        exif = None
        notes.append("its EXIF is too long for jpeg and was dropped")
    return replace(layout, exif=exif), tuple(notes)


def fit_rows(rows: Array, layout: Layout) -> Array:
    """[rows,W] or [rows,W,C] => [rows,W,C] of the layout's channels and depth."""
    rows = as_depth(rows if rows.ndim == 3 else rows[..., None], np.uint16 if layout.deep else np.uint8)
    wanted, given = layout.channels, rows.shape[2]
    if wanted == 4 and given == 2:
        rows = rows[..., [0, 0, 0, 1]]
    elif given == wanted + 1:
        rows = rows[..., :wanted]
    assert rows.shape[1:] == (layout.width, wanted), f"rows {rows.shape} for {layout}"
    return rows


def encoder(out: IO[bytes], layout: Layout, format: str, quality: int) -> Encoder:
    """What writes `format`."""
    if format in ("png", "tiff", "ppm"):
        return {"png": Png, "tiff": Tiff, "ppm": Ppm}[format](out, layout)
    if format == "jpeg":
        return Jpeg(out, layout, quality)
    return Whole(out, layout, format, quality)


def fitted_exif(layout: Layout, keep_gps: bool) -> bytes | None:
    """The EXIF with width and height put right where it tells them, and without the position unless that is kept."""
    if layout.exif is None:
        return None
    exif = Image.Exif()
    exif.load(layout.exif)
    stale = {0xA002, 0xA003} & set(exif.get_ifd(EXIF_IFD))
    if stale:
        exif.get_ifd(EXIF_IFD).update({0xA002: layout.width, 0xA003: layout.height})
    if GPS_IFD in exif and not keep_gps:
        del exif[GPS_IFD]
    elif not stale:
        return layout.exif
    return exif.tobytes() if len(exif) else None


def encode(
    picture: Picture, format: str, *, quality: int | None = None, keep_gps: bool = False
) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of a file, and notes on what the format could not hold.

    Args:
        format: a key of FORMATS.
        quality: 1 to 100 for jpeg, webp and avif (95 unless given); the others are lossless.
        keep_gps: leave the position in the EXIF.

    Raises UserError (code 1) where the format cannot hold the picture's size.
    """
    out = io.BytesIO()
    file = Fitted(out, picture.layout, format, quality=quality, keep_gps=keep_gps)
    file.write(picture.values)
    file.finish()
    return out.getvalue(), file.notes


HOST = hashlib.blake2b(socket.gethostname().encode(), digest_size=4).hexdigest()
PART = re.compile(rf"\.[0-9a-f]{{16}}\.{HOST}-(\d+)\.part")


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to be written under a temporary name in the same folder and renamed: `path` is whole or is not there.

    Raises OSError; the temporary file is gone then.
    """
    # not the name itself: where that is as long as names may be, nothing longer can be written
    name = hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()
    part = path.with_name(f".{name}.{HOST}-{os.getpid()}.part")
    try:
        with part.open("w+b") as out:
            yield out
        os.replace(part, path)
    except BaseException:  # an interrupt too must leave nothing behind
        with suppress(OSError):
            part.unlink()
        raise


@contextmanager
def destination(target: str | Path | IO[bytes]) -> Iterator[IO[bytes]]:
    """`whole_file` of a path; for a stream, such as standard output, a file that is handed on when it is whole."""
    if isinstance(target, str | Path):
        with whole_file(Path(target)) as out:
            yield out
        return
    with tempfile.TemporaryFile() as out:
        yield out
        out.seek(0)
        shutil.copyfileobj(out, target, 1 << 20)
        target.flush()


def sweep(folders: Iterable[Path]) -> None:
    """Remove what processes of this machine that were killed have left of files half written, right in `folders`."""
    for folder in folders:
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                found = PART.fullmatch(entry.name)
                if found and not runs(int(found[1])):
                    with suppress(OSError):
                        os.unlink(entry.path)


def runs(process: int) -> bool:
    """Whether there is another process of that number."""
    try:
        os.kill(process, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return process != os.getpid()


def save(data: bytes, path: Path) -> None:
    """Write `data` whole or not at all. Raises OSError."""
    with whole_file(path) as out:
        out.write(data)


def write(
    picture: Picture, path: str | Path, *, format: str | None = None, quality: int | None = None, keep_gps: bool = False
) -> tuple[str, ...]:
    """Write `picture` whole or not at all; the format is the suffix's unless given. Returns notes on what was lost."""
    path = Path(path)
    if format is None:
        format = next((name for name, held in FORMATS.items() if path.suffix.lower() in held.suffixes), None)
        if format is None:
            raise UserError(f"{path}: no format is known by that ending; take one of {', '.join(FORMATS)}")
    data, notes = encode(picture, format, quality=quality, keep_gps=keep_gps)
    save(data, path)
    return notes
