"""CIE L*a*b* and back: a picture that is coloured keeps its lightness, and gray stays gray."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from i2i.images import cielab
from i2i.images.cielab import coloured, from_lab, lab, lightness

KNOWN = {  # sRGB in 8 bits -> L, a, b under D65
    (255, 255, 255): (100, 0, 0),
    (0, 0, 0): (0, 0, 0),
    (255, 0, 0): (53.24, 80.09, 67.20),
    (0, 255, 0): (87.73, -86.18, 83.18),
    (0, 0, 255): (32.30, 79.19, -107.86),
    (119, 119, 119): (50.03, 0, 0),
}


def noise(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    draw = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return draw.random(shape).astype(dtype)
    return draw.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


@pytest.mark.parametrize(("rgb", "wanted"), KNOWN.items())
def test_known_colours(rgb: tuple[int, ...], wanted: tuple[float, ...]) -> None:
    for dtype, scale in ((np.uint8, 1), (np.uint16, 257), (np.float32, 1 / 255)):
        found = lab((np.array([[rgb]], np.float64) * scale).astype(dtype))[0, 0]
        assert np.abs(found - wanted).max() < 0.05, dtype


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_there_and_back(dtype: Any) -> None:
    pixels = noise(40, 30, 3, dtype=dtype)
    back = coloured(lab(pixels)[..., 1:], pixels)
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    assert back.dtype == dtype
    assert np.abs(back.astype(np.float64) - pixels).max() <= (0 if dtype == np.uint8 else 2e-4 * top)
    assert np.abs(from_lab(lab(pixels)) - pixels / np.float32(top)).max() < 2e-4


@pytest.mark.parametrize(("dtype", "limit"), [(np.uint8, 0.26), (np.uint16, 2e-3), (np.float32, 0.12)])
@pytest.mark.parametrize("shape", [(50, 40), (50, 40, 1), (50, 40, 3)])
def test_the_lightness_stays_whatever_the_chroma(dtype: Any, limit: float, shape: tuple[int, ...]) -> None:
    """To the rounding of the type: most of these colours are none that sRGB has."""
    source = noise(*shape, dtype=dtype)
    chroma = np.random.default_rng(1).uniform(-110, 110, (50, 40, 2)).astype(np.float32)
    made = coloured(chroma, source)
    assert made.shape == (50, 40, 3) and made.dtype == dtype
    assert np.abs(lightness(made) - lightness(source)).max() < max(limit, 0.12)
    found = lab(made)[..., 1:]
    turned = np.abs(np.angle(np.exp(1j * (np.arctan2(*found.T) - np.arctan2(*chroma.T)))))
    assert np.median(turned) < 0.02  # radians of hue


def test_gray_without_chroma_is_gray() -> None:
    for dtype, limit in ((np.uint8, 0), (np.uint16, 2)):
        gray = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(16, -1)
        made = coloured(np.zeros((*gray.shape, 2), np.float32), gray)
        assert np.abs(made.astype(int) - gray[..., None]).max() <= limit
        assert np.ptp(made.astype(int), axis=2).max() <= limit / 2
        assert not lab(gray)[..., 1:].any()


def test_it_is_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    source, chroma = noise(37, 20, 3), np.random.default_rng(1).uniform(-90, 90, (37, 20, 2)).astype(np.float32)
    whole = coloured(chroma, source)
    monkeypatch.setattr(cielab, "BLOCK", 100)
    assert np.array_equal(coloured(chroma, source), whole)
