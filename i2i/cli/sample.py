"""`i2i sample MODEL`: draw pictures, and see what a generator knows: walks, sweeps, sums, nearest training pictures."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial, reduce, wraps
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from i2i.cli.completion import models as complete_models
from i2i.cli.evaluate import counter
from i2i.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from i2i.images.picture import Array
    from i2i.sampling import Sampler

__all__ = ["sample"]

FILE = click.Path(path_type=Path)
MANY = 1024  # pictures between two looks at how far it is
COLUMNS = 8  # of a figure, unless --frames says another number
NEAREST = 7  # training pictures beside a sample
FILMED = 30  # frames of a film between two seeds
SHARP = 256  # pixels from which a film's frames need not be enlarged to be seen
PAGE = 1 << 30  # bytes of the pictures of one file
FIGURES = {"interpolate": "interpolation.png", "traverse": "traversal.png", "arithmetic": "arithmetic.png",
           "nearest": "nearest.png"}  # fmt: skip


def seeds(context: click.Context, option: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    """The text 1,5,9 as numbers."""
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,18}(\s*,\s*\d{1,18})+", text.strip()):
        raise click.BadParameter(f"'{text}' is no list of seeds; write two or more, as in 1,2,3")
    return tuple(map(int, text.split(",")))


@dataclass(frozen=True)
class Options:
    """What the options were given, by their names."""

    count: int | None
    grid: bool
    out: Path | None
    seed: int | None
    truncation: float | None
    classes: tuple[str, ...]
    texts: tuple[str, ...]
    interpolate: tuple[int, ...] | None
    loop: bool
    traverse: str | None
    arithmetic: str | None
    nearest: str | None
    frames: int | None
    rate: int
    latents: Path | None
    save_latents: Path | None
    batch: int
    device: str
    precision: Any
    mode: str | None
    overwrite: bool
    as_json: bool
    quiet: bool

    @property
    def figure(self) -> str:
        """Which of FIGURES is wanted; "" for plain pictures."""
        return next((name for name in FIGURES if getattr(self, name) is not None), "")

    @property
    def usual(self) -> str:
        """The name of what is written, unless --out says another."""
        return FIGURES.get(self.figure, "samples.png")


OPTIONS = [
    click.argument("model", nargs=-1, required=True, shell_complete=complete_models),
    click.option("-n", "--count", type=click.IntRange(1, 10_000_000),
                 help="Pictures, of each class and text [default: 64; 8 where there are several or in figures]."),
    click.option("--grid", is_flag=True, help="All in one picture, also where --out is a folder."),
    click.option("-o", "--out", type=FILE,
                 help="A picture (png, jpg, ...) of all; a folder for single ones; of --interpolate also a film: gif, "
                      "mp4, mkv, mov, webp, apng; - for standard output [default: samples.png, or by the figure]."),
    click.option("--seed", type=click.IntRange(min=0, max=2**63 - 1), help="Of the row of pictures [default: 0]."),
    click.option("--truncation", type=float, metavar="T",
                 help="Draw normal numbers beyond T again; of uniform ones only the middle T of the span. Less "
                      "variety, often better pictures."),
    click.option("--class", "classes", multiple=True, metavar="K",
                 help="Number or name; several times, or all: a row for each."),
    click.option("--text", "texts", multiple=True, metavar="TEXT",
                 help="What the picture shows; several times, or a file.txt with one a line: a row for each."),
    click.option("--interpolate", callback=seeds, metavar="SEED,SEED,...",
                 help="The way from the first picture of a seed to that of the next."),
    click.option("--loop", is_flag=True, help="With --interpolate: and back to the first."),
    click.option("--traverse", metavar="CODE", help="A code over its span, or all classes, in each row."),
    click.option("--arithmetic", metavar="'1,5,9 - 2,3 + 4'",
                 help="Sums of the mean vectors of pictures by their numbers in the row, the first being 0."),
    click.option("--nearest", metavar="DATA",
                 help="The training pictures nearest to the samples: a folder, one of MNIST's files, or a recipe."),
    click.option("--frames", type=click.IntRange(min=2, max=10_000),
                 help=f"Pictures of a way, or columns of a sweep [default: {COLUMNS}; in films {FILMED}]."),
    click.option("--fps", "rate", type=click.IntRange(1, 100), default=25, show_default=True, help="Of films."),
    click.option("--latents", type=FILE, help="Take the vectors of this file (.npy, .safetensors)."),
    click.option("--save-latents", type=FILE, help="Also keep the vectors (.npy or .safetensors)."),
    click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True,
                 help="Pictures per pass. Several are faster; with 1 a picture is the same to the bit in any company."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps."),
    click.option("--precision", type=click.Choice(["auto", "bf16", "fp16", "fp32"]), default="auto", show_default=True,
                 help="auto is fp32."),
    click.option("--mode", type=click.Choice(["paper", "deterministic", "stored"]), help="[default: the model's]."),
    click.option("--overwrite", is_flag=True, help="Replace files that are there."),
    click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output."),
    click.option("-q", "--quiet", is_flag=True, help="Say only what went wrong."),
]  # fmt: skip


def packed(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command these options as one object."""

    @wraps(command)
    def call(model: tuple[str, ...], **given: Any) -> int:
        return command(model, Options(**{field.name: given[field.name] for field in fields(Options)}))

    return reduce(lambda wrapped, option: option(wrapped), reversed(OPTIONS), call)


