"""Names of people in texts that are not English: by titles and introductions alone.

The rules for English go by capitals and by given names. In German every noun has a capital, and in
all languages some words are given names of others ("Sie", "Mai", "Sole"): there they would mask
half a text. What is left to find is what an introduction, a title or a relation names.
"""

from __future__ import annotations

import re

from datasets_prep.code import overlaps
from datasets_prep.name_lists import GIVEN_NAMES_INSIDE, NOT_NAMES, is_given
from datasets_prep.script_names import script_names

_UPPER = "A-Z\u00c0-\u00de\u0100-\u017e\u1e00-\u1eff"
_NAME = rf"[{_UPPER}][a-z\u00df-\u017e\u1e00-\u1eff]+(?:[-'\u2019][{_UPPER}][a-z\u00df-\u017e]+)?"
_FULL = rf"{_NAME}(?: (?:(?:van|von|de|der|den|la|del|da|di) ){{0,2}}{_NAME}){{0,2}}"
_TITLES = (
    r"Dra?|Prof|Herrn?|Frau|Mme|Mlle|[Mm]adame|[Mm]onsieur|[Ss]e\u00f1ora?|Sra?|[Dd]o\u00f1a|"
    r"[Ss]ignora?|Sig|[Ss]enhora?|[Dd]ona|[Mm]evrouw|[Mm]eneer|Pfarrer|Pastor|Pan|Pani|"
    r"[Dd]aktari|[Bb]wana|[Mm]walimu|[Mm]zee"
)
_SAID = (
    r"[Ii]ch hei\u00dfe|[Mm]ein Name ist|[Jj]e m['\u2019]appelle|[Mm]on nom est|[Mm]e llamo|"
    r"[Mm]i nombre es|[Mm]i chiamo|[Ii]l mio nome \u00e8|[Mm]e chamo|[Mm]eu nome \u00e9|[Ii]k heet|"
    r"[Mm]ijn naam is|[Jj]ag heter|[Jj]eg hedder|[Jj]eg heter|"
    r"[Nn]azywam si\u0119|[Mm]am na imi\u0119|[Jj]ina langu ni|[Nn]aitwa"
)
_RELATED = (
    r"(?:[MmDdSs]eine?[mnrs]?|[Uu]nsere?[mnr]?|[Ii]hre?[mnrs]?) (?:\w+ )?(?:Freund(?:in)?|Mann|"
    r"Frau|Sohn|Tochter|"
    r"Bruder|Schwester|Vater|Mutter|Kolleg(?:e|en|in)|Chef(?:in)?|Nachbar(?:n|in)?|Partner(?:in)?|"
    r"Ex|Oma|Opa|Tante|Onkel|Hund|Katze|Therapeut(?:en|in)?)"
    r"|(?:[MmTtSs]on|[MmTtSs]a|[NnVv]otre) (?:amie?|copain|copine|mari|femme|fils|fille|"
    r"fr\u00e8re|s\u0153ur|"
    r"p\u00e8re|m\u00e8re|coll\u00e8gue|patronn?e?|voisine?|chien|chat)"
    r"|(?:[Mm]i|[TtSs]u|[Nn]uestr[oa]|[Mm]eu|[Mm]inha|[Mm]io|[Mm]ia) (?:novi[oa]|espos[oa]|"
    r"marido|mujer|"
    r"hij[oa]|herman[oa]|padre|madre|amig[oa]|jefe|jefa|vecin[oa]|perr[oa]|gat[oa]|namorad[oa]|"
    r"filh[oa]|irm\u00e3o?|pai|m\u00e3e|marito|moglie|figli[oa]|fratello|sorella|ragazz[oa]|"
    r"amic[oa])"
    r"|(?:[Mm]ijn|[Mm]in|[Mm]itt) (?:vriend(?:in)?|man|vrouw|zoon|dochter|broer|zus|moeder|vader|"
    r"sambo|bror|syster|mamma|pappa|ven|v\u00e4n)"
    r"|(?:[Rr]afiki|[Mm]ume|[Mm]ke|[Kk]aka|[Dd]ada|[Mm]ama|[Bb]aba|[Mm]toto|[Jj]irani) (?:w|y)angu"
)
_GREETED = (
    r"(?:\A|(?<=[.!?\n] )|(?<=\n))(?:Hallo|Liebe[rs]?|Hola|Bonjour|Salut|Ciao|Car[oa]|Ch\u00e8re?|"
    r"Querid[oa]|Ol\u00e1|Hej|Hoi|Cze\u015b\u0107)"
)
# What closes a letter, and who signs it.
CLOSINGS = (
    r"mfg|lg|vg|mit (?:freundlichen|besten|lieben) gr(?:\u00fc|ue)(?:\u00df|ss)en|"
    r"(?:viele|liebe|beste|herzliche|freundliche|sch\u00f6ne) gr(?:\u00fc|ue)(?:\u00df|ss)e|"
    r"alles gute|cordialement|bien \u00e0 (?:vous|toi)|amicalement|saludos(?: cordiales)?|"
    r"atentamente|un (?:cordial )?saludo|un (?:fuerte )?abrazo|abra\u00e7os?|atenciosamente|"
    r"(?:cordiali|distinti) saluti|un caro saluto|met vriendelijke groet(?:en)?|groetjes|"
    r"pozdrawiam|"
    r"med v\u00e4nlig h\u00e4lsning|mvh|"
    r"\u0441 \u0443\u0432\u0430\u0436\u0435\u043d\u0438\u0435\u043c"
)
# Who signs, and who says how they are called, in Russian.
_RUSSIAN = re.compile(
    r"(?:\b(?i:\u0441 \u0443\u0432\u0430\u0436\u0435\u043d\u0438\u0435\u043c)[,.!]?\s+"
    r"(?=[^\n]{2,60}\Z)"
    r"|\b[\u041c\u043c]\u0435\u043d\u044f \u0437\u043e\u0432\u0443\u0442 )"
    r"([\u0410-\u042f\u0401][\u0430-\u044f\u0451]+"
    r"(?: [\u0410-\u042f\u0401][\u0430-\u044f\u0451]+){0,2})"
)
_RULES = (
    re.compile(rf"\b(?i:{CLOSINGS})[,.!]?[\s~-]{{1,4}}(?:Dr\.? )?({_FULL})[\s.!]*\Z"),
    re.compile(rf"\b(?:{_TITLES})\.?(?: (?:Dra?|Prof|med|Dipl-\w+)\b\.?)* ({_FULL})"),
    _RUSSIAN,
    re.compile(rf"\b(?:{_SAID}) ({_FULL})"),
)
# Where a noun could follow as well, the word must be a given name.
_GIVEN_RULES = (
    re.compile(rf"\b(?:{_RELATED}),? ({_FULL})"),
    re.compile(rf"{_GREETED} ({_FULL})(?=\s?[,!.])"),
)


