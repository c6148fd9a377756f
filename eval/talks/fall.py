"""Does the tuned model fall behind its base from some turn on?

For every measure and every turn k, each persona has one difference: tuned's mean over its turns
from k on, minus base's. A persona's differences are one block, whose sign is flipped as a whole, so
that turns of one talk never count as independent. The statistic is the sum of the differences over
the root of the sum of their squares, which the flips leave alone; the largest of all measures and
turns is compared with its own distribution under the flips (max-T, Westfall and Young 1993). So the
turn need not be known before, and looking at all of them costs no false alarms: when base and tuned
are the same, every sign is as likely as the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eval.scoring.statistics import LEAST_PAIRS, RESAMPLES, SEED
from eval.talks.measures import MEASURES, ScoredTalk

FloatArray = npt.NDArray[np.float64]
ALL_MARKS = "all"
_AT_ONCE = 1_000  # flips in memory together
# How much better than one level two levels must fit, as an F ratio, before a turn is named.
_CLEAR_STEP = 8.0


@dataclass(frozen=True)
class Fall:
    """The clearest difference that lasts to the end of the talks.

    Attributes:
        measure: what differs; ``all``: the share of all marks that hold.
        from_turn: from which turn on, from 1; 1 also where no turn stands out.
        base: base's mean from there on, over personas.
        tuned: tuned's.
        personas: how many have such turns.
        p: two-sided, over all measures and turns looked at.
    """

    measure: str
    from_turn: int
    base: float
    tuned: float
    personas: int
    p: float

    @property
    def worse(self) -> bool:
        """Whether tuned is the lower one."""
        return self.tuned < self.base


def find_fall(base: Sequence[ScoredTalk], tuned: Sequence[ScoredTalk]) -> Fall | None:
    """The change with the largest statistic; None where nothing differs or personas are too few.

    Args:
        base: one talk a persona.
        tuned: in the same order.
    """
    turns = max(len(talk.marks) for talk in (*base, *tuned))
    names, columns = [], []
    for name in (ALL_MARKS, *(measure.name for measure in MEASURES)):
        arms = [_values(talks, name, turns) for talks in (base, tuned)]
        for start in range(turns):
            difference = _late(arms[1], start) - _late(arms[0], start)
            there = ~np.isnan(difference)
            if there.sum() < LEAST_PAIRS:
                break  # later turns have no more personas
            if np.any(difference[there]):
                names.append(name)
                columns.append(np.where(there, difference, 0.0))
    if not columns:
        return None
    differences = np.stack(columns, axis=1)
    scale = np.sqrt((differences**2).sum(axis=0))
    seen = np.abs(differences.sum(axis=0)) / scale
    best = int(seen.argmax())
    rng, reached = np.random.default_rng(SEED), 0
    for begin in range(0, RESAMPLES, _AT_ONCE):
        count = min(_AT_ONCE, RESAMPLES - begin)
        signs = rng.choice((-1.0, 1.0), size=(count, len(differences)))
        largest = (np.abs(signs @ differences) / scale).max(axis=1)
        reached += int((largest >= seen[best] - 1e-9).sum())
    return _described(base, tuned, names[best], turns, (reached + 1) / (RESAMPLES + 1))


def _described(
    base: Sequence[ScoredTalk], tuned: Sequence[ScoredTalk], name: str, turns: int, p: float
) -> Fall:
    arms = [_values(talks, name, turns) for talks in (base, tuned)]
    start = _step(arms[1] - arms[0])
    late = [_late(values, start) for values in arms]
    there = ~np.isnan(late[0]) & ~np.isnan(late[1])
    means = [float(values[there].mean()) for values in late]
    return Fall(name, start + 1, means[0], means[1], int(there.sum()), p)


def _step(differences: FloatArray) -> int:
    """The turn (from 0) that splits the differences by turn best into two levels; 0 for one level.

    Args:
        differences: by persona and turn, nan where a measure doesn't apply.
    """
    weights = (~np.isnan(differences)).sum(axis=0).astype(float)
    there = np.flatnonzero(weights)
    means = np.array([np.nanmean(differences[:, turn]) for turn in there])
    weights = weights[there]

    def spread(part: slice) -> float:
        level = np.average(means[part], weights=weights[part])
        return float((weights[part] * (means[part] - level) ** 2).sum())

    # Two turns a side at least, and as many personas there as tell anything.
    splits = [
        split
        for split in range(2, len(there) - 1)
        if (~np.isnan(differences[:, there[split] :])).any(axis=1).sum() >= LEAST_PAIRS
    ]
    if not splits:
        return 0
    left = [spread(slice(0, split)) + spread(slice(split, None)) for split in splits]
    best = int(np.argmin(left))
    one_level, two_levels = spread(slice(None)), max(left[best], 1e-12)
    clear = (one_level - two_levels) / (two_levels / max(len(there) - 2, 1))
    return int(there[splits[best]]) if clear >= _CLEAR_STEP else 0


def _values(talks: Sequence[ScoredTalk], name: str, turns: int) -> FloatArray:
    """A measure by talk and turn; nan where it doesn't apply."""
    found = np.full((len(talks), turns), np.nan)
    for row, talk in enumerate(talks):
        for turn, marks in enumerate(talk.marks):
            if name == ALL_MARKS:
                found[row, turn] = np.mean([mark.holds for mark in marks.values()])
            elif name in marks:
                found[row, turn] = marks[name].holds
    return found


def _late(values: FloatArray, start: int) -> FloatArray:
    """Each talk's mean from turn ``start`` (from 0) on; nan where it has none."""
    there = ~np.isnan(values[:, start:])
    count = there.sum(axis=1)
    total = np.where(there, values[:, start:], 0.0).sum(axis=1)
    return np.where(count, total / np.maximum(count, 1), np.nan)
