"""Figures of all pairs of two sets: each pair is read once, in threads, and all its figures are taken then."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from i2i import images
from i2i.errors import UserError
from i2i.images import Picture
from i2i.metrics import fidelity
from i2i.metrics.agreement import Agreement, Palette
from i2i.metrics.fidelity import chroma, gradient, grid, hue_rmse, sharpness
from i2i.metrics.pairs import PAIRED, PairMetric, mean, pair_metric, root_mean_square
from i2i.metrics.perceptual import Lpips
from i2i.metrics.report import Figure, few
from i2i.metrics.sides import Pair, ahead
from i2i.metrics.statistics import rgb

__all__ = ["LABELS", "SINGLE", "Measured", "fitted", "measure", "metrics_of", "read"]

Pixels = NDArray[np.uint8]  # [H,W,3] RGB
LABELS = {  # of a palette -> what of `Agreement.figures` it stands for, besides what begins with the last
    "accuracy": ("accuracy", "class_accuracy", "within5", "accuracy_"),
    "miou": ("miou", "iou_"),
}
SINGLE = ("gradient", "octave", "grid", "levels", "ab", "chroma")


def metrics_of(names: Sequence[str], *, luma: bool, shave: int, step: int) -> list[PairMetric]:
    """The figures of pairs with these names; `step` is what `grid` and `levels` look for, in pixels."""
    found = []
    for name in names:
        if name in PAIRED:
            found.append(pair_metric(name, luma=luma, shave=shave))
        elif name == "gradient":
            unit = "levels/pixel"
            found.append(PairMetric(name, "fake", unit, "higher", 2, lambda fake, real: gradient(fake), mean))
            found.append(PairMetric(name, "real", unit, "higher", 2, lambda fake, real: gradient(real), mean))
        elif name == "octave":
            found.append(PairMetric(name, "Y, fake / real", "", "higher", 8, octave, mean))
        elif name == "grid":
            how = f"Y, every {step} pixels, median"
            found.append(PairMetric(name, how, "", "lower", 8 * step, partial(repeating, step=step), median))
        elif name == "levels":
            how = f"Y, wave of {step} pixels, median"
            found.append(PairMetric(name, how, "levels", "lower", 8 * step, partial(wave, step=step), median))
        elif name == "ab":
            pooled = root_mean_square, True
            found.append(PairMetric(name, "RMSE, CIE L*a*b*", "", "lower", 1, hue_rmse, *pooled))
            found.append(PairMetric(name, "RMSE, if all were gray", "", "lower", 1, gray_rmse, *pooled))
        elif name == "chroma":
            found.append(PairMetric(name, "fake", "", "higher", 1, lambda fake, real: chroma(fake), mean, True))
            found.append(PairMetric(name, "real", "", "higher", 1, lambda fake, real: chroma(real), mean, True))
    return found


def octave(fake: Pixels, real: Pixels) -> float:
    """Energy in the top octave of the fake one over that of the real one; infinite where that has none."""
    wanted = sharpness(real)
    return sharpness(fake) / wanted if wanted else math.inf


def repeating(fake: Pixels, real: Pixels, *, step: int) -> float:
    """`grid` of the fake one."""
    return grid(fake, step)


def wave(fake: Pixels, real: Pixels, *, step: int) -> float:
    """`fidelity.pattern` of the fake one."""
    return fidelity.pattern(fake, step)


def gray_rmse(fake: Pixels, real: Pixels) -> float:
    """`hue_rmse` of a gray picture in the place of the fake one."""
    return hue_rmse(real[..., :1], real)


def median(values: Sequence[float]) -> float:
    return float(np.median(values))


@dataclass
class Measured:
    """What was found of pairs.

    Attributes:
        figures: of the set.
        each: stem -> figure's text -> value, the finite ones.
        failed: file or pair -> why it was left out.
        lost: files whose partner could not be read.
        sizes: of the real and the fake pictures.
        notes: about the pictures.
    """

    figures: list[Figure] = field(default_factory=list)
    each: dict[str, dict[str, float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    lost: list[Path] = field(default_factory=list)
    sizes: tuple[Counter[str], Counter[str]] = field(default_factory=lambda: (Counter(), Counter()))
    notes: list[str] = field(default_factory=list)


class Read(NamedTuple):
    """A pair that a thread has read and measured: its pictures, or why there are none, by file."""

    pair: Pair
    pictures: tuple[Pixels, Pixels] | None  # fake, real
    failed: Mapping[str, str]
    values: Mapping[str, float] = {}
    counts: Agreement | None = None
    gray: tuple[bool, bool] = (False, False)  # real, fake
    alpha: tuple[bool, bool] = (False, False)
    sizes: tuple[str, ...] = ()


def measure(
    pairs: Sequence[Pair],
    metrics: Sequence[PairMetric],
    *,
    palette: Palette | None = None,
    labels: Sequence[str] = (),
    by: str = "",
    lpips: Lpips | None = None,
    maps: Path | None = None,
    size: int | None = None,
    workers: int | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Measured:
    """Measure pairs.

    Args:
        metrics: what is taken of each pair; LPIPS not among them.
        palette, labels: also count agreement of label maps, for these of LABELS; `by` joins its protocol.
        lpips: also take it, in the calling thread.
        maps: a folder for pictures of where LPIPS finds differences: 16 bits of gray, 1 is white.
        size: bring both pictures to that square first, by Pillow's bicubic.
        tell: called with how many pairs are done, and of how many.

    A pair that cannot be read or compared is left out and named.
    """
    found = Measured()
    taken = [*metrics, *([lpips.metric] if lpips else [])]
    values: dict[str, list[float]] = {str(metric): [] for metric in taken}
    small: dict[str, list[str]] = {}
    total = Agreement(palette) if palette else None
    gray, alpha = [0, 0], [0, 0]
    work = partial(one, metrics=metrics, palette=palette, by=by, labels=labels, size=size)
    for done, seen in enumerate(ahead(work, pairs, workers), 1):
        stem, real, fake = seen.pair
        tell(done, len(pairs))
        if seen.pictures is None:
            found.failed |= seen.failed
            found.lost += [other for one, other in ((real, fake), (fake, real))
                           if str(one) in seen.failed and str(other) not in seen.failed]  # fmt: skip
            continue
        row = dict(seen.values)
        if lpips and min(seen.pictures[0].shape[:2]) >= lpips.metric.least:
            row[str(lpips.metric)] = lpips(*seen.pictures)
            if maps:
                save_map(maps / f"{stem}.png", lpips.map(*seen.pictures))
        for metric in taken:
            if (name := str(metric)) in row:
                values[name].append(row[name])
            else:
                small.setdefault(name, []).append(stem)
        if total and seen.counts:
            total.merge(seen.counts)
        found.each[stem] = {name: value for name, value in row.items() if math.isfinite(value)}
        for side in (0, 1):
            found.sizes[side][seen.sizes[side]] += 1
            gray[side] += seen.gray[side]
            alpha[side] += seen.alpha[side]
    found.figures = [figure(metric, values[str(metric)], small.get(str(metric), [])) for metric in taken]
    if total:
        found.figures += agreeing(total, labels, by, found.each)
    found.notes = about(gray, alpha, len(found.each))
    return found


def one(
    pair: Pair,
    *,
    metrics: Sequence[PairMetric],
    palette: Palette | None,
    labels: Sequence[str],
    by: str,
    size: int | None,
) -> Read:
    """Read a pair, and take what needs no network."""
    stem, *files = pair
    failed: dict[str, str] = {}
    both: list[Picture] = []
    for file in files:
        try:
            both.append(images.read(file))
        except UserError as error:
            failed[str(file)] = str(error).removeprefix(f"{file}: ").partition(";")[0]
    if failed:
        return Read(pair, None, failed)
    real, fake = (fitted(rgb(picture.pixels), size) for picture in both)
    if real.shape != fake.shape:
        sizes = " and ".join(f"{pixels.shape[1]}x{pixels.shape[0]}" for pixels in (real, fake))
        return Read(pair, None, {stem: f"pictures of {sizes} pixels cannot be compared; --size N brings both to one"})
    fitting = [metric for metric in metrics if min(real.shape[:2]) >= metric.least]
    able = [metric for metric in fitting if not (metric.coloured and both[0].pixels.ndim == 2)]
    values = {str(metric): metric.measure(fake, real) for metric in able}
    counts = None
    if palette:
        counts = Agreement(palette)
        counts.add(fake, real)
        values |= {str(each): each.value for each in agreeing(counts, labels, by) if each.value is not None}
    return Read(
        pair, (fake, real), {}, values, counts,
        gray=(both[0].pixels.ndim == 2, both[1].pixels.ndim == 2),
        alpha=(both[0].alpha is not None, both[1].alpha is not None),
        sizes=tuple(f"{picture.pixels.shape[1]}x{picture.pixels.shape[0]}" for picture in both),
    )  # fmt: skip


def read(file: Path, size: int | None = None) -> Pixels:
    """A picture's colours in 8 bits, [H,W,3], at that size. Raises UserError."""
    return fitted(rgb(images.read(file).pixels), size)


