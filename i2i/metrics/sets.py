"""Figures of sets: the statistics of both, collected once for all figures of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from i2i.errors import UserError
from i2i.metrics import distances
from i2i.metrics.extractors import Extractor, Features
from i2i.metrics.instruments import OF_SETS, Instruments, Settings
from i2i.metrics.report import Figure
from i2i.metrics.sides import Pair, Set
from i2i.metrics.statistics import Collected, Statistics, collect, gathered

__all__ = ["Sizes", "everywhere", "of_sets", "protocol"]

Tell = Callable[[str, int, int], None]
Sizes = dict[str, int]


def of_sets(
    metrics: Sequence[str],
    sides: tuple[Set, Set],
    pairs: Sequence[Pair],
    lost: list[Path],
    instruments: Instruments,
    failed: dict[str, str],
    tell: Tell,
) -> tuple[list[Figure], tuple[Sizes, Sizes]]:
    """All figures of sets, and the sizes of the pictures; what cannot be read joins `failed`."""
    figures: list[Figure] = []
    seen: tuple[Sizes, Sizes] = ({}, {})
    taken: dict[str, tuple[Statistics, Statistics]] = {}
    for metric in (name for name in OF_SETS if name in metrics):
        if all(some.statistics for some in sides):
            both = tuple(some.statistics for some in sides if some.statistics)
            network = both[0].identity or both[1].identity
        else:
            one = instruments.extractor(metric)
            network = one.identity
            if one.name not in taken:
                taken[one.name] = collected(one, sides, pairs, lost, instruments.settings, failed, seen, tell)
            both = taken[one.name]
        figures += figures_of(metric, both[0], both[1], protocol(network))
    return figures, seen


def collected(
    network: Extractor,
    sides: tuple[Set, Set],
    pairs: Sequence[Pair],
    lost: list[Path],
    settings: Settings,
    failed: dict[str, str],
    seen: tuple[Sizes, Sizes],
    tell: Tell,
) -> tuple[Statistics, Statistics]:
    """The statistics of both sides, without pictures whose partner cannot be read."""
    found: list[Statistics] = []
    broken: set[str] = set()
    for place, (some, what) in enumerate(zip(sides, ("real", "fake"), strict=True)):
        if some.statistics:
            found.append(some.statistics)
            continue
        made = everywhere(some, network, settings, lambda done, total, what=what: tell(what, done, total))  # type: ignore[misc]
        failed |= {file: why.removeprefix(f"{file}: ").partition(";")[0] for file, why in made.failed.items()}
        broken |= set(made.failed)
        for (width, height), count in made.sizes.items():
            seen[place][f"{width}x{height}"] = count
        found.append(made.statistics)
    alone = [other for _, a, b in pairs for one, other in ((a, b), (b, a)) if str(one) in broken]
    alone = [file for file in alone if str(file) not in broken]
    lost += [file for file in alone if file not in lost]
    for place, some in enumerate(sides):
        numbers = {number for number, file in enumerate(some.files) if file in alone or file in lost}
        if numbers:
            found[place] = without(found[place], [n for n, f in enumerate(some.files) if str(f) not in broken], numbers)
    return found[0], found[1]


def everywhere(some: Set, network: Extractor, settings: Settings, tell: Callable[[int, int], None]) -> Collected:
    """The statistics of a set; of several processes of torch.distributed each looks at its share."""
    shard = (1, 1)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        shard = (torch.distributed.get_rank() + 1, torch.distributed.get_world_size())
    return gathered(
        collect(some.files, network, batch=settings.batch, workers=settings.workers, shard=shard,
                cache=None if some.fresh else settings.cache, source=some.path, tell=tell)
    )  # fmt: skip


def without(some: Statistics, numbers: Sequence[int], left_out: set[int]) -> Statistics:
    """Statistics without some pictures; `numbers` are those of all that it has, in order."""
    made = Statistics(some.identity, source=some.source)
    rows = [row for row, number in enumerate(numbers) if number not in left_out]
    pool, logits = some.features, some.logits
    if rows and pool is not None:
        made.add(Features(pool[rows], None if logits is None else logits[rows]), [numbers[row] for row in rows])
    return made


def figures_of(metric: str, real: Statistics, fake: Statistics, how: str) -> list[Figure]:
    """One of OF_SETS as figures; without a value where it cannot be had, and the reason with it."""
    counts = {"real": real.count, "fake": fake.count}
    try:
        match metric:
            case "fid":
                name = "fid" if how.startswith(("inception", "protocol")) else "fd"
                value, notes = distances.fid(real, fake)
                return [Figure(name, how, value, better="lower", counts=counts, notes=notes)]
            case "kid":
                size = min([1000, *(some.count for some in (real, fake) if some.count)])
                value, spread = distances.kid(real, fake)
                whole = f"every subset is the whole set of {size} pictures: the spread tells nothing"
                notes = (whole,) if size == real.count == fake.count else ()
                return [Figure("kid", f"{how}, 100 subsets of {size}", value, spread, better="lower", counts=counts,
                               notes=notes)]  # fmt: skip
            case "is":
                value, spread = distances.inception_score(fake)
                return [Figure("is", f"{how}, 10 splits", value, spread, better="higher",
                               counts={"pictures": fake.count})]  # fmt: skip
            case "prdc":
                found = distances.prdc(real, fake)._asdict()
                return [
                    Figure(name, f"{how}, k {3 if name in ('precision', 'recall') else 5}", value, better="higher",
                           counts=counts)
                    for name, value in found.items()
                ]  # fmt: skip
            case _:
                return [Figure("cmmd", how, distances.cmmd(real, fake), better="lower", counts=counts)]
    except UserError as error:
        if error.code == 2:
            raise
        return [Figure(metric, how, None, counts=counts, notes=(str(error),))]


def protocol(identity: Mapping[str, str | int]) -> str:
    """The network, its weights, the resize and the precision in words."""
    if not identity:
        return "protocol not stated"
    weights = str(identity["weights"])
    weights = weights if weights.startswith("random") else weights[:8]
    return f"{identity['network']} {weights}, {identity['resize']} resize, {identity['precision']}"
