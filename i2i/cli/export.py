"""`i2i export MODEL out.onnx`: write a generator as one ONNX file."""

from __future__ import annotations

import json
from pathlib import Path

import click

from i2i.cli.completion import models as complete_models

__all__ = ["export"]


@click.command()
@click.argument("model", shell_complete=complete_models)
@click.argument("out", type=click.Path(path_type=Path), metavar="OUT.onnx")
@click.option("--mode", type=click.Choice(["deterministic", "stored", "paper"]),
              help="paper cannot be exported: its dropout is seeded by i2i [default: the model's].")  # fmt: skip
@click.option("--opset", type=click.IntRange(18, 25), default=18, show_default=True,
              help="Version of ONNX's operators.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
@click.option("--json", "as_json", is_flag=True, help="What was written and how it was checked, as one JSON line.")
def export(model: str, out: Path, mode: str | None, opset: int, overwrite: bool, as_json: bool) -> None:
    """Write MODEL as one ONNX file, to run without i2i.

    MODEL is family/name, a generator file, or hf://user/repository. The file takes pictures [batch, channels, height,
    width] of any size; how to prepare them and what to do with the result stands in its metadata, with an example. It
    is run with ONNX Runtime and compared with torch before it gets its name.
    """
    from i2i.onnx_export import LIMIT, check_target, load_runtime
    from i2i.onnx_export import export as write
    from i2i.zoo import load_generator

    load_runtime()  # what is missing or in the way is said before a model is fetched
    check_target(out, overwrite=overwrite)

    def say(sentence: str) -> None:
        click.echo(sentence, err=True)

    done = write(load_generator(model, say=say), out, mode=mode, opset=opset, overwrite=overwrite, say=say)
    if as_json:
        click.echo(json.dumps({"model": model} | done._asdict() | {"path": str(done.path), "limit": LIMIT}))
        return
    shapes = " and ".join(" x ".join(map(str, shape)) for shape in done.checked)
    click.echo(
        f"{done.path}: {done.bytes / 1e6:.1f} MB, opset {done.opset}, mode {done.mode}; largest difference from torch "
        f"{done.difference:.1e} (allowed {LIMIT:.0e}) on {shapes}"
    )
