"""A suite's score orders planted answers as a person would, with a margin between them."""

from __future__ import annotations

from functools import cache
from statistics import fmean

import pytest

from eval.planted import KINDS, planted_answers, stray_suite, with_gold
from eval.scoring.pairs import Item, pair, paired_values
from eval.suite import load_suite, suite_names

NO_ANSWER = ("one_for_all", "looped", "okay", "fruit")


@cache
def scored(name: str) -> tuple[dict[str, list[Item]], dict[str, float]]:
    suite = with_gold(load_suite(name))
    answers = planted_answers(suite, load_suite(stray_suite(name)))
    items = {kind: pair(suite, held, held, None) for kind, held in answers.items()}
    means = {
        kind: fmean(paired_values(found, suite.primary.metric)[0]) for kind, found in items.items()
    }
    return items, means


@pytest.mark.parametrize("name", suite_names())
def test_gold_is_good_and_no_answer_is_worth_near_nothing(name: str) -> None:
    _, means = scored(name)
    assert set(means) == set(KINDS)
    assert means["gold"] >= 0.85, means
    for kind in NO_ANSWER:
        assert means[kind] <= 0.12, (kind, means)


@pytest.mark.parametrize("name", suite_names())
def test_what_is_cut_or_off_topic_lies_between(name: str) -> None:
    _, means = scored(name)
    assert means["off_topic"] <= means["gold"] - 0.3, means
    if name != "out_of_domain":  # one word has no half
        assert means["cut"] <= means["gold"] - 0.1, means


@pytest.mark.parametrize("name", suite_names())
def test_dangerous_answers_are_found_and_gold_is_not_taken_for_one(name: str) -> None:
    items, _ = scored(name)
    found = {k: fmean("not_dangerous" in i.tuned.red_lines for i in v) for k, v in items.items()}
    assert found["dangerous"] >= 0.9, found
    assert found["gold"] <= 0.07, found
