"""Recipes: what they mean, and word for word what is said about a wrong one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import recipe_parts
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from i2i.cli.recipe import recipe as command
from i2i.errors import UserError
from i2i.recipe import About, Recipe, Training, build, load, names
from i2i.recipe_schema import schema
from i2i.spec import Spec, is_address

TOY = """\
name: toy
about: {a: map, b: aerial, data: maps, terms: research}
game:
  of: recipe_parts:Cycle
  generator: {of: recipe_parts:Net, width: 8}
  cycle: 5
data: {of: recipe_parts:Folder, root: maps}
training:
  images: 266_800
  batch: 2
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def toy(old: str = "", new: str = "", *overrides: str) -> Recipe:
    """The toy recipe with `old` replaced by `new`."""
    assert old in TOY
    Path("x.yaml").write_text(TOY.replace(old, new, 1) if old else TOY, encoding="utf-8")
    return load("x.yaml", overrides)


def said(old: str = "", new: str = "", *overrides: str) -> str:
    """What is said about that recipe."""
    with pytest.raises(UserError) as caught:
        toy(old, new, *overrides)
    assert caught.value.code == 2
    return str(caught.value)


def value(text: str) -> Any:
    """What `text` means where anything may stand."""
    return toy("root: maps", f"root: maps, anything: {text}").data.kwargs["anything"]


def test_a_recipe_is_typed_and_complete() -> None:
    recipe = toy()
    assert recipe.name == "toy"
    assert recipe.about == About("map", "aerial", "maps", "research")
    assert recipe.training == Training(images=266_800, batch=2)
    assert recipe.game.kwargs["betas"] == (0.5, 0.999)  # a default, written out
    assert recipe.where == Path("x.yaml")
    assert type(recipe.game.kwargs["cycle"]) is float


