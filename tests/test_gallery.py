"""Pages to look at: what is written into them, and what they do in a browser."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from i2i import batchrun, gallery
from i2i.batchrun import Outcome, Report, Settings
from i2i.checkpoint import save_generator
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.gallery import Gallery, Row, thumbnail
from i2i.gallery.curves import chart, smoothed, thinned, ticks
from i2i.gallery.page import ROWS, link, shown
from i2i.images import Picture, read
from i2i.journal import contact_sheet, save_sheet
from i2i.spec import Spec
from i2i.translation.cyclegan import ResnetGenerator

ALONE = {**os.environ, "OMP_NUM_THREADS": "1"}
HOSTILE = [
    "<script>window.hurt = 1<&script>.png",  # a slash cannot be part of a name
    "\"><img src=x onerror='window.hurt = 1'>.png",
    'it\'s & "that".png',
    "two\nlines.png",
    "gepj.\u202egnp.png",
    "שלום עולם.png",
    "100% #1?.png",
    "mailto:a.png",
    os.fsdecode(b"not utf-8 \xff\xfe.png"),
]


def draw(path: Path, size: tuple[int, int] = (24, 16), *, seed: int = 0, alpha: bool = False) -> Path:
    """A picture of noise, (width, height) in pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4 if alpha else 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "JPEG" if path.suffix == ".jpg" else "PNG")
    return path


def flat(color: tuple[int, ...], size: tuple[int, int] = (64, 48)) -> gallery.Thumbnail:
    return thumbnail(Picture(np.full((size[1], size[0], 3), color, np.uint8)))


