"""Whether a generator makes many pictures or one: three figures, each of which sees what the others miss.

Outputs of one input that differ (`of_outputs`): whether noise does anything, as BicycleGAN and StarGAN v2 report it.
Pictures of a set that differ (`of_pairs`): mode collapse, as AC-GAN reports it; more alike than the real ones is a
sign of it. Classes that a classifier finds in a set (`modes`): whether whole kinds of pictures are missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from i2i.metrics.extractors import Features
from i2i.metrics.fidelity import ms_ssim
from i2i.metrics.perceptual import Lpips

__all__ = ["Alike", "Modes", "Spread", "grouped", "labels", "modes", "of_outputs", "of_pairs"]

Pixels = NDArray[np.uint8]  # [H,W,3] RGB


class Spread(NamedTuple):
    """LPIPS between outputs of one input: 0 where noise changes nothing.

    Attributes:
        mean, std: over the inputs.
        pairs: how many distances were measured.
        each: the mean distance between the outputs of each input, by its name.
    """

    mean: float
    std: float
    pairs: int
    each: dict[str, float]


class Alike(NamedTuple):
    """MS-SSIM of pairs out of a set, 1 where all pictures are equal: mean and std over `pairs` of `possible` pairs."""

    mean: float
    std: float
    pairs: int
    possible: int


class Modes(NamedTuple):
    """The classes of a set.

    Attributes:
        found, classes: how many classes have a picture, and how many the classifier knows.
        evenness: entropy of their shares over that of equal shares: 1 where all are equally frequent, 0 for one alone.
        counts: pictures of each class.
    """

    found: int
    classes: int
    evenness: float
    counts: tuple[int, ...]


def grouped(files: Iterable[Path], by: Literal["stem", "folder"] = "stem") -> dict[str, list[Path]]:
    """Outputs by the input that they are of: files of one stem in several folders, or a folder for each input."""
    groups: dict[str, list[Path]] = {}
    for file in sorted(files):
        groups.setdefault(file.stem if by == "stem" else str(file.parent), []).append(file)
    return groups


def of_outputs(groups: Iterable[tuple[str, Sequence[Pixels]]], lpips: Lpips) -> Spread:
    """The mean LPIPS of all pairs of outputs of each input.

    Args:
        groups: the input's name, and two or more outputs of one size, uint8 [H,W,3]. Each is looked at once, and what
            the network sees of them is held until the next group comes.

    Raises ValueError for a group without a pair, for no group, and for pictures that LPIPS cannot compare.
    """
    each, pairs = {}, 0
    for name, outputs in groups:
        if len(outputs) < 2:
            raise ValueError(f"{name} has {len(outputs)} output; to tell how they differ takes two or more")
        sizes = {picture.shape[:2] for picture in outputs}
        if len(sizes) > 1:
            raise ValueError(f"the outputs of {name} differ in size: {', '.join(f'{w}x{h}' for h, w in sorted(sizes))}")
        seen = [lpips.looks(picture) for picture in outputs]
        found = [lpips.between(one, other) for one, other in combinations(seen, 2)]
        each[name], pairs = float(np.mean(found)), pairs + len(found)
    if not each:
        raise ValueError("there are no outputs to compare")
    means = list(each.values())
    return Spread(float(np.mean(means)), float(np.std(means)), pairs, each)


def of_pairs(pictures: Sequence[Pixels], *, pairs: int = 1000, seed: int = 0) -> Alike:
    """The mean MS-SSIM (RGB) of pairs of pictures of one size, drawn by the seed without repetition.

    Args:
        pictures: a sequence, which may read them when they are asked for.
        pairs: how many; all there are, where that is fewer.

    Raises ValueError for fewer than two pictures, and for those that `ms_ssim` cannot compare.
    """
    count = len(pictures)
    if count < 2:
        raise ValueError(f"a set of {count} has no pairs of pictures")
    possible = count * (count - 1) // 2
    drawn = np.sort(np.random.default_rng(seed).choice(possible, min(pairs, possible), replace=False))
    starts = np.cumsum([0, *range(count - 1, 1, -1)])  # of the pairs (0,1) (0,2) ... (1,2) ...: where each first begins
    first = np.searchsorted(starts, drawn, side="right") - 1
    second = drawn - starts[first] + first + 1
    places = zip(first.tolist(), second.tolist(), strict=True)
    found = [ms_ssim(pictures[one], pictures[other], rgb=True) for one, other in places]
    return Alike(float(np.mean(found)), float(np.std(found)), len(found), possible)


def labels(features: Features) -> NDArray[np.int64]:
    """The class of each picture, [N], by the classifier that a user has named as `extractor`: the largest logit.

    A TorchScript classifier gives its logits [N,K] as its one result.
    """
    scores = features.pool if features.logits is None else features.logits
    return np.asarray(scores.argmax(1).numpy(), np.int64)


def modes(found: Sequence[int] | NDArray[np.int64], classes: int) -> Modes:
    """How many of the classes occur, and how evenly.

    Args:
        found: the class of each picture, 0 to classes - 1.
        classes: how many there are.

    Raises ValueError for no pictures, fewer than two classes, or a class that is none of them.
    """
    numbers = np.asarray(found, np.int64)
    if classes < 2 or not numbers.size:
        raise ValueError(f"{numbers.size} pictures of {classes} classes have no evenness")
    if numbers.min() < 0 or numbers.max() >= classes:
        raise ValueError(f"classes are numbered 0 to {classes - 1}, and {numbers.min()} to {numbers.max()} were given")
    counts = np.bincount(numbers, minlength=classes)
    shares = counts[counts > 0] / numbers.size
    evenness = float(-(shares * np.log(shares)).sum() / np.log(classes)) + 0.0  # -0.0 is 0
    return Modes(len(shares), classes, evenness, tuple(counts.tolist()))
