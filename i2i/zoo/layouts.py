"""Which network a set of named tensors is: its layout in the program that saved it, recognised by names and shapes.

The ResNets and U-Nets of pytorch-CycleGAN-and-pix2pix (Zhu et al. 2017, Isola et al. 2017), of any width, depth and
number of channels, with instance or batch norm; and CUT's ResNet (Park et al. 2020), antialiased both ways or one way.
For super-resolution the RRDBNet of ESRGAN, Real-ESRGAN and BSRGAN under its old and new names, BasicSR's MSRResNet, and
the SRResNet of the PyTorch repositories that are well known for it (`i2i.zoo.enlargers`).

What leaves no trace is taken as those programs' options have it: blocks padded by reflection (replication would look
the same, but no option asks for it), dropout in a U-Net (it would look the same without, and matters in the mode
"paper" alone), and no norm at all where convolutions have no bias and norms no weight.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from i2i.errors import UserError
from i2i.layers import BlurDown, BlurUp
from i2i.spec import Spec
from i2i.translation.cut import AntialiasedResnet
from i2i.translation.cyclegan import ResnetGenerator
from i2i.translation.pix2pix import UnetGenerator
from i2i.zoo.enlargers import msrresnet, rrdb, srresnet
from i2i.zoo.named import Layout, Names, Tensors, plausible, shape_of

__all__ = ["Layout", "load", "recognise"]


def recognise(tensors: Tensors, path: Path) -> tuple[Layout, Tensors]:
    """The layout of a generator's tensors, and the tensors without a prefix that all their names share.

    Raises UserError where they are no generator known here, saying what they are instead if that is known.
    """
    given = tensors
    while True:
        for known in (resnet, unet, rrdb, msrresnet, srresnet):
            if (found := known(tensors)) is not None:
                return found, tensors
        firsts = {key.partition(".")[0] for key in tensors}
        if (words := other(tensors)) or len(firsts) != 1 or not all("." in key for key in tensors):
            break
        tensors = {key.partition(".")[2]: value for key, value in tensors.items()}
    if words:
        raise UserError(f"{path} {words}")
    some = ", ".join(f"'{key}' {list(value.shape)}" for key, value in list(given.items())[:3])
    raise UserError(
        f"{path} is no generator known here: its {len(tensors)} tensors begin with {some}; known are the ResNets and "
        "U-Nets of CycleGAN and pix2pix, CUT's ResNet, ESRGAN's RRDBNet, SRResNet and MSRResNet; --via spandrel knows "
        "others"
    )


def load(layout: Layout, tensors: Tensors, path: Path) -> tuple[nn.Module, tuple[str, ...]]:
    """Our network with these tensors, in float32 and evaluation mode, and what was left out on the way.

    Every tensor is used, or is known to be of no use. Raises UserError where one is missing, too many or misshapen.
    """
    with torch.device("meta"):
        network: nn.Module = layout.spec.build()
    names, ours = layout.names(network), network.state_dict()
    expected = {theirs: ours[name].shape for name, theirs in names.tensors.items()}
    expected |= {theirs: value.shape for theirs, value in names.filters.items()}
    idle = {key for key in tensors if key not in expected and useless(key, tensors)}
    missing = [key for key in expected if key not in tensors]
    strange = [key for key in tensors if key not in expected and key not in idle]
    if missing and not strange:
        raise UserError(
            f"{path} is half a checkpoint: {len(missing)} of the {len(expected)} tensors of {layout.words} are "
            f"missing, the first is '{missing[0]}'; fetch or save it again"
        )
    if strange:
        lacks = f"lacks {len(missing)} of its tensors, such as '{missing[0]}', and " if missing else ""
        raise UserError(
            f"{path} looks like {layout.words}, but {lacks}holds {len(strange)} that it does not have, such as "
            f"'{strange[0]}' {list(tensors[strange[0]].shape)}: it comes from a program unknown here"
        )
    for key, shape in expected.items():
        if tensors[key].shape != shape:
            raise UserError(
                f"{path} looks like {layout.words}, but its tensor '{key}' is {list(tensors[key].shape)} and not "
                f"{list(shape)}: it comes from a program unknown here"
            )
        if not tensors[key].is_floating_point() or not torch.isfinite(tensors[key]).all():
            raise UserError(f"{path}: the tensor '{key}' holds what is no finite number; take an earlier checkpoint")
    for key, value in names.filters.items():
        if not torch.allclose(tensors[key].float(), value, rtol=0, atol=1e-3):
            raise UserError(f"{path}: '{key}' is not the filter that CUT blurs by; it comes from another program")
    weights = {name: tensors[theirs].to(torch.float32, copy=True) for name, theirs in names.tensors.items()}
    network.load_state_dict({name: value.contiguous() for name, value in weights.items()}, assign=True)
    dropped = [key for key in idle if not key.endswith("num_batches_tracked")]
    said = ("the running statistics of its instance norm were left out, as the original's own loader does",)
    return network.eval().requires_grad_(False), said if dropped else ()


def useless(key: str, tensors: Tensors) -> bool:
    """Whether a tensor only counts batches, or is a running statistic of an instance norm, which has no weight."""
    norm, _, what = key.rpartition(".")
    if what in ("running_mean", "running_var"):
        return f"{norm}.weight" not in tensors
    return what == "num_batches_tracked"


# --- the generators


class Norms(NamedTuple):
    """What norm a network has, and whether its convolutions have a bias before it."""

    address: str
    words: str
    bias: bool
    said: tuple[str, ...] = ()


def norms(tensors: Tensors, last: str) -> Norms:
    """The norm of a network whose last convolution, which always has a bias, is called `last`."""
    bias = any(
        value.ndim == 4 and key != f"{last}.weight" and f"{key.removesuffix('weight')}bias" in tensors
        for key, value in tensors.items()
        if key.endswith(".weight")
    )
    scaled = any(key.endswith(".weight") and value.ndim == 1 for key, value in tensors.items())
    running = any(key.endswith(".running_mean") for key in tensors)
    if scaled and running:
        return Norms("i2i.layers:StoredBatchNorm", "batch norm", bias)
    if scaled:
        return Norms("i2i.layers:BatchNorm", "a norm with weights but no stored statistics", bias)
    if bias or running:
        return Norms("i2i.layers:InstanceNorm", "instance norm", bias)
    said = "no bias and no norm is in it: taken as --norm none there, as its instance norm has biases beside it"
    return Norms("torch.nn:Identity", "no norm", bias, (said,))


BLOCKS: dict[tuple[int, ...], dict[str, Any]] = {
    (1, 5): {},
    (1, 6): {"dropout": 0.5},
    (0, 3): {"padding": "zeros"},
    (0, 4): {"padding": "zeros", "dropout": 0.5},
}
"""Where the convolutions of a block stand -> what stands between them."""


def resnet(tensors: Tensors) -> Layout | None:
    """The ResNet of CycleGAN or CUT; None where it is none."""
    inside = [re.match(r"model\.(\d+)\.conv_block\.(\d+)\.weight", key) for key in tensors]
    wide = [found for found in inside if found and tensors[found.string].ndim == 4]
    blocks = {int(found[1]) for found in wide}
    kind = BLOCKS.get(tuple(sorted({int(found[2]) for found in wide})))
    if not blocks or kind is None:
        return None
    filters = [int(found[1]) for key in tensors if (found := re.fullmatch(r"model\.(\d+)\.filt", key))]
    down = min(blocks) == 12 or any(place < min(blocks) for place in filters)
    up = any(place > max(blocks) for place in filters)
    count = max(blocks) + 1 - (12 if down else 10)
    if not any(int(key.split(".")[1]) > max(blocks) for key in tensors if re.match(r"model\.\d+\.", key)):
        up, count = down, next((most for most in (6, 9) if count <= most), count)  # its end is missing
    last = f"model.{count + (12 if down else 10) + (9 if up else 7)}"
    width = tensors[wide[0].string].shape[0] // 4
    inputs, outputs = shape_of(tensors, "model.1.weight", 1), shape_of(tensors, f"{last}.weight", 0)
    norm = norms(tensors, last)
    shape: dict[str, Any] = {"inputs": inputs, "outputs": outputs, "width": width, "blocks": count}
    if not plausible(*shape.values()):
        return None
    shape |= {"norm": norm.address, "bias": norm.bias, **kind}
    name, of = f"resnet_{count}blocks", "i2i.translation.cyclegan:ResnetGenerator"
    words = f"a ResNet of {count} block{'s' * (count > 1)}"
    if down or up:
        name, of = f"cut_{name}", "i2i.translation.cut:AntialiasedResnet"
        shape |= {"blur_down": down, "blur_up": up}
        ways = "" if down and up else " on the way down" if down else " on the way up"
        words = f"CUT's{words.removeprefix('a')}, antialiased{ways}"
    extras = [f"{norm.words}", *(f"{key} {value}" for key, value in kind.items())]
    words = f"{words}, width {width}, {inputs} -> {outputs} channels, {', '.join(extras)}"
    return Layout(name, words, Spec(of, shape), resnet_names, norm.said)


def resnet_names(network: ResnetGenerator | AntialiasedResnet) -> Names:
    """There a padding and the blur after it are one layer; here they are two."""
    layers = list(network.layers)
    places, place, filters = [], 0, {}
    for layer, after in zip(layers, [*layers[1:], None], strict=True):
        places.append(place)
        if isinstance(layer, BlurDown | BlurUp):
            filters[f"model.{place}.filt"] = layer.weight
        place += not isinstance(after, BlurDown | BlurUp)
    found = {}
    for ours in network.state_dict():
        _, index, *rest = ours.split(".")
        if rest[0] == "layers":
            rest[0] = "conv_block"
        found[ours] = ".".join(["model", str(places[int(index)]), *rest])
    return Names(found, filters)


def unet(tensors: Tensors) -> Layout | None:
    """The U-Net of pix2pix; None where it is none."""
    nested = [re.match(r"model\.model\.(?:1\.model\.(?:3\.model\.)*)?", key) for key in tensors]
    depth = max((found[0].count("model.") - 1 for found in nested if found), default=0)
    if depth < 2:
        return None
    first, last = "model.model.0.weight", "model.model.3.weight"
    inputs, outputs = shape_of(tensors, first, 1), shape_of(tensors, last, 1)
    width = shape_of(tensors, first, 0, but=shape_of(tensors, "model.model.1.model.1.weight", 1, but=64))
    if not plausible(inputs, outputs, width, depth):
        return None
    norm = norms(tensors, "model.model.3")
    dropped = list(range(1, depth - 4))  # between the innermost block and those that narrow
    shape = {"inputs": inputs, "outputs": outputs, "width": width, "depth": depth, "norm": norm.address}
    shape |= {"bias": norm.bias, "dropout": 0.5 if dropped else 0.0, "dropped": dropped, "skip_first": True}
    words = f"a U-Net of depth {depth}, width {width}, {inputs} -> {outputs} channels, {norm.words}"
    said = list(norm.said)
    if dropped:
        said += ["dropout leaves no trace in a checkpoint: --mode paper has it where pix2pix has it"]
    spec = Spec("i2i.translation.pix2pix:UnetGenerator", shape)
    return Layout(f"unet_{2**depth}", words, spec, unet_names, tuple(said))


def unet_names(network: UnetGenerator) -> Names:
    """There each level holds the next."""
    found, depth = {}, network.depth
    for ours in network.state_dict():
        side, *rest, what = ours.split(".")
        if side == "last":
            found[ours] = f"model.model.3.{what}"
            continue
        number, layer = map(int, rest)
        level = number if side == "down" else depth - 1 - number
        within = "model.model." + ("1.model." if level else "") + "3.model." * (level - 1)
        before = 0 if side == "down" else 2 if level == depth - 1 else 4  # the way down, and the next level
        found[ours] = f"{within}{layer + before}.{what}"
    return Names(found, {})


# --- what is no generator, or none that is known


def other(tensors: Tensors) -> str:
    """What tensors are that are given for a generator's by mistake; "" where that is not known."""
    keys = list(tensors)
    kernels = [value.shape for key, value in tensors.items() if "weight" in key and value.ndim == 4]
    scores = sum(shape[0] == 1 for shape in kernels)
    if any(re.match(r"mlp_\d+\.", key) for key in keys):
        return ("holds the layers (netF) that CUT's loss compares features by; the generator is beside it, in a file "
                "called *_net_G.pth")  # fmt: skip
    if any(key.startswith("final_linear.") for key in keys) or any(".final_linear." in key for key in keys):
        return f"is a StyleGAN2 discriminator: {JUDGES}"
    if any(key.startswith("encoder.convs.") for key in keys) and any(key.startswith("decoder.convs.") for key in keys):
        return "is CUT's generator of StyleGAN2's type (--netG stylegan2), which is not converted"
    if kernels and scores and all(shape[2:] in ((4, 4), (1, 1)) for shape in kernels):
        kind = "a pixel discriminator" if kernels[0][2] == 1 else "a patch discriminator"
        return f"is {kind}{f' of {scores} scales' if scores > 1 else ''}: {JUDGES}"
    return ""


JUDGES = "it judges pictures and makes none; name the generator beside it, in a file such as *_net_G.pth"
