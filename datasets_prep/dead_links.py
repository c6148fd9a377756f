"""Links that masking emptied: the link goes, the advice around it stays.

A model that trains on them learns to point at nothing. What a sentence says beside its link stays
word for word; a sentence, or a clause of one, that does nothing but point there goes with it.
"""

from __future__ import annotations

import re
from itertools import pairwise

from datasets_prep.code import code_spans, without_code
from datasets_prep.conversation import Message, Span, replace_all
from datasets_prep.crisis_lines import names_crisis_line, names_help
from datasets_prep.dangling import hangs_on_what_went
from datasets_prep.glue import split_glued
from datasets_prep.patterns import GAPS, MASKED_LINK, joined
from datasets_prep.sentences import sentences
from datasets_prep.tables import is_table_line
from datasets_prep.words import has_unspaced, word_count

_LINKS = rf"{MASKED_LINK.pattern}(?:(?:,|;|\u3001|\uff0c| and| or| &)? ?{MASKED_LINK.pattern})*"
_IN_BRACKETS = re.compile(rf"\s*[(](?:see|at|via|here:?)?\s*{_LINKS}\s*[)]")
_WITH_PREPOSITION = re.compile(
    rf"\s*(?:[:,-]|\b(?:(?:or|and) )?(?:at|via|on|through|see|visit))?\s*{_LINKS}"
)
# A link closes what it belongs to, although its stop went with it, and opens what follows a stop.
_LINK_EDGE = re.compile(
    r"(?<=\[URL\])[.)]*\s*(?=[A-Z][a-z'\u2019]*[\s,])|(?<=[.!?])[\"\u201d)]?(?=\[URL\])"
)
# A sentence that lost its space: "with actions.Dr. Roe".
_GLUED = re.compile(r"(?<=[a-z][.!?])(?=[A-Z][a-z])")
# Announces a link, in a sentence of its own that points to nothing once the link is gone.
_ANNOUNCED = re.compile(
    r"\b(?:here(?:'s|\u2019s| is| are)|the following|see|in the) (?:a |the |some )?links?\b"
    r"|\blinks? (?:below|here|above)\b"
    r"|\bhere(?:'s|\u2019s| is) (?:a |the |my )?(?:url|web ?site)\b",
    re.IGNORECASE,
)
# Where help is named at once: such a sentence stays, whatever it points to.
_CRISIS = re.compile(
    r"\b(?:suicid\w*|crisis|crises|hot ?lines?|helplines?|lifelines?|emergency|911|988"
    r"|(?:hurt|harm|kill)(?:ing)? (?:your|them|him|her)sel(?:f|ves))\b",
    re.IGNORECASE,
)

