"""GAN: Generative Adversarial Nets (Goodfellow et al. 2014, arXiv:1406.2661).

A generator turns random numbers z into pictures, a discriminator says how likely a picture is a true one. They play

    min_G max_D  E log D(x) + E log(1 - D(G(z)))     (Eq. 1)

in turns, one step each (Alg. 1 with k = 1). Networks give raw scores; D is their sigmoid. What the generator minimises
is a rule: `SATURATING` is Eq. 1 as it stands, `LOGISTIC` has it minimise -log D(G(z)) instead, which has the same fixed
point and a gradient also where the discriminator is sure (Sec. 3). Any other rule of two players does: least squares,
hinge.

The networks here are the paper's for MNIST: perceptrons, the discriminator's of maxout units (Goodfellow et al. 2013,
arXiv:1302.4389, Eq. 2) with dropout. Their sizes, first weights and dropout are those of the authors' code.

Deviations:
    the generator moves first, and the discriminator judges the pictures of that same step;
    pictures are in [-1,1], as everywhere here: the generator's sigmoid is stretched to that, and the discriminator sees
    [0,1] again;
    the discriminator's loss is the sum of its two terms, not their mean, so its gradient is twice as large;
    the bias of the last layer begins with 0; the authors' code takes the mean of the training pictures.

Not in the paper, and off unless a recipe asks for it: `average`, `r1`, `discriminator_optimizer`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

from torch import Tensor, nn

from i2i.aids import R1, Watch, bare
from i2i.data.labelled import Alone
from i2i.game import Card, Clock, Export, Game, HalfLife, Loss, Made, Part, Player, Spec, Stage
from i2i.latents import draw, fixed, latent_size
from i2i.layers import modes
from i2i.losses import LOGISTIC, Adversarial
from i2i.schedules import Ramp

__all__ = ["GAN", "SGD", "MLPDiscriminator", "MLPGenerator", "Maxout", "uniform"]

SGD = Spec("torch.optim:SGD", {"lr": 0.1, "momentum": 0.5})  # the authors' code


class Maxout(nn.Module):
    """Units that each take the largest of several linear functions (Goodfellow et al. 2013, Eq. 2).

    x: [N,inputs] => [N,units].
    """

    def __init__(self, inputs: int, units: int, *, pieces: int = 5) -> None:
        super().__init__()
        self.units, self.pieces = units, pieces
        self.linear = nn.Linear(inputs, units * pieces)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).unflatten(1, (self.units, self.pieces)).amax(2)


def uniform(network: nn.Module, reach: float) -> None:
    """Draw the weights of all linear layers from U(-reach, reach), zero their biases."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.uniform_(module.weight, -reach, reach)
            nn.init.zeros_(module.bias)


class MLPGenerator(nn.Module):
    """The generator for MNIST: two layers of rectified units and one of sigmoids.

    Args:
        channels, size: of the pictures it draws.
        latent: how many numbers of z, each from N(0, 1).
        widths: units of the hidden layers.
        reach: the first weights are drawn from U(-reach, reach).
    """

    def __init__(
        self,
        channels: int = 1,
        size: int = 28,
        *,
        latent: int = 100,
        widths: Sequence[int] = (1200, 1200),
        reach: float = 0.05,
    ) -> None:
        super().__init__()
        self.channels, self.size = channels, size
        self.parts = (Part("z", latent),)
        layers: list[nn.Module] = []
        for inputs, outputs in zip([latent, *widths], widths, strict=False):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], channels * size**2), nn.Sigmoid())
        uniform(self, reach)

    def forward(self, latent: Tensor) -> Tensor:
        """latent: [N,Z] => [N,channels,size,size] in [-1,1]."""
        return 2 * self.layers(latent).unflatten(1, (self.channels, self.size, self.size)) - 1

    def card(self) -> Card:
        """What must be known to run it."""
        known, channels = modes(self), (latent_size(self.parts), self.channels)
        return Card("latent", channels=channels, size=self.size, latent=self.parts, modes=known, mode=known[0])


