"""What a generator makes of the test split of a data set, as files: what is measured is what users get.

A data set is a folder of pairs side by side, a folder that holds two (A and B, or of such names), or two folders; for
a network that enlarges, a folder of large pictures (with small ones beside them where it is HR beside LR), which are
reduced by the rule of the test sets; for one that colours, a folder of pictures in colour.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from i2i import images
from i2i.data.folders import by_stem, find, scan
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.game import Card
from i2i.images import Picture
from i2i.images.picture import as_depth
from i2i.metrics.paired import fitted
from i2i.metrics.sides import ahead
from i2i.metrics.validation import reduced
from i2i.sampling import Sampler

__all__ = ["Direction", "Made", "drawn", "make", "split_of", "vacant"]

Pixels = NDArray[np.uint8]  # [H,W] gray or [H,W,3] RGB
Direction = Literal["a2b", "b2a"]
COUPLES = (("testA", "testB"), ("valA", "valB"), ("A", "B"), ("a", "b"), ("trainA", "trainB"))
SPLITS = ("test", "val")
DRAWN = 256  # pictures between two words on how many there are


class Item(NamedTuple):
    """A picture for the generator: what it is called, its file, and what reads it and what is wanted of it."""

    stem: str
    file: Path
    read: Callable[[], tuple[Pixels, Pixels | None]]


@dataclass
class Split:
    """The pictures of a data set.

    Attributes:
        items: in order.
        real: the folder of what is wanted, where it has no partner for each; else None.
        name: of the data set.
        said: what a user must know.
    """

    items: list[Item]
    name: str
    real: Path | None = None
    said: list[str] = field(default_factory=list)


def split_of(data: Sequence[str], card: Card, direction: Direction | None, size: int | None) -> Split:
    """The pictures that `--data` means for a generator of that card.

    Args:
        data: a folder, or two: what goes in, and what is wanted.
        direction: which half or folder goes in: "a2b" the left one or A; None takes what the card says.
        size: bring pictures to that square first.

    Raises UserError for folders that hold nothing of the kind.
    """
    if not 1 <= len(data) <= 2:
        raise UserError("--data names a folder, or two: what goes in, and what is wanted of it")
    folders = [find(folder) for folder in data]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder; name the test split of a data set with --data")
    name = " and ".join(data)
    if len(folders) == 2:
        return couples(folders[0], folders[1], name, size)
    (root,) = folders
    root = next((root / split for split in SPLITS if (root / split).is_dir()), root)
    if card.scale > 1:
        return large(root, card.scale, name, size)
    if card.holds[0].kind == "lightness":
        both = by_stem(large_in(root, 1)).items()
        return Split([Item(stem, file, partial(itself, file, size)) for stem, file in both], name)
    swapped = (direction or ("b2a" if card.origin.prepared.endswith("B") else "a2b")) == "b2a"
    usual = next((names for names in COUPLES if all((root / one).is_dir() for one in names)), None)
    if usual:
        a, b = (root / one for one in usual[:: -1 if swapped else 1])
        return couples(a, b, name, size)
    files = scan(root)
    width, height = (lambda head: (head.width, head.height))(images.read_head(files[0]))
    if width % 2 or width < 1.5 * height:
        raise UserError(
            f"{root} holds neither two folders, such as A and B, nor pairs side by side ({files[0].name} is "
            f"{width}x{height}); name the folder of what is wanted with a second --data"
        )
    items = [Item(stem, file, partial(halves, file, swapped, size)) for stem, file in by_stem(root).items()]
    way = "the right halves go in, the left ones are wanted" if swapped else (
        "the left halves go in, the right ones are wanted")  # fmt: skip
    other = "a2b" if swapped else "b2a"
    return Split(items, name, said=[f"{root}: {way}; --direction {other} is the other way"])


def couples(a: Path, b: Path, name: str, size: int | None) -> Split:
    """Of two folders: pairs of equal stems, or two sets where there are none."""
    ours, theirs = by_stem(a), by_stem(b)
    both = [stem for stem in ours if stem in theirs]
    if not both:
        items = [Item(stem, file, partial(alone, file, size)) for stem, file in ours.items()]
        return Split(items, name, b, [f"{a} and {b} hold no partners: they are compared as sets"])
    lost = len(ours) + len(theirs) - 2 * len(both)
    said = [f"{lost} of {len(ours) + len(theirs)} pictures of {name} have no partner and are left out"] if lost else []
    return Split([Item(stem, ours[stem], partial(two, ours[stem], theirs[stem], size)) for stem in both], name,
                 said=said)  # fmt: skip


def large(root: Path, scale: int, name: str, size: int | None) -> Split:
    """Of large pictures, and of small ones that lie beside them: xN/HR and xN/LR, or HR and LR."""
    if size:
        raise UserError("--size is for networks that do not enlarge; leave it out")
    home = large_in(root, scale)
    beside = home.parent / "LR" if home.name == "HR" else None
    given = by_stem(beside) if beside and beside.is_dir() else {}
    items, made = [], 0
    for stem, file in by_stem(home).items():
        small = given.get(stem)
        if small and images.read_head(small).width != images.read_head(file).width // scale:
            small = None  # of another scale
        made += small is None
        items.append(Item(stem, file, partial(enlargement, file, small, scale)))
    said = [f"{made} of {len(items)} small pictures are made of the large ones: antialiased bicubic, 1/{scale}"]
    return Split(items, name, said=said if made else [])


def large_in(root: Path, scale: int) -> Path:
    """The folder of large pictures in a test set of super-resolution; else the folder itself."""
    places = [root / f"x{scale}" / "HR", *sorted(root.glob("x*/HR")), root / "HR", root]
    return next(place for place in places if place.is_dir())


def decoded(file: Path, size: int | None = None) -> Pixels:
    """A picture's colours in 8 bits, gray or RGB, at that size. Raises UserError."""
    return fitted(as_depth(images.read(file).pixels, np.uint8), size)


