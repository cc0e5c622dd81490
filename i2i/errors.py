"""What goes wrong for reasons a user can mend."""

from __future__ import annotations

__all__ = ["UserError"]


class UserError(Exception):
    """One sentence for the user: what, where, what to do. The command line prints it and exits with `code`.

    Args:
        sentence: shown as it is.
        code: 2 where the request itself is wrong, 1 where the work failed.
    """

    def __init__(self, sentence: str, *, code: int = 2) -> None:
        super().__init__(sentence)
        self.code = code
