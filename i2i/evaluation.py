"""How near one set of pictures is to another, or what a generator makes to what it should: `i2i.evaluate`.

Two sets are compared by what they have in common. Figures of pairs (`i2i.metrics.paired`) match pictures by stem,
figures of sets (`i2i.metrics.distances`) need none; each is printed with the protocol that it belongs to. Pictures of a
generator are made by the engine first (`i2i.metrics.generated`).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from i2i import __version__
from i2i.download import digest
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.metrics.generated import Direction, drawn, make, split_of
from i2i.metrics.instruments import METRICS, OF_PAIRS, OF_SETS, Instruments, Settings
from i2i.metrics.paired import LABELS, Measured, measure, metrics_of
from i2i.metrics.report import Figure, Report, Side, few
from i2i.metrics.sets import Sizes, everywhere, of_sets, protocol
from i2i.metrics.sides import Given, Pair, Set, matched, orphaned, pictures, unmatched
from i2i.metrics.statistics import Statistics, comparable
from i2i.metrics.variety import of_groups, of_modes, of_set
from i2i.sampling import Sampler
from i2i.zoo import find

__all__ = ["METRICS", "Instruments", "Report", "Settings", "evaluate", "evaluate_generator", "evaluate_sampler"]

Tell = Callable[[str, int, int], None]
"""Told what is being done, how many of it are done, and how many there are."""


def silent(what: str, done: int, total: int) -> None:
    """A Tell that does nothing."""


def evaluate(
    real: Given,
    fake: Given,
    metrics: Sequence[str] | None = None,
    *,
    settings: Settings | None = None,
    instruments: Instruments | None = None,
    labels: tuple[Given, Mapping[str, Given]] | None = None,
    fresh: bool = False,
    tell: Tell = silent,
) -> Report:
    """Measure the pictures `fake` against `real`.

    Args:
        real, fake: folders, lists of files (.txt), saved statistics (.npz), single pictures; or the files themselves.
        metrics: some of METRICS; None takes what can be computed here, and the report's notes say what is left out.
        settings: how.
        instruments: made before, with settings of their own, to use them again.
        labels: of accuracy and miou where they are not of `fake` and `real`: the true label maps, and "by whom" ->
            those to be compared with them.
        fresh: the fake pictures will not be seen again: their features are not kept.
        tell: told how far it is.

    Raises UserError where nothing can be measured: sets are missing or empty, weights are missing or wrong, statistics
    are of another protocol. A picture that cannot be read is left out on both sides, and named in the report.
    """
    begun = time.monotonic()
    instruments = instruments or Instruments(settings or Settings())
    settings = instruments.settings
    ours, theirs = pictures(real), replace(pictures(fake), fresh=fresh)
    has_files = bool(ours.files and theirs.files)
    notes: list[str] = []
    if metrics is None:
        pairs, orphans = matched(ours, theirs) if has_files and not settings.groups else ([], [])
        metrics, left_out = usual(instruments, ours, theirs, bool(pairs))
        notes += left_out
    else:
        metrics = known(metrics)
        pairs, orphans = [], []
        if has_files and not settings.groups:
            try:
                pairs, orphans = matched(ours, theirs)
            except UserError:
                if paired_of(metrics, labels):
                    raise
    refuse(metrics, ours, theirs, pairs, settings, paired_of(metrics, labels))
    both_saved = ours.statistics is not None and theirs.statistics is not None
    instruments.prepare([name for name in metrics if not (both_saved and name in OF_SETS)])
    check(metrics, ours, theirs, instruments)

    each = Measured()
    wanted = [name for name in metrics if name in OF_PAIRS]
    if wanted:
        notes += [orphaned(orphans, len(ours.files) + len(theirs.files))] if orphans else []
        each = of_pairs(pairs, wanted, instruments, labels, tell)
        notes += each.notes
    failed = dict(each.failed)
    sides = (ours, theirs)
    figures, collected = of_sets(metrics, sides, pairs, each.lost, instruments, failed, tell)
    if "diversity" in metrics:
        figures += variety(sides, instruments, failed, notes, tell)
    figures += each.figures
    for _, said in instruments.made():
        notes += [sentence for sentence in said if sentence not in notes]
    sizes = [each.sizes[0] or collected[0], each.sizes[1] or collected[1]]
    if collected[0] and collected[1] and len({*collected[0], *collected[1]}) > 1:
        notes.append(mixed(collected))
    partners = {str(file) for file in each.lost}
    notes += [f"{name} is left out too: its partner cannot be read" for name in sorted(partners)]
    identities = [some.statistics.identity for some in sides if some.statistics]
    identities += [dict(identity) for identity, _ in instruments.made()]
    order = {name: place for place, name in enumerate(metrics)}
    return Report(
        figures=tuple(sorted(figures, key=lambda figure: order.get(asked(figure.name), len(order)))),
        real=aside(ours, sizes[0], failed),
        fake=aside(theirs, sizes[1], failed),
        pairs=each.each,
        files={stem: (str(one), str(other)) for stem, one, other in pairs if stem in each.each},
        orphans=tuple(map(str, orphans)) if wanted else (),
        failed=failed,
        notes=tuple(dict.fromkeys(notes)),
        settings={"metrics": list(metrics), **settings.plain()},
        versions=versions(metrics),
        weights={str(identity["network"]): str(identity["weights"]) for identity in identities if identity},
        seconds=time.monotonic() - begun,
    )


def evaluate_generator(
    engine: Engine,
    data: Sequence[str],
    metrics: Sequence[str] | None = None,
    *,
    settings: Settings | None = None,
    instruments: Instruments | None = None,
    direction: Direction | None = None,
    judge: Engine | None = None,
    samples: int = 1,
    first: int | None = None,
    out: Path | None = None,
    tell: Tell = silent,
) -> Report:
    """Measure what a generator makes of the test split of a data set.

    Args:
        engine: that runs it.
        data: a folder, or two; see `i2i.metrics.generated`.
        metrics, settings, instruments, tell: as of `evaluate`. Of a network that enlarges, psnr, ssim and ms-ssim are
            of Y, with as many pixels of each border left out as the enlargement, unless the settings have a `shave`.
        direction: which half or folder goes in; None takes what the card says.
        judge: a generator for the way back: accuracy and miou then are of what it makes of the fake (and of the real)
            pictures, beside what went in, as the FCN score is.
        samples: outputs of each input, whose diversity is measured.
        first: only so many pictures.
        out: an empty folder that keeps what was made; None removes it.

    Raises UserError as `evaluate` does, and where no picture could be translated.
    """
    instruments = instruments or Instruments(settings or Settings())
    settings = instruments.settings
    enlarges = engine.card.scale > 1
    if enlarges:
        protocol = {} if settings.shave else {"luma": True, "shave": engine.card.scale}
        instruments.settings = settings = replace(settings, step=engine.card.scale, **protocol)  # type: ignore[arg-type]
    if samples > 1 and engine.mode != "paper":
        raise UserError("without noise all outputs of an input are one; take --mode paper, or leave --samples out")
    split = split_of(data, engine.card, direction, settings.size)
    if metrics is not None:
        instruments.prepare(known(metrics))
    with ExitStack() as stack:
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="i2i-evaluate-")))
        made = make(engine, split, folder, judge=judge, samples=samples, first=first,
                    tell=lambda done, total: tell("translated", done, total))  # fmt: skip
        labels: tuple[Given, dict[str, Given]] | None = None
        if judge and made.given and made.judged:
            who = f"judged by {name_of(judge)}"
            labels = made.given, {who: made.judged[0]}
            if made.judged[1].is_dir():
                labels[1][f"the real ones {who}"] = made.judged[1]
        found = evaluate(made.real, made.fake, metrics, instruments=instruments, labels=labels, fresh=True, tell=tell)
        if made.samples:
            spread = evaluate_samples(made.samples, instruments)
            found = replace(found, figures=(*found.figures, spread))
    named = {str(made.real): split.name, str(made.fake): name_of(engine)}
    sides = (replace(side, path=named.get(side.path, side.path)) for side in (found.real, found.fake))
    real, fake = sides
    how = f"{name_of(engine)} ran in {engine.precision}, mode {engine.mode}"
    return replace(
        found, real=real, fake=fake, failed={**made.failed, **found.failed}, notes=(*split.said, how, *found.notes),
        settings={"model": name_of(engine), "data": list(data), "first": first, "samples": samples, **found.settings},
        weights={**hashed(engine, *([judge] if judge else [])), **found.weights},
    )  # fmt: skip


def evaluate_sampler(
    sampler: Sampler,
    data: Given,
    metrics: Sequence[str] | None = None,
    *,
    settings: Settings | None = None,
    instruments: Instruments | None = None,
    count: int | None = None,
    out: Path | None = None,
    tell: Tell = silent,
) -> Report:
    """Measure what a generator draws from random numbers against true pictures, as sets.

    Args:
        sampler: that runs it, from the first picture of its seed on.
        data: the true pictures, or their saved statistics; see `evaluate`.
        count: how many are drawn; None draws as many as there are true ones.
        metrics, settings, instruments, out, tell: as of `evaluate_generator`.

    Raises UserError as `evaluate` does.
    """
    true = pictures(data)
    count = count or (true.statistics.count if true.statistics else len(true.files))
    with ExitStack() as stack:
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="i2i-evaluate-")))
        fake = drawn(sampler, count, folder, tell=lambda done, total: tell("drawn", done, total))
        found = evaluate(data, fake, metrics, settings=settings, instruments=instruments, fresh=True, tell=tell)
    name = name_of(sampler)
    how = f"{name} drew {count:,} pictures of seed {sampler.seed} in {sampler.precision}, mode {sampler.mode}"
    return replace(
        found, fake=replace(found.fake, path=name), notes=(how, *found.notes),
        settings={"model": name, "data": true.path, "first": count, **found.settings},
        weights={**hashed(sampler), **found.weights},
    )  # fmt: skip


def evaluate_samples(folder: Path, instruments: Instruments) -> Figure:
    """How far the outputs of each input differ, a folder of each."""
    return of_groups(pictures(folder), "folder", instruments.lpips, None, {})


def hashed(*engines: Engine | Sampler) -> dict[str, str]:
    """The sha256 of the files that generators were loaded from, where they were."""
    sources = [name_of(engine) for engine in engines if hasattr(engine.generator, "source")]
    return {source: digest(find(source, say=None)) for source in sources}


def name_of(engine: Engine | Sampler) -> str:
    """What a generator was loaded as."""
    return str(getattr(engine.generator, "source", "the generator"))


# --- what is measured -------------------------------------------------------------------------------------------------


def known(metrics: Sequence[str]) -> list[str]:
    """The metrics, each once. Raises UserError for what is none."""
    for name in metrics:
        if name not in METRICS:
            near = get_close_matches(name, METRICS, 1)
            advice = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(METRICS)}"
            raise UserError(f"there is no metric '{name}': {advice}")
    if not metrics:
        raise UserError(f"no metric is named; there are {', '.join(METRICS)}")
    return list(dict.fromkeys(metrics))


def usual(instruments: Instruments, real: Set, fake: Set, paired: bool) -> tuple[list[str], list[str]]:
    """What can be measured here, and sentences on what is left out and why. Raises UserError for nothing at all."""
    settings = instruments.settings
    chosen: list[str] = []
    missing: list[str] = []
    if paired:
        chosen += ["psnr", "ssim"] + (list(LABELS) if settings.palette else [])
    if settings.groups or (not paired and fake.files):
        chosen.append("diversity")
    for group, there in ((["lpips"], paired), (["fid", "kid", "prdc"], True)):
        if not there:
            continue
        try:
            instruments.prepare([group[0]])
            chosen += group
        except UserError as error:
            missing.append(f"left out {', '.join(group)}: {error}")
    if not chosen:
        raise UserError(f"nothing can be measured: {'; '.join(missing)}", code=1)
    return chosen, missing


def paired_of(metrics: Sequence[str], labels: object) -> list[str]:
    """Those of the metrics that compare a fake picture with its real one; label maps of others have their own pairs."""
    return [name for name in metrics if name in OF_PAIRS and not (labels and name in LABELS)]


def refuse(
    metrics: Sequence[str], real: Set, fake: Set, pairs: Sequence[Pair], settings: Settings, needing: Sequence[str]
) -> None:
    """Raises UserError where a metric that is asked for needs what is not there; `needing`: `paired_of` them."""
    for some in (real, fake):
        seen = [name for name in metrics if name in (*OF_PAIRS, "diversity")]
        if some.statistics and seen:
            what = f"{some.path} holds statistics"
            raise UserError(f"to measure {few(seen)} takes pictures, and {what}; name a folder")
    if settings.maps and "lpips" not in metrics:
        raise UserError("--maps shows where LPIPS finds differences; add lpips to the metrics")
    if needing and settings.groups:
        raise UserError(f"{few(needing)} compare one output with one picture, and with --groups FAKE holds several of "
                        "each; leave one of the two out")  # fmt: skip
    if needing and not pairs:
        raise unmatched(real, fake)


def check(metrics: Sequence[str], real: Set, fake: Set, instruments: Instruments) -> None:
    """Refuse statistics of another protocol before any picture is read. Raises UserError."""
    for metric in metrics:
        if metric not in OF_SETS:
            continue
        there = [some.statistics for some in (real, fake) if some.statistics]
        if len(there) == 1:
            one = instruments.extractor(metric)
            comparable(there[0], Statistics(one.identity, source=fake.path if real.statistics else real.path))
        elif there:
            comparable(*there)


def of_pairs(
    pairs: Sequence[Pair],
    wanted: Sequence[str],
    instruments: Instruments,
    labels: tuple[Given, Mapping[str, Given]] | None,
    tell: Tell,
) -> Measured:
    """All figures of pairs."""
    settings = instruments.settings
    marks = [name for name in wanted if name in LABELS]
    found = measure(
        pairs,
        metrics_of(wanted, luma=settings.luma, shave=settings.shave, step=settings.step),
        palette=instruments.palette if marks and not labels else None,
        labels=marks,
        lpips=instruments.lpips if "lpips" in wanted else None,
        maps=settings.maps,
        size=settings.size,
        workers=settings.workers,
        tell=lambda done, total: tell("pairs", done, total),
    )
    if settings.size:
        found.notes.append(f"pairs are compared at {settings.size}x{settings.size}, brought there by bicubic")
    if marks and labels:
        truth, drawn = labels
        for who, maps in drawn.items():
            of, _ = matched(pictures(truth), pictures(maps))
            more = measure(of, [], palette=instruments.palette, labels=marks, by=who, size=settings.size,
                           workers=settings.workers)  # fmt: skip
            found.figures += more.figures
            found.failed |= more.failed
            for stem, values in more.each.items():
                found.each.setdefault(stem, {}).update(values)
    return found


def variety(
    sides: tuple[Set, Set], instruments: Instruments, failed: dict[str, str], notes: list[str], tell: Tell
) -> list[Figure]:
    """What tells whether a generator makes many pictures or one; of the real ones too, to compare with."""
    settings, figures = instruments.settings, list[Figure]()
    for some, what in zip(reversed(sides), ("fake", "real"), strict=True):
        if settings.groups and what == "fake":
            figures.append(of_groups(some, settings.groups, instruments.lpips, settings.size, failed))
            continue
        found, said = of_set(some, what, settings.size, settings.workers, failed)
        figures.append(found)
        notes += said
    if settings.classifier:
        network = instruments.classifier
        for some, what in zip(reversed(sides), ("fake", "real"), strict=True):
            made = everywhere(some, network, settings, lambda done, total, what=what: tell(what, done, total))  # type: ignore[misc]
            failed |= made.failed
            figures += of_modes(made.statistics, what, protocol(network.identity))
    return figures


# --- what is said of it -----------------------------------------------------------------------------------------------


def asked(name: str) -> str:
    """The metric that a figure of that name belongs to."""
    if name in ("precision", "recall", "density", "coverage"):
        return "prdc"
    if name.startswith(("iou_", "accuracy_")):
        return "miou" if name.startswith("iou_") else "accuracy"
    belongs = {"fd": "fid", "class_accuracy": "accuracy", "within5": "accuracy", "modes": "diversity"}
    return belongs.get(name, "diversity" if name == "evenness" else name)


def mixed(sizes: tuple[Sizes, Sizes]) -> str:
    """A sentence about sets of several sizes."""
    told = [f"{few(sorted(each, key=lambda size: -each[size]))} ({what})"
            for each, what in zip(sizes, ("real", "fake"), strict=True)]  # fmt: skip
    return f"pictures of several sizes, each brought to the network's by the resize of the protocol: {'; '.join(told)}"


def aside(some: Set, sizes: Mapping[str, int], failed: Mapping[str, str]) -> Side:
    """The set as the report has it."""
    count = some.statistics.count if some.statistics else len(some.files)
    names = {str(file) for file in some.files}
    return Side(some.path, count, dict(sizes), {file: why for file, why in failed.items() if file in names})


def versions(metrics: Sequence[str]) -> dict[str, str]:
    """Of i2i, torch, and the packages that these metrics use."""
    packages = ["torch", "numpy"]
    packages += ["torch-fidelity", "torchvision"] if set(metrics) & set(OF_SETS) else []
    packages += ["lpips", "torchvision"] if "lpips" in metrics else []
    found = {"i2i": __version__}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
