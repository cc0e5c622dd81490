"""Which pictures REAL and FAKE mean, and which of them belong together."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from i2i import images, shards
from i2i.data.folders import find, scan
from i2i.errors import UserError
from i2i.metrics.report import few
from i2i.metrics.statistics import Statistics

__all__ = ["Given", "Pair", "Set", "ahead", "matched", "pictures"]

Given = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""A folder, a picture, a list of files (.txt), saved statistics (.npz); or the files themselves."""
Pair = tuple[str, Path, Path]
"""What both are called, the real one, the fake one."""
Of = TypeVar("Of")
To = TypeVar("To")


@dataclass
class Set:
    """A set of pictures, or the statistics of one.

    Attributes:
        path: as it was named.
        files: in order; none where there are statistics.
        root: what the names of the files are relative to.
        single: one picture, named as such.
        fresh: they will not be seen again: their features are not worth keeping.
    """

    path: str
    files: list[Path]
    root: Path
    statistics: Statistics | None = None
    single: bool = False
    fresh: bool = False

    def stems(self) -> dict[str, Path]:
        """Path without ending, relative to the root -> file. Raises UserError where two have one."""
        found: dict[str, Path] = {}
        for file in self.files:
            stem = Path(os.path.relpath(file, self.root)).with_suffix("").as_posix()
            if stem in found:
                raise UserError(
                    f"{found[stem]} and {file} differ in their endings alone, so that it is not clear which is meant "
                    "by a partner; rename or remove one of them"
                )
            found[stem] = file
        return found


def pictures(given: Given) -> Set:
    """The set that is meant. Raises UserError where it is missing, empty, or cannot be read."""
    if not isinstance(given, str | os.PathLike):
        files = [Path(file) for file in given]
        if not files:
            raise UserError("a list of no files holds no pictures; name some")
        return Set(f"{len(files)} files", files, root(files))
    path, name = find(given), os.fspath(given)
    if shards.is_folder(path):
        return Set(name, scan(path), path)
    if path.suffix.lower() == ".npz":
        return Set(name, [], path.parent, Statistics.load(path))
    if path.suffix.lower() == ".txt":
        files = listed(path)
        return Set(name, files, root(files))
    if path.suffix.lower() in images.SUFFIXES:
        return Set(name, [path], path.parent, single=True)
    raise UserError(
        f"{path} is none of what can be compared: a folder, a picture, a list of files that ends in .txt, or "
        "statistics that end in .npz"
    )


def listed(path: Path) -> list[Path]:
    """The files that a text file names, one a line, from its own folder or the current one. Raises UserError."""
    try:
        names = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a list of files: {error}") from None
    files = [Path(name).expanduser() for name in names if name and not name.startswith("#")]
    if not files:
        raise UserError(f"{path} names no file; write one on each line")
    return [beside if (beside := path.parent / file).exists() else file for file in files]


def root(files: Sequence[Path]) -> Path:
    """The folder that all files lie in."""
    return Path(os.path.commonpath([file.absolute().parent for file in files]))


def matched(real: Set, fake: Set) -> tuple[list[Pair], list[Path]]:
    """The pairs of equal stems, in the order of the real ones, and the files without a partner.

    Two pictures that are named as such are a pair whatever they are called. Raises UserError where two files of a side
    share a stem.
    """
    if real.single and fake.single:
        return [(fake.files[0].stem, real.files[0], fake.files[0])], []
    ours, theirs = real.stems(), fake.stems()
    pairs = [(stem, file, theirs[stem]) for stem, file in ours.items() if stem in theirs]
    orphans = [file for stem, file in ours.items() if stem not in theirs]
    return pairs, orphans + [file for stem, file in theirs.items() if stem not in ours]


def unmatched(real: Set, fake: Set) -> UserError:
    """What is said where pairs are wanted and nothing pairs."""
    return UserError(
        f"no picture of {real.path} has a partner in {fake.path}: partners have equal names but for the ending, and "
        f"there are {real.files[0].name} and {fake.files[0].name}"
    )


def orphaned(orphans: Sequence[Path], total: int) -> str:
    """A sentence about files without a partner."""
    verb = "has no partner and is" if len(orphans) == 1 else "have no partner and are"
    return f"{len(orphans)} of {total} pictures {verb} in no pair: {few([str(path) for path in orphans])}"


def ahead(work: Callable[[Of], To], items: Iterable[Of], workers: int | None = None) -> Generator[To, None, None]:
    """`map` by threads that are some items ahead of whoever takes the results, in order."""
    count = workers or min(8, os.cpu_count() or 1)
    left = iter(items)
    with ThreadPoolExecutor(count, "pictures") as pool:
        waiting = []
        try:
            for item in left:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * count:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
