"""An archive is unpacked whole into its folder, or refused in a sentence; nothing leaves the folder, no link comes."""

from __future__ import annotations

import io
import os
import random
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from i2i.data.unpacking import Limits, unpack
from i2i.errors import UserError

Member = tuple[str | tarfile.TarInfo, bytes | None]


def tarred(path: Path, members: Sequence[Member]) -> Path:
    mode = {".tar": "w", ".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}[path.suffix]
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data or b"")
            file.addfile(info, io.BytesIO(data or b""))
    return path


def zipped(path: Path, members: Sequence[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def link(name: str, aim: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, aim
    return info


def zip_link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


def tree(folder: Path) -> dict[str, bytes]:
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(archive: Path, folder: Path, **limits: float) -> str:
    with pytest.raises(UserError) as caught:
        unpack(archive, folder, Limits(**limits) if limits else None)  # type: ignore[arg-type]
    said = str(caught.value)
    assert said.startswith(f"{archive.name} cannot be unpacked: ")
    assert "\n" not in said
    assert caught.value.code == 1
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    return said.removeprefix(f"{archive.name} cannot be unpacked: ")


@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.tar.bz2", "a.tar.xz"])
def test_tars_come_whole(name: str, tmp_path: Path) -> None:
    path = tarred(tmp_path / name, [("set/trainA/1.jpg", b"one"), ("set/trainB/2.jpg", b"two"), ("./set/x", b"")])
    assert unpack(path, tmp_path / "out") == 3
    assert tree(tmp_path / "out") == {"set/trainA/1.jpg": b"one", "set/trainB/2.jpg": b"two", "set/x": b""}


def test_zips_come_whole_without_what_a_mac_adds(tmp_path: Path) -> None:
    names = ["set/1.jpg", "__MACOSX/set/._1.jpg", "set/.DS_Store", "set/._1.jpg"]
    path = zipped(tmp_path / "a.zip", [(name, b"x") for name in names])
    assert unpack(path, tmp_path / "out") == 1
    assert tree(tmp_path / "out") == {"set/1.jpg": b"x"}


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "a\\..\\..\\x", "C:/x", "a/" * 40 + "x"])
@pytest.mark.parametrize("kind", ["a.zip", "a.tgz"])
def test_a_path_out_is_refused(name: str, kind: str, tmp_path: Path) -> None:
    make = zipped if kind == "a.zip" else tarred
    path = make(tmp_path / kind, [("fine", b"x"), (name, b"x")])  # type: ignore[operator]
    said = refused(path, tmp_path / "deep" / "out")
    assert "leads out of its folder" in said or "is no name for a file" in said
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [kind, "deep"]
    assert [entry.name for entry in (tmp_path / "deep").iterdir()] == ["out"]


@pytest.mark.parametrize("aim", ["/etc/passwd", "../../x", "../outside"])
def test_a_link_out_is_refused(aim: str, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret")
    assert "leads out of its folder" in refused(tarred(tmp_path / "a.tgz", [(link("l", aim), None)]), tmp_path / "out")
    assert "leads out" in refused(zipped(tmp_path / "a.zip", [(zip_link("l"), aim.encode())]), tmp_path / "out2")


def test_a_file_written_through_a_link_stays_inside(tmp_path: Path) -> None:
    """First a link to a folder outside, then a file below it."""
    path = tarred(tmp_path / "a.tgz", [(link("d", "../elsewhere"), None), ("d/x", b"1")])
    (tmp_path / "elsewhere").mkdir()
    refused(path, tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_links_inside_become_copies(tmp_path: Path) -> None:
    hard = link("train/2.jpg", "pool/1.jpg", tarfile.LNKTYPE)
    members: list[Member] = [(link("val/1.jpg", "../train/1.jpg"), None), (link("train/1.jpg", "../pool/1.jpg"), None)]
    path = tarred(tmp_path / "a.tgz", [*members, ("pool/1.jpg", b"one"), (hard, None)])
    unpack(path, tmp_path / "out")
    names = ["pool/1.jpg", "train/1.jpg", "train/2.jpg", "val/1.jpg"]
    assert tree(tmp_path / "out") == dict.fromkeys(names, b"one")
    path = zipped(tmp_path / "a.zip", [("pool/1.jpg", b"one"), (zip_link("l.jpg"), b"pool/1.jpg")])
    unpack(path, tmp_path / "zipped")
    assert tree(tmp_path / "zipped") == {"pool/1.jpg": b"one", "l.jpg": b"one"}


def test_links_in_a_circle_and_to_folders_are_refused(tmp_path: Path) -> None:
    circle = tarred(tmp_path / "a.tgz", [(link("a", "b"), None), (link("b", "a"), None)])
    assert refused(circle, tmp_path / "out").startswith("'a' in it is a link to 'b', which is no file of it")
    folder = tarred(tmp_path / "b.tgz", [("d/x", b"1"), (link("l", "d"), None)])
    assert "is no file of it" in refused(folder, tmp_path / "out2")


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_what_is_no_file_is_refused(kind: bytes, tmp_path: Path) -> None:
    assert "'odd' in it is no file" in refused(
        tarred(tmp_path / "a.tar", [(link("odd", "", kind), None)]), tmp_path / "o"
    )


def test_names_that_meet_are_refused(tmp_path: Path) -> None:
    assert "twice" in refused(tarred(tmp_path / "a.tar", [("x.jpg", b"1"), ("X.JPG", b"2")]), tmp_path / "out")
    assert "a file and a folder" in refused(tarred(tmp_path / "b.tar", [("x", b"1"), ("x/y", b"2")]), tmp_path / "out2")


@pytest.mark.parametrize("kind", ["a.zip", "a.tgz"])
def test_a_bomb_is_stopped(kind: str, tmp_path: Path) -> None:
    make = zipped if kind == "a.zip" else tarred
    path = make(tmp_path / kind, [("big", bytes(20 << 20))])  # type: ignore[operator]
    said = refused(path, tmp_path / "out", least=1 << 20)
    size = path.stat().st_size
    assert said.startswith(f"its {size:,} bytes become more than the {max(100 * size, 1 << 20):,} that are allowed")
    assert sum(len(data) for data in tree(tmp_path / "out").values()) <= max(100 * size, 1 << 20)


def test_copies_of_links_are_counted(tmp_path: Path) -> None:
    many: list[Member] = [(link(f"l{n}", "x"), None) for n in range(50)]
    path = tarred(tmp_path / "a.tgz", [("x", random.Random(0).randbytes(1 << 20)), *many])
    assert "become more than" in refused(path, tmp_path / "out", ratio=10, least=1)


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar", [(f"{n}", b"") for n in range(20)])
    assert refused(path, tmp_path / "out", files=10).startswith("it holds more than 10 files")


def test_a_long_header_is_refused_unread(tmp_path: Path) -> None:
    """A name of 40 MB would be read into memory."""
    path = tmp_path / "a.tgz"
    with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT) as file:
        info = tarfile.TarInfo("x" * (3 << 20))
        file.addfile(info)
    assert "a header in it is" in refused(path, tmp_path / "out")


@pytest.mark.parametrize("name", ["a.zip", "a.tgz", "a.tar", "a.tar.xz"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9])
def test_a_part_of_an_archive_is_refused(name: str, share: float, tmp_path: Path) -> None:
    random_bytes = random.Random(1)
    members = [(f"set/{n}", random_bytes.randbytes(5000)) for n in range(20)]
    path = (zipped if name == "a.zip" else tarred)(tmp_path / name, members)  # type: ignore[operator]
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert refused(path, tmp_path / "out").endswith("; fetch it again")


def test_a_tar_that_ends_between_two_files_is_refused(tmp_path: Path) -> None:
    """tarfile takes the end of the file, and a header of garbage, for the end of the archive."""
    path = tarred(tmp_path / "a.tar", [(f"{n}", os.urandom(512)) for n in range(8)])
    data = path.read_bytes()
    path.write_bytes(data[: 4 * 1024])
    assert "its end is missing" in refused(path, tmp_path / "out")
    path.write_bytes(data[: 4 * 1024] + b"?" * 512 + data[4 * 1024 + 512 :])
    assert "its end is missing" in refused(path, tmp_path / "out2")


def test_changed_bytes_and_a_password_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [("x", os.urandom(4000))])
    data = bytearray(path.read_bytes())
    data[1000] ^= 255
    path.write_bytes(data)
    assert "damaged" in refused(path, tmp_path / "out")
    data[1000] ^= 255
    for start in (data.index(b"PK\3\4") + 6, data.index(b"PK\1\2") + 8):
        data[start] |= 1
    path.write_bytes(data)
    assert "password" in refused(path, tmp_path / "out2")


def test_rights_stay_behind(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.mode, info.uid = 0o6777, 0
    unpack(tarred(tmp_path / "a.tar", [(info, b"1")]), tmp_path / "out")
    assert not (tmp_path / "out" / "x").stat().st_mode & 0o6111