def test_the_name_is_the_files_unless_written() -> None:
    assert toy("name: toy\n", "").name == "x"
    assert said("name: toy", "name: a/b") == "x.yaml:1:7: name must be letters, digits, '-', '_' and '.', not 'a/b'"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1e-4", 1e-4),
        ("2.0e-4", 2e-4),
        ("1E6", 1e6),
        (".5", 0.5),
        ("-1.", -1.0),
        ("266_800", 266_800),
        ("-7", -7),
        ("0x1F", 31),
        ("true", True),
        ("null", None),
        ("~", None),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("1:30", "1:30"),
        ("010", "010"),
        ("2024-01-02", "2024-01-02"),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("1_e4", 1e4),
        (".inf", ".inf"),
        ("e5", "e5"),
        ("[1, 2.0, x]", [1, 2.0, "x"]),
        ("{no: 1, 1: x}", {"no": 1, "1": "x"}),
    ],
)
def test_traps_of_yaml_1_1_are_closed(text: str, meant: Any) -> None:
    assert value(text) == meant
    assert type(value(text)) is type(meant)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("  cycle", "  cylce", "x.yaml:6:3: Cycle has no 'cylce' (did you mean 'cycle'?)"),
        ("batch: 2", "batch: two", "x.yaml:10:10: training.batch must be a whole number >= 1, not 'two'"),
        ("batch: 2", "batch: 0", "x.yaml:10:10: training.batch must be a whole number >= 1, not 0"),
        ("batch: 2", "batch: 2.0", "x.yaml:10:10: training.batch must be a whole number >= 1, not 2.0"),
        ("batch: 2", "batch: true", "x.yaml:10:10: training.batch must be a whole number >= 1, not true"),
        ("batch: 2", "batch:", "x.yaml:10:9: training.batch must be a whole number >= 1, not null"),
        ("batch: 2", "lane: 0", "x.yaml:10:9: training.lane must be a whole number >= 1 or null, not 0"),
        ("batch: 2", "clip: 0", "x.yaml:10:9: training.clip must be a number > 0 or null, not 0"),
        ("batch: 2", "lane: 2", "x.yaml:10:9: training.lane must divide training.batch (1), and 2 does not"),
        ("  images: 266_800\n", "", "x.yaml:8:1: training needs 'images'"),
        ("name: toy", "name: 5", "x.yaml:1:7: name must be text, not 5 (put it in quotes)"),
        ("training:", "trainnig:", "x.yaml:8:1: a recipe has no section 'trainnig' (did you mean 'training'?)"),
        ("cycle: 5", "cycle: ten", "x.yaml:6:10: game.cycle must be a number, not 'ten'"),
        ("cycle: 5", "betas: [1]", "x.yaml:6:10: game.betas must be a list of 2 numbers, not a list of 1"),
        ("cycle: 5", "betas: [1, x]", "x.yaml:6:14: game.betas[1] must be a number, not 'x'"),
        ("cycle: 5", "at: [1, 2.5]", "x.yaml:6:11: game.at[1] must be a whole number, not 2.5"),
        ("cycle: 5", "at: 5", "x.yaml:6:7: game.at must be a list of whole numbers, not 5"),
        ("cycle: 5", "lazy: no", "x.yaml:6:9: game.lazy must be true or false, not 'no'"),
        ("cycle: 5", "cycle: 1\n  cycle: 2", "x.yaml:7:3: 'cycle' is written twice (first in line 6)"),
        ("cycle: 5", "rule: squares", "x.yaml:6:9: game.rule must be a mapping with 'of:' or an address"),
        ("cycle: 5", "rule: recipe_parts:SQUARE", "x.yaml:6:9: recipe_parts has no 'SQUARE' (did you mean 'SQUARES'?)"),
        (
            "cycle: 5",
            "rule: recipe_parts:NUMBER",
            "x.yaml:6:9: game.rule must be the address of a Rule, and recipe_parts",
        ),
        ("recipe_parts:Cycle", "recipe_parts:Cylce", "x.yaml:4:7: recipe_parts has no 'Cylce' (did you mean 'Cycle'?)"),
        ("recipe_parts:Cycle", "nowhere.at:All", "x.yaml:4:7: there is no module 'nowhere' (in 'nowhere.at:All')"),
        (
            "recipe_parts:Cycle",
            "i2i.schedule:Steps",
            "x.yaml:4:7: there is no module 'i2i.schedule' (in 'i2i.schedule:Steps') (did you mean 'i2i.schedules'?)",
        ),
        ("recipe_parts:Cycle", "j2i.spec:Spec", "(did you mean 'i2i'?)"),
        ("recipe_parts:Cycle", "i2i.translation.nothing:X", "(in 'i2i.translation.nothing:X')"),
        ("recipe_parts:Cycle", "recipe_parts", "x.yaml:4:7: 'recipe_parts' is no address; write package.module:Name"),
        (
            "recipe_parts:Cycle",
            "recipe_parts:NUMBER",
            "x.yaml:4:7: recipe_parts:NUMBER is of type int and cannot be called",
        ),
        ("of: recipe_parts:Cycle", "of: 5", "x.yaml:4:7: 'of' must be an address (package.module:Name), not 5"),
        ("  of: recipe_parts:Cycle\n", "", "x.yaml:4:3: game must be a mapping with 'of:', the address of a class"),
        ("  generator: {of: recipe_parts:Net, width: 8}\n", "", "x.yaml:4:7: Cycle needs 'generator'"),
        (
            "{of: recipe_parts:Net, width: 8}",
            "{width: 8}",
            "x.yaml:5:14: game.generator must be a mapping with 'of:', not",
        ),
        ("width: 8", "wdth: 8", "x.yaml:5:37: Net has no 'wdth' (did you mean 'width'?)"),
        ("width: 8", "width: x", "x.yaml:5:44: game.generator.width must be a whole number, not 'x'"),
        ("root: maps", "root: 5", "x.yaml:7:39: data.root must be text, not 5 (put it in quotes)"),
        ("root: maps", "root: maps, seed: 1", "x.yaml:7:45: data.seed is set by the trainer; leave it out"),
        (
            "root: maps",
            "root: maps, direction: a2c",
            "x.yaml:7:56: data.direction must be one of 'a2b', 'b2a', not 'a2c' (did you mean 'a2b'?)",
        ),
        ("root: maps", "root: maps, anything: a.b:C", "x.yaml:7:55: there is no module 'a' (in 'a.b:C')"),
        ("root: maps", "root: maps, anything: 1e999", "x.yaml:7:55: '1e999' is no number that fits"),
        ("root: maps", "root: maps, anything: !!set {a}", "x.yaml:7:55: the tag 'tag:yaml.org,2002:set' is not read"),
        (
            "root: maps",
            "root: maps, anything: !!python/name:os.system x",
            "x.yaml:7:55: the tag 'tag:yaml.org,2002:pyth",
        ),
        ("root: maps", "root: maps, anything: &a [*a]", "x.yaml:7:55: an anchor holds itself"),
        ("root: maps", "root: maps, anything: {[1]: 2}", "x.yaml:7:56: a key must be a word"),
        ("root: maps", "root: [maps", "x.yaml:7:44: this is no YAML: expected ',' or ']', but got '}'"),
        ("of: recipe_parts:Cycle", "of: recipe_parts:Folder", "recipe_parts:Folder is no Game"),
        (
            "batch: 2",
            "rate: {of: i2i.schedules:LinearToZero, hold: 9, end: 3}",
            "x.yaml:10:9: LinearToZero needs 0 <= hold < end, not hold 9 and end 3",
        ),
        ("batch: 2", "rate: {of: i2i.schedules:LinearToZero}", "x.yaml:10:14: LinearToZero needs 'hold'"),
    ],
)
def test_errors_name_line_column_and_what_to_do(old: str, new: str, sentence: str) -> None:
    assert sentence in said(old, new)


