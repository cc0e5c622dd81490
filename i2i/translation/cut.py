"""CUT: Contrastive Learning for Unpaired Image-to-Image Translation (Park et al. 2020, arXiv:2007.15651).

One generator draws b from a. A patch discriminator judges what it draws, and each patch of that must be more like the
patch of a at its own place than like a's other patches (Eq. 2 and 3): the features that the generator's own encoder
finds in both are brought by small networks H, one a layer, onto the unit sphere, where

    l(v, v+, v-) = -log( exp(v . v+ / t) / (exp(v . v+ / t) + sum_n exp(v . v-_n / t)) ),    t = 0.07.

The objective is Eq. 5, L_GAN + lambda_X PatchNCE(a, G(a)) + lambda_Y PatchNCE(b, G(b)). CUT has 1 and 1; FastCUT has 10
and 0, and shows the generator every second picture mirrored (App. C). For single pictures (Sec. 4.4) patches of the
whole batch are each other's negatives, the discriminator has an R1 penalty, and G(b) is to be b.

CUT's generator is CycleGAN's ResNet made less sensitive to shifts (Zhang 2019, arXiv:1904.11486): where that one
strides, this one convolves at full size and blurs while it drops every second pixel; where that one convolves
transposed, this one blurs while it doubles the size and convolves after.

Deviations:
    H is built with its widths, not at the first batch, and moves by the generator's optimizer (the authors' two are
    alike); the patches of each picture are at places of its own; the discriminator judges the pictures of the same step
    after the generator has moved (the authors move it first); the learning rate falls per image, not per epoch; the
    generator that is kept can be an average of the weights. The networks for single pictures leave out the noise that
    StyleGAN2 adds to features, so that the same picture is always drawn alike.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.aids import R1
from i2i.game import Card, Export, Game, HalfLife, Loss, Made, Player, Spec, Stage
from i2i.layers import (
    BlurDown,
    BlurUp,
    EqualisedConv2d,
    EqualisedLinear,
    InstanceNorm,
    Norm,
    binomial,
    fixed,
    init_xavier,
    modes,
)
from i2i.losses import LEAST_SQUARES, Adversarial, wide
from i2i.schedules import Clock
from i2i.translation.cyclegan import Padding, ResnetBlock, Unpaired, apart
from i2i.translation.pix2pix import ADAM

__all__ = [
    "CUT",
    "AntialiasedPatchDiscriminator",
    "AntialiasedResnet",
    "PatchHeads",
    "SinDiscriminator",
    "SinGenerator",
    "of_all",
    "of_each",
]

LAYERS = (0, 4, 8, 12, 16)


class AntialiasedResnet(nn.Module):
    """CUT's generator (App. C.1): CycleGAN's, antialiased.

    Args:
        inputs, outputs: channels.
        width: filters of the first layer.
        blocks: residual blocks.
        norm: the layer after each convolution but the last.
        bias: whether convolutions before a norm have a bias (the last one always has).
        dropout: probability between the convolutions of a block.
        padding: of the blocks.
        blur_down, blur_up: whether it is antialiased on that way; without, it strides as CycleGAN's.
    """

    def __init__(
        self,
        inputs: int = 3,
        outputs: int = 3,
        *,
        width: int = 64,
        blocks: int = 9,
        norm: Norm = InstanceNorm,
        bias: bool = True,
        dropout: float = 0.0,
        padding: Padding = "reflect",
        blur_down: bool = True,
        blur_up: bool = True,
    ) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        # radius: as CycleGAN's, and what the blurs see: 1 and 2 pixels on the way down, 4 and 2 on the way up
        self.halo = 12 + 8 * blocks + 3 * blur_down + 6 * blur_up
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(inputs, width, 7, bias=bias)]
        layers += [norm(width), nn.ReLU()]
        for given in (width, 2 * width):
            stride = 1 if blur_down else 2
            layers += [nn.Conv2d(given, 2 * given, 3, stride, 1, bias=bias), norm(2 * given), nn.ReLU()]
            layers += [nn.ReflectionPad2d(1), BlurDown(2 * given)] if blur_down else []
        block = partial(ResnetBlock, norm=norm, bias=bias, dropout=dropout, padding=padding)
        layers += [block(4 * width) for _ in range(blocks)]
        for given in (4 * width, 2 * width):
            if blur_up:
                layers += [nn.ReplicationPad2d(1), BlurUp(given), nn.Conv2d(given, given // 2, 3, 1, 1, bias=bias)]
            else:
                layers += [nn.ConvTranspose2d(given, given // 2, 3, 2, 1, 1, bias=bias)]
            layers += [norm(given // 2), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, outputs, 7), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        blurs = [isinstance(layer, BlurDown | BlurUp) for layer in layers]
        # the authors count a blur and the padding before it as one layer
        self.stops = tuple(index for index in range(len(layers)) if not any(blurs[index + 1 : index + 2]))

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,inputs,H,W] in [-1,1], H and W multiples of 4 => [N,outputs,H,W] in [-1,1]."""
        return self.layers(x)

    def card(self) -> Card:
        """What the engine must know. Instance norm sees the whole picture, so plain tiles would differ: no tiling."""
        channels, known = (self.inputs, self.outputs), modes(self)
        return Card(multiple=4, minimum=32, channels=channels, halo=self.halo, modes=known, mode=known[0])


