"""What is kept of a set of pictures for comparing it with another: count, mean and covariance of its features in
float64, and, for what needs more than these, the features themselves."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2i import images
from i2i.errors import UserError
from i2i.images.picture import as_depth
from i2i.images.reading import contents
from i2i.inputs import parse_shard
from i2i.metrics.cache import BROKEN, Cache, save_arrays
from i2i.metrics.extractors import Extractor, Features

__all__ = ["Collected", "Statistics", "collect", "comparable", "gathered"]

FORMAT = "i2i-statistics-1"
BLOCK = 256  # features that are folded into the covariance at once


class Statistics:
    """Of the features of a set of pictures.

    Args:
        identity: the protocol of the features, as of `Extractor.identity`; empty where it is not known.
        keep: also keep the features and logits, which all distances but FID need.
        source: how messages call the set.

    Attributes:
        count: pictures so far; 0 where a file of another program does not tell.
        said: what a user must know about them.
    """

    def __init__(self, identity: Mapping[str, str | int], *, keep: bool = True, source: str = "the set") -> None:
        self.identity, self.keep, self.source = dict(identity), keep, source
        self.count = 0
        self.said: tuple[str, ...] = ()
        self._mean = self._scatter = torch.zeros(0, dtype=torch.float64)  # of what has been folded in
        self._folded = 0
        self._covariance: Tensor | None = None
        self._waiting: list[Tensor] = []
        self._pool: list[Tensor] = []
        self._logits: list[Tensor] = []
        self._numbers: list[int] = []

    def add(self, features: Features, numbers: Sequence[int] | None = None) -> None:
        """Take in the features of more pictures.

        `numbers` are the pictures' places in the whole set, which put those of several shards into one order; None
        counts on.

        Raises UserError for features that are not finite.
        """
        if not torch.isfinite(features.pool).all():
            raise UserError(f"{self.source}: the network gives values that are not finite; take other weights", code=1)
        pool = features.pool.float()
        self._numbers += range(self.count, self.count + len(pool)) if numbers is None else numbers
        self.count += len(pool)
        if self.keep:
            self._pool.append(pool)
            if features.logits is not None:
                self._logits.append(features.logits.float())
        self._waiting.append(pool)
        if sum(map(len, self._waiting)) >= BLOCK:
            rows = torch.cat(self._waiting)
            whole = len(rows) // BLOCK * BLOCK  # blocks that do not depend on how the rows came
            for block in rows[:whole].split(BLOCK):
                self._fold(block)
            self._waiting = [rows[whole:]] if whole < len(rows) else []

    def _fold(self, rows: Tensor) -> None:
        """Take rows into mean and scatter (Chan, Golub and LeVeque 1979)."""
        rows = rows.double()
        mean = rows.mean(0)
        centred = rows - mean
        self._join(len(rows), mean, centred.T @ centred)

    def _join(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        self._covariance = None
        if not self._folded:
            self._folded, self._mean, self._scatter = count, mean, scatter
            return
        before, self._folded = self._folded, self._folded + count
        apart = mean - self._mean
        self._mean = self._mean + apart * (count / self._folded)
        self._scatter = self._scatter + scatter + torch.outer(apart, apart) * (before * count / self._folded)

    def _finish(self) -> None:
        if self._waiting:
            rows, self._waiting = torch.cat(self._waiting), []
            self._fold(rows)

    @property
    def dims(self) -> int:
        """How many features a picture has; 0 before the first."""
        return self._waiting[0].shape[1] if self._waiting else len(self._mean)

    @property
    def mean(self) -> Tensor:
        """[D] float64."""
        self._finish()
        return self._mean

    @property
    def covariance(self) -> Tensor:
        """[D,D] float64, divided by the count less one. Raises UserError for fewer than two pictures."""
        self._finish()
        if self._folded < 2:
            raise UserError(f"{self.source}: {self.count} picture has no covariance; at least 2 are needed", code=1)
        if self._covariance is None:
            self._covariance = self._scatter / (self._folded - 1)
        return self._covariance

    @property
    def features(self) -> Tensor | None:
        """[N,D] float32 in the order of the pictures' numbers; None where they are not kept."""
        return self._ordered(self._pool)

    @property
    def logits(self) -> Tensor | None:
        """[N,K] float32 in the same order; None where the network has none or they are not kept."""
        return self._ordered(self._logits)

    def _ordered(self, rows: list[Tensor]) -> Tensor | None:
        if not rows or not self.count:
            return None
        rows[:] = [torch.cat(rows)] if len(rows) > 1 else rows
        order = np.argsort(self._numbers, kind="stable")
        return rows[0] if (np.diff(order) == 1).all() else rows[0][torch.from_numpy(order)]

    def merge(self, other: Statistics) -> None:
        """Take in those of another part of the same set. Raises UserError where they do not fit."""
        comparable(self, other)
        if not (self.dims and other.dims):  # one is empty yet
            if other.dims:
                self._take(other)
            return
        twice = set(self._numbers) & set(other._numbers)
        if twice or not (self._numbers and other._numbers):
            raise UserError(
                f"{self.source} and {other.source} are not two parts of one set: both have picture {min(twice) + 1}"
                if twice
                else f"{self.source} and {other.source}: statistics of other programs cannot be merged"
            )
        self._finish()
        other._finish()
        self.keep = self.keep and other.keep
        self._join(other._folded, other._mean, other._scatter)
        self.count += other.count
        self._numbers += other._numbers
        self._pool = [*self._pool, *other._pool] if self.keep else []
        self._logits = [*self._logits, *other._logits] if self.keep and self._logits and other._logits else []

    def _take(self, other: Statistics) -> None:
        for name in ("count", "keep", "_mean", "_scatter", "_folded", "_waiting", "_pool", "_logits", "_numbers"):
            value = getattr(other, name)
            setattr(self, name, list(value) if isinstance(value, list) else value)

    def save(self, path: Path) -> None:
        """Write a .npz that `load` reads; pytorch-fid finds its `mu` and `sigma` in it."""
        values: dict[str, NDArray[Any]] = {
            "format": np.array(FORMAT),
            "identity": np.array(json.dumps(self.identity, sort_keys=True)),
            "count": np.array(self.count),
            "numbers": np.array(self._numbers, np.int64),
            "mu": self.mean.numpy(),
            "sigma": self.covariance.numpy(),
        }
        for name, rows in (("features", self._pool), ("logits", self._logits)):
            if rows:
                values[name] = torch.cat(rows).numpy()
        save_arrays(path, values)

    @classmethod
    def load(cls, path: Path) -> Statistics:
        """Those that `save` wrote, or pytorch-fid's .npz of mu and sigma, which knows no protocol.

        Raises UserError (code 1) for any other file.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                values = {name: archive[name] for name in archive.files}
            ours = "format" in values
            if ours and str(values["format"]) != FORMAT:
                raise ValueError("of another version")
            found = cls(json.loads(str(values["identity"])) if ours else {}, source=str(path))
            found.count = int(values["count"]) if ours else 0
            found._mean = torch.from_numpy(values["mu"].astype(np.float64))
            sigma = torch.from_numpy(values["sigma"].astype(np.float64))
            if found._mean.ndim != 1 or sigma.shape != (len(found._mean),) * 2 or found.count == 1 or found.count < 0:
                raise ValueError("its shapes do not fit")
            found._folded = found.count or 2
            found._scatter = sigma * (found._folded - 1)
            found._numbers = values["numbers"].tolist() if ours else []
            found._pool = [torch.from_numpy(values["features"])] if "features" in values else []
            found._logits = [torch.from_numpy(values["logits"])] if "logits" in values else []
            if any(len(rows[0]) != found.count for rows in (found._pool, found._logits) if rows):
                raise ValueError("its counts do not fit")
            if not (torch.isfinite(found._mean).all() and torch.isfinite(sigma).all()):
                raise ValueError("it holds values that are not finite")
        except FileNotFoundError:
            raise UserError(f"there is no file {path}") from None
        except BROKEN as error:
            raise UserError(
                f"{path} holds no statistics that can be read; `i2i evaluate stats FOLDER -o {path.name}` writes them",
                code=1,
            ) from error
        found.keep = bool(found._pool)
        if not ours:
            found.said = (
                f"{path} states no protocol: that its network, weights and resize are those of the other side is not "
                "checked",
            )
        return found


def comparable(a: Statistics, b: Statistics) -> None:
    """Raises UserError (code 1) naming what differs between the protocols of `a` and `b`."""
    if a.dims and b.dims and a.dims != b.dims:
        raise UserError(
            f"{a.source} has {a.dims} features a picture and {b.source} {b.dims}: they are of different networks and "
            "cannot be compared",
            code=1,
        )
    if not (a.identity and b.identity) or a.identity == b.identity:
        return
    names = [name for name in {**a.identity, **b.identity} if a.identity.get(name) != b.identity.get(name)]
    ours, theirs = (", ".join(f"{name} {some.identity.get(name)}" for name in names) for some in (a, b))
    raise UserError(
        f"{a.source} ({ours}) and {b.source} ({theirs}) cannot be compared; make both with the same settings", code=1
    )


# --- from files -------------------------------------------------------------------------------------------------------


class Collected(NamedTuple):
    """What became of a set of files.

    Attributes:
        statistics: of those that could be read.
        failed: file -> why it could not.
        sizes: (width, height) -> how many pictures have it.
        cached: how many of the features were taken from the cache.
    """

    statistics: Statistics
    failed: dict[str, str]
    sizes: Counter[tuple[int, int]]
    cached: int = 0


class Seen(NamedTuple):
    """A file that a thread has looked at: the sha256 of what is in it, and its picture as the network is given it, or
    why there is none; neither where the cache knows it."""

    key: bytes
    ready: Tensor | None = None
    size: tuple[int, int] = (0, 0)
    error: str = ""


def collect(
    files: Sequence[Path],
    extractor: Extractor,
    *,
    batch: int = 16,
    workers: int | None = None,
    cache: Path | None = None,
    shard: tuple[int, int] = (1, 1),
    keep: bool = True,
    source: str = "the set",
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Collected:
    """The statistics of pictures. They do not depend on `batch`, `workers` or the cache.

    Args:
        workers: threads that decode and resize ahead of the network; None takes as many as there are processors,
            at most 8.
        cache: a folder that keeps features by the contents of files and by protocol; what is in it may be removed.
        shard: (i, n) takes every n-th file from the i-th on, counted from 1; the parts' statistics can be merged.
        keep, source: as of Statistics.
        tell: called with how many files are done, and of how many.

    A file that cannot be read is left out and named in the result.
    """
    parse_shard(shard)
    first, parts = shard
    chosen = list(enumerate(files))[first - 1 :: parts]
    statistics = Statistics(extractor.identity, keep=keep, source=source)
    failed, sizes = dict[str, str](), Counter[tuple[int, int]]()
    store = Cache(cache, extractor.identity) if cache is not None else None
    done = 0
    with ExitStack() as at_the_end:
        at_the_end.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module=r"PIL\..*")  # what matters of it is said of the files that failed
        if store:
            at_the_end.callback(store.flush)
        for group in seen(chosen, extractor, store, batch, workers or min(8, os.cpu_count() or 1)):
            rows: dict[int, Features] = {}
            fresh: list[tuple[int, Seen]] = []
            for number, found in group:
                known = None
                if store and not found.error and found.ready is None:
                    known = store.get(found.key)
                    found = found if known else look(files[number], extractor, None)
                if found.error:
                    failed[str(files[number])] = found.error
                elif known:
                    rows[number], size = known
                    sizes[size] += 1
                else:
                    fresh.append((number, found))
            if fresh:
                made = extractor.run(torch.stack([found.ready for _, found in fresh if found.ready is not None]))
                for row, (number, found) in enumerate(fresh):
                    logits = None if made.logits is None else made.logits[row : row + 1]
                    rows[number] = Features(made.pool[row : row + 1], logits)
                    sizes[found.size] += 1
                    if store:
                        store.put(found.key, rows[number], found.size)
            for number in sorted(rows):
                statistics.add(rows[number], [number])
            done += len(group)
            tell(done, len(chosen))
    return Collected(statistics, failed, sizes, store.hits if store else 0)


def seen(
    chosen: Sequence[tuple[int, Path]], extractor: Extractor, store: Cache | None, batch: int, workers: int
) -> Iterator[list[tuple[int, Seen]]]:
    """The files in order, in groups of `batch`; threads are ahead by some groups."""
    left = iter(chosen)
    waiting: deque[tuple[int, Future[Seen]]] = deque()
    # each thread resizes a picture of its own: teams of threads for such small work would only wait for each other
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(workers, "decode", initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            while True:
                for number, file in islice(left, 2 * batch + 2 * workers - len(waiting)):
                    waiting.append((number, pool.submit(look, file, extractor, store)))
                if not waiting:
                    return
                group = [waiting.popleft() for _ in range(min(batch, len(waiting)))]
                yield [(number, future.result()) for number, future in group]
        finally:
            for _, future in waiting:
                future.cancel()
            torch.set_num_threads(threads)  # for threads that are started later


def look(file: Path, extractor: Extractor, store: Cache | None) -> Seen:
    """Read a file, and decode it unless the cache knows it."""
    try:
        name, data = contents(file, "")
        key = hashlib.sha256(data).digest()
        if store and key in store:
            return Seen(key)
        pixels = rgb(images.read(data, name=name).pixels)
        return Seen(key, extractor.prepare(pixels), (pixels.shape[1], pixels.shape[0]))
    except UserError as error:
        return Seen(b"", error=str(error))


def rgb(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """[H,W] or [H,W,3] of 8 or 16 bits as [H,W,3] of 8."""
    colours = as_depth(pixels, np.uint8)
    return colours if colours.ndim == 3 else np.repeat(colours[..., None], 3, axis=2)


def gathered(mine: Collected) -> Collected:
    """What all processes of torch.distributed have collected, each of its shard, on every one of them."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return mine
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, mine)
    whole = Statistics(mine.statistics.identity, keep=mine.statistics.keep, source=mine.statistics.source)
    failed, sizes, cached = dict[str, str](), Counter[tuple[int, int]](), 0
    for part in parts:
        whole.merge(part.statistics)
        failed |= part.failed
        sizes += part.sizes
        cached += part.cached
    return Collected(whole, failed, sizes, cached)
