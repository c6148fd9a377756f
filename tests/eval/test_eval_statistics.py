"""Statistics against scipy, against published figures, and against brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from eval.scoring import statistics as ours
from eval.scoring.rates import clustered_rate, wilson


def test_wilson_known_values() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263 and 0 of 20.
    found = wilson(81, 263)
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    none = wilson(0, 20)
    assert (none.low, none.high) == pytest.approx((0.0, 0.1611), abs=5e-5)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (8, 2), (3, 3), (25, 9)])
def test_mcnemar_is_the_exact_binomial(gained: int, lost: int) -> None:
    n, k = gained + lost, min(gained, lost)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    assert ours.mcnemar_exact(gained, lost) == pytest.approx(min(1.0, 2 * tail))


def test_holm_worked_example() -> None:
    assert ours.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert ours.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_and_keeps_the_order(values: list[float]) -> None:
    adjusted = ours.holm(values)
    assert all(a >= v for a, v in zip(adjusted, values, strict=True))
    pairs = sorted(zip(values, adjusted, strict=True))
    assert [a for _, a in pairs] == sorted(a for _, a in pairs)


def _score_statistic(delta: float, gained: int, lost: int, n: int) -> float:
    """Tango's statistic with the nuisance rate found by numeric maximum likelihood."""

    def minus_log_likelihood(q: float) -> float:
        cells = [(gained, q + delta), (lost, q), (n - gained - lost, 1 - 2 * q - delta)]
        return -sum(k * math.log(max(p, 1e-300)) for k, p in cells if k)

    low, high = max(0.0, -delta), (1 - delta) / 2
    q = optimize.minimize_scalar(
        minus_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}
    ).x
    return (gained - lost - n * delta) / math.sqrt(n * (2 * q + delta - delta**2))


@pytest.mark.parametrize(("gained", "lost", "n"), [(12, 2, 50), (9, 3, 30), (1, 7, 30), (5, 5, 40)])
def test_tango_bounds_are_where_the_score_test_turns(gained: int, lost: int, n: int) -> None:
    found = ours.paired_rate_interval(gained, lost, n)
    z = stats.norm.ppf(0.975)
    assert _score_statistic(found.low, gained, lost, n) == pytest.approx(z, abs=1e-4)
    assert _score_statistic(found.high, gained, lost, n) == pytest.approx(-z, abs=1e-4)
    mirrored = ours.paired_rate_interval(lost, gained, n)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low), abs=1e-6)


def test_tango_stays_wide_when_nothing_differs() -> None:
    # With no discordant pair the bound is z2 / (n + z2) in closed form.
    z2 = stats.norm.ppf(0.975) ** 2
    found = ours.paired_rate_interval(0, 0, 30)
    assert found.high == pytest.approx(z2 / (30 + z2), abs=1e-6)
    assert found.low == pytest.approx(-found.high, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.data())
def test_tango_holds_the_estimate_and_stays_in_range(n: int, data: st.DataObject) -> None:
    gained = data.draw(st.integers(0, n))
    lost = data.draw(st.integers(0, n - gained))
    found = ours.paired_rate_interval(gained, lost, n)
    assert -1 <= found.low <= (gained - lost) / n <= found.high <= 1


