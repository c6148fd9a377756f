"""Two runs against each other: their tuned answers to the same prompts, paired."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from eval.scoring.metrics import metric_of
from eval.scoring.pairs import is_yes_no
from eval.scoring.statistics import Paired, compare, holm, verdict
from eval.suite import HELD_OUT
from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import display_path
from recipes.runner.run.finished import Run

_OTHER_CODE = "scored by different checks or statistics; evaluate both again"
_SHOWN = 10  # prompts named where the second run does worse
Row = dict[str, Any]


def pair_runs(first: Run, second: Run) -> dict[str, Any] | None:
    """The second run's tuned model against the first's, suite by suite.

    Returns:
        ``first``, ``second`` (names), ``suites`` (name, metric, verdict, compared, p_holm, red
        lines new and gone, the prompts that lost most), ``refused`` (suite and why it can't be
        paired); None when one of them was not evaluated.

    Raises:
        UserError: results that can't be read.
    """
    summaries = first.summary(), second.summary()
    if not summaries[0] or not summaries[1]:
        return None
    rows = [{row["name"]: row for row in summary["suites"]} for summary in summaries if summary]
    changed = changed_suites([summary for summary in summaries if summary])
    names = [name for name in rows[0] if name in rows[1]]
    codes = {(summary.get("decided_by") or {}).get("code") for summary in summaries if summary}
    if len(codes) > 1 or None in codes:
        # The figures that would be paired are not of the same checks.
        changed = {name: changed.get(name, _OTHER_CODE) for name in names if name != HELD_OUT}
    refused = [{"name": name, "why": changed[name]} for name in names if name in changed]
    values = [_values(run) for run in (first, second)]
    found = []
    for name in names:
        if name in changed:
            continue
        shared = [key for key in values[0].get(name, {}) if key in values[1].get(name, {})]
        if not shared:
            refused.append({"name": name, "why": "no prompt was asked in both"})
            continue
        found.append(_suite(rows[0][name], shared, values[0][name], values[1][name]))
    for row, p in zip(found, holm([row["paired"].p for row in found]), strict=True):
        row["p_holm"] = p
        row["verdict"] = verdict(row["paired"], row["margin"], p, row["higher_is_better"])
        row["compared"] = asdict(row.pop("paired"))
    return {"first": first.name, "second": second.name, "suites": found, "refused": refused}


def changed_suites(summaries: list[dict[str, Any]]) -> dict[str, str]:
    """Suites that are not the same in every summary, and what differs, in words.

    A summary from before digests were kept can't be told to be the same.
    """
    by_suite: dict[str, list[str | None]] = {}
    for summary in summaries:
        digests = (summary.get("decided_by") or {}).get("suites", {})
        for row in summary["suites"]:
            if "outcomes" in row:  # the held-out conversations are no suite file
                by_suite.setdefault(row["name"], []).append(digests.get(row["name"]))
    return {
        name: _difference(summaries, name)
        for name, digests in by_suite.items()
        if len(digests) > 1 and (len(set(digests)) > 1 or None in digests)
    }


def _difference(summaries: list[dict[str, Any]], name: str) -> str:
    told = [(s.get("decided_by") or {}).get("named", {}).get(name) for s in summaries]
    known = [one for one in told if one]
    if len(known) < len(told):
        return "one was evaluated before suites had digests"
    said = []
    for key in ("checks", "gates"):
        everything = set().union(*(one[key] for one in known))
        partly = sorted(x for x in everything if any(x not in one[key] for one in known))
        if partly:
            said.append(f"{key} of some only: {', '.join(partly)}")
        elif len({json.dumps(one[key]) for one in known}) > 1:
            said.append(f"number of {key}")
    for key in ("metric", "prompts"):
        if len({one[key] for one in known}) > 1:
            said.append(f"{key}: {' / '.join(str(one[key]) for one in known)}")
    return "; ".join(said) or "settings of its checks, gates or prompts differ"


def _suite(row: Row, shared: list[str], first: dict[str, Row], second: dict[str, Row]) -> Row:
    left = [first[key]["value"] for key in shared]
    right = [second[key]["value"] for key in shared]
    metric = metric_of(row["metric"])
    skewed = metric.pairing == "loss"
    yes_no = not skewed and is_yes_no(left + right)
    paired: Paired = compare(left, right, yes_no, metric.value_range, skewed)
    up = 1 if metric.higher_is_better else -1
    lines = [(first[key]["red"], second[key]["red"]) for key in shared]
    losses = sorted(shared, key=lambda key: up * (second[key]["value"] - first[key]["value"]))
    return {
        "name": row["name"],
        "metric": row["metric"],
        "margin": row["margin"],
        "higher_is_better": metric.higher_is_better,
        "paired": paired,
        "new_red_lines": sum(bool(after - before) for before, after in lines),
        "gone_red_lines": sum(bool(before - after) for before, after in lines),
        "lost_most": [
            key for key in losses[:_SHOWN] if up * (second[key]["value"] - first[key]["value"]) < 0
        ],
    }


def _values(run: Run) -> dict[str, dict[str, Row]]:
    """Tuned's figure that decides and its red lines, by suite and prompt: means over samples."""
    collected: dict[str, dict[str, Row]] = {}
    for row in _rows(run.eval_dir / "results.jsonl"):
        value = row["tuned"]["metrics"].get(row["metric"])
        if value is None:
            continue
        own = collected.setdefault(row["suite"], {}).setdefault(
            row["id"], {"values": [], "red": set()}
        )
        own["values"].append(value)
        own["red"] |= {
            check["name"]
            for check in row["tuned"].get("checks", [])
            if check["red_line"] and not check["passed"]
        }
    for prompts in collected.values():
        for own in prompts.values():
            own["value"] = fmean(own.pop("values"))
    return collected


def _rows(path: Path) -> Iterator[Row]:
    if not path.is_file():
        raise UserError("holds no results", display_path(path), "Evaluate the run again")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                raise UserError(
                    "is no result", f"{display_path(path)}:{number}", "Evaluate the run again"
                ) from None
