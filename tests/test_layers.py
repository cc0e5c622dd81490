"""The norms are the textbook's by every route, dropout draws for each image, and first weights are as drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from games import Noise
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from i2i import layers
from i2i.checkpoint import save_generator
from i2i.layers import (
    BatchNorm,
    BlurredDown,
    BlurredUp,
    Conv2d,
    Dropout,
    EqualisedConv2d,
    EqualisedDown,
    EqualisedLinear,
    EqualisedUp,
    GroupNorm,
    InstanceNorm,
    MinibatchDeviation,
    PixelNorm,
    PReLU,
    ResizeUp,
    SelfAttention,
    SpectralNorm,
    StoredBatchNorm,
    init_normal,
    init_xavier,
    with_spectral_norm,
)
from i2i.losses import HINGE
from i2i.recipe import Training
from i2i.spec import Spec
from i2i.testing import assert_sound
from i2i.trainer import Trainer
from i2i.translation.cut import AntialiasedResnet
from i2i.translation.cyclegan import ResnetGenerator
from i2i.translation.esrgan import UNetDiscriminator
from i2i.translation.pix2pix import PatchDiscriminator, Pix2Pix, UnetGenerator
from i2i.translation.srgan import SRDiscriminator
from i2i.zoo import load_generator

FAST = Spec.to(torch.optim.Adam, lr=0.02)
INSTANCE = "i2i.layers:InstanceNorm"


def pictures(count: int = 3) -> Tensor:
    return torch.randn(count, 4, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 1


def with_gradient(run: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    out = run(x)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
    (out * weights).sum().backward()
    assert x.grad is not None
    return out.detach(), x.grad


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("count", [1, 3])
def test_instance_norm_is_the_same_by_every_route(count: int, layout: torch.memory_format) -> None:
    x, norm = pictures(count).to(memory_format=layout), InstanceNorm(4).double()
    expected, gradient = with_gradient(F.instance_norm, x)
    trained, trained_gradient = with_gradient(norm, x)
    with torch.no_grad():
        run = norm(x)
    for made in (trained, run):
        assert (made - expected).abs().max() < 1e-9
    assert (trained_gradient - gradient).abs().max() < 1e-9
    assert trained.is_contiguous(memory_format=layout)


def test_instance_norm_has_nothing_to_save() -> None:
    assert not InstanceNorm(4).state_dict()


def test_batch_norm_of_one_image_is_instance_norm_in_training_and_when_run() -> None:
    x, norm = pictures(1), BatchNorm(4).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)

    def instance(x: Tensor) -> Tensor:
        return F.instance_norm(x, weight=norm.weight, bias=norm.bias)

    expected, gradient = with_gradient(instance, x)
    for mode in (True, False):
        made, made_gradient = with_gradient(norm.train(mode), x)
        assert (made - expected).abs().max() < 1e-9
        assert (made_gradient - gradient).abs().max() < 1e-9


def test_batch_norm_takes_the_batchs_statistics_in_training_and_each_images_when_run() -> None:
    x, norm = pictures(), BatchNorm(4).double()
    assert torch.allclose(norm.train()(x), F.batch_norm(x, None, None, training=True), rtol=0, atol=1e-12)
    assert torch.allclose(norm.eval()(x), F.instance_norm(x), rtol=0, atol=1e-9)
    assert set(norm.state_dict()) == {"weight", "bias"}  # and keeps none


def test_stored_batch_norm_is_torchs_in_training_and_when_run() -> None:
    x, norm, torchs = pictures(), StoredBatchNorm(4).double(), nn.BatchNorm2d(4).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    torchs.load_state_dict(norm.state_dict(), strict=False)  # torch's also counts batches
    for batch in (x, 2 * x + 1):
        assert torch.equal(norm.train()(batch), torchs.train()(batch))
    assert torch.equal(norm.running_var, torchs.running_var)
    assert not torch.equal(norm.running_mean, torch.zeros(4))
    assert torch.equal(norm.eval()(x), torchs.eval()(x))
    assert set(norm.state_dict()) == {"weight", "bias", "running_mean", "running_var"}


def test_the_mode_says_whose_statistics_they_are() -> None:
    x, network = pictures(), nn.Sequential(StoredBatchNorm(4).double(), Dropout())
    assert layers.modes(network) == ("stored", "deterministic", "paper")
    assert torch.allclose(layers.test_time(network, "stored")(x), x / (1 + 1e-5) ** 0.5, rtol=0, atol=1e-9)
    assert torch.allclose(layers.test_time(network, "deterministic")(x), F.instance_norm(x), rtol=0, atol=1e-9)
    layers.test_time(network, "paper")
    layers.seed_dropout(network, [torch.Generator().manual_seed(0) for _ in x])
    made = network(x)
    assert torch.allclose(made, 2 * F.instance_norm(x) * (made != 0), rtol=0, atol=1e-9)
    assert 0.3 < (made != 0).float().mean() < 0.7
    for known, module in ((("deterministic",), BatchNorm(2)), (("deterministic", "paper"), nn.Sequential(Dropout()))):
        assert layers.modes(module) == known


def test_dropout_in_training_is_torchs_from_the_global_generator() -> None:
    x, layer = pictures(), Dropout(0.3).train()
    torch.manual_seed(5)
    made = layer(x)
    torch.manual_seed(5)
    assert torch.equal(made, F.dropout(x, 0.3))


def test_dropout_when_run_is_the_identity_or_draws_for_each_image() -> None:
    x, layer = torch.ones(3, 2, 64, 64), Dropout(0.25).eval()
    assert layer(x) is x
    before = torch.random.get_rng_state()

    def run(*seeds: int) -> Tensor:
        layers.seed_dropout(layer, [torch.Generator().manual_seed(seed) for seed in seeds])
        return layer(x[: len(seeds)])

    made = run(1, 2, 3)
    assert torch.equal(made[1:2], run(2))
    assert not torch.equal(made[0], made[1])
    assert abs((made == 0).float().mean() - 0.25) < 0.01
    assert torch.allclose(made[made != 0], torch.tensor(1 / 0.75))  # so that the mean stays
    assert torch.equal(before, torch.random.get_rng_state())
    with pytest.raises(ValueError, match="seeded for 2 images, but 3 came"):
        layers.seed_dropout(layer, [torch.Generator()] * 2)
        layer(x)


def test_test_time_freezes_and_sets_the_mode() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), Dropout(), nn.Sequential(Dropout()))
    assert layers.test_time(network, "deterministic") is network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    network(torch.zeros(1, 1, 2, 2))
    layers.test_time(network, "paper")
    with pytest.raises(ValueError, match="seeded for 0 images"):  # forgotten seeds are an error, not silence
        network(torch.zeros(1, 1, 2, 2))


def test_first_weights_are_normal_and_biases_zero() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(64, 64, 4), BatchNorm(4096), nn.ConvTranspose2d(64, 64, 4), nn.BatchNorm2d(4096))
    assert init_normal(network) is network
    for layer, mean in zip(network, (0, 1, 0, 1), strict=True):
        weight = layer.weight.detach()  # type: ignore[operator, union-attr]
        assert abs(weight.mean() - mean) < 0.002
        assert abs(weight.std() - 0.02) < 0.001
        assert not layer.bias.any()  # type: ignore[operator, union-attr]
    torch.manual_seed(0)
    init_normal(network, std=0.1)
    assert abs(network[0].weight.std() - 0.1) < 0.005  # type: ignore[operator, union-attr]


def test_norms_without_parameters_are_left_alone() -> None:
    init_normal(nn.Sequential(InstanceNorm(3), nn.BatchNorm2d(3, affine=False), nn.Conv2d(3, 3, 1, bias=False)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_moments_of_a_flat_map_are_exact(dtype: torch.dtype) -> None:
    x = (1000 + 0.01 * torch.randn(1, 4, 600, 500, dtype=torch.float64)).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    moments = layers.Moments()
    for piece in x.split(37, 2):
        moments.add(piece)
    wanted = x.double()
    mean, deviation = wanted.mean((0, 2, 3)), wanted.std((0, 2, 3), correction=0)
    found = moments.found()
    assert ((found.mean - mean).abs() < 0.01 * deviation).all()
    torch.testing.assert_close(found.variance.double().sqrt(), deviation, rtol=1e-5, atol=0)


@torch.no_grad()
def test_a_large_flat_picture_is_normalised_in_channels_last_as_in_the_plain_layout() -> None:
    x = 100 + 0.01 * torch.randn(2, 4, 700, 600)
    plain = layers.per_image(x, None, None, 1e-12)
    other = layers.per_image(x.contiguous(memory_format=torch.channels_last), None, None, 1e-12)
    torch.testing.assert_close(other, plain, rtol=0, atol=2e-3)
    assert 0.99 < float(other.std()) < 1.01


@pytest.mark.parametrize(
    ("outputs", "size", "padding"), [(3, 9, 4), (3, 9, 0), (1, 7, 3), (4, 5, 2), (3, 3, 1), (16, 9, 4)]
)
@pytest.mark.parametrize("columns", [20, 21, 23])
def test_a_convolution_with_few_filters_is_the_same_by_every_route(
    outputs: int, size: int, padding: int, columns: int
) -> None:
    torch.manual_seed(0)
    ours, theirs = Conv2d(16, outputs, size, 1, padding).bfloat16(), nn.Conv2d(16, outputs, size, 1, padding)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 16, 17, columns, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    given, wanted = x.clone().requires_grad_(), x.float().requires_grad_()
    made, expected = ours(given), theirs(wanted)
    assert made.shape == expected.shape
    together = made.untyped_storage().nbytes() > made.nbytes  # a few columns more are made than are needed
    assert together == (outputs <= 8 and size >= 5)
    weights = torch.randn(made.shape, dtype=torch.bfloat16)
    made.backward(weights)
    expected.backward(weights.float())
    pairs = [(made, expected), (given.grad, wanted.grad), (ours.weight.grad, theirs.weight.grad)]
    for one, other in [*pairs, (ours.bias.grad, theirs.bias.grad)]:  # type: ignore[union-attr]
        assert one is not None and other is not None
        assert (one - other).abs().max() < 0.02 * other.abs().max()


def test_in_float32_a_convolution_is_torchs_to_the_bit() -> None:
    ours, theirs, x = Conv2d(4, 3, 9, 1, 4), nn.Conv2d(4, 3, 9, 1, 4), torch.rand(1, 4, 12, 13)
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_prelu_and_its_gradients_are_torchs(layout: torch.memory_format) -> None:
    x, ours, theirs = pictures().to(memory_format=layout), PReLU().double(), nn.PReLU().double()
    x[0, 0, 0] = 0.0
    assert list(ours.state_dict()) == list(theirs.state_dict())
    expected, gradient = with_gradient(theirs, x)
    made, made_gradient = with_gradient(ours, x)
    assert torch.equal(made, expected)
    assert torch.equal(made_gradient, gradient)
    assert ours.weight.grad is not None and theirs.weight.grad is not None
    assert (ours.weight.grad - theirs.weight.grad).abs() < 1e-9
    with torch.no_grad():
        assert torch.equal(ours(x), expected)
    small = pictures(1)[:, :2, :3, :3].requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: ours(x).square(), (small,))


def test_a_prelu_in_bf16_under_autocast_has_a_gradient_of_full_precision() -> None:
    x, ours = pictures().float(), PReLU()
    with torch.autocast("cpu", torch.bfloat16):
        out = ours(x.bfloat16())
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    below = x.bfloat16().float().clamp_max(0).sum()
    assert ours.weight.grad is not None
    assert ours.weight.grad.dtype == torch.float32
    assert (ours.weight.grad - below).abs() < 1e-4 * below.abs()


def test_equalised_layers_are_drawn_from_n_0_1_and_scaled_when_used() -> None:
    torch.manual_seed(0)
    conv, linear = EqualisedConv2d(48, 64, 3, padding=1), EqualisedLinear(256, 128, gain=1.0)
    for layer in (conv, linear):
        assert layer.weight.mean().abs() < 0.02
        assert (layer.weight.std() - 1).abs() < 0.02
        assert not layer.bias.any()
    x, vectors = torch.randn(8, 48, 6, 6), torch.randn(64, 256)
    he = conv.weight * math.sqrt(2 / (48 * 9))  # He et al. 2015
    assert torch.allclose(conv(x), F.conv2d(x, he, conv.bias, padding=1))
    assert (conv(x)[..., 1:-1, 1:-1].var() - 2).abs() < 0.2
    assert torch.allclose(linear(vectors), F.linear(vectors, linear.weight / 16, linear.bias), atol=1e-6)
    assert (linear(vectors).var() - 1).abs() < 0.05


def test_a_convolution_between_two_sizes_is_what_it_is_in_two_steps() -> None:
    torch.manual_seed(0)
    plain, x = EqualisedConv2d(3, 5, 3, padding=1).double(), torch.randn(2, 3, 6, 4, dtype=torch.float64)
    nn.init.normal_(plain.bias)
    steps: dict[nn.Module, Callable[[Tensor], Tensor]] = {
        EqualisedUp(3, 5): lambda x: plain(F.interpolate(x, scale_factor=2)),
        EqualisedDown(3, 5): lambda x: F.avg_pool2d(plain(x), 2),
    }
    for layer, both in steps.items():
        layer.double().load_state_dict(plain.state_dict())
        made, gradient = with_gradient(layer, x)
        wanted, wanted_gradient = with_gradient(both, x)
        assert torch.allclose(made, wanted)
        assert torch.allclose(gradient, wanted_gradient)


def test_adam_moves_equalised_weights_of_all_sizes_at_the_same_speed() -> None:
    moved = []
    for inputs in (4, 400):
        torch.manual_seed(0)
        layer = EqualisedLinear(inputs, 8)
        before = (layer.weight * layer.scale).detach()
        optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2)
        layer(torch.randn(16, inputs)).square().sum().backward()
        optimizer.step()
        change = ((layer.weight * layer.scale).detach() - before).abs().mean()
        moved.append(float(change / before.std()))
    assert moved[0] == pytest.approx(moved[1], rel=0.15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pixel_norm_leaves_features_of_root_mean_square_one(dtype: torch.dtype) -> None:
    x = (100 * torch.randn(2, 12, 3, 5, generator=torch.Generator().manual_seed(0))).to(dtype)
    made = PixelNorm()(x)
    assert made.dtype == dtype
    assert (made.float().square().mean(1).sqrt() - 1).abs().max() < (1e-6 if dtype == torch.float32 else 1e-2)
    assert not PixelNorm()(torch.zeros(1, 4, dtype=dtype)).any()


def test_minibatch_deviation_is_the_papers() -> None:
    x = torch.randn(8, 3, 2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made = MinibatchDeviation(4)(x)
    assert made.shape == (8, 4, 2, 5)
    assert torch.equal(made[:, :3], x)
    for first in range(2):  # pictures 0, 2, 4, 6 and 1, 3, 5, 7
        group = x[first::2]
        spread = ((group - group.mean(0)).square().mean(0) + 1e-8).sqrt().mean()
        assert torch.allclose(made[first::2, 3], spread)


@pytest.mark.parametrize(("count", "groups"), [(1, 1), (2, 1), (3, 1), (6, 2), (7, 7), (16, 4)])
def test_minibatch_deviation_takes_any_number_of_pictures(count: int, groups: int) -> None:
    x = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    made = MinibatchDeviation(4)(x)[:, 3]
    assert len(made[:, 0, 0].unique()) == (1 if groups == count else groups)  # groups of one all differ by nothing
    (slope,) = torch.autograd.grad(made.sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_self_attention_is_the_papers_and_begins_as_the_identity() -> None:
    torch.manual_seed(0)
    layer, x = SelfAttention(16).double(), torch.randn(2, 16, 3, 4, dtype=torch.float64)
    assert torch.equal(layer(x), x)
    nn.init.constant_(layer.gamma, 0.7)
    f, g, h, v = (part.weight[:, :, 0, 0] for part in (layer.f, layer.g, layer.h, layer.v))
    assert f.shape == g.shape == h.shape == (2, 16)
    for picture, made in zip(x, layer(x), strict=True):
        places = picture.flatten(1).T
        for j, at in enumerate(places):
            s = torch.stack([(f @ other) @ (g @ at) for other in places])
            beta = s.exp() / s.exp().sum()  # Eq. 1
            o = v @ sum(share * (h @ other) for share, other in zip(beta, places, strict=True))  # Eq. 2
            assert torch.allclose(made.flatten(1)[:, j], 0.7 * o + at)  # Eq. 3


def test_all_of_self_attention_learns_also_from_a_penalty_on_slopes() -> None:
    torch.manual_seed(0)
    layer, x = SelfAttention(8), torch.randn(2, 8, 4, 4, requires_grad=True)
    layer(x).square().sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())
    assert layer.gamma.grad != 0
    nn.init.ones_(layer.gamma)
    (slope,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert all(parameter.grad.any() for parameter in layer.parameters())


def test_xavier_draws_by_what_goes_in_and_out() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(8, 24, 3), nn.Linear(200, 100), BatchNorm(4096), EqualisedConv2d(64, 64, 3))
    assert init_xavier(network, gain=0.5) is network
    for layer, given, made in ((network[0], 8 * 9, 24 * 9), (network[1], 200, 100)):
        assert layer.weight.std().item() == pytest.approx(0.5 * math.sqrt(2 / (given + made)), rel=0.05)
        assert not layer.bias.any()
    assert network[2].weight.mean().item() == pytest.approx(1, abs=0.05)
    assert network[2].weight.std().item() == pytest.approx(0.5, rel=0.05)
    assert network[3].weight.std().item() == pytest.approx(1, rel=0.05)  # what scales its weights draws them itself


def test_an_equalised_convolution_may_stride_and_have_no_bias() -> None:
    layer, x = EqualisedConv2d(3, 4, 3, padding=1, stride=2, bias=False), torch.randn(1, 3, 8, 8)
    assert layer.bias is None
    plain = F.conv2d(x, layer.weight * math.sqrt(2 / 27), None, 2, 1)
    assert torch.allclose(layer(x), plain, atol=1e-6)


# --- ways down and up, norms ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("up", [ResizeUp, BlurredUp])
def test_ways_up_double_any_size_and_have_a_bias_if_asked(up: Any) -> None:
    for bias in (True, False):
        layer = up(3, 5, bias=bias)
        assert layer(torch.randn(2, 3, 7, 4)).shape == (2, 5, 14, 8)
        assert sum(name.endswith("bias") for name, _ in layer.named_parameters()) == bias
        assert set(layer.state_dict()) <= {"2.weight", "2.bias"}  # no filter in a file


def test_ways_up_draw_no_checkerboard_where_transposed_convolutions_do() -> None:
    """Random weights, a flat picture: what is not flat in the middle is a pattern of the layer."""
    torch.manual_seed(0)
    flat = torch.ones(1, 4, 12, 12)
    for made in (ResizeUp(4, 4), BlurredUp(4, 4)):
        inside = made(flat)[:, :, 6:-6, 6:-6]
        assert (inside - inside.mean((2, 3), keepdim=True)).abs().max() < 1e-6
    plain = nn.ConvTranspose2d(4, 4, 4, 2, 1)(flat)[:, :, 6:-6, 6:-6]
    assert (plain - plain.mean((2, 3), keepdim=True)).abs().max() > 0.05


def test_the_way_down_with_a_blur_minds_a_shift_less() -> None:
    """Of noise moved by a pixel: the result is nearer to the old one moved by half a pixel than a strided one's is."""
    torch.manual_seed(0)
    x = torch.randn(4, 3, 64, 64)
    blurred = BlurredDown(3, 8)
    strided = nn.Conv2d(3, 8, 3, 2, 1)
    strided.load_state_dict({key.removeprefix("0."): value for key, value in blurred.state_dict().items()})

    def minds(layer: nn.Module) -> Tensor:
        one, other = layer(x)[:, :, 4:-4, 4:-4], layer(x.roll(1, 3))[:, :, 4:-4, 4:-4]
        return (one - other).square().mean() / one.var()

    assert blurred(x).shape == strided(x).shape == (4, 8, 32, 32)
    assert minds(blurred) < 0.5 * minds(strided)


