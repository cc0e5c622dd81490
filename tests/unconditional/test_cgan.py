"""cGAN: both pairs of networks, and that both players are told the class."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from games import AVERAGE, Shades, tiny_cgan
from torch import nn

from i2i.data.labelled import Labelled
from i2i.errors import UserError
from i2i.game import Made, Spec
from i2i.layers import Dropout
from i2i.recipe import Training
from i2i.testing import assert_sound
from i2i.trainer import Trainer
from i2i.unconditional.cgan import (
    CGAN,
    ConditionalDCDiscriminator,
    ConditionalDCGenerator,
    ConditionalMLPDiscriminator,
    ConditionalMLPGenerator,
    beside,
)
from i2i.unconditional.dcgan import DCDiscriminator, DCGenerator

CLASSES = 3
MLPS = (
    Spec.to(ConditionalMLPGenerator, size=8, classes=CLASSES, latent=6, widths=[4, 3, 8]),
    Spec.to(ConditionalMLPDiscriminator, size=8, classes=CLASSES, units=[4, 3, 4], pieces=[3, 3, 2]),
)
BODIES = (
    Spec.to(ConditionalDCGenerator, size=16, classes=CLASSES, latent=6, width=2, kernel=4),
    Spec.to(ConditionalDCDiscriminator, size=16, classes=CLASSES, width=2, kernel=4),
)


def tiny(networks: tuple[Spec, Spec] = MLPS, **more: Any) -> CGAN:
    return CGAN(*networks, **{"classes": CLASSES, "average": AVERAGE, **more})


def batch(count: int = 6, size: int = 8) -> Labelled:
    x, y = zip(*(Shades(size=size)[position] for position in range(count)), strict=True)
    return Labelled(torch.stack(x) / 127.5 - 1, torch.stack(y))


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_mlps_are_sound() -> None:
    assert_sound(tiny, Shades(size=8), lane=3)


def test_convolutional_bodies_are_sound() -> None:
    seen = {"generator/adversarial", "discriminator/real", "discriminator/fake"}
    assert_sound(tiny_cgan, Shades(), lane=3, sees_all=seen)


def test_published_networks_have_their_size() -> None:
    """Sec. 4.1, by hand."""
    with torch.device("meta"):
        generator, discriminator = ConditionalMLPGenerator(), ConditionalMLPDiscriminator()
    z, y, both, pixels = (100 + 1) * 200, (10 + 1) * 1000, (1200 + 1) * 1200, (1200 + 1) * 784
    assert count(generator) == z + y + both + pixels == 2_413_984
    x, y, both = (784 + 1) * 240 * 5, (10 + 1) * 50 * 5, (240 + 50 + 1) * 240 * 4
    assert count(discriminator) == x + y + both + 240 + 1 == 1_224_351
    dropped = [m.p for n in (generator, discriminator) for m in n.modules() if isinstance(m, Dropout | nn.Dropout)]
    assert dropped == [0.5] * 6  # in both players
    assert [(part.name, part.size, part.kind, part.span) for part in generator.parts] == [
        ("z", 100, "uniform", (0.0, 1.0)), ("class", 10, "class", (-1.0, 1.0)),
    ]  # fmt: skip


def test_a_body_is_dcgans_and_ten_more_maps_to_every_layer() -> None:
    with torch.device("meta"):
        generator, discriminator = ConditionalDCGenerator(1, 32), ConditionalDCDiscriminator(1, 32)
        plain, judge = DCGenerator(1, 32, width=64), DCDiscriminator(1, 32, width=64)
    assert count(generator) - count(plain) == 10 * (256 * 16 + 25 * (128 + 64 + 1))
    assert count(discriminator) - count(judge) == 10 * (25 * (64 + 128 + 256) + 1)


def test_labels_beside_maps_are_maps_of_one_value() -> None:
    x, labels = torch.rand(2, 3, 4, 4), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    joined = beside(x, labels)
    assert joined.shape == (2, 5, 4, 4)
    assert torch.equal(joined[:, :3], x)
    assert torch.equal(joined[0, 4], torch.ones(4, 4))
    assert not joined[0, 3].any()


@pytest.mark.parametrize(("networks", "size"), [(MLPS, 8), (BODIES, 16)])
def test_both_players_are_told_the_class(networks: tuple[Spec, Spec], size: int) -> None:
    torch.manual_seed(0)
    game = tiny(networks)
    game.draws.eval()
    game.judges.eval()
    z, labels = torch.rand(1, 6).expand(CLASSES, -1), torch.eye(CLASSES)
    drawn = game.draws(torch.cat([z, labels], 1))
    assert drawn.shape == (CLASSES, 1, size, size)
    assert not torch.allclose(drawn[0], drawn[1])
    same = drawn[:1].expand(CLASSES, -1, -1, -1)
    scores = game.judges(same, torch.arange(CLASSES))
    assert len(set(scores.flatten().tolist())) == CLASSES


def test_drawn_pictures_have_the_classes_of_the_batch() -> None:
    game, seen = tiny(), []
    game.draws.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    game.generator_loss(batch(), Made())
    assert torch.equal(seen[0][:, -CLASSES:].argmax(1), batch().y)


def test_losses_are_those_of_equation_2() -> None:
    game, made = tiny(), Made()
    game.draws.eval()
    game.judges.eval()
    adversarial = game.generator_loss(batch(), made)["adversarial"]
    terms = game.discriminator_loss(batch(), made)
    on_true, on_fake = (torch.sigmoid(game.judges(x, batch().y)) for x in (batch().x, made.fake))
    assert torch.allclose(terms["real"], -on_true.log().mean())
    assert torch.allclose(terms["fake"], -(1 - on_fake).log().mean())
    assert torch.allclose(adversarial, -on_fake.log().mean())


def test_the_sheet_has_a_column_for_each_class() -> None:
    game, seen = tiny(), []
    game.draws.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    columns = game.preview(batch(), {"generator": game.draws})
    assert [tuple(column.shape) for column in columns] == [(8, 1, 8, 8)] * CLASSES
    assert seen[0][:, -CLASSES:].argmax(1).tolist() == [0] * 8 + [1] * 8 + [2] * 8


def test_other_numbers_of_classes_are_refused(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match=r"the game has 4 classes, the generator 3, the discriminator 3; set"):
        tiny(classes=4)
    with pytest.raises(ValueError, match=r"the generator 0"):
        CGAN(Spec.to(DCGenerator, channels=1, size=16, latent=6, width=2), BODIES[1], classes=CLASSES)
    four = [Spec(spec.of, {**spec.kwargs, "classes": 4}) for spec in MLPS]
    with pytest.raises(UserError, match="CGAN plays with 4 classes, but the data has 3"):
        Trainer(CGAN(*four, classes=4), Shades(size=8), Training(images=4), tmp_path, device="cpu")
