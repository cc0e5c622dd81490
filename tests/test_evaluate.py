"""`i2i evaluate`: what it prints is what the metrics say, of what was asked, and of what could be read."""

from __future__ import annotations

import csv
import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from i2i.checkpoint import save_generator
from i2i.cli.evaluate import evaluate as command
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.evaluation import evaluate, evaluate_generator
from i2i.metrics import distances
from i2i.metrics.agreement import Agreement, Palette
from i2i.metrics.extractors import extractor
from i2i.metrics.fidelity import psnr, ssim
from i2i.metrics.instruments import Instruments, Settings
from i2i.metrics.statistics import collect
from i2i.metrics.validation import Evaluation, reduced
from i2i.recipe import load
from i2i.sampling import Sampler
from i2i.spec import Spec
from i2i.translation.pix2pix import UnetGenerator
from i2i.translation.srgan import SRResNet
from i2i.unconditional.dcgan import DCGenerator
from i2i.zoo import load_generator

Pixels = NDArray[np.uint8]
RANDOM = ("--random-features", "1")


@pytest.fixture(autouse=True)
def caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Empty ones: no weights are here."""
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def drawn(seed: int, height: int = 48, width: int = 40) -> Pixels:
    """A coarse picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def noisy(pixels: Pixels, seed: int, by: int = 20) -> Pixels:
    noise = np.random.default_rng(seed).integers(-by, by + 1, pixels.shape)
    return (pixels.astype(int) + noise).clip(0, 255).astype(np.uint8)


def save(folder: Path, **pictures: Pixels) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    """Eight pictures, and the same with noise that grows."""
    real = {f"p{n}": drawn(n) for n in range(8)}
    fake = {name: noisy(pixels, n, 5 + 5 * n) for n, (name, pixels) in enumerate(real.items())}
    return save(tmp_path / "real", **real), save(tmp_path / "fake", **fake)


class Ran:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: object) -> Ran:
        capsys.readouterr()
        code = command.main(list(map(str, arguments)), standalone_mode=False)
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return call


def pixels_of(file: Path) -> Pixels:
    return np.asarray(Image.open(file).convert("RGB"))


# --- figures ----------------------------------------------------------------------------------------------------------


def test_figures_of_pairs_are_those_of_the_metrics(sets: tuple[Path, Path], run: Any) -> None:
    real, fake = sets
    found = run(real, fake, "--metrics", "psnr,ssim,rmse", "--json")
    assert found.code == 0
    report = json.loads(found.out)
    values = {figure["name"]: figure for figure in report["figures"]}
    both = [(pixels_of(fake / file.name), pixels_of(file)) for file in sorted(real.iterdir())]
    assert values["psnr"]["value"] == pytest.approx(np.mean([psnr(a, b, rgb=True) for a, b in both]), rel=1e-9)
    assert values["ssim"]["value"] == pytest.approx(np.mean([ssim(a, b, rgb=True) for a, b in both]), rel=1e-9)
    assert (values["psnr"]["protocol"], values["psnr"]["counts"]) == ("RGB", {"pairs": 8})
    assert report["images"]["p0"]["psnr (RGB)"] == pytest.approx(psnr(*both[0], rgb=True))
    assert report["inputs"]["fake"]["sizes"] == {"40x48": 8} and report["failed"] == {}
    assert {"i2i", "torch"} <= report["versions"].keys()


def test_the_protocol_is_part_of_the_name(sets: tuple[Path, Path], run: Any) -> None:
    found = run(*sets, "--metrics", "psnr,rmse", "--luma", "--shave", 4)
    names = [line.split("  ")[0] for line in found.out.splitlines()]
    assert names == ["psnr (Y, shave 4)", "rmse (RGB, shave 4)"]


