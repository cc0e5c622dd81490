"""Weights of networks that judge pictures: where they come from, where they are looked for, and that they are the ones.

None is fetched here, but by whoever wants them: a file is taken from where the user says, from i2i's cache
($I2I_CACHE/weights) or from torch's ($TORCH_HOME/hub/checkpoints). It is used only if its sha256 is right.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from i2i.checkpoint import read_tensors, write_atomically
from i2i.download import cache_folder, digest
from i2i.errors import UserError

__all__ = ["KNOWN", "Known", "add_weights", "find_weights", "read_state", "torch_cache", "verified"]

TORCHVISION = "https://download.pytorch.org/models/"


@dataclass(frozen=True)
class Known:
    """A file of weights that others have published.

    Attributes:
        what: whose they are, in words.
        address: where its authors keep it.
        sha256: of the file, or what of it the file's name states: eight digits.
        also: other names under which programs keep the same file.
    """

    what: str
    address: str
    sha256: str
    also: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """The name of the file at the address."""
        return self.address.rsplit("/", 1)[1]


# Each sha256 is stated by the file's own name or address, and in full where independent projects state it alike.
KNOWN = {
    "inception": Known(
        "the Inception-v3 of FID",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        ("pt_inception-2015-12-05-6726825d.pth",),  # pytorch-fid's copy: the same bytes
    ),
    "clip": Known(
        "CLIP ViT-L/14 at 336 pixels",
        "https://openaipublic.azureedge.net/clip/models/"
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02/ViT-L-14-336px.pt",
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
        ("clip-vit-l-14-336px-3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02.pt",),
    ),
    "dinov2": Known(
        "DINOv2 ViT-L/14",
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
        "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
    ),
    "alexnet": Known("AlexNet (for LPIPS)", TORCHVISION + "alexnet-owt-7be5be79.pth", "7be5be79"),
    "vgg16": Known(
        "VGG16 (for LPIPS)",
        TORCHVISION + "vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    ),
    "squeezenet1_1": Known(
        "SqueezeNet 1.1 (for LPIPS)",
        TORCHVISION + "squeezenet1_1-b8a52dc0.pth",
        "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
    ),
    "googlenet": Known("GoogLeNet (for captions)", TORCHVISION + "googlenet-1378be20.pth", "1378be20"),
    "vgg19": Known("VGG19 (for the content loss)", TORCHVISION + "vgg19-dcbb9e9d.pth", "dcbb9e9d"),
}


def find_weights(which: str, given: Path | None = None) -> Path:
    """The file with the weights `which`, a key of KNOWN: `given`, or from the caches.

    Raises UserError (code 1) where it is not there, or is another file than its name says.
    """
    known = KNOWN[which]
    names = (known.file, *known.also)
    places = [folder / name for folder in (cache_folder() / "weights", torch_cache()) for name in names]
    for path in [given] if given is not None else places:
        if path.is_file():
            return verified(path, known.sha256)
    if given is not None:
        raise UserError(f"there is no file {given}; name the one that holds the weights of {known.what}", code=1)
    checksum = known.sha256 + ("..." if len(known.sha256) < 64 else "")
    raise UserError(
        f"the weights of {known.what} are not here: fetch {known.address} (sha256 {checksum}) and keep it with "
        f"`i2i models add {known.file}`, or put it at {torch_cache() / known.file}",
        code=1,
    )


def add_weights(file: Path) -> Path:
    """Copy a file of known weights, whatever its name, into i2i's cache; returns where it is then.

    Raises UserError where it is missing, none of the known, or there is no room.
    """
    if not file.is_file():
        raise UserError(f"there is no file {file}; name one that holds weights")
    found = digest(file)
    known = next((known for known in KNOWN.values() if found.startswith(known.sha256)), None)
    if known is None:
        raise UserError(
            f"{file} is none of the weights that i2i knows (its sha256 is {found[:16]}...): those are "
            f"{', '.join(known.file for known in KNOWN.values())}; for a published model add --as NAME",
            code=1,
        )
    home = cache_folder() / "weights" / known.file
    if home.is_file() and digest(home) == found:
        return home
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(home, partial(shutil.copyfile, file))
    except OSError as error:
        raise UserError(f"{home} cannot be written: {error.strerror}; set I2I_CACHE to a folder", code=1) from None
    return home


def verified(path: Path, sha256: str | None = None) -> Path:
    """`path`, if its sha256 begins with `sha256`; None takes the digits that end its name, as torchvision's do.

    Raises UserError (code 1) for another file.
    """
    if sha256 is None:
        stem = re.search(r"-([0-9a-f]{8,64})\.[a-z]+$", path.name)
        sha256 = stem[1] if stem else ""
    if not digest(path).startswith(sha256):
        raise UserError(
            f"{path} is damaged, or another file under that name: its sha256 does not begin with {sha256[:16]}; "
            "remove it and fetch it again",
            code=1,
        )
    return path


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or a .pth file, on the CPU; nothing in it is executed.

    Raises UserError (code 1) for a file that holds anything else.
    """
    try:
        if path.suffix == ".safetensors":
            return read_tensors(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values()):
            return state
    except (OSError, RuntimeError, EOFError, LookupError, ValueError, pickle.UnpicklingError, SafetensorError):
        pass  # said below
    raise UserError(f"{path} holds no weights: a .safetensors or .pth file of tensors alone is read", code=1)


def torch_cache() -> Path:
    """Where torch keeps what it has fetched."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    return Path(home).expanduser() / "hub" / "checkpoints"
