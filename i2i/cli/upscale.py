"""`i2i upscale [INPUT ...] [-o OUT] [--model MODEL] [--scale S]`: enlarge photographs."""

from __future__ import annotations

import math

import click

from i2i.cli import running
from i2i.errors import UserError

__all__ = ["upscale"]

USUAL = "srresnet/x4"
LARGEST = 64  # times; what lies beyond the network's own is plain resampling anyway


def scale(context: click.Context, option: click.Parameter, text: str | None) -> float | None:
    """The text 1.5, x2 or 2x as a number."""
    if text is None:
        return None
    try:
        found = float(text.lower().strip("x"))
    except ValueError:
        found = math.nan
    if not 0 < found <= LARGEST:
        raise click.BadParameter(f"'{text}' is no scale; write a number above 0 and up to {LARGEST}, such as 2 or 1.5")
    return found


@click.command()
@running.shared
@click.option("--scale", callback=scale, metavar="S",
              help="Size of the results / size of the inputs [default: the model's]. Another one than the model's is "
                   "reached by resampling what it makes.")  # fmt: skip
def upscale(model: str | None, inputs: tuple[str, ...], scale: float | None, options: running.Options) -> int:
    """Enlarge photographs.

    INPUT is an image or a video, a folder (its tree is mirrored), a glob in quotes, or - for standard input.

    Gray stays gray, 16 bits stay 16 bits; alpha is enlarged with the picture; orientation is applied, colour profile
    and EXIF are kept, animations and pages with all frames, videos with their times, sound and subtitles. Large results
    are written as they are made: png, jpeg, tiff and ppm in the memory of a few rows. Results go to the folder upscaled
    unless -o names another. Exit code 1 if some inputs failed.
    """
    return running.execute(model or usual(), inputs, options, out="upscaled", scale=scale, enlarge=True)


def usual() -> str:
    """The model where none is named. Raises UserError where it does not ship."""
    from i2i import zoo

    if USUAL in zoo.names():
        return USUAL
    raise UserError("which model? name one that enlarges, as in `i2i upscale --model esrgan x4 photos/`, or a file of "
                    "`i2i train` or `i2i convert`; `i2i models list` lists those known by name")  # fmt: skip
