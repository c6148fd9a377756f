"""Clean: encodings, control characters, HTML, spacing and glued sentences."""

from __future__ import annotations

import html
import re
import unicodedata

import ftfy

from datasets_prep.conversation import (
    Conversation,
    Ledger,
    Span,
    changed_span,
    replace_all,
)
from datasets_prep.patterns import EMAIL, FENCE, URL, in_code, may_hold_email, may_hold_url
from datasets_prep.settings import CleanSettings

_FTFY = ftfy.TextFixerConfig(
    unescape_html=False, normalization=None, uncurl_quotes=False, fix_character_width=False
)
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\t\v\f]")
# C0 and C1 controls, zero-width and direction marks, the byte-order mark, the soft hyphen.
# U+200D joins emoji, so it goes only where no emoji stands before it.
_CONTROL = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u2064"
    "\u2066-\u206f\ufeff\ufff9-\ufffb]|(?<![\u2600-\u27bf\ufe0f\U0001f000-\U0001faff])\u200d"
)
_TAGS = (
    "a|abbr|article|b|blockquote|body|button|center|cite|code|dd|del|div|dl|dt|em|figure|font|"
    "footer|form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|label|li|link|main|mark|meta|"
    "nav|ol|p|pre|q|s|section|small|span|strike|strong|style|sub|sup|svg|table|tbody|td|tfoot|th|"
    "thead|title|tr|u|ul|video|wbr"
)
_INVISIBLE = re.compile(r"<(script|style)\b[^>]{0,500}>.*?</\1\s*>|<!--.*?-->", re.I | re.S)
_BREAK = re.compile(
    r"<br\s*/?>|</(?:p|div|li|h[1-6]|tr|blockquote)\s*>|<(?:li|hr)\b[^<>]{0,500}>", re.I
)
_TAG = re.compile(rf"</?(?:{_TAGS}|script)(?:\s[^<>]{{0,2000}})?/?>", re.I)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_PROTECTED = re.compile(rf"{FENCE}[\s\S]*?(?:{FENCE}|\Z)|{URL.pattern}|{EMAIL.pattern}", re.I)

# The word before the stop has two lower-case letters, which leaves out U.S., e.g., Ph.D. and
# initials; what follows is a capitalised word, "I" or "A", which leaves out versions and decimals.
_NEXT = (
    r"(?=[\"'\u201c\u2018(]?"
    r"(?:[A-Z\u00c0-\u00de][a-z\u00df-\u00ff'\u2019]|[IA](?:[ '\u2019,]|$))|[\u00bf\u00a1])"
)
# Sentences glued without a stop ("the argumentDiscuss what you find"), as where the marks of a list
# were lost. Only before words that open sentences: getName and deviantArt are one word.
_OPENERS = (
    "After|All|Also|And|Another|Are|As|Ask|At|Be|But|By|Consider|Discuss|Do|Find|First|For|From|Get|"
    "Give|Go|Have|He|Help|Hope|How|However|If|In|Is|It|Its|Just|Keep|Lack|Learn|Let|Look|Make|Maybe|"
    "Most|My|No|Not|Now|Of|Often|On|Once|One|Or|Our|Perhaps|Please|Realize|Remember|See|Set|She|So|"
    "Some|Sometimes|Take|Talk|That|The|Their|Then|There|These|They|This|Those|To|Try|Use|We|What|"
    "When|Where|Which|While|Who|Why|With|Without|Yes|Yet|You|Your"
)
_GLUED_WORDS = rf"(?<![\w@#./\\-])[a-z]{{2,}}(?=(?:{_OPENERS})[ ,'\u2019\n])"
_GLUED = re.compile(
    r"(?:(?:(?<=[a-z\u00df-\u00ff]{2})|(?<=[a-z]['\u2019][a-z]))[\"'\u201d\u2019)\]]*[.!?]+[\"\u201d\u2019)]*"
    r"|(?<=[a-z\u00df-\u00ff]{2})[\"'\u201d\u2019)\]]*\u2026"
    r"|(?<=[a-z])[!?]+|(?<=\d{4})[.!?]|(?<=[)\]])[.!?]+|(?<= I)[.!?]+|(?<=[A-Z]{2})[.!?]"
    r"|(?<=[\s-][aI])[.!?]|(?<=[a-z\u00df-\u00ff]{2})[,:;])"
    + _NEXT
    # The next point of a list: "arms.6. Remember".
    + r"|(?<=[a-z]{2})[.!?:;](?=\d{1,2}[.)] ?[A-Z])|"
    + _GLUED_WORDS
)
# What stands in every match of the above: cheap to look for.
_MAY_BE_GLUED = re.compile(
    "[.!?\u2026,:;\"'\u201d\u2019)\\]][A-Z\\d\u00c0-\u00de\u00bf\u00a1\"'\u201c\u2018(]|[a-z][A-Z]"
)
_LINE_END = re.compile("\r\n?|\u2028|\u2029|\x85")
# A line that breaks off in mid-sentence, far from the margin: the text was wrapped by a program.
_WRAP = re.compile(r"(?<=[^\n]{40}[A-Za-z,;\"\u201d\u2019)])\n(?!\d+[.)])(?=[\w(\"\u201c\u2018])")
_WRAP_LOWER = re.compile(_WRAP.pattern + "(?=[a-z])")
# In a text that was wrapped, a short line that goes on in lower case is one of its lines too.
_WRAP_SHORT = re.compile(r"(?<=[A-Za-z,;\u2019])\n(?=[a-z])")
_LEAST_WRAPS = 3
_CAPITALS = re.compile(r"[.!?]\s+[A-Z]")
_RUNS = re.compile(r" {2,}| +(?=\n)|(?<=\n) +|\n{3,}")


