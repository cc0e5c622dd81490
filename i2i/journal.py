"""What a run tells: means kept on the device until a line is due, JSON lines, progress, contact sheets, TensorBoard."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["Journal", "Means", "Progress", "contact_sheet"]


class Means:
    """Running means of named scalars, summed in float64 where the device has it; read only when a line is due."""

    def __init__(self, device: torch.device) -> None:
        self.dtype = torch.float32 if device.type == "mps" else torch.float64
        self.device = device
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def note(self, name: str, value: Tensor) -> None:
        """Add one detached scalar; nothing leaves the device."""
        total = self.sums.get(name)
        value = value.detach().to(self.dtype)
        self.sums[name] = value.clone() if total is None else total + value
        self.counts[name] = self.counts.get(name, 0) + 1

    def read(self, reduce_sum: Any = None) -> dict[str, float]:
        """The means, over all ranks if `reduce_sum` adds a tensor up over them."""
        if not self.sums:
            return {}
        names = sorted(self.sums)
        table = torch.stack([torch.stack([self.sums[n], self.sums[n].new_tensor(self.counts[n])]) for n in names])
        table = reduce_sum(table) if reduce_sum else table
        return {name: total / count for name, (total, count) in zip(names, table.tolist(), strict=True)}

    def clear(self) -> None:
        self.sums.clear()
        self.counts.clear()

    def state(self, reduce_sum: Any = None) -> dict[str, Tensor]:
        """Name -> [sum, count], over all ranks if `reduce_sum` adds a tensor up over them."""
        pairs = {name: torch.stack([s, s.new_tensor(self.counts[name])]) for name, s in sorted(self.sums.items())}
        return {name: reduce_sum(pair) for name, pair in pairs.items()} if reduce_sum else pairs

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.clear()
        for name, pair in state.items():
            self.sums[name] = pair[0].to(self.device, self.dtype)
            self.counts[name] = int(pair[1])


class Journal:
    """`journal.jsonl`: one line every so many images, and one more whenever something happens that a reader must know.

    A line holds "images", "stage", "rate" and "terms" (means since the line before, six digits), which a run of the
    same recipe on the same hardware prints again; and "seconds", which no run does.
    """

    def __init__(self, path: Path, *, tensorboard: Path | None = None) -> None:
        self.path = path
        self.writer = _tensorboard(tensorboard) if tensorboard else None

    def rewind(self, images: int) -> None:
        """Drop the lines after `images`: a resumed run writes them again."""
        if not self.path.exists():
            return
        kept = [line for line in self.path.read_text().splitlines() if _images(line) <= images]
        temporary = self.path.with_suffix(".part")
        temporary.write_text("".join(line + "\n" for line in kept))
        os.replace(temporary, self.path)

    def line(self, **facts: Any) -> None:
        """Append one line and flush it; terms that are not finite become null, which JSON can say."""
        if "terms" in facts:
            facts["terms"] = {name: value if math.isfinite(value) else None for name, value in facts["terms"].items()}
        with self.path.open("a") as file:
            file.write(json.dumps(facts, allow_nan=False) + "\n")
        if self.writer and "terms" in facts:
            for name, value in facts["terms"].items():
                if value is None:
                    continue
                self.writer.add_scalar(name, value, facts["images"])
            self.writer.flush()


def _images(line: str) -> int:
    try:
        return int(json.loads(line)["images"])
    except (ValueError, KeyError, TypeError):
        return sys.maxsize  # a line torn by a crash


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        from i2i.errors import UserError

        raise UserError("--tensorboard needs TensorBoard: pip install 'i2i-toolkit[log]'") from None
    return SummaryWriter(str(folder))


def digits(value: float) -> float:
    """Six significant digits, as the journal prints."""
    return float(f"{value:.6g}")


class Progress:
    """One plain line at each journal line: images, images/s, time left, terms."""

    def __init__(self, total: int, *, quiet: bool = False) -> None:
        self.total, self.quiet = total, quiet
        self.since = time.monotonic()
        self.done: int | None = None

    def show(self, images: int, terms: Mapping[str, float]) -> float:
        """Print a line on stderr; returns images/s since the line before."""
        now = time.monotonic()
        start = images if self.done is None else self.done
        speed = (images - start) / max(now - self.since, 1e-9)
        self.since, self.done = now, images
        if not self.quiet:
            left = f"{duration(max(0, self.total - images) / speed)} left" if speed else ""
            short = "  ".join(f"{name.split('/')[0][:3]}/{name.split('/')[-1]} {v:.3g}" for name, v in terms.items())
            print(f"{images:,}/{self.total:,} images  {speed:.1f}/s  {left}  {short}", file=sys.stderr, flush=True)
        return speed

    def begin(self, images: int) -> None:
        self.since, self.done = time.monotonic(), images


def duration(seconds: float) -> str:
    """1:02:03 or 2:03."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def contact_sheet(columns: Sequence[Tensor], *, gap: int = 4) -> Any:
    """Columns of [N,C,H,W] in [-1,1] => one RGB uint8 array [height, width, 3], a row per image, on white."""
    cells = [c.detach().float().cpu().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8) for c in columns]
    cells = [c.expand(-1, 3, -1, -1) if c.shape[1] == 1 else c[:, :3] for c in cells]
    rows, height = len(cells[0]), max(c.shape[2] for c in cells) + gap
    sheet = torch.full((rows * height + gap, sum(c.shape[3] + gap for c in cells) + gap, 3), 255, dtype=torch.uint8)
    left = gap
    for column in cells:
        for row, cell in enumerate(column):
            top = gap + row * height
            sheet[top : top + cell.shape[1], left : left + cell.shape[2]] = cell.permute(1, 2, 0)
        left += column.shape[3] + gap
    return sheet.numpy()


def save_sheet(path: Path, sheet: Any) -> None:
    """Write an RGB uint8 array [H,W,3] as PNG, atomically."""
    from i2i.images import Picture, write

    path.parent.mkdir(parents=True, exist_ok=True)
    write(Picture(sheet), path)
