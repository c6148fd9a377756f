"""results.jsonl, read a line at a time: thousands of prompts never stand in memory together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Results:
    """The lines of one results file, in order or by their place.

    Args:
        path: results.jsonl, whole.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Row]:
        """Every line."""
        return (row for _, row in self.placed())

    def placed(self) -> Iterator[tuple[int, Row]]:
        """Every line with its place in the file, in bytes."""
        with self._path.open("rb") as file:
            place = 0
            for line in file:
                yield place, json.loads(line)
                place += len(line)

    def at(self, places: list[int]) -> Iterator[Row]:
        """The lines that begin at these places, in the order asked for."""
        with self._path.open("rb") as file:
            for place in places:
                file.seek(place)
                yield json.loads(file.readline())
