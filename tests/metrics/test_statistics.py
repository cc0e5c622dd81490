"""Statistics of a set of pictures: the same however it was cut up, kept under their protocol, refused under another."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from i2i.errors import UserError
from i2i.metrics.distances import fid, inception_score, kid
from i2i.metrics.extractors import Extractor, Features
from i2i.metrics.statistics import Statistics, collect, comparable

DIMS = 12


class Small(nn.Module):
    """[N,3,16,16] => features [N,12] and logits [N,5]."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(DIMS, 3, 5, 5, generator=draw) / 8)
        self.register_buffer("classes", torch.randn(DIMS, 5, generator=draw))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pool = torch.conv2d(x, self.weight, stride=2).relu().mean((2, 3))
        return pool, pool @ self.classes


def small(weights: str = "made up") -> Extractor:
    return Extractor(
        "small", Small(), kind="small", weights=weights, resize="pytorch-fid", size=16, scale=([128.0], [64.0]),
        device=torch.device("cpu"), precision="fp32",
    )  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures of several sizes and kinds."""
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    for number in range(23):
        height, width = draw.integers(8, 30, 2)
        smooth = cv2.resize(draw.integers(0, 256, (3, 3, 3), dtype=np.uint8), (int(width), int(height)))
        cv2.imwrite(str(folder / f"{number:02}.png"), smooth)
    cv2.imwrite(str(folder / "23.png"), draw.integers(0, 256, (9, 9), dtype=np.uint8))
    cv2.imwrite(str(folder / "24.png"), draw.integers(0, 65536, (9, 9, 3)).astype(np.uint16))
    cv2.imwrite(str(folder / "25.png"), draw.integers(0, 256, (9, 9, 4), dtype=np.uint8))
    return sorted(folder.iterdir())


def same(a: Statistics, b: Statistics) -> None:
    assert a.count == b.count
    torch.testing.assert_close(a.mean, b.mean, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(a.covariance, b.covariance, rtol=1e-6, atol=1e-9)
    assert a.features is not None and b.features is not None
    torch.testing.assert_close(a.features, b.features, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(a.logits, b.logits, rtol=1e-5, atol=1e-6)


def test_mean_and_covariance_are_numpys_however_the_rows_come() -> None:
    rows = torch.randn(700, 6, generator=torch.Generator().manual_seed(0)) * 3 + 100
    whole, parts, moments = (Statistics({}, keep=keep) for keep in (True, True, False))
    whole.add(Features(rows))
    for part in rows.split([1, 255, 300, 0, 144]):
        parts.add(Features(part))
        moments.add(Features(part))
    for found in (whole, parts, moments):
        np.testing.assert_allclose(found.mean, rows.double().numpy().mean(0), rtol=1e-12)
        np.testing.assert_allclose(found.covariance, np.cov(rows.double().numpy(), rowvar=False), rtol=1e-9)
    assert torch.equal(whole.covariance, parts.covariance)
    assert moments.features is None and whole.features is not None and torch.equal(whole.features, rows)


def test_batch_and_workers_change_nothing(files: list[Path]) -> None:
    network, threads = small(), torch.get_num_threads()
    first = collect(files, network, batch=1, workers=1)
    assert first.statistics.count == 26 and not first.failed
    assert sum(first.sizes.values()) == 26 and first.sizes[(9, 9)] >= 3
    told: list[tuple[int, int]] = []
    for batch, workers in ((7, 3), (64, 2)):
        other = collect(files, network, batch=batch, workers=workers, tell=lambda *done: told.append(done))
        same(first.statistics, other.statistics)
    assert torch.get_num_threads() == threads == ThreadPoolExecutor(1).submit(torch.get_num_threads).result()
    assert told == [(7, 26), (14, 26), (21, 26), (26, 26), (26, 26)]


def test_shards_of_unequal_size_merge_into_the_whole(files: list[Path], tmp_path: Path) -> None:
    network = small()
    whole = collect(files, network).statistics
    parts = [collect(files, network, shard=(i, 4)).statistics for i in (1, 2, 3, 4)]
    assert [part.count for part in parts] == [7, 7, 6, 6]
    for i, part in enumerate(parts):
        part.save(tmp_path / f"{i}.npz")
    merged = Statistics(network.identity)
    for i in (2, 0, 3, 1):
        merged.merge(Statistics.load(tmp_path / f"{i}.npz"))
    same(whole, merged)
    other = collect(files[:11], network).statistics
    assert fid(whole, other).value == pytest.approx(fid(merged, other).value, rel=1e-6)
    assert kid(whole, other, size=9) == pytest.approx(kid(merged, other, size=9), rel=1e-6)
    assert inception_score(whole) == pytest.approx(inception_score(merged), rel=1e-6)
    with pytest.raises(UserError, match="both have picture 1"):
        merged.merge(parts[0])
    with pytest.raises(UserError, match="shard 5/4 is none"):
        collect(files, network, shard=(5, 4))


@pytest.mark.dist
def test_two_processes_with_unequal_shares_give_what_one_gives(files: list[Path], tmp_path: Path) -> None:
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import torch
from test_statistics import small
from i2i.metrics.statistics import collect, gathered
torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
files = sorted(Path({str(files[0].parent)!r}).iterdir())[:25]
whole = gathered(collect(files, small(), shard=(rank + 1, 2)))
whole.statistics.save(Path({str(tmp_path)!r}) / f"{{rank}}.npz")
torch.distributed.destroy_process_group()
"""
    (tmp_path / "run.py").write_text(code)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "run.py"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    alone = collect(files[:25], small()).statistics
    for rank in (0, 1):
        same(alone, Statistics.load(tmp_path / f"{rank}.npz"))


