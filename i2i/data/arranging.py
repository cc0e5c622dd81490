"""From what lies in published archives to the layouts that training reads. Cards name these; see `cards.DataCard`.

Each is called with the folder of what was unpacked, one folder for each archive in it, and with the folder to fill.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from i2i import images
from i2i.data.resize import resize
from i2i.errors import UserError

__all__ = ["Captions", "Cifar", "Enlarging", "Faces", "Folders", "Rooms", "Scenes", "Whole", "within"]


def within(unpacked: Path, path: str) -> Path:
    """The file or folder `path` of one of the archives, at their top or one folder below. Raises UserError."""
    for archive in sorted(unpacked.iterdir()):
        for found in (archive / path, *sorted(archive.glob(f"*/{path}"))):
            if found.exists():
                return found
    held = sorted({entry.name for archive in unpacked.iterdir() for entry in archive.iterdir()})
    raise UserError(
        f"what was fetched has no '{path}' but {', '.join(held[:6]) or 'nothing'}: it is another file", code=1
    )


@dataclass(frozen=True)
class Whole:
    """The one folder in the one archive is the set."""

    def __call__(self, unpacked: Path, out: Path) -> None:
        (archive,) = unpacked.iterdir()
        tops = list(archive.iterdir())
        home = tops[0] if len(tops) == 1 and tops[0].is_dir() else archive
        for entry in sorted(home.iterdir()):
            os.replace(entry, out / entry.name)


@dataclass(frozen=True)
class Folders:
    """Files and folders are given places.

    Attributes:
        places: place in the set -> where it lies in one of the archives.
    """

    places: Mapping[str, str]

    def __call__(self, unpacked: Path, out: Path) -> None:
        for place, source in self.places.items():
            (out / place).parent.mkdir(parents=True, exist_ok=True)
            os.replace(within(unpacked, source), out / place)


@dataclass(frozen=True)
class Enlarging:
    """One of the four test sets for super-resolution that come in one archive: xS/HR and xS/LR, under equal names.

    The archive's large pictures are cut at their right and lower edges to S times the small ones.

    Attributes:
        folder: of the set in the archive.
        scales: how many times as large.
    """

    folder: str
    scales: Sequence[int] = (2, 3, 4)

    def __call__(self, unpacked: Path, out: Path) -> None:
        home = within(unpacked, self.folder)
        for large in sorted(within(unpacked, f"{self.folder}/HR").glob("*.png")):
            for scale in self.scales:
                small = home / "LR_bicubic" / f"X{scale}" / f"{large.stem}x{scale}.png"
                if not small.is_file():
                    raise UserError(f"what was fetched has no {small.relative_to(home)}: it is another file", code=1)
                head = images.read_head(small)
                for kind in ("HR", "LR"):
                    (out / f"x{scale}" / kind).mkdir(parents=True, exist_ok=True)
                cut(large, out / f"x{scale}" / "HR" / large.name, scale * head.width, scale * head.height)
                os.replace(small, out / f"x{scale}" / "LR" / large.name)


def cut(source: Path, target: Path, width: int, height: int) -> None:
    """A picture's upper left corner as a file of its own; a copy where that is all of it."""
    head = images.read_head(source)
    if (head.width, head.height) == (width, height):
        shutil.copyfile(source, target)
    elif head.width < width or head.height < height:
        raise UserError(f"{source.name} is {head.width}x{head.height} and should be {width}x{height} at least", code=1)
    else:
        images.write(images.Picture(np.ascontiguousarray(images.read(source).pixels[:height, :width])), target)


@dataclass(frozen=True)
class Cifar:
    """CIFAR-10's binary version as PNG: SPLIT/CLASS/NUMBER.png. (The version for Python is pickled, which is code.)"""

    def __call__(self, unpacked: Path, out: Path) -> None:
        home = within(unpacked, "data_batch_1.bin").parent
        classes = (home / "batches.meta.txt").read_text("ascii").split()
        for split, names in {"train": [f"data_batch_{n}.bin" for n in range(1, 6)], "test": ["test_batch.bin"]}.items():
            for name in classes:
                (out / split / name).mkdir(parents=True)
            for number, (label, pixels) in enumerate(self.records([home / name for name in names])):
                if label >= len(classes):
                    raise UserError(f"{home / names[0]} names class {label} of {len(classes)}; fetch it again", code=1)
                path = out / split / classes[label] / f"{number:05}.png"
                path.write_bytes(cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())

    def records(self, files: Sequence[Path]) -> Iterator[tuple[int, np.ndarray]]:
        """(class, [32,32,3] RGB) of every picture in the files."""
        for file in files:
            if not file.is_file() or file.stat().st_size % 3073:
                raise UserError(f"{file.name} is missing or cut short; fetch it again", code=1)
            for record in np.fromfile(file, np.uint8).reshape(-1, 3073):
                yield int(record[0]), record[1:].reshape(3, 32, 32).transpose(1, 2, 0)


