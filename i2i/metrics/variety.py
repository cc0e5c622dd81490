"""Diversity of sets of files, as figures: `i2i.metrics.diversity` with pictures read, sizes brought together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from i2i.errors import UserError
from i2i.metrics.diversity import grouped, labels, modes, of_outputs, of_pairs
from i2i.metrics.extractors import Features
from i2i.metrics.paired import read
from i2i.metrics.perceptual import Lpips
from i2i.metrics.report import Figure
from i2i.metrics.sides import Set, ahead
from i2i.metrics.statistics import Statistics

__all__ = ["of_groups", "of_modes", "of_set"]

Pixels = NDArray[np.uint8]
SIZE = 256  # pixels to which pictures of several sizes are brought
KEPT = 128  # pictures that stay decoded


class Files(Sequence[Pixels]):
    """Pictures that are read when they are asked for; the last ones are kept."""

    def __init__(self, files: Sequence[Path], size: int | None) -> None:
        self.files = files
        self.read = lru_cache(KEPT)(partial(read, size=size))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        return self.read(self.files[place])


def of_set(
    some: Set, what: str, size: int | None, workers: int | None, failed: dict[str, str]
) -> tuple[Figure, list[str]]:
    """How alike the pictures of a set are, and what must be known; those that cannot be read join `failed`."""
    sizes, sound = set(), []
    for file, found in ahead(partial(shape, failed=failed), some.files, workers):
        if found:
            sound.append(file)
            sizes.add(found)
    notes = []
    if size is None and len(sizes) > 1:
        size = SIZE
        notes.append(f"for diversity the {what} pictures, of {len(sizes)} sizes, are brought to {SIZE}x{SIZE}")
    name = f"MS-SSIM of pairs, RGB{f', at {size}x{size}' if size else ''}, {what}"
    try:
        alike = of_pairs(Files(sound, size))
    except ValueError as error:
        return Figure("diversity", name, None, better="lower", notes=(f"{some.path}: {error}",)), notes
    return Figure("diversity", name, alike.mean, alike.std, better="lower", counts={"pairs": alike.pairs}), notes


def shape(file: Path, failed: dict[str, str]) -> tuple[Path, tuple[int, ...]]:
    """A file and the shape of its picture, empty where it cannot be read."""
    try:
        return file, read(file).shape[:2]
    except UserError as error:
        failed[str(file)] = str(error).removeprefix(f"{file}: ").partition(";")[0]
        return file, ()


def of_groups(
    some: Set, by: Literal["stem", "folder"], lpips: Lpips, size: int | None, failed: dict[str, str]
) -> Figure:
    """How far outputs of one input differ; those that cannot be read join `failed`."""

    def outputs() -> Iterator[tuple[str, list[Pixels]]]:
        for name, files in grouped(some.files, by).items():
            found = []
            for file in files:
                try:
                    found.append(read(file, size))
                except UserError as error:
                    failed[str(file)] = str(error).removeprefix(f"{file}: ").partition(";")[0]
            yield Path(name).name, found

    name = f"LPIPS of outputs of one input, {lpips.metric.protocol}"
    try:
        spread = of_outputs(outputs(), lpips)
    except ValueError as error:
        return Figure("diversity", name, None, better="higher", notes=(f"{some.path}: {error}",))
    counts = {"inputs": len(spread.each), "pairs": spread.pairs}
    return Figure("diversity", name, spread.mean, spread.std, better="higher", counts=counts)


def of_modes(some: Statistics, what: str, how: str) -> list[Figure]:
    """How many classes a classifier finds in a set, and how evenly."""
    pool, logits = some.features, some.logits
    if pool is None:
        return [Figure("modes", f"{how}, {what}", None, notes=(f"{some.source} holds no picture that can be read",))]
    classes = pool.shape[1] if logits is None else logits.shape[1]
    found = modes(labels(Features(pool, logits)), classes)
    counts = {"pictures": some.count}
    return [
        Figure("modes", f"{how}, {what}", found.found, unit=f"of {classes}", better="higher", counts=counts),
        Figure("evenness", f"{how}, {what}", found.evenness, better="higher", counts=counts),
    ]
