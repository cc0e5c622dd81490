"""`i2i models`: list, show, fetch, verify and export trained generators."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from i2i.cli import fetch_each
from i2i.cli.completion import models as complete_models
from i2i.errors import UserError

if TYPE_CHECKING:
    from i2i.game import Card, Part
    from i2i.zoo.published import Published

__all__ = ["models"]

SUMS = "SHA256SUMS"


@click.group()
def models() -> None:
    """Trained generators: what ships, what others have published, what a file holds, whether it is whole."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_models(as_json: bool) -> None:
    """List the models that ship, and those of other projects that can be fetched.

    \b
    ships     is part of i2i
    here      was fetched and converted
    to fetch  is fetched when it is first used, or by `i2i models get`
    not yet   this version cannot build its network
    """
    rows = list(_rows())
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        if as_json:
            click.echo(json.dumps(row))
            continue
        card, size = row["card"], f"{row['bytes'] / 1e6:.1f} MB" if row["bytes"] else "?"
        terms = card["origin"]["terms"] or "terms unknown"
        click.echo(f"{row['name']:{width}}  {row['state']:8}  {size:>7}  {card['a']} -> {card['b']}  ({terms})")


def _rows() -> Iterator[dict[str, Any]]:
    """What `list --json` prints of each model; of one that is not here, the card holds what is known of it."""
    from i2i.checkpoint import read_header
    from i2i.zoo import choice, find, names
    from i2i.zoo.convert import LAYOUTS
    from i2i.zoo.published import home, published

    ours = names()
    for name in choice():
        if name in ours or home(name).is_file():
            header, state = read_header(find(name)), "ships" if name in ours else "here"
            yield {"name": name, "state": state, "bytes": header.bytes, "card": asdict(header.card)}
        else:
            model = published()[name]
            card = {"a": model.a, "b": model.b, "origin": {"data": model.data, "terms": model.terms}}
            state = "to fetch" if model.layout in LAYOUTS else "not yet"
            yield {"name": name, "state": state, "bytes": model.bytes or None, "card": card, "address": model.address}


@models.command()
@click.argument("words", nargs=-1, required=True, metavar="MODEL", shell_complete=complete_models)
@click.option("--json", "as_json", is_flag=True, help="The card as JSON.")
def show(words: tuple[str, ...], as_json: bool) -> None:
    """Show what MODEL is, what it was trained on, and under which terms."""
    from i2i.checkpoint import read_header
    from i2i.game import Card
    from i2i.zoo import find, names, one
    from i2i.zoo.published import home, published

    model = one(words)
    if model in published() and model not in names() and not home(model).is_file():
        _show_published(published()[model], as_json)
        return
    path = find(model)
    header = read_header(path)
    if as_json:
        click.echo(json.dumps({"file": str(path), "spec": header.spec.node(), "card": asdict(header.card)}, indent=1))
        return
    card, origin = header.card, header.card.origin
    count = sum(_product(shape) for shape in header.shapes.values())
    trained = f"{origin.images:,} images in {origin.hours} h, seed {origin.seed}, on {origin.hardware}"
    side = f"{card.size}x{card.size} pixels"
    sizes, large = {
        "image": (
            f"any; padded to multiples of {card.multiple}, at least {card.minimum}; output x{card.scale}",
            _large(card),
        ),
        "latent": (f"draws {side}", ""),
        "classifier": (f"takes {side}", ""),
        "text": (f"reads {card.size} characters", ""),
    }[card.kind]
    _print(
        {
            "file": f"{path} ({header.bytes / 1e6:.1f} MB)",
            "network": f"{header.spec.of} {dict(header.spec.kwargs)}, {count / 1e6:.3f} M parameters",
            "direction": f"{card.a} -> {card.b}",
            "channels": f"{card.channels[0]} -> {card.channels[1]}, "
            f"values {card.value_range[0]} -> {card.value_range[1]}",
            "holds": " -> ".join(map(str, card.holds)) if card.holds != Card().holds else "",
            "latent": "; ".join(map(_part, card.latent)),
            "classes": ", ".join(card.classes),
            "sizes": sizes,
            "large": large,
            "modes": ", ".join(f"{mode} (default)" if mode == card.mode else mode for mode in card.modes),
            "data": origin.data,
            "terms": origin.terms,
            "recipe": origin.recipe,
            "trained": trained if origin.images else "",
            "commit": origin.commit,
            "figures": ", ".join(f"{name} {value:g}" for name, value in origin.figures.items()),
            "notes": origin.notes,
        }
    )


def _large(card: Card) -> str:
    """How a network of pictures takes large ones."""
    if longest := card.holds[0].longest:
        return f"shrunk to {longest} pixels, the colours enlarged"
    return "in bands of rows" if card.tiling == "never" else f"in tiles ({card.tiling})"


def _part(part: Part) -> str:
    """A part of a latent vector, in words."""
    if part.kind == "class":
        return f"{part.name}: one of {part.size} classes" + (f" ({', '.join(part.labels)})" if part.labels else "")
    drawn = {"normal": "N(0, 1)", "uniform": "U({:g}, {:g})".format(*part.span), "text": "what a text says"}[part.kind]
    return f"{part.name}: {part.size} numbers, {drawn}" if part.size > 1 else f"{part.name}: 1 number, {drawn}"


