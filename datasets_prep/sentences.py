"""Where sentences begin and end."""

from __future__ import annotations

import re

_SENTENCE = re.compile(r"[^.!?\n]*(?:[.!?]+[\"'\u201d\u2019)]*(?:\s+|$|(?=\u00bf))|\n+|[.!?]+|$)")

# A program broke the line in mid-sentence, far from the margin.
_WRAPPED = re.compile(r"(?<=[^\n]{40}[A-Za-z,;\"\u201d\u2019)])\n(?=[a-z])")
# A stop that ends no sentence: "Dr. Chow", "J. Roe".
_NO_END = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|vs?|[A-HJ-Z])\.\s*\Z")


def sentences(text: str) -> list[tuple[int, int]]:
    """Offsets of the sentences of a text; they cover it without gaps.

    A stop inside a word (3.5, e.g) does not end a sentence, nor does the end of a wrapped line.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _SENTENCE.finditer(text):
        if match.end() == match.start():
            continue
        closed = text[match.end() - 1].isspace() or text[match.end() : match.end() + 1] in (
            "",
            "\u00bf",
        )
        if closed and not _WRAPPED.match(text, match.end() - 1):
            spans.append((start, match.end()))
            start = match.end()
    if start < len(text):
        spans.append((start, len(text)))
    return spans


def whole_sentences(text: str) -> list[tuple[int, int]]:
    """As `sentences`, but the stop of a title or an initial ends none."""
    spans: list[tuple[int, int]] = []
    for start, end in sentences(text):
        if spans and _NO_END.search(text, max(0, start - 8), start):
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans
