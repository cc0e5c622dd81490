"""Pictures in and out: the only place that opens image files for running."""

from __future__ import annotations

from i2i.images.cielab import CHROMA, coloured, from_lab, lab, lightness
from i2i.images.frames import Frame, Frames, FrameWriter
from i2i.images.h264 import CONTAINERS, VideoWriter
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
from i2i.images.reel import FILMS, check_film, film
from i2i.images.resampling import Resampler, recolored, resampled
from i2i.images.shown import Miniature, pair_written
from i2i.images.strips import STREAMED, StripWriter, memory_needed
from i2i.images.video import VIDEOS, Video, is_video
from i2i.images.writing import encode, fitting_format, lacks, promise, save, sweep, write

__all__ = [
    "CHROMA",
    "CONTAINERS",
    "FILMS",
    "FORMATS",
    "LARGEST_FILE",
    "STREAMED",
    "SUFFIXES",
    "VIDEOS",
    "Frame",
    "FrameWriter",
    "Frames",
    "Head",
    "Layout",
    "Miniature",
    "Picture",
    "Resampler",
    "StripWriter",
    "Video",
    "VideoWriter",
    "check_film",
    "coloured",
    "count_frames",
    "encode",
    "filled",
    "film",
    "fitting_format",
    "from_lab",
    "from_pil",
    "is_video",
    "lab",
    "lacks",
    "lightness",
    "memory_needed",
    "pair_written",
    "premultiplied",
    "promise",
    "read",
    "read_head",
    "recolored",
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
