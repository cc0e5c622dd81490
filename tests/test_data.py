"""Facts about the data: a sample depends on its position and the seed alone."""

from __future__ import annotations

import itertools
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import i2i.cli.data as command
from i2i.cli.data import data as data_command
from i2i.data.cache import Packed, decode, encode
from i2i.data.datasets import Paired, Unaligned, locate, with_channels
from i2i.data.folders import find, pair, read_pixels, read_size, scan
from i2i.data.resize import PREPROCESSES, Preprocess, fitted, resize
from i2i.data.stream import Stream, to_range
from i2i.data.transforms import Geometric, Photometric, Thicker
from i2i.errors import UserError
from i2i.spec import Spec

SMALL: dict[str, Any] = {"load": 24, "crop": 16}
MAPS = Path(os.environ.get("I2I_DATA", "../shared/data")) / "maps" / "train"


def draw(path: Path, shape: tuple[int, ...] = (20, 20, 3), *, seed: int = 0, dtype: Any = np.uint8) -> np.ndarray:
    """Write a random picture and return its pixels."""
    pixels = np.random.default_rng([seed, *path.name.encode()]).integers(0, np.iinfo(dtype).max, shape, dtype, True)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels if pixels.ndim == 2 or shape[2] == 1 else pixels[..., [2, 1, 0, 3][: shape[2]]])
    return pixels


@pytest.fixture
def sides(tmp_path: Path) -> Path:
    """Seven pairs side by side, 20x20 each."""
    for number in range(7):
        draw(tmp_path / "train" / f"{number}.png", (20, 40, 3))
    return tmp_path / "train"


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """trainA of 5 pictures and trainB of 3."""
    for name, count in (("trainA", 5), ("trainB", 3)):
        for number in range(count):
            draw(tmp_path / name / f"{number}.png")
    return tmp_path


def take(stream: Stream, steps: int) -> list[tuple[int, Any]]:
    return list(itertools.islice(stream, steps))


def same(one: Any, other: Any) -> bool:
    return all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


def both(root: Path, **more: Any) -> list[Paired | Unaligned]:
    return [
        Paired(str(root), **SMALL, **more),
        Unaligned(str(root), str(root), side_by_side=True, **SMALL, **more),
    ]


# --- a sample depends on its position alone


def test_two_workers_give_the_same_bits_as_none(sides: Path) -> None:
    for dataset in both(sides, photometric=[{"GaussNoise": {"p": 1}}]):
        alone, helped = (take(Stream(dataset, batch=3, workers=workers), 6) for workers in (0, 2))
        assert [first for first, _ in alone] == [first for first, _ in helped] == [0, 3, 6, 9, 12, 15]
        assert all(same(x, y) for (_, x), (_, y) in zip(alone, helped, strict=True))


def test_what_two_ranks_get_is_together_what_one_gets(sides: Path) -> None:
    for dataset in both(sides):
        whole = take(Stream(dataset, batch=4), 5)
        left, right = (take(Stream(dataset, batch=4, rank=rank, ranks=2), 5) for rank in (0, 1))
        for (first, batch), (first_l, batch_l), (first_r, batch_r) in zip(whole, left, right, strict=True):
            assert (first_l, first_r) == (first, first + 2)
            assert same(batch, [torch.cat(halves) for halves in zip(batch_l, batch_r, strict=True)])


@settings(max_examples=10, deadline=None)
@given(start=st.integers(0, 40))
def test_starting_late_equals_skipping(tmp_path_factory: pytest.TempPathFactory, start: int) -> None:
    root = tmp_path_factory.mktemp("late")
    for number in range(3):
        draw(root / f"{number}.png", (20, 40, 3))
    dataset = Paired(str(root), **SMALL)
    position, batch = take(Stream(dataset, batch=1, start=start), 1)[0]
    assert position == start
    assert same(batch, [tensor[None] for tensor in dataset[start]])


def test_a_stream_can_be_walked_again(sides: Path) -> None:
    stream = Stream(Paired(str(sides), **SMALL), batch=2, workers=1)
    first, again = take(stream, 3), take(stream, 3)
    assert all(same(x, y) for (_, x), (_, y) in zip(first, again, strict=True))


