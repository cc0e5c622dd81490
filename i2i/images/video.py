"""Videos: decoded frame by frame, by PyAV, an optional package.

A file's outermost boxes tell whether its end is missing. All of its frames are decoded once before the first is used:
how many there are, when they are shown and what is wrong with them is known early.
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np

from i2i.errors import UserError
from i2i.images.frames import Frame
from i2i.images.h264 import (
    CONTAINERS,
    FULL,
    LONGEST,
    MATRICES,
    UNKNOWN,
    VideoWriter,
    interpolation,
    listed,
    pyav,
    usual_matrix,
)
from i2i.images.picture import Picture
from i2i.images.reading import LARGEST, upright

__all__ = ["VIDEOS", "Video", "is_video"]

VIDEOS = frozenset({suffix for held in CONTAINERS.values() for suffix in held} | {".webm", ".avi"})
BEGINS = re.compile(rb".{4}ftyp(iso|mp4|M4V|qt  |avc1|dash|3g)|\x1aE\xdf\xa3|RIFF.{4}AVI ", re.DOTALL)
# What FFmpeg may try on a file, and how it may reach it: among the rest are playlists, which name other files
ALLOWED = {"format_whitelist": "mov,matroska,avi,flv", "protocol_whitelist": "file"}
# The upper left of a display matrix (ISO 14496-12, 6.2.2: where across and down point to) -> EXIF's orientation
TURNS = {(1, 0, 0, 1): 1, (-1, 0, 0, 1): 2, (-1, 0, 0, -1): 3, (1, 0, 0, -1): 4,
         (0, 1, 1, 0): 5, (0, 1, -1, 0): 6, (0, -1, -1, 0): 7, (0, -1, 1, 0): 8}  # fmt: skip
BOXES = re.compile(rb".{4}(ftyp|styp|moov|moof|mdat|mfra|sidx|wide|free|skip|uuid|meta|pnot|udta)", re.DOTALL)
EBML = (b"\x1aE\xdf\xa3", b"\x18S\x80g")  # Matroska's head, and the segment that holds the rest ...
EBML_SHORT = (b"\xec", b"\xbf")  # ... and what may stand between: nothing, a checksum
LOST = 1  # seconds that may be missing of those that the head of a file tells of


def is_video(source: str | Path | bytes) -> bool:
    """Whether a path ends, or bytes begin, as videos do."""
    if isinstance(source, bytes):
        return BEGINS.match(source) is not None
    return Path(source).suffix.lower() in VIDEOS


class Video:
    """The frames of a video, upright, decoded as they are asked for.

    Attributes:
        name: how errors call it.
        keep_truncated: whether frames may be missing.
        notes: what a user should know of the whole file.
        unit: seconds that 1 stands for in times.
        rate: frames per second, on average.
        times, last: when each frame is shown, and how long the last; empty until `survey`.
        start, promised: second at which the video begins, and how many it lasts, as its head tells; 0 if it does not.
        stored, size: (width, height) of a frame in the file, and upright.
        shape: width / height of a pixel, upright; 0 where the file does not tell.
        matrix: its tag (AVCOL_SPC), None where there is none that can be used; tags: the others of colour.
        container, stream: what the file says of the whole, and of its video.
    """

    def __init__(self, source: str | Path | bytes, *, keep_truncated: bool = False) -> None:
        """
        Args:
            source: a path; bytes are refused.
            keep_truncated: take the whole frames that are there of a video that is damaged or cut off.

        Raises UserError (code 1) where the file, or PyAV, cannot be used, or it holds no video.
        """
        if isinstance(source, bytes):
            raise UserError("standard input: a video is read from a file alone; name it", code=1)
        self.path, self.name, self.keep_truncated = Path(source), str(source), keep_truncated
        self.notes: tuple[str, ...] = ()
        self.times = array("q")
        self.last = 0
        self.skipped = 0  # packets that could not be decoded
        self.reached = Fraction(0)  # second at which the last packet ends that could be read, of sound too
        if self.path.exists() and not self.path.is_file():
            raise self.refusal("this is no regular file")
        self.cut = self.ends_early()
        if self.cut and not keep_truncated:
            raise self.refusal("the end of the file is missing; --keep-truncated takes what is there")
        with self.opened() as container:
            moving = [stream for stream in container.streams.video if not is_cover(stream)]
            if not moving:
                sound = bool(container.streams.audio)
                raise self.refusal("it holds sound, but no video" if sound else "the video has no frames")
            self.describe(container, moving[0])

    @property
    def count(self) -> int:
        """How many frames there are; 0 until `survey`."""
        return len(self.times)

    def refusal(self, why: str) -> UserError:
        """What a user is told."""
        return UserError(f"{self.name}: {why}", code=1)

    def note(self, *told: tuple[object, str]) -> None:
        """Take down the sentences whose condition holds."""
        self.notes += tuple(sentence for holds, sentence in told if holds)

    def ends_early(self) -> bool:
        """Whether the outermost boxes go on beyond the end. Raises UserError (code 1) where the file cannot be read."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                if not size:
                    raise self.refusal("the file is empty")
                at = 0
                while at < size:
                    file.seek(at)
                    length = box_length(file.read(16))
                    if length is None or at + length > size:
                        return length is not None
                    at += length
                return False
        except OSError as error:
            raise self.refusal(error.strerror or str(error)) from None

    def opened(self) -> Any:
        """The file, open for reading. Raises UserError (code 1)."""
        av = pyav()
        try:  # an absolute path: FFmpeg takes what has a colon in it for an address
            return av.open(os.path.abspath(self.path), container_options=ALLOWED, metadata_errors="replace")
        except av.error.FFmpegError as error:
            if isinstance(error, OSError):
                raise self.refusal(error.strerror or str(error)) from None
            if self.cut:
                raise self.refusal("too much of the file is missing") from None
            raise self.refusal("this is no video, one without frames, or one of a kind that cannot be read") from None

    def describe(self, container: Any, stream: Any) -> None:
        """Take down what the head of the file says. Raises UserError (code 1) where it is nothing that can be used."""
        context = stream.codec_context
        if context is None or stream.time_base is None:
            raise self.refusal("its video is of a kind that cannot be decoded")
        if context.width * context.height > LARGEST:
            raise self.refusal(f"frames of {context.width}x{context.height} pixels are too large to be read")
        self.start, self.promised = (Fraction(part or 0, 10**6) for part in (container.start_time, container.duration))
        self.index, self.unit = stream.index, Fraction(stream.time_base)
        self.rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        self.shape = Fraction(stream.sample_aspect_ratio or 0)
        self.tags = {"color_primaries": context.color_primaries, "color_trc": context.color_trc}
        self.container = {"metadata": dict(container.metadata), "chapters": container.chapters()}
        self.stream = {"metadata": dict(stream.metadata), "disposition": stream.disposition}
        others = [f"video stream {other.index}" for other in container.streams.video if other is not stream]
        self.note((others, f"beside the first video there is more ({listed(others)}); left out"))

    # --- frames

    def survey(self) -> None:
        """Decode all frames once, to know their times, and that they are there, whole and alike.

        Raises UserError (code 1) where they are not.
        """
        usual = max(1, round(1 / self.rate / self.unit))
        times: array[int] = array("q")
        doubtful = 0
        for frame in self.decoded():
            if not times:
                self.look(frame)
            elif (frame.width, frame.height) != self.stored:
                shown = f"{self.stored[0]}x{self.stored[1]} and {frame.width}x{frame.height}"
                raise self.refusal(f"its frames have several sizes ({shown}); cut it where they change")
            untold = times[-1] + usual if times else 0
            times.append(untold if frame.pts is None else frame.pts)
            self.last = frame.duration or usual
            doubtful += bool(frame.is_corrupt)
        if not times:
            raise self.refusal("the video has no frames" + (" that are whole" if self.skipped or self.cut else ""))
        length, there = (f"{float(part):.1f} s" for part in (self.promised, self.reached))
        lost = self.promised - self.reached > LOST
        if lost and not self.keep_truncated:
            raise self.refusal(f"of {length} only {there} can be read; --keep-truncated takes what is there")
        self.times, moved = in_order(times)
        kept = f"{counted(self.count, 'whole frame')} {'was' if self.count == 1 else 'were'} kept"
        self.note(
            (self.cut, f"the end of the file is missing; {kept}"),
            (lost and not self.cut, f"of {length} only {there} could be read; {kept}"),
            (self.skipped and not lost and not self.cut, f"some of it could not be decoded; {kept}"),
            (doubtful, f"{counted(doubtful, 'damaged frame')}: the decoder filled in what was missing"),
            (moved, f"{counted(moved, 'frame')} not later than the one before: put right behind it"),
        )

    def decoded(self) -> Iterator[Any]:
        """Every frame as PyAV gives it. Raises UserError (code 1) where one that may not be missing is damaged."""
        av = pyav()
        came = 0
        with self.opened() as container:
            stream = container.streams[self.index]
            if self.keep_truncated:
                stream.codec_context.thread_count = 1  # what several threads make of damaged frames is not certain
            else:
                stream.thread_type = "AUTO"
            packets = container.demux()
            while True:
                try:
                    packet = next(packets, None)
                    if packet is None:
                        return
                    self.reached = max(self.reached, end_of(packet) - self.start)
                    if packet.stream.index != self.index:
                        continue
                    problem = "its data are not whole" if packet.is_corrupt else ""
                    frames = [] if problem else packet.decode()
                except av.error.FFmpegError as error:
                    frames, problem = [], error.strerror or type(error).__name__
                if problem:
                    self.skipped += 1
                    if not self.keep_truncated:
                        why = f"after frame {came} it cannot be decoded ({problem})"
                        raise self.refusal(f"{why}; --keep-truncated takes what can be")
                came += len(frames)
                yield from frames

    def look(self, frame: Any) -> None:
        """Take down what the first frame tells of all."""
        format = frame.format
        self.stored = (frame.width, frame.height)
        self.turn = orientation(frame)
        turned = self.turn > 4  # by a quarter
        self.size = self.stored[::-1] if turned else self.stored
        self.shape = 1 / self.shape if turned and self.shape else self.shape
        yuv = not format.is_rgb
        self.matrix = frame.colorspace if yuv and frame.colorspace in MATRICES else None
        limits = frame.color_range or (FULL if format.name.startswith("yuvj") else UNKNOWN)
        self.tags["color_range"] = limits if yuv else UNKNOWN
        depth = max(component.bits for component in format.components)
        self.note(
            (depth > 8, f"its {depth} bits were rounded to 8"),
            (any(component.is_alpha for component in format.components), "H.264 holds no alpha; it was dropped"),
            (frame.interlaced_frame, "it is interlaced; its frames were taken as they are, with lines of two times"),
        )

    def __iter__(self) -> Iterator[Frame]:
        """All frames, as many as `survey` must have seen. Raises UserError (code 1)."""
        matrix = None if self.matrix else MATRICES[usual_matrix(*self.stored)]
        limits = self.tags["color_range"] or None
        for frame in self.decoded():
            pixels = frame.to_ndarray(format="rgb24", src_colorspace=matrix, src_color_range=limits,
                                      dst_color_range=FULL, interpolation=interpolation())  # fmt: skip
            yield Frame(Picture(upright(pixels, self.turn)))

    def first(self) -> Picture:
        """The first frame. Raises UserError (code 1)."""
        for frame in self.decoded():
            self.look(frame)
            return next(iter(self)).picture
        raise self.refusal("the video has no frames")

    # --- the result

    def format_for(self, wished: str | None, *, asked: bool, scale: float = 1) -> tuple[str, str]:
        """The container that the result will be written in, and a note where it is another one; looks through the
        whole video for that.

        Args:
            wished: by the result's name; None takes the input's own.
            asked: the user named the result.
            scale: of the result.

        Raises UserError (code 1) where frames are missing, damaged or unlike, or the result's would be too large.
        """
        self.survey()
        width, height = (max(1, round(side * scale)) for side in self.size)
        if max(width, height) > LONGEST:
            raise self.refusal(f"its frames would have {width}x{height} pixels, and H.264 holds sides up to {LONGEST}; "
                               "take a smaller --scale")  # fmt: skip
        ending = self.path.suffix.lower()
        own = next((name for name, endings in CONTAINERS.items() if ending in endings), "")
        format = wished or own or ("mkv" if ending == ".webm" else "mp4")
        return format, "" if format == own or asked else f"{ending[1:]} became {format}, for H.264"

    def writer(
        self, target: str | Path | IO[bytes], format: str, *, quality: int | None = None, keep_gps: bool = False
    ) -> VideoWriter:
        """What writes as many frames, at the same times."""
        return VideoWriter(target, format, self, quality=quality, keep_gps=keep_gps)


