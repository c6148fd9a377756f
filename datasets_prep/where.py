"""Conditions on columns: ``label == true``, ``words(answer) > 5``, ``language(text) == en``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from datasets_prep.cells import Row, cell, plain
from datasets_prep.words import word_count
from recipes.runner.core.patterns import BadPattern, guarded, search
from recipes.runner.core.yaml_file import read_value

_CONDITION = re.compile(
    r"\s*(?:(?P<function>\w+)\s*\(\s*(?P<inner>[^()]+?)\s*\)"
    r"|(?P<column>[^\s=!<>()]+(?: [^\s=!<>()]+)*?))"
    r"\s*(?P<compare>==|!=|>=|<=|>|<|\bnot in\b|\bin\b|\bcontains\b|\bmatches\b)"
    r"\s*(?P<value>.+?)\s*\Z",
    re.S,
)
# A second comparison behind the first: ``a > 5 and b == true``.
_SECOND = re.compile(r"\s(?:and|or|&&?|\|\|?)\s+[^\s\"']+\s*(?:[=!<>]=|[<>])", re.I)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


@cache
def _finder() -> Any:
    from datasets_prep.language import main_language

    return main_language


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | list | dict) else len(plain(value))


_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "words": lambda value: word_count(plain(value)),
    "length": _length,
    "language": lambda value: _finder()(plain(value)),
    "lower": lambda value: plain(value).lower(),
}


@dataclass(frozen=True)
class Condition:
    """One condition on a row.

    Attributes:
        text: as it stands in the definition.
        column: the column it is about.
        function: what is taken of the column's value; None for the value itself.
        compare: the comparison.
        value: what it is compared with; a word behind <, <=, > or >= is another column.
    """

    text: str
    column: str
    function: str | None
    compare: str
    value: Any

    @property
    def columns(self) -> set[str]:
        """The columns it reads: two where one is compared with another."""
        other = self.compare in _COMPARE and isinstance(self.value, str)
        return {self.column, self.value} if other else {self.column}

    def holds(self, row: Row) -> bool:
        """Whether a row meets it; a column that a row has not is empty."""
        found = cell(row, self.column)
        if self.function:
            found = _FUNCTIONS[self.function](found)
        if self.compare in ("==", "!="):
            return _same(found, self.value) == (self.compare == "==")
        if self.compare in ("in", "not in"):
            return any(_same(found, v) for v in self.value) == (self.compare == "in")
        if self.compare == "contains":
            inside = found if isinstance(found, list) else plain(found)
            return self.value in inside if isinstance(inside, list) else plain(self.value) in inside
        if self.compare == "matches":
            return search(re.compile(str(self.value)), plain(found), self.text) is not None
        wanted = cell(row, self.value) if isinstance(self.value, str) else self.value
        try:
            return _COMPARE[self.compare](float(found), float(wanted))
        except (TypeError, ValueError):
            return False


def _same(found: Any, wanted: Any) -> bool:
    """Equal, also when a CSV holds ``True`` for true or ``3`` for 3."""
    if found == wanted and isinstance(found, bool) == isinstance(wanted, bool):
        return True
    if wanted is None:
        return plain(found).strip() == ""
    if isinstance(wanted, bool):
        return plain(found).strip().lower() in (
            ("true", "1", "yes") if wanted else ("false", "0", "no")
        )
    if isinstance(wanted, int | float) and isinstance(found, str):
        try:
            return float(found) == wanted
        except ValueError:
            return False
    return plain(found).strip() == plain(wanted).strip()


@cache
def parse_condition(text: str) -> Condition:
    """Read a condition.

    Raises:
        ValueError: it is none; says what one looks like.
    """
    match = _CONDITION.match(text)
    if match is None:
        raise ValueError(
            f"'{text}' is no condition. Write COLUMN == VALUE, with ==, !=, <, <=, >, >=, in, "
            "not in, contains or matches"
        )
    if _SECOND.search(match["value"]):
        raise ValueError(f"'{text}' is two conditions: write them as a list, [first, second]")
    function = match["function"]
    if function is not None and function not in _FUNCTIONS:
        raise ValueError(f"'{function}' is unknown in '{text}'. Known: {', '.join(_FUNCTIONS)}")
    try:
        value = read_value(match["value"])
    except ValueError as error:
        raise ValueError(f"the value of '{text}' can't be read: {error}") from None
    if match["compare"] in ("in", "not in") and not isinstance(value, list):
        raise ValueError(f"'{text}' needs a list, such as [a, b]")
    if match["compare"] == "matches":
        try:
            with guarded():
                re.compile(str(value))
        except BadPattern as error:
            raise ValueError(f"'{value}' {error}") from None
    if match["column"] is None and function == "language" and value is False:
        value = "no"
    return Condition(text, match["inner"] or match["column"], function, match["compare"], value)
