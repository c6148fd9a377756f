"""What a check finds: a place in the recipe, what is wrong there, and what to do."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from recipes.runner.core.yaml_file import KeyPath

Level = Literal["error", "warning", "note"]


class Finding(NamedTuple):
    """One thing found in a recipe.

    Attributes:
        place: the key it is about; empty for the whole recipe.
        what: what is wrong, in words.
        todo: what to do about it; empty when ``what`` already says so.
        level: an error stops the run; a warning is something that was hardly meant; a note is what
            a reader should know, such as what could not be looked up.
    """

    place: KeyPath
    what: str
    todo: str = ""
    level: Level = "error"


def words(text: str) -> tuple[str, ...]:
    """The words of a text: a long list of names that reads as one."""
    return tuple(text.split())


def number(value: Any) -> float | None:
    """A value as the number that Axolotl makes of it; None when it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def whole(config: dict[str, Any], key: str, default: int) -> int:
    """A whole number of a recipe; the default where there is none."""
    value = number(config.get(key))
    return int(value) if value is not None and value == value and abs(value) < 1e12 else default


def mapping(config: dict[str, Any], key: str) -> dict[Any, Any]:
    """A mapping of a recipe; an empty one where there is none."""
    value = config.get(key)
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    """A value that is a list; nothing for any other."""
    return value if isinstance(value, list) else []


def entries(config: dict[str, Any], key: str) -> list[tuple[int, dict[Any, Any]]]:
    """The mappings in a list of a recipe, each with its index."""
    found = enumerate(listed(config.get(key)))
    return [(index, entry) for index, entry in found if isinstance(entry, dict)]


def data_sets(config: dict[str, Any]) -> list[tuple[KeyPath, dict[Any, Any]]]:
    """Every entry of ``datasets`` and ``test_datasets``, each with its place."""
    return [
        ((key, index), entry)
        for key in ("datasets", "test_datasets")
        for index, entry in entries(config, key)
    ]


def is_ours(config: dict[str, Any]) -> bool:
    """Whether a recipe names a plugin of this repository: one that doesn't is Axolotl's alone.

    Such a file may be for another machine, and runs without what our plugins put right.
    """
    return any(str(name).startswith("plugins.") for name in listed(config.get("plugins")))


def spelt(value: Any) -> str:
    """A value as it is shown in a message, on one line and not too long."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
