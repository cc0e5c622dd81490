"""InfoGAN: Interpretable Representation Learning by Information Maximizing Generative Adversarial Nets
(Chen, Duan, Houthooft, Schulman, Sutskever and Abbeel 2016), arXiv:1606.03657.

The generator draws of noise z and codes c, and a network Q reads the codes off what it has drawn. That they can be read
is part of the generator's goal, so that codes come to mean what visibly changes a picture.

    Eq. 3    min over G and Q, max over D:   V(D, G) - lambda I(c; G(z, c))
    Eq. 5    I(c; G(z, c)) >= E[log Q(c | G(z, c))] + H(c),   of which H(c) is constant
    C.1      MNIST: z of 62 numbers, a code of 10 classes, two codes from -1 to 1; the networks below

Of the class code, -log Q is cross entropy, on logits. Of a code from -1 to 1 it is, up to a constant, half the squared
distance from Q's mean: Q is normal with a standard deviation of 1, as the authors' code fixes it. (Another fixed one
would be another weight, `continuous`.) The authors' code has a lambda of 1 for both; the paper (Sec. 6) 1 for classes,
and says of the others that theirs may have to be smaller.

Q stands on the discriminator's layers (Sec. 6), its own belong to the discriminator's optimizer, and the same term is
in both players' losses, as in the authors' code. It is exported as "recogniser": pictures to the logits of the class
code. Pictures are in [0,1], as there.

Deviations: the discriminator judges the pictures of the same step, after the generator has moved; no bias before a
norm, which removes it; the convolutions' first weights are not truncated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.aids import R1, Watch, bare
from i2i.data.labelled import Alone
from i2i.game import Card, Clock, Export, Game, HalfLife, Loss, Made, Part, Player, Spec, Stage
from i2i.latents import draw, fixed, latent_size
from i2i.layers import Norm, StoredBatchNorm, init_normal
from i2i.losses import LOGISTIC, Adversarial, wide

__all__ = ["Discriminator", "Generator", "InfoGAN", "Judgement", "Recogniser"]

GENERATOR_ADAM = Spec("torch.optim:Adam", {"lr": 1e-3, "betas": [0.5, 0.999]})  # App. C.1
DISCRIMINATOR_ADAM = Spec("torch.optim:Adam", {"lr": 2e-4, "betas": [0.5, 0.999]})
UNIT = (0.0, 1.0)  # values of pictures: black, white
ROWS = 8


def codes(classes: int, continuous: int) -> tuple[Part, ...]:
    """The parts of the latent vector that Q reads."""
    numbers = (Part(f"c{place + 1}", 1, "uniform", (-1.0, 1.0)) for place in range(continuous))
    return Part("digit", classes, "class"), *numbers


class Generator(nn.Module):
    """The generator of App. C.1: two dense layers, then two transposed convolutions, each of which doubles the size.

    Args:
        size: height and width of what is drawn, a multiple of 4.
        channels: of what is drawn.
        noise: numbers of z.
        classes: of the code "digit".
        continuous: codes c1, c2, ... from -1 to 1.
        width: channels at half the size; twice as many at a quarter.
        hidden: width of the first dense layer.
        norm: the layer after each but the last.
    """

    def __init__(
        self,
        size: int = 28,
        channels: int = 1,
        *,
        noise: int = 62,
        classes: int = 10,
        continuous: int = 2,
        width: int = 64,
        hidden: int = 1024,
        norm: Norm = StoredBatchNorm,
    ) -> None:
        super().__init__()
        check(size)
        self.size, self.channels = size, channels
        self.parts = (Part("z", noise, "uniform", (-1.0, 1.0)), *codes(classes, continuous))
        quarter = 2 * width * (size // 4) ** 2
        self.dense = nn.Sequential(
            nn.Linear(latent_size(self.parts), hidden, bias=False), norm(hidden), nn.ReLU(),
            nn.Linear(hidden, quarter, bias=False), norm(quarter), nn.ReLU(),
            nn.Unflatten(1, (2 * width, size // 4, size // 4)),
        )  # fmt: skip
        self.convolutions = nn.Sequential(
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False), norm(width), nn.ReLU(),
            nn.ConvTranspose2d(width, channels, 4, 2, 1),
        )  # fmt: skip
        init_normal(self)

    def forward(self, latent: Tensor) -> Tensor:
        """latent: [N,Z], of `parts` => [N,channels,size,size] in [0,1]."""
        return self.convolutions(self.dense(latent)).sigmoid()

    def card(self) -> Card:
        """What is to be known to run it: by stored statistics only, for a vector has none of its own."""
        return Card(
            kind="latent",
            channels=(latent_size(self.parts), self.channels),
            value_range=((-1.0, 1.0), UNIT),
            modes=("stored",),
            mode="stored",
            latent=self.parts,
            size=self.size,
        )


class Judgement(NamedTuple):
    """score: [N,1] raw scores; codes: [N,classes+continuous], logits of the class code, then means of the others."""

    score: Tensor
    codes: Tensor


class Discriminator(nn.Module):
    """Discriminator and Q of App. C.1, on the same two convolutions and dense layer.

    Args:
        size: height and width of the pictures, a multiple of 4.
        channels: of the pictures.
        classes, continuous: the codes that Q reads.
        width: filters of the first convolution; the second has twice as many.
        hidden: width of the dense layer.
        reading: width of Q's own layer.
        norm: the layer after each but the first and the last.
    """

    def __init__(
        self,
        size: int = 28,
        channels: int = 1,
        *,
        classes: int = 10,
        continuous: int = 2,
        width: int = 64,
        hidden: int = 1024,
        reading: int = 128,
        norm: Norm = StoredBatchNorm,
    ) -> None:
        super().__init__()
        check(size)
        self.size, self.channels, self.classes = size, channels, classes
        self.codes = codes(classes, continuous)
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.1),
            nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False), norm(2 * width), nn.LeakyReLU(0.1), nn.Flatten(),
            nn.Linear(2 * width * (size // 4) ** 2, hidden, bias=False), norm(hidden), nn.LeakyReLU(0.1),
        )  # fmt: skip
        self.score = nn.Linear(hidden, 1)
        self.read = nn.Sequential(
            nn.Linear(hidden, reading, bias=False), norm(reading), nn.LeakyReLU(0.1),
            nn.Linear(reading, latent_size(self.codes)),
        )  # fmt: skip
        init_normal(self)

    def forward(self, x: Tensor) -> Judgement:
        """x: [N,channels,size,size] in [0,1]."""
        features = self.trunk(x)
        return Judgement(self.score(features), self.read(features))


class Recogniser(nn.Module):
    """Q as a classifier: which of the classes of the code "digit" a picture was drawn from, or would have been.

    Args:
        discriminator: the network that Q is part of.
    """

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator: Discriminator = discriminator  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,channels,size,size] in [0,1] => [N,classes] logits."""
        return self.discriminator(x).codes[:, : self.discriminator.classes]

    def numbers(self, x: Tensor) -> Tensor:
        """x: [N,channels,size,size] in [0,1] => [N,continuous], what it takes c1, c2, ... to be."""
        return self.discriminator(x).codes[:, self.discriminator.classes :]

    def card(self) -> Card:
        """What is to be known to run it. The classes are those of the code, which no one has named."""
        return Card(
            kind="classifier",
            channels=(self.discriminator.channels, self.discriminator.classes),
            value_range=(UNIT, (-1.0, 1.0)),
            modes=("stored",),
            mode="stored",
            size=self.discriminator.size,
            classes=tuple(f"code {place}" for place in range(self.discriminator.classes)),
        )


