"""Run by test_lanes.py, alone or under torch.distributed.run: play a tiny game and leave its whole state.

    ranks.py GAME RANKS OUT STOP  (batch 4 in lanes of 2)
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from games import Noise, tiny_cyclegan, tiny_pix2pix
from safetensors.torch import save_file

from i2i.checkpoint import plain
from i2i.host import seeded
from i2i.recipe import Training
from i2i.trainer import Trainer

GAMES = {"pix2pix": tiny_pix2pix, "cyclegan": tiny_cyclegan}


def main(game: str, ranks: int, out: Path, stop: int) -> None:
    torch.set_num_threads(1)
    with seeded(1):
        played = GAMES[game]()
    settings = Training(images=24, batch=4, lane=2, seed=3, threads=1, save_every=12)
    trainer = Trainer(played, Noise(size=32), settings, out, device="cpu", say=print)
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
