"""A file arrives whole or not at all, whatever the server does; and the user reads one sentence."""

from __future__ import annotations

import hashlib
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sites import Handler, Site, in_turn, site

from i2i import __version__
from i2i import download as downloads
from i2i.download import Downloaded, DownloadError, cache_folder, download, locked
from i2i.errors import UserError

DATA = random.Random(1).randbytes(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(downloads, "PAUSES", (0.01, 0.01, 0.01, 0.01))
    with site() as server:
        yield server


def refused(address: str, path: Path, **more: Any) -> str:
    """The sentence with which it ends; nothing is there under the final name."""
    with pytest.raises(UserError) as caught:
        download(address, path, say=None, **more)
    said = str(caught.value)
    assert "\n" not in said
    assert not path.exists()
    assert caught.value.code == 1
    return said


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives(web: Site, tmp_path: Path) -> None:
    web.files["/a.pth"] = DATA
    path = tmp_path / "deep" / "er" / "a.pth"
    assert download(f"{web.address}/a.pth", path, say=None) == Downloaded(path, SHA256, len(DATA))
    assert path.read_bytes() == DATA
    assert left(path.parent) == ["a.pth"]
    assert [request.path for request in web.asked] == ["/a.pth"]
    assert web.asked[0].headers["user-agent"] == f"i2i/{__version__}"
    download(f"{web.address}/a.pth", path, sha256=SHA256, size=len(DATA), say=None)


def test_an_address_may_hold_spaces_and_any_letters(web: Site, tmp_path: Path) -> None:
    web.files["/zebra%20%C3%A9.pth"] = b"stripes"
    assert download(f"{web.address}/zebra é.pth", tmp_path / "zebra é.pth", say=None).bytes == 7
    assert download(f"{web.address}/zebra%20%C3%A9.pth", tmp_path / "b", say=None).bytes == 7


def test_an_empty_file_and_one_without_a_length_arrive(web: Site, tmp_path: Path) -> None:
    def chunked(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(DATA), 500_000):
            handler.wfile.write(b"%x\r\n%s\r\n" % (500_000, DATA[start : start + 500_000]))
        handler.wfile.write(b"0\r\n\r\n")

    web.files |= {"/empty": b"", "/chunked": chunked}
    assert download(f"{web.address}/empty", tmp_path / "empty", say=None).bytes == 0
    assert download(f"{web.address}/chunked", tmp_path / "chunked", sha256=SHA256, say=None).bytes == len(DATA)
    said = refused(f"{web.address}/chunked", tmp_path / "b", size=2_000_000)
    assert said.endswith("sends more than the 2,000,000 bytes it should have")
    said = refused(f"{web.address}/chunked", tmp_path / "b", size=len(DATA) + 1)
    assert said.endswith("sent 3,000,000 bytes, and 3,000,001 were expected")


@pytest.mark.parametrize("stops", [[1_000_000], [0, 1, 1_500_000, 2_999_999]])
def test_a_dropped_connection_is_resumed(stops: list[int], web: Site, tmp_path: Path) -> None:
    drops = [lambda handler, stop=stop: handler.file(DATA, stop=stop) for stop in stops]
    web.files["/a"] = in_turn(*drops, lambda handler: handler.file(DATA))
    said: list[str] = []
    assert download(f"{web.address}/a", tmp_path / "a", say=said.append).sha256 == SHA256
    assert web.ranges() == ["", *(f"bytes={stop}-" if stop else "" for stop in stops)]
    assert said == [f"a: the connection ended after {n:,} of 3,000,000 bytes; trying again" for n in stops]
    assert left(tmp_path) == ["a"]


def test_a_later_call_goes_on_from_there(web: Site, tmp_path: Path) -> None:
    web.files["/a"] = lambda handler: handler.file(DATA, stop=1_000_000)
    said = refused(f"{web.address}/a", tmp_path / "a")
    assert said.endswith("; 1.0 MB are kept, and the same again goes on from there")
    assert left(tmp_path) == [".a.part", ".a.part.json"]
    web.asked.clear()
    web.files["/a"] = DATA
    assert download(f"{web.address}/a", tmp_path / "a", say=None).sha256 == SHA256
    assert web.ranges() == ["bytes=1000000-"]
    assert left(tmp_path) == ["a"]


def test_what_was_whole_but_unnamed_is_not_asked_for_again(web: Site, tmp_path: Path) -> None:
    web.files["/a"] = lambda handler: handler.file(DATA, stop=2_999_999)
    refused(f"{web.address}/a", tmp_path / "a")
    with (tmp_path / ".a.part").open("ab") as file:
        file.write(DATA[-1:])
    web.asked.clear()
    assert download(f"{web.address}/a", tmp_path / "a", say=None).sha256 == SHA256
    assert not web.asked


def test_a_server_that_never_gets_further_is_left(web: Site, tmp_path: Path) -> None:
    """Each other attempt brings much, and the next one takes it away again."""

    def nameless(handler: Handler) -> None:
        handler.status(206, DATA[1_500_000:])

    half = [lambda handler: handler.file(DATA, stop=1_500_000), nameless] * 9
    web.files["/a"] = in_turn(*half)
    assert "does not arrive" in refused(f"{web.address}/a", tmp_path / "a")
    assert len(web.asked) < 9


@pytest.mark.parametrize("careful", [True, False], ids=["If-Range is heard", "If-Range is ignored"])
def test_a_file_that_changed_meanwhile_starts_from_zero(careful: bool, web: Site, tmp_path: Path) -> None:
    other = DATA[::-1]

    def careless(handler: Handler) -> None:
        del handler.headers["If-Range"]
        handler.file(other)

    web.files["/a"] = lambda handler: handler.file(DATA, stop=1_000_000)
    refused(f"{web.address}/a", tmp_path / "a")
    web.files["/a"] = other if careful else careless
    found = download(f"{web.address}/a", tmp_path / "a", say=None)
    assert found.sha256 == hashlib.sha256(other).hexdigest()


def test_a_shorter_file_than_before_starts_from_zero(web: Site, tmp_path: Path) -> None:
    web.files["/a"] = lambda handler: handler.file(DATA, stop=1_000_000)
    refused(f"{web.address}/a", tmp_path / "a")
    web.files["/a"] = in_turn(lambda handler: handler.status(416), lambda handler: handler.file(DATA[:500]))
    assert download(f"{web.address}/a", tmp_path / "a", say=None).bytes == 500


def test_a_server_without_ranges_starts_from_zero(web: Site, tmp_path: Path) -> None:
    web.files["/a"] = in_turn(
        lambda handler: handler.file(DATA, stop=1_000_000), lambda handler: handler.file(DATA, ranges=False)
    )
    assert download(f"{web.address}/a", tmp_path / "a", say=None).sha256 == SHA256
    assert web.ranges() == ["", "bytes=1000000-"]


def test_without_anything_to_tell_versions_apart_it_starts_from_zero(web: Site, tmp_path: Path) -> None:
    def bare(handler: Handler, stop: int | None = None) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(DATA)))
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(DATA[:stop])

    web.files["/a"] = in_turn(lambda handler: bare(handler, 1_000_000), bare)
    assert download(f"{web.address}/a", tmp_path / "a", say=None).sha256 == SHA256
    assert web.ranges() == ["", ""]
    web.files["/a"] = lambda handler: bare(handler, 1_000_000)
    refused(f"{web.address}/a", tmp_path / "b")
    assert left(tmp_path) == ["a"]  # what cannot be gone on with is not kept


