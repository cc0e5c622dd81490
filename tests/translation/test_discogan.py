"""DiscoGAN: whose turn it is, what each of its losses is and whom it asks, its networks, and the points."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from games import AVERAGE, Noise, tiny_discogan
from torch import Tensor, nn

from i2i.data.mixtures import Mixtures
from i2i.errors import UserError
from i2i.game import Clock, Made, Spec
from i2i.lanes import coupled
from i2i.recipe import Training, build, load
from i2i.testing import assert_sound
from i2i.trainer import Trainer
from i2i.translation.discogan import (
    BIJECTIVE,
    ONE_WAY,
    RETURNING,
    Curriculum,
    DiscoGAN,
    EncoderDecoder,
    MatchedDiscriminator,
    PointDiscriminator,
    PointGenerator,
    between_means,
)

ALL = {f"generators/{term}" for term in ("adversarial", "matching", "reconstruction")}
PLAIN = f"{nn.Identity.__module__}:{nn.Identity.__qualname__}"
RECIPES = Path(__file__).parents[2] / "recipes"


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def batch_of(data: Any, positions: int = 2) -> Any:
    return data.fields(*(torch.stack(field) for field in zip(*(data[p] for p in range(positions)), strict=True)))


def without_norms(**more: Any) -> DiscoGAN:
    generator = Spec.to(EncoderDecoder, width=2, depth=2, norm=PLAIN)
    return DiscoGAN(generator, Spec.to(MatchedDiscriminator, width=2, depth=3, norm=PLAIN), average=AVERAGE, **more)


def of_points(**more: Any) -> DiscoGAN:
    networks = Spec.to(PointGenerator, width=4), Spec.to(PointDiscriminator, width=4)
    return DiscoGAN(*networks, **{"adversarial": 1.0, "matching": 0.0, **more})


def test_discogan_is_sound_and_says_that_batch_norm_couples_everything() -> None:
    assert_sound(tiny_discogan, Noise(size=32), lane=2, sees_all={*ALL, "discriminators/a", "discriminators/b"})


def test_the_probe_sees_players_that_never_move_in_the_same_step() -> None:
    """Neither its first step, the discriminators', nor any other has both."""
    assert coupled(without_norms(), batch_of(Noise(size=32))) == {"generators/matching"}


@pytest.mark.parametrize("relation", [ONE_WAY, RETURNING, BIJECTIVE])
def test_the_papers_three_models_are_sound_on_points(relation: Any) -> None:
    assert_sound(lambda: of_points(relation=relation), Mixtures(points=16), lane=2, training={"channels_last": False})


def test_every_third_step_is_the_discriminators() -> None:
    game = tiny_discogan()
    turns = [[player.name for player, _ in game.turns(Clock(steps=steps))] for steps in range(6)]
    assert turns == [["discriminators"], ["generators"], ["generators"]] * 2


def test_the_reconstruction_is_a_hundredth_first_and_half_later() -> None:
    share = Curriculum()
    assert [share(Clock(images=images)) for images in (0, 1_999_999, 2_000_000)] == [0.01, 0.01, 0.5]
    assert Curriculum(then=0.3, images=0)(Clock()) == 0.3
    with pytest.raises(ValueError, match="between 0 and 1"):
        Curriculum(first=1.5)
    game = tiny_discogan()
    terms = []
    for images in (0, 8):
        ((_, loss),) = game.turns(Clock(steps=1, images=images))
        found = loss(batch_of(Noise(size=32)), Made())
        terms.append({name: term.item() for name, term in found.items()})
    assert terms[1]["reconstruction"] / terms[0]["reconstruction"] == pytest.approx(0.75 / 0.25)
    for name in ("adversarial", "matching"):
        assert terms[1][name] / terms[0][name] == pytest.approx(0.25 / 0.75)


def test_the_losses_are_the_authors() -> None:
    torch.manual_seed(0)
    game, batch = without_norms(), batch_of(Noise(size=32))
    a, b = (batch.a + 1) / 2, (batch.b + 1) / 2
    a2b, b2a, on_a, on_b = game.to["b"], game.to["a"], game.on["a"], game.on["b"]
    drawn_b, drawn_a = a2b(a), b2a(b)
    terms = game.generator_loss(batch, Made(), share=0.3)
    entropy = nn.BCEWithLogitsLoss()
    fooled = matched = torch.zeros(())
    for judge, drawn, true in ((on_b, drawn_b, b), (on_a, drawn_a, a)):
        score = judge.score(judge.features(drawn))
        fooled = fooled + entropy(score, torch.ones_like(score))
        for x, y in zip(judge.features(drawn), judge.features(true), strict=True):
            square = (x.mean(0) - y.mean(0)).square()
            matched = matched + nn.HingeEmbeddingLoss()(square, torch.ones_like(square))
    returned = (b2a(drawn_b) - a).square().mean() + (a2b(drawn_a) - b).square().mean()
    assert set(terms) == {"adversarial", "matching", "reconstruction"}
    assert torch.allclose(terms["adversarial"], 0.7 * 0.1 * fooled)
    assert torch.allclose(terms["matching"], 0.7 * 0.9 * matched)
    assert torch.allclose(terms["reconstruction"], 0.3 * returned)
    terms = game.discriminator_loss(batch, Made())
    assert set(terms) == {"a", "b"}
    for name, judge, drawn, true in (("a", on_a, drawn_a, a), ("b", on_b, drawn_b, b)):
        real, fake = (judge.score(judge.features(x)) for x in (true, drawn))
        assert torch.allclose(terms[name], (entropy(real, torch.ones_like(real)) + entropy(fake, 0 * fake)) / 2)


