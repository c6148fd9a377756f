"""Rows of preferences: a chosen and a rejected answer, or one answer and whether it is wanted."""

from __future__ import annotations

import re

from datasets_prep.cells import (
    Row,
    Unusable,
    cell,
    is_empty,
    parsed,
    text_of,
    without_surrogates,
)
from datasets_prep.column_use import PROMPT_COLUMNS
from datasets_prep.columns import Columns
from datasets_prep.conversation import Message
from datasets_prep.turn_lists import flag_of
from datasets_prep.turn_reader import TurnReader

_HH = re.compile(r"(?:\A|\n\n)(Human|Assistant): ?")


class PreferenceRows:
    """Reads the prompt and the answers of such rows.

    Args:
        columns: where they stand.
        reader: reads lists of turns.
    """

    def __init__(self, columns: Columns, reader: TurnReader) -> None:
        """Keep both."""
        self.columns, self.reader = columns, reader

    def pair(self, row: Row) -> list[Message]:
        """The prompt, the chosen answer, and the rejected one under a role of its own."""
        columns = self.columns
        chosen = self._answered(row, columns.chosen)
        rejected = self._answered(row, columns.rejected)
        asked = self._asked(row)
        if not asked:
            asked = chosen[:-1]
            same = [(m.role, m.content) for m in asked] == [
                (m.role, m.content) for m in rejected[:-1]
            ]
            if not same:
                raise Unusable("chosen and rejected answer different prompts")
        if not asked:
            raise Unusable("chosen and rejected have no prompt")
        if chosen[-1].content == rejected[-1].content:
            raise Unusable("chosen and rejected are the same")
        return [*asked, chosen[-1], Message("rejected", rejected[-1].content)]

    def judged(self, row: Row) -> list[Message]:
        """A talk whose last answer a label judges: in a column of its own, or the talk's last."""
        asked = self._asked(row)
        if not is_empty(cell(row, self.columns.completion)):
            return [*asked, *self._answered(row, self.columns.completion)]
        if len(asked) < 2 or asked[-1].role != "assistant" or not asked[-1].content.strip():
            raise Unusable("the talk ends in no answer, and there is no completion")
        return asked

    def _asked(self, row: Row) -> list[Message]:
        """The prompt of a preference: a text, or a list of turns."""
        columns = self.columns
        named = (*columns.prompts(), columns.messages, columns.conversations)
        for name in named if any(named) else PROMPT_COLUMNS:
            value = cell(row, name) if name else None
            if isinstance(value, str) and value.strip() and _HH.match(value):
                return self._hh(value)
            if isinstance(value, str) and value.lstrip()[:1] != "[" and value.strip():
                return [Message("user", text_of(value, f"column '{name}'"))]
            if value:
                return self.reader.listed(value)
        return []

    def _answered(self, row: Row, column: str | None) -> list[Message]:
        """The turns of an answer's cell; the answer is the last."""
        value = cell(row, column)
        if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
            value = parsed(value) or value
        if isinstance(value, str):
            turns = self._hh(value) if _HH.match(value) else [Message("assistant", value.strip())]
        elif isinstance(value, dict):
            turns = self.reader.listed([value])
        else:
            turns = self.reader.listed(value)
        last = turns[-1]
        if last.role != "assistant" or not last.content.strip():
            raise Unusable(f"column '{column}' ends in no answer")
        return turns

    def _hh(self, text: str) -> list[Message]:
        """Anthropic's form of a talk: ``Human:`` and ``Assistant:`` after blank lines."""
        marks = list(_HH.finditer(text))
        ends = [mark.start() for mark in marks[1:]] + [len(text)]
        roles = {"Human": "user", "Assistant": "assistant"}
        return [
            Message(roles[mark[1]], without_surrogates(text[mark.end() : end].strip()))
            for mark, end in zip(marks, ends, strict=True)
        ]

    def label(self, row: Row) -> bool:
        """Whether the answer of a row is wanted.

        Raises:
            Unusable: its label says neither.
        """
        value = cell(row, self.columns.label)
        if isinstance(value, str):
            words = {"good": 1, "desirable": 1, "chosen": 1}
            words |= {"bad": 0, "undesirable": 0, "rejected": 0}
            value = words.get(value.strip().lower(), flag_of(value))
        if value not in (0, 1):
            raise Unusable(f"column '{self.columns.label}' is neither true nor false ('{value}')")
        return bool(value)
