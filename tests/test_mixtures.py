"""The experiment with points: what counts as a mode that is reached, and that the command runs and draws."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
import torch
from test_benchmarks import load

mixtures = load("mixtures")
CENTRES = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])


def found(made: list[list[float]], source: list[int]) -> tuple[int, int, float]:
    result = mixtures.measure(torch.tensor(made), torch.tensor(source), CENTRES, 1.0)
    return result.modes, result.one_to_one, result.near


def test_a_mode_counts_from_a_hundredth_of_the_points_within_three_deviations() -> None:
    lost = [[50.0, 50.0]]
    assert found([[0.0, 2.9], *lost * 99], [0] * 100) == (1, 1, pytest.approx(0.01))
    assert found([[0.0, 2.9], *lost * 100], [0] * 101)[:2] == (0, 0)
    assert found([[0.0, 3.1], *lost * 99], [0] * 100)[:2] == (0, 0)
    assert found(CENTRES.tolist(), [0, 1, 2]) == (3, 3, 1.0)


def test_one_to_one_is_nineteen_of_twenty_from_one_mode() -> None:
    at = [[10.0, 0.0]] * 20
    assert found(at, [4] * 19 + [1])[:2] == (1, 1)
    assert found(at, [4] * 18 + [1] * 2)[:2] == (1, 0)
    assert found(at + [[0.0, 10.0]] * 20, [4] * 40)[:2] == (2, 2)  # one mode may become two


def test_a_short_run_prints_its_numbers_and_draws_its_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["mixtures.py", "-o", str(tmp_path), "--seeds", "2", "--images", "384"]
    for extra in ([], ["--json"]):  # the second time the runs are there
        monkeypatch.setattr("sys.argv", [*arguments, *extra])
        mixtures.main()
        lines = capsys.readouterr().out.splitlines()
        if extra:
            found = [json.loads(line) for line in lines]
            assert [(line["model"], line["seed"]) for line in found] == [
                (model, seed) for model in ("plain GAN", "one reconstruction", "DiscoGAN") for seed in (1, 2)
            ]
            assert all(0 <= line["one_to_one"] <= line["modes"] <= 10 and 0 <= line["near"] <= 1 for line in found)
        else:
            assert lines[-1] == str(tmp_path / "mixtures.png")
            assert lines[-2].startswith("DiscoGAN") and "of 10 modes" in lines[-2]
    figure = cv2.imread(str(tmp_path / "mixtures.png"))
    assert figure.shape[0] == 3 * (mixtures.BAND + mixtures.SIDE + mixtures.GAP) + mixtures.GAP
    assert figure.shape[1] == 3 * (mixtures.SIDE + mixtures.GAP) + mixtures.GAP
    assert len({tuple(pixel) for row in figure[::7] for pixel in row}) > 20
