"""Small pictures as bad as found ones: Real-ESRGAN's second-order degradations (Wang et al. 2021, Sec. 3.1 to 3.3,
arXiv:2107.10833).

Twice in a row a picture is blurred, resized, given noise and compressed as JPEG; at the end it is brought to the wanted
size and filtered by a sinc, before or after the last compression. All on the device, a lane at a time, with nothing
but what the global generators draw, which the trainer seeds from the clock for every lane.

Deviations: noise is Gaussian or Poisson for each picture, not for a batch. There is no pool of earlier pairs: the
factors of the resizings, which pictures of one tensor must share, vary from lane to lane. Large pictures are not
sharpened.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Pass", "SecondOrder", "blurs", "filtered", "jpeg", "sincs"]

SIZE = 21  # of all blur kernels; smaller ones are surrounded by zeros
SIZES = range(7, SIZE + 1, 2)
KINDS = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)  # Gaussian, generalized, plateau: round and elongated ones of each
MODES = ("area", "bilinear", "bicubic")

Between = tuple[float, float]


@dataclass(frozen=True)
class Pass:
    """One round of degradations; the defaults are those of the authors' first.

    Attributes:
        blur: probability of a blur.
        sinc: probability that the blur is a sinc.
        sigma: of the blurs, in pixels.
        resize: probabilities of enlarging, reducing, and neither.
        factor: the least and the largest of the resizing.
        gaussian: probability of Gaussian noise; the rest gets Poisson noise.
        noise: standard deviation of Gaussian noise, in levels of 255.
        poisson: scale of Poisson noise.
        gray: probability that noise is the same in all channels.
        quality: of JPEG.
    """

    blur: float = 1.0
    sinc: float = 0.1
    sigma: Between = (0.2, 3.0)
    resize: tuple[float, float, float] = (0.2, 0.7, 0.1)
    factor: Between = (0.15, 1.5)
    gaussian: float = 0.5
    noise: Between = (1.0, 30.0)
    poisson: Between = (0.05, 3.0)
    gray: float = 0.4
    quality: Between = (30.0, 95.0)


FIRST = Pass()
SECOND = Pass(
    blur=0.8, sigma=(0.2, 1.5), resize=(0.3, 0.4, 0.3), factor=(0.3, 1.2), noise=(1.0, 25.0), poisson=(0.05, 2.5)
)


@dataclass(frozen=True)
class SecondOrder:
    """Degrade pictures twice, and make them smaller.

    Attributes:
        first, second: the rounds.
        sinc: probability of the sinc at the end.
    """

    first: Pass = FIRST
    second: Pass = SECOND
    sinc: float = 0.8

    @torch.no_grad()
    def __call__(self, large: Tensor, scale: int) -> Tensor:
        """large: [N,3,H,W] in [-1,1] => [N,3,H/scale,W/scale] in [0,1], float32, multiples of 1/255."""
        with torch.autocast(large.device.type, enabled=False):
            size = large.shape[-2] // scale, large.shape[-1] // scale
            x = degraded((large.float() + 1) / 2, self.first, large.shape[-2:])
            x = jpeg(x, drawn(x, self.first.quality))
            x = degraded(x, self.second, size)
            ends = [lambda x: jpeg(x, drawn(x, self.second.quality)), lambda x: self.end(x, size)]
            for end in ends if likely(0.5) else reversed(ends):
                x = end(x)
            return (x.clamp(0, 1) * 255).round() / 255

    def end(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Brought to its size, and some pictures filtered by a sinc."""
        kernels = sincs(cutoffs(x, math.pi / 3), sizes(len(x)))
        return filtered(resized(x, size), some(kernels, self.sinc)).clamp(0, 1)


def degraded(x: Tensor, by: Pass, size: tuple[int, int] | torch.Size) -> Tensor:
    """x: [N,3,h,w] in [0,1], blurred, resized to about `size`, and given noise; what is left of a round is its JPEG."""
    widths = sizes(len(x))
    lowest = torch.where(widths < 13, math.pi / 3, math.pi / 5)
    kernels = torch.where(chosen(len(x), by.sinc), sincs(cutoffs(x, lowest), widths), blurs(len(x), by.sigma, widths))
    x = filtered(x, some(kernels, by.blur))
    draw = float(torch.rand(()))
    up, down, _ = by.resize
    least, most = (1.0, by.factor[1]) if draw < up else (by.factor[0], 1.0) if draw < up + down else (1.0, 1.0)
    factor = least + (most - least) * float(torch.rand(()))
    x = resized(x, (int(size[0] * factor), int(size[1] * factor))).clamp(0, 1)
    return noisy(x, by)


