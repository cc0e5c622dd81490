"""A large photograph through `i2i upscale`, file to file: memory above start-up, time, and a part compared.

    python benchmarks/photograph.py [--width 6000] [--height 4000] [--model srresnet/x4] [--format jpeg] [--json]

The same command enlarges a picture of 16x16 pixels first; what a process takes for that is its start-up. Then a part of
the large result is compared with the engine's for that part alone, cut out with all that the network sees around it:
what differs is what the file's format loses, and seams if there were any.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from large import draw
from PIL import Image

PART = 256  # side of the part, in input pixels
Image.MAX_IMAGE_PIXELS = None  # Pillow's guard is meant for files of others


def enlarged(picture: Any, folder: Path, chosen: argparse.Namespace) -> tuple[Path, dict[str, float]]:
    """The picture's result, and what the command took."""
    source = folder / f"{picture.shape[1]}x{picture.shape[0]}.jpg"
    Image.fromarray(picture).save(source, quality=95)
    options = ["--format", chosen.format, "--quality", "95", "--precision", chosen.precision]
    command = [sys.executable, "-m", "i2i", "upscale", "--model", chosen.model, str(source), "-o", str(folder / "out")]
    started = time.monotonic()
    process = subprocess.Popen([*command, *options, "--quiet"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"i2i upscale ended with {os.waitstatus_to_exitcode(status)}")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    taken = {"wall": time.monotonic() - started, "cpu": usage.ru_utime + usage.ru_stime, "peak": float(peak)}
    return next((folder / "out").glob(f"{source.stem}.*")), taken


def apart(result: Path, source: Path, chosen: argparse.Namespace) -> dict[str, float]:
    """Grey levels between the middle of a result and what the engine makes of that part alone."""
    from i2i.engine import Engine
    from i2i.zoo import load_generator

    engine = Engine(load_generator(chosen.model), device="cpu", precision=chosen.precision)
    scale, halo = engine.card.scale, engine.card.halo
    with Image.open(source) as opened:
        whole = np.asarray(opened)
    top, left = (max(0, side // 2 - PART // 2 - halo) for side in whole.shape[:2])
    bottom, right = (min(start + PART + 2 * halo, side) for start, side in zip((top, left), whole.shape, strict=False))
    drawn = engine.run([whole[top:bottom, left:right]])[0]
    inner = np.s_[scale * halo : -scale * halo, scale * halo : -scale * halo]
    with Image.open(result) as opened:
        there = np.asarray(opened.crop((scale * left, scale * top, scale * right, scale * bottom)))
    levels = np.abs(there[inner].astype(np.int16) - drawn[inner])
    return {"mean": float(levels.mean()), "most": float(levels.max())}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--width", type=int, default=6000)
    parser.add_argument("--height", type=int, default=4000)
    parser.add_argument("--model", default="srresnet/x4")
    parser.add_argument("--format", choices=["jpeg", "png", "tiff"], default="jpeg")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _, start = enlarged(draw(16, 16), folder, chosen)
        result, taken = enlarged(draw(chosen.width, chosen.height), folder, chosen)
        with Image.open(result) as opened:
            size = opened.size
        found = taken | {"start": start["peak"], "size": size, "file": result.stat().st_size}
        found["levels"] = apart(result, folder / f"{chosen.width}x{chosen.height}.jpg", chosen)
    if chosen.json:
        print(json.dumps(found))
        return
    above, start, levels = (found["peak"] - found["start"]) / 1e9, found["start"] / 1e9, found["levels"]
    print(f"{chosen.width}x{chosen.height} to {size[0]}x{size[1]}, {found['file'] / 1e6:.0f} MB of {chosen.format}")
    print(f"memory above start-up   {above:.2f} GB (start-up {start:.2f})")
    print(f"time                    {found['wall']:.0f} s, of the processors {found['cpu']:.0f} s")
    print(f"a part against alone    {levels['mean']:.2f} levels on average, {levels['most']:.0f} at most")


if __name__ == "__main__":
    main()
