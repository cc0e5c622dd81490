"""A data set by its name: files fetched and compared, unpacked, brought to its layout, and given their place at once.

Files wait in the cache until the set is whole, and go then. What the cache remembers of them is what later downloads
are compared with, where nobody but their address vouches for them.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from i2i.data.arrival import Present, arriving
from i2i.data.cards import DataCard, DataFile, home, known
from i2i.download import FULL, Downloaded, DownloadError, Record, Say, announce, cache_folder, digest, fetch
from i2i.errors import UserError

__all__ = ["about", "forget", "get", "records"]

Came = tuple[Downloaded, str]
"""A file that is here, and where it came from."""

Bring = Callable[[Path, Path], None]
"""Called with the folder of what was unpacked and the folder to fill; see `arranging`."""

ABOUT = "about.txt"  # what is put into a set's folder: origin, terms, citation


def get(
    name: str,
    *,
    into: Path | None = None,
    given: Sequence[Path] = (),
    overwrite: bool = False,
    keep: bool = False,
    say: Say | None = announce,
) -> Path:
    """The folder of a data set: the one that is there, else fetched and unpacked now.

    Args:
        name: of a card.
        into: the folder to put its folder in; None takes $I2I_DATA, else ./datasets.
        given: files of it that were fetched otherwise; they stay where they are.
        overwrite: replace it if it is there.
        keep: leave the fetched archives in the cache.
        say: what is told of the progress; None keeps silent.

    Raises:
        UserError: no network, not the file that it should be, no archive that can be unpacked, no room.
    """
    card = known(name)
    target = home(card, into)
    if target.exists() and not overwrite:
        return target
    store = cache_folder() / "data" / card.name
    chosen, bring = matched(card, given), arranger(card)
    for file in card.files:
        if file.name not in chosen and not (file.addresses or file.drive):
            raise UserError(f"{card.name}: {by_hand(card)}")
    try:
        with arriving(target, overwrite=overwrite, say=say) as part:
            # those at hand first, then Google's, which need a package: so that nothing is fetched for nothing
            order = sorted(card.files, key=lambda file: (file.name not in chosen, bool(file.addresses)))
            came = {file.name: obtain(card, file, chosen.get(file.name), store, say) for file in order}
            if say is not None:
                say(f"{card.name}: unpacking")
            work = part / ".unpacked"  # on the same disk, so that files are moved and not copied
            work.mkdir()
            unfold(came, work, store)
            arrange(card, bring, work, part)
            shutil.rmtree(work)
            remember(card, came, say)
            (part / ABOUT).write_text(about(card), "utf-8")
    except Present:  # another process was at it, too
        return target
    if not keep:
        shutil.rmtree(store, ignore_errors=True)
    return target


def arranger(card: DataCard) -> Bring:
    """What brings a set's files to its layout. Raises UserError where that needs what is not installed."""
    from i2i.data.arranging import Whole

    found: Bring = Whole() if card.arrange is None else card.arrange.build()
    return found


