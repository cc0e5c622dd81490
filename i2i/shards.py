"""Folders packed into tar files that stand in their place. Standard library only; `i2i.data.packing` writes them.

A path below a folder of shards means a file in them: `maps-shards/train/1.jpg` lies in `maps-shards/00000.tar`. Whoever
reads pictures asks here for what is no file on the disk, so that whatever reads a folder reads shards, in the same
order. `shards.json` says where in which shard each file begins, so that any is read by itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from i2i.errors import UserError

__all__ = ["FORMAT", "INDEX", "Shards", "above", "held", "is_file", "is_folder", "load"]

INDEX = "shards.json"
FORMAT = "i2i shards 1"
OPEN = 128  # shards that a process keeps open


@dataclass
class Shards:
    """A folder of shards.

    Attributes:
        root: the folder, absolute.
        shards: the tar files.
        places: file of the packed folder, as a POSIX path -> (number of its shard, first byte, bytes), in the order of
            the paths.
        folders: the folders of the packed folder, "" for itself.
    """

    root: Path
    shards: tuple[Path, ...]
    places: Mapping[str, tuple[int, int, int]]
    folders: frozenset[str]
    opened: dict[int, int] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"opened": {}}  # each process opens them for itself

    def name(self, path: Path) -> str:
        """How the index calls a path at or below the folder."""
        return os.path.abspath(path)[len(os.fspath(self.root)) :].replace(os.sep, "/").strip("/")

    def below(self, folder: Path) -> list[Path]:
        """All files below a folder, in the order of their names."""
        prefix = self.prefix(folder)
        return [folder / name[len(prefix) :] for name in self.places if name.startswith(prefix)]

    def subfolders(self, folder: Path) -> list[Path]:
        """The folders in a folder, in the order of their names."""
        prefix = self.prefix(folder)
        names = (name[len(prefix) :] for name in self.folders if name.startswith(prefix))
        return sorted(folder / name for name in names if name and "/" not in name)

    def prefix(self, folder: Path) -> str:
        """What the names of all that lies below a folder begin with."""
        within = self.name(folder)
        return f"{within}/" if within else ""

    def read(self, path: Path) -> bytes:
        """A file's bytes. Raises UserError where its shard is not as it was."""
        number, start, count = self.places[self.name(path)]
        if number not in self.opened:
            if len(self.opened) >= OPEN:
                os.close(self.opened.pop(next(iter(self.opened))))
            self.opened[number] = os.open(self.shards[number], os.O_RDONLY | getattr(os, "O_BINARY", 0))
        data = read_at(self.opened[number], start, count)
        if len(data) != count:
            raise UserError(f"{self.shards[number]} is cut short, and {path.name} is in it; pack it anew", code=1)
        return data


def read_at(file: int, start: int, count: int) -> bytes:
    """Some bytes of an open file. What is forked from here shares the file's position, so that is not to be moved."""
    if hasattr(os, "pread"):
        return os.pread(file, count, start)
    os.lseek(file, start, os.SEEK_SET)  # Windows, which forks nothing
    return os.read(file, count)


def above(path: Path) -> Shards | None:
    """The shards that a path is the folder of, or lies in; None where there are none."""
    return above_folder(os.path.abspath(path))


@lru_cache(maxsize=65_536)
def above_folder(path: str) -> Shards | None:
    if os.path.isfile(os.path.join(path, INDEX)):
        return load(path)
    parent = os.path.dirname(path)
    return above_folder(parent) if parent != path else None


def held(path: Path) -> bytes | None:
    """The bytes of a file that lies in shards; None where there is none."""
    found = above(path.parent)
    return found.read(path) if found is not None and found.name(path) in found.places else None


def is_file(path: Path) -> bool:
    """Whether there is a file, on the disk or in shards."""
    if path.is_file():
        return True
    found = above(path.parent)
    return found is not None and found.name(path) in found.places


def is_folder(path: Path) -> bool:
    """Whether there is a folder, on the disk or in shards."""
    if path.is_dir():
        return True
    found = above(path)
    return found is not None and found.name(path) in found.folders


@lru_cache(maxsize=64)
def load(root: str) -> Shards:
    """The shards in a folder. Raises UserError where they are not whole."""
    path = Path(root) / INDEX
    try:
        said = json.loads(path.read_text("utf-8"))
        if said["format"] != FORMAT:
            raise ValueError(f"its format is {said['format']}")
        shards = tuple(Path(root) / one["file"] for one in said["shards"])
        listed = [
            (name, (number, start, count))
            for number, one in enumerate(said["shards"])
            for name, start, count in one["files"]
        ]
        sizes = [one["bytes"] for one in said["shards"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path} is no index of shards of this version ({error}); pack the folder anew") from None
    for shard, size in zip(shards, sizes, strict=True):
        there = shard.stat().st_size if shard.is_file() else None
        if there != size:
            what = "is not there" if there is None else f"has {there:,} bytes instead of {size:,}"
            raise UserError(f"{shard} {what}; copy the shards anew, or pack them anew", code=1)
    places = dict(sorted(listed))
    folders = {""} | {parent.as_posix() for name in places for parent in PurePosixPath(name).parents} - {"."}
    return Shards(Path(root), shards, places, frozenset(folders))
