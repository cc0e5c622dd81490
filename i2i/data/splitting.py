"""Deal the pictures of a folder out to training, validation and test, by a seed, so that none is in two of them."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from i2i import images, shards
from i2i.data.arrival import arriving
from i2i.data.folders import scan, walk
from i2i.data.sources import USUAL_NAMES
from i2i.data.survey import SPLIT
from i2i.errors import UserError

__all__ = ["split"]

Deal = dict[str, list[Path]]


def split(
    root: Path,
    out: Path,
    *,
    val: float = 0.0,
    test: float = 0.1,
    seed: int = 0,
    link: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Mapping[str, int]:
    """Copy the pictures below `root` into train, val and test below `out`, which appears when it is whole.

    What belongs to a picture goes with it: files of equal stems stay together, in two folders A and B too, as do files
    of equal bytes and the rows of labels.tsv and embeddings.npy. `root/A/1.png` becomes `out/train/A/1.png`. Two sets
    without pairs, trainA and trainB, are dealt out each for itself, to trainA, testA, and so on.

    Args:
        val, test: shares, in [0,1), of all samples; what is left is for training.
        seed: another one deals otherwise; >= 0.
        link: hard links in the place of copies, where the disk allows.

    Returns: split -> how many pictures are in it.

    Raises UserError where the folder is dealt out already, has too few pictures, or nothing can be written.
    """
    if not 0 <= val < 1 or not 0 <= test < 1 or not 0 < val + test < 1 or seed < 0:
        raise UserError(f"val {val:g} and test {test:g} must be shares that leave something for training; write 0.1")
    if shards.above(root) is not None:
        raise UserError(f"{root} is packed; split the folder that it was packed of")
    counts: dict[str, int] = {}
    with arriving(out, overwrite=overwrite) as part:
        deals = {source: dealt(root / source, val, test, seed) for source in sides_in(root)}
        total, done = sum(len(files) for deal in deals.values() for files in deal.values()), 0
        for source, deal in deals.items():
            for name, files in deal.items():
                home = part / (name + source.removeprefix("train"))  # trainA -> testA
                for path in files:
                    target = home / path.relative_to(root / source)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    put(path, target, link)
                    counts[home.name] = counts.get(home.name, 0) + (path.suffix.lower() in images.SUFFIXES)
                    done += 1
                    progress(done, total)
                tables(root / source, home, [path for path in files if path.suffix.lower() in images.SUFFIXES])
    return counts


def sides_in(root: Path) -> list[str]:
    """ "" for a folder that is dealt out as one, or trainA and trainB. Raises UserError where that was done before."""
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    done = [name for name in folders if SPLIT.fullmatch(name)]
    if set(done) == {"trainA", "trainB"}:
        return done
    if done:
        raise UserError(
            f"{root} is split already: it holds {', '.join(done)}; name the one of them that is to be split"
        )
    return [""]


def dealt(root: Path, val: float, test: float, seed: int) -> Deal:
    """Split -> the files that go there."""
    groups = samples(root)
    count = len(groups)
    wanted = {"test": round(test * count), "val": round(val * count)}
    short = next((name for name, share in (("test", test), ("val", val)) if share and not wanted[name]), None)
    if short or sum(wanted.values()) >= count:
        raise UserError(f"{root} has {count} samples, too few to split so; take other shares, or more pictures")
    keys = sorted(groups)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(count)
    names = ["test"] * wanted["test"] + ["val"] * wanted["val"]
    names += ["train"] * (count - len(names))
    deal: Deal = {name: [] for name in ("train", "val", "test") if name in names}
    for name, place in zip(names, order, strict=True):
        deal[name] += groups[keys[place]]
    return deal


def samples(root: Path) -> dict[str, list[Path]]:
    """What belongs together: files of equal stems, but for a folder A or B above them, and files of equal bytes."""
    sides = {name for names in (*USUAL_NAMES, ("HR", "LR")) for name in names}
    groups: dict[str, list[Path]] = {}
    for path in walk(root):
        if path.is_file():
            parts = [part for part in path.relative_to(root).with_suffix("").parts if part not in sides]
            groups.setdefault("/".join(parts), []).append(path)
    groups = {key: files for key, files in groups.items() if any(f.suffix.lower() in images.SUFFIXES for f in files)}
    if not groups:
        raise UserError(f"{root} holds no pictures; name the folder that they lie in")
    homes: dict[str, str] = {}  # digest -> the sample that files of these bytes went to
    joined: dict[str, list[Path]] = {}
    for key in sorted(groups):
        digests = {digest(path) for path in groups[key] if path.suffix.lower() in images.SUFFIXES}
        joined[key] = groups[key]
        for other in sorted({homes[each] for each in digests if each in homes}):
            joined[key] = joined.pop(other) + joined[key]
            homes |= {each: key for each, home in homes.items() if home == other}
        homes |= dict.fromkeys(digests, key)
    return joined


def tables(root: Path, home: Path, pictures: Sequence[Path]) -> None:
    """What is said of the pictures in labels.tsv and embeddings.npy, for those of a split."""
    names = {path.relative_to(root).as_posix() for path in pictures}
    if (root / "labels.tsv").is_file():
        head, *rows = (root / "labels.tsv").read_text("utf-8").splitlines()
        kept = [row for row in rows if row.partition("\t")[0] in names]
        (home / "labels.tsv").write_text("\n".join([head, *kept]) + "\n", "utf-8")
    if (root / "embeddings.npy").is_file():
        all_names = [path.relative_to(root).as_posix() for path in scan(root)]
        said = np.load(root / "embeddings.npy", mmap_mode="r", allow_pickle=False)
        if len(said) != len(all_names):
            raise UserError(f"{root / 'embeddings.npy'} has {len(said)} rows, and there are {len(all_names)} pictures")
        np.save(home / "embeddings.npy", said[[number for number, name in enumerate(all_names) if name in names]])


def digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}; mend it or take it away", code=1) from None


def put(source: Path, target: Path, link: bool) -> None:
    if link:
        try:
            os.link(source, target)
            return
        except OSError:  # another disk, or one that has no links
            pass
    shutil.copyfile(source, target)
