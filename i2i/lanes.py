"""Lanes: slices of the global batch, accumulated on one rank or shared between several, which must not matter.

`Buffers` keeps running statistics from depending on it; `coupled` finds the loss terms that look at several images at
once (batch norm, minibatch statistics, batch-mean features), for which the size of a lane does matter.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from i2i.data.stream import to_range
from i2i.game import Game, Made, Player, Stage, Turns
from i2i.layers import Dropout
from i2i.schedules import Clock

__all__ = ["Buffers", "Lane", "coupled"]

PROBED = 1_000  # steps of a stage, for those in which its players move


@dataclass
class Lane:
    """One slice of this rank's share of the batch."""

    first: int  # position of its first image in the data's stream
    batch: Any
    made: Made


class Buffers:
    """Buffers of all players through one turn: each lane starts from the same, and they end at the lanes' mean.

    Without it batch norm's running statistics (and a spectral norm's vectors) would depend on which rank saw which
    lane. Does nothing for networks without floating buffers, or with one lane in all.
    """

    def __init__(self, players: Sequence[Player], *, lanes: int) -> None:
        found = [b for player in players for b in player.buffers() if b.is_floating_point()]
        self.buffers = found if lanes > 1 else []
        self.lanes = lanes
        self.start = [buffer.clone() for buffer in self.buffers]
        self.sums = [torch.zeros_like(buffer) for buffer in self.buffers]

    @torch.no_grad()
    def before_lane(self) -> None:
        for buffer, start in zip(self.buffers, self.start, strict=True):
            buffer.copy_(start)

    @torch.no_grad()
    def after_lane(self) -> None:
        for total, buffer in zip(self.sums, self.buffers, strict=True):
            total.add_(buffer)

    @torch.no_grad()
    def settle(self) -> None:
        for total, buffer in zip(self.sums, self.buffers, strict=True):
            if dist.is_initialized():
                dist.all_reduce(total)
            buffer.copy_(total / self.lanes)


def coupled(game: Game, batch: Any) -> set[str]:
    """Terms, as "player/term", whose value on two images is not the mean of their values on either, in any stage.

    Where there are none, one lane of 2b images is the same training as two lanes of b. Asked in float64, on a copy
    without dropout, each image with the same random numbers beside itself as beside the other: batch norm of vectors
    takes no image alone. `batch` holds two samples of `game.Batch`.
    """
    game = copy.deepcopy(game)
    for network in game.frozen():
        network.cpu().double()
    fields = [t.double() if t.is_floating_point() else t for t in (to_range(field.cpu()) for field in batch)]
    whole = game.Batch(*fields)
    halves = [game.Batch(*(field[[image, image]] for field in fields)) for image in range(2)]
    found: set[str] = set()
    asked: list[Turns] = []  # another stage with the same turns has the same terms
    with torch.random.fork_rng():
        for index, stage in enumerate(game.stages()):
            stage.enter()
            if stage.turns in asked:
                continue
            asked.append(stage.turns)
            for player in stage.players:
                player.cpu().double()
                for module in player.modules():
                    if isinstance(module, Dropout | nn.Dropout | nn.Dropout2d):
                        module.p = 0.0
            for clock in complete(stage, index):
                made, made_halves = Made(0), [Made(1), Made(2)]
                for player, loss in stage.turns(clock):
                    chance = Chance()
                    with chance:
                        terms = loss(whole, made)
                    parts = []
                    for image, (half, left) in enumerate(zip(halves, made_halves, strict=True)):
                        with chance.of(image):
                            parts.append(loss(half, left))
                    for name, term in terms.items():
                        mean = (parts[0][name] + parts[1][name]) / 2
                        if not torch.isclose(term, mean, rtol=1e-9, atol=1e-12):
                            found.add(f"{player.name}/{name}")
    return found


def complete(stage: Stage, index: int) -> list[Clock]:
    """Steps in which every player of the stage moves: the first in which all do, for a critic may have several before;
    where players take whole steps in turn, the first step of each."""
    everyone, firsts = {player.name for player in stage.players}, dict[str, Clock]()
    for steps in range(PROBED):
        clock = Clock(steps=steps, stage=index)
        moving = {player.name for player, _ in stage.turns(clock)}
        if moving == everyone:
            return [clock]
        for name in moving:
            firsts.setdefault(name, clock)
    return list(dict.fromkeys(firsts.values())) or [Clock(stage=index)]


class Chance(TorchFunctionMode):
    """Keeps what is drawn for two images, and deals the same out again to each of them alone."""

    DRAWS = frozenset(
        {
            *(torch.randn, torch.rand, torch.randint, torch.randn_like, torch.rand_like, torch.bernoulli, torch.normal),
            *(torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.bernoulli_, torch.Tensor.random_),
        }
    )

    def __init__(self, drawn: list[Tensor] | None = None, image: int | None = None) -> None:
        super().__init__()
        self.drawn: list[Tensor] = [] if drawn is None else drawn
        self.image = image

    def of(self, image: int) -> Chance:
        """The same draws again, for one of the two."""
        return Chance(list(self.drawn), image)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func not in self.DRAWS:
            return made
        if self.image is None:
            self.drawn.append(made.clone())
        elif self.drawn:
            kept = self.drawn.pop(0)
            made.copy_(kept[[self.image]] if kept.shape[:1] == (2,) else kept)
        return made
