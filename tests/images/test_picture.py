"""Alpha without fringes, and resizing by pieces."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from i2i import images
from i2i.images import Resampler, filled, premultiplied, resampled, settled, unpremultiplied


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_premultiplied_comes_back(dtype: type) -> None:
    top = np.iinfo(dtype).max
    rng = np.random.default_rng(0)
    pixels, alpha = (rng.integers(0, top + 1, shape).astype(dtype) for shape in ((40, 30, 3), (40, 30)))
    back = unpremultiplied(premultiplied(pixels, alpha), alpha)
    off = np.abs(back.astype(float) - pixels)
    assert (off <= 0.5 * top / np.maximum(alpha, 1)[..., None] + 0.5)[alpha > 0].all()  # half a level of the product
    assert np.array_equal(premultiplied(pixels, np.full_like(alpha, top)), pixels)
    assert (unpremultiplied(pixels, np.zeros_like(alpha)) == 0).all()
    assert premultiplied(pixels[..., 0], alpha).shape == (40, 30)


def logo(dtype: type, hidden: int) -> tuple[np.ndarray, np.ndarray]:
    """A red disc with soft edges; what is under full transparency is black or white."""
    top = np.iinfo(dtype).max
    rows, columns = np.mgrid[:37, :53]
    cover = np.clip(13 - np.hypot(rows - 18, columns - 20), 0, 1)
    pixels = np.empty((37, 53, 3), dtype)
    pixels[:] = (top, top // 8, 0)
    pixels[cover == 0] = hidden * top
    return pixels, np.rint(cover * top).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("hidden", [0, 1])
def test_hidden_colours_come_from_the_neighbourhood(dtype: type, hidden: int) -> None:
    pixels, alpha = logo(dtype, hidden)
    made = filled(pixels, alpha)
    assert np.abs(made.astype(int) - np.array(made[18, 20], int)).max() <= 1  # red all over
    shown = alpha >= np.iinfo(dtype).max // 16 + 1
    assert np.array_equal(made[shown], pixels[shown])
    gray = filled(pixels[..., 0], alpha)
    assert np.array_equal(gray, made[..., 0])


def test_filling_takes_any_size_and_cover() -> None:
    for height, width in ((1, 1), (1, 9), (7, 1), (5, 8)):
        pixels = np.full((height, width, 3), 90, np.uint8)
        assert filled(pixels, np.zeros((height, width), np.uint8)) is pixels  # nothing to take it from
        alpha = np.zeros((height, width), np.uint8)
        alpha[0, 0] = 255
        assert (filled(pixels, alpha) == 90).all()
    opaque = np.full((5, 8), 255, np.uint8)
    assert filled(pixels, opaque) is pixels


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_what_is_flat_is_settled_and_edges_are_left(scale: int) -> None:
    alpha = np.zeros((12, 16), np.uint8)
    alpha[:, 8:] = 255
    large = np.kron(alpha, np.ones((scale, scale), np.uint8)).astype(int)
    noisy = np.clip(large + np.random.default_rng(0).integers(-3, 4, large.shape), 0, 255).astype(np.uint8)
    made = settled(noisy, alpha)
    assert np.array_equal(made[:, : 7 * scale], large[:, : 7 * scale])
    assert np.array_equal(made[:, 9 * scale :], large[:, 9 * scale :])
    edge = slice(7 * scale, 9 * scale)
    assert np.array_equal(made[:, edge], noisy[:, edge])
    pieces = [settled(noisy[top : top + 5], alpha, top=top, height=len(noisy)) for top in range(0, len(noisy), 5)]
    assert np.array_equal(np.concatenate(pieces), made)


def test_transparent_colours_leave_no_fringe_when_resampled() -> None:
    pixels, alpha = logo(np.uint8, 0)
    small = resampled(np.dstack([pixels, alpha]), 20, 14)
    shown = small[..., 3] > 40
    assert (small[..., 0][shown] >= 250).all() and small.shape == (14, 20, 4)
    plain = images.resampled(pixels, 20, 14)
    assert plain[..., 0][shown].min() < 200  # without alpha, black is drawn in


def test_resampling_is_pillows_and_keeps_16_bits() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 30, 3)).astype(np.uint8)
    wanted = Image.fromarray(pixels).resize((17, 23), Image.Resampling.BICUBIC)
    assert np.array_equal(resampled(pixels, 17, 23), np.asarray(wanted))
    deep = pixels.astype(np.uint16) * 257
    assert np.abs(resampled(deep, 17, 23) / 257 - np.asarray(wanted)).max() <= 1
    assert resampled(pixels[..., 0], 17, 23).shape == (23, 17)


@pytest.mark.parametrize("wanted", [(30, 25), (45, 90), (7, 5), (30, 60), (1, 1), (200, 143)])
@pytest.mark.parametrize("channels", [0, 1, 3, 4])
def test_pieces_are_resampled_to_what_the_whole_is(wanted: tuple[int, int], channels: int) -> None:
    rng = np.random.default_rng(0)
    shape = (60, 30, channels) if channels else (60, 30)
    for dtype in (np.uint8, np.uint16):
        values = rng.integers(0, np.iinfo(dtype).max, shape).astype(dtype)
        resampler = Resampler((30, 60), wanted)
        pieces = [made for top in range(0, 60, 7) for made in resampler.feed(values[top : top + 7])]
        whole = resampled(values, *wanted)
        made = np.concatenate(pieces)
        assert made.shape == whole.shape
        assert np.abs(made.astype(int) - whole).max() <= 1
