"""Names of people by rule: author columns, sign-offs, credentials, titles, introductions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

_CREDENTIALS = (
    "LCSW|LMFT|LPCC|LPC|LMHC|LCPC|LISW|LICSW|LMSW|LCMHC|LCADC|LCAS|LPCA|LGPC|LAMFT|LAC|LAPC|LSW|"
    "LMHCA|MFT|MFTI|IMFT|AMFT|ACSW|MSW|BSW|NCC|DCC|CCTP|ACS|CADC|CAC|CSAC|CSAT|CST|CCM|BCD|"
    "Ph\\.?D|Psy\\.?D|Ed\\.?D|D\\.?Min|DBH|DSW|M\\.?Ed|Ed\\.?S|M\\.?D|M\\.?A|M\\.?S|MBA|MPH|RN|LP|"
    "R\\.?C\\.?C|RP|RSW|CCC|CPsych|C\\.?Psych|MBACP|BACP|UKCP|LLP|LMFTA|PMHNP|APRN|DNP"
)
_CREDENTIAL = re.compile(rf"^(?:{_CREDENTIALS})\.?$", re.I)
_NAME = r"[A-Z\u00c0-\u00de](?:[a-z\u00df-\u00ff]+|['\u2019][A-Z][a-z]+)(?:[A-Z][a-z]+)?(?:-[A-Z][a-z]+)?"
_INITIAL = r"[A-Z]\."
_FULL = rf"{_NAME}(?: (?:{_INITIAL} )?(?:(?:van|von|de|der|den|la|del|da|di|bin|al|St\.) ){{0,2}}{_NAME}){{0,2}}"
_RELATIONS = (
    "husband|wife|partner|boyfriend|girlfriend|fianc[e\u00e9]e?|ex|ex-husband|ex-wife|ex-boyfriend|"
    "ex-girlfriend|son|daughter|brother|sister|mother|father|mom|mum|dad|stepson|stepdaughter|"
    "stepmother|stepfather|stepdad|stepmom|stepmum|uncle|aunt|cousin|niece|nephew|grandmother|"
    "grandfather|grandson|granddaughter|friend|best friend|roommate|flatmate|housemate|boss|manager|"
    "supervisor|coworker|co-worker|colleague|neighbou?r|therapist|counsell?or|psychiatrist|"
    "psychologist|doctor|teacher|professor|coach|pastor|landlord|mother-in-law|father-in-law|"
    "sister-in-law|brother-in-law|twin|baby|child|dog|cat"
)

_RULES = [
    # A title and its name; the title stays.
    re.compile(rf"\b(?:Dr|Mr|Mrs|Ms|Miss|Prof|Professor|Doctor|Rev|Pastor|Sir)\.? ({_FULL})"),
    # A name with its credentials: "Jane Roe, LCSW".
    re.compile(rf"({_FULL}),? (?:(?:{_CREDENTIALS})\b\.?(?:, ?| |/)?)+(?![a-z])"),
    re.compile(rf"\b[Mm]y name(?: is|'s|\u2019s) ({_FULL})"),
    re.compile(rf"\b(?:[Cc]all me|[Nn]amed|[Nn]ame was|[Nn]ame is|(?:[Hh]is|[Hh]er|[Tt]heir) name(?:'s|\u2019s)) ({_FULL})"),
    re.compile(rf"\b(?:I am|I'm|I\u2019m|[Tt]his is|[Ii]t's|[Ii]t\u2019s) ({_FULL})(?=[,.!]|\s+(?:and|from|here|a |an )|\s*$)"),
    re.compile(
        rf"\b(?:my|his|her|our|their|My|His|Her|Our|Their)(?: (?:older|younger|little|big|late|new|old|"
        rf"eldest|oldest|youngest|only|own|dear|current|former|own))?(?: \w+)? (?:{_RELATIONS}),? ({_FULL})"
    ),
    re.compile(rf"(?:^|(?<=[.!?\n] ))(?:Hi|Hello|Hey|Dear|Hey there|Hi there),? ({_FULL})(?=\s?[,.!:\u2014-]|\s*\n)", re.M),
    re.compile(rf"\b(?:[Tt]hanks?(?: you)?|[Ss]orry|[Hh]ello|[Hh]i|[Hh]ey|[Bb]ye|[Ww]elcome),? ({_FULL})(?=[,.!?])"),
]
# What closes an answer: "- Jane", "~Mark", "Best wishes, Jane Roe".
_SIGN_OFF = re.compile(
    r"(?:(?:^|\n|(?<=[.!?)] )|(?<=[.!?)]))[-\u2013\u2014~*]{1,2} ?|(?i:\b(?:best|best wishes|best regards|"
    r"kind regards|warm regards|regards|warmly|sincerely|cheers|blessings|namaste|take care|good luck|"
    r"be well|with care|yours|yours truly|respectfully|all the best|in health|peace|love|hugs|xoxo|"
    r"thanks|thank you|many thanks)[,.!]?(?: to you(?: all)?,?)?)[\s~-]{1,4})"
    rf"((?:Dr\.? )?{_FULL})(?:,? (?:{_CREDENTIALS})\b[^\n]{{0,80}}|[.,!)\s]*(?:\([^\n]{{0,80}})?)$"
)
_STOP = frozenset(
    "a about after again all also although always am an and another any anyone anything are as at "
    "back be because been before being best both but by can cannot christian could day dear "
    "depression did do does doing done each either even every everyone everything feeling feel "
    "feelings first for from get getting give god good great had has have having he hello help her "
    "here hey hi him his hope how however i if in instead into is it its jesus just keep let life "
    "like listen live lord love luck make many may maybe me mental might mindfulness more most much "
    "my need never new no nobody none not nothing now of off ok okay on once one only open or other "
    "our out over own peace people perhaps please practice regards remember right sad same see self "
    "sending she should so some someone something sometimes sorry stay still stop such sure take "
    "talk thank thanks that the their them then there therapist therapy these they thing things "
    "think this those though time to today together tomorrow tonight too try trying up us use very "
    "want was watch we welcome well were what whatever when whenever where whether which while who "
    "why will wishes with without work would write yes yet you your yours everybody sweetheart honey "
    "monday tuesday wednesday thursday friday saturday sunday january february march april june july "
    "august september october november december christmas easter thanksgiving halloween english "
    "spanish american african asian british canadian mexican indian muslim jewish catholic hindu "
    "buddhist america canada england texas california florida york london houston puerto rico "
    "internet google facebook instagram twitter youtube amazon netflix covid adhd ptsd ocd cbt dbt "
    "emdr anxiety bipolar counselor counseling psychology licensed clinical social health "
    "professional national suicide prevention lifeline crisis hotline center university college "
    "school hospital clinic zoloft prozac xanax lexapro ativan sir madam folks guys friend friends "
    "anonymous mom mum dad mama papa grandma grandpa mother father doctor doc human nature speaking "
    "telling coming sounds sound based being experiencing knowing understanding finding learning "
    "everyday fear anger grief trauma stress shame guilt warm kind blessings sincerely namaste "
    "cheers warmly hugs peaceful afraid alone angry anxious exhausted lonely lost scared sick stuck "
    "tired worried happy glad both ms mr mrs dr"
    .split()
)
# Names that stand for a theory, a test or a faith, not for a person in the room.
_PUBLIC = frozenset(
    "freud jung rogers maslow beck ellis gottman gottmans bowlby ainsworth erikson skinner pavlov adler frankl "
    "linehan yalom satir perls piaget winnicott brown kabat-zinn hendrix chapman bowen minuchin "
    "siegel neff buddha christ moses muhammad shakespeare einstein gandhi stockholm asperger "
    "alzheimer parkinson down myers briggs minnesota rorschach".split()
)
# First names that are words too: masked only where a rule finds them, never by author alone.
_WORDS = frozenset(
    "will mark grace hope faith joy rose may june april august art bill bob chase christian dawn "
    "daisy dean drew earl faith frank gene glory grant harmony heather ivy jack jade jay jean jewel "
    "king lane lily long love low lee max mercy miles misty olive page patience pat penny pearl "
    "pierce ray rich rob robin ruby rusty sandy sky stone storm sue summer sunny trinity victor "
    "ward wade wood woods young white black brown green day case short strong small wise high good "
    "cook baker price hand head field fields hill banks best west east north south park parks".split()
)


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
    """Names by the words that stand around them.

    Args:
        keep: names (lower case) that are never masked.
    """

    def __init__(self, keep: frozenset[str] = frozenset()) -> None:
        self.keep = keep

    def find(self, text: str) -> list[NameSpan]:
        """Spans of names that a rule finds."""
        found = [match.span(1) for rule in _RULES for match in rule.finditer(text)]
        tail = max(0, len(text) - 200)
        sign_off = _SIGN_OFF.search(text, tail)
        if sign_off:
            found.append(sign_off.span(1))
        spans = []
        for start, end in found:
            trimmed = trim_name(text, start, end, self.keep)
            if trimmed:
                spans.append(trimmed)
        return spans


class AuthorNames:
    """Names out of the row's author columns: whole, and by their parts."""

    def __init__(self, authors: tuple[str, ...]) -> None:
        names = [name for author in authors for name in [author_name(author)] if name]
        patterns: list[str] = []
        for parts in names:
            patterns.append(r"[ ]+(?:[A-Z]\.? ?)?".join(_spelled(p) for p in parts))
            patterns += [
                _spelled(p) for p in parts if len(p) > 2 and p.lower() not in _WORDS | _STOP
            ]
        self._pattern = re.compile("|".join(rf"\b(?:{p})\b" for p in patterns)) if patterns else None

    def find(self, text: str) -> list[NameSpan]:
        """Spans of the authors' names."""
        if self._pattern is None:
            return []
        return [NameSpan(*m.span()) for m in self._pattern.finditer(text)]


