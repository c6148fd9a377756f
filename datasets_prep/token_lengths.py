"""How long rows are in tokens, for the card."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_BINS = 24


@dataclass
class Tokens:
    """Lengths of all rows in tokens, under a recipe's tokenizer and chat template.

    Attributes:
        lengths: of each row.
        recipe: its name.
        tokenizer: where it is from.
        sequence_len: the recipe's.
        trained: tokens with a label, in all.
        of_parts: by the number of the source, its tokens and those trained.
        sides: of preferences, tokens of the prompts and of the answers of each side.
    """

    lengths: list[int]
    recipe: str
    tokenizer: str
    sequence_len: int
    trained: int = 0
    of_parts: dict[int, list[int]] = field(default_factory=dict)
    sides: Counter[str] = field(default_factory=Counter)

    def add(self, part: int, tokens: list[int], trained: int) -> None:
        """Count the tokens of a row, and those that are trained on, for its source."""
        self.trained += trained
        counts = self.of_parts.setdefault(part, [0, 0])
        counts[0] += sum(tokens)
        counts[1] += trained

    def state(self) -> dict[str, Any]:
        """What was counted, as JSON can hold it."""
        parts = {str(part): counts for part, counts in self.of_parts.items()}
        return {"lengths": self.lengths, "trained": self.trained, "parts": parts,
                "sides": dict(self.sides)}  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Count what `state` holds."""
        self.lengths, self.trained = list(state["lengths"]), state["trained"]
        self.of_parts = {int(part): counts for part, counts in state["parts"].items()}
        self.sides = Counter(state["sides"])

    def summary(self) -> dict[str, int]:
        """Least, median, 95th percentile, greatest and total, in tokens."""
        values = np.array(self.lengths)
        return {
            "least": int(values.min()),
            "median": int(np.median(values)),
            "p95": int(np.percentile(values, 95)),
            "greatest": int(values.max()),
            "total": int(values.sum()),
        }

    def histogram(self) -> list[dict[str, int]]:
        """Bins of equal width: first and last length, and the rows between."""
        top = max(self.lengths)
        width = max(1, -(-(top + 1) // _BINS))
        counts = np.bincount(np.array(self.lengths) // width, minlength=1)
        return [
            {"low": i * width, "high": (i + 1) * width - 1, "rows": int(n)}
            for i, n in enumerate(counts)
        ]
