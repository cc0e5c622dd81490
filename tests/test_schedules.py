"""Rates, averages and seeds: pure functions of the clock, the same today as yesterday."""

from __future__ import annotations

import pytest
import torch
from games import Noise, tiny_pix2pix

from i2i.recipe import Training
from i2i.schedules import Clock, Constant, Cosine, HalfLife, LinearToZero, PerStage, Purpose, Steps, mix
from i2i.trainer import Trainer, seeded


def at(images: int) -> Clock:
    return Clock(images=10_000 + images, stage=1, stage_images=images)  # rates count within their stage


def test_the_clock_counts_images_and_steps() -> None:
    clock = Clock(stage=2).advance(4).advance(3)
    assert clock == Clock(images=7, steps=2, stage=2, stage_images=7)


def test_constant_stays() -> None:
    assert {Constant()(at(images)) for images in (0, 10, 10**9)} == {1.0}


def test_linear_to_zero_holds_and_then_falls_to_zero() -> None:
    rate = LinearToZero(hold=100, end=300)
    assert [rate(at(images)) for images in (0, 99, 100, 150, 200, 299, 300, 400)] == [
        1, 1, 1, 0.75, 0.5, 0.005, 0, 0,
    ]  # fmt: skip


@pytest.mark.parametrize(("hold", "end"), [(5, 5), (6, 5), (-1, 5)])
def test_linear_to_zero_needs_room_to_fall(hold: int, end: int) -> None:
    with pytest.raises(ValueError, match=f"not hold {hold} and end {end}"):
        LinearToZero(hold, end)


def test_steps_multiply_at_their_images() -> None:
    rate = Steps(at=(10, 20), factor=0.5)
    assert [rate(at(images)) for images in (0, 9, 10, 19, 20, 1000)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert Steps(at=(1,))(at(1)) == 0.1


def test_cosine_rises_then_falls_along_half_a_wave() -> None:
    rate = Cosine(end=110, floor=0.2, warmup=10)
    assert [rate(at(images)) for images in (0, 4, 9)] == [0.1, 0.5, 1.0]
    assert [rate(at(images)) for images in (10, 60, 110, 500)] == pytest.approx([1.0, 0.6, 0.2, 0.2])
    assert Cosine(end=100)(at(25)) == pytest.approx((1 + 2**-0.5) / 2)


def test_after_its_half_life_half_of_an_average_is_left() -> None:
    half = HalfLife(images=1000, ramp=None)
    for batch in (1, 8, 1000):
        kept, clock = 1.0, Clock(images=77)
        for _ in range(1000 // batch):
            kept *= half.decay(clock, batch)
            clock = clock.advance(batch)
        assert kept == pytest.approx(0.5, rel=1e-12)


def test_a_ramp_shortens_the_half_life_at_first() -> None:
    half = HalfLife(images=100, ramp=0.1)
    assert half.decay(Clock(images=0), 10) == pytest.approx(0.5**10)  # half-life 0.1 * 10 = 1 image
    assert half.decay(Clock(images=490), 10) == pytest.approx(0.5 ** (10 / 50))
    assert half.decay(Clock(images=990), 10) == half.decay(Clock(images=10**6), 10) == pytest.approx(0.5**0.1)


def test_one_step_moves_the_average_by_a_tenth_towards_the_new_weights(tmp_path: object) -> None:
    with seeded(0):
        game = tiny_pix2pix()
    tenth = HalfLife(images=torch.tensor(0.5).log().div(torch.tensor(0.9).log()).item(), ramp=None)
    assert tenth.decay(Clock(), 1) == pytest.approx(0.9)
    game.generator.average = tenth
    trainer = Trainer(game, Noise(), Training(images=4, threads=1), tmp_path, device="cpu", say=print)  # type: ignore[arg-type]
    trainer.enter(0)
    seat = trainer.seats["generator"]
    assert seat.average is not None
    old = [weight.clone() for weight in seat.player.nets.state_dict().values()]
    trainer.step(next(iter(trainer._stream())))
    new, mean = seat.player.nets.state_dict().values(), seat.average.state_dict().values()
    assert not all(torch.equal(o, n) for o, n in zip(old, new, strict=True))
    for o, n, m in zip(old, new, mean, strict=True):
        assert torch.allclose(m, 0.9 * o + 0.1 * n, rtol=0, atol=1e-6)


def test_seeds_are_the_same_on_every_machine_and_day() -> None:
    assert mix(0) == 893_442_142_816_765_029
    assert mix(1, Purpose.ORDER, 2) == 7_350_312_307_584_056_967
    assert mix(-1, 2**62, 3) == 9_108_613_848_279_063_737
    assert [int(purpose) for purpose in Purpose] == [0, 1, 2, 3, 4, 5]
    assert Purpose.ORDER == 3


def test_seeds_fit_into_63_bits_and_do_not_meet() -> None:
    seeds = [mix(a, b) for a in range(100) for b in range(100)] + [mix(a) for a in range(100)]
    seeds += [mix(a, b, 0) for a in range(20) for b in range(20)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert abs(sum(seed.bit_count() for seed in seeds) / len(seeds) - 31.5) < 0.2


def test_a_number_beyond_64_bits_is_an_error_not_another_seed() -> None:
    with pytest.raises(Exception, match="argument out of range|int too large|format requires"):
        mix(2**63)


def test_each_stage_has_its_own_rate() -> None:
    rate = PerStage((Constant(), Steps(at=(10,), factor=0.5)))
    assert [rate(Clock(stage=stage, stage_images=20)) for stage in (0, 1, 2)] == [1, 0.5, 0.5]
    assert rate(Clock(images=100, stage=1, stage_images=9)) == 1
    with pytest.raises(ValueError, match="at least one rate"):
        PerStage(())