class Tags(HTMLParser):
    """All tags of a page, as (name, attributes), and its texts outside of scripts and styles."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.inside = ""
        self.feed(page.read_bytes().decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside not in ("script", "style"):
            self.texts.append(data)

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        return [
            found
            for name, found in self.found
            if name == tag and all(found.get(key.replace("_", "-")) == value for key, value in attributes.items())
        ]

    @property
    def pictures(self) -> list[Image.Image]:
        sources = [found["src"] for found in self.all("img") if "src" in found]
        return [Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) for source in sources]


def rows(page: Path) -> list[dict[str, str]]:
    return [found for found in Tags(page).all("li") if "row" in found.get("class", "").split()]


def i2i(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "i2i", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ALONE, cwd=cwd)


# --- thumbnails -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1024, 512), (512, 256)), ((300, 900), (171, 512)), ((40, 30), (40, 30)), ((3000, 1), (512, 1))],
)
def test_a_thumbnail_has_at_most_512_pixels_a_side_and_is_never_enlarged(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    made = thumbnail(Picture(np.zeros((size[1], size[0]), np.uint8)))
    assert (made.size, made.full) == (expected, size)
    assert Image.open(io.BytesIO(made.data)).size == expected


def test_a_thumbnail_keeps_alpha_and_hidden_colours_do_not_bleed_into_it() -> None:
    pixels = np.zeros((1000, 1000, 3), np.uint8)
    pixels[:, 501:] = (0, 255, 0)
    alpha = np.full((1000, 1000), 65_535, np.uint16)
    alpha[:, 501:] = 0
    made = thumbnail(Picture(pixels.astype(np.uint16) * 257, alpha))
    small = np.asarray(Image.open(io.BytesIO(made.data)).convert("RGBA"))
    assert made.transparent and made.address.startswith("data:image/webp;base64,")
    assert small[:, :250, 3].min() == 255 and small[:, 262:, 3].max() == 0
    assert small[:, :257, 1][small[:, :257, 3] > 0].max() < 60


def test_a_thumbnail_is_in_srgb() -> None:
    from PIL import ImageCms

    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    made = thumbnail(Picture(np.full((8, 8, 3), 90, np.uint8), icc=lab))
    image = Image.open(io.BytesIO(made.data))
    assert "icc_profile" not in image.info
    assert abs(int(np.asarray(image).mean()) - 90) <= 2
    assert thumbnail(Picture(np.full((8, 8, 3), 90, np.uint8), icc=b"broken")).size == (8, 8)


# --- what is written --------------------------------------------------------------------------------------------------


def test_names_are_shown_without_what_hides_or_turns() -> None:
    assert shown("two\nlines") == "two\\nlines"
    assert shown("a\u202eb") == "a\\u202eb"
    assert shown(os.fsdecode(b"\xff")) == "\\xff"
    assert shown("שלום 日本\u3000語 👩\u200d🔬") == "שלום 日本\u3000語 👩\u200d🔬"


def test_links_survive_every_name(tmp_path: Path) -> None:
    from urllib.parse import unquote_to_bytes, urlsplit

    for name in HOSTILE:
        address = link(tmp_path / "a" / name, tmp_path / "pages")
        assert not urlsplit(address).scheme and not urlsplit(address).query and not urlsplit(address).fragment
        assert unquote_to_bytes(address) == b"../a/" + os.fsencode(name)
        assert '"' not in address and "<" not in address and "'" not in address


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    for number, name in enumerate(HOSTILE):
        draw(tmp_path / "a" / name, seed=number)
        draw(tmp_path / "b" / name, seed=number + 50)
    (tmp_path / "b" / "<i>broken.png").write_bytes(b"<b>no picture</b>")
    (tmp_path / "a" / "<i>broken.png").write_bytes(b"")
    made = gallery.compare([tmp_path / "a", tmp_path / "b"], tmp_path / "page.html", labels=("<u>one", "two</title>"))
    tags = Tags(made.pages[0])
    names = [found["data-name"] for found in rows(made.pages[0])]
    assert sorted(names) == sorted(map(shown, [*HOSTILE, "<i>broken.png"]))
    assert len(tags.all("script")) == 2 and not tags.all("u")
    assert not [name for _, found in tags.found for name in found if name.startswith("on")]
    assert "<u>one · two</title>" in tags.texts
    assert len(made.failed) == 2
    (tmp_path / "page.html").read_bytes().decode("utf-8")  # strictly


def test_a_page_asks_no_network(tmp_path: Path) -> None:
    draw(tmp_path / "a" / "x.png")
    draw(tmp_path / "b" / "x.jpg")
    page = gallery.compare([tmp_path / "a", tmp_path / "b"], tmp_path / "out" / "page.html").pages[0]
    tags = Tags(page)
    [policy] = [found["content"] for found in tags.all("meta") if found.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy and "http" not in policy and "unsafe" not in policy and "*" not in policy
    for tag, found in tags.found:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert not re.match(r"\s*(https?:)?//", found.get(name, "")), (tag, found)
    assert not [found for _, found in tags.found if "style" in found]  # the policy lets none through
    assert not re.search(rb"https?://", page.read_bytes())
    originals = [found["data-original"] for found in tags.all("img") if "data-original" in found]
    assert originals == ["../b/x.jpg", "../a/x.png"]


def test_more_than_200_rows_go_on_further_pages(tmp_path: Path) -> None:
    picture = flat((9, 9, 9), (4, 4))
    (tmp_path / "g-4.html").write_text("of somebody else")
    for count, pages in ((2 * ROWS + 1, 3), (ROWS, 1)):  # a smaller gallery takes the larger one's pages away
        book = Gallery(tmp_path / "g.html", ("a", "b"))
        for number in range(count):
            book.add(Row(f"{number:03}.png", (picture, picture)))
        made = book.write("title", {})
        book.close()
        assert [path.name for path in made.pages] == ["g.html", "g-2.html", "g-3.html"][:pages]
        assert sum(len(rows(path)) for path in made.pages) == made.rows == count
        assert max(len(rows(path)) for path in made.pages) == ROWS
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*(p.name for p in made.pages), "g-4.html"])
        if pages == 3:
            second = Tags(made.pages[1])
            links = {found["href"] for found in second.all("a") if "href" in found}
            assert {"g.html", "g-3.html"} <= links and not {name for name in links if "/" in name}
            index = json.loads(made.pages[1].read_text().partition('id="index">')[2].partition("</script>")[0])
            assert [(n, address, len(names)) for n, address, names in index] == [(1, "g.html", 200), (3, "g-3.html", 1)]


def test_rows_wait_on_the_disk(tmp_path: Path) -> None:
    book = Gallery(tmp_path / "g.html", ("a", "b"))
    book.add(Row("x", (flat((1, 2, 3)), "no such file")))
    assert list(tmp_path.iterdir()) == []  # the file they wait in has no name
    assert book.ends[-1] > 1000
    book.close()


# --- i2i translate --gallery ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine() -> Engine:
    from dataclasses import replace

    torch.manual_seed(0)
    network = ResnetGenerator(width=2, blocks=1)
    card = network.card()
    origin = replace(card.origin, data="drawn", terms="none <at all>", notes="first\nsecond")
    network.card = replace(card, minimum=8, a="map", b="aerial", origin=origin)  # type: ignore[assignment, method-assign]
    return Engine(network, precision="fp32")


def translate(engine: Engine, out: Path, *inputs: Path, **settings: Any) -> Report:
    return batchrun.run(engine, list(map(str, inputs)), out, Settings(gallery=True, **settings))


def test_translating_writes_a_page_with_the_card_on_top(engine: Engine, tmp_path: Path) -> None:
    for number in range(3):
        draw(tmp_path / "in" / "deep" / f"{number}.png", (700, 520), seed=number)
    draw(tmp_path / "in" / "clear.png", alpha=True)
    (tmp_path / "in" / "broken.png").write_bytes(b"no")
    report = translate(engine, tmp_path / "out", tmp_path / "in")
    page = tmp_path / "out" / "gallery.html"
    assert report.gallery == str(page) and (report.written, report.failed) == (4, 1)
    tags = Tags(page)
    words = " ".join(tags.texts)
    for said in ("map → aerial", "drawn", "none <at all>", "first\\nsecond", "deterministic", "fp32 on cpu", "1 input",
                 "broken.png", "this is no image"):  # fmt: skip
        assert said in words, said
    assert [found["data-name"] for found in rows(page)] == ["clear.png", "deep/0.png", "deep/1.png", "deep/2.png"]
    assert max(max(picture.size) for picture in tags.pictures) == 512 and len(tags.pictures) == 8
    assert len([found for found in tags.all("div") if "clear" in found.get("class", "").split()]) == 1
    assert tags.all("img", data_column="0")[1]["data-original"] == "../in/deep/0.png"
    assert tags.all("img", data_column="1")[1]["data-original"] == "deep/0.png"
    assert page.stat().st_size < 4_000_000


def test_what_was_there_already_is_on_the_page_too(engine: Engine, tmp_path: Path) -> None:
    first, second = draw(tmp_path / "in" / "a.png"), tmp_path / "in" / "b.png"
    translate(engine, tmp_path / "out", first)
    draw(second)
    report = translate(engine, tmp_path / "out", tmp_path / "in", existing="skip")
    assert (report.written, report.skipped) == (1, 1)
    page = tmp_path / "out" / "gallery.html"
    assert [found["data-name"] for found in rows(page)] == ["a.png", "b.png"]
    assert len(Tags(page).pictures) == 4


def test_a_page_of_somebody_else_stays(engine: Engine, tmp_path: Path) -> None:
    source, page = draw(tmp_path / "in" / "a.png"), tmp_path / "out" / "gallery.html"
    page.parent.mkdir()
    page.write_text("mine")
    for existing in ("refuse", "skip"):
        with pytest.raises(UserError, match=r"gallery\.html is there already; add --overwrite"):
            translate(engine, page.parent, source, existing=existing)
    assert page.read_text() == "mine" and [path.name for path in page.parent.iterdir()] == ["gallery.html"]
    translate(engine, page.parent, source, existing="overwrite")
    assert len(rows(page)) == 1


def test_a_folder_of_results_in_the_pages_place_is_refused(engine: Engine, tmp_path: Path) -> None:
    draw(tmp_path / "in" / "Gallery.html" / "a.png")
    with pytest.raises(UserError, match="rename that folder"):
        translate(engine, tmp_path / "out", tmp_path / "in")
    assert not list((tmp_path / "out").iterdir())


def test_each_shard_has_its_own_page(engine: Engine, tmp_path: Path) -> None:
    for name in "abc":
        draw(tmp_path / "in" / f"{name}.png")
    pages = [translate(engine, tmp_path / "out", tmp_path / "in", shard=(n, 2)).gallery for n in (1, 2)]
    assert [len(rows(Path(str(page)))) for page in pages] == [2, 1]
    assert Path(str(pages[0])).name == "gallery-shard-1-of-2.html"


def test_an_interrupted_run_leaves_a_page_of_what_is_done(engine: Engine, tmp_path: Path) -> None:
    for number in range(30):
        draw(tmp_path / "in" / f"{number:02}.png", seed=number)

    def tell(outcome: Outcome, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batchrun.run(engine, [str(tmp_path / "in")], tmp_path / "out", Settings(gallery=True), tell=tell)
    assert [found["data-name"] for found in rows(tmp_path / "out" / "gallery.html")] == ["00.png", "01.png", "02.png"]
    assert not list((tmp_path / "out").glob(".*"))


def test_the_command_says_where_the_page_is(tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png", (40, 32))
    network = ResnetGenerator(width=2, blocks=1)
    model = tmp_path / "tiny.safetensors"
    save_generator(model, network, Spec.to(ResnetGenerator, width=2, blocks=1), network.card())
    run = i2i("translate", "-m", model, tmp_path / "in", "-o", tmp_path / "out", "--gallery", "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1])["summary"]["gallery"] == str(tmp_path / "out" / "gallery.html")
    assert f"to look at in {tmp_path / 'out' / 'gallery.html'}" in run.stderr
    run = i2i("translate", "-m", model, tmp_path / "in" / "a.png", "-o", "-", "--gallery")
    assert (run.returncode, run.stdout) == (2, "") and "--gallery writes files" in run.stderr


# --- i2i gallery of folders -------------------------------------------------------------------------------------------


def folders(tmp_path: Path) -> list[Path]:
    for folder, names in {"photos": "ab", "one": "abc", "two": "a"}.items():
        for number, name in enumerate(names):
            draw(tmp_path / folder / "sub" / (name + (".jpg" if folder == "one" else ".png")), seed=number)
    return [tmp_path / "photos", tmp_path / "one", tmp_path / "two"]


def test_folders_are_compared_by_paths_without_endings(tmp_path: Path) -> None:
    said: list[str] = []
    made = gallery.compare(folders(tmp_path), tmp_path / "page.html", say=said.append)
    found = rows(made.pages[0])
    assert [row["data-name"] for row in found] == ["sub/a", "sub/b", "sub/c.jpg"]  # those with gaps come last
    assert made.missing == (tmp_path / "one" / "sub" / "c.jpg",)
    assert said == [f"1 of 6 pictures have no partner: {tmp_path / 'one' / 'sub' / 'c.jpg'}"]
    tags = Tags(made.pages[0])
    assert [tags.texts.count(name) for name in ("photos", "one", "two")] == [4, 3, 5]  # labels, and those missing
    assert len(tags.pictures) == 6 and " ".join(tags.texts).count("no such file") == 3


def test_metrics_are_shown_where_they_were_written(tmp_path: Path) -> None:
    given, said = folders(tmp_path), []
    values = {"sub/a.jpg": {"lpips": 0.25, "psnr": float("nan")}, "sub/b": {"lpips": 0.5}}
    (given[1] / "metrics.json").write_text(
        json.dumps({"protocol": "against <photos>", "metrics": {"lpips": 0.375}, "images": values})
    )
    (given[2] / "metrics.json").write_text('{"images": [1]}')
    page = gallery.compare(given, tmp_path / "page.html", say=said.append).pages[0]
    found = {row["data-name"]: json.loads(row.get("data-metrics", "null")) for row in rows(page)}
    assert found == {"sub/a": [{}, {"lpips": 0.25}, {}], "sub/b": [{}, {"lpips": 0.5}, {}], "sub/c.jpg": None}
    words = Tags(page).texts
    assert "against <photos>" in words and "0.375" in words and "0.25" in words
    assert "metrics.json is left out" in said[-1]


def test_columns_are_told_apart(tmp_path: Path) -> None:
    for name in ("x/out", "y/out"):
        draw(tmp_path / name / "a.png")
    page = gallery.compare([tmp_path / "x" / "out", tmp_path / "y" / "out"], tmp_path / "page.html").pages[0]
    assert "x/out · y/out" in Tags(page).texts


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which folders?"),
        (["photos"], "photos is no run (it has neither journal.jsonl nor sheets/)"),
        (["photos", "nowhere"], "there is no 'nowhere'"),
        (["photos", "photos/sub/a.png"], "photos/sub/a.png is no folder"),
        (["photos/sub/a.png"], "photos/sub/a.png is no folder"),
        (["photos", "empty"], "empty holds no pictures"),
        (["empty"], "empty is no run"),
        (["photos", "other"], "the folders have no picture in common"),
        (["photos", "one", "--label", "x"], "1 labels for 2 folders"),
        (["photos", "one", "-o", "page.png"], "a page's name ends in .html; write page.html"),
        (["photos", "one", "-o", "there.html"], "there.html is there already; add --overwrite"),
        (["bare"], "bare has no sheet and no line in its journal yet"),
    ],
)
def test_what_cannot_be_shown_gets_one_sentence(arguments: list[str], said: str, tmp_path: Path, capfd: Any) -> None:
    from i2i import cli

    folders(tmp_path)
    draw(tmp_path / "other" / "z.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare" / "sheets").mkdir(parents=True)
    (tmp_path / "there.html").write_text("mine")
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        with pytest.raises(SystemExit) as left:
            cli.main(["gallery", *arguments])
    finally:
        os.chdir(here)
    out, err = capfd.readouterr()
    assert (left.value.code, out) == (2, "")
    sentences = [line for line in err.splitlines() if not line.endswith("losses alone")]
    assert len(sentences) == 1 and sentences[0].startswith("i2i: ") and said in sentences[0]
    assert (tmp_path / "there.html").read_text() == "mine"
    assert not list(tmp_path.glob("gallery.html"))


def test_a_page_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    folders(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("no folder")
    page = tmp_path / "full" / "file" / "page.html"
    done = subprocess.run([sys.executable, "-m", "i2i", "gallery", tmp_path / "photos", tmp_path / "one", "-o", page],
                          capture_output=True, text=True)  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith(f"i2i: {page} cannot be written: ")
    assert "Traceback" not in done.stderr


def test_unreadable_pictures_are_listed_and_the_exit_code_is_1(tmp_path: Path) -> None:
    given = folders(tmp_path)
    (given[1] / "sub" / "a.jpg").write_bytes(b"no picture")
    run = i2i("gallery", *given[:2], "-o", tmp_path / "out" / "page.html", "--json")
    facts = json.loads(run.stdout)
    assert run.returncode == 1 and facts["rows"] == 3 and list(facts["failed"]) == [str(given[1] / "sub" / "a.jpg")]
    assert "failed: " in run.stderr and "this is no image" in run.stderr
    assert "this is no image" in " ".join(Tags(tmp_path / "out" / "page.html").texts)


# --- i2i gallery of a run ---------------------------------------------------------------------------------------------


def make_run(folder: Path, *, lines: int = 40, sheets: int = 3) -> Path:
    """A run's folder: a journal with a torn end, and sheets of 3 x 2 pictures."""
    folder.mkdir(parents=True)
    written = [
        {"images": 500 * n, "stage": "train" if n < 30 else "finish", "rate": 1.0, "skipped": {}, "seconds": 90.0 * n,
         "speed": 5.0, "terms": {"critic/real": -1.0 / n, "generator/cycle": None if n == 7 else 10.0 / n}}
        for n in range(1, lines + 1)
    ]  # fmt: skip
    (folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in written) + '{"images": 99')
    recipe = "name: <b>tiny\nabout: {a: map, b: aerial}\ntraining: {images: 40000, seed: 0}\n"
    (folder / "recipe.yaml").write_text(recipe)
    for n in range(sheets):
        columns = [torch.full((3, 3, 32, 32), value) for value in (-0.5, n / sheets)]
        save_sheet(folder / "sheets" / f"{1000 * n:010d}.png", contact_sheet(columns))
    return folder


