"""DCGAN: its networks, and the game with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from games import AVERAGE, Gray, tiny_dcgan
from torch import Tensor, nn

from i2i.game import Spec
from i2i.layers import StoredBatchNorm
from i2i.losses import LEAST_SQUARES, LOGISTIC, PEARSON, Adversarial
from i2i.recipe import Training
from i2i.testing import assert_sound
from i2i.trainer import Trainer
from i2i.unconditional.dcgan import ADAM, DCDiscriminator, DCGenerator
from i2i.unconditional.gan import GAN
from i2i.zoo import load_generator

GENERATOR = Spec.to(DCGenerator, channels=1, size=8, latent=6, width=4, kernel=4)
DISCRIMINATOR = Spec.to(DCDiscriminator, channels=1, size=8, width=4, kernel=4)
COUPLED = {"generator/adversarial"}  # 8 pixels have one convolution, so the discriminator no norm


def tiny(**more: Any) -> GAN:
    return GAN(GENERATOR, DISCRIMINATOR, **{"optimizer": ADAM, "average": AVERAGE, **more})


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("rule", [LOGISTIC, LEAST_SQUARES, PEARSON])
def test_is_sound(rule: Adversarial) -> None:
    assert_sound(lambda: tiny(rule=rule), Gray(size=8), lane=2, sees_all=COUPLED | {"discriminator/fake"})


def test_is_sound_with_norms_in_the_discriminator() -> None:
    seen = COUPLED | {"discriminator/real", "discriminator/fake"}
    assert_sound(tiny_dcgan, Gray(), lane=2, sees_all=seen)


def test_published_networks_have_their_size() -> None:
    """Fig. 1, by hand: kernels of 25, two numbers for each normalised map, no bias anywhere."""
    with torch.device("meta"):
        generator, discriminator = DCGenerator(), DCDiscriminator()
    kernels = 25 * (1024 * 512 + 512 * 256 + 256 * 128 + 128 * 3)
    assert count(generator) == 100 * 1024 * 16 + kernels + 2 * (1024 + 512 + 256 + 128) == 18_855_040
    kernels = 25 * (3 * 128 + 128 * 256 + 256 * 512 + 512 * 1024)
    assert count(discriminator) == kernels + 2 * (256 + 512 + 1024) + 1024 * 16 == 17_232_768


def test_the_pytorch_release_is_an_argument_away() -> None:
    """Kernels of 4 and half the width: 3,576,704 and 2,765,568 parameters, its printed networks counted."""
    with torch.device("meta"):
        assert count(DCGenerator(width=64, kernel=4)) == 3_576_704
        assert count(DCDiscriminator(width=64, kernel=4)) == 2_765_568


@pytest.mark.parametrize("kernel", [3, 4, 5, 6])
@pytest.mark.parametrize("size", [8, 16, 32, 64, 128])
def test_any_power_of_two_from_8_on(size: int, kernel: int) -> None:
    made = DCGenerator(2, size, latent=3, width=1, kernel=kernel)(torch.rand(2, 3))
    assert made.shape == (2, 2, size, size)
    discriminator = DCDiscriminator(2, size, width=1, kernel=kernel)
    assert discriminator(made).shape == (2, 1)
    sizes = [(feature.shape[1], feature.shape[2]) for feature in discriminator.features(made)]
    assert sizes == [(2**step, size >> (step + 1)) for step in range(len(sizes))]
    assert sizes[-1][1] == 4


def test_another_first_map_draws_other_sizes() -> None:
    made = DCGenerator(1, 28, latent=3, width=2, base=7)(torch.rand(2, 3))
    assert made.shape == (2, 1, 28, 28)
    assert DCDiscriminator(1, 28, width=2, base=7)(made).shape == (2, 1)


@pytest.mark.parametrize("size", [4, 7, 12, 48])
def test_other_sizes_are_refused(size: int) -> None:
    for network in (DCGenerator, DCDiscriminator):
        with pytest.raises(ValueError, match=f"8, 16, 32, ..., not {size}"):
            network(1, size)


def test_guidelines_of_section_3() -> None:
    generator, discriminator = DCGenerator(1, 32, width=2), DCDiscriminator(1, 32, width=2)
    kinds = [[type(m).__name__ for m in n.modules() if not list(m.children())] for n in (generator, discriminator)]
    up, down = ["ConvTranspose2d", "StoredBatchNorm", "ReLU"], ["Conv2d", "StoredBatchNorm", "LeakyReLU"]
    first = ["Linear", "Unflatten", "StoredBatchNorm", "ReLU"]
    assert kinds[0] == [*first, *up, *up, "ConvTranspose2d", "Tanh"]  # no norm at the output
    assert kinds[1] == ["Conv2d", "LeakyReLU", *down, *down, "Linear"]  # nor at the input
    assert {m.negative_slope for m in discriminator.modules() if isinstance(m, nn.LeakyReLU)} == {0.2}
    for network in (generator, discriminator):
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                assert module.stride == (2, 2)
                assert module.bias is None
            if isinstance(module, StoredBatchNorm):
                assert module.eps == 1e-5  # and not 0.8, a momentum in the place of an eps
    assert [(part.size, part.kind, part.span) for part in generator.parts] == [(100, "uniform", (-1.0, 1.0))]


def test_first_weights_are_the_papers() -> None:
    torch.manual_seed(0)
    for network in (DCGenerator(1, 32, width=32), DCDiscriminator(1, 32, width=32)):
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.15)
            if isinstance(module, StoredBatchNorm):
                assert module.weight.mean().item() == pytest.approx(1, abs=0.02)


def test_a_trained_generator_draws_each_picture_for_itself(tmp_path: Path) -> None:
    settings = Training(images=16, batch=4, threads=1)
    Trainer(tiny(), Gray(size=8), settings, tmp_path, device="cpu", say=lambda sentence: None).run(quiet=True)
    network: Any = load_generator(tmp_path / "generators" / "generator.safetensors")
    assert network.card.mode == "stored"
    latent = torch.rand(3, 6) * 2 - 1
    together: Tensor = network(latent)
    assert torch.allclose(together[:1], network(latent[:1]), atol=1e-6)
    judge: Any = load_generator(tmp_path / "generators" / "discriminator.safetensors")
    assert (judge.card.kind, judge.card.classes, judge.card.size) == ("classifier", ("real",), 8)
    assert len(judge.features(together)) == 1
    assert judge(together).shape == (3, 1)
