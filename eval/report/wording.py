"""What the terminal, the pages and the model card say in the same words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eval.checks.registry import decides
from eval.checks.worth import measured


def gates_said(gates: Sequence[dict[str, Any]]) -> str:
    """How many of a summary's gates fail or are open, as a sentence without its full stop."""
    total = len(gates)
    # Results from before gates could be open say only whether they hold.
    kinds = [gate.get("status", "holds" if gate["holds"] else "fails") for gate in gates]
    broken, unsure = kinds.count("fails"), kinds.count("open")
    informing = kinds.count("informs")
    total -= informing
    informs = f", {informing} more inform{'s' if informing == 1 else ''} only" if informing else ""
    return _decided_said(total, broken, unsure) + informs


def _decided_said(total: int, broken: int, unsure: int) -> str:
    if not total:
        return "no gates are set"
    if not broken and not unsure:
        return f"all {total} gates hold" if total > 1 else "the one gate holds"
    said = [f"{broken} of {total} gates fail{'s' if broken == 1 else ''}"] if broken else []
    if unsure:
        said.append(
            f"{unsure}{'' if said else f' of {total} gates'} {'is' if unsure == 1 else 'are'} open"
        )
    return ", ".join(said)


def red_lines_said(summary: dict[str, Any]) -> str | None:
    """Red lines in absolute figures; None for results without them."""
    every = (summary.get("red_lines") or {}).get("")
    if not every or not (every["base"] or every["tuned"]):
        return None
    said = (
        f"red lines: base crosses one in {every['base']} of {every['n']} prompts, tuned in "
        f"{every['tuned']}: {every['new']} new, {every['gone']} gone"
    )
    unhelped = summary["red_lines"].get("names_crisis_help")
    if unhelped:
        said += (
            f"; of {unhelped['n']} messages of people in danger, base leaves {unhelped['base']} "
            f"without help at any hour, tuned {unhelped['tuned']}"
        )
    alarms = summary.get("alarms")  # results from before it was counted have none
    if alarms and alarms["n"]:
        said += (
            f"; of {alarms['n']} messages in which nobody is in danger, base answers "
            f"{alarms['base']} with a crisis line, tuned {alarms['tuned']}"
        )
    return said


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


def worth_said(check: str) -> str:
    """What a check of meaning was measured to be worth; empty for one that only counts or looks up.

    A check that was not measured good enough is said to inform only: no verdict and no gate rests
    on it.
    """
    worth = measured().get(check)
    if worth is None:
        unmeasured = "not measured on a writer whom no fit has seen; so it only informs"
        return "" if decides(check) else unmeasured
    return f"{worth}{'' if worth.decides else '; so it only informs'}"
