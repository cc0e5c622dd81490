"""cGAN: Conditional Generative Adversarial Nets (Mirza and Osindero 2014, arXiv:1411.1784).

Both players are told the class y of a picture:

    min_G max_D  E log D(x | y) + E log(1 - D(G(z | y) | y))     (Eq. 2)

D is the sigmoid of the raw scores. What is drawn has the labels of the batch of true pictures, so the discriminator is
shown each class as often true as drawn.

Two pairs of networks:
    `ConditionalMLPGenerator` and `ConditionalMLPDiscriminator` are the paper's for MNIST (Sec. 4.1): perceptrons in
    which y has a layer of its own before it meets z, or x;
    `ConditionalDCGenerator` and `ConditionalDCDiscriminator` are those of `i2i.unconditional.dcgan`, with y once more
    beside what goes into every layer, as maps of ones and zeros where that is maps: the way of the DCGAN authors' code.

Deviations:
    the generator moves first, and the discriminator judges the pictures of that same step;
    pictures are in [-1,1], as everywhere here: the paper's sigmoid is stretched to that, its discriminator sees [0,1];
    z is from U(0,1) as in the paper, but from U(-1,1) in the convolutional generator, as in the DCGAN paper;
    first weights of the perceptrons, which the paper does not name, are those of the code of the 2014 GAN.

Not in the paper, and off unless a recipe asks for it: `average`, `r1`, `discriminator_optimizer`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.aids import R1, Watch
from i2i.data.labelled import Labelled
from i2i.game import Card, Clock, Export, Game, HalfLife, Loss, Made, Part, Player, Spec, Stage
from i2i.latents import draw, fixed, latent_size, split
from i2i.layers import Dropout, StoredBatchNorm, init_normal, modes
from i2i.losses import LOGISTIC, Adversarial
from i2i.schedules import Ramp
from i2i.unconditional.dcgan import down, project, up, widths
from i2i.unconditional.gan import SGD, Maxout, uniform

__all__ = [
    "CGAN",
    "ConditionalDCDiscriminator",
    "ConditionalDCGenerator",
    "ConditionalMLPDiscriminator",
    "ConditionalMLPGenerator",
]


class ConditionalMLPGenerator(nn.Module):
    """The generator of Sec. 4.1: a layer of rectified units for z, one for y, one for both, and one of sigmoids.

    Args:
        channels, size: of the pictures it draws.
        classes: how many y can be.
        latent: how many numbers of z.
        kind: what each is drawn from, U(0, 1) or N(0, 1).
        widths: units for z, for y, for both.
        dropout: of the hidden units.
        reach: the first weights are drawn from U(-reach, reach).
    """

    def __init__(
        self,
        channels: int = 1,
        size: int = 28,
        *,
        classes: int = 10,
        latent: int = 100,
        kind: Literal["normal", "uniform"] = "uniform",
        widths: tuple[int, int, int] = (200, 1000, 1200),
        dropout: float = 0.5,
        reach: float = 0.05,
    ) -> None:
        super().__init__()
        self.channels, self.size = channels, size
        self.parts = Part("z", latent, kind, (0.0, 1.0)), Part("class", classes, "class")
        of_z, of_y, of_both = widths
        self.of_z = nn.Sequential(nn.Linear(latent, of_z), nn.ReLU(), Dropout(dropout))
        self.of_y = nn.Sequential(nn.Linear(classes, of_y), nn.ReLU(), Dropout(dropout))
        self.of_both = nn.Sequential(nn.Linear(of_z + of_y, of_both), nn.ReLU(), Dropout(dropout))
        self.last = nn.Sequential(nn.Linear(of_both, channels * size**2), nn.Sigmoid())
        uniform(self, reach)

    def forward(self, latent: Tensor) -> Tensor:
        """latent: [N,Z], of `parts` => [N,channels,size,size] in [-1,1]."""
        given = split(self.parts, latent)
        both = self.of_both(torch.cat([self.of_z(given["z"]), self.of_y(given["class"])], 1))
        return 2 * self.last(both).unflatten(1, (self.channels, self.size, self.size)) - 1

    def card(self) -> Card:
        """What must be known to run it."""
        known, channels = modes(self), (latent_size(self.parts), self.channels)
        return Card("latent", channels=channels, size=self.size, latent=self.parts, modes=known, mode=known[0])


class ConditionalMLPDiscriminator(nn.Module):
    """The discriminator of Sec. 4.1: a layer of maxout units for x, one for y, one for both.

    Args:
        channels, size: of the pictures it judges.
        classes: how many y can be.
        units, pieces: of the maxout layers for x, for y, for both.
        dropout: of the hidden units.
        reach: the first weights are drawn from U(-reach, reach).
    """

    def __init__(
        self,
        channels: int = 1,
        size: int = 28,
        *,
        classes: int = 10,
        units: tuple[int, int, int] = (240, 50, 240),
        pieces: tuple[int, int, int] = (5, 5, 4),
        dropout: float = 0.5,
        reach: float = 0.005,
    ) -> None:
        super().__init__()
        self.classes = classes
        inputs = channels * size**2, classes, units[0] + units[1]
        self.of_x, self.of_y, self.of_both = (
            nn.Sequential(Maxout(given, made, pieces=count), nn.Dropout(dropout))
            for given, made, count in zip(inputs, units, pieces, strict=True)
        )
        self.last = nn.Linear(units[2], 1)
        uniform(self, reach)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x: [N,channels,size,size] in [-1,1], y: [N] classes => [N,1] raw scores."""
        labels = F.one_hot(y, self.classes).to(x)
        return self.last(self.of_both(torch.cat([self.of_x((x.flatten(1) + 1) / 2), self.of_y(labels)], 1)))


