"""`i2i new FOLDER`: look at a folder of pictures and write a recipe that trains on them."""

from __future__ import annotations

import math
import os
import re
import shlex
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import click

from i2i.cli.completion import folders as complete_folders
from i2i.errors import UserError

if TYPE_CHECKING:
    from i2i.draft import Draft, Machine, Pace
    from i2i.trainer import Trainer

__all__ = ["new"]

PATIENCE = 8.0  # seconds of measuring after which no larger network is tried
SLOW = 4.0  # seconds of two steps that are enough
BUSY = 0.75  # programs that compute, a processor, from which others are in the way
LONG = 1.0  # seconds that a first step may take longer than four others


def directed(context: click.Context, option: click.Parameter, text: str) -> str:
    """AtoB or a2b as "a2b"."""
    found = re.fullmatch(r"(a)(?:2|to)(b)|(b)(?:2|to)(a)", text.lower())
    if not found:
        raise click.BadParameter(f"'{text}' is no direction; write AtoB or BtoA")
    return "a2b" if found[1] else "b2a"


def timed(context: click.Context, option: click.Parameter, text: str) -> float:
    """A duration of `i2i train` in seconds, above zero."""
    from i2i.cli.train import seconds

    found = seconds(context, option, text)
    if not found:
        raise click.BadParameter(f"'{text}' is no time to train in; write 30m or 8h")
    return found


@click.command()
@click.argument("folder", shell_complete=complete_folders)
@click.option("--game", metavar="NAME", help="pix2pix, cyclegan or srgan [default: what the pictures permit].")
@click.option("-o", "--out", help="The recipe to write, or - for standard output [default: GAME-FOLDER.yaml].")
@click.option("--direction", callback=directed, default="AtoB", show_default=True, help="AtoB or BtoA, of pairs.")
@click.option("--name", help="Of the recipe and its run [default: GAME-FOLDER].")
@click.option("--images", type=click.IntRange(min=1), help="Length of the training [default: what fits in --time].")
@click.option("--time", "limit", callback=timed, default="8h", show_default=True, metavar="DURATION",
              help="How long training may take on this machine: 30m, 8h.")  # fmt: skip
@click.option("--a", help="The folder of A below FOLDER, where there are more than two.")
@click.option("--b", help="The folder of B below FOLDER.")
@click.option("--overwrite", is_flag=True, help="Replace the recipe if it is there.")
def new(
    folder: str,
    game: str | None,
    out: str | None,
    direction: str,
    name: str | None,
    images: int | None,
    limit: float,
    a: str | None,
    b: str | None,
    overwrite: bool,
) -> None:
    """Look at the pictures in FOLDER, say what they are, and write a recipe that trains on them.

    Pairs side by side in one file, pairs in two folders, two folders without pairs, or one folder of pictures. A few
    steps of training are measured, and the networks are made as large as this machine can train in the time.
    """
    from i2i.cli import tune_allocator

    tune_allocator()  # as training does: it decides the speed
    from i2i import draft
    from i2i.data.survey import survey

    if name and not re.fullmatch(r"\w[\w.-]*", name):
        raise UserError(f"a recipe's name has letters, digits, '-', '_' and '.'; '{name}' has others")
    if out and out != "-":
        check_free(Path(out), overwrite)
    if game:
        draft.known(game)

    def say(sentence: str) -> None:
        click.echo(sentence, err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's about files that are said to be damaged anyway
        found = survey(folder, a=a, b=b, together=game == "srgan", tell=say)
    for line in found.lines():
        say(line)
    game = draft.pick(found, game)
    name = name or draft.named(game, found.root)
    file = None if out == "-" else Path(out or f"{name}.yaml")
    if file:
        check_free(file, overwrite)
    here = machine()
    sizes = draft.fitting(found, game)
    begun = draft.Draft(found, game, sizes[0], here, name, direction)
    if direction == "b2a" and game == "cyclegan":
        say("CycleGAN learns both directions: B to A will be generators/b2a.safetensors")
    say(f"measuring a few steps on {here.name} ...")
    started = time.monotonic()

    tried: list[Pace | None] = [None]

    def measure(size: draft.Size) -> Pace | None:
        if tried[-1] and time.monotonic() - started > PATIENCE:
            return None
        tried.append(measured(replace(begun, size=size, pace=tried[-1])))
        return tried[-1]

    size, speed, count = draft.choose(
        sizes, measure, game=game, epoch=found.count, seconds=limit, images=images, memory=here.memory
    )
    done = replace(begun, size=size, pace=speed, images=count)
    text = done.text()
    paper = "the paper's size" if size == done.full else "smaller than the paper's"
    for line in done.remarks():
        say(f"  {line}")
    say(f"{game}, {paper}: width {size.width}, crops of {done.frame.crop} pixels; {done.estimate()}")
    needed = speed.seconds(draft.GAMES[game].enough, found.count)
    if count < draft.GAMES[game].enough and images is None:
        say(f"the time is short: {draft.GAMES[game].enough:,} images make a fair result; --time {needed / 3600:.0f}h")
    elif speed.seconds(count, found.count) > limit * 1.05:
        say(f"that is longer than the {draft.duration(limit)} of --time: take fewer --images")
    if file is None:
        click.echo(text, nl=False)
        return
    write(file, text)
    click.echo(str(file))
    for line in following(done, file):
        say(line)


def check_free(file: Path, overwrite: bool) -> None:
    """Raise UserError if a recipe cannot be written there."""
    if file.is_dir():
        raise UserError(f"{file} is a folder; name the recipe to write with -o")
    if not file.absolute().parent.is_dir():
        raise UserError(f"there is no folder {file.parent} for the recipe; make it, or name another with -o")
    if file.exists() and not overwrite:
        raise UserError(f"{file} is there already; name another with -o, or replace it with --overwrite")


def write(file: Path, text: str) -> None:
    """Write the recipe, whole or not at all."""
    from i2i.checkpoint import write_atomically

    def fill(part: Path) -> None:
        part.write_text(text, encoding="utf-8")

    try:
        write_atomically(file, fill)
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}; name another with -o", code=1) from error