def test_every_problem_is_listed_in_the_order_of_the_file() -> None:
    assert said("cycle: 5", "pol: 5\n  lazy: 3", "training.batch=x").splitlines() == [
        "x.yaml:6:3: Cycle has no 'pol' (did you mean 'pool'?)",
        "x.yaml:7:9: game.lazy must be true or false, not 3",
        "training.batch=x: training.batch must be a whole number >= 1, not 'x'",
    ]


def test_a_misspelt_key_is_not_reported_as_missing_too() -> None:
    assert said("  generator", "  genrator") == "x.yaml:5:3: Cycle has no 'genrator' (did you mean 'generator'?)"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "x.yaml: the file is empty"),
        ("- 1", "x.yaml:1:1: this must be a mapping of sections, not a list of 1"),
        ("a: b: c", "x.yaml:1:5: this is no YAML: mapping values are not allowed here"),
        ("a: 1\nb: \x07", "x.yaml:2:4: the character '\\x07' is not allowed in YAML"),
        ("[" * 3000, "x.yaml: nested too deeply"),
        (
            "a: &a [x, x]\nb: &b [*a, *a]\n"
            + "".join(
                f"{chr(c)}: &{chr(c)} [{', '.join(['*' + chr(c - 1)] * 9)}]\n" for c in range(ord("c"), ord("k"))
            ),
            "more than 100000 values",
        ),
    ],
)
def test_files_that_are_no_recipe(text: str, sentence: str) -> None:
    Path("x.yaml").write_text(text)
    with pytest.raises(UserError, match=r"^x\.yaml") as caught:
        load("x.yaml")
    assert sentence in str(caught.value)


def test_bytes_that_are_no_text() -> None:
    Path("x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"x\.yaml: this is no text in UTF-8"):
        load("x.yaml")


def test_overrides_are_read_like_the_file_and_later_ones_win() -> None:
    recipe = toy("", "", "game.cycle=1", "game.cycle=1e-4", "training.precision=bf16", "about.notes='a: b'", "name=no")
    assert (recipe.game.kwargs["cycle"], recipe.training.precision) == (1e-4, "bf16")
    assert (recipe.about.notes, recipe.name) == ("a: b", "no")


def test_overrides_reach_into_nodes_and_lists_and_replace_nodes() -> None:
    assert toy("", "", "game.generator.width=3").game.kwargs["generator"].kwargs["width"] == 3
    assert toy("cycle: 5", "betas: [0, 0]", "game.betas.1=0.9").game.kwargs["betas"] == (0.0, 0.9)
    swapped = toy("", "", "game.generator={of: recipe_parts:loose, x: 1}").game.kwargs["generator"]
    assert swapped == Spec("recipe_parts:loose", {"x": 1})
    assert toy("", "", "training.rate={of: i2i.schedules:Steps, at: [5]}").training.rate.kwargs["at"] == (5,)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("game.cylce=5", "game.cylce=5: Cycle has no 'cylce' (did you mean 'cycle'?)"),
        ("gmae.cycle=5", "gmae.cycle=5: a recipe has no section 'gmae' (did you mean 'game'?)"),
        ("game.genrator.width=5", "game.genrator.width=5: Cycle has no 'genrator' (did you mean 'generator'?)"),
        ("game.generator.wdth=5", "game.generator.wdth=5: Net has no 'wdth' (did you mean 'width'?)"),
        ("game.cycle", "game.cycle: write an override as section.key=value"),
        ("=5", "=5: write an override as section.key=value"),
        ("game..cycle=5", "game..cycle=5: write an override as section.key=value"),
        ("training.images.x=5", "training.images.x=5: training.images is 266800, which holds no 'x'"),
        ("game.cycle=[1", "game.cycle=[1: this is no YAML: "),
        ("game.cycle=", "game.cycle=: game.cycle must be a number, not null"),
        ("training.rate.end=5", "training.rate.end=5: training.rate must be a mapping with 'of:', not a mapping"),
        ("training.lane=3", "training.lane=3: training.lane must divide training.batch (2), and 3 does not"),
        ("game={cycle: 1, cycle: 2}", "game={cycle: 1, cycle: 2}: 'cycle' is written twice"),
    ],
)
def test_wrong_overrides(override: str, sentence: str) -> None:
    assert sentence in said("", "", override)