# Of China: a surname, and up to two signs, before what only people are called, or behind what
# introduces them. Surnames that are common words are left out: "for ladies" is spelt with one.
_SURNAME = (
    "[\u738b\u674e\u5f20\u5218\u9648\u6768\u9ec4\u8d75\u5468\u5434\u5f90\u5b59\u6731\u9a6c\u80e1\u90ed\u6797\u4f55\u7f57\u90d1\u6881\u8c22\u5b8b\u5510\u97e9\u51af\u9093\u66f9\u5f6d"
    "\u66fe\u8096\u7530\u8463\u8881\u6f58\u848b\u8521\u675c\u53f6\u7a0b\u82cf\u9b4f\u5415\u4e01\u6c88\u59da\u5362\u59dc\u5d14\u949f\u8c2d\u9646\u6c6a\u8303\u5ed6\u97e6\u8d3e\u590f\u90b9\u718a\u5b5f"
    "\u79e6\u859b\u4faf\u96f7\u9f99\u6bb5\u90dd\u5b54\u90b5\u6bdb\u5f35\u5289\u9673\u694a\u9ec3\u8d99\u5433\u5b6b\u99ac\u7f85\u912d\u8b1d\u97d3\u99ae\u8449\u8607\u76e7\u9418\u9678]"
)
_SIGN = "[\u4e00-\u9fff]"
_CHINESE = (
    re.compile(
        rf"(?<![\u4efb\u4e5f])({_SURNAME}{_SIGN}{{0,2}}?)(?=\u5148\u751f|\u5973\u58eb|"
        rf"\u5c0f\u59d0|\u592a\u592a)"
    ),
    # A doctor, a head of a ward, a professor, a teacher: by the surname alone, where the sign
    # before it makes no word of it ("nervous", "thanks", "two minutes", "last week").
    re.compile(
        rf"(?<![\u7d27\u4e3b\u5938\u614c\u6269\u4e00\u8fd9\u90a3\u611f\u8c22\u591a\u5982\u4e3a\u4efb\u4e0b\u4e0a\u6bcf\u4e24\u672c\u5206\u70b9\u4e2d\u68ee\u6865\u6811\u767e\u5343\u7ea2\u7eff\u725b\u7f8a\u5929])"
        rf"({_SURNAME})(?=\u533b\u751f|\u5927\u592b|\u4e3b\u4efb|\u6559\u6388|\u8001\u5e08|"
        rf"\u533b\u5e08|\u62a4\u58eb|\u5f8b\u5e08)"
    ),
    # The whole name, where it opens a clause or stands behind a hospital or its ward.
    re.compile(
        rf"(?:\A|(?<=[\s\uff0c\u3002\uff1a\uff1b\u3001,:;])|(?<=\u533b\u9662)|(?<=\u79d1))"
        rf"({_SURNAME}(?![\u4e0a\u56f4\u8fb9\u65f6\u79cd\u5904\u8c22\u5929\u5b63]){_SIGN}{{1,2}}?)"
        rf"(?=\u533b\u751f|\u4e3b\u4efb|\u6559\u6388|\u533b\u5e08|\u62a4\u58eb|\u5f8b\u5e08)"
    ),
    re.compile(
        rf"(?:\u6211\u53eb|\u540d\u53eb|\u6211\u7684\u540d\u5b57\u662f|"
        rf"\u59d3\u540d[\uff1a:\u662f]?)\s?"
        rf"({_SURNAME}{_SIGN}{{1,2}})(?=[\s\uff0c,\u3002.\uff01!\uff1b;\u3001]|$)"
    ),
)
_TITLE_OF_A_WORK = re.compile("\u300a[^\u300b]*\u300b")
# Signs that spell the sounds of foreign names: the next one is no surname ("Mr. Ripley").
_SOUNDS = frozenset(
    "\u65af\u5c14\u514b\u666e\u7279\u5fb7\u91cc\u62c9\u5361\u5c3c\u8bfa\u83b1\u66fc\u4f26\u59c6\u683c\u7ef4\u5965\u4f50\u8482\u8d1d\u51e1\u57c3\u739b\u5e03\u5766"
)
# Of Arabic: who stands behind the short form of a title, in two words before a mark, else in one.
_ARABIC = re.compile(
    r"(?<!\w)(?:\u0623\. ?)?\u062f\. ?([\u0621-\u064a]{2,}"
    r"(?: [\u0621-\u064a]{2,}(?=\s*(?:[\u060c,.:\u061b\n(]|\Z)))?)"
)


def foreign_names(text: str) -> list[tuple[int, int]]:
    """Spans of names in a text that is not English."""
    spans = [m.span(1) for rule in _RULES for m in rule.finditer(text)]
    for rule in _GIVEN_RULES:
        for match in rule.finditer(text):
            first = match[1].split()[0].lower()
            if is_given(first) or first in GIVEN_NAMES_INSIDE:
                spans.append(match.span(1))
    if not text.isascii():
        found = [m.span(1) for rule in (*_CHINESE, _ARABIC) for m in rule.finditer(text)]
        works = [m.span() for m in _TITLE_OF_A_WORK.finditer(text)] if found else []
        spans += [
            span
            for span in found
            if not overlaps(span, works) and text[max(0, span[0] - 1) : span[0]] not in _SOUNDS
        ]
        spans += script_names(text)
    return [span for span in spans if text[slice(*span)].split()[0].lower() not in NOT_NAMES]
