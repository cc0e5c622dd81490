"""What is written row by row is the file that is written whole; nothing half-written stays."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from i2i import images
from i2i.errors import UserError
from i2i.images import Layout, Picture, StripWriter, encode, read
from i2i.images.encoders import Encoder, Jpeg, Tiff, Whole

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY = SRGB[:16] + b"GRAY" + SRGB[20:]


def pixels(height: int, width: int, channels: int, *, deep: bool = False) -> np.ndarray:
    """Smooth, with noise: what filters of PNG are for."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, channels)).astype(np.float32)
    smooth = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)
    values = (smooth + rng.normal(0, 3, smooth.shape)).clip(0, 255)
    return np.rint(values * 257).astype(np.uint16) if deep else np.rint(values).astype(np.uint8)


def exif() -> bytes:
    tags = Image.Exif()
    tags[0x010F], tags[0x0112] = "maker", 1
    tags.get_ifd(0x8769).update({0xA002: 640, 0xA003: 480, 0x9003: "2020:01:02 03:04:05"})
    tags.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 30.0)})
    return tags.tobytes()


def layout(values: np.ndarray) -> Layout:
    height, width, channels = values.shape
    icc = GRAY if channels < 3 else SRGB
    return Layout(width, height, channels, values.dtype == np.uint16, icc, exif(), (300.0, 200.0))


def picture(values: np.ndarray) -> Picture:
    """As `layout`, with pixels."""
    held = layout(values)
    color = values[..., :-1] if held.alpha else values
    return Picture(color[..., 0] if color.shape[2] == 1 else color, values[..., -1] if held.alpha else None,
                   held.icc, held.exif, dpi=held.dpi)  # fmt: skip


