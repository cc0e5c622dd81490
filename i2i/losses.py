"""Adversarial rules, as three functions of a critic's raw scores (no sigmoid in any network), and content losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.features import Vgg, VggName

__all__ = [
    "HINGE",
    "LEAST_SQUARES",
    "LOGISTIC",
    "PEARSON",
    "SATURATING",
    "WASSERSTEIN",
    "Adversarial",
    "Perceptual",
    "Score",
    "gradient_penalty",
    "relative",
    "slopes",
    "wide",
]

Score = Callable[[Tensor], Tensor]
"""Raw scores of any shape -> a scalar to minimise. Computed in float32 at least."""


class Adversarial(NamedTuple):
    """What the critic minimises on real and on fake images, and what the generator minimises to fool it."""

    real: Score
    fake: Score
    fool: Score


def wide(x: Tensor) -> Tensor:
    """x in float32 if it is in half precision, else as it is: sums over many pixels need the digits."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def relative(scores: Tensor, others: Tensor) -> Tensor:
    """Raw scores relative to the mean of the other kind's: how much more real these are than those on average.

    The relativistic average of Jolicoeur-Martineau 2018 (arXiv:1807.00734, Sec. 4.2). It couples all pictures that pass
    through a loss together.
    """
    return wide(scores) - wide(others).mean()


def _towards(target: float, weight: float = 1.0) -> Score:
    return lambda score: weight * (wide(score) - target).square().mean()


LOGISTIC = Adversarial(  # Goodfellow et al. 2014, Eq. 1 and the non-saturating generator of Sec. 3, on logits
    real=lambda score: F.softplus(-wide(score)).mean(),
    fake=lambda score: F.softplus(wide(score)).mean(),
    fool=lambda score: F.softplus(-wide(score)).mean(),
)
SATURATING = LOGISTIC._replace(fool=lambda score: -F.softplus(wide(score)).mean())  # Goodfellow et al. 2014, Eq. 1
LEAST_SQUARES = Adversarial(  # Zhu et al. 2017, Sec. 4: LSGAN with a,b,c = 0,1,1 and without LSGAN's factor 1/2
    real=_towards(1.0), fake=_towards(0.0), fool=_towards(1.0)
)
PEARSON = Adversarial(  # Mao et al. 2017, Eq. 8: a,b,c = -1,1,0, the Pearson chi-squared divergence
    real=_towards(1.0, 0.5), fake=_towards(-1.0, 0.5), fool=_towards(0.0, 0.5)
)
HINGE = Adversarial(  # Lim and Ye 2017; Miyato et al. 2018, Eq. 17
    real=lambda score: F.relu(1 - wide(score)).mean(),
    fake=lambda score: F.relu(1 + wide(score)).mean(),
    fool=lambda score: -wide(score).mean(),
)
WASSERSTEIN = Adversarial(  # Arjovsky et al. 2017, Eq. 2
    real=lambda score: -wide(score).mean(),
    fake=lambda score: wide(score).mean(),
    fool=lambda score: -wide(score).mean(),
)


def slopes(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The length of the critic's gradient at each picture, over all its channels and pixels together.

    In float32 at least, whatever the precision around it: half precision loses the differences. Can be learned from.

    critic: pictures -> raw scores, each of its own picture alone. x: [N,C,H,W] => [N].
    """
    with torch.autocast(x.device.type, enabled=False):
        at = wide(x).detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(critic(at).sum(), at, create_graph=True)
    return gradient.flatten(1).norm(2, 1)


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, *, target: float = 1.0) -> Tensor:
    """(|slope| - 1)^2 on straight lines between true and drawn pictures (Gulrajani et al. 2017, Eq. 3), the mean over
    the lane; each line's point is drawn for its own picture.

    real, fake: [N,C,H,W] => a scalar, to be weighted (the paper: 10). With another `target` than 1 it is
    (|slope| - target)^2 / target^2 (Karras et al. 2018, arXiv:1710.10196, App. D).
    """
    share = torch.rand(len(real), 1, 1, 1, device=real.device, dtype=real.dtype)
    between = share * real + (1 - share) * fake.to(real.dtype)
    return (slopes(critic, between) / target - 1).square().mean()


class Perceptual(nn.Module):
    """Distance between the features that a pretrained network finds in two pictures (Johnson et al. 2016, Sec. 3.2).

    The defaults are SRGAN's: VGG19's phi-5,4 after its activation, squared, features scaled by 1/12.75 (Ledig et al.
    2017, Sec. 3.2). ESRGAN: `layers={"conv5_4": 1.0}, distance="l1", scale=1.0`.

    Args:
        network: whose features.
        layers: name -> weight; "conv5_4" is before, "relu5_4" after the activation.
        distance: mean absolute or mean squared.
        scale: factor on the features before they are compared.
        weights: file in torchvision's layout; None looks in torch's cache and fetches it there.

    Raises ValueError for a layer the network has not, UserError where its weights cannot be had.
    """

    def __init__(
        self,
        network: VggName = "vgg19",
        *,
        layers: Mapping[str, float] | None = None,
        distance: Literal["l1", "mse"] = "mse",
        scale: float = 1 / 12.75,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.layers = dict(layers or {"relu5_4" if network == "vgg19" else "relu5_3": 1.0})
        self.distance, self.scale = distance, scale
        self.features = Vgg(network, self.layers, weights=weights)

    def forward(self, drawn: Tensor, wanted: Tensor) -> Tensor:
        """drawn, wanted: [N,3,H,W] in [-1,1] => a scalar; no gradient reaches `wanted`."""
        with torch.no_grad():
            theirs = self.features(wanted)
        ours = self.features(drawn)
        measure = F.l1_loss if self.distance == "l1" else F.mse_loss
        parts = [
            weight * measure(self.scale * wide(ours[name]), self.scale * wide(theirs[name]))
            for name, weight in self.layers.items()
        ]
        return torch.stack(parts).sum()