def _show_published(model: Published, as_json: bool) -> None:
    """What is known of a model that is not here yet."""
    from i2i.zoo.published import home, record

    before = record(model.name)
    if as_json:
        facts = {"file": None, "published": asdict(model), "record": asdict(before) if before else None}
        click.echo(json.dumps(facts, indent=1))
        return
    unknown = "unverified: no second source states one; the first download is noted"
    _print(
        {
            "file": f"not here yet; `i2i models get {model.name}` fetches it to {home(model.name)}",
            "address": model.address,
            "bytes": f"{model.bytes:,}" if model.bytes else "",
            "sha256": model.sha256 or (before.words() if before else unknown),
            "layout": model.layout,
            "direction": f"{model.a} -> {model.b}",
            "data": model.data,
            "terms": model.terms,
            "paper": model.paper,
        }
    )


def _print(facts: dict[str, str]) -> None:
    for name, fact in facts.items():
        if fact:
            click.echo(f"{name:10} {fact}")


@models.command()
@click.argument("name", nargs=-1, required=True)
@click.option("--again", is_flag=True, help="Fetch even what is here; a file that has changed since is refused.")
@click.option("-q", "--quiet", is_flag=True, help="Say only what went wrong.")
def get(name: tuple[str, ...], again: bool, quiet: bool) -> None:
    """Fetch and convert the published models NAME, and print where they are."""
    from i2i.download import announce
    from i2i.zoo import find, names
    from i2i.zoo.published import known, obtain

    for one in name:
        if one not in names():
            known(one)  # a mistake is named before anything is fetched
    say = None if quiet else announce
    fetch_each(name, lambda one: find(one) if one in names() else obtain(one, again=again, say=say), what="models")


@models.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--as", "name", metavar="NAME", help="The published model that it is.")
@click.option("--overwrite", is_flag=True, help="Replace the one that is here.")
def add(file: Path, name: str | None, overwrite: bool) -> None:
    """Keep FILE, which you have from elsewhere, as the published model NAME.

    Without a name: weights of a network that judges pictures (Inception, CLIP, DINOv2, the trunks of LPIPS), known by
    their checksum.
    """
    if name is None:
        from i2i.weights import add_weights

        click.echo(add_weights(file))
        return
    from i2i.zoo import published

    click.echo(published.add(name, file, overwrite=overwrite))


@models.command()
@click.argument("name")
@click.option("--forget", is_flag=True, help="Also the record of what was first seen: another file is taken then.")
def remove(name: str, forget: bool) -> None:
    """Remove the fetched model NAME; it can be fetched again."""
    from i2i.zoo import published

    there = published.remove(name, forget=forget)
    click.echo(f"{name} is removed" if there else f"{name} is not here", err=True)


@models.command()
@click.argument("model", nargs=-1, shell_complete=complete_models)
def verify(model: tuple[str, ...]) -> None:
    """Check models (default: all that ship or were fetched): header, shapes, checksum, and that they run."""
    import torch

    from i2i.checkpoint import digest
    from i2i.zoo import choice, find, load_generator, names
    from i2i.zoo.published import home

    chosen = model or [name for name in choice() if name in names() or home(name).is_file()]
    failed = 0
    for name in chosen:
        try:
            path = find(name)
            wanted, mend = _checksum(name, path)
            if wanted not in ("", digest(path)):
                raise UserError(f"{path} is not the file that it was (its sha256 differs); {mend}")
            network: Any = load_generator(name)
            card = network.card
            size, channels = card.size or max(card.minimum, card.multiple), card.channels[0]
            shapes = {"latent": (1, channels), "text": (1, size)}
            kind = torch.int64 if card.kind == "text" else torch.float32
            with torch.inference_mode():
                output = network(torch.zeros(shapes.get(card.kind, (1, channels, size, size)), dtype=kind))
            if not torch.isfinite(output).all():
                raise UserError(f"{path}: its output is not finite; train or fetch it again")
            click.echo(f"ok    {name}" + ("" if wanted else "  (no checksum is known for it)"))
        except UserError as error:
            failed += 1
            click.echo(f"wrong {name}: {error}")
    if failed:
        raise UserError(f"{failed} of {len(chosen)} models are not as they should be", code=1)


def _checksum(name: str, path: Path) -> tuple[str, str]:
    """The sha256 that a model's file must have, empty where none is known, and what to do when it has another."""
    from i2i.zoo import WEIGHTS
    from i2i.zoo.published import home, published, record

    if path.is_relative_to(WEIGHTS):
        lines = [line.split() for line in (WEIGHTS / SUMS).read_text().splitlines() if line]
        sums = {file: checksum for checksum, file in lines}
        return sums.get(path.relative_to(WEIGHTS).as_posix(), "none"), f"{SUMS} says so: install i2i again"
    if name in published() and path == home(name):
        noted = record(name)
        return noted.converted if noted else "", f"`i2i models get {name} --again` makes it anew"
    return "", ""


@models.command()
@click.argument("model", shell_complete=complete_models)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The file to write.")
@click.option("--dtype", type=click.Choice(["float32", "float16"]), default="float16", show_default=True)
@click.option("--figures", type=click.Path(path_type=Path, exists=True), help="JSON object of measured figures.")
def export(model: str, out: Path, dtype: str, figures: Path | None) -> None:
    """Write MODEL as another generator file: half the size, or with figures added to its card."""
    from dataclasses import replace

    import torch

    from i2i.checkpoint import save_generator
    from i2i.zoo import load_generator

    if out.exists():
        raise UserError(f"{out} is there already; remove it or name another file")
    network: Any = load_generator(model)
    card: Card = network.card
    if figures is not None:
        measured = json.loads(figures.read_text())
        card = replace(card, origin=replace(card.origin, figures={**card.origin.figures, **measured}))
    save_generator(out, network, network.spec, card, dtype=getattr(torch, dtype))
    click.echo(f"{out} ({out.stat().st_size / 1e6:.1f} MB)")


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
