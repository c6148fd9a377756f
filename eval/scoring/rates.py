"""Rates with intervals, also where several samples of one prompt are alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from eval.scoring.statistics import CONFIDENCE, Interval


def wilson(successes: float, n: float, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of a rate (Wilson 1927); ``n`` may be an effective sample size."""
    z = float(stats.norm.ppf((1 + confidence) / 2))
    rate, z2 = successes / n, z * z
    middle = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    # At the ends rounding would leave 1e-17 where there is nothing.
    return Interval(
        max(0.0, middle - half) if successes else 0.0,
        min(1.0, middle + half) if successes < n else 1.0,
    )


@dataclass(frozen=True)
class Rate:
    """A rate over prompts with one or more samples each.

    Attributes:
        rate: mean over prompts of the share of samples.
        n: samples.
        effective: independent samples that they are worth.
        interval: 95%, Wilson's at the effective sample size.
    """

    rate: float
    n: int
    effective: float
    interval: Interval


def clustered_rate(groups: Sequence[Sequence[float]], confidence: float = CONFIDENCE) -> Rate:
    """A rate whose samples of one prompt are alike, so that they count for fewer.

    The variance is that of the prompts' means (Miller 2024, arXiv 2411.00640); the samples are
    worth as many as would give it, corrected for few prompts by the t distribution (Korn and
    Graubard 1998, Survey Methodology 24). With one sample a prompt it is plain Wilson.

    Args:
        groups: values from 0 to 1, by prompt.
        confidence: two-sided.
    """
    means = np.array([float(np.mean(group)) for group in groups])
    n, prompts, rate = sum(map(len, groups)), len(groups), float(means.mean())
    effective = float(n)
    if n > prompts:
        effective = float(prompts)  # where nothing varies, a prompt's samples tell no more than one
        variance = float(np.var(means, ddof=1)) / prompts if prompts > 1 else 0.0
        if variance > 0 and 0 < rate < 1:
            few = stats.t.ppf((1 + confidence) / 2, n - 1) / stats.t.ppf(
                (1 + confidence) / 2, prompts - 1
            )
            effective = min(float(n), rate * (1 - rate) / variance * float(few) ** 2)
    return Rate(rate, n, effective, wilson(rate * effective, effective, confidence))
