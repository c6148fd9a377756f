"""HTML becomes text; text that talks about HTML, or only looks like it, stays.

What a tag means is kept where the bare text would say something else: ``10<sup>6</sup>`` is not
106, two table cells are not one number, and what was struck out was not said.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from datasets_prep.conversation import Span, replace_all
from datasets_prep.tables import line_around

_New = str | Callable[[re.Match[str]], str]
_PAIRED = (
    "a|abbr|article|aside|b|blockquote|body|button|center|cite|code|del|div|dl|em|figure|font|footer|"
    "form|h[1-6]|head|header|html|i|iframe|ins|label|main|mark|nav|ol|pre|q|s|section|small|span|"
    "strike|strong|style|script|sub|sup|svg|table|tbody|tfoot|thead|title|u|ul|video"
)
# Their end may be left out.
_OPEN_ENDED = "p|li|dt|dd|tr|td|th"
_VOID = "br|hr|img|input|link|meta|wbr"
_TAG = re.compile(rf"<(/?)({_PAIRED}|{_OPEN_ENDED}|{_VOID})((?:\s[^<>]{{0,2000}})?)/?>", re.I)
_BLOCK = "html|body|p|div|ul|ol|table|h[1-6]|blockquote|section|article|aside|pre|span|br"
_WHOLE = re.compile(rf"\s*(?:<!doctype[^>]*>\s*)?<({_BLOCK})\b[^<>]{{0,2000}}>", re.I)
_CLOSES = re.compile(rf"</(?:{_BLOCK})\s*>\s*\Z|<br\s*/?>", re.I)
_INVISIBLE = re.compile(r"<(script|style)\b[^>]{0,500}>.*?</\1\s*>|<!--.*?-->", re.I | re.S)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
# A text about markup shows tags and entities; it isn't made of them.
_ABOUT = re.compile(
    r"\b(?:x?html5?|xml|css|svg|jsx|markup|javascript|react|angular|dom|web ?page|generics?|java|"
    r"escap(?:e|ed|es|ing)|entit(?:y|ies)|source code)\b"
    r"|<[^<>]{1,40}>[`'\"]? (?:html )?(?:tags?|elements?|attributes?|block|component)\b"
    r"|\b(?:tags?|elements?) [`'\"]?<",
    re.I,
)
_PRE = re.compile(
    r"<pre\b[^<>]*>\s*(?:<code\b[^<>]*>)?(.*?)(?:</code\s*>)?\s*</pre\s*>", re.I | re.S
)
_CODE = re.compile(r"<(code|tt|kbd|samp)\b[^<>]*>(.*?)</\1\s*>", re.I | re.S)
_RAISED = re.compile(r"<(sup|sub)\b[^<>]*>\s*([^<>]{1,60}?)\s*</\1\s*>", re.I)
_STRUCK = re.compile(r"<(del|s|strike)\b[^<>]*>(.*?)</\1\s*>", re.I | re.S)
_QUOTED = re.compile(r"<q\b[^<>]*>(.*?)</q\s*>", re.I | re.S)
_CELL = re.compile(r"</t[dh]\s*>\s*(?=<t[dh]\b)", re.I)
_LIST = re.compile(r"<(/?)(ul|ol|li)\b[^<>]{0,500}>\s*", re.I)
_BREAK = re.compile(
    r"<br\s*/?>[ \t]*\n?|</(?:p|div|h[1-6]|tr|blockquote|table|dt|dd|section|article)\s*>"
    r"|<(?:hr|p)\b[^<>]{0,500}>",
    re.I,
)
_BAR_ROW = re.compile(r"\s*\|[^\n]*\|\s*")
# A post of a forum, however short its sentences: code set apart, or somebody quoted or called. A
# whole document is more likely code that was asked for.
_RENDERED = re.compile(
    r"(?=[\s\S]*<p[\s>])(?=[\s\S]*(?:<(?:pre|code)\b|\bclass=[\"'](?:quote|mention|emoji|onebox)\b))"
    r"(?![\s\S]*<(?:!doctype|html|head|body)\b)",
    re.I,
)
_PROSE = re.compile(r">\s*[A-Z\u00c0-\u00de][^<>{};=]{25,}[.!?:]")
_SEAL = {ord("<"): "\ue000", ord(">"): "\ue001", ord("&"): "\ue002"}
_UNSEAL = {0xE000: "<", 0xE001: ">", 0xE002: "&"}
_UP = dict(zip("0123456789+-=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿ", strict=True))
_DOWN = dict(zip("0123456789+-=()", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎", strict=True))


def is_page(text: str) -> bool:
    """Whether a text is a rendered page, as of ShareGPT: HTML from end to end, with prose in it.

    Its code stands in its own elements. A piece of HTML without a sentence is code itself.
    """
    if "<" not in text or "```" in text or not _is_whole(text):
        return False
    return bool(_PROSE.search(text) or _RENDERED.match(text))


def strip_markup(text: str, turn: int, spans: list[Span]) -> str:
    """A text without its HTML; each piece replaced is one span."""
    if "&" not in text and "<" not in text:
        return text
    first = len(spans)
    whole = _is_whole(text)
    if not whole and "<" not in text and "&lt;" in text and _is_whole(html.unescape(text)):
        text = replace_all(_ENTITY, lambda m: html.unescape(m.group()), text, turn, spans)
        whole = True
    if not whole and _ABOUT.search(text):
        return text
    if "<" in text:
        text = _tags(text, turn, spans, whole)
    if "&" in text:
        # Twice: text that was escaped once too often holds &amp;nbsp;
        for _ in range(2):
            text = replace_all(_ENTITY, lambda m: html.unescape(m.group()), text, turn, spans)
    spans[first:] = [
        replace(s, before=s.before.translate(_UNSEAL), after=(s.after or "").translate(_UNSEAL))
        for s in spans[first:]
    ]
    return text.translate(_UNSEAL)


def _sealed(code: str) -> str:
    """Code out of HTML, its signs hidden from what looks for tags and entities."""
    return html.unescape(code).translate(_SEAL)


def _is_whole(text: str) -> bool:
    """Whether a text is an HTML fragment from its first sign on."""
    return bool(_WHOLE.match(text) and _CLOSES.search(text))


def _tags(text: str, turn: int, spans: list[Span], whole: bool) -> str:
    gone = _goes(text, whole)
    if not gone:
        return text

    def drop(pattern: re.Pattern[str], new: _New, names: str | None = None) -> None:
        nonlocal text
        if names is None or gone & set(names.split()):
            text = replace_all(pattern, new, text, turn, spans)

    drop(_INVISIBLE, "")
    drop(_PRE, lambda m: f"\n```\n{_sealed(m[1]).strip(chr(10))}\n```\n", "pre")
    drop(_CODE, lambda m: f"`{_sealed(m[2])}`", "code")
    drop(_RAISED, _raised, "sup sub")
    drop(_STRUCK, lambda m: f"~~{m[2].strip()}~~" if m[2].strip() else "", "del s strike")
    drop(_QUOTED, lambda m: f"\u201c{m[1]}\u201d", "q")
    drop(_CELL, " | ", "td th")
    if "li" in gone:
        text = _lists(text, turn, spans)
    drop(_BREAK, _line_break)

    def bare(match: re.Match[str]) -> str:
        return "" if match[2].lower() in gone and not _in_bar_row(match) else match[0]

    return replace_all(_TAG, bare, text, turn, spans)


def _goes(text: str, whole: bool) -> set[str]:
    """Names of the tags that are markup here: paired, void, or such as may stand open."""
    opened: Counter[str] = Counter()
    closed: Counter[str] = Counter()
    loose: set[str] = set()
    for match in _TAG.finditer(text):
        name = match[2].lower()
        (closed if match[1] else opened)[name] += 1
        # List<P> is a type, and "the <p>" a word; at the start of a line it is a paragraph.
        before = text[: match.start()].rstrip(" \t")
        if match[3].strip() or not before or before[-1] in "\n.!?:>":
            loose.add(name)
    gone = {name for name in opened if opened[name] and closed[name]}
    void = set(_VOID.split("|")) & set(opened)
    gone |= void | {n for n in _OPEN_ENDED.split("|") if n in loose} | (set(closed) - set(opened))
    return gone | (set(opened) if whole else set())


def _line_break(match: re.Match[str]) -> str:
    return match[0] if _in_bar_row(match) else "\n"


def _in_bar_row(match: re.Match[str]) -> bool:
    """Whether a break stands in a row of a table set with bars: there Markdown has no other."""
    if not match[0].lower().startswith("<br"):
        return False
    return _BAR_ROW.fullmatch(line_around(match.string, *match.span())) is not None


def _raised(match: re.Match[str]) -> str:
    """``10<sup>6</sup>`` as 10⁶, and what has no such signs as ``^(...)``."""
    table, mark = (_UP, "^") if match[1].lower() == "sup" else (_DOWN, "_")
    inner = html.unescape(match[2]).replace("\u2212", "-")
    if all(sign in table for sign in inner):
        return "".join(table[sign] for sign in inner)
    if re.fullmatch(r"(?:st|nd|rd|th|TM|\u2122|\u00ae|o)", inner, re.I):
        return inner
    return f"{mark}{inner}" if re.fullmatch(r"\w+", inner) else f"{mark}({inner})"


def _lists(text: str, turn: int, spans: list[Span]) -> str:
    """List items get their marks, numbered where the list is, indented by level."""
    levels: list[int | None] = []

    def mark(match: re.Match[str]) -> str:
        closing, name = match[1], match[2].lower()
        if name == "li":
            if closing:
                return "\n"
            indent = "  " * max(0, len(levels) - 1)
            line = "" if match.start() == 0 or match.string[match.start() - 1] == "\n" else "\n"
            number = levels[-1] if levels else None
            if number is not None:
                levels[-1] = number + 1
                return f"{line}{indent}{number + 1}. "
            return f"{line}{indent}- "
        if closing:
            if levels:
                levels.pop()
        else:
            levels.append(0 if name == "ol" else None)
        return "\n"

    return replace_all(_LIST, mark, text, turn, spans)
