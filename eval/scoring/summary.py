"""summary.json: every figure of an evaluation that is not about a single prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from eval.generation.heldout import perplexity
from eval.scoring.gates import GateResult, check_gates
from eval.scoring.metrics import HELD_OUT_LOSS, metric_of
from eval.scoring.pairs import Item, Scored, is_yes_no, paired_values
from eval.scoring.statistics import (
    Paired,
    compare,
    holm,
    mcnemar_exact,
    rank_correlation,
    verdict,
    wilson,
)
from eval.suite import HELD_OUT, Suite

# Nats per token; about 2% of the perplexity.
HELD_OUT_MARGIN = 0.02


def summarise(
    suites: Sequence[Suite],
    items: dict[str, list[Item]],
    held_out: tuple[list[tuple[float, int]], list[tuple[float, int]]] | None,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Compare the arms in every suite, adjust over suites, and judge the gates.

    Args:
        suites: in the order of the report.
        items: both arms' scored conversations, by suite.
        held_out: (base, tuned) sums of nats and numbers of tokens; None when it was not measured.
        settings: what the evaluation ran with.
    """
    rows = [_held_out_row(*held_out)] if held_out else []
    rows += [_suite_row(suite, items[suite.name]) for suite in suites]
    gates: list[GateResult] = []
    for row, adjusted in zip(rows, holm([row["compared"].p for row in rows]), strict=True):
        row["p_holm"] = adjusted
        row["verdict"] = verdict(row["compared"], row["margin"], adjusted, row["higher_is_better"])
        if row["stand_in"]:
            row["verdict"] = "inconclusive"
    for suite in suites:
        row = next(row for row in rows if row["name"] == suite.name)
        gates += check_gates(suite, items[suite.name], row["compared"])
    return {
        "run": settings["run"],
        "gates_hold": all(gate.holds for gate in gates),
        "gates": [asdict(gate) for gate in gates],
        "suites": [{**row, "compared": asdict(row["compared"])} for row in rows],
        "limits": _limits(suites, items),
        "settings": settings,
    }


def _limits(suites: Sequence[Suite], items: dict[str, list[Item]]) -> dict[str, Any]:
    """How long an answer could be, in tokens, and the share of answers cut there or looping."""
    everything = [item for suite in suites for item in items[suite.name]]

    def rates(arm: str, sides: list[Scored]) -> dict[str, float]:
        answers = [answer for side in sides for answer in side.conversation.answers]
        return {
            f"{arm}_cut": _mean([float(answer.cut) for answer in answers]),
            f"{arm}_loops": _mean([float(answer.loop is not None) for answer in answers]),
        }

    return {
        "least": min(suite.max_new_tokens for suite in suites),
        "most": max(suite.max_new_tokens for suite in suites),
        **rates("base", [item.base for item in everything]),
        **rates("tuned", [item.tuned for item in everything]),
    }


def _held_out_row(base: list[tuple[float, int]], tuned: list[tuple[float, int]]) -> dict[str, Any]:
    found = compare(
        [nats / tokens for nats, tokens in base], [nats / tokens for nats, tokens in tuned], False
    )
    return {
        "name": HELD_OUT,
        "title": "Held-out conversations",
        "about": "Negative log likelihood of the assistants' tokens of test.jsonl, nats per token, "
        "mean over conversations.",
        "metric": HELD_OUT_LOSS,
        "stand_in": False,
        "margin": HELD_OUT_MARGIN,
        "higher_is_better": metric_of(HELD_OUT_LOSS).higher_is_better,
        "compared": found,
        "perplexity": {"base": perplexity(base), "tuned": perplexity(tuned)},
        "tokens": sum(tokens for _, tokens in base),
    }


def _suite_row(suite: Suite, items: list[Item]) -> dict[str, Any]:
    # A judge's metric has no values before the judge was asked, or when it failed.
    metric, (base, tuned) = next(
        (name, values)
        for name in (suite.primary.metric, "score", "no_red_line")
        if (values := paired_values(items, name))[0]
    )
    differences = [t - b for b, t in zip(base, tuned, strict=True)]
    lengths = _by_prompt(items)
    return {
        "name": suite.name,
        "title": suite.title,
        "about": suite.about,
        "metric": metric,
        "stand_in": metric != suite.primary.metric,
        "max_new_tokens": suite.max_new_tokens,
        "margin": suite.primary.margin,
        "higher_is_better": metric_of(metric).higher_is_better,
        "compared": _compare(metric, base, tuned),
        "outcomes": {o: sum(i.outcome == o for i in items) for o in ("better", "same", "worse")},
        "new_red_lines": sum(bool(item.new_red_lines) for item in items),
        "checks": _checks(items),
        "metrics": _metrics(items, metric),
        "length": {
            "base": _mean([left for left, _ in lengths]),
            "tuned": _mean([right for _, right in lengths]),
            "rho_with_difference": rank_correlation(
                [right - left for left, right in lengths], differences
            )
            if len(lengths) == len(differences)
            else None,
        },
        "stopped": {
            "base": _mean([float(i.base.conversation.last.stopped) for i in items]),
            "tuned": _mean([float(i.tuned.conversation.last.stopped) for i in items]),
        },
    }


def _checks(items: list[Item]) -> list[dict[str, Any]]:
    """Pass rate of every check in both arms, with Wilson intervals and exact McNemar."""
    names = dict.fromkeys(
        (check.name, check.red_line) for item in items for check in item.tuned.checks
    )
    rows = []
    for name, red_line in names:
        pairs = [
            (
                all(c.passed for c in item.base.checks if c.name == name),
                all(c.passed for c in item.tuned.checks if c.name == name),
            )
            for item in items
            if any(check.name == name for check in item.tuned.checks)
        ]
        n, base, tuned = len(pairs), sum(b for b, _ in pairs), sum(t for _, t in pairs)
        gained, lost = sum(t and not b for b, t in pairs), sum(b and not t for b, t in pairs)
        rows.append(
            {
                "name": name,
                "red_line": red_line,
                "n": n,
                "base": base / n,
                "base_interval": asdict(wilson(base, n)),
                "tuned": tuned / n,
                "tuned_interval": asdict(wilson(tuned, n)),
                "gained": gained,
                "lost": lost,
                "p": mcnemar_exact(gained, lost),
            }
        )
    return rows


def _metrics(items: list[Item], primary: str) -> list[dict[str, Any]]:
    """The figures beside the primary one; they decide nothing and are not adjusted."""
    names = dict.fromkeys(name for item in items for name in item.tuned.metrics)
    rows = []
    for name in names:
        base, tuned = paired_values(items, name)
        if base and name != primary and metric_of(name).beside:
            rows.append({"name": name, **asdict(_compare(name, base, tuned))})
    return rows


def _compare(name: str, base: list[float], tuned: list[float]) -> Paired:
    return compare(base, tuned, is_yes_no(base + tuned), metric_of(name).value_range)


def _by_prompt(items: list[Item]) -> list[tuple[float, float]]:
    grouped: dict[str, list[Item]] = {}
    for item in items:
        grouped.setdefault(item.prompt.id, []).append(item)
    return [
        (_mean([i.base.words for i in group]), _mean([i.tuned.words for i in group]))
        for group in grouped.values()
    ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
