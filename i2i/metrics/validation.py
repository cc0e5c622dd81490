"""What a recipe's `validation` section measures while a generator trains: i2i.metrics.validation:SuperResolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from numpy.typing import NDArray

from i2i import images
from i2i.data.bicubic import reduce
from i2i.data.folders import find, scan
from i2i.errors import UserError
from i2i.images.picture import as_depth
from i2i.metrics.fidelity import psnr, ssim
from i2i.typed import Range

if TYPE_CHECKING:
    from i2i.engine import Engine

__all__ = ["SuperResolution", "reduced"]

Pixels = NDArray[np.uint8]  # [H,W] gray or [H,W,3] RGB


class SuperResolution:
    """PSNR in dB and SSIM of what an enlarging network makes of reduced pictures, by `i2i.metrics.fidelity`'s protocol.

    The means over the pictures, each the luma's, with as many pixels of each border left out as the enlargement.

    Args:
        roots: folders of large pictures, looked for here, in ./datasets and under $I2I_DATA.
        first: at most that many pictures of each folder, by name; None takes all.

    Raises UserError for folders that are missing or hold no picture.
    """

    def __init__(self, roots: Sequence[str], *, first: Annotated[int, Range(least=1)] | None = None) -> None:
        self.files = [file for root in roots for file in scan(find(root))[:first]]
        if not self.files:
            raise UserError("'roots' must name one or more folders of pictures")

    def __call__(self, engines: Mapping[str, Engine]) -> dict[str, float]:
        engine = engines["a2b"]
        scale = engine.card.scale
        found = []
        for file in self.files:
            large = read(file)
            large = large[: len(large) // scale * scale, : large.shape[1] // scale * scale]
            drawn = engine.run([reduced(large, scale)])[0]
            found.append((psnr(drawn, large, shave=scale), ssim(drawn, large, shave=scale)))
        means = np.mean(found, axis=0)
        return {"psnr": float(means[0]), "ssim": float(means[1])}


def read(file: Path) -> Pixels:
    """The colours of a picture in 8 bits, its alpha left out."""
    return as_depth(images.read(file).pixels, np.uint8)


def reduced(large: Pixels, scale: int) -> Pixels:
    """A picture made `scale` times smaller by the rule of the test sets (`i2i.data.bicubic`); sides are multiples."""
    planes = torch.from_numpy(np.atleast_3d(large).copy()).permute(2, 0, 1)[None]
    made = (reduce(planes.float() / 127.5 - 1, scale)[0] * 255).round().byte()
    return made.permute(1, 2, 0).numpy().reshape(made.shape[1:] + large.shape[2:])
