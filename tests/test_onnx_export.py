"""A generator as one ONNX file: what ONNX Runtime computes is what torch computes, and the file says how to use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import i2i
from i2i import cli, onnx_export, zoo
from i2i.checkpoint import card_from, read_header, save_generator
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.game import Card, Origin
from i2i.layers import StoredBatchNorm, init_normal
from i2i.onnx_export import LIMIT, export
from i2i.spec import Spec
from i2i.translation.cyclegan import ResnetGenerator
from i2i.translation.pix2pix import UnetGenerator

pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
onnxruntime = onnx_export.load_runtime()
import onnx  # noqa: E402  (after the line that keeps ONNX Runtime silent)

SAMPLES = Path(i2i.__file__).parent / "zoo" / "samples"


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def ran(run: Any, x: Tensor) -> Tensor:
    return torch.from_numpy(run.run(None, {"image": x.numpy()})[0])


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


def facts(path: Path) -> dict[str, str]:
    return dict(session(path).get_modelmeta().custom_metadata_map)


def carded(network: Any, **more: Any) -> Any:
    """A network ready to be exported, with the card of its class or a plain one."""
    torch.manual_seed(0)
    init_normal(network).eval().requires_grad_(False)
    network.card = replace(network.card() if hasattr(network, "card") else Card(), **more)
    return network


def resnet() -> Any:
    return carded(ResnetGenerator(width=4, blocks=1), a="street map", b="aerial photograph")


def sample(card: Card) -> Image.Image:
    """A picture of what the card takes."""
    gray = card.holds[0].kind == "lightness"
    folder = SAMPLES / ("aerial_photographs" if card.scale > 1 or gray else f"{card.a.replace(' ', '_')}s")
    return Image.open(sorted(folder.glob("*.*g"))[2]).convert("L" if gray else "RGB")


# --- the models that ship


@pytest.mark.parametrize("name", [name for name in zoo.names() if read_header(zoo.find(name)).card.kind == "image"])
def test_shipped_model(name: str, tmp_path: Path) -> None:
    network: Any = zoo.load_generator(name)
    done = export(network, tmp_path / "model.onnx", say=pytest.fail)
    run, engine = session(done.path), Engine(network, device="cpu", precision="fp32")
    assert done.difference <= LIMIT
    assert {shape[0] for shape in done.checked} == {3}
    equals_torch(run, network, engine)
    if engine.card.holds[0].kind == "colours":  # lightness and chroma are no picture yet
        translates_by_its_metadata(run, engine)


def equals_torch(run: Any, network: Any, engine: Engine) -> None:
    """Batches of three, in two sizes that torch takes as they are; and a real picture that i2i pads."""
    card = engine.card
    side = max(64, card.multiple)
    for size in ((side, side), (side, side + card.multiple)):
        x = noise(3, card.channels[0], *size)
        with torch.inference_mode():
            wanted = network(x)
        found = ran(run, x)
        assert found.shape == wanted.shape
        assert (found - wanted).abs().max() <= LIMIT
    # on a street map's flat grounds, the statistics of ONNX Runtime's own instance norm are too rough
    (low, high), side = card.value_range[0], 512 // card.scale
    picture = np.asarray(sample(card).crop((0, 0, side, side - 21)), np.float32) / 255 * (high - low) + low
    x = torch.from_numpy(picture.reshape(*picture.shape[:2], -1)).permute(2, 0, 1)
    assert (ran(run, x[None].contiguous())[0] - engine(x)).abs().max() <= LIMIT


def translates_by_its_metadata(run: Any, engine: Engine) -> None:
    """A picture, with nothing but ONNX Runtime, numpy, Pillow and what the file says of itself."""
    told: dict[str, str] = dict(run.get_modelmeta().custom_metadata_map)
    card, picture = engine.card, sample(engine.card).crop((150, 150, 321, 280))
    assert (told["layout"], told["input_channels"], told["output_channels"]) == ("NCHW", "RGB", "RGB")
    (low, high), (low_out, high_out) = json.loads(told["input_range"]), json.loads(told["output_range"])
    x = np.asarray(picture, np.float32) / 255 * (high - low) + low
    (y,) = run.run(["result"], {"image": x.transpose(2, 0, 1)[None]})
    found = np.rint(np.clip((y[0].transpose(1, 2, 0) - low_out) / (high_out - low_out), 0, 1) * 255)
    wanted = engine(np.asarray(picture))
    assert found.shape == wanted.shape == (130 * card.scale, 171 * card.scale, 3)
    assert np.abs(found - wanted).max() <= 1

    assert told["direction"] == f"{card.a} -> {card.b}"
    assert told["terms"] == card.origin.terms and told["terms"]
    assert card_from(json.loads(told["i2i.card"])) == replace(card, modes=("deterministic",), mode="deterministic")
    sizes = [int(told[key]) for key in ("multiple", "minimum", "scale")]
    assert sizes == [card.multiple, card.minimum, card.scale]


# --- what is in the file


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network's file, alone in its folder."""
    return export(resnet(), tmp_path_factory.mktemp("small") / "small.onnx").path