def test_figures_of_sets_are_those_of_the_distances(sets: tuple[Path, Path], run: Any) -> None:
    found = run(*sets, "--metrics", "fid,kid,prdc,is", *RANDOM, "--json")
    report = json.loads(found.out)
    network = extractor("inception", random=1)
    real, fake = (collect(sorted(folder.iterdir()), network).statistics for folder in sets)
    value = {figure["name"]: figure["value"] for figure in report["figures"]}
    assert value["fid"] == pytest.approx(distances.fid(real, fake).value, rel=1e-6)
    assert value["kid"] == pytest.approx(distances.kid(real, fake)[0], rel=1e-6)
    assert value["coverage"] == distances.prdc(real, fake).coverage
    assert value["is"] is None and "10 splits needs as many pictures" in str(report["figures"])
    assert found.code == 1
    assert "the numbers mean nothing" in found.err and "8 pictures are few" in found.err
    assert report["figures"][0]["protocol"] == "inception-v3-compat random 1, torch-fidelity resize, fp32"


def test_fid_of_a_set_with_itself_is_zero(sets: tuple[Path, Path]) -> None:
    report = evaluate(sets[0], sets[0], ["fid"], settings=Settings(random=1))
    assert report["fid"] == pytest.approx(0, abs=1e-3)


def test_label_maps(tmp_path: Path, run: Any) -> None:
    colours = np.array(list(Palette.read("maps").classes.values()), np.uint8)
    draw = np.random.default_rng(0)
    truth = {f"m{n}": colours[draw.integers(0, 5, (16, 16))] for n in range(3)}
    drawn_maps = {name: noisy(np.where(draw.random((16, 16, 1)) < 0.2, colours[0], pixels), 1)
                  for name, pixels in truth.items()}  # fmt: skip
    found = run(save(tmp_path / "t", **truth), save(tmp_path / "d", **drawn_maps), "--metrics", "accuracy,miou",
                "--palette", "maps", "--json")  # fmt: skip
    values = {figure["name"]: figure["value"] for figure in json.loads(found.out)["figures"]}
    counts = Agreement(Palette.read("maps"))
    for name, pixels in truth.items():
        counts.add(drawn_maps[name], pixels)
    assert values == {name: value for name, value in counts.figures().items() if name != "rmse"}


def test_without_weights_what_can_be_computed_is_and_the_rest_is_named(sets: tuple[Path, Path], run: Any) -> None:
    found = run(*sets)
    assert found.code == 0
    assert [line.split()[0] for line in found.out.splitlines()] == ["psnr", "ssim"]
    alex, inception = [line for line in found.err.splitlines() if line.startswith("left out")]
    assert alex.startswith("left out lpips: the weights of AlexNet") and "i2i models add" in alex
    assert inception.startswith("left out fid, kid, prdc: ") and "6726825d" in inception


def test_weights_that_are_asked_for_must_be_there(sets: tuple[Path, Path], run: Any) -> None:
    with pytest.raises(UserError, match=r"sha256 6726825d.*i2i models add") as caught:
        run(*sets, "--metrics", "psnr,fid")
    assert caught.value.code == 1
    with pytest.raises(UserError, match="--weights and --random-features"):
        run(*sets, "--metrics", "fid", *RANDOM, "--weights", "x.pth")


def test_lpips_and_its_maps(sets: tuple[Path, Path], run: Any, tmp_path: Path) -> None:
    found = run(*sets, "--metrics", "lpips", *RANDOM, "--maps", tmp_path / "maps", "--html", tmp_path / "page.html")
    assert "where LPIPS differs" in (tmp_path / "page.html").read_text()
    assert found.out.startswith("lpips (alex, v0.1)") and found.code == 0
    made = np.asarray(Image.open(tmp_path / "maps" / "p3.png"))
    assert made.shape == (48, 40) and made.dtype == np.uint16
    with pytest.raises(UserError, match="add lpips"):
        run(*sets, "--metrics", "psnr", "--maps", tmp_path / "more")


