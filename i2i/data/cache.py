"""Data sets packed into one file, which trains elsewhere without the originals.

Pictures are resized once, as training would, and stored as WebP without loss. Photographs gain little from that, so by
default each 8-bit value is first rounded to the nearest multiple of 3: **lossy, but no value is off by more than 1 of
255 levels** (0.65 on average; black and white stay). `error=0` packs without loss, larger errors pack smaller still.
500 pairs of maps and aerial photographs at 286x286 take 52 MiB that way and 70 MiB without loss; JPEG of quality 98
would take 47 MiB with errors up to 9. 16-bit pictures are stored as PNG without loss.

The file is a safetensors file: `blobs` (uint8, the encoded pictures one after another), `offsets` (int64, where each
begins, and the end), `shapes` (int32, [pictures, 4]: height, width, channels, bits), `checks` (int64, CRC-32 of each
picture's bytes: WebP has none), `names` (uint8, a JSON list of the items' names), and the metadata of `Packed.about`.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from PIL import Image
from safetensors import SafetensorError, safe_open

from i2i.data.sources import Pixels, Size, Source
from i2i.errors import UserError

__all__ = ["FORMAT", "Packed", "pack"]

FORMAT = "i2i data cache 1"
WEBP_SIDE = 16_383  # pixels; larger pictures become PNG
DTYPES = {"uint8": "U8", "int32": "I32", "int64": "I64"}


class Packed:
    """The Source in a file that `pack` wrote.

    Args:
        path: the file.
        side: of items of two pictures, take the first (0) or the second (1) alone.

    Attributes:
        about: the metadata: format, pictures (per item), preprocess, load, error.

    Raises UserError if the file is none that `pack` wrote, or is cut off.
    """

    def __init__(self, path: Path, side: int | None = None) -> None:
        self.path, self.side = path, side
        try:
            with safe_open(path, framework="numpy") as file:
                self.about: dict[str, str] = file.metadata() or {}
                if self.about.get("format") != FORMAT:
                    raise UserError(f"{path} is no data cache of this version; write it anew with 'i2i data cache'")
                self.offsets, self.shapes = file.get_tensor("offsets"), file.get_tensor("shapes")
                self.checks = file.get_tensor("checks")
                self.names: list[str] = json.loads(bytes(file.get_tensor("names")))
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} is no whole data cache ({error}); name a folder, or pack it anew") from error
        self.pictures = int(self.about["pictures"])
        self.start = blobs_start(path)
        self.blobs: Any = None

    def __len__(self) -> int:
        return len(self.names)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"blobs": None}  # each process maps the file for itself

    def name(self, index: int) -> str:
        return f"{self.names[index]} in {self.path}"

    def size(self, index: int) -> Size:
        height, width = self.shapes[index * self.pictures][:2]
        return int(width), int(height)

    def read(self, index: int) -> tuple[Pixels, ...]:
        sides = range(self.pictures) if self.side is None else (self.side,)
        return tuple(self.picture(index * self.pictures + side) for side in sides)

    def picture(self, number: int) -> Pixels:
        """The pixels of one picture."""
        if self.blobs is None:
            self.blobs = np.memmap(self.path, np.uint8, "r", self.start, (int(self.offsets[-1]),))
        blob = self.blobs[self.offsets[number] : self.offsets[number + 1]]
        try:
            if zlib.crc32(blob) != self.checks[number]:
                raise ValueError("wrong checksum")
            return decode(blob, tuple(map(int, self.shapes[number])), int(self.about["error"]))
        except (ValueError, cv2.error) as error:
            raise UserError(f"{self.name(number // self.pictures)} is damaged; write the cache anew", code=1) from error


def pack(
    source: Source,
    path: Path,
    fit: Callable[[Pixels], Pixels],
    *,
    about: dict[str, str],
    error: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Write all of `source` to `path` and return the file's size in bytes.

    The file appears under its name only when it is whole. Memory does not grow with the number of pictures.

    Args:
        fit: what is done to each picture's pixels before they are stored.
        about: metadata to keep: preprocess and load.
        error: by how much an 8-bit value may differ, in levels; 0 packs without loss.
        progress: called with the number of items done.

    Raises UserError for a picture that cannot be read and for a file that cannot be written; nothing is left then.
    """
    if not 0 <= error <= 16:
        raise UserError(f"error {error} must be from 0 (without loss) to 16 grey levels")
    part = path.with_name(f".{path.name}.part")
    try:
        with tempfile.TemporaryFile(dir=path.parent) as blobs:
            offsets, shapes, checks, pictures = [0], [], [], 0
            for done, item in enumerate(encoded(source, fit, error), 1):
                pictures = len(item)
                for blob, shape in item:
                    blobs.write(blob)
                    offsets.append(offsets[-1] + len(blob))
                    shapes.append(shape)
                    checks.append(zlib.crc32(blob))
                progress(done)
            tensors = {
                "offsets": np.array(offsets, np.int64),
                "checks": np.array(checks, np.int64),
                "shapes": np.array(shapes, np.int32),
                "names": np.frombuffer(json.dumps([short(source, i) for i in range(len(source))]).encode(), np.uint8),
            }
            metadata = about | {"format": FORMAT, "pictures": str(pictures), "error": str(error)}
            blobs.seek(0)
            with part.open("wb") as file:
                write(file, metadata, tensors, blobs, offsets[-1])
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except OSError as failure:
        full = failure.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        mend = "free some space" if full else "choose another place with -o"
        reason = failure.strerror or failure
        raise UserError(
            f"{path} cannot be written ({reason}); nothing was kept, {mend}", code=1 if full else 2
        ) from failure
    finally:
        with suppress(OSError):
            part.unlink()
    return path.stat().st_size


