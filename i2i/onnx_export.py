"""Write a generator as one ONNX file that runs without i2i: any number of pictures of any size, padding and cropping
included, its use described in its metadata. A file that does not compute what torch computes is not kept."""

from __future__ import annotations

import copy
import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from i2i import __version__
from i2i.checkpoint import write_atomically
from i2i.engine import DOES, Engine
from i2i.errors import UserError
from i2i.game import Card
from i2i.layers import BatchNorm, InstanceNorm, StoredBatchNorm

__all__ = ["LIMIT", "OPSETS", "Exported", "check_target", "export"]

LIMIT = 1e-4  # largest absolute difference from torch, in the output's range
OPSETS = (18, 25)  # torch's exporter writes 18; onnxscript converts upwards only
LARGEST = 2**31 - 2**24  # bytes of weights: a protobuf, and so an ONNX file without others beside it, ends at 2 GB
CHANNELS = {1: "gray", 2: "gray, alpha", 3: "RGB", 4: "RGBA"}

EXAMPLE = """\
import os
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime 1.29 and later report their use unless told not to
import numpy as np, onnxruntime
from PIL import Image
session = onnxruntime.InferenceSession("{name}", providers=["CPUExecutionProvider"])
pixels = np.atleast_3d(np.asarray(Image.open("in.png").convert("{kind}")))
image = pixels.astype(np.float32).transpose(2, 0, 1)[None] / 255 * {spread:g} {low}
result = session.run(["result"], {{"image": image}})[0]
result = np.clip((result[0].transpose(1, 2, 0) {low_out}) / {spread_out:g}, 0, 1)
Image.fromarray(np.rint(result * 255).astype(np.uint8).squeeze()).save("out.png")
"""


PLAIN = """\
import os
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime 1.29 and later report their use unless told not to
import onnxruntime
session = onnxruntime.InferenceSession("{name}", providers=["CPUExecutionProvider"])
result = session.run(["result"], {{"image": image}})[0]  # image: float32 [N,{channels},H,W], as "preprocessing" says
"""


class Exported(NamedTuple):
    """What was written.

    Attributes:
        path: the file; it needs no other beside it.
        bytes: its size.
        opset: version of ONNX's operators.
        mode: the test-time mode that the graph computes.
        difference: the largest absolute one from torch in float32, in the output's range.
        checked: the input shapes [N,C,H,W] it was measured on.
    """

    path: Path
    bytes: int
    opset: int
    mode: str
    difference: float
    checked: tuple[tuple[int, ...], ...]