def test_diversity(tmp_path: Path, run: Any) -> None:
    varied = save(tmp_path / "varied", **{f"p{n}": drawn(n, 176, 176) for n in range(4)})
    alike = save(tmp_path / "alike", **{f"q{n}": noisy(drawn(0, 176, 176), n) for n in range(4)})
    found = json.loads(run(varied, alike, "--metrics", "diversity", "--json").out)
    fake, real = found["figures"]
    assert fake["value"] > 0.7 > real["value"] and fake["counts"] == {"pairs": 6}
    outputs = tmp_path / "outputs"
    for name in ("one", "two"):
        save(outputs / name, a=drawn(1), b=noisy(drawn(1), 1))
    found = run(varied, outputs, "--metrics", "diversity", "--groups", "folder", *RANDOM)
    assert "diversity (LPIPS of outputs of one input, alex, v0.1)" in found.out and "2 inputs, 2 pairs" in found.out


# --- sets -------------------------------------------------------------------------------------------------------------


def test_saved_statistics_stand_for_a_folder(sets: tuple[Path, Path], run: Any, tmp_path: Path) -> None:
    real, fake = sets
    whole = json.loads(run(real, fake, "--metrics", "fid,kid", *RANDOM, "--json").out)
    for shard in ("1/2", "2/2"):
        made = run("stats", real, "-o", tmp_path / f"{shard[0]}.npz", "--shard", shard, *RANDOM)
        assert made.code == 0 and "4 pictures" in made.out
    run("stats", tmp_path / "1.npz", tmp_path / "2.npz", "-o", tmp_path / "real.npz")
    saved = json.loads(run(tmp_path / "real.npz", fake, "--metrics", "fid,kid", *RANDOM, "--json").out)
    for ours, theirs in zip(whole["figures"], saved["figures"], strict=True):
        assert ours["value"] == pytest.approx(theirs["value"], rel=1e-6)
    with pytest.raises(UserError, match=r"resize torch-fidelity.*resize clean-fid.*cannot be compared"):
        run(tmp_path / "real.npz", fake, "--metrics", "fid", *RANDOM, "--resize", "clean-fid")
    with pytest.raises(UserError, match=r"psnr takes pictures.*holds statistics"):
        run(tmp_path / "real.npz", fake, "--metrics", "psnr")
    with pytest.raises(UserError, match="--overwrite"):
        run("stats", real, "-o", tmp_path / "real.npz", *RANDOM)
    both = run(tmp_path / "real.npz", tmp_path / "real.npz", "--metrics", "fid", "--json")  # no network is needed
    assert both.code == 0 and json.loads(both.out)["weights"] == {"inception-v3-compat": "random 1"}


