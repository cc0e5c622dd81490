"""What was unpacked comes to the layout that its data set class reads."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from i2i import images
from i2i.data.arranging import Captions, Cifar, Enlarging, Faces, Folders, Rooms, Scenes, Whole, within
from i2i.data.captioned import Captioned
from i2i.data.labelled import Pictures
from i2i.errors import UserError


def picture(path: Path, height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture of chance, written there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (height, width, 3), np.uint8)
    cv2.imwrite(str(path), pixels[..., ::-1])
    return pixels


@pytest.fixture
def out(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    path.mkdir()
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_one_folder_is_the_set_with_or_without_a_folder_around(tmp_path: Path, out: Path) -> None:
    picture(tmp_path / "u" / "a.zip" / "horse2zebra" / "trainA" / "1.png", 4, 4)
    Whole()(tmp_path / "u", out)
    assert names(out) == ["trainA/1.png"]
    for side in ("trainA", "trainB"):
        picture(tmp_path / "v" / "a.zip" / side / "2.png", 4, 4)
    (out / "flat").mkdir()
    Whole()(tmp_path / "v", out / "flat")
    assert names(out / "flat") == ["trainA/2.png", "trainB/2.png"]


def test_folders_are_found_at_the_top_of_any_archive_or_one_below(tmp_path: Path, out: Path) -> None:
    picture(tmp_path / "u" / "a.zip" / "HR" / "1.png", 4, 4)
    picture(tmp_path / "u" / "b.zip" / "DIV2K" / "valid" / "2.png", 4, 4)
    Folders({"train": "HR", "val": "valid"})(tmp_path / "u", out)
    assert names(out) == ["train/1.png", "val/2.png"]
    with pytest.raises(UserError, match="what was fetched has no 'test' but DIV2K: it is another file"):
        within(tmp_path / "u", "test")


def test_test_sets_are_cut_to_multiples_of_the_small_pictures(tmp_path: Path, out: Path) -> None:
    home = tmp_path / "u" / "benchmark.tar" / "benchmark" / "Set5"
    large = picture(home / "HR" / "baby.png", 29, 40)
    for scale in (2, 4):
        picture(home / "LR_bicubic" / f"X{scale}" / f"babyx{scale}.png", 29 // scale, 40 // scale)
    Enlarging("benchmark/Set5", scales=(2, 4))(tmp_path / "u", out)
    assert names(out) == ["x2/HR/baby.png", "x2/LR/baby.png", "x4/HR/baby.png", "x4/LR/baby.png"]
    assert np.array_equal(images.read(out / "x4" / "HR" / "baby.png").pixels, large[:28, :40])
    for scale in (2, 4):
        small, big = (images.read_head(out / f"x{scale}" / kind / "baby.png") for kind in ("LR", "HR"))
        assert (scale * small.width, scale * small.height) == (big.width, big.height)


def test_cifar_comes_as_a_folder_a_class(tmp_path: Path, out: Path) -> None:
    home = tmp_path / "u" / "c.tar.gz" / "cifar-10-batches-bin"
    home.mkdir(parents=True)
    (home / "batches.meta.txt").write_text("airplane\ncat\n\n")
    draw = np.random.Generator(np.random.PCG64(0))
    records = draw.integers(0, 256, (6, 3073), np.uint8)
    records[:, 0] = [0, 1, 0, 1, 0, 1]
    for number, name in enumerate([*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]):
        records[number : number + 1].tofile(home / name)
    Cifar()(tmp_path / "u", out)
    expected = [
        "test/cat/00000.png",
        "train/airplane/00000.png",
        "train/airplane/00002.png",
        "train/airplane/00004.png",
    ]
    assert names(out) == [*expected, "train/cat/00001.png", "train/cat/00003.png"]
    pixels = images.read(out / "train" / "cat" / "00001.png").pixels
    assert np.array_equal(pixels, records[1, 1:].reshape(3, 32, 32).transpose(1, 2, 0))
    assert Pictures(str(out / "train"), labels="folders", size=32).classes == ("airplane", "cat")
    with (home / "test_batch.bin").open("ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="test_batch.bin is missing or cut short"):
        list(Cifar().records([home / "test_batch.bin"]))


def test_faces_come_in_their_parts_with_their_attributes(tmp_path: Path, out: Path) -> None:
    for n in (1, 2, 3):
        picture(tmp_path / "u" / "img_align_celeba.zip" / "img_align_celeba" / f"{n:06}.jpg", 8, 8, n)
    said = "3\nBald Smiling \n000001.jpg -1  1\n000002.jpg  1 -1\n000003.jpg -1 -1\n"
    for name, text in {
        "list_attr_celeba.txt": said,
        "list_eval_partition.txt": "000001.jpg 0\n000002.jpg 2\n000003.jpg 0\n",
    }.items():
        (tmp_path / "u" / name).mkdir()
        (tmp_path / "u" / name / name).write_text(text)
    Faces()(tmp_path / "u", out)
    assert names(out) == [
        "test/000002.jpg", "test/labels.tsv", "train/000001.jpg", "train/000003.jpg", "train/labels.tsv",
    ]  # fmt: skip
    data = Pictures(str(out / "train"), labels="Smiling", size=8)
    assert (data.classes, data.numbers) == (("no", "yes"), [1, 0])


@pytest.mark.parametrize("flat", [False, True], ids=["birds", "flowers"])
def test_captions_lie_in_the_tree_of_their_pictures(flat: bool, tmp_path: Path, out: Path) -> None:
    home, texts = tmp_path / "u" / "p.tgz" / "images", tmp_path / "u" / "t.tar.gz" / "cvpr2016" / "text_c10"
    for number, species in enumerate(("001.crow", "001.crow", "002.gull")):
        stem = f"image_{number}"
        picture(home / ("" if flat else species) / f"{stem}.jpg", 8, 8, number)
        (texts / species).mkdir(parents=True, exist_ok=True)
        (texts / species / f"{stem}.txt").write_text(f"a {species}\n")
    (texts.parent / "trainvalclasses.txt").write_text("001.crow\n")
    Captions("images")(tmp_path / "u", out)
    assert names(out / "train") == ["001.crow/image_0.jpg", "001.crow/image_1.jpg"]
    assert names(out / "test") == ["002.gull/image_2.jpg"]
    assert names(out / "text") == ["001.crow/image_0.txt", "001.crow/image_1.txt", "002.gull/image_2.txt"]
    data = Captioned(str(out / "train"), captions=str(out / "text"), size=8)
    assert [list(lines) for lines in data.lines] == [["a 001.crow"], ["a 001.crow"]]


def test_street_scenes_come_as_pairs_whose_labels_keep_their_colours(tmp_path: Path, out: Path) -> None:
    for split in ("train", "val"):
        picture(tmp_path / "u" / "l.zip" / "leftImg8bit" / split / "ulm" / "ulm_000001_leftImg8bit.png", 32, 64)
        label = np.zeros((32, 64, 3), np.uint8)
        label[:, 31:] = (128, 64, 128)
        path = tmp_path / "u" / "g.zip" / "gtFine" / split / "ulm" / "ulm_000001_gtFine_color.png"
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), label)
    Scenes(side=16)(tmp_path / "u", out)
    assert names(out) == ["train/ulm_000001.png", "val/ulm_000001.png"]
    pixels = images.read(out / "train" / "ulm_000001.png").pixels
    assert pixels.shape == (16, 32, 3)
    assert {tuple(colour) for colour in pixels[:, 16:].reshape(-1, 3).tolist()} == {(0, 0, 0), (128, 64, 128)}


def test_rooms_say_at_once_which_package_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises((UserError, ValueError), match="lmdb"):
        Rooms("bedroom_train_lmdb")


def test_rooms_come_as_they_are_stored(tmp_path: Path, out: Path) -> None:
    lmdb = pytest.importorskip("lmdb")
    home = tmp_path / "u" / "b.zip" / "bedroom_train_lmdb"
    home.mkdir(parents=True)
    from PIL import Image

    blobs = {}
    for name in ("0a1b", "ff00"):
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, "WEBP")
        blobs[name] = file.getvalue()
    with lmdb.open(str(home)) as base, base.begin(write=True) as writing:
        for name, blob in blobs.items():
            writing.put(name.encode(), blob)
    Rooms("bedroom_train_lmdb")(tmp_path / "u", out)
    assert names(out) == ["0a/0a1b.webp", "ff/ff00.webp"]
    assert (out / "0a" / "0a1b.webp").read_bytes() == blobs["0a1b"]
