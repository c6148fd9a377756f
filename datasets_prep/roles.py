"""Who speaks: names that sources give, and the roles that they stand for."""

from __future__ import annotations

from collections import Counter
from typing import Any

from datasets_prep.turn_lists import TOOL_ROLES

DEFAULT_ROLES = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "bot", "model", "function_call", "tool_call"),
    "tool": TOOL_ROLES,
}


class UnknownRole(Exception):
    """A role that the definition does not map; ``role`` is it, as it stands in the data."""

    def __init__(self, role: str) -> None:
        """Name the role."""
        super().__init__(role)
        self.role = role


def by_position(first_speaker: str, index: int) -> str:
    """The role of a turn when two speak by turns."""
    other = "assistant" if first_speaker == "user" else "user"
    return other if index % 2 else first_speaker


class CountingRoles(dict[str, str]):
    """Maps any role, and counts it."""

    def __init__(self, counter: Counter[str]) -> None:
        super().__init__()
        self.counter = counter

    def get(self, key: str, default: Any = None) -> Any:
        """Count the role; it stands for the user."""
        self.counter[key] += 1
        return "user"
