"""Animations keep their frames, their times and how often they are shown; documents keep their pages."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageSequence

from i2i import images
from i2i.errors import UserError
from i2i.images import Frame, Frames, FrameWriter, Picture, count_frames, read_head

ODD = Path(__file__).parent.parent / "odd_images"


def drawn(count: int = 3, mode: str = "RGB") -> list[Image.Image]:
    """A square that wanders over a ground."""
    made = []
    for place in range(count):
        image = Image.new("RGB", (24, 16), (10, 120, 200))
        image.paste((250, 20, 10), (place * 5, 4, place * 5 + 6, 10))
        made.append(image.convert(mode))
    return made


def moving(format: str, **options: object) -> bytes:
    first, *others = drawn()
    file = io.BytesIO()
    first.save(file, format, save_all=True, append_images=others, duration=[100, 250, 40], **options)
    return file.getvalue()


def rewritten(frames: Frames, format: str, target: Path) -> None:
    with FrameWriter(target, format, frames.count, plays=frames.plays) as file:
        for frame in frames:
            file.write(frame)


@pytest.mark.parametrize("format", ["png", "webp", "avif"])
@pytest.mark.parametrize("given", ["GIF", "PNG", "WEBP"])
def test_an_animation_comes_back(tmp_path: Path, given: str, format: str) -> None:
    data = moving(given, loop=0, **({"lossless": True} if given == "WEBP" else {}))
    frames = Frames(data)
    assert (frames.count, frames.plays, frames.pages) == (3, 0, False) and count_frames(data) == 3
    for frame, truth in zip(frames, drawn(), strict=True):
        assert np.abs(frame.picture.pixels.astype(int) - np.asarray(truth)).max() <= 1
    rewritten(frames, format, tmp_path / f"a.{format}")
    with Image.open(tmp_path / f"a.{format}") as back:
        assert back.n_frames == 3 and back.size == (24, 16)
        worst = 1 if format == "png" else 60  # the others are lossy
        times = []
        for shown, truth in zip(ImageSequence.Iterator(back), drawn(), strict=True):
            shown.load()
            times.append(round(shown.info["duration"]))
            assert np.abs(np.asarray(shown.convert("RGB")).astype(int) - np.asarray(truth)).mean() <= worst
        assert times == [100, 250, 40]
        if format != "avif":
            assert back.info["loop"] == 0


@pytest.mark.parametrize(("options", "plays"), [({}, 1), ({"loop": 0}, 0), ({"loop": 2}, 3)])
def test_how_often_a_gif_is_shown_is_kept(tmp_path: Path, options: dict[str, int], plays: int) -> None:
    frames = Frames(moving("GIF", **options))
    assert frames.plays == plays  # a GIF counts repetitions
    rewritten(frames, "png", tmp_path / "a.png")
    assert Frames(tmp_path / "a.png").plays == plays


@pytest.mark.parametrize("name", ["dispose_op_previous", "blend_op_over", "dispose_op_background_p_mode", "mode_16bit",
                                  "mode_grayscale_alpha", "single_frame_default", "different_durations"])  # fmt: skip
def test_disposal_and_blending_are_resolved(tmp_path: Path, name: str) -> None:
    path = ODD / "pillow/apng" / f"{name}.png"
    if name == "single_frame_default":  # a still, and an animation of one frame
        assert count_frames(path) == 1
        return
    frames = Frames(path)
    rewritten(frames, "png", tmp_path / "a.png")
    with Image.open(path) as one, Image.open(tmp_path / "a.png") as other:
        still = one.info.get("default_image", False)  # what programs show that know no animations
        assert one.n_frames - still == other.n_frames == frames.count
        for left, right in zip(islice(ImageSequence.Iterator(one), still, None), ImageSequence.Iterator(other)):
            if frames.count > 1:
                assert left.info["duration"] == pytest.approx(right.info["duration"], abs=1)
            seen, made = (np.asarray(frame.convert("RGBA")).astype(int) for frame in (left, right))
            assert np.abs(seen - made).max() <= 1


def test_frames_of_one_animation_are_alike() -> None:
    for name in ("dispose_bgnd_transparency.gif", "different_transparency.gif"):
        kinds = {frame.picture.values.shape for frame in Frames(ODD / "pillow" / name)}
        assert len(kinds) == 1


def test_an_apng_stores_what_differs(tmp_path: Path) -> None:
    ground = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    with FrameWriter(tmp_path / "a.png", "png", 9) as file:
        for place in range(9):
            pixels = ground.copy()
            pixels[place, 5] = place
            file.write(Frame(Picture(pixels), 40))
    still = images.encode(Picture(ground), "png")[0]
    assert (tmp_path / "a.png").stat().st_size < 1.3 * len(still)
    last = list(Frames(tmp_path / "a.png"))[-1].picture.pixels
    assert np.array_equal(last, pixels)


@pytest.mark.parametrize("deep", [False, True])
def test_pages_come_back_each_by_itself(tmp_path: Path, deep: bool) -> None:
    dtype = np.uint16 if deep else np.uint8
    rng = np.random.default_rng(0)
    pages = [rng.integers(0, np.iinfo(dtype).max, shape).astype(dtype) for shape in ((9, 7, 3), (30, 11), (5, 40, 3))]
    path = tmp_path / "a.tif"
    with FrameWriter(path, "tiff", 3) as file:
        for page in pages:
            file.write(Frame(Picture(page)))
    assert read_head(path).frames == count_frames(path) == 3
    frames = Frames(path)
    assert frames.pages
    for frame, page in zip(frames, pages, strict=True):
        assert np.array_equal(frame.picture.pixels, page)
    done, seen = cv2.imreadmulti(str(path), flags=cv2.IMREAD_UNCHANGED)
    assert done and [page.shape[:2] for page in seen] == [page.shape[:2] for page in pages]
    with Image.open(path) as image:
        assert image.n_frames == 3


def test_smaller_copies_of_a_page_are_no_pages(tmp_path: Path) -> None:
    large, small = Image.new("RGB", (40, 30)), Image.new("RGB", (4, 3))
    large.save(tmp_path / "a.tif", save_all=True, append_images=[small])
    assert count_frames(tmp_path / "a.tif") == 2
    small.encoderinfo = {"tiffinfo": {254: 1}}
    large.save(tmp_path / "a.tif", save_all=True, append_images=[small])
    assert count_frames(tmp_path / "a.tif") == 1


def test_a_format_that_holds_one_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(moving("GIF"))
    frames = Frames(tmp_path / "a.gif")
    assert frames.format_for("png", asked=False)[0] == "png"
    assert frames.format_for("jpeg", asked=False)[0] == "png"
    assert frames.format_for("tiff", asked=True)[0] == "tiff"
    with pytest.raises(UserError, match="3 frames, and jpeg holds one; take --format png or webp or avif or tiff"):
        frames.format_for("jpeg", asked=True)
    with pytest.raises(UserError, match="webp cannot hold sides beyond 16383"):
        frames.format_for("webp", asked=True, scale=1000)
    assert frames.format_for("webp", asked=False, scale=1000)[0] == "png"


def test_the_whole_frames_of_a_truncated_animation(tmp_path: Path) -> None:
    data = moving("GIF")
    cut = data[: len(data) - 40]
    with pytest.raises(UserError, match=r"a\.gif"):
        list(Frames(cut, name="a.gif"))
    kept = Frames(cut, name="a.gif", keep_truncated=True)
    assert kept.count == 2 and kept.notes and len(list(kept)) == 2


def test_what_follows_an_error_in_an_apng_is_left_out(tmp_path: Path) -> None:
    frames = Frames(ODD / "pillow/apng/sequence_fdat_fctl.png")  # a still, and frames out of order
    assert frames.count == 1 and "still" in frames.notes[0]
    rewritten(frames, "png", tmp_path / "a.png")
    still = images.read(ODD / "pillow/apng/sequence_fdat_fctl.png").values
    assert np.array_equal(images.read(tmp_path / "a.png").values, still) and count_frames(tmp_path / "a.png") == 1


def test_a_gif_that_breaks_off_is_not_shortened_in_silence() -> None:
    data = moving("GIF")
    for end in range(len(data) - 150, len(data) - 2, 7):
        if count_frames(data[:end]) == 1:  # it breaks off in the first
            with pytest.raises(UserError):
                images.read(data[:end])
            continue
        with pytest.raises(UserError, match="end of the file is missing"):
            Frames(data[:end])
        kept = Frames(data[:end], keep_truncated=True)
        assert 1 <= kept.count < 3 and len(list(kept)) == kept.count


def test_nothing_is_left_of_an_animation_that_fails(tmp_path: Path) -> None:
    for format in ("png", "webp", "tiff"):
        with pytest.raises(ZeroDivisionError), FrameWriter(tmp_path / "a", format, 2) as file:
            file.write(Frame(Picture(np.zeros((4, 4), np.uint8)), 10))
            raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_metadata_of_an_animation_is_the_first_frames(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x010F] = "maker"
    tags.get_ifd(0x8825)[1] = "N"
    still = Picture(np.zeros((4, 4, 3), np.uint8), exif=tags.tobytes())
    for format in ("png", "webp", "tiff"):
        with FrameWriter(tmp_path / "a", format, 2) as file:
            file.write(Frame(still, 10))
            file.write(Frame(replace(still, pixels=still.pixels + 9, exif=None), 10))
        with Image.open(tmp_path / "a") as image:
            assert image.getexif()[0x010F] == "maker" and not image.getexif().get_ifd(0x8825)


def test_a_heic_is_read_by_the_extra_or_named(tmp_path: Path) -> None:
    head = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    (tmp_path / "a.heic").write_bytes(head)
    try:
        import pillow_heif
    except ImportError:
        with pytest.raises(UserError, match=r"a\.heic: HEIC .*i2i-toolkit\[heif\]"):
            images.read(tmp_path / "a.heic")
        return
    with pytest.raises(UserError, match=r"a\.heic"):
        images.read(tmp_path / "a.heic")
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "maker", 6
    image = Image.new("RGB", (64, 48), (200, 30, 40))
    pillow_heif.from_pillow(image).save(tmp_path / "a.heic", exif=exif.tobytes(), quality=90)
    picture = images.read(tmp_path / "a.heic")
    assert sorted(picture.pixels.shape) == [3, 48, 64] and np.abs(picture.pixels[9, 9] - [200.0, 30, 40]).max() < 12
    assert picture.exif and images.fitting_format(picture)[0] == "jpeg"
    head_of = read_head(tmp_path / "a.heic")
    assert (head_of.height, head_of.width) == picture.pixels.shape[:2]
