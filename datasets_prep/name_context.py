"""What stands around words that look like a name and are nobody's, or somebody's own."""

from __future__ import annotations

import re

IN_A_PLACE = re.compile(
    r"\b(?:in|near|around|outside|from|of|across|visit(?:ed|ing)?|"
    r"from [A-Z]\w+(?: [A-Z]\w+)? to|"
    r"(?:mov|flew|fly|driv|drove|travel|trip|back|went|go|going|com|came|relocat|transferr)\w* to)"
    r"(?: (?:downtown|central|north|south|east|west|lovely|sunny))? \Z"
)
# A crowd is greeted by its town: "Hello Denver!"
GREETED = re.compile(
    r"\b(?:Hi|Hello|Hey|Greetings|Good (?:morning|evening|afternoon|night)|Welcome|"
    r"Thank(?:s| you)),? \Z"
)
PLACE_BEFORE = re.compile(
    r"\b(?:(?:Treaty|Battle|Siege|Peace|Edict|Council|Bay|Gulf|Strait|Isle|Province|Diocese) of|"
    r"Lake|Mount|Mt\.?|Port|Fort|Saint|St\.?|San|Santa|Cape|Camp|Hotel|Villa|Hurricane|Storm|"
    r"[Cc]r\u00eapes?|British|District of|Los|Las|"
    r"USS|HMS|Romeo and|storm|hurricane|typhoon|cyclone|Prince|Princess|King|Queen|Duke of|Lady|"
    r"Lord) \Z"
)
# What makes a place, a prize, a test or an illness of the name before it.
OF_NO_PERSON = re.compile(
    r"(?:['\u2019]s?)?(?:-[A-Z]\w+)?(?: (?:first|second|third))? "
    r"(?:Cup|Award|Prize|Trophy|Medal|Bowl|Street|Road|Avenue|Lane|"
    r"Drive|"
    r"Station|Park|Lake|River|Airport|University|College|Hospital|School|Institute|Foundation|Clinic|"
    r"Island|Bay|Beach|County|Square|Bridge|Hotel|Museum|Theat(?:er|re)|Stadium|Church|Library|"
    r"Cathedral|Palace|Hall|House|Tower|Arms|Inn|Gardens|Festival|Academy|Building|Terminal|Market|"
    r"Restaurants?|Caf[e\u00e9]|Bakery|Diner|Grill|Bistro|Pizzeria|Pharmacy|Insurance|Inc|Ltd|LLC|LLP|PLC|plc|GmbH|"
    r"Corp|Corporation|Holdings|Investments|"
    r"speak(?:ing|ers?)|[Ll]anguages?|"
    r"[Mm]ilk|[Tt]eas?|[Ll]atte|[Bb]utter|[Ss]yrup|[Ff]lour|"
    r"[Ll]eaves(?= (?:and|or|of|in|are|contain|have|to|with)\b|[.,;)]|$)|[Ss]auce|[Ee]ssence|"
    r"Valley|Falls|Mountains?|Peninsula|Report|Inquiry|Theorem|Principle|Crescent|Mews|Pub|"
    r"[Ss]core|[Ss]ign|[Rr]eflex|[Mm]ano?euvre|[Mm]aneuver|[Ee]xercises?|"
    r"[Bb]od(?:y|ies)|[Gg]angrene|[Mm]alformation|[Ss]arcoma|[Ll]ymphoma|[Tt]umou?r|[Oo]il|[Cc]ells?|"
    r"[Nn]odes?|[Nn]odules?|[Pp]alsy|[Pp]aralysis|[Pp]rocedure|[Ff]racture|[Hh]ernia|[Dd]uct|[Gg]lands?|"
    r"[Tt]ubes?|[Ss]tages?|[Cc]riteria|[Cc]lassification|[Tt]ears?|[Ff]ever|[Vv]irus|[Bb]acillus|"
    r"[Tt]riad|[Dd]ystrophy|[Aa]taxia|[Dd]ementia|[Pp]henomenon|[Cc]ontracture|[Aa]neurysm|[Oo]perations?|"
    r"[Cc]atheter|[Pp]osition|[Rr]egime(?:n)?|[Aa]greements?|[Bb]ooks|[Aa]lgorithm|[Ee]quation|"
    r"[Ss]cattering|(?:Space )?Telescope|"
    r"[Cc]onstant|[Dd]istribution|[Nn]umbers?|[Pp]aradox|albicans|"
    r"[Dd]isease|[Ss]yndrome|[Ss]cale|[Ii]nventory|[Ii]ndex|[Ee]ffect|[Ll]aw|[Tt]est|[Mm]odel|[Tt]heory|"
    r"sponge|salad|sandwich|knife|flask|hoover|tartan|potatoes|cocktail|pudding|"
    r"wort|[Hh]otline|[Ll]ifeline|Project|Act|Code|Day|Method|Technique)(?:e?s)?\b"
    r"|(?:['\u2019]s?)? the (?=[A-Z])"
    r"|[\u2013-][A-Z]\w+ test\b"
    r"|(?: [A-Z]\w+)? (?:drain|stent|shunt|suture|clamp|forceps|splint|graft|formula|nomogram|"
    r"dressing|stew|curry|noodles|croissants?)\b"
    # A town and its state, which is no degree: "Murray Hill, NJ".
    r"|, (?:A[LKZR]|C[OT]|DE|FL|GA|I[DLNA]|K[SY]|N[CDEHJMVY]|O[HKR]|RI|SC|TN|TX|UT|V[TA]|W[AIVY])\b"
    # A king, a pope: "Louis XIV".
    r"| (?:I{2,3}|IV|VI{1,3}|IX|XI{1,3}|XIV|XVI{0,3})\b"
    # An author of a paper: "Kalman CM, Laskin OL".
    r"| [A-Z]{1,2}, [A-Z][a-z]+ [A-Z]{1,2}[,.]"
    # A brand: "Meda Cap\u00ae".
    r"|(?: [A-Z][\w-]*)?[\u00ae\u2122]"
)

