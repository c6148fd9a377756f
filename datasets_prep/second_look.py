"""Lingua's word on a sentence, by detectors that tell one language from one other.

A language's model takes some 15 MB, and stays once it is loaded: a source in fifty languages would
fill a gigabyte in every worker. So only those that were asked last stay.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import cache

from lingua import Language, LanguageDetector, LanguageDetectorBuilder

# Detectors in memory: some 400 MB at most. One that comes back takes a tenth of a second.
MOST = 24
_detectors: OrderedDict[tuple[str, str], LanguageDetector] = OrderedDict()


@cache
def _languages() -> dict[str, Language]:
    known = {language.iso_code_639_1.name.lower(): language for language in Language.all()}
    return {**known, "no": known["nb"]}


def confidence(sentence: str, own: str, other: str) -> float | None:
    """How likely a sentence is in ``own`` and not in ``other``, from 0 to 1.

    Args:
        sentence: the sentence.
        own: an ISO 639-1 code.
        other: another one.

    Returns:
        None when lingua does not know one of them, or takes them for the same.
    """
    known = _languages()
    if own not in known or other not in known or known[own] == known[other]:
        return None
    detector = _detectors.pop((own, other), None)
    if detector is None:
        detector = LanguageDetectorBuilder.from_languages(known[own], known[other]).build()
    _detectors[own, other] = detector
    if len(_detectors) > MOST:
        _detectors.popitem(last=False)[1].unload_language_models()
    return detector.compute_language_confidence(sentence, known[own])