def test_lists_of_files(sets: tuple[Path, Path], run: Any, tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("real/p1.png\n\n# not this one\nreal/p4.png\n")
    found = run(tmp_path / "some.txt", sets[1], "--metrics", "psnr")
    assert "2 pairs" in found.out
    assert "6 of 10 pictures have no partner and are in no pair" in found.err


# --- bad input --------------------------------------------------------------------------------------------------------


def test_corrupt_files_leave_both_sides(sets: tuple[Path, Path], run: Any) -> None:
    real, fake = sets
    (fake / "p2.png").write_bytes((fake / "p2.png").read_bytes()[:200])
    (real / "p5.png").write_bytes(b"none")
    found = run(*sets, "--metrics", "psnr,fid", *RANDOM, "--json")
    report = json.loads(found.out)
    assert found.code == 1
    assert report["failed"].keys() == {str(fake / "p2.png"), str(real / "p5.png")}
    assert f"failed: {fake / 'p2.png'}: the end of the file is missing" in found.err
    assert f"{real / 'p2.png'} is left out too" in found.err
    assert [figure["counts"] for figure in report["figures"]] == [{"pairs": 6}, {"real": 6, "fake": 6}]
    for folder, name in ((real, "p5"), (fake, "p2"), (real, "p2"), (fake, "p5")):
        (folder / f"{name}.png").unlink()
    clean = json.loads(run(*sets, "--metrics", "psnr,fid", *RANDOM, "--json").out)
    for ours, theirs in zip(report["figures"], clean["figures"], strict=True):
        assert ours["value"] == pytest.approx(theirs["value"], rel=1e-6)


def test_no_common_stems(tmp_path: Path, run: Any) -> None:
    real, fake = save(tmp_path / "a", x=drawn(1), y=drawn(2)), save(tmp_path / "b", u=drawn(1), v=drawn(2))
    with pytest.raises(UserError, match=r"no picture of .* has a partner in .*: .* there are x\.png and u\.png"):
        run(real, fake, "--metrics", "psnr")
    assert json.loads(run(real, fake, "--metrics", "fid", *RANDOM, "--json").out)["figures"][0]["value"] is not None
    with pytest.raises(UserError, match="no picture of"):  # nor are single pictures in two folders a pair
        run(save(tmp_path / "c", x=drawn(1)), save(tmp_path / "d", u=drawn(1)), "--metrics", "psnr")


def test_one_picture(tmp_path: Path, run: Any) -> None:
    real, fake = save(tmp_path / "a", x=drawn(1)), save(tmp_path / "b", u=noisy(drawn(1), 1))
    found = run(real / "x.png", fake / "u.png", "--metrics", "psnr,fid", *RANDOM)
    assert found.code == 1
    assert "1 pair" in found.out and "1 picture has no covariance; at least 2 are needed" in found.err


def test_pictures_smaller_than_a_window(sets: tuple[Path, Path], run: Any) -> None:
    save(sets[0], small=drawn(1, 9, 9))
    save(sets[1], small=noisy(drawn(1, 9, 9), 1))
    found = run(*sets, "--metrics", "psnr,ssim,ms-ssim")
    assert "ssim needs 11 pixels in height and width: it is left out (small)" in found.err
    assert "ms-ssim needs 161 pixels in height and width: 9 pairs are left out" in found.err
    assert [line.split()[-2] for line in found.out.splitlines()] == ["9", "8", "0"]
    assert found.code == 1


def test_sizes_that_differ(sets: tuple[Path, Path], run: Any) -> None:
    save(sets[1], p1=drawn(1, 24, 24))
    found = run(*sets, "--metrics", "psnr,fid", *RANDOM)
    assert found.code == 1 and "failed: p1: pictures of 40x48 and 24x24 pixels cannot be compared; --size" in found.err
    assert "brought to the network's by the resize of the protocol: 40x48 (real); 40x48, 24x24 (fake)" in found.err
    assert "left out too" not in found.err
    sized = run(*sets, "--metrics", "psnr", "--size", 32)
    assert sized.code == 0 and "8 pairs" in sized.out and "compared at 32x32" in sized.err


def test_gray_against_colour(tmp_path: Path, run: Any) -> None:
    gray = np.ascontiguousarray(drawn(1)[..., 0])
    real, fake = save(tmp_path / "a", x=gray), save(tmp_path / "b", x=np.repeat(gray[..., None], 3, 2))
    found = json.loads(run(real, fake, "--metrics", "psnr,rmse", "--json").out)
    assert [figure["value"] for figure in found["figures"]] == [None, 0]
    assert "infinite: 1 of 1 pairs are equal to the last bit" in found["figures"][0]["notes"][0]
    assert "gray against colour: 1 of the 1 real and 0 of the fake pictures are gray" in found["notes"][0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["A"], "1 set is named; name two"),
        (["A", "B", "--metrics", "pnsr"], "there is no metric 'pnsr': did you mean 'psnr'"),
        (["A", "nowhere", "--metrics", "psnr"], "there is no 'nowhere'"),
        (["A", "B", "--metrics", "miou"], "name a palette"),
        (["A", "B", "--data", "x"], "--data goes with --model"),
        (["A", "B", "--first", "3"], "--first goes with --model"),
        (["A", "B", "--html", "page"], "ends in .html"),
        (["--model", "srresnet/x4"], "name the test split with --data"),
        (["stats", "A"], "which set, and which file"),
        (["stats", "A", "-o", "x.json"], "write x.npz"),
        (["A", "B", "--shard", "1/2"], "--shard is for `i2i evaluate stats`"),
    ],
)
def test_what_cannot_be_meant(arguments: list[str], sentence: str, sets: tuple[Path, Path], run: Any) -> None:
    named = {"A": str(sets[0]), "B": str(sets[1])}
    with pytest.raises(UserError) as caught:
        run(*[named.get(word, word) for word in arguments])
    assert sentence in str(caught.value) and caught.value.code == 2


