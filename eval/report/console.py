"""The short table at the end of an evaluation, for the terminal."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eval.report.wording import (
    arm_names,
    counts_said,
    cut_answers,
    few_differ,
    gates_said,
    unfit_judge_said,
)
from eval.scoring.statistics import LEAST_PAIRS
from eval.suite import HELD_OUT

_STYLE = {"better": "green", "worse": "red", "inconclusive": "yellow"}
_DECIDED = {"ship": "green", "don't ship": "red", "can't tell": "yellow"}
_GATE = {
    "holds": "[green]holds[/]",
    "fails": "[red]FAILS[/]",
    "open": "[yellow]open[/] ",
    "informs": "informs",
}


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """The decision, verdicts with intervals, then the gates."""
    decision = summary["decision"]
    console.print(
        f"[bold {_DECIDED[decision['kind']]}]{escape(decision['sentence'])}[/]",
        highlight=False,
        soft_wrap=True,
    )
    for reason in decision["reasons"]:
        console.print(f"  {escape(reason)}", highlight=False, soft_wrap=True)
    names = arm_names(summary)
    of = "" if summary["run"] in names else f"{summary['run']}: "
    title = f"{of}{names[1]} against {names[0]}"
    table = Table(title=escape(title), title_justify="left", box=SIMPLE)
    for heading in ("suite", *names, "difference (95%)", "verdict"):
        table.add_column(
            escape(heading),
            justify="left" if heading in ("suite", "verdict") else "right",
            overflow="fold",
        )
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
    for line in _notes(summary):
        console.print(line, highlight=False, soft_wrap=True)
    judge = summary.get("judge")
    if unfit := unfit_judge_said(judge):
        console.print(f"[red]{escape(unfit)}[/]", highlight=False, soft_wrap=True)
    elif judge:
        console.print(
            f"judge {escape(judge['model'])}: {_wins(judge['win_rate'])}; its verdict flipped with "
            f"the order in {judge['flip_rate']:.0%} of pairs, {judge['invalid_rate']:.0%} of its "
            "replies held no verdict" + _calibration_said(judge.get("calibration")),
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
        mark = _GATE[gate["status"]]
        console.print(
            f"gate {mark}  {gate['suite']}: {escape(gate['gate'])}: {escape(gate['why'])}",
            highlight=False,
            soft_wrap=True,
        )


def print_end(summary: dict[str, Any], console: Console) -> None:
    """The last line: the decision again, what the gates say, and the exit code."""
    decision = summary["decision"]
    console.print(
        f"[{_DECIDED[decision['kind']]}]{decision['kind']}[/] ({gates_said(summary['gates'])}): "
        f"exit code {decision['exit_code']}",
        highlight=False,
    )


def _notes(summary: dict[str, Any]) -> list[str]:
    """What one must know to read the figures."""
    said = []
    if any(row["name"] == HELD_OUT for row in summary["suites"]):
        said.append("held_out is nats per token, lower is better")
    if cut := cut_answers(summary):
        said.append(cut)
    said += counts_said(summary)
    if few := few_differ(summary, LEAST_PAIRS):
        said.append(f"few prompts differ, so the interval is wide: {', '.join(few)}")
    return said


def _calibration_said(found: dict[str, Any] | None) -> str:
    if not found:
        return ""
    said = f"; on planted pairs it was right in {found['right']} of {found['asked']}"
    if labelled := found.get("labelled"):
        said += f", on labelled ones in {labelled['right']} of {labelled['asked']}"
    return said


def _wins(found: dict[str, Any] | None) -> str:
    if found is None:
        return "no valid verdict"
    low, high = found["interval"]["low"], found["interval"]["high"]
    return f"tuned wins {found['rate']:.0%} ({low:.0%} to {high:.0%}, a tie counts half)"
