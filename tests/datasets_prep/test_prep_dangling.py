"""What stands behind a gap and hangs on what went; phrases that are foreign, and yet English."""

from __future__ import annotations

import pytest
from prep_data import answer_after, talk

from datasets_prep import second_look
from datasets_prep.borrowed import without_borrowed
from datasets_prep.definition import Definition
from datasets_prep.language import LanguageFinder

QUESTION = "Where can I find out more about how I sleep and what I could do?"


def definition() -> Definition:
    return Definition.model_validate(
        {
            "name": "small",
            "source": {"file": "rows.csv"},
            "shape": "prompt_response",
            "columns": {"prompt": "q", "response": "a"},
        }
    )


def kept(answer: str, question: str = QUESTION) -> str:
    return answer_after(definition(), talk(question, answer))


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (
            "Rest when you can. You can register at https://sleep.example.com/form. "
            "It takes five minutes.",
            "Rest when you can.",
        ),
        (
            "Rest when you can. Go to https://sleep.example.com. It is free and it has a quiz. "
            "Then switch the lights off at ten.",
            "Rest when you can. Then switch the lights off at ten.",
        ),
        # The clause that "it" meant went, and the walk takes no five minutes.
        (
            "Take a walk in the evening, and fill in the form, which you can find at "
            "https://sleep.example.com/form. Sleep in a dark room.",
            "Take a walk in the evening, and fill in the form. Sleep in a dark room.",
        ),
        (
            "Take a walk every evening, or visit https://sleep.example.com/form. "
            "It takes 5-10 minutes. Sleep in a dark room.",
            "Take a walk every evening. Sleep in a dark room.",
        ),
        # What advertises goes with what hangs on it.
        (
            "Rest when you can. I offer a free 15 minute consultation. It takes 15 minutes. "
            "Sleep in a dark room.",
            "Rest when you can. Sleep in a dark room.",
        ),
        # A thing by its name, unless it stands in what stays.
        (
            "See https://sleep.example.com. The quiz takes ten minutes. Sleep in a dark room.",
            "Sleep in a dark room.",
        ),
        (
            "There is a quiz in your book. See https://sleep.example.com. "
            "The quiz takes ten minutes.",
            "There is a quiz in your book. The quiz takes ten minutes.",
        ),
    ],
)
def test_what_hangs_on_a_sentence_that_went_goes_too(answer: str, right: str) -> None:
    assert kept(answer) == right


@pytest.mark.parametrize(
    "tail",
    [
        "It takes time to heal.",
        "It takes two weeks to feel better.",
        "It is easy to feel alone.",
        "It is okay to cry.",
        "It has been a hard year for you.",
        "They love you.",
        "This is a hard time.",
        "It contains 500 mg of paracetamol.",
        "It offers help around the clock: the Samaritans, 116 123.",
    ],
)
def test_advice_behind_a_gap_stays(tail: str) -> None:
    answer = f"Rest when you can. Read on at https://sleep.example.com/form. {tail}"
    assert kept(answer) == f"Rest when you can. {tail}"


def test_nothing_went_and_nothing_goes() -> None:
    answer = "Fill in the form with your doctor. It takes five minutes."
    assert kept(answer) == answer


@pytest.mark.parametrize(
    "answer",
    [
        "C'est la vie.",
        "C\u2019est la vie!",
        "Que ser\u00e1, ser\u00e1.",
        "Bon app\u00e9tit!",
        "Well, c'est la vie.",
        "Mi casa es su casa, my friend.",
    ],
)
def test_borrowed_phrases_are_no_foreign_answer(answer: str) -> None:
    assert kept(answer) == answer


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How do I say thank you very much in Polish?", "Dzi\u0119kuj\u0119 bardzo."),
        ("What is the German word for lighthouse keeper?", "Der Leuchtturmw\u00e4rter."),
        ("Translate 'where is the station' into French.", "O\u00f9 est la gare ?"),
    ],
)
def test_a_few_words_of_a_language_that_were_asked_for_stay(question: str, answer: str) -> None:
    assert kept(answer, question) == answer


@pytest.mark.parametrize(
    "answer",
    [
        "Je ne sais pas quoi vous dire, monsieur, c'est la vie.",
        "Ich wei\u00df auch nicht, was ich dazu sagen soll.",
    ],
)
def test_other_answers_in_another_language_go(answer: str) -> None:
    assert kept(answer) == ""
    assert LanguageFinder("en").verdict(answer) is False


def test_a_phrase_goes_with_its_marks_and_nothing_else() -> None:
    assert without_borrowed("So, c'est la vie, et voil\u00e0!").split() == ["So,", ",", "!"]
    assert without_borrowed("It is life.") == "It is life."


def test_few_detectors_stay_in_memory_and_answers_stay_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = [("I will see you tomorrow at the station", code) for code in ("de", "fr", "it", "de")]
    right = [second_look.confidence(text, "en", code) for text, code in asked]
    monkeypatch.setattr(second_look, "MOST", 2)
    second_look._detectors.clear()
    assert [second_look.confidence(text, "en", code) for text, code in asked] == pytest.approx(
        right
    )
    assert list(second_look._detectors) == [("en", "it"), ("en", "de")]
    assert second_look.confidence("Hello", "en", "sw-unknown") is None
