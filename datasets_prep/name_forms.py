"""Names by the form of a talk: who said what is quoted, who speaks in a script, who was asked."""

from __future__ import annotations

import re

from datasets_prep.given_names import COMMON
from datasets_prep.name_context import IN_A_PLACE
from datasets_prep.name_lists import CITIES, COUNTRIES, NOT_NAMES, PLACES, is_given
from datasets_prep.name_rules import CAPITALISED, FULL, NAME

# "..." said Hartvigsson, and "..." Hartvigsson said.
_SPEAKS = (
    r"(?:says?|said|asks|asked|whispers|whispered|replies|replied|answers|answered|shouts|shouted|"
    r"mutters|muttered|murmurs|murmured|explains|explained|sighs|sighed|yells|yelled|screamed|"
    r"laughed|wrote|adds|added|snapped|insisted|admitted|told (?:me|us|him|her|them|the))"
)
_CLOSED = r"[\"\u201d\u00bb][,.]? "
_QUOTES = (
    re.compile(rf"{_CLOSED}{_SPEAKS} ({FULL})(?=[ ,.;:!?]|$)"),
    re.compile(rf"{_CLOSED}({FULL})(?=,? {_SPEAKS}\b)"),
)
# "What's your name? Magnusson", the answer in the same text.
_ASKS = r"\b(?:name(?! of\b)|call you|speaking (?:to|with)|this is|who's there)\b[^.?!\n]{0,40}\?"
_WHOSE = re.compile(rf"{_ASKS}\s*\Z", re.IGNORECASE)
_ANSWER = (
    r"(?:(?:[Ii]t(?:'s|\u2019s| is)|[Ss]ure|[Yy]es|[Hh]i|[Hh]ello)[,.:]? |[A-Z][a-z]+: ){0,2}"
    rf"({FULL}(?: [A-Z]\. ?{NAME})?)(?=[,.!]|\s*(?:\n|\Z))"
)
_IN_TEXT = re.compile(rf"(?i:{_ASKS})\s+{_ANSWER}")
_IN_TURN = re.compile(rf"\s*{_ANSWER}")
# The lines of a script, and a list of people.
_LABEL = re.compile(rf"^({NAME})(?=: ?[\"\u201c\w])", re.MULTILINE)
_LIST = re.compile(rf"{NAME}(?:, {NAME})+,? (?:and|or|&) {NAME}(?! [A-Z])|{NAME}(?:, {NAME}){{2,}}")
# "Silvia J Rauer": an initial between two names; "Vitamin B Complex" is of words.
_INITIAL_INSIDE = re.compile(rf"\b({NAME} [A-HJ-Z]\.? {NAME})(?![\w-])")
# A second name that only surnames end so, of Eastern Europe, the Balkans, the Caucasus, the North.
_ENDING = (
    r"(?:sk[ai\u00e1\u00fd\u00ed]|ck[ai\u00e1\u00fd\u00ed]|ov\u00e1|eva|ova|(?:ov|ev)ic|i\u0107|enko|czyk|wicz|czak|escu|"
    r"sson|ssen|d\u00f3ttir|dottir|[^e]nen|idze|shvili|yants|poulos|poulou|akis|idis|idou|"
    r"o\u011flu|oglu|auskas|ait\u0117|[ia]en\u0117|zadeh|wala|walla|koski|qvist)"
)
_BY_ENDING = re.compile(
    rf"(?<!\bthe )\b({NAME} [A-Z][a-z\u00df-\u017e]{{2,}}{_ENDING})(?![\w-]| [A-Z])"
)
# Quick looks: most texts hold none.
_HAS_INITIAL = re.compile(r" [A-HJ-Z]\.? [A-Z\u00c0-\u1eff]")
_HAS_ENDING = re.compile(rf" [A-Z][a-z\u00df-\u017e]{{2,}}{_ENDING}(?!\w)")


def formed_names(text: str) -> list[tuple[int, int]]:
    """Spans of names that the form of a text gives away, whatever they are called."""
    spans: list[tuple[int, int]] = []
    if '"' in text or "\u201d" in text or "\u00bb" in text:
        spans += [m.span(1) for rule in _QUOTES for m in rule.finditer(text)]
    if "?" in text:
        spans += [m.span(1) for m in _IN_TEXT.finditer(text)]
    if "\n" in text and ":" in text:
        spans += _speakers(text)
    if _HAS_INITIAL.search(text):
        spans += [m.span(1) for m in _INITIAL_INSIDE.finditer(text)]
    if _HAS_ENDING.search(text):
        spans += [
            m.span(1)
            for m in _BY_ENDING.finditer(text)
            # "Near Bielsko Podlaski".
            if not IN_A_PLACE.search(text, max(0, m.start() - 24), m.start())
        ]
    return [span for span in spans if not any(map(_is_any_word, _words(text, span)))]


def _words(text: str, span: tuple[int, int]) -> list[str]:
    words = text[slice(*span)].split()
    return [words[0], words[-1]]


def asked_name(question: str, answer: str) -> list[tuple[int, int]]:
    """The span of a name that answers the turn before: "What's your name?", "Magnusson"."""
    if not _WHOSE.search(question[-120:].rstrip()):
        return []
    match = _IN_TURN.match(answer)
    return [match.span(1)] if match and not _is_any_word(match[1].split()[0]) else []


def listed_beside(text: str, names: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans of those who stand in a list of which the others are people: "Gaetane, Hannah and Jo".

    Args:
        text: the text.
        names: spans of people found in it.
    """
    spans: list[tuple[int, int]] = []
    if not names or "," not in text:
        return spans
    starts = {start for start, _ in names}
    for listed in _LIST.finditer(text):
        items = list(CAPITALISED.finditer(text, *listed.span()))
        people = sum(item.start() in starts or is_given(item[0].lower()) for item in items)
        if people > len(items) / 2 and any(item.start() in starts for item in items):
            spans += [item.span() for item in items if not _is_any_word(item[0])]
    return spans


def _speakers(text: str) -> list[tuple[int, int]]:
    """Who speaks in the lines of a script in which somebody has a given name."""
    labels = list(_LABEL.finditer(text))
    people = [label for label in labels if is_given(label[1].lower())]
    if len({label[1] for label in labels}) < 2 or not people:
        return []
    return [label.span(1) for label in labels if not _is_any_word(label[1])]


def _is_any_word(word: str) -> bool:
    """Whether a capitalised word is one of English, or a place's."""
    lower = word.strip(".,").lower()
    if lower in NOT_NAMES or lower in COUNTRIES:
        return True
    return not is_given(lower) and (lower in COMMON or lower in PLACES or lower in CITIES)
