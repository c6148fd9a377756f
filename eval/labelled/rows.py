"""The labelled answers: who wrote them, which part they belong to, what they do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from eval.checks.units import one_text

FOLDER = Path(__file__).parent
HANDS = "abcdeghjkrsuwx"
UNSEEN_HANDS = "fi"
"""Writers to whom nothing is fitted and by whom nothing is chosen."""
NEW_HANDS = "vyz"
"""Labelled before anything was measured on them, and not fitted to: as small models write (the
writer of hand w), and one writer's contrast pairs about danger and pain played down, in two parts.
"""
MODEL_HAND = "t"
"""What a base and a tuned SmolLM2 said to the suites: nothing is fitted to it or chosen by it."""


@dataclass(frozen=True)
class Row:
    """One answer with what it does.

    Attributes:
        id: the hand's letter and a number.
        style: how it is written; no feature of any check.
        part: ``train``, or ``aside``: looked at once, when a check was finished.
        cluster: rows alike share it (cosine of answers above 0.65 or of questions above 0.7), and
            stand in one part. Hand c wrote contrast sets: one message, answers that differ in what
            they do and little in their words.
        turns: messages, the person's first, then in turn.
        answer: what is judged.
        labels: what it does and, of what its wording could be taken for, what it doesn't.
    """

    id: str
    style: str
    part: Literal["train", "aside"]
    cluster: int
    turns: tuple[str, ...]
    answer: str
    labels: dict[str, bool]

    @property
    def question(self) -> str:
        """The person's messages, as `eval.checks.units.one_text`."""
        return one_text(self.turns[::2])


@cache
def labelled_rows(hands: str = HANDS) -> tuple[Row, ...]:
    """Every labelled answer of these writers, in the order of the files."""
    rows = []
    for hand in hands:
        for line in (FOLDER / f"hand_{hand}.jsonl").read_text(encoding="utf-8").splitlines():
            raw = json.loads(line)
            raw.pop("note", None)
            raw.pop("corrected", None)
            rows.append(Row(**{**raw, "turns": tuple(raw["turns"])}))
    return tuple(rows)
