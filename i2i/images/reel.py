"""Films of frames that were drawn: no video they were made of gives times and sound."""

from __future__ import annotations

import io
from array import array
from collections.abc import Sequence
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from i2i.errors import UserError
from i2i.images.frames import Frame, FrameWriter
from i2i.images.h264 import CONTAINERS, UNKNOWN, VideoWriter, pyav
from i2i.images.picture import Array, Picture
from i2i.images.writing import save

__all__ = ["FILMS", "Reel", "check_film", "film"]

FILMS = {".gif": "gif", ".apng": "png", ".webp": "webp"} | {
    ending: name for name, endings in CONTAINERS.items() for ending in endings
}
"""Ending -> what a film is written as."""


class Reel:
    """What `VideoWriter` asks of the video that its frames were made of, for frames that were made of none: they last
    equally long, and there is no sound.

    Args:
        name: how errors call it.
        count: of the frames.
        rate: of them a second.
        size: (width, height) of a frame.
    """

    keep_truncated = False
    matrix = None
    shape = Fraction(0)

    def __init__(self, name: str, count: int, rate: int, size: tuple[int, int]) -> None:
        self.name, self.count, self.stored = name, count, size
        self.rate, self.unit = Fraction(rate), Fraction(1, rate)
        self.times, self.last = array("q", range(count)), 1
        self.tags = {"color_range": UNKNOWN}
        self.container: dict[str, Any] = {"metadata": {}, "chapters": []}
        self.stream: dict[str, Any] = {"metadata": {}, "disposition": 0}

    def opened(self) -> Any:
        """A file without streams."""
        return nullcontext(SimpleNamespace(streams=()))

    def refusal(self, why: str) -> UserError:
        """What a user is told."""
        return UserError(f"{self.name}: {why}", code=1)


def check_film(path: Path) -> None:
    """Raise UserError where the ending of `path` is that of no film, or a package it needs is missing."""
    kind = FILMS.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path}: no film is known by that ending; take one of {', '.join(FILMS)}")
    if kind in CONTAINERS:
        try:
            pyav()
        except UserError:
            raise UserError(f"{path}: videos are written by a package of their own: pip install 'i2i-toolkit[video]', "
                            "or take .gif", code=1) from None  # fmt: skip


def film(frames: Sequence[Array], path: Path, *, rate: int = 25) -> None:
    """Write frames [H,W] or [H,W,3] uint8, all of one size, as the film that the ending of `path` names.

    GIF, APNG and WebP play for ever. Raises UserError (code 1) where it cannot be written as such, and OSError.
    """
    kind, count = FILMS[path.suffix.lower()], len(frames)
    height, width = frames[0].shape[:2]
    if kind == "gif":
        images = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
        data = io.BytesIO()
        images[0].save(data, "GIF", save_all=True, append_images=images[1:], duration=1000 / rate, loop=0)
        save(data.getvalue(), path)
        return
    writer = FrameWriter(path, kind, count, plays=0) if kind not in CONTAINERS else (
        VideoWriter(path, kind, Reel(str(path), count, rate, (width, height))))  # fmt: skip
    with writer:
        for frame in frames:
            writer.write(Frame(Picture(frame), 1000 / rate))
