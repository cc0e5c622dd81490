"""DiscoGAN's experiment with points (Kim et al. 2017, Sec. 3.1, Fig. 4): do translations collapse onto few modes?

    python benchmarks/mixtures.py -o FOLDER         # a figure and a table, from five seeds: five minutes of one core

It plays the recipes discogan-mixtures, discogan-mixtures-reconstruction and discogan-mixtures-gan with each seed (runs
are kept in FOLDER/runs, and continued), translates new points of A, and prints

    modes       of B that were reached: at least 1 % of the translations lie within three standard deviations of it
    one-to-one  of those, the ones whose points come from one mode of A to at least 95 %
    near        the share of all translations that lie within three standard deviations of some mode

FOLDER/mixtures.png: on the left the points of A, each mode in its colour; then, a column for each seed, what the models
make of them, with the modes of B as crosses, on what B's discriminator says (the lighter the truer, lines in between).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from i2i.data.datasets import A_SIDE, B_SIDE
from i2i.data.mixtures import Mixtures, Points
from i2i.errors import UserError
from i2i.host import seeded
from i2i.journal import save_sheet
from i2i.recipe import build, load
from i2i.schedules import Purpose
from i2i.trainer import Trainer
from i2i.translation.discogan import DiscoGAN

RECIPES = {
    "plain GAN": "discogan-mixtures-gan",
    "one reconstruction": "discogan-mixtures-reconstruction",
    "DiscoGAN": "discogan-mixtures",
}
TESTED, SHOWN = 10_000, 600  # points
UNSEEN = 1_000_003  # the seed of the points tested
LEAST, PURE, FAR = 0.01, 0.95, 3.0
SIDE, BAND, GAP = 260, 22, 6  # pixels
COLOURS = [(214, 39, 40), (31, 119, 180), (44, 160, 44), (255, 127, 14), (148, 103, 189)]
LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the discriminator, where lines are drawn


class Found(NamedTuple):
    """What became of a model with one seed."""

    modes: int
    one_to_one: int
    near: float


class Played(NamedTuple):
    """A model, its data, and what it made of new points of A."""

    game: DiscoGAN
    data: Mixtures
    given: Points
    made: Tensor


def play(name: str, seed: int, out: Path, images: int | None) -> Played:
    """Train a recipe with a seed, or continue it, and translate new points."""
    overrides = [f"training.seed={seed}"] + ([f"training.images={images}"] if images else [])
    recipe = load(name, overrides)
    data: Mixtures = build(recipe.data, seed=seed)
    with seeded(seed, Purpose.INIT):
        game: DiscoGAN = build(recipe.game)
    trainer = Trainer(game, data, recipe.training, out, device="cpu", say=lambda sentence: None)
    trainer.run(quiet=True)
    given = data.draw(A_SIDE, TESTED, UNSEEN)
    return Played(game, data, given, translated(game, given.x))


@torch.no_grad()
def translated(game: DiscoGAN, points: Tensor) -> Tensor:
    """Points of A in B, [N,2] => [N,2]."""
    made: Tensor = game.to["b"]((points[:, :, None, None] + 1) / 2)
    return 2 * made[:, :, 0, 0] - 1


@torch.no_grad()
def believed(game: DiscoGAN, points: Tensor) -> Tensor:
    """How true B's discriminator thinks points are, [N,2] => [N] in (0,1)."""
    judge = game.on["b"]
    return judge.score(judge.features((points[:, :, None, None] + 1) / 2)).flatten().sigmoid()


def measure(made: Tensor, source: Tensor, centres: Tensor, spread: float) -> Found:
    """made: [N,2] translations; source: [N] the modes they come from; centres: [K,2] of B's modes."""
    distance, nearest = torch.cdist(made.double(), centres.double()).min(1)
    close = distance <= FAR * spread
    modes = one_to_one = 0
    for mode in range(len(centres)):
        here = source[close & (nearest == mode)]
        if len(here) >= LEAST * len(made):
            modes += 1
            one_to_one += bool(here.bincount().max() >= PURE * len(here))
    return Found(modes, one_to_one, float(close.float().mean()))


