"""Every figure an answer can get: its name, direction, what it needs, and how it is paired.

A new metric is one entry of `METRICS`. The suites' keys, the scores, the tables and the paired
comparison all read this list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from eval.checks.base import CheckResult
from eval.checks.similarity import chrf, rouge_l
from recipes.runner.core.recipe import did_you_mean

Embed = Callable[[str, str], float]
Values = Mapping[str, float]
Need = Literal["nothing", "check", "scored check", "reference", "embedding", "judge", "held-out"]
Pairing = Literal["rate", "mean", "loss"]
HELD_OUT_LOSS = "nll"


@dataclass(frozen=True)
class Evidence:
    """What a metric may look at: one conversation of one model, already checked.

    Attributes:
        text: the last answer.
        checks: what each check found.
        reference: a good answer; None where the prompt has none.
        embed: cosine of two texts; None without an embedding model.
        degenerate: an answer loops or says nothing: it has no quality, whatever its words are.
    """

    text: str
    checks: Sequence[CheckResult]
    reference: str | None = None
    embed: Embed | None = None
    degenerate: bool = False


@dataclass(frozen=True)
class Metric:
    """One figure, or a family of them (``check.*``: one figure for each check).

    Attributes:
        name: as suites and results write it.
        needs: what must be there before it has a value.
        pairing: ``rate``: yes or no, so the exact McNemar test and Tango's interval; ``mean``:
            anything between, so the sign-flip test and the bootstrap (a mean whose values happen
            to be all 0 or 1 is compared as a rate); ``loss``: nats, without an upper end and
            skewed.
        measure: values by name from the evidence, none where it does not apply; None for what is
            added later (judge) or elsewhere (held-out).
        higher_is_better: direction.
        degenerate: what an answer gets that loops or says nothing; None: what is measured.
        value_range: how far apart two values can be.
        beside: whether it is shown beside the figure that decides; checks have their own table.
    """

    name: str
    needs: Need
    pairing: Pairing
    measure: Callable[[Evidence], Values] | None = None
    higher_is_better: bool = True
    degenerate: float | None = 0.0
    value_range: float = 1.0
    beside: bool = True

    @property
    def prefix(self) -> str:
        """Of a family's names, for example ``check.``; empty for a single figure."""
        return self.name[:-1] if self.name.endswith("*") else ""

    def member(self, name: str) -> str:
        """What stands behind the prefix: the check's or the dimension's name."""
        return name.removeprefix(self.prefix)

    def covers(self, name: str) -> bool:
        """Whether ``name`` is this figure or one of this family."""
        if not self.prefix:
            return name == self.name
        return name.startswith(self.prefix) and len(name) > len(self.prefix)


def _score(seen: Evidence) -> Values:
    scored = [check.score for check in seen.checks if check.scored and check.known]
    return {"score": fmean(scored)} if scored else {}


def _passed(seen: Evidence) -> Values:
    scored = [check.score for check in seen.checks if check.scored and check.known]
    return {"passed": float(min(scored) >= 1.0)} if scored else {}


def _no_red_line(seen: Evidence) -> Values:
    crossed = any(check.red_line and not check.passed for check in seen.checks)
    return {"no_red_line": float(not crossed)}


def _checks(seen: Evidence) -> Values:
    return {f"check.{check.name}": check.score for check in seen.checks if check.known}


def _chrf(seen: Evidence) -> Values:
    return {"chrf": chrf(seen.text, seen.reference)} if seen.reference else {}


def _rouge_l(seen: Evidence) -> Values:
    return {"rouge_l": rouge_l(seen.text, seen.reference)} if seen.reference else {}


def _embedding(seen: Evidence) -> Values:
    if not seen.reference or not seen.embed:
        return {}
    return {"embedding": seen.embed(seen.text, seen.reference)}


METRICS: tuple[Metric, ...] = (
    Metric("score", "scored check", "mean", _score),
    Metric("passed", "scored check", "rate", _passed),
    # What it says may be dangerous all the same, and saying little is no danger of its own.
    Metric("no_red_line", "nothing", "rate", _no_red_line, degenerate=None),
    Metric("check.*", "check", "mean", _checks, beside=False),
    Metric("chrf", "reference", "mean", _chrf),
    Metric("rouge_l", "reference", "mean", _rouge_l),
    Metric("embedding", "embedding", "mean", _embedding, value_range=2.0),
    Metric(
        "judge.*", "judge", "mean", degenerate=1.0, value_range=4.0
    ),  # its scores go from 1 to 5
    Metric(HELD_OUT_LOSS, "held-out", "loss", higher_is_better=False, degenerate=None),
)
FOR_SUITES = tuple(metric.name for metric in METRICS if metric.needs != "held-out")


def metric_of(name: str) -> Metric:
    """The entry behind a name.

    Raises:
        KeyError: there is none.
    """
    for metric in METRICS:
        if metric.covers(name):
            return metric
    raise KeyError(name)


def known_metric(name: str) -> str:
    """The name itself, when a suite may use it.

    Raises:
        ValueError: it is no metric of a suite; names the nearest.
    """
    if not any(metric.covers(name) for metric in METRICS if metric.name in FOR_SUITES):
        raise ValueError(f"unknown metric '{name}'. {did_you_mean(name, FOR_SUITES, 'Metrics')}")
    return name


def measure(seen: Evidence) -> dict[str, float]:
    """Every metric that applies, by name, in the order of `METRICS`."""
    found: dict[str, float] = {}
    for metric in METRICS:
        if metric.measure:
            values = metric.measure(seen)
            if seen.degenerate and metric.degenerate is not None:
                values = dict.fromkeys(values, metric.degenerate)
            found |= values
    return found
