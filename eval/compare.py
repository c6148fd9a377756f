"""``python -m eval.compare --runs a b c``: runs side by side, as a table and a page.

Runs that were evaluated with their verdicts; the others with what their training recorded.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eval.report.charts import verdict_class
from eval.report.page import TEMPLATES, flat
from eval.report.templating import page_environment
from eval.report.wording import gates_said, pair_said
from eval.scoring.decided_by import scored_by_other_code
from eval.scoring.run_pairs import changed_suites, pair_runs
from eval.suite import HELD_OUT
from recipes.runner.core.errors import UserError, user_errors_exit
from recipes.runner.core.files import write_text
from recipes.runner.core.recipe import ROOT, display_path
from recipes.runner.run.finished import Run, find_run
from recipes.runner.run.record import ENDED_WELL

# Say where a run's files lie, or what Axolotl counted, and nothing about how it was trained.
_NOT_SETTINGS = (
    "output_dir",
    "dataset_prepared_path",
    "plugins",
    "sample_packing_eff_est",
    "total_num_tokens",
    "total_supervised_tokens",
)


def comparison(runs: Sequence[Run]) -> dict[str, Any]:
    """Rows for the table and the page.

    Returns:
        ``runs`` (names), ``decisions`` (of each summary, None without one), ``gates`` (what they
        say, and whether they hold; None where a run was not evaluated), ``pairs`` (every later
        run's tuned answers against the first's, from `pair_runs`), ``suites`` (name, what changed
        in it between the runs, and per run the summary's row or None), ``figures`` (label and one
        text a run), ``settings`` (key and one text a run, only those that differ), ``warnings``
        (what makes the runs hard to compare).
    """
    summaries = [run.summary() for run in runs]
    by_run = [
        {row["name"]: row for row in (found or {"suites": []})["suites"]} for found in summaries
    ]
    changed = changed_suites([summary for summary in summaries if summary])
    names = list(dict.fromkeys(name for rows in by_run for name in rows))
    configs = [dict(flat(_settings(run))) for run in runs]
    keys = sorted({key for config in configs for key in config})
    return {
        "runs": [run.name for run in runs],
        "decisions": [(summary or {}).get("decision") for summary in summaries],
        "gates": [
            (gates_said(summary["gates"]), summary["gates_hold"]) if summary else None
            for summary in summaries
        ],
        "pairs": [pair for run in runs[1:] if (pair := pair_runs(runs[0], run))],
        "suites": [
            {
                "name": name,
                "changed": changed.get(name),
                "cells": [rows.get(name) for rows in by_run],
            }
            for name in names
        ],
        "figures": _figures(runs, by_run),
        "settings": [
            {"key": key, "values": [config.get(key, "—") for config in configs]}
            for key in keys
            if len({config.get(key) for config in configs}) > 1
        ],
        "warnings": [
            *_evaluation_warnings(summaries),
            *_older_code_warnings(runs, summaries),
            *_training_warnings(runs),
        ],
    }


def _figures(runs: Sequence[Run], by_run: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    def perplexity(rows: dict[str, Any]) -> str:
        return f"{rows[HELD_OUT]['perplexity']['tuned']:.2f}" if HELD_OUT in rows else "—"

    def measured(run: Run, key: str, scale: float, unit: str) -> str:
        value = run.record.get(key)
        return f"{value / scale:.2f} {unit}" if isinstance(value, int | float) else "—"

    figures: list[dict[str, Any]] = [
        {"label": "held-out loss", "values": [_held_out(run) for run in runs]},
        {"label": "held-out perplexity", "values": [perplexity(rows) for rows in by_run]},
        {
            "label": "peak memory",
            "values": [measured(run, "peak_memory_bytes", 2**30, "GiB") for run in runs],
        },
        {
            "label": "training speed",
            "values": [measured(run, "tokens_per_second", 1, "tokens/s") for run in runs],
        },
    ]
    return [figure for figure in figures if set(figure["values"]) != {"—"}]


def _held_out(run: Run) -> str:
    """The lowest held-out loss of training, which is the kept checkpoint's, and where it began."""
    points = run.record.get("evaluations") or []
    losses = {p["step"]: p["held_out_loss"] for p in points if isinstance(p, dict)}
    if not losses:
        return "—"
    best = min(losses, key=losses.__getitem__)
    before = f", {losses[0]:.3f} before" if 0 in losses and best else ""
    return f"{losses[best]:.3f} (step {best}{before})"


