"""Draw pictures with a generator whose input is a vector: those of the endless row that a seed stands for, ways between
them, sweeps over a code, sums; and the figures that show these."""

from __future__ import annotations

import copy
import hashlib
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from i2i import layers
from i2i.checkpoint import read_tensors, write_atomically, write_tensors
from i2i.engine import DOES, DTYPES, Precision, exactly, find_device, not_finite, out_of_memory, usable
from i2i.errors import UserError
from i2i.game import Card, Part
from i2i.images import Picture
from i2i.images.picture import flat
from i2i.latents import between, drawn
from i2i.schedules import mix

__all__ = ["LATENTS", "Sampler", "Term", "beside", "equation", "grid", "labels_of", "neighbourhood", "picture",
           "read_latents", "rgb", "stacked", "sum_of", "swept", "terms", "walk", "write_latents"]  # fmt: skip

Array = NDArray[Any]
LISTED = 20  # classes that a sentence names
FAR = 2.0  # standard deviations from 0 to which a normal code is swept
NEAR = 0.25  # Radford et al. 2016 (arXiv:1511.06434), Fig. 7: the uniform noise around the result of a sum
PLACES = r"\d{1,18}(?:\s*,\s*\d{1,18})*"
LATENTS = (".npy", ".safetensors")
GAP, WIDE = 2, 12  # pixels between pictures, and between groups of them


