"""Large photographs through a network with instance norm: memory, time per megapixel, seams, and what is approximated.

    python benchmarks/large.py [--width 6000] [--height 4000] [--model MODEL] [--rounds 2] [--threads N] [--json]

Through one ResNet-9: 2 megapixels in one piece (`--tile off`), and the large picture as `i2i translate` does it, in
bands of rows with the whole picture's statistics. Then, at 1024 pixels, how far several ways lie from one piece, tiles
with statistics of their own among them, which is what a script around the network does; and the largest jump between
neighbouring rows across the borders of bands or tiles, over the largest jump elsewhere.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from side_by_side import Stopwatch, add_options, compared, in_turn, machine, report, table
from translate import write_generator

SMALL = (2048, 1024)  # what goes through in one piece
SIDE, TILE = 1024, 256  # of the picture, and of bands and tiles, where differences are measured
Array = NDArray[Any]


def draw(width: int, height: int, seed: int = 0) -> Array:
    """[height,width,3] uint8 with the spectrum of photographs: noise of every size, a bright and a dark half, edges."""
    import cv2

    random = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for level in range(1, 9):
        grid = random.normal(0, 1, (max(2, (height >> level) + 1), max(2, (width >> level) + 1), 3))
        waves = cv2.resize(grid.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        picture += waves * 2 ** (level / 2)
    picture = 110 + picture * 40 / picture.std()
    picture += np.linspace(-60, 60, height, dtype=np.float32)[:, None, None]
    for _ in range(60):
        x, y = int(random.integers(0, width)), int(random.integers(0, height))
        colour = tuple(random.integers(0, 256, 3).tolist())
        cv2.ellipse(picture, (x, y), (width // 20, height // 30), int(random.integers(0, 180)), 0, 360, colour, -1)
    return picture.clip(0, 255).astype(np.uint8)


def engine(model: str, *, tile: Any, precision: str = "auto") -> Any:
    import i2i

    generator = i2i.load_generator(model)
    return i2i.Engine(generator, device="cpu", precision=precision, tile=tile, say=lambda sentence: None)


def worker(chosen: argparse.Namespace) -> None:
    """One picture through the engine, timed; the second of two, so that kernels are chosen and memory is there."""
    from i2i import memory
    from i2i.cli import tune_allocator

    memory.heap_is_kept = tune_allocator()
    small, picture = np.load(chosen.small), np.load(chosen.picture)
    whole = small.shape == picture.shape
    run = engine(chosen.model, tile="off" if whole else "auto")
    run(small)
    watch = Stopwatch()
    run(picture)
    wall, cpu = watch.read()
    pixels = picture.shape[0] * picture.shape[1] / 1e6
    report(wall / pixels, cpu / pixels, peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def tiles(run: Callable[[Array], Array], picture: Array, halo: int) -> Array:
    """`picture` in tiles with a halo, each with statistics of its own."""
    out, side = np.empty_like(picture), picture.shape[0]
    for top in range(0, side, TILE):
        for left in range(0, side, TILE):
            y, x = max(0, top - halo), max(0, left - halo)
            piece = run(np.ascontiguousarray(picture[y : top + TILE + halo, x : left + TILE + halo]))
            out[top : top + TILE, left : left + TILE] = piece[top - y :, left - x :][:TILE, :TILE]
    return out


def jumps(values: Array) -> float:
    """The mean step across the worst border of rows that are multiples of TILE, over the worst step elsewhere."""
    steps = np.abs(np.diff(values.astype(np.float64), axis=0)).mean(axis=(1, 2))
    borders = np.arange(TILE - 1, len(steps), TILE)
    return float(steps[borders].max() / np.delete(steps, borders).max())


def by_statistics(run: Any, picture: Array, factor: int) -> Array:
    """`picture` in bands, with the norms' statistics of the picture made smaller: how the largest ones are run."""
    import torch

    from i2i.engine import Item

    plan, item = run.plan(run.precision), Item(0, picture, 0)

    def reader(item: Item) -> Callable[[tuple[int, int]], Any]:
        return lambda rows: run.entering(item, item.size, rows)[None].contiguous(memory_format=torch.channels_last)

    out, small = np.empty_like(picture), item.shrunk(factor)
    statistics = plan.run(reader(small), (3, *small.size), lambda rows, band: None)

    def write(rows: tuple[int, int], band: Any) -> None:
        out[slice(*rows)] = run.leaving(band[0], item)

    plan.run(reader(item), (3, *item.size), write, rows=TILE, statistics=statistics)
    return out


