"""Colouring: what trains it, what running it keeps of a photograph, and how it is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from games import AVERAGE, Noise
from PIL import Image
from torch import nn

from i2i import engine as engines
from i2i import images
from i2i.checkpoint import read_header, save_generator
from i2i.data.coloured import Coloured
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.evaluation import evaluate, evaluate_generator
from i2i.game import Card, Content
from i2i.host import seeded
from i2i.images import lab, lightness
from i2i.recipe import Training, load
from i2i.spec import Spec
from i2i.testing import assert_sound
from i2i.trainer import Trainer
from i2i.translation.cyclegan import ResnetGenerator
from i2i.translation.pix2pix import PatchDiscriminator, Pix2Pix, UnetGenerator
from i2i.zoo import load_generator

SET14 = Path(os.environ.get("I2I_DATA", "../shared/data")) / "sr" / "Set14" / "x4" / "HR"
HOLDS = Content("lightness"), Content("chroma")
NETWORK: dict[str, Any] = {"inputs": 1, "outputs": 2, "width": 4, "depth": 3, "dropout": 0.0}
EXACT = 0.26  # of L, by which rounding to 8 bits moves it


def tiny() -> Pix2Pix:
    discriminator = Spec.to(PatchDiscriminator, channels=3, width=4, field=16)
    return Pix2Pix(Spec.to(UnetGenerator, **NETWORK), discriminator, average=AVERAGE)


def network(kind: type[nn.Module] = UnetGenerator, **more: Any) -> nn.Module:
    torch.manual_seed(0)
    made = kind(**(NETWORK if kind is UnetGenerator else {"inputs": 1, "outputs": 2, "width": 4, "blocks": 1}))
    for parameter in made.parameters():
        parameter.data.mul_(3)  # strong colours
    made.card = Card(**{**vars(made.card()), "holds": HOLDS, **more})  # type: ignore[operator, assignment]
    return made.eval()


def picture(height: int = 37, width: int = 50, *, channels: int = 3, dtype: Any = np.uint8) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    for number in range(5):
        coarse = np.random.default_rng(number).integers(0, 256, (6, 7, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((40, 36)).save(tmp_path / f"{number}.png")
    Image.fromarray(coarse[..., 0]).resize((40, 36)).save(tmp_path / "gray.png")
    return tmp_path


# --- the data and the game


def test_a_sample_is_lightness_and_chroma_of_a_photograph(photographs: Path) -> None:
    data = Coloured([str(photographs)], crop=36, flip=False)
    for position in range(6):
        a, b = data[position]
        pixels = data.photographs[position].hr.permute(1, 2, 0).numpy()
        assert (tuple(a.shape), tuple(b.shape), a.dtype) == ((1, 36, 36), (2, 36, 36), torch.float32)
        assert max(a.abs().max(), b.abs().max()) <= 1
        assert np.allclose((a[0] + 1) * 50, lightness(pixels), atol=1e-4)
        assert np.allclose(b.permute(1, 2, 0) * 110, lab(pixels)[..., 1:], atol=1e-4)
        (gray, shown) = data.shown([a[None], b[None]])
        assert np.abs((shown[0].permute(1, 2, 0).numpy() + 1) * 127.5 - pixels).max() < 0.5
        assert torch.allclose(gray[:, 0], gray[:, 2], atol=1e-4)


def test_steps_of_light_change_the_lightness_alone(photographs: Path) -> None:
    """They are drawn anew for every sample, and the same again for the same."""
    dark = [{"of": "albumentations:RandomGamma", "gamma_limit": [150, 300], "p": 1.0}]
    plain, changed = (Coloured([str(photographs)], crop=32, photometric=steps) for steps in (None, dark))
    pairs = [(plain[n], changed[n]) for n in range(12)]
    assert all(torch.equal(one.b, other.b) and one.a.shape == other.a.shape for one, other in pairs)
    gammas = [np.log(float(other.a.mean() + 1) / 2) / np.log(float(one.a.mean() + 1) / 2) for one, other in pairs]
    assert min(gammas) > 1.1 and np.ptp(gammas) > 0.2
    assert torch.equal(changed[7].a, Coloured([str(photographs)], crop=32, photometric=dark)[7].a)


def test_steps_of_colour_change_both_halves_of_a_sample(photographs: Path) -> None:
    """A fixed shift towards red raises a everywhere; chance is drawn anew for every sample, not that of the light."""
    warm = [{"of": "albumentations:RGBShift", "r_shift_limit": [9, 9], "g_shift_limit": [-3, -3], "b_shift_limit": [0, 0], "p": 1.0}]  # fmt: skip # noqa: E501
    plain, shifted = (Coloured([str(photographs)], crop=32, colours=steps) for steps in (None, warm))
    for n in range(12):
        apart = (shifted[n].b - plain[n].b) * images.CHROMA
        assert 2 < float(apart[0].median()) < 8 and abs(float(apart[1].median())) < 2
        assert float((shifted[n].a - plain[n].a).abs().max()) < 0.06  # of 2: lightness hardly moves
    chance = [{"of": "albumentations:HueSaturationValue", "hue_shift_limit": 90, "p": 1.0}]
    drawn = Coloured([str(photographs)], crop=32, colours=chance)
    hues = [float(torch.atan2(*drawn[n].b.mean((1, 2))) - torch.atan2(*plain[n].b.mean((1, 2)))) for n in range(6)]
    assert np.ptp(hues) > 0.2 and torch.equal(drawn[3].b, Coloured([str(photographs)], crop=32, colours=chance)[3].b)


def test_what_lies_on_its_side_is_set_upright(photographs: Path) -> None:
    """As in BSDS500's train, whose portraits lie on their right sides."""
    picture = Image.open(photographs / "2.png")
    picture.transpose(Image.Transpose.ROTATE_270).save(photographs / "2.png")
    arguments: dict[str, Any] = {"crop": 36, "flip": False}
    lying = Coloured([str(photographs)], lying=[str(photographs / "2.png")], **arguments)
    assert lying.photographs.prepared.source.size(2) == (40, 36)
    assert np.array_equal(lying.photographs.prepared[2][0], np.asarray(picture))
    with pytest.raises(UserError, match="there is no 'none.png'"):
        Coloured([str(photographs)], lying=["none.png"], **arguments)


