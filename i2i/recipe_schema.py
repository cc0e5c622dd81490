"""The JSON Schema (2020-12) of recipes, for editors: completion, descriptions, and most errors while typing.

Written from the same signatures that `i2i.recipe.load` checks. An address that is not in `i2i.recipe.KNOWN` is taken as
it is, so the schema never refuses a recipe that `load` takes for naming code of another package.
"""

from __future__ import annotations

import collections.abc as abc
import inspect
import typing
from typing import Any, Literal

from i2i.recipe import INJECTED, KNOWN, OPTIONAL, SECTIONS, About, Recipe, Training, Validation, plain
from i2i.spec import SpecError, resolve
from i2i.typed import WHOLE, Range, Slot, bare, default, members, slots, takes_spec

__all__ = ["schema"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ADDRESS = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"
TEXTS: dict[Any, dict[str, Any]] = {bool: {"type": "boolean"}, str: {"type": "string"}, type(None): {"type": "null"}}
"""What an annotation is in JSON; numbers are made in `_number`."""


def schema() -> dict[str, Any]:
    """The schema of a whole recipe."""
    known = {address: target for address in KNOWN if (target := _find(address)) is not None}
    roles: dict[str, list[str]] = {"game": [], "data": [], "rate": [], "spec": []}
    definitions: dict[str, Any] = {
        "address": {"type": "string", "pattern": ADDRESS, "description": "package.module:NAME, looked up when built"},
        "grouped": {"type": "string", "pattern": r"^[-+]?[1-9][0-9]*(_[0-9]+)+$", "description": "as in 266_800"},
    }
    for address, target in known.items():
        name = address.partition(":")[2]
        roles[_role(address, target)].append(name)
        roles["spec"].append(name)
        definitions[name] = _node(address, target)
    other = {
        "description": "an object of another package",
        "type": "object",
        "properties": {"of": {"$ref": "#/$defs/address", "not": {"enum": list(known)}}},
        "required": ["of"],
    }
    definitions["other"] = other
    for role, names in roles.items():
        definitions[role] = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in [*names, "other"]]}
    training = _object(Training, "How long, how large, how precise; lengths are in images.")
    training["properties"]["rate"] |= {"$ref": "#/$defs/rate"}
    about = "What the recipe is about, in words; changes no result."
    properties = {
        "name": {"type": "string", "pattern": r"^\w[\w.-]*$", "description": "by default the file's name"},
        "about": _object(About, about),
        "game": {"description": "Who plays whom, by which losses: a paper.", "$ref": "#/$defs/game"},
        "data": {"description": "Where the images come from and how they are prepared.", "$ref": "#/$defs/data"},
        "training": training,
        "validation": _object(Validation, "What is measured while training goes on; changes no result."),
    }
    return {
        "$schema": DIALECT,
        "title": "i2i recipe",
        "description": _line(Recipe),
        "type": "object",
        "properties": properties,
        "required": [section for section in SECTIONS if section not in OPTIONAL],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _find(address: str) -> Any:
    """What is at an address, or None where this installation has no such thing."""
    try:
        return resolve(address)
    except (SpecError, ImportError):
        return None


def _role(address: str, target: Any) -> str:
    """Which section an object is for, by where it lives."""
    if address.startswith("i2i.data.") and hasattr(target, "__getitem__"):
        return "data"
    if address.startswith("i2i.schedules:"):
        return "rate" if "__call__" in vars(target) else "spec"
    return "game" if hasattr(target, "stages") else "spec"


def _node(address: str, target: Any) -> dict[str, Any]:
    """A mapping with `of:` that names a class we know."""
    given = INJECTED if _role(address, target) == "data" else ()
    known = {name: slot for name, slot in slots(target).named.items() if name not in given}
    made = _fields(known)
    made["properties"] = {"of": {"const": address}} | made["properties"]
    # what another class of ours needs may come from the game that builds it
    made["required"] = ["of", *(made["required"] if _role(address, target) != "spec" else [])]
    return {"title": target.__name__, "description": _line(target)} | made


def _object(kind: type[Any], description: str) -> dict[str, Any]:
    return {"description": description} | _fields(slots(kind).named)


def _fields(known: dict[str, Slot]) -> dict[str, Any]:
    """An object whose properties are parameters."""
    return {
        "type": "object",
        "properties": {name: _parameter(slot) for name, slot in known.items()},
        "required": [name for name, slot in known.items() if slot.default is inspect.Parameter.empty],
        "additionalProperties": False,
    }


def _parameter(slot: Slot) -> dict[str, Any]:
    """One parameter: type, bounds, description, default."""
    words = [{"description": text} for text in bare(slot.hint)[1] if isinstance(text, str) and text != WHOLE]
    start = default(slot)
    return (words[-1] if words else {}) | _value(slot.hint) | ({"default": plain(start[slot.name])} if start else {})


def _value(hint: Any) -> dict[str, Any]:
    """What JSON may stand for an annotation. Anything that is not plain may be a Spec or an address."""
    hint, said = bare(hint)
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if len(members(hint)) > 1:
        return _any([_value(one) for one in inner])
    if hint in TEXTS:
        return dict(TEXTS[hint])
    if hint in (int, float):
        return _number(hint, said)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        return {
            "type": "array",
            "prefixItems": [_value(one) for one in inner],
            "minItems": len(inner),
            "maxItems": len(inner),
        }
    if (origin or hint) in (tuple, list, abc.Sequence, abc.Iterable, abc.Collection):
        return {"type": "array"} | ({"items": _value(inner[0])} if inner else {})
    if (origin or hint) in (dict, abc.Mapping):
        return {"type": "object"}
    if hint in (Any, object, inspect.Parameter.empty):
        return {}
    if takes_spec(hint):
        return {"$ref": "#/$defs/spec"}
    return {"anyOf": [{"$ref": "#/$defs/spec"}, {"$ref": "#/$defs/address"}]}


def _number(hint: type, said: tuple[Any, ...]) -> dict[str, Any]:
    """A number with its bounds. `266_800` is a number to us and text to YAML 1.2, so to many editors."""
    bounds: dict[str, Any] = {}
    for limit in said:
        if isinstance(limit, Range):
            ends = {"minimum": limit.least, "exclusiveMinimum": limit.above, "exclusiveMaximum": limit.below}
            bounds |= {key: end for key, end in ends.items() if end is not None}
    number = {"type": "integer" if hint is int else "number"} | bounds
    return {"anyOf": [number, {"$ref": "#/$defs/grouped"}]}


def _any(choices: list[dict[str, Any]]) -> dict[str, Any]:
    """A choice of schemas, nested choices taken in, doubles left out."""
    flat: list[dict[str, Any]] = []
    for choice in choices:
        for one in choice["anyOf"] if set(choice) == {"anyOf"} else [choice]:
            if one not in flat:
                flat.append(one)
    return {"anyOf": flat}


def _line(target: Any) -> str:
    """The first sentence of a docstring."""
    return (inspect.getdoc(target) or "").partition("\n")[0]
