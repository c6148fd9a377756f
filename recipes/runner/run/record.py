"""run.json: always whole on disk, whatever happens to the process that writes it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FILE = "run.json"
RUNNING, FINISHED, STOPPED_EARLY = "running", "finished", "stopped early"
FAILED, INTERRUPTED = "failed", "interrupted"
ENDED_WELL = (FINISHED, STOPPED_EARLY)


class RunRecord:
    """The record of one run folder.

    Args:
        folder: the run's output folder.

    Attributes:
        data: everything that run.json holds.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data: dict[str, Any] = {}

    def update(self, **fields: Any) -> None:
        """Change some fields and write all of them, by rename.

        Raises:
            OSError: the disk is full or the folder is gone; the file keeps its last state.
        """
        self.data.update(fields)
        self.data["updated"] = now()
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".{FILE}.{os.getpid()}"
        try:
            partial.write_text(
                json.dumps(self.data, indent=2, default=str) + "\n", encoding="utf-8"
            )
            partial.replace(self.folder / FILE)
        finally:
            partial.unlink(missing_ok=True)


def read_record(folder: Path) -> dict[str, Any]:
    """What run.json holds; empty when there is none or it can't be read."""
    try:
        data = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
