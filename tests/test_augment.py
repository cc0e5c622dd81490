"""Augmentation in the loader and on the device: A stays on B, and chance follows from position and seed."""

from __future__ import annotations

import inspect
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import albumentations
import numpy as np
import pytest
import torch
from albumentations.core.transforms_interface import DualTransform
from games import Noise, tiny_pix2pix
from PIL import Image
from torch import Tensor

from i2i.data.augment import LEAVING_GAPS, Augment
from i2i.data.coloured import Coloured
from i2i.data.datasets import Paired, Unaligned
from i2i.data.stream import Stream
from i2i.data.transforms import COLOURING, Geometric
from i2i.errors import UserError
from i2i.recipe import Training
from i2i.schedules import Purpose, mix
from i2i.spec import Spec
from i2i.trainer import Trainer

LOADER: dict[str, dict[str, Any]] = {  # all of albumentations' geometry
    "Affine": {"rotate": [-40, 40], "scale": [0.8, 1.2], "shear": [-10, 10], "translate_percent": [-0.2, 0.2]},
    "CenterCrop": {"height": 50, "width": 50},
    "Crop": {"x_min": 4, "y_min": 5, "x_max": 60, "y_max": 61},
    "CropAndPad": {"px": 5},
    "D4": {},
    "ElasticTransform": {"alpha": 40, "sigma": 6},
    "GridDistortion": {"distort_limit": [-0.4, 0.4]},
    "HorizontalFlip": {},
    "LongestMaxSize": {"max_size": 52},
    "NoOp": {},
    "OpticalDistortion": {"distort_limit": [-0.4, 0.4]},
    "Pad": {"padding": 4},
    "PadIfNeeded": {"min_height": 70, "min_width": 72},
    "Perspective": {},
    "PiecewiseAffine": {},
    "RandomCrop": {"height": 50, "width": 50},
    "RandomCropFromBorders": {},
    "RandomGridShuffle": {},
    "RandomResizedCrop": {"size": [50, 50]},
    "RandomRotate90": {},
    "RandomScale": {"scale_limit": 0.2},
    "RandomSizedCrop": {"min_max_height": [40, 60], "size": [50, 50]},
    "Resize": {"height": 50, "width": 52},
    "Rotate": {"limit": 60},
    "SafeRotate": {"limit": 60},
    "ShiftScaleRotate": {},
    "SmallestMaxSize": {"max_size": 52},
    "SquareSymmetry": {},
    "ThinPlateSpline": {},
    "TimeReverse": {},
    "Transpose": {},
    "VerticalFlip": {},
}
WITH_BOXES = {"AtLeastOneBBoxRandomCrop", "BBoxSafeRandomCrop", "CropNonEmptyMaskIfExists", "RandomCropNearBBox",
              "RandomSizedBBoxSafeCrop"}  # fmt: skip
DEVICE: dict[str, dict[str, Any]] = {  # all of kornia's that leaves no gaps
    "CenterCrop": {"size": [48, 48]},
    "RandomAffine": {"degrees": 40.0, "translate": [0.2, 0.2], "scale": [0.7, 1.3], "shear": 10.0, "p": 1.0},
    "RandomCrop": {"size": [48, 48]},
    "RandomElasticTransform": {"alpha": [4.0, 4.0], "p": 1.0},
    "RandomHorizontalFlip": {},
    "RandomResizedCrop": {"size": [48, 48]},
    "RandomRotation90": {"times": [-3, 3], "p": 1.0},
    "RandomShear": {"shear": 20.0, "p": 1.0},
    "RandomTranslate": {"translate_x": [-0.3, 0.3], "translate_y": [-0.3, 0.3], "p": 1.0},
    "RandomVerticalFlip": {},
    "Resize": {"size": [48, 48]},
    "LongestMaxSize": {"max_size": 48},
    "SmallestMaxSize": {"max_size": 48},
}
SIZE, DRAWS, HALF = 64, 50, 0.5