# --- files ------------------------------------------------------------------------------------------------------------


def test_csv_and_page(sets: tuple[Path, Path], run: Any, tmp_path: Path) -> None:
    table, page = tmp_path / "new" / "x.csv", tmp_path / "x.html"
    assert run(*sets, "--metrics", "psnr,rmse", "--csv", table, "--html", page).code == 0
    rows = list(csv.DictReader(table.open()))
    assert [row["picture"] for row in rows[:3]] == ["", "", "p0"] and len(rows) == 2 + 2 * 8
    text = page.read_text()
    assert text.count('<figure class="histogram">') == 2 and text.count('<li class="row"') == 8
    assert text.index('data-name="p7"') < text.index('data-name="p0"')  # the worst first
    assert 'data-order="psnr (RGB): worst first"' in text
    assert 'worst: <a href="#find=p7">p7</a>' in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    with pytest.raises(UserError, match="--overwrite"):
        run(*sets, "--metrics", "psnr", "--csv", table)


def test_the_figures_join_a_gallery_of_folders(sets: tuple[Path, Path], run: Any, tmp_path: Path) -> None:
    from i2i.gallery import compare

    (sets[1] / "metrics.json").write_text(run(*sets, "--metrics", "psnr", "--json").out)
    said: list[str] = []
    compare(list(sets), tmp_path / "page.html", say=said.append)
    assert not said and "psnr (RGB)" in (tmp_path / "page.html").read_text()


# --- generators -------------------------------------------------------------------------------------------------------


def keep(network: Any, spec: Spec, path: Path) -> Path:
    save_generator(path, network, spec, network.card())
    return path


@pytest.fixture
def enlarger(tmp_path: Path) -> Path:
    spec = Spec.to(SRResNet, scale=2, width=4, blocks=1, norm=None, residual=True)
    torch.manual_seed(0)
    return keep(spec.build(), spec, tmp_path / "x2.safetensors")


def test_a_network_that_enlarges_is_measured_by_the_protocol(enlarger: Path, sets: tuple[Path, Path], run: Any) -> None:
    found = run("--model", enlarger, "--data", sets[0], "--metrics", "psnr,ssim", "--json")
    report = json.loads(found.out)
    engine, figures = Engine(load_generator(enlarger), device="cpu"), []
    for file in sorted(sets[0].iterdir()):
        figures.append(psnr(engine.run([reduced(pixels_of(file), 2)])[0], pixels_of(file), shave=2))
    assert report["figures"][0]["protocol"] == "Y, shave 2"
    assert report["figures"][0]["value"] == pytest.approx(np.mean(figures), rel=1e-9)
    assert len(report["weights"][str(enlarger)]) == 64
    assert report["inputs"]["real"]["path"] == str(sets[0]) and report["inputs"]["fake"]["path"] == str(enlarger)


@pytest.fixture
def unet(tmp_path: Path) -> Path:
    spec = Spec.to(UnetGenerator, depth=4, width=4)
    torch.manual_seed(0)
    return keep(spec.build(), spec, tmp_path / "unet.safetensors")


