"""Checkpoints of the original programs become generator files that compute the same; all else is said what it is."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from originals import Original, resnet, save_as_in_2017, unet
from torch import Tensor
from torch.nn import functional as F

from i2i import cli, layers
from i2i.checkpoint import digest, read_header, save_generator
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.layers import Dropout
from i2i.zoo import load_generator
from i2i.zoo.convert import Converted, convert

Run = Callable[[Original, Tensor], Tensor]


def picture(height: int = 64, width: int = 64, channels: int = 3) -> Tensor:
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(9)) * 2 - 1


def saved(net: Original, run: Run, folder: Path, *, channels: int = 3, size: int = 64, prefix: str = "") -> Path:
    """The checkpoint that the original would leave."""
    run(net, picture(size, size, channels))
    path = folder / "latest_net_G.pth"
    torch.save({prefix + key: value for key, value in net.tensors.items()}, path)
    return path


def stored(made: Converted, folder: Path) -> Any:
    """What is loaded of the file that is written of it."""
    path = folder / "converted.safetensors"
    save_generator(path, made.network, made.spec, made.card)
    return load_generator(path)


def apart(x: Tensor, y: Tensor) -> float:
    return float((x - y).abs().max())


RESNETS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet_9blocks": ("instance", {"blocks": 9}),
    "resnet_9blocks of 2017": ("tracked", {"blocks": 9}),
    "resnet_9blocks, batch norm": ("batch", {"blocks": 9}),
    "resnet_6blocks": ("instance", {"blocks": 6}),
    "resnet_1blocks, dropout": ("batch", {"blocks": 1, "dropout": True}),
    "resnet_2blocks, zeros": ("instance", {"blocks": 2, "zeros": True}),
    "resnet_2blocks, zeros, dropout": ("instance", {"blocks": 2, "zeros": True, "dropout": True}),
    "resnet_2blocks, no norm": ("none", {"blocks": 2}),
    "cut_resnet_9blocks": ("instance", {"blocks": 9, "down": True, "up": True}),
    "cut_resnet_9blocks, batch norm": ("batch", {"blocks": 9, "down": True, "up": True, "dropout": True}),
    "cut_resnet_2blocks, half": ("instance", {"blocks": 2, "down": True}),
    "cut_resnet_2blocks, other half": ("instance", {"blocks": 2, "up": True}),
}


@pytest.mark.parametrize("name", RESNETS)
@torch.no_grad()
def test_a_resnet_computes_what_the_original_does(name: str, tmp_path: Path) -> None:
    norm, shape = RESNETS[name]
    net, run = Original(norm), partial(resnet, **shape)
    made = convert(saved(net, run, tmp_path))
    assert made.spec.kwargs["width"] == 4
    assert f"({name.split(',')[0].split(' ')[0]})" in " ".join(made.said)
    again = stored(made, tmp_path)
    engine = Engine(again, precision="fp32", device="cpu")
    for height, width in ((256, 256), (300, 400)):
        x = picture(height, width)
        expected = run(net, x)
        assert expected.std() > 0.1
        assert apart(again(x), expected) < 1e-5
        assert apart(engine(x), expected) < 1e-5


UNETS = {
    "unet_256": ("batch", 8),
    "unet_256, instance norm": ("instance", 8),
    "unet_256 of 2017": ("tracked", 8),
    "unet_128": ("batch", 7),
    "unet_128, instance norm": ("instance", 7),
    "unet_32": ("batch", 5),
}


@pytest.mark.parametrize("name", UNETS)
@torch.no_grad()
def test_a_unet_computes_what_the_original_does(name: str, tmp_path: Path) -> None:
    norm, depth = UNETS[name]
    net, run = Original(norm), partial(unet, depth=depth)
    made = convert(saved(net, run, tmp_path, size=256))
    assert f"({name.split(',')[0].split(' ')[0]})" in " ".join(made.said)
    again = stored(made, tmp_path)
    engine = Engine(again, precision="fp32", device="cpu")
    for height, width in ((256, 256), (512, 256)):
        x = picture(height, width)
        expected = run(net, x)
        assert expected.std() > 0.1
        assert apart(again(x), expected) < 1e-5
        assert apart(engine(x), expected) < 1e-5
    step, x = 2**depth, picture(300, 400)
    below, right = -300 % step, -400 % step
    padded = F.pad(x, (0, right, 0, below), "reflect")
    assert apart(engine(x), run(net, padded)[:, :, :300, :400]) < 1e-5


@torch.no_grad()
def test_the_originals_true_width(tmp_path: Path) -> None:
    net, run = Original("tracked"), partial(resnet, width=64)
    made = convert(saved(net, run, tmp_path, prefix="module."))
    assert sum(value.numel() for value in made.network.parameters()) == 11_378_179  # as the original prints
    assert apart(made.network(picture()), run(net, picture())) < 1e-5


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 3), (3, 1), (4, 2)])
@torch.no_grad()
def test_any_number_of_channels(inputs: int, outputs: int, tmp_path: Path) -> None:
    for run, size in ((partial(resnet, outputs=outputs, blocks=2), 64), (partial(unet, outputs=outputs, depth=6), 64)):
        net = Original("batch")
        made = convert(saved(net, run, tmp_path, channels=inputs, size=size))
        assert made.card.channels == (inputs, outputs)
        assert apart(made.network(picture(channels=inputs)), run(net, picture(channels=inputs))) < 1e-5


@pytest.mark.parametrize("norm", ["instance", "batch"])
@torch.no_grad()
def test_biases_where_the_original_has_none_and_none_where_it_has(norm: str, tmp_path: Path) -> None:
    net, run = Original("tracked" if norm == "instance" else "batch", bias=norm == "batch"), partial(resnet, blocks=2)
    made = convert(saved(net, run, tmp_path))
    assert made.spec.kwargs["bias"] == (norm == "batch")
    assert apart(made.network(picture()), run(net, picture())) < 1e-5


@torch.no_grad()
def test_the_format_of_2017(tmp_path: Path) -> None:
    net, run = Original("tracked"), partial(resnet, blocks=6)
    expected = run(net, picture())
    path = tmp_path / "horse2zebra.pth"
    floats = {key: value for key, value in net.tensors.items() if value.is_floating_point()}
    save_as_in_2017(floats, path)
    assert not path.read_bytes().startswith(b"PK")
    made = convert(path, layout="resnet_6blocks")
    assert apart(made.network(picture()), expected) < 1e-5
    assert "the running statistics of its instance norm" in made.said[-1]


@torch.no_grad()
def test_statistics_of_batch_norm_are_a_mode(tmp_path: Path) -> None:
    net, run = Original("batch"), partial(unet, depth=6)
    made = convert(saved(net, run, tmp_path))
    assert made.card.modes == ("stored", "deterministic", "paper")
    assert made.card.mode == "stored"
    again, x = stored(made, tmp_path), picture()
    as_stored = Engine(again, precision="fp32", device="cpu")(x)
    of_its_own = Engine(again, precision="fp32", device="cpu", mode="deterministic")(x)
    noisy = Engine(again, precision="fp32", device="cpu", mode="paper")(x)
    assert apart(as_stored, run(net, x)) < 1e-5
    net.kind = "own"  # what the original computes for one image when it is not told --eval
    assert apart(of_its_own, run(net, x)) < 1e-5
    assert apart(noisy, of_its_own) > 1e-3


def test_dropout_is_where_the_original_has_it(tmp_path: Path) -> None:
    for depth, where in ((8, ["up.1.3", "up.2.3", "up.3.3"]), (7, ["up.1.3", "up.2.3"]), (5, [])):
        made = convert(saved(Original("batch"), partial(unet, depth=depth), tmp_path, size=256))
        assert [name for name, module in made.network.named_modules() if isinstance(module, Dropout)] == where
        assert ("paper" in made.card.modes) == bool(where)
    made = convert(saved(Original(), partial(resnet, blocks=1, dropout=True), tmp_path))
    found = [name for name, module in made.network.named_modules() if isinstance(module, Dropout)]
    assert found == ["layers.10.layers.4"]
    assert made.card.modes == ("deterministic", "paper")
    assert layers.modes(convert(saved(Original(), partial(resnet, blocks=1), tmp_path)).network) == ("deterministic",)


def test_weights_of_half_precision_become_float32(tmp_path: Path) -> None:
    net = Original("batch")
    path = saved(net, partial(resnet, blocks=1, down=True, up=True), tmp_path)
    torch.save({key: value.half() if value.is_floating_point() else value for key, value in net.tensors.items()}, path)
    made = convert(path)
    assert {value.dtype for value in made.network.state_dict().values()} == {torch.float32}


def test_the_card_says_where_it_comes_from(tmp_path: Path) -> None:
    path = saved(Original(), partial(resnet, blocks=1), tmp_path)
    card = convert(path).card
    assert (card.a, card.b) == ("A", "B")
    assert card.origin.notes.startswith(f"converted from latest_net_G.pth, sha256 {digest(path)}, a ResNet of 1 block")
    assert card.origin.data == "unknown"
    assert card.origin.terms.startswith("unknown")


def test_the_network_does_not_depend_on_the_file(tmp_path: Path) -> None:
    net, run = Original(), partial(resnet, blocks=1)
    path = saved(net, run, tmp_path)
    network = convert(path).network
    path.write_bytes(bytes(path.stat().st_size))  # would change the weights if they were still mapped
    assert apart(network(picture()), run(net, picture())) < 1e-5


# --- which of several


def wrapped(folder: Path, held: Any) -> Path:
    path = folder / "wrapped.pth"
    torch.save(held, path)
    return path


@pytest.fixture
def generator() -> dict[str, Tensor]:
    net = Original()
    resnet(net, picture(32, 32), blocks=1, width=2)
    return dict(net.tensors)


@pytest.fixture
def judge() -> dict[str, Tensor]:
    return {"model.0.weight": torch.rand(2, 3, 4, 4), "model.2.weight": torch.rand(1, 2, 4, 4)}


WRAPPERS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "state_dict": (lambda g, d: {"state_dict": g, "epoch": 5}, "took 'state_dict'"),
    "params_ema": (lambda g, d: {"params": {**g, "model.1.weight": g["model.1.weight"] * 0}, "params_ema": g},
                   "took 'params_ema', not params"),
    "netG": (lambda g, d: {"netG": g, "netD": d, "optimizer_G": {"state": {0: d}, "param_groups": []}},
             "took 'netG', not netD"),
    "module": (lambda g, d: {f"module.{key}": value for key, value in g.items()}, ""),
    "compiled": (lambda g, d: {f"_orig_mod.module.{key}": value for key, value in g.items()}, ""),
    "compiled inside": (lambda g, d: {key.replace("el.", "el._orig_mod."): value for key, value in g.items()}, ""),
    "twice": (lambda g, d: {"model": {"generator": {f"module.{key}": value for key, value in g.items()}}},
              "took 'generator'"),
    "flat": (lambda g, d: {f"netG.{key}": value for key, value in g.items()}
             | {f"netD.{key}": value for key, value in d.items()}, "took 'netG', not netD"),
    "attribute": (lambda g, d: {f"net.{key}": value for key, value in g.items()}, ""),
    "parameters": (lambda g, d: {key: torch.nn.Parameter(value) for key, value in g.items()}, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_are_unwrapped(name: str, generator: Any, judge: Any, tmp_path: Path) -> None:
    wrap, said = WRAPPERS[name]
    made = convert(wrapped(tmp_path, wrap(generator, judge)))
    assert any(said in sentence for sentence in made.said)
    assert torch.equal(made.network.state_dict()["layers.1.weight"], generator["model.1.weight"])
    assert not any(parameter.requires_grad for parameter in made.network.parameters())


def test_two_generators_are_a_choice_for_the_user(generator: Any, judge: Any, tmp_path: Path) -> None:
    path = wrapped(tmp_path, {"netG_A": generator, "netG_B": generator, "netD_A": judge, "epoch": 3})
    with pytest.raises(UserError) as caught:
        convert(path)
    said = str(caught.value)
    assert "holds several networks (netG_A, netG_B); save the one that is meant alone" in said
    advice = said.split('`python -c "')[1].split('"`')[0]
    subprocess.run([sys.executable, "-c", advice], cwd=tmp_path, check=True)
    assert convert(tmp_path / "netG_A.pth")


# --- what it is instead


def refusal(path: Path, **more: Any) -> str:
    with pytest.raises(UserError) as caught:
        convert(path, **more)
    said = str(caught.value)
    assert "\n" not in said
    assert str(path) in said
    return said


def kernels(*shapes: tuple[int, int, int], start: str = "model.", step: int = 3) -> dict[str, Tensor]:
    """Convolutions (filters, channels, size) in a row."""
    return {f"{start}{step * place}.weight": torch.zeros(a, b, c, c) for place, (a, b, c) in enumerate(shapes)}


OTHERS: dict[str, tuple[dict[str, Tensor], str]] = {
    "patch": (kernels((8, 6, 4), (16, 8, 4), (1, 16, 4)), "is a patch discriminator: it judges pictures and makes no"),
    "pixel": (kernels((8, 6, 1), (16, 8, 1), (1, 16, 1), start="net."), "is a pixel discriminator: it judges"),
    "scales": (kernels((8, 6, 4), (1, 8, 4), start="scale0_") | kernels((8, 6, 4), (1, 8, 4), start="scale1_"),
               "is a patch discriminator of 2 scales: it judges"),
    "heads": ({"mlp_0.0.weight": torch.zeros(256, 3), "mlp_0.0.bias": torch.zeros(256)}, "(netF) that CUT's loss"),
    "stylegan2": ({"encoder.convs.1.0.weight": torch.zeros(8, 3, 1, 1), "decoder.convs.0.bias": torch.zeros(3)},
                  "is CUT's generator of StyleGAN2's type"),
    "stylegan2 judge": ({"convs.0.0.weight": torch.zeros(8, 3, 1, 1), "final_linear.0.weight": torch.zeros(1, 8)},
                        "is a StyleGAN2 discriminator"),
    "some enlarger": ({"conv_first.weight": torch.zeros(64, 3, 3, 3), "body.0.weight": torch.zeros(3)},
                      "is no generator known here: its 2 tensors begin with 'conv_first.weight' [64, 3, 3, 3]"),
    "classifier": ({"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.bias": torch.zeros(10)},
                   "is no generator known here: its 2 tensors begin with 'conv1.weight' [64, 3, 7, 7]"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_generator_is_named(name: str, tmp_path: Path) -> None:
    tensors, said = OTHERS[name]
    assert said in refusal(wrapped(tmp_path, tensors))
    assert said in refusal(wrapped(tmp_path, {f"module.{key}": value for key, value in tensors.items()}))


def test_an_optimizer_is_named(tmp_path: Path) -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))])
    assert "is the state of an optimizer" in refusal(wrapped(tmp_path, optimizer.state_dict()))


def test_half_a_checkpoint_names_the_first_that_is_missing(generator: dict[str, Tensor], tmp_path: Path) -> None:
    whole, gone = len(generator), "model.10.conv_block.5.bias"
    del generator[gone], generator["model.14.weight"]
    said = refusal(wrapped(tmp_path, generator))
    assert f"is half a checkpoint: 2 of the {whole} tensors of a ResNet of 1 block, width 2" in said
    assert f"are missing, the first is '{gone}'" in said
    net = Original("batch")
    unet(net, picture(), depth=6, width=2)
    some = dict(list(net.tensors.items())[: len(net.tensors) // 2])
    assert "is half a checkpoint" in refusal(wrapped(tmp_path, some))
    net = Original()
    resnet(net, picture(), blocks=9, width=2)
    some = dict(list(net.tensors.items())[:40])  # up to the eighth block
    assert "is half a checkpoint: 8 of the 48 tensors of a ResNet of 9 blocks" in refusal(wrapped(tmp_path, some))


def test_another_programs_network_is_not_bent_to_fit(generator: dict[str, Tensor], tmp_path: Path) -> None:
    said = refusal(wrapped(tmp_path, generator | {"model.3.attention": torch.zeros(4)}))
    assert "holds 1 that it does not have, such as 'model.3.attention' [4]" in said
    said = refusal(wrapped(tmp_path, generator | {"model.4.weight": torch.zeros(4, 2, 5, 5)}))
    assert "its tensor 'model.4.weight' is [4, 2, 5, 5] and not [4, 2, 3, 3]" in said
    generator["model.1.bias"][0] = torch.nan
    assert "'model.1.bias' holds what is no finite number" in refusal(wrapped(tmp_path, generator))


def test_a_blur_by_another_filter_is_refused(tmp_path: Path) -> None:
    net = Original()
    path = saved(net, partial(resnet, blocks=1, down=True, up=True), tmp_path)
    net.tensors["model.7.filt"] = net.tensors["model.7.filt"].roll(1, -1)
    torch.save(dict(net.tensors), path)
    assert "'model.7.filt' is not the filter that CUT blurs by" in refusal(path)
    del net.tensors["model.7.filt"]
    torch.save(dict(net.tensors), path)
    assert "the first is 'model.7.filt'" in refusal(path)


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ("resnet_6blocks", "is no resnet_6blocks: it is a ResNet of 1 block, width 4, 3 -> 3 channels, instance norm"),
        ("unet_256", "is no unet_256: it is a ResNet of 1 block"),
        ("cut_resnet_1blocks", "is no cut_resnet_1blocks: it is a ResNet of 1 block"),
    ],
)
def test_a_wrong_layout_is_told_what_it_is(layout: str, said: str, tmp_path: Path) -> None:
    path = saved(Original(), partial(resnet, blocks=1), tmp_path)
    assert said in refusal(path, layout=layout)
    assert convert(path, layout="resnet_1blocks")
    with pytest.raises(UserError, match=r"no layout is called 'resnet_9block' \(did you mean 'resnet_9blocks'\?\)"):
        convert(path, layout="resnet_9block")


# --- the command


def i2i(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of a command."""
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert isinstance(left.value.code, int)
    return left.value.code, said.out, said.err


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_prints_the_file_and_says_what_it_found(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(Original("batch"), partial(unet, depth=6), here)
    code, out, err = i2i(capsys, "convert", "latest_net_G.pth")
    assert (code, out) == (0, "latest_net_G.safetensors\n")
    assert "recognised a U-Net of depth 6, width 4, 3 -> 3 channels, batch norm (unet_64)" in err
    assert "direction unknown: the card says A -> B; give --from and --to" in err
    assert "the original's test script does what --mode paper does" in err
    code, out, err = i2i(capsys, "convert", "latest_net_G.pth")
    assert (code, out, err) == (
        2, "", "i2i: latest_net_G.safetensors is there already; --overwrite replaces it, -o names another\n"
    )  # fmt: skip
    size = Path("latest_net_G.safetensors").stat().st_size
    more = ("--overwrite", "--from", "map", "--to", "aerial", "--dtype", "float16")
    code, out, err = i2i(capsys, "convert", "latest_net_G.pth", *more)
    assert code == 0 and "direction" not in err
    card = read_header(Path("latest_net_G.safetensors")).card
    assert (card.a, card.b) == ("map", "aerial")
    assert Path("latest_net_G.safetensors").stat().st_size < 0.7 * size


def test_what_fails_leaves_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(Original(), partial(resnet, blocks=1), here)
    for arguments, said in (
        (["nothing.pth"], "there is no file nothing.pth"),
        ([here], "is a folder; name a file in it"),
        (["."], ". is a folder; name a file in it"),
        ([path, "--as", "unet_256"], "is no unet_256"),
        ([path, "--as", "cyclegan/horse2zebra"], "is no resnet_9blocks"),
        ([path, "--as", "cyclegan/horse2zibra"], "did you mean 'cyclegan/horse2zebra'?"),
        ([path, "-o", "x.pth"], "a generator file ends with .safetensors"),
        ([path, "-o", path / "x.safetensors"], "cannot be written"),
    ):
        code, out, err = i2i(capsys, "convert", *arguments)
        assert code in (1, 2) and not out
        assert said in err.splitlines()[-1] and "Traceback" not in err
    assert [found.name for found in here.iterdir()] == ["latest_net_G.pth"]


def test_as_a_published_model_takes_its_card(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(Original(), partial(resnet, blocks=9, width=2), here)
    code, out, _ = i2i(capsys, "convert", path, "--as", "cyclegan/horse2zebra", "-o", "h2z.safetensors")
    assert (code, out) == (0, "h2z.safetensors\n")
    card = read_header(Path("h2z.safetensors")).card
    assert (card.a, card.b) == ("horse", "zebra")
    assert "horse2zebra" in card.origin.data
    assert f"sha256 {digest(path)}" in card.origin.notes


def test_a_checkpoint_given_as_a_model_is_told_how_to_convert(here: Path) -> None:
    saved(Original(), partial(resnet, blocks=1), here)
    with pytest.raises(UserError, match="`i2i convert latest_net_G.pth` makes a generator file of it"):
        load_generator("latest_net_G.pth")


def test_at_a_terminal_the_direction_is_asked_for(here: Path) -> None:
    saved(Original(), partial(resnet, blocks=1), here)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "i2i", "convert", "latest_net_G.pth"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        os.close(theirs)
        os.write(ours, b"winter\nsummer\n")
        assert process.stdout is not None
        assert process.stdout.read() == b"latest_net_G.safetensors\n"
    os.close(ours)
    card = read_header(here / "latest_net_G.safetensors").card
    assert (card.a, card.b) == ("winter", "summer")
