"""Data sets for generation: what a position gives, and what is said of bad files."""

from __future__ import annotations

import gzip
import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from games import AVERAGE
from numpy.typing import NDArray
from PIL import Image

from i2i.data.labelled import Alone, Digits, Labelled, Pictures, read_idx
from i2i.data.stream import Stream
from i2i.errors import UserError
from i2i.metrics.classifier import Classification, PictureClassifier
from i2i.recipe import Training
from i2i.spec import Spec
from i2i.trainer import Trainer, fitting
from i2i.unconditional.gan import GAN, MLPDiscriminator, MLPGenerator

NAMES = [f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def idx(values: NDArray[np.uint8]) -> bytes:
    return struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Nine training and four test pictures of 6x6 pixels, three classes, two files gzipped."""
    source = np.random.default_rng(0)
    for name, count in (("train", 9), ("t10k", 4)):
        pictures = source.integers(0, 256, (count, 6, 6), dtype=np.uint8)
        classes = (np.arange(count) % 3).astype(np.uint8)
        (tmp_path / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pictures)))
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(idx(classes))
    return tmp_path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of two classes, in folders, 20x12 and 12x20, red on the left or the top."""
    for name, count in (("cat", 3), ("dog", 2)):
        for number in range(count):
            pixels = np.zeros((12, 20, 3), np.uint8) if number % 2 else np.zeros((20, 12, 3), np.uint8)
            pixels[:, : pixels.shape[1] // 2, 0] = 200 + number
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    return tmp_path


# --- digits -----------------------------------------------------------------------------------------------------------


def test_digits_stand_in_the_middle_of_black(digits: Path) -> None:
    data = Digits(str(digits), size=9)
    x = data[0].x
    assert (x.dtype, tuple(x.shape), data.fields) == (torch.uint8, (1, 9, 9), Alone)
    plain = Digits(str(digits), size=6)[0].x
    assert torch.equal(x[:, 1:7, 1:7], plain) and x.sum() == plain.sum()


def test_labels_come_beside_the_pictures_they_belong_to(digits: Path) -> None:
    data = Digits(str(digits), labels=True, size=6)
    assert (data.fields, data.classes, len(data)) == (Labelled, ("0", "1", "2"), 9)
    pictures = read_idx(digits, NAMES[0], 3)
    for position in range(9):
        sample = data[position]
        assert isinstance(sample, Labelled)
        index = next(i for i, picture in enumerate(pictures) if np.array_equal(picture, sample.x[0]))
        assert sample.y.item() == index % 3 and sample.y.dtype == torch.int64


def test_each_epoch_has_every_digit_once_in_another_order(digits: Path) -> None:
    data = Digits(str(digits), size=6, seed=1)
    epochs = [[data[9 * epoch + place].x.sum().item() for place in range(9)] for epoch in range(3)]
    assert len({tuple(epoch) for epoch in epochs}) == 3 and len({tuple(sorted(epoch)) for epoch in epochs}) == 1
    assert len(Digits(str(digits), split="test", size=6)) == 4


def test_classes_stay_whole_numbers_on_their_way_to_a_game(digits: Path) -> None:
    _, batch = next(iter(Stream(Digits(str(digits), labels=True, size=6), batch=4)))
    assert batch.y.dtype == torch.int64 and tuple(batch.y.shape) == (4,)


@pytest.mark.parametrize("name", [NAMES[0] + ".gz", NAMES[1]])
def test_a_file_that_is_missing_is_named(digits: Path, name: str) -> None:
    (digits / name).unlink()
    with pytest.raises(UserError, match=rf"there is no {name.removesuffix('.gz')}\.gz in .*beside the other three"):
        Digits(str(digits), size=6)


def test_damaged_files_are_named(digits: Path) -> None:
    whole = gzip.decompress((digits / (NAMES[0] + ".gz")).read_bytes())
    labels = (digits / NAMES[1]).read_bytes()
    for name, bad, said in (
        (NAMES[0] + ".gz", gzip.compress(whole)[:-20], "cannot be read"),
        (NAMES[0] + ".gz", b"no gzip at all", "cannot be read"),
        (NAMES[0] + ".gz", gzip.compress(whole[:-1]), "is no idx file of 3 dimensions, or is cut short"),
        (NAMES[0] + ".gz", gzip.compress(b""), "is no idx file of 3 dimensions"),
        (NAMES[1], whole, "is no idx file of 1 dimensions"),
        (NAMES[1], struct.pack(">HBBI", 0, 8, 1, 2**31), "is no idx file of 1 dimensions"),
        (NAMES[1], idx(np.zeros(5, np.uint8)), "holds 9 pictures and 5 labels"),
    ):
        (digits / name).write_bytes(bad)
        with pytest.raises(UserError, match=said) as caught:
            Digits(str(digits), size=6)
        assert str(digits) in str(caught.value)
        (digits / (NAMES[0] + ".gz")).write_bytes(gzip.compress(whole))
        (digits / NAMES[1]).write_bytes(labels)


def test_pictures_that_do_not_fit_are_refused(digits: Path) -> None:
    with pytest.raises(UserError, match="pictures of 6 pixels, which do not fit into 5; set data.size"):
        Digits(str(digits), size=5)


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_picture_is_cut_from_the_middle_and_resized_and_it_is_said_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = Pictures(str(folder), size=6)
    with caplog.at_level(logging.WARNING):
        found = [data[position].x for position in range(5)]
    assert {tuple(x.shape) for x in found} == {(3, 6, 6)}
    assert sum("pictures are resized to 6x6" in record.message for record in caplog.records) == 1
    for x in found:
        assert (x[0, :, :2] > 150).all() and (x[0, :, 4:] < 30).all()  # the halves are still the halves


def test_a_crop_of_the_right_size_is_left_as_it_is(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = Pictures(str(folder / "cat"), size=12, channels=1)
    with caplog.at_level(logging.WARNING):
        assert tuple(data[0].x.shape) == (1, 12, 12)
    assert not caplog.records
    with pytest.raises(UserError, match=r"\d+x\d+ pixels are too few for a crop of 13; set data.crop smaller"):
        _ = Pictures(str(folder), size=12, crop=13)[0]


def test_folders_are_classes_in_the_order_of_their_names(folder: Path) -> None:
    data = Pictures(str(folder), labels="folders", size=12)
    assert (data.fields, data.classes, len(data)) == (Labelled, ("cat", "dog"), 5)
    classes = [sample.y.item() for sample in map(data.__getitem__, range(5)) if isinstance(sample, Labelled)]
    assert sorted(classes) == [0, 0, 0, 1, 1]
    assert Pictures(str(folder), size=12).fields is Alone


def test_pictures_without_folders_have_no_classes(folder: Path) -> None:
    with pytest.raises(UserError, match="has no folders, which were to be its classes; set data.labels=none"):
        Pictures(str(folder / "cat"), labels="folders")


def test_flips_belong_to_the_position(folder: Path) -> None:
    flipped, plain = (Pictures(str(folder), size=12, flip=flip, seed=3) for flip in (True, False))
    kinds = set()
    for position in range(20):
        ours, theirs = flipped[position].x, plain[position].x
        assert torch.equal(ours, theirs) or torch.equal(ours, theirs.flip(2))
        assert torch.equal(ours, flipped[position].x)
        kinds.add(torch.equal(ours, theirs))
    assert kinds == {True, False}


def test_what_is_kept_in_memory_is_read_once(folder: Path) -> None:
    data = Pictures(str(folder), size=12, keep_in_memory=True)
    data.fill()
    before = data[0].x
    for file in folder.rglob("*.png"):
        file.unlink()
    assert torch.equal(data[0].x, before)


@pytest.mark.parametrize("more", [{"channels": 0}, {"channels": 5}, {"size": 0}, {"crop": 0}])
def test_sizes_and_channels_that_there_are_none_of(folder: Path, more: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="takes 1 to 4 channels and sizes from 1 pixel"):
        Pictures(str(folder), **more)


def test_a_damaged_picture_is_named(folder: Path) -> None:
    (folder / "cat" / "1.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"cat/1\.png"):
        for position in range(5):
            _ = Pictures(str(folder), size=12)[position]


def test_an_empty_folder_and_one_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no pictures"):
        Pictures(str(tmp_path / "empty"))
    with pytest.raises(UserError, match="nowhere"):
        Pictures(str(tmp_path / "nowhere"))


# --- data and games that do not fit -----------------------------------------------------------------------------------


def game() -> GAN:
    return GAN(
        Spec.to(MLPGenerator, size=6, latent=3, widths=[4]),
        Spec.to(MLPDiscriminator, size=6, units=[4], pieces=2),
        average=AVERAGE,
    )


def classifier(classes: int) -> Classification:
    network = Spec.to(PictureClassifier, size=8, classes=classes, width=2, features=4)
    return Classification(network, [str(number) for number in range(classes)])


def test_fields_that_do_not_fit_say_how_to_mend_it(digits: Path) -> None:
    plain, labelled = (Digits(str(digits), labels=labels, size=8) for labels in (False, True))
    with pytest.raises(UserError, match=r"plays with \('x',\).*leave out the classes with data.labels \(false"):
        fitting(game(), labelled, Training(images=4), 1)
    with pytest.raises(UserError, match=r"yields \('x',\); give the samples their classes with data.labels \(true"):
        fitting(classifier(3), plain, Training(images=4), 1)
    with pytest.raises(UserError, match="plays with 4 classes, but the data has 3; set game.classes"):
        fitting(classifier(4), labelled, Training(images=4), 1)
    assert fitting(classifier(3), labelled, Training(images=4, batch=4), 2) == 2


@pytest.mark.parametrize(("batch", "processes"), [(1, 2), (3, 2), (2, 4)])
def test_more_processes_than_images_are_refused(digits: Path, batch: int, processes: int) -> None:
    with pytest.raises(UserError, match=f"a batch of {batch} cannot be dealt to {processes} processes.*a multiple of"):
        fitting(game(), Digits(str(digits), size=6), Training(images=4, batch=batch), processes)


def test_a_data_set_smaller_than_the_batch_is_gone_through_again(digits: Path, tmp_path: Path) -> None:
    data = Digits(str(digits), size=6)
    trainer = Trainer(
        game(), data, Training(images=40, batch=20, threads=1), tmp_path / "run", device="cpu", say=lambda _: None
    )
    assert trainer.run(quiet=True) == "done"
