"""Write files whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str | Iterable[str]) -> None:
    """Write under a temporary name beside it, then rename; pieces are written as they come."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.writelines([text] if isinstance(text, str) else text)
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    """One JSON value, indented."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """One JSON value a line."""
    write_text(path, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
