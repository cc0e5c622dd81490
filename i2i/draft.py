"""Draft a recipe for a surveyed folder: complete, explained, and of a size that a machine trains in the given time.

A size is tried by measuring it; `choose` takes the largest that leaves time for enough images. Adding a game is an
entry in GAMES: what data it takes, its sizes, and a function that writes its two sections.
"""

from __future__ import annotations

import json
import math
import os
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from statistics import median
from typing import NamedTuple

import yaml

from i2i.data.folders import find
from i2i.data.resize import fitted
from i2i.data.survey import Kind, Side, Survey
from i2i.errors import UserError

__all__ = ["GAMES", "Draft", "Machine", "Pace", "Size", "choose", "duration", "fitting", "known", "named", "pick"]

KEPT = 0.25  # share of the free memory that decoded pictures may take
TAKEN = 0.7  # share of the free memory that training may take
MOST_LEFT_OUT = 0.25  # share of the pictures that may be too small for a crop


class Machine(NamedTuple):
    """What training will run on.

    Attributes:
        name: in words.
        device: "cpu", "cuda" or "mps".
        cores: processors.
        threads: torch's own choice.
        memory: bytes free on the device; None where unknown.
        host: bytes free in main memory; None where unknown.
        bf16: whether it has units for bf16.
        busy: whether other programs keep the processors busy: then a second thread waits more than it computes.
    """

    name: str
    device: str
    cores: int
    threads: int
    memory: int | None
    host: int | None
    bf16: bool
    busy: bool = False


class Size(NamedTuple):
    """How large a game is played.

    Attributes:
        width: filters of the generator's first layer.
        judge: filters of the discriminator's first layer.
        blocks: residual blocks, where the generator has them.
        load, crop: sides in pixels, at most: smaller pictures make both smaller.
        batch: images per step.
        memory: GB that training was seen to take, the libraries' own gigabyte included.
    """

    width: int
    judge: int
    blocks: int
    load: int
    crop: int
    batch: int
    memory: float


class Frame(NamedTuple):
    """How pictures are brought to a size: arguments of the data sets, and the reason for `preprocess` and `load`."""

    preprocess: str
    load: int
    crop: int
    why: str
    scale: str


class Pace(NamedTuple):
    """Measured speed: seconds an image that training takes, and that reading it the first time takes.

    `threads` were fastest; None is torch's choice.
    """

    step: float
    read: float
    threads: int | None = None

    def seconds(self, images: int, epoch: int) -> float:
        """What that many images take, where those of an epoch are read once and kept."""
        return images * self.step + min(images, epoch) * self.read


