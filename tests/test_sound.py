"""assert_sound, for every game; and that it catches what it is there to catch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from games import AVERAGE, Noise, Pair, tiny_cyclegan, tiny_pix2pix
from torch import Tensor, nn

from i2i.aids import R1
from i2i.game import Export, Game, Player, Spec, Stage
from i2i.host import seeded
from i2i.recipe import Training
from i2i.testing import assert_sound
from i2i.trainer import Trainer


def test_cyclegan_is_sound() -> None:
    assert_sound(tiny_cyclegan, Noise(size=32), lane=2)


def test_cyclegan_without_identity_is_sound() -> None:
    assert_sound(lambda: tiny_cyclegan(identity=0.0, pool=0), Noise(size=32))


def test_pix2pix_is_sound_and_says_what_batch_norm_couples() -> None:
    terms = {"generator/adversarial", "generator/pixel", "discriminator/real", "discriminator/fake"}
    assert_sound(tiny_pix2pix, Noise(), lane=2, sees_all=terms)
    aided = {"r1": R1(1.0, every=1), "discriminator_optimizer": Spec("torch.optim:Adam", {"lr": 1e-3})}
    assert_sound(lambda: tiny_pix2pix(**aided), Noise(), lane=2, sees_all={*terms, "discriminator/r1"})
    assert_sound(lambda: tiny_pix2pix(pixels=4), Noise(), lane=2, sees_all=terms)


def test_a_player_that_is_never_used_is_caught() -> None:
    def lazy() -> object:
        game = tiny_pix2pix()
        game.generator_loss = lambda batch, made: {"pixel": (made.__dict__.update(fake=batch.b) or batch.b.mean())}
        return game

    with pytest.raises((AssertionError, RuntimeError)):
        assert_sound(lazy, Noise())  # type: ignore[arg-type]


class Relay(Game):
    """Two stages; the first one's player sits out the second, where another one joins."""

    Batch = Pair

    def __init__(self) -> None:
        self.first = Player("first", {"net": nn.Conv2d(3, 3, 1)}, Spec.to(torch.optim.Adam, lr=0.1), AVERAGE)
        self.second = Player("second", {"net": nn.Conv2d(3, 3, 1)}, Spec.to(torch.optim.SGD, lr=0.1), AVERAGE)
        self.nets = [self.first.nets["net"], self.second.nets["net"]]

    def stages(self) -> list[Stage]:
        return [
            Stage("one", (self.first,), lambda clock: iter([(self.first, self.one)]), images=4),
            Stage("two", (self.second,), lambda clock: iter([(self.second, self.two)]), enter=self.reset),
        ]

    def reset(self) -> None:
        nn.init.normal_(self.second.nets["net"].weight)

    def one(self, batch: Any, made: Any) -> dict[str, Tensor]:
        return {"distance": (self.nets[0](batch.a) - batch.b).square().mean()}

    def two(self, batch: Any, made: Any) -> dict[str, Tensor]:
        return {"distance": (self.nets[1](self.nets[0](batch.a)) - batch.b).square().mean()}

    def exports(self) -> dict[str, Export]:
        return {}


def test_weights_of_a_player_that_has_left_survive_a_resume(tmp_path: Path) -> None:
    states = []
    for stops in ([12], [2, 6, 12]):
        for stop in stops:
            with seeded(0):
                game = Relay()
            settings = Training(images=12, threads=1)
            trainer = Trainer(game, Noise(), settings, tmp_path / str(len(stops)), device="cpu", say=lambda text: None)
            trainer.run(stop_at=stop, quiet=True)
        states.append(trainer.state()[0])
    assert {name.split("/")[0] for name in states[0]["players"]} == {"first", "second"}
    for group, tensors in states[0].items():
        assert all(torch.equal(tensor, states[1][group][name]) for name, tensor in tensors.items()), group
    left = trainer.retired["first"]  # others go on with its average
    assert left.average is not None
    assert torch.equal(left.player.nets["net"].weight, left.average["net"].weight)  # type: ignore[arg-type]
