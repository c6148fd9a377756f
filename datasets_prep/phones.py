"""Phone numbers in text; crisis lines, and digits that are no phone's, are left alone."""

from __future__ import annotations

import re

import phonenumbers

from datasets_prep.crisis_lines import is_kept, stands_beside_help
from recipes.runner.core.errors import UserError

_GAP = r"[-.\u2013\u2011]|\s?[-.\u2013\u2011]\s?|\s"
# North American numbers as people type them, valid by numbering plan or not ("555" is not). Only
# with their groups apart: ten digits in a row are an order, a time or a sum as often.
_NANP = re.compile(
    rf"(?<![\d$\u20ac\u00a3.,-])(?:\+?1(?:{_GAP})?)?"
    rf"(?:\(\s?\d{{3}}\s?\)\s?(?:{_GAP})?|\d{{3}}(?:{_GAP}))"
    rf"\d{{3}}(?:{_GAP})\d{{4}}(?:\s?(?:x|ext\.?|extension)\s?\d{{1,6}})?(?![\d,-]|\.\d)",
    re.IGNORECASE,
)
_LOCAL = re.compile(
    r"(?:(?:call|text (?:me|him|her|us)|phone|tel|telephone|cell|mobile|fax"
    r"|(?:my|his|her|our) number|reach (?:me|him|her|us))\b[^\n\d]{0,25})"
    r"(?<!\d)(\d{3}[-.]\d{4})(?!\d)",
    re.IGNORECASE,
)
_INTERNATIONAL = re.compile(r"(?<![\w+])\+[1-9]\d{0,2}(?:[\s.()/-]{0,2}\d){6,12}(?![\d])")
_LETTERS = re.compile(
    r"(?<![\d-])1?[-. ]?8(?:00|33|44|55|66|77|88)[-. ](?=[A-Z0-9-]*[A-Z])[A-Z0-9-]{6,11}\b"
    # In lower case only after the 1, and with all seven signs: "an 800-calorie lunch" is none.
    r"|(?<![\d-])1[-. ]8(?:00|33|44|55|66|77|88)[-. ](?=[\w-]*[A-Za-z])(?:-?[A-Za-z0-9]){7,10}\b"
)
# What opens such a number: looked for first, as it is found ten times as fast.
_FREE_CALL = re.compile(r"8(?:00|33|44|55|66|77|88)[-. ]")
_DIGITS = re.compile(r"\d")
# Seven digits that nothing but the signs of phone numbers stands between.
_SEVEN = re.compile(r"\d(?:[^\w\n]{0,4}\d){6}")
# What holds any of these but `_LETTERS` has seven digits that near each other.
_CLOSE = re.compile(r"\d(?:\W{0,6}\d){6}")
# Who says so means a phone: any run of 7 to 15 digits after it is one.
_SAID = re.compile(
    r"\b(?:(?:call|ring|phone|dial|text|sms|whatsapp|signal|telegram|viber|fax)(?:ed|ing|s)?"
    r"(?: (?:me|him|her|us|them|up|back|anytime|now|today|tonight))*(?: (?:at|on|under|via))?"
    r"|(?:reach|contact|get)(?: (?:me|him|her|us|them))(?: (?:at|on|under|via|by phone))+"
    r"|(?:my|his|her|their|our|your)(?: \w+)? (?:number|phone|cell|mobile|landline|whatsapp)"
    r"(?: (?:number|is|was|:))*"
    r"|(?:phone|cell|mobile|telephone|tel|fax|whatsapp)\.?(?: ?(?:number|no\.?|nr\.?|#))?(?: is)?)"
    r"\s?[:=]?\s{0,2}(?P<number>\+?\(?\d(?:[\s().\u2013/-]{0,3}\d){6,14})(?![\d%]|[.,]\d|-?[A-Za-z])",
    re.IGNORECASE,
)
# The same in other languages, in whose scripts words may have no space between.
_SAID_ABROAD = re.compile(
    r"(?:(?<![^\W\d_])(?:simu(?: ya mkononi)?|tel\u00e9fonos?|telefone?|"
    r"m\u00f3vil|celular|telem\u00f3vel|handy(?:nummer)?|telefonnummer|rufnummer|t\u00e9l(?:\u00e9phone)?|"
    r"cellulare|mobil|telefoon|telp|"
    r"\u0442\u0435\u043b(?:\u0435\u0444\u043e\u043d)?|\u043c\u043e\u0431\u0438\u043b\u044c\u043d\u044b\u0439)(?![^\W\d_])"
    r"|\u7535\u8bdd|\u96fb\u8a71|\u624b\u673a|\u624b\u6a5f|\u62e8\u6253|\u64a5\u6253|\u81f4\u7535|\u6765\u7535|\u643a\u5e2f|\uc804\ud654|"
    r"\ud734\ub300\ud3f0|\ud578\ub4dc\ud3f0|\u0647\u0627\u062a\u0641|\u062c\u0648\u0627\u0644|\u0645\u0648\u0628\u0627\u064a\u0644|"
    r"\u062a\u0644\u0641\u0646|\u0641\u0648\u0646|\u092b\u093c?\u094b\u0928|\u092e\u094b\u092c\u093e\u0907\u0932|\u05d8\u05dc\u05e4\u05d5\u05df)"
    r"(?:[^\d\n+.!?\u3002]|\.(?! )){0,16}\.?\s?"
    r"(?P<number>\+?\(?\d(?:[\s().\u2013/-]{0,3}\d){6,14})(?![\d%]|[.,]\d|-?[A-Za-z])",
    re.IGNORECASE,
)
# What the digits are, said before them, or what is counted, said after.
_NO_PHONE_BEFORE = re.compile(
    r"\b(?:part|order|item|model|serial|isbn(?:-1[03])?|issn|case|invoice|ticket|account|acct|ref|"
    r"reference|sku|tracking|patent|section|article|chapter|version|build|release|id|no\.|nr\.|"
    r"number|code|pin|batch|lot|policy|claim|docket|bill|form|unix time|timestamp|epoch|plus|minus|"
    r"times|sum|equals|between|catalogu?e|customer|member|booking|confirmation|page|pages|"
    r"ndc|ndcs|cas|ean|upc|gtin|pzn|din|unii|pmid|doi|nct|icd|atc|model)"
    r"(?: (?:number|no\.?|nr\.?|id|code|is|of))*\s?[#:=]?\s?\Z",
    re.IGNORECASE,
)
_UNIT_AFTER = re.compile(
    r"\s?(?:mg|ml|mcg|\u00b5g|kg|g|km|m|cm|mm|steps|calories|kcal|people|dollars|euros|pounds|years|days|"
    r"hours|minutes|units|iu|mmhg|mmol|kpa|bpm|times|words|percent|bytes|rows)\b|\s?[%\u00b0=*\u00d7]",
    re.IGNORECASE,
)
# A national drug code: labeller, product, package.
_DRUG_CODE = re.compile(r"\d{4}-\d{4}-\d{2}|\d{5}-\d{3}-\d{2}|\d{5}-\d{4}-\d{1,2}")
# A blood pressure, or a range of it: "130-135/90-100".
_PRESSURE = re.compile(r"\d{2,3}(?: ?[-\u2013] ?\d{2,3})? ?/ ?\d{2,3}(?: ?[-\u2013] ?\d{2,3})?")
# A sum: a sign of arithmetic opens it, or a quotient stands in it.
_SUM_BEFORE = re.compile(r"(?:[=*\u00d7\u00f7^\u221a]|[+\u2212] )\s*[\[({]*\s*\Z")
_QUOTIENT = re.compile(r"\d\s?/\s?\d*\.\d|\d\.\d+\s?/")
# More of the same behind one: "010-88369280, 010-88369210".
_MORE = re.compile(
    r"\s?(?:[,;/\u3001\uff0c\uff1b]|\b(?:or|and|und|oder|y|o|et|ou|e)\b)\s?"
    r"(?P<number>\+?\(?\d(?:[\s().\u2013-]{0,2}\d){6,14})(?![\d%]|[.,]\d|-?[A-Za-z])"
)
# A free call to a public service, named before it, that nobody calls theirs. What is joined to such
# a number by "or" is another of the same.
_FREE = re.compile(r"(?:\+?1[-. ]?)?\(?8(?:00|33|44|55|66|77|88)\)?[-. )]|0\s?800\b|0808\b")
_SERVICE = re.compile(
    r"\b(?:services?|lines?|cent(?:re|er)s?|associations?|society|foundations?|administration|"
    r"departments?|agency|program(?:me)?s?|referral|information|institutes?|organi[sz]ations?|"
    r"council|network|alliance|ministry|board|bureau|CDC|FDA|NIH|NHS|VA|WHO|AA|Al-Anon|Medicare|"
    r"Medicaid|Red Cross|toll[- ]free|freephone|free of charge"
    # Of Germany, France, Spain, Italy and Portugal: offices, authorities, ministries, free calls.
    r"|\w*(?:agentur|amt|beh\u00f6rde|ministerium|krankenkasse|beratungsstelle|hotline)|"
    r"geb\u00fchrenfrei|kostenlos|(?:service|b\u00fcrger)(?:nummer|telefon)|num\u00e9ro vert|"
    r"gratuite?s?|"
    r"minist\u00e8re|pr\u00e9fecture|mairie|ministerio|ayuntamiento|gratuit[oa]s?|ministero|comune|"
    r"numero verde|minist\u00e9rio)\b"
    # "Tel." ends no sentence before its number.
    r"(?:[^.!?\n]|[.!?](?=\S)|(?<=\bTel)\.|(?<=[\d\u00a7IVX])\.(?= )|(?<=\bAbs)\.)*\Z",
    re.IGNORECASE,
)
# Between the emergency numbers of several countries: "911/112/999".
_PARTS = re.compile(r"[\s/]+")
_JOINED = re.compile(r"\s*(?:,|;|/|\(|or|and|toll[- ]free|\(toll[- ]free\)|in \w+)+\s*", re.I)
_OWN = re.compile(r"\b(?:me|my|mine|us|our|I|we|his|her|their)\b(?:[^.!?\n]|[.!?](?=\S))*\Z", re.I)
_MINE = re.compile(
    r"\b(?:my|his|her|their|our|your)(?: \w+)? number(?: is)?\s?:?\s?\Z|\bphone number\s?\Z", re.I
)


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
    digits = len(_DIGITS.findall(text))
    lettered = list(_LETTERS.finditer(text)) if _FREE_CALL.search(text) else []
    if digits < 6 and not lettered:
        return []
    spans = [m.span() for m in lettered]
    said = []
    if _CLOSE.search(text):
        said = [m.span("number") for m in _SAID.finditer(text)]
        said += [m.span(1) for m in _LOCAL.finditer(text)]
        said += [m.span("number") for m in _SAID_ABROAD.finditer(text)]
        spans += [m.span() for p in (_NANP, _INTERNATIONAL) for m in p.finditer(text)]
    if digits >= 7 and _SEVEN.search(text):
        rest = text
        for region in regions:
            if rest is not text and not _SEVEN.search(rest):
                break
            for match in phonenumbers.PhoneNumberMatcher(rest, region):
                if re.search(r"[^\d]", match.raw_string):
                    spans.append((match.start, match.end))
                # What one region knows, the next need not try in all its parts.
                gap = "\n" * (match.end - match.start)
                rest = rest[: match.start] + gap + rest[match.end :]
    spans = [span for span in spans if _may_be_phone(text, *span)]
    said += [more for span in {*said, *spans} for more in _more(text, *span)]
    spans = [
        (start, end)
        for start, end in [*said, *spans]
        if not _UNIT_AFTER.match(text, end)
        and not _DRUG_CODE.fullmatch(text[start:end].strip("() "))
        and not _PRESSURE.fullmatch(text[start:end].strip("() "))
        and not is_kept(text[start:end], keep)
        and not all(is_kept(part, keep) for part in _PARTS.split(text[start:end]))
        and not stands_beside_help(text, start, end)
    ]
    free = {span for span in spans if _of_a_service(text, *span)}
    return [span for span in spans if span not in free and not _joined(text, span, free)]


