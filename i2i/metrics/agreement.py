"""How far drawn label maps agree with the true ones: accuracies and IoU as pix2pix and CycleGAN report them.

The colours of a map become classes by the nearest colour of a palette. One confusion matrix is counted over the whole
set, and the figures are taken from it, as the FCN score does (Long et al. 2015): a class that the truth has nowhere is
left out of the mean of the class accuracies, and one that neither side has out of the mean IoU. (The script that came
with CycleGAN counts both as 0; on Cityscapes every class occurs, and the figures are the same.)
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from i2i.palettes import Palette

__all__ = ["WITHIN", "Agreement", "Palette"]

Pixels = NDArray[np.uint8]  # [H,W,3] RGB
WITHIN = 5  # levels


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
