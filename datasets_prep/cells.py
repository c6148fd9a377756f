"""Cells of a source as texts: what is no text is named, and never spelt as JSON."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

Row = dict[str, Any]
# What writers of tables put where there is nothing.
_NOTHING = frozenset(
    ["nan", "none", "null", "nil", "nat", "n/a", "#n/a", "<na>", "<nan>", "<none>", "<null>"]
)
_ANSWERS = frozenset(["none", "nil", "n/a"])
# The last two stand in Reddit's dumps where a text was.
_NO_INPUT = frozenset(["<noinput>", "<no input>", "<empty>", "[deleted]", "[removed]"])
# Pieces of a line that only look otherwise, as Telegram's export holds them.
_STYLES = frozenset(
    [
        *("bold", "italic", "underline", "strikethrough", "spoiler", "blockquote", "plain"),
        *("link", "text_link", "mention", "mention_name", "hashtag", "cashtag", "email", "phone"),
        *("bot_command", "custom_emoji"),
    ]
)
_TEXT_PARTS = ("text", "input_text", "output_text")
_PART_KEYS = ("text", "value", "content")
_THOUGHT_PARTS = ("thinking", "reasoning")
# A text as Python writes it, and where NumPy has no comma between two objects.
_LITERAL = re.compile(r"'(?:[^'\\]|\\.)*+'|\"(?:[^\"\\]|\\.)*+\"", re.S)
_NEXT_OBJECT = re.compile(r"\}\s+\{")
_SURROGATE = re.compile("[\ud800-\udfff]")


def without_surrogates(text: str) -> str:
    """Text that UTF-8 can hold: a lone surrogate becomes U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


class Unusable(Exception):
    """A row that holds no conversation; the message says why."""


class Path:
    """A column, or a place within one: ``text.dialog``, ``utterances.-1.history``.

    A list of one object is that object: ``answers.text`` of ``[{"text": ...}]``.
    """

    def __init__(self, column: str) -> None:
        """Keep the name."""
        self.column = column

    def of(self, row: Row, *, strict: bool = False) -> Any:
        """The value in a row; None when it isn't there.

        Raises:
            Unusable: ``strict``, and the place lies in a list of which no element is named.
        """
        if self.column in row or "." not in self.column:
            return row.get(self.column)
        name, *keys = self.column.split(".")
        value = row.get(name)
        for key in keys:
            if isinstance(value, str):
                value = parsed(value)
            if isinstance(value, list) and key.lstrip("-").isdigit():
                index = int(key)
                value = value[index] if -len(value) <= index < len(value) else None
            elif isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
                # The one answer of SQuAD's lists.
                value = value[0].get(key)
            elif isinstance(value, dict):
                value = value.get(key)
            elif strict and isinstance(value, list) and value:
                what = f"is a list of {len(value)}: '{self.column}' names none of them"
                raise Unusable(f"column '{name}' {what}")
            else:
                return None
        return value


def cell_read(row: Row, column: str | None) -> Any:
    """As `cell`, for what is trained on.

    Raises:
        Unusable: the place lies in a list, and no element of it is named.
    """
    return Path(column).of(row, strict=True) if column else None


def cell(row: Row, column: str | None) -> Any:
    """The value of a column or of a place within it."""
    return Path(column).of(row) if column else None


