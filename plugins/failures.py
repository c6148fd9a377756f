"""A run that fails says why in one line; the traceback goes to its log."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable
from types import TracebackType

from recipes.runner.core import terminal
from recipes.runner.core.errors import UserError

_when_failing: list[Callable[[str], None]] = []


def on_failure(callback: Callable[[str], None]) -> None:
    """Call ``callback(reason)`` before the process ends by an exception."""
    _when_failing.append(callback)


def say_failures_in_one_line() -> None:
    """Replace Python's traceback on the terminal by one line that says what to do."""
    sys.excepthook = _excepthook


def describe(error: BaseException) -> str:
    """One line for a person: what went wrong, and what to do about it."""
    if isinstance(error, UserError):
        return str(error)
    for kind, matches, sentence in _KNOWN:
        found = next((cause for cause in _causes(error) if matches(cause)), None)
        if found is not None:
            return f"{kind}: {sentence} ({_first_line(found)})"
    if sentences := _refusals(error):
        return f"Axolotl refuses the recipe: {'; '.join(sentences)}"
    return f"training failed: {type(error).__name__}: {_first_line(error)}"


def _refusals(error: BaseException) -> list[str]:
    """What pydantic found wrong, a sentence each; its own first line only says how many."""
    faults = getattr(error, "errors", None)
    if type(error).__name__ != "ValidationError" or not callable(faults):
        return []
    sentences = []
    for fault in faults():
        place = ".".join(str(part) for part in fault["loc"])
        text = " ".join(str(fault["msg"]).split()).removeprefix("Value error, ")
        sentences.append(f"{place}: {text}" if place else text)
    return sentences


def _excepthook(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    reason = describe(error)
    if not isinstance(error, UserError) and os.environ.get(terminal.PIPE_VARIABLE):
        traceback.print_exception(kind, error, trace)
    for callback in _when_failing:
        try:
            callback(reason)
        except Exception:  # a full disk must not hide the reason that filled it
            traceback.print_exc()
    terminal.send("error", text=reason)
    sys.stdout.flush()
    sys.stderr.flush()


def _causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    return chain


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _named(*names: str) -> Callable[[BaseException], bool]:
    return lambda error: any(base.__name__ in names for base in type(error).__mro__)


def _disk_full(error: BaseException) -> bool:
    words = ("No space left on device", "os error 28", "file write failed", "PytorchStreamWriter")
    is_errno = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return is_errno or any(word in str(error) for word in words)


def _rank_gone(error: BaseException) -> bool:
    words = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")
    nccl = ("DistBackendError", "DistNetworkError", "ncclRemoteError")
    return _named(*nccl)(error) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


_KNOWN: list[tuple[str, Callable[[BaseException], bool], str]] = [
    (
        "another rank is gone",
        _rank_gone,
        "this one can't go on alone; why the other ended stands in the log of its machine",
    ),
    (
        "the disk is full",
        _disk_full,
        "the last complete checkpoint is kept; free space and run the same command again",
    ),
    (
        "out of GPU memory",
        _named("OutOfMemoryError"),
        "lower micro_batch_size or sequence_len, or see make plan",
    ),
    (
        "a weights file is damaged",
        _named("SafetensorError"),
        "delete the file, or download the model again; a damaged checkpoint is passed over when"
        " the same command is run again",
    ),
    (
        "the Hugging Face Hub can't be reached",
        _named(
            "OfflineModeIsEnabled",
            "LocalEntryNotFoundError",
            "HfHubHTTPError",
            "ConnectError",
            "ConnectionError",
            "ReadTimeout",
        ),
        "check the network, or name a local folder as base_model; a download goes on where it"
        " stopped",
    ),
]