class Sampler:
    """A generator of pictures from vectors, made ready to run.

    A picture depends on the model, the seed and its place alone, not on how many are drawn, in which order, or what
    stands beside it.

    Args:
        generator: a network with a `.card` of kind "latent", as `load_generator` returns it; it is copied, not changed.
        device: "auto" takes a CUDA device if there is one; else as torch writes it.
        precision: of weights and activations. "auto" is "fp32", so that a seed's pictures look alike on all machines.
        mode: one of the card's modes; None takes the card's own.
        seed: from 0 on.
        batch: pictures per pass. One by one they are the same to the bit, however they are drawn; several at once are
            up to four times as fast, equal up to rounding. Halved when memory ends.
        say: told in a sentence what a user should know; warnings.warn unless given.

    Raises UserError for a generator of another kind, a missing device, and a mode that the card has not.
    """

    def __init__(
        self,
        generator: nn.Module,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        mode: str | None = None,
        seed: int = 0,
        batch: int = 1,
        say: Callable[[str], None] | None = None,
    ) -> None:
        card = getattr(generator, "card", None)
        if not isinstance(card, Card):
            raise TypeError("the generator carries no card; load it with load_generator, or set generator.card")
        if card.kind != "latent":
            command = "upscale" if card.scale > 1 else "translate"
            advice = f"; run it with `i2i {command}`" if card.kind == "image" else ""
            raise UserError(f"this network {DOES[card.kind]}, it draws none from random numbers{advice}")
        if mode is not None and mode not in card.modes:
            raise UserError(f"this generator has no mode '{mode}'; take {' or '.join(card.modes)}")
        if batch < 1:
            raise UserError(f"a batch of {batch} holds no picture; take 1 or more")
        self.card, self.parts, self.seed, self.batch = card, card.latent, seed, batch
        self.mode = mode or card.mode
        self.say = say or (lambda sentence: warnings.warn(sentence, RuntimeWarning, stacklevel=3))
        self.device = find_device(device)
        self.precision = "fp32" if precision == "auto" else usable(precision, self.device, self.say)
        self.generator = generator
        self.dtype = DTYPES[self.precision]
        self.network: Any = layers.test_time(copy.deepcopy(generator), self.mode).to(self.device, self.dtype)

    # --- vectors

    def draw(
        self,
        places: Sequence[int],
        *,
        given: Mapping[str, Tensor] | None = None,
        truncation: float | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """[len(places),Z]: the vectors at those places of the seed; see `i2i.latents.drawn`.

        Args:
            given: name of a part -> what stands there in all of them, as `classed` and `told` give it: [size], or a
                row for each place.
            truncation: above 0; None draws as in training.
            seed: another than the sampler's.

        Raises UserError for a text that is not given, or a truncation that is no number above 0 or finds no part.
        """
        if truncation is not None:
            if not 0 < truncation < math.inf:
                raise UserError(f"a truncation is a number above 0, such as 0.7, not {truncation:g}")
            if not any(part.kind in ("normal", "uniform") and part.name not in (given or {}) for part in self.parts):
                raise UserError("this generator draws no numbers that could be truncated; leave --truncation out")
        rows = {name: value.expand(len(places), -1) if value.ndim == 1 else value
                for name, value in (given or {}).items()}  # fmt: skip
        return drawn(self.parts, places, seed=self.seed if seed is None else seed, given=rows, truncation=truncation)

    def classed(self, asked: str) -> dict[str, Tensor]:
        """What to give `draw` for a class: its name or number, or PART=CLASS where there are several such parts.

        Raises UserError, naming the classes there are.
        """
        known = {part.name: part for part in self.parts if part.kind == "class"}
        if not known:
            raise UserError(f"this generator takes no class; it draws from {self.described()}")
        name, equals, wanted = asked.partition("=")
        if not equals or name not in known:
            if len(known) > 1:
                raise UserError(f"'{asked}' may be a class of {' or of '.join(known)}; write which, as PART=CLASS")
            name, wanted = next(iter(known)), asked
        part = known[name]
        names = labels_of(part)
        folded = [label.casefold() for label in names]
        wanted = wanted.strip().casefold()
        if wanted not in folded and not (wanted.isdecimal() and int(wanted) < part.size):
            raise UserError(f"there is no class '{asked}'; there are {listed(names)}")
        number = folded.index(wanted) if wanted in folded else int(wanted)
        return {part.name: torch.eye(part.size)[number]}

    def told(self, text: str) -> dict[str, Tensor]:
        """What to give `draw` for a text, of which the network's `encode` reads the first `longest` characters.

        Raises UserError for an empty text, and where the generator takes none.
        """
        part = next((part for part in self.parts if part.kind == "text"), None)
        if part is None:
            raise UserError(f"this generator takes no text; it draws from {self.described()}")
        if not text.strip():
            raise UserError("a text is empty; say in it what the picture is to show")
        longest = getattr(self.network, "longest", None)
        if longest is not None and len(text) > longest:
            self.say(f"'{text[:20]}...' has {len(text)} characters, of which the first {longest} are read")
        with torch.inference_mode():
            return {part.name: self.network.encode([text[:longest]])[0].float().cpu()}

    def described(self) -> str:
        """The parts of a vector, in words."""
        return listed([f"{part.name} ({part.size} {part.kind})" for part in self.parts])

    # --- pictures

    def __call__(self, latent: Tensor) -> Array:
        """latent: [N,Z] => the pictures, uint8: [N,S,S] of one channel, else [N,S,S,C].

        Raises UserError for vectors of another size, what is not finite, and what does not fit into memory.
        """
        low, high = self.card.value_range[1]
        size, channels = self.card.size, self.card.channels[1]
        done = [np.empty((0, size, size, channels), np.uint8)]
        for y in self.passes(latent):
            unit = y.permute(0, 2, 3, 1).sub(low).div_(high - low).clamp_(0, 1)
            done.append(unit.mul_(255).round_().to(torch.uint8).numpy())
        made: Array = np.concatenate(done)
        return made[..., 0] if channels == 1 else made

    def tensors(self, latent: Tensor) -> Tensor:
        """As the call, but [N,C,S,S] in the card's range, float32 on the CPU."""
        size, channels = self.card.size, self.card.channels[1]
        return torch.cat([torch.empty(0, channels, size, size), *self.passes(latent)])

    def passes(self, latent: Tensor) -> Iterator[Tensor]:
        """latent: [N,Z] => the pictures, some at a time, as `tensors` has them."""
        if latent.ndim != 2 or latent.shape[1] != self.card.channels[0]:
            raise UserError(f"the generator takes vectors [N,{self.card.channels[0]}], not {list(latent.shape)}")
        done = 0
        while done < len(latent):
            rows = latent[done : done + self.batch]
            if self.mode == "paper":
                layers.seed_dropout(self.network, [torch.Generator().manual_seed(self.content(row)) for row in rows])
            try:
                with torch.inference_mode(), exactly(self.device, self.dtype):
                    y = self.network(rows.to(self.device, self.dtype)).float().cpu()
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error) or self.batch == 1:
                    why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
                    raise UserError(f"the network failed ({why}); see `i2i models show`", code=1) from error
                self.batch //= 2
                self.say(f"a batch of {2 * self.batch} does not fit into memory; going on with {self.batch}")
                continue
            if not torch.isfinite(y).all():
                other = f"a result is not finite in {self.precision}; take --precision fp32"
                raise not_finite() if self.precision == "fp32" else UserError(other, code=1)
            yield y
            done += len(rows)

    def content(self, row: Tensor) -> int:
        """A seed for dropout, of the sampler's and a vector [Z] alone."""
        digest = hashlib.blake2b(row.float().contiguous().numpy().tobytes(), digest_size=8).digest()
        return mix(self.seed, int.from_bytes(digest, "little") >> 1)


