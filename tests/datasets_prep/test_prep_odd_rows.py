# ruff: noqa: RUF001
"""Kinds of fault that sixteen more sources showed: code, sums, weights, calls, languages, names."""

from __future__ import annotations

from typing import Any

import pytest
from prep_data import prepared, reasons, talk
from test_prep_shapes import Row, convert, shaper, turns

from datasets_prep.anonymise import Anonymiser
from datasets_prep.code import code_spans
from datasets_prep.conversation import Ledger, Message
from datasets_prep.filters import Filter
from datasets_prep.foreign_names import foreign_names
from datasets_prep.language import LanguageFinder
from datasets_prep.settings import AnonymiseSettings, FilterSettings


def masked(text: str) -> str:
    row = talk(text, "Yes.")
    Anonymiser(AnonymiseSettings())(row, Ledger("anonymise"))
    return row.messages[0].content


@pytest.mark.parametrize(
    "body",
    [
        "    return [x for x in strings if substring in x]",
        "    sum_value = 0\n    prod_value = 1\n\n    for n in numbers:\n        sum_value += n\n"
        "    return sum_value, prod_value",
        "\treturn x + 1",
        "[i for i,x in enumerate(L) if L.count(x) > 1]",
        "df1 = df.select_dtypes(include=['float'])",
        "import os\n\n\n\ndef f(a):\n    return a\n\n\ndef g(b):\n    return b",
    ],
)
def test_a_function_s_body_keeps_its_indentation_and_its_empty_lines(body: str) -> None:
    assert prepared("def f(x):\n    ...", body + "\n") == body


def test_prose_loses_the_spaces_before_it() -> None:
    assert prepared("Why?", "   It helps to rest for a day or two.\n\n   Then walk.") == (
        "It helps to rest for a day or two.\n\n   Then walk."
    )


@pytest.mark.parametrize(
    "text",
    [
        "We get 280 + 1.75 * [(60/0.59406) - 60] = 351.74982 in the end.",
        "QT = (400/0.8) - 60 is the short form.",
        "It is 12 * (415) 555-2671 / 3.",
        "Please calculate 821091117+4908374100427 for me.",
        "The U.S. President served the U.S. Territories.",
        "Btw, have you tried it? P.S. This is not mine.",
        "Enoxaparin 6000 U/day at first, then 4000 u/day.",
        "He lost his money in the 1929 Wall Street crash.",
        "The Treaty of Guadalupe Hidalgo ended the war.",
        "An endovascular stent (C. R. Bard, Murray Hill, NJ, USA) and a Jackson Pratt drain.",
        "The country is:\n\nB. France.",
        "Which one?\nA. Paris\nB. Johnson\nC. Miller",
        "Additionally, please let me know if it hurts.",
        "The White Witch gives Edmund enchanted Turkish delight.",
        "In Things Fall Apart, Okonkwo kills Ikemefuna because he is afraid.",
        "Medela Freestyle Flex and Safari Lodge are in stock.",
    ],
)
def test_what_is_no_personal_data_stays(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("message u/some_name or /u/other", "message [HANDLE] or [HANDLE]"),
        ("call 555-123-4567, 555-123-4568 or 555-123-4569", "call [PHONE], [PHONE] or [PHONE]"),
        ("电话是010-88369280、010-88369210。", "电话是[PHONE]、[PHONE]。"),
        ("Her flat is at 14 Rue Lepic, above a shop.", "Her flat is at [ADDRESS], above a shop."),
        ("It is on mysite.com.br now, ok?", "It is on [URL] now, ok?"),
        ("can u ask auntie bola for the recipe", "can u ask auntie [NAME_1] for the recipe"),
        ("im so done with marcus honestly", "im so done with [NAME_1] honestly"),
        ("Witness 2: Sunniva Dahl, neighbour.", "Witness 2: [NAME_1], neighbour."),
        ("Sending strength your way,~Juniper", "Sending strength your way,~[NAME_1]"),
        ("We hated Wuthering Heights, and Imogen threw it.", "We hated Wuthering Heights, and [N"),
    ],
)  # fmt: skip
def test_what_is_personal_data_goes(text: str, after: str) -> None:
    assert masked(text).startswith(after)


@pytest.mark.parametrize(
    "text",
    [
        "might rain in may so bring a coat, and mark it on the calendar",
        "a cup of jasmine tea helps me sleep most nights",
        "takes 20 mg of celeste with food",
    ],
)
def test_words_in_small_letters_stay(text: str) -> None:
    assert masked(text) == text


def test_a_surname_inside_a_work_or_a_foreign_name_is_none() -> None:
    text = "他看过《天才里普雷先生》和《凡尔杜先生》，里普雷先生很有名。"
    assert foreign_names(text) == []
    assert foreign_names("昨天雷先生来过。") == [(2, 3)]


@pytest.mark.parametrize(
    ("answer", "after"),
    [
        ("Beat is at beateatingdisorders.org.uk for you.", None),
        ("In Brazil the CVV answers at cvv.org.br at any hour.", None),
        ("游玩时间是1小时；电话是010-88369280、010-88369210。", "游玩时间是1小时。"),
        ("餐厅的电话是010-88369280，评分是4分。", "评分是4分。"),
    ],
)
def test_hosts_stay_whole_and_clauses_without_a_number_stay(answer: str, after: str | None) -> None:
    language = "en" if answer.isascii() else "zh"
    question = "Where is help?" if language == "en" else "请问怎么去那个地方，多长时间？"
    assert prepared(question, answer, language) == (after or answer)


