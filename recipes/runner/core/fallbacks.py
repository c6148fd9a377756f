"""Fallbacks are said once and kept, so that run.json can name every one a run took."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from recipes.runner.core.terminal import send


@dataclass(frozen=True)
class Fallback:
    """One fast or preferred path that was not taken.

    Attributes:
        part: what fell back, for example ``falcon.attention``.
        took: the path that runs instead.
        reason: why the preferred path could not run here.
    """

    part: str
    took: str
    reason: str


_taken: dict[str, Fallback] = {}


def note_fallback(part: str, took: str, reason: str) -> None:
    """Record a fallback; the first call for each ``part`` also says it to the user."""
    if part not in _taken:
        send("note", text=f"{part}: using {took}, because {reason}")
    _taken[part] = Fallback(part, took, reason)


def fallbacks_taken() -> list[dict[str, str]]:
    """All fallbacks of this process in the order they were taken, ready for JSON."""
    return [asdict(fallback) for fallback in _taken.values()]


def forget_fallbacks() -> None:
    """Start a new run in the same process with an empty list."""
    _taken.clear()
