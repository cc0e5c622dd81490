"""Pictures in and out: the only place that opens image files for running."""

from __future__ import annotations

from i2i.images.frames import Frame, Frames, FrameWriter
from i2i.images.picture import (
    FORMATS,
    SUFFIXES,
    Layout,
    Picture,
    filled,
    premultiplied,
    settled,
    sheet,
    shrunk,
    side_by_side,
    to_pil,
    unpremultiplied,
)
from i2i.images.reading import LARGEST_FILE, Head, count_frames, from_pil, read, read_head
from i2i.images.resampling import Resampler, resampled
from i2i.images.strips import STREAMED, StripWriter, memory_needed
from i2i.images.writing import encode, fitting_format, lacks, promise, save, sweep, write

__all__ = [
    "FORMATS",
    "LARGEST_FILE",
    "STREAMED",
    "SUFFIXES",
    "Frame",
    "FrameWriter",
    "Frames",
    "Head",
    "Layout",
    "Picture",
    "Resampler",
    "StripWriter",
    "count_frames",
    "encode",
    "filled",
    "fitting_format",
    "from_pil",
    "lacks",
    "memory_needed",
    "premultiplied",
    "promise",
    "read",
    "read_head",
    "resampled",
    "save",
    "settled",
    "sheet",
    "shrunk",
    "side_by_side",
    "sweep",
    "to_pil",
    "unpremultiplied",
    "write",
]
