"""Videos keep their frames, their times, their sound, and what people wrote about them."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from i2i import batchrun, images
from i2i.batchrun import Outcome, Settings
from i2i.checkpoint import save_generator
from i2i.engine import Engine
from i2i.errors import UserError
from i2i.images import Frame, Picture, Video
from i2i.inputs import plan
from i2i.spec import Spec
from i2i.translation.srgan import SRResNet

av = pytest.importorskip("av", reason="needs the extra 'video'")

ALONE = {**os.environ, "OMP_NUM_THREADS": "1"}
TINY: dict[str, Any] = {"scale": 2, "width": 4, "blocks": 1, "residual": True, "span": [0.0, 1.0]}
UNEVEN = (0, 3, 4, 9, 15, 16, 30, 31, 40, 60)  # times of frames, in 25ths of a second
TICK = Fraction(1, 25)


def drawn(place: int, width: int = 48, height: int = 32) -> np.ndarray:
    """A ground of two colours on which a light square wanders."""
    pixels = np.full((height, width, 3), (30, 90, 160), np.uint8)
    pixels[:, width // 2 :] = (150, 60, 40)
    pixels[8:16, 2 * place : 2 * place + 8] = (240, 230, 200)
    return pixels


def film(
    path: Path,
    times: Sequence[int] = UNEVEN,
    *,
    unit: Fraction = TICK,
    size: tuple[int, int] = (48, 32),
    codec: str = "libx264",
    sound: str = "",
    words: str = "",
    turn: tuple[int, int, int, int] = (1, 0, 0, 1),
    pixels: str = "yuv420p",
    tags: dict[str, int] | None = None,
    options: dict[str, str] | None = None,
    **metadata: str,
) -> Path:
    """A video whose frames are `drawn`; `sound` is the codec of a second of noise beside it, `words` of a title."""
    with av.open(path, "w", container_options=options or {}) as file:
        video = file.add_stream(codec, rate=25, options={} if codec in ("ffv1", "mpeg4") else {"crf": "4"})
        video.width, video.height, video.pix_fmt = *size, pixels
        video.time_base = video.codec_context.time_base = unit
        for name, value in (tags or {}).items():
            setattr(video.codec_context, name, value)
        if turn != (1, 0, 0, 1):
            a, b, c, d = (value << 16 for value in turn)
            video.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        audio = file.add_stream(sound, rate=48_000) if sound else None
        if audio:
            audio.layout = "mono"
            audio.metadata["language"] = "fra"
        subtitle = file.add_mux_stream(words) if words else None
        file.metadata.update(metadata)
        for place, at in enumerate(times):
            frame = av.VideoFrame.from_ndarray(drawn(place, *size), "rgb24")
            frame.pts, frame.time_base = at, unit
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        if audio:
            rng = np.random.default_rng(0)
            for start in range(0, 48_000, 960):
                kind = audio.format.name
                values = rng.normal(0, 0.1, (1, 960))
                values = (values * 32_000).astype(np.int16) if "s16" in kind else values.astype(np.float32)
                frame = av.AudioFrame.from_ndarray(values, kind, "mono")
                frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
                file.mux(audio.encode(frame))
            file.mux(audio.encode(None))
        if subtitle:
            packet = av.Packet(b"\x00\x02hi")  # in MP4 the length comes first
            packet.stream, packet.pts, packet.dts, packet.duration = subtitle, 0, 0, 10
            packet.time_base = TICK
            file.mux(packet)
    return path


def seconds(path: Path) -> list[Fraction]:
    """When each frame is shown."""
    with av.open(path) as file:
        return [frame.pts * frame.time_base for frame in file.decode(video=0)]


def shown(path: Path) -> list[np.ndarray]:
    with av.open(path) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def packets(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    with av.open(path) as file:
        (stream,) = [stream for stream in file.streams if stream.type == kind]
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in file.demux(stream) if packet.size]


def copied(source: Path, target: Path, scale: int = 1, **options: Any) -> images.VideoWriter:
    """The video written again, each pixel `scale` times as large, as a network would."""
    video = Video(source)
    format, _ = video.format_for(None, asked=False, scale=scale)
    with video.writer(target, format, **options) as writer:
        for frame in video:
            writer.write(Frame(Picture(frame.picture.pixels.repeat(scale, 0).repeat(scale, 1))))
    return writer


# --- times, sound, colours


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("a.mp4", TICK),
        ("a.m4v", Fraction(1, 90_000)),
        ("a.mov", Fraction(1001, 30_000)),
        ("a.mkv", Fraction(1, 1000)),
        ("late.mp4", TICK),
    ],
)
def test_frames_come_back_at_their_times(tmp_path: Path, name: str, unit: Fraction) -> None:
    times = [at + 7 for at in UNEVEN] if name == "late.mp4" else UNEVEN
    source = film(tmp_path / name, times, unit=unit, sound="aac")
    writer = copied(source, tmp_path / f"made-{name}", 2)
    assert seconds(tmp_path / f"made-{name}") == seconds(source) == [at * unit for at in times]
    assert not writer.notes and writer.size == (96, 64)
    assert packets(tmp_path / f"made-{name}", "audio") == packets(source, "audio")
    with av.open(source) as old, av.open(tmp_path / f"made-{name}") as new:
        assert new.duration == pytest.approx(old.duration, abs=5000)  # in microseconds; Matroska rounds
        assert new.streams.video[0].codec_context.name == "h264"
        assert new.streams.video[0].codec_context.pix_fmt == "yuv420p"
    for before, after in zip(shown(source), shown(tmp_path / f"made-{name}"), strict=True):
        assert np.abs(after[::2, ::2].astype(int) - before).mean() < 3


@pytest.mark.parametrize(("name", "sound"), [("a.mp4", "aac"), ("a.mkv", "libopus"), ("a.mov", "pcm_s16le")])
def test_sound_is_copied_byte_by_byte(tmp_path: Path, name: str, sound: str) -> None:
    source = film(tmp_path / name, sound=sound, title="a walk")
    copied(source, tmp_path / f"made-{name}")
    assert len(packets(source, "audio")) > 20
    assert packets(tmp_path / f"made-{name}", "audio") == packets(source, "audio")
    with av.open(tmp_path / f"made-{name}") as file:
        assert file.streams.audio[0].metadata["language"] == "fra" and file.metadata["title"] == "a walk"


def test_subtitles_are_copied_and_what_a_container_does_not_take_is_named(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", words="mov_text", sound="aac")
    assert not copied(source, tmp_path / "b.mp4").notes
    assert packets(tmp_path / "b.mp4", "subtitle") == packets(source, "subtitle")
    video = Video(film(tmp_path / "c.mov", sound="pcm_alaw"))
    video.format_for("mp4", asked=True)
    with video.writer(tmp_path / "d.mp4", "mp4") as writer:
        for frame in video:
            writer.write(frame)
    assert writer.notes == ("mp4 does not take audio stream 1 (pcm_alaw); left out",)


@pytest.mark.parametrize("limits", [1, 2])
@pytest.mark.parametrize("matrix", [1, 5, 6, 9])
def test_colours_and_their_tags_are_kept(tmp_path: Path, matrix: int, limits: int) -> None:
    tags = {"colorspace": matrix, "color_range": limits, "color_primaries": 9, "color_trc": 14}
    source = film(tmp_path / "a.mp4", (0, 1), tags=tags)
    copied(source, tmp_path / "b.mp4")
    with av.open(tmp_path / "b.mp4") as file:
        context = file.streams.video[0].codec_context
        assert {name: getattr(context, name) for name in tags} == tags
    for before, after in zip(shown(source), shown(tmp_path / "b.mp4"), strict=True):
        assert np.abs(after.astype(int) - before).mean() < 4


def test_a_matrix_is_tagged_where_players_would_take_another(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", (0,), size=(640, 48))
    for scale, tag in ((1, 2), (2, 6)):  # 2: there is none; of frames 1280 pixels wide players take BT.709
        copied(source, tmp_path / "b.mp4", scale)
        with av.open(tmp_path / "b.mp4") as file:
            assert file.streams.video[0].codec_context.colorspace == tag


@pytest.mark.parametrize("matrix", [(1, 0, 0, 1), (-1, 0, 0, 1), (-1, 0, 0, -1), (1, 0, 0, -1),
                                    (0, 1, 1, 0), (0, 1, -1, 0), (0, -1, -1, 0), (0, -1, 1, 0)])  # fmt: skip
def test_frames_come_out_upright(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    source = film(tmp_path / "a.mp4", (0, 1), turn=matrix)
    stored = shown(source)[0]
    # ISO 14496-12, 6.2.2: a pixel (x, y) is shown at (ax + cy, bx + dy), moved to where the picture begins
    y, x = np.indices(stored.shape[:2])
    across, down = matrix[0] * x + matrix[2] * y, matrix[1] * x + matrix[3] * y
    across, down = across - across.min(), down - down.min()
    upright = np.zeros((down.max() + 1, across.max() + 1, 3), np.uint8)
    upright[down, across] = stored
    assert np.abs(Video(source).first().pixels.astype(int) - upright).mean() < 4
    copied(source, tmp_path / "b.mp4")
    with av.open(tmp_path / "b.mp4") as file:
        frame = next(file.decode(video=0))
        assert not frame.side_data.get("DISPLAYMATRIX") and frame.rotation == 0
        assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - upright).mean() < 6


def test_odd_sides_are_made_even_and_said(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mkv", (0, 1000), unit=Fraction(1, 1000), size=(33, 21), codec="ffv1", pixels="yuv444p")
    writer = copied(source, tmp_path / "b.mkv")
    assert writer.size == (34, 22) and any("33x21 became 34x22" in note for note in writer.notes)
    assert shown(tmp_path / "b.mkv")[0].shape == (22, 34, 3)


def test_pixels_that_are_not_square_stay_so(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", (0,), tags={"sample_aspect_ratio": Fraction(16, 15)}, turn=(0, -1, 1, 0))  # type: ignore[dict-item]
    copied(source, tmp_path / "b.mp4")
    with av.open(tmp_path / "b.mp4") as file:
        assert file.streams.video[0].sample_aspect_ratio == Fraction(15, 16)  # it has been turned


@pytest.mark.parametrize("keep", [False, True])
def test_the_place_is_left_out_unless_asked_for(tmp_path: Path, keep: bool) -> None:
    source = film(tmp_path / "a.mov", (0,), location="+48.8577+002.295/", title="tower")
    copied(source, tmp_path / "b.mov", keep_gps=keep)
    with av.open(tmp_path / "b.mov") as file:
        assert file.metadata["title"] == "tower" and ("location" in file.metadata) is keep
    assert (b"48.8577" in (tmp_path / "b.mov").read_bytes()) is keep


def test_quality_is_bought_with_bytes(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4")
    sizes = []
    for quality in (30, None, 100):
        copied(source, tmp_path / "b.mp4", quality=quality)
        sizes.append((tmp_path / "b.mp4").stat().st_size)
    assert sizes == sorted(set(sizes))


def test_times_that_a_container_cannot_hold_are_rounded_and_said(tmp_path: Path) -> None:
    video = Video(film(tmp_path / "a.mp4", (0, 1, 2), unit=Fraction(1, 30)))
    video.format_for("mkv", asked=True)
    with video.writer(tmp_path / "b.mkv", "mkv") as writer:
        for frame in video:
            writer.write(frame)
    assert writer.notes == ("mkv counts milliseconds: the times of 2 frames were rounded",)
    assert seconds(tmp_path / "b.mkv") == [0, Fraction(33, 1000), Fraction(67, 1000)]


def test_times_that_are_told_in_the_order_of_storage_are_put_in_order(tmp_path: Path) -> None:
    source = film(tmp_path / "a.avi", range(12))  # AVI has one number a packet, and x264 stores frames out of order
    assert seconds(source) != sorted(seconds(source))
    writer = copied(source, tmp_path / "b.mp4")
    assert seconds(tmp_path / "b.mp4") == sorted(seconds(source)) and not writer.source.notes


# --- what cannot be


def no_frames(path: Path) -> None:
    with av.open(path, "w") as file:
        video = file.add_stream("libx264", rate=25)
        video.width = video.height = 16
        file.start_encoding()


def sound_alone(path: Path) -> None:
    with av.open(path, "w") as file:
        audio = file.add_stream("aac", rate=48_000)
        audio.layout = "mono"
        for start in range(0, 4800, 960):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 48_000, start
            file.mux(audio.encode(frame))
        file.mux(audio.encode(None))


def two_sizes(path: Path) -> None:
    """In AVI, H.264 tells its size with every key frame."""
    with av.open(path, "w") as file:
        video = file.add_stream("libx264", rate=25)
        video.width = video.height = 32
        file.start_encoding()
        for start, size in ((0, (32, 32)), (3, (48, 32))):
            coder = av.CodecContext.create("libx264", "w")
            coder.width, coder.height, coder.pix_fmt, coder.time_base = *size, "yuv420p", TICK
            coder.options = {"bf": "0"}
            frames = [av.VideoFrame.from_ndarray(drawn(place, *size), "rgb24") for place in range(3)]
            for place, frame in enumerate(frames):
                frame.pts, frame.time_base = place, TICK
            for packet in [*(packet for frame in frames for packet in coder.encode(frame)), *coder.encode(None)]:
                packet.pts, packet.dts, packet.stream = packet.pts + start, packet.dts + start, video
                file.mux(packet)


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def playlist(path: Path) -> None:
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")


BAD = {
    "none.mp4": (no_frames, "the video has no frames"),
    "none.mkv": (no_frames, "one without frames"),
    "sound.mp4": (sound_alone, "it holds sound, but no video"),
    "empty.mp4": (lambda path: path.write_bytes(b""), "the file is empty"),
    "noise.mkv": (noise, "this is no video"),
    "text.avi": (playlist, "this is no video"),
    "picture.mp4": (lambda path: Image.new("RGB", (8, 8)).save(path, "PNG"), "this is no video"),
    "pipe.mp4": (os.mkfifo, "no regular file"),
    "sizes.avi": (two_sizes, "several sizes (32x32 and 48x32)"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_video_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    make, said = BAD[name]
    make(tmp_path / name)
    for keep in (False, True):
        with pytest.raises(UserError) as refused:
            Video(tmp_path / name, keep_truncated=keep).format_for(None, asked=False)
        assert said in str(refused.value) and str(tmp_path / name) in str(refused.value) and refused.value.code == 1


FRAMES = 60


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The head of each is in front, so that something is left where the end is missing."""
    folder = tmp_path_factory.mktemp("long")
    times, unit = range(0, 40 * FRAMES, 40), Fraction(1, 1000)
    return {
        "mkv": film(folder / "a.mkv", times, unit=unit),
        "mp4": film(folder / "a.mp4", times, unit=unit, sound="aac", options={"movflags": "faststart"}),
        "avi": film(folder / "a.avi", range(FRAMES), codec="ffv1", pixels="yuv444p"),
    }


