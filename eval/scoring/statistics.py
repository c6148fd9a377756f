"""Paired statistics: intervals, tests and verdicts; seeded, and exact where they can be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

FloatArray = npt.NDArray[np.float64]
Verdict = Literal["better", "worse", "no difference within the margin", "inconclusive"]
CONFIDENCE = 0.95
RESAMPLES = 9_999
SEED = 42
# Fewer pairs can show a large difference, but never that there is none: their spread is unknown.
LEAST_PAIRS = 10
# How far apart two scores of one conversation can be.
SCORE_RANGE = 1.0


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


def mcnemar_exact(gained: int, lost: int) -> float:
    """Two-sided exact McNemar test (a sign test on the pairs that differ), p value.

    Args:
        gained: pairs where only tuned passed.
        lost: pairs where only base passed.
    """
    if gained + lost == 0:
        return 1.0
    return float(stats.binomtest(gained, gained + lost, 0.5).pvalue)


def sign_flip(differences: Sequence[float], seed: int = SEED) -> float:
    """Two-sided paired permutation test of mean zero: signs flipped at random, p value."""
    values = np.asarray(differences, dtype=float)
    if len(values) < 2 or not np.any(values):
        return 1.0
    found = stats.permutation_test(
        (values,),
        lambda x, axis: np.mean(x, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=_batch(len(values)),
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def _batch(n: int) -> int:
    """Resamples held at once: all of them for a few hundred values, else 16 MB of them."""
    return max(1, 2_000_000 // n)


def with_unseen(differences: Sequence[float], score_range: float = SCORE_RANGE) -> FloatArray:
    """The differences, and where some are exactly zero, one pair more each way.

    What a bootstrap never saw it can't resample: with no pair that differs its interval has no
    width at all, and with few it is too narrow. So one pair is added that gained and one that
    lost, which is what Bonett and Price (2012, Journal of Educational and Behavioral Statistics
    37) do for rates. They are as large as the largest difference seen; with fewer than
    ``LEAST_PAIRS`` seen, as large as a difference can be.

    Args:
        differences: one a conversation.
        score_range: how large a difference can be.
    """
    values = np.asarray(differences, dtype=float)
    differing = int(np.count_nonzero(values))
    if differing == len(values):
        return values
    largest = float(np.abs(values).max())
    reach = largest if differing >= LEAST_PAIRS else max(largest, score_range)
    return np.append(values, [reach, -reach])


def bootstrap_mean(
    differences: Sequence[float],
    confidence: float = CONFIDENCE,
    seed: int = SEED,
    resamples: int | None = None,
    score_range: float = SCORE_RANGE,
) -> Interval:
    """Percentile bootstrap interval of the mean; resamples whole conversations.

    Expanded for small samples (Hesterberg 2015, The American Statistician 69): the plain one is
    too narrow by the factor that separates t from the normal. Where pairs are equal, `with_unseen`
    keeps it from narrowing to nothing. One value alone tells nothing.
    """
    mean = float(np.mean(differences))
    if len(differences) < 2:
        reach = max(score_range, abs(mean))
        return Interval(-reach, reach)
    values = with_unseen(differences, score_range)
    n = len(values)
    if np.all(values == values[0]):
        return Interval(mean, mean)
    tail = stats.norm.cdf(math.sqrt(n / (n - 1)) * stats.t.ppf((1 - confidence) / 2, n - 1))
    found = stats.bootstrap(
        (values,),
        np.mean,
        confidence_level=1 - 2 * float(tail),
        n_resamples=resamples or RESAMPLES,
        batch=_batch(n),
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    # The added pairs pull towards zero; the estimate itself always stays inside.
    return Interval(min(float(found.low), mean), max(float(found.high), mean))


def skewed_mean(differences: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Interval of the mean of values that may be skewed and have no upper end, such as losses.

    The hull of the t interval and of Hall's transformation of it, which moves with the skewness
    (Hall 1992, Journal of the Royal Statistical Society B 54). Of lognormal and of normal values,
    and of differences of lognormal ones, it holds the true mean in 93 to 97% of cases from 30
    values on; the percentile bootstrap in 85 to 93%. `is_very_skewed` says where it may hold less.

    Args:
        differences: one a conversation.
        confidence: two-sided.
    """
    values = np.asarray(differences, dtype=float)
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Interval(-max(SCORE_RANGE, abs(mean)), max(SCORE_RANGE, abs(mean)))
    spread = float(values.std(ddof=1))
    t = float(stats.t.ppf((1 + confidence) / 2, n - 1))
    low, high = mean - t * spread / math.sqrt(n), mean + t * spread / math.sqrt(n)
    g = skewness(differences)
    if abs(g) > 1e-9:

        def inverse(y: float) -> float:
            return float(3 / g * (np.cbrt(1 + g * (y / math.sqrt(n) - g / (6 * n))) - 1))

        low = min(low, mean - spread * inverse(t))
        high = max(high, mean - spread * inverse(-t))
    return Interval(low, high)


