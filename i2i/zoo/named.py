"""The words in which layouts are described: what was recognised, and how tensors are called in the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from i2i.spec import Spec
from i2i.zoo import LARGEST

__all__ = ["Layout", "Names", "Tensors", "plausible", "renamed", "shape_of"]

Tensors = Mapping[str, Tensor]


class Names(NamedTuple):
    """How the tensors of a network are called in the file.

    Attributes:
        tensors: our name -> theirs.
        filters: their name -> what this fixed filter must be.
    """

    tensors: dict[str, str]
    filters: dict[str, Tensor]


class Layout(NamedTuple):
    """What was recognised.

    Attributes:
        name: as the programs' options call it, such as "resnet_9blocks".
        words: the same for people, with width, channels and norm.
        spec: of our network.
        names: (our network) -> how its tensors are called in the file.
        said: what had to be guessed or left out.
    """

    name: str
    words: str
    spec: Spec
    names: Callable[[Any], Names]
    said: tuple[str, ...] = ()


def renamed(network: nn.Module, layers: Mapping[str, str]) -> Names:
    """The names of a network whose layers, by our names, are called otherwise in the file."""
    ours = [name.rpartition(".") for name in network.state_dict()]
    return Names({f"{layer}.{what}": f"{layers[layer]}.{what}" for layer, _, what in ours}, {})


def shape_of(tensors: Tensors, key: str, axis: int, *, but: int = 3) -> int:
    """The size of a tensor along an axis; `but` where it is missing or not of a convolution."""
    return tensors[key].shape[axis] if key in tensors and tensors[key].ndim == 4 else but


def plausible(*sizes: int) -> bool:
    """Whether a network can have these numbers of channels, filters and layers."""
    return all(1 <= size <= LARGEST for size in sizes)
