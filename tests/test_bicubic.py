"""Small pictures are made to the bit as those of the test sets were."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from i2i.data.bicubic import reduce, taps

SETS = Path(os.environ.get("I2I_DATA", "../shared/data")) / "sr"


def levels(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).float()


def reduced(given: Tensor, scale: int, **more: str) -> Tensor:
    return reduce(given / 127.5 - 1, scale, **more) * 255  # type: ignore[arg-type]


@pytest.mark.skipif(not SETS.is_dir(), reason="Set5 and Set14 are not here")
@pytest.mark.parametrize(("name", "pictures"), [("Set5", 5), ("Set14", 14)])
def test_to_the_bit_as_the_test_sets(name: str, pictures: int) -> None:
    files = sorted((SETS / name / "x4" / "HR").glob("*.png"))
    assert len(files) == pictures
    for file in files:
        with Image.open(file) as large, Image.open(SETS / name / "x4" / "LR" / file.name) as small:
            given, wanted = (torch.from_numpy(np.atleast_3d(np.asarray(image)).copy()) for image in (large, small))
        made = reduced(given.permute(2, 0, 1)[None].float(), 4)[0].permute(1, 2, 0)
        assert torch.equal(made.round().byte(), wanted), file.name


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_as_a_plain_loop_would(scale: int) -> None:
    column = levels(6 * scale)
    made = reduced(column.reshape(1, 1, -1, 1).expand(-1, -1, -1, scale), scale).flatten()
    for place in range(6):
        middle, total, weights = (place + 0.5) * scale - 0.5, 0.0, 0.0
        for source in range(int(middle - 2 * scale) - 1, int(middle + 2 * scale) + 2):
            x = abs(source - middle) / scale
            weight = 1.5 * x**3 - 2.5 * x**2 + 1 if x < 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0
            total += weight * float(column[min(max(source, 0), len(column) - 1)])
            weights += weight
        assert made[place].item() == pytest.approx(min(max(int(total / weights + 0.5), 0), 255), abs=1e-4)


def test_taps_sum_to_one_and_mirror() -> None:
    for scale in (1, 2, 3, 4, 8):
        weights = taps(scale)
        assert sum(weights) == pytest.approx(1, abs=1e-15)
        assert weights == weights[::-1]
        assert weights[0] != 0 or scale == 1


def test_edges_differ_only_at_the_border() -> None:
    given = levels(1, 1, 64, 64)
    apart = (reduced(given, 4) - reduced(given, 4, edges="symmetric")).abs()
    assert apart.max() > 1
    assert apart[..., 2:-2, 2:-2].max() == 0


def test_flat_pictures_stay_flat_and_the_smallest_work() -> None:
    for edges in ("replicate", "symmetric"):
        assert torch.allclose(reduced(torch.full((1, 3, 8, 16), 77.0), 8, edges=edges), torch.tensor(77.0))


def test_sizes_that_are_no_multiple_are_refused() -> None:
    with pytest.raises(ValueError, match="9x8 pixels cannot be made 4 times smaller"):
        reduce(torch.zeros(1, 3, 8, 9), 4)


def test_the_result_is_that_under_autocast_too() -> None:
    given = levels(1, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        inside = reduced(given, 4)
    assert torch.equal(inside, reduced(given, 4))