def test_group_norm_takes_channels_alone() -> None:
    for channels, groups in ((64, 32), (48, 16), (6, 2), (5, 1)):
        assert GroupNorm(channels).num_groups == groups
    x = torch.randn(2, 6, 4, 4)
    assert torch.allclose(GroupNorm(6, groups=3)(x), nn.GroupNorm(3, 6)(x))


@pytest.mark.parametrize("norm", [BatchNorm, StoredBatchNorm, InstanceNorm, GroupNorm])
def test_generators_and_critics_take_any_norm_and_any_channels(norm: Any) -> None:
    x = torch.randn(2, 5, 64, 64)
    resnets = [kind(5, 2, width=4, blocks=1, norm=norm) for kind in (ResnetGenerator, AntialiasedResnet)]
    for generator in (UnetGenerator(5, 2, width=4, depth=4, norm=norm), *resnets):
        assert generator(x).shape == (2, 2, 64, 64)
        assert generator.card().channels == (5, 2)
    critics = [PatchDiscriminator(5, width=4, norm=norm), SRDiscriminator(5, width=2, size=32, norm=norm)]
    assert all(len(critic(x)) == 2 for critic in [*critics, UNetDiscriminator(5, width=4)])


@pytest.mark.parametrize("way", ["ResizeUp", "BlurredUp"])
def test_generators_with_other_ways_travel_as_files(way: str, tmp_path: Path) -> None:
    up = f"i2i.layers:{way}"
    for kind, more in (
        (UnetGenerator, {"depth": 3}),
        (ResnetGenerator, {"blocks": 1, "down": "i2i.layers:BlurredDown"}),
    ):
        spec = Spec.to(kind, width=4, up=up, norm="i2i.layers:GroupNorm", **more)
        network = spec.build()
        save_generator(tmp_path / "x.safetensors", network, spec, network.card())
        loaded = load_generator(tmp_path / "x.safetensors")
        x = torch.randn(1, 3, 32, 40)
        assert torch.equal(loaded(x), network.eval()(x))