def test_colouring_is_sound_and_its_sheet_is_in_colour(photographs: Path, tmp_path: Path) -> None:
    data = Coloured([str(photographs)], crop=32)
    terms = {"generator/adversarial", "generator/pixel", "discriminator/real", "discriminator/fake"}
    assert_sound(tiny, data, lane=2, sees_all=terms)
    with seeded(0):
        trainer = Trainer(tiny(), data, Training(images=2, threads=1), tmp_path / "run", device="cpu")
    trainer.run(quiet=True)
    assert read_header(tmp_path / "run" / "generators" / "a2b.safetensors").card.holds == HOLDS
    sheet = np.asarray(Image.open(sorted((tmp_path / "run" / "sheets").glob("*.png"))[-1]))
    assert np.ptp(sheet[4:36, 4:36], axis=2).max() <= 1  # what goes in is gray
    assert np.ptp(sheet[4:36, -36:-4], axis=2).max() > 20  # what is wanted is not


def test_a_generator_of_other_channels_is_refused_before_it_trains(photographs: Path, tmp_path: Path) -> None:
    generator = Spec.to(UnetGenerator, **{**NETWORK, "outputs": 3})
    game = Pix2Pix(generator, Spec.to(PatchDiscriminator, channels=4, width=4, field=16))
    with pytest.raises(UserError, match="'a2b' does not fit the data: card: chroma, two channels, is given to"):
        Trainer(game, Coloured([str(photographs)], crop=32), Training(images=2), tmp_path, device="cpu")


def test_other_data_leaves_the_cards_as_they_are(tmp_path: Path) -> None:
    game = Pix2Pix(Spec.to(UnetGenerator, width=4, depth=3), Spec.to(PatchDiscriminator, channels=6, width=4))
    trainer = Trainer(game, Noise(), Training(images=2), tmp_path, device="cpu")
    assert trainer._card("a2b", game.a2b.card()).holds == (Content(), Content())


def test_the_recipe_never_sees_the_photographs_of_bsd100() -> None:
    recipe = load("pix2pix-colorize-bsds")
    assert recipe.data.kwargs["roots"] == ("bsds500/train", "bsds500/test")
    generator = recipe.game.kwargs["generator"].build()
    assert 2 * sum(parameter.numel() for parameter in generator.parameters()) <= 6e6  # bytes in half precision