class Pair(NamedTuple):
    a: Tensor
    b: Tensor


class Sizes(NamedTuple):
    lr: Tensor
    hr: Tensor


def places(size: int = SIZE) -> np.ndarray:
    """[size,size,3] in [0,1]: a picture whose colours say where its pixels came from."""
    down, across = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    return np.stack([down, across, (down + across) / 2], 2).astype(np.float32) / (size - 1)


def loader(name: str, **arguments: Any) -> Spec:
    return Spec(f"albumentations:{name}", arguments)


def device(name: str, **arguments: Any) -> Spec:
    return Spec(f"kornia.augmentation:{name}", arguments)


# --- alignment


def test_the_list_of_the_loaders_geometry_is_complete() -> None:
    kinds = {name: kind for name, kind in vars(albumentations).items()
             if inspect.isclass(kind) and issubclass(kind, DualTransform)}  # fmt: skip
    plain = {name for name, kind in kinds.items() if not issubclass(kind, COLOURING) and kind is not DualTransform}
    assert plain == {*LOADER, *WITH_BOXES, "GridElasticDeform"}


@pytest.mark.parametrize("name", LOADER)
def test_the_loaders_geometry_keeps_a_on_b(name: str) -> None:
    """To less than half a pixel, 50 draws each, with the draws differing where chance is."""
    geometric = Geometric(0, flip=True, before=[loader(name, **LOADER[name])])
    a = places()
    shapes = set()
    for seed in range(DRAWS):
        moved, other = geometric(seed, a, 1 - a)
        assert moved.shape == other.shape
        assert np.abs(moved + other - 1).max() * (SIZE - 1) < HALF
        shapes.add(moved.tobytes())
    assert len(shapes) > 1  # the flip at least


