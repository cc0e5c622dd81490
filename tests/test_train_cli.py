"""`i2i train`: dry runs, what goes wrong at the door, stopping, continuing, interrupting, and two processes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner

from i2i.checkpoint import States
from i2i.cli.train import train
from i2i.errors import UserError
from i2i.zoo import load_generator

RECIPE = """\
name: tiny
about: {a: dots, b: noise, data: drawn, terms: none}
game:
  of: i2i.translation.cyclegan:CycleGAN
  generator: {of: i2i.translation.cyclegan:ResnetGenerator, width: 2, blocks: 1}
  discriminator: {of: i2i.translation.pix2pix:PatchDiscriminator, channels: 3, width: 2, field: 16}
  pool: 2
data: {of: i2i.data.datasets:Unaligned, a: pictures/trainA, b: pictures/trainB, load: 36, crop: 32}
training:
  images: 8
  threads: 1
  log_every: 2
  save_every: 4
  grid_every: 100
"""
PAIRED = "{of: i2i.data.datasets:Paired, root: pictures/trainA, load: 36, crop: 32}"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a tiny recipe and its data, which is the current one."""
    draw = np.random.default_rng(0)
    for side in "AB":
        (tmp_path / "pictures" / f"train{side}").mkdir(parents=True)
        for index in range(3):
            picture = draw.integers(0, 256, (36, 36, 3), np.uint8)
            cv2.imwrite(str(tmp_path / "pictures" / f"train{side}" / f"{index}.png"), picture)
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("I2I_DATA", raising=False)
    monkeypatch.setattr("i2i.cli.tune_allocator", lambda: True)  # it would outlive the test
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


def run(*arguments: str) -> str:
    """What `i2i train tiny.yaml ARGUMENTS` says on standard output."""
    command = ["tiny.yaml", "--device", "cpu", *arguments]
    result = CliRunner().invoke(train, command, catch_exceptions=False, standalone_mode=False)
    assert result.exception is None
    return result.stdout


def refused(*arguments: str, code: int = 2) -> str:
    """What is said instead."""
    with pytest.raises(UserError) as caught:
        run(*arguments)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    return str(caught.value)


