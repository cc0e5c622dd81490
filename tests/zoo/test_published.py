"""Models of other projects by name: fetched once (here from the loopback), converted, remembered, refused if changed.

The checkpoints are in the authors' layout, with few filters and random weights.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from originals import Original, rrdb
from PIL import Image
from sites import Handler, Site, in_turn, site
from torch import Tensor

from i2i import download, zoo
from i2i.checkpoint import read_header, save_generator
from i2i.cli.models import models
from i2i.errors import UserError
from i2i.spec import Spec
from i2i.translation.cyclegan import ResnetGenerator
from i2i.translation.esrgan import RRDBNet
from i2i.zoo.convert import LAYOUTS
from i2i.zoo.published import Published, home, published, record, remove

HORSE = "cyclegan/horse2zebra"
SHOES = "pix2pix/edges2shoes"


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))) * 0.1


def resnet(*, width: int = 2, blocks: int = 9, seed: int = 0) -> dict[str, Tensor]:
    """The names and shapes of the authors' residual generator with instance norm, which has no weights of its own."""
    tensors: dict[str, Tensor] = {}

    def convolution(name: str, *shape: int, filters: int) -> None:
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = draw(*shape) + seed * 0.01, draw(filters)

    convolution("model.1", width, 3, 7, 7, filters=width)
    convolution("model.4", 2 * width, width, 3, 3, filters=2 * width)
    convolution("model.7", 4 * width, 2 * width, 3, 3, filters=4 * width)
    for block in range(10, 10 + blocks):
        for step in (1, 5):
            convolution(f"model.{block}.conv_block.{step}", 4 * width, 4 * width, 3, 3, filters=4 * width)
    convolution(f"model.{10 + blocks}", 4 * width, 2 * width, 3, 3, filters=2 * width)
    convolution(f"model.{13 + blocks}", 2 * width, width, 3, 3, filters=width)
    convolution(f"model.{17 + blocks}", 3, width, 7, 7, filters=3)
    return tensors


def unet(*, width: int = 2, depth: int = 8) -> dict[str, Tensor]:
    """The names and shapes of the authors' U-Net with batch norm: each level lies inside the one around it."""
    tensors: dict[str, Tensor] = {}
    widths = [width * min(8, 2**level) for level in range(depth)]

    def norm(name: str, channels: int) -> None:
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = 1 + draw(channels), draw(channels)
        tensors[f"{name}.running_mean"], tensors[f"{name}.running_var"] = draw(channels), 1 + draw(channels).abs()
        tensors[f"{name}.num_batches_tracked"] = torch.tensor(5)

    name = "model"
    tensors["model.model.0.weight"] = draw(width, 3, 4, 4)
    tensors["model.model.3.weight"], tensors["model.model.3.bias"] = draw(2 * width, 3, 4, 4), draw(3)
    for level in range(1, depth):
        name += ".model.1" if level == 1 else ".model.3"
        inner, outer, innermost = widths[level], widths[level - 1], level == depth - 1
        tensors[f"{name}.model.1.weight"] = draw(inner, outer, 4, 4)
        up = 3 if innermost else 5
        if not innermost:
            norm(f"{name}.model.2", inner)
        tensors[f"{name}.model.{up}.weight"] = draw(inner if innermost else 2 * inner, outer, 4, 4)
        norm(f"{name}.model.{up + 1}", outer)
    return tensors


def saved(tensors: Any, *, old: bool = False) -> bytes:
    """As torch.save writes it: a zip archive, or what it wrote before 1.6, when these models were published."""
    file = io.BytesIO()
    torch.save(tensors, file, _use_new_zipfile_serialization=not old)
    return file.getvalue()


CHECKPOINT = saved(resnet(), old=True)
SHA256 = hashlib.sha256(CHECKPOINT).hexdigest()


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A mirror on the loopback that has one model, and an empty cache."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PAUSES", (0.01,))
    monkeypatch.chdir(tmp_path)
    with site() as server:
        monkeypatch.setenv("I2I_MIRROR", server.address)
        server.files["/cyclegan/horse2zebra.pth"] = CHECKPOINT
        yield server


