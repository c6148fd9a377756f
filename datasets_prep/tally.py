"""Counts for the card, taken from the ledger and the rows while they pass."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

_DETAIL = re.compile(r"(?:\d+(?:\.\d+)?)|'[^']*'|\bof \S+-\S+|\bas \S+$")


@dataclass
class Tally:
    """What was done to how many rows."""

    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)
    _changed_row: dict[str, str] = field(default_factory=dict)

    def ledger(self, line: dict[str, Any]) -> None:
        """Count one ledger line."""
        step, action = line["step"], line["action"]
        reason = line["reason"]
        if action == "dropped":
            self.dropped[step] += 1
        elif self._changed_row.get(step) != line["id"]:
            # The lines of one row stand together, so the last row seen tells a new one.
            self._changed_row[step] = line["id"]
            self.changed[step] += 1
        self.reasons[step, action, general(reason)] += 1
        if step == "anonymise":
            self.masked[reason.removesuffix(" masked")] += len(line["spans"])


def general(reason: str) -> str:
    """A reason without its numbers and ids, so that like ones are counted together."""
    return re.sub(r"\s+", " ", _DETAIL.sub("...", reason)).strip()
