"""Two claims of the papers, measured on MNIST and drawn as plots.

    python benchmarks/claims.py [vanishing] [estimate] [--run runs/wgan-gp-mnist] [-o out/claims] [--json]

vanishing   Arjovsky and Bottou 2017 (arXiv:1701.04862), Sec. 2.2 and Fig. 2: as a discriminator learns while the
            generator stands still, the gradient of the generator's saturating loss log(1 - D(G(z))) vanishes. Both
            networks are those of the recipe dcgan-mnist, untrained; the discriminator alone takes 200 steps. The norm
            of the gradient by all of the generator's weights, beside that of the non-saturating -log D(G(z)). Must
            hold: less than a thousandth of it at the end. A quarter of a minute of one processor core.
estimate    Arjovsky et al. 2017 (arXiv:1701.07875), Sec. 4.2; Gulrajani et al. 2017 (arXiv:1704.00028), Sec. 5.3: what
            a Wasserstein critic estimates falls as the pictures become better. The recipe wgan-gp-mnist, shorter, with
            the paper's five steps of the critic for each of the generator and a rate that stays; the last weights, not
            their average, at 20 checkpoints: the mean of "critic/estimate" since the one before, beside the Frechet
            distance of 2,000 drawn digits to the training set in the features of the classifier that ships. Must hold:
            their rank correlation (Spearman) is 0.8 or more. Five minutes; with --run, of such a run, one.

Each writes NAME.png and prints its figures; the exit code is 1 where a claim does not hold.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from i2i.checkpoint import States, read_tensors
from i2i.data.labelled import Digits
from i2i.data.stream import Stream, to_range
from i2i.errors import UserError
from i2i.gallery.curves import log_ticks, short, ticks
from i2i.host import seeded, threads
from i2i.journal import save_sheet
from i2i.latents import draw
from i2i.layers import test_time
from i2i.losses import LOGISTIC, SATURATING, Adversarial
from i2i.metrics.classifier import looked_at
from i2i.metrics.distances import fid
from i2i.recipe import build, load
from i2i.zoo import load_generator

STEPS, EVERY = 200, 5  # of the discriminator; between two measurements
BATCH = 64
RATIO = 1e-3
CHECKPOINTS, IMAGES = 20, 256_000
DRAWN = 2_000
CORRELATION = 0.8

Series = Mapping[str, Sequence[tuple[float, float]]]
"""name -> (x, y), in the order of x."""

SIZE = 720, 360  # pixels of a panel
MARGINS = 70, 34, 20, 40  # left, above, right, below
COLOURS = ((31, 90, 166), (200, 70, 30), (60, 140, 60))
GRAY, BLACK = (215, 215, 215), (40, 40, 40)


def panel(title: str, across: str, series: Series, *, log: bool = False) -> Image.Image:
    """Curves over one axis; with `log` the values' axis is logarithmic."""
    picture = Image.new("RGB", SIZE, "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    left, top, right, bottom = MARGINS[0], MARGINS[1], SIZE[0] - MARGINS[2], SIZE[1] - MARGINS[3]
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points if not log or y > 0]
    low, high = (min(ys), max(ys)) if log else (min(0.0, *ys), max(ys))
    scale: Callable[[float], float] = math.log10 if log else float

    def place(x: float, y: float) -> tuple[float, float]:
        share = (scale(y) - scale(low)) / ((scale(high) - scale(low)) or 1)
        return left + (right - left) * (x - min(xs)) / ((max(xs) - min(xs)) or 1), bottom - (bottom - top) * share

    for tick in log_ticks(low, high) if log else ticks(low, high, 5):
        y = place(min(xs), tick)[1]
        pen.line([(left, y), (right, y)], GRAY)
        pen.text((left - 6, y), f"{tick:.0e}" if log else short(tick), BLACK, font, "rm")
    for tick in ticks(min(xs), max(xs), 6):
        x = place(tick, high)[0]
        pen.line([(x, bottom), (x, bottom + 4)], BLACK)
        pen.text((x, bottom + 8), short(tick), BLACK, font, "ma")
    pen.text((right, SIZE[1] - 4), across, BLACK, font, "rd")
    pen.text((left, 8), title, BLACK, font)
    end = float(right)
    for (name, points), colour in zip(reversed(series.items()), reversed(COLOURS[: len(series)]), strict=True):
        pen.line([place(x, y) for x, y in points if not log or y > 0], colour, 2)
        if len(series) > 1:
            end -= pen.textlength(name, font) + 18
            pen.text((end + 18, 8), name, colour, font)
    return picture


