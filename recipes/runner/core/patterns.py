"""Regular expressions that a user wrote: what is wrong with one, and no waiting for it for ever."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from recipes.runner.core.errors import UserError

SECONDS = 2.0
"""How long all matches of one expression may take, in seconds of this process's own work."""

_SHOWN = 80  # characters
ON_TEXT = 30.0
"""The same for one text of a data set or an answer, which may be long."""


class BadPattern(ValueError):
    """An expression that can't be used; its text goes on from the expression."""


class _TimeIsUp(BaseException):
    """Raised inside a match: no ``except Exception`` of a library's may hold it up."""


@contextmanager
def guarded(seconds: float = SECONDS) -> Iterator[None]:
    """Stop an expression that takes too long, and say what is wrong with one that is none.

    The engine stays Python's own `re`, which PEFT, transformers and Axolotl match with too: another
    one would find its way out of expressions that hang in the run. It looks for signals on its
    way, and the clock counts this process's own work, not a machine that is busy with others. Only
    the main thread can be told so: in any other nothing is timed.

    Args:
        seconds: how long the block may take.

    Raises:
        BadPattern: no regular expression, or one that takes longer.
    """
    timed = threading.current_thread() is threading.main_thread()
    try:
        if timed:
            before = signal.signal(signal.SIGVTALRM, _stop)
            signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        try:
            yield
        finally:
            if timed:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                signal.signal(signal.SIGVTALRM, before)
    except _TimeIsUp:
        reason = f"took over {seconds:g} seconds: a repetition in a repetition, as in (a+)+"
        raise BadPattern(reason) from None
    except (re.error, RecursionError, OverflowError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise BadPattern(f"is no regular expression: {reason}") from None


def shown(expression: object) -> str:
    """An expression as a line can show it."""
    text = repr(expression)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def search(pattern: re.Pattern[str], text: str, key: str) -> re.Match[str] | None:
    """The first place in a text that an expression of a user's matches.

    Args:
        pattern: the expression.
        text: a message, a cell, an answer.
        key: where the expression stands.

    Raises:
        UserError: it takes more than `ON_TEXT` seconds.
    """
    try:
        with guarded(ON_TEXT):
            return pattern.search(text)
    except BadPattern as error:
        raise UserError(f"{shown(pattern.pattern)} {error}", key, "Correct it") from None


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _TimeIsUp