@pytest.mark.parametrize("count", [-1, -1000, 1, 1_000_000])
def test_a_server_that_lies_about_the_length_is_refused(count: int, web: Site, tmp_path: Path) -> None:
    web.files["/a"] = lambda handler: handler.file(DATA, length=len(DATA) + count)
    said = refused(f"{web.address}/a", tmp_path / "a")
    if count < 0:
        assert said.endswith(f"sends more than the {len(DATA) + count:,} bytes it should have")
        assert left(tmp_path) == []
    else:
        assert f"the connection ended after 3,000,000 of {len(DATA) + count:,} bytes" in said


def test_another_size_than_expected_is_refused_unread(web: Site, tmp_path: Path) -> None:
    web.files["/a"] = DATA
    said = refused(f"{web.address}/a", tmp_path / "a", size=5)
    assert said == f"{web.address}/a is a file of 3,000,000 bytes, and one of 5 was expected"
    assert left(tmp_path) == []


def test_a_wrong_checksum_leaves_nothing(web: Site, tmp_path: Path) -> None:
    web.files["/a"] = DATA
    said = refused(f"{web.address}/a", tmp_path / "a", sha256="0" * 64)
    assert said == f"{web.address}/a is not the file it should be: its sha256 is {SHA256}, not {'0' * 64}"
    assert left(tmp_path) == []


