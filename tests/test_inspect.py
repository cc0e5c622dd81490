"""`i2i inspect`: what it says of a network is so."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from i2i.checkpoint import save_generator
from i2i.cli.inspect import inspect as command
from i2i.errors import UserError
from i2i.game import Card, Part
from i2i.inspection import COSTS, Field, features, filters, inspect, measured, owned, probe, sheet
from i2i.layers import MinibatchDeviation, spectral_norm
from i2i.losses import LOGISTIC, SATURATING
from i2i.spec import Spec
from i2i.translation.cyclegan import ResnetGenerator
from i2i.translation.esrgan import RRDBNet
from i2i.translation.pix2pix import PatchDiscriminator, UnetGenerator
from i2i.translation.srgan import SRResNet
from i2i.unconditional.dcgan import DCDiscriminator, DCGenerator
from i2i.unconditional.gan import MLPDiscriminator, MLPGenerator

SMALL: dict[str, Any] = {"size": 16, "width": 4, "kernel": 4}


def judge(network: nn.Module, channels: int = 3) -> Any:
    """What one pixel of a network's output sees, where it takes pictures of any size."""
    field = inspect(network, Card(channels=(channels, 1), minimum=256)).field
    assert field is not None
    return field


# --- the receptive field ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", [1, 16, 34, 70, 142, 286])
def test_a_patch_discriminator_sees_what_it_is_named_for(field: Any) -> None:
    found = judge(PatchDiscriminator(3, width=4, field=field, norm=nn.Identity))
    assert (found.pixels, found.whole, found.words()) == (field, False, f"{field} x {field} pixels")


def test_norms_that_look_at_all_pixels_are_named_with_what_is_seen_without() -> None:
    found = judge(PatchDiscriminator(3, width=4, norm=nn.InstanceNorm2d))
    assert found.whole
    assert found.words() == "the whole picture through InstanceNorm2d; 70 x 70 pixels without"
    assert judge(PatchDiscriminator(3, width=4)).words().startswith("the whole picture through BatchNorm; 70 x 70")


def test_published_generators_see_what_their_layers_add_up_to() -> None:
    with torch.device("meta"):
        resnet, srresnet, rrdb = ResnetGenerator(), SRResNet(), RRDBNet(blocks=2)
    for network, radius in ((resnet, resnet.card().halo), (srresnet, srresnet.card().halo), (rrdb, rrdb.card().halo)):
        found = inspect(network, network.card()).field
        # a pixel of an enlarged map sees one row less or more, by where in the small one's pixel it lies
        assert found is not None and abs(found.pixels - (2 * radius + 1)) <= 3, type(network).__name__
    assert inspect(resnet, resnet.card()).field == Field(169, ("InstanceNorm",))


def test_each_layer_sees_more_than_the_one_before() -> None:
    """Radii by hand: a layer of size k behind strides s adds (k - 1) * s."""
    found = inspect(DCDiscriminator(3, 64, width=4, kernel=4), DCDiscriminator(3, 64, width=4, kernel=4).card())
    seen = {layer.name: layer.sees for layer in found.layers if layer.kind in ("Conv2d", "Linear")}
    assert seen == {"layers.0.0": 4, "layers.1.0": 10, "layers.2.0": 22, "layers.3.0": 46, "last": 64}
    assert found.field == Field(64, (), 64) and found.field.words() == "the whole picture (64 x 64)"


def test_what_is_reckoned_is_what_is_measured() -> None:
    card = Card(channels=(3, 1), minimum=64)
    for network in (PatchDiscriminator(3, width=2, field=34), PatchDiscriminator(3, width=2, field=16)):
        network.eval()
        tried, layers_tried = measured(network, card, 64)
        found = inspect(network, card)
        assert found.field is not None
        assert (tried.pixels, tried.through) == (found.field.pixels, found.field.through) and tried.whole
        reckoned = {layer.name: layer.sees for layer in found.layers}
        assert {name: reckoned[name] for name in layers_tried} == layers_tried


