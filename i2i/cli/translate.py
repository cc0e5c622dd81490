"""`i2i translate --model MODEL [INPUT ...] [-o OUT]`: turn images into their counterparts."""

from __future__ import annotations

import click

from i2i.cli import running
from i2i.errors import UserError

__all__ = ["translate"]


@click.command()
@running.shared
def translate(model: str | None, inputs: tuple[str, ...], options: running.Options) -> int:
    """Turn images into their counterparts.

    INPUT is an image or a video, a folder (its tree is mirrored), a glob in quotes, or - for standard input. Without
    INPUT: the test split of the model's data set if it is there, else the pictures that ship.

    Any height and width; 8 and 16 bits, alpha, colour profile and EXIF are kept, animations and pages with all frames.
    Videos keep their times, sound and subtitles.
    Results go to the folder translated unless -o names another. Exit code 1 if some inputs failed.
    """
    if not model:
        raise UserError("which model? name it, as in `i2i translate --model pix2pix map2aerial photos/`; "
                        "`i2i models list` lists those that ship")  # fmt: skip
    return running.execute(model, inputs, options, out="translated")
