"""The engine's promises: any size, any kind of image, and an output that depends on pixels, model and seed alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from i2i import layers
from i2i.engine import Engine, fast_bf16, reflected
from i2i.errors import UserError
from i2i.game import Card
from i2i.memory import bytes_per_pixel
from i2i.translation.cyclegan import ResnetGenerator
from i2i.translation.pix2pix import UnetGenerator

CPU = torch.device("cpu")


def carded(network: nn.Module, card: Card) -> nn.Module:
    network.card = card  # type: ignore[assignment]
    return network.eval()


def resnet(**changes: object) -> nn.Module:
    torch.manual_seed(0)
    network = ResnetGenerator(3, 3, width=4, blocks=1)
    return carded(network, replace(network.card(), **changes))  # type: ignore[arg-type]


def unet() -> nn.Module:
    torch.manual_seed(0)
    network = UnetGenerator(3, 3, width=4, depth=5)
    return carded(network, network.card())


def pictures(*sizes: tuple[int, ...]) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, size, dtype=np.uint8) for size in sizes]


class Same(nn.Module):
    """Gives its input back."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class Twice(nn.Module):
    """Every pixel four times."""

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_fp32_is_the_plain_network_to_the_bit() -> None:
    network = resnet()
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    engine = Engine(network, precision="fp32")
    with torch.no_grad():
        assert torch.equal(engine(x), layers.test_time(network, "deterministic")(x))


