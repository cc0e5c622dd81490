"""How good are the generators between street maps and aerial photographs? Measured on maps/val at 256 x 256.

    python benchmarks/maps.py [--model MODEL ...] [--mode deterministic] [--data maps/val] [--json]

Both halves of every picture are resized by Pillow's bicubic. Maps are compared with the true maps: pooled RGB RMSE,
the share of pixels whose channels are all within 5 levels, and the mean IoU over five classes by nearest palette
colour, from one confusion matrix over all images. Aerials have no such truth: they are turned back into maps by a
judge, a generator from aerials to maps, and compared with what the judge makes of the true aerials; their mean gradient
magnitude beside that of the true aerials says whether they are as sharp. Rows of things that are no translation show
what the figures are worth.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from i2i.errors import UserError
from i2i.metrics import fidelity
from i2i.metrics.agreement import Agreement, Palette

Pixels = NDArray[np.uint8]  # [H,W,3] RGB

COLOURS = Palette.read("maps")
PALETTE = COLOURS.classes
SIZE = 256
BLUR = 2.0  # pixels, sigma of the row "truth blurred"
JUDGE = "pix2pix/aerial2map"


def pairs(folder: Path) -> tuple[list[Pixels], list[Pixels]]:
    """The aerials (left halves) and the maps (right halves) of a folder of side-by-side pairs, at SIZE x SIZE."""
    files = sorted([*folder.glob("*.jpg"), *folder.glob("*.png")])
    if not files:
        raise UserError(f"{folder} holds no pictures; name the folder of side-by-side pairs with --data")
    aerials: list[Pixels] = []
    maps: list[Pixels] = []
    for file in files:
        with Image.open(file) as opened:
            picture = opened.convert("RGB")
        half = picture.width // 2
        for kept, box in ((aerials, (0, 0, half, picture.height)), (maps, (half, 0, 2 * half, picture.height))):
            kept.append(np.asarray(picture.crop(box).resize((SIZE, SIZE), Image.Resampling.BICUBIC)))
    return aerials, maps


def score_maps(predicted: Sequence[Pixels], truth: Sequence[Pixels]) -> dict[str, float]:
    """Figures of maps beside the true maps, all pooled over the images: some of `Agreement.figures`.

    Args:
        predicted, truth: equally many [H,W,3] RGB, equally large.

    Returns:
        "rmse", "within5", "miou", and "iou_<class>" of the classes that occur in either.
    """
    if len(predicted) != len(truth) or not truth:
        raise ValueError(f"{len(predicted)} predicted and {len(truth)} true maps")
    agreement = Agreement(COLOURS)
    for ours, theirs in zip(predicted, truth, strict=True):
        agreement.add(ours, theirs)
    return {name: value for name, value in agreement.figures().items() if "accuracy" not in name}


def gradient(images: Sequence[Pixels]) -> float:
    """Mean gradient magnitude of the gray images, in levels per pixel."""
    return sum(map(fidelity.gradient, images)) / len(images)


def score_aerials(
    made: Sequence[Pixels], aerials: Sequence[Pixels], maps: Sequence[Pixels], *, judge: Any, judged: float
) -> dict[str, float]:
    """Figures of generated aerials.

    Args:
        made: aerials generated from `maps`.
        aerials: the true ones.
        judge: an engine from aerials to maps.
        judged: the mIoU of what the judge makes of the true aerials.
    """
    back = score_maps(run(judge, made), maps)
    return {
        "back_miou": back["miou"],
        "back_ratio": back["miou"] / judged,
        "gradient": gradient(made),
        "gradient_ratio": gradient(made) / gradient(aerials),
    }


def run(engine: Any, images: Sequence[Pixels], batch: int = 8) -> list[Pixels]:
    """The images through the engine, a few at a time, so that a terminal can show how far it is."""
    made: list[Pixels] = []
    for start in range(0, len(images), batch):
        made += engine.run(list(images[start : start + batch]))
        if sys.stderr.isatty():
            end = "\n" if len(made) == len(images) else ""
            print(f"\r{len(made)} of {len(images)}", end=end, file=sys.stderr, flush=True)
    return made


def baselines(maps: Sequence[Pixels]) -> Iterator[tuple[str, dict[str, float]]]:
    """What scores without any translation."""
    flat = np.full_like(maps[0], PALETTE["background"])
    yield "a constant image", score_maps([flat] * len(maps), maps)
    yield "another map", score_maps([*maps[1:], maps[0]], maps)
    yield (
        "the truth blurred",
        score_maps([np.asarray(cv2.GaussianBlur(image, (0, 0), BLUR), np.uint8) for image in maps], maps),
    )


def makes_aerials(name: str, card: Any) -> bool:
    """Whether a generator goes from maps to aerials, by its card's words or, where they do not say, by its name."""
    for words, answer in ((card.b, True), (card.a, False)):
        if "aerial" in words.lower():
            return answer
    if ("map2aerial" in name) != ("aerial2map" in name):
        return "map2aerial" in name
    raise UserError(f"neither the card nor the name of {name} says whether it makes maps or aerials")


