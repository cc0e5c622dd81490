"""WGAN: whose turn it is, how far the critic's parameters reach, and what its estimate is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from games import Gray, tiny_wgan
from torch import nn

from i2i.aids import R1
from i2i.data.labelled import Alone
from i2i.game import Clock, Made, Spec
from i2i.layers import StoredBatchNorm
from i2i.recipe import Training, build, load
from i2i.testing import assert_sound
from i2i.trainer import Trainer
from i2i.unconditional.dcgan import DCDiscriminator, DCGenerator
from i2i.unconditional.wgan import RMSPROP, WGAN, Cadence

SEES_ALL = {"critic/real", "critic/fake", "generator/adversarial"}  # by batch norm
RECIPES = Path(__file__).parents[2] / "recipes"


def batch(count: int = 4) -> Alone:
    return Alone(torch.stack([Gray()[position].x for position in range(count)]).float() / 127.5 - 1)


@pytest.mark.parametrize("images", [12, 20])  # stopped within the first long stretch, and between two of them
def test_wgan_is_sound(images: int) -> None:
    assert_sound(tiny_wgan, Gray(), images=images, lane=2, sees_all=SEES_ALL)


def test_the_generators_turns_are_those_of_a_loop_that_counts() -> None:
    """The authors' loop, for 3,000 steps of the generator."""
    turns = []
    for generator_steps in range(3_000):
        critic_steps = 100 if generator_steps < 25 or generator_steps % 500 == 0 else 5
        turns += [False] * (critic_steps - 1) + [True]
    cadence = Cadence()
    assert [cadence.generator_moves(Clock(steps=steps)) for steps in range(len(turns))] == turns
    assert sum(turns) == 3_000
    assert len(turns) == 30 * 100 + 2_970 * 5


@pytest.mark.parametrize("numbers", [(1, 2, 1, 3), (2, 2, 1, 1), (3, 7, 4, 4), (2, 9, 3, 5), (1, 1, 1, 1)])
def test_other_cadences_count_right_too(numbers: tuple[int, int, int, int]) -> None:
    few, many, first, every = numbers
    turns = []
    for moves in range(50):
        turns += [False] * ((many if moves < first or moves % every == 0 else few) - 1) + [True]
    cadence = Cadence(few=few, many=many, first=first, every=every)
    assert [cadence.generator_moves(Clock(steps=steps)) for steps in range(len(turns))] == turns


def test_the_clocks_images_do_not_matter_to_the_cadence() -> None:
    assert Cadence().generator_moves(Clock(steps=99, images=1))
    assert not Cadence().generator_moves(Clock(steps=98, images=6_400))


@pytest.mark.parametrize("wrong", [{"few": 0}, {"many": 4}, {"first": 0}, {"first": 501}])
def test_a_cadence_that_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="Cadence needs"):
        Cadence(**wrong)


def test_parameters_are_within_the_bound_after_every_step_of_the_critic(tmp_path: Path) -> None:
    game = tiny_wgan(clip=0.005, optimizer=Spec("torch.optim:RMSprop", {"lr": 0.01}))
    trainer = Trainer(game, Gray(), Training(images=48, batch=4, threads=1), tmp_path, device="cpu", say=lambda s: None)
    moved, apply = [], trainer._apply

    def watched(seat: object, rate: float) -> None:
        assert largest(game.judges) <= 0.005  # the generator, too, learns from a clipped critic
        apply(seat, rate)  # type: ignore[arg-type]
        moved.append(largest(game.judges))

    trainer._apply = watched  # type: ignore[method-assign]
    trainer.run(quiet=True)
    assert max(moved) > 0.005  # or there would have been nothing to clip
    assert largest(game.judges) == pytest.approx(0.005)
    assert largest(game.draws) > 0.1  # norms of the generator: not clipped


def largest(network: nn.Module) -> float:
    return max(float(parameter.detach().abs().max()) for parameter in network.parameters())