class AntialiasedPatchDiscriminator(nn.Module):
    """The patch discriminator of the authors' code: pix2pix's with 70 pixels, but where that one strides, this one
    convolves at full size and blurs while it drops every second pixel.

    Args:
        channels: of the picture judged.
        width: filters of the first layer; they double up to 8 * width.
        norm: the layer after each convolution but the first and the last.
        bias: whether convolutions before a norm have a bias.
    """

    def __init__(self, channels: int = 3, *, width: int = 64, norm: Norm = InstanceNorm, bias: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for level, (given, made) in enumerate(pairwise([channels, width, 2 * width, 4 * width, 8 * width])):
            layers += [nn.Conv2d(given, made, 4, 1, 1, bias=bias or level == 0), *([norm(made)] if level else [])]
            layers += [nn.LeakyReLU(0.2), *([nn.ReflectionPad2d(1), BlurDown(made)] if level < 3 else [])]
        self.layers = nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,channels,H,W] in [-1,1] => [N,1,h,w] raw scores."""
        return self.layers(x)


# --- the networks for single pictures


class Blur(nn.Conv2d):
    """Each channel blurred by 1-3-3-1, with zeros around it. The filter is as `BlurDown`'s."""

    def __init__(self, channels: int, *, padding: int, gain: float = 1.0) -> None:
        super().__init__(channels, channels, 4, padding=padding, groups=channels, bias=False)
        fixed(self, gain * binomial(1, 3, 3, 1, channels=channels))


class StyleBlock(nn.Module):
    """StyleGAN2's residual block (Karras et al. 2020, arXiv:1912.04958, Fig. 7): two convolutions, beside them one or
    the input itself, and their sum divided by sqrt 2. With `down` it halves height and width."""

    def __init__(self, inputs: int, outputs: int, *, down: bool = False) -> None:
        super().__init__()
        second = EqualisedConv2d(inputs, outputs, 3, stride=1 + down, padding=int(not down))
        before = [Blur(inputs, padding=2)] if down else []
        first = EqualisedConv2d(inputs, inputs, 3, padding=1)
        self.layers = nn.Sequential(first, nn.LeakyReLU(0.2), *before, second, nn.LeakyReLU(0.2))
        beside = EqualisedConv2d(inputs, outputs, 1, stride=2, gain=1, bias=False) if down else nn.Identity()
        self.beside = nn.Sequential(Blur(inputs, padding=1), beside) if down else beside

    def forward(self, x: Tensor) -> Tensor:
        return (self.layers(x) + self.beside(x)) / math.sqrt(2)