@pytest.mark.parametrize("name", DEVICE)
def test_the_devices_geometry_keeps_a_on_b(name: str) -> None:
    augment = Augment(geometry=[device(name, **DEVICE[name])])
    a = torch.from_numpy(places()).permute(2, 0, 1)[None].repeat(2, 1, 1, 1) * 2 - 1
    for seed in range(DRAWS // 2):  # two pictures each
        made = augment(Pair(a, -a), seed)
        assert (made.a + made.b).abs().max() * (SIZE - 1) / 2 < HALF
        assert made.a.min() >= -1 and made.a.max() <= 1


@pytest.mark.parametrize("name", DEVICE)
def test_classes_move_to_the_nearest_pixel_and_stay_on_the_picture(name: str) -> None:
    """The picture's own colours say which class each pixel has; but at the borders of classes both must agree."""
    augment = Augment(geometry=[device(name, **DEVICE[name])], nearest=["b"])
    left = torch.arange(SIZE) < SIZE // 2
    classes = torch.stack([left, ~left]).float()[:, None].expand(2, SIZE, SIZE) * 2 - 1
    a = torch.from_numpy(places()).permute(2, 0, 1) * 2 - 1
    for seed in range(10):
        made = augment(Pair(a[None], classes[None]), seed)
        assert set(made.b.unique().tolist()) <= {-1.0, 1.0} and not made.b.sum(1).any()
        came_from = (made.a[0, 1] + 1) / 2 * (SIZE - 1)  # the column
        apart = (came_from - (SIZE - 1) / 2).abs()
        wrong = (made.b[0, 0] > 0) != (came_from < (SIZE - 1) / 2)
        assert not (wrong & (apart > 1)).any()  # within a pixel of the border, where the grids of both may round


@pytest.mark.parametrize("name", ["Rotate", "Affine", "Perspective", "ElasticTransform", "ShiftScaleRotate"])
def test_what_comes_in_is_a_reflection_and_no_black(name: str) -> None:
    geometric = Geometric(0, flip=False, before=[loader(name, p=1.0, **LOADER[name])])
    white = np.ones((SIZE, SIZE, 3), np.float32)
    assert all(geometric(seed, white)[0].min() > 0.99 for seed in range(10))
    inside = loader("OneOf", transforms=[loader("Rotate", limit=60, p=1.0)], p=1.0)
    assert Geometric(0, flip=False, before=[inside])(0, white)[0].min() > 0.99
    own = Geometric(0, flip=False, before=[loader("Rotate", limit=[45, 45], p=1.0, border_mode=0)])
    assert own(0, white)[0].min() < 0.01  # who asks for black gets it
    for kind in ("RandomAffine", "RandomShear", "RandomTranslate", "RandomElasticTransform"):
        flat = Augment(geometry=[device(kind, **DEVICE[kind])])(Pair(*torch.ones(2, 4, 3, 32, 32)), 0)
        assert flat.a.min() > 0.999


# --- ranges and sizes


def test_changes_of_colour_touch_the_input_alone_and_damage_nothing() -> None:
    a = torch.from_numpy(places()).permute(2, 0, 1)[None] * 2 - 1
    augment = Augment(photometric=[device("ColorJiggle", brightness=0.2, hue=0.2, p=1.0)])
    made = augment(Pair(a, a.clone()), 1)
    assert (made.b - a).abs().max() < 1e-6
    assert (made.a - a).abs().mean() > 0.02
    assert -1 <= made.a.min() < -0.7  # dark stays dark: a picture in [-1,1] would have lost its darker half
    noisy = Augment(photometric=[device("RandomGaussianNoise", std=0.5, p=1.0)])(Pair(a, a), 1)
    assert noisy.a.min() == -1 and noisy.a.max() == 1


def test_small_and_large_pictures_are_cropped_alike() -> None:
    lr = torch.rand(3, 3, 20, 24) * 2 - 1
    hr = lr.repeat_interleave(4, 2).repeat_interleave(4, 3)
    augment = Augment(crop=8, geometry=[device("RandomHorizontalFlip"), device("RandomVerticalFlip")])
    corners = set()
    for seed in range(10):
        made = augment(Sizes(lr, hr), seed)
        assert (tuple(made.lr.shape), tuple(made.hr.shape)) == ((3, 3, 8, 8), (3, 3, 32, 32))
        assert torch.equal(made.hr[:, :, ::4, ::4], made.lr) and torch.equal(made.hr[:, :, 3::4, 3::4], made.lr)
        corners |= {picture.numpy().tobytes() for picture in made.lr}
    assert len(corners) == 30
    with pytest.raises(UserError, match="24x20 and 97x80 pixels have no crop in common"):
        augment(Sizes(lr, torch.zeros(3, 3, 80, 97)), 0)
    with pytest.raises(UserError, match="24x20 pixels are too small for a crop of 21"):
        Augment(crop=21)(Sizes(lr, hr), 0)
    turn = Augment(geometry=[device("RandomAffine", degrees=10.0, p=1.0)])
    with pytest.raises(
        UserError, match="RandomAffine cannot move pictures of 24x20 and 96x80 pixels alike; take Random"
    ):
        turn(Sizes(lr, hr), 0)


def test_fields_that_are_no_pictures_pass() -> None:
    class Labelled(NamedTuple):
        x: Tensor
        y: Tensor

    y = torch.tensor([3, 1])
    made = Augment(geometry=[device("RandomVerticalFlip", p=1.0)])(Labelled(torch.rand(2, 1, 8, 8), y), 0)
    assert torch.equal(made.y, y)


# --- chance


def test_the_device_draws_from_its_seed_alone() -> None:
    batch = Pair(*torch.rand(2, 4, 3, 32, 32) * 2 - 1)
    steps = [device("RandomAffine", degrees=30.0, p=0.7), device("RandomHorizontalFlip")]
    augment = Augment(geometry=steps, photometric=[device("RandomBrightness", p=0.5)])
    torch.manual_seed(5)
    before = torch.get_rng_state()
    made = augment(batch, 1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(100)
    again, other = Augment(geometry=steps, photometric=[device("RandomBrightness", p=0.5)])(batch, 1), augment(batch, 2)
    assert all(torch.equal(x, y) for x, y in zip(made, again, strict=True))
    assert not torch.equal(made.a, other.a)
    apart = Augment(geometry=[device("RandomAffine", degrees=30.0, p=1.0)], together=False)
    same = Pair(batch.a, batch.a.clone())
    assert not torch.allclose(*apart(same, 1))
    assert torch.equal(*Augment(geometry=[device("RandomAffine", degrees=30.0, p=1.0)])(same, 1))


@pytest.fixture
def sides(tmp_path: Path) -> Path:
    for number in range(5):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 80, 3), dtype=np.uint8)
        (tmp_path / "train").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "train" / f"{number}.png")
    return tmp_path / "train"


