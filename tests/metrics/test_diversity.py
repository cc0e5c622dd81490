"""Diversity: of the outputs of one input, of a set's pairs, and of the classes in a set."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from i2i.metrics.diversity import grouped, labels, modes, of_outputs, of_pairs
from i2i.metrics.extractors import Features, extractor
from i2i.metrics.fidelity import ms_ssim
from i2i.metrics.perceptual import Lpips


def pictures(count: int, side: int = 32) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def waves(count: int) -> list[NDArray[np.uint8]]:
    """Pictures large enough for MS-SSIM, each a little further from the first."""
    down, across, _ = np.indices((161, 165, 3))
    return [(np.abs((3 * down + (2 + n) * across) % 510 - 255)).astype(np.uint8) for n in range(count)]


def test_outputs_are_grouped_by_their_input() -> None:
    files = [Path(f"seed{seed}/{name}.png") for seed in (2, 1) for name in ("b", "a")]
    assert grouped(files) == {
        "a": [Path("seed1/a.png"), Path("seed2/a.png")],
        "b": [Path("seed1/b.png"), Path("seed2/b.png")],
    }
    assert list(grouped(files, by="folder")) == ["seed1", "seed2"]


def test_the_spread_is_the_mean_distance_of_all_pairs_of_outputs() -> None:
    lpips, (a, b, c, d) = Lpips("squeeze", random=0), pictures(4)
    spread = of_outputs([("x", [a, b, c]), ("y", [a, d]), ("z", [d, d])], lpips)
    of_x = np.mean([lpips(one, other) for one, other in combinations((a, b, c), 2)])
    assert spread.each == pytest.approx({"x": of_x, "y": lpips(a, d), "z": 0}, abs=1e-6)
    assert spread.pairs == 5
    assert spread.mean == pytest.approx(np.mean(list(spread.each.values())))
    assert spread.std == pytest.approx(np.std(list(spread.each.values())))


def test_groups_without_a_pair_are_named() -> None:
    lpips, (a, b) = Lpips("squeeze", random=0), pictures(2)
    with pytest.raises(ValueError, match="lonely has 1 output; to tell how they differ takes two or more"):
        of_outputs([("fine", [a, b]), ("lonely", [a])], lpips)
    with pytest.raises(ValueError, match="the outputs of x differ in size: 32x31, 32x32"):
        of_outputs([("x", [a, b[:31]])], lpips)
    with pytest.raises(ValueError, match="no outputs"):
        of_outputs([], lpips)


def test_all_pairs_of_a_small_set_are_measured() -> None:
    given = waves(4)
    alike = of_pairs(given)
    each = [ms_ssim(one, other, rgb=True) for one, other in combinations(given, 2)]
    assert (alike.pairs, alike.possible) == (6, 6)
    assert (alike.mean, alike.std) == pytest.approx((np.mean(each), np.std(each)))
    assert of_pairs([given[0]] * 3).mean == pytest.approx(1)


class Asked(list[NDArray[np.uint8]]):
    """Notes which pictures are asked for, two by two."""

    def __init__(self, given: list[NDArray[np.uint8]]) -> None:
        super().__init__(given)
        self.places: list[int] = []

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        self.places.append(place)
        return super().__getitem__(place)


def test_pairs_of_a_large_set_are_drawn_by_the_seed_and_never_twice() -> None:
    small = waves(1) * 7
    asked = {}
    for seed in (0, 0, 1):
        given = Asked(small)
        assert of_pairs(given, pairs=8, seed=seed).pairs == 8
        found = list(zip(given.places[::2], given.places[1::2], strict=True))
        assert len(set(found)) == 8 and all(0 <= one < other < 7 for one, other in found)
        assert asked.setdefault(seed, found) == found
    assert asked[0] != asked[1]
    given = Asked(small)
    of_pairs(given)
    assert list(zip(given.places[::2], given.places[1::2], strict=True)) == list(combinations(range(7), 2))
    assert of_pairs(Asked(waves(1) * 60_000), pairs=2).possible == 60_000 * 59_999 // 2


def test_sets_without_pairs_and_mixed_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="a set of 1 has no pairs"):
        of_pairs(waves(1))
    with pytest.raises(ValueError, match="cannot be compared"):
        of_pairs([waves(1)[0], waves(1)[0][:-1]])


def test_modes_and_their_evenness() -> None:
    assert modes([0, 1, 2, 3] * 5, 4) == (4, 4, pytest.approx(1), (5, 5, 5, 5))
    assert modes([2] * 7, 4) == (1, 4, 0, (0, 0, 7, 0))
    half = modes([0, 0, 1, 1], 4)
    assert (half.found, half.evenness) == (2, pytest.approx(0.5))
    assert modes(np.array([0, 0, 0, 1]), 2).evenness == pytest.approx(-(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)))
    for found, classes, said in (([0, 4], 4, "0 to 3, and 0 to 4 were given"), ([], 4, "0 pictures"), ([0], 1, "of 1")):
        with pytest.raises(ValueError, match=said):
            modes(found, classes)


class Colour(nn.Module):
    """A classifier: which of red, green and blue a picture has most of."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


def test_classes_come_from_a_classifier_of_the_users(tmp_path: Path) -> None:
    torch.jit.trace(Colour(), torch.zeros(1, 3, 8, 8)).save(str(tmp_path / "colour.pt"))  # type: ignore[no-untyped-call]
    classify = extractor(str(tmp_path / "colour.pt"))
    given = [np.full((9, 7, 3), 50, np.uint8) for _ in range(4)]
    for picture, most in zip(given, (2, 0, 2, 2), strict=True):
        picture[..., most] = 200
    found = labels(classify(given))
    assert found.tolist() == [2, 0, 2, 2]
    assert modes(found, classify.dims)[:2] == (2, 3)
    both = Features(torch.zeros(2, 5), torch.tensor([[0.0, 1.0], [3.0, 2.0]]))
    assert labels(both).tolist() == [1, 0]
