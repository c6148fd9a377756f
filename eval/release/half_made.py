"""A folder for what is half made, inside the run's: all of it is moved out when whole, or none."""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import display_path
from recipes.runner.run.finished import Run

_FOLDER = ".export.partial"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CUT = re.compile(r"\d+ requested and \d+ written")  # numpy's words of a write that was cut short


@contextlib.contextmanager
def half_made(run: Run) -> Iterator[Path]:
    """An empty folder, gone after the block; what a killed process left there goes first.

    Raises:
        UserError: another export of the run is at work, or a file can't be read or written.
    """
    folder = run.path / _FOLDER
    try:
        with FileLock(run.path / ".export.lock").acquire(timeout=0):
            try:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except Timeout:
        raise UserError("is being exported by another process", display_path(run.path)) from None
    except (OSError, SafetensorError) as error:
        merged = run.path / "merged"
        todo = f"If {display_path(merged)} is damaged: make merge RUN={run.name} FORCE=1"
        raise failed("exported", error, run.path, todo if merged.is_dir() else "") from None


def failed(verb: str, error: OSError | SafetensorError, folder: Path, todo: str = "") -> UserError:
    """One line for what the system or a library says.

    Args:
        verb: what can't be done.
        error: what was said; a library raises OSError too for what it can't read.
        folder: where.
        todo: what to do, unless it is to make room.
    """
    said = getattr(error, "strerror", None) or (str(error).splitlines() or [repr(error)])[0]
    full = getattr(error, "errno", None) in _FULL or "No space left" in said or _CUT.search(said)
    where = display_path(folder)
    return UserError(f"can't be {verb}: {said[:300]}", where, "Free some room" if full else todo)


def shown(file: Path) -> str:
    """The path under which a half-made file would be kept: where it lies now is gone soon."""
    kept = file.parent.parent / file.name if file.parent.name == _FOLDER else file
    return display_path(kept)


def keep(folder: Path, run: Run) -> None:
    """Move files into the run's folder, the large ones last: a GGUF is there with its proof."""
    files = [path for path in folder.iterdir() if path.is_file()]
    for path in sorted(files, key=lambda path: path.stat().st_size):
        path.replace(run.path / path.name)
