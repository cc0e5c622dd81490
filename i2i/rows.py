"""Which rows of its input a layer needs for some rows of its output, and how it makes just those."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.layers import conv2d

__all__ = ["Convolution", "Enlarged", "Layer", "Padding", "Pointwise", "Rows", "Shuffled", "Transposed"]

Rows = tuple[int, int]
"""(first, after the last)"""


class Layer(Protocol):
    """A layer that needs only some rows of its input for some rows of its output."""

    def height(self, given: int) -> int:
        """Rows of the output for `given` rows of input."""

    def needs(self, rows: Rows, given: int) -> Rows:
        """The rows of the input, `given` in all, that the rows of the output are made from."""

    def run(self, band: Tensor, have: Rows, rows: Rows, given: int) -> Tensor:
        """`rows` of the output from `band` [1,C,h,W], which holds the rows `have` = needs(rows) of the input."""


@dataclass(frozen=True)
class Pointwise:
    """A layer that looks at one pixel."""

    function: Callable[[Tensor], Tensor]

    def height(self, given: int) -> int:
        return given

    def needs(self, rows: Rows, given: int) -> Rows:
        return rows

    def run(self, band: Tensor, have: Rows, rows: Rows, given: int) -> Tensor:
        return self.function(band)


@dataclass(frozen=True)
class Padding:
    """Reflection, replication or zero padding by (left, right, top, bottom)."""

    mode: str  # as torch.nn.functional.pad has it
    sides: tuple[int, int, int, int]

    def height(self, given: int) -> int:
        return given + self.sides[2] + self.sides[3]

    def source(self, row: int, given: int) -> int:
        """The row of the input behind row `row` counted from the input's first, or the column likewise."""
        if self.mode == "reflect":
            row = abs(row)
            return row if row < given else 2 * (given - 1) - row
        return min(max(row, 0), given - 1)

    def needs(self, rows: Rows, given: int) -> Rows:
        first, last = rows[0] - self.sides[2], rows[1] - self.sides[2]
        ends = [self.source(row, given) for row in (first, last - 1)]
        return min(max(0, min(first, given - 1)), *ends), max(min(last, given), *(end + 1 for end in ends))

    def run(self, band: Tensor, have: Rows, rows: Rows, given: int) -> Tensor:
        left, right, top, _ = self.sides
        above, below = max(0, min(rows[1], top) - rows[0]), max(0, rows[1] - max(rows[0], top + given))
        first, last = rows[0] - top, rows[1] - top
        start, stop = min(max(first, 0), given), max(0, min(last, given))
        inside = band[:, :, start - have[0] : max(start, stop) - have[0]]
        if self.mode == "constant":
            return F.pad(inside, (left, right, above, below))
        # slices, not F.pad: it goes through another layout, and is slow
        outside = [[self.source(row, given) for row in range(first, first + above)],
                   [self.source(row, given) for row in range(last - below, last)]]  # fmt: skip
        edges, over = ([band[:, :, row - have[0]].unsqueeze(2) for row in rows] for rows in outside)
        width, band = band.shape[3], torch.cat([*edges, inside, *over], 2) if above or below else inside
        if not (left or right):
            return band
        before = [self.source(i, width) for i in range(-left, 0)]
        after = [self.source(width + i, width) for i in range(right)]
        return torch.cat([*(band[..., i : i + 1] for i in before), band, *(band[..., i : i + 1] for i in after)], 3)


