"""Regular expressions shared by the steps: URLs, emails and what looks like them."""

from __future__ import annotations

import re

_TLDS = (
    "com|org|net|edu|gov|mil|info|biz|io|app|dev|me|tv|health|care|life|help|online|site|blog|"
    "co\\.uk|org\\.uk|ac\\.uk|nhs\\.uk|gov\\.uk|com\\.au|org\\.au|net\\.au|co\\.nz|co\\.za|co\\.in|"
    "ca|uk|us|au|nz|de|fr|es|it|nl|ie|eu|in|ly"
)
# Country codes such as .me or .it double as words, so a bare host under one needs a path, and one
# glued sentence ("it.in") must not become a host.
_BARE_TLDS = (
    "com|org|net|edu|gov|mil|info|biz|app|health|"
    "co\\.uk|org\\.uk|ac\\.uk|nhs\\.uk|gov\\.uk|com\\.au|org\\.au|co\\.nz|ca"
)
# A state's own ending behind a general one: "cvv.org.br"; "site.com.It" is two sentences.
_OF_A_STATE = r"(?:co|com|org|net|edu|ac|gov|gob|go|or|ne)\.(?-i:[a-z]{2})\b(?!\.\w)"
_PATH = r"(?:[/?#][^\s<>\"'\u201c\u201d\[\]{}|\\^`\u00bf]*)?"
# A path that runs into the next sentence ends at its file name: "x.pdfBased on".
_TRAIL = r"(?<![.,;:!?)\u2019])"

URL = re.compile(
    r"(?:"
    r"(?:https?|ftp)\s?:\s?//?\s?[^\s<>\"'\u201c\u201d\[\]{}|\\^`\u00bf]+"
    r"|\bwww\s?\.\s?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::\d+)?"
    + _PATH
    + rf"|(?<![\w@.-])(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+(?:{_OF_A_STATE}|(?:"
    + _BARE_TLDS
    + r")"
    r"(?![a-z])(?:\b|(?=[A-Z0-9])))"
    + _PATH
    + r"|(?<![\w@.-])(?:[a-z0-9-]+\.)+(?:"
    + _TLDS
    + r")/[^\s<>\"'\[\]{}|\\^`\u00bf]+"
    r")" + _TRAIL,
    re.IGNORECASE,
)
EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9][\w.+'-]*@\s?(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}\b"
    # With a space before the sign it may be a handle, unless the end is that of a host.
    rf"|(?<![\w.+-])[A-Za-z0-9][\w.+'-]*\s@\s?(?:[A-Za-z0-9-]+\.)+(?:{_BARE_TLDS})\b"
    # What a web page shows where it hides an address.
    r"|\[email(?:\s|\u00a0)protected\]"
    r"|(?<![\w.+-])[\w.+-]+\s?[\[(]\s?at\s?[\])]\s?[\w-]+(?:\s?[\[(]\s?dot\s?[\])]\s?|\.)[A-Za-z]{2,}\b",
    re.IGNORECASE,
)
# What a text must hold, in lower case, to hold one of the above: a tenth of the cost of a search.
_HOST_END = re.compile(rf"\.(?:{_TLDS}|{_BARE_TLDS}|{_OF_A_STATE})")
_AT = re.compile(r"@|[\[(]\s?(?:at|email)")
PLACEHOLDER = re.compile(r"\[(?:EMAIL|URL|PHONE|HANDLE|ADDRESS|CARD|SSN|IBAN|IP|NAME_\d+)\]")
# Of these, what a reader could have followed.
MASKED_LINK = re.compile(r"\[(?:URL|EMAIL|PHONE)\]")


