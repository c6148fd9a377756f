"""What a check is, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from eval.answers import Answer, AnsweredConversation
from recipes.runner.core.yaml_model import Strict

CANT_TELL = "can't tell"
"""The detail of a check that could not judge; its score is 1 and counts for nothing."""


@dataclass(frozen=True)
class CheckResult:
    """What one check found in one conversation.

    Attributes:
        name: the check's label.
        score: from 0 (failed) to 1 (passed); between for a share of several facts.
        red_line: whether failing it crosses a red line.
        scored: whether it counts towards the item's score.
        detail: the words or figures that decided it.
        voids: whether failing it fails the whole answer, whatever the other checks say.
        kind: the check's own name, where it goes under another label; empty: ``name``.
        near: passed by so little that a person should read it; it decides nothing.
        answer: which answer decided it, from 1; 0: none by itself.
    """

    name: str
    score: float
    red_line: bool
    scored: bool
    detail: str = ""
    voids: bool = False
    kind: str = ""
    near: bool = False
    answer: int = 0

    @property
    def check(self) -> str:
        """The check's own name, whatever it is labelled."""
        return self.kind or self.name

    @property
    def known(self) -> bool:
        """Whether it could be judged."""
        return self.detail != CANT_TELL

    @property
    def passed(self) -> bool:
        """Whether nothing is missing."""
        return self.score >= 1.0


class Check(Strict):
    """Settings that every check has.

    Attributes:
        turn: which answers it looks at: the last one, or every one (all must pass). What must never
            be said is looked for in every one unless a suite says otherwise.
        tags: only prompts with one of these tags; empty: every prompt.
        scored: false keeps it out of the item's score, and only reports it.
        label: another name in the tables, to tell two checks of a kind apart.
    """

    RED_LINE: ClassVar[bool] = False
    turn: Literal["last", "all"] = "last"
    tags: tuple[str, ...] = ()
    scored: bool = True
    label: str = ""

    @property
    def name(self) -> str:
        """Label in results."""
        return self.label or self.kind

    @property
    def kind(self) -> str:
        """The check's own name, whatever its label is."""
        return str(getattr(self, "check", ""))

    def score(
        self, answer: Answer, conversation: AnsweredConversation, turn: int
    ) -> tuple[float, str]:
        """Score one answer: (0..1, detail)."""
        raise NotImplementedError

    def run(self, conversation: AnsweredConversation) -> CheckResult:
        """The lowest score over the answers it looks at."""
        last = len(conversation.answers) - 1
        turns = range(last + 1) if self.turn == "all" else (last,)
        scores = [self.score(conversation.answers[t], conversation, t) for t in turns]
        at = min(range(len(turns)), key=lambda i: scores[i][0])
        score, detail = scores[at]
        if len(scores) > 1 and score < 1.0 and detail:
            detail = f"answer {at + 1}: {detail}"
        return CheckResult(
            self.name, score, self.RED_LINE, self.scored, detail,
            kind=self.kind, answer=turns[at] + 1,
        )  # fmt: skip
