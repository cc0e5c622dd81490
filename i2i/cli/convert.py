"""`i2i convert CHECKPOINT`: a generator file from another program's weights."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from i2i.errors import UserError

__all__ = ["convert"]


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--as", "layout", metavar="LAYOUT|MODEL",
              help="What it must be: a layout such as resnet_9blocks, or a published model such as "
                   "cyclegan/horse2zebra, whose card it then gets.")  # fmt: skip
@click.option("--via", type=click.Choice(["spandrel"]),
              help="Let the library spandrel, an extra, recognise and build what i2i has no network for.")  # fmt: skip
@click.option("--from", "a", metavar="WORDS", help="What goes in, such as 'horse'.")
@click.option("--to", "b", metavar="WORDS", help="What comes out, such as 'zebra'.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="File to write [default: here, CHECKPOINT's name].")
@click.option("--dtype", type=click.Choice(["float32", "float16"]), default="float32", show_default=True,
              help="Of the stored weights; float16 halves the file.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def convert(
    checkpoint: Path,
    layout: str | None,
    via: str | None,
    a: str | None,
    b: str | None,
    out: Path | None,
    dtype: str,
    overwrite: bool,
) -> None:
    """Make a generator file of the weights in CHECKPOINT, a .pth file of the original CycleGAN, pix2pix or CUT, of
    ESRGAN, Real-ESRGAN or BSRGAN, or of an SRResNet.

    The network is recognised by its tensors' names and shapes, and nothing in the file is run. What `i2i translate
    --model` then takes is printed.
    """
    from dataclasses import replace

    import torch

    from i2i.checkpoint import digest, save_generator
    from i2i.zoo import convert as conversion

    if checkpoint.is_dir():
        raise UserError(f"{checkpoint} is a folder; name a file in it")
    out = out or Path(f"{checkpoint.stem}.safetensors")
    if out.is_dir():
        raise UserError(f"{out} is a folder; name a file with -o")
    if out.suffix != ".safetensors":
        raise UserError(f"a generator file ends with .safetensors, not '{out.suffix}'; write -o {out.stem}.safetensors")
    if out.exists() and not overwrite:
        raise UserError(f"{out} is there already; --overwrite replaces it, -o names another")
    published = None
    if layout is not None and "/" in layout:
        from i2i.zoo.published import known

        published = known(layout)
        layout, a, b = published.layout, a or published.a, b or published.b
        if checkpoint.is_file() and published.sha256 not in ("", found := digest(checkpoint)):
            raise UserError(f"{checkpoint} is not {published.name}: its sha256 is {found}, not {published.sha256}")
    made = conversion.convert(checkpoint, layout=layout, via=via)
    for sentence in made.said:
        click.echo(sentence, err=True)
    a, b = a or asked("from", "goes in", made.card.a), b or asked("to", "comes out", made.card.b)
    card = replace(made.card, a=a, b=b)
    if card.a == made.card.a or card.b == made.card.b:
        click.echo(f"direction unknown: the card says {card.a} -> {card.b}; give --from and --to", err=True)
    if published is not None:
        notes = f"{published.paper}, {card.origin.notes}"
        origin = replace(card.origin, data=published.data, terms=published.terms, notes=notes)
        card = replace(card, origin=origin, mode=published.mode or card.mode)
    try:
        save_generator(out, made.network, made.spec, card, dtype=getattr(torch, dtype))
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}; name another file with -o", code=1) from None
    click.echo(f"{out.stat().st_size / 1e6:.1f} MB; `i2i translate --model {shlex.quote(str(out))}` runs it", err=True)
    click.echo(str(out))


def asked(option: str, what: str, unknown: str) -> str:
    """What a person at a terminal says; `unknown` where there is none."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return unknown
    answer: str = click.prompt(f"what {what} (--{option})", default=unknown, err=True)
    return answer
