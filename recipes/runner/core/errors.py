"""The one way this project tells a user that something of theirs is wrong."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

# What a shell reports of a program that a closed pipe ended: 128 and the number of SIGPIPE.
CLOSED_PIPE = 141


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
    """Turn a `UserError` into one line on stderr and exit code ``code`` (default 1).

    Output that nobody reads any more (``make data | head``) ends the command without a word, with
    the code `CLOSED_PIPE`.
    """
    try:
        try:
            yield
        except UserError as error:
            with suppress(BrokenPipeError):
                sys.stdout.flush()
            for line in str(error).splitlines():
                print(f"error: {line}", file=sys.stderr)
            raise SystemExit(code) from None
        finally:
            # Here, where what a closed pipe raises is still caught; not over another error.
            if sys.exc_info()[0] in (None, SystemExit):
                sys.stdout.flush()
    except BrokenPipeError:
        closed = [stream for stream in (sys.stdout, sys.stderr) if _is_closed(stream)]
        if not closed:
            # A pipe or a socket of the work's own.
            raise
        # The interpreter flushes them at its end, and would complain.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in closed:
            os.dup2(nowhere, stream.fileno())
        raise SystemExit(CLOSED_PIPE) from None


def _is_closed(stream: IO[str]) -> bool:
    """Whether a stream is a pipe that nobody reads any more."""
    try:
        number = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return False
    poll = select.poll()
    poll.register(number, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
