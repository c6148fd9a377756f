"""Anonymise: personal data becomes placeholders; one person, one placeholder."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from datasets_prep import identifiers
from datasets_prep.addresses import find_addresses
from datasets_prep.code import code_spans, overlaps
from datasets_prep.conversation import Conversation, Ledger, Span
from datasets_prep.crisis_lines import (
    crisis_numbers,
    digits_of,
    is_crisis_site,
    stands_beside_help,
)
from datasets_prep.known_names import AuthorNames, SpreadNames
from datasets_prep.name_context import is_medicine
from datasets_prep.name_forms import asked_name
from datasets_prep.names import (
    ForeignNames,
    NameFinder,
    Placeholders,
    RuleNames,
    trim_name,
)
from datasets_prep.patterns import (
    EMAIL,
    PLACEHOLDER,
    URL,
    is_commanded,
    is_software,
    may_hold_email,
    may_hold_url,
    url_span,
)
from datasets_prep.phones import check_regions, find_phones
from datasets_prep.public_words import STORY
from datasets_prep.settings import AnonymiseSettings

_DIGIT = re.compile(r"\d")
_HANDLE = re.compile(
    r"(?<![\w@/.])@[A-Za-z_][A-Za-z0-9_.-]{1,29}(?<![.-])(?![\w=])"
    # "6000 U/day" is a dose.
    r"|(?<![\w/])(?<!\d )/?u/(?!(?:day|min|hour|week|dose|vial)s?\b)[A-Za-z0-9_-]{3,20}\b"
    # People by their number, as exports of Discord and of Twitter write them.
    r"|<@!?\d{15,20}>|(?:(?<=^)|(?<=\s))@\d{5,20}(?![\w.,])"
    r"|(?:(?<=instagram: )|(?<=snapchat: )|(?<=twitter: )|(?<=skype: )|(?<=discord: )|(?<=kik: ))"
    r"\w{3,30}",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Finding:
    """One piece of personal data: its kind, and where it stands."""

    kind: str
    start: int
    end: int


# Authors of answers write many of them, and their patterns take longer to build than to use.
_author_names = lru_cache(maxsize=4096)(AuthorNames)


class Anonymiser:
    """Finds and masks personal data as its settings say.

    Args:
        settings: the kinds, and how names are found.
        language: ISO code of the language that the filter keeps.
    """

    def __init__(self, settings: AnonymiseSettings, language: str = "en") -> None:
        """Build the finders; a spaCy model is loaded here when one is wanted."""
        self.settings = settings
        self._english = language == "en"
        check_regions(settings.phone_regions)
        self._keep_phones = crisis_numbers() | {digits_of(n) for n in settings.keep_phones}
        self._keep_names = frozenset(name.lower() for name in settings.keep_names)
        self._finders: list[NameFinder] = []
        self._foreign: list[NameFinder] = []
        self._told = RuleNames(self._keep_names, told=True)
        if settings.names != "off":
            self._finders.append(RuleNames(self._keep_names))
            self._foreign.append(ForeignNames(self._keep_names))
        if settings.names == "spacy":
            from datasets_prep.ner import SpacyNames

            model = SpacyNames(settings.ner_model, self._keep_names)
            self._finders.append(model)
            self._foreign.append(model)

    def __call__(self, conversation: Conversation, ledger: Ledger) -> bool:
        """Mask every turn in place; each kind of data is one ledger line for the row."""
        messages = conversation.messages
        finders = list(self._of_language("\n".join(m.content for m in messages)))
        if finders and conversation.authors:
            finders.append(_author_names(conversation.authors))
        raw = [self._all(message.content, finders) for message in messages]
        if self._finders:
            # "What's your name?" in one turn, and nothing but a name in the next.
            for of_turn, question, reply in zip(raw[1:], messages, messages[1:], strict=False):
                asked = asked_name(question.content, reply.content)
                trimmed = [trim_name(reply.content, *span, self._keep_names) for span in asked]
                of_turn += [Finding("NAME", s.start, s.end) for s in trimmed if s]
        named = any(finding.kind == "NAME" for found in raw for finding in found)
        if named and any(m.role == "user" and STORY.search(m.content) for m in messages):
            by_role: dict[str, list[NameFinder]] = {"user": [self._told], "assistant": []}
            raw = [self._all(m.content, by_role.get(m.role, finders)) for m in messages]
        pairs = list(zip(messages, raw, strict=True))
        found = [_settled(message.content, all_found) for message, all_found in pairs]
        names = {
            message.content[f.start : f.end]
            for message, findings in zip(messages, found, strict=True)
            for f in findings
            if f.kind == "NAME"
        }
        # Code stays as it is: what its data hold stays in what is said about them too.
        # So does a medicine, which is dosed in one place and named in others.
        data = {
            m.content[f.start : f.end]
            for m, spans in zip(messages, found, strict=True)
            for f in spans
        }
        shown = {text for text in data if any(_in_code(text, m.content) for m in messages)}
        shown |= {
            name for name in names - shown if any(_is_dosed(name, m.content) for m in messages)
        }
        if shown:
            names -= shown
            pairs = [
                (m, [f for f in all_found if m.content[f.start : f.end] not in shown])
                for m, all_found in pairs
            ]
            found = [_settled(message.content, all_found) for message, all_found in pairs]
        if names:
            # Who is masked in one place is masked in every other.
            spread = SpreadNames(names)
            found = [
                _settled(m.content, all_found + _names(spread, m.content)) for m, all_found in pairs
            ]
        people = Placeholders()
        spans: dict[str, list[Span]] = {}
        for turn, (message, findings) in enumerate(zip(messages, found, strict=True)):
            text = message.content
            pieces: list[str] = []
            end = 0
            for finding in findings:
                before = text[finding.start : finding.end]
                after = people.of(before) if finding.kind == "NAME" else f"[{finding.kind}]"
                pieces += [text[end : finding.start], after]
                end = finding.end
                kind = f"{finding.kind.lower()} masked"
                spans.setdefault(kind, []).append(Span(turn, finding.start, before, after))
            message.content = "".join(pieces) + text[end:]
        for reason, changes in spans.items():
            ledger.changed(conversation.id, reason, changes)
        return True

    def find(self, text: str, finders: list[NameFinder] | None = None) -> list[Finding]:
        """All personal data of a text, in order, not overlapping.

        Where two findings overlap, the kind that is listed first wins: an email holds no handle.
        Crisis help stays, and so does what stands in code.
        """
        finders = self._of_language(text) if finders is None else finders
        return _settled(text, self._all(text, finders))

    def _of_language(self, text: str) -> list[NameFinder]:
        """What finds names in a text: the rules for English, or those for what is none."""
        if not self._finders:
            return []
        from datasets_prep.language import is_foreign_latin, main_language

        if self._english:
            return self._foreign if is_foreign_latin(text) else self._finders
        # Of a set in another language, only what is English as a whole goes by English rules: those
        # would take every noun of German for a name.
        return self._finders if main_language(text) == "en" else self._foreign

    def _all(self, text: str, finders: Sequence[NameFinder]) -> list[Finding]:
        """Everything that any finder finds, overlaps and code too."""
        found = self._addresses_of_the_net(text)
        if _DIGIT.search(text):
            found += self._numbers(text)
        for finder in finders:
            found += _names(finder, text)
        return found

    def _addresses_of_the_net(self, text: str) -> list[Finding]:
        settings = self.settings
        lower = text.lower()
        found: list[Finding] = []
        if settings.emails and may_hold_email(lower):
            found += [Finding("EMAIL", *m.span()) for m in EMAIL.finditer(text)]
        if settings.urls and may_hold_url(lower):
            found += [Finding("URL", *url_span(m)) for m in URL.finditer(text)]
        found = [
            f
            for f in found
            if not is_crisis_site(text[f.start : f.end])
            and not is_software(text[f.start : f.end])
            and not is_commanded(text, f.start)
            and not stands_beside_help(text, f.start, f.end)
        ]
        if settings.handles and ("@" in text or "u/" in lower or ": " in text):
            kept = [m.span() for m in URL.finditer(text)] if "u/" in lower else []
            handles = [m.span() for m in _HANDLE.finditer(text)]
            found += [Finding("HANDLE", *span) for span in handles if not overlaps(span, kept)]
        return found

    def _numbers(self, text: str) -> list[Finding]:
        settings = self.settings
        found: list[Finding] = []
        finders: tuple[tuple[bool, str, Callable[[str], list[tuple[int, int]]]], ...] = (
            (settings.cards, "CARD", identifiers.find_cards),
            (settings.ssns, "SSN", identifiers.find_ssns),
            (settings.ibans, "IBAN", identifiers.find_ibans),
            (settings.ip_addresses, "IP", identifiers.find_ips),
        )
        for wanted, kind, find in finders:
            if wanted:
                found += [Finding(kind, *span) for span in find(text)]
        if settings.phones:
            phones = find_phones(text, settings.phone_regions, self._keep_phones)
            found += [Finding("PHONE", start, end) for start, end in phones]
        if settings.addresses:
            found += [Finding("ADDRESS", *span) for span in find_addresses(text)]
        return found


_PRIORITY = {
    kind: rank
    for rank, kind in enumerate(
        ("EMAIL", "URL", "IBAN", "CARD", "SSN", "IP", "PHONE", "ADDRESS", "HANDLE", "NAME")
    )
}


def _names(finder: NameFinder, text: str) -> list[Finding]:
    return [Finding("NAME", span.start, span.end) for span in finder.find(text)]


def _in_code(found: str, text: str) -> bool:
    """Whether what was found stands in a text's code."""
    return found in text and any(found in text[slice(*span)] for span in code_spans(text))


