"""Where a data set's pixels come from: one picture per file, two side by side, or two files. See also cache.Packed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from i2i import shards
from i2i.data.folders import pair, read_pixels, read_size, scan
from i2i.errors import UserError

__all__ = ["LAYOUTS", "Couples", "Halves", "Pixels", "Singles", "Size", "Source", "pairs_in"]

Pixels = NDArray[Any]
"""[H,W,C] uint8 or uint16, C from 1 to 4."""

Size = tuple[int, int]
"""(width, height) in pixels."""


class Source(Protocol):
    """`len` items, each of one picture or of two that belong together."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """The item's file or files, for messages."""

    def size(self, index: int) -> Size:
        """(width, height) of each of the item's pictures, without decoding them. Raises what `read` raises of it."""

    def read(self, index: int) -> tuple[Pixels, ...]:
        """The item's pictures. Raises UserError naming the file that is damaged or does not fit."""


class Singles:
    """One picture per file; one of `lying` lies on its right side and is set upright."""

    def __init__(self, files: Sequence[Path], lying: Collection[Path] = ()) -> None:
        self.files, self.lying = list(files), frozenset(lying)

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return str(self.files[index])

    def size(self, index: int) -> Size:
        width, height = read_size(self.files[index])
        return (height, width) if self.files[index] in self.lying else (width, height)

    def read(self, index: int) -> tuple[Pixels, ...]:
        pixels = read_pixels(self.files[index])
        return (np.rot90(pixels) if self.files[index] in self.lying else pixels,)


class Halves(Singles):
    """Two pictures side by side in each file; the left (0) or the right (1) alone if `side` says so."""

    def __init__(self, files: Sequence[Path], side: int | None = None) -> None:
        super().__init__(files)
        self.side = side

    def half(self, index: int, width: int) -> int:
        """Half of `width`, which must be even."""
        if width % 2:
            raise UserError(
                f"{self.name(index)} is {width} pixels wide, an odd number, so it holds no pair side by side"
            )
        return width // 2

    def size(self, index: int) -> Size:
        width, height = super().size(index)
        return self.half(index, width), height

    def read(self, index: int) -> tuple[Pixels, ...]:
        (pixels,) = super().read(index)
        middle = self.half(index, pixels.shape[1])
        halves = pixels[:, :middle], pixels[:, middle:]
        return halves if self.side is None else (halves[self.side],)


class Couples:
    """Two files per item."""

    def __init__(self, files: Sequence[tuple[Path, Path]]) -> None:
        self.files = list(files)

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return " and ".join(map(str, self.files[index]))

    def size(self, index: int) -> Size:
        a, b = map(read_size, self.files[index])
        self.compare(index, a, b)
        return a

    def read(self, index: int) -> tuple[Pixels, ...]:
        a, b = map(read_pixels, self.files[index])
        self.compare(index, (a.shape[1], a.shape[0]), (b.shape[1], b.shape[0]))
        return a, b

    def compare(self, index: int, a: Size, b: Size) -> None:
        """Raise UserError unless both have one size."""
        if a != b:
            left, right = self.files[index]
            raise UserError(
                f"{left} is {a[0]}x{a[1]} but its partner {right} is {b[0]}x{b[1]}; "
                "the pictures of a pair must have one size"
            )


LAYOUTS = ("side-by-side", "folders")
USUAL_NAMES = (("A", "B"), ("a", "b"), ("trainA", "trainB"))  # of the two folders, looked for when none are given


def pairs_in(
    root: Path, layout: str, a: str | None, b: str | None, without: Sequence[str] = ()
) -> tuple[Source, list[Path]]:
    """The pairs below folder `root`, and the files that have no partner.

    Args:
        layout: "side-by-side": two pictures in each file; "folders": two folders, partners have equal stems.
        a, b: names of the two folders below `root`; None looks for the usual ones.
        without: files that are left out.
    """
    if layout not in LAYOUTS:
        raise UserError(f"layout '{layout}' is none of {', '.join(LAYOUTS)}")
    usual = next((names for names in USUAL_NAMES if all(shards.is_folder(root / name) for name in names)), (None, None))
    if layout == "side-by-side":
        if all(usual):
            raise UserError(f"{root} holds two folders, {usual[0]} and {usual[1]}, not pairs side by side; "
                            "set data.layout to folders")  # fmt: skip
        return Halves(scan(root, without)), []
    first, second = a or usual[0], b or usual[1]
    if first is None or second is None:
        raise UserError(f"{root} holds neither folders A and B nor trainA and trainB; name the two with a and b")
    couples, orphans = pair(root / first, root / second, without)
    return Couples(couples), orphans