def check(size: int) -> None:
    if size < 4 or size % 4:
        raise ValueError(f"InfoGAN's networks halve and double sizes twice: {size} pixels are no multiple of 4")


def unit(x: Tensor) -> Tensor:
    """From [-1,1] to [0,1]."""
    return (x + 1) / 2


@final
class InfoGAN(Game):
    """Three networks, two players: the generator, and the discriminator with Q.

    Args:
        generator: Spec of a network that draws, [N,Z] of `parts` to pictures in [0,1].
        discriminator: Spec of a network that says of pictures in [0,1] a `Judgement`.
        categorical: weight of the information term of the class code; the paper's lambda.
        continuous: its weight for the other codes.
        rule: the adversarial rule.
        optimizer: Spec of the generator's optimizer, its learning rate the peak.
        discriminator_optimizer: Spec of the discriminator's and Q's.
        average: half-life of the averaged networks in images; None keeps the last weights.
        r1: penalty on the discriminator's slope.

    Raises ValueError for networks of different codes.
    """

    Batch = Alone

    def __init__(
        self,
        generator: Spec,
        discriminator: Spec,
        *,
        categorical: float = 1.0,
        continuous: float = 1.0,
        rule: Adversarial = LOGISTIC,
        optimizer: Spec = GENERATOR_ADAM,
        discriminator_optimizer: Spec = DISCRIMINATOR_ADAM,
        average: HalfLife | None = None,
        r1: R1 = R1(),
    ) -> None:
        self.spec, self.rule, self.r1, self.watch = generator, rule, r1, Watch()
        self.categorical, self.continuous = categorical, continuous
        self.g: Generator = generator.build()
        self.on_x: Discriminator = discriminator.build()
        self.recogniser = Recogniser(self.on_x)
        self.recogniser_spec = Spec.to(Recogniser, discriminator=bare(discriminator))
        self.parts = self.g.parts
        if self.parts[1:] != self.on_x.codes:
            raise ValueError("generator and discriminator need the same 'classes' and 'continuous'")
        self.generator = Player("generator", {"g": self.g}, optimizer, average)
        self.discriminator = Player("discriminator", {"q": self.recogniser}, discriminator_optimizer, average)

    def stages(self) -> list[Stage]:
        return [Stage("information", (self.generator, self.discriminator), self.turns)]

    def turns(self, clock: Clock) -> Iterator[tuple[Player, Loss]]:
        yield self.generator, self.generator_loss
        yield self.discriminator, self.r1(clock, self.discriminator_loss, lambda x, batch: self.on_x(unit(x)).score)

    def generator_loss(self, batch: Alone, made: Made) -> dict[str, Tensor]:
        latent = draw(self.parts, len(batch.x), like=batch.x)
        fake = self.g(latent)
        made.latent, made.fake = latent, fake.detach()
        score, read = self.on_x(fake)
        return {"adversarial": self.rule.fool(score), **self.information(latent, read)}

    def discriminator_loss(self, batch: Alone, made: Made) -> dict[str, Tensor]:
        real, _ = self.on_x(unit(batch.x))
        fake, read = self.on_x(made.fake)
        self.watch.note(made, x=unit(batch.x), fake=made.fake, real_score=real, fake_score=fake)
        return {"real": self.rule.real(real), "fake": self.rule.fake(fake), **self.information(made.latent, read)}

    def information(self, latent: Tensor, read: Tensor) -> dict[str, Tensor]:
        """-log Q(c|x) up to a constant, the mean over pictures (Eq. 5); `read`: [N,classes+continuous], Q's."""
        classes = self.on_x.classes
        given = latent[:, -read.shape[1] :]
        terms = {"class": self.categorical * F.cross_entropy(wide(read[:, :classes]), given[:, :classes])}
        if read.shape[1] > classes:
            apart = wide(read[:, classes:]) - given[:, classes:]
            terms["numbers"] = self.continuous * apart.square().sum(1).mean() / 2
        return terms

    def observe(self, means: Mapping[str, float]) -> list[str]:
        return self.watch.observe(means)

    def exports(self) -> dict[str, Export]:
        return {
            "generator": Export(self.g, self.spec, self.g.card()),
            "recogniser": Export(self.recogniser, self.recogniser_spec, self.recogniser.card()),
        }

    def preview(self, batch: Alone, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        """A column for each class of the code, a row for each z, c1, c2, ..."""
        columns = []
        for place in range(self.on_x.classes):
            latent = fixed(self.parts, ROWS, given={"digit": torch.full((ROWS,), place)})
            columns.append(2 * networks["generator"](latent.to(batch.x)) - 1)
        return columns
