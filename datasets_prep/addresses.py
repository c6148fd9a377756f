"""Postal addresses in text: house number and street, PO boxes, postcodes."""

from __future__ import annotations

import re

# Whatever stands before these is a street; the others are words too ("a place", "the way").
_SURE = (
    "Street|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Terrace|Parkway|Pkwy|Highway|Hwy|Crescent|"
    "Cres|Mews|Stra\u00dfe|Strasse"
)
_WORDS = (
    "St|Drive|Dr|Court|Ct|Way|Place|Pl|Square|Sq|Circle|Cir|Close|Gardens|Grove|Row|Trail|Walk|Hill|"
    "Park"
)
# A number before these counts something.
_COUNTED = (
    "The|A|An|To|Of|And|Or|In|On|At|For|By|My|Your|His|Her|Our|Their|Is|Was|Minutes?|Hours?|Days?|"
    "Weeks?|Months?|Years?|Times?|Steps?|People|Percent|Ways?|Things?|Reasons?|Tips?|Signs?|Mg|Ml|"
    "Rules?|Points?|Questions?|Pages?|January|February|March|April|May|June|July|August|September|"
    "October|November|December|I|You|He|She|It|We|They|Then|When|But|So|Dr|Mr|Mrs|Ms"
)
_NAME = rf"(?!(?:{_COUNTED})\b)(?:[A-Z\u00c0-\u00de][\w'\u2019-]*\.?|\d{{1,3}}(?:st|nd|rd|th))"
_UNIT = r"(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Flat|#)\.? ?#?\w+)?"
# A town needs its comma: without it the next sentence begins.
_TOWN = (
    r"(?:, [A-Z][a-z]+(?: [A-Z][a-z]+){0,2}(?=[,.;)\s]|$)"
    r"(?:,? [A-Z]{2}\b)?(?:,? \d{5}(?:-\d{4})?\b)?)?"
)
_POSTCODE = r"[A-Z]{1,2}\d[A-Z\d]? \d(?!MG|ML|KG|KM|CM|MM|OZ|LB|PM|AM|HZ|GB|MB|TB|IU)[A-Z]{2}\b"
# A street and its number, as Spain, Portugal, Italy, Germany and France write them.
_WORD = r"[A-Z\u00c0-\u00de][\w'\u2019-]+"
_OF = r"(?:de (?:la |los |las |l['\u2019])?|d[aeou]l?s? |d['\u2019])?"
_CITY = rf"(?:, ?\d{{5}} {_WORD})?"
_ABROAD = re.compile(
    rf"\b(?:C/|(?:Calle|Avda\.|Avenida|Paseo|Rua|Via|Viale) {_OF}) ?{_WORD}(?: {_OF}{_WORD}){{0,3}}"
    r",? (?:n\.?[\u00ba\u00b0] ?)?\d{1,4}\b(?!\s?(?:km|m|%)\b)"
    rf"(?:, ?\d{{1,2}}\.?[\u00ba\u00aa](?: ?[A-Z]\b)?)?{_CITY}"
    rf"|\b[A-Z\u00c0-\u00de][\w-]*(?:stra\u00dfe|strasse|str\.) \d{{1,4}} ?[a-z]?\b{_CITY}"
    rf"|\b\d{{1,4}}(?: bis| ter)?,? (?:[Rr]ue|[Bb]oulevard|[Ii]mpasse|[Aa]ll\u00e9e|[Qq]uai) {_OF}"
    rf"{_WORD}(?:[ -]{_WORD}){{0,3}}{_CITY}"
)
# "In 1886, Robert Lane": a year and its comma, behind what only a date follows; "the 1929 Wall
# Street crash".
_YEAR = (
    r"(?!(?<=\b[Ii]n )[12]\d{3}, |(?<=\b[A-Z][a-z][a-z] )[12]\d{3}, "
    r"|(?<=\b[Tt]he )(?:1[5-9]|20)\d\d )"
)
_ENGLISH = re.compile(
    rf"(?<![\w.,$\u20ac\u00a3-]){_YEAR}\d{{1,5}}[A-Za-z]?,? "
    r"(?:[NSEW]\.? |North |South |East |West )?"
    rf"(?:{_NAME} ){{1,3}}(?:(?:{_SURE})\b\.?|(?:{_WORDS})\b(?:\.(?! [A-Z])|(?!\.? [A-Z][a-z])))"
    rf"{_UNIT}{_TOWN}(?:,? {_POSTCODE})?"
    r"|\bP\.? ?O\.? Box \d+(?:, [A-Z][a-z]+(?: [A-Z][a-z]+)*)?(?:,? [A-Z]{2}\b)?"
    r"(?: \d{5}(?:-\d{4})?)?"
    rf"|\b{_POSTCODE}"
)
# What must stand in a text that holds one: looked for first, as it is found ten times as fast.
_NUMBERED = re.compile(r"\d[A-Za-z]?,? (?:[A-Z\u00c0-\u00de]|\d)|Box \d")
_STREETS = (
    *("C/", "Calle ", "Avda.", "Avenida ", "Paseo ", "Rua ", "Via ", "Viale ", "stra\u00dfe "),
    *("strasse ", "str. ", "rue ", "boulevard ", "impasse ", "all\u00e9e ", "quai "),
    *("Rue ", "Boulevard ", "Impasse ", "All\u00e9e ", "Quai "),
)


def find_addresses(text: str) -> list[tuple[int, int]]:
    """Character spans of postal addresses."""
    found = [m.span() for m in _ENGLISH.finditer(text)] if _NUMBERED.search(text) else []
    if any(street in text for street in _STREETS):
        found += [m.span() for m in _ABROAD.finditer(text)]
    return found
