"""The generators of CycleGAN, pix2pix and CUT, of ESRGAN and its kin, and of the known SRResNets as their programs name
and run them, described once more from what is known of them: a function of a dictionary of tensors. What is not in it
yet is drawn, so that a first run makes one."""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


class Original:
    """The tensors of one network.

    Args:
        norm: "instance"; "tracked", which also has the running statistics of PyTorch 0.3 and does not use them;
            "batch", run as by `.eval()`; "own", the same tensors run by the statistics of each image; "none".
        bias: of the convolutions before a norm; None takes what the programs do: with instance norm alone.
    """

    def __init__(self, norm: str = "instance", *, bias: bool | None = None, seed: int = 0) -> None:
        self.kind = norm
        self.tensors: OrderedDict[str, Tensor] = OrderedDict()
        self.bias = norm in ("instance", "tracked") if bias is None else bias
        self.random = torch.Generator().manual_seed(seed)

    def drawn(self, name: str, *shape: int, scale: float, mean: float = 0.0) -> Tensor:
        if name not in self.tensors:
            self.tensors[name] = mean + scale * torch.randn(*shape, generator=self.random)
        return self.tensors[name]

    def conv(
        self, at: str, x: Tensor, made: int, size: int, stride: int = 1, padding: int = 0, bias: Any = None
    ) -> Tensor:
        given = x.shape[1]
        weight = self.drawn(f"{at}.weight", made, given, size, size, scale=(given * size**2) ** -0.5)
        add = self.drawn(f"{at}.bias", made, scale=0.2) if (self.bias if bias is None else bias) else None
        return F.conv2d(x, weight, add, stride, padding)

    def up(self, at: str, x: Tensor, made: int, size: int, extra: int, bias: Any = None) -> Tensor:
        given = x.shape[1]
        weight = self.drawn(f"{at}.weight", given, made, size, size, scale=2 * (given * size**2) ** -0.5)
        add = self.drawn(f"{at}.bias", made, scale=0.2) if (self.bias if bias is None else bias) else None
        return F.conv_transpose2d(x, weight, add, 2, 1, extra)

    def norm(self, at: str, x: Tensor) -> Tensor:
        if self.kind == "none":
            return x
        channels = x.shape[1]
        if self.kind != "instance":
            mean = self.drawn(f"{at}.running_mean", channels, scale=0.3)
            spread = self.drawn(f"{at}.running_var", channels, scale=0.1, mean=0.7).abs_()
            self.tensors.setdefault(f"{at}.num_batches_tracked", torch.tensor(7))
        if self.kind in ("instance", "tracked"):
            return F.instance_norm(x)
        weight = self.drawn(f"{at}.weight", channels, scale=0.3, mean=1)
        bias = self.drawn(f"{at}.bias", channels, scale=0.3)
        if self.kind == "own":
            return F.instance_norm(x, weight=weight, bias=bias)
        return F.batch_norm(x, mean, spread, weight, bias)

    def blurred(self, at: str, x: Tensor, up: bool) -> Tensor:
        taps = torch.tensor([1.0, 3, 3, 1] if up else [1.0, 2, 1])
        filters = (taps[:, None] * taps / taps.sum() ** 2 * (4 if up else 1)).repeat(x.shape[1], 1, 1, 1)
        self.tensors.setdefault(f"{at}.filt", filters)
        if not up:
            return F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), filters, stride=2, groups=len(filters))
        x = F.conv_transpose2d(F.pad(x, (1, 1, 1, 1), "replicate"), filters, stride=2, padding=2, groups=len(filters))
        return x[:, :, 1:-1, 1:-1]


def resnet(
    net: Original,
    x: Tensor,
    *,
    width: int = 4,
    blocks: int = 9,
    outputs: int = 3,
    down: bool = False,
    up: bool = False,
    dropout: bool = False,
    zeros: bool = False,
) -> Tensor:
    """The ResNet, which `down` and `up` antialias as CUT's; dropout is off, but shifts the numbers of what follows."""
    x = net.conv("model.1", F.pad(x, (3, 3, 3, 3), "reflect"), width, 7)
    x, place = net.norm("model.2", x).relu(), 4
    for made in (2 * width, 4 * width):
        x = net.conv(f"model.{place}", x, made, 3, stride=1 if down else 2, padding=1)
        x = net.norm(f"model.{place + 1}", x).relu()
        if down:
            x = net.blurred(f"model.{place + 3}", x, up=False)
        place += 4 if down else 3
    for _ in range(blocks):
        y, inner = x, 0
        for last in (False, True):
            y = F.pad(y, (1, 1, 1, 1), "constant" if zeros else "reflect")
            inner += not zeros
            at = f"model.{place}.conv_block"
            y = net.norm(f"{at}.{inner + 1}", net.conv(f"{at}.{inner}", y, 4 * width, 3))
            y = y if last else y.relu()
            inner += 3 + dropout
        x, place = x + y, place + 1
    for made in (2 * width, width):
        if up:
            x = net.blurred(f"model.{place}", x, up=True)
            x, place = net.conv(f"model.{place + 1}", x, made, 3, padding=1), place + 1
        else:
            x = net.up(f"model.{place}", x, made, 3, 1)
        x, place = net.norm(f"model.{place + 1}", x).relu(), place + 3
    return net.conv(f"model.{place + 1}", F.pad(x, (3, 3, 3, 3), "reflect"), outputs, 7, bias=True).tanh()


