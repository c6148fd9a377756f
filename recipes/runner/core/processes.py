"""Child processes that end: with the one that started them, or when they are told to."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1  # of prctl(2)


def end_with_parent() -> None:
    """For ``preexec_fn``: SIGTERM to the child when its parent is gone; does nothing off Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def stop_group(process: subprocess.Popen[str], patience: float = 20) -> None:
    """End a process that leads a session and everything in it: SIGTERM first, then SIGKILL.

    Args:
        process: started with ``start_new_session``.
        patience: seconds that it may take to end by itself.
    """
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
