"""`i2i translate`: what is written, under which name, and what is said when something is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i import batchrun
from i2i.batchrun import Outcome, Settings
from i2i.checkpoint import save_generator
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.images import read
from i2i.inputs import plan
from i2i.spec import Spec
from i2i.translation.cyclegan import ResnetGenerator
from i2i.translation.pix2pix import UnetGenerator

ODD = Path(__file__).parent / "odd_images"
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
    torch.manual_seed(0)
    network = ResnetGenerator(width=2, blocks=1)
    network.card = replace(network.card(), minimum=8)  # type: ignore[assignment, method-assign]
    return Engine(network, precision="fp32")


def draw(folder: Path, *names: str, size: tuple[int, int] = (12, 10)) -> Path:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return folder


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def translate(model: Path, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "i2i", "translate", "--model", str(model), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ALONE, **options)  # type: ignore


def outcomes(engine: Engine, inputs: list[object], out: Path, **settings: object) -> list[Outcome]:
    found: list[Outcome] = []
    batchrun.run(engine, [str(given) for given in inputs], out, Settings(**settings),  # type: ignore[arg-type]
                 tell=lambda outcome, done, total: found.append(outcome))  # fmt: skip
    return found


def test_a_tree_is_mirrored_in_order_and_sizes_stay(engine: Engine, tmp_path: Path) -> None:
    draw(tmp_path / "in", "b.png", "a.jpg", "deep/er/c.webp", "deep/d.tif", ".hidden.png")
    found = outcomes(engine, [tmp_path / "in"], tmp_path / "out")
    assert tree(tmp_path / "out") == ["a.jpg", "b.png", "deep/d.tif", "deep/er/c.webp"]
    assert [Path(outcome.input).name for outcome in found] == ["a.jpg", "b.png", "d.tif", "c.webp"]
    assert all(read(tmp_path / "out" / name).pixels.shape == (12, 10, 3) for name in tree(tmp_path / "out"))


def test_globs_keep_what_lies_below_their_fixed_part(engine: Engine, tmp_path: Path) -> None:
    draw(tmp_path, "in/x/a.png", "in/y/a.png", "in/y/b.jpg")
    outcomes(engine, [tmp_path / "in/*/*.png"], tmp_path / "out")
    assert tree(tmp_path / "out") == ["x/a.png", "y/a.png"]


def test_inputs_of_one_name_are_kept_apart(engine: Engine, tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", "a.jpg", "a.png", "b.png")
    said: list[str] = []
    batchrun.run(engine, [str(folder)], tmp_path / "out", Settings(format="png"), say=said.append)
    assert tree(tmp_path / "out") == ["a.jpg.png", "a.png.png", "b.png"]
    assert len(said) == 3 and "shares its name" in said[1]  # the first says which model runs
    both = [str(draw(tmp_path / "p", "a.png") / "a.png"), str(draw(tmp_path / "q", "a.png") / "a.png")]
    assert len({job.name for job in plan(both, tmp_path / "out", format=None, suffix="")[0]}) == 2


def test_results_do_not_depend_on_batch_order_or_shard(engine: Engine, tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", *[f"{i}.png" for i in range(7)])
    outcomes(engine, [folder], tmp_path / "one")
    for part in (1, 2, 3):
        outcomes(engine, [folder], tmp_path / "shards", shard=(part, 3))
    many = Engine(engine.generator, precision="fp32", batch=4)
    outcomes(many, [folder / "6.png", folder / "0.png", folder / "[1-5].png"], tmp_path / "many")
    for name in tree(tmp_path / "one"):
        expected = read(tmp_path / "one" / name).pixels.astype(int)
        for other in ("shards", "many"):
            assert np.abs(read(tmp_path / other / name).pixels - expected).max() <= 1


def test_what_is_finished_is_not_done_again(engine: Engine, tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", "a.png", "b.png", "c.png")
    outcomes(engine, [folder / "b.png"], tmp_path / "out")
    before = (tmp_path / "out/b.png").stat().st_mtime_ns
    with pytest.raises(UserError, match="already exists; add --skip-existing"):
        outcomes(engine, [folder], tmp_path / "out")
    found = outcomes(engine, [folder], tmp_path / "out", existing="skip")
    assert [outcome.status for outcome in found] == ["written", "skipped", "written"]
    assert (tmp_path / "out/b.png").stat().st_mtime_ns == before
    assert {o.status for o in outcomes(engine, [folder], tmp_path / "out", existing="overwrite")} == {"written"}


def test_an_output_that_would_replace_inputs_is_refused(engine: Engine, tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", "a.png", "a_x.png")
    with pytest.raises(UserError, match="choose another with -o"):
        outcomes(engine, [folder], folder)
    with pytest.raises(UserError, match="would replace the input"):
        outcomes(engine, [folder], folder, suffix="_x", existing="overwrite")
    with pytest.raises(UserError, match="input itself"):
        outcomes(engine, [folder / "a.png"], folder / "a.png", existing="overwrite")
    outcomes(engine, [folder / "a.png"], folder, suffix="_y")
    assert tree(folder) == ["a.png", "a_x.png", "a_y.png"]


def test_an_output_folder_inside_the_input_is_not_read_again(engine: Engine, tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", "a.png")
    for _ in range(2):
        assert len(outcomes(engine, [folder], folder / "out", existing="overwrite")) == 1


@pytest.mark.parametrize(("given", "said"), [("none.png", "there is no file"), ("*.gif", "no picture matches"),
                                             ("empty", "holds no picture")])  # fmt: skip
def test_inputs_that_are_not_there_are_said(engine: Engine, tmp_path: Path, given: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=said) as caught:
        outcomes(engine, [tmp_path / given], tmp_path / "out")
    assert caught.value.code == 2 and not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_is_said_before_any_work(engine: Engine, tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", "a.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file"):
        outcomes(engine, [folder], tmp_path / "file")


def test_bad_pictures_do_not_stop_the_others(engine: Engine, tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", "a.png", "c.png")
    (folder / "b.png").write_bytes(b"")
    found = outcomes(engine, [folder], tmp_path / "out")
    assert [outcome.status for outcome in found] == ["written", "failed", "written"]
    assert "b.png: the file is empty" in found[1].reason
    assert tree(tmp_path / "out") == ["a.png", "c.png"]


def test_depth_and_alpha_reach_the_result(engine: Engine, tmp_path: Path) -> None:
    alpha = np.arange(120, dtype=np.uint8).reshape(12, 10)
    Image.fromarray(np.dstack([np.zeros((12, 10, 3), np.uint8), alpha])).save(tmp_path / "a.png")
    Image.fromarray(np.arange(120, dtype=np.uint16).reshape(12, 10) * 500).save(tmp_path / "b.png")
    outcomes(engine, [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out")
    result = read(tmp_path / "out/a.png")
    assert result.alpha is not None and np.array_equal(result.alpha, alpha)
    deep = read(tmp_path / "out/b.png")
    assert deep.deep and deep.pixels.shape == (12, 10, 3) and len(np.unique(deep.pixels % 257)) > 100
    (found,) = outcomes(engine, [tmp_path / "a.png"], tmp_path / "jpeg", format="jpeg")
    assert "jpeg holds no alpha; it was dropped" in found.notes


def test_compare_writes_pairs_and_a_sheet(engine: Engine, tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", "a.png", "b.jpg")
    outcomes(engine, [folder], tmp_path / "out", compare=True)
    assert tree(tmp_path / "out") == ["a.png", "b.jpg", "compare.png", "compare/a.png.png", "compare/b.jpg.png"]
    pair = read(tmp_path / "out/compare/a.png.png").pixels
    assert np.array_equal(pair[:, :10], read(folder / "a.png").pixels)
    assert np.array_equal(pair[:, -10:], read(tmp_path / "out/a.png").pixels)


def test_memory_stays_flat_in_the_number_of_pictures(engine: Engine, tmp_path: Path) -> None:
    """A slow network must not let decoded pictures pile up."""
    folder = draw(tmp_path / "in", *[f"{i}.png" for i in range(12)], size=(8, 8))
    reading: list[int] = []
    generator = ResnetGenerator(width=2, blocks=1)
    generator.card = engine.card  # type: ignore[assignment, method-assign]
    slow = Engine(generator, precision="fp32")
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        jobs, _ = plan([str(folder)], tmp_path / "out", format=None, suffix="")
        groups = batchrun.decoded((reading.append(1) or job for job in jobs), pool, Settings(), slow.batch, None)  # type: ignore
        next(groups)
        assert len(reading) <= 4


def test_the_command_runs_without_the_training_and_metric_libraries(model: Path, tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", "a.png")
    code = (
        "import sys\n"
        "from i2i.cli.translate import translate\n"
        f"translate.main(['--model', {str(model)!r}, {str(folder)!r}, '-o', {str(tmp_path / 'out')!r}],"
        " standalone_mode=False)\n"
        "print(sorted({'accelerate', 'albumentations', 'kornia', 'lpips', 'torchvision', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ALONE)
    assert done.stdout.splitlines()[-1] == "[]"


def test_json_standard_streams_and_exit_codes(model: Path, tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", "a.png")
    (folder / "b.png").write_bytes(b"nothing")
    done = translate(model, folder, "-o", tmp_path / "out", "--json")
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line.get("status") for line in lines[:-1]] == ["written", "failed"]
    assert lines[-1]["summary"]["written"] == lines[-1]["summary"]["failed"] == 1
    assert "map -> aerial" in done.stderr and "deterministic" in done.stderr and "failed: " in done.stderr
    command = [sys.executable, "-m", "i2i", "translate", "-q", "--model", str(model), "-"]
    piped = subprocess.run(command, input=(folder / "a.png").read_bytes(), capture_output=True, check=True, env=ALONE)
    assert np.array_equal(read(piped.stdout).pixels, read(tmp_path / "out/a.png").pixels)


def test_wrong_requests_are_one_sentence(model: Path, tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", "a.png")
    asked = [[folder, "-o", folder], [tmp_path / "none"]]
    if not torch.cuda.is_available():
        asked.append([folder, "--device", "cuda"])
    for arguments in asked:
        done = translate(model, "-q", *arguments)
        assert done.returncode == 2 and done.stdout == ""
        assert done.stderr.startswith("i2i: ") and done.stderr.count("\n") == 1
    assert tree(tmp_path) == ["in/a.png"]


def test_a_killed_run_leaves_no_torn_result_and_continues(model: Path, tmp_path: Path) -> None:
    folder = draw(tmp_path / "in", *[f"{i:03}.png" for i in range(60)], size=(64, 64))
    command = [sys.executable, "-m", "i2i", "translate", "--model", model, folder, "-o", tmp_path / "out"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ALONE) as child:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and len(list((tmp_path / "out").glob("0*.png"))) < 5:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    assert kept and all(read(path).pixels.shape == (64, 64, 3) for path in kept)
    done = translate(model, folder, "-o", tmp_path / "out", "--skip-existing")
    assert done.returncode == 0 and f"{len(kept)} were there already" in done.stderr
    assert len(list((tmp_path / "out").glob("*.png"))) == 60
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())


def test_a_full_disk_is_one_sentence_and_loses_nothing(model: Path, tmp_path: Path) -> None:
    """Files may hold 4,000 bytes: the small picture fits, the large one does not."""
    folder = draw(tmp_path / "in", "a.png", size=(8, 8))
    draw(folder, "b.png", size=(64, 64))
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n"
        "from i2i.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", code, "translate", "-q", "--model", model, folder, "-o", tmp_path / "out"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, env=ALONE)
    assert done.returncode == 1
    assert "cannot write" in done.stderr and "--skip-existing" in done.stderr and "Traceback" not in done.stderr
    assert tree(tmp_path / "out") == ["a.png"]


def test_animations_and_pages_keep_all_their_frames(engine: Engine, tmp_path: Path) -> None:
    given, out = tmp_path / "in", tmp_path / "out"
    given.mkdir()
    rng = np.random.default_rng(0)
    first, *others = (Image.fromarray(rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)) for _ in range(3))
    first.save(given / "a.gif", save_all=True, append_images=others, duration=[100, 200, 50], loop=0)
    first.save(given / "b.webp", save_all=True, append_images=others, duration=70)
    first.save(given / "c.tif", save_all=True, append_images=others)
    first.save(given / "d.png")
    found = outcomes(engine, [given], out, compare=True, gallery=True)
    assert [outcome.status for outcome in found] == ["written"] * 4
    for name in ("a.png", "b.webp", "c.tif"):
        with Image.open(out / name) as moving:
            assert moving.n_frames == 3
    assert (out / "compare/a.png.png").is_file() and "all frames" in found[0].notes[0]
    # a page is translated as the picture by itself is
    assert np.array_equal(read(out / "c.tif").pixels, read(out / "d.png").pixels)
    refused = outcomes(engine, [given], tmp_path / "jpeg", format="jpeg")
    assert ["3 frames, and jpeg holds one" in outcome.reason or "3 pages" in outcome.reason
            for outcome in refused] == [True, True, True, False]  # fmt: skip
    assert tree(tmp_path / "jpeg") == ["d.jpg"]


def test_the_position_is_left_out_unless_it_is_kept(engine: Engine, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "maker"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 30.0)})
    Image.new("RGB", (16, 12)).save(tmp_path / "a.jpg", exif=exif)
    for kept in (False, True):
        outcomes(engine, [tmp_path / "a.jpg"], tmp_path / str(kept), keep_gps=kept)
        tags = Image.open(tmp_path / str(kept) / "a.jpg").getexif()
        assert bool(tags.get_ifd(0x8825)) == kept and tags[0x010F] == "maker"


def test_the_odd_images_in_one_run(model: Path, tmp_path: Path) -> None:
    """All that Pillow reads are written, every other is named with its reason; under 4 GB."""
    code = (
        "import resource, sys\n"
        "from i2i.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    command = [sys.executable, "-c", code, "translate", "--json", "--model", model, ODD, "-o", tmp_path / "out"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, env=ALONE)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    *lines, _, peak = done.stdout.splitlines()
    assert int(peak) < 4 << 20  # KiB
    found = {Path(line["input"]).relative_to(ODD).as_posix(): line for line in map(json.loads, lines)}
    index = [row.split("\t") for row in (ODD / "INDEX.tsv").read_text().splitlines()[1:]]
    assert sorted(found) == sorted(row[0] for row in index)
    for name, *_, pillow, _ in index:
        line = found[name]
        if pillow == "ok":
            assert line["status"] == "written" and Path(line["output"]).is_file(), line
        else:
            assert line["status"] == "failed" and name in line["reason"] and line["output"] is None
    assert len(tree(tmp_path / "out")) == 165
