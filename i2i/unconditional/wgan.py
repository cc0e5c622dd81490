"""WGAN: Wasserstein GAN (Arjovsky et al. 2017, arXiv:1701.07875).

A critic f, whose slope is bounded, tells how far the drawn pictures are from the true ones: over all such critics,

    max_f  E f(x) - E f(G(z))     (Eq. 2 and 3)

is the Wasserstein-1 distance, up to a factor. The slope is bounded by keeping all parameters within +-c (Alg. 1). A
critic can be trained until it is good, because its gradient does not vanish then: it moves several times before each
move of the generator (`Cadence`). Its estimate of the distance is in the journal as "critic/estimate", and falls as the
pictures improve (Sec. 4.2).

Alg. 1: c = 0.01, batches of 64, RMSProp with 5e-5. Any two networks will do; the authors' code has those of
`i2i.unconditional.dcgan`, with z from N(0, 1) and kernels of 4.

One step of the clock is one step of the critic on a fresh batch. The critic is clipped after each of its steps, as in
Alg. 1; the authors' code clips before each, so that the generator there learns from a critic that is not.

Deviations:
    the critic is clipped once before its first step, too;
    the authors' code ends the critic's steps early where an epoch ends, here the data has no end.

Not in the paper, and off unless a recipe asks for it: `critic_optimizer`, `average`, `r1`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from i2i.aids import R1, Watch, bare
from i2i.data.labelled import Alone
from i2i.game import Clock, Export, Game, HalfLife, Loss, Made, Player, Spec, Stage
from i2i.latents import draw, fixed
from i2i.losses import WASSERSTEIN

__all__ = ["RMSPROP", "WGAN", "Cadence"]

RMSPROP = Spec("torch.optim:RMSprop", {"lr": 5e-5})  # Alg. 1


@dataclass(frozen=True)
class Cadence:
    """When the generator moves: after `few` steps of the critic (Alg. 1), but after `many` at each of its own `first`
    steps and at every `every`-th, so that it begins with a good critic (the authors' code)."""

    few: int = 5
    many: int = 100
    first: int = 25
    every: int = 500

    def __post_init__(self) -> None:
        if not 1 <= self.few <= self.many or not 1 <= self.first <= self.every:
            raise ValueError(f"Cadence needs 1 <= few <= many and 1 <= first <= every, not {self}")

    def generator_moves(self, clock: Clock) -> bool:
        """Whether the critic's step at `clock` is followed by one of the generator."""
        done = clock.steps + 1
        begun = self.first * self.many
        if done <= begun:
            return done % self.many == 0
        # of each `every` moves one follows `many` steps, the others `few`; how many steps ago was the one?
        ago = (done - begun + (self.first - 1) * self.few) % (self.many + (self.every - 1) * self.few)
        return ago % self.few == 0 and ago <= (self.every - 1) * self.few


@final
class WGAN(Game):
    """The game of Alg. 1.

    Args:
        generator: Spec of a network that draws pictures [N,C,S,S] in [-1,1] from [N,Z], which its `parts` describe.
        critic: Spec of a network that gives pictures raw scores.
        clip: c, the largest size of the critic's parameters.
        cadence: how many steps the critic has for each of the generator.
        optimizer: Spec of the optimizer of both players, its learning rate the peak.
        critic_optimizer: of the critic where it has one of its own.
        average: half-life of the averaged generator in images that the critic has seen; None keeps the last weights.
        r1: a penalty on the critic's slope.
    """

    Batch = Alone

    def __init__(
        self,
        generator: Spec,
        critic: Spec,
        *,
        clip: float = 0.01,
        cadence: Cadence = Cadence(),
        optimizer: Spec = RMSPROP,
        critic_optimizer: Spec | None = None,
        average: HalfLife | None = None,
        r1: R1 = R1(),
    ) -> None:
        if clip <= 0:
            raise ValueError(f"clip is a size above 0, not {clip}")
        self.bound, self.cadence, self.r1, self.watch = clip, cadence, r1, Watch(sure=False)
        self.specs = generator, critic
        self.draws, self.judges = generator.build(), critic.build()
        self.generator = Player("generator", {"draws": self.draws}, optimizer, average)
        self.critic = Player("critic", {"judges": self.judges}, critic_optimizer or optimizer)

    def stages(self) -> list[Stage]:
        return [Stage("train", (self.critic, self.generator), self.turns, enter=self.clip)]

    def turns(self, clock: Clock) -> Iterator[tuple[Player, Loss]]:
        yield self.critic, self.r1(clock, self.critic_loss, lambda x, batch: self.judges(x))
        self.clip()  # Alg. 1, line 7
        if self.cadence.generator_moves(clock):
            yield self.generator, self.generator_loss

    @torch.no_grad()
    def clip(self) -> None:
        """Bring all of the critic's parameters within +-c."""
        for parameter in self.critic.parameters():
            parameter.clamp_(-self.bound, self.bound)

    def critic_loss(self, batch: Alone, made: Made) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = self.draws(draw(self.draws.parts, len(batch.x), like=batch.x)).to(batch.x.dtype)
        real_score, fake_score = self.judges(batch.x), self.judges(fake)
        self.watch.note(made, x=batch.x, fake=fake, real_score=real_score, fake_score=fake_score)
        terms = {"real": WASSERSTEIN.real(real_score), "fake": WASSERSTEIN.fake(fake_score)}  # Eq. 3
        made.note("estimate", -terms["real"] - terms["fake"])
        return terms

    def generator_loss(self, batch: Alone, made: Made) -> dict[str, Tensor]:
        fake = self.draws(draw(self.draws.parts, len(batch.x), like=batch.x))
        return {"adversarial": WASSERSTEIN.fool(self.judges(fake))}  # Theorem 3

    def observe(self, means: Mapping[str, float]) -> Sequence[str]:
        return self.watch.observe(means)

    def exports(self) -> dict[str, Export]:
        generator, critic = self.specs
        scores = replace(self.judges.card(), classes=("score",))
        return {
            "generator": Export(self.draws, generator, self.draws.card()),
            "critic": Export(self.judges, bare(critic), scores),
        }

    def preview(self, batch: Alone, networks: Mapping[str, Any]) -> list[Tensor]:
        return list(networks["generator"](fixed(self.draws.parts, 64).to(batch.x.device)).chunk(8))
