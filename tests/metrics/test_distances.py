"""Distances of sets of pictures are those of torch-fidelity, pytorch-fid and clean-fid, and behave as distances."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import i2i.zoo
from i2i.errors import UserError
from i2i.metrics import extractors
from i2i.metrics.distances import cmmd, fid, inception_score, kid, prdc, trace_of_root
from i2i.metrics.extractors import Extractor, Features, extractor
from i2i.metrics.statistics import Statistics, collect

Pixels = NDArray[np.uint8]
SEED = 1  # of Inception's random weights
PHOTOGRAPHS = Path(i2i.zoo.__file__).parent / "samples" / "aerial_photographs"


def made(rows: Tensor, logits: Tensor | None = None, *, keep: bool = True, source: str = "the set") -> Statistics:
    found = Statistics({}, keep=keep, source=source)
    found.add(Features(rows.float(), logits))
    return found


def cloud(seed: int, count: int, dims: int, spread: float = 1.0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    mix = torch.randn(dims, dims, generator=torch.Generator().manual_seed(7)) / dims**0.5
    return spread * torch.randn(count, dims, generator=draw) @ mix + 0.1 * seed


# --- formulas ---------------------------------------------------------------------------------------------------------


def test_fid_of_normal_distributions_is_the_known_one() -> None:
    """Of N(m, s^2 I) and N(n, t^2 I) it is |m - n|^2 + D (s - t)^2."""
    rows = torch.randn(5000, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = torch.linalg.qr(rows - rows.mean(0)).Q * 4999**0.5  # mean 0, covariance I
    a, b = made(rows), made(3 * rows + 0.5)
    assert fid(a, b).value == pytest.approx(8 * 0.25 + 8 * 4, rel=1e-6)
    assert fid(a, b).notes == ()


@pytest.mark.parametrize(("counts", "keep"), [((200, 300), True), ((200, 300), False), ((30, 40), True),
                                              ((30, 40), False), ((30, 300), True), ((300, 30), False)])  # fmt: skip
def test_the_trace_is_scipys(counts: tuple[int, int], keep: bool) -> None:
    """Of full rank by Cholesky, with fewer pictures than features by singular values, without features by both."""
    linalg = pytest.importorskip("scipy.linalg")
    a, b = (made(cloud(seed, count, 64), keep=keep) for seed, count in enumerate(counts))
    root = linalg.sqrtm(a.covariance.numpy() @ b.covariance.numpy())
    found, notes = trace_of_root(a, b)
    assert found == pytest.approx(np.trace(root).real, rel=1e-6)
    assert len(notes) == sum(count <= 64 for count in counts)


@pytest.mark.filterwarnings("ignore:The `disp` argument")
def test_fid_is_pytorch_fids() -> None:
    scores = pytest.importorskip("pytorch_fid.fid_score", reason="pytorch-fid is not installed")
    a, b = made(cloud(0, 300, 32)), made(cloud(1, 200, 32, 1.5))
    moments = [value.numpy() for some in (a, b) for value in (some.mean, some.covariance)]
    theirs = scores.calculate_frechet_distance(*moments)
    assert fid(a, b).value == pytest.approx(theirs, rel=1e-6)


def test_a_covariance_of_low_rank_gives_a_number_and_a_sentence() -> None:
    rows = cloud(0, 40, 64)
    flat = torch.cat([cloud(1, 300, 32), torch.zeros(300, 32)], 1)  # half of the features are always 0
    for a in (made(rows), made(rows, keep=False), made(flat), made(flat, keep=False)):
        assert fid(a, a).value == pytest.approx(0, abs=1e-3)
        result = fid(a, made(cloud(2, 300, 64)))
        assert math.isfinite(result.value) and result.value > 0
        assert any("has a rank below its 64 features" in note for note in result.notes)
    same = made(torch.full((5, 64), 3.0), keep=False)
    assert fid(same, same).value == 0 and math.isfinite(fid(same, made(rows)).value)


def test_few_pictures_are_said() -> None:
    notes = fid(made(cloud(0, 2047, 4)), made(cloud(1, 3000, 4))).notes
    assert len(notes) == 1 and notes[0].startswith("2047 pictures are few: below 2,048")
    assert fid(made(cloud(0, 2048, 4)), made(cloud(1, 3000, 4))).notes == ()


def mmd(x: Tensor, y: Tensor) -> float:
    kernel = [((p.double() @ q.double().T) / x.shape[1] + 1) ** 3 for p, q in ((x, x), (y, y), (x, y))]
    n = len(x)
    own = [(k.sum() - k.trace()) / (n * (n - 1)) for k in kernel[:2]]
    return float(own[0] + own[1] - 2 * kernel[2].mean())


@pytest.mark.parametrize("subsets", [2, 50])  # one by one, or the whole kernel at once
def test_kid_is_the_mean_over_subsets(subsets: int) -> None:
    x, y = cloud(0, 60, 16), cloud(1, 50, 16)
    draw = np.random.RandomState(2020)
    wanted = []
    for _ in range(subsets):
        ours, theirs = draw.choice(60, 20, replace=False), draw.choice(50, 20, replace=False)
        wanted.append(mmd(x[ours], y[theirs]))
    found = kid(made(x), made(y), subsets=subsets, size=20)
    assert found == pytest.approx((np.mean(wanted), np.std(wanted)), rel=1e-9)


def test_kids_subsets_are_clamped_to_the_pictures() -> None:
    x, y = cloud(0, 40, 16), cloud(1, 40, 16)
    mean, spread = kid(made(x), made(y), size=1000)
    assert mean == pytest.approx(mmd(x, y), rel=1e-9) and spread == pytest.approx(0, abs=1e-9)
    with pytest.raises(UserError, match="KID of 1 picture"):
        kid(made(x[:1]), made(y))


def test_inception_score_counts_what_is_told_apart() -> None:
    rows = torch.zeros(50, 2)
    sure = 1e4 * torch.eye(5).repeat(10, 1)
    assert inception_score(made(rows, torch.zeros(50, 5)))[0] == pytest.approx(1)
    assert inception_score(made(rows, sure), splits=1)[0] == pytest.approx(5)
    with pytest.raises(UserError, match="holds no classes"):
        inception_score(made(rows))
    with pytest.raises(UserError, match="in 10 splits needs as many pictures, and there are 4"):
        inception_score(made(rows[:4], sure[:4]))


def test_precision_recall_density_and_coverage_by_their_definitions() -> None:
    real, fake = cloud(0, 60, 4), cloud(1, 45, 4, 0.7)
    apart = torch.cdist(real.double(), fake.double()).numpy()

    def reach(x: Tensor, k: int) -> NDArray[np.float64]:
        return np.sort(torch.cdist(x.double(), x.double()).numpy(), axis=1)[:, k]

    wanted = (
        (apart <= reach(real, 3)[:, None]).any(0).mean(),
        (apart <= reach(fake, 3)).any(1).mean(),
        (apart <= reach(real, 5)[:, None]).sum(0).mean() / 5,
        (apart.min(1) <= reach(real, 5)).mean(),
    )
    assert prdc(made(real), made(fake)) == pytest.approx(wanted, rel=1e-6)
    far = prdc(made(real), made(fake + 100))
    assert far == (0, 0, 0, 0)
    with pytest.raises(UserError, match="by 5 neighbours need 6 pictures on each side, and there are 5 and 45"):
        prdc(made(real[:5]), made(fake))


def test_equal_pictures_are_at_no_distance() -> None:
    """A generator that makes one picture only: its balls have no width, and are still its own."""
    one = (cloud(0, 1, 64) * 50).expand(20, 64)
    assert prdc(made(one), made(one)) == pytest.approx((1, 1, 4, 1))
    rows = cloud(0, 30, 64)
    assert prdc(made(rows), made(rows))[:2] == (1, 1)


def test_cmmd_is_the_papers() -> None:
    x, y = cloud(0, 30, 16), cloud(1, 20, 16)
    a, b = (rows.double() / rows.double().norm(dim=1, keepdim=True) for rows in (x, y))
    mean = [torch.exp(-(torch.cdist(p, q) ** 2) / 200).mean() for p, q in ((a, a), (b, b), (a, b))]
    assert cmmd(made(x), made(y)) == pytest.approx(float(1000 * (mean[0] + mean[1] - 2 * mean[2])), rel=1e-6)
    assert cmmd(made(x), made(x)) == pytest.approx(0, abs=1e-9)


# --- the same as other programs, with one and the same random Inception -----------------------------------------------


class Sets(NamedTuple):
    """Two folders of photographs' patches, 96x96: as they are, and blurred with noise."""

    real: list[Path]
    fake: list[Path]
    weights: Path  # of the Inception


