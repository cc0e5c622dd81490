"""ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks (Wang et al. 2018, arXiv:1809.00219).

A deeper generator than SRGAN's, without norms, of dense blocks whose residuals are scaled down. It first learns what is
nearest pixel by pixel (L1); a second stage goes on with Eq. 3,

    content + 0.005 * adversarial + 0.01 * L1,

the content a distance between VGG19's features before their activation, the adversarial part relativistic (Eq. 1, 2):
the discriminator says whether a picture is more real than the others are on average. Real-ESRGAN (Wang et al. 2021,
arXiv:2107.10833) trains the same generator against the U-Net that is here too, for scales 1 and 2 behind a pixel
unshuffle, with the plain rule (`relativistic=False`) and on pictures made worse than small (`degrade`).

Deviations:
    the discriminator judges the images of the same step after the generator has moved;
    it sees pictures in [-1,1], where the authors' sees them in [0,1]; the generator works in [0,1] as theirs;
    it is SRGAN's of Fig. 4 for larger crops; the authors' code has another one of the same kind;
    the relativistic losses are the sums of Eq. 1 and 2; the authors' code takes half of them;
    lengths and the learning rate's steps are counted in images, 16 to the paper's update.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Annotated, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.data.bicubic import Edges, reduce
from i2i.game import Card, Export, Game, HalfLife, Loss, Made, Player, Spec, Stage
from i2i.host import seeded
from i2i.layers import Residual, spectral_norm
from i2i.losses import LOGISTIC, Adversarial, relative, wide
from i2i.schedules import Clock
from i2i.translation.srgan import Degrade, Picture, begin
from i2i.typed import Range

__all__ = ["ADAM", "ESRGAN", "RRDB", "DenseBlock", "RRDBNet", "UNetDiscriminator"]

ADAM = Spec("torch.optim:Adam", {"lr": 2e-4, "betas": [0.9, 0.999]})  # Sec. 4.1

SLOPE = 0.2  # of every LeakyReLU
SCALING = 0.2  # of every residual: beta in Fig. 4
HALO = 32  # input pixels around a tile of a network that sees farther


class DenseBlock(nn.Module):
    """x + 0.2 * the last of five convolutions, each of which sees x and what all before it made (Fig. 4).

    Attributes:
        layers: the convolutions; `activation` comes after each but the last.
    """

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        made = [growth] * 4 + [width]
        layers = [nn.Conv2d(width + i * growth, made[i], 3, 1, 1) for i in range(5)]
        self.layers, self.activation = nn.ModuleList(layers), nn.LeakyReLU(SLOPE)
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
            with torch.no_grad():
                layer.weight.mul_(0.1)  # Sec. 3.1: smaller than He's

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for layer in self.layers[:-1]:
            seen = torch.cat([seen, self.activation(layer(seen))], 1)
        return x + SCALING * self.layers[-1](seen)


class RRDB(nn.Module):
    """x + 0.2 * layers(x), the layers three dense blocks: the residual in residual dense block of Fig. 4."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(DenseBlock(width, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return x + SCALING * self.layers(x)


