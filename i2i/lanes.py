"""Which loss terms look at several images at once: batch norm, minibatch statistics, batch-mean features."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from i2i.data.stream import to_range
from i2i.game import Game, Made
from i2i.layers import Dropout
from i2i.schedules import Clock

__all__ = ["coupled"]


def coupled(game: Game, batch: Any) -> set[str]:
    """Terms, as "player/term", whose value on two images is not the mean of their values on either.

    Where there are none, one lane of 2b images is the same training as two lanes of b. Asked in float64, on a copy
    without dropout; random penalties therefore count as coupled. `batch` holds two samples of `game.Batch`.
    """
    game = copy.deepcopy(game)
    stage = game.stages()[0]
    for player in stage.players:
        player.cpu().double()
        for module in player.modules():
            if isinstance(module, Dropout | nn.Dropout | nn.Dropout2d):
                module.p = 0.0
    for network in game.frozen():
        network.cpu().double()
    fields = [to_range(t).double() if t.ndim == 4 else t for t in (field.cpu() for field in batch)]
    whole = game.Batch(*fields)
    halves = [game.Batch(*(field[i : i + 1] for field in fields)) for i in range(2)]
    made, made_halves = Made(0), [Made(1), Made(2)]
    found = set()
    with torch.random.fork_rng():
        for player, loss in stage.turns(Clock()):
            terms = loss(whole, made)
            parts = [loss(half, left) for half, left in zip(halves, made_halves, strict=True)]
            for name, term in terms.items():
                mean = (parts[0][name] + parts[1][name]) / 2
                if not torch.isclose(term, mean, rtol=1e-9, atol=1e-12):
                    found.add(f"{player.name}/{name}")
    return found
