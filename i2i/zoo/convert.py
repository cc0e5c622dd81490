"""From a checkpoint of another program to a network of ours: read it safely, recognise it, load it strictly."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from torch import nn

from i2i.checkpoint import digest
from i2i.errors import UserError
from i2i.game import Card, Origin
from i2i.marked import near
from i2i.spec import Spec
from i2i.zoo.layouts import load, recognise
from i2i.zoo.pickled import read_checkpoint

__all__ = ["LAYOUTS", "Converted", "convert"]

LAYOUTS = (
    "resnet_9blocks",
    "resnet_6blocks",
    "unet_256",
    "unet_128",
    "cut_resnet_9blocks",
    "cut_resnet_6blocks",
    "rrdb_23blocks_x4",
    "rrdb_23blocks_x2",
    "rrdb_23blocks_x1",
    "rrdb_6blocks_x4",
    "srresnet_16blocks_x4",
    "srresnet_5blocks_x4",
    "msrresnet_16blocks_x4",
)
"""The layouts people have, as the programs that write them call them; other depths and scales are taken as well."""

LAYOUT = re.compile(r"(cut_)?resnet_\d+blocks|unet_\d+|(rrdb|m?srresnet)_\d+blocks_x\d+")


class Converted(NamedTuple):
    """network: in float32 and evaluation mode. said: what was recognised, guessed and left out, in sentences."""

    network: nn.Module
    spec: Spec
    card: Card
    said: tuple[str, ...]


def convert(path: Path, *, layout: str | None = None, via: str | None = None) -> Converted:
    """The generator in a checkpoint of the original CycleGAN, pix2pix or CUT, of ESRGAN and its kin, or of an SRResNet.

    Its card has no words for the direction: "A" to "B".

    Args:
        path: what `torch.save` wrote, of either format.
        layout: what it must be, such as "resnet_9blocks"; None takes what it is.
        via: "spandrel" lets that library recognise and build it; None keeps to the layouts known here.

    Raises:
        UserError: it cannot be read safely, is no generator known here, or is another one than `layout`.
    """
    if layout is not None and via is not None:
        raise UserError(f"'{layout}' is a layout of i2i's own: leave out --as where --via {via} recognises the network")
    if layout is not None and not LAYOUT.fullmatch(layout):
        raise UserError(f"no layout is called '{layout}'{near(layout, LAYOUTS)}; without --as it is recognised")
    checkpoint = read_checkpoint(path)
    if via is not None:
        from i2i.zoo.foreign import adopt

        network, spec, words = adopt(checkpoint.tensors, path)
        return Converted(network, spec, originated(network, path, words[0]), (*checkpoint.said, *words))
    found, tensors = recognise(checkpoint.tensors, path)
    if layout not in (None, found.name):
        raise UserError(f"{path} is no {layout}: it is {found.words} ({found.name}); name that layout or another file")
    network, dropped = load(found, tensors, path)
    card = originated(network, path, found.words)
    said = [*checkpoint.said, f"recognised {found.words} ({found.name})", *found.said, *dropped]
    if "stored" in card.modes and card.scale == 1:
        said.append(
            "its norms run by the statistics stored in training, as the original does with --eval"
            + ("; without, the original's test script does what --mode paper does" if "paper" in card.modes else "")
        )
    return Converted(network, found.spec, card, tuple(said))


def originated(network: nn.Module, path: Path, words: str) -> Card:
    """The network's card with what is known of its origin."""
    notes = f"converted from {path.name}, sha256 {digest(path)}, {words}"
    unknown = "unknown; ask whoever made the checkpoint"
    return replace(network.card(), origin=Origin(data="unknown", terms=unknown, notes=notes))  # type: ignore[operator]
