"""Super-resolution networks of other programs become generator files that compute the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from originals import BSRGAN, NEW, OLD, SRRESNETS, Original, msrresnet, rrdb, srresnet
from torch import Tensor
from torch.nn import functional as F

from i2i.checkpoint import save_generator
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.zoo import load_generator
from i2i.zoo.convert import LAYOUTS, Converted, convert

Run = Callable[[Original, Tensor], Tensor]


def picture(height: int = 24, width: int = 20, channels: int = 3) -> Tensor:
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(9))


def saved(net: Original, run: Run, folder: Path, *, channels: int = 3, inside: str = "") -> Path:
    """The checkpoint that the original would leave."""
    run(net, picture(channels=channels))
    path = folder / "weights.pth"
    torch.save({inside: net.tensors} if inside else dict(net.tensors), path)
    return path


def stored(made: Converted, folder: Path) -> Any:
    """What is loaded of the file that is written of it."""
    path = folder / "converted.safetensors"
    save_generator(path, made.network, made.spec, made.card)
    return load_generator(path)


def in_unit(network: Any, x: Tensor) -> Tensor:
    """What a network of ours draws, in [0,1]."""
    low, high = network.card.value_range[1]
    return (network(x) - low) / (high - low)


def apart(x: Tensor, y: Tensor) -> float:
    return float((x - y).abs().max())


def refusal(path: Path, **more: Any) -> str:
    with pytest.raises(UserError) as caught:
        convert(path, **more)
    said = str(caught.value)
    assert "\n" not in said
    return said


RRDBS: dict[str, tuple[str, dict[str, Any]]] = {
    "old names": ("rrdb_2blocks_x4", {"names": OLD}),
    "old names, enlarging not at all": ("rrdb_2blocks_x1", {"names": OLD, "ups": 0}),
    "old names, once": ("rrdb_2blocks_x2", {"names": OLD, "ups": 1}),
    "old names, three times": ("rrdb_1blocks_x8", {"names": OLD, "ups": 3, "blocks": 1}),
    "old names, unshuffled": ("rrdb_1blocks_x2", {"names": OLD, "unshuffle": 2, "blocks": 1}),
    "Real-ESRGAN": ("rrdb_2blocks_x4", {"names": NEW}),
    "Real-ESRGAN x2": ("rrdb_2blocks_x2", {"names": NEW, "unshuffle": 2}),
    "Real-ESRGAN x1": ("rrdb_2blocks_x1", {"names": NEW, "unshuffle": 4}),
    "another width": ("rrdb_1blocks_x4", {"names": NEW, "width": 12, "growth": 6, "blocks": 1}),
    "BSRGAN": ("rrdb_2blocks_x4", {"names": BSRGAN}),
}


@pytest.mark.parametrize("name", RRDBS)
@torch.no_grad()
def test_an_rrdbnet_computes_what_the_original_does(name: str, tmp_path: Path) -> None:
    layout, shape = RRDBS[name]
    net, run = Original(), partial(rrdb, **shape)
    made = convert(saved(net, run, tmp_path, inside="params_ema" if "Real" in name else ""))
    assert f"({layout})" in " ".join(made.said)
    again = stored(made, tmp_path)
    engine = Engine(again, precision="fp32", device="cpu")
    expected = run(net, picture())
    assert expected.std() > 0.1
    assert apart(again(picture()), expected) < 1e-5
    assert apart(engine(picture()), expected.clamp(0, 1)) < 1e-5 or apart(engine(picture()), expected) < 1e-5


@torch.no_grad()
def test_sizes_that_cannot_be_unshuffled_are_padded_as_the_original_does(tmp_path: Path) -> None:
    net, run = Original(), partial(rrdb, unshuffle=2)
    made = convert(saved(net, run, tmp_path))
    x = picture(13, 11)
    expected = run(net, F.pad(x, (0, 1, 0, 1), "reflect"))[:, :, :26, :22]
    assert apart(Engine(stored(made, tmp_path), precision="fp32", device="cpu")(x), expected) < 1e-5


@torch.no_grad()
def test_real_esrgans_true_size(tmp_path: Path) -> None:
    net, run = Original(), partial(rrdb, width=64, growth=32, blocks=6)
    made = convert(saved(net, run, tmp_path, inside="params_ema"), layout="rrdb_6blocks_x4")
    assert sum(value.numel() for value in made.network.parameters()) == 4_467_779
    assert apart(made.network(picture()), run(net, picture())) < 1e-5


@pytest.mark.parametrize(("inputs", "outputs", "unshuffle"), [(1, 1, 1), (4, 4, 1), (1, 1, 2), (3, 1, 1)])
@torch.no_grad()
def test_any_number_of_channels(inputs: int, outputs: int, unshuffle: int, tmp_path: Path) -> None:
    net, run = Original(), partial(rrdb, outputs=outputs, unshuffle=unshuffle, blocks=1)
    made = convert(saved(net, run, tmp_path, channels=inputs))
    assert made.card.channels == (inputs, outputs)
    assert apart(made.network(picture(channels=inputs)), run(net, picture(channels=inputs))) < 1e-5


def test_what_one_enlargement_is_had_to_be_guessed(tmp_path: Path) -> None:
    assert "taken as twice" in " ".join(convert(saved(Original(), partial(rrdb, names=OLD, ups=1), tmp_path)).said)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("mmsr", [False, True])
@torch.no_grad()
def test_an_msrresnet_computes_what_the_original_does(scale: int, mmsr: bool, tmp_path: Path) -> None:
    net, run = Original(), partial(msrresnet, scale=scale, mmsr=mmsr)
    made = convert(saved(net, run, tmp_path), layout=f"msrresnet_2blocks_x{scale}")
    again, expected = stored(made, tmp_path), run(net, picture())
    assert expected.std() > 0.1
    assert apart(again(picture()), expected) < 1e-5
    assert made.card.value_range == ((0, 1), (0, 1))


PROGRAMS = ["leftthomas", *SRRESNETS]


@pytest.mark.parametrize(
    ("program", "ups"), [(one, ups) for one in PROGRAMS for ups in (1, 2, 3) if ups == 2 or "twtygqyy" not in one]
)
@torch.no_grad()
def test_an_srresnet_computes_what_the_original_does(program: str, ups: int, tmp_path: Path) -> None:
    net, run = Original("batch"), partial(srresnet, program=program, ups=ups)
    made = convert(saved(net, run, tmp_path), layout=f"srresnet_2blocks_x{2**ups}")
    again, expected = stored(made, tmp_path), run(net, picture())
    assert expected.std() > 0.1
    assert apart(in_unit(again, picture()).clamp(0, 1), expected) < 1e-5
    assert made.card.mode == ("deterministic" if program == "twtygqyy" else "stored")


@torch.no_grad()
def test_an_srresnet_of_scale_three(tmp_path: Path) -> None:
    net, run = Original("batch"), partial(srresnet, program="lornatang", ups=1, step=3)
    made = convert(saved(net, run, tmp_path), layout="srresnet_2blocks_x3")
    assert apart(made.network(picture()).clamp(0, 1), run(net, picture())) < 1e-5


@torch.no_grad()
def test_an_srresnets_true_size(tmp_path: Path) -> None:
    net, run = Original("batch"), partial(srresnet, program="lornatang", width=64, blocks=16)
    made = convert(saved(net, run, tmp_path, inside="state_dict"), layout="srresnet_16blocks_x4")
    assert sum(value.numel() for value in made.network.parameters()) == 1_549_462 - 33 * 64  # no bias before a norm
    assert apart(made.network(picture()).clamp(0, 1), run(net, picture())) < 1e-5


ALL: dict[str, Run] = {
    "old": partial(rrdb, names=OLD),
    "new": partial(rrdb, names=NEW),
    "BSRGAN": partial(rrdb, names=BSRGAN),
    "MSRResNet": msrresnet,
    **{program: partial(srresnet, program=program) for program in PROGRAMS},
}


@pytest.mark.parametrize("name", ALL)
def test_every_tensor_is_needed_and_no_other_is_taken(name: str, tmp_path: Path) -> None:
    net = Original("batch")
    path = saved(net, ALL[name], tmp_path)
    assert "-> 3 channels, x4" in convert(path).said[-1]
    needed = [key for key in net.tensors if not key.endswith("num_batches_tracked")]
    for gone in needed:
        torch.save({key: value for key, value in net.tensors.items() if key != gone}, path)
        said = refusal(path)
        assert "is half a checkpoint: 1 of the" in said or "it comes from a program unknown here" in said or (
            "is no generator known here" in said
        ), (gone, said)  # fmt: skip
    torch.save(dict(list(net.tensors.items())[: len(net.tensors) * 2 // 3]), path)
    assert "is half a checkpoint" in refusal(path)
    torch.save({**net.tensors, "attention.weight": torch.zeros(4)}, path)
    assert "holds 1 that it does not have, such as 'attention.weight' [4]" in refusal(path)


def test_a_wrong_layout_is_told_what_it_is(tmp_path: Path) -> None:
    path = saved(Original(), rrdb, tmp_path)
    said = refusal(path, layout="rrdb_23blocks_x4")
    assert "is no rrdb_23blocks_x4: it is an RRDBNet of 2 blocks, width 8, 3 -> 3 channels, x4, growth 4" in said
    assert "(did you mean 'rrdb_23blocks_x4'?)" in refusal(path, layout="rrdb_23block_x4")
    assert "rrdb_6blocks_x4" in LAYOUTS


def test_hostile_numbers_build_nothing(tmp_path: Path) -> None:
    for name in ("body.99999999.rdb1.conv1.weight", "model.1.sub.9999.RDB1.conv1.0.weight", "trunk.99999.rcb.0.weight"):
        path = tmp_path / "weights.pth"
        torch.save({name: torch.zeros(0, 0, 3, 3), "conv_first.weight": torch.zeros(0, 0, 3, 3)}, path)
        assert "is no generator known here" in refusal(path)
