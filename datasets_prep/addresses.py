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
ADDRESS = re.compile(
    rf"(?<![\w.,$\u20ac\u00a3-])\d{{1,5}}[A-Za-z]?,? (?:[NSEW]\.? |North |South |East |West )?"
    rf"(?:{_NAME} ){{1,3}}(?:(?:{_SURE})\b\.?|(?:{_WORDS})\b(?:\.(?! [A-Z])|(?!\.? [A-Z][a-z])))"
    rf"{_UNIT}{_TOWN}(?:,? {_POSTCODE})?"
    r"|\bP\.? ?O\.? Box \d+(?:, [A-Z][a-z]+(?: [A-Z][a-z]+)*)?(?:,? [A-Z]{2}\b)?"
    r"(?: \d{5}(?:-\d{4})?)?"
    rf"|\b{_POSTCODE}"
)
