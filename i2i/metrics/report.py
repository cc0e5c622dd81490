"""What an evaluation has found: figures with their protocols, ready for a table, JSON, CSV or a page."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Figure", "Report", "Side", "few"]

LISTED = 3  # names in a sentence


@dataclass(frozen=True)
class Figure:
    """One number about a set.

    Attributes:
        name: "psnr"; protocol: "Y, shave 4". Together, as text, they are what it is called.
        value: None where there is none that is finite; then the notes say why.
        spread: standard deviation over the pairs, subsets or splits, where there are some.
        unit: "dB", "levels", or empty.
        better: "higher", "lower", or empty where neither is.
        counts: of what it was made: {"pairs": 100}, {"real": 2048, "fake": 2000}.
        notes: sentences without which it should not be read.
    """

    name: str
    protocol: str
    value: float | None
    spread: float | None = None
    unit: str = ""
    better: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} ({self.protocol})" if self.protocol else self.name

    def shown(self) -> tuple[str, str, str]:
        """Value with its unit, spread and counts as words."""
        value = "–" if self.value is None else f"{digits(self.value)} {self.unit}".rstrip()
        if self.counts.keys() == {"real", "fake"}:
            counts = f"{self.counts['real']:,} real, {self.counts['fake']:,} fake"
        else:
            counts = ", ".join(
                f"{count:,} {what if count != 1 else what.removesuffix('s')}" for what, count in self.counts.items()
            )
        return value, "" if self.spread is None else f"± {digits(self.spread)}", counts


@dataclass(frozen=True)
class Side:
    """One of the two sets.

    Attributes:
        path: as it was named.
        pictures: how many were found; 0 where a file of statistics does not tell.
        sizes: "256x256" -> how many were seen of it.
        failed: file -> why it could not be read.
    """

    path: str
    pictures: int
    sizes: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """The figures of two sets of pictures, and all that is needed to make them again.

    Attributes:
        figures: of the sets.
        pairs: of each pair, by its stem: the figure's text -> value; those that are not finite are left out.
        files: the real and the fake file of each pair.
        real, fake: the sets.
        orphans: files without a partner, where pairs were compared.
        failed: file or pair -> why it was left out.
        notes: what else a reader must know.
        settings: how it was asked for.
        versions: of the programs that took part.
        weights: network -> sha256.
        seconds: that it took.
    """

    figures: tuple[Figure, ...]
    real: Side
    fake: Side
    pairs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    orphans: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def __getitem__(self, name: str) -> float:
        """The value of the first figure of that name, or of that name with its protocol. Raises KeyError."""
        for figure in self.figures:
            if name in (figure.name, str(figure)):
                return math.nan if figure.value is None else figure.value
        raise KeyError(name)

    @property
    def complete(self) -> bool:
        """Whether every picture was measured and every figure has a value."""
        lost = any(figure.value is None and "infinite" not in " ".join(figure.notes) for figure in self.figures)
        return not (self.failed or lost)

    def dict(self) -> dict[str, Any]:
        """As JSON can say it; `i2i gallery` shows it where it lies as metrics.json in the folder of the fakes."""
        return {
            "protocol": f"{self.fake.path} against {self.real.path}",
            "metrics": {str(figure): figure.value for figure in self.figures if figure.value is not None},
            "images": {name: dict(values) for name, values in self.pairs.items()},
            "figures": [
                {**vars(figure), "counts": dict(figure.counts), "notes": list(figure.notes)} for figure in self.figures
            ],
            "inputs": {name: plain(vars(side)) for name, side in (("real", self.real), ("fake", self.fake))},
            "orphans": list(self.orphans),
            "failed": dict(self.failed),
            "notes": list(self.notes),
            "settings": dict(self.settings),
            "versions": dict(self.versions),
            "weights": dict(self.weights),
            "seconds": round(self.seconds, 3),
        }

    def table(self) -> Iterator[str]:
        """Lines of text: a figure each."""
        rows = [(str(figure), *figure.shown()) for figure in self.figures]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for name, value, spread, counts in rows:
            line = f"{name:<{widths[0]}}  {value:>{widths[1]}}  {spread:<{widths[2]}}  {counts}"
            yield line.rstrip()

    def csv(self) -> str:
        """A line for each figure of the set, its picture empty, and for each of a pair."""
        out = io.StringIO()
        columns = ["picture", "figure", "protocol", "value", "spread", "unit", "better", "counts"]
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        kinds = {str(figure): figure for figure in self.figures}
        for figure in self.figures:
            counts = " ".join(f"{name}={count}" for name, count in figure.counts.items())
            writer.writerow(["", figure.name, figure.protocol, figure.value, figure.spread, figure.unit, figure.better,
                             counts])  # fmt: skip
        for name, values in self.pairs.items():
            for key, value in values.items():
                kind = kinds[key]
                writer.writerow([name, kind.name, kind.protocol, value, "", kind.unit, kind.better, ""])
        return out.getvalue()


def digits(value: float) -> str:
    """Five significant digits, and none of them hidden in an exponent where that can be."""
    return f"{value:.5g}" if abs(value) < 1e5 else f"{value:,.0f}"


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}


def few(names: Sequence[str]) -> str:
    """Some names of a list, in words."""
    return ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
