"""Critics that any recipe can name."""

from __future__ import annotations

import pytest
import torch
from games import Noise
from torch.nn import functional as F

from i2i.critics import MultiScale
from i2i.layers import BatchNorm
from i2i.losses import HINGE, LEAST_SQUARES
from i2i.spec import Spec
from i2i.testing import assert_sound
from i2i.translation.esrgan import UNetDiscriminator
from i2i.translation.pix2pix import PatchDiscriminator, Pix2Pix, UnetGenerator

PATCH = Spec.to(PatchDiscriminator, channels=6, width=4, field=16, norm="i2i.layers:InstanceNorm")
UNET = Spec.to(UnetGenerator, width=4, depth=4, dropout=0.0, norm="i2i.layers:InstanceNorm")


def test_each_scale_counts_alike_and_sees_a_smaller_picture() -> None:
    torch.manual_seed(0)
    critic = MultiScale(PATCH, scales=3)
    x = torch.randn(2, 6, 64, 64)
    scores = critic(x)
    assert scores.shape == (2, 3, 30, 30)
    for scale, part in enumerate(critic.critics):
        assert scale or torch.allclose(part(x), scores[:, [0]])
        assert part(x).shape == (2, 1, (30, 14, 6)[scale], (30, 14, 6)[scale])
        x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
    assert len({float(part.layers[0].weight.sum()) for part in critic.critics}) == 3  # type: ignore[union-attr]
    assert HINGE.fool(scores).item() == pytest.approx(-float(scores.mean((0, 2, 3)).mean()), rel=1e-5)


@pytest.mark.parametrize("critic", [
    Spec.to(MultiScale, critic=PATCH, scales=2),
    Spec.to(UNetDiscriminator, channels=6, width=4),
])  # fmt: skip
def test_pix2pix_plays_with_it(critic: Spec) -> None:
    assert_sound(lambda: Pix2Pix(UNET, critic, rule=LEAST_SQUARES), Noise(size=32), images=6)


def test_a_critic_of_no_size() -> None:
    with pytest.raises(ValueError, match="looks at one size or more, not 0"):
        MultiScale(PATCH, scales=0)
    assert BatchNorm in {type(layer) for layer in PatchDiscriminator(3).layers}
