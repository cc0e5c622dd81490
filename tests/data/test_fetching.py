"""A data set comes whole under its name or not at all, whatever the server sends; and the user reads one sentence."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sites import Site, in_turn, site

from i2i import download as downloads
from i2i.data import fetching
from i2i.data.cards import known
from i2i.errors import UserError

SOME = random.Random(3)


def tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as file:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return out.getvalue()


FACADES = tar({f"facades/{split}/{n}.jpg": SOME.randbytes(9000) for split in ("train", "val", "test") for n in (1, 2)})
HORSES = zipped(
    {f"horse2zebra/{side}/{n}.jpg": SOME.randbytes(900) for side in ("trainA", "trainB", "testA") for n in (1, 2)}
)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    """A mirror on the loopback; cache and data sets below tmp_path."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(downloads, "PAUSES", (0.01, 0.01, 0.01, 0.01))
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("I2I_DATA", str(tmp_path / "data"))
    with site() as server:
        monkeypatch.setenv("I2I_MIRROR", server.address)
        yield server


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def refused(name: str, tmp_path: Path, **more: Any) -> str:
    """The sentence with which it ends; no part of the set is anywhere."""
    with pytest.raises(UserError) as caught:
        fetching.get(name, say=None, **more)
    assert "\n" not in str(caught.value)
    data = tmp_path / "data"
    assert not data.exists() or not list(data.iterdir())
    return str(caught.value)


def test_pairs_come_in_their_folders(web: Site, tmp_path: Path) -> None:
    web.files["/facades/facades.tar.gz"] = FACADES
    said: list[str] = []
    home = fetching.get("facades", say=said.append)
    assert home == tmp_path / "data" / "facades"
    names = [f"{split}/{n}.jpg" for split in ("test", "train", "val") for n in (1, 2)]
    assert files(home) == ["about.txt", *names]
    about = (home / "about.txt").read_text()
    for words in ("CMP Facade Database", "Isola", hashlib.sha256(FACADES).hexdigest(), "unverified, first seen"):
        assert words in about
    assert any("30,168,306 when its card was written" in line for line in said)
    assert sorted(path.name for path in (tmp_path / "cache" / "data").iterdir()) == ["facades.json"]  # the archive went
    assert fetching.get("facades", say=None) == home  # and once more asks nobody
    assert len(web.asked) == 1


def test_unpaired_sets_come_in_junyanz_layout(web: Site, tmp_path: Path) -> None:
    web.files["/horse2zebra/horse2zebra.zip"] = HORSES
    home = fetching.get("horse2zebra", say=None)
    assert sorted(entry.name for entry in home.iterdir()) == ["about.txt", "testA", "trainA", "trainB"]


def test_a_dropped_connection_is_resumed(web: Site, tmp_path: Path) -> None:
    cut = in_turn(
        lambda handler: handler.file(FACADES, stop=20_000),
        lambda handler: handler.file(FACADES, stop=40_000),
        lambda handler: handler.file(FACADES),
    )
    web.files["/facades/facades.tar.gz"] = cut
    fetching.get("facades", say=None)
    assert web.ranges() == ["", "bytes=20000-", "bytes=40000-"]


def test_what_had_arrived_is_gone_on_with_by_the_next_call(web: Site, tmp_path: Path) -> None:
    web.files["/facades/facades.tar.gz"] = lambda handler: handler.file(FACADES, stop=30_000)
    assert "and the same again goes on from there" in refused("facades", tmp_path)
    web.files["/facades/facades.tar.gz"] = FACADES
    web.asked.clear()
    fetching.get("facades", say=None)
    assert web.ranges() == ["bytes=30000-"]


@pytest.mark.parametrize("count", [-1000, 1000])
def test_a_server_that_lies_about_the_length(count: int, web: Site, tmp_path: Path) -> None:
    web.files["/facades/facades.tar.gz"] = lambda handler: handler.file(FACADES, length=len(FACADES) + count)
    assert refused("facades", tmp_path).startswith("facades cannot be fetched: ")