def measure(chosen: argparse.Namespace) -> Iterator[tuple[str, dict[str, float]]]:
    from i2i.cli import tune_allocator
    from i2i.data.folders import find

    tune_allocator()
    aerials, maps = pairs(find(chosen.data))
    aerials, maps = aerials[: chosen.limit], maps[: chosen.limit]
    yield from baselines(maps)
    if not chosen.model:
        return
    from i2i.engine import Engine
    from i2i.zoo import load_generator

    def engine(model: str) -> Any:
        generator: Any = load_generator(model)
        mode = chosen.mode if chosen.mode in generator.card.modes else None
        return Engine(generator, device=chosen.device, precision=chosen.precision, mode=mode, seed=chosen.seed)

    judge, judged = None, 0.0
    for model in chosen.model:
        player = engine(model)
        if not makes_aerials(model, player.card):
            yield model, score_maps(run(player, aerials), maps)
            continue
        if judge is None:
            judge = engine(chosen.judge)
            judged = score_maps(run(judge, aerials), maps)["miou"]
            yield "the true aerials", score_aerials(aerials, aerials, maps, judge=judge, judged=judged)
        yield model, score_aerials(run(player, maps), aerials, maps, judge=judge, judged=judged)


def table(rows: Sequence[tuple[str, dict[str, float]]]) -> Iterator[str]:
    """Text lines: one table of maps, one of aerials."""
    for key in ("rmse", "back_miou"):
        kept = [(name, figures) for name, figures in rows if key in figures]
        if not kept:
            continue
        columns = list(dict.fromkeys(column for _, figures in kept for column in figures))
        width = max(len(name) for name, _ in kept)
        yield "  ".join([" " * width, *(f"{column:>14}" for column in columns)])
        for name, figures in kept:
            cells = [f"{figures[column]:>14.3f}" if column in figures else f"{'-':>14}" for column in columns]
            yield "  ".join([f"{name:<{width}}", *cells])
        yield ""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--model", nargs="+", default=[], help="family/name or a generator file; none: only the baselines"
    )
    parser.add_argument("--mode", default="deterministic", help="test-time mode, where the model has it")
    parser.add_argument(
        "--data", default="maps/val", help="folder of side-by-side pairs, also looked for under $I2I_DATA"
    )
    parser.add_argument("--judge", default=JUDGE, help=f"generator from aerials to maps that judges aerials ({JUDGE})")
    parser.add_argument("--limit", type=int, default=None, help="only so many images: quicker, and not comparable")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--seed", type=int, default=0, help="of the dropout in the paper's mode")
    parser.add_argument("--json", action="store_true", help="one JSON object per row instead of a table")
    chosen = parser.parse_args()
    try:
        if chosen.json:
            for name, figures in measure(chosen):
                print(json.dumps({"row": name, **figures}), flush=True)
        else:
            print("\n".join(table(list(measure(chosen)))))
    except UserError as error:
        print(f"maps.py: {error}", file=sys.stderr)
        sys.exit(error.code)


if __name__ == "__main__":
    main()
