"""Which sentences of a text are in the language that is kept."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from lingua import Language, LanguageDetector, LanguageDetectorBuilder

from datasets_prep.patterns import PLACEHOLDER
from datasets_prep.sentences import sentences
from recipes.errors import UserError

_WORD = re.compile(r"[^\W\d_]+")
# Below these, a short sentence takes the language of its neighbours: lingua is a guess there.
_SURE_WORDS = 4
_MARGIN = 0.25


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

    A sentence counts as foreign only when another language is clearly likelier; one of fewer than
    four words goes with its nearest longer neighbour before it, or after it at the start.
    """
    detector = _detector((keep, *(code for code in others if code != keep)))
    own = _languages()[keep]
    verdicts: list[bool | None] = []
    spans = sentences(text)
    for start, end in spans:
        words = PLACEHOLDER.sub(" ", text[start:end])
        if len(_WORD.findall(words)) < _SURE_WORDS:
            verdicts.append(None)
            continue
        ranked = detector.compute_language_confidence_values(words)
        score = {value.language: value.value for value in ranked}
        verdicts.append(score.get(own, 0.0) + _MARGIN >= ranked[0].value)
    result: list[Segment] = []
    for index, (start, end) in enumerate(spans):
        verdict = verdicts[index]
        if verdict is None:
            before = [v for v in verdicts[:index] if v is not None]
            after = [v for v in verdicts[index + 1 :] if v is not None]
            verdict = before[-1] if before else (after[0] if after else True)
        result.append(Segment(start, end, verdict))
    return result
