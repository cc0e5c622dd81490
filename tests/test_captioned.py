"""Pictures with captions: which text is taken, embeddings, tables of classes, and the maker of captioned digits."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import itertools
import logging
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.data.captioned import Captioned, codes
from i2i.data.labelled import Pictures
from i2i.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
LINES = ("a red thing", "a thing of red", "red")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures of 8 pixels, each with three captions and two embeddings, and a table of two classes."""
    rows = ["file\tshade"]
    for number in range(6):
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(tmp_path / f"p{number}.png")
        (tmp_path / f"p{number}.txt").write_text("\n".join(f"{line} {number}" for line in LINES) + "\n\n")
        np.save(tmp_path / f"p{number}.npy", np.full((2, 5), number, np.float32))
        rows.append(f"p{number}.png\t{'dark' if number < 3 else 'bright'}")
    (tmp_path / "labels.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path


def shown(x: torch.Tensor) -> int:
    """Which picture it is."""
    return int(x[0, 0, 0]) // 40


def said(text: torch.Tensor) -> str:
    from i2i.data.captioned import ALPHABET

    return "".join(ALPHABET[place - 1] for place in text.tolist() if place)


def test_a_caption_is_drawn_anew_in_each_epoch_and_belongs_to_its_picture(folder: Path) -> None:
    data = Captioned(str(folder), size=8, length=30, seed=3)
    taken: dict[int, set[str]] = {}
    for position in range(180):
        sample = data[position]
        assert sample.text.dtype == torch.int64 and sample.text.shape == (30,)
        line = said(sample.text)
        assert line in [f"{line} {shown(sample.x)}" for line in LINES]
        taken.setdefault(shown(sample.x), set()).add(line)
    assert all(len(lines) == 3 for lines in taken.values())
    again = Captioned(str(folder), size=8, length=30, seed=3)
    assert all(torch.equal(one, other) for one, other in zip(data[17], again[17], strict=True))


def test_the_other_text_is_another_pictures_and_of_another_class_where_there_are(folder: Path) -> None:
    plain = Captioned(str(folder), size=8, length=30)
    assert {shown(s.x) == int(said(s.other)[-1]) for s in map(plain.__getitem__, range(60))} == {False}
    strangers = {(shown(s.x), int(said(s.other)[-1])) for s in map(plain.__getitem__, range(600))}
    assert strangers == set(itertools.permutations(range(6), 2))
    sorted_ = Captioned(str(folder), size=8, length=30, labels="shade")
    assert sorted_.classes == ("bright", "dark")
    assert all((shown(s.x) < 3) != (int(said(s.other)[-1]) < 3) for s in map(sorted_.__getitem__, range(60)))


def test_a_near_text_differs_in_one_thing_where_there_is_one_like_that(folder: Path) -> None:
    """p0 to p5 are red, red, red, blue, blue, green, and small, large, large, small, large, small."""
    colours, sizes = (
        ["red", "red", "red", "blue", "blue", "green"],
        ["small", "large", "large", "small", "large", "small"],
    )
    rows = [f"p{n}.png\t{colour}\t{size}" for n, (colour, size) in enumerate(zip(colours, sizes, strict=True))]
    (folder / "labels.tsv").write_text("\n".join(["file\tcolour\tsize", *rows]) + "\n")
    data = Captioned(str(folder), size=8, length=30, near=["colour", "size"])
    drawn = {(shown(s.x), int(said(s.other)[-1])) for s in map(data.__getitem__, range(600))}
    differ = {
        (a, b) for a, b in itertools.permutations(range(6), 2) if (colours[a] == colours[b]) != (sizes[a] == sizes[b])
    }
    assert {pair for pair in drawn if pair[0] != 5} == {pair for pair in differ if pair[0] != 5}
    assert differ < drawn  # no green one is large: then any other's
    assert Captioned(str(folder), size=8, length=30, near=["colour", "size"])[17].other.equal(data[17].other)
    with pytest.raises(UserError, match="data.near wants a table .* has no column 'tilt'"):
        Captioned(str(folder), near=["tilt"])


def test_a_class_can_come_beside_the_text(folder: Path) -> None:
    data = Captioned(str(folder), size=8, length=30, labels="shade", beside="class")
    assert data.fields._fields == ("x", "text", "y")
    assert all(int(s.y) == (shown(s.x) < 3) for s in map(data.__getitem__, range(12)))
    with pytest.raises(UserError, match="without data.labels there are no classes"):
        Captioned(str(folder), beside="class")


def test_embeddings_are_taken_as_they_are(folder: Path) -> None:
    data = Captioned(str(folder), text="embeddings", size=8)
    assert all(s.text.tolist() == [shown(s.x)] * 5 for s in map(data.__getitem__, range(12)))
    assert data[0].text.dtype == torch.float32
    np.save(folder / "embeddings.npy", np.arange(6)[:, None].repeat(4, 1) + 0.5)
    together = Captioned(str(folder), text="embeddings", size=8)
    assert all(s.text.tolist() == [shown(s.x) + 0.5] * 4 for s in map(together.__getitem__, range(12)))


def test_texts_may_lie_in_a_folder_of_the_same_tree(folder: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(6):
        (folder / f"p{number}.txt").rename(texts / f"p{number}.txt")
    data = Captioned(str(folder), captions=str(texts), size=8, length=30)
    assert int(said(data[0].text)[-1]) == shown(data[0].x)


def test_pictures_of_another_size_are_resized_and_it_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert Captioned(str(folder), size=16)[0].x.shape == (3, 16, 16)
    assert "8x8: pictures are resized to 16x16" in caplog.text


def test_bad_texts_are_named_in_one_sentence(folder: Path) -> None:
    (folder / "p4.txt").unlink()
    with pytest.raises(UserError, match=r"there is no .*p4\.txt"):
        Captioned(str(folder))
    (folder / "p4.txt").write_text(" \n\n")
    with pytest.raises(UserError, match=r"p4\.txt is empty"):
        Captioned(str(folder))
    (folder / "p4.txt").write_text("a red thing\n赤い\n")
    with pytest.raises(UserError, match=r"p4\.txt: the caption '赤い' has no letter"):
        Captioned(str(folder))
    (folder / "p4.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"p4\.txt cannot be read as text"):
        Captioned(str(folder))
    with pytest.raises(UserError, match="the caption is empty"):
        codes("  ", 10)


def test_bad_embeddings_are_named_in_one_sentence(folder: Path) -> None:
    np.save(folder / "p4.npy", np.zeros((2, 6), np.float32))
    with pytest.raises(UserError, match=r"p4\.npy holds \[2, 6\] numbers; like p0\.npy it needs \[5\] or \[K,5\]"):
        Captioned(str(folder), text="embeddings")
    np.save(folder / "p4.npy", np.full((2, 5), np.nan, np.float32))
    with pytest.raises(UserError, match=r"p4\.npy holds no finite"):
        Captioned(str(folder), text="embeddings")
    (folder / "p4.npy").write_bytes(b"no array")
    with pytest.raises(UserError, match=r"p4\.npy is no \.npy file"):
        Captioned(str(folder), text="embeddings")
    np.save(folder / "p4.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(UserError, match=r"p4\.npy is no \.npy file"):
        Captioned(str(folder), text="embeddings")
    (folder / "p4.npy").unlink()
    with pytest.raises(UserError, match=r"there is no .*p4\.npy with embeddings"):
        Captioned(str(folder), text="embeddings")
    np.save(folder / "embeddings.npy", np.zeros((5, 4)))
    with pytest.raises(UserError, match=r"must be \[6,T\] or \[6,K,T\]"):
        Captioned(str(folder), text="embeddings")


def test_a_column_of_a_table_says_the_classes(folder: Path) -> None:
    data = Pictures(str(folder), labels="shade", size=8)
    assert data.classes == ("bright", "dark")
    assert all(int(s.y) == (shown(s.x) < 3) for s in map(data.__getitem__, range(12)))  # type: ignore[union-attr]
    with pytest.raises(UserError, match="has no column 'shades'; set data.labels to one of none, folders, shade"):
        Pictures(str(folder), labels="shades")
    table = folder / "labels.tsv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]))
    with pytest.raises(UserError, match=r"p5\.png has no row in"):
        Pictures(str(folder), labels="shade")
    table.write_text("file\tshade\np0.png\n")
    with pytest.raises(UserError, match=r"line 2: 1 columns instead of 2"):
        Pictures(str(folder), labels="shade")
    table.unlink()
    with pytest.raises(UserError, match="there is no table"):
        Pictures(str(folder), labels="shade")


# --- datasets/captioned_digits.py -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("captioned_digits_script", ROOT / "datasets" / "captioned_digits.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four idx files as MNIST's, of 30 squares."""
    folder = tmp_path_factory.mktemp("mnist")
    for name in ("train", "t10k"):
        pictures = np.zeros((30, 28, 28), np.uint8)
        pictures[:, 4:24, 11:17] = 255
        for kind, array, head in (("labels-idx1", np.arange(30) % 10, 1), ("images-idx3", pictures, 3)):
            start = bytes([0, 0, 8, head]) + np.array(array.shape, ">u4").tobytes()
            with gzip.open(folder / f"{name}-{kind}-ubyte.gz", "wb") as file:
                file.write(start + array.astype(np.uint8).tobytes())
    return folder


@pytest.fixture(scope="module")
def digits(script: ModuleType, mnist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("digits")
    script.make(out, mnist, train=40, test=20, seed=0)
    return out


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.tsv").open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_one_in_ten_combinations_is_held_out_and_stays_so(script: ModuleType, digits: Path) -> None:
    held_out = {(s.digit, s.colour, s.ground) for s in script.SCENES if s.held_out}
    assert len(held_out) == 42 == len(script.COLOURS) * len(script.GROUNDS)
    assert {pair[1:] for pair in held_out} == set(itertools.product(script.COLOURS, script.GROUNDS))
    assert {digit for digit, *_ in held_out} == set(range(10))
    assert (7, "red", "dark green") in held_out
    for split, out in (("train", False), ("test", True)):
        found = rows(digits / split)
        assert {(int(r["digit"]), r["colour"], r["ground"]) in held_out for r in found} == {out}
    said = (digits / "held_out.txt").read_text().splitlines()
    assert len(said) == 42 and "a red seven on a dark green ground" in said


def test_captions_say_what_the_table_says(script: ModuleType, digits: Path) -> None:
    for row in rows(digits / "train"):
        lines = (digits / "train" / row["file"]).with_suffix(".txt").read_text().splitlines()
        assert len(lines) == 5 and len(set(lines)) >= 4
        number = int(row["digit"])
        for line in lines:
            said = row["colour"] in line, row["ground"] in line, script.DIGITS[number] in line or str(number) in line
            assert sum(said) >= 2 and not any(other in line for other in {*script.DIGITS} - {script.DIGITS[number]})
        tilted = {"left": ", tilted left", "upright": "", "right": ", tilted right"}[row["tilt"]]
        assert lines[0] == f"a {row['colour']} {script.DIGITS[number]} on a {row['ground']} ground{tilted}"
        assert all(row["ground"] in line for line in lines[:2])
        assert max(map(len, lines)) <= 100


def test_colours_are_those_of_the_captions(script: ModuleType, digits: Path) -> None:
    for row in rows(digits / "test"):
        with Image.open(digits / "test" / row["file"]) as picture:
            assert picture.size == (64, 64)
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        assert np.abs(pixels[0, 0] - script.GROUNDS[row["ground"]]).max() <= 11
        assert np.abs(pixels[32, 32] - script.COLOURS[row["colour"]]).max() <= 11
        far = np.array([*script.COLOURS.values(), *script.GROUNDS.values()])
        apart = np.abs(far[:, None] - far[None]).sum(-1)[np.triu_indices(len(far), 1)]
        assert apart.min() > 65


def test_the_same_seed_makes_the_same_files(script: ModuleType, mnist: Path, digits: Path, tmp_path: Path) -> None:
    script.make(tmp_path / "again", mnist, train=40, test=20, seed=0)
    script.make(tmp_path / "other", mnist, train=40, test=20, seed=1)
    files = sorted(path.relative_to(digits) for path in digits.rglob("*.*"))
    assert len(files) == 2 * 60 + 2 + 1
    assert all((digits / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)
    assert any((digits / file).read_bytes() != (tmp_path / "other" / file).read_bytes() for file in files)


def test_the_data_set_can_be_read_with_classes_and_captions(digits: Path) -> None:
    data = Captioned(str(digits / "train"), length=120, labels="scene", beside="class")
    assert data[0].x.shape == (3, 64, 64) and data[0].text.shape == (120,)
    assert Pictures(str(digits / "train"), labels="digit").classes == tuple("0123456789")
