"""Checkpoints of PyTorch, read without running anything in them.

A checkpoint is a pickle, and a pickle is a program that may call whatever it names. So its opcodes are first read as
text, which runs nothing, and it is refused if it names more than tensors need. Only then does
`torch.load(weights_only=True)` read it, which would refuse the same; there is no way to ask for more. Both formats are
taken: the zip archive, which is mapped and not read, and the one before PyTorch 1.6, in which the weights of 2017 to
2019 were published.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor

from i2i.checkpoint import read_header, read_tensors
from i2i.download import MARKUP
from i2i.errors import UserError

__all__ = ["Checkpoint", "read_checkpoint"]

OLD_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa850192e")  # the first pickle of the format before 1.6, without protocol
OLD_LIMIT = 2 * 10**9  # bytes of a file of that format, which has to be read whole
PICKLE_LIMIT = 8 << 20  # bytes of a file that are no tensors but describe them; a generator's are some ten thousand
DIRECTORY_LIMIT = 16 << 20  # bytes of a zip archive's list of contents

TENSORS = re.compile(
    r"collections\.(OrderedDict|Counter)|(builtins|__builtin__)\.set|torch\.(Size|device|Tensor)"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|parameter|parameter_with_state)|torch\._tensor\._rebuild_from_type_v2"
    r"|torch(\.cuda)?\.(Float|Double|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)Storage"
    r"|torch\.storage\.(Untyped|Typed|_Untyped|_Typed)Storage|torch\.nn\.parameter\.Parameter"
    r"|torch\.(float16|float32|float64|bfloat16|int8|int16|int32|int64|uint8|bool)"
)
"""What the pickle of a state_dict names, and what is as harmless."""

COMMANDS = re.compile(
    r"(os|posix|nt|sys|subprocess|commands|pty|shutil|runpy|importlib|ctypes|socket|urllib|webbrowser|code|operator|pip"
    r"|asyncio|multiprocessing|timeit|pdb|bdb|profile|cProfile|doctest)(\..*)?"
    r"|(builtins|__builtin__)\.(eval|exec|execfile|compile|getattr|setattr|__import__|open|apply|input|breakpoint|map)"
)
"""What runs commands or leads to what does, and nobody's training program keeps in a checkpoint."""

AGAIN = (
    "in the program that made it save the tensors alone, `torch.save(net.state_dict(), 'weights.pth')`, and convert "
    "those"
)

STARTS = {
    b"\x1f\x8b": "is compressed by gzip; unpack it first",
    b"BZh": "is compressed by bzip2; unpack it first",
    b"\xfd7zXZ": "is compressed by xz; unpack it first",
    b"7z\xbc\xaf": "is a 7z archive; unpack it and name the checkpoint inside",
    b"Rar!": "is a RAR archive; unpack it and name the checkpoint inside",
    b"\x89HDF": "is an HDF5 file, as Keras writes them; only checkpoints of PyTorch can be converted",
    b"\x93NUMPY": "is an array of NumPy; only checkpoints of PyTorch can be converted",
    b"\x89PNG": "is a picture; name a checkpoint",
    b"\xff\xd8\xff": "is a picture; name a checkpoint",
    b"version https://git-lfs": "only stands for a file that Git LFS keeps elsewhere; `git lfs pull` fetches it",
}


class Checkpoint(NamedTuple):
    """tensors: of one network, by name, on the CPU; they may be views of the file. said: what had to be chosen."""

    tensors: dict[str, Tensor]
    said: tuple[str, ...]