# A plant by its Latin name, whose genus is a given name too: "Rosa canina".
OF_A_PLANT = re.compile(
    r" (?:\u00d7 ?|x )?[a-z]{3,}(?:a|us|um|is|ii|ae|ens|ans|or|ix|es|oides|tris|alis)\b"
    r"|\.? (?:sp|spp|var)\.",
)

# A herb or a spice that is a name too, where food, tea or remedies are spoken of.
HERBS = frozenset(
    "rosemary jasmine basil sage ginger saffron cinnamon almond olive clementine hazel clove "  # noqa: SIM905
    "juniper pepper anise melissa chamomile lavender thyme fennel dill coriander parsley "
    "myrtle".split()
)
OF_FOOD = re.compile(
    r"\b(?:tea|herbs?|herbal|spices?|spicy|oils?|recipes?|ingredients?|salt|sugar|garlic|onions?|thyme|"
    r"oregano|mint|vanilla|honey|vinegar|lemon|chili|milk|butter|rice|soup|salad|sauce|cook(?:ed|ing)?|"
    r"bak(?:ed|ing)|tablespoons?|teaspoons?|tbsp|tsp|cups?|flavou?rs?|leaves|extract|supplements?|"
    r"potato(?:es)?|chicken|lamb|pork|beef|fish|eggs?|flour|dough|roast\w*|stew|sage|"
    r"essential|coffee|latte|mocha|lavender|chamomile|parsley|turmeric)\b",
    re.IGNORECASE,
)
# A medicine of whatever name: by its form or dose, or in what somebody takes.
_FORMS = (
    r"[Tt]ab(?:let)?s?|[Cc]aps?(?:ule)?s?|[Ii]nj(?:ection)?s?|[Ss]yrups?|[Cc]reams?|[Oo]intments?|"
    r"[Dd]rops|[Gg]els?|[Ii]nhalers?|[Ss]prays?|[Pp]ills?|[Ll]otions?"
)
_ITEM = r"[A-Z][\w-]*(?: (?:[Pp]lus|[Ff]orte|\d+))?"
DOSED_BEFORE = re.compile(
    rf"\b(?:{_FORMS}|[Mm]edic(?:ine|ation)s?|[Dd]rugs?|[Aa]ntibiotics?|[Pp]ain ?killers?|"
    r"[Bb]rands?)"
    rf"\.?(?: (?:called|named|like|such as))? (?:{_ITEM},? (?:and |or |& )?)?\Z"
)
DOSED_AFTER = re.compile(
    r"(?: (?:[Pp]lus|[Ff]orte|XR|SR|CR|DS|MR|XL|D))?"
    r"(?:[ -]?\d+(?:\.\d+)? ?(?:mg|mcg|\u00b5g|g|ml|k|IU|units?)\b"
    rf"| (?:{_FORMS})\b| [Pp]lus\b| forte\b)"
)
# "With these brand names:" and a list of them.
BRANDED_BEFORE = re.compile(
    r"\b(?:brand|trade|generic|proprietary)[ -]names?(?: of \w+)?:[^.!?:]{0,160}\Z|"
    r"\b(?:sold|marketed|available) (?:as|under)(?: the)?(?: (?:brand|trade))?(?: names?)? "
    r"(?:[A-Z][\w-]*(?:,|,? and|,? or) )*\Z"
)
TAKEN_BEFORE = re.compile(
    r"\b(?:takes?|taking|took|taken|prescribed|started on|stopped|dose of|mg of|course of)"
    rf"(?: her| him| me)? (?:{_ITEM}(?:,|,? and|,? or| &|,? plus) )*\Z"
)
TAKEN_AFTER = re.compile(
    rf"(?:(?:,|,? and|,? or| &|,? plus) {_ITEM})*"
    r"(?:[.;)?!\s]*\Z|[.;)?!]| (?:for|daily|twice|once|thrice|every|at night|at bed|"
    r"in the morning|since|till|until|regularly|as needed|before meals|after meals|"
    r"with food|tablets?|capsules?|\d))"
)
# Before somebody of the writer's own, whatever a story has by that name: "my daughter Alexa".
OWN_BEFORE = re.compile(
    r"\b(?:[Mm]y|[Oo]ur) (?:\w+ ){1,3}\Z|\b[Mm]y name is \Z|\bI am \Z|\bI['\u2019]m \Z"
)
OF_MINE = re.compile(r"\b(?:[Mm]y|[Oo]ur)\b[^.!?\n]{0,40}\Z")
MID_SENTENCE = re.compile(r"[a-z,] \Z")
# The writer of a book, and a name known from the screen, are not persons of the conversation.
OF_A_WORK = re.compile(
    r"(?:(?:[\"\u201d\u2019')\]]|(?<=[a-z] )[A-Z][\w'\u2019]*"
    r"|[A-Z][\w'\u2019]* [A-Z][\w'\u2019]*),? by"
    r"|authors?,?|comedian,?|actor,?|actress,?|singer,?"
    r"|books?(?: written)? by|[Tt]he work of)"
    r" (?:Drs?\.? )?\Z"
)


def is_medicine(text: str, start: int, end: int) -> bool:
    """Whether what looks like a name is dosed, taken or has a form where it stands."""
    before = text[max(0, start - 60) : start]
    if DOSED_BEFORE.search(before) or DOSED_AFTER.match(text, end):
        return True
    if BRANDED_BEFORE.search(text, max(0, start - 200), start):
        return True
    return bool(TAKEN_BEFORE.search(before) and TAKEN_AFTER.match(text, end))