@dataclass(frozen=True)
class Draft:
    """Everything a recipe is written from."""

    survey: Survey
    game: str
    size: Size
    machine: Machine
    name: str
    direction: str = "a2b"
    images: int = 1000
    pace: Pace | None = None

    @property
    def frame(self) -> Frame:
        return framed(self.survey, self.size)

    @property
    def full(self) -> Size:
        """The paper's size."""
        return GAMES[self.game].sizes[-1]

    @property
    def kept(self) -> bool:
        """Whether the decoded pictures fit in memory."""
        if self.machine.host is None or self.frame.preprocess == "crop" or self.game == "srgan":
            return False
        tall = max(1.0, max(1 / side.aspects[0] for side in self.survey.sides))
        pixels = self.frame.load**2 * (tall if "scale" in self.frame.preprocess else 1)
        count = sum(side.count for side in self.survey.sides) * (2 if self.survey.kind == "halves" else 1)
        return 3 * pixels * count < KEPT * self.machine.host

    @property
    def workers(self) -> int:
        """Processes that read: none beside a processor that trains, which they would only keep from it."""
        return 0 if self.machine.device == "cpu" else max(0, min(4, self.machine.cores - 1))

    def words(self) -> tuple[str, str]:
        """What A and what B shows."""
        if self.survey.kind == "halves":
            return "left half", "right half"
        if self.survey.kind == "singles":
            return "picture, a quarter as large", "picture"
        return self.survey.sides[0].name or "A", self.survey.sides[-1].name or "B"

    def channels(self) -> tuple[int, int]:
        return self.survey.sides[0].channels, self.survey.sides[-1].channels

    def estimate(self) -> str:
        """ "0.52 s an image, so 22,000 images take about 3 h 10 min", or that nothing was measured."""
        if self.pace is None:
            return "its speed was not measured"
        beside = " beside other programs" if self.machine.busy else ""
        return (
            f"measured {seconds(self.pace.step)} an image{beside}, so {self.images:,} images take about "
            f"{duration(self.pace.seconds(self.images, self.survey.count))}"
        )

    def remarks(self) -> list[str]:
        """What happens to pictures that are not as the others."""
        said, crop = [], self.frame.crop
        heads = [head for side in self.survey.sides for head in side.heads.values()]
        if self.game == "srgan":
            few = len(small(self.survey.sides[0], crop))
            said += [f"{few:,} of them are smaller than the crop of {crop} pixels and left out"] * bool(few)
        else:
            few = sum(min(head.width, head.height) < crop for head in heads)
            said += [f"{few:,} of them are smaller than the crop of {crop} pixels and enlarged"] * bool(few)
        if any(head.channels in (2, 4) for head in heads):
            said.append("alpha is left out of training; translating carries it over")
        if not all(side.complete for side in self.survey.sides) or self.survey.decoded < len(heads):
            said.append(
                f"the pixels of {self.survey.decoded:,} were looked at for damage; if training meets another that is "
                "damaged, name it under data.without"
            )
        return said

    def text(self) -> str:
        """The recipe as YAML. Raises UserError for names of files that are no text."""
        sort = GAMES[self.game]
        a, b = self.words()
        if self.direction == "b2a" and self.game == "pix2pix":
            a, b = b, a
        game, data = sort.write(self)
        root = " ".join(self.survey.root.resolve().name.split())
        prepared = reachable(self.survey.tests) if self.survey.tests and self.game != "srgan" else None
        about = [
            f"{sort.paper} for the pictures of {root}, written by `i2i new`.",
            f"What it saw: {'; '.join(' '.join(line.split()) for line in self.survey.lines())}.",
            f"The machine: {self.machine.name}; {self.estimate()}.",
            "`i2i train` takes any line as key=value too: training.images=40_000.",
        ]
        lines = [
            *(line for said in about for line in textwrap.wrap(said, 118, initial_indent="# ", subsequent_indent="# ")),
            f"name: {self.name}  # of the run's folder, runs/{self.name}",
            "about:  # words for the card of the trained generator; they change no result",
            f"  a: {quoted(a)}  # what goes in",
            f"  b: {quoted(b)}  # what comes out",
            f"  data: {quoted(root)}",
            "  terms: unknown  # say under which terms these pictures may be used: they are the weights' terms too",
            *([f"  prepared: {quoted(prepared)}  # what `i2i translate` takes without inputs"] if prepared else []),
            *game,
            *data,
            *self.training(),
        ]
        text = "\n".join(lines) + "\n"
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UserError(f"a name in {self.survey.root} is not UTF-8 and cannot be written; rename it") from None
        return text

    def training(self) -> Iterator[str]:
        """The lines of the last section."""
        sort, count, images = GAMES[self.game], self.survey.count, self.images
        epochs = images / count
        long = f"{epochs:,.0f} epochs of {count:,}" if epochs >= 2 else f"of {count:,} pictures"
        fast = self.machine.bf16
        why = "the paper: fp32; this machine has units for bf16" if fast else "this machine has no units for bf16"
        yield "training:"
        yield f"  images: {grouped(images)}  # {long}; {sort.length}; lengths are counted in images"
        yield f"  batch: {self.size.batch}  # {sort.batch}"
        yield "  seed: 0  # another seed, another run; the same seed, the same run to the bit"
        yield f"  precision: {'bf16' if fast else 'fp32'}  # {why}"
        if self.pace and self.pace.threads:
            why = "other programs are busy beside it; null takes all there are" if self.machine.busy else ""
            yield f"  threads: {self.pace.threads}  # {why or f'measured: {self.machine.threads} were no faster'}"
        else:
            yield "  threads: null  # torch's choice, all there are"
        yield f"  rate: {sort.rate(images)}"
        if self.workers:
            yield f"  workers: {self.workers}  # processes that read pictures while the {self.machine.device} trains"
        else:
            yield "  workers: 0  # the processor trains; others that read would only slow it down"
        yield f"  log_every: {grouped(even(images / 50))}  # images between two lines of losses"
        yield f"  save_every: {grouped(even(images / 10))}  # between checkpoints; the same command continues"
        yield f"  grid_every: {grouped(even(images / 20))}  # between sheets of pictures to look at"


