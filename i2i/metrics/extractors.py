"""Networks whose features tell how alike two sets of pictures are, each with the protocol that its numbers belong to.

A protocol is the network, its weights, how a picture is brought to the network's size, and the precision: numbers of
different protocols cannot be compared, so all of it travels with them (`Extractor.identity`). The networks are
torch-fidelity's and torchvision's, the weights files of theirs, which are never fetched from here.

Resizes, all of them to a square, whatever the shape of a picture:
    torch-fidelity  bilinear as TensorFlow 1 had it in the first FID: no antialiasing, corners aligned
    pytorch-fid     torch's bilinear without antialiasing; Inception then sees values 2x/255 - 1 instead of (x-128)/128
    clean-fid       Pillow's bicubic of each channel in float, antialiased (Parmar et al. 2022)
    cmmd            torch's bicubic without antialiasing (Jayasumana et al. 2024)
    dgm-eval        Pillow's bicubic of the picture in 8 bits, antialiased (Stein et al. 2023)
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from i2i.download import digest
from i2i.engine import DTYPES, find_device
from i2i.errors import UserError
from i2i.features import MEAN, STD
from i2i.weights import find_weights, read_state, verified

__all__ = ["RESIZES", "Extractor", "Features", "Resize", "extractor", "find_weights"]

Pixels = NDArray[np.uint8]  # [H,W,3] RGB
Resize = Literal["torch-fidelity", "pytorch-fid", "clean-fid", "cmmd", "dgm-eval"]

CLIP = "clip-vit-l-14-336px"  # torch-fidelity's name of it
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
USUAL: dict[str, Resize] = {"clip": "cmmd", "dinov2": "dgm-eval"}  # what the papers' figures were made with


class Features(NamedTuple):
    """What a network makes of N pictures: pool [N,D] float32, and logits [N,K] where it has a classifier."""

    pool: Tensor
    logits: Tensor | None = None


class Extractor:
    """A network with its protocol.

    Attributes:
        name: as it was asked for.
        identity: the protocol: network, sha256 of its weights, resize, side in pixels, precision.
        dims: how many features a picture has.
        said: what a user must know about numbers that it makes.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        *,
        kind: str,
        weights: str,
        resize: Resize,
        size: int,
        scale: tuple[Sequence[float], Sequence[float]],
        device: torch.device,
        precision: Literal["fp32", "bf16"],
        said: Sequence[str] = (),
    ) -> None:
        self.name, self.resize, self.size, self.device, self.precision = name, resize, size, device, precision
        self.identity: dict[str, str | int] = {
            "network": kind, "weights": weights, "resize": resize, "size": size, "precision": precision,
        }  # fmt: skip
        self.network = network.eval().requires_grad_(False).to(device, DTYPES[precision])
        if not isinstance(network, torch.jit.ScriptModule):
            self.network.to(memory_format=torch.channels_last)
        self.mean, self.std = (torch.tensor(values, device=device).reshape(1, -1, 1, 1) for values in scale)
        self.said = tuple(said)
        if precision == "bf16":
            self.said += ("features in bf16: compare the score with others in bf16 alone",)

    @cached_property
    def dims(self) -> int:
        return self.run(torch.full((1, 3, self.size, self.size), 128.0)).pool.shape[1]

    def __call__(self, pictures: Sequence[Pixels]) -> Features:
        """The features of pictures [H,W,3], of mixed sizes."""
        return self.run(torch.stack([self.prepare(pixels) for pixels in pictures]))

    def prepare(self, pixels: Pixels) -> Tensor:
        """A picture as the network is given it but for the scale of its values: [3,S,S] float32 around 0..255."""
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise TypeError(f"pictures are uint8 [H,W,3], not {pixels.dtype} {pixels.shape}")
        return RESIZES[self.resize](pixels, self.size)

    @torch.no_grad()
    def run(self, ready: Tensor) -> Features:
        """The features of what `prepare` made, stacked: [N,3,S,S]."""
        x = ((ready.to(self.device) - self.mean) / self.std).to(DTYPES[self.precision])
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            found = self.network(x)
        pool, logits = found if isinstance(found, tuple) else (found, None)
        if not isinstance(pool, Tensor) or pool.ndim < 2 or len(pool) != len(ready):
            raise UserError(f"{self.name} gives no features [N,D] of N pictures; name another network", code=1)
        return Features(pool.flatten(1).float().cpu(), None if logits is None else logits.float().cpu())


