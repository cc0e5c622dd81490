"""Image-to-image translation with GANs.

`load_generator` and `Engine` run a trained generator; `load_recipe` and `Trainer` train one. Names are loaded when they
are first used, so that `import i2i` costs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from i2i.engine import Engine
    from i2i.errors import UserError
    from i2i.evaluation import evaluate
    from i2i.game import Card, Clock, Export, Game, HalfLife, Made, Origin, Player, Stage
    from i2i.recipe import Recipe
    from i2i.recipe import load as load_recipe
    from i2i.sampling import Sampler
    from i2i.spec import Spec
    from i2i.trainer import Trainer
    from i2i.zoo import load_generator

__version__ = "0.1.0"

__all__ = [
    "Card",
    "Clock",
    "Engine",
    "Export",
    "Game",
    "HalfLife",
    "Made",
    "Origin",
    "Player",
    "Recipe",
    "Sampler",
    "Spec",
    "Stage",
    "Trainer",
    "UserError",
    "__version__",
    "evaluate",
    "load_generator",
    "load_recipe",
]

# public name -> (module, name there)
HOMES = {
    "Card": ("i2i.game", "Card"),
    "Clock": ("i2i.schedules", "Clock"),
    "Engine": ("i2i.engine", "Engine"),
    "Export": ("i2i.game", "Export"),
    "Game": ("i2i.game", "Game"),
    "HalfLife": ("i2i.schedules", "HalfLife"),
    "Made": ("i2i.game", "Made"),
    "Origin": ("i2i.game", "Origin"),
    "Player": ("i2i.game", "Player"),
    "Recipe": ("i2i.recipe", "Recipe"),
    "Sampler": ("i2i.sampling", "Sampler"),
    "Spec": ("i2i.spec", "Spec"),
    "Stage": ("i2i.game", "Stage"),
    "Trainer": ("i2i.trainer", "Trainer"),
    "UserError": ("i2i.errors", "UserError"),
    "evaluate": ("i2i.evaluation", "evaluate"),
    "load_generator": ("i2i.zoo", "load_generator"),
    "load_recipe": ("i2i.recipe", "load"),
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'i2i' has no attribute '{name}'")
    module, attribute = HOMES[name]
    found = getattr(import_module(module), attribute)
    globals()[name] = found  # the next access does not come here
    return found


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(HOMES))