class MLPDiscriminator(nn.Module):
    """The discriminator for MNIST: two layers of maxout units with dropout before every layer.

    Args:
        channels, size: of the pictures it judges.
        units, pieces: of each maxout layer.
        dropout: of pixels, and of units.
        reach: the first weights are drawn from U(-reach, reach).
    """

    def __init__(
        self,
        channels: int = 1,
        size: int = 28,
        *,
        units: Sequence[int] = (240, 240),
        pieces: int = 5,
        dropout: tuple[float, float] = (0.2, 0.5),
        reach: float = 0.005,
    ) -> None:
        super().__init__()
        self.channels, self.size = channels, size
        pixels = channels * size**2
        layers: list[nn.Module] = [nn.Dropout(dropout[0])]
        for inputs, outputs in zip([pixels, *units], units, strict=False):
            layers += [Maxout(inputs, outputs, pieces=pieces), nn.Dropout(dropout[1])]
        self.layers = nn.Sequential(*layers, nn.Linear(units[-1], 1))
        uniform(self, reach)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,channels,size,size] in [-1,1] => [N,1] raw scores."""
        return self.layers((x.flatten(1) + 1) / 2)

    def card(self) -> Card:
        """What must be known to run it: a classifier with one class."""
        return Card("classifier", channels=(self.channels, 1), size=self.size, classes=("real",))


@final
class GAN(Game):
    """The two-player game. Two networks that know nothing of each other play it by any rule.

    Args:
        generator: Spec of a network that draws pictures [N,C,S,S] in [-1,1] from [N,Z], which its `parts` describe.
        discriminator: Spec of a network that gives pictures raw scores.
        rule: the adversarial rule.
        optimizer: Spec of the optimizer of both players, its learning rate the peak.
        discriminator_optimizer: of the discriminator where it has one of its own (Heusel et al. 2017,
            arXiv:1706.08500).
        momentum: of the optimizers, where it changes with time.
        average: half-life of the averaged generator in images; None keeps the last weights.
        r1: a penalty on the discriminator's slope.
    """

    Batch = Alone

    def __init__(
        self,
        generator: Spec,
        discriminator: Spec,
        *,
        rule: Adversarial = LOGISTIC,
        optimizer: Spec = SGD,
        discriminator_optimizer: Spec | None = None,
        momentum: Ramp | None = None,
        average: HalfLife | None = None,
        r1: R1 = R1(),
    ) -> None:
        self.rule, self.r1, self.watch = rule, r1, Watch()
        self.specs = generator, discriminator
        self.draws, self.judges = generator.build(), discriminator.build()
        settings = None if momentum is None else lambda clock: {"momentum": momentum(clock)}
        self.generator = Player("generator", {"draws": self.draws}, optimizer, average, settings)
        self.discriminator = Player(
            "discriminator", {"judges": self.judges}, discriminator_optimizer or optimizer, settings=settings
        )

    def stages(self) -> list[Stage]:
        return [Stage("train", (self.generator, self.discriminator), self.turns)]

    def turns(self, clock: Clock) -> Iterator[tuple[Player, Loss]]:
        yield self.generator, self.generator_loss
        yield self.discriminator, self.r1(clock, self.discriminator_loss, lambda x, batch: self.judges(x))

    def generator_loss(self, batch: Alone, made: Made) -> dict[str, Tensor]:
        fake = self.draws(draw(self.draws.parts, len(batch.x), like=batch.x))
        made.fake = fake.detach()
        return {"adversarial": self.rule.fool(self.judges(fake))}

    def discriminator_loss(self, batch: Alone, made: Made) -> dict[str, Tensor]:
        real, fake = self.judges(batch.x), self.judges(made.fake.to(batch.x.dtype))
        self.watch.note(made, x=batch.x, fake=made.fake, real_score=real, fake_score=fake)
        return {"real": self.rule.real(real), "fake": self.rule.fake(fake)}  # Eq. 1

    def observe(self, means: Mapping[str, float]) -> Sequence[str]:
        return self.watch.observe(means)

    def exports(self) -> dict[str, Export]:
        generator, discriminator = self.specs
        return {
            "generator": Export(self.draws, generator, self.draws.card()),
            "discriminator": Export(self.judges, bare(discriminator), self.judges.card()),
        }

    def preview(self, batch: Alone, networks: Mapping[str, Any]) -> list[Tensor]:
        return list(networks["generator"](fixed(self.draws.parts, 64).to(batch.x.device)).chunk(8))
