"""Features are torch-fidelity's and torchvision's, resizes are what their names say, and no other file is taken for
weights."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from i2i import weights
from i2i.cli.models import models as models_command
from i2i.errors import UserError
from i2i.metrics import extractors
from i2i.metrics.extractors import RESIZES, extractor
from i2i.weights import add_weights, find_weights

pytest.importorskip("torch_fidelity", reason="needs the extra metrics")


def picture(seed: int, height: int = 40, width: int = 30) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches, and no way to the network."""

    def refuse(*arguments: Any, **more: Any) -> None:
        raise AssertionError(f"the network was asked for: {arguments}")

    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "i2i"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tmp_path


# --- resizes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(96, 96), (13, 401), (299, 299), (640, 300), (1, 1)])
def test_torch_fidelitys_resize_is_so_to_the_bit(shape: tuple[int, int]) -> None:
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as theirs

    pixels = picture(0, *shape)
    x = torch.from_numpy(pixels).permute(2, 0, 1).float()[None]
    assert torch.equal(RESIZES["torch-fidelity"](pixels, 299), theirs(x, size=(299, 299), align_corners=False)[0])


@pytest.mark.parametrize("shape", [(96, 96), (640, 300)])
def test_clean_fids_and_pytorch_fids_resizes(shape: tuple[int, int]) -> None:
    resize = pytest.importorskip("cleanfid.resize", reason="clean-fid is not installed")
    pixels = picture(1, *shape)
    theirs = resize.build_resizer("clean")(pixels).transpose(2, 0, 1)
    assert np.array_equal(RESIZES["clean-fid"](pixels, 299).numpy(), theirs)
    theirs = resize.build_resizer("legacy_pytorch")(pixels).transpose(2, 0, 1)
    assert np.allclose(RESIZES["pytorch-fid"](pixels, 299).numpy(), theirs)


def test_resizes_differ_and_all_keep_a_plain_colour() -> None:
    pixels = picture(2)
    made = {name: resize(pixels, 64) for name, resize in RESIZES.items()}
    assert all(value.shape == (3, 64, 64) and value.dtype == torch.float32 for value in made.values())
    names = list(made)
    assert not any(torch.equal(made[a], made[b]) for a in names for b in names if a < b)
    gray = np.full((20, 50, 3), 77, np.uint8)
    assert all(torch.allclose(resize(gray, 64), torch.tensor(77.0)) for resize in RESIZES.values())


# --- Inception --------------------------------------------------------------------------------------------------------


def test_inception_is_torch_fidelitys_with_its_batch_norms_folded(cache: Path, tmp_path: Path) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    state = extractors.drawn(3)
    torch.save(state, tmp_path / "random.pth")
    theirs = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=tmp_path / "random.pth"
    )
    x = [picture(seed, 50, 60) for seed in range(2)]
    with torch.inference_mode():
        pool, logits = theirs(torch.from_numpy(np.stack(x)).permute(0, 3, 1, 2))
    ours = extractor(random=3, device="cpu")
    found = ours(x)
    assert ours.dims == 2048
    assert torch.allclose(found.pool, pool, rtol=1e-4, atol=1e-5)
    assert found.logits is not None and torch.allclose(found.logits, logits, rtol=1e-4, atol=1e-4)
    assert ours.identity == {
        "network": "inception-v3-compat", "weights": "random 3", "resize": "torch-fidelity", "size": 299,
        "precision": "fp32",
    }  # fmt: skip
    assert ours.said == ("Inception has random weights (seed 3): the numbers mean nothing",)
    short = extractor(random=3, device="cpu", precision="bf16")
    assert (short(x).pool - pool).abs().mean() < 0.02 * pool.mean()
    assert short.identity["precision"] == "bf16" and "bf16" in short.said[-1]


def test_the_global_generator_is_left_alone(cache: Path) -> None:
    before = torch.random.get_rng_state()
    extractors.Inception(extractors.drawn(0))
    assert torch.equal(before, torch.random.get_rng_state())


# --- weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["inception", "clip", "dinov2"])
def test_missing_weights_are_said_in_one_sentence_and_never_fetched(cache: Path, name: str) -> None:
    known = weights.KNOWN[name]
    with pytest.raises(UserError) as error:
        extractor(name)
    said = str(error.value)
    for part in (known.address, known.sha256, f"i2i models add {known.file}", str(cache / "torch" / "hub")):
        assert part in said
    assert "\n" not in said and error.value.code == 1


def test_a_wrong_file_under_the_right_name_is_refused(cache: Path) -> None:
    path = cache / "torch" / "hub" / "checkpoints" / weights.KNOWN["inception"].file
    path.parent.mkdir(parents=True)
    torch.save(extractors.drawn(0), path)
    with pytest.raises(UserError, match="6726825d.pth is damaged, or another file under that name"):
        extractor("inception")
    with pytest.raises(UserError, match="another file under that name"):
        extractor("inception", weights=path)
    with pytest.raises(UserError, match="there is no file"):
        find_weights("inception", cache / "none.pth")


