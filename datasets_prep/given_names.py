"""Given names of the world, and the words that are none."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from pathlib import Path

_LEXICONS = Path(__file__).parent / "lexicons"
_FILES = ("given_names.txt", "more_names.txt", "world_names.txt", "us_names.txt")
# Letters that are no letter with a mark, and how names that hold them are spelt without.
_PLAIN = str.maketrans(
    {
        "\u0131": "i",
        "\u0142": "l",
        "\u00f8": "o",
        "\u0111": "d",
        "\u00f0": "d",
        "\u00fe": "th",
        "\u00e6": "ae",
        "\u00df": "ss",
    }
)


def _lines(file: str) -> list[str]:
    lines = (_LEXICONS / file).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def _names() -> tuple[frozenset[str], frozenset[str]]:
    everywhere: list[str] = []
    inside: list[str] = []
    for file in _FILES:
        for line in _lines(file):
            words = line.removeprefix("mid-sentence:")
            (everywhere if words == line else inside).extend(words.split())
    return frozenset(everywhere), frozenset(inside)


# Given names for any place in a sentence, and those for mid-sentence alone; lower case.
EVERYWHERE, INSIDE = _names()
# Of the first list: the names that most people have.
USUAL = frozenset(" ".join(_lines(_FILES[0])).replace("mid-sentence:", "").split())
# Words of English that are nobody's given name; lower case.
COMMON = frozenset(" ".join(_lines("common_words.txt")).split()) - EVERYWHERE - INSIDE


@lru_cache(maxsize=4096)
def without_marks(name: str) -> str:
    """A name as it is spelt without marks: "ayse" for "ay\u015fe"."""
    if name.isascii():
        return name
    split = unicodedata.normalize("NFD", name.translate(_PLAIN))
    return "".join(c for c in split if not unicodedata.combining(c))


def is_common(name: str) -> bool:
    """Whether all words of what looks like a name, but initials, are of English and no names."""
    words = [w for w in name.lower().replace("\u2019", "'").split() if len(w.strip(".")) > 1]
    return bool(words) and all(w.removesuffix("'s").strip(".,-") in COMMON for w in words)
