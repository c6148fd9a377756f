"""JSON that pandas writes of a table, column by column: `DataFrame.to_json` and its ``orient``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from datasets_prep.cells import Row
from datasets_prep.opening import open_text
from datasets_prep.source import Source
from recipes.runner.core.errors import UserError

_PEEK = 1 << 12
_OPENS = re.compile(r'\s*\{\s*"[^"]*"\s*:\s*(?:\[|\{\s*"0"\s*:)')


def read_table(path: Path, source: Source, most: int) -> list[Row]:
    """The rows of a JSON file that holds a table column by column; none of another.

    Args:
        path: the file.
        source: what is said of it.
        most: bytes of a file that is turned round in memory.

    Raises:
        UserError: it is larger.
    """
    large = path.stat().st_size > most
    with open_text(path, source, None) as file:
        if not large:
            return rows_of_table(json.load(file))
        if not _OPENS.match(file.read(_PEEK)):
            return []
    raise UserError(
        "holds a table column by column, too large to be turned round in memory",
        str(path),
        "Write it anew with orient='records' and lines=True",
    )


def rows_of_table(value: Any) -> list[Row]:
    """The rows of a table that is written as columns; none when it is no such thing.

    Known are ``columns`` (pandas' default: an object of indices for each column), ``list`` (a list
    for each column), ``split`` (names, and lists of values) and ``table`` (rows under ``data``).
    """
    if not isinstance(value, dict) or not value:
        return []
    data, names = value.get("data"), value.get("columns")
    if isinstance(data, list) and isinstance(names, list) and all(map(_is_name, names)):
        wide = [isinstance(fields, list) and len(fields) == len(names) for fields in data]
        return [dict(zip(names, fields, strict=True)) for fields in data] if all(wide) else []
    if isinstance(data, list) and "schema" in value:
        return data if all(isinstance(row, dict) for row in data) else []
    columns = list(value.values())
    if all(isinstance(column, list) for column in columns):
        if len({len(column) for column in columns}) > 1 or len(columns) < 2:
            return []
        return [dict(zip(value, fields, strict=True)) for fields in zip(*columns, strict=True)]
    if is_by_column(value):
        return [{name: value[name][key] for name in value} for key in columns[0]]
    return []


def is_by_column(value: dict[str, Any]) -> bool:
    """Whether an object holds columns, each an object of the same indices."""
    columns = list(value.values())
    if not all(isinstance(column, dict) and column for column in columns):
        return False
    keys = columns[0].keys()
    return all(key.isdigit() for key in keys) and all(c.keys() == keys for c in columns)


def _is_name(value: Any) -> bool:
    return isinstance(value, str)
