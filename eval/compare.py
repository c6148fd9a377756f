"""``python -m eval.compare --runs a b c``: evaluated runs side by side, as a table and a page."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eval.charts import verdict_class
from eval.files import write_text
from eval.report import TEMPLATES, flat
from eval.runs import Run, find_run
from eval.suites import HELD_OUT
from recipes.errors import UserError, user_errors_exit
from recipes.recipe import ROOT, display_path

# Say where a run's files lie, or follow from it, and nothing about how it was trained.
_NOT_SETTINGS = ("output_dir", "dataset_prepared_path", "plugins")


def read_summary(run: Run) -> dict[str, Any]:
    """summary.json of an evaluated run.

    Raises:
        UserError: it was not evaluated yet, or the file is broken.
    """
    path = run.eval_dir / "summary.json"
    if not path.is_file():
        raise UserError(
            "was not evaluated yet", display_path(run.path), f"make eval RUN={run.name}"
        )
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, ValueError) as error:
        raise UserError(f"is not JSON: {error}", display_path(path), "Evaluate again") from None


def comparison(runs: Sequence[Run]) -> dict[str, Any]:
    """Rows for the table and the page.

    Returns:
        ``runs`` (names), ``suites`` (name, and per run the summary's row or None), ``figures``
        (label and one text a run), ``settings`` (key and one text a run, only those that differ),
        ``warnings`` (what makes the runs hard to compare).
    """
    summaries = [read_summary(run) for run in runs]
    by_run = [{row["name"]: row for row in summary["suites"]} for summary in summaries]
    names = list(dict.fromkeys(name for rows in by_run for name in rows))
    configs = [dict(flat(_settings(run))) for run in runs]
    keys = sorted({key for config in configs for key in config})
    return {
        "runs": [run.name for run in runs],
        "gates": [summary["gates_hold"] for summary in summaries],
        "suites": [{"name": name, "cells": [rows.get(name) for rows in by_run]} for name in names],
        "figures": _figures(runs, by_run),
        "settings": [
            {"key": key, "values": [config.get(key, "—") for config in configs]}
            for key in keys
            if len({config.get(key) for config in configs}) > 1
        ],
        "warnings": _warnings(summaries),
    }


def _figures(runs: Sequence[Run], by_run: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    def perplexity(rows: dict[str, Any]) -> str:
        return f"{rows[HELD_OUT]['perplexity']['tuned']:.2f}" if HELD_OUT in rows else "—"

    def measured(run: Run, key: str, scale: float, unit: str) -> str:
        value = run.record.get(key)
        return f"{value / scale:.2f} {unit}" if isinstance(value, int | float) else "—"

    return [
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


def _settings(run: Run) -> dict[str, Any]:
    return {key: value for key, value in run.config.items() if key not in _NOT_SETTINGS}


def _warnings(summaries: Sequence[dict[str, Any]]) -> list[str]:
    """Runs are comparable when base, code and prompts were the same."""
    said = []
    for key, words in (
        ("base_digest", "the bases differ (weights, quantisation, template or device)"),
        ("code_version", "they were evaluated by different versions of eval"),
        ("decoding", "decoding differs"),
        ("limit", "some saw only a part of the prompts"),
        ("held_out", "the held-out conversations differ"),
    ):
        values = {json.dumps(s["settings"].get(key), sort_keys=True) for s in summaries}
        if len(values) > 1:
            said.append(words)
    return said


def print_comparison(found: dict[str, Any], console: Console) -> None:
    """The terminal table."""
    table = Table(box=SIMPLE, title="tuned against base, by run", title_justify="left")
    table.add_column("")
    for name, holds in zip(found["runs"], found["gates"], strict=True):
        table.add_column(f"{escape(name)}\n{'gates hold' if holds else '[red]a gate fails[/]'}")
    for suite in found["suites"]:
        table.add_row(suite["name"], *(_cell(row) for row in suite["cells"]))
    table.add_section()
    for figure in found["figures"]:
        table.add_row(figure["label"], *figure["values"])
    table.add_section()
    for setting in found["settings"]:
        table.add_row(escape(setting["key"]), *(escape(value) for value in setting["values"]))
    console.print(table)
    for warning in found["warnings"]:
        console.print(f"[yellow]take care:[/] {warning}")


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "—"
    verdict = "no difference" if row["verdict"].startswith("no ") else row["verdict"]
    return f"{row['compared']['difference']:+.3f} {verdict}"


def main(argv: list[str] | None = None) -> int:
    """Compare runs; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eval.compare", description=__doc__)
    parser.add_argument("--runs", nargs="+", required=True, metavar="RUN")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "compare.html")
    with user_errors_exit():
        args = parser.parse_args(argv)
        if len(args.runs) < 2:
            raise UserError("one run can't be compared", "--runs", "Name two or more")
        found = comparison([find_run(name, None) for name in args.runs])
        environment = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
        )
        environment.filters["verdict_class"] = verdict_class
        style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
        page = environment.get_template("compare.html.j2").render(found=found, style=style)
        write_text(args.output, page)
        print_comparison(found, Console())
        print(f"look at: {display_path(args.output)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
