"""hf://user/repository, against a server on the loopback that answers as the hub does: a generator file comes, once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sites import Handler, Site, site

from i2i import zoo

WEIGHTS = zoo.WEIGHTS / "pix2pix" / "map2aerial.safetensors"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TAG = '"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c"'


def weights(handler: Handler) -> None:
    """A file of a repository, as the hub sends it."""
    data = WEIGHTS.read_bytes()
    handler.send_response(200)
    for key, value in {"X-Repo-Commit": COMMIT, "ETag": TAG, "Content-Length": str(len(data))}.items():
        handler.send_header(key, value)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.body(data)


def missing(kind: str) -> object:
    return lambda handler: handler.status(404, X_Error_Code=kind, X_Error_Message="no", X_Repo_Commit=COMMIT)


@pytest.fixture
def hub() -> Iterator[Site]:
    with site() as server:
        server.files["/somebody/maps/resolve/main/generator.safetensors"] = weights
        server.files["/somebody/maps/resolve/main/a/b.safetensors"] = weights
        server.files["/somebody/maps/resolve/main/other.safetensors"] = missing("EntryNotFound")  # type: ignore[assignment]
        server.files["/nobody/none/resolve/main/generator.safetensors"] = missing("RepoNotFound")  # type: ignore[assignment]
        yield server


FIND = """
import sys
from i2i import zoo
from i2i.errors import UserError
try:
    print(zoo.find(sys.argv[1]))
except UserError as error:
    print(error, file=sys.stderr)
    sys.exit(error.code)
"""


def find(model: str, home: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    """`zoo.find(model)` in a process of its own: the hub's library reads its settings when it is imported."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "no_proxy": "127.0.0.1"}
    command = [sys.executable, "-c", FIND, model]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


@pytest.mark.parametrize("address", ["hf://somebody/maps", "hf://somebody/maps/a/b.safetensors"])
def test_a_generator_of_the_hub_comes_once_and_is_kept(address: str, hub: Site, tmp_path: Path) -> None:
    first = find(address, tmp_path, hub.address)
    assert first.returncode == 0, first.stderr
    assert "Warning" not in first.stderr
    paths = {request.path for request in hub.asked}
    assert all(path.startswith("/somebody/maps/resolve/main/") for path in paths), paths  # no reports, no xet
    fetched = [request for request in hub.asked if request.method == "GET"]
    assert len(fetched) == 1
    network: Any = zoo.load_generator(Path(first.stdout.strip()))
    assert network.card.b == "aerial photograph"

    second = find(address, tmp_path, hub.address)
    assert (second.stdout, second.stderr) == (first.stdout, "")
    assert [request for request in hub.asked if request.method == "GET"] == fetched

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        third = find(address, tmp_path, f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert third.stdout == first.stdout
    assert third.stderr.startswith("hf://somebody/maps gives nothing (")
    assert third.stderr.endswith("fetched earlier\n")
    assert third.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("hf://somebody/maps/other.safetensors", "(the repository holds no such file)"),
        ("hf://nobody/none", "(there is no such repository, or it is private: then `hf auth login`)"),
        ("hf://some body/none", "("),
    ],
)
def test_what_is_not_there_is_one_sentence(address: str, reason: str, hub: Site, tmp_path: Path) -> None:
    run = find(address, tmp_path, hub.address)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("cannot get ")
    assert reason in run.stderr
    assert run.stderr.endswith("; fetch it by hand and name the file instead\n")
    assert run.stderr.count("\n") == 1


def test_without_the_hub_it_ends_soon(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        start = time.monotonic()
        run = find("hf://somebody/maps", tmp_path, f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert time.monotonic() - start < 10  # by itself the library tries for half a minute
    assert run.returncode == 1
    assert run.stderr.startswith("cannot get generator.safetensors of hf://somebody/maps (")
    assert run.stderr.count("\n") == 1
