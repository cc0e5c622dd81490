"""One result of a run: its format settled before the work, made, encoded and written, whole or not at all."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import torch

from i2i import images
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.gallery import Row, Thumbnail, thumbnail
from i2i.images import Frame, Frames, Miniature, Picture, Resampler, Video
from i2i.images.picture import Array
from i2i.inputs import Job
from i2i.memory import amount, free_memory

__all__ = [
    "Delivered",
    "Outcome",
    "Settings",
    "Work",
    "deliver",
    "done_already",
    "granted",
    "in_strips",
    "moving",
    "promise",
    "resized",
    "stored",
    "streaming",
    "wanted_size",
]

MUCH = 1 << 30  # bytes for one result that are worth a word
COPIES = 4  # of a frame's result that are there at once, while it is made and written
THUMB = 256  # height in pixels of a pair on the contact sheet ...
WIDEST = 512  # ... as long as neither is wider than this
FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up",
        errno.EFBIG: "the file-size limit is reached"}  # fmt: skip
FATAL = FULL | {errno.EROFS: "it is read-only", errno.EACCES: "writing there is not allowed",
                errno.EPERM: "writing there is not allowed", errno.EIO: "the disk reports an error",
                errno.EMFILE: "too many files are open", errno.ENFILE: "too many files are open"}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What a run does with its results.

    Attributes:
        format: a key of `images.FORMATS`; None follows each input.
        quality: 1 to 100, for jpeg, webp and avif; None is 95.
        suffix: put after each name's stem.
        existing: what to do where an output is already there.
        keep_truncated: take what is there of truncated files.
        shard: (i, n) takes the i-th of n parts, counted from 1.
        compare: also write input | output side by side, and a sheet of the first 24 pairs.
        gallery: also write an HTML page that shows all pairs, those that were skipped included.
        keep_gps: leave the position in the EXIF of the results.
        scale: size of a result / size of its input, where that is not the network's: it is resampled afterwards.
        max_memory: bytes that one result may take; None takes what is free.
    """

    format: str | None = None
    quality: int | None = None
    suffix: str = ""
    existing: Literal["refuse", "overwrite", "skip"] = "refuse"
    keep_truncated: bool = False
    shard: tuple[int, int] = (1, 1)
    compare: bool = False
    gallery: bool = False
    keep_gps: bool = False
    scale: float | None = None
    max_memory: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one input."""

    input: str
    status: Literal["written", "skipped", "failed"]
    output: str | None = None
    reason: str = ""  # why it failed
    notes: tuple[str, ...] = ()  # what the user should know about the result
    size: tuple[int, int] | None = None  # (width, height) of the result


@dataclass(eq=False)
class Work:
    """A job between the stages."""

    job: Job
    picture: Picture | None = None
    error: UserError | None = None
    frames: Frames | Video | None = None  # instead of a picture: also of a document of several pages
    expected: Picture | None = None  # the result without its pixels
    format: str = ""  # that the result is written in, and ...
    note: str = ""  # ... why it is another one


class Delivered(NamedTuple):
    """What became of one input, and what is shown of it."""

    outcome: Outcome
    pair: Picture | None = None  # for the sheet
    row: Row | None = None  # for the gallery


def stored(action: Callable[[], Any], path: Path, *, code: int = 1) -> None:
    """Do what writes to `path`; what no other picture would survive either becomes a UserError."""
    try:
        action()
    except OSError as error:
        raise UserError(unwritable(error, path), code=code) from None


def unwritable(error: OSError, path: Path) -> str:
    """The sentence for an output that cannot be written."""
    why = FATAL.get(error.errno or 0, (error.strerror or str(error)).lower())
    full = "free some space and run again with --skip-existing"
    return f"cannot write {path}: {why}; {full if error.errno in FULL else 'choose another folder with -o'}"


def promise(engine: Engine, work: Work, settings: Settings, say: Callable[[str], None]) -> None:
    """Settle the format of a result before its network runs. Sets `work.error` where it cannot be written."""
    if work.picture is None or work.error is not None:
        return
    job, (width, height) = work.job, wanted_size(work.picture, engine, settings)
    work.expected = expected = engine.expected(work.picture, width, height)
    try:
        if job.format:
            work.format, early = images.promise(expected.layout, 1, job.format, asked=True)
        else:
            work.format, work.note = images.fitting_format(expected, job.promised)
            early = work.note if work.format != job.promised else ""
        wanted = images.memory_needed(work.format, expected.layout)
        free = granted(settings)
        if work.format not in images.STREAMED and free is not None:
            costs = f"{width}x{height} pixels as {work.format} take about {amount(wanted)} to write"
            if wanted > free and job.format:
                raise UserError(f"{costs}, and {amount(free)} are granted; take --format png or tiff", code=1)
            if wanted > free:
                work.format, work.note = "png", f"{costs}; it became png"
                early = work.note
            elif wanted > MUCH:
                say(f"{job.source}: {costs}; --format png or tiff takes less")
        if early and in_strips(engine, work, settings):  # it will take a while, and the outcome repeats it
            say(f"{job.source}: {early}")
    except UserError as error:
        work.error = UserError(f"{job.source}: {error}", code=1)


def granted(settings: Settings) -> int | None:
    """Bytes that one result may take; None where that cannot be told."""
    return free_memory(torch.device("cpu")) if settings.max_memory is None else settings.max_memory


def wanted_size(picture: Picture, engine: Engine, settings: Settings) -> tuple[int, int]:
    """(width, height) of what becomes of a picture."""
    height, width = (max(1, round(side * (settings.scale or engine.card.scale))) for side in picture.pixels.shape[:2])
    return width, height


def resized(result: Picture, size: tuple[int, int]) -> Picture:
    """`result` at that (width, height)."""
    height, width = result.pixels.shape[:2]
    if (width, height) == size:
        return result
    return replace(result.with_pixels(images.resampled(result.values, *size)), palette=None)


def in_strips(engine: Engine, work: Work, settings: Settings) -> bool:
    """Whether a result is written as it is made."""
    return work.picture is not None and work.error is None and engine.large(work.picture, settings.scale or 0)


def deliver(
    work: Work, result: Picture | None, settings: Settings, stdout: IO[bytes] | None, want_thumb: bool
) -> Delivered:
    """Encode and write one result. Raises UserError only where no other picture could be written either."""
    job = work.job
    if work.error is not None:
        return Delivered(Outcome(job.source, "failed", reason=str(work.error)))
    if result is None or work.picture is None:
        there = job.found() or job.root
        row = None
        if settings.gallery:
            row = as_row(job, reread(job.source, settings.keep_truncated), there, reread(there))
        return Delivered(Outcome(job.source, "skipped", output=str(there)), row=row)
    try:
        data, notes = images.encode(result, work.format, quality=settings.quality, keep_gps=settings.keep_gps)
    except UserError as error:
        return Delivered(Outcome(job.source, "failed", reason=f"{job.source}: {error}"))
    target = job.target(work.format)
    thumb = None
    try:
        if target is None:
            out = stdout or sys.stdout.buffer
            out.write(data)
            out.flush()
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            if settings.compare:  # before the result, whose name tells a later run that all of this is done
                images.write(images.side_by_side(work.picture, result), beside(job, target))
                thumb = small_pair(work.picture, result) if want_thumb else None
            images.save(data, target)
    except OSError as error:
        return undelivered(error, job, target)
    row = as_row(job, work.picture, target, result) if settings.gallery and target else None
    return Delivered(written(job, target, result, [work.note, *notes]), thumb, row)


def beside(job: Job, target: Path) -> Path:
    """Where input and result are written side by side; its folder is made."""
    path = job.root / "compare" / target.relative_to(job.root)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(path.name + ".png")


def small_pair(before: Picture, after: Picture) -> Picture:
    """Both side by side as on the contact sheet, where a panorama takes no more room than others."""
    height, width = after.pixels.shape[:2]
    pair = images.side_by_side(before, after, height=max(1, min(THUMB, WIDEST * height // width)))
    high, wide = pair.pixels.shape[:2]
    return pair if wide <= 3 * WIDEST else Picture(images.shrunk(pair.pixels, 2 * WIDEST, high))


def written(job: Job, target: Path | None, result: Picture, notes: Sequence[str]) -> Outcome:
    """Of a result that has been written; `notes` are on its file."""
    height, width = result.pixels.shape[:2]
    said = tuple(dict.fromkeys(note for note in (*result.notes, *notes) if note))
    return Outcome(job.source, "written", None if target is None else str(target), notes=said, size=(width, height))


def streaming(
    engine: Engine,
    work: Work,
    settings: Settings,
    stdout: IO[bytes] | None,
    step: Callable[[str, float], None],
    want_thumb: bool,
) -> Delivered:
    """Make a large picture and write it strip by strip. As `deliver`; what is shown of it is made small on the way."""
    job, picture, expected = work.job, work.picture, work.expected
    assert picture is not None and expected is not None
    target, layout = job.target(work.format), expected.layout
    height, width = (side * engine.card.scale for side in picture.pixels.shape[:2])
    notes: tuple[str, ...] = ()
    small: Miniature | None = None

    @contextmanager
    def sink() -> Iterator[Callable[[Array], None]]:
        nonlocal notes, small
        same = (width, height) == (layout.width, layout.height)
        resampler = None if same else Resampler((width, height), (layout.width, layout.height))
        came = 0

        def write(rows: Array) -> None:
            nonlocal came
            for part in resampler.feed(rows) if resampler else (rows,):
                for take in takers:
                    take(part)
            came += len(rows)
            step(job.source, came / height)

        with ExitStack() as stack:
            file = images.StripWriter(target or stdout or sys.stdout.buffer, work.format, layout,
                                      quality=settings.quality, keep_gps=settings.keep_gps)  # fmt: skip
            takers: list[Callable[[Array], None]] = [stack.enter_context(file).write]
            notes = file.notes
            if settings.compare and target:  # left, and so renamed, before the result, as in `deliver`
                takers.append(stack.enter_context(images.pair_written(beside(job, target), picture, expected)))
            if (settings.compare or settings.gallery) and target:
                small = Miniature(expected)
                takers.append(small.write)
            yield write

    try:
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
        engine.stream(picture, sink, beside=images.memory_needed(work.format, layout))
    except UserError as error:
        return Delivered(Outcome(job.source, "failed", reason=f"{job.source}: {error}"))
    except OSError as error:
        return undelivered(error, job, target)
    outcome = written(job, target, expected, [work.note, *notes])
    if small is None or target is None:
        return Delivered(outcome)
    thumb = small_pair(picture, small.picture) if settings.compare and want_thumb else None
    row = as_row(job, picture, target, small.picture, outcome.size) if settings.gallery else None
    return Delivered(outcome, thumb, row)


def undelivered(error: OSError, job: Job, target: Path | None) -> Delivered:
    """What became of a result that could not be written. Raises what no other picture would survive either."""
    if isinstance(error, BrokenPipeError):
        raise error  # the reader has gone: nothing to say
    if target is None:
        raise UserError(f"cannot write to standard output: {error.strerror}; name a file with -o", code=1) from None
    if error.errno in FATAL:
        raise UserError(unwritable(error, target), code=1) from None
    return Delivered(Outcome(job.source, "failed", reason=f"cannot write {target}: {error.strerror}"))


def moving(
    engine: Engine,
    work: Work,
    frames: Frames | Video,
    settings: Settings,
    stdout: IO[bytes] | None,
    step: Callable[[str, float], None],
) -> Delivered:
    """Translate an animation, a document or a video and write it, a batch of frames at a time. As `deliver`; of the
    pairs that are shown, it is the first frame's."""
    job, target, first = work.job, None, None
    try:
        format, note = frames.format_for(job.format or job.promised, asked=bool(job.format),
                                         scale=settings.scale or engine.card.scale)  # fmt: skip
        target = job.target(format)
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
        with frames.writer(target or stdout or sys.stdout.buffer, format, quality=settings.quality,
                           keep_gps=settings.keep_gps) as writer:  # fmt: skip
            for done, (before, after) in enumerate(framewise(engine, job, frames, settings), 1):
                first = first or (before, after.picture)
                writer.write(after)
                step(job.source, done / frames.count)
            if settings.compare and target and first:
                images.write(images.side_by_side(*first), beside(job, target))
    except UserError as error:
        return Delivered(Outcome(job.source, "failed", reason=str(error)))
    except OSError as error:
        return undelivered(error, job, target)
    assert first is not None
    before, result = first
    outcome = replace(written(job, target, result, [*frames.notes, note, *writer.notes]), size=writer.size)
    thumb = small_pair(before, result) if settings.compare else None
    return Delivered(outcome, thumb, as_row(job, before, target, result) if settings.gallery and target else None)


