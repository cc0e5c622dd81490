"""How near a drawn picture is to the wanted one, by super-resolution's protocol or the plain one; float64 throughout.

Super-resolution's protocol: both pictures in 8 bits (what is drawn is rounded to them), the luma of ITU-R BT.601 in
16..235, as many pixels of each border left out as the enlargement, a peak of 255. The plain one: red, green and blue
as they are, the whole picture. SSIM is Wang et al. 2004 with the 11x11 Gaussian of sigma 1.5, K 0.01 and 0.03, over
windows that lie in the picture, without reduction; SRGAN's tables have another. MS-SSIM is Wang et al. 2003 with the
same windows at five scales. `pairs.py` has them by name.

`hue_rmse` and `chroma` are about colours alone, a and b of CIE L*a*b* (`i2i.images.cielab`), as colouring is measured.

Three more figures are of one picture: `gradient` and `sharpness` tell a blurred picture from a sharp one, `grid` finds
the pattern that strided layers leave.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from i2i.images.cielab import lab

__all__ = [
    "SCALES",
    "chroma",
    "gradient",
    "grid",
    "hue_rmse",
    "luma",
    "ms_ssim",
    "pattern",
    "psnr",
    "rmse",
    "sharpness",
    "smallest",
    "ssim",
]

Pixels = NDArray[np.uint8]
"""[H,W], [H,W,1] or [H,W,3] RGB."""
Plane = NDArray[np.float64]

PEAK = 255.0
WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # exponents of MS-SSIM, the finest scale's first
NEIGHBOURS = 8  # bins to each side with which `grid` compares a frequency


def luma(pixels: Pixels) -> Plane:
    """Y of ITU-R BT.601, [H,W] in 16..235 and not rounded; gray counts as equal red, green and blue."""
    given = colours(pixels)
    weights = np.array([65.481, 128.553, 24.966]) / PEAK
    return 16.0 + given.astype(np.float64) @ (weights if given.shape[2] == 3 else weights.sum(keepdims=True))


def psnr(drawn: Pixels, wanted: Pixels, *, shave: int = 0, rgb: bool = False) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal pictures.

    Args:
        shave: pixels left out at each border; by custom the enlargement.
        rgb: compare all channels as they are instead of the luma; gray counts as equal red, green and blue.

    Raises ValueError for pictures of different sizes, or too small.
    """
    ours, theirs = planes(drawn, wanted, shave, rgb)
    error = np.mean((ours - theirs) ** 2)
    return float(10 * np.log10(PEAK**2 / error)) if error else float("inf")


def rmse(drawn: Pixels, wanted: Pixels, *, shave: int = 0) -> float:
    """Root of the mean squared difference of red, green and blue, in levels of 8 bits; errors as of `psnr`."""
    ours, theirs = planes(drawn, wanted, shave, rgb=True)
    return float(np.sqrt(np.mean((ours - theirs) ** 2)))


def hue_rmse(drawn: Pixels, wanted: Pixels) -> float:
    """Root of the mean squared difference of a and b of CIE L*a*b*, whatever the lightness; errors as of `psnr`."""
    planes(drawn, wanted, 0, rgb=True)
    apart = lab(colours(drawn))[..., 1:].astype(np.float64) - lab(colours(wanted))[..., 1:]
    return float(np.sqrt(np.mean(apart**2)))


def chroma(pixels: Pixels) -> float:
    """Mean distance of the colours from gray, in a and b of CIE L*a*b*."""
    found = lab(colours(pixels))[..., 1:].astype(np.float64)
    return float(np.hypot(found[..., 0], found[..., 1]).mean())


def ssim(drawn: Pixels, wanted: Pixels, *, shave: int = 0, rgb: bool = False) -> float:
    """Structural similarity, 1 for equal pictures; arguments and errors as of `psnr`. In RGB the channels' mean."""
    luminance, structure = similarity(*planes(drawn, wanted, shave, rgb, scales=1))
    return float(np.mean(luminance * structure))


def ms_ssim(drawn: Pixels, wanted: Pixels, *, shave: int = 0, rgb: bool = False) -> float:
    """Multi-scale structural similarity, 1 for equal pictures; arguments and errors as of `psnr`.

    The structure of five scales and the luminance of the coarsest, each to its exponent; what is below 0 counts as 0.
    From scale to scale blocks of 2x2 pixels are averaged, the last row and column of an odd side with themselves. In
    RGB the mean of the channels' figures.
    """
    ours, theirs = planes(drawn, wanted, shave, rgb, scales=len(SCALES))
    product: Any = 1.0
    for scale, exponent in enumerate(SCALES, start=1):
        luminance, structure = similarity(ours, theirs)
        found = structure if scale < len(SCALES) else luminance * structure
        product = product * np.maximum(found.mean((0, 1)), 0) ** exponent
        ours, theirs = halved(ours), halved(theirs)
    return float(np.mean(product))


def gradient(pixels: Pixels) -> float:
    """Mean gradient magnitude of the gray picture, in levels per pixel. pixels: [H,W,3]."""
    gray = pixels.astype(np.float64) @ (0.299, 0.587, 0.114)
    down, right = np.diff(gray, axis=0)[:, :-1], np.diff(gray, axis=1)[:-1]
    return float(np.hypot(down, right).mean())


def sharpness(pixels: Pixels) -> float:
    """Energy of the luma in the top octave: from a quarter of the sampling rate to half of it, in any direction."""
    energy, down, across = spectrum(luma(pixels))
    radius = np.hypot(down[:, None], across)
    return float(energy[(radius >= 0.25) & (radius <= 0.5)].sum() / energy.size)


def grid(pixels: Pixels, step: int) -> float:
    """How far the luma's spectrum stands out where a pattern that repeats every `step` pixels would: checkerboards.

    The largest ratio of the energy at such a frequency to the median of its neighbours; about 1 without a pattern.
    Where a picture is smooth, one far too faint to be seen reaches tens: see `pattern`.
    """
    energy, places = repeating(pixels, step)
    height, width = energy.shape
    found = 0.0
    for y, x in places:
        # along an axis the spectra of pictures of upright things have a ridge: only its own bins are neighbours
        rows = np.arange(y - NEIGHBOURS, y + NEIGHBOURS + 1) % height if y else np.zeros(1, np.int64)
        columns = np.arange(x - NEIGHBOURS, x + NEIGHBOURS + 1) % width if x else np.zeros(1, np.int64)
        around = np.median(energy[np.ix_(rows, columns)])
        found = max(found, float(energy[y, x] / around) if around else 0.0)
    return found


def pattern(pixels: Pixels, step: int) -> float:
    """The amplitude, in grey levels of the luma, of the strongest wave that repeats every `step` pixels."""
    energy, places = repeating(pixels, step)
    return max(float(np.sqrt(energy[y, x])) * 2 / (energy.size * np.hanning(1001).mean() ** 2) for y, x in places)


def repeating(pixels: Pixels, step: int) -> tuple[Plane, list[tuple[int, int]]]:
    """The luma's energy, and where in it a pattern is that repeats every `step` pixels."""
    plane = luma(pixels)
    height, width = (side // step * step for side in plane.shape)  # so that the frequencies fall upon bins
    energy, *_ = spectrum(plane[:height, :width])
    places = [(y, x) for y in range(0, height, height // step) for x in range(0, width, width // step)]
    return energy, places[1:]


def planes(drawn: Pixels, wanted: Pixels, shave: int, rgb: bool, *, scales: int = 0) -> tuple[Plane, Plane]:
    """Both pictures as they are compared: [H,W], or [H,W,C] with `rgb`; `scales` at which SSIM's window must fit."""
    if drawn.shape[:2] != wanted.shape[:2]:
        sizes = " and ".join(f"{shape[1]}x{shape[0]}" for shape in (drawn.shape, wanted.shape))
        raise ValueError(f"pictures of {sizes} pixels cannot be compared")
    least = smallest(scales)
    if min(drawn.shape[:2]) - 2 * shave < least:
        less = f", less {shave} at each edge" if shave else ""
        at = f" at {scales} scales" if scales > 1 else ""
        need = f": the window of {WINDOW}x{WINDOW} pixels{at} needs {least} in height and width" if scales else ""
        raise ValueError(f"{drawn.shape[1]}x{drawn.shape[0]} pixels are too few{less}{need}")
    inner = np.s_[shave : drawn.shape[0] - shave, shave : drawn.shape[1] - shave]
    as_compared = [(colours(pixels).astype(np.float64) if rgb else luma(pixels))[inner] for pixels in (drawn, wanted)]
    ours, theirs = np.broadcast_arrays(*as_compared)
    return ours, theirs


def smallest(scales: int) -> int:
    """Pixels that a side must have for SSIM's window to fit at so many scales; 1 without a window (0 scales)."""
    return 2 ** (scales - 1) * (WINDOW - 1) + 1 if scales else 1


def colours(pixels: Pixels) -> Pixels:
    """[H,W,1] or [H,W,3]. Raises TypeError, ValueError for what is no picture of 8 bits."""
    if pixels.dtype != np.uint8:
        raise TypeError(f"pictures are compared in 8 bits, not {pixels.dtype}")
    colours = pixels[..., None] if pixels.ndim == 2 else pixels
    if colours.ndim != 3 or colours.shape[2] not in (1, 3):
        raise ValueError(f"gray or RGB pictures are compared, not an array of shape {pixels.shape}")
    return colours


def similarity(ours: Plane, theirs: Plane) -> tuple[Plane, Plane]:
    """The factors of SSIM in every window: of the means, and of contrast and structure."""
    mean_ours, mean_theirs = windowed(ours), windowed(theirs)
    square, product = mean_ours**2 + mean_theirs**2, mean_ours * mean_theirs
    spread = windowed(ours**2 + theirs**2) - square
    together = windowed(ours * theirs) - product
    return (2 * product + C1) / (square + C1), (2 * together + C2) / (spread + C2)


def halved(plane: Plane) -> Plane:
    """Means of blocks of 2x2; the last row and column of an odd side count twice."""
    height, width = plane.shape[:2]
    even = np.pad(plane, [(0, height % 2), (0, width % 2)] + [(0, 0)] * (plane.ndim - 2), mode="edge")
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4


def windowed(values: Any) -> Plane:
    """Gaussian means of every window that lies in the picture."""
    places = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(places**2) / (2 * SIGMA**2))
    weights /= weights.sum()
    half = WINDOW // 2
    return np.asarray(cv2.sepFilter2D(values, cv2.CV_64F, weights, weights), np.float64)[half:-half, half:-half]


def spectrum(plane: Plane) -> tuple[Plane, Plane, Plane]:
    """Energy [H,W] of the plane without its mean under a Hann window, and the frequencies of rows and columns."""
    height, width = plane.shape
    window = np.outer(np.hanning(height), np.hanning(width))
    energy = np.abs(np.fft.fft2((plane - plane.mean()) * window)).astype(np.float64) ** 2
    return energy, np.fft.fftfreq(height).astype(np.float64), np.fft.fftfreq(width).astype(np.float64)
