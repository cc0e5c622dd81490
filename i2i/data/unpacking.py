"""Archives into folders, without trusting what is in them: zip, and tar with any compression. Standard library only.

Nothing is written outside the folder and no link is ever made: a link to a file of the archive becomes a copy of it,
any other is refused. Rights, owners and dates are left behind. What is written is counted as it comes, whatever an
archive says of itself.
"""

from __future__ import annotations

import gzip
import lzma
import os
import posixpath
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from i2i.errors import UserError

__all__ = ["ARCHIVES", "Limits", "is_archive", "unpack"]

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
CHUNK = 1 << 20  # bytes copied at once
HEADER = 1 << 20  # bytes of a long name or of remarks in a tar; they are read into memory
DEEPEST = 32  # folders in one another
BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError,
)  # fmt: skip
FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE)
MACS = ("__MACOSX", ".DS_Store")  # what another system adds to archives


@dataclass(frozen=True)
class Limits:
    """What an archive may become.

    Attributes:
        files: files and folders.
        ratio: bytes for each of its own. Pictures hardly shrink, texts to a tenth.
        least: bytes that any archive may become.
    """

    files: int = 5_000_000
    ratio: float = 100.0
    least: int = 64 << 20


class Entry(NamedTuple):
    """One thing in an archive: a name; what opens it, None for a folder; where it points, "" where it is no link."""

    name: str
    open: Callable[[], IO[bytes] | None] | None
    link: str
    bytes: int


def is_archive(path: Path) -> bool:
    """Whether its name says that it is one."""
    return path.name.lower().endswith(ARCHIVES)


def unpack(archive: Path, folder: Path, limits: Limits | None = None) -> int:
    """Unpack `archive` into `folder`, which is made and should be new: where this fails, what is there is a part.

    Returns the number of files.

    Raises:
        UserError: it is damaged or cut off, leads out of the folder, holds what is no file, or becomes too large.
    """
    limits = limits or Limits()
    most = max(limits.least, int(limits.ratio * archive.stat().st_size))
    places: dict[str, bool] = {}  # in small letters, where some disks see no others -> whether a file is there
    links: list[tuple[Path, Path, Entry]] = []
    written = 0
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for number, entry in enumerate(_entries(archive)):
            if number >= limits.files:
                raise refused(archive, f"it holds more than {limits.files:,} files")
            parts = _inside(entry.name, archive)
            if not parts or parts[0] in MACS or parts[-1] in MACS or parts[-1].startswith("._"):
                continue
            target = folder.joinpath(*parts)
            _take(places, parts, entry, archive)
            if entry.open is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if entry.link:
                aim = _inside(posixpath.join(posixpath.dirname(entry.name), entry.link), archive, entry)
                links.append((target, folder.joinpath(*aim), entry))
                continue
            if written + entry.bytes > most:
                raise _too_large(archive, most)
            written += _write(entry, target, archive, most - written, most)
        written += _copy_links(links, archive, most - written, most)
    except BROKEN as error:
        raise refused(archive, f"it is damaged or cut off ({_reason(error)})", "fetch it again") from None
    except RuntimeError as error:  # zipfile's word for a password
        raise refused(archive, str(error).split(" (")[0].rstrip(",")) from None
    return sum(places.values())


def refused(archive: Path, why: str, mend: str = "nothing of it was kept") -> UserError:
    return UserError(f"{archive.name} cannot be unpacked: {why}; {mend}", code=1)


def _too_large(archive: Path, most: int) -> UserError:
    return refused(archive, f"its {archive.stat().st_size:,} bytes become more than the {most:,} that are allowed")


def _reason(error: BaseException) -> str:
    said = str(error).split("\n")[0].strip().rstrip(".")
    return said[:1].lower() + said[1:] if said else type(error).__name__


def _entries(archive: Path) -> Iterator[Entry]:
    if zipfile.is_zipfile(archive):
        return _of_zip(archive)
    if archive.name.lower().endswith(".zip"):
        raise refused(archive, "it is no whole zip file", "fetch it again")
    return _of_tar(archive)