def test_the_papers_ways_are_the_default_to_the_bit() -> None:
    """Weights that were trained before there was a choice have these names."""
    names = [f"{block}.{name}" for block in (0, 1) for name in ("1.weight", "2.weight", "2.bias")]
    assert list(UnetGenerator(width=2, depth=3).up.state_dict()) == names
    layers = [type(layer) for layer in ResnetGenerator(width=2, blocks=1).layers]
    assert layers.count(nn.ConvTranspose2d) == 2 and [
        layer.stride for layer in ResnetGenerator(width=2, blocks=1).layers if isinstance(layer, nn.Conv2d)
    ] == [(1, 1), (2, 2), (2, 2), (1, 1)]


# --- spectral norm ----------------------------------------------------------------------------------------------------


def norms(game: Pix2Pix) -> list[SpectralNorm]:
    return [module for module in game.on_pair.modules() if isinstance(module, SpectralNorm)]


def test_spectral_norm_of_a_whole_critic_and_the_trainer_follows_it(tmp_path: Path) -> None:
    patch = Spec.to(PatchDiscriminator, channels=6, width=4, field=16, norm="torch.nn:Identity")
    critic = Spec.to(with_spectral_norm, network=patch)
    torch.manual_seed(0)
    game = Pix2Pix(Spec.to(UnetGenerator, width=4, depth=4, dropout=0.0), critic, rule=HINGE, optimizer=FAST)
    begun = [norm.u.clone() for norm in norms(game)]
    trainer = Trainer(game, Noise(), Training(images=12, threads=1), tmp_path, device="cpu", say=lambda text: None)
    trainer.run(quiet=True)
    layers = [layer for layer in game.on_pair.modules() if isinstance(layer, nn.Conv2d)]
    assert len(layers) == 3
    for layer in layers:
        assert 0.9 < torch.linalg.matrix_norm(layer.weight.flatten(1), 2) < 1.15
        norm, original = layer.parametrizations.weight[0], layer.parametrizations.weight.original  # type: ignore[index, union-attr]
        u = norm.u.clone()
        norm.iterate(original)  # it has followed the weight, which Adam has moved a long way, and has little to add
        assert (norm.u @ u).abs() > 0.95
    moved = [not torch.equal(before, now.u) for before, now in zip(begun, norms(game), strict=True)]
    assert moved == [True, True, False]  # the last layer has one filter, so its vector can only be 1
    assert_sound(lambda: Pix2Pix(Spec.to(UnetGenerator, width=4, depth=4, dropout=0.0, norm=INSTANCE), critic), Noise())


def test_spectral_norm_is_the_same_when_recomputed() -> None:
    """Activation checkpointing runs a forward pass twice: the second must not find other weights."""
    torch.manual_seed(0)
    critic = with_spectral_norm(PatchDiscriminator(3, width=4, field=16)).train()
    x = torch.randn(2, 3, 16, 16)
    gradients = []
    for run in (critic, lambda x: checkpoint(critic, x, use_reentrant=False)):
        critic.zero_grad()
        run(x).square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in critic.parameters()])  # type: ignore[union-attr]
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
