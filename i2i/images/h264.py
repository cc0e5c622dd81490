"""H.264 by x264, with the times, the sound and the subtitles of the video that the frames were made of.

PyAV, an optional package, does the coding.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from i2i.errors import UserError
from i2i.images.frames import Frame
from i2i.images.picture import Array
from i2i.images.writing import destination

if TYPE_CHECKING:
    from i2i.images.reel import Reel
    from i2i.images.video import Video

__all__ = ["CONTAINERS", "FULL", "LONGEST", "MATRICES", "UNKNOWN", "VideoWriter", "interpolation", "listed", "pyav",
           "usual_matrix"]  # fmt: skip

CONTAINERS = {"mp4": (".mp4", ".m4v"), "mov": (".mov",), "mkv": (".mkv",)}  # those that hold H.264 -> their endings
MUXERS = {"mp4": "mp4", "mov": "mov", "mkv": "matroska"}  # FFmpeg's names
LONGEST = 16_384  # pixels that x264 takes along a side
LOOKAHEAD = 1 << 29  # bytes of frames that x264 may look ahead at; its own choice are 40 frames of any size
MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}  # tags of a colour matrix (AVCOL_SPC) -> swscale's number of it
BT709, BT601 = 1, 6  # among the former
UNKNOWN, STUDIO, FULL = 0, 1, 2  # tags of the range of values (AVCOL_RANGE): 16 to 235, 0 to 255
OWN = ("language", "title", "handler_name", "creation_time")  # what is kept of what the file says of its video stream
STALE = ("encoder", "major_brand", "minor_version", "compatible_brands", "duration")  # what is not, of the whole
PLACE = re.compile("location|gps|xyz", re.IGNORECASE)  # in the names of what tells where a video was taken


def pyav() -> Any:
    """The optional package. Raises UserError (code 1) where it is missing."""
    try:
        import av
    except ImportError:
        raise UserError("videos are read by a package of their own: pip install 'i2i-toolkit[video]'", code=1) from None
    return av


class VideoWriter:
    """A context in which a video is written frame by frame: whole, or nothing is left of it.

    Sound, subtitles, chapters and titles come from the source, packet by packet as they are.

    Attributes:
        notes: what the container could not hold; complete when the context is left.
        size: (width, height) of the frames as they were written.
    """

    def __init__(
        self,
        target: str | Path | IO[bytes],
        format: str,
        source: Video | Reel,
        *,
        quality: int | None = None,
        keep_gps: bool = False,
    ) -> None:
        """
        Args:
            target: a path, or a file open for writing bytes.
            format: a key of CONTAINERS.
            source: gives the times, and everything but the frames.
            quality: 1 to 100. 95, which is taken unless given, is x264's crf 16, and 75 its usual crf 23.
            keep_gps: leave the place where it was taken.
        """
        self.target, self.format, self.source, self.keep_gps = target, format, source, keep_gps
        self.crf = round(51 - 0.37 * (95 if quality is None else quality))
        self.notes: tuple[str, ...] = ()
        self.size = (0, 0)
        self.came = self.rounded = 0

    def __enter__(self) -> VideoWriter:
        with ExitStack() as stack:
            out = stack.enter_context(destination(self.target))
            self.given = stack.enter_context(self.source.opened())
            self.container = pyav().open(out, "w", format=MUXERS[self.format])
            self.stack = stack.pop_all()
        return self

    # --- the head of the file

    def begin(self, width: int, height: int) -> None:
        """Lay out the file for frames of that size."""
        source = self.source
        self.size = wide, high = width + width % 2, height + height % 2
        if (width, height) != self.size:
            self.notes += (f"H.264 counts in twos: {width}x{height} became {wide}x{high}, the last line repeated",)
        ahead = max(1, min(40, LOOKAHEAD // (wide * high * 3 // 2)))
        options = {"crf": str(self.crf), "rc-lookahead": str(ahead)}
        self.video = self.container.add_stream("libx264", rate=source.rate, options=options)
        self.video.width, self.video.height, self.video.pix_fmt = wide, high, "yuv420p"
        self.video.time_base = source.unit
        context = self.video.codec_context
        context.time_base = source.unit
        if source.shape:
            context.sample_aspect_ratio = source.shape
        context.flags |= int(pyav().codec.context.Flags.frame_duration)
        for name, value in source.tags.items():
            setattr(context, name, value)
        # where no tag says it, players take the matrix from the size: a tag is needed where they would take another
        before, after = usual_matrix(*source.stored), usual_matrix(wide, high)
        self.matrix = source.matrix or before
        if source.matrix or before != after:
            context.colorspace = self.matrix
        self.range = source.tags["color_range"] or STUDIO
        self.video.disposition = source.stream["disposition"]
        for key, said in source.stream["metadata"].items():
            if key in OWN:
                self.video.metadata[key] = said
        for key, said in source.container["metadata"].items():
            if key.lower() not in STALE and (self.keep_gps or not PLACE.search(key)):
                self.container.metadata[key] = said
        self.container.set_chapters(source.container["chapters"])
        self.take_along()
        self.container.start_encoding()

    def take_along(self) -> None:
        """Make room for what is copied, and note what the container does not take."""
        self.copies: dict[int, Any] = {}  # number of a stream in the source -> the stream it is copied to
        self.ends: dict[int, int] = {}  # ... -> when its last packet was to be decoded
        lost = []
        for stream in self.given.streams:
            if stream.type == "video":
                continue
            if stream.type == "attachment" and self.format == "mkv":
                self.container.add_attachment(stream.name or "attachment", stream.mimetype or "", stream.data)
            elif stream.type in ("audio", "subtitle") and stream.codec_context and self.takes(stream):
                copy = self.copies[stream.index] = self.container.add_stream_from_template(stream)
                copy.metadata.update(stream.metadata)
                copy.disposition = stream.disposition
            else:
                kind = stream.codec_context.name if stream.codec_context else getattr(stream, "name", "")
                lost.append(f"{stream.type} stream {stream.index} ({kind or 'of an unknown kind'})")
        if lost:
            self.notes += (f"{self.format} does not take {listed(lost)}; left out",)
        self.packets = self.demuxed()
        self.waiting = next(self.packets, None)

    def takes(self, stream: Any) -> bool:
        """Whether the container holds such a stream: its muxer is asked for a head."""
        av = pyav()
        with suppress(av.error.FFmpegError, ValueError):
            trial = av.open(io.BytesIO(), "w", format=MUXERS[self.format])
            trial.add_stream_from_template(stream)
            trial.start_encoding()
            return True
        return False

    # --- packets that are copied

    def demuxed(self) -> Iterator[Any]:
        """The packets that are copied, in the order of the file."""
        if not self.copies:
            return
        broken = (pyav().error.FFmpegError,) if self.source.keep_truncated else ()
        with suppress(*broken):
            for packet in self.given.demux([self.given.streams[index] for index in self.copies]):
                if packet.size and not packet.is_corrupt:
                    yield packet

    def copy(self, until: Fraction | None = None) -> None:
        """Write the packets of sound and subtitles up to that second; all there are unless given."""
        while (packet := self.waiting) is not None:
            time = packet.pts if packet.dts is None else packet.dts
            if until is not None and time is not None and time * packet.time_base > until:
                return
            index = packet.stream.index
            if packet.dts is not None:  # one that comes a tick too early would make the muxer give up
                packet.dts = max(packet.dts, self.ends.get(index, packet.dts - 1) + 1)
                packet.pts = None if packet.pts is None else max(packet.pts, packet.dts)
                self.ends[index] = packet.dts
            packet.stream = self.copies[index]
            self.container.mux(packet)
            self.waiting = next(self.packets, None)

    # --- frames

    def write(self, frame: Frame) -> None:
        """The next frame; all are of one size. Raises OSError, and UserError (code 1) where FFmpeg refuses."""
        pixels = frame.picture.pixels
        with self.told():
            if not self.came:
                self.begin(pixels.shape[1], pixels.shape[0])
            self.encode(pixels)

    def encode(self, pixels: Array) -> None:
        """[H,W] or [H,W,3] uint8 as the next frame."""
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        height, width = pixels.shape[:2]
        pixels = np.pad(pixels, ((0, self.size[1] - height), (0, self.size[0] - width), (0, 0)), mode="edge")
        frame = pyav().VideoFrame.from_ndarray(pixels, "rgb24")
        frame = frame.reformat(format="yuv420p", src_color_range=FULL, dst_color_range=self.range,
                               dst_colorspace=MATRICES[self.matrix], interpolation=interpolation())  # fmt: skip
        times, unit = self.source.times, self.source.unit
        start = times[self.came]
        self.came += 1
        end = times[self.came] if self.came < len(times) else start + self.source.last
        frame.pts, frame.duration, frame.time_base = start, end - start, unit
        self.rounded += (start * unit / self.video.time_base).denominator != 1
        self.copy(start * unit)
        self.container.mux(self.video.encode(frame))

    def finish(self) -> None:
        """Write what is still to be written."""
        assert self.came == self.source.count, f"{self.came} of {self.source.count} frames came"
        with self.told():
            self.container.mux(self.video.encode(None))
            self.copy()
            self.container.close()
        if self.rounded:
            self.notes += (f"{self.format} counts milliseconds: the times of {self.rounded} frames were rounded",)

    @contextmanager
    def told(self) -> Iterator[None]:
        """What FFmpeg refuses becomes a UserError (code 1); where the file cannot be written, an OSError stays one."""
        try:
            yield
        except pyav().error.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            raise self.source.refusal(f"it cannot be written as {self.format} ({error.strerror})") from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.stack:  # it is left by the error, whether of the frames or of the end of the file
            try:
                if error is not None:
                    raise error
                self.finish()
            finally:
                with suppress(Exception):  # that it cannot be ended is told already
                    self.container.close()


def usual_matrix(width: int, height: int) -> int:
    """The matrix (AVCOL_SPC) that players take frames of that size to have, where no tag says it."""
    return BT709 if width >= 1280 or height >= 720 else BT601


def interpolation() -> int:
    """swscale's flags: chroma is interpolated, which it leaves out unless told, and rounded exactly."""
    kinds = pyav().video.reformatter.Interpolation
    return int(kinds.BICUBIC | kinds.FULL_CHR_H_INT | kinds.FULL_CHR_H_INP | kinds.ACCURATE_RND)


def listed(names: list[str]) -> str:
    """Names as a sentence has them."""
    return " and ".join([", ".join(names[:-1]), *names[-1:]] if names[1:] else names)
