"""VGG's trunk is torchvision's, its weights are checked, and the perceptual loss is what the papers say."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models import vgg16, vgg19

from i2i import features
from i2i.errors import UserError
from i2i.features import Vgg, trunk, weights_file
from i2i.losses import Perceptual

LAYERS = {"conv1_2": 0.5, "relu2_1": 2.0}


def kept(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    """The first layers of a VGG with random weights, in a file as torchvision's are."""
    draw = torch.Generator().manual_seed(0)
    shapes = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128)}
    state = {}
    for place, shape in shapes.items():
        state[f"features.{place}.weight"] = torch.randn(*shape, 3, 3, generator=draw) / (3 * shape[1] ** 0.5)
        state[f"features.{place}.bias"] = torch.randn(shape[0], generator=draw)
    state["classifier.0.weight"] = torch.zeros(1)
    torch.save(state, folder / "made.pth")
    named = folder / f"vgg19-{hashlib.sha256((folder / 'made.pth').read_bytes()).hexdigest()[:8]}.pth"
    (folder / "made.pth").rename(named)
    return named, state


def pictures(seed: int) -> Tensor:
    return torch.rand(2, 3, 24, 20, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize(("name", "theirs"), [("vgg16", vgg16), ("vgg19", vgg19)])
def test_the_trunk_is_torchvisions(name: str, theirs: object) -> None:
    with torch.device("meta"):
        modules, names = trunk(name)  # type: ignore[arg-type]
        known = list(theirs().features)  # type: ignore[operator]
    assert [(type(x), x.extra_repr().replace(", inplace=True", "")) for x in modules] == [
        (type(x), x.extra_repr().replace("inplace=True", "")) for x in known
    ]
    assert len(names) == len(known)
    if name == "vgg19":
        assert (names.index("conv5_4"), names.index("relu5_4")) == (34, 35)  # [:35] and [:36] of features


def test_features_are_those_of_torchvisions_layers(tmp_path: Path) -> None:
    path, state = kept(tmp_path)
    x = pictures(0)
    found = Vgg("vgg19", LAYERS, weights=str(path))(x)
    with torch.device("meta"):
        known = vgg19().features[:7]
    known.load_state_dict({k.removeprefix("features."): v for k, v in state.items() if k[9] in "025"}, assign=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normal = ((x + 1) / 2 - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1)
    assert torch.allclose(found["conv1_2"], known[:3](normal), atol=1e-5)
    assert torch.allclose(found["relu2_1"], known(normal), atol=1e-5)
    assert found["conv1_2"].min() < 0 <= found["relu2_1"].min()


@pytest.mark.parametrize("distance", ["l1", "mse"])
def test_the_perceptual_loss_weighs_its_layers(tmp_path: Path, distance: str) -> None:
    path, _ = kept(tmp_path)
    loss = Perceptual("vgg19", layers=LAYERS, distance=distance, scale=0.5, weights=str(path))  # type: ignore[arg-type]
    drawn, wanted = pictures(0).requires_grad_(), pictures(1).requires_grad_()
    found, other = loss.features(drawn), loss.features(wanted)
    expected = sum(
        weight * (0.5 * (found[name] - other[name])).abs().pow(1 if distance == "l1" else 2).mean()
        for name, weight in LAYERS.items()
    )
    value = loss(drawn, wanted)
    assert torch.allclose(value, expected)
    value.backward()
    assert drawn.grad is not None
    assert wanted.grad is None
    assert not any(parameter.requires_grad for parameter in loss.parameters())


def test_the_file_is_found_in_torchs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = kept(tmp_path)
    cached = tmp_path / "hub" / "checkpoints" / path.name
    cached.parent.mkdir(parents=True)
    path.rename(cached)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setitem(features.FILES, "vgg19", path.name)
    assert weights_file("vgg19") == cached


def test_a_damaged_file_and_one_of_something_else_are_refused(tmp_path: Path) -> None:
    path, _ = kept(tmp_path)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(UserError, match=r"vgg19-.{8}\.pth is damaged, or another file .* does not begin with"):
        weights_file("vgg19", str(path))
    for name, content in (("text.pth", b"no weights"), ("empty.pth", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name} holds no weights of torchvision's vgg19"):
            Vgg("vgg19", ["relu1_1"], weights=str(tmp_path / name))
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other\.pth holds no weights"):
        Vgg("vgg19", ["relu1_1"], weights=str(tmp_path / "other.pth"))


def test_where_the_weights_cannot_be_had_a_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(features, "SOURCE", "http://127.0.0.1:9/")
    with pytest.raises(UserError, match="weights of vgg19, and they cannot be fetched .* srgan-x4-local does") as error:
        Perceptual()
    assert str(tmp_path / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"vgg16 has no layer 'relu5_4'; its layers are conv1_1, relu1_1 ... pool5"):
        Vgg("vgg16", ["relu5_4"])