def test_a_run_shows_its_sheets_curves_and_facts(tmp_path: Path) -> None:
    page = gallery.of_run(make_run(tmp_path / "run"), tmp_path / "page.html").pages[0]
    tags, text = Tags(page), page.read_text()
    assert [row["data-images"] for row in rows(page)] == ["0", "1000", "2000"] and len(tags.pictures) == 3
    charts = [found for found in tags.all("figure") if found.get("class") == "chart"]
    assert len(charts) == 2 and [len(json.loads(found["data-points"])) for found in charts] == [40, 40]
    assert text.count('<g class="linear">') == 2 and text.count('<g class="log">') == 1  # none below zero
    assert text.count('class="stage-mark"') == 2
    for said in ("<b>tiny", "map → aerial", "20,000 of 40,000", "1.0 h", "5 images/s (median)", "critic", "cycle"):
        assert said in tags.texts, said


def test_at_most_60_sheets_are_chosen_evenly(tmp_path: Path) -> None:
    page = gallery.of_run(make_run(tmp_path / "run", sheets=130), tmp_path / "page.html").pages[0]
    shown_at = [int(row["data-images"]) for row in rows(page)]
    assert len(shown_at) == 60 and (shown_at[0], shown_at[-1]) == (0, 129_000)
    assert {b - a for a, b in pairwise(shown_at)} <= {2000, 3000}


