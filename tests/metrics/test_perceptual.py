"""LPIPS is that of `lpips`, whatever trunk; weights and pictures are checked, nothing is fetched or printed."""

from __future__ import annotations

import dataclasses
import hashlib
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from i2i import weights
from i2i.errors import UserError
from i2i.metrics.perceptual import LEAST, TRUNKS, Lpips, Trunk

LAYERS = {"alex": 5, "vgg": 13, "squeeze": 25}  # convolutions


def pair(height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    draw = np.random.default_rng(0)
    real = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return (real + draw.integers(-40, 41, real.shape)).clip(0, 255).astype(np.uint8), real


def as_lpips_wants(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def as_torchvision_has_it(lpips: Lpips) -> dict[str, Tensor]:
    """The weights of its trunk."""
    return {f"features.{name.split('.', 1)[1]}": value for name, value in lpips.network.net.state_dict().items()}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No socket is opened, no warning is given, and the caches are empty."""

    def refuse(*arguments: object, **more: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "ours"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torchs"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def keep(state: dict[str, Tensor], trunk: Trunk, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with these weights under a name with its checksum, and this the one that is known."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "made.pth")
    sha256 = hashlib.sha256((folder / "made.pth").read_bytes()).hexdigest()
    path = (folder / "made.pth").rename(folder / f"{TRUNKS[trunk]}-{sha256[:8]}.pth")
    known = dataclasses.replace(weights.KNOWN[TRUNKS[trunk]], address=f"http://127.0.0.1:9/{path.name}", sha256=sha256)
    monkeypatch.setitem(weights.KNOWN, TRUNKS[trunk], known)
    return path


@pytest.mark.parametrize("trunk", LEAST)
def test_it_is_that_of_the_package(
    trunk: Trunk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both with one file of random weights in torchvision's layout, found in i2i's cache."""
    source = Lpips(trunk, random=3)
    state = as_torchvision_has_it(source)
    assert len(state) == 2 * LAYERS[trunk]
    path = keep(state, trunk, tmp_path / "ours" / "weights", monkeypatch)
    ours = Lpips(trunk)
    assert not capsys.readouterr().out
    assert ours.identity["weights"] == hashlib.sha256(path.read_bytes()).hexdigest()

    import lpips

    monkeypatch.setattr(nn.init, "normal_", lambda tensor, *_, **__: tensor)  # the classifier is drawn for nothing
    monkeypatch.setattr(nn.init, "kaiming_uniform_", lambda tensor, *_, **__: tensor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = lpips.LPIPS(net=trunk, pnet_rand=True, verbose=False)
        mapped = lpips.LPIPS(net=trunk, pnet_rand=True, verbose=False, spatial=True) if trunk != "vgg" else theirs
    for network in {theirs, mapped}:
        network.net.load_state_dict({k: state[f"features.{k.split('.', 1)[1]}"] for k in network.net.state_dict()})
    for size in ((64, 64), (47, 80)):
        fake, real = pair(*size)
        given = as_lpips_wants(fake), as_lpips_wants(real)
        expected = theirs(*given).item()
        assert expected > 1e-3
        assert ours(fake, real) == pytest.approx(expected, abs=1e-6)
        assert ours.between(ours.looks(fake), ours.looks(real)) == pytest.approx(expected, abs=1e-6)
        mapped.spatial = True
        assert ours.map(fake, real) == pytest.approx(mapped(*given)[0, 0].detach().numpy(), abs=1e-6)
        mapped.spatial = False
        assert ours(real, real) == 0
    assert not any(parameter.requires_grad for parameter in ours.network.parameters())


@pytest.mark.parametrize("trunk", LEAST)
def test_the_smallest_picture_is_as_large_as_is_said(trunk: Trunk) -> None:
    lpips = Lpips(trunk, random=0)
    assert lpips(*pair(LEAST[trunk], 40)) > 0
    with pytest.raises(ValueError, match=f"40x{LEAST[trunk] - 1} pixels are too few: LPIPS with {trunk} needs"):
        lpips(*pair(LEAST[trunk] - 1, 40))
    small = torch.zeros(1, 3, LEAST[trunk] - 1, 40)
    with pytest.raises(RuntimeError, match="too small"):
        lpips.network.net(small)


def test_what_cannot_be_compared_is_refused() -> None:
    lpips = Lpips("squeeze", random=0)
    fake, real = pair(40, 40)
    with pytest.raises(ValueError, match="of 40x40 and 40x39 pixels cannot be compared"):
        lpips(fake, real[:39])
    with pytest.raises(ValueError, match="RGB pictures, not an array of shape"):
        lpips(fake[..., 0], real[..., 0])
    with pytest.raises(TypeError, match=r"in 8 bits \(0..255\), not float64"):
        lpips(fake / 255, real / 255)
    with pytest.raises(UserError, match="LPIPS has no trunk 'resnet'; take alex, vgg, squeeze"):
        Lpips("resnet")  # type: ignore[arg-type]


def test_random_weights_are_those_of_the_seed_and_say_so() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (Lpips(random=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    fake, real = pair(40, 40)
    assert one(fake, real) == same(fake, real) != other(fake, real)
    assert one.said == ("LPIPS has random weights (seed 1): the numbers mean nothing",)
    assert one.identity == {"network": "lpips 0.1 alex", "weights": "random 1", "precision": "fp32"}


def test_half_precision_is_near_and_says_so() -> None:
    fake, real = pair(64, 64)
    full, half = Lpips(random=0), Lpips(random=0, precision="bf16")
    assert half(fake, real) == pytest.approx(full(fake, real), rel=0.02)
    assert any("bf16" in sentence for sentence in half.said)
    assert str(half.metric) == "lpips (alex, v0.1, bf16)"


def test_it_is_one_of_the_figures_of_pairs() -> None:
    lpips = Lpips("squeeze", random=0)
    metric = lpips.metric
    assert (str(metric), metric.better, metric.least) == ("lpips (squeeze, v0.1)", "lower", 17)
    fake, real = pair(24, 24)
    assert metric.measure(fake, real) == lpips(fake, real)


def test_without_weights_a_sentence_says_where_they_are(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        Lpips("alex")
    said = str(error.value)
    for what in ("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", "7be5be79", "i2i models add"):
        assert what in said
    assert str(tmp_path / "torchs" / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth") in said
    assert "\n" not in said


def test_a_wrong_file_under_the_right_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = as_torchvision_has_it(Lpips("squeeze", random=0))
    wrong = tmp_path / "torchs" / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    wrong.parent.mkdir(parents=True)
    torch.save(state, wrong)
    with pytest.raises(UserError, match=r"squeezenet1_1-b8a52dc0\.pth is .* sha256 does not begin with b8a52dc0"):
        Lpips("squeeze")
    with pytest.raises(UserError, match="sha256 does not begin with"):
        Lpips("squeeze", weights=wrong)
    other = keep({"features.0.weight": torch.zeros(64, 3, 3, 3)}, "squeeze", tmp_path, monkeypatch)
    with pytest.raises(UserError, match="holds no weights of torchvision's squeezenet1_1"):
        Lpips("squeeze", weights=other)
