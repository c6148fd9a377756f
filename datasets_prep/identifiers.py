"""Numbers of a person or a machine: cards, SSNs, IBANs and IP addresses, each found whole."""

from __future__ import annotations

import ipaddress
import re

from stdnum import iban, luhn
from stdnum.us import ssn

_CARD = re.compile(r"\d(?<![\w.-].)(?:[ -]?\d){12,18}(?![\w-]|\.\d)")
# First digits that issuers of cards use (ISO/IEC 7812), with the lengths that go with them.
_ISSUER = re.compile(
    r"(?:4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:2[2-9]|[3-6]\d|7[01])\d{13}|3[47]\d{13}"
    r"|3(?:0[0-5]|[68]\d)\d{11,16}|6(?:011|5\d\d|4[4-9]\d)\d{12,15}|35\d{14}|62\d{14,17})\Z"
)
_SSN = re.compile(r"\d(?<![\w-].)\d{2}-\d{2}-\d{4}(?![\w-])")
_SSN_SAID = re.compile(
    r"\b(?:ssn|social(?: security)?(?: (?:number|no\.?))?)(?: (?:is|was|number))*\s?[:#]?\s?"
    r"(\d{3}[ .]?\d{2}[ .]?\d{4})(?!\d)",
    re.IGNORECASE,
)
# What holds one said so has its digits: a third of the cost of a search.
_NINE = re.compile(r"\d{3}[ .]?\d{2}[ .]?\d{4}")
_IBAN = re.compile(r"[A-Z](?<![A-Za-z0-9].)[A-Z]\d{2}(?: ?[A-Z0-9]){11,30}(?![A-Za-z0-9])")
_IPV4 = re.compile(r"\d(?<![\w.].)\d{0,2}(?:\.\d{1,3}){3}(?![\w]|\.\d)")
_IPV6 = re.compile(
    r"(?<![\w:.])(?=[0-9A-Fa-f:]*::?[0-9A-Fa-f:]*:)[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])"
)
_NO_ADDRESS_BEFORE = re.compile(
    r"\b(?:version|release|build|section|chapter|firmware|driver|update|v|ver\.?|clause|rule|\u00a7)\s?\Z",
    re.IGNORECASE,
)
_OTHER_BEFORE = re.compile(
    r"\b(?:order|tracking|invoice|ticket|serial|isbn|item|part|reference|ref|sum|number of)"
    r"(?: (?:number|no\.?|id|is))*\s?[#:]?\s?\Z",
    re.IGNORECASE,
)


def find_cards(text: str) -> list[tuple[int, int]]:
    """Payment cards: an issuer's first digits, its length, and the check digit (Luhn)."""
    found = []
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        named = _OTHER_BEFORE.search(text, max(0, match.start() - 30), match.start())
        if _ISSUER.match(digits) and luhn.is_valid(digits) and not named:
            found.append(match.span())
    return found


def find_ssns(text: str) -> list[tuple[int, int]]:
    """US social security numbers: with their hyphens, or after the words."""
    found = [m.span() for m in _SSN.finditer(text) if ssn.is_valid(m.group())]
    if _NINE.search(text):
        found += [m.span(1) for m in _SSN_SAID.finditer(text)]
    return found


def find_ibans(text: str) -> list[tuple[int, int]]:
    """International bank account numbers, whole, by country's length and check digits."""
    found = []
    for match in _IBAN.finditer(text):
        words = match.group().split(" ")
        # A capitalised word may follow; the longest run that is an IBAN counts.
        for count in range(len(words), 0, -1):
            candidate = " ".join(words[:count])
            if iban.is_valid(candidate):
                found.append((match.start(), match.start() + len(candidate)))
                break
    return found


# Servers of names that stand in every manual.
_EVERYBODYS = ("8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9")


def find_ips(text: str) -> list[tuple[int, int]]:
    """IP addresses of a machine; versions and section numbers, netmasks and localhost stay."""
    found = []
    patterns = (_IPV4, _IPV6) if text.count(":") > 1 else (_IPV4,)
    for pattern in patterns:
        for match in pattern.finditer(text):
            if _NO_ADDRESS_BEFORE.search(text, max(0, match.start() - 20), match.start()):
                continue
            if pattern is _IPV6 and sum(map(bool, match.group().split(":"))) < 3:
                continue
            try:
                address = ipaddress.ip_address(match.group())
            except ValueError:
                continue
            if not (
                address.is_loopback
                or address.is_unspecified
                or address.is_multicast
                or match.group().startswith(("255.", "0."))
                or match.group() in _EVERYBODYS
            ):
                found.append(match.span())
    return found
