"""What is read: a person's messages as one text, an answer's sentences each by itself."""

from __future__ import annotations

import re
from collections.abc import Iterable

from datasets_prep.sentences import sentences

MOST_WORDS = 45  # of a unit; what has no full stops is cut there
_FEWEST_WORDS = 3  # shorter ones ("Yes.", "1.") are read with what follows
_WORD = re.compile(r"\w+")
_BETWEEN = " \x1e "  # ASCII's record separator: to an encoder and to patterns a space


def one_text(messages: Iterable[str]) -> str:
    """A person's messages, the first one first, as one text."""
    return _BETWEEN.join(messages)


def last_message(text: str) -> str:
    """The last of the messages that `one_text` joined."""
    return text.rpartition(_BETWEEN)[2]


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