def framewise(engine: Engine, job: Job, frames: Frames | Video, settings: Settings) -> Iterator[tuple[Picture, Frame]]:
    """Each frame's picture, and the frame as it becomes. Raises UserError (code 1) for the first that fails."""
    left, done = iter(frames), 0
    free = granted(settings)
    while batch := list(islice(left, engine.batch)):
        for place, frame in enumerate(batch, done + 1):
            width, height = wanted_size(frame.picture, engine, settings)
            wanted = COPIES * frame.picture.layout.channels * frame.picture.pixels.itemsize * width * height
            if free is not None and wanted > free:
                raise UserError(f"{job.source}: frame {place} becomes {width}x{height} pixels, which take about "
                                f"{amount(wanted)}, and {amount(free)} are granted; scale it down", code=1)  # fmt: skip
        results = engine.pictures([frame.picture for frame in batch])
        for frame, result in zip(batch, results, strict=True):
            done += 1
            if isinstance(result, UserError):
                raise UserError(f"{job.source}: frame {done}: {result}", code=1)
            size = wanted_size(frame.picture, engine, settings)
            yield frame.picture, frame._replace(picture=resized(result, size))


def done_already(delivered: Delivered) -> Future[Delivered]:
    """As if it had been written beside the others."""
    future: Future[Delivered] = Future()
    future.set_result(delivered)
    return future


def as_row(
    job: Job, before: Picture | str, target: Path, after: Picture | str, size: tuple[int, int] | None = None
) -> Row:
    """Thumbnails of one pair; a picture that is not there is a few words on why. `size` is the result's (width,
    height), where `after` is a small version of it."""
    files = [None if path == "-" or images.is_video(path) else Path(path) for path in (job.source, target)]
    cells = [picture if isinstance(picture, str) else thumbnail(picture, path)
             for picture, path in zip((before, after), files, strict=True)]  # fmt: skip
    if size and isinstance(cells[1], Thumbnail):
        cells[1] = cells[1]._replace(full=size)
    return Row(target.relative_to(job.root).as_posix(), tuple(cells))


def reread(source: str | Path, keep_truncated: bool = False) -> Picture | str:
    """A picture that an earlier run has read or written."""
    if source == "-":
        return "came through standard input"
    try:
        if images.is_video(source):
            return Video(source, keep_truncated=keep_truncated).first()
        return images.read(source, keep_truncated=keep_truncated)
    except UserError as error:
        return str(error).removeprefix(f"{source}: ")
