"""The power that a report promises is there: simulated with the real tests, Holm counted."""

from __future__ import annotations

import numpy as np
import pytest

from eval.scoring import statistics
from eval.scoring.power import (
    level_in_play,
    pairs_to_show_no_worse,
    power_of_doubling,
    smallest_detectable,
)

FAMILY = 7
LEVEL = 0.05 / FAMILY


def sign_flip(values: np.ndarray, rng: np.random.Generator) -> float:
    """The permutation test by hand, with fewer flips than the real one."""
    means = (rng.choice([-1.0, 1.0], (2_000, len(values))) * values).mean(axis=1)
    return float(np.mean(np.abs(means) >= abs(values.mean()) - 1e-12))


@pytest.mark.parametrize(
    ("n", "differing"), [(100, 20), (60, 3), (37, 18), (120, 2), (30, 0), (200, 20)]
)
def test_yes_no_is_true_within_five_points(n: int, differing: int) -> None:
    """Four times in five was 41 to 59%, and 6% where few differ, with Holm ignored."""
    lost = differing // 2
    seen = [1.0] * (differing - lost) + [-1.0] * lost + [0.0] * (n - differing)
    effect = smallest_detectable(seen, True, LEVEL)
    assert effect is not None
    rng = np.random.default_rng(n)
    share = max((differing + 1) / (n + 2), effect)
    found = 0
    for _ in range(800):
        drawn = rng.random(n)
        gained = int(np.sum(drawn < (share + effect) / 2))
        losing = int(np.sum((drawn >= (share + effect) / 2) & (drawn < share)))
        p = statistics.mcnemar_exact(gained, losing)
        low = statistics.paired_rate_interval(gained, losing, n).low
        found += p < LEVEL and low > 0
    assert found / 800 == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize(
    ("n", "kind"), [(60, "normal"), (24, "normal"), (120, "lognormal"), (71, "graded")]
)
def test_scores_and_losses_are_true_within_five_points(n: int, kind: str) -> None:
    """Averaged over many data sets: what one of them promises depends on its own spread too."""
    rng = np.random.default_rng(5)
    steps = np.array([0.0, 0.0, 0.25, -0.25, 0.5, -0.5, 0.125, -0.125])
    found = []
    for _ in range(60):
        if kind == "graded":
            seen, world = rng.choice(steps, n), rng.choice(steps, (8, n))
        elif kind == "normal":
            seen, world = rng.normal(0, 0.2, n), rng.normal(0, 0.2, (8, n))
        else:
            flips = rng.choice([-1.0, 1.0], (9, n))
            both = flips * rng.lognormal(-1.6, 0.6, (9, n))
            seen, world = both[0], both[1:]
        effect = smallest_detectable(list(seen), False, LEVEL)
        assert effect is not None
        if kind == "graded":  # scores gain by winning more often, not all by a little
            lean = effect / float(np.abs(steps).mean())
            world = np.where(rng.random((8, n)) < (1 + lean) / 2, 1, -1) * np.abs(world)
        else:
            world = world + effect
        found += [sign_flip(row, rng) < LEVEL and row.mean() > 0 for row in world]
    assert np.mean(found) == pytest.approx(0.8, abs=0.05)


def test_holm_counts_and_so_does_the_margin() -> None:
    seen = list(np.random.default_rng(0).normal(0, 0.2, 80))
    alone, in_family = (smallest_detectable(seen, False, a) for a in (0.05, LEVEL))
    assert alone and in_family and 1.15 < in_family / alone < 1.5
    # With many pairs a sure difference within the margin is called none, so it must be larger.
    many = list(np.random.default_rng(0).normal(0, 0.2, 3_000))
    assert smallest_detectable(many, False) < 0.015  # type: ignore[operator]
    assert 0.045 < smallest_detectable(many, False, margin=0.05) < 0.055  # type: ignore[operator]
    # Rejected hypotheses leave their level to the rest.
    assert level_in_play([0.001, 0.001, 0.4, 0.9], 3) == pytest.approx(0.025)
    assert level_in_play([0.001, 0.001, 0.4, 0.9], 0) == pytest.approx(0.05 / 3)
    assert smallest_detectable([0.1], False) is None
    assert smallest_detectable([0.0] * 4, True, LEVEL) is None  # no four pairs can show anything


def test_pairs_that_show_no_worse() -> None:
    rng = np.random.default_rng(2)
    n = pairs_to_show_no_worse(0.3, 0.1)
    assert n == 56  # (1.645 + 0.842)^2 x 9, rounded up
    held = 0
    for _ in range(2_000):
        values = rng.normal(0, 0.3, n)
        held += values.mean() - 1.673 * values.std(ddof=1) / np.sqrt(n) > -0.1
    assert held / 2_000 == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize(
    ("n", "rate", "kept"), [(108, 0.15, 0.15), (108, 0.3, 0.7), (71, 0.2, 0.5)]
)
def test_a_doubling_of_red_lines_is_found_as_often_as_is_said(
    n: int, rate: float, kept: float
) -> None:
    """Drawn by hand: tuned keeps some of base's crossings, and has twice as many in all."""
    rng = np.random.default_rng(8)
    fresh = (2 * rate - rate * kept) / (1 - rate)
    found, said = [], []
    for _ in range(150):
        base = rng.random(n) < rate
        tuned = np.where(base, rng.random(n) < kept, rng.random(n) < fresh)
        new, gone = int(np.sum(tuned & ~base)), int(np.sum(base & ~tuned))
        found.append(new > gone and statistics.mcnemar_exact(new, gone) / 2 < 0.005)
        claimed = power_of_doubling(n, int(base.sum()), int((base & tuned).sum()), 0.005, 400)
        said.append(claimed if claimed is not None else 0.0)
    assert np.mean(said) == pytest.approx(np.mean(found), abs=0.08)
    assert power_of_doubling(50, 0, 0, 0.01) is None
