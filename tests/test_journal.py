"""The journal: means that leave the device late, lines that a resumed run writes again, sheets of pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.errors import UserError
from i2i.journal import Journal, Means, Progress, contact_sheet, digits, duration, save_sheet

CPU = torch.device("cpu")


def means(**notes: list[float]) -> Means:
    made = Means(CPU)
    for name, values in notes.items():
        for value in values:
            made.note(name, torch.tensor(value))
    return made


def test_means_are_of_each_names_own_notes() -> None:
    assert means(a=[1, 2, 6], b=[5]).read() == {"a": 3, "b": 5}
    assert Means(CPU).read() == {}


def test_means_keep_the_digits_that_float32_would_lose() -> None:
    assert means(a=[2.0**24] + [1.0] * 3).read() == {"a": (2**24 + 3) / 4}


def test_a_note_keeps_no_graph_and_no_reference() -> None:
    made, value = Means(CPU), torch.tensor(2.0, requires_grad=True)
    made.note("a", value * 3)
    kept = made.sums["a"]
    assert not kept.requires_grad
    noted = torch.tensor(1.0, dtype=torch.float64)
    made.note("b", noted)
    noted += 5
    assert made.read() == {"a": 6, "b": 1}


def test_means_are_over_all_ranks() -> None:
    assert means(a=[1, 3]).read(lambda table: table + torch.tensor([[8.0, 2.0]])) == {"a": 3}


def test_means_survive_a_round_trip_and_clear() -> None:
    made, other = means(a=[1, 2], b=[3]), means(c=[4])
    other.load(made.state())
    assert other.read() == made.read()
    other.note("a", torch.tensor(6.0))
    assert other.read() == {"a": 3, "b": 3}
    other.clear()
    assert other.read() == {}


def test_a_line_is_a_json_object(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for images in (1, 2):
        journal.line(images=images, terms={"g/cycle": 0.5})
    assert [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()] == [
        {"images": 1, "terms": {"g/cycle": 0.5}},
        {"images": 2, "terms": {"g/cycle": 0.5}},
    ]


def test_rewinding_drops_what_will_be_written_again_and_what_a_crash_tore(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).rewind(5)  # nothing there yet
    assert not path.exists()
    path.write_text('{"images": 2}\n{"images": 4}\n{"images": 6}\n{"images": 8, "ter')
    Journal(path).rewind(4)
    assert path.read_text() == '{"images": 2}\n{"images": 4}\n'
    assert [found.name for found in tmp_path.iterdir()] == ["journal.jsonl"]


@pytest.mark.parametrize(
    ("value", "shown"), [(1 / 3, 0.333333), (123456.789, 123457), (0.0, 0.0), (1.23456789e-9, 1.23457e-9), (-2.5, -2.5)]
)
def test_six_digits(value: float, shown: float) -> None:
    assert digits(value) == shown
    assert digits(digits(value)) == digits(value)


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (125, "2:05"), (3723, "1:02:03")])
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_progress_says_how_far_how_fast_and_how_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter((0.0, 100.0, 110.0))
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    progress = Progress(2_000)
    progress.begin(1_000)
    assert progress.show(1_100, {"generators/cycle": 0.25}) == 10
    shown = capsys.readouterr().err
    assert shown.split() == ["1,100/2,000", "images", "10.0/s", "1:30", "left", "gen/cycle", "0.25"]


def test_quiet_progress_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    Progress(10, quiet=True).show(5, {})
    assert capsys.readouterr() == ("", "")


def test_a_contact_sheet_has_a_column_each_and_a_row_an_image() -> None:
    red = torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1).expand(2, 3, 4, 6)
    gray = torch.zeros(2, 1, 4, 5)
    sheet = contact_sheet([red, gray], gap=2)
    assert sheet.shape == (2 + 2 * (4 + 2), 2 + (6 + 2) + (5 + 2), 3)
    assert sheet.dtype == np.uint8
    for top in (2, 8):
        assert (sheet[top : top + 4, 2:8] == (255, 0, 0)).all()
        assert (sheet[top : top + 4, 10:15] == 128).all()
    frame = sheet.copy()
    for top in (2, 8):
        frame[top : top + 4, 2:8] = frame[top : top + 4, 10:15] = 255
    assert (frame == 255).all()  # white between and around


def test_a_contact_sheet_takes_any_range_any_precision_and_different_sizes() -> None:
    wild = torch.tensor([-3.0, 0.0, 7.0], dtype=torch.bfloat16).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    sheet = contact_sheet([wild, torch.zeros(1, 4, 3, 3)], gap=1)
    assert sheet[1, 1].tolist() == [0, 128, 255]
    assert sheet.shape == (1 + 3 + 1, 1 + 3 + 4, 3)


def test_a_sheet_is_a_png(tmp_path: Path) -> None:
    sheet = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    save_sheet(tmp_path / "new" / "0.png", sheet)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "new" / "0.png")), sheet)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["0.png"]


def test_tensorboard_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'i2i-toolkit\[log\]'"):
        Journal(tmp_path / "journal.jsonl", tensorboard=tmp_path / "tensorboard")