@dataclass(frozen=True)
class Faces:
    """CelebA's aligned faces: train, val and test, each with a labels.tsv of the 40 attributes."""

    def __call__(self, unpacked: Path, out: Path) -> None:
        pictures = within(unpacked, "img_align_celeba")
        lines = within(unpacked, "list_attr_celeba.txt").read_text("ascii").splitlines()
        names = lines[1].split()
        said = {row[0]: ["yes" if value == "1" else "no" for value in row[1:]] for row in map(str.split, lines[2:])}
        tables: dict[str, list[str]] = {split: ["\t".join(["file", *names])] for split in ("train", "val", "test")}
        for row in within(unpacked, "list_eval_partition.txt").read_text("ascii").splitlines():
            file, number = row.split()
            split = list(tables)[int(number)]
            if not (pictures / file).is_file() or len(said.get(file, ())) != len(names):
                raise UserError(f"{file} is in the list of CelebA's parts but not in its pictures or labels", code=1)
            (out / split).mkdir(exist_ok=True)
            os.replace(pictures / file, out / split / file)
            tables[split].append("\t".join([file, *said[file]]))
        for split, table in tables.items():
            if (out / split).is_dir():
                (out / split / "labels.tsv").write_text("\n".join(table) + "\n", "utf-8")


@dataclass(frozen=True)
class Rooms:
    """A category of LSUN, out of its LMDB through torchvision: each picture's file as it is stored, in 256 folders.

    Attributes:
        folder: of the database in the archive.
    """

    folder: str

    def __post_init__(self) -> None:
        if importlib.util.find_spec("lmdb") is None:  # said before gigabytes are fetched
            raise UserError("LSUN's databases are read with the package lmdb; pip install lmdb")

    def __call__(self, unpacked: Path, out: Path) -> None:
        from torchvision.datasets.lsun import LSUNClass

        home = within(unpacked, self.folder)
        # torchvision notes the keys in a pickle in the current folder, and would read one that lies there
        with tempfile.TemporaryDirectory(dir=unpacked) as empty, contextlib.chdir(empty):
            source = LSUNClass(os.fspath(home.resolve()))
        with source.env.begin(write=False) as reading:
            for key in source.keys:
                name = key.decode("ascii")
                if not name.isalnum():
                    raise UserError(f"LSUN's database has a key '{name}', which is no name for a file", code=1)
                blob = reading.get(key)
                ending = "webp" if blob[8:12] == b"WEBP" else "jpg"
                (out / name[:2]).mkdir(exist_ok=True)
                (out / name[:2] / f"{name}.{ending}").write_bytes(blob)


@dataclass(frozen=True)
class Captions:
    """Pictures with the captions of Reed et al. 2016: train and test by species, and text with the same tree as both.

    Attributes:
        pictures: their folder in its archive.
        texts: the captions' folder, a folder for each species in it.
        train: the file that lists the species of the training split, a line each.
    """

    pictures: str
    texts: str = "text_c10"
    train: str = "trainvalclasses.txt"

    def __call__(self, unpacked: Path, out: Path) -> None:
        home, texts = within(unpacked, self.pictures), within(unpacked, self.texts)
        chosen = set(within(unpacked, self.train).read_text("utf-8").split())
        for species in sorted(path for path in texts.iterdir() if path.is_dir()):
            split = "train" if species.name in chosen else "test"
            for kind in (split, "text"):
                (out / kind / species.name).mkdir(parents=True)
            for text in sorted(species.glob("*.txt")):
                places = (home / species.name / f"{text.stem}.jpg", home / f"{text.stem}.jpg")
                picture = next((place for place in places if place.is_file()), None)
                if picture is None:
                    raise UserError(f"{species.name}/{text.name} has captions of a picture that is not there", code=1)
                os.replace(picture, out / split / species.name / picture.name)
                os.replace(text, out / "text" / species.name / text.name)


@dataclass(frozen=True)
class Scenes:
    """Cityscapes as pix2pix and CycleGAN saw it: photograph left, labels in colours right, both of one small size.

    Labels are reduced by taking the nearest, so that no colour comes up that is no label's.

    Attributes:
        side: of either, in pixels.
    """

    side: int = 256

    def __call__(self, unpacked: Path, out: Path) -> None:
        photographs, labels = within(unpacked, "leftImg8bit"), within(unpacked, "gtFine")
        for split in ("train", "val"):
            (out / split).mkdir()
            for path in sorted((photographs / split).glob("*/*_leftImg8bit.png")):
                name = path.name.removesuffix("_leftImg8bit.png")
                partner = labels / split / path.parent.name / f"{name}_gtFine_color.png"
                if not partner.is_file():
                    raise UserError(f"{path.name} has no labels ({partner.name}); fetch both archives", code=1)
                photograph = resize(images.read(path).pixels, width=self.side, height=self.side)
                label = cv2.resize(images.read(partner).pixels, (self.side, self.side), interpolation=cv2.INTER_NEAREST)
                images.write(images.Picture(np.hstack([photograph, label])), out / split / f"{name}.png")
