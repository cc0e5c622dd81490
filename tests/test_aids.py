"""Aids for unsteady training: each does what its paper says, and nothing unless it is asked for."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.aids import LINES, R1, SAME, Watch, noisy, smoothed
from i2i.data.labelled import Alone
from i2i.game import Made
from i2i.lanes import coupled
from i2i.losses import HINGE, LEAST_SQUARES, LOGISTIC, SATURATING
from i2i.schedules import Clock
from i2i.spec import Spec
from i2i.unconditional.gan import GAN, MLPDiscriminator, MLPGenerator

SCORES = torch.tensor([[-3.0], [0.5], [2.0]])


# --- label smoothing --------------------------------------------------------------------------------------------------


def test_smoothing_is_one_sided() -> None:
    rule = smoothed(LOGISTIC, real=0.8)
    assert (rule.fake, rule.fool) == (LOGISTIC.fake, LOGISTIC.fool)
    target = torch.full_like(SCORES, 0.8)
    assert torch.allclose(rule.real(SCORES), F.binary_cross_entropy_with_logits(SCORES, target))


def test_least_squares_are_smoothed_to_the_distance_from_the_target() -> None:
    scores = SCORES.clone().requires_grad_()
    (ours,) = torch.autograd.grad(smoothed(LEAST_SQUARES, real=0.9).real(scores), scores)
    (theirs,) = torch.autograd.grad((scores - 0.9).square().mean(), scores)
    assert torch.allclose(ours, theirs)


def test_a_target_of_one_changes_nothing() -> None:
    for rule in (LOGISTIC, LEAST_SQUARES, HINGE, SATURATING):
        assert torch.equal(smoothed(rule, real=1.0).real(SCORES), rule.real(SCORES))


@pytest.mark.parametrize("real", [0.0, -0.1, 1.1])
def test_targets_that_are_none(real: float) -> None:
    with pytest.raises(ValueError, match="above 0 and up to 1"):
        smoothed(LOGISTIC, real=real)


# --- instance noise ---------------------------------------------------------------------------------------------------


class Sees(nn.Module):
    """Hands on what it was shown."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return x if y is None else x + y


def shown(images: int, *, training: bool = True) -> Tensor:
    network = noisy(Sees(), std=0.5, until=100).train(training)
    network.instance_noise.clock = Clock(images=images)  # type: ignore[union-attr]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return network(torch.zeros(2000, 1, 4, 4))


def test_noise_fades_to_none() -> None:
    assert shown(0).std() == pytest.approx(0.5, rel=0.02)
    assert torch.allclose(shown(75), 0.25 * shown(0))
    for images in (100, 1000):
        assert not shown(images).any()


def test_noise_is_for_training_alone() -> None:
    assert not shown(0, training=False).any()


def test_only_pictures_are_disturbed_and_copies_have_noise_of_their_own() -> None:
    network = noisy(Sees(), std=0.5, until=100)
    label = torch.full((1, 1, 4, 4), 7.0)
    assert network(torch.zeros(1, 1, 4, 4), label).mean() == pytest.approx(7, abs=1)
    copied = copy.deepcopy(network)
    copied.instance_noise.clock = Clock(images=100)  # type: ignore[union-attr]
    assert not copied(torch.zeros(1, 1, 4, 4)).any() and network(torch.zeros(1, 1, 4, 4)).any()
    assert not list(network.parameters()) and not network.state_dict()  # its files are the plain network's


def test_noise_that_is_none() -> None:
    for std, until in ((-0.1, 100), (0.1, 0)):
        with pytest.raises(ValueError, match="noise has a std from 0"):
            noisy(Sees(), std=std, until=until)


# --- R1 ---------------------------------------------------------------------------------------------------------------


def plain(batch: Alone, made: Made) -> dict[str, Tensor]:
    return {"real": batch.x.sum() * 0}


def r1(step: int, *, weight: float = 10.0, every: int = 4) -> dict[str, Tensor]:
    """Of the critic 3 * (sum of a picture), whose squared slope is 9 * 16."""
    clock = Clock(steps=step)
    loss = R1(weight, every)(clock, plain, lambda x, batch: 3 * x.sum((1, 2, 3)))
    return loss(Alone(torch.rand(5, 1, 4, 4)), Made())


