"""A folder arrives whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from i2i.download import FULL, Say, announce, locked
from i2i.errors import UserError

__all__ = ["Present", "arriving"]


class Present(UserError):
    """The folder is there already."""


@contextmanager
def arriving(target: Path, *, overwrite: bool = False, say: Say | None = announce) -> Iterator[Path]:
    """A new, empty folder beside `target` that takes its name at the end; where that is not reached, nothing is left.

    Two processes that want the same folder take turns. What one that was killed has left is cleared away by the next.

    Raises:
        Present: `target` is there and is not to be replaced.
        UserError: the disk is full or cannot be written.
    """
    part, old = target.with_name(f".{target.name}.part"), target.with_name(f".{target.name}.old")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target, say):
            if target.exists() and not overwrite:
                raise Present(f"{target} is there already; name another folder, or replace it with --overwrite")
            for left in (part, old):
                shutil.rmtree(left, ignore_errors=True)
            part.mkdir()
            try:
                yield part
                if target.exists():
                    os.replace(target, old)
                os.replace(part, target)
            finally:
                shutil.rmtree(part, ignore_errors=True)
                shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        place = error.filename if isinstance(error.filename, str) else target
        if error.errno in FULL:
            raise UserError(f"{target} cannot be written, {error.strerror}: free some space there", code=1) from None
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(f"{place} is too long a name for this disk; nothing was kept", code=1) from None
        raise UserError(f"{target} cannot be written: {error.strerror or error} ({place})", code=1) from None
