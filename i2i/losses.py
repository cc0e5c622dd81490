"""Adversarial rules, as three functions of a critic's raw scores (no sigmoid in any network)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["HINGE", "LEAST_SQUARES", "LOGISTIC", "PEARSON", "SATURATING", "WASSERSTEIN", "Adversarial", "Score", "wide"]

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
