"""What a recipe's `validation` section measures while a generator trains.

`i2i.metrics.validation:SuperResolution` enlarges photographs; `i2i.metrics.validation:Evaluation` takes any figure of
`i2i evaluate` on a test split.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from i2i import images
from i2i.data.bicubic import reduce
from i2i.data.folders import find, scan
from i2i.download import cache_folder
from i2i.errors import UserError
from i2i.images.picture import as_depth
from i2i.metrics.extractors import Resize
from i2i.metrics.fidelity import psnr, ssim
from i2i.metrics.perceptual import Trunk
from i2i.typed import Range

if TYPE_CHECKING:
    from i2i.engine import Engine
    from i2i.sampling import Sampler

__all__ = ["Evaluation", "SuperResolution", "reduced"]

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


class Evaluation:
    """Figures of `i2i evaluate --model` on a test split, by their names: psnr, lpips, fid, miou, ...

    Args:
        data: the split, looked for here, in ./datasets and under $I2I_DATA: a folder of pairs side by side or of two
            folders, or, for networks that enlarge, of large pictures; or two folders, what goes in and what is wanted;
            true pictures for a generator that draws from random numbers.
        metrics: of `i2i.metrics.instruments.METRICS`.
        generator: by its name in the game.
        direction: which half or folder goes in; None takes b2a for a generator of that name, else what the recipe says
            in `about.prepared`.
        size: bring pictures to that square first.
        first: at most that many pictures; so many are drawn.
        palette, luma, shave, features, resize, lpips, random: as of `i2i.metrics.instruments.Settings`.

    Raises UserError for metrics that are none, folders that are missing, and weights that are not here.
    """

    def __init__(
        self,
        data: str | Sequence[str],
        metrics: Sequence[str],
        *,
        generator: str = "a2b",
        direction: Literal["a2b", "b2a"] | None = None,
        size: Annotated[int, Range(least=1)] | None = None,
        first: Annotated[int, Range(least=1)] | None = None,
        palette: str | None = None,
        luma: bool = False,
        shave: Annotated[int, Range(least=0)] = 0,
        features: str | None = None,
        resize: Resize | None = None,
        lpips: Trunk = "alex",
        random: int | None = None,
    ) -> None:
        from i2i.evaluation import known
        from i2i.metrics.instruments import Instruments, Settings

        self.data = [data] if isinstance(data, str) else list(data)
        for folder in self.data:
            find(folder)
        self.metrics, self.generator, self.first = known(metrics), generator, first
        self.direction = direction or ("b2a" if generator == "b2a" else None)
        self.instruments = Instruments(
            Settings(features=features, resize=resize, random=random, lpips=lpips, palette=palette, luma=luma,
                     shave=shave, size=size, cache=cache_folder() / "features")
        )  # fmt: skip
        self.instruments.prepare(self.metrics)

    def __call__(self, engines: Mapping[str, Engine | Sampler]) -> dict[str, float]:
        from i2i.evaluation import evaluate_generator, evaluate_sampler

        if self.generator not in engines:
            raise UserError(f"validation: there is no generator '{self.generator}'; the game has {', '.join(engines)}")
        runs = engines[self.generator]
        if runs.card.kind == "latent":
            report = evaluate_sampler(cast("Sampler", runs), str(find(self.data[0])), self.metrics,
                                      instruments=self.instruments, count=self.first)  # fmt: skip
        else:
            report = evaluate_generator(cast("Engine", runs), self.data, self.metrics, instruments=self.instruments,
                                        direction=self.direction, first=self.first)  # fmt: skip
        found: dict[str, float] = {}
        for figure in report.figures:
            found.setdefault(figure.name, math.nan if figure.value is None else figure.value)
        return found


def read(file: Path) -> Pixels:
    """The colours of a picture in 8 bits, its alpha left out."""
    return as_depth(images.read(file).pixels, np.uint8)


def reduced(large: Pixels, scale: int) -> Pixels:
    """A picture made `scale` times smaller by the rule of the test sets (`i2i.data.bicubic`); sides are multiples."""
    planes = torch.from_numpy(np.atleast_3d(large).copy()).permute(2, 0, 1)[None]
    made = (reduce(planes.float() / 127.5 - 1, scale)[0] * 255).round().byte()
    return made.permute(1, 2, 0).numpy().reshape(made.shape[1:] + large.shape[2:])
