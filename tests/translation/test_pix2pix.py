"""pix2pix: the networks' sizes and fields, what each loss is, whom it moves, and the two modes a U-Net runs in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from games import Noise, tiny_pix2pix
from torch import Tensor, nn
from torch.nn import functional as F

from i2i import layers
from i2i.aids import R1
from i2i.game import Made
from i2i.layers import BatchNorm, Dropout, InstanceNorm
from i2i.losses import HINGE, LEAST_SQUARES, LOGISTIC, PEARSON, SATURATING, WASSERSTEIN, Adversarial
from i2i.schedules import Clock
from i2i.spec import Spec
from i2i.translation.pix2pix import Pair, PatchDiscriminator, Pix2Pix, UnetGenerator


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def unet(depth: int = 3, **more: Any) -> UnetGenerator:
    torch.manual_seed(0)
    return UnetGenerator(3, 3, width=2, depth=depth, **more)


def pictures(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


def same(channels: int) -> nn.Module:
    return nn.Identity()


def test_parameter_counts_are_the_originals() -> None:
    with torch.device("meta"):
        assert count(UnetGenerator(3, 3)) == 54_413_955
        assert count(PatchDiscriminator(6)) == 2_768_705


@pytest.mark.parametrize("field", [1, 16, 34, 70, 142, 286])
def test_a_score_sees_exactly_its_field(field: Any) -> None:
    network = PatchDiscriminator(1, width=1, field=field, norm=same)  # a norm would see the whole picture
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    size = field + 2 * field // 3 + 64
    picture = torch.ones(1, 1, size, size, requires_grad=True)
    scores = network(picture)
    scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
    assert picture.grad is not None
    for axis in (2, 3):
        seen = picture.grad.sum(dim=(0, 1, 5 - axis)).nonzero().flatten()
        assert seen[0] > 0  # the picture's edge cuts nothing off
        assert seen[-1] < size - 1
        assert int(seen[-1] - seen[0]) + 1 == field
        assert len(seen) == field


def test_256_pixels_make_30_by_30_patches_of_70() -> None:
    assert PatchDiscriminator(6, width=1)(torch.zeros(2, 6, 256, 256)).shape == (2, 1, 30, 30)
    assert PatchDiscriminator(6, width=1, field=1)(torch.zeros(2, 6, 64, 48)).shape == (2, 1, 64, 48)


def test_a_field_that_no_patch_discriminator_has_is_refused() -> None:
    with pytest.raises(ValueError, match="sees 1, 16, 34, 70, 142, 286 pixels, not 71"):
        PatchDiscriminator(3, field=71)  # type: ignore[arg-type]


@pytest.mark.parametrize("depth", range(2, 9))
def test_a_unet_of_any_depth_takes_multiples_of_its_size(depth: int) -> None:
    network, size = unet(depth), 2**depth
    assert network.card().multiple == network.card().minimum == size
    for height, width in ((size, size), (2 * size, size)):
        picture = pictures(1, 3, height, width)
        made = network.train()(picture)  # at 1x1 a norm of one image could not even be computed
        assert made.shape == picture.shape
        assert made.abs().max() <= 1
        assert torch.isfinite(network.eval()(picture)).all()


def test_a_unet_needs_two_levels() -> None:
    with pytest.raises(ValueError, match="depth of at least 2, not 1"):
        UnetGenerator(depth=1)


def test_no_norm_stands_at_the_edges_and_the_bottleneck() -> None:
    network = unet(5)
    down = [[type(layer) for layer in level] for level in network.down]  # type: ignore[union-attr]
    assert [BatchNorm in level for level in down] == [False, True, True, True, False]
    assert all(BatchNorm in map(type, level) for level in network.up)  # type: ignore[arg-type]
    assert BatchNorm not in map(type, network.last)


@pytest.mark.parametrize(("depth", "expected"), [(2, [True]), (4, [True] * 3), (8, [True] * 3 + [False] * 4)])
def test_dropout_stands_in_the_first_three_decoder_blocks(depth: int, expected: list[bool]) -> None:
    network = unet(depth)
    assert [any(isinstance(layer, Dropout) for layer in level) for level in network.up] == expected  # type: ignore[union-attr]
    assert network.card().modes == ("deterministic", "paper")
    bare = unet(depth, dropout=0.0)
    assert not any(isinstance(layer, Dropout) for layer in bare.modules())
    assert bare.card().modes == ("deterministic",)


def test_channels_need_not_be_three() -> None:
    network = UnetGenerator(1, 4, width=2, depth=2)
    assert network(pictures(2, 1, 8, 12)).shape == (2, 4, 8, 12)
    assert network.card().channels == (1, 4)


def test_the_deterministic_mode_is_instance_norm_and_sees_no_neighbours() -> None:
    network = layers.test_time(unet().double(), "deterministic")
    for module in network.modules():
        if isinstance(module, BatchNorm):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    batch = pictures(3, 3, 16, 8).double()
    together = network(batch)
    assert torch.equal(together, network(batch))
    for index in range(3):
        assert torch.allclose(together[index : index + 1], network(batch[index : index + 1]), rtol=0, atol=1e-12)

    def instance_norm(self: BatchNorm, x: Tensor) -> Tensor:
        return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)

    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.forward = instance_norm.__get__(module)  # type: ignore[method-assign]
    assert torch.allclose(together, network(batch), rtol=0, atol=1e-9)


def test_the_papers_mode_draws_for_each_image_from_its_own_seed() -> None:
    network = layers.test_time(unet().double(), "paper")

    def run(batch: Tensor, *seeds: int) -> Tensor:
        layers.seed_dropout(network, [torch.Generator().manual_seed(seed) for seed in seeds])
        return network(batch)

    batch = pictures(2, 3, 16, 16).double()
    together = run(batch, 7, 8)
    assert torch.allclose(together[:1], run(batch[:1], 7), rtol=0, atol=1e-12)
    assert torch.allclose(together.flip(0), run(batch.flip(0), 8, 7), rtol=0, atol=1e-12)
    assert not torch.allclose(together[:1], run(batch[:1], 9), rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="seeded for 1 images, but 2 came"):
        run(batch, 7)


def sigmoid_log(x: Tensor) -> Tensor:
    return torch.log(torch.sigmoid(x))


SCORES = torch.tensor([-1.5, 0.25, 2.0], dtype=torch.float64)
CLOSED = {  # rule -> (real, fake, fool) of SCORES, by the papers' formulas
    "LOGISTIC": (LOGISTIC, -sigmoid_log(SCORES), -torch.log(1 - torch.sigmoid(SCORES)), -sigmoid_log(SCORES)),
    "SATURATING": (
        SATURATING,
        -sigmoid_log(SCORES),
        -torch.log(1 - torch.sigmoid(SCORES)),
        torch.log(1 - torch.sigmoid(SCORES)),
    ),
    "LEAST_SQUARES": (LEAST_SQUARES, (SCORES - 1) ** 2, SCORES**2, (SCORES - 1) ** 2),
    "PEARSON": (PEARSON, (SCORES - 1) ** 2 / 2, (SCORES + 1) ** 2 / 2, SCORES**2 / 2),
    "HINGE": (HINGE, (1 - SCORES).clamp(min=0), (1 + SCORES).clamp(min=0), -SCORES),
    "WASSERSTEIN": (WASSERSTEIN, -SCORES, SCORES, -SCORES),
}


@pytest.mark.parametrize("name", CLOSED)
def test_adversarial_rules_have_their_closed_forms(name: str) -> None:
    rule, *expected = CLOSED[name]
    assert isinstance(rule, Adversarial)
    for score, values in zip(rule, expected, strict=True):
        assert torch.allclose(score(SCORES), values.mean(), rtol=1e-12, atol=0)
        assert score(SCORES).ndim == 0
        assert score(SCORES.bfloat16()).dtype == torch.float32  # sums over many pixels need the digits


def batch_of(game: Any) -> Any:
    return game.Batch(*(torch.stack(field) for field in zip(Noise()[0], Noise()[1], strict=True)))


def test_the_losses_are_the_papers() -> None:
    torch.manual_seed(0)
    game = tiny_pix2pix(dropout=0.0)
    batch, made = batch_of(game), Made()
    fake = game.a2b(batch.a)
    terms = game.generator_loss(batch, made)
    on_fake = game.on_pair(torch.cat([batch.a, fake], 1))
    assert torch.equal(made.fake, fake.detach())
    assert torch.allclose(terms["adversarial"], -torch.log(torch.sigmoid(on_fake)).mean())
    assert torch.allclose(terms["pixel"], 100 * (fake - batch.b).abs().mean())
    terms = game.discriminator_loss(batch, made)
    on_real = game.on_pair(torch.cat([batch.a, batch.b], 1))
    assert torch.allclose(terms["real"], -0.5 * torch.log(torch.sigmoid(on_real)).mean())  # Sec. 3.3: halved
    assert torch.allclose(terms["fake"], -0.5 * torch.log(1 - torch.sigmoid(on_fake)).mean())


def test_the_discriminators_turn_does_not_reach_the_generator() -> None:
    game = tiny_pix2pix()
    batch, made = batch_of(game), Made()
    turns = list(game.turns(Clock()))
    assert [player.name for player, _ in turns] == ["generator", "discriminator"]
    game.generator_loss(batch, made)
    assert not made.fake.requires_grad
    sum(game.discriminator_loss(batch, made).values()).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is None for parameter in game.generator.parameters())
    assert all(parameter.grad is not None for parameter in game.discriminator.parameters())


def test_a_turn_without_the_one_before_says_what_is_missing() -> None:
    game = tiny_pix2pix()
    with pytest.raises(AttributeError, match="no earlier turn of this step made 'fake'"):
        game.discriminator_loss(batch_of(game), Made())


def test_another_norm_can_be_named() -> None:
    with torch.device("meta"):
        plain = UnetGenerator(norm=InstanceNorm)
        assert not any(isinstance(module, BatchNorm) for module in plain.modules())


def test_the_penalty_on_the_slope_is_of_b_and_the_same_for_any_size() -> None:
    """With a linear discriminator of one pixel the slope at b is its weights for b, whatever the picture's size."""
    game = Pix2Pix(Spec.to(UnetGenerator, width=2, depth=2), Spec.to(Pixel), r1=R1(4.0, every=2))
    game.on_pair.layer.weight.data[0, :, 0, 0] = torch.tensor([7.0, 7, 7, 1, 2, 3])
    for size in (8, 24):
        batch, made = Pair(pictures(2, 3, size, size), pictures(2, 3, size, size)), Made()
        made.fake = batch.a
        terms = [list(game.turns(Clock(steps=step)))[1][1](batch, made) for step in range(3)]
        assert [term.get("r1") is None for term in terms] == [False, True, False]
        assert terms[0]["r1"].item() == pytest.approx(2 * 4.0 / 2 * (1 + 4 + 9))  # twice for every other step


