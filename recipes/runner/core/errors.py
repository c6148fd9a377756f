"""The one way this project tells a user that something of theirs is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake the user can fix: shown as one line, never as a traceback.

    Args:
        what: what is wrong, in words.
        where: the file, ``file:line``, key or row it is about; empty when there is none.
        todo: what to do about it; empty when ``what`` already says so.
    """

    def __init__(self, what: str, where: str = "", todo: str = "") -> None:
        self.what, self.where, self.todo = what, where, todo
        line = f"{where}: {what}" if where else what
        super().__init__(f"{line}. {todo}" if todo else line)


class UserErrors(UserError):
    """Several mistakes found together, shown one a line."""

    def __init__(self, errors: list[UserError]) -> None:
        self.errors = errors
        super().__init__("\n".join(str(error) for error in errors))

    def __str__(self) -> str:
        """One line for each mistake."""
        return self.what


@contextmanager
def user_errors_exit(code: int = 1) -> Iterator[None]:
    """Turn a `UserError` into one line on stderr and exit code ``code`` (default 1)."""
    try:
        yield
    except UserError as error:
        sys.stdout.flush()
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        raise SystemExit(code) from None
