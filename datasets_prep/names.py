"""Names of people by rule: author columns, sign-offs, credentials, titles, introductions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from datasets_prep.foreign_names import foreign_names
from datasets_prep.given_names import USUAL, is_common, without_marks
from datasets_prep.name_context import (
    GREETED,
    HERBS,
    IN_A_PLACE,
    MID_SENTENCE,
    OF_A_PLANT,
    OF_A_WORK,
    OF_FOOD,
    OF_MINE,
    OF_NO_PERSON,
    OWN_BEFORE,
    PLACE_BEFORE,
    is_medicine,
)
from datasets_prep.name_forms import formed_names, listed_beside
from datasets_prep.name_lists import (
    ALSO_WORDS,
    CITIES,
    COUNTRIES,
    CREDENTIAL,
    GENERA,
    GIVEN_NAMES,
    GIVEN_NAMES_INSIDE,
    MEDICINES,
    NOT_NAMES,
    PARTICLES,
    PLACES,
    PUBLIC_NAMES,
    is_given,
)
from datasets_prep.name_rules import AND_NAME, CAPITALISED, SURNAMES, rules_for
from datasets_prep.public_names import PublicNames
from datasets_prep.public_words import (
    EVERYWHERE,
    FICTION,
    FICTION_SURNAMES,
    PRIVATE_AFTER,
    STORY,
)
from datasets_prep.sign_offs import MAY_BE_SIGNED, SIGN_OFF
from datasets_prep.small_names import small_names
from datasets_prep.tables import is_item


@dataclass(frozen=True)
class NameSpan:
    """Where a name stands in a text, in characters."""

    start: int
    end: int


class NameFinder(Protocol):
    """Finds names of people in a text; by rule, or by a model."""

    def find(self, text: str) -> list[NameSpan]:
        """Spans of names, in any order; they may overlap."""
        ...


class RuleNames:
    """Names by the words that stand around them, and by given names.

    Args:
        keep: names (lower case) that are never masked.
        told: the text asks for a story: a given name alone is a figure's.
    """

    def __init__(self, keep: frozenset[str] = frozenset(), *, told: bool = False) -> None:
        """Keep the names that stay."""
        self.keep, self.told = keep, told

    def find(self, text: str) -> list[NameSpan]:
        """Spans of names that a rule finds."""
        found = []
        public = PublicNames(text)
        told = self.told or STORY.match(text) is not None
        calm = _CAPITALS.sub(_as_names, text)
        for rule in rules_for(calm):
            matched = [match.span(1) for match in rule.pattern.finditer(calm)]
            if not rule.sure:
                matched = [s for s in matched if not _is_common(calm[slice(*s)])]
            found += [
                s
                for s in matched
                if not (public.of_history(s[0]) if rule.near else public.known(s[0]))
            ]
        found += [span for span in formed_names(text) if not public.holds(*span)]
        found = [span for span in found if not public.made_up(span[0])]
        given = _given(text)
        medicines = _medicines(text, [*found, *given])
        if told:
            # A given name alone is a figure's, and so is a "girl called Mina".
            found = [span for span in found if OF_MINE.search(text, 0, span[0])]
        else:
            found += [span for span in given if not public.holds(*span)]
            found = [span for span in found if _first(text, span) not in medicines]
            found += [span for _, end in found for span in _beside(text, end)]
            found += [s for s in listed_beside(text, found) if not public.holds(*s)]
        tail = max(0, len(text) - 200)
        sign_off = SIGN_OFF.search(calm, tail) if MAY_BE_SIGNED.search(text, tail) else None
        if (
            sign_off
            and not is_item(text, sign_off.start(1))
            and not (_QUOTED.search(text, 0, sign_off.start(1)) and public.known(sign_off.start(1)))
        ):
            found.append(sign_off.span(1))
        spans = []
        if len(_OPTION.findall(text)) > 1:
            # "C. Johnson" among the answers to choose from.
            found = [span for span in found if not _OPTION.match(text, span[0])]
        for start, end in found:
            trimmed = trim_name(text, start, end, self.keep)
            if trimmed:
                spans.append(trimmed)
        if not told:
            small = small_names(text)
            spans += [NameSpan(*span) for span in small if text[slice(*span)] not in self.keep]
        return spans


_OPTION = re.compile(r"^[A-E]\. ", re.MULTILINE)
# "my brother MARK": spelt small for the rules, which ask for more than a word that is a name.
_CAPITALS = re.compile(r"[A-Z](?<![\w'\u2019.-].)[A-Z]{2,}(?![\w-]|\.\w)")


# In capitals they are substances.
_SUBSTANCES = frozenset(("ASA", "ALA", "DHEA", "DHA", "EPA", "MSM", "NAC", "THC", "CBD", "SAM"))


def _as_names(match: re.Match[str]) -> str:
    word = match.group()
    if word in _SUBSTANCES:
        return word
    named = word.lower() in GIVEN_NAMES or word.lower() in GIVEN_NAMES_INSIDE
    return word.capitalize() if named else word


# What a quotation ends with, and the dash before who said it.
_QUOTED = re.compile(r"[\"\u201d]\s*[-\u2013\u2014~]+ ?\Z")


def _first(text: str, span: tuple[int, int]) -> str:
    return text[slice(*span)].split(" ", 1)[0].lower()


def _medicines(text: str, spans: list[tuple[int, int]]) -> set[str]:
    """What looks like names and is dosed, taken or has a form, in one place at least."""
    return {_first(text, span) for span in spans if is_medicine(text, *span)}


def _is_common(name: str) -> bool:
    """Whether what looks like a name is made of words of English: "My Manager"."""
    rest = [word for word in name.split() if word.lower() not in NOT_NAMES]
    if not rest or is_common(" ".join(rest)):
        return True
    # "Additionally, please": an adverb that opens a sentence.
    return len(rest) == 1 and bool(_ADVERB.search(rest[0])) and not is_given(rest[0].lower())


_ADVERB = re.compile(r"[a-z]{4}ly\Z")


class ForeignNames:
    """Names in a text that is not English, by what introduces them.

    Args:
        keep: names (lower case) that are never masked.
    """

    def __init__(self, keep: frozenset[str] = frozenset()) -> None:
        """Keep the names that stay."""
        self.keep = keep

    def find(self, text: str) -> list[NameSpan]:
        """Spans of names that a title, an introduction or a relation names."""
        trimmed = (trim_name(text, *span, self.keep) for span in foreign_names(text))
        return [span for span in trimmed if span]


# Given names that are words or hardly anybody's: with a word of English behind, a thing's.
_RARELY = (GIVEN_NAMES | GIVEN_NAMES_INSIDE) - USUAL | ALSO_WORDS


def _may_be_given(word: str) -> bool:
    """A quick look at a capitalised word, in lower case."""
    if word in GIVEN_NAMES or word in GIVEN_NAMES_INSIDE or "-" in word:
        return True
    return not word.isascii()


def _given(text: str) -> list[tuple[int, int]]:
    """Spans of words that are given names, with the surnames after them."""
    found: list[tuple[int, int]] = []
    if not any(map(_may_be_given, {word.lower() for word in CAPITALISED.findall(text)})):
        return found
    end = 0
    for match in CAPITALISED.finditer(text):
        if match.start() < end:
            # A surname that is a given name elsewhere.
            continue
        word = match.group().lower()
        first, _, second = word.partition("-")
        two = is_given(second) or match.group()[len(first) + 1 :][:1].isupper()
        if two and not is_given(word):
            # "Min-jun", "Mei-Ling"; "Ivory-Tower" is of words.
            word = "" if is_common(second) else first
        inside = without_marks(word) in GIVEN_NAMES_INSIDE and MID_SENTENCE.search(
            text, max(0, match.start() - 2), match.start()
        )
        if is_given(word) or inside:
            surnames = SURNAMES.match(text, match.end())
            end = surnames.end() if surnames else match.end()
            if word in _RARELY and end > match.end() and is_common(text[match.end() : end]):
                # "Safari Lodge", "Hazel Eyes".
                continue
            found.append((match.start(), end))
    return found


def _beside(text: str, end: int) -> list[tuple[int, int]]:
    """Who is named beside a person: "Lars and Min-jun"."""
    match = AND_NAME.match(text, end)
    if match is None or (name := match[1].lower()) in PLACES or is_given(name):
        return []
    if _is_common(name):
        return []
    return [match.span(1)]


# "London and Charlotte": of two places, the second is one.
_LISTED_BEFORE = re.compile(r"\b([A-Z]\w+)(?:,|,? and|,? or) \Z")
_SOMEWHERE = PLACES | CITIES | COUNTRIES
_INITIAL = re.compile(r"[A-Z]\.")


def trim_name(text: str, start: int, end: int, keep: frozenset[str]) -> NameSpan | None:
    """Cut words that are no name off both ends; None when nothing is left."""
    words = [(m.start() + start, m.end() + start) for m in re.finditer(r"\S+", text[start:end])]
    while words and _no_name(text[slice(*words[0])], keep):
        words.pop(0)
    kept: list[tuple[int, int]] = []
    for word in words:
        if _no_name(text[slice(*word)], keep):
            break
        kept.append(word)
    if all(_INITIAL.fullmatch(text[slice(*word)]) for word in kept):
        # "D and C."
        return None
    first, last = kept[0][0], kept[-1][1]
    # "Sarah's" keeps its ending; so does a full stop.
    raw = text[first:last]
    body = (
        re.sub(r"(?:['\u2019]s)?[.,!?;:)\]]*$", "", raw) if not re.search(r"[A-Z]\.$", raw) else raw
    )
    if OF_A_WORK.search(text, max(0, first - 40), first) or _of_no_person(text, first, last):
        return None
    small = body[:1].islower() and body.split()[0] not in PARTICLES
    if not body or small or body.lower() in keep or _public(body, keep):
        return None
    return NameSpan(first, first + len(body))


def _of_no_person(text: str, first: int, last: int) -> bool:
    """Whether what looks like a name is a figure's, a place's, a prize's or a medicine's."""
    name = text[first:last].strip(".,!?;:()'\u2019")
    lower = re.sub(r"['\u2019]s$", "", name.lower())
    if any(word in MEDICINES for word in re.findall(r"[\w-]+", lower)):
        return True
    own = OWN_BEFORE.search(text, max(0, first - 40), first)
    if re.sub(r"^(?:[a-z]\. ?)+", "", lower) in COUNTRIES or (lower in FICTION and not own):
        return True
    if lower in GENERA and OF_A_PLANT.match(text, first + len(name)):
        return True
    if lower in HERBS and not own and not PRIVATE_AFTER.match(text, first + len(name)):
        return OF_FOOD.search(text, max(0, first - 160), last + 160) is not None
    if OF_NO_PERSON.search(text, first, last) or OF_NO_PERSON.match(text, last):
        return True
    if PLACE_BEFORE.search(text, max(0, first - 12), first):
        return True
    before = text[max(0, first - 30) : first].split()[-1:]
    if before and f"{before[0].lower()} {lower}" in EVERYWHERE and not own:
        return True
    if lower.split()[-1] in FICTION_SURNAMES:
        return True
    if " ".join(lower.split()[:2]) in FICTION and not (own and " " not in lower):
        return True
    greeted = GREETED.search(text, max(0, first - 16), first)
    if greeted and (lower in CITIES or (lower in PLACES and not is_given(lower))):
        return True
    if lower not in PLACES:
        return False
    listed = _LISTED_BEFORE.search(text, max(0, first - 24), first)
    return bool(
        IN_A_PLACE.search(text, max(0, first - 24), first)
        or (listed and listed[1].lower() in _SOMEWHERE)
    )


def _no_name(word: str, keep: frozenset[str]) -> bool:
    bare = re.sub(r"['\u2019]s$", "", word.strip(".,!?;:()[]\"'\u2019")).lower()
    if _INITIAL.fullmatch(word):
        return False
    contracted = re.match(
        r"(?:i|you|he|she|it|we|they|that|there|what|let|don|can|isn)['\u2019]", bare
    )
    return (
        bare in NOT_NAMES
        or bare in MEDICINES
        or bool(contracted)
        or bare in keep
        or bool(CREDENTIAL.match(bare))
    )


def _public(name: str, keep: frozenset[str]) -> bool:
    return name.split()[-1].lower() in PUBLIC_NAMES | keep


class Placeholders:
    """Gives each person of one conversation a number; a part of a name is the same person."""

    def __init__(self) -> None:
        """Start with nobody: one instance a conversation."""
        self._people: list[set[str]] = []

    def of(self, name: str) -> str:
        """The placeholder of a name, such as ``[NAME_1]``."""
        words = {w.strip(".,'\u2019").lower() for w in name.split()}
        words = {w for w in words if len(w) > 1} or words
        for number, person in enumerate(self._people, 1):
            if words <= person or person <= words:
                person |= words
                return f"[NAME_{number}]"
        self._people.append(words)
        return f"[NAME_{len(self._people)}]"
