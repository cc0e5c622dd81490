"""One file from an http address to a path: resumed, checked, atomic. Standard library only.

What has arrived lies under `.NAME.part` beside the final path, with `.NAME.part.json` that says of which version it is
the beginning. Under its final name a file is whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import ssl
import string
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from i2i import __version__
from i2i.errors import UserError

__all__ = [
    "DownloadError", "Downloaded", "Record", "announce", "cache_folder", "digest", "download", "fetch", "locked",
    "progress",
]  # fmt: skip

Say = Callable[[str], None]

CHUNK = 2**18  # bytes read at once
TIMEOUT = 10.0  # seconds without a byte
SLOW = 1024, 20.0  # fewer bytes in so many seconds are none
PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds before each further attempt
ENOUGH = 2**20  # bytes; an attempt that brought so many does not count as a failed one
EVERY = 5.0  # seconds between plain progress lines
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PASSING = (408, 425, 429, 500, 502, 503, 504)  # answers that may be others in a moment
MARKUP = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script")


class Downloaded(NamedTuple):
    """A file that arrived whole: where it is, its sha256 as hex, its size in bytes."""

    path: Path
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Record:
    """What the cache remembers of a file that it holds, or has held.

    Attributes:
        address: where the original came from; a path where it was added by hand.
        sha256, bytes: of the original; empty and 0 where it came as something made of it.
        seen: the day it first came, as YYYY-MM-DD.
        verified: whether its sha256 is one that two independent sources state.
        converted: sha256 of what was made of it and kept in its place.
    """

    address: str
    sha256: str
    bytes: int
    seen: str
    verified: bool
    converted: str = ""

    def words(self) -> str:
        """In a card's words."""
        if not self.sha256:
            return f"unverified, added {self.seen} as a generator file"
        return f"{'verified' if self.verified else 'unverified'}, first seen {self.seen} sha256 {self.sha256}"


class DownloadError(UserError):
    """An address that did not give the file. `absent`: nobody answered there, or the file is not there."""

    def __init__(self, sentence: str, *, absent: bool = False) -> None:
        super().__init__(sentence, code=1)
        self.absent = absent


class Dropped(Exception):
    """An attempt that ended early, in words; another one may go on from there."""


class Changed(Dropped):
    """What has arrived is the beginning of another version; another attempt starts from zero."""

    def __init__(self) -> None:
        super().__init__("the file has changed in the meantime")


def announce(sentence: str) -> None:
    """Say it on standard error."""
    print(sentence, file=sys.stderr)