class StyleUp(nn.Module):
    """Twice the height and width: StyleGAN2's convolution of 3 with filters of unit length (Karras et al. 2020, Eq. 3,
    without a style), transposed, then blurred by 1-3-3-1."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.blur = Blur(outputs, padding=1, gain=4)  # of four pixels three are zeros

    def forward(self, x: Tensor) -> Tensor:
        weight = F.normalize(self.weight.flatten(1)).view_as(self.weight).transpose(0, 1)
        x = self.blur(F.conv_transpose2d(x, weight, stride=2)) + self.bias[:, None, None]
        return math.sqrt(2) * F.leaky_relu(x, 0.2)


class SinGenerator(nn.Module):
    """The generator for single pictures: StyleGAN2's residual blocks, halved once on the way.

    Args:
        inputs, outputs: channels.
        width: filters at full size; twice as many at half of it. The authors' crops of 64 pixels get 80.
        blocks: residual blocks at half the size.
    """

    def __init__(self, inputs: int = 3, outputs: int = 3, *, width: int = 80, blocks: int = 6) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        first = nn.Sequential(EqualisedConv2d(inputs, width, 1), nn.LeakyReLU(0.2))
        last = nn.Sequential(EqualisedConv2d(width, outputs, 1), nn.LeakyReLU(0.2))  # the authors' has it, too
        within = [StyleBlock(2 * width, 2 * width) for _ in range(blocks)]
        down, up = StyleBlock(width, 2 * width, down=True), StyleUp(2 * width, width)
        self.layers = nn.Sequential(nn.Identity(), first, down, *within, up, last)
        self.stops = tuple(range(len(self.layers)))

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,inputs,H,W] in [-1,1], H and W even => [N,outputs,H,W], meant to be in [-1,1]."""
        return self.layers(x)

    def card(self) -> Card:
        """What the engine must know."""
        return Card(multiple=2, minimum=8, channels=(self.inputs, self.outputs))


