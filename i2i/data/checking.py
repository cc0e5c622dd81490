"""Look at all files of a data set: how many, how large, damaged, twice there, without partner, leaked into tests."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np

from i2i import images, shards
from i2i.data.folders import content, find
from i2i.data.likeness import Print, alike, candidates, fingerprint
from i2i.data.survey import Kind, Side, belonging, grouped, reason
from i2i.errors import UserError
from i2i.images import Head
from i2i.images.reading import opened, orientation

__all__ = ["Checked", "Likeness", "Seen", "check"]

Progress = Callable[[int, int], None]
LOOKED_AT = 5_000  # pairs of pictures whose details are compared, the nearest first
AHEAD = 64  # files in hand at once
PARTNERS = (("A", "B"), ("a", "b"), ("HR", "LR"))  # folders whose files of equal names belong together
WORDS: dict[Kind, str] = {
    "halves": "pairs side by side",
    "couples": "pairs in two folders",
    "domains": "two sets without pairs",
    "singles": "pictures of one kind",
}


@dataclass(frozen=True)
class Seen:
    """What was seen of a file.

    Attributes:
        path, split, side: where it lies; split and side are "" where there are none.
        bytes: its size.
        digest: of its bytes.
        head: of the picture, upright; None where it is damaged.
        turned: whether an EXIF tag says that it lies on its side.
        prints: of the picture; of a wide one of both halves too.
        wrong: what is damaged.
    """

    path: Path
    split: str
    side: str
    bytes: int
    digest: str
    head: Head | None = None
    turned: bool = False
    prints: tuple[Print, ...] = ()
    wrong: str = ""


@dataclass(frozen=True)
class Likeness:
    """Two pictures of two splits that are one, or nearly: `part` is "left" or "right" where that half alone is."""

    first: Path
    second: Path
    correlation: float
    mirrored: bool
    part: str = ""


@dataclass(frozen=True)
class Checked:
    """What a folder holds.

    Attributes:
        root: the folder.
        kind: how its pictures belong together.
        files: of each split and side.
        damaged: file -> why it cannot be read.
        twice: files of equal bytes, in groups.
        orphans: files whose partner is missing.
        sizes: file -> how its size does not fit.
        leaks: pictures of a split that are nearly in another.
        remarks: sentences on what is odd but may be meant.
    """

    root: Path
    kind: Kind
    files: Mapping[tuple[str, str], Sequence[Seen]]
    damaged: Mapping[Path, str]
    twice: Sequence[Sequence[Path]]
    orphans: Sequence[Path]
    sizes: Mapping[Path, str]
    leaks: Sequence[Likeness]
    remarks: Sequence[str] = field(default=())

    @property
    def problems(self) -> int:
        """How many things are wrong."""
        return sum(map(len, (self.damaged, self.twice, self.orphans, self.sizes, self.leaks)))

    def lines(self, most: int = 10) -> list[str]:
        """For people; of each kind of problem at most so many are named."""
        said = [f"{self.root}: {WORDS[self.kind]}"]
        for (split, side), files in self.files.items():
            name = " ".join(filter(None, (split, side))) or "all"
            said.append(f"  {name:10} {facts_of(files)}")
        short = self.short
        groups: list[tuple[str, list[str]]] = [
            ("damaged", [f"{short(path)}: {why}" for path, why in self.damaged.items()]),
            ("duplicates", [" = ".join(map(short, group)) for group in self.twice]),
            ("orphans", [short(path) for path in self.orphans]),
            ("sizes", [f"{short(path)} {why}" for path, why in self.sizes.items()]),
            ("leaks", [self.leak(found) for found in self.leaks]),
        ]
        for name, found in groups:
            said.append(f"  {name:10} {len(found) or 'none'}")
            said += [f"    {line}" for line in found[:most]]
            if len(found) > most:
                said.append(f"    and {len(found) - most:,} more")
        return said + [f"  note: {remark}" for remark in self.remarks]

    def short(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def leak(self, found: Likeness) -> str:
        what = " and ".join(filter(None, (found.part and f"{found.part} half", "mirrored" * found.mirrored)))
        return f"{self.short(found.first)} ~ {self.short(found.second)}" + (f" ({what})" if what else "")

    def facts(self) -> dict[str, Any]:
        """For programs."""
        return {
            "folder": str(self.root),
            "kind": self.kind,
            "files": [
                {
                    "split": split, "side": side, "count": len(files), "bytes": sum(seen.bytes for seen in files),
                    "sizes": {f"{w}x{h}": count for (w, h), count in sizes_of(files).most_common()},
                }
                for (split, side), files in self.files.items()
            ],
            "damaged": {self.short(path): why for path, why in self.damaged.items()},
            "duplicates": [list(map(self.short, group)) for group in self.twice],
            "orphans": list(map(self.short, self.orphans)),
            "sizes": {self.short(path): why for path, why in self.sizes.items()},
            "leaks": [
                {
                    "files": [self.short(found.first), self.short(found.second)], "part": found.part or None,
                    "mirrored": found.mirrored, "correlation": round(found.correlation, 4),
                }
                for found in self.leaks
            ],
            "remarks": list(self.remarks),
            "problems": self.problems,
        }  # fmt: skip


def check(folder: str, *, progress: Progress = lambda done, total: None) -> Checked:
    """Look at all files in a folder, or a folder of shards, that is looked for as `folders.find` does.

    Raises UserError where there are no pictures.
    """
    root = find(folder)
    if not shards.is_folder(root):
        raise UserError(f"{root} is a file; name the folder that your pictures lie in")
    order = ["train", "", "val", "test"]
    places = sorted(grouped(root).items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    wanted = [(path, split, side) for (split, side), group in places for path in sorted(group.files)]
    seen = list(looked_at(wanted, progress))
    files = {key: [one for one in seen if (one.split, one.side) == key] for key, _ in places}
    folders = {key: group.folder for key, group in places}
    kind, remarks = kind_of(folders, files)
    orphans, sizes = unpaired(files, folders, kind)
    whole = {key: [one for one in found if one.head] for key, found in files.items()}
    twice = doubles(seen)
    return Checked(
        root=root,
        kind=kind,
        files=files,
        damaged={one.path: one.wrong for one in seen if one.wrong},
        twice=twice,
        orphans=orphans,
        sizes=sizes,
        leaks=leaks_of(whole, kind, twice),
        remarks=[*remarks, *on_their_side(whole)],
    )


def looked_at(files: Sequence[tuple[Path, str, str]], progress: Progress) -> Iterator[Seen]:
    """Each file, in order, looked at by all processors."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        ahead: list[Any] = []
        for done, file in enumerate(files, 1):
            ahead.append(threads.submit(look, *file))
            if len(ahead) > AHEAD:
                yield ahead.pop(0).result()
            progress(done, len(files))
        for future in ahead:
            yield future.result()


