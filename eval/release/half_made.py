"""A folder for what is half made, inside the run's: all of it is moved out when whole, or none."""

from __future__ import annotations

import contextlib
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
        # An error of the system has its words; a library raises OSError for what it can't read.
        said = getattr(error, "strerror", None) or (str(error).splitlines() or [repr(error)])[0]
        written = getattr(error, "strerror", None) or _CUT.search(said)
        verb, todo = ("written", "Free some room") if written else ("exported", "")
        raise UserError(f"can't be {verb}: {said[:300]}", display_path(run.path), todo) from None


def keep(folder: Path, run: Run) -> None:
    """Move files into the run's folder, the large ones last: a GGUF is there with its proof."""
    files = [path for path in folder.iterdir() if path.is_file()]
    for path in sorted(files, key=lambda path: path.stat().st_size):
        path.replace(run.path / path.name)
