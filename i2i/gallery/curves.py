"""Loss curves as SVG: raw and smoothed, on a linear and on a logarithmic scale. All values are over images."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape

__all__ = ["Points", "chart", "smoothed", "thinned", "ticks"]

Points = Sequence[tuple[int, float | None]]
"""(images, value), in order; None where the value was not finite."""

WIDTH, HEIGHT = 360, 190  # units of the viewBox
LEFT, TOP, RIGHT, BOTTOM = 44, 8, 8, 22  # margins
MOST = 600  # points that are drawn
SHARE = 0.04  # of the points that smoothing looks at to each side


def chart(name: str, points: Points, span: tuple[int, int], stages: Sequence[int] = ()) -> str:
    """A figure with one curve.

    Args:
        name: shown above it.
        points: of the term.
        span: (first, last) images of the axis.
        stages: images at which another stage began.
    """
    points = thinned(points)
    smooth = smoothed([value for _, value in points])
    finite = [value for _, value in points if value is not None]
    first, last = span

    def x(images: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (images - first) / max(1, last - first), 2)

    linear = Scale(finite, log=False)
    log = Scale(finite, log=True) if finite and min(finite) > 0 else None
    parts = [drawn(points, smooth, linear, x, "linear")] + ([drawn(points, smooth, log, x, "log")] if log else [])
    bottom = HEIGHT - BOTTOM
    axis = "".join(
        f'<line class="grid" x1="{x(tick)}" x2="{x(tick)}" y1="{bottom}" y2="{bottom + 4}"/>'
        f'<text x="{x(tick)}" y="{HEIGHT - 6}" text-anchor="middle">{short(tick)}</text>'
        for tick in ticks(first, last, 5)
    )
    marks = "".join(f'<line class="stage-mark" x1="{x(at)}" x2="{x(at)}" y1="{TOP}" y2="{bottom}"/>' for at in stages)
    lines = "".join(
        f'<line class="{kind}" x1="0" x2="0" y1="{TOP}" y2="{bottom}" visibility="hidden"/>'
        for kind in ("moment", "cursor")
    )
    table = [
        [at, value, None if mean is None else float(f"{mean:.6g}"), x(at), *(
            None if scale is None or value is None else scale.y(value) for scale in (linear, log))]
        for (at, value), mean in zip(points, smooth)
    ]  # fmt: skip
    final = f"{finite[-1]:.4g}" if finite else "never finite"
    return (
        f'<figure class="chart" data-points="{escape(json.dumps(table))}" '
        f'data-box="{LEFT} {TOP} {WIDTH - LEFT - RIGHT} {HEIGHT - TOP - BOTTOM} {first} {last}">'
        f'<figcaption><span>{escape(name)}</span><output data-last="{final}">{final}</output></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)} over images">'
        f'{axis}{marks}{"".join(parts)}{lines}<circle class="dot" r="3.5" visibility="hidden"/></svg></figure>'
    )


class Scale:
    """Where values lie on the vertical axis, and which of them are marked."""

    def __init__(self, values: Sequence[float], *, log: bool) -> None:
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        if not log and 0 < low < 0.5 * high:
            low = 0.0  # an axis that nearly shows zero shows it
        if high - low <= 1e-12 * max(abs(low), abs(high)):
            low, high = (low / 2, high * 2) if log else (low - 0.5, high + 0.5)
        self.log = log
        self.ticks = log_ticks(low, high) if log else ticks(low, high, 4)
        self.low, self.high = self.of(min(low, *self.ticks[:1])), self.of(max(high, *self.ticks[-1:]))

    def of(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def y(self, value: float) -> float:
        """In units of the viewBox."""
        share = (self.of(value) - self.low) / (self.high - self.low)
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 2)


def drawn(points: Points, smooth: Sequence[float | None], scale: Scale, x: object, kind: str) -> str:
    """Grid and both curves on one scale."""
    assert callable(x)
    grid = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{scale.y(tick)}" y2="{scale.y(tick)}"/>'
        f'<text x="{LEFT - 6}" y="{scale.y(tick) + 3.5}" text-anchor="end">{short(tick)}</text>'
        for tick in scale.ticks
    )
    raw = path([(x(at), None if value is None else scale.y(value)) for at, value in points])
    mean = path([(x(at), None if value is None else scale.y(value)) for (at, _), value in zip(points, smooth)])
    return f'<g class="{kind}">{grid}<path class="raw" d="{raw}"/><path class="smooth" d="{mean}"/></g>'


def path(places: Sequence[tuple[float, float | None]]) -> str:
    """The `d` of a path that is interrupted where there is no value; a lone point is a dot."""
    steps, up = [], True
    for x, y in places:
        if y is not None:
            steps.append(f"M{x:g} {y:g}h0" if up else f"L{x:g} {y:g}")
        up = y is None
    return "".join(steps)


def smoothed(values: Sequence[float | None]) -> list[float | None]:
    """Means over the neighbours to both sides, weighted by nearness; nothing is delayed, as a running mean would."""
    reach = max(1, round(SHARE * len(values)))
    means: list[float | None] = []
    for at, value in enumerate(values):
        near = range(max(0, at - reach), min(len(values), at + reach + 1))
        there = [(reach + 1 - abs(n - at), v) for n in near if (v := values[n]) is not None]
        means.append(None if value is None else sum(w * v for w, v in there) / sum(w for w, _ in there))
    return means


def thinned(points: Points, most: int = MOST) -> Points:
    """At most `most` points: means of equally many neighbours each."""
    if len(points) <= most:
        return points
    size = math.ceil(len(points) / most)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    kept: list[tuple[int, float | None]] = []
    for group in groups:
        values = [value for _, value in group if value is not None]
        kept.append((group[len(group) // 2][0], sum(values) / len(values) if values else None))
    return kept


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` + 1 round values from `low` to `high`: 1, 2 or 5 times a power of ten apart."""
    wide = max(high - low, 1e-12)
    size = 10 ** math.floor(math.log10(wide / most))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor * most >= wide * (1 - 1e-9))
    start = math.ceil(low / step - 1e-9)
    return [float(f"{n * step:.10g}") for n in range(start, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, with 2 and 5 between them where few are in sight; plain round values within less than that."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        found = [float(f"{f}e{d}") for d in decades for f in factors if low <= float(f"{f}e{d}") <= high]
        if len(found) >= 3:
            return found[:: math.ceil(len(found) / 6)]
    return [tick for tick in ticks(low, high, 4) if tick > 0]


def short(value: float) -> str:
    """12000 as 12k."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"
