"""Aids for unsteady training, for any game, off unless a recipe asks for them.

    one-sided label smoothing   `rule: {of: i2i.aids:smoothed, rule: i2i.losses:LOGISTIC, real: 0.9}`
    instance noise              `discriminator: {of: i2i.aids:noisy, network: {of: ...}, std: 0.1, until: 100_000}`
    augmented pictures          see `i2i.augmented`
    lazy R1                     `r1: {of: i2i.aids:R1, weight: 10.0, every: 16}`
    two time scales (TTUR)      `discriminator_optimizer:` with another learning rate (Heusel et al. 2017)
    averaged weights            `average: {of: i2i.schedules:HalfLife, images: 10_000}`

`Watch` says when a discriminator has won or a generator draws one picture only.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from i2i.game import Game, Loss, Made
from i2i.losses import Adversarial, slopes, wide
from i2i.schedules import Clock
from i2i.spec import Spec

__all__ = ["R1", "Aid", "Watch", "bare", "before", "noisy", "smoothed", "without_aids"]

Network = TypeVar("Network", bound=nn.Module)

SURE = 0.999  # of all pairs, real and drawn, that a discriminator tells apart: its gradient has all but vanished
SAME = 0.25  # of the true pictures' differences that are left between drawn ones: few modes
LINES = 3  # of the journal in a row that say so: a discriminator with batch norm is sure now and then


def smoothed(rule: Adversarial, *, real: float = 0.9) -> Adversarial:
    """`rule` with the critic's target for true pictures lowered to `real`; the others stay (Salimans et al. 2016,
    arXiv:1606.03498, Sec. 3.4).

    For the logistic rule this is cross entropy with the target `real`, for least squares (a,b,c = 0,1,1) the distance
    from it, up to a constant. Raises ValueError outside (0, 1].
    """
    if not 0 < real <= 1:
        raise ValueError(f"a smoothed target lies above 0 and up to 1, not at {real}")
    return rule._replace(real=lambda score: real * rule.real(score) + (1 - real) * rule.fake(score))


class Aid(nn.Module):
    """A part of a critic that only training has, and that knows what it is part of."""

    def attend(self, game: Game) -> None:
        """Called by the trainer at the start of each stage in which the critic plays. Raises UserError where the game
        is none for this aid."""

    def notes(self) -> dict[str, Tensor]:
        """Scalars for the journal and for `Game.observe`, equal on all ranks."""
        return {}


class InstanceNoise(nn.Module):
    """Normal noise on what a critic is shown, true or drawn, that fades to none (Sønderby et al. 2017,
    arXiv:1610.04490, Sec. 3.3). `clock` is set by the trainer."""

    def __init__(self, std: float, until: int) -> None:
        super().__init__()
        self.std, self.until = std, until
        self.clock = Clock()

    def forward(self, x: Tensor) -> Tensor:
        left = max(0.0, 1 - self.clock.images / self.until)
        return x + self.std * left * torch.randn_like(x) if self.training and left else x


def noisy(network: nn.Module, *, std: float = 0.1, until: int = 100_000) -> nn.Module:
    """Put `InstanceNoise` before a critic's first argument; returns the critic.

    Args:
        network: whose forward takes pictures [N,C,H,W] in [-1,1] first.
        std: of the noise at the start.
        until: the image at which it is gone.
    """
    if std < 0 or until < 1:
        raise ValueError(f"noise has a std from 0 and ends at an image from 1 on, not {std} and {until}")
    return before(network, "instance_noise", InstanceNoise(std, until))


def before(network: Network, name: str, aid: nn.Module) -> Network:
    """Put a module that only training has before a critic's first argument, under that name; returns the critic.

    Games that want a critic's features call it by its parts: there pictures go into its first layers.
    """
    entrance: Any = network
    if hasattr(type(network), "features"):
        entrance = next(network.children())
        entrance = entrance[0] if isinstance(entrance, nn.ModuleList) else entrance
    network.add_module(name, aid)
    entrance.register_forward_pre_hook(Before(aid))
    return network


class Before:
    """A hook that can be copied together with the module that it calls."""

    def __init__(self, aid: nn.Module) -> None:
        self.aid = aid

    def __call__(self, module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self.aid(given[0]), *given[1:])


WRAPPERS = ("i2i.aids:noisy", "i2i.augmented:augmented")


def bare(critic: Spec) -> Spec:
    """A critic's Spec without what only training puts before it: what its file says."""
    return bare(critic.kwargs["network"]) if critic.of in WRAPPERS else critic


