"""Photographs: patches of large pictures, flipped and turned, each a pure function of its position."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from i2i.data.datasets import Photographs
from i2i.errors import UserError


def folder(path: Path, count: int = 2, size: tuple[int, int] = (12, 10)) -> str:
    path.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        cv2.imwrite(str(path / f"{number}.png"), pixels)
    return str(path)


def test_a_patch_is_one_of_the_eight_positions_of_a_crop(tmp_path: Path) -> None:
    root = folder(tmp_path / "one", count=1, size=(4, 4))
    whole = torch.from_numpy(cv2.imread(f"{root}/0.png")[..., ::-1].copy()).permute(2, 0, 1)
    eight = {torch.rot90(side, turn, (1, 2)).numpy().tobytes() for side in (whole, whole.flip(2)) for turn in range(4)}
    data = Photographs([root], crop=4)
    assert {data[position].hr.numpy().tobytes() for position in range(100)} == eight
    still = Photographs([root], crop=4, flip=False, turn=False)
    assert all(torch.equal(still[position].hr, whole) for position in range(5))


def test_several_folders_make_one_set(tmp_path: Path) -> None:
    roots = [folder(tmp_path / "one", 2), folder(tmp_path / "two", 3)]
    data = Photographs(roots, crop=8, seed=3)
    assert len(data) == 5
    assert data[7].hr.shape == (3, 8, 8)
    assert data[7].hr.dtype == torch.uint8
    again = Photographs(roots, crop=8, seed=3, keep_in_memory=True)
    assert all(torch.equal(data[position].hr, again[position].hr) for position in (9, 0, 4))


def test_pictures_smaller_than_the_crop_and_no_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="10x12 pixels are too few for a crop of 11x11"):
        Photographs([folder(tmp_path / "one")], crop=11)
    with pytest.raises(UserError, match="'roots' must name one or more folders"):
        Photographs([])
