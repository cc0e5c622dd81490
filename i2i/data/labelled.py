"""Data sets for generation: pictures alone, or with the number of their class. Pure functions of the position."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2i.data.datasets import locate, to_tensor, with_channels
from i2i.data.folders import find, read_pixels, scan, subfolders
from i2i.data.resize import resize
from i2i.errors import UserError
from i2i.schedules import Purpose, mix

__all__ = ["Alone", "Digits", "Labelled", "Pictures", "read_idx"]

logger = logging.getLogger(__name__)

IDX = {"train": "train", "test": "t10k"}
LARGEST = 1 << 31  # bytes of an idx file; MNIST's are 47 MB


class Alone(NamedTuple):
    """x: a picture, [C,H,W] uint8, or float32 in [-1,1] where the file has 16 bits."""

    x: Tensor


class Labelled(NamedTuple):
    """x: a picture, [C,H,W] uint8, or float32 in [-1,1] where the file has 16 bits; y: its class, a whole number."""

    x: Tensor
    y: Tensor


class Digits:
    """MNIST (LeCun et al. 1998), or another data set in its four idx files, such as Fashion-MNIST.

    Args:
        root: folder of the files, gzipped or not, looked for here, in ./datasets and under $I2I_DATA.
        split: 60,000 pictures or 10,000.
        labels: whether samples have their class beside them.
        size: height and width; the 28x28 pictures are set into the middle of a black square.
        seed: of the order; >= 0.

    Raises UserError for files that are missing or damaged, naming them.
    """

    def __init__(
        self,
        root: str = "mnist/raw",
        *,
        split: Literal["train", "test"] = "train",
        labels: bool = False,
        size: int = 32,
        seed: int = 0,
    ) -> None:
        folder = find(root)
        pictures = read_idx(folder, f"{IDX[split]}-images-idx3-ubyte", 3)
        classes = read_idx(folder, f"{IDX[split]}-labels-idx1-ubyte", 1)
        if len(pictures) != len(classes) or not len(pictures):
            raise UserError(f"{folder} holds {len(pictures)} pictures and {len(classes)} labels; fetch the files again")
        side = max(pictures.shape[1:])
        if size < side:
            raise UserError(f"{folder} holds pictures of {side} pixels, which do not fit into {size}; set data.size")
        top, left = (size - pictures.shape[1]) // 2, (size - pictures.shape[2]) // 2
        below, right = size - pictures.shape[1] - top, size - pictures.shape[2] - left
        self.x = torch.from_numpy(np.pad(pictures, ((0, 0), (top, below), (left, right)))[:, None])
        self.y = torch.from_numpy(classes.astype(np.int64))
        self.labels, self.seed = labels, seed
        self.classes = tuple(str(number) for number in range(int(classes.max()) + 1))
        self.fields: type[Alone] | type[Labelled] = Labelled if labels else Alone

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, position: int) -> Alone | Labelled:
        _, index = locate(position, len(self), self.seed)
        return Labelled(self.x[index], self.y[index]) if self.labels else Alone(self.x[index])


def read_idx(folder: Path, name: str, dimensions: int) -> NDArray[np.uint8]:
    """An idx file of bytes, NAME or NAME.gz. Raises UserError where it is missing or damaged."""
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise UserError(f"there is no {name}.gz in {folder}; it belongs beside the other three files of the data set")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            raw = file.read(LARGEST)
    except (OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read ({error}); fetch it again") from None
    start = 4 + 4 * dimensions
    shape = tuple(int(n) for n in np.frombuffer(raw[4:start], ">u4")) if len(raw) >= start else ()
    if raw[:4] != bytes([0, 0, 8, dimensions]) or len(raw) - start != np.prod(shape, dtype=np.int64):
        raise UserError(f"{path} is no idx file of {dimensions} dimensions, or is cut short; fetch it again")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


class Pictures:
    """A folder of pictures, cut square from the middle and brought to one size.

    Args:
        root: folder, looked for here, in ./datasets and under $I2I_DATA.
        labels: "folders": the folders below `root` are the classes, in the order of their names; "none": all pictures
            below it are alike; any other word: the column of that name in the folder's labels.tsv says what the classes
            are (tab-separated, its first row the columns' names, its first column the files; the order is the names').
        size: height and width that the networks see.
        crop: side of the square that is cut from the middle before that, in pixels; None takes the shorter side.
        flip: mirror left and right with probability 1/2.
        channels: 1 to 4: gray, gray+alpha, RGB, RGB+alpha.
        keep_in_memory: keep the prepared pixels, so that each file is read once.
        seed: of order and flips; >= 0.

    Raises UserError for folders or files that are missing, empty or damaged, naming them.
    """

    def __init__(
        self,
        root: str,
        *,
        labels: str = "none",
        size: int = 64,
        crop: int | None = None,
        flip: bool = False,
        channels: int = 3,
        keep_in_memory: bool = False,
        seed: int = 0,
    ) -> None:
        if not 1 <= channels <= 4 or size < 1 or (crop is not None and crop < 1):
            raise UserError(f"Pictures takes 1 to 4 channels and sizes from 1 pixel, not {channels}, {size}, {crop}")
        self.files, self.numbers, self.classes = sorted_into(find(root), labels)
        self.size, self.crop, self.flip, self.channels, self.seed = size, crop, flip, channels, seed
        self.kept: dict[int, NDArray[Any]] | None = {} if keep_in_memory else None
        self.fields: type[Alone] | type[Labelled] = Labelled if self.classes else Alone
        self.said = False

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, position: int) -> Alone | Labelled:
        epoch, index = locate(position, len(self), self.seed)
        x = self.picture(epoch, index)
        return Labelled(x, torch.tensor(self.numbers[index])) if self.classes else Alone(x)

    def picture(self, epoch: int, index: int) -> Tensor:
        """[channels,size,size] of one picture, flipped or not as that epoch has it."""
        pixels = self.prepared(index)
        if self.flip and mix(self.seed, Purpose.SAMPLE, epoch, index) & 1:
            pixels = cv2.flip(pixels, 1).reshape(pixels.shape)
        return to_tensor(pixels)

    def prepared(self, index: int) -> NDArray[Any]:
        """[size,size,channels] uint8 or uint16."""
        if self.kept is not None and index in self.kept:
            return self.kept[index]
        file = self.files[index]
        pixels = with_channels(read_pixels(file), self.channels, str(file))
        height, width = pixels.shape[:2]
        side = self.crop or min(height, width)
        if side > min(height, width):
            raise UserError(f"{file}: {width}x{height} pixels are too few for a crop of {side}; set data.crop smaller")
        if side != self.size and not self.said:
            logger.warning("%s is %dx%d: pictures are resized to %dx%d", file, width, height, self.size, self.size)
            self.said = True
        top, left = (height - side) // 2, (width - side) // 2
        square = np.ascontiguousarray(pixels[top : top + side, left : left + side])
        made = np.ascontiguousarray(resize(square, width=self.size, height=self.size))
        if self.kept is not None:
            self.kept[index] = made
        return made

    def fill(self) -> None:
        """Read everything that is to be kept in memory."""
        for index in range(len(self) if self.kept is not None else 0):
            self.prepared(index)


def sorted_into(folder: Path, labels: str) -> tuple[list[Path], list[int], tuple[str, ...]]:
    """The pictures of a folder, the number of each one's class, and the classes' names; see `Pictures`."""
    if labels == "none":
        files = scan(folder)
        return files, [0] * len(files), ()
    if labels == "folders":
        homes = subfolders(folder)
        if not homes:
            raise UserError(f"{folder} has no folders, which were to be its classes; set data.labels=none")
        listed = [(file, number) for number, home in enumerate(homes) for file in scan(home)]
        return [file for file, _ in listed], [number for _, number in listed], tuple(home.name for home in homes)
    files, said = scan(folder), column(folder / "labels.tsv", labels)
    unknown = next((file for file in files if file.relative_to(folder).as_posix() not in said), None)
    if unknown is not None:
        raise UserError(f"{unknown} has no row in {folder / 'labels.tsv'}; add one, or take the picture out")
    of_files = [said[file.relative_to(folder).as_posix()] for file in files]
    classes = tuple(sorted(set(of_files)))
    numbers = {name: number for number, name in enumerate(classes)}
    return files, [numbers[name] for name in of_files], classes


def column(table: Path, name: str) -> dict[str, str]:
    """The file in each row of a table -> what the column `name` says of it; see `Pictures`."""
    try:
        rows = [line.split("\t") for line in table.read_text("utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError):
        raise UserError(
            f"there is no table {table} whose column '{name}' says the classes; set data.labels to none or folders"
        ) from None
    heads = rows[0] if rows else []
    if name not in heads[1:]:
        there = ", ".join(("none", "folders", *heads[1:]))
        raise UserError(f"{table} has no column '{name}'; set data.labels to one of {there}")
    short = next((number for number, row in enumerate(rows, 1) if len(row) != len(heads)), None)
    if short:
        raise UserError(f"{table}, line {short}: {len(rows[short - 1])} columns instead of {len(heads)}; mend the line")
    return {row[0]: row[heads.index(name)] for row in rows[1:]}