def test_a_run_without_sheets_shows_its_losses(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", sheets=0)
    done = i2i("gallery", run, cwd=tmp_path)
    assert done.returncode == 0 and "has no sheets yet: the page shows its losses alone" in done.stderr
    assert done.stdout == f"{run / 'gallery.html'}\n" and "<svg" in (run / "gallery.html").read_text()
    (run / "journal.jsonl").unlink()
    with pytest.raises(UserError, match="no sheet and no line"):
        gallery.of_run(run, tmp_path / "page.html")


def test_smoothing_delays_nothing_and_keeps_gaps() -> None:
    line = [2.0 * n for n in range(60)]
    assert smoothed(line)[5:-5] == pytest.approx(line[5:-5])
    assert smoothed([1.0, None, 3.0])[1] is None
    assert smoothed([4.0]) == [4.0]


def test_long_journals_are_thinned_to_means() -> None:
    kept = thinned([(n, float(n)) for n in range(10_000)])
    assert len(kept) <= 600 and kept[0][1] == pytest.approx(8.0) and kept[-1][0] > 9_980


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0, 1, [0, 0.5, 1]), (0, 22_000, [0, 10_000, 20_000]), (-3, 3, [-2, 0, 2])]
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high, 3) == expected


@pytest.mark.parametrize("values", [[None, None], [3.0], [2.0, 2.0, 2.0], [0.0, 0.0], [1e-12, 1e9], [-5.0, 1e300]])
def test_every_journal_can_be_drawn(values: list[float | None]) -> None:
    drawn = chart("<x>", [(n, value) for n, value in enumerate(values)], (0, len(values) - 1))
    assert "<x>" not in drawn and "nan" not in drawn and "inf" not in drawn


