"""`i2i data`: fetch, look at, check and pack data sets."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click

from i2i.cli import datasets, folders
from i2i.cli.completion import recipes as complete_recipes
from i2i.errors import UserError

__all__ = ["data"]

PREPROCESSES = ("resize+crop", "crop", "scale-width", "scale-width+crop", "none")


@click.group()
def data() -> None:
    """Fetch, look at, check, split and pack data sets."""


for command in (
    datasets.list_sets, datasets.show, datasets.get,
    folders.check, folders.pair, folders.split, folders.pack, folders.stats,
):  # fmt: skip
    data.add_command(command)


@data.command()
@click.argument("recipe", shell_complete=complete_recipes)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The sheet to write, a PNG.")
@click.option("--rows", default=4, show_default=True, type=click.IntRange(1, 64), help="Samples on the sheet.")
@click.option("--first", default=0, type=click.IntRange(min=0), help="Position of the first of them in training.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--overwrite", is_flag=True, help="Replace the sheet if it is there.")
@click.option("--json", "as_json", is_flag=True, help="Columns and costs as one JSON object.")
def preview(
    recipe: str,
    overrides: tuple[str, ...],
    out: Path,
    rows: int,
    first: int,
    device: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Draw what a network will see that RECIPE trains: its samples behind each step that changes them.

    A row of the sheet is a sample, a column a step; the steps and what each costs are printed in their order.
    """
    from i2i.data.preview import preview as look
    from i2i.images import Picture, write
    from i2i.recipe import load

    if out.suffix.lower() != ".png":
        raise UserError(f"-o {out}: the sheet is a PNG; write {out.with_suffix('.png')}")
    if out.exists() and not overwrite:
        raise UserError(f"{out} is there already; choose another name, or replace it with --overwrite")
    found = look(load(recipe, overrides), rows=rows, first=first, device=device)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write(Picture(found.sheet), out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}; choose another folder with -o", code=1) from None
    if as_json:
        costs = [{"step": step.strip(), "part": step.startswith(" "), "milliseconds": round(cost, 3)}
                 for step, cost in found.costs.items()]  # fmt: skip
        click.echo(json.dumps({"sheet": str(out), "columns": found.columns, "costs": costs, "notes": found.notes}))
        return
    for step, cost in found.costs.items():
        click.echo(f"{cost:9.2f} ms a sample  {step}")
    click.echo(f"{out}: {rows} samples; columns: {', '.join(found.columns)}")
    for note in found.notes:
        click.echo(note, err=True)


@data.command()
@click.argument("source")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The file to write.")
@click.option("--size", default=286, show_default=True, help="Width, and for resize+crop also height, in pixels.")
@click.option(
    "--layout",
    type=click.Choice(["side-by-side", "folders", "single"]),
    default="side-by-side",
    show_default=True,
    help="Pairs in one image, pairs in two folders, or single pictures (one side of an unpaired set).",
)
@click.option("--a", help="With --layout folders: the folder of A below SOURCE.")
@click.option("--b", help="With --layout folders: the folder of B below SOURCE.")
@click.option(
    "--preprocess",
    type=click.Choice(PREPROCESSES),
    default="resize+crop",
    show_default=True,
    help="The preprocess that training will use: its resizing is done now, its crop is drawn then.",
)
@click.option(
    "--error",
    default=1,
    show_default=True,
    type=click.IntRange(0, 16),
    help="Levels by which an 8-bit value may differ; 0 packs without loss, into a file larger by a third.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
def cache(
    source: str,
    out: Path,
    size: int,
    layout: str,
    a: str | None,
    b: str | None,
    preprocess: str,
    error: int,
    overwrite: bool,
) -> None:
    """Pack the pictures of the folder SOURCE into one file, resized once.

    The file trains elsewhere without the originals: name it in a recipe in the place of the folder.
    """
    from i2i.data.cache import pack
    from i2i.data.folders import find, scan
    from i2i.data.resize import fit
    from i2i.data.sources import Singles, Source, pairs_in

    if size < 1:
        raise UserError(f"size {size} must be at least 1 pixel")
    if out.is_dir():
        raise UserError(f"{out} is a folder; name the file to write with -o")
    if out.exists() and not overwrite:
        raise UserError(f"{out} is there already; choose another name, or replace it with --overwrite")
    root = find(source)
    pictures: Source = Singles(scan(root)) if layout == "single" else pairs_in(root, layout, a, b)[0]
    begun = told = time.monotonic()

    def progress(done: int) -> None:
        nonlocal told
        if time.monotonic() - told > 5:
            told = time.monotonic()
            print(f"{done} of {len(pictures)} packed", file=sys.stderr, flush=True)

    about = {"preprocess": preprocess, "load": str(size)}
    written = pack(pictures, out, lambda p: fit(p, preprocess, size), about=about, error=error, progress=progress)
    kind = "pictures" if layout == "single" else "pairs"
    print(f"{out}: {len(pictures)} {kind}, {written / 2**20:.1f} MiB, in {time.monotonic() - begun:.0f} s")
