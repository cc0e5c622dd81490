"""A run that was killed at any moment ends where an uninterrupted one ends, bit for bit."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from games import Noise, tiny_pix2pix
from runs import child, make_trainer

from i2i.checkpoint import States
from i2i.errors import UserError
from i2i.host import seeded
from i2i.recipe import Training
from i2i.trainer import Trainer

context = multiprocessing.get_context("forkserver")  # each child forks from a server that never computed anything
context.set_forkserver_preload(["runs"])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for side in "ab":
        (folder / side).mkdir()
        for index in range(5):
            cv2.imwrite(str(folder / side / f"{index}.png"), generator.integers(0, 256, (40, 40, 3), np.uint8))
    return folder


def saved(out: Path) -> list[str]:
    return [path.name for path in States(out / "state").saved()]


def newest(out: Path) -> dict[str, dict[str, torch.Tensor]]:
    loaded = States(out / "state").load(print)
    assert loaded is not None
    return loaded[0]


def assert_equal(one: Path, other: Path) -> None:
    left, right = newest(one), newest(other)
    assert sum(map(len, left.values())) > 50
    for group, tensors in left.items():
        assert tensors.keys() == right[group].keys()
        for name, tensor in tensors.items():
            assert torch.equal(tensor, right[group][name]), f"{group}: {name}"


def terms(out: Path) -> list[tuple[int, dict[str, float]]]:
    lines = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    return [(line["images"], line["terms"]) for line in lines]


@pytest.mark.dist
@pytest.mark.parametrize(("precision", "workers"), [("fp32", 0), ("bf16", 2)])
def test_killed_at_random_moments_it_ends_bitwise_the_same(
    precision: str, workers: int, pictures: Path, tmp_path: Path
) -> None:
    more = {"precision": precision, "workers": workers}
    make_trainer(pictures, tmp_path / "whole", **more).run(quiet=True)
    draw, killed, out = random.Random(7), 0, tmp_path / "killed"
    while True:
        process = context.Process(target=child, args=(pictures, out, more))
        process.start()
        before = saved(out)
        if killed < 6:
            while saved(out) == before and process.is_alive():  # one save further at least
                time.sleep(0.005)
            time.sleep(draw.uniform(0, 0.3))  # a save follows every step, so that some of these fall into one
            if process.is_alive():
                assert process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
                killed += 1
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
        if process.exitcode == 0:
            break
    assert killed >= 3
    assert_equal(tmp_path / "whole", out)
    assert terms(tmp_path / "whole") == terms(out)


@pytest.mark.parametrize("name", ["players.safetensors", "state.json", "manifest.json"])
def test_a_torn_checkpoint_falls_back_to_the_one_before_and_says_so(name: str, pictures: Path, tmp_path: Path) -> None:
    make_trainer(pictures, tmp_path / "whole").run(quiet=True)
    make_trainer(pictures, tmp_path / "torn").run(stop_at=12, quiet=True)
    last = States(tmp_path / "torn" / "state").saved()[-1]
    (last / name).write_bytes((last / name).read_bytes()[:-7])
    said: list[str] = []
    trainer = make_trainer(pictures, tmp_path / "torn")
    trainer.say = said.append
    trainer.run(quiet=True)
    assert any("torn" in sentence and "falling back" in sentence for sentence in said)
    assert_equal(tmp_path / "whole", tmp_path / "torn")


def test_a_save_that_was_killed_leaves_nothing_under_a_final_name(pictures: Path, tmp_path: Path) -> None:
    make_trainer(pictures, tmp_path).run(stop_at=4, quiet=True)
    part = tmp_path / "state" / "part-0000000005"
    part.mkdir()
    (part / "players.safetensors").write_bytes(b"half")
    trainer = make_trainer(pictures, tmp_path)
    trainer.run(stop_at=6, quiet=True)
    assert [path.name for path in States(tmp_path / "state").saved()] == ["0000000005", "0000000006"]
    assert not part.exists()


def test_no_whole_checkpoint_is_an_error_not_a_new_beginning(pictures: Path, tmp_path: Path) -> None:
    make_trainer(pictures, tmp_path).run(stop_at=2, quiet=True)
    for path in (tmp_path / "state").glob("*/manifest.json"):
        path.unlink()
    with pytest.raises(UserError, match="none of the 2 checkpoints"):
        make_trainer(pictures, tmp_path).run(quiet=True)


def test_other_circumstances_are_said_and_another_batch_is_refused(pictures: Path, tmp_path: Path) -> None:
    make_trainer(pictures, tmp_path).run(stop_at=2, quiet=True)
    said: list[str] = []
    trainer = make_trainer(pictures, tmp_path, precision="bf16", channels_last=False)
    trainer.say = said.append
    trainer.run(stop_at=4, quiet=True)
    assert any("not bitwise" in s and "precision bf16 instead of fp32" in s and "layout contiguous" in s for s in said)
    with pytest.raises(UserError, match="training.batch=1"):
        make_trainer(pictures, tmp_path, batch=2).run(quiet=True)


def test_two_runs_are_equal_and_the_host_program_keeps_its_randomness(pictures: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state(), torch.get_num_threads(), np.random.get_state()[1].tolist(), random.getstate()
    make_trainer(pictures, tmp_path / "one").run(quiet=True)
    after = torch.random.get_rng_state(), torch.get_num_threads(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    torch.manual_seed(6)
    make_trainer(pictures, tmp_path / "two").run(quiet=True)
    assert_equal(tmp_path / "one", tmp_path / "two")


def test_fp16_keeps_a_scaler_for_each_player(tmp_path: Path) -> None:
    settings = Training(images=4, precision="fp16", threads=1)
    trainer = Trainer(tiny_pix2pix(), Noise(), settings, tmp_path, device="cpu", say=lambda sentence: None)
    trainer.run(quiet=True)
    scalers = trainer.state()[1]["scalers"]
    assert set(scalers) == {"generator", "discriminator"}
    assert all(state["scale"] > 0 for state in scalers.values())


def test_a_step_with_a_gradient_that_is_not_finite_is_skipped_and_said(tmp_path: Path) -> None:
    class Spoiled(Noise):
        def __getitem__(self, position: int) -> Any:
            pair = super().__getitem__(position)
            return pair._replace(a=pair.a * float("nan")) if position == 2 else pair

    with seeded(1):
        game = tiny_pix2pix()
    said: list[str] = []
    settings = Training(images=4, threads=1, log_every=4)
    trainer = Trainer(game, Spoiled(), settings, tmp_path, device="cpu", say=said.append)
    trainer.run(quiet=True)
    assert all(tensor.isfinite().all() for tensor in trainer.state()[0]["players"].values())
    assert any("25.0% of the steps of 'generator' were skipped" in sentence for sentence in said)
    assert json.loads((tmp_path / "journal.jsonl").read_text().splitlines()[-1])["skipped"]["generator"] == 0.25
