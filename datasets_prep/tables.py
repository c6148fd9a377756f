"""Tables in plain text: columns set with spaces, tabs or bars."""

from __future__ import annotations

import re

# Columns set with spaces, or with marks: the gaps are the table.
_COLUMNS = re.compile(r"^(?=.*\S(?: {3,}|\t)\S).*$", re.M)
_TABLE_LINE = re.compile(
    r"\S(?: {3,}|\t)\S.*\S(?: {3,}|\t)\S|^\s*\||\|\s*$|\S {3,}[-+$\u20ac\u00a3]?\d"
)
# What opens an item of a list.
_BULLET = re.compile(r"[ \t]*([-*\u2022\u2013\u2014]) ")


def in_table(text: str, start: int, end: int) -> bool:
    """Whether a place stands in a line of a table, or in a text whose lines have gaps like it."""
    if "   " not in text and "\t" not in text and "|" not in text:
        return False
    if len(_COLUMNS.findall(text)) > 1:
        return True
    return is_table_line(line_around(text, start, end))


def is_table_line(line: str) -> bool:
    """Whether one line is a row of a table."""
    return _TABLE_LINE.search(line) is not None


def line_around(text: str, start: int, end: int) -> str:
    """The line, or lines, that a place of a text lies in."""
    first = text.rfind("\n", 0, start) + 1
    last = text.find("\n", end)
    return text[first : len(text) if last < 0 else last]


def is_item(text: str, start: int) -> bool:
    """Whether the line at a position is an item of a list: another line opens with its mark.

    "- Visit the museum" under "- Walk along the river" signs nothing.
    """
    begin = text.rfind("\n", 0, start) + 1
    mark = _BULLET.match(text, begin)
    if mark is None:
        return False
    lines = text[:begin].splitlines() + text[begin:].splitlines()[1:]
    return any(line.lstrip().startswith(f"{mark[1]} ") for line in lines)
