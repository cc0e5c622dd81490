"""What a folder of pictures is taken for."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from i2i.data.survey import Survey, related, survey
from i2i.errors import UserError
from i2i.images import Head, read, read_head


def drawn(width: int, height: int, seed: int, channels: int = 3) -> np.ndarray:
    """A picture of soft blots."""
    blots = np.random.default_rng(seed).integers(0, 256, (6, 6, channels)).astype(np.float32)
    pixels = cv2.resize(blots, (width, height), interpolation=cv2.INTER_CUBIC)
    return pixels.reshape(height, width, channels).clip(0, 255).astype(np.uint8)


def put(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def fill(folder: Path, count: int, *, first: int = 0, size: tuple[int, int] = (48, 48), channels: int = 3) -> None:
    for index in range(count):
        put(folder / f"{index}.png", drawn(*size, first + index, channels))


def pairs(folder: Path, count: int) -> None:
    """Pairs side by side: blots, and the same in other colours."""
    for index in range(count):
        left = drawn(48, 48, index)
        put(folder / f"{index}.png", np.hstack([left, 255 - left // 2]))


def test_pairs_side_by_side_and_their_split(tmp_path: Path) -> None:
    pairs(tmp_path / "train", 6)
    pairs(tmp_path / "val", 2)
    found = survey(str(tmp_path))
    assert (found.kind, found.count, found.sides[0].folder) == ("halves", 6, tmp_path / "train")
    assert found.sides[0].sizes() == "48x48"
    assert found.counts == {"train": {"": 6}, "val": {"": 2}}
    assert not found.remarks
    assert "6 pairs side by side" in found.lines()[0]
    assert "2 in val" in found.lines()[2]


def test_double_wide_pictures_whose_halves_are_unrelated_are_doubted(tmp_path: Path) -> None:
    fill(tmp_path, 6, size=(96, 48))
    found = survey(str(tmp_path))
    assert found.kind == "halves"
    assert "unrelated" in found.remarks[0]


@pytest.mark.parametrize("layout", ["A/train", "trainA", "train/A", "A"])
def test_pairs_in_two_folders(layout: str, tmp_path: Path) -> None:
    for index in range(5):
        left = drawn(48, 40, index)
        put(tmp_path / layout / f"{index}.png", left)
        put(tmp_path / layout.replace("A", "B") / f"{index}.png", 255 - left)
    found = survey(str(tmp_path))
    assert (found.kind, [side.name for side in found.sides]) == ("couples", ["A", "B"])
    assert [side.folder for side in found.sides] == [tmp_path / layout, tmp_path / layout.replace("A", "B")]


def test_equal_names_make_no_pairs_of_what_is_unrelated(tmp_path: Path) -> None:
    fill(tmp_path / "trainA", 5)
    fill(tmp_path / "trainB", 5, first=100)
    fill(tmp_path / "testA", 2)
    found = survey(str(tmp_path))
    assert found.kind == "domains"
    assert "unrelated" in found.remarks[0]
    assert found.tests == tmp_path / "testA"


def test_two_folders_of_any_name(tmp_path: Path) -> None:
    fill(tmp_path / "horses", 3)
    for index in range(4):
        put(tmp_path / "zebras" / f"z{index}.png", drawn(60, 40, index, 1))
    found = survey(str(tmp_path))
    assert (found.kind, [side.name for side in found.sides]) == ("domains", ["horses", "zebras"])
    assert [side.channels for side in found.sides] == [3, 1]
    assert [side.count for side in found.sides] == [3, 4]


def test_large_and_small_under_equal_names_are_for_super_resolution(tmp_path: Path) -> None:
    fill(tmp_path / "HR", 3, size=(96, 64))
    fill(tmp_path / "LR", 3, size=(24, 16))
    found = survey(str(tmp_path))
    assert found.kind == "domains"
    assert "HR are 4 times as large as LR" in found.remarks[0]
    assert str(tmp_path / "HR") in found.remarks[0]


def test_one_folder_of_mixed_pictures_says_what_they_are_and_leaves_out_what_is_of_no_use(tmp_path: Path) -> None:
    for index, size in enumerate([(40, 30), (200, 100), (64, 64)]):
        put(tmp_path / f"{index}.png", drawn(*size, index, (1, 3, 4)[index]))
    put(tmp_path / "deep.png", drawn(50, 60, 9).astype(np.uint16) * 257)
    put(tmp_path / "dot.png", np.zeros((1, 1, 3), np.uint8))
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "nothing.png").touch()
    whole = cv2.imencode(".jpg", drawn(200, 200, 1))[1].tobytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])  # its head is as it should be
    (tmp_path / "astray.png").symlink_to("nowhere.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = survey(str(tmp_path))
    assert (found.kind, found.count) == ("singles", 4)
    assert {path.name for path in found.unusable} == {"dot.png", "text.jpg", "nothing.png", "cut.jpg"}
    side = found.sides[0]
    assert side.sizes() == "40x30 to 200x100, the median 64x64"
    assert side.kinds() == "colour (1 gray, 1 with alpha, 1 of 16 bits)"
    assert side.shorter == [30, 50, 64, 100]


def test_a_partner_that_is_missing_or_of_another_size_is_left_out(tmp_path: Path) -> None:
    for index in range(6):
        left = drawn(48, 48, index)
        put(tmp_path / "A" / f"{index}.png", left)
        put(tmp_path / "B" / f"{index}.png", left if index else left[:40])
    put(tmp_path / "A" / "alone.png", drawn(48, 48, 77))
    found = survey(str(tmp_path))
    assert (found.kind, [side.count for side in found.sides]) == ("couples", [5, 5])
    assert {path.relative_to(tmp_path).as_posix() for path in found.unusable} == {"A/0.png", "B/0.png", "A/alone.png"}


def test_pictures_beside_a_folder_test_are_one_set_with_it(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    fill(tmp_path / "test", 2)
    found = survey(str(tmp_path))
    assert (found.kind, found.count, found.sides[0].folder) == ("singles", 5, tmp_path)


def test_of_several_folders_two_can_be_named(tmp_path: Path) -> None:
    for name in ("cats", "dogs", "owls"):
        fill(tmp_path / name, 2)
    assert "cats, dogs, owls" in refused(tmp_path)
    assert [side.name for side in survey(str(tmp_path), a="owls", b="cats").sides] == ["owls", "cats"]
    assert survey(str(tmp_path), a="dogs").kind == "singles"
    assert survey(str(tmp_path), together=True).count == 6
    with pytest.raises(UserError, match="'birds' is none of"):
        survey(str(tmp_path), a="cats", b="birds")


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        survey(str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folders_that_are_of_no_use_are_one_sentence(tmp_path: Path) -> None:
    assert "there is no file or folder" in refused(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    assert "holds no pictures" in refused(tmp_path / "empty")
    put(tmp_path / "one" / "1.png", drawn(20, 20, 0))
    assert "is a file" in refused(tmp_path / "one" / "1.png")
    fill(tmp_path / "half" / "trainA", 2)
    (tmp_path / "half" / "trainB").mkdir()
    assert refused(tmp_path / "half").endswith(f"put pictures of the other kind in {tmp_path / 'half' / 'trainB'}")
    fill(tmp_path / "h" / "horses", 2)
    (tmp_path / "h" / "zebras").mkdir()
    assert "zebras holds no pictures" in refused(tmp_path / "h")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_text("no picture")
    assert "nothing in" in refused(tmp_path / "bad")
    put(tmp_path / "dots" / "1.png", np.zeros((1, 1, 3), np.uint8))
    assert "1x1 pixels are too few" in refused(tmp_path / "dots")
    fill(tmp_path / "loose" / "cats", 2)
    fill(tmp_path / "loose", 1)
    assert "2 sets of pictures (., cats)" in refused(tmp_path / "loose")


def test_related_tells_what_is_in_its_place_from_what_is_not() -> None:
    pictures = [drawn(80, 60, seed).astype(np.float32).mean(axis=2) for seed in range(8)]
    assert related((picture, 255 - 0.3 * picture) for picture in pictures)
    assert not related(zip(pictures, pictures[1:] + pictures[:1], strict=True))
    assert not related([(np.zeros((9, 9), np.float32), np.zeros((9, 9), np.float32))])


def test_a_head_says_what_reading_gives(tmp_path: Path) -> None:
    draw = drawn(30, 20, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(draw).save(tmp_path / "turned.jpg", exif=exif)
    Image.fromarray(draw[..., 0]).save(tmp_path / "gray.png")
    Image.fromarray(draw).convert("P").save(tmp_path / "palette.gif", transparency=0)
    Image.fromarray(draw).convert("CMYK").save(tmp_path / "print.tif")
    Image.fromarray(draw[..., :2]).save(tmp_path / "la.png")
    put(tmp_path / "deep.png", draw.astype(np.uint16) * 257)
    put(tmp_path / "deep_gray.tif", draw[..., :1].astype(np.uint16) * 257)
    assert read_head(tmp_path / "turned.jpg") == Head(20, 30, 3, False)
    for path in sorted(tmp_path.iterdir()):
        picture = read(path)
        height, width = picture.pixels.shape[:2]
        channels = (1 if picture.pixels.ndim == 2 else 3) + (picture.alpha is not None)
        assert read_head(path) == Head(width, height, channels, picture.deep), path.name


def test_many_files_are_looked_at_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, 30)
    monkeypatch.setattr("i2i.data.survey.CHECKED", 10)
    said: list[str] = []
    found: Survey = survey(str(tmp_path), tell=said.append)
    assert (found.count, len(found.sides[0].heads), found.sides[0].complete) == (30, 10, False)
    assert said == ["looking at 10 of 30 pictures"]
    assert "(of 10 looked at)" in found.lines()[1]
