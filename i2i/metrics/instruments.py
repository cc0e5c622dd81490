"""How an evaluation measures, and the networks that it needs for that."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from i2i.errors import UserError
from i2i.metrics.agreement import Palette
from i2i.metrics.extractors import Extractor, Resize, extractor
from i2i.metrics.paired import LABELS, SINGLE
from i2i.metrics.pairs import PAIRED
from i2i.metrics.perceptual import Lpips, Trunk

__all__ = ["METRICS", "OF_PAIRS", "OF_SETS", "Instruments", "Settings"]

OF_SETS = ("fid", "kid", "is", "prdc", "cmmd")
OF_PAIRS = (*PAIRED, "lpips", *SINGLE, *LABELS)
METRICS = (*OF_SETS, *OF_PAIRS, "diversity")
"""What can be asked for."""


@dataclass(frozen=True)
class Settings:
    """How an evaluation measures.

    Attributes:
        features: the network of the figures of sets, as `i2i.metrics.extractors.extractor` has them; None takes
            inception, and clip for cmmd.
        resize: of that network's pictures; None takes its usual one.
        weights: its file; None looks for it.
        random: draw the weights of Inception and of LPIPS with this seed: for tests, the numbers mean nothing.
        lpips: the trunk; lpips_weights: its file.
        palette: of label maps, for accuracy and miou.
        luma: psnr, ssim and ms-ssim of Y instead of red, green and blue; shave: pixels left out at each border.
        step: what the figure "grid" looks for, in pixels.
        size: bring the pictures of a pair to that square first.
        classifier: a file, whose classes tell the modes of a set.
        groups: FAKE holds several outputs of each input: of one stem in several folders, or a folder of each.
        maps: a folder for pictures of where LPIPS finds differences.
        batch, workers, device, precision: of the networks that measure.
        cache: a folder that keeps features of pictures by their contents.
    """

    features: str | None = None
    resize: Resize | None = None
    weights: Path | None = None
    random: int | None = None
    lpips: Trunk = "alex"
    lpips_weights: Path | None = None
    palette: str | None = None
    luma: bool = False
    shave: int = 0
    step: int = 4
    size: int | None = None
    classifier: Path | None = None
    groups: Literal["stem", "folder"] | None = None
    maps: Path | None = None
    batch: int = 16
    workers: int | None = None
    device: str = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.random is not None and (self.weights or self.lpips_weights):
            raise UserError("weights are either a file's or random: leave one of --weights and --random-features out")

    def plain(self) -> dict[str, Any]:
        """What is not as usual, as JSON can say it."""
        usual = asdict(Settings())
        chosen = {name: value for name, value in asdict(self).items() if value != usual[name] and name != "cache"}
        return {name: os.fspath(value) if isinstance(value, Path) else value for name, value in chosen.items()}


class Instruments:
    """The networks that settings ask for, each made when it is first needed, and kept."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.extractors: dict[str, Extractor] = {}

    def extractor(self, metric: str) -> Extractor:
        """Of one of OF_SETS. Raises UserError."""
        chosen = self.settings
        name = chosen.features or ("clip" if metric == "cmmd" else "inception")
        if name not in self.extractors:
            self.extractors[name] = extractor(name, resize=chosen.resize, weights=chosen.weights, random=chosen.random,
                                              device=chosen.device, precision=chosen.precision)  # fmt: skip
        return self.extractors[name]

    @cached_property
    def lpips(self) -> Lpips:
        try:
            import lpips  # noqa: F401
        except ImportError:
            raise UserError("LPIPS is the package lpips: pip install 'i2i-toolkit[metrics]'") from None
        chosen = self.settings
        return Lpips(chosen.lpips, weights=chosen.lpips_weights, random=chosen.random, device=chosen.device,
                     precision=chosen.precision)  # fmt: skip

    @cached_property
    def palette(self) -> Palette:
        if self.settings.palette is None:
            raise UserError("accuracy and miou need to know which colour is which class; name a palette: maps, "
                            "cityscapes, or a text file of 'r g b name'")  # fmt: skip
        return Palette.read(self.settings.palette)

    @cached_property
    def classifier(self) -> Extractor:
        chosen = self.settings
        return extractor(str(chosen.classifier), device=chosen.device, precision=chosen.precision)

    def prepare(self, metrics: Sequence[str]) -> None:
        """Make what these metrics need: what is missing is said before a picture is read. Raises UserError."""
        for metric in metrics:
            if metric in OF_SETS:
                self.extractor(metric)
            elif metric == "lpips" or (metric == "diversity" and self.settings.groups):
                assert self.lpips
            elif metric in LABELS:
                assert self.palette
        if self.settings.classifier and "diversity" in metrics:
            assert self.classifier

    def made(self) -> list[tuple[Mapping[str, str | int], tuple[str, ...]]]:
        """Identity and sentences of the networks that were made."""
        lpips: list[Any] = [vars(self)["lpips"]] if "lpips" in vars(self) else []
        classifier: list[Any] = [vars(self)["classifier"]] if "classifier" in vars(self) else []
        return [(each.identity, each.said) for each in (*self.extractors.values(), *lpips, *classifier)]
