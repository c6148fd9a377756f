"""Names of people in texts that are not English: by titles and introductions alone.

The rules for English go by capitals and by given names. In German every noun has a capital, and in
all languages some words are given names of others ("Sie", "Mai", "Sole"): there they would mask
half a text. What is left to find is what an introduction, a title or a relation names.
"""

from __future__ import annotations

import re

from datasets_prep.name_rules import GIVEN_NAMES_INSIDE, NOT_NAMES, is_given

_UPPER = "A-Z\u00c0-\u00de\u0100-\u017e\u1e00-\u1eff"
_NAME = rf"[{_UPPER}][a-z\u00df-\u017e\u1e00-\u1eff]+(?:[-'\u2019][{_UPPER}][a-z\u00df-\u017e]+)?"
_FULL = rf"{_NAME}(?: (?:(?:van|von|de|der|den|la|del|da|di) ){{0,2}}{_NAME}){{0,2}}"
_TITLES = (
    r"Dr|Prof|Herrn?|Frau|Mme|Mlle|[Mm]adame|[Mm]onsieur|[Ss]e\u00f1ora?|Sra?|[Dd]o\u00f1a|"
    r"[Ss]ignora?|Sig|[Ss]enhora?|[Dd]ona|[Mm]evrouw|[Mm]eneer|Pfarrer|Pastor|Pan|Pani"
)
_SAID = (
    r"[Ii]ch hei\u00dfe|[Mm]ein Name ist|[Jj]e m['\u2019]appelle|[Mm]on nom est|[Mm]e llamo|"
    r"[Mm]i nombre es|[Mm]i chiamo|[Ii]l mio nome \u00e8|[Mm]e chamo|[Mm]eu nome \u00e9|[Ii]k heet|"
    r"[Mm]ijn naam is|[Jj]ag heter|[Jj]eg hedder|[Jj]eg heter|"
    r"[Nn]azywam si\u0119|[Mm]am na imi\u0119"
)
_RELATED = (
    r"(?:[Mm]eine?[mnrs]?|[Uu]nsere?[mnr]?) (?:\w+ )?(?:Freund(?:in)?|Mann|Frau|Sohn|Tochter|"
    r"Bruder|Schwester|Vater|Mutter|Kolleg(?:e|en|in)|Chef(?:in)?|Nachbar(?:n|in)?|Partner(?:in)?|"
    r"Ex|Oma|Opa|Tante|Onkel|Hund|Katze|Therapeut(?:en|in)?)"
    r"|(?:[Mm]on|[Mm]a|[Nn]otre) (?:amie?|copain|copine|mari|femme|fils|fille|fr\u00e8re|s\u0153ur|"
    r"p\u00e8re|m\u00e8re|coll\u00e8gue|patronn?e?|voisine?|chien|chat)"
    r"|(?:[Mm]i|[Nn]uestr[oa]|[Mm]eu|[Mm]inha|[Mm]io|[Mm]ia) (?:novi[oa]|espos[oa]|marido|mujer|"
    r"hij[oa]|herman[oa]|padre|madre|amig[oa]|jefe|jefa|vecin[oa]|perr[oa]|gat[oa]|namorad[oa]|"
    r"filh[oa]|irm\u00e3o?|pai|m\u00e3e|marito|moglie|figli[oa]|fratello|sorella|ragazz[oa]|amic[oa])"
    r"|(?:[Mm]ijn|[Mm]in|[Mm]itt) (?:vriend(?:in)?|man|vrouw|zoon|dochter|broer|zus|moeder|vader|"
    r"sambo|bror|syster|mamma|pappa|ven|v\u00e4n)"
)
_GREETED = (
    r"(?:\A|(?<=[.!?\n] )|(?<=\n))(?:Hallo|Liebe[rs]?|Hola|Bonjour|Salut|Ciao|Car[oa]|Ch\u00e8re?|"
    r"Querid[oa]|Ol\u00e1|Hej|Hoi|Cze\u015b\u0107)"
)
_RULES = (
    re.compile(rf"\b(?:{_TITLES})\.? ({_FULL})"),
    re.compile(rf"\b(?:{_SAID}) ({_FULL})"),
)
# Where a noun could follow as well, the word must be a given name.
_GIVEN_RULES = (
    re.compile(rf"\b(?:{_RELATED}),? ({_FULL})"),
    re.compile(rf"{_GREETED} ({_FULL})(?=\s?[,!.])"),
)


def foreign_names(text: str) -> list[tuple[int, int]]:
    """Spans of names in a text that is not English."""
    spans = [m.span(1) for rule in _RULES for m in rule.finditer(text)]
    for rule in _GIVEN_RULES:
        for match in rule.finditer(text):
            first = match[1].split()[0].lower()
            if is_given(first) or first in GIVEN_NAMES_INSIDE:
                spans.append(match.span(1))
    return [span for span in spans if text[slice(*span)].split()[0].lower() not in NOT_NAMES]
