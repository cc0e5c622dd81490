"""PSNR and SSIM by the field's protocol, with its published figures; and the two figures of spectra."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from i2i.errors import UserError
from i2i.metrics.fidelity import SCALES, gradient, grid, luma, ms_ssim, pattern, psnr, rmse, sharpness, ssim
from i2i.metrics.pairs import PAIRED, pair_metric

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
    with pytest.raises(ValueError, match="20x18 pixels are too few, less 4 at each edge: .* 11x11 .* needs 11"):
        ssim(noise(18, 20), noise(18, 20), shave=4)
    with pytest.raises(ValueError, match="200x160 .* too few: the window of 11x11 pixels at 5 scales needs 161"):
        ms_ssim(noise(160, 200), noise(160, 200))
    with pytest.raises(TypeError, match="in 8 bits, not float64"):
        luma(noise(3, 3).astype(np.float64))
    with pytest.raises(ValueError, match="gray or RGB"):
        luma(noise(3, 3, 4))
    with pytest.raises(ValueError, match="gray or RGB"):
        psnr(noise(3, 3, 4), noise(3, 3, 4), rgb=True)


def drawn_and_wanted(height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A noisy picture and the true one, from whole numbers alone."""
    down, across, channel = np.indices((height, width, 3))
    real = np.abs((3 * down + 2 * across + 40 * channel) % 510 - 255)
    other = (31 * down**2 + 17 * across**2 + 13 * down * across + 7 * channel) % 61 - 30
    return np.clip(real + other, 0, 255).astype(np.uint8), real.astype(np.uint8)


def test_figures_are_those_of_other_programs() -> None:
    """scikit-image 0.26 (Gaussian window, no sample covariance) and pytorch-msssim 1.0 with a window in float64."""
    fake, real = drawn_and_wanted(176, 192)
    assert psnr(fake, real, rgb=True) == pytest.approx(23.42387620991204, rel=1e-12)
    assert ssim(fake, real, rgb=True) == pytest.approx(0.28667043044542606, rel=1e-11)
    assert rmse(fake, real) == pytest.approx(17.192790450700315, rel=1e-12)
    assert ms_ssim(fake, real, rgb=True) == pytest.approx(0.8757210221687806, rel=1e-12)