@click.command()
@packed
def sample(model: tuple[str, ...], options: Options) -> int:
    """Draw pictures with MODEL, a generator that takes random numbers.

    MODEL is family/name (or family name), a generator file, or hf://user/repository.

    A seed stands for an endless row of pictures: number 5 of seed 0 is the same whatever else is drawn. Figures:
    --interpolate walks between seeds, --traverse sweeps a code, --arithmetic adds and subtracts pictures, --nearest
    shows the training pictures that are most alike. `i2i help sample` says more.
    """
    from i2i.cli import tune_allocator

    check(options)
    tune_allocator()  # before torch makes its first large allocation
    from i2i import zoo
    from i2i.sampling import Sampler

    begun, said = time.monotonic(), list[str]()

    def say(sentence: str) -> None:
        said.append(sentence)
        if not options.quiet:
            click.echo(sentence, err=True)

    name = zoo.one(model)
    generator = zoo.load_generator(name, say=None if options.quiet else say)
    sampler = Sampler(generator, device=options.device, precision=options.precision, mode=options.mode,
                      seed=options.seed or 0, batch=options.batch, say=say)  # fmt: skip
    made = FIGURE[options.figure](Source(sampler, options), options, say)
    files = list(map(str, made.files))
    if options.save_latents:
        from i2i.sampling import write_latents

        with stored(options.save_latents):
            write_latents(options.save_latents, made.latent)
        files.append(str(options.save_latents))
    if options.as_json:
        facts = {"model": name, "seed": sampler.seed, "pictures": made.drawn, "size": sampler.card.size,
                 "precision": sampler.precision, "mode": sampler.mode, "files": files} | made.facts  # fmt: skip
        click.echo(json.dumps(facts | {"said": said, "seconds": round(time.monotonic() - begun, 3)}))
    if not options.quiet:
        for file in [] if options.as_json else files:
            click.echo(file, err=str(options.out) == "-")
        what = f"{made.drawn} pictures" if made.drawn > 1 else "1 picture"
        side = sampler.card.size
        click.echo(f"{what} of {side}x{side} pixels in {time.monotonic() - begun:.1f} s", err=True)
    return 0


def check(options: Options) -> None:
    """Raise UserError for options that do not go together, and for files that are there already."""
    given = [f"--{name}" for name in FIGURES if getattr(options, name) is not None]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} are figures of their own; take one at a time")
    if options.loop and options.figure != "interpolate":
        raise UserError("--loop closes a way between seeds; it goes with --interpolate")
    if options.frames and options.figure not in ("interpolate", "traverse"):
        raise UserError("--frames goes with --interpolate and --traverse; how many pictures are drawn, says -n")
    if options.count and options.figure in ("interpolate", "arithmetic"):
        raise UserError(f"-n does not go with --{options.figure}, whose numbers say what is drawn; leave it out")
    if options.seed is not None and options.figure == "interpolate" and options.latents is None:
        raise UserError("--interpolate names its seeds itself; leave --seed out")
    if options.latents:
        whole = [option for option, value in (("--class", options.classes), ("--text", options.texts),
                                              ("--truncation", options.truncation)) if value]  # fmt: skip
        if whole:
            raise UserError(f"a latent file holds whole vectors; leave {' and '.join(whole)} out")
    if options.save_latents and options.save_latents.suffix.lower() not in (".npy", ".safetensors"):
        raise UserError(f"--save-latents {options.save_latents}: name a file that ends in .npy or .safetensors")
    if str(options.out) == "-" and options.as_json:
        raise UserError("--json and the picture itself cannot both go to standard output; name a file with -o")
    if str(options.out) == "-" and sys.stdout.isatty():
        raise UserError("a picture would fill the terminal; name a file with -o, or pipe it on")
    for path in (target(options), options.save_latents):
        if path is not None:
            free(path, options)