def test_the_example_runs_as_it_is(small: Path, tmp_path: Path) -> None:
    network = resnet()
    picture = sample(network.card).crop((150, 150, 321, 280))
    picture.save(tmp_path / "in.png")
    (tmp_path / small.name).write_bytes(small.read_bytes())
    code = facts(small)["example"] + "import sys; assert not {'torch', 'i2i'} & set(sys.modules)"
    run = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    with Image.open(tmp_path / "out.png") as out:
        difference = np.asarray(out, int) - np.asarray(Engine(network, device="cpu", precision="fp32")(picture), int)
    assert np.abs(difference).max() <= 1


def test_it_is_one_file_that_says_nothing_of_this_machine(small: Path) -> None:
    assert [path.name for path in small.parent.iterdir()] == ["small.onnx"]
    for private in (b"site-packages", b"stack_trace", os.fsencode(Path(i2i.__file__).parents[1])):
        assert private not in small.read_bytes()
    model = onnx.load_model(small)
    onnx.checker.check_model(model, full_check=True)
    assert "Translates street map -> aerial photograph." in model.doc_string
    assert (model.producer_name, model.opset_import[0].version) == ("i2i", 18)


def test_dimensions_are_named(small: Path) -> None:
    run = session(small)
    given, made = run.get_inputs()[0], run.get_outputs()[0]
    assert (given.name, given.shape) == ("image", ["batch", 3, "height", "width"])
    assert (made.name, made.shape) == ("result", ["batch", 3, "height", "width"])


def test_the_same_network_gives_the_same_bytes_and_is_left_as_it_was(small: Path, tmp_path: Path) -> None:
    network = resnet()
    before, parts = {key: value.clone() for key, value in network.state_dict().items()}, repr(network)
    export(network, tmp_path / "small.onnx")
    assert (tmp_path / "small.onnx").read_bytes() == small.read_bytes()
    assert repr(network) == parts
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 3), (31, 33)])
def test_small_pictures_are_padded_as_the_engine_does(size: tuple[int, int], small: Path) -> None:
    x = noise(2, 3, *size)
    found, wanted = ran(session(small), x), Engine(resnet(), device="cpu", precision="fp32")(x)
    assert found.shape == wanted.shape
    # of a single pixel nothing but rounding is left after the norms; that it runs is all there is to say
    assert size == (1, 1) or (found - wanted).abs().max() <= LIMIT


# --- other networks


class Twice(nn.Module):
    """Four channels in, one out, twice as large: pixels are shuffled up."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), StoredBatchNorm(8), nn.PReLU())
        self.last = nn.Sequential(nn.Conv2d(8, 4, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layers(x))


def test_a_network_that_enlarges(tmp_path: Path) -> None:
    ranges = ((0.0, 1.0), (-1.0, 1.0))
    network = carded(
        Twice(), scale=2, channels=(4, 1), value_range=ranges, modes=("stored", "deterministic"), mode="stored"
    )
    done = export(network, tmp_path / "twice.onnx")
    run, told = session(done.path), facts(done.path)
    assert run.get_outputs()[0].shape == ["batch", 1, "2*height", "2*width"]
    assert (told["input_channels"], told["output_channels"], told["scale"]) == ("RGBA", "gray", "2")
    assert done.mode == told["mode"] == "stored"
    x = noise(2, 4, 1, 7)
    assert (ran(run, x) - network(x)).abs().max() <= LIMIT
    other = export(network, tmp_path / "own.onnx", mode="deterministic", opset=21)  # statistics of the picture itself
    assert onnx.load_model(other.path).opset_import[0].version == other.opset == 21
    own = Engine(network, device="cpu", precision="fp32", mode="deterministic")
    assert (ran(session(other.path), x) - own(x)).abs().max() <= LIMIT
    assert (ran(session(other.path), x) - ran(run, x)).abs().max() > 0.01


# --- what is refused


class Noisy(nn.Module):
    """Never twice the same, so no file can equal it."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.01 * torch.rand_like(x)


