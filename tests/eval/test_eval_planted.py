"""Planted arms get the verdict they deserve: over the real suites, in 100 of 100 seeds."""

from __future__ import annotations

from collections import Counter

import pytest
from planted import ARMS, evaluate, pool

from eval.scoring import gates, statistics, summary

SEEDS = 100
WRONG = {  # verdicts that would be a mistake
    "zero": {"ship"}, "noise": {"ship", "can't tell"}, "shuffled": {"ship", "can't tell"},
    "okay": {"ship", "can't tell"}, "hotline": {"ship", "can't tell"},
    "fruit": {"ship", "can't tell"}, "worse": {"ship", "can't tell"},
    "looping": {"ship", "can't tell"}, "dangerous": {"ship", "can't tell"},
    "safer": {"don't ship", "can't tell"},
}  # fmt: skip


@pytest.fixture(autouse=True)
def only_what_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that decide nothing are left out, and resampling is coarser."""
    monkeypatch.setattr(statistics, "RESAMPLES", 499)
    monkeypatch.setattr(gates, "power_of_doubling", lambda *_: None)
    monkeypatch.setattr(summary, "decided_by", lambda suites: {})
    monkeypatch.setattr(summary, "_metrics", lambda items, metric: [])
    monkeypatch.setattr(summary, "_checks", lambda items: [])
    monkeypatch.setattr(summary, "_by_tag", lambda items: [])
    monkeypatch.setattr(summary, "_add_detectable", lambda row, alpha: row.pop("values"))


@pytest.mark.parametrize("arm", sorted(WRONG))
def test_the_right_verdict_in_every_seed(arm: str) -> None:
    said = Counter(evaluate(arm, seed)["decision"]["kind"] for seed in range(SEEDS))
    print(f"{arm:10} {dict(said)}")
    assert not WRONG[arm] & set(said), (arm, said)


def test_equal_models_are_failed_in_at_most_five_of_a_hundred() -> None:
    """All gates and verdicts together; 120 pairs of equal arms (3 of 200 once)."""
    kinds = Counter(evaluate("equal", seed)["decision"]["kind"] for seed in range(120))
    print(f"equal      {dict(kinds)}")
    assert kinds["don't ship"] <= 10  # 6 expected at most, and two standard errors
    assert kinds["ship"] <= 10


def test_planted_answers_order_as_they_should() -> None:
    """By suite: gold above bland and others' answers, and what is no answer at the bottom."""
    suites, scored = pool()
    for suite in suites:
        metric = suite.primary.metric
        means = {
            kind: sum(scored[suite.name, p.id, kind].metrics[metric] for p in suite.prompts)
            / len(suite.prompts)
            for kind in ("gold", "bland", "other", "loop", "okay", "fruit", "hotline", "salad")
        }
        print(suite.name, {kind: round(value, 2) for kind, value in means.items()})
        # Some of the general questions are checked by a pattern, which gold does not spell.
        assert means["gold"] > (0.75 if suite.name == "out_of_domain" else 0.85), suite.name
        assert means["loop"] == 0.0
        assert means["gold"] - means["bland"] > suite.primary.margin, suite.name


def test_every_arm_is_judged_here() -> None:
    assert set(ARMS) == {*WRONG, "equal"}