def encoded(
    source: Source, fit: Callable[[Pixels], Pixels], error: int
) -> Iterator[list[tuple[bytes, tuple[int, int, int, int]]]]:
    """The items in order, each as [(bytes, (height, width, channels, bits)), ...], made by all processors."""

    def make(index: int) -> list[tuple[bytes, tuple[int, int, int, int]]]:
        pictures = map(fit, source.read(index))
        return [(encode(p, error), (*p.shape, 8 * p.dtype.itemsize)) for p in pictures]

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        ahead: list[Any] = []
        try:
            for index in range(len(source)):
                ahead.append(threads.submit(make, index))
                if len(ahead) > 32:  # enough to keep the threads busy, few enough to bound memory
                    yield ahead.pop(0).result()
            while ahead:
                yield ahead.pop(0).result()
        finally:
            for future in ahead:
                future.cancel()


def encode(pixels: Pixels, error: int) -> bytes:
    """[H,W,C] uint8 as WebP, uint16 as PNG. Other than three channels stand side by side as one gray picture."""
    plane = pixels if pixels.shape[2] == 3 else np.concatenate(list(np.moveaxis(pixels, 2, 0)), axis=1)
    plane = np.ascontiguousarray(plane)
    if plane.dtype == np.uint8:
        if error:
            plane = np.rint(plane / (2 * error + 1)).astype(np.uint8)  # what is within `error` of a multiple becomes it
        if max(plane.shape[:2]) <= WEBP_SIDE:
            file = io.BytesIO()
            Image.fromarray(plane).save(file, "WEBP", lossless=True, quality=75, method=4)
            return file.getvalue()
    whole, blob = cv2.imencode(".png", plane if plane.ndim == 2 else plane[..., ::-1])
    assert whole
    return blob.tobytes()


def decode(blob: Pixels, shape: tuple[int, ...], error: int) -> Pixels:
    """The inverse of `encode`. Raises ValueError or cv2.error if the bytes are damaged."""
    height, width, channels, bits = shape
    plane = cv2.imdecode(blob, cv2.IMREAD_UNCHANGED)
    if plane is None:
        raise ValueError("no picture")
    if channels == 3:
        pixels = plane[..., ::-1]
    else:
        gray = plane if plane.ndim == 2 else plane[..., 0]  # WebP has no gray
        pixels = gray.reshape(height, channels, width).swapaxes(1, 2)
    if pixels.shape != (height, width, channels) or pixels.dtype.itemsize * 8 != bits:
        raise ValueError("another picture")
    if error and bits == 8:
        pixels = np.minimum(pixels.astype(np.uint16) * (2 * error + 1), 255).astype(np.uint8)
    return np.ascontiguousarray(pixels)


def write(file: BinaryIO, metadata: dict[str, str], tensors: dict[str, Any], blobs: Any, length: int) -> None:
    """A safetensors file whose last tensor, `blobs`, is copied from a file: the library wants all of it in memory."""
    header: dict[str, Any] = {"__metadata__": metadata}
    place = 0
    for name, tensor in tensors.items():
        end = place + tensor.nbytes
        header[name] = {"dtype": DTYPES[tensor.dtype.name], "shape": tensor.shape, "data_offsets": [place, end]}
        place = end
    header["blobs"] = {"dtype": "U8", "shape": [length], "data_offsets": [place, place + length]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the tensors are aligned
    file.write(struct.pack("<Q", len(text)) + text)
    for tensor in tensors.values():
        file.write(tensor.tobytes())
    shutil.copyfileobj(blobs, file, 1 << 20)


def blobs_start(path: Path) -> int:
    """Where in a safetensors file the bytes of `blobs` begin."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        begin: int = json.loads(file.read(length))["blobs"]["data_offsets"][0]
        return 8 + length + begin


def short(source: Source, index: int) -> str:
    """An item's name without the folders it lay in: the file may travel."""
    return " and ".join(Path(name).name for name in source.name(index).split(" and "))