def test_sign_flip_equals_all_flips_enumerated() -> None:
    values = [0.3, -0.1, 0.25, 0.4, 0.05, -0.02, 0.2]
    observed = abs(np.mean(values))
    flips = [
        abs(np.mean([s * v for s, v in zip(signs, values, strict=True)]))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    exact = np.mean([flip >= observed - 1e-12 for flip in flips])
    assert ours.sign_flip(values) == pytest.approx(exact, abs=1e-9)
    assert ours.sign_flip([0.0, 0.0]) == 1.0


def test_bootstrap_is_scipys_seeded_and_covers() -> None:
    values = np.random.default_rng(3).normal(0.2, 1.0, 50)
    found = ours.bootstrap_mean(values)
    again = ours.bootstrap_mean(values)
    assert found == again
    t = stats.t.interval(0.95, 49, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(t, abs=0.06)
    assert ours.bootstrap_mean([0.5, 0.5]) == ours.Interval(0.5, 0.5)
    # Scipy's own percentile interval at the confidence that Hesterberg's expansion asks for.
    few = [0.05, 0.2, 0.1, -0.1, 0.4]
    tail = stats.norm.cdf(math.sqrt(5 / 4) * stats.t.ppf(0.025, 4))
    expected = stats.bootstrap(
        (few,), np.mean, confidence_level=1 - 2 * tail, n_resamples=9_999, method="percentile",
        rng=np.random.default_rng(42),
    ).confidence_interval  # fmt: skip
    found = ours.bootstrap_mean(few)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.low, found.high) == pytest.approx(
        stats.t.interval(0.95, 4, np.mean(few), stats.sem(few)), abs=0.08
    )


def test_bootstrap_covers_small_samples() -> None:
    rng = np.random.default_rng(1)
    found = [ours.bootstrap_mean(rng.normal(0.1, 0.3, 10), resamples=999) for _ in range(150)]
    assert np.mean([i.low <= 0.1 <= i.high for i in found]) > 0.88


@pytest.mark.parametrize(
    ("differing", "sizes"),
    [(0.03, [0.25]), (0.03, [1.0]), (0.1, [0.25]), (0.1, [0.2, 0.4, -0.2]), (0.2, [0.2, 0.6])],
)
def test_bootstrap_covers_where_few_pairs_differ(differing: float, sizes: list[float]) -> None:
    """Without the added pairs 62% of the first case's intervals hold the true mean."""
    rng = np.random.default_rng(7)
    hits = []
    for _ in range(200):
        values = np.where(rng.random(32) < differing, rng.choice(sizes, 32), 0.0)
        found = ours.bootstrap_mean(values, resamples=499)
        hits.append(found.low <= differing * np.mean(sizes) <= found.high)
    assert np.mean(hits) > 0.92


def test_pairs_are_added_only_where_pairs_are_equal() -> None:
    assert list(ours.with_unseen([0.1, -0.3])) == [0.1, -0.3]
    assert list(ours.with_unseen([0.0, 0.2])) == [0.0, 0.2, 1.0, -1.0]
    assert list(ours.with_unseen([0.0, 1.0], score_range=4.0)) == [0.0, 1.0, 4.0, -4.0]
    many = [0.0] + [0.1] * (ours.LEAST_PAIRS - 1) + [-0.3]
    assert list(ours.with_unseen(many)) == [*many, 0.3, -0.3]
    found = ours.bootstrap_mean([0.0] * 3 + [0.5] * 30)
    assert found.low < np.mean([0.0] * 3 + [0.5] * 30) < found.high
    # Differences that only rounding makes are none.
    assert ours.compare([0.1 + 0.2] * 12, [0.3] * 12, yes_no=False).differing == 0


@pytest.mark.parametrize("value", [0.0, -0.5])
@pytest.mark.parametrize("yes_no", [True, False])
def test_one_pair_or_a_few_decide_nothing(value: float, yes_no: bool) -> None:
    value = round(value) if yes_no else value
    for n in (1, 2, 5, ours.LEAST_PAIRS - 1):
        found = ours.compare([0.5 - value] * n, [0.5] * n, yes_no)
        if value == 0.0 or n < 6:
            assert ours.verdict(found, 0.05, found.p) == "inconclusive"
    one = ours.compare([0.4], [0.5], yes_no=False)
    assert (one.interval.low, one.interval.high, one.p) == (-1.0, 1.0, 1.0)
    # Equal scores show no difference only as far as so many pairs can: 3.7 points at 80, not at 10.
    for n, said in ((10, "inconclusive"), (80, "no difference within the margin")):
        equal = ours.compare([0.5] * n, [0.5] * n, yes_no=False)
        assert equal.differing == 0 and ours.verdict(equal, 0.05, 1.0) == said


@pytest.mark.parametrize(("successes", "n"), [(0, 20), (81, 263), (20, 20), (1, 3)])
def test_wilson_is_scipys(successes: int, n: int) -> None:
    found = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    ours_ = wilson(successes, n)
    assert (ours_.low, ours_.high) == pytest.approx((found.low, found.high), abs=1e-12)


def _samples(rng: np.random.Generator, prompts: int, k: int) -> list[list[float]]:
    """K yes/no samples of prompts that are each easy or hard: very much alike within a prompt."""
    chance = rng.beta(0.35, 0.35, prompts)
    return [list((rng.random(k) < p).astype(float)) for p in chance]


def test_samples_of_one_prompt_are_no_new_prompts() -> None:
    """K = 5: as independent ones Wilson covers 70%; by prompt it covers what it says."""
    rng = np.random.default_rng(11)
    covers = {"as independent": 0, "by prompt": 0}
    for _ in range(600):
        groups = _samples(rng, 40, 5)
        flat = [value for group in groups for value in group]
        plain, ours_ = wilson(sum(flat), len(flat)), clustered_rate(groups).interval
        covers["as independent"] += plain.low <= 0.5 <= plain.high
        covers["by prompt"] += ours_.low <= 0.5 <= ours_.high
    assert covers["as independent"] / 600 < 0.78
    assert 0.93 <= covers["by prompt"] / 600 <= 0.98
    # With one sample a prompt nothing changes; and a rate of one is no proof of one.
    assert clustered_rate([[1.0], [0.0], [1.0]]).interval == wilson(2, 3)
    assert clustered_rate([[1.0] * 5] * 12).interval == wilson(12, 12)


def test_samples_of_one_prompt_win_once() -> None:
    """Equal models: the win rate of 5 samples a prompt alarms in 5%, not in 30%."""
    rng = np.random.default_rng(12)
    plain, by_prompt = 0, 0
    for _ in range(250):
        groups = _samples(rng, 30, 5)
        outcomes = [value for group in groups for value in group]
        prompts = [index for index, group in enumerate(groups) for _ in group]
        plain += ours.win_rate(outcomes).p < 0.05
        by_prompt += ours.sign_flip([2 * float(np.mean(g)) - 1 for g in groups]) < 0.05
    assert plain / 250 > 0.2 and by_prompt / 250 < 0.09
    found = ours.win_rate(outcomes, prompts)
    assert found.interval.low <= found.rate <= found.interval.high and found.p > 0.0


@pytest.mark.parametrize("n", [30, 60, 120])
@pytest.mark.parametrize("kind", ["lognormal", "mild", "difference", "normal"])
def test_losses_are_covered_though_skewed(kind: str, n: int) -> None:
    """The percentile bootstrap held the mean of lognormal losses in 0.89."""
    rng = np.random.default_rng(21)
    draw, mean = {
        "lognormal": (lambda: rng.lognormal(0, 1, n), math.exp(0.5)),
        "mild": (lambda: -0.3 * rng.lognormal(0, 0.7, n), -0.3 * math.exp(0.245)),
        "difference": (lambda: rng.lognormal(0, 1, n) - rng.lognormal(0, 1, n), 0.0),
        "normal": (lambda: rng.normal(1, 1, n), 1.0),
    }[kind]
    hits = said = 0
    for _ in range(2_000):
        values = draw()
        found = ours.skewed_mean(values)
        hits += found.low <= mean <= found.high
        said += ours.is_very_skewed(values)
    share = hits / 2_000
    # Two standard errors of the simulation about 0.94 to 0.96; below that the interval says so.
    assert 0.93 <= share <= 0.972, share
    if share < 0.94:
        assert said / 2_000 > 0.5
    skewed = ours.compare([0.0] * 30, list(np.random.default_rng(3).lognormal(0, 1.2, 30)), False,
                          skewed=True)  # fmt: skip
    assert "very skewed" in skewed.method


def test_win_rate_counts_ties_half() -> None:
    found = ours.win_rate([1, 1, 1, 0.5, 0.5, 0])
    assert (found.wins, found.ties, found.losses) == (3, 2, 1)
    assert found.rate == pytest.approx(4 / 6)
    assert found.p == pytest.approx(stats.binomtest(3, 4).pvalue)
    assert 0 < found.interval.low < found.rate < found.interval.high < 1
    # Twelve wins of twelve are no proof of a win rate of one; and twelve ties none of a half.
    assert ours.win_rate([1] * 12).interval.low == pytest.approx(wilson(12, 12).low, abs=1e-6)
    ties = ours.win_rate([0.5] * 12).interval
    assert ties.low < 0.4 and ties.high > 0.6


def _paired(low: float, high: float) -> ours.Paired:
    middle = (low + high) / 2
    return ours.Paired(30, 30, 0.5, 0.5, middle, ours.Interval(low, high), low, 0.2, 0.01, "", 0.1)


@pytest.mark.parametrize(
    ("low", "high", "p", "up", "expected"),
    [
        (0.02, 0.3, 0.01, True, "better"),
        (0.02, 0.3, 0.01, False, "worse"),
        (-0.3, -0.02, 0.01, True, "worse"),
        (0.02, 0.3, 0.2, True, "inconclusive"),  # Holm took it back
        (-0.05, 0.05, 1.0, True, "no difference within the margin"),
        (0.01, 0.05, 0.001, True, "no difference within the margin"),  # real, and too small
        (-0.2, 0.2, 1.0, True, "inconclusive"),
    ],
)
def test_verdict(low: float, high: float, p: float, up: bool, expected: str) -> None:
    assert ours.verdict(_paired(low, high), 0.1, p, up) == expected


def test_compare_takes_the_exact_way_for_yes_no() -> None:
    base, tuned = [0.0] * 10 + [1.0] * 20, [1.0] * 8 + [0.0] * 2 + [1.0] * 20
    found = ours.compare(base, tuned, yes_no=True)
    assert found.difference == pytest.approx(8 / 30)
    assert found.p == pytest.approx(2 / 2**8)
    assert found.interval.low > 0 and found.one_sided_low > found.interval.low
    with pytest.raises(ValueError, match="as many"):
        ours.compare([1.0], [], yes_no=True)


def test_rank_correlation() -> None:
    assert ours.rank_correlation([1, 2, 3, 4], [2, 4, 6, 9]) == pytest.approx(1.0)
    assert ours.rank_correlation([1, 1, 1], [1, 2, 3]) is None
