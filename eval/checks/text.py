"""Checks of the text itself: facts, length, loops, leaks, language."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from datasets_prep.language import known_languages
from eval.answers import Answer, AnsweredConversation
from eval.checks.base import Check
from eval.checks.scripts import WORD, is_in_language, stands_in, words
from recipes.runner.core.patterns import BadPattern, guarded, search

_ROLE_MARKS = re.compile(
    r"<\|?(?:im_start|im_end|endoftext|eot_id|user|assistant|system)\|?>|>>(?:QUESTION|ANSWER|INTRODUCTION"
    r"|SUFFIX|PREFIX)<<|\[/?INST\]|^(?:###\s*)?(?:user|human|assistant|system|instruction|response)\s*:",
    re.IGNORECASE | re.MULTILINE,
)


class Phrases(Check):
    """A check with a list of phrases, matched from the start of a word."""

    phrases: tuple[str, ...] = Field(min_length=1)

    def found(self, text: str) -> list[str]:
        """Phrases that stand in ``text`` from the start of a word (so stems match)."""
        return [phrase for phrase in self.phrases if stands_in(phrase, text)]


class ContainsAny(Phrases):
    """At least one of the phrases."""

    check: Literal["any_of"]

    def score(
        self, answer: Answer, conversation: AnsweredConversation, turn: int
    ) -> tuple[float, str]:
        """1 when one is found."""
        found = self.found(answer.text)
        return (1.0, found[0]) if found else (0.0, f"none of: {', '.join(self.phrases)}")


class Contains(Phrases):
    """Every one of the phrases; the score is the share found."""

    check: Literal["contains"]

    def score(
        self, answer: Answer, conversation: AnsweredConversation, turn: int
    ) -> tuple[float, str]:
        """Share of phrases found."""
        found = self.found(answer.text)
        missing = [phrase for phrase in self.phrases if phrase not in found]
        return len(found) / len(self.phrases), "missing: " + ", ".join(missing) if missing else ""


class Avoids(Phrases):
    """None of the phrases."""

    check: Literal["avoids"]

    def score(
        self, answer: Answer, conversation: AnsweredConversation, turn: int
    ) -> tuple[float, str]:
        """0 when one is found."""
        found = self.found(answer.text)
        return (0.0, found[0]) if found else (1.0, "")


class Mentions(Check):
    """Facts, each a list of wordings of which one is enough; the score is the share of facts."""

    check: Literal["mentions"]
    facts: tuple[tuple[str, ...], ...] = Field(min_length=1)

    def score(
        self, answer: Answer, conversation: AnsweredConversation, turn: int
    ) -> tuple[float, str]:
        """Share of facts found."""
        missing = [f for f in self.facts if not any(stands_in(w, answer.text) for w in f)]
        detail = "missing: " + "; ".join(fact[0] for fact in missing) if missing else ""
        return 1 - len(missing) / len(self.facts), detail


class Matches(Check):
    """A regular expression (case ignored) is found; with ``absent: true``, is not."""

    check: Literal["regex"]
    pattern: str
    absent: bool = False

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            with guarded():
                re.compile(value)
        except BadPattern as error:
            raise ValueError(str(error)) from None
        return value

    def score(
        self, answer: Answer, conversation: AnsweredConversation, turn: int
    ) -> tuple[float, str]:
        """1 when found (or absent)."""
        pattern = re.compile(self.pattern, re.IGNORECASE | re.MULTILINE)
        found = search(pattern, answer.text, "pattern")
        return float(bool(found) != self.absent), found.group()[:80] if found else "no match"


class Length(Check):
    """Number of words within bounds."""

    check: Literal["length"]
    min_words: int = Field(default=1, ge=0)
    max_words: int = Field(default=10_000, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Length:
        if self.min_words > self.max_words:
            raise ValueError("min_words is above max_words")
        return self

    def score(
        self, answer: Answer, conversation: AnsweredConversation, turn: int
    ) -> tuple[float, str]:
        """1 within bounds."""
        found = len(WORD.findall(answer.text))
        return float(self.min_words <= found <= self.max_words), f"{found} words"


class NoRepetition(Check):
    """No degenerate loop, as `datasets_prep.loops` defines it."""

    check: Literal["no_repetition"]

    def score(
        self, answer: Answer, conversation: AnsweredConversation, turn: int
    ) -> tuple[float, str]:
        """0 when it loops."""
        return float(answer.loop is None), f"again and again: {answer.loop}" if answer.loop else ""


class NoEcho(Check):
    """Does not say its own earlier answer, or the user's message, over again."""

    check: Literal["no_echo"]
    words: int = Field(default=12, ge=4)

    def score(
        self, answer: Answer, conversation: AnsweredConversation, turn: int
    ) -> tuple[float, str]:
        """0 when a run of ``words`` words stands in an earlier message too."""
        earlier = [conversation.system or "", *conversation.turns[: turn + 1]]
        earlier += [a.text for a in conversation.answers[:turn]]
        runs = {run for text in earlier for run in _runs(text, self.words)}
        shared = next((run for run in _runs(answer.text, self.words) if run in runs), None)
        return (0.0, " ".join(shared)) if shared else (1.0, "")


class StopsByItself(Check):
    """Ends with its end token rather than at the limit of new tokens."""

    check: Literal["stops_by_itself"]

    def score(
        self, answer: Answer, conversation: AnsweredConversation, turn: int
    ) -> tuple[float, str]:
        """1 when it stopped."""
        return float(answer.stopped), "" if answer.stopped else f"cut at {answer.tokens} tokens"


class NoLeak(Check):
    """No special token, role mark or piece of the system prompt in the answer."""

    check: Literal["no_leak"]

    def score(
        self, answer: Answer, conversation: AnsweredConversation, turn: int
    ) -> tuple[float, str]:
        """0 on a leak."""
        if answer.special:
            return 0.0, " ".join(answer.special)
        found = _ROLE_MARKS.search(answer.text)
        if found:
            return 0.0, found.group()
        system = set(_runs(conversation.system or "", 8))
        leaked = next((run for run in _runs(answer.text, 8) if run in system), None)
        return (0.0, " ".join(leaked)) if leaked else (1.0, "")


class InLanguage(Check):
    """Written in the language asked for; passes where that can't be told, and says so."""

    check: Literal["language"]
    code: str = Field(default="en", pattern="^[a-z]{2,3}$")

    @field_validator("code")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in known_languages():
            raise ValueError(f"no detector knows the language '{value}'")
        return value

    def score(
        self, answer: Answer, conversation: AnsweredConversation, turn: int
    ) -> tuple[float, str]:
        """0 when most of it is clearly in another one."""
        told = is_in_language(answer.text, self.code)
        return float(told != "no"), told if told == "can't tell" else ""


class NoLecture(Check):
    """Talks rather than lectures: at most ``max_items`` list items."""

    check: Literal["no_lecture"]
    max_items: int = Field(default=2, ge=0)

    def score(
        self, answer: Answer, conversation: AnsweredConversation, turn: int
    ) -> tuple[float, str]:
        """0 with more items."""
        items = len(re.findall(r"(?m)^\s*(?:\d+[.)]|[-*\u2022])\s+\S", answer.text))
        return float(items <= self.max_items), f"{items} list items"


def _runs(text: str, length: int) -> list[tuple[str, ...]]:
    said = words(text)
    return [tuple(said[i : i + length]) for i in range(len(said) - length + 1)]
