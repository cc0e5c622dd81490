"""Stand-ins that the recipes of test_recipe.py name: small, and annotated in every way a paper's classes may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from i2i.game import Export, Game, Stage
from i2i.spec import Spec

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]  # what only a type checker imports


class Rule(NamedTuple):
    real: Callable[[float], float]
    name: str


SQUARES = Rule(abs, "squares")
NUMBER = 5


class Net:
    """A network of no layers."""

    def __init__(self, inputs: int = 3, *, width: int = 64, norm: type[Exception] = ValueError) -> None:
        self.inputs, self.width, self.norm = inputs, width, norm


class Cycle(Game):
    """A game without players."""

    def __init__(
        self,
        generator: Spec,
        *,
        critic: Net | None = None,
        rule: Rule = SQUARES,
        cycle: float = 10,
        pool: int = 50,
        betas: tuple[float, float] = (0.5, 0.999),
        at: tuple[int, ...] = (),
        lazy: bool = False,
    ) -> None:
        self.generator, self.critic, self.rule, self.cycle, self.pool = generator, critic, rule, cycle, pool
        self.betas, self.at, self.lazy = betas, at, lazy

    def stages(self) -> list[Stage]:
        return []

    def exports(self) -> dict[str, Export]:
        return {}


class Folder:
    """A data set."""

    def __init__(
        self,
        root: str,
        *,
        load: int = 286,
        direction: Literal["a2b", "b2a"] = "a2b",
        seed: int,
        scale: int | float | None = None,
        steps: Sequence[Spec | Mapping[str, Any]] | None = None,
        parts: list[Net] | None = None,
        where: Path | None = None,
        anything: Any = None,
        unknown: Unknown = None,
    ) -> None:
        self.root, self.load, self.direction, self.seed, self.scale = root, load, direction, seed, scale
        self.steps, self.parts, self.where, self.anything, self.unknown = steps, parts, where, anything, unknown


def loose(**options: Any) -> dict[str, Any]:
    """Takes every key."""
    return options
