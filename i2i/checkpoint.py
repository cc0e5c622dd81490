"""Files that training leaves: the state for an exact resume, and the generator file; no pickles in either."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from i2i.download import digest
from i2i.errors import UserError
from i2i.game import Card, Content, Origin, Part
from i2i.spec import Spec

__all__ = ["Header", "States", "read_header", "save_generator"]

FORMAT = "i2i-generator-1"
HEADER_LIMIT = 2**20  # bytes; ours are about two kilobytes
KINDS, PART_KINDS, CONTENTS = (get_args(get_type_hints(one)["kind"]) for one in (Card, Part, Content))
LARGEST_SIDE = 2**16  # pixels a card may ask for; a hostile one would have pictures padded beyond any memory


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk, then rename it over `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(temporary)
        _flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _flush(path.parent)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: dict[str, str] | None = None) -> None:
    """A safetensors file with the mode that the umask gives: safetensors itself lets nobody but the owner read.

    Raises OSError where it cannot be written.
    """
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(dict(tensors), path, metadata=header)
    except SafetensorError as error:  # a full disk, in its words: "... (os error 28)"
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    path.chmod(mode)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU that safetensors accepts: contiguous, each with its own memory."""
    return {
        key: tensor.detach().to("cpu", copy=True).contiguous(memory_format=torch.contiguous_format)
        for key, tensor in tensors.items()
    }


# --- training state ---------------------------------------------------------------------------------------------------


class States:
    """The checkpoints of one run: `folder/IMAGES/*`, of which the last `keep` stay.

    A checkpoint is a folder of safetensors files, `state.json`, and `manifest.json` with the size and sha256 of the
    others. It is written under another name, flushed and renamed, so that under its final name it is whole; should a
    disk have torn one all the same, `load` falls back to the one before and says so.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self.folder, self.keep = folder, keep

    def saved(self) -> list[Path]:
        """Checkpoints under their final names, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if path.is_dir() and path.name.isdigit())

    def save(self, images: int, tensors: Mapping[str, Mapping[str, Tensor]], facts: Mapping[str, Any]) -> Path:
        """Write the checkpoint of `images` images: one file a group of tensors, and `facts` as JSON."""
        final = self.folder / f"{images:010d}"
        part = self.folder / f"part-{final.name}"
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        for group, named in tensors.items():
            write_tensors(part / f"{group}.safetensors", plain(named))
        (part / "state.json").write_text(json.dumps(facts, indent=1) + "\n")
        files = sorted(part.iterdir())
        manifest = {path.name: {"bytes": path.stat().st_size, "sha256": digest(path)} for path in files}
        (part / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        for path in part.iterdir():
            _flush(path)
        _flush(part)
        shutil.rmtree(final, ignore_errors=True)
        os.rename(part, final)
        _flush(self.folder)
        for old in self.saved()[: -self.keep]:
            shutil.rmtree(old)
        return final

    def load(self, say: Callable[[str], None]) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]] | None:
        """The newest whole checkpoint as (groups of CPU tensors, facts), or None where there is none.

        Each torn one is named through `say`. Raises UserError where checkpoints are there and none is whole.
        """
        for stale in self.folder.glob("part-*"):
            shutil.rmtree(stale)  # a save that was killed
        saved = self.saved()
        for path in reversed(saved):
            wrong = self.torn(path)
            if not wrong:
                facts = json.loads((path / "state.json").read_text())
                return {file.stem: read_tensors(file) for file in path.glob("*.safetensors")}, facts
            say(f"checkpoint {path} is torn ({wrong}); falling back to the one before")
        if saved:
            raise UserError(f"none of the {len(saved)} checkpoints in {self.folder} is whole; remove it to start anew")
        return None

    @staticmethod
    def torn(path: Path) -> str:
        """What is wrong with a checkpoint, or an empty string."""
        try:
            manifest = json.loads((path / "manifest.json").read_text())
            for name, facts in manifest.items():
                if (path / name).stat().st_size != facts["bytes"]:
                    return f"{name} has another size than was written"
                if digest(path / name) != facts["sha256"]:
                    return f"{name} has other contents than were written"
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f"its manifest cannot be read: {error}"
        return ""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, in memory of their own (not mapped: the file may be removed later)."""
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 (no mapping)


# --- the generator file -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Header:
    """What a generator file says of itself, read without touching its tensors.

    Attributes:
        spec: how the network is built; may name only classes that `i2i.zoo` allows.
        card: how it is run and where it comes from.
        shapes: tensor name -> shape.
        bytes: size of the file.
    """

    spec: Spec
    card: Card
    shapes: Mapping[str, tuple[int, ...]]
    bytes: int


def save_generator(path: Path, network: nn.Module, spec: Spec, card: Card, *, dtype: torch.dtype | None = None) -> None:
    """Write a network, how to build it and its card as one safetensors file, atomically.

    `dtype` stores floating tensors in another precision (float16 halves the file); None keeps them.
    """
    tensors = plain(network.state_dict())
    if dtype is not None:
        tensors = {key: value.to(dtype) if value.is_floating_point() else value for key, value in tensors.items()}
    header = {"format": FORMAT, "spec": json.dumps(spec.node()), "card": json.dumps(asdict(card), sort_keys=True)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: write_tensors(temporary, tensors, header))


def read_header(path: Path) -> Header:
    """The header of a generator file. Raises UserError for anything that is not one."""
    raw = _safetensors_header(path)
    texts = raw.pop("__metadata__", {})
    if texts.get("format") != FORMAT:
        raise UserError(f"{path} holds tensors but is no i2i generator file; `i2i train` writes those")
    try:
        spec, card = Spec.from_node(json.loads(texts["spec"])), card_from(json.loads(texts["card"]))
        shapes = {name: tuple(facts["shape"]) for name, facts in raw.items()}
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise UserError(f"{path}: the generator file's header is damaged ({error}); fetch or train it again") from None
    return Header(spec, card, shapes, path.stat().st_size)


def _safetensors_header(path: Path) -> dict[str, Any]:
    """The JSON header of a safetensors file, refused before it is parsed if it is larger than any of ours."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            if len(start) == 8 and length <= HEADER_LIMIT:
                header = json.loads(file.read(length))
                with safe_open(path, framework="pt"):  # checks that the tensors fit the file
                    pass
                return dict(header)
    except FileNotFoundError:
        raise UserError(f"there is no model file {path}") from None
    except OSError as error:
        raise UserError(f"the model file {path} cannot be read: {error.strerror}") from None
    except (RecursionError, ValueError, SafetensorError):
        pass  # said below, in one sentence for every kind of damage
    kind = "damaged or of another kind; name one that `i2i train` or `i2i convert` wrote"
    if _is_pickle(path):
        kind = (
            f"a pickled checkpoint, which can execute code and is never loaded here; `i2i convert {path}` makes a "
            "generator file of it if it is CycleGAN's, pix2pix's or CUT's"
        )
    raise UserError(f"{path} is no i2i generator file: it is {kind}")


