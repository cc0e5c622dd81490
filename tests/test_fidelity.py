"""PSNR and SSIM by the field's protocol, with its published figures; and the two figures of spectra."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from i2i.metrics.fidelity import grid, luma, psnr, sharpness, ssim

SETS = Path(os.environ.get("I2I_DATA", "../shared/data")) / "sr"


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_luma_is_that_of_bt_601() -> None:
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert luma(colours)[0] == pytest.approx([16, 235, 81.481, 144.553, 40.966])
    gray = noise(4, 5)
    assert luma(gray) == pytest.approx(luma(np.repeat(gray[..., None], 3, axis=2)))
    assert luma(gray) == pytest.approx(luma(gray[..., None]))


def test_psnr_of_known_errors() -> None:
    wanted = noise(12, 12, 3) // 2
    assert psnr(wanted, wanted) == float("inf")
    assert psnr(wanted + np.uint8(1), wanted, rgb=True) == pytest.approx(20 * np.log10(255))
    assert psnr(wanted + np.uint8(1), wanted) == pytest.approx(20 * np.log10(255 / (219 / 255)))
    framed = wanted.copy()
    framed[:2] = framed[-2:] = 255
    assert psnr(framed, wanted) < 20
    assert psnr(framed, wanted, shave=2) == float("inf")


def test_ssim_is_its_definition_window_by_window() -> None:
    ours, theirs = noise(14, 13), noise(14, 13, seed=1)
    places = np.arange(11) - 5
    weights = np.exp(-(places**2) / (2 * 1.5**2))
    weights = np.outer(weights, weights) / weights.sum() ** 2
    found = []
    for top in range(4):
        for left in range(3):
            x, y = (luma(pixels)[top : top + 11, left : left + 11] for pixels in (ours, theirs))
            mx, my = (weights * x).sum(), (weights * y).sum()
            vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
            both = (weights * (x - mx) * (y - my)).sum()
            c1, c2 = 2.55**2, 7.65**2
            found.append((2 * mx * my + c1) * (2 * both + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    assert ssim(ours, theirs) == pytest.approx(np.mean(found), rel=1e-12)
    assert ssim(ours, ours) == pytest.approx(1)
    colours = noise(14, 13, 3)
    assert ssim(colours, colours, rgb=True) == pytest.approx(1)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="of 4x5 and 4x6 pixels"):
        psnr(noise(5, 4), noise(6, 4))
    with pytest.raises(ValueError, match="20x18 pixels are too few, less 4 at each edge"):
        ssim(noise(18, 20), noise(18, 20), shave=4)
    with pytest.raises(TypeError, match="in 8 bits, not float64"):
        luma(noise(3, 3).astype(np.float64))
    with pytest.raises(ValueError, match="gray or RGB"):
        luma(noise(3, 3, 4))


@pytest.mark.skipif(not SETS.is_dir(), reason="Set5 and Set14 are not here")
@pytest.mark.parametrize(("name", "dB", "similarity"), [("Set5", 28.43, 0.811), ("Set14", 26.09, 0.705)])
def test_pillows_bicubic_scores_what_is_published(name: str, dB: float, similarity: float) -> None:
    ratios, indices = [], []
    for file in sorted((SETS / name / "x4" / "HR").glob("*.png")):
        with Image.open(file) as original, Image.open(SETS / name / "x4" / "LR" / file.name) as small:
            drawn = np.asarray(small.resize(original.size, Image.Resampling.BICUBIC))
            wanted = np.asarray(original)
        ratios.append(psnr(drawn, wanted, shave=4))
        indices.append(ssim(drawn, wanted, shave=4))
    assert np.mean(ratios) == pytest.approx(dB, abs=0.005)
    assert np.mean(indices) == pytest.approx(similarity, abs=0.0005)


def test_sharpness_is_energy_above_a_quarter_of_the_sampling_rate() -> None:
    across = np.arange(128)

    def wave(frequency: float) -> NDArray[np.uint8]:
        return np.tile(np.rint(127 + 50 * np.sin(2 * np.pi * frequency * across)).astype(np.uint8), (128, 1))

    assert sharpness(wave(0.4)) > 1000 * sharpness(wave(0.1))
    assert sharpness(wave(0.4)) == pytest.approx(sharpness(wave(0.3)), rel=0.05)


def test_a_grid_stands_out() -> None:
    picture = np.asarray(Image.fromarray(noise(24, 24)).resize((192, 192), Image.Resampling.BICUBIC))
    down, across = np.indices(picture.shape)
    dotted = (picture // 2 + 2 * ((down % 4 == 0) & (across % 4 == 0))).astype(np.uint8)
    assert grid(picture, 4) < 10 < 100 < grid(dotted, 4)
