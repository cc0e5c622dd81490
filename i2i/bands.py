"""Run a network over a picture that is too large for memory: layer by layer, a band of rows at a time.

Tiles break a network whose norm layers take their statistics from the whole picture. Here the statistics are the whole
picture's: up to the next norm a network is a chain of layers that look at few rows, so a first walk over the bands
measures what goes into the norm, and from there on the norm is a fixed scale and shift per channel. Maps smaller than
the picture are kept; those as large as the picture, the first and the last few, are cheap to make and are made again
when they are needed. There are no seams, as no band is computed from less than all it depends on.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2i import layers
from i2i.layers import Moments, Statistics

__all__ = ["Plan"]

BAND = 32 << 20  # bytes of the widest map in a band: larger ones leave the processor's caches, smaller ones cost calls

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
        return F.conv2d(band, module.weight, module.bias, module.stride, sides, module.dilation, module.groups)


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


class Norm(NamedTuple):
    """A norm that takes its statistics from the whole picture: what divides the network into chains."""

    weight: Tensor | None
    bias: Tensor | None
    eps: float

    def fixed(self, found: Statistics) -> Pointwise:
        """This norm with those statistics."""
        return Pointwise(lambda band: layers.normalised(band, found, self.weight, self.bias, self.eps))


class Branch(NamedTuple):
    """x + layers(x)."""

    steps: tuple[Step, ...]


Step = Layer | Norm | Branch


@dataclass(frozen=True)
class Sum:
    """x + layers(x) where all norms are fixed."""

    layers: tuple[Layer, ...]

    def height(self, given: int) -> int:
        return given

    def needs(self, rows: Rows, given: int) -> Rows:
        first, last = spans(self.layers, rows, given)[0]
        return min(first, rows[0]), max(last, rows[1])

    def run(self, band: Tensor, have: Rows, rows: Rows, given: int) -> Tensor:
        inner = spans(self.layers, rows, given)[0]
        start = band[:, :, inner[0] - have[0] : inner[1] - have[0]]
        return through(self.layers, start, rows, given)[0] + band[:, :, rows[0] - have[0] : rows[1] - have[0]]


def spans(chain: Sequence[Layer], rows: Rows, given: int) -> list[Rows]:
    """The rows before each layer of a chain, and `rows` after the last, for `given` rows before the first."""
    heights = [given]
    for layer in chain:
        heights.append(layer.height(heights[-1]))
    found = [rows]
    for layer, height in zip(reversed(chain), reversed(heights[:-1]), strict=True):
        found.append(layer.needs(found[-1], height))
    return found[::-1]


def through(chain: Sequence[Layer], band: Tensor, rows: Rows, given: int) -> tuple[Tensor, int]:
    """(`rows` of what a chain makes of `band`, which holds just the rows needed; bytes of the widest map on the way)"""
    have, *wanted = spans(chain, rows, given)
    widest = band.nbytes
    for layer, span in zip(chain, wanted, strict=True):
        band = layer.run(band, have, span, given)
        have, given, widest = span, layer.height(given), max(widest, band.nbytes)
    return band, widest


class Map:
    """An activation [1,C,H,W]: rows that are there, and the layers still to be run on them."""

    def __init__(self, read: Callable[[Rows], Tensor], height: int) -> None:
        self.read, self.given = read, height
        self.chain: list[Layer] = []

    @classmethod
    def kept(cls, values: Tensor) -> Map:
        """The activation whose rows are all in memory."""
        return cls(lambda rows: values[:, :, rows[0] : rows[1]], values.shape[2])

    @property
    def height(self) -> int:
        height = self.given
        for layer in self.chain:
            height = layer.height(height)
        return height

    def bands(self, most: int | None = None) -> Iterator[tuple[Rows, Tensor]]:
        """All of it in order, `most` rows at a time, or as many as are fast; [1,C,rows,W], perhaps views of it."""
        height, start, step = self.height, 0, most or 16
        while start < height:
            rows = start, min(height, start + step)
            first = spans(self.chain, rows, self.given)[0]
            band, widest = through(self.chain, self.read(first), rows, self.given)
            yield rows, band
            start = rows[1]
            if most is None:
                step = max(8, BAND * band.shape[2] // widest)

    def whole(self) -> Tensor:
        """All of it in memory."""
        values: Tensor | None = None
        for rows, band in self.bands():
            values = room(band, self.height) if values is None else values
            values[:, :, rows[0] : rows[1]] = band
        assert values is not None
        return values


def room(band: Tensor, height: int) -> Tensor:
    """Memory for all rows of a map that has such bands; in channels_last a band of it is one piece.

    A large map gets memory of its own from the system, and gives it back: in a heap that is kept (see `i2i.memory`)
    maps of ever other sizes would leave holes.
    """
    shape = 1, band.shape[1], height, band.shape[3]
    size = math.prod(shape) * band.element_size()
    if band.device.type != "cpu" or size < BAND:
        return torch.empty(shape, dtype=band.dtype, device=band.device, memory_format=torch.channels_last)
    own = torch.frombuffer(mmap.mmap(-1, size), dtype=band.dtype)
    return own.view(1, height, band.shape[3], band.shape[1]).permute(0, 3, 1, 2)


class Unknown(Exception):
    """The network holds a layer that is not known here."""


class Plan:
    """A network as steps. `Plan.of` makes one where the network is made of layers known here."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = tuple(steps)

    @classmethod
    def of(cls, network: nn.Module) -> Plan | None:
        """The plan of a network whose `steps()` are what its forward runs; None where it has none."""
        try:
            return cls(list(steps_of(network)))
        except Unknown:
            return None

    def wanted(self, channels: int, size: tuple[int, int], bytes_each: int) -> int:
        """Bytes of the maps that `run` keeps at once for a padded picture of (height, width)."""
        height, most, kept = size[0], 0, 0
        for step in self.steps:
            if isinstance(step, Norm | Branch):
                there, kept = kept, channels * height * (size[1] * height // size[0]) * bytes_each
                if isinstance(step, Branch):
                    most = max(most, 3 * kept)
                elif height < size[0]:
                    most = max(most, there + kept)
                else:
                    kept = there
            else:
                height = step.height(height)
                channels = getattr(getattr(step, "module", None), "out_channels", channels)
        return most

    @torch.inference_mode()
    def run(
        self,
        read: Callable[[Rows], Tensor],
        height: int,
        write: Callable[[Rows, Tensor], None],
        *,
        rows: int | None = None,
        statistics: Sequence[Statistics] | None = None,
    ) -> list[Statistics]:
        """The network over a picture.

        Args:
            read: (first, after the last) row -> [1,C,h,W] of the padded input, in the network's precision.
            height: rows of that input.
            write: told each band of the output, [1,C,h,W], from top to bottom.
            rows: of the output at a time; None takes what is fast.
            statistics: of a smaller version of the picture, for its norms in order. Nothing is kept then, and memory
                is bounded by a band; None measures them.

        Returns the statistics.
        """
        found: list[Statistics] = []
        given = None if statistics is None else iter(statistics)
        image = Map(read, height)
        if given is not None:
            image.chain = list(fixed(self.steps, given))
        else:
            image = self.walk(self.steps, image, height, found)
        for span, band in image.bands(rows):
            write(span, band)
        return found

    def walk(self, steps: Sequence[Step], image: Map, full: int, found: list[Statistics]) -> Map:
        """The steps after `image`; what is measured on the way is appended to `found`."""
        for step in steps:
            if isinstance(step, Norm):
                image = self.measured(image, full, found)
                image.chain.append(step.fixed(found[-1]))
            elif isinstance(step, Branch):
                values = image.whole()
                image = Map.kept(self.walk(step.steps, Map.kept(values), full, found).whole().add_(values))
            else:
                image.chain.append(step)
        return image

    def measured(self, image: Map, full: int, found: list[Statistics]) -> Map:
        """`image` with its statistics in `found`, kept from here on if it is smaller than the picture."""
        moments, values = Moments(), None
        for (first, last), band in image.bands():
            moments.add(band)
            if image.height < full:
                values = room(band, image.height) if values is None else values
                values[:, :, first:last] = band
        found.append(moments.found())
        return image if values is None else Map.kept(values)


def fixed(steps: Sequence[Step], statistics: Iterator[Statistics]) -> Iterator[Layer]:
    """The steps as one chain, with those statistics."""
    for step in steps:
        if isinstance(step, Norm):
            yield step.fixed(next(statistics))
        elif isinstance(step, Branch):
            yield Sum(tuple(fixed(step.steps, statistics)))
        else:
            yield step


PADS = {nn.ReflectionPad2d: "reflect", nn.ReplicationPad2d: "replicate", nn.ZeroPad2d: "constant"}
POINTWISE = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.Tanh, nn.Sigmoid, nn.Identity)


