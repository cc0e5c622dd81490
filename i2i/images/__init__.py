"""Pictures in and out: the only place that opens image files for running."""

from __future__ import annotations

from i2i.images.picture import FORMATS, SUFFIXES, Picture, sheet, shrunk, side_by_side, to_pil
from i2i.images.reading import LARGEST_FILE, Head, from_pil, read, read_head
from i2i.images.writing import encode, fitting_format, save, write

__all__ = [
    "FORMATS",
    "LARGEST_FILE",
    "SUFFIXES",
    "Head",
    "Picture",
    "encode",
    "fitting_format",
    "from_pil",
    "read",
    "read_head",
    "save",
    "sheet",
    "shrunk",
    "side_by_side",
    "to_pil",
    "write",
]
