"""Stream: batches of consecutive positions of a data set, for one rank, without an end."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from i2i.errors import UserError

__all__ = ["Endless", "Stream", "to_range"]


FORKS = sys.platform == "linux"


class Endless(Protocol):
    """A data set: an endless pure function of the position.

    One whose pictures hold something else than colours also has `holds`, what A and B hold (`i2i.game.Content`), and
    `shown`, which turns columns of such pictures [N,C,H,W] into pictures that can be looked at.
    """

    @property
    def fields(self) -> type[tuple[Any, ...]]:
        """The NamedTuple of its samples and batches."""

    def __len__(self) -> int:
        """Samples in one epoch."""

    def __getitem__(self, position: int) -> tuple[Any, ...]:
        """The sample at any position >= 0, as a NamedTuple of tensors."""


class Failure(NamedTuple):
    """A UserError on its way out of a worker, where torch would bury its sentence in a traceback."""

    sentence: str
    code: int


class Guarded:
    """A data set whose UserErrors are samples."""

    def __init__(self, dataset: Endless) -> None:
        self.dataset = dataset

    def __getitem__(self, position: int) -> Any:
        try:
            return self.dataset[position]
        except UserError as error:
            return Failure(str(error), error.code)


class Positions:
    """The lists of positions this rank takes, one per step."""

    def __init__(self, first: int, stride: int, size: int) -> None:
        self.first, self.stride, self.size = first, stride, size

    def __iter__(self) -> Iterator[list[int]]:
        for first in itertools.count(self.first, self.stride):
            yield list(range(first, first + self.size))


class Stream:
    """Endless iterator of `(first, batch)`.

    Step s covers the positions [start + s*batch, start + (s+1)*batch); rank r takes the r-th of `ranks` equal slices,
    stacked into `dataset.fields`, and `first` is the position of its first sample. The same positions give the same
    tensors for every number of ranks and workers. The host program's random numbers are left alone.

    Args:
        batch: samples per step over all ranks; a multiple of `ranks`.
        start: position of the first sample: images seen so far.
        workers: processes that prepare samples ahead; 0 prepares them here.
    """

    def __init__(
        self, dataset: Endless, *, batch: int, start: int = 0, rank: int = 0, ranks: int = 1, workers: int = 0
    ) -> None:
        if batch < 1 or batch % ranks:
            raise UserError(
                f"a batch of {batch} cannot be dealt out evenly to {ranks} processes; take a multiple of {ranks}"
            )
        if not 0 <= rank < ranks or start < 0:
            raise ValueError(f"Stream needs 0 <= rank < ranks and start >= 0, not {rank}, {ranks}, {start}")
        size = batch // ranks
        self.first, self.stride = start + rank * size, batch
        if workers and hasattr(dataset, "fill"):
            dataset.fill()  # before the workers are forked, so that they share what is kept in memory
        self.loader: DataLoader[Any] = DataLoader(
            Guarded(dataset),  # type: ignore[arg-type]
            batch_sampler=Positions(self.first, self.stride, size),
            num_workers=workers,
            multiprocessing_context="fork" if workers and FORKS else None,  # shares what is in memory
            collate_fn=stack,
            generator=torch.Generator(),  # or the loader draws from the global one
            worker_init_fn=None if FORKS else use_one_thread,
        )

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        # The loop alone holds the loader's iterator, so that the workers end with it: the garbage collector would wait
        # five seconds for each.
        # a forked worker inherits OpenCV's pool without its threads, and would wait for them for ever
        before = cv2.getNumThreads()
        cv2.setNumThreads(1)
        batches = iter(self.loader)  # the workers start here
        cv2.setNumThreads(before)
        for first, batch in zip(itertools.count(self.first, self.stride), batches, strict=False):
            if isinstance(batch, Failure):
                raise UserError(batch.sentence, code=batch.code)
            yield first, batch


def use_one_thread(worker: int) -> None:
    """Workers are the parallelism; OpenCV's own threads would only compete with them. (Forked ones inherit it.)"""
    cv2.setNumThreads(1)


def stack(samples: Sequence[Any]) -> Any:
    """NamedTuples of tensors -> one NamedTuple of stacked tensors. The first Failure, if there is one, instead."""
    for sample in samples:
        if isinstance(sample, Failure):
            return sample
    return type(samples[0])(*map(stack_field, zip(*samples, strict=True)))


def stack_field(tensors: tuple[Tensor, ...]) -> Tensor:
    """[C,H,W] each -> [N,C,H,W]; if 8 and 16 bits meet, all become float32."""
    if len({tensor.shape for tensor in tensors}) > 1:
        sizes = " and ".join(sorted({"x".join(map(str, tensor.shape)) for tensor in tensors})[:2])
        raise UserError(f"samples of {sizes} make no batch; take a batch of 1, or a preprocess that ends in a crop")
    if len({tensor.dtype for tensor in tensors}) > 1:
        tensors = tuple(to_range(tensor) for tensor in tensors)
    return torch.stack(tensors)


def to_range(tensor: Tensor) -> Tensor:
    """uint8 in 0..255 -> float32 in [-1,1]; floats are in that range already and pass, in float32 or float64.

    Other whole numbers are labels, and pass.
    """
    if tensor.dtype == torch.uint8:
        return tensor.to(torch.float32).div_(127.5).sub_(1.0)
    if tensor.dtype == torch.float64 or not tensor.is_floating_point():
        return tensor
    return tensor.to(torch.float32)