def test_without_a_weight_there_is_no_penalty() -> None:
    (_, loss) = list(tiny_pix2pix().turns(Clock()))[1]
    made = Made()
    made.fake = pictures(2, 3, 16, 16)
    assert list(loss(Pair(made.fake, made.fake), made)) == ["real", "fake"]


def test_the_pixels_alone_come_first_where_they_are_asked_for() -> None:
    """The first stage's loss is Eq. 3, and moves the generator only; the game is as it was in the second."""
    assert [stage.name for stage in tiny_pix2pix().stages()] == ["train"]
    first, second = tiny_pix2pix(pixels=6, pixel=100.0, dropout=0.0).stages()
    assert (first.name, first.images, [player.name for player in first.players]) == ("pixels", 6, ["generator"])
    assert (second.name, second.images, len(second.players)) == ("train", None, 2)
    batch = Pair(pictures(2, 3, 16, 16), pictures(2, 3, 16, 16).flip(3))
    ((player, alone),), ((_, both), _) = list(first.turns(Clock())), list(second.turns(Clock()))
    terms = alone(batch, Made())
    fake = player.nets["a2b"](batch.a)
    assert list(terms) == ["pixel"] and torch.equal(terms["pixel"], 100 * (fake - batch.b).abs().mean())
    assert both(batch, Made())["pixel"].item() == pytest.approx(terms["pixel"].item(), rel=1e-6)


class Pixel(nn.Module):
    """A discriminator of single pixels, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(6, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)
