"""How much faster is a training step of i2i than the plain one? Batch 1, side by side in one run.

    python benchmarks/training_step.py [--game cyclegan|pix2pix] [--side 256] [--rounds 3] [--steps 3] [--json]

Both take the same steps on the same pictures with networks of the same sizes and the same terms. The plain side is what
most people run: torch's own layers in fp32, Adam as it comes, for CycleGAN a pool of 50 and a backward pass for each
discriminator. The other side is `Trainer.step` with the settings of the recipes that ship: bf16 where the processor has
units for it, channels_last, fused Adam, the allocator as the command line sets it, and an average of the weights, which
the plain side does not even keep.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from side_by_side import Stopwatch, add_options, compared, in_turn, machine, report, table

Step = Callable[[int, Any, Any], None]
"""Position in the stream and two pictures uint8 [1,3,H,W]; one step of all networks."""

IDENTITY, CYCLE, POOL, PIXEL = 5.0, 10.0, 50, 100.0
WARM_UP = 2  # steps before the clock starts


def pictures(side: int) -> Iterator[tuple[int, Any, Any]]:
    """Random pictures, as uint8 [1,3,side,side], with their positions."""
    import torch

    for position in itertools.count():
        generator = torch.Generator().manual_seed(position)
        a, b = torch.randint(0, 256, (2, 1, 3, side, side), generator=generator, dtype=torch.uint8)
        yield position, a, b


# --- the plain side


class Pool:
    """Up to 50 older fakes."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def __call__(self, image: Any) -> Any:
        if len(self.kept) < POOL:
            self.kept.append(image.clone())
            return image
        if random.random() < 0.5:
            return image
        place = random.randrange(POOL)
        old, self.kept[place] = self.kept[place], image.clone()
        return old


def to_float(image: Any) -> Any:
    return image.float().div(255).sub(0.5).div(0.5)


def adam(*networks: Any) -> Any:
    import torch

    parameters = itertools.chain(*(network.parameters() for network in networks))
    return torch.optim.Adam(parameters, lr=2e-4, betas=(0.5, 0.999))


def draw_weights(*networks: Any) -> None:
    """Both sides start from N(0, 0.02)."""
    from torch import nn

    for network in networks:
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, 0.0, 0.02)


def plain_cyclegan(width: int, blocks: int, depth: int) -> Step:
    from plain import patch_discriminator, resnet
    from torch import nn

    a2b, b2a = resnet(width=width, blocks=blocks), resnet(width=width, blocks=blocks)
    on_a, on_b = patch_discriminator(3, width=width), patch_discriminator(3, width=width)
    draw_weights(a2b, b2a, on_a, on_b)
    generators, discriminators = adam(a2b, b2a), adam(on_a, on_b)
    pool_a, pool_b, absolute = Pool(), Pool(), nn.L1Loss()

    def step(position: int, given_a: Any, given_b: Any) -> None:
        a, b = to_float(given_a), to_float(given_b)
        on_a.requires_grad_(False)
        on_b.requires_grad_(False)
        generators.zero_grad()
        fake_b, fake_a = a2b(a), b2a(b)
        loss = (on_b(fake_b) - 1).square().mean() + (on_a(fake_a) - 1).square().mean()
        loss = loss + CYCLE * (absolute(b2a(fake_b), a) + absolute(a2b(fake_a), b))
        loss = loss + IDENTITY * (absolute(a2b(b), b) + absolute(b2a(a), a))
        loss.backward()
        generators.step()
        on_a.requires_grad_(True)
        on_b.requires_grad_(True)
        discriminators.zero_grad()
        for judge, real, old in ((on_a, a, pool_a(fake_a.detach())), (on_b, b, pool_b(fake_b.detach()))):
            (0.5 * ((judge(real) - 1).square().mean() + judge(old).square().mean())).backward()
        discriminators.step()

    return step


def plain_pix2pix(width: int, blocks: int, depth: int) -> Step:
    import torch
    from plain import Unet, patch_discriminator
    from torch import nn

    a2b, on_pair = Unet(width=width, depth=depth), patch_discriminator(6, width=width, norm=nn.BatchNorm2d)
    draw_weights(a2b, on_pair)
    generator, discriminator = adam(a2b), adam(on_pair)
    entropy, absolute = nn.BCEWithLogitsLoss(), nn.L1Loss()

    def step(position: int, given_a: Any, given_b: Any) -> None:
        a, b = to_float(given_a), to_float(given_b)
        fake = a2b(a)
        on_pair.requires_grad_(True)
        discriminator.zero_grad()
        on_fake, on_real = on_pair(torch.cat([a, fake.detach()], 1)), on_pair(torch.cat([a, b], 1))
        loss = entropy(on_fake, torch.zeros_like(on_fake)) + entropy(on_real, torch.ones_like(on_real))
        (0.5 * loss).backward()
        discriminator.step()
        on_pair.requires_grad_(False)
        generator.zero_grad()
        on_fake = on_pair(torch.cat([a, fake], 1))
        (entropy(on_fake, torch.ones_like(on_fake)) + PIXEL * absolute(fake, b)).backward()
        generator.step()

    return step


