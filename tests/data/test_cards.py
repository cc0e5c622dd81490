"""Cards of data sets: complete, honest about checksums, found wherever i2i is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from i2i.data import cards as module
from i2i.data.cards import cards, here, home, known, read
from i2i.errors import UserError
from i2i.spec import resolve
from i2i.typed import slots

ROOT = Path(__file__).resolve().parents[2]
NAMED = (
    "facades", "cityscapes", "maps", "edges2shoes", "edges2handbags", "night2day", "horse2zebra", "apple2orange",
    "summer2winter_yosemite", "monet2photo", "cezanne2photo", "ukiyoe2photo", "vangogh2photo", "iphone2dslr",
    "ae_photos",
    "maps-unpaired", "facades-unpaired", "cityscapes-unpaired", "grumpycat", "DIV2K", "Flickr2K", "Set5", "Set14",
    "BSD100", "Urban100", "MNIST", "Fashion-MNIST", "CIFAR-10", "CelebA", "LSUN", "CUB", "Oxford-102",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_the_usual_sets_are_known_in_whichever_letters(name: str) -> None:
    assert name.lower() in (known(name).name, *known(name).also)


@pytest.mark.parametrize("card", cards().values(), ids=lambda card: card.name)
def test_cards_are_whole(card: module.DataCard) -> None:
    for said in (card.title, card.holds, card.licence, card.citation, card.layout):
        assert said
    assert card.wing in ("pix2pix", "CycleGAN", "CUT", "super-resolution", "generation", "text")
    assert card.origin.startswith("http")
    assert card.files and len({file.name for file in card.files}) == len(card.files)
    for file in card.files:
        assert all(address.startswith(("http://", "https://")) for address in file.addresses)
        assert len({address.rsplit("/", 1)[1] for address in file.addresses}) <= 1
        if file.sha256:
            assert file.bytes  # who can state the one knows the other
    if card.arrange is not None and card.wing != "generation":
        assert card.arrange.build()


@pytest.mark.parametrize("card", cards().values(), ids=lambda card: card.name)
def test_the_recipe_of_a_card_fits_the_data_set_class(card: module.DataCard) -> None:
    data = yaml.safe_load(card.recipe)
    known_names = slots(resolve(data.pop("of"))).named
    assert set(data) <= set(known_names)
    folders = [str(value) for key in ("root", "a", "b", "captions") if (value := data.get(key))] + data.get("roots", [])
    assert folders
    for folder in folders:
        assert Path(folder).is_relative_to(card.folder)


def test_recipes_that_ship_read_what_cards_lay_out() -> None:
    """Where a recipe's folder is one of a card's set, the card says that there is such a folder."""
    found = 0
    places = {card.folder: card for card in cards().values()}
    for path in sorted((ROOT / "recipes").glob("*.yaml")):
        for root in re.findall(
            r"^  (?:root|a|b|captions): (\S+)$|^  roots: \[(\S+)\]$", path.read_text(), re.MULTILINE
        ):
            place = Path(root[0] or root[1])
            card = next((places[str(up)] for up in (place, *place.parents) if str(up) in places), None)
            if card is not None and place != Path(card.folder):
                part = place.relative_to(card.folder).parts[0]
                assert part in re.findall(r"\w+", " ".join(card.layout)), (path.name, place)
                found += 1
    assert found > 15


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no data set is called 'horse2zebr' \(did you mean 'horse2zebra'\?\)"):
        known("horse2zebr")


def test_sets_belong_where_folders_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("I2I_DATA", raising=False)
    assert home(known("lsun")) == Path("datasets/lsun/bedroom")
    assert here(known("maps")) is None
    monkeypatch.setenv("I2I_DATA", str(tmp_path / "pictures"))
    assert home(known("maps")) == tmp_path / "pictures" / "maps"
    (tmp_path / "pictures" / "maps").mkdir(parents=True)
    assert here(known("maps")) == tmp_path / "pictures" / "maps"
    assert home(known("maps"), tmp_path / "x") == tmp_path / "x" / "maps"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"files": [{"address": "https://a.example/x.zip", "sha256": "abc"}]},
            "neither a sha256 nor the word unverified",
        ),
        ({"files": [{"address": "https://a.example/x.zip"}]}, "sha256"),
        ({"colour": "red"}, "colour"),
        ({"title": None}, "title"),
    ],
)
def test_a_card_that_is_none_is_named(change: dict[str, object], said: str, tmp_path: Path) -> None:
    facts = yaml.safe_load((module.shelf() / "horse2zebra.yaml").read_text()) | change
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in facts.items() if value is not None}))
    with pytest.raises(UserError, match="is no card of a data set") as caught:
        read(path)
    assert said in str(caught.value)


def test_reading_cards_loads_nothing_heavy() -> None:
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from i2i.data.cards import cards; cards(); import i2i.data.fetching; print(*sys.modules)",
        ],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert not {"torch", "torchvision", "numpy", "cv2"} & set(run.stdout.split())


def test_the_cards_travel_in_the_wheel() -> None:
    import tomllib

    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "/datasets/*.yaml" in wheel["include"]  # the cards alone: pictures that lie there stay at home
    assert wheel["sources"] == {"datasets": "i2i/_datasets"}
