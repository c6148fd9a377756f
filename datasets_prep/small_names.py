"""Names in lower case, as people write in chats: where nothing but a name can stand."""

from __future__ import annotations

import re
from collections.abc import Iterator

from datasets_prep.given_names import COMMON, USUAL
from datasets_prep.name_context import HERBS, OF_FOOD, is_medicine
from datasets_prep.name_lists import (
    ALSO_WORDS,
    CITIES,
    GIVEN_NAMES,
    MEDICINES,
    NOT_NAMES,
    PLACES,
    is_given,
)
from datasets_prep.name_rules import DONE_TO, RELATIONS
from datasets_prep.public_words import EVERYWHERE
from datasets_prep.words import holds_any

_WORD = r"[a-z\u00df-\u017e]{3,}(?:-[a-z]{2,})?"
# A word of whatever kind stands there as a name.
_SAID = re.compile(
    rf"\b(?:my|his|her|their) (?:\w+ )?name(?:'s|\u2019s| is| was)? ({_WORD})"
    r"(?=[.,!?;]|\s*\n|\s*\Z| (?:and|but|from|i|im|i'm)\b"
    # A surname and no more.
    r"| [a-z\u00df-\u017e]{4,}(?:[.,!?;]|\s*\n|\s*\Z))",
    re.IGNORECASE,
)
_TITLED = re.compile(
    r"(?<![\w.])(?<!\bmy )(?<!\bthe )(?<!\ba )(?<!\byour )(?<!\bher )(?<!\bhis )"
    rf"(?:dr|mr|mrs|ms|prof)\.? ({_WORD})(?![\w-])"
)
# A word that is a given name, and no word besides.
_GIVEN = (
    re.compile(
        rf"\b(?:my|his|her|our) (?:\w+ )?(?:{RELATIONS}),? ({_WORD})(?![\w'\u2019-])",
        re.IGNORECASE,
    ),
    re.compile(
        rf"(?:\A|(?<=\n))(?:hi|hello|hey|dear|thanks|thank you),? ({_WORD})(?=[,.!?]|\s*\n)"
    ),
    re.compile(rf"\b(?:call me|called|named|i am|i'm|im|this is) ({_WORD})(?=[.,!]|\s*\n|\s*\Z)"),
    re.compile(
        rf"(?<=[a-z,] )({_WORD})(?= (?:told me|said that|texted me|called me|hit me|left me|and i "
        r"(?:are|were|have|had|broke|met|got|live|went)))"
    ),
)
# Given names that are verbs and adjectives in small letters.
_WORDS = frozenset(["tore", "bit", "dug", "ran", "said", "sang", "keen", "even", "her", "the"])


_SMALL = re.compile(r"\b[a-z\u00df-\u017e]{3,}(?![\w'\u2019])")
_TITLES = ("dr ", "dr.", "mr ", "mr.", "mrs ", "mrs.", "ms ", "ms.", "prof ", "prof.")
_NO_NAMES = COMMON | NOT_NAMES | MEDICINES | _WORDS
# What is a given name, and no word besides.
_ONLY_NAMES = frozenset(filter(is_given, GIVEN_NAMES)) - _NO_NAMES - ALSO_WORDS - EVERYWHERE


# Who writes no capitals names people so too. Only names that most people have, and no place's.
_USUAL = frozenset(
    name
    for name in USUAL & _ONLY_NAMES
    if len(name) > 3 and name not in PLACES and name not in CITIES and name not in HERBS
)
_HERBAL = USUAL & HERBS
_FAMILY = re.compile(
    r"(?<![\w'])(?:auntie|aunty|uncle|grandpa|grandma|granny|nana|nan) ([a-z]{3,})(?![\w'-])"
)


_DONE = re.compile(rf"\b(?:{'|'.join(DONE_TO)}) ({_WORD})(?![\w'-])")


def _is_somebody(text: str, match: re.Match[str]) -> bool:
    name = match.group()
    if name in _HERBAL:
        return not OF_FOOD.search(text)
    return name in _USUAL and not is_medicine(text, *match.span())


def small_names(text: str) -> list[tuple[int, int]]:
    """Spans of names in lower case."""
    spans: list[tuple[int, int]] = []
    # Most texts hold none of these, which is seen ten times as fast.
    for rule, hints in ((_SAID, ("name", "Name")), (_TITLED, _TITLES)):
        if holds_any(text, hints):
            spans += [_whole(text, *m.span(1)) for m in rule.finditer(text) if not _is_word(m[1])]
    if text.islower() and text.isascii():
        spans += [_whole(text, *m.span()) for m in _SMALL.finditer(text) if _is_somebody(text, m)]
        spans += [m.span(1) for m in _FAMILY.finditer(text) if not _is_word(m[1])]
        spans += [m.span(1) for m in _DONE.finditer(text) if m[1] in _ONLY_NAMES - PLACES]
    if not _ONLY_NAMES.isdisjoint(_SMALL.findall(text)):
        spans += [
            match.span(1)
            for rule in _GIVEN
            for match in rule.finditer(text)
            if match[1] in _ONLY_NAMES or match[1].split("-")[0] in _ONLY_NAMES
        ]
    return spans


def _whole(text: str, start: int, end: int) -> tuple[int, int]:
    """A name with the surname behind it, which is no word of English in any form."""
    match = _SURNAME.match(text, end)
    if match is None or any(form in _NO_NAMES or form in _CHAT for form in _forms(match[2])):
        return start, end
    return start, match.end()


# Before what ends a name: a word that is spelt wrong has the rest of its sentence behind it.
_SURNAME = re.compile(
    r" (?!\w*(\w)\1\1)([a-z\u00df-\u017e]{4,})(?=[.,!?;]|\s*\n|\s*\Z| (?:and|in|is|was|at|from)\b)"
)
_CHAT = frozenset(
    "lmao haha hahaha gonna wanna gotta dunno kinda sorta yeah omfg tmrw bday alot rofl".split()  # noqa: SIM905
)


def _forms(word: str) -> Iterator[str]:
    yield word
    for ending in ("s", "es", "ed", "d", "ing", "ly", "y", "er"):
        stem = word.removesuffix(ending)
        if stem != word:
            yield from (stem, stem + "e", stem[:-1])


def _is_word(word: str) -> bool:
    """Whether a word that stands as a name is one of English all the same: "my name is known"."""
    return not word.islower() or word in _NO_NAMES
