"""`i2i inspect MODEL`: layers, parameters, FLOPs, receptive field; filters and features as pictures; the probe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from i2i.cli.completion import models as complete_models
from i2i.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from i2i.game import Card
    from i2i.inspection import Inspection

__all__ = ["inspect"]


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="MODEL", shell_complete=complete_models)
@click.option(
    "--size",
    type=click.IntRange(min=1),
    metavar="N",
    help="Side of the picture that operations are counted for [default: the model's own, or 256].",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write filters.png and, of each layer, what it makes of an input.",
)
@click.option("--input", "given", metavar="IMAGE", help="What the features are shown of [default: one that ships].")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of a latent vector whose features are shown; of the pictures that --probe takes.",
)
@click.option(
    "--probe",
    "data",
    metavar="DATA",
    help="Tell the classes of DATA by a discriminator's features, linearly (extra 'inspect').",
)
@click.option(
    "--samples",
    type=click.IntRange(min=100),
    default=5000,
    show_default=True,
    help="Pictures that --probe learns from; it is tested on up to 10,000.",
)
@click.option("--overwrite", is_flag=True, help="Replace pictures that are there.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output instead of the tables.")
def inspect(
    words: tuple[str, ...],
    size: int | None,
    out: Path | None,
    given: str | None,
    seed: int,
    data: str | None,
    samples: int,
    overwrite: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Show what MODEL, a generator or discriminator, is made of and what it looks at.

    \b
    i2i inspect cyclegan/map2aerial
    i2i inspect srresnet/x4 -o filters --input photo.jpg
    i2i inspect runs/dcgan/generators/discriminator.safetensors --probe mnist/raw

    FLOPs are two for each multiply-add of convolutions and matrix products. A layer "sees" so many pixels a side, norms
    aside. Where a network's operations are all known that is reckoned, else tried.
    """
    from i2i.cli import tune_allocator
    from i2i.inspection import inspect as look
    from i2i.inspection import probe
    from i2i.zoo import load_generator, one

    tune_allocator()
    model = one(words)
    if given and not out:
        raise UserError("--input shows features as pictures; name the folder for them with -o")
    if out and out.exists() and (not out.is_dir() or (any(out.iterdir()) and not overwrite)):
        raise UserError(f"{out} is there already; choose another folder, or replace what is in it with --overwrite")
    network: Any = load_generator(model)
    card: Card = network.card
    found = look(network, card, size=size)
    asked = probe(network, card, data, samples=samples, seed=seed) if data else None
    report = {"model": model, "network": network.spec.of, "kind": card.kind} | asdict(found)
    if found.field:
        report["field"] |= {"whole": found.field.whole}
    if not as_json:
        for line in described(found, model, network.spec.of, card):
            click.echo(line)
    files = drawn(network, card, model, given, seed, out) if out else []
    if asked:
        protocol, rows = asked
        report["probe"] = {"protocol": protocol, "rows": []}
        if not as_json:
            click.echo(f"\nprobe: {protocol}\n{'features of':<20}  {'numbers':>8}  {'accuracy':>8}  {'C':>6}")
        for row in rows:
            report["probe"]["rows"].append(row._asdict())
            if not as_json:
                click.echo(f"{row.name:<20}  {row.numbers:>8,}  {row.accuracy:>8.2%}  {row.cost:>6g}")
    if as_json:
        click.echo(json.dumps(report | {"files": list(map(str, files))}))
    elif out:
        click.echo(f"{len(files)} picture{'s' * (len(files) != 1)} in {out}", err=True)


def described(found: Inspection, model: str, network: str, card: Card) -> Iterator[str]:
    """Text lines: a table of layers, then what is said of the whole."""
    width = max(len(layer.name or "(itself)") for layer in found.layers)
    kinds = max(len(layer.kind) for layer in found.layers)
    yield f"{'layer':{width}}  {'kind':{kinds}}  {'output':>15}  {'parameters':>11}  {'FLOPs':>8}  {'sees':>5}"
    for layer in found.layers:
        shape = " x ".join(map(str, layer.shape)) if layer.shape else "not used"
        yield (
            f"{layer.name or '(itself)':{width}}  {layer.kind:{kinds}}  {shape:>15}  {layer.parameters or '':>11}  "
            f"{amount(layer.flops) if layer.flops else '':>8}  {'' if layer.sees is None else layer.sees:>5}"
        )
    yield ""
    yield f"{'model':11} {model} ({network.partition(':')[2]}, {card.kind})"
    yield f"{'parameters':11} {found.parameters:,}"
    yield f"{'FLOPs':11} {amount(found.flops)} ({amount(found.flops // 2)} multiply-adds) from {shaped(found.given)} " \
          f"to {shaped(found.made)}"  # fmt: skip
    if found.field:
        yield f"{'sees':11} {found.field.words()}"
    elif card.kind in ("image", "classifier"):
        yield f"{'sees':11} not known: it has operations that are not, and to try it out would take too long"


def shaped(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def amount(count: int) -> str:
    """1234567 as 1.23 M."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return str(count)


def drawn(network: nn.Module, card: Card, model: str, given: str | None, seed: int, out: Path) -> list[Path]:
    """Write filters and features; returns the files."""
    from i2i.inspection import features, filters, picture, sheet
    from i2i.journal import save_sheet
    from i2i.zoo import samples

    files = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        if (found := filters(network, card)) is not None:
            name, pictures = found
            click.echo(f"filters.png: the first of {len(pictures)} filters of {name or 'the network'}", err=True)
            files.append(out / "filters.png")
            save_sheet(files[-1], sheet(pictures))
        if card.kind == "image" and given is None:
            given = samples(model)[1][0]
            given = str(next(iter(sorted(Path(given).rglob("*.*g"))), given)) if Path(given).is_dir() else given
        if card.kind == "classifier" and given is None:
            click.echo("no features are shown: name a picture with --input", err=True)
            return files
        if card.kind == "latent" and given is not None:
            raise UserError("this generator takes no picture; leave --input out, and choose a vector with --seed")
        x, said = picture(card, given, seed=seed)
        if said:
            click.echo(said, err=True)
        for number, (name, maps) in enumerate(features(network, x).items(), 1):
            files.append(out / f"{number:02}-{name or 'network'}.png")
            save_sheet(files[-1], sheet(maps))
    except OSError as error:
        raise UserError(f"{out} cannot be written: {(error.strerror or str(error)).lower()}", code=1) from None
    return files
