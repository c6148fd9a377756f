"""Sentences that were glued together get their space back; identifiers and addresses stay whole."""

from __future__ import annotations

import re
from pathlib import Path

from datasets_prep.conversation import Span
from datasets_prep.patterns import EMAIL, URL, may_hold_email, may_hold_url

# Words that open sentences: counted in counsel-chat, without those that are names of things.
OPENERS = frozenset(
    (Path(__file__).parent / "lexicons" / "openers.txt").read_text(encoding="utf-8").split()
)
# No identifier ends in these.
_SURE_OPENERS = frozenset(
    {"I", "A", "The", "This", "That", "These", "Those", "It", "It's", "He", "She", "We", "They"}
    | {"You", "Your", "My", "His", "Her", "Their", "Our", "If", "When", "But", "And", "So"}
    | {"Because", "Although", "However", "What", "Why", "How", "Who", "There", "Then"}
)
_PROTECTED = re.compile(rf"{URL.pattern}|{EMAIL.pattern}", re.I)
# A text with these speaks of code, and its stops join names.
_CODE_TALK = re.compile(
    r"[`{}]|\w\(\)|\w_\w|::|->|=>|[=!]=|</|#include|\bimport \w|\b(?:API|syntax|compiler)s?\b"
)
# Words of everyday too ("the boys in my class"): two different ones together are of code.
_CODE_WORDS = re.compile(
    r"\b(code|class|function|method|module|package|library|variable|script|object|string)(?:e?s)?\b"
)

# The word before the stop has two lower-case letters, which leaves out U.S., e.g., Ph.D. and
# initials; what follows is a capitalised word, "I" or "A", which leaves out versions and decimals.
_NEXT = (
    r"(?=[\"'\u201c\u2018(]?"
    r"(?:[A-Z\u00c0-\u00de][a-z\u00df-\u00ff'\u2019]|[IA](?:[ '\u2019,]|$))|[\u00bf\u00a1])"
)
# Sentences glued without a stop ("the argumentDiscuss what you find"), as where the marks of a list
# were lost. Only before words that open sentences: getName, groupBy and deviantArt are one word.
_AFTER_WORD = (
    "After|Also|Another|Consider|Discuss|First|Have|Help|Hope|However|Keep|Lack|Learn|Look|Make|"
    "Maybe|Most|Often|Once|Perhaps|Please|Realize|Remember|Some|Sometimes|Take|Talk|That|Their|"
    "Then|There|These|They|This|Those|What|When|Where|Which|While|Without|You|Your|If|We|It"
)
_WORDS = rf"(?<![\w@#./\\-])[a-z]{{5,}}(?=(?:{_AFTER_WORD})[ ,'\u2019\n])"
GLUED = re.compile(
    r"(?:(?:(?<=[a-z\u00df-\u00ff]{2})|(?<=[a-z]['\u2019][a-z]))[\"'\u201d\u2019)\]]*[.!?]+[\"\u201d\u2019)]*"
    r"|(?<=[a-z\u00df-\u00ff]{2})[\"'\u201d\u2019)\]]*\u2026"
    r"|(?<=[a-z])[!?]+|(?<=\d{4})[.!?]|(?<=[)\]])[.!?]+|(?<= I)[.!?]+|(?<=[A-Z]{2})[.!?]"
    r"|(?<=[:;])[)]"
    r"|(?<=[\s-][aI])[.!?]|(?<=[a-z\u00df-\u00ff]{2})[,:;])"
    + _NEXT
    # The next point of a list: "arms.6. Remember".
    + r"|(?<=[a-z]{2})[.!?:;](?=\d{1,2}[.)] ?[A-Z])|"
    + _WORDS
)
# What stands in every match of the above: cheap to look for.
MAY_BE_GLUED = re.compile(
    "[.!?\u2026,:;\"'\u201d\u2019)\\]][A-Z\\d\u00c0-\u00de\u00bf\u00a1\"'\u201c\u2018(]|[a-z][A-Z]"
)
# In ``I"m`` it stands for an apostrophe.
_QUOTES = re.compile(r'(?<![A-Za-z])"|"(?![a-z])')
_WORD_AROUND = re.compile(r"\S+\Z")
_SPACE = re.compile(r"\s")
_APOSTROPHE = re.compile("['\u2019]")
_LONGEST_WORD = 300
_NAME_BEFORE = re.compile(r"[\w.]*\Z")
_WORD_AFTER = re.compile(r"[\"'\u201c\u2018(]?([^\W\d_]+(?:['\u2019][a-z]+)?)(.{0,2})", re.S)


