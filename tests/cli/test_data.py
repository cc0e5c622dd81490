"""`i2i data` as a user gives it."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from sites import site

from i2i import cli
from i2i.cli.data import data
from i2i.errors import UserError


def run(*arguments: str) -> Result:
    return CliRunner().invoke(data, arguments)


def error(*arguments: str) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, UserError), result.output
    return str(result.exception)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    draw = np.random.Generator(np.random.PCG64(0))
    for split, count in (("train", 6), ("test", 3)):
        (tmp_path / "set" / split).mkdir(parents=True)
        for n in range(count):
            Image.fromarray(draw.integers(0, 256, (24, 24, 3), np.uint8)).save(tmp_path / "set" / split / f"{n}.png")
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("I2I_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "set"


def test_the_commands_are_there() -> None:
    assert set(data.commands) >= {"list", "show", "get", "check", "pair", "split", "pack", "stats", "cache"}


def test_list_and_show(folder: Path) -> None:
    listed = [json.loads(line) for line in run("list", "--json").output.splitlines()]
    assert len(listed) > 30
    assert {each["state"] for each in listed} == {"to fetch", "by hand"}
    shown = run("show", "Horse2Zebra").output
    for words in ("horses (A) and zebras (B)", "ImageNet", "horse2zebra.zip, 116.9 MB, unverified", "trainA, trainB"):
        assert words in shown
    assert json.loads(run("show", "mnist", "--json").output)["files"][0]["sha256"].startswith("440fcabf")
    assert "did you mean 'horse2zebra'?" in error("show", "horse2zebr")
    (folder.parent / "data" / "maps").mkdir(parents=True)
    assert "here" in next(line for line in run("list").output.splitlines() if line.startswith("maps "))


def test_get_prints_where_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as file:
        info = tarfile.TarInfo("facades/train/1.jpg")
        info.size = 4
        file.addfile(info, io.BytesIO(b"1234"))
    with site() as web:
        web.files["/facades/facades.tar.gz"] = out.getvalue()
        monkeypatch.setenv("I2I_MIRROR", web.address)
        result = run("get", "facades", "--quiet")
        assert result.output == f"{folder.parent / 'data' / 'facades'}\n"
        assert "unverified, first seen" in run("show", "facades").output
        result = run("get", "facades", "night2day", "-q")
        assert isinstance(result.exception, UserError)
        assert (str(result.exception), result.exception.code) == ("1 of 2 data sets could not be fetched", 1)
    assert error("get", "maps", "facades", "--from", "x.zip").startswith("--from names files of one data set")


def test_a_recipe_whose_set_is_not_there_says_how_to_get_it(folder: Path) -> None:
    from i2i.data.folders import find

    with pytest.raises(UserError, match=r"there is no 'horse2zebra/trainA' .*`i2i data get horse2zebra` fetches it"):
        find("horse2zebra/trainA")


def test_check_leaves_with_one_where_something_is_wrong(folder: Path) -> None:
    assert run("check", "set").exit_code == 0
    (folder / "test" / "bad.png").write_bytes(b"")
    (folder / "test" / "same.png").write_bytes((folder / "train" / "0.png").read_bytes())
    result = run("check", "set")
    assert result.exit_code == 1
    assert "test/bad.png: the file is empty" in result.output
    assert "train/0.png = test/same.png" in result.output
    facts = json.loads(run("check", "set", "--json").output)
    assert facts["problems"] == 2
    assert facts["duplicates"] == [["train/0.png", "test/same.png"]]


def test_pack_split_pair_and_stats(folder: Path) -> None:
    assert "9 pictures in 1 shards" in run("pack", "set", "-o", "shards").output
    assert run("check", "shards").exit_code == 0
    assert "is there already" in error("pack", "set", "-o", "shards")
    assert run("pack", "set/train", "-o", "few", "--size", "10K").exit_code == 0
    assert run("split", "set/train", "-o", "dealt", "--test", "50%").output == "dealt: 3 train, 3 test\n"
    result = run("pair", "set/train", "set/train", "pairs")
    assert result.output == "pairs: 6 pairs (6 as they are)\n"
    lines = [json.loads(line) for line in run("stats", "pairs", "--json").output.splitlines()]
    assert lines[0]["widths"] == [48, 48, 48]
    assert "contrast" in run("stats", "set").output


def test_a_pair_that_fails_is_named_and_the_others_are_made(folder: Path) -> None:
    Image.new("RGB", (50, 24)).save(folder / "test" / "1.png")
    result = run("pair", "set/train", "set/test", "pairs")
    assert isinstance(result.exception, UserError) and result.exception.code == 1
    assert sorted(path.name for path in (folder.parent / "pairs").iterdir()) == ["0.png", "2.png"]


@pytest.mark.parametrize("name", ["list", "check", "pack"])
def test_help_is_there(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments: Any = ["data", name, "--help"]
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert left.value.code == 0
    assert "Usage: i2i data" in capsys.readouterr().out