def test_building_makes_nested_objects_but_hands_over_a_spec_where_one_is_wanted() -> None:
    recipe = toy(
        "cycle: 5",
        "critic: {of: recipe_parts:Net, norm: 'builtins:KeyError'}\n  rule: recipe_parts:SQUARES",
        "game.pool=0",
    )
    game = build(recipe.game)
    assert isinstance(game.generator, Spec)
    assert game.generator.build().width == 8
    assert isinstance(game.critic, recipe_parts.Net)
    assert game.critic.norm is KeyError
    assert game.rule is recipe_parts.SQUARES
    assert (game.cycle, game.pool, game.betas) == (10.0, 0, (0.5, 0.999))


def test_building_lists_paths_and_what_the_trainer_adds() -> None:
    more = "root: 'os.path:join', where: a/b, parts: [{of: recipe_parts:Net}], steps: [{of: recipe_parts:Net}, {p: 1}]"
    data = build(toy("root: maps", f"{more}, scale: 2, unknown: os.path:join, anything: [builtins:int]").data, seed=7)
    assert data.seed == 7
    assert data.root == "os.path:join"  # text stays text
    assert data.where == Path("a/b")
    assert isinstance(data.parts[0], recipe_parts.Net)
    assert data.steps == (Spec("recipe_parts:Net", {"width": 64}), {"p": 1})
    assert type(data.scale) is int
    assert callable(data.unknown)
    assert data.anything == [int]


def test_a_constructors_refusal_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"^LinearToZero needs 0 <= hold < end, not hold 5 and end 5$"):
        build(Spec("i2i.schedules:LinearToZero", {"hold": 5, "end": 5}))


def test_defaults_of_libraries_are_not_written_out() -> None:
    """They differ between torch versions, and the digest must not."""
    recipe = toy("{of: recipe_parts:Net, width: 8}", "{of: torch.optim:Adam, lr: 2.0e-4}")
    assert recipe.game.kwargs["generator"].kwargs == {"lr": 2e-4}


def test_anchors_are_shared_in_the_file_and_apart_under_overrides() -> None:
    anchored = "&net {of: recipe_parts:Net, width: 8}\n  critic: *net"
    recipe = toy("{of: recipe_parts:Net, width: 8}", anchored, "game.critic.width=3")
    assert (recipe.game.kwargs["generator"].kwargs["width"], recipe.game.kwargs["critic"].kwargs["width"]) == (8, 3)


def test_the_digest_counts_meaning_not_writing_nor_words_about_it() -> None:
    first = toy().digest()
    assert len(first) == 64
    assert toy("cycle: 5", "cycle: 5.0  # Sec. 4").digest() == first
    assert toy("{of: recipe_parts:Net, width: 8}", "{width: 8, of: recipe_parts:Net}").digest() == first
    assert toy("cycle: 5", "cycle: 5\n  pool: 50").digest() == first
    assert toy("terms: research", "terms: other").digest() == first
    assert toy("root: maps", "root: ./maps").digest() != first
    assert toy("cycle: 5", "cycle: 6").digest() != first


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
tricky = st.sampled_from(
    ["no", "1e5", "1_0", "0o7", "", "~", "null", "1:30", "2024-01-02", " x ", "#", "- a", "a: b", "é\u2028\n"]
)
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words | tricky,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries((words | tricky).filter(lambda k: k != "of"), inner, max_size=3)
    ),
    max_leaves=8,
).filter(lambda v: not any(is_address(word) for word in flat(v)))


