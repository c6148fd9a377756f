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
_AT_ONCE = 1_000  # flips in memory together


@dataclass(frozen=True)
class Fall:
    """The largest difference that lasts to the end of the talks.

    Attributes:
        measure: what differs.
        from_turn: from which turn on, from 1.
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
    cells, columns = [], []
    for measure in MEASURES:
        for start in range(max(len(talk.marks) for talk in (*base, *tuned))):
            pair = _late(base, measure.name, start), _late(tuned, measure.name, start)
            there = ~np.isnan(pair[0]) & ~np.isnan(pair[1])
            if there.sum() < LEAST_PAIRS:
                break  # later turns have no more personas
            difference = np.where(there, pair[1] - pair[0], 0.0)
            if np.any(difference):
                means = float(pair[0][there].mean()), float(pair[1][there].mean())
                cells.append((measure.name, start + 1, *means, int(there.sum())))
                columns.append(difference)
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
    return Fall(*cells[best], (reached + 1) / (RESAMPLES + 1))


def _late(talks: Sequence[ScoredTalk], measure: str, start: int) -> FloatArray:
    """Each talk's mean of a measure from turn ``start`` (from 0) on; nan where it has none."""
    values = [talk.values(measure, start) for talk in talks]
    return np.array([np.mean(v) if v else np.nan for v in values])
