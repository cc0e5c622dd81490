"""How much faster is a training step of i2i than the plain one? Side by side in one run.

    python benchmarks/training_step.py [--game cyclegan|pix2pix|srresnet|srgan] [--rounds 3] [--steps 3] [--json]

Both take the same steps on the same pictures with networks of the same sizes and the same terms: CycleGAN and pix2pix
on one of 256x256, SRResNet (the first stage of SRGAN) and SRGAN on 16 of 96x96, as their papers say. The plain side is
what most people run: torch's own layers in fp32, Adam as it comes, for CycleGAN a pool of 50 and a backward pass for
each discriminator, for SRGAN torch's antialiased bicubic. The other side is `Trainer.step` with the settings of the
recipes that ship: bf16 where the processor has units for it, channels_last, fused Adam, the allocator as the command
line sets it, and an average of the weights, which the plain side does not even keep. VGG19, whose features SRGAN
compares, has the same random weights on both sides.
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
from typing import Any, NamedTuple

from side_by_side import Stopwatch, add_options, compared, in_turn, machine, report, table

Step = Callable[..., None]
"""Position in the stream and the game's pictures, each uint8 [N,3,H,W]; one step of all networks."""

IDENTITY, CYCLE, POOL, PIXEL = 5.0, 10.0, 50, 100.0
SCALE, FOOLED, FEATURES = 4, 1e-3, 1 / 12.75  # SRGAN
WARM_UP = 2  # steps before the clock starts


class Sizes(NamedTuple):
    """Of pictures, batches and networks."""

    side: int
    batch: int
    width: int
    blocks: int
    depth: int


def pictures(fields: int, sizes: Sizes) -> Iterator[tuple[Any, ...]]:
    """Positions, and as many random pictures as a game has fields, each uint8 [batch,3,side,side]."""
    import torch

    shape = (fields, sizes.batch, 3, sizes.side, sizes.side)
    for position in itertools.count(step=sizes.batch):
        generator = torch.Generator().manual_seed(position)
        yield position, *torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


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


def adam(*networks: Any, rate: float = 2e-4, momentum: float = 0.5) -> Any:
    import torch

    parameters = itertools.chain(*(network.parameters() for network in networks))
    return torch.optim.Adam(parameters, lr=rate, betas=(momentum, 0.999))


def draw_weights(*networks: Any) -> None:
    """Both sides start from N(0, 0.02)."""
    from torch import nn

    for network in networks:
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, 0.0, 0.02)


def plain_cyclegan(sizes: Sizes) -> Step:
    from plain import patch_discriminator, resnet
    from torch import nn

    width, blocks = sizes.width, sizes.blocks
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


def plain_pix2pix(sizes: Sizes) -> Step:
    import torch
    from plain import Unet, patch_discriminator
    from torch import nn

    width = sizes.width
    a2b, on_pair = Unet(width=width, depth=sizes.depth), patch_discriminator(6, width=width, norm=nn.BatchNorm2d)
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


def plain_srresnet(sizes: Sizes) -> Step:
    from plain import srresnet
    from torch import nn

    a2b = srresnet(scale=SCALE, width=sizes.width, blocks=sizes.blocks)
    generator, squared = adam(a2b, rate=1e-4, momentum=0.9), nn.MSELoss()

    def step(position: int, given: Any) -> None:
        large = to_float(given)
        generator.zero_grad()
        squared(a2b(reduced(large)), large).backward()
        generator.step()

    return step