STEPS: dict[str, Any] = {
    "geometry": [loader("Rotate", limit=30, p=0.8), loader("ElasticTransform", alpha=20, p=0.5)],
    "photometric": [loader("ColorJitter", p=0.8)],
}


def take(stream: Stream, steps: int) -> list[tuple[int, Any]]:
    return list(itertools.islice(stream, steps))


def equal(one: Any, other: Any) -> bool:
    return all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


def test_the_same_pixels_come_from_0_2_and_4_workers_and_on_1_and_2_ranks(sides: Path) -> None:
    chosen: dict[str, Any] = {"load": 40, "crop": 32, **STEPS}
    augment = Augment(geometry=[device("RandomAffine", degrees=20.0, p=0.8)])

    def lanes(first: int, batch: Any) -> list[Any]:
        """As the trainer deals them: lanes of two."""
        floats = type(batch)(*(field.float() / 127.5 - 1 for field in batch))
        starts = range(0, len(batch[0]), 2)
        shares = {first + at: type(batch)(*(field[at : at + 2] for field in floats)) for at in starts}
        return [augment(share, mix(0, Purpose.AUGMENT, position)) for position, share in shares.items()]

    for data in (Paired(str(sides), **chosen), Unaligned(str(sides), str(sides), side_by_side=True, **chosen)):
        alone = take(Stream(data, batch=4), 4)
        for workers in (2, 4):
            helped = take(Stream(data, batch=4, workers=workers), 4)
            assert all(first == other and equal(x, y) for (first, x), (other, y) in zip(alone, helped, strict=True))
        ranks = [take(Stream(data, batch=4, rank=rank, ranks=2), 4) for rank in (0, 1)]
        for (first, whole), left, right in zip(alone, *ranks, strict=True):
            dealt = [lane for share in (left, right) for lane in lanes(*share)]
            assert all(equal(x, y) for x, y in zip(lanes(first, whole), dealt, strict=True))


def test_seeds_and_epochs_differ(sides: Path) -> None:
    seen = {data[position].a.numpy().tobytes() for seed in (0, 1) for data in
            [Paired(str(sides), load=40, crop=40, flip=False, seed=seed, geometry=[loader("Rotate", limit=60, p=1.0)])]
            for position in range(3 * len(data))}  # fmt: skip
    assert len(seen) == 2 * 3 * 5
    plain = {mix(0, Purpose.AUGMENT, position) for position in range(15)}
    assert len(plain) == 15


def test_what_is_drawn_before_does_not_depend_on_geometry(sides: Path) -> None:
    """A recipe without geometry has the pixels that it had."""
    whole = Paired(str(sides), load=40, crop=32)
    kept = Paired(str(sides), load=40, crop=32, geometry=[loader("NoOp", p=1.0)])
    assert all(equal(whole[position], kept[position]) for position in range(10))


