"""What closes a text and is signed by a name."""

from __future__ import annotations

import re

from datasets_prep.name_lists import CREDENTIALS
from datasets_prep.name_rules import FORMAL

_CLOSINGS = (
    r"best|best wishes|yours faithfully|yours sincerely|with gratitude|kindest regards|"
    r"warmest regards|lots of love|best regards|kind regards|warm regards|regards|warmly|"
    r"sincerely|cheers|blessings|namaste|take care|good luck|be well|with care|yours|yours truly|"
    r"respectfully|all the best|in health|peace|love|hugs|xoxo|thanks|thank you|many thanks"
)
# What closes an answer: "- Jane", "~Mark", "Best wishes, Jane Roe".
SIGN_OFF = re.compile(
    r"(?:(?:^|\n|(?<=[.!?)\"\u201d] )|(?<=[.!?)]))[-\u2013\u2014~*]{1,2} ?"
    r"|(?<=[a-z],)\s?[~\u2014-]\s?"
    rf"|(?i:\b(?:{_CLOSINGS})[,.!]?(?: to you(?: all)?,?)?)[\s~-]{{1,4}})"
    rf"((?:Dr\.? )?{FORMAL})"
    rf"(?:,? (?:{CREDENTIALS})\b[^\n]{{0,80}}|[.,!)\s]*(?:\([^\n]{{0,80}})?)$"
)
# A signature ends in a capitalised word, or holds a bracket or a credential.
MAY_BE_SIGNED = re.compile(r"\b[A-Z\u00c0-\u00de]\S*[\s.,!)]*\Z|\(|[A-Z.][A-Z]")