def test_bf16_is_within_a_level_and_a_half() -> None:
    image = pictures((64, 64, 3))
    exact = Engine(resnet(), precision="fp32").run(image)[0].astype(int)
    assert np.abs(Engine(resnet(), precision="bf16", say=print).run(image)[0] - exact).mean() < 1.5


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (37, 3), (33, 64), (100, 31)])
@pytest.mark.parametrize("make", [resnet, unet])
def test_any_size_keeps_its_size(size: tuple[int, int], make: type) -> None:
    assert Engine(make(), precision="fp32").run(pictures((*size, 3)))[0].shape == (*size, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_identity_gives_every_value_back(dtype: type) -> None:
    card = Card(multiple=8, minimum=16)
    top = np.iinfo(dtype).max
    image = np.linspace(0, top, 50 * 7 * 3).astype(dtype).reshape(50, 7, 3)
    for low, high in ((-1.0, 1.0), (0.0, 1.0)):
        engine = Engine(carded(Same(), replace(card, value_range=((low, high), (low, high)))), precision="fp32")
        assert np.array_equal(engine.run([image])[0], image)
        assert np.array_equal(engine(image[..., 0])[..., 1], image[..., 0])  # gray is replicated


def test_sixteen_bits_go_through_fp32_whatever_auto_takes() -> None:
    image = np.arange(16 * 16 * 3, dtype=np.uint16).reshape(16, 16, 3) * 80
    assert np.array_equal(Engine(carded(Same(), Card())).run([image])[0], image)


def test_the_same_kind_comes_back() -> None:
    engine = Engine(resnet(), precision="fp32")
    image = pictures((40, 50, 3))[0]
    done = engine(image)
    assert np.array_equal(np.asarray(engine(Image.fromarray(image))), done)
    as_float = engine(image.astype(np.float32) / 255)
    assert as_float.dtype == np.float32 and np.abs(as_float * 255 - done).max() <= 0.5001
    tensor = torch.from_numpy(image).permute(2, 0, 1) / 127.5 - 1
    single, batch = engine(tensor), engine(tensor[None])
    assert single.shape == (3, 40, 50) and torch.equal(single, batch[0])
    clear = Image.fromarray(np.dstack([image, image[..., 0]]))
    assert np.array_equal(np.asarray(engine(clear))[..., 3], image[..., 0])  # alpha is carried


def test_scale_is_the_card_s() -> None:
    engine = Engine(carded(Twice(), Card(scale=2, multiple=4)), precision="fp32")
    image = pictures((5, 6, 4))[0]
    done = engine(image)
    assert done.shape == (10, 12, 4)
    shown = image[..., 3] > 15  # what alpha hides takes its colour from around it
    assert np.array_equal(done[::2, ::2, :3][shown], image[..., :3][shown])


def test_channels_fit_or_are_refused() -> None:
    assert Engine(carded(Same(), Card(channels=(1, 1)))).run(pictures((9, 9, 3)))[0].shape == (9, 9)
    with pytest.raises(UserError, match="takes 3 channels"):
        Engine(resnet()).run(pictures((9, 9, 5)))
    with pytest.raises(UserError, match="takes tensors"):
        Engine(resnet())(torch.zeros(1, 9, 9))


@pytest.mark.parametrize("mode", ["deterministic", "paper"])
def test_an_image_s_output_does_not_depend_on_its_company(mode: str) -> None:
    images = pictures((32, 32, 3), (32, 32, 3), (20, 40, 3), (32, 32, 3), (32, 32))
    alone = [Engine(unet(), precision="fp32", mode=mode, seed=3).run([image])[0] for image in images]
    engine = Engine(unet(), precision="fp32", mode=mode, seed=3, batch=3)
    for order in ([0, 1, 2, 3, 4], [3, 1, 0, 2, 4], [4, 2]):
        for place, result in zip(order, engine.run([images[i] for i in order]), strict=True):
            assert np.abs(result.astype(int) - alone[place]).max() <= 1  # rounding


def test_the_paper_s_mode_depends_on_the_seed_and_the_content() -> None:
    image = pictures((32, 32, 3))[0]
    one, again, other = (Engine(unet(), precision="fp32", mode="paper", seed=s).run([image])[0] for s in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    plain = [Engine(unet(), precision="fp32", mode="deterministic", seed=s).run([image])[0] for s in (1, 2)]
    assert np.array_equal(*plain)


def test_padding_reflects_again_and_again() -> None:
    assert reflected(3, 10).tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0, 1]
    assert reflected(1, 4).tolist() == [0, 0, 0, 0]


class Overflows(nn.Module):
    """Finite in fp32 alone."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.dtype == torch.float32 else x * float("nan")


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 0


def test_what_is_not_finite_is_computed_again_in_fp32_and_said() -> None:
    said: list[str] = []
    image = pictures((8, 8, 3))[0]
    engine = Engine(carded(Overflows(), Card()), precision="bf16", say=said.append)
    assert np.array_equal(engine.run([image])[0], image)
    assert any("not finite in bf16" in sentence for sentence in said)
    with pytest.raises(UserError, match="not finite"):
        Engine(carded(Broken(), Card()), precision="fp32").run([image])


class Greedy(nn.Module):
    """Asks for more memory than any machine has when it sees more than two images."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 2:
            torch.empty(1 << 60, dtype=torch.uint8)
        return x


def test_a_batch_too_large_for_memory_is_halved_and_said() -> None:
    said: list[str] = []
    images = pictures(*[(8, 8, 3)] * 9)
    engine = Engine(carded(Greedy(), Card()), precision="fp32", batch=8, say=said.append)
    for image, result in zip(images, engine.run(images), strict=True):
        assert np.array_equal(image, result)
    assert engine.batch == 2 and len(said) == 2 and "does not fit into memory" in said[0]


class Wide(nn.Module):
    """Wants megabytes per pixel, but only of large images."""

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat(1, 1_000_000, 1, 1)[:, :3] if x.shape[2] > 100 else x


def test_an_image_too_large_for_memory_is_refused_in_a_sentence_before_it_is_tried() -> None:
    results = Engine(carded(Wide(), Card()), precision="fp32").attempt(pictures((1100, 1000, 3), (8, 8, 3)))
    assert isinstance(results[0], UserError) and "1000 x 1100 pixels are too many" in str(results[0])
    assert results[1].shape == (8, 8, 3)


def test_the_appetite_is_at_least_two_layers() -> None:
    network = resnet()
    assert 2 * 4 * 4 <= bytes_per_pixel(network, network.card, torch.float32) <= 20 * 4 * 4  # type: ignore[arg-type]


def test_devices_and_modes_that_are_not_there_are_said() -> None:
    for ask, said in (({"device": "tpu"}, "no device"), ({"mode": "paper"}, "no mode 'paper'"),
                      ({"precision": "int8"}, "no precision"), ({"batch": 0}, "batch of 0")):  # fmt: skip
        with pytest.raises(UserError, match=said):
            Engine(resnet(), **ask)  # type: ignore[arg-type]
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="CUDA was asked for"):
            Engine(resnet(), device="cuda")


def test_the_generator_itself_is_left_alone() -> None:
    network = resnet()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    Engine(network, precision="bf16", say=print).run(pictures((32, 32, 3)))
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_auto_takes_bf16_only_where_there_are_units() -> None:
    assert Engine(resnet()).precision == ("bf16" if fast_bf16(CPU) else "fp32") or torch.cuda.is_available()
