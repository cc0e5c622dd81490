"""Photographs for a network that colours: their lightness, and the colours that it shall find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from i2i import images
from i2i.data.datasets import Pair, Photographs, locate
from i2i.data.transforms import Photometric, Steps
from i2i.game import Content
from i2i.schedules import Purpose, mix
from i2i.typed import Range

__all__ = ["Coloured"]


class Coloured:
    """Photographs as pairs of their lightness [1,H,W] and their chroma [2,H,W], L, a and b of CIE L*a*b* (`i2i.images`
    has the conversion): float32 in [-1,1], 0..100 of L and -110..110 of a and b.

    Args:
        roots, crop, geometry, flip, keep_in_memory, without, lying, seed: those of `Photographs`.
        colours: changes of the photograph's colours before it is taken apart; see `transforms.Photometric`.
        photometric: changes of the lightness alone, [H,W,1] in [0,1], as `colours`.
        longest: the longer side to which pictures are shrunk before the trained network finds their colours, which are
            enlarged again; 0: it sees them as they are.

    Raises UserError as `Photographs`.
    """

    fields = Pair

    def __init__(
        self,
        roots: Sequence[str],
        *,
        crop: int = 256,
        geometry: Steps | None = None,
        colours: Steps | None = None,
        photometric: Steps | None = None,
        flip: bool = True,
        keep_in_memory: bool = False,
        without: Sequence[str] = (),
        lying: Sequence[str] = (),
        longest: Annotated[int, Range(least=0)] = 0,
        seed: int = 0,
    ) -> None:
        self.holds = Content("lightness", longest=longest), Content("chroma")
        self.photographs = Photographs(
            roots,
            crop=crop,
            geometry=geometry,
            flip=flip,
            turn=False,
            keep_in_memory=keep_in_memory,
            without=without,
            lying=lying,
            seed=seed,
        )
        self.colours = Photometric(colours) if colours else None
        self.photometric = Photometric(photometric) if photometric else None

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, position: int) -> Pair:
        epoch, index = locate(position, len(self), self.photographs.seed)
        pixels = self.photographs[position].hr.permute(1, 2, 0).numpy()
        pixels = pixels if pixels.dtype == np.uint8 else (pixels + 1) / 2
        if self.colours is not None:
            pixels = self.colours(mix(self.photographs.seed, Purpose.SAMPLE, epoch, index, 1), pixels)
        found = images.lab(pixels)
        light, chroma = found[..., :1] / 100, found[..., 1:] / images.CHROMA
        if self.photometric is not None:
            seed = mix(self.photographs.seed, Purpose.SAMPLE, epoch, index)
            light = self.photometric(seed, light).reshape(light.shape).clip(0, 1)
        lightness = light * 2 - 1
        a, b = (torch.from_numpy(values).permute(2, 0, 1).contiguous() for values in (lightness, chroma))
        return Pair(a, b)

    def fill(self) -> None:
        """Read everything that is to be kept in memory."""
        self.photographs.fill()

    @staticmethod
    def shown(columns: Sequence[Tensor]) -> list[Tensor]:
        """Lightness as gray, and chroma [N,2,H,W] with the lightness of the column before it, in RGB."""
        made, light = list[Tensor](), columns[0][:, :1]
        for column in columns:
            light = column if column.shape[1] == 1 else light
            chroma = torch.zeros_like(light).repeat(1, 2, 1, 1) if column.shape[1] == 1 else column
            made.append(torch.stack([rgb(*both) for both in zip(light, chroma, strict=True)]))
        return made


def rgb(lightness: Tensor, chroma: Tensor) -> Tensor:
    """[1,H,W] and [2,H,W] in [-1,1] => [3,H,W] sRGB in [-1,1]."""
    both = torch.cat([(lightness + 1) * 50, chroma * images.CHROMA]).detach().float().cpu().permute(1, 2, 0)
    return torch.from_numpy(images.from_lab(both.numpy())).permute(2, 0, 1) * 2 - 1