def beside(x: Tensor, labels: Tensor) -> Tensor:
    """x: [N,C,H,W], labels: [N,K] => [N,C+K,H,W], each label a map of one value."""
    return torch.cat([x, labels.to(x.dtype)[..., None, None].expand(-1, -1, *x.shape[2:])], 1)


class ConditionalDCGenerator(nn.Module):
    """DCGAN's generator that is told the class at every layer.

    Args:
        channels, size: of the pictures it draws; the size is `base` doubled, so a power of two from 8 on.
        classes: how many y can be.
        latent: how many numbers of z, each from U(-1, 1).
        width: filters of the last layer but one; layers before it have twice as many each.
        kernel: height and width of filters.
        base: height and width of the first maps.
    """

    def __init__(
        self,
        channels: int = 1,
        size: int = 32,
        *,
        classes: int = 10,
        latent: int = 100,
        width: int = 64,
        kernel: int = 5,
        base: int = 4,
    ) -> None:
        super().__init__()
        self.channels, self.size = channels, size
        self.parts = Part("z", latent, "uniform"), Part("class", classes, "class")
        filters = widths(size, width, base)
        self.project = project(latent + classes, filters[0], base)
        inner = [up(given + classes, made, kernel) for given, made in pairwise(filters)]
        self.layers = nn.ModuleList([*inner, up(width + classes, channels, kernel, last=True)])
        init_normal(self)

    def forward(self, latent: Tensor) -> Tensor:
        """latent: [N,Z], of `parts` => [N,channels,size,size] in [-1,1]."""
        labels = split(self.parts, latent)["class"]
        x = self.project(latent)
        for layer in self.layers:
            x = layer(beside(x, labels))
        return x

    def card(self) -> Card:
        """What must be known to run it."""
        known, channels = modes(self), (latent_size(self.parts), self.channels)
        return Card("latent", channels=channels, size=self.size, latent=self.parts, modes=known, mode=known[0])


