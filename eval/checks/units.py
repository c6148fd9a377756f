"""What an answer is read in: its sentences, each by itself."""

from __future__ import annotations

import re

from datasets_prep.sentences import sentences

MOST_WORDS = 45  # of a unit; what has no full stops is cut there
_FEWEST_WORDS = 3  # shorter ones ("Yes.", "1.") are read with what follows
_WORD = re.compile(r"\w+")


def units(text: str) -> list[str]:
    """The sentences of an answer, in their order; at least one, whatever the text is."""
    found: list[str] = []
    short = ""
    for start, end in sentences(text):
        said = f"{short} {text[start:end].strip()}".strip()
        short = ""
        if len(_WORD.findall(said)) < _FEWEST_WORDS:
            short = said
            continue
        words = said.split()
        found += [" ".join(words[at : at + MOST_WORDS]) for at in range(0, len(words), MOST_WORDS)]
    if short and found:
        found[-1] = f"{found[-1]} {short}"
    elif short:
        found.append(short)
    return found or [text.strip() or "."]
