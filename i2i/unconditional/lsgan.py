"""LSGAN: Least Squares Generative Adversarial Networks (Mao et al. 2017, arXiv:1611.04076).

The discriminator's scores are drawn towards numbers instead of passing through a sigmoid,

    min_D  1/2 E (D(x) - b)^2 + 1/2 E (D(G(z)) - a)^2,     min_G  1/2 E (D(G(z)) - c)^2     (Eq. 2)

so that pictures far on the right side of the boundary still pull the generator. That is a rule of the game of 2014,
`i2i.unconditional.gan:GAN`: `i2i.losses:PEARSON` has a, b, c = -1, 1, 0 (Eq. 8), for which the generator minimises the
Pearson chi-squared divergence; `i2i.losses:LEAST_SQUARES` has 0, 1, 1 (Eq. 9), and each term twice as large, which Adam
does not see. The paper finds both alike (Sec. 3.2.3). It goes with DCGAN's networks, or with the generator below, which
the paper has for scenes of 112x112 (Sec. 3.3), against DCGAN's discriminator of width 64 with a `base` of 7. Where the
paper leaves sizes open, they are those of the authors' code.

Deviations:
    the projection's norm is one for each of its maps;
    no layer has a bias, as in `i2i.unconditional.dcgan`; the authors' code has them everywhere, most of them
    before a norm, which removes them.
"""

from __future__ import annotations

from torch import Tensor, nn

from i2i.game import Card, Part
from i2i.latents import latent_size
from i2i.layers import init_normal, modes
from i2i.unconditional.dcgan import project, up

__all__ = ["LSGenerator"]


class LSGenerator(nn.Module):
    """The generator of Sec. 3.3: DCGAN's, with a convolution of stride 1 behind each of the first two strided ones and
    at the end, after VGG's example. Filters see 3x3.

    Args:
        channels: of the pictures it draws.
        size: their height and width, a multiple of 16.
        latent: how many numbers of z, each from U(-1, 1).
        width: filters of the last layer but one; 4 times as many up to a quarter of the size, twice as many at half.
    """

    def __init__(self, channels: int = 3, size: int = 112, *, latent: int = 1024, width: int = 64) -> None:
        super().__init__()
        if size < 16 or size % 16:
            raise ValueError(f"LSGAN draws pictures of a multiple of 16 pixels, not {size}")
        self.channels, self.size = channels, size
        self.parts = (Part("z", latent, "uniform"),)
        wide = 4 * width
        self.layers = nn.Sequential(
            project(latent, wide, size // 16),
            up(wide, wide, 3), up(wide, wide, 3, stride=1),
            up(wide, wide, 3), up(wide, wide, 3, stride=1),
            up(wide, 2 * width, 3),
            up(2 * width, width, 3),
            up(width, channels, 3, stride=1, last=True),
        )  # fmt: skip
        init_normal(self)

    def forward(self, latent: Tensor) -> Tensor:
        """latent: [N,Z] => [N,channels,size,size] in [-1,1]."""
        return self.layers(latent)

    def card(self) -> Card:
        """What must be known to run it."""
        known, channels = modes(self), (latent_size(self.parts), self.channels)
        return Card("latent", channels=channels, size=self.size, latent=self.parts, modes=known, mode=known[0])