@given(seed=st.integers(0, 2**32), length=st.integers(2, 50), epoch=st.integers(0, 10**6))
def test_an_epoch_is_a_permutation(seed: int, length: int, epoch: int) -> None:
    found = [locate(position, length, seed) for position in range(epoch * length, (epoch + 1) * length)]
    assert {number for number, _ in found} == {epoch}
    assert sorted(index for _, index in found) == list(range(length))


def test_epochs_sides_and_seeds_have_other_orders() -> None:
    def order(epoch: int, seed: int = 0, side: int = 0) -> list[int]:
        return [locate(position, 30, seed, side)[1] for position in range(epoch * 30, epoch * 30 + 30)]

    assert len({tuple(o) for o in (order(0), order(1), order(0, seed=1), order(0, side=1))}) == 4


def test_the_numbers_never_change() -> None:
    """Journals of shipped weights are reproduced by these very draws."""
    assert [locate(position, 500, 0)[1] for position in range(5)] == [212, 468, 156, 469, 130]
    assert [locate(position, 500, 0, 1)[1] for position in range(5)] == [262, 249, 456, 263, 38]
    grid = np.arange(286 * 286, dtype=np.int32).reshape(286, 286, 1).astype(np.float32)
    corners = [Geometric(256)(seed, grid)[0][0, 0, 0] for seed in range(4)]
    assert [divmod(int(corner), 286) for corner in corners] == [(11, 16), (4, 6), (27, 269), (29, 10)]


def test_the_sample_changes_from_epoch_to_epoch(sides: Path) -> None:
    dataset = Paired(str(sides), **SMALL)
    for index in range(7):
        found = [position for position in range(70) if locate(position, 7, 0)[1] == index]
        assert len({dataset[position].a.numpy().tobytes() for position in found}) > 5


def test_random_numbers_of_the_host_are_left_alone(sides: Path) -> None:
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    before = torch.get_rng_state(), str(np.random.get_state()), random.getstate()
    for workers in (0, 1):
        for dataset in both(sides, photometric=[{"ColorJitter": {"p": 1}}]):
            take(Stream(dataset, batch=2, workers=workers), 2)
    after = torch.get_rng_state(), str(np.random.get_state()), random.getstate()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_kept_in_memory_gives_the_same_bits_and_reads_each_file_once(sides: Path) -> None:
    for plain, kept in zip(both(sides), both(sides, keep_in_memory=True), strict=True):
        expected = [plain[position] for position in range(20)]
        assert all(same(kept[position], expected[position]) for position in range(20))
        for x, y in zip(kept[3], kept[3], strict=True):
            assert x.data_ptr() != y.data_ptr()
        kept.fill()
    files = scan(sides)
    saved = [path.read_bytes() for path in files]
    for path in files:
        path.write_bytes(b"")
    assert all(same(kept[position], expected[position]) for position in range(20))
    for path, content in zip(files, saved, strict=True):
        path.write_bytes(content)


def test_data_sets_can_be_pickled(sides: Path) -> None:
    for dataset in both(sides, keep_in_memory=True, photometric=[{"ColorJitter": {}}]):
        dataset.fill()
        content = pickle.dumps(dataset)
        assert len(content) < 50_000  # the pictures stay behind
        assert same(pickle.loads(content)[9], dataset[9])  # noqa: S301


# --- crops, flips, colours


def test_crops_of_a_pair_agree_and_of_an_unaligned_pair_do_not(tmp_path: Path) -> None:
    for name in ("A", "B"):
        for number in range(3):
            draw(tmp_path / name / f"{number}.png", (40, 40, 3))
    paired = Paired(str(tmp_path), layout="folders", load=40, crop=16)
    assert all(torch.equal(*paired[position]) for position in range(20))
    unaligned = Unaligned(str(tmp_path / "A"), str(tmp_path / "B"), load=40, crop=16)
    assert not any(torch.equal(*unaligned[position]) for position in range(20))


