"""Does a recipe still train as it did? Trains its first images again and compares with the shipped run's journal.

    python benchmarks/reproduce.py [pix2pix-aerial2map-small ...] [--stop-at 2000]

On the hardware, threads and build that the card names, the terms agree to the printed digits; elsewhere the
mean of each term over the stretch agrees within 5 %. Exit code 0 where either holds; it says which.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

JOURNALS = Path(__file__).parent / "journals"
TOLERANCE = 0.05


def terms(path: Path, stop_at: int) -> list[dict[str, float]]:
    """The loss terms of a journal's lines up to an image; lines without a rate are a validation's."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line["terms"] for line in lines if line["images"] <= stop_at and "rate" in line]


def compare(shipped: Sequence[dict[str, float]], again: Sequence[dict[str, float]]) -> tuple[bool, dict[str, float]]:
    """(whether all digits agree, relative difference of each term's mean)."""
    if len(shipped) != len(again) or not shipped:
        raise SystemExit(f"the shipped journal has {len(shipped)} lines up to there, the new run {len(again)}")
    means = {name: (fmean(t[name] for t in shipped), fmean(t[name] for t in again)) for name in shipped[0]}
    return list(shipped) == list(again), {name: abs(new - old) / abs(old) for name, (old, new) in means.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("recipe", nargs="*", default=sorted(path.stem for path in JOURNALS.glob("*.jsonl")))
    parser.add_argument("--stop-at", type=int, default=2000)
    options = parser.parse_args()
    worst = 0.0
    for recipe in options.recipe:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "i2i", "train", recipe, "--stop-at", str(options.stop_at), "--out", folder]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            shipped = terms(JOURNALS / f"{recipe}.jsonl", options.stop_at)
            equal, apart = compare(shipped, terms(Path(folder) / "journal.jsonl", options.stop_at))
        print(f"{recipe}: {'all printed digits agree' if equal else 'not digit by digit'}")
        for name, share in apart.items():
            print(f"  {name:32} mean over the first {options.stop_at:,} images apart by {share:.2%}")
        worst = max(worst, *apart.values())
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
