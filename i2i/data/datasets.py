"""Data sets of pictures: endless pure functions of the position.

Position p is sample `p % len` of epoch `p // len`. An epoch's order is a permutation drawn from (seed, epoch); a
sample's crop, flip and colours are drawn from (seed, epoch, index). No state is kept, so workers, ranks and resuming
change nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2i.data.cache import Packed
from i2i.data.folders import find, scan
from i2i.data.resize import PREPROCESSES, Preprocess, fit, fitted, nearest
from i2i.data.sources import Halves, Pixels, Singles, Source, pairs_in
from i2i.data.transforms import Geometric, Photometric, Steps
from i2i.errors import UserError
from i2i.game import Content
from i2i.palettes import Palette
from i2i.schedules import Purpose, mix

__all__ = ["Pair", "Paired", "Photographs", "Picture", "Unaligned", "Unpaired"]

A_SIDE, B_SIDE = 0, 1
CHECKED = 10_000  # items whose sizes are looked at before training, 0.1 ms each; the rest are checked when read

logger = logging.getLogger(__name__)


class Pair(NamedTuple):
    """A picture and what it shall become: [C,H,W] uint8, or float32 in [-1,1] where the file has 16 bits."""

    a: Tensor
    b: Tensor


class Unpaired(NamedTuple):
    """A picture of A and, unrelated, one of B: [C,H,W] uint8, or float32 in [-1,1] where the file has 16 bits."""

    a: Tensor
    b: Tensor


class Picture(NamedTuple):
    """A picture alone: [C,H,W] uint8, or float32 in [-1,1] where the file has 16 bits."""

    hr: Tensor


class Prepared:
    """A source's pictures with the wanted channels and size: what needs no chance. Kept in memory if asked.

    Args:
        crop: the side of the square that will be cut; 0 if none will.
        channels: wanted of each picture of an item.
        contents: what each holds; of label maps the classes are made, [H,W,1] in uint8.
        before: what is done to each picture, but label maps, before it is resized; None for nothing.

    Raises UserError for a picture that cannot be read, or is smaller than the crop.
    """

    def __init__(
        self,
        source: Source,
        preprocess: str,
        load: int,
        crop: int,
        channels: Sequence[int],
        keep: bool,
        contents: Sequence[Content] | None = None,
        before: Callable[[Pixels], Pixels] | None = None,
    ) -> None:
        self.source, self.preprocess, self.load, self.crop = source, preprocess, load, crop
        self.channels, self.keep, self.before = tuple(channels), keep, before
        self.contents = tuple(contents or [Content()] * len(self.channels))
        self.labels = tuple(content.kind == "labels" for content in self.contents)
        self.kept: dict[int, tuple[Pixels, ...]] = {}
        for index in range(min(len(source), CHECKED)):
            self.check(index, *fitted(*source.size(index), preprocess, load))
        if isinstance(source, Packed) and fitted(*source.size(0), preprocess, load) != source.size(0):
            logger.warning("%s holds pictures of another size: they are resized a second time", source.path)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Pixels, ...]:
        if index in self.kept:
            return self.kept[index]
        pictures = self.made(index)
        if self.keep:
            self.kept[index] = pictures
        return pictures

    def made(self, index: int) -> tuple[Pixels, ...]:
        """An item's pictures, read and resized."""
        read = zip(self.source.read(index), self.channels, self.contents, strict=True)
        pictures = tuple(np.ascontiguousarray(self.fitting(index, *one)) for one in read)
        for pixels in pictures:
            self.check(index, pixels.shape[1], pixels.shape[0])
        return pictures

    def fitting(self, index: int, pixels: Pixels, channels: int, content: Content) -> Pixels:
        """One of an item's pictures as it is wanted."""
        if (palette := content.palette) is None:
            pixels = with_channels(pixels, channels, self.source.name(index))
            return fit(self.before(pixels) if self.before else pixels, self.preprocess, self.load)
        colours = pixels.shape[2] - (pixels.shape[2] in (2, 4))  # without alpha
        try:
            numbers = palette.numbers(pixels[..., :colours], within=content.within)
        except UserError as error:
            raise UserError(f"{self.source.name(index)}: {error}", code=1) from error
        width, height = fitted(pixels.shape[1], pixels.shape[0], self.preprocess, self.load)
        return nearest(numbers[..., None], width, height)

    def check(self, index: int, width: int, height: int) -> None:
        """Raise UserError if the crop does not fit into a picture of the item that has this size before cropping."""
        if min(width, height) < self.crop:
            raise UserError(
                f"{self.source.name(index)}: {width}x{height} pixels are too few for a crop of "
                f"{self.crop}x{self.crop}; take a smaller crop, or preprocess resize+crop"
            )

    def fill(self) -> None:
        """Read everything that is to be kept in memory."""
        for index in range(len(self) if self.keep else 0):
            self[index]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"kept": {}}  # a spawned worker reads for itself: pickling all pixels would be slower


