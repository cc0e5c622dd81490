"""Figures of a data set's pictures: sizes, brightness, contrast, colours, formats."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2i import images, shards
from i2i.data.folders import find
from i2i.data.survey import grouped
from i2i.errors import UserError

__all__ = ["Figures", "stats"]

COLOURED = 2.0  # mean distance of the channels, in levels, from which a picture has colours


@dataclass(frozen=True)
class One:
    """Of one picture: sums over its pixels in [0,1], and what its file is."""

    width: int
    height: int
    channels: int
    bits: int
    format: str
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    coloured: bool


@dataclass(frozen=True)
class Figures:
    """Of the pictures of one split and side.

    Attributes:
        split, side: "" where there are none.
        count, unread: pictures, and how many of them cannot be read.
        widths, heights, aspects: the least, the median and the largest; an aspect is width / height.
        formats, bits: what the files are -> how many.
        mean, deviation: of each channel, in [0,1], over all pixels; gray pictures count for all three.
        contrast: the mean of the pictures' own deviations of brightness, in [0,1].
        coloured: the share of pictures that have colours.
    """

    split: str
    side: str
    count: int
    unread: int
    widths: tuple[int, int, int]
    heights: tuple[int, int, int]
    aspects: tuple[float, float, float]
    formats: dict[str, int]
    bits: dict[str, int]
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    contrast: float
    coloured: float

    def lines(self) -> list[str]:
        """For people."""
        name = " ".join(filter(None, (self.split, self.side))) or "all"
        formats = ", ".join(f"{count:,} {kind}" for kind, count in self.formats.items())
        depth = ", ".join(f"{count:,} of {bits} bits" for bits, count in self.bits.items())
        unread = f", {self.unread:,} cannot be read" if self.unread else ""
        return [
            f"{name}: {self.count:,} pictures{unread}",
            f"  width      {self.widths[0]:,} to {self.widths[2]:,} pixels, the median {self.widths[1]:,}",
            f"  height     {self.heights[0]:,} to {self.heights[2]:,} pixels, the median {self.heights[1]:,}",
            f"  aspect     {self.aspects[0]:.3f} to {self.aspects[2]:.3f}, the median {self.aspects[1]:.3f}",
            f"  files      {formats}; {depth}",
            f"  mean       {' '.join(f'{value:.4f}' for value in self.mean)} (of 0 to 1)",
            f"  deviation  {' '.join(f'{value:.4f}' for value in self.deviation)}",
            f"  contrast   {self.contrast:.4f}, the mean of the pictures' own deviations",
            f"  coloured   {100 * self.coloured:.1f} %",
        ]


def stats(folder: str, *, progress: Callable[[int, int], None] = lambda done, total: None) -> list[Figures]:
    """Figures of each split and side of a folder, or of shards, looked for as `folders.find` does.

    Raises UserError where there are no pictures, or none that can be read.
    """
    root = find(folder)
    if not shards.is_folder(root):
        raise UserError(f"{root} is a file; name the folder that your pictures lie in")
    groups = grouped(root)
    total, before, found = sum(len(group.files) for group in groups.values()), 0, []
    for (split, side), group in groups.items():
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            ones: list[One] = []
            for done, one in enumerate(threads.map(measure, sorted(group.files)), 1):
                progress(before + done, total)
                if one is not None:
                    ones.append(one)
        before += len(group.files)
        if ones:
            found.append(gathered(split, side, ones, len(group.files)))
    if not found:
        raise UserError(f"none of the pictures in {root} can be read", code=1)
    return found


def measure(path: Path) -> One | None:
    """One picture; None where it cannot be read."""
    try:
        picture = images.read(path)
    except UserError:
        return None
    pixels = picture.pixels if picture.pixels.ndim == 3 else np.repeat(picture.pixels[..., None], 3, axis=2)
    unit = pixels.reshape(-1, 3).astype(np.float64) / np.iinfo(pixels.dtype).max
    coloured = 255 * float((unit.max(1) - unit.min(1)).mean()) >= COLOURED
    height, width = pixels.shape[:2]
    channels = 1 if picture.pixels.ndim == 2 else 3
    bits = 16 if picture.deep else 8
    return One(width, height, channels, bits, picture.format, unit.mean(0), (unit**2).mean(0), coloured)


def gathered(split: str, side: str, ones: Sequence[One], count: int) -> Figures:
    """The figures of all pictures, of what was measured of each."""
    areas = np.array([one.width * one.height for one in ones], np.float64)
    weights = areas / areas.sum()
    first = weights @ np.stack([one.first for one in ones])
    second = weights @ np.stack([one.second for one in ones])
    spread = [float(np.sqrt(np.maximum(one.second.mean() - one.first.mean() ** 2, 0))) for one in ones]

    def three(values: Sequence[float]) -> tuple[Any, Any, Any]:
        ordered = sorted(values)
        return ordered[0], ordered[len(ordered) // 2], ordered[-1]

    def counted(values: Sequence[Any]) -> dict[str, int]:
        return {str(value): times for value, times in Counter(values).most_common()}

    return Figures(
        split=split,
        side=side,
        count=count,
        unread=count - len(ones),
        widths=three([one.width for one in ones]),
        heights=three([one.height for one in ones]),
        aspects=three([one.width / one.height for one in ones]),
        formats=counted([one.format.lower() for one in ones]),
        bits=counted([one.bits for one in ones]),
        mean=tuple(map(float, first)),  # type: ignore[arg-type]
        deviation=tuple(map(float, np.sqrt(np.maximum(second - first**2, 0)))),  # type: ignore[arg-type]
        contrast=float(np.mean(spread)),
        coloured=float(np.mean([one.coloured for one in ones])),
    )
