"""What a hostile user gives `i2i`: one sentence that says what to do, the right exit code, and nothing half-written."""

from __future__ import annotations

import json
import os
import pty
import signal
import struct
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from i2i import batchrun, images, memory
from i2i.batchrun import Settings
from i2i.checkpoint import save_generator
from i2i.cli.running import progress
from i2i.data import folders
from i2i.data.cache import pack
from i2i.data.sources import Singles
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.game import Card
from i2i.inputs import plan
from i2i.spec import Spec
from i2i.translation.pix2pix import UnetGenerator

ALONE = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = UnetGenerator(width=2, depth=3)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    card = replace(network.card(), a="map", b="aerial")
    save_generator(path, network, Spec.to(UnetGenerator, width=2, depth=3), card)
    return path


@pytest.fixture(scope="module")
def engine() -> Engine:
    network = UnetGenerator(width=2, depth=3)
    network.card = network.card()  # type: ignore[assignment, method-assign]
    return Engine(network, precision="fp32")


def draw(folder: Path, *names: str, size: tuple[int, int] = (12, 10)) -> Path:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return folder


def sources(given: object, out: Path) -> list[str]:
    return [job.name or "" for job in plan([str(given)], out, format=None, suffix="")[0]]


def i2i(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "i2i", *map(str, arguments)]
    return subprocess.run(command, **{"capture_output": True, "text": True, "check": False, "env": ALONE, **options})  # type: ignore


def run_code(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ALONE)


# --- which pictures are meant


