"""What flows through the steps: a conversation, and the ledger lines about it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_LINE_ENDS = (("\x85", "\\u0085"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029"))
_MANY_LINES = 1000
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass
class Message:
    """One turn: ``role`` is system, user or assistant."""

    role: str
    content: str


@dataclass
class Conversation:
    """One row of a data set, with what the steps need to know beside its messages.

    Attributes:
        id: unique in the data set, and the same on every run.
        source: the file or Hub data set, ``#`` and the row's number from 1.
        raw: the row (or rows) of the source, until its turns are read out of it.
        authors: what the author columns hold; their names are masked in the text.
        groups: values that tie rows together; rows that share one fall in one split.
    """

    id: str
    source: str
    messages: list[Message]
    raw: Any = None
    topic: str = ""
    authors: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def answers(self) -> str:
        """All assistant turns, one a line."""
        return "\n".join(m.content for m in self.messages if m.role == "assistant")

    def question(self) -> str:
        """The first user turn, or nothing."""
        return next((m.content for m in self.messages if m.role == "user"), "")

    def row(self) -> dict[str, Any]:
        """The line that is written to a split file."""
        messages = [{"role": m.role, "content": m.content} for m in self.messages]
        return {"id": self.id, "source": self.source, "messages": messages}


@dataclass(frozen=True)
class Span:
    """A piece of a turn that a step replaced; ``start`` is a character offset before the step."""

    turn: int
    start: int
    before: str
    after: str | None

    def as_dict(self) -> dict[str, Any]:
        """The span as it stands in the ledger."""
        return {"turn": self.turn, "start": self.start, "before": self.before, "after": self.after}


@dataclass
class Ledger:
    """Collects what one step did to rows: a line for each row dropped or changed, and why.

    Attributes:
        step: name of the step.
        lines: what is collected and not yet handed on.
        sink: takes the lines away whenever there are many, so that they need no memory.
    """

    step: str
    lines: list[dict[str, Any]] = field(default_factory=list)
    sink: Callable[[list[dict[str, Any]]], None] | None = None

    def changed(self, row: str, reason: str, spans: list[Span]) -> None:
        """Record a change; no spans, no line."""
        if spans:
            self._add(row, "changed", reason, spans)

    def dropped(self, conversation: Conversation, reason: str) -> None:
        """Record a drop with the whole text, so that nothing is lost."""
        spans = [Span(i, 0, m.content, None) for i, m in enumerate(conversation.messages)]
        self._add(conversation.id, "dropped", reason, spans)

    def _add(self, row: str, action: str, reason: str, spans: list[Span]) -> None:
        self.lines.append(
            {
                "id": row,
                "step": self.step,
                "action": action,
                "reason": reason,
                "spans": [span.as_dict() for span in spans],
            }
        )
        if self.sink and len(self.lines) >= _MANY_LINES:
            self.flush()

    def flush(self) -> None:
        """Hand the lines on to the sink."""
        if self.sink:
            self.sink(self.lines)
            self.lines = []


def replace_all(
    pattern: re.Pattern[str],
    replacement: str | Callable[[re.Match[str]], str],
    text: str,
    turn: int,
    spans: list[Span],
) -> str:
    """``pattern.sub`` that also appends a span for every piece it really changed."""

    def note(match: re.Match[str]) -> str:
        new = replacement(match) if callable(replacement) else match.expand(replacement)
        if new != match.group():
            spans.append(Span(turn, match.start(), match.group(), new))
        return new

    return pattern.sub(note, text)


def changed_span(before: str, after: str, turn: int) -> Span:
    """The smallest single span in which two texts differ."""
    limit = min(len(before), len(after))
    start = next((i for i in range(limit) if before[i] != after[i]), limit)
    tail = 0
    while tail < limit - start and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    return Span(turn, start, before[start : len(before) - tail], after[start : len(after) - tail])


def json_line(value: Any) -> str:
    """One line of JSON; what Unicode counts as a line end is escaped, as readers split at it."""
    text = json.dumps(value, ensure_ascii=False)
    for end, escaped in _LINE_ENDS:
        text = text.replace(end, escaped)
    return text


def without_surrogates(text: str) -> str:
    """Text that UTF-8 can hold: a lone surrogate becomes U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)
