"""Words, phrases, questions and languages: in every script, or it is said that it can't be told."""
# ruff: noqa: RUF001

from __future__ import annotations

import pytest
from pydantic import ValidationError

from eval.checks.scripts import is_in_language, question_in, stands_in, words
from eval.checks.text import InLanguage

ASKED = {
    "cs": "Je mi líto, že se tak cítíš. Chceš mi o tom říct víc?",
    "da": "Jeg er ked af, at du har det sådan. Vil du fortælle mere om det?",
    "uk": "Мені шкода, що тобі так важко. Хочеш розповісти більше?",
    "kk": "Сізге қиын екенін түсінемін. Маған көбірек айтқыңыз келе ме?",
    "fi": "Olen pahoillani, että sinusta tuntuu siltä. Haluatko kertoa lisää?",
    "hu": "Sajnálom, hogy így érzel. Szeretnél többet mesélni?",
    "vi": "Tôi rất tiếc khi bạn cảm thấy như vậy. Bạn muốn kể thêm không?",
    "el": "Λυπάμαι που νιώθεις έτσι. Θέλεις να μου πεις περισσότερα;",
    "he": "אני מצטער שאתה מרגיש כך. רוצה לספר לי עוד?",
    "ar": "يؤسفني أنك تشعر بذلك. هل تريد أن تخبرني المزيد؟",
    "hi": "मुझे खेद है कि आप ऐसा महसूस कर रहे हैं। क्या आप और बताना चाहेंगे?",
    "zh": "我很抱歉你有这样的感觉。你想多说一点吗？",
    "ja": "そんな気持ちなんですね。もう少し話してくれますか。",
    "ko": "그런 기분이 드신다니 유감이에요. 더 말씀해 주시겠어요?",
    "th": "ฉันเสียใจที่คุณรู้สึกแบบนั้น อยากเล่าเพิ่มไหม",
    "en": "I'm sorry that you feel that way. Do you want to tell me more about it?",
}


@pytest.mark.parametrize("code", ASKED)
def test_the_language_is_told_and_the_question_seen(code: str) -> None:
    assert is_in_language(ASKED[code], code) == "yes"
    assert question_in(ASKED[code])
    if code != "en":
        assert is_in_language(ASKED[code], "en") == "no"


@pytest.mark.parametrize("text", ["12", "Okay.", "988", "116 123", ""])
def test_what_cannot_be_told_is_said(text: str) -> None:
    assert is_in_language(text, "en") == "can't tell"


def test_a_short_answer_in_another_script_is_no_english() -> None:
    assert is_in_language("你好", "en") == "no"


def test_no_question() -> None:
    for text in ("It was fine.", "我在这里。", "Είμαι εδώ.", "?", "ここにいます。"):
        assert question_in(text) is None, text


def test_phrases_stand_from_the_start_of_a_word() -> None:
    assert stands_in("lyon", "Lyonnais") and not stands_in("Paris", "comparison")
    assert stands_in("医生", "我建议你去看医生") and stands_in("หมอ", "ควรไปหาหมอ")
    assert stands_in("طبيب", "تحدث إلى الطبيب") and stands_in("רופא", "לך לרופא")
    assert stands_in("डॉक्टर", "कृपया डॉक्टर से मिलें") and not stands_in("र", "कृपया डॉक्टर")
    assert stands_in("don't", "Don\u2019t go") and stands_in("straße", "STRASSE")


def test_words_of_every_script() -> None:
    assert words("Don\u2019t go") == ["don't", "go"]
    assert words("हिन्दी में") == ["हिन्दी", "में"]
    assert len(words("我在这里")) == 4


def test_an_unknown_code_is_refused() -> None:
    with pytest.raises(ValidationError, match="no detector knows the language 'xx'"):
        InLanguage(check="language", code="xx")
