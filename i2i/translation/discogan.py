"""DiscoGAN: Learning to Discover Cross-Domain Relations with Generative Adversarial Networks (Kim et al. 2017,
arXiv:1703.05192).

Two generators, a to b and b to a, each of them one network that is used twice (Fig. 2c): on true pictures, whose
translations a discriminator judges (Eq. 4 and 6), and on translations, which must come back as they were (Eq. 3). The
paper's two other models are the same game with another `Relation`: a plain GAN (Fig. 2a) judges translations of a
alone, and a GAN with one reconstruction (Fig. 2b) has them come back as well.

What the paper does not say is as in the authors' code. There the generators learn from

    (1 - r) * (0.1 * adversarial + 0.9 * matching) + r * reconstruction,

where `matching` is the squared distance between the discriminator's features of true and of translated pictures, each
averaged over the batch, and r is 0.01 for the first 10,000 steps and 0.5 from then on. Every third step is the
discriminators', all others are the generators'. Pictures are in [0,1] inside the networks.

Deviations:
    the share r changes at an image, not at a step; the generators that are kept can be averages of the weights;
    a picture is run by its own statistics (the authors' are those of the test batch);
    the last linear layer of the points' generator (Sec. 3.1) has no ReLU after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.game import Card, Export, Game, HalfLife, Loss, Made, Player, Spec, Stage
from i2i.layers import BatchNorm, Norm, StoredBatchNorm, modes
from i2i.losses import LOGISTIC, Adversarial, wide
from i2i.schedules import Clock
from i2i.translation.cyclegan import Unpaired
from i2i.typed import Range

__all__ = [
    "BIJECTIVE",
    "ONE_WAY",
    "RETURNING",
    "Curriculum",
    "DiscoGAN",
    "EncoderDecoder",
    "MatchedDiscriminator",
    "PointDiscriminator",
    "PointGenerator",
    "Relation",
]

ADAM = Spec("torch.optim:Adam", {"lr": 2e-4, "betas": [0.5, 0.999], "weight_decay": 1e-5})  # the paper decays by 1e-4
UNIT = (0.0, 1.0)
OTHER = {"a": "b", "b": "a"}
INTO = {"a": "b2a", "b": "a2b"}
"""The generator that draws pictures of a domain."""


class EncoderDecoder(nn.Module):
    """The generator of Sec. 3.2: convolutions of 4 that halve, as many that double, and nothing that goes past them.

    Args:
        inputs, outputs: channels.
        width: filters of the first layer; they double up to 8 * width.
        depth: how often the picture is halved; the authors' 64x64 becomes 4x4.
        bottleneck: features of a layer that sees 4x4 at once, in the middle; 100 in the authors' experiments on angles,
            0 for none.
        norm: the layer after each convolution but the first and the last. Statistics that are stored would be wrong for
            true pictures and for translations alike, for a generator sees both; only where a bottleneck makes a picture
            one pixel, which has none of its own, are they stored.
    """

    def __init__(
        self,
        inputs: int = 3,
        outputs: int = 3,
        *,
        width: int = 64,
        depth: int = 4,
        bottleneck: int = 0,
        norm: Norm = BatchNorm,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"an encoder halves its pictures at least once, not {depth} times")
        self.inputs, self.outputs, self.depth, self.bottleneck = inputs, outputs, depth, bottleneck
        widths = [width * min(8, 2**level) for level in range(depth)]
        layers: list[nn.Module] = [nn.Conv2d(inputs, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
        for given, made in pairwise(widths):
            layers += [nn.Conv2d(given, made, 4, 2, 1, bias=False), norm(made), nn.LeakyReLU(0.2)]
        if bottleneck:
            layers += [nn.Conv2d(widths[-1], bottleneck, 4, bias=False), StoredBatchNorm(bottleneck), nn.LeakyReLU(0.2)]
            layers += [nn.ConvTranspose2d(bottleneck, widths[-1], 4, bias=False), norm(widths[-1]), nn.ReLU()]
        for made, given in reversed(list(pairwise(widths))):
            layers += [nn.ConvTranspose2d(given, made, 4, 2, 1, bias=False), norm(made), nn.ReLU()]
        layers += [nn.ConvTranspose2d(width, outputs, 4, 2, 1, bias=False), nn.Sigmoid()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,inputs,H,W] in [0,1], H and W multiples of 2**depth => [N,outputs,H,W] in [0,1]."""
        return self.layers(x)

    def card(self) -> Card:
        """What the engine must know."""
        size, known = 2**self.depth, ("stored",) if self.bottleneck else modes(self)
        return Card(
            multiple=size,
            minimum=4 * size if self.bottleneck else 2 * size,
            channels=(self.inputs, self.outputs),
            value_range=(UNIT, UNIT),
            modes=known,
            mode=known[0],
        )