def parsed(text: str) -> Any:
    """JSON, or the Python literal that a CSV export makes of a list; None when it is neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    for written in (_with_commas(text.strip()), text.strip()):
        try:
            return ast.literal_eval(written)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    return None


def _with_commas(text: str) -> str:
    """NumPy's text of an array, which has no commas, as Python's of a list.

    Read as it is, ``['a' 'b']`` would be one text: Python joins literals that follow each other.
    """
    if text[:1] != "[":
        return text
    pieces: list[str] = []
    end = 0
    for match in _LITERAL.finditer(text):
        gap = text[end : match.start()]
        pieces += [_NEXT_OBJECT.sub("}, {", gap) if gap.strip() or not end else ", ", match[0]]
        end = match.end()
    return "".join(pieces) + _NEXT_OBJECT.sub("}, {", text[end:])


def says_nothing(text: str, *, spoken: bool = False) -> bool:
    """Whether a whole cell is a word for nothing (``nan``, ``NULL``, ``<noinput>``).

    Args:
        text: the cell.
        spoken: it is a turn of a talk, where "None" answers "Any allergies?".
    """
    if len(text) >= 12:
        return False
    word = text.strip().lower()
    return word in _NO_INPUT or (word in _NOTHING and not (spoken and word in _ANSWERS))


def is_missing(value: Any) -> bool:
    """Whether a cell is none: nothing, or the number that is none."""
    return value is None or (isinstance(value, float) and value != value)


def is_empty(value: Any) -> bool:
    """Whether a cell is none, or a text without a character."""
    return is_missing(value) or value == ""


def plain(value: Any) -> str:
    """A cell that is a key, a topic or an id, as text; not for what is trained on."""
    if is_missing(value):
        return ""
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, dict | list):
        return without_surrogates(json.dumps(value, ensure_ascii=False, default=str))
    return without_surrogates(str(value))


def text_of(value: Any, what: str, *, parts: bool = False, numbers: bool = False) -> str:
    """A cell that is trained on, as text.

    Args:
        value: the cell.
        what: its name, for the reason ("column 'answer'", "turn 2").
        parts: it is a turn of a talk: a list of several texts is one text in parts, and "None" may
            be said; else only a list of one is a text.
        numbers: a number is taken as it is written.

    Raises:
        Unusable: it holds something that is no text; names it.
    """
    if is_missing(value):
        return ""
    if isinstance(value, str):
        written = parsed(value) if value[:1] == "[" and "type" in value else None
        if written and are_parts(written):
            return text_of(written, what, parts=parts, numbers=numbers)
        return "" if says_nothing(value, spoken=parts) else without_surrogates(value)
    if isinstance(value, dict):
        return _part(value, what)
    if isinstance(value, list):
        if len(value) > 1 and not parts and not are_parts(value):
            raise Unusable(f"{what} is a list of {len(value)}, where one text is wanted")
        texts = [text_of(part, f"a part of {what}", parts=True) for part in value]
        styled = any(isinstance(p, dict) and p.get("type") in _STYLES for p in value)
        return ("" if styled else "\n").join(filter(None, texts))
    if numbers and not isinstance(value, bool):
        return str(value)
    kind = "true or false" if isinstance(value, bool) else "a number"
    raise Unusable(f"{what} is {kind} ('{value}'), no text")


def are_parts(value: Any) -> bool:
    """Whether a value is a text in OpenAI's content parts: each an object that says its type."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(part, dict) for part in value)
        and all(isinstance(part.get("type"), str) and {*_PART_KEYS} & part.keys() for part in value)
        and any(part["type"] in _TEXT_PARTS for part in value)
    )


def _part(value: dict[str, Any], what: str) -> str:
    """The text of one content part.

    Raises:
        Unusable: it is an image, a tool's use or anything else that is no text.
    """
    kind = str(value.get("type") or value.get("content_type") or "text")
    if kind in _THOUGHT_PARTS:
        held = next((value[key] for key in (kind, *_PART_KEYS) if value.get(key)), None)
        thought = text_of(held, what, parts=True)
        return f"<think>\n{thought}\n</think>\n" if thought else ""
    if kind not in _TEXT_PARTS and kind not in _STYLES:
        raise Unusable(f"{what} holds a part of type '{kind}', which is no text")
    if isinstance(value.get("parts"), list):
        return text_of(value["parts"], what, parts=True)
    key = next((key for key in _PART_KEYS if key in value), None)
    if key is None:
        raise Unusable(f"{what} is an object of {', '.join(map(str, list(value)[:4]))}, no text")
    return text_of(value[key], what, parts=True)
