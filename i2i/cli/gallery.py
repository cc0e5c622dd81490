"""`i2i gallery FOLDER_A FOLDER_B ... | RUN`: a page to look at."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

from i2i.errors import UserError

__all__ = ["gallery"]


@click.command()
@click.argument("folders", nargs=-1, metavar="FOLDER...")
@click.option("-o", "--out", default=None, help="The page [default: gallery.html here, or in the run's folder].")
@click.option("--label", "labels", multiple=True, help="Of a folder; once for each, in their order [default: names].")
@click.option("--overwrite", is_flag=True, help="Replace a page that is there.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="Say only what went wrong.")
def gallery(
    folders: tuple[str, ...], out: str | None, labels: tuple[str, ...], overwrite: bool, as_json: bool, quiet: bool
) -> int:
    """Write a page that shows the pictures of several folders side by side, or what a training run has made.

    Of several folders, the first is what the others are compared with; pictures belong together whose paths are equal
    but for the ending. Metrics are shown where a folder holds metrics.json. One FOLDER is that of a run: its sheets
    over time, and its losses. More than 200 rows go on further pages, OUT-2.html and so on. Exit code 1 if some
    pictures could not be read.
    """
    if not folders:
        raise UserError("which folders? name two or more to compare, as in `i2i gallery photos translated`, or a run")
    from i2i.data.folders import find
    from i2i.gallery import compare, is_run, of_run

    def say(sentence: str) -> None:
        if not quiet:
            click.echo(sentence, err=True)

    found = [find(folder) for folder in folders]
    for folder in found:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder; name a folder of pictures, or that of a run")
    run = found[0] if len(found) == 1 else None
    if run and not is_run(run):
        raise UserError(f"{run} is no run (it has neither journal.jsonl nor sheets/); name a second folder to compare "
                        "it with, or the folder of a run")  # fmt: skip
    if run and labels:
        raise UserError("--label names the columns of a comparison; a run has none")
    page = page_path(out, run)
    if run and not any((run / "sheets").glob("*.png")):
        say(f"{run} has no sheets yet: the page shows its losses alone")
    try:
        if run:
            made = of_run(run, page, overwrite=overwrite)
        else:
            made = compare(found, page, labels=labels, overwrite=overwrite, say=say, tell=counter(quiet))
    except OSError as error:
        raise UserError(f"{page} cannot be written: {error.strerror or error}; name another with -o", code=1) from None
    for reason in made.failed.values():
        click.echo(f"failed: {reason}", err=True)
    if as_json:
        facts = {"pages": list(map(str, made.pages)), "rows": made.rows, "failed": dict(made.failed),
                 "missing": list(map(str, made.missing))}  # fmt: skip
        click.echo(json.dumps(facts))
    elif not quiet:
        click.echo(os.fspath(page))
    more = f" on {len(made.pages)} pages" if len(made.pages) > 1 else ""
    size = sum(path.stat().st_size for path in made.pages) / 1e6
    what = "sheet" if run else "row"
    say(f"{made.rows} {what}{'' if made.rows == 1 else 's'}{more}, {size:.1f} MB")
    return 1 if made.failed else 0


def page_path(out: str | None, run: Path | None) -> Path:
    """Where the page goes. Raises UserError unless it ends as pages do: anything else was not meant to be one."""
    page = Path(out) if out else (run or Path()) / "gallery.html"
    if page.is_dir():
        return page / "gallery.html"
    if page.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"-o {page}: a page's name ends in .html; write {page.with_suffix('.html')}")
    return page


def counter(quiet: bool) -> Callable[[int, int], None]:
    """What shows how far it is, on a terminal."""

    def tell(done: int, total: int) -> None:
        if not quiet and sys.stderr.isatty() and (done % 10 == 0 or done == total):
            click.echo(f"\r{done}/{total}" + ("\n" if done == total else ""), nl=False, err=True)

    return tell
