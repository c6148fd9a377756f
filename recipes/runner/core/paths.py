"""Where the repository lies, and how a path in it is shown."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
RECIPES = ROOT / "recipes"


def is_file(path: str | Path) -> bool:
    """Whether a regular file is there; False for a name that no system takes."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def file_here(path: str) -> Path | None:
    """The regular file that a recipe means by a path: from here, else from the project's folder."""
    return next((place for place in (Path(path), ROOT / path) if is_file(place)), None)


def is_folder(path: str | Path) -> bool:
    """The same of a folder."""
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def display_path(path: str | Path) -> str:
    """The path relative to the repository when it lies in it."""
    try:
        resolved = Path(path).resolve()
    except (OSError, RuntimeError):  # a link to itself
        return str(path)
    return str(resolved.relative_to(ROOT)) if resolved.is_relative_to(ROOT) else str(path)
