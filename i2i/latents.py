"""What goes into a generator that draws from nothing: the vector [N,Z] whose parts its card names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from i2i.errors import UserError
from i2i.game import Part
from i2i.host import seeded
from i2i.schedules import mix

__all__ = ["between", "draw", "drawn", "fixed", "latent_size", "slerp", "split"]


def latent_size(parts: Sequence[Part]) -> int:
    """Z: the numbers of all parts together."""
    return sum(part.size for part in parts)


def draw(
    parts: Sequence[Part],
    count: int,
    *,
    like: Tensor | None = None,
    given: Mapping[str, Tensor] | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """[count,Z], each part as it says; the global generator draws unless another is named.

    Args:
        parts: of the vector, in order.
        like: a tensor whose device and dtype the result has.
        given: name of a part -> what stands there instead of a draw: [count,size], or for a class its numbers [count].

    Raises UserError for a text that is not given, and for what is given in another size.
    """
    given = given or {}
    device = generator.device if generator else None if like is None else like.device
    made = []
    for part in parts:
        size = (count, part.size)
        if part.name in given:
            values = given[part.name]
            if part.kind == "class" and values.ndim == 1:
                values = F.one_hot(values.long(), part.size)
            if values.shape != size:
                raise UserError(
                    f"'{part.name}' takes {part.size} numbers for each of {count} pictures, not {list(values.shape)}"
                )
        elif part.kind == "normal":
            values = torch.randn(size, generator=generator, device=device)
        elif part.kind == "uniform":
            low, high = part.span
            values = torch.rand(size, generator=generator, device=device) * (high - low) + low
        elif part.kind == "class":
            values = F.one_hot(torch.randint(part.size, (count,), generator=generator, device=device), part.size)
        else:
            raise UserError(f"this generator draws what a text says: say it with --text (part '{part.name}')")
        made.append(values.float() if like is None else values.to(like))
    return torch.cat(made, 1)


def split(parts: Sequence[Part], latent: Tensor) -> dict[str, Tensor]:
    """The parts of [N,Z] by their names."""
    return dict(zip((p.name for p in parts), latent.split([p.size for p in parts], 1), strict=True))


def fixed(parts: Sequence[Part], count: int, *, given: Mapping[str, Tensor] | None = None, seed: int = 0) -> Tensor:
    """[count,Z] on the CPU, the same in every call: for contact sheets."""
    with seeded(seed):
        return draw(parts, count, given=given)


def drawn(
    parts: Sequence[Part],
    places: Sequence[int],
    *,
    seed: int = 0,
    given: Mapping[str, Tensor] | None = None,
    truncation: float | None = None,
) -> Tensor:
    """[len(places),Z] on the CPU: the vectors at those places of the endless row that a seed stands for.

    Each part of each vector is drawn from (seed, place, part) alone: it is the same whatever else is drawn or given.

    Args:
        parts: of the vector, in order.
        places: from 0 on, in any order.
        seed: from 0 on.
        given: as for `draw`, a row for each place.
        truncation: above 0. Numbers of normal parts that lie farther from 0 are drawn again (Brock et al. 2019,
            arXiv:1809.11096, Sec. 3.1); uniform parts keep to the middle of their span, `truncation` times as wide
            (all of it from 1 on); None draws as in training.

    Raises UserError as `draw` does.
    """
    given = given or {}
    columns = []
    for number, part in enumerate(parts):
        if part.name in given:
            columns.append(draw((part,), len(places), given=given))
            continue
        rows = [torch.empty(0, part.size)]
        for place in places:
            generator = torch.Generator().manual_seed(mix(seed, place, number))
            row = draw((part,), 1, generator=generator)
            rows.append(row if truncation is None else truncated(part, row, truncation, generator))
        columns.append(torch.cat(rows))
    return torch.cat(columns, 1)


def truncated(part: Part, values: Tensor, truncation: float, generator: torch.Generator) -> Tensor:
    """`values` of a part, those that lie too far out drawn again; see `drawn`."""
    if part.kind == "uniform":
        middle = sum(part.span) / 2
        return middle + min(1.0, truncation) * (values - middle)
    if part.kind != "normal":
        return values
    # where the inverse of the distribution's function takes a number of its own: as if drawn until one lies within
    share = torch.rand(values.shape, generator=generator, dtype=torch.float64) * 2 - 1
    within = math.sqrt(2) * torch.erfinv(share * math.erf(truncation / math.sqrt(2)))
    return torch.where(values.abs() > truncation, within.clamp(-truncation, truncation).to(values.dtype), values)


def slerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """From a to b along the great circle, where normal vectors lie (Shoemake 1985; White 2016, arXiv:1609.04468).

    a, b: [...,n]; share: broadcast against [...,1], 0 gives a and 1 gives b => [...,n]. Vectors in one line, which have
    no great circle, are joined by it.
    """
    angle = F.cosine_similarity(a, b, dim=-1).clamp(-1, 1).acos().unsqueeze(-1)
    sine = angle.sin()
    bent = ((1 - share) * angle).sin() / sine * a + (share * angle).sin() / sine * b
    return torch.where(sine.abs() < 1e-4, a + share * (b - a), bent)


def between(parts: Sequence[Part], a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """From a to b, each part by itself: normal ones by `slerp`, the others along the line.

    a, b: [N,Z]; share: [N,1], 0 gives a and 1 gives b => [N,Z].
    """
    made = []
    for part, one, other in zip(parts, split(parts, a).values(), split(parts, b).values(), strict=True):
        made.append(slerp(one, other, share) if part.kind == "normal" else one + share * (other - one))
    return torch.cat(made, 1)
