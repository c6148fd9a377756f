"""Which sentences of a text are in the language that is kept."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from lingua import Language, LanguageDetector, LanguageDetectorBuilder

from datasets_prep.patterns import PLACEHOLDER
from datasets_prep.sentences import sentences
from recipes.runner.core.errors import UserError

_WORD = re.compile(r"[^\W\d_]+")
# Below four words lingua guesses; below eight it must be sure; above, a margin will do.
_SURE_WORDS = 4
_SHORT_WORDS, _SHORT_SURE = 8, 0.95
_MARGIN = 0.25
# No other language opens a question so; two words are enough to tell.
_SPANISH_MARK = re.compile(r"[\u00bf\u00a1](?=[^\W\d_])")


@dataclass(frozen=True)
class Segment:
    """A sentence, as offsets, and whether it is in the language that is kept."""

    start: int
    end: int
    kept: bool


@cache
def _languages() -> dict[str, Language]:
    return {language.iso_code_639_1.name.lower(): language for language in Language.all()}


@cache
def _detector(codes: tuple[str, ...]) -> LanguageDetector:
    unknown = [code for code in codes if code not in _languages()]
    if unknown:
        raise UserError(f"unknown language code '{unknown[0]}' in filter.language")
    languages = [_languages()[code] for code in codes]
    return LanguageDetectorBuilder.from_languages(*languages).build()


def segments(text: str, keep: str, others: tuple[str, ...]) -> list[Segment]:
    """Split a text into sentences and say of each whether it is in the kept language.

    A sentence counts as foreign only when another language is clearly likelier; one too short to
    tell goes with the nearest sure one before it, or after it at the start.
    """
    spanish = keep != "es" and "es" in others
    detector = _detector((keep, *(code for code in others if code != keep)))
    own = _languages()[keep]
    spans = sentences(text)
    verdicts = [
        False
        if spanish and _SPANISH_MARK.match(text[start:end])
        else _verdict(detector, own, text[start:end])
        for start, end in spans
    ]
    result: list[Segment] = []
    for index, (start, end) in enumerate(spans):
        verdict = verdicts[index]
        if verdict is None:
            before = [v for v in verdicts[:index] if v is not None]
            after = [v for v in verdicts[index + 1 :] if v is not None]
            verdict = before[-1] if before else (after[0] if after else True)
        result.append(Segment(start, end, verdict))
    return result


def _verdict(detector: LanguageDetector, own: Language, sentence: str) -> bool | None:
    """Whether a sentence is in the own language; None when it is too short to tell."""
    text = PLACEHOLDER.sub(" ", sentence)
    words = len(_WORD.findall(text))
    if words < _SURE_WORDS:
        return None
    ranked = detector.compute_language_confidence_values(text)
    score = {value.language: value.value for value in ranked}
    if score[own] + _MARGIN >= ranked[0].value:
        return True
    return None if words < _SHORT_WORDS and ranked[0].value < _SHORT_SURE else False
