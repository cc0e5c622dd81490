"""How far drawn label maps agree with the true ones: accuracies and IoU as pix2pix and CycleGAN report them.

The colours of a map become classes by the nearest colour of a palette. One confusion matrix is counted over the whole
set, and the figures are taken from it, as the FCN score does (Long et al. 2015): a class that the truth has nowhere is
left out of the mean of the class accuracies, and one that neither side has out of the mean IoU. (The script that came
with CycleGAN counts both as 0; on Cityscapes every class occurs, and the figures are the same.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from i2i.errors import UserError

__all__ = ["PALETTES", "WITHIN", "Agreement", "Palette"]

Pixels = NDArray[np.uint8]  # [H,W,3] RGB
PALETTES = Path(__file__).with_name("palettes")
IGNORED = "-"
WITHIN = 5  # levels
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


@dataclass
class Agreement:
    """The counts over a set of drawn maps and true ones; two of different pairs can be merged.

    Attributes:
        confusion: [classes,classes] pixels, the true class first.
        pairs, pixels, squares, near: how many, of all pixels; the sum of squared differences of their channels; those
            of them with every channel within 5 levels of the truth.
    """

    palette: Palette
    confusion: NDArray[np.int64] = field(init=False)
    pairs: int = 0
    pixels: int = 0
    squares: int = 0
    near: int = 0

    def __post_init__(self) -> None:
        count = len(self.palette.classes)
        self.confusion = np.zeros((count, count), np.int64)

    def add(self, fake: Pixels, real: Pixels) -> None:
        """Count a drawn map, uint8 [H,W,3], beside the true one. Raises ValueError for two sizes."""
        if fake.shape != real.shape:
            sizes = " and ".join(f"{picture.shape[1]}x{picture.shape[0]}" for picture in (fake, real))
            raise ValueError(f"pictures of {sizes} pixels cannot be compared")
        count = len(self.confusion)
        theirs, ours = self.palette.labels(real, truth=True), self.palette.labels(fake)
        both = (theirs * count + ours)[theirs < count]
        self.confusion += np.bincount(both, minlength=count**2).reshape(count, count)
        difference = fake.astype(np.int64) - real
        self.squares += int((difference**2).sum())
        self.near += int((np.abs(difference).max(-1) <= WITHIN).sum())
        self.pixels += theirs.size
        self.pairs += 1

    def merge(self, other: Agreement) -> None:
        """Count what another one has counted. Raises ValueError where that has another palette."""
        if other.palette != self.palette:
            raise ValueError(f"counts by the palettes {self.palette.name} and {other.palette.name} cannot be merged")
        self.confusion += other.confusion
        for name in ("pairs", "pixels", "squares", "near"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def figures(self) -> dict[str, float]:
        """What the counts say.

        Returns:
            "rmse" in levels of 8 bits; "within5", the share of pixels with every channel within 5 levels; "accuracy",
            the share of pixels of the right class; "class_accuracy" and "miou", means over the classes; and
            "accuracy_CLASS" and "iou_CLASS" of each that counts. Of an ignored truth only the first two take notice.

        Raises ValueError where no pixel was measured.
        """
        right, true, drawn = self.confusion.diagonal(), self.confusion.sum(1), self.confusion.sum(0)
        if not true.any():
            raise ValueError(f"nothing to agree with: no pixel of a class of the palette {self.palette.name}")
        union = true + drawn - right
        names = list(enumerate(self.palette.classes))
        accuracy = {f"accuracy_{name}": float(right[at] / true[at]) for at, name in names if true[at]}
        each = {f"iou_{name}": float(right[at] / union[at]) for at, name in names if union[at]}
        return {
            "rmse": float((self.squares / self.pixels / 3) ** 0.5),
            "within5": self.near / self.pixels,
            "accuracy": float(right.sum() / true.sum()),
            "class_accuracy": sum(accuracy.values()) / len(accuracy),
            "miou": sum(each.values()) / len(each),
            **accuracy,
            **each,
        }
