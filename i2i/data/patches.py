"""Patches of two pictures, for translating from one single picture to another."""

from __future__ import annotations

import cv2
import numpy as np
from torch import Tensor

from i2i.data.datasets import A_SIDE, B_SIDE, Unpaired, to_tensor, with_channels
from i2i.data.folders import find, read_pixels, scan
from i2i.data.sources import Pixels
from i2i.errors import UserError
from i2i.schedules import Purpose, mix

__all__ = ["Patches"]


class Patches:
    """Patches of one picture of A and one of B, shrunk at random (the authors' code of Park et al. 2020, Sec. 4.4).

    The patches of a batch are of one zoom, and no two of them lie on one another as long as the picture is large
    enough: each is to be told from the others.

    Args:
        a, b: picture files, or folders that hold one each; looked for here, in ./datasets and under $I2I_DATA.
        size: height and width of a patch.
        zoom: up to how many times the picture's width and height are shrunk, each by itself.
        together: patches in a row that are cut from one grid: the batch.
        flip: mirror left and right with probability 1/2.
        channels: wanted, 1 to 4: gray, gray+alpha, RGB, RGB+alpha.
        epoch: how many patches are called an epoch.
        seed: of zooms, grids, order and flips; >= 0.

    Raises UserError where there is not one picture, or one that is damaged or smaller than a patch.
    """

    fields = Unpaired

    def __init__(
        self,
        a: str,
        b: str,
        *,
        size: int = 64,
        zoom: float = 3.0,
        together: int = 16,
        flip: bool = True,
        channels: int = 3,
        epoch: int = 100_000,
        seed: int = 0,
    ) -> None:
        if size < 1 or zoom < 1 or together < 1 or epoch < 1 or seed < 0:
            raise UserError("Patches needs a size, a zoom and numbers of patches from 1 on, and a seed from 0")
        self.size, self.zoom, self.together, self.flip = size, zoom, together, flip
        self.epoch, self.seed = epoch, seed
        self.pictures = [one_picture(name, channels, size) for name in (a, b)]

    def __len__(self) -> int:
        return self.epoch

    def __getitem__(self, position: int) -> Unpaired:
        if position < 0:
            raise IndexError(f"positions start at 0, not at {position}")
        return Unpaired(self.draw(A_SIDE, position), self.draw(B_SIDE, position))

    def draw(self, side: int, position: int) -> Tensor:
        """[C,size,size] of one side at `position`."""
        picture, (group, place) = self.pictures[side], divmod(position, self.together)
        shared = np.random.Generator(np.random.PCG64(mix(self.seed, Purpose.SAMPLE, group, side)))
        whole = np.array(picture.shape[:2])
        shrunk = np.maximum(self.size, np.rint(whole * shared.uniform(1 / self.zoom, 1, 2)).astype(int))
        cells = shrunk // self.size
        start = shared.integers(shrunk - cells * self.size + 1)
        cell = shared.permutation(cells.prod())[place % cells.prod()]
        corner = start + self.size * np.array(divmod(cell, cells[1]))
        (top, left), (bottom, right) = (
            np.rint(edge * whole / shrunk).astype(int) for edge in (corner, corner + self.size)
        )
        patch = cv2.resize(picture[top:bottom, left:right], (self.size, self.size), interpolation=cv2.INTER_AREA)
        patch = patch.reshape(self.size, self.size, -1)  # OpenCV leaves a single channel out
        own = np.random.Generator(np.random.PCG64(mix(self.seed, Purpose.SAMPLE, position, side, 1)))
        return to_tensor(patch[:, ::-1] if self.flip and own.random() < 0.5 else patch)


def one_picture(name: str, channels: int, size: int) -> Pixels:
    """The picture that a file is or a folder holds, [H,W,channels]."""
    base = find(name)
    files = [base] if base.is_file() else scan(base)
    if len(files) != 1:
        raise UserError(f"{base} holds {len(files)} pictures; Patches takes one: name the file")
    pixels = with_channels(read_pixels(files[0]), channels, str(files[0]))
    if min(pixels.shape[:2]) < size:
        raise UserError(
            f"{files[0]}: {pixels.shape[1]}x{pixels.shape[0]} pixels are too few for patches of {size}x{size}; take a "
            "smaller size"
        )
    return pixels