def stacked(panels: Sequence[Image.Image]) -> Any:
    """Panels one under the other, [H,W,3] uint8."""
    return np.concatenate([np.asarray(one) for one in panels])


def gradient(generator: nn.Module, discriminator: nn.Module, rule: Adversarial, latent: Tensor) -> float:
    """The norm of the gradient of what the generator minimises, by all of its weights."""
    loss = rule.fool(discriminator(generator(latent)))
    return float(torch.nn.utils.get_total_norm(torch.autograd.grad(loss, list(generator.parameters()))))


def vanishing(out: Path, data: str, run: Path | None) -> tuple[dict[str, Any], bool]:
    recipe = load("dcgan-mnist", [f"data.root={data}"])
    with seeded(recipe.training.seed), threads(1):
        game: Any = build(recipe.game)
        generator, discriminator, parts = game.draws, game.judges, game.draws.parts
        optimizer = game.discriminator.optimizer(list(discriminator.parameters()))
        stream = iter(Stream(build(recipe.data, seed=recipe.training.seed), batch=BATCH))
        latent = draw(parts, BATCH)
        found: dict[str, list[tuple[float, float]]] = {"saturating": [], "non-saturating": []}
        for step in range(STEPS + 1):
            if step % EVERY == 0:
                for name, rule in (("saturating", SATURATING), ("non-saturating", LOGISTIC)):
                    found[name].append((step, gradient(generator, discriminator, rule, latent)))
            real = to_range(next(stream)[1].x)
            with torch.no_grad():
                fake = generator(draw(parts, BATCH))
            loss = LOGISTIC.real(discriminator(real)) + LOGISTIC.fake(discriminator(fake))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    last = {name: points[-1][1] for name, points in found.items()}
    ratio = last["saturating"] / last["non-saturating"]
    title = "norm of the generator's gradient while the discriminator alone learns"
    shares = [(x, y / other) for (x, y), (_, other) in zip(*found.values(), strict=True)]
    panels = [
        panel(title, "steps of the discriminator", found, log=True),
        panel(f"saturating / non-saturating: {ratio:.1e} at the end", "steps", {"ratio": shares}, log=True),
    ]
    save_sheet(out / "vanishing.png", stacked(panels))
    return last | {"ratio": ratio, "most": RATIO}, ratio < RATIO


def trained(folder: Path, data: str) -> None:
    """A short training in `folder` that keeps all of its checkpoints. A critic of too few steps, or whose rate falls,
    estimates something else: it has the paper's five, and a rate that stays."""
    from i2i.trainer import Trainer

    every = IMAGES // CHECKPOINTS
    lengths = {"images": IMAGES, "log_every": every, "save_every": every, "grid_every": IMAGES}
    settings = [f"training.{name}={count}" for name, count in lengths.items()]
    settings += ["game.critic_steps=5", "game.optimizer.lr=0.0005", "training.rate={of: i2i.schedules:Constant}"]
    recipe = load("wgan-gp-mnist", [*settings, f"training.keep={CHECKPOINTS}", f"data.root={data}"])
    with seeded(recipe.training.seed):
        game = build(recipe.game)
    digits = build(recipe.data, seed=recipe.training.seed)
    (folder / "recipe.yaml").write_text(recipe.text())
    print(f"training on {IMAGES:,} images ...", file=sys.stderr)
    Trainer(game, digits, recipe.training, folder, device="cpu", say=lambda _: None).run(quiet=True)


