"""The benchmark of digits: its figures are what they are called, and it says what misses."""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from i2i.game import Card, Part
from i2i.metrics.classifier import looked_at
from i2i.zoo import load_generator

PATH = Path(__file__).resolve().parents[1] / "benchmarks" / "digits.py"


@pytest.fixture(scope="module")
def digits() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_digits", PATH)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    """Blobs, which the classifier takes for several digits."""
    source = torch.Generator().manual_seed(0)
    small = torch.randn(400, 1, 8, 8, generator=source)
    return (torch.nn.functional.interpolate(small, (32, 32), mode="bicubic").clamp(0, 1) * 255).byte()


@pytest.fixture
def judge(digits: ModuleType, pictures: Tensor) -> Any:
    network = load_generator("classifier/mnist")
    return digits.Judge(network, looked_at(network, pictures), 2.0, 0.3)


def test_a_set_lies_nowhere_from_itself(digits: ModuleType, judge: Any, pictures: Tensor) -> None:
    found = digits.figures(judge, pictures)
    assert found["frechet"] < 1e-6
    assert 1 <= found["score"] <= 10
    assert 0 <= found["entropy"] <= np.log(10)
    assert -1 <= found["ssim"] < 1


def test_one_picture_again_and_again(digits: ModuleType, judge: Any, pictures: Tensor) -> None:
    found = digits.figures(judge, pictures[:1].repeat(50, 1, 1, 1), torch.arange(50) % 10)
    assert found["entropy"] == 0
    assert found["least"] == 0
    assert found["score"] == pytest.approx(1)
    assert found["ssim"] == pytest.approx(1)
    assert found["times"] == found["frechet"] / 2.0 > 0
    assert found["asked"] == 0.1


def test_pairs_are_of_one_class_and_two_pictures(digits: ModuleType) -> None:
    dark, light = torch.zeros(2, 1, 16, 16).byte(), torch.full((3, 1, 16, 16), 200).byte()
    both = torch.cat([dark, light])
    assert digits.alike(both, np.array([0, 0, 1, 1, 1])) == pytest.approx(1)
    assert digits.alike(both, np.array([0, 1, 1, 0, 0])) < 0.9
    assert np.isnan(digits.alike(both, np.arange(5)))
    noise = torch.randint(256, (2, 1, 32, 32), generator=torch.Generator().manual_seed(0)).byte()
    assert digits.alike(noise, np.zeros(2, np.int64)) < 0.2  # never a picture with itself


def test_small_pictures_stand_in_the_middle_of_black(digits: ModuleType) -> None:
    made = digits.padded(torch.full((2, 1, 28, 28), 9).byte(), 32)
    assert made.shape == (2, 1, 32, 32)
    assert (made[..., 2:30, 2:30] == 9).all()
    assert made.sum() == 2 * 28 * 28 * 9
    with pytest.raises(digits.UserError, match="64x64 pixels are larger"):
        digits.padded(torch.zeros(1, 1, 64, 64).byte(), 32)


def test_codes_are_mapped_one_to_one(digits: ModuleType) -> None:
    source = np.random.default_rng(0)
    truth, order = source.integers(0, 10, 2000), source.permutation(10)
    codes = np.where(source.random(2000) < 0.2, source.integers(0, 10, 2000), order[truth])
    meaning = digits.code_map(codes, truth)
    assert np.array_equal(meaning[order], np.arange(10))
    crowded = digits.code_map(np.array([3] * 50 + [4] * 20), np.array([7] * 50 + [7] * 20))  # two codes for one digit
    assert sorted(crowded) == list(range(10))
    assert crowded[3] == 7


class Drawing(nn.Module):
    """A constant brightness, by the class."""

    card = Card(
        kind="latent", channels=(13, 1), size=8, value_range=((-1.0, 1.0), (0.0, 1.0)),
        latent=(Part("z", 3), Part("class", 10, "class")),
    )  # fmt: skip

    def forward(self, latent: Tensor) -> Tensor:
        return (latent[:, 3:].argmax(1) / 10)[:, None, None, None].expand(-1, 1, 8, 8)


class Speaking(nn.Module):
    """The colour that a text names, on the whole picture."""

    card = Card(
        kind="latent", channels=(3, 3), size=8, latent=(Part("text", 3, "text"),)
    )  # fmt: skip

    def encode(self, texts: list[str]) -> Tensor:
        return torch.tensor([[float(name in text) for name in ("red", "green", "blue")] for text in texts])

    def forward(self, latent: Tensor) -> Tensor:
        return (2 * latent - 1)[:, :, None, None].expand(-1, 3, 8, 8)


class Looking(nn.Module):
    """The colour of a picture, whatever else it is asked."""

    def __init__(self, *classes: str) -> None:
        super().__init__()
        self.card = Card(kind="classifier", channels=(3, 3), size=16, classes=classes)

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))[:, [2, 1, 0]]


def test_what_is_drawn_is_of_the_class_that_was_asked_for(digits: ModuleType) -> None:
    made, parts = digits.drawn(Drawing(), 700, 3)
    assert made.shape == (700, 1, 8, 8)
    assert torch.equal(made[:, 0, 0, 0], (parts["class"].argmax(1) * 25.5).round().byte())
    again, _ = digits.drawn(Drawing(), 700, 3)
    assert torch.equal(made, again)
    assert not torch.equal(made, digits.drawn(Drawing(), 700, 4)[0])


def captioned(folder: Path) -> None:
    """Six pictures of three colours."""
    rows = ["file\tdigit\tcolour"]
    for number in range(6):
        name = ("blue", "green", "red")[number % 3]
        pixels = np.zeros((16, 16, 3), np.uint8)
        pixels[..., 2 - number % 3] = 255
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a {name} one\na picture\n")
        rows.append(f"{number}.png\t{2 - number // 3}\t{name}")
    (folder / "labels.tsv").write_text("\n".join(rows) + "\n")


def test_captions_are_drawn_and_told_apart(
    digits: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    captioned(tmp_path)
    networks = {"drawing": Speaking(), "of-digit": Looking("1", "2"), "of-colour": Looking("blue", "green", "red")}
    monkeypatch.setattr(digits, "load_generator", networks.__getitem__)
    arguments = ["--captions", str(tmp_path), "--digit-classifier", "of-digit", "--colour-classifier", "of-colour"]
    monkeypatch.setattr(sys, "argv", ["digits.py", "--model", "drawing", *arguments, "--json"])
    digits.main()
    true, drawn = map(json.loads, capsys.readouterr().out.splitlines())
    assert true["colour"] == drawn["colour"] == 1
    assert true["holds"]["colour 1 >= 0.98"]
    assert not drawn["holds"][f"digit {drawn['digit']:.4g} >= 0.8"]
    networks["of-colour"] = Looking("red", "green", "blue")
    with pytest.raises(SystemExit):
        digits.main()
    assert "the classifier of each colour knows" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recipe", "family"),
    [
        ("wgan-gp-mnist 12ab", "wgan-gp"),
        ("wgan-mnist 12ab", "wgan"),
        ("cgan-dcgan-mnist", "cgan-dcgan"),
        ("dcgan", "dcgan"),
        ("srgan-x4 12ab", None),
        ("", None),
    ],
)
def test_the_family_is_known_by_the_recipe(digits: ModuleType, recipe: str, family: str | None) -> None:
    network = Drawing()
    network.card = replace(network.card, origin=replace(network.card.origin, recipe=recipe))
    assert digits.family(network) == family


def test_bounds_hold_or_not(digits: ModuleType, judge: Any) -> None:
    found = {"entropy": 2.3, "least": 0.03, "times": 10.0, "ssim": 0.351, "score": 9.5}
    said = digits.verdicts(found, digits.bounds("dcgan", judge))
    assert said == {
        "entropy 2.3 >= 2.25": True,
        "least 0.03 >= 0.04": False,
        "times 10 <= 10": True,
        "score 9.5 >= 9": True,
        "ssim 0.351 <= 0.35": False,
    }
    assert digits.verdicts({}, [digits.CODES]) == {"error nan <= 0.1": False}
    assert digits.bounds(None, judge) == ()


def test_the_whole_command(
    digits: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = np.random.default_rng(0)
    for name, count in (("train", 200), ("t10k", 100)):
        made = source.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        for what, header, values in (
            ("images-idx3", [0x803, count, 28, 28], made),
            ("labels-idx1", [0x801, count], np.arange(count, dtype=np.uint8) % 10),
        ):
            with gzip.open(tmp_path / f"{name}-{what}-ubyte.gz", "wb") as file:
                file.write(np.array(header, ">u4").tobytes() + values.tobytes())
    monkeypatch.setattr(digits, "load_generator", lambda name: Drawing() if name == "drawing" else load_generator(name))
    monkeypatch.setattr(sys, "argv", ["digits.py", "--data", str(tmp_path), "--model", "drawing", "-n", "60",
                                      "--check", "cgan", "--recogniser", "classifier/mnist", "--json"])  # fmt: skip
    digits.main()
    rows = {row["row"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert list(rows) == ["classifier/mnist", "test set", "ten memorised digits", "drawing"]
    assert rows["test set"]["times"] == pytest.approx(1)
    assert rows["drawing"]["ssim"] == pytest.approx(1, abs=0.2)
    assert not any(rows["drawing"]["holds"].values())
    assert 0.5 < rows["classifier/mnist"]["error"] <= 1
