"""Find folders of pictures, scan them, pair their files, read their pixels."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2i import images, shards
from i2i.errors import UserError

__all__ = ["advice", "content", "find", "pair", "read_pixels", "read_size", "scan", "subfolders", "walk"]

logger = logging.getLogger(__name__)


def find(path: str | os.PathLike[str]) -> Path:
    """The folder or file at `path`: under the current folder, else under its `datasets`, else under $I2I_DATA.

    Raises UserError naming all places if it is in none of them.
    """
    wanted = Path(path).expanduser()
    if not os.fspath(path):
        raise UserError("the name of a folder is empty; write its path")
    if there(wanted):
        return wanted
    if wanted.is_absolute():
        raise UserError(f"there is no file or folder {wanted}; {advice(wanted)}")
    home = os.environ.get("I2I_DATA")
    for place in [Path("datasets"), *([Path(home).expanduser()] if home else [])]:
        if there(place / wanted):
            return place / wanted
    advised = fetched_by(wanted) or advice(wanted)
    if not home:
        raise UserError(
            f"there is no '{wanted}' in {Path.cwd()} or its folder datasets; set I2I_DATA to the folder that holds "
            f"your data sets, or {advised}"
        )
    raise UserError(f"there is no '{wanted}' in {Path.cwd()}, its folder datasets, or {home} (I2I_DATA); {advised}")


def there(path: Path) -> bool:
    """Whether there is a file or folder, on the disk or in shards."""
    return path.exists() or shards.is_file(path) or shards.is_folder(path)


def fetched_by(wanted: Path) -> str:
    """The command that fetches the data set of which a folder is part; "" where none is known."""
    from i2i.data.cards import cards

    known = {card.folder: card for card in cards().values()}
    card = next((known[place.as_posix()] for place in (wanted, *wanted.parents) if place.as_posix() in known), None)
    return f"`i2i data get {card.name}` fetches it" if card else ""


def advice(missing: Path) -> str:
    """What to do about a path that is not there: the name beside it that was probably meant, or to check it."""
    try:
        beside = [entry.name for entry in missing.parent.iterdir()]
    except OSError:
        beside = []
    near = get_close_matches(missing.name, beside, 1)
    return f"did you mean {missing.parent / near[0]}?" if near else "check the path"


def scan(folder: str | os.PathLike[str], without: Sequence[str] = ()) -> list[Path]:
    """All pictures in `folder` and below, in the order of their relative paths; hidden ones are passed over.

    Args:
        without: files that are left out, each looked for as `find` does.

    Raises UserError if `folder` is no folder or holds no picture, or a file of `without` is not there.
    """
    folder = Path(folder)
    if not shards.is_folder(folder):
        raise UserError(f"{folder} is no folder; name a folder of pictures")
    left_out = {os.path.abspath(find(path)) for path in without}
    found = [path for path in walk(folder) if path.suffix.lower() in images.SUFFIXES and shards.is_file(path)]
    found = [path for path in found if os.path.abspath(path) not in left_out]
    if not found:
        raise UserError(f"{folder} holds no pictures; put .jpg, .png or .tif files there, or name another folder")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def walk(folder: Path, above: frozenset[Path] | None = None) -> Iterator[Path]:
    """Files below `folder` that are not hidden, in shards where it has them, dangling links included; links are
    followed, but never to a folder that `folder` lies in (one of `above`, all its parents unless given): that would
    have no end.

    Raises UserError where a folder cannot be listed.
    """
    if (packed := shards.above(folder)) is not None:
        yield from packed.below(folder)
        return
    real = folder.resolve()
    above = frozenset(real.parents) if above is None else above
    if real in above:
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be listed: {error.strerror}; mend that or name another") from None
    for entry in entries:
        if entry.name.startswith((".", "__MACOSX")):
            continue
        if entry.is_dir():
            yield from walk(entry, above | {real})
        else:
            yield entry


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder that are not hidden, in the order of their names."""
    if (packed := shards.above(folder)) is not None:
        return packed.subfolders(folder)
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def pair(a: Path, b: Path, without: Sequence[str] = ()) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Files of folders `a` and `b` with equal relative path but for the ending, and the orphans of both.

    `without` as in `scan`. Orphans are also logged as one warning. Raises UserError if nothing pairs, or if two files
    share a stem.
    """
    left, right = by_stem(a, without), by_stem(b, without)
    pairs = [(left[stem], right[stem]) for stem in left if stem in right]
    if not pairs:
        raise UserError(
            f"no file of {a} has a partner in {b}: partners have equal names but for the ending, "
            f"and there are {next(iter(left.values())).name} and {next(iter(right.values())).name}"
        )
    orphans = [left[stem] for stem in left if stem not in right] + [right[stem] for stem in right if stem not in left]
    if orphans:
        few = ", ".join(map(str, orphans[:3])) + (", ..." if len(orphans) > 3 else "")
        total = len(left) + len(right)
        logger.warning("%d of %d pictures have no partner and are left out: %s", len(orphans), total, few)
    return pairs, orphans


def by_stem(folder: Path, without: Sequence[str] = ()) -> dict[str, Path]:
    """Relative path without ending -> file, in the order of `scan`."""
    stems: dict[str, Path] = {}
    for path in scan(folder, without):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in stems:
            raise UserError(f"{stems[stem]} and {path} differ in their endings alone; rename or remove one of them")
        stems[stem] = path
    return stems


def content(path: Path) -> bytes:
    """A file's bytes, on the disk or in shards. Raises OSError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        if (held := shards.held(path)) is None:
            raise
        return held


def read_pixels(path: Path) -> NDArray[Any]:
    """Pixels of a picture, upright: [H,W,C] uint8 or uint16; C = 1 gray, 2 gray+alpha, 3 RGB, 4 RGB+alpha.

    Raises UserError naming the file if it is missing, damaged, cut off or no picture.
    """
    try:
        picture = images.read(path)
    except UserError as error:
        raise taken_out(error) from error
    channels = [picture.pixels] if picture.alpha is None else [picture.pixels, picture.alpha]
    return np.concatenate([values.reshape(*values.shape[:2], -1) for values in channels], axis=2)


def read_size(path: Path) -> tuple[int, int]:
    """(width, height) of a picture, upright, from the head of its file alone.

    Raises UserError naming the file if it is missing, empty or no picture.
    """
    try:
        head = images.read_head(path)
    except UserError as error:
        raise taken_out(error) from error
    return head.width, head.height


def taken_out(error: UserError) -> UserError:
    """What reading said of a file, with the advice for a data set in the place of that for translating."""
    reason = str(error).partition(";")[0]
    return UserError(f"{reason}; mend it, take it out of the data set, or name it under data.without", code=error.code)