def test_a_failure_leaves_the_file_that_was_there(web: Site, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    web.files["/a"] = DATA
    with pytest.raises(DownloadError):
        download(f"{web.address}/a", tmp_path / "a", sha256="0" * 64, say=None)
    assert (tmp_path / "a").read_text() == "old"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html; charset=utf-8", b"<html><body>Sign in"),
        ("text/html", b"<!-- a notice -->"),
        ("application/octet-stream", b"\n <!DOCTYPE HTML><title>404"),
    ],
)
def test_a_web_page_is_no_file(kind: str, body: bytes, web: Site, tmp_path: Path) -> None:
    web.files["/a.pth"] = lambda handler: handler.status(200, body, Content_Type=kind)
    said = refused(f"{web.address}/a.pth", tmp_path / "a.pth")
    assert said == f"{web.address}/a.pth answers with a web page instead of the file"
    assert left(tmp_path) == []


def test_a_binary_file_that_is_called_a_page_arrives(web: Site, tmp_path: Path) -> None:
    web.files["/a"] = lambda handler: handler.status(200, b"PK\3\4" + bytes(50), Content_Type="text/html")
    assert download(f"{web.address}/a", tmp_path / "a", say=None).bytes == 54


@pytest.mark.parametrize(
    ("code", "said", "requests"),
    [
        (404, "gives nothing: there is no such file", 1),
        (403, "gives nothing: the server answers 403 Forbidden", 1),
        (204, "answers 204 instead of the file", 1),
        (503, "does not arrive: the server answers 503 Service Unavailable", 5),
    ],
)
def test_an_answer_that_is_no_file_is_named(code: int, said: str, requests: int, web: Site, tmp_path: Path) -> None:
    web.files["/a"] = lambda handler: handler.status(code)
    assert refused(f"{web.address}/a", tmp_path / "a") == f"{web.address}/a {said}"
    assert len(web.asked) == requests
    assert left(tmp_path) == []


def test_a_server_in_trouble_is_asked_again(web: Site, tmp_path: Path) -> None:
    web.files["/a"] = in_turn(
        lambda handler: handler.status(500), lambda handler: handler.status(429), lambda handler: handler.file(DATA)
    )
    assert download(f"{web.address}/a", tmp_path / "a", say=None).sha256 == SHA256


def test_redirects_are_followed_to_http_alone(web: Site, tmp_path: Path) -> None:
    def to(address: str) -> Any:
        return lambda handler: handler.status(302, Location=address)

    web.files |= {
        "/a": DATA,
        "/there": to("/a"),
        "/file": to("file:///etc/hostname"),
        "/ftp": to("ftp://127.0.0.1/a"),
        "/circle": to("/circle"),
    }
    assert download(f"{web.address}/there", tmp_path / "a", say=None).sha256 == SHA256
    for path in ("/file", "/ftp", "/circle"):
        said = refused(f"{web.address}{path}", tmp_path / "b")
        assert "redirects" in said
        assert said.startswith(web.address + path)


def test_a_redirect_keeps_the_range(web: Site, tmp_path: Path) -> None:
    web.files["/a"] = in_turn(lambda handler: handler.file(DATA, stop=9), lambda handler: handler.file(DATA))
    web.files["/there"] = lambda handler: handler.status(302, Location="/a")
    assert download(f"{web.address}/there", tmp_path / "a", say=None).sha256 == SHA256
    assert web.ranges() == ["", "", "bytes=9-", "bytes=9-"]


def test_https_is_never_left_for_http() -> None:
    from email.message import Message
    from io import BytesIO
    from urllib.request import Request

    handler = downloads._Redirects()
    with pytest.raises(DownloadError, match="redirects from https to http://b.example, which is not followed"):
        handler.redirect_request(
            Request("https://a.example/a"), BytesIO(), 302, "", Message(), "http://b.example/a?token=1"
        )


@pytest.mark.parametrize("address", ["file:///etc/hostname", "ftp://a/b", "a.pth", "http://", "http:///a"])
def test_what_is_no_http_address_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no address to fetch from; it must begin with http"):
        download(address, tmp_path / "a", say=None)


