"""Files are read without running them, and what is no checkpoint is named before it fills the memory."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.torch_version import TorchVersion

from i2i.checkpoint import save_generator
from i2i.errors import UserError
from i2i.spec import Spec
from i2i.translation.cyclegan import ResnetGenerator
from i2i.zoo.pickled import read_checkpoint

NEW, OLD = True, False  # formats


def write(path: Path, held: Any, new: bool = NEW, **more: Any) -> Path:
    torch.save(held, path, _use_new_zipfile_serialization=new, **more)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_checkpoint(path)
    said = str(caught.value)
    assert said.startswith(str(path))
    assert "\n" not in said
    return said


@pytest.mark.parametrize("new", [NEW, OLD])
def test_tensors_come_back(new: bool, tmp_path: Path) -> None:
    layer = nn.BatchNorm2d(3)
    path = write(tmp_path / "x.pth", layer.state_dict(), new)
    tensors, said = read_checkpoint(path)
    assert not said
    for key, value in layer.state_dict().items():
        assert torch.equal(value, tensors[key])


@pytest.mark.parametrize("new", [NEW, OLD])
def test_tensors_that_share_memory(new: bool, tmp_path: Path) -> None:
    base = torch.arange(12.0)
    path = write(tmp_path / "x.pth", {"a": base[:4], "b": base[4:].view(2, 4).t()}, new)
    tensors, _ = read_checkpoint(path)
    assert torch.equal(tensors["b"], base[4:].view(2, 4).t())


# --- commands


class Bomb:
    """Unpickled, it touches a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("kind", ["new", "old", 0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("beside", [False, True])
def test_a_command_is_not_run_and_named(kind: Any, beside: bool, tmp_path: Path) -> None:
    path, executed = tmp_path / "x.pth", tmp_path / "executed"
    held: Any = {"model.1.weight": torch.zeros(3) if isinstance(kind, str) else 0, "x": Bomb(executed)}
    held = held if beside else Bomb(executed)
    if isinstance(kind, str):
        write(path, held, kind == "new")
    else:
        path.write_bytes(pickle.dumps(held, kind))
    said = refusal(path)
    assert "is refused, and nothing in it was run: loading it would call 'posix.system'" in said
    assert "torch.save(net.state_dict(), 'weights.pth')" in said
    assert not executed.exists()


@pytest.mark.parametrize(
    "text",
    [b"cos\nsystem\n(S'touch executed'\ntR.", b"(S'touch executed'\nios\nsystem\n.", b"c__builtin__\neval\n(S'1'\ntR."],
)
def test_a_pickle_written_by_hand_is_not_run(text: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pth"
    path.write_bytes(text)
    assert "loading it would call '" in refusal(path)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", text)
        file.writestr("archive/version", "3\n")
    path.write_bytes(archive.getvalue())
    assert "loading it would call '" in refusal(path)
    assert [found.name for found in tmp_path.iterdir()] == ["x.pth"]


def test_a_name_hidden_from_the_first_look_is_refused_by_the_second(tmp_path: Path) -> None:
    """The opcodes are read for the sentence; what keeps them from running is that torch runs none."""
    path, executed = tmp_path / "x.pth", tmp_path / "executed"
    write(path, {"a": torch.zeros(1)})
    hidden = b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x30\x30h\x00h\x01\x93\x8c" + bytes([6 + len(str(executed))])
    hidden += b"touch " + str(executed).encode() + b"\x85R."
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", hidden)
        file.writestr("archive/version", "3\n")
    refusal(path)
    assert not executed.exists()


@pytest.mark.parametrize("place", range(5))
def test_every_pickle_of_the_old_format_is_read(place: int, tmp_path: Path) -> None:
    path, executed = write(tmp_path / "x.pth", {}, OLD), tmp_path / "executed"
    parts = [part + b"." for part in path.read_bytes().split(b".")[:5]]
    parts[place] = pickle.dumps(Bomb(executed), 2)
    path.write_bytes(b"".join(parts))
    assert "loading it would call 'posix.system'" in refusal(path)
    assert not executed.exists()


@pytest.mark.parametrize("new", [NEW, OLD])
def test_another_protocol_is_named_without_advice_to_be_careless(new: bool, tmp_path: Path) -> None:
    said = refusal(write(tmp_path / "x.pth", {"a": torch.zeros(1)}, new, pickle_protocol=4))
    assert "was pickled by another protocol than torch.save's own, 2" in said
    assert "False" not in said


def test_a_checkpoint_under_a_generators_name_is_told_its_own(tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors", {"a": torch.zeros(1)})
    assert "rename it to x.pth" in refusal(path)


@pytest.mark.parametrize("new", [NEW, OLD])
def test_more_than_tensors_is_named(new: bool, tmp_path: Path) -> None:
    path = write(tmp_path / "x.pth", {"netG": {"a": torch.zeros(2)}, "args": argparse.Namespace(lr=0.1)}, new)
    assert "holds more than tensors and is not loaded: it asks for 'argparse.Namespace'" in refusal(path)


@pytest.mark.parametrize("new", [NEW, OLD])
def test_a_whole_network_is_named(new: bool, tmp_path: Path) -> None:
    path = write(tmp_path / "x.pth", ResnetGenerator(width=2, blocks=1), new)
    said = refusal(path)
    assert "is a whole network pickled with its class (i2i.translation.cyclegan.ResnetGenerator)" in said
    assert "torch.save(net.state_dict(), 'weights.pth')" in said
    assert "(torch.nn.modules.linear.Linear)" in refusal(write(path, nn.Linear(2, 2), new))


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_torchscript_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
    assert "is a TorchScript archive" in refusal(path)


def test_lightning_is_named_with_the_way_out(tmp_path: Path) -> None:
    held = {
        "epoch": 3,
        "global_step": 10,
        "pytorch-lightning_version": "2.1.0",
        "state_dict": {"generator.model.1.weight": torch.ones(2), "discriminator.model.0.weight": torch.zeros(1)},
        "optimizer_states": [],
        "hyper_parameters": {"lr": 2e-4},
    }
    path = write(tmp_path / "last.ckpt", held)
    said = refusal(path)
    assert "is PyTorch Lightning's checkpoint of a whole training (generator, discriminator)" in said
    advice = said.split('`python -c "')[1].split('"`')[0]
    subprocess.run([sys.executable, "-c", advice], cwd=tmp_path, check=True)
    tensors, _ = read_checkpoint(tmp_path / "generator.pth")
    assert torch.equal(tensors["model.1.weight"], torch.ones(2))
    held["hyper_parameters"] = argparse.Namespace(lr=0.1)
    said = refusal(write(path, held))
    assert "is PyTorch Lightning's checkpoint of a whole training, and not loaded: it asks for 'argparse.Names" in said


# --- what is none


def archive(**entries: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name, text in entries.items():
            file.writestr(name, text)
    return data.getvalue()


KINDS = {
    "empty": (b"", "is empty"),
    "text": (b"these are no weights\n", "is a text, not a checkpoint"),
    "long text": (b"weights = 1\n" * 1000, "is a text, not a checkpoint"),
    "page": (b"\n<!DOCTYPE html>\n<html><body>Log in</body></html>", "is a web page, as servers send"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "`git lfs pull` fetches it"),
    "gzip": (b"\x1f\x8b\x08" + bytes(50), "is compressed by gzip; unpack it first"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(50), "is an HDF5 file, as Keras writes them"),
    "zip": (archive(**{"photos/1.jpg": b"x"}), "is a zip archive but no checkpoint (it begins with 'photos/1.jpg')"),
    "empty zip": (archive(), "is a zip archive but no checkpoint (it is empty)"),
    "noise": (bytes(range(128, 256)), "is no checkpoint of PyTorch (it begins with 80 81 82"),
    "pickle": (pickle.dumps({"a": [1.0]}), "is a plain pickle, which torch.save did not write"),
    "broken pickle": (b"\x80\x04\x95" + b"\xff" * 40, "is a plain pickle, which torch.save did not write"),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_is_no_checkpoint_is_named(name: str, tmp_path: Path) -> None:
    path, (contents, said) = tmp_path / "x.pth", KINDS[name]
    path.write_bytes(contents)
    assert said in refusal(path)


def test_tar_and_safetensors_are_named(tmp_path: Path) -> None:
    import tarfile

    path = tmp_path / "x.pth"
    with tarfile.open(path, "w") as file:
        file.addfile(tarfile.TarInfo("storages"))
    assert "is a tar archive" in refusal(path)
    network = ResnetGenerator(width=2, blocks=1)
    save_generator(path, network, Spec.to(ResnetGenerator, width=2, blocks=1), network.card())
    assert "is a generator file already" in refusal(path)


def test_safetensors_of_other_programs_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"netG.module.a": torch.ones(2), "netD.module.b": torch.zeros(2)}, path)
    found = read_checkpoint(path)
    assert list(found.tensors) == ["a"] and torch.equal(found.tensors["a"], torch.ones(2))
    path.write_bytes(path.read_bytes()[:-3])
    assert "is a safetensors file cut short or damaged" in refusal(path)


HELD = {
    "tensor": (torch.zeros(2, 3), "is a single tensor, [2, 3]"),
    "list": ([torch.zeros(2)], "holds a list and no tensors with names"),
    "numbers": ({"epoch": 1}, "holds no tensors (epoch)"),
    "nothing": ({}, "holds no tensors (empty)"),
}


@pytest.mark.parametrize("name", HELD)
def test_what_holds_no_named_tensors_is_named(name: str, tmp_path: Path) -> None:
    held, said = HELD[name]
    assert said in refusal(write(tmp_path / "x.pth", held))


@pytest.mark.parametrize("new", [NEW, OLD])
def test_cut_short_anywhere_it_is_one_sentence(new: bool, tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.pth", OrderedDict(a=torch.rand(40), b=torch.rand(3, 3)), new).read_bytes()
    path = tmp_path / "x.pth"
    for length in (20, 60, 100, len(whole) // 2, len(whole) - 200, len(whole) - 30, len(whole) - 1):
        path.write_bytes(whole[:length])
        said = refusal(path)
        assert "cut short or damaged" in said, said


def test_a_checkpoint_that_was_packed_anew_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pth", {"a": torch.zeros(100)})
    with zipfile.ZipFile(path) as file:
        entries = {entry.filename: file.read(entry) for entry in file.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, contents in entries.items():
            file.writestr(name, contents)
    assert "packed anew, compressed" in refusal(path)


@pytest.mark.parametrize("new", [NEW, OLD])
def test_a_tensor_larger_than_its_memory_is_refused(new: bool, tmp_path: Path) -> None:
    path = write(tmp_path / "x.pth", {"model.1.weight": torch.zeros(1).expand(10**6, 10**6)}, new)
    assert "the tensor 'model.1.weight' holds less than its shape says" in refusal(path)


def test_an_old_torch_is_told_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.pth", {"a": torch.zeros(1)})
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.5.1"))
    with pytest.raises(UserError, match="torch 2.6 or newer, and this is 2.5.1"):
        read_checkpoint(path)
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.10.0"))
    assert read_checkpoint(path).tensors


# --- large ones

GIGABYTES = 3 * 10**9


def sparse(path: Path, start: bytes, end: bytes = b"") -> Path:
    """A file of 3 GB that takes next to nothing of the disk."""
    with path.open("wb") as file:
        file.write(start)
        file.seek(GIGABYTES - len(end))
        file.write(end)
        file.truncate(GIGABYTES)
    return path


def large_checkpoint(path: Path, last: str = "archive/data/0") -> Path:
    """A zip archive, as torch.save writes it, of one tensor of nearly 3 GB; or with another entry of that size."""
    count = (GIGABYTES - 4096) // 4
    named = b"\x80\x02}X\x04\x00\x00\x00hugectorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\n"
    named += b"FloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ" + struct.pack("<i", count) + b"tQK\x00J"
    named += struct.pack("<i", count) + b"\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRs."
    small = archive(**{"archive/data.pkl": named, "archive/version": b"3\n"} | {last: b""})
    directory = small.index(b"PK\x01\x02")
    at = small.rindex(b"PK\x01\x02")  # of the last entry, whose size is made 3 GB
    listed = bytearray(small[directory:])
    size = struct.pack("<II", 4 * count, 4 * count)
    listed[at - directory + 20 : at - directory + 28] = size
    end = listed.rindex(b"PK\x05\x06")
    listed[end + 16 : end + 20] = struct.pack("<I", GIGABYTES - len(listed))
    own = small.rindex(b"PK\x03\x04", 0, directory)
    start = bytearray(small[:directory])
    start[own + 18 : own + 26] = size
    return sparse(path, bytes(start), bytes(listed))


def test_three_gigabytes_fail_before_they_fill_the_memory(tmp_path: Path) -> None:
    old = write(tmp_path / "small.pth", {"a": torch.zeros(3)}, OLD).read_bytes()
    files = {
        large_checkpoint(tmp_path / "zip.pth"): "is no generator known here: its 1 tensors begin with 'huge'",
        large_checkpoint(tmp_path / "version.pth", "archive/version"): "describes its contents in 3000 MB",
        large_checkpoint(tmp_path / "order.pth", "archive/byteorder"): "describes its contents in 3000 MB",
        sparse(tmp_path / "zeros.pth", b""): "is no checkpoint of PyTorch",
        sparse(tmp_path / "old.pth", old): "has 3.0 GB in the format before PyTorch 1.6",
        sparse(tmp_path / "cut.pth", b"PK\x03\x04"): "cut short or damaged",
        sparse(tmp_path / "pickle.pth", b"\x80\x04\x95" + b"\xff" * 8): "is a plain pickle",
        sparse(tmp_path / "array.pth", pickle.dumps(b"", 4)[:2] + b"\x8e" + struct.pack("<Q", 2**31)): "a plain pickle",
        sparse(tmp_path / "text.pth", b"text " * 200): "is a text",
    }
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from i2i.errors import UserError\n"
        "from i2i.zoo.convert import convert\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        convert(Path(name))\n"
        "    except UserError as error:\n"
        "        print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, *map(str, files)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    *said, grown = run.stdout.splitlines()
    for sentence, (path, words) in zip(said, files.items(), strict=True):
        assert sentence.startswith(str(path)) and words in sentence, sentence
    assert int(grown) < 200 * 1024  # kilobytes
    assert sum(path.stat().st_blocks for path in files) * 512 < 2**20
