"""pix2pix: Image-to-Image Translation with Conditional Adversarial Networks (Isola et al. 2017, arXiv:1611.07004).

A U-Net draws b from a; a patch discriminator judges the pair (a, b) patch by patch. The objective is Eq. 4,

    min_G max_D  E[log D(a, b)] + E[log(1 - D(a, G(a)))] + 100 E|b - G(a)|,

with the non-saturating generator and the discriminator's share halved (Sec. 3.3). The noise z is dropout (Sec. 3.1).

Deviations:
    the discriminator judges the images of the same step after the generator has moved (the reference moves it first);
    no norm at the 1x1 bottleneck (the paper's own erratum), and no bias before a norm;
    the learning rate falls per image, not per epoch; the generator that is kept can be an average of the weights.

Not in the paper, and off unless a recipe asks for it: `pixels`, `r1`, `discriminator_optimizer`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.aids import R1
from i2i.game import Card, Export, Game, HalfLife, Loss, Made, Player, Spec, Stage
from i2i.layers import BatchNorm, Dropout, Norm, Resampling, init_normal, modes
from i2i.losses import LOGISTIC, Adversarial, wide
from i2i.schedules import Clock
from i2i.typed import Range

__all__ = ["ADAM", "PatchDiscriminator", "Pix2Pix", "UnetGenerator"]

ADAM = Spec("torch.optim:Adam", {"lr": 2e-4, "betas": [0.5, 0.999]})  # Sec. 3.3


def transposed(inputs: int, outputs: int, *, bias: bool) -> nn.Module:
    """The paper's way up: a transposed convolution of 4."""
    return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=bias)


