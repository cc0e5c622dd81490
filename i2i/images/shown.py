"""What is shown of a large picture, made while its rows pass: a small version, and the picture beside its source."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from i2i.images.picture import Array, Layout, Picture, flat
from i2i.images.resampling import Resampler
from i2i.images.strips import StripWriter

__all__ = ["Miniature", "pair_written"]

SMALL = 1 << 20  # pixels of a small version
PIECE = 64  # rows that are enlarged together
GAP = 4  # pixels between two pictures


class Miniature:
    """A version of about a million pixels of a picture whose rows come from top to bottom."""

    def __init__(self, expected: Picture) -> None:
        """`expected` is the picture without its pixels."""
        self.expected, (height, width) = expected, expected.pixels.shape[:2]
        part = min(1.0, math.sqrt(SMALL / (height * width)))
        wanted = max(1, round(width * part)), max(1, round(height * part))
        self.resampler = Resampler((width, height), wanted)
        self.came: list[Array] = []

    def write(self, rows: Array) -> None:
        """The next rows, [rows,W] or [rows,W,C]."""
        self.came += self.resampler.feed(rows)

    @property
    def picture(self) -> Picture:
        """The small version, when all rows have come."""
        return self.expected.with_pixels(np.concatenate(self.came))


@contextmanager
def pair_written(target: Path, left: Picture, expected: Picture) -> Iterator[Callable[[Array], None]]:
    """A context in which `side_by_side` of `left` and a picture whose rows come is written as PNG, as they come.

    Args:
        expected: the right picture without its pixels.

    Gives what takes the rows, [rows,W] or [rows,W,C]. The file appears when the context is left without an error.
    """
    height, width = expected.pixels.shape[:2]
    source = flat(left)
    wide = max(1, round(source.shape[1] * height / len(source)))
    resampler = Resampler((source.shape[1], len(source)), (wide, height))
    pieces = (piece for top in range(0, len(source), PIECE) for piece in resampler.feed(source[top : top + PIECE]))
    with StripWriter(target, "png", Layout(wide + GAP + width, height, 3)) as writer:
        waiting = np.empty((0, wide, 3), np.uint8)

        def write(rows: Array) -> None:
            nonlocal waiting
            right = flat(expected.with_pixels(rows))
            while len(waiting) < len(right):
                waiting = np.concatenate([waiting, next(pieces)])
            between = np.full((len(right), GAP, 3), 255, np.uint8)
            writer.write(np.hstack([waiting[: len(right)], between, right]))
            waiting = waiting[len(right) :]

        yield write