def unet(net: Original, x: Tensor, *, width: int = 4, depth: int = 8, outputs: int = 3) -> Tensor:
    """The U-Net: each level holds the next, and what it returns stands after what it was given."""

    def level(x: Tensor, number: int, within: str) -> Tensor:
        made = width * min(8, 2**number)
        innermost = number == depth - 1
        if number == 0:
            y = net.conv(f"{within}0", x, made, 4, 2, 1)
            y = level(y, 1, f"{within}1.model.").relu()
            return net.up(f"{within}3", y, outputs, 4, 0, bias=True).tanh()
        given = x.shape[1]
        y = net.conv(f"{within}1", F.leaky_relu(x, 0.2), made, 4, 2, 1)
        if innermost:
            y = net.norm(f"{within}4", net.up(f"{within}3", y.relu(), given, 4, 0))
        else:
            y = level(net.norm(f"{within}2", y), number + 1, f"{within}3.model.").relu()
            y = net.norm(f"{within}6", net.up(f"{within}5", y, given, 4, 0))
        return torch.cat([x, y], 1)

    return level(x, 0, "model.model.")


OLD, NEW, BSRGAN = "ESRGAN's old names", "Real-ESRGAN's", "BSRGAN's"


def rrdb(
    net: Original,
    x: Tensor,
    *,
    names: str = NEW,
    width: int = 8,
    growth: int = 4,
    blocks: int = 2,
    ups: int = 2,
    unshuffle: int = 1,
    outputs: int = 3,
) -> Tensor:
    """The RRDBNet: five convolutions, three times over in a block, each seeing all before it."""
    first, dense, body, up, larger, last = {
        OLD: ("model.0", "model.1.sub.{}.RDB{}.conv{}.0", f"model.1.sub.{blocks}", "model.{}",
              f"model.{3 * ups + 2}", f"model.{3 * ups + 4}"),
        NEW: ("conv_first", "body.{}.rdb{}.conv{}", "conv_body", "conv_up{}", "conv_hr", "conv_last"),
        BSRGAN: ("conv_first", "RRDB_trunk.{}.RDB{}.conv{}", "trunk_conv", "upconv{}", "HRconv", "conv_last"),
    }[names]  # fmt: skip
    if unshuffle > 1:
        x = F.pixel_unshuffle(x, unshuffle)
    start = net.conv(first, x, width, 3, padding=1, bias=True)
    x = start
    for block in range(blocks):
        y = x
        for part in (1, 2, 3):
            seen = [y]
            for number in (1, 2, 3, 4):
                at = dense.format(block, part, number)
                seen.append(F.leaky_relu(net.conv(at, torch.cat(seen, 1), growth, 3, padding=1, bias=True), 0.2))
            y = y + 0.2 * net.conv(dense.format(block, part, 5), torch.cat(seen, 1), width, 3, padding=1, bias=True)
        x = x + 0.2 * y
    x = start + net.conv(body, x, width, 3, padding=1, bias=True)
    for number in range(1, ups + 1):
        at = up.format(3 * number if names == OLD else number)
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        x = F.leaky_relu(net.conv(at, x, width, 3, padding=1, bias=True), 0.2)
    x = F.leaky_relu(net.conv(larger, x, width, 3, padding=1, bias=True), 0.2)
    return net.conv(last, x, outputs, 3, padding=1, bias=True)


def msrresnet(
    net: Original, x: Tensor, *, scale: int = 4, width: int = 8, blocks: int = 2, mmsr: bool = False
) -> Tensor:
    """BasicSR's MSRResNet: what it draws is added to the bilinear enlargement."""
    body, larger = ("recon_trunk", "HRconv") if mmsr else ("body", "conv_hr")
    base = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
    y = F.leaky_relu(net.conv("conv_first", x, width, 3, padding=1, bias=True), 0.1)
    for block in range(blocks):
        z = net.conv(f"{body}.{block}.conv1", y, width, 3, padding=1, bias=True).relu()
        y = y + net.conv(f"{body}.{block}.conv2", z, width, 3, padding=1, bias=True)
    for number, step in enumerate([2, 2] if scale == 4 else [scale], start=1):
        y = F.pixel_shuffle(net.conv(f"upconv{number}", y, width * step**2, 3, padding=1, bias=True), step)
        y = F.leaky_relu(y, 0.1)
    y = F.leaky_relu(net.conv(larger, y, width, 3, padding=1, bias=True), 0.1)
    return net.conv("conv_last", y, x.shape[1], 3, padding=1, bias=True) + base


