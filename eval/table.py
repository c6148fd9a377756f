"""The short table at the end of an evaluation, for the terminal."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_STYLE = {"better": "green", "worse": "red", "inconclusive": "yellow"}


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Verdicts with intervals, then the gates."""
    table = Table(
        title=f"{escape(summary['run'])}: tuned against base", title_justify="left", box=SIMPLE
    )
    for heading in ("suite", "base", "tuned", "difference (95%)", "verdict"):
        table.add_column(heading, justify="left" if heading in ("suite", "verdict") else "right")
    for row in summary["suites"]:
        found = row["compared"]
        low, high = found["interval"]["low"], found["interval"]["high"]
        short = "no difference" if row["verdict"].startswith("no ") else row["verdict"]
        style = _STYLE.get(short, "default")
        table.add_row(
            row["name"],
            f"{found['base']:.3f}",
            f"{found['tuned']:.3f}",
            f"{found['difference']:+.3f} ({low:+.3f} to {high:+.3f})",
            f"[{style}]{short}[/]",
        )
    console.print(table)
    if judge := summary.get("judge"):
        console.print(
            f"judge {escape(judge['model'])}: {_wins(judge['win_rate'])}; its verdict flipped with "
            f"the order in {judge['flip_rate']:.0%} of pairs, {judge['invalid_rate']:.0%} of its "
            "replies were invalid",
            highlight=False,
            soft_wrap=True,
        )
    if votes := summary.get("votes"):
        console.print(
            f"people: {_wins(votes['win_rate'])}; {votes['n']} blind votes",
            highlight=False,
            soft_wrap=True,
        )
    for gate in summary["gates"]:
        mark = "[green]holds[/]" if gate["holds"] else "[red]FAILS[/]"
        console.print(
            f"gate {mark}  {gate['suite']}: {escape(gate['gate'])}: {escape(gate['why'])}",
            highlight=False,
            soft_wrap=True,
        )


def _wins(found: dict[str, Any] | None) -> str:
    if found is None:
        return "no valid verdict"
    low, high = found["interval"]["low"], found["interval"]["high"]
    return f"tuned wins {found['rate']:.0%} ({low:.0%} to {high:.0%}, a tie counts half)"
