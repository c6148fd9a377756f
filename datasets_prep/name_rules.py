"""Patterns of the words that stand around names of people."""

from __future__ import annotations

import re
from typing import NamedTuple

from datasets_prep.name_lists import CREDENTIALS, PARTICLES, listed
from datasets_prep.words import holds_any

_PLAIN_CREDENTIALS = re.sub(r"[\\?]", "", CREDENTIALS)

# The second halves of Korean and Chinese names, which many spell small.
_SECOND = (
    r"ah|bin|chul|eun|fang|fen|fong|gyu|ha|hao|hee|ho|hua|hui|hwa|hye|hyun|ho?on|jae|jin|joon|joo|ju|jun|"
    r"kyu|kyung|lan|ling|mei|mi|min|ming|mo|na|ok|ra|rin|sang|seo|seok|sik|sook|soo|suk|sun|sung|tae|ting|"
    r"wai|wen|won|woo|wook|yan|ye|yeon|yin|ying|yoon|young|yun|ji|il|in|ik"
)
NAME = (
    r"(?:(?:\u00d3|N\u00ed) )?"
    r"[A-Z\u00c0-\u00de\u0100-\u017e\u1e00-\u1eff](?:[a-z\u00df-\u017e\u1e00-\u1eff]+|['\u2019][A-Z][a-z]+)"
    rf"(?:[A-Z][a-z]+)?(?:-(?:[A-Z][a-z\u00df-\u017e\u1e00-\u1eff]+|(?:{_SECOND})\b))?"
)
_PARTICLES = rf"(?:(?:{'|'.join(sorted(PARTICLES))}|St\.) ){{0,2}}"
_INITIALS = r"(?:[A-Z]\. ?){1,3}"
FULL = rf"{NAME}(?: (?:[A-HJ-Z]\.? |I\. )?{_PARTICLES}{NAME}){{0,2}}"
# Behind a title or a closing: "de la Cruz", "P. Venkataraman".
FORMAL = rf"(?:{_INITIALS})?{_PARTICLES}{FULL}"
RELATIONS = (
    r"husband|wife|partner|boyfriend|girlfriend|fianc[e\u00e9]e?|ex|ex-husband|ex-wife|"
    r"ex-boyfriend|ex-girlfriend|son|daughter|brother|sister|mother|father|mom|mum|dad|stepson|"
    r"stepdaughter|stepmother|stepfather|stepdad|stepmom|stepmum|uncle|aunt|cousin|niece|nephew|"
    r"grandmother|grandfather|grandson|granddaughter|friend|best friend|roommate|flatmate|"
    r"housemate|boss|manager|supervisor|coworker|co-worker|colleague|neighbou?r|therapist|"
    r"counsell?or|psychiatrist|psychologist|doctor|teacher|professor|coach|pastor|landlord|"
    r"mother-in-law|father-in-law|sister-in-law|brother-in-law|twin|baby|child|dog|cat|MIL|FIL|SIL|"
    r"BIL|DH|DD|DS|hubby|bf|gf|bff|bestie|mate|nan|gran|granny|grandma|grandpa|nana|grandad|mentor|"
    r"tutor|trainer|carer|key worker|social worker|nurse|midwife|GP|vicar|priest|imam|rabbi|"
    r"half-brother|half-sister|step-?mum|godmother|godfather|godson|goddaughter|ex-partner|crush|kid|"
    r"toddler|eldest|youngest|sponsor|lodger|tenant|horse|puppy|kitten|rabbit|hamster|guide|driver|"
    r"caretaker|cleaner|plumber|builder|gardener|instructor|hairdresser|barber|solicitor|lawyer|"
    r"accountant|dentist|vet|physio|physiotherapist|surgeon|consultant|receptionist|waiter|waitress|"
    r"secretary|treasurer|chairman|chairwoman|warden|captain|babysitter|nanny|childminder"
)
_KINDS_OF_RELATIONS = "Foster|Birth|Late|Older|Younger|Eldest|Best|Former|Key|Social"
_TITLES = listed("titles")
_SURE_TITLES = (
    "Dr|Mr|Mrs|Ms|Miss|Mx|Prof|Professor|Uncle|Aunt|Auntie|Aunty|Tante|Grandma|Grandpa|Granny|Grandad|"
    "Nana|Nanna|Gran|Nonna"
)
# Behind a name in India, Pakistan, Korea and Japan.
_TITLES_AFTER = (
    "uncle|aunty|auntie|bhai|bhaiya|didi|ji|akka|chacha|chachi|mausi|masi|bua|sensei|hyung|oppa|"
    "unnie"
)
# Whose they are is somebody: "Kemi's parents met mine".
_OWN = (
    "mom|mum|dad|mother|father|parents|wife|husband|boyfriend|girlfriend|fianc[e\u00e9]e?|brother|sister|"
    "son|daughter|friends?|ex|birthday|wedding|funeral|christening|ashes|grave|flat|house"
)
_QUARRELS = (
    "argu(?:e[ds]?|ing)|f(?:ight|ights|ighting|ought)|(?:br[eo]a?k(?:ing|s|e)?|split(?:ting)?|"
    "made|make) up|slept|sleep(?:ing)?|f[ae]ll(?:en|ing)? out|flirt(?:ed|ing)?|moved in|living|"
    "hook(?:ed|ing) up"
)
_POSSESSIVES = r"my|his|her|our|their|My|His|Her|Our|Their"
_AGES = r"older|younger|little|big|late|new|old|eldest|oldest|youngest|only|own|dear|current|former"
_DOINGS = listed("doings")
DONE_TO = listed("done_to")
# What only people do.
_HUMAN = listed("human")
_OPENS = r"(?:\A|(?<=[.!?:\n\"\u201c] )|(?<=[\n\"\u201c(]))"
_ASKED_OF = (
    r"could|can|would|will|are|do|did|have|has|please|don't|don\u2019t|come|listen|tell|what|where|"
    r"why|how"
)
_LABELS = (
    r"next of kin|nok|(?:full|first|last|patient|client|patient's|client's) name|attn|cc|signed|"
    r"your contact|care coordinator|key ?worker|emergency contact"
)
_LABEL_WORDS = frozenset(
    form
    for word in ("kin", "nok", "name", "attn", "cc", "signed", "contact", "coordinator", "worker")
    for form in (word, word.capitalize(), word.upper())
) | {"keyworker", "Keyworker"}
_IS = r"(?: is|'s|\u2019s)"

