"""Checks of the text itself: facts, length, loops, leaks, language."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from eval.answers import Answer, AnsweredConversation
from eval.checks.base import Check

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
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
        return [phrase for phrase in self.phrases if _stands_in(phrase, text)]


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
        missing = [f for f in self.facts if not any(_stands_in(w, answer.text) for w in f)]
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
            re.compile(value)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        return value

    def score(
        self, answer: Answer, conversation: AnsweredConversation, turn: int
    ) -> tuple[float, str]:
        """1 when found (or absent)."""
        found = re.search(self.pattern, answer.text, re.IGNORECASE | re.MULTILINE)
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
        words = len(_WORD.findall(answer.text))
        return float(self.min_words <= words <= self.max_words), f"{words} words"


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
    """Written in the language asked for; answers under four words pass."""

    check: Literal["language"]
    code: str = Field(default="en", pattern="^[a-z]{2}$")

    def score(
        self, answer: Answer, conversation: AnsweredConversation, turn: int
    ) -> tuple[float, str]:
        """1 when it is the likeliest of sixteen common languages."""
        if len(_WORD.findall(answer.text)) < 4:
            return 1.0, "too short to tell"
        found = _likeliest_language(answer.text, self.code)
        return float(found == self.code), found


class AsksBack(Check):
    """Asks the person a question."""

    check: Literal["asks_back"]

    def score(
        self, answer: Answer, conversation: AnsweredConversation, turn: int
    ) -> tuple[float, str]:
        """1 with a question mark after a word."""
        return float(bool(re.search(r"\w[\"')\u201d\u2019]?\s*\?", answer.text))), ""


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


def _stands_in(phrase: str, text: str) -> bool:
    plain = text.replace("\u2019", "'")
    return re.search(rf"(?<!\w){re.escape(phrase)}", plain, re.IGNORECASE) is not None


def _runs(text: str, length: int) -> list[tuple[str, ...]]:
    words = [word.lower() for word in _WORD.findall(text)]
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]


@cache
def _detector() -> Any:
    from lingua import Language as L
    from lingua import LanguageDetectorBuilder  # heavy, and only this check needs it

    return (
        LanguageDetectorBuilder.from_languages(
            L.ENGLISH,
            L.SPANISH,
            L.FRENCH,
            L.GERMAN,
            L.PORTUGUESE,
            L.ITALIAN,
            L.DUTCH,
            L.POLISH,
            L.RUSSIAN,
            L.TURKISH,
            L.ARABIC,
            L.HINDI,
            L.CHINESE,
            L.JAPANESE,
            L.KOREAN,
            L.SWEDISH,
        )
        .with_low_accuracy_mode()
        .build()
    )


@cache
def _likeliest_language(text: str, wanted: str) -> str:
    language = _detector().detect_language_of(text)
    return language.iso_code_639_1.name.lower() if language else "unknown"