def test_defaults_are_the_papers() -> None:
    assert Spec("torch.optim:RMSprop", {"lr": 5e-5}) == RMSPROP
    game = WGAN(Spec.to(DCGenerator, size=8, width=2), Spec.to(DCDiscriminator, size=8, width=2))
    assert game.bound == 0.01
    assert game.cadence == Cadence(few=5, many=100, first=25, every=500)
    assert isinstance(game.critic.optimizer(list(game.critic.parameters())), torch.optim.RMSprop)


def test_the_loss_is_a_difference_of_plain_means() -> None:
    """No logarithm and no sigmoid: scores twice as large are a loss twice as large."""
    game = tiny_wgan()
    losses = []
    for factor in (1.0, 2.0):
        torch.manual_seed(3)
        made = Made()
        with torch.no_grad():
            game.judges.last.weight.mul_(factor)
        terms = {name: float(term.detach()) for name, term in game.critic_loss(batch(), made).items()}
        assert float(made.notes["estimate"]) == pytest.approx(-terms["real"] - terms["fake"])
        losses.append(list(terms.values()))
    assert losses[1] == pytest.approx([2 * loss for loss in losses[0]], rel=1e-4)


def test_the_critics_turn_leaves_the_generator_without_a_gradient() -> None:
    game = tiny_wgan()
    torch.stack(list(game.critic_loss(batch(), Made()).values())).sum().backward()
    assert all(parameter.grad is None for parameter in game.draws.parameters())
    assert all(parameter.grad is not None for parameter in game.judges.parameters())


def test_r1_when_a_recipe_asks_for_it(tmp_path: Path) -> None:
    game = tiny_wgan(r1=R1(weight=0.1, every=2))
    settings = Training(images=32, batch=4, threads=1, log_every=4)
    Trainer(game, Gray(), settings, tmp_path, device="cpu", say=lambda sentence: None).run(quiet=True)
    lines = [json.loads(line)["terms"] for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert ["critic/r1" in terms for terms in lines] == [True, False] * 4
    assert largest(game.judges) <= 0.01


def test_drawn_pictures_are_fresh_in_each_turn() -> None:
    game, seen = tiny_wgan(), []
    game.judges.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach()))
    for loss in (game.critic_loss, game.critic_loss, game.generator_loss):
        loss(batch(), Made())
    drawn = [seen[1], seen[3], seen[4]]
    assert all(not torch.equal(drawn[i], drawn[j]) for i, j in ((0, 1), (1, 2), (0, 2)))


def test_the_estimate_is_in_the_journal_and_both_networks_in_files(tmp_path: Path) -> None:
    settings = Training(images=16, batch=4, threads=1, log_every=4)
    Trainer(tiny_wgan(), Gray(), settings, tmp_path, device="cpu", say=lambda sentence: None).run(quiet=True)
    assert all('"critic/estimate"' in line for line in (tmp_path / "journal.jsonl").read_text().splitlines())
    assert {path.stem for path in (tmp_path / "generators").iterdir()} == {"generator", "critic"}
    game = tiny_wgan()
    assert game.exports()["critic"].card.classes == ("score",)
    columns = game.preview(batch(), {"generator": game.draws.eval()})
    assert [tuple(column.shape) for column in columns] == [(8, 1, 16, 16)] * 8


def test_lsun_recipe_is_the_authors_setting() -> None:
    recipe = load(RECIPES / "wgan-lsun-64.yaml")
    assert recipe.training.batch == 64
    with torch.device("meta"):
        game: WGAN = build(recipe.game)
    assert (game.bound, game.cadence) == (0.01, Cadence())
    assert game.draws.parts[0].kind == "normal" and game.draws.parts[0].size == 100
    generator, critic = (sum(p.numel() for p in net.parameters()) for net in (game.draws, game.judges))
    # 4x4 kernels, no biases: 100 -> 512 at 4x4, 256, 128, 64, 3; a scale and an offset for each normed map
    up = 16 * (100 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 * 3)
    assert generator == up + 2 * (512 + 256 + 128 + 64) == 3_576_704
    down = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 1)
    assert critic == down + 2 * (128 + 256 + 512) == 2_765_568
    assert any(isinstance(module, StoredBatchNorm) for module in game.judges.modules())


def test_clip_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        tiny_wgan(clip=0.0)