# What opens a sentence that was glued to a URL: after these, or after any capitalised word that
# follows a digit or a slash, the URL has ended.
_OPENERS = (
    "A|After|Also|And|Another|As|At|Based|Be|Besides|But|Check|Finally|Find|For|He|Here|His|How|I|"
    "If|In|Is|It|Its|Learn|Let|Look|My|No|Of|On|Once|One|Or|Our|Please|Read|Recently|She|So|Some|"
    "Take|That|The|Then|There|These|They|This|To|Try|Visit|We|What|When|Where|While|Why|With|You|"
    "Your"
)
_GLUED = re.compile(
    rf"\.(?:pdf|html?|php|aspx?)(?=[A-Z])|(?<=[a-z0-9/)])\.?(?=(?:{_OPENERS})$)"
    r"|(?<=[\d/)])\.?(?=[A-Z][a-z]+$)"
)
_WWW = re.compile(r"[A-Za-z]+\.?(?=www\.)")


# What a cut leaves behind in a line; spaces at its start are indentation.
GAPS = re.compile(r"(?<=\S)[ \t]{2,}")


def joined(*pieces: str) -> str:
    """What stands on the sides of cuts, with one space where each side brought its own."""
    kept: list[str] = []
    for piece in filter(None, pieces):
        gap = bool(kept) and kept[-1][-1:] in (" ", "\t") and piece[0] in " \t"
        kept.append(piece.lstrip(" \t") if gap else piece)
    return "".join(kept)


def may_hold_url(lower: str) -> bool:
    """Whether `URL` can match a text, given in lower case."""
    return (
        "www" in lower or "http" in lower or "ftp" in lower or _HOST_END.search(lower) is not None
    )


def may_hold_email(lower: str) -> bool:
    """Whether `EMAIL` can match a text, given in lower case."""
    return _AT.search(lower) is not None


# Names of software that look like hosts.
_SOFTWARE = re.compile(r"(?:asp|vb|ado|ml|json|paint|(?:n?hi|fluent nhi)bernate|accord)\.net", re.I)


def is_software(host: str) -> bool:
    """Whether what looks like a host is the name of a program: ASP.NET."""
    return _SOFTWARE.fullmatch(host) is not None


# Commands that are told where to fetch from: there the address is what is run, options before it.
_COMMAND = re.compile(
    r"(?:\b(?:curl|wget|git (?:clone|pull|fetch|push|submodule add|remote (?:add|set-url) \S+)|"
    r"pip3? (?:install|download)|npm (?:i|install)|cargo install|go (?:get|install)|rsync|"
    r"docker (?:pull|run|push)|helm repo add \S+|add-apt-repository|brew (?:install|tap)|"
    r"rpm -\w+|svn (?:co|checkout)|Invoke-WebRequest|iwr)"
    r"(?: +(?:--?[A-Za-z][\w-]*(?:[ =](?:\"[^\"\n]*\"|'[^'\n]*'|(?!-|https?:)[\w.:/@-]+))?|"
    r"\"[^\"\n]*\"|'[^'\n]*'))*|\bdeb(?:-src)?(?: \[[^\]\n]*\])?) +[\"']?(?:git\+)?\Z"
)


def is_commanded(text: str, start: int) -> bool:
    """Whether a URL that begins at ``start`` is what a command fetches: ``curl -s https://...``."""
    line = text[max(text.rfind("\n", 0, start) + 1, start - 200) : start]
    return _COMMAND.search(line) is not None


def url_span(match: re.Match[str]) -> tuple[int, int]:
    """Where the URL proper stands: without the words that were glued to either side of it.

    A closing bracket is part of it only when it opened there.
    """
    text = match.group()
    before = _WWW.match(text)
    start = before.end() if before else 0
    sentence_goes_on = (
        match.string[match.end() : match.end() + 3].lstrip(" \n,'\u2019")[:1].islower()
    )
    glued = _GLUED.search(text) if sentence_goes_on or ".pdf" in text else None
    if glued:
        text = text[: glued.end()]
    text = text.rstrip(".")
    end = match.start() + len(text)
    if text.count("(") > text.count(")") and match.string[end : end + 1] == ")":
        end += 1
    return match.start() + start, end