def patches() -> Iterator[Pixels]:
    """24 of 96x96, four of each photograph."""
    for file in sorted(PHOTOGRAPHS.iterdir()):
        whole = cv2.imread(str(file))
        for y, x in ((0, 0), (0, 110), (110, 0), (110, 110)):
            yield whole[y : y + 96, x : x + 96]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    root = tmp_path_factory.mktemp("sets")
    draw = np.random.default_rng(0)
    for number, pixels in enumerate(patches()):
        folder = root / ("real" if number % 2 else "fake")
        folder.mkdir(exist_ok=True)
        if number % 2 == 0:
            pixels = noisy(cv2.GaussianBlur(pixels, (0, 0), 1.5), 12, draw)
        cv2.imwrite(str(folder / f"{number:02}.png"), pixels)
    torch.save(extractors.drawn(SEED), root / "random.pth")
    return Sets(sorted((root / "real").iterdir()), sorted((root / "fake").iterdir()), root / "random.pth")


def noisy(pixels: Pixels, level: float, draw: np.random.Generator) -> Pixels:
    return (pixels + draw.normal(0, level, pixels.shape)).clip(0, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def inception() -> Extractor:
    pytest.importorskip("torch_fidelity", reason="needs the extra metrics")
    return extractor(random=SEED, device="cpu")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **more: Any) -> None:
        raise AssertionError(f"the network was asked for: {arguments}")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_scores_are_torch_fidelitys(sets: Sets, inception: Extractor, offline: None) -> None:
    from torch_fidelity import calculate_metrics

    theirs = calculate_metrics(
        input1=str(sets.fake[0].parent), input2=str(sets.real[0].parent), cuda=False, batch_size=6, verbose=False,
        cache=False, isc=True, fid=True, kid=True, prc=True, kid_subset_size=10, save_cpu_ram=True,
        feature_extractor="inception-v3-compat", feature_extractor_weights_path=str(sets.weights),
    )  # fmt: skip
    fake, real = (collect(files, inception, batch=5).statistics for files in (sets.fake, sets.real))
    near = {"rel": 1e-4}
    assert fid(fake, real).value == pytest.approx(theirs["frechet_inception_distance"], **near)
    mean, spread = kid(fake, real, size=10)
    assert mean == pytest.approx(theirs["kernel_inception_distance_mean"], **near)
    assert spread == pytest.approx(theirs["kernel_inception_distance_std"], **near)
    mean, spread = inception_score(fake)
    assert mean == pytest.approx(theirs["inception_score_mean"], **near)
    assert spread == pytest.approx(theirs["inception_score_std"], **near)
    found = prdc(real, fake)
    assert found[:2] == pytest.approx((theirs["precision"], theirs["recall"]), **near)
    assert 0 < found.precision < 1 or 0 < found.recall < 1  # the comparison tells something


