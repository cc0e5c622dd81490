"""Run by test_lanes.py, alone or under torch.distributed.run: play a tiny game and leave its whole state.

ranks.py GAME RANKS OUT STOP  (batch 4 in lanes of 2)
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
from games import (
    Gray,
    Noise,
    Said,
    Shades,
    Told,
    tiny_augmented,
    tiny_autoencoder,
    tiny_cgan,
    tiny_classification,
    tiny_cut,
    tiny_cyclegan,
    tiny_dcgan,
    tiny_discogan,
    tiny_infogan,
    tiny_joint_embedding,
    tiny_pix2pix,
    tiny_progan,
    tiny_sincut,
    tiny_stackgan,
    tiny_wgan,
    tiny_wgan_gp,
)
from safetensors.torch import save_file

from i2i.checkpoint import plain
from i2i.data.augment import Augment
from i2i.host import seeded
from i2i.recipe import Training
from i2i.spec import Spec
from i2i.trainer import Trainer

GAMES = {
    "pix2pix": tiny_pix2pix,
    "cyclegan": tiny_cyclegan,
    "cut": lambda: tiny_cut(flip=0.5),
    "sincut": tiny_sincut,
    "discogan": tiny_discogan,
    "dcgan": tiny_dcgan,
    "augmented": tiny_augmented,
    "cgan": tiny_cgan,
    "classification": tiny_classification,
    "progan": tiny_progan,
    "stackgan": tiny_stackgan,
    "joint-embedding": tiny_joint_embedding,
    "wgan": tiny_wgan,
    "wgan-gp": tiny_wgan_gp,
    "infogan": tiny_infogan,
    "autoencoder": tiny_autoencoder,
}
ALONE = {"augmented", "dcgan", "progan", "wgan", "wgan-gp", "infogan", "autoencoder"}
WITH_MORE = {"cgan": Shades, "classification": Shades, "stackgan": Said, "joint-embedding": Told}


def main(game: str, ranks: int, out: Path, stop: int) -> None:
    torch.set_num_threads(1)
    with seeded(1):
        played = GAMES[game]()
    settings = Training(images=24, batch=4, lane=2, seed=3, threads=1, save_every=12)
    if game == "augmented":  # on the device, too
        turned = Spec("kornia.augmentation:RandomAffine", {"degrees": 20.0, "p": 0.8})
        settings = replace(settings, augment=Spec.to(Augment, geometry=[turned]))
    size = 16 if game == "sincut" else 32
    data = Gray() if game in ALONE else WITH_MORE[game]() if game in WITH_MORE else Noise(size=size)
    trainer = Trainer(played, data, settings, out, device="cpu", say=print)
    assert trainer.ranks == ranks, f"{ranks} ranks were asked for, {trainer.ranks} came up"
    trainer.run(stop_at=stop, quiet=True)
    wrapped = {type(seat.wrapped).__name__ for seat in trainer.seats.values()}
    assert wrapped == ({"DistributedDataParallel"} if ranks > 1 else {"Player"}), wrapped
    groups, _ = trainer.state()
    if trainer.rank == 0:
        for group in ("players", "optimizers", "averages", "game"):
            if groups[group]:
                save_file(plain(groups[group]), out / f"{group}-{stop}.safetensors")
    trainer.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
