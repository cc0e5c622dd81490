"""What the commands that run a network over pictures share: their options, the run, and how it is shown."""

from __future__ import annotations

import functools
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from i2i.cli.completion import models as complete_models
from i2i.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from i2i.batchrun import Outcome, Report

__all__ = ["Options", "execute", "shared"]

EVERY = 5.0  # seconds between plain progress lines
FORMATS = ["png", "jpeg", "jpg", "webp", "tiff", "tif", "avif", "jp2", "bmp", "ppm"]
ALIASES = {"jpg": "jpeg", "tif": "tiff"}
UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def shard(context: click.Context, option: click.Parameter, text: str) -> tuple[int, int]:
    """The text 2/8 as (2, 8)."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise click.BadParameter(f"'{text}' is no shard; write i/n with i from 1 to n, such as 1/4")
    return int(found[1]), int(found[2])


def tile(context: click.Context, option: click.Parameter, text: str) -> int | str:
    """The text auto or off as it is, 512 as 512."""
    if text in ("auto", "off"):
        return text
    if not re.fullmatch(r"\d+", text) or not int(text):
        raise click.BadParameter(f"'{text}' is no tile; write auto, off, or a number of rows such as 512")
    return int(text)


def memory(context: click.Context, option: click.Parameter, text: str | None) -> int | None:
    """The text 4G, 4GB or 500M as bytes."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip().upper())
    if not found or not float(found[1]):
        raise click.BadParameter(f"'{text}' is no size of memory; write it as 4G or 500M")
    return round(float(found[1]) * UNITS[found[2]])


@dataclass(frozen=True)
class Options:
    """What these options were given, by their names."""

    out: str | None
    format: str | None
    quality: int | None
    suffix: str
    batch: int | None
    tile: Any
    device: str
    precision: Any
    mode: str | None
    seed: int
    overwrite: bool
    skip_existing: bool
    keep_truncated: bool
    keep_gps: bool
    shard: tuple[int, int]
    max_memory: int | None
    compare: bool
    gallery: bool
    as_json: bool
    quiet: bool