# "According to [URL], ..." opens a sentence that stands without it.
_OPENING = re.compile(
    r"\A\s*(?:According to|As (?:\w+ )?(?:on|at|in)|On|At|In|From|Via|Per|See) (?:the )?"
    rf"{_LINKS}\s*[,:]\s+"
)
# ", which you can find at [URL]", "(available at [URL])", "found on [URL]".
_RELATIVE = re.compile(
    rf",? (?:which|that|who|whom|where) [^,;:.!?]*?{_LINKS}[^,;:.!?]*"
    r"|(?<! is)(?<! are)(?<! was)(?<! were)(?<! be),? (?:found|available|located|posted|listed|"
    r"published|explained|described)"
    rf"(?: here| online| for free| free)? (?:at|on|via|through|here:?|in):? ?{_LINKS}"
)
# Where one clause ends and the next begins.
_BOUNDARY = re.compile(
    rf"[\uff1b\uff0c]|\s*[;:]\s+(?!{MASKED_LINK.pattern})|,? \u2013 |,? - |\s*\u2014\s*|"
    r", (?=(?:I|you|we)\b)|"
    r",? (?:and|or|but|so|then) (?:then |also )?"
    r"(?=(?:you|I|we|they|he|she|it|this|there|please|maybe|visit|go|check|look|see|read|call|text|"
    r"email|e-mail|contact|reach|click|find|feel|try|take|give|get|ask|talk|use|start|keep|learn|"
    r"follow|download|google|search|let|walk|come|drop|stop|write|ring|wait|speak|don't|don\u2019t)\b)"
)
# Says no more than where to look, whom to call.
_POINTS = re.compile(
    r"\b(?:visit|click|check(?:ing)? (?:out|it|them|this)|go(?:ing)? to|"
    r"look(?:ing)? (?:at|up|for|here)|see|read|info(?:rmation)?|learn (?:more|about)|find out|"
    r"resources?|contact|reach|call|phone|text|e-?mail|web ?sites?|web ?pages?|pages?|sites?|"
    r"links?|blogs?|articles?|posts?|videos?|podcasts?|urls?|online|download|order|schedule|appointments?|"
    r"consultations?|sessions? with me|subscribe|follow|i (?:am|offer|wrote)|here|"
    r"below|above|my (?:\w+ )?(?:practice|office|profile|number|book|course|program|services)|"
    r"following|addresse?s?|numbers?|watch|listen to|google|search)\b"
    # Phone, address of the net, site, mail, dial, get in touch, look at.
    r"|\u7535\u8bdd|\u96fb\u8a71|\u7f51\u5740|\u7f51\u7ad9|\u90ae\u7bb1|\u62e8\u6253|\u8054\u7cfb|\u67e5\u770b|\u94fe\u63a5",
    re.IGNORECASE,
)
# A clause that hangs on another says nothing by itself.
_HANGS = re.compile(
    r"(?:If|When|Whenever|Because|Although|Though|As|While|Since|For|To|Once|After|Before|Until|"
    r"Unless|Where|Whether|In order|In \w+ing|Here)\b(?![^,]*,\s+\w)"
    # An example of what went.
    r"|(?:for (?:example|instance)|such as|e\. ?g|including|like|zum Beispiel|z\. ?B|wie|etwa|"
    r"par exemple|por ejemplo)\b",
    re.IGNORECASE,
)
_LEAST_WORDS = 4
# A line with nothing but the mark of a list.
_BARE_MARK = re.compile(r"^[ \t]*(?:\d{1,2}[.)]|[-*\u2022])[ \t]*(?:\n|\Z)", re.M)
# Shows what such a thing looks like, and points nowhere: "an email such as [EMAIL]:".
_SHOWN = re.compile(
    r"\b(?:an?|any|each|every) (?:\w+ )?(?:e-?mail|urls?|links?|phone|numbers?|web ?site|domain|"
    r"host|string|text|input|address)(?: address| number)?,? (?:such as|like|as in|e\.g\.,?) "
    rf"{_LINKS}",
    re.IGNORECASE,
)
# A link that says where, and that the sentence can spare: "a worksheet on [URL]".
_SPARE = re.compile(
    rf"\b(?:at|on|via|through|from|in) (?:the )?{_LINKS}|,\s*{_LINKS}(?=[.!?]?\s*\Z)"
)
_BY_COLON = re.compile(rf":\s*{_LINKS}")
# What a cut leaves at an end says that the link was a part of the sentence.
_OPEN_END = re.compile(
    r"\b(?:with|to|like|of|for|by|from|as|and|or|the|a|an|is|are|try|at|in|on|called|named|this|these|"
    r"al|a|en|de|el|la)\W*\Z",
    re.IGNORECASE,
)
# What joined a clause to one that went.
_JOINT = re.compile(r"\A(?:[\s;:,\uff1b\uff0c\u3001\u2013\u2014-]|(?:and|or|but|so|then|also)\b)+")
# Stands for something said before.
_SAID_BEFORE = re.compile(
    r"\b(?:(?:that|this|those|these) (?!they|you|we|i|he|she|is|are|was|were|may|can|will)\w+|it|"
    r"them|him|her)\b",
    re.IGNORECASE,
)
# Who answers offers help of their own, behind which the link stood.
_OFFERS = re.compile(
    r"\bI (?:am licensed|(?:also )?(?:provide|offer|speciali[sz]e|practice)|see clients|"
    r"have openings|am (?:a|an) (?:licensed|certified|therapist|counsell?or|psychologist|coach)|"
    r"wrote a )"
)