# --- what a game's file is given -------------------------------------------------------------------------------------


def pix2pix(draft: Draft) -> tuple[list[str], list[str]]:
    """Its `game` and its `data` section."""
    size, full, frame, found = draft.size, draft.full, draft.frame, draft.survey
    depth = int(math.log2(frame.crop))
    given, wanted = draft.channels()[:: -1 if draft.direction == "b2a" else 1]
    field = 70 if frame.crop >= 128 else 34
    field_why = "Sec. 6.1.2" if field == 70 else "the paper's 70 would see all of so small a crop"
    a, b = (side.folder.relative_to(found.root).as_posix() for side in (found.sides[0], found.sides[-1]))
    names = draft.words()[:: -1 if draft.direction == "b2a" else 1]
    game = [
        "game:",
        "  of: i2i.translation.pix2pix:Pix2Pix",
        "  generator:",
        "    of: i2i.translation.pix2pix:UnetGenerator",
        f"    inputs: {given}  # channels: 1 gray, 3 colour",
        f"    outputs: {wanted}",
        f"    width: {size.width}  # {compared('Sec. 6.1.1', size.width, full.width)}",
        f"    depth: {depth}  # Sec. 6.1.1: halved to 1x1, which takes {depth} times from {frame.crop} pixels",
        "    dropout: 0.5  # Sec. 6.1.1; the paper's noise",
        "  discriminator:",
        "    of: i2i.translation.pix2pix:PatchDiscriminator",
        f"    channels: {given + wanted}  # input and output together: it judges pairs",
        f"    width: {size.judge}  # {compared('Sec. 6.1.2', size.judge, full.judge)}",
        f"    field: {field}  # pixels that one score sees; {field_why}",
        "  rule: i2i.losses:LOGISTIC  # Eq. 1",
        "  pixel: 100.0  # Sec. 3.3: weight of the L1 distance; more is smoother and nearer, less is livelier",
        "  optimizer: {of: torch.optim:Adam, lr: 2.0e-4, betas: [0.5, 0.999]}  # Sec. 3.3",
        "  average: null  # the paper keeps the last weights",
    ]
    if found.kind == "halves":
        where = [f"  root: {path(found.sides[0].folder)}", "  layout: side-by-side  # A is the left half, B the right"]
    else:
        where = [
            f"  root: {path(found.root)}",
            "  layout: folders  # partners have equal names but for the ending",
            f"  a: {quoted(a)}",
            f"  b: {quoted(b)}",
        ]
    data = [
        "data:",
        "  of: i2i.data.datasets:Paired",
        *where,
        f"  direction: {draft.direction}  # {' '.join(names[0].split())} becomes {' '.join(names[1].split())}",
        *cutting(frame, "Sec. 6.2"),
        "  photometric: null  # changes of the input's colours, such as [{ColorJitter: {brightness: 0.2}}]",
        f"  channels: [{given}, {wanted}]  # {spoken(draft, (given, wanted))}",
        *keeping(draft),
    ]
    return game, data


