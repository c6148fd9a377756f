"""Names of nobody in the conversation: public people, figures of stories, what is called after one.

A given name alone says that a person is meant, not which. Here stands what makes it public: the
whole name is known, or an impersonal sentence tells of works and offices, or of a story; an article
before it makes a thing of it. What a rule finds by the words of a private life ("my brother Tom",
"my name is Anna") is not asked about.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from datasets_prep.name_rules import FICTION, FICTION_SURNAMES, WORKS
from datasets_prep.sentences import whole_sentences

_FILE = Path(__file__).parent / "lexicons" / "public_people.txt"
_LISTED = " ".join(
    line for line in _FILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
)
PEOPLE = frozenset(name.strip() for name in _LISTED.split(",") if name.strip())
# By a part of a name, the whole names that it belongs to.
_BY_PART: dict[str, list[list[str]]] = {}
for _name in PEOPLE | FICTION:
    _parts = _name.split()
    for _part in _parts:
        _BY_PART.setdefault(_part, []).append(_parts)

# Figures whose one name is enough.
_FIGURES = frozenset(name for name in FICTION if " " not in name) | FICTION_SURNAMES
_KNOWN_PAIRS = FICTION | WORKS | PEOPLE
# A creature that has a name has it from a story.
_CREATURE = re.compile(
    r"\b(?:dragon|wizard|witch|robot|knight|princess|prince|detective|alien|unicorn|elf|dwarf|giant|"
    r"fairy|mermaid|pirate|vampire|werewolf|ghost|mouse|bear|fox|squirrel|owl)s? "
    r"(?:named|called) \Z",
    re.IGNORECASE,
)
_WORD = re.compile(r"[\w.'\u2019-]*\w")
_TALK = re.compile(
    r"\b(?:I|I'm|I\u2019m|I've|I\u2019ve|I'd|me|my|mine|myself|we|us|our|you|your|yours)\b",
    re.IGNORECASE,
)
_FAMILY = re.compile(
    r"\b(?:(?:his|her|their) (?:wife|husband|partner|boyfriend|girlfriend|mom|mum|dad|mother|"
    r"father)|patient|client|defendant|plaintiff|witness|next of kin|pt)\b",
    re.IGNORECASE,
)
_TITLED = r"(?:the |a |an |his |her |its |their |many |several |over \d+ |\w+ )?"
_WORK = (
    r"novels?|books?|plays?|poems?|essays?|songs?|symphon(?:y|ies)|operas?|trilogy|series|albums?|"
    r"films?|movies?|paintings?|sonatas?|memoirs?|manifesto|theor(?:y|ies)|laws?|treatise|stor(?:y|ies)"
)
# What people of public life do and are, in a sentence about nobody here.
_DEEDS = re.compile(
    rf"\b(?:(?:wrote|writes|published|authored|composed|directed|recorded|released) {_TITLED}"
    rf"(?:[A-Z\"\u201c\u2018*_]|\d|{_WORK})"
    rf"|(?:{_WORK})(?: was| were| is)?(?: written| directed| composed| painted)? by"
    r"|painted (?:the |a |in )?[A-Z]|painted the (?:ceiling|portrait|mural)|sculpted|composer|"
    r"discovered|invented|patented|co-?founded|founded (?:the |a )?[A-Z]|conquered|reigned|"
    r"abdicated|assassinated|crowned|elected|inaugurated|invaded|colonized|explored|circumnavigated|"
    r"(?:won|awarded|received|winning)\b[^.!?]{0,40}\b(?:Prize|Cup|Medal|Oscars?|Grammys?|"
    r"Awards?|Slam|title|election|championship|Super Bowl|Olympics?|gold|World Series|Open)"
    r"|(?:beat|defeated|succeeded) [A-Z]\w+ [A-Z][^.!?]* in (?:1[0-9]|20)\d\d"
    r"|(?:played|starred|stars|cast|acted) (?:as |in )(?:the |a )?[A-Z]|drew (?:its|the) plans?"
    r"|Nobel|Pulitzer|walked on the Moon|orbit|Civil War|World War|Revolution|Renaissance|"
    r"Empire|dynasty|(?:Prime |prime )?[Mm]inister|[Cc]hancellor|(?:vice )?president of|President|"
    r"[Ss]enator|emperor|Emperor|(?:King|Queen|Pope|Tsar|Saint) [A-Z]|monarch|"
    r"\w+ (?:novelist|poet|painter|playwright|philosopher|physicist|chemist|mathematician|composer|"
    r"astronaut|explorer|inventor|sculptor|architect|economist|statesman|biologist|naturalist)"
    r"|the (?:capital|mould|penicillin)|built (?:DBT|ACT|CBT|EMDR)|\(\d{4} ?[-\u2013] ?(?:\d{4})?\)"
    r"|born (?:on|in) (?:\w+ \d{1,2}, )?1[0-9]\d\d|(?:1[0-9])th[- ]century|in 1[0-8]\d\d\b)",
)
# What people of public life did, behind the name, to something that has a name or a year.
_DID = re.compile(
    r"(?:'s|\u2019s)?,? (?:\w+ly |also |then |first |once |\(\d{4}[^)]*\) )?"
    r"(?:translated|served|joined|led|formed|commanded|governed|signed|voiced|hosted|coached|"
    r"captained|scored|produced|edited|ran|established|developed|proposed|coined|proved|formulated|"
    r"pioneered|popularized|built|designed|launched|fought|defeated|succeeded|ruled|played|sang|"
    r"starred|toured|flew|sailed|climbed|landed|found|introduced|named|described|died|lived|"
    r"became|was|is|has|holds|held|won|lost|beat)\b"
    r"(?: \w+){0,4}? (?:in \d{4}|(?:the |a |an |of |on |in |for |at |to |from |by |with )*"
    r"(?:first |last |best |only |youngest |oldest )?[A-Z][a-z]+|first|last|youngest|oldest|best)"
)
# "Which planet did William Herschel discover?" asks what everybody may know.
_ASKED = re.compile(
    r"\b(?:[Ww]ho|[Ww]hich|[Ww]hat|[Ww]hen|[Ww]here|[Ww]hy|[Hh]ow)\b[^.?!]*\b(?:did|was|were|is) \Z"
)
_ASKED_DEED = re.compile(
    r",? (?:discover|invent|write|paint|compose|found|win|die|born|direct|play|live|rule|lead|"
    r"ask|argue|teach|study|"
    r"famous|known|best known|first|president|king|queen|sign|build|design|record|sing|star)\w*\b"
)
# Names behind these words are of a story: "a novel about Billy", "spoilers about Mark".
_STORY_BEFORE = re.compile(
    r"\b(?:novels?|books?|films?|movies?|series|episodes?|seasons? \w+|characters?|protagonist|"
    r"plays?|stor(?:y|ies)|tales?|chapters?|spoilers?|sequel|trilogy|comics?|anime|manga|games?|plot|"
    r"scenes?|poem|musical|myth|legend|fable|villain|hero(?:ine)?)\b"
    r"(?: \w+){0,2} (?:about|on|of|where|in which|named|called|featuring|starring)\b"
    r"(?![^.!?]*\bwith \Z)[^.!?]*\Z"
    r"|\bin (?:chapter|act|scene|episode|season|book|part|level) \w+,? [^.!?]*\Z",
    re.IGNORECASE,
)
# A sentence that asks for a story: all of its people are made up.
STORY = re.compile(
    r"(?:\A|(?<=[.!?\n]) ?)(?:(?:please|can you|could you|would you|now|hey|hi|ok(?:ay)?)[, ]+)*"
    r"(?:write|tell|compose|create|make up|invent|continue|finish|give|draft|generate)"
    r"(?: (?:me|us))?(?: (?:a|an|the|another|some|this|my))?(?: [\w-]+){0,4} "
    r"(?:story|stories|poem|scene|script|tale|fable|song|lyrics|limerick|haiku|screenplay|dialogue|"
    r"fairy ?tale|chapter|novel|plot|ballad|sonnet|skit|fan ?fic(?:tion)?)\b",
    re.IGNORECASE,
)
# "The Maxwell report", "an old Harley": a thing. "The Michael I knew" is a person.
_ARTICLE = re.compile(
    r"\b(?:[Tt]he|[Aa]n?|[Tt]his|[Ee]very)(?: (?:old|new|classic|vintage|original|used))? \Z"
)
_OF_A_PERSON = re.compile(
    r"(?:'s|\u2019s)?,? (?:I|we|you|he|she|who|that|called|phoned|rang|asked|wrote|came|from)\b"
)
# "Leonardo of Pisa" is history.
_OF_A_PLACE = re.compile(r" of (?:the )?[A-Z]")
_SOFTWARE = frozenset(
    "julia ruby ada pascal haskell jenkins safari django jasper kafka grafana alexa siri "  # noqa: SIM905
    "cortana bixby claude gemini travis elsa maya".split()
)
_OF_SOFTWARE = re.compile(
    r"\b(?:programming|languages?|library|package|framework|codes?|browsers?|apps?|assistants?|servers?|"
    r"builds?|deploy\w*|install\w*|Chrome|Python|JavaScript|admin|tests?|job is|3D|speakers?)\b"
)
_FIRM = re.compile(r"[A-Z][\w'\u2019]* & [A-Z][\w'\u2019]*")
_CASE = re.compile(r"[A-Z]\w* vs?\. ")


class PublicNames:
    """Tells names in one text that are of nobody in the conversation."""

    def __init__(self, text: str) -> None:
        """Cut the text into its sentences when the first name asks."""
        self._text = text
        self._words: frozenset[str] = frozenset()
        self._spans: list[tuple[int, int]] = []

    def holds(self, start: int, end: int) -> bool:
        """Whether a name that only its given name tells is public, a figure's or a thing's."""
        text, name = self._text, self._text[start:end].strip(".,;:!?'\u2019")
        before = text[max(0, start - 30) : start]
        if _ARTICLE.search(before) and not _OF_A_PERSON.match(text, end):
            return True
        if _OF_A_PLACE.match(text, end) or self._is_software(name, start):
            return True
        if self._known(name):
            return True
        first, last = self._sentence(start)
        sentence = text[first:last]
        if any(m.start() <= start - first < m.end() for m in _FIRM.finditer(sentence)):
            return True
        if _CASE.search(text):
            return True
        if self._of_a_story(start):
            return True
        if " " not in name or _TALK.search(sentence) or _FAMILY.search(sentence):
            return False
        asked = _ASKED.search(text[first:start]) and _ASKED_DEED.match(text, end)
        return bool(asked or _DID.match(text, end) or _DEEDS.search(sentence))

    def made_up(self, start: int) -> bool:
        """Whether even a name that a rule finds is of a story: it tells of nobody here."""
        first, last = self._sentence(start)
        if _CREATURE.search(self._text[first:start]):
            return True
        return self._names_a_figure(first, last) and not _TALK.search(self._text, first, last)

    def _of_a_story(self, start: int) -> bool:
        first, last = self._sentence(start)
        before = self._text[first:start]
        told = _STORY_BEFORE.search(before) or _CREATURE.search(before)
        return bool(told) or self._names_a_figure(first, last)

    def _names_a_figure(self, first: int, last: int) -> bool:
        words = re.findall(r"[a-z][\w-]*", self._text[first:last].lower())
        pairs = {f"{a} {b}" for a, b in pairwise(words)}
        return not _FIGURES.isdisjoint(words) or not _KNOWN_PAIRS.isdisjoint(pairs)

    def _is_software(self, name: str, start: int) -> bool:
        first, last = self._sentence(start)
        return name.lower() in _SOFTWARE and bool(_OF_SOFTWARE.search(self._text, first, last))

    def _known(self, name: str) -> bool:
        """Whether the whole name is a public one's, or a part whose other parts stand around."""
        self._words = self._words or frozenset(_WORD.findall(self._text.lower()))
        lower = re.sub(r"['\u2019]s$", "", name.lower())
        words = lower.split()
        if lower in PEOPLE or lower in FICTION:
            return True
        if len(words) > 2 and not {" ".join(words[:2]), f"{words[0]} {words[-1]}"}.isdisjoint(
            PEOPLE
        ):
            return True
        if len(words) != 1:
            return False
        return any(self._words.issuperset(parts) for parts in _BY_PART.get(lower, ()))

    def _sentence(self, at: int) -> tuple[int, int]:
        """Start and end of the sentence around a position; "Mr." ends none."""
        if not self._spans:
            self._spans = whole_sentences(self._text)
        return next(((s, e) for s, e in self._spans if s <= at < e), (0, len(self._text)))