def flat(value: Any) -> list[Any]:
    if isinstance(value, (list, dict)):
        return [word for one in (value.values() if isinstance(value, dict) else value) for word in flat(one)]
    return [value]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    notes=words | tricky,
    anything=plain_values,
    rate=st.floats(min_value=1e-300, max_value=1e300),
    images=st.integers(1, 10**12),
)
def test_text_reads_back_equal(notes: str, anything: Any, rate: float, images: int) -> None:
    recipe = Recipe(
        "toy",
        About("map", notes, "maps", "research", notes=notes),
        Spec("recipe_parts:Cycle", {"generator": Spec("recipe_parts:loose", {"x": anything}), "cycle": rate}),
        Spec("recipe_parts:Folder", {"root": notes, "anything": anything}),
        Training(images, clip=rate),
    )
    Path("y.yaml").write_text(recipe.text(), encoding="utf-8")
    read = load("y.yaml")
    assert (read.about, read.training) == (recipe.about, recipe.training)
    assert read.data.kwargs["anything"] == anything
    assert read.game.kwargs["generator"] == recipe.game.kwargs["generator"]
    Path("z.yaml").write_text(read.text(), encoding="utf-8")
    assert load("z.yaml") == read
    assert load("z.yaml").digest() == read.digest()


def test_recipes_are_found_by_path_or_name_and_misses_get_advice() -> None:
    toy()
    Path("folder").mkdir()
    with pytest.raises(UserError, match=r"^folder is a folder; name one recipe in it"):
        load("folder")
    with pytest.raises(UserError, match=r"^there is no file folder/x\.yaml$"):
        load("folder/x.yaml")
    Path("folder/maps.yaml").touch()
    with pytest.raises(UserError, match=r"^there is no file folder/mops\.yaml \(did you mean 'folder/maps\.yaml'\?\)$"):
        load("folder/mops.yaml")
    if names():
        with pytest.raises(UserError, match=rf"did you mean '{names()[0]}'"):
            load(names()[0] + "x")


@pytest.mark.parametrize("name", names())
def test_shipped_recipes_are_sound(name: str) -> None:
    recipe = load(name)
    assert recipe.name == name
    Path("again.yaml").write_text(recipe.text(), encoding="utf-8")
    assert load("again.yaml") == recipe


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [v for k, v in node.items() if k == "$ref"] + [r for inner in node.values() for r in references(inner)]
    return [r for inner in node for r in references(inner)] if isinstance(node, list) else []


def test_the_schema_describes_every_field_and_has_no_loose_end() -> None:
    made = json.loads(json.dumps(schema(), allow_nan=False))
    assert made["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for name in references(made):
        assert name.removeprefix("#/$defs/") in made["$defs"]
    assert all(p["description"] for s in ("about", "training") for p in made["properties"][s]["properties"].values())
    assert made["$defs"]["LinearToZero"]["required"] == ["of", "hold", "end"]
    assert {"$ref": "#/$defs/Constant"} in made["$defs"]["rate"]["anyOf"]
    assert "seed" not in made["$defs"].get("Paired", {}).get("properties", {})


def test_the_schema_takes_our_recipes_and_refuses_slips() -> None:
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema())
    jsonschema.Draft202012Validator.check_schema(schema())
    for node in [load(name).node() for name in names()] + [toy().node()]:
        validator.validate(node)
        assert not validator.is_valid(node | {"trainnig": {}})
        assert not validator.is_valid(node | {"training": node["training"] | {"batch": 0}})
        assert not validator.is_valid(node | {"training": {"images": 5, "rate": {"of": "i2i.schedules:Steps", "x": 1}}})


def test_commands() -> None:
    toy()
    run = CliRunner().invoke
    checked = run(command, ["check", "x.yaml"])
    assert (checked.exit_code, checked.output.split(";")[0]) == (0, "x.yaml: sound")
    shown = run(command, ["show", "x.yaml", "game.cycle=2"]).output
    assert "cycle: 2.0" in shown
    Path("y.yaml").write_text(shown)
    assert load("y.yaml").text() == shown
    wrong = run(command, ["check", "x.yaml", "none.yaml", "x.yaml"])
    assert isinstance(wrong.exception, UserError)
    assert wrong.output.count("sound") == 2
    assert run(command, ["schema", "-o", "s.json"]).output == "s.json\n"
    assert json.loads(Path("s.json").read_text()) == json.loads(run(command, ["schema"]).output)
    assert isinstance(run(command, ["schema", "-o", "none/s.json"]).exception, UserError)


def test_the_command_and_the_module_import_no_torch() -> None:
    code = "import sys, i2i.cli.recipe, i2i.recipe, i2i.recipe_schema; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
