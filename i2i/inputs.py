"""Which pictures a command line means, and under which names their results are written."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from i2i import images
from i2i.data.folders import advice, walk
from i2i.errors import UserError

__all__ = ["Job", "parse_shard", "plan"]

GLOB = re.compile(r"[*?\[]")
SINGLE = {suffix: name for name, held in images.FORMATS.items() for suffix in held.suffixes}
SINGLE |= {suffix: name for name, suffixes in images.CONTAINERS.items() for suffix in suffixes}
READ = images.SUFFIXES | images.VIDEOS
# Inputs whose format is not written, and those that only a look at the pixels settles (see Job.target)
BECOMES = {".gif": ".png", ".ico": ".png", ".tga": ".png", ".pcx": ".png", ".sgi": ".png", ".avifs": ".avif",
           ".mpo": ".jpg", ".heic": ".jpg", ".heif": ".jpg", ".hif": ".jpg", ".pbm": ".ppm",
           ".pgm": ".ppm", ".pnm": ".ppm", ".dib": ".bmp", ".apng": ".png",
           ".webm": ".mkv", ".avi": ".mp4",
           ".j2c": ".jp2", ".jpc": ".jp2", ".jpf": ".jp2", ".jpx": ".jp2", ".j2k": ".jp2"}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One input and where its result goes.

    Attributes:
        source: a path, or "-" for standard input.
        root: the output folder.
        name: the result's path under it, with the suffix that the input's suffix promises; None for standard output.
        format: what the result must be written as; None follows the input.
    """

    source: str
    root: Path
    name: str | None
    format: str | None = None

    @property
    def promised(self) -> str | None:
        """The format that the name's ending stands for."""
        return None if self.name is None else SINGLE.get(Path(self.name).suffix.lower())

    def target(self, format: str) -> Path | None:
        """Where the result goes once its format is known; None for standard output.

        A format that the name did not promise (PNG, for alpha in a BMP) gets its ending behind the whole name.
        """
        if self.name is None:
            return None
        path = self.root / self.name
        if self.format or format == self.promised:
            return path
        return path.with_name(path.name + images.FORMATS[format].suffixes[0])

    def found(self) -> Path | None:
        """The result of an earlier run, if there is one."""
        if self.name is None:
            return None
        planned = self.root / self.name
        if planned.exists():
            return planned
        other = planned.with_name(planned.name + ".png")
        return other if self.format is None and other.exists() else None


def parse_shard(shard: tuple[int, int]) -> None:
    """Raises UserError unless `shard` is (i, n) with 1 <= i <= n."""
    if not 1 <= shard[0] <= shard[1]:
        raise UserError(f"shard {shard[0]}/{shard[1]} is none; write i/n with i from 1 to n, such as 1/4")


def plan(inputs: Sequence[str], out: str | Path, *, format: str | None, suffix: str) -> tuple[list[Job], list[str]]:
    """The jobs in a stable order, and a sentence for each that had to be named otherwise than its input.

    `out` with an image's ending is a file and takes one input; "-" is standard output; anything else is a folder, where
    the tree under each input folder is mirrored.

    Raises UserError where an input is missing, a folder is empty, or results would fall upon inputs.
    """
    single = str(out) != "-" and Path(out).suffix.lower() in READ and not Path(out).is_dir()
    root = Path(out).parent if single else Path(out)
    found = list(dict.fromkeys(pair for given in inputs for pair in expand(given, root, len(inputs) > 1)))
    if str(out) == "-" or single:
        if len(found) != 1:
            raise UserError(f"-o {out} takes one picture, but the inputs are {len(found)}; name a folder")
        source = found[0][0]
        if not single:
            return [Job(source, Path(), None, None if images.is_video(source) else format or None)], []
        if source != "-" and Path(out).exists() and Path(out).samefile(source):
            raise UserError(f"-o {out} is the input itself; choose another name")
        by_ending = SINGLE.get(Path(out).suffix.lower())
        if images.is_video(source) != images.is_video(out):
            wanted, given = ("a video", "a picture") if images.is_video(out) else ("a picture", "a video")
            what = "through standard input comes" if source == "-" else f"{source} is"
            raise UserError(f"-o {out} names {wanted}, but {what} {given}; choose another name")
        if by_ending is None:
            known = images.CONTAINERS if images.is_video(out) else images.FORMATS
            raise UserError(f"-o {out}: no {Path(out).suffix} is written; take one of {', '.join(known)}")
        if format not in (None, by_ending):
            raise UserError(f"-o {out} asks for {by_ending}, --format for {format}; leave one of them out")
        return [Job(source, root, Path(out).name, by_ending)], []
    guard(found, root, suffix)
    jobs, renamed = named(found, root, format, suffix)
    sources = {os.path.realpath(source): source for source, _ in found}
    for job in jobs:
        if (hit := sources.get(os.path.realpath(root / (job.name or "")))) is not None:
            raise UserError(f"the result of {job.source} would replace the input {hit}; choose another folder with -o")
    return jobs, renamed


