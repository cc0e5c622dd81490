"""What goes into a generator that draws from nothing: the vector [N,Z] whose parts its card names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from i2i.errors import UserError
from i2i.game import Part
from i2i.host import seeded

__all__ = ["draw", "fixed", "latent_size", "split"]


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