# --- what is drawn, on the CPU where nothing has to wait for it


def likely(chance: float) -> bool:
    return bool(torch.rand(()) < chance)


def chosen(count: int, chance: float) -> Tensor:
    """Some of `count` pictures: [count,1,1]."""
    return (torch.rand(count) < chance)[:, None, None]


def uniform(count: int, between: Between) -> Tensor:
    return between[0] + (between[1] - between[0]) * torch.rand(count)


def drawn(x: Tensor, between: Between) -> Tensor:
    """A value for each picture of x, on its device."""
    return uniform(len(x), between).to(x.device, non_blocking=True)


def sizes(count: int) -> Tensor:
    """The sides of blur kernels: [count]."""
    return torch.tensor(SIZES)[torch.randint(len(SIZES), (count,))]


def cutoffs(x: Tensor, lowest: Tensor | float) -> Tensor:
    """Where sincs cut off, in radians a pixel: [N]."""
    return lowest + (math.pi - lowest) * torch.rand(len(x))


def some(kernels: Tensor, chance: float) -> Tensor:
    """Some of the kernels; the others do nothing."""
    nothing = torch.zeros(SIZE, SIZE)
    nothing[SIZE // 2, SIZE // 2] = 1
    return torch.where(chosen(len(kernels), chance), kernels, nothing)


# --- blurs


def grid() -> tuple[Tensor, Tensor]:
    """The places in a kernel, from its middle: (y, x), [SIZE,SIZE] each."""
    places = torch.arange(SIZE, dtype=torch.float32) - SIZE // 2
    y, x = torch.meshgrid(places, places, indexing="ij")
    return y, x


def within(kernels: Tensor, widths: Tensor) -> Tensor:
    """Kernels cut to their sides, their sums 1."""
    y, x = grid()
    inside = torch.maximum(y.abs(), x.abs()) <= widths[:, None, None] // 2
    kernels = kernels * inside
    return kernels / kernels.sum((1, 2), keepdim=True)


def blurs(count: int, sigma: Between, widths: Tensor) -> Tensor:
    """Gaussian, generalized Gaussian and plateau-shaped kernels, round and elongated: [count,SIZE,SIZE], sums 1."""
    kind = torch.multinomial(torch.tensor(KINDS), count, replacement=True)[:, None, None]
    first, second = (uniform(count, sigma)[:, None, None] for _ in range(2))
    angle = uniform(count, (-math.pi, math.pi))[:, None, None]
    second = torch.where(kind % 2 == 0, first, second)
    y, x = grid()
    along, across = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    distance = (along / first) ** 2 + (across / second) ** 2
    # below 1 and above 1 as often, 0.5 to 4 and 1 to 2
    low = torch.rand(count)[:, None, None] < 0.5
    general = torch.where(low, uniform(count, (0.5, 1.0))[:, None, None], uniform(count, (1.0, 4.0))[:, None, None])
    flat = torch.where(low, 1.0, uniform(count, (1.0, 2.0))[:, None, None])
    power = torch.where(kind // 2 == 0, 1.0, torch.where(kind // 2 == 1, general, flat))
    distance = distance**power
    return within(torch.where(kind // 2 == 2, 1 / (1 + distance), torch.exp(-0.5 * distance)), widths)


def sincs(cutoff: Tensor, widths: Tensor) -> Tensor:
    """Ideal low-pass filters (Eq. 6), which ring: [N,SIZE,SIZE], sums 1. cutoff: [N], radians a pixel."""
    y, x = grid()
    radius = (y.square() + x.square()).sqrt().clamp_min(1e-6)
    cutoff = cutoff[:, None, None]
    return within(cutoff * torch.special.bessel_j1(cutoff * radius) / (2 * math.pi * radius), widths)


def filtered(x: Tensor, kernels: Tensor) -> Tensor:
    """x: [N,C,h,w], each picture by its own kernel [SIZE,SIZE], mirrored at the border."""
    count, channels, height, width = x.shape
    half = SIZE // 2
    padded = F.pad(x, (half,) * 4, "reflect" if min(height, width) > half else "replicate")
    weights = kernels.to(x.device, non_blocking=True).repeat_interleave(channels, 0)[:, None]
    made = F.conv2d(padded.reshape(1, count * channels, *padded.shape[2:]), weights, groups=count * channels)
    return made.reshape(x.shape)


# --- the rest


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """x brought to `size`, or one pixel, by one of the three ways."""
    mode = MODES[int(torch.randint(len(MODES), ()))]
    return F.interpolate(x, (max(1, size[0]), max(1, size[1])), mode=mode)


def noisy(x: Tensor, by: Pass) -> Tensor:
    """x: [N,3,h,w] in [0,1], with noise, in [0,1]."""
    gray, gaussian = (
        (torch.rand(len(x)) < chance).to(x.device, non_blocking=True)[:, None, None, None]
        for chance in (by.gray, by.gaussian)
    )
    normal, brightness = torch.randn_like(x), x.new_tensor([0.299, 0.587, 0.114])[:, None, None]
    normal = torch.where(gray, normal[:, :1], normal) * drawn(x, by.noise)[:, None, None, None] / 255
    shot = torch.where(gray, quantum((x * brightness).sum(1, keepdim=True)), quantum(x))
    shot = shot * drawn(x, by.poisson)[:, None, None, None]
    return (x + torch.where(gaussian, normal, shot)).clamp(0, 1)


def quantum(x: Tensor) -> Tensor:
    """Poisson noise for pictures in [0,1], as if a picture of few levels had been taken with few quanta of light."""
    levels = (x * 255).round().clamp(0, 255)
    seen = torch.zeros(len(x), 256, device=x.device).scatter_(1, levels.flatten(1).long(), 1.0).sum(1)
    quanta = (2 ** seen.log2().ceil())[:, None, None, None]
    return torch.poisson(levels / 255 * quanta) / quanta - levels / 255


LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99), (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99), *((99,) * 8,) * 4,
)  # fmt: skip
FROM_YCC = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def jpeg(x: Tensor, quality: Tensor) -> Tensor:
    """What JPEG (ITU-T T.81, Annex K; colour at half the size) leaves of pictures.

    Args:
        x: [N,3,h,w] in [0,1].
        quality: [N], 1 to 100, as libjpeg counts it.

    About a level from libjpeg's on average. kornia's JPEG rounds smoothly, for the sake of a gradient, and is twice as
    far from it.
    """
    height, width = x.shape[-2:]
    levels = F.pad((x * 255).round(), (0, -width % 16, 0, -height % 16), "replicate")
    change = torch.linalg.inv(torch.tensor(FROM_YCC, dtype=torch.float64)).to(x)
    ycc = torch.einsum("ij,njhw->nihw", change, levels).round()
    luma, chroma = ycc[:, :1] - 128, F.avg_pool2d(ycc[:, 1:], 2).round()
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None]
    luma, chroma = (
        coded(plane, ((plane.new_tensor(table) * percent + 50) / 100).floor().clamp(1, 255))
        for plane, table in ((luma, LUMA), (chroma, CHROMA))
    )
    ycc = torch.cat([luma + 128, F.interpolate(chroma, scale_factor=2, mode="bilinear")], 1)  # as libjpeg enlarges
    rgb = torch.einsum("ij,njhw->nihw", x.new_tensor(FROM_YCC), ycc)
    return (rgb.round().clamp(0, 255) / 255)[:, :, :height, :width]


def coded(planes: Tensor, tables: Tensor) -> Tensor:
    """planes: [N,C,h,w], multiples of 8, rounded in the frequencies of blocks of 8x8 to steps of `tables` [N,8,8]."""
    count, channels, height, width = planes.shape
    place = torch.arange(8, dtype=torch.float64)
    waves = torch.cos((2 * place + 1) * place[:, None] * math.pi / 16) / 2
    waves[0] /= math.sqrt(2)
    waves = waves.to(planes)
    blocks = planes.reshape(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    steps = tables[:, None, None, None]
    found = (waves @ blocks @ waves.T / steps).round() * steps
    return (waves.T @ found @ waves).round().transpose(3, 4).reshape(planes.shape)