def skewness(values: Sequence[float]) -> float:
    """Third standardised moment of a sample; 0 where nothing varies."""
    array = np.asarray(values, dtype=float)
    spread = float(array.std())
    return float(((array - array.mean()) ** 3).mean()) / spread**3 if spread > 1e-12 else 0.0


def is_very_skewed(values: Sequence[float]) -> bool:
    """Whether a 95% interval of so few and so skewed values may hold the mean less often."""
    return len(values) < 100 and abs(skewness(values)) > 1.5


def paired_rate_interval(
    gained: int, lost: int, n: int, confidence: float = CONFIDENCE
) -> Interval:
    """Score interval of a difference of paired rates (Tango 1998, Statistics in Medicine 17).

    Unlike a bootstrap it stays honest when few pairs differ, or none.

    Args:
        gained: pairs where only tuned passed.
        lost: pairs where only base passed.
        n: all pairs.
        confidence: two-sided.
    """
    z = float(stats.norm.ppf((1 + confidence) / 2))

    def score(delta: float) -> float:
        a, b = 2 * n, -gained - lost + (2 * n - gained + lost) * delta
        q = (math.sqrt(max(b * b - 4 * a * (-lost * delta * (1 - delta)), 0.0)) - b) / (2 * a)
        variance = n * (2 * q + delta * (1 - delta))
        gap = gained - lost - n * delta
        return (
            gap / math.sqrt(variance)
            if variance > 0
            else math.copysign(math.inf, gap)
            if gap
            else 0.0
        )

    centre, edge = (gained - lost) / n, 1 - 1e-12
    low = (
        -1.0
        if score(-edge) <= z
        else optimize.brentq(lambda d: min(score(d), 1e6) - z, -edge, centre)
    )
    high = (
        1.0
        if score(edge) >= -z
        else optimize.brentq(lambda d: max(score(d), -1e6) + z, centre, edge)
    )
    return Interval(float(low), float(high))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        running = max(running, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(running, 1.0)
    return adjusted


@dataclass(frozen=True)
class WinRate:
    """Wins of tuned over base, a tie as half a win.

    Attributes:
        wins: tuned preferred.
        ties: neither.
        losses: base preferred.
        rate: (wins + ties / 2) / all.
        interval: 95%, from Tango's interval of wins minus losses, so that it stays honest when
            one side wins them all.
        p: exact sign test without the ties.
    """

    wins: int
    ties: int
    losses: int
    rate: float
    interval: Interval
    p: float


def win_rate(outcomes: Sequence[float], prompts: Sequence[object] | None = None) -> WinRate:
    """Win rate of outcomes that are 1 (tuned), 0.5 (tie) or 0 (base).

    Args:
        outcomes: one a pair of answers.
        prompts: of which prompt each is; with several of one prompt, interval and test go by
            prompt. None: all of different prompts.
    """
    wins, losses = sum(o > 0.5 for o in outcomes), sum(o < 0.5 for o in outcomes)
    groups: dict[object, list[float]] = {}
    for place, outcome in enumerate(outcomes):
        groups.setdefault(place if prompts is None else prompts[place], []).append(outcome)
    if len(groups) == len(outcomes):
        lead, p = paired_rate_interval(wins, losses, len(outcomes)), mcnemar_exact(wins, losses)
    else:
        leads = [2 * float(np.mean(group)) - 1 for group in groups.values()]
        lead, p = bootstrap_mean(leads), sign_flip(leads)
    return WinRate(
        wins,
        len(outcomes) - wins - losses,
        losses,
        float(np.mean(outcomes)),
        Interval(max(0.0, (1 + lead.low) / 2), min(1.0, (1 + lead.high) / 2)),
        p,
    )


def rank_correlation(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Spearman's rho; None when one side does not vary."""
    if len(left) < 3 or len(set(left)) < 2 or len(set(right)) < 2:
        return None
    return float(stats.spearmanr(left, right).statistic)


@dataclass(frozen=True)
class Paired:
    """A paired comparison, tuned minus base.

    Attributes:
        n: conversations.
        differing: those of them where the arms differ at all.
        base: mean of base.
        tuned: mean of tuned.
        difference: mean of the paired differences.
        interval: 95% interval of the difference.
        one_sided_low: lower bound of the one-sided 95% interval, for non-inferiority.
        spread: standard deviation of the differences, as `with_unseen` sees them.
        p: two-sided p value, before Holm.
        method: how interval and p value were had.
        detectable: smallest difference that this many pairs would have shown four times in five,
            Holm counted; None when it can't be known, or before `eval.scoring.summary` filled it.
    """

    n: int
    differing: int
    base: float
    tuned: float
    difference: float
    interval: Interval
    one_sided_low: float
    spread: float
    p: float
    method: str
    detectable: float | None = None


def compare(
    base: Sequence[float],
    tuned: Sequence[float],
    yes_no: bool,
    score_range: float = SCORE_RANGE,
    skewed: bool = False,
) -> Paired:
    """Compare two arms on the same conversations.

    Args:
        base: one value a conversation.
        tuned: in the same order.
        yes_no: whether every value is 0 or 1; then exact McNemar and Tango's interval are used,
            else the sign-flip test and the bootstrap.
        score_range: how far apart two values can be.
        skewed: whether they are losses, for which `skewed_mean` gives the interval.
    """
    if len(base) != len(tuned) or not base:
        raise ValueError("a paired comparison needs as many values of tuned as of base")
    # What only rounding tells apart is equal.
    differences = [round(t - b, 9) for b, t in zip(base, tuned, strict=True)]
    n = len(differences)
    if yes_no:
        gained, lost = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
        interval = paired_rate_interval(gained, lost, n)
        low = paired_rate_interval(gained, lost, n, confidence=0.9).low
        p, method = mcnemar_exact(gained, lost), "exact McNemar, Tango's interval"
    elif skewed:
        interval = skewed_mean(differences)
        low = skewed_mean(differences, confidence=0.9).low
        p, method = sign_flip(differences), "sign-flip test, interval for skewed values"
        if is_very_skewed(differences):
            method += "; few and very skewed: it may hold the mean in 93% of cases only"
    else:
        interval = bootstrap_mean(differences, score_range=score_range)
        low = bootstrap_mean(differences, confidence=0.9, score_range=score_range).low
        p, method = sign_flip(differences), "sign-flip test, bootstrap"
    return Paired(
        n,
        sum(d != 0 for d in differences),
        float(np.mean(base)),
        float(np.mean(tuned)),
        float(np.mean(differences)),
        interval,
        low,
        float(np.std(with_unseen(differences, score_range), ddof=1)) if n > 1 else score_range,
        p,
        method,
    )


def verdict(
    found: Paired, margin: float, p_adjusted: float, higher_is_better: bool = True
) -> Verdict:
    """What the interval, the adjusted p value and the margin say together.

    Within the margin on both sides, and enough pairs: no difference that matters, even when it is
    surely not zero. Else better or worse when the interval excludes zero and the p value after
    Holm is under 5%.
    """
    sign = 1 if higher_is_better else -1
    low, high = sorted((sign * found.interval.low, sign * found.interval.high))
    if found.n >= LEAST_PAIRS and -margin < low and high < margin:
        return "no difference within the margin"
    if p_adjusted < 1 - CONFIDENCE:
        if low > 0:
            return "better"
        if high < 0:
            return "worse"
    return "inconclusive"
