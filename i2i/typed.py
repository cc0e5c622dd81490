"""What a callable takes, and whether leaves of YAML fit it: signatures and annotations, read once, said in words."""

from __future__ import annotations

import collections.abc as abc
import inspect
import os
import pkgutil
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple

from i2i.marked import Leaf, Place, Problem, leaf_of, near, shown
from i2i.spec import Spec, SpecError, is_address, resolve

__all__ = ["WHOLE", "Checker", "Range", "Slot", "Slots", "bare", "build_value", "members", "slots", "takes_spec"]

WHOLE = "whole"
"""In `Annotated[Spec, WHOLE]`: nothing is added to the Spec's arguments when it is built, so they must be complete."""

LIBRARIES = frozenset({"torch", "torchvision", "kornia", "albumentations", "numpy"})
"""Their defaults come and go with versions: written out, they would make the same recipe another one."""

ANYTHING = (Any, object, inspect.Parameter.empty)
SEQUENCES = (list, abc.Sequence, abc.Iterable, abc.Collection)
MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)


@dataclass(frozen=True)
class Range:
    """In `Annotated[int, Range(least=1)]`: what values a number may have."""

    least: float | None = None
    above: float | None = None
    below: float | None = None

    def holds(self, value: float) -> bool:
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        bounds = ((">=", self.least), (">", self.above), ("<", self.below))
        return " and".join(f" {sign} {bound}" for sign, bound in bounds if bound is not None)


class Slot(NamedTuple):
    """A parameter: its name, annotation (Any where unknown), default (Parameter.empty: none), whether keyword-only."""

    name: str
    hint: Any
    default: Any
    keyword: bool


class Slots(NamedTuple):
    """What a callable takes by keyword; `rest` where it takes any other keyword too (or nobody can tell)."""

    named: dict[str, Slot]
    rest: bool


def slots(target: Callable[..., Any]) -> Slots:
    """The parameters of a class or function that can be given by keyword, in their order."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (ValueError, TypeError):  # written in C, without a signature
        return Slots({}, True)
    names = _names(target)
    by_keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return Slots(
        {
            p.name: Slot(p.name, _hint(p.annotation, names), p.default, p.kind is inspect.Parameter.KEYWORD_ONLY)
            for p in parameters
            if p.kind in by_keyword
        },
        any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters),
    )


def _names(target: Any) -> dict[str, Any]:
    """The globals in which the annotations of `target` were written."""
    found = dict(vars(sys.modules.get(getattr(target, "__module__", None) or "", types)))
    for maker in [getattr(target, name) for name in ("__init__", "__new__")] if isinstance(target, type) else [target]:
        found.update(getattr(inspect.unwrap(maker), "__globals__", {}))
    return found


def _hint(annotation: Any, names: dict[str, Any]) -> Any:
    """An annotation as an object; Any where it names what only a type checker imports."""
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, names, include_extras=True)["it"]
    except (NameError, AttributeError, TypeError, SyntaxError):
        return Any


def bare(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """An annotation without Annotated, NewType and `type` aliases, and what Annotated said."""
    said: tuple[Any, ...] = ()
    while True:
        if typing.get_origin(hint) is typing.Annotated:
            said += hint.__metadata__
            hint = hint.__origin__
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        else:
            return hint, said


def members(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a union, or the annotation alone."""
    hint = bare(hint)[0]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(inner for arg in typing.get_args(hint) for inner in members(arg))
    return (hint,)


def takes_spec(hint: Any) -> bool:
    """Whether a parameter wants the Spec itself instead of what it builds."""
    return Spec in members(hint)


def _is_path(hint: Any) -> bool:
    return hint is os.PathLike or (isinstance(hint, type) and issubclass(hint, os.PathLike))


def _is_text(hint: Any) -> bool:
    """Whether a string given for this annotation stays a string, even where it looks like an address."""
    return any(
        h is str or _is_path(h) or _is_path(typing.get_origin(h)) or typing.get_origin(h) is Literal
        for h in members(hint)
    )


def _root(hint: Any) -> Any:
    return typing.get_origin(hint) or hint