# --- i2i


def our_game(name: str, width: int, blocks: int, depth: int) -> Any:
    from i2i.game import HalfLife
    from i2i.layers import InstanceNorm
    from i2i.spec import Spec
    from i2i.translation.cyclegan import CycleGAN, ResnetGenerator
    from i2i.translation.pix2pix import PatchDiscriminator, Pix2Pix, UnetGenerator

    average = HalfLife(images=1000)
    if name == "pix2pix":
        judge = Spec.to(PatchDiscriminator, channels=6, width=width)
        return Pix2Pix(Spec.to(UnetGenerator, width=width, depth=depth), judge, pixel=PIXEL, average=average)
    norm = f"{InstanceNorm.__module__}:{InstanceNorm.__qualname__}"
    judge = Spec.to(PatchDiscriminator, channels=3, width=width, norm=norm, bias=True)
    generator = Spec.to(ResnetGenerator, width=width, blocks=blocks)
    return CycleGAN(generator, judge, cycle=CYCLE, identity=IDENTITY, pool=POOL, average=average)


def our_step(name: str, width: int, blocks: int, depth: int, out: Path) -> tuple[Step, str]:
    """The trainer's step, and the precision it takes."""
    import torch

    from i2i.cli import tune_allocator
    from i2i.engine import fast_bf16
    from i2i.recipe import Training
    from i2i.trainer import Trainer

    tune_allocator()
    game = our_game(name, width, blocks, depth)

    class Data:
        fields = game.Batch

    precision = "bf16" if fast_bf16(torch.device("cpu")) else "fp32"
    settings = Training(images=1_000_000, precision=precision)
    trainer = Trainer(game, Data(), settings, out, device="cpu", say=lambda sentence: None)
    trainer.enter(0)

    def step(position: int, a: Any, b: Any) -> None:
        trainer.step((position, game.Batch(a, b)))

    return step, precision


def work(chosen: argparse.Namespace) -> None:
    """One variant: a few steps, then as many with the clock running."""
    import torch

    sizes = (chosen.width, chosen.blocks, chosen.depth or chosen.side.bit_length() - 1)
    torch.manual_seed(0)
    precision = "fp32"
    with tempfile.TemporaryDirectory() as out:
        if chosen.worker == "i2i":
            step, precision = our_step(chosen.game, *sizes, Path(out))
        else:
            step = {"cyclegan": plain_cyclegan, "pix2pix": plain_pix2pix}[chosen.game](*sizes)
        stream, taken = pictures(chosen.side), []
        for number in range(WARM_UP + chosen.steps):
            given = next(stream)
            watch = Stopwatch()
            step(*given)
            if number >= WARM_UP:
                taken.append(watch.read())
    wall, cpu = (statistics.median(field) for field in zip(*taken, strict=True))
    report(wall, cpu, precision=precision, threads=torch.get_num_threads())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--game", choices=["cyclegan", "pix2pix"], default="cyclegan")
    parser.add_argument("--side", type=int, default=256, help="of the pictures, in pixels (256)")
    parser.add_argument("--steps", type=int, default=3, help="timed steps of each process; their median counts (3)")
    parser.add_argument("--width", type=int, default=64, help="of all networks' first layers (64)")
    parser.add_argument("--blocks", type=int, default=9, help="residual blocks of CycleGAN's generators (9)")
    parser.add_argument("--depth", type=int, help="how often the U-Net halves (down to 1x1)")
    add_options(parser, rounds=3)
    chosen = parser.parse_args()
    if chosen.worker:
        work(chosen)
        return
    options = ["--game", chosen.game]
    for name in ("side", "steps", "width", "blocks", "depth"):
        options += [] if getattr(chosen, name) is None else [f"--{name}", str(getattr(chosen, name))]
    taken = in_turn(__file__, {"plain": options, "i2i": options}, rounds=chosen.rounds, threads=chosen.threads)
    precision = taken["i2i"][0].more["precision"]
    found = {"machine": machine(), "game": chosen.game, "side": chosen.side, "precision": precision}
    found["rows"] = compared(taken)
    if chosen.json:
        print(json.dumps(found))
        return
    print(", ".join(f"{key} {value}" for key, value in found["machine"].items()))
    print(f"{chosen.game} at {chosen.side}x{chosen.side}, batch 1, i2i in {precision}:")
    print("\n".join(table(found["rows"], "step")))


if __name__ == "__main__":
    main()
