"""`i2i evaluate REAL FAKE`, `i2i evaluate --model MODEL --data FOLDER`, `i2i evaluate stats FOLDER -o FILE`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import reduce, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from i2i.cli.completion import models as complete_models
from i2i.cli.running import EVERY, shard
from i2i.errors import UserError

if TYPE_CHECKING:
    from i2i.metrics.instruments import Instruments, Settings
    from i2i.metrics.report import Report

__all__ = ["evaluate"]

STATS = "stats"
FILE = click.Path(path_type=Path)
RESIZES = ["torch-fidelity", "pytorch-fid", "clean-fid", "cmmd", "dgm-eval"]


@dataclass(frozen=True)
class Options:
    """What the options were given, by their names."""

    model: str | None
    data: tuple[str, ...]
    direction: Any
    judge: str | None
    mode: str | None
    seed: int
    samples: int
    first: int | None
    metrics: str | None
    features: str | None
    resize: Any
    weights: Path | None
    random_features: int | None
    lpips: Any
    lpips_weights: Path | None
    maps: Path | None
    palette: str | None
    luma: bool
    shave: int
    size: int | None
    classifier: Path | None
    groups: Any
    batch: int
    workers: int | None
    device: str
    precision: Any
    no_cache: bool
    shard: tuple[int, int]
    out: Path | None
    csv: Path | None
    html: Path | None
    overwrite: bool
    as_json: bool
    quiet: bool


OPTIONS = [
    click.argument("sets", nargs=-1, metavar="REAL FAKE | stats SET..."),
    click.option("--metrics", metavar="A,B,...",
                 help="fid, kid, is, prdc, cmmd; psnr, ssim, ms-ssim, rmse, lpips; accuracy, miou; diversity; "
                      "gradient, octave, grid, levels; ab, chroma [default: what can be computed here]."),
    click.option("-m", "--model", shell_complete=complete_models, help="Measure what this generator makes of --data."),
    click.option("--data", multiple=True, metavar="FOLDER",
                 help="Test split: pairs side by side, a folder of two, or two folders by --data twice; large pictures "
                      "where the model enlarges, true ones where it draws from random numbers or colours."),
    click.option("--direction", type=click.Choice(["a2b", "b2a"]),
                 help="Whether the left half or folder A goes in, or the other [default: as the model was trained]."),
    click.option("--judge", metavar="MODEL", help="accuracy and miou of what this generator makes of the results."),
    click.option("--mode", type=click.Choice(["paper", "deterministic", "stored"]), help="Of --model."),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of --model's chance."),
    click.option("--samples", type=click.IntRange(min=1), default=1, help="Outputs of each input, for diversity."),
    click.option("--first", type=click.IntRange(min=1), help="Only so many pictures of --data; so many are drawn."),
    click.option("--features", metavar="NAME|FILE",
                 help="inception, clip, dinov2, a classifier of `i2i train`, weights of a torchvision network, or "
                      "TorchScript [default: inception, for cmmd clip]."),
    click.option("--resize", type=click.Choice(RESIZES), help="To the network's size [default: the network's usual]."),
    click.option("--weights", type=FILE, help="Of --features [default: looked for; see `i2i models add`]."),
    click.option("--random-features", type=int, metavar="SEED", help="For tests: the numbers mean nothing."),
    click.option("--lpips", type=click.Choice(["alex", "vgg", "squeeze"]), default="alex", show_default=True,
                 help="The trunk of LPIPS."),
    click.option("--lpips-weights", type=FILE, help="Of the trunk [default: looked for]."),
    click.option("--maps", type=FILE, metavar="DIR", help="Write pictures of where LPIPS finds differences."),
    click.option("--palette", metavar="NAME|FILE", help="Of label maps: maps, cityscapes, or lines of 'r g b name'."),
    click.option("--luma", is_flag=True, help="psnr, ssim and ms-ssim of Y, as for super-resolution."),
    click.option("--shave", type=click.IntRange(min=0), default=0, help="Pixels left out at each border."),
    click.option("--size", type=click.IntRange(min=1), help="Bring pairs to N x N first; with --model also inputs."),
    click.option("--classifier", type=FILE, help="A network whose classes tell the modes of a set, for diversity."),
    click.option("--groups", type=click.Choice(["stem", "folder"]),
                 help="FAKE holds several outputs of each input: of one stem in several folders, or a folder of each."),
    click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True, help="Pictures per pass."),
    click.option("--workers", type=click.IntRange(min=1), help="Threads that read pictures [default: by processors]."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps."),
    click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True,
                 help="Of the networks that measure."),
    click.option("--no-cache", is_flag=True, help="Compute features anew, and keep none."),
    click.option("--shard", callback=shard, default="1/1", metavar="I/N", help="With stats: the I-th of N parts."),
    click.option("-o", "--out", type=FILE,
                 help="With stats the file; with --model an empty folder that keeps what was made."),
    click.option("--csv", type=FILE, help="Also write the figures, and those of each pair, as CSV."),
    click.option("--html", type=FILE, help="Also write a page: worst and best pairs, histograms."),
    click.option("--overwrite", is_flag=True, help="Replace files that are there."),
    click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output instead of the table."),
    click.option("-q", "--quiet", is_flag=True, help="Say only what went wrong."),
]  # fmt: skip


def packed(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command these options as one object."""

    @wraps(command)
    def call(sets: tuple[str, ...], **given: Any) -> int:
        return command(sets, Options(**{field.name: given[field.name] for field in fields(Options)}))

    return reduce(lambda wrapped, option: option(wrapped), reversed(OPTIONS), call)