def cyclegan(draft: Draft) -> tuple[list[str], list[str]]:
    """Its `game` and its `data` section."""
    size, full, frame, found = draft.size, draft.full, draft.frame, draft.survey
    channels = max(draft.channels())
    field = 70 if frame.crop >= 128 else 34
    field_why = "Sec. 7.2" if field == 70 else "the paper's 70 would see all of so small a crop"
    blocks = size.blocks if frame.crop >= 256 else min(size.blocks, 6)
    blocks_why = "Sec. 7.2: 9 from 256x256 on" if blocks == 9 else "Sec. 7.2: 6 at 128x128"
    single = min(side.count for side in found.sides) == 1
    game = [
        "game:",
        "  of: i2i.translation.cyclegan:CycleGAN",
        "  generator:  # built twice: a to b, and b to a",
        "    of: i2i.translation.cyclegan:ResnetGenerator",
        f"    inputs: {channels}  # channels: 1 gray, 3 colour",
        f"    outputs: {channels}",
        f"    width: {size.width}  # {compared('Sec. 7.2', size.width, full.width)}",
        f"    blocks: {blocks}  # {blocks_why}",
        "    bias: true  # as in the published weights",
        "  discriminator:  # built twice",
        "    of: i2i.translation.pix2pix:PatchDiscriminator",
        f"    channels: {channels}",
        f"    width: {size.judge}  # {compared('Sec. 7.2', size.judge, full.judge)}",
        f"    field: {field}  # pixels that one score sees; {field_why}",
        "    norm: i2i.layers:InstanceNorm  # Sec. 7.2",
        "    bias: true  # as in the PyTorch release",
        "  rule: i2i.losses:LEAST_SQUARES  # Sec. 4",
        "  cycle: 10.0  # Sec. 4: weight of the way there and back",
        "  identity: 5.0  # Sec. 5.2, half of cycle: keeps colours; 0.0 lets them change, and is faster by a quarter",
        "  pool: 50  # Sec. 4: past pictures that the discriminators see again",
        "  optimizer: {of: torch.optim:Adam, lr: 2.0e-4, betas: [0.5, 0.999]}  # Sec. 7.1",
        "  average: null  # the paper keeps the last weights",
    ]
    halves = found.kind == "halves"
    data = [
        "data:",
        "  of: i2i.data.datasets:Unaligned",
        f"  a: {path(found.sides[0].folder)}",
        f"  b: {path(found.sides[-1].folder)}",
        f"  side_by_side: {str(halves).lower()}"
        + ("  # A is the left halves, B the right ones; which belong together is not used" if halves else ""),
        *cutting(frame, "as pix2pix, Sec. 6.2"),
        "  photometric: null  # changes of A's colours, such as [{ColorJitter: {brightness: 0.2}}]",
        f"  channels: [{channels}, {channels}]  # {spoken(draft, (channels, channels))}",
        *keeping(draft),
        *(["  fewest: 1  # a set of one picture: its random crops stand for a data set"] if single else []),
    ]
    return game, data


def srgan(draft: Draft) -> tuple[list[str], list[str]]:
    """Its `game` and its `data` section: the first stage alone, which needs no network that is trained elsewhere."""
    size, full, found = draft.size, draft.full, draft.survey
    channels, crop = draft.channels()[0], draft.frame.crop
    game = [
        "game:  # the paper's first stage alone: recipes/srgan-*.yaml go on from there",
        "  of: i2i.translation.srgan:SRGAN",
        "  generator:",
        "    of: i2i.translation.srgan:SRResNet",
        "    scale: 4  # Sec. 3.2; 2, 3 and 8 are possible",
        f"    inputs: {channels}  # channels: 1 gray, 3 colour",
        f"    outputs: {channels}",
        f"    width: {size.width}  # {compared('Sec. 2.1', size.width, full.width)}",
        f"    blocks: {size.blocks}  # {compared('Sec. 2.1', size.blocks, full.blocks, fewer=True)}",
        "    norm: null  # the paper: batch norm; without it short runs come further (EDSR, Lim et al. 2017)",
        "    residual: true  # the paper draws the picture; this draws what bicubic enlargement lacks (VDSR)",
        "  distance: torch.nn.functional:l1_loss  # the paper: mse_loss, which blurs more",
        "  optimizer: {of: torch.optim:Adam, lr: 5.0e-4, betas: [0.9, 0.99]}  # Sec. 3.2: 1.0e-4, 0.9",
        f"  average: {{of: i2i.schedules:HalfLife, images: {grouped(even(draft.images / 80))}}}  # the paper: none",
    ]
    data = [
        "data:",
        "  of: i2i.data.datasets:Photographs",
        f"  roots: [{path(found.sides[0].folder)}]",
        f"  crop: {crop}  # of the large picture; "
        + ("Sec. 3.2" if crop == 96 else "the paper's 96 does not fit into enough of these pictures"),
        "  flip: true  # mirrored left and right, every other time",
        "  turn: true  # by quarter turns: false where up and down matter",
        f"  channels: {channels}  # {spoken(draft, (channels,))}",
        "  keep_in_memory: " + ("true  # decoded once: they fit in memory" if fits(draft) else "false  # read anew"),
        *leaving_out(dict(found.unusable) | dict.fromkeys(small(found.sides[0], crop), "smaller than the crop")),
    ]
    return game, data


# --- parts of them ---------------------------------------------------------------------------------------------------


