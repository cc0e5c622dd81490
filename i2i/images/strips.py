"""A picture written from top to bottom as its rows are made, in the memory of a few of them where the format allows."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO

from i2i.images.encoders import Jpeg
from i2i.images.picture import Array, Layout
from i2i.images.writing import Fitted, destination

__all__ = ["STREAMED", "StripWriter", "memory_needed"]

STREAMED = ("png", "tiff", "jpeg", "ppm")
# Bytes a pixel that the libraries take to encode a whole picture of 1, 2, 3 and 4 channels, the collected one included:
# measured at 9 and 16 million pixels with Pillow 13, rounded up
TAKEN = {"webp": (24, 46, 24, 42), "avif": (24, 38, 32, 36), "jp2": (16, 32, 45, 58), "bmp": (1.5, 4.5, 4.5, 4.5)}


def memory_needed(format: str, layout: Layout) -> int:
    """Bytes that writing such a picture takes, as measured, rounded up; what makes its rows is not counted."""
    row = layout.width * layout.channels * (2 if layout.deep else 1)
    if format in STREAMED:
        rows = 5 * Jpeg.STRIP if format == "jpeg" else 16
        return max(16 << 20, rows * row) + len(layout.icc or b"") + len(layout.exif or b"")
    return round(layout.width * layout.height * TAKEN[format][layout.channels - 1]) + (16 << 20)


class StripWriter:
    """A context in which a file is written row by row.

    It appears under its name when the context is left without an error and all rows have come; else nothing is left of
    it. A stream, such as standard output, gets all or nothing likewise.

    Attributes:
        notes: what the format could not hold.
    """

    def __init__(
        self,
        target: str | Path | IO[bytes],
        format: str,
        layout: Layout,
        *,
        quality: int | None = None,
        keep_gps: bool = False,
    ) -> None:
        """
        Args:
            target: a path, or a file open for writing bytes.
            format: a key of `FORMATS`.
            layout: of the result: its size, channels, depth and metadata.
            quality: 1 to 100, for jpeg, webp and avif (95 unless given).
            keep_gps: leave the position in the EXIF.
        """
        self.target, self.format, self.layout = target, format, layout
        self.quality, self.keep_gps = quality, keep_gps
        self.notes: tuple[str, ...] = ()

    def __enter__(self) -> StripWriter:
        """Raises UserError (code 1) where the format cannot hold the size, and OSError."""
        with ExitStack() as stack:
            out = stack.enter_context(destination(self.target))
            self.file = Fitted(out, self.layout, self.format, quality=self.quality, keep_gps=self.keep_gps)
            self.notes = self.file.notes
            self.stack = stack.pop_all()
        return self

    def write(self, rows: Array) -> None:
        """The next rows, [rows,W] or [rows,W,C], of the layout's depth, alpha last. Raises OSError."""
        self.file.write(rows)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.stack.__exit__(kind, error, trace)
            return
        with self.stack:
            self.file.finish()
