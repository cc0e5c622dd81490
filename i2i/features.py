"""Pretrained feature networks: VGG16 and VGG19 (Simonyan and Zisserman 2015) with torchvision's weights.

The weights are a file of torchvision's, called by the beginning of its own sha256. It is taken from where the user
says, from torch's cache ($TORCH_HOME/hub/checkpoints), or fetched into it.
"""

from __future__ import annotations

import pickle
from collections.abc import Collection
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from i2i.errors import UserError
from i2i.weights import torch_cache, verified

__all__ = ["Vgg", "VggName", "weights_file"]

VggName = Literal["vgg16", "vgg19"]
CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}  # in each of the five blocks
WIDTHS = (64, 128, 256, 512, 512)
FILES = {"vgg16": "vgg16-397923af.pth", "vgg19": "vgg19-dcbb9e9d.pth"}
SOURCE = "https://download.pytorch.org/models/"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for pictures in [0,1]


class Vgg(nn.Module):
    """The convolutions of a VGG up to the deepest layer asked for.

    Args:
        name: which one.
        layers: "conv5_4" is the fourth convolution of the fifth block before its activation, "relu5_4" after it, and
            "pool5" what comes out of the block.
        weights: file in torchvision's layout; see `weights_file`.

    Raises ValueError for a layer this network has not, UserError where the weights cannot be had.
    """

    def __init__(self, name: VggName, layers: Collection[str], *, weights: str | None = None) -> None:
        super().__init__()
        modules, names = trunk(name)
        unknown = sorted(set(layers) - set(names))
        if unknown or not layers:
            what = f"no layer '{unknown[0]}'" if unknown else "nothing to look at without layers"
            raise ValueError(f"{name} has {what}; its layers are {names[0]}, {names[1]} ... {names[-1]}")
        self.names = names[: 1 + max(map(names.index, layers))]
        self.wanted = frozenset(layers)
        self.features = nn.Sequential(*modules[: len(self.names)])
        self.load(name, weights_file(name, weights))
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).reshape(1, 3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    mean: Tensor
    std: Tensor

    def load(self, name: str, path: Path) -> None:
        """Take the convolutions' weights from `path`."""
        try:
            given = torch.load(path, map_location="cpu", weights_only=True)
            wanted = {key: given[f"features.{key}"] for key in self.features.state_dict()}
            self.features.load_state_dict(wanted)
        except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise UserError(f"{path} holds no weights of torchvision's {name}; name another file", code=1) from error

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """x: [N,3,H,W] in [-1,1] => the layers asked for, by name."""
        x = ((x + 1) / 2 - self.mean) / self.std
        found = {}
        for name, module in zip(self.names, self.features, strict=True):
            x = module(x)
            if name in self.wanted:
                found[name] = x
        return found


def trunk(name: VggName) -> tuple[list[nn.Module], list[str]]:
    """The layers in torchvision's order, and their names."""
    modules: list[nn.Module] = []
    names: list[str] = []
    given = 3
    for block, (count, width) in enumerate(zip(CONVOLUTIONS[name], WIDTHS, strict=True), start=1):
        for place in range(1, count + 1):
            modules += [nn.Conv2d(given, width, 3, 1, 1), nn.ReLU()]  # not in place: the layer before may be wanted
            names += [f"conv{block}_{place}", f"relu{block}_{place}"]
            given = width
        modules.append(nn.MaxPool2d(2))
        names.append(f"pool{block}")
    return modules, names


def weights_file(name: VggName, given: str | None = None) -> Path:
    """The file with torchvision's weights of `name`: `given`, or in torch's cache, or fetched into that.

    A file whose name ends in eight digits of a sha256, as torchvision's do, must have that sha256.

    Raises UserError where it is none of these.
    """
    from i2i.data.folders import find
    from i2i.download import DownloadError, download

    path = find(given) if given is not None else torch_cache() / FILES[name]
    if not path.is_file():
        try:
            download(SOURCE + FILES[name], path)
        except DownloadError as error:
            raise UserError(
                f"the content loss needs the weights of {name}, and they cannot be fetched ({error}); put them at "
                f"{path}, or train without them as the recipe srgan-x4-local does",
                code=1,
            ) from error
    return verified(path)
