"""Questions about words of other languages, and their answers."""

from __future__ import annotations

import re

from datasets_prep.conversation import Conversation

# Asks for words of another language; the answer to it is in that one.
_LANGUAGES = (
    "Afrikaans|Albanian|Arabic|English|Bengali|Cantonese|Catalan|Chinese|Croatian|Czech|Danish|Dutch|Esperanto|"
    "Estonian|Farsi|Finnish|French|Gaelic|German|Greek|Hausa|Hawaiian|Hebrew|Hindi|Hungarian|Icelandic|"
    "Igbo|Indonesian|Irish|Italian|Japanese|Korean|Latin|Latvian|Lithuanian|Malay|Mandarin|Maori|"
    "Norwegian|Persian|Polish|Portuguese|Punjabi|Romanian|Russian|Serbian|Slovak|Slovene|Somali|Spanish|"
    "Swahili|Swedish|Tagalog|Tamil|Thai|Turkish|Ukrainian|Urdu|Vietnamese|Welsh|Xhosa|Yoruba|Zulu"
)
_ASKS_FOR_WORDS = re.compile(
    r"(?i:\b(?:say|spell|writ(?:e|ten)|translat\w+|words?|phrase|call(?:ed)?|greet\w*|answer|reply)"
    rf"\b)[^.!?\n]*\b(?:{_LANGUAGES})\b"
    rf"|\b(?:{_LANGUAGES}) (?:words?|phrase|translation|for|greeting)\b"
)
# What is asked or told about a language stands beside words of that language.
_ABOUT_LANGUAGE = re.compile(
    rf"(?i:\btranslat\w*|\b(?:wh(?:at|ich)|(?:in|of|from|to) (?:an)?other) languages?\b)"
    rf"|\b(?:{_LANGUAGES})\b"
)


def words_asked_for(conversation: Conversation, turn: int) -> bool:
    """Whether a turn answers "How do I say thank you in Polish?"."""
    if turn == 0 or conversation.messages[turn].role != "assistant":
        return False
    before = conversation.messages[turn - 1]
    return before.role == "user" and bool(_ASKS_FOR_WORDS.search(before.content))


def is_about_language(conversation: Conversation, turn: int) -> bool:
    """Whether a question, or the one before an answer, is about a language or a translation."""
    asked = conversation.messages[turn]
    if asked.role == "assistant" and turn:
        asked = conversation.messages[turn - 1]
    return asked.role == "user" and bool(_ABOUT_LANGUAGE.search(asked.content))