@pytest.mark.parametrize("kind", ["mkv", "mp4", "avi"])
@pytest.mark.parametrize("part", [0.5, 0.8, 0.999])
def test_of_a_truncated_video_the_whole_frames_are_kept_if_asked(
    tmp_path: Path, long: dict[str, Path], kind: str, part: float
) -> None:
    source = tmp_path / f"a.{kind}"
    data = long[kind].read_bytes()
    source.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(UserError, match="the end of the file is missing; --keep-truncated takes what is there"):
        Video(source)
    video = Video(source, keep_truncated=True)
    format, _ = video.format_for(None, asked=False)
    assert 0 < video.count <= FRAMES and (video.count < FRAMES or part > 0.9)
    assert f"the end of the file is missing; {video.count} whole frames were kept" in video.notes
    with video.writer(tmp_path / f"made.{format}", format) as writer:
        for frame in video:
            writer.write(frame)
    whole = shown(long[kind])
    made = shown(tmp_path / f"made.{format}")
    assert len(made) == video.count
    for before, after in zip(whole, made, strict=False):
        assert np.abs(after.astype(int) - before).mean() < 6  # none is half gray


@pytest.mark.parametrize("kind", ["mkv", "mp4", "avi"])
def test_a_whole_video_is_not_taken_for_truncated(long: dict[str, Path], kind: str) -> None:
    video = Video(long[kind])
    video.survey()
    assert video.count == FRAMES and not video.notes


