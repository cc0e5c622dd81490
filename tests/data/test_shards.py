"""Shards stand in the place of a folder: the same pictures in the same order, whoever reads them."""

from __future__ import annotations

import json
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from i2i import shards
from i2i.data.captioned import Captioned
from i2i.data.datasets import Paired, Photographs, Unaligned
from i2i.data.folders import find, read_size, scan
from i2i.data.labelled import Pictures
from i2i.data.packing import pack
from i2i.data.stream import Stream
from i2i.errors import UserError

Make = Callable[[Path], Any]


def picture(path: Path, height: int, width: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (height, width, 3), np.uint8)
    cv2.imwrite(str(path), pixels)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One folder with everything: side-by-side pairs, pairs in two folders, two sets, classes, captions, embeddings."""
    root = tmp_path / "set"
    for n in range(7):
        picture(root / "train" / f"{n}.{'png' if n % 2 else 'jpg'}", 24, 48, n)
        picture(root / "A" / "val" / f"{n}.png", 24, 32, 10 + n)
        picture(root / "B" / "val" / f"{n}.jpg", 24, 32, 20 + n)
        picture(root / "trainA" / f"{n}.png", 24, 24, 30 + n)
        picture(root / "trainB" / "more" / f"no.{n}.v2.png", 24, 24, 40 + n)
        picture(root / "kinds" / f"{n % 3} legs" / f"{n}.png", 16, 16, 50 + n)
        (root / "kinds" / f"{n % 3} legs" / f"{n}.txt").write_text(f"a thing of {n % 3} legs\nnumber {n}\n")
        np.save(root / "kinds" / f"{n % 3} legs" / f"{n}.npy", np.full((2, 5), n, np.float32))
    rows = [f"{n % 3} legs/{n}.png\t{'odd' if n % 2 else 'even'}" for n in range(7)]
    (root / "kinds" / "labels.tsv").write_text("\n".join(["file\tparity", *rows]) + "\n")
    (root / ".hidden.png").write_bytes(b"x")
    return root


@pytest.fixture
def packed(folder: Path, tmp_path: Path) -> Path:
    pack(folder, tmp_path / "packed", size=20_000)
    return tmp_path / "packed"


KINDS: dict[str, Make] = {
    "pairs": lambda root: Paired(str(root / "train"), load=26, crop=16, seed=3),
    "couples": lambda root: Paired(str(root), layout="folders", a="A/val", b="B/val", preprocess="crop", crop=16),
    "unpaired": lambda root: Unaligned(str(root / "trainA"), str(root / "trainB"), load=20, crop=16),
    "halves": lambda root: Unaligned(str(root / "train"), str(root / "train"), side_by_side=True, load=20, crop=16),
    "photographs": lambda root: Photographs([str(root / "trainA"), str(root / "trainB")], crop=16),
    "pictures": lambda root: Pictures(str(root / "trainA"), size=16, flip=True),
    "classes": lambda root: Pictures(str(root / "kinds"), labels="folders", size=16),
    "column": lambda root: Pictures(str(root / "kinds"), labels="parity", size=16),
    "captions": lambda root: Captioned(str(root / "kinds"), size=16, length=30),
    "described": lambda root: Captioned(str(root / "kinds"), size=16, length=30, beside="class", labels="folders"),
    "embeddings": lambda root: Captioned(str(root / "kinds"), size=16, text="embeddings"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_data_set_class_reads_them_as_the_folder(kind: str, folder: Path, packed: Path) -> None:
    loose, inside = KINDS[kind](folder), KINDS[kind](packed)
    assert len(loose) == len(inside)
    assert loose.fields is inside.fields
    for position in range(2 * len(loose)):
        for mine, theirs in zip(loose[position], inside[position], strict=True):
            assert torch.equal(mine, theirs)


def batches(data: Any, steps: int, **more: Any) -> list[Any]:
    stream = iter(Stream(data, **more))
    return [next(stream) for _ in range(steps)]


def equal(mine: list[Any], theirs: list[Any]) -> bool:
    return all(
        a[0] == b[0] and all(torch.equal(x, y) for x, y in zip(a[1], b[1], strict=True))
        for a, b in zip(mine, theirs, strict=True)
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_streams_are_equal_on_one_and_two_ranks_and_after_a_stop(workers: int, folder: Path, packed: Path) -> None:
    loose, inside = KINDS["unpaired"](folder), KINDS["unpaired"](packed)
    whole = batches(loose, 5, batch=4)
    assert equal(whole, batches(inside, 5, batch=4, workers=workers))
    assert equal(whole[3:], batches(inside, 2, batch=4, start=12, workers=workers))  # resumed
    ranks = [batches(inside, 5, batch=4, rank=rank, ranks=2, workers=workers) for rank in (0, 1)]
    for (first, batch), low, high in zip(whole, *ranks, strict=True):
        assert (low[0], high[0]) == (first, first + 2)
        for field, (one, two) in zip(batch, zip(low[1], high[1], strict=True), strict=True):
            assert torch.equal(field, torch.cat([one, two]))


def test_tars_have_the_keys_of_webdataset(folder: Path, packed: Path) -> None:
    """Files that share what comes before the first dot of their name follow each other, and are one sample."""
    seen: list[str] = []
    kinds: dict[str, set[str]] = {}
    tars = sorted(packed.glob("*.tar"))
    assert len(tars) > 1
    for tar in tars:
        with tarfile.open(tar) as file:
            for member in file:
                assert member.isreg() and (member.mode, member.mtime) == (0o644, 0)
                above, _, base = member.name.rpartition("/")
                key = f"{above}/{base.split('.', 1)[0]}".strip("/")
                if not seen or seen[-1] != key:
                    assert key not in seen  # never in two shards, never apart
                    seen.append(key)
                kinds.setdefault(key, set()).add(base.split(".", 1)[1])
    assert kinds["val/0"] == {"a.png", "b.jpg"}
    assert kinds["kinds/0 legs/0"] == {"png", "txt", "npy"}
    assert kinds["trainB/more/no_3_v2"] == {"png"}
    assert kinds["trainA/0"] == {"png"}
    assert seen == sorted(seen)


def test_the_bytes_are_the_files(folder: Path, packed: Path) -> None:
    files = scan(folder)
    inside = scan(packed)
    assert [path.relative_to(packed) for path in inside] == [path.relative_to(folder) for path in files]
    for mine, theirs in zip(files, inside, strict=True):
        assert shards.held(theirs) == mine.read_bytes()
        assert read_size(theirs) == read_size(mine)
        assert not theirs.exists()
    assert (packed / "kinds" / "labels.tsv").is_file()


def test_packing_twice_gives_the_same_bytes(folder: Path, packed: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "again", size=20_000)
    for path in packed.iterdir():
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_relative_paths_and_the_usual_places(packed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert find("packed/trainA") == Path("packed/trainA")
    assert next(path.as_posix() for path in scan(Path("packed/trainA"))) == "packed/trainA/0.png"
    monkeypatch.chdir("/")
    with pytest.raises(UserError):
        find("packed/trainA")
    monkeypatch.setenv("I2I_DATA", str(tmp_path))
    assert find("packed/trainA") == tmp_path / "packed" / "trainA"
    with pytest.raises(UserError, match="there is no"):
        find("packed/trainC")


def test_errors_name_the_file_in_the_shard(packed: Path) -> None:
    index = json.loads((packed / "shards.json").read_text())
    for one in index["shards"]:
        for name, start, count in one["files"]:
            if name == "trainA/0.png":
                with (packed / one["file"]).open("rb+") as file:
                    file.seek(start + count // 2)
                    file.write(b"????????")
    with pytest.raises(UserError, match=r"trainA/0\.png: .*mend it, take it out of the data set"):
        Photographs([str(packed / "trainA")], crop=16, seed=0).fill()
        for position in range(7):
            Photographs([str(packed / "trainA")], crop=16, seed=0)[position]


def test_shards_that_are_not_whole_are_named_at_once(packed: Path) -> None:
    tar = packed / "00001.tar"
    data = tar.read_bytes()
    tar.write_bytes(data[:-512])
    forget()
    with pytest.raises(UserError, match=rf"00001.tar has {len(data) - 512:,} bytes instead of {len(data):,}"):
        scan(packed)
    tar.unlink()
    forget()
    with pytest.raises(UserError, match=r"00001.tar is not there; copy the shards anew"):
        scan(packed)
    (packed / "shards.json").write_text("{}")
    forget()
    with pytest.raises(UserError, match="is no index of shards of this version"):
        scan(packed)


def forget() -> None:
    """As another process would: the indexes are read again."""
    shards.load.cache_clear()
    shards.above_folder.cache_clear()


def test_nothing_is_left_of_packing_that_fails(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="is there already; name another folder, or replace it with --overwrite"):
        pack(folder, tmp_path / "there")
    (folder / "trainA" / "z.png").symlink_to(tmp_path / "nowhere")
    pack(folder, tmp_path / "ok")  # a link to nothing is no file
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no pictures"):
        pack(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(UserError, match="is packed already"):
        pack(tmp_path / "ok", tmp_path / "out")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(folder, tmp_path / "out", progress=stop)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["empty", "ok", "set", "there"]


def test_names_that_differ_in_dots_alone_stay_apart(tmp_path: Path) -> None:
    for name in ("a.b.png", "a_b.png", "a_b.jpg", "A/x.png", "a/x.png"):
        picture(tmp_path / "set" / name, 8, 8, len(name))
    pack(tmp_path / "set", tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "00000.tar") as file:
        names = file.getnames()
    assert len(set(names)) == 5
    for path in scan(tmp_path / "set"):
        assert shards.held(tmp_path / "out" / path.relative_to(tmp_path / "set")) == path.read_bytes()


def test_open_shards_survive_pickling_and_forking(packed: Path) -> None:
    found = shards.above(packed)
    assert found is not None
    path = packed / "trainA" / "3.png"
    before = found.read(path)
    again = pickle.loads(pickle.dumps(found))  # noqa: S301 (its own)
    assert again.opened == {} and again.read(path) == before
    if hasattr(os, "fork"):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if found.read(path) == before else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert found.read(path) == before


def test_few_shards_are_kept_open(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "OPEN", 2)
    pack(folder, tmp_path / "many", size=1)
    found = shards.above(tmp_path / "many")
    assert found is not None and len(found.shards) > 20
    for path in scan(tmp_path / "many"):
        assert shards.held(path) == (folder / path.relative_to(tmp_path / "many")).read_bytes()
        assert len(found.opened) <= 2
