"""What every check, measure and page works on: one conversation that a model has answered."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from datasets_prep.loops import loop_in

ArmName = Literal["base", "tuned"]
Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Answer:
    """One assistant turn as it was generated.

    Attributes:
        text: without special tokens, stripped.
        stopped: whether the model ended it itself with an end token.
        tokens: number of generated tokens, the end token included.
        special: special tokens found inside it, other than its end.
    """

    text: str
    stopped: bool
    tokens: int
    special: tuple[str, ...] = ()

    @property
    def loop(self) -> str | None:
        """The words that it repeats without end; None when it doesn't."""
        return loop_in(self.text)

    @property
    def cut(self) -> bool:
        """Whether it was cut at the limit of tokens; one that loops was not going to end."""
        return not self.stopped and self.loop is None

    @property
    def degenerate(self) -> str:
        """What makes it no answer at all, in words; empty for one that can be judged."""
        if not re.search(r"\w", self.text):
            return "says nothing"
        return f"loops: {self.loop}" if self.loop else ""

    def to_json(self) -> dict[str, Any]:
        """A plain dict for a JSON line."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Answer:
        """Back from `to_json`."""
        return cls(data["text"], data["stopped"], data["tokens"], tuple(data["special"]))


@dataclass(frozen=True)
class AnsweredConversation:
    """The scripted user turns with the answers of one model.

    Attributes:
        prompt_id: id of the prompt within its suite.
        system: the system message, None for the template's own.
        turns: the user turns.
        answers: one answer a turn.
        sample: which of the K samples it is, from 0.
    """

    prompt_id: str
    system: str | None
    turns: tuple[str, ...]
    answers: tuple[Answer, ...]
    sample: int = 0

    def messages(self, upto: int | None = None) -> list[dict[str, str]]:
        """Role/content messages up to and including user turn ``upto`` (from 0; None: all)."""
        return build_messages(self.system, self.turns, [a.text for a in self.answers], upto)

    @property
    def last(self) -> Answer:
        """The answer to the last user turn."""
        return self.answers[-1]

    @property
    def degenerate(self) -> str:
        """Why the conversation can't be judged: its first answer that loops or says nothing."""
        return next((a.degenerate for a in self.answers if a.degenerate), "")


def build_messages(
    system: str | None, turns: tuple[str, ...], answers: list[str], upto: int | None = None
) -> list[dict[str, str]]:
    """Interleave user turns and answers; ends with a user turn when ``upto`` is given."""
    messages = [{"role": "system", "content": system}] if system else []
    for index, turn in enumerate(turns):
        messages.append({"role": "user", "content": turn})
        if upto is not None and index == upto:
            break
        if index < len(answers):
            messages.append({"role": "assistant", "content": answers[index]})
    return messages
