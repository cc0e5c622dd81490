"""Pages to look at: one self-contained HTML file, or several where there is much, that asks no network for anything.

`compare` makes one of folders, `of_run` of a training run; `Gallery` takes rows one by one from whoever has them, as
`i2i translate --gallery` does.
"""

from __future__ import annotations

from i2i.gallery.folders import compare
from i2i.gallery.page import Gallery, Made, Row, card_facts
from i2i.gallery.runs import is_run, of_run
from i2i.gallery.thumbnails import Thumbnail, thumbnail

__all__ = ["Gallery", "Made", "Row", "Thumbnail", "card_facts", "compare", "is_run", "of_run", "thumbnail"]