def look(path: Path, split: str, side: str) -> Seen:
    """One file."""
    try:
        data = content(path)
    except OSError as error:
        return Seen(path, split, side, 0, "", wrong=str(error.strerror or error).lower())
    seen = Seen(path, split, side, len(data), hashlib.blake2b(data, digest_size=16).hexdigest())
    try:
        picture = images.read(data, name=str(path))
        with opened(data) as image:
            turned = orientation(image) > 4
    except UserError as error:
        return Seen(path, split, side, seen.bytes, seen.digest, wrong=reason(error, path))
    pixels = picture.values
    height, width, channels = pixels.shape
    head = Head(width, height, channels, picture.deep, 1)
    prints = [fingerprint(pixels)]
    if width > height and width % 2 == 0:  # perhaps a pair side by side
        prints += [fingerprint(pixels[:, : width // 2]), fingerprint(pixels[:, width // 2 :])]
    return Seen(path, split, side, seen.bytes, seen.digest, head, turned, tuple(prints))


# --- what is made of it -----------------------------------------------------------------------------------------------


def sizes_of(files: Sequence[Seen]) -> Counter[tuple[int, int]]:
    """(width, height) -> how many pictures have it."""
    return Counter((seen.head.width, seen.head.height) for seen in files if seen.head)


def facts_of(files: Sequence[Seen]) -> str:
    """ "500 pictures, 1200x600, colour, 143.2 MB"."""
    heads = {seen.path: seen.head for seen in files if seen.head}
    count = f"{len(files):,} picture{'s' if len(files) != 1 else ''}"
    size = f"{sum(seen.bytes for seen in files) / 1e6:,.1f} MB"
    if not heads:
        return f"{count}, {size}"
    side = Side("", Path(), heads, len(heads))
    common = sizes_of(files).most_common(3)
    shown = ", ".join(f"{w}x{h} ({n:,})" for (w, h), n in common) if 1 < len(sizes_of(files)) <= 3 else side.sizes()
    return f"{count}, {shown}, {side.kinds()}, {size}"


def kind_of(
    folders: Mapping[tuple[str, str], Path], files: Mapping[tuple[str, str], Sequence[Seen]]
) -> tuple[Kind, list[str]]:
    """How the pictures belong together, told by those of the first split, and what is doubtful."""
    first = next(iter(files))[0]
    sides = []
    for (split, name), found in files.items():
        heads = {seen.path: seen.head for seen in found if seen.head}
        usual = Counter(head[:2] for head in heads.values()).most_common(1)
        if usual and usual[0][1] >= 0.8 * len(heads):  # the few of other sizes are what is wrong, not what it is
            heads = {path: head for path, head in heads.items() if head[:2] == usual[0][0]}
        if split == first and heads:
            sides.append(Side(name, folders[split, name], heads, len(heads)))
    if not sides:
        raise UserError("none of the pictures can be read; take the damaged ones away", code=1)
    if len(sides) > 2:
        return "singles", [f"{len(sides)} folders of pictures: taken as pictures of one kind"]
    kind, doubt = belonging(sides)
    return kind, [doubt] if doubt else []


Files = Mapping[tuple[str, str], Sequence[Seen]]
"""(split, side) -> what was seen of the files there."""


def unpaired(files: Files, folders: Mapping[tuple[str, str], Path], kind: Kind) -> tuple[list[Path], dict[Path, str]]:
    """The files without a partner, and those whose size does not fit their partner's or two halves."""
    orphans: list[Path] = []
    sizes: dict[Path, str] = {}
    if kind == "halves":
        odd = [seen for found in files.values() for seen in found if seen.head and seen.head.width % 2]
        return [], {seen.path: f"is {seen.head.width} pixels wide: not two halves" for seen in odd if seen.head}
    for split in dict.fromkeys(split for split, _ in files):
        keys = [key for key in files if key[0] == split]
        if len(keys) != 2:
            continue
        one, other = ({stem(seen, folders[key]): seen for seen in files[key]} for key in keys)
        both = one.keys() & other.keys()
        called = [set(folders[key].parts[-2:]) for key in keys]
        named = next((pair for pair in PARTNERS if pair[0] in called[0] and pair[1] in called[1]), None)
        if len(both) < 0.5 * min(len(one), len(other)) or not (kind == "couples" or named):
            continue
        for mine, theirs in ((one, other), (other, one)):
            orphans += [seen.path for name, seen in mine.items() if name not in theirs]
        ratios = Counter(ratio(one[name], other[name]) for name in both if one[name].head and other[name].head)
        usual = ratios.most_common(1)[0][0] if ratios and named == ("HR", "LR") else (1, 1)
        for name in sorted(both):
            first, second = one[name].head, other[name].head
            if first and second and ratio(one[name], other[name]) != usual:
                partner = f"{second.width}x{second.height}"
                sizes[one[name].path] = f"is {first.width}x{first.height}, and its partner {partner}"
    return orphans, sizes


def stem(seen: Seen, folder: Path) -> str:
    """What a file has in common with its partner."""
    return seen.path.relative_to(folder).with_suffix("").as_posix()


def ratio(one: Seen, other: Seen) -> tuple[float, float]:
    """How many times as wide and as high the one picture is."""
    assert one.head and other.head
    return round(one.head.width / other.head.width, 3), round(one.head.height / other.head.height, 3)


def doubles(seen: Sequence[Seen]) -> list[list[Path]]:
    """The files of equal bytes, in groups."""
    groups: dict[str, list[Path]] = {}
    for one in seen:
        if one.bytes:
            groups.setdefault(one.digest, []).append(one.path)
    return [group for group in groups.values() if len(group) > 1]


def leaks_of(files: Files, kind: Kind, twice: Sequence[Sequence[Path]]) -> list[Likeness]:
    """The pictures that are in two splits, or nearly; those of equal bytes are said already."""
    group = {path: number for number, paths in enumerate(twice) for path in paths}
    splits = list(dict.fromkeys(split for split, _ in files))
    parts = {"left": 1, "right": 2} if kind == "halves" else {"": 0}
    found: dict[tuple[Path, Path], Likeness] = {}
    for first, second in combinations(splits, 2):
        for part, number in parts.items():
            mine, theirs = (
                [seen for (its, _), some in files.items() if its == split for seen in some if len(seen.prints) > number]
                for split in (first, second)
            )
            near = candidates([seen.prints[number] for seen in mine], [seen.prints[number] for seen in theirs])
            for correlation, row, column, mirrored in islice(near, LOOKED_AT):
                one, other = mine[row].path, theirs[column].path
                if (one, other) in found or (one in group and group[one] == group.get(other)):
                    continue
                if alike(pixels_of(one, part), pixels_of(other, part), mirrored=mirrored):
                    found[one, other] = Likeness(one, other, correlation, mirrored, part)
    return [both_halves(leak) for leak in sorted(found.values(), key=lambda leak: -leak.correlation)]


def both_halves(found: Likeness) -> Likeness:
    """The likeness of whole pictures where both halves are alike."""
    if found.part == "left":
        right = pixels_of(found.first, "right"), pixels_of(found.second, "right")
        if alike(*right, mirrored=found.mirrored):
            return replace(found, part="")
    return found


def pixels_of(path: Path, part: str) -> np.ndarray:
    pixels = images.read(path).pixels
    middle = pixels.shape[1] // 2
    return {"": pixels, "left": pixels[:, :middle], "right": pixels[:, middle:]}[part]


def on_their_side(files: Files) -> list[str]:
    """Splits whose pictures have all one size, where another split has that size upright as well."""
    said = []
    for (split, side), found in files.items():
        sizes, turned = sizes_of(found), sum(seen.turned for seen in found)
        for (other, its), some in files.items():
            if len(sizes) != 1 or other == split or its != side:
                continue
            ((width, height),) = sizes
            upright = sizes_of(some)[height, width]
            if width != height and upright and sizes_of(some)[width, height]:
                tags = f"{turned:,} have an EXIF tag" if turned else "and no EXIF tag says so"
                said.append(
                    f"all {len(found):,} pictures of {split or 'the folder'} are {width}x{height}, and {upright:,} of "
                    f"{len(some):,} in {other or 'the folder'} are {height}x{width}: what should stand upright in "
                    f"{split or 'the folder'} lies on its side, {tags}"
                )
    return said
