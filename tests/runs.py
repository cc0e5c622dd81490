"""The run that test_resume.py kills: a tiny CycleGAN on real files, a save after every step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from games import tiny_cyclegan

from i2i.data.datasets import Unaligned
from i2i.host import seeded
from i2i.recipe import Training
from i2i.schedules import LinearToZero
from i2i.spec import Spec
from i2i.trainer import Trainer

SETTINGS: dict[str, Any] = {
    "images": 24,
    "threads": 1,
    "save_every": 1,
    "log_every": 5,
    "grid_every": 100,
    "rate": Spec.to(LinearToZero, hold=8, end=24),
}


def make_trainer(pictures: Path, out: Path, **more: Any) -> Trainer:
    with seeded(1):
        game = tiny_cyclegan(pool=4)
    data = Unaligned(str(pictures / "a"), str(pictures / "b"), load=36, crop=32, seed=1)
    settings = Training(**{**SETTINGS, **more})
    return Trainer(game, data, settings, out, device="cpu", say=lambda sentence: None)


def child(pictures: Path, out: Path, more: dict[str, Any]) -> None:
    make_trainer(pictures, out, **more).run(quiet=True)
