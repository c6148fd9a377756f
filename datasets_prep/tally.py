"""Counts for the card, taken from the ledger and the rows while they pass."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets_prep.worker import RowBatch

_DETAIL = re.compile(r"(?:\d+(?:\.\d+)?)|'[^']*'|\bof \S+-\S+|\bas \S+$")
_SHOWN, _LONGEST = 10, 240
# A change of so few letters is one of spacing, and shows as such.
_ONLY_SPACING = 3


@dataclass
class Tally:
    """What was done to how many rows.

    Attributes:
        read: rows, or conversations, that were read.
        dropped: rows by step.
        changed: rows by step.
        reasons: rows by step, action and reason without its details.
        whole: the first whole reason of each of them.
        masked: pieces of personal data by kind.
        flow: turns, words and words of the assistant left after each step.
        parts: rows read by source.
        unused: columns that nothing reads.
        unused_keys: keys of turns that nothing reads.
        shown: by step and reason, up to ten changes: the row, before and after.
    """

    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    whole: dict[tuple[str, str, str], str] = field(default_factory=dict)
    masked: Counter[str] = field(default_factory=Counter)
    flow: dict[str, list[int]] = field(default_factory=dict)
    parts: Counter[str] = field(default_factory=Counter)
    unused: set[str] = field(default_factory=set)
    unused_keys: set[str] = field(default_factory=set)
    shown: dict[tuple[str, str], list[tuple[str, str, str]]] = field(default_factory=dict)
    _changed_row: dict[str, str] = field(default_factory=dict)

    def batch(self, batch: RowBatch, part: str) -> None:
        """Count a worker's batch of a source."""
        self.read += batch.units
        self.parts[part] += batch.units
        self.unused |= batch.columns
        self.unused_keys |= batch.keys
        for step, counts in batch.flow.items():
            known = self.flow.setdefault(step, [0, 0, 0])
            for index, count in enumerate(counts):
                known[index] += count

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
        key = (step, action, general(reason))
        self.reasons[key] += 1
        self.whole.setdefault(key, reason)
        if step == "anonymise":
            self.masked[reason.removesuffix(" masked")] += len(line["spans"])
        elif action == "changed":
            shown = self.shown.setdefault((step, key[2]), [])
            if len(shown) < _SHOWN and line["spans"]:
                span = line["spans"][0]
                shown.append((line["id"], _short(span["before"]), _short(span["after"] or "")))


def general(reason: str) -> str:
    """A reason without its numbers and ids, so that like ones are counted together."""
    return re.sub(r"\s+", " ", _DETAIL.sub("...", reason)).strip()


def _short(text: str) -> str:
    if len(text.strip()) < _ONLY_SPACING:
        return "".join(map(_sign, text))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _sign(letter: str) -> str:
    """What stands for a letter that nobody sees."""
    sign = {" ": "\u2423", "\n": "\u23ce"}.get(letter, letter)
    return sign if sign.isprintable() else f"U+{ord(sign):04X}"
