"""Data sets of pictures: endless pure functions of the position.

Position p is sample `p % len` of epoch `p // len`. An epoch's order is a permutation drawn from (seed, epoch); a sample's
crop, flip and colours are drawn from (seed, epoch, index). No state is kept, so workers, ranks and resuming change nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2i.data.folders import find, pair, read_pixels, scan
from i2i.data.resize import resize
from i2i.data.transforms import Geometric, Photometric
from i2i.errors import UserError
from i2i.schedules import Purpose, mix
from i2i.spec import Spec

__all__ = ["Pair", "Paired", "Unaligned", "Unpaired"]

Pixels = NDArray[np.generic]
Preprocess = Literal["resize+crop", "crop", "scale-width", "scale-width+crop", "none"]
PREPROCESSES = ("resize+crop", "crop", "scale-width", "scale-width+crop", "none")
LAYOUTS = ("side-by-side", "folders")
NAMES_OF_SIDES = (("A", "B"), ("a", "b"), ("trainA", "trainB"))  # looked for when the recipe names none
A_SIDE, B_SIDE = 0, 1


class Pair(NamedTuple):
    """A picture and what it shall become: [C,H,W] uint8, or float32 in [-1,1] where the file has 16 bits."""

    a: Tensor
    b: Tensor


class Unpaired(NamedTuple):
    """A picture of A and, unrelated, one of B: [C,H,W] uint8, or float32 in [-1,1] where the file has 16 bits."""

    a: Tensor
    b: Tensor


class Source(Protocol):
    """Where pixels come from: `len` items, each of one picture or of two that belong together."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """The item's file or files, for messages."""

    def read(self, index: int) -> tuple[Pixels, ...]:
        """[H,W,C] uint8 or uint16 each."""