# --- running it


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("dtype", "limit"), [(np.uint8, EXACT), (np.uint16, 0.12)])
def test_it_colours_at_its_own_size_and_keeps_the_lightness(channels: int, dtype: Any, limit: float) -> None:
    given = picture(channels=channels, dtype=dtype)
    made = Engine(network(), device="cpu", precision="fp32")(given)
    assert made.shape == (37, 50, 3) and made.dtype == dtype
    assert np.abs(lightness(made) - lightness(given)).max() < limit
    assert np.ptp(made.astype(int), axis=2).mean() > 5


def test_colours_and_their_lightness_get_the_same() -> None:
    """Only the lightness of a photograph goes in."""
    photograph = picture()
    engine = Engine(network(), device="cpu", precision="fp32")
    gray = images.coloured(np.zeros((37, 50, 2), np.float32), photograph.astype(np.float32) / 255)
    made, again = engine(photograph.astype(np.float32) / 255), engine(gray)
    assert np.abs(made - again).max() < 0.02
    tensor = torch.from_numpy(lightness(photograph) / 50 - 1)[None]
    assert tuple(engine(tensor).shape) == (2, 37, 50)


def test_bands_colour_as_the_whole_does(monkeypatch: pytest.MonkeyPatch) -> None:
    given = picture(96, 64)
    whole = Engine(network(ResnetGenerator), device="cpu", precision="fp32", tile="off")(given)
    banded = Engine(network(ResnetGenerator), device="cpu", precision="fp32", tile=16)(given)
    assert np.abs(whole.astype(int) - banded).max() <= 1


def test_a_large_picture_is_seen_small_and_keeps_its_lightness() -> None:
    """Its colours are those of the picture shrunk to what the card says, enlarged again."""
    given = cv2.resize(picture(12, 16), (160, 120), interpolation=cv2.INTER_CUBIC)
    seen = Engine(network(holds=(Content("lightness", longest=48), HOLDS[1])), device="cpu", precision="fp32")
    made = seen(given)
    assert made.shape == given.shape and np.abs(lightness(made) - lightness(given)).max() < EXACT
    light = cv2.resize(lightness(given), (48, 36), interpolation=cv2.INTER_AREA)
    chroma = seen(torch.from_numpy(light / 50 - 1)[None]).permute(1, 2, 0).numpy() * images.CHROMA
    planes = [np.asarray(Image.fromarray(plane).resize((160, 120), Image.Resampling.BICUBIC))
              for plane in chroma.transpose(2, 0, 1)]  # fmt: skip
    wanted = images.coloured(np.stack(planes, axis=2), given)
    assert np.abs(lab(made) - lab(wanted)).mean() < 0.5 < np.abs(lab(made) - lab(given)).mean()
    small = picture(36, 48)
    assert np.array_equal(seen(small), Engine(network(), device="cpu", precision="fp32")(small))


def test_the_size_that_is_seen_travels_in_the_file(tmp_path: Path) -> None:
    made = network(holds=(Content("lightness", longest=48), HOLDS[1]))
    save_generator(tmp_path / "c.safetensors", made, Spec.to(UnetGenerator, **NETWORK), made.card)  # type: ignore[arg-type]
    assert read_header(tmp_path / "c.safetensors").card == made.card


def test_enlarged_rows_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    given = cv2.resize(picture(12, 16), (160, 120), interpolation=cv2.INTER_CUBIC)
    seen = Engine(network(holds=(Content("lightness", longest=48), HOLDS[1])), device="cpu", precision="fp32")
    whole = seen(given)
    monkeypatch.setattr(engines, "ROWS", 7)
    assert np.abs(whole.astype(int) - seen(given)).max() <= 1


def test_no_side_of_what_is_seen_small_vanishes() -> None:
    seen = Engine(network(holds=(Content("lightness", longest=16), HOLDS[1])), device="cpu", precision="fp32", tile=8)
    for shape in ((1, 300), (300, 2), (1, 1)):
        assert seen(picture(*shape)).shape == (*shape, 3)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "i2i", *map(str, arguments)]
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=alone)