def compared(section: str, given: int, paper: int, *, fewer: bool = False) -> str:
    """A comment beside a number that the paper has too."""
    if given == paper:
        return section
    return f"{section}: {paper}; {'fewer' if fewer else 'narrower'}, for the time this machine needs"


def cutting(frame: Frame, section: str) -> list[str]:
    return [
        f"  preprocess: {frame.preprocess}  # {frame.why}",
        f"  load: {frame.load}  # {frame.scale}",
        f"  crop: {frame.crop}  # side of the random crop; "
        + (f"{section}" if frame.crop == 256 else "the paper: 256"),
        "  flip: true  # mirrored left and right, every other time; false where that matters, as for text",
    ]


def keeping(draft: Draft) -> list[str]:
    kept = "true  # decoded once: they fit in memory" if draft.kept else "false  # read anew every time"
    return [f"  keep_in_memory: {kept}", *leaving_out(draft.survey.unusable)]


def leaving_out(files: Mapping[Path, str]) -> list[str]:
    """The lines that leave out files, each for its reason."""
    if not files:
        return ["  without: []  # files to leave out"]
    listed = [f"    - {path(file)}  # {' '.join(why.split())}" for file, why in files.items()]
    return ["  without:  # files to leave out", *listed]


def spoken(draft: Draft, channels: Sequence[int]) -> str:
    """What becomes of pictures that have other channels."""
    notes = []
    for side in draft.survey.sides:
        heads = side.heads.values()
        notes += ["alpha is left out"] * any(head.channels in (2, 4) for head in heads)
        notes += ["gray is repeated"] * (max(channels) == 3 and any(head.channels < 3 for head in heads))
    kind = {1: "gray", 3: "colour"}
    what = " to ".join(dict.fromkeys(kind[count] for count in channels))
    return "; ".join([what, *dict.fromkeys(notes)])


def small(side: Side, crop: int) -> list[Path]:
    """The pictures that a crop does not fit into."""
    return [file for file, head in side.heads.items() if min(head.width, head.height) < crop]


def fits(draft: Draft) -> bool:
    """Whether all pictures fit in memory as they are."""
    heads = draft.survey.sides[0].heads.values()
    size = 3 * sum(head.width * head.height for head in heads) * draft.survey.count / len(heads)
    return draft.machine.host is not None and size < KEPT * draft.machine.host


