"""What belongs together stays together; the same seed deals the same."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i.data.captioned import Captioned
from i2i.data.labelled import Pictures
from i2i.data.splitting import split
from i2i.data.statistics import stats
from i2i.errors import UserError


def save(path: Path, value: int, size: int = 16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(path)


def files(root: Path) -> dict[str, set[str]]:
    return {
        folder.name: {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        for folder in root.iterdir()
    }


def test_a_folder_is_dealt_out_whole_and_by_its_seed(tmp_path: Path) -> None:
    for n in range(40):
        save(tmp_path / "set" / "deep" / f"{n}.png", n)
    counts = split(tmp_path / "set", tmp_path / "out", val=0.1, test=0.25)
    assert counts == {"train": 26, "val": 4, "test": 10}
    dealt = files(tmp_path / "out")
    assert set().union(*dealt.values()) == {f"deep/{n}.png" for n in range(40)}
    assert sum(map(len, dealt.values())) == 40
    split(tmp_path / "set", tmp_path / "again", val=0.1, test=0.25)
    split(tmp_path / "set", tmp_path / "other", val=0.1, test=0.25, seed=1)
    assert files(tmp_path / "again") == dealt != files(tmp_path / "other")


def test_partners_captions_labels_and_equal_files_stay_together(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for n in range(12):
        for side in "AB":
            save(root / side / f"{n}.png", 10 * n + (side == "B"))
        (root / "A" / f"{n}.txt").write_text(f"number {n}\n")
    for copy in (20, 21, 22):
        save(root / "A" / f"{copy}.png", 0)  # the same bytes as 0.png
        save(root / "B" / f"{copy}.png", 200 + copy)
    split(root, tmp_path / "out", test=0.25)
    dealt = files(tmp_path / "out")
    for names in dealt.values():
        numbers = {name.split("/")[1].split(".")[0] for name in names}
        assert names == {f"{side}/{n}.png" for side in "AB" for n in numbers} | {
            f"A/{n}.txt" for n in numbers if int(n) < 20
        }
        assert len({"0", "20", "21", "22"} & numbers) in (0, 4)


def test_tables_go_with_their_pictures(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for n in range(10):
        save(root / f"{n}.png", n)
    rows = ["file\tparity", *(f"{n}.png\t{n % 2}" for n in range(10))]
    (root / "labels.tsv").write_text("\n".join(rows) + "\n")
    np.save(root / "embeddings.npy", np.arange(10, dtype=np.float32)[:, None] * np.ones(3, np.float32))
    split(root, tmp_path / "out", test=0.3)
    for name, count in (("train", 7), ("test", 3)):
        data = Pictures(str(tmp_path / "out" / name), labels="parity", size=16)
        assert len(data) == count
        assert [int(path.stem) % 2 for path in data.files] == data.numbers
        texts = Captioned(str(tmp_path / "out" / name), text="embeddings", size=16)
        assert [int(row[0]) for row in texts.embeddings] == [int(path.stem) for path in data.files]


def test_two_sets_are_dealt_out_each_for_itself(tmp_path: Path) -> None:
    for n in range(10):
        save(tmp_path / "set" / "trainA" / f"{n}.png", n)
        save(tmp_path / "set" / "trainB" / f"{n}.png", 100 + n)
    counts = split(tmp_path / "set", tmp_path / "out", test=0.2)
    assert counts == {"trainA": 8, "testA": 2, "trainB": 8, "testB": 2}


def test_links_take_no_room(tmp_path: Path) -> None:
    for n in range(4):
        save(tmp_path / "set" / f"{n}.png", n)
    split(tmp_path / "set", tmp_path / "out", test=0.25, link=True)
    assert all(os.stat(path).st_nlink == 2 for path in (tmp_path / "set").iterdir())


def test_what_cannot_be_split_is_one_sentence(tmp_path: Path) -> None:
    for n in range(4):
        save(tmp_path / "set" / f"{n}.png", n)
        save(tmp_path / "done" / "train" / f"{n}.png", n)
    with pytest.raises(UserError, match="has 4 samples, too few to split so"):
        split(tmp_path / "set", tmp_path / "out", test=0.1)
    with pytest.raises(UserError, match="is split already: it holds train"):
        split(tmp_path / "done", tmp_path / "out", test=0.25)
    with pytest.raises(UserError, match="must be shares that leave something"):
        split(tmp_path / "set", tmp_path / "out", val=0.6, test=0.5)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no pictures"):
        split(tmp_path / "empty", tmp_path / "out", test=0.5)
    assert not (tmp_path / "out").exists()


def test_figures_are_those_of_the_pixels(tmp_path: Path) -> None:
    draw = np.random.Generator(np.random.PCG64(0))
    pictures = [draw.integers(0, 256, (10, 20 + n, 3), np.uint8) for n in range(3)]
    for n, pixels in enumerate(pictures):
        (tmp_path / "train").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "train" / f"{n}.png")
    Image.fromarray(pictures[0][..., 0]).save(tmp_path / "train" / "gray.png")
    (tmp_path / "train" / "bad.png").write_bytes(b"x")
    (found,) = stats(str(tmp_path))
    everything = np.concatenate(
        [each.reshape(-1, 3) for each in pictures] + [np.repeat(pictures[0][..., :1].reshape(-1, 1), 3, 1)]
    )
    assert np.allclose(found.mean, everything.mean(0) / 255)
    assert np.allclose(found.deviation, everything.std(0) / 255)
    assert (found.count, found.unread, found.widths, found.coloured) == (5, 1, (20, 21, 22), 0.75)
    assert found.formats == {"png": 4}
