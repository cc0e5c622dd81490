"""The sets that are drawn: the same pixels for the same seed, aerials that fit their maps, discs their squares."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from i2i.data.survey import survey

ROOT = Path(__file__).resolve().parents[2]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_script", ROOT / "datasets" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def maps() -> ModuleType:
    return script("street_maps")


@pytest.fixture(scope="module")
def shapes() -> ModuleType:
    return script("shapes2shapes")


def test_pairs_are_those_of_their_seed_and_quick(maps: ModuleType) -> None:
    begun = time.process_time()
    first = list(maps.pairs(64, side=64, seed=3))
    assert time.process_time() - begun < 4
    again = list(maps.pairs(10, side=64, seed=3))
    for (one, other), (same, as_well) in zip(first, again, strict=False):
        assert np.array_equal(one, same) and np.array_equal(other, as_well)
        assert one.shape == other.shape == (64, 64, 3)
    assert not np.array_equal(next(maps.pairs(1, side=64, seed=4))[0], first[0][0])
    assert not np.array_equal(next(maps.pairs(1, side=64, seed=3, split=1))[0], first[0][0])
    with pytest.raises(ValueError, match="100 does not divide"):
        next(maps.pairs(1, side=100))


def test_what_lies_where_is_the_same_in_both(maps: ModuleType) -> None:
    """Water is blue on the map and dark on the photograph; roads are white on the one and gray on the other."""
    tiles = list(maps.pairs(12, side=256, seed=0))
    seen = dict.fromkeys(("water", "road", "park"), 0)
    for aerial, drawn in tiles:
        for name, colour in (("water", maps.WATER), ("road", maps.ROAD), ("park", maps.PARK)):
            there = np.abs(drawn.astype(int) - colour).max(-1) < 4
            if there.sum() < 300:
                continue
            mean = aerial[there].astype(float).mean(0)
            seen[name] += 1
            if name == "water":
                assert mean[2] > mean[0] + 10 and mean.mean() < 90
            elif name == "road":
                assert np.ptp(mean) < 25 and 85 < mean.mean() < 150
            else:
                assert mean[1] > mean[2] + 8
    assert min(seen.values()) >= 2


def test_the_scripts_write_folders_that_train(tmp_path: Path) -> None:
    for name, more in (
        ("street_maps", ["--pairs", "6", "--val", "2"]),
        ("shapes2shapes", ["--train", "5", "--test", "2"]),
    ):
        command = [sys.executable, str(ROOT / "datasets" / f"{name}.py"), str(tmp_path / name), "--side", "64", *more]
        subprocess.run(command, check=True, capture_output=True)
    assert survey(str(tmp_path / "shapes2shapes")).kind == "domains"
    assert {path.name for path in (tmp_path / "street_maps").iterdir()} == {"train", "val"}
    assert survey(str(tmp_path / "street_maps")).kind == "halves"


def test_shapes_have_one_partner_that_is_known(shapes: ModuleType) -> None:
    begun = time.process_time()
    for number in range(60):
        scene = shapes.scene(0, shapes.TEST, number)
        a, b = shapes.discs(scene, 64), shapes.squares(scene, 64)
        discs = (a[..., 0].astype(int) - a[..., 2]) > 60
        squares = (b[..., 2].astype(int) - b[..., 0]) > 40
        assert abs(int(discs.sum()) - int(squares.sum())) < 0.2 * discs.sum() + 12  # of the same areas
        middle = [np.argwhere(mask).mean(0) for mask in (discs, squares)]
        assert np.abs(middle[0] - middle[1]).max() < 1.5
    assert time.process_time() - begun < 2
    assert shapes.scene(0, 0, 1) == shapes.scene(0, 0, 1) != shapes.scene(0, 1, 1)