def test_r1_is_half_its_weight_times_the_squared_slope_and_lazy() -> None:
    assert r1(0, every=1)["r1"].item() == pytest.approx(10 / 2 * 9 * 16)
    assert [("r1" in r1(step)) for step in range(9)] == [True, False, False, False] * 2 + [True]
    assert sum(r1(step)["r1"].item() for step in range(8) if step % 4 == 0) == pytest.approx(8 * 10 / 2 * 9 * 16)


def test_r1_is_off_unless_it_has_a_weight() -> None:
    assert R1()(Clock(), plain, lambda x, batch: x.sum()) is plain
    assert list(r1(0, weight=0.0)) == ["real"]


def test_r1_can_be_learned_from() -> None:
    critic = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Softplus(), nn.Flatten(), nn.Linear(8, 1))
    loss = R1(1.0, 1)(Clock(), plain, lambda x, batch: critic(x))(Alone(torch.rand(3, 1, 4, 4)), Made())["r1"]
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for name, p in critic.named_parameters() if name != "3.bias")


# --- the watch --------------------------------------------------------------------------------------------------------


def noted(real: list[float], fake: list[float], drawn: Tensor | None = None) -> dict[str, float]:
    made, watch = Made(), Watch()
    x = torch.rand(len(real), 1, 8, 8) * 2 - 1
    drawn = torch.rand(len(fake), 1, 8, 8) * 2 - 1 if drawn is None else drawn
    watch.note(made, x=x, fake=drawn, real_score=torch.tensor(real)[:, None], fake_score=torch.tensor(fake)[:, None])
    return {name: float(value) for name, value in made.notes.items()}


def test_apart_is_the_share_of_pairs_in_the_right_order() -> None:
    assert noted([1, 2, 3], [0, -1, -2])["apart"] == 1.0
    assert noted([0, 2], [1, 3])["apart"] == 0.25
    assert noted([0, 0], [0, 0])["apart"] == 0.0


def test_spread_is_near_one_for_as_varied_pictures_and_zero_for_one_picture() -> None:
    scores = [0.0] * 16
    assert noted(scores, scores)["spread"] == pytest.approx(1.0, abs=0.1)
    assert noted(scores, scores, torch.rand(1, 1, 8, 8).expand(16, -1, -1, -1))["spread"] == 0.0


def test_one_picture_tells_nothing() -> None:
    assert noted([1.0], [0.0]) == {}


def test_advice_is_given_when_something_lasts_and_again_when_it_comes_back() -> None:
    watch = Watch()
    won, even = {"discriminator/apart": 0.9999}, {"discriminator/apart": 0.8}
    begun = [watch.observe(means) for means in [won] * (LINES - 1) + [even] + [won] * (LINES - 1)]
    assert begun == [[]] * len(begun)  # sure now and then is no trouble
    (sentence,) = watch.observe(won)
    assert "99.99% of pairs apart" in sentence and "i2i.aids:noisy" in sentence
    assert watch.observe(won) == watch.observe(even) == []
    said = [watch.observe(won | {"discriminator/spread": SAME / 2}) for _ in range(LINES)]
    assert [len(sentences) for sentences in said] == [0] * (LINES - 1) + [2]
    assert "few modes" in said[-1][1]


def test_a_wasserstein_critic_may_be_sure() -> None:
    watch = Watch(sure=False)
    said = [watch.observe({"critic/apart": 1.0, "critic/spread": 0.0}) for _ in range(LINES)]
    assert len(said[-1]) == 1 and "few modes" in said[-1][0]


def test_notes_of_the_watch_are_no_terms_and_couple_nothing() -> None:
    """What is only noted must not make a lane's size matter."""
    game = GAN(
        Spec.to(MLPGenerator, size=4, latent=3, widths=[4]), Spec.to(MLPDiscriminator, size=4, units=[4], pieces=2)
    )
    assert coupled(game, (torch.rand(2, 1, 4, 4) * 2 - 1,)) == set()
