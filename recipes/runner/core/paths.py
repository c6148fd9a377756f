"""Where the repository lies, and how a path in it is shown."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
RECIPES = ROOT / "recipes"


def display_path(path: str | Path) -> str:
    """The path relative to the repository when it lies in it."""
    resolved = Path(path).resolve()
    return str(resolved.relative_to(ROOT)) if resolved.is_relative_to(ROOT) else str(path)
