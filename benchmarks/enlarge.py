"""How much faster does `i2i.Engine` enlarge a picture than the plain call of the network? Side by side in one run.

    python benchmarks/enlarge.py [--network srresnet rrdb] [--side N] [--rounds 3] [--threads N] [--json]

Both take the same picture in memory, [H,W,3] in 8 bits, to one four times as large, with the same weights: SRResNet as
the SRGAN paper has it on 512x512 pixels, ESRGAN's RRDB-23 on 128x128. The plain side is torch's own layers in fp32. The
other side is an engine as it comes. Beside the times stand the grey levels between the results, and whether an engine
of `precision="fp32"` gives the plain network's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import Stopwatch, add_options, compared, in_turn, machine, report, run_worker, table
from translate import draw, levels

SIDES = {"srresnet": 512, "rrdb": 128}
NAMES = {"srresnet": "SRResNet", "rrdb": "RRDB"}
SETTLED = 64  # pixels of each side of the picture that the norms take their statistics from
SPREAD = 0.25  # of a network's results with random weights, as a part of what they may span


def spec(chosen: argparse.Namespace) -> Any:
    """The network that is run."""
    from i2i.spec import Spec
    from i2i.translation.esrgan import RRDBNet
    from i2i.translation.srgan import SRResNet

    if chosen.network == "rrdb":
        return Spec.to(RRDBNet, width=chosen.width, growth=chosen.width // 2, blocks=chosen.blocks or 23)
    return Spec.to(SRResNet, width=chosen.width, blocks=chosen.blocks or 16)


def write_generator(path: Path, picture: Any, chosen: argparse.Namespace) -> None:
    """A generator file with random weights, whose results are pictures: neither flat nor all black and white."""
    import torch

    from i2i.checkpoint import save_generator
    from i2i.layers import StoredBatchNorm

    torch.manual_seed(0)
    network = spec(chosen).build()
    card = network.card()
    low, high = card.value_range[1]
    x = torch.from_numpy(picture[:SETTLED, :SETTLED]).permute(2, 0, 1)[None] / 255
    last = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)][-1]
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, StoredBatchNorm):
                module.momentum = 1.0
        network.train()(x)
        y = network.eval()(x)
        mean = y.mean((0, 2, 3), keepdim=True)
        scale = SPREAD * (high - low) / (y - mean).std()
        last.weight *= scale
        last.bias.copy_((last.bias - mean.flatten()) * scale + (low + high) / 2)
    save_generator(path, network, spec(chosen), card)


def plain(generator: Any, chosen: argparse.Namespace) -> Any:
    """What takes a picture through the plain network."""
    import torch
    from plain import rrdbnet, same_weights, srresnet

    if chosen.network == "rrdb":
        network = rrdbnet(width=chosen.width, growth=chosen.width // 2, blocks=chosen.blocks or 23)
    else:
        network = srresnet(width=chosen.width, blocks=chosen.blocks or 16)
    same_weights(network.eval(), generator)
    low, high = generator.card.value_range[1]

    @torch.no_grad()
    def enlarge(picture: Any) -> Any:
        x = torch.from_numpy(picture).permute(2, 0, 1).float().div(255)[None]
        y = network(x)[0].sub(low).div(high - low).clamp(0, 1).mul(255).round().to(torch.uint8)
        return y.permute(1, 2, 0).contiguous().numpy()

    return enlarge


def work(chosen: argparse.Namespace) -> None:
    """One variant: the picture once without the clock, then as often as asked for with it."""
    import torch

    from i2i.engine import Engine
    from i2i.zoo import load_generator

    if chosen.worker == "plain":
        enlarge, precision = plain(load_generator(str(chosen.generator)), chosen), "fp32"
    else:
        enlarge = Engine(load_generator(str(chosen.generator)), precision=chosen.precision)
        precision = enlarge.precision
    picture = levels(chosen.picture).astype(np.uint8)
    enlarge(picture)
    taken = []
    for _ in range(chosen.repeats):
        watch = Stopwatch()
        large = enlarge(picture)
        taken.append(watch.read())
    if chosen.out:
        np.save(chosen.out, large)
    wall, cpu = (statistics.median(field) for field in zip(*taken, strict=True))
    report(wall, cpu, precision=precision, threads=torch.get_num_threads())


def measure(network: str, chosen: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    side = chosen.side or SIDES[network]
    scratch.mkdir()
    draw(scratch / "drawn", 1, side=side)
    picture = scratch / "drawn" / "00000.jpg"
    chosen.network = network
    write_generator(scratch / "generator.safetensors", levels(picture).astype(np.uint8), chosen)

    def options(out: str, precision: str, repeats: int) -> list[str]:
        given = {
            "network": network,
            "picture": picture,
            "generator": scratch / "generator.safetensors",
            "out": scratch / f"{out}.npy",
            "precision": precision,
            "repeats": repeats,
            "width": chosen.width,
            **({"blocks": chosen.blocks} if chosen.blocks else {}),
        }
        return [word for name, value in given.items() for word in (f"--{name}", str(value))]

    variants = {name: options(name, "auto", chosen.repeats) for name in ("plain", "i2i")}
    taken = in_turn(__file__, variants, rounds=chosen.rounds, threads=chosen.threads)
    run_worker(__file__, "i2i", options("exact", "fp32", 1), threads=chosen.threads)
    results = {name: np.load(scratch / f"{name}.npy").astype(np.int16) for name in ("plain", "i2i", "exact")}
    apart = {name: np.abs(results[name] - results["plain"]) for name in ("i2i", "exact")}
    return {
        "network": network,
        "blocks": chosen.blocks or (23 if network == "rrdb" else 16),
        "side": side,
        "precision": taken["i2i"][0].more["precision"],
        "rows": compared(taken),
        "spread": float(results["plain"].std()),
        "ours_against_plain": {"mean": float(apart["i2i"].mean()), "max": int(apart["i2i"].max())},
        "fp32_against_plain": {"mean": float(apart["exact"].mean()), "max": int(apart["exact"].max())},
    }


def lines(found: dict[str, Any]) -> Sequence[str]:
    apart, exact = found["ours_against_plain"], found["fp32_against_plain"]
    name, side = f"{NAMES[found['network']]}-{found['blocks']}", found["side"]
    return [
        f"{name} x4 on {side}x{side}, i2i in {found['precision']}:",
        *table(found["rows"], "picture"),
        f"Grey levels between the two: {apart['mean']:.3f} on average, {apart['max']} at most (the result's standard "
        f"deviation: {found['spread']:.0f})",
        f"precision='fp32' against the plain network: {exact['max']} levels at most, {exact['mean']:.6f} on average",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--network", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--side", type=int, help="of the picture, in pixels (512; for rrdb 128)")
    parser.add_argument("--repeats", type=int, default=3, help="timed calls of each process; their median counts (3)")
    parser.add_argument("--width", type=int, default=64, help="of the networks' trunks (64)")
    parser.add_argument("--blocks", type=int, help="of the networks' trunks (16; for rrdb 23)")
    for name, kind in (("generator", Path), ("picture", Path), ("out", Path), ("precision", str)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    add_options(parser, rounds=3)
    chosen = parser.parse_args()
    if chosen.worker:
        (chosen.network,) = chosen.network
        work(chosen)
        return
    with tempfile.TemporaryDirectory() as scratch:
        found = [measure(name, chosen, Path(scratch) / name) for name in chosen.network]
    facts = machine()
    if chosen.json:
        print(json.dumps({"machine": facts, "networks": found}))
        return
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    for each in found:
        print("\n".join(lines(each)))


if __name__ == "__main__":
    main()
