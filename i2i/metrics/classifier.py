"""A small classifier of pictures, and the game that trains it: what the figures of small data sets are measured with.

Inception and its like know photographs of 299 pixels, and of digits they tell little. A network that has learned the
classes of the very data set does: its logits tell which classes a generator draws and how surely (the score of Salimans
et al. 2016, arXiv:1606.03498), its features how far what is drawn lies from the truth (Heusel et al. 2017).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.data.labelled import Labelled
from i2i.data.stream import to_range
from i2i.game import Card, Export, Game, HalfLife, Loss, Made, Player, Spec, Stage
from i2i.metrics.extractors import Features
from i2i.metrics.statistics import Statistics
from i2i.schedules import Clock

__all__ = ["Classification", "PictureClassifier", "looked_at"]

ADAM = Spec("torch.optim:Adam", {"lr": 1e-3})


class PictureClassifier(nn.Module):
    """Convolutions of 3 with ReLU, each followed by a halving by the maximum, down to 4x4; then two dense layers.

    Args:
        size: height and width of the pictures; 4 times a power of two.
        channels: of the pictures.
        classes: how many logits.
        width: filters of the first convolution; they double with every halving.
        features: of a picture, what the last layer sees.
    """

    def __init__(
        self, size: int = 32, channels: int = 1, *, classes: int = 10, width: int = 16, features: int = 64
    ) -> None:
        super().__init__()
        halvings = (size // 4).bit_length() - 1
        if halvings < 1 or size != 4 * 2**halvings:
            raise ValueError(f"a classifier's pictures have 8, 16, 32, 64, ... pixels a side, not {size}")
        self.size, self.channels, self.classes = size, channels, classes
        widths = [channels, *(width * 2**level for level in range(halvings))]
        layers: list[nn.Module] = []
        for given, made in pairwise(widths):
            layers += [nn.Conv2d(given, made, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2)]
        self.trunk = nn.Sequential(*layers)
        self.dense = nn.Linear(16 * widths[-1], features)
        self.last = nn.Linear(features, classes)

    def features(self, x: Tensor) -> Tensor:
        """x: [N,channels,size,size] in [-1,1] => [N,features], from 0 on: what the last layer sees."""
        return F.relu(self.dense(self.trunk(x).flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,channels,size,size] in [-1,1] => [N,classes] logits."""
        return self.last(self.features(x))

    def card(self, names: Sequence[str]) -> Card:
        """What is to be known to run it; `names` of its classes, in order."""
        channels = (self.channels, self.classes)
        return Card(kind="classifier", channels=channels, size=self.size, classes=tuple(names))


def shifted(x: Tensor, most: int) -> Tensor:
    """Each picture moved by up to `most` pixels in height and width, its border repeated; [N,C,H,W] => the same."""
    height, width = x.shape[-2:]
    picture = torch.arange(len(x), device=x.device)[:, None, None]
    top, left = torch.randint(-most, most + 1, (len(x), 2), device=x.device).T[..., None]
    rows = (torch.arange(height, device=x.device) + top).clamp(0, height - 1)
    columns = (torch.arange(width, device=x.device) + left).clamp(0, width - 1)
    return x.permute(0, 2, 3, 1)[picture, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


@final
class Classification(Game):
    """One player, who says of pictures what they show: cross entropy.

    Args:
        network: Spec of a network that gives logits [N,classes] of pictures in [-1,1].
        classes: their names, in order.
        shift: pixels by which a picture is moved at most, at random, before it is looked at.
        optimizer: Spec of an optimizer, its learning rate the peak.
        average: half-life of the averaged weights in images; None keeps the last weights.
    """

    Batch = Labelled

    def __init__(
        self,
        network: Spec,
        classes: Sequence[str],
        *,
        shift: int = 0,
        optimizer: Spec = ADAM,
        average: HalfLife | None = None,
    ) -> None:
        self.spec, self.names, self.classes, self.shift = network, tuple(classes), len(classes), shift
        self.network: PictureClassifier = network.build()
        if self.network.classes != self.classes:
            raise ValueError(f"a network of {self.network.classes} classes cannot tell {self.classes} apart")
        self.player = Player("classifier", {"classifier": self.network}, optimizer, average)

    def stages(self) -> list[Stage]:
        return [Stage("classify", (self.player,), self.turns)]

    def turns(self, clock: Clock) -> Iterator[tuple[Player, Loss]]:
        yield self.player, self.loss

    def loss(self, batch: Labelled, made: Made) -> dict[str, Tensor]:
        logits = self.network(shifted(batch.x, self.shift) if self.shift else batch.x).float()
        made.note("accuracy", (logits.argmax(1) == batch.y).float().mean())
        return {"cross_entropy": F.cross_entropy(logits, batch.y)}

    def exports(self) -> dict[str, Export]:
        return {"classifier": Export(self.network, self.spec, self.network.card(self.names))}


@torch.no_grad()
def looked_at(network: PictureClassifier, pictures: Tensor, source: str = "the set") -> Statistics:
    """Features and logits of pictures [N,C,S,S], uint8 or in [-1,1], as `i2i.metrics.distances` compares them."""
    found = Statistics({}, source=source)
    for x in pictures.split(500):
        features = network.features(to_range(x))
        found.add(Features(features, network.last(features)))
    return found
