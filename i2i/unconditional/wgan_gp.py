"""WGAN-GP: Improved Training of Wasserstein GANs (Gulrajani et al. 2017, arXiv:1704.00028).

WGAN (`i2i.unconditional.wgan`) with another bound on the critic's slope: instead of clipping its parameters, a penalty
on slopes other than 1 between true and drawn pictures. The critic minimises Eq. 3,

    E f(G(z)) - E f(x) + lambda E (|df/dx^| - 1)^2,     x^ = e x + (1 - e) G(z),  e from U[0,1] for each pair.

|df/dx^| is the length of one picture's gradient, over all its channels and pixels. It must depend on that picture only:
no batch norm in the critic, layer norm does no harm (Sec. 4). The critic moves five times for each move of the
generator (Alg. 1); lambda = 10; Adam with betas 0 and 0.9. Its estimate of the distance is in the journal, as
"critic/estimate", and falls as the pictures improve.

The networks are those of the authors' code: the ResNets for CIFAR-10 (`ResGenerator`, `ResCritic`) and for 64x64
(`ResGenerator`, `LargeResCritic`). First weights are uniform, with He's spread before a ReLU, Glorot's elsewhere.

One step of the clock is one step of the critic on a fresh batch.

Deviations:
    no bias between a convolution and batch norm (three layers of the CIFAR generator have one in the authors' code);
    a shortcut's average pooling stands before its 1x1 convolution, which gives the same values;
    without labels only: neither conditional norms nor the auxiliary classifier.

Not in the paper, and off unless a recipe asks for it: `critic_optimizer`, `average`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Any, TypeVar, final

import torch
from torch import Tensor, nn

from i2i.aids import Watch, bare
from i2i.data.labelled import Alone
from i2i.game import Card, Clock, Export, Game, HalfLife, Loss, Made, Part, Player, Spec, Stage
from i2i.latents import draw, fixed, latent_size
from i2i.layers import Norm, StoredBatchNorm, modes
from i2i.losses import WASSERSTEIN, gradient_penalty
from i2i.typed import Range

__all__ = ["ADAM", "WGANGP", "LargeResCritic", "LayerNorm", "ResCritic", "ResGenerator"]

ADAM = Spec("torch.optim:Adam", {"lr": 1e-4, "betas": [0.0, 0.9]})  # Alg. 1

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)

RECTIFIED = math.sqrt(2)  # what He's spread is wider by, for what a ReLU takes away


class LayerNorm(nn.GroupNorm):
    """Layer norm over all of a picture's features (Ba et al. 2016), with a scale and an offset a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels)


def drawn(layer: Layer, gain: float = 1.0) -> Layer:
    """The layer with weights of the variance gain^2 * 2 / (fan-in + fan-out), and no bias (Glorot and Bengio 2010)."""
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def rectified(inputs: int, outputs: int, norm: Norm | None, *, bias: bool = True) -> list[nn.Module]:
    """Norm, ReLU, and a convolution."""
    convolution = drawn(nn.Conv2d(inputs, outputs, 3, 1, 1, bias=bias), RECTIFIED)
    return [*([norm(inputs)] if norm else []), nn.ReLU(), convolution]


def narrowed(inputs: int, outputs: int) -> nn.Conv2d:
    """The convolution of a shortcut."""
    return drawn(nn.Conv2d(inputs, outputs, 1))


class Block(nn.Module):
    """Two ways that are added: a shortcut, and two convolutions (He et al. 2016, arXiv:1603.05027)."""

    def __init__(self, shortcut: nn.Module, *layers: nn.Module) -> None:
        super().__init__()
        self.shortcut, self.layers = shortcut, nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.layers(x)


def up(inputs: int, outputs: int, norm: Norm) -> Block:
    """A block that makes maps twice as large, by repeating each value."""
    norm_first, relu, convolution = rectified(inputs, outputs, norm, bias=False)
    larger = nn.Upsample(scale_factor=2)
    last = rectified(outputs, outputs, norm)
    return Block(nn.Sequential(larger, narrowed(inputs, outputs)), norm_first, relu, larger, convolution, *last)