def _is_pickle(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
    except OSError:
        return False


def card_from(values: Mapping[str, Any]) -> Card:
    """A Card from its JSON form. Raises what its parts raise where they are not as a Card's, ValueError above all."""
    ranges = values["value_range"]
    for name in ("scale", "multiple", "minimum"):
        if type(values[name]) is not int or not 1 <= values[name] <= LARGEST_SIDE:
            raise ValueError(f"{name} is {values[name]!r}")
    if values["kind"] not in KINDS:
        raise ValueError(f"kind is {values['kind']!r}")
    parts = tuple(
        Part(**{**part, "span": tuple(part["span"]), "labels": tuple(part["labels"])})
        for part in values.get("latent", ())
    )
    if any(type(part.size) is not int or not 1 <= part.size <= LARGEST_SIDE for part in parts):
        raise ValueError(f"the parts of the latent vector have sizes {[part.size for part in parts]}")
    if any(part.kind not in PART_KINDS for part in parts):
        raise ValueError(f"the parts of the latent vector are of kinds {[part.kind for part in parts]}")
    size = values.get("size", 0)
    if type(size) is not int or not 0 <= size <= LARGEST_SIDE:
        raise ValueError(f"size is {size!r}")
    holds = tuple(content_from(content) for content in values.get("holds", ({}, {})))
    if len(holds) != 2:
        raise ValueError(f"holds is {values['holds']!r}")
    special = ("origin", "modes", "mode", "kind", "channels", "latent", "classes", "holds")
    return replace(
        Card(**{key: value for key, value in values.items() if key not in special}),
        kind=values["kind"],
        latent=parts,
        classes=tuple(str(name) for name in values.get("classes", ())),
        modes=tuple(values["modes"]),
        mode=values["mode"],
        channels=(int(values["channels"][0]), int(values["channels"][1])),
        value_range=((float(ranges[0][0]), float(ranges[0][1])), (float(ranges[1][0]), float(ranges[1][1]))),
        holds=holds,
        origin=Origin(**values["origin"]),
    )


def content_from(values: Mapping[str, Any]) -> Content:
    """A Content from its JSON form, as `card_from`."""
    longest = values.get("longest", 0)
    if type(longest) is not int or not 0 <= longest <= LARGEST_SIDE:
        raise ValueError(f"longest is {longest!r}")
    special = ("kind", "classes", "ignored", "longest")
    content = replace(
        Content(**{key: value for key, value in values.items() if key not in special}),
        kind=values.get("kind", "colours"),
        longest=longest,
        classes=tuple((str(name), colour_from(colour)) for name, colour in values.get("classes", ())),
        ignored=tuple(map(colour_from, values.get("ignored", ()))),
    )
    if content.kind not in CONTENTS or type(content.within) is not int or not 0 <= content.within <= 255:
        raise ValueError(f"the content of a picture is {content.kind!r}, within {content.within!r}")
    if content.palette is not None and len(content.palette.classes) != len(content.classes):
        raise ValueError("a class has two colours")
    return content


def colour_from(values: Any) -> tuple[int, int, int]:
    """Red, green and blue in 8 bits, as `card_from`."""
    red, green, blue = values
    if any(type(level) is not int or not 0 <= level <= 255 for level in (red, green, blue)):
        raise ValueError(f"{values!r} is no colour")
    return red, green, blue