def apart(chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of what each way lies from one piece, at 1024 pixels, in grey levels."""
    picture = draw(SIDE, SIDE)
    exact, whole = engine(chosen.model, tile=TILE, precision="fp32"), engine(chosen.model, tile="off", precision="fp32")
    wanted = whole(picture)
    halo = whole.card.halo
    ways = {
        "bands, fp32": exact(picture),
        "bands, as chosen for this machine": engine(chosen.model, tile=TILE)(picture),
        "one piece, as chosen for this machine": engine(chosen.model, tile="off")(picture),
        "bands, statistics at 1/2 of the size": by_statistics(exact, picture, 2),
        "bands, statistics at 1/4 of the size": by_statistics(exact, picture, 4),
        "tiles with their own statistics": tiles(whole, picture, halo),
    }
    inside = jumps(wanted)
    for name, got in ways.items():
        levels = np.abs(got.astype(np.int16) - wanted)
        yield {"way": name, "mean": float(levels.mean()), "max": int(levels.max()), "jump": jumps(got), "there": inside}


def measure(chosen: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    small, large = scratch / "small.npy", scratch / "large.npy"
    np.save(small, draw(*SMALL))
    np.save(large, draw(chosen.width, chosen.height))
    options = ["--model", chosen.model, "--small", str(small), "--picture"]
    name = f"{chosen.width * chosen.height / 1e6:.0f} megapixels, bands"
    names = {"2 megapixels, one piece": [*options, str(small)], name: [*options, str(large)]}
    taken = in_turn(__file__, names, rounds=chosen.rounds, threads=chosen.threads)
    peaks = {name: max(found.more["peak"] for found in rounds) for name, rounds in taken.items()}
    return {"machine": machine(), "rows": compared(taken), "peaks": peaks, "apart": list(apart(chosen))}


def lines(found: dict[str, Any]) -> Iterator[str]:
    yield ", ".join(f"{key} {value}" for key, value in found["machine"].items())
    yield from table(found["rows"], "megapixel")
    for name, peak in found["peaks"].items():
        yield f"most memory of the process, {name}: {peak / 1e9:.2f} GB"
    yield f"{SIDE}x{SIDE} against one piece in fp32, in grey levels; jump: across borders over elsewhere"
    for row in found["apart"]:
        yield f"{row['way']:<38} mean {row['mean']:6.3f}  max {row['max']:3d}  jump {row['jump']:5.2f}"
    yield f"{'one piece, fp32':<38} mean  0.000  max   0  jump {found['apart'][0]['there']:5.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--width", type=int, default=6000, help="of the large picture (6000)")
    parser.add_argument("--height", type=int, default=4000, help="of the large picture (4000)")
    parser.add_argument("--model", default="", help="a generator with a ResNet; default: ResNet-9 of width 64, random")
    parser.add_argument("--small", help=argparse.SUPPRESS)
    parser.add_argument("--picture", help=argparse.SUPPRESS)
    add_options(parser, rounds=2)
    chosen = parser.parse_args()
    if chosen.worker:
        worker(chosen)
        return
    with tempfile.TemporaryDirectory() as scratch:
        if not chosen.model:
            chosen.model = str(Path(scratch) / "resnet9.safetensors")
            write_generator(Path(chosen.model), width=64, blocks=9)
        found = measure(chosen, Path(scratch))
    print(json.dumps(found) if chosen.json else "\n".join(lines(found)))


if __name__ == "__main__":
    sys.exit(main())