def extractor(
    name: str = "inception",
    *,
    resize: Resize | None = None,
    weights: Path | None = None,
    random: int | None = None,
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
) -> Extractor:
    """The network of that name with its weights.

    Args:
        name: inception, clip, dinov2, a classifier of i2i's that ships (classifier/mnist), or the path of a file: one
            that `i2i train` made of a classifier, weights of a torchvision classifier whose name begins with the
            network's (resnet50-11ad3fa6.pth, .safetensors), or a TorchScript program that takes [N,3,299,299] in 0..255
            and gives [N,D], or that and logits. A TorchScript file is run: name one that you trust.
        resize: None takes the one that the network's usual figures are made with.
        weights: the file, for inception, clip and dinov2; None looks for it, see `find_weights`.
        random: of inception: draw weights with this seed instead. For tests: the numbers mean nothing.

    Raises UserError where a file is missing, wrong, or of a kind that is not read.
    """
    chosen = resize or USUAL.get(name, "torch-fidelity")
    if chosen not in RESIZES:
        raise UserError(f"there is no resize '{chosen}'; take {', '.join(RESIZES)}")
    if random is not None and name != "inception":
        raise UserError(f"random weights are for inception, not {name}")
    if name in ("inception", "clip"):
        require_torch_fidelity()
    shared: dict[str, Any] = {"resize": chosen, "device": find_device(device), "precision": precision}
    if name == "inception":
        middle, half = ([127.5], [127.5]) if chosen == "pytorch-fid" else ([128.0], [128.0])
        shared |= {"kind": "inception-v3-compat", "size": 299, "scale": (middle, half)}
        if random is not None:
            doubt = f"Inception has random weights (seed {random}): the numbers mean nothing"
            return Extractor(name, Inception(drawn(random)), weights=f"random {random}", said=[doubt], **shared)
        path = find_weights("inception", weights)
        return Extractor(name, Inception(read_state(path)), weights=digest(path), **shared)
    if name == "clip":
        path = find_weights("clip", weights)
        network, size = clip(path)
        return Extractor(
            name, network, kind=CLIP, weights=digest(path), size=size, scale=scaled(CLIP_MEAN, CLIP_STD), **shared
        )
    if name == "dinov2":
        path = find_weights("dinov2", weights)
        network = dinov2(read_state(path), 224)
        return Extractor(
            name, network, kind="dinov2-vit-l-14", weights=digest(path), size=224, scale=scaled(MEAN, STD), **shared
        )
    return from_file(Path(name).expanduser(), shared)


def from_file(path: Path, shared: Mapping[str, Any]) -> Extractor:
    """The extractor that a user's file holds."""
    if (found := own(path)) is not None:
        return Extractor(path.name, found, kind=f"i2i {found.of}", weights=digest(found.path), size=found.size,
                         scale=([127.5], [127.5]), **shared)  # fmt: skip
    if not path.is_file():
        raise UserError(f"there is no network and no file '{path}'; take inception, clip, dinov2, or a file of weights")
    if is_script(path):
        doubt = f"{path} is a program and is run; of its protocol no more than its sha256 is known"
        try:
            made = Extractor(
                path.name, Script(load_script(path)), kind="torchscript", weights=digest(path),
                size=299, scale=([0.0], [1.0]), said=[doubt], **shared,
            )  # fmt: skip
            assert made.dims  # it runs
            return made
        except RuntimeError as error:
            why = str(error).strip().splitlines()[-1]
            raise UserError(f"{path}: the TorchScript program does not run on pictures ({why})", code=1) from error
    kind, network = classifier(path)
    return Extractor(path.name, network, kind=kind, weights=digest(path), size=224, scale=scaled(MEAN, STD), **shared)


