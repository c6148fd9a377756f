"""report.html: one file, offline, everything escaped by the template engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from eval.checks.registry import RED_LINES
from eval.report.charts import forest_plot, loss_curves, verdict_class
from eval.report.differences import mark_differences
from eval.report.results import Results
from eval.report.templating import page_environment
from eval.report.wording import (
    arm_names,
    counts_said,
    cut_answers,
    few_differ,
    gates_said,
    unfit_judge_said,
    worth_said,
)
from eval.scoring.danger import HARMFUL, near_danger, own_name, row_severity, severity_of
from eval.scoring.statistics import LEAST_PAIRS
from eval.suite import HELD_OUT
from recipes.runner.run.fingerprint import digest

TEMPLATES = Path(__file__).parent / "templates"
_GATES = ("fails", "open", "holds", "informs")  # what asks for something first
_RANK = {"worse": 0, "better": 1, "same": 2}
FIRST = 20  # answers that the first screen asks to read


def report_id(rows: Iterable[dict[str, Any]]) -> str:
    """Names the answers of a report, so that votes are read back into the right one."""
    said = [
        [row["suite"], row["id"], row["sample"], _texts(row["base"]), _texts(row["tuned"])]
        for row in rows
        if row["suite"] != HELD_OUT
    ]
    return digest(said)[:16]


def render_report(summary: dict[str, Any], rows: Results, record: dict[str, Any]) -> Iterator[str]:
    """The whole page, piece by piece.

    Args:
        summary: content of summary.json.
        rows: the lines of results.jsonl; read twice, so that the page's order needs no memory.
        record: run.json, for the curves and the settings of the run.
    """
    environment = page_environment(TEMPLATES)
    environment.filters["verdict_class"] = verdict_class
    environment.filters["red_line"] = lambda name: RED_LINES.get(name, name)
    environment.filters["worth"] = worth_said
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    against = summary["settings"].get("against")
    names = dict(zip(("base", "tuned"), arm_names(summary), strict=True))
    brief, held_out = _brief(rows)
    first = [one for one in brief if one["alarms"] or one["outcome"] == "worse"][:FIRST]
    everything = [one["place"] for one in brief]
    return environment.get_template("report.html.j2").generate(
        summary=summary,
        decision=summary["decision"],
        first=[_item(row) for row in rows.at([one["place"] for one in first])],
        gates=sorted(summary["gates"], key=lambda gate: _GATES.index(gate["status"])),
        gates_said=gates_said(summary["gates"]),
        counts_said=counts_said(summary),
        unfit_judge=unfit_judge_said(summary.get("judge")),
        names=names,
        against=against,
        heading=f"{summary['run']}{f' against {against}' if against else ': did tuning help?'}",
        cut_answers=cut_answers(summary),
        few_differ=few_differ(summary, LEAST_PAIRS),
        items=(_item(row) for row in rows.at(everything)),
        held_out=held_out,
        report_id=report_id(rows),
        forest=forest_plot(summary["suites"], names["base"]),
        narrow_forest=forest_plot(summary["suites"], names["base"], narrow=True),
        curves=loss_curves(record.get("evaluations") or []),
        suites=[row for row in summary["suites"] if row["name"] != HELD_OUT],
        tags=sorted({tag for one in brief for tag in one["tags"]}),
        config=flat(record.get("config") or {}),
        settings=flat(summary["settings"]),
        outcomes={o: sum(b["outcome"] == o for b in brief) for o in ("worse", "better", "same")},
        record=record,
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "report.js").read_text(encoding="utf-8"),
    )


def _brief(rows: Results) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What orders the page, most dangerous first, and the held-out rows, worst first."""
    brief, held_out = [], []
    for place, row in rows.placed():
        if row["suite"] == HELD_OUT:
            held_out.append(row)
            continue
        kept = {key: row[key] for key in ("outcome", "tags", "new_red_lines")}
        kept["difference"] = row["difference"] or 0.0
        brief.append({**kept, **_alarms(row), "place": place})
    brief.sort(key=_danger_first)
    return brief, sorted(held_out, key=lambda row: -row["difference"])


