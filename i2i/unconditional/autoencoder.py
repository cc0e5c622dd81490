"""Autoencoders: pictures through a few numbers and back, without a discriminator.

    the plain one          Hinton and Salakhutdinov 2006, doi:10.1126/science.1127647
    the variational one    Auto-Encoding Variational Bayes (Kingma and Welling 2014), arXiv:1312.6114

One player with two networks. The encoder says where in the space of codes a picture lies, the decoder draws the picture
of a code, and both learn from how likely the true picture is under the drawn one. The two differ in how a code comes
from what the encoder says, which is the game's argument `code`:

    Exact       what the encoder says is the code
    Gaussian    Eq. 10: the code is drawn around a mean, and its divergence from N(0,1) is a term of the loss

    Eq. 10          L(x) = -KL(q(z|x) || p(z)) + log p(x|z),    z = mean + deviation * noise, drawn once
    Appendix B      -KL = 1/2 sum(1 + log deviation^2 - mean^2 - deviation^2)
    Appendix C.1    p(x|z) gives each pixel's probability of white: binary cross entropy
    Appendix C.2    mean and log deviation^2 are linear in a hidden layer with tanh (Sec. 5: of 500)

The decoder is exported as a generator that draws from N(0,1). The variational one has learned to be drawn from so; the
plain one has not, and shows what lies between its codes.

Deviations: the plain one has the variational one's networks and likelihood instead of stacked, pre-trained layers, so
that nothing but the code differs; no weight decay, by which the paper expresses a weak prior on the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.data.labelled import Alone
from i2i.game import Card, Clock, Export, Game, HalfLife, Loss, Made, Part, Player, Spec, Stage
from i2i.latents import fixed
from i2i.layers import init_normal
from i2i.losses import wide

__all__ = ["Autoencoder", "Code", "Decoder", "Encoder", "Exact", "Gaussian"]

ADAGRAD = Spec("torch.optim:Adagrad", {"lr": 0.01})  # Sec. 5: 0.01, 0.02 or 0.1
STD = 0.01  # of the first weights, Sec. 5
UNIT = (0.0, 1.0)  # values of pictures: black, white
COLUMNS = 8


class Encoder(nn.Module):
    """Pictures to numbers through one hidden layer (App. C.2).

    Args:
        size: height and width of the pictures.
        channels: of the pictures.
        numbers: that it says of a picture.
        hidden: width of the hidden layer.
    """

    def __init__(self, size: int = 28, channels: int = 1, *, numbers: int = 40, hidden: int = 500) -> None:
        super().__init__()
        self.size, self.channels, self.numbers = size, channels, numbers
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(channels * size**2, hidden), nn.Tanh(), nn.Linear(hidden, numbers)
        )
        init_normal(self, std=STD)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,channels,size,size] in [0,1] => [N,numbers]."""
        return self.layers(x)

    def card(self, names: tuple[str, ...]) -> Card:
        """What is to be known to run it; `names` of the numbers, in order."""
        channels, ranges = (self.channels, self.numbers), (UNIT, (-1.0, 1.0))
        return Card(kind="classifier", channels=channels, value_range=ranges, size=self.size, classes=names)


class Decoder(nn.Module):
    """Codes to pictures through one hidden layer (App. C.1).

    Args:
        size: height and width of the pictures.
        channels: of the pictures.
        code: numbers of a code.
        hidden: width of the hidden layer.
    """

    def __init__(self, size: int = 28, channels: int = 1, *, code: int = 20, hidden: int = 500) -> None:
        super().__init__()
        self.size, self.channels = size, channels
        self.parts = (Part("z", code, "normal"),)
        self.layers = nn.Sequential(
            nn.Linear(code, hidden), nn.Tanh(), nn.Linear(hidden, channels * size**2),
            nn.Unflatten(1, (channels, size, size)),
        )  # fmt: skip
        init_normal(self, std=STD)

    def logits(self, code: Tensor) -> Tensor:
        """code: [N,code] => [N,channels,size,size], of the probability that a pixel is white."""
        return self.layers(code)

    def forward(self, code: Tensor) -> Tensor:
        """code: [N,code] => [N,channels,size,size] in [0,1], the probabilities."""
        return self.logits(code).sigmoid()

    def card(self) -> Card:
        """What is to be known to run it."""
        channels, ranges = (self.parts[0].size, self.channels), ((-1.0, 1.0), UNIT)
        return Card(kind="latent", channels=channels, value_range=ranges, latent=self.parts, size=self.size)