def test_flip_and_crop_are_independent_and_uniform() -> None:
    grid = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32, 1)
    crops = [Geometric(29)(seed, grid)[0][:, :, 0] for seed in range(3000)]
    flipped = np.array([crop[0, 0] > crop[0, -1] for crop in crops])
    rows, columns = np.array([divmod(int(crop.min()), 32) for crop in crops]).T
    counts = np.array([[np.sum((rows == r) & (flipped == f)) for r in range(4)] for f in (False, True)])
    assert counts.min() > 3000 / 8 * 0.8
    assert np.histogram2d(rows, columns, bins=4)[0].min() > 3000 / 16 * 0.7


@given(channels=st.tuples(st.integers(1, 4), st.integers(1, 4)), dtype=st.sampled_from(["uint8", "uint16", "float32"]))
@settings(max_examples=15, deadline=None)
def test_any_channels_and_types_are_cropped_alike(channels: tuple[int, int], dtype: str) -> None:
    plane = np.arange(20 * 24).reshape(20, 24, 1) % 251
    pictures = [np.repeat(plane, count, axis=2).astype(dtype) for count in channels]
    a, b = Geometric(16)(5, *pictures)
    assert (a.shape, b.shape) == ((16, 16, channels[0]), (16, 16, channels[1]))
    assert a.dtype == b.dtype == dtype
    assert np.array_equal(a[..., 0], b[..., -1])


def test_photometric_changes_touch_the_input_alone(sides: Path) -> None:
    change: list[Any] = [{"RandomBrightnessContrast": {"p": 1, "brightness_limit": [0.3, 0.4]}}]
    for direction in ("a2b", "b2a"):
        plain = Paired(str(sides), direction=direction, **SMALL)
        changed = Paired(str(sides), direction=direction, photometric=change, **SMALL)
        for position in range(5):
            assert torch.equal(plain[position].b, changed[position].b)
            assert plain[position].a.float().mean() + 20 < changed[position].a.float().mean()


def test_photometric_transforms_are_named_in_three_ways() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    ways: list[Any] = [
        {"ColorJitter": {"brightness": 0.5, "p": 1}},
        {"of": "albumentations:ColorJitter", "brightness": 0.5, "p": 1},
        Spec("albumentations:ColorJitter", {"brightness": 0.5, "p": 1}),
    ]
    made = [Photometric([way])(7, picture) for way in ways]
    assert np.array_equal(made[0], made[1])
    assert np.array_equal(made[0], made[2])
    assert not np.array_equal(made[0], Photometric(ways[:1])(8, picture))


def test_photometric_leaves_alpha_alone() -> None:
    for channels in (2, 4):
        picture = np.random.default_rng(0).random((8, 8, channels), np.float32)
        made = Photometric([{"GaussNoise": {"p": 1}}])(3, picture)
        assert made.shape == picture.shape
        assert np.array_equal(made[..., -1], picture[..., -1])
        assert not np.array_equal(made[..., 0], picture[..., 0])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"ColourJitter": {}}, "no 'ColourJitter'"),
        ({"ColorJitter": {"brightnes": 0.1}}, "brightnes"),
        ({"Rotate": {}}, "Rotate moves or masks pixels"),
    ],
)
def test_photometric_mistakes_are_refused(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Photometric([entry])


# --- halves, directions, channels, depths


def test_halves_and_directions(sides: Path) -> None:
    options: Any = {"preprocess": "none", "flip": False}
    pixels = [read_pixels(path) for path in scan(sides)]
    forth, back = (Paired(str(sides), direction=way, **options) for way in ("a2b", "b2a"))
    for position in range(7):
        whole = torch.from_numpy(pixels[locate(position, 7, 0)[1]]).permute(2, 0, 1)
        assert torch.equal(torch.cat(forth[position], dim=2), whole)
        assert same(back[position], forth[position][::-1])


def test_channels_follow_the_direction(sides: Path) -> None:
    sample = Paired(str(sides), direction="b2a", channels=(1, 4), **SMALL)[0]
    assert (sample.a.shape, sample.b.shape) == ((1, 16, 16), (4, 16, 16))


def test_gray_is_pillows_and_alpha_is_opaque() -> None:
    colours = np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8, True)
    expected = np.asarray(Image.fromarray(colours).convert("L"))
    assert np.array_equal(with_channels(colours, 1, "")[..., 0], expected)
    assert np.array_equal(with_channels(colours, 2, "")[..., 0], expected)
    assert (with_channels(colours, 4, "")[..., 3] == 255).all()
    assert np.array_equal(with_channels(with_channels(colours, 4, ""), 3, ""), colours)
    assert with_channels(colours[..., :1].astype(np.uint16), 4, "")[0, 0, 3] == 65535