def at(points: Tensor, reach: float) -> Any:
    """[N,2] in the plane, up to `reach` => whole pixels of a panel."""
    return ((points / reach + 1) / 2 * SIDE).mul(torch.tensor([1.0, -1.0])).add(torch.tensor([0.0, SIDE])).round().int()


def panel(played: Played, points: Tensor, title: str, *, judged: bool) -> Any:
    """Points in their source's colours, [BAND+SIDE,SIDE,3]; `judged`: in B, on what its discriminator says."""
    reach = 1.4 * played.data.radius
    sheet = np.full((SIDE, SIDE, 3), 255, np.uint8)
    if judged:
        line = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
        grid = reach * torch.stack(torch.meshgrid(line, -line, indexing="xy"), 2)
        truth = believed(played.game, grid.reshape(-1, 2)).reshape(SIDE, SIDE).numpy()
        sheet = np.rint(170 + 85 * truth)[..., None].repeat(3, 2).astype(np.uint8)
        for level in LEVELS:
            lines, _ = cv2.findContours((truth > level).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(sheet, lines, -1, (150, 150, 150), 1)
    for (x, y), mode in zip(at(points[:SHOWN], reach).tolist(), played.given.mode.tolist(), strict=False):
        cv2.circle(sheet, (x, y), 2, COLOURS[mode % len(COLOURS)], -1, cv2.LINE_AA)
    for x, y in at(played.data.centres(B_SIDE), reach).tolist() if judged else []:
        cv2.drawMarker(sheet, (x, y), (0, 0, 0), cv2.MARKER_TILTED_CROSS, 10, 2)
    cv2.rectangle(sheet, (0, 0), (SIDE - 1, SIDE - 1), (150, 150, 150))
    head = np.full((BAND, SIDE, 3), 255, np.uint8)
    cv2.putText(head, title, (2, BAND - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([head, sheet])


def figure(rows: list[list[Any]]) -> Any:
    """Panels in rows, with white between them."""
    padded = [[np.pad(cell, ((GAP, 0), (GAP, 0), (0, 0)), constant_values=255) for cell in row] for row in rows]
    return np.pad(np.vstack([np.hstack(row) for row in padded]), ((0, GAP), (0, GAP), (0, 0)), constant_values=255)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the figure and the runs")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 1 to N")
    parser.add_argument("--images", type=int, help="points per training, instead of the recipes'")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each training")
    chosen = parser.parse_args()
    rows, found = [], dict[str, list[Found]]()
    try:
        for words, recipe in RECIPES.items():
            row = []
            for seed in range(1, chosen.seeds + 1):
                played = play(recipe, seed, chosen.out / "runs" / f"{recipe}-{seed}", chosen.images)
                result = measure(played.made, played.given.mode, played.data.centres(B_SIDE), played.data.spread)
                found.setdefault(words, []).append(result)
                row += [] if row else [panel(played, played.given.x, "A", judged=False)]
                title = f"{words} {seed}: {result.modes} modes, {result.one_to_one} one-to-one"
                row.append(panel(played, played.made, title, judged=True))
                line = {"model": words, "seed": seed, **result._asdict()}
                print(json.dumps(line) if chosen.json else
                      f"{words:20}seed {seed}   modes {result.modes:2}   one-to-one {result.one_to_one:2}   "
                      f"near {result.near:.2f}", flush=True)  # fmt: skip
            rows.append(row)
    except UserError as error:
        print(f"mixtures.py: {error}", file=sys.stderr)
        sys.exit(error.code)
    save_sheet(chosen.out / "mixtures.png", figure(rows))
    if not chosen.json:
        modes = played.data.modes[B_SIDE]
        for words, results in found.items():
            whole = sum(result.modes == result.one_to_one == modes for result in results)
            median = statistics.median(result.modes for result in results)
            print(f"{words:20}median {median:g} of {modes} modes; all, one-to-one: {whole} of {len(results)} seeds")
        print(chosen.out / "mixtures.png")


if __name__ == "__main__":
    main()