def test_features_are_matched_by_their_means_over_the_pictures() -> None:
    some, others = torch.rand(4, 3, 2, 2), torch.rand(4, 3, 2, 2)
    assert between_means([some], [some[[2, 0, 3, 1]]]) < 1e-12  # which picture has which does not matter
    halves = (between_means([some[:2]], [others[:2]]) + between_means([some[2:]], [others[2:]])) / 2
    assert not torch.allclose(between_means([some], [others]), halves)  # a lane's size does


def test_the_ablations_ask_less_and_have_no_network_they_do_not_use() -> None:
    batch = batch_of(Noise(size=32))
    plain, returning = tiny_discogan(relation=ONE_WAY), tiny_discogan(relation=RETURNING)
    assert set(plain.generator_loss(batch, Made(), share=0.5)) == {"adversarial", "matching"}
    assert set(returning.generator_loss(batch, Made(), share=0.5)) == {"adversarial", "matching", "reconstruction"}
    for game, ways in ((plain, {"a2b"}), (returning, {"a2b", "b2a"})):
        assert set(game.discriminator_loss(batch, Made())) == set(game.on) == {"b"}
        assert set(game.exports()) == set(game.generators.nets) == ways
    assert len(plain.preview(batch, {"a2b": plain.to["b"]})) == 3  # a, b drawn of it, and b
    assert len(returning.preview(batch, returning.generators.nets)) == 6  # type: ignore[arg-type]


def test_each_generator_is_one_network_used_twice() -> None:
    game, seen = tiny_discogan(), []
    for side, network in game.to.items():
        network.register_forward_hook(lambda module, given, made, side=side: seen.append(side))
    game.generator_loss(batch_of(Noise(size=32)), Made(), share=0.5)
    assert sorted(seen) == ["a", "a", "b", "b"]


def test_the_discriminators_turn_does_not_reach_the_generators() -> None:
    game = tiny_discogan()
    sum(game.discriminator_loss(batch_of(Noise(size=32)), Made()).values()).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is None for parameter in game.generators.parameters())
    assert all(parameter.grad is not None for parameter in game.discriminators.parameters())


def test_parameter_counts_are_the_authors() -> None:
    down = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512)
    norms = 2 * (128 + 256 + 512)
    with torch.device("meta"):
        assert count(EncoderDecoder()) == 2 * down + norms + 2 * (256 + 128 + 64)
        within = 2 * 16 * 512 * 100 + 2 * (100 + 512)
        assert count(EncoderDecoder(bottleneck=100)) == 2 * down + norms + 2 * (256 + 128 + 64) + within
        assert count(MatchedDiscriminator()) == down + norms + 16 * 512


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 48)])
def test_pictures_come_back_between_0_and_1_at_any_size(height: int, width: int) -> None:
    network = EncoderDecoder(width=2, depth=3).eval()
    made = network(torch.rand(2, 3, height, width))
    assert made.shape == (2, 3, height, width)
    assert 0 < made.min() < made.max() < 1
    assert network.card().value_range == ((0, 1), (0, 1))


def test_nothing_goes_past_the_encoder() -> None:
    """All that the decoder knows of 32x32x3 numbers are the 2x2x16 in the middle: a skip would tell it more."""
    network = EncoderDecoder(width=2, depth=4).eval()
    shapes: list[Any] = []
    for layer in network.layers:
        layer.register_forward_hook(lambda module, given, made: shapes.append((given[0].shape[1:], made.shape[1:])))
    network(torch.rand(1, 3, 32, 32))
    assert all(made == given for (_, made), (given, _) in pairwise(shapes))  # one after another
    assert (16, 2, 2) in {tuple(made) for _, made in shapes}


def test_the_bottleneck_takes_the_authors_size_and_larger_ones_by_stored_statistics() -> None:
    network = EncoderDecoder(width=1, bottleneck=5)
    assert network.card().modes == ("stored",)
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 3, 64, 64)
    assert network.eval()(torch.rand(1, 3, 80, 64)).shape == (1, 3, 80, 64)


