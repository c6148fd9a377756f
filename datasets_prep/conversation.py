"""What flows through the steps: a conversation, and the ledger lines about it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from datasets_prep.signatures import exact
from datasets_prep.words import has_unspaced, word_count

_LINE_ENDS = (("\x85", "\\u0085"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029"))
_MANY_LINES = 1000


@dataclass
class Message:
    """One turn.

    Attributes:
        role: system, user, assistant or tool; ``rejected`` is the answer that a preference turns
            down, which stands last while the steps work on it.
        content: its text.
        train: False where the source says that an assistant turn is not to be learnt.
        calls: tool calls in OpenAI's form; their arguments are a JSON text.
        call_id: of a tool turn, the call that it answers; empty when the source names none.
        name: of a tool turn, the tool; empty when the source names none.
    """

    role: str
    content: str
    train: bool = True
    calls: list[dict[str, Any]] = field(default_factory=list)
    call_id: str = ""
    name: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The turn as it is written: only what it has."""
        made: dict[str, Any] = {"role": self.role, "content": self.content}
        if not self.train and self.role == "assistant":
            made["training"] = False
        if self.calls:
            made["tool_calls"] = self.calls
        if self.call_id:
            made["tool_call_id"] = self.call_id
        if self.name:
            made["name"] = self.name
        return made

    @classmethod
    def from_dict(cls, made: dict[str, Any]) -> Message:
        """The turn out of `as_dict`."""
        return cls(
            made["role"],
            made["content"],
            made.get("training", True),
            made.get("tool_calls", []),
            made.get("tool_call_id", ""),
            made.get("name", ""),
        )


@lru_cache(maxsize=256)
def _written_words(text: str) -> int:
    return word_count(text) if has_unspaced(text) else len(text.split())


@dataclass
class Conversation:
    """One row of a data set, with what the steps need to know beside its messages.

    Attributes:
        id: unique in the data set, and the same on every run.
        source: the file or Hub data set, ``#`` and the row's number from 1.
        raw: the row (or rows) of the source, until its turns are read out of it.
        authors: what the author columns hold; their names are masked in the text.
        groups: values that tie rows together; rows that share one fall in one split.
        tools: the tools that the conversation may call, in OpenAI's form.
        label: of a row for KTO, whether its answer is wanted; None for every other row.
        by_model: whether a model wrote the answers; None when the definition does not say.
        part: the name of the source in a definition of several.
        unread: keys of its turns that nothing reads.
    """

    id: str
    source: str
    messages: list[Message]
    raw: Any = None
    topic: str = ""
    authors: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    tools: list[Any] = field(default_factory=list)
    label: bool | None = None
    by_model: bool | None = None
    part: str = ""
    unread: set[str] = field(default_factory=set)

    def uses_tools(self) -> bool:
        """Whether a tool is called, or answers."""
        return any(m.calls or m.role == "tool" for m in self.messages)

    def answers(self) -> str:
        """All assistant turns and the rejected one, one a line: what tells rows apart."""
        return "\n".join(m.content for m in self.messages if m.role in ("assistant", "rejected"))

    def size(self) -> tuple[int, int, int]:
        """Turns, words in all, and words of the assistant."""
        counts = [(m.role, _written_words(m.content)) for m in self.messages]
        said = sum(words for role, words in counts if role == "assistant")
        return len(counts), sum(words for _, words in counts), said

    def row(self) -> dict[str, Any]:
        """The line that is written to a split file.

        A preference has its prompt in ``messages``, and ``chosen`` and ``rejected`` beside it (as
        Axolotl's ``chat_template.default`` for DPO reads them); a row for KTO has the whole talk in
        ``completion``, and its ``label`` (``argilla_chat``).
        """
        made: dict[str, Any] = {"id": self.id, "source": self.source}
        if self.part:
            made["part"] = self.part
        if self.by_model is not None:
            made["by_model"] = self.by_model
        if self.groups:
            # Hashed: a group may be a person's number. Folds are dealt by it.
            made["group"] = [f"{exact(value):016x}" for value in self.groups]
        turns = [message.as_dict() for message in self.messages]
        if self.messages and self.messages[-1].role == "rejected":
            chosen, rejected = turns[-2], {**turns[-1], "role": "assistant"}
            return {**made, "messages": turns[:-2], "chosen": chosen, "rejected": rejected}
        if self.label is not None:
            return {**made, "completion": turns, "label": self.label}
        if self.tools:
            made["tools"] = self.tools
        return {**made, "messages": turns}

    def state(self) -> dict[str, Any]:
        """All of it but the raw row and what nothing reads, as JSON can hold it."""
        turns = [[m.role, m.content, m.train, m.calls, m.call_id, m.name] for m in self.messages]
        kept = ("id", "source", "topic", "authors", "groups", "tools", "label", "by_model", "part")
        return {**{name: getattr(self, name) for name in kept}, "messages": turns}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Conversation:
        """The conversation out of `state`."""
        messages = [Message(*turn) for turn in state["messages"]]
        authors, groups = tuple(state["authors"]), tuple(state["groups"])
        return cls(**{**state, "messages": messages, "authors": authors, "groups": groups})


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


def turns_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """All turns of a row as it is written, the chosen answer in its place."""
    if "completion" in row:
        return list(row["completion"])
    return [*row["messages"], *([row["chosen"]] if "chosen" in row else [])]