def scaled(mean: Sequence[float], std: Sequence[float]) -> tuple[list[float], list[float]]:
    """`mean` and `std` of pictures in [0,1] for those in 0..255."""
    return [255 * value for value in mean], [255 * value for value in std]


# --- resizes ----------------------------------------------------------------------------------------------------------


def planes(pixels: Pixels) -> Tensor:
    """[H,W,3] as [1,3,H,W] float32."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float()[None]


def tensorflow_bilinear(pixels: Pixels, size: int) -> Tensor:
    """torch-fidelity's, to the bit, but lines that several rows need are interpolated once."""
    x = planes(pixels)[0]
    for axis in (2, 1):
        length = x.shape[axis]
        at = torch.arange(size, dtype=torch.float32) * torch.tensor(length / size, dtype=torch.float32)
        before = at.long()
        part = (at - before).reshape((-1, 1) if axis == 1 else (-1,))
        low, high = (x.index_select(axis, places.clamp_max(length - 1)) for places in (before, before + 1))
        x = low + (high - low) * part
    return x


def torch_bilinear(pixels: Pixels, size: int) -> Tensor:
    """pytorch-fid's."""
    return F.interpolate(planes(pixels), (size, size), mode="bilinear", align_corners=False)[0]


def pillow_bicubic(pixels: Pixels, size: int) -> Tensor:
    """clean-fid's."""
    channels = [Image.fromarray(pixels[..., channel].astype(np.float32)) for channel in range(3)]
    made = [np.asarray(channel.resize((size, size), Image.Resampling.BICUBIC)) for channel in channels]
    return torch.from_numpy(np.stack(made)).clamp_(0, 255)


def torch_bicubic(pixels: Pixels, size: int) -> Tensor:
    """CMMD's."""
    return F.interpolate(planes(pixels), (size, size), mode="bicubic", align_corners=False)[0]


def rounded_bicubic(pixels: Pixels, size: int) -> Tensor:
    """dgm-eval's."""
    return planes(np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)))[0]


RESIZES: dict[str, Callable[[Pixels, int], Tensor]] = {
    "torch-fidelity": tensorflow_bilinear,
    "pytorch-fid": torch_bilinear,
    "clean-fid": pillow_bicubic,
    "cmmd": torch_bicubic,
    "dgm-eval": rounded_bicubic,
}


# --- networks ---------------------------------------------------------------------------------------------------------


class Inception(nn.Module):
    """torch-fidelity's Inception-v3 from scaled pictures on, with every batch norm folded into its convolution.

    x: [N,3,299,299] in [-1,1] => features [N,2048] and logits [N,1008] without bias, as Inception Score has them.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        network = without_weights()
        try:
            nn.Module.load_state_dict(network, dict(state), assign=True)
        except RuntimeError as error:
            raise UserError("these are no weights of FID's Inception-v3; name another file", code=1) from error
        for block in network.modules():
            if isinstance(getattr(block, "bn", None), nn.BatchNorm2d):
                block.conv, block.bn = fuse_conv_bn_eval(block.conv.eval(), block.bn.eval()), nn.Identity()
        layers = [layer for name, layer in network.named_children() if name not in ("AvgPool", "fc")]
        self.trunk = nn.Sequential(*layers)
        self.classes = network.fc.weight.detach().clone()  # no buffer: it stays fp32, as the mean over the places does

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pool = self.trunk(x).float().mean((2, 3))
        self.classes = self.classes.to(pool.device)
        return pool, pool @ self.classes.T


def without_weights() -> Any:
    """torch-fidelity's network on the meta device: it neither fetches its weights nor unpickles a file of them."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Empty(FeatureExtractorInceptionV3):
        """Its constructor loads; here there is nothing to load yet."""

        def load_state_dict(self, *arguments: Any, **more: Any) -> None:
            pass

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    with torch.device("meta"):
        return Empty("inception-v3-compat", ["2048"], feature_extractor_weights_path=nothing)