class Odd(nn.Module):
    """Not known to bands: pools by the largest, and a function that no module stands for."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 5, padding=2)
        self.second = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.nn.functional.max_pool2d(self.first(x), 2)
        return self.second(torch.nn.functional.gelu(x))


def test_an_operation_that_is_not_known_is_measured() -> None:
    found = inspect(Odd(), Card(channels=(1, 1), minimum=32))
    assert found.field is not None and (found.field.pixels, found.field.through) == (5 + 1 + 2 * 2, ())
    assert [layer.sees for layer in found.layers] == [5, 10]


def test_what_is_tried_out_has_an_end() -> None:
    wide = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=32, dilation=32) for _ in range(3)), nn.GELU())
    field = inspect(wide, Card(channels=(1, 1))).field
    assert field is not None and field.words() == "97 x 97 pixels or more" and not field.whole
    heavy = nn.Sequential(nn.Conv2d(3, 700, 15, padding=7), nn.GELU())
    assert inspect(heavy, Card(channels=(3, 700))).field is None


def test_minibatch_statistics_see_the_whole_picture() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), MinibatchDeviation(), nn.Conv2d(3, 1, 3))
    found = inspect(network, Card("classifier", channels=(1, 1), size=16))
    assert found.field == Field(16, (), 16)


def test_a_generator_that_draws_from_a_vector_has_no_field() -> None:
    network = DCGenerator(1, **SMALL)
    found = inspect(network, network.card())
    assert found.field is None and {layer.sees for layer in found.layers} == {None}
    assert (found.given, found.made) == ((100,), (1, 16, 16))


# --- layers, parameters, operations -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (ResnetGenerator, 11_378_179),  # by hand, and the published weights' own count
        (UnetGenerator, 54_413_955),
        (RRDBNet, 16_697_987),  # as ESRGAN's published file has
    ],
)
def test_parameters_of_published_networks(network: Any, count: int) -> None:
    with torch.device("meta"):
        made = network()
    assert sum(owned(made).values()) == count == sum(p.numel() for p in made.parameters())


def test_a_shared_parameter_counts_once_and_a_parametrized_layer_is_one() -> None:
    inner = nn.Linear(4, 4)
    assert sum(owned(nn.Sequential(inner, nn.ReLU(), inner)).values()) == 20
    network = nn.Sequential(spectral_norm(nn.Conv2d(3, 2, 3)), nn.ReLU())
    assert owned(network) == {"0": 3 * 2 * 9 + 2, "1": 0}
    kinds = [layer.kind for layer in inspect(network, Card(channels=(3, 2))).layers]
    assert kinds == ["Conv2d", "ReLU"]


def test_flops_are_two_for_each_multiply_add() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 5, 2, 2), nn.ReLU(), nn.ConvTranspose2d(8, 1, 4, 2, 1))
    found = inspect(network, Card(channels=(3, 1), multiple=2), size=32)
    first, second = 2 * 8 * 3 * 25 * 16 * 16, 2 * 8 * 1 * 16 * 16 * 16
    assert [layer.flops for layer in found.layers] == [first, 0, second] and found.flops == first + second
    dense = inspect(MLPDiscriminator(size=8, units=[3], pieces=2), MLPDiscriminator(size=8, units=[3], pieces=2).card())
    assert dense.flops == 2 * (64 * 6 + 3)


def test_a_layer_that_is_not_used_is_said_to_be_so() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 7, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    layers = {layer.name: layer for layer in inspect(Spare(), Card(channels=(1, 1))).layers}
    assert layers["spare"].shape is None and layers["spare"].parameters == 14
    assert layers["used"].shape == (1, 256, 256)


@pytest.mark.parametrize(
    ("card", "size", "said"),
    [
        (Card(multiple=4, minimum=32), 33, "multiples of 4 pixels from 32 on, not 33"),
        (Card("classifier", channels=(1, 1), size=32), 64, "takes pictures of 32 pixels"),
        (Card("latent", channels=(5, 1), size=32, latent=(Part(size=5),)), 64, "draws pictures of 32 pixels"),
    ],
)
def test_a_size_that_a_network_does_not_take(card: Card, size: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        inspect(nn.Identity(), card, size=size)


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_filters_are_of_the_layer_that_looks_at_the_picture_or_draws_it() -> None:
    for network, name, shape in (
        (DCDiscriminator(3, **SMALL), "layers.0.0", (4, 3, 4, 4)),
        (DCGenerator(3, **SMALL), "layers.2.0", (4, 3, 4, 4)),
        (MLPDiscriminator(size=8, units=[5], pieces=3), "layers.1.linear", (15, 1, 8, 8)),
        (MLPGenerator(size=8, latent=6, widths=[12, 10]), "layers.4", (10, 1, 8, 8)),
    ):
        found = filters(network.eval(), network.card())
        assert found is not None and (found[0], tuple(found[1].shape)) == (name, shape)
        assert found[1].abs().amax((1, 2, 3)).eq(1).all()
    assert filters(nn.Identity(), Card(channels=(1, 1))) is None


def test_features_are_what_a_layer_makes_with_its_norm_and_activation() -> None:
    network = DCDiscriminator(1, **SMALL).eval()
    x = torch.rand(1, 1, 16, 16)
    found = features(network, x)
    assert list(found) == ["layers.0.0", "layers.1.0"]
    maps = network.features(x)[1][0, :, None]
    low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
    assert torch.allclose(found["layers.1.0"], (maps - low) / (high - low) * 2 - 1, atol=1e-5)


def test_a_sheet_is_read_row_by_row_and_small_pictures_are_enlarged() -> None:
    tones = torch.linspace(-1, 1, 9)[:, None, None, None].expand(9, 1, 4, 4)
    made = sheet(tones)
    assert made.shape == (3 * 36 + 4, 3 * 36 + 4, 3)
    middles = [int(made[4 + 36 * row + 16, 4 + 36 * column + 16, 0]) for row in range(3) for column in range(3)]
    assert middles == sorted(middles) and (middles[0], middles[-1]) == (0, 255)
    assert sheet(torch.zeros(1, 1, 512, 512)).shape == (136, 136, 3)


# --- the probe --------------------------------------------------------------------------------------------------------


def digits(folder: Path, *, size: int = 28, count: int = 150) -> Path:
    """Four idx files of three classes: a light upper half, a light left half, none."""
    folder.mkdir()
    source = np.random.default_rng(0)
    for name, number in (("train", count), ("t10k", 60)):
        classes = source.integers(0, 3, number).astype(np.uint8)
        pictures = source.integers(0, 120, (number, size, size)).astype(np.uint8)
        pictures[classes == 0, : size // 2] += 60
        pictures[classes == 1, :, : size // 2] += 60
        for kind, values in (("images-idx3", pictures), ("labels-idx1", classes)):
            head = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
            (folder / f"{name}-{kind}-ubyte").write_bytes(head + values.tobytes())
    return folder


def test_the_probe_prints_its_protocol_and_what_features_are_worth(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    network: Any = DCDiscriminator(1, **SMALL).eval()
    network.spec = Spec.to(DCDiscriminator, channels=1, **SMALL)
    protocol, rows = probe(network, network.card(), str(digits(tmp_path / "raw")), samples=120, tests=50)
    assert "max-pooled to 4x4" in protocol and "squared hinge" in protocol and "resized to 16x16" in protocol
    assert "120 training and 50 test pictures" in protocol
    found = list(rows)
    assert [(row.name, row.numbers) for row in found] == [
        ("this network", 4 * 16 + 8 * 16), ("the same, untrained", 192), ("pixels", 256)
    ]  # fmt: skip
    assert all(row.accuracy > 0.8 and row.cost in COSTS for row in found)


def test_what_the_probe_does_not_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = DCDiscriminator(1, **SMALL)
    for other in (DCGenerator(1, **SMALL), MLPDiscriminator()):
        with pytest.raises(UserError, match=r"takes a discriminator whose layers' features can be had"):
            probe(other, other.card(), "x")
    pytest.importorskip("sklearn")
    (tmp_path / "flat").mkdir()
    with pytest.raises(UserError, match="neither idx files nor train/ and test/"):
        probe(network, network.card(), str(tmp_path / "flat"))
    for name in ("train/a", "test/a"):
        (tmp_path / "one" / name).mkdir(parents=True)
        Image.new("L", (16, 16)).save(tmp_path / "one" / name / "x.png")
    with pytest.raises(UserError, match="pictures of one class"):
        probe(network, network.card(), str(tmp_path / "one"))
    (tmp_path / "one" / "test" / "b").mkdir()
    Image.new("L", (16, 16)).save(tmp_path / "one" / "test" / "b" / "x.png")
    with pytest.raises(UserError, match="folders of different names"):
        probe(network, network.card(), str(tmp_path / "one"))
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UserError, match=r"needs scikit-learn: pip install 'i2i-toolkit\[inspect\]'"):
        probe(network, network.card(), "x")


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def discriminator(tmp_path: Path) -> Path:
    network = DCDiscriminator(1, **SMALL)
    save_generator(tmp_path / "d.safetensors", network, Spec.to(DCDiscriminator, channels=1, **SMALL), network.card())
    return tmp_path / "d.safetensors"


def run(*arguments: object) -> None:
    command.main([str(one) for one in arguments], standalone_mode=False)


def test_the_table_and_its_json_say_the_same(discriminator: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(discriminator)
    table = capsys.readouterr().out
    assert re.search(r"^layers\.0\.0 +Conv2d +4 x 8 x 8 +64 +8\.19 k +4$", table, re.MULTILINE)
    assert re.search(r"^sees +the whole picture \(16 x 16\)$", table, re.MULTILINE)
    run(discriminator, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "classifier" and found["field"] == {
        "pixels": 16, "through": [], "size": 16, "least": False, "whole": True
    }  # fmt: skip
    assert found["layers"][0] == {
        "name": "layers.0.0", "kind": "Conv2d", "shape": [4, 8, 8], "parameters": 64, "flops": 2 * 64 * 64, "sees": 4
    }  # fmt: skip
    assert found["parameters"] == sum(layer["parameters"] for layer in found["layers"])


def test_a_shipped_generator(capsys: pytest.CaptureFixture[str]) -> None:
    run("cyclegan/map2aerial", "--size", 64)
    said = capsys.readouterr().out
    assert "through InstanceNorm; " in said and "from 3 x 64 x 64 to 3 x 64 x 64" in said
    run("cyclegan", "map2aerial", "--size", 64)
    assert capsys.readouterr().out == said
    with pytest.raises(UserError, match="one model at a time: 'more'"):
        run("cyclegan", "map2aerial", "more")


def test_filters_and_features_become_pictures(
    discriminator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (40, 30), "gray").save(tmp_path / "x.png")
    run(discriminator, "-o", tmp_path / "out", "--input", tmp_path / "x.png")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "01-layers.0.0.png", "02-layers.1.0.png", "filters.png"
    ]  # fmt: skip
    assert "x.png is 40x30: resized to 16x16" in capsys.readouterr().err
    with pytest.raises(UserError, match="is there already"):
        run(discriminator, "-o", tmp_path / "out")
    run(discriminator, "-o", tmp_path / "out", "--overwrite")
    assert "name a picture with --input" in capsys.readouterr().err


def test_a_drawing_network_shows_the_features_of_a_seed(tmp_path: Path) -> None:
    network = DCGenerator(1, **SMALL)
    save_generator(tmp_path / "g.safetensors", network, Spec.to(DCGenerator, channels=1, **SMALL), network.card())
    for seed in (0, 0, 1):
        run(tmp_path / "g.safetensors", "-o", tmp_path / "out", "--seed", seed, "--overwrite")
    assert {"filters.png", "02-layers.1.0.png"} <= {path.name for path in (tmp_path / "out").iterdir()}
    Image.new("L", (16, 16)).save(tmp_path / "x.png")
    with pytest.raises(UserError, match="takes no picture; leave --input out"):
        run(tmp_path / "g.safetensors", "-o", tmp_path / "other", "--input", tmp_path / "x.png")


def test_mistakes_are_named(discriminator: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name the folder for them with -o"):
        run(discriminator, "--input", "x.png")
    with pytest.raises(UserError, match="takes pictures of 16 pixels"):
        run(discriminator, "--size", 32)
    with pytest.raises(UserError, match="x.png"):
        run(discriminator, "-o", tmp_path / "out", "--input", tmp_path / "x.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is there already"):
        run(discriminator, "-o", tmp_path / "file")


# --- the examples -----------------------------------------------------------------------------------------------------


def load(name: str) -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_ascent_raises_the_score_and_stays_in_range() -> None:
    ascent = load("ascent")
    network = DCDiscriminator(1, **SMALL).eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = torch.rand(3, 1, 16, 16) * 2 - 1
    found = dict(ascent.ascended(network, start, 20))
    assert list(found) == [0, 1, 10, 20] and torch.equal(found[0], start)
    assert (found[1] - start).abs().amax((1, 2, 3)) == pytest.approx(torch.full((3,), 0.04), abs=1e-6)
    scores = torch.stack([network(x)[:, 0] for x in found.values()])
    assert (scores.diff(dim=0) > 0).all() and found[20].abs().max() <= 1


def test_the_saturating_gradient_is_smaller_by_the_odds_that_the_discriminator_gives() -> None:
    """d/ds of log(1 - D) is -D, of -log D is D - 1: their ratio is D / (1 - D) = exp(s)."""
    claims = load("claims")
    generator, discriminator = nn.Linear(2, 3), nn.Linear(3, 1)
    nn.init.zeros_(discriminator.weight)
    discriminator.weight.data[0, 0] = 1e-6
    nn.init.constant_(discriminator.bias, -5.0)
    latent = torch.ones(4, 2)
    norms = [claims.gradient(generator, discriminator, rule, latent) for rule in (SATURATING, LOGISTIC)]
    assert norms[0] / norms[1] == pytest.approx(math.exp(-5), rel=1e-3)


def test_a_plot_has_a_pixel_of_each_curve() -> None:
    claims = load("claims")
    series = {"falls": [(0, 10.0), (50, 1.0), (100, 0.001)], "rises": [(0, 0.01), (100, 20.0)]}
    for log in (False, True):
        made = claims.stacked([claims.panel("t", "steps", series, log=log)] * 2)
        assert made.shape == (2 * claims.SIZE[1], claims.SIZE[0], 3)
        for colour in claims.COLOURS[:2]:
            assert (made == np.array(colour)).all(2).sum() > 100
