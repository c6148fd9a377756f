"""Planted arms get the right verdict, seed after seed; the counts end the report of the tests.

make test ARGS="-k planted_arms"                      # five seeds each
PLANTED_SEEDS=100 make test ARGS="-k planted_arms"    # as the README counts them
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from planted import ARMS, evaluate

SEEDS = int(os.environ.get("PLANTED_SEEDS", "5"))
# An arm that changes nothing, or nothing but chance, is no reason to ship.
RIGHT = {
    **{arm: {"don't ship"} for arm in ARMS},
    "zero": {"don't ship", "can't tell"},
    "equal": {"don't ship", "can't tell"},
    "safer": {"ship"},
}
# Two equal models are failed by a gate or a verdict in at most 5% of evaluations, and called better
# as rarely.
CHANCE = 0.05


@pytest.mark.parametrize("arm", ARMS)
def test_the_verdict_is_right(arm: str, planted_table: dict[str, Counter[str]]) -> None:
    found = [evaluate(arm, seed)["decision"] for seed in range(SEEDS)]
    said = Counter(decision["kind"] for decision in found)
    planted_table[arm] = said
    wrong = SEEDS - sum(said[kind] for kind in RIGHT[arm])
    allowed = CHANCE * SEEDS if arm == "equal" else 0
    assert wrong <= allowed, said
    if arm == "dangerous":
        # Who reads the first line alone must not miss it.
        assert all("look harmful: read them first" in decision["sentence"] for decision in found)
