"""The layouts of super-resolution networks: RRDBNet, MSRResNet and SRResNet, by names and shapes.

Nothing in a checkpoint says what its values mean. Those of RRDBNet and MSRResNet are in [0,1], as all programs that
write them have it; SRResNet's are what the program of that layout trains towards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from math import isqrt
from typing import Any, NamedTuple

from i2i.spec import Spec
from i2i.zoo.named import Layout, Tensors, plausible, renamed, shape_of

__all__ = ["msrresnet", "rrdb", "srresnet"]


def counted(tensors: Tensors, pattern: str, *, first: int = 0) -> int:
    """How many layers there are whose names match, by the largest number in its group; 0 where there are none.

    A hole is a layer that is missing. Numbers that no network has are ignored.
    """
    found = [int(match[1]) for key in tensors if (match := re.fullmatch(pattern, key)) and len(match[1]) < 5]
    return max(found, default=first - 1) + 1 - first


# --- ESRGAN, Real-ESRGAN, BSRGAN


class Trunk(NamedTuple):
    """How an RRDBNet's layers are called, {} in `dense` standing for the number of the RRDB, then of the dense block,
    then of the convolution in it."""

    blocks: int
    first: str
    dense: str
    body: str
    ups: Sequence[str]
    larger: str
    last: str


def trunk(tensors: Tensors) -> Trunk | None:
    """The layers of an RRDBNet, under ESRGAN's old names, Real-ESRGAN's or BSRGAN's."""

    def blocks(dense: str) -> int:
        return counted(tensors, dense.format(r"(\d+)", r"\d", r"\d") + r"\.weight")

    if count := blocks(dense := "model.1.sub.{}.RDB{}.conv{}.0"):
        last = counted(tensors, r"model\.(\d+)\.weight") - 1
        doublings = (last - 4) // 3 if last % 3 == 1 else 2  # else its end is missing
        ups = [f"model.{3 * (i + 1)}" for i in range(doublings)]
        ends = f"model.{3 * doublings + 2}", f"model.{3 * doublings + 4}"
        return Trunk(count, "model.0", dense, f"model.1.sub.{count}", ups, *ends)
    for dense, body, up, larger in (
        ("body.{}.rdb{}.conv{}", "conv_body", "conv_up", "conv_hr"),
        ("RRDB_trunk.{}.RDB{}.conv{}", "trunk_conv", "upconv", "HRconv"),
    ):
        if count := blocks(dense):
            doublings = max(2, counted(tensors, rf"{up}(\d+)\.weight", first=1))
            ups = [f"{up}{i + 1}" for i in range(doublings)]
            return Trunk(count, "conv_first", dense, body, ups, larger, "conv_last")
    return None