def known_here(monkeypatch: pytest.MonkeyPatch, name: str, file: Path) -> None:
    """Let the weights `name` be those in `file`."""
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setitem(weights.KNOWN, name, weights.Known(name, f"https://example.org/{file.name}", sha256))


def test_weights_are_added_by_what_is_in_them(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = cache / "downloaded (1).pth"
    torch.save(extractors.drawn(5), file)
    with pytest.raises(UserError, match="is none of the weights that i2i knows"):
        add_weights(file)
    assert not (cache / "i2i").exists()
    known_here(monkeypatch, "inception", file)
    kept = add_weights(file)
    done = CliRunner().invoke(models_command, ["add", str(file)])
    assert (done.exit_code, done.output) == (0, f"{kept}\n")
    assert kept == add_weights(file) == find_weights("inception")
    assert kept.parent == cache / "i2i" / "weights" and os.listdir(kept.parent) == [kept.name]
    found = extractor(device="cpu")
    assert found.identity["weights"] == weights.KNOWN["inception"].sha256 and found.said == ()
    assert torch.equal(found([picture(0)]).pool, extractor(random=5, device="cpu")([picture(0)]).pool)


def test_a_file_of_other_tensors_is_no_inception(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = cache / "other.pth"
    torch.save({"conv.weight": torch.zeros(1)}, file)
    for name, said in (("inception", "no weights of FID's Inception-v3"), ("dinov2", "no weights of DINOv2")):
        known_here(monkeypatch, name, file)
        with pytest.raises(UserError, match=said):
            extractor(name, weights=file)


# --- files ------------------------------------------------------------------------------------------------------------


def classifier(folder: Path) -> tuple[Path, nn.Module]:
    torch.manual_seed(0)
    network = models.resnet18(num_classes=7).eval()
    torch.save(network.state_dict(), folder / "made.pth")
    digits = hashlib.sha256((folder / "made.pth").read_bytes()).hexdigest()[:8]
    return (folder / "made.pth").rename(folder / f"resnet18-{digits}.pth"), network


def test_a_torchvision_classifier_gives_what_its_last_layer_gets(tmp_path: Path) -> None:
    path, network = classifier(tmp_path)
    ours = extractor(str(path), resize="pytorch-fid", device="cpu")
    x = F.interpolate(torch.from_numpy(picture(0)).permute(2, 0, 1)[None] / 255, (224, 224), mode="bilinear")
    mean, std = torch.tensor(extractors.MEAN).reshape(3, 1, 1), torch.tensor(extractors.STD).reshape(3, 1, 1)
    with torch.inference_mode():
        logits = network((x - mean) / std)
    found = ours([picture(0)])
    assert (ours.dims, ours.identity["network"]) == (512, "torchvision resnet18")
    assert found.logits is not None and torch.allclose(found.logits, logits, atol=1e-5)
    assert torch.allclose(network.fc(found.pool), logits, atol=1e-5)  # type: ignore[operator]


def test_files_that_are_no_network_are_refused(tmp_path: Path) -> None:
    path, _ = classifier(tmp_path)
    (tmp_path / "resnet34.pth").write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="holds no weights of a classifier of torchvision's, resnet34"):
        extractor(str(tmp_path / "resnet34.pth"))
    with pytest.raises(UserError, match="must have the name of its torchvision network"):
        extractor(str(path.rename(tmp_path / "mine.pth")))
    (tmp_path / "resnet18-00000000.pth").write_bytes(b"torn")
    with pytest.raises(UserError, match="is damaged, or another file"):
        extractor(str(tmp_path / "resnet18-00000000.pth"))
    with pytest.raises(UserError, match="there is no network and no file 'inceptoin'"):
        extractor("inceptoin")
    with pytest.raises(UserError, match="there is no resize 'nearest'"):
        extractor("inception", resize="nearest")  # type: ignore[arg-type]


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_file_of_weights_is_executed(tmp_path: Path) -> None:
    torch.save({"weight": Trap(tmp_path / "sprung")}, tmp_path / "resnet18.pth")
    with pytest.raises(UserError, match="resnet18.pth holds no weights"):
        extractor(str(tmp_path / "resnet18.pth"))
    assert not (tmp_path / "sprung").exists()


class Detector(nn.Module):
    """As StyleGAN's: features if asked, else classes."""

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor:
        return x.mean((2, 3)) if return_features else x.sum((1, 2, 3))[:, None]


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.mean((2, 3))[:, :, None, None], x.amax((2, 3))


@pytest.mark.filterwarnings("ignore:.*torch.jit", "ignore::torch.jit.TracerWarning")
def test_a_torchscript_program_is_given_0_to_255_and_may_give_logits(tmp_path: Path) -> None:
    for network, logits in ((Detector(), None), (Pair(), torch.tensor([[9.0, 200.0, 30.0]]))):
        torch.jit.script(network).save(tmp_path / "program.pt")
        ours = extractor(str(tmp_path / "program.pt"), device="cpu")
        found = ours([np.full((8, 5, 3), (9, 200, 30), np.uint8)])
        assert torch.allclose(found.pool, torch.tensor([[9.0, 200.0, 30.0]]))
        assert (found.logits is None) == (logits is None)
        assert "is a program and is run" in ours.said[0] and ours.dims == 3
    torch.jit.script(nn.Linear(4, 2)).save(tmp_path / "wrong.pt")
    with pytest.raises(UserError, match=r"wrong\.pt: the TorchScript program does not run on pictures") as error:
        extractor(str(tmp_path / "wrong.pt"))
    assert "\n" not in str(error.value)


# --- DINOv2 and CLIP --------------------------------------------------------------------------------------------------


def dino_state(width: int, depth: int, patches: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        return 0.1 * torch.randn(*shape, generator=draw)

    state = {"cls_token": some(1, 1, width), "pos_embed": some(1, patches**2 + 1, width), "mask_token": some(1, width)}
    state |= {"patch_embed.proj.weight": some(width, 3, 14, 14), "patch_embed.proj.bias": some(width)}
    state |= {"norm.weight": 1 + some(width), "norm.bias": some(width)}
    for block in range(depth):
        sizes = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
        sizes |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
        for name, shape in sizes.items():
            state |= {f"blocks.{block}.{name}.weight": some(*shape), f"blocks.{block}.{name}.bias": some(shape[0])}
        for name in ("norm1", "norm2"):
            state |= {f"blocks.{block}.{name}.weight": 1 + some(width), f"blocks.{block}.{name}.bias": some(width)}
        state |= {f"blocks.{block}.ls{half}.gamma": 1 + some(width) for half in (1, 2)}
    return state


def dino(state: dict[str, Tensor], x: Tensor, width: int, depth: int) -> Tensor:
    """DINOv2 as its paper and its layers' names have it."""

    def linear(at: str, x: Tensor) -> Tensor:
        return F.linear(x, state[f"{at}.weight"], state[f"{at}.bias"])

    def norm(at: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (width,), state[f"{at}.weight"], state[f"{at}.bias"], 1e-6)

    x = F.conv2d(x, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], 14).flatten(2).transpose(1, 2)
    x = torch.cat([state["cls_token"].expand(len(x), -1, -1), x], 1) + state["pos_embed"]
    for block in range(depth):
        at = f"blocks.{block}"
        parts = linear(f"{at}.attn.qkv", norm(f"{at}.norm1", x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (-1, 64)).transpose(1, 2) for part in parts)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + state[f"{at}.ls1.gamma"] * linear(f"{at}.attn.proj", seen)
        inner = F.gelu(linear(f"{at}.mlp.fc1", norm(f"{at}.norm2", x)))
        x = x + state[f"{at}.ls2.gamma"] * linear(f"{at}.mlp.fc2", inner)
    return norm("norm", x)[:, 0]


def test_dinov2_is_a_vision_transformer_with_its_scales_folded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = dino_state(128, 2, 16)
    file = cache / "dinov2.pth"
    torch.save(state, file)
    known_here(monkeypatch, "dinov2", file)
    ours = extractor("dinov2", weights=file, device="cpu")
    x = torch.stack([ours.prepare(picture(seed)) for seed in range(2)])
    mean, std = torch.tensor(extractors.MEAN).reshape(3, 1, 1), torch.tensor(extractors.STD).reshape(3, 1, 1)
    assert torch.allclose(ours.run(x).pool, dino(state, (x / 255 - mean) / std, 128, 2), atol=1e-4)
    assert (ours.dims, ours.resize) == (128, "dgm-eval")
    wider = extractors.positions(dino_state(64, 0, 37)["pos_embed"], 16)
    assert wider.shape == (1, 257, 64)


@pytest.mark.filterwarnings("ignore:.*torch.jit", "ignore::torch.jit.TracerWarning")
def test_clip_is_torch_fidelitys_with_cmmds_resize(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch_fidelity.feature_extractor_clip import VisionTransformer

    class Whole(nn.Module):
        """CLIP's file: a traced program whose tensors have these names."""

        def __init__(self) -> None:
            super().__init__()
            self.visual = VisionTransformer(28, 14, 64, 1, 1, 32)
            self.text_projection = nn.Parameter(torch.zeros(8, 32))

        def forward(self, x: Tensor) -> Any:
            return self.visual(x)

    torch.manual_seed(0)
    whole = Whole().eval()
    for parameter in whole.parameters():
        parameter.data = parameter.data.half().float()  # as OpenAI's file keeps them
    file = cache / "clip.pt"
    torch.jit.trace(whole, torch.zeros(2, 3, 28, 28)).save(file)
    known_here(monkeypatch, "clip", file)
    ours = extractor("clip", weights=file, device="cpu")
    x = torch.stack([ours.prepare(picture(seed)) for seed in range(2)])
    assert torch.allclose(x[0], F.interpolate(torch.from_numpy(picture(0)).permute(2, 0, 1).float()[None], (28, 28),
                                              mode="bicubic")[0])  # fmt: skip
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (extractors.CLIP_MEAN, extractors.CLIP_STD))
    with torch.inference_mode():
        assert torch.allclose(ours.run(x).pool, whole((x / 255 - mean) / std), atol=1e-4)
    assert ours.identity["resize"] == "cmmd" and ours.dims == 32
