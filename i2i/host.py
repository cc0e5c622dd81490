"""What a run changes in the program around it, and gives back: random numbers, threads, deterministic kernels."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from i2i.schedules import mix

__all__ = ["deterministic", "processor", "seeded", "threads"]


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Seed torch's global generators for the block; the host program's state returns afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(mix(*numbers))
        yield


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """torch computes with `count` threads inside the block; None leaves them as they are."""
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Inside the block only kernels that give the same bits every time, if `wanted`."""
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def processor() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        return names[0] if names else platform.processor()
    except OSError:
        return platform.processor() or platform.machine()