def steps_of(module: nn.Module) -> Iterator[Step]:
    """What a module does, step by step. Raises Unknown."""
    kind = type(module)
    if isinstance(module, nn.Sequential):
        for child in module:
            yield from steps_of(child)
    elif callable(inner := getattr(module, "steps", None)):
        yield from steps_of(inner())
    elif isinstance(module, layers.Residual):
        yield Branch(tuple(steps_of(module.layers)))
    elif isinstance(module, nn.ReflectionPad2d | nn.ReplicationPad2d | nn.ZeroPad2d) and kind in PADS:
        yield Padding(PADS[kind], module.padding)
    elif isinstance(module, nn.Conv2d) and module.padding_mode == "zeros" and not isinstance(module.padding, str):
        yield Convolution(module)
    elif isinstance(module, nn.ConvTranspose2d) and module.kernel_size[0] >= module.stride[0]:
        yield Transposed(module)
    elif kind in POINTWISE:
        yield Pointwise(module)
    elif isinstance(module, layers.Dropout) and module.draws is None:
        return
    elif isinstance(module, layers.InstanceNorm):
        yield Norm(None, None, module.eps)
    elif isinstance(module, layers.StoredBatchNorm) and module.stored:
        yield Pointwise(module)
    elif isinstance(module, layers.BatchNorm):
        yield Norm(module.weight, module.bias, module.eps)
    else:
        raise Unknown(kind.__name__)
