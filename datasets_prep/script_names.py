"""Names of people in Arabic, Devanagari, kana and Hangul, which have no capitals to tell by.

What introduces somebody is followed by a name, whatever word stands there. Behind a title, one of
the family or a call, where any other word could stand as well, only a given name of the list is.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_LIST = Path(__file__).parent / "lexicons" / "arabic_names.txt"
_LETTERS = "\u0621-\u064a\u064b-\u0652"
_WORD = rf"[{_LETTERS}]{{3,}}"
# "My name is".
_ARABIC_SAID = re.compile(
    rf"(?<![{_LETTERS}])(?:\u0627\u0633\u0645\u064a|\u0625\u0633\u0645\u064a)\s*[:\u060c]?\s*"
    rf"(?:\u0647\u0648 |\u0647\u064a )?({_WORD})"
)
# Mr., Mrs., Doctor, Professor, Sheikh, Engineer, Uncle, Aunt; my husband, wife, brother, sister,
# son, daughter, friend, fianc\u00e9, father, mother, colleague, neighbour; the call "O"; "his name
# is", "her name is", which a medicine has too.
_ARABIC_BEFORE = (
    "\u0627\u0644\u0633\u064a\u062f|\u0627\u0644\u0633\u064a\u062f\u0629|\u0627\u0644\u0622\u0646\u0633\u0629|\u0627\u0644\u062f\u0643\u062a\u0648\u0631|\u0627\u0644\u062f\u0643\u062a\u0648\u0631\u0629|\u062f\u0643\u062a\u0648\u0631|\u062f\u0643\u062a\u0648\u0631\u0629|"
    "\u0627\u0644\u0623\u0633\u062a\u0627\u0630|\u0627\u0644\u0627\u0633\u062a\u0627\u0630|\u0627\u0644\u0623\u0633\u062a\u0627\u0630\u0629|\u0623\u0633\u062a\u0627\u0630|\u0627\u0644\u0634\u064a\u062e|\u0627\u0644\u0645\u0647\u0646\u062f\u0633|\u0639\u0645\u064a|\u062e\u0627\u0644\u064a|\u0639\u0645\u062a\u064a|\u062e\u0627\u0644\u062a\u064a|"
    "\u0632\u0648\u062c\u064a|\u0632\u0648\u062c\u062a\u064a|\u0623\u062e\u064a|\u0627\u062e\u064a|\u0623\u062e\u062a\u064a|\u0627\u062e\u062a\u064a|\u0627\u0628\u0646\u064a|\u0625\u0628\u0646\u064a|\u0627\u0628\u0646\u062a\u064a|\u0628\u0646\u062a\u064a|\u0635\u062f\u064a\u0642\u064a|\u0635\u062f\u064a\u0642\u062a\u064a|"
    "\u062e\u0637\u064a\u0628\u064a|\u062e\u0637\u064a\u0628\u062a\u064a|\u0648\u0627\u0644\u062f\u064a|\u0648\u0627\u0644\u062f\u062a\u064a|\u0632\u0645\u064a\u0644\u064a|\u0632\u0645\u064a\u0644\u062a\u064a|\u062c\u0627\u0631\u064a|\u062c\u0627\u0631\u062a\u064a|\u064a\u0627|\u0627\u0633\u0645\u0647|\u0627\u0633\u0645\u0647\u0627"
)
_ARABIC_GIVEN = re.compile(
    rf"(?<![{_LETTERS}])(?:[\u0648\u0641\u0628\u0644\u0643])?(?:{_ARABIC_BEFORE})\s+"
    rf"((?:\u0639\u0628\u062f\s)?{_WORD})(\s{_WORD})?"
)
# Hindi "my, their name is"; Japanese "my name is", "I am called"; Korean "my name is". "Its name
# is" a medicine's.
_SIGN = "\u4e00-\u9fff\u30a0-\u30ff"
_OTHERS = (
    re.compile(
        "(?:\u092e\u0947\u0930\u093e|\u0909\u0928\u0915\u093e) \u0928\u093e\u092e "
        "([\u0900-\u0963]{2,}(?: [\u0900-\u0963]{2,})?) (?:\u0939\u0948|\u0925\u093e)"
    ),
    re.compile(
        rf"[\u79c1\u50d5\u4ffa]\u306e\u540d\u524d\u306f([{_SIGN}\u3040-\u309f]{{2,8}}?)"
        "(?:\u3067\u3059|\u3068)"
    ),
    re.compile(
        rf"(?:\u79c1\u306f|^|[\u3002\u3001])([{_SIGN}]{{2,8}})\u3068\u7533\u3057\u307e\u3059"
    ),
    re.compile(
        "[\uc81c\ub0b4] \uc774\ub984\uc740 ([\uac00-\ud7a3]{2,4})"
        "(?:\uc785\ub2c8\ub2e4|\uc774\uc5d0\uc694|\uc608\uc694)"
    ),
)


@cache
def _given() -> frozenset[str]:
    return frozenset(
        word
        for line in _LIST.read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
        for word in line.split()
    )


def script_names(text: str) -> list[tuple[int, int]]:
    """Spans of names in texts of these scripts."""
    if text.isascii():
        return []
    spans = [m.span(1) for m in _ARABIC_SAID.finditer(text)]
    for match in _ARABIC_GIVEN.finditer(text):
        first, second = match[1], match[2]
        if first.split()[-1] not in _given() and not first.startswith("\u0639\u0628\u062f "):
            continue
        # A family's name has the article, or is a given name too.
        family = second and (second[1:3] == "\u0627\u0644" or second[1:] in _given())
        spans.append((match.start(1), match.end(2) if family else match.end(1)))
    return spans + [m.span(1) for rule in _OTHERS for m in rule.finditer(text)]
