"""`assert_sound`: the test every game begins with. One CPU process; catches what several ranks would trip over."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i.engine import Engine
from i2i.game import Game
from i2i.host import seeded
from i2i.lanes import coupled
from i2i.latents import fixed
from i2i.recipe import Training
from i2i.schedules import Purpose
from i2i.trainer import Seat, Trainer
from i2i.zoo import load_generator

__all__ = ["assert_sound"]


def assert_sound(
    make: Callable[[], Game],
    data: Any,
    *,
    images: int = 12,
    lane: int = 1,
    sees_all: Collection[str] = (),
    training: Mapping[str, Any] | None = None,
) -> None:
    """Assert what every game must hold:

    - in each turn of each stage every parameter of that player gets a gradient, and only that player moves;
    - a run that is stopped, saved and continued ends bitwise where an uninterrupted one ends;
    - each export survives the way through a file to the engine;
    - each term on two images is the mean of its values on either, but for those named in `sees_all`.

    Args:
        make: builds the game; called several times.
        data: a data set of `i2i.data`; small pictures, a few samples.
        images: length of the run; `images // 2` is where it is stopped.
        lane: images that pass through a loss together; the batch is two lanes.
        sees_all: terms, as "player/term", that look at several images at once (batch norm does).
        training: further settings, as in a recipe's `training` section.
    """
    settings = replace(Training(images=images, batch=2 * lane, lane=lane, threads=1), **(training or {}))
    with tempfile.TemporaryDirectory() as folder:
        whole = _trainer(make, data, settings, Path(folder) / "whole")
        moved = _watch(whole)
        whole.run(quiet=True)
        last, reached = len(whole.stages) - 1, whole.clock.stage
        assert reached == last, f"the run ends in stage {reached} of 0 to {last}: give it more images"
        for seat in whole.seats.values():
            assert seat.player.name in moved, f"{seat.player.name} never had a turn"

        for stop in (images // 2, images):
            parts = _trainer(make, data, settings, Path(folder) / "parts")
            parts.run(stop_at=stop, quiet=True)
        _assert_equal(whole.state()[0], parts.state()[0])

        for name, export in whole.game.exports().items():
            generator = load_generator(Path(folder) / "whole" / "generators" / f"{name}.safetensors")
            assert type(generator) is type(export.network)
            if export.card.kind == "image":
                size, channels = max(export.card.minimum, export.card.multiple), export.card.channels
                picture = torch.rand(channels[0], size, size) * 2 - 1
                output = Engine(generator, device="cpu", precision="fp32")(picture)
                assert tuple(output.shape) == (channels[1], size * export.card.scale, size * export.card.scale)
            else:
                card = export.card
                given = torch.zeros(2, card.channels[0], card.size, card.size)
                if card.kind == "latent":
                    texts = {part.name: torch.zeros(2, part.size) for part in card.latent if part.kind == "text"}
                    given = fixed(card.latent, 2, given=texts)
                elif card.kind == "text":
                    given = torch.zeros(2, card.size, dtype=torch.int64)
                assert len(generator(given)) == 2
                if card.kind == "latent":
                    assert tuple(generator(given).shape) == (2, card.channels[1], card.size, card.size)

    with seeded(settings.seed, Purpose.INIT):
        game = make()
    batch = game.Batch(*(torch.stack(field) for field in zip(data[0], data[1], strict=True)))
    assert coupled(game, batch) == set(sees_all), f"terms that see several images: {coupled(game, batch)}"


def _trainer(make: Callable[[], Game], data: Any, settings: Training, out: Path) -> Trainer:
    with seeded(settings.seed, Purpose.INIT):
        game = make()
    return Trainer(game, data, settings, out, device="cpu", say=lambda sentence: None)


def _watch(trainer: Trainer) -> set[str]:
    """Check gradients and movements at every step of every optimizer; returns the names of those that moved."""
    moved: set[str] = set()
    apply = trainer._apply

    def watched(seat: Seat, rate: float) -> None:
        missing = [name for name, p in seat.player.named_parameters() if p.grad is None]
        assert not missing, f"the turn of {seat.player.name} never uses {missing}"
        before = {name: _weights(other) for name, other in trainer.seats.items()}
        apply(seat, rate)
        for name, other in trainer.seats.items():
            same = all(torch.equal(x, y) for x, y in zip(before[name], _weights(other), strict=True))
            what = f"in the turn of {seat.player.name}, {name} {'stayed' if same else 'moved'}"
            assert same == (other is not seat), what
        moved.add(seat.player.name)

    trainer._apply = watched  # type: ignore[method-assign]
    return moved


def _weights(seat: Seat) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in seat.player.parameters()]


def _assert_equal(whole: Mapping[str, Mapping[str, Tensor]], parts: Mapping[str, Mapping[str, Tensor]]) -> None:
    for group, tensors in whole.items():
        assert tensors.keys() == parts[group].keys(), group
        for name, tensor in tensors.items():
            assert torch.equal(tensor, parts[group][name]), f"a continued run differs in {group}: {name}"