def fitted(pixels: Pixels, size: int | None) -> Pixels:
    """[H,W,3] brought to a square by Pillow's bicubic; as it is for None."""
    if size is None or pixels.shape[:2] == (size, size):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC))


def figure(metric: PairMetric, values: Sequence[float], small: Sequence[str]) -> Figure:
    """Of all pairs; `small` are those in which the metric's window does not fit, or has no colours to look at."""
    notes = []
    if small:
        left = "it is" if len(small) == 1 else f"{len(small)} pairs are"
        needs = "true colours" if metric.coloured else f"{metric.least} pixels in height and width"
        notes.append(f"{metric.name} needs {needs}: {left} left out ({few(list(small))})")
    pooled = metric.pool(values) if values else math.nan
    if math.isinf(pooled):
        equal = sum(map(math.isinf, values))
        notes.append(f"{metric.name} is infinite: {equal} of {len(values)} pairs are equal to the last bit")
    finite = math.isfinite(pooled)
    spread = float(np.std(values)) if finite and len(values) > 1 else None
    if not values and not small:
        notes.append("no pair could be compared")
    return Figure(metric.name, metric.protocol, pooled if finite else None, spread, metric.unit, metric.better,
                  {"pairs": len(values)}, tuple(notes))  # fmt: skip


def agreeing(
    counts: Agreement, labels: Sequence[str], by: str, each: Mapping[str, Mapping[str, float]] | None = None
) -> list[Figure]:
    """The figures of label maps that `labels` ask for; their spread over `each` pair."""
    protocol = counts.palette.name + (f", {by}" if by else "")
    pairs = {"pairs": counts.pairs}
    try:
        figures = counts.figures()
    except ValueError as error:
        return [Figure(label, protocol, None, better="higher", counts=pairs, notes=(str(error),)) for label in labels]
    wanted = []
    for label in labels:
        *exact, beginning = LABELS[label]
        wanted += [name for name in figures if name in exact or name.startswith(beginning)]
    found = []
    for name in wanted:
        made = Figure(name, protocol, figures[name], better="higher", counts=pairs)
        spread = [row[str(made)] for row in (each or {}).values() if str(made) in row]
        found.append(Figure(name, protocol, figures[name], float(np.std(spread)) if len(spread) > 1 else None,
                            better="higher", counts=pairs))  # fmt: skip
    return found


def about(gray: Sequence[int], alpha: Sequence[int], pairs: int) -> list[str]:
    """What must be known of pictures that were compared as red, green and blue."""
    notes = []
    if gray[0] != gray[1]:
        notes.append(
            f"gray against colour: {gray[0]} of the {pairs} real and {gray[1]} of the fake pictures are gray; gray "
            "counts as equal red, green and blue"
        )
    if any(alpha):
        notes.append(f"the alpha of {alpha[0]} real and {alpha[1]} fake pictures is not compared")
    return notes


def save_map(path: Path, distances: NDArray[np.float32]) -> None:
    """Write [H,W] as gray of 16 bits, 1 white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write(Picture(np.rint(distances.clip(0, 1) * 65_535).astype(np.uint16)), path)