class Choosy(nn.Module):
    """Does one thing or another, by what it sees: no graph says that."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.mean() > 0 else -x


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Noisy, r"the exported graph differs from torch by 0\.0\d+, and 0\.0001 is allowed"),
        (Choosy, "torch cannot write Choosy as ONNX"),
    ],
)
def test_what_cannot_be_equal_is_not_kept(network: Callable[[], Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_text("what was there")
    with pytest.raises(UserError, match=said) as caught:
        export(carded(network()), tmp_path / "x.onnx", overwrite=True)
    assert "\n" not in str(caught.value)
    assert caught.value.code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]
    assert (tmp_path / "x.onnx").read_text() == "what was there"


def test_paper_mode_is_refused_or_replaced(tmp_path: Path) -> None:
    unet = carded(UnetGenerator(width=2, depth=2))
    with pytest.raises(UserError, match=r"seeded by i2i and cannot go into an ONNX file; take --mode deterministic"):
        export(unet, tmp_path / "x.onnx", mode="paper")
    with pytest.raises(UserError, match="no mode 'stored'"):
        export(unet, tmp_path / "x.onnx", mode="stored")
    assert not list(tmp_path.iterdir())
    unet.card, said = replace(unet.card, mode="paper"), list[str]()
    assert export(unet, tmp_path / "x.onnx", say=said.append).mode == "deterministic"
    assert "exported is mode 'deterministic'" in said[0]


# --- the command


def command(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of `i2i export ...`; what C++ writes is seen as well."""
    with pytest.raises(SystemExit) as left:
        cli.main(["export", *map(str, arguments)])
    assert isinstance(left.value.code, int)
    return left.value.code, *capfd.readouterr()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A generator file."""
    spec = Spec.to(ResnetGenerator, width=4, blocks=1)
    network: Any = spec.build()
    card = replace(network.card(), a="cat", b="dog", origin=Origin(terms="none"))
    save_generator(tmp_path / "model.safetensors", init_normal(network), spec, card)
    return tmp_path / "model.safetensors"


def test_the_command_prints_the_parity(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made" / "x.onnx"
    code, said, remarks = command(capfd, model, out)
    assert (code, remarks) == (0, "")
    assert said.startswith(f"{out}: 0.0 MB, opset 18, mode deterministic; largest difference from torch ")
    assert said.endswith("(allowed 1e-04) on 3 x 3 x 64 x 68 and 3 x 3 x 57 x 35\n")
    first = out.read_bytes()

    code, said, remarks = command(capfd, model, out)
    assert (code, said) == (2, "")
    assert remarks == f"i2i: {out} is there already; choose another name, or replace it with --overwrite\n"
    assert out.read_bytes() == first

    code, said, remarks = command(capfd, model, out, "--overwrite", "--json")
    assert (code, remarks) == (0, "")
    told = json.loads(said)
    assert (told["path"], told["bytes"], told["limit"]) == (str(out), len(first), LIMIT)
    assert told["difference"] <= LIMIT
    assert facts(out)["direction"] == "cat -> dog"
    assert facts(out)["terms"] == "none"


@pytest.mark.parametrize(
    ("name", "out", "said"),
    [
        ("pix2pix/map2arial", "x.onnx", "did you mean 'pix2pix/map2aerial'"),
        ("{}", "x.onnx", "is a folder"),
        ("cyclegan/map2aerial", "", "is a folder; name the file to write, such as"),
        ("cyclegan/map2aerial", "x.pb", "an ONNX file ends in .onnx"),
        ("cyclegan/map2aerial", "x.onnx --mode paper", "cannot go into an ONNX file"),
        ("cyclegan/map2aerial", "x.onnx --opset 9", "18<=x<=25"),
    ],
)
def test_bad_requests(name: str, out: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, *options = out.split(" ")
    code, printed, remarks = command(capfd, name.format(tmp_path), tmp_path / path, *options)
    assert (code, printed) == (2, "")
    assert said in remarks
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_written(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, _, remarks = command(capfd, model, model / "x.onnx")  # a file stands where a folder is meant
    assert code == 2
    assert remarks == f"i2i: {model / 'x.onnx'} cannot be written, as {model} is no folder; name another place\n"


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # type: ignore[arg-type]  # Python's own word for "not there"
    code, _, remarks = command(capfd, "no/such", tmp_path / "x.onnx")
    assert code == 2
    assert f"'{package}' does not load; pip install 'i2i-toolkit[onnx]'" in remarks


def test_onnx_runtime_keeps_no_diary(tmp_path: Path) -> None:
    """Since 1.29 it leaves an identifier and a queue of reports in the user's cache, unless told not to."""
    silencers = ("CI", "ORT_DISABLE_TELEMETRY", "TF_BUILD", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST")
    clean = {name: value for name, value in os.environ.items() if name not in silencers}
    homes = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    code = "from i2i.onnx_export import load_runtime; load_runtime().SessionOptions()"
    run = subprocess.run([sys.executable, "-c", code], env=clean | homes, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name.lower()]
