"""The words that tell a public name from a private one: lexicons, and what stands around names."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

_LEXICONS = Path(__file__).parent / "lexicons"
_LISTS: dict[str, str] = yaml.safe_load(
    (_LEXICONS / "public_names.yaml").read_text(encoding="utf-8")
)


def _names(listed: str) -> frozenset[str]:
    """Names between commas, their words without stops at the end: "mr. collins", "j.k. rowling"."""
    words = (name.split() for name in listed.split(",") if name.strip())
    return frozenset(" ".join(word.rstrip(".") for word in name) for name in words)


# Figures of stories, and what tells of them.
FICTION, WORKS = _names(_LISTS["fiction"]), _names(_LISTS["works"])
FICTION_SURNAMES = frozenset(_LISTS["fiction_surnames"].split())
# Writers whose surname stands for their books: "nothing in Kafka is as strange as Gregor".
WRITTEN_BY = re.compile(
    rf"\b(?:[Ii]n|[Bb]y|[Rr]ead(?:ing)?|[Oo]f|[Ff]rom) (?:{'|'.join(_LISTS['writers'].split())})\b"
)
# Bands, firms, dishes and places: no person, whatever stands around.
THINGS = _names(_LISTS["bands"]) | _names(_LISTS["things"])
# By what must stand around them, see `CONTEXTS`.
SOFTWARE, MONONYMS, SHOPS, SCRIPTURE = (
    frozenset(_LISTS[key].split()) for key in ("software", "mononyms", "shops", "scripture")
)
# A full name of two such parts has many bearers: public only where the sentence is of public life.
COMMON_FIRST, COMMON_LAST = (
    frozenset(_LISTS[key].split()) for key in ("common_first", "common_last")
)
PEOPLE = _names(
    " ".join(
        line
        for line in (_LEXICONS / "public_people.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    )
)
# Whoever reads one of three names may spell the middle one as they like: "Edgar Allen Poe".
ENDS = frozenset(
    f"{parts[0]} {parts[-1]}" for name in PEOPLE for parts in [name.split()] if len(parts) == 3
)
EVERYWHERE = FICTION | WORKS | THINGS | PEOPLE
# How many words the longest of them has.
LONGEST = max(len(name.split()) for name in EVERYWHERE)
# A creature that has a name has it from a story.
CREATURE = re.compile(
    r"\b(?:dragon|wizard|witch|robot|knight|princess|prince|detective|alien|unicorn|elf|dwarf|giant|"
    r"fairy|mermaid|pirate|vampire|werewolf|ghost|mouse|bear|fox|squirrel|owl)s? "
    r"(?:named|called) \Z",
    re.IGNORECASE,
)
TALK = re.compile(
    r"\b(?:I|I'm|I\u2019m|I've|I\u2019ve|I'd|me|my|mine|myself|we|us|our|you|your|yours)\b",
    re.IGNORECASE,
)
FAMILY = re.compile(
    r"\b(?:(?:his|her|their) (?:wife|husband|partner|boyfriend|girlfriend|mom|mum|dad|mother|"
    r"father|son|daughter|brother|sister)|patient|client|defendant|plaintiff|witness|next of kin|"
    r"pt|tenant|landlord|landlady|neighbou?r|employee|applicant|complainant|resident|pupil|caller|"
    r"customer|passenger|volunteer)\b",
    re.IGNORECASE,
)
# Somebody of the writer's life, although a story or a shop stands in the sentence.
PRIVATE_BEFORE = re.compile(
    r"\b(?:with|my|our|told|tell|asked|ask|called|call|texted|miss|missed|met|meet|saw|visit(?:ed)?|"
    r"married|let|poor|dear|hi|hey|thanks|thank you|(?:me|I) and),? \Z",
    re.IGNORECASE,
)
PRIVATE_AFTER = re.compile(
    r"(?:'s|\u2019s) (?:mom|mum|dad|mother|father|parents|family|house|flat|place|birthday|wedding|"
    r"funeral|school|room|car|friends?|brother|sister|husband|wife|boyfriend|girlfriend|kids?)\b"
    r"|,? (?:and|or) (?:I|me|my|we)\b"
    r"| (?:told|tells|says|said|asked|asks|gave|gives|texted|called|calls|wants?|wanted|"
    r"loves?|loved|likes?|hates?|watche[sd]|watching|read|reads|cried|cries|thinks?|thought|bought)\b"
    r"| (?:is|was|looks?|acts?|talks?) (?:a bit |so |just |totally )?"
    r"(?:like|as|obsessed|into|crazy)\b"
    r"| from (?:work|school|church|class|college|uni|HR|payroll|sales|next door|number \d)\b"
)
# The same of weaker words, where the sentence is the writer's.
PRIVATE_DEED = re.compile(
    r" (?:took|takes|left|came|comes|went|kept|keeps|still|never|always|just|has|had|won't|doesn't|"
    r"didn't|works|worked|knows|knew|threw|lent|borrowed|dropped|spilled|spilt)\b"
)
# What tells a tale of nobody here: a title of three words or more ("In Things Fall Apart, ..."), a
# creature of tales.
OF_A_TALE = re.compile(
    r"\A\s*In (?:[A-Z][\w'\u2019]+|the|a) (?:(?:[A-Z][\w'\u2019]+|of|the|and|to|a|in) ?){2,5}"
    r"(?<!County)(?<!City)(?<!Beach), |\b[Tt]he (?:[A-Z]\w+ )?(?:Witch|Wizard|Dragon|Fairy|Goblin|"
    r"Troll|Elf|Dwarf|Mermaid|Vampire|Werewolf)\b"
)
# A sentence about a story's course: whoever stands in it is of the story.
ABOUT_A_STORY = re.compile(
    r"\b(?:summar(?:y|i[sz]e)|plot|chapter|character|novel|ending|spoilers?|protagonist|analy[sz]e)s?\b"
)
SAYING = re.compile(
    r"[Rr]ob(?:bing)? Peter to pay Paul|[Ff]or Pete's sake|[Bb]ob's your uncle|"
    r"Tom, Dick,? (?:and|or) Harr(?:y|iet)|[Jj]ack of all|[Dd]ear John|"
    r"(?:[Ll]azy|[Pp]lain|[Pp]eeping|[Ss]mart|[Nn]osy|[Nn]egative|[Aa]verage|[Rr]egular|Debbie|"
    r"[Ee]ven|[Bb]ig|[Jj]olly|[Hh]oly) (?:Susan|Jane|Tom|Aleck?|Parker|Nancy|Joe|Downer|Stevens?|"
    r"Ben|Roger|Mary|Moses)|(?:John|Jane) Doe|called \w+ (?:a )?Karen|a (?:\w+ )?Karen|"
    r"Joe (?:Bloggs|Public)|GI Joe|Davy Jones|"
    r"Adam's apple|Murphy's [Ll]aw|St\.? (?:John's|Mary's|Thomas'|Jude's|James's|Paul's)"
)
_TITLED = r"(?:the |a |an |his |her |its |their |many |several |over \d+ |\w+ )?"
_WORK = (
    r"novels?|books?|plays?|poems?|essays?|songs?|symphon(?:y|ies)|operas?|trilogy|series|albums?|"
    r"films?|movies?|paintings?|sonatas?|memoirs?|manifesto|theor(?:y|ies)|laws?|treatise|stor(?:y|ies)"
)
# What people of public life do and are, in a sentence about nobody here.
DEEDS = re.compile(
    rf"\b(?:(?:wrote|writes|published|authored|composed|directed|recorded|released) {_TITLED}"
    rf"(?:[A-Z\"\u201c\u2018*_]|\d|{_WORK})"
    rf"|(?:{_WORK})(?: was| were| is)?(?: written| directed| composed| painted)? by"
    r"|painted (?:the |a |in )?[A-Z]|painted the (?:ceiling|portrait|mural)|sculpted|composer|"
    r"discovered|invented|patented|co-?founded|founded (?:the |a )?[A-Z]|conquered|reigned|"
    r"abdicated|[Tt]reaty|Viscount|Archduke|Marquess|assassinated|crowned|elected|inaugurated|invaded|colonized|explored|circumnavigated|"
    r"(?:won|awarded|received|winning)\b[^.!?]{0,40}\b(?:Prize|Cup|Medal|Oscars?|Grammys?|"
    r"Awards?|Slam|title|election|championship|Super Bowl|Olympics?|gold|World Series|Open)"
    r"|(?:beat|defeated|succeeded) [A-Z]\w+ [A-Z][^.!?]* in (?:1[0-9]|20)\d\d"
    r"|(?:played|starred|stars|cast|acted) (?:as |in )(?:the |a )?[A-Z]|drew (?:its|the) plans?"
    r"|Nobel|Pulitzer|walked on the Moon|orbit|Civil War|World War|Revolution|Renaissance|"
    r"Empire|dynasty|(?:Prime |prime )?[Mm]inister|[Cc]hancellor|(?:vice )?president of|President|"
    r"[Ss]enator|emperor|Emperor|(?:King|Queen|Pope|Tsar|Saint) [A-Z]|monarch|"
    r"\w+ (?:novelist|poet|painter|playwright|philosopher|physicist|chemist|mathematician|composer|"
    r"astronaut|explorer|inventor|sculptor|architect|economist|statesman|biologist|naturalist)"
    r"|the (?:capital|mould|penicillin)|built (?:DBT|ACT|CBT|EMDR)|\(\d{4} ?[-\u2013] ?(?:\d{4})?\)"
    r"|born (?:on|in) (?:\w+ \d{1,2}, )?1[0-9]\d\d|(?:1[0-9])th[- ]century|in 1[0-8]\d\d\b)",
)
OF_THEIRS = re.compile(
    r"\b(?:his|her|their) (?:\w+ )?(?:wife|husband|mother|father|son|daughter|brother|sister) \Z"
)
# Times and deeds of which nobody here can tell as a witness.
HISTORY = re.compile(
    r"\b(?:[Ii]n|[Ss]ince|[Uu]ntil|[Bb]y|of) 1[0-8]\d\d\b|\b(?:1[0-8]|[5-9])th[- ]century\b|"
    r"\b(?:Battle|Siege|Treaty|House|Crown) of [A-Z]|\b(?:BC|BCE|AD \d+)\b|\bthe throne\b"
)
# What people of public life did, behind the name, to something that has a name or a year.
DID = re.compile(
    r"(?:'s|\u2019s)?,? (?:\w+ly |also |then |first |once |\(\d{4}[^)]*\) )?"
    r"(?:translated|served|joined|led|formed|commanded|governed|signed|voiced|hosted|coached|"
    r"captained|scored|produced|edited|ran|established|developed|proposed|coined|proved|formulated|"
    r"pioneered|popularized|built|designed|launched|fought|defeated|succeeded|ruled|played|sang|"
    r"starred|toured|flew|sailed|climbed|landed|found|introduced|named|described|died|lived|"
    r"became|was|is|has|holds|held|won|lost|beat)\b"
    r"(?: \w+){0,4}? (?:in \d{4}|(?:the |a |an |of |on |in |for |at |to |from |by |with )*"
    r"(?:first |last |best |only |youngest |oldest )?[A-Z][a-z]+|first|last|youngest|oldest|best)"
)
# "Which planet did William Herschel discover?" asks what everybody may know.
ASKED = re.compile(
    r"\b(?:[Ww]ho|[Ww]hich|[Ww]hat|[Ww]hen|[Ww]here|[Ww]hy|[Hh]ow)\b[^.?!]*\b(?:did|was|were|is) \Z"
)
ASKED_DEED = re.compile(
    r",? (?:discover|invent|write|paint|compose|found|win|die|born|direct|play|live|rule|lead|"
    r"ask|argue|teach|study|"
    r"famous|known|best known|first|president|king|queen|sign|build|design|record|sing|star)\w*\b"
)
# Public life of today, and what it makes.
PUBLIC_LIFE = re.compile(
    rf"\b(?:{_WORK}|shows?|episodes?|podcasts?|audiobooks?|concerts?|gigs?|lyrics|playlist|albums?|"
    r"singers?|rappers?|actors?|actress|comedians?|authors?|writers?|poets?|bands?|fans?|interviews?|"
    r"celebrit\w+|famous|biography|documentar\w+|on TV|TikTok|YouTube|Netflix|Spotify|Oscars?|"
    r"Grammys?|premiere|trailer|league|striker|goalkeeper|midfielder|quarterback|Wimbledon|"
    r"Grand Prix|World Cup|Olympics?|MP|senator|congress\w*|president|minister|tory|tories|"
    r"democrats?|republicans?|governor|quote[sd]?|quoting|listen(?:s|ed|ing)? to|re-?read(?:ing)?|"
    r"reading)\b",
    re.IGNORECASE,
)
# Whoever stands behind these, by a full name, is read, heard or sung: "I only listen to Nick Cave".
CONSUMED = re.compile(
    r"\b(?i:(?:re-?)?read(?:ing|s)?|quot(?:e[sd]?|ing)|listen(?:s|ed|ing)? to|binge[ds]?|bingeing|"
    r"rewatch\w*|stream(?:ed|ing)|fans? of|(?:songs?|books?|novels?|poems?|albums?|lyrics|essays?|"
    r"films?|movies?|podcasts?|talks?|lectures?|covers?|\w+thing) (?:by|of|from)|put on|put some|"
    r"(?:diary|diaries|journals?|biography|life|works|writings|poetry|teachings|music) of|"
    r"play some|blast(?:ed|ing)|hum(?:med|ming)|singing along to)"
    r"(?: (?:nothing but|some|a lot of|lots of|more|mostly|only|old|all of|by|\w+thing by))*"
    r" (?:[A-Z][\w'\u2019.-]*(?: [A-Z][\w'\u2019.-]*)*(?:, and |, or |, | and | or | & ))*\Z",
)
# What a full name made, for everybody.
MADE = re.compile(
    r"(?:'s?|\u2019s?) (?:\w+ )?(?:stories|novels|poems|songs|albums|films|movies|plays|paintings|"
    r"lyrics|podcast|memoirs?|biography|autobiography|symphon(?:y|ies)|essays|sonatas?|sculptures)\b"
    # "David Richo's When the Past Is Present".
    r"|(?:'s?|\u2019s?) (?:The|A|An|When|How|Why|What|Who|Where|On|In) [\w ]{0,20}[A-Z]"
)
NOT_CONSUMED = re.compile(
    r"(?:'s|\u2019s) (?:letters?|diary|messages?|texts?|emails?|journal|mind|note|face|face)\b"
    r"|,? (?:a|the|his|her|their|bedtime|another|one|my) "
)
# Names behind these words are of a story: "a novel about Billy", "spoilers about Mark".
STORY_BEFORE = re.compile(
    r"\b(?:novels?|books?|films?|movies?|series|episodes?|seasons? \w+|characters?|protagonist|"
    r"plays?|stor(?:y|ies)|tales?|chapters?|spoilers?|sequel|trilogy|comics?|anime|manga|games?|plot|"
    r"scenes?|poem|musical|myth|legend|fable|villain|hero(?:ine)?)\b"
    r"(?: \w+){0,2} (?:about|on|of|where|in which|named|called|featuring|starring)\b"
    r"(?![^.!?]*\bwith \Z)[^.!?]*\Z"
    r"|\b(?:parts?|bits?|scenes?|songs?) with \Z"
    r"|\bin (?:chapter|act|scene|episode|season|book|part|level) \w+,? [^.!?]*\Z",
    re.IGNORECASE,
)
# A sentence that asks for a story: all of its people are made up.
STORY = re.compile(
    r"(?:\A|(?<=[.!?\n]) ?)(?:(?:please|can you|could you|would you|now|hey|hi|ok(?:ay)?)[, ]+)*"
    r"(?:write|tell|compose|create|make up|invent|continue|finish|give|draft|generate)"
    r"(?: (?:me|us))?(?: (?:a|an|the|another|some|this|my))?(?: [\w-]+){0,4} "
    r"(?:story|stories|poem|scene|script|tale|fable|song|lyrics|limerick|haiku|screenplay|dialogue|"
    r"fairy ?tale|chapter|novel|plot|ballad|sonnet|skit|fan ?fic(?:tion)?)\b"
    # A part to play: who stands in it is a figure's.
    r"|(?:\A|(?<=[.!?\n]) ?)(?:(?:imagine|pretend|suppose|assume)(?: that)? "
    r"(?:you(?:'re|\u2019re| are| were)|to be) (?:an? |the |(?-i:[A-Z]))|role-?play\b|"
    r"act as (?:an? |the |(?-i:[A-Z]))|you are (?:an? |the )[\w -]{3,60}? (?:in|from|of|on|who) )",
    re.IGNORECASE,
)
# "The Maxwell report", "an old Harley": a thing. "The Michael I knew" is a person.
ARTICLE = re.compile(
    r"\b(?:[Tt]he|[Aa]n?|[Tt]his|[Ee]very|[Bb]est|[Ww]orst|[Aa]nother)"
    r"(?: (?:old|new|classic|vintage|original|used))? \Z"
)
OF_A_PERSON = re.compile(
    r"(?:'s|\u2019s)?,? (?:I|we|you|he|she|who|that|called|phoned|rang|asked|wrote|came|from)\b"
)
# "Leonardo of Pisa" is history.
OF_A_PLACE = re.compile(r" of (?:the )?[A-Z]")
# By kind of name, the words that make it a thing where they stand in the sentence.
CONTEXTS: tuple[tuple[frozenset[str], re.Pattern[str]], ...] = (
    (
        frozenset(("venus", "mercury", "luna", "apollo", "juno", "orion")),
        re.compile(r"\b(?:planets?|solar system|orbits?|astrono\w+|astrolog\w+|telescope|NASA)\b"),
    ),
    (
        SOFTWARE,
        re.compile(
            r"\b(?:programming|functions?|algorithms?|scripts?|programs?|recursive|arrays?|compil\w+|"
            r"syntax|implement\w*|languages?|library|package|framework|codes?|browsers?|apps?|"
            r"assistants?|servers?|builds?|deploy\w*|install\w*|Chrome|Python|JavaScript|admin|tests?|"
            r"job is|3D|speakers?)\b"
        ),
    ),
    (
        MONONYMS,
        re.compile(
            r"\b(?:songs?|albums?|concerts?|gigs?|playlist|lyrics|Spotify|on repeat|vinyl|karaoke|"
            r"on tour|tickets|listen(?:s|ed|ing)? to|bands?|headphones|put (?:some|on)|rappers?|"
            r"singers?|music|the radio|tracks?|singing|sings?)\b"
        ),
    ),
    (
        SHOPS,
        re.compile(
            r"\b(?:sale|shops?|shopping|stores?|bought|buy|order(?:ed)? (?:from|online)|refund|"
            r"returned|wear(?:ing|s)?|dress(?:es)?|jeans|coat|bags?|perfume|make-?up|lipstick|mascara|"
            r"vacuum|hoover|mixer|toaster|dishwasher|drill|pram|buggy|stroller|car seat|"
            r"driv(?:e|es|ing|en) an?|second-hand|engine|guitars?|amp|piano|keyboard|soup|"
            r"cereal|crisps|chocolate|factory|plant|brand|price|discount|voucher|outlet|mall|"
            r"work(?:s|ed|ing)? at|worked for|job at)\b"
        ),
    ),
    (
        SCRIPTURE,
        re.compile(
            r"\b(?:Bible|bible|[Ss]criptures?|Gospels?|gospel|[Pp]salms?|Genesis|Exodus|"
            r"(?:Old|New) Testament|parables?|sermons?|preach\w*|vicar|disciples?|apostles?|"
            r"[Pp]rophets?|[Bb]ook of|Torah|Koran|Quran|Sunday school|verses?)\b"
        ),
    ),
)
# Illnesses and scales that are called after somebody, and what follows them then.
EPONYMS = frozenset(_LISTS["eponyms"].split())
EPONYM_AFTER = re.compile(
    r"['\u2019]s?(?=[,;.)]|$"
    r"| (?:and|or|sign|lymphoma|palsy|oesophagus|esophagus|thyroiditis|chorea)\b)"
    r"| (?:score |scale )?\d{1,2}\b"
)
FIRM = re.compile(r"[A-Z][\w'\u2019]* & [A-Z][\w'\u2019]*")
CASE = re.compile(r"[A-Z]\w* vs?\. ")
# Capitalised words in a row, with the small ones that stand in names; and lists of them.
_CAPITAL = r"[A-Z\u00c0-\u00de][\w.'\u2019-]*"
_SMALL = r"(?:(?:and|or|of|the|in|d[aei]l?|van|von|der|la|le|bin|&) ){0,2}"
RUN = re.compile(rf"{_CAPITAL}(?: {_SMALL}{_CAPITAL})*")
_ITEM = rf"{_CAPITAL}(?: {_CAPITAL}){{0,3}}"
LISTED = re.compile(
    rf"{_ITEM}(?:, {_ITEM})*,? (?:and|or|nor|&|than|vs\.?) {_ITEM}|{_ITEM}(?:, {_ITEM})+"
)
SEPARATOR = re.compile(r",? (?:and|or|nor|&|than|vs\.?) |, ")