def test_translate_keeps_alpha_depth_exif_and_size(tmp_path: Path) -> None:
    made = network()
    save_generator(tmp_path / "c.safetensors", made, Spec.to(UnetGenerator, **NETWORK), made.card)  # type: ignore[arg-type]
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "a house", 6
    Image.fromarray(picture()).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    Image.fromarray(picture(channels=4)).save(tmp_path / "clear.png")
    Image.fromarray(picture(channels=1, dtype=np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(picture(33, 41, channels=2), "LA").save(tmp_path / "la.png")
    files = [tmp_path / name for name in ("turned.jpg", "clear.png", "deep.png", "la.png")]
    done = run("translate", "--model", tmp_path / "c.safetensors", *files, "-o", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()[:4]] == ["written"] * 4
    for file in files:
        before, after = images.read(file), images.read(tmp_path / "out" / file.name)
        assert after.pixels.shape == (*before.pixels.shape[:2], 3) and after.pixels.dtype == before.pixels.dtype
        assert before.alpha is None or np.array_equal(before.alpha, after.alpha)
        loss = 6 if file.suffix == ".jpg" else EXACT  # JPEG is written at 95
        assert np.abs(lightness(after.pixels) - lightness(before.pixels)).mean() < loss
    assert Image.open(tmp_path / "out" / "turned.jpg").getexif()[0x010E] == "a house"
    assert Image.open(tmp_path / "out" / "turned.jpg").size == (37, 50)


def test_large_pictures_are_written_as_they_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = images.Picture(picture(80, 48), alpha=picture(80, 48, channels=1))
    engine = Engine(network(ResnetGenerator), device="cpu", precision="fp32")
    whole = engine.picture(given)
    monkeypatch.setattr(engines, "LARGE", 16)
    assert engine.large(given)
    rows: list[np.ndarray] = []

    @contextmanager
    def sink() -> Any:
        rows.clear()
        yield lambda strip: rows.append(strip.copy())

    engine.stream(given, sink)
    assert np.abs(np.concatenate(rows)[..., :3].astype(int) - whole.pixels).max() <= 1
    expected = engine.expected(given, 48, 80)
    assert expected.layout.channels == 3 + 1 and np.concatenate(rows).shape == (80, 48, 4)


# --- measuring it


def test_evaluate_measures_colours_against_gray(photographs: Path, tmp_path: Path) -> None:
    made = network()
    report = evaluate_generator(Engine(made, device="cpu", precision="fp32"), [str(photographs)], ["ab", "chroma"])
    found = {str(figure): figure for figure in report.figures}
    gray = found["ab (RMSE, if all were gray)"]
    assert gray.counts == {"pairs": 5} and "true colours: it is left out (gray)" in gray.notes[0]
    truth = [lab(images.read(file).pixels)[..., 1:].astype(np.float64) for file in sorted(photographs.glob("?.png"))]
    assert gray.value == pytest.approx(np.sqrt(np.mean([np.mean(each**2) for each in truth])))
    assert found["chroma (real)"].value == pytest.approx(np.mean([np.hypot(*each.T).mean() for each in truth]))
    assert found["chroma (fake)"].value > 1
    same = evaluate(str(photographs), str(photographs), ["ab", "chroma"])
    assert [figure.value for figure in same.figures if figure.protocol == "RMSE, CIE L*a*b*"] == [0.0]


@pytest.mark.skipif(not SET14.is_dir(), reason=f"needs {SET14}")
def test_the_colours_that_ship_are_nearer_the_truth_than_gray() -> None:
    """By a twentieth at least on Set14, and half as strong as the true ones."""
    engine = Engine(load_generator("pix2pix/colorize"), device="cpu", precision="fp32", mode="deterministic")
    found = {str(figure): figure.value for figure in evaluate_generator(engine, [str(SET14)], ["ab", "chroma"]).figures}
    assert found["ab (RMSE, CIE L*a*b*)"] <= 0.95 * found["ab (RMSE, if all were gray)"]
    assert found["chroma (fake)"] >= 0.5 * found["chroma (real)"]


# --- cards


def test_a_card_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    for holds, channels in (((HOLDS[1], HOLDS[0]), (2, 1)), (HOLDS, (1, 3)), ((Content(), HOLDS[1]), (3, 2))):
        with pytest.raises(ValueError, match="chroma, two channels"):
            Card(channels=channels, holds=holds)
    for content in ({"kind": "chroma", "longest": 8}, {"kind": "lightness", "longest": -1}):
        with pytest.raises(ValueError, match="a longest side of"):
            Content(**content)  # type: ignore[arg-type]
    made = network()
    save_generator(tmp_path / "c.safetensors", made, Spec.to(UnetGenerator, **NETWORK), made.card)  # type: ignore[arg-type]
    data = (tmp_path / "c.safetensors").read_bytes().replace(b'\\"lightness\\"', b'\\"lightnesz\\"')
    (tmp_path / "d.safetensors").write_bytes(data)
    with pytest.raises(UserError, match="header is damaged"):
        read_header(tmp_path / "d.safetensors")
