"""One answer to many prompts, in figures: what no score says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eval.checks.across import OWN
from eval.scoring.pairs import Item, Scored

_MANY = 0.1  # of all answers; from here on the headline's reasons say it


@dataclass(frozen=True)
class Canned:
    """Last answers that are nearly the same as those to many other prompts of their suite.

    Attributes:
        n: prompts with their samples.
        base: how many of base's answers are.
        tuned: of tuned's.
    """

    n: int = 0
    base: int = 0
    tuned: int = 0

    @property
    def many(self) -> bool:
        """Whether tuned gives more of them than base, and many."""
        return self.tuned > self.base and self.tuned >= _MANY * self.n

    def __str__(self) -> str:
        """One clause, of tuned."""
        return (
            f"{self.tuned} of tuned's {self.n} answers are nearly one and the same, given to many "
            f"prompts (base {self.base}): they answer nobody, and count as failed"
        )


NOT_CANNED = Canned()


def count_canned(items: Sequence[Item]) -> Canned:
    """Over all suites, by the check that sees it."""
    return Canned(
        len(items), sum(_is(item.base) for item in items), sum(_is(item.tuned) for item in items)
    )


def _is(side: Scored) -> bool:
    return any(check.check == OWN and not check.passed for check in side.checks)