def _spelled(part: str) -> str:
    # A slug has lost its capitals: "mccracken" stands for McCracken, "dana" for Dana.
    first, rest = part[0].upper(), part[1:]
    return re.escape(first) + f"(?i:{re.escape(rest)})"


def author_name(author: str) -> list[str]:
    """First and last name out of an author cell.

    Reads ``https://host/therapists/jane-roe-lcsw``, ``Jane Roe, LCSWHelping families``, and
    ``Jane Roe``: a credential or a comma ends the name, and so does a word glued to it.
    """
    author = author.strip()
    if "://" in author:
        slug = author.rstrip("/").rsplit("/", 1)[-1]
        words = [w for w in re.split(r"[-_.]", slug) if w.isalpha()]
    else:
        words = re.split(r"\s+", re.split(r"[,\n(|]| - ", author, maxsplit=1)[0])
    name: list[str] = []
    for word in words:
        if _CREDENTIAL.match(word.strip(".,-")) or len(name) == 3:
            break
        if word.lower().strip(".") in ("dr", "mr", "mrs", "ms", "miss", "rev"):
            continue
        if len(word.strip(".")) < 2:
            continue
        glued = re.match(r"(?:Mc|Mac|De|La|Le|Van|Di|O['\u2019])?[A-Z][a-z]+(?=[A-Z])", word)
        name.append(glued.group() if glued and "://" not in author else word.strip(".,-"))
        if glued and "://" not in author:
            break
    return name[:1] + name[-1:] if len(name) > 2 else name


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
    if not kept:
        return None
    first, last = kept[0][0], kept[-1][1]
    # "Sarah's" keeps its ending; so does a full stop.
    raw = text[first:last]
    body = re.sub(r"(?:['\u2019]s)?[.,!?;:)\]]*$", "", raw) if not re.search(r"[A-Z]\.$", raw) else raw
    if not body or not body[0].isupper() or body.lower() in keep or _public(body, keep):
        return None
    return NameSpan(first, first + len(body))


def _no_name(word: str, keep: frozenset[str]) -> bool:
    bare = re.sub(r"['\u2019]s$", "", word.strip(".,!?;:()[]\"'\u2019")).lower()
    contracted = re.match(r"(?:i|you|he|she|it|we|they|that|there|what|let|don|can|isn)['\u2019]", bare)
    return bare in _STOP or bool(contracted) or bare in keep or bool(_CREDENTIAL.match(bare))


def _public(name: str, keep: frozenset[str]) -> bool:
    return name.split()[-1].lower() in _PUBLIC | keep


class Placeholders:
    """Gives each person of one conversation a number; a part of a name is the same person."""

    def __init__(self) -> None:
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