OPTIONS = [
    click.option("-m", "--model", default=None, shell_complete=complete_models,
                 help="family/name, a generator file, or hf://user/repository."),
    click.argument("inputs", nargs=-1, metavar="[INPUT]..."),
    click.option("-o", "--out", default=None, help="Folder, file, or - for standard output [default: see above]."),
    click.option("--format", type=click.Choice(FORMATS, case_sensitive=False),
                  help="Of pictures [default: each input's, or png where that cannot hold the result]; videos are "
                       "H.264 in mp4, mov or mkv."),
    click.option("--quality", type=click.IntRange(1, 100), help="Of jpeg, webp, avif and video [default: 95]."),
    click.option("--suffix", default="", help="Put after each name's stem: _fake makes a_fake.png of a.png."),
    click.option("--batch", type=click.IntRange(min=1), help="Images per pass [default: 1 on a CPU, 8 on a GPU]."),
    click.option("--tile", callback=tile, default="auto", show_default=True, metavar="auto|N|off",
                  help="Large pictures in bands of rows: when needed, always with N rows, or never."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps."),
    click.option("--precision", type=click.Choice(["auto", "bf16", "fp16", "fp32"]), default="auto", show_default=True,
                  help="auto takes bf16 where the hardware has it; fp32 is the network's exact output."),
    click.option("--mode", type=click.Choice(["paper", "deterministic", "stored"]),
                  help="paper keeps dropout on, seeded by seed and content; stored takes the norms' statistics of "
                       "training [default: the model's]."),
    click.option("--seed", type=click.IntRange(min=0, max=2**63 - 1), default=0, show_default=True,
                  help="Of the dropout in paper mode."),
    click.option("--overwrite", is_flag=True, help="Replace results that are there."),
    click.option("--skip-existing", is_flag=True, help="Keep results that are there: continues an interrupted run."),
    click.option("--keep-truncated", is_flag=True, help="Take what is there of files whose end is missing."),
    click.option("--keep-gps", is_flag=True, help="Leave the position in the EXIF of the results."),
    click.option("--shard", callback=shard, default="1/1", metavar="I/N", help="Do the I-th of N equal parts."),
    click.option("--max-memory", callback=memory, metavar="SIZE",
                  help="What one picture may take, such as 4G [default: what is free]."),
    click.option("--compare", is_flag=True, help="Also write input | result pairs, and a sheet of the first 24."),
    click.option("--gallery", is_flag=True, help="Also write OUT/gallery.html, a page that shows all pairs."),
    click.option("--json", "as_json", is_flag=True, help="One JSON line per input on standard output, and a summary."),
    click.option("-q", "--quiet", is_flag=True, help="Say only what went wrong."),
]  # fmt: skip


def shared(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command these options; it is called with model, inputs, its own options, and `options`."""

    @functools.wraps(command)
    def packed(**given: Any) -> int:
        mine = {field.name: given.pop(field.name) for field in fields(Options)}
        return command(options=Options(**mine), **given)

    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(OPTIONS), packed)


def execute(
    model: str, inputs: Sequence[str], options: Options, *, out: str, scale: float | None = None, enlarge: bool = False
) -> int:
    """Run a model over inputs.

    Args:
        out: the folder, unless the options name one.
        scale: of the results, where it is not the network's.
        enlarge: refuse networks that do not.

    Returns the exit code. Raises UserError.
    """
    from i2i.cli import tune_allocator

    if options.overwrite and options.skip_existing:
        raise UserError("--overwrite and --skip-existing exclude each other; take one of them")
    if "/" in options.suffix or "\\" in options.suffix:
        raise UserError(f"--suffix '{options.suffix}' goes into a file's name; it cannot hold a slash")
    tuned = tune_allocator()  # before torch makes its first large allocation
    from i2i import batchrun, memory, zoo
    from i2i.engine import Engine
    from i2i.inputs import plan

    memory.heap_is_kept = tuned

    def say(sentence: str) -> None:
        if not options.quiet:
            click.echo(sentence, err=True)

    model, chosen = zoo.pick(model, inputs)
    out = options.out or ("-" if chosen == ["-"] else out)
    if out == "-" and options.as_json:
        raise UserError("--json and the picture itself cannot both go to standard output; name a file with -o")
    if out == "-" and sys.stdout.isatty():
        raise UserError("a picture would fill the terminal; name a file with -o, or pipe it on")
    if out == "-" and (options.compare or options.gallery):
        raise UserError(f"--{'compare' if options.compare else 'gallery'} writes files; name a folder with -o")
    format = ALIASES.get(options.format or "", options.format)
    if chosen:
        plan(chosen, out, format=format, suffix=options.suffix)  # what is wrong is said before a model is fetched
    generator = zoo.load_generator(model, say=None if options.quiet else say)
    engine = Engine(generator, device=options.device, precision=options.precision, mode=options.mode, seed=options.seed,
                    batch=options.batch, tile=options.tile, memory=options.max_memory, say=say)  # fmt: skip
    if enlarge and (card := generator.card).scale == 1:  # type: ignore[union-attr]
        raise UserError(f"{model} does not enlarge ({card.a} -> {card.b}); "  # type: ignore[union-attr]
                        "run it with `i2i translate`, or name another model")  # fmt: skip
    if not chosen:
        described, chosen = zoo.samples(model)
        say(described)
    settings = batchrun.Settings(
        format=format,
        quality=options.quality,
        suffix=options.suffix,
        existing="skip" if options.skip_existing else "overwrite" if options.overwrite else "refuse",
        keep_truncated=options.keep_truncated,
        keep_gps=options.keep_gps,
        shard=options.shard,
        compare=options.compare,
        gallery=options.gallery,
        scale=scale,
        max_memory=options.max_memory,
    )

    def line(outcome: Outcome) -> str:
        """What standard output gets to read of an outcome."""
        if options.as_json:
            return json.dumps(vars(outcome))  # as ASCII: a file's name need not be UTF-8
        return outcome.output or "" if outcome.status == "written" and not options.quiet else ""

    try:
        with progress(options.quiet, line) as shown:
            report = batchrun.run(engine, chosen, out, settings, tell=shown.tell, step=shown.step, say=say)
    except KeyboardInterrupt:
        say("the same command with --skip-existing does the rest")
        raise
    if options.as_json:
        click.echo(json.dumps({"summary": report.dict()}))
    say(summary(report))
    return 1 if report.failed else 0


def summary(report: Report) -> str:
    """The last line."""
    parts = [f"{report.written} written"]
    parts += [f"{report.skipped} {'was' if report.skipped == 1 else 'were'} there already"] if report.skipped else []
    parts += [f"{report.failed} failed"] if report.failed else []
    rate = f", {speed(report.written, report.seconds)}" if report.written > 1 else ""
    where = "" if report.out == "-" else f" to {report.out}"
    sheet = f"; side by side in {report.sheet}" if report.sheet else ""
    page = f"; to look at in {report.gallery}" if report.gallery else ""
    return f"{', '.join(parts)}{where} in {report.seconds:.1f} s{rate}{sheet}{page}"


def speed(count: int, seconds: float) -> str:
    """Images per second, or seconds an image where that is the larger number."""
    rate = count / max(1e-9, seconds)
    return f"{rate:.1f} images/s" if rate >= 1 else f"{1 / rate:.1f} s an image"


def paced() -> Callable[[str, float], str]:
    """What says how far a large picture is, and how long the rest of it will take."""
    current, begun, before = "", 0.0, 0.0

    def said(source: str, done: float) -> str:
        nonlocal current, begun, before
        now = time.monotonic()
        if source != current or done < before:
            current, begun, before = source, now, done
        left = f", {(now - begun) / (done - before) * (1 - done):.0f} s left" if before < done < 1 else ""
        return f"{source}: {done:.0%}{left}"

    return said


class Shown(NamedTuple):
    """What shows how far a run is."""

    tell: Callable[[Outcome, int, int], None]  # of an input: what became of it, how many are done, how many there are
    step: Callable[[str, float], None]  # of a large picture: which, and what part of it is done


@contextmanager
def progress(quiet: bool, line: Callable[[Outcome], str]) -> Iterator[Shown]:
    """What shows each outcome: its `line` on standard output, if it is not empty; on standard error its failure and
    notes, and a bar on a terminal, or a line every few seconds elsewhere."""

    def fail(outcome: Outcome) -> str:
        return f"failed: {outcome.reason}" if outcome.status == "failed" else ""

    def note(outcome: Outcome) -> str:
        return f"{outcome.input}: {'; '.join(outcome.notes)}" if outcome.notes and not quiet else ""

    pace = paced()
    if quiet or not sys.stderr.isatty():
        started = last = time.monotonic()

        def plain(outcome: Outcome, done: int, total: int) -> None:
            nonlocal last
            for sentence in filter(None, (fail(outcome), note(outcome))):
                click.echo(sentence, err=True)
            if text := line(outcome):
                click.echo(text)
            now = time.monotonic()
            if not quiet and now - last >= EVERY and done < total:
                last, left = now, (now - started) / done * (total - done)
                click.echo(f"{done}/{total}, {speed(done, now - started)}, {left:.0f} s left", err=True)

        def part(source: str, done: float) -> None:
            nonlocal last
            now, text = time.monotonic(), pace(source, done)
            if not quiet and now - last >= max(EVERY, (now - started) / 20) and done < 1:
                last = now
                click.echo(text, err=True)

        yield Shown(plain, part)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    shared = sys.stdout.isatty()  # then what goes to standard output must not be written into the bar
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task, started = bar.add_task("", total=None, rate=""), time.monotonic()

        def live(outcome: Outcome, done: int, total: int) -> None:
            text = line(outcome)
            for sentence in filter(None, (fail(outcome), note(outcome), text if shared else "")):
                console.print(sentence, markup=False, highlight=False, soft_wrap=True)
            if text and not shared:
                click.echo(text)
            bar.update(task, completed=done, total=total, rate=speed(done, time.monotonic() - started))

        def lively(source: str, done: float) -> None:
            bar.update(task, rate=pace(source, done))

        yield Shown(live, lively)
