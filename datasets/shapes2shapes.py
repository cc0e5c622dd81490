"""Makes an unpaired data set whose answer is known: warm discs on light ground, and cool squares on dark ground.

    python datasets/shapes2shapes.py [OUT] [--train 400] [--test 40] [--side 64] [--seed 0]

A scene is one to three shapes: where they are, how large, how bright. A shows it as discs, B as squares of the same
area, so that to every picture of A there is one of B. Training gets different scenes on the two sides; in testA and
testB pictures of equal names are one scene, and what a translation makes can be compared with what it should be. A
thousand pictures of 64 pixels take a second.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

TRAIN_A, TRAIN_B, TEST = range(3)  # streams of scenes
WARM, COOL = np.array([(120, 26, 18), (255, 176, 92)]), np.array([(20, 44, 112), (120, 214, 255)])  # dark, bright
LIGHT, DARK = np.array((236, 230, 216)), np.array((30, 32, 40))


class Shape(NamedTuple):
    """Its middle and radius as shares of the picture's side, and its brightness in [0,1]."""

    x: float
    y: float
    radius: float
    tone: float


def scene(seed: int, stream: int, number: int) -> tuple[Shape, ...]:
    """One to three shapes that do not touch each other or the border."""
    draw = np.random.Generator(np.random.PCG64([seed, stream, number]))
    shapes: list[Shape] = []
    for _ in range(int(draw.integers(1, 4))):
        for _ in range(20):
            radius = draw.uniform(0.08, 0.2)
            x, y = draw.uniform(1.25 * radius, 1 - 1.25 * radius, 2)
            if all(np.hypot(x - other.x, y - other.y) > 1.3 * (radius + other.radius) for other in shapes):
                shapes.append(Shape(float(x), float(y), float(radius), float(draw.random())))
                break
    return tuple(shapes)


def painted(
    shapes: tuple[Shape, ...], side: int, ground: NDArray[np.int64], colours: NDArray[np.int64], disc: bool
) -> Pixels:
    """[side,side,3] RGB; edges are a pixel wide."""
    places = (np.arange(side) + 0.5) / side
    y, x = places[:, None], places[None]
    pixels = np.empty((side, side, 3))
    pixels[:] = ground + 10 * (y - 0.5)[..., None]
    for shape in shapes:
        if disc:
            beyond = np.hypot(x - shape.x, y - shape.y) - shape.radius
        else:  # of the same area
            beyond = np.maximum(np.abs(x - shape.x), np.abs(y - shape.y)) - shape.radius * np.sqrt(np.pi) / 2
        share = np.clip(0.5 - beyond * side, 0, 1)[..., None]
        pixels = pixels * (1 - share) + share * (colours[0] + shape.tone * (colours[1] - colours[0]))
    return np.round(pixels).astype(np.uint8)


def discs(shapes: tuple[Shape, ...], side: int = 64) -> Pixels:
    """The scene as A shows it."""
    return painted(shapes, side, LIGHT, WARM, disc=True)


def squares(shapes: tuple[Shape, ...], side: int = 64) -> Pixels:
    """The scene as B shows it."""
    return painted(shapes, side, DARK, COOL, disc=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    here = Path(__file__).resolve().parent / "shapes2shapes"
    parser.add_argument("out", nargs="?", type=Path, default=here, help="folder to write to")
    parser.add_argument("--train", type=int, default=400, help="training pictures of each kind")
    parser.add_argument("--test", type=int, default=40, help="test pictures of each kind")
    parser.add_argument("--side", type=int, default=64, help="height and width in pixels")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    for name, stream, count, draw in (
        ("trainA", TRAIN_A, chosen.train, discs), ("trainB", TRAIN_B, chosen.train, squares),
        ("testA", TEST, chosen.test, discs), ("testB", TEST, chosen.test, squares),
    ):  # fmt: skip
        (chosen.out / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.fromarray(draw(scene(chosen.seed, stream, number), chosen.side)).save(
                chosen.out / name / f"{number:05}.png"
            )
    print(f"{chosen.out}: {chosen.train} of each kind for training, {chosen.test} for testing")


if __name__ == "__main__":
    main()
