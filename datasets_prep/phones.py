"""Phone numbers in text; crisis lines are left alone."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import phonenumbers
import yaml

from recipes.runner.core.errors import UserError

_LINES = Path(__file__).parent / "lexicons" / "crisis_lines.yaml"
# North American numbers as people type them, valid by numbering plan or not ("555" is not).
_NANP = re.compile(
    r"(?<![\d$€£.-])(?:\+?1[-.\s]{0,2})?(?:\(\s?\d{3}\s?\)|\d{3})[-.\s\u2013]{0,3}\d{3}[-.\s\u2013]{0,3}\d{4}"
    r"(?:\s?(?:x|ext\.?|extension)\s?\d{1,6})?(?!\d)",
    re.IGNORECASE,
)
_LOCAL = re.compile(
    r"(?:(?:call|text|phone|tel|telephone|cell|mobile|fax|number|reach)\b[^\n\d]{0,25})"
    r"(?<!\d)(\d{3}[-.]\d{4})(?!\d)",
    re.IGNORECASE,
)
_INTERNATIONAL = re.compile(r"(?<![\w+])(?:\+|00)[1-9]\d{0,2}(?:[\s.()-]{0,2}\d){6,12}(?!\d)")
_LETTERS = re.compile(
    r"(?<![\d-])1?[-. ]?8(?:00|33|44|55|66|77|88)[-. ](?=[A-Z0-9-]*[A-Z])[A-Z0-9-]{6,11}\b"
    # In lower case only after the 1, and with all seven signs: "an 800-calorie lunch" is none.
    r"|(?<![\d-])1[-. ]8(?:00|33|44|55|66|77|88)[-. ](?=[\w-]*[A-Za-z])(?:-?[A-Za-z0-9]){7,10}\b"
)
_DIGITS = re.compile(r"\d")
_ANY_NUMBER = re.compile(r"(?<![\d$\u00a3\u20ac])\+?\(?\d(?:[-.\s()]{0,2}\d)*(?![\d%])")
_VANITY = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "22233344455566677778889999")


@cache
def crisis_numbers() -> frozenset[str]:
    """Digits of every line in ``lexicons/crisis_lines.yaml``."""
    lines = yaml.safe_load(_LINES.read_text(encoding="utf-8"))
    return frozenset(digits_of(line["number"]) for line in lines)


def digits_of(text: str) -> str:
    """Digits of a number; letters count as they stand on a phone's keys."""
    return "".join(_DIGITS.findall(text.upper().translate(_VANITY)))


def is_kept(number: str, keep: frozenset[str]) -> bool:
    """Whether a number, however it is written, is on the allow-list."""
    digits = digits_of(re.sub(r"(?:x|ext\.?|extension)\s?\d+$", "", number, flags=re.I))
    forms = {digits, digits.removeprefix("1"), digits.removeprefix("00").removeprefix("1")}
    national = [digits.removeprefix(c) for c in ("44", "0044") if digits.startswith(c)]
    forms |= {prefix + number for number in national for prefix in ("", "0")}
    return bool(forms & keep)


def names_crisis_line(text: str, more: frozenset[str] = frozenset()) -> bool:
    """Whether a text holds the number of a crisis line; ``more`` has digits of further ones."""
    if not _DIGITS.search(text):
        return False
    numbers = (m.group() for m in _ANY_NUMBER.finditer(text))
    return any(is_kept(number, crisis_numbers() | more) for number in numbers)


def check_regions(regions: list[str]) -> None:
    """Refuse regions that ``phonenumbers`` does not know: it would find nothing, in silence.

    Raises:
        UserError: one is not an ISO 3166 code with a numbering plan.
    """
    unknown = [region for region in regions if region not in phonenumbers.SUPPORTED_REGIONS]
    if unknown:
        raise UserError(
            f"unknown region '{unknown[0]}'",
            "anonymise.phone_regions",
            "Give ISO 3166 codes in capitals, such as US, GB, DE",
        )


def find_phones(text: str, regions: list[str], keep: frozenset[str]) -> list[tuple[int, int]]:
    """Character spans of phone numbers to mask.

    Args:
        text: the text to search.
        regions: ISO 3166 codes whose national formats are read by ``phonenumbers``.
        keep: digits of numbers that stay.
    """
    if len(_DIGITS.findall(text)) < 6 and not _LETTERS.search(text):
        return []
    spans = [m.span() for p in (_NANP, _INTERNATIONAL, _LETTERS) for m in p.finditer(text)]
    spans += [m.span(1) for m in _LOCAL.finditer(text)]
    if len(_DIGITS.findall(text)) >= 7:
        for region in regions:
            matcher = phonenumbers.PhoneNumberMatcher(text, region)
            spans += [(m.start, m.end) for m in matcher]
    return [(start, end) for start, end in spans if not is_kept(text[start:end], keep)]