def _more(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """The numbers that are listed behind a phone and look like it."""
    found: list[tuple[int, int]] = []
    digits = len(_DIGITS.findall(text[start:end]))
    while match := _MORE.match(text, end):
        if len(_DIGITS.findall(match["number"])) != digits:
            break
        found.append(match.span("number"))
        end = match.end()
    return found


def _of_a_service(text: str, start: int, end: int) -> bool:
    """Whether a number is one that its owner pays for, and nobody here calls theirs."""
    at = start + (text[start] == "(")
    before = text[max(0, start - 160) : start]
    return bool(_FREE.match(text, at) and _SERVICE.search(before)) and not _OWN.search(before)


def _joined(text: str, span: tuple[int, int], free: set[tuple[int, int]]) -> bool:
    """Whether a number stands beside one of a service: "1-800-663-1441 or 604-660-9382"."""
    start, end = span
    return any(
        _JOINED.fullmatch(text, stop, start) or _JOINED.fullmatch(text, end, first)
        for first, stop in free
    )


def _may_be_phone(text: str, start: int, end: int) -> bool:
    """Whether nothing around the digits says that they are something else."""
    if text[start] == "+":
        # "821091117+4908374100427" is a sum.
        return not text[max(0, start - 1) : start].isdigit()
    before = text[max(0, start - 40) : start]
    if _UNIT_AFTER.match(text, end) or _SUM_BEFORE.search(before):
        return False
    if _QUOTIENT.search(text, start, end):
        return False
    return not _NO_PHONE_BEFORE.search(before) or bool(_MINE.search(before))
