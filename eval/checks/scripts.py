"""Words, phrases, questions and languages in every script."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Literal

import regex

from datasets_prep.language import LanguageFinder
from datasets_prep.sentences import sentences

# Written without spaces: a character counts as a word, and a phrase may begin anywhere.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
# A mark (a vowel sign, an accent) belongs to the letter before it, and `\w` leaves marks out.
WORD = regex.compile(
    rf"[{_UNSPACED}]\p{{M}}*|(?:(?![{_UNSPACED}])[\p{{L}}\p{{N}}]\p{{M}}*)+"
    rf"(?:['\u2019](?:(?![{_UNSPACED}])[\p{{L}}\p{{N}}]\p{{M}}*)+)*"
)
_STARTS_UNSPACED = regex.compile(rf"[{_UNSPACED}]")
# Articles, "and" and prepositions that Arabic and Hebrew write onto the word.
_PROCLITICS = {
    "Arabic": "(?:[\u0648\u0641]?[\u0628\u0643\u0644]?(?:\u0627\u0644|\u0644\u0644)?)",
    "Hebrew": "[\u05d5\u05d4\u05d1\u05dc\u05de\u05e9\u05db]{0,3}",
}
# ? and its sisters: full width, Arabic, Armenian, Ethiopic, Vai, Coptic, doubled, reversed.
_MARKS = "?\uff1f\u061f\u055e\u1367\ua60f\u2cfa\u2cfb\u2047\u2048\u2049\u2e2e\ufe56\u037e"
_ENDS = ".!\u3002\uff01\uff0e\u0964\u0965\u06d4\u1362"
_QUOTES = "\"'\u201d\u2019\u00bb\u300d\u300f)\uff09"
_THAI = (
    "\u0e44\u0e2b\u0e21|\u0e21\u0e31\u0e49\u0e22|"
    "\u0e2b\u0e23\u0e37\u0e2d\u0e40\u0e1b\u0e25\u0e48\u0e32"
)
_THAI_POLITE = "\u0e04\u0e23\u0e31\u0e1a|\u0e04\u0e30"
_ASKED = regex.compile(
    rf"""
    [\p{{L}}\p{{M}}\p{{N}}][{_QUOTES}]*\s*[{_MARKS}]            # after a word
    | [\p{{L}}\p{{M}}]\u055e[\p{{L}}\p{{M}}]*                    # Armenian: within the word
    | \p{{Greek}}[{_QUOTES}]*\s*;                                # Greek: the semicolon
    | [\u5417\u5462\u55ce][{_QUOTES}]*\s*(?:[{_ENDS}]|$|\n)      # Chinese particles
    | \u304b[{_QUOTES}]*\s*(?:[{_ENDS}]|$|\n)                    # Japanese
    | (?:{_THAI})\s*(?:{_THAI_POLITE})?\s*(?:[{_ENDS}]|$|\n|\s)
    """,
    regex.VERBOSE,
)
Told = Literal["yes", "no", "can't tell"]


def plain(text: str) -> str:
    """One spelling of equal texts: composed, straight apostrophes, case folded."""
    return unicodedata.normalize("NFC", text).replace("\u2019", "'").casefold()


def words(text: str) -> list[str]:
    """Words, case folded; of scripts without spaces, characters."""
    return WORD.findall(plain(text))


def stands_in(phrase: str, text: str) -> bool:
    """Whether the phrase stands in the text from the start of a word (so stems match)."""
    wanted = plain(phrase)
    start = "" if _STARTS_UNSPACED.match(wanted) else r"(?<![\p{L}\p{N}\p{M}_])"
    for script, proclitics in _PROCLITICS.items():
        if regex.match(rf"\p{{{script}}}", wanted):
            start += proclitics
    return regex.search(start + regex.escape(wanted), plain(text)) is not None


def question_in(text: str) -> str | None:
    """The end of the first question, by its mark or particle; None where nothing is asked."""
    found = _ASKED.search(text)
    return text[max(0, found.start() - 40) : found.end()].strip() if found else None


def is_in_language(text: str, code: str) -> Told:
    """Whether most of a text is written in a language (ISO 639), by data prep's detector.

    ``can't tell``: no sentence is long enough, or says clearly enough, what it is.

    Raises:
        UserError: no detector knows the code.
    """
    finder = _finder(code)
    letters = {True: 0, False: 0}
    for start, end in sentences(text):
        verdict = finder.verdict(text[start:end])
        if verdict is not None:
            letters[verdict] += sum(char.isalpha() for char in text[start:end])
    if letters[True] == letters[False]:
        return "can't tell"
    return "yes" if letters[True] > letters[False] else "no"


@cache
def _finder(code: str) -> LanguageFinder:
    return LanguageFinder(code)
