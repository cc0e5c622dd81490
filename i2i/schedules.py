"""Pure functions of the clock: learning rate, averages, seeds. Counted in images, so a batch's size changes none."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum

__all__ = [
    "Clock",
    "Constant",
    "Cosine",
    "Exponential",
    "HalfLife",
    "LinearToZero",
    "PerStage",
    "Purpose",
    "Ramp",
    "Rate",
    "Steps",
    "mix",
]


@dataclass(frozen=True)
class Clock:
    """The only notion of time: images seen, optimizer steps, the stage, images seen in the stage."""

    images: int = 0
    steps: int = 0
    stage: int = 0
    stage_images: int = 0

    def advance(self, batch: int) -> Clock:
        return replace(self, images=self.images + batch, steps=self.steps + 1, stage_images=self.stage_images + batch)


class Purpose(IntEnum):
    """Separate streams of randomness, so that drawing more in one never changes another."""

    INIT = 0  # the networks' first weights
    LOSS = 1  # dropout, penalties, pools: whatever a loss draws
    ENTER = 2  # layers grown at a stage's entry
    ORDER = 3  # the order of the data
    SAMPLE = 4  # crops and flips of one sample
    AUGMENT = 5  # augmentation on the device


def mix(*numbers: int) -> int:
    """A 63-bit seed from integers: equal on every machine, rank and Python (unlike `hash`), and well spread."""
    packed = struct.pack(f"<{len(numbers)}q", *numbers)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1


Rate = Callable[[Clock], float]
"""A factor on the optimizer's learning rate."""


@dataclass(frozen=True)
class Constant:
    """The learning rate stays as the optimizer was given it."""

    def __call__(self, clock: Clock) -> float:
        return 1.0


@dataclass(frozen=True)
class LinearToZero:
    """Constant until image `hold`, then linear to zero at image `end` (pix2pix and CycleGAN: half and half).

    Counted in images of the stage, where the original counts epochs: a deviation without the original's jumps.
    """

    hold: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.hold < self.end:
            raise ValueError(f"LinearToZero needs 0 <= hold < end, not hold {self.hold} and end {self.end}")

    def __call__(self, clock: Clock) -> float:
        return min(1.0, max(0.0, (self.end - clock.stage_images) / (self.end - self.hold)))


@dataclass(frozen=True)
class Steps:
    """Multiply by `factor` at each of the images `at` (SRGAN: 0.1 after half)."""

    at: tuple[int, ...]
    factor: float = 0.1

    def __call__(self, clock: Clock) -> float:
        return self.factor ** sum(clock.stage_images >= image for image in self.at)


@dataclass(frozen=True)
class Exponential:
    """Divide by `factor` with every `images` images, evenly, down to `floor` (GAN: 1.000004 with every 100)."""

    factor: float
    images: int
    floor: float = 0.0

    def __call__(self, clock: Clock) -> float:
        return max(self.floor, self.factor ** (-clock.stage_images / self.images))


@dataclass(frozen=True)
class Ramp:
    """From `first` to `last` in a straight line between the images `start` and `end`; a value, not a factor."""

    first: float
    last: float
    end: int
    start: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"Ramp needs 0 <= start < end, not start {self.start} and end {self.end}")

    def __call__(self, clock: Clock) -> float:
        done = min(1.0, max(0.0, (clock.images - self.start) / (self.end - self.start)))
        return self.first + (self.last - self.first) * done


@dataclass(frozen=True)
class Cosine:
    """From 1 to `floor` along half a cosine that ends at image `end`, after `warmup` images of linear rise."""

    end: int
    floor: float = 0.0
    warmup: int = 0

    def __call__(self, clock: Clock) -> float:
        if clock.stage_images < self.warmup:
            return (clock.stage_images + 1) / self.warmup
        done = min(1.0, (clock.stage_images - self.warmup) / max(1, self.end - self.warmup))
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True)
class PerStage:
    """Each stage its own rate, in the order of the stages; the last one also serves all that follow."""

    rates: tuple[Rate, ...]

    def __post_init__(self) -> None:
        if not self.rates:
            raise ValueError("PerStage needs at least one rate")

    def __call__(self, clock: Clock) -> float:
        return self.rates[min(clock.stage, len(self.rates) - 1)](clock)


@dataclass(frozen=True)
class HalfLife:
    """The exponential moving average of weights, by its half-life in images (Karras et al. 2020, Sec. B).

    `ramp` lets the half-life grow with the images seen, so that the average forgets the first weights quickly; None
    switches that off.
    """

    images: float = 10_000
    ramp: float | None = 0.05

    def decay(self, clock: Clock, batch: int) -> float:
        """How much of the average is kept when `batch` images have been learned from, at `clock` before them."""
        half = self.images if self.ramp is None else min(self.images, self.ramp * (clock.images + batch))
        return 0.5 ** (batch / max(half, 1e-8))