class MatchedDiscriminator(nn.Module):
    """The discriminator of Sec. 3.2: one raw score for a picture of 2**(depth + 2) pixels, one a place for larger ones.

    Args:
        channels: of the picture judged.
        width: filters of the first layer; they double up to 8 * width.
        depth: how often the picture is halved.
        norm: the layer after each convolution but the first and the last.
    """

    def __init__(self, channels: int = 3, *, width: int = 64, depth: int = 4, norm: Norm = BatchNorm) -> None:
        super().__init__()
        widths = [channels] + [width * min(8, 2**level) for level in range(depth)]
        self.stages = nn.ModuleList()
        for level in range(depth):
            layers: list[nn.Module] = [nn.Conv2d(widths[level], widths[level + 1], 4, 2, 1, bias=False)]
            layers += [norm(widths[level + 1])] if level else []
            self.stages.append(nn.Sequential(*layers, nn.LeakyReLU(0.2)))
        self.last = nn.Conv2d(widths[-1], 1, 4, bias=False)

    def features(self, x: Tensor) -> list[Tensor]:
        """x: [N,channels,H,W] in [0,1] => what the stages after the first make of it, which is matched."""
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found[1:] or found

    def score(self, features: list[Tensor]) -> Tensor:
        """`features` => [N,1,h,w] raw scores; 64x64 gives one at depth 4."""
        return self.last(features[-1])


def dense(sizes: list[int]) -> nn.ModuleList:
    """Linear layers, each but the last with a ReLU."""
    *pairs, last = pairwise(sizes)
    return nn.ModuleList([*(nn.Sequential(nn.Linear(*pair), nn.ReLU()) for pair in pairs), nn.Linear(*last)])


