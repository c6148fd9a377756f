"""Names that are known before a text is read: its authors', and those found elsewhere in a talk."""

from __future__ import annotations

import re

from datasets_prep.given_names import COMMON
from datasets_prep.name_lists import (
    ALSO_WORDS,
    COUNTRIES,
    CREDENTIAL,
    MEDICINES,
    NOT_NAMES,
    is_given,
)
from datasets_prep.names import NameSpan
from datasets_prep.public_names import PublicNames

# What stands before the name of who signs.
_SIGNS = "[.!?~-] "


class AuthorNames:
    """Names out of the row's author columns: whole, and by their parts."""

    def __init__(self, authors: tuple[str, ...]) -> None:
        """Read the names out of the author cells of a row."""
        names = [name for author in authors for name in [author_name(author)] if name]
        patterns: list[str] = []
        for parts in names:
            whole = r"[ ]+(?:[A-Z]\.? ?)?".join(map(re.escape, parts))
            patterns.append(f"(?i:{whole})")
            for part in parts:
                if part.lower() in ALSO_WORDS | NOT_NAMES:
                    # Only where it signs the answer: after the last stop, before a link or nothing.
                    patterns.append(rf"(?<={_SIGNS}){_spelled(part)}(?=\W*(?:$|www|http))")
                elif len(part) > 2:
                    # Who signs may do so in lower case: "Peace - keith".
                    patterns.append(
                        rf"{_spelled(part)}|(?<={_SIGNS})(?i:{re.escape(part)})(?=\W*$)"
                    )
        self._pattern = (
            re.compile("|".join(rf"\b(?:{p})(?=\b|www\.)" for p in patterns)) if patterns else None
        )

    def find(self, text: str) -> list[NameSpan]:
        """Spans of the authors' names."""
        if self._pattern is None:
            return []
        return [NameSpan(*m.span()) for m in self._pattern.finditer(text)]


# "Norman Italy": its second word is nobody's name elsewhere.
_LANDS = COUNTRIES | frozenset(("north", "south", "east", "west"))


class SpreadNames:
    """Names that were found somewhere in a conversation, wherever else they stand in it.

    Args:
        names: as they were found; their parts count alone too.
    """

    def __init__(self, names: set[str]) -> None:
        """Build the pattern of all of them."""
        patterns: set[str] = set()
        for name in names:
            parts = re.findall(r"[^\W\d_][\w'\u2019-]*", name)
            parts = [re.sub(r"['\u2019]s$", "", part) for part in parts]
            if len(parts) > 1:
                patterns.add(r"\s+(?:[A-Z]\.\s)?".join(map(re.escape, parts)))
            for part in parts:
                lower = part.lower()
                if part.isupper() or part.islower():
                    part = part.capitalize()
                if len(part) < 3 or lower in NOT_NAMES or lower in MEDICINES or lower in _LANDS:
                    continue
                if lower in ALSO_WORDS:
                    # A word too: where it can't open a sentence, or is called.
                    patterns.add(rf"(?:(?<=[a-z,] )|(?<=\n)(?=\w+,))(?:{part}|{part.upper()})")
                else:
                    patterns.add(f"{re.escape(part)}|{re.escape(part.upper())}")
                    if len(part) > 3 and lower not in COMMON:
                        patterns.add(re.escape(lower))
        longest = sorted(patterns, key=lambda p: (-len(p), p))
        self._pattern = (
            re.compile(rf"(?<![\w@/.-])(?:{'|'.join(longest)})(?![\w@]|-[a-z])")
            if patterns
            else None
        )

    def find(self, text: str) -> list[NameSpan]:
        """Spans of the names; a part of what everybody knows is not meant ("Taylor Swift")."""
        if self._pattern is None:
            return []
        public = PublicNames(text)
        found = [_whole(text, *m.span()) for m in self._pattern.finditer(text)]
        return [NameSpan(*span) for span in found if not public.is_inside(*span)]


# The given name before a surname; initials between them.
_GIVEN_BEFORE = re.compile(r"(?<![\w.])([A-Z\u00c0-\u00de][\w'\u2019-]+) (?:[A-Z]\. )?\Z")


def _whole(text: str, start: int, end: int) -> tuple[int, int]:
    """A surname with the given name before it: half a name masked names the person still."""
    before = _GIVEN_BEFORE.search(text, max(0, start - 30), start)
    if before and is_given(before[1].lower()):
        return before.start(1), end
    return start, end


def _spelled(part: str) -> str:
    # A slug has lost its capitals: "mccracken" stands for McCracken, "dana" for Dana.
    first, rest = part[0].upper(), part[1:]
    return re.escape(first) + f"(?i:{re.escape(rest)})"


def author_name(author: str) -> list[str]:
    """First and last name out of an author cell.

    Reads ``https://host/therapists/jane-roe-lcsw``, ``Jane Roe, LCSWHelping families``, and
    ``Jane Roe``: a credential or a comma ends the name, and so does a word glued to it. What
    follows the second word of a slug is a place as often as a name, so it is left out.
    """
    author = author.strip()
    if "://" in author:
        slug = author.rstrip("/").rsplit("/", 1)[-1]
        words = [w for w in re.split(r"[-_.]", slug) if w.isalpha()]
    else:
        words = re.split(r"\s+", re.split(r"[,;\n(|]| - ", author, maxsplit=1)[0])
    name: list[str] = []
    most = 2 if "://" in author else 3
    for word in words:
        if CREDENTIAL.match(word.strip(".,-")) or len(name) == most:
            break
        if word.lower().strip(".") in ("dr", "mr", "mrs", "ms", "miss", "rev"):
            continue
        if len(word.strip(".")) < 2 or not any(map(str.isalpha, word)):
            # An initial; of a number, its groups stand in every other number too.
            continue
        glued = re.match(r"(?:Mc|Mac|De|La|Le|Van|Di|O['\u2019])?[A-Z][a-z]+(?=[A-Z])", word)
        name.append(glued.group() if glued and "://" not in author else word.strip(".,-"))
        if glued and "://" not in author:
            break
    return name[:1] + name[-1:] if len(name) > 2 else name
