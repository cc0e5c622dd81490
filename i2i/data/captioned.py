"""Pictures with captions: text as character codes, or as embeddings that another program has made of it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2i.data.datasets import locate
from i2i.data.folders import content, find
from i2i.data.labelled import Pictures, column
from i2i.errors import UserError
from i2i.schedules import Purpose, mix

__all__ = ["ALPHABET", "Captioned", "Captions", "Described", "codes"]

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+-=<>()[]{} "
"""The 70 characters of Zhang et al. 2015 (arXiv:1509.01626, Sec. 2.3) as Reed et al. have them: '-' stands there twice,
and the second place is its own."""

PLACES = {character: place for place, character in enumerate(ALPHABET, 1)}

WHICH, OTHER = 1, 2  # what is drawn for a sample beside its flip


class Captions(NamedTuple):
    """x: a picture, [C,H,W]; text: what is said of it; other: of another picture. Texts are [L] int64 codes or [T]
    float32."""

    x: Tensor
    text: Tensor
    other: Tensor


class Described(NamedTuple):
    """x: a picture, [C,H,W]; text: what is said of it, [L] int64 codes or [T] float32; y: its class."""

    x: Tensor
    text: Tensor
    y: Tensor


def codes(text: str, length: int) -> Tensor:
    """The places in `ALPHABET`, from 1, of a sentence's characters: [length] int64. Upper case counts as lower case; 0
    stands for other characters and behind the end; what is longer is cut.

    Raises UserError for a sentence without any letter or digit.
    """
    said = text.strip().lower()[:length]
    if not any(character.isalnum() and character in PLACES for character in said):
        what = f"the caption {text.strip()!r} has no letter a to z" if text.strip() else "the caption is empty"
        raise UserError(f"{what}; say in English words what the picture shows")
    places = [PLACES.get(character, 0) for character in said]
    return torch.tensor(places + [0] * (length - len(places)))


class Captioned:
    """A folder of pictures with captions. Which of a picture's captions is taken is drawn anew in each epoch.

    Args:
        root: folder, looked for here, in ./datasets and under $I2I_DATA.
        text: "characters": of each picture's .txt, a caption a line; "embeddings": of each one's .npy, [T] or [K,T] for
            K captions, or of one embeddings.npy in the folder, [N,T] or [N,K,T] in the order of the pictures' names.
        captions: a folder with the same tree that holds the texts; None: they lie beside the pictures.
        length: of the codes; longer captions are cut (Reed et al. 2016: 201).
        beside: what comes beside picture and text: "other": a text of another picture, of another class where `labels`
            names classes; "class": the picture's class.
        near: columns of the folder's labels.tsv (see `Pictures`): in one of them, drawn anew for each sample, the other
            picture differs, and in the rest it agrees, where there is one like that. Texts that differ in all are told
            from the true one by the easiest of it alone.
        labels, size, crop, flip, channels, keep_in_memory: see `Pictures`.
        seed: of order, flips and captions; >= 0.

    Raises UserError for pictures and texts that are missing, empty or damaged, naming them.
    """

    def __init__(
        self,
        root: str,
        *,
        text: Literal["characters", "embeddings"] = "characters",
        captions: str | None = None,
        length: int = 201,
        beside: Literal["other", "class"] = "other",
        near: Sequence[str] = (),
        labels: str = "none",
        size: int = 64,
        crop: int | None = None,
        flip: bool = False,
        channels: int = 3,
        keep_in_memory: bool = False,
        seed: int = 0,
    ) -> None:
        self.pictures = Pictures(
            root, labels=labels, size=size, crop=crop, flip=flip, channels=channels,
            keep_in_memory=keep_in_memory, seed=seed,
        )  # fmt: skip
        self.classes, self.beside, self.length, self.seed = self.pictures.classes, beside, length, seed
        self.fields: type[Captions] | type[Described] = Captions if beside == "other" else Described
        if length < 1:
            raise UserError(f"captions have a length from 1 character on, not {length}; set data.length")
        if beside == "class" and not self.classes:
            raise UserError("without data.labels there are no classes; name what they are, or set data.beside=other")
        if beside == "other" and len(set(self.pictures.numbers) if self.classes else self.pictures.files) < 2:
            raise UserError(f"{root} holds one picture or class, and none beside it to take another text from")
        home = find(root)
        self.near = near_ones(home, self.pictures.files, near)
        texts = home if captions is None else find(captions)
        stems = [(texts / file.relative_to(home)).with_suffix("") for file in self.pictures.files]
        self.lines: Sequence[Sequence[str]] = ()
        self.embeddings: Sequence[NDArray[Any]] | NDArray[Any] = ()
        if text == "characters":
            self.lines = [lines_of(stem.with_name(f"{stem.name}.txt")) for stem in stems]
        else:
            self.embeddings = embeddings_of(texts, stems)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, position: int) -> Captions | Described:
        epoch, index = locate(position, len(self), self.seed)
        x, text = self.pictures.picture(epoch, index), self.text(epoch, index, WHICH)
        if self.beside == "class":
            return Described(x, text, torch.tensor(self.pictures.numbers[index]))
        return Captions(x, text, self.text(epoch, self.stranger(epoch, index), OTHER))

    def stranger(self, epoch: int, index: int) -> int:
        """Another picture, a near one where there are such, else of another class where there are classes."""
        numbers, count = self.pictures.numbers, len(self)
        drawn = mix(self.seed, Purpose.SAMPLE, epoch, index, OTHER)
        if self.near:
            said, alike = self.near[drawn % len(self.near)]
            group, start = alike[index], drawn // len(self.near)
            for step in range(len(group)):
                place = group[(start + step) % len(group)]
                if said[place] != said[index]:
                    return place
        place = (index + 1 + drawn % (count - 1)) % count
        while place == index or (self.classes and numbers[place] == numbers[index]):
            place = (place + 1) % count
        return place

    def text(self, epoch: int, index: int, purpose: int) -> Tensor:
        """One of a picture's texts: [length] int64 or [T] float32."""
        draw = mix(self.seed, Purpose.SAMPLE, epoch, index, WHICH, purpose)
        if not len(self.embeddings):
            lines = self.lines[index]
            return codes(lines[draw % len(lines)], self.length)
        rows = np.atleast_2d(self.embeddings[index])
        return torch.from_numpy(np.array(rows[draw % len(rows)], np.float32))

    def fill(self) -> None:
        """Read everything that is to be kept in memory."""
        self.pictures.fill()


