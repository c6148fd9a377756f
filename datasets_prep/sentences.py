"""Where sentences begin and end."""

from __future__ import annotations

import re

# Stops that need no space behind them: of Chinese, Arabic, Urdu, Hindi, Armenian, Amharic, Khmer.
_STOPS = "\u3002\uff01\uff1f\uff61\u061f\u06d4\u0964\u0965\u0589\u1362\u17d4"
_SENTENCE = re.compile(
    rf"[^.!?\n{_STOPS}]*(?:[.!?]+[\"'\u201d\u2019)]*(?:\s+|$|(?=\u00bf))|\n+|[.!?]+"
    rf"|[{_STOPS}][{_STOPS}!?.]*[\"'\u201d\u2019)\u300d\u300f\uff09]*\s*|$)"
)
_STOPPED = re.compile(rf"[{_STOPS}][^\w\s]*\Z")

# A program broke the line in mid-sentence, far from the margin.
_WRAPPED = re.compile(r"(?<=[^\n]{40}[A-Za-z,;\"\u201d\u2019)])\n(?=[a-z])")
# A stop that ends no sentence: "Dr. Chow", "J. Roe", and before a number "ext. 4412", "no. 7".
_NO_END = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|Prof|vs?|e\.g|i\.e|eg|ie|approx|incl|bzw|ca|evtl|ggf|inkl|bspw|vgl|sog|"
    # Of Arabic: Dr., Prof., Eng.
    r"mind|[zd]|[A-HJ-Z]|\u062f|\u0623|\u0623\.\u062f|\u0645)\.\s*\Z"
)
_NUMBERED = re.compile(
    r"\b(?:ext|no|nos|nr|t[e\u00e9]l|telf|\u0442\u0435\u043b|fax|ph|fig|vol|pp?|max|min|art|sec|ch|zi)\.\s*\Z",
    re.I,
)
_NUMBER = re.compile(r"[(#\u2116+]?\d|\[PHONE\]")
_LONGEST = 8


def _pieces(text: str) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _SENTENCE.finditer(text):
        if match.end() == match.start():
            continue
        closed = text[match.end() - 1].isspace() or text[match.end() : match.end() + 1] in (
            "",
            "\u00bf",
        )
        closed = closed or (not text.isascii() and bool(_STOPPED.search(match.group())))
        if closed and not _WRAPPED.match(text, match.end() - 1):
            spans.append((start, match.end()))
            start = match.end()
    if start < len(text):
        spans.append((start, len(text)))
    return spans


def sentences(text: str) -> list[tuple[int, int]]:
    """Offsets of the sentences of a text; they cover it without gaps.

    A stop inside a word (3.5, e.g) does not end a sentence, nor does the end of a wrapped line, the
    stop of a title, an initial or an abbreviation.
    """
    spans: list[tuple[int, int]] = []
    for start, end in _pieces(text):
        if spans and _goes_on(text, start):
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans


def _goes_on(text: str, at: int) -> bool:
    """Whether the stop before a position ends no sentence."""
    first = max(0, at - _LONGEST)
    if "." not in text[first:at]:
        return False
    if _NO_END.search(text, first, at):
        return True
    return bool(_NUMBERED.search(text, first, at) and _NUMBER.match(text, at))