class RRDBNet(nn.Module):
    """The generator of Fig. 3 and 4.

    Args:
        scale: output size / input size.
        inputs, outputs: channels of the pictures.
        width: of the trunk.
        growth: channels that each convolution of a dense block adds.
        blocks: RRDBs of the trunk.
        unshuffle: pixels in a row that become channels before the first convolution, so that the network works at a
            smaller size; None takes what Real-ESRGAN does, 2 for scale 2 and 4 for scale 1.
    """

    def __init__(
        self,
        scale: Literal[1, 2, 4, 8, 16] = 4,
        *,
        inputs: int = 3,
        outputs: int = 3,
        width: int = 64,
        growth: int = 32,
        blocks: int = 23,
        unshuffle: Literal[1, 2, 4] | None = None,
    ) -> None:
        super().__init__()
        if scale not in (1, 2, 4, 8, 16):
            raise ValueError(f"RRDBNet enlarges 1, 2, 4, 8 or 16 times, not {scale}")
        if unshuffle not in (None, 1, 2, 4):
            raise ValueError(f"RRDBNet makes 1, 2 or 4 pixels in a row to channels, not {unshuffle}")
        self.scale, self.inputs, self.outputs, self.blocks = scale, inputs, outputs, blocks
        self.unshuffle = max(1, 4 // scale) if unshuffle is None else unshuffle
        self.doublings = int(math.log2(scale * self.unshuffle))
        apart = [nn.PixelUnshuffle(self.unshuffle)] if self.unshuffle > 1 else []
        self.first = nn.Sequential(*apart, nn.Conv2d(inputs * self.unshuffle**2, width, 3, 1, 1))
        within = [RRDB(width, growth) for _ in range(blocks)]
        self.trunk = Residual(*within, nn.Conv2d(width, width, 3, 1, 1))
        enlarge: list[nn.Module] = []
        for _ in range(self.doublings):
            enlarge += [nn.Upsample(scale_factor=2.0), nn.Conv2d(width, width, 3, 1, 1), nn.LeakyReLU(SLOPE)]
        self.enlarge = nn.Sequential(*enlarge)
        self.last = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1), nn.LeakyReLU(SLOPE), nn.Conv2d(width, outputs, 3, 1, 1)
        )

    def forward(self, small: Tensor) -> Tensor:
        """small: [N,inputs,H,W] in [0,1], H and W multiples of `unshuffle` => [N,outputs,scale*H,scale*W], meant to be
        in [0,1] and not bounded."""
        return self.last(self.enlarge(self.trunk(self.first(small))))

    def reach(self) -> int:
        """How far, in input pixels, an output pixel sees: the exact halo. 349 for the paper's network."""
        farthest = 0
        for row in range(2**self.doublings):  # the rows that one row of the trunk becomes
            first, last = row - 2, row + 2
            for _ in range(self.doublings):
                first, last = (first - 1) // 2, (last + 1) // 2
            within = 15 * self.blocks + 2
            first, last = (first - within) * self.unshuffle, (last + within + 1) * self.unshuffle - 1
            farthest = max(farthest, row // self.scale - first, last - row // self.scale)
        return farthest

    def card(self) -> Card:
        """What the engine must know. A deep trunk sees far and hardly looks there: its tiles overlap by less than
        `reach`, and are blended."""
        near = self.reach() <= 2 * HALO
        return Card(
            scale=self.scale,
            multiple=self.unshuffle,
            channels=(self.inputs, self.outputs),
            value_range=((0.0, 1.0), (0.0, 1.0)),
            tiling="exact" if near else "overlap",
            halo=self.reach() if near else HALO,
        )


class UNetDiscriminator(nn.Module):
    """Real-ESRGAN's discriminator (Sec. 3.3, Fig. 6): a raw score for every pixel, from far and near.

    Spectral norm in all convolutions but the first and last.

    Args:
        channels: of the picture judged.
        width: filters of the first layer; they double up to 8 * width.
        skips: whether what was seen on the way down is added on the way up.
    """

    def __init__(self, channels: int = 3, *, width: int = 64, skips: bool = True) -> None:
        super().__init__()
        self.skips = skips
        widths = [width, 2 * width, 4 * width, 8 * width]
        steps = list(itertools.pairwise(widths))
        self.first = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1), nn.LeakyReLU(SLOPE))
        self.down = nn.ModuleList(convolution(given, made, 4, 2) for given, made in steps)
        self.up = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2.0, mode="bilinear"), convolution(made, given, 3, 1))
            for given, made in reversed(steps)
        )
        last = nn.Conv2d(width, 1, 3, 1, 1)
        self.last = nn.Sequential(convolution(width, width, 3, 1), convolution(width, width, 3, 1), last)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,channels,H,W], H and W multiples of 8 => [N,1,H,W] raw scores."""
        seen = [self.first(x)]
        for layer in self.down:
            seen.append(layer(seen[-1]))
        x = seen.pop()
        for layer in self.up:
            x = layer(x) + seen.pop() if self.skips else layer(x)
        return self.last(x)


def convolution(given: int, made: int, size: int, stride: int) -> nn.Sequential:
    """A convolution with spectral norm, and its activation."""
    return nn.Sequential(spectral_norm(nn.Conv2d(given, made, size, stride, 1, bias=False)), nn.LeakyReLU(SLOPE))


@final
class ESRGAN(Game):
    """Two stages: "pixels" trains the generator alone, "adversarial" goes on from there with the discriminator.

    Args:
        generator: Spec of a network that takes small pictures in [0,1] and draws large ones in [0,1].
        discriminator: Spec of a network that gives raw scores; None plays the first stage alone.
        start: model that ships, or generator file, with the weights that the generator begins with; None draws them.
        pixels: length of the first stage in images, 0 for none; without a discriminator it lasts as long as the
            training.
        content: Spec of a module (drawn, wanted) -> scalar, both in [-1,1]: the content loss; None has none.
        pixel: weight of the L1 distance of pixels in [0,1], in the second stage (eta in Eq. 3).
        adversarial: weight of the adversarial part (lambda in Eq. 3).
        rule: the adversarial rule.
        relativistic: whether scores are taken relative to the mean of the other kind's, over all pictures of a lane;
            the losses then look at several images at once.
        optimizer: Spec of an optimizer, its learning rate the peak.
        average: half-life of the averaged generator in images; None keeps the last weights.
        edges: what the reduction to small pictures sees beyond the border; see `i2i.data.bicubic`.
        degrade: what makes the small pictures instead; Real-ESRGAN has `i2i.data.degrade:SecondOrder`.
    """

    Batch = Picture

    def __init__(
        self,
        generator: Spec,
        discriminator: Spec | None = None,
        *,
        start: str | None = None,
        pixels: Annotated[int, Range(least=0)] | None = None,
        content: Spec | None = None,
        pixel: float = 1e-2,
        adversarial: float = 5e-3,
        rule: Adversarial = LOGISTIC,
        relativistic: bool = True,
        optimizer: Spec = ADAM,
        average: HalfLife | None = None,
        edges: Edges = "replicate",
        degrade: Degrade | None = None,
    ) -> None:
        if discriminator is not None and pixels is None:
            raise ValueError("with a discriminator, say how many images the first stage has, as 'pixels'")
        self.pixels, self.rule, self.relativistic = pixels, rule, relativistic
        self.smaller = degrade or partial(reduce, edges=edges)
        self.pixel, self.adversarial, self.spec = pixel, adversarial, generator
        self.a2b: RRDBNet = generator.build()
        if start is not None:
            begin(self.a2b, start)
        self.generator = Player("generator", {"a2b": self.a2b}, optimizer, average)
        self.content: nn.Module | None = content.build() if content else None
        self.discriminator: Player | None = None
        if discriminator is not None:
            self.on_large: nn.Module = discriminator.build()
            self.discriminator = Player("discriminator", {"on_large": self.on_large}, optimizer)

    def stages(self) -> list[Stage]:
        if self.discriminator is None:
            return [Stage("pixels", (self.generator,), self.alone)]
        first = [Stage("pixels", (self.generator,), self.alone, images=self.pixels)] if self.pixels else []
        return [*first, Stage("adversarial", (self.generator, self.discriminator), self.both)]

    def alone(self, clock: Clock) -> Iterator[tuple[Player, Loss]]:
        yield self.generator, self.pixel_loss

    def both(self, clock: Clock) -> Iterator[tuple[Player, Loss]]:
        assert self.discriminator is not None
        yield self.generator, self.generator_loss
        yield self.discriminator, self.discriminator_loss

    def draw(self, batch: Picture) -> Tensor:
        """The large pictures as the generator draws them from small ones, in [-1,1]."""
        return 2 * self.a2b(self.smaller(batch.hr, self.a2b.scale).to(batch.hr.dtype)) - 1

    def pixel_loss(self, batch: Picture, made: Made) -> dict[str, Tensor]:
        return {"pixel": apart(self.draw(batch), batch.hr)}

    def generator_loss(self, batch: Picture, made: Made) -> dict[str, Tensor]:
        drawn = self.draw(batch)
        made.drawn = drawn.detach()
        fake = self.on_large(drawn)
        if self.relativistic:
            with torch.no_grad():
                real = self.on_large(batch.hr)
            fooled = self.rule.real(relative(fake, real)) + self.rule.fake(relative(real, fake))  # Eq. 2
        else:
            fooled = self.rule.fool(fake)
        terms = {"adversarial": self.adversarial * fooled, "pixel": self.pixel * apart(drawn, batch.hr)}
        if self.content is not None:
            terms["content"] = self.content(drawn, batch.hr)  # Sec. 3.3
        return terms

    def discriminator_loss(self, batch: Picture, made: Made) -> dict[str, Tensor]:
        real, fake = self.on_large(batch.hr), self.on_large(made.drawn.to(batch.hr.dtype))
        if self.relativistic:
            real, fake = relative(real, fake), relative(fake, real)  # Eq. 1
        return {"real": self.rule.real(real), "fake": self.rule.fake(fake)}

    def frozen(self) -> list[nn.Module]:
        return [] if self.content is None else [self.content]

    def exports(self) -> dict[str, Export]:
        return {"a2b": Export(self.a2b, self.spec, self.a2b.card())}

    def preview(self, batch: Picture, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        with seeded(0):
            small = self.smaller(batch.hr, self.a2b.scale)
        enlarged = F.interpolate(small, scale_factor=self.a2b.scale, mode="bicubic").clamp(0, 1)
        return [2 * enlarged - 1, 2 * networks["a2b"](small) - 1, batch.hr]


def apart(drawn: Tensor, wanted: Tensor) -> Tensor:
    """The L1 distance of pictures in [-1,1], in units of [0,1]."""
    return F.l1_loss(wide(drawn), wide(wanted)) / 2
