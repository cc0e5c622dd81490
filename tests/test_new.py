"""`i2i new`: what it writes trains without edits."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from test_survey import drawn, fill, pairs, put

from i2i import draft
from i2i.checkpoint import read_header
from i2i.cli.new import new
from i2i.cli.train import train
from i2i.data.survey import survey
from i2i.draft import GAMES, Draft, Machine, Pace, choose
from i2i.errors import UserError
from i2i.recipe import build, load

CPU = Machine("a processor", "cpu", 2, 2, 8 << 30, 8 << 30, True)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("I2I_DATA", raising=False)
    monkeypatch.setattr("i2i.cli.tune_allocator", lambda: True)  # it would outlive the test
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(new, list(arguments), catch_exceptions=False, standalone_mode=False)


def refused(*arguments: str, code: int = 2) -> str:
    with pytest.raises(UserError) as caught:
        run(*arguments)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(folder: str, game: str, **more: Any) -> str:
    """The recipe for a folder, of the smallest size and not measured."""
    found = survey(folder)
    return Draft(found, draft.pick(found, game), GAMES[game].sizes[0], CPU, "x", **more).text()


def trained(recipe: str, *overrides: str) -> Path:
    """Train a recipe for two batches, with networks of two filters, as nothing else of it is changed."""
    text = Path(recipe).read_text()
    Path(recipe).write_text("".join(tiny(line) for line in text.splitlines(keepends=True)))
    command = [recipe, "-q", "--device", "cpu", "training.images=4", "training.threads=1", *overrides]
    done = CliRunner().invoke(train, command, catch_exceptions=False, standalone_mode=False)
    assert done.exception is None
    return Path("runs") / yaml.safe_load(text)["name"] / "generators"


def tiny(line: str) -> str:
    """A line of a recipe with another width."""
    key, colon, _ = line.partition(": ")
    return f"{key}{colon}2\n" if key.strip() == "width" else line


def test_it_looks_measures_writes_and_says_what_comes_next() -> None:
    pairs(Path("photos/train"), 4)
    done = run("photos", "--images", "40")
    assert done.stdout == "pix2pix-photos.yaml\n"
    said = done.stderr
    assert "photos: 4 pairs side by side" in said
    assert re.search(r"measured \d+\.\d\d s an image( beside other programs)?, so 40 images take about \d+ s", said)
    assert "i2i train pix2pix-photos.yaml" in said
    assert "--model runs/pix2pix-photos/generators/a2b.safetensors" in said
    recipe = load("pix2pix-photos.yaml")
    assert recipe.training.images == 40
    assert recipe.game.of == "i2i.translation.pix2pix:Pix2Pix"
    generators = trained("pix2pix-photos.yaml")
    assert read_header(generators / "a2b.safetensors").card.b == "right half"


def test_the_recipe_stands_alone_on_standard_output_and_no_file_is_written() -> None:
    pairs(Path("photos"), 3)
    done = run("photos", "-o", "-", "--images", "4", "--direction", "BtoA")
    recipe = yaml.safe_load(done.stdout)
    assert recipe["data"]["direction"] == "b2a"
    assert (recipe["about"]["a"], recipe["about"]["b"]) == ("right half", "left half")
    assert [path.name for path in Path().iterdir()] == ["photos"]


def make_mixed(folder: Path) -> None:
    """Pictures of many sizes, depths and channels, some of no use."""
    for index, (width, height, channels) in enumerate([(200, 160, 3), (40, 30, 1), (70, 120, 4), (96, 96, 3)]):
        put(folder / f"{index}.png", drawn(width, height, index, channels))
    put(folder / "deep.png", drawn(100, 80, 9).astype(np.uint16) * 257)
    put(folder / "dot.png", np.zeros((1, 1, 3), np.uint8))
    (folder / "text.jpg").write_text("no picture")


def test_a_mixed_set_trains_without_its_damaged_files() -> None:
    make_mixed(Path("mixed/trainA"))
    make_mixed(Path("mixed/trainB"))
    Path("x.yaml").write_text(written("mixed", "cyclegan"))
    assert len(load("x.yaml").data.kwargs["without"]) == 4
    assert {path.stem for path in trained("x.yaml").iterdir()} == {"a2b", "b2a"}


def test_one_folder_of_mixed_pictures_trains_for_super_resolution() -> None:
    make_mixed(Path("photos"))
    fill(Path("photos/more"), 4, size=(150, 100))
    found = survey("photos", together=True)
    Path("x.yaml").write_text(Draft(found, "srgan", GAMES["srgan"].sizes[0], CPU, "x").text())
    recipe = load("x.yaml")
    small = {Path(path).name for path in recipe.data.kwargs["without"]}
    assert {"dot.png", "text.jpg", "1.png"} <= small
    trained("x.yaml", "game.generator.blocks=1", "training.batch=2")


def test_two_single_pictures_train_on_their_crops() -> None:
    put(Path("monet/trainA/painting.jpg"), drawn(300, 200, 0))
    put(Path("monet/trainB/photograph.jpg"), drawn(200, 240, 1))
    Path("x.yaml").write_text(written("monet", "cyclegan"))
    data = load("x.yaml").data.kwargs
    assert (data["fewest"], data["preprocess"]) == (1, "scale-width+crop")
    assert data["load"] >= 2 * data["crop"]
    trained("x.yaml")


@pytest.mark.parametrize("game", ["pix2pix", "cyclegan"])
def test_tiny_gray_and_coloured_pairs_train(game: str) -> None:
    for index in range(3):
        left = drawn(20, 24, index)
        put(Path(f"pairs/A/{index}.png"), left)
        put(Path(f"pairs/B/{index}.png"), 255 - left[..., :1])
    Path("x.yaml").write_text(written("pairs", game))
    recipe = load("x.yaml")
    assert recipe.data.kwargs["crop"] == 16
    assert list(recipe.data.kwargs["channels"]) == ([3, 1] if game == "pix2pix" else [3, 3])
    trained("x.yaml")


def test_gray_sets_get_networks_for_gray() -> None:
    fill(Path("gray/a1"), 2, channels=1)
    fill(Path("gray/b1"), 3, first=50, channels=1)
    Path("x.yaml").write_text(written("gray", "cyclegan"))
    assert read_header(trained("x.yaml") / "a2b.safetensors").card.channels == (1, 1)


def test_names_that_yaml_would_misread_are_quoted_and_come_back() -> None:
    folder = "we: ird, #1 [x] & 'y'"
    fill(Path(folder) / "trainA", 2)
    fill(Path(folder) / "trainB", 2, first=9)
    (Path(folder) / "trainA" / "no: { picture, #.png").write_text("")
    Path("x.yaml").write_text(written(folder, "cyclegan"))
    recipe = load("x.yaml")
    assert recipe.data.kwargs["a"] == f"{folder}/trainA"
    assert len(build(recipe.data, seed=0)) == 2
    assert draft.named("cyclegan", Path(folder)) == "cyclegan-we-ird-1-x-y"


def test_paths_are_relative_where_a_recipe_finds_them_else_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "datasets/beside", "away/data/known", "away/unknown"):
        pairs(tmp_path / name, 2)
    Path("there").mkdir()
    monkeypatch.setenv("I2I_DATA", str(tmp_path / "away/data"))
    assert draft.reachable(Path("here")) == "here"
    assert draft.reachable(tmp_path / "here/0.png") == "here/0.png"
    assert draft.reachable(Path("datasets/beside")) == "datasets/beside"
    monkeypatch.chdir("there")
    assert draft.reachable(tmp_path / "away/data/known") == "known"
    assert draft.reachable(tmp_path / "away/unknown") == str(tmp_path / "away/unknown")
    (tmp_path / "there/known").mkdir()  # hides the one that is meant
    assert draft.reachable(tmp_path / "away/data/known") == str(tmp_path / "away/data/known")


# --- size and schedule


def chosen(paces: dict[int, float], **more: Any) -> tuple[int, int]:
    """(width, images) for seconds an image by width."""
    sizes = [size for size in GAMES["cyclegan"].sizes if size.width in paces]
    settings: dict[str, Any] = {"epoch": 1000, "seconds": 8 * 3600, "images": None, "memory": None} | more
    size, _, images = choose(sizes, lambda size: Pace(paces[size.width], 0.0), game="cyclegan", **settings)
    return size.width, images


def test_the_largest_size_that_leaves_time_for_enough_images_is_taken() -> None:
    assert chosen({16: 0.1, 24: 0.5, 32: 1.4, 64: 6.0}) == (32, 20_000)
    assert chosen({16: 0.1, 24: 0.5, 32: 1.5, 64: 6.0}) == (24, 57_000)
    assert chosen({16: 0.01, 24: 0.02, 32: 0.03, 64: 0.04}) == (64, 200_000)  # 200 epochs
    assert chosen({16: 10.0, 24: 20.0}) == (16, 2_800)  # what the time permits
    assert chosen({16: 0.1, 24: 0.5, 32: 1.4, 64: 6.0}, images=4_000) == (64, 4_000)
    assert chosen({16: 0.1, 24: 0.2, 32: 0.3, 64: 0.4}, memory=3 * 10**9) == (24, 140_000)


def test_what_does_not_fit_into_memory_is_not_taken() -> None:
    sizes = GAMES["cyclegan"].sizes
    settings: dict[str, Any] = {"game": "cyclegan", "epoch": 100, "seconds": 1e6, "images": None, "memory": None}
    size, _, _ = choose(sizes, lambda size: Pace(0.1, 0.0) if size.width < 32 else None, **settings)
    assert size.width == 24
    with pytest.raises(UserError, match="memory") as caught:
        choose(sizes, lambda size: None, **settings)
    assert caught.value.code == 1


def test_reading_counts_once_where_pictures_are_kept() -> None:
    assert Pace(0.1, 1.0).seconds(100, epoch=20) == pytest.approx(30)


def test_numbers_are_round() -> None:
    assert [draft.rounded(number) for number in (7.9, 99.9, 123, 21_999)] == [7, 99, 120, 21_000]
    assert [draft.even(number) for number in (0.3, 1, 4.9, 5, 44, 999)] == [1, 1, 2, 5, 20, 500]
    spoken = [draft.duration(number) for number in (0.2, 45, 1500, 3600, 7100, 12_100, 100_000)]
    assert spoken == ["1 s", "45 s", "25 min", "1 h", "2 h", "3 h 20 min", "28 h"]


@pytest.mark.parametrize("game", GAMES)
def test_sizes_grow_and_paper_recipes_load(game: str) -> None:
    if game == "srgan":
        fill(Path("photos"), 2, size=(120, 130))
    else:
        pairs(Path("photos"), 2)
    sort = GAMES[game]
    assert [size.memory for size in sort.sizes] == sorted(size.memory for size in sort.sizes)
    found = survey("photos")
    text = Draft(found, game, sort.sizes[-1], CPU, "x").text()
    Path("x.yaml").write_text(text)
    assert load("x.yaml").game.kwargs["generator"].kwargs["width"] == 64
    assert max(map(len, text.splitlines())) <= 130


def test_the_u_net_is_as_deep_as_the_crop() -> None:
    pairs(Path("photos"), 2)  # halves of 48
    Path("x.yaml").write_text(written("photos", "pix2pix"))
    recipe = load("x.yaml")
    assert recipe.game.kwargs["generator"].kwargs["depth"] == int(math.log2(recipe.data.kwargs["crop"])) == 5


# --- bad requests


def test_a_recipe_that_is_there_stays() -> None:
    pairs(Path("photos"), 2)
    Path("mine.yaml").write_text("mine")
    assert "--overwrite" in refused("photos", "-o", "mine.yaml")
    assert Path("mine.yaml").read_text() == "mine"
    run("photos", "-o", "mine.yaml", "--overwrite", "--images", "4")
    assert load("mine.yaml").name == "pix2pix-photos"
    Path("pix2pix-photos.yaml").touch()
    assert "is there already" in refused("photos")


def test_games_the_data_do_not_permit_are_one_sentence() -> None:
    fill(Path("d/trainA"), 2)
    fill(Path("d/trainB"), 2, first=5)
    assert "pix2pix needs pairs" in (said := refused("d", "--game", "pix2pix"))
    assert said.endswith("d holds two sets without pairs: 2 in A, 2 in B, which --game cyclegan takes")
    fill(Path("one"), 2)
    assert "cyclegan needs two sets" in refused("one", "--game", "cyclegan")
    assert refused("one", "--game", "cylegan").endswith("did you mean 'cyclegan'?")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing"], "there is no 'missing'"),
        (["photos", "-o", "photos"], "is a folder"),
        (["photos", "-o", "nowhere/x.yaml"], "there is no folder nowhere"),
        (["photos", "--name", "a/b"], "'a/b' has others"),
        (["photos", "--a", "cats"], "'cats' is none of"),
    ],
)
def test_requests_that_are_wrong(arguments: list[str], said: str) -> None:
    pairs(Path("photos"), 2)
    assert said in refused(*arguments)


@pytest.mark.parametrize(("option", "value"), [("--direction", "left"), ("--time", "soon"), ("--time", "0s")])
def test_values_that_are_wrong(option: str, value: str) -> None:
    result = CliRunner().invoke(new, ["photos", option, value])
    assert result.exit_code == 2
    assert f"'{value}' is no" in result.output
