"""By simulation over whole talks of 49 people: planted falls are found, equals raise no alarm."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache

import pytest
from talk_assistants import FALLS, SOUND, PlantedArm
from talk_reading import phrase_reading

from eval.generation.decoding import Decoding
from eval.talks.fall import Change, find_changes
from eval.talks.hold import hold_talks
from eval.talks.measures import ScoredTalk, score_talks
from eval.talks.persona import load_personas

PEOPLE = load_personas()
SEEDS = 100
KEPT = 8  # independent talks of a person with the sound assistant, from which a seed picks
FALLEN = 3


@pytest.fixture(autouse=True, scope="module")
def _fewer_flips() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eval.talks.fall.RESAMPLES", 1_999)
        yield


@cache
def held(kind: str, draw: int, errors: bool) -> list[ScoredTalk]:
    """Every person's talk, with the assistant that falls at turn 12, as it is read."""
    arm = PlantedArm("base", PEOPLE, draw, after=FALLS.get(kind, SOUND), falls_at=12)
    with phrase_reading(errors):
        return score_talks(PEOPLE, hold_talks(PEOPLE, arm, Decoding(96)))


def falls(kind: str, errors: bool) -> list[list[Change]]:
    """What is shown to be worse, a list a seed; a person's two talks are never the same one."""
    sound = [held("", draw, errors) for draw in range(KEPT)]
    fallen = [held(kind, 100 + draw, errors) for draw in range(FALLEN)] if kind else []
    found = []
    for seed in range(SEEDS):
        base, tuned = _drawn(random.Random(seed), sound, fallen)
        with phrase_reading(errors):
            changes = find_changes(base, tuned).by_measure.values()
        found.append([change for change in changes if change.shown and change.worse])
    return found


def _drawn(
    rng: random.Random,
    sound: Sequence[list[ScoredTalk]],
    fallen: Sequence[list[ScoredTalk]],
) -> tuple[list[ScoredTalk], list[ScoredTalk]]:
    base, tuned = [], []
    for person in range(len(PEOPLE)):
        left, right = rng.sample(range(len(sound)), 2)
        base.append(sound[left][person])
        tuned.append((rng.choice(fallen) if fallen else sound[right])[person])
    return base, tuned


@pytest.mark.parametrize("errors", [False, True])
def test_equals_raise_an_alarm_in_at_most_5_of_100(errors: bool) -> None:
    assert sum(bool(shown) for shown in falls("", errors)) <= 5


@pytest.mark.parametrize("kind", FALLS)
def test_a_fall_at_turn_12_is_found(kind: str) -> None:
    found = falls(kind, errors=False)
    assert sum(bool(shown) for shown in found) >= 95
    clearest = sorted(min(shown, key=lambda c: c.p).from_turn for shown in found if shown)
    assert 9 <= clearest[len(clearest) // 2] <= 14


@pytest.mark.parametrize("kind", FALLS)
def test_it_is_found_though_the_reading_errs(kind: str) -> None:
    """12% of what is said is missed, and each of 15 labels is seen in 1% where it isn't."""
    assert sum(bool(shown) for shown in falls(kind, errors=True)) >= 95
