"""Sentences that hang on one that was taken out before them.

"You can register at [URL]. It takes five minutes." Once the first is gone, the second says
something of nothing, or of what stands further up. Only what is sure to speak of a page, a form, a
book or a service counts: "It takes time to heal" hangs on nothing.
"""

from __future__ import annotations

import re

from datasets_prep.crisis_lines import names_crisis_line, names_help

# Goes on from the place that a sentence pointed to.
_THERE = (
    r"(?:Once|When|After) (?:(?:you(?:'re|\u2019re| are| get| arrive)? )?there|"
    r"(?:you(?:'re|\u2019re| are| get) )?(?:on|at|in) (?:that|this|the|their) "
    r"(?:web ?site|site|page|link|directory|homepage))|From there,|"
    r"(?:There|On (?:that|this|their) (?:web ?site|site|page|homepage)),? "
    r"you (?:can|will|'ll|may|should)"
)
_NUMBER = (
    r"\d+|a few|a couple of|no|half an?|an?|one|two|three|four|five|six|seven|eight|nine|ten|"
    r"fifteen|twenty|thirty|forty|sixty"
)
_ADVERBS = r"(?:(?:also|only|just|usually|really|completely|totally|all|very|quite) )*"
_LENGTH = (
    rf"(?:takes|took|will take|should take|lasts|runs) (?:(?:you|about|around|roughly|only|just|"
    rf"less than|up to|under|no more than) )*(?:{_NUMBER})"
    rf"(?:\s?(?:-|\u2013|to|or)\s?(?:{_NUMBER}))?"
    r"[ -](?:seconds?|minutes?|mins?|hours?|days?|weeks?|pages?|clicks?)\b(?! to (?!"
    r"(?:fill|complete|do|read|watch|register|sign|finish|download|answer)\b))"
)
_PRICE = r"(?:costs?|will cost) (?:you )?(?:nothing|only|about|around|less|[$\u00a3\u20ac\d])"
_PARTS = (
    r"quiz|lists?|sections?|forums?|chapters?|exercises?|videos?|director(?:y|ies)|tips|tools?|"
    r"information|resources|articles|links|worksheets?|search|filters?|examples|reviews|downloads?"
)
_STATE = (
    r"free|available|open|short|easy|quick|simple|online|confidential|anonymous|secure|"
    r"downloadable|up to date|written|run|staffed|hosted|called|based on|in (?:English|Spanish)"
)
_TELLS = (
    r"explains?|covers|contains|includes|lists|shows|features|describes|walks you|takes you|"
    r"will (?:take|walk|show|ask|give) you|asks you|comes (?:in|with)|works (?:on|with|in)"
)
_SERVES = r"(?:offers?|provides?|answers?|repl(?:y|ies)|accepts?|charges?)"
_THINGS = (
    r"(?:web ?)?(?:site|page)|link|article|video|form|test|quiz|survey|questionnaire|app|book|"
    r"podcast|directory|worksheet|registration|sign-?up|download|blog|course|workbook"
)
_OF_A_THING = (
    rf"{_ADVERBS}(?:(?:{_LENGTH}|{_PRICE}|{_TELLS}|{_SERVES})|"
    rf"ha(?:s|ve) (?:an? |some |many |lots of |all (?:the|kinds of) |great |good |more )*"
    rf"(?:\w+ ){{0,2}}(?:{_PARTS})\b)"
)
# The same of German, French and Spanish: how long it takes, and that it is free.
_ABROAD = (
    r"(?:Es|Das|Dies) (?:dauert|kostet) (?:nur |etwa |ca\. |h\u00f6chstens )?"
    r"(?:\d+|eine?|zwei|drei|vier|f\u00fcnf|zehn|nichts|wenige|ein paar)\b(?: (?:Minuten?|"
    r"Stunden?|Sekunden?|Euro|Klicks?)\b)?"
    r"|(?:Es|Das) ist (?:kostenlos|kostenfrei|gratis|anonym)\b"
    r"|(?:Cela|\u00c7a) (?:prend|dure|co\u00fbte) (?:\d+|une?|deux|trois|cinq|dix|quelques) "
    r"(?:minutes?|heures?|euros?)\b|C['\u2019]est (?:gratuit|anonyme)\b"
    r"|(?:Toma|Tarda|Dura|Se tarda|Cuesta) (?:\d+|un|una|dos|tres|cinco|diez|unos|pocos) "
    r"(?:minutos?|horas?|euros?)\b|Es (?:gratis|gratuito|an\u00f3nimo)\b"
)
_IS = r"(?: is| are|(?<=It)['\u2019]s|(?<=They)['\u2019]re)"
_HANGS = re.compile(
    rf"\s*(?:(?:{_THERE})\b|{_ABROAD}"
    rf"|(?:It|They) {_OF_A_THING}"
    rf"|(?:It|They){_IS} {_ADVERBS}(?:{_STATE})\b"
    r"(?! to (?:feel|be|think|say|get|have)\b)(?! that\b)"
    rf"|(?:The|This|That) (?P<thing>{_THINGS}) (?:{_OF_A_THING}|is {_ADVERBS}(?:{_STATE})\b))"
)
# "It contains 500 mg" is of a medicine, named further up.
_DOSE = re.compile(r"\d\s?(?:mg|mcg|\u00b5g|\u03bcg|g|ml|iu|units?|mmol|%)(?!\w)", re.I)


def hangs_on_what_went(sentence: str, before: str, lines: frozenset[str]) -> bool:
    """Whether a sentence speaks of what the one before it named, which was taken out.

    Args:
        sentence: the one that stands behind the gap.
        before: what stays in front of it; a thing that is named there is what may be meant.
        lines: digits of further crisis lines that the definition names.
    """
    match = _HANGS.match(sentence)
    if match is None or _DOSE.search(sentence):
        return False
    if names_help(sentence) or names_crisis_line(sentence, lines):
        return False
    thing = match["thing"]
    return thing is None or re.search(rf"\b{re.escape(thing)}\b", before, re.I) is None
