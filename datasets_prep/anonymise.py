"""Anonymise: personal data becomes placeholders; one person, one placeholder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from datasets_prep.code import code_spans, overlaps
from datasets_prep.conversation import Conversation, Ledger, Span
from datasets_prep.names import AuthorNames, NameFinder, Placeholders, RuleNames
from datasets_prep.patterns import (
    EMAIL,
    PLACEHOLDER,
    URL,
    may_hold_email,
    may_hold_url,
    url_span,
)
from datasets_prep.phones import check_regions, crisis_numbers, digits_of, find_phones
from datasets_prep.settings import AnonymiseSettings

_HANDLE = re.compile(
    r"(?<![\w@/.])@[A-Za-z_][A-Za-z0-9_.]{1,29}(?<!\.)|(?<![\w/])/?u/[A-Za-z0-9_-]{3,20}\b"
    r"|(?:(?<=instagram: )|(?<=snapchat: )|(?<=twitter: )|(?<=skype: )|(?<=discord: )|(?<=kik: ))"
    r"\w{3,30}",
    re.IGNORECASE,
)
_STREETS = (
    "Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Way|Place|Pl|Terrace|"
    "Square|Sq|Parkway|Pkwy|Highway|Hwy|Circle|Cir|Close|Crescent|Gardens|Grove|Mews|Row|Trail|Walk"
)
_ADDRESS = re.compile(
    r"\b\d{1,5}[A-Za-z]?,? (?:[NSEW]\.? |North |South |East |West )?"
    rf"(?:[A-Z0-9][\w.'\u2019-]* ){{1,4}}(?:{_STREETS})\b\.?"
    r"(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Flat|#)\.? ?#?\w+)?"
    r"(?:,? [A-Z][a-z]+(?: [A-Z][a-z]+){0,2})?(?:,? [A-Z]{2}\b)?(?:,? \d{5}(?:-\d{4})?\b)?"
    r"(?:,? [A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}\b)?"
    r"|\bP\.? ?O\.? Box \d+(?:, [A-Z][a-z]+(?: [A-Z][a-z]+)*)?(?:,? [A-Z]{2})?"
    r"(?: \d{5}(?:-\d{4})?)?"
    r"|\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b"
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
    """Finds and masks personal data as its settings say."""

    def __init__(self, settings: AnonymiseSettings) -> None:
        """Build the finders; a spaCy model is loaded here when one is wanted."""
        self.settings = settings
        check_regions(settings.phone_regions)
        self._keep_phones = crisis_numbers() | {digits_of(n) for n in settings.keep_phones}
        keep_names = frozenset(name.lower() for name in settings.keep_names)
        self._finders: list[NameFinder] = []
        if settings.names != "off":
            self._finders.append(RuleNames(keep_names))
        if settings.names == "spacy":
            from datasets_prep.ner import SpacyNames

            self._finders.append(SpacyNames(settings.ner_model, keep_names))

    def __call__(self, conversation: Conversation, ledger: Ledger) -> bool:
        """Mask every turn in place; each kind of data is one ledger line for the row."""
        finders = list(self._finders)
        if finders and conversation.authors:
            finders.append(_author_names(conversation.authors))
        people = Placeholders()
        spans: dict[str, list[Span]] = {}
        for turn, message in enumerate(conversation.messages):
            text = message.content
            pieces: list[str] = []
            end = 0
            for finding in self.find(text, finders):
                before = text[finding.start : finding.end]
                after = people.of(before) if finding.kind == "NAME" else f"[{finding.kind}]"
                pieces += [text[end : finding.start], after]
                end = finding.end
                kind = f"{finding.kind.lower()} masked"
                spans.setdefault(kind, []).append(Span(turn, finding.start, before, after))
            message.content = "".join(pieces) + text[end:]
        for reason, found in spans.items():
            ledger.changed(conversation.id, reason, found)
        return True

    def find(self, text: str, finders: list[NameFinder] | None = None) -> list[Finding]:
        """All personal data of a text, in order, not overlapping.

        Where two findings overlap, the kind that is listed first wins: an email holds no handle.
        """
        settings = self.settings
        found: list[Finding] = []
        lower = text.lower()
        if settings.emails and may_hold_email(lower):
            found += [Finding("EMAIL", *m.span()) for m in EMAIL.finditer(text)]
        if settings.urls and may_hold_url(lower):
            found += [Finding("URL", *url_span(m)) for m in URL.finditer(text)]
        if settings.phones:
            phones = find_phones(text, settings.phone_regions, self._keep_phones)
            found += [Finding("PHONE", start, end) for start, end in phones]
        if settings.handles and ("@" in text or "u/" in lower or ": " in text):
            found += [Finding("HANDLE", *m.span()) for m in _HANDLE.finditer(text)]
        if settings.addresses:
            found += [Finding("ADDRESS", *m.span()) for m in _ADDRESS.finditer(text)]
        for finder in self._finders if finders is None else finders:
            found += [Finding("NAME", span.start, span.end) for span in finder.find(text)]
        code = code_spans(text)
        if code:
            # An address in a piece of code is a part of the program, and "@property" a decorator.
            found = [f for f in found if not overlaps((f.start, f.end), code)]
        guarded = [m.span() for m in PLACEHOLDER.finditer(text)]
        return _without_overlaps(text, found, guarded)


_PRIORITY = {"EMAIL": 0, "URL": 1, "PHONE": 2, "ADDRESS": 3, "HANDLE": 4, "NAME": 5}


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