@pytest.mark.parametrize("format", ["png", "tiff", "webp", "avif", "jp2", "jpeg", "bmp", "ppm"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("deep", [False, True])
def test_strips_make_the_file_that_the_whole_picture_makes(
    tmp_path: Path, format: str, channels: int, deep: bool
) -> None:
    values = pixels(37, 23, channels, deep=deep)
    path = tmp_path / "a.bin"
    with StripWriter(path, format, layout(values)) as file:
        for top in (0, 1, 5, 30):
            file.write(values[top : {0: 1, 1: 5, 5: 30, 30: 37}[top]])
        assert list(tmp_path.iterdir()) != [path]  # it has another name until it is whole
    whole, notes = encode(picture(values), format)
    assert path.read_bytes() == whole and file.notes == notes
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("format", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("deep", [False, True])
def test_what_is_streamed_other_programs_read(tmp_path: Path, format: str, channels: int, deep: bool) -> None:
    values = pixels(700, 600, channels, deep=deep)  # several blocks
    path = tmp_path / f"a.{format}"
    with StripWriter(path, format, layout(values)) as file:
        for top in range(0, 700, 96):
            file.write(values[top : top + 96])
    gray_alpha = channels == 2  # which OpenCV turns into BGRA, and a deep TIFF of ours is
    seen = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).reshape(700, 600, -1)
    if format == "png" or deep or channels in (1, 3):  # OpenCV multiplies the alpha of 8-bit TIFF in
        wanted = values[..., [0, 0, 0, 1]] if gray_alpha else values
        assert np.array_equal(seen[..., [2, 1, 0, 3][: seen.shape[2]]] if seen.shape[2] > 1 else seen, wanted)
    back = read(path)
    assert back.deep == deep and back.dpi == pytest.approx((300, 200), abs=0.02)
    as_gray = channels < 3 and back.pixels.ndim == 3
    assert np.array_equal(back.values[..., 2:] if as_gray else back.values, values)
    with Image.open(path) as image:
        image.load()
        assert image.info["icc_profile"] == layout(values).icc
        tags = image.getexif()
        inner = tags.get_ifd(0x8769)
        assert (tags[0x010F], inner[0xA002], inner[0xA003]) == ("maker", 600, 700)
        assert not tags.get_ifd(0x8825)


def test_png_is_not_larger_than_opencvs() -> None:
    for deep in (False, True):
        values = pixels(400, 500, 3, deep=deep)
        assert len(encode(Picture(values), "png")[0]) <= 1.02 * len(cv2.imencode(".png", values)[1])


def test_bigtiff_is_read_by_others(tmp_path: Path) -> None:
    values = pixels(300, 800, 3)
    held = layout(values)
    with (tmp_path / "a.tif").open("w+b") as out:
        file = Tiff(out, held, large=True)
        file.write(values)
        file.finish()
    assert (tmp_path / "a.tif").read_bytes()[:4] == b"II\x2b\0"
    assert np.array_equal(cv2.imread(str(tmp_path / "a.tif"))[..., ::-1], values)
    with Image.open(tmp_path / "a.tif") as image:
        assert np.array_equal(np.asarray(image), values) and image.info["icc_profile"] == SRGB
        assert image.getexif()[0x010F] == "maker"


@pytest.mark.parametrize("size", [(1, 1), (9, 700), (128, 40), (129, 17), (700, 333)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [10, 85, 95])  # from 90 on colours have all pixels
def test_a_jpeg_of_strips_is_pillows_to_the_pixel(channels: int, quality: int, size: tuple[int, int]) -> None:
    values = pixels(*size, channels)

    def made(kind: Callable[[io.BytesIO], Encoder]) -> bytes:
        out = io.BytesIO()
        file = kind(out)
        for top in range(0, size[0], 37):
            file.write(values[top : top + 37])
        file.finish()
        return out.getvalue()

    strips = made(lambda out: Jpeg(out, layout(values), quality))
    whole = made(lambda out: Whole(out, layout(values), "jpeg", quality))
    assert len(strips) <= 1.01 * len(whole) + 100
    with Image.open(io.BytesIO(strips)) as one, Image.open(io.BytesIO(whole)) as other:
        assert np.array_equal(np.asarray(one), np.asarray(other))
        for key in ("exif", "icc_profile", "dpi"):
            assert one.info[key] == other.info[key]
        assert one.applist[-1][0] == other.applist[-1][0] and "progressive" not in one.info
    one, other = (cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) for data in (strips, whole))
    assert np.array_equal(one, other)


def test_a_stream_gets_all_or_nothing() -> None:
    values = pixels(20, 10, 3)
    out = io.BytesIO()
    with pytest.raises(ZeroDivisionError), StripWriter(out, "tiff", layout(values)) as file:
        file.write(values)
        raise ZeroDivisionError
    assert out.getvalue() == b""
    with StripWriter(out, "tiff", layout(values)) as file:
        file.write(values)
    assert np.array_equal(read(out.getvalue()).pixels, values)


def test_nothing_is_left_of_what_fails(tmp_path: Path) -> None:
    values = pixels(20, 10, 3)
    (tmp_path / "a.png").write_bytes(b"older")
    for mistake in (KeyboardInterrupt, MemoryError):
        with pytest.raises(mistake), StripWriter(tmp_path / "a.png", "png", layout(values)) as file:
            file.write(values[:5])
            raise mistake
    with pytest.raises(AssertionError), StripWriter(tmp_path / "a.png", "png", layout(values)) as file:
        file.write(values[:5])  # rows are missing
    with pytest.raises(UserError, match="16383"), StripWriter(tmp_path / "b", "webp", Layout(16_384, 1, 3)):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"older"


KILLED = """
import sys, numpy as np
from i2i.images import Layout, StripWriter
with StripWriter(sys.argv[1], "png", Layout(9, 9, 1)) as file:
    print(flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    held = [subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / name)], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE) for name in ("a.png", "b.png")]  # fmt: skip
    for child in held:
        assert child.stdout is not None
        child.stdout.readline()
    (tmp_path / ".mine.part").touch()
    held[0].send_signal(signal.SIGKILL)
    held[0].wait()
    assert len(list(tmp_path.iterdir())) == 3
    images.sweep([tmp_path, tmp_path / "none"])
    left = [path.name for path in tmp_path.iterdir()]
    assert len(left) == 2 and ".mine.part" in left  # the other is still being written
    held[1].kill()
    for child in held:
        child.communicate()


GROWN = """
import resource, sys, numpy as np
from i2i.images import Layout, StripWriter, memory_needed
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
held, strip = Layout(4000, 4000, 3), np.zeros((50, 4000, 3), np.uint8)
for format in ("png", "tiff", "ppm", "jpeg", "bmp"):
    before = peak()
    with StripWriter(sys.argv[1], format, held) as file:
        for _ in range(80): file.write(strip)
    assert peak() - before <= memory_needed(format, held), (format, peak() - before)
"""


def test_memory_is_a_few_rows_or_what_was_promised(tmp_path: Path) -> None:
    command = [sys.executable, "-c", GROWN, str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    held = Layout(24_000, 16_000, 3)
    assert images.memory_needed("png", held) < 32 << 20 < 1 << 30 < images.memory_needed("bmp", held)
    assert images.memory_needed("jpeg", held) < 64 << 20


def test_the_position_goes_unless_it_is_kept() -> None:
    values = pixels(12, 8, 3)
    for format in ("png", "jpeg", "webp", "tiff", "avif"):
        for kept in (False, True):
            data, _ = encode(picture(values), format, keep_gps=kept)
            tags = Image.open(io.BytesIO(data)).getexif()
            assert bool(tags.get_ifd(0x8825)) == kept and tags[0x010F] == "maker"
            assert tags.get_ifd(0x8769)[0xA002] == 8
    alone = Image.Exif()
    alone.get_ifd(0x8825)[1] = "N"
    data, _ = encode(replace(picture(values), exif=alone.tobytes()), "png")
    assert b"eXIf" not in data


def test_the_resolution_is_carried() -> None:
    for format, given in (("png", "PNG"), ("jpeg", "JPEG"), ("tiff", "TIFF"), ("bmp", "BMP")):
        file = io.BytesIO()
        Image.new("RGB", (4, 6)).save(file, given, dpi=(300, 150))
        back = read(encode(read(file.getvalue()), format)[0])
        assert back.dpi == pytest.approx((300, 150), abs=0.02), format
    turned = io.BytesIO()
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.new("RGB", (4, 6)).save(turned, "PNG", dpi=(300, 150), exif=tags)
    assert read(turned.getvalue()).dpi == pytest.approx((150, 300), abs=0.02)


XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
 xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" xmp:Rating="4"
 exif:GPSLatitude="48,51.5N" tiff:Orientation="6"><exif:GPSLongitude>2,21E</exif:GPSLongitude>
<dc:format>image/jpeg</dc:format><dc:subject><rdf:Bag><rdf:li>grandma</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def test_of_xmp_what_people_wrote_is_kept() -> None:
    file = io.BytesIO()
    Image.new("RGB", (4, 6)).save(file, "JPEG", xmp=XMP)
    given = read(file.getvalue())
    for format in ("png", "jpeg", "webp", "tiff", "avif"):
        data, _ = encode(given, format)
        kept = read(data).xmp
        assert kept and b"grandma" in kept and b'xmp:Rating="4"' in kept, format
        assert not any(word in data for word in (b"GPS", b"Orientation=", b"image/jpeg")), format
    for odd in (b"no xml", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"):
        file = io.BytesIO()
        Image.new("RGB", (4, 6)).save(file, "JPEG", xmp=odd)
        assert read(file.getvalue()).xmp is None


def test_formats_are_promised_from_the_head(tmp_path: Path) -> None:
    images.write(Picture(pixels(10, 4200, 3)), tmp_path / "wide.webp")
    images.write(picture(pixels(10, 20, 4, deep=True)), tmp_path / "deep.png")
    wide, deep = images.read_head(tmp_path / "wide.webp"), images.read_head(tmp_path / "deep.png")
    assert images.promise(wide, 2, "webp") == ("webp", "")
    format, note = images.promise(wide, 4, "webp")
    assert format == "png" and "16383" in note
    with pytest.raises(UserError, match="16800x40 pixels, but webp cannot hold sides beyond 16383"):
        images.promise(wide, 4, "webp", asked=True)
    assert images.promise(wide, 4, "webp", asked=True, size=(16_000, 38)) == ("webp", "")
    with pytest.raises(UserError, match="65500"):
        images.promise(wide, 16, "jpeg", asked=True)
    assert images.promise(deep, 4, "tiff") == ("tiff", "")
    assert images.promise(deep, 4, "jpeg")[0] == "png"
    format, note = images.promise(deep, 4, "jpeg", asked=True)
    assert format == "jpeg" and "16 bits or alpha" in note
    assert images.lacks("avif", 20_000, 20_000) and not images.lacks("avif", 20_000, 2_000)


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """A child whose files may hold 1,000 bytes stands for a disk that is full."""
    code = (
        "import resource, signal, sys, numpy as np\n"
        "from i2i.images import StripWriter, Layout\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "rows = np.random.default_rng(0).integers(0, 256, (99, 99, 3), dtype=np.uint8)\n"
        "try:\n"
        "    with StripWriter(sys.argv[1], sys.argv[2], Layout(99, 99, 3)) as file: file.write(rows)\n"
        "except OSError: sys.exit(7)\n"
    )
    for format in ("png", "jpeg"):
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a"), format], check=False)
        assert done.returncode == 7 and list(tmp_path.iterdir()) == [], format
