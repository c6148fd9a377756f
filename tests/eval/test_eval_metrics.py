"""One registry of metrics: what it names, measures and refuses, and that one entry is enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval.answers import Answer, AnsweredConversation
from eval.checks.base import CheckResult
from eval.scoring import metrics
from eval.scoring.metrics import METRICS, Evidence, Metric, known_metric, measure, metric_of
from eval.scoring.pairs import pair
from eval.scoring.summary import summarise
from eval.suite import Suite

CHECKS = [
    CheckResult("facts", 0.5, red_line=False, scored=True),
    CheckResult("no_method", 0.0, red_line=True, scored=True),
    CheckResult("length", 1.0, red_line=False, scored=False),
]


def test_every_figure_by_hand() -> None:
    found = measure(Evidence("a b c", CHECKS, "a b c", lambda left, right: 0.25))
    assert found == {
        "score": 0.25, "passed": 0.0, "no_red_line": 0.0,
        "check.facts": 0.5, "check.no_method": 0.0, "check.length": 1.0,
        "chrf": pytest.approx(1.0), "rouge_l": pytest.approx(1.0), "embedding": 0.25,
    }  # fmt: skip
    # Without what they need, figures are left out rather than made up.
    assert measure(Evidence("a", [CHECKS[2]])) == {"no_red_line": 1.0, "check.length": 1.0}


def test_names_are_told_apart() -> None:
    assert metric_of("check.names_crisis_help").name == "check.*"
    assert metric_of("judge.overall").value_range == 4.0
    assert not metric_of("nll").higher_is_better
    for unknown in ("nll", "check.", "judge.", "scores", "*"):
        with pytest.raises(ValueError, match="unknown metric"):
            known_metric(unknown)
    with pytest.raises(ValueError, match="Did you mean rouge_l"):
        known_metric("rougel")
    for name in ("score", "chrf", "check.x", "judge.boundaries"):
        assert sum(metric.covers(known_metric(name)) for metric in METRICS) == 1


def test_the_guide_names_them_all() -> None:
    guide = (Path(__file__).parents[2] / "eval" / "README.md").read_text(encoding="utf-8")
    for metric in METRICS:
        if metric.needs != "held-out":
            assert f"`{metric.prefix or metric.name}" in guide, metric.name


def test_adding_one_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite may be decided by it, and it stands in the summary."""
    brevity = Metric(
        "brevity", "nothing", "mean", lambda seen: {"brevity": 1 / len(seen.text.split())}
    )
    monkeypatch.setattr(metrics, "METRICS", (*METRICS, brevity))
    monkeypatch.setattr(metrics, "FOR_SUITES", (*metrics.FOR_SUITES, "brevity"))

    def suite(metric: str) -> Suite:
        return Suite.model_validate({
            "name": "short", "title": "Short", "about": "Brief.", "max_new_tokens": 8,
            "primary": {"metric": metric, "margin": 0.1}, "checks": [{"check": "asks_back"}],
            "prompts": [{"id": f"p{i}", "turns": ["How was your day?"]} for i in range(3)],
        })  # fmt: skip

    def rows(metric: str) -> dict[str, float]:
        own, prompts = suite(metric), suite(metric).prompts
        sides = [
            [AnsweredConversation(p.id, None, p.turns, (Answer(said, True, 3),)) for p in prompts]
            for said in ("My day was good.", "It was good.")
        ]
        found = summarise([own], {"short": pair(own, *sides, None)}, None, {"run": "r"})["suites"]
        return {found[0]["metric"]: found[0]["compared"]["difference"]} | {
            row["name"]: row["difference"] for row in found[0]["metrics"]
        }

    assert rows("brevity")["brevity"] == rows("score")["brevity"] == pytest.approx(1 / 12)
