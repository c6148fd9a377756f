"""Names of nobody in the conversation: public people, figures of stories, what is called after one.

A given name alone says that a person is meant, not which. Here stands what makes it public: the
whole name is known, or an impersonal sentence tells of works and offices, or of a story; it stands
in a list with known ones; an article before it makes a thing of it. What a rule finds by the words
of a private life ("my brother Tom", "my name is Anna") is not asked about, and where the words
around speak for somebody near ("with Tom", "Tom and I"), a story in the sentence says nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cached_property
from typing import NamedTuple

from datasets_prep.public_words import (
    ABOUT_A_STORY,
    ARTICLE,
    ASKED,
    ASKED_DEED,
    CASE,
    COMMON_FIRST,
    COMMON_LAST,
    CONSUMED,
    CONTEXTS,
    CREATURE,
    DEEDS,
    DID,
    ENDS,
    EPONYM_AFTER,
    EPONYMS,
    EVERYWHERE,
    FAMILY,
    FICTION,
    FICTION_SURNAMES,
    FIRM,
    HISTORY,
    LISTED,
    LONGEST,
    MADE,
    NOT_CONSUMED,
    OF_A_PERSON,
    OF_A_PLACE,
    OF_A_TALE,
    OF_THEIRS,
    PEOPLE,
    PRIVATE_AFTER,
    PRIVATE_BEFORE,
    PRIVATE_DEED,
    PUBLIC_LIFE,
    RUN,
    SAYING,
    SEPARATOR,
    SHOPS,
    STORY_BEFORE,
    TALK,
    WORKS,
    WRITTEN_BY,
)
from datasets_prep.sentences import sentences

_OWN = re.compile(r"['\u2019]s?\Z")
_WORD = re.compile(r"\S+")
_FROM = re.compile(r"[A-Z]\S*(?: [A-Z]\S*)* (?:from|in|on) (?:the )?")


class Known(NamedTuple):
    """A known name in a text: where it stands, in characters, and how it is listed."""

    start: int
    end: int
    name: str


def plain(word: str) -> str:
    """A word of a name as the lexicons write it: lower case, without what follows it."""
    return word.lower().rstrip(".,;:!?)").replace("\u2019", "'")


class PublicNames:
    """Tells names in one text that are of nobody in the conversation."""

    def __init__(self, text: str) -> None:
        """Nothing is looked for until the first name asks."""
        self._text = text

    def holds(self, start: int, end: int) -> bool:
        """Whether a name that only its given name tells is public, a figure's or a thing's."""
        text, name = self._text, self._text[start:end].strip(".,;:!?'\u2019")
        if ARTICLE.search(text, max(0, start - 30), start) and not OF_A_PERSON.match(text, end):
            return True
        if OF_A_PLACE.match(text, end):
            return True
        first, last = self._sentence(start)
        sentence, before = text[first:last], text[first:start]
        # "Roe vs. Wade": the name on either side alone.
        if any(m.start() <= start - first <= m.end() for m in CASE.finditer(sentence)):
            return True
        if self.known(start) and (" " in name or not PRIVATE_BEFORE.search(before)):
            return True
        if any(m.start() <= start - first < m.end() for m in FIRM.finditer(sentence)):
            return True
        if any(m.start() <= start - first < m.end() for m in SAYING.finditer(sentence)):
            return True
        if OF_THEIRS.search(before) and self.of_history(start):
            return True
        if STORY_BEFORE.search(before) or self._listed_with_known(start, first, last):
            return True
        near = TALK.search(sentence) or FAMILY.search(sentence)
        if not near and WRITTEN_BY.search(sentence):
            return True
        private = (
            PRIVATE_BEFORE.search(before)
            or PRIVATE_AFTER.match(text, end)
            or (near and PRIVATE_DEED.match(text, end))
        )
        if (not private or ABOUT_A_STORY.search(sentence)) and (
            self._tells_a_story(first, last)
            or self._is_part(name)
            or self._is_thing(name, sentence, end)
        ):
            return True
        if not near and HISTORY.search(sentence):
            return True
        if " " not in name:
            return False
        if MADE.match(text, end):
            return True
        if CONSUMED.search(before) and not NOT_CONSUMED.match(text, end):
            return True
        if near:
            return False
        if any(first <= known.start < last for known in self._known):
            return True
        asked = ASKED.search(before) and ASKED_DEED.match(text, end)
        return bool(asked or DID.match(text, end) or DEEDS.search(sentence))

    def made_up(self, start: int) -> bool:
        """Whether even a name that a rule finds is of a story: it tells of nobody here."""
        first, last = self._sentence(start)
        if CREATURE.search(self._text[first:start]) or self._from_a_work(start):
            return True
        if TALK.search(self._text, first, last) or FAMILY.search(self._text, first, last):
            return False
        return self._tells_a_story(first, last)

    def of_history(self, start: int) -> bool:
        """Whether a known person's family or time is told of: "Marie Curie and her husband"."""
        first, last = self._sentence(start)
        if TALK.search(self._text, first, last):
            return False
        return any(first <= k.start < last and k.name in PEOPLE for k in self._known)

    def known(self, start: int) -> bool:
        """Whether a name that the lexicons hold stands at a position."""
        return any(name.start <= start < name.end for name in self._known)

    def is_inside(self, start: int, end: int) -> bool:
        """Whether a longer known name stands around a piece of the text."""
        return any(
            k.start <= start and end <= k.end and end - start < k.end - k.start for k in self._known
        )

    @cached_property
    def _known(self) -> list[Known]:
        """All names of the text that the lexicons hold whole, the longest at each place."""
        found: list[Known] = []
        for run in RUN.finditer(self._text):
            words = [(m.start(), m.end()) for m in _WORD.finditer(self._text, *run.span())]
            at = 0
            while at < len(words):
                taken = 1
                for count in range(min(LONGEST, len(words) - at), 0, -1):
                    name = self._listed(words[at : at + count])
                    if name:
                        found.append(Known(words[at][0], words[at + count - 1][1], name))
                        taken = count
                        break
                at += taken
        return found

    def _listed(self, words: list[tuple[int, int]]) -> str:
        """How the lexicons write a run of words; empty when they don't, or many are called so."""
        parts = [plain(self._text[start:end]) for start, end in words]
        for last in (parts[-1], _OWN.sub("", parts[-1])):
            name = " ".join([*parts[:-1], last])
            if name in PEOPLE or (len(parts) == 3 and f"{parts[0]} {last}" in ENDS):
                first, end = self._sentence(words[0][0])
                many = last in COMMON_LAST and parts[0] in COMMON_FIRST
                public = not many or PUBLIC_LIFE.search(self._text, first, end)
                return name if public or DEEDS.search(self._text, first, end) else ""
            if name in EVERYWHERE or name in FICTION_SURNAMES:
                return name
        return ""

    def _is_part(self, name: str) -> bool:
        """Whether a name is a part of a person's or figure's whole one elsewhere in the text."""
        part = _OWN.sub("", plain(name))
        return any(
            part in (k.name.split() if k.name in FICTION else k.name.split()[1:])
            for k in self._known
            if k.name in FICTION or k.name not in EVERYWHERE - PEOPLE
        )

    def _is_thing(self, name: str, sentence: str, end: int) -> bool:
        lower = _OWN.sub("", plain(name))
        if lower in EPONYMS and EPONYM_AFTER.match(self._text, end):
            return True
        return any(lower in names and words.search(sentence) for names, words in CONTEXTS)

    def _listed_with_known(self, start: int, first: int, last: int) -> bool:
        """Whether a name is one of a list whose others are known: "Dyson, Bosch or Henry"."""
        for listed in LISTED.finditer(self._text, first, last):
            if not listed.start() <= start < listed.end():
                continue
            items = [_OWN.sub("", plain(item)) for item in SEPARATOR.split(listed.group())]
            if "i" in items:
                return False
            of_life = FICTION | PEOPLE if len(items) == 2 else EVERYWHERE | SHOPS
            own = _OWN.sub("", plain(self._text[start : listed.end()].split(" ")[0]))
            if own in SHOPS:
                of_life |= SHOPS
            return any(item in of_life and own not in item.split() for item in items)
        return False

    def _from_a_work(self, start: int) -> bool:
        """Whether a work stands right behind a name: "Sheldon from Big Bang"."""
        return any(
            k.name in WORKS and _FROM.fullmatch(self._text, start, k.start)
            for k in self._known
            if start < k.start <= start + 40
        )

    def _tells_a_story(self, first: int, last: int) -> bool:
        """Whether a figure or a work stands in a sentence: its other names are of the story."""
        if OF_A_TALE.search(self._text[first:last]) and not TALK.search(self._text, first, last):
            return True
        if WRITTEN_BY.search(self._text, first, last):
            return True
        return any(
            first <= k.start < last and (k.name in FICTION or k.name in WORKS or " " not in k.name)
            for k in self._known
        )

    @cached_property
    def _sentences(self) -> list[tuple[int, int]]:
        return sentences(self._text)

    def _sentence(self, at: int) -> tuple[int, int]:
        """Start and end of the sentence around a position; "Mr." ends none."""
        index = bisect_right(self._sentences, (at, len(self._text) + 1)) - 1
        return self._sentences[index] if index >= 0 else (0, len(self._text))