def test_photographs_for_colouring_take_geometry(sides: Path) -> None:
    crop = loader("RandomResizedCrop", size=[32, 32], scale=[0.3, 1.0], p=1.0)
    data = Coloured([str(sides)], crop=32, geometry=[crop])
    assert tuple(data[0].a.shape) == (1, 32, 32)


def test_a_training_with_it_resumes_to_the_bit(tmp_path: Path) -> None:
    augment = Spec.to(Augment, geometry=[device("RandomAffine", degrees=20.0, p=0.5)])
    settings = Training(images=8, batch=2, lane=1, threads=1, augment=augment)
    states = []
    for name, stops in (("whole", [8]), ("parts", [4, 8]), ("plain", [8])):
        for stop in stops:
            torch.manual_seed(0)
            used = settings if name != "plain" else Training(images=8, batch=2, lane=1, threads=1)
            run = Trainer(tiny_pix2pix(), Noise(size=16), used, tmp_path / name, device="cpu", say=lambda text: None)
            run.run(stop_at=stop, quiet=True)
        states.append(run.state()[0]["players"])
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert any(not torch.equal(value, states[2][name]) for name, value in states[0].items())


# --- what is refused


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"geometry": [loader("ColorJitter")]}, "geometry: ColorJitter changes what pixels hold"),
        ({"geometry": [loader("CoarseDropout")]}, "geometry: CoarseDropout changes what pixels hold"),
        ({"geometry": [loader("OneOf", transforms=[loader("GaussNoise")])]}, "geometry: GaussNoise changes what"),
        ({"geometry": [loader("Rotat")]}, "geometry: albumentations has no 'Rotat' (did you mean 'Rotate'?)"),
        ({"geometry": [loader("Rotate", angle=3)]}, "geometry: "),
        ({"geometry": [loader("GridElasticDeform", num_grid_xy=[4, 4], magnitude=4)]}, "fills with black where there"),
        ({"photometric": [loader("Rotate")]}, "photometric: Rotate moves or masks pixels"),
    ],
)  # fmt: skip
def test_the_loader_refuses(arguments: dict[str, Any], sentence: str, sides: Path) -> None:
    with pytest.raises(UserError) as refused:
        Paired(str(sides), load=40, crop=32, **arguments)
    assert sentence in str(refused.value)