def _items(hint: Any, count: int) -> list[Any]:
    """The annotations of the items of a list given for `hint`."""
    for one in members(hint):
        inner = typing.get_args(one)
        if _root(one) is tuple and inner:
            if len(inner) == 2 and inner[1] is Ellipsis:
                return [inner[0]] * count
            if len(inner) == count:
                return list(inner)
        elif _root(one) in SEQUENCES and inner:
            return [inner[0]] * count
    return [Any] * count


def _wants_tuple(hint: Any) -> bool:
    roots = [_root(one) for one in members(hint)]
    return tuple in roots and not any(root in SEQUENCES for root in roots)


def words(hint: Any, said: tuple[Any, ...] = (), *, many: bool = False) -> str:
    """What a value must be: "a whole number >= 1", "a list of 2 numbers", "one of 'bf16', 'fp32'"."""
    hint, more = bare(hint)
    limit = "".join(str(x) for x in said + more if isinstance(x, Range))
    inner = typing.get_args(hint)
    simple = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}
    plural = {bool: "true or false", int: "whole numbers", float: "numbers", str: "texts", type(None): "nulls"}
    if hint in simple:
        return (plural if many else simple)[hint] + limit
    if len(members(hint)) > 1:
        return " or ".join(dict.fromkeys(words(one) for one in inner))
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(shown(x) for x in inner)
    if _is_path(_root(hint)):
        return "a path"
    if _root(hint) is tuple and inner and inner[-1] is not Ellipsis:
        kinds = dict.fromkeys(words(one, many=True) for one in inner)
        return f"a list of {len(inner)}" + (f" {next(iter(kinds))}" if len(kinds) == 1 else "")
    if _root(hint) is tuple or _root(hint) in SEQUENCES:
        return "a list" + (f" of {words(inner[0], many=True)}" if inner else "")
    if _root(hint) in MAPPINGS or hint in ANYTHING:
        return "a mapping" if _root(hint) in MAPPINGS else "anything"
    if hint is Spec:
        return "a mapping with 'of:'"
    return "a mapping with 'of:' or an address (package.module:NAME)"


