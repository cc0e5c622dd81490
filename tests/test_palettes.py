"""Label maps: colours and numbers to classes and back, in training and in `i2i translate`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from games import AVERAGE
from PIL import Image

from i2i import engine as engines
from i2i import images
from i2i.checkpoint import read_header, save_generator
from i2i.data.datasets import Paired, Unaligned
from i2i.data.stream import to_range
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.game import Card, Content
from i2i.host import seeded
from i2i.palettes import NONE, Palette
from i2i.recipe import Training
from i2i.spec import Spec
from i2i.testing import assert_sound
from i2i.trainer import Trainer
from i2i.translation.cyclegan import ResnetGenerator
from i2i.translation.pix2pix import PatchDiscriminator, Pix2Pix, UnetGenerator

FOUR = Palette("four", {"wall": (0, 0, 170), "door": (255, 85, 0), "sky": (0, 170, 255), "tree": (10, 90, 10)},
               ((128, 128, 128),))  # fmt: skip
TEXT = "0 0 170 wall\n255 85 0 door\n0 170 255 sky\n10 90 10 tree\n128 128 128 -\n"
BINARY = Palette("mask", {"ground": (0, 0, 0), "figure": (255, 255, 255)})
TURNED = Palette("turned", {"figure": (255, 255, 255), "ground": (0, 0, 0)})


def numbers(height: int = 24, width: int = 20, seed: int = 0) -> np.ndarray:
    """Patches of classes."""
    coarse = np.random.default_rng(seed).integers(0, 4, (-(-height // 4), -(-width // 4)), dtype=np.uint8)
    return coarse.repeat(4, 0).repeat(4, 1)[:height, :width]


# --- palettes


def test_colours_numbers_and_colours_again() -> None:
    wanted = numbers()
    drawn = FOUR.drawn(wanted)
    for pixels in (drawn, drawn.astype(np.uint16) * 257, wanted, wanted.astype(np.uint16), wanted[..., None]):
        assert np.array_equal(FOUR.numbers(pixels), wanted)
    ignored = drawn.copy()
    ignored[0, 0] = 128
    assert FOUR.numbers(ignored)[0, 0] == NONE and (FOUR.drawn(FOUR.numbers(ignored)) == ignored).all()


def test_gray_masks_are_read_where_they_can_only_mean_one_thing() -> None:
    mask = np.array([[0, 255], [255, 0]], np.uint8)
    assert BINARY.numbers(mask).tolist() == [[0, 1], [1, 0]]
    assert BINARY.numbers(mask // 255).tolist() == [[0, 1], [1, 0]]
    assert BINARY.numbers(mask.astype(np.uint16) * 257).tolist() == [[0, 1], [1, 0]]
    assert TURNED.numbers(mask // 255).tolist() == [[0, 1], [1, 0]]
    with pytest.raises(UserError, match="holds the number 255, and the palette turned has the classes 0 to 1"):
        TURNED.numbers(mask)  # is 0 the class, or black? nobody knows


def test_unknown_colours_are_refused_in_a_sentence() -> None:
    drawn = FOUR.drawn(numbers())
    drawn[3, 4] = (1, 2, 3)
    with pytest.raises(UserError) as refused:
        FOUR.numbers(drawn)
    assert "0.2% of the label map has colours that the palette four does not know, such as (1, 2, 3);" in str(
        refused.value
    )
    assert refused.value.code == 1 and "\n" not in str(refused.value)
    with pytest.raises(UserError, match="the gray label map holds the number 9"):
        FOUR.numbers(np.full((3, 3), 9, np.uint8))
    near = FOUR.drawn(numbers()).astype(int) + np.random.default_rng(0).integers(-6, 7, (24, 20, 3))
    near = near.clip(0, 255).astype(np.uint8)
    with pytest.raises(UserError, match="say how far colours may be off"):
        FOUR.numbers(near, within=3)
    assert np.array_equal(FOUR.numbers(near, within=6), numbers())


def test_a_palette_has_as_many_classes_as_a_byte_has_numbers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 1 classes; it takes 2 to 255"):
        Palette("one", {"a": (0, 0, 0)})
    (tmp_path / "p.txt").write_text("".join(f"{n % 256} {n // 256} 0 c{n}\n" for n in range(300)))
    with pytest.raises(UserError, match="names 300 classes; a palette has at most 255"):
        Palette.read(tmp_path / "p.txt")


# --- data


@pytest.fixture
def streets(tmp_path: Path) -> Path:
    """Pairs side by side: a photograph and its labels, the photograph as bright as the class."""
    (tmp_path / "train").mkdir()
    (tmp_path / "four.txt").write_text(TEXT)
    for number in range(4):
        classes = numbers(40, 40, number)
        photograph = np.repeat(classes[..., None] * 60 + 30, 3, axis=2).astype(np.uint8)
        both = np.concatenate([photograph, FOUR.drawn(classes)], axis=1)
        Image.fromarray(both).save(tmp_path / "train" / f"{number}.png")
    return tmp_path


def pairs(streets: Path, **more: Any) -> Paired:
    chosen = {"load": 36, "crop": 32, "palettes": (None, str(streets / "four.txt")), **more}
    return Paired(str(streets / "train"), **chosen)


def test_a_label_map_becomes_a_channel_for_each_class(streets: Path) -> None:
    data = pairs(streets, preprocess="crop")
    for position in range(8):
        photograph, labels = (to_range(field) for field in data[position])
        assert labels.shape == (4, 32, 32) and set(labels.unique().tolist()) == {-1.0, 1.0}
        assert (labels.sum(0) == -2).all()  # one class each
        assert torch.equal(((photograph[0] + 1) * 127.5 - 30).round() / 60, labels.argmax(0).float())
    turned = pairs(streets, preprocess="crop", direction="b2a", palettes=(str(streets / "four.txt"), None))
    assert turned[0].a.shape == (4, 32, 32) and turned.holds[0].palette == Palette.read(streets / "four.txt")


def test_classes_are_never_mixed_and_stay_on_the_photograph(streets: Path) -> None:
    bent = [{"of": "albumentations:Affine", "rotate": [-30, 30], "p": 1.0}, {"of": "albumentations:ElasticTransform"}]
    for data in (pairs(streets), pairs(streets, geometry=bent)):
        for position in range(8):
            photograph, labels = (to_range(field) for field in data[position])
            assert set(labels.unique().tolist()) == {-1.0, 1.0}
            seen = (((photograph[0] + 1) * 127.5 - 30) / 60).round()
            assert (seen == labels.argmax(0)).float().mean() > 0.7  # but at the borders, which the photograph mixes


def test_unaligned_sides_have_palettes_of_their_own(streets: Path) -> None:
    folder = str(streets / "train")
    data = Unaligned(folder, folder, side_by_side=True, load=36, crop=32, palettes=(None, str(streets / "four.txt")))
    assert (data[0].a.shape, data[0].b.shape) == ((3, 32, 32), (4, 32, 32))
    (shown,) = data.shown([to_range(data[0].b)[None]])
    colours = (shown[0].permute(1, 2, 0) + 1) * 127.5
    assert np.array_equal(FOUR.numbers(colours.round().byte().numpy()), data[0].b.argmax(0))


def test_index_files_are_read_as_they_are(tmp_path: Path) -> None:
    """A palette PNG with our colours, a gray PNG of numbers, and one with a colour of no class."""
    (tmp_path / "four.txt").write_text(TEXT)
    for side in ("A", "B"):
        (tmp_path / side).mkdir()
    indexed = Image.fromarray(numbers(32, 32), "P")
    indexed.putpalette(FOUR.colours.tobytes())
    indexed.save(tmp_path / "B" / "0.png")
    Image.fromarray(numbers(32, 32, 1)).save(tmp_path / "B" / "1.png")
    for name in ("0", "1"):
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "A" / f"{name}.png")
    chosen: dict[str, Any] = {"layout": "folders", "preprocess": "none", "flip": False,
                              "palettes": (None, str(tmp_path / "four.txt"))}  # fmt: skip
    data = Paired(str(tmp_path), **chosen)
    found = {data[position].b.argmax(0).numpy().tobytes() for position in range(2)}
    assert found == {numbers(32, 32, seed).astype(np.int64).tobytes() for seed in (0, 1)}
    Image.fromarray(np.full((32, 32, 3), 7, np.uint8)).save(tmp_path / "B" / "1.png")
    with pytest.raises(UserError, match=r"1\.png.*100\.0% of the label map has colours.*such as \(7, 7, 7\)"):
        [Paired(str(tmp_path), **chosen)[position] for position in range(2)]


def test_what_makes_no_sense_is_refused(streets: Path) -> None:
    palette = str(streets / "four.txt")
    with pytest.raises(UserError, match="photometric changes colours, and those of a label map are its classes"):
        pairs(streets, palettes=(palette, None), photometric=[{"ColorJitter": {}}])
    with pytest.raises(UserError, match="'nothing' is no palette"):
        pairs(streets, palettes=("nothing", None))
    with pytest.raises(UserError, match="not within 300"):
        pairs(streets, within=300)


# --- training


def tiny(inputs: int, outputs: int) -> Pix2Pix:
    norm = "i2i.layers:InstanceNorm"
    generator = Spec.to(UnetGenerator, inputs=inputs, outputs=outputs, width=4, depth=3, dropout=0.0, norm=norm)
    critic = Spec.to(PatchDiscriminator, channels=inputs + outputs, width=4, field=16, norm=norm)
    return Pix2Pix(generator, critic, average=AVERAGE)


def test_pix2pix_learns_labels_both_ways(streets: Path, tmp_path: Path) -> None:
    palette = str(streets / "four.txt")
    ways = {(3, 4): pairs(streets), (4, 3): pairs(streets, direction="b2a", palettes=(palette, None))}
    for (inputs, outputs), data in ways.items():
        assert_sound(lambda channels=(inputs, outputs): tiny(*channels), data, images=4)  # type: ignore[misc]
        with seeded(0):
            run = Trainer(tiny(inputs, outputs), data, Training(images=2), tmp_path / str(inputs), device="cpu")
        run.run(quiet=True)
        card = read_header(tmp_path / str(inputs) / "generators" / "a2b.safetensors").card
        assert card.holds == data.holds
        sheet = np.asarray(Image.open(sorted((tmp_path / str(inputs) / "sheets").glob("*.png"))[-1]))
        left = 4 if inputs == 4 else -36
        assert FOUR.numbers(np.ascontiguousarray(sheet[4:36, left : left + 32])).max() < 4  # in the palette's colours


def test_a_network_of_other_channels_is_refused_before_it_trains(streets: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the palette four has 4 classes, and the network has 5 channels for them"):
        Trainer(tiny(3, 5), pairs(streets), Training(images=2), tmp_path, device="cpu")


# --- running


def made(inputs: int, outputs: int, kind: type = ResnetGenerator) -> torch.nn.Module:
    torch.manual_seed(0)
    more: dict[str, Any] = {"blocks": 1} if kind is ResnetGenerator else {"depth": 3, "dropout": 0.0}
    network = kind(inputs, outputs, width=4, **more)
    holds = tuple(Content.of(FOUR) if channels == 4 else Content() for channels in (inputs, outputs))
    network.card = Card(**{**vars(network.card()), "holds": holds})
    network.spec = Spec.to(kind, inputs=inputs, outputs=outputs, width=4, **more)
    return network.eval()


def test_labels_in_are_what_a_tensor_of_them_is() -> None:
    network = made(4, 3)
    engine = Engine(network, device="cpu", precision="fp32")
    classes = numbers(33, 30)
    one_hot = torch.from_numpy((classes[..., None] == np.arange(4)) * 2.0 - 1).permute(2, 0, 1).float()
    wanted = ((engine(one_hot) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    for given in (classes, FOUR.drawn(classes), classes.astype(np.uint16), Image.fromarray(FOUR.drawn(classes))):
        found = np.asarray(engine(given))
        found = found if found.dtype == np.uint8 else (found / 257).round().astype(np.uint8)
        assert np.abs(found.astype(int) - wanted).max() <= 1
    with pytest.raises(UserError, match="a label map is uint8 or uint16, not float32"):
        engine(np.zeros((8, 8, 3), np.float32))


def test_labels_out_are_the_largest_channels() -> None:
    network = made(3, 4)
    engine = Engine(network, device="cpu", precision="fp32")
    photograph = np.random.default_rng(0).integers(0, 256, (33, 30, 3), dtype=np.uint8)
    logits = engine(torch.from_numpy(photograph).permute(2, 0, 1).float() / 127.5 - 1)
    found = engine(photograph)
    assert found.dtype == np.uint8 and np.array_equal(FOUR.numbers(found), logits.argmax(0))
    deep = engine(photograph.astype(np.uint16) * 257)
    assert deep.dtype == np.uint8 and np.array_equal(deep, found)


@pytest.mark.parametrize(("inputs", "outputs"), [(4, 3), (3, 4)])
def test_bands_do_as_the_whole_does(inputs: int, outputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = numbers(96, 64)
    given = FOUR.drawn(classes)
    network = made(inputs, outputs)
    whole, banded = (Engine(network, device="cpu", precision="fp32", tile=tile)(given) for tile in ("off", 16))
    same = whole == banded if outputs == 4 else np.abs(whole.astype(int) - banded) <= 1
    assert same.mean() > 0.999
    monkeypatch.setattr(engines, "GHOST", (96, 64))


def translate(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "i2i", "translate", *map(str, arguments)]
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=alone)


def test_translate_writes_palette_pngs_and_names_what_it_cannot_read(tmp_path: Path) -> None:
    for network, name in ((made(3, 4), "out"), (made(4, 3), "in")):
        save_generator(tmp_path / f"{name}.safetensors", network, network.spec, network.card)  # type: ignore[arg-type]
    exif = Image.Exif()
    exif[0x010E] = "a street"
    photograph = np.random.default_rng(0).integers(0, 256, (33, 30, 3), dtype=np.uint8)
    (tmp_path / "photos").mkdir()
    Image.fromarray(photograph).save(tmp_path / "photos" / "a.jpg", exif=exif)
    Image.fromarray(np.dstack([photograph, numbers(33, 30) * 60])).save(tmp_path / "photos" / "b.png")
    done = translate("-m", tmp_path / "out.safetensors", tmp_path / "photos", "-o", tmp_path / "maps", "--compare")
    assert done.returncode == 0, done.stderr
    assert "jpeg would change the colours of classes; it became png" in done.stderr
    written = Image.open(tmp_path / "maps" / "a.jpg.png")
    assert written.mode == "P" and written.size == (30, 33) and written.getexif()[0x010E] == "a street"
    classes = np.asarray(written)
    assert classes.max() < 4  # the file's numbers are those of the classes
    assert np.array_equal(FOUR.drawn(classes), np.asarray(written.convert("RGB")))
    clear = images.read(tmp_path / "maps" / "b.png")
    assert clear.alpha is not None and np.array_equal(clear.alpha, numbers(33, 30) * 60)
    FOUR.numbers(clear.pixels)
    Image.fromarray(photograph).save(tmp_path / "maps" / "c.png")  # no label map
    back = translate("-m", tmp_path / "in.safetensors", tmp_path / "maps", "-o", tmp_path / "again")
    assert back.returncode == 1 and (tmp_path / "again" / "a.jpg.png").is_file()
    assert "c.png" in back.stderr and "of the label map has colours that the palette four does not know" in back.stderr
    assert not (tmp_path / "again" / "c.png").exists()


def test_cards_with_palettes_travel_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    network = made(4, 3, UnetGenerator)
    file = tmp_path / "x.safetensors"
    save_generator(file, network, network.spec, network.card)  # type: ignore[arg-type]
    assert read_header(file).card.holds == network.card.holds  # type: ignore[union-attr]
    shown = subprocess.run([sys.executable, "-m", "i2i", "models", "show", str(file)], capture_output=True, text=True)
    assert "labels (four: wall, door, sky, tree) -> colours" in shown.stdout
    (tmp_path / "y.safetensors").write_bytes(file.read_bytes().replace(b"[0, 0, 170]", b"[0, 0, 670]"))
    with pytest.raises(UserError, match="header is damaged"):
        read_header(tmp_path / "y.safetensors")
    with pytest.raises(ValueError, match="labels need a palette"):
        Content("labels")
