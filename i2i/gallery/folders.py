"""The page that compares folders: pictures of equal names beside each other."""

from __future__ import annotations

import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from i2i import images
from i2i.data.folders import by_stem
from i2i.errors import UserError
from i2i.gallery.page import Gallery, Made, Row, vacant
from i2i.gallery.thumbnails import Thumbnail, thumbnail

__all__ = ["METRICS", "Metrics", "compare", "read_metrics"]

METRICS = "metrics.json"
ABSENT = "no such file"


class Metrics(NamedTuple):
    """What an evaluation wrote into a folder of results.

    `metrics.json` is an object with these keys, each of which may be missing:

        {"protocol": "what was measured against what, in words",
         "metrics": {"lpips": 0.31},                              over all pictures
         "images": {"deep/a.png": {"lpips": 0.25}}}               of one, by its path in the folder
    """

    protocol: str = ""
    metrics: Mapping[str, float] = {}
    images: Mapping[str, Mapping[str, float]] = {}  # by the path without its ending


def compare(
    folders: Sequence[Path],
    page: Path,
    *,
    labels: Sequence[str] = (),
    overwrite: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Made:
    """Write the page that shows the pictures of `folders` side by side, the first folder's as what the others are
    compared with. Pictures belong together whose paths are equal but for the ending.

    Args:
        labels: names of the columns; those of the folders unless given.
        say: told what the user should know.
        tell: called with how many rows are done, and how many there are.

    Raises UserError where there is nothing to compare, or `page` is there and not to be replaced.
    """
    if len(folders) < 2:
        raise UserError("to compare takes two folders or more; name another")
    if labels and len(labels) != len(folders):
        raise UserError(f"{len(labels)} labels for {len(folders)} folders; give each folder one, in the same order")
    columns = tuple(labels) or told_apart(folders)
    found = [by_stem(folder) for folder in folders]
    often: dict[str, int] = {}
    for stems in found:
        for stem in stems:
            often[stem] = often.get(stem, 0) + 1
    if max(often.values()) < 2:
        few = " and ".join(f"{next(iter(stems.values()))}" for stems in found[:2])
        raise UserError(f"the folders have no picture in common: partners have equal names but for the ending, and "
                        f"there are {few}")  # fmt: skip
    vacant(page, len(often), replace=overwrite)
    orphans = tuple(stems[stem] for stems in found for stem in stems if often[stem] == 1)
    if orphans:
        few = ", ".join(map(str, orphans[:3])) + (", ..." if len(orphans) > 3 else "")
        say(f"{len(orphans)} of {sum(map(len, found))} pictures have no partner: {few}")
    measured = [read_metrics(folder, say) for folder in folders]
    order = sorted(often, key=lambda stem: (often[stem] < len(folders), stem))  # rows with gaps come last
    page.parent.mkdir(parents=True, exist_ok=True)
    with closing(Gallery(page, columns)) as gallery:
        rows = ((stem, [stems.get(stem) for stems in found]) for stem in order)
        for done, (stem, name, cells, failed) in enumerate(thumbnails(rows), 1):
            values = tuple(column.images.get(stem, {}) for column in measured)
            gallery.add(Row(name, cells, values))
            for path, reason in failed.items():
                gallery.fail(path, reason)
            tell(done, len(order))
        facts = {
            "Without a partner": f"{len(orphans):,} of {sum(map(len, found)):,} pictures" if orphans else "",
            **protocols(columns, measured),
        }
        made = gallery.write(
            " · ".join(columns),
            facts,
            metrics=[column.metrics for column in measured],
        )
    return made._replace(missing=orphans)


Read = tuple[str, str, tuple[Thumbnail | str, ...], dict[str, str]]


def thumbnails(rows: Iterable[tuple[str, list[Path | None]]]) -> Iterator[Read]:
    """(stem, name, thumbnail or what is the matter per column, what failed and why) of every row, in order."""
    workers = max(1, min(8, os.cpu_count() or 1))
    left = iter(rows)
    waiting: deque[Future[Read]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="thumbnail") as pool:
        try:
            for stem, paths in left:
                waiting.append(pool.submit(read_row, stem, paths))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def read_row(stem: str, paths: list[Path | None]) -> Read:
    """A row's pictures, one after the other: only one is in memory at its full size."""
    cells: list[Thumbnail | str] = []
    failed: dict[str, str] = {}
    for path in paths:
        if path is None:
            cells.append(ABSENT)
            continue
        try:
            cells.append(thumbnail(images.read(path), path))
        except UserError as error:
            failed[str(path)] = str(error)
            cells.append(str(error).removeprefix(f"{path}: ").partition(";")[0])
    endings = {path.suffix for path in paths if path is not None}
    return stem, stem + (endings.pop() if len(endings) == 1 else ""), tuple(cells), failed


def told_apart(folders: Sequence[Path]) -> tuple[str, ...]:
    """The folders' names, with as many of those above them as tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(path[-depth:]) or "/" for path in parts]
        if len(set(names)) == len(names):
            return tuple(names)
    return tuple(folder.resolve().name for folder in folders)  # one folder, named twice


def read_metrics(folder: Path, say: Callable[[str], None]) -> Metrics:
    """What `metrics.json` in `folder` tells; nothing where there is none, or, which is said, where it is not sound."""
    path = folder / METRICS
    if not path.is_file():
        return Metrics()
    try:
        found = json.loads(path.read_text("utf-8"))
        protocol, totals, single = found.get("protocol") or "", found.get("metrics") or {}, found.get("images") or {}
        return Metrics(
            protocol if isinstance(protocol, str) else json.dumps(protocol),
            finite(totals),
            {Path(name).with_suffix("").as_posix(): finite(values) for name, values in single.items()},
        )
    except (OSError, ValueError, AttributeError, TypeError) as error:
        say(f"{path} is left out: it does not hold metrics as they are written ({error})")
        return Metrics()


def protocols(columns: Sequence[str], measured: Sequence[Metrics]) -> dict[str, str]:
    """Label -> how was measured; once where it is the same for all."""
    told = {column: found.protocol for column, found in zip(columns, measured) if found.protocol}
    if len(set(told.values())) == 1:
        return {"Measured": next(iter(told.values()))}
    return {f"Measured for {column}": words for column, words in told.items()}


def finite(values: Mapping[str, object]) -> dict[str, float]:
    """Those that are numbers."""
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
