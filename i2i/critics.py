"""Critics that several papers share and any recipe can name.

`MultiScale` looks at a picture in several sizes, as pix2pixHD does. A U-Net that scores each pixel is
`i2i.translation.esrgan:UNetDiscriminator`, spectral norm for any critic `i2i.layers:with_spectral_norm`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.spec import Spec

__all__ = ["MultiScale"]


class MultiScale(nn.Module):
    """A critic for each of several sizes of a picture, each half the one before (Wang et al. 2018, arXiv:1711.11585,
    Sec. 3.2): the coarse ones see far, the fine ones sharply.

    Deviation: the mean over the sizes is taken where the paper has the sum, so that a rule needs no other weight.

    Args:
        critic: Spec of one, which gives raw scores for patches; built for each size.
        scales: how many sizes; the paper's 3.
    """

    def __init__(self, critic: Spec, *, scales: int = 3) -> None:
        super().__init__()
        if scales < 1:
            raise ValueError(f"a critic looks at one size or more, not {scales}")
        self.critics = nn.ModuleList(critic.build() for _ in range(scales))

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,C,H,W] => [N,scales,h,w] raw scores; those of smaller sizes are repeated to as many as the finest's, so
        that a rule's mean counts each size alike."""
        scores: list[Tensor] = []
        for critic in self.critics:
            found = critic(x)
            scores.append(found if not scores else F.interpolate(found, scores[0].shape[2:]))
            x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
        return torch.cat(scores, 1)
