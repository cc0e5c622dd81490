"""Find folders of pictures, scan them, pair their files, read their pixels."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from i2i.errors import UserError

__all__ = ["SUFFIXES", "find", "pair", "read_pixels", "scan"]

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".gif", ".avif", ".jp2")
)
"""Files with other endings are not pictures to us."""

ORIENTATION = 0x0112  # the EXIF tag
TAILS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}  # what a whole file ends with; cv2 reads a torn one without a word
CV2_MODES = {"JPEG": ("L", "RGB"), "PNG": ("L", "RGB", "RGBA", "I;16"), "TIFF": ("L", "RGB", "RGBA", "I;16", "I;16B")}

logger = logging.getLogger(__name__)


def find(path: str | os.PathLike[str]) -> Path:
    """The folder or file at `path`: under the current folder, else under $I2I_DATA.

    Raises UserError naming both places if it is in neither.
    """
    wanted = Path(path).expanduser()
    if wanted.exists():
        return wanted
    if wanted.is_absolute():
        raise UserError(f"there is no file or folder {wanted}; check the path")
    home = os.environ.get("I2I_DATA")
    if not home:
        raise UserError(
            f"there is no '{wanted}' in {Path.cwd()}; set I2I_DATA to the folder that holds your data sets, "
            "or write the whole path"
        )
    if (Path(home).expanduser() / wanted).exists():
        return Path(home).expanduser() / wanted
    raise UserError(f"there is no '{wanted}' in {Path.cwd()}, nor in I2I_DATA ({home}); check the path")


def scan(folder: str | os.PathLike[str]) -> list[Path]:
    """All pictures in `folder` and below, in the order of their relative paths; hidden files and folders are passed over.

    Raises UserError if `folder` is no folder or holds no picture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; name a folder of pictures")
    found = [path for path in walk(folder, set()) if path.suffix.lower() in SUFFIXES]
    if not found:
        raise UserError(f"{folder} holds no pictures; put files such as .jpg, .png or .tif there, or name another folder")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def walk(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """Files below `folder`; links are followed, each real folder once, so that a loop of links ends."""
    real = folder.resolve()
    if real in seen:
        return
    seen.add(real)
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith((".", "__MACOSX")):
            continue
        if entry.is_dir():
            yield from walk(entry, seen)
        elif entry.is_file():
            yield entry


def pair(a: Path, b: Path) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Files of folders `a` and `b` with equal relative path but for the ending, and the orphans of both.

    Orphans are also logged as one warning. Raises UserError if nothing pairs, or if two files share a stem.
    """
    left, right = by_stem(a), by_stem(b)
    pairs = [(left[stem], right[stem]) for stem in left if stem in right]
    if not pairs:
        raise UserError(
            f"no file of {a} has a partner in {b}: partners have equal names but for the ending, "
            f"and there are {next(iter(left.values())).name} and {next(iter(right.values())).name}"
        )
    orphans = [left[stem] for stem in left if stem not in right] + [right[stem] for stem in right if stem not in left]
    if orphans:
        few = ", ".join(str(path) for path in orphans[:3]) + (", ..." if len(orphans) > 3 else "")
        logger.warning("%d of %d pictures have no partner and are left out: %s", len(orphans), len(left) + len(right), few)
    return pairs, orphans


def by_stem(folder: Path) -> dict[str, Path]:
    """Relative path without ending -> file, in the order of `scan`."""
    stems: dict[str, Path] = {}
    for path in scan(folder):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in stems:
            raise UserError(f"{stems[stem]} and {path} have one stem, so their partner is not clear; rename one of them")
        stems[stem] = path
    return stems


def read_pixels(path: str | os.PathLike[str]) -> NDArray[np.generic]:
    """Pixels of a picture, upright: [H,W,C] uint8 or uint16; C = 1 gray, 2 gray+alpha, 3 RGB, 4 RGB+alpha.

    JPEG, PNG and TIFF of the plain modes are decoded by OpenCV (twice as fast, equal pixels, and 16 bits are kept),
    everything else by Pillow. Raises UserError naming the file if it is missing, damaged or of a kind we cannot train on.
    """
    try:
        data = Path(path).read_bytes()
        with Image.open(io.BytesIO(data)) as picture:
            orientation = picture.getexif().get(ORIENTATION, 1)
            pixels = decode(data, picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, cv2.error) as error:
        if isinstance(error, UnidentifiedImageError):
            reason = "is empty" if not data else "is no picture that can be read"
        else:
            reason = f"cannot be read ({error})"
        raise UserError(f"{path} {reason}; mend it or take it out of the data set", code=1) from error
    return np.ascontiguousarray(turn_upright(pixels, orientation))


def decode(data: bytes, picture: Image.Image) -> NDArray[np.generic]:
    """[H,W,C] uint8 or uint16 of an opened picture whose file holds `data`, orientation not yet applied."""
    kind, mode = picture.format or "", picture.mode
    whole = TAILS.get(kind, b"") in data[-1024:]
    if mode in CV2_MODES.get(kind, ()) and "transparency" not in picture.info and whole:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is not None and pixels.dtype in (np.uint8, np.uint16):
            pixels = pixels[..., None] if pixels.ndim == 2 else pixels
            order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(pixels.shape[2])
            if order is not None:
                return pixels[..., order]
    if mode in ("I", "F", "I;16", "I;16B", "I;16L") and mode in ("I", "F"):
        raise ValueError(f"its pixels are of mode {mode}, and training takes 8 or 16 bits per channel")
    if mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16)[..., None]
    target = "RGBA" if picture.has_transparency_data and mode not in ("LA", "La") else {"1": "L", "L": "L"}.get(mode, "RGB")
    if mode in ("LA", "La"):
        target = "LA"
    pixels = np.asarray(picture.convert(target))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def turn_upright(pixels: NDArray[np.generic], orientation: object) -> NDArray[np.generic]:
    """[H,W,C] as the EXIF orientation 1..8 asks for it to be shown; other values mean 1."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
