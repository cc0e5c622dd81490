"""Second-order degradations: kernels that keep brightness, JPEG like libjpeg's, the same pictures for the same seed."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from i2i.data import degrade
from i2i.data.degrade import Pass, SecondOrder, blurs, filtered, jpeg, quantum, sincs


def pictures(count: int = 2, height: int = 64, width: int = 48) -> Tensor:
    """Smooth pictures with an edge and some texture, in [-1,1]."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    made = torch.stack([torch.stack([x, y, (x * (7 + n)).sin().abs()]) for n in range(count)])
    made[:, :, height // 2 :, width // 3 :] *= 0.5
    return ((made * 255).round() / 255).mul(2).sub(1)


def test_kernels_keep_brightness_and_are_symmetric() -> None:
    torch.manual_seed(0)
    widths = degrade.sizes(200)
    assert set(widths.tolist()) == {7, 9, 11, 13, 15, 17, 19, 21}
    for kernels in (blurs(200, (0.2, 3.0), widths), sincs(torch.linspace(0.7, math.pi, 200), widths)):
        assert kernels.shape == (200, 21, 21)
        assert torch.allclose(kernels.sum((1, 2)), torch.ones(200), atol=1e-5)
        assert torch.allclose(kernels, kernels.flip(1, 2), atol=1e-6)
        for kernel, width in zip(kernels, widths.tolist(), strict=True):
            rim = (21 - width) // 2
            assert not kernel[:rim].any() and not kernel[:, :rim].any()


def test_a_round_gaussian_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(degrade, "KINDS", (1.0, 0, 0, 0, 0, 0))
    place = torch.arange(21) - 10.0
    line = torch.exp(-0.5 * (place / 2) ** 2)
    expected = line[:, None] * line / line.sum() ** 2
    assert torch.allclose(blurs(1, (2.0, 2.0), torch.tensor([21]))[0], expected, atol=1e-7)


def test_a_sinc_passes_low_frequencies_and_stops_high_ones() -> None:
    kernel = sincs(torch.tensor([math.pi / 2]), torch.tensor([21]))[0]
    spectrum = torch.fft.fft2(kernel, (64, 64)).abs()
    assert (spectrum[0, :8] - 1).abs().max() < 0.15  # up to a quarter of the band that is left
    assert spectrum[0, 24:32].max() < 0.15


def test_each_picture_is_filtered_by_its_own_kernel() -> None:
    x = torch.rand(2, 3, 24, 30)
    kernels = torch.zeros(2, 21, 21)
    kernels[0, 10, 10] = 1
    kernels[1, 10, 11] = 1
    made = filtered(x, kernels)
    assert torch.equal(made[0], x[0])
    assert torch.equal(made[1, :, :, :-1], x[1, :, :, 1:])
    assert filtered(torch.full((2, 3, 4, 5), 0.5), kernels).eq(0.5).all()  # smaller than a kernel


@pytest.mark.parametrize("quality", [30, 49, 50, 75, 95])
def test_jpeg_is_libjpegs(quality: int) -> None:
    x = (pictures(1, 64, 64) + 1) / 2
    file = io.BytesIO()
    Image.fromarray((x[0] * 255).round().byte().permute(1, 2, 0).numpy()).save(
        file, "JPEG", quality=quality, subsampling=2
    )
    theirs = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float()
    ours = jpeg(x, torch.tensor([float(quality)]))[0] * 255
    assert (ours - theirs).abs().mean() < 0.8  # of 255 levels; libjpeg computes in integers
    assert (ours - theirs).mean().abs() < 0.2


def test_jpeg_of_each_picture_has_its_own_quality_and_any_size() -> None:
    x = ((pictures(2, 37, 21) + 1) / 2)[:1].repeat(2, 1, 1, 1)
    made = jpeg(x, torch.tensor([10.0, 95.0]))
    assert made.shape == x.shape
    bad, good = (made - x).abs().mean((1, 2, 3))
    assert bad > 1.5 * good
    assert torch.equal(made[1:], jpeg(x[1:], torch.tensor([95.0])))


def test_poisson_noise_grows_with_light() -> None:
    torch.manual_seed(0)
    x = torch.zeros(1, 1, 64, 64)
    x[..., 32:] = 1.0
    noise = quantum(x)
    assert not noise[..., :32].any()
    assert abs(noise[..., 32:].std() - 2**-0.5) < 0.05  # two levels: two quanta for white


@pytest.mark.parametrize(("scale", "height", "width"), [(1, 64, 48), (4, 96, 96), (4, 32, 32), (8, 64, 64)])
def test_pictures_become_small_and_are_8_bit(scale: int, height: int, width: int) -> None:
    for seed in range(6):
        torch.manual_seed(seed)
        made = SecondOrder()(pictures(3, height, width), scale)
        assert made.shape == (3, 3, height // scale, width // scale)
        assert made.dtype == torch.float32
        assert made.min() >= 0 and made.max() <= 1
        assert torch.allclose(made * 255, (made * 255).round(), atol=1e-4)


def test_the_seed_decides_and_autocast_does_not() -> None:
    found = []
    for seed, half in ((1, False), (1, True), (2, False)):
        torch.manual_seed(seed)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            found.append(SecondOrder()(pictures(), 2))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_pictures_of_a_lane_differ_in_all_but_their_sizes() -> None:
    torch.manual_seed(0)
    same = pictures(1).repeat(4, 1, 1, 1)
    made = SecondOrder()(same, 2)
    assert all(not torch.equal(made[0], other) for other in made[1:])


def test_without_anything_it_is_nearly_a_reduction() -> None:
    none = Pass(blur=0, resize=(0, 0, 1), gaussian=1, noise=(0, 0), quality=(100, 100))
    large = pictures(1)
    small = SecondOrder(none, none, sinc=0)(large, 2)
    plain = torch.nn.functional.avg_pool2d((large + 1) / 2, 2)
    assert (small - plain).abs().mean() < 0.03
