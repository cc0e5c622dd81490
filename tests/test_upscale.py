"""`i2i upscale`: large results are written as they are made, and nothing of a photograph is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

from i2i import batchrun
from i2i import engine as engines
from i2i.batchrun import Outcome, Settings
from i2i.checkpoint import save_generator
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.game import Card
from i2i.images import Picture, read, side_by_side
from i2i.images.picture import as_depth
from i2i.spec import Spec
from i2i.translation.esrgan import RRDBNet
from i2i.translation.srgan import SRResNet

ODD = Path(__file__).parent / "odd_images"
ALONE = {**os.environ, "OMP_NUM_THREADS": "1"}
TINY: dict[str, Any] = {"scale": 4, "width": 4, "blocks": 1, "residual": True, "span": [0.0, 1.0]}


def tiny() -> SRResNet:
    """Draws nearly the bicubic enlargement, so that what it draws of flat and smooth pictures is known."""
    torch.manual_seed(0)
    network = SRResNet(**TINY).eval().requires_grad_(False)
    network.last.weight.mul_(0.01)
    network.last.bias.zero_()  # type: ignore[union-attr]
    return network


def ready(network: nn.Module, **options: Any) -> Engine:
    network.card = network.card()  # type: ignore[assignment, operator]
    return Engine(network.eval(), **{"precision": "fp32", **options})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "x4.safetensors"
    network = tiny()
    save_generator(path, network, Spec.to(SRResNet, **TINY), network.card())
    return path


@pytest.fixture(scope="module")
def engine() -> Engine:
    return ready(tiny())


@pytest.fixture
def strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every result above 16 pixels counts as large."""
    monkeypatch.setattr(engines, "LARGE", 16)


