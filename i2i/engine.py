"""Run a generator over images: pad, batch, precision, crop. What comes out depends on the pixels, the model and the
seed alone, whatever the batch, the order or the neighbours."""

from __future__ import annotations

import copy
import hashlib
import math
import platform
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from i2i import images, layers
from i2i.bands import Plan
from i2i.errors import UserError
from i2i.game import Card, Content
from i2i.images.picture import LUMA, as_depth
from i2i.images.resampling import resize
from i2i.memory import SLACK, Appetite, amount, free_memory, given_back
from i2i.rows import Rows
from i2i.schedules import mix

__all__ = ["Engine", "Precision", "fast_bf16"]

Array = NDArray[Any]
Precision = Literal["auto", "bf16", "fp16", "fp32"]
Tile = int | Literal["auto", "off"]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
DOES = {"image": "turns pictures into others", "latent": "draws pictures from random numbers",
        "classifier": "tells the class of pictures", "text": "makes numbers of texts"}  # fmt: skip
LARGE = 1 << 21  # pixels of the result from which bands are no slower than the whole picture on a CPU
ROWS = 256  # of a picture whose colours are enlarged at a time
SPARE = 0.8  # of the free memory for maps that are kept; bands and copies take the rest
PLENTY = 4 << 30  # bytes of free memory from which a band need not be smaller than is fast
GHOST = 1024, 256  # height and width of a picture that a network's bands are measured with, without computing anything
Given = TypeVar("Given", Image.Image, Array, Tensor)


