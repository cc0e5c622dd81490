"""From a generator file to the very class that was trained; and what is refused, in one sentence, unexecuted."""

from __future__ import annotations

import json
import os
import pickle
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import nn

from i2i import zoo
from i2i.checkpoint import FORMAT, plain, read_header, save_generator
from i2i.cli.models import models
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.layers import InstanceNorm
from i2i.spec import Spec
from i2i.translation.cyclegan import ResnetGenerator
from i2i.translation.pix2pix import UnetGenerator

NORM = f"{InstanceNorm.__module__}:{InstanceNorm.__qualname__}"
UNET = Spec.to(UnetGenerator, inputs=1, outputs=2, width=2, depth=2, norm=NORM)
RESNET = Spec.to(ResnetGenerator, width=2, blocks=1)


def trained(spec: Spec) -> Any:
    torch.manual_seed(0)
    return spec.build()


def file_of(folder: Path, spec: Spec = RESNET, **more: Any) -> Path:
    network = trained(spec)
    save_generator(folder / "a2b.safetensors", network, spec, network.card(), **more)
    return folder / "a2b.safetensors"


def forged(folder: Path, *, spec: Any = None, card: dict[str, Any] | None = None, tensors: Any = None) -> Path:
    """A generator file whose header says what it likes."""
    network = trained(RESNET)
    header = {
        "format": FORMAT,
        "spec": json.dumps(RESNET.node() if spec is None else spec),
        "card": json.dumps({**asdict(network.card()), **(card or {})}),
    }
    path = folder / "forged.safetensors"
    save_file(plain(network.state_dict()) if tensors is None else tensors, path, metadata=header)
    return path


def refusal(model: str | Path) -> str:
    """What is said about it, after which nothing has been allocated for long."""
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        zoo.load_generator(model)
    assert time.monotonic() - start < 20
    said = str(caught.value)
    assert "\n" not in said.strip()
    return said


@pytest.mark.parametrize("spec", [UNET, RESNET], ids=["unet", "resnet"])
def test_the_very_class_comes_back(spec: Spec, tmp_path: Path) -> None:
    network, path = trained(spec), file_of(tmp_path, spec)
    loaded: Any = zoo.load_generator(path)
    assert type(loaded) is type(network)
    assert str(loaded) == str(network)
    for (name, value), (other, again) in zip(network.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(value, again)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert (loaded.card, loaded.spec, loaded.source) == (network.card(), spec, str(path))
    picture = torch.rand(1, network.inputs, 32, 32) * 2 - 1
    assert torch.allclose(loaded(picture), network.eval()(picture), rtol=0, atol=1e-5)


def test_from_a_file_to_the_engine(tmp_path: Path) -> None:
    picture = torch.rand(3, 33, 47) * 2 - 1
    engine = Engine(zoo.load_generator(file_of(tmp_path)), device="cpu", precision="fp32")
    assert engine(picture).shape == picture.shape


def test_half_precision_is_stored_and_float32_loaded(tmp_path: Path) -> None:
    path = file_of(tmp_path, dtype=torch.float16)
    loaded = zoo.load_generator(path)
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}
    for value, again in zip(trained(RESNET).state_dict().values(), loaded.state_dict().values(), strict=True):
        assert torch.equal(value.half().float(), again)


def test_loading_leaves_the_random_numbers_alone(tmp_path: Path) -> None:
    path = file_of(tmp_path)
    before = torch.random.get_rng_state()
    zoo.load_generator(path)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"of": "os:system", "command": "touch executed"}, "os:system"),
        ({"of": "torch.nn:Conv2d", "in_channels": 1}, "torch.nn:Conv2d"),
        (RESNET.node() | {"norm": {"of": "os:system", "command": "touch executed"}}, "os:system"),
        (RESNET.node() | {"norm": "os:system"}, "os:system"),
        (RESNET.node() | {"norm": "builtins:eval"}, "builtins:eval"),
        (RESNET.node() | {"norm": ["os:system"]}, "os:system"),
        (RESNET.node() | {"norm": {"a": {"b": ["os:system"]}}}, "os:system"),
        (RESNET.node() | {"norm": {"of": NORM, "channels": {"of": "os:getcwd"}}}, "os:getcwd"),
        (RESNET.node() | {"norm": "antigravity_of_a_stranger:Norm"}, "antigravity_of_a_stranger:Norm"),
        (RESNET.node() | {"norm": "i2i.layers:nn.Module"}, "i2i.layers:nn.Module"),
    ],
)
def test_only_listed_classes_may_be_named(
    spec: dict[str, Any], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = refusal(forged(tmp_path, spec=spec))
    assert f"asks for '{named}', which no generator file may name; it is not loaded" in said
    assert [path.name for path in tmp_path.iterdir()] == ["forged.safetensors"]


@pytest.mark.parametrize("address", sorted(zoo.ALLOWED))
def test_what_is_listed_is_there_and_a_module(address: str) -> None:
    from i2i.spec import resolve

    assert issubclass(resolve(address), nn.Module)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 10**9},
        {"blocks": 10**9},
        {"width": 1e300},
        {"width": float("inf")},
        {"width": float("nan")},
        {"width": -5},
        {"width": "64"},
        {"width": [64]},
        {"width": None},
        {"inputs": 10**9},
        {"no_such_argument": 1},
        {"norm": {"of": NORM, "channels": 4}},
        {"norm": {"of": NORM, "channels": 10**9}},
        {"norm": 5},
        {"blocks": 2.5},
    ],
    ids=str,
)
def test_hostile_and_senseless_arguments_are_refused_at_once(change: dict[str, Any], tmp_path: Path) -> None:
    said = refusal(forged(tmp_path, spec=RESNET.node() | change))
    assert "forged.safetensors" in said