class ConditionalDCDiscriminator(nn.Module):
    """DCGAN's discriminator that is told the class at every layer.

    Args:
        channels, size: of the pictures it judges; the size is `base` doubled, so a power of two from 8 on.
        classes: how many y can be.
        width: filters of the first layer; each layer after it has twice as many.
        kernel: height and width of filters.
        base: height and width of the last maps.
    """

    def __init__(
        self,
        channels: int = 1,
        size: int = 32,
        *,
        classes: int = 10,
        width: int = 64,
        kernel: int = 5,
        base: int = 4,
    ) -> None:
        super().__init__()
        self.classes = classes
        filters = widths(size, width, base)[::-1]
        first = down(channels + classes, width, kernel, norm=None)
        inner = [down(given + classes, made, kernel, norm=StoredBatchNorm) for given, made in pairwise(filters)]
        self.layers = nn.ModuleList([first, *inner])
        self.last = nn.Linear(filters[-1] * base**2 + classes, 1, bias=False)
        init_normal(self)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x: [N,channels,size,size] in [-1,1], y: [N] classes => [N,1] raw scores."""
        labels = F.one_hot(y, self.classes).to(x)
        for layer in self.layers:
            x = layer(beside(x, labels))
        return self.last(torch.cat([x.flatten(1), labels.to(x.dtype)], 1))


@final
class CGAN(Game):
    """The game of Eq. 2.

    Args:
        generator: Spec of a network that draws pictures [N,C,S,S] in [-1,1] from [N,Z]; one of its `parts` is "class".
        discriminator: Spec of a network that gives pictures and their classes raw scores.
        classes: how many there are; the data, the generator and the discriminator must have as many.
        rule: the adversarial rule.
        optimizer: Spec of the optimizer of both players, its learning rate the peak.
        discriminator_optimizer: of the discriminator where it has one of its own (Heusel et al. 2017,
            arXiv:1706.08500).
        momentum: of the optimizers, where it changes with time.
        average: half-life of the averaged generator in images; None keeps the last weights.
        r1: a penalty on the discriminator's slope.
    """

    Batch = Labelled

    def __init__(
        self,
        generator: Spec,
        discriminator: Spec,
        *,
        classes: int = 10,
        rule: Adversarial = LOGISTIC,
        optimizer: Spec = SGD,
        discriminator_optimizer: Spec | None = None,
        momentum: Ramp | None = None,
        average: HalfLife | None = None,
        r1: R1 = R1(),
    ) -> None:
        self.classes, self.rule, self.r1, self.watch = classes, rule, r1, Watch()
        self.spec = generator
        self.draws, self.judges = generator.build(), discriminator.build()
        drawn, judged = sum(part.size for part in self.draws.parts if part.name == "class"), self.judges.classes
        if not drawn == judged == classes:
            raise ValueError(
                f"the game has {classes} classes, the generator {drawn}, the discriminator {judged}; "
                "set game.classes, game.generator.classes and game.discriminator.classes to one number"
            )
        settings = None if momentum is None else lambda clock: {"momentum": momentum(clock)}
        self.generator = Player("generator", {"draws": self.draws}, optimizer, average, settings)
        self.discriminator = Player(
            "discriminator", {"judges": self.judges}, discriminator_optimizer or optimizer, settings=settings
        )

    def stages(self) -> list[Stage]:
        return [Stage("train", (self.generator, self.discriminator), self.turns)]

    def turns(self, clock: Clock) -> Iterator[tuple[Player, Loss]]:
        yield self.generator, self.generator_loss
        yield self.discriminator, self.r1(clock, self.discriminator_loss, lambda x, batch: self.judges(x, batch.y))

    def generator_loss(self, batch: Labelled, made: Made) -> dict[str, Tensor]:
        fake = self.draws(draw(self.draws.parts, len(batch.x), like=batch.x, given={"class": batch.y}))
        made.fake = fake.detach()
        return {"adversarial": self.rule.fool(self.judges(fake, batch.y))}

    def discriminator_loss(self, batch: Labelled, made: Made) -> dict[str, Tensor]:
        real, fake = self.judges(batch.x, batch.y), self.judges(made.fake.to(batch.x.dtype), batch.y)
        self.watch.note(made, x=batch.x, fake=made.fake, real_score=real, fake_score=fake)
        return {"real": self.rule.real(real), "fake": self.rule.fake(fake)}  # Eq. 2

    def observe(self, means: Mapping[str, float]) -> Sequence[str]:
        return self.watch.observe(means)

    def exports(self) -> dict[str, Export]:
        return {"generator": Export(self.draws, self.spec, self.draws.card())}

    def preview(self, batch: Labelled, networks: Mapping[str, Any]) -> list[Tensor]:
        """A column for each of the first ten classes."""
        columns = min(self.classes, 10)
        given = {"class": torch.arange(columns).repeat_interleave(8)}
        latent = fixed(self.draws.parts, 8 * columns, given=given).to(batch.x.device)
        return list(networks["generator"](latent).chunk(columns))
