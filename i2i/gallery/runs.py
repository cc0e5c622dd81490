"""The page of a training run: its sheets on a slider over time, its losses as curves."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from i2i import images
from i2i.errors import UserError
from i2i.gallery.curves import Points, chart
from i2i.gallery.page import Made, image_html, render, text, vacant
from i2i.gallery.thumbnails import Thumbnail, thumbnail

__all__ = ["is_run", "of_run"]

SHEETS = 60  # on a page
SHEET_SIDE = 1024  # pixels; a sheet is a dozen pictures, each of which stays far below a thumbnail's side

Line = dict[str, Any]


def is_run(folder: Path) -> bool:
    """Whether `folder` is what a training leaves."""
    return (folder / "journal.jsonl").is_file() or (folder / "sheets").is_dir()


def of_run(run: Path, page: Path, *, overwrite: bool = False) -> Made:
    """Write the page of the run in folder `run`.

    Raises UserError if it has neither sheets nor a line in its journal, or `page` is there and not to be replaced.
    """
    if not run.is_dir():
        what = "is no folder" if run.exists() else "is not there"
        raise UserError(f"{run} {what}; name the folder of a run, such as runs/NAME")
    vacant(page, 1, replace=overwrite)
    lines = read_journal(run / "journal.jsonl")
    there = sorted((run / "sheets").glob("*.png"))
    if not lines and not there:
        raise UserError(f"{run} has no sheet and no line in its journal yet; train on, or name another folder")
    recipe = read_recipe(run / "recipe.yaml")
    about = part(recipe, "about")
    page.parent.mkdir(parents=True, exist_ok=True)
    failed: dict[str, str] = {}
    sheets = list(read_sheets(evenly(there), failed))
    content = time_html(sheets, page.parent) + curves_html(lines)
    direction = f"{about['a']} → {about['b']}" if about.get("a") and about.get("b") else ""
    more = f"{len(sheets)} of {len(there)} sheets, evenly chosen" if len(there) > len(sheets) + len(failed) else ""
    document = render(
        str(recipe.get("name") or run.resolve().name),
        {**facts(lines, recipe), "Sheets": more},
        f'<div class="run{"" if sheets and lines else " alone"}">{content}</div>',
        lead=direction,
    )
    images.save(document.encode(), page)
    return Made((page,), len(sheets), failed)


def read_journal(path: Path) -> list[Line]:
    """The lines that tell losses, in the order of images; one that a crash tore is passed over."""
    found: dict[int, Line] = {}
    try:
        written = path.read_bytes().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    for words in written:
        try:
            line = json.loads(words)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("images"), int) and isinstance(line.get("terms"), dict):
            before = found.get(line["images"], {"terms": {}})  # losses and validation have lines of their own
            found[line["images"]] = before | line | {"terms": before["terms"] | line["terms"]}
    return [found[at] for at in sorted(found)]


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe as plain data; nothing where there is none: the page does without."""
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def part(recipe: dict[str, Any], name: str) -> dict[str, Any]:
    found = recipe.get(name)
    return found if isinstance(found, dict) else {}


def facts(lines: list[Line], recipe: dict[str, Any]) -> dict[str, str]:
    """Label -> text."""
    last = lines[-1] if lines else {}
    done, total = last.get("images", 0), part(recipe, "training").get("images")
    speeds = [line["speed"] for line in lines if number(line.get("speed")) and line["speed"] > 0]
    about, training = part(recipe, "about"), part(recipe, "training")
    return {
        "Game": str(part(recipe, "game").get("of", "")).rpartition(":")[2],
        "Data": str(about.get("data") or ""),
        "Terms": str(about.get("terms") or ""),
        "Images": f"{done:,} of {total:,}" if isinstance(total, int) and done < total else f"{done:,}" if done else "",
        "Time": hours(last["seconds"]) if number(last.get("seconds")) else "",
        "Speed": f"{statistics.median(speeds):.3g} images/s (median)" if speeds else "",
        "Batch": str(training.get("batch") or ""),
        "Seed": str(training.get("seed", "")),
        "Notes": str(about.get("notes") or ""),
    }


def number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def hours(seconds: float) -> str:
    """In the unit that suits it."""
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def evenly(paths: list[Path], most: int = SHEETS) -> list[Path]:
    """At most `most` of them, the first and the last among them."""
    if len(paths) <= most:
        return paths
    return [paths[round(n * (len(paths) - 1) / (most - 1))] for n in range(most)]


def read_sheets(paths: list[Path], failed: dict[str, str]) -> Iterator[tuple[int, Thumbnail]]:
    """(images seen, sheet) of those that can be read."""
    for path in paths:
        if not path.stem.isdigit():
            continue
        try:
            yield int(path.stem), thumbnail(images.read(path), path, side=SHEET_SIDE)
        except UserError as error:
            failed[str(path)] = str(error)


def time_html(sheets: list[tuple[int, Thumbnail]], folder: Path) -> str:
    """All sheets over each other, and the slider that chooses one."""
    if not sheets:
        return ""
    items = "".join(
        f'<li class="row{" now" if n == len(sheets) - 1 else ""}" data-name="{at:,} images" data-images="{at}">'
        f'<div class="frame" role="button" tabindex="0" aria-label="Sheet at {at:,} images">'
        f"{image_html(sheet, 0, folder, small=False)}</div></li>"
        for n, (at, sheet) in enumerate(sheets)
    )
    last = len(sheets) - 1
    return (
        f'<section class="time"><ol>{items}</ol><div class="hand">'
        '<button id="play" type="button" aria-label="Play">▶</button>'
        f'<input id="hand" type="range" min="0" max="{last}" value="{last}" aria-label="Time, in images">'
        f'<output id="when">{sheets[-1][0]:,} images</output></div></section>'
    )


def curves_html(lines: list[Line]) -> str:
    """A chart per term, under the name of its player."""
    if not lines:
        return ""
    span = (min(0, lines[0]["images"]), lines[-1]["images"])
    stages = [b["images"] for a, b in pairwise(lines) if a.get("stage") != b.get("stage")]
    players: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for line in lines for name in line["terms"]):
        players.setdefault(name.partition("/")[0] if "/" in name else "", []).append(name)
    groups = []
    for player, names in players.items():
        charts = "".join(chart(name.removeprefix(f"{player}/"), points(lines, name), span, stages) for name in names)
        groups.append((f"<h3>{text(player)}</h3>" if player else "") + f'<div class="charts">{charts}</div>')
    return (
        '<section class="curves"><h2>Losses over images<span class="switch">'
        '<button type="button" data-scale="linear" aria-pressed="true">linear</button>'
        '<button type="button" data-scale="log" aria-pressed="false">log</button></span></h2>'
        f"{''.join(groups)}</section>"
    )


def points(lines: list[Line], name: str) -> Points:
    """Of one term."""
    return [
        (line["images"], float(line["terms"][name]) if number(line["terms"][name]) else None)
        for line in lines
        if name in line["terms"]
    ]
