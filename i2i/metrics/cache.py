"""A folder that keeps features of pictures by the contents of their files, so that no picture is looked at twice."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from i2i.checkpoint import write_atomically
from i2i.errors import UserError
from i2i.metrics.extractors import Features

__all__ = ["BROKEN", "Cache", "save_arrays"]

KEPT = 1024  # pictures in a file
BROKEN = (OSError, EOFError, LookupError, ValueError, zipfile.BadZipFile)  # what numpy says of a damaged .npz


class Cache:
    """Features of pictures by the sha256 of their files: a folder for each protocol, in it blocks of pictures as .npz.

    A block that is damaged counts as absent.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str | int]) -> None:
        name = hashlib.sha256(json.dumps(dict(identity), sort_keys=True).encode()).hexdigest()[:16]
        self.folder = folder / name
        self.hits = 0
        self.places: dict[bytes, tuple[Path, int]] = {}
        self.open: tuple[Path, dict[str, NDArray[Any]]] | None = None
        self.new: list[tuple[bytes, Features, tuple[int, int]]] = []
        for block in sorted(self.folder.glob("*.npz")):
            try:
                with np.load(block, allow_pickle=False) as archive:
                    keys = archive["keys"]
            except BROKEN:
                continue
            self.places |= {key.tobytes(): (block, row) for row, key in enumerate(keys)}

    def __contains__(self, key: bytes) -> bool:
        return key in self.places

    def get(self, key: bytes) -> tuple[Features, tuple[int, int]] | None:
        """The features and the size of a picture, if they are here."""
        if key not in self.places:
            return None
        block, row = self.places[key]
        try:
            if self.open is None or self.open[0] != block:
                with np.load(block, allow_pickle=False) as archive:
                    self.open = block, {name: archive[name] for name in archive.files}
            values = self.open[1]
            width, height = values["sizes"][row].tolist()
            pool = torch.from_numpy(values["pool"][row : row + 1])
            logits = torch.from_numpy(values["logits"][row : row + 1]) if "logits" in values else None
        except BROKEN:
            return None
        self.hits += 1
        return Features(pool, logits), (width, height)

    def put(self, key: bytes, features: Features, size: tuple[int, int]) -> None:
        """Keep the features of a picture."""
        self.new.append((key, features, size))
        if len(self.new) >= KEPT:
            self.flush()

    def flush(self) -> None:
        """Write what is new. Raises UserError (code 1) where that is not possible."""
        if not self.new:
            return
        keys = np.array([np.frombuffer(key, np.uint8) for key, _, _ in self.new])
        values = {"keys": keys, "sizes": np.array([size for _, _, size in self.new])}
        values["pool"] = torch.cat([features.pool for _, features, _ in self.new]).numpy()
        logits = [features.logits for _, features, _ in self.new if features.logits is not None]
        if len(logits) == len(self.new):
            values["logits"] = torch.cat(logits).numpy()
        self.new = []
        save_arrays(self.folder / f"{hashlib.sha256(keys.tobytes()).hexdigest()[:16]}.npz", values)


def save_arrays(path: Path, values: Mapping[str, NDArray[Any]]) -> None:
    """Write a .npz atomically. Raises UserError (code 1) where it cannot be written."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, **values)  # type: ignore[arg-type]

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, write)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}", code=1) from None