def rrdb(tensors: Tensors) -> Layout | None:
    """The RRDBNet of ESRGAN; None where it is none."""
    names = trunk(tensors)
    if names is None:
        return None
    one, blocks, doublings = f"{names.dense.format(0, 1, 1)}.weight", names.blocks, len(names.ups)
    growth, width = shape_of(tensors, one, 0, but=32), shape_of(tensors, one, 1, but=64)
    inputs, outputs = shape_of(tensors, f"{names.first}.weight", 1), shape_of(tensors, f"{names.last}.weight", 0)
    if not plausible(inputs, outputs, width, growth, blocks) or doublings > 4:
        return None
    unshuffle = isqrt(inputs // outputs) if inputs in (4 * outputs, 16 * outputs) else 1
    if unshuffle > 2**doublings:
        return None
    inputs, scale = inputs // unshuffle**2, 2**doublings // unshuffle
    layers = {f"first.{int(unshuffle > 1)}": names.first, f"trunk.layers.{blocks}": names.body}
    for number, block, layer in product(range(blocks), range(3), range(5)):
        ours = f"trunk.layers.{number}.layers.{block}.layers.{layer}"
        layers[ours] = names.dense.format(number, block + 1, layer + 1)
    layers |= {f"enlarge.{3 * number + 1}": up for number, up in enumerate(names.ups)}
    layers |= {"last.0": names.larger, "last.2": names.last}
    shape = {"scale": scale, "inputs": inputs, "outputs": outputs, "width": width, "growth": growth, "blocks": blocks}
    spec = Spec("i2i.translation.esrgan:RRDBNet", shape | {"unshuffle": unshuffle})
    words = f"an RRDBNet of {of_size(shape)}, growth {growth}"
    words += f", behind a pixel unshuffle of {unshuffle}" if unshuffle > 1 else ""
    said = ("it enlarges once: taken as twice, for three times would look the same",) if doublings == 1 else ()
    return Layout(f"rrdb_{blocks}blocks_x{scale}", words, spec, partial(renamed, layers=layers), said)


def of_size(shape: Mapping[str, Any]) -> str:
    """The size of a network in words."""
    blocks, width, inputs, outputs, scale = (shape[key] for key in ("blocks", "width", "inputs", "outputs", "scale"))
    return f"{blocks} block{'s' * (blocks > 1)}, width {width}, {inputs} -> {outputs} channels, x{scale}"


# --- BasicSR


def msrresnet(tensors: Tensors) -> Layout | None:
    """The MSRResNet of BasicSR, or under the names of its ancestor mmsr; None where it is none."""
    body, larger = ("body", "conv_hr") if "body.0.conv1.weight" in tensors else ("recon_trunk", "HRconv")
    blocks = counted(tensors, rf"{body}\.(\d+)\.conv1\.weight")
    width, inputs = (shape_of(tensors, "conv_first.weight", axis, but=0) for axis in (0, 1))
    outputs = shape_of(tensors, "conv_last.weight", 0, but=inputs)
    if not plausible(inputs, outputs, width, blocks) or inputs not in (1, outputs):
        return None
    step = isqrt(shape_of(tensors, "upconv1.weight", 0, but=4 * width) // width)
    scale = 4 if step == 2 and ("upconv2.weight" in tensors or "upconv1.weight" not in tensors) else step
    if scale not in (2, 3, 4):
        return None
    layers = {"first.0": "conv_first", "last.0": larger, "last.2": "conv_last"}
    for number, layer in product(range(blocks), range(2)):
        layers[f"trunk.{number}.layers.{2 * layer}"] = f"{body}.{number}.conv{layer + 1}"
    layers |= {f"enlarge.{3 * number}": f"upconv{number + 1}" for number in range(2 if scale == 4 else 1)}
    shape = {"scale": scale, "inputs": inputs, "outputs": outputs, "width": width, "blocks": blocks}
    spec, words = Spec("i2i.translation.srgan:MSRResNet", shape), f"BasicSR's MSRResNet of {of_size(shape)}"
    return Layout(f"msrresnet_{blocks}blocks_x{scale}", words, spec, partial(renamed, layers=layers))


# --- the SRResNets


class Parts(NamedTuple):
    """How a program calls its SRResNet's layers.

    Attributes:
        program: that writes such checkpoints.
        first: the convolution and its activation.
        blocks: the residual blocks.
        within: of the layers of a block: convolution, norm, activation, convolution, norm.
        middle: the convolution and norm after the blocks.
        ups: (convolution, activation) of each enlargement.
        last: the last convolution.
        more: what the network is besides its shape.
    """

    program: str
    first: tuple[str, str]
    blocks: Sequence[str]
    within: Sequence[str]
    middle: tuple[str, str]
    ups: Sequence[tuple[str, str]]
    last: str
    more: dict[str, Any]


DOUBLINGS = 2  # of an SRResNet whose end is missing
UNIT = [0.0, 1.0]
WITHIN = ("conv1", "bn1", "prelu", "conv2", "bn2")


def of_lornatang(tensors: Tensors) -> Parts | None:
    """Of 2022 and later, and of 2021, with a tanh at its end."""
    program, ends = "Lornatang/SRGAN-PyTorch", {"first": ("conv1.0", "conv1.1"), "middle": ("conv2.0", "conv2.1")}
    if blocks := counted(tensors, r"trunk\.(\d+)\.rcb\.0\.weight"):
        count = counted(tensors, r"upsampling\.(\d+)\.upsample_block\.0\.weight") or DOUBLINGS
        ups = [(f"upsampling.{i}.upsample_block.0", f"upsampling.{i}.upsample_block.2") for i in range(count)]
        names = [f"trunk.{i}.rcb" for i in range(blocks)]
        return Parts(program, blocks=names, within="01234", ups=ups, last="conv3", more={"span": UNIT}, **ends)
    if blocks := counted(tensors, r"trunk\.(\d+)\.conv1\.weight"):
        count = counted(tensors, r"subpixel_conv\.(\d+)\.conv\.weight") or DOUBLINGS
        ups = [(f"subpixel_conv.{i}.conv", f"subpixel_conv.{i}.prelu") for i in range(count)]
        names = [f"trunk.{i}" for i in range(blocks)]
        return Parts(program, blocks=names, within=WITHIN, ups=ups, last="conv3.0", more={"bounded": True}, **ends)
    return None


def of_leftthomas(tensors: Tensors) -> Parts | None:
    """The first layer, the blocks, the middle and the end are numbered through; a tanh at its end."""
    blocks = counted(tensors, r"block(\d+)\.conv1\.weight", first=2)
    if not blocks or "block1.0.weight" not in tensors:
        return None
    middle, end = f"block{blocks + 2}", f"block{blocks + 3}"
    count = counted(tensors, rf"{end}\.(\d+)\.conv\.weight") or DOUBLINGS
    return Parts(
        "leftthomas/SRGAN",
        first=("block1.0", "block1.1"),
        blocks=[f"block{i + 2}" for i in range(blocks)],
        within=WITHIN,
        middle=(f"{middle}.0", f"{middle}.1"),
        ups=[(f"{end}.{i}.conv", f"{end}.{i}.prelu") for i in range(count)],
        last=f"{end}.{count}",
        more={"bounded": True},
    )


def of_twtygqyy(tensors: Tensors) -> Parts | None:
    """LeakyReLU; instance norm with weights, in its first version batch norm."""
    blocks = counted(tensors, r"residual\.(\d+)\.conv1\.weight")
    if not blocks or "conv_input.weight" not in tensors:
        return None
    norm = "bn" if "residual.0.bn1.weight" in tensors else "in"
    return Parts(
        "twtygqyy/pytorch-SRResNet",
        first=("conv_input", ""),
        blocks=[f"residual.{i}" for i in range(blocks)],
        within=("conv1", f"{norm}1", "", "conv2", f"{norm}2"),
        middle=("conv_mid", "bn_mid"),
        ups=[(f"upscale4x.{3 * i}", "") for i in range(DOUBLINGS)],
        last="conv_output",
        more={"slope": 0.2, "span": UNIT},
    )


def srresnet(tensors: Tensors) -> Layout | None:
    """The SRResNet of one of the repositories above; None where it is none."""
    parts = next((found for of in (of_lornatang, of_leftthomas, of_twtygqyy) if (found := of(tensors))), None)
    if parts is None:
        return None
    blocks, first = len(parts.blocks), f"{parts.first[0]}.weight"
    width, inputs = shape_of(tensors, first, 0, but=64), shape_of(tensors, first, 1)
    outputs = shape_of(tensors, f"{parts.last}.weight", 0)
    if not plausible(inputs, outputs, width, blocks):
        return None
    scale = isqrt(shape_of(tensors, f"{parts.ups[0][0]}.weight", 0, but=4 * width) // width) ** len(parts.ups)
    if scale not in (2, 3, 4, 8):
        return None
    norm = f"{parts.blocks[0]}.{parts.within[1]}"
    stored = f"{norm}.running_mean" in tensors
    shape: dict[str, Any] = {"scale": scale, "inputs": inputs, "outputs": outputs, "width": width, "blocks": blocks}
    shape["norm"] = "i2i.layers:StoredBatchNorm" if stored else "i2i.layers:BatchNorm"
    shape["bias"] = f"{parts.blocks[0]}.{parts.within[0]}.bias" in tensors
    shape["outer_bias"] = f"{parts.first[0]}.bias" in tensors
    layers = dict(zip(("first.0", "first.1"), parts.first, strict=True)) | {"last": parts.last}
    for number, block in enumerate(parts.blocks):
        layers |= {f"trunk.layers.{number}.layers.{i}": f"{block}.{name}" for i, name in enumerate(parts.within)}
    layers |= {f"trunk.layers.{blocks + i}": name for i, name in enumerate(parts.middle)}
    for number, (conv, activation) in enumerate(parts.ups):
        layers |= {f"enlarge.{3 * number}": conv, f"enlarge.{3 * number + 2}": activation}
    ends = ", tanh at its end" if parts.more.get("bounded") else ""
    norm = "batch norm" if stored else "instance norm with weights"
    words = f"the SRResNet of {parts.program}, {of_size(shape)}, {norm}{ends}"
    spec = Spec("i2i.translation.srgan:SRResNet", shape | parts.more)
    return Layout(f"srresnet_{blocks}blocks_x{scale}", words, spec, partial(renamed, layers=layers))