def framed(found: Survey, size: Size) -> Frame:
    """How the survey's pictures are brought to a size."""
    shorter = min(side.shorter[len(side.shorter) // 2] for side in found.sides)
    crop = min(size.crop, 1 << (shorter.bit_length() - 1))
    if found.kind == "singles":
        lengths = found.sides[0].shorter
        enough = lengths[int(MOST_LEFT_OUT * len(lengths))]
        return Frame("crop", size.load, min(size.crop, max(16, enough // 16 * 16)), "", "")
    jitter = round(crop * 286 / 256)  # pix2pix, Sec. 6.2
    load = max(jitter, min(size.load, shorter))
    width = round(median(head.width for side in found.sides for head in side.heads.values()))
    learned = f"pictures {width} wide are brought to this, the scale at which the network learns"
    aspects = [aspect for side in found.sides for aspect in (side.aspects[0], side.aspects[-1])]
    if min(side.count for side in found.sides) == 1 and found.kind == "domains":
        crop = max(16, min(crop, 1 << (min(side.shorter[0] for side in found.sides) // 2).bit_length() - 1))
        load = max(2 * crop, min(min(side.widths[0] for side in found.sides), 4 * crop))
        why = "the whole width, then a random crop: one picture gives many"
        return Frame("scale-width+crop", tall_enough(found, load, crop), crop, why, learned)
    if min(aspects) > 0.95 and max(aspects) < 1.05:
        why = "to load x load, then a random crop (pix2pix, Sec. 6.2: jitter)"
        return Frame("resize+crop", load, crop, why, learned)
    if max(aspects) <= 2 and all(side.complete for side in found.sides):
        why = "to width load in proportion, then a random crop: these pictures are not square"
        return Frame("scale-width+crop", tall_enough(found, load, crop), crop, why, learned)
    why = f"to load x load, then a random crop: widths of {min(aspects):.2g} to {max(aspects):.2g} heights become 1"
    return Frame("resize+crop", load, crop, why, learned)


def tall_enough(found: Survey, load: int, crop: int) -> int:
    """The width from `load` on at which every picture, scaled in proportion, holds the crop."""
    heads = [head for side in found.sides for head in side.heads.values()]
    while any(fitted(head.width, head.height, "scale-width+crop", load)[1] < crop for head in heads):
        load += 1
    return load


class Sort(NamedTuple):
    """What is known about a game.

    Attributes:
        paper: its name.
        takes: kinds of data it can be played on.
        needs: what it needs, where it cannot.
        sizes: from the smallest to the paper's.
        enough: images below which a larger network gains nothing.
        wanted: pictures of an epoch -> images of a run that is not short of time.
        length, batch, rate: what stands beside these numbers.
        write: the sections `game` and `data`.
    """

    paper: str
    takes: tuple[Kind, ...]
    needs: str
    sizes: tuple[Size, ...]
    enough: int
    wanted: Callable[[int], int]
    length: str
    batch: str
    rate: Callable[[int], str]
    write: Callable[[Draft], tuple[list[str], list[str]]]


def half_and_half(images: int) -> str:
    """The papers' schedule."""
    rate = f"{{of: i2i.schedules:LinearToZero, hold: {grouped(images // 2)}, end: {grouped(images)}}}"
    return f"{rate}  # the papers' halves: constant, then to zero"


def cosine(images: int) -> str:
    rate = f"{{of: i2i.schedules:Cosine, end: {grouped(images)}, warmup: {grouped(even(images / 160))}}}"
    return f"{rate}  # the paper: a tenth from half on\n  clip: 1.0  # largest norm of a gradient; the paper: any"


GAMES = {
    "pix2pix": Sort(
        "pix2pix (Isola et al. 2017, arXiv:1611.07004)",
        ("halves", "couples"),
        "pairs of pictures that show the same thing, side by side in one file or under equal names in two folders",
        (
            Size(16, 16, 0, 143, 128, 1, 1.2),
            Size(16, 32, 0, 286, 256, 1, 1.3),
            Size(32, 32, 0, 286, 256, 1, 1.6),
            Size(64, 64, 0, 286, 256, 1, 2.8),
        ),
        16_000,
        lambda count: min(300_000, max(16_000, 200 * count)),
        "the paper: 200 epochs",
        "Sec. 6.2",
        half_and_half,
        pix2pix,
    ),
    "cyclegan": Sort(
        "CycleGAN (Zhu et al. 2017, arXiv:1703.10593)",
        ("domains", "couples", "halves"),
        "two sets of pictures in two folders such as trainA and trainB",
        (
            Size(16, 16, 6, 286, 128, 1, 1.2),
            Size(24, 32, 6, 286, 128, 1, 1.3),
            Size(32, 64, 9, 286, 256, 1, 2.4),
            Size(64, 64, 9, 286, 256, 1, 3.6),
        ),
        20_000,
        lambda count: min(300_000, max(20_000, 200 * count)),
        "Sec. 7.1: 200 epochs",
        "Sec. 7.1",
        half_and_half,
        cyclegan,
    ),
    "srgan": Sort(
        "SRResNet, the first stage of SRGAN (Ledig et al. 2017, arXiv:1609.04802), for four times the size",
        ("singles",),
        "one folder of pictures that are as large and sharp as results shall be",
        (Size(32, 0, 8, 96, 96, 8, 1.6), Size(64, 0, 16, 96, 96, 8, 2.2), Size(64, 0, 16, 96, 96, 16, 2.4)),
        60_000,
        lambda count: min(2_000_000, max(320_000, 800 * count)),
        "the paper: 16 million, a million steps of 16",
        "Sec. 3.2: 16",
        cosine,
        srgan,
    ),
}


def known(game: str) -> None:
    """Raise UserError unless it is one of GAMES."""
    if game not in GAMES:
        near = get_close_matches(game, GAMES, 1)
        advice = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(GAMES)}"
        raise UserError(f"'{game}' is no game that `i2i new` writes recipes for: {advice}")


def pick(found: Survey, game: str | None) -> str:
    """The game that is asked for, or the one that fits best. Raises UserError where the data do not permit it."""
    if game is None:
        return next(name for name, sort in GAMES.items() if found.kind in sort.takes)
    if found.kind not in GAMES[game].takes:
        other = ", ".join(f"--game {name}" for name, sort in GAMES.items() if found.kind in sort.takes)
        held = found.lines()[0].partition(": ")[2]
        raise UserError(f"{game} needs {GAMES[game].needs}; {found.root} holds {held}, which {other} takes")
    return game


def fitting(found: Survey, game: str) -> list[Size]:
    """The game's sizes, from the smallest on, that these pictures make different."""
    sizes: dict[tuple[object, ...], Size] = {}
    for size in GAMES[game].sizes:
        sizes.setdefault((framed(found, size)[:3], size[:3], size.batch), size)
    return list(sizes.values())


def choose(
    sizes: Sequence[Size],
    measure: Callable[[Size], Pace | None],
    *,
    game: str,
    epoch: int,
    seconds: float,
    images: int | None,
    memory: int | None,
) -> tuple[Size, Pace, int]:
    """The largest size that is fast enough, its pace, and how many images to train.

    Args:
        measure: the pace of a size, None where it does not fit into memory or there is no more time to measure.
        epoch: pictures of an epoch.
        seconds: the time there is.
        images: how many are asked for; None leaves the choice.
        memory: bytes that are free; None where unknown.

    Raises UserError where even the smallest does not fit into memory.
    """
    sort = GAMES[game]
    best: tuple[Size, Pace] | None = None
    for size in sizes:
        if best and memory is not None and size.memory * 1e9 > TAKEN * memory:
            break
        pace = measure(size)
        if pace is None or (best and pace.seconds(images or sort.enough, epoch) > seconds):
            break
        best = size, pace
    if best is None:
        raise UserError(f"the memory of this machine does not suffice for the smallest {game}; free some of it", code=1)
    size, pace = best
    if images is None:
        possible = (seconds - min(epoch, seconds / (pace.step + pace.read)) * pace.read) / pace.step
        images = max(size.batch, rounded(min(possible, sort.wanted(epoch))))
    return size, pace, images


# --- words and numbers -----------------------------------------------------------------------------------------------


def path(file: Path) -> str:
    """A file or folder as a recipe names it, in YAML."""
    return quoted(reachable(file))


def reachable(file: Path) -> str:
    """The shortest name by which `find` comes to that very file from the current folder; else its absolute path."""
    real = os.path.abspath(file)
    for home in (".", "datasets", os.environ.get("I2I_DATA") or "."):
        name = os.path.relpath(real, os.path.expanduser(home))
        try:
            if not name.startswith("..") and os.path.samefile(find(name), real):
                return Path(name).as_posix()
        except (UserError, OSError):
            continue
    return real


def quoted(text: str) -> str:
    """A string as YAML, in quotes where it needs them, also within brackets."""
    plain = yaml.safe_dump(text, width=math.inf, allow_unicode=True).removesuffix("...\n").strip()
    return json.dumps(text, ensure_ascii=False) if plain != text or set(text) & set(",[]{}#&*!|>%@`") else text


def grouped(number: int) -> str:
    """1234567 -> 1_234_567."""
    return f"{number:_}" if number >= 10_000 else str(number)


def rounded(number: float) -> int:
    """Down to two digits."""
    if number < 100:
        return max(1, int(number))
    unit = 10 ** (int(math.log10(number)) - 1)
    return int(number // unit * unit)


def even(number: float) -> int:
    """Down to one digit of 1, 2 or 5; at least 1."""
    unit = 10 ** max(0, int(math.log10(max(1.0, number))))
    return max(1, next((digit * unit for digit in (5, 2, 1) if digit * unit <= number), 1))


def seconds(number: float) -> str:
    return f"{number:.2f} s" if number < 10 else f"{number:.0f} s"


def duration(number: float) -> str:
    """ "40 s", "25 min", "3 h 20 min"."""
    if number < 100:
        return f"{max(1, round(number))} s"
    if number < 3570:
        return f"{round(number / 60)} min"
    hours, tens = divmod(round(number / 600), 6)
    if hours >= 10:
        return f"{round(number / 3600)} h"
    return f"{hours} h {10 * tens} min" if tens else f"{hours} h"


def named(game: str, root: Path) -> str:
    """A recipe's name: letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^\w.-]+", "-", f"{game}-{root.resolve().name}").strip("-.") or game
