"""What goes in comes out: depth, alpha, orientation, profile, EXIF; and what is no picture is refused in a sentence."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from i2i import images
from i2i.errors import UserError
from i2i.images import Picture, encode, fitting_format, read, write

ODD = Path(__file__).parent / "odd_images"
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def noise(*shape: int, deep: bool = False) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 65_536 if deep else 256, shape).astype(np.uint16 if deep else np.uint8)


def index() -> list[tuple[str, bool]]:
    lines = (ODD / "INDEX.tsv").read_text().splitlines()[1:]
    return [(line.split("\t")[0], line.split("\t")[9] == "ok") for line in lines]


@pytest.mark.parametrize("format", ["png", "tiff", "webp", "avif", "jp2", "jpeg", "bmp", "ppm"])
@pytest.mark.parametrize("shape", [(9, 7, 3), (9, 7)])
def test_what_a_format_can_hold_comes_back(tmp_path: Path, format: str, shape: tuple[int, ...]) -> None:
    held = images.FORMATS[format]
    lossy = format in ("webp", "avif", "jpeg")
    for deep in {False, held.deep}:
        for alpha in {False, held.alpha}:
            pixels = noise(*shape, deep=deep)
            if lossy:  # they hold smooth pictures only
                pixels[:] = 90
            picture = Picture(pixels, noise(*shape[:2], deep=deep) if alpha else None)
            path = tmp_path / f"a{deep}{alpha}{held.suffixes[0]}"
            assert write(picture, path) == ()
            back = read(path)
            color = back.pixels if back.pixels.ndim == len(shape) else back.pixels[..., 0]
            assert color.dtype == pixels.dtype and color.shape == pixels.shape
            assert np.abs(color.astype(int) - pixels).max() <= (3 if lossy else 0)
            assert (back.alpha is not None) == alpha
            if alpha and not lossy:
                assert back.alpha is not None and picture.alpha is not None
                assert np.array_equal(back.alpha, picture.alpha)


@pytest.mark.parametrize("turn", range(1, 9))
def test_orientation_is_applied_and_reset_and_the_thumbnail_dropped(turn: int) -> None:
    image = Image.fromarray(noise(6, 4, 3))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = turn, "maker"
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    picture = read(file.getvalue())
    upright = Image.open(io.BytesIO(file.getvalue()))
    from PIL import ImageOps

    assert np.array_equal(picture.pixels, np.asarray(ImageOps.exif_transpose(upright)))
    for format in ("png", "jpeg", "webp", "tiff", "avif"):
        kept = Image.open(io.BytesIO(encode(picture, format)[0])).getexif()
        assert kept.get(0x0112, 1) == 1 and kept[0x010F] == "maker"


def test_a_stale_thumbnail_does_not_survive() -> None:
    picture = read(ODD / "pillow/sugarshack.mpo")
    assert picture.exif and b"\xff\xd8" not in picture.exif


def test_exif_tells_the_new_size() -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA002] = 640
    exif.get_ifd(0x8769)[0xA003] = 480
    exif[0x010F] = "maker"
    data = encode(Picture(noise(12, 8, 3), exif=exif.tobytes()), "png")[0]
    inner = Image.open(io.BytesIO(data)).getexif().get_ifd(0x8769)
    assert (inner[0xA002], inner[0xA003]) == (8, 12)


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff", "avif"])
@pytest.mark.parametrize("deep", [False, True])
def test_the_profile_is_carried_at_both_depths(format: str, deep: bool) -> None:
    data, _ = encode(Picture(noise(8, 8, 3, deep=deep), icc=SRGB), format)
    assert Image.open(io.BytesIO(data)).info["icc_profile"] == SRGB
    assert read(data).icc == SRGB


def test_a_profile_for_other_channels_is_left_out_and_said() -> None:
    picture = Picture(noise(8, 8, 3), icc=SRGB).with_pixels(noise(8, 8))
    assert picture.icc is None and "other channels" in picture.notes[0]


def test_16_bit_colour_is_read_whole(tmp_path: Path) -> None:
    pixels = noise(5, 6, 3, deep=True)
    for ending in (".png", ".tif", ".ppm"):
        cv2.imwrite(str(tmp_path / f"a{ending}"), pixels[..., ::-1])
        assert np.array_equal(read(tmp_path / f"a{ending}").pixels, pixels), ending


def test_wide_gray_is_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65_535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png").pixels, ramp)
    Image.fromarray(ramp.astype(np.int32)).save(tmp_path / "a.tif")  # mode I
    assert np.array_equal(read(tmp_path / "a.tif").pixels, ramp)
    Image.fromarray((ramp / 65_535).astype(np.float32)).save(tmp_path / "f.tif")  # mode F
    assert np.abs(read(tmp_path / "f.tif").pixels.astype(int) - ramp).max() <= 1
    twelve = read(ODD / "pillow/12bit.cropped.tif").pixels
    assert twelve.max() == 30 * 65_535 // 4095


def test_transparency_of_every_kind_becomes_alpha() -> None:
    names = """apng/mode_palette_1bit_alpha.png apng/mode_grayscale_alpha.png apng/mode_16bit.png rgb_trns.png
        p_trns_single.png rdf.tif python.ico no_palette_with_transparency.gif"""
    for name in names.split():
        assert read(ODD / "pillow" / name).alpha is not None, name


def test_print_colours_become_rgb() -> None:
    ink = Image.new("CMYK", (4, 4), (255, 0, 0, 0))  # cyan
    file = io.BytesIO()
    ink.save(file, "TIFF")
    assert read(file.getvalue()).pixels[0, 0].tolist() == [0, 255, 255]


def test_alpha_follows_the_size_and_the_depth() -> None:
    picture = Picture(noise(4, 6, 3), np.full((4, 6), 128, np.uint8)).with_pixels(noise(8, 12, 3, deep=True))
    assert picture.alpha is not None
    assert picture.alpha.shape == (8, 12) and (picture.alpha == 128 * 257).all()


def test_the_format_follows_the_input_where_it_can() -> None:
    opaque, clear = Picture(noise(4, 4, 3), format="JPEG"), noise(4, 4)
    assert fitting_format(opaque) == ("jpeg", "")
    assert fitting_format(Picture(noise(4, 4, 3, deep=True), format="WEBP"))[0] == "png"
    assert fitting_format(Picture(noise(4, 4, 3), clear, format="BMP"))[0] == "png"
    data, notes = encode(Picture(noise(4, 4, 3), clear), "jpeg")
    assert data[:2] == b"\xff\xd8" and notes == ("jpeg holds no alpha; it was dropped",)


def test_truncated_files_are_refused_unless_asked_for(tmp_path: Path) -> None:
    whole = encode(Picture(noise(64, 64, 3)), "jpeg")[0]
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="--keep-truncated"):
        read(tmp_path / "a.jpg")
    kept = read(tmp_path / "a.jpg", keep_truncated=True)
    assert kept.pixels.shape == (64, 64, 3) and kept.notes
    with pytest.raises(UserError):  # the choice does not outlive the call
        read(tmp_path / "a.jpg")


@pytest.mark.parametrize(("content", "said"), [(b"", "empty"), (b"no picture", "no image")])
def test_what_is_no_picture_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        read(tmp_path / "a.png")
    assert caught.value.code == 1 and "a.png" in str(caught.value)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("pillow/l2rgb_read.bmp", "pillow/decompression_bomb.ico"):
            with pytest.raises(UserError, match="million pixels"):
                read(ODD / name)


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UserError, match="no regular file"):
        read(tmp_path / "a.png")


def test_nothing_half_written_when_the_disk_ends(tmp_path: Path) -> None:
    """A child whose files may hold 1,000 bytes stands for a disk that is full."""
    code = (
        "import resource, signal, sys, numpy as np\n"
        "from i2i.images import Picture, write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write(Picture(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), sys.argv[1])\n"
        "except OSError: sys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.png")], check=False)
    assert done.returncode == 7
    assert list(tmp_path.iterdir()) == []


def test_every_odd_image_is_read_or_refused_in_a_sentence() -> None:
    for name, good in index():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if good:
                picture = read(ODD / name)
                assert picture.pixels.dtype in (np.uint8, np.uint16)
                encode(picture, fitting_format(picture)[0])
            else:
                with pytest.raises(UserError) as caught:
                    read(ODD / name)
                assert name in str(caught.value) and "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 << 20  # KiB