def machine() -> Machine:
    """What `i2i train` would run on."""
    import torch

    from i2i.draft import Machine
    from i2i.engine import fast_bf16
    from i2i.host import processor
    from i2i.memory import free_memory

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads, host = torch.get_num_threads(), free_memory(torch.device("cpu"))
    if torch.cuda.is_available():
        device = torch.device("cuda")
        name = f"{torch.cuda.get_device_name(0)}, {torch.cuda.get_device_properties(0).total_memory / 2**30:.0f} GiB"
        return Machine(name, "cuda", cores, threads, free_memory(device), host, fast_bf16(device))
    if torch.backends.mps.is_available():
        return Machine("Apple GPU", "mps", cores, threads, host, host, False)
    bf16 = fast_bf16(torch.device("cpu"))
    name = f"{processor()}, {threads} thread{'s' if threads != 1 else ''}, {'bf16' if bf16 else 'no bf16 units'}"
    busy = hasattr(os, "getloadavg") and os.getloadavg()[0] > BUSY * cores  # the mean of the last minute
    return Machine(name, "cpu", cores, threads, host, host, bf16, busy)


def measured(draft: Draft) -> Pace | None:
    """The pace of a draft: the recipe itself, trained for a few steps in a folder that is thrown away.

    A processor's threads are doubled, from those that a smaller size took, while that is faster: those of a small
    network, or beside other programs, only wait for one another. None where the memory does not suffice.
    """
    import torch

    from i2i import recipe
    from i2i.data.stream import Stream
    from i2i.draft import Pace
    from i2i.host import seeded
    from i2i.trainer import Trainer

    with tempfile.TemporaryDirectory(prefix="i2i-new-") as folder, seeded(0):
        file = Path(folder) / "recipe.yaml"
        file.write_text(draft.text(), encoding="utf-8")
        loaded = recipe.load(file, ["training.workers=0"])
        data = recipe.build(loaded.data, seed=0)
        try:
            trainer = Trainer(recipe.build(loaded.game), data, loaded.training, Path(folder), say=lambda said: None)
            trainer.enter(0)
            batches = iter(Stream(data, batch=trainer.batch))
            count = draft.pace.threads if draft.pace and draft.pace.threads else 1
            count = count if trainer.device.type == "cpu" else draft.machine.threads
            best = Pace(*pace(trainer, batches, count), count if count < draft.machine.threads else None)
            while 2 * count <= draft.machine.threads and not draft.machine.busy:
                count *= 2
                step, read = pace(trainer, batches, count, limit=LONG + 4 * best.step)
                if step > 0.95 * best.step:
                    break
                best = Pace(step, read, count if count < draft.machine.threads else None)
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, MemoryError) or re.search("out of memory|can't allocate memory", str(error)):
                return None
            raise
    if trainer.device.type == "cuda":
        torch.cuda.empty_cache()
    return best


def pace(
    trainer: Trainer, batches: Iterator[tuple[int, Any]], count: int, *, limit: float = math.inf
) -> tuple[float, float]:
    """Seconds an image of a step and of reading with so many threads: the mean of two after one to get warm.

    Infinity where the first takes longer than `limit` seconds.
    """
    import torch

    from i2i.host import threads

    steps: list[float] = []
    reads: list[float] = []
    with threads(count):
        while len(steps) < 3 and not (len(steps) == 2 and sum(steps) > SLOW):
            begun = time.perf_counter()
            drawn = next(batches)
            read = time.perf_counter()
            trainer.step(drawn)
            if trainer.device.type == "cuda":
                torch.cuda.synchronize()
            reads.append(read - begun)
            steps.append(time.perf_counter() - read)
            if steps[0] > limit:
                return math.inf, math.inf
    return mean(steps[1:]) / trainer.batch, mean(reads) / trainer.batch


def following(draft: Draft, file: Path) -> list[str]:
    """The commands that come next."""
    from i2i.cli import COMMANDS

    run, recipe = f"runs/{draft.name}", shlex.quote(str(file))
    commands = [
        (f"i2i train {recipe}", "stops when you stop it; again: continues"),
        (f"ls {run}/sheets", "pictures, as training goes on"),
        (f"i2i gallery {run} -o {draft.name}.html", "the same as a page, with the losses"),
        (f"i2i translate --model {run}/generators/a2b.safetensors PHOTOS -o out", "from the first checkpoint on"),
    ]
    known = [command for command in commands if command[0].split()[1] in COMMANDS or command[0].startswith("ls")]
    width = max(len(text) for text, _ in known)
    return ["next:", *(f"  {text:<{width}}  # {why}" for text, why in known)]
