"""How much memory a network will want for an image, and how much there is: asked before the machine is brought down."""

from __future__ import annotations

import copy
import ctypes
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from i2i.game import Card
from i2i.layers import seed_dropout

__all__ = ["SLACK", "Appetite", "Ledger", "amount", "free_memory", "given_back", "resident"]

SMALL = 1 << 20  # pixels that are never asked about
SLACK = 2.2  # kernels want copies in layouts of their own: 1.5 in bf16 and 2.0 in fp32 were measured on ResNet-9
GREEDY = 1 << 30  # bytes from which a pass gives its memory back, also where the allocator was told to keep it
M_MMAP_MAX, MMAPS = -4, 65_536  # glibc's number of that setting, and its default

heap_is_kept = False  # set by the command line, which alone tells the allocator to keep freed memory


class Ledger(TorchDispatchMode):
    """Counts the bytes of activations alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self.enter(tensor.untyped_storage())
        return out

    def enter(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.seen:
            return
        self.seen.add(key)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self.leave, key, size)

    def leave(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.alive -= size


class Appetite:
    """What networks want per pixel on one device, found without computing anything (on torch's meta device).

    `limit` is what may be used at most, in bytes beside what the process holds already.
    """

    def __init__(self, device: torch.device, limit: int | None = None) -> None:
        self.device, self.limit = device, limit
        self.at_start = resident()
        self.per_pixel: dict[int, float] = {}  # id of a network -> bytes per input pixel

    def wanted(self, network: nn.Module, card: Card, pixels: int, dtype: torch.dtype) -> float:
        """Bytes for a pass over that many input pixels; 0 for few, which are not worth the question."""
        if pixels * card.scale**2 <= SMALL:
            return 0.0
        if id(network) not in self.per_pixel:
            self.per_pixel[id(network)] = bytes_per_pixel(network, card, dtype)
        return SLACK * self.per_pixel[id(network)] * pixels

    def too_hungry(self, network: nn.Module, card: Card, pixels: int, dtype: torch.dtype) -> str:
        """Why `pixels` input pixels at once are too many, or "" where they fit or nothing can be known."""
        wanted = self.wanted(network, card, pixels, dtype)
        if not wanted or (free := free_memory(self.device)) is None:
            return ""
        free += max(0, resident() - self.at_start)  # a tuned allocator keeps what it has; it is ours to use again
        free = free if self.limit is None else min(free, self.limit)
        return f"it wants about {amount(wanted)}, {amount(free)} are free" if wanted > free else ""


@contextmanager
def given_back(wanted: float) -> Iterator[None]:
    """Let a pass that wants that many bytes return them to the system, if they are many and the heap is kept.

    In a heap that is kept, large blocks of ever new sizes leave holes: up to twice the memory on a large image.
    """
    if not heap_is_kept or wanted < GREEDY:
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, MMAPS)
    try:
        yield
    finally:
        libc.mallopt(M_MMAP_MAX, 0)


def amount(count: float) -> str:
    """Bytes as a user reads them."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.{0 if count >= 1e7 else 1}f} MB"


def bytes_per_pixel(network: nn.Module, card: Card, dtype: torch.dtype) -> float:
    """The most bytes of activations alive at once, per input pixel."""
    side = max(card.minimum, 512)
    side = -(-side // card.multiple) * card.multiple
    ghost = copy.deepcopy(network).to("meta")
    seed_dropout(ghost, None)
    with torch.no_grad(), Ledger() as ledger:
        ghost(torch.empty(1, card.channels[0], side, side, device="meta", dtype=dtype))
    return ledger.peak / side**2


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had there, the container's limit included; None where that cannot be told."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None
    return max(0, min([free, *group_limits(), *own_limit()]))


def group_limits(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> Iterator[int]:
    """Bytes left in each control group (version 2) this process is in; file caches count as free, as they are."""
    try:
        inside = next(line[3:] for line in own.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        inside = "/"
    here = root / inside.strip("/")  # in a container the path may be the host's, which is not there
    for group in [here, *here.parents]:
        if not group.is_relative_to(root):
            return
        try:
            limit, used = (group / "memory.max").read_text().strip(), int((group / "memory.current").read_text())
            if limit == "max":
                continue
            facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            yield int(limit) - used + int(facts.get("inactive_file", 0))
        except (OSError, ValueError):
            continue


def own_limit() -> Iterator[int]:
    """Bytes of address space left to this process, where `ulimit -v` bounds it."""
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            yield soft - int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError, ValueError):  # no such limits on Windows
        return


def resident() -> int:
    """Bytes of memory this process holds; 0 where that cannot be told."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except (OSError, ValueError):
        return 0
