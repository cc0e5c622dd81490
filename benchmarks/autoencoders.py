"""Why a discriminator? Three sheets that show it: what comes back of digits, what is drawn, and what lies between two.

    python benchmarks/autoencoders.py MODEL [MODEL ...] -o FOLDER

A MODEL is family/name or a generator file of handwritten digits; where encoder.safetensors lies beside the file, it is
an autoencoder. Runs of the recipes autoencoder-mnist and vae-mnist beside that of any GAN:

    python benchmarks/autoencoders.py runs/{autoencoder,vae,dcgan}-mnist/generators/generator.safetensors -o out

    reconstructions.png   test digits, then a row for each autoencoder
    samples.png           a block for each model, drawn as its card says; behind an autoencoder's, one drawn from the
                          normal distribution that fits the codes of the training digits best
    walk.png              a row for each model: the straight way between the codes of two test digits, or, where there
                          is no encoder, from one draw to another

For each it prints `grey`, the share of pixels that are neither black nor white among those that are not black: how
blurred the pictures are, and of autoencoders `error`, the mean distance of pixels in what comes back.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from i2i.data.labelled import Digits
from i2i.errors import UserError
from i2i.journal import contact_sheet, save_sheet
from i2i.latents import between, drawn, latent_size
from i2i.layers import test_time
from i2i.zoo import find, load_generator

ROWS, COLUMNS = 8, 10
MEASURED = 1000  # pictures
BLACK, WHITE = 0.1, 0.9
GAP = 12  # pixels between blocks


class Model(NamedTuple):
    """A generator and, of an autoencoder, its encoder."""

    name: str
    generator: Any
    encoder: Any | None

    def draw(self, latent: Tensor) -> Tensor:
        """[N,Z] => [N,C,S,S] in [0,1]."""
        low, high = self.generator.card.value_range[1]
        return (self.generator(latent) - low) / (high - low)

    def codes(self, pictures: Tensor) -> Tensor:
        """[N,C,S,S] in [0,1] => [N,Z]: what the encoder says first of each."""
        assert self.encoder is not None
        return self.encoder(pictures)[:, : latent_size(self.generator.card.latent)]


def read(model: str) -> Model:
    generator: Any = load_generator(model)
    if generator.card.kind != "latent" or generator.card.channels[1] != 1:
        raise UserError(f"{model} draws no gray pictures from latent vectors; name a generator of digits")
    beside = find(model).parent / "encoder.safetensors"
    encoder: Any = load_generator(str(beside)) if beside.is_file() else None
    for network in (generator, encoder):
        if network is not None:
            test_time(network, network.card.mode)
    return Model(model, generator, encoder)


def digits(root: str, split: Any, size: int, count: int) -> Tensor:
    """The first pictures of a split, [count,1,size,size] in [0,1]."""
    return Digits(root, split=split, size=size).x[:count].float() / 255


def grey(pictures: Tensor) -> float:
    """The share of pixels between black and white among those that are not black."""
    seen = pictures[pictures > BLACK]
    return float((seen < WHITE).float().mean())


def sheet(rows: list[Tensor]) -> Any:
    """Rows [K,1,S,S] in [0,1] of pictures as large as the largest => an RGB array."""
    side = max(row.shape[-1] for row in rows)
    padded = [F.pad(row, [(side - row.shape[-1]) // 2, (side - row.shape[-1] + 1) // 2] * 2) for row in rows]
    return contact_sheet(list(2 * torch.stack(padded, 1) - 1))


def fitted(model: Model, shown: Tensor, count: int) -> Tensor:
    """[count,Z], drawn from the normal distribution that fits the codes of pictures best."""
    codes = model.codes(shown).double()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, codes.shape[1], generator=generator, dtype=torch.float64)
    return (codes.mean(0) + noise @ torch.linalg.cholesky(codes.T.cov() + 1e-6 * torch.eye(codes.shape[1])).T).float()


@torch.no_grad()
def draw_all(models: list[Model], root: str, out: Path) -> None:
    """Write the three sheets, and print what is on them."""
    print("reconstructions.png: test digits")
    rows: list[Tensor] = []
    blocks, ways = [], []
    for model in models:
        size, parts = model.generator.card.size, model.generator.card.latent
        latent = drawn(parts, range(MEASURED))
        kinds = {"as its card says": latent}
        ends = latent[:1], latent[1:2]
        if model.encoder is not None:
            test = digits(root, "test", size, MEASURED)
            codes = model.codes(test)
            back = model.draw(codes)
            rows = rows or [test[:COLUMNS]]
            rows.append(back[:COLUMNS])
            error = (back - test).abs().mean()
            print(f"    {model.name}: error {error:.4f}, grey {grey(back):.3f}, of true ones {grey(test):.3f}")
            kinds["from a fitted normal"] = fitted(model, digits(root, "train", size, 10_000), MEASURED)
            ends = codes[:1], codes[1:2]
        for kind, vectors in kinds.items():
            blocks.append((f"{model.name}, {kind}", model.draw(vectors)))
        shares = torch.linspace(0, 1, COLUMNS)[:, None]
        straight = ends[0] + shares * (ends[1] - ends[0])
        ways.append(model.draw(straight if model.encoder is not None else between(parts, *ends, shares)))
    print("samples.png, from left to right")
    columns: list[Tensor] = []
    for name, pictures in blocks:
        print(f"    {name}: grey {grey(pictures):.3f}")
        columns += [torch.ones(ROWS, 1, 1, GAP)] if columns else []
        columns += (2 * pictures[: ROWS * COLUMNS] - 1).split(ROWS)
    print("walk.png, from above")
    for model in models:
        print(f"    {model.name}")
    if rows:
        save_sheet(out / "reconstructions.png", sheet(rows))
    save_sheet(out / "samples.png", contact_sheet(columns))
    save_sheet(out / "walk.png", sheet(ways))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", nargs="+", help="family/name or a generator file")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the sheets")
    parser.add_argument("--data", default="mnist/raw", help="folder of MNIST, also looked for under $I2I_DATA")
    chosen = parser.parse_args()
    try:
        draw_all([read(model) for model in chosen.model], chosen.data, chosen.out)
    except UserError as error:
        print(f"autoencoders.py: {error}", file=sys.stderr)
        sys.exit(error.code)


if __name__ == "__main__":
    main()
