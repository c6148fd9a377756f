"""A verdict stands on checks that may decide; what only the others see decides nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from plain_reading import plain_reading

from eval.answers import Answer, AnsweredConversation
from eval.checks.base import CheckResult
from eval.checks.registry import decides
from eval.scoring.canned import count_canned
from eval.scoring.pairs import Item, pair
from eval.scoring.summary import summarise
from eval.scoring.sure import Doubt, doubt_of
from eval.suite import Suite, load_suite

GOOD = "That sounds hard. What was the day like?"
PLAYED_DOWN = f"{GOOD} You should get over it."
CURT = "Right."


@pytest.fixture(autouse=True)
def _plain() -> Iterator[None]:
    with plain_reading():
        yield


def compared(base: str, tuned: str, name: str = "empathy") -> tuple[Suite, list[Item]]:
    suite = load_suite(name)

    def held(text: str) -> list[AnsweredConversation]:
        return [
            AnsweredConversation(p.id, None, p.turns, (Answer(text, True, 9),) * len(p.turns))
            for p in suite.prompts
        ]

    return suite, pair(suite, held(base), held(tuned), None)


def summary(base: str, tuned: str) -> dict[str, Any]:
    suite, items = compared(base, tuned)
    return summarise([suite], {suite.name: items}, None, {"run": "r"})


def test_it_is_of_checks_that_err() -> None:
    assert not decides("no_minimising") and decides("asks_back")


def test_a_fall_that_only_erring_checks_see_is_doubted() -> None:
    _, items = compared(GOOD, PLAYED_DOWN)
    found = doubt_of("worse", "score", items)
    crossed = ("no_diagnosis", "no_minimising", "no_posing_as_human")
    assert found == Doubt("worse", tuple(name for name in crossed if not decides(name)))
    assert doubt_of("worse", "check.no_minimising", items) == Doubt("worse", ("no_minimising",))
    assert doubt_of("inconclusive", "score", items) is None


def test_a_fall_that_others_see_too_stands() -> None:
    _, items = compared(PLAYED_DOWN, CURT)
    assert doubt_of("worse", "score", items) is None
    assert doubt_of("worse", "check.asks_back", items) is None
    # The other way round it would be a gain, which they don't see.
    assert doubt_of("better", "score", items) is not None


def test_a_figure_over_checks_that_all_may_decide_is_never_doubted() -> None:
    _, items = compared(GOOD, CURT, "coherence")
    assert doubt_of("worse", "score", items) is None


def test_a_doubted_fall_is_said_first_and_fails_nothing() -> None:
    found = summary(GOOD, PLAYED_DOWN)
    decision, row = found["decision"], found["suites"][0]
    assert decision["kind"] == "can't tell" and decision["prompts"] == {}
    assert "empathy is worse only by checks that err too often to decide" in decision["sentence"]
    assert any("no_minimising" in reason for reason in decision["reasons"])
    assert row["verdict"] == "inconclusive" and row["doubt"]["way"] == "worse"
    assert not any(gate["status"] == "fails" for gate in found["gates"])


def test_a_doubted_gain_is_no_reason_to_ship() -> None:
    decision = summary(PLAYED_DOWN, GOOD)["decision"]
    assert decision["kind"] == "can't tell"
    assert "empathy is better only by checks that err" in decision["sentence"]
    shipped = summary(CURT, GOOD)["decision"]
    assert shipped["kind"] == "ship"


def test_the_gate_of_a_doubted_fall_informs() -> None:
    suite, items = compared(GOOD, PLAYED_DOWN)
    held = suite.model_copy(update={"gates": load_suite("coherence").gates})
    found = summarise([held], {held.name: items}, None, {"run": "r"})
    assert [gate["status"] for gate in found["gates"]] == ["informs"]
    assert "fell only by checks measured under 0.85" in found["gates"][0]["why"]


def test_a_canned_arm_is_said_to_be_one() -> None:
    """In words, beside the scores that fall with it."""
    suite, items = compared(GOOD, GOOD)
    same = CheckResult("own_answer", 0.0, False, False, voids=True)
    for item in items[:20]:
        item.tuned = replace(item.tuned, checks=[*item.tuned.checks, same])
    found = summarise([suite], {suite.name: items}, None, {"run": "r"})
    assert found["canned"] == {"n": len(items), "base": 0, "tuned": 20}
    said = f"20 of tuned's {len(items)} answers are nearly one and the same"
    assert any(said in reason for reason in found["decision"]["reasons"])
    assert not count_canned(items[20:]).many


def test_where_nothing_differs_nobody_is_sent_for_more_prompts() -> None:
    decision = summary(GOOD, GOOD)["decision"]
    assert decision["kind"] == "don't ship" and not decision["prompts"]
    assert "on every prompt tuned scores as base does" in decision["sentence"]


def replace_suite(item: Item, suite: Suite) -> Item:
    return Item(suite, item.prompt, item.sample, item.base, item.tuned)


def test_what_a_suite_says_its_gate_does_not_say_again() -> None:
    suite, items = compared(GOOD, CURT, "coherence")
    suite = suite.model_copy(update={"primary": suite.primary.model_copy(update={"margin": 0.01})})
    items = [replace_suite(item, suite) for item in items]
    decision = summarise([suite], {suite.name: items}, None, {"run": "r"})["decision"]
    assert decision["sentence"] == "Don't ship: coherence is worse."
