"""Look at a folder of pictures and say what it is: pairs, two domains, or pictures of one kind; how large, how many."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from i2i import images, shards
from i2i.data.datasets import CHECKED
from i2i.data.folders import find, subfolders, walk
from i2i.errors import UserError
from i2i.images import Head

__all__ = ["Kind", "Side", "Survey", "related", "survey"]

Kind = Literal["halves", "couples", "domains", "singles"]
"""Pairs side by side in one file; pairs in two folders; two folders without pairs; pictures of one kind."""

LEAST = 16  # pixels of the shorter side, of what a network can learn from
COMPARED = 24  # pictures whose halves or partners are compared
PATIENCE = 6.0  # seconds for decoding pictures, which finds the damaged ones
SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "eval": "test",
}  # fmt: skip
SPLIT = re.compile(rf"({'|'.join(SPLITS)})(?:([AB])|[_-](.+))?", re.IGNORECASE)
Tally = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Side:
    """Pictures of one kind, for training; of pairs side by side both halves, and `heads` are those of a half.

    Attributes:
        name: of its folder below the survey's root, without the split; "" where there is none.
        folder: what a data set is given as the folder.
        heads: file -> its head, of all files that can be used; of very many, of some of them.
        count: how many can be used.
    """

    name: str
    folder: Path
    heads: Mapping[Path, Head]
    count: int

    @property
    def complete(self) -> bool:
        """Whether every file's head was read."""
        return self.count == len(self.heads)

    @property
    def widths(self) -> list[int]:
        return sorted(head.width for head in self.heads.values())

    @property
    def shorter(self) -> list[int]:
        """The shorter sides in pixels, ascending."""
        return sorted(min(head.width, head.height) for head in self.heads.values())

    @property
    def aspects(self) -> list[float]:
        """Width / height, ascending."""
        return sorted(head.width / head.height for head in self.heads.values())

    @property
    def channels(self) -> int:
        """What a network should be given: 1 where all are gray, else 3."""
        return 1 if all(head.channels < 3 for head in self.heads.values()) else 3

    def sizes(self) -> str:
        """ "600x600", or "64x48 to 1200x966, most often 300x200"."""
        found = sorted(((head.width, head.height) for head in self.heads.values()), key=lambda size: size[0] * size[1])
        few = [f"{width}x{height}" for width, height in (found[0], found[len(found) // 2], found[-1])]
        return few[0] if len(set(found)) == 1 else f"{few[0]} to {few[2]}, the median {few[1]}"

    def kinds(self) -> str:
        """ "colour", "gray", "colour (12 gray, 3 with alpha, 1 of 16 bits)"."""
        heads = self.heads.values()
        grays = sum(head.channels < 3 for head in heads)
        main = "gray" if grays == len(heads) else "colour"
        some = {
            "gray": grays if main == "colour" else 0,
            "with alpha": sum(head.channels in (2, 4) for head in heads),
            "of 16 bits": sum(head.deep for head in heads),
        }
        notes = [f"{'all' if count == len(heads) else f'{count:,}'} {name}" for name, count in some.items() if count]
        return f"{main} ({', '.join(notes)})" if notes else main


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    Attributes:
        root: the folder.
        kind: how its pictures belong together.
        sides: one Side for "halves" and "singles", else A and B.
        counts: split ("train", "val", "test") -> name of the side -> pictures there, of any use or none.
        unusable: files of the training split that are damaged, far too small, or do not fit their partner -> why.
        decoded: of how many files the pixels were looked at, for damage.
        remarks: sentences on what is doubtful.
        tests: the test split's folder of A, where A is a folder of its own.
    """

    root: Path
    kind: Kind
    sides: tuple[Side, ...]
    counts: Tally
    unusable: Mapping[Path, str]
    decoded: int = 0
    remarks: Sequence[str] = ()
    tests: Path | None = None

    @property
    def count(self) -> int:
        """Training samples of an epoch."""
        return max(side.count for side in self.sides)

    def lines(self) -> list[str]:
        """What was seen, for people."""
        one, other = self.sides[0], self.sides[-1]
        what = {
            "halves": f"{plural(one.count, 'pair')} side by side",
            "couples": f"{plural(one.count, 'pair')} in the folders {one.name} and {other.name}",
            "domains": f"two sets without pairs: {one.count:,} in {one.name}, {other.count:,} in {other.name}",
            "singles": f"{plural(one.count, 'picture')} of one kind: no pairs and no second set",
        }[self.kind]
        said = [f"{self.root}: {what}"]
        for label, side in zip(labels(self), self.sides, strict=True):
            some = "" if side.complete else f" (of {len(side.heads):,} looked at)"
            said.append(f"  {label}: {side.sizes()} pixels, {side.kinds()}{some}")
        for split, sides in self.counts.items():
            if split != "train" and len(self.counts) > 1:
                total = ", ".join(f"{count:,}{f' {name}' if name else ''}" for name, count in sides.items())
                said.append(f"  kept apart for looking and measuring: {total} in {split or 'other folders'}")
        if self.unusable:
            few = [f"{path.name} ({why})" for path, why in list(self.unusable.items())[:3]]
            more = f", and {len(self.unusable) - 3:,} more" if len(self.unusable) > 3 else ""
            said.append(f"  left out: {', '.join(few)}{more}")
        return said + [f"  {remark}" for remark in self.remarks]


def labels(found: Survey) -> list[str]:
    """What to call the sides."""
    if found.kind == "halves":
        return ["each half"]
    return [side.name or "sizes" for side in found.sides]


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' if count != 1 else ''}"


@dataclass
class Group:
    """Files that lie in one split and side."""

    folder: Path
    files: list[Path] = field(default_factory=list)


def survey(
    folder: str,
    *,
    a: str | None = None,
    b: str | None = None,
    together: bool = False,
    tell: Callable[[str], None] = lambda said: None,
) -> Survey:
    """What `folder` holds, found by its folders' names, the heads of its files, and the pixels of some.

    Args:
        folder: looked for as `folders.find` does.
        a, b: names of the two folders below it that are meant, where there are more.
        together: take all folders as pictures of one kind.
        tell: told a sentence where it takes a while.

    Raises UserError if there are no pictures, none of use, or folders that are neither one set nor two.
    """
    root = find(folder)
    if not shards.is_folder(root):
        raise UserError(f"{root} is a file; name the folder that your pictures lie in")
    groups = grouped(root)
    together = together and not (a or b)
    if together:
        groups = joined(root, groups)
    splits = sorted({split for split, _ in groups}, key=["train", "", "val", "test"].index)
    train = {name: group for (split, name), group in groups.items() if split == splits[0]}
    counts = {split: {name: len(g.files) for (s, name), g in groups.items() if s == split} for split in splits}
    names = chosen(root, train, a, b)
    train = {name: train[name] for name in names}
    counts[splits[0]] = {name: len(group.files) for name, group in train.items()}
    tests = next((g.folder for (s, name), g in groups.items() if s in ("test", "val") and name == names[0]), None)
    if len(names) == 1 and not (a or b) and not together:
        check_alone(root, names[0], train[names[0]].folder)
    unusable: dict[Path, str] = {}
    total = sum(len(group.files) for group in train.values())
    if total > CHECKED:
        tell(f"looking at {CHECKED:,} of {total:,} pictures")
    sides = []
    for name, group in train.items():
        before = len(unusable)
        heads = read_heads(group.files, CHECKED // len(train), unusable)
        sides.append(Side(name, group.folder, heads, len(group.files) - (len(unusable) - before)))
    broken, decoded = damaged([path for side in sides for path in side.heads])
    unusable |= broken
    sides = [used(side, unusable) for side in sides]
    kind, doubt = belonging(sides)
    if together:
        kind, doubt = "singles", ""
    if kind == "halves":
        sides = [halved(sides, unusable)]
    elif kind == "couples":
        mate(sides[0], sides[1], unusable)
    sides = [used(side, unusable) for side in sides]
    remarks = [doubt] if doubt else []
    return Survey(root, kind, tuple(sides), counts, unusable, decoded, remarks, tests if len(names) == 2 else None)


def grouped(root: Path) -> dict[tuple[str, str], Group]:
    """(split, side) -> the pictures there. "" is no split, or no side: pictures that lie in `root` or a split itself.

    Names such as train, val and test are splits; trainA is split and side; any other is a side, in whichever order.
    """
    groups: dict[tuple[str, str], Group] = {}
    for path in walk(root):
        if path.suffix.lower() not in images.SUFFIXES or not shards.is_file(path):
            continue
        split, side, taken = "", "", []
        for part in path.relative_to(root).parts[:-1]:
            match = SPLIT.fullmatch(part)
            if match and not split:
                split = SPLITS[match[1].lower()]
                side = "/".join(filter(None, (side, match[2] or match[3])))
            elif not side:
                side = part
            else:
                break
            taken.append(part)
        folder = root.joinpath(*taken)
        if groups.get((split, side), Group(folder)).folder != folder:
            side = "/".join(taken)
        groups.setdefault((split, side), Group(folder)).files.append(path)
    if loose := groups.get(("", "")):  # a data set takes a folder with all below it: then no folder is kept apart
        for split in SPLITS.values():
            loose.files.extend(groups.pop((split, ""), Group(root)).files)
    if not groups:
        raise UserError(f"{root} holds no pictures; name the folder that your .jpg, .png or .tif files lie in")
    return groups


def joined(root: Path, groups: Mapping[tuple[str, str], Group]) -> dict[tuple[str, str], Group]:
    """The groups with all sides of a split as one."""
    found: dict[tuple[str, str], Group] = {}
    for (split, _), group in groups.items():
        one = found.setdefault((split, ""), Group(group.folder))
        one.folder = Path(os.path.commonpath([one.folder, group.folder]))
        one.files.extend(group.files)
    return found


def chosen(root: Path, train: Mapping[str, Group], a: str | None, b: str | None) -> list[str]:
    """The names of the one or two sides that are meant, A first. Raises UserError where that cannot be told."""
    names = sorted(train)
    folders = {train[name].folder.relative_to(root).as_posix(): name for name in names}
    if wanted := [name.strip("/") for name in (a, b) if name]:
        known = folders | {name: name for name in names}
        strange = next((name for name in wanted if name not in known), None)
        if strange is not None:
            raise UserError(f"--a and --b name folders below {root}, and '{strange}' is none of {', '.join(folders)}")
        return [known[name] for name in wanted]
    if len(names) > 2 or (len(names) == 2 and "" in names):
        few = ", ".join(list(folders)[:6]) + (", ..." if len(folders) > 6 else "")
        raise UserError(f"{root} holds {len(names)} sets of pictures ({few}); name the folder of one of them, two with "
                        "--a and --b, or take all as one kind with --game srgan")  # fmt: skip
    return names


def check_alone(root: Path, name: str, folder: Path) -> None:
    """Raise UserError if the one side `name` found in `folder` is meant to be one of two."""
    if name.upper() in ("A", "B"):
        other = {"A": "B", "B": "A", "a": "b", "b": "a"}[name]
        beside = [part[:-1] + other if part.endswith(name) else part for part in folder.relative_to(root).parts]
        raise UserError(f"{root} holds side {name} alone; put pictures of the other kind in {root.joinpath(*beside)}")
    if folder == root or not name:
        return
    for sibling in subfolders(folder.parent):
        passed = sibling == folder or SPLIT.fullmatch(sibling.name)
        if passed or any(path.suffix.lower() in images.SUFFIXES for path in walk(sibling)):
            continue
        raise UserError(f"{sibling} holds no pictures; put the second set there, or name {folder} alone")


def read_heads(files: Sequence[Path], most: int, unusable: dict[Path, str]) -> dict[Path, Head]:
    """File -> head, of at most so many spread evenly; what cannot be used goes to `unusable`."""
    found = {}
    for path in spread(files, most):
        try:
            head = images.read_head(path)
        except UserError as error:
            unusable[path] = reason(error, path)
            continue
        if min(head.width, head.height) < LEAST:
            unusable[path] = f"{head.width}x{head.height} pixels are too few"
        else:
            found[path] = head
    return found


def damaged(files: Sequence[Path]) -> tuple[dict[Path, str], int]:
    """(file -> what is wrong, how many were decoded): all of few files, of many as many as `PATIENCE` lets."""
    until = time.monotonic() + PATIENCE

    def look(path: Path) -> str | None:
        if time.monotonic() > until:
            return None
        try:
            images.read(path)
        except UserError as error:
            return reason(error, path)
        return ""

    order = np.random.default_rng(0).permutation(len(files))
    with ThreadPoolExecutor() as pool:
        said = list(pool.map(look, (files[index] for index in order)))
    wrong = {files[index]: why for index, why in zip(order, said, strict=True) if why}
    return wrong, sum(why is not None for why in said)


def reason(error: UserError, path: Path) -> str:
    """What an error says of a file, without its name and the advice."""
    return str(error).removeprefix(f"{path}: ").partition(";")[0]


def belonging(sides: Sequence[Side]) -> tuple[Kind, str]:
    """How the pictures of one or two sides belong together, and what is doubtful about it."""
    every = {path: head for side in sides for path, head in side.heads.items()}
    double = sum(head.width == 2 * head.height for head in every.values()) / len(every) > 0.95
    wide = sum(head.width % 2 == 0 and head.width > head.height for head in every.values()) / len(every) > 0.95
    if wide and (double or len({head[:2] for head in every.values()}) == 1):
        alike = related(halves_of(path) for path in spread(list(every), COMPARED))
        if alike or (double and len(sides) == 1):
            doubt = "left and right halves look unrelated: if each picture is one and no pair, take another --game"
            return "halves", "" if alike else doubt
    if len(sides) == 1:
        return "singles", ""
    one, other = sides
    partners = stems(other)
    both = [(path, partners[stem]) for stem, path in stems(one).items() if stem in partners]
    if len(both) < 0.5 * min(len(one.heads), len(other.heads)):
        return "domains", ""
    if sum(one.heads[x][:2] == other.heads[y][:2] for x, y in both) < 0.5 * len(both):
        ratios = {other.heads[y].width / one.heads[x].width for x, y in both}
        ratio = max(ratios)
        if ratio - min(ratios) > 0.02 * ratio or max(ratio, 1 / ratio) not in (2, 3, 4, 8):
            return "domains", "partners have equal names but other sizes: taken as no pairs"
        small, large = (one, other) if ratio > 1 else (other, one)
        times = f"{large.name} are {max(ratio, 1 / ratio):g} times as large as {small.name} under equal names"
        return "domains", f"{times}; for super-resolution, name {large.folder}"
    fit = [(x, y) for x, y in both if one.heads[x][:2] == other.heads[y][:2]]
    if related((gray(x), gray(y)) for x, y in spread(fit, COMPARED)):
        return "couples", ""
    if all({"a", "b"} & {part.lower() for part in side.folder.parts[-2:]} for side in sides):
        return "couples", "partners have equal names and sizes, but what they show looks unrelated"
    return "domains", "names are equal in both, but what they show looks unrelated: taken as no pairs"


def stems(side: Side) -> dict[str, Path]:
    """What partners have in common -> file: the path below the folder without its ending, as `folders.pair` has it."""
    return {path.relative_to(side.folder).with_suffix("").as_posix(): path for path in side.heads}


def halved(sides: Sequence[Side], unusable: dict[Path, str]) -> Side:
    """The one side of pairs side by side, its heads those of a half."""
    heads = {}
    for path, head in ((path, head) for side in sides for path, head in side.heads.items()):
        if head.width % 2 or head.width // 2 < LEAST:
            unusable[path] = f"{head.width} pixels of width are not two halves"
        else:
            heads[path] = head._replace(width=head.width // 2)
    folder = Path(os.path.commonpath([side.folder for side in sides]))
    dropped = sum(len(side.heads) for side in sides) - len(heads)
    return Side(sides[0].name if len(sides) == 1 else "", folder, heads, sum(side.count for side in sides) - dropped)


def mate(one: Side, other: Side, unusable: dict[Path, str]) -> None:
    """Put the files that have no partner of the same size among those that cannot be used."""
    for mine, theirs in ((one, other), (other, one)):
        partners, kept = stems(theirs), stems(mine)
        for path, head in mine.heads.items():
            stem = path.relative_to(mine.folder).with_suffix("").as_posix()
            if stem not in partners:
                unusable[path] = "it has no partner"
            elif kept[stem] != path:
                unusable[path] = f"{kept[stem].name} has the same name but for the ending"
            elif head[:2] != theirs.heads[partners[stem]][:2]:
                unusable[path] = "its partner has another size"


def used(side: Side, unusable: Mapping[Path, str]) -> Side:
    """The side without what cannot be used. Raises UserError if nothing is left."""
    heads = {path: head for path, head in side.heads.items() if path not in unusable}
    if not heads:
        path, why = next((path, why) for path, why in unusable.items() if path.is_relative_to(side.folder))
        raise UserError(f"nothing in {side.folder} can be used: {path.name}, for one: {why}; put other pictures there")
    gone = sum(path in unusable for path in side.heads)
    return Side(side.name, side.folder, heads, side.count - gone)


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the items, at equal distances."""
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, min(most, len(items)))]


def gray(path: Path) -> NDArray[np.float32]:
    """[H,W] of a picture, its channels' mean."""
    pixels = images.read(path).pixels.astype(np.float32)
    return pixels if pixels.ndim == 2 else pixels.mean(axis=2)


def halves_of(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Left and right half of a picture, in gray."""
    pixels = gray(path)
    middle = pixels.shape[1] // 2
    return pixels[:, :middle], pixels[:, middle : 2 * middle]


def related(couples: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> bool:
    """Whether the pictures [H,W] of couples show the same things in the same places.

    Their outlines are correlated, in place and displaced. Where couples are unrelated the former stands about 1.6
    deviations above the mean of the latter (two halves of a photograph are a little related), and 1.2 from couple to
    couple; it stood 3.7 above for maps beside aerials, 8 for facades and shoes beside their labels.
    """
    heights = [height_of_peak(*couple) for couple in couples]
    return sum(heights) / len(heights) > 1.6 + 4 / math.sqrt(len(heights))


SIDE = 64  # pixels of the outlines that are compared


def height_of_peak(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """How many deviations the correlation in place stands above those with displacements of at least 4 of 64 pixels."""
    a, b = outlines(one), outlines(other)
    correlation = np.fft.ifft2(np.fft.fft2(a).conj() * np.fft.fft2(b)).real
    along = np.minimum(np.arange(SIDE), SIDE - np.arange(SIDE))
    distance = np.maximum(along[:, None], along)
    away = correlation[distance >= 4]
    deviation = float(away.std())
    return (float(correlation[distance <= 1].max()) - float(away.mean())) / deviation if deviation > 1e-9 else 0.0


def outlines(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """[64,64]: where the picture changes, its own neighbourhood's mean taken off, of norm 1."""
    small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    slope = np.sqrt(np.hypot(cv2.Sobel(small, cv2.CV_32F, 1, 0), cv2.Sobel(small, cv2.CV_32F, 0, 1)))
    slope -= cv2.blur(slope, (15, 15))
    slope -= slope.mean()
    return np.asarray(slope / (np.linalg.norm(slope) + 1e-9), np.float32)