@pytest.mark.parametrize("resize", ["pytorch-fid", "clean-fid"])
def test_fid_with_another_resize_is_that_of_its_program(
    sets: Sets, resize: Any, monkeypatch: pytest.MonkeyPatch, offline: None
) -> None:
    """Its own network, resize and reading of files; the distance is compared above, since it takes scipy half a
    minute."""
    network = pytest.importorskip("pytorch_fid.inception", reason="pytorch-fid is not installed")
    state = torch.load(sets.weights, weights_only=True)
    monkeypatch.setattr(network, "load_state_dict_from_url", lambda *address, **more: state)
    if resize == "pytorch-fid":
        scores = pytest.importorskip("pytorch_fid.fid_score")
        theirs = network.InceptionV3()

        def features(files: Sequence[Path]) -> Tensor:
            return torch.from_numpy(scores.get_activations(files, theirs, 6, 2048, "cpu", 0))
    else:
        cleanly = pytest.importorskip("cleanfid.resize", reason="clean-fid is not installed").build_resizer("clean")
        theirs = network.InceptionV3(resize_input=False, normalize_input=False)

        def features(files: Sequence[Path]) -> Tensor:
            read = [cleanly(cv2.imread(str(file))[..., ::-1]) for file in files]
            x = (torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2) - 128) / 128
            with torch.no_grad():
                return theirs.eval()(x)[0].flatten(1)

    ours = extractor(random=SEED, resize=resize, device="cpu")
    few = (sets.real[::2], sets.fake[::2])
    a, b = (collect(files, ours).statistics for files in few)
    c, d = (made(features(files)) for files in few)
    assert fid(a, b).value == pytest.approx(fid(c, d).value, rel=1e-3)


# --- as distances behave ----------------------------------------------------------------------------------------------


def test_fid_is_0_for_a_set_itself_and_grows_with_every_damage(inception: Extractor) -> None:
    whole = list(patches())[::4]

    def features(pictures: Sequence[Pixels]) -> Statistics:
        return made(inception(pictures).pool)

    real = features(whole)
    assert fid(real, real).value == pytest.approx(0, abs=1e-3)
    draw = np.random.default_rng(0)
    noise = [fid(real, features([noisy(x, level, draw) for x in whole])).value for level in (8, 32, 96)]
    blur = [fid(real, features([cv2.GaussianBlur(x, (0, 0), width) for x in whole])).value for width in (1, 3, 9)]
    rows = real.features
    assert rows is not None
    lost = [fid(real, made(rows[:kept].repeat(6 // kept, 1))).value for kept in (6, 3, 2, 1)]
    for found in (noise, blur, lost):
        assert all(before < after for before, after in pairwise(found)), found