def _is_dosed(name: str, text: str) -> bool:
    """Whether a name is a medicine's somewhere in a text."""
    return name in text and any(
        is_medicine(text, *match.span()) for match in re.finditer(rf"\b{re.escape(name)}\b", text)
    )


def _settled(text: str, found: list[Finding]) -> list[Finding]:
    """What is masked of all that was found."""
    if not found:
        return []
    code = code_spans(text)
    if code:
        # An address in a piece of code is a part of the program, and "@property" a decorator.
        found = [f for f in found if not overlaps((f.start, f.end), code)]
    guarded = [m.span() for m in PLACEHOLDER.finditer(text)]
    return _without_overlaps(text, found, guarded)


def _without_overlaps(
    text: str, found: list[Finding], guarded: list[tuple[int, int]]
) -> list[Finding]:
    taken: list[tuple[int, int]] = list(guarded)
    kept: list[Finding] = []
    for finding in sorted(found, key=lambda f: (_PRIORITY[f.kind], f.start - f.end, f.start)):
        start, end = finding.start, finding.end
        # A name that runs into something else ("Ann Chowwww.host.org") ends there.
        end = min([end, *(s for s, e in taken if start < e and s < end)])
        if end < finding.end:
            end = start + len(text[start:end].rstrip()) if finding.kind == "NAME" else start
        if start < end:
            taken.append((start, end))
            kept.append(Finding(finding.kind, start, end))
    return sorted(kept, key=lambda f: f.start)
