"""The plain side of the comparisons: pix2pix, CycleGAN, SRGAN and ESRGAN out of torch's own layers, fp32, NCHW.

What most programs run today, typed anew from the papers. Each network has its parameters in the order of i2i's network
of the same name, so that `same_weights` makes the two equal.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = [
    "Unet",
    "patch_discriminator",
    "resnet",
    "rrdbnet",
    "same_weights",
    "sr_discriminator",
    "srresnet",
    "vgg19",
]


class Residual(nn.Module):
    """x + layers(x)"""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def resnet(*, width: int = 64, blocks: int = 9) -> nn.Sequential:
    """CycleGAN's generator, [N,3,H,W] => [N,3,H,W], both in [-1,1]."""
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), nn.InstanceNorm2d(width), nn.ReLU(True)]
    for given in (width, 2 * width):
        layers += [nn.Conv2d(given, 2 * given, 3, stride=2, padding=1), nn.InstanceNorm2d(2 * given), nn.ReLU(True)]
    inner = 4 * width
    for _ in range(blocks):
        layers.append(
            Residual(
                nn.ReflectionPad2d(1), nn.Conv2d(inner, inner, 3), nn.InstanceNorm2d(inner), nn.ReLU(True),
                nn.ReflectionPad2d(1), nn.Conv2d(inner, inner, 3), nn.InstanceNorm2d(inner),
            )
        )  # fmt: skip
    for given in (inner, inner // 2):
        layers.append(nn.ConvTranspose2d(given, given // 2, 3, stride=2, padding=1, output_padding=1))
        layers += [nn.InstanceNorm2d(given // 2), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())


def patch_discriminator(channels: int, *, width: int = 64, norm: type[nn.Module] = nn.InstanceNorm2d) -> nn.Sequential:
    """The discriminator of either paper: a raw score for every 70 x 70 pixels."""
    bias = norm is nn.InstanceNorm2d  # batch norm has one of its own
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    for given, made, stride in ((width, 2 * width, 2), (2 * width, 4 * width, 2), (4 * width, 8 * width, 1)):
        layers += [nn.Conv2d(given, made, 4, stride, 1, bias=bias), norm(made), nn.LeakyReLU(0.2, True)]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 1))


class Unet(nn.Module):
    """pix2pix's generator for sides of 2**depth, [N,3,H,W] => [N,3,H,W], both in [-1,1]."""

    def __init__(self, *, width: int = 64, depth: int = 8, dropout: float = 0.5) -> None:
        super().__init__()
        widths = [3] + [width * min(8, 2**level) for level in range(depth)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level in range(depth):
            layers: list[nn.Module] = [nn.LeakyReLU(0.2)] if level else []
            layers.append(nn.Conv2d(widths[level], widths[level + 1], 4, 2, 1, bias=False))
            layers += [nn.BatchNorm2d(widths[level + 1])] if 0 < level < depth - 1 else []
            self.down.append(nn.Sequential(*layers))
        for level in range(depth, 1, -1):
            given = widths[level] if level == depth else 2 * widths[level]
            layers = [nn.ReLU(), nn.ConvTranspose2d(given, widths[level - 1], 4, 2, 1, bias=False)]
            layers.append(nn.BatchNorm2d(widths[level - 1]))
            layers += [nn.Dropout(dropout)] if dropout and level > depth - 3 else []
            self.up.append(nn.Sequential(*layers))
        self.last = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(2 * width, 3, 4, 2, 1), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        seen = []
        for down in self.down:
            x = down(x)
            seen.append(x)
        seen.pop()
        for up in self.up:
            x = torch.cat([up(x), seen.pop()], 1)
        return self.last(x)


def srresnet(*, scale: int = 4, width: int = 64, blocks: int = 16) -> nn.Sequential:
    """SRGAN's generator, [N,3,H,W] in [0,1] => [N,3,scale*H,scale*W] in [-1,1]; the scale a power of two."""
    trunk: list[nn.Module] = []
    for _ in range(blocks):
        trunk.append(
            Residual(
                nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width), nn.PReLU(),
                nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width),
            )
        )  # fmt: skip
    layers: list[nn.Module] = [nn.Conv2d(3, width, 9, 1, 4), nn.PReLU()]
    layers.append(Residual(*trunk, nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width)))
    for _ in range(scale.bit_length() - 1):
        layers += [nn.Conv2d(width, 4 * width, 3, 1, 1), nn.PixelShuffle(2), nn.PReLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, 3, 9, 1, 4))


def sr_discriminator(*, width: int = 64, size: int = 96) -> nn.Sequential:
    """SRGAN's discriminator: one raw score for a picture of size x size."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, 1, 1), nn.LeakyReLU(0.2, True)]
    given = width
    for level in range(1, 8):
        made = width * 2 ** (level // 2)
        layers += [nn.Conv2d(given, made, 3, 1 + level % 2, 1, bias=False), nn.BatchNorm2d(made)]
        layers.append(nn.LeakyReLU(0.2, True))
        given = made
    flat = given * (size // 16) ** 2
    dense = (nn.Linear(flat, 16 * width), nn.LeakyReLU(0.2, True), nn.Linear(16 * width, 1))
    return nn.Sequential(*layers, nn.Flatten(), *dense)


def vgg19() -> nn.Sequential:
    """VGG19 up to its last convolution's activation, which SRGAN's content loss compares."""
    layers: list[nn.Module] = []
    given = 3
    for count, made in ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512)):
        for _ in range(count):
            layers += [nn.Conv2d(given, made, 3, 1, 1), nn.ReLU(True)]
            given = made
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers[:-1])


class Dense(nn.Module):
    """x + 0.2 * the last of five convolutions, each of which sees what all before it made."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        made = (growth, growth, growth, growth, width)
        self.layers = nn.ModuleList(nn.Conv2d(width + i * growth, made[i], 3, 1, 1) for i in range(5))
        self.activation = nn.LeakyReLU(0.2, True)

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for layer in list(self.layers)[:-1]:
            seen.append(self.activation(layer(torch.cat(seen, 1))))
        return x + 0.2 * self.layers[-1](torch.cat(seen, 1))


class RRDB(nn.Module):
    """x + 0.2 * three dense blocks of it"""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(Dense(width, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.2 * self.layers(x)


def rrdbnet(*, width: int = 64, growth: int = 32, blocks: int = 23) -> nn.Sequential:
    """ESRGAN's generator, [N,3,H,W] => [N,3,4*H,4*W], both in [0,1]."""
    trunk = [RRDB(width, growth) for _ in range(blocks)]
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, 1, 1), Residual(*trunk, nn.Conv2d(width, width, 3, 1, 1))]
    for _ in range(2):
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, 1, 1), nn.LeakyReLU(0.2, True)]
    layers += [nn.Conv2d(width, width, 3, 1, 1), nn.LeakyReLU(0.2, True)]
    return nn.Sequential(*layers, nn.Conv2d(width, 3, 3, 1, 1))


@torch.no_grad()
def same_weights(plain: nn.Module, ours: nn.Module) -> None:
    """Copy parameters, and statistics that norms have stored, of `ours` into `plain`, in order.

    Raises ValueError where the two differ in shapes.
    """
    pairs = list(zip(plain.parameters(), ours.parameters(), strict=True))
    stored = [buffer for buffer in plain.buffers() if buffer.is_floating_point()]
    pairs += zip(stored, ours.buffers(), strict=False)  # pix2pix's norms store none
    for to, source in pairs:
        if to.shape != source.shape:
            raise ValueError(f"a tensor is {list(to.shape)} in the plain network and {list(source.shape)} in ours")
        to.copy_(source)
