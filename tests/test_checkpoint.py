"""Files that training leaves: whole under their names or not there, readable by whom the umask lets."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from i2i.checkpoint import States, plain, read_header, save_generator, write_atomically, write_tensors
from i2i.errors import UserError
from i2i.game import Origin
from i2i.spec import Spec
from i2i.translation.pix2pix import UnetGenerator

SPEC = Spec.to(UnetGenerator, width=2, depth=2)
GROUPS = {"players": {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)}, "game": {}}


@pytest.fixture(params=[0o022, 0o027, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def save(states: States, *images: int) -> None:
    for count in images:
        states.save(count, GROUPS, {"images": count})


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    states = States(tmp_path / "deep" / "state")
    assert states.load(print) is None
    path = states.save(12, GROUPS, {"clock": {"images": 12}})
    assert path.name == "0000000012"
    loaded = states.load(print)
    assert loaded is not None
    groups, facts = loaded
    assert facts == {"clock": {"images": 12}}
    assert groups.keys() == GROUPS.keys()
    assert groups["players"].keys() == {"a", "b"}
    assert all(torch.equal(groups["players"][key], value) for key, value in GROUPS["players"].items())


def test_the_last_few_are_kept(tmp_path: Path) -> None:
    states = States(tmp_path, keep=3)
    save(states, 9, 10, 200, 1000, 30)
    assert [path.name for path in states.saved()] == ["0000000030", "0000000200", "0000001000"]
    save(states, 1000)  # again: the run was continued from an older one
    assert len(states.saved()) == 3
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("part")] == []


def test_files_beside_the_checkpoints_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir(parents=True)
    (tmp_path / "123").write_text("a file")
    states = States(tmp_path, keep=1)
    save(states, 1, 2)
    assert [path.name for path in states.saved()] == ["0000000002"]
    assert (tmp_path / "notes").is_dir()


@pytest.mark.parametrize("damage", ["shorter", "other", "missing", "manifest", "empty manifest", "nonsense manifest"])
def test_a_torn_one_is_said_and_the_one_before_is_taken(damage: str, tmp_path: Path) -> None:
    states = States(tmp_path)
    save(states, 1, 2)
    file, manifest = (tmp_path / "0000000002" / name for name in ("players.safetensors", "manifest.json"))
    data = file.read_bytes()
    match damage:
        case "shorter":
            file.write_bytes(data[:-1])
        case "other":
            file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        case "missing":
            file.unlink()
        case "manifest":
            manifest.unlink()
        case "empty manifest":
            manifest.write_text("")
        case "nonsense manifest":
            manifest.write_text('{"players.safetensors": 5}')
    said: list[str] = []
    loaded = states.load(said.append)
    assert loaded is not None
    assert loaded[1] == {"images": 1}
    assert len(said) == 1
    assert "0000000002 is torn" in said[0]
    assert "falling back to the one before" in said[0]


def test_none_whole_is_an_error(tmp_path: Path) -> None:
    save(States(tmp_path), 1)
    (tmp_path / "0000000001" / "manifest.json").unlink()
    with pytest.raises(UserError, match="none of the 1 checkpoints in .* is whole; remove it to start anew"):
        States(tmp_path).load(lambda sentence: None)


def test_a_save_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    states = States(tmp_path)
    save(states, 1)
    with pytest.raises(TypeError):
        states.save(2, GROUPS, {"not JSON": object()})
    assert [path.name for path in states.saved()] == ["0000000001"]
    assert states.load(print) is not None
    assert [path.name for path in tmp_path.iterdir()] == ["0000000001"]  # what was half-written is gone


def test_every_layout_and_shared_memory_can_be_kept(tmp_path: Path) -> None:
    base = torch.arange(2.0 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    tensors: dict[str, Tensor] = {
        "last": base.to(memory_format=torch.channels_last),
        "view": base[:, :1],
        "same": base,
        "again": base,
        "half": base.bfloat16(),
        "none": torch.empty(0),
    }
    kept = plain(tensors)
    assert all(tensor.is_contiguous() for tensor in kept.values())
    assert len({tensor.data_ptr() for tensor in kept.values()}) == len(kept)
    write_tensors(tmp_path / "x.safetensors", kept)
    assert all(torch.equal(kept[name], tensor) for name, tensor in tensors.items())


def test_all_files_have_the_mode_that_the_umask_gives(umask: int, tmp_path: Path) -> None:
    network = UnetGenerator(width=2, depth=2)
    save_generator(tmp_path / "g" / "a2b.safetensors", network, SPEC, network.card())
    save(States(tmp_path / "state"), 1)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 5
    assert {mode(path) for path in files} == {0o666 & ~umask}


def test_a_generator_file_says_what_it_is(tmp_path: Path) -> None:
    network = UnetGenerator(width=2, depth=2)
    origin = Origin(data="maps", terms="research", images=7, figures={"miou": 0.5})
    card = replace(network.card(), a="map", b="aerial", origin=origin)
    path = tmp_path / "a2b.safetensors"
    save_generator(path, network, SPEC, card, dtype=torch.float16)
    header = read_header(path)
    assert header.card == card
    assert header.spec == SPEC
    assert header.bytes == path.stat().st_size
    assert header.shapes == {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert [found.name for found in tmp_path.iterdir()] == ["a2b.safetensors"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("before")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, fail)
    assert path.read_text() == "before"
    assert [found.name for found in tmp_path.iterdir()] == ["x"]
    write_atomically(path, lambda temporary: json.dump(1, temporary.open("w")))
    assert path.read_text() == "1"


def test_a_full_disk_is_an_oserror() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError, match=r"\[Errno \d+\]"):
        write_tensors(Path("/dev/full/x.safetensors"), {"a": torch.zeros(9)})