class Checker:
    """Turns leaves into values that fit annotations; what does not fit is kept in `problems`."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def wrong(self, place: Place, sentence: str) -> None:
        self.problems.append(Problem(place, sentence))

    def take(self, leaf: Leaf, hint: Any, path: str) -> Any:
        """The value of `leaf` for a parameter annotated `hint`; `path` is how errors call it ("game.cycle")."""
        hint, said = bare(hint)
        value = leaf.value
        if isinstance(value, dict) and "of" in value:
            return self.spec(leaf, path, whole=WHOLE in said or not takes_spec(hint))
        if len(members(hint)) > 1:
            return self.either(leaf, hint, path)
        before = len(self.problems)
        fits, made = self.fit(leaf, hint, path)
        if fits and all(x.holds(made) for x in said if isinstance(x, Range)):
            return made
        if len(self.problems) == before:
            self.wrong(leaf.place, f"{path} must be {words(hint, said)}, not {shown(value)}{_advice(value, hint)}")
        return None

    def either(self, leaf: Leaf, hint: Any, path: str) -> Any:
        """A union: the member of exactly the value's type first, then the others in their order."""
        deeper: list[Problem] = []
        for one in sorted(typing.get_args(hint), key=lambda h: bare(h)[0] is not type(leaf.value)):
            trial = Checker()
            made = trial.take(leaf, one, path)
            if not trial.problems:
                return made
            deeper = deeper or [p for p in trial.problems if p.place != leaf.place]
            if is_address(leaf.value) and not _is_text(hint) and _root(one) is not type(None):
                deeper = deeper or trial.problems
        if deeper:
            self.problems += deeper
        else:
            self.wrong(leaf.place, f"{path} must be {words(hint)}, not {shown(leaf.value)}{_advice(leaf.value, hint)}")
        return None

    def fit(self, leaf: Leaf, hint: Any, path: str) -> tuple[bool, Any]:
        """(whether it fits, the value), for an annotation that is no union."""
        value, root, inner = leaf.value, _root(hint), typing.get_args(hint)
        if hint in ANYTHING or isinstance(hint, typing.TypeVar):
            return True, self.anything(leaf, path)
        if hint is None or hint is type(None):
            return value is None, None
        if hint in (bool, int, str):
            return type(value) is hint, value
        if hint is float:
            return type(value) in (int, float), _float(value)
        if root is Literal:
            return any(value == x and type(value) is type(x) for x in inner), value
        if _is_path(root):
            return isinstance(value, str), value
        if isinstance(value, list) and (root is tuple or root in SEQUENCES):
            fixed = root is tuple and inner and Ellipsis not in inner
            if fixed and len(inner) != len(value):
                return False, None
            hints = _items(hint, len(value))
            made = [self.take(item, h, f"{path}[{i}]") for i, (item, h) in enumerate(zip(value, hints, strict=True))]
            return True, made if root is list else tuple(made)
        if isinstance(value, dict) and root in MAPPINGS:
            kind = inner[1] if len(inner) == 2 else Any
            return True, {key: self.take(item, kind, f"{path}.{key}") for key, item in value.items()}
        return self.thing(leaf, hint, path), value

    def thing(self, leaf: Leaf, hint: Any, path: str) -> bool:
        """Whether an address stands here for an object of the class `hint`."""
        if hint is Spec or not is_address(leaf.value):
            return False
        try:
            found = resolve(leaf.value)
        except (SpecError, ImportError) as error:
            self.wrong(leaf.place, f"{error}{_near_module(leaf.value)}")
            return True
        if _is_a(found, hint):
            return True
        name = getattr(hint, "__name__", str(hint))
        self.wrong(
            leaf.place, f"{path} must be the address of a {name}, and {leaf.value} is of type {type(found).__name__}"
        )
        return True

    def anything(self, leaf: Leaf, path: str) -> Any:
        """A value for which nothing is declared: as written; addresses must lead somewhere."""
        value = leaf.value
        if isinstance(value, list):
            return [self.take(item, Any, f"{path}[{i}]") for i, item in enumerate(value)]
        if isinstance(value, dict):
            return {key: self.take(item, Any, f"{path}.{key}") for key, item in value.items()}
        if is_address(value):
            self.thing(leaf, object, path)
        return value

    def spec(self, leaf: Leaf, path: str, *, whole: bool, given: tuple[str, ...] = ()) -> Spec | None:
        """A mapping with `of:`. `given` are parameters that whoever builds it supplies."""
        of = leaf.value["of"]
        try:
            if not isinstance(of.value, str):
                raise SpecError(f"'of' must be an address (package.module:Name), not {shown(of.value)}")
            target = resolve(of.value)
        except (SpecError, ImportError) as error:
            self.wrong(of.place, f"{error}{_near_module(of.value)}")
            return None
        if not callable(target):
            self.wrong(of.place, f"{of.value} is of type {type(target).__name__} and cannot be called")
            return None
        name = getattr(target, "__name__", of.value)
        written = {key: item for key, item in leaf.value.items() if key != "of"}
        fill = of.value.partition(":")[0].partition(".")[0] not in LIBRARIES
        made = self.arguments(written, target, name, path, of.place, whole=whole, given=given, fill=fill)
        return Spec(of.value, made)

    def arguments(
        self,
        written: Mapping[str, Leaf],
        target: Callable[..., Any],
        name: str,
        path: str,
        place: Place,
        *,
        whole: bool = True,
        given: tuple[str, ...] = (),
        fill: bool = True,
    ) -> dict[str, Any]:
        """Keyword arguments for `target`, in the order of its signature, plain defaults filled in.

        Args:
            written: the keys of the mapping, without `of`.
            name, path, place: how errors call the target and its section, and where they say it stands.
            given: parameters that whoever builds it supplies; they must not be written.
            whole: what has no default must be written. Otherwise whoever calls adds arguments, also by position: then
                nothing is demanded, and defaults are filled in only where they cannot clash with those.
            fill: whether defaults are filled in at all.
        """
        known, rest = slots(target)
        made: dict[str, Any] = {}
        meant: set[str] = set()
        for key, item in written.items():
            if key in given:
                self.wrong(item.key, f"{path}.{key} is set by the trainer; leave it out")
            elif key not in known and not rest:
                self.wrong(item.key, f"{name} has no '{key}'{near(key, [k for k in known if k not in given])}")
                meant.update(get_close_matches(key, known, 1))
        for slot in known.values():
            if slot.name in given:
                continue
            if slot.name in written:
                made[slot.name] = self.take(written[slot.name], slot.hint, f"{path}.{slot.name}")
            elif slot.default is inspect.Parameter.empty:
                if whole and slot.name not in meant:
                    self.wrong(place, f"{name} needs '{slot.name}'")
            elif fill and (whole or slot.keyword):
                made.update(default(slot))
        for key, item in written.items():
            if key not in known and rest:
                made[key] = self.take(item, Any, f"{path}.{key}")
        return made


