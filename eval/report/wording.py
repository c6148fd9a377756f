"""What the terminal, the pages and the model card say in the same words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def gates_said(gates: Sequence[dict[str, Any]]) -> str:
    """How many of a summary's gates fail, as a sentence without its full stop."""
    total, broken = len(gates), sum(not gate["holds"] for gate in gates)
    if not total:
        return "no gates are set"
    if not broken:
        return f"all {total} gates hold" if total > 1 else "the one gate holds"
    return f"{broken} of {total} gates fail{'s' if broken == 1 else ''}"


def cut_answers(summary: dict[str, Any]) -> str | None:
    """How long an answer could be and how many were cut there; None for results without it."""
    limits = summary.get("limits")
    if not limits:
        return None
    least, most = limits["least"], limits["most"]
    tokens = f"{most}" if least == most else f"{least} to {most}"
    return (
        f"an answer ends at {tokens} tokens at the latest; {limits['base_cut']:.0%} of base's and "
        f"{limits['tuned_cut']:.0%} of tuned's were cut there"
    )


def loops_said(summary: dict[str, Any]) -> str | None:
    """How many answers of each arm loop; None when none does, or for results without it."""
    limits = summary.get("limits") or {}
    if not (limits.get("base_loops") or limits.get("tuned_loops")):
        return None
    return (
        f"{limits['base_loops']:.0%} of base's answers and {limits['tuned_loops']:.0%} of tuned's "
        "loop, and count as failed whole"
    )


def few_differ(summary: dict[str, Any], least: int) -> list[str]:
    """Suites of whose prompts fewer than ``least``, and fewer than half, differ."""
    return [
        f"{row['name']} ({found['differing']} of {found['n']})"
        for row in summary["suites"]
        if (found := row["compared"]).get("differing", found["n"]) < min(least, found["n"] / 2)
    ]