def read_checkpoint(path: Path) -> Checkpoint:
    """The tensors of one network in a file that `torch.save` wrote, or in a safetensors file.

    Wrappers such as {"state_dict": ...} are unwrapped; of several networks the generator is taken, of its two copies
    the averaged one. The parts `module` and `_orig_mod`, of DataParallel and torch.compile, go out of the names.

    Raises UserError where the file is none, is damaged, names more than tensors, or leaves no clear choice.
    """
    if torch.__version__ < "2.6":
        raise UserError(
            f"checkpoints are read by torch 2.6 or newer, and this is {torch.__version__}: before that even "
            "weights_only=True could be made to run code (CVE-2025-32434); pip install -U torch torchvision"
        )
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(512)
            if looks_safe(start, size):
                return Checkpoint(*in_safetensors(path))
            if start.startswith(b"PK"):
                described = in_archive(file, path)
            elif OLD_MAGIC in start[:32]:
                described = in_old_file(file, size, path)
            else:
                raise UserError(f"{path} {other_kind(file, start, size)}")
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except OSError as error:
        what = "is a folder; name a file in it" if path.is_dir() else f"cannot be read: {error.strerror or error}"
        raise UserError(f"{path} {what}") from None
    if described.strange:
        raise UserError(f"{path} {described.refusal()}")
    if path.suffix == ".safetensors":  # torch.load goes by the name, too
        raise UserError(f"{path} is a pickled checkpoint under another kind's name; rename it to {path.stem}.pth")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of protocols and storages; what goes wrong is said below
            held = torch.load(str(path), map_location="cpu", weights_only=True, mmap=start.startswith(b"PK"))
    except pickle.UnpicklingError:  # its own words advise to read it without care
        raise UserError(
            f"{path} is refused by torch.load(weights_only=True), and nothing in it was run: it holds more than "
            f"tensors, or was pickled by another protocol than torch.save's own, 2; {AGAIN}"
        ) from None
    except Exception as error:  # a damaged file can raise anything; for the user it is one thing
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        if isinstance(error, MemoryError) or "allocate memory" in reason:
            raise UserError(f"{path} does not fit into memory ({reason}); save the generator in it alone") from None
        raise UserError(f"{path} is a checkpoint cut short or damaged ({reason}); fetch or save it again") from None
    tensors, said = of_network(held, path)
    for key, value in tensors.items():
        if value.layout != torch.strided or value.numel() * value.itemsize > value.untyped_storage().nbytes():
            raise UserError(f"{path}: the tensor '{key}' holds less than its shape says; fetch or save it again")
    return Checkpoint(tensors, said)