class Singles:
    """One picture per file."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(files)

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return str(self.files[index])

    def read(self, index: int) -> tuple[Pixels, ...]:
        return (read_pixels(self.files[index]),)


class Halves(Singles):
    """Two pictures side by side in each file."""

    def read(self, index: int) -> tuple[Pixels, ...]:
        pixels = read_pixels(self.files[index])
        width = pixels.shape[1]
        if width % 2:
            raise UserError(f"{self.files[index]} is {width} pixels wide, which has no two halves; pairs stand side by side")
        return pixels[:, : width // 2], pixels[:, width // 2 :]


class OneHalf(Halves):
    """The left (0) or the right (1) half of each file."""

    def __init__(self, files: Sequence[Path], side: int) -> None:
        super().__init__(files)
        self.side = side

    def read(self, index: int) -> tuple[Pixels, ...]:
        return (super().read(index)[self.side],)


class Couples:
    """Two files per item."""

    def __init__(self, files: Sequence[tuple[Path, Path]]) -> None:
        self.files = list(files)

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return " and ".join(map(str, self.files[index]))

    def read(self, index: int) -> tuple[Pixels, ...]:
        a, b = (read_pixels(path) for path in self.files[index])
        if a.shape[:2] != b.shape[:2]:
            sizes = [f"{path} is {p.shape[1]}x{p.shape[0]}" for path, p in zip(self.files[index], (a, b), strict=True)]
            raise UserError(f"{sizes[0]} but {sizes[1]}; the pictures of a pair must have one size")
        return a, b


class Prepared:
    """What of a source's preparation needs no chance: channels and size; kept in memory if asked.

    Args:
        channels: wanted of each picture of an item.
    """

    def __init__(
        self, source: Source, preprocess: Preprocess, load: int, crop: int, channels: Sequence[int], keep: bool
    ) -> None:
        self.source, self.preprocess, self.load, self.crop = source, preprocess, load, crop
        self.channels, self.keep = tuple(channels), keep
        self.kept: dict[int, tuple[Pixels, ...]] = {}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Pixels, ...]:
        if index in self.kept:
            return self.kept[index]
        pictures = tuple(
            np.ascontiguousarray(self.fit(with_channels(pixels, wanted, self.source.name(index)), index))
            for pixels, wanted in zip(self.source.read(index), self.channels, strict=True)
        )
        if self.keep:
            self.kept[index] = pictures
        return pictures

    def fit(self, pixels: Pixels, index: int) -> Pixels:
        """Resize as `preprocess` says, and see that the crop fits in."""
        height, width = pixels.shape[:2]
        if self.preprocess == "resize+crop":
            pixels = resize(pixels, width=self.load, height=self.load)
        elif self.preprocess.startswith("scale-width"):
            pixels = resize(pixels, width=self.load, height=max(1, round(self.load * height / width)))
        if self.preprocess.endswith("crop") and min(pixels.shape[:2]) < self.crop:
            raise UserError(
                f"{self.source.name(index)} is {pixels.shape[1]}x{pixels.shape[0]} when cropped to {self.crop}x{self.crop}; "
                "take a smaller crop or preprocess resize+crop"
            )
        return pixels

    def fill(self) -> None:
        """Read everything that is to be kept in memory."""
        if self.keep:
            for index in range(len(self)):
                self[index]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"kept": {}}  # a spawned worker reads for itself: pickling all pixels would be slower


class Paired:
    """Pairs of pictures that show the same thing.

    Args:
        root: folder, looked for here and under $I2I_DATA; or a file that `i2i data cache` wrote.
        layout: "side-by-side": each file holds A on its left and B on its right half; "folders": two folders below
            `root`, partners have equal names but for the ending.
        a, b: names of the two folders; by default A and B, a and b, or trainA and trainB.
        direction: "a2b" makes A the input, "b2a" makes B the input. The sample's `a` is always the input.
        preprocess: "resize+crop": to load x load, then a random crop x crop; "crop": the random crop alone;
            "scale-width": to width `load`, height in proportion; "scale-width+crop": that, then the crop; "none".
        load, crop: in pixels.
        flip: mirror both left and right with probability 1/2.
        photometric: changes of the input alone; see `transforms.Photometric`.
        channels: wanted of input and target, 1 to 4: gray, gray+alpha, RGB, RGB+alpha.
        keep_in_memory: keep decoded and resized pixels, so that each file is read once.
        seed: of order, crops, flips and photometric changes; >= 0.

    Raises UserError for folders or files that are missing, empty, damaged or do not fit, naming them.
    """

    fields = Pair

    def __init__(
        self,
        root: str,
        *,
        layout: Literal["side-by-side", "folders"] = "side-by-side",
        a: str | None = None,
        b: str | None = None,
        direction: Literal["a2b", "b2a"] = "a2b",
        preprocess: Preprocess = "resize+crop",
        load: int = 286,
        crop: int = 256,
        flip: bool = True,
        photometric: Sequence[Spec | Mapping[str, Any]] | None = None,
        channels: tuple[int, int] = (3, 3),
        keep_in_memory: bool = False,
        seed: int = 0,
    ) -> None:
        check_choice("layout", layout, LAYOUTS)
        check_choice("direction", direction, ("a2b", "b2a"))
        check_sizes(preprocess, load, crop, channels)
        self.orphans: list[Path] = []
        source: Source
        if layout == "folders":
            couples, self.orphans = pair(*two_folders(root, a, b))
            source = Couples(couples)
        else:
            source = Halves(scan(find(root)))
        self.swapped, self.seed = direction == "b2a", seed
        stored = channels[::-1] if self.swapped else channels
        self.prepared = Prepared(source, preprocess, load, crop, stored, keep_in_memory)
        self.geometric = Geometric(crop if preprocess.endswith("crop") else 0, flip=flip)
        self.photometric = Photometric(photometric) if photometric else None

    def __len__(self) -> int:
        return len(self.prepared)

    def __getitem__(self, position: int) -> Pair:
        epoch, index = locate(position, len(self), self.seed)
        seed = mix(self.seed, Purpose.SAMPLE, epoch, index)
        pictures = self.prepared[index]
        a, b = self.geometric(seed, *(pictures[::-1] if self.swapped else pictures))
        return Pair(to_tensor(a, self.photometric, seed), to_tensor(b))

    def fill(self) -> None:
        """Read everything that is to be kept in memory."""
        self.prepared.fill()


class Unaligned:
    """Two sets of pictures without partners. An epoch is as long as the larger set; each set has epochs of its own.

    Args:
        a, b: folders, looked for here and under $I2I_DATA; or files that `i2i data cache` wrote.
        side_by_side: the folders hold pairs side by side: A is the left half of those in `a`, B the right half of those
            in `b` (the two may be one folder; which belongs to which is forgotten).
        photometric: changes of A alone.

    The other arguments are those of `Paired`; crops and flips of A and B are drawn independently.

    Raises UserError for folders or files that are missing, damaged or do not fit, or that hold fewer than 2 pictures.
    """

    fields = Unpaired

    def __init__(
        self,
        a: str,
        b: str,
        *,
        side_by_side: bool = False,
        preprocess: Preprocess = "resize+crop",
        load: int = 286,
        crop: int = 256,
        flip: bool = True,
        photometric: Sequence[Spec | Mapping[str, Any]] | None = None,
        channels: tuple[int, int] = (3, 3),
        keep_in_memory: bool = False,
        seed: int = 0,
    ) -> None:
        check_sizes(preprocess, load, crop, channels)
        self.seed = seed
        self.sides: list[Prepared] = []
        for side, root in enumerate((a, b)):
            files = scan(find(root))
            if len(files) < 2:
                raise UserError(f"{Path(root).name} holds 1 image; Unaligned needs at least 2 ({find(root)})")
            source: Source = OneHalf(files, side) if side_by_side else Singles(files)
            self.sides.append(Prepared(source, preprocess, load, crop, (channels[side],), keep_in_memory))
        self.geometric = Geometric(crop if preprocess.endswith("crop") else 0, flip=flip)
        self.photometric = Photometric(photometric) if photometric else None

    def __len__(self) -> int:
        return max(map(len, self.sides))

    def __getitem__(self, position: int) -> Unpaired:
        return Unpaired(self.draw(A_SIDE, position, self.photometric), self.draw(B_SIDE, position, None))

    def draw(self, side: int, position: int, photometric: Photometric | None) -> Tensor:
        """[C,H,W] of one side at `position`."""
        epoch, index = locate(position, len(self.sides[side]), self.seed, side)
        seed = mix(self.seed, Purpose.SAMPLE, epoch, index, side)
        (picture,) = self.geometric(seed, *self.sides[side][index])
        return to_tensor(picture, photometric, seed)

    def fill(self) -> None:
        """Read everything that is to be kept in memory."""
        for side in self.sides:
            side.fill()


def locate(position: int, length: int, seed: int, side: int = A_SIDE) -> tuple[int, int]:
    """(epoch, index of the item) at `position` of an endless stream over `length` items."""
    if position < 0:
        raise IndexError(f"positions start at 0, not at {position}")
    epoch, place = divmod(position, length)
    return epoch, int(order(seed, side, epoch, length)[place])


@lru_cache(maxsize=16)
def order(seed: int, side: int, epoch: int, length: int) -> NDArray[np.int64]:
    """The permutation of one epoch. A and B have their own, or sets of equal length would be paired for ever."""
    words = [seed, Purpose.ORDER, epoch] + [side] * (side > 0)
    return np.random.Generator(np.random.PCG64(words)).permutation(length)


def two_folders(root: str, a: str | None, b: str | None) -> tuple[Path, Path]:
    """The folders of A and of B below `root`, named or by one of the usual names."""
    base = find(root)
    usual = next((names for names in NAMES_OF_SIDES if all((base / name).is_dir() for name in names)), None)
    if usual is None and (a is None or b is None):
        raise UserError(f"{base} holds neither A and B nor trainA and trainB; name the two folders with a and b")
    names = (a or (usual or "")[0], b or (usual or "")[1])
    return find(base / names[0]), find(base / names[1])


def with_channels(pixels: Pixels, wanted: int, name: str) -> Pixels:
    """[H,W,1..4] -> [H,W,wanted]: gray is Rec. 601 luma as Pillow computes it, a missing alpha is opaque, another is cut."""
    given = pixels.shape[2]
    if given == wanted:
        return pixels
    if not 1 <= given <= 4:
        raise UserError(f"{name} has {given} channels; 1 to 4 can be used")
    alpha = pixels[..., -1:] if given in (2, 4) else np.full_like(pixels[..., :1], np.iinfo(pixels.dtype).max)
    colours = pixels[..., : given - (given in (2, 4))]
    if wanted in (1, 2) and colours.shape[2] == 3:
        weighted = colours.astype(np.int64) @ np.array([19595, 38470, 7471])  # .299, .587, .114 in 1/65536
        colours = ((weighted + 0x8000) >> 16).astype(pixels.dtype)[..., None]
    elif wanted in (3, 4) and colours.shape[2] == 1:
        colours = np.repeat(colours, 3, axis=2)
    return np.concatenate([colours, alpha], axis=2) if wanted in (2, 4) else colours


def to_tensor(pixels: Pixels, photometric: Photometric | None = None, seed: int = 0) -> Tensor:
    """[H,W,C] -> [C,H,W] of its own memory: uint8 as it is, uint16 as float32 in [-1,1]."""
    if pixels.dtype == np.uint16:
        unit = pixels.astype(np.float32) / np.float32(65535)
        if photometric is not None:
            unit = photometric(seed, unit).astype(np.float32).clip(0, 1)
        pixels = unit * np.float32(2) - np.float32(1)
    elif photometric is not None:
        pixels = photometric(seed, pixels)
    return torch.from_numpy(np.ascontiguousarray(pixels).copy()).permute(2, 0, 1).contiguous()


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Raise UserError unless `value` is one of `known`."""
    if value not in known:
        raise UserError(f"{name} '{value}' is none of {', '.join(known)}")


def check_sizes(preprocess: str, load: int, crop: int, channels: Sequence[int]) -> None:
    """Raise UserError for arguments that cannot go together."""
    check_choice("preprocess", preprocess, PREPROCESSES)
    if load < 1 or crop < 1:
        raise UserError(f"load {load} and crop {crop} must be at least 1 pixel")
    if preprocess in ("resize+crop", "scale-width+crop") and crop > load:
        raise UserError(f"crop {crop} is larger than load {load}; a crop is cut from the resized picture")
    if len(channels) != 2 or not all(1 <= count <= 4 for count in channels):
        raise UserError(f"channels {tuple(channels)} must be two numbers from 1 to 4: of the input and of the target")
