"""What a recipe calls layers by, compared with their paths as PEFT 0.20 does."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_LAYER_NUMBER = r".*?\.{}\.(\d+)\."


def texts(value: Any) -> list[str]:
    """Names as a list; of a value that is no list, none: its type is refused elsewhere."""
    if isinstance(value, str):
        return [value] if value else []
    return [str(entry) for entry in value] if isinstance(value, list) else []


def rank_of(value: Any) -> int:
    """A rank, or 0 for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def layer_of(path: str, patterns: Iterable[str]) -> int | None:
    """The number of the layer that a path stands in (`peft_layers_pattern`); None for none."""
    for pattern in patterns:
        found = re.match(_LAYER_NUMBER.format(pattern), path)
        if found:
            return int(found[1])
    return None


def is_of(pattern: str, path: str) -> bool:
    """Whether a pattern of ranks or alphas means a path."""
    return re.match(rf"(.*\.)?({pattern})$", path) is not None


def pattern_of(patterns: Iterable[str], path: str) -> str:
    """The first pattern that means a path; the path itself where none does."""
    return next((pattern for pattern in patterns if is_of(pattern, path)), path)
