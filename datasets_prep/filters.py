"""Filter: language, length, empty replies, promotion, toxicity, unanswered crises."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from datasets_prep.asked_language import is_about_language, words_asked_for
from datasets_prep.code import code_spans, is_json, overlaps
from datasets_prep.conversation import Conversation, Ledger, Message, Span
from datasets_prep.crisis import detect_crisis, human_help_in
from datasets_prep.crisis_lines import digits_of, names_crisis_line, names_help
from datasets_prep.dangling import hangs_on_what_went
from datasets_prep.dead_links import without_dead_links
from datasets_prep.patterns import joined
from datasets_prep.residue import (
    has_placeholder,
    without_greeting,
    without_signature,
)
from datasets_prep.sentences import sentences
from datasets_prep.settings import FilterSettings
from datasets_prep.words import holds_any, says_something, word_count
from recipes.runner.core.errors import UserError
from recipes.runner.core.patterns import BadPattern, guarded, search

if TYPE_CHECKING:
    from datasets_prep.language import LanguageFinder

# Below so many words, a turn within a talk is not foreign by a detector alone.
_SLIP = 8
# A sentence of so many words that holds the number of a line says no more than whose it is.
_LINE_WORDS = 12
# One of these stands in whatever ``lexicons/toxic.yaml`` finds.
TOXIC_WORDS = (
    *("kill your", "kill urself", "kill oneself", "kys", "fuck", "screw you", "screw off"),
    *(" idiot", " moron", " retard", " loser", " bitch", " cunt", " whore", " slut", " piece of"),
    *(" waste of", " pathetic", " worthless", "shut up", "shut the", "miss you", "care about you"),
    *("without you", "should die", "just die", "serve to die", "ought to die", "way to die"),
    *("be dead", "hurt yourself", "cut yourself", "suffer", "end your life", "nigger", "faggot"),
    *("kike", "spic", "tranny", "chink"),
)
# The same for ``lexicons/promotion.yaml``.
PROMOTION_WORDS = (
    *("dm me", "pm me", "inbox me", "message me"),
    *("call me", "contact me", "mail me", "text me", "phone me", "reach me", "out to me"),
    *("my ", "contactar", "llamar", "a call", "a line", "an email", "with me", "with us"),
    *("by calling", "online at", "me at", "us at", "me on", "us on", "me through", "us through"),
    *("me via", "us via", "me by", "us by", "i offer ", "i provide ", "free 15", "free 20"),
    *("free 30", "free consultation", "for more information", "call [phone]"),
    *("currently providing", "i can offer you", "i would be ", "to work with you"),
)
_LEXICONS = Path(__file__).parent / "lexicons"


def _lexicon(file: str, more: list[str], key: str) -> re.Pattern[str]:
    """The phrases of a file and further ones as one pattern.

    Most start at a word: said once for all of them, nine letters of ten are passed over at once.
    """
    phrases = yaml.safe_load((_LEXICONS / file).read_text(encoding="utf-8"))
    for phrase in more:
        try:
            with guarded():
                re.compile(phrase)
        except BadPattern as error:
            raise UserError(f"'{phrase}' {error}", key) from None
    at_word = "|".join(f"(?:{p[2:]})" for p in phrases if p.startswith(r"\b"))
    others = [f"(?:{p})" for p in phrases if not p.startswith(r"\b")]
    others += [f"(?:{p})" for p in more]
    return re.compile("|".join([rf"\b(?:{at_word})", *others]), re.IGNORECASE)


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
        self._finder: LanguageFinder | None = None
        if settings.language:
            from datasets_prep.language import LanguageFinder

            self._finder = LanguageFinder(settings.language.keep)
        self._promotion = _lexicon(
            "promotion.yaml", settings.promotion_phrases, "filter.promotion_phrases"
        )
        self._toxic = _lexicon("toxic.yaml", settings.toxic_phrases, "filter.toxic_phrases")

    def __call__(self, conversation: Conversation, ledger: Ledger) -> bool:
        """Filter one conversation in place; False when the row is dropped."""
        messages = conversation.messages
        rejected = messages.pop() if messages and messages[-1].role == "rejected" else None
        chosen = messages[-1] if messages else None
        reason = self._reason_to_drop(conversation, ledger)
        if rejected:
            if reason is None and conversation.messages[-1:] != [chosen]:
                # Else an earlier answer would stand against the rejected one.
                reason = "the chosen answer was cut"
            conversation.messages.append(rejected)
            if reason is None and word_count(rejected.content) == 0:
                reason = "the rejected answer is empty"
        if reason:
            ledger.dropped(conversation, reason)
        return reason is None

    def _reason_to_drop(self, conversation: Conversation, ledger: Ledger) -> str | None:
        settings = self.settings
        spoiled: dict[int, str] = {}
        # An answer that KTO's label turns down is bad on purpose.
        wanted = conversation.label is not False
        if settings.toxicity and wanted:
            for turn, message in enumerate(conversation.messages):
                if message.role != "assistant" or not self._may_be_toxic(message.content):
                    continue
                match = self._toxic_in(message.content)
                if match:
                    spoiled[turn] = f"toxic assistant turn: '{match.group()}'"
        if settings.language:
            reason = self._language(conversation, spoiled, ledger)
            if reason:
                return reason
        if wanted:
            self._residue(conversation, ledger)
        if settings.promotion != "off" and wanted:
            reason = self._promote(conversation, spoiled, ledger)
            if reason:
                return reason
        spoiled = _without_hollow(conversation, spoiled, ledger)
        reason = self._length(conversation, spoiled, ledger)
        if reason is None and wanted and settings.crisis_without_help == "drop":
            reason = _crisis_without_help(conversation)
        return reason

    def _may_be_toxic(self, text: str) -> bool:
        """A quick look for a word that stands in every phrase of the lexicon."""
        if self.settings.toxic_phrases:
            return True
        lower = text.lower()
        return holds_any(lower, TOXIC_WORDS)

    def _language(
        self, conversation: Conversation, spoiled: dict[int, str], ledger: Ledger
    ) -> str | None:
        rule, finder = self.settings.language, self._finder
        assert rule is not False and finder is not None
        spans: list[Span] = []
        for turn, message in enumerate(conversation.messages):
            if message.role in ("system", "tool") or is_json(message.content):
                continue
            parts = finder.segments(message.content)
            foreign = [part for part in parts if not part.kept]
            text = message.content
            said = [p for p in foreign if not self._is_a_line(text[p.start : p.end])]
            if len(foreign) < len(parts) or not said:
                # "Brasil: CVV 188." in a list of lines for many countries, or nothing but lines.
                foreign = said
            if not foreign:
                continue
            how = "" if len(foreign) == len(parts) else "partly "
            reason = f"{message.role} turn is {how}not in '{rule.keep}'"
            if rule.mixed == "drop":
                return reason
            if not how:
                slip = word_count(message.content) < _SLIP and not finder.other_script(
                    message.content
                )
                if slip and (len(conversation.messages) > 2 or words_asked_for(conversation, turn)):
                    # Within a talk in the kept language: few words are a detector's slip.
                    continue
                spoiled.setdefault(turn, reason)
                continue
            if is_about_language(conversation, turn):
                continue
            spans += _cut(message, turn, [(part.start, part.end) for part in foreign])
        ledger.changed(conversation.id, f"sentence not in '{rule.keep}' removed", spans)
        return None

    def _is_a_line(self, sentence: str) -> bool:
        """Whether a sentence gives a line of crisis help, and says little else."""
        if names_help(sentence):
            return True
        short = word_count(sentence) <= _LINE_WORDS
        return short and names_crisis_line(sentence, self._crisis_lines)

    def _residue(self, conversation: Conversation, ledger: Ledger) -> None:
        found: dict[str, list[Span]] = {}
        for turn, message in enumerate(conversation.messages):
            if message.role != "assistant" or not has_placeholder(message.content):
                continue
            if is_json(message.content):
                continue
            if self.settings.signatures:
                found.setdefault("greeting by name", []).extend(without_greeting(message, turn))
                found.setdefault("signature", []).extend(without_signature(message, turn))
            if self.settings.dead_links:
                gone, cut = without_dead_links(message, turn, self._crisis_lines)
                found.setdefault("sentence that only points to a masked link", []).extend(gone)
                found.setdefault("masked link", []).extend(cut)
        for what, spans in found.items():
            ledger.changed(conversation.id, f"{what} removed", spans)

    def _promotes(self, text: str) -> bool:
        if self.settings.promotion_phrases:
            return search(self._promotion, text, "filter.promotion_phrases") is not None
        # Phrases of our own need no guard, and most texts no look for them.
        lower = text.lower()
        return holds_any(lower, PROMOTION_WORDS) and bool(self._promotion.search(text))

    def _toxic_in(self, text: str) -> re.Match[str] | None:
        if self.settings.toxic_phrases:
            return search(self._toxic, text, "filter.toxic_phrases")
        return self._toxic.search(text)

    def _promote(
        self, conversation: Conversation, spoiled: dict[int, str], ledger: Ledger
    ) -> str | None:
        spans: list[Span] = []
        for turn, message in enumerate(conversation.messages):
            if message.role != "assistant" or not self._promotes(message.content):
                continue
            if self.settings.promotion == "drop":
                return "promotion"
            spans += _cut(message, turn, self._promoting(message.content))
            if not message.content:
                spoiled.setdefault(turn, "promotion and nothing else")
        ledger.changed(conversation.id, "promotion removed", spans)
        return None

    def _promoting(self, text: str) -> list[tuple[int, int]]:
        """Sentences that advertise, and those behind them that hang on them."""
        lines = self._crisis_lines
        bad: list[tuple[int, int]] = []
        kept = ""
        for start, end in sentences(text):
            said = text[start:end]
            if self._promotes(said):
                goes = not names_help(said) and not names_crisis_line(said, lines)
            else:
                goes = bool(bad) and bad[-1][1] == start and hangs_on_what_went(said, kept, lines)
            if goes:
                bad.append((start, end))
            else:
                kept += said
        return bad

    def _length(
        self, conversation: Conversation, spoiled: dict[int, str], ledger: Ledger
    ) -> str | None:
        settings = self.settings
        openings: dict[int, str] = {}
        called = {turn for turn, m in enumerate(conversation.messages) if m.calls}
        answers = [
            settings.min_answer_words if m.calls else word_count(m.content)
            for m in conversation.messages
            if m.role == "assistant"
        ]
        # "Okay." within a conversation is how people talk; as all that was answered it is nothing.
        short = max(answers, default=0) < settings.min_answer_words
        for turn, message in enumerate(conversation.messages):
            words = word_count(message.content)
            reason = f"{message.role} turn of {words} words"
            empty = short or not says_something(message.content)
            if message.role == "assistant" and turn not in called and empty:
                spoiled.setdefault(turn, reason)
            elif message.role == "user" and words < settings.min_question_words:
                openings[turn] = reason
        reason_to_drop = self._cut_spoiled(conversation, spoiled, openings, ledger)
        if reason_to_drop:
            return reason_to_drop
        total = sum(word_count(message.content) for message in conversation.messages)
        if settings.max_words and total > settings.max_words:
            return f"{total} words, more than {settings.max_words}"
        return None

    def _cut_spoiled(
        self,
        conversation: Conversation,
        spoiled: dict[int, str],
        openings: dict[int, str],
        ledger: Ledger,
    ) -> str | None:
        """Keep the longest stretch of exchanges without a spoiled turn.

        Args:
            conversation: changed in place.
            spoiled: reasons by turn.
            openings: as ``spoiled``, for user turns that say too little to begin with, and are
                ordinary further on.
            ledger: gets a line for what was cut.

        Returns:
            Why the row is dropped: nothing is left of it, or the settings want whole rows only.
        """
        messages = conversation.messages
        head = int(bool(messages) and messages[0].role == "system")
        first = min({*spoiled, *(turn for turn in openings if turn == head)}, default=None)
        if first is None:
            return None
        reason = {**openings, **spoiled}[first]
        if conversation.uses_tools() or conversation.label is not None:
            # Exchanges can't be told apart there, or the label is the whole talk's.
            return reason
        best = range(head, head)
        start = head
        for turn in range(head, len(messages) - 1, 2):
            if turn in spoiled or turn + 1 in spoiled or (turn == start and turn in openings):
                start = turn + 2
            elif turn + 2 - start > len(best):
                best = range(start, turn + 2)
        if self.settings.spoiled_exchange == "drop_row" or not best:
            return reason
        gone = [i for i in range(head, len(messages)) if i not in best]
        spans = [Span(i, 0, messages[i].content, "") for i in gone]
        ledger.changed(conversation.id, f"cut to its longest good stretch: {reason}", spans)
        conversation.messages = messages[:head] + [messages[i] for i in best]
        return None


def _without_hollow(
    conversation: Conversation, spoiled: dict[int, str], ledger: Ledger
) -> dict[int, str]:
    """Leave out exchanges of a longer talk whose answer was nothing but a masked link.

    The talk around "What is its number?" goes on without it.

    Returns:
        ``spoiled`` by the turns that are left.
    """
    messages = conversation.messages
    if conversation.uses_tools() or conversation.label is not None:
        return spoiled
    hollow = [
        turn
        for turn, (asked, said) in enumerate(pairwise(messages), 1)
        if asked.role == "user" and said.role == "assistant" and turn not in spoiled
        if not said.calls and not said.content.strip()
    ]
    gone = {index for turn in hollow for index in (turn - 1, turn)}
    left = [index for index in range(len(messages)) if index not in gone]
    if not hollow or not any(messages[index].role == "assistant" for index in left):
        return spoiled
    spans = [Span(index, 0, messages[index].content, "") for index in sorted(gone)]
    ledger.changed(conversation.id, "exchange whose answer was only a masked link removed", spans)
    conversation.messages = [messages[index] for index in left]
    return {left.index(turn): why for turn, why in spoiled.items() if turn in left}


def _crisis_without_help(conversation: Conversation) -> str | None:
    """Why a row is dropped: a life may be at risk, and no answer from there on names a person."""
    messages = conversation.messages
    helps = [m.role == "assistant" and bool(human_help_in(m.content)) for m in messages]
    for turn, message in enumerate(messages):
        # Help first: it is quicker to find, and most answers name somebody.
        if message.role != "user" or any(helps[turn:]):
            continue
        sign = detect_crisis(message.content)
        if sign is not None:
            # The card groups reasons by what stands outside their quotation marks.
            phrase = sign.phrase.replace("'", "\u2019")
            return f"crisis ('{phrase}'), and the answer names no human help"
    return None


def _cut(message: Message, turn: int, pieces: list[tuple[int, int]]) -> list[Span]:
    """Take pieces out of a turn, but those that hold code, and close the gaps."""
    text = message.content
    code = code_spans(text)
    pieces = [piece for piece in pieces if not overlaps(piece, code)]
    spans = [Span(turn, start, text[start:end], "") for start, end in pieces]
    for start, end in reversed(pieces):
        tail = text[end:]
        # The gap before a cut sentence stays; a cut at a line's end keeps the line break.
        newline = "\n" if text[start:end].endswith("\n") and tail else ""
        text = joined(text[:start], newline + tail)
    message.content = text.strip()
    return spans
