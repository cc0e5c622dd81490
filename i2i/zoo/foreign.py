"""Networks of other architectures, by way of the library spandrel, which knows several dozen of them.

Nothing in a checkpoint is run here either: spandrel is handed tensors that were read safely, recognises the
architecture by their names and shapes, and builds the network from its own code. It is an extra: pip install
'i2i-toolkit[spandrel]'. A generator file that is made of such a checkpoint names the architecture and its settings, and
needs spandrel again when it is loaded.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from i2i.errors import UserError
from i2i.game import Card
from i2i.memory import Ledger
from i2i.spec import Spec

if TYPE_CHECKING:
    from spandrel import ModelDescriptor

__all__ = ["Foreign", "adopt"]

HALO = 32  # input pixels around a tile
ROOM = 8 << 30  # bytes that a network may take while it is built: a file from elsewhere says how large it is
EXTRA = "pip install 'i2i-toolkit[spandrel]'"


class Foreign(nn.Module):
    """A network of an architecture that spandrel knows.

    Args:
        architecture: as spandrel calls it, such as "SwinIR".
        network: the class there.
        settings: its keyword arguments.
        scale, inputs, outputs, multiple, minimum: for the card.
        tiled: whether tiles of a picture, overlapping, may be run one by one.

    Raises UserError where spandrel is missing, ValueError where it has no such network.
    """

    def __init__(
        self,
        architecture: str,
        network: str,
        settings: Mapping[str, Any],
        *,
        scale: int,
        inputs: int,
        outputs: int,
        multiple: int = 1,
        minimum: int = 1,
        tiled: bool = False,
    ) -> None:
        super().__init__()
        self.scale, self.channels, self.multiple = scale, (inputs, outputs), multiple
        self.minimum, self.tiled = minimum, tiled
        kind = networks(architecture).get(network)
        if kind is None:
            raise ValueError(f"spandrel has no network {network} of the architecture {architecture}")
        # most cannot be built on the meta device
        with torch.device("cpu"), torch.random.fork_rng(devices=[]), Limited():
            self.network = kind(**settings)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,inputs,H,W] in [0,1] => [N,outputs,scale*H,scale*W], meant to be in [0,1]."""
        return self.network(x)

    def card(self) -> Card:
        """What the engine must know, as far as spandrel says it."""
        return Card(
            scale=self.scale,
            channels=self.channels,
            multiple=self.multiple,
            minimum=self.minimum,
            value_range=((0.0, 1.0), (0.0, 1.0)),
            tiling="overlap" if self.tiled else "never",
            halo=HALO if self.tiled else 0,
        )


class Limited(Ledger):
    """Refuses a network that takes more than `ROOM`. Raises ValueError."""

    def enter(self, storage: torch.UntypedStorage) -> None:
        super().enter(storage)
        if self.alive > ROOM:
            raise ValueError(f"it would take more than {ROOM >> 30} GB")


def networks(architecture: str) -> dict[str, type[nn.Module]]:
    """The classes of networks that spandrel has for an architecture, by name; empty where it has none."""
    try:
        from spandrel import MAIN_REGISTRY
    except ImportError as error:
        raise UserError(f"this needs spandrel, which is not here ({error}): {EXTRA}") from None
    found = MAIN_REGISTRY.get(architecture)
    if found is None:
        return {}
    module = sys.modules[type(found.architecture).__module__]
    kinds = [getattr(module, name) for name in module.__all__]
    return {kind.__name__: kind for kind in kinds if isinstance(kind, type) and issubclass(kind, nn.Module)}


def adopt(tensors: Mapping[str, Tensor], path: Path) -> tuple[nn.Module, Spec, tuple[str, ...]]:
    """The network that spandrel makes of a checkpoint's tensors, in evaluation mode, its Spec, and what is to be said.

    Raises UserError where spandrel is missing or does not know it, and where the network cannot be built again from its
    settings or is no plain one from picture to picture.
    """
    networks("")  # says what is missing
    from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError

    given = {key: value.to(torch.float32, copy=True) if value.is_floating_point() else value.clone()
             for key, value in tensors.items()}  # fmt: skip
    try:
        found = ModelLoader(device="cpu").load_from_state_dict(given)
    except UnsupportedModelError:
        raise UserError(f"{path} is no network that spandrel knows; leave out --via to try i2i's layouts") from None
    except Exception as error:  # it trusts what it has recognised, and anything can be missing then
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"{path} is refused by spandrel ({reason}); fetch or save it again") from None
    name = found.architecture.name
    if not isinstance(found, ImageModelDescriptor):
        raise UserError(f"{path} is a network of the architecture {name}, which needs a mask beside the picture")
    if found.size_requirements.square:
        raise UserError(f"{path} is a network of the architecture {name}, which takes square pictures only")
    spec = Spec.to(
        Foreign,
        architecture=str(found.architecture.id),
        network=type(found.model).__name__,
        settings=plain(getattr(found.model, "hyperparameters", {})),
        scale=found.scale,
        inputs=found.input_channels,
        outputs=found.output_channels,
        multiple=found.size_requirements.multiple_of,
        minimum=max(1, found.size_requirements.minimum),
        tiled=found.tiling.name == "SUPPORTED",
    )
    try:
        network = spec.build()
        network.network.load_state_dict(found.model.state_dict())
        same = alike(network.eval().requires_grad_(False), found)
    except (AttributeError, ArithmeticError, LookupError, TypeError, ValueError, RuntimeError):
        same = False
    if not same:
        raise UserError(
            f"{path} is a network of the architecture {name}, which spandrel runs in a way of its own; i2i has no file "
            "for it"
        )
    channels, tags = f"{found.input_channels} -> {found.output_channels} channels", ", ".join(["", *found.tags])
    said = [
        f"recognised by spandrel as {name}, {channels}, x{found.scale}{tags}",
        "its file needs spandrel when it is run",
    ]
    if not found.supports_bfloat16:
        said.append("it is made for single precision: run it with --precision fp32")
    return network, spec, tuple(said)


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON has them, without those it has no words for, such as the class of a norm: they are defaults."""
    kept = {}
    for key, value in settings.items():
        with contextlib.suppress(TypeError, ValueError):
            kept[key] = json.loads(json.dumps(value, allow_nan=False))
    return kept


@torch.no_grad()
def alike(network: Foreign, found: ModelDescriptor[Any]) -> bool:
    """Whether a network draws what spandrel's does."""
    card = network.card()
    size = -(-max(card.minimum, 32) // card.multiple) * card.multiple
    x = torch.rand(1, card.channels[0], size, size, generator=torch.Generator().manual_seed(0))
    return torch.allclose(network(x).clamp(0, 1), found.eval()(x), rtol=0, atol=1e-5)