def guard(found: list[tuple[str, str]], root: Path, suffix: str) -> None:
    """Raises UserError where results would land among the inputs they come from."""
    target = root.resolve()
    for source, name in found:
        if suffix or source == "-":
            continue
        folder = Path(source).resolve().parent
        if folder == (target / name).parent:
            raise UserError(f"the output folder {root} is where {source} lies; choose another with -o, or name the "
                            "results apart with --suffix")  # fmt: skip


def expand(given: str, out: Path, several: bool) -> Iterator[tuple[str, str]]:
    """(source, name under the output folder) of every picture that one input means."""
    path = Path(given)
    if given == "-":
        yield "-", "stdin"
    elif path.is_dir():
        names = sorted(scan(path, out))
        if not names:
            raise UserError(f"{given} holds no picture; put files there that end in .png, .jpg, .tif, .webp, ..., or "
                            "name another folder")  # fmt: skip
        top = Path(path.resolve().name) if several else Path()
        for name in names:
            yield str(path / name), (top / name).as_posix()
    elif path.exists():
        yield given, path.name
    elif GLOB.search(given):
        matches = sorted(match for match in glob.glob(given, recursive=True) if Path(match).is_file())
        matches = [match for match in matches if Path(match).suffix.lower() in READ]
        if not matches:
            raise UserError(f"no picture matches {given}; check the pattern, and keep it in quotes")
        fixed = Path(given[: GLOB.search(given).start()] + "x").parent  # type: ignore[union-attr]
        for match in matches:
            yield match, Path(match).relative_to(fixed).as_posix()
    else:
        raise UserError(f"there is no file or folder {given or 'of no name'}; {advice(path)}")


def scan(folder: Path, out: Path) -> Iterator[str]:
    """Paths of pictures and videos under `folder`, relative to it; not hidden ones, nor results of an earlier run in
    `out`."""
    real, skipped = folder.resolve(), out.resolve()
    above = frozenset(real.parents) | (frozenset() if skipped == real else {skipped})
    for path in walk(folder, above):
        if path.suffix.lower() in READ:
            yield path.relative_to(folder).as_posix()


def named(found: list[tuple[str, str]], root: Path, format: str | None, suffix: str) -> tuple[list[Job], list[str]]:
    """Jobs with names that differ even where upper and lower case do not count."""
    planned = [result_name(name, format, suffix) for _, name in found]
    often: dict[str, int] = {}
    for name in planned:
        often[name.casefold()] = often.get(name.casefold(), 0) + 1
    taken = {name.casefold() for name in planned if often[name.casefold()] == 1}
    jobs, renamed = [], []
    for (source, name), result in zip(found, planned, strict=True):
        if often[result.casefold()] > 1:
            whole = Path(name).with_name(Path(name).stem + suffix + Path(name).suffix).as_posix()
            ending, result, count = Path(result).suffix, whole + Path(result).suffix, 1
            while result.casefold() in taken:
                count += 1
                result = f"{whole}.{count}{ending}"
            taken.add(result.casefold())
            renamed.append(f"{source} shares its name with another input; its result is {root / result}")
        jobs.append(Job(source, root, result, None if images.is_video(source) else format))
    return jobs, renamed


def result_name(name: str, format: str | None, suffix: str) -> str:
    """`name` with the suffix after its stem and the ending its format promises."""
    path = Path(name)
    ending = path.suffix.lower()
    if format is not None and not images.is_video(name):  # it is one for pictures
        ending = path.suffix if ending in images.FORMATS[format].suffixes else images.FORMATS[format].suffixes[0]
    elif ending in BECOMES or ending not in SINGLE:
        ending = BECOMES.get(ending, ".png")
    else:
        ending = path.suffix
    return path.with_name(path.stem + suffix + ending).as_posix()
