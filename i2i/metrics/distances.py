"""How far two sets of pictures lie apart, from the statistics of their features; float64, and never NaN.

`fid`: Heusel et al. 2017. `kid`: Binkowski et al. 2018. `inception_score`: Salimans et al. 2016. `prdc`: Kynkaanniemi
et al. 2019 (precision, recall) and Naeem et al. 2020 (density, coverage). `cmmd`: Jayasumana et al. 2024. Defaults,
subsets and splits are torch-fidelity's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from i2i.errors import UserError
from i2i.metrics.statistics import Statistics, comparable

__all__ = ["ENOUGH", "Fid", "Prdc", "cmmd", "fid", "inception_score", "kid", "prdc", "trace_of_root"]

ENOUGH = 2048  # pictures, below which FID is said to be of few
SEED = 2020  # torch-fidelity's
CELLS = 1 << 24  # of a matrix of distances or kernel values that is held at once


class Fid(NamedTuple):
    """A Frechet distance, and what a user must know about it."""

    value: float
    notes: tuple[str, ...] = ()


class Prdc(NamedTuple):
    """Shares in [0,1], but for density, which has no upper end."""

    precision: float
    recall: float
    density: float
    coverage: float


def fid(a: Statistics, b: Statistics) -> Fid:
    """Frechet distance of two normal distributions with the means and covariances of `a` and `b`.

    Raises UserError where their protocols differ, or one has fewer than two pictures.
    """
    comparable(a, b)
    root, notes = trace_of_root(a, b)
    apart = a.mean - b.mean
    value = float(apart @ apart + a.covariance.trace() + b.covariance.trace() - 2 * root)
    few = [some.count for some in (a, b) if 0 < some.count < ENOUGH]
    if few:
        notes = (
            f"{min(few)} pictures are few: below {ENOUGH:,} the Frechet distance is too large by an amount that "
            "depends on their number; compare it only with one of as many",
            *notes,
        )
    return Fid(max(value, 0.0), (*a.said, *b.said, *notes))


def trace_of_root(a: Statistics, b: Statistics) -> tuple[float, tuple[str, ...]]:
    """The trace of the square root of the product of both covariances, and notes on their ranks.

    With F F' = A and G G' = B it is the sum of the singular values of F' G, whatever the factors. With no more pictures
    than features the centred features themselves are such factors, and small. Else F is Cholesky's; where A has full
    rank, the eigenvalues of F' B F, their squares, are found sooner, and B needs no factor.
    """
    left, note = factor(a)
    notes: tuple[str, ...] = (note,) if note else ()
    if left.shape[1] == a.dims and not few_rows(b):
        squares = torch.linalg.eigvalsh(between(left, b.covariance)).clamp(min=0)
        rank = int((squares > squares.max() * a.dims * torch.finfo(torch.float64).eps).sum())
        notes += (f"{low(b)}: it is {rank}",) if rank < a.dims else ()
        return float(squares.sqrt().sum()), notes
    right, note = factor(b)
    return float(torch.linalg.svdvals(left.T @ right).sum()), (*notes, *((note,) if note else ()))


def between(lower: Tensor, middle: Tensor) -> Tensor:
    """The lower triangle of L' M L for a lower triangular L, a third of the work of both products; zeros above it."""
    made = torch.zeros_like(middle)
    for start in range(0, len(middle), 256):
        below, block = slice(start, None), slice(start, start + 256)
        made[below, block] = lower[below, below].T @ (middle[below, below] @ lower[below, block])
    return made


def few_rows(some: Statistics) -> bool:
    """Whether the features themselves are a small factor of the covariance."""
    return some.features is not None and len(some.features) <= some.dims


def low(some: Statistics) -> str:
    return f"the covariance of {some.source} has a rank below its {some.dims} features"


