"""SRGAN: Photo-Realistic Single Image Super-Resolution Using a GAN (Ledig et al. 2017, arXiv:1609.04802).

A residual network works at the small size and enlarges at its end. First it learns to draw what is nearest to the
large picture, pixel by pixel (SRResNet-MSE); from there a second stage teaches it to draw what looks like one: Eq. 3,

    content + 0.001 * adversarial,

the content a distance between features, the adversarial part -log D(G(small)).

Deviations:
    the discriminator judges the images of the same step after the generator has moved;
    lengths and the learning rate's steps are counted in images, 16 to the paper's update.

Not in the paper, and off unless a recipe asks for it: `norm=None`, `residual`, `matching`, `pixel`, `even`, `average`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Literal, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.data.bicubic import Edges, reduce
from i2i.errors import UserError
from i2i.game import Card, Export, Game, HalfLife, Loss, Made, Player, Spec, Stage
from i2i.host import seeded
from i2i.layers import Conv2d, Narrow, Norm, PReLU, Residual, StoredBatchNorm, Wide, modes
from i2i.losses import LOGISTIC, Adversarial, wide
from i2i.schedules import Clock
from i2i.typed import Range

__all__ = ["ADAM", "SRGAN", "MSRResNet", "SRDiscriminator", "SRResNet"]

ADAM = Spec("torch.optim:Adam", {"lr": 1e-4, "betas": [0.9, 0.999]})  # Sec. 3.2

Scale = Literal[2, 3, 4, 8]

LEVELS = 0.02  # of [-1,1]: variations below two or three grey levels are as good as none


def block(width: int, norm: Norm | None, bias: bool, activation: nn.Module) -> Residual:
    """x + two convolutions of it (Gross and Wilber 2016): no activation after the sum."""
    return Residual(*convolution(width, norm, bias), activation, *convolution(width, norm, bias))


def convolution(width: int, norm: Norm | None, bias: bool) -> list[nn.Module]:
    """A convolution of the trunk and its norm."""
    return [nn.Conv2d(width, width, 3, 1, 1, bias=bias or norm is None), *([norm(width)] if norm else [])]


class SRResNet(nn.Module):
    """The generator of Fig. 4.

    Args:
        scale: output size / input size: powers of two by repeated doubling, 3 by one step.
        inputs, outputs: channels.
        width, blocks: of the trunk.
        norm: the layer after each convolution of the trunk but the first; None leaves it out, as EDSR does (Lim et al.
            2017, arXiv:1707.02921).
        bias: whether convolutions before a norm have a bias.
        outer_bias: whether the others have one.
        slope: of a LeakyReLU in the place of each PReLU; None keeps them.
        residual: draw what the picture differs by from its bicubic enlargement (Kim et al. 2016, arXiv:1511.04587);
            the paper draws the picture.
        bounded: whether a tanh ends it.
        span: the values that mean black and white in what it draws.
    """

    def __init__(
        self,
        scale: Scale = 4,
        *,
        inputs: int = 3,
        outputs: int = 3,
        width: int = 64,
        blocks: int = 16,
        norm: Norm | None = StoredBatchNorm,
        bias: bool = True,
        outer_bias: bool = True,
        slope: float | None = None,
        residual: bool = False,
        bounded: bool = False,
        span: tuple[float, float] = (-1.0, 1.0),  # Sec. 3.2
    ) -> None:
        super().__init__()
        if scale not in (2, 3, 4, 8):
            raise ValueError(f"SRResNet enlarges 2, 3, 4 or 8 times, not {scale}")
        if residual and inputs != outputs:
            raise ValueError(f"a residual needs as many channels out ({outputs}) as in ({inputs})")
        self.scale, self.inputs, self.outputs, self.blocks = scale, inputs, outputs, blocks
        self.residual, self.span = residual, span
        self.sizes = [3] if scale == 3 else [2] * int(math.log2(scale))

        def activation() -> nn.Module:
            return PReLU() if slope is None else nn.LeakyReLU(slope)

        first = nn.Conv2d(inputs, width, 9, 1, 4, bias=outer_bias)
        self.narrow, self.wide = Narrow(first), Wide()
        self.first = nn.Sequential(first, activation())
        within = [block(width, norm, bias, activation()) for _ in range(blocks)]
        self.trunk = Residual(*within, *convolution(width, norm, bias))
        enlarge: list[nn.Module] = []
        for size in self.sizes:
            larger = nn.Conv2d(width, width * size**2, 3, 1, 1, bias=outer_bias)
            enlarge += [larger, nn.PixelShuffle(size), activation()]
        self.enlarge = nn.Sequential(*enlarge)
        self.last = Conv2d(width, outputs, 9, 1, 4, bias=outer_bias)
        self.bound = nn.Tanh() if bounded else nn.Identity()

    def forward(self, small: Tensor) -> Tensor:
        """small: [N,inputs,H,W] in [0,1] => [N,outputs,scale*H,scale*W], meant to be in `span`."""
        large = self.wide(self.last(self.enlarge(self.trunk(self.first(self.narrow(small))))))
        if self.residual:
            low, high = self.span
            large = large + ((high - low) * F.interpolate(small, scale_factor=self.scale, mode="bicubic") + low)
        return self.bound(large)

    def card(self) -> Card:
        """What the engine must know; the halo is how far, in input pixels, an output pixel sees."""
        return Card(
            scale=self.scale,
            channels=(self.inputs, self.outputs),
            value_range=((0.0, 1.0), self.span),
            tiling="exact",
            halo=math.ceil(4 + 2 * self.blocks + 1 + behind(self.sizes, 4)),
            modes=modes(self),
            mode=modes(self)[0],
        )


def behind(sizes: Sequence[int], last: int) -> float:
    """How far, in input pixels, convolutions of 3 see that each enlarge by one of `sizes`, and one after them that sees
    `last` pixels to each side."""
    reach, size = 0.0, 1
    for step in sizes:
        reach, size = reach + 1 / size, size * step
    return reach + last / size


class MSRResNet(nn.Module):
    """The "modified SRResNet" of BasicSR and mmsr, which ESRGAN's authors compare with: no norms, no residual around
    the trunk, convolutions of 3, and drawn on top of the bilinear enlargement.

    Args:
        scale: output size / input size.
        inputs, outputs: channels.
        width, blocks: of the trunk.
    """

    def __init__(
        self, scale: Literal[2, 3, 4] = 4, *, inputs: int = 3, outputs: int = 3, width: int = 64, blocks: int = 16
    ) -> None:
        super().__init__()
        if scale not in (2, 3, 4):
            raise ValueError(f"MSRResNet enlarges 2, 3 or 4 times, not {scale}")
        if inputs not in (1, outputs):
            raise ValueError(f"{outputs} channels cannot be drawn on top of {inputs}")
        self.scale, self.inputs, self.outputs, self.blocks = scale, inputs, outputs, blocks
        self.sizes = [2, 2] if scale == 4 else [scale]
        first = nn.Conv2d(inputs, width, 3, 1, 1)
        self.narrow, self.wide = Narrow(first), Wide()
        self.first = nn.Sequential(first, nn.LeakyReLU(0.1))
        self.trunk = nn.Sequential(*(block(width, None, True, nn.ReLU()) for _ in range(blocks)))
        enlarge: list[nn.Module] = []
        for size in self.sizes:
            enlarge += [nn.Conv2d(width, width * size**2, 3, 1, 1), nn.PixelShuffle(size), nn.LeakyReLU(0.1)]
        self.enlarge = nn.Sequential(*enlarge)
        self.last = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1), nn.LeakyReLU(0.1), nn.Conv2d(width, outputs, 3, 1, 1)
        )

    def forward(self, small: Tensor) -> Tensor:
        """small: [N,inputs,H,W] in [0,1] => [N,outputs,scale*H,scale*W], meant to be in [0,1]."""
        below = F.interpolate(small, scale_factor=self.scale, mode="bilinear")
        return self.wide(self.last(self.enlarge(self.trunk(self.first(self.narrow(small)))))) + below

    def card(self) -> Card:
        """What the engine must know; the halo is how far, in input pixels, an output pixel sees."""
        return Card(
            scale=self.scale,
            channels=(self.inputs, self.outputs),
            value_range=((0.0, 1.0), (0.0, 1.0)),
            tiling="exact",
            halo=math.ceil(1 + 2 * self.blocks + behind(self.sizes, 2)),
        )


class SRDiscriminator(nn.Module):
    """The discriminator of Fig. 4: one raw score a picture.

    Args:
        channels: of the picture judged.
        width: filters of the first layer; they double up to 8 * width.
        size: height and width of the pictures of the dense layers' making; others are pooled to what they take.
        norm: the layer after each convolution but the first.
        bias: whether convolutions before a norm have a bias.
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        width: int = 64,
        size: int = 96,
        norm: Norm = StoredBatchNorm,
        bias: bool = False,
    ) -> None:
        super().__init__()
        if size % 16:
            raise ValueError(f"the discriminator halves its pictures four times: {size} pixels are no multiple of 16")
        widths = [width * 2 ** (level // 2) for level in range(8)]
        stages: list[nn.Module] = []
        for level, made in enumerate(widths):
            given = widths[level - 1] if level else channels
            layers: list[nn.Module] = [nn.Conv2d(given, made, 3, 1 + level % 2, 1, bias=bias or level == 0)]
            layers += [norm(made)] if level else []
            stages.append(nn.Sequential(*layers, nn.LeakyReLU(0.2)))
        self.stages = nn.ModuleList(stages)
        self.pool = nn.AdaptiveAvgPool2d(size // 16)
        self.dense = nn.Sequential(
            nn.Linear(widths[-1] * (size // 16) ** 2, 16 * width), nn.LeakyReLU(0.2), nn.Linear(16 * width, 1)
        )

    def features(self, x: Tensor) -> list[Tensor]:
        """x: [N,channels,H,W] in [-1,1] => what each of the eight convolutional layers makes of it."""
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def score(self, features: list[Tensor]) -> Tensor:
        """`features` => [N,1] raw scores."""
        return self.dense(self.pool(features[-1]).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,channels,H,W] in [-1,1] => [N,1] raw scores."""
        return self.score(self.features(x))


class Picture(NamedTuple):
    """hr: the large pictures, [N,C,H,W] in [-1,1]; the small ones are made of them on the device."""

    hr: Tensor


def begin(network: nn.Module, start: str) -> None:
    """Give `network` the weights of a generator file. Raises UserError where it has others."""
    from i2i.zoo import load_generator

    try:
        network.load_state_dict(load_generator(start).state_dict())
    except RuntimeError as error:
        raise UserError(f"{start} holds another network than the recipe's generator; name a fitting one") from error


def unevenness(drawn: Tensor, true: Tensor, scale: int) -> Tensor:
    """How far the error of what is drawn depends on the place within an input pixel, which no true picture knows of:
    the grid that networks leave which enlarge by a pixel shuffle.

    Errors weigh the more the less the true picture varies around them: there a grid is seen, and stands out of noise.

    drawn, true: [N,C,scale*H,scale*W] in [-1,1] => a scalar, the mean distance of the scale x scale places' mean errors
    from their common mean.
    """
    side = 2 * scale
    means = F.avg_pool2d(true, side)
    spread = (F.avg_pool2d(true**2, side) - means**2).clamp_min(0).sqrt().mean(1, keepdim=True)
    weight = 1 / (spread + LEVELS)
    error = (drawn - true) * F.interpolate(weight / weight.mean(), drawn.shape[-2:])
    places = error.unflatten(-1, (-1, scale)).unflatten(-3, (-1, scale)).mean((0, -4, -2))  # [C,scale,scale]
    return (places - places.mean((-2, -1), keepdim=True)).abs().mean()


Degrade = Callable[[Tensor, int], Tensor]
"""(large pictures [N,C,H,W] in [-1,1], scale) -> small ones in [0,1]; may draw from the global generators."""

Distance = Callable[[Tensor, Tensor], Tensor]
"""(drawn, wanted), [N,C,H,W] in [-1,1] -> a scalar."""


@final
class SRGAN(Game):
    """Two stages: "pixels" trains the generator alone, "adversarial" goes on from there with the discriminator.

    Args:
        generator: Spec of a network that takes small pictures in [0,1] and draws large ones in [-1,1].
        discriminator: Spec of a network with `features` and `score`; None plays the first stage alone (SRResNet).
        start: model that ships, or generator file, with the weights that the generator begins with; None draws them.
        pixels: length of the first stage in images, 0 for none; without a discriminator it lasts as long as the
            training.
        distance: between drawn and wanted pictures, in the first stage.
        content: Spec of a module (drawn, wanted) -> scalar: the content loss of the second stage; None has none.
        matching: weight of the L1 distance of the discriminator's own features (Wang et al. 2018, arXiv:1711.11585,
            Eq. 4), averaged over its layers; the paper has none.
        pixel: weight of the L1 distance of pixels in the second stage; the paper has none.
        even: weight of `unevenness` in the second stage; the paper has none.
        adversarial: weight of the adversarial part (Eq. 3).
        rule: the adversarial rule.
        optimizer: Spec of an optimizer, its learning rate the peak.
        average: half-life of the averaged generator in images; None keeps the last weights.
        edges: what the reduction to small pictures sees beyond the border; see `i2i.data.bicubic`.
        degrade: what makes the small pictures instead, such as `i2i.data.degrade:SecondOrder`.
    """

    Batch = Picture

    def __init__(
        self,
        generator: Spec,
        discriminator: Spec | None = None,
        *,
        start: str | None = None,
        pixels: Annotated[int, Range(least=0)] | None = None,
        distance: Distance = F.mse_loss,
        content: Spec | None = None,
        matching: float = 0.0,
        pixel: float = 0.0,
        even: float = 0.0,
        adversarial: float = 1e-3,
        rule: Adversarial = LOGISTIC,
        optimizer: Spec = ADAM,
        average: HalfLife | None = None,
        edges: Edges = "replicate",
        degrade: Degrade | None = None,
    ) -> None:
        if discriminator is not None and pixels is None:
            raise ValueError("with a discriminator, say how many images the first stage has, as 'pixels'")
        if discriminator is not None and content is None and not matching and not pixel:
            raise ValueError("the second stage needs a content, matching or pixel loss beside the adversarial one")
        self.pixels, self.distance, self.rule = pixels, distance, rule
        self.smaller = degrade or partial(reduce, edges=edges)
        self.matching, self.pixel, self.even, self.adversarial = matching, pixel, even, adversarial
        self.spec = generator
        self.a2b: SRResNet = generator.build()
        if start is not None:
            begin(self.a2b, start)
        self.generator = Player("generator", {"a2b": self.a2b}, optimizer, average)
        self.content: nn.Module | None = content.build() if content else None
        self.discriminator: Player | None = None
        if discriminator is not None:
            self.on_large: SRDiscriminator = discriminator.build()
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
        """The large pictures as the generator draws them from small ones."""
        return self.a2b(self.smaller(batch.hr, self.a2b.scale).to(batch.hr.dtype))

    def pixel_loss(self, batch: Picture, made: Made) -> dict[str, Tensor]:
        return {"pixel": self.distance(wide(self.draw(batch)), batch.hr)}  # Eq. 4

    def generator_loss(self, batch: Picture, made: Made) -> dict[str, Tensor]:
        drawn = self.draw(batch)
        made.drawn = drawn.detach()
        features = self.on_large.features(drawn)
        terms = {"adversarial": self.adversarial * self.rule.fool(self.on_large.score(features))}  # Eq. 3 and 6
        if self.content is not None:
            terms["content"] = self.content(drawn, batch.hr)  # Eq. 5
        if self.matching:
            with torch.no_grad():
                wanted = self.on_large.features(batch.hr)
            apart = [F.l1_loss(wide(x), wide(y)) for x, y in zip(features, wanted, strict=True)]
            terms["matching"] = self.matching * torch.stack(apart).mean()
        if self.pixel:
            terms["pixel"] = self.pixel * F.l1_loss(wide(drawn), batch.hr)
        if self.even:
            terms["even"] = self.even * unevenness(wide(drawn), batch.hr, self.a2b.scale)
        return terms

    def discriminator_loss(self, batch: Picture, made: Made) -> dict[str, Tensor]:
        real, fake = self.on_large(batch.hr), self.on_large(made.drawn.to(batch.hr.dtype))
        return {"real": self.rule.real(real), "fake": self.rule.fake(fake)}  # Eq. 2

    def frozen(self) -> list[nn.Module]:
        return [] if self.content is None else [self.content]

    def exports(self) -> dict[str, Export]:
        return {"a2b": Export(self.a2b, self.spec, self.a2b.card())}

    def preview(self, batch: Picture, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        with seeded(0):
            small = self.smaller(batch.hr, self.a2b.scale)
        enlarged = 2 * F.interpolate(small, scale_factor=self.a2b.scale, mode="bicubic").clamp(0, 1) - 1
        return [enlarged, networks["a2b"](small), batch.hr]
