"""assert_sound, for every game; and that it catches what it is there to catch."""

from __future__ import annotations

import pytest
from games import Noise, tiny_cyclegan, tiny_pix2pix

from i2i.testing import assert_sound


def test_cyclegan_is_sound() -> None:
    assert_sound(tiny_cyclegan, Noise(size=32), lane=2)


def test_cyclegan_without_identity_is_sound() -> None:
    assert_sound(lambda: tiny_cyclegan(identity=0.0, pool=0), Noise(size=32))


def test_pix2pix_is_sound_and_says_what_batch_norm_couples() -> None:
    terms = {"generator/adversarial", "generator/pixel", "discriminator/real", "discriminator/fake"}
    assert_sound(tiny_pix2pix, Noise(), lane=2, sees_all=terms)


def test_a_player_that_is_never_used_is_caught() -> None:
    def lazy() -> object:
        game = tiny_pix2pix()
        game.generator_loss = lambda batch, made: {"pixel": (made.__dict__.update(fake=batch.b) or batch.b.mean())}
        return game

    with pytest.raises((AssertionError, RuntimeError)):
        assert_sound(lazy, Noise())  # type: ignore[arg-type]