def labels_of(part: Part) -> tuple[str, ...]:
    """What the classes of a part are called: its labels, else their numbers."""
    return part.labels or tuple(str(number) for number in range(part.size))


def listed(names: Sequence[str]) -> str:
    """Some names of a list, in words."""
    return ", ".join(names[:LISTED]) + (f", ... {names[-1]}" if len(names) > LISTED else "")


# --- ways through the space of vectors --------------------------------------------------------------------------------


def walk(parts: Sequence[Part], stops: Tensor, frames: int) -> list[Tensor]:
    """Ways [frames,Z] from each stop to the next, both of them included; see `i2i.latents.between`.

    stops: [S,Z] with S from 2 on; frames: from 2 on.
    """
    share = torch.linspace(0, 1, frames)[:, None]
    return [between(parts, a.expand(frames, -1), b.expand(frames, -1), share) for a, b in pairwise(stops)]


def swept(parts: Sequence[Part], code: str, latent: Tensor, columns: int) -> Tensor:
    """Each vector with all values of a code in turn, as in Fig. 2 of InfoGAN (Chen et al. 2016, arXiv:1606.03657).

    Args:
        code: name of a part; NAME.K is its number K where it has several. A class takes all its places, a uniform part
            goes over its span, a normal one from -2 to 2.
        latent: [N,Z].
        columns: values of a code that is no class.

    Returns [N,columns,Z]. Raises UserError for a code that is none, naming those there are.
    """
    name, _, place = code.partition(".")
    found = {part.name: part for part in parts if part.kind != "text"}
    part = found.get(name)
    several = part is not None and part.kind != "class" and part.size > 1
    if part is None or bool(place) != several or (several and not (place.isdecimal() and int(place) < part.size)):
        codes = [name if part.kind == "class" or part.size == 1 else f"{name}.0 to {name}.{part.size - 1}"
                 for name, part in found.items()]  # fmt: skip
        raise UserError(f"there is no code '{code}'; there are {listed(codes) or 'none'}")
    if part.kind == "class":
        values = torch.eye(part.size)
    else:
        low, high = part.span if part.kind == "uniform" else (-FAR, FAR)
        values = torch.linspace(low, high, columns)[:, None]
    rows = latent[:, None].repeat(1, len(values), 1)
    start = sum(other.size for other in parts[: parts.index(part)]) + int(place or 0)
    rows[:, :, start : start + values.shape[1]] = values
    return rows


class Term(NamedTuple):
    """One term of a sum of vectors: its sign, and the places whose mean it is."""

    sign: int
    places: tuple[int, ...]


def terms(text: str) -> list[Term]:
    """The terms of "1,5,9 - 2,3 + 4". Raises UserError for what is no such sum."""
    whole = text.strip()
    if not re.fullmatch(rf"[+-]?\s*{PLACES}(\s*[+-]\s*{PLACES})*", whole):
        raise UserError(f"'{text}' is no sum of pictures; write their numbers as in '1,5,9 - 2,3 + 4'")
    found = re.findall(rf"([+-]?)\s*({PLACES})", whole)
    return [Term(-1 if sign == "-" else 1, tuple(map(int, places.split(",")))) for sign, places in found]


def sum_of(signs: Sequence[int], means: Tensor) -> Tensor:
    """[T,Z] => [Z]: vector arithmetic (Radford et al. 2016, Sec. 6.3.2)."""
    return (torch.tensor(signs, dtype=means.dtype)[:, None] * means).sum(0)


def neighbourhood(parts: Sequence[Part], centre: Tensor, *, seed: int = 0) -> Tensor:
    """[9,Z]: `centre` [Z] in the middle of eight with uniform noise of +-0.25 on normal and uniform parts (Fig. 7)."""
    noise = torch.rand(9, len(centre), generator=torch.Generator().manual_seed(mix(seed, -1))) * 2 - 1
    noise[4] = 0
    free = torch.cat([torch.full((part.size,), float(part.kind in ("normal", "uniform"))) for part in parts])
    return centre + NEAR * noise * free


# --- files of vectors -------------------------------------------------------------------------------------------------


