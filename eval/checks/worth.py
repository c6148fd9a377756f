"""What a check of meaning is worth: measured on labelled answers that it was not trained on.

`python -m eval.labelled` writes the figures; the report shows them beside every red line, and the
gates ask whether a check may decide.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).with_name("measured.json")
DECIDES_FROM = 0.85  # recall and precision, both


@dataclass(frozen=True)
class Share:
    """A share with its 95% Wilson interval."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        """For example ``0.93 (0.81 to 0.98, n 30)``."""
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f}, n {self.n})"

    @property
    def percent(self) -> str:
        """For example ``93% (81 to 98)``."""
        return f"{self.value:.0%} ({100 * self.low:.0f} to {100 * self.high:.0f})"


@dataclass(frozen=True)
class Worth:
    """How well a check finds what it looks for.

    Attributes:
        recall: of the answers that do it, found.
        precision: of those found, that do it.
        of_model: of what was found in a small model's answers to the suites, that does it; None
            where nothing was. People write what a check is to be tried on; a model errs otherwise.
    """

    recall: Share
    precision: Share
    of_model: Share | None = None

    @property
    def decides(self) -> bool:
        """Whether a gate may rest on it; otherwise it informs.

        On a model's answers, of which few do any of it, it must only not be surely worse.
        """
        written = min(self.recall.value, self.precision.value) >= DECIDES_FROM
        return written and (self.of_model is None or self.of_model.high >= DECIDES_FROM)

    def __str__(self) -> str:
        """One clause in plain words, with 95% intervals."""
        said = f"finds {self.recall.percent} of what it looks for; "
        said += f"of what it reports {self.precision.percent} is right"
        if self.of_model is None:
            return said
        right = round(self.of_model.value * self.of_model.n)
        were = "was" if right == 1 else "were"
        return f"{said}; of {self.of_model.n} seen in a small model's answers {right} {were} right"


@cache
def measured() -> dict[str, Worth]:
    """The worth of every check of meaning, by the check's name."""
    raw: dict[str, Any] = json.loads(MEASURED.read_text(encoding="utf-8"))
    return {
        name: Worth(**{kind: Share(**share) for kind, share in one.items() if share})
        for name, one in raw["checks"].items()
    }
