"""Is a generator memorising? The training pictures nearest to pictures that it drew, and how near true ones lie to each
other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from i2i import recipe
from i2i.data.datasets import locate
from i2i.data.folders import find
from i2i.data.labelled import Digits, Pictures
from i2i.data.stream import to_range
from i2i.errors import UserError
from i2i.images.picture import LUMA
from i2i.metrics.sides import ahead

__all__ = ["Found", "Near", "nearest", "training_set"]

CHUNK = 1 << 26  # bytes of pictures that are compared at once
USUAL = 256  # true pictures whose nearest others are looked for
FEW = 0.01  # of the true pictures: a drawn one that is nearer than these are to others is worth a look
SIDE = 28  # of MNIST and of the data sets in its form


class Near(NamedTuple):
    """A training picture: its file or its number, how far it is (root of the mean square, in levels of 255), and its
    pixels [H,W,C] uint8."""

    name: str
    distance: float
    pixels: NDArray[np.uint8]


class Found(NamedTuple):
    """What was found.

    Attributes:
        near: of each picture, the nearest training pictures, the nearest first.
        usual: [K] how far each of K true pictures is from the nearest other one, ascending, in levels of 255.
        total: of the training pictures.
    """

    near: list[list[Near]]
    usual: Tensor
    total: int

    @property
    def copies(self) -> int:
        """Pictures that are nearer to a training picture than 99 % of the true ones are to each other."""
        limit = float(self.usual.quantile(FEW))
        return sum(near[0].distance < limit for near in self.near)

    def sentence(self) -> str:
        """What that says, in words."""
        ours = torch.tensor([near[0].distance for near in self.near])
        return (
            f"to the nearest of {self.total:,} training pictures, in levels of 255: drawn ones {ours.median():.1f} "
            f"(median; least {ours.min():.1f}), true ones to their nearest others {self.usual.median():.1f} (median of "
            f"{len(self.usual)}); {self.copies} of {len(ours)} drawn ones are nearer than 99 % of true ones are"
        )


def training_set(data: str, *, size: int, channels: int) -> Any:
    """The pictures that `data` means: a folder of pictures, one of MNIST's four files, or a recipe that trains on them.

    Args:
        size: height and width that pictures of a folder are brought to, cut square from the middle.
        channels: that they are given.

    Raises UserError where there are none.
    """
    if data.endswith((".yaml", ".yml")) or (data in recipe.names() and not Path(data).exists()):
        loaded = recipe.load(data)
        found = recipe.build(loaded.data, seed=loaded.training.seed)
        if "x" not in getattr(found.fields, "_fields", ()):
            raise UserError(f"the recipe {data} trains on pairs, not on pictures alone; name a folder of pictures")
        return found
    folder = find(data)
    for home in (folder, folder / "raw"):
        if any(home.glob("train-images-idx3-ubyte*")):
            return Digits(str(home), size=max(size, SIDE))
    return Pictures(str(folder), size=size, channels=channels)


def nearest(
    pictures: NDArray[np.uint8],
    data: Any,
    *,
    count: int,
    say: Callable[[str], None] = lambda sentence: None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Found:
    """The training pictures nearest to drawn ones, by all their pixels.

    Args:
        pictures: [N,S,S] or [N,S,S,C] uint8.
        data: a data set of `i2i.data` with a field x; its first epoch is looked through, some pictures at a time.
        count: how many nearest ones; as many as there are if they are fewer.
        say: told what a user should know; tell: how many were looked at, of how many.

    Raises UserError where the data set holds fewer than two pictures, or one cannot be read.
    """
    if len(data) < 2:
        raise UserError("the nearest of fewer than two training pictures says nothing; name more")
    drawn = torch.from_numpy(pictures).reshape(*pictures.shape[:3], -1).permute(0, 3, 1, 2)
    shape = drawn.shape[1:]
    told = [False]

    def look(position: int) -> Tensor:
        x = getattr(data[position], "x")  # noqa: B009  (a field of whatever tuple the data set has)
        if x.shape[1:] != shape[1:] and not told[0]:
            told[0] = True
            say(f"training pictures have {x.shape[2]}x{x.shape[1]} pixels; they are resized to {shape[2]}x{shape[1]}")
        return alike(x, shape)

    places = torch.linspace(0, len(data) - 1, min(USUAL, len(data))).long().unique()
    true = torch.stack([look(int(place)) for place in places])
    queries = torch.cat([drawn, true]).flatten(1).float() / 255
    itself = torch.cat([torch.full((len(drawn),), -1), places])
    best = torch.full((len(queries), 1), torch.inf), torch.full((len(queries), 1), -1)
    step = max(1, CHUNK // (4 * max(queries.shape)))
    looked, done = ahead(look, range(len(data))), 0
    while chunk := list(islice(looked, step)):
        others = torch.stack(chunk).flatten(1).float() / 255
        squares = queries.square().sum(1)[:, None] + others.square().sum(1) - 2 * queries @ others.T
        numbers = torch.arange(done, done + len(chunk))
        squares[itself[:, None] == numbers] = torch.inf
        both = torch.cat([best[0], squares.clamp_min(0)], 1), torch.cat([best[1], numbers.expand_as(squares)], 1)
        chosen = both[0].topk(min(count, both[0].shape[1]), largest=False).indices
        best = both[0].gather(1, chosen), both[1].gather(1, chosen)
        done += len(chunk)
        tell(done, len(data))
    near = [sorted((near_one(data, int(position), picture, look) for position in row if position >= 0),
                   key=lambda one: one.distance)
            for picture, row in zip(drawn, best[1], strict=False)]  # fmt: skip
    usual = 255 * (best[0][len(drawn) :, 0] / queries.shape[1]).sqrt()
    return Found(near, usual.sort().values, len(data))


def near_one(data: Any, position: int, drawn: Tensor, look: Callable[[int], Tensor]) -> Near:
    """The training picture at a position, and its exact distance from `drawn` [C,H,W]."""
    picture = look(position)
    distance = (picture.double() - drawn).square().mean().sqrt()
    _, index = locate(position, len(data), data.seed)
    name = str(data.files[index]) if hasattr(data, "files") else f"number {index}"
    return Near(name, float(distance), picture.permute(1, 2, 0).numpy())


def alike(x: Tensor, shape: Sequence[int]) -> Tensor:
    """A picture of a data set as uint8 [C,H,W] of that shape. Raises UserError for other channels than 1 and 3."""
    if x.dtype == torch.uint8 and x.shape == shape:
        return x
    given, wanted = len(x), shape[0]
    if given != wanted and {given, wanted} != {1, 3}:
        raise UserError(f"training pictures have {given} channels, and the generator draws {wanted}; name its own data")
    x = to_range(x)
    if given == 3 and wanted == 1:
        x = (x * torch.as_tensor(LUMA, dtype=x.dtype)[:, None, None]).sum(0, keepdim=True)
    x = x.expand(wanted, -1, -1)
    if x.shape[1:] != shape[1:]:
        x = F.interpolate(x[None], tuple(shape[1:]), mode="bilinear", antialias=True, align_corners=False)[0]
    return (x + 1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