def halves(file: Path, swapped: bool, size: int | None) -> tuple[Pixels, Pixels]:
    pixels = decoded(file)
    middle = pixels.shape[1] // 2
    if pixels.shape[1] % 2:
        raise UserError(f"{file}: it is {pixels.shape[1]} pixels wide, an odd number, so it holds no pair", code=1)
    left, right = fitted(pixels[:, :middle], size), fitted(pixels[:, middle:], size)
    return (right, left) if swapped else (left, right)


def alone(file: Path, size: int | None) -> tuple[Pixels, None]:
    return decoded(file, size), None


def itself(file: Path, size: int | None) -> tuple[Pixels, Pixels]:
    pixels = decoded(file, size)
    return pixels, pixels


def two(file: Path, wanted: Path, size: int | None) -> tuple[Pixels, Pixels]:
    return decoded(file, size), decoded(wanted, size)


def enlargement(file: Path, small: Path | None, scale: int) -> tuple[Pixels, Pixels]:
    pixels = decoded(file)
    pixels = pixels[: len(pixels) // scale * scale, : pixels.shape[1] // scale * scale]
    return (decoded(small) if small else reduced(pixels, scale)), pixels


# --- through the engine -----------------------------------------------------------------------------------------------


class Made(NamedTuple):
    """Folders of what was made.

    Attributes:
        real, fake: what is wanted, and what the generator made.
        given: what went in; judged: what the judge made of the fake and of the real ones. Only with a judge.
        samples: a folder of outputs of each input; only where several were asked for.
        failed: file -> why it was left out.
    """

    real: Path
    fake: Path
    given: Path | None = None
    judged: tuple[Path, Path] | None = None
    samples: Path | None = None
    failed: dict[str, str] = {}  # noqa: RUF012


def make(
    engine: Engine,
    split: Split,
    folder: Path,
    *,
    judge: Engine | None = None,
    samples: int = 1,
    first: int | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Made:
    """Run a generator over a split; the pictures go into `folder` as PNG.

    Args:
        judge: a generator for the way back, whose results on fake and real pictures are kept too.
        samples: outputs of each input, by so many seeds from the engine's on.
        first: only so many pictures.

    What cannot be read or made is left out and named. Raises UserError where nothing is left.
    """
    items = split.items[:first]
    real = split.real or folder / "real"
    made = Made(real, folder / "fake", folder / "input" if judge else None,
                (folder / "judged", folder / "judged-real") if judge else None,
                folder / "samples" if samples > 1 else None, {})  # fmt: skip
    seeds = [engine.seed + number for number in range(samples)]
    done = 0
    with closing(ahead(partial(look, failed=made.failed), items)) as found:
        while group := list(islice(found, engine.batch)):
            done += len(group)
            whole = [(item, given, wanted) for item, given, wanted in group if given is not None]
            inputs: list[Any] = [given for _, given, _ in whole]
            for seed in seeds:
                engine.seed = seed
                for (item, given, wanted), result in zip(whole, engine.attempt(inputs), strict=True):
                    if isinstance(result, UserError):
                        made.failed[str(item.file)] = str(result)
                        continue
                    if made.samples:
                        write(result, made.samples / item.stem / f"{seed}.png")
                    if seed != seeds[0]:
                        continue
                    write(result, made.fake / f"{item.stem}.png")
                    if wanted is not None:
                        write(wanted, real / f"{item.stem}.png")
                    if judge and made.given and made.judged:
                        write(given, made.given / f"{item.stem}.png")
                        for into, pixels in zip(made.judged, (result, wanted), strict=True):
                            if pixels is not None:
                                write(judge.run([pixels])[0], into / f"{item.stem}.png")
            engine.seed = seeds[0]
            tell(done, len(items))
    if not made.fake.is_dir():
        why = next(iter(made.failed.values()), "it holds none")
        raise UserError(f"no picture of {split.name} could be translated: {why}", code=1)
    return made


Looked = tuple[Item, Pixels | None, Pixels | None]


def look(item: Item, failed: dict[str, str]) -> Looked:
    """Read an item; what cannot be read joins `failed`."""
    try:
        return item, *item.read()
    except UserError as error:
        failed[str(item.file)] = str(error).removeprefix(f"{item.file}: ").partition(";")[0]
        return item, None, None


def write(pixels: Pixels, path: Path) -> None:
    """Write a PNG, its folder made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write(Picture(pixels), path)


def drawn(
    sampler: Sampler, count: int, folder: Path, *, tell: Callable[[int, int], None] = lambda done, total: None
) -> Path:
    """The first pictures of a sampler's seed, as PNG in a folder below `folder`, which is returned.

    Raises UserError for a generator that draws what a text says.
    """
    home = folder / "fake"
    for first in range(0, count, DRAWN):
        places = range(first, min(count, first + DRAWN))
        for place, pixels in zip(places, sampler(sampler.draw(places)), strict=True):
            write(pixels, home / f"{place:06}.png")
        tell(places.stop, count)
    return home


def vacant(folder: Path) -> None:
    """Raises UserError where pictures would join what is in a folder: they would be measured with it."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a folder for the pictures with -o")
    if folder.is_dir() and any(os.scandir(folder)):
        raise UserError(f"{folder} is not empty; name another folder with -o")