def plain_srgan(sizes: Sizes, vgg: Path) -> Step:
    import torch
    from plain import sr_discriminator, srresnet, vgg19
    from torch import nn

    a2b = srresnet(scale=SCALE, width=sizes.width, blocks=sizes.blocks)
    on_large, features = sr_discriminator(width=sizes.width, size=sizes.side), vgg19().eval().requires_grad_(False)
    features.load_state_dict({name.removeprefix("features."): values for name, values in torch.load(vgg).items()})
    generator, discriminator = (adam(network, rate=1e-4, momentum=0.9) for network in (a2b, on_large))
    entropy, apart = nn.BCEWithLogitsLoss(), content(features)

    def step(position: int, given: Any) -> None:
        large = to_float(given)
        drawn = a2b(reduced(large))
        on_large.requires_grad_(True)
        discriminator.zero_grad()
        real, fake = on_large(large), on_large(drawn.detach())
        (entropy(real, torch.ones_like(real)) + entropy(fake, torch.zeros_like(fake))).backward()
        discriminator.step()
        on_large.requires_grad_(False)
        generator.zero_grad()
        fake = on_large(drawn)
        (apart(drawn, large) + FOOLED * entropy(fake, torch.ones_like(fake))).backward()
        generator.step()

    return step


def content(features: Any) -> Any:
    """The distance of SRGAN's features in two pictures in [-1,1]."""
    import torch
    from torch.nn import functional as F

    mean, std = torch.tensor([0.485, 0.456, 0.406, 0.229, 0.224, 0.225]).reshape(2, 1, 3, 1, 1)

    def apart(drawn: Any, wanted: Any) -> Any:
        ours, theirs = (FEATURES * features((picture / 2 + 0.5 - mean) / std) for picture in (drawn, wanted))
        return F.mse_loss(ours, theirs)

    return apart


def reduced(large: Any) -> Any:
    """[N,3,H,W] in [-1,1] => [N,3,H/4,W/4] in [0,1], as torch makes pictures smaller."""
    from torch.nn import functional as F

    small = F.interpolate(large, scale_factor=1 / SCALE, mode="bicubic", antialias=True)
    return (small / 2 + 0.5).clamp(0, 1)


def write_vgg(path: Path) -> None:
    """VGG19 with random weights (He et al. 2015), as torchvision's file has it."""
    import torch
    from plain import vgg19
    from torch import nn

    network = vgg19()
    for module in network:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    torch.save({f"features.{name}": values for name, values in network.state_dict().items()}, path)


# --- i2i


def our_game(name: str, sizes: Sizes, vgg: Path) -> Any:
    from i2i.game import HalfLife
    from i2i.layers import InstanceNorm
    from i2i.losses import Perceptual
    from i2i.spec import Spec
    from i2i.translation.cyclegan import CycleGAN, ResnetGenerator
    from i2i.translation.pix2pix import PatchDiscriminator, Pix2Pix, UnetGenerator
    from i2i.translation.srgan import SRGAN, SRDiscriminator, SRResNet

    average, width = HalfLife(images=1000), sizes.width
    if name == "pix2pix":
        judge = Spec.to(PatchDiscriminator, channels=6, width=width)
        return Pix2Pix(Spec.to(UnetGenerator, width=width, depth=sizes.depth), judge, pixel=PIXEL, average=average)
    if name == "cyclegan":
        norm = f"{InstanceNorm.__module__}:{InstanceNorm.__qualname__}"
        judge = Spec.to(PatchDiscriminator, channels=3, width=width, norm=norm, bias=True)
        generator = Spec.to(ResnetGenerator, width=width, blocks=sizes.blocks)
        return CycleGAN(generator, judge, cycle=CYCLE, identity=IDENTITY, pool=POOL, average=average)
    generator = Spec.to(SRResNet, scale=SCALE, width=width, blocks=sizes.blocks)
    if name == "srresnet":
        return SRGAN(generator, average=average)
    judge = Spec.to(SRDiscriminator, width=width, size=sizes.side)
    content = Spec.to(Perceptual, weights=str(vgg))
    return SRGAN(generator, judge, pixels=0, content=content, adversarial=FOOLED, average=average)