def test_a_wrong_file_is_refused_and_not_kept(web: Site, tmp_path: Path) -> None:
    """MNIST's checksums are known: a file of the right length with other bytes is none of it."""
    for file in known("mnist").files:
        web.files[f"/mnist/{file.name}"] = bytes(file.bytes)
    said = refused("mnist", tmp_path)
    wrong = hashlib.sha256(bytes(known("mnist").files[0].bytes)).hexdigest()
    assert f"its sha256 is {wrong}, not {known('mnist').files[0].sha256}" in said
    assert not list((tmp_path / "cache" / "data" / "mnist").iterdir())
    web.files["/mnist/train-images-idx3-ubyte.gz"] = b"short"
    assert "is a file of 5 bytes, and one of 9,912,422 was expected" in refused("mnist", tmp_path)


def test_a_page_that_asks_to_sign_in_is_no_archive(web: Site, tmp_path: Path) -> None:
    web.files["/facades/facades.tar.gz"] = b"<!DOCTYPE html><title>Sign in</title>"
    assert "answers with a web page instead of the file" in refused("facades", tmp_path)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (tar({"facades/train/1.jpg": b"x", "../../evil.jpg": b"x"}), "leads out of its folder"),
        (tar({"facades/train/big": bytes(80 << 20)}), "become more than"),
        (FACADES[:30_000], "it is damaged or cut off"),
        (b"no archive at all", "it is damaged or cut off"),
    ],
    ids=["a path out", "a bomb", "half", "something else"],
)
def test_a_bad_archive_leaves_nothing(data: bytes, why: str, web: Site, tmp_path: Path) -> None:
    web.files["/facades/facades.tar.gz"] = data
    said = refused("facades", tmp_path)
    assert said.startswith("facades.tar.gz cannot be unpacked: ")
    assert why in said
    assert not (tmp_path / "cache" / "data" / "facades" / "facades.tar.gz").exists()
    assert fetching.records(known("facades")) == {}  # a file that was none is not remembered
    web.files["/facades/facades.tar.gz"] = FACADES
    fetching.get("facades", say=None)


def test_another_file_than_the_first_time_is_refused(web: Site, tmp_path: Path) -> None:
    web.files["/facades/facades.tar.gz"] = FACADES
    home = fetching.get("facades", say=None)
    before = {name: (home / name).read_bytes() for name in files(home)}
    web.files["/facades/facades.tar.gz"] = tar({"facades/train/1.jpg": b"other"})
    with pytest.raises(UserError, match="is another file than the one first seen on .* --forget` forgets the first"):
        fetching.get("facades", overwrite=True, say=None)
    assert {name: (home / name).read_bytes() for name in files(home)} == before
    fetching.forget("facades")
    fetching.get("facades", overwrite=True, say=None)
    assert files(home) == ["about.txt", "train/1.jpg"]


