"""Which colour of a label map is which class: palettes that ship, palettes in text files, maps as numbers and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2i.errors import UserError

__all__ = ["NONE", "PALETTES", "Palette"]

Pixels = NDArray[np.uint8]  # [H,W,3] RGB
PALETTES = Path(__file__).parent / "metrics" / "palettes"
IGNORED = "-"
NONE = 255  # the number of a pixel whose colour is to be ignored
MOST = NONE  # classes whose numbers fit beside it
BLOCK = 2**18  # pixels whose distances to the colours are held at once


@dataclass(frozen=True)
class Palette:
    """Which colour is which class.

    Attributes:
        name: what it is called by.
        classes: the colours (red, green, blue) by class, in order.
        ignored: colours of what is not measured where the truth has it.
    """

    name: str
    classes: Mapping[str, tuple[int, int, int]]
    ignored: tuple[tuple[int, int, int], ...] = ()

    def __post_init__(self) -> None:
        if not 2 <= len(self.classes) <= MOST:
            raise ValueError(f"the palette {self.name} has {len(self.classes)} classes; it takes 2 to {MOST}")

    @property
    def colours(self) -> NDArray[np.uint8]:
        """[classes,3]"""
        return np.array(list(self.classes.values()), np.uint8)

    @classmethod
    def read(cls, which: str | Path) -> Palette:
        """The palette of that name (maps, cityscapes), or of a text file.

        A line is "red green blue name", the numbers 0 to 255; the name "-" marks a colour that is not measured, and
        what follows a # is a remark.

        Raises UserError for what is neither, naming the line.
        """
        shipped = PALETTES / f"{which}.txt"
        path = shipped if shipped.is_file() else Path(which).expanduser()
        known = ", ".join(sorted(file.stem for file in PALETTES.glob("*.txt")))
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"'{which}' is no palette: neither {known} nor a text file of 'r g b name'") from error
        classes: dict[str, tuple[int, int, int]] = {}
        ignored: list[tuple[int, int, int]] = []
        for number, line in enumerate(lines, start=1):
            if not (words := line.partition("#")[0].split(maxsplit=3)):
                continue
            levels = [int(word) for word in words[:3] if word.isdecimal()]
            if len(words) < 4 or len(levels) < 3 or max(levels) > 255:
                raise UserError(f"{path}, line {number}: '{line.strip()}' is not 'red green blue name', each 0 to 255")
            colour, name = (levels[0], levels[1], levels[2]), words[3].strip()
            if name in classes or colour in (*classes.values(), *ignored):
                raise UserError(f"{path}, line {number}: '{line.strip()}' is there a second time")
            if name == IGNORED:
                ignored.append(colour)
            else:
                classes[name] = colour
        if len(classes) < 2:
            raise UserError(f"{path} names {len(classes)} classes; a palette needs two or more")
        if len(classes) > MOST:
            raise UserError(f"{path} names {len(classes)} classes; a palette has at most {MOST}")
        return cls(path.stem, classes, tuple(ignored))

    def labels(self, pixels: Pixels, *, truth: bool = False) -> NDArray[np.int64]:
        """The number of the class whose colour is nearest, [H,W]; among equally near ones the first.

        Args:
            truth: also look for ignored colours, which get the numbers after the classes'.
        """
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise TypeError(f"label maps are uint8 [H,W,3], not {pixels.dtype} {list(pixels.shape)}")
        colours = np.array([*self.classes.values(), *(self.ignored if truth else ())], np.float32)
        flat = pixels.reshape(-1, 3)
        labels = np.empty(len(flat), np.int64)
        for start in range(0, len(flat), BLOCK):
            # |c|^2 - 2xc is |x-c|^2 but for what all colours share, and exact in float32
            near = (colours**2).sum(1) - 2 * (flat[start : start + BLOCK].astype(np.float32) @ colours.T)
            labels[start : start + BLOCK] = near.argmin(1)
        return labels.reshape(pixels.shape[:2])

    def numbers(self, pixels: NDArray[Any], *, within: int = 0) -> NDArray[np.uint8]:
        """The class of each pixel of a label map, [H,W] uint8; of an ignored colour `NONE`.

        A map in colour, [H,W,3], has the colours of the palette. A gray one, [H,W] or [H,W,1], has the numbers of the
        classes, counted from 0, or the palette's grays, where none of those could be taken for a number.

        Args:
            pixels: uint8 or uint16.
            within: levels of 8 bits by which each of red, green and blue may be off; the nearest class is taken. For
                maps that were stored as JPEG.

        Raises UserError (code 1) for colours and numbers of no class, naming one.
        """
        if pixels.dtype.kind != "u":
            raise TypeError(f"label maps are whole numbers, not {pixels.dtype}")
        if pixels.ndim == 2 or pixels.shape[2] == 1:
            return self.of_gray(pixels.reshape(pixels.shape[:2]))
        colours = pixels if pixels.dtype == np.uint8 else ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
        found = self.labels(colours, truth=True)
        known = np.array([*self.classes.values(), *self.ignored], np.int16)
        off = np.abs(known[found] - colours).max(2)
        if (off > within).any():
            wrong = tuple(int(level) for level in colours[np.unravel_index(off.argmax(), off.shape)])
            share = float((off > within).mean())
            raise UserError(
                f"{share:.1%} of the label map has colours that the palette {self.name} does not know, such as "
                f"{wrong}; name the palette that it was drawn with, or say how far colours may be off (within)",
                code=1,
            )
        return np.where(found < len(self.classes), found, NONE).astype(np.uint8)

    def of_gray(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """`numbers` of [H,W]."""
        count = len(self.classes)
        table = np.full(int(np.iinfo(values.dtype).max) + 1, NONE, np.uint8)
        known = np.zeros(len(table), bool)
        table[:count], known[:count] = np.arange(count), True
        grays = {(red * (257 if values.dtype == np.uint16 else 1)): number
                 for number, (red, green, blue) in enumerate([*self.classes.values(), *self.ignored])
                 if red == green == blue}  # fmt: skip
        if all(value >= count or value == number for value, number in grays.items()):
            for value, number in grays.items():
                table[value], known[value] = (number if number < count else NONE), True
        if not known[values].all():
            wrong = int(values[~known[values]].flat[0])
            raise UserError(
                f"the gray label map holds the number {wrong}, and the palette {self.name} has the classes 0 to "
                f"{count - 1}; name the palette that it was made with",
                code=1,
            )
        return table[values]

    def drawn(self, numbers: NDArray[Any]) -> Pixels:
        """The colours of classes, [H,W] => uint8 [H,W,3]; `NONE` becomes the first ignored colour, or black."""
        colours = np.zeros((NONE + 1, 3), np.uint8)
        colours[: len(self.classes)] = self.colours
        colours[NONE] = self.ignored[0] if self.ignored else (0, 0, 0)
        return colours[numbers]
