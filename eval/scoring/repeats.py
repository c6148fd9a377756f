"""Settings of a sweep against each other: how far apart they are, and how much of it is chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from scipy import stats

from eval.scoring.statistics import CONFIDENCE, Interval, skewed_mean

Losses = Mapping[str, float]
"""Nats a token of each held-out conversation, by its id."""


@dataclass(frozen=True)
class Lead:
    """One setting's held-out loss over another's, paired.

    Attributes:
        difference: the first's loss less the second's, nats a token: below zero, the first leads.
        interval: 95%, of conversations and of repeats together.
        conversations: held-out conversations that both were measured on.
        repeats: runs of each that were paired.
    """

    difference: float
    interval: Interval
    conversations: int
    repeats: int


def lead(first: Mapping[str, Losses], second: Mapping[str, Losses], folds: int) -> Lead | None:
    """Pair two settings by repeat and conversation.

    Two things are chance: which conversations are held out, and what a run's seed and its part of
    the rows make of it. Over conversations the differences, each a mean over the repeats, have
    `skewed_mean`'s interval. Over repeats the means have a t interval; with folds its variance is
    that of repeated cross-validation, 1/runs + 1/(folds - 1) in place of 1/runs, as the runs share
    most of their training rows (Nadeau and Bengio, "Inference for the generalization error", 2003;
    Bouckaert and Frank 2004). With folds a repeat holds out conversations of its own, so the wider
    of both holds; with seeds alone all repeats share theirs, so the two are added in quadrature.

    Args:
        first: by repeat, the losses of one setting's run.
        second: the same of the other.
        folds: 1 where every repeat held out the same conversations.

    Returns:
        None where they share no repeat.
    """
    differences = {
        repeat: {
            row: first[repeat][row] - second[repeat][row]
            for row in first[repeat]
            if row in second[repeat]
        }
        for repeat in first
        if repeat in second
    }
    differences = {repeat: rows for repeat, rows in differences.items() if rows}
    if not differences:
        return None
    by_row: dict[str, list[float]] = {}
    for rows in differences.values():
        for row, difference in rows.items():
            by_row.setdefault(row, []).append(difference)
    of_rows = [fmean(values) for values in by_row.values()]
    mean = fmean(of_rows)
    across = skewed_mean(of_rows)
    reach = _reach_of_repeats([fmean(rows.values()) for rows in differences.values()], folds)
    low, high = mean - across.low, across.high - mean
    if folds > 1:
        low, high = max(low, reach), max(high, reach)
    else:
        low, high = math.hypot(low, reach), math.hypot(high, reach)
    return Lead(mean, Interval(mean - low, mean + high), len(of_rows), len(differences))


def _reach_of_repeats(means: Sequence[float], folds: int) -> float:
    """Half the width of the 95% interval of the mean over repeats; endless for a single one."""
    count = len(means)
    if count < 2:
        return math.inf
    share = 1 / count + (1 / (folds - 1) if folds > 1 else 0.0)
    spread = float(np.std(means, ddof=1))
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * spread * math.sqrt(share)


@dataclass(frozen=True)
class Standing:
    """Where the settings of a sweep stand.

    Attributes:
        losses: mean held-out loss of each, nats a token, best first; those that ran to the end
            before the others, whose few runs may have held out easier conversations.
        best: the setting that leads, whether or not that is shown.
        next: the one behind it; None where there is one alone.
        lead: the best's over the next; None where they share no run.
        as_good: settings, best first, that the best is not shown to beat.
    """

    losses: dict[str, float]
    best: str
    next: str | None
    lead: Lead | None
    as_good: tuple[str, ...]

    @property
    def decided(self) -> bool:
        """Whether the best beats the next by more than chance."""
        return self.lead is not None and self.lead.interval.high < 0


def standing(runs: Mapping[str, Mapping[str, Losses]], folds: int, left: Sequence[str]) -> Standing:
    """Rank the settings by mean held-out loss, and hold the best against the others.

    Settings are compared over the repeats they share with the best.

    Args:
        runs: by setting, by repeat, the losses.
        folds: see `lead`.
        left: settings that ran to the end; the others were dropped on the way.

    Raises:
        ValueError: no setting has a run.
    """
    losses = {name: fmean(fmean(r.values()) for r in own.values()) for name, own in runs.items()}
    if not losses:
        raise ValueError("no run was measured")
    ranked = sorted(losses, key=losses.__getitem__)
    of_end = [name for name in ranked if name in left] or ranked
    best = of_end[0]
    others = of_end[1:]
    follower = others[0] if others else None
    leads = {name: lead(runs[best], runs[name], folds) for name in others}
    as_good = tuple(
        name for name, found in leads.items() if found is None or found.interval.high >= 0
    )
    return Standing(
        {name: losses[name] for name in [*of_end, *(n for n in ranked if n not in of_end)]},
        best,
        follower,
        leads[follower] if follower else None,
        as_good,
    )
