"""Random changes of a lane's pictures on their device, after collation: the only importer of kornia.

For processors that have more time than those that read the data: on a GPU these cost little, on a CPU more than the
loader's (`i2i.data.transforms`). A recipe asks for them with

    training:
      augment:
        of: i2i.data.augment:Augment
        geometry: [{of: kornia.augmentation:RandomAffine, degrees: 10.0, p: 1.0}]
        photometric: [{of: kornia.augmentation:ColorJitter, brightness: 0.2}]

Pictures are in [0,1] inside, where kornia's changes of colour clamp, and in [-1,1] outside.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from i2i.errors import UserError
from i2i.spec import Spec, SpecError, resolve

if TYPE_CHECKING:
    from kornia.augmentation import AugmentationBase2D

__all__ = ["Augment"]

BORDERS = {"ZEROS": "reflection", "zeros": "reflection", "constant": "reflect"}
"""kornia's border of black -> its border by reflection."""
LEAVING_GAPS = ("RandomRotation", "RandomPerspective", "RandomThinPlateSpline", "RandomFisheye", "PadTo")
"""What moves pixels and can leave black where there were none."""
OF_ANY_SIZE = ("RandomHorizontalFlip", "RandomVerticalFlip")
"""What means the same for pictures of several sizes."""
BENDING = ("RandomElasticTransform",)
"""Geometry that kornia does not count as such."""


class Augment:
    """Changes a batch: first cropped, then moved, then the input alone changes its colours.

    Args:
        crop: side of a random square of the first field's pictures; of larger ones, the same part. 0 crops nothing.
        geometry: Specs of kornia's geometric augmentations; what they leave empty is filled by reflection. All fields
            go through each together, so that what lies on each other stays so.
        photometric: Specs of kornia's intensity augmentations, for the first field.
        together: whether fields are cropped and moved alike; false for pictures that have nothing to do with each
            other.
        nearest: fields whose pixels are classes: moved to the nearest pixel, never mixed.

    Raises UserError for what does not exist, has no such argument, or is of the other kind.
    """

    def __init__(
        self,
        *,
        crop: int = 0,
        geometry: Sequence[Spec] = (),
        photometric: Sequence[Spec] = (),
        together: bool = True,
        nearest: Sequence[str] = (),
    ) -> None:
        if crop < 0:
            raise UserError(f"augment: a crop of {crop} pixels is none; 0 leaves it out")
        self.crop, self.together, self.nearest = crop, together, tuple(nearest)
        self.geometry = [made(spec, moves=True) for spec in geometry]
        self.photometric = [made(spec, moves=False) for spec in photometric]

    @torch.no_grad()
    def __call__(self, batch: Any, seed: int) -> Any:
        """A NamedTuple of which the [N,C,H,W] floats in [-1,1] are changed, by chance that follows from `seed` alone.

        Leaves the host program's random numbers where they are.
        """
        pictures = {name: field for name, field in zip(batch._fields, batch, strict=True)
                    if field.ndim == 4 and field.is_floating_point()}  # fmt: skip
        if set(self.nearest) - set(pictures):
            raise UserError(f"augment: the data has {', '.join(pictures)}, and nearest names {', '.join(self.nearest)}")
        groups = [pictures] if self.together else [{name: field} for name, field in pictures.items()]
        devices = sorted({field.device for field in pictures.values() if field.device.type == "cuda"}, key=str)
        changed: dict[str, Tensor] = {}
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            for group in groups:
                unit = {name: (field + 1) / 2 for name, field in self.cropped(group).items()}
                for step in self.geometry:
                    unit = self.moved(step, unit)
                changed |= unit
            first = next(iter(changed))
            for step in self.photometric:
                changed[first] = step(changed[first]).clamp(0, 1)  # noise is not clamped by kornia
        return batch._replace(**{name: (unit * 2 - 1).to(pictures[name].dtype) for name, unit in changed.items()})

    def cropped(self, pictures: dict[str, Tensor]) -> dict[str, Tensor]:
        """A random part of each picture of the first field, and the same part of those of the others."""
        if not self.crop:
            return pictures
        first = next(iter(pictures.values()))
        room = [side - self.crop for side in first.shape[2:]]
        if min(room) < 0:
            raise UserError(
                f"augment: pictures of {first.shape[3]}x{first.shape[2]} pixels are too small for a crop of {self.crop}"
            )
        corners = [[int(torch.randint(free + 1, ())) for free in room] for _ in range(len(first))]
        parts: dict[str, Tensor] = {}
        for name, field in pictures.items():
            scale, left_over = divmod(field.shape[2], first.shape[2])
            if left_over or not scale or field.shape[3] != scale * first.shape[3]:
                sizes = " and ".join(f"{one.shape[3]}x{one.shape[2]}" for one in (first, field))
                raise UserError(f"augment: pictures of {sizes} pixels have no crop in common; one must be N times as "
                                "large as the other")  # fmt: skip
            side = self.crop * scale
            parts[name] = torch.stack(
                [picture[:, top * scale : top * scale + side, left * scale : left * scale + side]
                 for picture, (top, left) in zip(field, corners, strict=True)]
            )  # fmt: skip
        return parts

    def moved(self, step: AugmentationBase2D, pictures: dict[str, Tensor]) -> dict[str, Tensor]:
        """All fields through one draw of a geometric augmentation."""
        if len({field.shape[2:] for field in pictures.values()}) > 1:
            if type(step).__name__ not in OF_ANY_SIZE:
                sizes = " and ".join(sorted({f"{field.shape[3]}x{field.shape[2]}" for field in pictures.values()}))
                raise UserError(f"augment: {type(step).__name__} cannot move pictures of {sizes} pixels alike; take "
                                f"{' or '.join(OF_ANY_SIZE)}, or leave it to the loader")  # fmt: skip
            names = list(pictures)
            out = {names[0]: step(pictures[names[0]])}
            return out | {name: step(pictures[name], params=step._params) for name in names[1:]}
        smooth = [name for name in pictures if name not in self.nearest]
        out = {}
        if smooth:  # one after the other in the channels: there is no way for them to move apart
            channels = [pictures[name].shape[1] for name in smooth]
            whole = step(torch.cat([pictures[name] for name in smooth], 1))
            out = dict(zip(smooth, whole.split(channels, 1), strict=True))
        for name in self.nearest:
            if name in pictures:
                from kornia.constants import Resample

                again = {"params": step._params} if out else {}
                out[name] = step(pictures[name], resample=Resample.NEAREST, **again)
        return {name: out[name] for name in pictures}