def checkpoints(run: Path) -> Iterator[tuple[int, float, nn.Module]]:
    """(images, the critic's mean estimate since the line of the journal before, the generator's last weights)."""
    game: Any = build(load(run / "recipe.yaml").game)
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    estimates = {line["images"]: line["terms"]["critic/estimate"] for line in lines if "terms" in line}
    for state in States(run / "state").saved():
        if (images := int(state.name)) not in estimates:
            continue
        players, start = read_tensors(state / "players.safetensors"), "generator/draws."
        weights = {name.removeprefix(start): value for name, value in players.items() if name.startswith(start)}
        game.draws.load_state_dict(weights)
        yield images, estimates[images], test_time(game.draws, game.draws.card().mode)


def estimate(out: Path, data: str, run: Path | None) -> tuple[dict[str, Any], bool]:
    from scipy.stats import spearmanr

    judge: Any = load_generator("classifier/mnist")
    truth = looked_at(judge, Digits(data, size=judge.card.size).x, "the training set")
    points: list[tuple[int, float, float]] = []
    with tempfile.TemporaryDirectory() as folder, threads(1):
        if run is None:
            trained(run := Path(folder), data)
        for images, value, generator in checkpoints(run):
            latent = draw(generator.parts, DRAWN, generator=torch.Generator().manual_seed(0))  # type: ignore[arg-type]
            with torch.no_grad():
                pictures = torch.cat([generator(part) for part in latent.split(500)])
            apart = fid(truth, looked_at(judge, (pictures * 127.5 + 127.5).round().byte())).value
            points.append((images, value, apart))
            print(f"{images:>9,} images   estimate {value:7.3f}   distance {apart:8.2f}", file=sys.stderr, flush=True)
    if len(points) < CHECKPOINTS:
        raise UserError(f"{run} holds {len(points)} checkpoints with a line of the journal each, not {CHECKPOINTS}")
    correlation = float(spearmanr([p[1] for p in points], [p[2] for p in points]).statistic)
    title = f"the critic's estimate; its rank correlation with the distance is {correlation:.3f}"
    panels = [
        panel(title, "images", {"estimate": [(images, value) for images, value, _ in points]}, log=True),
        panel("Frechet distance in the classifier's features", "images",
              {"distance": [(images, apart) for images, _, apart in points]}, log=True),
    ]  # fmt: skip
    save_sheet(out / "estimate.png", stacked(panels))
    found = {"correlation": correlation, "least": CORRELATION, "points": points}
    return found, correlation >= CORRELATION


CLAIMS = {"vanishing": vanishing, "estimate": estimate}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("claim", nargs="*", help=f"{' or '.join(CLAIMS)}; none: all")
    parser.add_argument("-o", "--out", type=Path, default=Path("out/claims"), help="folder of the plots")
    parser.add_argument("--run", type=Path, help="folder of a finished run, for 'estimate' [default: trains]")
    parser.add_argument("--data", default="mnist/raw", help="folder of MNIST, also looked for under $I2I_DATA")
    parser.add_argument("--json", action="store_true", help="one JSON object a claim")
    chosen = parser.parse_args()
    held = True
    try:
        for name in chosen.claim or CLAIMS:
            if name not in CLAIMS:
                raise UserError(f"there is no claim '{name}'; take {' or '.join(CLAIMS)}")
            start = time.process_time()
            found, holds = CLAIMS[name](chosen.out, chosen.data, chosen.run)
            held &= holds
            seconds = round(time.process_time() - start)
            if chosen.json:
                print(json.dumps({"claim": name, **found, "holds": holds, "seconds": seconds}), flush=True)
                continue
            figures = ", ".join(f"{key} {value:.4g}" for key, value in found.items() if isinstance(value, float))
            print(f"{name}: {'holds' if holds else 'DOES NOT HOLD'}: {figures}; {seconds} s of the processor")
            print(f"    {chosen.out / name}.png", flush=True)
    except UserError as error:
        print(f"claims.py: {error}", file=sys.stderr)
        return error.code
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
