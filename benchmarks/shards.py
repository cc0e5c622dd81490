"""Reading files at random from tar shards, beside the same files lying loose; and the images they hold, decoded.

    python benchmarks/shards.py [FOLDER] [--files 500]

packs FOLDER (by default maps/train, looked for as recipes do) and reads its files in one random order from either, each
several times in turn; prints the best of the rounds and the ratio.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from i2i import images
from i2i.data.folders import find, scan
from i2i.data.packing import pack
from i2i.errors import UserError
from i2i.images.reading import read_bytes

ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", nargs="?", default="maps/train")
    parser.add_argument("--files", type=int, default=500, help="how many of its files are read")
    chosen = parser.parse_args()
    try:
        home = find(chosen.folder)
        with tempfile.TemporaryDirectory() as place:
            shards = Path(place) / "shards"
            pack(home, shards)
            print(f"{'':14}{'loose':>10}{'shards':>10}{'shards / loose':>16}")
            for what, reader in (("bytes", read_bytes), ("pixels", images.read)):
                best = compare(home, shards, chosen.files, reader)
                loose, packed = (1e6 * best[name] for name in ("loose", "shards"))
                print(f"{what:14}{loose:7.0f} us{packed:7.0f} us{packed / loose:16.2f}")
    except UserError as error:
        print(f"shards.py: {error}", file=sys.stderr)
        sys.exit(error.code)


def compare(home: Path, shards: Path, count: int, reader: object) -> dict[str, float]:
    """Seconds for a file, the best of the rounds."""
    names = [file.relative_to(home) for file in scan(home)]
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(names))[:count]
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name, base in (("loose", home), ("shards", shards)):
            begun = time.perf_counter()
            for index in order:
                reader(base / names[index])  # type: ignore[operator]
            took = (time.perf_counter() - begun) / len(order)
            best[name] = min(took, best.get(name, took))
    return best


if __name__ == "__main__":
    main()