@pytest.mark.parametrize("size", [(161, 161), (170, 203)])
def test_ms_ssim_is_its_definition_on_odd_sides(size: tuple[int, int]) -> None:
    """Wang's own program: an averaging filter of 2x2 over the mirrored picture, then every other pixel."""
    x, y = (luma(pixels) for pixels in drawn_and_wanted(*size))
    places = np.arange(11) - 5
    weights = np.exp(-(places**2) / (2 * 1.5**2))
    window = np.outer(weights, weights) / weights.sum() ** 2

    def means(plane: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.einsum("ijkl,kl->ij", np.lib.stride_tricks.sliding_window_view(plane, (11, 11)), window)

    expected = 1.0
    for scale, exponent in enumerate(SCALES):
        mx, my = means(x), means(y)
        vx, vy, both = means(x * x) - mx**2, means(y * y) - my**2, means(x * y) - mx * my
        found = (2 * both + 7.65**2) / (vx + vy + 7.65**2)
        if scale == 4:
            assert min(x.shape) >= 11
            found = found * (2 * mx * my + 2.55**2) / (mx**2 + my**2 + 2.55**2)
        expected *= found.mean() ** exponent
        x, y = (np.pad(plane, ((0, 1), (0, 1)), mode="symmetric") for plane in (x, y))
        x, y = ((p[:-1, :-1] + p[1:, :-1] + p[:-1, 1:] + p[1:, 1:])[::2, ::2] / 4 for p in (x, y))
    assert ms_ssim(*drawn_and_wanted(*size)) == pytest.approx(expected, rel=1e-10)
    assert sum(SCALES) == pytest.approx(1, abs=2e-4)


def test_ms_ssim_of_equal_and_of_opposite_pictures() -> None:
    fake, real = drawn_and_wanted(161, 180)
    assert ms_ssim(real, real) == ms_ssim(real, real, rgb=True) == pytest.approx(1)
    assert ms_ssim(255 - real, real) == 0  # what is against the structure is no more than 0, and never NaN
    assert ms_ssim(fake, real) < ms_ssim(real // 2 + fake // 2, real) < 1


def test_gray_counts_as_equal_red_green_and_blue() -> None:
    gray, colour = noise(20, 20), noise(20, 20, 3, seed=1)
    three = np.repeat(gray[..., None], 3, axis=2)
    for measure in (psnr, ssim):
        assert measure(gray, colour, rgb=True) == measure(three, colour, rgb=True)
    assert rmse(colour, gray) == rmse(colour, three)
    assert ssim(gray, gray[::-1], rgb=True) == pytest.approx(ssim(three, three[::-1], rgb=True), rel=1e-12)


def test_the_protocol_is_part_of_the_name() -> None:
    assert [str(pair_metric(name)) for name in PAIRED] == ["psnr (RGB)", "ssim (RGB)", "ms-ssim (RGB)", "rmse (RGB)"]
    shaved = [str(pair_metric(name, luma=True, shave=4)) for name in PAIRED]
    assert shaved == ["psnr (Y, shave 4)", "ssim (Y, shave 4)", "ms-ssim (Y, shave 4)", "rmse (RGB, shave 4)"]
    fake, real = drawn_and_wanted(176, 192)
    assert pair_metric("psnr", luma=True, shave=4).measure(fake, real) == psnr(fake, real, shave=4)
    assert pair_metric("ssim").measure(fake, real) == ssim(fake, real, rgb=True)
    assert pair_metric("ms-ssim", luma=True).measure(fake, real) == ms_ssim(fake, real)
    assert pair_metric("rmse").measure(fake, real) == rmse(fake, real)
    assert {pair_metric(name).better for name in PAIRED} == {"higher", "lower"}
    with pytest.raises(UserError, match="no figure of pairs is called 'mse'; there are psnr, ssim, ms-ssim, rmse"):
        pair_metric("mse")


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("shave", [0, 3])
def test_the_least_side_is_enough_and_one_less_is_not(name: str, shave: int) -> None:
    metric = pair_metric(name, shave=shave)
    assert np.isfinite(metric.measure(*drawn_and_wanted(metric.least, metric.least + 5)))
    with pytest.raises(ValueError, match="too few"):
        metric.measure(*drawn_and_wanted(metric.least - 1, metric.least + 5))


def test_the_rmse_of_a_set_is_that_of_all_its_pixels() -> None:
    (fake, real), metric = drawn_and_wanted(20, 30), pair_metric("rmse")
    each = [metric.measure(fake, real), metric.measure(fake // 2, real)]
    assert metric.pool(each) == pytest.approx(rmse(np.concatenate([fake, fake // 2]), np.concatenate([real, real])))
    assert pair_metric("psnr").pool([20, 30]) == 25


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


def test_the_gradient_of_a_ramp_is_its_slope() -> None:
    ramp = np.repeat(np.tile(np.arange(0, 96, 3, dtype=np.uint8), (32, 1))[..., None], 3, axis=2)
    assert gradient(ramp) == pytest.approx(3)


def test_a_pattern_is_told_in_levels() -> None:
    x = np.arange(64)
    wave = 128 + 20 * np.cos(2 * np.pi * x / 4)[None, :] + np.zeros((64, 1))
    gray = np.rint(wave).astype(np.uint8)
    assert pattern(gray, 4) == pytest.approx(20 * 219 / 255, rel=0.03)  # luma spans 219 levels of 255
    assert pattern(np.full((64, 64, 3), 99, np.uint8), 4) == pytest.approx(0, abs=1e-9)
