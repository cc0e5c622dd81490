"""Why a generator? What a discriminator likes best when it may draw by itself.

    python benchmarks/ascent.py [--model discriminator.safetensors] [--generator generator.safetensors] [-o ascent.png]

A discriminator that tells true digits from drawn ones has a score for every picture; so let it draw, by gradient ascent
on that score, argmax_x D(x), from noise. What it arrives at it holds for truer than true digits, and it is none: the
score was taught on digits and on what one generator drew, and is anything elsewhere. A generator moves along the same
gradient, but what it draws must come out of one small network for all z, and the discriminator is taught on just that,
again and again.

Without --model both networks are those of the recipe dcgan-mnist after its first images (two minutes of one processor
core); with it any discriminator that `i2i train` wrote does, and the generator beside it is taken.

The sheet has a column for each start: from above noise, what has become of it after 1, 10, 100 and all steps; below,
what the generator draws and true digits. Printed: the discriminator's score, and what a classifier that knows digits
makes of them: how sure it is, the entropy of the classes it finds (ten even ones: 2.303), and the Frechet distance to
the training set in its features.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.data.labelled import Digits
from i2i.data.stream import to_range
from i2i.errors import UserError
from i2i.host import seeded, threads
from i2i.inspection import ranged
from i2i.journal import contact_sheet, save_sheet
from i2i.latents import draw
from i2i.layers import test_time
from i2i.metrics.classifier import looked_at
from i2i.metrics.distances import fid
from i2i.zoo import load_generator

RECIPE, IMAGES = "dcgan-mnist", 48_000
COUNT, SHOWN = 500, 12  # pictures that are measured; columns of the sheet
STOPS = 0, 1, 10, 100  # steps after which the pictures are shown, beside the last
STEP = 0.02  # of a pixel's range, in each step


class Row(NamedTuple):
    """A kind of picture.

    Attributes:
        x: [N,1,S,S] in [-1,1].
        score: the discriminator's, raw, on average.
        sure: the classifier's greatest probability, on average.
        entropy: of the classes that it finds, in nats.
        apart: Frechet distance to the training set.
    """

    name: str
    x: Tensor
    score: float
    sure: float
    entropy: float
    apart: float


def ascended(discriminator: nn.Module, x: Tensor, steps: int) -> Iterator[tuple[int, Tensor]]:
    """(steps so far, pictures) at each of STOPS and at the end. Each step moves every pixel of a picture [N,C,S,S] up
    the score's gradient, the one with the steepest by STEP, and keeps it within [-1,1]."""
    for step in range(steps + 1):
        if step in STOPS or step == steps:
            yield step, x
        x = x.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(discriminator(x).sum(), x)
        x = (x.detach() + 2 * STEP * slope / slope.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12)).clamp(-1, 1)


def trained(folder: Path, data: str) -> tuple[Path, Path]:
    """The discriminator and generator of the recipe's first images."""
    from i2i.recipe import build, load
    from i2i.trainer import Trainer

    recipe = load(RECIPE, [f"data.root={data}"])
    with seeded(recipe.training.seed):
        game = build(recipe.game)
    digits = build(recipe.data, seed=recipe.training.seed)
    print(f"the first {IMAGES:,} images of {RECIPE} ...", file=sys.stderr)
    Trainer(game, digits, recipe.training, folder, device="cpu", say=lambda _: None).run(stop_at=IMAGES, quiet=True)
    return folder / "generators" / "discriminator.safetensors", folder / "generators" / "generator.safetensors"


def measured(chosen: argparse.Namespace, model: Path, drawer: Path | None) -> list[Row]:
    """All rows of the table."""
    discriminator: Any = load_generator(model)
    card = discriminator.card
    if card.kind != "classifier" or card.channels != (1, 1):
        raise UserError(f"{model} gives gray pictures no score; name a discriminator of digits")
    test_time(discriminator, card.mode)
    judge: Any = load_generator(chosen.classifier)
    size, padding = card.size, (judge.card.size - card.size) // 2
    train, test = (Digits(chosen.data, split=part, size=size).x for part in ("train", "test"))  # type: ignore[arg-type]

    def seen(x: Tensor) -> Tensor:
        """As the classifier takes it: [-1,1], set into black."""
        return F.pad(x, [padding] * 4, value=-1.0)

    truth = looked_at(judge, F.pad(train, [padding] * 4), "the training set")

    @torch.no_grad()
    def row(name: str, x: Tensor) -> Row:
        found = looked_at(judge, seen(x))
        assert found.logits is not None
        shares = found.logits.softmax(1)
        counts = np.bincount(shares.argmax(1).numpy(), minlength=shares.shape[1]) / len(shares)
        entropy = sum(float(share * np.log(1 / share)) for share in counts if share)
        score = float(discriminator(ranged(x, card)).mean())
        return Row(name, x, score, float(shares.amax(1).mean()), entropy, fid(truth, found).value)

    with seeded(chosen.seed):
        noise = torch.rand(COUNT, 1, size, size) * 2 - 1
        rows = [row("noise" if not steps else f"after {steps} step{'s' * (steps > 1)}", x)
                for steps, x in ascended(lambda x: discriminator(ranged(x, card)), noise, chosen.steps)]  # type: ignore[arg-type]  # fmt: skip
        if drawer is not None:
            generator: Any = load_generator(drawer)
            test_time(generator, generator.card.mode)
            with torch.no_grad():
                rows.append(row("the generator's", generator(draw(generator.card.latent, COUNT))))
    return [*rows, row("true digits", to_range(test[:COUNT]))]


def show(rows: list[Row], *, as_json: bool) -> None:
    if not as_json:
        print(f"{'pictures':<18}{'score':>9}{'sure':>8}{'entropy':>9}{'distance':>10}")
    for row in rows:
        figures = row._asdict() | {"x": None}
        if as_json:
            print(json.dumps({key: value for key, value in figures.items() if value is not None}))
        else:
            print(f"{row.name:<18}{row.score:9.2f}{row.sure:8.1%}{row.entropy:9.3f}{row.apart:10.1f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", type=Path, help="a discriminator's file [default: a short training]")
    parser.add_argument("--generator", type=Path, help="its generator's [default: generator.safetensors beside it]")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--classifier", default="classifier/mnist")
    parser.add_argument("--data", default="mnist/raw", help="folder of MNIST, also looked for under $I2I_DATA")
    parser.add_argument("-o", "--out", type=Path, default=Path("out/ascent.png"))
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    chosen = parser.parse_args()
    try:
        with threads(1), tempfile.TemporaryDirectory() as folder:
            if chosen.model is None:
                model, drawer = trained(Path(folder), chosen.data)
            else:
                model, drawer = chosen.model, chosen.generator or chosen.model.with_name("generator.safetensors")
            rows = measured(chosen, model, drawer if drawer.is_file() else None)
        show(rows, as_json=chosen.json)
        pictures = torch.stack([row.x[:SHOWN] for row in rows])
        save_sheet(chosen.out, contact_sheet(list(pictures.transpose(0, 1))))
    except UserError as error:
        print(f"ascent.py: {error}", file=sys.stderr)
        return error.code
    print(chosen.out, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