def near_ones(folder: Path, files: Sequence[Path], columns: Sequence[str]) -> list[tuple[list[str], list[list[int]]]]:
    """For each column of a folder's labels.tsv what it says of every picture, and which pictures agree with it in all
    other columns. Raises UserError for what the table does not say."""
    table = folder / "labels.tsv"
    names = [file.relative_to(folder).as_posix() for file in files]
    told = []
    for name in columns:
        try:
            said = column(table, name)
        except UserError as error:
            raise UserError(f"data.near wants a table of what pictures show: {error}") from None
        if unknown := next((file for file in names if file not in said), None):
            raise UserError(f"{folder / unknown} has no row in {table}; add one, or take the picture out")
        told.append([said[file] for file in names])
    found = []
    for place, said_here in enumerate(told):
        rest = list(zip(*(told[:place] + told[place + 1 :]), strict=True)) or [()] * len(files)
        groups: dict[tuple[str, ...], list[int]] = {}
        for index, key in enumerate(rest):
            groups.setdefault(key, []).append(index)
        found.append((said_here, [groups[key] for key in rest]))
    return found


def lines_of(path: Path) -> list[str]:
    """The captions in a file, without its empty lines. Raises UserError where there are none."""
    try:
        lines = [line.strip() for line in content(path).decode("utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        raise UserError(f"there is no {path} with the captions of a picture; write it, a caption a line") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error}); mend it") from None
    if not lines:
        raise UserError(f"{path} is empty; write what the picture shows, a caption a line")
    for line in lines:
        try:
            codes(line, len(line))
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    return lines


def embeddings_of(folder: Path, stems: Sequence[Path]) -> Sequence[NDArray[Any]] | NDArray[Any]:
    """For each picture its embeddings, [T] or [K,T]. Raises UserError where they are missing or do not fit together."""
    files = [stem.with_name(f"{stem.name}.npy") for stem in stems]
    together = folder / "embeddings.npy"
    if together.is_file():
        found = array_of(together, mapped=True)
        count = len(files)
        if len(found) != count or found.ndim not in (2, 3):
            shape = f"[{count},T] or [{count},K,T]"
            raise UserError(f"{together} holds {list(found.shape)} numbers; of {count} pictures they must be {shape}")
        return found
    arrays = [array_of(path) for path in files]
    for path, array in zip(files, arrays, strict=True):
        if array.ndim not in (1, 2) or array.shape[-1] != arrays[0].shape[-1]:
            wanted = arrays[0].shape[-1]
            raise UserError(
                f"{path} holds {list(array.shape)} numbers; like {files[0].name} it needs [{wanted}] or [K,{wanted}]"
            )
    return arrays


def array_of(path: Path, *, mapped: bool = False) -> NDArray[Any]:
    """An .npy file of finite numbers; `mapped` leaves them on the disk. Raises UserError for anything else."""
    try:
        source = path if mapped or path.exists() else io.BytesIO(content(path))
        found = np.load(source, mmap_mode="r" if mapped else None, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"there is no {path} with embeddings; make it, or set data.text=characters") from None
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} is no .npy file of numbers ({error}); make it again") from None
    if not np.issubdtype(found.dtype, np.floating) or not found.size or not np.isfinite(found).all():
        raise UserError(f"{path} holds no finite floating-point numbers; make it again")
    return np.asarray(found)
