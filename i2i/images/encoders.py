"""Files written row by row: PNG, TIFF, JPEG and PPM in the memory of a few rows; the formats of other libraries whole.

An encoder takes rows from top to bottom in pieces of any height and writes to a seekable binary file.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from typing import IO, Any, Protocol

import numpy as np
from PIL import Image, TiffImagePlugin

from i2i.images.picture import Array, Layout

__all__ = ["Encoder", "Jpeg", "Png", "Ppm", "Tiff", "Whole", "pillow_options"]

BLOCK = 1 << 20  # bytes of pixels that are compressed together
CLASSIC = 4_000_000_000  # bytes of pixels from which a TIFF counts with 64 bits; deflate may add a little
SAMPLE = 8  # rows of a block on which the filters of PNG are compared
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


class Encoder(Protocol):
    """Takes the rows of one picture, [rows,W,C] of the layout's type, then `finish`."""

    def write(self, rows: Array) -> None: ...

    def finish(self) -> None: ...


def compressor() -> Any:
    """Deflate for filtered pixels: runs only, as OpenCV's PNG writer does: four times as fast, a few percent larger."""
    return zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)


class Blocks:
    """Rows regrouped into blocks of a fixed height, the last one excepted."""

    def __init__(self, height: int) -> None:
        self.height = max(1, height)
        self.waiting: list[Array] = []
        self.count = 0

    def add(self, rows: Array) -> Iterator[Array]:
        """The blocks that `rows` complete."""
        while len(rows):
            part, rows = rows[: self.height - self.count], rows[self.height - self.count :]
            self.waiting.append(part.copy() if len(part) < self.height else part)  # the caller may use its memory again
            self.count += len(part)
            if self.count == self.height:
                yield from self.rest()

    def rest(self) -> Iterator[Array]:
        """What is left."""
        if self.waiting:
            block = np.concatenate(self.waiting) if len(self.waiting) > 1 else self.waiting[0]
            self.waiting, self.count = [], 0
            yield block


def row_bytes(layout: Layout) -> int:
    """Bytes of a row of pixels."""
    return layout.width * layout.channels * (2 if layout.deep else 1)