def _settings(run: Run) -> dict[str, Any]:
    return {key: value for key, value in run.config.items() if key not in _NOT_SETTINGS}


def _evaluation_warnings(summaries: Sequence[dict[str, Any] | None]) -> list[str]:
    """Runs are comparable when base, code and prompts were the same."""
    there = [summary for summary in summaries if summary]
    said = []
    if there and len(there) < len(summaries):
        said.append("some were not evaluated yet (make eval RUN=...)")
    for key, words in (
        ("base_digest", "the bases differ (weights, quantisation, template or device)"),
        ("code_version", "they were evaluated by different versions of eval"),
        ("decoding", "decoding differs"),
        ("limit", "some saw only a part of the prompts"),
        ("held_out", "the held-out conversations are of different files"),
    ):
        if _differ(summary["settings"].get(key) for summary in there):
            said.append(words)
    if _differ((summary.get("decided_by") or {}).get("code") for summary in there):
        said.append(
            "checks, metrics or statistics changed between the evaluations, so the verdicts don't "
            "mean the same (make eval RUN=... scores the kept answers again)"
        )
    said += [
        f"suite {name} is not the same in all: {why}" for name, why in changed_suites(there).items()
    ]
    return said


def _older_code_warnings(
    runs: Sequence[Run], summaries: Sequence[dict[str, Any] | None]
) -> list[str]:
    """Verdicts that the code here would perhaps not give."""
    older = [
        run.name
        for run, summary in zip(runs, summaries, strict=True)
        if summary and scored_by_other_code(summary)
    ]
    if not older:
        return []
    return [
        f"scored by other checks or statistics than those here: {', '.join(older)} (make eval "
        "RUN=... scores the kept answers again)"
    ]


def _training_warnings(runs: Sequence[Run]) -> list[str]:
    """Held-out losses are comparable when they are of the same tokens."""
    said = []
    data = [
        [entry.get("sha256") for entry in run.record.get("data") or [] if _is_held_out(entry)]
        for run in runs
    ]
    if _differ(data):
        said.append("the held-out data of training differ, so their held-out losses do too")
    if _differ([run.base_model, run.config.get("chat_template")] for run in runs):
        said.append("bases or chat templates differ, so held-out losses are of other tokens")
    unfinished = [run.name for run in runs if run.record.get("status") not in ENDED_WELL]
    if unfinished:
        said.append(f"not finished: {', '.join(unfinished)}")
    return said


def _is_held_out(entry: dict[str, Any]) -> bool:
    return entry.get("use") == "test_datasets"


def _differ(values: Iterable[Any]) -> bool:
    return len({json.dumps(value, sort_keys=True, default=str) for value in values}) > 1


def print_comparison(found: dict[str, Any], console: Console) -> None:
    """The terminal table: a column for each run, or a row where there are no verdicts to show."""
    if found["suites"]:
        _print_verdicts(found, console)
    else:
        _print_runs(found, console)
    for pair in found["pairs"]:
        _print_pair(pair, console)
        console.print(f"[bold]{escape(pair_said(pair))}.[/]", highlight=False, soft_wrap=True)
    for warning in found["warnings"]:
        console.print(f"[yellow]take care:[/] {escape(warning)}")