def down(inputs: int, outputs: int, norm: Norm | None) -> Block:
    """A block that makes maps half as large, by means of four."""
    half = nn.AvgPool2d(2)
    first, last = rectified(inputs, inputs, norm, bias=norm is None), rectified(inputs, outputs, norm)
    return Block(nn.Sequential(half, narrowed(inputs, outputs)), *first, *last, half)


def level(width: int) -> Block:
    """A block that leaves the size as it is, without norm."""
    return Block(nn.Identity(), *rectified(width, width, None), *rectified(width, width, None))


class ResGenerator(nn.Module):
    """The generator: z is projected to 4x4 maps, and each block doubles them.

    Args:
        channels: of the pictures it draws.
        latent: how many numbers of z, each from N(0, 1).
        widths: filters at 4, 8, 16, ... pixels. The defaults are those for CIFAR-10; for 64x64: 512, 512, 256, 128, 64.
    """

    def __init__(self, channels: int = 3, *, latent: int = 128, widths: Sequence[int] = (128, 128, 128, 128)) -> None:
        super().__init__()
        if len(widths) < 2:
            raise ValueError(f"ResGenerator takes a width for each of 4, 8, ... pixels, and at least two, not {widths}")
        self.channels, self.size, self.parts = channels, 2 ** (1 + len(widths)), (Part("z", latent),)
        self.project = nn.Sequential(drawn(nn.Linear(latent, 16 * widths[0])), nn.Unflatten(1, (widths[0], 4, 4)))
        self.blocks = nn.Sequential(*(up(inputs, outputs, StoredBatchNorm) for inputs, outputs in pairwise(widths)))
        last = drawn(nn.Conv2d(widths[-1], channels, 3, 1, 1))
        self.last = nn.Sequential(StoredBatchNorm(widths[-1]), nn.ReLU(), last, nn.Tanh())

    def forward(self, latent: Tensor) -> Tensor:
        """latent: [N,Z] => [N,channels,size,size] in [-1,1]."""
        return self.last(self.blocks(self.project(latent)))

    def card(self) -> Card:
        """What must be known to run it."""
        known, channels = modes(self), (latent_size(self.parts), self.channels)
        return Card("latent", channels=channels, size=self.size, latent=self.parts, modes=known, mode=known[0])