def factor(some: Statistics) -> tuple[Tensor, str]:
    """F [D,R] with F F' = the covariance, and a note where that has less than full rank."""
    rows = some.features
    if rows is not None and few_rows(some):
        if len(rows) < 2:
            some.covariance  # noqa: B018 (says what is wrong)
        return (rows.double() - some.mean).T / (len(rows) - 1) ** 0.5, f"{low(some)}: it is of {len(rows)} pictures"
    covariance = some.covariance
    least = covariance.diagonal().max() * some.dims * torch.finfo(torch.float64).eps
    if not 0 < some.count <= some.dims:
        lower, failed = torch.linalg.cholesky_ex(covariance)
        if not failed and (lower.diagonal() ** 2).min() > least:
            return lower, ""
    values, vectors = torch.linalg.eigh(covariance)
    there = values > values.max().clamp(min=0) * some.dims * torch.finfo(torch.float64).eps
    return vectors[:, there] * values[there].sqrt(), f"{low(some)}: it is {int(there.sum())}"


def kid(a: Statistics, b: Statistics, *, subsets: int = 100, size: int = 1000, seed: int = SEED) -> tuple[float, float]:
    """Mean and spread over subsets of the unbiased squared MMD with the kernel (x'y / D + 1)^3.

    `size` is clamped to the number of pictures. Raises UserError where features are not kept, or there are fewer than
    two.
    """
    comparable(a, b)
    x, y = (kept(some, "KID").double() for some in (a, b))
    size = min(size, len(x), len(y))
    if size < 2:
        raise UserError(f"KID of {size} picture means nothing; at least 2 are needed", code=1)
    draw = np.random.RandomState(seed)  # torch-fidelity's generator: the same subsets
    chosen = [
        (draw.choice(len(x), size, replace=False), draw.choice(len(y), size, replace=False)) for _ in range(subsets)
    ]
    if 3 * size**2 * subsets < len(x) ** 2 + len(y) ** 2 + len(x) * len(y):  # less work one by one
        found = torch.cat([discrepancies(x[ours], y[theirs]) for ours, theirs in chosen])
    else:
        in_x, in_y = torch.zeros(len(x), subsets).double(), torch.zeros(len(y), subsets).double()
        for subset, (ours, theirs) in enumerate(chosen):
            in_x[ours, subset] = in_y[theirs, subset] = 1
        found = discrepancies(x, y, in_x, in_y)
    return float(found.mean()), float(found.std(correction=0))