# --- in a browser -----------------------------------------------------------------------------------------------------

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]  # fmt: skip


class Seen:
    """A page in a browser, and everything it asked for or complained of."""

    def __init__(self, tab: Any) -> None:
        self.tab = tab
        self.asked: list[str] = []
        self.complaints: list[str] = []
        tab.on("request", lambda request: self.asked.append(request.url))
        tab.on("console", lambda message: self.complaints.append(message.text))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))

    def go(self, page: Path) -> Any:
        self.tab.goto(page.as_uri())
        return self.tab

    def wait(self, condition: str) -> None:
        """Until a JavaScript expression is true. Playwright's own wait has the page evaluate it, which CSP forbids."""
        end = time.monotonic() + 10
        while not self.tab.evaluate(condition):
            assert time.monotonic() < end, condition
            self.tab.wait_for_timeout(20)

    def clip(self, selector: str) -> str:
        return str(self.tab.eval_on_selector(selector, "image => getComputedStyle(image).clipPath"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here to look at pages with")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra 'dev')")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def seen(browser: Any) -> Iterator[Seen]:
    context = browser.new_context(viewport={"width": 1000, "height": 700}, color_scheme="light")
    found = Seen(context.new_page())
    yield found
    context.close()
    assert found.complaints == []
    assert found.asked and {url.partition(":")[0] for url in found.asked} <= {"file", "data"}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of six pairs, red photographs of 1024 pixels and blue maps of 512."""
    root = tmp_path_factory.mktemp("pairs")
    for name in ["a&b.png", *HOSTILE[:2], "c.png", "d.png", "e.png"]:
        for folder, color, side in (("photos", (200, 30, 30), 1024), ("maps", (30, 30, 200), 512)):
            (root / folder).mkdir(exist_ok=True)
            Image.new("RGB", (side, side // 2), color).save(root / folder / name, "PNG")
    values = {name: {"error": error} for name, error in (("c.png", 3.0), ("d.png", 1.0), ("e.png", 2.0))}
    (root / "maps" / "metrics.json").write_text(json.dumps({"metrics": {"error": 2.0}, "images": values}))
    return gallery.compare([root / "photos", root / "maps"], root / "page & more.html").pages[0]


@pytest.mark.slow
def test_a_divider_is_dragged_by_mouse_and_keys(seen: Seen, pairs: Path, tmp_path: Path) -> None:
    tab = seen.go(pairs)
    frame = tab.locator(".slider").first
    over = ".slider img + img"
    assert frame.get_attribute("role") == "slider" and frame.get_attribute("aria-valuenow") == "50"
    before = seen.clip(over)
    box = frame.bounding_box()
    middle = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + box["width"] * 0.5, middle)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] * 0.25, middle, steps=4)
    tab.mouse.up()
    assert seen.clip(over) != before and frame.get_attribute("aria-valuenow") == "25"
    assert not tab.locator("#zoom").is_visible()  # a drag is no click
    picture = np.asarray(Image.open(io.BytesIO(tab.screenshot(path=tmp_path / "page.png"))).convert("RGB"))
    left, right = (picture[int(middle) + 20, int(box["x"] + box["width"] * at)] for at in (0.1, 0.4))
    assert left[0] > 150 and left[2] < 80 and right[2] > 150 and right[0] < 80  # red photograph, blue map
    frame.focus()
    steps = {"ArrowRight": 27, "ArrowLeft": 25, "PageUp": 35, "End": 100, "PageDown": 90, "Home": 0, "ArrowDown": 0}
    for key, value in steps.items():
        tab.keyboard.press(key)
        assert frame.get_attribute("aria-valuenow") == str(value)
    assert "0 %" in frame.get_attribute("aria-valuetext")
    assert tab.evaluate("window.hurt") is None
    assert tab.locator(".slider").nth(1).get_attribute("aria-valuenow") == "50"


@pytest.mark.slow
def test_a_divider_is_dragged_by_touch(browser: Any, pairs: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    found = Seen(context.new_page())
    tab = found.go(pairs)
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")  # nothing sticks out on a phone
    box = tab.locator(".slider").first.bounding_box()
    middle = box["y"] + box["height"] / 2
    wire = context.new_cdp_session(tab)
    for kind, at in (("touchStart", 0.5), ("touchMove", 0.6), ("touchMove", 0.8), ("touchEnd", None)):
        points = [] if at is None else [{"x": box["x"] + box["width"] * at, "y": middle}]
        wire.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    found.wait("document.querySelector('.slider').getAttribute('aria-valuenow') > 70")
    tab.reload()  # a drag that is quicker than a finger's is a fling, which the next tap would only stop
    tab.locator(".slider").nth(1).tap()
    tab.locator("#zoom").wait_for(state="visible")
    context.close()
    assert found.complaints == []


@pytest.mark.slow
def test_the_large_view_zooms_pans_and_goes_on(seen: Seen, pairs: Path) -> None:
    tab = seen.go(pairs)
    tab.locator(".slider").first.click()
    view, stage, under = tab.locator("#zoom"), tab.locator(".stage"), ".stage .under"
    assert view.is_visible()
    wide = "image => [image.naturalWidth, image.getBoundingClientRect().width, image.getBoundingClientRect().left]"
    seen.wait("document.querySelector('.stage .over').naturalWidth === 1024")  # the whole file, not 512
    names = [found["data-name"] for found in rows(pairs)]
    assert tab.locator("#zoom-name").text_content() == names[0]
    at_first = tab.eval_on_selector(under, wide)[1]
    tab.keyboard.press("+")
    grown = tab.eval_on_selector(under, wide)
    assert grown[1] == pytest.approx(1.5 * at_first, rel=0.01)
    box = stage.bounding_box()
    x, y = box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.5
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + 60, y, steps=3)
    tab.mouse.up()
    assert tab.eval_on_selector(under, wide)[2] == pytest.approx(grown[2] + 60, abs=1)
    tab.mouse.wheel(0, -300)
    seen.wait(f"document.querySelector('{under}').getBoundingClientRect().width > {grown[1] * 1.2}")
    tab.keyboard.press("0")
    assert tab.eval_on_selector(under, wide)[1] == pytest.approx(at_first, rel=0.01)
    before = seen.clip(".stage .over")
    tab.mouse.move(box["x"] + box["width"] / 2, y)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] * 0.7, y, steps=3)
    tab.mouse.up()
    assert seen.clip(".stage .over") != before
    for key, place in (("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2)):
        tab.keyboard.press(key)
        assert tab.locator("#zoom-place").text_content() == f"{place} / 6"
        assert tab.locator("#zoom-name").text_content() == names[place - 1]
    tab.keyboard.press("Escape")
    assert not view.is_visible()
    seen.wait(f"document.activeElement.closest('.row').dataset.name === {json.dumps(names[1])}")
    tab.keyboard.press("Enter")
    assert view.is_visible() and tab.locator("#zoom-place").text_content() == "2 / 6"
    assert tab.evaluate("window.hurt") is None


@pytest.mark.slow
def test_dark_mode_help_find_and_sort(seen: Seen, pairs: Path) -> None:
    tab = seen.go(pairs)
    paper = "getComputedStyle(document.body).backgroundColor"
    light = tab.evaluate(paper)
    tab.locator("#theme").click()
    assert tab.evaluate(paper) != light and tab.locator("#theme").get_attribute("aria-pressed") == "true"
    tab.keyboard.press("d")
    assert tab.evaluate(paper) == light
    tab.emulate_media(color_scheme="dark")
    tab.evaluate("delete document.documentElement.dataset.theme")
    assert tab.evaluate(paper) != light  # follows the system
    tab.keyboard.press("?")
    assert tab.locator("#help").is_visible()
    tab.keyboard.press("Escape")
    assert not tab.locator("#help").is_visible()
    tab.keyboard.press("/")
    tab.keyboard.type("<SCRIPT>")
    names = "[...document.querySelectorAll('.row:not([hidden])')].map(row => row.dataset.name)"
    assert tab.evaluate(names) == [HOSTILE[0]] and tab.locator("#count").text_content() == "1 of 6"
    tab.keyboard.press("Escape")
    assert len(tab.evaluate(names)) == 6
    tab.locator("#sort").select_option(label="error: lowest first")
    assert tab.evaluate(names)[:3] == ["d.png", "e.png", "c.png"]
    tab.locator("#sort").select_option(label="error: highest first")
    assert tab.evaluate(names)[:3] == ["c.png", "e.png", "d.png"]
    tab.locator("#sort").select_option(value="")
    assert tab.evaluate(names) == [found["data-name"] for found in rows(pairs)]


@pytest.mark.slow
def test_pages_lead_to_each_other_and_names_are_found_on_all(seen: Seen, tmp_path: Path) -> None:
    picture = flat((90, 120, 90))
    book = Gallery(tmp_path / "my page's.html", ("a", "b"))
    for number in range(ROWS + 5):
        book.add(Row(f"{number:03}.png", (picture, picture)))
    pages = book.write("many", {}).pages
    book.close()
    tab = seen.go(pages[0])
    assert tab.locator(".row").count() == ROWS
    tab.locator(".bar .paging .next").click()
    assert tab.url == pages[1].as_uri() and tab.locator(".row").count() == 5
    tab.locator("#find").fill("19")
    tab.locator("#elsewhere a").click()
    tab.locator("#count", has_text="on this page").wait_for()  # a page that has loaded has not yet been searched
    assert tab.url.startswith(pages[0].as_uri()) and tab.locator("#count").text_content() == "12 of 200 on this page"


@pytest.mark.slow
def test_several_models_move_together_and_gaps_are_said(seen: Seen, tmp_path: Path) -> None:
    page = gallery.compare(folders(tmp_path), tmp_path / "page.html").pages[0]
    tab = seen.go(page)
    first = tab.locator(".row").first.locator(".slider")
    assert [first.nth(n).get_attribute("aria-valuenow") for n in (0, 1)] == ["0", "0"] and first.count() == 2
    first.nth(0).focus()
    tab.keyboard.press("End")
    assert first.nth(1).get_attribute("aria-valuenow") == "100"
    first.nth(1).click()
    assert [tab.locator(f"#zoom-{side} select").input_value() for side in ("left", "right")] == ["0", "2"]
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    assert tab.locator("#zoom-name").text_content() == "sub/c.jpg" and not tab.locator(".stage .line").is_visible()


@pytest.mark.slow
def test_a_run_is_played_and_read(seen: Seen, tmp_path: Path) -> None:
    page = gallery.of_run(make_run(tmp_path / "run"), tmp_path / "page.html").pages[0]
    tab = seen.go(page)
    assert tab.locator("#when").text_content() == "2,000 images"
    tab.locator("#hand").focus()
    tab.keyboard.press("ArrowLeft")
    assert tab.locator("#when").text_content() == "1,000 images" and tab.locator(".row.now").count() == 1
    tab.locator("#play").click()
    seen.wait("document.querySelector('#when').textContent === '2,000 images'")
    chart = tab.locator(".chart").nth(1)
    line = chart.locator("g.linear .raw")
    assert line.is_visible()
    chart.locator("svg").hover()
    assert re.fullmatch(r"[\d,]+: [\d.]+ \(smooth [\d.]+\)", chart.locator("output").text_content())
    tab.locator(".switch button", has_text="log").click()
    assert not line.is_visible() and chart.locator("g.log .raw").is_visible()
    assert tab.locator(".chart").first.locator("g.linear .raw").is_visible()  # below zero there is no logarithm
    tab.locator(".row.now .frame").click()
    tab.keyboard.press("ArrowLeft")
    assert tab.locator("#zoom-name").text_content() == "1,000 images"
    tab.keyboard.press("Escape")
    assert tab.locator("#when").text_content() == "1,000 images"


@pytest.mark.slow
def test_small_and_large_lie_over_each_other(seen: Seen, tmp_path: Path) -> None:
    draw(tmp_path / "small" / "a.png", (32, 24))
    draw(tmp_path / "large" / "a.png", (128, 96))
    tab = seen.go(gallery.compare([tmp_path / "small", tmp_path / "large"], tmp_path / "page.html").pages[0])
    boxes = [tab.locator(".slider img").nth(n).bounding_box() for n in (0, 1)]
    assert boxes[0] == boxes[1]
    style = "image => getComputedStyle(image).imageRendering"
    assert tab.eval_on_selector("img.small", style) == "auto"
    tab.keyboard.press("p")
    assert tab.eval_on_selector("img.small", style) == "pixelated"


def test_a_read_thumbnail_is_the_picture(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png", (64, 64))
    values = np.asarray(Image.open(io.BytesIO(thumbnail(read(path)).data)).convert("RGB")).astype(float)
    assert abs(values.mean() - read(path).pixels.mean()) < 3