class ResCritic(nn.Module):
    """The critic for CIFAR-10: two blocks that halve the maps, two that do not, and a score of their mean.

    Args:
        channels, size: of the pictures it judges; the size is a multiple of 4.
        width: filters of all layers.
    """

    def __init__(self, channels: int = 3, size: int = 32, *, width: int = 128) -> None:
        super().__init__()
        if size % 4:
            raise ValueError(f"ResCritic halves its pictures twice: {size} pixels are no multiple of 4")
        self.channels, self.size = channels, size
        half, first = nn.AvgPool2d(2), drawn(nn.Conv2d(channels, width, 3, 1, 1), RECTIFIED)
        begin = Block(nn.Sequential(half, narrowed(channels, width)), first, *rectified(width, width, None), half)
        self.blocks = nn.Sequential(begin, down(width, width, None), level(width), level(width), nn.ReLU())
        self.last = drawn(nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,channels,size,size] in [-1,1] => [N,1] raw scores."""
        return self.last(self.blocks(x).mean((2, 3)))

    def card(self) -> Card:
        """What must be known to run it: a classifier with one class."""
        return Card("classifier", channels=(self.channels, 1), size=self.size, classes=("score",))


class LargeResCritic(nn.Module):
    """The critic for 64x64 pictures: a convolution, blocks that halve the maps down to 4x4, and a score of them.

    Args:
        channels: of the pictures it judges.
        widths: filters at size, size/2, ... 4 pixels.
        norm: of each block.
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        norm: Norm | None = LayerNorm,
    ) -> None:
        super().__init__()
        self.channels, self.size = channels, 2 ** (1 + len(widths))
        self.first = drawn(nn.Conv2d(channels, widths[0], 3, 1, 1))
        self.blocks = nn.Sequential(*(down(inputs, outputs, norm) for inputs, outputs in pairwise(widths)))
        self.last = drawn(nn.Linear(16 * widths[-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,channels,size,size] in [-1,1] => [N,1] raw scores."""
        return self.last(self.blocks(self.first(x)).flatten(1))

    def card(self) -> Card:
        """What must be known to run it: a classifier with one class."""
        return Card("classifier", channels=(self.channels, 1), size=self.size, classes=("score",))


@final
class WGANGP(Game):
    """The game of Alg. 1.

    Args:
        generator: Spec of a network that draws pictures [N,C,S,S] in [-1,1] from [N,Z], which its `parts` describe.
        critic: Spec of a network that gives each picture a raw score that does not depend on the others.
        penalty: lambda, the weight of the gradient penalty.
        critic_steps: steps of the critic for each of the generator.
        multiple: pictures the generator draws in its turn, for each true one (the authors' code for CIFAR-10: 2).
        grain: width of uniform noise on true pictures, against the gaps between their levels (there: 1/128).
        optimizer: Spec of the optimizer of both players, its learning rate the peak.
        critic_optimizer: of the critic where it has one of its own.
        average: half-life of the averaged generator in images that the critic has seen; None keeps the last weights.
    """

    Batch = Alone

    def __init__(
        self,
        generator: Spec,
        critic: Spec,
        *,
        penalty: float = 10.0,
        critic_steps: Annotated[int, Range(least=1)] = 5,
        multiple: Annotated[int, Range(least=1)] = 1,
        grain: float = 0.0,
        optimizer: Spec = ADAM,
        critic_optimizer: Spec | None = None,
        average: HalfLife | None = None,
    ) -> None:
        self.penalty, self.critic_steps, self.multiple, self.grain = penalty, critic_steps, multiple, grain
        self.specs, self.watch = (generator, critic), Watch(sure=False)
        self.draws, self.judges = generator.build(), critic.build()
        self.generator = Player("generator", {"draws": self.draws}, optimizer, average)
        self.critic = Player("critic", {"judges": self.judges}, critic_optimizer or optimizer)

    def stages(self) -> list[Stage]:
        return [Stage("train", (self.critic, self.generator), self.turns)]

    def turns(self, clock: Clock) -> Iterator[tuple[Player, Loss]]:
        yield self.critic, self.critic_loss
        if (clock.steps + 1) % self.critic_steps == 0:
            yield self.generator, self.generator_loss

    def critic_loss(self, batch: Alone, made: Made) -> dict[str, Tensor]:
        real = batch.x + self.grain * (torch.rand_like(batch.x) - 0.5)
        with torch.no_grad():
            fake = self.draws(draw(self.draws.parts, len(real), like=real)).to(real.dtype)
        real_score, fake_score = self.judges(real), self.judges(fake)
        self.watch.note(made, x=real, fake=fake, real_score=real_score, fake_score=fake_score)
        terms = {"real": WASSERSTEIN.real(real_score), "fake": WASSERSTEIN.fake(fake_score)}
        made.note("estimate", -terms["real"] - terms["fake"])
        return terms | {"penalty": self.penalty * gradient_penalty(self.judges, real, fake)}  # Eq. 3

    def generator_loss(self, batch: Alone, made: Made) -> dict[str, Tensor]:
        latent = [draw(self.draws.parts, len(batch.x), like=batch.x) for _ in range(self.multiple)]
        fake = self.draws(torch.cat(latent))
        return {"adversarial": WASSERSTEIN.fool(self.judges(fake))}

    def observe(self, means: Mapping[str, float]) -> Sequence[str]:
        return self.watch.observe(means)

    def exports(self) -> dict[str, Export]:
        generator, critic = self.specs
        scores = replace(self.judges.card(), classes=("score",))
        return {
            "generator": Export(self.draws, generator, self.draws.card()),
            "critic": Export(self.judges, bare(critic), scores),
        }

    def preview(self, batch: Alone, networks: Mapping[str, Any]) -> list[Tensor]:
        return list(networks["generator"](fixed(self.draws.parts, 64).to(batch.x.device)).chunk(8))
