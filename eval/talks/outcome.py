"""Base against tuned over all talks: every measure by persona, the fall, and one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from eval.checks.registry import RED_LINES
from eval.scoring.pairs import is_yes_no
from eval.scoring.statistics import CONFIDENCE, LEAST_PAIRS, compare, holm, verdict
from eval.talks.fall import ALL_MARKS, Fall, find_fall
from eval.talks.measures import MEASURES, ScoredTalk

_BY_NAME = {measure.name: measure for measure in MEASURES}


def compare_talks(base: Sequence[ScoredTalk], tuned: Sequence[ScoredTalk]) -> dict[str, Any]:
    """What summary.json holds.

    Two questions are asked: is a measure worse over whole talks (Holm over the measures), and is
    there a fall (its p value doubled for being the second question). Only what is worse is an
    alarm, half of what a two-sided test finds, so that equals raise one in at most 3.75%.

    Args:
        base: one talk a persona.
        tuned: in the same order.

    Returns:
        ``measures`` (a row each: means, paired comparison, verdict), ``fall`` (or None),
        ``alarms`` (in words; empty: none), ``said`` (one sentence), ``by_turn`` (share of the
        marks that hold, by arm), ``red_lines`` (answers that cross one, by arm and line),
        ``talks`` (how many).
    """
    rows = [row for measure in MEASURES if (row := _row(measure.name, base, tuned))]
    fall = find_fall(base, tuned)
    for row, p in zip(rows, holm([row["compared"].p for row in rows]), strict=True):
        row["p_holm"] = p
        few = row["compared"].n < LEAST_PAIRS
        row["verdict"] = "inconclusive" if few else verdict(row["compared"], row["margin"], p)
    fall_row = None
    if fall:
        fall_row = asdict(fall) | {
            "title": _title(fall),
            "p_adjusted": min(2 * fall.p, 1.0),
            "worse": fall.worse,
            "alarm": fall.worse and 2 * fall.p < 1 - CONFIDENCE,
        }
    alarms = [_worse(row) for row in rows if row["verdict"] == "worse"]
    if fall_row and fall_row["alarm"] and fall:
        alarms.insert(0, _fell(fall))
    summary = {
        "measures": [{**row, "compared": asdict(row["compared"])} for row in rows],
        "fall": fall_row,
        "alarms": alarms,
        "by_turn": {"base": _by_turn(base), "tuned": _by_turn(tuned)},
        "red_lines": {"base": _red_lines(base), "tuned": _red_lines(tuned)},
        "talks": len(base),
    }
    return {"said": _said(summary), **summary}


def _row(
    name: str, base: Sequence[ScoredTalk], tuned: Sequence[ScoredTalk]
) -> dict[str, Any] | None:
    """One measure; None where no persona has a value in both arms."""
    pairs = [
        (left, right)
        for b, t in zip(base, tuned, strict=True)
        if (left := b.mean(name)) is not None and (right := t.mean(name)) is not None
    ]
    if not pairs:
        return None
    of_base, of_tuned = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    measure = _BY_NAME[name]
    return {
        "name": name,
        "title": measure.title,
        "about": measure.about,
        "margin": measure.margin,
        "compared": compare(of_base, of_tuned, is_yes_no([*of_base, *of_tuned])),
        "marks": {"base": _count(base, name), "tuned": _count(tuned, name)},
    }


def _count(talks: Sequence[ScoredTalk], name: str) -> dict[str, int]:
    values = [value for talk in talks for value in talk.values(name)]
    return {"hold": int(sum(values)), "of": len(values)}


def _by_turn(talks: Sequence[ScoredTalk]) -> list[float]:
    """By turn: the share of marks that hold, the mean over the talks that last so long."""
    longest = max(len(talk.marks) for talk in talks)
    found = []
    for turn in range(longest):
        there = [talk.marks[turn] for talk in talks if turn < len(talk.marks)]
        found.append(fmean(fmean(float(m.holds) for m in marks.values()) for marks in there))
    return found


def _red_lines(talks: Sequence[ScoredTalk]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for talk in talks:
        for heard in talk.read.heard:
            for name in heard.crossed:
                line = RED_LINES.get(name, name)
                counts[line] = counts.get(line, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: -pair[1]))


def _worse(row: dict[str, Any]) -> str:
    found = row["compared"]
    return f"{row['title'].lower()}: {found.base:.0%} with base, {found.tuned:.0%} with tuned"


def _fell(fall: Fall) -> str:
    where = f"from turn {fall.from_turn} on" if fall.from_turn > 1 else "over whole talks"
    return (
        f"{_title(fall).lower()}, {where}: {fall.base:.0%} with base, {fall.tuned:.0%} with tuned"
    )


def _title(fall: Fall) -> str:
    return "All marks" if fall.measure == ALL_MARKS else _BY_NAME[fall.measure].title


def _said(summary: dict[str, Any]) -> str:
    """The verdict in one sentence, without its full stop."""
    if summary["alarms"]:
        fall = summary["fall"]
        if fall and fall["alarm"] and fall["from_turn"] > 1:
            return f"tuned falls behind base from turn {fall['from_turn']} on"
        return "tuned is worse than base in whole talks"
    if summary["talks"] < LEAST_PAIRS:
        return f"{summary['talks']} talks are too few to tell; it takes {LEAST_PAIRS}"
    better = [row["title"].lower() for row in summary["measures"] if row["verdict"] == "better"]
    if better:
        return f"tuned is not found to be worse anywhere, and better in: {', '.join(better)}"
    return f"no fall was found in {summary['talks']} talks with each"
