"""How much memory a network will want for an image, and how much there is: asked before the machine is brought down."""

from __future__ import annotations

import copy
import weakref
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from i2i.game import Card

__all__ = ["Appetite", "free_memory", "resident"]

SMALL = 1 << 20  # pixels that are never asked about
SLACK = 1.5  # for what kernels want beside the activations, and for holes in the heap


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
    """What networks want per pixel on one device, found without computing anything (on torch's meta device)."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.at_start = resident()
        self.per_pixel: dict[int, float] = {}  # id of a network -> bytes per input pixel

    def too_hungry(self, network: nn.Module, card: Card, pixels: int, dtype: torch.dtype) -> str:
        """Why `pixels` input pixels at once are too many, or "" where they fit or nothing can be known."""
        if pixels <= SMALL or (free := free_memory(self.device)) is None:
            return ""
        if id(network) not in self.per_pixel:
            self.per_pixel[id(network)] = bytes_per_pixel(network, card, dtype)
        wanted = SLACK * self.per_pixel[id(network)] * pixels
        free += max(0, resident() - self.at_start)  # a tuned allocator keeps what it has; it is ours to use again
        return f"it wants about {wanted / 1e9:.1f} GB, {free / 1e9:.1f} GB are free" if wanted > free else ""


def bytes_per_pixel(network: nn.Module, card: Card, dtype: torch.dtype) -> float:
    """The most bytes of activations alive at once, per input pixel."""
    side = max(card.minimum, 512)
    side = -(-side // card.multiple) * card.multiple
    ghost = copy.deepcopy(network).to("meta")
    with torch.no_grad(), Ledger() as ledger:
        ghost(torch.empty(1, card.channels[0], side, side, device="meta", dtype=dtype))
    return ledger.peak / side**2


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had there, the container's limit included; None where that cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(
            device
        )
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (group / "memory.max").read_text().strip(), (group / "memory.current").read_text()
        return min(free, int(limit) - int(used)) if limit != "max" else free
    except (OSError, ValueError):
        return free


def resident() -> int:
    """Bytes of memory this process holds; 0 where that cannot be told."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except (OSError, ValueError):
        return 0
