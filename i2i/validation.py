"""Measuring generators while they train, through the engine: what is measured is what users will get."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from i2i.engine import Engine
from i2i.errors import UserError
from i2i.recipe import Validation, build
from i2i.sampling import Sampler
from i2i.zoo import load_generator

__all__ = ["Measure", "Validator"]


RUNS: dict[str, Callable[..., Any]] = {"image": Engine, "latent": Sampler}
"""The kind of a generator -> what runs it."""


class Measure(Protocol):
    """What a recipe's `validation.measure` builds."""

    def __call__(self, engines: Mapping[str, Any]) -> Mapping[str, float]:
        """Engines, and samplers of what draws from random numbers, by the names of the generators ("a2b",
        "generator") => figures by name; may draw no random number."""


class Validator:
    """Measures generators, and keeps the best of them by one figure.

    Args:
        settings: the `validation` section of a recipe.
        folder: of the run's generators, where NAME.best.safetensors go.
        device: that the engines run on.

    Attributes:
        best: the figure of the best generators so far, by its name in the settings; empty before the first.

    Raises UserError where the measure cannot be built.
    """

    def __init__(self, settings: Validation, folder: Path, device: str) -> None:
        self.settings, self.folder, self.device = settings, folder, device
        self.measure: Measure = build(settings.measure)
        self.best: dict[str, float] = {}

    def __call__(self, write: Callable[[Path], list[Path]]) -> dict[str, float]:
        """Measure generators that `write` puts into a folder as NAME.safetensors; keep them if they are the best.

        Raises UserError where no figure has the name that decides, and OSError.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".validation-") as place:
            files = write(Path(place))
            with torch.random.fork_rng():
                networks: dict[str, Any] = {file.stem: load_generator(file) for file in files}
                runs = {name: RUNS[net.card.kind](net, device=self.device) for name, net in networks.items()
                        if net.card.kind in RUNS}  # fmt: skip
                found = dict(self.measure(runs))
            if self.settings.best and self.better(found):
                for file in files:
                    os.replace(file, self.folder / f"{file.stem}.best.safetensors")
        return found

    def better(self, found: Mapping[str, float]) -> bool:
        """Whether these figures are the best so far; then they are remembered."""
        assert self.settings.best is not None
        way, _, name = self.settings.best.partition(" ")
        if name not in found:
            raise UserError(f"validation.best names '{name}', and what is measured is {', '.join(sorted(found))}")
        value, sign = found[name], 1 if way == "highest" else -1
        before = self.best.get(self.settings.best)
        if not math.isfinite(value) or (before is not None and sign * value <= sign * before):
            return False
        self.best = {self.settings.best: value}
        return True
