"""How much faster is `i2i translate` than the plain loop? Both from files to files, side by side in one run.

    python benchmarks/translate.py [--images 200] [--folder FOLDER] [--rounds 3] [--threads N] [--json]

Both translate the same JPEGs with the same weights (ResNet-9 of CycleGAN, random) and write PNGs. The plain loop is
what most people run: torch's own layers in fp32, one image after the other, Pillow to read and to write. The other side
is the command itself. Beside the times stand the grey levels between their results, and whether `--precision fp32`
gives the plain network's.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from side_by_side import Stopwatch, add_options, compared, in_turn, machine, report, run_worker, table

SIDE = 256
FP32_IMAGES = 8  # that --precision fp32 is tried on


def draw(folder: Path, count: int, *, side: int = SIDE) -> None:
    """Square JPEGs with flat areas, edges and noise, from a seed each."""
    folder.mkdir(parents=True)
    for number in range(count):
        random = np.random.default_rng(number)
        picture = Image.new("RGB", (side, side), tuple(random.integers(180, 256, 3).tolist()))
        pen = ImageDraw.Draw(picture)
        for _ in range(30):
            x, y, wide, high = random.integers(0, side, 4).tolist()
            colour = tuple(random.integers(0, 256, 3).tolist())
            pen.rectangle((x, y, x + wide // 3, y + high // 3), fill=colour)
            pen.line((x, y, wide, high), fill=(255, 255, 255), width=1 + x % 7)
        grain = random.normal(0, 4, (side, side, 1))
        pixels = (np.asarray(picture) + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05}.jpg", quality=92)


def write_generator(path: Path, *, width: int, blocks: int) -> None:
    """A generator file with random weights."""
    import torch

    from i2i.checkpoint import save_generator
    from i2i.layers import init_normal
    from i2i.spec import Spec
    from i2i.translation.cyclegan import ResnetGenerator

    spec = Spec.to(ResnetGenerator, width=width, blocks=blocks)
    torch.manual_seed(0)
    network = init_normal(spec.build())
    save_generator(path, network, spec, network.card())


def plain(chosen: argparse.Namespace) -> None:
    """The plain loop, timed from the first file's opening to the last one's end."""
    import torch
    from plain import resnet, same_weights

    from i2i.zoo import load_generator

    network = resnet(width=chosen.width, blocks=chosen.blocks).eval()
    same_weights(network, load_generator(str(chosen.generator)))
    chosen.out.mkdir(parents=True, exist_ok=True)
    files = sorted(chosen.folder.glob("*.jpg"))
    watch = Stopwatch()
    for file in files:
        pixels = np.array(Image.open(file).convert("RGB"))
        x = torch.from_numpy(pixels).permute(2, 0, 1).float().div(127.5).sub(1)[None]
        with torch.no_grad():
            y = network(x)
        levels = y[0].add(1).div(2).mul(255).round().clamp(0, 255).to(torch.uint8)
        Image.fromarray(levels.permute(1, 2, 0).numpy()).save(chosen.out / f"{file.stem}.png")
    wall, cpu = watch.read()
    report(wall / len(files), cpu / len(files), threads=torch.get_num_threads())


def ours(chosen: argparse.Namespace) -> None:
    """`i2i translate` in this process; as for the plain loop, the clock runs while it goes through the files."""
    from i2i import batchrun
    from i2i.cli import cli

    taken = (0.0, 0.0)
    work = batchrun.run

    def timed(*given: Any, **more: Any) -> Any:
        nonlocal taken
        watch = Stopwatch()
        result = work(*given, **more)
        taken = watch.read()
        return result

    batchrun.run = timed
    command = ["translate", "--model", str(chosen.generator), str(chosen.folder), "-o", str(chosen.out)]
    command += ["--format", "png", "--precision", chosen.precision, "--overwrite", "--quiet"]
    if cli.main(command, prog_name="i2i", standalone_mode=False):
        sys.exit("some images failed")
    count = len(list(chosen.folder.glob("*.jpg")))
    report(taken[0] / count, taken[1] / count)


def differences(one: Path, other: Path) -> dict[str, float]:
    """Grey levels between the PNGs of two folders, over the files of the second."""
    files = sorted(other.glob("*.png"))
    apart = np.stack([np.abs(levels(file) - levels(one / file.name)) for file in files])
    return {"mean": float(apart.mean()), "max": int(apart.max()), "share_equal": float((apart == 0).mean())}


def levels(file: Path) -> NDArray[np.int16]:
    with Image.open(file) as opened:
        return np.asarray(opened.convert("RGB"), np.int16)


def measure(chosen: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    folder = chosen.folder or scratch / "jpegs"
    if not chosen.folder:
        draw(folder, chosen.images)
    count = len(list(folder.glob("*.jpg")))
    if not count:
        sys.exit(f"translate.py: {folder} holds no .jpg files; name another folder or leave --folder out")
    generator = scratch / "generator.safetensors"
    write_generator(generator, width=chosen.width, blocks=chosen.blocks)

    def options(source: Path, out: str, precision: str = "auto") -> list[str]:
        paths = ["--folder", str(source), "--generator", str(generator), "--out", str(scratch / out)]
        return [*paths, "--width", str(chosen.width), "--blocks", str(chosen.blocks), "--precision", precision]

    variants = {"plain loop": options(folder, "plain"), "i2i translate": options(folder, "ours")}
    taken = in_turn(__file__, variants, rounds=chosen.rounds, threads=chosen.threads)
    few = scratch / "few"
    few.mkdir()
    for file in sorted(folder.glob("*.jpg"))[:FP32_IMAGES]:
        (few / file.name).write_bytes(file.read_bytes())
    run_worker(__file__, "i2i translate", options(few, "exact", "fp32"), threads=chosen.threads)
    return {
        "machine": machine(),
        "images": count,
        "rows": compared(taken),
        "ours_against_plain": differences(scratch / "plain", scratch / "ours"),
        "fp32_against_plain": differences(scratch / "plain", scratch / "exact"),
    }


def lines(found: dict[str, Any]) -> Sequence[str]:
    apart, exact, rows = found["ours_against_plain"], found["fp32_against_plain"], found["rows"]
    whole = [row["whole"] for row in rows.values()]
    facts = ", ".join(f"{key} {value}" for key, value in found["machine"].items())
    return [
        facts,
        f"{found['images']} JPEGs to PNGs, from the first file to the last:",
        *table(rows, "image"),
        f"Whole commands, imports included: {whole[0]:.1f} s and {whole[1]:.1f} s, {whole[0] / whole[1]:.2f} times",
        f"Grey levels between the two: {apart['mean']:.3f} on average, {apart['max']} at most",
        f"--precision fp32 against the plain network: {exact['max']} levels at most, "
        f"{exact['share_equal']:.4%} of the values equal",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=200, help="how many JPEGs are drawn (200)")
    parser.add_argument("--folder", type=Path, help="take the .jpg files of this folder instead")
    parser.add_argument("--width", type=int, default=64, help="of the network's first layer (64)")
    parser.add_argument("--blocks", type=int, default=9, help="residual blocks of the network (9)")
    parser.add_argument("--precision", default="auto", help=argparse.SUPPRESS)
    parser.add_argument("--generator", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    add_options(parser, rounds=3)
    chosen = parser.parse_args()
    if chosen.worker:
        {"plain loop": plain, "i2i translate": ours}[chosen.worker](chosen)
        return
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(chosen, Path(scratch))
    print(json.dumps(found) if chosen.json else "\n".join(lines(found)))


if __name__ == "__main__":
    main()