def drawn(seed: int) -> dict[str, Tensor]:
    """Weights of Inception drawn at random, so scaled that pictures still differ at its end."""
    source = torch.Generator().manual_seed(seed)
    state = {}
    for name, value in without_weights().state_dict().items():
        if not value.is_floating_point():
            state[name] = torch.zeros(value.shape, dtype=value.dtype)
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(value.shape, generator=source)
        elif value.ndim == 1:
            state[name] = 0.1 * torch.randn(value.shape, generator=source) + name.endswith("weight")
        else:
            state[name] = torch.randn(value.shape, generator=source) * (2 / value[0].numel()) ** 0.5
    return state


def clip(path: Path) -> tuple[nn.Module, int]:
    """CLIP's half for pictures, and its side in pixels; of the TorchScript file at `path` only tensors are used."""
    from torch_fidelity.feature_extractor_clip import FeatureExtractorCLIP

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.load")
        network = FeatureExtractorCLIP(CLIP, ["clip"], feature_extractor_weights_path=str(path))
    visual: nn.Module = network.model.visual
    return visual, int(network.resolution)


def dinov2(state: Mapping[str, Tensor], size: int) -> nn.Module:
    """DINOv2 as torchvision's vision transformer: its LayerScale is folded into the projections before it, and its
    position embedding brought to `size` as its authors do."""
    from torchvision.models import VisionTransformer

    def projected(name: str, gain: str) -> tuple[Tensor, Tensor]:
        return state[f"{name}.weight"] * state[gain][:, None], state[f"{name}.bias"] * state[gain]

    try:
        patches = state["patch_embed.proj.weight"]
        width, patch = patches.shape[0], patches.shape[-1]
        made = {"class_token": state["cls_token"]}
        made |= {"encoder.pos_embedding": positions(state["pos_embed"], size // patch)}
        made |= {"conv_proj.weight": patches, "conv_proj.bias": state["patch_embed.proj.bias"]}
        depth = len([name for name in state if name.endswith(".ls1.gamma")])
        for number in range(depth):
            ours, theirs = f"encoder.layers.encoder_layer_{number}", f"blocks.{number}"
            for to, of in (("ln_1", "norm1"), ("ln_2", "norm2"), ("mlp.0", "mlp.fc1")):
                made |= {f"{ours}.{to}.{part}": state[f"{theirs}.{of}.{part}"] for part in ("weight", "bias")}
            for part in ("weight", "bias"):
                made[f"{ours}.self_attention.in_proj_{part}"] = state[f"{theirs}.attn.qkv.{part}"]
            for to, of, gain in (("self_attention.out_proj", "attn.proj", "ls1"), ("mlp.3", "mlp.fc2", "ls2")):
                weight, bias = projected(f"{theirs}.{of}", f"{theirs}.{gain}.gamma")
                made |= {f"{ours}.{to}.weight": weight, f"{ours}.{to}.bias": bias}
        made |= {f"encoder.ln.{part}": state[f"norm.{part}"] for part in ("weight", "bias")}
        with torch.device("meta"):
            network = VisionTransformer(
                image_size=size, patch_size=patch, num_layers=depth, num_heads=width // 64, hidden_dim=width,
                mlp_dim=4 * width,
            )  # fmt: skip
        network.heads = nn.Identity()
        network.load_state_dict(made, assign=True)
    except (LookupError, RuntimeError) as error:
        raise UserError("these are no weights of DINOv2; name another file", code=1) from error
    return network


def positions(embedding: Tensor, side: int) -> Tensor:
    """[1,1+n*n,D] for n x n patches as [1,1+side*side,D]."""
    before = round((embedding.shape[1] - 1) ** 0.5)
    if before == side:
        return embedding
    square = embedding[:, 1:].reshape(1, before, before, -1).permute(0, 3, 1, 2)
    # the authors ask for a tenth of a patch more and get `side`: the step between samples follows what was asked
    square = F.interpolate(square, scale_factor=(side + 0.1) / before, mode="bicubic")
    return torch.cat([embedding[:, :1], square.permute(0, 2, 3, 1).reshape(1, side * side, -1)], 1)


class Classifier(nn.Module):
    """A classifier of torchvision's: what goes into its last linear layer, and the logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        *_, (place, last) = ((name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Linear))
        within, _, leaf = place.rpartition(".")
        setattr(network.get_submodule(within), leaf, nn.Identity())
        self.network, self.last = network, last

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pool = self.network(x)
        return pool, self.last(pool)


def classifier(path: Path) -> tuple[str, Classifier]:
    """The torchvision network that a file's name begins with, with the weights in it."""
    from torchvision import models

    known = [name for name in models.list_models(module=models) if path.stem.lower().startswith(name)]
    if not known:
        raise UserError(
            f"{path}: a file of weights must have the name of its torchvision network, as resnet50-11ad3fa6.pth has; "
            "other networks are taken as TorchScript",
            code=1,
        )
    name, state = max(known, key=len), read_state(verified(path))
    classes = [value.shape[0] for value in state.values() if value.ndim == 2][-1:]
    try:
        with torch.device("meta"):
            network = models.get_model(name, weights=None, num_classes=classes[0])
        network.load_state_dict(state, assign=True)
        return f"torchvision {name}", Classifier(network)
    except (RuntimeError, LookupError, ValueError) as error:
        raise UserError(f"{path} holds no weights of a classifier of torchvision's, {name}", code=1) from error


class Own(nn.Module):
    """A classifier that i2i has trained: what goes into its last linear layer, and the logits; without such a layer the
    logits alone. One of gray pictures sees the mean of red, green and blue.

    x: [N,3,size,size] in [-1,1].
    """

    def __init__(self, network: Any, path: Path) -> None:
        super().__init__()
        self.gray, self.size, self.path = network.card.channels[0] == 1, network.card.size, path
        self.of = network.spec.of.rpartition(":")[2]
        *_, last = network.modules()
        self.network = Classifier(network) if isinstance(last, nn.Linear) else network

    def forward(self, x: Tensor) -> Any:
        return self.network(x.mean(1, keepdim=True) if self.gray else x)


def own(path: Path) -> Own | None:
    """The classifier of i2i's that `path` means: one that ships, or a file; None for what is neither.

    Raises UserError for a generator file that holds no classifier of pictures of one size.
    """
    from i2i.checkpoint import read_header
    from i2i.zoo import find, load_generator, names

    where = find(str(path)) if path.as_posix() in names() else path
    if not is_generator(where):
        return None
    if read_header(where).card.kind != "classifier":
        raise UserError(f"{where} draws pictures and tells none apart: name a classifier")
    return Own(load_generator(where), where)


class Script(nn.Module):
    """A TorchScript program; one that can give features instead of classes, as StyleGAN's Inception, is asked to."""

    def __init__(self, program: Any) -> None:
        super().__init__()
        self.program = program
        asked = any(argument.name == "return_features" for argument in program.forward.schema.arguments)
        self.more = {"return_features": True} if asked else {}

    def forward(self, x: Tensor) -> Any:
        return self.program(x, **self.more)


def load_script(path: Path) -> Any:
    """The program in a TorchScript file. Raises RuntimeError."""
    with warnings.catch_warnings():  # deprecated for new files; those that are there will stay
        warnings.filterwarnings("ignore", message=".*torch.jit.load")
        return torch.jit.load(path, map_location="cpu")


def is_generator(path: Path) -> bool:
    """Whether a file is one of those that `i2i train` leaves."""
    from i2i.checkpoint import FORMAT

    try:
        with safe_open(path, framework="pt") as file:
            return bool((file.metadata() or {}).get("format") == FORMAT)
    except (OSError, SafetensorError):
        return False


def is_script(path: Path) -> bool:
    """Whether a file is TorchScript: an archive that holds code."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def require_torch_fidelity() -> None:
    """Raises UserError where torch-fidelity is not installed."""
    try:
        import torch_fidelity  # noqa: F401
    except ImportError:
        raise UserError(
            "Inception and CLIP are torch-fidelity's networks: pip install 'i2i-toolkit[metrics]'"
        ) from None
