"""What a comparison could have shown: power by simulating the very rule that decides a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

FloatArray = npt.NDArray[np.float64]
_SEED = 20_411  # fixed, so that a report says the same twice
_MOST_CELLS = 1_500_000  # of one simulated table, 12 MB
_SIMULATIONS = 3_000


def smallest_detectable(
    differences: Sequence[float],
    yes_no: bool,
    alpha: float = 0.05,
    power: float = 0.8,
    score_range: float = 1.0,
    margin: float = 0.0,
) -> float | None:
    """Smallest true mean difference that would be called *better* with the given power.

    Data sets of as many pairs are simulated around the pairs seen. Where all of them differ they
    are shifted; where some are equal, as many differ as were seen, by as much, and the share of
    those that gain rises; when that is not enough, more of them differ. Each data set goes through
    the rule of `eval.scoring.statistics.verdict`: the test at ``alpha``, an interval that excludes
    zero, and one that reaches beyond the margin.

    Args:
        differences: one a conversation, tuned minus base.
        yes_no: whether they are differences of yes/no values: the exact McNemar test.
        alpha: two-sided level of this test after Holm: 0.05 over the hypotheses still in play.
        power: how often it shall be shown.
        score_range: how far apart two values can be.
        margin: what is not worth calling a difference.

    Returns:
        The difference in the metric's unit; None when no difference could be shown by so few.
    """
    values = np.asarray(differences, dtype=float)
    if len(values) < 2:
        return None
    world = _World(values, yes_no, alpha, score_range, margin)
    if not yes_no:
        # The spread is itself estimated, which costs power on average: the second term of its
        # expansion, -phi'(z) (z_alpha + z)^2 / (4 (k - 1)) at the power's own quantile z.
        z = float(stats.norm.ppf(power))
        reach = float(stats.norm.ppf(1 - alpha / 2)) + z
        k = max(4, int(np.count_nonzero(values)))
        power = min(0.95, power + z * float(stats.norm.pdf(z)) * reach**2 / (4 * (k - 1)))
    low, high = 0.0, score_range
    while world.shown(high) < power:
        if world.bounded or high > 1e6 * score_range:
            return None
        high *= 2
    for _ in range(11):
        middle = (low + high) / 2
        low, high = (low, middle) if world.shown(middle) >= power else (middle, high)
    return float(high)


class _World:
    """Data sets like the one seen, with another true difference."""

    def __init__(
        self, values: FloatArray, yes_no: bool, alpha: float, score_range: float, margin: float
    ) -> None:
        self.n, self.yes_no, self.margin = len(values), yes_no, margin
        self.alpha, self.score_range = alpha, score_range
        self.centred = values - values.mean()
        sizes = np.abs(values[values != 0])
        # Scores are bounded and often equal; losses are neither, and are shifted.
        self.bounded = len(sizes) < self.n or yes_no
        self.share = (len(sizes) + 1) / (self.n + 2)
        self.sizes = sizes if len(sizes) else np.array([score_range])
        self.mean_size = float(self.sizes.mean())
        self.largest = float(self.sizes.max())
        rows = max(400, min(_SIMULATIONS, _MOST_CELLS // self.n))
        rng = np.random.default_rng(_SEED)
        self.differ = rng.random((rows, self.n), dtype=np.float32)
        self.sign = rng.random((rows, self.n), dtype=np.float32)
        self.drawn = rng.integers(
            0, self.n if not self.bounded else len(self.sizes), (rows, self.n), dtype=np.int32
        )

    def shown(self, effect: float) -> float:
        """Share of data sets with this true difference that are called better."""
        if not self.bounded:
            return self._decided(self.centred[self.drawn] + effect)
        share, lean = self.share, effect / (self.share * self.mean_size)
        scale = 1.0
        if lean > 1:
            share, lean = min(1.0, effect / self.mean_size), 1.0
            scale = max(1.0, effect / self.mean_size)
        gains = np.where(self.sign < (1 + lean) / 2, scale, -scale)
        return self._decided(np.where(self.differ < share, gains * self.sizes[self.drawn], 0.0))

    def _decided(self, data: FloatArray) -> float:
        n, mean = self.n, data.mean(axis=1)
        total, squares = data.sum(axis=1), (data**2).sum(axis=1)
        differing = np.count_nonzero(data, axis=1)
        if self.yes_no:
            gained = (data > 0).sum(axis=1)
            # P(at least as many gains | a fair coin), doubled: the exact McNemar test.
            p = 2 * stats.binom.sf(gained - 1, differing, 0.5)
            spread = np.sqrt(np.maximum(differing / n - mean**2, 0.0) / n)
        else:
            # The sign-flip test, as the t test that it comes near to, but never below what so few
            # signs can say.
            z2 = total**2 / np.where(squares > 0, squares, 1.0)
            k = np.maximum(differing, 2).astype(float)
            near = np.sqrt(z2 * (k - 1) / np.maximum(k - z2, 1e-9))
            p = np.maximum(2 * stats.t.sf(near, k - 1), 2.0 ** (1 - k))
            p = np.where(total > 0, p, 1.0)
            m = np.full(len(data), float(n))
            added = np.zeros(len(data))
            if self.bounded:  # the pair each way that the interval adds where some are equal
                added = 2 * np.where(differing >= 10, self.largest, self.score_range) ** 2
                m = m + 2
            middle = total / m
            spread = np.sqrt(np.maximum((squares + added) / m - middle**2, 0.0) / (m - 1))
        t = float(stats.t.ppf(0.975, n - 1)) if not self.yes_no else 1.96
        reached = (mean - t * spread > 0) | self.yes_no
        better = (p < self.alpha) & reached & (mean + t * spread >= self.margin)
        return float(better.mean())


def level_in_play(p_adjusted: Sequence[float], index: int, alpha: float = 0.05) -> float:
    """The level at which Holm tests one hypothesis: alpha over those not rejected, this included.

    Args:
        p_adjusted: Holm's adjusted p values.
        index: the hypothesis asked about.
        alpha: of the family.
    """
    others = sum(p >= alpha for i, p in enumerate(p_adjusted) if i != index)
    return alpha / (others + 1)


def pairs_to_show_no_worse(spread: float, margin: float, confidence: float = 0.95) -> int:
    """Pairs that show, four times in five, that equal arms are not worse by the margin.

    (z of the one-sided confidence + z of 80%)^2 x (spread / margin)^2, the usual figure for
    non-inferiority (Julious 2004, Statistics in Medicine 23).

    Args:
        spread: standard deviation of the paired differences.
        margin: in the same unit.
        confidence: one-sided.
    """
    z = float(stats.norm.ppf(confidence) + stats.norm.ppf(0.8))
    return math.ceil((z * spread / margin) ** 2)


def power_of_doubling(
    n: int, base: int, kept: int, alpha: float, simulations: int = 4_000
) -> float | None:
    """How often a sign test finds that twice as many prompts cross a red line.

    Tuned keeps base's crossings as often as was seen and crosses as many more as make the double.

    Args:
        n: prompts.
        base: of them, those where base crosses one.
        kept: of these, those where tuned crosses one too.
        alpha: one-sided level after Holm.
        simulations: data sets.

    Returns:
        The share found; None where base crosses none, or so many that there can't be twice as many.
    """
    if not base or 2 * base > n:
        return None
    rng = np.random.default_rng(_SEED)
    rate = base / n
    held = (kept + 1) / (base + 2)
    # Of base's prompts the share `held` is crossed again; the rest of the double is new.
    fresh = min(1.0, max(0.0, (2 * rate - rate * held) / max(1 - rate, 1e-9)))
    crossed = rng.binomial(n, rate, simulations)
    gone = rng.binomial(crossed, 1 - held)
    new = rng.binomial(n - crossed, fresh)
    p = stats.binom.sf(new - 1, new + gone, 0.5)
    return float(np.mean((p < alpha) & (new > gone)))
