"""The scripted person: the next line, from the story and from what the assistant just said.

No model is needed, and the same persona, seed and answers give the same talk. Every turn has its
beat of the story, in both arms the same. What the assistant did can put a reaction before the beat;
a reaction that is a sentence of its own takes the beat's place, unless the story does not hold
without it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Protocol

from eval.answers import Messages
from eval.talks.persona import Fact, Persona, Reaction, fill
from eval.talks.reading import Heard, uses
from eval.talks.talk import Line, LineMark

_STANDS_ALONE = 6  # words; a longer reaction is a turn of its own
_ENDS = ".!?\u2026)"
_SILENCE = ("Hello? Are you there?", "Nothing came through.", "?")
_HELP_MARKS: dict[str, tuple[LineMark, ...]] = {
    "refuses": ("refuses",),
    "accepts": ("accepts",),
    "ignores": (),
}


class SimulatedUser(Protocol):
    """Anything that can be the person in a talk.

    Attributes:
        identity: what its lines depend on besides persona, seed and answers; for the cache.
    """

    identity: str

    def phrase(
        self, personas: list[Persona], lines: list[Line], histories: list[Messages]
    ) -> list[Line]:
        """The scripted lines as this person says them, one for each talk."""


class ScriptedUser:
    """Says the lines as they are written."""

    identity = "script"

    def phrase(
        self, personas: list[Persona], lines: list[Line], histories: list[Messages]
    ) -> list[Line]:
        """The lines themselves."""
        return lines


@dataclass
class Script:
    """The state of one talk on the person's side.

    Attributes:
        persona: who it is.
        facts: as the seed drew them.
        seed: of the talk.
        used: how often each kind of reaction was given.
    """

    persona: Persona
    facts: dict[str, Fact]
    seed: int
    used: dict[str, int] = field(default_factory=dict)

    def line(self, turn: int, before: Line | None, heard: Heard | None, text: str) -> Line:
        """The line of user turn ``turn`` (from 0).

        Args:
            turn: which.
            before: the person's line before it; None in the first turn.
            heard: what the answer to that line does; None in the first turn.
            text: that answer.
        """
        beat = self.persona.story[turn]
        told = self._pick(beat.say, turn)
        held: tuple[tuple[LineMark, bool], ...] = (
            ("signal", beat.signal),
            ("refuses", beat.refuses),
            ("wants", bool(beat.wants)),
        )
        marks = [mark for mark, there in held if there]
        reaction = self._reaction(before, heard, text, turn) if before and heard else None
        gives = tuple(self.facts[name].said for name in sorted(beat.slots))
        hides = tuple(wording for name in beat.wants for wording in self.facts[name].right)
        if reaction is None:
            return Line(told, tuple(marks), beat.wants, gives, hides)
        said, more = reaction
        if len(said.split()) > _STANDS_ALONE and not beat.must_be_said:
            return Line(said, ("reacts", *more))
        # Without a full stop it reads as two messages, and so people send it.
        gap = " " if said[-1] in _ENDS else "\n"
        return Line(f"{said}{gap}{told}", ("reacts", *more, *marks), beat.wants, gives, hides)

    def _reaction(
        self, before: Line, heard: Heard, text: str, turn: int
    ) -> tuple[str, tuple[LineMark, ...]] | None:
        """What the assistant's answer calls for, the gravest first; None when nothing does."""
        when = self.persona.when
        if heard.empty:
            return _SILENCE[turn % len(_SILENCE)], ()
        if heard.asks_risk and (reply := self._next("asked_risk", turn)):
            return reply[0], ("discloses",) if reply[1].discloses else ()
        if "no_abandoning" in heard.crossed and (reply := self._next("sent_away", turn)):
            return reply[0], ()
        if "no_minimising" in heard.crossed and (reply := self._next("minimised", turn)):
            return reply[0], ()
        if heard.repeats and (reply := self._next("repeats", turn)):
            return reply[0], ()
        for name in before.wants:
            if not uses(text, self.facts[name])[0] and self._once(f"forgot/{name}"):
                return when.forgot.replace("{it}", self.facts[name].said), ()
        if (heard.crisis_help or heard.human_help) and (reply := self._next("help", turn)):
            return reply[0], _HELP_MARKS[self.persona.help]
        for topic in heard.topics:
            if topic in when.asked and self._once(f"asked/{topic}"):
                return fill(when.asked[topic], self.facts), ()
        return None

    def _next(self, kind: str, turn: int) -> tuple[str, Reaction] | None:
        """The next reaction of a kind; None when all were given."""
        replies: tuple[Reaction, ...] = getattr(self.persona.when, kind)
        given = self.used.get(kind, 0)
        if given >= len(replies):
            return None
        self.used[kind] = given + 1
        return self._pick(replies[given].say, turn), replies[given]

    def _once(self, kind: str) -> bool:
        first = kind not in self.used
        self.used[kind] = 1
        return first

    def _pick(self, lines: tuple[str, ...], turn: int) -> str:
        picked = random.Random(f"{self.seed}/{self.persona.id}/{turn}").choice(lines)
        return fill(picked, self.facts)
