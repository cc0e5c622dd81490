"""YAML whose every value knows where it was written. The traps of YAML 1.1 are closed.

`1e-4` is a number, `266_800` a whole number, and `no`, `on`, `1:30`, `010` and dates are text. Keys are text, written
once; anchors work; tags that would call code are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from i2i.errors import UserError

__all__ = ["Leaf", "Place", "Problem", "leaf_of", "near", "put", "read", "report", "shown", "write"]

LIMIT = 100_000
"""Values in one document: far above any recipe, far below what anchors of anchors can blow up to."""

NULL = re.compile(r"(~|null|Null|NULL|)\Z")
BOOL = re.compile(r"(true|True|TRUE|false|False|FALSE)\Z")
INT = re.compile(r"([-+]?(0|[1-9][0-9]*(_[0-9]+)*)|0x[0-9a-fA-F]+|0o[0-7]+)\Z")
FLOAT = re.compile(r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))([eE][-+]?[0-9]+)?\Z")
TAG = "tag:yaml.org,2002:"


class Place(NamedTuple):
    """Where something is written: a line and column of a file, counted from 1, or an override of the command line."""

    label: str  # "recipes/x.yaml:4:3" or "game.cycle=5"
    line: int = 0
    column: int = 0


class Problem(NamedTuple):
    """One thing that is wrong, and where."""

    place: Place
    sentence: str


@dataclass
class Leaf:
    """A value and its place.

    Attributes:
        value: None, bool, int, float, str, list[Leaf] or dict[str, Leaf].
        place: where the value starts.
        key: where the key that holds it starts; the value's place where there is none.
    """

    value: Any
    place: Place
    key: Place


class Loader(yaml.SafeLoader):
    """SafeLoader's grammar with our own rules for plain scalars, set below."""


class Dumper(yaml.SafeDumper):
    """Writes what `read` reads back equal, and what a reader of YAML 1.1 takes for the same."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    kind = any(rule.match(text) for rule in (NULL, BOOL, INT, FLOAT))
    style = "'" if kind else '"' if not text.isprintable() else None
    return dumper.represent_scalar(TAG + "str", text, style=style)


def _write_list(dumper: yaml.SafeDumper, items: Iterable[Any]) -> yaml.Node:
    items = list(items)
    return dumper.represent_sequence(TAG + "seq", items, flow_style=not any(isinstance(x, dict) for x in items))


Loader.yaml_implicit_resolvers = {}
for _tag, _rule in (("null", NULL), ("bool", BOOL), ("int", INT), ("float", FLOAT)):
    Loader.add_implicit_resolver(TAG + _tag, _rule, None)
Dumper.add_representer(str, _write_text)
Dumper.add_representer(list, _write_list)
Dumper.add_representer(tuple, _write_list)


def near(word: str, known: Iterable[str]) -> str:
    """What to add to "has no 'cylce'": the known word that is near, else all of them if they are few, else nothing."""
    known = list(known)
    found = get_close_matches(word, known, 1)
    if found:
        return f" (did you mean '{found[0]}'?)"
    return f" (there is {', '.join(known)})" if 0 < len(known) <= 20 else ""


def shown(value: Any) -> str:
    """A value as an error quotes it: 'two', 5, true, null, a list, a mapping."""
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, str):
        return f"'{value if len(value) <= 60 else value[:57] + '...'}'"
    return "null" if value is None else str(value).lower()


def report(problems: Iterable[Problem]) -> None:
    """Raises one UserError with every problem on a line of its own, in the order of the file, overrides last."""
    lines = dict.fromkeys(
        f"{place.label}: {sentence}"
        for place, sentence in sorted(problems, key=lambda p: (p.place.line == 0, p.place.line, p.place.column))
    )
    if lines:
        raise UserError("\n".join(lines))


class _Reader:
    """Turns YAML nodes into leaves and collects what is wrong on the way."""

    def __init__(self, name: str, *, fixed: bool) -> None:
        self.name, self.fixed = name, fixed
        self.problems: list[Problem] = []
        self.above: set[int] = set()
        self.count = 0

    def place(self, mark: Any) -> Place:
        if self.fixed:
            return Place(self.name)
        return Place(f"{self.name}:{mark.line + 1}:{mark.column + 1}", mark.line + 1, mark.column + 1)

    def wrong(self, node: yaml.Node, sentence: str) -> None:
        self.problems.append(Problem(self.place(node.start_mark), sentence))

    def leaf(self, node: yaml.Node, key: yaml.Node | None = None) -> Leaf:
        place = self.place(node.start_mark)
        self.count += 1
        value: Any = None
        if self.count > LIMIT:
            report([Problem(place, f"more than {LIMIT} values; a recipe is a page of text")])
        if id(node) in self.above:
            self.wrong(node, "an anchor holds itself")
        elif isinstance(node, yaml.ScalarNode):
            value = self.scalar(node)
        else:
            self.above.add(id(node))
            if node.tag not in (TAG + "map", TAG + "seq"):
                self.wrong(node, f"the tag '{node.tag}' is not read; write plain YAML")
            elif isinstance(node, yaml.MappingNode):
                value = self.mapping(node)
            else:
                value = [self.leaf(item) for item in node.value]
            self.above.discard(id(node))
        return Leaf(value, place, self.place(key.start_mark) if key else place)

    def mapping(self, node: yaml.MappingNode) -> dict[str, Leaf]:
        made: dict[str, Leaf] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.wrong(key, "a key must be a word")
            elif key.value in made:
                first = "" if self.fixed else f" (first in line {made[key.value].key.line})"
                self.wrong(key, f"'{key.value}' is written twice{first}")
            else:
                made[key.value] = self.leaf(value, key)
        return made

    def scalar(self, node: yaml.ScalarNode) -> Any:
        text = str(node.value)
        try:
            match node.tag.removeprefix(TAG):
                case "null":
                    return None
                case "bool" if BOOL.match(text):
                    return text.lower() == "true"
                case "int":
                    return int(text, 0)
                case "float":
                    value = float(text.replace("_", ""))
                    if value in (float("inf"), float("-inf")) or value != value:
                        raise ValueError
                    return value
                case "str":
                    return text
        except ValueError:
            self.wrong(node, f"{shown(text)} is no number that fits")
            return None
        self.wrong(node, f"the tag '{node.tag}' is not read; write plain YAML")
        return None


def _compose(text: str, name: str, *, fixed: bool) -> tuple[Leaf | None, list[Problem]]:
    """The leaves of one YAML document, or None where it is empty."""
    reader = _Reader(name, fixed=fixed)
    try:
        node = yaml.compose(text, Loader)
        return (None if node is None else reader.leaf(node)), reader.problems
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = reader.place(mark) if mark else Place(name)
        return None, [Problem(place, f"this is no YAML: {error.problem or error.context}")]
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position)
        place = reader.place(
            yaml.Mark(name, 0, line, error.position - text.rfind("\n", 0, error.position) - 1, None, 0)
        )
        return None, [Problem(place, f"the character {text[error.position]!a} is not allowed in YAML")]
    except RecursionError:
        return None, [Problem(Place(name), "nested too deeply")]


def read(path: Path, name: str) -> Leaf:
    """The mapping in the file at `path`; errors call the file `name`. Raises UserError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{name}: this is no text in UTF-8") from None
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror}") from None
    leaf, problems = _compose(text, name, fixed=False)
    report(problems)
    if leaf is None:
        raise UserError(f"{name}: the file is empty")
    if not isinstance(leaf.value, dict):
        report([Problem(leaf.place, f"this must be a mapping of sections, not {shown(leaf.value)}")])
    return leaf