def test_bad_files_are_named_and_left_out(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "torn.png").write_bytes(files[0].read_bytes()[:60])
    bad = [tmp_path / "text.png", tmp_path / "torn.png", tmp_path / "none.png"]
    found = collect([files[0], bad[0], files[1], *bad[1:], files[2]], small(), batch=2)
    assert list(found.failed) == list(map(str, bad))
    assert all(name in reason for name, reason in found.failed.items())
    same(found.statistics, collect(files[:3], small()).statistics)
    assert collect(bad, small()).statistics.count == 0


def test_the_cache_goes_by_contents_and_protocol(files: list[Path], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = collect(files, small(), cache=cache)
    assert first.cached == 0
    moved = [(tmp_path / f"moved-{file.name}") for file in files]
    for file, copy in zip(files, moved, strict=True):
        copy.write_bytes(file.read_bytes())
    second = collect(moved, small(), cache=cache, batch=5)
    assert second.cached == 26 and second.sizes == first.sizes
    same(first.statistics, second.statistics)
    moved[3].write_bytes(files[4].read_bytes()[:60])
    third = collect(moved, small(), cache=cache)
    assert third.cached == 25 and list(third.failed) == [str(moved[3])]
    assert collect(files, small("others"), cache=cache).cached == 0
    for block in cache.rglob("*.npz"):
        block.write_bytes(block.read_bytes()[:200])
    fourth = collect(files, small(), cache=cache)
    assert fourth.cached == 0
    same(first.statistics, fourth.statistics)
    assert collect(files, small(), cache=cache).cached == 26  # written anew


def test_a_file_of_statistics_is_read_as_it_was_written(files: list[Path], tmp_path: Path) -> None:
    found = collect(files, small()).statistics
    found.save(tmp_path / "set.npz")
    again = Statistics.load(tmp_path / "set.npz")
    same(found, again)
    assert (again.identity, again.source, again.said) == (found.identity, str(tmp_path / "set.npz"), ())
    with np.load(tmp_path / "set.npz") as archive:  # as pytorch-fid and clean-fid do
        assert np.array_equal(archive["mu"], found.mean) and np.array_equal(archive["sigma"], found.covariance)
    moments = collect(files, small(), keep=False).statistics
    moments.save(tmp_path / "moments.npz")
    light = Statistics.load(tmp_path / "moments.npz")
    assert light.features is None and light.count == 26
    assert fid(light, found).value == pytest.approx(0, abs=1e-6)
    with pytest.raises(UserError, match=r"moments.npz holds no features, and KID needs them"):
        kid(light, found)


def test_pytorch_fids_file_is_read_and_its_silence_said(files: list[Path], tmp_path: Path) -> None:
    found = collect(files, small()).statistics
    np.savez_compressed(tmp_path / "theirs.npz", mu=found.mean, sigma=found.covariance)
    theirs = Statistics.load(tmp_path / "theirs.npz")
    result = fid(found, theirs)
    assert result.value == pytest.approx(0, abs=1e-6)
    assert any("theirs.npz states no protocol" in note for note in result.notes)
    with pytest.raises(UserError, match="statistics of other programs cannot be merged"):
        found.merge(theirs)


def test_other_protocols_are_refused_by_name(files: list[Path]) -> None:
    a, b = collect(files, small(), source="real.npz").statistics, collect(files, small("others")).statistics
    b.source = "fake"
    with pytest.raises(UserError, match=r"^real.npz \(weights made up\) and fake \(weights others\) cannot"):
        fid(a, b)
    b.identity = {**a.identity, "resize": "clean-fid", "precision": "bf16"}
    with pytest.raises(UserError, match="resize pytorch-fid, precision fp32.*resize clean-fid, precision bf16"):
        comparable(a, b)
    c = Statistics({})
    c.add(Features(torch.zeros(3, 5)))
    with pytest.raises(UserError, match="12 features a picture and the set 5"):
        fid(a, c)


def test_other_files_are_refused_and_nothing_in_them_is_executed(tmp_path: Path) -> None:
    path = tmp_path / "stats.npz"
    np.savez(path, mu=np.zeros(3), sigma=np.zeros((2, 2)))
    contents = [path.read_bytes(), b"", b"text", pickle.dumps({"mu": 1}), path.read_bytes()[:100]]
    np.savez(path, mu=np.array([np.nan] * 2), sigma=np.zeros((2, 2)))
    contents.append(path.read_bytes())
    np.savez(path, mu=np.array([{}], dtype=object), sigma=np.zeros((1, 1)))
    contents.append(path.read_bytes())
    np.savez(path, features=np.zeros((2, 2)))
    contents.append(path.read_bytes())
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"stats\.npz holds no statistics that can be read"):
            Statistics.load(path)
    with pytest.raises(UserError, match="there is no file"):
        Statistics.load(tmp_path / "none.npz")


def test_values_that_are_not_finite_are_refused() -> None:
    found = Statistics({}, source="fake")
    with pytest.raises(UserError, match="fake: the network gives values that are not finite"):
        found.add(Features(torch.tensor([[1.0, float("nan")]])))
    found.add(Features(torch.ones(1, 2)))
    with pytest.raises(UserError, match="fake: 1 picture has no covariance"):
        fid(found, found)