class PointGenerator(nn.Module):
    """The generator of the experiment with points (Sec. 3.1): linear layers, each but the last with a ReLU.

    A point is a picture of one pixel, its coordinates the channels.
    """

    def __init__(self, coordinates: int = 2, *, width: int = 128, layers: int = 3) -> None:
        super().__init__()
        self.coordinates = coordinates
        self.layers = dense([coordinates, *[width] * (layers - 1), coordinates])

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,coordinates,H,W] => the same shape: each pixel is a point."""
        x = x.movedim(1, -1)
        for layer in self.layers:
            x = layer(x)
        return x.movedim(-1, 1)

    def card(self) -> Card:
        return Card(channels=(self.coordinates, self.coordinates), value_range=(UNIT, UNIT))


class PointDiscriminator(nn.Module):
    """The discriminator of the experiment with points (Sec. 3.1): five linear layers, each but the last with a ReLU."""

    def __init__(self, coordinates: int = 2, *, width: int = 128, layers: int = 5) -> None:
        super().__init__()
        self.layers = dense([coordinates, *[width] * (layers - 1), 1])

    def features(self, x: Tensor) -> list[Tensor]:
        """x: [N,coordinates,H,W] => what the layers but the last make of each point, [N,H,W,width] each."""
        found = [x.movedim(1, -1)]
        for layer in self.layers[:-1]:
            found.append(layer(found[-1]))
        return found[1:]

    def score(self, features: list[Tensor]) -> Tensor:
        """`features` => [N,H,W,1] raw scores."""
        return self.layers[-1](features[-1])


class Relation(NamedTuple):
    """What is asked of translations: in which domains they are `judged`, and of which domains pictures that were
    translated must have `returned`."""

    judged: tuple[str, ...]
    returned: tuple[str, ...]


ONE_WAY = Relation(judged=("b",), returned=())  # Fig. 2(a): a plain GAN
RETURNING = Relation(judged=("b",), returned=("a",))  # Fig. 2(b): a GAN with one reconstruction
BIJECTIVE = Relation(judged=("b", "a"), returned=("a", "b"))  # Fig. 2(c): DiscoGAN


@dataclass(frozen=True)
class Curriculum:
    """The share of the reconstruction: `first` until image `images`, `then` from there on."""

    first: float = 0.01
    then: float = 0.5
    images: int = 2_000_000  # the authors' 10,000 steps, of the paper's 200 pictures

    def __post_init__(self) -> None:
        if not (0 <= self.first <= 1 and 0 <= self.then <= 1):
            raise ValueError(f"a share lies between 0 and 1, not at {self.first} or {self.then}")

    def __call__(self, clock: Clock) -> float:
        return self.first if clock.images < self.images else self.then


def unit(batch: Unpaired) -> dict[str, Tensor]:
    """Pictures in [0,1] by their domain."""
    return {"a": (batch.a + 1) / 2, "b": (batch.b + 1) / 2}


def between_means(some: list[Tensor], others: list[Tensor]) -> Tensor:
    """Squared distance of features [N,...], averaged over the pictures that pass together (Salimans et al. 2016,
    arXiv:1606.03498, Sec. 3.1); the sum over the layers."""
    apart = [F.mse_loss(wide(x).mean(0), wide(y).mean(0)) for x, y in zip(some, others, strict=True)]
    return torch.stack(apart).sum()


@final
class DiscoGAN(Game):
    """The game of Eq. 7 and 8, or one of the two that the paper compares it with.

    Args:
        generator: Spec of a network that translates pictures in [0,1]; built once for each way that is needed.
        discriminator: Spec of a network with `features` and `score`; built once for each domain that is judged.
        relation: what is asked of translations.
        rule: the adversarial rule.
        distance: between a picture and what came back of it (d of Eq. 3).
        adversarial, matching: weights of the two adversarial parts; 0 leaves the matching of features out.
        share: (clock) -> r, the weight of the reconstruction; the adversarial parts have 1 - r.
        every: each such step is the discriminators', the others are the generators'.
        optimizer: Spec of an optimizer, its learning rate the peak.
        average: half-life of the averaged generators in images; None keeps the last weights.
    """

    Batch = Unpaired

    def __init__(
        self,
        generator: Spec,
        discriminator: Spec,
        *,
        relation: Relation = BIJECTIVE,
        rule: Adversarial = LOGISTIC,
        distance: Callable[[Tensor, Tensor], Tensor] = F.mse_loss,
        adversarial: float = 0.1,
        matching: float = 0.9,
        share: Callable[[Clock], float] = Curriculum(),
        every: Annotated[int, Range(least=2)] = 3,
        optimizer: Spec = ADAM,
        average: HalfLife | None = None,
    ) -> None:
        self.relation, self.rule, self.distance, self.spec = relation, rule, distance, generator
        self.adversarial, self.matching, self.share, self.every = adversarial, matching, share, every
        used = [side for side in OTHER if side in relation.judged + relation.returned]
        self.to: dict[str, EncoderDecoder] = {side: generator.build() for side in used}
        self.on: dict[str, MatchedDiscriminator] = {side: discriminator.build() for side in relation.judged}
        ways = {INTO[side]: network for side, network in self.to.items()}
        judges = {f"on_{side}": network for side, network in self.on.items()}
        self.generators = Player("generators", ways, optimizer, average)
        self.discriminators = Player("discriminators", judges, optimizer)

    def stages(self) -> list[Stage]:
        return [Stage("train", (self.generators, self.discriminators), self.turns)]

    def turns(self, clock: Clock) -> Iterator[tuple[Player, Loss]]:
        if clock.steps % self.every == 0:
            yield self.discriminators, self.discriminator_loss
        else:
            yield self.generators, partial(self.generator_loss, share=self.share(clock))

    def generator_loss(self, batch: Unpaired, made: Made, *, share: float) -> dict[str, Tensor]:
        true = unit(batch)
        drawn = {side: self.to[side](true[OTHER[side]]) for side in self.relation.judged}
        seen = {side: self.on[side].features(drawn[side]) for side in drawn}
        fooled = [self.rule.fool(self.on[side].score(seen[side])) for side in seen]
        terms = {"adversarial": (1 - share) * self.adversarial * torch.stack(fooled).sum()}  # Eq. 4
        if self.matching:
            with torch.no_grad():
                wanted = {side: self.on[side].features(true[side]) for side in seen}
            apart = torch.stack([between_means(seen[side], wanted[side]) for side in seen]).sum()
            terms["matching"] = (1 - share) * self.matching * apart
        if self.relation.returned:
            back = {side: self.to[side](drawn[OTHER[side]]) for side in self.relation.returned}
            lost = torch.stack([self.distance(wide(back[side]), true[side]) for side in back]).sum()
            terms["reconstruction"] = share * lost  # Eq. 3
        return terms

    def discriminator_loss(self, batch: Unpaired, made: Made) -> dict[str, Tensor]:
        true, terms = unit(batch), {}
        for side, judge in self.on.items():
            with torch.no_grad():
                drawn = self.to[side](true[OTHER[side]]).to(true[side].dtype)
            real, fake = (judge.score(judge.features(x)) for x in (true[side], drawn))
            terms[side] = 0.5 * (self.rule.real(real) + self.rule.fake(fake))  # Eq. 6, halved as in the authors' code
        return terms

    def exports(self) -> dict[str, Export]:
        return {INTO[side]: Export(network, self.spec, network.card()) for side, network in self.to.items()}

    def preview(self, batch: Unpaired, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        if batch.a.shape[2:] == (1, 1):
            return []  # points
        columns: list[Tensor] = []
        for side, start in unit(batch).items():
            shown, domain = [start], side
            while len(shown) < 3 and INTO[OTHER[domain]] in networks:  # there, and back again
                domain = OTHER[domain]
                shown.append(networks[INTO[domain]](shown[-1]))
            columns += [2 * x - 1 for x in shown]
        return columns
