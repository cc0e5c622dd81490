"""The page of an evaluation: its figures, histograms of those of pairs, and the worst and the best pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from i2i.gallery.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, short, ticks
from i2i.gallery.folders import thumbnails
from i2i.gallery.page import Gallery, Made, Row, text, vacant
from i2i.metrics.report import Figure, Report

__all__ = ["histogram", "of_report"]

ENDS = 12  # pairs of each end of each figure that are shown where there are too many for all
ALL = 200  # pairs of which all are shown
NAMED = 3  # pairs of each end that are named beside a histogram
BARS = 24
PARTS = ("iou_", "accuracy_")  # figures of single classes, which stand in the table alone


def of_report(report: Report, page: Path, *, overwrite: bool = False, linked: bool = True) -> Made:
    """Write the page of a report.

    Args:
        linked: the pictures stay where they are, and the page leads to them.

    Raises UserError where `page` is there and not to be replaced, OSError.
    """
    measured = [
        figure for figure in report.figures
        if not figure.name.startswith(PARTS) and any(str(figure) in row for row in report.pairs.values())
    ]  # fmt: skip
    order = {figure: ranked(report.pairs, figure) for figure in map(str, measured)}
    best_first = {str(figure): figure.better == "higher" for figure in measured}  # the worst are listed first
    names = chosen(report.pairs, order)
    if measured:
        first = str(measured[0])
        place = {name: rank for rank, name in enumerate(order[first])}
        names = sorted(names, key=lambda name: place.get(name, len(place)), reverse=not best_first[first])
    vacant(page, len(names), replace=overwrite)
    page.parent.mkdir(parents=True, exist_ok=True)
    maps = report.settings.get("maps")
    columns = ("real", "fake", "where LPIPS differs") if maps else ("real", "fake")
    with closing(Gallery(page, columns)) as gallery:
        rows: list[tuple[str, list[Path | None]]] = []
        for name in names:
            drawn = [Path(maps) / f"{name}.png"] if maps else []
            rows.append((name, [*map(Path, report.files[name]), *(file if file.exists() else None for file in drawn)]))
        for name, _, cells, failed in thumbnails(rows):
            kept = tuple(cell if linked or isinstance(cell, str) else cell._replace(original=None) for cell in cells)
            values = {str(figure): report.pairs[name][str(figure)] for figure in measured
                      if str(figure) in report.pairs[name]}  # fmt: skip
            gallery.add(Row(name, kept, ({}, values, *[{} for _ in columns[2:]])))
            for path, reason in failed.items():
                gallery.fail(path, reason)
        for name, reason in report.failed.items():
            gallery.fail(name, reason)
        charts = "".join(
            histogram(figure, order[str(figure)], report.pairs, worst_low=best_first[str(figure)])
            for figure in measured
        )
        if charts:
            charts = f'<section class="histograms">{charts}</section>'
        shown = f"{len(names)} of {len(report.pairs)}: the worst and best of each figure"
        return gallery.write(
            f"{report.fake.path} against {report.real.path}",
            facts(report) | {"Pairs shown": shown if len(names) < len(report.pairs) else ""},
            above=figures_html(report.figures) + notes_html(report) + charts,
            order=f"{measured[0]}: worst first" if measured else "",
        )


def ranked(pairs: Mapping[str, Mapping[str, float]], figure: str) -> list[str]:
    """The pairs that have this figure, from its lowest value to its highest."""
    return sorted((name for name in pairs if figure in pairs[name]), key=lambda name: (pairs[name][figure], name))


def chosen(pairs: Mapping[str, Mapping[str, float]], order: Mapping[str, Sequence[str]]) -> list[str]:
    """The pairs that are shown."""
    if len(pairs) <= ALL:
        return list(pairs)
    shown = {name for names in order.values() for name in (*names[:ENDS], *names[-ENDS:])}
    return [name for name in pairs if name in shown]


def facts(report: Report) -> dict[str, str]:
    """Label -> text."""
    return {
        "Real": f"{report.real.path}, {report.real.pictures:,} pictures",
        "Fake": f"{report.fake.path}, {report.fake.pictures:,} pictures",
        "Without a partner": f"{len(report.orphans):,}" if report.orphans else "",
        "Made with": ", ".join(f"{name} {number}" for name, number in report.versions.items()),
        "Weights": ", ".join(f"{name} {digest[:16]}" for name, digest in report.weights.items()),
    }


def figures_html(figures: Sequence[Figure]) -> str:
    """A line for each."""
    lines = []
    for figure in figures:
        value, spread, counts = figure.shown()
        lines.append(
            f'<tr><th scope="row">{text(str(figure))}</th><td>{text(value)}</td><td>{text(spread)}</td>'
            f"<td>{text(counts)}</td><td>{'the ' + figure.better + ', the better' if figure.better else ''}</td></tr>"
        )
    return f'<div class="scroll"><table class="metrics">{"".join(lines)}</table></div>'


def notes_html(report: Report) -> str:
    """What a reader must know, a sentence each."""
    notes = [*report.notes, *(note for figure in report.figures for note in figure.notes)]
    items = "".join(f"<li>{text(note)}</li>" for note in dict.fromkeys(notes))
    return f'<ul class="notes">{items}</ul>' if items else ""


def histogram(
    figure: Figure, order: Sequence[str], pairs: Mapping[str, Mapping[str, float]], *, worst_low: bool
) -> str:
    """How often which values occur, as SVG, and the names of the pairs at both ends."""
    values = [pairs[name][str(figure)] for name in order]
    low, high = values[0], values[-1]
    wide = (high - low) or max(abs(high), 1e-9)
    count = min(BARS, max(1, math.ceil(2 * len(values) ** 0.5)))
    bars = [0] * count
    for value in values:
        bars[min(count - 1, int((value - low) / wide * count))] += 1
    inner, bottom = WIDTH - LEFT - RIGHT, HEIGHT - BOTTOM
    step = inner / count
    drawn = "".join(
        f'<rect x="{LEFT + n * step + 0.5:.2f}" y="{bottom - tall:.2f}" width="{max(step - 1, 0.5):.2f}" '
        f'height="{tall:.2f}"><title>{held} of {low + n * wide / count:.4g} to {low + (n + 1) * wide / count:.4g}'
        "</title></rect>"
        for n, held in enumerate(bars)
        if (tall := (bottom - TOP) * held / max(bars))
    )
    marks = "".join(
        f'<text x="{LEFT + inner * (tick - low) / wide:.2f}" y="{HEIGHT - 6}" text-anchor="middle">{short(tick)}</text>'
        for tick in ticks(low, low + wide, 5)
    )
    axis = (
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>'
        f'<text x="{LEFT - 6}" y="{TOP + 8}" text-anchor="end">{max(bars)}</text>'
    )
    worst, best = (order, order[::-1]) if worst_low else (order[::-1], order)
    ends = "".join(
        f"<p>{word}: {', '.join(anchor(name, pairs[name][str(figure)]) for name in names[:NAMED])}</p>"
        for word, names in (("worst", worst), ("best", best))
    ) if figure.better else ""  # fmt: skip
    return (
        f'<figure class="histogram"><figcaption>{text(str(figure))}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(str(figure))}: how often which values '
        f'occur">{axis}{marks}{drawn}</svg>{ends}</figure>'
    )


def anchor(name: str, value: float) -> str:
    """A name that finds its pair on the page."""
    return f'<a href="#find={quote(name, safe="")}">{text(name)}</a> {value:.4g}'