def test_a_depth_of_millions_is_refused_at_once(tmp_path: Path) -> None:
    assert "larger than any network's" in refusal(forged(tmp_path, spec=UNET.node() | {"depth": 10**7}))


@pytest.mark.parametrize(
    "spec", [5, [], "x", {}, {"width": 3}, {"of": 5}, {"of": "i2i.translation.cyclegan"}], ids=json.dumps
)
def test_a_header_without_a_spec_is_refused(spec: Any, tmp_path: Path) -> None:
    assert "forged.safetensors" in refusal(forged(tmp_path, spec=spec))


@pytest.mark.parametrize(
    "card",
    [
        {"multiple": 0},
        {"multiple": 10**9},
        {"minimum": "4"},
        {"scale": 1.5},
        {"value_range": []},
        {"value_range": 5},
        {"channels": [3]},
        {"mode": "none of the modes"},
        {"origin": {"nonsense": 1}},
        {"nonsense": 1},
    ],
    ids=json.dumps,
)
def test_a_card_that_is_none_is_refused(card: dict[str, Any], tmp_path: Path) -> None:
    assert "header is damaged" in refusal(forged(tmp_path, card=card))


def test_weights_of_another_architecture_are_named(tmp_path: Path) -> None:
    said = refusal(forged(tmp_path, spec=RESNET.node() | {"blocks": 2}))
    assert "the weights are of another architecture than the header's ResnetGenerator" in said
    assert "first difference: layers.1" in said
    tensors = plain(trained(UNET).state_dict())
    assert "of another architecture" in refusal(forged(tmp_path, tensors=tensors))
    tensors = plain(trained(RESNET).state_dict())
    tensors.popitem()
    assert "of another architecture" in refusal(forged(tmp_path, tensors=tensors))


def test_whole_numbers_for_weights_become_float32(tmp_path: Path) -> None:
    tensors = {key: value.to(torch.int64) for key, value in plain(trained(RESNET).state_dict()).items()}
    loaded = zoo.load_generator(forged(tmp_path, tensors=tensors))
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}


def test_a_header_beyond_a_megabyte_is_refused_unread(tmp_path: Path) -> None:
    padded = json.dumps({"__metadata__": {"format": FORMAT, "spec": " " * 2**20, "card": "{}"}}).encode()
    path = tmp_path / "large.safetensors"
    path.write_bytes(struct.pack("<Q", len(padded)) + padded)
    assert f"{path} is no i2i generator file" in refusal(path)
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    assert f"{path} is no i2i generator file" in refusal(path)


def test_a_header_nested_beyond_reason_is_refused(tmp_path: Path) -> None:
    text = "[" * 100_000
    path = tmp_path / "deep.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text.encode())
    assert "is no i2i generator file" in refusal(path)
    network = trained(RESNET)
    header = {"format": FORMAT, "spec": text + "]" * 100_000, "card": json.dumps(asdict(network.card()))}
    save_file(plain(network.state_dict()), path, metadata=header)
    assert "header is damaged" in refusal(path)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1, -1000])
