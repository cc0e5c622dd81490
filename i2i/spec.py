"""Spec: the only place where a string becomes code.

`Spec("package.module:Name", {...}).build()` calls the object at that address. Nothing is registered and nothing is
imported by scanning: a class in another package works unregistered.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Spec", "SpecError", "is_address", "resolve"]

ADDRESS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class SpecError(ValueError):
    """An address that leads nowhere, or arguments that do not fit what is there."""


def is_address(text: object) -> bool:
    """Whether `text` looks like "package.module:Name"."""
    return isinstance(text, str) and ADDRESS.fullmatch(text) is not None


def resolve(address: str) -> Any:
    """The object at "package.module:Name". Raises SpecError with what is there instead."""
    if not is_address(address):
        raise SpecError(f"'{address}' is no address; write package.module:Name")
    module_name, _, path = address.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise  # the module is there; something it needs is not
        raise SpecError(f"there is no module '{error.name}' (in '{address}')") from None
    for name in path.split("."):
        if not hasattr(found, name):
            from difflib import get_close_matches

            near = get_close_matches(name, [n for n in dir(found) if not n.startswith("_")], 1)
            raise SpecError(f"{module_name} has no '{name}'" + (f" (did you mean '{near[0]}'?)" if near else ""))
        found = getattr(found, name)
    return found


@dataclass(frozen=True)
class Spec:
    """An object that can be built again: its address and its keyword arguments.

    Attributes:
        of: "package.module:Name".
        kwargs: JSON-able values. When built, a nested Spec is built first and an address string becomes the object it
            names, unless the parameter is annotated `Spec` or `str`: then it is handed over as it is. A list becomes
            a tuple where the annotation asks for one.
    """

    of: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def to(cls, target: Callable[..., Any], **kwargs: Any) -> Spec:
        """The Spec of a class or function: `Spec.to(ResnetGenerator, width=32)`."""
        return cls(f"{target.__module__}:{target.__qualname__}", kwargs)

    def __call__(self, *args: Any, **more: Any) -> Any:
        """Call the object at the address with `args`, the kept arguments, and `more` over them."""
        return resolve(self.of)(*args, **self.arguments(Spec.build, but=more), **more)

    def arguments(self, build: Callable[[Spec], Any], *, but: Collection[str] = ()) -> dict[str, Any]:
        """The kept arguments, without those named in `but`, as the object takes them; `build` builds nested Specs."""
        from i2i.typed import build_value, slots  # reads annotations, and itself needs Spec

        known = slots(resolve(self.of)).named
        return {
            key: build_value(value, known[key].hint if key in known else Any, build)
            for key, value in self.kwargs.items()
            if key not in but
        }

    def build(self) -> Any:
        """The object itself."""
        return self()

    def node(self) -> dict[str, Any]:
        """As a recipe writes it: {"of": address, **kwargs}, nested Specs likewise."""
        return {"of": self.of} | {k: v.node() if isinstance(v, Spec) else v for k, v in self.kwargs.items()}

    @classmethod
    def from_node(cls, node: Mapping[str, Any]) -> Spec:
        """The inverse of `node`."""
        kwargs = {
            key: cls.from_node(value) if isinstance(value, Mapping) and "of" in value else value
            for key, value in node.items()
            if key != "of"
        }
        return cls(str(node["of"]), kwargs)