class AnySize(nn.Module):
    """A network between the padding and the cropping of `i2i.engine`, from operations that a graph can hold.

    x: [N,C,H,W] with any H, W >= 1 => [N,C,H*scale,W*scale]
    """

    def __init__(self, network: nn.Module, card: Card) -> None:
        super().__init__()
        self.network, self.card = network, card

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        x = image.index_select(2, self.reflected(height)).index_select(3, self.reflected(width))
        return self.network(x)[:, :, : height * self.card.scale, : width * self.card.scale]

    def reflected(self, size: int) -> Tensor:
        """As `engine.reflected`: places 0..size-1, then back and forth without the edges, up to what is wanted."""
        step = self.card.multiple
        steps = torch.sym_max((size + step - 1) // step, -(-self.card.minimum // step))
        # a tensor, as the exporter knows no remainder by a size; of one pixel, itself is the reflection
        period = torch.full((1,), torch.sym_max(2 * (size - 1), 1), dtype=torch.int64)
        places = torch.remainder(torch.arange(steps * step), period)
        return torch.minimum(places, period - places)


class ExactNorm(nn.Module):
    """A norm of each image's own statistics, in two passes and row by row: as exact in ONNX Runtime as in torch.

    Its InstanceNormalization sums in one pass in float32, which on large flat pictures, whose deviation is small beside
    the mean and the number of pixels, differs from torch by many times `LIMIT`. This is no slower there.

    x: [N,C,H,W]
    """

    def __init__(self, norm: BatchNorm | InstanceNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        x = x - self.mean(x)
        scale = torch.rsqrt(self.mean(x * x) + self.norm.eps)
        if isinstance(self.norm, InstanceNorm):
            return x * scale
        return x * (scale * self.norm.weight[:, None, None]) + self.norm.bias[:, None, None]

    @staticmethod
    def mean(x: Tensor) -> Tensor:
        """[N,C,H,W] => [N,C,1,1]"""
        return x.mean(3, keepdim=True).mean(2, keepdim=True)


def exact_norms(network: nn.Module) -> nn.Module:
    """The network, its norms of each image's own statistics replaced by `ExactNorm`."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            stored = isinstance(child, StoredBatchNorm) and child.stored
            if isinstance(child, BatchNorm | InstanceNorm) and not stored:
                setattr(parent, name, ExactNorm(child))
    return network


def check_target(path: Path, *, overwrite: bool) -> None:
    """Raise UserError where `path` is no name for the file, or is taken and must not be overwritten."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; name the file to write, such as {path / 'model.onnx'}")
    if path.suffix != ".onnx":
        raise UserError(f"an ONNX file ends in .onnx, and {path} does not; write {path.with_suffix('.onnx')}")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        what = "is no folder" if not above.is_dir() else "may not be written to"
        raise UserError(f"{path} cannot be written, as {above} {what}; name another place")
    if path.exists() and not overwrite:
        raise UserError(f"{path} is there already; choose another name, or replace it with --overwrite")


def export(
    generator: nn.Module,
    path: Path,
    *,
    mode: str | None = None,
    opset: int = OPSETS[0],
    overwrite: bool = False,
    say: Callable[[str], None] = warnings.warn,
) -> Exported:
    """Write a generator as `path`, once it is shown to compute what torch does; else nothing is left.

    The graph takes "image" [batch,C,height,width] in the card's input range, any height and width, and gives "result"
    [batch,C,height*scale,width*scale]. Statistics of norm layers are each image's own, as `Engine` has them.

    Args:
        generator: a network with a `.card`, as `load_generator` returns it; it is not changed.
        path: the file, ending in .onnx; folders above it are made.
        mode: one of the card's modes; None takes the card's, or deterministic where that is "paper".
        opset: version of ONNX's operators, within `OPSETS`.
        overwrite: whether a file of that name is replaced.
        say: told in a sentence what a user should know.

    Raises:
        UserError: the extra is not installed; the file is there or cannot be written; the mode, the opset or the
            network cannot be exported; the result differs from torch's by more than `LIMIT`.
    """
    runtime = load_runtime()
    check_target(path, overwrite=overwrite)
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise UserError(f"opset {opset} is not written; take one from {OPSETS[0]} to {OPSETS[1]}")
    engine = Engine(generator, device="cpu", precision="fp32", mode=exportable(generator, mode, say), say=say)
    weight = sum(tensor.nbytes for tensor in generator.state_dict().values())
    if weight > LARGEST:
        raise UserError(f"{weight / 2**30:.1f} GB of weights do not fit into one ONNX file, which ends at 2 GB")
    shapes = trial_shapes(engine)
    model = graph(engine, opset)
    describe(model, engine, generator, path.name, shapes)
    difference = 0.0

    def write(temporary: Path) -> None:
        nonlocal model, difference
        temporary.write_bytes(model.SerializeToString(deterministic=True))
        model = None  # its memory, for the check
        difference = largest_difference(runtime, temporary, engine, shapes)
        if not difference <= LIMIT:  # nan is none either
            raise UserError(f"the exported graph differs from torch by {difference:.2g}, and {LIMIT:g} is allowed; "
                            f"{path} was not written", code=1)  # fmt: skip

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, write)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}; make room or name another place",
                        code=1) from error  # fmt: skip
    return Exported(path, path.stat().st_size, opset, engine.mode, difference, shapes)


def load_runtime() -> Any:
    """The module onnxruntime, silent towards its makers. Raises UserError where a package of the extra is missing."""
    # since 1.29 it uploads what it runs, and keeps an identifier in the user's cache, unless told before its import
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"an export needs onnx, onnxscript and onnxruntime, and '{error.name}' does not load; "
                        "pip install 'i2i-toolkit[onnx]'") from None  # fmt: skip
    onnxruntime.disable_telemetry_events()  # all that it heeds on Windows
    return onnxruntime


def exportable(generator: nn.Module, mode: str | None, say: Callable[[str], None]) -> str | None:
    """The mode to export. Raises UserError for "paper", and for a network of another kind than "image"."""
    card = getattr(generator, "card", None)
    if isinstance(card, Card) and card.kind != "image":
        raise UserError(f"only networks that turn pictures into others are exported, and this one {DOES[card.kind]}")
    asked = mode or (card.mode if isinstance(card, Card) else None)
    if asked != "paper":
        return mode
    why = "the dropout of mode 'paper' is seeded by i2i and cannot go into an ONNX file"
    if mode is not None or "deterministic" not in card.modes:  # type: ignore[union-attr]
        raise UserError(f"{why}; take --mode deterministic, or run it with `i2i translate`")
    say(f"{why}; exported is mode 'deterministic'")
    return "deterministic"


