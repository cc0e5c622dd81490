"""DiffAugment and ADA: what critics are shown, in any game, twice differentiable, and gone from what is exported."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from games import AVERAGE, DRAWS, Gray, Noise, tiny_infogan, tiny_stackgan
from torch import Tensor, nn

from i2i.aids import bare, noisy, without_aids
from i2i.augmented import ADA, DiffAugment, augmented, moved
from i2i.checkpoint import read_header
from i2i.errors import UserError
from i2i.game import Game
from i2i.host import seeded
from i2i.layers import InstanceNorm
from i2i.losses import LEAST_SQUARES, LOGISTIC, gradient_penalty, slopes
from i2i.recipe import Training
from i2i.schedules import Clock
from i2i.spec import Spec
from i2i.testing import assert_sound
from i2i.trainer import Trainer
from i2i.translation.cyclegan import CycleGAN, ResnetGenerator
from i2i.translation.pix2pix import PatchDiscriminator, Pix2Pix, UnetGenerator
from i2i.translation.srgan import SRDiscriminator
from i2i.unconditional import infogan
from i2i.unconditional.dcgan import DCDiscriminator
from i2i.unconditional.gan import GAN, MLPDiscriminator, MLPGenerator
from i2i.unconditional.wgan_gp import WGANGP

WAYS: dict[str, Any] = {
    "color": DiffAugment(["color"]),
    "translation": DiffAugment(["translation"]),
    "cutout": DiffAugment(["cutout"]),
    "all": DiffAugment(),
    "ada": ADA(p=0.9, length=None),
}
DIFF, SURE = Spec.to(DiffAugment), Spec.to(ADA, every=1, length=40, p=0.5)


def with_aid(critic: Spec, by: Spec = SURE) -> Spec:
    return Spec.to(augmented, network=critic, by=by)


def tiny_gan(by: Spec, **more: Any) -> GAN:
    generator = Spec.to(MLPGenerator, size=8, latent=6, widths=[12, 12])
    flat = Spec.to(MLPDiscriminator, size=8, units=[6, 5], pieces=3, reach=0.05)
    return GAN(generator, with_aid(flat, by), average=AVERAGE, **more)


def once(way: nn.Module, x: Tensor, seed: int = 0) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return way.train()(x)


def trainer(game: Game, data: Any, out: Path, **settings: Any) -> Trainer:
    chosen = Training(**{"images": 24, "batch": 4, "lane": 2, "threads": 1, "log_every": 4, **settings})
    return Trainer(game, data, chosen, out, device="cpu", say=lambda sentence: None)


# --- in games


@pytest.mark.parametrize("by", [DIFF, SURE, Spec.to(ADA, p=0.8, length=None)])
def test_a_game_with_it_is_sound(by: Spec) -> None:
    """Above all: a run that was continued has the same probability, and what is exported knows nothing of it."""
    assert_sound(lambda: tiny_gan(by), Gray(size=8), lane=2)


def test_games_that_call_a_critic_in_other_ways_are_sound() -> None:
    torch.manual_seed(0)  # a slope can be the same at two pictures: which terms are found then is a matter of chance
    assert_sound(wgan_gp, Gray(), images=12, lane=2, sees_all=WGAN_SEES)
    norm = f"{InstanceNorm.__module__}:{InstanceNorm.__qualname__}"
    critic = Spec.to(PatchDiscriminator, channels=3, width=4, field=16, norm=norm)
    assert_sound(lambda: cyclegan(with_aid(critic)), Noise(size=32), images=6)


WGAN_SEES = {"critic/fake", "critic/penalty", "generator/adversarial"}  # by batch norm: the generator's


def wgan_gp() -> Game:
    critic = Spec.to(DCDiscriminator, channels=1, size=16, width=4, kernel=4, norm=None)
    return WGANGP(DRAWS, with_aid(critic, DIFF), critic_steps=2, average=AVERAGE)


def cyclegan(critic: Spec) -> Game:
    return CycleGAN(Spec.to(ResnetGenerator, width=4, blocks=1, bias=False), critic, pool=3, average=AVERAGE)


def test_p_is_in_the_journal_in_observe_and_moves(tmp_path: Path) -> None:
    with seeded(0):
        game = tiny_gan(
            Spec("i2i.augmented:ADA", {"every": 1, "length": 200, "target": -1.1})
        )  # always below: p rises by 4 images of 200
    seen: list[dict[str, float]] = []
    game.observe = lambda means: seen.append(dict(means)) or []  # type: ignore[assignment, method-assign, func-returns-value]
    trainer(game, Gray(size=8), tmp_path).run(quiet=True)
    lines = [json.loads(line)["terms"] for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    # r lies above -1.1 whatever is heard: p rises by 4 images of 200
    found = [line["discriminator/p"] for line in lines if "discriminator/p" in line]
    assert found == pytest.approx([0.0, 0.02, 0.04, 0.06, 0.08, 0.1])
    assert [means["discriminator/p"] for means in seen] == found
    assert all(-1 <= means["discriminator/r"] <= 1 for means in seen)
    header = read_header(tmp_path / "generators" / "discriminator.safetensors")
    assert header.spec.of.endswith("MLPDiscriminator")
    assert not any("augmentation" in name for name in header.shapes)


@pytest.mark.parametrize(("target", "wanted"), [(-1.1, 0.7), (1.1, 0.3)])
def test_p_goes_up_where_the_critic_is_surer_than_wanted(target: float, wanted: float) -> None:
    critic = augmented(nn.Conv2d(1, 1, 1), by=ADA(every=2, length=40, p=0.5, target=target))
    ada: ADA = critic.augmentation  # type: ignore[assignment]
    for step in range(5):
        ada.clock = Clock(images=2 * step, steps=step)
        ada.hear(torch.ones(2, 1))  # what is heard in a step moves p in the next
    assert float(ada.p) == pytest.approx(wanted)  # twice 4 images of 40
    critic.requires_grad_(False)  # another player's turn: nothing is heard
    before = ada.calls.clone()
    ada.hear(torch.ones(2, 1))
    assert torch.equal(ada.calls, before)


def test_it_hears_the_critic_that_was_called_last(tmp_path: Path) -> None:
    norm = f"{InstanceNorm.__module__}:{InstanceNorm.__qualname__}"
    critic = Spec.to(PatchDiscriminator, channels=3, width=4, field=16, norm=norm)
    with seeded(0):
        game = cyclegan(with_aid(critic, Spec.to(ADA, every=100)))
    run = trainer(game, Noise(size=32), tmp_path, images=8, lane=1)
    run.run(quiet=True)
    critics = run.seats["discriminators"].player.nets
    assert [float(critics[name].augmentation.calls) for name in ("on_a", "on_b")] == [2, 2]  # type: ignore[union-attr]
    line = json.loads((tmp_path / "journal.jsonl").read_text().splitlines()[-1])["terms"]
    assert {"discriminators/on_a_p", "discriminators/on_b_p"} <= set(line)


def test_a_game_without_a_rule_is_told_what_to_do(tmp_path: Path) -> None:
    game = wgan_gp()
    critic: Any = game.critic  # type: ignore[attr-defined]
    augmented(critic.nets["judges"] if "judges" in critic.nets else next(iter(critic.nets.values())), by=ADA())
    with pytest.raises(UserError, match="WGANGP is: the game has no rule; take DiffAugment"):
        trainer(game, Gray(), tmp_path).run(quiet=True)


def test_critics_that_are_called_by_their_parts_see_it_too() -> None:
    """SRGAN's and StackGAN's: their games ask for features of pictures, then for scores of features."""
    with seeded(0):
        critic = augmented(SRDiscriminator(width=2, size=16), by=DiffAugment(["cutout"])).train()
        stack = tiny_stackgan().on_one
    x = torch.ones(2, 3, 16, 16)
    copied = copy.deepcopy(critic)
    for one in (critic, copied):
        found = [once(Call(lambda x, one=one: one.features(x)[-1]), x, seed) for seed in (0, 1)]  # type: ignore[misc]
        assert not torch.allclose(*found)
    augmented(stack, by=DiffAugment(["cutout"]))
    assert not torch.allclose(*(once(Call(stack.features), x[:, :, :8, :8], seed) for seed in (0, 1)))


class Call(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def test_infogans_trunk_and_pix2pixs_pairs(tmp_path: Path) -> None:
    """One whose critic sees [0,1] and gives two things, one whose critic sees two pictures at once."""
    judge = Spec.to(infogan.Discriminator, size=16, width=2, hidden=6, reading=4)
    generator = Spec.to(UnetGenerator, width=4, depth=4, dropout=0.0)
    patch = Spec.to(PatchDiscriminator, channels=6, width=4, field=16)
    for game, data in ((tiny_infogan(with_aid(judge)), Gray()), (Pix2Pix(generator, with_aid(patch)), Noise())):
        run = trainer(game, data, tmp_path / type(game).__name__, images=8)
        run.run(quiet=True)
        terms = run.means.read() | dict(run._notes())
        assert float(terms["discriminator/p"]) != 0.5


def test_wrappers_come_off() -> None:
    plain = Spec.to(DCDiscriminator, channels=1, size=16, width=2, kernel=4)
    nested = with_aid(Spec.to(noisy, network=plain, std=0.1))
    assert bare(nested) == plain
    network = nested.build()
    assert {name for name in network.state_dict() if name.startswith("augmentation")}
    assert without_aids(network).state_dict().keys() == plain.build().state_dict().keys()
    assert network.augmentation is not None  # the original still has it


# --- what it does to pictures


@pytest.mark.parametrize("name", WAYS)
def test_it_can_be_differentiated_twice(name: str) -> None:
    x = torch.rand(2, 3, 6, 5, dtype=torch.float64, requires_grad=True)

    def change(x: Tensor) -> Tensor:
        return once(WAYS[name], x, 3)

    assert torch.autograd.gradcheck(change, (x,))
    assert torch.autograd.gradgradcheck(change, (x,))


@pytest.mark.parametrize("name", WAYS)
def test_penalties_on_slopes_reach_the_critics_weights(name: str) -> None:
    critic = augmented(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Conv2d(4, 1, 3)), by=WAYS[name]).train()
    real, fake = torch.rand(4, 3, 12, 12), torch.rand(4, 3, 12, 12)
    for penalty in (gradient_penalty(critic, real, fake), slopes(critic, real).square().mean()):
        critic.zero_grad()
        penalty.backward()  # type: ignore[no-untyped-call]
        gradients = [parameter.grad for parameter in critic.parameters() if parameter.ndim > 1]
        assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)


@pytest.mark.parametrize("name", WAYS)
def test_each_picture_draws_for_itself_and_pairs_move_alike(name: str) -> None:
    x = torch.rand(6, 3, 16, 16)
    whole = once(WAYS[name], x.expand(6, -1, -1, -1)[:1].repeat(6, 1, 1, 1))
    assert len({picture.numpy().tobytes() for picture in whole}) == 6
    both = once(WAYS[name], torch.cat([x, x], 1))
    assert torch.equal(both[:, :3], both[:, 3:])
    assert not torch.equal(once(WAYS[name], x), once(WAYS[name], x, 1))
    assert torch.equal(once(WAYS[name], x), once(WAYS[name], x))
    assert torch.equal(WAYS[name].eval()(x), x)


def test_colours_change_as_the_paper_says() -> None:
    x = torch.rand(500, 3, 4, 4) * 2 - 1
    made = once(WAYS["color"], x)
    brightness = made.mean((1, 2, 3)) - x.mean((1, 2, 3))
    assert brightness.min() < -0.45 and brightness.max() > 0.45 and brightness.abs().max() <= 0.5 + 1e-5
    apart = [(p - p.mean(1, keepdim=True)).std((1, 2, 3)) for p in (made, x)]
    assert 0 <= (apart[0] / apart[1]).min() < 0.1 and 2.2 < (apart[0] / apart[1]).max() <= 3  # saturation x contrast
    gray = once(WAYS["color"], x[:, :1])
    contrast = gray.std((1, 2, 3)) / x[:, :1].std((1, 2, 3))
    assert 0.5 <= contrast.min() < 0.52 and 1.48 < contrast.max() <= 1.5 + 1e-5


def test_translation_is_by_an_eighth_at_most_and_lets_zeros_in() -> None:
    x = torch.arange(1.0, 1025).view(1, 1, 32, 32).repeat(300, 1, 1, 1)
    made = once(WAYS["translation"], x)
    seen = set()
    for picture in made[:, 0]:
        rows, columns = torch.nonzero(picture, as_tuple=True)
        value = int(picture[rows[0], columns[0]]) - 1
        down, across = int(rows[0]) - value // 32, int(columns[0]) - value % 32
        seen.add((down, across))
        assert int((picture != 0).sum()) == (32 - abs(down)) * (32 - abs(across))
    assert {down for down, _ in seen} == {across for _, across in seen} == set(range(-4, 5))


def test_a_quarter_is_cut_out_where_it_lies_inside() -> None:
    made = once(WAYS["cutout"], torch.ones(300, 2, 32, 32))
    holes = (made == 0).sum((2, 3))
    assert torch.equal(holes[:, 0], holes[:, 1])
    assert holes.max() == 16 * 16 and holes.min() >= 8 * 8
    assert (made == 0).any(0).all()  # anywhere


def test_without_probability_ada_changes_no_bit() -> None:
    x = torch.randn(3, 6, 9, 12)
    assert torch.equal(once(ADA(), x), x)


def test_ada_moves_by_what_it_says() -> None:
    """Seen through `moved`: a quarter turn is exact on squares, and what is moved out is reflected in."""
    x = torch.rand(1, 1, 5, 5)
    turn = torch.tensor([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]])
    assert torch.allclose(moved(x, turn), torch.rot90(x, -1, (2, 3)), atol=1e-6) or torch.allclose(
        moved(x, turn), torch.rot90(x, 1, (2, 3)), atol=1e-6
    )
    right = torch.tensor([[[1.0, 0, 2], [0, 1, 0], [0, 0, 1]]])
    assert torch.allclose(moved(x, right)[..., :3], x[..., 2:])
    assert torch.allclose(moved(x, right)[..., 3:], x[..., [3, 2]])
    assert torch.allclose(
        once(ADA(p=1.0, length=None), torch.zeros(8, 3, 9, 9)).std((2, 3)), torch.zeros(8, 3), atol=1e-6
    )


def test_arguments_that_make_no_sense() -> None:
    for policy in ([], ["colour"]):
        with pytest.raises(ValueError, match="the policies are color, translation, cutout"):
            DiffAugment(policy)  # type: ignore[arg-type]
    for more in ({"every": 0}, {"length": 0}, {"p": 1.5}):
        with pytest.raises(ValueError, match="ADA needs"):
            ADA(**more)


def test_rules_that_are_listened_to_are_the_rules(tmp_path: Path) -> None:
    for rule in (LOGISTIC, LEAST_SQUARES):
        game = tiny_gan(SURE, rule=rule)
        trainer(game, Gray(size=8), tmp_path / rule.fool.__qualname__, images=4).run(quiet=True)
        score = torch.randn(5, 1)
        assert torch.equal(game.rule.real(score), rule.real(score)) and game.rule.fool is rule.fool


def test_lanes_are_averaged_and_not_counted(tmp_path: Path) -> None:
    counts = []
    for lane in (4, 2):
        with seeded(0):
            game = tiny_gan(Spec.to(ADA, every=100))
        run = trainer(game, Gray(size=8), tmp_path / str(lane), images=16, lane=lane)
        run.run(quiet=True)
        critic: Any = run.seats["discriminator"].player.nets["judges"]
        counts.append(float(critic.augmentation.calls))
    assert counts == [4.0, 4.0]
