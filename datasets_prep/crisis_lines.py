"""Lines and sites of crisis help: never masked, and a sentence that names one is never cut."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_LINES = Path(__file__).parent / "lexicons" / "crisis_lines.yaml"
_DIGITS = re.compile(r"\d")
_LEAST_OF_A_LINE = 5
_ANY_NUMBER = re.compile(r"(?<![\d$\u00a3\u20ac])\+?\(?\d(?:[-.\s()]{0,2}\d)*(?![\d%])")
_VANITY = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "22233344455566677778889999")
_COUNTRY_CODES = ("1", "44", "49", "43", "41", "33", "32", "31", "61", "64", "353", "91", "27")
# A service that answers people in danger, in the languages of the list: the number or site that
# stands beside such a word is help, whether it is on the list or not.
_HELP = re.compile(
    r"\b(?:(?:suicid\w*|crisis|help|hot|life|support|warm|listening|emergency|abuse|rape|violence|"
    r"text|counsell?ing|24[/-]7|24[- ]hour) ?-?(?:prevention )?(?:hot|help|life|text|phone )?-?"
    r"(?:lines?|cent(?:re|er)s?|chat)|hotlines?|helplines?|lifelines?|suicide prevention|"
    r"nightline|teen ?-?line|poison (?:control|information|help|cent(?:re|er)s?)|"
    r"emergency (?:services?|number)|samaritans|befrienders|childline|kids ?help|"
    r"trevor (?:project|lifeline)|crisis text|crisis team|rainn|samhsa|nami|988|911|lifeline|"
    r"beyond blue|papyrus|shout|national domestic violence)\b"
    r"|\b(?:(?:telefon)?seelsorge|krisen(?:telefon|chat|dienst)|notruf|giftnotruf|hilfetelefon|"
    r"sorgentelefon|nummer gegen kummer|dargebotene hand|rat auf draht)\b"
    r"|\b(?:sos amiti\u00e9|suicide[- ]\u00e9coute|num\u00e9ro national|centre antipoison|"
    r"fil sant\u00e9|l\u00ednea de (?:ayuda|la vida|crisis)|tel\u00e9fono de la esperanza|"
    r"prevenci\u00f3n del suicidio|telefono (?:amico|azzurro)|valoriza\u00e7\u00e3o da vida|"
    r"preven\u00e7\u00e3o do suic\u00eddio|zelfmoord\w*|kindertelefoon|livslinien|"
    r"sj\u00e4lvmordslinjen)\b"
    # Telephone of trust, hotline; hotline, lifeline; telephone of life, where to turn to; helpline.
    r"|\u0442\u0435\u043b\u0435\u0444\u043e\u043d\u0430? \u0434\u043e\u0432\u0435\u0440\u0438\u044f"
    r"|\u0433\u043e\u0440\u044f\u0447\w+ \u043b\u0438\u043d\u0438"
    r"|\u70ed\u7ebf|\u71b1\u7dda|\u751f\u547d\u7ebf|\u751f\u547d\u7dda"
    r"|\u3044\u306e\u3061\u306e\u96fb\u8a71|\u76f8\u8ac7\u7a93\u53e3"
    r"|\uc0c1\ub2f4\uc804\ud654|\u0647\u0644\u067e",
    re.IGNORECASE,
)
# Whose number it is says that it is no service's.
_PRIVATE = re.compile(
    r"\b(?:my|his|her|their|our|your)\s+(?:\w+\s+){0,2}(?:number|cell|mobile|phone|office|practice|"
    r"website|web site|site|blog|page|e-?mail|line)\b|\b(?:call|text|ring|reach|contact|e-?mail) "
    r"(?:me|him|us)\b",
    re.IGNORECASE,
)
# States, their health services, bodies of several states, and the encyclopedia: nobody's own site.
_PUBLIC_HOST = re.compile(
    r"(?:^|\.)(?:gov|gov\.[a-z]{2}|gov\.[a-z]{2}\.[a-z]{2}|gc\.ca|nhs\.uk|gob\.[a-z]{2}|gouv\.fr|"
    r"govt\.nz|go\.jp|bund\.de|admin\.ch|gv\.at|europa\.eu|who\.int|mil|wikipedia\.org)\Z"
)
_BOUNDARY = re.compile(r"[.!?](?=\s)|\n")


@cache
def _lines() -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = yaml.safe_load(_LINES.read_text(encoding="utf-8"))
    return lines


@cache
def crisis_numbers() -> frozenset[str]:
    """Digits of every line in ``lexicons/crisis_lines.yaml``."""
    return frozenset(digits_of(number) for line in _lines() for number in line.get("numbers", ()))


@cache
def crisis_sites() -> frozenset[str]:
    """Hosts of every service in ``lexicons/crisis_lines.yaml``."""
    return frozenset(site for line in _lines() for site in line.get("sites", ()))


def digits_of(text: str) -> str:
    """Digits of a number; letters count as they stand on a phone's keys."""
    return "".join(_DIGITS.findall(text.upper().translate(_VANITY)))


