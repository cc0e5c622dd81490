"""What is a figure of `i2i evaluate` worth? The figures of what is no translation, and no enlargement by a network.

    python benchmarks/baselines.py maps [--data maps/val] [--first N] [--json]
    python benchmarks/baselines.py enlarging [--data sr/Set5 sr/Set14] [--scale 4] [--json]
    python benchmarks/baselines.py colouring [--data sr/Set14] [--json]

maps: a constant image, the next pair's map, and the true map blurred, as if they were made from the aerial photographs.
enlarging: Pillow's bicubic; and the true pictures, for what grid and levels are where no network was.
colouring: the gray picture, and the gray picture with the mean colour of the other pictures.

The pictures are written to files and measured by `i2i.evaluate` as those of `i2i evaluate --model MODEL --data DATA`
are, so that the rows stand beside each other.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from i2i import evaluate, images
from i2i.errors import UserError
from i2i.game import Card, Content
from i2i.metrics.agreement import Palette
from i2i.metrics.generated import split_of, write
from i2i.metrics.instruments import Settings

Pixels = NDArray[np.uint8]  # [H,W] gray or [H,W,3] RGB
Pairs = list[tuple[str, Pixels, Pixels]]
"""Stem, what goes in, what is wanted."""

Baseline = Callable[[Pairs, int], Pixels]
"""(pairs, which) -> what is given out for that one."""

SIZE = 256
BLUR = 2.0  # pixels, sigma


def constant(pairs: Pairs, index: int) -> Pixels:
    return np.full_like(pairs[index][2], Palette.read("maps").classes["background"])


def another(pairs: Pairs, index: int) -> Pixels:
    return pairs[(index + 1) % len(pairs)][2]


def blurred(pairs: Pairs, index: int) -> Pixels:
    return np.asarray(cv2.GaussianBlur(pairs[index][2], (0, 0), BLUR), np.uint8)


def gray(pairs: Pairs, index: int) -> Pixels:
    wanted = pairs[index][2]
    return images.coloured(np.zeros((*wanted.shape[:2], 2), np.float32), wanted)


def tinted(pairs: Pairs, index: int) -> Pixels:
    means = [images.lab(wanted)[..., 1:].mean((0, 1)) for place, (_, _, wanted) in enumerate(pairs) if place != index]
    wanted = pairs[index][2]
    return images.coloured(np.broadcast_to(np.mean(means, axis=0), (*wanted.shape[:2], 2)), wanted)


def bicubic(pairs: Pairs, index: int) -> Pixels:
    _, small, large = pairs[index]
    enlarged = Image.fromarray(small).resize((large.shape[1], large.shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(enlarged)


def truth(pairs: Pairs, index: int) -> Pixels:
    return pairs[index][2]


def measure(
    data: str, card: Card, baselines: dict[str, Baseline], metrics: Sequence[str], settings: Settings, first: int | None
) -> Iterator[dict[str, Any]]:
    """A row of figures of each baseline on one data set."""
    split = split_of([data], card, "a2b" if card.scale == 1 else None, settings.size)
    pairs: Pairs = [(item.stem, *item.read()) for item in split.items[:first]]  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        for name, baseline in baselines.items():
            for index, (stem, _, wanted) in enumerate(pairs):
                write(wanted, Path(folder) / "real" / f"{stem}.png")
                write(baseline(pairs, index), Path(folder) / name / f"{stem}.png")
            report = evaluate(Path(folder) / "real", Path(folder) / name, metrics, settings=settings, fresh=True)
            yield {"data": data, "row": name, **{str(each): each.value for each in report.figures}}


def rows(chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    if chosen.what == "maps":
        made: dict[str, Baseline] = {"a constant image": constant, "another map": another, "the truth blurred": blurred}
        for data in chosen.data or ["maps/val"]:
            yield from measure(data, Card(), made, ["rmse", "accuracy", "miou"],
                               Settings(palette="maps", size=SIZE), chosen.first)  # fmt: skip
        return
    if chosen.what == "colouring":
        card = Card(channels=(1, 2), holds=(Content("lightness"), Content("chroma")))
        for data in chosen.data or ["sr/Set14"]:
            plain: dict[str, Baseline] = {"gray": gray, "one colour": tinted}
            yield from measure(data, card, plain, ["ab", "chroma"], Settings(), chosen.first)
        return
    scale = chosen.scale
    settings = Settings(luma=True, shave=scale, step=scale)
    for data in chosen.data or ["sr/Set5", "sr/Set14"]:
        metrics = ["psnr", "ssim", "octave", "grid", "levels"]
        yield from measure(data, Card(scale=scale), {"bicubic": bicubic}, metrics, settings, chosen.first)
        yield from measure(data, Card(scale=scale), {"the true pictures": truth}, metrics[2:], settings, chosen.first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["maps", "enlarging", "colouring"])
    parser.add_argument("--data", nargs="+", help="test splits, also looked for under $I2I_DATA")
    parser.add_argument("--scale", type=int, choices=[2, 3, 4, 8], default=4, help="of the enlargement")
    parser.add_argument("--first", type=int, help="only so many pictures")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    chosen = parser.parse_args()
    try:
        for row in rows(chosen):
            if chosen.json:
                print(json.dumps(row), flush=True)
                continue
            print(f"{row.pop('data')}: {row.pop('row')}")
            for name, value in row.items():
                print(f"    {name:<36}{'-' if value is None else f'{value:.4f}'}", flush=True)
    except UserError as error:
        print(f"baselines.py: {error}", file=sys.stderr)
        sys.exit(error.code)


if __name__ == "__main__":
    main()
