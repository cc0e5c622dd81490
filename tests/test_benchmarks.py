"""The benchmarks of speed: that they compare equal things and run to their end; never how fast."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from i2i.layers import InstanceNorm
from i2i.losses import Perceptual
from i2i.metrics.agreement import Palette
from i2i.translation.cyclegan import ResnetGenerator
from i2i.translation.esrgan import RRDBNet
from i2i.translation.pix2pix import PatchDiscriminator, UnetGenerator
from i2i.translation.srgan import SRDiscriminator, SRResNet

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(script: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, str(FOLDER / script), "--rounds", "1", "--threads", "1", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def pairs() -> list[tuple[nn.Module, nn.Module, tuple[int, ...]]]:
    plain = load("plain")
    judges = [
        (plain.patch_discriminator(3, width=4), PatchDiscriminator(3, width=4, norm=InstanceNorm, bias=True), 3),
        (plain.patch_discriminator(6, width=4, norm=nn.BatchNorm2d), PatchDiscriminator(6, width=4), 6),
    ]
    return [
        (plain.resnet(width=4, blocks=2), ResnetGenerator(width=4, blocks=2), (1, 3, 32, 32)),
        (plain.Unet(width=4, depth=5, dropout=0), UnetGenerator(width=4, depth=5, dropout=0), (1, 3, 32, 32)),
        *((theirs, ours, (1, channels, 64, 64)) for theirs, ours, channels in judges),
        (plain.srresnet(width=4, blocks=2), SRResNet(width=4, blocks=2), (2, 3, 8, 8)),
        (plain.srresnet(scale=8, width=4, blocks=1), SRResNet(8, width=4, blocks=1), (2, 3, 8, 8)),
        (plain.rrdbnet(width=4, growth=2, blocks=2), RRDBNet(width=4, growth=2, blocks=2), (1, 3, 8, 8)),
        (plain.sr_discriminator(width=4, size=32), SRDiscriminator(width=4, size=32), (2, 3, 32, 32)),
    ]


def test_the_plain_networks_are_ours() -> None:
    same_weights = load("plain").same_weights
    for theirs, ours, shape in pairs():
        same_weights(theirs, ours)
        x = torch.rand(shape) * 2 - 1
        assert torch.allclose(theirs(x), ours(x), atol=1e-5), type(ours).__name__
        if any(True for _ in ours.buffers()):  # by what the norms have stored
            same_weights(theirs.eval(), ours.eval())
            assert torch.allclose(theirs(x), ours(x), atol=1e-5), type(ours).__name__


def test_the_plain_content_loss_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    training_step = load("training_step")
    training_step.write_vgg(tmp_path / "vgg19.pth")
    features = load("plain").vgg19()
    weights = torch.load(tmp_path / "vgg19.pth", weights_only=True)
    features.load_state_dict({name.removeprefix("features."): values for name, values in weights.items()})
    drawn, wanted = torch.rand(2, 1, 3, 32, 32) * 2 - 1
    theirs = training_step.content(features)(drawn, wanted)
    ours = Perceptual(weights=str(tmp_path / "vgg19.pth"))(drawn, wanted)
    assert theirs > 0
    assert torch.allclose(theirs, ours, rtol=1e-4)


def test_the_papers_sizes_are_the_default() -> None:
    plain = load("plain")
    with torch.device("meta"):
        theirs = plain.resnet(), plain.Unet(), plain.patch_discriminator(6, norm=nn.BatchNorm2d)
        enlargers = plain.srresnet(), plain.sr_discriminator(), plain.rrdbnet(), plain.vgg19()
    millions = [sum(p.numel() for p in network.parameters()) / 1e6 for network in (*theirs, *enlargers)]
    assert [round(count, 3) for count in millions] == [11.378, 54.414, 2.769, 1.549, 23.564, 16.698, 20.024]


def test_translate_compares_the_same_pictures() -> None:
    found = run("translate.py", "--images", "2", "--width", "4", "--blocks", "1")
    assert found["images"] == 2
    assert list(found["rows"]) == ["plain loop", "i2i translate"]
    assert found["ours_against_plain"]["mean"] < 1.5
    assert found["fp32_against_plain"]["max"] == 0


def test_enlarging_compares_the_same_pictures() -> None:
    found = run("enlarge.py", "--side", "24", "--width", "4", "--blocks", "1", "--repeats", "1")
    assert [each["network"] for each in found["networks"]] == ["srresnet", "rrdb"]
    for each in found["networks"]:
        assert list(each["rows"]) == ["plain", "i2i"]
        assert each["spread"] > 20  # the results are pictures, not flat
        assert each["ours_against_plain"]["mean"] < 1.5
        assert each["fp32_against_plain"]["max"] == 0


@pytest.mark.parametrize("game", ["cyclegan", "pix2pix", "srresnet", "srgan"])
def test_a_training_step_is_compared(game: str) -> None:
    found = run("training_step.py", "--game", game, "--side", "32", "--steps", "1", "--width", "4", "--blocks", "1")
    assert list(found["rows"]) == ["plain", "i2i"]
    assert found["batch"] == (16 if game.startswith("sr") else 1)
    assert all(row["wall"] > 0 and row["cpu"] > 0 for row in found["rows"].values())


def test_ratios_are_of_medians_and_of_single_rounds() -> None:
    sys.path.insert(0, str(FOLDER))
    try:
        side_by_side = load("side_by_side")
    finally:
        sys.path.remove(str(FOLDER))
    taken = {
        "a": [side_by_side.Taken(wall, 1.0, wall, None, {}) for wall in (4.0, 6.0, 5.0)],
        "b": [side_by_side.Taken(wall, 0.5, wall, 0.5, {}) for wall in (2.0, 2.0, 1.0)],
    }
    rows = side_by_side.compared(taken)
    assert rows["a"]["ratio"] == 1.0
    assert (rows["b"]["ratio"], rows["b"]["ratios"], rows["b"]["cpu_ratio"]) == (2.5, [2.0, 5.0], 2.0)
    assert any("Others" in line for line in side_by_side.table(rows, "image"))


def test_baselines_are_measured_by_the_command(tmp_path: Path) -> None:
    colours = np.array(list(Palette.read("maps").classes.values()), np.uint8)
    rng = np.random.default_rng(0)
    for number in range(3):
        cells = colours[rng.integers(0, 5, (4, 8))]
        (tmp_path / "maps").mkdir(exist_ok=True)
        Image.fromarray(cells).resize((600, 300), Image.Resampling.NEAREST).save(tmp_path / "maps" / f"{number}.png")
    rows = baselines("maps", tmp_path / "maps")
    assert list(rows) == ["a constant image", "another map", "the truth blurred"]
    assert rows["the truth blurred"]["miou (maps)"] > 0.7 > rows["another map"]["miou (maps)"]
    assert rows["a constant image"]["accuracy_background (maps)"] == 1

    rows = baselines("enlarging", tmp_path / "maps", "--scale", "2")
    assert rows["the true pictures"]["octave (Y, fake / real)"] == 1 > rows["bicubic"]["octave (Y, fake / real)"]
    assert rows["bicubic"]["psnr (Y, shave 2)"] > 20


def baselines(what: str, data: Path, *options: str) -> dict[str, dict[str, float]]:
    command = [sys.executable, str(FOLDER / "baselines.py"), what, "--data", str(data), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {row["row"]: row for row in map(json.loads, done.stdout.splitlines())}
