"""CycleGAN: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (Zhu et al. 2017,
arXiv:1703.10593).

Two generators, a to b and b to a, each judged by a patch discriminator of its own (Eq. 1, in the least-squares form of
Sec. 4) and by whether the other brings its picture back (Eq. 2); optionally each must leave pictures alone that are
already in its target domain (Sec. 5.2). The discriminators also judge older images, from a pool of 50 (Sec. 4).

Deviations:
    the learning rate falls per image, not per epoch; the generators that are kept can be averages of the weights;
    a pool belongs to a lane, so that several ranks or accumulated lanes keep one pool each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.game import Card, Export, Game, HalfLife, Loss, Made, Player, Spec, Stage
from i2i.layers import Dropout, InstanceNorm, Norm, Resampling, Residual, init_normal, modes
from i2i.losses import LEAST_SQUARES, Adversarial, wide
from i2i.schedules import Clock
from i2i.translation.pix2pix import ADAM

__all__ = ["CycleGAN", "ImagePool", "ResnetBlock", "ResnetGenerator"]

Padding = Literal["reflect", "zeros"]


class ResnetBlock(Residual):
    """x + conv-norm-ReLU-conv-norm, reflection padded (Sec. 7.2), with the dropout and padding of `ResnetGenerator`."""

    def __init__(
        self, width: int, *, norm: Norm, bias: bool, dropout: float = 0.0, padding: Padding = "reflect"
    ) -> None:
        zeros = padding == "zeros"
        layers: list[nn.Module] = []
        for last in (False, True):
            layers += [] if zeros else [nn.ReflectionPad2d(1)]
            layers += [nn.Conv2d(width, width, 3, padding=int(zeros), bias=bias), norm(width)]
            layers += [] if last else [nn.ReLU()]
            layers += [Dropout(dropout)] if dropout and not last else []
        super().__init__(*layers)


def strided(inputs: int, outputs: int, *, bias: bool) -> nn.Module:
    """The paper's way down: a convolution of 3 with stride 2."""
    return nn.Conv2d(inputs, outputs, 3, 2, 1, bias=bias)


def transposed(inputs: int, outputs: int, *, bias: bool) -> nn.Module:
    """The paper's way up: a convolution of 3 with stride 1/2."""
    return nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, 1, bias=bias)


class ResnetGenerator(nn.Module):
    """The generator of Sec. 7.2: c7s1-64, d128, d256, R256 x blocks, u128, u64, c7s1-3.

    Args:
        inputs, outputs: channels.
        width: filters of the first layer.
        blocks: residual blocks; the paper takes 9 from 256x256 on, 6 at 128x128.
        norm: the layer after each convolution but the last.
        bias: whether convolutions before a norm have a bias, as in the published weights (the last one always has).
        dropout: probability between the convolutions of a block; the paper has none.
        padding: of the blocks.
        down, up: what halves and doubles the size: the paper's strided and transposed convolutions, or
            `i2i.layers:BlurredDown`, `i2i.layers:BlurredUp` and `i2i.layers:ResizeUp`.
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
        down: Resampling = strided,
        up: Resampling = transposed,
    ) -> None:
        super().__init__()
        self.inputs, self.outputs, self.blocks = inputs, outputs, blocks
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(inputs, width, 7, bias=bias)]
        layers += [norm(width), nn.ReLU()]
        for given in (width, 2 * width):
            layers += [down(given, 2 * given, bias=bias), norm(2 * given), nn.ReLU()]
        block = partial(ResnetBlock, norm=norm, bias=bias, dropout=dropout, padding=padding)
        layers += [block(4 * width) for _ in range(blocks)]
        for given in (4 * width, 2 * width):
            layers += [up(given, given // 2, bias=bias), norm(given // 2), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, outputs, 7), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,inputs,H,W] in [-1,1], H and W multiples of 4 => [N,outputs,H,W] in [-1,1]."""
        return self.layers(x)

    def card(self) -> Card:
        """What the engine must know. Instance norm sees the whole picture, so plain tiles would differ: no tiling."""
        # radius, with the paper's ways down and up: 3 at full size, 1 and 2 on the way down, 4 a convolution of the
        # blocks, 2 and 1 up, 3 at the end
        channels, halo, known = (self.inputs, self.outputs), 12 + 8 * self.blocks, modes(self)
        return Card(multiple=4, minimum=32, channels=channels, halo=halo, modes=known, mode=known[0])


class ImagePool:
    """Fakes of the past for the discriminators (Shrivastava et al. 2017, Sec. 2.3; here Sec. 4).

    Until the pool is full every new image is kept and returned. Then each new image is returned as it is, or, half of
    the time, takes the place of a random kept one, which is returned. A pool of size 0 is the identity.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.kept: dict[int, list[Tensor]] = {}  # lane -> images [1,C,H,W]

    def __call__(self, images: Tensor, lane: int) -> Tensor:
        """images: [N,C,H,W], detached => the same shape. Draws from the CPU's global generator."""
        if not self.size:
            return images
        kept, out = self.kept.setdefault(lane, []), torch.empty_like(images)
        for index, image in enumerate(images.split(1)):
            if len(kept) < self.size:
                kept.append(image.clone())
                out[index] = image[0]
            elif torch.rand(()) < 0.5:
                place = int(torch.randint(self.size, ()))
                out[index] = kept[place][0]
                kept[place] = image.clone()
            else:
                out[index] = image[0]
        return out


