"""`i2i train RECIPE [key=value ...]`: train, or continue training."""

from __future__ import annotations

import difflib
import errno
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from i2i.cli.completion import recipes as complete_recipes

if TYPE_CHECKING:
    from i2i.recipe import Recipe

__all__ = ["train"]

UNWRITABLE = (
    errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EFBIG, errno.EISDIR, errno.ENOSPC, errno.ENOTDIR, errno.EROFS
)  # fmt: skip
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def seconds(context: click.Context, option: click.Parameter, text: str | None) -> float | None:
    """ "90", "30m" or "1.5h" in seconds."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text)
    if not found:
        raise click.BadParameter(f"'{text}' is no duration; write 90s, 30m or 1.5h")
    return float(found[1]) * SECONDS[found[2]]


@click.command()
@click.argument("recipe", shell_complete=complete_recipes)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run [default: runs/RECIPE].")
@click.option("--dry-run", is_flag=True, help="Print the resolved recipe and stop.")
@click.option("--processes", type=click.IntRange(min=1), default=1, help="How many processes train together.")
@click.option("--stop-at", type=click.IntRange(min=1), metavar="IMAGES", help="Save and stop at this image.")
@click.option("--time-limit", callback=seconds, metavar="DURATION", help="Save and stop after 90s, 30m or 1.5h.")
@click.option("--device", type=click.Choice(["auto", "cpu"]), default="auto", show_default=True)
@click.option("--tensorboard", is_flag=True, help="Also log to OUT/tensorboard (extra 'log').")
@click.option("-q", "--quiet", is_flag=True, help="No progress lines.")
def train(
    recipe: str,
    overrides: tuple[str, ...],
    out: Path | None,
    dry_run: bool,
    processes: int,
    stop_at: int | None,
    time_limit: float | None,
    device: str,
    tensorboard: bool,
    quiet: bool,
) -> None:
    """Train RECIPE, a YAML file or the name of one that ships.

    KEY=VALUE overrides a line of it: game.cycle=5 training.batch=4. The same command again continues the run.
    """
    from i2i.cli import tune_allocator
    from i2i.recipe import build, load

    tune_allocator()
    loaded = load(recipe, overrides)
    if dry_run:
        click.echo(loaded.text(), nl=False)
        return
    if processes > 1 and "LOCAL_RANK" not in os.environ:
        from i2i.trainer import fitting

        data = build(loaded.data, seed=loaded.training.seed)  # what is wrong is said here once, not by every process
        fitting(build(loaded.game), data, loaded.training, processes)
        raise SystemExit(start(processes, device))
    run(
        loaded,
        out or Path("runs") / loaded.name,
        processes=processes,
        stop_at=stop_at,
        time_limit=time_limit,
        device=device,
        tensorboard=tensorboard,
        quiet=quiet,
    )


def start(processes: int, device: str) -> int:
    """This very command under torch.distributed.run, which starts the ranks; returns its exit code."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as launch

    if device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the ranks say themselves what is wrong
    try:
        launch(["--standalone", f"--nproc-per-node={processes}", "-m", "i2i", *sys.argv[1:]])
    except ChildFailedError as error:
        first = min(error.failures.values(), key=lambda failure: failure.timestamp)
        return first.exitcode if first.exitcode > 0 else 1
    except SignalException:
        return 130
    return 0


def run(
    recipe: Recipe,
    out: Path,
    *,
    processes: int = 1,
    stop_at: int | None = None,
    time_limit: float | None = None,
    device: str = "auto",
    tensorboard: bool = False,
    quiet: bool = False,
) -> None:
    """Train a loaded recipe in `out` and say where the generators are."""
    from i2i.errors import UserError
    from i2i.game import Origin
    from i2i.host import seeded
    from i2i.recipe import build
    from i2i.schedules import Purpose
    from i2i.trainer import Trainer

    kept = out / "recipe.yaml"
    data = build(recipe.data, seed=recipe.training.seed)
    with seeded(recipe.training.seed, Purpose.INIT):
        game = build(recipe.game)
    about = recipe.about
    origin = Origin(
        data=about.data,
        terms=about.terms,
        recipe=f"{recipe.name} {recipe.digest()}",
        commit=commit(),
        notes=about.notes,
        prepared=about.prepared or "",
    )
    try:
        trainer = Trainer(
            game,
            data,
            recipe.training,
            out,
            a=about.a,
            b=about.b,
            origin=origin,
            device=device,
            tensorboard=tensorboard,
            validation=recipe.validation,
        )
        if trainer.ranks != processes:
            raise UserError(f"{processes} processes were asked for, but {trainer.ranks} came up; see `i2i doctor`")
        if trainer.rank == 0:
            for line in changes(kept, recipe.text()):
                click.echo(line, err=True)
            kept.write_text(recipe.text())
        why = trainer.run(stop_at=stop_at, time_limit=time_limit, quiet=quiet)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise UserError(
            f"cannot write to {error.filename or out}: {os.strerror(error.errno)}; make room or name another folder "
            "with --out, and run the command again",
            code=1,
        ) from error
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        if "out of memory" in first or "can't allocate memory" in first:
            raise UserError(
                f"out of memory with {trainer.lane} images at once; set training.lane to a smaller divisor of "
                f"training.batch, or a smaller data.crop, and name a new folder with --out ({first})",
                code=1,
            ) from error
        if "DataLoader worker" in first:
            sentence = f"a process that reads the data has died ({first}); set training.workers=0"
            raise UserError(sentence, code=1) from error
        if trainer.clock.images:
            raise
        raise UserError(
            f"the networks do not fit the data or one another: {first}; compare channels, depth and sizes under `game` "
            "with data.channels and data.crop"
        ) from error
    if trainer.rank == 0:
        again = "" if why == "done" else f"; the same command continues ({why})"
        click.echo(f"{trainer.clock.images:,} of {recipe.training.images:,} images{again}")
        click.echo(str(out / "generators"))
    trainer.close()
    if why == "interrupted":
        raise KeyboardInterrupt


def changes(kept: Path, text: str) -> list[str]:
    """What to say where a run is continued with another recipe than the one it kept."""
    if not kept.exists() or kept.read_text() == text:
        return []
    lines = difflib.unified_diff(kept.read_text().splitlines(), text.splitlines(), n=0, lineterm="")
    changed = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return [f"the recipe has changed since this run was last continued ({kept}):", *changed]


def commit() -> str:
    """The commit of the i2i that trains, where it runs from a checkout; else its version."""
    from i2i import __version__

    folder = Path(__file__).parent
    found = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else f"i2i {__version__}"
