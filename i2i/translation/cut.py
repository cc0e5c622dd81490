"""CUT: Contrastive Learning for Unpaired Image-to-Image Translation (Park et al. 2020, arXiv:2007.15651).

Its generator is CycleGAN's ResNet made less sensitive to shifts (Zhang 2019, arXiv:1904.11486): where that one strides,
this one convolves at full size and blurs while it drops every second pixel; where that one convolves transposed, this
one blurs while it doubles the size and convolves after. So far this file holds the generator only.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from i2i.game import Card
from i2i.layers import BlurDown, BlurUp, InstanceNorm, Norm, modes
from i2i.translation.cyclegan import Padding, ResnetBlock

__all__ = ["AntialiasedResnet"]


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

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,inputs,H,W] in [-1,1], H and W multiples of 4 => [N,outputs,H,W] in [-1,1]."""
        return self.layers(x)

    def card(self) -> Card:
        """What the engine must know. Instance norm sees the whole picture, so plain tiles would differ: no tiling."""
        channels, known = (self.inputs, self.outputs), modes(self)
        return Card(multiple=4, minimum=32, channels=channels, halo=self.halo, modes=known, mode=known[0])
