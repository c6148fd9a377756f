"""Phrases that English borrowed from other languages, such as "c'est la vie"."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from datasets_prep.given_names import without_marks

_LEXICON = Path(__file__).parent / "lexicons" / "borrowed.txt"
_WORDS = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_APOSTROPHE = re.compile("['\u2019]")


@cache
def _phrases() -> tuple[frozenset[tuple[str, ...]], int]:
    """Each as its words, and how many words the longest has."""
    lines = _LEXICON.read_text(encoding="utf-8").splitlines()
    phrases = frozenset(tuple(line.split()) for line in lines if line[:1] != "#")
    return phrases, max(map(len, phrases))


def without_borrowed(sentence: str) -> str:
    """A sentence without such phrases, however their marks and capitals are written."""
    phrases, longest = _phrases()
    found = [*_WORDS.finditer(sentence)]
    words = [without_marks(_APOSTROPHE.sub("", m.group()).lower()) for m in found]
    pieces: list[str] = []
    end = at = 0
    while at < len(words):
        sizes = range(min(longest, len(words) - at), 0, -1)
        size = next((n for n in sizes if tuple(words[at : at + n]) in phrases), 0)
        if size:
            pieces.append(sentence[end : found[at].start()])
            end = found[at + size - 1].end()
        at += size or 1
    return " ".join([*pieces, sentence[end:]]) if pieces else sentence
