"""Bicubic reduction on the device, to the bit as the LR images of Set5, Set14 and BSD100 were made."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = ["EDGES", "Edges", "reduce"]

Edges = Literal["replicate", "symmetric"]
EDGES = ("replicate", "symmetric")


def reduce(images: Tensor, scale: int, *, edges: Edges = "replicate") -> Tensor:
    """Make images `scale` times smaller: a vertical antialiased bicubic pass (a = -0.5), round to 8 bits, a horizontal
    one, round.

    Args:
        images: [N,C,H,W] in [-1,1], from 8-bit pictures; H and W multiples of `scale`.
        edges: "replicate" repeats the outermost pixels, as the test sets were made; "symmetric" mirrors at the border,
            as MATLAB does today.

    Returns [N,C,H/scale,W/scale] in [0,1], float32: multiples of 1/255.

    Raises ValueError for sizes that are no multiple, and for scales below 1.
    """
    if scale < 1 or images.shape[-2] % scale or images.shape[-1] % scale:
        height, width = images.shape[-2:]
        raise ValueError(f"pictures of {width}x{height} pixels cannot be made {scale} times smaller")
    levels = ((images.float() + 1) * 127.5).round()
    for axis in (-2, -1):
        levels = reduce_axis(levels, scale, axis, edges).add(0.5).floor().clamp(0, 255)
    return levels / 255


def reduce_axis(levels: Tensor, scale: int, axis: int, edges: Edges) -> Tensor:
    """One pass along `axis`: 4 * scale taps, one fewer where the scale is odd and the outermost would be 0."""
    weights = taps(scale)
    size, reach = levels.shape[axis], (len(weights) - scale) // 2
    at = torch.arange(-reach, size + reach)
    if edges == "symmetric":
        at = at.remainder(2 * size)
        at = torch.minimum(at, 2 * size - 1 - at)
    padded = levels.index_select(axis, at.clamp(0, size - 1).to(levels.device))
    made = torch.zeros_like(levels.narrow(axis, 0, size // scale))
    for offset, weight in enumerate(weights):  # no matrix product: TF32 and autocast would round it
        places = torch.arange(offset, offset + size, scale, device=levels.device)
        made += weight * padded.index_select(axis, places)
    return made


def taps(scale: int) -> list[float]:
    """The weights of one output pixel: Keys' cubic, a = -0.5, stretched by the scale; their sum is 1.

    Dyadic for scales that are powers of two, so that float32 sums of 8-bit levels are exact.
    """
    count = 4 * scale - scale % 2
    places = [abs(tap - (count - 1) / 2) / scale for tap in range(count)]
    weights = [1.5 * x**3 - 2.5 * x**2 + 1 if x < 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 for x in places]
    return [weight / sum(weights) for weight in weights]