def trial_shapes(engine: Engine) -> tuple[tuple[int, ...], ...]:
    """Two input shapes [3,C,H,W]: one the network takes as it is, one that must be padded."""
    height, width = engine.padded((64, 64))
    sizes = (height, width + engine.card.multiple), (height - 7, width // 2 + 3)
    return tuple((3, engine.card.channels[0], *size) for size in sizes)


def graph(engine: Engine, opset: int) -> Any:
    """The engine's network as an onnx.ModelProto whose weights lie inside it."""
    card, network = engine.card, exact_norms(copy.deepcopy(engine.network("fp32")))
    if padded(card):
        network = AnySize(network, card).eval()
    height, width = engine.padded((64, 64))
    sample = torch.zeros(2, card.channels[0], 2 * height + 1, 3 * width + 3)  # for the trace; nothing is computed
    axes = {0: Dim("batch"), 2: Dim("height"), 3: Dim("width")}
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own parts, deprecated by one another
            program = torch.onnx.export(
                network,
                (sample,),
                dynamo=True,
                input_names=["image"],
                output_names=["result"],
                dynamic_shapes=(axes,),
                opset_version=opset,
                optimize=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        why = (str(error.__cause__ or error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"torch cannot write {type(engine.generator).__name__} as ONNX ({why})", code=1) from error
    model = program.model_proto  # type: ignore[union-attr]
    if model.opset_import[0].version != opset:
        raise UserError(f"the network could not be converted to opset {opset}; take {OPSETS[0]}", code=1)
    return model


def padded(card: Card) -> bool:
    """Whether there are sizes that the network does not take as they are."""
    return (card.multiple, card.minimum) != (1, 1)


def describe(model: Any, engine: Engine, generator: nn.Module, name: str, shapes: Sequence[tuple[int, ...]]) -> None:
    """Name the model's dimensions, tell in it how it is used, and take out what the exporter noted of this machine."""
    card, main = engine.card, model.graph
    axes = [f"{card.scale}*{axis}" if card.scale > 1 else axis for axis in ("height", "width")]
    for given, dim in zip(("batch", card.channels[1], *axes), main.output[0].type.tensor_type.shape.dim, strict=True):
        if isinstance(given, int):
            dim.dim_value = given
        else:
            dim.dim_param = given
    for noted in (*main.node, *main.input, *main.output, *main.initializer, main):
        noted.ClearField("metadata_props")  # stack traces with the paths of this machine
    main.ClearField("value_info")  # a runtime infers the sizes in between
    main.name, model.producer_name, model.producer_version = "generator", "i2i", __version__
    facts = metadata(engine, getattr(generator, "spec", None), name, shapes)
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=value)
    words = ("preprocessing", "sizes", "postprocessing", "terms")
    title = f"Translates {facts['direction']}. Made by i2i {__version__}; the metadata says more."
    model.doc_string = "\n".join([title, *(f"{word}: {facts[word]}" for word in words), "", facts["example"]])


def metadata(engine: Engine, spec: Any, name: str, shapes: Sequence[tuple[int, ...]]) -> dict[str, str]:
    """What one must know to use the file, in words and as numbers."""
    card, origin = engine.card, engine.card.origin
    (low, high), (low_out, high_out) = card.value_range
    kinds = [CHANNELS.get(count, f"{count} channels") if content.kind == "colours" else str(content)
             for count, content in zip(card.channels, card.holds, strict=True)]  # fmt: skip
    larger = f", {card.scale} times as high and wide" if card.scale > 1 else ""
    trials = " and ".join(" x ".join(map(str, shape)) for shape in shapes)
    example = EXAMPLE.format(
        name=name,
        kind={1: "L", 2: "LA", 4: "RGBA"}.get(card.channels[0], "RGB"),
        low=added(low),
        spread=high - low,
        low_out=added(-low_out),
        spread_out=high_out - low_out,
    )
    sizes = "any height and width, any number of pictures of one size at once"
    if padded(card):
        sizes += (
            "; give pictures as they are: the graph itself adds rows below and columns on the right, by reflection "
            f"without the edge (as numpy.pad's mode 'reflect'), until both are multiples of {card.multiple} and at "
            f"least {card.minimum}, and crops the result"
        )
    before = (
        f"decoded 8-bit pixels [H,W,{card.channels[0]}], channels {kinds[0]}, as float32: "
        f"image = pixels / 255 * {high - low:g} {added(low)}, transposed to [{card.channels[0]},H,W], stacked to "
        f"[N,{card.channels[0]},H,W]; 16-bit pixels: / 65535"
    )
    after = (
        f"pixels = round(clip((result {added(-low_out)}) / {high_out - low_out:g}, 0, 1) * 255), "
        f"transposed to [H,W,{card.channels[1]}], channels {kinds[1]}{larger}"
    )
    takes, gives = card.holds
    if takes.kind == "lightness":
        before = f"L of CIE L*a*b* (D65) of the pixels, as float32: image = L / 100 * {high - low:g} {added(low)}"
        if takes.longest:
            before += f"; of pictures with a side of more than {takes.longest} pixels, shrunk to that"
    if gives.kind == "chroma":
        after = (
            f"a and b of CIE L*a*b* (D65), beside the L that went in: clip((result {added(-low_out)}) / "
            f"{high_out - low_out:g}, 0, 1) * 220 - 110" + (", enlarged to the picture's size" if takes.longest else "")
        )
    if takes.classes:
        before = f"{takes}, a channel for each class: {high:g} in its pixels, {low:g} elsewhere"
    if gives.classes:
        classes = "; ".join(f"{name} {colour}" for name, colour in gives.classes)
        after = f"the largest channel is a pixel's class: {classes}{larger}"
    if card.holds != Card().holds:
        example = PLAIN.format(name=name, channels=card.channels[0])
    only = replace(card, mode=engine.mode, modes=(engine.mode,))  # the one mode that is in the graph
    return {
        "i2i.card": json.dumps(asdict(only), sort_keys=True),
        "i2i.network": json.dumps(spec.node() if spec is not None else None),
        "direction": f"{card.a} -> {card.b}",
        "mode": engine.mode,
        "layout": "NCHW",
        "input_channels": kinds[0],
        "output_channels": kinds[1],
        "input_range": json.dumps([low, high]),
        "output_range": json.dumps([low_out, high_out]),
        "scale": str(card.scale),
        "multiple": str(card.multiple),
        "minimum": str(card.minimum),
        "sizes": sizes,
        "preprocessing": before,
        "postprocessing": after,
        "parity": f"at most {LIMIT:g} from torch {torch.__version__.split('+')[0]} in float32, checked on {trials}",
        "data": origin.data,
        "terms": origin.terms or "not known",
        "example": example,
    }


def added(number: float) -> str:
    """`number` as the end of a sum: "+ 1" or "- 1"."""
    return f"{'-' if number < 0 else '+'} {abs(number):g}"


def largest_difference(runtime: Any, path: Path, engine: Engine, shapes: Sequence[tuple[int, ...]]) -> float:
    """The largest absolute difference of the file at `path` from the engine on random pictures; nan if there is one.

    Those of the first shape are noise, the others patches of one colour: flat pictures are what norms find hard.

    Raises UserError where ONNX Runtime cannot run it.
    """
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised as well
    options.intra_op_num_threads = torch.get_num_threads()
    draw, (low, high) = torch.Generator().manual_seed(0), engine.card.value_range[0]
    pictures = []
    for shape, side in zip(shapes, (1, 16), strict=True):
        patches = torch.rand(*shape[:2], *(-(-size // side) for size in shape[2:]), generator=draw)
        picture = patches.repeat_interleave(side, 2).repeat_interleave(side, 3)[:, :, : shape[2], : shape[3]]
        pictures.append((picture * (high - low) + low).contiguous())
    try:
        session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        found = [session.run(["result"], {"image": picture.numpy()})[0] for picture in pictures]
    except Exception as error:  # its kinds have no common base
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"ONNX Runtime cannot run what was exported ({why}); nothing was kept", code=1) from error
    wanted = [engine(picture).numpy() for picture in pictures]
    for ours, theirs in zip(wanted, found, strict=True):
        if ours.shape != theirs.shape:
            raise UserError(f"the exported graph gives {list(theirs.shape)} where torch gives {list(ours.shape)}; "
                            "nothing was kept", code=1)  # fmt: skip
    return float(np.max([np.abs(ours - theirs).max() for ours, theirs in zip(wanted, found, strict=True)]))
