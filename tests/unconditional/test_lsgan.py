"""LSGAN: the rules of Eq. 8 and 9, and the network for scenes."""

from __future__ import annotations

import pytest
import torch
from games import Gray
from torch import nn

from i2i.game import Spec
from i2i.losses import LEAST_SQUARES, PEARSON, Adversarial
from i2i.testing import assert_sound
from i2i.unconditional.dcgan import ADAM, DCDiscriminator
from i2i.unconditional.gan import GAN
from i2i.unconditional.lsgan import LSGenerator


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("rule", "half", "a", "b", "c"), [(PEARSON, 0.5, -1, 1, 0), (LEAST_SQUARES, 1.0, 0, 1, 1)])
def test_rules_are_equations_8_and_9(rule: Adversarial, half: float, a: int, b: int, c: int) -> None:
    scores = torch.tensor([[-2.0], [0.5], [3.0]])
    assert torch.allclose(rule.real(scores), half * (scores - b).square().mean())
    assert torch.allclose(rule.fake(scores), half * (scores - a).square().mean())
    assert torch.allclose(rule.fool(scores), half * (scores - c).square().mean())


def test_pearson_labels_satisfy_the_theorem() -> None:
    """Sec. 3.2: b - c = 1 and b - a = 2, which read off the minima of the rule's three parts."""
    at = torch.linspace(-2, 2, 401)
    a, b, c = (
        at[torch.stack([score(x[None]) for x in at]).argmin()].item()
        for score in (PEARSON.fake, PEARSON.real, PEARSON.fool)
    )
    assert (b - c, b - a) == pytest.approx((1, 2))


def test_a_sure_discriminator_still_pulls() -> None:
    """Fig. 2: far from the boundary on the right side, least squares have a gradient and cross entropy none."""
    score = torch.tensor([[20.0]], requires_grad=True)
    (found,) = torch.autograd.grad(PEARSON.fool(score), score)
    assert found.item() == pytest.approx(20)


def test_published_network_has_its_size() -> None:
    """Sec. 3.3 and the authors' code, by hand: kernels of 9, and of 25 in the discriminator."""
    with torch.device("meta"):
        generator, discriminator = LSGenerator(), DCDiscriminator(3, 112, width=64, base=7)
    kernels = 9 * (4 * 256 * 256 + 256 * 128 + 128 * 64 + 64 * 3)
    assert count(generator) == 1024 * 256 * 49 + kernels + 2 * (5 * 256 + 128 + 64) == 15_577_664
    kernels = 25 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512)
    assert count(discriminator) == kernels + 2 * (128 + 256 + 512) + 512 * 49 == 4_332_480


def test_sizes() -> None:
    assert LSGenerator(3, 112, latent=4, width=1)(torch.rand(2, 4)).shape == (2, 3, 112, 112)
    assert LSGenerator(1, 32, latent=4, width=1)(torch.rand(2, 4)).shape == (2, 1, 32, 32)
    with pytest.raises(ValueError, match="multiple of 16 pixels, not 100"):
        LSGenerator(3, 100)
    part = LSGenerator(1, 16, width=1).parts[0]
    assert (part.size, part.kind) == (1024, "uniform")


def test_the_game_with_it_is_sound() -> None:
    generator = Spec.to(LSGenerator, channels=1, size=16, latent=6, width=1)
    discriminator = Spec.to(DCDiscriminator, channels=1, size=16, width=2)
    seen = {"generator/adversarial", "discriminator/real", "discriminator/fake"}
    assert_sound(lambda: GAN(generator, discriminator, rule=PEARSON, optimizer=ADAM), Gray(), lane=2, sees_all=seen)
