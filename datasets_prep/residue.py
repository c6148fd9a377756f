"""What masking leaves behind in answers: greetings by name, signatures, links to nowhere.

A model that trains on them learns to sign with a placeholder, and to point at nothing.
"""

from __future__ import annotations

import re
from itertools import pairwise

from datasets_prep.conversation import Message, Span, replace_all
from datasets_prep.crisis_lines import names_crisis_line, names_help
from datasets_prep.glue import split_glued
from datasets_prep.patterns import GAPS, PLACEHOLDER
from datasets_prep.sentences import sentences

_GREETING = re.compile(
    r"\A(?:Hi|Hello|Hey|Dear)(?: there)?,? (?=[^,.!:\n]{0,40}\[NAME_\d+\])[^,.!:\n-]{1,40}"
    r"[,.!:\s-]+(?=\S)"
)
_SIGNED = r"\[(?:NAME_\d+|URL|EMAIL|PHONE|HANDLE)\]"
# From a placeholder that opens the last sentence to the end, with nothing but credentials, places
# and placeholders between: a lower-case word makes it a sentence, and it stays.
_SIGNATURE = re.compile(
    rf"(?:(?<=[.!?,)~\u2026\"-])\s*|(?<=\])\s+|\n\s*|\s+(?=[-\u2013\u2014~*(])|(?<=\w)(?=\[NAME))"
    rf"[-\u2013\u2014~*\s(]*(?:Dr\.?\s+)?{_SIGNED}"
    # Possessive, as initials ("A.B.C.") could be cut up in more ways than can be tried.
    rf"(?:{_SIGNED}|\(pre-licensed\)|[A-Z][\w.'\u2019]*+|\b(?:and|of|in|the|at|for|to)\b"
    r"|[\s,.;:~|&()/*+\u00ae\u2013\u2014-])*+\Z"
)
# More lines than a signature has, and what stands behind a brand.
_SIGNED_LINES = 4
_BRAND = re.compile("[\u00ae\u2122]")
_MARK = re.compile(r"[-\u2013\u2014~*]")
_CREDENTIALS = re.compile(r"\][,\s]+(?:[A-Z][A-Za-z]?\.? ?){2,}|\]\s*[,(|]\s*[A-Z]")
_CLOSING = re.compile(
    r"\b(?:best|wishes|regards|warmly|sincerely|cheers|blessings|namaste|take care|luck|"
    r"be well|with care|yours|truly|respectfully|in health|peace|love|hugs|xoxo|thanks|thank you)"
    r"(?: to (?:you|all)(?: (?:both|all|two)| and your \w+)?| to (?:both|all) of you)?[\s,.!~-]*\Z",
    re.IGNORECASE,
)
_CLOSING_COMMA = re.compile(r"[\s,~-]+\Z")
_LINK = re.compile(r"\[(?:URL|EMAIL|PHONE)\]")
_LINKS = rf"{_LINK.pattern}(?:(?:,|;| and| or| &)? {_LINK.pattern})*"
_IN_BRACKETS = re.compile(rf"\s*[(](?:see|at|via|here:?)?\s*{_LINKS}\s*[)]")
_WITH_PREPOSITION = re.compile(
    rf"\s*(?:[:,-]|\b(?:(?:or|and) )?(?:at|via|on|through|see|visit))?\s*{_LINKS}"
)
# A link closes what it belongs to, although its stop went with it, and opens what follows a stop.
_LINK_EDGE = re.compile(
    r"(?<=\[URL\])[.)]*\s*(?=[A-Z][a-z'\u2019]*[\s,])|(?<=[.!?])[\"\u201d)]?(?=\[URL\])"
)
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


def without_greeting(message: Message, turn: int) -> list[Span]:
    """Take a masked salutation off the front of an answer; the next word opens it then."""
    spans: list[Span] = []
    text = replace_all(_GREETING, "", message.content, turn, spans)
    if spans:
        message.content = text[:1].upper() + text[1:]
    return spans


def without_signature(message: Message, turn: int) -> list[Span]:
    """Take a masked signature off the end of an answer."""
    match = _SIGNATURE.search(message.content, max(0, len(message.content) - 250))
    if match is None or match.start() == 0:
        return []
    body = message.content[: match.start()].rstrip()
    signed = match.group()
    if _LINK.search(signed) and "[NAME" not in signed:
        return []
    if signed.strip().count("\n") > _SIGNED_LINES or _BRAND.search(signed):
        return []
    if not _is_signature(body, signed):
        return []
    closed = _CLOSING_COMMA.sub("", body)
    message.content = closed if closed[-1:] in '.!?\u2026"\u201d)' else f"{closed}."
    return [Span(turn, len(body), match.group(), "")]


def _is_signature(body: str, signed: str) -> bool:
    """Whether what ends an answer signs it; in "Call Maria and Tom." it was asked for."""
    opened = signed.lstrip()
    on_its_line = "\n" in signed[: len(signed) - len(opened)]
    glued = body[-1:].isalnum() and signed.startswith("[")
    if on_its_line or glued or _MARK.match(opened):
        return True
    if _CREDENTIALS.search(signed) or _CLOSING.search(body):
        return True
    # A name by itself after a whole sentence; with a stop of its own it is a sentence too.
    return body[-1:] in '!.\u2026)"\u201d' and signed.rstrip()[-1:] not in ".?!"


def without_dead_links(message: Message, turn: int, keep: frozenset[str]) -> list[Span]:
    """Take out the sentences that point to a masked link; those that name crisis help stay.

    Args:
        message: changed in place.
        turn: its index.
        keep: digits of further crisis lines that the definition names.
    """
    if not _LINK.search(message.content):
        return []
    spans: list[Span] = []
    text = replace_all(_IN_BRACKETS, "", message.content, turn, spans)
    pieces: list[str] = []
    for start, end in _pieces(text):
        piece = text[start:end]
        if not _LINK.search(piece) and not _ANNOUNCED.search(piece):
            pieces.append(piece)
        elif _CRISIS.search(piece) or names_help(piece) or names_crisis_line(piece, keep):
            cut: list[Span] = []
            pieces.append(replace_all(_WITH_PREPOSITION, "", piece, turn, cut))
            spans += [Span(turn, start + span.start, span.before, "") for span in cut]
        else:
            spans.append(Span(turn, start, piece, ""))
            pieces.append("\n" if piece.endswith("\n") else "")
    rest = split_glued(GAPS.sub(" ", "".join(pieces)).strip(), turn, spans)
    message.content = f"{rest}." if rest[-1:].isalnum() else rest
    return spans


def _pieces(text: str) -> list[tuple[int, int]]:
    cuts: list[tuple[int, int]] = []
    for start, end in sentences(text):
        marks = [start, *(m.end() for m in _LINK_EDGE.finditer(text, start, end)), end]
        cuts += [(a, b) for a, b in pairwise(marks) if a < b]
    return cuts


def has_placeholder(text: str) -> bool:
    """Whether anything was masked in a text."""
    return PLACEHOLDER.search(text) is not None
