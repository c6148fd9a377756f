"""Whether a suite's verdict stands on the checks that may decide, without those that err too often.

A figure over many checks, such as `score`, takes in all of them. One that was measured to err too
often (`eval.checks.worth`) may move it by its errors alone, so a verdict that is not seen without
such checks is none: it is said, and the answers must be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from eval.checks.base import CheckResult
from eval.checks.registry import decides
from eval.scoring.metrics import Evidence, measure, metric_of
from eval.scoring.pairs import Item, Scored
from eval.scoring.statistics import CONFIDENCE, sign_flip

Way = Literal["better", "worse"]
OVER_CHECKS = ("score", "passed", "no_red_line")


@dataclass(frozen=True)
class Doubt:
    """A verdict that only checks that err too often speak for.

    Attributes:
        way: what it would be.
        checks: these checks, by the suite's names.
    """

    way: Way
    checks: tuple[str, ...]


def doubt_of(verdict: str, metric: str, items: Sequence[Item]) -> Doubt | None:
    """Why a verdict can't stand; None where it stands, or where no check errs under the metric.

    It stands where the metric over the deciding checks alone changes the same way, by a one-sided
    sign-flip test over the prompts.
    """
    if verdict not in ("better", "worse"):
        return None
    way: Way = "better" if verdict == "better" else "worse"
    counted = {c.name: c.check for i in items for c in i.tuned.checks if _under(metric, c)}
    erring = tuple(sorted(name for name, check in counted.items() if not decides(check)))
    if not erring:
        return None
    changes: dict[str, list[float]] = {}
    for item in items:
        base, tuned = (_without_erring(side, metric) for side in (item.base, item.tuned))
        if base is not None and tuned is not None:
            changes.setdefault(item.prompt.id, []).append(tuned - base)
    means = [fmean(group) for group in changes.values()]
    up = (way == "better") is metric_of(metric).higher_is_better
    stands = any(means) and (sum(means) > 0) is up and sign_flip(means) / 2 < 1 - CONFIDENCE
    return None if stands else Doubt(way, erring)


def _under(metric: str, check: CheckResult) -> bool:
    """Whether a metric counts a check."""
    if metric == "no_red_line":
        return check.red_line
    if metric in OVER_CHECKS:
        return check.scored
    return metric == f"check.{check.name}"


def _without_erring(side: Scored, metric: str) -> float | None:
    """One arm's figure over the checks that may decide; None where none of them is under it."""
    kept = [check for check in side.checks if _under(metric, check) and decides(check.check)]
    if not kept:
        return None
    return measure(Evidence("", kept, degenerate=side.degenerate)).get(metric)
