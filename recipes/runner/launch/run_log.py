"""The log of a run: everything that the libraries say, kept out of the terminal."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType

from recipes.runner.core.errors import UserError

LOG_FILE = "train.log"


class RunLog:
    """A file beside the run folder while it runs, and in it at the end.

    Beside it, since the run may set an old folder aside while it starts. A full disk ends the log
    and not the run, which then says itself what it could not write.

    Args:
        folder: of the run.

    Attributes:
        path: where the log lies now.

    Raises:
        UserError: it can't be written at all.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = folder.parent / f".{folder.name}.{LOG_FILE}"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: what a full disk refused must not be tried again at closing.
            self._file = self.path.open("wb", buffering=0)
        except OSError as error:
            raise UserError(
                f"can't be written: {error.strerror}", str(folder.parent), "Free it, or take RUN="
            ) from None

    def write(self, text: str) -> None:
        """Add a text, as far as the disk takes it."""
        with contextlib.suppress(OSError):
            self._file.write(text.encode("utf-8", errors="replace"))

    def __enter__(self) -> RunLog:
        """Nothing more: it is open since it was made."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file and move it into the run folder, behind an earlier log there."""
        self._file.close()
        if not self._folder.is_dir():
            return
        target = self._folder / LOG_FILE
        with contextlib.suppress(OSError):
            if target.exists():
                with target.open("ab") as existing:
                    existing.write(self.path.read_bytes())
                self.path.unlink()
            else:
                self.path.replace(target)
            self.path = target
