"""Write the shards that stand in the place of a folder; see `i2i.shards`.

Everything that belongs to a picture lies beside it, under names that webdataset understands: what comes before the
first dot is the sample's key, the rest says what it is. So `train/1.jpg` and `train/1.txt` are the sample `train/1`,
and `train/A/1.jpg` and `train/B/1.png`, or HR and LR, are its `a.jpg` and `b.png`. What belongs to no picture
(labels.tsv, embeddings.npy) lies beside the shards as it lay in the folder.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from i2i import images, shards
from i2i.data.arrival import arriving
from i2i.data.folders import walk
from i2i.errors import UserError

__all__ = ["Packed", "pack"]

SIDES = ("A", "B", "a", "b", "HR", "LR")  # folders whose files of equal names are one sample
SHARD = 512 << 20  # bytes after which another shard begins

Sample = list[tuple[str, Path]]
"""Names in the shard, and the files."""


class Packed(tuple[int, int, int]):
    """(pictures, shards, bytes)."""


def pack(
    root: Path,
    out: Path,
    *,
    size: int = SHARD,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Packed:
    """Write the shards of all that lies in the folder `root` into the folder `out`, which appears when it is whole.

    Args:
        size: bytes after which another shard begins.
        progress: called with the samples done and all samples.

    Raises UserError where there are no pictures, a file cannot be read, or nothing can be written.
    """
    samples, beside = samples_in(root)
    pictures = sum(path.suffix.lower() in images.SUFFIXES for files in samples for _, path in files)
    if not pictures:
        raise UserError(f"{root} holds no pictures; name the folder that they lie in")
    with arriving(out, overwrite=overwrite) as part:
        written = list(write(root, samples, part, size, progress))
        for path in beside:
            target = part / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        index = {"format": shards.FORMAT, "shards": written}
        (part / shards.INDEX).write_text(json.dumps(index, separators=(",", ":")) + "\n", "utf-8")
    shards.load.cache_clear()
    shards.above_folder.cache_clear()
    return Packed((pictures, len(written), sum(one["bytes"] for one in written)))


def samples_in(root: Path) -> tuple[list[Sample], list[Path]]:
    """The samples below a folder, in the order of their keys, and the files that belong to no picture."""
    if shards.above(root) is not None:
        raise UserError(f"{root} is packed already")
    files = [path for path in walk(root) if path.is_file()]
    stems = {path.stem for path in files if path.suffix.lower() in images.SUFFIXES}
    groups: dict[tuple[str, str], list[tuple[str, Path]]] = {}
    beside = []
    for path in files:
        if path.stem not in stems:
            beside.append(path)
            continue
        folders = list(path.relative_to(root).parts[:-1])
        side = next((part for part in folders if part in SIDES), "")
        if side:
            folders.remove(side)
        groups.setdefault(("/".join(folders), path.stem), []).append((side, path))
    samples: list[Sample] = []
    taken: set[str] = set()
    for (folder, stem), group in sorted(groups.items()):
        key = free(f"{folder}/{stem.replace('.', '_')}".strip("/"), taken)
        sample: Sample = []
        names: set[str] = set()
        for side, path in sorted(group):
            name = free(".".join(filter(None, (key, side.lower(), path.suffix[1:].lower()))), names)
            sample.append((name, path))
        samples.append(sample)
    return samples, beside


def free(name: str, taken: set[str]) -> str:
    """The name, or that with a number where it is taken."""
    found, number = name, 2
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    taken.add(found)
    return found


def write(
    root: Path, samples: list[Sample], out: Path, size: int, progress: Callable[[int, int], None]
) -> Iterator[dict[str, Any]]:
    """Write the samples into tar files, and yield what the index says of each."""
    left = list(reversed(samples))
    number = 0
    while left:
        path = out / f"{number:05}.tar"
        listed: list[tuple[str, int, int]] = []
        with path.open("wb") as file:
            while left and file.tell() < size:
                for name, source in left.pop():
                    start, count = add(file, name, source)
                    listed.append((source.relative_to(root).as_posix(), start, count))
                progress(len(samples) - len(left), len(samples))
            file.write(bytes(2 * tarfile.BLOCKSIZE))  # the end of a tar
            total = file.tell()
        yield {"file": path.name, "bytes": total, "files": listed}
        number += 1


def add(file: IO[bytes], name: str, source: Path) -> tuple[int, int]:
    """Put a file into a tar that is being written; where its bytes begin, and how many there are."""
    try:
        data = source.read_bytes()
    except OSError as error:
        raise UserError(
            f"{source} cannot be read: {error.strerror or error}; mend it or take it away", code=1
        ) from None
    info = tarfile.TarInfo(PurePosixPath(name).as_posix())
    info.size, info.mode = len(data), 0o644
    file.write(info.tobuf(tarfile.GNU_FORMAT))
    start = file.tell()
    file.write(data)
    file.write(bytes(-len(data) % tarfile.BLOCKSIZE))
    return start, len(data)
