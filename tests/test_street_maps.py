"""datasets/street_maps.py draws the maps that ship."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = sorted((ROOT / "i2i" / "zoo" / "samples" / "street_maps").glob("*.png"))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("street_maps_script", ROOT / "datasets" / "street_maps.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_six_small_maps_ship(script: ModuleType) -> None:
    assert {path.stem for path in SHIPPED} == {place.__name__ for place in script.PLACES}
    assert len(SHIPPED) == 6
    for path in SHIPPED:
        assert path.stat().st_size < 60 * 1024
        with Image.open(path) as picture:
            assert picture.size == (512, 512)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_script_draws_what_ships(script: ModuleType, path: Path) -> None:
    """Up to the 64 colours of the files, and up to rounding on another processor or OpenCV."""
    number = [place.__name__ for place in script.PLACES].index(path.stem)
    drawn = script.street_map(number).astype(int)
    with Image.open(path) as picture:
        shipped = np.asarray(picture.convert("RGB")).astype(int)
    difference = np.abs(drawn - shipped).max(-1)
    assert difference.mean() < 1.5
    assert (difference > 24).mean() < 0.01


def test_drawing_twice_gives_the_same_pixels(script: ModuleType) -> None:
    first, second = (script.street_map(4, side=128) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, script.street_map(0, side=128))


def test_colours_and_shares_are_those_of_street_maps(script: ModuleType) -> None:
    """Nine of ten maps of the data set have .01 to .15 of roads."""
    for path in SHIPPED:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        shares = {
            name: (np.abs(pixels - getattr(script, name)).max(-1) < 8).mean()
            for name in ("GROUND", "BUILDING", "ROAD", "PARK", "WATER", "HIGHWAY")
        }
        assert shares["GROUND"] > 0.15
        assert 0.03 < shares["ROAD"] < 0.16
        assert shares["BUILDING"] > 0.03
        assert sum(shares.values()) > 0.6
