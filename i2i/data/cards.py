"""What is known of data sets that others have published: one card each, `datasets/*.yaml`.

A card says where a set comes from, how large it is, under which terms it stands and how its files will lie. Reading
cards loads neither torch nor numpy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from i2i.errors import UserError
from i2i.spec import Spec

__all__ = ["DataCard", "DataFile", "cards", "here", "home", "known", "shelf"]

UNVERIFIED = "unverified"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where it is there, is ten times as fast


@dataclass(frozen=True)
class DataFile:
    """One file that a set is made of. It has addresses, or a number at Google Drive, or is fetched by hand.

    Attributes:
        name: the file's.
        addresses: where its authors keep it; each is tried where the one before has nothing.
        drive: its number at Google Drive.
        sha256: as two independent sources state it; empty where there are none.
        bytes: its size; 0 where it is not known.
        about: its size in words, where nobody states the bytes.
    """

    name: str
    addresses: tuple[str, ...] = ()
    drive: str = ""
    sha256: str = ""
    bytes: int = 0
    about: str = ""

    @property
    def size(self) -> str:
        """In words."""
        if self.bytes >= 1e9:
            return f"{self.bytes / 1e9:.1f} GB"
        return f"{self.bytes / 1e6:.1f} MB" if self.bytes else self.about or "size unknown"


@dataclass(frozen=True)
class DataCard:
    """A data set.

    Attributes:
        name: of the card's file, without its ending.
        title: what the pictures show.
        wing: what it was published for: pix2pix, CycleGAN, CUT, super-resolution, generation, text.
        holds: how many pictures, and how large, as its authors state it.
        origin: a page that describes it.
        licence: its terms, as far as they are stated.
        citation: the paper.
        layout: how its files lie once it is here: folder -> what is in it.
        recipe: the lines of a recipe that read it.
        files: what is fetched.
        arrange: what brings the unpacked files to that layout; None: the one folder in the archive is the set.
        folder: where it lies below the folder of data sets; its name unless the card says otherwise.
        also: other names for it.
        notes: what else is to be known.
    """

    name: str
    title: str
    wing: str
    holds: str
    origin: str
    licence: str
    citation: str
    layout: Mapping[str, str]
    recipe: str
    files: tuple[DataFile, ...]
    arrange: Spec | None = None
    folder: str = ""
    also: tuple[str, ...] = ()
    notes: str = ""

    @property
    def by_hand(self) -> bool:
        """Whether some of its files cannot be fetched by a program."""
        return any(not (file.addresses or file.drive) for file in self.files)

    @property
    def size(self) -> str:
        """Of what is fetched, in words."""
        if not any(file.bytes for file in self.files):
            return self.files[0].size
        whole = DataFile("", bytes=sum(file.bytes for file in self.files)).size
        return whole if all(file.bytes for file in self.files) else f"over {whole}"


def shelf() -> Path:
    """The folder of the cards."""
    inside = Path(__file__).parents[1] / "_datasets"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "datasets"


@cache
def cards() -> Mapping[str, DataCard]:
    """Every card by name, in the order of the names."""
    return MappingProxyType({path.stem: read(path) for path in sorted(shelf().glob("*.yaml"))})


def read(path: Path) -> DataCard:
    """The card in a file. Raises UserError where it is none."""
    try:
        facts = dict(yaml.load(path.read_text("utf-8"), Loader=LOADER))
        files = tuple(file_of(dict(each)) for each in facts.pop("files"))
        arrange = facts.pop("arrange", None)
        spec = None if arrange is None else Spec(arrange.pop("of"), arrange)
        name, also = path.stem, tuple(facts.pop("also", ()))
        return DataCard(name, files=files, arrange=spec, folder=facts.pop("folder", name), also=also, **facts)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, yaml.YAMLError) as error:
        raise UserError(f"{path} is no card of a data set ({error}); see the others for what belongs there") from None


def file_of(facts: dict[str, Any]) -> DataFile:
    """A card's entry under `files`. Its checksum is 64 digits in small letters, or the word `unverified`."""
    sha256 = str(facts.pop("sha256"))
    if sha256 != UNVERIFIED and (len(sha256) != 64 or set(sha256) - set("0123456789abcdef")):
        raise ValueError(f"'{sha256}' is neither a sha256 nor the word {UNVERIFIED}")
    given = facts.pop("address", ())
    addresses = (given,) if isinstance(given, str) else tuple(given)
    name = facts.pop("name", "") or addresses[0].rsplit("/", 1)[1]
    return DataFile(name, addresses, sha256="" if sha256 == UNVERIFIED else sha256, **facts)


def known(name: str) -> DataCard:
    """The card of that name, in whichever letters. Raises UserError, with what is near."""
    found = {other: card for card in cards().values() for other in (card.name, *card.also)}
    if name.lower() not in found:
        from i2i.marked import near

        raise UserError(f"no data set is called '{name}'{near(name.lower(), found)}; `i2i data list` lists them")
    return found[name.lower()]


def home(card: DataCard, into: Path | None = None) -> Path:
    """Where a set belongs: below `into`, else $I2I_DATA, else ./datasets."""
    place = into or Path(os.environ.get("I2I_DATA") or "datasets").expanduser()
    return place / card.folder


def here(card: DataCard) -> Path | None:
    """Where a set lies, of the places in which folders are looked for; None where it does not."""
    data = os.environ.get("I2I_DATA")
    places = [Path(), Path("datasets"), *([Path(data).expanduser()] if data else [])]
    return next((place / card.folder for place in places if (place / card.folder).is_dir()), None)