class Unpaired(NamedTuple):
    """a, b: pictures of either domain that have nothing to do with each other; [N,C,H,W] in [-1,1]."""

    a: Tensor
    b: Tensor


@final
class CycleGAN(Game):
    """The game of Eq. 3.

    Args:
        generator: Spec of a network that translates; built twice.
        discriminator: Spec of a network that scores pictures; built twice.
        rule: the adversarial rule.
        cycle: weight of the cycle term (lambda of Eq. 3).
        identity: weight of the identity term (Sec. 5.2 takes 0.5 * cycle = 5 for paintings); 0 leaves it out.
        pool: images each discriminator's pool holds.
        optimizer: Spec of an optimizer, its learning rate the peak.
        average: half-life of the averaged generators in images; None keeps the last weights.
    """

    Batch = Unpaired

    def __init__(
        self,
        generator: Spec,
        discriminator: Spec,
        *,
        rule: Adversarial = LEAST_SQUARES,
        cycle: float = 10.0,
        identity: float = 0.0,
        pool: int = 50,
        optimizer: Spec = ADAM,
        average: HalfLife | None = None,
    ) -> None:
        self.rule, self.cycle, self.identity, self.spec = rule, cycle, identity, generator
        self.a2b: ResnetGenerator = init_normal(generator.build())
        self.b2a: ResnetGenerator = init_normal(generator.build())
        self.on_a, self.on_b = init_normal(discriminator.build()), init_normal(discriminator.build())
        self.pools = {"a": ImagePool(pool), "b": ImagePool(pool)}
        self.generators = Player("generators", {"a2b": self.a2b, "b2a": self.b2a}, optimizer, average)
        self.discriminators = Player("discriminators", {"on_a": self.on_a, "on_b": self.on_b}, optimizer)

    def stages(self) -> list[Stage]:
        return [Stage("train", (self.generators, self.discriminators), self.turns)]

    def turns(self, clock: Clock) -> Iterator[tuple[Player, Loss]]:
        yield self.generators, self.identity_loss if self.identity else self.generator_loss
        yield self.discriminators, self.discriminator_loss

    def generator_loss(self, batch: Unpaired, made: Made) -> dict[str, Tensor]:
        fake_b, fake_a = self.a2b(batch.a), self.b2a(batch.b)
        made.fake_b, made.fake_a = fake_b.detach(), fake_a.detach()
        return {
            "adversarial": self.rule.fool(self.on_b(fake_b)) + self.rule.fool(self.on_a(fake_a)),  # Eq. 1
            "cycle": self.cycle * (apart(self.b2a(fake_b), batch.a) + apart(self.a2b(fake_a), batch.b)),  # Eq. 2
        }

    def identity_loss(self, batch: Unpaired, made: Made) -> dict[str, Tensor]:
        kept = apart(self.a2b(batch.b), batch.b) + apart(self.b2a(batch.a), batch.a)  # Sec. 5.2: keeps colours
        return self.generator_loss(batch, made) | {"identity": self.identity * kept}

    def discriminator_loss(self, batch: Unpaired, made: Made) -> dict[str, Tensor]:
        old_a, old_b = self.pools["a"](made.fake_a, made.lane), self.pools["b"](made.fake_b, made.lane)
        return {  # Sec. 7.1: halved, to slow the discriminators down
            "a": 0.5 * (self.rule.real(self.on_a(batch.a)) + self.rule.fake(self.on_a(old_a))),
            "b": 0.5 * (self.rule.real(self.on_b(batch.b)) + self.rule.fake(self.on_b(old_b))),
        }

    def exports(self) -> dict[str, Export]:
        return {
            "a2b": Export(self.a2b, self.spec, self.a2b.card()),
            "b2a": Export(self.b2a, self.spec, self.b2a.card()),
        }

    def preview(self, batch: Unpaired, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        a2b, b2a = networks["a2b"], networks["b2a"]
        fake_b, fake_a = a2b(batch.a), b2a(batch.b)
        return [batch.a, fake_b, b2a(fake_b), batch.b, fake_a, a2b(fake_a)]

    def state(self) -> dict[str, Tensor]:
        return {
            f"lane/{lane}/pool_{side}": torch.cat(images)
            for side, pool in self.pools.items()
            for lane, images in pool.kept.items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for pool in self.pools.values():
            pool.kept.clear()
        for key, images in state.items():
            _, lane, side = key.split("/")
            self.pools[side.removeprefix("pool_")].kept[int(lane)] = list(images.split(1))


def apart(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference, in float32 at least."""
    return F.l1_loss(wide(x), y)