def cached(tmp_path: Path) -> list[str]:
    folder = tmp_path / "cache"
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def refusal(do: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        do()
    said = str(caught.value)
    assert "\n" not in said
    return said


def i2i(*arguments: str) -> Result:
    return CliRunner().invoke(models, list(arguments))


# --- the cards --------------------------------------------------------------------------------------------------------


def test_the_models_of_the_download_scripts_are_known() -> None:
    of = {family: [name for name in published() if name.startswith(f"{family}/")] for family in zoo.families()}
    assert {family: len(names) for family, names in of.items() if names} == {
        "cyclegan": 18,
        "pix2pix": 6,
        "esrgan": 1,
        "realesrgan": 3,
    }
    assert {"cyclegan/style_ukiyoe", "cyclegan/iphone2dslr_flower", "pix2pix/day2night"} <= set(published())
    for name, model in published().items():
        assert isinstance(model, Published)
        assert model.name == name
        assert model.address.startswith(("http://efrosgans.eecs.berkeley.edu/", "https://github.com/xinntao/"))
        assert model.file.endswith(".pth")
        assert model.a and model.b and model.data and model.terms and model.paper.startswith("https://arxiv.org/abs/")
        assert re.fullmatch("|[0-9a-f]{64}", model.sha256)
        assert bool(model.sha256) == bool(model.bytes)
        assert model.layout in LAYOUTS
    horse = published()[HORSE]
    assert horse.address == "http://efrosgans.eecs.berkeley.edu/cyclegan/pretrained_models/horse2zebra.pth"
    assert (horse.a, horse.b) == ("horse", "zebra")


def test_what_ships_is_not_fetched(web: Site) -> None:
    assert zoo.find("pix2pix/map2aerial").is_relative_to(zoo.WEIGHTS)
    assert not web.asked


@pytest.mark.parametrize(
    ("model", "inputs", "picked"),
    [
        ("cyclegan", ["horse2zebra", "photos"], (HORSE, ["photos"])),
        ("cyclegan", ["map2aerial", "photos"], ("cyclegan/map2aerial", ["photos"])),
        ("realesrgan", ["x4plus"], ("realesrgan/x4plus", [])),
        (HORSE, ["photos"], (HORSE, ["photos"])),
    ],
)
def test_a_family_and_a_name_mean_a_published_model(
    model: str, inputs: list[str], picked: tuple[str, list[str]]
) -> None:
    assert zoo.pick(model, inputs) == picked


def test_a_mistaken_name_is_set_right() -> None:
    assert "did you mean '--model cyclegan horse2zebra'?" in refusal(lambda: zoo.pick("cyclegan", ["hors2zebra", "x"]))
    assert "did you mean 'cyclegan/horse2zebra'?" in refusal(lambda: zoo.find("cyclegan/hors2zebra"))
    said = refusal(lambda: zoo.pick("realesrgan", []))
    assert said == "'realesrgan' is a family of models: name one of x4plus, x2plus, anime_6B after it"
    assert "did you mean 'cyclegan/horse2zebra'?" in str(i2i("get", "cyclegan/horse2zebr").exception)


# --- fetching ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [True, False], ids=["before 1.6", "zip"])
@pytest.mark.parametrize("name", [HORSE, SHOES])
def test_a_model_is_fetched_once_and_remembered(name: str, old: bool, web: Site, tmp_path: Path, capsys: Any) -> None:
    original = saved(resnet() if name == HORSE else unet(), old=old)
    web.files[f"/{name}.pth"] = original
    first: Any = zoo.load_generator(name)
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{name}: fetching {web.address}/{name}.pth" in said.err
    digest = hashlib.sha256(original).hexdigest()
    assert f"unverified, first seen {time.strftime('%Y-%m-%d')} sha256 {digest}" in said.err
    assert cached(tmp_path) == [f"models/{name}.json", f"models/{name}.safetensors"]
    assert len(web.asked) == 1

    web.files.clear()
    second: Any = zoo.load_generator(name)
    assert len(web.asked) == 1
    assert capsys.readouterr().err == ""
    assert second.card == first.card
    assert (second.card.a, second.card.b) == (published()[name].a, published()[name].b)
    assert second.card.origin.terms == published()[name].terms
    assert f"unverified, first seen {time.strftime('%Y-%m-%d')} sha256 {digest}" in second.card.origin.notes
    noted = record(name)
    assert noted is not None
    assert (noted.sha256, noted.bytes, noted.verified) == (digest, len(original), False)
    assert noted.converted == hashlib.sha256(home(name).read_bytes()).hexdigest()


def test_end_to_end(web: Site, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{number}.png")
    command = [sys.executable, "-m", "i2i", "translate", "--model", "cyclegan", "horse2zebra", "photos", "-o"]
    run = subprocess.run([*command, "out"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [os.path.join("out", f"{number}.png") for number in range(2)]
    assert f"fetching {web.address}/cyclegan/horse2zebra.pth" in run.stderr
    assert Image.open("out/0.png").size == (60, 40)
    asked, environment = len(web.asked), {**os.environ, "I2I_MIRROR": "http://127.0.0.1:9"}
    run = subprocess.run([*command, "again", "-q"], capture_output=True, text=True, env=environment)
    assert (run.returncode, run.stderr) == (0, "")
    assert len(web.asked) == asked
    assert Image.open("again/1.png").tobytes() == Image.open("out/1.png").tobytes()


def test_a_folder_can_be_the_mirror(web: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mirror" / "cyclegan").mkdir(parents=True)
    original = tmp_path / "mirror" / "cyclegan" / "horse2zebra.pth"
    original.write_bytes(CHECKPOINT)
    monkeypatch.setenv("I2I_MIRROR", str(tmp_path / "mirror"))
    assert zoo.find(HORSE, say=None) == home(HORSE)
    assert original.read_bytes() == CHECKPOINT
    assert not web.asked


def test_a_connection_that_drops_is_resumed(web: Site, tmp_path: Path) -> None:
    web.files["/cyclegan/horse2zebra.pth"] = in_turn(
        lambda handler: handler.file(CHECKPOINT, stop=10_000), lambda handler: handler.file(CHECKPOINT)
    )
    zoo.find(HORSE, say=None)
    assert web.ranges() == ["", "bytes=10000-"]
    assert cached(tmp_path) == [f"models/{HORSE}.json", f"models/{HORSE}.safetensors"]


class Bomb:
    """Unpickled, it touches a file."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch executed",)


def lies(count: int) -> Callable[[Handler], None]:
    return lambda handler: handler.file(CHECKPOINT, length=len(CHECKPOINT) + count)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda handler: handler.status(200, b"<html>Sign in", Content_Type="text/html"), "with a web page instead"),
        (lies(-5), "sends more than the"),
        (lies(+5), "the connection ended after"),
        (saved({"weights": Bomb()}), "horse2zebra.pth"),
        (saved(resnet(blocks=6)), "resnet_6blocks"),
        (saved(unet()), "unet_256"),
        (CHECKPOINT[:-2000], "horse2zebra.pth"),
        (b"nonsense", "horse2zebra.pth"),
    ],
    ids=["page", "too short a length", "too long a length", "bomb", "6 blocks", "unet", "torn", "nonsense"],
)
def test_what_is_not_the_model_is_one_sentence_and_nothing_is_kept(
    answer: Any, said: str, web: Site, tmp_path: Path
) -> None:
    web.files["/cyclegan/horse2zebra.pth"] = answer
    sentence = refusal(lambda: zoo.find(HORSE, say=None))
    assert said in sentence
    assert web.address in sentence
    assert sentence.endswith("`i2i models add horse2zebra.pth --as cyclegan/horse2zebra`")
    assert not [name for name in cached(tmp_path) if not name.split("/")[-1].startswith(".horse2zebra.pth.part")]
    assert not (tmp_path / "executed").exists()


def test_without_a_network_it_is_one_sentence(web: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: Any, **more: Any) -> Any:
        raise OSError("no network here")

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, forbidden)
    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.delenv("I2I_MIRROR")
    start = time.monotonic()
    sentence = refusal(lambda: zoo.load_generator(HORSE, say=None))
    assert time.monotonic() - start < 5
    address = "http://efrosgans.eecs.berkeley.edu/cyclegan/pretrained_models/horse2zebra.pth"
    assert sentence == (
        f"{HORSE} is not in {home(HORSE).parent} and cannot be fetched: {address} cannot be reached: no network here; "
        f"a copy of it from elsewhere is put there by `i2i models add horse2zebra.pth --as {HORSE}`"
    )
    assert cached(tmp_path) == []


def test_what_the_mirror_lacks_is_asked_for_at_the_address(
    web: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("I2I_MIRROR", f"{web.address}/elsewhere")
    with site() as origin:
        origin.files["/horse2zebra.pth"] = CHECKPOINT
        horse = replace(published()[HORSE], address=f"{origin.address}/horse2zebra.pth")
        monkeypatch.setattr("i2i.zoo.published.published", lambda: {HORSE: horse})
        said: list[str] = []
        zoo.published.obtain(HORSE, say=said.append)
    assert said[0].endswith(f"fetching {web.address}/elsewhere/cyclegan/horse2zebra.pth")
    assert said[1].endswith("there is no such file")
    assert said[2].endswith(f"fetching {horse.address}")
    noted = record(HORSE)
    assert noted is not None
    assert noted.address == horse.address


def test_what_cannot_be_built_yet_is_not_fetched(web: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    strange = replace(published()["realesrgan/x4plus"], layout="swinir")
    monkeypatch.setattr("i2i.zoo.published.published", lambda: {strange.name: strange})
    assert refusal(lambda: zoo.find("realesrgan/x4plus")) == (
        "realesrgan/x4plus is known, but this version of i2i cannot build a network of the kind swinir yet; nothing "
        "was fetched"
    )
    assert not web.asked


def test_a_published_enlarger_is_fetched(web: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    name, net = "realesrgan/anime_6B", Original()
    x = torch.rand(1, 3, 6, 5)
    expected = rrdb(net, x, blocks=6)
    original = saved({"params_ema": dict(net.tensors)})
    here = replace(published()[name], sha256=hashlib.sha256(original).hexdigest(), bytes=len(original))
    monkeypatch.setattr("i2i.zoo.published.published", lambda: {name: here})
    web.files["/realesrgan/RealESRGAN_x4plus_anime_6B.pth"] = original
    network: Any = zoo.load_generator(name, say=None)
    assert (network(x) - expected).abs().max() < 1e-5
    assert (network.card.scale, network.card.a) == (4, "small drawing")


def test_an_enlarger_of_another_scale_is_not_taken_for_it(web: Site, tmp_path: Path) -> None:
    for scale, said in ((4, ""), (2, "its network is a rrdb_23blocks_x2, and that is a rrdb_23blocks_x4")):
        spec = Spec.to(RRDBNet, scale=scale, width=2, growth=1)
        network = spec.build()
        save_generator(tmp_path / "a2b.safetensors", network, spec, network.card())
        run = i2i("add", "a2b.safetensors", "--as", "realesrgan/x4plus", "--overwrite")
        assert said in str(run.exception) and bool(run.exit_code) == bool(said)


def test_a_checksum_that_two_sources_state_is_held_to(web: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    sure = replace(published()[HORSE], sha256=SHA256, bytes=len(CHECKPOINT))
    monkeypatch.setattr("i2i.zoo.published.published", lambda: {HORSE: sure})
    zoo.published.obtain(HORSE, say=None)
    noted = record(HORSE)
    assert noted is not None
    assert noted.verified
    assert read_header(home(HORSE)).card.origin.notes.count(f"verified, first seen {noted.seen} sha256 {SHA256}") == 1
    assert "unverified" not in read_header(home(HORSE)).card.origin.notes
    other = bytes(len(CHECKPOINT))
    web.files["/cyclegan/horse2zebra.pth"] = other
    sentence = refusal(lambda: zoo.published.obtain(HORSE, again=True, say=None))
    assert hashlib.sha256(other).hexdigest() in sentence and SHA256 in sentence
    assert home(HORSE).is_file()


def test_a_file_that_changed_since_is_refused(web: Site, tmp_path: Path) -> None:
    zoo.find(HORSE, say=None)
    before = home(HORSE).read_bytes()
    changed = saved(resnet(seed=1), old=True)
    web.files["/cyclegan/horse2zebra.pth"] = changed
    said = refusal(lambda: zoo.published.obtain(HORSE, again=True, say=None))
    assert SHA256 in said and hashlib.sha256(changed).hexdigest() in said
    assert said.endswith(f"`i2i models remove {HORSE} --forget` forgets the first")
    assert home(HORSE).read_bytes() == before
    remove(HORSE)
    assert SHA256 in refusal(lambda: zoo.find(HORSE, say=None))
    assert cached(tmp_path) == [f"models/{HORSE}.json"]
    remove(HORSE, forget=True)
    zoo.find(HORSE, say=None)
    noted = record(HORSE)
    assert noted is not None
    assert noted.sha256 == hashlib.sha256(changed).hexdigest()


def test_the_day_it_was_first_seen_stays(web: Site) -> None:
    zoo.find(HORSE, say=None)
    path = home(HORSE).with_suffix(".json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "seen": "2001-02-03"}))
    zoo.published.obtain(HORSE, again=True, say=None)
    noted = record(HORSE)
    assert noted is not None
    assert noted.seen == "2001-02-03"
    assert "first seen 2001-02-03" in read_header(home(HORSE)).card.origin.notes


def test_a_damaged_record_is_one_sentence(web: Site) -> None:
    zoo.find(HORSE, say=None)
    home(HORSE).with_suffix(".json").write_text("{")
    assert "remove it to start anew" in refusal(lambda: zoo.published.obtain(HORSE, again=True, say=None))


def test_two_at_once_fetch_once(web: Site, tmp_path: Path) -> None:
    def slow(handler: Handler) -> None:
        time.sleep(0.3)
        handler.file(CHECKPOINT)

    web.files["/cyclegan/horse2zebra.pth"] = slow
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(zoo.find(HORSE, say=None))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [home(HORSE)] * 3
    assert len(web.asked) == 1
    assert cached(tmp_path) == [f"models/{HORSE}.json", f"models/{HORSE}.safetensors"]


def test_a_cache_that_cannot_be_written_is_one_sentence(
    web: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "file"))
    said = refusal(lambda: zoo.find(HORSE, say=None))
    assert f"the cache {home(HORSE).parent} cannot be written" in said
    assert said.endswith("$I2I_CACHE names another folder")


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_a_file_from_elsewhere_is_added(web: Site, tmp_path: Path) -> None:
    file = tmp_path / "downloaded.pth"
    file.write_bytes(CHECKPOINT)
    added = i2i("add", "downloaded.pth", "--as", HORSE)
    assert added.stdout == f"{home(HORSE)}\n"
    assert "resnet_9blocks" in added.stderr
    assert file.read_bytes() == CHECKPOINT
    assert zoo.find(HORSE) == home(HORSE)
    assert not web.asked
    again = i2i("add", "downloaded.pth", "--as", HORSE)
    assert str(again.exception) == f"{HORSE} is there already ({home(HORSE)}); --overwrite replaces it"
    file.write_bytes(saved(resnet(seed=1)))
    assert i2i("add", "downloaded.pth", "--as", HORSE, "--overwrite").exit_code == 0
    noted = record(HORSE)
    assert noted is not None
    assert noted.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    remove(HORSE)
    file.write_bytes(CHECKPOINT)
    assert "is another file than the one first seen on" in str(i2i("add", "downloaded.pth", "--as", HORSE).exception)


def test_a_wrong_name_for_a_file_says_what_it_is(web: Site, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(saved(unet()))
    said = str(i2i("add", "a.pth", "--as", HORSE).exception)
    assert "unet_256" in said and "resnet_9blocks" in said and "a.pth" in said
    (tmp_path / "b.pth").write_bytes(CHECKPOINT)
    said = str(i2i("add", "b.pth", "--as", SHOES).exception)
    assert "unet_256" in said and "resnet_9blocks" in said and "b.pth" in said
    assert "does not exist" in str(i2i("add", "none.pth", "--as", SHOES).exception)
    assert "is a folder" in str(i2i("add", str(tmp_path), "--as", SHOES).exception)
    assert "no published model is called 'cyclegan/h'" in str(i2i("add", "b.pth", "--as", "cyclegan/h").exception)
    assert cached(tmp_path) == []


@pytest.mark.parametrize("blocks", [9, 6])
def test_a_generator_file_is_added_if_it_fits(blocks: int, web: Site, tmp_path: Path) -> None:
    spec = Spec.to(ResnetGenerator, width=2, blocks=blocks)
    network = spec.build()
    save_generator(tmp_path / "a2b.safetensors", network, spec, network.card())
    run = i2i("add", "a2b.safetensors", "--as", HORSE)
    if blocks == 6:
        assert str(run.exception) == (
            f"a2b.safetensors is not {HORSE}: its network is a resnet_6blocks, and that is a resnet_9blocks"
        )
        assert cached(tmp_path) == []
        return
    assert run.exit_code == 0
    assert home(HORSE).read_bytes() == (tmp_path / "a2b.safetensors").read_bytes()
    noted = record(HORSE)
    assert noted is not None
    assert noted.words().startswith("unverified, added ")


# --- what the commands show -------------------------------------------------------------------------------------------


def test_the_list_says_where_each_is(web: Site) -> None:
    zoo.find(HORSE, say=None)
    rows = {row["name"]: row for row in map(json.loads, i2i("list", "--json").output.splitlines())}
    assert list(rows)[: len(zoo.names())] == zoo.names()
    assert {rows[name]["state"] for name in zoo.names()} == {"ships"}
    assert rows[HORSE]["state"] == "here"
    assert rows[HORSE]["bytes"] == home(HORSE).stat().st_size
    assert rows[SHOES]["state"] == "to fetch"
    assert rows[SHOES]["bytes"] is None
    assert rows[SHOES]["card"]["b"] == "photograph of a shoe"
    assert rows["realesrgan/x4plus"]["bytes"] == 67_040_989
    assert rows["pix2pix/map2aerial"]["card"]["origin"]["terms"] == "Google imagery; research use only"
    lines = i2i("list").output.splitlines()
    assert len(lines) == len(rows) == len(zoo.names()) + 28
    assert any(re.match(rf"{HORSE} +here +\d+\.\d MB  horse -> zebra  \(unknown", line) for line in lines)


def test_what_is_not_here_is_shown_all_the_same(web: Site) -> None:
    said = i2i("show", SHOES).output
    assert "http://efrosgans.eecs.berkeley.edu/pix2pix/models-pytorch/edges2shoes.pth" in said
    assert f"`i2i models get {SHOES}`" in said
    assert "unverified" in said
    assert "edges of a shoe -> photograph of a shoe" in said
    facts = json.loads(i2i("show", "--json", SHOES).output)
    assert facts["file"] is None
    assert facts["published"]["layout"] == "unet_256"
    assert not web.asked
    zoo.find(HORSE, say=None)
    said = i2i("show", HORSE).output
    assert f"unverified, first seen {time.strftime('%Y-%m-%d')} sha256 {SHA256}" in said
    assert "trained" not in said


def test_get_fetches_and_names_what_it_cannot(web: Site) -> None:
    run = i2i("get", HORSE, "pix2pix/map2aerial")
    assert run.exit_code == 0
    assert run.stdout.splitlines() == [str(home(HORSE)), str(zoo.find("pix2pix/map2aerial"))]
    web.files["/pix2pix/edges2shoes.pth"] = b"<html>"
    run = i2i("get", SHOES, HORSE)
    assert run.stdout.splitlines() == [str(home(HORSE))]
    assert "with a web page instead of the file" in run.stderr
    assert str(run.exception) == "1 of 2 models could not be fetched"


def test_verify_looks_at_what_was_fetched(web: Site) -> None:
    zoo.find(HORSE, say=None)
    assert f"ok    {HORSE}\n" in i2i("verify").output
    damaged = bytearray(home(HORSE).read_bytes())
    damaged[-1] ^= 1
    home(HORSE).write_bytes(damaged)
    run = i2i("verify", HORSE)
    assert f"wrong {HORSE}: {home(HORSE)} is not the file that it was" in run.output
    assert "--again` makes it anew" in run.output
    assert i2i("get", HORSE, "--again").exit_code == 0
    assert f"ok    {HORSE}\n" in i2i("verify", HORSE).output


def test_remove_takes_it_away(web: Site, tmp_path: Path) -> None:
    zoo.find(HORSE, say=None)
    assert i2i("remove", HORSE).stderr == f"{HORSE} is removed\n"
    assert cached(tmp_path) == [f"models/{HORSE}.json"]
    assert i2i("remove", HORSE).stderr == f"{HORSE} is not here\n"
    i2i("remove", HORSE, "--forget")
    assert cached(tmp_path) == []
