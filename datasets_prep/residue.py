"""What masking leaves behind in answers: greetings by name and signatures.

A model that trains on them learns to sign with a placeholder.
"""

from __future__ import annotations

import re

from datasets_prep.conversation import Message, Span, replace_all
from datasets_prep.foreign_names import CLOSINGS
from datasets_prep.patterns import MASKED_LINK, PLACEHOLDER
from datasets_prep.tables import is_item

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
    r"(?:this|that|it) helps|be well|with care|yours|truly|respectfully|in health|peace|love|hugs|"
    rf"xoxo|thanks|thank you|{CLOSINGS})"
    r"(?: to (?:you|all)(?: (?:both|all|two)| and your \w+)?| to (?:both|all) of you)?[\s,.!~-]*\Z",
    re.IGNORECASE,
)
# Of these, what says nothing without a name under it; a line or a sentence of its own.
_FORMAL = re.compile(
    r"(?:\n[ \t]*|(?<=[.!?)])\s*)"
    rf"(?:{CLOSINGS}|(?:all the |with )?best|(?:kind(?:est)?|best|warm(?:est)?|with)? ?regards|"
    r"(?:yours )?(?:sincerely|truly|respectfully)|yours|warmly|cheers)[\s,.!~-]*\Z",
    re.IGNORECASE,
)
_CLOSING_COMMA = re.compile(r"[\s,~-]+\Z")
# The title of a name that went, and what stood before a number.
_TITLE = re.compile(
    r"[\s,;]*\b(?:Dr|Prof|Dipl\.-\w+|t[e\u00e9]l(?:efono?|\u00e9fono)?|phone|fax|mobile?)\.?:?\Z",
    re.I,
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
    text = message.content
    match = _SIGNATURE.search(text, max(0, len(text) - 250))
    if match is None or match.start() == 0:
        return []
    body = text[: match.start()].rstrip()
    signed = match.group()
    if MASKED_LINK.search(signed) and "[NAME" not in signed:
        return []
    if signed.strip().count("\n") > _SIGNED_LINES or _BRAND.search(signed):
        return []
    if is_item(text, match.end() - len(signed.lstrip())):
        return []
    if not _is_signature(body, signed):
        return []
    closed = _CLOSING_COMMA.sub("", _FORMAL.sub("", _TITLE.sub("", body)).rstrip())
    message.content = closed if closed[-1:] in '.!?\u2026"\u201d)' else f"{closed}."
    start = min(len(closed), len(body))
    return [Span(turn, start, text[start:], message.content[start:])]


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


def has_placeholder(text: str) -> bool:
    """Whether anything was masked in a text."""
    return PLACEHOLDER.search(text) is not None
