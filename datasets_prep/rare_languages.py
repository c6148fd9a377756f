"""Languages that the detectors hardly know, told by their commonest words.

fastText's small model gives a sentence of Swahili a tenth for Malay and a tenth for English, and so
says nothing; lingua is asked about those alone that fastText names.
"""

from __future__ import annotations

import re
from pathlib import Path

_LEXICON = Path(__file__).parent / "lexicons" / "rare_languages.txt"
_WORDS = re.compile(r"[^\W\d_]+")
# So many words of it, and this share of all: "na" alone stands in ten languages.
_LEAST, _SHARE = 2, 0.3


def _lists() -> dict[str, frozenset[str]]:
    lines = _LEXICON.read_text(encoding="utf-8").splitlines()
    split = (line.split(":", 1) for line in lines if line[:1] != "#")
    return {code: frozenset(words.split()) for code, words in split}


_LISTS = _lists()
_ANY = frozenset().union(*_LISTS.values())


def rare_language(text: str) -> str:
    """The code of the language whose commonest words most of a text's are; empty when none."""
    words = _WORDS.findall(text.lower())
    if len(_ANY.intersection(words)) < _LEAST:
        return ""
    counts = {code: sum(map(listed.__contains__, words)) for code, listed in _LISTS.items()}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] >= max(_LEAST, _SHARE * len(words)) else ""