def test_the_second_address_is_asked_where_the_first_has_nothing(
    web: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from i2i.data import cards

    monkeypatch.delenv("I2I_MIRROR")
    card = known("horse2zebra")
    two = (f"{web.address}/gone/horse2zebra.zip", f"{web.address}/there/horse2zebra.zip")
    moved = replace(card, files=(replace(card.files[0], addresses=two),))
    monkeypatch.setattr(cards, "cards", lambda: {"horse2zebra": moved})
    web.files["/there/horse2zebra.zip"] = HORSES
    said: list[str] = []
    fetching.get("horse2zebra", say=said.append)
    assert any("gives nothing: there is no such file" in line for line in said)
    assert fetching.records(card)["horse2zebra.zip"].address == two[1]


def test_files_that_one_has_are_taken(web: Site, tmp_path: Path) -> None:
    mine = tmp_path / "downloads" / "horse2zebra (1).zip"
    mine.parent.mkdir()
    mine.write_bytes(HORSES)
    home = fetching.get("horse2zebra", given=[mine], say=None)
    assert (home / "trainA" / "1.jpg").is_file()
    assert mine.is_file() and web.asked == []
    with pytest.raises(UserError, match="is no file of mnist, whose files are t10k-images"):
        fetching.get("mnist", given=[mine], say=None)
    with pytest.raises(UserError, match="does not exist; name a file of mnist"):
        fetching.get("mnist", given=[tmp_path / "x"], say=None)
    wrong = tmp_path / "t10k-labels-idx1-ubyte.gz"
    wrong.write_bytes(b"x")
    with pytest.raises(UserError, match="is not the file it should be: its sha256 is"):
        fetching.get("mnist", given=[wrong], say=None)


def test_what_is_fetched_by_hand_is_said_before_anything_is_fetched(web: Site, tmp_path: Path) -> None:
    said = refused("cityscapes", tmp_path)
    assert "must be fetched by hand, from https://www.cityscapes-dataset.com" in said
    assert "`i2i data get cityscapes --from leftImg8bit_trainvaltest.zip --from gtFine_trainvaltest.zip`" in said
    assert web.asked == []


def test_google_without_its_package_is_one_sentence(web: Site, tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    try:
        import gdown  # noqa: F401
    except ModuleNotFoundError:
        said = refused("cub", tmp_path)
        assert "cvpr2016_cub.tar.gz of cub does not come from Google Drive (" in said and "pip install gdown" in said
        assert web.asked == []  # the 1.2 GB beside it were not fetched for nothing


def test_a_cache_that_cannot_be_written_is_one_sentence(
    web: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "file" / "cache"))
    web.files["/facades/facades.tar.gz"] = FACADES
    assert "cannot be written: Not a directory" in refused("facades", tmp_path)


def test_a_place_that_cannot_be_written_is_one_sentence(
    web: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("I2I_DATA", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be written: (Not a directory|File exists)"):
        fetching.get("facades", say=None)


def test_a_record_that_cannot_be_read_is_named(web: Site, tmp_path: Path) -> None:
    note = tmp_path / "cache" / "data" / "facades.json"
    note.parent.mkdir(parents=True)
    note.write_text("{")
    web.files["/facades/facades.tar.gz"] = FACADES
    assert f"the record {note} cannot be read" in refused("facades", tmp_path)


def test_an_archive_that_holds_something_else_is_named(web: Site, tmp_path: Path) -> None:
    web.files["/flickr2k/Flickr2K.tar"] = tar({"Elsewhere/1.png": b"x"})
    said = refused("flickr2k", tmp_path)
    assert said == "flickr2k: what was fetched has no 'Flickr2K/Flickr2K_HR' but Elsewhere: it is another file"


def test_what_a_killed_one_left_is_cleared_away(web: Site, tmp_path: Path) -> None:
    left = tmp_path / "data" / ".facades.part" / ".unpacked"
    left.mkdir(parents=True)
    (left / "x").write_text("half")
    web.files["/facades/facades.tar.gz"] = FACADES
    home = fetching.get("facades", say=None)
    assert "x" not in files(home)
    assert [entry.name for entry in (tmp_path / "data").iterdir()] == ["facades"]


def test_mnist_comes_from_a_folder_in_the_place_of_the_web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = Path(os.environ.get("I2I_DATA", "")) / "mnist" / "raw"
    if not (raw / "t10k-images-idx3-ubyte.gz").is_file():
        pytest.skip("no mnist under I2I_DATA")
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "mnist").symlink_to(raw)
    monkeypatch.setenv("I2I_MIRROR", str(mirror))
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "cache"))
    home = fetching.get("MNIST", into=tmp_path / "data", say=None)
    assert files(home / "raw") == sorted(file.name for file in known("mnist").files)
    noted = json.loads((tmp_path / "cache" / "data" / "mnist.json").read_text())
    assert all(record["verified"] for record in noted.values())
    from i2i.data.labelled import Digits

    assert len(Digits(str(home / "raw"), split="test")) == 10_000


def test_a_full_disk_keeps_the_archive(web: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was fetched is not fetched again because the pictures did not fit."""
    import errno

    from i2i.data import unpacking

    web.files["/facades/facades.tar.gz"] = FACADES

    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unpacking, "_write", full)
    assert refused("facades", tmp_path).endswith("No space left on device: free some space there")
    monkeypatch.undo()
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "cache"))
    fetching.get("facades", into=tmp_path / "data", say=None)
    assert len(web.asked) == 1
