"""Write what an evaluation found: results.jsonl, summary.json and report.html."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eval.evaluate import Outcome
from eval.files import write_json, write_jsonl
from eval.suites import HELD_OUT, Suite
from eval.summary import summarise


def write_results(
    folder: Path, suites: list[Suite], outcome: Outcome, record: dict[str, Any]
) -> dict[str, Any]:
    """Write the three files into ``folder``; returns the summary.

    Args:
        folder: ``runs/<run>/eval``.
        suites: in the order of the report.
        outcome: the scored pairs.
        record: the run's run.json.
    """
    summary = summarise(suites, outcome.items, outcome.held_out, outcome.settings)
    rows = held_out_rows(outcome)
    for suite in suites:
        decoding = outcome.settings["decoding"][suite.name]
        rows += [item.to_json(decoding) for item in outcome.items[suite.name]]
    write_jsonl(folder / "results.jsonl", rows)
    write_json(folder / "summary.json", summary)
    return summary


def held_out_rows(outcome: Outcome) -> list[dict[str, Any]]:
    """One row a held-out conversation: nats per assistant token in both arms."""
    if outcome.held_out is None:
        return []
    rows = []
    for row, base, tuned in zip(outcome.rows, *outcome.held_out, strict=True):
        left, right = base[0] / base[1], tuned[0] / tuned[1]
        rows.append({
            "suite": HELD_OUT, "id": row.id, "metric": "nll", "difference": right - left,
            "outcome": "better" if right < left else "worse" if right > left else "same",
            "tokens": base[1], "messages": list(row.messages),
            "base": {"metrics": {"nll": left}}, "tuned": {"metrics": {"nll": right}},
        })  # fmt: skip
    return rows