def test_pairs_side_by_side_and_in_folders(unet: Path, tmp_path: Path, run: Any) -> None:
    both = {f"p{n}": (drawn(n, 32, 32), drawn(n + 9, 32, 32)) for n in range(3)}
    beside = save(tmp_path / "beside", **{name: np.hstack(pair) for name, pair in both.items()})
    apart = tmp_path / "apart"
    for place, letter in enumerate("AB"):
        save(apart / letter, **{name: pair[place] for name, pair in both.items()})
    out = tmp_path / "out"
    found = [
        json.loads(run("--model", unet, *data, "--metrics", "psnr", "--json").out)["figures"][0]["value"]
        for data in (("--data", beside, "-o", out), ("--data", apart), ("--data", apart / "A", "--data", apart / "B"),
                     ("--data", beside, "--direction", "b2a"))
    ]  # fmt: skip
    assert found[0] == found[1] == found[2] != found[3]
    assert (pixels_of(out / "real" / "p1.png") == both["p1"][1]).all()
    engine = Engine(load_generator(unet), device="cpu")
    assert (pixels_of(out / "fake" / "p1.png") == engine.run([both["p1"][0]])[0]).all()
    with pytest.raises(UserError, match="is not empty"):
        run("--model", unet, "--data", beside, "-o", out)
    with pytest.raises(UserError, match="neither two folders"):
        run("--model", unet, "--data", apart / "A")


def test_samples_of_a_stochastic_generator_and_a_judge(unet: Path, tmp_path: Path, run: Any) -> None:
    beside = save(tmp_path / "beside", x=np.hstack([drawn(1, 32, 32), drawn(2, 32, 32)]))
    found = run("--model", unet, "--data", beside, "--metrics", "miou", "--palette", "maps", "--judge", unet,
                "--mode", "paper", "--samples", 3, *RANDOM)  # fmt: skip
    assert f"miou (maps, judged by {unet})" in found.out and f"the real ones judged by {unet}" in found.out
    (line,) = [line for line in found.out.splitlines() if line.startswith("diversity")]
    assert "1 input, 3 pairs" in line
    apart = save(tmp_path / "apart" / "A", x=drawn(1, 32, 32)).parent
    save(apart / "B", other=drawn(2, 32, 32))  # no partner: what the judge makes of the fakes has one, the input
    found = run("--model", unet, "--data", apart, "--metrics", "miou", "--palette", "maps", "--judge", unet)
    assert f"miou (maps, judged by {unet})" in found.out and "compared as sets" in found.err
    with pytest.raises(UserError, match="has a partner"):
        run("--model", unet, "--data", apart, "--metrics", "psnr,miou", "--palette", "maps", "--judge", unet)
    with pytest.raises(UserError, match="--mode paper"):
        run("--model", unet, "--data", beside, "--samples", 2, "--mode", "deterministic")


def test_what_is_drawn_from_random_numbers(sets: tuple[Path, Path], tmp_path: Path, run: Any) -> None:
    spec = Spec.to(DCGenerator, size=32, latent=6, width=4)
    network = spec.build()
    save_generator(tmp_path / "g.safetensors", network, spec, network.card())
    found = run("--model", tmp_path / "g.safetensors", "--data", sets[0], "--metrics", "fid", *RANDOM, "--first", 5,
                "-o", tmp_path / "kept", "--json")  # fmt: skip
    (figure,) = json.loads(found.out)["figures"]
    assert figure["counts"]["fake"] == 5 == len(list((tmp_path / "kept" / "fake").iterdir()))
    sampler = Sampler(load_generator(tmp_path / "g.safetensors"), device="cpu")
    assert (pixels_of(tmp_path / "kept" / "fake" / "000003.png") == sampler(sampler.draw([3]))[0]).all()
    measure = Evaluation(str(sets[0]), ["fid"], generator="generator", first=5, random=1)
    assert measure({"generator": sampler})["fid"] == pytest.approx(figure["value"])
    with pytest.raises(UserError, match="--judge is of no use"):
        run("--model", tmp_path / "g.safetensors", "--data", sets[0], "--judge", tmp_path / "g.safetensors")