WORD = re.compile(r"[^\W\d_]+")
_ASCII_WORD = re.compile(r"[A-Za-z]+")


def _first_words(*phrases: str) -> frozenset[str]:
    return frozenset(word for phrase in phrases for word in WORD.findall(phrase)[:1])


class Rule(NamedTuple):
    """What stands around a name.

    Attributes:
        words: one of these must be in the text before the pattern is tried, as these are found ten
            times as fast: a set is of whole words, a tuple of any letters; or what must be found.
        pattern: its first group is the name.
        near: such words stand around people of the writer's life alone; where they don't, a name
            that everybody knows stays.
        sure: nobody but a person stands there: a word of English is a name too ("Mr. Baker").
        inside: the name follows a word, or its comma, and ends no sentence before it.
    """

    words: frozenset[str] | tuple[str, ...] | re.Pattern[str]
    pattern: re.Pattern[str]
    near: bool = True
    sure: bool = False
    inside: bool = False

    def may_match(self, text: str, held: set[str]) -> bool:
        """A quick look at a text and the set of its words."""
        if isinstance(self.words, frozenset):
            return not self.words.isdisjoint(held)
        if isinstance(self.words, tuple):
            return holds_any(text, self.words)
        return self.words.search(text) is not None


RULES: list[Rule] = [
    Rule(re.compile(rf"s (?:{_OWN})\b"), re.compile(rf"\b({FULL})(?=['\u2019]s (?:{_OWN})\b)")),
    Rule(
        (" and I", " and me"),
        re.compile(
            r"(?:\A|(?<=[.!?,;:\n] )|(?<=\n)|\b(?:but|because|when|since|while|as|that|if|how|why|"
            rf"where|then|after|before|until) )({NAME}(?: {NAME})?)(?= and (?:I|me)\b)"
        ),
        near=False,
    ),
    Rule(
        ("me and ",),
        re.compile(rf"\bme and ({FULL})(?![\w'\u2019-]| [A-Z])"),
        near=False,
        inside=True,
    ),
    Rule(
        frozenset(_TITLES_AFTER.split("|")),
        re.compile(rf"\b({FULL})(?= (?:{_TITLES_AFTER})\b)"),
    ),
    Rule(
        re.compile(r" with [A-Z\u00c0-\u1eff]"),
        re.compile(rf"\b(?:{_QUARRELS})(?: \w+)? with ({FULL})"),
        near=False,
        inside=True,
    ),
    Rule(
        re.compile(
            r"re (?:twins|brothers|sisters|siblings|cousins|married|engaged|getting|together"
            r"|divorc|dating|friends|both)"
        ),
        re.compile(
            rf"\b({FULL})(?= and {NAME} (?:are|were) (?:twins|brothers|sisters|siblings|cousins|"
            r"married|engaged|getting|together|divorc\w+|dating|friends|both)\b)"
        ),
        near=False,
    ),
    Rule(("put ",), re.compile(rf"\bput ({FULL})(?= (?:to sleep|down)\b)"), inside=True),
    # As forums give age and sex: "my husband (Declan, 34M)".
    Rule(
        re.compile(r"[ (](?:\d\d ?[MFmf]|[MFmf] ?\d\d)\b"),
        re.compile(rf"\b({FULL})(?:, ?\(?| ?\(| )(?:\d\d ?[MF]|[MF] ?\d\d|\d\d[mf]|[mf]\d\d)\b"),
    ),
    Rule(
        frozenset(
            "work school church class college uni door number office downstairs upstairs HR IT "  # noqa: SIM905
            "payroll accounting accounts sales finance reception marketing legal admin".split()
        ),
        re.compile(
            rf"\b({FULL})(?= (?:from (?:work|school|church|class|college|uni|next door|"
            r"number \d+|the office|downstairs|upstairs)|(?:from|in) (?:HR|IT|payroll|accounting|"
            r"accounts|sales|finance|reception|marketing|legal|admin))\b)"
        ),
    ),
    # Called in a chat: "ok Dev if you don't come".
    Rule(
        frozenset(
            "ok Ok OK okay Okay hey Hey yo Yo pls please Please omg listen Listen oi Oi ugh Ugh "  # noqa: SIM905
            "lol".split()
        ),
        re.compile(
            r"\b(?:[Oo]k|OK|[Oo]kay|[Hh]ey|[Yy]o|pls|[Pp]lease|omg|[Ll]isten|[Oo]i|[Uu]gh|lol),? "
            rf"({FULL})(?=,|!|\?|,? (?:if|can|could|do|did|are|where|what|when|why) ?(?:you|u)\b"
            r"| (?:pls|please)\b)"
        ),
        inside=True,
    ),
    # A title and its name; the title stays.
    Rule(
        _first_words(*_TITLES),
        re.compile(rf"\b(?:{'|'.join(_TITLES)})\.? ({FORMAL})"),
    ),
    Rule(
        frozenset(_SURE_TITLES.split("|")),
        re.compile(rf"\b(?:{_SURE_TITLES})\.? ({FORMAL})"),
        sure=True,
    ),
    # A name with its credentials: "Jane Roe, LCSW".
    Rule(
        _first_words(*f"{_PLAIN_CREDENTIALS}|{_PLAIN_CREDENTIALS.replace('.', '')}".split("|")),
        re.compile(rf"({FULL}),? (?:(?:{CREDENTIALS})\b\.?(?:, ?| |/)?)+(?![a-z])"),
        sure=True,
    ),
    Rule(("name",), re.compile(rf"\b[Mm]y name{_IS} ({FULL})"), sure=True, inside=True),
    Rule(
        (
            "all me ",
            "alls me ",
            "all him ",
            "all her ",
            "all them ",
            "alled ",
            "amed ",
            "ame was ",
            "ame is ",
            "ame's ",
            "ame\u2019s ",
        ),
        re.compile(
            r"\b(?:[Cc]alls? me|[Nn]amed|[Nn]ame was|[Nn]ame is"
            r"|(?:girl|boy|guy|man|woman|lady|kid|friend|person|someone|somebody|dog|cat) called"
            rf"|(?:[Hh]is|[Hh]er|[Tt]heir) name{_IS}(?: also)?|[Cc]all(?:ed)? (?:him|her|them)"
            r"|(?:likes?|prefers?|wants|asked|asks|wishes) to be called"
            r"|(?:he|she|who|(?:grand)?(?:mother|father)) (?:is|was) called"
            rf"|(?:{RELATIONS}) (?:is|was) called) ({FULL})"
        ),
        inside=True,
    ),
    Rule(
        ("I am ", "I'm ", "I\u2019m ", "his is ", "t's ", "t\u2019s "),
        re.compile(
            rf"\b(?:I am|I'm|I\u2019m|[Tt]his is|[Ii]t's|[Ii]t\u2019s) ({FULL})"
            r"(?=[,.!]|\s+(?:and|from|here|a |an )|\s*$)"
        ),
        inside=True,
    ),
    Rule(
        ("my ", "his ", "her ", "our ", "heir ", "My ", "His ", "Her ", "Our "),
        re.compile(
            rf"\b(?:{_POSSESSIVES})(?: (?:{_AGES}))?(?: \w+(?:['\u2019]s)?){{0,2}}"
            rf" (?:{RELATIONS}),? ({FULL})"
        ),
        inside=True,
    ),
    # Notes leave "my" and "her" out: "Father is Hemi", "Foster carer Shanelle reports".
    Rule(
        frozenset(word.capitalize() for word in f"{RELATIONS}|{_KINDS_OF_RELATIONS}".split("|")),
        re.compile(
            rf"{_OPENS}(?=[A-Z][a-z])(?:(?:{_KINDS_OF_RELATIONS}) )?(?i:{RELATIONS})(?: is|,|:)?"
            rf" ({FULL})"
            r"(?![\w'\u2019-])"
        ),
        near=False,
    ),
    # Someone in mid-sentence who does what people do: "if Kemi finds out".
    Rule(
        _first_words(*_DOINGS),
        # "The Clio won't come" is of a car.
        re.compile(rf"(?<=[a-z,] )(?<!\bthe )(?<!\bbest )({FULL})(?= (?:{'|'.join(_DOINGS)})\b)"),
        near=False,
        inside=True,
    ),
    # Someone to whom people do it: "I can't forgive Kemi".
    Rule(
        frozenset(DONE_TO),
        re.compile(rf"\b(?:{'|'.join(DONE_TO)}) ({FULL})(?=[ .,!?;:'\u2019]|$)"),
        near=False,
        inside=True,
    ),
    # Somebody of whom nothing is known, who does what only people do: "Petronella apologised".
    Rule(
        frozenset(word for deed in _HUMAN for word in deed.split() if word not in ("has", "from")),
        re.compile(
            rf"{_OPENS}({FULL})(?= (?:(?:never|always|still|just|finally|also) )?"
            rf"(?:{'|'.join(_HUMAN)})\b)"
        ),
        near=False,
    ),
    # "K. Johansson was discharged"; "(K. Johansson, 2010)" and "E. Coli" are nobody here.
    Rule(
        re.compile(r"[A-Z]\. ?[A-Zdv]"),
        re.compile(
            r"(?:\A|(?<=[.!?\n,;:] )|(?<=\n)|\b(?:by|with|from|to|and|for|Re|re):? )"
            r"(?!(?:U\.S|U\.K|U\.N|E\.U|P\.S|A\.D|B\.C|D\.C|N\.B)\.)"
            rf"({_INITIALS}{_PARTICLES}{NAME})(?=[ ,.;:!?'\u2019]|$)(?! et al|,? \(?\d{{4}})"
        ),
        near=False,
    ),
    # Lines of a form.
    Rule(
        _LABEL_WORDS,
        re.compile(
            rf"\b(?i:{_LABELS})(?: ?[:-]| is| was) ?(?:(?:Dr|Mr|Mrs|Ms|Miss)\.? )?({FORMAL})"
        ),
    ),
    # "Witness 2: Sunniva Dahl, neighbour".
    Rule(
        tuple(
            "itness pplicant laimant enant andlord andlady eneficiary uarantor omplainant "  # noqa: SIM905
            "espondent ferred ported pared eliver".split()
        ),
        re.compile(
            r"\b(?i:witness|applicant|claimant|tenant|landlord|landlady|beneficiary|guarantor|"
            r"complainant|respondent|(?:referred|reported|prepared) by|deliver to)(?: \d{1,2})?: "
            rf"(?:(?:Dr|Mr|Mrs|Ms|Miss)\.? )?({FORMAL})"
        ),
    ),
    # "Teacher: Blessing, could you read?"
    Rule(
        re.compile(rf", (?:{_ASKED_OF}|please)\b"),
        re.compile(rf"{_OPENS}({NAME})(?=, (?:(?:{_ASKED_OF}) (?:you|me|us|I|we)|please)\b)"),
        near=False,
    ),
    Rule(
        frozenset(("Hi", "Hello", "Hey", "Dear")),
        re.compile(
            rf"(?:^|(?<=[.!?\n] )|(?<=[\"\u201c]))"
            rf"(?:Hi|Hello|Hey|Dear|Hey there|Hi there),? ({FORMAL})"
            r"(?=\s?[,.!:\u2014-]|\s*\n)",
            re.MULTILINE,
        ),
    ),
    Rule(
        frozenset(
            word
            for small in ("thanks", "thank", "thx", "sorry", "hello", "hi", "hey", "bye", "welcome")
            for word in (small, small.capitalize())
        ),
        re.compile(
            r"\b(?:[Tt]hanks?(?: you)?|[Tt]hx|[Ss]orry|[Hh]ello|[Hh]i|[Hh]ey|[Bb]ye|[Ww]elcome),? "
            rf"({FULL})(?=[,.!?])"
        ),
        inside=True,
    ),
]


