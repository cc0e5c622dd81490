"""What a network will see: pictures of a recipe's data behind the steps that change them, and what each step costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import torch
from albumentations.core.composition import BaseCompose
from albumentations.core.transforms_interface import BasicTransform

from i2i.augmented import ADA
from i2i.data.datasets import Prepared
from i2i.data.stream import stack, to_range
from i2i.data.transforms import Geometric, Photometric
from i2i.engine import find_device
from i2i.journal import contact_sheet
from i2i.recipe import Recipe, build
from i2i.schedules import Purpose, mix
from i2i.spec import Spec

__all__ = ["Preview", "preview"]

SHOWN = 0.5  # probability with which ADA is shown where its own begins at 0
Result = TypeVar("Result")


class Preview(NamedTuple):
    """A contact sheet [height,width,3] in uint8, what its columns show, and the steps in their order with what each
    costs, in milliseconds a sample; a step that begins with a space is part of the one before."""

    sheet: Any
    columns: list[str]
    costs: dict[str, float]
    notes: list[str]


class Watch:
    """Adds up how long steps take, in the order in which they were first seen."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds = device, dict[str, float]()

    def time(self, step: str, call: Callable[[], Result]) -> Result:
        self.seconds.setdefault(step, 0.0)
        begun = self.now()
        result = call()
        self.seconds[step] += self.now() - begun
        return result

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def listen(self, owner: Any, method: str, step: str) -> None:
        """Time every call of an object's method."""
        self.seconds.setdefault(step, 0.0)
        original = getattr(owner, method)
        setattr(owner, method, lambda *given, **named: self.time(step, lambda: original(*given, **named)))


def preview(recipe: Recipe, *, rows: int = 4, first: int = 0, samples: int = 16, device: str = "auto") -> Preview:
    """Look at the data of a recipe as its training would.

    Args:
        rows: pictures shown, from position `first` of the stream on.
        samples: over at least how many costs are averaged; what a training keeps in memory is read each time.
        device: where the changes of `training.augment`, and those before critics, are made.

    Raises UserError as training would.
    """
    settings, at = recipe.training, find_device(device)
    kept = {"keep_in_memory": False} if "keep_in_memory" in recipe.data.kwargs else {}
    data = build(Spec(recipe.data.of, {**recipe.data.kwargs, **kept}), seed=settings.seed)
    lane = settings.lane or settings.batch
    count = -(-max(rows, samples) // lane) * lane
    data[first]  # imports, and tables that are made once
    watch = Watch(at)
    loader = "loader"
    watch.seconds[loader] = 0.0
    for owner, method, step in parts(data):
        watch.listen(owner, method, f" {step}")
    drawn = [watch.time(loader, lambda place=place: data[place]) for place in range(first, first + count)]  # type: ignore[misc]
    batch = watch.time(f"to [-1,1] on {at.type}", lambda: type(drawn[0])(*(to_range(t.to(at)) for t in stack(drawn))))
    names = [name for name, values in zip(batch._fields, batch, strict=True)
             if values.ndim == 4 and values.is_floating_point()]  # fmt: skip
    columns = {f"{name} from the loader": getattr(batch, name) for name in names}
    notes: list[str] = []
    if settings.augment is not None:
        augment = settings.augment.build()
        seeds = {start: mix(settings.seed, Purpose.AUGMENT, first + start) for start in range(0, count, lane)}
        lanes = [(type(batch)(*(values[start : start + lane] for values in batch)), seed)
                 for start, seed in seeds.items()]  # fmt: skip
        augment(*lanes[0])
        whole = f"augment on {at.type}"
        watch.seconds[whole] = 0.0
        for step in (*augment.geometry, *augment.photometric):
            watch.listen(step, "forward", f" {type(step).__name__}")
        changed = [watch.time(whole, lambda one=one: augment(*one)) for one in lanes]  # type: ignore[misc]
        batch = type(batch)(*map(torch.cat, zip(*changed, strict=True)))
        columns |= {f"{name} after augment": getattr(batch, name) for name in names}
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(mix(settings.seed, Purpose.LOSS, first))
        for aid in aids(recipe.game):
            augmentation = build(aid).to(at).train()
            name = type(augmentation).__name__
            if isinstance(augmentation, ADA) and not augmentation.p:
                augmentation.p.fill_(SHOWN)
                notes.append(f"ADA begins with the probability 0; it is shown with {SHOWN:g}")
            if (column := f"{names[-1]} as a critic sees it ({name})") in columns:
                continue  # two critics have the same
            seen = getattr(batch, names[-1])
            columns[column] = watch.time(f"{name} before a critic", lambda a=augmentation, x=seen: a(x))  # type: ignore[misc]
    shown = [column[:rows] for column in columns.values()]
    if hasattr(data, "shown"):
        shown = data.shown(shown)
    costs = {step: 1000 * seconds / count for step, seconds in watch.seconds.items()}
    return Preview(contact_sheet(shown), list(columns), costs, notes)


def parts(data: Any, seen: tuple[Any, ...] = ()) -> Iterator[tuple[Any, str, str]]:
    """(object, method, what it does) of the steps of a data set of `i2i.data`, in their order."""
    if isinstance(data, Prepared):
        yield data, "made", "read and resized"
    elif isinstance(data, Geometric):
        for _, step in data.steps:
            yield from transforms(step)
    elif isinstance(data, Photometric):
        yield from transforms(data.compose)
    elif isinstance(data, list):
        for item in data:
            yield from parts(item, seen)
    elif type(data).__module__.startswith("i2i.data.") and not any(data is other for other in seen):
        for value in vars(data).values():
            yield from parts(value, (*seen, data))


def transforms(step: BasicTransform | BaseCompose) -> Iterator[tuple[Any, str, str]]:
    """A transform of albumentations, or those inside one."""
    if isinstance(step, BaseCompose):
        for inner in step.transforms:
            yield from transforms(inner)
    else:
        yield step, "apply_with_params", type(step).__name__


def aids(spec: Spec) -> Iterator[Spec]:
    """Specs of the augmentations that a game puts before its critics."""
    for key, value in spec.kwargs.items():
        if isinstance(value, Spec):
            if key == "by" and spec.of == "i2i.augmented:augmented":
                yield value
            yield from aids(value)