def without_aids(network: Network) -> Network:
    """The network, or a copy that shares its tensors, without the modules that only training puts before it."""
    aids = [hook.aid for part in network.modules() for hook in part._forward_pre_hooks.values()
            if isinstance(hook, Before)]  # fmt: skip
    return without(network, aids)


def without(network: Network, left_out: Sequence[nn.Module]) -> Network:
    """The network, or a copy that shares its tensors, without some of its parts."""
    parts = {name: without(part, left_out) for name, part in network.named_children()
             if all(part is not other for other in left_out)}  # fmt: skip
    if parts == dict(network.named_children()):
        return network
    made = copy.copy(network)
    made._modules = parts  # type: ignore[assignment]
    return made


@dataclass(frozen=True)
class R1:
    """A penalty on the critic's slope at true pictures, weight/2 * |gradient|^2 (Mescheder et al. 2018,
    arXiv:1801.04406, Eq. 9), at every `every`-th step only and as much stronger (Karras et al. 2020, Sec. 3.1)."""

    weight: float = 0.0
    every: int = 16

    def __call__(self, clock: Clock, loss: Loss, critic: Callable[[Tensor, Any], Tensor], *, true: str = "x") -> Loss:
        """`loss`, with the term "r1" at steps that are due; `critic(x, batch)` gives the scores of the batch's field
        `true`."""
        if not self.weight or clock.steps % self.every:
            return loss

        def penalised(batch: Any, made: Made) -> dict[str, Tensor]:
            slope = slopes(lambda x: critic(x, batch), getattr(batch, true))
            return loss(batch, made) | {"r1": self.every * self.weight / 2 * slope.square().mean()}

        return penalised


class Watch:
    """Looks at a critic's scores and at how much drawn pictures differ, and gives advice in the journal.

    Args:
        sure: whether a critic that tells all pictures apart leaves the generator without a gradient: true of
            sigmoid and least-squares rules, not of Wasserstein critics.
    """

    def __init__(self, *, sure: bool = True) -> None:
        self.sure = sure
        self.lines: dict[str, int] = {}

    @torch.no_grad()
    def note(self, made: Made, x: Tensor, fake: Tensor, real_score: Tensor, fake_score: Tensor) -> None:
        """Leave two notes: "apart", the share of pairs of a true and a drawn picture that the scores order rightly, and
        "spread", the mean difference between neighbouring drawn pictures of the lane over that between true ones."""
        if len(x) < 2:
            return
        made.note("apart", (wide(real_score).flatten()[:, None] > wide(fake_score).flatten()).float().mean())
        differences = [(wide(p) - wide(p).roll(1, 0)).abs().mean() for p in (fake, x)]
        made.note("spread", differences[0] / differences[1].clamp_min(1e-8))

    def observe(self, means: Mapping[str, float]) -> list[str]:
        """Sentences on what now holds for `LINES` lines of the journal; each once, until it has ended. For
        `Game.observe`."""
        now: dict[str, str] = {}
        for name, value in means.items():
            if name.endswith("/apart") and value > SURE and self.sure:
                now[name] = (
                    f"the discriminator tells {value:.2%} of pairs apart and teaches the generator little: lower its "
                    "learning rate, narrow it, or add noise (i2i.aids:noisy) or R1"
                )
            if name.endswith("/spread") and value < SAME:
                now[name] = (
                    f"drawn pictures differ {value:.2f} times as much as true ones: few modes are drawn; lower the "
                    "learning rates, or take another rule, a larger batch or R1"
                )
        self.lines = {name: self.lines.get(name, 0) + 1 for name in now}
        return [text for name, text in now.items() if self.lines[name] == LINES]
