"""Spec: an address becomes the object, nested Specs are built first, and a wrong address says what is near."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import recipe_parts
from recipe_parts import SQUARES, Cycle, Folder, Net, loose

from i2i.errors import UserError
from i2i.recipe import build
from i2i.spec import Spec, SpecError, is_address, resolve

NET = Spec("recipe_parts:Net", {"width": 8})


@pytest.mark.parametrize("text", ["a:b", "pkg.mod:Name", "pkg.mod:Outer.Inner", "_a.b2:_c"])
def test_addresses(text: str) -> None:
    assert is_address(text)


@pytest.mark.parametrize("text", ["a", "a:", ":b", "a:b:c", "a b:c", "a/b:c", "1a:b", "C:\\x", "hf://a", "a.:b", 5])
def test_no_addresses(text: object) -> None:
    assert not is_address(text)


def test_an_address_leads_to_the_object_itself() -> None:
    assert resolve("recipe_parts:SQUARES") is SQUARES
    assert resolve("pathlib:Path.home").__name__ == "home"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nonsense", "'nonsense' is no address; write package.module:Name"),
        ("i2i.translatoin:X", "there is no module 'i2i.translatoin' (in 'i2i.translatoin:X')"),
        ("nowhere.at.all:X", "there is no module 'nowhere' (in 'nowhere.at.all:X')"),
        ("recipe_parts:Cylce", "recipe_parts has no 'Cylce' (did you mean 'Cycle'?)"),
        ("recipe_parts:Net.zzzz", "recipe_parts has no 'zzzz'"),
    ],
)
def test_an_address_that_leads_nowhere_says_what_is_there(address: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        resolve(address)
    assert str(caught.value) == said


def test_a_module_that_lacks_something_it_needs_says_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needy_part.py").write_text("import something_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="something_that_is_not_there"):
        resolve("needy_part:X")
    assert "needy_part" not in sys.modules


def test_a_spec_is_called_with_what_it_keeps_and_more_over_it() -> None:
    assert vars(NET.build()) == vars(Net(width=8))
    assert vars(NET(5, width=9)) == vars(Net(5, width=9))


def test_what_is_overridden_is_not_built() -> None:
    spec = Spec("recipe_parts:loose", {"a": "nowhere:Nothing", "b": 1})
    assert spec(a=2) == build(spec, a=2) == {"a": 2, "b": 1}


def test_nested_specs_are_built_but_for_parameters_that_want_the_spec() -> None:
    game = Spec("recipe_parts:Cycle", {"generator": NET, "critic": NET, "rule": "recipe_parts:SQUARES"}).build()
    assert game.generator is NET
    assert isinstance(game.critic, Net)
    assert game.critic.width == 8
    assert game.rule is SQUARES


def test_values_become_what_the_annotation_says() -> None:
    cycle = Spec("recipe_parts:Cycle", {"generator": NET, "betas": [0.5, 0.9], "at": [1, 2]}).build()
    assert (cycle.betas, cycle.at) == ((0.5, 0.9), (1, 2))  # a generator file's JSON knows lists alone
    kwargs: dict[str, Any] = {
        "root": "recipe_parts:NUMBER",  # annotated str: stays
        "seed": 1,
        "steps": [NET, {"of": 3}],
        "parts": [NET],
        "where": "a/b",
        "anything": {"deep": ["recipe_parts:NUMBER"]},
        "unknown": "recipe_parts:NUMBER",
    }
    folder = Spec("recipe_parts:Folder", kwargs).build()
    assert folder.root == "recipe_parts:NUMBER"
    assert folder.where == Path("a/b")
    assert isinstance(folder.parts, list)
    assert isinstance(folder.parts[0], Net)
    assert folder.anything == {"deep": [5]}
    assert folder.unknown == 5


@pytest.mark.parametrize(
    "spec",
    [
        NET,
        Spec("recipe_parts:Cycle", {"generator": NET, "critic": NET, "betas": [0, 1], "rule": "recipe_parts:SQUARES"}),
        Spec("recipe_parts:Folder", {"root": "x:y", "seed": 1, "parts": [NET], "where": "p", "anything": [1, "a"]}),
        Spec("recipe_parts:loose", {"a": "recipe_parts:NUMBER", "b": [1, 2], "c": {"d": NET}}),
    ],
    ids=lambda spec: spec.of,
)
def test_a_recipe_builds_what_the_spec_builds(spec: Spec) -> None:
    def flat(thing: Any) -> Any:
        if isinstance(thing, Net | Cycle | Folder):
            return type(thing), {key: flat(value) for key, value in vars(thing).items()}
        if isinstance(thing, dict):
            return {key: flat(value) for key, value in thing.items()}
        return [type(thing), *map(flat, thing)] if isinstance(thing, list | tuple) else thing

    assert flat(build(spec)) == flat(spec.build())


def test_only_a_recipe_turns_a_refusal_into_a_sentence_for_the_user() -> None:
    spec = Spec("i2i.schedules:LinearToZero", {"hold": 5, "end": 3})
    with pytest.raises(ValueError, match="LinearToZero needs"):
        spec.build()
    with pytest.raises(UserError, match="LinearToZero needs"):
        build(spec)
    with pytest.raises(UserError, match="LinearToZero needs"):
        build(Spec("recipe_parts:loose", {"inner": spec}))


def test_a_spec_says_where_a_class_is() -> None:
    assert Spec.to(Net, width=8) == NET
    assert Spec.to(loose).build() == {}


def test_a_spec_survives_its_mapping() -> None:
    spec = Spec("recipe_parts:Cycle", {"generator": NET, "cycle": 5, "betas": [0.1, 0.2]})
    assert spec.node() == {
        "of": "recipe_parts:Cycle",
        "generator": {"of": "recipe_parts:Net", "width": 8},
        "cycle": 5,
        "betas": [0.1, 0.2],
    }
    assert Spec.from_node(spec.node()) == spec
    assert recipe_parts.Net is resolve(Spec.from_node(spec.node()).kwargs["generator"].of)