def without_dead_links(
    message: Message, turn: int, keep: frozenset[str]
) -> tuple[list[Span], list[Span]]:
    """Take masked links out of an answer, with what only points there.

    Args:
        message: changed in place.
        turn: its index.
        keep: digits of further crisis lines that the definition names.

    Returns:
        The spans of sentences that went, and those of links cut out of sentences that stay.
    """
    gone: list[Span] = []
    cut: list[Span] = []
    if not MASKED_LINK.search(message.content):
        return gone, cut
    text = replace_all(_IN_BRACKETS, "", message.content, turn, cut)
    # What the code of an answer says of links is the program's.
    prose = without_code(text)
    pieces: list[str] = []
    went = False
    for start, end in _pieces(text):
        piece = text[start:end]
        said = prose[start:end]
        hangs = went and hangs_on_what_went(said, "".join(pieces), keep)
        # An empty line changes nothing.
        went = went and not said.strip()
        if hangs and not MASKED_LINK.search(said):
            gone.append(Span(turn, start, piece, ""))
            pieces.append("\n" if piece.endswith("\n") else "")
            went = True
            continue
        if not MASKED_LINK.search(said) and not _ANNOUNCED.search(said):
            pieces.append(piece)
            continue
        if _SHOWN.search(said):
            pieces.append(piece)
            continue
        help_is_named = _CRISIS.search(piece) or names_help(piece) or names_crisis_line(piece, keep)
        if help_is_named:
            rest = _WITH_PREPOSITION.sub("", piece)
        else:
            rest, went = _advice(piece)
        if rest.strip():
            cut.append(Span(turn, start, piece, rest))
        else:
            gone.append(Span(turn, start, piece, ""))
            went = True
            rest = "\n" if piece.endswith("\n") else ""
        pieces.append(GAPS.sub(" ", rest))
    rest = joined(*pieces).strip()
    if gone and not _BARE_MARK.search(text):
        # Nothing is left of a point but its mark.
        rest = _BARE_MARK.sub("", rest).strip()
    if not code_spans(rest):
        rest = split_glued(rest, turn, cut)
    open_ended = rest[-1:].isalnum() and not is_table_line(rest[rest.rfind("\n") + 1 :])
    message.content = rest + _stop(rest) if open_ended else rest
    return gone, cut


def _advice(sentence: str) -> tuple[str, bool]:
    """What a sentence says beside its link, and whether its last clause went with the link.

    Empty when it only points there.
    """
    text = _RELATIVE.sub("", _OPENING.sub("", sentence))
    clauses = [text[a:b] for a, b in _clauses(text)]
    kept: list[str] = []
    said = True
    for index, clause in enumerate(clauses):
        said = not (MASKED_LINK.search(clause) or _ANNOUNCED.search(clause)) or _stands(clause)
        if len(kept) < index and (_SAID_BEFORE.search(clause) or (not kept and not _leads(clause))):
            # What it may mean by "it" is gone.
            said = False
        if not said and kept and clause.lstrip()[:1] == ":" and _POINTS.search(kept[-1]):
            kept.pop()
        said = said and not _OFFERS.search(clause)
        if said:
            kept.append(clause)
    rest = _WITH_PREPOSITION.sub("", "".join(kept)).strip()
    if not rest or (len(kept) == 1 and not _stands(rest)):
        return "", True
    rest = _JOINT.sub("", rest).rstrip(" ,;:-\uff1b\uff0c\u3001\u2013\u2014")
    first = next((i for i, c in enumerate(rest) if c.isalpha()), None)
    if first is None:
        return "", True
    rest = rest[:first] + rest[first].upper() + rest[first + 1 :]
    stop = "" if rest[-1:] in '.!?\u2026"\u201d)\u3002\uff01\uff1f' else _stop(rest)
    after = sentence[len(sentence.rstrip()) :]
    return rest + stop + (after or " "), not said


def _stop(text: str) -> str:
    """The full stop of a text's script."""
    return "\u3002" if has_unspaced(text[-2:]) else "."


def _clauses(text: str) -> list[tuple[int, int]]:
    found = [m.start() for m in _BOUNDARY.finditer(text) if _is_outside(text[: m.start()])]
    marks = [0, *found, len(text)]
    return [(a, b) for a, b in pairwise(marks) if a < b]


def _leads(clause: str) -> bool:
    """Whether a clause can open the sentence in place of what went before it."""
    return _stands(clause) and not _POINTS.search(clause)


def _is_outside(before: str) -> bool:
    """Whether neither quotation marks nor brackets are open behind a text."""
    closed = before.count('"') % 2 == 0 and before.count("\u201c") <= before.count("\u201d")
    return closed and before.count("(") <= before.count(")")


def _stands(clause: str) -> bool:
    """Whether a clause, without its link, is advice that stands by itself."""
    bare = _JOINT.sub("", _WITH_PREPOSITION.sub("", clause).strip())
    if _ANNOUNCED.search(clause):
        return False
    if MASKED_LINK.search(clause):
        spared = MASKED_LINK.search(_SPARE.sub("", clause)) is None and not _BY_COLON.search(clause)
        if not spared or _POINTS.search(bare) or _OPEN_END.search(bare):
            return False
    return word_count(bare) >= _LEAST_WORDS and not _HANGS.match(bare)


def _pieces(text: str) -> list[tuple[int, int]]:
    cuts: list[tuple[int, int]] = []
    for start, end in sentences(text):
        edges = {m.end() for p in (_LINK_EDGE, _GLUED) for m in p.finditer(text, start, end)}
        marks = [start, *sorted(edges - {start, end}), end]
        cuts += [(a, b) for a, b in pairwise(marks) if a < b]
    return cuts