class Code(Protocol):
    """How codes come from what the encoder says of pictures."""

    says: ClassVar[tuple[str, ...]]
    """What the encoder says of each number of a code; the first is where the code lies."""

    def __call__(self, said: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """said: [N,len(says)*code] => codes [N,code] and terms of the loss."""


@dataclass(frozen=True)
class Exact:
    """The plain autoencoder's: what the encoder says."""

    says: ClassVar[tuple[str, ...]] = ("code",)

    def __call__(self, said: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return said, {}


@dataclass(frozen=True)
class Gaussian:
    """The variational autoencoder's: drawn around a mean, by Eq. 10.

    Args:
        weight: of the divergence from N(0,1); the paper's is 1.
    """

    weight: float = 1.0
    says: ClassVar[tuple[str, ...]] = ("mean", "log variance")

    def __call__(self, said: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        mean, log_variance = wide(said).chunk(2, 1)
        code = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2  # App. B
        return code, {"divergence": self.weight * divergence}


@final
class Autoencoder(Game):
    """Encoder and decoder, one player. Terms are in nats a picture.

    Args:
        encoder: Spec of a network from pictures in [0,1] to numbers.
        decoder: Spec of a network with `logits`, from codes to pictures in [0,1].
        code: how a code comes from those numbers: `Gaussian` or `Exact`.
        optimizer: Spec of an optimizer, its learning rate the peak.
        average: half-life of the averaged networks in images; None keeps the last weights.

    Raises ValueError where the encoder says more or less than a code takes.
    """

    Batch = Alone

    def __init__(
        self,
        encoder: Spec,
        decoder: Spec,
        *,
        code: Code = Gaussian(),
        optimizer: Spec = ADAGRAD,
        average: HalfLife | None = None,
    ) -> None:
        self.encoder_spec, self.decoder_spec, self.code = encoder, decoder, code
        self.encoder: Encoder = encoder.build()
        self.decoder: Decoder = decoder.build()
        self.numbers = self.decoder.parts[0].size
        if self.encoder.numbers != len(code.says) * self.numbers:
            wanted = f"{' and '.join(code.says)} of {self.numbers} numbers"
            raise ValueError(f"the encoder says {self.encoder.numbers} numbers, but a code takes {wanted}")
        nets = {"encoder": self.encoder, "decoder": self.decoder}
        self.player = Player("autoencoder", nets, optimizer, average)

    def stages(self) -> list[Stage]:
        return [Stage("likelihood", (self.player,), self.turns)]

    def turns(self, clock: Clock) -> Iterator[tuple[Player, Loss]]:
        yield self.player, self.loss

    def loss(self, batch: Alone, made: Made) -> dict[str, Tensor]:
        white = (batch.x + 1) / 2
        code, terms = self.code(self.encoder(white))
        drawn = wide(self.decoder.logits(code))
        pixels = F.binary_cross_entropy_with_logits(drawn, white, reduction="sum") / len(white)  # -log p(x|z)
        return {"pixels": pixels, **terms}

    def exports(self) -> dict[str, Export]:
        says = tuple(f"{what} {place + 1}" for what in self.code.says for place in range(self.numbers))
        return {
            "generator": Export(self.decoder, self.decoder_spec, self.decoder.card()),
            "encoder": Export(self.encoder, self.encoder_spec, self.encoder.card(says)),
        }

    def preview(self, batch: Alone, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        """Pictures, what comes back of them, and columns of what is drawn from N(0,1)."""
        count = len(batch.x)
        codes = networks["encoder"]((batch.x + 1) / 2)[:, : self.numbers]
        drawn = fixed(self.decoder.parts, COLUMNS * count).to(batch.x).split(count)
        return [batch.x, *(2 * networks["generator"](code) - 1 for code in (codes, *drawn))]