@dataclass(frozen=True)
class Convolution:
    """A convolution with zero padding."""

    module: nn.Conv2d

    def shape(self) -> tuple[int, int, int]:
        """(rows it sees, stride, padding)"""
        module, padding = self.module, self.module.padding
        assert not isinstance(padding, str)
        return (module.kernel_size[0] - 1) * module.dilation[0] + 1, module.stride[0], padding[0]

    def height(self, given: int) -> int:
        sees, stride, padding = self.shape()
        return (given + 2 * padding - sees) // stride + 1

    def needs(self, rows: Rows, given: int) -> Rows:
        sees, stride, padding = self.shape()
        return max(0, rows[0] * stride - padding), min(given, (rows[1] - 1) * stride - padding + sees)

    def run(self, band: Tensor, have: Rows, rows: Rows, given: int) -> Tensor:
        sees, stride, padding = self.shape()
        above, below = have[0] - (rows[0] * stride - padding), (rows[1] - 1) * stride - padding + sees - have[1]
        if above or below:
            band = F.pad(band, (0, 0, above, below))
        module = self.module
        assert not isinstance(module.padding, str)
        sides = (0, module.padding[1])
        return conv2d(band, module.weight, module.bias, module.stride, sides, module.dilation, module.groups)


@dataclass(frozen=True)
class Transposed:
    """A transposed convolution."""

    module: nn.ConvTranspose2d

    def shape(self) -> tuple[int, int, int]:
        """(rows each row becomes, stride, padding)"""
        module, padding = self.module, self.module.padding
        assert not isinstance(padding, str)
        return (module.kernel_size[0] - 1) * module.dilation[0] + 1, module.stride[0], padding[0]

    def height(self, given: int) -> int:
        makes, stride, padding = self.shape()
        return (given - 1) * stride - 2 * padding + makes + self.module.output_padding[0]

    def needs(self, rows: Rows, given: int) -> Rows:
        makes, stride, padding = self.shape()  # row i of the input makes rows i * stride - padding + (0 .. makes - 1)
        first, last = -((makes - 1 - padding - rows[0]) // stride), (rows[1] - 1 + padding) // stride
        return max(0, first), min(given, last + 1)

    def run(self, band: Tensor, have: Rows, rows: Rows, given: int) -> Tensor:
        _, stride, padding = self.shape()
        module = self.module
        assert not isinstance(module.padding, str)
        sides, extra = (0, module.padding[1]), (module.output_padding[0], module.output_padding[1])
        made = F.conv_transpose2d(
            band, module.weight, module.bias, module.stride, sides, extra, module.groups, module.dilation
        )
        start = rows[0] + padding - have[0] * stride
        return made[:, :, start : start + rows[1] - rows[0]]


@dataclass(frozen=True)
class Shuffled:
    """Channels become pixels, r x r of each, or with `back` pixels become channels (Shi et al. 2016, Sec. 2.2)."""

    factor: int
    back: bool = False

    def height(self, given: int) -> int:
        return given // self.factor if self.back else given * self.factor

    def needs(self, rows: Rows, given: int) -> Rows:
        factor = self.factor
        return (rows[0] * factor, rows[1] * factor) if self.back else (rows[0] // factor, -(-rows[1] // factor))

    def run(self, band: Tensor, have: Rows, rows: Rows, given: int) -> Tensor:
        if self.back:
            return F.pixel_unshuffle(band, self.factor)
        start = rows[0] - have[0] * self.factor
        return F.pixel_shuffle(band, self.factor)[:, :, start : start + rows[1] - rows[0]]


@dataclass(frozen=True)
class Enlarged:
    """`torch.nn.functional.interpolate` by a whole factor."""

    factor: int
    mode: str

    def height(self, given: int) -> int:
        return given * self.factor

    def needs(self, rows: Rows, given: int) -> Rows:
        reach = 0 if self.mode == "nearest" else 3  # a cubic looks at two rows on either side of a point between two
        return max(0, rows[0] // self.factor - reach), min(given, -(-rows[1] // self.factor) + reach)

    def run(self, band: Tensor, have: Rows, rows: Rows, given: int) -> Tensor:
        start = rows[0] - have[0] * self.factor
        made = F.interpolate(band, scale_factor=self.factor, mode=self.mode)
        return made[:, :, start : start + rows[1] - rows[0]]