def _print_verdicts(found: dict[str, Any], console: Console) -> None:
    table = Table(box=SIMPLE, title="tuned against base, by run", title_justify="left")
    table.add_column("")
    for name, gates, decision in zip(
        found["runs"], found["gates"], found["decisions"], strict=True
    ):
        words, hold = gates or ("not evaluated", True)
        if decision:
            words = f"{decision['kind']} ({words})"
            hold = decision["kind"] != "don't ship"
        heading = words if hold else f"[red]{words}[/]"
        table.add_column(f"{escape(name)}\n{heading}", overflow="fold")
    for suite in found["suites"]:
        mark = " (changed)" if suite["changed"] else ""
        table.add_row(suite["name"] + mark, *(_cell(row) for row in suite["cells"]))
    table.add_section()
    for figure in found["figures"]:
        table.add_row(figure["label"], *figure["values"])
    table.add_section()
    for setting in found["settings"]:
        table.add_row(escape(setting["key"]), *(escape(value) for value in setting["values"]))
    console.print(table)


def _print_pair(pair: dict[str, Any], console: Console) -> None:
    """One run's tuned answers against another's."""
    title = (
        f"{escape(pair['second'])} against {escape(pair['first'])}, both tuned, paired by prompt"
    )
    table = Table(box=SIMPLE, title=title, title_justify="left")
    for heading in (
        "suite",
        pair["first"],
        pair["second"],
        "difference (95%)",
        "red lines",
        "verdict",
    ):
        table.add_column(escape(heading), overflow="fold")
    for row in pair["suites"]:
        found, (low, high) = row["compared"], row["compared"]["interval"].values()
        table.add_row(
            row["name"],
            f"{found['base']:.3f}",
            f"{found['tuned']:.3f}",
            f"{found['difference']:+.3f} ({low:+.3f} to {high:+.3f})",
            f"{row['new_red_lines']} new, {row['gone_red_lines']} gone",
            row["verdict"],
        )
    for row in pair["refused"]:
        table.add_row(row["name"], "", "", "", "", f"not paired: {escape(row['why'])}")
    console.print(table)


def _print_runs(found: dict[str, Any], console: Console) -> None:
    table = Table(box=SIMPLE, title="not evaluated yet: by training", title_justify="left")
    table.add_column("run", overflow="fold")
    columns = [
        *((setting["key"], setting["values"]) for setting in found["settings"]),
        *((figure["label"], figure["values"]) for figure in found["figures"]),
    ]
    for label, _ in columns:
        table.add_column(escape(label), overflow="fold")
    for index, name in enumerate(found["runs"]):
        table.add_row(escape(name), *(escape(values[index]) for _, values in columns))
    console.print(table)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "—"
    verdict = "no difference" if row["verdict"].startswith("no ") else row["verdict"]
    return f"{row['compared']['difference']:+.3f} {verdict}"


def compare_runs(names: Sequence[str], output: Path, picture: Path | None = None) -> None:
    """Print the table of some runs and write their page.

    Args:
        names: run folders, or names of folders in runs/.
        output: the page.
        picture: a PNG that the page shows too.

    Raises:
        UserError: fewer than two runs, or one that isn't there.
    """
    if len(names) < 2:
        raise UserError("one run can't be compared", "--runs", "Name two or more")
    found = comparison([find_run(name, None) for name in names])
    environment = page_environment(TEMPLATES)
    environment.filters["verdict_class"] = verdict_class
    environment.filters["pair_said"] = pair_said
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    encoded = base64.b64encode(picture.read_bytes()).decode() if picture else None
    page = environment.get_template("compare.html.j2").render(
        found=found, style=style, picture=encoded
    )
    write_text(output, page)
    print_comparison(found, Console())
    print(f"look at: {display_path(output)}")


def main(argv: list[str] | None = None) -> int:
    """Compare runs; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eval.compare", description=__doc__)
    parser.add_argument("--runs", nargs="+", required=True, metavar="RUN")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "compare.html")
    parser.add_argument("--picture", type=Path, help="a PNG that the page shows too")
    with user_errors_exit():
        args = parser.parse_args(argv)
        compare_runs(args.runs, args.output, args.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
