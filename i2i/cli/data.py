"""`i2i data`: fetch, look at, check and pack data sets."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from i2i.cli import datasets, folders
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