def split_glued(
    text: str, turn: int = 0, spans: list[Span] | None = None, lost: bool = False
) -> str:
    """Put a space between sentences that were glued together, outside URLs and emails.

    Between two words that a single stop or comma joins, as in ``System.Out``, only where the second
    one opens sentences, or the text has lost its spaces elsewhere too, or the source is known for
    it (``lost``).
    """
    spans = [] if spans is None else spans
    matches = _glued(text)
    if not matches:
        return text
    code_talk = bool(_CODE_TALK.search(text) or len(set(_CODE_WORDS.findall(text))) > 1)
    lost = lost or (not code_talk and sum(map(_opens, matches)) >= 2)
    pieces: list[str] = []
    end = 0
    for match in matches:
        if lost or _opens(match, sure=code_talk):
            new = _with_space(match)
            spans.append(Span(turn, match.start(), match.group(), new))
            pieces += [text[end : match.start()], new]
            end = match.end()
    return "".join(pieces) + text[end:]


def _glued(text: str) -> list[re.Match[str]]:
    """Matches of `GLUED`, which hold no space, in the words that may hold one.

    The pattern looks back and ahead at every letter; a hundredth of all words are worth that.
    """
    found: list[re.Match[str]] = []
    end = 0
    for sign in MAY_BE_GLUED.finditer(text):
        if sign.start() < end:
            continue
        word = _WORD_AROUND.search(text, max(end, sign.start() - _LONGEST_WORD), sign.start() + 1)
        after = _SPACE.search(text, sign.end())
        start = word.start() if word else sign.start()
        end = after.start() if after else len(text)
        # What the pattern looks ahead for ends a few letters behind the word.
        found += [m for m in GLUED.finditer(text, start, end + 12) if m.start() < end]
    if not found:
        return []
    lower = text.lower()
    if not may_hold_url(lower) and not may_hold_email(lower):
        return found
    guards = [m.span() for m in _PROTECTED.finditer(text)]
    return [m for m in found if not any(s < m.end() and m.start() <= e for s, e in guards)]


def _opens(match: re.Match[str], sure: bool = False) -> bool:
    """Whether what follows the match starts a sentence by its own look."""
    stop = match.group()
    if stop.isalpha():
        return not sure
    if stop[-1:] not in ".,:;" or len(stop) > 1:
        # An exclamation mark, a bracket or a quotation mark before the stop: no identifier.
        return not sure or stop[-1:] in "!?"
    text = match.string
    if text[match.end() : match.end() + 1].isdigit() or text[match.start() - 1] in "0123456789)]":
        return not sure
    after = _WORD_AFTER.match(text, match.end())
    if after is None:
        return not sure
    word, tail = after[1], after[2]
    if tail[:1] in ("(", "_", "[") or (tail[:1] == "." and tail[1:].isalpha()):
        return False
    before = _NAME_BEFORE.search(text, max(0, match.start() - 40), match.start())
    name = before.group() if before else ""
    if word in _SURE_OPENERS or _APOSTROPHE.split(word)[0] in _SURE_OPENERS:
        return "." not in name
    return not sure and name.islower() and "." not in name and word in OPENERS


def _with_space(match: re.Match[str]) -> str:
    stop = match.group()
    if stop.isalpha():
        return stop + ". "
    if stop.endswith('"') and len(_QUOTES.findall(match.string, 0, match.end() - 1)) % 2 == 0:
        # The quotation mark opens the next sentence.
        return stop[:-1] + ' "'
    return stop + " "