def _of_zip(archive: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            mode = info.external_attr >> 16
            if info.is_dir():
                yield Entry(info.filename, None, "", 0)
            elif stat.S_ISLNK(mode):
                yield Entry(info.filename, lambda: None, _short(file, info, archive), 0)
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise refused(archive, f"'{info.filename}' in it is no file")
            else:
                yield Entry(info.filename, lambda info=info: file.open(info), "", info.file_size)  # type: ignore[misc]


def _short(file: zipfile.ZipFile, info: zipfile.ZipInfo, archive: Path) -> str:
    """Where a link in a zip points: it is stored as the contents."""
    with file.open(info) as content:
        aim = content.read(4096)
    return os.fsdecode(aim) or "."


def _of_tar(archive: Path) -> Iterator[Entry]:
    ended = False

    class Header(tarfile.TarInfo):
        """tarfile takes a header that it does not understand for the end: the true one is a block of zeros."""

        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Header:
            nonlocal ended
            ended = len(buf) == tarfile.BLOCKSIZE and not any(buf)
            found = super().frombuf(buf, encoding, errors)
            if found.type not in FILES and found.size > HEADER:
                raise refused(archive, f"a header in it is {found.size:,} bytes long")
            return found

    with tarfile.open(archive, tarinfo=Header) as file:
        for member in file:
            if member.isdir():
                yield Entry(member.name, None, "", 0)
            elif member.issym() or member.islnk():
                # a hard link names its file from the top of the archive, a symbolic one from where it lies itself
                aim = member.linkname
                if member.islnk():
                    aim = posixpath.relpath(aim, posixpath.dirname(member.name) or ".")
                yield Entry(member.name, lambda: None, aim or ".", 0)
            elif not member.isreg():
                raise refused(archive, f"'{member.name}' in it is no file")
            else:
                yield Entry(member.name, lambda member=member: file.extractfile(member), "", member.size)  # type: ignore[misc]
            file.members = []  # type: ignore[attr-defined]  # tarfile keeps them all otherwise
        if not ended:
            raise refused(archive, "it is cut off or damaged: its end is missing", "fetch it again")


def _inside(name: str, archive: Path, link: Entry | None = None) -> tuple[str, ...]:
    """The parts of a name that stays inside the folder. Raises UserError for any other."""
    who = f"'{name}' in it" if link is None else f"'{link.name}' in it is a link to '{link.link}', which"
    text = name if link is None else posixpath.normpath(name)
    parts = tuple(part for part in text.split("/") if part not in ("", "."))
    rooted = (link.link if link else name).startswith("/")
    if rooted or ".." in parts or "\\" in name or re.match(r"[A-Za-z]:", name):
        raise refused(archive, f"{who} leads out of its folder")
    if "\0" in name or any(len(os.fsencode(part)) > 255 for part in parts) or len(parts) > DEEPEST:
        raise refused(archive, f"'{name[:40]}...' in it is no name for a file")
    return parts


def _take(places: dict[str, bool], parts: tuple[str, ...], entry: Entry, archive: Path) -> None:
    """Note what an entry takes, and the folders above it. Raises UserError where something else is there."""
    for depth in range(1, len(parts)):
        if places.setdefault("/".join(parts[:depth]).casefold(), False):
            raise refused(archive, f"'{'/'.join(parts[:depth])}' in it is a file and a folder")
    place = "/".join(parts).casefold()
    if entry.open is None:
        if places.setdefault(place, False):
            raise refused(archive, f"'{'/'.join(parts)}' in it is a file and a folder")
    elif place in places:
        raise refused(archive, f"it holds '{'/'.join(parts)}' twice")
    else:
        places[place] = True


def _write(entry: Entry, target: Path, archive: Path, left: int, most: int) -> int:
    """Copy an entry's bytes into a new file. Raises UserError where they are more than `left`, or fewer than said."""
    source = entry.open() if entry.open else None
    assert source is not None
    count = 0
    with source, target.open("xb") as file:
        while block := source.read(CHUNK):
            count += len(block)
            if count > left:
                raise _too_large(archive, most)
            file.write(block)
    if count != entry.bytes:
        raise refused(archive, f"'{entry.name}' in it has {count:,} bytes instead of {entry.bytes:,}", "fetch it again")
    return count


def _copy_links(links: list[tuple[Path, Path, Entry]], archive: Path, left: int, most: int) -> int:
    """Put copies of the files in the place of links to them; links to links wait for theirs."""
    written = 0
    while links:
        ready = [link for link in links if link[1].is_file()]
        if not ready:
            entry = links[0][2]
            raise refused(archive, f"'{entry.name}' in it is a link to '{entry.link}', which is no file of it")
        for target, aim, _ in ready:
            written += aim.stat().st_size
            if written > left:
                raise _too_large(archive, most)
            shutil.copyfile(aim, target)
        links = [link for link in links if link not in ready]
    return written