def put(tree: Leaf, override: str) -> None:
    """Write "a.b.c=value" into `tree`; the value is YAML. Whether the path means anything is for the checks to say.

    Raises UserError when it is no override, its value is no YAML, or the path leads through a plain value.
    """
    path, equals, text = override.partition("=")
    place = Place(override)
    names = path.strip().split(".")
    if not equals or not all(names):
        raise UserError(f"{override}: write an override as section.key=value")
    leaf, problems = _compose(text, override, fixed=True)
    report(problems)
    holder = tree
    for depth, name in enumerate(names[:-1]):
        _set(holder, name, None, names[:depth], place)
        holder = holder.value[int(name)] if isinstance(holder.value, list) else holder.value[name]
    _set(holder, names[-1], leaf or Leaf(None, place, place), names[:-1], place)


def _set(holder: Leaf, name: str, leaf: Leaf | None, above: list[str], place: Place) -> None:
    """Put `leaf` under `name`, or an empty mapping where there is nothing when `leaf` is None."""
    where = ".".join(above)
    if isinstance(holder.value, list):
        if not name.isdecimal() or int(name) >= len(holder.value):
            report([Problem(place, f"{where} is a list of {len(holder.value)}; '{name}' is no place in it")])
        if leaf is not None:
            holder.value[int(name)] = leaf
    elif isinstance(holder.value, dict):
        if leaf is not None or name not in holder.value:
            holder.value[name] = leaf or Leaf({}, place, place)
    else:
        report([Problem(place, f"{where} is {shown(holder.value)}, which holds no '{name}'")])


def leaf_of(value: Any, place: Place) -> Leaf:
    """A plain Python value as leaves, all at `place`. Raises TypeError where it is not plain."""
    if isinstance(value, dict):
        return Leaf({str(k): leaf_of(v, place) for k, v in value.items()}, place, place)
    if type(value) in (list, tuple):
        return Leaf([leaf_of(v, place) for v in value], place, place)
    if value is None or type(value) in (bool, int, float, str):
        return Leaf(value, place, place)
    raise TypeError(f"{type(value).__name__} is no plain value")


def write(value: Any) -> str:
    """Plain values as YAML that `read` reads back equal; keys in their order, lists of plain values on one line."""
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10**6, default_flow_style=False)