class Png:
    """PNG (ISO 15948, third edition), also with several frames: then `frame` comes before the rows of each."""

    def __init__(self, out: IO[bytes], layout: Layout, *, frames: int = 1, plays: int = 0) -> None:
        self.out, self.layout, self.frames, self.order = out, layout, frames, 0
        kind = {1: 0, 2: 4, 3: 2, 4: 6}[layout.channels]
        self.palette = np.array(layout.palette, np.uint8) if layout.palette and layout.channels == 3 else None
        if self.palette is not None:
            self.layout, kind = replace(layout, channels=1, deep=False), 3
        out.write(b"\x89PNG\r\n\x1a\n")
        depth = 16 if layout.deep else 8
        self.chunk(b"IHDR", struct.pack(">IIBBBBB", layout.width, layout.height, depth, kind, 0, 0, 0))
        if layout.icc:
            self.chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(layout.icc))
        if self.palette is not None:
            self.chunk(b"PLTE", self.palette.tobytes())
        if layout.dpi:
            self.chunk(b"pHYs", struct.pack(">IIB", *(round(value / 0.0254) for value in layout.dpi), 1))
        if layout.exif:
            self.chunk(b"eXIf", layout.exif.removeprefix(b"Exif\0\0"))
        if layout.xmp:
            self.chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + layout.xmp)
        if frames > 1:
            self.chunk(b"acTL", struct.pack(">II", frames, plays))
        self.start(layout.width)

    def start(self, width: int) -> None:
        """Make ready for the rows of a picture."""
        wide = width * self.layout.channels * (2 if self.layout.deep else 1)
        self.deflate, self.above = compressor(), np.zeros(wide, np.uint8)
        self.blocks = Blocks(BLOCK // wide)

    def frame(self, duration: float, *, left: int = 0, top: int = 0, width: int = 0, height: int = 0) -> None:
        """Begin a frame that lasts `duration` milliseconds and replaces the part of the picture where it lies."""
        if self.frames == 1:
            return
        if self.order:
            self.close()
        width, height = width or self.layout.width, height or self.layout.height
        self.start(width)
        delay = (round(duration), 1000) if duration < 65_536 else (min(65_535, round(duration / 1000)), 1)
        self.chunk(b"fcTL", struct.pack(">IIIIIHHBB", self.order, width, height, left, top, *delay, 0, 0))
        self.order += 1

    def write(self, rows: Array) -> None:
        for block in self.blocks.add(rows if self.palette is None else places(rows, self.palette)):
            self.block(block)

    def block(self, block: Array) -> None:
        """Filter and compress some rows."""
        step = self.layout.channels * (2 if self.layout.deep else 1)
        values = block.astype(">u2").view(np.uint8) if self.layout.deep else block
        values = values.reshape(len(block), -1)
        filtered = least(values, self.above, step)
        self.above = values[-1].copy()
        self.data(self.deflate.compress(filtered))

    def data(self, body: bytes) -> None:
        """Compressed pixels."""
        if not body:
            return
        if self.order > 1:  # of a frame after the first
            self.chunk(b"fdAT", struct.pack(">I", self.order) + body)
            self.order += 1
        else:
            self.chunk(b"IDAT", body)

    def close(self) -> None:
        """End the pixels of a picture or frame."""
        for block in self.blocks.rest():
            self.block(block)
        self.data(self.deflate.flush())

    def finish(self) -> None:
        self.close()
        self.chunk(b"IEND", b"")

    def chunk(self, kind: bytes, body: bytes) -> None:
        """One chunk: length, kind, body, checksum of the last two."""
        self.out.write(struct.pack(">I", len(body)) + kind)
        self.out.write(body)
        self.out.write(struct.pack(">I", zlib.crc32(body, zlib.crc32(kind))))


def places(rows: Array, palette: Array) -> Array:
    """[rows,W,3] => [rows,W,1]: where in the palette [colours,3] each colour stands."""
    weights = np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours, known = (values.astype(np.uint32) @ weights for values in (rows, palette))
    order = np.argsort(known, kind="stable")
    found = order[np.searchsorted(known[order], colours).clip(0, len(order) - 1)]
    assert np.array_equal(known[found], colours), "a colour that the palette has not"
    return found.astype(np.uint8)[..., None]


def least(values: Array, above: Array, step: int) -> Array:
    """[rows,1+bytes]: the rows under the filter of PNG that leaves least on some of them, its number before each.

    Args:
        values: [rows,bytes] uint8.
        above: [bytes], the row before.
        step: bytes of a pixel.
    """
    middle = max(0, len(values) // 2 - SAMPLE // 2)
    sample = values[middle : middle + SAMPLE]
    before = values[middle - 1] if middle else above
    left = [int(np.abs(under(sample, before, step, kind)[:, 1:].view(np.int8).astype(np.int16)).sum())
            for kind in (1, 2, 3)]  # fmt: skip
    return under(values, above, step, 1 + left.index(min(left)))


def under(values: Array, above: Array, step: int, kind: int) -> Array:
    """`values` under filter 1 (less the pixel to the left), 2 (less the one above) or 3 (less the mean of both)."""
    out = np.empty((len(values), 1 + values.shape[1]), np.uint8)
    out[:, 0], body = kind, out[:, 1:]
    if kind == 1:
        body[:, :step] = values[:, :step]
        np.subtract(values[:, step:], values[:, :-step], out=body[:, step:])
    elif kind == 2:
        np.subtract(values[0], above, out=body[0])
        np.subtract(values[1:], values[:-1], out=body[1:])
    else:
        up = np.concatenate([above[None], values[:-1]])
        beside = np.zeros_like(values)
        beside[:, step:] = values[:, :-step]
        np.subtract(values, (up & beside) + ((up ^ beside) >> 1), out=body)  # the mean, rounded down, in 8 bits
    return out


class Tiff:
    """TIFF 6.0 of deflated strips with profile and EXIF, BigTIFF where 32 bits would not count its bytes.

    The tags stand before the strips and are written once more when their sizes are known. A page that follows another
    takes that one as `after`.
    """

    link: int  # where the place of the next page is told

    def __init__(self, out: IO[bytes], layout: Layout, *, after: Tiff | None = None, large: bool = False) -> None:
        self.out, self.layout = out, layout
        self.large: bool = after.large if after else large or layout.height * row_bytes(layout) > CLASSIC
        if after is None:
            out.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16) if self.large else struct.pack("<2sHI", b"II", 42, 8))
        else:
            out.write(b"\0" * (out.tell() % 2))
            here = out.tell()
            out.seek(after.link)
            out.write(struct.pack("<Q" if self.large else "<I", here))
            out.seek(here)
        self.at = out.tell()
        self.blocks = Blocks(min(layout.height, max(1, BLOCK // row_bytes(layout))))
        self.sizes: list[int] = []
        out.write(self.tags([0] * -(-layout.height // self.blocks.height)))

    def write(self, rows: Array) -> None:
        for block in self.blocks.add(rows):
            self.strip(block)

    def strip(self, block: Array) -> None:
        """One strip: differences along the row (predictor 2, wrapping around), deflated."""
        steps = block.copy()
        steps[:, 1:] -= block[:, :-1]
        deflate = compressor()
        data = deflate.compress(steps.astype(steps.dtype.newbyteorder("<"), copy=False)) + deflate.flush()
        self.out.write(data)
        self.sizes.append(len(data))

    def finish(self) -> None:
        for block in self.blocks.rest():
            self.strip(block)
        end = self.out.tell()
        self.out.seek(self.at)
        self.out.write(self.tags(self.sizes))
        self.out.seek(end)

    def tags(self, sizes: list[int]) -> bytes:
        """The directory, as long for sizes of 0 as for the true ones."""
        layout = self.layout
        version = b"II\x2b\0\x08\0\0\0" + bytes(8) if self.large else b"II\x2a\0" + bytes(4)
        tags = TiffImagePlugin.ImageFileDirectory_v2(ifh=version)
        if layout.exif:
            kept = Image.Exif()
            kept.load(layout.exif)
            for tag in kept:
                tags[tag] = kept.get_ifd(tag) if tag in (0x8769, 0x8825) else kept[tag]
        if layout.dpi and 282 not in tags:
            tags[282], tags[283] = (TiffImagePlugin.IFDRational(round(value * 1000), 1000) for value in layout.dpi)
            tags[296] = 2  # per inch
        tags[256], tags[257], tags[258] = layout.width, layout.height, (16 if layout.deep else 8,) * layout.channels
        tags[259], tags[262], tags[317] = 8, 2 if layout.color else 1, 2  # deflate; RGB or black is zero; predictor
        tags[277], tags[278], tags[284] = layout.channels, self.blocks.height, 1  # 1: channels interleaved
        tags.tagtype[273] = tags.tagtype[279] = 16 if self.large else 4
        tags[273], tags[279] = (0, *accumulate(sizes[:-1])), tuple(sizes)
        if layout.alpha:
            tags[338] = (2,)  # alpha, not multiplied in
        for tag, body in ((34675, layout.icc), (700, layout.xmp)):
            if body:
                tags.tagtype[tag] = 7
                tags[tag] = body
        self.link = self.at + (8 + 20 * len(tags) if self.large else 2 + 12 * len(tags))
        return tags.tobytes(self.at)  # counts the offsets of the strips from the end of what it writes


class Jpeg:
    """Baseline JPEG (ITU-T T.81), decoded to the very pixels of the picture that Pillow writes in one piece.

    A row of its blocks ends with a restart marker, after which nothing refers to what came before. So strips that are
    encoded by themselves, with tables that do not depend on the picture, can be put together. The markers count from 0
    to 7 and begin anew: strips of a multiple of 8 rows of blocks end with number 7.
    """

    STRIP = 128  # rows of pixels: 8 rows of blocks where colours have half the size, else 16

    def __init__(self, out: IO[bytes], layout: Layout, quality: int) -> None:
        self.out, self.layout, self.tables = out, layout, b""
        self.options = pillow_options(layout, "jpeg", quality)
        self.blocks = Blocks(self.STRIP)

    def write(self, rows: Array) -> None:
        for block in self.blocks.add(rows):
            self.strip(block)

    def strip(self, block: Array) -> None:
        """A JPEG of some rows, of which the first keeps its head, with the whole picture's height, and all the scan."""
        file = io.BytesIO()
        image = Image.fromarray(np.ascontiguousarray(block[..., 0] if block.shape[2] == 1 else block))
        image.save(file, "JPEG", restart_marker_rows=1, **self.options)
        data = file.getbuffer()
        at, tables = 2, b""
        while (kind := data[at + 1]) != 0xDA:  # up to the head of the scan
            past = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
            if kind == 0xC0:  # the frame
                struct.pack_into(">H", data, at + 5, self.layout.height)
            if kind in (0xC4, 0xDB):  # Huffman and quantisation tables
                tables += data[at:past]
            at = past
        if self.tables:
            assert tables == self.tables, "this build of Pillow fits a JPEG's tables to its pixels"
            self.out.write(b"\xff\xd7")
            self.out.write(data[at + 2 + struct.unpack_from(">H", data, at + 2)[0] : -2])
            return
        self.out.write(data[:-2])
        self.tables = tables
        for key in ("exif", "icc_profile", "xmp"):
            self.options.pop(key, None)

    def finish(self) -> None:
        for block in self.blocks.rest():
            self.strip(block)
        self.out.write(b"\xff\xd9")


class Ppm:
    """PPM or PGM, as it is."""

    def __init__(self, out: IO[bytes], layout: Layout) -> None:
        self.out = out
        out.write(b"P%d\n%d %d\n%d\n" % (6 if layout.color else 5, layout.width, layout.height,
                                         65_535 if layout.deep else 255))  # fmt: skip

    def write(self, rows: Array) -> None:
        self.out.write(np.ascontiguousarray(rows.astype(rows.dtype.newbyteorder(">"), copy=False)).data)

    def finish(self) -> None:
        pass


class Whole:
    """What only libraries write, and only from the whole picture: collected, 8 bits, encoded at the end."""

    def __init__(self, out: IO[bytes], layout: Layout, format: str, quality: int) -> None:
        self.out, self.format, self.top = out, format, 0
        self.image = Image.new(MODES[layout.channels], (layout.width, layout.height))
        self.options = pillow_options(layout, format, quality)

    def write(self, rows: Array) -> None:
        values = np.ascontiguousarray(rows[..., 0] if rows.shape[2] == 1 else rows)
        self.image.paste(Image.fromarray(values), (0, self.top))
        self.top += len(rows)

    def finish(self) -> None:
        data = io.BytesIO()  # into a file on a full disk, Pillow writes half a JPEG without an error
        self.image.save(data, "JPEG2000" if self.format == "jp2" else self.format.upper(), **self.options)
        self.out.write(data.getbuffer())


def pillow_options(layout: Layout, format: str, quality: int) -> dict[str, Any]:
    """What Pillow's `save` is told of metadata and quality."""
    options: dict[str, Any] = {}
    if format in ("jpeg", "webp", "avif"):
        options["quality"] = quality
    if format == "jpeg":
        options["subsampling"] = 0 if quality >= 90 else 2
    if layout.icc:
        options["icc_profile"] = layout.icc
    if layout.exif:
        options["exif"] = layout.exif
    if layout.xmp:
        options["xmp"] = layout.xmp
    if layout.dpi and format in ("jpeg", "bmp"):
        options["dpi"] = layout.dpi
    return options