class UnetGenerator(nn.Module):
    """The U-Net of Sec. 6.1.1: C64-C128-C256-C512-... down to 1x1 for inputs of 2**depth, and back with skips.

    Args:
        inputs, outputs: channels.
        width: filters of the first layer; they double up to 8 * width.
        depth: how often the picture is halved; the paper's 256x256 takes 8.
        dropout: probability in the decoder blocks of `dropped`, the paper's first three.
        norm: the layer after each convolution but the first, the innermost and the last.
        bias: whether convolutions before a norm have a bias (the last one always has).
        dropped: which decoder blocks have the dropout, counted from the innermost; the reference code's 256x256
            network takes 1, 2 and 3.
        skip_first: whether decoder blocks read the skip before what came up, as in the reference code.
        up: what doubles the size: the paper's transposed convolution, `i2i.layers:ResizeUp` or `i2i.layers:BlurredUp`.
    """

    def __init__(
        self,
        inputs: int = 3,
        outputs: int = 3,
        *,
        width: int = 64,
        depth: int = 8,
        dropout: float = 0.5,
        norm: Norm = BatchNorm,
        bias: bool = False,
        dropped: tuple[int, ...] = (0, 1, 2),
        skip_first: bool = False,
        up: Resampling = transposed,
    ) -> None:
        super().__init__()
        if depth < 2:
            raise ValueError(f"a U-Net needs a depth of at least 2, not {depth}")
        self.inputs, self.outputs, self.depth, self.skip_first = inputs, outputs, depth, skip_first
        widths = [width * min(8, 2**level) for level in range(depth)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, channels in enumerate(widths):
            layers: list[nn.Module] = [nn.LeakyReLU(0.2)] if level else []
            layers += [nn.Conv2d(widths[level - 1] if level else inputs, channels, 4, 2, 1, bias=bias)]
            layers += [norm(channels)] if 0 < level < depth - 1 else []  # the 1x1 bottleneck takes no norm
            self.down.append(nn.Sequential(*layers))
        for level in reversed(range(1, depth)):
            # the innermost block reads the bottleneck alone; the others read what came up beside the skip
            given = widths[level] * (1 if level == depth - 1 else 2)
            layers = [nn.ReLU(), up(given, widths[level - 1], bias=bias)]
            layers += [norm(widths[level - 1])]
            layers += [Dropout(dropout)] if dropout and depth - 1 - level in dropped else []
            self.up.append(nn.Sequential(*layers))
        self.last = nn.Sequential(nn.ReLU(), up(2 * width, outputs, bias=True), nn.Tanh())

    def forward(self, a: Tensor) -> Tensor:
        """a: [N,inputs,H,W] in [-1,1], H and W multiples of 2**depth => [N,outputs,H,W] in [-1,1]."""
        skips = [a]
        for down in self.down:
            skips.append(down(skips[-1]))
        x = skips.pop()
        for up in self.up:
            x, skip = up(x), skips.pop()
            x = torch.cat([skip, x] if self.skip_first else [x, skip], dim=1)
        return self.last(x)

    def card(self) -> Card:
        """What the engine must know. The paper's mode leaves dropout on; statistics are the image's own in it."""
        size, known = 2**self.depth, modes(self)
        return Card(multiple=size, minimum=size, channels=(self.inputs, self.outputs), modes=known, mode=known[0])


FIELDS = {1: 0, 16: 1, 34: 2, 70: 3, 142: 4, 286: 5}  # receptive field in pixels -> strided layers (Sec. 6.1.2)


class PatchDiscriminator(nn.Module):
    """The patch discriminator of Sec. 3.2 and 6.1.2: one raw score for every `field` x `field` patch.

    Args:
        channels: of the picture judged; input and output channels together where pairs are judged.
        width: filters of the first layer; they double up to 8 * width.
        field: receptive field in pixels; 1 is the PixelGAN.
        norm: the layer after each convolution but the first and the last.
        bias: whether convolutions before a norm have a bias.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int = 64,
        field: Literal[1, 16, 34, 70, 142, 286] = 70,
        norm: Norm = BatchNorm,
        bias: bool = False,
    ) -> None:
        super().__init__()
        if field not in FIELDS:
            raise ValueError(f"a patch discriminator sees {', '.join(map(str, FIELDS))} pixels, not {field}")
        size, padding = (1, 0) if field == 1 else (4, 1)
        strides = [2] * FIELDS[field] + [1, 1]
        widths = [channels] + [width * min(8, 2**level) for level in range(len(strides) - 1)] + [1]
        layers: list[nn.Module] = []
        for level, stride in enumerate(strides):
            first, last = level == 0, level == len(strides) - 1
            given, made = widths[level], widths[level + 1]
            layers.append(nn.Conv2d(given, made, size, stride, padding, bias=bias or first or last))
            layers += [] if first or last else [norm(made)]
            layers += [] if last else [nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,channels,H,W] in [-1,1] => [N,1,h,w] raw scores; 256x256 gives 30x30 at field 70."""
        return self.layers(x)


class Pair(NamedTuple):
    """a: what is given, b: what is wanted; [N,C,H,W] in [-1,1]."""

    a: Tensor
    b: Tensor


@final
class Pix2Pix(Game):
    """The game of Eq. 4.

    Args:
        generator: Spec of a network a -> b.
        discriminator: Spec of a network that takes a and b, concatenated.
        rule: the adversarial rule.
        pixel: weight of the L1 term (Eq. 3).
        pixels: images of a first stage in which that term trains the generator alone.
        r1: penalty on the discriminator's slope at b, for few pictures, which it would learn by heart.
        optimizer: Spec of an optimizer, its learning rate the peak.
        discriminator_optimizer: of the discriminator where it has one of its own (Heusel et al. 2017,
            arXiv:1706.08500, Sec. 1).
        average: half-life of the averaged generator in images; None keeps the last weights.
    """

    Batch = Pair

    def __init__(
        self,
        generator: Spec,
        discriminator: Spec,
        *,
        rule: Adversarial = LOGISTIC,
        pixel: float = 100.0,
        pixels: Annotated[int, Range(least=0)] = 0,
        r1: R1 = R1(),
        optimizer: Spec = ADAM,
        discriminator_optimizer: Spec | None = None,
        average: HalfLife | None = None,
    ) -> None:
        self.rule, self.pixel, self.pixels, self.r1, self.spec = rule, pixel, pixels, r1, generator
        self.a2b: UnetGenerator = init_normal(generator.build())
        self.on_pair = init_normal(discriminator.build())
        self.generator = Player("generator", {"a2b": self.a2b}, optimizer, average)
        self.discriminator = Player("discriminator", {"on_pair": self.on_pair}, discriminator_optimizer or optimizer)

    def stages(self) -> list[Stage]:
        first = [Stage("pixels", (self.generator,), self.alone, images=self.pixels)] if self.pixels else []
        return [*first, Stage("train", (self.generator, self.discriminator), self.turns)]

    def alone(self, clock: Clock) -> Iterator[tuple[Player, Loss]]:
        yield self.generator, self.pixel_loss

    def turns(self, clock: Clock) -> Iterator[tuple[Player, Loss]]:
        yield self.generator, self.generator_loss
        yield self.discriminator, self.r1(clock, self.discriminator_loss, self.scores, true="b")

    def pixel_loss(self, batch: Pair, made: Made) -> dict[str, Tensor]:
        return {"pixel": self.pixel * F.l1_loss(wide(self.a2b(batch.a)), batch.b)}  # Eq. 3

    def generator_loss(self, batch: Pair, made: Made) -> dict[str, Tensor]:
        fake = self.a2b(batch.a)
        made.fake = fake.detach()
        return {
            "adversarial": self.rule.fool(self.on_pair(torch.cat([batch.a, fake], dim=1))),  # Eq. 1, non-saturating
            "pixel": self.pixel * F.l1_loss(wide(fake), batch.b),  # Eq. 3
        }

    def discriminator_loss(self, batch: Pair, made: Made) -> dict[str, Tensor]:
        real = self.on_pair(torch.cat([batch.a, batch.b], dim=1))
        fake = self.on_pair(torch.cat([batch.a, made.fake.to(batch.a.dtype)], dim=1))
        return {"real": 0.5 * self.rule.real(real), "fake": 0.5 * self.rule.fake(fake)}  # Sec. 3.3: halved

    def scores(self, b: Tensor, batch: Pair) -> Tensor:
        """What the slope is taken of: the patches' scores over the root of their number, so that one weight of `r1`
        does for pictures of any size."""
        scores = self.on_pair(torch.cat([batch.a, b], dim=1))
        return scores / scores[0].numel() ** 0.5

    def exports(self) -> dict[str, Export]:
        return {"a2b": Export(self.a2b, self.spec, self.a2b.card())}

    def preview(self, batch: Pair, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        return [batch.a, networks["a2b"](batch.a), batch.b]
