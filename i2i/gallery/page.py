"""One HTML page, or several where there are many rows: what is on it is escaped, and nothing on it leaves the disk."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import os
import re
import tempfile
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from i2i import __version__, images
from i2i.errors import UserError
from i2i.gallery.thumbnails import Thumbnail

if TYPE_CHECKING:
    from i2i.game import Card

__all__ = ["Gallery", "Made", "Row", "card_facts", "page_paths", "render", "vacant"]

ROWS = 200  # on a page
INDEXED = 20_000  # names of which a page knows on which other page they are
TINY = 200  # pixels of width below which a picture is always shown enlarged
LISTED = 500  # failed inputs that are listed one by one
MARK = '<meta name="generator" content="i2i gallery'  # by which a later run knows its own pages
HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode categories that do not show, or reorder what does
JOINERS = "\u200c\u200d"  # of those, what Persian and emoji are written with


class Row(NamedTuple):
    """One picture in every column.

    Attributes:
        name: shown, and what is searched.
        cells: a thumbnail per column, or a few words on why there is none.
        metrics: name -> value, per column; may be shorter than `cells`.
    """

    name: str
    cells: tuple[Thumbnail | str, ...]
    metrics: tuple[Mapping[str, float], ...] = ()


class Made(NamedTuple):
    """What was written.

    Attributes:
        pages: the files, in order.
        rows: how many rows they show.
        failed: input -> reason.
        missing: files without a partner.
    """

    pages: tuple[Path, ...]
    rows: int
    failed: Mapping[str, str] = {}
    missing: tuple[Path, ...] = ()


@dataclass
class Gallery:
    """Rows on their way to pages. They wait in a file without a name, so that memory holds one at a time.

    Args:
        path: of the first page, whose folder must be there; further ones are `name-2.html`, `name-3.html`, ...
        columns: their names; the first is what the others are compared with.

    Raises OSError where the disk gives out.
    """

    path: Path
    columns: Sequence[str]
    failed: dict[str, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    ends: list[int] = field(default_factory=lambda: [0])

    def __post_init__(self) -> None:
        self.spool = tempfile.TemporaryFile(dir=self.path.parent)  # noqa: SIM115  (closed by `close`)

    def close(self) -> None:
        """Drop the rows, written or not."""
        self.spool.close()

    def add(self, row: Row) -> None:
        """Put `row` after those that are there."""
        self.spool.write(row_html(row, self.columns, self.path.parent).encode())
        self.names.append(shown(row.name))
        self.ends.append(self.spool.tell())

    def fail(self, name: str, reason: str) -> None:
        """List an input that gave no row."""
        self.failed[name] = reason

    def write(
        self,
        title: str,
        facts: Mapping[str, str],
        *,
        lead: str = "",
        metrics: Sequence[Mapping[str, float]] = (),
        above: str = "",
        order: str = "",
    ) -> Made:
        """Write all pages, each whole or not at all, and remove what an earlier gallery of that name left beyond them.

        Args:
            title: the heading.
            facts: label -> text, shown on top; empty ones are left out.
            lead: a line under the heading.
            metrics: name -> value over all rows, per column.
            above: HTML that stands over the rows of the first page.
            order: what the order of the rows is called, where it is not that of their names.
        """
        pages = page_paths(self.path, len(self.names))
        table = metrics_html(self.columns, metrics)
        for number in reversed(range(len(pages))):  # the first last: whoever sees it finds those it leads to
            first, last = number * ROWS, min((number + 1) * ROWS, len(self.names))
            self.spool.seek(self.ends[first])
            rows = self.spool.read(self.ends[last] - self.ends[first]).decode()
            kind = "pairs" if len(self.columns) <= 2 else "rows"
            names = text(json.dumps([shown(column) for column in self.columns]))
            named = f' data-order="{text(order)}"' if order else ""
            content = f'<ol class="gallery {kind}" data-columns="{names}"{named}>{rows}</ol>'
            content = content if rows else '<p class="empty">No picture to show.</p>'
            document = render(
                title,
                facts,
                content,
                lead=lead,
                above=(failed_html(self.failed) + above if number == 0 else "") + table,
                tools=tools_html(len(pages)),
                paging=paging_html(pages, number),
                index=index_json(self.names, pages, number),
            )
            images.save(document.encode(), pages[number])
        self.spool.seek(self.ends[-1])
        for left in leftovers(self.path, len(pages)):
            left.unlink(missing_ok=True)
        return Made(tuple(pages), len(self.names), dict(self.failed))


def page_paths(path: Path, rows: int) -> list[Path]:
    """The files that `rows` rows fill, at least one."""
    count = max(1, math.ceil(rows / ROWS))
    return [path, *(path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(2, count + 1))]


def leftovers(path: Path, count: int) -> list[Path]:
    """Pages of an earlier gallery of that name beyond the first `count`."""
    found: list[Path] = []
    while (page := path.with_name(f"{path.stem}-{count + len(found) + 1}{path.suffix}")).is_file() and own(page):
        found.append(page)
    return found


def own(path: Path) -> bool:
    """Whether the file at `path` is a page that was written here."""
    with suppress(OSError), path.open("rb") as file:
        return MARK.encode() in file.read(2048)
    return False


def vacant(path: Path, rows: int, *, replace: bool, mine: bool = False) -> None:
    """Raises UserError where a page of that many rows would take the place of a file that is to be kept.

    Args:
        replace: any file may be replaced.
        mine: pages of an earlier gallery may be.
    """
    for page in page_paths(path, rows):
        if page.is_dir():
            raise UserError(f"{page} is a folder, and the page would take its place; rename it or choose another name")
        if page.exists() and not replace and not (mine and own(page)):
            raise UserError(f"{page} is there already; add --overwrite to replace it, or choose another name")


def shown(name: str) -> str:
    """`name` with what does not show, bytes that are not UTF-8 and marks that turn the direction written as escapes."""
    seen = (c if unicodedata.category(c) not in HIDDEN or c in JOINERS else escape(c) for c in name)
    return "".join(seen)


def escape(character: str) -> str:
    """A character as Python writes it; a byte that is not UTF-8 as that byte."""
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def text(words: str) -> str:
    """`words` as HTML, for text and for attributes."""
    return html.escape(shown(words))


def link(target: Path, folder: Path) -> str:
    """The address of `target` relative to `folder`; "" where there is none (another drive of Windows)."""
    try:
        relative = os.path.relpath(target, folder)
    except ValueError:
        return ""
    return quote(os.fsencode(Path(relative).as_posix()))


def number_text(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}" if math.isfinite(value) else "–"


def size_text(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


# --- a row ------------------------------------------------------------------------------------------------------------


def row_html(row: Row, columns: Sequence[str], folder: Path) -> str:
    """One row. Two columns share a slider; more get a frame each, which the script makes sliders over the first."""
    tallies = [{n: v for n, v in found.items() if math.isfinite(v)} for found in row.metrics]
    values = html.escape(json.dumps(tallies)) if any(tallies) else ""
    width = max((cell.full[0] for cell in row.cells if isinstance(cell, Thumbnail)), default=0)
    cells = [
        image_html(cell, n, folder, small=cell.full[0] < max(width, TINY)) if isinstance(cell, Thumbnail) else ""
        for n, cell in enumerate(row.cells)
    ]
    sizes = list(dict.fromkeys(size_text(cell.full) for cell in row.cells if isinstance(cell, Thumbnail)))
    if len(columns) <= 2:
        body = frame_html(row, range(len(columns)), cells, columns)
        figures = "".join(figures_html(found) for found in row.metrics)
    else:
        body = "".join(
            f"<div>{frame_html(row, [n], [cells[n]], columns)}"
            f'<p class="of"><b>{text(columns[n])}</b>{figures_html(row.metrics[n]) if n < len(row.metrics) else ""}</p>'
            "</div>"
            for n in range(len(columns))
        )
        body, figures = f'<div class="cells">{body}</div>', ""
    return (
        f'<li class="row" data-name="{text(row.name)}"' + (f' data-metrics="{values}"' if values else "") + ">"
        f"{body}"
        f'<p class="caption"><bdi class="name" title="{text(row.name)}">{text(row.name)}</bdi>'
        f'<span class="size">{" → ".join(sizes)}</span></p>{figures}</li>\n'
    )


def frame_html(row: Row, numbers: Sequence[int], cells: Sequence[str], columns: Sequence[str]) -> str:
    """The pictures of columns `numbers` over each other, with words for those that are missing."""
    missing = [
        f'<span class="missing"><b>{text(columns[n])}</b> {text(cell)}</span>'
        for n in numbers
        if isinstance(cell := row.cells[n], str)
    ]
    there = [cell for cell in cells if cell]
    tags = "".join(f'<span class="tag {side}">{text(columns[n])}</span>' for side, n in zip(("left", "right"), numbers))
    label = text(f"{row.name}: {columns[numbers[0]]}" + (f" | {columns[numbers[-1]]}" if len(numbers) > 1 else ""))
    kind = "frame" + (" clear" if any(isinstance(c, Thumbnail) and c.transparent for c in row.cells) else "")
    if len(there) > 1:
        return (
            f'<div class="{kind} slider" role="slider" tabindex="0" aria-label="{label}" aria-valuemin="0" '
            f'aria-valuemax="100" aria-valuenow="50" aria-orientation="horizontal">'
            f'{there[1]}{there[0]}<i class="line"></i>{tags}</div>'
        )
    if not there:
        return f'<div class="{kind} none">{"".join(missing)}</div>'
    return f'<div class="{kind}" role="button" tabindex="0" aria-label="{label}">{there[0]}{"".join(missing)}</div>'


def image_html(cell: Thumbnail, column: int, folder: Path, *, small: bool) -> str:
    """A picture with its place in the row, its full size, and where the whole of it lies."""
    original = ""
    if cell.original is not None:
        original = link(cell.original, folder)
    return (
        f'<img data-column="{column}" data-full="{cell.full[0]} {cell.full[1]}"'
        + (f' data-original="{html.escape(original)}"' if original else "")
        + (' class="small"' if small else "")
        + f' width="{cell.size[0]}" height="{cell.size[1]}" alt="" decoding="async" draggable="false" '
        f'src="{cell.address}">'
    )


def figures_html(values: Mapping[str, float]) -> str:
    """Metrics of one picture."""
    if not values:
        return ""
    inner = "".join(f"<span>{text(name)} <b>{number_text(value)}</b></span>" for name, value in values.items())
    return f'<span class="figures">{inner}</span>'


# --- around the rows --------------------------------------------------------------------------------------------------


def failed_html(failed: Mapping[str, str]) -> str:
    """Inputs without a picture, and why."""
    if not failed:
        return ""
    count = len(failed)
    items = "".join(
        f"<li><bdi>{text(name)}</bdi> <span>{text(reason.removeprefix(f'{name}: '))}</span></li>"
        for name, reason in list(failed.items())[:LISTED]
    )
    more = f"<li>and {count - LISTED:,} more</li>" if count > LISTED else ""
    return (
        f'<details class="failed"{" open" if count <= 5 else ""}>'
        f"<summary>{count:,} {'inputs' if count > 1 else 'input'} failed</summary><ul>{items}{more}</ul></details>"
    )


def metrics_html(columns: Sequence[str], metrics: Sequence[Mapping[str, float]]) -> str:
    """A line per column, a column per metric."""
    names = list(dict.fromkeys(name for found in metrics for name in found))
    if not names:
        return ""
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in names)
    lines = "".join(
        f'<tr><th scope="row">{text(column)}</th>'
        + "".join(f"<td>{number_text(found[name]) if name in found else '–'}</td>" for name in names)
        + "</tr>"
        for column, found in zip(columns, metrics)
        if found
    )
    return f'<div class="scroll"><table class="metrics"><tr><td></td>{head}</tr>{lines}</table></div>'


def tools_html(pages: int) -> str:
    """Search and order; the script fills in the orders there are."""
    several = " on this page" if pages > 1 else ""
    return (
        '<label class="find"><span class="sr">Find by name</span>'
        '<input id="find" type="search" placeholder="Find by name" autocomplete="off" spellcheck="false"></label>'
        f'<label class="sort" hidden><span class="sr">Order{several}</span><select id="sort"></select></label>'
        f'<output id="count"></output><span id="elsewhere"></span>'
    )


def paging_html(pages: Sequence[Path], number: int) -> str:
    """Links to the neighbours, the ends, and what lies near."""
    if len(pages) == 1:
        return ""

    def to(n: int, words: str, kind: str = "") -> str:
        if not 0 <= n < len(pages):
            return f'<span class="{kind} off">{words}</span>'
        here = ' aria-current="page"' if n == number and not kind else ""
        rel = f' rel="{kind}" class="{kind}"' if kind else ""
        return f'<a href="{html.escape(link(pages[n], pages[0].parent))}"{rel}{here}>{words}</a>'

    near = sorted({0, len(pages) - 1, *range(max(0, number - 2), min(len(pages), number + 3))})
    parts = []
    for before, n in zip([-1, *near], near):
        parts += ["<span>…</span>"] if n > before + 1 else []
        parts.append(to(n, str(n + 1)))
    return (
        f'<nav class="paging" aria-label="Pages">{to(number - 1, "Previous", "prev")}{"".join(parts)}'
        f"{to(number + 1, 'Next', 'next')}</nav>"
    )


def index_json(names: Sequence[str], pages: Sequence[Path], number: int) -> str:
    """[[address, [name, ...]], ...] of the other pages, so that what is searched for is found there too."""
    if len(pages) == 1 or len(names) > INDEXED:
        return "[]"
    folder = pages[0].parent
    others = [
        [n + 1, link(page, folder), names[n * ROWS : (n + 1) * ROWS]] for n, page in enumerate(pages) if n != number
    ]
    return json.dumps(others).replace("<", "\\u003c")


def facts_html(facts: Mapping[str, str]) -> str:
    inner = "".join(f"<div><dt>{text(label)}</dt><dd>{text(fact)}</dd></div>" for label, fact in facts.items() if fact)
    return f'<dl class="facts">{inner}</dl>' if inner else ""


@cache
def asset(name: str) -> str:
    return resources.files("i2i.gallery").joinpath(name).read_text("utf-8")


def seal(code: str) -> str:
    """The source expression of the Content Security Policy that lets exactly this inline text run (CSP 3, 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def render(
    title: str,
    facts: Mapping[str, str],
    content: str,
    *,
    lead: str = "",
    above: str = "",
    tools: str = "",
    paging: str = "",
    index: str = "[]",
) -> str:
    """The whole document. `title`, `facts` and `lead` are plain text; the others are HTML, and `index` JSON."""
    style, script = asset("page.css"), asset("page.js")
    # 'self' is the folder's own server where the page is looked at through one; nothing else can be reached
    policy = (f"default-src 'none'; img-src data: 'self' file:; style-src {seal(style)}; script-src {seal(script)}; "
              "base-uri 'none'; form-action 'none'")  # fmt: skip
    return Template(asset("page.html")).substitute(
        policy=policy,
        mark=MARK,
        version=__version__,
        title=text(title),
        lead=f'<p class="lead">{text(lead)}</p>' if lead else "",
        style=style,
        script=script,
        facts=facts_html(facts),
        above=above,
        tools=tools,
        paging=paging,
        content=content,
        index=index,
    )


def card_facts(card: Card) -> dict[str, str]:
    """What a model's card says about where it comes from, as label -> text."""
    origin = card.origin
    hours = f" in {origin.hours:g} h" if origin.hours else ""
    return {
        "Data": origin.data,
        "Terms": origin.terms,
        "Trained": f"{origin.images:,} images{hours}" if origin.images else "",
        "Recipe": re.sub(r"\s+[0-9a-f]{64}$", "", origin.recipe),
        "Figures": ", ".join(f"{name} {value:g}" for name, value in origin.figures.items()),
        "Notes": re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", origin.notes),
    }
