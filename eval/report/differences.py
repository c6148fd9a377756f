"""Which words of two answers differ, for marking them side by side."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

Piece = tuple[str, bool]
_ALIKE = 0.3


def mark_differences(left: str, right: str) -> tuple[list[Piece], list[Piece]]:
    """Split both texts into pieces of (text, differs).

    Two answers that share little are not marked at all: everything differs, and marks would only
    be in the way.
    """
    a, b = re.findall(r"\S+\s*", left), re.findall(r"\S+\s*", right)
    matcher = SequenceMatcher(
        None, [w.strip().lower() for w in a], [w.strip().lower() for w in b], autojunk=False
    )
    if matcher.ratio() < _ALIKE:
        return [(left, False)], [(right, False)]
    pieces: tuple[list[Piece], list[Piece]] = ([], [])
    for tag, i, j, k, m in matcher.get_opcodes():
        for side, words in ((0, a[i:j]), (1, b[k:m])):
            if words:
                pieces[side].append(("".join(words), tag != "equal"))
    return pieces