def test_in_training(enlarger: Path, sets: tuple[Path, Path], tmp_path: Path) -> None:
    engines = {"a2b": Engine(load_generator(enlarger), device="cpu")}
    measure = Evaluation(str(sets[0]), ["psnr", "lpips", "fid"], first=3, random=1)
    state = torch.get_rng_state()
    found = measure(engines)
    assert found.keys() == {"psnr", "lpips", "fid"} and all(map(math.isfinite, found.values()))
    assert measure(engines) == found and torch.equal(torch.get_rng_state(), state)
    whole = evaluate_generator(engines["a2b"], [str(sets[0])], ["psnr"], first=3,
                               instruments=Instruments(Settings()))  # fmt: skip
    assert whole["psnr"] == found["psnr"]
    with pytest.raises(UserError, match="there is no generator 'b2a'"):
        Evaluation(str(sets[0]), ["psnr"], generator="b2a")(engines)
    (tmp_path / "x.yaml").write_text(
        "about: {a: a, b: b, data: none, terms: none}\n"
        "game: {of: i2i.translation.srgan:SRGAN, generator: {of: i2i.translation.srgan:SRResNet, scale: 2}}\n"
        "data: {of: i2i.data.datasets:Photographs, roots: [photographs]}\n"
        "training: {images: 10}\n"
        "validation: {measure: {of: i2i.metrics.validation:Evaluation, data: x, metrics: [lpips, fid], size: 64},\n"
        "             every: 5, best: lowest fid}\n"
    )
    assert load(tmp_path / "x.yaml").validation


def test_names_that_are_written_twice() -> None:
    """The command line loads no torch to know them."""
    from i2i.cli.evaluate import RESIZES as offered
    from i2i.metrics.extractors import RESIZES

    assert offered == list(RESIZES)


def test_as_a_user_runs_it(sets: tuple[Path, Path]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "i2i", "evaluate", *map(os.fspath, sets), "--metrics", "psnr,lpips"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 1 and run.stdout == "" and run.stderr.count("\n") == 1
    assert run.stderr.startswith("i2i: the weights of AlexNet (for LPIPS) are not here: fetch https://")


# --- other networks, several processes --------------------------------------------------------------------------------


class Small(torch.nn.Module):
    """Three features of a picture: its mean colours."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "small.pt"
    torch.jit.trace(Small(), torch.rand(1, 3, 8, 8)).save(str(path))
    return path


def test_a_network_and_a_classifier_of_ones_own(sets: tuple[Path, Path], program: Path, run: Any) -> None:
    found = run(*sets, "--metrics", "fid,cmmd,diversity", "--features", program, "--classifier", program, "--json")
    figures = {(figure["name"], figure["protocol"].split(", ")[-1]): figure
               for figure in json.loads(found.out)["figures"]}  # fmt: skip
    assert figures["fd", "fp32"]["value"] < 100 and figures["cmmd", "fp32"]["value"] >= 0
    reddest = {int(pixels_of(file).mean((0, 1)).argmax()) for file in sets[0].iterdir()}
    assert figures["modes", "real"]["value"] == len(reddest) and figures["modes", "real"]["unit"] == "of 3"
    assert 0 <= figures["evenness", "fake"]["value"] <= 1


SHARED = """
import sys, torch, i2i
from i2i.evaluation import Settings
rank, port, real, fake, program = sys.argv[1:]
torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=int(rank), world_size=2)
print(i2i.evaluate(real, fake, ["fid"], settings=Settings(features=program))["fd"])
torch.distributed.destroy_process_group()
"""


def test_two_processes_share_the_pictures(sets: tuple[Path, Path], program: Path) -> None:
    (sets[0] / "p7.png").unlink()  # unequal shares
    alone = evaluate(*sets, ["fid"], settings=Settings(features=str(program)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    asked = [str(word) for word in (port, *sets, program)]
    both = [subprocess.Popen([sys.executable, "-W", "ignore", "-c", SHARED, str(rank), *asked], stdout=subprocess.PIPE,
                             text=True) for rank in (0, 1)]  # fmt: skip
    for process in both:
        assert float(process.communicate(timeout=100)[0]) == pytest.approx(alone["fd"], rel=1e-6)