@pytest.mark.parametrize("count", [1, 3, 4])
def test_sixteen_bits_become_floats(tmp_path: Path, count: int) -> None:
    stored = [draw(tmp_path / f"{n}.png", (20, 40, count), dtype=np.uint16) for n in range(2)]
    options: Any = {"preprocess": "none", "flip": False, "channels": (count, count)}
    sample = Paired(str(tmp_path), **options)[0]
    expected = stored[locate(0, 2, 0)[1]].astype(np.float64) / 65535 * 2 - 1
    assert sample.a.dtype == torch.float32
    assert np.abs(torch.cat(sample, dim=2).permute(1, 2, 0).numpy() - expected).max() < 1e-6
    small = Paired(str(tmp_path), load=12, crop=8, channels=(count, count), photometric=[{"GaussNoise": {"p": 1}}])[0]
    assert -1 <= small.a.min() < small.a.max() <= 1


def test_eight_and_sixteen_bits_meet_in_a_batch(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", (20, 40, 3))
    draw(tmp_path / "b.png", (20, 40, 3), dtype=np.uint16)
    _, batch = take(Stream(Paired(str(tmp_path), **SMALL), batch=2), 1)[0]
    assert batch.a.dtype == torch.float32
    assert -1 <= batch.a.min() < batch.a.max() <= 1


def test_to_range_maps_black_and_white_exactly() -> None:
    assert to_range(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]
    floats = torch.tensor([0.25], dtype=torch.float32)
    assert torch.equal(to_range(floats), floats)
    assert len(to_range(torch.arange(256, dtype=torch.uint8)).unique()) == 256


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:, :24] = 255  # left becomes top
    Image.fromarray(picture).save(tmp_path / "x.jpg", exif=exif, quality=95)
    pixels = read_pixels(tmp_path / "x.jpg")
    assert pixels.shape == (48, 32, 3)
    for suffix in ("jpg", "png", "tif", "webp"):
        Image.fromarray(picture).save(tmp_path / f"size.{suffix}", exif=exif)
        assert (
            read_size(tmp_path / f"size.{suffix}") == (32, 48) == read_pixels(tmp_path / f"size.{suffix}").shape[1::-1]
        )
    assert pixels[:20].min() > 200
    assert pixels[-20:].max() < 50


# --- sizes


def test_resize_is_pillows_bicubic_for_any_channels_and_depth() -> None:
    generator = np.random.default_rng(0)
    for count in (1, 2, 3, 4):
        pixels = generator.integers(64, 192, (31, 44, count), np.uint8)
        made = resize(pixels, width=17, height=50)
        assert made.shape == (50, 17, count)
        for channel in range(count):
            picture = Image.fromarray(np.ascontiguousarray(pixels[..., channel]))
            expected = np.asarray(picture.resize((17, 50), Image.Resampling.BICUBIC))
            assert np.array_equal(made[..., channel], expected)
        wide = resize(pixels.astype(np.uint16) * 257, width=17, height=50)
        assert wide.dtype == np.uint16
        assert np.abs(wide / 257 - made).max() < 2  # Pillow rounds 8 bits between its two passes
    extremes = np.array([[0, 65535]] * 2, np.uint16).repeat(4, axis=1)[..., None]
    assert set(resize(extremes, width=31, height=2).flat) >= {0, 65535}


