"""Words of a text, in scripts that have no spaces too."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

# Han, kana, Thai, Lao, Tibetan, Myanmar, Khmer: words have no space between them, so that each
# character counts (about one and a half make a word of Chinese). Hangul has spaces.
UNSPACED = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
)
# Marks above and below letters belong to the letter before.
_MARKS = (
    "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u17b6-\u17d3"
)
_CHARACTER = rf"[{UNSPACED}][{_MARKS}]*"
TOKEN = re.compile(rf"{_CHARACTER}|(?:(?![{UNSPACED}])\w)+(?:['\u2019](?:(?![{UNSPACED}])\w)+)?")
_HAS_UNSPACED = re.compile(f"[{UNSPACED}]")
_SPACED = re.compile(r"\w+(?:['\u2019]\w+)?")
_PIECES = re.compile(rf"(?:{_CHARACTER})+|(?:(?![{UNSPACED}])\w)+")
_CHARACTERS = re.compile(_CHARACTER)


@lru_cache(maxsize=256)
def word_count(text: str) -> int:
    """Words of a text, or characters where words have no spaces; punctuation and emoji are none.

    Several steps ask for it while they work on one text.
    """
    if text.isascii() or not _HAS_UNSPACED.search(text):
        return len(_SPACED.findall(text))
    return len(TOKEN.findall(text))


# Pictures, which are all that a turn of a talk may hold: arrows and letters in circles are none.
_EMOJI = re.compile(
    "[\u203c\u2049\u231a-\u23ff\u2600-\u27bf\u2b1b-\u2b55\U0001f000-\U0001faff]|[:;]-?[()DPp/]"
)


def says_something(text: str) -> bool:
    """Whether a text holds a word or, as people answer in messengers, an emoji."""
    return word_count(text) > 0 or _EMOJI.search(text) is not None


def holds_any(text: str, words: tuple[str, ...]) -> bool:
    """Whether one of some texts stands in another: a loop, as it runs for every row."""
    for word in words:  # noqa: SIM110
        if word in text:
            return True
    return False


def has_unspaced(text: str) -> bool:
    """Whether a text holds characters of a script without spaces between words."""
    return not text.isascii() and _HAS_UNSPACED.search(text) is not None


def tokens(text: str) -> list[str]:
    """The words of a text, to compare it with others.

    Where words have no spaces: pairs of characters, the least that tells Chinese texts apart; a
    lone character is a token of its own.
    """
    if text.isascii() or not _HAS_UNSPACED.search(text):
        return re.findall(r"\w+", text)
    found: list[str] = []
    for piece in _PIECES.findall(text):
        characters = _CHARACTERS.findall(piece)
        if "".join(characters) != piece or len(characters) < 2:
            found.append(piece)
        else:
            found += [a + b for a, b in pairwise(characters)]
    return found
