"""By simulation over whole talks of 49 people: planted falls are found, equals raise no alarm."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from talk_assistants import FALLS, SOUND, PlantedArm, Rates

from eval.generation.decoding import Decoding
from eval.talks.hold import hold_talks
from eval.talks.measures import ScoredTalk, score_talks
from eval.talks.outcome import compare_talks
from eval.talks.persona import load_personas

PEOPLE = load_personas()
SEEDS = 100
KEPT = 6  # independent talks of a person with the sound assistant, from which a seed picks
Held = Callable[[int, Rates], list[ScoredTalk]]


def _held(draw: int, after: Rates = SOUND) -> list[ScoredTalk]:
    arm = PlantedArm("base", PEOPLE, draw, after=after, falls_at=12)
    return score_talks(PEOPLE, hold_talks(PEOPLE, arm, Decoding(96)))


@pytest.fixture(scope="module")
def sound() -> list[list[ScoredTalk]]:
    return [_held(draw) for draw in range(KEPT)]


def _alarms(
    sound: Sequence[list[ScoredTalk]], fallen: Sequence[list[ScoredTalk]] | None, seeds: int
) -> list[dict]:
    """One comparison a seed: each person's two talks are drawn, never the same one twice."""
    found = []
    for seed in range(seeds):
        rng = random.Random(seed)
        base, tuned = [], []
        for person in range(len(PEOPLE)):
            left, right = rng.sample(range(len(sound)), 2)
            base.append(sound[left][person])
            other = rng.choice(fallen) if fallen else sound[right]
            tuned.append(other[person])
        found.append(compare_talks(base, tuned))
    return found


def test_equals_raise_an_alarm_in_at_most_5_of_100(sound: list[list[ScoredTalk]]) -> None:
    found = _alarms(sound, None, SEEDS)
    assert sum(bool(summary["alarms"]) for summary in found) <= 5


@pytest.mark.parametrize("kind", FALLS)
def test_a_fall_at_turn_12_is_found(sound: list[list[ScoredTalk]], kind: str) -> None:
    seeds = SEEDS if kind == "stops asking and naming help" else 10
    fallen = [_held(100 + draw, FALLS[kind]) for draw in range(3 if seeds == SEEDS else 1)]
    found = _alarms(sound, fallen, seeds)
    assert sum(bool(summary["alarms"]) for summary in found) >= 0.95 * seeds
    turns = sorted(s["fall"]["from_turn"] for s in found if s["fall"]["alarm"])
    assert 9 <= turns[len(turns) // 2] <= 14