def free(path: Path, options: Options) -> None:
    """Raise UserError where a file is there already and is not to be replaced."""
    if path.exists() and not options.overwrite:
        raise UserError(f"{path} is there already; choose another name, or replace it with --overwrite")


def target(options: Options) -> Path | None:
    """The one picture or film to write; None where there are single ones, or standard output gets it.

    Raises UserError for a name that is neither that of a folder nor of a picture.
    """
    out = Path(options.usual) if options.out is None else options.out
    if str(out) == "-":
        return None
    if out.is_dir() or not out.suffix:
        return out / options.usual if options.grid or options.figure else None
    from i2i.images import FILMS, FORMATS, check_film

    ending = out.suffix.lower()
    stills = [suffix for held in FORMATS.values() for suffix in held.suffixes]
    if options.figure == "interpolate" and ending in FILMS:
        check_film(out)
    elif ending not in stills:
        advice = f"take one of {', '.join(FORMATS)}, or a folder"
        advice = "films are made with --interpolate" if ending in FILMS else advice
        raise UserError(f"{out}: no picture is known by that ending; {advice}")
    return out


class Made(NamedTuple):
    """What was made: how many pictures, of which vectors [drawn,Z], the files, and more for --json."""

    drawn: int
    latent: Tensor
    files: list[Path]
    facts: dict[str, Any]


class Source:
    """Where vectors come from: drawn, under the conditions that the options name, or read from a file.

    Attributes:
        conditions: what all vectors of a row are given, and how its files are called; one without any unless asked for.
    """

    def __init__(self, sampler: Sampler, options: Options) -> None:
        """Raises UserError for classes and texts that the model does not take, and for a file that does not fit."""
        from i2i.sampling import labels_of, read_latents

        self.sampler, self.truncation = sampler, options.truncation
        self.count, self.tell = options.count, counter(options.quiet)
        self.file = None if options.latents is None else read_latents(options.latents, sampler.card.channels[0])
        asked = list(dict.fromkeys(options.classes))
        if asked == ["all"]:
            asked = [label for part in sampler.parts if part.kind == "class" for label in labels_of(part)] or asked
        classes = [named(sampler.classed(one)) for one in asked] or [("", {})]
        told = [text for one in options.texts for text in lines(one)]
        texts = [(f"-text{place}", sampler.told(text)) for place, text in enumerate(told)] or [("", {})]
        self.conditions = [(one + other, a | b) for (one, a), (other, b) in product(classes, texts)]

    @property
    def several(self) -> bool:
        """Whether there are several conditions: then they are rows."""
        return len(self.conditions) > 1

    def rows(self, usual: int) -> int:
        """How many pictures are wanted of each condition."""
        return self.count or (usual if self.file is None else len(self.file))

    def __call__(self, places: Sequence[int], *, condition: int = 0, seed: int | None = None) -> Tensor:
        """[len(places),Z]. Raises UserError where a file holds fewer."""
        if self.file is None:
            given = self.conditions[condition][1]
            return self.sampler.draw(places, given=given, truncation=self.truncation, seed=seed)
        if max(places) >= len(self.file):
            raise UserError(f"the latent file holds {len(self.file)} vectors, number 0 to {len(self.file) - 1}; "
                            f"there is no number {max(places)}")  # fmt: skip
        return self.file[list(places)]

    def each(self, count: int) -> Tensor:
        """[conditions*count,Z]: the first `count` of each condition."""
        import torch

        return torch.cat([self(range(count), condition=place) for place in range(len(self.conditions))])

    def fit(self, count: int) -> None:
        """Raise UserError where so many pictures are too many for one file."""
        size = self.sampler.card.size
        if 3 * count * size**2 > PAGE:
            raise UserError(f"{count} pictures of {size}x{size} pixels are too many for one file; take fewer, or have "
                            "single ones in a folder that -o names")  # fmt: skip

    def pictures(self, latent: Tensor) -> Array:
        """The pictures of [N,Z], with a word on how far it is. As `Sampler.__call__`."""
        import numpy as np

        self.fit(len(latent))
        done = []
        for part in latent.split(MANY):
            done.append(self.sampler(part))
            if len(latent) > MANY:
                self.tell("drawn", sum(map(len, done)), len(latent))
        return np.concatenate(done)


