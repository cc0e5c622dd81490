"""Random crops, flips and photometric changes: the only importer of albumentations.

Every sample's changes follow from one seed, so workers, ranks and resuming change nothing. albumentations gives one
seed to all transforms of a Compose, and then a flip is decided by the very number that chose the crop (every crop from
the upper half is flipped); here each transform gets its own.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or the import asks a server for its newest version

import albumentations
import cv2
import numpy as np
from albumentations.core.composition import BaseCompose
from albumentations.core.transforms_interface import BasicTransform, ImageOnlyTransform
from numpy.typing import NDArray

from i2i.errors import UserError
from i2i.schedules import mix
from i2i.spec import Spec, SpecError

__all__ = ["Geometric", "Photometric", "Thicker"]

Pixels = NDArray[np.generic]
CROP, FLIP, PHOTOMETRIC, TURN = 0, 1, 2, 1 << 32  # numbers of the seeds; photometric steps count on from theirs


class Geometric:
    """Random crop, horizontal flip and turn, the same for all pictures of a call.

    Args:
        crop: height and width of the crop; 0 crops nothing.
        flip: mirror left and right with probability 1/2.
        turn: turn by 0, 90, 180 or 270 degrees with equal probability.
    """

    def __init__(self, crop: int = 0, *, flip: bool = True, turn: bool = False) -> None:
        self.steps: list[tuple[int, BasicTransform]] = []
        if crop:
            self.steps.append((CROP, albumentations.RandomCrop(crop, crop)))
        if flip:
            self.steps.append((FLIP, albumentations.HorizontalFlip(p=0.5)))
        if turn:
            self.steps.append((TURN, albumentations.RandomRotate90(p=1.0)))
        self.compose = albumentations.Compose(
            [step for _, step in self.steps], additional_targets={"other": "image"}, strict=True
        )

    def __call__(self, seed: int, *pictures: Pixels) -> tuple[Pixels, ...]:
        """One or two pictures [H,W,C] of equal height and width, uint8, uint16 or float32 -> the same, cropped."""
        if not self.steps:
            return pictures
        for number, step in self.steps:
            step.set_random_seed(mix(seed, number))
        names = ("image", "other")[: len(pictures)]
        made = self.compose(**dict(zip(names, pictures, strict=True)))
        return tuple(made[name] for name in names)


class Photometric:
    """Changes of colour and light for one picture, from a recipe.

    Args:
        transforms: Specs (`{of: albumentations:ColorJitter, brightness: 0.2}`) or `{name: arguments}` mappings
            (`{ColorJitter: {brightness: 0.2}}`); each must leave every pixel in its place.

    Raises UserError for a transform that does not exist, has no such argument, or moves pixels.
    """

    def __init__(self, transforms: Sequence[Spec | Mapping[str, Any]]) -> None:
        steps = [step for entry in transforms for step in build(entry)]
        for step in steps:
            check_stays(step)
        try:
            self.compose = albumentations.Compose(steps, strict=True)
        except ValueError as error:
            raise UserError(f"photometric: {error}") from error

    def __call__(self, seed: int, picture: Pixels) -> Pixels:
        """[H,W,C] uint8, or float32 in [0,1] -> the same shape and dtype; a second or fourth channel, alpha, stays."""
        for number, step in enumerate(self.compose.transforms):
            sow(step, mix(seed, PHOTOMETRIC + number))
        colours = picture.shape[2] - (picture.shape[2] in (2, 4))
        try:
            made = self.compose(image=np.ascontiguousarray(picture[..., :colours]))["image"]
        except (ValueError, TypeError) as error:
            raise UserError(f"photometric: {error} (a picture of {colours} channels, {picture.dtype})") from error
        return np.concatenate([made, picture[..., colours:]], axis=2) if colours < picture.shape[2] else made


def build(entry: Spec | Mapping[str, Any]) -> list[BasicTransform | BaseCompose]:
    """The transforms that one entry of a recipe's list names."""
    if isinstance(entry, Spec):
        specs = [entry]
    elif "of" in entry:
        specs = [Spec.from_node(entry)]
    else:
        specs = [Spec(f"albumentations:{name}", kwargs or {}) for name, kwargs in entry.items()]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* are not valid for transform")  # strict=True makes it an error
            return [spec.build() for spec in specs]
    except (SpecError, ValueError, TypeError) as error:
        raise UserError(f"photometric: {error}") from error


def check_stays(step: BasicTransform | BaseCompose) -> None:
    """Raise UserError if `step` may move pixels: it would tear the input from its target."""
    if isinstance(step, BaseCompose):
        for inner in step.transforms:
            check_stays(inner)
    elif not isinstance(step, ImageOnlyTransform):
        raise UserError(
            f"photometric: {type(step).__name__} moves or masks pixels, and photometric changes touch the input alone; "
            "leave it out"
        )


def sow(step: BasicTransform | BaseCompose, seed: int) -> None:
    """Seed a transform, and whatever it contains, each with a number of its own."""
    step.set_random_seed(seed)
    if isinstance(step, BaseCompose):
        for number, inner in enumerate(step.transforms):
            sow(inner, mix(seed, number))


class Thicker:
    """Makes dark lines thicker: each pixel becomes the darkest of the `size` x `size` around it (the authors' code of
    Kim et al. 2017 does so to drawn edges before it shrinks them)."""

    def __init__(self, *, size: int = 3) -> None:
        if size < 1 or size % 2 == 0:
            raise UserError(f"lines grow alike to all sides where the size is odd: 3, 5, ..., not {size}")
        self.around = np.ones((size, size), np.uint8)

    def __call__(self, picture: Pixels) -> Pixels:
        """[H,W,C] uint8 or uint16 -> the same."""
        darkest: Pixels = cv2.erode(picture, self.around)  # type: ignore[arg-type]
        return darkest.reshape(picture.shape)