def default(slot: Slot) -> dict[str, Any]:
    """{name: default} where a recipe could have written that default itself, else nothing."""
    trial, value = Checker(), slot.default
    try:
        leaf = leaf_of(value.node() if isinstance(value, Spec) else value, Place("default"))
    except TypeError:
        return {}
    made = trial.take(leaf, slot.hint, slot.name)
    return {slot.name: made} if not trial.problems and (isinstance(made, Spec) or made == value) else {}


def build_value(value: Any, hint: Any, build: Callable[[Spec], Any]) -> Any:
    """A checked value as the argument itself: Specs built, addresses resolved, paths made."""
    if isinstance(value, Spec):
        return value if takes_spec(hint) else build(value)
    if isinstance(value, (list, tuple)):
        kind = tuple if _wants_tuple(hint) else type(value)  # JSON, and with it a generator file, knows no tuples
        return kind(build_value(v, h, build) for v, h in zip(value, _items(hint, len(value)), strict=True))
    if isinstance(value, dict):
        kinds = [typing.get_args(h)[1] for h in members(hint) if _root(h) in MAPPINGS and len(typing.get_args(h)) == 2]
        return {key: build_value(item, kinds[0] if kinds else Any, build) for key, item in value.items()}
    if isinstance(value, str):
        if Path in members(hint) and str not in members(hint):
            return Path(value)
        if is_address(value) and not _is_text(hint):
            return resolve(value)
    return value


def _near_module(address: Any) -> str:
    """What to add to "there is no module 'i2i.translation.cylegan'": a module beside it with a name like that."""
    parts = address.partition(":")[0].split(".") if is_address(address) else []
    for depth, part in enumerate(parts):
        package = ".".join(parts[:depth])
        beside = [one.name for one in pkgutil.iter_modules(sys.modules[package].__path__)] if depth else ["i2i"]
        if found := [name for name in get_close_matches(part, beside, 1) if part not in beside]:
            return f" (did you mean '{'.'.join([*parts[:depth], *found])}'?)"
        if not hasattr(sys.modules.get(".".join(parts[: depth + 1])), "__path__"):
            return ""
    return ""


def _float(value: Any) -> Any:
    try:
        return float(value) if type(value) is int else value
    except OverflowError:
        return value


def _is_a(found: Any, hint: Any) -> bool:
    """Whether an object fits an annotation, True where that cannot be told."""
    root, inner = _root(hint), typing.get_args(hint)
    try:
        if root is type:
            return isinstance(found, type) and (not inner or inner[0] is Any or issubclass(found, inner[0]))
        if root is abc.Callable:
            return callable(found)
        return isinstance(found, root) if isinstance(root, type) else True
    except TypeError:  # a protocol that cannot be asked
        return True


def _advice(value: Any, hint: Any) -> str:
    """What to do about the commonest slips."""
    kinds = members(hint)
    choices = [str(x) for h in kinds if typing.get_origin(h) is Literal for x in typing.get_args(h)]
    if choices and isinstance(value, str):
        return near(value, choices) if "did you mean" in near(value, choices) else ""
    if str in kinds and type(value) in (int, float, bool):
        return " (put it in quotes)"
    return ""