def test_a_torn_file_is_refused(keep: int, tmp_path: Path) -> None:
    path = file_of(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    assert f"{path} is no i2i generator file: it is damaged" in refusal(path)


class Bomb:
    """Unpickled, it touches a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5, "torch"])
@pytest.mark.parametrize("name", ["model.safetensors", "model.pth"])
def test_a_pickle_is_named_and_never_executed(name: str, protocol: Any, tmp_path: Path) -> None:
    path, executed = tmp_path / name, tmp_path / "executed"
    if protocol == "torch":
        torch.save({"weights": Bomb(executed)}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb(executed), protocol))
    assert "a pickled checkpoint, which can execute code and is never loaded here" in refusal(path)
    assert not executed.exists()


def test_plain_tensors_are_no_generator(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    assert "holds tensors but is no i2i generator file" in refusal(path)
    save_file({"weight": torch.zeros(3)}, path, metadata={"format": "pt"})
    assert "holds tensors but is no i2i generator file" in refusal(path)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in which three models ship."""
    folder = tmp_path / "shelf"
    for name in ("cyclegan/aerial2map", "cyclegan/map2aerial", "pix2pix/map2aerial"):
        file_of(folder / name).rename((folder / name).with_suffix(".safetensors"))
        (folder / name).rmdir()
    monkeypatch.setattr(zoo, "WEIGHTS", folder)
    monkeypatch.chdir(tmp_path)
    return folder


def test_names_are_what_ships(shelf: Path) -> None:
    assert zoo.names() == ["cyclegan/aerial2map", "cyclegan/map2aerial", "pix2pix/map2aerial"]
    assert zoo.choice()[:3] == zoo.names()
    assert {"cyclegan", "pix2pix"} <= set(zoo.families())
    assert zoo.find("pix2pix/map2aerial") == shelf / "pix2pix" / "map2aerial.safetensors"
    loaded: Any = zoo.load_generator("pix2pix/map2aerial")
    assert loaded.source == "pix2pix/map2aerial"


@pytest.mark.parametrize(
    ("model", "inputs", "picked"),
    [
        ("cyclegan", ["map2aerial", "x.png"], ("cyclegan/map2aerial", ["x.png"])),
        ("cyclegan", ["map2aerial"], ("cyclegan/map2aerial", [])),
        ("cyclegan", ["photos", "map2aerial"], ("cyclegan/map2aerial", ["photos"])),  # as click hands them over
        ("cyclegan/map2aerial", ["aerial2map"], ("cyclegan/map2aerial", ["aerial2map"])),
        ("run/a2b.safetensors", ["x"], ("run/a2b.safetensors", ["x"])),
        ("./cyclegan", ["map2aerial"], ("./cyclegan", ["map2aerial"])),
    ],
)
def test_a_family_and_a_name_make_a_model(
    model: str, inputs: list[str], picked: tuple[str, list[str]], shelf: Path
) -> None:
    assert zoo.pick(model, inputs) == picked


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (["map2arial"], "did you mean '--model cyclegan map2aerial'?"),
        (["photos"], "name one of aerial2map, map2aerial after it, or another of those that `i2i models list` lists"),
        ([], "name one of aerial2map, map2aerial after it, or another of those that `i2i models list` lists"),
    ],
)
def test_a_family_alone_is_not_enough(inputs: list[str], said: str, shelf: Path) -> None:
    with pytest.raises(UserError) as caught:
        zoo.pick("cyclegan", inputs)
    assert str(caught.value) == f"'cyclegan' is a family of models: {said}"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("pix2pix/map2arial", "there is no model 'pix2pix/map2arial': did you mean 'pix2pix/map2aerial'?"),
        ("zzz", "there is no model 'zzz': `i2i models list` lists them."),
        ("./pix2pix/map2aerial", "the model file ./pix2pix/map2aerial does not exist"),
        ("run.safetensors", "the model file run.safetensors does not exist"),
        ("shelf", "the model file shelf is a folder"),
        ("hf://user", "'hf://user' is no address; write hf://user/repository"),
        ("hf://user/repo/../x.safetensors", "'hf://user/repo/../x.safetensors' is no address"),
        ("hf://user/repo/model.pth", "only .safetensors files are loaded, and 'model.pth' is none"),
    ],
)
def test_what_is_not_there_is_said(model: str, said: str, shelf: Path) -> None:
    assert said in refusal(model)


def test_a_dot_makes_a_name_a_path(shelf: Path, tmp_path: Path) -> None:
    (tmp_path / "pix2pix").mkdir()
    mine = file_of(tmp_path, UNET).rename(tmp_path / "pix2pix" / "map2aerial")
    assert zoo.find("./pix2pix/map2aerial").samefile(mine)
    assert zoo.find("pix2pix/map2aerial") == shelf / "pix2pix" / "map2aerial.safetensors"
    assert isinstance(zoo.load_generator("./pix2pix/map2aerial"), UnetGenerator)


def test_without_a_network_the_hub_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: Any, **more: Any) -> Any:
        raise OSError("no network here")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the hub's library tries again and again
    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, forbidden)
    monkeypatch.setattr(socket.socket, "connect", forbidden)
    with pytest.raises(UserError) as caught:
        zoo.load_generator("hf://somebody/something-that-is-not-there")
    said = str(caught.value)
    assert said.startswith("cannot get generator.safetensors of hf://somebody/something-that-is-not-there (")
    assert said.endswith("; fetch it by hand and name the file instead")
    assert "\n" not in said
    assert caught.value.code == 1


def test_all_that_ships_is_whole_and_says_its_terms() -> None:
    said = CliRunner().invoke(models, ["verify"])
    assert said.output.splitlines() == [f"ok    {name}" for name in zoo.names()], said.stderr
    terms = (zoo.WEIGHTS / "LICENSE.md").read_text()
    for name in zoo.names():
        origin = read_header(zoo.find(name)).card.origin
        assert origin.terms and origin.data and origin.recipe and origin.figures, name
        assert f"`{name}.safetensors`" in terms
    assert sum(path.stat().st_size for path in zoo.WEIGHTS.rglob("*.safetensors")) < 80e6