def read_latents(path: Path, size: int) -> Tensor:
    """[N,size] float32 of a .npy file, or of a .safetensors file that holds one tensor, or one called "latent".

    Raises UserError for a file that is missing, damaged, of another size, or holds what is no finite number.
    """
    if path.suffix.lower() not in LATENTS:
        raise UserError(f"{path}: latent vectors are kept in files that end in {' or '.join(LATENTS)}")
    if not path.is_file():
        raise UserError(f"there is no file {path}; `i2i sample MODEL --save-latents FILE` writes one")
    try:
        if path.suffix.lower() == ".npy":
            array = np.load(path, allow_pickle=False)
            if array.dtype.kind not in "fiu":
                raise UserError(f"{path} holds values of type {array.dtype}, no numbers; write it with numpy.save")
            values = torch.from_numpy(array.astype(np.float32))
        else:
            tensors = read_tensors(path)
            if "latent" not in tensors and len(tensors) != 1:
                raise UserError(f"{path} holds {len(tensors)} tensors, none of which is called latent; name one so")
            values = tensors.get("latent", next(iter(tensors.values()))).float()
    except (OSError, ValueError, EOFError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read ({error}); write it again") from None
    values = values[None] if values.ndim == 1 else values
    if values.ndim != 2 or values.shape[1] != size or not len(values):
        raise UserError(f"{path} is a latent file of another size: it holds {list(values.shape)}, and this generator "
                        f"takes vectors [N,{size}]")  # fmt: skip
    if not torch.isfinite(values).all():
        raise UserError(f"{path} holds infinities or what is no number; write it again")
    return values


def write_latents(path: Path, latent: Tensor) -> None:
    """[N,Z] as .npy or .safetensors, whole or not at all. Raises OSError."""

    def write(part: Path) -> None:
        if path.suffix.lower() == ".npy":
            with part.open("wb") as out:
                np.save(out, latent.numpy())
        else:
            write_tensors(part, {"latent": latent.contiguous()})

    write_atomically(path, write)


# --- figures ----------------------------------------------------------------------------------------------------------


def picture(pixels: Array) -> Picture:
    """[H,W], or [H,W,C] with alpha last where C is even, uint8, as a picture."""
    return Picture(np.zeros((1, 1), np.uint8)).with_pixels(pixels)


def rgb(pixels: Array) -> Array:
    """The same as [H,W,3], on white."""
    return flat(picture(pixels))


def grid(pictures: Iterable[Array], columns: int) -> Array:
    """Pictures of one size in rows of `columns` => [H,W,3] uint8 on white."""
    tiles = [rgb(pixels) for pixels in pictures]
    return stacked([beside(tiles[start : start + columns]) for start in range(0, len(tiles), columns)])


def beside(blocks: Sequence[Array], gap: int = GAP) -> Array:
    """Blocks [h,w,3] beside each other on white, their lower edges in one line."""
    height, width = max(len(block) for block in blocks), sum(block.shape[1] + gap for block in blocks) - gap
    page, left = np.full((height, width, 3), 255, np.uint8), 0
    for block in blocks:
        page[height - len(block) :, left : left + block.shape[1]] = block
        left += block.shape[1] + gap
    return page


def stacked(blocks: Sequence[Array], gap: int = GAP) -> Array:
    """Blocks [h,w,3] above each other on white, their left edges in one line."""
    height, width = sum(len(block) + gap for block in blocks) - gap, max(block.shape[1] for block in blocks)
    page, top = np.full((height, width, 3), 255, np.uint8), 0
    for block in blocks:
        page[top : top + len(block), : block.shape[1]] = block
        top += len(block) + gap
    return page


def equation(
    signs: Sequence[int], operands: Sequence[Sequence[Array]], means: Sequence[Array], around: Sequence[Array]
) -> Array:
    """Fig. 7 of DCGAN: the pictures of each term above that of their mean, and the result amid its neighbours."""
    size, blocks = len(means[0]), []
    for place, (sign, pictures, mean) in enumerate(zip(signs, operands, means, strict=True)):
        if place or sign < 0:
            blocks.append(mark("+" if sign > 0 else "-", size))
        blocks.append(stacked([grid(pictures, 1), rgb(mean)], WIDE))
    return beside([*blocks, mark("=", size), grid(around, 3)], WIDE)


def mark(sign: Literal["+", "-", "="], size: int) -> Array:
    """A sign as [size,size/2,3], black on white; size from 4 on."""
    page = np.full((size, size // 2, 3), 255, np.uint8)
    row, column, thick, reach = size // 2, size // 4, max(1, size // 32), size // 6
    for shift in (-2 * thick, 2 * thick) if sign == "=" else (0,):
        page[row + shift : row + shift + thick, column - reach : column + reach + thick] = 0
    if sign == "+":
        page[row - reach : row + reach + thick, column : column + thick] = 0
    return page