@click.command()
@packed
def evaluate(sets: tuple[str, ...], options: Options) -> int:
    """Measure how near pictures are to what they should be, each number with its protocol.

    \b
    i2i evaluate REAL FAKE                       two sets: folders, lists of files (.txt), statistics (.npz), pictures
    i2i evaluate --model MODEL --data FOLDER     what a generator makes of a test split
    i2i evaluate stats SET... -o real.npz        keep the statistics of folders; or join those of several shards

    Pictures are pairs where their paths are equal but for the ending. What cannot be read is named and left out on both
    sides. A folder that is called stats is ./stats. Exit code 1 if something could not be measured.
    """
    from i2i.cli import tune_allocator

    if sets[:1] == (STATS,):
        tune_allocator()
        return statistics(sets[1:], options)
    if options.shard != (1, 1):
        raise UserError("--shard is for `i2i evaluate stats`; join the parts with it, and name the result as REAL")
    if options.model is None and len(sets) != 2:
        what = f"{len(sets)} sets are" if len(sets) != 1 else "1 set is"
        raise UserError(f"{what} named; name two, as in `i2i evaluate REAL FAKE`, or --model and --data")
    if options.model is not None and (sets or not options.data):
        raise UserError("with --model, name the test split with --data, and no REAL and FAKE")
    if options.model is None:
        theirs = ("data", "direction", "judge", "mode", "first", "out")
        given = [f"--{name}" for name in theirs if getattr(options, name)] + ["--samples"] * (options.samples > 1)
        if given:
            raise UserError(f"{', '.join(given).replace('--out', '-o')} goes with --model; name one, or leave it out")
    for path in (options.csv, options.html):
        if path and path.exists() and not options.overwrite:
            raise UserError(f"{path} is there already; choose another name, or replace it with --overwrite")
    if options.html and options.html.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--html {options.html}: a page's name ends in .html")
    tune_allocator()
    return measured(sets, options)


def measured(sets: tuple[str, ...], options: Options) -> int:
    """Measure, and show it; the exit code."""
    from i2i.evaluation import evaluate as measure
    from i2i.evaluation import evaluate_generator, evaluate_sampler
    from i2i.metrics.generated import vacant
    from i2i.metrics.instruments import Instruments

    instruments = Instruments(settings_of(options))
    metrics = [name for name in (options.metrics or "").replace(" ", "").split(",") if name] or None
    shown = counter(options.quiet)
    with ExitStack() as stack:
        if options.model is None:
            with written(options.maps):
                report = measure(sets[0], sets[1], metrics, instruments=instruments, tell=shown)
        else:
            if options.out:
                vacant(options.out)
            folder = options.out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="i2i-evaluate-")))
            network = loaded(options.model, options)
            with written(folder):
                if network.card.kind == "latent":
                    player = sampler(network, options)
                    report = evaluate_sampler(player, options.data[0], metrics, instruments=instruments,
                                              count=options.first, out=folder, tell=shown)  # fmt: skip
                else:
                    judge = engine(loaded(options.judge, options), options) if options.judge else None
                    report = evaluate_generator(
                        engine(network, options, options.mode), options.data, metrics, instruments=instruments,
                        direction=options.direction, judge=judge, samples=options.samples, first=options.first,
                        out=folder, tell=shown,
                    )  # fmt: skip
        show(report, options)
        if options.csv:
            from i2i.images import save

            with written(options.csv):
                options.csv.parent.mkdir(parents=True, exist_ok=True)
                save(report.csv().encode(), options.csv)
        if options.html:
            from i2i.gallery.measured import of_report

            linked = options.model is None or options.out is not None
            with written(options.html):
                of_report(report, options.html, overwrite=options.overwrite, linked=linked)
            say(options, f"to look at in {options.html}")
    return 0 if report.complete else 1


@contextmanager
def written(path: Path | None) -> Iterator[None]:
    """Say in a sentence why what is written there cannot be."""
    try:
        yield
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UserError(f"{path or error.filename} cannot be written: {why}", code=1) from None