def test_a_name_in_latin_letters_is_one_sign_among_chinese_ones() -> None:
    finder = LanguageFinder("zh")
    assert finder.verdict("导演是Christopher Nolan。") is not False
    assert finder.verdict("I like this film very much indeed.") is False


@pytest.mark.parametrize(("keep", "text"), [("ar", "ما هو COVID-19؟"), ("ru", "Что такое COVID?")])
def test_a_term_in_latin_letters_is_one_sign_of_any_other_script(keep: str, text: str) -> None:
    assert LanguageFinder(keep).verdict(text) is not False


def test_an_item_of_a_list_is_no_other_language_and_a_formula_none() -> None:
    text = "You need these for it:\n- 1 cup of sliced mushrooms\n- 2 tablespoons soy sauce\n"
    text += "- 1 tablespoon of sesame oil\n\n    = πR²\n"
    assert all(segment.kept for segment in LanguageFinder("en").segments(text))


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ("You can do whatever the fuck you want with it, and that is fine.", True),
        ("The wrong pills will fuck you up, so ask somebody who knows them.", True),
        ("Well, fuck you and all who think as you do.", False),
    ],
)
def test_a_word_is_crude_and_not_cruel(answer: str, kept: bool) -> None:
    assert Filter(FilterSettings())(talk("What now?", answer), Ledger("filter")) is kept


def test_one_line_of_prose_is_no_code() -> None:
    for text in ("(I looked for it in the room)", "Choose your option(s)", "See it (pages 3-4)"):
        assert code_spans(text) == []


def test_an_address_of_the_net_is_in_no_language() -> None:
    text = "Das hilft den meisten sehr.\n(1) www.who.int/health-topics/corona\nStand: 18.03.2020\n"
    assert all(segment.kept for segment in LanguageFinder("de").segments(text))


def test_a_text_to_translate_stays_in_its_question() -> None:
    asked = "Abdulah este proprietar al companiei din oraşul de pe malul râului.\n\nTranslate it."
    row = talk(asked, "Abdulah is the owner of the company in the town on the banks of the river.")
    ledger = Ledger("filter")
    assert Filter(FilterSettings())(row, ledger)
    assert row.messages[0].content == asked and not reasons(ledger)


def test_reasoning_and_calls_among_content_parts_are_read() -> None:
    kind = shaper("messages", columns={"messages": "m"}, tools="keep")
    call = {"name": "find", "arguments": '{"q": "rain"}'}
    used = {"type": "tool_use", "id": "c2", "name": "find", "input": {"q": "sun"}}
    parts = [{"type": "reasoning", "value": "It may rain."}, {"type": "tool_call", "value": call}]
    row: Row = {
        "m": [
            {"role": "user", "content": [{"type": "text", "value": "Will it rain?"}]},
            {"role": "assistant", "content": [*parts, used]},
            {"role": "tool", "content": "no"},
            {"role": "assistant", "content": [{"type": "reasoning", "value": "So no."}, "No."]},
        ]
    }
    found = convert(kind, row)[0][0].messages
    assert [c["function"] for c in found[1].calls] == [
        call,
        {"name": "find", "arguments": '{"q": "sun"}'},
    ]
    assert "It may rain." in found[1].content
    assert found[3].content == "<think>\nSo no.\n</think>\n\nNo."


def test_a_weight_of_0_at_a_question_says_nothing() -> None:
    kind = shaper("messages", columns={"messages": "m"})
    asked = {"role": "user", "content": "And how?", "loss_weight": 0.0}
    answered = {"role": "assistant", "content": "Like this.", "loss_weight": 1.0}
    assert [m.train for m in convert(kind, {"m": [asked, answered]})[0][0].messages] == [True] * 2
    answered["loss_weight"] = 0.0
    assert [m.train for m in convert(kind, {"m": [asked, answered]})[0][0].messages] == [
        True,
        False,
    ]


@pytest.mark.parametrize("wanted", [True, False])
def test_a_kto_talk_may_end_in_its_answer(wanted: bool) -> None:
    kind = shaper("kto", columns={"messages": "m", "label": "label"})
    said = [{"role": "user", "content": "Hi there"}, {"role": "assistant", "content": "Hello you"}]
    rows: list[dict[str, Any]] = [{"m": said, "label": wanted}, {"m": said[:1], "label": wanted}]
    kind.check_columns(rows)
    found, ledger = convert(kind, *rows)
    assert turns(found[0]) == [("u", "Hi there"), ("a", "Hello you")]
    assert found[0].label is wanted
    assert reasons(ledger) == ["the talk ends in no answer, and there is no completion"]


def test_a_talk_goes_on_without_the_exchange_that_masking_emptied() -> None:
    said = ["Where can I eat?", "At the Blue Door on the market square.", "What is its number?"]
    said += ["[PHONE]", "And what do they cook?", "Mostly fish, from 12 to 22 euros."]
    row, ledger = talk(*said), Ledger("filter")
    assert Filter(FilterSettings())(row, ledger)
    assert [m.content for m in row.messages] == [*said[:2], *said[4:]]
    assert "exchange whose answer was only a masked link removed" in reasons(ledger)


def test_a_chosen_answer_that_masking_emptied_is_not_replaced() -> None:
    row = talk("Where?", "On the market square, next to the bank.", "Its number?", "[PHONE]")
    row.messages.append(Message("rejected", "I don't know its number at all."))
    ledger = Ledger("filter")
    assert not Filter(FilterSettings())(row, ledger)
    assert reasons(ledger)[-1] == "the chosen answer was cut"
