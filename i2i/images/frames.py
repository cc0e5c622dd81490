"""Animations, and documents of several pages: read and written frame by frame."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple

import cv2
import numpy as np
from PIL import Image

from i2i.errors import UserError
from i2i.images.encoders import Png, Tiff, pillow_options
from i2i.images.picture import PILLOW, Array, Picture, as_depth
from i2i.images.reading import contents, deepen, from_pil, opened, orientation, refusal, shown, truncated, wide_kind
from i2i.images.writing import destination, fit_layout, fit_rows, lacks

__all__ = ["Frame", "FrameWriter", "Frames"]

MOVING = ("png", "webp", "avif")  # formats that hold an animation
COLLECTED = 2 << 30  # bytes of pictures that are collected at most for a library that takes an animation whole


class Frame(NamedTuple):
    """One frame: what is to be seen while it lasts, and for how many milliseconds; 0 for a page."""

    picture: Picture
    duration: float = 0


class Frames:
    """The frames of a file, decoded as they are asked for: each as it is to be seen, whatever the file stores of it.

    Frames of an animation are all of one size, kind and depth. Pages are pictures by themselves.

    Attributes:
        count: how many there are.
        pages: whether they are pages of a document, not frames of an animation.
        plays: how often an animation is shown; 0 is for ever.
        format: Pillow's name of the file's format.
        notes: what a user should know of the whole file.
    """

    def __init__(
        self, source: str | Path | bytes, *, keep_truncated: bool = False, memory: int | None = None, name: str = ""
    ) -> None:
        """
        Args:
            source: a path, or the bytes of a file.
            keep_truncated: take the whole frames that are there of an animation whose end is missing.
            memory: bytes of a result that may be collected for a library that takes an animation whole.
            name: how errors call it; the path unless given.

        Raises UserError (code 1) where it cannot be read; of an animation, all frames are looked at.
        """
        self.name, self.data = contents(source, name)
        self.memory = COLLECTED if memory is None else min(memory, COLLECTED)
        self.notes: tuple[str, ...] = ()
        self.gray, self.alpha, self.deep = True, False, False
        try:
            with opened(self.data) as image:
                self.format = image.format or ""
                self.pages = self.format == "TIFF"
                self.places = shown(image)
                self.plays = plays(image)
        except Exception as error:  # decoders of other projects: on bad bytes they raise whatever they like
            raise refusal(error, self.name) from None
        if not self.pages:
            self.survey(keep_truncated)
        self.count = len(self.places)

    def survey(self, keep_truncated: bool) -> None:
        """See which kind fits all frames."""
        seen = 0
        try:
            for frame in self.decoded():
                picture = frame.picture
                self.gray = self.gray and picture.pixels.ndim == 2
                self.alpha = self.alpha or picture.alpha is not None
                self.deep = self.deep or picture.deep
                seen += 1
        except Exception as error:  # as above
            cut = self.cut(error)
            # PNG: what follows an error in the sequence of frames is left out; the still is shown where none is left
            if not (seen and keep_truncated if cut else self.format == "PNG"):
                raise self.refused(error) from None
            kept = f"the first {seen} of its {len(self.places)} frames" if seen else "the still in place of its frames"
            why = "the end of the file is missing" if cut else str(error)
            self.notes = (f"only {kept} could be read ({why})",)
            self.places = self.places[:seen] or [0]

    def __iter__(self) -> Iterator[Frame]:
        """Raises UserError (code 1) where a page is damaged."""
        try:
            for frame in self.decoded():
                yield frame if self.pages else frame._replace(picture=self.alike(frame.picture))
        except UserError:  # of the one who asked for the frames
            raise
        except Exception as error:  # as above
            raise self.refused(error) from None

    def cut(self, error: Exception) -> bool:
        """Whether the end of the file is missing."""
        return truncated(error) or isinstance(error, EOFError | IndexError | struct.error)  # the last two: of GIF

    def refused(self, error: Exception) -> UserError:
        """What a user is told."""
        if not self.cut(error):
            return refusal(error, self.name)
        return UserError(f"{self.name}: the end of the file is missing; --keep-truncated takes what is there", code=1)

    def decoded(self) -> Iterator[Frame]:
        """Every frame as it comes. Raises what Pillow raises."""
        with opened(self.data) as image:
            for place in self.places:
                image.seek(place)
                wide, turn = wide_kind(image), orientation(image)
                image.load()
                picture = from_pil(image, kind=wide)
                if wide and not picture.deep:
                    picture = deepen(picture, self.data, premultiplied=wide.startswith("RGBa"), turn=turn,
                                     page=place if self.pages else None)  # fmt: skip
                yield Frame(replace(picture, format=self.format), float(image.info.get("duration") or 0))

    def alike(self, picture: Picture) -> Picture:
        """`picture` with the channels and the depth of all frames."""
        dtype = np.uint16 if self.deep else np.uint8
        pixels = as_depth(picture.pixels, dtype)
        if pixels.ndim == 2 and not self.gray:
            pixels = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_GRAY2RGB)
        alpha = picture.alpha
        if alpha is None and self.alpha:
            alpha = np.full(pixels.shape[:2], np.iinfo(dtype).max, dtype)
        return replace(picture, pixels=pixels, alpha=None if alpha is None else as_depth(alpha, dtype))

    def format_for(self, wished: str | None, *, asked: bool, scale: float = 1) -> tuple[str, str]:
        """The format that all frames of the result will be written in, and a note where it is another one.

        Args:
            wished: by the result's name, or by the user where `asked`; None takes what suits the file.
            scale: of the result.

        Raises UserError (code 1) where `asked` names a format that holds one picture, or none so large.
        """
        own = "tiff" if self.pages else PILLOW.get(self.format, "png")
        suits, what = (("tiff",), "pages") if self.pages else ((*MOVING, "tiff"), "frames")
        format = wished or own
        if format not in suits:
            if asked:
                raise UserError(f"{self.name}: it has {self.count} {what}, and {format} holds one; "
                                f"take --format {' or '.join(suits)}", code=1)  # fmt: skip
            format = own
        with opened(self.data) as image:
            width, height = (round(side * scale) for side in image.size)
        lacking = lacks(format, width, height, alpha=self.alpha, deep=self.deep)
        if not lacking and format in ("webp", "avif") and 4 * width * height * self.count > self.memory:
            lacking = f"{self.count} frames of {width}x{height} pixels in the memory that is granted"
        if lacking and asked:
            raise UserError(f"{self.name}: {format} cannot hold {lacking}; take --format png", code=1)
        if lacking:
            return "png", f"{format} cannot hold {lacking}; it became png"
        note = "" if format == PILLOW.get(self.format) else f"{self.format.lower()} became {format}, with all {what}"
        if format == "tiff" and not self.pages:
            note = f"{self.format.lower()} became tiff: a page for each frame, without its duration"
        return format, note

    def writer(
        self, target: str | Path | IO[bytes], format: str, *, quality: int | None = None, keep_gps: bool = False
    ) -> FrameWriter:
        """What writes as many frames, to be shown as often."""
        return FrameWriter(target, format, self.count, plays=self.plays, quality=quality, keep_gps=keep_gps)


def plays(image: Image.Image) -> int:
    """How often an animation is shown; 0 is for ever."""
    loop = image.info.get("loop")
    if image.format == "GIF":  # it counts repetitions, and tells none where it is to be shown once
        return 1 if loop is None else 0 if loop == 0 else int(loop) + 1
    return int(loop or 0)


class FrameWriter:
    """A context in which an animation or a document is written frame by frame: whole, or nothing is left of it.

    PNG and TIFF are written as frames come. WebP and AVIF are collected, since libraries take them whole.

    Attributes:
        notes: what the format could not hold.
        size: (width, height) of the first frame as it was written.
    """

    def __init__(
        self,
        target: str | Path | IO[bytes],
        format: str,
        count: int,
        *,
        plays: int = 0,
        quality: int | None = None,
        keep_gps: bool = False,
    ) -> None:
        """
        Args:
            target: a path, or a file open for writing bytes.
            format: png, webp, avif or tiff.
            count: of the frames to come.
            plays: how often an animation is shown; 0 is for ever.
            quality: 1 to 100, for webp and avif (95 unless given).
            keep_gps: leave the position in the EXIF.
        """
        self.target, self.format, self.count, self.plays = target, format, count, plays
        self.quality, self.keep_gps = 95 if quality is None else quality, keep_gps
        self.notes: tuple[str, ...] = ()
        self.came = 0
        self.before: Array
        self.page: Tiff | None = None
        self.collected: list[Image.Image] = []
        self.durations: list[int] = []

    def __enter__(self) -> FrameWriter:
        self.stack = ExitStack()
        self.out = self.stack.enter_context(destination(self.target))
        return self

    def write(self, frame: Frame) -> None:
        """The next frame; those of an animation are alike in size and kind. Raises OSError."""
        layout, notes = fit_layout(frame.picture.layout, self.format, keep_gps=self.keep_gps)
        values = fit_rows(frame.picture.values, layout)
        if not self.came:
            self.layout, self.notes, self.size = layout, notes, (layout.width, layout.height)
        if self.format == "tiff":
            self.page = Tiff(self.out, layout, after=self.page)
            self.page.write(values)
            self.page.finish()
        elif self.format == "png":
            self.moved(values, frame.duration)
        else:
            self.collected.append(Image.fromarray(values[..., 0] if values.shape[2] == 1 else values))
            self.durations.append(round(frame.duration))
        self.came += 1

    def moved(self, values: Array, duration: float) -> None:
        """A frame of PNG: the rectangle in which it differs from the one before."""
        if not self.came:
            self.png = Png(self.out, self.layout, frames=self.count, plays=self.plays)
            self.png.frame(duration)
            self.png.write(values)
        else:
            differs = (values != self.before).any(axis=2)
            rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
            top, bottom = (int(rows[0]), int(rows[-1]) + 1) if rows.size else (0, 1)
            left, right = (int(columns[0]), int(columns[-1]) + 1) if columns.size else (0, 1)
            self.png.frame(duration, left=left, top=top, width=right - left, height=bottom - top)
            self.png.write(values[top:bottom, left:right])
        self.before = values

    def finish(self) -> None:
        """Write what is still to be written."""
        assert self.came == self.count, f"{self.came} of {self.count} frames came"
        if self.format == "png":
            self.png.finish()
        elif self.collected:
            options = pillow_options(self.layout, self.format, self.quality)
            if self.format == "webp":
                options["loop"] = self.plays
            data = io.BytesIO()
            self.collected[0].save(data, self.format.upper(), save_all=True, append_images=self.collected[1:],
                                   duration=self.durations, **options)  # fmt: skip
            self.out.write(data.getbuffer())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.stack.__exit__(kind, error, trace)
            return
        with self.stack:
            self.finish()