class Paired:
    """Pairs of pictures that show the same thing.

    Args:
        root: folder, looked for here, in ./datasets and under $I2I_DATA; or a file that `i2i data cache` wrote.
        layout: "side-by-side": each file holds A on its left and B on its right half; "folders": two folders below
            `root`, partners have equal names but for the ending, `orphans` lists those without.
        a, b: names of the two folders; by default A and B, a and b, or trainA and trainB.
        direction: "a2b" makes A the input, "b2a" makes B the input. The sample's `a` is always the input.
        preprocess: "resize+crop": to load x load, then a random crop x crop; "crop": the random crop alone;
            "scale-width": to width `load`, height in proportion; "scale-width+crop": that, then the crop; "none".
        load, crop: in pixels.
        flip: mirror both left and right with probability 1/2.
        geometry: random changes of place before the crop, the same for both; see `transforms.Geometric`.
        photometric: changes of the input alone; see `transforms.Photometric`.
        channels: wanted of input and target, 1 to 4: gray, gray+alpha, RGB, RGB+alpha.
        palettes: of input and target where they are label maps, which become one channel for each class, 1 in its
            pixels and -1 elsewhere: the name of a palette that ships, or a text file of "red green blue name".
        within: levels by which the colours of label maps may be off, as those of JPEGs are.
        keep_in_memory: keep decoded and resized pixels, so that each file is read once.
        without: files to leave out, damaged ones for example, written as the folders are: maps/train/7.jpg.
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
        geometry: Steps | None = None,
        photometric: Steps | None = None,
        channels: tuple[int, int] = (3, 3),
        palettes: tuple[str | None, str | None] = (None, None),
        within: int = 0,
        keep_in_memory: bool = False,
        without: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        if direction not in ("a2b", "b2a"):
            raise UserError(f"direction '{direction}' is neither a2b nor b2a")
        cut = check(preprocess, load, crop, channels, seed)
        base = find(root)
        self.orphans: list[Path] = []
        source: Source
        if base.is_file():
            source = packed(base, pictures=2)
        else:
            source, self.orphans = pairs_in(base, layout, a, b, without)
        self.swapped, self.seed = direction == "b2a", seed
        self.holds = contents(palettes, within, photometric)
        stored = channels[::-1] if self.swapped else channels
        held = self.holds[::-1] if self.swapped else self.holds
        self.prepared = Prepared(source, preprocess, load, cut, stored, keep_in_memory, held)
        self.geometric = Geometric(cut, flip=flip, before=geometry)
        self.photometric = Photometric(photometric) if photometric else None

    def __len__(self) -> int:
        return len(self.prepared)

    def __getitem__(self, position: int) -> Pair:
        epoch, index = locate(position, len(self), self.seed)
        seed = mix(self.seed, Purpose.SAMPLE, epoch, index)
        pictures, labels = self.prepared[index], tuple(content.kind == "labels" for content in self.holds)
        a, b = self.geometric(seed, *(pictures[::-1] if self.swapped else pictures), labels=labels)
        input, target = self.holds
        return Pair(to_tensor(a, self.photometric, seed, input), to_tensor(b, content=target))

    def shown(self, columns: Sequence[Tensor]) -> list[Tensor]:
        """Columns of pictures [N,C,H,W] in [-1,1], label maps in the colours of their classes."""
        return shown(columns, self.holds)

    def fill(self) -> None:
        """Read everything that is to be kept in memory."""
        self.prepared.fill()


class Unaligned:
    """Two sets of pictures without partners. An epoch is as long as the larger set; each set has epochs of its own.

    Args:
        a, b: folders, looked for here, in ./datasets and under $I2I_DATA; or files that `i2i data cache` wrote.
        side_by_side: the folders hold pairs side by side: A is the left half of those in `a`, B the right half of those
            in `b` (the two may be one folder; which belongs to which is forgotten).
        geometry: random changes of place before the crop; see `transforms.Geometric`.
        photometric: changes of A alone.
        before: what is done to each picture of A [H,W,C] before it is resized, such as
            `{of: i2i.data.transforms:Thicker, size: 3}`.
        fewest: refuse folders of fewer pictures; 1 for single-image translation, where random crops of one large
            picture stand for a data set.

    The other arguments are those of `Paired`; what is random is drawn for A and for B independently.

    Raises UserError for folders or files that are missing, damaged or do not fit, and for fewer than `fewest` pictures.
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
        geometry: Steps | None = None,
        photometric: Steps | None = None,
        channels: tuple[int, int] = (3, 3),
        palettes: tuple[str | None, str | None] = (None, None),
        within: int = 0,
        keep_in_memory: bool = False,
        without: Sequence[str] = (),
        before: Callable[[Pixels], Pixels] | None = None,
        fewest: int = 2,
        seed: int = 0,
    ) -> None:
        cut = check(preprocess, load, crop, channels, seed)
        self.seed = seed
        self.holds = contents(palettes, within, photometric)
        self.sides: list[Prepared] = []
        for side, base in enumerate(map(find, (a, b))):
            source: Source
            if base.is_file():
                source = packed(base, pictures=1 + side_by_side, side=side if side_by_side else None)
            else:
                files = scan(base, without)
                source = Halves(files, side) if side_by_side else Singles(files)
            if len(source) < fewest:
                held = f"{len(source)} image{'s' if len(source) != 1 else ''}"
                raise UserError(f"{base.name} holds {held}; Unaligned needs at least {fewest} ({base})")
            content, alone = [self.holds[side]], before if side == A_SIDE else None
            one = channels[side : side + 1]
            self.sides.append(Prepared(source, preprocess, load, cut, one, keep_in_memory, content, alone))
        self.geometric = Geometric(cut, flip=flip, before=geometry)
        self.photometric = Photometric(photometric) if photometric else None

    def __len__(self) -> int:
        return max(map(len, self.sides))

    def __getitem__(self, position: int) -> Unpaired:
        return Unpaired(self.draw(A_SIDE, position, self.photometric), self.draw(B_SIDE, position, None))

    def draw(self, side: int, position: int, photometric: Photometric | None) -> Tensor:
        """[C,H,W] of one side at `position`."""
        epoch, index = locate(position, len(self.sides[side]), self.seed, side)
        seed = mix(self.seed, Purpose.SAMPLE, epoch, index, side)
        content = self.holds[side]
        (picture,) = self.geometric(seed, *self.sides[side][index], labels=(content.kind == "labels",))
        return to_tensor(picture, photometric, seed, content)

    def shown(self, columns: Sequence[Tensor]) -> list[Tensor]:
        """As `Paired.shown`."""
        return shown(columns, self.holds)

    def fill(self) -> None:
        """Read everything that is to be kept in memory."""
        for side in self.sides:
            side.fill()