def _alarms(row: dict[str, Any]) -> dict[str, Any]:
    """What is dangerous or degenerate in tuned's answers."""
    found = [c for c in row["tuned"]["checks"] if c["red_line"] and not c["passed"]]
    weight = {c["name"]: severity_of(own_name(c)) for c in found}
    crossed = set(weight)
    degenerate = next((a["degenerate"] for a in row["tuned"]["answers"] if a["degenerate"]), "")
    alarms = sorted(crossed, key=lambda name: (-weight[name], name))
    short = "loops" if degenerate.startswith("loops") else degenerate
    return {
        "severity": row_severity(row["tuned"]),
        "harmful": any(value >= HARMFUL for value in weight.values()),
        "new_harm": any(weight[name] >= HARMFUL for name in crossed & set(row["new_red_lines"])),
        "old_red_lines": sorted(crossed - set(row["new_red_lines"])),
        "tuned_degenerate": degenerate,
        "alarms": [RED_LINES.get(name, name) for name in alarms]
        + (["perhaps dangerous"] if near_danger(row["tuned"]) else [])
        + ([short] if short else []),
    }


def _item(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its turns paired and its checks side by side."""
    turns = []
    for index, user in enumerate(row["turns"]):
        base, tuned = row["base"]["answers"][index], row["tuned"]["answers"][index]
        left, right = mark_differences(base["text"], tuned["text"])
        turns.append(
            {"user": user, "base": {**base, "pieces": left}, "tuned": {**tuned, "pieces": right}}
        )
    checks = [
        {
            "name": t["name"],
            "red_line": t["red_line"],
            "base": b,
            "tuned": t,
            "change": (t["score"] > b["score"]) - (t["score"] < b["score"]),
        }
        for b, t in zip(row["base"]["checks"], row["tuned"]["checks"], strict=True)
    ]
    checks.sort(key=lambda c: (c["change"] == 0, c["change"], not c["red_line"]))
    gravest = gravest_turn(row["tuned"])
    return {
        **row,
        "anchor": f"{row['suite']}-{row['id']}-{row['sample']}",
        **_alarms(row),
        "said": row["turns"][gravest],
        "gravest": row["tuned"]["answers"][gravest]["text"],
        "paired_turns": turns,
        "paired_checks": checks,
        "difference": row["difference"] if row["difference"] is not None else 0.0,
    }


def gravest_turn(side: dict[str, Any]) -> int:
    """The turn, from 0, whose answer crosses the worst red line, comes near to it, or loops."""
    crossed = [c for c in side["checks"] if c.get("near") or (c["red_line"] and not c["passed"])]
    worst = max(crossed, key=lambda c: (not c["passed"], severity_of(own_name(c))), default=None)
    last = len(side["answers"]) - 1
    if worst is not None:
        # Results of before it was told which answer did it are shown by their last.
        return (worst.get("answer") or last + 1) - 1
    return next((i for i, a in enumerate(side["answers"]) if a["degenerate"]), last)


def _danger_first(item: dict[str, Any]) -> tuple[Any, ...]:
    """Dangerous answers first, then new red lines, loops, and the largest losses."""
    return (
        -item["severity"],
        -len(item["new_red_lines"]),
        not item["tuned_degenerate"],
        _RANK[item["outcome"]],
        item["difference"] if item["outcome"] == "worse" else -item["difference"],
    )


def _texts(side: dict[str, Any]) -> list[str]:
    return [answer["text"] for answer in side["answers"]]


def flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as dotted rows, without the empty ones."""
    rows: list[tuple[str, str]] = []
    for key, value in settings.items():
        if isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
            value = dict(enumerate(value)) if len(value) > 1 else value[0]
        if isinstance(value, dict):
            rows += flat(value, f"{prefix}{key}.")
        elif value not in (None, "", []):
            rows.append((f"{prefix}{key}", str(value)))
    return rows