def test_where_less_can_be_read_than_the_head_tells_of_it_is_refused(tmp_path: Path, long: dict[str, Path]) -> None:
    data = bytearray(long["mkv"].read_bytes())
    half = len(data) // 2
    data[half : half + 400] = np.random.default_rng(0).bytes(400)  # the boxes of the second half are not found any more
    (tmp_path / "a.mkv").write_bytes(data)
    with pytest.raises(UserError, match=r"of 2\.4 s only [\d.]+ s can be read; --keep-truncated"):
        Video(tmp_path / "a.mkv").survey()
    video = Video(tmp_path / "a.mkv", keep_truncated=True)
    video.survey()
    assert 0 < video.count < FRAMES and "only" in video.notes[0]


def test_a_truncated_video_whose_table_is_gone_is_refused_either_way(tmp_path: Path) -> None:
    data = film(tmp_path / "a.mp4", range(FRAMES)).read_bytes()
    (tmp_path / "b.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="too much of the file is missing"):
        Video(tmp_path / "b.mp4", keep_truncated=True)


# --- in a run


def tiny() -> SRResNet:
    """Draws nearly the bicubic enlargement."""
    torch.manual_seed(0)
    network = SRResNet(**TINY).eval().requires_grad_(False)
    network.last.weight.mul_(0.01)
    network.last.bias.zero_()  # type: ignore[union-attr]
    return network


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "x2.safetensors"
    network = tiny()
    save_generator(path, network, Spec.to(SRResNet, **TINY), network.card())
    return path


@pytest.fixture(scope="module")
def engine() -> Engine:
    network = tiny()
    network.card = network.card()  # type: ignore[assignment, operator]
    return Engine(network, precision="fp32")


def outcomes(engine: Engine, inputs: list[Path], out: Path, **settings: Any) -> list[Outcome]:
    found: list[Outcome] = []
    batchrun.run(engine, [str(given) for given in inputs], out, Settings(**settings),
                 tell=lambda outcome, done, total: found.append(outcome))  # fmt: skip
    return found


def upscale(model: Path, *arguments: object, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "i2i", "upscale", "--model", str(model), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ALONE, **more)


def test_a_folder_of_videos_and_pictures(model: Path, engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    film(folder / "a.mp4", sound="aac")
    film(folder / "b.webm", [40 * at for at in UNEVEN], unit=Fraction(1, 1000), codec="libvpx-vp9", sound="libopus")
    Image.fromarray(drawn(3)).save(folder / "c.png")
    noise(folder / "d.mkv")
    no_frames(folder / "e.mp4")
    done = upscale(model, folder, "-o", tmp_path / "out", "--json", "--format", "jpeg")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    *lines, summary = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["status"] for line in lines] == ["written", "written", "written", "failed", "failed"]
    assert [line["size"] for line in lines[:3]] == [[96, 64]] * 3
    assert summary["summary"]["failed"] == 2 and "e.mp4: the video has no frames" in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.mp4", "b.mkv", "c.jpg"]
    assert "webm became mkv, for H.264" in lines[1]["notes"]
    assert seconds(tmp_path / "out/a.mp4") == seconds(folder / "a.mp4")
    assert seconds(tmp_path / "out/b.mkv") == seconds(folder / "b.webm")
    assert packets(tmp_path / "out/b.mkv", "audio") == packets(folder / "b.webm", "audio")
    for before, after in zip(shown(folder / "a.mp4"), shown(tmp_path / "out/a.mp4"), strict=True):
        assert np.abs(after[::2, ::2].astype(int) - before).mean() < 6
    when = (tmp_path / "out/a.mp4").stat().st_mtime_ns
    again = outcomes(engine, [folder], tmp_path / "out", existing="skip", format="jpeg")
    assert [outcome.status for outcome in again] == ["skipped"] * 3 + ["failed"] * 2
    assert (tmp_path / "out/a.mp4").stat().st_mtime_ns == when


def test_scale_pairs_and_progress(engine: Engine, tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4")
    steps: list[float] = []
    settings = Settings(scale=1.5, compare=True, gallery=True)
    report = batchrun.run(engine, [str(source)], tmp_path / "out", settings, step=lambda _, part: steps.append(part))
    assert report.written == 1 and steps == [place / 10 for place in range(1, 11)]
    assert shown(tmp_path / "out/a.mp4")[0].shape == (48, 72, 3)
    with Image.open(tmp_path / "out/compare/a.mp4.png") as pair:
        assert pair.height == 48
    assert "data:image/jpeg" in (tmp_path / "out/gallery.html").read_text("utf-8")
    report = batchrun.run(engine, [str(source)], tmp_path / "out", Settings(existing="skip", gallery=True))
    assert report.skipped == 1 and "data:image/jpeg" in (tmp_path / "out/gallery.html").read_text("utf-8")


def test_names_that_do_not_fit_are_requests_that_are_wrong(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", (0,))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for source, out, said in (("a.mp4", "b.png", "is a video"), ("a.png", "b.mp4", "is a picture"),
                              ("a.mp4", "b.avi", "take one of mp4, mov, mkv")):  # fmt: skip
        with pytest.raises(UserError, match=said):
            plan([str(tmp_path / source)], tmp_path / out, format=None, suffix="")
    (job,), _ = plan([str(tmp_path / "a.mp4")], tmp_path / "out", format="png", suffix="_x2")
    assert job.name == "a_x2.mp4" and job.format is None


def test_a_video_goes_to_standard_output_but_does_not_come_from_standard_input(engine: Engine, tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", sound="aac")
    made = io.BytesIO()
    batchrun.run(engine, [str(source)], "-", Settings(), stdout=made)
    (tmp_path / "b.mp4").write_bytes(made.getvalue())
    assert seconds(tmp_path / "b.mp4") == seconds(source)
    refused: list[Outcome] = []
    batchrun.run(engine, ["-"], "-", Settings(), stdin=io.BytesIO(source.read_bytes()), stdout=io.BytesIO(),
                 tell=lambda outcome, done, total: refused.append(outcome))  # fmt: skip
    assert refused[0].reason == "standard input: a video is read from a file alone; name it"


def test_without_the_package_a_video_fails_in_a_sentence_and_pictures_go_on(model: Path, tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", (0,))
    Image.fromarray(drawn(3)).save(tmp_path / "b.png")
    code = "import sys; sys.modules['av'] = None; from i2i.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "upscale", "-m", str(model), "a.mp4", "b.png", "-o", "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ALONE, cwd=tmp_path)
    assert done.returncode == 1 and "pip install 'i2i-toolkit[video]'" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.png"]


@pytest.mark.parametrize("error", [UserError("made up", code=1), KeyboardInterrupt(), OSError(28, "No space left")])
def test_a_failure_in_the_middle_leaves_nothing(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    source = film(tmp_path / "a.mp4", sound="aac")

    def stop(_: str, part: float) -> None:
        if part > 0.5:
            raise error

    failed_alone = isinstance(error, UserError)  # the run goes on
    with nullcontext() if failed_alone else pytest.raises((UserError, KeyboardInterrupt)):
        batchrun.run(engine, [str(source)], tmp_path / "out", Settings(), step=stop)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_full_disk_ends_the_run_in_a_sentence(model: Path, tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", range(50), size=(256, 192), sound="aac")

    def limited() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, 8_000))

    done = upscale(model, tmp_path / "a.mp4", "-o", tmp_path / "out", preexec_fn=limited)
    assert done.returncode == 1 and "the file-size limit is reached" in done.stderr and "Traceback" not in done.stderr
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_video_is_done_again(model: Path, engine: Engine, tmp_path: Path, how: signal.Signals) -> None:
    film(tmp_path / "a.mp4", range(600), size=(256, 192))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "i2i", "upscale", "-m", str(model), str(tmp_path / "a.mp4"), "-o", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=ALONE) as child:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not list(out.glob(".*.part")):
            time.sleep(0.01)
        child.send_signal(how)
        said = child.communicate()[1]
    assert child.returncode == (130 if how == signal.SIGINT else -9) and "Traceback" not in said
    assert len(list(out.iterdir())) == (0 if how == signal.SIGINT else 1)
    (done,) = outcomes(engine, [film(tmp_path / "a.mp4")], out, existing="skip")
    assert done.status == "written" and [path.name for path in out.iterdir()] == ["a.mp4"]
