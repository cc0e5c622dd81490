"""Makes captioned coloured digits of MNIST: "a red seven on a dark green ground, tilted left", 64x64 pixels.

    python datasets/captioned_digits.py [OUT] [--train 24000] [--test 2400] [--seed 0]

Below OUT: `train` and `test` with pictures, beside each a .txt of five captions, a line each, and in each folder
`labels.tsv`, which says of every picture its digit, colour, ground, tilt, and all of them together as its scene; and
`held_out.txt`. Training pictures are made of MNIST's training digits, the others of its test digits.

One in ten combinations of digit, colour and ground is held out: those with
(3 digit + 2 colour + ground) mod 10 = 4, the last two by their places in `COLOURS` and `GROUNDS`. They are never seen
in `train`, and `test` shows them alone. `held_out.txt` says each of the 42 in words. Every colour is held out on every
ground with one digit, and a network that draws them has put together what it knows of the parts.

The same seed makes the same pictures on every machine, but for rounding.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from i2i.data.folders import find
from i2i.data.labelled import read_idx

SIDE = 64
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURS = {  # R, G, B
    "red": (235, 35, 35),
    "yellow": (250, 225, 45),
    "green": (50, 205, 60),
    "blue": (65, 115, 255),
    "pink": (255, 105, 205),
    "white": (250, 250, 250),
    "turquoise": (45, 220, 215),
}
GROUNDS = {
    "black": (8, 8, 8),
    "grey": (98, 98, 98),
    "dark red": (92, 12, 16),
    "dark green": (12, 72, 28),
    "dark blue": (14, 24, 96),
    "dark purple": (72, 18, 92),
}
TILTS = {"left": 24.0, "upright": 0.0, "right": -24.0}  # degrees, anticlockwise

ENLARGED = 2.1  # how large a pixel of MNIST is drawn
SWAY, SHIFT, SHADE = 7.0, 2.5, 10.0  # how far angles in degrees, places in pixels and colours differ at most

WHOLE = (
    "a {colour} {digit} on a {ground} ground{tilted}",
    "a {colour} {digit} on {ground}{tilted}",
    "on a {ground} ground, a {colour} {digit}{tilted}",
    "the digit {digit} in {colour} on a {ground} ground{tilted}",
    "the number {figure}, painted {colour} on {ground}{tilted}",
    "a {ground} picture of a {colour} {digit}{tilted}",
)
PART = (
    "a {colour} {digit}",
    "the number {figure} in {colour}",
    "the digit {digit} on {ground}{tilted}",
    "a {colour} digit on a {ground} ground",
    "a {colour} {digit}{tilted}",
)
TILTED = {
    "left": (", tilted left", ", leaning to the left"),
    "upright": ("", ", upright"),
    "right": (", tilted right", ", leaning to the right"),
}


@dataclass(frozen=True)
class Scene:
    """What a picture shows, in the words of the tables above; `digit` as a number."""

    digit: int
    colour: str
    ground: str
    tilt: str

    @property
    def held_out(self) -> bool:
        """Whether its digit, colour and ground never come together in training."""
        colour, ground = list(COLOURS).index(self.colour), list(GROUNDS).index(self.ground)
        return (3 * self.digit + 2 * colour + ground) % 10 == 4

    def said(self, form: str, tilted: str = "") -> str:
        words = {"colour": self.colour, "ground": self.ground, "digit": DIGITS[self.digit], "figure": self.digit}
        return form.format(**words, tilted=tilted)


SCENES = [Scene(d, c, g, t) for d in range(10) for c in COLOURS for g in GROUNDS for t in TILTS]


def captions(scene: Scene, draw: np.random.Generator) -> list[str]:
    """Five sentences: the first as in `held_out.txt`, another that says everything, three that leave something out."""
    first, *others = TILTED[scene.tilt]
    whole, parts = draw.permutation(len(WHOLE) - 1)[:1] + 1, draw.permutation(len(PART))[:3]
    forms = [WHOLE[place] for place in whole] + [PART[place] for place in parts]
    return [
        scene.said(WHOLE[0], first),
        *(scene.said(form, str(draw.choice([first, *others]))) for form in forms),
    ]


def picture(digit: NDArray[np.uint8], scene: Scene, draw: np.random.Generator) -> NDArray[np.uint8]:
    """[28,28] of MNIST => [64,64,3] RGB."""
    angle = TILTS[scene.tilt] + draw.uniform(-SWAY, SWAY)
    middle = (digit.shape[1] - 1) / 2, (digit.shape[0] - 1) / 2
    place = cv2.getRotationMatrix2D(middle, angle, ENLARGED * draw.uniform(0.94, 1.06))
    place[:, 2] += (SIDE - 1) / 2 - np.array(middle) + draw.uniform(-SHIFT, SHIFT, 2)
    ink = cv2.warpAffine(digit, place, (SIDE, SIDE), flags=cv2.INTER_CUBIC).astype(np.float64)[..., None] / 255
    colour = np.array(COLOURS[scene.colour]) + draw.uniform(-SHADE, SHADE, 3)
    ground = np.array(GROUNDS[scene.ground]) + draw.uniform(-SHADE, SHADE, 3)
    return np.asarray((ground + ink * (colour - ground)).round().clip(0, 255), np.uint8)


def scenes(
    count: int, labels: NDArray[np.uint8], held_out: bool, draw: np.random.Generator
) -> Iterator[tuple[int, Scene]]:
    """(place of a digit of MNIST, what becomes of it), `count` times; a digit is taken again when all have been."""
    possible: dict[int, list[Scene]] = {digit: [] for digit in range(10)}
    for scene in SCENES:
        if scene.held_out == held_out:
            possible[scene.digit].append(scene)
    order = np.concatenate([draw.permutation(len(labels)) for _ in range(-(-count // len(labels)))])
    for place in order[:count]:
        choice = possible[int(labels[place])]
        yield int(place), choice[draw.integers(len(choice))]


def make(out: Path, mnist: Path, *, train: int, test: int, seed: int) -> None:
    """Write the whole data set."""
    for part, (split, files, count) in enumerate((("train", "train", train), ("test", "t10k", test))):
        digits = read_idx(mnist, f"{files}-images-idx3-ubyte", 3)
        labels = read_idx(mnist, f"{files}-labels-idx1-ubyte", 1)
        draw = np.random.Generator(np.random.PCG64([seed, part]))
        folder = out / split
        folder.mkdir(parents=True, exist_ok=True)
        rows = ["file\tdigit\tcolour\tground\ttilt\tscene"]
        for number, (place, scene) in enumerate(scenes(count, labels, split == "test", draw)):
            name = f"{number:05d}"
            made = picture(digits[place], scene, draw)
            if not cv2.imwrite(str(folder / f"{name}.png"), made[..., ::-1]):
                raise OSError(f"cannot write {folder / name}.png")
            (folder / f"{name}.txt").write_text("\n".join(captions(scene, draw)) + "\n")
            words = f"{scene.colour} {scene.digit} on {scene.ground}, {scene.tilt}"
            rows.append(f"{name}.png\t{scene.digit}\t{scene.colour}\t{scene.ground}\t{scene.tilt}\t{words}")
        (folder / "labels.tsv").write_text("\n".join(rows) + "\n")
        print(f"{folder}: {count:,} pictures")
    said = [scene.said(WHOLE[0]) for scene in SCENES if scene.held_out and scene.tilt == "upright"]
    (out / "held_out.txt").write_text("\n".join(said) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    home = Path(__file__).resolve().parent / "captioned_digits"
    parser.add_argument("out", nargs="?", type=Path, default=home, help="folder to write to")
    parser.add_argument("--mnist", default="mnist/raw", help="folder of MNIST's four files, here or under $I2I_DATA")
    parser.add_argument("--train", type=int, default=24_000, help="training pictures")
    parser.add_argument("--test", type=int, default=2_400, help="pictures of held-out combinations")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    make(chosen.out, find(chosen.mnist), train=chosen.train, test=chosen.test, seed=chosen.seed)


if __name__ == "__main__":
    main()
