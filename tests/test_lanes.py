"""Lanes: what is accumulated on one rank and what is shared between ranks is the same training."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from games import Noise, tiny_cyclegan, tiny_pix2pix
from safetensors.torch import load_file

from i2i.errors import UserError
from i2i.host import seeded
from i2i.lanes import coupled
from i2i.recipe import Training
from i2i.trainer import Trainer

HERE = Path(__file__).parent
STEPS, BATCH = 6, 4
GAMES = (
    "pix2pix cyclegan discogan cut sincut dcgan cgan progan wgan wgan-gp stackgan joint-embedding infogan autoencoder "
    "classification augmented"
)


def play(game: str, ranks: int, out: Path, *, stop: int = STEPS * BATCH) -> None:
    """ranks.py in processes of its own, one thread each."""
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    environment = os.environ | {
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]),
    }
    command = [sys.executable, *launch, str(HERE / "ranks.py"), game, str(ranks), str(out), str(stop)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def assert_same(one: Path, other: Path) -> None:
    compared = 0
    for path in sorted(one.glob(f"*-{STEPS * BATCH}.safetensors")):
        left, right = load_file(path), load_file(other / path.name)
        assert left.keys() == right.keys()
        for name, tensor in left.items():
            assert torch.equal(tensor, right[name]), f"{path.stem}: {name}"
            compared += 1
    assert compared > 20


@pytest.mark.dist
@pytest.mark.parametrize("game", GAMES.split())
def test_two_ranks_of_one_lane_are_one_rank_of_two_lanes_bitwise(game: str, tmp_path: Path) -> None:
    play(game, 1, tmp_path / "one")
    play(game, 2, tmp_path / "two")
    assert_same(tmp_path / "one", tmp_path / "two")
    if game == "cyclegan":
        pools = load_file(tmp_path / "two" / f"game-{STEPS * BATCH}.safetensors")
        assert set(pools) == {f"lane/{lane}/pool_{side}" for lane in (0, 1) for side in "ab"}
        assert all(len(images) == 3 for images in pools.values())


@pytest.mark.dist
@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_a_run_continues_on_another_number_of_ranks(first: int, then: int, tmp_path: Path) -> None:
    play("cyclegan", 1, tmp_path / "whole")
    play("cyclegan", first, tmp_path / "dealt", stop=12)
    play("cyclegan", then, tmp_path / "dealt")
    assert_same(tmp_path / "whole", tmp_path / "dealt")


def test_cyclegan_without_pool_is_the_same_in_one_lane_of_2b_and_two_of_b_in_float64(tmp_path: Path) -> None:
    weights = []
    for lane in (4, 2):
        with seeded(1):
            game = tiny_cyclegan(pool=0)
        game.generators.double()
        game.discriminators.double()
        settings = Training(images=24, batch=4, lane=lane, threads=1)
        data = Noise(size=32, dtype=torch.float64)
        trainer = Trainer(game, data, settings, tmp_path / str(lane), device="cpu", say=lambda sentence: None)
        trainer.run(quiet=True)
        weights.append(trainer.state()[0]["players"])
    for name, tensor in weights[0].items():
        assert tensor.dtype == torch.float64
        assert (tensor - weights[1][name]).abs().max() < 1e-9, name


def test_the_probe_finds_batch_norm_and_nothing_else() -> None:
    data = Noise(size=32)
    batch = tuple(torch.stack(field) for field in zip(data[0], data[1], strict=True))
    with seeded(0):
        assert coupled(tiny_cyclegan(), batch) == set()
        assert "generator/pixel" in coupled(tiny_pix2pix(), batch)


@pytest.mark.parametrize(("batch", "lane"), [(3, 2), (1, 2)])
def test_a_batch_that_cannot_be_dealt_is_refused(batch: int, lane: int, tmp_path: Path) -> None:
    with pytest.raises((UserError, ValueError), match="lane"):
        Trainer(tiny_cyclegan(), Noise(), replace(Training(images=8), batch=batch, lane=lane), tmp_path, device="cpu")