def fast_bf16(device: torch.device) -> bool:
    """Whether bf16 is computed by units of its own there, not emulated (which would be slower than fp32)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    check = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    if device.type != "cpu" or check is None or not check():
        return False
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    # oneDNN also says yes to plain AVX-512, where it emulates
    units = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, unit)() for unit in units if hasattr(torch.cpu, unit))


class Item(NamedTuple):
    """One image on its way through the network."""

    place: int  # among the images asked for
    pixels: Array | Tensor  # [H,W,C] with the network's channels, or [C,H,W] in the card's range
    seed: int
    gray: bool = False  # the result is to be gray, too, though the network draws colours
    source: Array | None = None  # the picture [H,W] or [H,W,C], where the network gives colours to its lightness
    labels: bool = False  # the pixels are the numbers of classes

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)"""
        height, width = self.pixels.shape[1:] if isinstance(self.pixels, Tensor) else self.pixels.shape[:2]
        return height, width

    def within(self, longest: int) -> Item:
        """The image with no side longer than that, its proportions kept."""
        factor = max(self.size) / longest
        height, width = (max(1, round(side / factor)) for side in self.size)
        assert isinstance(self.pixels, np.ndarray)
        return self if factor <= 1 else self._replace(pixels=images.shrunk(self.pixels, width, height))

    def shrunk(self, factor: int) -> Item:
        """The image with sides 1/factor as long."""
        height, width = (max(1, side // factor) for side in self.size)
        if self.labels:
            return self._replace(pixels=self.pixels[::factor, ::factor][:height, :width])
        if isinstance(self.pixels, Tensor):
            return self._replace(pixels=F.interpolate(self.pixels[None].float(), (height, width), mode="area")[0])
        values = self.pixels if self.pixels.dtype != np.float16 else self.pixels.astype(np.float32)
        return self._replace(pixels=images.shrunk(values, width, height))


class Share(NamedTuple):
    """What else takes of the memory while an image is made in bands."""

    beside: int = 0  # bytes
    images: int = 1  # that are made at the same time, this one included


ALONE = Share()


class Engine:
    """A generator made ready to run.

    Args:
        generator: a network with a `.card`, as `load_generator` returns it; it is copied, not changed.
        device: "auto" takes a CUDA device if there is one; else as torch writes it ("cpu", "cuda", "cuda:1", "mps").
        precision: of weights and activations. "auto" takes bf16 where the hardware has units for it, fp16 on other
            GPUs, else fp32. "fp32" gives the plain network's output. With "auto", 16-bit images go through fp32.
        mode: one of the card's modes; None takes the card's own.
        seed: for the dropout of the "paper" mode, together with each image's content.
        batch: images per pass; None takes 1 on a CPU (more gain nothing there), 8 on others. Halved when memory ends.
        tile: "auto" runs large pictures in bands of rows where the network permits it (see `i2i.bands`): memory stays
            bounded, and nothing is approximated unless it must be, which is said. A number is the rows of a band,
            for every picture that has more; "off" takes every picture whole.
        memory: bytes that one picture may take on a CPU beside what the process holds; None takes what is free.
        say: told in a sentence what a user should know; warnings.warn unless given.

    A network that enlarges is taken to keep what it sees: gray stays gray (the luma of what it draws), alpha passes
    through it as a gray picture, and one that knows gray only gets the luma of colours, which are enlarged bicubically.

    A network that takes lightness and gives chroma colours pictures: of those that have colours it sees the lightness,
    and the lightness stays as it was. Where its card says how large a picture it sees, it sees larger ones shrunk to
    that, and their colours are enlarged again: the eye is less sharp for colours than for lightness, and what the
    network has learned of whole pictures holds for those of any size.

    Raises UserError where the device is missing or the card has no such mode.
    """

    def __init__(
        self,
        generator: nn.Module,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        mode: str | None = None,
        seed: int = 0,
        batch: int | None = None,
        tile: Tile = "auto",
        memory: int | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        card = getattr(generator, "card", None)
        if not isinstance(card, Card):
            raise TypeError("the generator carries no card; load it with load_generator, or set generator.card")
        if card.kind != "image":
            advice = "; run it with `i2i sample`" if card.kind == "latent" else ""
            raise UserError(f"this network {DOES[card.kind]}, it translates none{advice}")
        if mode is not None and mode not in card.modes:
            raise UserError(f"this generator has no mode '{mode}'; take {' or '.join(card.modes)}")
        if batch is not None and batch < 1:
            raise UserError(f"a batch of {batch} holds no image; take 1 or more")
        if tile not in ("auto", "off") and (type(tile) is not int or tile < 1):
            raise UserError(f"a tile is a number of rows from 1 on, auto or off, not {tile!r}")
        self.card = card
        self.tile = tile
        self.device = find_device(device)
        self.mode = mode or card.mode
        self.seed = seed
        self.say = say or (lambda sentence: warnings.warn(sentence, RuntimeWarning, stacklevel=3))
        self.batch = batch or (1 if self.device.type == "cpu" else 8)
        self.precision = self.choose(precision)
        self.wide = "fp32" if precision == "auto" else self.precision  # for images of 16 bits
        self.generator = generator
        self.networks: dict[str, nn.Module] = {}
        self.plans: dict[str, Plan | None] = {}
        self.appetite = Appetite(self.device, memory if self.device.type == "cpu" else None)
        self.said: set[str] = set()  # what is said once
        if isinstance(tile, int) and self.plan(self.precision) is None:
            raise UserError("this network, in this mode, cannot run in bands of rows; leave --tile out")

    def choose(self, precision: Precision) -> str:
        """The precision that is meant by `precision` on this device."""
        if precision == "auto":
            return "bf16" if fast_bf16(self.device) else "fp16" if self.device.type == "cuda" else "fp32"
        return usable(precision, self.device, self.say)

    def network(self, precision: str) -> nn.Module:
        """The generator's copy of that precision, made at its first use."""
        if precision not in self.networks:
            network = layers.test_time(copy.deepcopy(self.generator), self.mode)
            network = network.to(self.device, DTYPES[precision])
            if precision != "fp32":  # in fp32 the plain layout, so that the result is the plain network's to the bit
                network = network.to(memory_format=torch.channels_last)
            self.networks[precision] = network
        return self.networks[precision]

    def plan(self, precision: str) -> Plan | None:
        """How the network of that precision runs in bands; None where it cannot."""
        if precision not in self.plans:
            self.plans[precision] = Plan.of(self.network(precision))
        return self.plans[precision]

    # --- the three kinds of images

    def __call__(self, image: Given) -> Given:
        """One image, or a batch as a tensor, through the network; the same kind comes back.

        image: PIL; numpy [H,W] or [H,W,C] in uint8, uint16 or float in [0,1]; a tensor [C,H,W] or [N,C,H,W] in the
        card's input range. Any height and width. PIL and integer numpy images keep their alpha.

        Raises UserError where the network cannot take the image, TypeError for what is none.
        """
        if isinstance(image, Image.Image):
            return images.to_pil(self.picture(images.from_pil(image)))
        if isinstance(image, Tensor):
            batch = image if image.ndim == 4 else image[None]
            if image.ndim not in (3, 4) or batch.shape[1] != self.card.channels[0] or 0 in image.shape:
                raise UserError(f"the network takes tensors [N,{self.card.channels[0]},H,W], not {list(image.shape)}")
            if not image.is_floating_point():
                low, high = self.card.value_range[0]
                raise UserError(f"a tensor holds floats in [{low:g}, {high:g}], not {image.dtype}; scale it, or give "
                                "a numpy array")  # fmt: skip
            found = [raised(result) for result in self.attempt(list(batch))]
            out = torch.stack(found).to(image.device, image.dtype)
            return out if image.ndim == 4 else out[0]
        if not isinstance(image, np.ndarray):
            raise TypeError(f"an image is a PIL image, a numpy array or a tensor, not {type(image).__name__}")
        apart = image.ndim == 3 and image.shape[2] in (2, 4)  # colours and alpha, or as many channels as that
        if apart and (image.shape[2] != self.card.channels[0] or self.card.holds[0].kind != "colours"):
            color = image[..., 0] if image.shape[2] == 2 else image[..., :3]
            if np.issubdtype(image.dtype, np.floating):
                raise UserError("a float image has 1 or 3 channels; take the alpha off")
            done = self.picture(images.Picture(color, alpha=image[..., -1]))
            assert done.alpha is not None
            return np.dstack([done.pixels, done.alpha])
        if image.dtype in (np.uint8, np.uint16) and self.of_luma(image):
            return self.picture(images.Picture(image)).pixels
        return self.run([image])[0]

    def picture(self, picture: images.Picture) -> images.Picture:
        """A picture through the network; alpha, profile and EXIF are carried over."""
        (found,) = self.pictures([picture])
        return raised(found)

    def pictures(self, pictures: Sequence[images.Picture]) -> list[images.Picture | UserError]:
        """As `picture`, for several; a UserError stands in the place of each that failed."""
        parts = [self.parts(picture) for picture in pictures]
        results = iter(self.attempt([part for each in parts for part in each]))
        made: list[images.Picture | UserError] = []
        for picture, each in zip(pictures, parts, strict=True):
            found = [next(results) for _ in each]
            error = next((result for result in found if isinstance(result, UserError)), None)
            made.append(error or self.noted(picture).with_pixels(self.joined(picture, each, found)))
        return made

    def parts(self, picture: images.Picture) -> list[Array]:
        """What of a picture goes through the network: its pixels, with alpha where there is a channel for that; else
        alpha by itself, where it must be enlarged."""
        pixels, alpha, gives = picture.pixels, picture.alpha, self.card.holds[1].kind
        if self.card.channels[0] in (2, 4) and self.card.holds[0].kind == "colours":
            if alpha is None:
                alpha = np.full(pixels.shape[:2], np.iinfo(pixels.dtype).max, pixels.dtype)
            return [np.dstack([with_channels(pixels, self.card.channels[0] - 1), alpha])]
        if alpha is None or self.card.scale == 1 or (self.card.channels[1] in (2, 4) and gives == "colours"):
            return [pixels]
        return [images.filled(pixels, alpha), alpha]

    def joined(
        self, picture: images.Picture, parts: Sequence[Array], results: Sequence[Array], *, top: int = 0
    ) -> Array:
        """Rows of the result from `top` on, [rows,W] or [rows,W,C] with alpha last, of what became of the `parts`."""
        made, height = results[0], len(parts[0]) * self.card.scale
        if self.of_luma(picture.pixels):
            made = images.recolored(made, parts[0], top=top, height=height)
        if len(results) == 1:
            if picture.alpha is None or self.card.scale != 1 or (made.ndim == 3 and made.shape[2] in (2, 4)):
                return made
            return np.dstack([made, as_depth(picture.alpha[top : top + len(made)], made.dtype)])
        assert picture.alpha is not None
        return np.dstack([made, images.settled(results[1], picture.alpha, top=top, height=height)])

    def of_luma(self, pixels: Array) -> bool:
        """Whether of these colours only the luma goes through the network."""
        gray = self.card.channels == (1, 1) and self.card.holds == (Content(), Content())
        return pixels.ndim == 3 and pixels.shape[2] == 3 and gray and self.card.scale != 1

    def noted(self, picture: images.Picture) -> images.Picture:
        """`picture` with what a user should know of what the network does to such a one; without the profile of its
        colours where those of classes take their place."""
        if (palette := self.card.holds[1].palette) is not None:
            return replace(picture, icc=None, palette=tuple(palette.classes.values()))
        if self.card.channels != (1, 1) or picture.pixels.ndim == 2:
            return picture
        what = "the network knows gray only; " + ("its luma went through it, and its colours were enlarged beside it"
                                                  if self.card.scale != 1 else "its colours were left out")  # fmt: skip
        return replace(picture, notes=(*picture.notes, what))

    def expected(self, picture: images.Picture, width: int, height: int) -> images.Picture:
        """What becomes of a picture, at that size, with pixels that are all 0 and take no memory."""
        channels = self.card.channels[1] if self.card.holds[1].kind == "colours" else 3
        if channels in (1, 3):
            channels = 3 if self.of_luma(picture.pixels) else 1 if self.grays(picture.pixels) else channels
            channels += picture.alpha is not None
        kind = picture.pixels.dtype if self.card.holds[1].kind != "labels" else np.dtype(np.uint8)
        return self.noted(picture).with_pixels(np.broadcast_to(kind.type(0), (height, width, channels)))

    def grays(self, given: Any) -> bool:
        """Whether a colour network's result for these pixels is to be gray, as they are."""
        gray = not isinstance(given, Tensor) and (given.ndim == 2 or given.shape[2] == 1)
        gray = gray and self.card.holds[1].kind == "colours"
        return gray and self.card.channels[1] in (1, 3) and (self.card.scale != 1 or self.card.channels[1] == 1)

    def run(self, pixels: Sequence[Array]) -> list[Array]:
        """Images [H,W] or [H,W,C], uint8, uint16 or float in [0,1] => the same depth, [H*scale,W*scale(,C)].

        Gray is replicated for a network of colour. Raises the UserError of the first image that failed.
        """
        return [raised(result) for result in self.attempt(pixels)]

    def attempt(self, pixels: Sequence[Any]) -> list[Any]:
        """As `run`, but a UserError stands in the place of each image that failed. Tensors [C,H,W] are taken too."""
        results: list[Any] = [None] * len(pixels)
        groups: dict[tuple[Any, ...], list[Item]] = {}
        for place, given in enumerate(pixels):
            try:
                item = self.item(place, given)
            except UserError as error:
                results[place] = error
                continue
            key = (self.padded(item.size), self.precise(given), item.pixels.dtype)
            groups.setdefault(key, []).append(item)
        for (size, precision, _), items in groups.items():
            done = 0
            while done < len(items):
                chunk = items[done : done + self.batch]
                outcome = self.chunk(chunk, size, precision)
                if outcome is None:
                    self.batch = max(1, len(chunk) // 2)
                    self.say(f"a batch of {len(chunk)} does not fit into memory; going on with {self.batch}")
                    continue
                for item, result in zip(chunk, outcome, strict=True):
                    results[item.place] = result
                done += len(chunk)
        return results

    def item(self, place: int, given: Array | Tensor) -> Item:
        """What goes through the network of an image. Raises UserError where it cannot."""
        seed = self.content_seed(given) if self.mode == "paper" else 0
        source = given if self.card.holds[1].kind == "chroma" and not isinstance(given, Tensor) else None
        labels = self.card.holds[0].kind == "labels" and not isinstance(given, Tensor)
        item = Item(place, self.adapted(given), seed, self.grays(given), source, labels)
        longest = self.card.holds[0].longest
        return item.within(longest) if longest and source is not None else item

    def precise(self, given: Array | Tensor) -> str:
        """The precision that an image runs in."""
        return self.wide if not isinstance(given, Tensor) and given.dtype == np.uint16 else self.precision

    def adapted(self, given: Array | Tensor) -> Array | Tensor:
        """`given` with the network's channels: [H,W,C] of an array, a tensor [C,H,W] as it is."""
        if isinstance(given, Tensor):
            return given
        if given.ndim not in (2, 3) or 0 in given.shape:
            raise UserError(f"an image is [H,W] or [H,W,C], not {list(given.shape)}")
        if given.dtype not in (np.uint8, np.uint16) and not np.issubdtype(given.dtype, np.floating):
            raise UserError(f"an image is uint8, uint16 or float, not {given.dtype}")
        if self.card.holds[0].kind == "lightness":
            if given.ndim == 3 and given.shape[2] not in (1, 3):
                raise UserError(f"the network takes gray or colours, the image has {given.shape[2]} channels")
            return images.lightness(given)[..., None] / 100
        if (palette := self.card.holds[0].palette) is not None:
            if given.dtype.kind != "u":
                raise UserError(f"a label map is uint8 or uint16, not {given.dtype}")
            return palette.numbers(given, within=self.card.holds[0].within)[..., None]
        return with_channels(given, self.card.channels[0])

    def content_seed(self, given: Array | Tensor) -> int:
        """A seed that depends on the engine's seed, the image's shape and its pixels alone."""
        values = given.detach().cpu().float().numpy() if isinstance(given, Tensor) else given
        digest = hashlib.blake2b(repr((values.shape, values.dtype.str)).encode(), digest_size=8)
        digest.update(np.ascontiguousarray(values).data)
        return mix(self.seed, int.from_bytes(digest.digest(), "little") >> 1)

    def padded(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) that the network takes: a multiple of the card's, and not below its minimum."""
        step = self.card.multiple
        height, width = (-(-max(side, self.card.minimum) // step) * step for side in size)
        return height, width

    # --- the network

    def chunk(self, items: list[Item], size: tuple[int, int], precision: str) -> list[Any] | None:
        """Results for images of one padded size; None where they are too many for the memory."""
        network, pixels = self.network(precision), len(items) * size[0] * size[1]
        banded = self.in_bands(size, precision)
        hungry = "" if banded else self.hungry(size, precision, len(items))
        try:
            if hungry:
                raise MemoryError(hungry)
            if banded:
                found = [self.by_bands(item, size, precision) for item in items]
            else:
                with given_back(self.appetite.wanted(network, self.card, pixels, DTYPES[precision])):
                    found = self.forward(network, items, size, DTYPES[precision])
        except (MemoryError, RuntimeError) as error:
            if out_of_memory(error) and len(items) > 1:
                return None
            return [self.failure(error, items[0], precision)] * len(items)
        results: list[Any] = []
        for item, result in zip(items, found, strict=True):
            if result is None and precision != "fp32":
                self.redone(precision)
                results += self.chunk([item], size, "fp32") or []
            else:
                results.append(not_finite() if result is None else result)
        return results

    def hungry(self, size: tuple[int, int], precision: str, count: int = 1) -> str:
        """Why `count` pictures of that padded size do not fit into memory in one piece, or ""."""
        pixels = count * size[0] * size[1]
        return self.appetite.too_hungry(self.network(precision), self.card, pixels, DTYPES[precision])

    def failure(self, error: Exception, item: Item, precision: str) -> UserError:
        """What a user is told where the network raised `error`."""
        height, width = item.size
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        if not out_of_memory(error):
            return UserError(f"the network failed on {width} x {height} pixels ({why}); look at the model's card "
                             "with `i2i models show`", code=1)  # fmt: skip
        hungry = f" ({why})" if why.startswith("it wants") else ""
        advice = "leave --tile out, " if self.tile == "off" and self.plan(precision) else ""
        advice += "grant more with --max-memory, " if self.appetite.limit is not None else ""
        return UserError(f"{width} x {height} pixels are too many for this network and memory{hungry}; {advice}"
                         "scale the image down, or take a machine with more", code=1)  # fmt: skip

    def redone(self, precision: str) -> None:
        """Say, once, that a result was not finite."""
        sentence = f"a result was not finite in {precision}; such images are computed again in fp32"
        if sentence not in self.said:
            self.said.add(sentence)
            self.say(sentence)

    def in_bands(self, size: tuple[int, int], precision: str, scale: float = 0) -> bool:
        """Whether a picture of that padded size runs in bands, or must where what it becomes is resampled to `scale`
        times its size."""
        longest = self.card.holds[0].longest
        if longest and max(size) <= max(self.padded((longest, longest))):  # shrunk to that: small, and enlarged whole
            return False
        if isinstance(self.tile, int):
            return size[0] > self.tile
        if self.tile == "off":
            return False
        large = self.device.type == "cpu" and size[0] * size[1] * max(scale, self.card.scale) ** 2 > LARGE
        return (large or bool(self.hungry(size, precision))) and self.plan(precision) is not None

    def large(self, picture: images.Picture, scale: float = 0) -> bool:
        """Whether a picture is one for `stream`, where its result is resampled to `scale` times its size afterwards."""
        if self.card.holds[0].longest:
            return False
        return self.in_bands(self.padded(picture.pixels.shape[:2]), self.precise(picture.pixels), scale)

    def stream(
        self,
        picture: images.Picture,
        sink: Callable[[], AbstractContextManager[Callable[[Array], None]]],
        *,
        beside: int = 0,
    ) -> None:
        """A large picture through the network, its result handed on as it is made, in the memory of a few bands.

        Args:
            sink: opens what takes the rows of the result from top to bottom, [rows,W] or [rows,W,C] with alpha last. It
                is left with an error, and opened again, where the result must be made once more in fp32.
            beside: bytes that the sink wants.

        Raises UserError (code 1), and what `sink` raises.
        """
        parts = self.parts(picture)
        items = [self.item(0, part) for part in parts]
        share = Share(beside, len(items))
        size, precision = self.padded(items[0].size), self.precise(parts[0])
        while True:
            try:
                with sink() as write, exactly(self.device, DTYPES[precision]):
                    top = 0
                    for strips in zip(*(self.strips(item, size, precision, share) for item in items), strict=True):
                        write(self.joined(picture, parts, strips, top=top))
                        top += len(strips[0])
                return
            except FloatingPointError:
                if precision == "fp32":
                    raise not_finite() from None
                self.redone(precision)
                precision = "fp32"
            except (MemoryError, RuntimeError) as error:
                raise self.failure(error, items[0], precision) from error

    def by_bands(self, item: Item, size: tuple[int, int], precision: str) -> Any:
        """One image, a band at a time: its result in the item's own kind; None where it is not finite."""
        out, top = self.blank(item), 0
        try:
            with exactly(self.device, DTYPES[precision]):
                for strip in self.strips(item, size, precision):
                    if isinstance(out, Tensor):
                        out[:, top : top + strip.shape[1]] = strip
                        top += strip.shape[1]
                    else:
                        out[top : top + len(strip)] = strip
                        top += len(strip)
        except FloatingPointError:
            return None
        return out

    @torch.inference_mode()
    def strips(self, item: Item, size: tuple[int, int], precision: str, share: Share = ALONE) -> Iterator[Any]:
        """The result of one image in bands of rows from top to bottom, in the item's own kind.

        Raises FloatingPointError where it is not finite.
        """
        plan, dtype = self.plan(precision), DTYPES[precision]
        taken = given(self.network(precision), dtype)
        assert plan is not None

        def reader(item: Item, size: tuple[int, int]) -> Callable[[Rows], Tensor]:
            def read(rows: Rows) -> Tensor:
                return self.entering(item, size, rows)[None].to(taken, memory_format=torch.channels_last)

            return read

        channels = self.card.channels[0]
        wanted, free = plan.wanted((channels, *size), dtype.itemsize), free_memory(self.device)
        if free is not None and self.appetite.limit is not None:
            free = min(free, self.appetite.limit)
        most = statistics = None
        if free is not None:
            free = max(1, (free - share.beside) // share.images)
            most = self.affordable(plan, size[1], free - min(wanted, int(SPARE * free)))
        if free is not None and wanted > SPARE * free:
            factor = math.ceil(math.sqrt(wanted / (SPARE * free)))
            small = item.shrunk(factor)
            least = self.padded(small.size)
            statistics = plan.run(reader(small, least), (channels, *least), lambda rows, band: None, most=most)
            self.say(f"{item.size[1]} x {item.size[0]} pixels are too many to keep; the norms' statistics are taken "
                     f"at 1/{factor} of the size, so colours may differ a little from one piece")  # fmt: skip
        height, width = (side * self.card.scale for side in item.size)
        rows = self.tile * self.card.scale if isinstance(self.tile, int) else None
        for (first, _), band in plan.bands(reader(item, size), (channels, *size), rows=rows, most=most,
                                           statistics=statistics):  # fmt: skip
            if first >= height:
                return
            y = band[0, :, : height - first, :width]
            if not torch.isfinite(y).all():
                raise FloatingPointError
            yield self.leaving(y, item, first)

    def affordable(self, plan: Plan, width: int, free: int) -> int | None:
        """Rows of a picture of that width that may make a band in so many bytes; None where that need not be asked.

        Raises MemoryError where there is none, and the user has set the limit.
        """
        if free > PLENTY and self.appetite.limit is None:
            return None
        least, each = (SLACK * width * part for part in plan.per_column((self.card.channels[0], *self.padded(GHOST))))
        if least + each > free and self.appetite.limit is not None:
            raise MemoryError(f"it wants about {amount(least + each)} a row at a time, {amount(max(0, free))} are free")
        return max(1, int((free - least) / max(1, each)))

    @torch.inference_mode()
    def forward(self, network: nn.Module, items: list[Item], size: tuple[int, int], dtype: torch.dtype) -> list[Any]:
        """One pass: the results in the items' own kind, cropped; None for one that is not finite."""
        x = torch.stack([self.entering(item, size) for item in items]) if len(items) > 1 else (
            self.entering(items[0], size)[None])  # fmt: skip
        if dtype == torch.float32:
            x = x.contiguous()
        else:
            x = x.to(given(network, dtype), memory_format=torch.channels_last)
        if self.mode == "paper":
            layers.seed_dropout(network, [torch.Generator().manual_seed(item.seed) for item in items])
        with exactly(self.device, dtype):
            y = network(x)
        return [self.finished(result, item) for result, item in zip(y, items, strict=True)]

    def entering(self, item: Item, size: tuple[int, int], band: Rows | None = None) -> Tensor:
        """The image, or a band of its rows, on the device as fp32 [C,H,W] in the card's range, padded by reflection."""
        low, high = self.card.value_range[0]
        rows, columns = (reflected(*sides) for sides in zip(item.size, size, strict=True))
        whole = item.size == size and band is None
        rows = rows if band is None else rows[slice(*band)]
        if isinstance(item.pixels, Tensor):
            x = item.pixels.to(self.device, torch.float32)
            return x if whole else x[:, torch.as_tensor(rows)][:, :, torch.as_tensor(columns)]
        values = item.pixels if whole else item.pixels[rows][:, columns]
        if item.labels:
            own = torch.from_numpy(np.ascontiguousarray(values)).to(self.device).permute(2, 0, 1)
            classes = torch.arange(self.card.channels[0], device=self.device)[:, None, None]
            return torch.where(own == classes, high, low)
        peak = np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1
        values = np.ascontiguousarray(values if values.dtype == np.uint8 else values.astype(np.float32))
        if not values.flags.writeable:
            values = values.copy()
        x = torch.from_numpy(values).to(self.device).permute(2, 0, 1)
        return x.to(torch.float32, copy=True).div_(peak / (high - low)).add_(low)

    def finished(self, result: Tensor, item: Item) -> Any:
        """[C,H,W] of the network as the item's kind, cropped; None where it is not finite."""
        height, width = (side * self.card.scale for side in item.size)
        y = result[:, :height, :width]
        return self.leaving(y, item) if torch.isfinite(y).all() else None

    def leaving(self, y: Tensor, item: Item, top: int = 0) -> Any:
        """[C,H,W] of the network, rows from `top` on, as the item's kind: a tensor, or an array [H,W(,C)] of the item's
        type."""
        low, high = self.card.value_range[1]
        if isinstance(item.pixels, Tensor):
            return y.to(torch.float32, copy=True)
        if (palette := self.card.holds[1].palette) is not None:
            return palette.drawn(y.argmax(0).cpu().numpy())
        y = y.float().permute(1, 2, 0).sub(low).div_(high - low).clamp_(0, 1)
        if item.source is not None:
            chroma, source = y.mul_(2).sub_(1).mul_(images.CHROMA).cpu().numpy(), item.source
            if item.size != source.shape[:2]:
                return enlarged(chroma, source)
            return images.coloured(chroma, source[top : top + len(chroma)])
        if item.gray and y.shape[2] == 3:
            y = y @ torch.as_tensor(LUMA, dtype=y.dtype, device=y.device)[:, None]
        kind = item.pixels.dtype
        if kind == np.uint8:
            out: Array = y.mul_(255).round_().to(torch.uint8).contiguous().cpu().numpy()
        elif kind == np.uint16:
            out = y.mul_(65_535).round_().to(torch.int32).contiguous().cpu().numpy().astype(np.uint16)
        else:
            out = y.contiguous().cpu().numpy().astype(kind)
        return out[..., 0] if out.shape[2] == 1 else out

    def blank(self, item: Item) -> Any:
        """Room for a result of the item's kind."""
        height, width = (side * self.card.scale for side in item.size)
        channels = 1 if item.gray else self.card.channels[1]
        if self.card.holds[1].kind != "colours" and not isinstance(item.pixels, Tensor):
            return np.empty((height, width, 3), np.uint8 if item.source is None else item.source.dtype)
        if isinstance(item.pixels, Tensor):
            return torch.empty(channels, height, width, device=self.device)
        return np.empty((height, width) if channels == 1 else (height, width, channels), item.pixels.dtype)


def enlarged(chroma: Array, source: Array) -> Array:
    """`images.coloured` with the chroma [h,w,2] of a picture shrunk, enlarged some rows at a time."""
    height, width = source.shape[:2]
    made = np.empty((height, width, 3), source.dtype)
    for top in range(0, height, ROWS):
        rows = source[top : top + ROWS]
        share = chroma.shape[0] / height
        box = 0.0, top * share, float(chroma.shape[1]), min(chroma.shape[0], (top + len(rows)) * share)
        made[top : top + len(rows)] = images.coloured(resize(chroma, width=width, height=len(rows), box=box), rows)
    return made


def usable(precision: str, device: torch.device, say: Callable[[str], None]) -> str:
    """`precision`, if it is one and `device` computes in it. Raises UserError."""
    if precision not in DTYPES:
        raise UserError(f"there is no precision '{precision}'; take auto, bf16, fp16 or fp32")
    if precision == "bf16" and not fast_bf16(device):
        say(f"this {device.type} has no units for bf16; fp32 may be faster")
    if precision == "fp16" and device.type == "cpu":
        raise UserError("fp16 is for GPUs; on a CPU take bf16 or fp32")
    return precision


def exactly(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """fp32 means fp32: no TF32 in a GPU's convolutions."""
    if device.type == "cuda" and dtype == torch.float32:
        flags: AbstractContextManager[Any] = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        return flags
    return nullcontext()


def find_device(name: str) -> torch.device:
    """The device of that name. Raises UserError where this machine, or this torch, has none."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"there is no device '{name}'; take auto, cpu, cuda, cuda:1, ...") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            why = "this torch is built without CUDA" if torch.version.cuda is None else "no usable GPU was found"
            raise UserError(f"CUDA was asked for, but {why}; take --device cpu")
        if (device.index or 0) >= count:
            raise UserError(f"there is no {name}; this machine has cuda:0 to cuda:{count - 1}")
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("MPS was asked for, but this machine has none; take --device cpu")
    elif device.type not in ("cpu", "mps"):
        raise UserError(f"'{name}' is no device this engine runs on; take auto, cpu, cuda or mps")
    return device


def given(network: nn.Module, dtype: torch.dtype) -> torch.dtype:
    """The number format in which a network of that one takes its input."""
    return torch.float32 if any(isinstance(module, layers.Narrow) for module in network.modules()) else dtype


def reflected(size: int, target: int) -> NDArray[np.intp]:
    """Indices that extend 0..size-1 to `target` by reflection without the edge, again and again if need be."""
    return np.pad(np.arange(size), (0, target - size), mode="reflect" if size > 1 else "edge")


def with_channels(values: Array, channels: int) -> Array:
    """[H,W] or [H,W,C] as [H,W,channels]: gray is replicated, colour is weighed to gray, alpha is added opaque."""
    if values.ndim == 2:
        values = values[..., None]
    given = values.shape[2]
    if given == channels:
        return values
    top = np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1
    if channels in (2, 4) and given in (1, 3):
        return np.dstack([with_channels(values, channels - 1), np.full(values.shape[:2], top, values.dtype)])
    if given == 1:
        return values.repeat(channels, axis=2)
    if given == 3 and channels == 1:
        gray = values @ LUMA
        return (np.rint(gray) if values.dtype.kind == "u" else gray).astype(values.dtype)[..., None]
    raise UserError(f"the network takes {channels} channels, the image has {given}")


def out_of_memory(error: Exception) -> bool:
    """Whether this error means that memory ended; on a CPU torch says it in words only."""
    words = ("can't allocate memory", "not enough memory", "out of memory", "could not allocate")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


def not_finite() -> UserError:
    """What is said of a result that holds infinities or what is no number, in fp32 too."""
    return UserError("the network's result is not finite", code=1)


def raised(result: Any) -> Any:
    """`result`, raised if it is an error."""
    if isinstance(result, UserError):
        raise result
    return result
