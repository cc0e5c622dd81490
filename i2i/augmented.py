"""Augmentation of what critics are shown, true and drawn pictures alike, so that a few pictures suffice to train on.

DiffAugment: Differentiable Augmentation for Data-Efficient GAN Training (Zhao et al. 2020, arXiv:2006.10738, Eq. 4-6):

    discriminator: {of: i2i.augmented:augmented, network: {of: ...}, by: {of: i2i.augmented:DiffAugment}}

ADA: Training Generative Adversarial Networks with Limited Data (Karras et al. 2020, arXiv:2006.06676): the same, with
`by: {of: i2i.augmented:ADA}`. Its probability follows how sure the critic is of true pictures: r_t = E[sign(D)], Eq. 1.

Any game can have either: it stands before the critic's first argument, in both players' turns and in gradient
penalties, is differentiable twice, and draws for each picture by itself. A critic that is given pairs of pictures, one
after the other in the channels, has both changed alike. Nothing of it is in what is exported.

Deviations:
    ADA moves pixels by bilinear interpolation, without the wavelet filters of App. B;
    it has neither filters nor corruptions, as the paper's own choice, "bgc", has not;
    r_t is of as many batches of true pictures as a critic has seen, which is more than `every` a step in some games.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from i2i.aids import Aid, before
from i2i.errors import UserError
from i2i.game import Game
from i2i.losses import Adversarial, Score
from i2i.schedules import Clock

__all__ = ["ADA", "DiffAugment", "augmented"]

Policy = Literal["color", "translation", "cutout"]


def augmented(network: nn.Module, *, by: nn.Module) -> nn.Module:
    """Put an augmentation before a critic's first argument; returns the critic.

    Args:
        network: whose forward takes pictures [N,C,H,W] first.
        by: the augmentation, such as `DiffAugment` or `ADA`.
    """
    if isinstance(by, ADA):
        by.critic = (network,)
    return before(network, "augmentation", by)


def colours(x: Tensor) -> Tensor:
    """[N,C,H,W] => [N,pictures,3,H,W] where pictures of three channels stand one after the other, else [N,1,C,H,W]."""
    return x.unflatten(1, (-1, 3) if x.shape[1] % 3 == 0 else (1, -1))


def drawn(x: Tensor, *more: int) -> Tensor:
    """U(0, 1) for each picture of x [N,...] by itself: [N,*more] in float32."""
    return torch.rand(len(x), *more, device=x.device)


class DiffAugment(nn.Module):
    """The policies of Sec. 3.3: colour (brightness, saturation, contrast), translation by up to an eighth, and a square
    of half the size cut out.

    Args:
        policy: which of them, in their order.
    """

    def __init__(self, policy: Sequence[Policy] = ("color", "translation", "cutout")) -> None:
        super().__init__()
        known = {"color": self.recoloured, "translation": self.shifted, "cutout": self.cut}
        if not policy or set(policy) - set(known):
            raise ValueError(f"the policies are {', '.join(known)}, not {', '.join(policy) or 'none'}")
        self.policy = tuple(policy)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,C,H,W] => the same shape."""
        for name in self.policy if self.training else ():
            x = {"color": self.recoloured, "translation": self.shifted, "cutout": self.cut}[name](x)
        return x

    @staticmethod
    def recoloured(x: Tensor) -> Tensor:
        """Brightness by -0.5 to 0.5, saturation by 0 to 2, contrast by 0.5 to 1.5."""
        brightness, saturation, contrast = drawn(x, 3, 1, 1, 1, 1).to(x.dtype).unbind(1)
        pictures = colours(x) + (brightness - 0.5)
        gray = pictures.mean(2, keepdim=True)
        pictures = gray + 2 * saturation * (pictures - gray)
        mean = pictures.mean((2, 3, 4), keepdim=True)
        return (mean + (contrast + 0.5) * (pictures - mean)).flatten(1, 2)

    @staticmethod
    def shifted(x: Tensor) -> Tensor:
        """By whole pixels, down and across; zeros come in."""
        for axis in (2, 3):
            size = x.shape[axis]
            most = round(size / 8)
            places = (drawn(x, 1) * (2 * most + 1)).floor().long() - most + torch.arange(size, device=x.device)
            shape = [len(x), 1, 1, 1]
            shape[axis] = size
            index, inside = places.clamp(0, size - 1).view(shape), ((places >= 0) & (places < size)).view(shape)
            x = x.gather(axis, index.expand(x.shape)) * inside
        return x

    @staticmethod
    def cut(x: Tensor) -> Tensor:
        """A square of half the height and width, of zeros."""
        apart = []
        for axis in (2, 3):
            size = x.shape[axis]
            middle = (drawn(x, 1) * size).floor()
            off = torch.arange(size, device=x.device) - middle
            apart.append((off >= -size / 4) & (off < size / 4))
        return x * ~(apart[0][:, None, :, None] & apart[1][:, None, None, :])