@pytest.mark.parametrize(
    ("preprocess", "expected"),
    [
        ("resize+crop", (3, 16, 16)),
        ("crop", (3, 16, 16)),
        ("scale-width", (3, 36, 24)),
        ("scale-width+crop", (3, 16, 16)),
        ("none", (3, 60, 40)),
    ],
)
def test_preprocessing_modes(tmp_path: Path, preprocess: Any, expected: tuple[int, ...]) -> None:
    for number in range(2):
        draw(tmp_path / f"{number}.png", (60, 80, 3))
    sample = Paired(str(tmp_path), preprocess=preprocess, **SMALL)[0]
    assert sample.a.shape == sample.b.shape == expected


def test_resize_plus_crop_cuts_the_resized_picture(sides: Path) -> None:
    sample = Paired(str(sides), load=24, crop=24, flip=False)[0].a.permute(1, 2, 0).numpy()
    left = read_pixels(scan(sides)[locate(0, 7, 0)[1]])[:, :20]
    assert np.array_equal(sample, np.asarray(Image.fromarray(left).resize((24, 24), Image.Resampling.BICUBIC)))


# --- folders


def test_folders_are_scanned_recursively_in_one_order(tmp_path: Path) -> None:
    for name in ("b/2.png", "a/3.JPG", "a/1.png", "z.png", ".hidden/x.png", "a/.y.png"):
        draw(tmp_path / name) if not name.endswith("JPG") else draw(tmp_path / "a/3.jpg")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "b" / "round").symlink_to(tmp_path, target_is_directory=True)
    assert [path.relative_to(tmp_path).as_posix() for path in scan(tmp_path)] == [
        "a/1.png",
        "a/3.jpg",
        "b/2.png",
        "z.png",
    ]


