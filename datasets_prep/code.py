"""Where the code of a text stands: fences, inline code, and lines that are code without a fence.

What stands there is kept byte for byte: no cleaning, no masking, no language, no cut.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache

Span = tuple[int, int]

FENCE = "```"
_FENCED = re.compile(r"^[ \t>]*(`{3,}|~{3,})[^\n]*\n[\s\S]*?(?:^[ \t>]*\1[`~]*[ \t]*$|\Z)", re.M)
# A fence within a line, or one that opens behind a word.
_FENCED_INSIDE = re.compile(r"```[\s\S]*?(?:```|\Z)")
_INLINE = re.compile(r"(?<!`)(`{1,2})(?!`)(?=\S|[ \t]`)([^\n]*?)(?<!`)\1(?!`)")
# Lines that nobody writes but as code. Prose may hold one of these words; not in this company.
_CODE_LINE = re.compile(
    r"""^[ \t]*(?:
      (?:async[ ])?def[ ]\w+\(.*\).*: | class[ ]\w+(?:\(.*\))?[ ]?[:{]
    | (?:from[ ][\w.]+[ ])?import[ ][\w.*]+(?:[ ]as[ ]\w+)?(?:,[ ]\w+)*;?$ | [#]include\s*[<"]
    | (?:for|while|if|elif|with|switch)\b.*:\s*$ | (?:else|try|finally|except\b.*)\s*:\s*$
    | (?:for|while|if|switch|catch)[ ]?\(.*\)\s*\{? | \}?\s*else\b.*\{
    | (?:public|private|protected|static|final|const|let|var|void|int|float|double|char|bool)\s
      .*[;{]
    | (?:SELECT|INSERT[ ]INTO|UPDATE|DELETE[ ]FROM|CREATE[ ]TABLE|ALTER[ ]TABLE)\s
      .*(?:\sFROM\s|\sSET\s|\(|;)
    | function[ ]?\w*\( | return\b[^.!?]*;?$ | print(?:f|ln)?\(.*\);? | console\.\w+\(.*\);?
    | [\w.\[\]]+[ ]?(?:[-+*/]?=|:=)[ ]?\S.*[;)\]}'"\w]$ | [\w.]+\(.*\);?$
    | </?[A-Za-z][\w-]*(?:\s[^<>]*)?>.*$ | [{}()\[\];]+[;,]?$ | \$[ ]\w+.*$
    | @[\w.]+(?:\(.*\))?(?:\s*\{)?$
    | @(?:media|import|keyframes)\b.*[{;]\s*$
    )""",
    re.X,
)
# Of the above, what is enough alone: the others need a neighbour that is code.
_SURE_LINE = re.compile(
    r"^[ \t]*(?:(?:async )?def \w+\(.*\).*:|class \w+(?:\(.*\))?[ ]?[:{]\s*$|#include\s*[<\"]"
    r"|for \w+(?:, ?\w+)* in .*:\s*$|import [\w.]+;$|(?:public|private|protected) .*[;{]\s*$"
    r"|(?:SELECT|INSERT INTO|DELETE FROM|CREATE TABLE)\s.*(?:\sFROM\s|\().*"
    r"|(?:const|let|var) \w+ ?=.*;|function \w+\(.*\)\s*\{"
    # A name that stands for a list, a dictionary or a text.
    r"|[A-Za-z_]\w* ?= ?(?:\[.*\]|\{.*\}|\(.*,.*\)|\".*\"|'.*');?\s*$)"
)
# What most lines of a program hold or end in, and no line of prose.
_PROGRAM_LINE = re.compile(
    r"""[;{}]\s*(?://.*)?$ | ^\s*(?:[})\]] | // | /\* | \*/ | [#]\w | [#]! | <[/?!A-Za-z] | @\w)
    | =>\s*[{(] | \)\s*=> | :: | := | && | \|\| | [!=]= | \w\(\w*["'\[(] | \w\(\) | \w\[\w+\]
    | ^\s*\w+[ ]?[-+*/]?=[ ]?[^\s=].*[()\[\]{};"']
    | ^\s*(?:end|begin|fi|done|esac|break|pass|continue|return|else|try)\b[ ;:]*$
    | ^\s*(?:def|sub|fn|func|package|use|import|from|class|module|main)\b.*[^.!?]$
    | ^\s*[\w-]+\s*:\s*[\w#"'.%-]+(?:\s[\w#"'.%-]+)*;""",
    re.X,
)
_PROSE_LINE = re.compile(r"(?:[A-Za-z][a-z'\u2019]*[,;:]? ){5,}[A-Za-z'\u2019]+(?:[.?!:,]|\s*$)")
_NO_PROSE = re.compile(r"^\s*(?:#|//|/?\*|--|%|[\"'])|[;{}=<>()\[\]]")
# One line that is a program: a comprehension, a call that is assigned, a call of several arguments.
_EXPRESSION = re.compile(
    r"\s*(?:[\w.\[\]'\"]+ ?[-+*/]?= ?)?(?:[\[{]|\w+\()[^\n]*\S \bfor \w+(?:, ?\w+)* in [^\n]*[\])}]"
    r"|\s*[\w.]+(?:\[[^\]\n]*\])? ?[-+*/]?= ?[\w.]+\([^\n]*\)(?:\.\w+(?:\([^\n]*\))?)*"
    r"|\s*[\w.]+\([^\n]*[,=\['\"][^\n]*\)"
)
_PROGRAM_SHARE = 0.5
_INDENT, _DEEP = re.compile(r" {2}|\t"), re.compile(r" {4}|\t")
# One element of a page by itself, without a sentence in it: asked for as code. Paragraphs and the
# like hold prose, unless they are empty or have a class.
_ELEMENT = re.compile(
    r"\s*<(?:(h[1-6]|a|button|form|select|label|nav|header|footer|svg|section|html)(?:\s[^<>]*)?"
    r"|(\w+)(?:\s[^<>]*\b(?:class|id|href|src)=[^<>]*>|(?:\s[^<>]*)?>(?=\s*</)))"
    r"(?:(?!\w+ \w+ \w+ \w+ \w+)[^<>]|<[^<>]*>|>)*</(?:\1|\2)>\s*",
    re.I,
)


_MARKED = re.compile(r"[`~(){};=<>:$@#]")


@lru_cache(maxsize=64)
def code_spans(text: str) -> list[Span]:
    """Offsets of the code in a text, in order, not overlapping; not to be changed.

    The steps ask for it several times in a row while they work on one text.
    """
    if not _MARKED.search(text):
        return []
    spans: list[Span] = []
    if FENCE in text or "~~~" in text:
        spans += [m.span() for m in _FENCED.finditer(text)]
    if "`" in text:
        for pattern in (_FENCED_INSIDE, _INLINE):
            found = [m.span() for m in pattern.finditer(text)]
            spans += [span for span in found if not overlaps(span, spans)]
    bare = _bare_code(text, marked=bool(spans))
    return sorted(spans + [span for span in bare if not overlaps(span, spans)])


def _bare_code(text: str, marked: bool) -> list[Span]:
    """Runs of lines that are code without a fence, with the indented lines that belong to them.

    A text that marks its code elsewhere (``marked``) is no program from end to end.
    """
    lines: list[tuple[int, str]] = []
    at = 0
    for line in text.split("\n"):
        lines.append((at, line))
        at += len(line) + 1
    marks = [bool(_CODE_LINE.match(line)) for _, line in lines]
    if not marked and _is_program(line for _, line in lines):
        return [(0, len(text))]
    if not any(marks):
        return []
    spans: list[Span] = []
    start: int | None = None
    for index in range(len(lines) + 1):
        line = lines[index][1] if index < len(lines) else ""
        inside = index < len(lines) and (
            marks[index]
            or ((start is not None and line[:2] in ("  ", "\t")) or line.startswith("\t"))
            or (start is not None and not line.strip() and _goes_on(lines, marks, index))
        )
        if inside and start is None and marks[index]:
            start = index
        elif not inside and start is not None:
            run = [line for _, line in lines[start:index]]
            sure = any(map(_SURE_LINE.match, run))
            if sure or sum(marks[start:index]) >= 2:
                last, tail = lines[index - 1]
                spans.append((lines[start][0], last + len(tail)))
            start = None
    return spans


def _is_one_liner(line: str) -> bool:
    """Whether a text of one line is an element of a page, or an expression or statement alone."""
    if _ELEMENT.fullmatch(line):
        return True
    return bool(_EXPRESSION.fullmatch(line)) and not _PROSE_LINE.search(line)


def _goes_on(lines: list[tuple[int, str]], marks: list[bool], index: int) -> bool:
    """Whether the next line that is not empty is code."""
    following = range(index + 1, min(index + 4, len(lines)))
    return next((marks[n] for n in following if lines[n][1].strip()), False)


def _is_program(lines: Iterable[str]) -> bool:
    """Whether a text is code from end to end: its lines are a program's, and none is prose."""
    written = [line for line in lines if line.strip()]
    if len(written) < 2:
        return len(written) == 1 and _is_one_liner(written[0])
    found = sum(1 for line in written if _CODE_LINE.match(line) or _PROGRAM_LINE.search(line))
    if found < _PROGRAM_SHARE * len(written) or found < 2:
        return False
    return not any(_PROSE_LINE.search(line) and not _NO_PROSE.search(line) for line in written)


def is_indented_code(text: str) -> bool:
    """Whether a text begins with code, whose indentation means something: a function's body."""
    if any(start == 0 for start, _ in code_spans(text)):
        return True
    first, _, rest = text.partition("\n")
    if not _INDENT.match(first):
        return False
    if _CODE_LINE.match(first):
        return True
    written = [line for line in rest.split("\n") if line.strip()]
    deep = bool(_DEEP.match(first)) and bool(written) and all(map(_DEEP.match, written))
    return deep and not _PROSE_LINE.search(first)


def overlaps(span: Span, spans: list[Span]) -> bool:
    """Whether a span shares a character with one of several."""
    return any(start < span[1] and span[0] < end for start, end in spans)


def within(position: int, spans: list[Span]) -> bool:
    """Whether a position lies in one of several spans, which are in order."""
    index = bisect_right(spans, (position, 1 << 60)) - 1
    return index >= 0 and spans[index][0] <= position < spans[index][1]


def without_code(text: str) -> str:
    """A text of the same length with spaces where its code stood."""
    for start, end in code_spans(text):
        text = text[:start] + " " * (end - start) + text[end:]
    return text


def is_json(text: str) -> bool:
    """Whether a whole text is a JSON object or list: a tool's call or answer, and no prose."""
    stripped = text.strip()
    if stripped[:1] + stripped[-1:] not in ("{}", "[]"):
        return False
    try:
        return isinstance(json.loads(stripped), dict | list)
    except (ValueError, RecursionError):
        return False
