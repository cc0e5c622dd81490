"""`i2i models`: list, show, verify and export trained generators."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from i2i.game import Card

__all__ = ["models"]

SUMS = "SHA256SUMS"


@click.group()
def models() -> None:
    """Trained generators: what ships, what a file holds, whether it is whole."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_models(as_json: bool) -> None:
    """List the models that ship."""
    from i2i.checkpoint import read_header
    from i2i.zoo import find, names

    rows = [(name, read_header(find(name))) for name in names()]
    width = max((len(name) for name, _ in rows), default=0)
    for name, header in rows:
        card = header.card
        if as_json:
            click.echo(json.dumps({"name": name, "bytes": header.bytes, "card": asdict(card)}))
        else:
            size = f"{header.bytes / 1e6:.1f} MB"
            click.echo(f"{name:{width}}  {size:>7}  {card.a} -> {card.b}  ({card.origin.terms or 'terms unknown'})")


@models.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="The card as JSON.")
def show(model: str, as_json: bool) -> None:
    """Show what MODEL is, what it was trained on, and under which terms."""
    from i2i.checkpoint import read_header
    from i2i.zoo import find

    path = find(model)
    header = read_header(path)
    if as_json:
        click.echo(json.dumps({"file": str(path), "spec": header.spec.node(), "card": asdict(header.card)}, indent=1))
        return
    card, origin = header.card, header.card.origin
    count = sum(_product(shape) for shape in header.shapes.values())
    facts = {
        "file": f"{path} ({header.bytes / 1e6:.1f} MB)",
        "network": f"{header.spec.of} {dict(header.spec.kwargs)}, {count / 1e6:.3f} M parameters",
        "direction": f"{card.a} -> {card.b}",
        "channels": f"{card.channels[0]} -> {card.channels[1]}, values {card.value_range[0]} -> {card.value_range[1]}",
        "sizes": f"any; padded to multiples of {card.multiple}, at least {card.minimum}; output x{card.scale}",
        "tiling": card.tiling,
        "modes": ", ".join(f"{mode} (default)" if mode == card.mode else mode for mode in card.modes),
        "data": origin.data,
        "terms": origin.terms,
        "recipe": origin.recipe,
        "trained": f"{origin.images:,} images in {origin.hours} h, seed {origin.seed}, on {origin.hardware}",
        "commit": origin.commit,
        "figures": ", ".join(f"{name} {value:g}" for name, value in origin.figures.items()),
        "notes": origin.notes,
    }
    for name, fact in facts.items():
        if fact:
            click.echo(f"{name:10} {fact}")


@models.command()
@click.argument("model", nargs=-1)
def verify(model: tuple[str, ...]) -> None:
    """Check models (default: all that ship): header, shapes, checksum, and that they run."""
    import torch

    from i2i.checkpoint import digest
    from i2i.errors import UserError
    from i2i.zoo import WEIGHTS, find, load_generator, names

    lines = [line.split() for line in (WEIGHTS / SUMS).read_text().splitlines() if line]
    sums = {name: checksum for checksum, name in lines}
    failed = 0
    for name in model or names():
        try:
            path = find(name)
            key = path.relative_to(WEIGHTS).as_posix() if path.is_relative_to(WEIGHTS) else ""
            if key and sums.get(key) != digest(path):
                raise UserError(f"{path} is not the file that shipped (sha256 differs from {SUMS}); install i2i again")
            network: Any = load_generator(name)
            card = network.card
            size = max(card.minimum, card.multiple)
            with torch.inference_mode():
                output = network(torch.zeros(1, card.channels[0], size, size))
            if not torch.isfinite(output).all():
                raise UserError(f"{path}: its output is not finite; train or fetch it again")
            click.echo(f"ok    {name}" + ("" if key else "  (no checksum is known for it)"))
        except UserError as error:
            failed += 1
            click.echo(f"wrong {name}: {error}")
    if failed:
        raise UserError(f"{failed} of {len(model or names())} models are not as they should be", code=1)


@models.command()
@click.argument("model")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The file to write.")
@click.option("--dtype", type=click.Choice(["float32", "float16"]), default="float16", show_default=True)
@click.option("--figures", type=click.Path(path_type=Path, exists=True), help="JSON object of measured figures.")
def export(model: str, out: Path, dtype: str, figures: Path | None) -> None:
    """Write MODEL as another generator file: half the size, or with figures added to its card."""
    from dataclasses import replace

    import torch

    from i2i.checkpoint import save_generator
    from i2i.errors import UserError
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