SRRESNETS = {
    "lornatang": ("conv1.0", "conv1.1", "trunk.{}.rcb", "01234", "conv2.0", "conv2.1", "upsampling.{}.upsample_block.0",
                  "upsampling.{}.upsample_block.2", "conv3"),
    "lornatang of 2021": ("conv1.0", "conv1.1", "trunk.{}", ("conv1", "bn1", "prelu", "conv2", "bn2"), "conv2.0",
                          "conv2.1", "subpixel_conv.{}.conv", "subpixel_conv.{}.prelu", "conv3.0"),
    "twtygqyy": ("conv_input", "", "residual.{}", ("conv1", "in1", "", "conv2", "in2"), "conv_mid", "bn_mid",
                 "upscale4x.{}", "", "conv_output"),
    "twtygqyy's first": ("conv_input", "", "residual.{}", ("conv1", "bn1", "", "conv2", "bn2"), "conv_mid", "bn_mid",
                         "upscale4x.{}", "", "conv_output"),
}  # fmt: skip


def srresnet(
    net: Original, x: Tensor, *, program: str, width: int = 8, blocks: int = 2, ups: int = 2, step: int = 2
) -> Tensor:
    """An SRResNet as one of the repositories calls its layers; what it draws is in [0,1]."""
    if program == "leftthomas":
        end = f"block{blocks + 3}"
        found = ("block1.0", "block1.1", "block{}", ("conv1", "bn1", "prelu", "conv2", "bn2"), f"block{blocks + 2}.0",
                 f"block{blocks + 2}.1", end + ".{}.conv", end + ".{}.prelu", f"{end}.{ups}")  # fmt: skip
    else:
        found = SRRESNETS[program]
    first, act, block, within, middle, middle_norm, up, up_act, last = found
    theirs, outer = program == "leftthomas", not program.startswith("twtygqyy")

    def active(at: str, x: Tensor) -> Tensor:
        return F.prelu(x, net.drawn(f"{at}.weight", 1, scale=0.1, mean=0.3)) if outer else F.leaky_relu(x, 0.2)

    def normed(at: str, x: Tensor) -> Tensor:
        if program != "twtygqyy":
            return net.norm(at, x)
        weight, bias = (net.drawn(f"{at}.{what}", x.shape[1], scale=0.3, mean=1) for what in ("weight", "bias"))
        return F.instance_norm(x, weight=weight, bias=bias)

    channels = x.shape[1]
    start = x = active(act, net.conv(first, x, width, 9, padding=4, bias=outer))
    for number in range(blocks):
        at = block.format(number + 2 * theirs)
        y = normed(f"{at}.{within[1]}", net.conv(f"{at}.{within[0]}", x, width, 3, padding=1, bias=theirs))
        y = active(f"{at}.{within[2]}", y)
        x = x + normed(f"{at}.{within[4]}", net.conv(f"{at}.{within[3]}", y, width, 3, padding=1, bias=theirs))
    x = start + normed(middle_norm, net.conv(middle, x, width, 3, padding=1, bias=theirs))
    for number in range(ups):
        at = up.format(number if outer else 3 * number)
        x = F.pixel_shuffle(net.conv(at, x, width * step**2, 3, padding=1, bias=outer), step)
        x = active(up_act.format(number), x)
    x = net.conv(last, x, channels, 9, padding=4, bias=outer)
    if program in ("leftthomas", "lornatang of 2021"):
        return (x.tanh() + 1) / 2
    return x.clamp(0, 1)


class _Storage(torch.nn.Module):
    """Stands for the memory of one tensor while `save_as_in_2017` pickles it."""

    def __init__(self, key: str, tensor: Tensor) -> None:
        super().__init__()
        self.key, self.tensor = key, tensor


class _Pickler2017(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, 2)
        self.storages: dict[str, Tensor] = {}

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return NotImplemented
        key = str(94_000_000 + 64 * len(self.storages))
        self.storages[key] = value
        return torch._utils._rebuild_tensor, (_Storage(key, value), 0, tuple(value.shape), value.stride())

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, _Storage):
            return None
        return "storage", torch.cuda.FloatStorage, value.key, "cuda:0", value.tensor.numel(), None


def save_as_in_2017(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Float tensors as PyTorch 0.3 wrote them on a GPU: no version of the rebuilding, no `_metadata`, cuda:0."""
    body = io.BytesIO()
    pickler = _Pickler2017(body)
    pickler.dump(OrderedDict(tensors))
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, machine)]
    with path.open("wb") as file:
        file.write(b"".join(head) + body.getvalue() + pickle.dumps(list(pickler.storages), 2))
        for tensor in pickler.storages.values():
            file.write(struct.pack("<q", tensor.numel()) + tensor.contiguous().numpy().tobytes())
