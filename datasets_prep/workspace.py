"""The folder in which a data set is made before it takes its place."""

from __future__ import annotations

import glob
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_LOCK = "lock"


@contextmanager
def only_run(target: Path) -> Iterator[None]:
    """Hold ``target`` against other runs that would write it; wait, and say so, while one does."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.parent / f".{target.name}.lock"
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"note: waiting for another run that makes {target.name}", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        # While it is held: who waits for it sees that it is gone, and takes a new one.
        path.unlink(missing_ok=True)
        lock.release()


@contextmanager
def work_folder(target: Path) -> Iterator[Path]:
    """A hidden folder beside ``target``, removed at the end.

    What a killed run left there is removed first: its lock is free, that of a live run is not.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for old in target.parent.glob(f".{glob.escape(target.name)}.*/{_LOCK}"):
        _remove_if_left(old)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with FileLock(work / _LOCK):
            yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove_if_left(lock: Path) -> None:
    try:
        with FileLock(lock, timeout=0):
            shutil.rmtree(lock.parent, ignore_errors=True)
    except (Timeout, OSError):
        return