# A capital behind a word or its comma, but that of "I": most texts have none.
_CAPITAL_INSIDE = re.compile(r"(?<=[A-Za-z,]) (?!I\b)[A-Z\u00c0-\u00de\u0100-\u017e\u1e00-\u1eff]")


def _by_word() -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for number, rule in enumerate(RULES):
        for word in rule.words if isinstance(rule.words, frozenset) else ():
            found.setdefault(word, []).append(number)
    return found


_BY_WORD = _by_word()
_OTHERS = [n for n, rule in enumerate(RULES) if not isinstance(rule.words, frozenset)]


def rules_for(text: str) -> list[Rule]:
    """Those rules that may match a text, in their order."""
    held = set((_ASCII_WORD if text.isascii() else WORD).findall(text))
    numbers = {number for word in held & _BY_WORD.keys() for number in _BY_WORD[word]}
    inside = _CAPITAL_INSIDE.search(text) is not None
    numbers.update(
        number
        for number in _OTHERS
        if (inside or not RULES[number].inside) and RULES[number].may_match(text, held)
    )
    return [RULES[n] for n in sorted(numbers) if inside or not RULES[n].inside]


# A capitalised word, and the surnames that may follow it. "Don't", a ZIP-like hyphen, a saint's
# church, and the Trevor Project are no persons.
CAPITALISED = re.compile(
    # The letter first, which is found at once; then what stands before it.
    r"[A-Z\u00c0-\u00de\u0100-\u017e\u1e00-\u1eff]"
    r"(?<![\w\u2019'-].)(?<!St\. .)(?<!Saint .)(?<!San .)(?<!Santa .)"
    r"[a-z\u00df-\u017e\u1e00-\u1eff]+(?:-[A-Z]?[a-z\u00df-\u017e\u1e00-\u1eff]+)?(?![\w-])"
    r"(?!['\u2019]t\b| Project\b| Talks?\b| talks?\b(?! (?:to|about|with|over|back|like|too)\b))"
)
SURNAMES = re.compile(rf"(?: (?:[A-HJ-Z]\.? |I\. )?{_PARTICLES}{NAME}){{0,2}}")
# A second person beside the first.
AND_NAME = re.compile(rf" (?:and|&) ({NAME}(?:-[a-z]+)?)(?=[ .,;!?]|$)(?! [A-Z])")
