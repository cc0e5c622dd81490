"""Folder in, folder out: decode | engine | encode overlap, in the order of the inputs, with a few pictures in flight.

A result appears under its final name only when it is whole, so an interrupted run can be started again with
`existing="skip"` and redoes nothing finished.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from i2i import images
from i2i.delivery import (
    Delivered,
    Outcome,
    Settings,
    Work,
    deliver,
    done_already,
    granted,
    in_strips,
    moving,
    promise,
    resized,
    stored,
    streaming,
    wanted_size,
)
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.gallery import Gallery, card_facts
from i2i.gallery.page import page_paths, vacant
from i2i.images import Frames, Picture, Video
from i2i.inputs import Job, parse_shard, plan

__all__ = ["Outcome", "Report", "Settings", "run"]

IN_FLIGHT = 256 << 20  # bytes of decoded pictures that may wait for the network
SHEET = 24  # pairs on the contact sheet


@dataclass
class Report:
    """What became of all inputs."""

    written: int = 0
    skipped: int = 0
    failed: int = 0
    seconds: float = 0.0
    out: str = ""
    sheet: str | None = None
    gallery: str | None = None
    renamed: list[str] = field(default_factory=list)

    def dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def run(
    engine: Engine,
    inputs: Sequence[str],
    out: str | Path,
    settings: Settings,
    *,
    tell: Callable[[Outcome, int, int], None] = lambda outcome, done, total: None,
    say: Callable[[str], None] = lambda sentence: None,
    step: Callable[[str, float], None] = lambda source, part: None,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
) -> Report:
    """Translate files, folders, globs or standard input ("-") into the folder, file or standard output `out`.

    Args:
        tell: called with each input's outcome, how many are done and how many there are, in the order of the inputs.
        say: told what concerns the whole run.
        step: told, as a large picture is made, which, and what part of it there is.

    Raises UserError where nothing was started (code 2), or the disk or the output folder gave out (code 1). Pictures
    that failed one by one are counted in the report.
    """
    started = time.monotonic()
    parse_shard(settings.shard)
    jobs, renamed = plan(inputs, out, format=settings.format, suffix=settings.suffix)
    first, parts = settings.shard
    jobs = jobs[first - 1 :: parts]
    report = Report(out=str(out), renamed=renamed)
    ready = prepare(jobs, out, settings)
    page = gallery_path(jobs, out, settings)
    card = engine.card  # said only now: a request that is wrong gets one sentence
    source = getattr(engine.generator, "source", "the generator")
    say(f"{source}: {card.a} -> {card.b}; {engine.mode} mode, {engine.precision} on {engine.device}")
    if settings.scale not in (None, card.scale):
        say(f"the network enlarges x{card.scale}; what it makes is resampled to x{settings.scale:g}")
    for sentence in renamed:
        say(sentence)
    total = len(jobs)
    done = 0

    def tally(outcome: Outcome) -> None:
        nonlocal done
        done += 1
        setattr(report, outcome.status, getattr(report, outcome.status) + 1)
        tell(outcome, done, total)

    thumbs: list[Picture] = []
    workers = max(1, min(4, (os.cpu_count() or 2) // 2))
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    writers = ThreadPoolExecutor(workers, thread_name_prefix="encode")
    encoding: deque[Future[Delivered]] = deque()
    book = Gallery(page, (card.a, card.b)) if page else None

    def settle(limit: int) -> None:
        """Report finished pictures until at most `limit` are being written."""
        while encoding and (len(encoding) > limit or encoding[0].done()):
            outcome, pair, row = encoding.popleft().result()
            if pair is not None and len(thumbs) < SHEET:
                thumbs.append(pair)
            if book and outcome.status == "failed":
                book.fail(outcome.input, outcome.reason)
            if book and row:
                stored(partial(book.add, row), book.path)
            tally(outcome)

    def publish(book: Gallery) -> None:
        """Write the gallery of what has been settled."""
        mode = f"{engine.mode}, seed {engine.seed}" if engine.mode == "paper" else engine.mode
        facts = {"Model": source, "Mode": mode, "Precision": f"{engine.precision} on {engine.device}"}
        stored(partial(book.write, f"{card.a} → {card.b}", facts | card_facts(card)), book.path)
        report.gallery = str(book.path)

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\..*")  # what matters of it is said in the outcomes
            for group in decoded(ready, pool, settings, engine.batch, stdin):
                for work in group:
                    promise(engine, work, settings, say)
                for work, result in translated(engine, group, settings):
                    if work.frames is not None:
                        encoding.append(done_already(moving(engine, work, work.frames, settings, stdout, step)))
                        continue
                    if in_strips(engine, work, settings):
                        made = streaming(engine, work, settings, stdout, step, len(thumbs) < SHEET)
                        encoding.append(done_already(made))
                        continue
                    encoding.append(writers.submit(deliver, work, result, settings, stdout, len(thumbs) < SHEET))
                settle(2 * workers + engine.batch)
            settle(0)
            if settings.compare and len(thumbs) > 1:
                sheet = Path(out) / "compare.png"
                stored(lambda: images.write(images.sheet(thumbs), sheet), sheet)
                report.sheet = str(sheet)
            if book:
                publish(book)
    except KeyboardInterrupt:
        if book:
            with suppress(UserError):
                publish(book)
        raise
    finally:  # after an interrupt or a full disk too: whatever is being written is finished or cleaned up
        pool.shutdown(wait=True, cancel_futures=True)
        writers.shutdown(wait=True, cancel_futures=True)
        if book:
            book.close()
    report.seconds = time.monotonic() - started
    return report


def prepare(jobs: list[Job], out: str | Path, settings: Settings) -> list[Job]:
    """Check the output before any work: existing files, a folder that cannot be written. Returns the jobs as they
    will be run, those to be skipped included (marked)."""
    if str(out) == "-":
        return jobs
    there = [job for job in jobs if job.found() is not None]
    if there and settings.existing == "refuse":
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UserError(f"{there[0].found()}{more} already exist{'' if more else 's'}; add --skip-existing to keep "
                        "or --overwrite to replace what is there")  # fmt: skip
    folder = jobs[0].root if jobs else Path(out)
    places = {(job.root / place / job.name).parent for job in jobs if job.name for place in ("", "compare")}
    images.sweep(places)

    def attempt() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass

    stored(attempt, folder, code=2)
    return jobs


def gallery_path(jobs: list[Job], out: str | Path, settings: Settings) -> Path | None:
    """Where the gallery goes, if there is to be one: each shard has its own.

    Raises UserError where something else is in its place, or will be.
    """
    if not settings.gallery or str(out) == "-":
        return None
    first, parts = settings.shard
    root = jobs[0].root if jobs else Path(out)
    page = root / ("gallery.html" if parts == 1 else f"gallery-shard-{first}-of-{parts}.html")
    vacant(page, len(jobs), replace=settings.existing == "overwrite", mine=settings.existing == "skip")
    names = {page.name.casefold() for page in page_paths(page, len(jobs))}
    for job in jobs:
        if job.name and Path(job.name).parts[0].casefold() in names:
            raise UserError(f"the result {root / job.name} goes into a folder of the name that the gallery needs; "
                            "rename that folder, or leave --gallery out")  # fmt: skip
    return page


def decoded(
    jobs: list[Job], pool: ThreadPoolExecutor, settings: Settings, batch: int, stdin: IO[bytes] | None
) -> Iterator[list[Work]]:
    """Decoded pictures in order, in groups of at most `batch`; a few are read ahead, fewer where they are large."""
    waiting: deque[Future[Work]] = deque()
    left = iter(jobs)
    exhausted = False
    while True:
        heavy = sum(weight(future) for future in waiting)
        while not exhausted and len(waiting) < 2 * batch + 2 and (not waiting or heavy < IN_FLIGHT):
            job = next(left, None)
            exhausted = job is None
            if job is not None:
                waiting.append(pool.submit(decode, job, settings, stdin))
        if not waiting:
            return
        yield [waiting.popleft().result() for _ in range(min(batch, len(waiting)))]


def weight(future: Future[Work]) -> int:
    """Bytes of a picture that has been decoded; 0 while it has not."""
    picture = future.result().picture if future.done() and not future.cancelled() else None
    return 0 if picture is None else picture.pixels.nbytes


def decode(job: Job, settings: Settings, stdin: IO[bytes] | None) -> Work:
    """Read one input, unless its output is there and to be kept."""
    if settings.existing == "skip" and job.found() is not None:
        return Work(job)
    try:
        source = standard_input(stdin) if job.source == "-" else job.source
        if images.is_video(source):
            return Work(job, frames=Video(source, keep_truncated=settings.keep_truncated))
        if images.count_frames(source) > 1:
            return Work(job, frames=Frames(source, keep_truncated=settings.keep_truncated, memory=granted(settings)))
        return Work(job, images.read(source, keep_truncated=settings.keep_truncated))
    except UserError as error:
        return Work(job, error=error)


def standard_input(stdin: IO[bytes] | None) -> bytes:
    """All of it, up to what is read of a file. Raises UserError where there is none."""
    source = stdin or getattr(sys.stdin, "buffer", None)
    if source is None:
        raise UserError("standard input is closed; pipe a picture into it, or name a file", code=1)
    data: bytes = source.read(images.LARGEST_FILE + 1)
    if len(data) > images.LARGEST_FILE:
        raise UserError("standard input: more than 1 GB came; at most 1 GB is read", code=1)
    return data


def translated(engine: Engine, group: list[Work], settings: Settings) -> Iterator[tuple[Work, Picture | None]]:
    """The group's results in order; None where there is none yet, or it failed (`work.error` is set then)."""
    whole = [work for work in group if work.picture and not work.error and not in_strips(engine, work, settings)]
    results = iter(engine.pictures([work.picture for work in whole if work.picture]))
    for work in group:
        if work not in whole or work.picture is None:
            yield work, None
            continue
        result = next(results)
        if isinstance(result, UserError):
            work.error = UserError(f"{work.job.source}: {result}", code=1)
            yield work, None
        else:
            yield work, resized(result, wanted_size(work.picture, engine, settings))