def noise(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def upscale(model: Path | None, *arguments: object) -> subprocess.CompletedProcess[str]:
    named = [] if model is None else ["--model", str(model)]
    command = [sys.executable, "-m", "i2i", "upscale", *named, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ALONE)


def outcomes(engine: Engine, inputs: list[Path], out: Path, **settings: Any) -> list[Outcome]:
    found: list[Outcome] = []
    batchrun.run(engine, [str(given) for given in inputs], out, Settings(**settings),
                 tell=lambda outcome, done, total: found.append(outcome))  # fmt: skip
    return found


def streamed(engine: Engine, picture: Picture) -> np.ndarray:
    """What `stream` hands on, [H,W,C]."""
    came: list[np.ndarray] = []

    @contextmanager
    def sink() -> Iterator[Callable[[np.ndarray], None]]:
        came.clear()
        yield came.append

    engine.stream(picture, sink)
    assert len(came) > 1
    found = np.concatenate(came)
    return found if found.ndim == 3 else found[..., None]


# --- the network


@pytest.mark.parametrize("size", [(37, 53), (41, 7), (50, 1)])
@pytest.mark.parametrize(
    "make", [tiny, lambda: RRDBNet(4, width=8, growth=4, blocks=3), lambda: RRDBNet(2, width=8, growth=4, blocks=1)]
)
def test_bands_equal_the_whole(make: Callable[[], nn.Module], size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    network = make()
    given = torch.rand(1, 3, *size)
    whole = ready(network, tile="off")
    banded = Engine(network, precision="fp32", tile=5)
    torch.testing.assert_close(banded(given), whole(given), rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strips_are_the_rows_of_the_whole(channels: int, dtype: Any) -> None:
    values = noise(23, 17, channels, dtype=dtype)
    values[:9, :, -1] = 0
    colors = values[..., : 3 if channels > 2 else 1]
    picture = Picture(colors if channels > 2 else colors[..., 0], values[..., -1] if channels in (2, 4) else None)
    whole = ready(tiny(), tile="off").picture(picture).values
    rows = streamed(ready(tiny(), tile=4), picture)
    assert rows.shape == whole.shape == (92, 68, channels) and rows.dtype == dtype
    assert np.abs(rows.astype(int) - whole).max() <= (1 if dtype == np.uint8 else 2)


def test_a_strip_that_is_not_finite_begins_the_picture_again_in_fp32() -> None:
    """White becomes 3.3995e38 within: fp32 goes up to 3.4028e38, bf16 to 3.3895e38."""
    network, said = nn.Sequential(), []
    for weight, bias in ((3.389e38, 1e36), (1e-19, 0), (1 / 3.389e19, 0)):
        network.append(nn.Conv2d(3, 3, 1))
        network[-1].weight.data.copy_(weight * torch.eye(3)[..., None, None])
        network[-1].bias.data.fill_(bias)
    network.append(nn.Upsample(scale_factor=2))
    network.card = Card(scale=2, value_range=((0, 1), (0, 1)))  # type: ignore[assignment]
    engine = Engine(network, precision="bf16", tile=4, say=said.append)
    image = np.zeros((16, 8, 3), np.uint8)
    image[8:] = 255
    for _ in range(2):
        made = streamed(engine, Picture(image))
        assert np.abs(made.astype(int) - image.repeat(2, 0).repeat(2, 1)).max() <= 1
    assert sum("not finite in bf16" in sentence for sentence in said) == 1


class Bicubic(nn.Module):
    """Enlarges, and knows one channel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(x, scale_factor=4, mode="bicubic")

    def card(self) -> Card:
        return Card(channels=(1, 1), scale=4, value_range=((0, 1), (0, 1)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_network_of_gray_keeps_colours(dtype: Any) -> None:
    colors = Image.fromarray(noise(6, 5, 3)).resize((29, 31), Image.Resampling.BICUBIC)
    picture = Picture(as_depth(np.asarray(colors), dtype), noise(31, 29, dtype=dtype))
    whole = ready(Bicubic(), tile="off").picture(picture)
    plain = as_depth(np.asarray(colors.resize((116, 124), Image.Resampling.BICUBIC)), dtype)
    top = np.iinfo(dtype).max
    assert "gray only" in whole.notes[0] and whole.pixels.shape == (124, 116, 3)
    opaque = Picture(picture.pixels)
    assert np.abs(ready(Bicubic(), tile="off").picture(opaque).pixels.astype(int) - plain).mean() < top / 50
    assert np.array_equal(streamed(ready(Bicubic(), tile=4), picture), whole.values)
    found = ready(Bicubic())(picture.pixels)
    assert np.array_equal(found, ready(Bicubic()).picture(opaque).pixels)


def test_bands_shrink_to_the_memory_that_is_granted() -> None:
    network = SRResNet(**{**TINY, "width": 64})
    picture = Picture(noise(24, 1000, 3))
    plan = ready(network).plan("fp32")
    assert plan is not None
    least, each = (2.2 * 1000 * part for part in plan.per_column((3, 1024, 256)))
    heights = []
    for memory in (least + 2.5 * each, least + 7.5 * each):
        engine, bands = ready(SRResNet(**{**TINY, "width": 64}), memory=int(memory)), []

        @contextmanager
        def sink(bands: list[int] = bands) -> Iterator[Callable[[np.ndarray], None]]:
            yield lambda rows: bands.append(len(rows))

        engine.stream(picture, sink)
        heights.append(bands[0])
    assert heights == [8, 28]  # 2 and 7 rows of the picture
    engine = ready(SRResNet(**{**TINY, "width": 64}), memory=int(least))
    with pytest.raises(UserError, match="1000 x 24 pixels .* a row at a time, .* are free.* --max-memory"):
        engine.stream(picture, sink)


# --- what becomes of pictures


def test_a_logo_keeps_its_edges(engine: Engine, tmp_path: Path, strips: None) -> None:
    logo = Image.new("RGBA", (40, 30), (0, 0, 0, 0))
    ImageDraw.Draw(logo).rectangle((8, 8, 30, 20), fill=(220, 30, 30, 255))
    logo.save(tmp_path / "logo.png")
    outcomes(engine, [tmp_path / "logo.png"], tmp_path / "out")
    made = read(tmp_path / "out/logo.png")
    assert made.alpha is not None and made.pixels.shape == (120, 160, 3)
    assert (made.alpha[40:76, 40:116] == 255).all() and (made.alpha[:24] == 0).all()
    assert np.abs(made.pixels[made.alpha > 16].astype(int) - [220, 30, 30]).max() < 24  # no fringe of black


def test_a_gradient_of_16_bits_keeps_its_levels(engine: Engine, tmp_path: Path, strips: None) -> None:
    ramp = np.linspace(0, 65_535, 4000).reshape(4, 1000).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    outcomes(engine, [tmp_path / "ramp.png"], tmp_path / "out")
    made = read(tmp_path / "out/ramp.png")
    assert made.deep and made.pixels.shape == (16, 4000) and len(np.unique(made.pixels)) >= 10_000


def test_a_gradient_of_16_bits_has_no_bands(tmp_path: Path, strips: None) -> None:
    network = tiny()
    network.last.weight.zero_()  # what is left is the bicubic enlargement
    ramp = np.linspace(0, 65_535, 3000).astype(np.uint16)[None].repeat(6, 0)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    outcomes(ready(network), [tmp_path / "ramp.png"], tmp_path / "out")
    row = read(tmp_path / "out/ramp.png").pixels[12].astype(int)
    steps = np.diff(row[16:-16])
    assert len(np.unique(row)) >= 10_000 and steps.min() >= -1 and steps.max() <= 2 * 65_535 / 12_000 + 1


def test_a_logo_shows_nothing_of_what_lay_under_its_alpha(engine: Engine, tmp_path: Path, strips: None) -> None:
    """Laid over white and over black it is what it would be with any other colours under alpha 0."""
    made = []
    for hidden in ((0, 0, 0), (0, 255, 0), (255, 255, 255)):
        logo = Image.new("RGBA", (40, 30), (*hidden, 0))
        ImageDraw.Draw(logo).ellipse((6, 5, 33, 24), fill=(220, 30, 30, 255))
        logo.save(tmp_path / "logo.png")
        outcomes(engine, [tmp_path / "logo.png"], tmp_path / "out", existing="overwrite")
        made.append(Image.open(tmp_path / "out/logo.png").convert("RGBA"))
    for ground in ("white", "black"):
        laid = [np.asarray(Image.alpha_composite(Image.new("RGBA", one.size, ground), one)) for one in made]
        assert all(np.array_equal(laid[0], other) for other in laid[1:])
    alpha = np.asarray(made[0])[..., 3]
    assert 0.9 < (alpha > 127).sum() / (16 * (np.asarray(logo)[..., 3] > 0).sum()) < 1.1
    assert ((alpha > 0) & (alpha < 255)).mean() < 0.15  # what is neither is its edge


@pytest.mark.parametrize("large", [False, True])
def test_large_results_are_shown_too(
    engine: Engine, tmp_path: Path, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pairs, on the sheet and in the gallery: made while rows pass, they are what they are of whole results."""
    (tmp_path / "in").mkdir()
    colors = Image.fromarray(noise(4, 6, 3)).resize((150, 90), Image.Resampling.BICUBIC)
    colors.save(tmp_path / "in/a.jpg")
    colors.convert("LA").save(tmp_path / "in/b.png")
    Image.fromarray(noise(1, 3000, 3)).save(tmp_path / "in/wide.png")
    monkeypatch.setattr(engines, "LARGE", 16 if large else 1 << 30)
    if large:
        monkeypatch.setattr(engine, "pictures", lambda pictures: [1 / 0 for _ in pictures])
    found = outcomes(engine, [tmp_path / "in"], tmp_path / "out", compare=True, gallery=True)
    assert [outcome.status for outcome in found] == ["written"] * 3
    for source, result in (("a.jpg", "a.jpg"), ("b.png", "b.png"), ("wide.png", "wide.png")):
        truth = side_by_side(read(tmp_path / "in" / source), read(tmp_path / "out" / result)).pixels
        seen = read(tmp_path / "out/compare" / f"{result}.png").pixels
        assert seen.shape == truth.shape and np.abs(seen.astype(int) - truth).mean() < 2
    sheet = read(tmp_path / "out/compare.png").pixels
    assert sheet.shape[0] < 800 and sheet.shape[1] < 3200
    page = (tmp_path / "out/gallery.html").read_text()
    assert "600" in page and "360" in page  # the size of the result, not of what is shown


@pytest.mark.parametrize("large", [False, True])
def test_a_turned_photograph_comes_out_upright(
    engine: Engine, tmp_path: Path, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "LARGE", 16 if large else 1 << 30)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    exif.get_ifd(0x8769).update({0xA002: 20, 0xA003: 10})
    exif.get_ifd(0x8825).update({1: "N"})
    Image.fromarray(noise(10, 20, 3)).save(tmp_path / "a.jpg", exif=exif)
    (found,) = outcomes(engine, [tmp_path / "a.jpg"], tmp_path / "out")
    assert found.size == (40, 80)
    with Image.open(tmp_path / "out/a.jpg") as image:
        tags = image.getexif()
        assert image.size == (40, 80) and tags[0x0112] == 1 and tags[0x010F] == "maker"
        assert dict(tags.get_ifd(0x8769)) == {0xA002: 40, 0xA003: 80} and not tags.get_ifd(0x8825)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff", "avif", "bmp", "ppm"])
def test_formats_and_other_scales(
    engine: Engine, tmp_path: Path, format: str, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "LARGE", 16 if large else 1 << 30)
    Image.fromarray(noise(11, 21)).save(tmp_path / "gray.png")
    said: list[str] = []
    settings = Settings(format=format, scale=1.5)
    report = batchrun.run(engine, [str(tmp_path / "gray.png")], tmp_path / "out", settings, say=said.append)
    assert report.written == 1 and any("resampled to x1.5" in sentence for sentence in said)
    (path,) = (tmp_path / "out").iterdir()
    with Image.open(path) as image:
        assert image.size == (32, 16) and (image.mode == "L" or format in ("webp", "avif", "bmp"))


def test_pixels_in_a_line_and_wide_panoramas(engine: Engine, tmp_path: Path) -> None:
    for name, shape in (("row.png", (1, 9, 3)), ("column.png", (9, 1, 3)), ("one.png", (1, 1, 3))):
        Image.fromarray(noise(*shape)).save(tmp_path / name)
    Image.fromarray(noise(2, 40_000, 3)).save(tmp_path / "wide.jpg")
    Image.fromarray(noise(2, 5_000, 3)).save(tmp_path / "wide.webp", lossless=True)
    found = outcomes(engine, [tmp_path], tmp_path / "out")
    assert {outcome.status for outcome in found} == {"written"}
    sizes = {Path(outcome.input).name: outcome.size for outcome in found}
    assert sizes["row.png"] == (36, 4) and sizes["one.png"] == (4, 4) and sizes["wide.jpg"] == (160_000, 8)
    notes = {Path(outcome.input).name: outcome.notes for outcome in found}
    assert "65500" in notes["wide.jpg"][0] and (tmp_path / "out/wide.jpg.png").is_file()
    assert "16383" in notes["wide.webp"][0] and (tmp_path / "out/wide.webp.png").is_file()


def test_what_a_format_cannot_hold_is_said_before_the_network_runs(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(noise(2, 20_000, 3)).save(tmp_path / "wide.png")
    Image.fromarray(noise(300, 300, 3)).save(tmp_path / "a.png")
    monkeypatch.setattr(engine, "pictures", lambda pictures: [1 / 0 for _ in pictures])
    monkeypatch.setattr(engine, "stream", lambda *given: 1 / 0)
    for format in ("jpeg", "webp"):
        (found,) = outcomes(engine, [tmp_path / "wide.png"], tmp_path / "out", format=format)
        assert found.status == "failed" and "80000x8 pixels" in found.reason and "--format png" in found.reason
    (found,) = outcomes(engine, [tmp_path / "a.png"], tmp_path / "out", format="webp", max_memory=1000)
    assert found.status == "failed" and "MB are granted" in found.reason
    assert not list((tmp_path / "out").iterdir())


def test_what_is_lost_of_a_large_picture_is_said_before_it_is_made(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(noise(9, 9, dtype=np.uint16)).save(tmp_path / "a.png")
    Image.fromarray(noise(2, 5_000, 3)).save(tmp_path / "wide.webp")
    monkeypatch.setattr(engines, "LARGE", 16)
    said: list[str] = []
    before: list[int] = []
    monkeypatch.setattr(engine, "stream", lambda *given, **options: before.append(len(said)))
    for name, settings in (("a.png", Settings(format="jpeg")), ("wide.webp", Settings())):
        batchrun.run(engine, [str(tmp_path / name)], tmp_path / "out", settings, say=said.append)
    assert before == [2, 4]  # after what is said of the model
    assert "a.png: jpeg cannot hold 16 bits" in said[1] and "webp cannot hold sides beyond 16383" in said[3]


def test_results_that_are_resampled_to_be_large_are_streamed(engine: Engine, tmp_path: Path) -> None:
    picture = Picture(noise(30, 20, 3))
    assert not engine.large(picture) and engine.large(picture, 64)
    Image.fromarray(picture.pixels).save(tmp_path / "a.png")
    parts: list[float] = []
    batchrun.run(engine, [str(tmp_path / "a.png")], tmp_path / "out", Settings(scale=64),
                 step=lambda source, part: parts.append(part))  # fmt: skip
    assert parts[-1] == 1 and read(tmp_path / "out/a.png").pixels.shape == (1920, 1280, 3)


def test_a_frame_that_memory_cannot_hold_is_refused(engine: Engine, tmp_path: Path) -> None:
    pages = [Image.fromarray(noise(side, side, 3)) for side in (8, 200)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    (found,) = outcomes(engine, [tmp_path / "a.tif"], tmp_path / "out", max_memory=2_000_000)
    assert found.status == "failed" and "frame 2 becomes 800x800 pixels" in found.reason
    assert not list((tmp_path / "out").iterdir())
    (found,) = outcomes(engine, [tmp_path / "a.tif"], tmp_path / "out")
    assert found.status == "written"
    pages[0].save(tmp_path / "b.webp", save_all=True, append_images=[pages[0].rotate(90 * turn) for turn in (1, 2, 3)])
    (found,) = outcomes(engine, [tmp_path / "b.webp"], tmp_path / "out", max_memory=16 * 32 * 32 - 1)
    assert found.output and found.output.endswith("b.webp.png") and "4 frames of 32x32 pixels" in found.notes[0]


def test_a_failure_in_the_middle_leaves_nothing(engine: Engine, tmp_path: Path, strips: None) -> None:
    Image.fromarray(noise(64, 64, 3)).save(tmp_path / "a.png")

    def stop(source: str, part: float) -> None:
        if part < 1:
            raise OSError(5, "Input/output error")

    with pytest.raises(UserError, match="the disk reports an error"):
        batchrun.run(Engine(engine.generator, precision="fp32", tile=4), [str(tmp_path / "a.png")], tmp_path / "out",
                     Settings(), step=stop)  # fmt: skip
    assert not list((tmp_path / "out").iterdir())


# --- the command


def test_requests_that_cannot_be_are_one_sentence(model: Path, tmp_path: Path) -> None:
    Image.fromarray(noise(4, 5, 3)).save(tmp_path / "a.png")
    for arguments, said in (
        (["--scale", "0"], "no scale"),
        (["--scale", "nan"], "no scale"),
        (["--max-memory", "much"], "no size of memory"),
        (["--tile", "0"], "no tile"),
        (["--format", "gif"], "'gif'"),
    ):
        done = upscale(model, tmp_path / "a.png", *arguments)
        assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, arguments
    done = upscale(Path("pix2pix/map2aerial"), tmp_path / "a.png", "-o", tmp_path / "out")
    assert done.returncode == 2 and "does not enlarge" in done.stderr and "i2i translate" in done.stderr


def test_streams_json_and_the_default_folder(model: Path, tmp_path: Path) -> None:
    Image.fromarray(noise(4, 5, 3)).save(tmp_path / "a.png")
    command = [sys.executable, "-m", "i2i", "upscale", "-m", str(model), "a.png", "--json", "--tile", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ALONE, cwd=tmp_path)
    assert json.loads(done.stdout.splitlines()[0])["size"] == [20, 16]
    piped = subprocess.run([*command[:6], "-", "-q", "--tile", "1"], input=(tmp_path / "a.png").read_bytes(),
                           capture_output=True, check=True, env=ALONE)  # fmt: skip
    assert np.array_equal(read(piped.stdout).pixels, read(tmp_path / "upscaled/a.png").pixels)


def test_a_killed_run_is_continued(model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(12):
        Image.fromarray(noise(300, 300, 3)).save(tmp_path / f"in/{number:02}.png", compress_level=1)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "i2i", "upscale", "-m", str(model), str(tmp_path / "in"), "-o", str(out),
               "--tile", "8"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ALONE) as child:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (len(list(out.glob("*.png"))) > 1 and list(out.glob(".*.part"))):
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert 1 < len(kept) < 12
    done = subprocess.run([*command, "--skip-existing"], capture_output=True, text=True, check=True, env=ALONE)
    assert f"{len(kept)} were there already" in done.stderr
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert len(list(out.iterdir())) == 12  # no temporary file among them


def test_the_odd_images_in_one_run(tmp_path: Path) -> None:
    """All that Pillow reads are written, twice as large; every other is named with its reason."""
    twice = {**TINY, "scale": 2}
    network = SRResNet(**twice)
    save_generator(tmp_path / "x2.safetensors", network, Spec.to(SRResNet, **twice), network.card())
    done = upscale(tmp_path / "x2.safetensors", "--json", ODD, "-o", tmp_path / "out")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()[:-1]]
    found = {Path(line["input"]).relative_to(ODD).as_posix(): line for line in lines}
    index = [row.split("\t") for row in (ODD / "INDEX.tsv").read_text().splitlines()[1:]]
    assert sorted(found) == sorted(row[0] for row in index)
    for name, _, _, _, size, *_, pillow, _ in index:
        line = found[name]
        if pillow == "ok":
            assert line["status"] == "written" and Path(line["output"]).is_file(), line
            assert sorted(line["size"]) == sorted(2 * int(side) for side in size.split("x")), line
        else:
            assert line["status"] == "failed" and name in line["reason"] and line["output"] is None
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(written) == 165 and not [path for path in written if path.suffix == ".part"]


@pytest.mark.parametrize("format", ["png", "jpg"])
def test_memory_does_not_grow_with_the_height(model: Path, tmp_path: Path, format: str) -> None:
    code = (
        "import sys\n"
        "from i2i.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print([line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line][0])\n"
    )
    peaks = []
    for rows in (1200, 6000):
        Image.fromarray(np.zeros((rows, 300, 3), np.uint8)).save(tmp_path / "tall.png")
        command = [sys.executable, "-c", code, "upscale", "-q", "-m", str(model), "--tile", "64",
                   str(tmp_path / "tall.png"), "-o", str(tmp_path / f"out{rows}.{format}")]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=ALONE)
        peaks.append(int(done.stdout.split()[-1]) / 1024)
        with Image.open(tmp_path / f"out{rows}.{format}") as image:
            assert image.size == (1200, 4 * rows)
    assert peaks[1] - peaks[0] < 30  # MiB; the larger result has 82, and 66 more than the other
