"""Generators that other projects have published: what is known of each, and the cache of those that were fetched.

A model's file is fetched when it is first asked for, converted, and removed; what stays in the cache is our generator
file, `models/FAMILY/NAME.safetensors`, and beside it the record of the original. Where nobody but its address vouches
for a file, the record is what a later download is compared with.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from i2i.download import Downloaded, DownloadError, Record, Say, announce, cache_folder, digest, fetch, locked
from i2i.errors import UserError

__all__ = ["Published", "Record", "add", "home", "known", "obtain", "published", "record", "remove"]

CARDS = Path(__file__).with_name("published.yaml")


@dataclass(frozen=True)
class Published:
    """What is known of a model that another project has published.

    Attributes:
        name: "family/name".
        address: where its authors keep it.
        layout: the layout that `i2i.zoo.convert` must find in it.
        a, b: what goes in and what comes out, in words.
        data, terms, paper: what it was trained on, under which terms it stands, where it is described.
        sha256: of the file at the address, as two independent sources state it; empty where there are none.
        bytes: size of that file; 0 where it is not known.
        mode: the test-time mode its authors run it in; empty takes the converter's.
    """

    name: str
    address: str
    layout: str
    a: str
    b: str
    data: str
    terms: str
    paper: str
    sha256: str = ""
    bytes: int = 0
    mode: str = ""

    @property
    def file(self) -> str:
        """The name of the file at the address."""
        return self.address.rsplit("/", 1)[1]


@cache
def published() -> Mapping[str, Published]:
    """Every published model that i2i knows, by name, in the order of the file."""
    found = {}
    for family, shared in yaml.safe_load(CARDS.read_text("utf-8")).items():
        models = shared.pop("models")
        for short, own in models.items():
            facts = {**shared, **own}
            a, b = facts.pop("from"), facts.pop("to")
            address = facts.pop("address").replace("NAME", short)
            found[f"{family}/{short}"] = Published(f"{family}/{short}", address, a=a, b=b, **facts)
    return MappingProxyType(found)


def known(name: str) -> Published:
    """The published model of that name. Raises UserError."""
    if name not in published():
        from i2i.marked import near

        raise UserError(f"no published model is called '{name}'{near(name, published())}; `i2i models list` lists them")
    return published()[name]


def home(name: str) -> Path:
    """Where the cache keeps a model's generator file, whether or not it is there."""
    return cache_folder() / "models" / f"{name}.safetensors"


def record(name: str) -> Record | None:
    """What is remembered of a model's original. Raises UserError where that cannot be read."""
    path = home(name).with_suffix(".json")
    try:
        facts = json.loads(path.read_text("utf-8"))
        return Record(**{field.name: facts[field.name] for field in fields(Record)})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"the record {path} cannot be read ({error}); remove it to start anew", code=1) from None


def obtain(name: str, *, again: bool = False, say: Say | None = announce) -> Path:
    """The generator file of a published model: the cached one, else fetched and converted now.

    Args:
        name: "family/name" of `published()`.
        again: fetch it even if it is here. Another file than the first time is refused all the same.
        say: what is told that something is fetched; None keeps silent.

    Raises:
        UserError: no network, not the file that it should be, not the file of the first time, no room.
    """
    model, target = known(name), home(name)
    if target.is_file() and not again:
        return target
    _buildable(model)
    with _writing(target), locked(target, say) as waited:
        if target.is_file() and (waited or not again):
            return target  # another process was at it, too
        arrived, source = _fetch(model, target.with_name(model.file), say)
        try:
            _refuse_another(model, arrived.sha256, source)
            noted = _keep(model, arrived, source, say)
        finally:
            if source != str(arrived.path):  # one in a mirror's folder stays there
                arrived.path.unlink(missing_ok=True)
        if say is not None:
            say(f"{name}: {noted.words()}; converted and kept as {target}")
    return target


def add(name: str, file: Path, *, overwrite: bool = False, say: Say | None = announce) -> Path:
    """Put a file that was fetched otherwise into the cache as the published model `name`.

    Args:
        file: the authors' checkpoint, or a generator file that was made of it; it stays where it is.
        overwrite: replace one that is there, and take this for the file of the first time.

    Raises:
        UserError: it is not that model, or another one is there.
    """
    model, target = known(name), home(name)
    _buildable(model)
    if not file.is_file():
        raise UserError(f"{file} {'is a folder' if file.is_dir() else 'does not exist'}; name the file of {name}")
    with _writing(target), locked(target, say):
        if target.is_file() and not overwrite:
            raise UserError(f"{name} is there already ({target}); --overwrite replaces it")
        if file.suffix == ".safetensors":
            _keep_generator(model, file)
        else:
            given = Downloaded(file, digest(file), file.stat().st_size)
            if model.sha256 not in ("", given.sha256):
                raise UserError(f"{file} is not {name}: its sha256 is {given.sha256}, not {model.sha256}")
            if not overwrite:
                _refuse_another(model, given.sha256, str(file))
            _keep(model, given, str(file), say)
    return target


