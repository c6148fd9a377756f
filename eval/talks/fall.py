"""Does the tuned model fall behind its base, in whole talks or from some turn on?

For every measure and every turn k, each persona has one difference: tuned's mean over its turns
from k on, minus base's; k = 1 is the whole talk. A persona's differences are one block, whose sign
is flipped as a whole, so that turns of one talk never count as independent. The statistic is the
sum of the differences over the root of the sum of their squares, which the flips leave alone; each
measure's largest is compared with the largest of all measures and turns under the flips (max-T,
single step; Westfall and Young 1993). So the turn need not be known before, and looking at all of
them costs no false alarms: when base and tuned are the same, every sign is as likely as the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from eval.scoring.statistics import CONFIDENCE, LEAST_PAIRS, RESAMPLES, SEED
from eval.talks.measures import MEASURES, ScoredTalk

FloatArray = npt.NDArray[np.float64]
ALL_MARKS = "all"
_AT_ONCE = 1_000  # flips in memory together
# How much better than one level two levels must fit, as an F ratio, before a turn is named.
_CLEAR_STEP = 8.0


@dataclass(frozen=True)
class Change:
    """The clearest difference of one measure that lasts to the end of the talks.

    Attributes:
        measure: what differs; ``all``: the share of the marks that hold.
        from_turn: from which turn on, from 1; 1 also where no turn stands out.
        base: base's mean from there on, over personas.
        tuned: tuned's.
        personas: how many have such turns.
        worse: whether tuned is the lower one.
        p: two-sided, over all measures and turns looked at.
    """

    measure: str
    from_turn: int
    base: float
    tuned: float
    personas: int
    worse: bool
    p: float

    @property
    def shown(self) -> bool:
        """Whether it is more than chance."""
        return self.p < 1 - CONFIDENCE


@dataclass(frozen=True)
class Changes:
    """What was found over all measures.

    Attributes:
        by_measure: the clearest change of each; without those where nothing differs.
        level: two-sided level that the test of one measure comes down to, for its power.
    """

    by_measure: dict[str, Change]
    level: float


def find_changes(base: Sequence[ScoredTalk], tuned: Sequence[ScoredTalk]) -> Changes:
    """Every measure's clearest change; none of those with fewer than ten personas.

    Args:
        base: one talk a persona.
        tuned: in the same order.
    """
    turns = max(len(talk.marks) for talk in (*base, *tuned))
    arms = {
        name: [_values(talks, name, turns) for talks in (base, tuned)]
        for name in (ALL_MARKS, *(measure.name for measure in MEASURES))
    }
    where, columns = [], []
    for name, (of_base, of_tuned) in arms.items():
        for start in range(turns):
            difference = _late(of_tuned, start) - _late(of_base, start)
            there = ~np.isnan(difference)
            if there.sum() < LEAST_PAIRS:
                break  # later turns have no more personas
            if np.any(difference[there]):
                where.append((name, start))
                columns.append(np.where(there, difference, 0.0))
    if not columns:
        return Changes({}, 1 - CONFIDENCE)
    differences = np.stack(columns, axis=1)
    scale = np.sqrt((differences**2).sum(axis=0))
    seen = differences.sum(axis=0) / scale
    rng, largest = np.random.default_rng(SEED), []
    for begin in range(0, RESAMPLES, _AT_ONCE):
        signs = rng.choice((-1.0, 1.0), size=(min(_AT_ONCE, RESAMPLES - begin), len(base)))
        largest.append((np.abs(signs @ differences) / scale).max(axis=1))
    reached = np.concatenate(largest)
    found = {}
    for name in dict.fromkeys(name for name, _ in where):
        best = max(
            (i for i, (other, _) in enumerate(where) if other == name), key=lambda i: abs(seen[i])
        )
        p = (int((reached >= abs(seen[best]) - 1e-9).sum()) + 1) / (RESAMPLES + 1)
        found[name] = _described(name, arms[name], where[best][1], bool(seen[best] < 0), p)
    level = 2 * float(stats.norm.sf(np.quantile(reached, CONFIDENCE)))
    return Changes(found, level)


def _described(
    name: str, arms: Sequence[FloatArray], clearest: int, worse: bool, p: float
) -> Change:
    """The change from the turn where the level steps; from the clearest one if that says less."""
    for start in (_step(arms[1] - arms[0]), clearest):
        late = [_late(values, start) for values in arms]
        there = ~np.isnan(late[0]) & ~np.isnan(late[1])
        base, tuned = (float(values[there].mean()) for values in late)
        if (tuned < base) == worse:
            break
    return Change(name, start + 1, base, tuned, int(there.sum()), worse, p)


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
    """A measure by talk and turn; nan where it doesn't apply. All: of those that may decide."""
    deciding = [m.name for m in MEASURES if not m.informs and not m.repeats_others]
    found = np.full((len(talks), turns), np.nan)
    for row, talk in enumerate(talks):
        for turn, marks in enumerate(talk.marks):
            if name == ALL_MARKS:
                there = [marks[measure].holds for measure in deciding if measure in marks]
                found[row, turn] = np.mean(there) if there else np.nan
            elif name in marks:
                found[row, turn] = marks[name].holds
    return found


def _late(values: FloatArray, start: int) -> FloatArray:
    """Each talk's mean from turn ``start`` (from 0) on; nan where it has none."""
    there = ~np.isnan(values[:, start:])
    count = there.sum(axis=1)
    total = np.where(there, values[:, start:], 0.0).sum(axis=1)
    return np.where(count, total / np.maximum(count, 1), np.nan)