def cache_folder() -> Path:
    """Where fetched files are kept: `$I2I_CACHE`, or `i2i` in the platform's folder for caches. It need not exist."""
    if chosen := os.environ.get("I2I_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        home = Path.home() / "Library" / "Caches"
    else:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "i2i"


def download(
    address: str, path: Path, *, sha256: str | None = None, size: int | None = None, say: Say | None = announce
) -> Downloaded:
    """Fetch `address` into the file `path`, replacing it once the new one is whole.

    A dropped connection is resumed a few times, and what has arrived by then is kept for the next call. Two processes
    that want the same path take turns, and the second takes what the first has fetched.

    Args:
        address: http or https; redirects are followed, but never away from https.
        path: the file; its folder is made.
        sha256: hex; another one is refused and nothing is kept.
        size: bytes; more or fewer are refused.
        say: what is told of the progress; None keeps silent.

    Raises:
        DownloadError: nothing or something else came from there.
        UserError: the disk is full or cannot be written.
    """
    if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
        raise UserError(f"'{address}' is no address to fetch from; it must begin with http:// or https://")
    part = _Part(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path, say) as waited:
            if waited and path.is_file() and sha256 in (None, found := digest(path)):
                return Downloaded(path, found, path.stat().st_size)
            _fill(part, address, size, say)
            found = digest(part.file)
            if sha256 not in (None, found):
                part.discard()
                raise DownloadError(f"{address} is not the file it should be: its sha256 is {found}, not {sha256}")
            count = part.finish(path)
            return Downloaded(path, found, count)
    except OSError as error:  # the disk's; the network's are Dropped or DownloadError by now
        if error.errno in FULL:
            part.discard()
            raise UserError(f"{path} cannot be written, {error.strerror}: free some space there", code=1) from None
        raise UserError(f"{path} cannot be written: {error.strerror or error}", code=1) from None


def fetch(
    address: str,
    path: Path,
    *,
    name: str,
    shelf: str,
    sha256: str | None = None,
    size: int | None = None,
    say: Say | None = announce,
) -> tuple[Downloaded, str]:
    """A file from `$I2I_MIRROR` if that has it, else from `address`; and where it came from.

    Args:
        path: the file to write; one in a mirror's folder stays there and is not copied.
        name: what it is part of, for what is said.
        shelf: its folder in a mirror, which is an address or a folder with SHELF/FILE.

    The others, and what is raised, as in `download`.
    """
    mirror, file = os.environ.get("I2I_MIRROR", "").rstrip("/"), address.rsplit("/", 1)[1]

    def tell(sentence: str) -> None:
        if say is not None:
            say(f"{name}: {sentence}")

    if mirror.startswith(("http://", "https://")):
        source = f"{mirror}/{shelf}/{file}"
        tell(f"fetching {source}")
        try:
            return download(source, path, sha256=sha256, size=size, say=say), source
        except DownloadError as error:
            if not error.absent:
                raise
            tell(str(error))
    elif mirror:
        copy = Path(mirror).expanduser() / shelf / file
        if copy.is_file():
            tell(f"taking {copy}")
            found = digest(copy)
            if sha256 not in (None, found):
                raise DownloadError(f"{copy} is not the file it should be: its sha256 is {found}, not {sha256}")
            return Downloaded(copy, found, copy.stat().st_size), str(copy)
        tell(f"there is no {copy}")
    tell(f"fetching {address}")
    return download(address, path, sha256=sha256, size=size, say=say), address


def _fill(part: _Part, address: str, size: int | None, say: Say | None) -> None:
    """Ask for what is missing until the part is whole. Raises DownloadError when that leads nowhere."""
    tried, most = 0, part.size(address)
    with progress(part.name, say) as tell:
        while True:
            try:
                _receive(part, address, size, tell, patient=tried > 0)
                return
            except Dropped as dropped:
                if isinstance(dropped, Changed) or not part.size(address):
                    part.discard()
                after = part.size(address)
                tried = 1 if after >= most + ENOUGH else tried + 1
                most = max(most, after)
                if tried > len(PAUSES):
                    kept = f"; {_megabytes(after)} are kept, and the same again goes on from there" if after else ""
                    raise DownloadError(f"{address} does not arrive: {dropped}{kept}", absent=not after) from None
                if say is not None:
                    say(f"{part.name}: {dropped}; trying again")
                time.sleep(PAUSES[tried - 1])


def _receive(part: _Part, address: str, size: int | None, tell: Tell, *, patient: bool) -> None:
    """One request, and its answer into the part. Raises Dropped or DownloadError, OSError where the disk fails."""
    version = part.version(address)
    have = part.size(address)
    if have and have == version.get("total"):
        return  # only the renaming was missing
    with _open(address, version, have, patient) as response:
        if response.status not in (200, 206):
            raise DownloadError(f"{address} answers {response.status} instead of the file")
        total = _length(response)
        if have and response.status == 206:
            if _range(response) != (have, version.get("total")) or _changed(response.headers, version):
                raise Changed
            total = version["total"]
        else:
            part.discard()  # the server starts from zero: it knows no ranges, or the file has changed
            have = 0
        if size is not None and total not in (None, size):
            raise DownloadError(f"{address} is a file of {total:,} bytes, and one of {size:,} was expected")
        part.note(address, response.headers, total)
        free = shutil.disk_usage(part.file.parent).free
        if total and total - have > free:
            needs = f"it needs {_megabytes(total - have)} and the disk has {_megabytes(free)} left"
            raise OSError(errno.ENOSPC, needs)
        _copy(response, part, address, have, total, size, tell)


def _copy(
    response: HTTPResponse, part: _Part, address: str, have: int, total: int | None, size: int | None, tell: Tell
) -> None:
    """The body of an answer, from byte `have` of the file on, onto the end of the part."""
    since, mark = time.monotonic(), have
    with part.file.open("ab") as file:
        while total is None or have < total:
            left = CHUNK if total is None else total - have
            block, surplus = _read(response, left)
            if not block:
                break
            if have == 0 and _is_page(response.headers, block):
                part.discard()
                raise DownloadError(f"{address} answers with a web page instead of the file")
            file.write(block)
            have += len(block)
            if surplus or (size is not None and have > size):
                part.discard()
                raise DownloadError(f"{address} sends more than the {total or size:,} bytes it should have")
            tell(have, total or size)
            if time.monotonic() - since > SLOW[1]:
                if have - mark < SLOW[0]:
                    raise Dropped(f"only {have - mark} bytes came in {SLOW[1]:g} s")
                since, mark = time.monotonic(), have
    if total is not None and have < total:
        raise Dropped(f"the connection ended after {have:,} of {total:,} bytes")
    if total is None and size not in (None, have):
        part.discard()
        raise DownloadError(f"{address} sent {have:,} bytes, and {size:,} were expected")


def _read(response: HTTPResponse, left: int) -> tuple[bytes, bool]:
    """Some of the next `left` bytes, and whether more than `left` came. Raises Dropped."""
    try:
        if left > 1:
            return response.read1(min(CHUNK, left - 1)), False
        # http.client ends where the header said: what follows the last byte shows only before that is taken
        surplus = not response.chunked and len(response.peek(2)) > 1
        return response.read(1), surplus
    except (OSError, HTTPException) as error:
        raise Dropped(_why(error)) from None


def _open(address: str, version: dict[str, Any], have: int, patient: bool) -> HTTPResponse:
    """The answer to a request for what follows the first `have` bytes. Raises Dropped, DownloadError."""
    headers = {"User-Agent": f"i2i/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version["validator"]}
    opener = OpenerDirector()
    for handler in (ProxyHandler, HTTPHandler, HTTPSHandler, HTTPDefaultErrorHandler, HTTPErrorProcessor, _Redirects):
        opener.add_handler(handler())
    try:
        request = Request(quote(address, safe=string.punctuation), headers=headers)
        response: HTTPResponse = opener.open(request, timeout=TIMEOUT)
        return response
    except HTTPError as error:
        error.close()
        if error.code in PASSING:
            raise Dropped(f"the server answers {error.code} {error.reason}") from None
        if error.code == 416 and have:  # there is no such range: a shorter file than before
            raise Changed from None
        if 300 <= error.code < 400:
            raise DownloadError(f"{address} redirects in a circle, or to what is no http address") from None
        absent = error.code in (404, 410)
        what = "there is no such file" if absent else f"the server answers {error.code} {error.reason}"
        raise DownloadError(f"{address} gives nothing: {what}", absent=absent) from None
    except (OSError, HTTPException, ValueError) as error:
        reset = isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError)
        if patient or reset:
            raise Dropped(_why(error)) from None
        raise DownloadError(f"{address} cannot be reached: {_why(error)}", absent=True) from None


class _Redirects(HTTPRedirectHandler):
    """Follows http and https, and never from https to http."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        if after.scheme not in ("http", "https"):
            raise DownloadError(f"{req.full_url} redirects to {after.scheme}://, which is not followed")
        if (before.scheme, after.scheme) == ("https", "http"):
            raise DownloadError(f"{req.full_url} redirects from https to http://{after.netloc}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


class _Part:
    """What has arrived of a file, and the note that says of which version."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.file = path.with_name(f".{path.name}.part")
        self.about = path.with_name(f".{path.name}.part.json")

    def version(self, address: str) -> dict[str, Any]:
        """The note: address, validator, total. Empty where it cannot be gone on with."""
        try:
            noted = dict(json.loads(self.about.read_text()))
        except (OSError, ValueError, TypeError):
            return {}
        fits = noted.get("address") == address and noted.get("validator") and type(noted.get("total")) is int
        return noted if fits and self.file.is_file() and self.file.stat().st_size <= noted["total"] else {}

    def size(self, address: str) -> int:
        """Bytes that need not be asked for again."""
        return self.file.stat().st_size if self.version(address) else 0

    def note(self, address: str, headers: Message, total: int | None) -> None:
        noted = {"address": address, "validator": _validator(headers), "total": total}
        self.about.write_text(json.dumps(noted))

    def discard(self) -> None:
        self.file.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)

    def finish(self, path: Path) -> int:
        """Flush it to the disk and give it its name; returns the bytes."""
        with self.file.open("rb+") as file:
            os.fsync(file.fileno())
            count = os.fstat(file.fileno()).st_size
        os.replace(self.file, path)
        self.about.unlink(missing_ok=True)
        return count


