"""Validation while training: what is measured is what the files hold, and the best is kept across a resume."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from i2i.data.datasets import Photographs
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.gallery.runs import read_journal
from i2i.host import seeded
from i2i.metrics.fidelity import psnr
from i2i.metrics.validation import SuperResolution, reduced
from i2i.recipe import Training, Validation, load
from i2i.spec import Spec
from i2i.trainer import Trainer
from i2i.translation.srgan import SRGAN, SRResNet
from i2i.zoo import load_generator

TINY = Spec.to(SRResNet, scale=2, width=4, blocks=1, norm=None, residual=True)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small pictures, one of them gray and of odd size."""
    folder = tmp_path_factory.mktemp("photographs")
    draw = np.random.default_rng(0)
    for name, shape in {"a": (48, 40, 3), "b": (37, 51), "c": (40, 40, 3)}.items():
        coarse = draw.integers(0, 256, (shape[0] // 4 + 1, shape[1] // 4 + 1, *shape[2:]), dtype=np.uint8)
        Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    return folder


def trainer(photographs: Path, out: Path, validation: Validation | None, **more: Any) -> Trainer:
    with seeded(1):
        game = SRGAN(TINY)
    data = Photographs([str(photographs)], crop=16, seed=1)
    settings = Training(**{"images": 12, "batch": 2, "threads": 1, "log_every": 4, "grid_every": 100, **more})
    return Trainer(game, data, settings, out, device="cpu", say=lambda sentence: None, validation=validation)


def section(photographs: Path, **more: Any) -> Validation:
    return Validation(Spec.to(SuperResolution, roots=[str(photographs)]), every=4, **more)


def lines(out: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    return [line for line in found if "validation/psnr" in line["terms"]]


def test_what_is_measured_is_what_the_file_draws(photographs: Path, tmp_path: Path) -> None:
    trainer(photographs, tmp_path, section(photographs)).run(quiet=True)
    found = lines(tmp_path)
    assert [line["images"] for line in found] == [4, 8, 12]
    engine, figures = Engine(load_generator(tmp_path / "generators/a2b.safetensors"), device="cpu"), []
    for file in sorted(photographs.glob("*.png")):
        large = np.asarray(Image.open(file))
        large = large[: len(large) // 2 * 2, : large.shape[1] // 2 * 2]
        figures.append(psnr(engine.run([reduced(large, 2)])[0], large, shave=2))
    assert found[-1]["terms"]["validation/psnr"] == pytest.approx(np.mean(figures), rel=1e-5)
    merged = read_journal(tmp_path / "journal.jsonl")
    assert [line["images"] for line in merged] == [4, 8, 12]
    assert all({"validation/ssim", "generator/pixel"} <= line["terms"].keys() for line in merged)
    assert not list((tmp_path / "generators").glob(".validation-*"))


def test_validation_changes_no_result(photographs: Path, tmp_path: Path) -> None:
    for name, chosen in {"with": section(photographs, best="highest psnr"), "without": None}.items():
        trainer(photographs, tmp_path / name, chosen).run(quiet=True)
    ours, theirs = (load_generator(tmp_path / name / "generators/a2b.safetensors") for name in ("with", "without"))
    for key, tensor in ours.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[key])


class Falling:
    """A figure that is best at the second of three measurements."""

    calls = 0

    def __call__(self, engines: dict[str, Engine]) -> dict[str, float]:
        Falling.calls += 1
        assert set(engines) == {"a2b"}
        return {"distance": [3.0, 1.0, 2.0][Falling.calls - 1]}


@pytest.mark.parametrize("stop", [None, 10])
def test_the_best_is_kept_also_across_a_resume(photographs: Path, tmp_path: Path, stop: int | None) -> None:
    Falling.calls = 0
    kept = Validation(Spec.to(Falling), every=4, best="lowest distance")
    if stop:
        trainer(photographs, tmp_path, kept).run(quiet=True, stop_at=stop)
    trainer(photographs, tmp_path, kept).run(quiet=True)
    best = load_generator(tmp_path / "generators/a2b.best.safetensors")
    assert best.card.origin.images == 8  # type: ignore[union-attr]
    trainer(photographs, tmp_path / "alone", None).run(quiet=True, stop_at=8)
    wanted = load_generator(tmp_path / "alone/generators/a2b.safetensors").state_dict()
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in best.state_dict().items())


def test_a_figure_that_is_not_measured_cannot_decide(photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'fid', and what is measured is psnr, ssim"):
        trainer(photographs, tmp_path, section(photographs, best="lowest fid")).run(quiet=True)


def test_the_measure_agrees_with_a_plain_forward_pass(photographs: Path) -> None:
    network: Any = SRResNet(scale=2, width=4, blocks=1, norm=None, residual=True)
    network.card = network.card()
    found = SuperResolution([str(photographs)], first=1)({"a2b": Engine(network, device="cpu", precision="fp32")})
    large = np.asarray(Image.open(photographs / "a.png"))
    small: Tensor = torch.from_numpy(reduced(large, 2).copy()).permute(2, 0, 1)[None] / 255
    drawn = (network.eval()(small)[0].detach().clamp(-1, 1).add(1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    assert found["psnr"] == pytest.approx(psnr(drawn, large, shave=2), abs=1e-6)


RECIPE = """
about: {a: a, b: b, data: none, terms: none}
game: {of: i2i.translation.srgan:SRGAN, generator: {of: i2i.translation.srgan:SRResNet, scale: 2}}
data: {of: i2i.data.datasets:Photographs, roots: [photographs]}
training: {images: 10}
"""
MEASURE = "validation: {measure: {of: i2i.metrics.validation:SuperResolution, roots: [x]}, every: 5, best: BEST}\n"


def test_a_recipe_may_validate_and_is_the_same_recipe(tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text("name: x" + RECIPE)
    (tmp_path / "watched.yaml").write_text("name: x" + RECIPE + MEASURE.replace("BEST", "highest psnr"))
    plain, watched = load(tmp_path / "plain.yaml"), load(tmp_path / "watched.yaml")
    assert plain.validation is None and watched.validation is not None and watched.validation.every == 5
    assert plain.digest() == watched.digest() and plain == replace(watched, validation=None)
    (tmp_path / "again.yaml").write_text(watched.text())
    assert load(tmp_path / "again.yaml") == watched


def test_mistakes_in_the_section_are_placed(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(RECIPE + MEASURE.replace("BEST", "psnr"))
    with pytest.raises(UserError, match=r"x\.yaml:6:.*'highest NAME'"):
        load(file)
    file.write_text(RECIPE + MEASURE.replace("roots", "rots").replace("BEST", "highest psnr"))
    with pytest.raises(UserError, match=r"x\.yaml:6:.*SuperResolution has no 'rots'"):
        load(file)