def of_network(held: Any, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of one network in what was loaded, by their bare names, and what had to be chosen."""
    network, said = unwrapped(held, path)
    return {bare(key): value.detach() for key, value in network.items() if isinstance(value, Tensor)}, said


def looks_safe(start: bytes, size: int) -> bool:
    """Whether a file begins as a safetensors file does: with the length of a header of JSON."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size


def in_safetensors(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of one network in a safetensors file of another program."""
    try:
        read_header(path)
    except UserError:
        pass
    else:
        raise UserError(f"{path} is a generator file already; `i2i translate --model` takes it as it is")
    try:
        held = read_tensors(path)
    except SafetensorError as error:
        raise UserError(f"{path} is a safetensors file cut short or damaged ({error}); fetch it again") from None
    return of_network(held, path)


def bare(key: str) -> str:
    """A tensor's name without what DataParallel and torch.compile put into it."""
    return ".".join(part for part in key.split(".") if part not in ("module", "_orig_mod"))


# --- what a pickle would do, without doing it


class Described(NamedTuple):
    """What the opcodes of a pickle name: globals as "module.name", in order, and texts."""

    globals: list[str]
    texts: set[str]

    @property
    def strange(self) -> list[str]:
        """The globals that tensors have no need of."""
        return [name for name in self.globals if not TENSORS.fullmatch(name)]

    def refusal(self) -> str:
        """Why it is not loaded, and what to do."""
        commands = [name for name in self.strange if COMMANDS.fullmatch(name)]
        if commands:
            return (f"is refused, and nothing in it was run: loading it would call '{commands[0]}', which a checkpoint "
                    f"has no use for and which can run any command; if you trust it, {AGAIN}")  # fmt: skip
        why = f"it asks for '{self.strange[0]}', and what a pickle asks for can run any command"
        if "pytorch-lightning_version" in self.texts:
            return (f"is PyTorch Lightning's checkpoint of a whole training, and not loaded: {why}; in the program "
                    "that made it save the generator alone, `torch.save(model.generator.state_dict(), 'weights.pth')` "
                    "with its name there, and convert that")  # fmt: skip
        modules = [name for name in self.globals if name.startswith(("torch.nn.modules.", "torch.nn.parallel."))]
        if modules:
            own = [name for name in self.strange if not name.startswith("torch.")]
            return (f"is a whole network pickled with its class ({(own or modules)[0]}), and classes are not loaded, "
                    f"as they can run any command; {AGAIN}")  # fmt: skip
        return f"holds more than tensors and is not loaded: {why}; {AGAIN}"


def opcodes(file: IO[bytes]) -> Described:
    """Read the opcodes of a pickle up to its end. Raises ValueError where it has none."""
    found = Described([], set())
    memo: dict[Any, Any] = {}
    pushed: list[Any] = []  # strings as they come onto the stack, None for all else
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name in ("GLOBAL", "INST"):
                found.globals.append(str(argument).replace(" ", "."))
                pushed.append(None)
            elif opcode.name == "STACK_GLOBAL":
                found.globals.append(".".join(str(text) for text in pushed[-2:]))
                pushed.append(None)
            elif opcode.name.startswith("EXT"):
                found.globals.append(f"copyreg.extension {argument}")
            elif opcode.name == "MEMOIZE":
                memo[len(memo)] = pushed[-1] if pushed else None
            elif "PUT" in opcode.name:
                memo[argument] = pushed[-1] if pushed else None
            elif "GET" in opcode.name:
                pushed.append(memo.get(argument))
            elif isinstance(argument, str):
                found.texts.add(argument)
                pushed.append(argument)
            elif opcode.stack_after:
                pushed.append(None)
    except (ArithmeticError, AttributeError, LookupError, TypeError, struct.error) as error:
        raise ValueError(f"no pickle: {error}") from None
    return found


def in_old_file(file: IO[bytes], size: int, path: Path) -> Described:
    """What a file of the format before 1.6 names: a magic number, a version, the machine, and the tensors."""
    if size > OLD_LIMIT:
        raise UserError(
            f"{path} has {size / 1e9:.1f} GB in the format before PyTorch 1.6, which has to be read whole, and no "
            f"generator is nearly as large; in the program that made it save the generator alone"
        )
    file.seek(0)
    head = io.BytesIO(file.read(PICKLE_LIMIT))
    try:
        parts = [opcodes(head) for _ in range(5)]  # the fifth lists the tensors' memory
    except ValueError:
        raise UserError(f"{path} is a checkpoint cut short or damaged; fetch or save it again") from None
    return Described([name for part in parts for name in part.globals], parts[3].texts)


class Sparing(io.BufferedIOBase):
    """A file that refuses to be read in pieces larger than a list of contents."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.seek, self.tell = file.seek, file.tell  # type: ignore[method-assign]

    def read(self, size: int | None = -1) -> bytes:
        found = self.file.read(DIRECTORY_LIMIT + 1 if size is None or size < 0 else min(size, DIRECTORY_LIMIT + 1))
        if len(found) > DIRECTORY_LIMIT:
            raise zipfile.BadZipFile("its list of contents is larger than any checkpoint's")
        return found

    def seekable(self) -> bool:
        return True


def in_archive(file: IO[bytes], path: Path) -> Described:
    """What the pickle of a zip archive names, the archive having been found to be one of `torch.save`."""
    size = file.seek(0, io.SEEK_END)
    try:
        with zipfile.ZipFile(Sparing(file)) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if any("/code/" in name for name in names) or any(name.endswith("/constants.pkl") for name in names):
                raise UserError(f"{path} is a TorchScript archive, a program, which is not run here; {AGAIN}")
            pickles = [entry for entry in entries if re.fullmatch(r"([^/]+/)?data\.pkl", entry.filename)]
            if len(pickles) != 1:
                inside = f"it begins with '{names[0]}'" if names else "it is empty"
                raise UserError(f"{path} is a zip archive but no checkpoint ({inside}); unpack it, name the right file")
            if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries):
                raise UserError(f"{path} is a checkpoint that was packed anew, compressed; fetch or save it again")
            if sum(entry.file_size for entry in entries) > size:
                raise UserError(f"{path} is damaged: what it lists is larger than the file; fetch or save it again")
            describing = sum(one.file_size for one in entries if not re.fullmatch(r"[^/]+/data/\d+", one.filename))
            if describing > PICKLE_LIMIT:  # torch.load reads such entries whole, several times over
                raise UserError(
                    f"{path} describes its contents in {describing / 1e6:.0f} MB, which no network's tensors need; "
                    f"{AGAIN}"
                )
            return opcodes(io.BytesIO(archive.read(pickles[0])))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, struct.error) as error:
        raise UserError(f"{path} is a checkpoint cut short or damaged ({error}); fetch or save it again") from None


def other_kind(file: IO[bytes], start: bytes, size: int) -> str:
    """What a file is that torch.save did not write, and what to do."""
    if not start:
        return "is empty; fetch or save it again"
    for beginning, words in STARTS.items():
        if start.startswith(beginning):
            return words
    if start[257:262] == b"ustar":
        return "is a tar archive; unpack it and name the checkpoint inside"
    if start.lstrip().lower().startswith(MARKUP):
        return "is a web page, as servers send instead of a file that is gone or wants a login; fetch it again"
    file.seek(0)
    if (found := plain_pickle(file, start)) is not None:
        if found.strange:
            return found.refusal()
        return f"is a plain pickle, which torch.save did not write, and not loaded; {AGAIN}"
    try:
        if b"\0" not in start and start.decode("utf-8" if size <= len(start) else "ascii"):
            return "is a text, not a checkpoint; name the .pth file"
    except UnicodeDecodeError:
        pass
    return f"is no checkpoint of PyTorch (it begins with {start[:8].hex(' ')}); name a .pth file"


def plain_pickle(file: IO[bytes], start: bytes) -> Described | None:
    """What a pickle names, of any protocol; None where the file is none."""
    binary = start[0] == 0x80 and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    try:
        found = opcodes(io.BytesIO(file.read(PICKLE_LIMIT)))
    except ValueError:
        return Described([], set()) if binary else None
    return found if binary or found.globals else None


# --- which of its contents is the network

GENERATOR = re.compile(r"(net)?_?(g|gen|generator)(_?[ab](2|to)?[ab]?)?", re.IGNORECASE)
OTHER = re.compile(
    r"(net)?_?(d|dis|disc|discriminator|critic|f|e)(_?[ab]|_.*)?|optim.*|opt(_.*)?|(lr_?)?sched.*|scaler|amp",
    re.IGNORECASE,
)


def unwrapped(held: Any, path: Path, *, within: str = "") -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The tensors of one network in what was loaded, and what had to be chosen."""
    if isinstance(held, Tensor):
        raise UserError(f"{path} is a single tensor, {list(held.shape)}, and no network; name a generator's checkpoint")
    if not isinstance(held, Mapping):
        raise UserError(f"{path} holds a {type(held).__name__} and no tensors with names; {AGAIN}")
    if "param_groups" in held and "state" in held:
        raise UserError(f"{path} is the state of an optimizer; name the checkpoint of the generator beside it")
    if "pytorch-lightning_version" in held:
        raise UserError(f"{path} {lightning(held, path)}")
    named = {key: value for key, value in held.items() if isinstance(key, str)}
    inner: dict[str, Mapping[Any, Any]] = {
        key: value for key, value in named.items() if isinstance(value, Mapping) and holds_tensors(value)
    }
    if not inner:
        flat = {key: value for key, value in named.items() if isinstance(value, Tensor)}
        if not flat:
            raise UserError(f"{path} holds no tensors ({shortly(map(str, held))}); {AGAIN}")
        inner = dict(parts(flat))
        if not inner:
            return flat, ()
    name = chosen(list(inner), path, within)
    network, more = unwrapped(inner[name], path, within=f"{within}['{name}']")
    others = [other for other in inner if other != name]
    return network, (f"took '{name}'" + (f", not {shortly(others)}" if others else ""), *more)


def parts(flat: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """A flat state_dict of several networks by their names; empty where it is of one."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in flat.items():
        first, _, rest = bare(key).partition(".")
        found.setdefault(first, {})[rest] = value
    return found if len(found) > 1 and any(GENERATOR.fullmatch(name) for name in found) else {}


def chosen(names: list[str], path: Path, within: str) -> str:
    """The name that is the generator's, of its two copies the averaged one's."""
    likely = [name for name in names if not OTHER.fullmatch(name)] or names
    for some in (
        likely,
        [name for name in likely if "ema" in name.lower()],
        [name for name in likely if GENERATOR.fullmatch(name)],
    ):
        if len(some) == 1:
            return some[0]
    name = likely[0]
    raise UserError(
        f"{path} holds several networks ({shortly(likely)}); save the one that is meant alone, as in "
        f"`python -c \"import torch; torch.save(torch.load('{path.name}', map_location='cpu', weights_only=True)"
        f"{within}['{name}'], '{name}.pth')\"`, and convert that"
    )


def holds_tensors(value: Mapping[Any, Any], depth: int = 3) -> bool:
    """Whether there is a tensor in nested mappings, optimizers' states left aside."""
    if "param_groups" in value and "state" in value:
        return False
    return any(
        isinstance(item, Tensor) or (depth > 0 and isinstance(item, Mapping) and holds_tensors(item, depth - 1))
        for item in value.values()
    )


def lightning(held: Mapping[str, Any], path: Path) -> str:
    """What is said of a checkpoint of PyTorch Lightning."""
    state = held.get("state_dict")
    names = list(dict.fromkeys(str(key).split(".")[0] for key in state)) if isinstance(state, Mapping) else []
    likely = [name for name in names if GENERATOR.fullmatch(name)] or names or ["generator"]
    return (
        f"is PyTorch Lightning's checkpoint of a whole training ({shortly(names)}); save the generator in it alone, as "
        f"in `python -c \"import torch; s = torch.load('{path.name}', map_location='cpu', weights_only=True)"
        f"['state_dict']; torch.save({{k.removeprefix('{likely[0]}.'): v for k, v in s.items() "
        f"if k.startswith('{likely[0]}.')}}, 'generator.pth')\"`, and convert that"
    )


def shortly(names: Iterable[str]) -> str:
    """The first few names."""
    listed = list(names)
    return ", ".join(listed[:4]) + (f" and {len(listed) - 4} more" if len(listed) > 4 else "") if listed else "empty"