def _validator(headers: Message) -> str:
    """What `If-Range` can compare: a strong ETag, else the date; empty where there is neither."""
    etag = headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")


def _changed(headers: Message, version: dict[str, Any]) -> bool:
    """Whether a server that ignores If-Range sends the rest of another file."""
    now = _validator(headers)
    return bool(now) and now != version["validator"]


def _length(response: HTTPResponse) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() and not response.chunked else None


def _range(response: HTTPResponse) -> tuple[int, int] | None:
    """(first byte, bytes of the whole file) of a 206."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", "").strip())
    return (int(found[1]), int(found[2])) if found else None


def _is_page(headers: Message, start: bytes) -> bool:
    """Whether an answer is a web page, a login say. Some servers call any file text/html: a zero byte excuses it."""
    text = start[:1024].lstrip().lower()
    called = headers.get_content_type() in ("text/html", "application/xhtml+xml")
    return text.startswith(MARKUP) or (called and b"\0" not in start[:1024])


def _why(error: BaseException) -> str:
    """A failure of the network in a few words."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, socket.gaierror):
        return "its host is not found"
    if isinstance(reason, TimeoutError):
        return f"nothing came for {TIMEOUT:g} s"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({reason.verify_message})"
    if isinstance(reason, HTTPException) and not isinstance(reason, OSError):
        return f"the answer is broken ({type(reason).__name__})"
    return str(getattr(reason, "strerror", "") or reason or type(reason).__name__).lower()


