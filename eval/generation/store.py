"""What has been generated so far, on disk: an interrupted evaluation goes on where it stopped."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class AnswerStore:
    """Values by key in one append-only JSONL file.

    A line that was cut by a crash is dropped when the file is opened; everything before it holds.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, Any] = {}
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:
                    continue
                self._values[row["key"]] = row["value"]

    def get(self, key: str) -> Any | None:
        """The value, or None."""
        return self._values.get(key)

    def __contains__(self, key: str) -> bool:
        """Whether there is a value."""
        return key in self._values

    def __getitem__(self, key: str) -> Any:
        """The value, which must be there."""
        return self._values[key]

    def put(self, key: str, value: Any) -> None:
        """Keep a value, at once on disk."""
        self.put_all({key: value})

    def put_all(self, values: dict[str, Any]) -> None:
        """Keep several values, at once on disk."""
        self._values |= values
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps({"key": k, "value": v}) + "\n" for k, v in values.items())
        with self._path.open("a", encoding="utf-8") as file:
            file.write(("\n" if self._is_broken() else "") + lines)

    def _is_broken(self) -> bool:
        """Whether a crash cut the file's last line."""
        if not self._path.is_file() or not self._path.stat().st_size:
            return False
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
