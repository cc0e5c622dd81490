"""How much faster is FID here than with pytorch-fid as it comes, and is it the same number?

    python benchmarks/fid.py [--images 2000] [--real FOLDER --fake FOLDER] [--rounds 1] [--threads N] [--json]
    python benchmarks/fid.py --trace                     # only the matrix root, against scipy's sqrtm

Half of the pictures are real ones, half are fakes: JPEGs of 256x256 drawn for the purpose unless folders are named.
Both sides read and decode the same files, give the same Inception the same resize, and end with the distance; caches
are off. pytorch-fid runs with its own defaults (batch 50, as many workers as processors, at most 8). The weights are
random: the score means nothing, but both sides must find the same one, and in bf16 nearly the same.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from side_by_side import Stopwatch, add_options, compared, in_turn, machine, report, table

PEER = "pytorch-fid"
SIDES = {PEER: "fp32", "i2i fp32": "fp32", "i2i bf16": "bf16"}
ROOTS = {"scipy": "sqrtm", "i2i": "trace"}
COUNTS = (5000, 1000, 200)  # pictures whose features the matrix root is timed on
DIMS = 2048


def draw_sets(folder: Path, images: int) -> tuple[Path, Path]:
    """Real pictures and blurred ones, half of `images` each."""
    from PIL import Image, ImageFilter
    from translate import draw

    real, fake = folder / "real", folder / "fake"
    draw(folder / "all", images)
    for place in (real, fake):
        place.mkdir()
    for number, file in enumerate(sorted((folder / "all").iterdir())):
        if number % 2:
            file.rename(real / file.name)
        else:
            Image.open(file).filter(ImageFilter.GaussianBlur(1)).save(fake / file.name, quality=92)
    return real, fake


def peer(chosen: argparse.Namespace) -> None:
    """pytorch-fid, from two folders to the score; its download of weights is replaced by a file."""
    import os

    import torch
    from pytorch_fid import fid_score, inception

    state = torch.load(chosen.weights, weights_only=True)
    inception.load_state_dict_from_url = lambda *address, **more: state
    workers = min(len(os.sched_getaffinity(0)), 8)
    watch = Stopwatch()
    score = fid_score.calculate_fid_given_paths([str(chosen.real), str(chosen.fake)], 50, "cpu", DIMS, workers)
    wall, cpu = watch.read()
    readers = resource.getrusage(resource.RUSAGE_CHILDREN)  # its pictures are decoded by processes
    cpu += readers.ru_utime + readers.ru_stime
    report(wall / chosen.images, cpu / chosen.images, score=float(score))


def ours(chosen: argparse.Namespace, precision: Any) -> None:
    """What `i2i evaluate` does, from two folders to the score."""
    from i2i.cli import tune_allocator

    tune_allocator()
    import torch

    from i2i.data.folders import scan
    from i2i.metrics.distances import fid
    from i2i.metrics.extractors import Extractor, Inception
    from i2i.metrics.statistics import collect

    network = Inception(torch.load(chosen.weights, weights_only=True))
    extractor = Extractor(
        "inception", network, kind="inception-v3-compat", weights="random", resize="pytorch-fid", size=299,
        scale=([127.5], [127.5]), device=torch.device("cpu"), precision=precision,
    )  # fmt: skip
    watch = Stopwatch()
    real, fake = (collect(scan(folder), extractor).statistics for folder in (chosen.real, chosen.fake))
    score = fid(real, fake).value
    wall, cpu = watch.read()
    report(wall / chosen.images, cpu / chosen.images, score=score)


def root(chosen: argparse.Namespace, name: str) -> None:
    """The trace of the root of the product of two covariances, by one of the two ways."""
    import torch

    from i2i.metrics.distances import trace_of_root
    from i2i.metrics.extractors import Features
    from i2i.metrics.statistics import Statistics

    sets = []
    for seed in (0, 1):
        draw = torch.Generator().manual_seed(seed)
        falling = torch.linspace(0, -4, DIMS).exp()  # as the spread of Inception's features does
        turn = torch.linalg.qr(torch.randn(DIMS, DIMS, generator=torch.Generator().manual_seed(7))).Q
        sets.append(Statistics({}))
        sets[-1].add(Features(torch.randn(chosen.images, DIMS, generator=draw) * falling @ turn + seed))
    covariances = [some.covariance.numpy() for some in sets]
    if name == "scipy":
        from scipy import linalg

        watch = Stopwatch()
        trace = float(linalg.sqrtm(covariances[0] @ covariances[1]).trace().real)
    else:
        watch = Stopwatch()
        trace, _ = trace_of_root(*sets)
    wall, cpu = watch.read()
    report(wall, cpu, trace=trace)


def apart(taken: Mapping[str, Sequence[Any]], what: str) -> dict[str, float]:
    """How far each variant's number is from the first one's, relatively."""
    found = {name: float(runs[0].more[what]) for name, runs in taken.items()}
    first = next(iter(found.values()))
    return {name: abs(value - first) / abs(first) for name, value in found.items()}


def roots(chosen: argparse.Namespace) -> dict[str, Any]:
    """The comparison of the matrix roots; prints as it goes unless JSON is wanted."""
    found = {}
    for count in COUNTS:
        variants = {name: ["--images", str(count)] for name in ROOTS}
        taken = in_turn(__file__, variants, rounds=chosen.rounds, threads=chosen.threads)
        rows, off = compared(taken), apart(taken, "trace")["i2i"]
        found[str(count)] = {"times": rows, "relative difference": off}
        if not chosen.json:
            print(f"\nTrace of the root of two {DIMS}x{DIMS} covariances of {count} pictures each")
            print("\n".join(table(rows, "trace")))
            print(f"relative difference: {off:.1e}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000, help="pictures in all (2000)")
    parser.add_argument("--real", type=Path, help="a folder of pictures of one size, which pytorch-fid needs")
    parser.add_argument("--fake", type=Path, help="another")
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--trace", action="store_true", help="time the matrix root alone")
    add_options(parser, rounds=1)
    chosen = parser.parse_args()
    if chosen.worker in ROOTS:
        root(chosen, chosen.worker)
    elif chosen.worker == PEER:
        peer(chosen)
    elif chosen.worker:
        ours(chosen, SIDES[chosen.worker])
    elif chosen.trace:
        found = {"machine": machine(), "roots": roots(chosen)}
        print(json.dumps(found) if chosen.json else f"\n{found['machine']}")
    else:
        scores(chosen)


def scores(chosen: argparse.Namespace) -> None:
    """The comparison of the whole way from folders to the score."""
    import torch

    from i2i.data.folders import scan
    from i2i.metrics.extractors import drawn

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if chosen.real is None or chosen.fake is None:
            print(f"drawing {chosen.images} pictures", file=sys.stderr)
            chosen.real, chosen.fake = draw_sets(folder, chosen.images)
        count = len(scan(chosen.real)) + len(scan(chosen.fake))
        torch.save(drawn(0), folder / "random.pth")
        options = ["--real", str(chosen.real), "--fake", str(chosen.fake), "--images", str(count)]
        options += ["--weights", str(folder / "random.pth")]
        taken = in_turn(__file__, dict.fromkeys(SIDES, options), rounds=chosen.rounds, threads=chosen.threads)
    rows, off = compared(taken), apart(taken, "score")
    results = {name: runs[0].more["score"] for name, runs in taken.items()}
    if chosen.json:
        print(json.dumps({"machine": machine(), "images": count, "times": rows, "scores": results, "apart": off}))
        return
    print(f"\nFID of {count} pictures, from folders to the score; {machine()}\n")
    print("\n".join(table(rows, "picture")))
    for name, score in results.items():
        print(f"{name:<12} score {score:.6f}, relative difference {off[name]:.1e}")
    print("The weights are random: the score means nothing, its differences do.")


if __name__ == "__main__":
    main()