def test_a_server_that_is_not_there_is_one_sentence_at_once(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/a"
        start = time.monotonic()
        assert refused(address, tmp_path / "a") == f"{address} cannot be reached: connection refused"
    assert time.monotonic() - start < 5
    assert left(tmp_path) == []


def test_a_server_that_falls_silent_is_left(web: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT", 0.3)
    awake = threading.Event()

    def silent(handler: Handler) -> None:
        handler.file(DATA, stop=1000)
        awake.wait(20)

    web.files["/a"] = silent
    said = refused(f"{web.address}/a", tmp_path / "a")
    awake.set()
    assert "does not arrive: nothing came for 0.3 s" in said


def test_a_server_that_drips_is_left(web: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "SLOW", (1024, 0.1))

    def dripping(handler: Handler) -> None:
        handler.file(DATA, stop=0)
        for _ in range(500):
            handler.wfile.write(b"x")
            time.sleep(0.02)

    web.files["/a"] = dripping
    assert re.search(r"does not arrive: only \d bytes came in 0.1 s", refused(f"{web.address}/a", tmp_path / "a"))


def test_a_slow_server_is_told_of_in_lines(web: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "EVERY", 0.05)

    def slow(handler: Handler) -> None:
        handler.file(DATA, stop=0)
        for start in range(0, len(DATA), 500_000):
            handler.wfile.write(DATA[start : start + 500_000])
            time.sleep(0.1)

    web.files["/a"] = slow
    said: list[str] = []
    assert download(f"{web.address}/a", tmp_path / "a", say=said.append).sha256 == SHA256
    assert said
    for line in said:
        assert re.fullmatch(r"a: \d\.\d of 3\.0 MB, \d+\.\d MB/s, \d+ s left", line)


LIMITED = """
import resource, sys
from pathlib import Path
from i2i.download import download
from i2i.errors import UserError
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    download(sys.argv[1], Path(sys.argv[2]), say=None)
except UserError as error:
    print(error)
"""


def test_a_disk_that_fills_up_is_one_sentence(web: Site, tmp_path: Path) -> None:
    web.files["/a"] = DATA
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, f"{web.address}/a", str(tmp_path / "a")], capture_output=True, text=True
    )
    assert run.stdout == f"{tmp_path / 'a'} cannot be written, File too large: free some space there\n"
    assert run.stderr == ""
    assert left(tmp_path) == []


def test_what_cannot_fit_is_not_begun(web: Site, tmp_path: Path) -> None:
    web.files["/a"] = lambda handler: handler.file(DATA, length=10**15)
    said = refused(f"{web.address}/a", tmp_path / "a")
    assert re.search(r"it needs 1000000000\.0 MB and the disk has \d+\.\d MB left: free some space there", said)
    assert left(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(web: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a cannot be written: (File exists|Not a directory)"):
        download(f"{web.address}/a", tmp_path / "file" / "a", say=None)


FETCH = """
import sys
from pathlib import Path
from i2i.download import download
print(download(sys.argv[1], Path(sys.argv[2])).sha256)
"""


def test_two_processes_take_turns_and_one_fetches(web: Site, tmp_path: Path) -> None:
    def slow(handler: Handler) -> None:
        handler.file(DATA, stop=0)
        for start in range(0, len(DATA), 300_000):
            handler.wfile.write(DATA[start : start + 300_000])
            time.sleep(0.1)

    web.files["/a"] = slow
    command = [sys.executable, "-c", FETCH, f"{web.address}/a", str(tmp_path / "a")]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [run.communicate(timeout=60) for run in runs]
    assert [out for out, _ in said] == [f"{SHA256}\n"] * 3
    assert len(web.asked) == 1
    assert sorted(err for _, err in said) == ["", *["a: another process is at it; waiting\n"] * 2]
    assert left(tmp_path) == ["a"]


def test_a_lock_ends_with_its_process_and_goes(tmp_path: Path) -> None:
    holder = (
        "import os, sys; from pathlib import Path; from i2i.download import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path / "a")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "held\n"
    said: list[str] = []
    threading.Timer(0.3, run.kill).start()
    with locked(tmp_path / "a", said.append) as waited:
        assert waited
    run.communicate()
    assert said == ["a: another process is at it; waiting"]
    assert left(tmp_path) == []
    with locked(tmp_path / "a") as waited:
        assert not waited


def test_threads_take_turns(tmp_path: Path) -> None:
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(5):
            with locked(tmp_path / "a", None):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.002)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_the_cache_is_where_the_platform_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("I2I_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "i2i"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "i2i"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "i2i"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "AppData"))
    assert cache_folder() == tmp_path / "AppData" / "i2i"


def test_importing_it_loads_no_torch() -> None:
    run = subprocess.run(
        [sys.executable, "-c", "import sys, i2i.download, i2i.zoo.published; print(*sys.modules)"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert not {"torch", "numpy", "rich", "huggingface_hub"} & set(run.stdout.split())
