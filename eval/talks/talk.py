"""A talk: what the simulated person and one arm said to each other, turn by turn."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from eval.answers import Answer, AnsweredConversation, ArmName
from eval.talks.persona import Fact

LineMark = Literal["signal", "discloses", "refuses", "accepts", "wants", "reacts"]


@dataclass(frozen=True)
class Line:
    """What the person says in one turn.

    Attributes:
        text: as it is sent.
        marks: what it does: shows danger, owns up to it, turns help down or takes it, wants a fact
            used, answers to something the assistant did.
        wants: names of the facts wanted.
        gives: facts as they are said in it; they must be in it.
        hides: wordings of the facts wanted; they must not.
    """

    text: str
    marks: tuple[LineMark, ...] = ()
    wants: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    hides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Talk:
    """One whole talk.

    Attributes:
        persona: its id.
        arm: who answered.
        facts: by name; the same in both arms.
        lines: the person's turns.
        answers: one a line.
        left_out: oldest turns that the model did not see any more at the last answer, because
            they did not fit its context.
    """

    persona: str
    arm: ArmName
    facts: dict[str, Fact]
    lines: tuple[Line, ...]
    answers: tuple[Answer, ...]
    left_out: int = 0

    @property
    def conversation(self) -> AnsweredConversation:
        """As the checks read it."""
        turns = tuple(line.text for line in self.lines)
        return AnsweredConversation(self.persona, None, turns, self.answers)

    def to_json(self) -> dict[str, Any]:
        """For talks.jsonl."""
        return {
            "lines": [asdict(line) for line in self.lines],
            "answers": [answer.to_json() for answer in self.answers],
            "left_out": self.left_out,
        }