def started(*arguments: str) -> subprocess.Popen[str]:
    """The same as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "i2i", "train", "tiny.yaml", "--device", "cpu", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines(out: Path = Path("runs/tiny")) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]


def weights(out: str) -> dict[str, torch.Tensor]:
    return dict(load_generator(f"{out}/generators/a2b.safetensors").state_dict())


def test_a_dry_run_prints_the_resolved_recipe_and_leaves_nothing() -> None:
    text = run("--dry-run", "game.cycle=5")
    resolved = yaml.safe_load(text)
    assert resolved["game"]["cycle"] == 5
    assert resolved["game"]["identity"] == 0.0  # a default, written out
    assert resolved["training"]["batch"] == 1
    assert not Path("runs").exists()


def test_a_run_leaves_generators_a_journal_a_sheet_and_its_recipe() -> None:
    said = run("-q")
    assert said.splitlines()[-2:] == ["8 of 8 images", "runs/tiny/generators"]
    assert [line["images"] for line in lines()] == [2, 4, 6, 8]
    assert sorted(path.name for path in Path("runs/tiny").iterdir()) == [
        "generators", "journal.jsonl", "recipe.yaml", "sheets", "state",
    ]  # fmt: skip
    assert Path("runs/tiny/recipe.yaml").read_text() == run("--dry-run")
    card = load_generator("runs/tiny/generators/b2a.safetensors").card
    assert (card.a, card.b, card.origin.images) == ("noise", "dots", 8)  # type: ignore[union-attr]
    assert card.origin.recipe.startswith("tiny ")  # type: ignore[union-attr]


def test_a_run_that_stops_says_how_to_go_on_and_the_same_command_does() -> None:
    run("-q", "--out", "whole")
    assert run("-q", "--out", "parts", "--stop-at", "5").splitlines()[-2] == (
        "5 of 8 images; the same command continues (stop-at)"
    )
    assert [path.name for path in States(Path("parts/state")).saved()] == ["0000000004", "0000000005"]
    said = run("-q", "--out", "parts")
    assert "continuing parts at image 5" in said
    assert said.splitlines()[-2] == "8 of 8 images"
    one, other = weights("whole"), weights("parts")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert [line["terms"] for line in lines(Path("whole"))] == [line["terms"] for line in lines(Path("parts"))]


def test_a_finished_run_does_nothing_more() -> None:
    run("-q")
    before = lines()
    assert run("-q").splitlines()[-2] == "8 of 8 images"
    assert lines() == before


def test_a_time_limit_stops_and_says_so() -> None:
    start = time.monotonic()
    said = run("-q", "--time-limit", "0.3s", "training.images=1_000_000")
    assert time.monotonic() - start < 60
    assert said.splitlines()[-2].endswith("of 1,000,000 images; the same command continues (time-limit)")
    assert States(Path("runs/tiny/state")).saved()


@pytest.mark.parametrize("text", ["soon", "3 days", "-1", "1h30"])
def test_a_duration_that_is_none(text: str) -> None:
    result = CliRunner().invoke(train, ["tiny.yaml", f"--time-limit={text}"])
    assert result.exit_code == 2
    assert f"'{text}' is no duration; write 90s, 30m or 1.5h" in result.output


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  pool: 2", "  pol: 2", "tiny.yaml:7:3: CycleGAN has no 'pol' (did you mean 'pool'?)"),
        ("images: 8", "images: eight", "tiny.yaml:10:11: training.images must be a whole number >= 1, not 'eight'"),
        ("n:CycleGAN", "n:Cycle", "tiny.yaml:4:7: i2i.translation.cyclegan has no 'Cycle' (did you mean 'CycleGAN'?)"),
    ],
)
def test_a_slip_in_a_recipe_is_named_with_line_and_column(old: str, new: str, said: str) -> None:
    assert old in RECIPE
    Path("tiny.yaml").write_text(RECIPE.replace(old, new, 1))
    assert refused() == said
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("game.cycel=5", "CycleGAN has no 'cycel' (did you mean 'cycle'?)"),
        ("trainning.batch=2", "'trainning'"),
        ("game.cycle", "game.cycle"),
        ("training.batch=two", "training.batch must be a whole number"),
    ],
)
def test_a_slip_in_an_override_is_named(override: str, said: str) -> None:
    assert said in refused(override)


def test_a_recipe_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="there is no file tyni.yaml.*did you mean.*tiny.yaml"):
        CliRunner().invoke(train, ["tyni.yaml"], catch_exceptions=False, standalone_mode=False)


def test_a_missing_data_folder_is_named() -> None:
    assert "pictures/trainC" in refused("data.b=pictures/trainC")


def test_an_empty_data_folder_is_named() -> None:
    Path("pictures/trainC").mkdir()
    assert "pictures/trainC" in refused("data.b=pictures/trainC")


def test_one_image_in_train_b_is_not_enough() -> None:
    for path in list(Path("pictures/trainB").iterdir())[1:]:
        path.unlink()
    said = refused()
    assert "pictures/trainB" in said
    assert "1 image" in said


def test_fields_that_do_not_fit_the_game_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    (Path.cwd() / "single_part.py").write_text(
        "from typing import NamedTuple\n\n\nclass One(NamedTuple):\n    image: object\n\n\n"
        "class Single:\n    fields = One\n\n    def __init__(self, *, seed=0):\n        pass\n"
    )
    monkeypatch.syspath_prepend(Path.cwd())
    data = RECIPE.splitlines()[7]
    Path("tiny.yaml").write_text(RECIPE.replace(data, "data: {of: single_part:Single}"))
    said = refused()
    assert said == ("CycleGAN plays with ('a', 'b'), but Single yields ('image',); name another data set under `data`")


@pytest.mark.parametrize("batch", [3, 1])
def test_a_batch_that_cannot_be_dealt_to_lanes_is_named(batch: int) -> None:
    assert "lane" in refused(f"training.batch={batch}", "training.lane=2")


def test_an_out_folder_below_a_file_is_one_sentence() -> None:
    Path("file").write_text("in the way")
    for out in ("file", "file/below"):
        said = refused("--out", out, code=1)
        assert said.startswith(f"cannot write to {out}: ")
    assert Path("file").read_text() == "in the way"


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """A disk that is full as soon as a file would be larger than `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("size", "save_every", "said"), [(3_000, 5, "cannot save to runs/tiny: "), (12_000, 100, "cannot write to ")]
)
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_when_there_is_room(
    size: int, save_every: int, said: str
) -> None:
    run("-q", "--stop-at", "3")
    with no_file_beyond(size):  # what fails first is a save, or the last sheet
        assert refused("-q", f"training.save_every={save_every}", code=1).startswith(said)
    assert "0000000003" in [path.name for path in States(Path("runs/tiny/state")).saved()]
    assert run("-q").splitlines()[-2] == "8 of 8 images"
    assert [line["images"] for line in lines()] == [2, 4, 6, 8]
    assert not [path for path in Path("runs").rglob("*") if "part" in path.name]


def test_an_interrupt_saves_says_so_and_the_same_command_continues() -> None:
    process = started("-q", "training.images=1_000_000", "training.log_every=1")
    journal = Path("runs/tiny/journal.jsonl")
    deadline = time.monotonic() + 180
    while not (journal.exists() and len(journal.read_text()) > 0) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=180)
    assert process.returncode == 130, said
    assert "the same command continues (interrupted)" in out
    assert said.strip().splitlines()[-1] == "i2i: interrupted"
    images = int(States(Path("runs/tiny/state")).saved()[-1].name)
    assert images >= 1
    again = run("-q", "training.images=1_000_000", "training.log_every=1", "--stop-at", str(images + 1))
    assert f"continuing runs/tiny at image {images}" in again


@pytest.mark.dist
def test_two_processes_are_two() -> None:
    device = "cpu" if torch.accelerator.is_available() else "auto"  # as a user writes it, who has no other
    process = started("-q", "--processes", "2", "--device", device, "training.batch=2", "training.lane=1")
    out, said = process.communicate(timeout=180)
    assert process.returncode == 0, said
    assert "8 of 8 images" in out
    assert out.count("runs/tiny/generators") == 1  # the first alone speaks
    card = load_generator("runs/tiny/generators/a2b.safetensors").card
    assert "ranks 2" in card.origin.hardware  # type: ignore[union-attr]
    run("-q", "--out", "one", "training.batch=2", "training.lane=1")
    one, two = weights("one"), weights("runs/tiny")
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("override", "said"), [("game.cycel=5", "did you mean 'cycle'?"), ("data.b=pictures/trainC", "pictures/trainC")]
)
def test_a_slip_is_said_once_before_any_process_is_started(override: str, said: str) -> None:
    assert said in refused("--processes", "2", override)