def made(spec: Spec, *, moves: bool) -> AugmentationBase2D:
    """The augmentation of a Spec, of which `moves` says what kind it must be. Raises UserError."""
    where = f"augment: {'geometry' if moves else 'photometric'}"
    try:
        kind = resolve(spec.of)
    except (SpecError, ImportError) as error:
        raise UserError(f"{where}: {error}") from error
    from kornia.augmentation import AugmentationBase2D, GeometricAugmentationBase2D, IntensityAugmentationBase2D

    name = getattr(kind, "__name__", spec.of)
    if not (isinstance(kind, type) and issubclass(kind, AugmentationBase2D)):
        raise UserError(f"{where}: {name} is no augmentation of pictures; take one of kornia.augmentation")
    if moves and name in LEAVING_GAPS:
        raise UserError(f"{where}: {name} fills with black where there were no pixels; take kornia's RandomAffine or "
                        "RandomShear, which reflect, or a transform of the loader (data.geometry)")  # fmt: skip
    if moves != (issubclass(kind, GeometricAugmentationBase2D) or name in BENDING):
        section = "photometric" if issubclass(kind, IntensityAugmentationBase2D) else "geometry"
        raise UserError(f"{where}: {name} {'changes colours' if moves else 'moves pixels'}; put it under {section}")
    usual = inspect.signature(kind).parameters.get("padding_mode")
    border = {} if usual is None else {"padding_mode": BORDERS.get(usual.default, usual.default)}
    try:
        return Spec(spec.of, border | dict(spec.kwargs)).build()
    except Exception as error:  # kornia checks its arguments in many ways
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{where}: {name}: {first}") from error