class Cleaner:
    """Cleans texts as its settings say."""

    def __init__(self, settings: CleanSettings) -> None:
        """Keep the settings."""
        self.settings = settings

    def __call__(self, conversation: Conversation, ledger: Ledger) -> bool:
        """Clean every turn in place; each kind of change is one ledger line for the row."""
        found: dict[str, list[Span]] = {}
        for turn, message in enumerate(conversation.messages):
            message.content = _clean_text(message.content, self.settings, turn, found)
        for reason, spans in found.items():
            ledger.changed(conversation.id, reason, spans)
        return True


def _clean_text(text: str, settings: CleanSettings, turn: int, found: dict[str, list[Span]]) -> str:
    def spans(reason: str) -> list[Span]:
        return found.setdefault(reason, [])

    for old, new in settings.replace.items():
        if old in text:
            literal = new.replace("\\", "\\\\")
            text = replace_all(re.compile(re.escape(old)), literal, text, turn, spans("replaced"))
    if settings.fix_encoding and not text.isascii():
        fixed = ftfy.fix_text(text, _FTFY)
        if fixed != text:
            spans("encoding repaired").append(changed_span(text, fixed, turn))
            text = fixed
    if settings.html:
        text = _strip_html(text, turn, spans("HTML removed"))
    if settings.whitespace:
        text = replace_all(_SPACES, _plain_space, text, turn, spans("non-breaking or odd space"))
    if "\r" in text or not text.isascii():
        text = replace_all(_LINE_END, "\n", text, turn, spans("line end"))
    text = replace_all(_CONTROL, "", text, turn, spans("control character removed"))
    if settings.normalise and not unicodedata.is_normalized("NFKC", text):
        normal = unicodedata.normalize("NFKC", text)
        spans("NFKC").append(changed_span(text, normal, turn))
        text = normal
    if settings.split_glued_sentences:
        text = split_glued(text, turn, spans("space between glued sentences"))
    if settings.whitespace:
        if "  " in text or " \n" in text or "\n " in text or "\n\n\n" in text:
            text = replace_all(_RUNS, _one_gap, text, turn, spans("spacing"))
        if _is_wrapped(text):
            for line_end in (_WRAP, _WRAP_SHORT):
                text = replace_all(
                    line_end, _plain_space, text, turn, spans("wrapped lines joined")
                )
        stripped = text.strip()
        if stripped != text:
            spans("spacing").append(changed_span(text, stripped, turn))
            text = stripped
    return text


def split_glued(text: str, turn: int = 0, spans: list[Span] | None = None) -> str:
    """Put a space between sentences that were glued together, outside URLs and emails."""
    spans = [] if spans is None else spans
    if not _MAY_BE_GLUED.search(text):
        return text
    lower = text.lower()
    guards: list[re.Match[str] | None] = [None]
    if FENCE in text or may_hold_url(lower) or may_hold_email(lower):
        guards = [*_PROTECTED.finditer(text), None]
    pieces: list[str] = []
    end = 0
    for guard in guards:
        start = guard.start() if guard else len(text)
        inner: list[Span] = []
        pieces.append(replace_all(_GLUED, _with_space, text[end:start], turn, inner))
        spans.extend(Span(s.turn, s.start + end, s.before, s.after) for s in inner)
        if guard:
            pieces.append(guard.group())
            end = guard.end()
    return "".join(pieces)


def _is_wrapped(text: str) -> bool:
    """Whether lines break in mid-sentence; those of who writes no capitals are left alone."""
    if text.count("\n") < _LEAST_WRAPS or not _CAPITALS.search(text):
        return False
    return len(_WRAP_LOWER.findall(text)) >= _LEAST_WRAPS


def _with_space(match: re.Match[str]) -> str:
    stop = match.group()
    if stop.isalpha():
        return stop + ". "
    if stop.endswith('"') and match.string.count('"', 0, match.end() - 1) % 2 == 0:
        # The quotation mark opens the next sentence.
        return stop[:-1] + ' "'
    return stop + " "


def _plain_space(match: re.Match[str]) -> str:
    """A space, but in code what stands there: its lines and tabs mean something."""
    return match.group() if in_code(match.string, match.start()) else " "


def _one_gap(match: re.Match[str]) -> str:
    run = match.group()
    if in_code(match.string, match.start()):
        return run
    if run.startswith("\n"):
        return "\n\n"
    line_edge = match.end() < len(match.string) and match.string[match.end()] == "\n"
    after_newline = match.start() > 0 and match.string[match.start() - 1] == "\n"
    return "" if line_edge or after_newline else " "


def _strip_html(text: str, turn: int, spans: list[Span]) -> str:
    if "&" in text:
        # Twice: text that was escaped once too often holds &amp;nbsp;
        for _ in range(2):
            text = replace_all(_ENTITY, lambda m: html.unescape(m.group()), text, turn, spans)
    if "<" in text:
        if "-->" in text or "</" in text:
            text = replace_all(_INVISIBLE, "", text, turn, spans)
        text = replace_all(_BREAK, "\n", text, turn, spans)
        text = replace_all(_TAG, "", text, turn, spans)
    return text
