"""What has been generated so far, on disk: an interrupted evaluation goes on where it stopped."""

from __future__ import annotations

import json
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

    def put(self, key: str, value: Any) -> None:
        """Keep a value, at once on disk."""
        self._values[key] = value
        self._path.parent.mkdir(parents=True, exist_ok=True)
        broken = self._path.is_file() and self._path.read_bytes()[-1:] not in (b"", b"\n")
        with self._path.open("a", encoding="utf-8") as file:
            file.write(("\n" if broken else "") + json.dumps({"key": key, "value": value}) + "\n")
