"""ProGAN: Progressive Growing of GANs for Improved Quality, Stability, and Variation (Karras et al. 2018,
arXiv:1710.10196).

Generator and critic begin with pictures of 4x4 pixels and grow together. What is new is faded in (Fig. 2), its share
alpha rising from 0 to 1:

    G: (1 - alpha) * up(the old layers' picture) + alpha * the new layers' picture
    D: (1 - alpha) * the old first layer's features of down(x) + alpha * the new layers' features of x
    x: (1 - alpha) * up(down(x)) + alpha * x

with each pixel four times for up, and the mean of 2x2 for down. The losses are WGAN-GP's, and a term against drifting
(App. A.1); gamma is 1, on CIFAR-10 750 (App. D):

    D: E D(G(z)) - E D(x) + 10 E (|slope| / gamma - 1)^2 + 0.001 E D(x)^2        G: -E D(G(z))

Weights are equalised (Sec. 4.1), the generator normalises each pixel's features (Sec. 4.2), and the critic sees how
much the pictures of a group differ (Sec. 3). The networks are those of App. A.1, Table 2.

A resolution has two stages, the fade and a steady one. The layer that drew the old pictures and the one that looked at
them leave when the fade ends, so that no stage has a parameter without use.

Deviations:
    the generator moves first, and the critic judges the pictures of that same step;
    the batch is the same at all resolutions, where the paper shrinks it from 16 to 3;
    a group is of four pictures, as in the authors' later code, not of the whole batch;
    a block of the critic halves the picture before its last activation, not after it, also as in that code;
    Adam begins anew with each resolution, and goes on when its fade has ended.

Not in the paper, and off unless a recipe asks for it: another `rule`, `r1`, `critic_optimizer`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.aids import R1, Watch
from i2i.data.labelled import Alone
from i2i.errors import UserError
from i2i.game import Card, Clock, Export, Game, HalfLife, Loss, Made, Part, Player, Spec, Stage
from i2i.latents import draw, fixed
from i2i.layers import EqualisedConv2d, EqualisedDown, EqualisedLinear, EqualisedUp, MinibatchDeviation, PixelNorm
from i2i.losses import WASSERSTEIN, Adversarial, gradient_penalty, wide
from i2i.typed import Range

__all__ = ["ADAM", "AVERAGE", "GrowingCritic", "GrowingGenerator", "ProGAN", "widths"]

ADAM = Spec("torch.optim:Adam", {"lr": 1e-3, "betas": [0.0, 0.99], "eps": 1e-8})  # App. A.1
AVERAGE = HalfLife(images=11_085, ramp=None)  # App. A.1: 0.999 with every 16 images


def up(x: Tensor) -> Tensor:
    """[N,C,H,W] => [N,C,2H,2W], each pixel four times."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def down(x: Tensor) -> Tensor:
    """[N,C,2H,2W] => [N,C,H,W], means of 2x2 pixels."""
    return F.avg_pool2d(x, 2)


