"""A web server on the loopback that serves what a test gives it, and misbehaves as asked."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Answer = Callable[["Handler"], None]


class Request(NamedTuple):
    """What was asked: GET or HEAD, the path, the headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]


class Site:
    """`files`: path -> the bytes there, or what answers instead; `asked`: the requests so far."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.files: dict[str, bytes | Answer] = {}
        self.asked: list[Request] = []

    def ranges(self) -> list[str]:
        """The Range of each request, empty where it had none."""
        return [request.headers.get("range", "") for request in self.asked]


class Handler(BaseHTTPRequestHandler):
    server: Any
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        site: Site = self.server.site
        site.asked.append(Request(self.command, self.path, {key.lower(): value for key, value in self.headers.items()}))
        found = site.files.get(self.path.partition("?")[0])
        if found is None:
            self.status(404)
        elif callable(found):
            found(self)
        else:
            self.file(found)

    do_HEAD = do_GET

    def status(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.body(body)

    def body(self, data: bytes) -> None:
        if self.command != "HEAD":
            self.wfile.write(data)

    def file(self, data: bytes, *, ranges: bool = True, length: int | None = None, stop: int | None = None) -> None:
        """A file as good servers send it; or announced as `length` bytes, or without those from byte `stop` on."""
        tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        start, total = 0, len(data) if length is None else length
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and ranges and self.headers.get("If-Range", tag) == tag:
            start = int(asked[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(total - start))
        self.send_header("ETag", tag)
        self.send_header("Connection", "close")
        self.end_headers()
        self.body(data[start:stop])

    def handle(self) -> None:
        with suppress(ConnectionError):  # who asked has gone; that is some tests' point
            super().handle()

    def log_message(self, *arguments: object) -> None:
        pass


def in_turn(*answers: Answer) -> Answer:
    """The first request gets the first answer and so on; the last one stays."""
    left = list(answers)

    def answer(handler: Handler) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler)

    return answer


@contextmanager
def site() -> Iterator[Site]:
    """A server on a free port of the loopback."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.site = Site(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
