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
    """Whether the line at a position is an item of a list: another of its list has the same mark.

    "- Visit the museum" under "- Walk along the river" signs nothing; behind an empty line it
    does, unless the items of the list stand apart so.
    """
    begin = text.rfind("\n", 0, start) + 1
    mark = _BULLET.match(text, begin)
    if mark is None:
        return False
    opens = f"{mark[1]} "
    before = [line.lstrip() for line in text[:begin].splitlines()]
    if before and before[-1]:
        # The lines of its own paragraph, up to an empty one.
        own = before[len(before) - before[::-1].index("") :] if "" in before else before
        return any(line.startswith(opens) for line in own)
    if len(before) > 1:
        # An item that stands alone between empty lines.
        return before[-2].startswith(opens) and (len(before) == 2 or not before[-3])
    after = text[begin:].split("\n", 2)[1:2]
    return bool(after and after[0].lstrip().startswith(opens))