class SinDiscriminator(nn.Module):
    """The discriminator for single pictures: StyleGAN2's, down to 4x4; one raw score a picture.

    Args:
        channels: of the picture judged.
        width: filters at full size; they double up to 12 * width. The authors' crops of 64 pixels get 32.
        size: height and width of the picture judged, a power of 2.
    """

    def __init__(self, channels: int = 3, *, width: int = 32, size: int = 64) -> None:
        super().__init__()
        if size < 8 or size & (size - 1):
            raise ValueError(f"the discriminator halves its pictures down to 4 pixels; {size} is no 8, 16, 32, ...")
        widths = [width * min(12, 2**level) for level in range(int(math.log2(size)) - 1)]
        last = widths[-1]
        blocks = [StyleBlock(*pair, down=True) for pair in pairwise(widths)]
        self.layers = nn.Sequential(
            *(EqualisedConv2d(channels, width, 1), nn.LeakyReLU(0.2), *blocks),
            *(EqualisedConv2d(last, last, 3, padding=1), nn.LeakyReLU(0.2), nn.Flatten()),
            *(EqualisedLinear(16 * last, last), nn.LeakyReLU(0.2), EqualisedLinear(last, 1, gain=1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,channels,size,size] in [-1,1] => [N,1] raw scores."""
        return self.layers(x)


# --- the comparison of patches


def encoded(network: Any, x: Tensor, numbers: Sequence[int], *, through: bool = False) -> tuple[list[Tensor], Tensor]:
    """What the layers of those `numbers`, as the authors count them, make of a picture, and what the last layer that
    is run makes: the last of those, or `through` to the end."""
    stops = [network.stops[number] for number in numbers]
    found = {}
    for index, layer in enumerate(network.layers if through else network.layers[: max(stops) + 1]):
        x = layer(x)
        if index in stops:
            found[index] = x
    return [found[stop] for stop in stops], x


def widths(network: Any, numbers: Sequence[int]) -> list[int]:
    """How many features each of those layers has. Found without computing anything.

    Raises ValueError where the network has no such layer.
    """
    if not all(0 <= number < len(network.stops) for number in numbers):
        raise ValueError(f"the generator has layers 0 to {len(network.stops) - 1}, not {', '.join(map(str, numbers))}")
    ghost = copy.deepcopy(network).to("meta")
    picture = torch.empty(1, network.inputs, 64, 64, device="meta")
    return [feature.shape[1] for feature in encoded(ghost, picture, numbers)[0]]


class PatchHeads(nn.Module):
    """H of Sec. 3.2: for each layer two linear ones with a ReLU between, and unit length.

    Args:
        widths: how many features the layers have.
        features: that are compared.
    """

    def __init__(self, widths: Sequence[int], *, features: int = 256) -> None:
        super().__init__()
        pairs = [(nn.Linear(width, features), nn.Linear(features, features)) for width in widths]
        self.heads = nn.ModuleList(nn.Sequential(first, nn.ReLU(), second) for first, second in pairs)

    def forward(self, found: Sequence[Tensor], places: Sequence[Tensor]) -> list[Tensor]:
        """found: [N,C,H,W] each; places: [N,S] each, numbers from 0 to H*W-1 => [N,S,features] each, of length 1."""
        made = []
        for head, feature, place in zip(self.heads, found, places, strict=True):
            rows = feature.permute(0, 2, 3, 1).flatten(1, 2)
            picked = rows.gather(1, place[..., None].expand(-1, -1, rows.shape[2]))
            made.append(F.normalize(wide(head(picked)), dim=2, eps=1e-7))
        return made


def of_each(patches: Tensor) -> Tensor:
    """A patch's negatives are the other patches of its picture: [N,S,C] as it is."""
    return patches


def of_all(patches: Tensor) -> Tensor:
    """A patch's negatives are all other patches that pass together, for crops of one picture: => [1,N*S,C]."""
    return patches.flatten(0, 1)[None]


def contrast(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Cross entropy of finding each query's own key among those of its group (Eq. 2). [G,S,C] of length 1 => a scalar.

    A batched product, which autocast rounds to three digits: cosines of 0.003 apart are told apart no more.
    """
    likeness = wide(queries @ keys.transpose(1, 2)) / temperature
    own = torch.arange(likeness.shape[1], device=likeness.device).expand(len(likeness), -1)
    return F.cross_entropy(likeness.flatten(0, 1), own.flatten())


@final
class CUT(Game):
    """The game of Eq. 5.

    Args:
        generator: Spec of a network a -> b with `layers`, and `stops` that number them.
        discriminator: Spec of a network that scores pictures.
        rule: the adversarial rule.
        content: weight of the comparison of a with G(a) (lambda_X of Eq. 5).
        identity: weight of the comparison of b with G(b) (lambda_Y of Eq. 5); 0 leaves it out, as FastCUT does.
        pixel: weight of the L1 distance of b and G(b); the authors have it for single pictures.
        flip: how often the generator is shown a lane mirrored; FastCUT: 0.5.
        layers: whose features are compared, numbered as the authors do.
        patches: how many places of a picture are compared in each layer.
        features: that H makes of a patch.
        temperature: t of Eq. 2.
        negatives: groups the patches [N,S,C] among which each is to be found: `of_each` or `of_all`.
        r1: penalty on the discriminator's slope; the authors have it for single pictures.
        optimizer: Spec of an optimizer, its learning rate the peak.
        average: half-life of the averaged generator in images; None keeps the last weights.
    """

    Batch = Unpaired

    def __init__(
        self,
        generator: Spec,
        discriminator: Spec,
        *,
        rule: Adversarial = LEAST_SQUARES,
        content: float = 1.0,
        identity: float = 1.0,
        pixel: float = 0.0,
        flip: float = 0.0,
        layers: tuple[int, ...] = LAYERS,
        patches: int = 256,
        features: int = 256,
        temperature: float = 0.07,
        negatives: Callable[[Tensor], Tensor] = of_each,
        r1: R1 = R1(),
        optimizer: Spec = ADAM,
        average: HalfLife | None = None,
    ) -> None:
        self.rule, self.content, self.identity, self.pixel, self.flip = rule, content, identity, pixel, flip
        self.layers, self.patches, self.temperature, self.negatives = layers, patches, temperature, negatives
        self.r1, self.spec = r1, generator
        self.a2b: AntialiasedResnet = init_xavier(generator.build())
        self.on_b = init_xavier(discriminator.build())
        self.heads = init_xavier(PatchHeads(widths(self.a2b, layers), features=features))
        self.generator = Player("generator", {"a2b": self.a2b, "heads": self.heads}, optimizer, average)
        self.discriminator = Player("discriminator", {"on_b": self.on_b}, optimizer)

    def stages(self) -> list[Stage]:
        return [Stage("train", (self.generator, self.discriminator), self.turns)]

    def turns(self, clock: Clock) -> Iterator[tuple[Player, Loss]]:
        yield self.generator, self.generator_loss
        yield self.discriminator, self.r1(clock, self.discriminator_loss, lambda b, batch: self.on_b(b), true="b")

    def generator_loss(self, batch: Unpaired, made: Made) -> dict[str, Tensor]:
        mirrored = self.flip > 0 and bool(torch.rand(()) < self.flip)
        fake, apart_from_a = self.drawn(batch.a, mirrored)
        made.fake = fake.detach()
        terms = {"adversarial": self.rule.fool(self.on_b(fake)), "content": self.content * apart_from_a}
        if self.identity or self.pixel:
            same, apart_from_b = self.drawn(batch.b, mirrored)
            terms["identity"] = self.identity * apart_from_b
            if self.pixel:
                terms["pixel"] = self.pixel * apart(same, batch.b.flip(3) if mirrored else batch.b)
        return terms

    def drawn(self, given: Tensor, mirrored: bool) -> tuple[Tensor, Tensor]:
        """What the generator draws, and how far its patches are from those at their places in the picture (Eq. 3)."""
        seen, fake = encoded(self.a2b, given.flip(3) if mirrored else given, self.layers, through=True)
        again, _ = encoded(self.a2b, fake, self.layers)
        if mirrored:  # what is drawn of the mirrored picture is compared with the picture as it was
            again = [feature.flip(3) for feature in again]
            with torch.no_grad():
                seen, _ = encoded(self.a2b, given, self.layers)
        places = [self.places(feature) for feature in seen]
        with torch.no_grad():
            keys = self.heads(seen, places)
        queries = self.heads(again, places)
        pairs = [(self.negatives(query), self.negatives(key)) for query, key in zip(queries, keys, strict=True)]
        return fake, torch.stack([contrast(*pair, self.temperature) for pair in pairs]).mean()

    def places(self, feature: Tensor) -> Tensor:
        """[N,S] places in each picture, all different."""
        count = feature.shape[2] * feature.shape[3]
        return torch.rand(len(feature), count, device=feature.device).topk(min(self.patches, count)).indices

    def discriminator_loss(self, batch: Unpaired, made: Made) -> dict[str, Tensor]:
        real, fake = self.on_b(batch.b), self.on_b(made.fake.to(batch.b.dtype))
        return {"real": 0.5 * self.rule.real(real), "fake": 0.5 * self.rule.fake(fake)}

    def exports(self) -> dict[str, Export]:
        return {"a2b": Export(self.a2b, self.spec, self.a2b.card())}

    def preview(self, batch: Unpaired, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        return [batch.a, networks["a2b"](batch.a), batch.b]
