"""Lexicons of names: given names, and the words, places and medicines that look like some."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from datasets_prep.given_names import EVERYWHERE, INSIDE, without_marks

_LEXICONS = Path(__file__).parent / "lexicons"
_LISTS: dict[str, str] = yaml.safe_load((_LEXICONS / "names.yaml").read_text(encoding="utf-8"))


def listed(key: str) -> list[str]:
    """The items of a list of `lexicons/names.yaml` that stand between commas."""
    return [item.strip() for item in _LISTS[key].split(",")]


# Capitalised often, and no name.
NOT_NAMES = frozenset(_LISTS["not_names"].split())
# Names that stand for a theory, a test or a faith, not for a person in the room.
PUBLIC_NAMES = frozenset(_LISTS["public"].split())
# First names that are words too: masked only where a rule finds them.
ALSO_WORDS = frozenset(_LISTS["also_words"].split())

# Words of medicine that stand where a name would: "my psychiatrist Effexor".
MEDICINES = frozenset((_LEXICONS / "medicines.txt").read_text(encoding="utf-8").lower().split())
# Towns that are names too.
PLACES = frozenset(listed("places"))
CITIES = frozenset(listed("cities"))
COUNTRIES = frozenset(listed("countries"))
GENERA = frozenset(_LISTS["genera"].split())
_ONLY_PLACES = frozenset(_LISTS["only_places"].split())
CREDENTIALS = (
    r"LCSW|LMFT|LPCC|LPC|LMHC|LCPC|LISW|LICSW|LMSW|LCMHC|LCADC|LCAS|LPCA|LGPC|LAMFT|LAC|LAPC|LSW|"
    r"LMHCA|MFT|MFTI|IMFT|AMFT|ACSW|MSW|BSW|NCC|DCC|CCTP|ACS|CADC|CAC|CSAC|CSAT|CST|CCM|BCD|"
    r"Ph\.?D|Psy\.?D|Ed\.?D|D\.?Min|DBH|DSW|M\.?Ed|Ed\.?S|M\.?D|M\.?A|M\.?S|MBA|MPH|RN|LP|"
    r"R\.?C\.?C|RP|RSW|CCC|CPsych|C\.?Psych|MBACP|BACP|UKCP|LLP|LMFTA|PMHNP|APRN|DNP"
)
CREDENTIAL = re.compile(rf"^(?:{CREDENTIALS})\.?$", re.IGNORECASE)

# What stands small within a surname.
PARTICLES = frozenset(_LISTS["particles"].split())
# Given names for any place in a sentence, and those for mid-sentence alone; lower case.
GIVEN_NAMES, GIVEN_NAMES_INSIDE = EVERYWHERE - _ONLY_PLACES, INSIDE - _ONLY_PLACES


def is_given(word: str) -> bool:
    """Whether a word, in lower case, is a given name, with its marks or without."""
    return word in GIVEN_NAMES or (not word.isascii() and without_marks(word) in GIVEN_NAMES)
