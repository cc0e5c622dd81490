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
from albumentations.augmentations.crops.transforms import CropSizeError
from albumentations.augmentations.dropout.transforms import BaseDropout
from albumentations.core.composition import BaseCompose
from albumentations.core.transforms_interface import BasicTransform, DualTransform, ImageOnlyTransform, Transform3D
from numpy.typing import NDArray

from i2i.errors import UserError
from i2i.schedules import mix
from i2i.spec import Spec, SpecError, resolve
from i2i.typed import slots

__all__ = ["Geometric", "Photometric", "Steps", "Thicker"]

Pixels = NDArray[np.generic]
# numbers of the seeds; photometric and geometric steps count on from theirs
CROP, FLIP, PHOTOMETRIC, TURN, GEOMETRY = 0, 1, 2, 1 << 32, 1 << 33
REFLECTED = 4  # OpenCV's reflection without the edge: what lies around a picture that is turned or bent
COLOURING = (
    BaseDropout, Transform3D, albumentations.Lambda, albumentations.MaskDropout, albumentations.Morphological,
    albumentations.Mosaic, albumentations.OverlayElements, albumentations.PixelDropout,
)  # fmt: skip
"""What albumentations counts as geometry, though it changes what pixels hold."""
TARGETS = {"image": "image", "labels": "mask"}
Steps = Sequence[Spec | Mapping[str, Any]]


class Geometric:
    """Random changes of place, the same for all pictures of a call: those of a recipe, then crop, flip and turn.

    Args:
        crop: height and width of the crop; 0 crops nothing.
        flip: mirror left and right with probability 1/2.
        turn: turn by 0, 90, 180 or 270 degrees with equal probability.
        before: what comes before the crop, as `Photometric` takes it (`{of: albumentations:Rotate, limit: 10}`); each
            must move pixels and leave their colours. What it leaves empty is filled by reflection unless it says
            otherwise with `border_mode`.

    Raises UserError for a transform that does not exist, has no such argument, or changes colours.
    """

    def __init__(self, crop: int = 0, *, flip: bool = True, turn: bool = False, before: Steps | None = None) -> None:
        made = [step for entry in before or () for step in build(entry, "geometry", reflected=True)]
        for step in made:
            check_moves(step)
        self.steps: list[tuple[int, BasicTransform | BaseCompose]] = list(enumerate(made, GEOMETRY))
        if crop:
            self.steps.append((CROP, albumentations.RandomCrop(crop, crop)))
        if flip:
            self.steps.append((FLIP, albumentations.HorizontalFlip(p=0.5)))
        if turn:
            self.steps.append((TURN, albumentations.RandomRotate90(p=1.0)))
        targets = {"other": "image"} | {f"{kind}{n}": TARGETS[kind] for kind in TARGETS for n in (0, 1)}
        try:
            self.compose = albumentations.Compose(
                [step for _, step in self.steps], additional_targets=targets, strict=True
            )
        except ValueError as error:
            raise UserError(f"geometry: {error}") from error

    def __call__(self, seed: int, *pictures: Pixels, labels: Sequence[bool] = ()) -> tuple[Pixels, ...]:
        """One or two pictures [H,W,C] of equal height and width, uint8, uint16 or float32 -> the same, cropped.

        `labels`: which of them hold classes, whose pixels are moved to the nearest and not mixed.
        """
        if not self.steps:
            return pictures
        for number, step in self.steps:
            sow(step, mix(seed, number))
        if any(labels):
            names = [("labels" if holds else "image") + str(place) for place, holds in enumerate(labels)]
            shown = {"image": pictures[0]}  # albumentations asks for one
        else:
            names, shown = ["image", "other"][: len(pictures)], {}
        try:
            made = self.compose(**shown, **dict(zip(names, pictures, strict=True)))
        except (ValueError, TypeError, CropSizeError, cv2.error) as error:
            height, width, channels = pictures[0].shape
            what = f"{width}x{height} pixels, {channels} channels, {pictures[0].dtype}"
            raise UserError(f"geometry: {error} (a picture of {what})") from error
        return tuple(made[name] for name in names)


class Photometric:
    """Changes of colour and light for one picture, from a recipe.

    Args:
        transforms: Specs (`{of: albumentations:ColorJitter, brightness: 0.2}`) or `{name: arguments}` mappings
            (`{ColorJitter: {brightness: 0.2}}`); each must leave every pixel in its place.

    Raises UserError for a transform that does not exist, has no such argument, or moves pixels.
    """

    def __init__(self, transforms: Steps) -> None:
        steps = [step for entry in transforms for step in build(entry, "photometric")]
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


def build(
    entry: Spec | Mapping[str, Any], section: str, *, reflected: bool = False
) -> list[BasicTransform | BaseCompose]:
    """The transforms that one entry of a recipe's list names; `reflected`: with borders of reflection by default."""
    if isinstance(entry, Spec):
        specs = [entry]
    elif "of" in entry:
        specs = [Spec.from_node(entry)]
    else:
        specs = [Spec(f"albumentations:{name}", kwargs or {}) for name, kwargs in entry.items()]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* are not valid for transform")  # strict=True makes it an error
            return [(with_reflection(spec) if reflected else spec).build() for spec in specs]
    except (SpecError, ValueError, TypeError) as error:
        raise UserError(f"{section}: {error}") from error


def with_reflection(spec: Spec) -> Spec:
    """The transform, and those inside it, with a border of reflection where it has a border and says nothing of it."""
    inner = {key: reflected(value) for key, value in spec.kwargs.items()}
    has = "border_mode" in slots(resolve(spec.of)).named
    return Spec(spec.of, ({"border_mode": REFLECTED} if has else {}) | inner)


def reflected(value: Any) -> Any:
    """`with_reflection` of the transforms among the arguments of one."""
    if isinstance(value, Spec):
        return with_reflection(value)
    return [reflected(item) for item in value] if isinstance(value, list | tuple) else value


def check_moves(step: BasicTransform | BaseCompose) -> None:
    """Raise UserError if `step` changes colours: what both pictures of a pair go through must only move pixels."""
    if isinstance(step, BaseCompose):
        for inner in step.transforms:
            check_moves(inner)
    elif not isinstance(step, DualTransform) or isinstance(step, COLOURING):
        raise UserError(
            f"geometry: {type(step).__name__} changes what pixels hold, and geometry only moves them, in both pictures "
            "of a pair; put it under photometric, or leave it out"
        )
    elif isinstance(step, albumentations.GridElasticDeform):
        raise UserError(
            "geometry: GridElasticDeform fills with black where there were no pixels; take ElasticTransform or "
            "GridDistortion, which reflect"
        )


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
