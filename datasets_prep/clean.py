"""Clean: encodings, control characters, HTML, spacing and glued sentences; never inside code."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Literal

import ftfy
from ftfy.badness import is_bad

from datasets_prep.code import code_spans, is_indented_code, is_json
from datasets_prep.conversation import Conversation, Ledger, Span, changed_span, replace_all
from datasets_prep.glue import split_glued
from datasets_prep.markup import is_page, strip_markup
from datasets_prep.settings import CleanSettings
from datasets_prep.tables import in_table

_Cleaning = Callable[[str, int, dict[str, list[Span]]], str]
_FTFY = ftfy.TextFixerConfig(
    unescape_html=False,
    normalization=None,
    uncurl_quotes=False,
    fix_character_width=False,
    fix_latin_ligatures=False,
)
# What ftfy repairs or replaces beside garbled sequences, and the replacement character itself.
_BROKEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u206a-\u206f\ud800-\udfff\ufeff\ufff9-\ufffd]"
)
# Not U+3000: Chinese and Japanese indent with it.
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\v\f]|(?<=\\S)\t+(?=\\S)")
# C0 and C1 controls, zero-width spaces, the byte-order mark, the soft hyphen, direction overrides.
_CONTROL = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u200b\u2028\u2029\u202d\u202e\u2060-\u2064"
    "\u206a-\u206f\ufeff\ufff9-\ufffb]"
)
# Joiners and direction marks mean something beside letters whose script joins or runs to the left:
# Persian and the Indian scripts spell with them. Between others they are litter; emoji keep theirs.
_JOINER = re.compile("[\u200c-\u200f\u202a-\u202c\u2066-\u2069]")
_SPELT_WITH_JOINERS = re.compile(
    "[\u0590-\u08ff\u0900-\u0dff\u0e00-\u109f\u1780-\u18af\ufb1d-\ufeff]"
)
_EMOJI_BEFORE = re.compile("[\u2600-\u27bf\ufe0f\U0001f000-\U0001faff]\\Z")
# Ligatures of typesetting, which came out of a PDF.
_LIGATURES = re.compile("[\ufb00-\ufb06]")
_LINE_END = re.compile("\r\n?|\u2028|\u2029|\x85")
# A line that breaks off in mid-sentence, far from the margin: the text was wrapped by a program.
_WRAP = re.compile(r"(?<=[^\n]{40}[A-Za-z,;\"\u201d\u2019)])\n(?!\d+[.)])(?=[\w(\"\u201c\u2018])")
_WRAP_LOWER = re.compile(_WRAP.pattern + "(?=[a-z])")
# In a text that was wrapped, a short line that goes on in lower case is one of its lines too.
_WRAP_SHORT = re.compile(r"(?<=[A-Za-z,;\u2019])\n(?=[a-z])")
_LEAST_WRAPS = 3
_CAPITALS = re.compile(r"[.!?]\s+[A-Z]")
# A single space before a line is litter; more is the level of a list, or code.
_RUNS = re.compile(r"(?<=\S) {2,}(?=\S)|[ \t]+(?=\n)|\n{3,}|(?<=\n) (?=[^\s*+|\-\d])")
_MAY_RUN = re.compile(r"[ \t\n][ \n]")
_BLANK_LINES = re.compile(r"\A(?:[ \t]*\n)+")


class Cleaner:
    """Cleans texts as its settings say."""

    def __init__(self, settings: CleanSettings) -> None:
        """Keep the settings."""
        self.settings = settings

    def __call__(self, conversation: Conversation, ledger: Ledger) -> bool:
        """Clean every turn in place; each kind of change is one ledger line for the row."""
        found: dict[str, list[Span]] = {}
        for turn, message in enumerate(conversation.messages):
            if not is_json(message.content):
                message.content = self._turn(message.content, turn, found)
        for reason, spans in found.items():
            ledger.changed(conversation.id, reason, spans)
        return True

    def _turn(self, text: str, turn: int, found: dict[str, list[Span]]) -> str:
        """One turn: what stands between its code is cleaned piece by piece."""
        settings = self.settings
        for old, new in settings.replace.items():
            if old in text:
                literal = new.replace("\\", "\\\\")
                spans = found.setdefault("replaced", [])
                text = replace_all(re.compile(re.escape(old)), literal, text, turn, spans)
        if settings.html:
            # Before code is looked for, as <pre> and <code> hold it.
            page = is_page(text)
            clean = self._markup
            text = clean(text, turn, found) if page else _outside(text, turn, found, clean)
        text = _outside(text, turn, found, self._piece)
        stripped = _stripped(text) if settings.whitespace else text
        if stripped != text:
            found.setdefault("spacing", []).append(changed_span(text, stripped, turn))
        return stripped

    def _markup(self, text: str, turn: int, found: dict[str, list[Span]]) -> str:
        return strip_markup(text, turn, found.setdefault("HTML removed", []))

    def _piece(self, text: str, turn: int, found: dict[str, list[Span]]) -> str:
        settings = self.settings

        def spans(reason: str) -> list[Span]:
            return found.setdefault(reason, [])

        if settings.fix_encoding and not text.isascii() and _may_be_broken(text):
            fixed = ftfy.fix_text(text, _FTFY)
            if fixed != text:
                spans("encoding repaired").append(changed_span(text, fixed, turn))
                text = fixed
        if "\r" in text or not text.isascii():
            text = replace_all(_LINE_END, "\n", text, turn, spans("line end"))
        odd, reason = spans("non-breaking or odd space"), "control character removed"
        # First: behind one of these, a tab would be taken for indentation.
        text = replace_all(_CONTROL, "", text, turn, spans(reason))
        if settings.whitespace:
            text = replace_all(_SPACES, _plain_space, text, turn, odd)
        if not text.isascii():
            text = replace_all(_JOINER, _joiner, text, turn, spans(reason))
        if settings.normalise and not text.isascii():
            text = self._normal(text, turn, found)
        if settings.split_glued_sentences:
            lost = settings.split_glued_sentences == "all"
            text = split_glued(text, turn, spans("space between glued sentences"), lost)
        if settings.whitespace:
            if _MAY_RUN.search(text):
                text = replace_all(_RUNS, _one_gap, text, turn, spans("spacing"))
            if settings.unwrap and _is_wrapped(text):
                for line_end in (_WRAP, _WRAP_SHORT):
                    text = replace_all(line_end, " ", text, turn, spans("wrapped lines joined"))
        return text

    def _normal(self, text: str, turn: int, found: dict[str, list[Span]]) -> str:
        form: Literal["NFC", "NFKC"] = "NFKC" if self.settings.normalise == "NFKC" else "NFC"
        if not unicodedata.is_normalized(form, text):
            normal = unicodedata.normalize(form, text)
            found.setdefault(form, []).append(changed_span(text, normal, turn))
            text = normal
        reason = "ligature spelt out"
        if _LIGATURES.search(text):
            spelt = found.setdefault(reason, [])
            text = replace_all(
                _LIGATURES, lambda m: unicodedata.normalize("NFKC", m.group()), text, turn, spelt
            )
        return text


def _may_be_broken(text: str) -> bool:
    """Whether there is something for ftfy, whose look costs ten times as much as this one."""
    return _BROKEN.search(text) is not None or is_bad(text)


def _outside(text: str, turn: int, found: dict[str, list[Span]], clean: _Cleaning) -> str:
    """Apply a cleaning to what stands outside code; offsets stay those of the whole text."""
    code = code_spans(text)
    if not code:
        return clean(text, turn, found)
    pieces: list[str] = []
    end = 0
    for start, stop in [*code, (len(text), len(text))]:
        inner: dict[str, list[Span]] = {}
        pieces.append(clean(text[end:start], turn, inner))
        pieces.append(text[start:stop])
        for reason, spans in inner.items():
            moved = [Span(s.turn, s.start + end, s.before, s.after) for s in spans]
            found.setdefault(reason, []).extend(moved)
        end = stop
    return "".join(pieces)


def _stripped(text: str) -> str:
    """Without blank lines and spaces around it; the first line of code keeps its indentation."""
    text = _BLANK_LINES.sub("", text.rstrip())
    return text if is_indented_code(text) else text.lstrip()


def _is_wrapped(text: str) -> bool:
    """Whether lines break in mid-sentence; those of who writes no capitals are left alone."""
    if text.count("\n") < _LEAST_WRAPS or not _CAPITALS.search(text):
        return False
    return len(_WRAP_LOWER.findall(text)) >= _LEAST_WRAPS


def _joiner(match: re.Match[str]) -> str:
    text, at = match.string, match.start()
    if match.group() == "\u200d" and _EMOJI_BEFORE.search(text, max(0, at - 2), at):
        return match.group()
    around = text[max(0, at - 2) : at] + text[at + 1 : at + 3]
    return match.group() if _SPELT_WITH_JOINERS.search(around) else ""


def _plain_space(match: re.Match[str]) -> str:
    return match.group() if "\t" in match.group() and in_table(match.string, *match.span()) else " "


def _one_gap(match: re.Match[str]) -> str:
    """One space, or one blank line; the gaps of a table stay, and so does indentation."""
    run = match.group()
    if run.startswith("\n"):
        return "\n\n"
    text = match.string
    if text[match.end() : match.end() + 1] == "\n" or text[match.start() - 1] == "\n":
        return ""
    return run if in_table(match.string, *match.span()) else " "