def widths(size: int, width: int, most: int) -> dict[int, int]:
    """Features at each resolution from 4 to `size`: `width` at `size`, twice as many at half of it, but at most `most`.

    Raises ValueError for a size that 4 does not reach by doubling.
    """
    if size < 4 or size & (size - 1):
        raise ValueError(f"pictures grow from 4 pixels by doubling, which never makes {size}; take a power of two")
    return {2**level: min(width * size // 2**level, most) for level in range(2, size.bit_length())}


class GrowingGenerator(nn.Module):
    """The generator of Table 2, as far as it has grown. The defaults are those of 1024x1024 pixels.

    Args:
        channels: of the pictures.
        size: their height and width in the end, a power of two.
        width: features at that size; at half of it twice as many, and so on.
        most: the largest number of features.
        latent: numbers that a picture is drawn from.
        resolution: height and width at present; None: `size`.
        fade: share of the newest layers, while the ones before them draw too; None: they draw alone.
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        size: int = 1024,
        width: int = 16,
        most: int = 512,
        latent: int = 512,
        resolution: int | None = None,
        fade: float | None = None,
    ) -> None:
        super().__init__()
        self.channels, self.widths = channels, widths(size, width, most)
        self.parts = (Part("z", latent),)
        self.normalise = PixelNorm()
        first = EqualisedConv2d(latent, self.widths[4], 4, padding=3)  # Table 2: from one pixel to 4x4
        self.blocks = nn.ModuleDict({"4": nn.Sequential(*activated(first), *activated(self.conv(4)))})
        self.to_rgb = nn.ModuleDict({"4": EqualisedConv2d(self.widths[4], channels, 1, gain=1.0)})
        self.resolution = 4
        self.fade: float | None = None
        grow_to(self, resolution or size, fade)

    def conv(self, resolution: int) -> EqualisedConv2d:
        return EqualisedConv2d(self.widths[resolution], self.widths[resolution], 3, padding=1)

    def grow(self) -> None:
        """Add the layers of twice the resolution, with no share yet."""
        before, self.resolution, self.fade = self.resolution, 2 * self.resolution, 0.0
        now, name = self.resolution, str(self.resolution)
        larger = EqualisedUp(self.widths[before], self.widths[now])
        self.blocks[name] = nn.Sequential(*activated(larger), *activated(self.conv(now)))
        self.to_rgb[name] = EqualisedConv2d(self.widths[now], self.channels, 1, gain=1.0)

    def settle(self) -> None:
        """Let the newest layers draw alone."""
        del self.to_rgb[str(self.resolution // 2)]
        self.fade = None

    def forward(self, latent: Tensor) -> Tensor:
        """latent: [N,Z] => [N,channels,resolution,resolution], meant to be in [-1,1]."""
        x = self.normalise(latent)[:, :, None, None]
        *blocks, newest = self.blocks.values()
        for block in blocks:
            x = block(x)
        picture = self.to_rgb[str(self.resolution)](newest(x))
        if self.fade is None:
            return picture
        return torch.lerp(up(self.to_rgb[str(self.resolution // 2)](x)), picture, self.fade)

    def card(self) -> Card:
        """What must be known to run it at its present resolution."""
        numbers = sum(part.size for part in self.parts)
        return Card(kind="latent", channels=(numbers, self.channels), size=self.resolution, latent=self.parts)


class GrowingCritic(nn.Module):
    """The discriminator of Table 2, as far as it has grown: the generator's mirror.

    Args:
        channels, size, width, most, resolution, fade: as the generator's.
        group: how many pictures are compared with each other.
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        size: int = 1024,
        width: int = 16,
        most: int = 512,
        group: int = 4,
        resolution: int | None = None,
        fade: float | None = None,
    ) -> None:
        super().__init__()
        self.channels, self.widths = channels, widths(size, width, most)
        last = self.widths[4]
        self.blocks = nn.ModuleDict({
            "4": nn.Sequential(
                MinibatchDeviation(group),
                *leaky(EqualisedConv2d(last + 1, last, 3, padding=1)),
                *leaky(EqualisedConv2d(last, last, 4)),
                nn.Flatten(),
                EqualisedLinear(last, 1, gain=1.0),
            )
        })  # fmt: skip
        self.from_rgb = nn.ModuleDict({"4": self.looking(4)})
        self.resolution = 4
        self.fade: float | None = None
        grow_to(self, resolution or size, fade)

    def looking(self, resolution: int) -> nn.Sequential:
        return nn.Sequential(*leaky(EqualisedConv2d(self.channels, self.widths[resolution], 1)))

    def grow(self) -> None:
        """Add the layers of twice the resolution, with no share yet."""
        before, self.resolution, self.fade = self.resolution, 2 * self.resolution, 0.0
        width, name = self.widths[self.resolution], str(self.resolution)
        same, smaller = EqualisedConv2d(width, width, 3, padding=1), EqualisedDown(width, self.widths[before])
        self.blocks[name] = nn.Sequential(*leaky(same), *leaky(smaller))
        self.from_rgb[name] = self.looking(self.resolution)

    def settle(self) -> None:
        """Let the newest layers look alone."""
        del self.from_rgb[str(self.resolution // 2)]
        self.fade = None

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,channels,resolution,resolution] in [-1,1] => [N,1] raw scores."""
        *blocks, newest = self.blocks.values()
        seen = newest(self.from_rgb[str(self.resolution)](x))
        if self.fade is not None:
            seen = torch.lerp(self.from_rgb[str(self.resolution // 2)](down(x)), seen, self.fade)
        for block in reversed(blocks):
            seen = block(seen)
        return seen


def leaky(layer: nn.Module) -> tuple[nn.Module, ...]:
    """A layer of the critic."""
    return layer, nn.LeakyReLU(0.2)


def activated(layer: nn.Module) -> tuple[nn.Module, ...]:
    """A layer of the generator."""
    return layer, nn.LeakyReLU(0.2), PixelNorm()


def grow_to(network: GrowingGenerator | GrowingCritic, resolution: int, fade: float | None) -> None:
    """Let a network of 4x4 pixels grow."""
    if resolution not in network.widths:
        raise ValueError(f"{resolution} pixels are no stage on the way from 4 to {max(network.widths)}")
    if resolution == 4 and fade is not None:
        raise ValueError("the first layers are not faded in: 4 pixels have no fade")
    while network.resolution < resolution:
        network.grow()
        if network.resolution < resolution or fade is None:
            network.settle()
    network.fade = fade


@final
class ProGAN(Game):
    """One steady stage of 4x4 pixels, then two stages for each resolution: the fade, and a steady one.

    Args:
        generator: Spec of a network like `GrowingGenerator`, as it is in the end.
        critic: Spec of a network like `GrowingCritic`, for pictures of the same size.
        fade: images in which new layers are faded in.
        steady: images of each stage between two fades; the last one lasts as long as the training.
        rule: the adversarial rule.
        penalty: weight of the gradient penalty; 0 leaves it out.
        slope: gamma, what the critic's slope shall be.
        drift: weight of the term that keeps the critic's scores near zero.
        r1: a penalty on the critic's slope by the pixels of the data, of which those of a small stage are means.
        optimizer: Spec of the optimizer of both players, its learning rate the peak.
        critic_optimizer: of the critic where it has one of its own.
        average: half-life of the averaged generator in images; None keeps the last weights.
    """

    Batch = Alone

    def __init__(
        self,
        generator: Spec,
        critic: Spec,
        *,
        fade: Annotated[int, Range(least=1)] = 800_000,
        steady: Annotated[int, Range(least=1)] = 800_000,
        rule: Adversarial = WASSERSTEIN,
        penalty: float = 10.0,
        slope: float = 1.0,
        drift: float = 1e-3,
        r1: R1 = R1(),
        optimizer: Spec = ADAM,
        critic_optimizer: Spec | None = None,
        average: HalfLife | None = AVERAGE,
    ) -> None:
        self.spec, self.watch = generator, Watch(sure=rule is not WASSERSTEIN)
        self.fade, self.steady, self.rule, self.r1 = fade, steady, rule, r1
        self.penalty, self.slope, self.drift = penalty, slope, drift
        self.draws: GrowingGenerator = generator(resolution=4)
        self.judges: GrowingCritic = critic(resolution=4)
        if self.draws.widths.keys() != self.judges.widths.keys():
            raise ValueError("generator and critic must be of one size")
        self.size = max(self.draws.widths)
        self.generator = Player("generator", {"draws": self.draws}, optimizer, average)
        self.critic = Player("critic", {"judges": self.judges}, critic_optimizer or optimizer)

    def stages(self) -> list[Stage]:
        players = (self.generator, self.critic)
        stages = [Stage("4x4", players, self.turns, images=self.steady)]
        for size in list(self.draws.widths)[1:]:
            name = f"{size}x{size}"
            stages.append(Stage(f"{name}, fading in", players, self.fading, images=self.fade, enter=self.grow))
            stages.append(Stage(name, players, self.turns, images=self.steady, enter=self.settle, fresh=False))
        return [*stages[:-1], replace(stages[-1], images=None)]

    def grow(self) -> None:
        self.draws.grow()
        self.judges.grow()

    def settle(self) -> None:
        self.draws.settle()
        self.judges.settle()

    def turns(self, clock: Clock) -> Iterator[tuple[Player, Loss]]:
        yield self.generator, self.generator_loss
        yield self.critic, self.r1(clock, self.critic_loss, lambda x, batch: self.judges(self.shown(x)))

    def fading(self, clock: Clock) -> Iterator[tuple[Player, Loss]]:
        self.draws.fade = self.judges.fade = clock.stage_images / self.fade
        yield from self.turns(clock)

    def shown(self, x: Tensor) -> Tensor:
        """x: [N,C,size,size] => [N,C,resolution,resolution], as the pictures are that the generator is to draw."""
        if x.shape[-2:] != (self.size, self.size):
            height, width = x.shape[-2:]
            raise UserError(f"this ProGAN grows to {self.size}x{self.size} pixels, the data has {width}x{height}")
        x = F.avg_pool2d(x, self.size // self.draws.resolution)
        return x if self.draws.fade is None else torch.lerp(up(down(x)), x, self.draws.fade)

    def generator_loss(self, batch: Alone, made: Made) -> dict[str, Tensor]:
        fake = self.draws(draw(self.draws.parts, len(batch.x), like=batch.x))
        made.fake = fake.detach()
        return {"adversarial": self.rule.fool(self.judges(fake))}

    def critic_loss(self, batch: Alone, made: Made) -> dict[str, Tensor]:
        real, fake = self.shown(batch.x), made.fake.to(batch.x.dtype)
        real_score, fake_score = self.judges(real), self.judges(fake)
        self.watch.note(made, x=real, fake=fake, real_score=real_score, fake_score=fake_score)
        terms = {
            "real": self.rule.real(real_score),
            "fake": self.rule.fake(fake_score),
            "drift": self.drift * wide(real_score).square().mean(),
        }
        if self.penalty:
            terms["penalty"] = self.penalty * gradient_penalty(self.judges, real, fake, target=self.slope)
        return terms

    def observe(self, means: Mapping[str, float]) -> Sequence[str]:
        return self.watch.observe(means)

    def exports(self) -> dict[str, Export]:
        now = {"resolution": self.draws.resolution, "fade": self.draws.fade}
        spec = replace(self.spec, kwargs={**self.spec.kwargs, **now})
        return {"generator": Export(self.draws, spec, self.draws.card())}

    def preview(self, batch: Alone, networks: Mapping[str, Any]) -> list[Tensor]:
        networks["generator"].fade = self.draws.fade  # an average is a copy of the stage's beginning
        pictures = networks["generator"](fixed(self.draws.parts, 64).to(batch.x.device))
        return list(F.interpolate(pictures, (self.size, self.size), mode="nearest").chunk(8))
