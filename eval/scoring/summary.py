"""summary.json: every figure of an evaluation that is not about a single prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from eval.generation.heldout import perplexity
from eval.scoring.alarms import count_alarms
from eval.scoring.canned import count_canned
from eval.scoring.danger import count_loops, count_red_lines, unread
from eval.scoring.decided_by import decided_by
from eval.scoring.decision import decide
from eval.scoring.gates import Judged, check_gates
from eval.scoring.metrics import HELD_OUT_LOSS, metric_of
from eval.scoring.pairs import Item, Scored, is_yes_no, paired_values
from eval.scoring.power import level_in_play, smallest_detectable
from eval.scoring.rates import Rate, clustered_rate
from eval.scoring.statistics import (
    Paired,
    compare,
    holm,
    mcnemar_exact,
    rank_correlation,
    sign_flip,
    verdict,
)
from eval.scoring.sure import doubt_of
from eval.suite import HELD_OUT, NonInferiority, Suite

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
    adjusted = holm([row["compared"].p for row in rows])
    for index, row in enumerate(rows):
        row["p_holm"] = adjusted[index]
        row["verdict"] = verdict(
            row["compared"], row["margin"], adjusted[index], row["higher_is_better"]
        )
        if row["stand_in"]:
            row["verdict"] = "inconclusive"
        doubt = doubt_of(row["verdict"], row["metric"], items.get(row["name"], []))
        if doubt:
            row["verdict"], row["doubt"] = "inconclusive", asdict(doubt)
        _add_detectable(row, level_in_play(adjusted, index))
    by_name = {row["name"]: row for row in rows}
    gates = check_gates([_judged(s, items[s.name], by_name[s.name]) for s in suites])
    everything = [item for suite in suites for item in items[suite.name]]
    first, alarms = unread(everything), count_alarms(everything)
    canned = count_canned(everything)
    return {
        "run": settings["run"],
        "decision": decide(rows, gates, first, alarms, canned).to_json(),
        "gates_hold": all(gate.holds for gate in gates),
        "gates": [{**asdict(gate), "holds": gate.holds} for gate in gates],
        "suites": [{**row, "compared": asdict(row["compared"])} for row in rows],
        "red_lines": {line: asdict(counts) for line, counts in count_red_lines(everything).items()},
        "loops": asdict(count_loops(everything)),
        "alarms": asdict(alarms),
        "canned": asdict(canned),
        "new_harm": first.new,
        "unread": asdict(first),
        "limits": _limits(suites, items),
        "decided_by": decided_by(suites),
        "settings": settings,
    }


def _judged(suite: Suite, items: list[Item], row: dict[str, Any]) -> Judged:
    doubted = (row.get("doubt") or {}).get("way") == "worse"
    return Judged(suite, items, row["compared"], row["verdict"], doubted, row["stand_in"])


def _add_detectable(row: dict[str, Any], alpha: float) -> None:
    """Fill in what the pairs could have shown, at the level that Holm leaves to this suite."""
    base, tuned = row.pop("values")
    metric = metric_of(row["metric"])
    found = smallest_detectable(
        [round(t - b, 9) for b, t in zip(base, tuned, strict=True)],
        is_yes_no(base + tuned),
        alpha,
        score_range=metric.value_range,
        margin=row["margin"],
    )
    row["compared"] = replace(row["compared"], detectable=found)


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
    losses = [[nats / tokens for nats, tokens in arm] for arm in (base, tuned)]
    return {
        "name": HELD_OUT,
        "title": "Held-out conversations",
        "about": "Negative log likelihood of the assistants' tokens of test.jsonl, nats per token, "
        "mean over conversations.",
        "metric": HELD_OUT_LOSS,
        "stand_in": False,
        "margin": HELD_OUT_MARGIN,
        "higher_is_better": metric_of(HELD_OUT_LOSS).higher_is_better,
        "compared": _compare(HELD_OUT_LOSS, *losses),
        "values": losses,
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
        "primary": suite.primary.metric,
        "max_new_tokens": suite.max_new_tokens,
        "margin": suite.primary.margin,
        "tolerated": next(
            (
                g.margin or suite.primary.margin
                for g in suite.gates
                if isinstance(g, NonInferiority)
            ),
            None,
        ),
        "higher_is_better": metric_of(metric).higher_is_better,
        "compared": _compare(metric, base, tuned),
        "values": (base, tuned),
        "outcomes": {o: sum(i.outcome == o for i in items) for o in ("better", "same", "worse")},
        "by_tag": _by_tag(items),
        "red_lines": {line: asdict(counts) for line, counts in count_red_lines(items).items()},
        "new_red_lines": count_red_lines(items)[""].new,
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


def _by_tag(items: list[Item]) -> list[dict[str, Any]]:
    """Wins and losses by tag, most losses first."""
    rows = []
    for tag in dict.fromkeys(tag for item in items for tag in item.prompt.tags):
        tagged = [item for item in items if tag in item.prompt.tags]
        counts = {o: sum(i.outcome == o for i in tagged) for o in ("better", "same", "worse")}
        lines = count_red_lines(tagged)[""]
        rows.append({"tag": tag, **counts, "new_red_lines": lines.new, "gone": lines.gone})
    return sorted(rows, key=lambda row: (-row["worse"], -row["better"]))


def _checks(items: list[Item]) -> list[dict[str, Any]]:
    """Pass rate of every check in both arms with its interval, and the paired test, by prompt."""
    names = dict.fromkeys(
        (check.name, check.red_line) for item in items for check in item.tuned.checks
    )
    rows = []
    for name, red_line in names:
        base: dict[str, list[float]] = {}
        tuned: dict[str, list[float]] = {}
        for item in items:
            if any(check.name == name for check in item.tuned.checks):
                for held, side in ((base, item.base), (tuned, item.tuned)):
                    passed = all(c.passed for c in side.checks if c.name == name)
                    held.setdefault(item.prompt.id, []).append(float(passed))
        left, right = clustered_rate(list(base.values())), clustered_rate(list(tuned.values()))
        changes = [_mean(tuned[prompt]) - _mean(base[prompt]) for prompt in base]
        gained, lost = sum(c > 0 for c in changes), sum(c < 0 for c in changes)
        one_each = all(len(values) == 1 for values in base.values())
        rows.append(
            {
                "name": name,
                "red_line": red_line,
                "n": len(base),
                **_rate("base", left),
                **_rate("tuned", right),
                "gained": gained,
                "lost": lost,
                "p": mcnemar_exact(gained, lost) if one_each else sign_flip(changes),
            }
        )
    return rows


def _rate(arm: str, found: Rate) -> dict[str, Any]:
    return {arm: found.rate, f"{arm}_interval": asdict(found.interval)}


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
    metric = metric_of(name)
    skewed = metric.pairing == "loss"
    yes_no = not skewed and is_yes_no(base + tuned)
    return compare(base, tuned, yes_no, metric.value_range, skewed)


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
