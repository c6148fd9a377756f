"""Write what an evaluation found: results.jsonl, summary.json and report.html."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eval.evaluate import Evaluation
from eval.report.page import render_report, report_id
from eval.report.provenance import by_source, nearest_first, nearest_training_rows
from eval.report.results import Results
from eval.scoring.decided_by import scored_by_other_code
from eval.scoring.metrics import HELD_OUT_LOSS
from eval.scoring.summary import summarise
from eval.scoring.votes import VOTES, count_votes, read_votes
from eval.suite import HELD_OUT, Suite
from recipes.runner.core.errors import UserError
from recipes.runner.core.files import write_json, write_jsonl, write_text
from recipes.runner.core.recipe import display_path

RESULTS = "results.jsonl"


def write_results(
    folder: Path, suites: list[Suite], outcome: Evaluation, record: dict[str, Any]
) -> dict[str, Any]:
    """Write the three files into ``folder``; returns the summary.

    Votes that were read in before count again when the answers are still the same.

    Args:
        folder: ``runs/<run>/eval``.
        suites: in the order of the report.
        outcome: the scored pairs.
        record: the run's run.json.
    """
    summary = summarise(suites, outcome.items, outcome.held_out, outcome.settings)
    summary["judge"] = outcome.judge
    near = nearest_training_rows(suites, outcome, record)
    summary["provenance"] = by_source(outcome)
    summary["nearest_training_rows"] = nearest_first(near)
    write_jsonl(folder / RESULTS, _result_rows(suites, outcome, near))
    rows = Results(folder / RESULTS)
    summary["report_id"] = report_id(rows)
    kept = folder / VOTES
    if kept.is_file() and (votes := read_votes(kept)).report == summary["report_id"]:
        summary["votes"] = count_votes(votes, rows, summary["report_id"], str(kept))
    _write_pages(folder, summary, rows, record)
    return summary


def _result_rows(
    suites: list[Suite], outcome: Evaluation, near: dict[tuple[str, str], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    yield from held_out_rows(outcome)
    for suite in suites:
        decoding = outcome.settings["decoding"][suite.name]
        for item in outcome.items[suite.name]:
            nearest = near.get((suite.name, item.prompt.id))
            yield {**item.to_json(decoding), "nearest_training_row": nearest}


def add_votes(folder: Path, votes_file: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Read people's blind votes into the results that stand in ``folder``; returns the summary.

    Raises:
        UserError: no results, results that other code scored, or votes that are not for them.
    """
    summary_file, results_file = folder / "summary.json", folder / RESULTS
    if not summary_file.is_file() or not results_file.is_file():
        raise UserError(
            "holds no results to add votes to", display_path(folder), "Evaluate the run first"
        )
    summary = json.loads(summary_file.read_text(encoding="utf-8"))
    if scored_by_other_code(summary):
        raise UserError(
            "was scored by other checks or statistics than those here",
            display_path(summary_file),
            "Evaluate the run again (the answers are kept, and so the votes still fit)",
        )
    rows = Results(results_file)
    votes = read_votes(votes_file)
    summary["votes"] = count_votes(votes, rows, summary["report_id"], str(votes_file))
    write_text(folder / VOTES, votes.model_dump_json(indent=1) + "\n")
    _write_pages(folder, summary, rows, record)
    return dict(summary)


def _write_pages(
    folder: Path, summary: dict[str, Any], rows: Results, record: dict[str, Any]
) -> None:
    write_json(folder / "summary.json", summary)
    write_text(folder / "report.html", render_report(summary, rows, record))


def held_out_rows(outcome: Evaluation) -> list[dict[str, Any]]:
    """One row a held-out conversation: nats per assistant token in both arms."""
    if outcome.held_out is None:
        return []
    rows = []
    for row, base, tuned in zip(outcome.rows, *outcome.held_out, strict=True):
        left, right = base[0] / base[1], tuned[0] / tuned[1]
        rows.append(
            {
                "suite": HELD_OUT,
                "id": row.id,
                "metric": HELD_OUT_LOSS,
                "difference": right - left,
                "outcome": "better" if right < left else "worse" if right > left else "same",
                "tokens": base[1],
                "messages": list(row.messages),
                "base": {"metrics": {HELD_OUT_LOSS: left}},
                "tuned": {"metrics": {HELD_OUT_LOSS: right}},
            }
        )
    return rows