class Listening:
    """Stands for a rule's score of true pictures, and lets the critic that was called last hear them."""

    def __init__(self, rule: Score) -> None:
        self.rule = rule
        self.last: ADA | None = None

    def __call__(self, score: Tensor) -> Tensor:
        if self.last is not None:
            self.last.hear(score)
        return self.rule(score)


class ADA(Aid):
    """The augmentations of App. B ("bgc": pixel blitting, geometry, colours), each with probability p, which changes as
    Sec. 3.1 has it. It stands in the journal, and is part of a checkpoint.

    Args:
        target: r_t that p is to bring about.
        every: batches of true pictures between two changes of p.
        length: images in which p goes from 0 to 1 if r_t stays on one side.
        p: at the start; with `length` None, for ever.

    The game must have a `rule` that tells true from drawn pictures by the sign of a score.
    """

    p: Tensor
    heard: Tensor
    calls: Tensor
    since: Tensor

    def __init__(self, *, target: float = 0.6, every: int = 4, length: int | None = 500_000, p: float = 0.0) -> None:
        super().__init__()
        if every < 1 or (length is not None and length < 1) or not 0 <= p <= 1:
            raise ValueError(f"ADA needs every and length from 1 on, and p from 0 to 1, not {every}, {length} and {p}")
        self.target, self.every, self.length = target, every, length
        self.clock = Clock()  # set by the trainer
        self.critic: tuple[nn.Module, ...] = ()  # in a tuple, or it would be a part of its own part
        self.ear: Listening | None = None
        # floating buffers start equal in all lanes, and are averaged over lanes and ranks (i2i.lanes.Buffers)
        for name, value in (("p", p), ("heard", 0.0), ("calls", 0.0), ("since", 0.0)):
            self.register_buffer(name, torch.tensor(value))

    def attend(self, game: Game) -> None:
        """Hear what the game's rule scores. Raises UserError where it has none."""
        if self.length is None:
            return
        rule = getattr(game, "rule", None)
        if not isinstance(rule, Adversarial):
            raise UserError(
                f"ADA cannot tell how sure the critic of {type(game).__name__} is: the game has no rule; take "
                "DiffAugment, or ADA with a p of its own and length: null"
            )
        if not isinstance(rule.real, Listening):
            game.rule = rule._replace(real=Listening(rule.real))  # type: ignore[attr-defined]
        self.ear = game.rule.real  # type: ignore[attr-defined]

    def notes(self) -> dict[str, Tensor]:
        """p, and r_t as far as it is known."""
        return {"p": self.p} | ({"r": self.heard / self.calls.clamp_min(1)} if self.length else {})

    @torch.no_grad()
    def hear(self, score: Tensor) -> None:
        """Scores of true pictures, in the critic's own turn; after enough of them p moves."""
        if not self.training or not any(parameter.requires_grad for parameter in self.critic[0].parameters()):
            return
        assert self.length is not None
        # what was heard before: it is the mean over all lanes by now, so that all lanes move p alike
        due = (self.calls >= self.every).to(self.p)  # no question that the device would have to answer
        now = float(self.clock.images)
        step = torch.sign(self.heard / self.calls.clamp_min(1) - self.target) * (now - self.since) / self.length
        self.p.copy_((self.p + due * step).clamp(0, 1))
        self.since += due * (now - self.since)
        self.heard.copy_(self.heard * (1 - due) + score.detach().sign().to(self.p).mean())
        self.calls.copy_(self.calls * (1 - due) + 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,C,H,W] => the same shape."""
        if not self.training:
            return x
        if self.ear is not None:
            self.ear.last = self
        with torch.autocast(x.device.type, enabled=False):  # places of pixels need the digits
            return self.recoloured(moved(x, self.places(x)))

    def chosen(self, x: Tensor, changed: Tensor, same: float, p: Tensor | None = None) -> Tensor:
        """`changed` [N] with probability p, else `same`, for each picture."""
        return torch.where(drawn(x) < (self.p if p is None else p), changed, torch.full_like(changed, same))

    def places(self, x: Tensor) -> Tensor:
        """[N,3,3]: from a place in the result to the one in x that is shown there, in pixels from the middle."""
        height, width = x.shape[2:]
        twice = 1 - (1 - self.p).clamp_min(0).sqrt()  # two turns: either happens with probability p (App. B.2)
        scale, size, none = 0.2 * math.log(2), (width, height), torch.zeros(len(x), device=x.device)
        iso, wide = (self.chosen(x, torch.exp(normal(x) * scale), 1) for _ in range(2))
        return composed(
            # pixel blitting: mirrored, turned by quarters, moved by whole pixels
            scaled(self.chosen(x, 1 - 2 * (drawn(x) < 0.5).float(), 1), none + 1),
            turned(self.chosen(x, (drawn(x) * 4).floor() * (math.pi / 2), 0)),
            shifted(*(self.chosen(x, ((drawn(x) * 2 - 1) * side / 8).round(), 0) for side in size)),
            # geometry: isotropic scale, turn, anisotropic scale, turn, moved by parts of pixels
            scaled(iso, iso),
            turned(self.chosen(x, (drawn(x) * 2 - 1) * math.pi, 0, twice)),
            scaled(wide, 1 / wide),
            turned(self.chosen(x, (drawn(x) * 2 - 1) * math.pi, 0, twice)),
            shifted(*(self.chosen(x, normal(x) * side / 8, 0) for side in size)),
        )

    def recoloured(self, x: Tensor) -> Tensor:
        """Brightness, contrast, lightness turned over, hue, saturation (App. B.3); without colours, the first two."""
        brightness = self.chosen(x, normal(x) * 0.2, 0).to(x.dtype)
        contrast = self.chosen(x, torch.exp(normal(x) * (0.5 * math.log(2))), 1).to(x.dtype)
        pictures = (colours(x) + across(brightness)) * across(contrast)
        if x.shape[1] % 3:
            return pictures.flatten(1, 2)
        over = self.chosen(x, (drawn(x) < 0.5).float(), 0)[:, None, None]
        hue = self.chosen(x, (drawn(x) * 2 - 1) * math.pi, 0)[:, None, None]
        saturation = self.chosen(x, torch.exp(normal(x) * math.log(2)), 1)[:, None, None]
        same, gray = torch.eye(3, device=x.device), torch.full((3, 3), 1 / 3, device=x.device)  # onto the axis of grays
        turn = torch.linalg.cross(same, torch.full((3, 3), -1 / math.sqrt(3), device=x.device))  # a quarter about it
        made = composed(
            saturation * same + (1 - saturation) * gray,
            hue.cos() * same + (1 - hue.cos()) * gray + hue.sin() * turn,
            same - 2 * over * gray,
        ).to(x.dtype)
        return (made[:, None, :, :, None, None] * pictures[:, :, None]).sum(3).flatten(1, 2)


def across(values: Tensor) -> Tensor:
    """[N] => [N,1,1,1,1], beside `colours`."""
    return values[:, None, None, None, None]


def normal(x: Tensor) -> Tensor:
    """N(0, 1) for each picture of x: [N] in float32."""
    return torch.randn(len(x), device=x.device)


def matrix(*entries: Tensor | float) -> Tensor:
    """[N,3,3] of the six entries of the first two rows, [N] or the same for all."""
    like = next(entry for entry in entries if isinstance(entry, Tensor))
    rows = [entry if isinstance(entry, Tensor) else torch.full_like(like, entry) for entry in (*entries, 0.0, 0.0, 1.0)]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def scaled(across: Tensor, down: Tensor) -> Tensor:
    return matrix(across, 0.0, 0.0, 0.0, down, 0.0)


def turned(angle: Tensor) -> Tensor:
    return matrix(angle.cos(), -angle.sin(), 0.0, angle.sin(), angle.cos(), 0.0)


def shifted(across: Tensor, down: Tensor) -> Tensor:
    return matrix(1.0, 0.0, across, 0.0, 1.0, down)


def composed(*matrices: Tensor) -> Tensor:
    """The product of matrices [N,3,3], by sums that no precision of products and no batch changes."""
    made = matrices[0]
    for one in matrices[1:]:
        made = (made[..., None] * one[:, None]).sum(-2)
    return made


def moved(x: Tensor, places: Tensor) -> Tensor:
    """Pictures [N,C,H,W] seen at other places, [N,3,3] as of `ADA.places`; bilinear, reflected at the borders.

    By gathering, whose gradient has a gradient: torch's grid_sample has none.
    """
    height, width = x.shape[2:]
    kind = torch.promote_types(x.dtype, torch.float32)
    down = torch.arange(height, device=x.device, dtype=kind)[:, None] - (height - 1) / 2
    across = torch.arange(width, device=x.device, dtype=kind) - (width - 1) / 2
    entries = places.to(kind)[:, :2, :, None, None].unbind(1)  # [N,3,1,1] each, without a product autocast would round
    u, v = (row[:, 0] * across + row[:, 1] * down + row[:, 2] for row in entries)
    u, v = reflected(u + (width - 1) / 2, width), reflected(v + (height - 1) / 2, height)
    left, top = u.detach().floor(), v.detach().floor()
    right, below = (u - left)[:, None].to(x.dtype), (v - top)[:, None].to(x.dtype)  # shares
    flat = x.flatten(2)

    def at(row: Tensor, column: Tensor) -> Tensor:
        index = row.clamp(max=height - 1) * width + column.clamp(max=width - 1)
        return flat.gather(2, index.long().flatten(1)[:, None].expand(flat.shape)).unflatten(2, (height, width))

    upper = at(top, left) * (1 - right) + at(top, left + 1) * right
    lower = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    return upper * (1 - below) + lower * below


def reflected(places: Tensor, size: int) -> Tensor:
    """Places on an endless line folded into 0..size-1, the edges not repeated."""
    period = max(1, 2 * (size - 1))
    places = places.remainder(period)
    return torch.minimum(places, period - places).clamp(0, size - 1)
