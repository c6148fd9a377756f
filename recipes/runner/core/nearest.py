"""The nearest valid name for a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice most like ``name``, or None when none is near."""
    by_folded = {choice.lower(): choice for choice in choices}
    folded = name.lower()
    found = difflib.get_close_matches(folded, list(by_folded), n=3, cutoff=0.6)
    if not found:
        return None
    # Of equally near ones the one with the same letters: eso is eos, two letters changed round.
    likeness = {near: difflib.SequenceMatcher(None, near, folded).ratio() for near in found}
    best = max(found, key=lambda near: (likeness[near], sorted(near) == sorted(folded)))
    return by_folded[best]


def did_you_mean(name: str, choices: Iterable[str], kind: str = "Known") -> str:
    """'Did you mean X?', or the list of choices when nothing is near."""
    options = list(choices)
    near = nearest(name, options)
    return f"Did you mean {near}?" if near else f"{kind}: {', '.join(sorted(options)) or 'none'}"