def test_a_discriminator_gives_one_score_at_its_size_and_does_not_match_its_first_layer() -> None:
    judge = MatchedDiscriminator(width=2)
    features = judge.features(torch.rand(2, 3, 64, 64))
    assert [feature.shape[1:] for feature in features] == [(4, 16, 16), (8, 8, 8), (16, 4, 4)]
    assert judge.score(features).shape == (2, 1, 1, 1)
    assert judge.score(judge.features(torch.rand(2, 3, 128, 128))).shape == (2, 1, 5, 5)


def test_points_have_the_papers_layers() -> None:
    assert [module.weight.shape for module in linear(PointGenerator(width=7))] == [(7, 2), (7, 7), (2, 7)]
    assert [module.weight.shape for module in linear(PointDiscriminator(width=7))] == [(7, 2), *[(7, 7)] * 3, (1, 7)]
    torch.manual_seed(0)
    network, points = PointGenerator(), torch.rand(3, 2, 4, 5)
    alone = network(points[1:2, :, 2:3, 3:4])
    assert torch.allclose(network(points)[1, :, 2, 3], alone.flatten(), atol=1e-6)


def linear(network: nn.Module) -> list[Any]:
    return [module for module in network.modules() if isinstance(module, nn.Linear)]


def test_mixtures_are_where_they_should_be() -> None:
    data = Mixtures(points=5_000, seed=3)
    for side, modes in ((0, 5), (1, 10)):
        centres = data.centres(side)
        assert torch.allclose(centres.norm(dim=1), torch.tensor(6.0))
        drawn = data.draw(side, 20_000, 7)
        for mode in range(modes):
            here = drawn.x[drawn.mode == mode]
            assert len(here) == pytest.approx(20_000 / modes, rel=0.1)
            assert torch.allclose(here.mean(0), centres[mode], atol=0.05)
            assert torch.allclose(here.std(0), torch.tensor(0.4), atol=0.03)
    table = {tuple(data[position].a.flatten().tolist()) for position in range(5_000)}
    assert len(table) == 5_000  # an epoch has each point once
    assert data[3].a.shape == data[3].b.shape == (2, 1, 1)
    again, other = Mixtures(points=5_000, seed=3), Mixtures(points=5_000, seed=4)
    assert torch.equal(data[7].b, again[7].b)
    assert not torch.equal(data[7].b, other[7].b)
    with pytest.raises(UserError, match="spread above 0"):
        Mixtures(spread=0)


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("discogan-*.yaml")))
def test_recipes_build_the_papers_games(name: str) -> None:
    recipe = load(name)
    with torch.device("meta"):
        game = build(recipe.game)
    expected = {"discogan-mixtures-gan": ONE_WAY, "discogan-mixtures-reconstruction": RETURNING}
    assert game.relation == expected.get(name, BIJECTIVE)
    if name.startswith("discogan-edges"):
        assert count(game.to["b"]) == 5_513_856  # the authors'
        assert (game.adversarial, game.matching, game.every) == (0.1, 0.9, 3)
        assert game.share == Curriculum(images=10_000 * recipe.training.batch)
    if name == "discogan-maps-small":
        assert 2 * count(game.to["b"]) <= 6_000_000  # bytes in fp16


def test_a_training_goes_on_where_the_share_has_changed(tmp_path: Path) -> None:
    """The generators move in the steps that begin at the images 4, 8, 16 and 20."""
    game = tiny_discogan()
    settings = Training(images=24, batch=4, lane=1, threads=1)  # the probe would ask a copy of the game
    trainer = Trainer(game, Noise(size=32), settings, tmp_path, device="cpu", say=lambda sentence: None)
    shares: list[float] = []
    loss = game.generator_loss

    def watched(batch: Any, made: Made, *, share: float) -> dict[str, Tensor]:
        shares.append(share)
        return loss(batch, made, share=share)

    game.generator_loss = watched  # type: ignore[method-assign]
    trainer.run(quiet=True)
    assert shares == [0.25] * 4 + [0.75] * 12  # of four lanes each


def test_how_a_picture_is_run_does_not_depend_on_what_training_has_seen() -> None:
    """A generator is trained on true pictures and on translations: statistics stored of both would fit neither."""
    torch.manual_seed(0)
    network, x = EncoderDecoder(width=2, depth=2), torch.rand(2, 3, 16, 16)
    before = network.eval()(x)
    network.train()(5 * torch.rand(4, 3, 16, 16))
    assert torch.equal(network.eval()(x), before)
    assert torch.allclose(network(x[:1]), before[:1], atol=1e-6)
    assert network.card().modes == ("deterministic",)