def test_partners_have_equal_stems_and_orphans_are_reported(
    folders: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    draw(tmp_path / "trainB" / "sub" / "4.jpg")
    dataset = Paired(str(folders), layout="folders", **SMALL)
    assert len(dataset) == 3
    assert {path.relative_to(tmp_path).as_posix() for path in dataset.orphans} == {
        "trainA/3.png",
        "trainA/4.png",
        "trainB/sub/4.jpg",
    }
    assert "3 of 9 pictures have no partner" in caplog.text


def test_relative_folders_are_looked_for_here_then_under_the_variable(
    sides: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.delenv("I2I_DATA", raising=False)
    with pytest.raises(UserError, match=r"no 'train' in .*elsewhere or its folder datasets; set I2I_DATA"):
        find("train")
    monkeypatch.setenv("I2I_DATA", str(sides.parent))
    assert len(Paired("train", **SMALL)) == 7
    with pytest.raises(UserError) as raised:
        find("other")
    assert str(elsewhere) in str(raised.value)
    assert str(sides.parent) in str(raised.value)


def test_unaligned_sets_have_epochs_of_their_own(folders: Path) -> None:
    dataset = Unaligned(str(folders / "trainA"), str(folders / "trainB"), load=20, crop=20, flip=False)
    assert len(dataset) == 5
    drawn = [dataset[position] for position in range(15)]
    for side, length in ((0, 5), (1, 3)):
        for epoch in range(15 // length):
            part = [sample[side].numpy().tobytes() for sample in drawn[epoch * length : (epoch + 1) * length]]
            assert len(set(part)) == length


# --- bad input: one sentence that names the file


def refuse(make: Any, *parts: str) -> None:
    with pytest.raises(UserError) as raised:
        make()
    sentence = str(raised.value)
    assert "\n" not in sentence
    for part in parts:
        assert part in sentence, sentence


def test_what_does_not_fit_is_refused_at_the_door(folders: Path, sides: Path, tmp_path: Path) -> None:
    one, empty, odd = tmp_path / "one" / "trainB", tmp_path / "empty", tmp_path / "odd"
    draw(one / "1.png")
    empty.mkdir()
    draw(odd / "odd.png", (20, 41, 3))
    a = str(folders / "trainA")
    refuse(lambda: Unaligned(a, str(one)), "trainB holds 1 image; Unaligned needs at least 2", str(one))
    refuse(lambda: Paired(str(tmp_path / "none")), "there is no file or folder", "none")
    refuse(lambda: Paired(str(empty)), str(empty), "holds no pictures")
    refuse(lambda: Paired(str(empty), layout="folders"), "trainA and trainB; name the two")
    refuse(lambda: Paired(str(odd)), "odd.png is 41 pixels wide")
    refuse(lambda: Paired(str(sides), preprocess="crop"), "0.png: 20x20 pixels are too few", "256x256")
    refuse(lambda: Paired(str(sides), load=10, crop=16), "crop 16 is larger than load 10")
    refuse(lambda: Paired(str(sides), channels=(3, 5)), "from 1 to 4")
    refuse(lambda: Paired(str(sides), preprocess="resize"), "'resize' is none of resize+crop, crop")
    refuse(lambda: Paired(str(sides), layout="folder"), "'folder' is none of")
    refuse(lambda: Paired(str(folders)), "two folders, trainA and trainB, not pairs side by side", "data.layout")
    refuse(lambda: Paired(str(sides), direction="A2B"), "'A2B' is neither")
    refuse(lambda: Stream(Paired(str(sides), **SMALL), batch=3, ranks=2), "batch of 3", "multiple of 2")


def test_pairs_of_different_size_are_refused_naming_both(folders: Path) -> None:
    draw(folders / "trainB" / "1.png", (20, 30, 3))
    refuse(
        lambda: Paired(str(folders), layout="folders"),
        f"{folders}/trainA/1.png is 20x20",
        f"{folders}/trainB/1.png is 30x20",
    )


def test_folders_without_partners_or_with_double_stems_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "A" / "x.png")
    draw(tmp_path / "B" / "y.png")
    refuse(lambda: pair(tmp_path / "A", tmp_path / "B"), "no file of", "x.png", "y.png")
    draw(tmp_path / "A" / "x.jpg")
    refuse(lambda: pair(tmp_path / "A", tmp_path / "B"), "x.jpg", "x.png", "differ in their endings alone")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_is_named_while_training(sides: Path, workers: int) -> None:
    victim = sides / "3.png"
    victim.write_bytes(victim.read_bytes()[:900])
    stream = Stream(Paired(str(sides), **SMALL), batch=1, workers=workers)
    refuse(lambda: take(stream, 7), str(victim), "take it out of the data set")


def test_an_empty_file_is_named_at_the_door(sides: Path) -> None:
    (sides / "3.png").write_bytes(b"")
    refuse(lambda: Paired(str(sides), **SMALL), f"{sides}/3.png", "empty")


def test_pictures_of_many_sizes_need_a_batch_of_one(tmp_path: Path) -> None:
    for number, width in enumerate((40, 44)):
        draw(tmp_path / f"{number}.png", (20, width, 3))
    dataset = Paired(str(tmp_path), preprocess="none")
    assert len(take(Stream(dataset, batch=1), 2)) == 2
    refuse(lambda: take(Stream(dataset, batch=2), 1), "make no batch", "3x20x20 and 3x20x22")


# --- the cache


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    error=st.integers(0, 4),
    seed=st.integers(0, 99),
)
def test_a_packed_picture_is_off_by_no_more_than_the_error(
    shape: tuple[int, int, int], dtype: Any, error: int, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, True)
    blob = np.frombuffer(encode(pixels, error), np.uint8)
    back = decode(blob, (*shape, pixels.dtype.itemsize * 8), error)
    assert back.dtype == dtype
    allowed = 0 if dtype == np.uint16 else error
    assert np.abs(back.astype(int) - pixels).max() <= allowed


def run_cache(*arguments: object) -> str:
    result = CliRunner().invoke(data_command, ["cache", *map(str, arguments)], catch_exceptions=True)
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_a_packed_folder_trains_like_the_folder_without_it(sides: Path, tmp_path: Path) -> None:
    file = tmp_path / "pairs.cache"
    assert "7 pairs" in run_cache(sides, "-o", file, "--size", 24, "--error", 0)
    expected = [[dataset[position] for position in range(15)] for dataset in both(sides)]
    for path in scan(sides):
        path.unlink()
    for dataset, samples in zip(both(file), expected, strict=True):
        assert all(same(dataset[position], sample) for position, sample in enumerate(samples))
        helped = take(Stream(dataset, batch=5, workers=2), 3)
        assert same(helped[0][1], [torch.stack(t) for t in zip(*samples[:5], strict=True)])


def test_single_pictures_and_two_folders_are_packed_too(folders: Path, tmp_path: Path) -> None:
    files = [tmp_path / "a.cache", tmp_path / "b.cache"]
    for name, file in zip(("trainA", "trainB"), files, strict=True):
        run_cache(folders / name, "-o", file, "--size", 24, "--layout", "single", "--error", 0)
    packed, plain = (
        Unaligned(*map(str, roots), **SMALL) for roots in (files, [folders / "trainA", folders / "trainB"])
    )
    assert all(same(packed[position], plain[position]) for position in range(15))
    pairs = tmp_path / "pairs.cache"
    run_cache(folders, "-o", pairs, "--layout", "folders", "--preprocess", "none", "--error", 0)
    both_ways = (Paired(str(root), layout="folders", preprocess="crop", crop=16) for root in (pairs, folders))
    assert same(*(dataset[4] for dataset in both_ways))
    refuse(lambda: Paired(str(files[0])), "single pictures where pairs are wanted")
    refuse(lambda: Unaligned(str(pairs), str(pairs)), "set side_by_side")


def test_the_default_loses_at_most_one_level(sides: Path, tmp_path: Path) -> None:
    file = tmp_path / "pairs.cache"
    run_cache(sides, "-o", file, "--preprocess", "none")
    packed, files = Packed(file), scan(sides)
    worst = [np.abs(np.concatenate(packed.read(i), 1).astype(int) - read_pixels(files[i])).max() for i in range(7)]
    assert max(worst) == 1
    assert packed.about["error"] == "1"
    assert packed.name(0) == f"0.png in {file}"


def test_a_cache_is_whole_or_not_there(sides: Path, tmp_path: Path) -> None:
    file = tmp_path / "out" / "pairs.cache"
    refuse(lambda: run_cache(sides, "-o", file), str(file), "No such file")
    file.parent.mkdir()
    victim = sides / "6.png"
    whole = victim.read_bytes()
    victim.write_bytes(whole[:900])
    refuse(lambda: run_cache(sides, "-o", file), "6.png")
    assert list(file.parent.iterdir()) == []
    victim.write_bytes(whole)
    run_cache(sides, "-o", file, "--size", 24)
    refuse(lambda: run_cache(sides, "-o", file), "is there already", "--overwrite")
    before = file.read_bytes()
    run_cache(sides, "-o", file, "--size", 24, "--overwrite")
    assert file.read_bytes() == before
    file.write_bytes(before[:-100])
    refuse(lambda: Paired(str(file), **SMALL), str(file), "no whole data cache")
    refuse(lambda: Paired(str(victim)), str(victim), "no whole data cache")


def test_a_damaged_cache_names_the_picture(sides: Path, tmp_path: Path) -> None:
    file = tmp_path / "pairs.cache"
    run_cache(sides, "-o", file, "--size", 24)
    content = bytearray(file.read_bytes())
    content[-300:] = bytes(300)
    file.write_bytes(content)
    dataset = Paired(str(file), **SMALL)
    refuse(lambda: [dataset[position] for position in range(7)], "6.png in", "write the cache anew")


@pytest.mark.skipif(not MAPS.is_dir(), reason="the maps data set is not there")
def test_500_pairs_of_maps_take_less_than_60_mib(tmp_path: Path) -> None:
    for path in scan(MAPS)[::50]:
        (tmp_path / path.name).symlink_to(path.resolve())
    file = tmp_path / "maps.cache"
    run_cache(tmp_path, "-o", file)
    assert file.stat().st_size / 10 * 500 < 60 * 2**20


# --- imports


def test_import_needs_no_network_and_the_command_no_torch() -> None:
    script = """
import socket, sys
def forbidden(*arguments, **more): raise AssertionError("network at import")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = forbidden
import i2i.data, i2i.cli.data
assert not {"torch", "numpy", "cv2", "albumentations"} & set(sys.modules), sorted(sys.modules)
import i2i.data.cache, i2i.data.sources
assert not {"torch", "albumentations"} & set(sys.modules)
import i2i.data.datasets, i2i.data.stream
"""
    environment = {key: value for key, value in os.environ.items() if key != "NO_ALBUMENTATIONS_UPDATE"}
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", script], env=environment, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]


def test_the_commands_preprocesses_are_those_of_the_data_sets() -> None:
    assert command.PREPROCESSES == PREPROCESSES == get_args(Preprocess)
    assert all(fitted(40, 20, name, 40) for name in PREPROCESSES)


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux")
def test_workers_start_after_opencv_has_used_its_threads(folders: Path) -> None:
    """They inherit its pool without the threads in it, and once waited for those for ever."""
    code = f"""
import cv2, numpy as np
from i2i.data.datasets import Unaligned
from i2i.data.stream import Stream
cv2.setNumThreads(2)
cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (31, 31), 5)
data = Unaligned({str(folders / "trainA")!r}, {str(folders / "trainB")!r}, load=20, crop=20)
stream = iter(Stream(data, batch=1, workers=2))
print([next(stream)[0] for _ in range(4)], cv2.getNumThreads())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "[0, 1, 2, 3] 2\n", done.stderr


def test_files_named_under_without_are_left_out(folders: Path, sides: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folders)
    broken = folders / "trainA" / "2.png"
    broken.write_text("no picture")
    refuse(lambda: Unaligned("trainA", "trainB", **SMALL), "2.png", "name it under data.without")
    left_out = ["trainA/2.png", str(folders / "trainB/0.png")]
    data = Unaligned("trainA", str(folders / "trainB"), without=left_out, **SMALL)
    assert [len(side) for side in data.sides] == [4, 2]
    pairs = Paired(str(folders), layout="folders", without=["trainA/2.png", "trainB/2.png"], **SMALL)
    assert (len(pairs), {path.stem for path in pairs.orphans}) == (2, {"3", "4"})
    assert len(Paired(str(sides), without=[str(sides / "3.png")], **SMALL)) == 6
    refuse(lambda: Unaligned("trainA", "trainB", without=["trainA/22.png"], **SMALL), "22.png", "did you mean")


def test_one_picture_a_side_is_enough_where_that_is_said(tmp_path: Path) -> None:
    for side in "ab":
        draw(tmp_path / side / "1.png", (60, 80, 3))
    data = Unaligned(str(tmp_path / "a"), str(tmp_path / "b"), fewest=1, preprocess="crop", load=16, crop=16)
    assert len(data) == 1
    assert len({data[position].a.numpy().tobytes() for position in range(20)}) > 10


def test_lines_of_a_are_made_thicker_before_they_are_shrunk(tmp_path: Path) -> None:
    """A line of one pixel that shrinks to an eighth is an eighth as dark, one of three pixels three eighths."""
    line = np.full((64, 64, 3), 255, np.uint8)
    line[:, 33] = 0
    for side in "ab":
        for name in "12":
            (tmp_path / side).mkdir(exist_ok=True)
            Image.fromarray(line).save(tmp_path / side / f"{name}.png")
    thicker = Thicker(size=3)
    assert (thicker(line)[:, 32:35] == 0).all()
    assert (thicker(line)[:, [31, 35]] == 255).all()
    assert thicker(line[..., :1]).shape == (64, 64, 1)
    folders = str(tmp_path / "a"), str(tmp_path / "b")
    data = Unaligned(*folders, load=8, crop=8, flip=False, before=thicker)
    darkness = [255 - side.float().mean(1)[0].min().item() for side in data[0]]
    assert darkness[0] == pytest.approx(3 * darkness[1], rel=0.2)
    with pytest.raises(UserError, match="3, 5, ..., not 4"):
        Thicker(size=4)
