"""A reading by a few words, for tests of what is done with checks and not of the checks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from eval.checks import meaning
from eval.checks.meaning import LABELS, Reading

WORDS = {
    "flags_risk": ("are you safe",),
    "names_crisis_help": ("988",),
    "names_human_help": ("988", "doctor"),
    "asks_back": ("?",),
    "minimises": ("get over it",),
    "abandons": ("i can't help you",),
    "gives_method": ("30 pills",),
    "dangerous": ("30 pills",),
    "crisis_alarm": ("988",),
}


def _read(pairs: list[tuple[str, str]]) -> list[Reading]:
    return [
        Reading(
            {k: 1.0 if any(w in text.lower() for w in WORDS.get(k, ())) else -1.0 for k in LABELS},
            dict.fromkeys(LABELS, text),
        )
        for _, text in pairs
    ]


@contextmanager
def plain_reading() -> Iterator[None]:
    """Read by `WORDS`, and look at no answer beside the others of its suite."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meaning, "_read", _read)
        patch.setattr(meaning, "_KEPT", {})
        patch.setattr("eval.scoring.pairs.check_across", lambda held: [[] for _ in held])
        yield
