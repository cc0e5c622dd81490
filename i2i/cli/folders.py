"""`i2i data check`, `pair`, `split`, `pack` and `stats`: what is done with folders of pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from i2i.cli.completion import folders as complete
from i2i.cli.running import memory
from i2i.errors import UserError

__all__ = ["check", "pack", "pair", "split", "stats"]


def told(what: str) -> Callable[[int, int], None]:
    """What says every few seconds how many of how many are done."""
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > 5 and done < total:
            last = time.monotonic()
            click.echo(f"{done:,} of {total:,} {what}", err=True)

    return tell


def folder_in(path: str) -> Path:
    """The folder that is meant, looked for where data sets are."""
    from i2i.data.folders import find

    found = find(path)
    if found.is_file():
        raise UserError(f"{found} is a file; name the folder that your pictures lie in")
    return found


@click.command()
@click.argument("path", shell_complete=complete)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--most", default=10, show_default=True, type=click.IntRange(min=0), help="Files named of each problem.")
def check(path: str, as_json: bool, most: int) -> None:
    """Look at every file in the folder PATH, and say what is wrong.

    Counts and sizes; damaged files; files that are there twice; pictures without a partner or of another size than it;
    and pictures of one split that are in another, too: re-encoded, resized, mirrored, a little brighter or cropped.
    The exit code is 1 where something is wrong.
    """
    from i2i.data.checking import check as run

    found = run(path, progress=told("files looked at"))
    click.echo(json.dumps(found.facts(), indent=1) if as_json else "\n".join(found.lines(most)))
    if found.problems:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("a", shell_complete=complete)
@click.argument("b", shell_complete=complete)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--align", type=click.Choice(["auto", "resize", "views", "none"]), default="auto", show_default=True,
              help="How B is fitted to A: reduced to one size, moved where it is another view, or not.")  # fmt: skip
@click.option("--layout", type=click.Choice(["side-by-side", "folders"]), default="side-by-side", show_default=True,
              help="Both in one file, A left; or OUT/A and OUT/B.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace OUT if it is there.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a pair on standard output.")
def pair(a: str, b: str, out: Path, align: Any, layout: Any, overwrite: bool, as_json: bool) -> None:
    """Make pairs of the pictures in the folders A and B that have equal names, and write them to the folder OUT.

    \b
    auto    as they are where they have one size; the larger reduced where they have one shape; else views
    views   B is moved onto A by a homography (ORB features, then ECC), and both are cut to what they share
    """
    from i2i.data.pairing import pair as run

    done, orphans = run(
        folder_in(a), folder_in(b), out, align=align, layout=layout, overwrite=overwrite, progress=told("pairs made")
    )
    for each in done:
        if as_json:
            click.echo(json.dumps(asdict(each)))
        elif each.wrong:
            click.echo(f"i2i: {each.name}: {each.wrong}", err=True)
    failed = sum(bool(each.wrong) for each in done)
    if not as_json:
        ways: dict[str, int] = {}
        for each in done:
            if not each.wrong:
                ways[each.way] = ways.get(each.way, 0) + 1
        kinds = ", ".join(f"{count:,} {way}" for way, count in ways.items())
        left = f"; {len(orphans):,} without a partner were left out" if orphans else ""
        click.echo(f"{out}: {len(done) - failed:,} pairs ({kinds}){left}")
    if failed:
        raise UserError(f"{failed} of {len(done)} pairs could not be made", code=1)


def share(context: click.Context, option: click.Parameter, text: str) -> float:
    """A share: 0.1 or 10%."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise click.BadParameter(f"'{text}' is no share; write 0.1 or 10%") from None


@click.command()
@click.argument("path", shell_complete=complete)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The folder to write.")
@click.option("--val", callback=share, default="0", show_default=True, help="Share for validation: 0.1 or 10%.")
@click.option("--test", callback=share, default="10%", show_default=True, help="Share for testing.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Another one deals otherwise.")
@click.option("--link", is_flag=True, help="Hard links in the place of copies, where the disk allows.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it is there.")
def split(path: str, out: Path, val: float, test: float, seed: int, link: bool, overwrite: bool) -> None:
    """Deal the pictures of the folder PATH out to train, val and test in another folder.

    What belongs together stays together: partners in folders A and B, captions, labels, and files of equal bytes.
    """
    from i2i.data.splitting import split as run

    counts = run(
        folder_in(path), out, val=val, test=test, seed=seed, link=link, overwrite=overwrite, progress=told("files")
    )
    click.echo(f"{out}: {', '.join(f'{count:,} {name}' for name, count in counts.items())}")


@click.command()
@click.argument("path", shell_complete=complete)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The folder to write.")
@click.option("--size", callback=memory, default="512M", show_default=True, help="Bytes after which another shard begins.")  # fmt: skip # noqa: E501
@click.option("--overwrite", is_flag=True, help="Replace OUT if it is there.")
def pack(path: str, out: Path, size: int, overwrite: bool) -> None:
    """Pack all that lies in the folder PATH into tar files that stand in its place.

    A recipe reads OUT/train where it read PATH/train, in the same order. The files are as they were, under names that
    webdataset understands.
    """
    from i2i.data.packing import pack as run

    begun = time.monotonic()
    pictures, shards, count = run(folder_in(path), out, size=size, overwrite=overwrite, progress=told("samples packed"))
    took = time.monotonic() - begun
    click.echo(f"{out}: {pictures:,} pictures in {shards:,} shards, {count / 1e6:,.1f} MB, in {took:.0f} s")


@click.command()
@click.argument("path", shell_complete=complete)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each split and side.")
def stats(path: str, as_json: bool) -> None:
    """Print figures of the pictures in the folder PATH: sizes, means and deviations of the channels, contrast."""
    from i2i.data.statistics import stats as run

    for figures in run(path, progress=told("pictures measured")):
        click.echo(json.dumps(asdict(figures)) if as_json else "\n".join(figures.lines()))
