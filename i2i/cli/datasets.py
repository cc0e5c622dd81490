"""`i2i data list`, `show` and `get`: data sets by name."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from i2i.cli import fetch_each
from i2i.cli.completion import data_sets as complete
from i2i.errors import UserError

if TYPE_CHECKING:
    from i2i.data.cards import DataCard

__all__ = ["get", "list_sets", "show"]


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_sets(as_json: bool) -> None:
    """List the data sets that are known by name.

    \b
    here      lies where folders are looked for
    to fetch  `i2i data get NAME` fetches it
    by hand   its owners ask for a registration: `i2i data show NAME` says where
    """
    from i2i.data.cards import cards

    width = max(map(len, cards()))
    for card in cards().values():
        if as_json:
            click.echo(json.dumps(facts(card)))
        else:
            click.echo(f"{card.name:{width}}  {state(card):8}  {card.size:>12}  {card.wing:16}  {card.title}")


def state(card: DataCard) -> str:
    """here, to fetch, or by hand."""
    from i2i.data.cards import here

    return "here" if here(card) else "by hand" if card.by_hand else "to fetch"


def facts(card: DataCard) -> dict[str, Any]:
    """What `--json` prints of a set."""
    from i2i.data.cards import here

    said = asdict(card) | {"state": state(card), "folder": str(here(card) or "") or None}
    said["arrange"] = card.arrange and card.arrange.node()
    return said


@click.command()
@click.argument("name", shell_complete=complete)
@click.option("--json", "as_json", is_flag=True, help="The card as JSON.")
def show(name: str, as_json: bool) -> None:
    """Show what the data set NAME is, whose it is, under which terms, and how a recipe reads it."""
    from i2i.data.cards import here, home, known
    from i2i.data.fetching import records

    card = known(name)
    seen = records(card)
    if as_json:
        click.echo(json.dumps(facts(card) | {"records": {key: asdict(one) for key, one in seen.items()}}, indent=1))
        return
    place = here(card)
    lines = {
        "what": card.title,
        "holds": card.holds,
        "where": str(place) if place else f"not here; `i2i data get {card.name}` puts it at {home(card)}",
        "origin": card.origin,
        "licence": card.licence,
        "citation": card.citation,
        "notes": card.notes,
    }
    for key, said in lines.items():
        if said:
            click.echo(f"{key:9} {said}")
    for file in card.files:
        source = " or ".join(file.addresses) or (f"Google Drive, {file.drive}" if file.drive else "by hand, see origin")
        summed = f"sha256 {file.sha256}" if file.sha256 else "unverified: no two sources state a checksum"
        click.echo(f"{'file':9} {file.name}, {file.size}, {summed}\n{'':9} {source}")
        if file.name in seen and not file.sha256:
            click.echo(f"{'':9} {seen[file.name].words()}")
    for folder, said in card.layout.items():
        click.echo(f"{'layout':9} {folder}: {said}")
    click.echo("data:\n" + "\n".join(f"  {line}" for line in card.recipe.splitlines()))


@click.command()
@click.argument("name", nargs=-1, required=True, shell_complete=complete)
@click.option("-o", "--into", type=click.Path(path_type=Path), help="The folder to put it in [default: $I2I_DATA, else ./datasets].")  # fmt: skip # noqa: E501
@click.option("--from", "given", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="A file of it that you have; repeatable.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Fetch and replace it if it is there.")
@click.option("--keep", is_flag=True, help="Leave the archives in the cache.")
@click.option("--forget", is_flag=True, help="Forget first which files came the first time: others are taken then.")
@click.option("-q", "--quiet", is_flag=True, help="Say only what went wrong.")
def get(
    name: tuple[str, ...],
    into: Path | None,
    given: tuple[Path, ...],
    overwrite: bool,
    keep: bool,
    forget: bool,
    quiet: bool,
) -> None:
    """Fetch the data sets NAME, unpack them, and print where they are.

    An interrupted download goes on when the command is given again. $I2I_MIRROR, an address or a folder with
    NAME/FILE, is asked first.
    """
    from i2i.data import fetching
    from i2i.data.cards import known
    from i2i.download import announce

    for one in name:
        known(one)  # a mistake is named before anything is fetched
    if given and len(name) > 1:
        raise UserError("--from names files of one data set; name that one alone")
    say = None if quiet else announce

    def fetch(one: str) -> Path:
        if forget:
            fetching.forget(one)
        return fetching.get(one, into=into, given=given, overwrite=overwrite, keep=keep, say=say)

    fetch_each(name, fetch, what="data sets")