def show(report: Report, options: Options) -> None:
    """Figures on standard output; what a reader must know on standard error."""
    if options.as_json:
        click.echo(json.dumps(report.dict(), allow_nan=False))
    else:
        for line in report.table():
            click.echo(line)
    for name, why in report.failed.items():
        click.echo(f"failed: {name}: {why.removeprefix(f'{name}: ')}", err=True)
    notes = [note for figure in report.figures for note in figure.notes]
    for note in dict.fromkeys([*report.notes, *notes]):
        say(options, note)


def say(options: Options, sentence: str) -> None:
    if not options.quiet:
        click.echo(sentence, err=True)


def settings_of(options: Options) -> Settings:
    """The settings of the library."""
    from i2i.metrics.instruments import Settings

    same = ("features", "resize", "weights", "lpips", "lpips_weights", "palette", "luma", "shave", "size", "classifier",
            "groups", "maps", "batch", "workers", "device", "precision")  # fmt: skip
    from i2i.download import cache_folder

    cache = None if options.no_cache else cache_folder() / "features"
    return Settings(random=options.random_features, cache=cache, **{name: getattr(options, name) for name in same})


def loaded(model: str, options: Options) -> Any:
    """The generator that MODEL means."""
    from i2i.zoo import load_generator

    return load_generator(model, say=None if options.quiet else lambda sentence: say(options, sentence))


def engine(network: Any, options: Options, mode: str | None = None) -> Any:
    """The engine of a generator of pictures from pictures."""
    from i2i.engine import Engine

    return Engine(network, device=options.device, mode=mode, seed=options.seed,
                  say=lambda sentence: say(options, sentence))  # fmt: skip


def sampler(network: Any, options: Options) -> Any:
    """The sampler of a generator that draws from random numbers."""
    from i2i.sampling import Sampler

    given = [f"--{name}" for name in ("direction", "judge") if getattr(options, name)]
    given += ["--samples"] * (options.samples > 1)
    if given or len(options.data) > 1:
        what = ", ".join(given) or "a second --data"
        raise UserError(f"{options.model} draws from random numbers: {what} is of no use; leave it out")
    return Sampler(network, device=options.device, mode=options.mode, seed=options.seed, batch=options.batch,
                   say=lambda sentence: say(options, sentence))  # fmt: skip


def statistics(sets: tuple[str, ...], options: Options) -> int:
    """`i2i evaluate stats SET... -o FILE`."""
    if not sets or options.out is None:
        raise UserError("which set, and which file? as in `i2i evaluate stats FOLDER -o real.npz`")
    out = options.out
    if out.suffix.lower() != ".npz":
        raise UserError(f"-o {out}: statistics are kept in a file that ends in .npz; write {out.with_suffix('.npz')}")
    if out.exists() and not options.overwrite:
        raise UserError(f"{out} is there already; choose another name, or replace it with --overwrite")
    from i2i.metrics.instruments import Instruments
    from i2i.metrics.sides import pictures
    from i2i.metrics.statistics import Statistics, collect

    found = [pictures(given) for given in sets]
    saved = [some.statistics for some in found if some.statistics]
    failed: dict[str, str] = {}
    if saved and len(saved) < len(found):
        raise UserError("statistics can be joined with others, and folders with folders, but not both; make statistics "
                        "of the folders first, with --shard")  # fmt: skip
    if saved:
        whole = Statistics(saved[0].identity, source=str(out))
        for part in saved:
            whole.merge(part)
        click.echo(f"{out}: {whole.count:,} pictures of {len(saved)} files")
    else:
        instruments: Instruments = Instruments(settings_of(options))
        network = instruments.extractor("fid")
        files = [file for some in found for file in some.files]
        shown = counter(options.quiet)
        made = collect(files, network, batch=options.batch, workers=options.workers,
                       cache=instruments.settings.cache, shard=options.shard, source=" and ".join(sets),
                       tell=lambda done, total: shown("pictures", done, total))  # fmt: skip
        whole, failed = made.statistics, made.failed
        for file, why in failed.items():
            click.echo(f"failed: {file}: {why.removeprefix(f'{file}: ')}", err=True)
        for sentence in network.said:
            say(options, sentence)
        if len(made.sizes) > 1:
            say(options, f"pictures of {len(made.sizes)} sizes, each brought to the network's by the resize of the "
                         "protocol")  # fmt: skip
    whole.save(out)
    if not saved:
        kept = ", ".join(f"{name} {str(value)[:16]}" for name, value in whole.identity.items())
        click.echo(f"{out}: {whole.count:,} pictures ({kept})")
    return 1 if failed else 0


def counter(quiet: bool) -> Callable[[str, int, int], None]:
    """What shows how far it is: a line that is written over on a terminal, a line every few seconds elsewhere."""
    last, live = time.monotonic(), sys.stderr.isatty()

    def tell(what: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if quiet or (now - last < (0.1 if live else EVERY) and not (live and done == total)):
            return
        last = now
        words = f"{what}: {done}/{total}"
        click.echo(f"\r{words}\x1b[K" + ("\n" if done == total else "") if live else words, nl=not live, err=True)

    return tell
