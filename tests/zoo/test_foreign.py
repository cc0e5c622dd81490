"""Networks by way of spandrel: the same pictures, from a file that says how to build them again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from i2i.checkpoint import save_generator
from i2i.cli.convert import convert as command
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.spec import Spec
from i2i.zoo import foreign, load_generator
from i2i.zoo.convert import convert

pytest.importorskip("spandrel")


def compact() -> nn.Module:
    from spandrel.architectures.Compact import Compact

    return Compact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=2, upscale=4)


def swinir() -> nn.Module:
    from spandrel.architectures.SwinIR import SwinIR

    return SwinIR(depths=[2, 2], embed_dim=12, num_heads=[2, 2], window_size=8, upscale=2, upsampler="pixelshuffle")


def saved(network: nn.Module, folder: Path) -> Path:
    path = folder / "weights.pth"
    torch.save({"params": network.state_dict()}, path)
    return path


@pytest.mark.parametrize("build", [compact, swinir])
@torch.no_grad()
def test_it_draws_what_spandrels_network_does(build: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build().eval()
    made = convert(saved(network, tmp_path), via="spandrel")
    assert any(sentence.startswith("recognised by spandrel as") for sentence in made.said)
    save_generator(tmp_path / "a.safetensors", made.network, made.spec, made.card)
    state = torch.get_rng_state()
    again = load_generator(tmp_path / "a.safetensors")
    assert torch.equal(torch.get_rng_state(), state)  # building it drew nothing from the global generator
    x = torch.rand(1, 3, 32, 48)
    assert torch.equal(again(x), network(x))
    odd = Engine(again, precision="fp32", device="cpu")(x[:, :, :30, :41])
    assert odd.shape == (1, 3, 30 * made.card.scale, 41 * made.card.scale)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saved(compact(), tmp_path)
    without = CliRunner().invoke(command, ["weights.pth"])
    assert "--via spandrel knows others" in str(without.exception)
    done = CliRunner().invoke(command, ["weights.pth", "--via", "spandrel"])
    assert done.stdout == "weights.safetensors\n"
    assert "recognised by spandrel as RealESRGAN Compact, 3 -> 3 channels, x4" in done.stderr
    both = CliRunner().invoke(command, ["weights.pth", "--via", "spandrel", "--as", "rrdb_2blocks_x4", "--overwrite"])
    assert "leave out --as" in str(both.exception)


def test_what_spandrel_does_not_know_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no network that spandrel knows"):
        convert(saved(nn.Linear(2, 2), tmp_path), via="spandrel")


def test_a_part_of_a_network_is_refused(tmp_path: Path) -> None:
    path, tensors = tmp_path / "weights.pth", swinir().state_dict()
    torch.save(dict(list(tensors.items())[: len(tensors) // 2]), path)
    with pytest.raises(UserError, match="spandrel"):
        convert(path, via="spandrel")


def test_without_spandrel_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "spandrel", None)
    with pytest.raises(UserError, match=r"needs spandrel.*pip install 'i2i-toolkit\[spandrel\]'"):
        convert(saved(compact(), tmp_path), via="spandrel")


FACTS = {"scale": 4, "inputs": 3, "outputs": 3}


@pytest.mark.parametrize(
    ("architecture", "network", "settings"),
    [
        ("os", "system", {}),
        ("Compact", "print", {}),
        ("Compact", "Compact", {"num_feat": "many"}),
        ("Compact", "Compact", {"num_feat": 4096, "num_conv": 4096}),
    ],
)
def test_a_file_cannot_ask_for_anything_else(
    architecture: str, network: str, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "ROOM", 1 << 30)
    made = convert(saved(compact(), tmp_path), via="spandrel")
    spec = Spec(made.spec.of, {"architecture": architecture, "network": network, "settings": settings, **FACTS})
    save_generator(tmp_path / "a.safetensors", made.network, spec, made.card)
    with pytest.raises(UserError, match="its header describes no network"):
        load_generator(tmp_path / "a.safetensors")


def test_settings_are_plain(tmp_path: Path) -> None:
    made = convert(saved(swinir(), tmp_path), via="spandrel")
    assert json.loads(json.dumps(made.spec.node())) == made.spec.node()