def digest(path: Path) -> str:
    """sha256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- one at a time ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(path: Path, say: Say | None = announce) -> Iterator[bool]:
    """Hold `path` for one process at a time; yields whether another had to be waited for.

    The lock is the operating system's, on `.NAME.lock` beside it: it ends with the process that holds it.
    """
    lock, waited = path.with_name(f".{path.name}.lock"), False
    while True:
        handle = lock.open("a")
        if _take(handle):
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle.fileno()), lock.stat()):
                    break  # else the one before removed it while this process waited
        elif not waited:
            waited = True
            if say is not None:
                say(f"{path.name}: another process is at it; waiting")
        handle.close()
        time.sleep(0.1)
    try:
        yield waited
    finally:
        with contextlib.suppress(OSError):  # Windows keeps a file that is open
            lock.unlink()
        handle.close()


def _take(handle: IO[str]) -> bool:
    """Lock an open file, if nobody else has."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK)  # else a file system that has no locks
    return True


# --- what is seen of it -----------------------------------------------------------------------------------------------

Tell = Callable[[int, int | None], None]


@contextlib.contextmanager
def progress(name: str, say: Say | None) -> Iterator[Tell]:
    """What shows (bytes so far, bytes in all): a bar on a terminal, a line every few seconds elsewhere."""
    if say is None:
        yield lambda done, total: None
        return
    if not sys.stderr.isatty():
        started = last = time.monotonic()
        first = -1

        def plain(done: int, total: int | None) -> None:
            nonlocal last, first
            first = done if first < 0 else first
            now = time.monotonic()
            if now - last >= EVERY and done != total:
                last, rate = now, max(1.0, (done - first) / (now - started))
                left = f", {(total - done) / rate:.0f} s left" if total else ""
                so_far = f"{done / 1e6:.1f} of {_megabytes(total)}" if total else _megabytes(done)
                say(f"{name}: {so_far}, {_megabytes(rate)}/s{left}")

        yield plain
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _megabytes(count: float) -> str:
    return f"{count / 1e6:.1f} MB"
