"""Finds text that repeats itself without end, as small models write it; in any script.

One definition for everything that must know a loop: scores (a loop fails the whole answer),
generation (stops early) and training (counts them). Plain Python, so that it can be imported
anywhere.

A text loops when, in some stretch of it, a quarter of its runs of three words stand there for the
second time or more; when one or two words or a few signs come many times in a row; or when a run of
four words comes four times within 80. Numbers count as equal, so that a counter hides nothing. In
scripts without spaces characters take the place of words, two for one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

# Han, kana, Thai, Lao, Khmer and Burmese put no space between words.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(
    rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])\w)(?:(?![{_UNSPACED}])[\w\u0300-\u036f'\u2019])*"
)
_IS_UNSPACED = re.compile(rf"[{_UNSPACED}]")
# One sign or a few, over and over: "!!!!", "hahaha", a row of one emoji; but no ruled line.
_SIGNS = re.compile(r"(?![-=_*|#~+]+[-=_*|#~+])(\S{1,4}?)\1{15,}")
_LEAST = 12  # words; fewer can't be told from emphasis
_STRETCHES = (40, 80, 160)  # words looked at together, and the whole text
_SHARE, _SURE_SHARE = 0.25, 0.45
_IN_A_ROW = 6  # times one or two words follow upon themselves
_RUN, _TIMES, _WITHIN = 4, 4, 80


@lru_cache(maxsize=65_536)
def loop_in(text: str) -> str | None:
    """The words that come again and again, or None when the text doesn't loop.

    Args:
        text: one answer.
    """
    if signs := _SIGNS.search(text):
        return signs.group(1)
    tokens, scale, join = _tokens(text)
    if row := _in_a_row(tokens, scale):
        return join.join(row)
    if len(tokens) < _LEAST * scale:
        return None
    for size in (*(s * scale for s in _STRETCHES if s * scale < len(tokens)), len(tokens)):
        for start in range(0, len(tokens) - size + 1, max(1, size // 8)):
            if run := _repeated(tokens[start : start + size], 3 * scale, _SHARE):
                return join.join(run)
    if run := _often(tokens, scale):
        return join.join(run)
    return None


def ends_in_loop(text: str) -> bool:
    """Whether the last 40 words surely loop, so that more text of the kind is worth nothing.

    Stricter than `loop_in`, for use while an answer is still being written: what is found here is
    found there too, and a list or a refrain that may yet end is let go on.
    """
    if _SIGNS.search(text[-128:]):
        return True
    tokens, scale, _ = _tokens(text)
    tail = tokens[-_STRETCHES[0] * scale :]
    if _in_a_row(tail, scale):
        return True
    whole = len(tail) == _STRETCHES[0] * scale
    return whole and _repeated(tail, 3 * scale, _SURE_SHARE) is not None


def _tokens(text: str) -> tuple[list[str], int, str]:
    """Words or characters, how many of them make a word, and what joins them."""
    found = [
        "#" if token.isdigit() else token.lower().replace("\u2019", "'")
        for token in _TOKEN.findall(text)
    ]
    signs = sum(bool(_IS_UNSPACED.match(token)) for token in found)
    return (found, 2, "") if 2 * signs > len(found) else (found, 1, " ")


def _in_a_row(tokens: Sequence[str], scale: int) -> tuple[str, ...] | None:
    """One or two words that follow upon themselves at once, `_IN_A_ROW` times or more."""
    for length in range(1, 2 * scale + 1):
        equal = 0
        for index in range(length, len(tokens)):
            equal = equal + 1 if tokens[index] == tokens[index - length] else 0
            if equal >= length * (_IN_A_ROW - 1):
                unit = tuple(tokens[index - length + 1 : index + 1])
                if set(unit) != {"#"}:  # figures one after the other are a number
                    return unit
    return None


def _repeated(tokens: Sequence[str], length: int, share: float) -> tuple[str, ...] | None:
    """The commonest run when at least ``share`` of all runs repeat an earlier one."""
    counts = Counter(zip(*(tokens[i:] for i in range(length)), strict=False))
    total = counts.total()
    if not total or total - len(counts) < share * total:
        return None
    return counts.most_common(1)[0][0]


def _often(tokens: Sequence[str], scale: int) -> tuple[str, ...] | None:
    """A run of `_RUN` words that comes `_TIMES` times within `_WITHIN` words."""
    length = _RUN * scale
    places: dict[tuple[str, ...], list[int]] = {}
    for index, run in enumerate(zip(*(tokens[i:] for i in range(length)), strict=False)):
        seen = places.setdefault(run, [])
        seen.append(index)
        if len(seen) >= _TIMES and index - seen[-_TIMES] <= _WITHIN * scale:
            return run
    return None
