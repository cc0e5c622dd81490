"""The classifier: what it sees, how its game trains it, and that `i2i evaluate` measures by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from games import Shades, tiny_classification
from PIL import Image

from i2i.checkpoint import save_generator
from i2i.cli.evaluate import evaluate
from i2i.data.labelled import Labelled
from i2i.data.stream import to_range
from i2i.errors import UserError
from i2i.game import Made, Spec
from i2i.metrics.classifier import Classification, PictureClassifier, looked_at, shifted
from i2i.metrics.distances import fid
from i2i.metrics.extractors import extractor
from i2i.testing import assert_sound
from i2i.zoo import find, load_generator

TINY = Spec.to(PictureClassifier, size=8, channels=1, classes=3, width=2, features=4)


@pytest.mark.parametrize("shift", [0, 2])
def test_it_is_sound_and_no_term_sees_several_pictures(shift: int) -> None:
    assert_sound(lambda: tiny_classification(shift=shift), Shades(), lane=2, images=24)


def test_it_learns() -> None:
    torch.manual_seed(0)
    made = tiny_classification()
    x, y = (torch.stack(field) for field in zip(*(Shades()[place] for place in range(30)), strict=True))
    optimizer = torch.optim.Adam(made.network.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        made.loss(Labelled(to_range(x), y), left := Made())["cross_entropy"].backward()
        optimizer.step()
    assert left.notes["accuracy"] == 1


def test_the_network_of_the_recipe_has_so_many_parameters() -> None:
    convolutions = 9 * (1 * 16 + 16 * 32 + 32 * 64) + 16 + 32 + 64
    dense = 64 * 4 * 4 * 64 + 64 + 64 * 10 + 10
    assert sum(p.numel() for p in PictureClassifier().parameters()) == convolutions + dense


@pytest.mark.parametrize("size", [8, 32, 64])
def test_features_are_what_the_last_layer_sees(size: int) -> None:
    network, x = PictureClassifier(size, 3, classes=5, width=2, features=7), torch.rand(2, 3, size, size) * 2 - 1
    features = network.features(x)
    assert features.shape == (2, 7)
    assert (features >= 0).all()
    assert torch.equal(network(x), network.last(features))
    assert network.card("abcde").classes == ("a", "b", "c", "d", "e")


@pytest.mark.parametrize("size", [0, 4, 28, 33, 48])
def test_sizes_that_do_not_halve_down_to_four_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"not {size}"):
        PictureClassifier(size)


def test_as_many_names_as_logits() -> None:
    with pytest.raises(ValueError, match="3 classes cannot tell 2 apart"):
        Classification(TINY, ["left", "right"])


def test_a_shift_moves_and_repeats_the_border() -> None:
    x = torch.arange(2 * 3 * 25.0).reshape(2, 3, 5, 5)
    assert torch.equal(shifted(x, 0), x)
    torch.manual_seed(1)
    seen = set()
    for _ in range(50):
        for one, moved in zip(x, shifted(x, 1), strict=True):
            around = torch.nn.functional.pad(one[None], (1, 1, 1, 1), mode="replicate")[0]
            fits = [
                (top, left)
                for top in range(3)
                for left in range(3)
                if torch.equal(moved, around[:, top : top + 5, left : left + 5])
            ]
            assert len(fits) == 1
            seen.add(fits[0])
    assert len(seen) == 9


def test_statistics_are_of_its_features_and_logits() -> None:
    torch.manual_seed(0)
    network = PictureClassifier(8, 1, classes=3, width=2, features=4)
    pictures = torch.randint(256, (600, 1, 8, 8)).byte()
    found = looked_at(network, pictures)
    x = pictures / 127.5 - 1
    assert found.count == 600
    assert found.features is not None
    assert found.logits is not None
    assert torch.allclose(found.features, network.features(x), atol=1e-5)
    assert torch.allclose(found.logits, network(x), atol=1e-5)
    assert fid(found, looked_at(network, pictures.flip(0))).value < 1e-6


# --- i2i evaluate by it -----------------------------------------------------------------------------------------------


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = PictureClassifier(8, 1, classes=3, width=2, features=4)
    save_generator(tmp_path / "classifier.safetensors", network, TINY, network.card(Shades.classes))
    return tmp_path / "classifier.safetensors"


def test_a_trained_classifier_is_an_extractor(trained: Path) -> None:
    made, network = extractor(str(trained), device="cpu"), load_generator(trained)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    gray = torch.from_numpy(pixels).float().mean(2)[None, None] / 127.5 - 1
    found = made([pixels, pixels])
    assert made.dims == 4
    assert made.identity["network"] == "i2i PictureClassifier"
    assert made.identity["size"] == 8
    assert torch.allclose(found.pool, network.features(gray).expand(2, -1), atol=1e-5)  # type: ignore[operator]
    assert found.logits is not None
    assert torch.allclose(found.logits, network(gray).expand(2, -1), atol=1e-5)


def test_the_one_that_ships_goes_by_its_name() -> None:
    assert extractor("classifier/mnist", device="cpu").dims == 64


def test_what_draws_pictures_is_no_classifier() -> None:
    with pytest.raises(UserError, match="tells none apart: name a classifier"):
        extractor(str(find("pix2pix/map2aerial")))


def test_modes_and_distance_by_a_trained_classifier(trained: Path, tmp_path: Path) -> None:
    for name, seed in (("real", 0), ("fake", 1)):
        (tmp_path / name).mkdir()
        source = np.random.default_rng(seed)
        for number in range(12):
            pixels = source.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    command = [str(tmp_path / "real"), str(tmp_path / "fake"), "--metrics", "fid,is,diversity", "--json", "--no-cache"]
    done = CliRunner().invoke(evaluate, [*command, "--features", str(trained), "--classifier", str(trained)])
    assert done.exit_code == 0, done.output
    figures = {figure["name"]: figure for figure in json.loads(done.stdout)["figures"]}
    assert figures["fd"]["value"] >= 0
    assert "i2i PictureClassifier" in figures["fd"]["protocol"]
    assert figures["is"]["value"] >= 1
    assert figures["modes"]["unit"] == "of 3"


# --- what ships -------------------------------------------------------------------------------------------------------


def test_the_one_that_ships_says_what_it_is() -> None:
    network: Any = load_generator("classifier/mnist")
    card = network.card
    assert (card.kind, card.size, card.channels) == ("classifier", 32, (1, 10))
    assert card.classes == tuple("0123456789")
    assert card.origin.figures["mnist_accuracy"] >= 0.99
    assert "CC BY-SA 3.0" in card.origin.terms