def named(given: dict[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """A class as a part of files' names, such as -class7, and what it was made of."""
    ((part, vector),) = given.items()
    return f"-{re.sub(r'[^0-9A-Za-z]+', '_', part)}{int(vector.argmax())}", given


def lines(text: str) -> list[str]:
    """The texts of a file that ends in .txt, one a line; any other text itself. Raises UserError."""
    if not text.endswith(".txt") or "\n" in text:
        return [text]
    try:
        found = [line.strip() for line in Path(text).read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{text} cannot be read as a file of texts ({error}); write one on each line") from None
    if not found:
        raise UserError(f"{text} holds no text; write one on each line")
    return found


@contextmanager
def stored(path: Path) -> Iterator[None]:
    """Inside, `path` is written; its folder is made. Raises UserError (code 1) where that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UserError(f"cannot write {path}: {why}; free some space, or name another place", code=1) from None


def written(page: Array, options: Options) -> list[Path]:
    """Write the one picture, [H,W] or [H,W,C], where the options say; the files."""
    from i2i import images
    from i2i.sampling import picture

    path = target(options)
    if path is None:
        sys.stdout.buffer.write(images.encode(picture(page), "png")[0])
        sys.stdout.buffer.flush()
        return []
    with stored(path):
        images.write(picture(page), path)
    return [path]


# --- plain pictures ---------------------------------------------------------------------------------------------------


def plain(source: Source, options: Options, say: Callable[[str], None]) -> Made:
    """Pictures: all in one, or each by itself."""
    from i2i.sampling import grid

    count = source.rows(COLUMNS if source.several else COLUMNS**2)
    total = count * len(source.conditions)
    if target(options) is None and str(options.out) != "-":
        return singles(source, options, count)
    source.fit(total)
    latent = source.each(count)
    pictures = source.pictures(latent)
    columns = count if source.several else math.isqrt(count - 1) + 1
    page = grid(pictures, columns) if total > 1 else pictures[0]
    return Made(total, latent, written(page, options), {"columns": columns})


def singles(source: Source, options: Options, count: int) -> Made:
    """Each picture as a PNG of its own, called by seed, condition and number."""
    import torch

    from i2i import images
    from i2i.sampling import picture

    folder, kept, done = options.out, list[Any](), 0
    assert folder is not None
    row = "latent" if source.file is not None else f"seed{source.sampler.seed}"
    paths = [folder / f"{row}{name}-{place:06}.png" for name, _ in source.conditions for place in range(count)]
    for path in paths:
        free(path, options)
    for condition in range(len(source.conditions)):
        for start in range(0, count, MANY):
            latent = source(range(start, min(count, start + MANY)), condition=condition)
            kept += [latent] if options.save_latents else []
            for path, pixels in zip(paths[done:], source.sampler(latent), strict=False):
                with stored(path):
                    images.write(picture(pixels), path)
            done += len(latent)
            source.tell("drawn", done, len(paths))
    return Made(len(paths), torch.cat(kept) if kept else torch.empty(0), paths, {})


# --- figures ----------------------------------------------------------------------------------------------------------


def interpolated(source: Source, options: Options, say: Callable[[str], None]) -> Made:
    """Ways between seeds: a row of pictures each, or a film of all."""
    import numpy as np
    import torch

    from i2i.images import FILMS, film
    from i2i.sampling import grid, rgb, walk

    named, path = options.interpolate or (), target(options)
    if source.several and len(source.conditions) != len(named):
        raise UserError(f"--interpolate names {len(named)} seeds, and there are {len(source.conditions)} classes and "
                        "texts; name one for all, or one for each seed")  # fmt: skip
    stops = [source((place if source.file is not None else 0,), seed=place, condition=number if source.several else 0)
             for number, place in enumerate(named)]  # fmt: skip
    stops += stops[:1] if options.loop else []
    moving = path is not None and path.suffix.lower() in FILMS
    frames = options.frames or (FILMED if moving else COLUMNS)
    ways = walk(source.sampler.parts, torch.cat(stops), frames)
    if path is None or not moving:
        latent = torch.cat(ways)
        return Made(len(latent), latent, written(grid(source.pictures(latent), frames), options), {"frames": frames})
    latent = torch.cat([ways[0][:1], *(way[1:] for way in ways)])  # where two ways meet, one picture
    latent = latent[:-1] if options.loop else latent
    size = source.sampler.card.size
    factor = -(-SHARP // size)
    shown = [rgb(pixels).repeat(factor, 0).repeat(factor, 1) for pixels in source.pictures(latent)]
    if source.sampler.card.channels[1] == 1:
        shown = [np.ascontiguousarray(frame[..., 0]) for frame in shown]
    if factor > 1:
        say(f"frames are enlarged {factor} times, to {factor * size}x{factor * size} pixels")
    with stored(path):
        film(shown, path, rate=options.rate)
    return Made(len(latent), latent, [path], {"frames": frames, "fps": options.rate})


def traversed(source: Source, options: Options, say: Callable[[str], None]) -> Made:
    """A row for each picture, a column for each value of a code."""
    from i2i.sampling import grid, swept

    code = options.traverse or ""
    rows = swept(source.sampler.parts, code, source.each(source.rows(1 if source.several else COLUMNS)),
                 options.frames or COLUMNS)  # fmt: skip
    latent, columns = rows.flatten(0, 1), rows.shape[1]
    page = grid(source.pictures(latent), columns)
    return Made(len(latent), latent, written(page, options), {"code": code, "columns": columns})


def calculated(source: Source, options: Options, say: Callable[[str], None]) -> Made:
    """A sum of mean vectors, with the pictures of its terms."""
    import torch

    from i2i.sampling import equation, neighbourhood, sum_of, terms

    if source.several:
        raise UserError("--arithmetic takes one class and one text for all its pictures; name one of each at most")
    found = terms(options.arithmetic or "")
    signs, counts = [term.sign for term in found], [len(term.places) for term in found]
    operands = [source(term.places) for term in found]
    means = torch.stack([each.mean(0) for each in operands])
    around = neighbourhood(source.sampler.parts, sum_of(signs, means), seed=source.sampler.seed)
    latent = torch.cat([*operands, means, around])
    shown, drawn = [], iter(source.pictures(latent))
    for count in (*counts, len(means), len(around)):
        shown.append([next(drawn) for _ in range(count)])
    page = equation(signs, shown[:-2], shown[-2], shown[-1])
    facts = {"terms": [{"sign": term.sign, "pictures": term.places} for term in found]}
    return Made(len(latent), latent, written(page, options), facts)


def compared(source: Source, options: Options, say: Callable[[str], None]) -> Made:
    """The training pictures nearest to samples, and what their distances say."""
    from i2i.neighbours import nearest, training_set
    from i2i.sampling import beside, grid

    card = source.sampler.card
    data = training_set(options.nearest or "", size=card.size, channels=card.channels[1])
    latent = source.each(source.rows(1 if source.several else COLUMNS))
    pictures = source.pictures(latent)
    found = nearest(pictures, data, count=NEAREST, say=say, tell=partial(source.tell, "compared"))
    near = [one.pixels for row in found.near for one in row]
    files = written(beside([grid(pictures, 1), grid(near, len(found.near[0]))], 12), options)
    if not options.quiet:
        for place, row in enumerate(found.near):
            click.echo(f"picture {place}: {row[0].distance:.1f} from {row[0].name}", err=True)
    say(found.sentence())
    facts = {
        "training": found.total,
        "nearest": [[{"picture": one.name, "distance": round(one.distance, 3)} for one in row] for row in found.near],
        "usual": {"pictures": len(found.usual), "median": round(float(found.usual.median()), 3)},
        "nearer_than_usual": found.copies,
    }
    return Made(len(latent), latent, files, facts)


FIGURE = {"": plain, "interpolate": interpolated, "traverse": traversed, "arithmetic": calculated, "nearest": compared}