class Photographs:
    """Pictures alone, as large as they shall become: whoever trains on them makes the small ones on the device.

    Args:
        roots: folders, looked for here, in ./datasets and under $I2I_DATA, taken together; or one file that
            `i2i data cache` wrote.
        crop: the side of the random crop in pixels, a multiple of the enlargement.
        geometry: random changes of place before the crop; see `transforms.Geometric`.
        flip: mirror left and right with probability 1/2.
        turn: turn by a quarter, a half or three quarters, or not, with equal probability.
        channels: wanted, 1 to 4: gray, gray+alpha, RGB, RGB+alpha.
        keep_in_memory: keep decoded pixels, so that each file is read once.
        without: files to leave out, damaged or small ones for example, written as the folders are: photos/7.jpg.
        lying: files whose pictures lie on their right side, written like that: they are set upright.
        seed: of order, crops, flips and turns; >= 0.

    Raises UserError for folders or files that are missing, empty or damaged, or pictures smaller than the crop.
    """

    fields = Picture

    def __init__(
        self,
        roots: Sequence[str],
        *,
        crop: int = 96,
        geometry: Steps | None = None,
        flip: bool = True,
        turn: bool = True,
        channels: int = 3,
        keep_in_memory: bool = False,
        without: Sequence[str] = (),
        lying: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        cut = check("crop", crop, crop, (channels, channels), seed)
        found = [find(root) for root in roots]
        if not found or (len(found) > 1 and any(map(Path.is_file, found))):
            raise UserError("'roots' must name one or more folders, or one file that 'i2i data cache' wrote")
        source: Source
        if found[0].is_file():
            source = packed(found[0], pictures=1)
        else:
            files = [file for folder in found for file in scan(folder, without)]
            turned = {os.path.abspath(find(file)) for file in lying}
            source = Singles(files, [file for file in files if os.path.abspath(file) in turned])
        self.seed = seed
        self.prepared = Prepared(source, "crop", crop, cut, (channels,), keep_in_memory)
        self.geometric = Geometric(cut, flip=flip, turn=turn, before=geometry)

    def __len__(self) -> int:
        return len(self.prepared)

    def __getitem__(self, position: int) -> Picture:
        epoch, index = locate(position, len(self), self.seed)
        (picture,) = self.geometric(mix(self.seed, Purpose.SAMPLE, epoch, index), *self.prepared[index])
        return Picture(to_tensor(picture))

    def fill(self) -> None:
        """Read everything that is to be kept in memory."""
        self.prepared.fill()


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


def packed(path: Path, *, pictures: int, side: int | None = None) -> Packed:
    """A file that `i2i data cache` wrote, of that many pictures per item."""
    source = Packed(path, side)
    if source.pictures != pictures:
        if pictures == 2:
            raise UserError(
                f"{path} holds single pictures where pairs are wanted; pack with --layout side-by-side or folders"
            )
        raise UserError(f"{path} holds pairs; set side_by_side to take a side of each, or pack with --layout single")
    return source


def with_channels(pixels: Pixels, wanted: int, name: str) -> Pixels:
    """[H,W,1..4] -> [H,W,wanted]: gray is Rec. 601 luma as Pillow computes it; alpha is cut, or added as opaque."""
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


def contents(
    palettes: tuple[str | None, str | None], within: int, photometric: Steps | None
) -> tuple[Content, Content]:
    """What input and target hold. Raises UserError."""
    if palettes[0] and photometric:
        raise UserError("photometric changes colours, and those of a label map are its classes; leave one of them out")
    if not 0 <= within <= 255:
        raise UserError(f"colours are off by 0 to 255 levels, not within {within}")
    input, target = (Content.of(Palette.read(which), within=within) if which else Content() for which in palettes)
    return input, target


def shown(columns: Sequence[Tensor], holds: Sequence[Content]) -> list[Tensor]:
    """Columns [N,C,H,W], those of as many channels as a palette has classes in its colours; three channels count as
    red, green and blue."""
    palettes = {len(content.classes): content.palette for content in holds}
    made = []
    for column in columns:
        palette = palettes.get(column.shape[1]) if column.shape[1] not in (1, 3) else None
        if palette:
            colours = torch.from_numpy(palette.drawn(column.argmax(1).cpu().numpy()))
            column = colours.permute(0, 3, 1, 2).float() / 127.5 - 1
        made.append(column)
    return made


def to_tensor(
    pixels: Pixels, photometric: Photometric | None = None, seed: int = 0, content: Content | None = None
) -> Tensor:
    """[H,W,C] -> [C,H,W] of its own memory: uint8 as it is, uint16 as float32 in [-1,1]; classes [H,W,1] become a
    channel each, 255 in its pixels and 0 elsewhere."""
    if content is not None and content.classes:
        classes = np.arange(len(content.classes), dtype=np.uint8)
        pixels = np.where(pixels == classes, np.uint8(255), np.uint8(0))
    if pixels.dtype == np.uint16:
        unit = pixels.astype(np.float32) / np.float32(65535)
        if photometric is not None:
            unit = photometric(seed, unit).astype(np.float32).clip(0, 1)
        pixels = unit * np.float32(2) - np.float32(1)
    elif photometric is not None:
        pixels = photometric(seed, pixels)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()


def check(preprocess: str, load: int, crop: int, channels: Sequence[int], seed: int) -> int:
    """The side of the random crop, 0 for none. Raises UserError for arguments that cannot go together."""
    if preprocess not in PREPROCESSES:
        raise UserError(f"preprocess '{preprocess}' is none of {', '.join(PREPROCESSES)}")
    if load < 1 or crop < 1 or seed < 0:
        raise UserError(f"load {load} and crop {crop} must be at least 1 pixel, and seed {seed} at least 0")
    if preprocess in ("resize+crop", "scale-width+crop") and crop > load:
        raise UserError(f"crop {crop} is larger than load {load}; a crop is cut from the resized picture")
    if len(channels) != 2 or not all(1 <= count <= 4 for count in channels):
        raise UserError(f"channels {tuple(channels)} must be two numbers from 1 to 4: of the input and of the target")
    return crop if preprocess.endswith("crop") else 0
