"""Talks written line by line: exports of messengers, transcripts of sessions, scripts of plays.

A turn begins where a line names its speaker, behind a time or not: ``[12/03/2021, 18:05:12] Ana:
Hi`` (WhatsApp on a phone of Apple), ``12/03/2021, 18:05 - Ana: Hi`` (on others),
``00:12 Speaker 1: Hi``, ``Doctor: Hi``, ``[doctor] Hi``, or ``Doctor:`` on a line by itself. Lines
that name nobody go on with the turn. Of subtitles (SRT, WebVTT) the numbers and times are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from recipes.runner.core.patterns import search

# Tell which way a line runs; WhatsApp puts them around dates and names.
_DIRECTIONS = "\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff"
_DATE = r"\d{1,4}[./-] ?\d{1,2}[./-] ?\d{1,4}\.?"
# Morning and afternoon in the languages whose exports write them.
_HALF = "[AaPp]\\.?\\s?[Mm]\\.?|\u0635|\u0645"
_HALF_BEFORE = "\u4e0a\u5348|\u4e0b\u5348|\u5348\u524d|\u5348\u5f8c|\uc624\uc804|\uc624\ud6c4"
_TIME = (
    rf"(?:(?:{_HALF_BEFORE}) ?)?\d{{1,2}}[:.]\d{{2}}(?:[:.]\d{{2}})?(?:[.,]\d{{1,3}})?"
    rf"(?:[\s\u202f](?:{_HALF})(?!\w))?"
)
_STAMP = rf"(?:\[(?:{_DATE}[,\u060c]? )?{_TIME}\]|(?:{_DATE}[,\u060c]? )?{_TIME})"
_STAMPED = re.compile(
    rf"[{_DIRECTIONS}]*{_STAMP}(?:,| ?[-\u2013\u2014])?[{_DIRECTIONS}]* "
    rf"(?:(?P<speaker>[^:\n]{{1,60}}):(?:\s|$))?(?P<text>.*)"
)
_AROUND = re.compile(rf"^[\s{_DIRECTIONS}]+|[\s{_DIRECTIONS}]+$")
_NAMED = re.compile(
    r"\s*(?:\*\*|__)?(?P<speaker>[^\W\d_][\w.'\u2019-]*(?: [\w.'\u2019&-]+){0,3})"
    rf"(?: \({_TIME}\))?(?:\*\*|__)?:(?:\*\*|__)?(?:\s+|$)(?P<text>.*)"
)
# As sessions that were recorded are typed, or told apart by a program: "[SPEAKER_00] Hi".
_BRACKETED = re.compile(r"\s*\[(?P<speaker>[^\W\d_][\w .'\u2019-]{0,30})\]:?(?:\s+|$)(?P<text>.*)")
_NUMBERED_SPEAKER = re.compile(r"(?:speaker|spk|person|channel)[ _-]?\w{1,3}", re.I)
# What an export puts in place of what was no text.
_NO_TEXT = re.compile(
    r"\u200e?(?:<[^<>\n]{3,40}>|(?:image|video|audio|sticker|GIF|document|contact card) omitted|"
    r"(?:this message was|you) deleted(?: this message)?\.?|missed (?:voice|video) call|null)\s*",
    re.IGNORECASE,
)
# WhatsApp writes it before words of its own.
_NOTE = "\u200e"
_EDITED = re.compile(r"\s*\u200e?<This message was edited>\s*\Z")


# Of subtitles: when a piece is shown, its number or name before it, and what opens a WebVTT file.
_CUE = re.compile(
    r"\s*(?:\d{1,2}:)?\d{1,2}:\d{2}[.,]\d{1,3} --> (?:\d{1,2}:)?\d{1,2}:\d{2}[.,]\d{1,3}.*"
)
_VTT_HEAD = re.compile(r"\ufeff?WEBVTT\b.*|(?:Kind|Language|NOTE)\b.*")
_VOICE = re.compile(r"<v(?:\.\S+)? ([^>]+)>")
_STOPS = '.!?\u2026"\u201d:)]'
_SHOWN = re.compile(r"</?(?:v|c|i|b|u)(?:[.\s][^>]*)?>|<\d\d:[\d:.]+>|\{\\an\d\}")


def _without_cues(lines: list[str]) -> tuple[list[str], set[str]]:
    """The words of subtitles, a line for each piece, and whose voices it names.

    Other texts as they are.
    """
    times = [n for n, line in enumerate(lines) if _CUE.fullmatch(line)]
    if len(times) < 2:
        return lines, set()
    words: list[str] = []
    for start, end in zip(times, [*times[1:], len(lines)], strict=True):
        shown = lines[start + 1 : end]
        if end < len(lines) and len(shown) > 1 and shown[-1].strip() and not shown[-2].strip():
            # The number of the next piece.
            shown.pop()
        for line in shown:
            said = _SHOWN.sub("", _VOICE.sub(r"\1: ", line)).strip()
            if words and said and not _NAMED.match(said) and words[-1][-1] not in _STOPS:
                # The screen was full in mid-sentence.
                words[-1] += f" {said}"
            elif said:
                words.append(said)
    before = [line for line in lines[: times[0]] if not _VTT_HEAD.fullmatch(line)]
    if before and before[-1].strip().isdigit():
        before.pop()
    voices = {name for line in lines for name in _VOICE.findall(line)}
    return before + words, voices


@dataclass
class Transcript:
    """A talk: who said what, and what is none of it.

    Attributes:
        turns: speakers and their words, in order.
        left: what stands before the first speaker.
        nothing: notes of the program that wrote the file, and what was no text.
    """

    turns: list[tuple[str, str]] = field(default_factory=list)
    left: str = ""
    nothing: list[str] = field(default_factory=list)


def read_transcript(
    text: str, is_known: Callable[[str], bool], pattern: re.Pattern[str] | None = None
) -> Transcript:
    """The turns of a text.

    Args:
        text: the whole talk.
        is_known: whether a name is a speaker's, where no time stands before it: "Note:" opens a
            line of text. When none of the names is, those that open several lines are.
        pattern: what a line of a new turn looks like, with the groups ``speaker`` and ``text``, in
            place of the usual forms.
    """
    lines, voices = _without_cues(text.splitlines())
    # Else a time at the start of a line is a word of whoever speaks: "6:30 moving hurts".
    timed = sum(bool(m and m["speaker"]) for m in map(_STAMPED.match, lines)) > 1
    named = Counter(m["speaker"] for line in lines if (m := _NAMED.match(line)))
    marked = Counter(m["speaker"] for line in lines if (m := _BRACKETED.match(line)))
    speakers = voices or {name for name in (*named, *marked) if is_known(name)}
    speakers = speakers or {name for name, count in named.items() if count > 1}
    # Others in brackets are sounds: "[laughs]", "[music]".
    speakers = speakers or {name for name in marked if _NUMBERED_SPEAKER.fullmatch(name)}
    found = Transcript()
    before: list[str] = []
    words: list[str] = []
    open_turn = False

    def close() -> None:
        if open_turn:
            said = _EDITED.sub("", "\n".join(words)).strip()
            if _NO_TEXT.fullmatch(said):
                found.nothing.append(said)
                found.turns.pop()
            else:
                found.turns[-1] = (found.turns[-1][0], said)

    for line in lines:
        speaker, rest = _opening(line, speakers, pattern, timed)
        if speaker is None:
            (words if open_turn else before).append(line)
        elif not speaker:
            # A note of the program ends nobody's turn.
            found.nothing.append(rest)
        else:
            close()
            found.turns.append((speaker, ""))
            words, open_turn = [rest], True
    close()
    found.left = "\n".join(before).strip()
    return found


def _opening(
    line: str, speakers: set[str], pattern: re.Pattern[str] | None, timed: bool
) -> tuple[str | None, str]:
    """Who begins to speak in a line, and the rest of it.

    None: nobody; empty: a time stands there, and nobody's name.
    """
    if pattern is not None:
        match = search(pattern, line, "turns.line")
        return (match["speaker"].strip(), match["text"]) if match else (None, line)
    stamped = _STAMPED.match(line) if timed else None
    if stamped:
        if stamped["text"].startswith(_NOTE):
            return "", stamped["text"]
        return _AROUND.sub("", stamped["speaker"] or ""), stamped["text"]
    for form in (_NAMED, _BRACKETED):
        named = form.match(line)
        if named and named["speaker"] in speakers:
            return named["speaker"], named["text"]
    return None, line
