"""Names that the form of a talk gives away: quotations, scripts, lists, an answer to who it is."""

from __future__ import annotations

import pytest
from test_prep_anonymise import masked


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Hartvel", '"We go on like that," says [NAME_1].'),
        ("Hartvel", '"Nobody asked me," [NAME_1] whispered.'),
        ("Magnarup", "Bot: What's your last name? [NAME_1]"),
        ("Maja S Hermansen", "The account is of [NAME_1], I think."),
        ("Zdravka Pelivanović", "Maybe it is under [NAME_1]."),
        ("Hughes", "It was seconded by Councillor [NAME_1]."),
        ("Angharad", "My flatmate [NAME_1] leaves hair in the sink."),
        ("lena andersson", "my name is [NAME_1]."),
    ],
)
def test_a_name_that_no_list_holds(name: str, text: str) -> None:
    assert masked(text.replace("[NAME_1]", name)) == [text]


def test_lists_and_scripts_of_people() -> None:
    assert masked("They had four: Gaetunde, Hannah, Anthony and Derek.") == [
        "They had four: [NAME_1], [NAME_2], [NAME_3] and [NAME_4]."
    ]
    assert masked('Ubuldar: Who are you?\nNicole: "Nobody."\nAnswer: Yes.') == [
        '[NAME_1]: Who are you?\n[NAME_2]: "Nobody."\nAnswer: Yes.'
    ]


def test_who_answers_the_turn_before() -> None:
    asked = "Of course. What is your name, please?"
    assert masked(asked, "Oyelarinde") == [asked, "[NAME_1]"]
    assert masked(asked, "Sorry, I forgot.") == [asked, "Sorry, I forgot."]
    assert masked(asked, "Oyelarinde", keep_names=["Oyelarinde"]) == [asked, "Oyelarinde"]
    for question, thing in (
        ("What is the plan?", "Oyelarinde"),
        ("What is it called?", "Wellbutrin."),
        ("What's the tablet's name?", "Wellbutrin."),
        ("What's the name of the film?", "Inception."),
    ):
        assert masked(question, thing) == [question, thing]


@pytest.mark.parametrize(
    "text",
    [
        "Vitamin B Complex, Hepatitis B Virus and Group B Strep are asked about.",
        "We went to Paris, Berlin, Florence and Vienna.",
        "I ate Rosemary, Basil, Thyme and Sage.",
        "Who can tell me about Newton's first law?",
        "I worked at Ford for thirty years.",
        "I watched Encanto with the kids and cried at the part with Bruno.",
        "Nothing in Kafka is as strange as Gregor's sister.",
        "Which planet is nearest to the sun, Venus or Mercury?",
        '"Stop," said Mother.',
    ],
)
def test_what_has_such_a_form_and_is_nobody(text: str) -> None:
    assert masked(text) == [text]


def test_a_misspelt_word_is_no_surname() -> None:
    said = "i miss jasmine becuase she was kind and i miss jasmine sooo much"
    assert masked(said) == [said.replace("jasmine", "[NAME_1]")]