def remove(name: str, *, forget: bool = False) -> bool:
    """Take a model out of the cache; whether there was one. Its record stays, unless it shall be forgotten."""
    target = home(known(name).name)
    there = target.is_file()
    target.unlink(missing_ok=True)
    if forget:
        target.with_suffix(".json").unlink(missing_ok=True)
    return there


def _buildable(model: Published) -> None:
    from i2i.zoo.convert import LAYOUTS

    if model.layout not in LAYOUTS:
        raise UserError(
            f"{model.name} is known, but this version of i2i cannot build a network of the kind {model.layout} yet; "
            "nothing was fetched"
        )


def _fetch(model: Published, path: Path, say: Say | None) -> tuple[Downloaded, str]:
    """The original, fetched as the file `path`, and where it came from: the mirror if it has it, else its address."""
    try:
        return fetch(
            model.address, path, name=model.name, shelf=model.name.split("/")[0],
            sha256=model.sha256 or None, size=model.bytes or None, say=say,
        )  # fmt: skip
    except DownloadError as error:
        raise UserError(
            f"{model.name} is not in {path.parent} and cannot be fetched: {error}; {_elsewhere(model)}", code=1
        ) from None


def _elsewhere(model: Published) -> str:
    return f"a copy of it from elsewhere is put there by `i2i models add {model.file} --as {model.name}`"


def _refuse_another(model: Published, sha256: str, source: str) -> None:
    """Raises UserError where the record says that the original was another file."""
    before = record(model.name)
    if before is not None and before.sha256 not in ("", sha256):
        raise UserError(
            f"{model.name}: {source} is another file than the one first seen on {before.seen}: its sha256 is {sha256}, "
            f"and that one's {before.sha256}; nothing was changed, and if the change is meant, "
            f"`i2i models remove {model.name} --forget` forgets the first",
            code=1,
        )


def _keep(model: Published, original: Downloaded, source: str, say: Say | None) -> Record:
    """Convert an original into the cache, and note it."""
    from i2i.checkpoint import save_generator
    from i2i.game import Origin, describe
    from i2i.zoo.convert import convert

    try:
        made = convert(original.path, layout=model.layout)
    except UserError as error:  # names what was fetched by its address: the file is gone when this is read
        said = str(error).replace(str(original.path), source)
        if source != str(original.path):  # its advice is for one who has the file
            said = f"{said.rpartition('; ')[0] or said}; {_elsewhere(model)}"
        raise UserError(said, code=1) from None
    if say is not None:
        say(f"{model.name}: {'; '.join(made.said)}")
    before, seen = record(model.name), _today()
    if before is not None and before.sha256 == original.sha256:
        seen = before.seen
    noted = Record(source, original.sha256, original.bytes, seen, model.sha256 == original.sha256)
    notes = f"{model.paper}, the authors' weights; {noted.words()}"
    card = replace(made.card, mode=model.mode or made.card.mode)
    card = describe(card, a=model.a, b=model.b, origin=Origin(data=model.data, terms=model.terms, notes=notes))
    with _replacing(model.name, noted) as fresh:
        save_generator(fresh, made.network, made.spec, card)
    return noted


def _keep_generator(model: Published, file: Path) -> None:
    """Copy a generator file into the cache, if it is one of the model's layout, and note it."""
    from i2i.zoo import load_generator

    layout = _layout(load_generator(str(file.absolute())))
    if layout != model.layout:
        raise UserError(f"{file} is not {model.name}: its network is a {layout}, and that is a {model.layout}")
    with _replacing(model.name, Record(str(file), "", 0, _today(), verified=False)) as fresh:
        shutil.copyfile(file, fresh)


def _layout(network: Any) -> str:
    """What `i2i.zoo.convert` calls the layout of a network of ours; its class where it has no name for it."""
    match type(network).__name__:
        case "ResnetGenerator":
            return f"resnet_{network.blocks}blocks"
        case "UnetGenerator":
            return f"unet_{2**network.depth}"
        case "RRDBNet":
            return f"rrdb_{network.blocks}blocks_x{network.scale}"
        case kind:
            return kind


def _today() -> str:
    return datetime.date.today().isoformat()


@contextlib.contextmanager
def _replacing(name: str, noted: Record) -> Iterator[Path]:
    """A path for the new generator file, which takes the old one's place, and the record with it."""
    from i2i.checkpoint import write_atomically

    target = home(name)
    fresh = target.with_name(f".{target.name}.new")
    try:
        yield fresh
        text = json.dumps(asdict(replace(noted, converted=digest(fresh))), indent=1) + "\n"

        def write(path: Path) -> None:
            path.write_text(text)

        write_atomically(target.with_suffix(".json"), write)
        os.replace(fresh, target)
    finally:
        fresh.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    """The folder of `target`, made; what fails in it becomes a sentence."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(
            f"the cache {target.parent} cannot be written: {error.strerror or error}; $I2I_CACHE names another folder",
            code=1,
        ) from None
