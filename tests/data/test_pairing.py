"""Partners are laid over each other to a fraction of a pixel, or refused."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from i2i import images
from i2i.data.datasets import Paired
from i2i.data.pairing import aligned, homography, pair
from i2i.errors import UserError

Pixels = np.ndarray


def scenery(seed: int, height: int = 240, width: int = 320) -> Pixels:
    draw = np.random.Generator(np.random.PCG64(seed))
    pixels = cv2.resize(
        draw.integers(0, 256, (5, 6, 3)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    for _ in range(90):
        spot, colour = tuple(map(int, draw.uniform(0, (width, height)))), tuple(map(float, draw.integers(0, 256, 3)))
        if draw.random() < 0.5:
            cv2.circle(pixels, spot, int(draw.integers(2, 16)), colour, -1, cv2.LINE_AA)
        else:
            corner = (spot[0] + int(draw.integers(4, 30)), spot[1] + int(draw.integers(4, 30)))
            cv2.rectangle(pixels, spot, corner, colour, -1)
    return cv2.GaussianBlur(pixels.clip(0, 255), (0, 0), 0.8).astype(np.uint8)


def seen_from(pixels: Pixels, seed: int, size: tuple[int, int], far: float = 0.06) -> tuple[Pixels, np.ndarray]:
    """Another view: (height, width) in size, darker, with noise; and the homography that leads there."""
    draw = np.random.Generator(np.random.PCG64(seed))
    (height, width), (h, w) = pixels.shape[:2], size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    there = corners * [w / width, h / height] + draw.uniform(-far, far, (4, 2)) * [w, h]
    move = cv2.getPerspectiveTransform(corners, there.astype(np.float32))
    moved = cv2.warpPerspective(pixels, move, (w, h), borderMode=cv2.BORDER_REFLECT)
    return np.uint8((0.8 * moved + 15 + draw.normal(0, 3, moved.shape)).clip(0, 255)), move


def save(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("seed", range(4))
def test_a_view_is_found_to_half_a_pixel(seed: int) -> None:
    pixels = scenery(seed)
    other, true = seen_from(pixels, seed, (210, 300))
    move, correlation = homography(pixels, other)
    places = np.array([[[320 * x, 240 * y] for x in (0.2, 0.5, 0.8) for y in (0.2, 0.5, 0.8)]], np.float64)
    error = np.abs(cv2.perspectiveTransform(places, move) - cv2.perspectiveTransform(places, true.astype(np.float64)))
    assert error.max() < 0.5
    assert correlation > 0.8


def test_large_pictures_are_found_as_exactly() -> None:
    """They are compared at reduced size: middles of pixels must be kept apart from their corners."""
    pixels = scenery(8, 1200, 1600)
    other, true = seen_from(pixels, 8, (1100, 1700), far=0.03)
    move, _ = homography(pixels, other)
    places = np.array([[[1600 * x, 1200 * y] for x in (0.2, 0.5, 0.8) for y in (0.2, 0.5, 0.8)]], np.float64)
    error = np.abs(cv2.perspectiveTransform(places, move) - cv2.perspectiveTransform(places, true.astype(np.float64)))
    assert error.max() < 0.5


def test_a_moved_picture_has_no_border_and_lies_on_its_partner() -> None:
    pixels = scenery(1)
    other, _ = seen_from(pixels, 1, (240, 300))
    found = aligned(pixels, other, align="views")
    assert found.way == "B moved"
    assert found.a.shape == found.b.shape
    assert found.a.shape[0] * found.a.shape[1] > 0.6 * 240 * 320
    expected = 0.8 * found.a.astype(float) + 15
    assert np.abs(found.b - expected).mean() < 6
    assert np.abs(found.b[[0, -1]] - expected[[0, -1]]).mean() < 8  # at the edges, too


@pytest.mark.parametrize("seed", range(6))
def test_views_of_other_things_are_refused(seed: int) -> None:
    with pytest.raises(UserError, match="do not come together|share too little"):
        aligned(scenery(seed), scenery(100 + seed, 200, 320), align="views")


def test_sizes_decide_what_is_done() -> None:
    a, b = scenery(1), scenery(2)
    assert aligned(a, b).way == "as they are"
    assert np.array_equal(aligned(a, b).b, b)
    small = cv2.resize(a, (160, 120), interpolation=cv2.INTER_AREA)
    assert (aligned(a, small).way, aligned(a, small).a.shape) == ("A reduced", (120, 160, 3))
    assert (aligned(small, a).way, aligned(small, a).b.shape) == ("B reduced", (120, 160, 3))
    with pytest.raises(UserError, match="the two are 320x240 and 160x120; --align resize or views"):
        aligned(a, small, align="none")
    with pytest.raises(UserError, match="of other shapes"):
        aligned(a, small[:90], align="resize")


def test_folders_become_pairs_that_train(tmp_path: Path) -> None:
    for n in range(3):
        save(tmp_path / "a" / "train" / f"{n}.png", scenery(n))
        save(tmp_path / "b" / "train" / f"{n}.jpg", cv2.resize(255 - scenery(n), (160, 120)))
    save(tmp_path / "b" / "train" / "9.jpg", scenery(9))
    done, orphans = pair(tmp_path / "a", tmp_path / "b", tmp_path / "out")
    assert [(each.name, each.way) for each in done] == [(f"train/{n}", "A reduced") for n in range(3)]
    assert orphans == [tmp_path / "b/train/9.jpg"]
    assert images.read_head(tmp_path / "out/train/0.png")[:2] == (320, 120)
    assert len(Paired(str(tmp_path / "out" / "train"), load=32, crop=32)) == 3
    pair(tmp_path / "a", tmp_path / "b", tmp_path / "two", layout="folders")
    assert len(Paired(str(tmp_path / "two"), layout="folders", load=32, crop=32)) == 3


def test_gray_and_alpha_and_sixteen_bits_come_together(tmp_path: Path) -> None:
    pixels = scenery(1)
    save(tmp_path / "a" / "1.png", cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    save(tmp_path / "b" / "1.png", np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]))
    pair(tmp_path / "a", tmp_path / "b", tmp_path / "out")
    assert images.read(tmp_path / "out" / "1.png").pixels.shape == (240, 640, 3)
    cv2.imwrite(str(tmp_path / "a" / "1.png"), pixels[..., ::-1].astype(np.uint16) * 257)
    pair(tmp_path / "a", tmp_path / "b", tmp_path / "deep", overwrite=True)
    assert np.array_equal(images.read(tmp_path / "deep" / "1.png").pixels[:, :320], pixels)


def test_one_that_does_not_fit_stops_nothing(tmp_path: Path) -> None:
    for n in range(3):
        save(tmp_path / "a" / f"{n}.png", scenery(n))
        save(tmp_path / "b" / f"{n}.png", scenery(n) if n != 1 else scenery(50, 100, 320))
    done, _ = pair(tmp_path / "a", tmp_path / "b", tmp_path / "out")
    assert [bool(each.wrong) for each in done] == [False, True, False]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "2.png"]
    (tmp_path / "a" / "2.png").write_bytes(b"x")
    (tmp_path / "a" / "0.png").write_bytes(b"x")
    with pytest.raises(UserError, match="none of 3 pairs can be made; 0, for one: "):
        pair(tmp_path / "a", tmp_path / "b", tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(UserError, match="is there already"):
        pair(tmp_path / "b", tmp_path / "b", tmp_path / "out")


def test_inputs_stay_as_they_were(tmp_path: Path) -> None:
    save(tmp_path / "a" / "1.png", scenery(1))
    save(tmp_path / "b" / "1.png", scenery(1))
    before = {path: (path.read_bytes(), os.stat(path).st_mtime_ns) for path in tmp_path.rglob("*.png")}
    pair(tmp_path / "a", tmp_path / "b", tmp_path / "out")
    assert {path: (path.read_bytes(), os.stat(path).st_mtime_ns) for path in before} == before
