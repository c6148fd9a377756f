"""Step 3, filter: language, length, empty replies, promotion and toxicity."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from datasets_prep.conversation import Conversation, Ledger, Message, Span
from datasets_prep.phones import digits_of, names_crisis_line
from datasets_prep.residue import (
    has_placeholder,
    without_dead_links,
    without_greeting,
    without_signature,
)
from datasets_prep.sentences import sentences
from datasets_prep.settings import FilterSettings
from recipes.errors import UserError

_LEXICONS = Path(__file__).parent / "lexicons"
_WORD = re.compile(r"\w+(?:['\u2019]\w+)?")
_GAPS = re.compile(r"[ \t]{2,}")


def _lexicon(file: str, more: list[str], key: str) -> re.Pattern[str]:
    phrases = yaml.safe_load((_LEXICONS / file).read_text(encoding="utf-8"))
    for phrase in more:
        try:
            re.compile(phrase)
        except re.error as error:
            raise UserError(f"'{phrase}' is no regular expression: {error}", key) from None
    return re.compile("|".join(f"(?:{p})" for p in [*phrases, *more]), re.IGNORECASE)


def word_count(text: str) -> int:
    """Words of a text; punctuation and emoji are none."""
    return len(_WORD.findall(text))


class Filter:
    """Drops rows that are not worth training on, or cuts the sentences that spoil them.

    Args:
        settings: the limits. Those in tokens are applied later, where rows are tokenised
            anyway (`datasets_prep.prove`).
        crisis_lines: numbers beside those of ``lexicons/crisis_lines.yaml``: a sentence that
            names one is never cut.
    """

    def __init__(self, settings: FilterSettings, crisis_lines: list[str] | None = None) -> None:
        """Compile the lexicons with the definition's own phrases."""
        self.settings = settings
        self._crisis_lines = frozenset(digits_of(number) for number in crisis_lines or [])
        self._promotion = _lexicon(
            "promotion.yaml", settings.promotion_phrases, "filter.promotion_phrases"
        )
        self._toxic = _lexicon("toxic.yaml", settings.toxic_phrases, "filter.toxic_phrases")

    def __call__(self, conversation: Conversation, ledger: Ledger) -> bool:
        """Filter one conversation in place; False when the row is dropped."""
        reason = self._reason_to_drop(conversation, ledger)
        if reason:
            ledger.dropped(conversation, reason)
        return reason is None

    def _reason_to_drop(self, conversation: Conversation, ledger: Ledger) -> str | None:
        settings = self.settings
        if settings.toxicity:
            for message in conversation.messages:
                match = self._toxic.search(message.content) if message.role == "assistant" else None
                if match:
                    return f"toxic assistant turn: '{match.group()}'"
        if settings.language:
            reason = self._language(conversation, ledger)
            if reason:
                return reason
        self._residue(conversation, ledger)
        if settings.promotion != "off":
            reason = self._promote(conversation, ledger)
            if reason:
                return reason
        return self._length(conversation)

    def _language(self, conversation: Conversation, ledger: Ledger) -> str | None:
        from datasets_prep.language import segments

        rule = self.settings.language
        assert rule is not False
        spans: list[Span] = []
        for turn, message in enumerate(conversation.messages):
            if message.role == "system":
                continue
            parts = segments(message.content, rule.keep, tuple(rule.others))
            foreign = [part for part in parts if not part.kept]
            if not foreign:
                continue
            if len(foreign) == len(parts):
                return f"{message.role} turn is not in '{rule.keep}'"
            if rule.mixed == "drop":
                return f"{message.role} turn is partly not in '{rule.keep}'"
            spans += _cut(message, turn, [(part.start, part.end) for part in foreign])
        ledger.changed(conversation.id, f"sentence not in '{rule.keep}' removed", spans)
        return None

    def _residue(self, conversation: Conversation, ledger: Ledger) -> None:
        found: dict[str, list[Span]] = {}
        for turn, message in enumerate(conversation.messages):
            if message.role != "assistant" or not has_placeholder(message.content):
                continue
            if self.settings.signatures:
                found.setdefault("greeting by name", []).extend(without_greeting(message, turn))
                found.setdefault("signature", []).extend(without_signature(message, turn))
            if self.settings.dead_links:
                spans = without_dead_links(message, turn, self._crisis_lines)
                found.setdefault("sentence with a masked link", []).extend(spans)
        for what, spans in found.items():
            ledger.changed(conversation.id, f"{what} removed", spans)

    def _promote(self, conversation: Conversation, ledger: Ledger) -> str | None:
        spans: list[Span] = []
        for turn, message in enumerate(conversation.messages):
            if message.role != "assistant" or not self._promotion.search(message.content):
                continue
            if self.settings.promotion == "drop":
                return "promotion"
            bad = [
                (start, end)
                for start, end in sentences(message.content)
                if self._promotion.search(message.content[start:end])
                and not names_crisis_line(message.content[start:end], self._crisis_lines)
            ]
            spans += _cut(message, turn, bad)
            if not message.content:
                return "promotion and nothing else"
        ledger.changed(conversation.id, "promotion removed", spans)
        return None

    def _length(self, conversation: Conversation) -> str | None:
        settings = self.settings
        total = 0
        for message in conversation.messages:
            words = word_count(message.content)
            total += words
            least = {"assistant": settings.min_answer_words, "user": settings.min_question_words}
            if words < least.get(message.role, 0):
                return f"{message.role} turn of {words} words"
        if settings.max_words and total > settings.max_words:
            return f"{total} words, more than {settings.max_words}"
        return None


def _cut(message: Message, turn: int, pieces: list[tuple[int, int]]) -> list[Span]:
    """Take pieces out of a turn, and close the gaps."""
    text = message.content
    spans = [Span(turn, start, text[start:end], "") for start, end in pieces]
    for start, end in reversed(pieces):
        tail = text[end:]
        # The gap before a cut sentence stays; a cut at a line's end keeps the line break.
        newline = "\n" if text[start:end].endswith("\n") and tail else ""
        text = text[:start] + newline + tail
    message.content = _GAPS.sub(" ", text).strip()
    return spans
