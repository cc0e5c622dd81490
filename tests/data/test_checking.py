"""What `i2i data check` says is true, of planted faults and of data sets without any."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from i2i.data.checking import check
from i2i.data.likeness import alike, candidates, fingerprint
from i2i.data.packing import pack
from i2i.errors import UserError

DATA = Path(os.environ.get("I2I_DATA", "nowhere"))
Pixels = np.ndarray


def scenery(seed: int, height: int = 96, width: int = 128) -> Pixels:
    """[H,W,3] with shapes, slopes and a little noise: no two seeds look alike."""
    draw = np.random.Generator(np.random.PCG64(seed))
    coarse = draw.integers(0, 256, (4, 5, 3)).astype(np.float32)
    pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255)
    for _ in range(14):
        spot = tuple(map(int, draw.uniform(0, (width, height))))
        cv2.circle(pixels, spot, int(draw.integers(3, 14)), tuple(map(float, draw.integers(0, 256, 3))), -1)
    return np.uint8((pixels + draw.normal(0, 3, pixels.shape)).clip(0, 255))


def save(path: Path, pixels: Pixels, **more: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **more)


def names(paths: object) -> list[str]:
    return sorted(Path(path).as_posix() for path in paths)  # type: ignore[attr-defined]


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for n in range(8):
        save(root / "train" / f"{n}.png", scenery(n))
    for n in range(4):
        save(root / "test" / f"{n}.png", scenery(100 + n))
    return root


def test_a_sound_set_has_no_problems(sound: Path) -> None:
    found = check(str(sound))
    assert found.problems == 0
    assert found.kind == "singles"
    assert {key: len(files) for key, files in found.files.items()} == {("train", ""): 8, ("test", ""): 4}
    assert "8 pictures, 128x96, colour" in found.lines()[1]


def test_damaged_empty_and_cut_files_are_named(sound: Path) -> None:
    (sound / "train" / "empty.png").write_bytes(b"")
    (sound / "train" / "text.jpg").write_text("no picture")
    data = (sound / "train" / "0.png").read_bytes()
    (sound / "test" / "cut.png").write_bytes(data[: len(data) // 2])
    found = check(str(sound))
    assert names(found.damaged) == names([sound / "test/cut.png", sound / "train/empty.png", sound / "train/text.jpg"])
    assert found.damaged[sound / "train/empty.png"] == "the file is empty"
    assert found.problems == 3


def test_files_that_are_there_twice_are_named_within_and_across_splits(sound: Path) -> None:
    (sound / "train" / "again.png").write_bytes((sound / "train" / "3.png").read_bytes())
    (sound / "test" / "leaked.png").write_bytes((sound / "train" / "5.png").read_bytes())
    found = check(str(sound))
    within = names([sound / "train/3.png", sound / "train/again.png"])
    across = names([sound / "train/5.png", sound / "test/leaked.png"])
    assert [names(group) for group in found.twice] == [within, across]
    assert not found.leaks  # of equal bytes: said once


def jpeg(pixels: Pixels) -> Pixels:
    return cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "jpeg": jpeg,
    "half": lambda pixels: cv2.resize(pixels, (64, 48), interpolation=cv2.INTER_AREA),
    "twice": lambda pixels: cv2.resize(pixels, (256, 192), interpolation=cv2.INTER_CUBIC),
    "darker": lambda pixels: np.uint8(0.75 * pixels),
    "brighter": lambda pixels: np.uint8(np.minimum(pixels.astype(int) + 12, 255)),
    "gray": lambda pixels: cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY),
    "noise": lambda pixels: np.uint8(
        (pixels + np.random.Generator(np.random.PCG64(0)).normal(0, 8, pixels.shape)).clip(0, 255)
    ),
    "mirrored": lambda pixels: np.ascontiguousarray(pixels[:, ::-1]),
    "cropped": lambda pixels: pixels[2:-1, 2:-2],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_picture_that_leaked_into_the_tests_is_found(change: str, sound: Path) -> None:
    save(sound / "test" / "leaked.png", CHANGES[change](scenery(5)))
    (found,) = check(str(sound)).leaks
    assert names([found.first, found.second]) == names([sound / "train/5.png", sound / "test/leaked.png"])
    assert found.mirrored == (change == "mirrored")


def test_leaked_pairs_are_found_by_either_half(tmp_path: Path) -> None:
    """The edge between the halves would make all pairs alike, were they compared whole."""
    root = tmp_path / "pairs"

    def pair(seed: int, other: int) -> Pixels:
        outlines = cv2.Canny(scenery(other), 60, 160)
        return np.hstack([scenery(seed) // 3, 255 - np.repeat(outlines[..., None] // 3, 3, 2)])

    for n in range(12):
        save(root / "train" / f"{n}.png", pair(n, n))
        save(root / "val" / f"{n}.png", pair(50 + n, 50 + n))
    assert check(str(root)).kind == "halves"
    assert not check(str(root)).leaks
    save(root / "val" / "whole.jpg", pair(3, 3), quality=60)
    save(root / "val" / "left.png", pair(7, 70))
    leaks = {found.second.stem: found for found in check(str(root)).leaks}
    assert {name: (found.first.stem, found.part) for name, found in leaks.items()} == {
        "whole": ("3", ""), "left": ("7", "left"),
    }  # fmt: skip
    save(root / "train" / "odd.png", scenery(200, 96, 257))
    found = check(str(root))
    assert found.sizes == {root / "train/odd.png": "is 257 pixels wide: not two halves"}


def test_orphans_and_partners_of_another_size_are_named(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for n in range(9):
        save(root / "A" / f"{n}.png", scenery(n))
        save(root / "B" / f"{n}.jpg", 255 - scenery(n))
    save(root / "A" / "alone.png", scenery(30))
    save(root / "B" / "lonely.jpg", scenery(31))
    save(root / "B" / "4.jpg", 255 - scenery(4, 48, 64))
    found = check(str(root))
    assert found.kind == "couples"
    assert names(found.orphans) == names([root / "A/alone.png", root / "B/lonely.jpg"])
    assert found.sizes == {root / "A/4.png": "is 128x96, and its partner 64x48"}
    assert found.problems == 3


def test_sets_without_pairs_have_no_orphans(tmp_path: Path) -> None:
    root = tmp_path / "horses"
    for n in range(6):
        save(root / "trainA" / f"{n}.png", scenery(n))
        save(root / "trainB" / f"{n + 2}.png", scenery(60 + n))
    found = check(str(root))
    assert (found.kind, found.problems) == ("domains", 0)


def test_small_and_large_pictures_of_one_name_are_partners(tmp_path: Path) -> None:
    for n in range(5):
        save(tmp_path / "x4" / "HR" / f"{n}.png", scenery(n))
        save(tmp_path / "x4" / "LR" / f"{n}.png", scenery(n, 24, 32))
    save(tmp_path / "x4" / "HR" / "9.png", scenery(9))
    save(tmp_path / "x4" / "LR" / "3.png", scenery(3, 48, 64))
    found = check(str(tmp_path / "x4"))
    assert found.orphans == [tmp_path / "x4/HR/9.png"]
    assert list(found.sizes) == [tmp_path / "x4/HR/3.png"]


def test_portraits_that_lie_on_their_side_are_told_by_the_other_split(tmp_path: Path) -> None:
    for n in range(4):
        save(tmp_path / "s" / "train" / f"{n}.png", scenery(n))
        save(tmp_path / "s" / "test" / f"{n}.png", scenery(20 + n, 128, 96) if n % 2 else scenery(20 + n))
    (remark,) = check(str(tmp_path / "s")).remarks
    assert remark == (
        "all 4 pictures of train are 128x96, and 2 of 4 in test are 96x128: what should stand upright in train lies on "
        "its side, and no EXIF tag says so"
    )


def test_shards_are_checked_as_their_folder(sound: Path, tmp_path: Path) -> None:
    (sound / "test" / "leaked.png").write_bytes((sound / "train" / "5.png").read_bytes())
    (sound / "train" / "bad.png").write_bytes(b"x")
    pack(sound, tmp_path / "shards")
    loose, inside = check(str(sound)).facts(), check(str(tmp_path / "shards")).facts()
    assert inside | {"folder": ""} == loose | {"folder": ""}
    assert inside["problems"] == 2


def test_what_cannot_be_checked_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no pictures"):
        check(str(tmp_path / "empty"))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "1.png").write_bytes(b"x")
    with pytest.raises(UserError, match="none of the pictures can be read"):
        check(str(tmp_path / "bad"))
    with pytest.raises(UserError, match="is a file; name the folder"):
        check(str(tmp_path / "bad" / "1.png"))


def test_ten_thousand_pictures_have_few_candidates() -> None:
    """What is compared pixel by pixel stays a handful, and not all pairs of the two sides."""
    draw = np.random.Generator(np.random.PCG64(0))
    mine = [fingerprint(pixels) for pixels in draw.integers(0, 256, (400, 8, 8), np.uint8)]
    prints = [each for _ in range(20) for each in (np.roll(mine, draw.integers(100), 1))]
    near = candidates(prints[:8000], [fingerprint(each) for each in draw.integers(0, 256, (2000, 8, 8), np.uint8)])
    assert sum(1 for _ in near) < 1000


def test_flat_pictures_and_other_colours_are_not_taken_for_one() -> None:
    flat = [np.full((64, 64, 3), value, np.uint8) for value in (40, 41, 200)]
    assert not list(candidates([fingerprint(flat[0])], [fingerprint(flat[2])]))
    red, blue = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64, 3), np.uint8)
    cv2.circle(red, (30, 34), 12, (200, 60, 60), -1)
    cv2.circle(blue, (30, 34), 12, (40, 100, 220), -1)
    assert list(candidates([fingerprint(red)], [fingerprint(blue)]))
    assert not alike(red, blue)
    assert alike(red, red)


@pytest.mark.skipif(not (DATA / "bsds500" / "train").is_dir(), reason="no bsds500 under I2I_DATA")
@pytest.mark.slow
def test_bsds500_is_told_truly() -> None:
    found = check(str(DATA / "bsds500"))
    assert found.problems == 0
    assert {key[0]: len(files) for key, files in found.files.items()} == {"train": 200, "test": 200}
    (remark,) = found.remarks
    assert remark.startswith(
        "all 200 pictures of train are 481x321, and 66 of 200 in test are 321x481: what should stand"
    )
    assert remark.endswith("and no EXIF tag says so")


@pytest.mark.skipif(not (DATA / "maps" / "train").is_dir(), reason="no maps under I2I_DATA")
@pytest.mark.slow
def test_maps_is_told_truly() -> None:
    found = check(str(DATA / "maps"))
    assert (found.kind, found.problems, list(found.remarks)) == ("halves", 0, [])
    counts = {each["split"]: (each["count"], each["sizes"]) for each in found.facts()["files"]}
    assert counts == {"train": (500, {"1200x600": 500}), "val": (100, {"1200x600": 100})}
