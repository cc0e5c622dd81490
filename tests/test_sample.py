"""`i2i sample`: what is drawn for a seed is always the same, and every figure shows what it says."""

from __future__ import annotations

import gzip
import io
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import i2i
from i2i import cli
from i2i.checkpoint import save_generator
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.game import Card, Part
from i2i.images import Video
from i2i.images.reel import film
from i2i.latents import between, drawn, slerp, split
from i2i.metrics import generated
from i2i.neighbours import nearest, training_set
from i2i.sampling import (
    NEAR,
    Sampler,
    Term,
    grid,
    neighbourhood,
    read_latents,
    sum_of,
    swept,
    terms,
    walk,
    write_latents,
)
from i2i.spec import Spec
from i2i.translation.srgan import SRResNet
from i2i.unconditional.cgan import ConditionalMLPGenerator
from i2i.unconditional.dcgan import DCGenerator
from i2i.unconditional.infogan import Generator
from i2i.unconditional.joint_embedding import CharCnnRnn
from i2i.unconditional.stackgan import StackedGenerator, StageOne, StageTwo

PARTS = (
    Part("z", 6),
    Part("turn", 1, "uniform", (-1.0, 3.0)),
    Part("class", 3, "class", labels=("cat", "dog", "2")),
)
RECIPE = """\
about: {{a: noise, b: digits, data: digits, terms: none}}
game:
  of: i2i.unconditional.gan:GAN
  generator: {{of: i2i.unconditional.gan:MLPGenerator}}
  discriminator: {{of: i2i.unconditional.gan:MLPDiscriminator}}
data: {data}
training: {{images: 1, batch: 1}}
"""
INFO: dict[str, Any] = {"size": 8, "noise": 4, "classes": 3, "width": 2, "hidden": 8}
PLAIN: dict[str, Any] = {"channels": 3, "size": 8, "latent": 5, "width": 2}
MLP: dict[str, Any] = {"size": 8, "latent": 4, "classes": 3, "widths": [4, 4, 8]}


class Spread(nn.Module):
    """Shows its vector: the first pixels of the picture are its numbers, [N,10] => [N,1,4,4] in [-1,1]."""

    def __init__(self) -> None:
        super().__init__()
        self.card = Card("latent", channels=(10, 1), size=4, latent=PARTS)

    def forward(self, latent: Tensor) -> Tensor:
        return torch.cat([latent, torch.zeros(len(latent), 6)], 1).clamp(-1, 1).view(-1, 1, 4, 4)


