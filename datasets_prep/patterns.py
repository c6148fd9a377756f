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
_PATH = r"(?:[/?#][^\s<>\"'\u201c\u201d\[\]{}|\\^`\u00bf]*)?"
# A path that runs into the next sentence ends at its file name: "x.pdfBased on".
_TRAIL = r"(?<![.,;:!?)\u2019])"

URL = re.compile(
    r"(?:"
    r"(?:https?|ftp)\s?:\s?//?\s?[^\s<>\"'\u201c\u201d\[\]{}|\\^`\u00bf]+"
    r"|\bwww\s?\.\s?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::\d+)?"
    + _PATH
    + r"|(?<![\w@.-])(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+(?:"
    + _BARE_TLDS
    + r")"
    r"(?![a-z])(?:\b|(?=[A-Z0-9]))"
    + _PATH
    + r"|(?<![\w@.-])(?:[a-z0-9-]+\.)+(?:"
    + _TLDS
    + r")/[^\s<>\"'\[\]{}|\\^`\u00bf]+"
    r")" + _TRAIL,
    re.IGNORECASE,
)
EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9][\w.+'-]*\s?@\s?(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}\b"
    r"|(?<![\w.+-])[\w.+-]+\s?[\[(]\s?at\s?[\])]\s?[\w-]+(?:\s?[\[(]\s?dot\s?[\])]\s?|\.)[A-Za-z]{2,}\b",
    re.IGNORECASE,
)
PLACEHOLDER = re.compile(r"\[(?:EMAIL|URL|PHONE|HANDLE|ADDRESS|NAME_\d+)\]")


def trim_url(match: re.Match[str]) -> str:
    """The URL proper: without closing brackets that opened before it, or a glued sentence."""
    text = match.group()
    glued = re.search(r"\.(?:pdf|html?|php|aspx?)(?=[A-Z])", text)
    if glued:
        text = text[: glued.end()]
    while text.endswith(")") and text.count(")") > text.count("("):
        text = text[:-1]
    return text