def arrange(card: DataCard, bring: Bring, unpacked: Path, out: Path) -> None:
    """Bring what was unpacked to the card's layout. Raises UserError where it does not lie as it should."""
    try:
        bring(unpacked, out)
    except UserError as error:
        raise UserError(f"{card.name}: {error}", code=error.code) from None
    except (OSError, ValueError, LookupError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        raise UserError(f"{card.name}: what was fetched does not lie as its card says ({error})", code=1) from None


def unfold(came: Mapping[str, Came], folder: Path, store: Path) -> None:
    """Unpack each archive into a folder of its own; what is no archive is copied into one. One in the cache that cannot
    be unpacked goes: it would be taken for whole the next time."""
    from i2i.data.unpacking import is_archive, unpack

    for name, (file, _) in came.items():
        if is_archive(Path(name)):
            try:
                unpack(file.path, folder / name)
            except UserError:
                (store / name).unlink(missing_ok=True)
                raise
        else:
            (folder / name).mkdir()
            shutil.copyfile(file.path, folder / name / name)


def matched(card: DataCard, given: Sequence[Path]) -> dict[str, Path]:
    """The card's file that each given one is, by its name. Raises UserError."""
    names = {file.name for file in card.files}
    found = {}
    for path in given:
        if not path.is_file():
            raise UserError(
                f"{path} {'is a folder' if path.is_dir() else 'does not exist'}; name a file of {card.name}"
            )
        name = path.name if path.name in names else next(iter(names)) if len(names) == 1 else ""
        if not name:
            raise UserError(f"{path} is no file of {card.name}, whose files are {', '.join(sorted(names))}")
        found[name] = path
    return found


def by_hand(card: DataCard) -> str:
    """What a user must do who cannot be spared it."""
    names = [file.name for file in card.files if not (file.addresses or file.drive)]
    return (
        f"{' and '.join(names)} must be fetched by hand, from {card.origin}; then "
        f"`i2i data get {card.name} {' '.join(f'--from {name}' for name in names)}`"
    )


def obtain(card: DataCard, file: DataFile, given: Path | None, store: Path, say: Say | None) -> Came:
    """One of a set's files and where it came from, compared with its card and with what is remembered."""
    path = store / file.name
    if given is not None or path.is_file():  # what lies in the cache under its name is whole
        path = given or path
        came = Downloaded(path, digest(path), path.stat().st_size), str(given or next(iter(file.addresses), file.drive))
        if file.sha256 not in ("", came[0].sha256):
            if given is None:
                path.unlink()
            found = f"its sha256 is {came[0].sha256}, not {file.sha256}"
            raise UserError(f"{path} is not the file it should be: {found}", code=1)
    else:
        came = (from_address if file.addresses else from_drive)(card, file, path, say)
    refuse_another(card, file, *came, store)
    return came


def from_address(card: DataCard, file: DataFile, path: Path, say: Say | None) -> Came:
    """A file, fetched. Raises UserError."""
    # the bytes on a card without a checksum are one source's word: what comes is not held to them
    size, sha256 = (file.bytes or None, file.sha256) if file.sha256 else (None, None)
    for left, address in enumerate(file.addresses, 1 - len(file.addresses)):
        try:
            return fetch(address, path, name=card.name, shelf=card.name, sha256=sha256, size=size, say=say)
        except DownloadError as error:
            if left and error.absent:
                if say is not None:
                    say(f"{card.name}: {error}")
                continue
            elsewhere = f"a copy from elsewhere is taken by `i2i data get {card.name} --from {file.name}`"
            raise UserError(f"{card.name} cannot be fetched: {error}; {elsewhere}", code=1) from None
    raise AssertionError("a file without an address")


def from_drive(card: DataCard, file: DataFile, path: Path, say: Say | None) -> Came:
    """A file at Google Drive, through torchvision, which needs the package gdown. Raises UserError."""
    from torchvision.datasets.utils import download_file_from_google_drive

    source, part = f"https://drive.google.com/file/d/{file.drive}", path.with_name(f".{path.name}.part")
    if say is not None:
        say(f"{card.name}: fetching {source}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        download_file_from_google_drive(file.drive, path.parent, part.name)
        if file.sha256 not in ("", digest(part)):
            raise RuntimeError("what comes is another file")
        os.replace(part, path)
    except Exception as error:  # gdown has exceptions of its own, and a page in the place of a file is one of them
        why = str(error).split("\n")[0].rstrip(".") or type(error).__name__
        raise UserError(
            f"{file.name} of {card.name} does not come from Google Drive ({why}); fetch it in a browser from "
            f"{source}, then `i2i data get {card.name} --from {file.name}`",
            code=1,
        ) from None
    finally:
        part.unlink(missing_ok=True)
    return Downloaded(path, digest(path), path.stat().st_size), source


# --- what is remembered ----------------------------------------------------------------------------------------------


def notes(card: DataCard) -> Path:
    return cache_folder() / "data" / f"{card.name}.json"


def records(card: DataCard) -> dict[str, Record]:
    """What is remembered of a set's files, by name. Raises UserError where that cannot be read."""
    path = notes(card)
    try:
        facts = json.loads(path.read_text("utf-8"))
        return {name: Record(**{f.name: said[f.name] for f in fields(Record)}) for name, said in facts.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"the record {path} cannot be read ({error}); remove it to start anew", code=1) from None


def forget(name: str) -> bool:
    """Forget what is remembered of a set's files; whether there was anything."""
    path = notes(known(name))
    there = path.is_file()
    path.unlink(missing_ok=True)
    return there


def refuse_another(card: DataCard, file: DataFile, arrived: Downloaded, source: str, store: Path) -> None:
    """Raises UserError where another file came the first time."""
    before = records(card).get(file.name)
    if before is None or before.sha256 == arrived.sha256 or file.sha256:
        return
    (store / file.name).unlink(missing_ok=True)
    raise UserError(
        f"{card.name}: {source} is another file than the one first seen on {before.seen}: its sha256 is "
        f"{arrived.sha256}, and that one's {before.sha256}; nothing was changed, and if the change is meant, "
        f"`i2i data get {card.name} --forget` forgets the first",
        code=1,
    )


def remember(card: DataCard, came: Mapping[str, Came], say: Say | None) -> None:
    """Note the files that made a whole set. Raises UserError where the cache cannot be written."""
    known_files = {file.name: file for file in card.files}
    path, kept = notes(card), records(card)
    for name, (arrived, source) in came.items():
        file, before = known_files[name], kept.get(name)
        seen = before.seen if before and before.sha256 == arrived.sha256 else datetime.date.today().isoformat()
        kept[name] = Record(source, arrived.sha256, arrived.bytes, seen, verified=bool(file.sha256))
        if say is not None:
            say(f"{card.name}: {name}: {kept[name].words()}")
            if file.bytes not in (0, arrived.bytes):
                say(f"{card.name}: {name} has {arrived.bytes:,} bytes, and {file.bytes:,} when its card was written")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(json.dumps({name: asdict(record) for name, record in kept.items()}, indent=1) + "\n")
        os.replace(fresh, path)
    except OSError as error:
        why = f"{error.strerror or error}; $I2I_CACHE names another folder"
        raise UserError(f"the cache {path.parent} cannot be written: {why}", code=1) from None


def about(card: DataCard) -> str:
    """What is put beside the pictures: what they are, whose, under which terms."""
    lines = [card.title, "", f"origin:   {card.origin}", f"licence:  {card.licence}", f"citation: {card.citation}"]
    lines += [f"file:     {name} {record.words()}" for name, record in records(card).items()]
    return "\n".join([*lines, "", f"Put here by `i2i data get {card.name}`.", ""])
