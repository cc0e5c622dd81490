"""benchmarks/maps.py: its figures, on images whose figures are known."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def maps() -> ModuleType:
    spec = importlib.util.spec_from_file_location("maps_benchmark", ROOT / "benchmarks" / "maps.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def flat(colour: tuple[int, int, int], side: int = 8) -> np.ndarray:
    return np.full((side, side, 3), colour, np.uint8)


def test_the_truth_scores_full(maps: ModuleType) -> None:
    truth = [flat(colour) for colour in maps.PALETTE.values()]
    scores = maps.score_maps(truth, truth)
    assert (scores["rmse"], scores["within5"], scores["miou"]) == (0, 1, 1)
    assert {f"iou_{name}" for name in maps.PALETTE} <= set(scores)


def test_classes_that_occur_in_neither_are_left_out(maps: ModuleType) -> None:
    road, water = maps.PALETTE["road"], maps.PALETTE["water"]
    scores = maps.score_maps([flat(road), flat(road)], [flat(road), flat(water)])
    assert scores["iou_road"] == 0.5  # 64 of 128
    assert scores["iou_water"] == 0
    assert scores["miou"] == 0.25
    assert "iou_park" not in scores


def test_the_confusion_is_pooled_over_images(maps: ModuleType) -> None:
    road, park = maps.PALETTE["road"], maps.PALETTE["park"]
    mixed = flat(road)
    mixed[:2] = park  # 16 park, 48 road
    scores = maps.score_maps([flat(road), flat(park)], [mixed, flat(park)])
    assert scores["iou_road"] == pytest.approx(48 / 64)
    assert scores["iou_park"] == pytest.approx(64 / 80)  # the mean over images would be (0 + 1) / 2


def test_rmse_and_nearness(maps: ModuleType) -> None:
    truth = flat((100, 100, 100))
    ours = truth.copy()
    ours[..., 1] += 5
    ours[:4, :, 2] -= 6
    scores = maps.score_maps([ours], [truth])
    assert scores["rmse"] == pytest.approx(((25 + 36 / 2) / 3) ** 0.5)
    assert scores["within5"] == 0.5


def test_numbers_of_images_must_agree(maps: ModuleType) -> None:
    with pytest.raises(ValueError, match="1 predicted and 2 true"):
        maps.score_maps([flat((0, 0, 0))], [flat((0, 0, 0))] * 2)


def test_gradient_of_a_ramp_is_its_slope(maps: ModuleType) -> None:
    ramp = np.repeat(np.tile(np.arange(0, 96, 3, dtype=np.uint8), (32, 1))[..., None], 3, axis=2)
    assert maps.gradient([ramp]) == pytest.approx(3)
    assert maps.gradient([ramp, flat((9, 9, 9), 32)]) == pytest.approx(1.5)


def test_halves_are_cut_and_resized(maps: ModuleType, tmp_path: Path) -> None:
    both = Image.new("RGB", (1200, 600), maps.PALETTE["park"])
    both.paste(Image.new("RGB", (600, 600), maps.PALETTE["road"]), (600, 0))
    both.save(tmp_path / "1.png")
    aerials, streets = maps.pairs(tmp_path)
    assert np.array_equal(aerials[0], flat(maps.PALETTE["park"], 256))
    assert np.array_equal(streets[0], flat(maps.PALETTE["road"], 256))


def test_the_command_prints_the_rows_that_are_no_translation(maps: ModuleType, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(3):
        colours = np.array(list(maps.PALETTE.values()), np.uint8)[rng.integers(0, 5, (4, 8))]
        Image.fromarray(colours).resize((600, 300), Image.Resampling.NEAREST).save(tmp_path / f"{number}.png")
    run = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "maps.py"), "--data", str(tmp_path), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = {row["row"]: row for row in map(json.loads, run.stdout.splitlines())}
    assert list(rows) == ["a constant image", "another map", "the truth blurred"]
    assert rows["the truth blurred"]["miou"] > 0.7 > rows["another map"]["miou"]
