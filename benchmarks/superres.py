"""How good are the generators that enlarge photographs? Measured on Set5 and Set14.

    python benchmarks/superres.py [--model MODEL ...] [--scale 4] [--data sr] [--json]

The protocol is that of `i2i.metrics.fidelity`: BT.601 luma, results rounded to 8 bits, as many pixels of each border
left out as the enlargement. Small pictures are those of the set where it has them, else made by the same rule
(`i2i.data.bicubic`). All pictures count, also the gray one of Set14.

    psnr, ssim   means over the set
    octave       energy between a quarter and half of the sampling rate over that of the true pictures, mean
    grid         how far frequencies that repeat every input pixel stand out of their neighbours, median: checkerboards
    levels       the strongest such wave, its amplitude in grey levels, median
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from i2i.errors import UserError
from i2i.metrics.fidelity import grid, pattern, psnr, sharpness, ssim
from i2i.metrics.validation import reduced

Pixels = NDArray[np.uint8]  # [H,W] gray or [H,W,3] RGB


COLUMNS = (("psnr", 8, 2), ("ssim", 8, 4), ("octave", 9, 4), ("grid", 8, 1), ("levels", 8, 2))  # width, digits


class Pair(NamedTuple):
    """A picture and its original, which is `scale` times as large."""

    small: Pixels
    large: Pixels


def pairs(folder: Path, scale: int) -> list[Pair]:
    """The pairs of one set: originals from the first folder x*/HR, small ones from x{scale}/LR or made here."""
    originals = [folder / f"x{scale}" / "HR", *sorted(folder.glob("x*/HR")), folder / "HR", folder]
    files = next((found for place in originals if (found := sorted(place.glob("*.png")))), [])
    if not files:
        raise UserError(f"{folder} holds no PNG pictures in x{scale}/HR; name the folder of the test sets with --data")
    found = []
    for file in files:
        large = read(file)
        large = large[: len(large) // scale * scale, : large.shape[1] // scale * scale]
        given = folder / f"x{scale}" / "LR" / file.name
        found.append(Pair(read(given) if given.is_file() else reduced(large, scale), large))
    return found


def read(file: Path) -> Pixels:
    with Image.open(file) as opened:
        return np.asarray(opened if opened.mode in ("L", "RGB") else opened.convert("RGB"))


def score(made: Sequence[Pixels], truth: Sequence[Pixels], scale: int) -> dict[str, float]:
    """Figures of a set."""
    both = list(zip(made, truth, strict=True))
    return {
        "psnr": float(np.mean([psnr(ours, theirs, shave=scale) for ours, theirs in both])),
        "ssim": float(np.mean([ssim(ours, theirs, shave=scale) for ours, theirs in both])),
        "octave": float(np.mean([sharpness(ours) / sharpness(theirs) for ours, theirs in both])),
        **checkered(made, scale),
    }


def checkered(pictures: Sequence[Pixels], scale: int) -> dict[str, float]:
    """How much of a grid is in the pictures of a set."""
    found = {"grid": [grid(picture, scale) for picture in pictures]}
    found["levels"] = [pattern(picture, scale) for picture in pictures]
    return {name: float(np.median(values)) for name, values in found.items()}


def bicubic(small: Pixels, scale: int) -> Pixels:
    """Pillow's enlargement."""
    picture = Image.fromarray(small)
    return np.asarray(picture.resize((scale * picture.width, scale * picture.height), Image.Resampling.BICUBIC))


def rows(chosen: argparse.Namespace) -> Iterator[tuple[str, Callable[[Pixels], Pixels]]]:
    """Names, and how each enlarges a picture."""
    yield "bicubic", lambda small: bicubic(small, chosen.scale)
    if not chosen.model:
        return
    from i2i.engine import Engine
    from i2i.zoo import load_generator

    for model in chosen.model:
        generator: Any = load_generator(model)
        if generator.card.scale != chosen.scale:
            raise UserError(f"{model} enlarges {generator.card.scale} times; name --scale {generator.card.scale}")
        engine = Engine(generator, device=chosen.device, precision=chosen.precision)
        yield model, lambda small, engine=engine: engine.run([small])[0]  # type: ignore[misc]


def measure(chosen: argparse.Namespace) -> Iterator[tuple[str, str, dict[str, float]]]:
    from i2i.cli import tune_allocator
    from i2i.data.folders import find

    tune_allocator()
    sets = {name: pairs(find(chosen.data) / name, chosen.scale) for name in chosen.sets}
    for name, found in sets.items():
        truth = [pair.large for pair in found]
        yield name, "the true pictures", {"octave": 1.0, **checkered(truth, chosen.scale)}
    for row, enlarge in rows(chosen):
        for name, found in sets.items():
            made = [enlarge(pair.small) for pair in found]
            yield name, row, score(made, [pair.large for pair in found], chosen.scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", nargs="+", default=[], help="family/name or a generator file; none: only bicubic")
    parser.add_argument("--scale", type=int, choices=[2, 3, 4, 8], default=4)
    parser.add_argument("--data", default="sr", help="folder of the test sets, also looked for under $I2I_DATA")
    parser.add_argument("--sets", nargs="+", default=["Set5", "Set14"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--json", action="store_true", help="one JSON object per row instead of a table")
    chosen = parser.parse_args()
    try:
        if not chosen.json:
            print(f"{'set':<8}{'row':<32}" + "".join(f"{key:>{width}}" for key, width, _ in COLUMNS))
        for name, row, figures in measure(chosen):
            if chosen.json:
                print(json.dumps({"set": name, "row": row, **figures}), flush=True)
                continue
            cells = [
                f"{figures[key]:{width}.{digits}f}" if key in figures else f"{'':{width}}"
                for key, width, digits in COLUMNS
            ]
            print(f"{name:<8}{row:<32}{''.join(cells)}", flush=True)
    except UserError as error:
        print(f"superres.py: {error}", file=sys.stderr)
        sys.exit(error.code)


if __name__ == "__main__":
    main()
