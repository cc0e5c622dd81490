"""Times variants of the same work in turn, each in a process of its own, so that what happens to one happens to all.

A script calls itself: without `--worker` it asks `in_turn` for rounds A B A B ...; with `--worker NAME` it does the
work of one variant once and ends with `report`. Absolute times of a shared machine mean little; the ratio of two
variants of one run means something, and the CPU time beside it tells whether the machine was shared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Stopwatch", "Taken", "add_options", "compared", "in_turn", "report", "run_worker", "table"]

PAUSE = 0.5  # seconds between two workers
MARK = "measured: "  # what the line of a worker's figures begins with


class Taken(NamedTuple):
    """One worker's figures, in seconds.

    Attributes:
        wall, cpu: of what is compared, per unit (an image, a step).
        whole: of the process from its start to its end, imports and reading of weights included.
        others: processors that others kept busy meanwhile; None where the system does not tell.
        more: what else the worker reported.
    """

    wall: float
    cpu: float
    whole: float
    others: float | None
    more: Mapping[str, Any]


class Stopwatch:
    """Wall and CPU time of this process (all threads), from its creation on."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """(wall, cpu) in seconds."""
        return time.perf_counter() - self.wall, time.process_time() - self.cpu


def add_options(parser: argparse.ArgumentParser, *, rounds: int) -> None:
    """The options that all comparisons share."""
    parser.add_argument("--rounds", type=int, default=rounds, help=f"how often each variant runs ({rounds})")
    parser.add_argument("--threads", type=int, default=None, help="of each variant; default: torch's choice")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--worker", help=argparse.SUPPRESS)


def report(wall: float, cpu: float, **more: Any) -> None:
    """A worker's last words: seconds per unit, and what else it found."""
    print(MARK + json.dumps({"wall": wall, "cpu": cpu, **more}), flush=True)


def run_worker(script: str | Path, name: str, options: Sequence[str], *, threads: int | None = None) -> Taken:
    """Run the script as the worker of one variant. Raises RuntimeError with its last words if it fails."""
    environment = dict(os.environ)
    if threads is not None:
        environment["OMP_NUM_THREADS"] = environment["MKL_NUM_THREADS"] = str(threads)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy, started = machine_busy(), time.perf_counter()
    command = [sys.executable, str(script), "--worker", name, *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    whole, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not lines:
        raise RuntimeError(f"variant '{name}' failed ({done.returncode}):\n{done.stderr[-2000:]}")
    own = after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime
    others = None if busy is None else max(0.0, (machine_busy() or 0.0) - busy - own) / whole
    figures = json.loads(lines[-1].removeprefix(MARK))
    return Taken(figures.pop("wall"), figures.pop("cpu"), whole, others, figures)


def in_turn(
    script: str | Path, variants: Mapping[str, Sequence[str]], *, rounds: int, threads: int | None = None
) -> dict[str, list[Taken]]:
    """Each variant once per round, in the order given, a pause between two.

    variants: name -> the options its worker gets. Progress goes to stderr.
    """
    taken: dict[str, list[Taken]] = {name: [] for name in variants}
    for number in range(rounds):
        for name, options in variants.items():
            time.sleep(PAUSE)
            taken[name].append(run_worker(script, name, options, threads=threads))
            last = taken[name][-1]
            line = f"round {number + 1} of {rounds}, {name}: {last.wall:.4f} s, {last.cpu:.4f} s of CPU"
            print(line, file=sys.stderr, flush=True)
    return taken


def compared(taken: Mapping[str, Sequence[Taken]]) -> dict[str, dict[str, Any]]:
    """Per variant: medians, the spread, and ratios to the first variant (larger is faster).

    "ratio" is of the median wall times, "ratios" (lowest, highest) of the wall times round by round.
    """
    first = next(iter(taken.values()))
    base_wall, base_cpu = (statistics.median(field) for field in zip(*((t.wall, t.cpu) for t in first), strict=True))
    rows = {}
    for name, found in taken.items():
        walls, cpus = [t.wall for t in found], [t.cpu for t in found]
        by_round = [one.wall / other.wall for one, other in zip(first, found, strict=True)]
        others = [t.others for t in found if t.others is not None]
        rows[name] = {
            "wall": statistics.median(walls),
            "fastest": min(walls),
            "slowest": max(walls),
            "cpu": statistics.median(cpus),
            "whole": statistics.median(t.whole for t in found),
            "others": statistics.median(others) if others else None,
            "ratio": base_wall / statistics.median(walls),
            "ratios": [min(by_round), max(by_round)],
            "cpu_ratio": base_cpu / statistics.median(cpus),
        }
    return rows


def table(rows: Mapping[str, Mapping[str, Any]], unit: str) -> Iterator[str]:
    """The figures of `compared` as text; times in milliseconds per unit."""
    width = max(len(unit) + 7, *map(len, rows))
    yield f"{'ms per ' + unit:<{width}}    wall  (fastest-slowest)      CPU   times as fast (rounds)   by CPU   others"
    for name, row in rows.items():
        spread = f"({row['fastest'] * 1e3:.1f}-{row['slowest'] * 1e3:.1f})"
        rounds = f"({row['ratios'][0]:.2f}-{row['ratios'][1]:.2f})"
        others = "   ?" if row["others"] is None else f"{row['others']:.2f}"
        yield (
            f"{name:<{width}}{row['wall'] * 1e3:>8.1f}  {spread:<18}{row['cpu'] * 1e3:>9.1f}"
            f"   {row['ratio']:>8.2f} {rounds:<15}{row['cpu_ratio']:>8.2f}{others:>9}"
        )
    if any((row["others"] or 0) > 0.1 for row in rows.values()):
        yield "Others were using this machine: the wall times are not worth much."


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    import torch

    units = [name for name in ("avx512_bf16", "amx_tile") if getattr(torch.cpu, f"_is_{name}_supported", bool)()]
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "bf16_units": units,
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine_busy() -> float | None:
    """Seconds that all processors together have worked since the machine started; None where it does not tell."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except (OSError, IndexError):
        return None
    user, nice, system, _idle, _waiting, interrupts, soft, *_ = map(int, fields)
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")