def box_length(head: bytes) -> int | None:
    """Bytes of an outermost box that begins so: of MP4 and MOV (ISO 14496-12, 4.2), Matroska (RFC 8794, 4-6) or AVI.

    None where the head does not tell it, or is that of something else.
    """
    if head[:4] == b"RIFF":
        size = int.from_bytes(head[4:8], "little")
        return 8 + size if size else None
    if BOXES.match(head):
        size = int.from_bytes(head[:4], "big")
        return int.from_bytes(head[8:16], "big") or None if size == 1 else size or None
    start = 4 if head[:4] in EBML else 1 if head[:1] in EBML_SHORT else 0
    if not start or not head[start:] or not head[start]:
        return None
    width = 9 - head[start].bit_length()
    unknown = (1 << 7 * width) - 1
    size = int.from_bytes(head[start : start + width], "big") & unknown
    return None if size == unknown else start + width + size


def end_of(packet: Any) -> Fraction:
    """The second at which what a packet holds ends; 0 where it does not tell."""
    return Fraction(0) if packet.pts is None else (packet.pts + (packet.duration or 0)) * packet.time_base


def in_order(times: array[int]) -> tuple[array[int], int]:
    """The times of frames, each later than the one before, and how many had to be made so.

    Some files, such as H.264 in AVI, tell them in the order in which frames are stored, not in that they are shown.
    """
    ordered, moved = array("q", sorted(times)), 0
    for place in range(1, len(ordered)):
        if ordered[place] <= ordered[place - 1]:
            ordered[place] = ordered[place - 1] + 1
            moved += 1
    return ordered, moved


def counted(count: int, what: str) -> str:
    """As in "1 frame" and "2 frames"."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def is_cover(stream: Any) -> bool:
    """Whether a video stream is a picture that stands for the whole."""
    return bool(stream.disposition & pyav().stream.Disposition.attached_pic)


def orientation(frame: Any) -> int:
    """EXIF's number of how a frame is turned, 1 to 8; 1 for turns that are no quarters."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 1
    a, b, _, c, d = (int(value) for value in np.sign(np.frombuffer(bytes(matrix), np.int32)[:5]))
    return TURNS.get((a, b, c, d), 1)