def our_step(name: str, sizes: Sizes, out: Path, vgg: Path) -> tuple[Step, str]:
    """The trainer's step, and the precision it takes."""
    import torch

    from i2i.cli import tune_allocator
    from i2i.engine import fast_bf16
    from i2i.recipe import Training
    from i2i.trainer import Trainer

    tune_allocator()
    game = our_game(name, sizes, vgg)

    class Data:
        fields = game.Batch

    precision = "bf16" if fast_bf16(torch.device("cpu")) else "fp32"
    settings = Training(images=1_000_000, batch=sizes.batch, precision=precision)
    trainer = Trainer(game, Data(), settings, out, device="cpu", say=lambda sentence: None)
    trainer.enter(0)

    def step(position: int, *given: Any) -> None:
        trainer.step((position, game.Batch(*given)))

    return step, precision


class Usual(NamedTuple):
    """What a game's paper trains on, and how many pictures a batch has fields for."""

    fields: int
    side: int
    batch: int
    blocks: int


GAMES = {
    "cyclegan": Usual(fields=2, side=256, batch=1, blocks=9),
    "pix2pix": Usual(fields=2, side=256, batch=1, blocks=0),
    "srresnet": Usual(fields=1, side=96, batch=16, blocks=16),
    "srgan": Usual(fields=1, side=96, batch=16, blocks=16),
}


def sizes_of(chosen: argparse.Namespace) -> Sizes:
    """What was asked for, else what is usual."""
    usual = GAMES[chosen.game]
    side, blocks = chosen.side or usual.side, usual.blocks if chosen.blocks is None else chosen.blocks
    return Sizes(side, chosen.batch or usual.batch, chosen.width, blocks, chosen.depth or side.bit_length() - 1)


def plain_step(name: str, sizes: Sizes, vgg: Path) -> Step:
    if name == "srgan":
        return plain_srgan(sizes, vgg)
    return {"cyclegan": plain_cyclegan, "pix2pix": plain_pix2pix, "srresnet": plain_srresnet}[name](sizes)


def work(chosen: argparse.Namespace) -> None:
    """One variant: a few steps, then as many with the clock running."""
    import torch

    sizes = sizes_of(chosen)
    torch.manual_seed(0)
    precision = "fp32"
    with tempfile.TemporaryDirectory() as folder:
        vgg = Path(folder) / "vgg19.pth"
        if chosen.game == "srgan":
            write_vgg(vgg)
        if chosen.worker == "i2i":
            step, precision = our_step(chosen.game, sizes, Path(folder) / "run", vgg)
        else:
            step = plain_step(chosen.game, sizes, vgg)
        stream, taken = pictures(GAMES[chosen.game].fields, sizes), []
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
    parser.add_argument("--game", choices=list(GAMES), default="cyclegan")
    parser.add_argument("--side", type=int, help="of the pictures, in pixels (the paper's)")
    parser.add_argument("--batch", type=int, help="pictures in a step (the paper's)")
    parser.add_argument("--steps", type=int, default=3, help="timed steps of each process; their median counts (3)")
    parser.add_argument("--width", type=int, default=64, help="of all networks' first layers (64)")
    parser.add_argument("--blocks", type=int, help="residual blocks of generators that have some (the paper's)")
    parser.add_argument("--depth", type=int, help="how often the U-Net halves (down to 1x1)")
    add_options(parser, rounds=3)
    chosen = parser.parse_args()
    if chosen.worker:
        work(chosen)
        return
    options = ["--game", chosen.game]
    for name in ("side", "batch", "steps", "width", "blocks", "depth"):
        options += [] if getattr(chosen, name) is None else [f"--{name}", str(getattr(chosen, name))]
    taken = in_turn(__file__, {"plain": options, "i2i": options}, rounds=chosen.rounds, threads=chosen.threads)
    precision, sizes = taken["i2i"][0].more["precision"], sizes_of(chosen)
    found = {"machine": machine(), "game": chosen.game, "side": sizes.side, "batch": sizes.batch}
    found |= {"precision": precision, "rows": compared(taken)}
    if chosen.json:
        print(json.dumps(found))
        return
    print(", ".join(f"{key} {value}" for key, value in found["machine"].items()))
    print(f"{chosen.game} at {sizes.side}x{sizes.side}, batch {sizes.batch}, i2i in {precision}:")
    print("\n".join(table(found["rows"], "step")))


if __name__ == "__main__":
    main()