def discrepancies(x: Tensor, y: Tensor, in_x: Tensor | None = None, in_y: Tensor | None = None) -> Tensor:
    """Unbiased squared MMD of S pairs of subsets of the rows, [S].

    in_x [N,S], in_y [M,S]: 1 where a row belongs to a subset, else 0; None is one subset of all rows.
    """
    in_x = torch.ones(len(x), 1, dtype=x.dtype) if in_x is None else in_x
    in_y = torch.ones(len(y), 1, dtype=y.dtype) if in_y is None else in_y
    size = in_x[:, 0].sum()

    def cubed(product: Tensor) -> Tensor:
        return (product / x.shape[1] + 1) ** 3

    def total(left: Tensor, right: Tensor, in_left: Tensor, in_right: Tensor) -> Tensor:
        found = torch.zeros(in_left.shape[1], dtype=left.dtype)
        for rows in blocks(len(left), len(right)):
            found += (in_left[rows] * (cubed(left[rows] @ right.T) @ in_right)).sum(0)
        return found

    def own(rows: Tensor, inside: Tensor) -> Tensor:
        return total(rows, rows, inside, inside) - inside.T @ cubed((rows**2).sum(1))

    return (own(x, in_x) + own(y, in_y)) / (size * (size - 1)) - 2 * total(x, y, in_x, in_y) / size**2


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of so many rows of a matrix as may be held at once."""
    step = max(1, CELLS // max(columns, 1))
    return (slice(start, start + step) for start in range(0, rows, step))


def inception_score(some: Statistics, splits: int = 10, *, seed: int = SEED) -> tuple[float, float]:
    """Mean and spread over splits of exp of the mean divergence of p(class | picture) from p(class).

    Raises UserError where the network has no classes, or there are fewer pictures than splits.
    """
    logits = some.logits
    if logits is None:
        raise UserError(f"{some.source} holds no classes: its network has none, or it was made without them", code=1)
    count = len(logits)
    if count < splits:
        raise UserError(f"Inception Score in {splits} splits needs as many pictures, and there are {count}", code=1)
    order = np.random.RandomState(seed).permutation(count)  # torch-fidelity's generator: the same splits
    logs = logits[torch.from_numpy(order)].double().log_softmax(1)
    scores = []
    for split in range(splits):
        part = logs[split * count // splits : (split + 1) * count // splits]
        share = part.exp()
        scores.append((share * (part - share.mean(0).log())).sum(1).mean().exp())
    found = torch.stack(scores)
    return float(found.mean()), float(found.std(correction=0))


def prdc(real: Statistics, fake: Statistics, *, k: int = 3, k_density: int = 5) -> Prdc:
    """Precision, recall, density and coverage, by balls around each picture that reach its k-th nearest neighbour.

    Args:
        k: for precision and recall; torch-fidelity's and the paper's.
        k_density: for density and coverage; the paper's.

    Raises UserError where features are not kept, or there are too few.
    """
    comparable(real, fake)
    x, y = (kept(some, "precision and recall").double() for some in (real, fake))
    least = max(k, k_density) + 1
    if min(len(x), len(y)) < least:
        raise UserError(
            f"precision and recall by {least - 1} neighbours need {least} pictures on each side, and there are "
            f"{len(x)} and {len(y)}",
            code=1,
        )
    middle = x.mean(0)  # differences of smaller numbers are more exact
    x, y = x - middle, y - middle
    (near_x, wide_x), (near_y,) = radii(x, k, k_density), radii(y, k)
    precise, inside, covered = torch.zeros(len(y)), torch.zeros(len(y)), torch.zeros(len(x))
    recalled = torch.zeros(len(x))
    for rows in blocks(len(x), len(y)):
        apart = squares(x[rows], y)
        precise = torch.maximum(precise, (apart <= near_x[rows, None]).any(0).float())
        recalled[rows] = (apart <= near_y).any(1).float()
        inside += (apart <= wide_x[rows, None]).sum(0)
        covered[rows] = (apart.min(1).values <= wide_x[rows]).float()
    means = [float(found.double().mean()) for found in (precise, recalled, inside / k_density, covered)]
    return Prdc(*means)


def radii(x: Tensor, *neighbours: int) -> list[Tensor]:
    """Squared distance of each row to its k-th nearest other row, [N] for each k."""
    found: list[list[Tensor]] = [[] for _ in neighbours]
    for rows in blocks(len(x), len(x)):
        nearest = squares(x[rows], x).topk(max(neighbours) + 1, largest=False).values
        for parts, k in zip(found, neighbours, strict=True):
            parts.append(nearest[:, k])
    return [torch.cat(parts) for parts in found]


def squares(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances [N,M] of rows; 0, and not what rounding leaves, where they are equal."""
    size_x, size_y = (x**2).sum(1)[:, None], (y**2).sum(1)
    apart = size_x + size_y - 2 * x @ y.T
    return apart.masked_fill_(apart < 1e-13 * x.shape[1] * (size_x + size_y), 0)


def cmmd(a: Statistics, b: Statistics, *, sigma: float = 10.0, scale: float = 1000.0) -> float:
    """CMMD: `scale` times the squared MMD, biased, of features of length 1 with a Gaussian kernel of width `sigma`.

    The figures of the paper are of the extractor "clip" with its resize "cmmd". Raises UserError where features are not
    kept.
    """
    comparable(a, b)
    x, y = (torch.nn.functional.normalize(kept(some, "CMMD").double()) for some in (a, b))

    def mean(left: Tensor, right: Tensor) -> float:
        total = sum(
            float(torch.expm1(-squares(left[rows], right) / (2 * sigma**2)).sum())
            for rows in blocks(len(left), len(right))
        )  # the ones cancel
        return total / (len(left) * len(right))

    return scale * (mean(x, x) + mean(y, y) - 2 * mean(x, y))


def kept(some: Statistics, what: str) -> Tensor:
    """The features of a set. Raises UserError where it has none."""
    found = some.features
    if found is None:
        raise UserError(
            f"{some.source} holds no features, and {what} needs them; make it anew with `i2i evaluate stats`", code=1
        )
    return found