def test_a_step_that_does_not_fit_the_picture_is_named(sides: Path) -> None:
    data = Paired(str(sides), load=40, crop=32, geometry=[loader("RandomScale", scale_limit=[-0.9, -0.9], p=1.0)])
    with pytest.raises(UserError, match=r"^geometry: .*\(a picture of 40x40 pixels, 3 channels, uint8\)$"):
        data[0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"geometry": [device("ColorJitter")]}, "geometry: ColorJitter changes colours; put it under photometric"),
        (
            {"photometric": [device("RandomAffine", degrees=3.0)]},
            "photometric: RandomAffine moves pixels; put it under",
        ),
        ({"geometry": [device("RandomRotation", degrees=3.0)]}, "RandomRotation fills with black where there were no"),
        ({"geometry": [device("RandomAfine")]}, "kornia.augmentation has no 'RandomAfine' (did you mean"),
        ({"geometry": [device("RandomAffine", angle=3)]}, "geometry: RandomAffine: "),
        ({"geometry": [device("RandomMixUpV2")]}, "RandomMixUpV2 is no augmentation of pictures"),
        ({"geometry": [Spec("torch.nn:Identity", {})]}, "Identity is no augmentation of pictures"),
        ({"crop": -1}, "a crop of -1 pixels is none"),
    ],
)
def test_the_device_refuses(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        Augment(**arguments)
    assert sentence in str(refused.value) and str(refused.value).startswith("augment: ")


def test_what_leaves_gaps_is_all_that_is_left_out() -> None:
    import kornia.augmentation as kornia
    from kornia.augmentation import GeometricAugmentationBase2D

    known = {name for name, kind in vars(kornia).items() if inspect.isclass(kind) and kind.__module__ != kornia.__name__
             and issubclass(kind, GeometricAugmentationBase2D) and kind is not GeometricAugmentationBase2D}  # fmt: skip
    assert known <= {*DEVICE, *LEAVING_GAPS}
    with pytest.raises(UserError, match="the data has a, b, and nearest names c"):
        Augment(nearest=["c"])(Pair(*torch.zeros(2, 1, 3, 8, 8)), 0)


# --- imports


def test_neither_kornia_nor_a_network_is_needed_until_it_is_asked_for() -> None:
    script = """
import socket, sys, os
os.environ.pop("NO_ALBUMENTATIONS_UPDATE", None)
def forbidden(*arguments, **more): raise AssertionError("network")
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = forbidden
import i2i.trainer, i2i.data.augment, i2i.augmented, i2i.data.coloured, i2i.batchrun
assert "kornia" not in sys.modules
from i2i.spec import Spec
i2i.data.augment.Augment(geometry=[Spec("kornia.augmentation:RandomHorizontalFlip", {})])
i2i.data.transforms.Geometric(8, before=[Spec("albumentations:Rotate", {})])
import i2i.zoo, i2i.engine
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    light = "import sys, i2i.batchrun, i2i.images, i2i.zoo; print({'albumentations', 'kornia'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", light], capture_output=True, text=True).stdout == "set()\n"


# --- i2i data preview

RECIPE = """
about: {{a: x, b: y, data: z, terms: none}}
game:
  of: i2i.translation.pix2pix:Pix2Pix
  generator: {{of: i2i.translation.pix2pix:UnetGenerator, width: 4, depth: 4}}
  discriminator:
    of: i2i.augmented:augmented
    network: {{of: i2i.translation.pix2pix:PatchDiscriminator, channels: 6, width: 4}}
    by: {{of: i2i.augmented:ADA}}
data:
  of: i2i.data.datasets:Paired
  root: {root}
  load: 40
  crop: 32
  geometry: [{{of: albumentations:Rotate, limit: 20, p: 1.0}}]
  photometric: [{{of: albumentations:ColorJitter, p: 1.0}}]
training:
  images: 16
  batch: 2
  augment:
    of: i2i.data.augment:Augment
    geometry: [{{of: kornia.augmentation:RandomAffine, degrees: 30, p: 1.0}}]
"""


def preview(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "i2i", "data", "preview", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_preview_draws_what_a_network_will_see(sides: Path, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(RECIPE.format(root=sides))
    done = preview(tmp_path / "x.yaml", "-o", tmp_path / "new" / "sheet.png", "--rows", 3, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["columns"] == ["a from the loader", "b from the loader", "a after augment", "b after augment",
                                "b as a critic sees it (ADA)"]  # fmt: skip
    steps = [cost["step"] for cost in found["costs"]]
    assert steps == ["loader", "read and resized", "Rotate", "RandomCrop", "HorizontalFlip", "ColorJitter",
                     "to [-1,1] on cpu", "augment on cpu", "RandomAffine", "ADA before a critic"]  # fmt: skip
    assert all(cost["milliseconds"] > 0 for cost in found["costs"])
    assert done.stderr == "" and "shown with 0.5" in found["notes"][0]
    sheet = np.asarray(Image.open(tmp_path / "new" / "sheet.png"))
    assert sheet.shape == (3 * 36 + 4, 5 * 36 + 4, 3)
    data = Paired(str(sides), load=40, crop=32, geometry=[loader("Rotate", limit=20, p=1.0)],
                  photometric=[loader("ColorJitter", p=1.0)])  # fmt: skip
    assert np.array_equal(sheet[4:36, 4:36], data[0].a.permute(1, 2, 0))  # what training takes first
    again = preview(tmp_path / "x.yaml", "-o", tmp_path / "new" / "sheet.png")
    assert again.returncode == 2 and "is there already" in again.stderr
