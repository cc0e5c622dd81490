"""DCGAN: Unsupervised Representation Learning with Deep Convolutional GANs (Radford et al. 2016, arXiv:1511.06434).

The game is that of 2014, `i2i.unconditional.gan:GAN` with the rule `LOGISTIC`; what is new are its networks. Sec. 3:
strides in the place of pooling, batch norm in both but for the generator's last and the discriminator's first layer, no
hidden dense layer, ReLU and tanh in the generator, LeakyReLU of slope 0.2 in the discriminator. Sec. 4: Adam (`ADAM`),
first weights from N(0, 0.02), batches of 128, pictures in [-1,1]; z is 100 numbers from U(-1,1).

Like the authors' code, no layer has a bias, and the discriminator has as many filters as the generator; kernels are 5
(the releases for Torch and PyTorch have 4).

Deviations:
    the projection's norm is one for each of its maps, as in the release for PyTorch, not one for each of its numbers;
    when a generator is run, norms take the statistics stored in training, not those of a batch;
    no weight decay, which the authors' code has and the paper does not name.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from i2i.game import Card, Part, Spec
from i2i.latents import latent_size
from i2i.layers import Norm, StoredBatchNorm, init_normal, modes

__all__ = ["ADAM", "DCDiscriminator", "DCGenerator", "down", "project", "up", "widths"]

ADAM = Spec("torch.optim:Adam", {"lr": 2e-4, "betas": [0.5, 0.999]})  # Sec. 4


def widths(size: int, width: int, base: int) -> list[int]:
    """Filters at `base`, twice `base`, ... `size`/2 pixels; they halve as the maps double, down to `width`.

    Raises ValueError for a size that is not `base` doubled once or several times.
    """
    steps = (size // base).bit_length() - 1
    if steps < 1 or size != base << steps:
        raise ValueError(f"maps of {base} pixels, doubled, become {2 * base}, {4 * base}, {8 * base}, ..., not {size}")
    return [width << step for step in reversed(range(steps))]


def project(inputs: int, outputs: int, base: int) -> nn.Sequential:
    """[N,inputs] => [N,outputs,base,base], rectified."""
    linear = nn.Linear(inputs, outputs * base**2, bias=False)
    return nn.Sequential(linear, nn.Unflatten(1, (outputs, base, base)), StoredBatchNorm(outputs), nn.ReLU())


def up(inputs: int, outputs: int, kernel: int, *, stride: int = 2, last: bool = False) -> nn.Sequential:
    """A fractionally strided convolution, which makes maps `stride` times as large, and what follows it."""
    padding = (kernel - 1) // 2
    more = stride + 2 * padding - kernel  # rows and columns, for it to be exactly so
    layer = nn.ConvTranspose2d(inputs, outputs, kernel, stride, padding, more, bias=False)
    return nn.Sequential(layer, *([nn.Tanh()] if last else [StoredBatchNorm(outputs), nn.ReLU()]))


def down(inputs: int, outputs: int, kernel: int, *, norm: Norm | None, bias: bool = False) -> nn.Sequential:
    """A strided convolution, which makes maps half as large, and what follows it."""
    layer = nn.Conv2d(inputs, outputs, kernel, 2, (kernel - 1) // 2, bias=bias)
    return nn.Sequential(layer, *([norm(outputs)] if norm else []), nn.LeakyReLU(0.2))


class DCGenerator(nn.Module):
    """The generator of Fig. 1: a projection to 4x4 maps, then fractionally strided convolutions.

    Args:
        channels, size: of the pictures it draws; the size is `base` doubled, so a power of two from 8 on.
        latent: how many numbers of z.
        kind: what each is drawn from, U(-1, 1) or N(0, 1).
        width: filters of the last layer but one; layers before it have twice as many each. Fig. 1: 1024 to 128.
        kernel: height and width of filters.
        base: height and width of the first maps.
    """

    def __init__(
        self,
        channels: int = 3,
        size: int = 64,
        *,
        latent: int = 100,
        kind: Literal["normal", "uniform"] = "uniform",
        width: int = 128,
        kernel: int = 5,
        base: int = 4,
    ) -> None:
        super().__init__()
        self.channels, self.size = channels, size
        self.parts = (Part("z", latent, kind),)
        filters = widths(size, width, base)
        inner = [up(inputs, outputs, kernel) for inputs, outputs in pairwise(filters)]
        self.layers = nn.Sequential(project(latent, filters[0], base), *inner, up(width, channels, kernel, last=True))
        init_normal(self)

    def forward(self, latent: Tensor) -> Tensor:
        """latent: [N,Z] => [N,channels,size,size] in [-1,1]."""
        return self.layers(latent)

    def card(self) -> Card:
        """What must be known to run it."""
        known, channels = modes(self), (latent_size(self.parts), self.channels)
        return Card("latent", channels=channels, size=self.size, latent=self.parts, modes=known, mode=known[0])


class DCDiscriminator(nn.Module):
    """The discriminator: strided convolutions down to small maps, and one score of all of them.

    Args:
        channels, size: of the pictures it judges; the size is `base` doubled, so a power of two from 8 on.
        width: filters of the first layer; each layer after it has twice as many.
        kernel: height and width of filters.
        base: height and width of the last maps.
        norm: the layer after each convolution but the first; without any, every layer has a bias (WGAN-GP's critic).
    """

    def __init__(
        self,
        channels: int = 3,
        size: int = 64,
        *,
        width: int = 128,
        kernel: int = 5,
        base: int = 4,
        norm: Norm | None = StoredBatchNorm,
    ) -> None:
        super().__init__()
        self.channels, self.size = channels, size
        filters, bias = widths(size, width, base)[::-1], norm is None
        first = down(channels, width, kernel, norm=None, bias=bias)
        inner = [down(inputs, outputs, kernel, norm=norm, bias=bias) for inputs, outputs in pairwise(filters)]
        self.layers = nn.ModuleList([first, *inner])
        self.last = nn.Linear(filters[-1] * base**2, 1, bias=bias)
        init_normal(self)

    def features(self, x: Tensor) -> list[Tensor]:
        """x: [N,channels,size,size] in [-1,1] => what each convolution makes of it, from size/2 to `base` pixels."""
        found = []
        for layer in self.layers:
            x = layer(x)
            found.append(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,channels,size,size] in [-1,1] => [N,1] raw scores."""
        return self.last(torch.flatten(self.features(x)[-1], 1))

    def card(self) -> Card:
        """What must be known to run it: a classifier with one class."""
        known, channels = modes(self), (self.channels, 1)
        return Card("classifier", channels=channels, size=self.size, classes=("real",), modes=known, mode=known[0])
