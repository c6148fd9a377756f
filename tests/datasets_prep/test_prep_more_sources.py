"""Kinds of fault that sources of other shapes and languages showed, row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prep_data import all_rows, answer_after, jsonl, talk

import datasets_prep
from datasets_prep.anonymise import Anonymiser
from datasets_prep.conversation import Ledger
from datasets_prep.definition import Definition
from datasets_prep.known_names import AuthorNames
from datasets_prep.markup import is_page
from datasets_prep.settings import AnonymiseSettings
from datasets_prep.transcripts import read_transcript


def definition(language: str = "en", **keys: Any) -> Definition:
    body = {
        "name": "small",
        "source": {"file": "rows.csv"},
        "shape": "prompt_response",
        "columns": {"prompt": "q", "response": "a"},
        "steps": {"filter": {"language": {"keep": language}}, **keys},
    }
    return Definition.model_validate(body)


def masked(text: str, **keys: Any) -> str:
    row = talk("Where?", text)
    Anonymiser(AnonymiseSettings(**keys))(row, Ledger("anonymise"))
    return row.messages[1].content


@pytest.mark.parametrize("author", ["+27 82 555 0134", "0820 555", "#1234 99"])
def test_the_number_of_a_speaker_masks_no_other_number(author: str) -> None:
    text = "The Poisons Information Helpline is 0861 555 777, take 99 or 1234 steps."
    assert AuthorNames((author,)).find(text) == []


def test_a_forum_post_with_code_is_a_page_and_an_element_alone_is_code() -> None:
    post = "<p>I get <code>502</code>.</p>\n<pre><code>a {\n  b: 1;\n}\n</code></pre>\n<p>Why?</p>"
    quote = '<aside class="quote"><blockquote><p>is it on?</p></blockquote></aside>\n<p>No.</p>'
    assert is_page(post) and is_page(quote)
    assert not is_page("<html><body><p>a</p><pre>b</pre></body></html>")
    assert not is_page("<blockquote><p>To be</p></blockquote>")
    assert not is_page('<div class="outer">\n  <div class="inner">Hi</div>\n</div>')
    kept = answer_after(definition(), talk("Why does my server answer so?", post))
    assert kept == "I get `502`.\n\n```\na {\n  b: 1;\n}\n```\n\nWhy?"


def test_turns_behind_a_name_in_square_brackets() -> None:
    text = "[doctor] hi , martha .\n[laughs] sorry .\n[patient] 20 mg , [sic] twice ."
    found = read_transcript(text, {"doctor", "patient"}.__contains__)
    assert found.turns == [
        ("doctor", "hi , martha .\n[laughs] sorry ."),
        ("patient", "20 mg , [sic] twice ."),
    ]
    unknown = "[SPEAKER_00] a\n[SPEAKER_01]: b\n[SPEAKER_00] c\n[SPEAKER_01] d\n[laughs]"
    speakers = [name for name, _ in read_transcript(unknown, lambda _: False).turns]
    assert speakers == ["SPEAKER_00", "SPEAKER_01"] * 2
    sounds = "[music]\n[laughs]\nHi\n[music]\n[laughs]"
    assert read_transcript(sounds, lambda _: False).turns == []


@pytest.mark.parametrize(
    ("language", "answer", "right"),
    [
        # A stop of "Tel." and of a title ends no sentence, and closings are known.
        (
            "de",
            "Spülen Sie den Mund mit Wasser aus. Meine Praxis: Tel. 089 4521776",
            "Spülen Sie den Mund mit Wasser aus.",
        ),
        (
            "de",
            "Nehmen Sie 50 µg am Morgen, Kontrolle in 6-8 Wochen. MfG Dr. Hölzl",
            "Nehmen Sie 50 µg am Morgen, Kontrolle in 6-8 Wochen.",
        ),
        (
            "de",
            "Reden Sie mit ihm, wenn er nüchtern ist. Viele Grüße, Sabine Krüger",
            "Reden Sie mit ihm, wenn er nüchtern ist.",
        ),
        # An office's free number.
        (
            "de",
            "Melden Sie sich bei der Agentur für Arbeit, § 38 SGB III. Tel. 0800 4 555500.",
            "",
        ),
        (
            "de",
            "Bitte den Link checken: https://zoom.us/j/1. Es dauert fünf Minuten. Ruhen Sie aus.",
            "Ruhen Sie aus.",
        ),
        (
            "de",
            "Es dauert fünf Minuten. Frau Dr. Meier-Lüdenscheid hilft Ihnen danach weiter.",
            "Es dauert fünf Minuten. Frau Dr. [NAME_1] hilft Ihnen danach weiter.",
        ),
        (
            "es",
            "La Dra. María Fernández atiende hoy. Tu hijo Diego debe dormir. Un abrazo, Lucía",
            "La Dra. [NAME_1] atiende hoy. Tu hijo [NAME_2] debe dormir.",
        ),
        (
            "fr",
            "Voyez Mme Lefèvre demain matin, tél. 01 42 68 53 00. Cordialement, Jean Dupont",
            "Voyez Mme [NAME_1] demain matin.",
        ),
        (
            "ru",
            "Позвоните 112. \u0421 уважением, Иван Петров",
            "Позвоните 112.",
        ),
        (
            "ar",
            "لا تزيد عن ٤ جرعات في اليوم. د. سامر القيسي، هاتف 0791234567",
            "لا تزيد عن ٤ جرعات في اليوم.",
        ),
        (
            "zh",
            "二甲双胍0.5g\uff0c每日2次。请找张医生或者协和医院王建国主任。",
            "二甲双胍0.5g\uff0c每日2次。请找[NAME_1]医生或者协和医院[NAME_2]主任。",
        ),
        ("zh", "谢谢医生\uff0c10分钟后医生会来\uff0c不要紧张医生\uff0c马上主任就到。", ""),
    ],
)
def test_closings_titles_and_services_of_other_languages(
    language: str, answer: str, right: str
) -> None:
    anonymise = {"phone_regions": ["DE", "US", "GB"]}
    asked = {"de": "Was soll ich tun?", "es": "¿Qué hago?", "fr": "Que dois-je faire ?"}
    asked |= {"ar": "ما الجرعة؟", "zh": "怎么办\uff1f", "ru": "Что мне делать?"}
    row = talk(asked[language], answer)
    assert answer_after(definition(language, anonymise=anonymise), row) == (right or answer)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        # It shows what such a thing looks like, and points nowhere.
        (
            "It matches an email such as jane.doe@mail.org:\n- `^` start\n- `$` end",
            "It matches an email such as [EMAIL]:\n- `^` start\n- `$` end.",
        ),
        (
            "Ms. Oyelaran, ext. 4412, pharmacy@hospital.org, or walk in Mo-Fr 9-17.",
            "Ms. [NAME_1], ext. 4412, or walk in Mo-Fr 9-17.",
        ),
        # Nothing stays of a point of a list but those that say something.
        (
            "1. Open the door.\n2. Breathe out slowly.\n3. Else, email me at dev@tools.io",
            "1. Open the door.\n2. Breathe out slowly.",
        ),
        ("Note the signs. Call 911/112/999. Note the time, e.g. 14:05.", ""),
        # The service's other number is on the list.
        ("You can reach us free on 0800 138 6543 or text SHOUT to 85258.", ""),
        (
            'We can draft it: "Dear John, we meet at 9:30."',
            'We can draft it: "Dear [NAME_1], we meet at 9:30."',
        ),
    ],
)
def test_what_a_sentence_says_beside_what_is_masked(answer: str, right: str) -> None:
    row = talk("How can I tell what this is about?", answer)
    assert answer_after(definition(), row) == (right or answer)


def test_what_stands_in_code_stays_in_the_question_about_it() -> None:
    row = talk("As JSON: phone 415-555-0132", '```json\n{"phone": "415-555-0132"}\n```')
    Anonymiser(AnonymiseSettings())(row, Ledger("anonymise"))
    assert row.messages[0].content == "As JSON: phone 415-555-0132"
    assert masked("Call 415-555-0132.") == "Call [PHONE]."


def test_a_column_whose_name_has_a_stop_is_used(tmp_path: Path) -> None:
    rows = [{"No.": n, "q": f"Why is thing {n} so?", "a": f"Thing {n} is so."} for n in range(4)]
    jsonl(tmp_path / "rows.jsonl", rows)
    (tmp_path / "d.yaml").write_text(
        "name: d\nsource: {file: rows.jsonl}\nshape: prompt_response\n"
        "columns: {prompt: q, response: a, id: 'No.'}\n"
    )
    made = datasets_prep.prepare(tmp_path / "d.yaml", out=tmp_path / "out")
    card = (made / "card.md").read_text(encoding="utf-8")
    assert "Columns left unused\n\nNone." in card
    assert {row["id"] for row in all_rows(made)} == {f"d-{n}" for n in range(4)}


@pytest.mark.parametrize(
    "answer",
    [
        "Brasil: CVV 188. M\u00e9xico: L\u00ednea de la Vida 800 911 2000. Argentina: 135. "
        "Espa\u00f1a: 024. In Portugal you can call the SNS, and everywhere somebody is awake.",
        "Please call somebody now, day or night. Telefonseelsorge: 0800 111 0 111. Notruf: 112.",
        "ISBN 978-3-16-148410-0, DOI 10.1000/182, PMID 12345678, arXiv:2106.09685.",
    ],
)
def test_lines_of_other_countries_and_signs_are_not_foreign(answer: str) -> None:
    assert (
        answer_after(definition(), talk("Whom can I call, and what can I read?", answer)) == answer
    )


def test_a_foreign_answer_with_a_line_in_it_goes() -> None:
    answer = (
        "Llame ahora a la L\u00ednea de la Vida, 800 911 2000. Hay alguien a toda hora para usted."
    )
    assert answer_after(definition(), talk("Whom can I call, and what can I read?", answer)) == ""