def texting() -> tuple[StackedGenerator, Spec]:
    """A tiny StackGAN that reads 80 characters."""
    encoder = Spec.to(CharCnnRnn, size=6, length=80, filters=[4, 4, 4])
    one = Spec.to(StageOne, size=8, text=6, condition=2, noise=3, width=8)
    two = Spec.to(StageTwo, size=16, small=8, text=6, condition=2, width=2, blocks=1)
    spec = Spec.to(StackedGenerator, one=one, two=two, encoder=encoder)
    return spec.build(), spec


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of tiny generators of each kind, with random weights."""
    folder, made = tmp_path_factory.mktemp("models"), {}
    torch.manual_seed(0)
    kinds: dict[str, tuple[Any, Spec]] = {
        "info": (Generator(**INFO), Spec.to(Generator, **INFO)),
        "plain": (DCGenerator(**PLAIN), Spec.to(DCGenerator, **PLAIN)),
        "mlp": (ConditionalMLPGenerator(**MLP), Spec.to(ConditionalMLPGenerator, **MLP)),
        "text": texting(),
        "x4": (SRResNet(scale=4, width=4, blocks=1), Spec.to(SRResNet, scale=4, width=4, blocks=1)),
    }
    for name, (network, spec) in kinds.items():
        for value in network.parameters() if name in ("info", "plain", "mlp") else ():
            value.data.mul_(8)  # first weights of 0.02 draw one gray
        made[name] = str(folder / f"{name}.safetensors")
        save_generator(Path(made[name]), network, spec, network.card())
    return made


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`i2i sample` in an empty folder: the exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object, name: str = "sample") -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            cli.main([name, *map(str, arguments)])
        out, err = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, out, err

    return command


def pixels(path: str | Path | io.BytesIO) -> np.ndarray:
    return np.asarray(Image.open(path))


# --- vectors ----------------------------------------------------------------------------------------------------------


def test_a_place_of_a_seed_is_one_vector_whatever_else_is_drawn() -> None:
    many = drawn(PARTS, range(20), seed=3)
    assert torch.equal(drawn(PARTS, [7, 2], seed=3), many[[7, 2]])
    assert not torch.equal(drawn(PARTS, [7], seed=4), many[[7]])
    given = split(PARTS, drawn(PARTS, range(20), seed=3, given={"class": torch.full((20,), 1)}))
    free = split(PARTS, many)
    assert torch.equal(given["z"], free["z"]) and torch.equal(given["turn"], free["turn"])
    assert given["class"][:, 1].eq(1).all() and not torch.equal(given["class"], free["class"])
    assert len(drawn(PARTS, [])) == 0


def test_parts_are_drawn_as_they_say() -> None:
    parts = split(PARTS, drawn(PARTS, range(2000)))
    assert parts["z"].mean().abs() < 0.05 and (parts["z"].std() - 1).abs() < 0.03
    assert -1 <= parts["turn"].min() < -0.9 and 2.9 < parts["turn"].max() < 3
    assert (parts["class"].mean(0) - 1 / 3).abs().max() < 0.04


@pytest.mark.parametrize("threshold", [0.02, 0.5, 2.0, 40.0])
def test_truncation_draws_again_what_lies_beyond(threshold: float) -> None:
    whole = split(PARTS, drawn(PARTS, range(1000)))
    made = split(PARTS, drawn(PARTS, range(1000), truncation=threshold))
    inside = whole["z"].abs() <= threshold
    assert torch.equal(made["z"][inside], whole["z"][inside]) and made["z"].abs().max() <= threshold
    middle, half = 1.0, 2 * min(1.0, threshold)
    assert ((made["turn"] - middle).abs() <= half + 1e-6).all()
    assert torch.equal(made["class"], whole["class"])
    if threshold < 10:  # what is drawn again has the truncated normal distribution, too
        density = math.exp(-(threshold**2) / 2) / math.sqrt(2 * math.pi)
        variance = 1 - 2 * threshold * density / math.erf(threshold / math.sqrt(2))
        again = made["z"][~inside].double()
        assert abs(again.var().item() / variance - 1) < 4 * (2 / len(again)) ** 0.5


def test_slerp_stays_on_the_sphere_and_meets_both_ends() -> None:
    a, b = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(0))
    a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    for share in torch.linspace(0, 1, 7):
        assert torch.allclose(slerp(a, b, share).norm(dim=1), torch.ones(5), atol=1e-5)
    assert torch.equal(slerp(a, b, torch.tensor(0.0)), a) and torch.allclose(slerp(a, b, torch.tensor(1.0)), b)
    assert torch.allclose(slerp(a, a, torch.tensor(0.3)), a)
    assert torch.isfinite(slerp(a, -a, torch.tensor(0.5))).all()


def test_between_takes_each_part_its_own_way() -> None:
    a, b = drawn(PARTS, [0, 1])
    way = split(PARTS, between(PARTS, a.expand(3, -1), b.expand(3, -1), torch.tensor([[0.0], [0.5], [1.0]])))
    ends = split(PARTS, torch.stack([a, b]))
    assert torch.allclose(way["turn"][1], ends["turn"].mean(0))
    assert torch.allclose(way["class"][1], ends["class"].mean(0))
    assert not torch.allclose(way["z"][1], ends["z"].mean(0))


def test_a_walk_meets_its_stops() -> None:
    stops = drawn(PARTS, range(3))
    ways = walk(PARTS, stops, 5)
    assert len(ways) == 2 and ways[0].shape == (5, 10)
    assert torch.allclose(ways[0][-1], ways[1][0], atol=1e-6) and torch.allclose(ways[1][-1], stops[2], atol=1e-6)


def test_sweeps() -> None:
    latent = drawn(PARTS, range(2))
    turned = swept(PARTS, "turn", latent, 5)
    assert turned[0, :, 6].tolist() == turned[1, :, 6].tolist() == [-1, 0, 1, 2, 3]
    assert torch.equal(turned[:, 2, :6], latent[:, :6]) and torch.equal(turned[:, 4, 7:], latent[:, 7:])
    assert torch.equal(swept(PARTS, "class", latent, 99)[1, :, 7:], torch.eye(3))
    assert swept(PARTS, "z.5", latent, 3)[0, :, 5].tolist() == [-2, 0, 2]
    for wrong in ("c9", "z", "z.6", "z.x", "turn.0", "class.1", ""):
        with pytest.raises(UserError, match=r"there is no code '.*'; there are z.0 to z.5, turn, class"):
            swept(PARTS, wrong, latent, 3)


def test_sums() -> None:
    assert terms("1,5,9 - 2,3 + 4") == [Term(1, (1, 5, 9)), Term(-1, (2, 3)), Term(1, (4,))]
    assert terms(" -7 ") == [Term(-1, (7,))]
    for wrong in ("", "1 2", "1 +", "a - b", "1,, 2", "1 * 2", "1.5"):
        with pytest.raises(UserError, match="no sum of pictures"):
            terms(wrong)
    means = torch.tensor([[3.0, 1.0], [1.0, 1.0], [0.0, 5.0]])
    assert sum_of([1, -1, 1], means).tolist() == [2, 5]
    centre = drawn(PARTS, [0])[0]
    around = neighbourhood(PARTS, centre) - centre
    assert not around[4].any() and not around[:, 7:].any() and 0.1 < around.abs().max() <= NEAR


# --- the sampler ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "info", "mlp"])
def test_a_picture_is_the_same_to_the_bit_alone_and_among_others(models: dict[str, str], kind: str) -> None:
    sampler = i2i.Sampler(i2i.load_generator(models[kind]), seed=5)
    many = sampler.tensors(sampler.draw(range(11)))
    for places in ([10], [3, 10, 0], [5, 5, 5, 5, 5]):
        assert torch.equal(sampler.tensors(sampler.draw(places)), many[places])
    other = Sampler(i2i.load_generator(models[kind]), seed=5, batch=7)
    assert torch.allclose(other.tensors(other.draw(range(11))), many, atol=1e-5)
    assert len(sampler(sampler.draw([]))) == 0


def test_dropout_that_stays_on_belongs_to_the_vector(models: dict[str, str]) -> None:
    generator = i2i.load_generator(models["mlp"])
    sampler, still = Sampler(generator, mode="paper"), Sampler(generator)
    latent = sampler.draw(range(3))
    assert torch.equal(sampler.tensors(latent)[2], sampler.tensors(latent[2:])[0])
    assert not torch.equal(sampler.tensors(latent), still.tensors(latent))
    assert not torch.equal(sampler.tensors(latent), Sampler(generator, mode="paper", seed=1).tensors(latent))


def test_pictures_are_bytes_in_the_range_of_the_card() -> None:
    sampler = Sampler(Spread())
    latent = torch.zeros(1, 10)
    latent[0, :4] = torch.tensor([-1.0, 1.0, 0.0, 9.0])
    shown = sampler(latent)
    assert shown.shape == (1, 4, 4) and shown.dtype == np.uint8 and shown[0, 0].tolist() == [0, 255, 128, 255]


def test_what_a_sampler_refuses(models: dict[str, str]) -> None:
    with pytest.raises(UserError, match="run it with `i2i translate`"):
        Sampler(i2i.load_generator("pix2pix/map2aerial"))
    with pytest.raises(UserError, match="run it with `i2i upscale`"):
        Sampler(i2i.load_generator(models["x4"]))
    with pytest.raises(UserError, match="draws pictures from random numbers.*`i2i sample`"):
        Engine(i2i.load_generator(models["plain"]))
    with pytest.raises(TypeError, match="carries no card"):
        Sampler(nn.Identity())
    sampler = Sampler(Spread())
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"mode": "paper"}, "no mode 'paper'"), ({"batch": 0}, "holds no picture"),
        ({"device": "cuda:99"}, "CUDA"), ({"precision": "fp16", "device": "cpu"}, "for GPUs"),
    ]  # fmt: skip
    for options, said in wrong:
        with pytest.raises(UserError, match=said):
            Sampler(Spread(), **options)
    with pytest.raises(UserError, match=r"vectors \[N,10\], not \[2, 9\]"):
        sampler(torch.zeros(2, 9))
    with pytest.raises(UserError, match="not finite"):
        sampler(torch.full((1, 10), torch.nan))
    for truncation in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UserError, match="a truncation is a number above 0"):
            sampler.draw([0], truncation=truncation)


def test_a_batch_too_large_for_memory_is_halved_and_said() -> None:
    class Greedy(Spread):
        def forward(self, latent: Tensor) -> Tensor:
            if len(latent) > 2:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return super().forward(latent)

    said: list[str] = []
    sampler = Sampler(Greedy(), batch=8, say=said.append)
    latent = sampler.draw(range(5))
    assert np.array_equal(sampler(latent), Sampler(Spread())(latent))
    assert sampler.batch == 2 and len(said) == 2 and "going on with 2" in said[1]


def test_classes_by_name_and_number() -> None:
    sampler = Sampler(Spread())
    for asked, number in (("dog", 1), ("DOG", 1), ("0", 0), ("2", 2), ("class=cat", 0)):
        assert sampler.classed(asked)["class"].argmax() == number
    for asked in ("3", "bird", "-1", ""):
        with pytest.raises(UserError, match=f"there is no class '{asked}'; there are cat, dog, 2"):
            sampler.classed(asked)
    with pytest.raises(UserError, match=r"takes no text; it draws from z \(6 normal\)"):
        sampler.told("a cat")


def test_texts(models: dict[str, str]) -> None:
    said: list[str] = []
    sampler = Sampler(i2i.load_generator(models["text"]), say=said.append)
    red, long = sampler.told("a red seven"), sampler.told("a red seven " + "very " * 20)
    assert red["text"].shape == (6,) and not torch.equal(red["text"], long["text"])
    assert len(said) == 1 and "112 characters, of which the first 80 are read" in said[0]
    with pytest.raises(UserError, match="a text is empty"):
        sampler.told("  ")
    with pytest.raises(UserError, match="takes no class"):
        sampler.classed("3")
    with pytest.raises(UserError, match="--text"):
        sampler.draw([0])


# --- the command ------------------------------------------------------------------------------------------------------


def test_a_grid_shows_the_row_of_a_seed(models: dict[str, str], run: Run) -> None:
    code, out, err = run(models["plain"], "--seed", 2)
    assert (code, out) == (0, "samples.png\n") and "64 pictures of 8x8 pixels" in err
    sampler = Sampler(i2i.load_generator(models["plain"]), seed=2)
    assert np.array_equal(pixels("samples.png"), grid(sampler(sampler.draw(range(64))), 8))
    assert run(models["plain"])[0] == 2 and "--overwrite" in run(models["plain"])[2]
    assert run(models["plain"], "--overwrite", "-q") == (0, "", "")
    assert run(models["plain"], "-n", 1, "-o", "one.png")[0] == 0
    assert np.array_equal(pixels("one.png"), pixels("samples.png")[:8, :8])


def test_standard_output_takes_the_picture_alone(models: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "i2i", "sample", models["plain"], "-n", "4", "-o", "-"]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, check=True)
    assert pixels(io.BytesIO(done.stdout)).shape == (18, 18, 3) and b"4 pictures" in done.stderr
    assert not list(tmp_path.iterdir())


def test_single_files_are_called_by_seed_and_number(models: dict[str, str], run: Run) -> None:
    code, out, _ = run(models["info"], "-n", 3, "-o", "drawn", "--class", 1, "--class", 2, "--json")
    files = [f"drawn/seed0-digit{number}-{place:06}.png" for number in (1, 2) for place in range(3)]
    facts = json.loads(out)
    assert code == 0 and facts["files"] == files and (facts["pictures"], facts["seed"]) == (6, 0)
    assert sorted(str(path) for path in Path("drawn").iterdir()) == files
    assert run(models["info"], "-n", 3, "-o", "rows.png", "--class", 1, "--class", 2)[0] == 0
    assert np.array_equal(pixels(files[4]), pixels("rows.png")[10:18, 10:18, 0])
    before = Path(files[5]).stat()
    assert "is there already" in run(models["info"], "-n", 4, "-o", "drawn", "--class", 2)[2]
    assert Path(files[5]).stat() == before and len(list(Path("drawn").iterdir())) == 6
    assert run(models["info"], "-n", 3, "-o", "drawn", "--grid")[1] == "drawn/samples.png\n"


def test_all_classes_are_rows(models: dict[str, str], run: Run) -> None:
    assert run(models["mlp"], "--class", "all")[0] == 0
    assert pixels("samples.png").shape == (3 * 10 - 2, 8 * 10 - 2, 3)


def test_texts_come_from_files_too(models: dict[str, str], run: Run) -> None:
    Path("said.txt").write_text("a red seven\n\na green one\n")
    code, out, _ = run(models["text"], "-n", 1, "-o", "drawn", "--text", "a blue two", "--text", "said.txt", "--json")
    assert code == 0 and [Path(file).name for file in json.loads(out)["files"]] == [
        f"seed0-text{number}-000000.png" for number in range(3)
    ]
    for text, said in (("", "empty"), ("none.txt", "cannot be read"), ("???", "letter")):
        code, _, err = run(models["text"], "--text", text)
        assert code == 2 and said in err and err.count("\n") == 1
    Path("blank.txt").write_text("\n")
    assert "holds no text" in run(models["text"], "--text", "blank.txt")[2]
    assert "--text" in run(models["text"])[2]


def test_vectors_are_kept_and_fed(models: dict[str, str], run: Run) -> None:
    for name in ("kept.npy", "kept.safetensors"):
        code, out, _ = run(models["plain"], "-n", 5, "--save-latents", name, "--overwrite")
        assert (code, out) == (0, f"samples.png\n{name}\n")
        assert torch.equal(read_latents(Path(name), 5), drawn((Part("z", 5, "uniform"),), range(5)))
        assert run(models["plain"], "--latents", name, "-o", "again.png", "--overwrite")[0] == 0
        assert np.array_equal(pixels("again.png"), pixels("samples.png"))
    assert run(models["plain"], "--latents", "kept.npy", "--interpolate", "4,0", "-o", "way.png")[0] == 0
    assert np.array_equal(pixels("way.png")[:, :8], pixels("samples.png")[10:18, 10:18])
    assert "there is no number 7" in run(models["plain"], "--latents", "kept.npy", "--arithmetic", "7")[2]
    assert "leave --class out" in run(models["info"], "--latents", "kept.npy", "--class", 1)[2]
    code, _, err = run(models["info"], "--latents", "kept.npy", "-o", "x.png")
    assert code == 2 and "a latent file of another size: it holds [5, 5]" in err and err.count("\n") == 1


def test_latent_files_that_are_none(tmp_path: Path) -> None:
    def kept(name: str, values: Any) -> Path:
        path = tmp_path / name
        if isinstance(values, bytes):
            path.write_bytes(values)
        else:
            np.save(path, values)
        return path

    wrong = [
        (kept("text.npy", np.array(["a"])), "no numbers"), (kept("cut.npy", b"\x93NUMPY"), "cannot be read"),
        (kept("object.npy", np.array([{}], dtype=object)), "cannot be read"), (kept("x.safetensors", b"no"), "be read"),
        (kept("nan.npy", np.full((1, 3), np.nan)), "infinities"), (kept("none.npy", np.zeros((0, 3))), "another size"),
        (kept("cube.npy", np.zeros((2, 2, 3))), "another size"), (tmp_path / "away.npy", "there is no file"),
        (tmp_path / "x.pt", "end in .npy or .safetensors"),
    ]  # fmt: skip
    for path, said in wrong:
        with pytest.raises(UserError, match=said):
            read_latents(path, 3)
    write_latents(tmp_path / "one.npy", torch.ones(3))
    assert read_latents(tmp_path / "one.npy", 3).shape == (1, 3)


def test_interpolation_is_a_strip_or_a_film(models: dict[str, str], run: Run) -> None:
    assert run(models["plain"], "--interpolate", "1,2,3", "--frames", 5)[1] == "interpolation.png\n"
    strip = pixels("interpolation.png")
    assert strip.shape == (18, 48, 3) and np.array_equal(strip[:8, 40:48], strip[10:18, :8])
    assert run(models["plain"], "-n", 1, "--seed", 2, "-o", "second.png")[0] == 0
    assert np.array_equal(pixels("second.png"), strip[10:18, :8])
    for name, count in (("way.gif", 9), ("round.apng", 12), ("way.webp", 9)):
        loop = ["--loop"] if count == 12 else []
        code, _, err = run(models["plain"], "--interpolate", "1,2,3", "--frames", 5, "-o", name, *loop)
        assert code == 0 and "enlarged 32 times, to 256x256" in err
        with Image.open(name) as image:
            assert (image.n_frames, image.size, image.info.get("loop")) == (count, (256, 256), 0)  # type: ignore[attr-defined]
    with Image.open("round.apng") as image:
        assert np.array_equal(np.asarray(image)[::32, ::32], strip[:8, :8])


def test_films_are_videos(models: dict[str, str], run: Run) -> None:
    pytest.importorskip("av", reason="the extra 'video' is not installed")
    for name in ("way.mp4", "way.mkv"):
        assert run(models["info"], "--interpolate", "1,2", "--frames", 4, "--fps", 10, "-o", name)[0] == 0
        video = Video(name)
        video.survey()
        assert (video.count, video.rate, video.size) == (4, 10, (256, 256))
    ramp = [np.full((30, 31, 3), level, np.uint8) for level in (0, 100, 200)]
    film(ramp, Path("ramp.mp4"))
    video = Video("ramp.mp4")
    video.survey()
    assert [round(float(frame.picture.pixels.mean()) / 10) for frame in video] == [0, 10, 20] and video.size == (32, 30)


def test_a_video_without_its_package_is_said_before_the_model_is_loaded(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    code, _, err = run("nothing", "--interpolate", "1,2", "-o", "way.mp4")
    assert code == 1 and "pip install 'i2i-toolkit[video]', or take .gif" in err


def test_traversal_sweeps_a_code_in_every_row(models: dict[str, str], run: Run) -> None:
    assert run(models["info"], "--traverse", "c1", "-n", 2, "--frames", 3, "--save-latents", "l.npy")[0] == 0
    kept = np.load("l.npy")
    assert pixels("traversal.png").shape == (18, 28, 3) and kept[:, 7].tolist() == [-1, 0, 1] * 2
    assert (kept[0, :7] == kept[2, :7]).all() and (kept[0, :4] != kept[3, :4]).any()
    assert run(models["info"], "--traverse", "digit", "-n", 2, "-o", "digits.png")[0] == 0
    assert pixels("digits.png").shape == (18, 28, 3)
    assert "there are z.0 to z.3, digit, c1, c2" in run(models["info"], "--traverse", "c3", "-o", "x.png")[2]


def test_arithmetic_is_that_of_the_vectors(models: dict[str, str], run: Run) -> None:
    code, out, _ = run(models["plain"], "--arithmetic", "1,5 - 2 + 4", "--save-latents", "l.npy", "--json")
    assert code == 0 and json.loads(out)["terms"][0] == {"sign": 1, "pictures": [1, 5]}
    kept, row = torch.from_numpy(np.load("l.npy")), drawn((Part("z", 5, "uniform"),), range(6))
    assert kept.shape == (4 + 3 + 9, 5)
    assert torch.allclose(kept[4 + 3 + 4], row[[1, 5]].mean(0) - row[2] + row[4])
    assert pixels("arithmetic.png").shape[0] == 2 * 8 + 2 + 12 + 8


def test_nearest_finds_copies(models: dict[str, str], run: Run) -> None:
    sampler = Sampler(i2i.load_generator(models["plain"]))
    Path("set").mkdir()
    for place, picture in enumerate(sampler(sampler.draw([0, 1, 20, 30, 40, 50, 60, 70, 80]))):
        Image.fromarray(picture).save(f"set/{place}.png")
    code, out, err = run(models["plain"], "--nearest", "set", "-n", 3)
    assert (code, out) == (0, "nearest.png\n")
    assert "picture 0: 0.0 from set/0.png" in err and "picture 1: 0.0 from set/1.png" in err
    assert "2 of 3 drawn ones are nearer than 99 % of true ones are" in err
    assert np.array_equal(pixels("nearest.png")[:8, :8], pixels("nearest.png")[:8, 20:28])
    facts = json.loads(run(models["plain"], "--nearest", "set", "-n", 3, "--json", "--overwrite")[1])
    assert facts["training"] == 9 and facts["nearer_than_usual"] == 2 and len(facts["nearest"][2]) == 7
    assert facts["nearest"][2][0]["distance"] > 0 and facts["usual"]["pictures"] == 9


def test_nearest_is_what_comparing_all_with_all_finds() -> None:
    class Set:
        seed = 0

        def __init__(self, x: Tensor) -> None:
            self.x = x

        def __len__(self) -> int:
            return len(self.x)

        def __getitem__(self, position: int) -> Any:
            from i2i.data.labelled import Alone

            return Alone(self.x[position])

    draw = torch.Generator().manual_seed(0)
    x, ours = (torch.randint(256, (count, 1, 4, 4), generator=draw, dtype=torch.uint8) for count in (50, 3))
    found = nearest(ours[:, 0].numpy(), Set(x), count=4)
    apart = torch.cdist(ours.flatten(1).double(), x.flatten(1).double()) / 4
    for row, near in zip(apart, found.near, strict=True):
        assert np.allclose([one.distance for one in near], row.sort().values[:4])
    among = torch.cdist(x.flatten(1).double(), x.flatten(1).double()).fill_diagonal_(torch.inf) / 4
    assert torch.allclose(found.usual.double(), among.min(1).values.sort().values, atol=1e-3)
    with pytest.raises(UserError, match="fewer than two"):
        nearest(ours[:, 0].numpy(), Set(x[:1]), count=4)


def idx(path: Path, values: np.ndarray) -> None:
    head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(head + values.tobytes()))


def test_training_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, 28, 28), dtype=np.uint8)
    (tmp_path / "mnist" / "raw").mkdir(parents=True)
    idx(tmp_path / "mnist/raw/train-images-idx3-ubyte.gz", noise)
    idx(tmp_path / "mnist/raw/train-labels-idx1-ubyte.gz", np.arange(4, dtype=np.uint8))
    monkeypatch.setenv("I2I_DATA", str(tmp_path))
    for named in ("mnist", "mnist/raw"):
        assert len(training_set(named, size=32, channels=1)) == 4
    said: list[str] = []
    shown = np.repeat(noise[:2, ::2, ::2, None], 3, axis=3)
    found = nearest(shown, training_set("mnist", size=14, channels=3), count=2, say=said.append)
    assert said == ["training pictures have 28x28 pixels; they are resized to 14x14"]
    assert found.near[0][0].pixels.shape == (14, 14, 3)
    (tmp_path / "digits.yaml").write_text(RECIPE.format(data="{of: i2i.data.labelled:Digits, root: mnist/raw}"))
    assert training_set(str(tmp_path / "digits.yaml"), size=14, channels=3).x.shape == (4, 1, 32, 32)
    Image.fromarray(np.repeat(noise[0], 2, axis=1)).save(tmp_path / "mnist" / "pair.png")
    pairs = "{of: i2i.data.datasets:Paired, root: mnist, direction: a2b, load: 28, crop: 28}"
    (tmp_path / "pairs.yaml").write_text(RECIPE.format(data=pairs))
    with pytest.raises(UserError, match="trains on pairs"):
        training_set(str(tmp_path / "pairs.yaml"), size=32, channels=3)
    with pytest.raises(UserError, match="there is no 'nowhere'"):
        training_set("nowhere", size=32, channels=3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--interpolate", "1,2", "--traverse", "c1"], "--interpolate and --traverse are figures of their own"),
        (["--interpolate", "1"], "is no list of seeds"),
        (["--interpolate", "1,2", "--seed", "3"], "leave --seed out"),
        (["--interpolate", "1,2", "-n", "3"], "-n does not go with --interpolate"),
        (["--interpolate", "1,2,3", "--class", "0", "--class", "1"], "names 3 seeds, and there are 2 classes"),
        (["--loop"], "goes with --interpolate"),
        (["--frames", "3"], "--frames goes with"),
        (["--class", "9"], "there is no class '9'; there are 0, 1, 2"),
        (["--text", "a dog"], "takes no text"),
        (["--truncation", "0"], "above 0"),
        (["--arithmetic", "a - b"], "no sum of pictures"),
        (["--arithmetic", "1", "--class", "0", "--class", "1"], "takes one class"),
        (["--nearest", "nowhere"], "there is no 'nowhere'"),
        (["-o", "x.xyz"], "no picture is known by that ending"),
        (["-o", "x.mp4"], "films are made with --interpolate"),
        (["--save-latents", "x.pt"], "ends in .npy or .safetensors"),
        (["-o", "-", "--json"], "cannot both go to standard output"),
        (["-n", "9000000"], "too many for one file"),
        (["more"], "one model at a time"),
        (["--mode", "paper"], "no mode 'paper'"),
    ],
)
def test_bad_requests_are_one_sentence(models: dict[str, str], run: Run, arguments: list[str], said: str) -> None:
    code, out, err = run(models["info"], *arguments)
    assert (code, out) == (2, "") and said in err
    assert not list(Path().iterdir())


def test_the_command_for_each_kind_of_model_is_named(models: dict[str, str], run: Run) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("in.png")
    for name, arguments in (("translate", ["-m", models["info"]]), ("translate", ["-m", models["info"], "in.png"]),
                            ("upscale", ["-m", models["info"], "in.png"])):  # fmt: skip
        code, _, err = run(*arguments, name=name)
        assert code == 2 and "run it with `i2i sample`" in err and err.count("\n") == 1
    assert "run it with `i2i upscale`" in run(models["x4"])[2]


def test_models_show_and_verify_know_vectors(models: dict[str, str], run: Run) -> None:
    shown = run("show", models["info"], name="models")[1]
    assert "z: 4 numbers, U(-1, 1); digit: one of 3 classes; c1: 1 number, U(-1, 1)" in shown
    assert "draws 8x8 pixels" in shown and "padded" not in shown
    for name in ("info", "plain", "mlp", "text"):
        assert run("verify", models[name], name="models")[1].startswith("ok")


def test_onnx_refuses_it_in_a_sentence(models: dict[str, str]) -> None:
    from i2i.onnx_export import exportable

    with pytest.raises(UserError, match="this one draws pictures from random numbers"):
        exportable(i2i.load_generator(models["plain"]), None, print)


def test_samples_for_measuring_are_files(models: dict[str, str], tmp_path: Path) -> None:
    sampler = Sampler(i2i.load_generator(models["plain"]))
    home = generated.drawn(sampler, 5, tmp_path)
    assert np.array_equal(pixels(home / "000004.png"), sampler(sampler.draw([4]))[0])
    assert len(list(home.iterdir())) == 5