def is_kept(number: str, keep: frozenset[str]) -> bool:
    """Whether a number, however it is written, is on the allow-list."""
    digits = digits_of(re.sub(r"(?:x|ext\.?|extension)\s?\d+$", "", number, flags=re.I))
    bare = digits.removeprefix("00")
    forms = {digits}
    for code in _COUNTRY_CODES:
        if bare.startswith(code):
            national = bare.removeprefix(code)
            forms |= {national, "0" + national.removeprefix("0")}
    return bool(forms & keep)


def names_crisis_line(text: str, more: frozenset[str] = frozenset()) -> bool:
    """Whether a text holds the number of a crisis line; ``more`` has digits of further ones."""
    if not _DIGITS.search(text):
        return False
    numbers = (m.group() for m in _ANY_NUMBER.finditer(text))
    return any(is_kept(number, crisis_numbers() | more) for number in numbers)


def is_crisis_site(url: str) -> bool:
    """Whether a URL or email leads to a service of the list, or a URL to a public authority."""
    host = re.split(r"[/?#]", re.sub(r"^\w+\s?:\s?//?\s?", "", url.strip().lower()), maxsplit=1)[0]
    host = host.rsplit("@", 1)[-1].removeprefix("www.").split(":")[0].rstrip(".")
    parts = host.split(".")
    if _PUBLIC_HOST.search(host) and "@" not in url:
        return True
    return any(".".join(parts[i:]) in crisis_sites() for i in range(len(parts) - 1))


def stands_beside_help(text: str, start: int, end: int) -> bool:
    """Whether a number or address, or the sentence around it, names a service of crisis help."""
    before = [m.end() for m in _BOUNDARY.finditer(text, max(0, start - 240), start)]
    first = before[-1] if before else max(0, start - 240)
    after = _BOUNDARY.search(text, end, min(len(text), end + 160))
    last = after.start() if after else min(len(text), end + 160)
    own_words = re.sub(r"[\W\d_]+", " ", text[start:end])  # /common-hotline-phone-numbers/
    around = f"{text[first:start]} \0 {own_words} \0 {text[end:last]}"
    private = _PRIVATE.search(around)
    if private and not private.group().endswith(" us"):
        return False
    # "Reach us" is a service's word only where its other number is on the list.
    beside = _is_beside_a_line(around)
    return beside or (private is None and bool(_HELP.search(around)))


def _is_beside_a_line(around: str) -> bool:
    """Whether a line of the list stands there; one of three digits is a number of anything too."""
    numbers = (m.group() for m in _ANY_NUMBER.finditer(around))
    return any(
        is_kept(number, crisis_numbers())
        for number in numbers
        if len(digits_of(number)) >= _LEAST_OF_A_LINE
    )


def names_help(text: str) -> bool:
    """Whether a text names a service of crisis help in words."""
    return _HELP.search(text) is not None
