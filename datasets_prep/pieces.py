"""Rows that are too long, cut between exchanges."""

from __future__ import annotations

from typing import Any

# A row in place of a longer one, and its tokens.
Piece = tuple[dict[str, Any], int]


def exchanges(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each exchange, with the system turn before it."""
    messages = row["messages"]
    head = messages[:1] if messages[0]["role"] == "system" else []
    body = messages[len(head) :]
    return [{**row, "messages": head + body[i : i + 2]} for i in range(0, len(body), 2)]


def joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One row of several that `exchanges` made, with the system turn once."""
    rest = [m for part in parts[1:] for m in part["messages"] if m["role"] != "system"]
    return {**parts[0], "messages": [*parts[0]["messages"], *rest]}


def plan(alone: list[int], saved: int, most: int) -> list[list[int]]:
    """Which exchanges make a piece.

    Args:
        alone: tokens of each exchange by itself.
        saved: tokens that an exchange takes less when it follows another.
        most: tokens of a piece.
    """
    made: list[list[int]] = []
    room = 0
    for index, tokens in enumerate(alone):
        if tokens > most:
            room = 0
        elif tokens - saved <= room:
            made[-1].append(index)
            room -= tokens - saved
        else:
            made.append([index])
            room = most - tokens
    return made
