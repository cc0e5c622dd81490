"""The autoencoders: the paper's networks and bound, and that nothing but the code tells the two apart."""

from __future__ import annotations

import gzip
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from games import Gray, tiny_autoencoder, tiny_infogan
from PIL import Image
from torch import nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from i2i.data.labelled import Alone
from i2i.game import Made, Spec
from i2i.host import seeded
from i2i.recipe import Training
from i2i.testing import assert_sound
from i2i.trainer import Trainer
from i2i.unconditional.autoencoder import Autoencoder, Decoder, Encoder, Exact, Gaussian
from i2i.zoo import load_generator


def batch(count: int = 4) -> Alone:
    return Alone(torch.stack([Gray()[position].x for position in range(count)]).float() / 127.5 - 1)


def trained(out: Path, game: Any) -> Path:
    """The run's generator after two steps."""
    settings = Training(images=8, batch=4, threads=1)
    Trainer(game, Gray(), settings, out, device="cpu", say=lambda sentence: None).run(quiet=True)
    return out / "generators" / "generator.safetensors"


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("code", [Gaussian(), Exact()])
def test_both_are_sound_and_no_picture_sees_another(code: Any) -> None:
    assert_sound(lambda: tiny_autoencoder(code=code), Gray())


def test_parameter_counts_of_the_published_networks() -> None:
    """Sec. 5: 500 hidden units; 784 pixels, a code of 20."""
    with torch.device("meta"):
        assert count(Encoder()) == (784 + 1) * 500 + (500 + 1) * 40 == 412_540
        assert count(Decoder()) == (20 + 1) * 500 + (500 + 1) * 784 == 403_284


def test_the_loss_is_minus_the_bound_of_eq_10() -> None:
    torch.manual_seed(0)
    game = tiny_autoencoder()
    for parameter in game.player.parameters():
        nn.init.normal_(parameter)
    white = (batch().x + 1) / 2
    mean, log_variance = game.encoder(white).chunk(2, 1)
    around = Normal(mean, (log_variance / 2).exp())
    with seeded(3):
        code = around.mean + around.stddev * torch.randn_like(mean)
    with seeded(3):
        terms = game.loss(batch(), Made())
    prior = Normal(torch.zeros_like(mean), 1.0)
    assert terms["divergence"].item() == pytest.approx(kl_divergence(around, prior).sum(1).mean().item(), rel=1e-5)
    likelihood = Bernoulli(logits=game.decoder.logits(code), validate_args=False).log_prob(white)
    assert terms["pixels"].item() == pytest.approx(-likelihood.flatten(1).sum(1).mean().item(), rel=1e-5)


def test_the_plain_ones_code_is_what_the_encoder_says_and_costs_nothing() -> None:
    game = tiny_autoencoder(code=Exact())
    said = torch.randn(4, 3)
    code, terms = game.code(said)
    assert code is said
    assert terms == {}
    assert set(game.loss(batch(), Made())) == {"pixels"}


def test_a_code_is_drawn_around_its_mean_and_learns_mean_and_variance() -> None:
    torch.manual_seed(0)
    said = torch.tensor([[1.0, -2.0, -4.0, 0.0]], requires_grad=True)
    drawn = torch.cat([Gaussian()(said)[0] for _ in range(2000)])
    assert torch.allclose(drawn.mean(0), torch.tensor([1.0, -2.0]), atol=0.1)
    assert torch.allclose(drawn.std(0), torch.tensor([-2.0, 0.0]).exp(), rtol=0.1)
    (gradient,) = torch.autograd.grad(drawn.square().mean(), said)
    assert gradient.all()


def test_the_divergence_is_weighted_and_none_at_the_prior() -> None:
    assert Gaussian()(torch.zeros(2, 6))[1]["divergence"] == 0
    said = torch.ones(2, 6)
    assert Gaussian(0.25)(said)[1]["divergence"] == pytest.approx(Gaussian()(said)[1]["divergence"] / 4)


def test_an_encoder_that_says_too_little_is_refused() -> None:
    with pytest.raises(ValueError, match="says 20 numbers, but a code takes mean and log variance of 20 numbers"):
        Autoencoder(Spec.to(Encoder, numbers=20), Spec.to(Decoder))


def test_files_hold_a_generator_that_draws_from_a_normal_and_an_encoder(tmp_path: Path) -> None:
    game = tiny_autoencoder(average=None)
    decoder = load_generator(trained(tmp_path, game))
    encoder = load_generator(tmp_path / "generators" / "encoder.safetensors")
    shown = torch.rand(2, 1, 16, 16)
    said = encoder(shown)
    assert torch.equal(said, game.encoder(shown))
    assert [part.kind for part in decoder.card.latent] == ["normal"]
    drawn = decoder(said[:, :3])
    assert drawn.shape == (2, 1, 16, 16)
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert encoder.card.classes == ("mean 1", "mean 2", "mean 3", "log variance 1", "log variance 2", "log variance 3")


def test_a_sheet_shows_pictures_what_comes_back_and_what_is_drawn() -> None:
    game = tiny_autoencoder()
    columns = game.preview(batch(), {"encoder": game.encoder, "generator": game.decoder})
    assert len(columns) == 2 + 8
    assert all(column.shape == (4, 1, 16, 16) for column in columns)
    assert torch.equal(columns[0], batch().x)


def test_training_raises_the_bound() -> None:
    torch.manual_seed(0)
    game, given = tiny_autoencoder(), batch()
    optimizer = game.player.optimizer(game.player.parameters())
    sums = []
    for _ in range(60):
        total = torch.stack(list(game.loss(given, Made()).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        sums.append(total.item())
    assert sums[-1] < sums[0] - 5


def digits(folder: Path) -> None:
    """40 pictures in the idx files of MNIST."""
    pictures = torch.stack([Gray()[position].x for position in range(40)]).numpy()
    for split in ("train", "t10k"):
        for name, kind, values in (("images-idx3", 3, pictures), ("labels-idx1", 1, np.zeros(40, np.uint8))):
            shape = (40, 16, 16)[:kind]
            head = bytes([0, 0, 8, kind]) + np.array(shape, ">u4").tobytes()
            with gzip.open(folder / f"{split}-{name}-ubyte.gz", "wb") as file:
                file.write(head + values.tobytes())


def test_the_benchmark_draws_what_comes_back_what_is_drawn_and_a_walk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digits(tmp_path)
    models = [trained(tmp_path / name, game) for name, game in (("vae", tiny_autoencoder()), ("gan", tiny_infogan()))]
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "autoencoders.py"
    spec = importlib.util.spec_from_file_location("benchmark_autoencoders", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["autoencoders.py", *map(str, models), "-o", str(out), "--data", str(tmp_path)])
    module.main()
    sizes = {file.name: Image.open(file).size for file in out.iterdir()}
    row, block = 10 * 20 + 4, 10 * 20
    assert sizes == {
        "reconstructions.png": (row, 2 * 20 + 4),  # the digits, and the autoencoder's
        "walk.png": (row, 2 * 20 + 4),
        "samples.png": (3 * block + 2 * (module.GAP + 4) + 4, 8 * 20 + 4),  # two of the autoencoder
    }
    assert "error" in capsys.readouterr().out