def test_a_missing_input_is_answered_with_what_was_probably_meant(tmp_path: Path) -> None:
    draw(tmp_path / "photos", "a.png")
    with pytest.raises(UserError, match=r"there is no file or folder .*fotos; did you mean .*photos\?"):
        sources(tmp_path / "fotos", tmp_path / "out")
    with pytest.raises(UserError, match="check the path"):
        sources(tmp_path / "zzz" / "q", tmp_path / "out")
    with pytest.raises(UserError, match="keep it in quotes"):
        sources(tmp_path / "photos/*.bmp", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no picture; put files there"):
        sources(tmp_path / "empty", tmp_path / "out")


def test_a_link_out_of_a_folder_does_not_bring_in_what_lies_above_it(tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", "a.png", "deep/b.png")
    draw(tmp_path, "outside.png")
    (folder / "up").symlink_to("..")
    (folder / "deep" / "self").symlink_to("../deep")
    assert sources(folder, tmp_path / "out") == ["a.png", "deep/b.png"]


def test_a_linked_folder_is_mirrored_beside_the_one_it_links_to(tmp_path: Path) -> None:
    """Whichever of the two the disk happens to list first."""
    folder = draw(tmp_path / "in", "m/a.png")
    (folder / "a").symlink_to("m")
    (folder / "z").symlink_to("m")
    assert sources(folder, tmp_path / "out") == ["a/a.png", "m/a.png", "z/a.png"]


def test_a_link_that_leads_nowhere_is_named(engine: Engine, tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", "a.png")
    (folder / "b.png").symlink_to("gone.png")
    told: list[batchrun.Outcome] = []
    batchrun.run(engine, [str(folder)], tmp_path / "out", Settings(), tell=lambda outcome, *_: told.append(outcome))
    assert [outcome.status for outcome in told] == ["written", "failed"]
    assert "leads nowhere" in told[1].reason


def test_a_data_set_is_looked_for_here_then_in_datasets_then_in_i2i_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (there / "maps").mkdir(parents=True)
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("I2I_DATA", raising=False)
    with pytest.raises(UserError, match="or its folder datasets; set I2I_DATA"):
        folders.find("maps")
    monkeypatch.setenv("I2I_DATA", str(there))
    assert folders.find("maps") == there / "maps"
    (here / "datasets/maps").mkdir(parents=True)
    assert folders.find("maps") == Path("datasets/maps")
    (here / "maps").mkdir()
    assert folders.find("maps") == Path("maps")
    with pytest.raises(UserError, match=r"its folder datasets, or .*there .*did you mean maps\?"):
        folders.find("mapps")
    with pytest.raises(UserError, match="empty"):
        folders.find("")


# --- pictures


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_a_picture_without_pixels_is_told(size: tuple[int, int], tmp_path: Path) -> None:
    files = {"a.ppm": b"P6 %d %d 255\n" % size, "a.gif": b"GIF89a" + struct.pack("<HH", *size) + bytes(3) + b";"}
    head = b"IHDR" + struct.pack(">II", *size) + b"\x08\x02\0\0\0"
    files["a.png"] = b"\x89PNG\r\n\x1a\n\0\0\0\r" + head + struct.pack(">I", zlib.crc32(head))
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match="this is no image, one without pixels, or one of a kind"):
            images.read(tmp_path / name)


def test_a_png_whose_pixels_fail_their_checksum_is_damaged(tmp_path: Path) -> None:
    """Pillow reads such a file without a word, as noise."""
    path = draw(tmp_path, "a.png", size=(64, 64)) / "a.png"
    data = bytearray(path.read_bytes())
    at = data.index(b"IDAT")
    length = int.from_bytes(data[at - 4 : at], "big")
    plain = bytearray(zlib.decompress(data[at + 4 : at + 4 + length]))
    plain[100] ^= 0xFF
    damaged = zlib.compress(bytes(plain))  # decodes, but is not what the checksum was made of
    data[at - 4 : at + 4 + length] = len(damaged).to_bytes(4, "big") + b"IDAT" + damaged
    path.write_bytes(data)
    Image.open(path).load()
    with pytest.raises(UserError, match="checksum"):
        images.read(path)


def test_tensors_and_things_that_are_no_images_are_refused_in_words(engine: Engine) -> None:
    for given in ("a.png", None, [1, 2]):
        with pytest.raises(TypeError, match="an image is a PIL image"):
            engine(given)  # type: ignore[type-var]
    with pytest.raises(UserError, match=r"floats in \[-1, 1\], not torch.uint8"):
        engine(torch.zeros(3, 8, 8, dtype=torch.uint8))
    with pytest.raises(UserError, match="takes tensors"):
        engine(torch.zeros(3, 0, 8))


# --- models


@pytest.mark.parametrize("bounds", [(0.0, 0.0), (1.0, -1.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_a_card_has_ranges_of_values(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="no range"):
        Card(value_range=(bounds, (-1.0, 1.0)))


def test_a_card_that_does_not_fit_its_network_is_one_sentence(tmp_path: Path) -> None:
    network = UnetGenerator(width=2, depth=3)
    network.card = replace(network.card(), multiple=1, minimum=1)  # type: ignore[assignment, method-assign]
    engine = Engine(network, precision="fp32")
    with pytest.raises(UserError, match="failed on 13 x 9 pixels .*models show"):
        engine(np.zeros((9, 13, 3), np.uint8))


def test_a_wrong_request_says_nothing_but_what_is_wrong(model: Path, tmp_path: Path) -> None:
    done = i2i("translate", "--model", model, tmp_path / "none")
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    done = i2i("translate", tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("i2i: which model?") and done.stderr.count("\n") == 1


# --- outputs


def test_a_name_as_long_as_names_may_be_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("図" * 83 + ".png")  # 253 bytes
    images.save(b"x", path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_pair_that_cannot_be_written_keeps_the_result_back(engine: Engine, tmp_path: Path) -> None:
    """So that a run with --skip-existing does it again."""
    folder = draw(tmp_path / "in", "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/compare").write_text("in the way")
    report = batchrun.run(engine, [str(folder)], tmp_path / "out", Settings(compare=True))
    assert report.failed == 1 and not (tmp_path / "out/a.png").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_standard_output_that_is_full_is_one_sentence(model: Path, tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", "a.png")
    for arguments in ([folder / "a.png", "-o", "-"], [folder, "-o", tmp_path / "out", "--json"]):
        with open("/dev/full", "wb") as full:
            done = i2i("translate", "-q", "--model", model, *arguments, capture_output=False, stdout=full,
                       stderr=subprocess.PIPE)  # fmt: skip
        assert done.returncode == 1
        assert done.stderr.startswith("i2i: ") and done.stderr.count("\n") == 1 and "standard output" in done.stderr


def test_a_standard_input_that_is_closed_is_one_sentence(engine: Engine, monkeypatch: pytest.MonkeyPatch,
                                                        tmp_path: Path) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "stdin", None)
    told: list[batchrun.Outcome] = []
    batchrun.run(engine, ["-"], tmp_path / "a.png", Settings(), tell=lambda outcome, *_: told.append(outcome))
    assert told[0].reason.startswith("standard input is closed")


def test_json_is_json_whatever_the_files_are_called(model: Path, tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", "a.png", "ü 日本.png", 'new\nline"quote.png')
    os.link(folder / "a.png", os.fsencode(folder) + b"/bad\xff.png")
    done = i2i("translate", "-q", "--json", "--model", model, folder, "-o", tmp_path / "out", text=False)
    found = [json.loads(line)["output"] for line in done.stdout.decode("utf-8").splitlines()[:-1]]  # type: ignore
    assert len(found) == 4 and all(os.path.exists(os.fsencode(name)) for name in found)


def test_formats_go_by_their_usual_names(model: Path, tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", "a.png")
    assert i2i("translate", "-q", "--model", model, folder, "-o", tmp_path / "out", "--format", "JPG").returncode == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.jpg"]


def test_on_a_terminal_each_path_has_a_line_of_its_own(tmp_path: Path) -> None:
    """The bar must not end up in front of a path."""
    code = (
        "import sys, time\n"
        "from i2i.batchrun import Outcome\n"
        "from i2i.cli.running import progress\n"
        "with progress(False, lambda outcome: outcome.output) as shown:\n"
        "    for done in range(1, 4):\n"
        "        shown.tell(Outcome('in', 'written', f'path{done}.png'), done, 3)\n"
        "        time.sleep(0.2)\n"
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=theirs, env=ALONE | {"TERM": "xterm"}):
        os.close(theirs)
        seen = b""
        while True:
            try:
                some = os.read(ours, 4096)
            except OSError:  # Linux: the other end is closed
                break
            if not some:
                break
            seen += some
    os.close(ours)
    lines = [part.rpartition("\x1b[2K")[2].strip() for part in seen.decode().split("\r\n")]
    assert {"path1.png", "path2.png", "path3.png"} <= set(lines)


def test_a_picture_is_not_poured_into_a_terminal(model: Path, tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", "a.png")
    ours, theirs = pty.openpty()
    done = i2i("translate", "--model", model, folder / "a.png", "-o", "-", capture_output=False, stdout=theirs,
               stderr=subprocess.PIPE)  # fmt: skip
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 2 and "would fill the terminal" in done.stderr


def test_an_interrupt_says_how_to_go_on(model: Path, tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", *[f"{i:03}.png" for i in range(60)], size=(64, 64))
    command = [sys.executable, "-m", "i2i", "translate", "--model", model, folder, "-o", tmp_path / "out"]
    with subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                          env=ALONE) as child:  # fmt: skip
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not list((tmp_path / "out").glob("0*.png")):
            time.sleep(0.005)
        child.send_signal(signal.SIGINT)
        said = child.communicate()[1]
    if child.returncode != 0:  # it may have been faster
        assert child.returncode == 130 and "--skip-existing" in said and said.endswith("i2i: interrupted\n")
    assert all(images.read(path).pixels.shape == (64, 64, 3) for path in (tmp_path / "out").iterdir())


# --- memory


def test_a_control_group_and_ulimit_bound_the_memory(tmp_path: Path) -> None:
    for group, limit, used in (("a", "max", 5), ("a/b", "1000", 900)):
        (tmp_path / group).mkdir()
        (tmp_path / group / "memory.max").write_text(f"{limit}\n")
        (tmp_path / group / "memory.current").write_text(f"{used}\n")
        (tmp_path / group / "memory.stat").write_text("anon 1\ninactive_file 300\n")
    (tmp_path / "own").write_text("0::/a/b\n")
    assert list(memory.group_limits(tmp_path, tmp_path / "own")) == [400]
    (tmp_path / "own").write_text("0::/the/host's/path\n")
    assert list(memory.group_limits(tmp_path, tmp_path / "own")) == []
    code = (
        "import resource, torch\n"
        "from i2i.memory import free_memory\n"
        "held = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (held + 500_000_000,) * 2)\n"
        "print(free_memory(torch.device('cpu')))\n"
    )
    assert 300_000_000 < int(run_code(code).stdout) <= 500_000_000


def test_a_batch_too_large_for_memory_is_halved_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Greedy(nn.Module):
        card = Card()

        def forward(self, x: Tensor) -> Tensor:
            return x

    said: list[str] = []
    engine = Engine(Greedy(), precision="fp32", batch=8, say=said.append)
    monkeypatch.setattr(engine.appetite, "too_hungry", lambda network, card, pixels, dtype: "" if pixels < 50 else "no")
    results = engine.run([np.full((4, 4, 3), value, np.uint8) for value in range(8)])
    assert [int(result[0, 0, 0]) for result in results] == list(range(8))
    assert engine.batch == 2 and said == [
        "a batch of 8 does not fit into memory; going on with 4",
        "a batch of 4 does not fit into memory; going on with 2",
    ]


# --- data caches


def test_a_cache_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", "a.png")
    pictures = Singles(folders.scan(folder))
    with pytest.raises(UserError, match="choose another place with -o") as caught:
        pack(pictures, tmp_path / "none" / "x.cache", lambda pixels: pixels, about={})
    assert caught.value.code == 2
    done = i2i("data", "cache", folder, "-o", tmp_path, "--layout", "single", "--overwrite")
    assert done.returncode == 2 and "is a folder; name the file" in done.stderr


def test_failures_are_named_also_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(True, lambda outcome: "") as shown:
        shown.tell(batchrun.Outcome("a", "failed", reason="a: why"), 1, 1)
    assert capsys.readouterr() == ("", "failed: a: why\n")
