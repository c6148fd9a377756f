# ruff: noqa: E501
"""Kinds of fault that parts of public sets showed: SQuAD, PubMedQA, HH-RLHF, Taskmaster, ESConv."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prep_data import all_rows, answer_after, definition, jsonl, talk
from test_prep_more_sources import definition as checked
from test_prep_more_sources import masked

import datasets_prep
from datasets_prep.anonymise import Anonymiser
from datasets_prep.contamination import Prompts
from datasets_prep.conversation import Ledger
from datasets_prep.filters import Filter
from datasets_prep.settings import AnonymiseSettings, FilterSettings
from datasets_prep.suites import Prompt
from datasets_prep.transcripts import read_transcript
from datasets_prep.where import parse_condition
from recipes.runner.core.errors import UserError

SRT = """\
1
00:00:00,000 --> 00:00:03,400
Client: I take 5 mg and

2
00:00:04,000 --> 00:00:07,400
sleep till 4.

3
00:00:08,000 --> 00:00:11,400
<i>Therapist: Since 2019?</i>
"""
VTT = """\
WEBVTT

00:01.000 --> 00:03.400
<v Roger Bingham>We are in
New York

00:04.000 --> 00:07.400 align:start
<v Neil>Yes, 2.

00:08.000 --> 00:09.000
<v Roger Bingham>Why?
"""


def test_of_subtitles_the_words_are_read() -> None:
    found = read_transcript(SRT, {"Client", "Therapist"}.__contains__)
    wanted = [("Client", "I take 5 mg and sleep till 4."), ("Therapist", "Since 2019?")]
    assert found.turns == wanted and not found.left
    said = read_transcript(VTT, lambda name: False).turns
    assert said == [
        ("Roger Bingham", "We are in New York"),
        ("Neil", "Yes, 2."),
        ("Roger Bingham", "Why?"),
    ]
    once = "Client: at 00:00:00,000 --> 00:00:03,400 it began\nTherapist: Why?"
    assert len(read_transcript(once, {"Client", "Therapist"}.__contains__).turns) == 2


def test_a_list_of_one_answer_is_the_answer(tmp_path: Path) -> None:
    """The nesting of SQuAD."""
    asked = [
        {
            "qas": [
                {"id": str(n), "question": f"Who came {n}th?", "answers": [{"text": f"Team {n}"}]}
            ]
        }
        for n in range(4)
    ]
    jsonl(tmp_path / "rows.jsonl", asked)
    source = {"file": "rows.jsonl", "each": "qas"}
    columns = {"prompt": "qas.question", "response": "qas.answers.text"}
    out = datasets_prep.prepare(
        definition(tmp_path, source=source, columns=columns), out=tmp_path / "o", workers=1
    )
    answers = sorted(row["messages"][1]["content"] for row in all_rows(out))
    assert answers == [f"Team {n}" for n in range(4)]


def test_a_list_that_no_row_has_is_named(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", [{"q": "Why do I?", "a": "You rest."}])
    source = {"file": "rows.jsonl", "each": "answers"}
    with pytest.raises(UserError, match="no row has the column 'answers'"):
        datasets_prep.prepare(definition(tmp_path, source=source), out=tmp_path / "o", workers=1)


def test_two_columns_are_compared() -> None:
    condition = parse_condition("score_chosen > score_rejected")
    assert condition.holds({"score_chosen": 8.5, "score_rejected": "4"})
    assert not condition.holds({"score_chosen": 4, "score_rejected": 8.5})
    assert not condition.holds({"score_chosen": 4})


def test_an_emoji_answers_within_a_talk_and_a_row_of_stops_does_not() -> None:
    talks = talk("I passed!", "\U0001f44d\U0001f3fb", "Thanks, I took 3 tries.", "Well done, you.")
    assert Filter(FilterSettings())(talks, Ledger("filter")) and len(talks.messages) == 4
    stops = talk("I passed!", ".......", "Thanks, I took 3 tries.", "Well done, you.")
    assert Filter(FilterSettings())(stops, Ledger("filter")) and len(stops.messages) == 2
    assert not Filter(FilterSettings())(talk("I passed!", "\U0001f44d"), Ledger("filter"))


def test_what_anybody_says_is_a_prompt_only_by_itself_or_behind_the_same_turn() -> None:
    prompts = Prompts(
        [Prompt("s/hey", "hey"), Prompt("s/why", "Why?", "Is it bad to nap?")], 8, 0.5
    )

    def near(*turns: str) -> str | None:
        roles = ("user", "assistant")
        said = [{"role": roles[n % 2], "content": text} for n, text in enumerate(turns)]
        return prompts.near({"messages": said})

    assert near("Hey!", "Hi.") and near("Is it bad to nap", "No.", "why", "It isn't.")
    assert near("hey", "Hi.", "I lost my job.", "I'm sorry.") is None
    assert near("I can't go there.", "I see.", "Why?", "You said so.") is None


@pytest.mark.parametrize(
    "text",
    [
        "Mix these:\n\nSalt\n\nCinnamon\n\nRosemary\n\nRosemary oil",
        "One with Oat milk and the other with Almond milk. We have Lavender and Jasmine tea.",
        "Dear Hiring Manager,\nI am a Product Manager. Current role: Product Manager.",
        "He picked fights with North Korea and Iran, and in the middle of it he slept.",
        "Adolescent MD/AUD comorbidity is a risk in Sami speaking municipalities.",
        "It has these brand names:\n\nGravol\nMarmine\nNico-Vert\nTriptone",
        "Princeton University, then Princeton, Stanford, UW, Cornell.",
        "Hmm, tell me what is your problem?",
        "It lasted until the rule of Louis XIV and of Henry III.",
        "I'd read of Genghis Khan, Hitler, Stalin and Mussolini.",
        "You got every manner of Ivory-Tower Orc in between.",
        "The Tom and Jerry episode features Franz Liszt's Hungarian Rhapsody.",
        "Merchant\nBarron Restaurant Seattle\nDate\n05/12/2021",
    ],
)
def test_foods_states_schools_and_brands_are_no_names(text: str) -> None:
    assert masked(text) == text


def test_herbs_that_are_people_and_whole_names() -> None:
    assert masked("My daughter Rosemary drinks tea with me.").startswith("My daughter [NAME_1]")
    assert "Jasmine" not in masked("We had tea. Jasmine told me that she is sad.")
    whole = masked("Hi Okafor, thanks. I met Ngozi Okafor at 5.")
    assert whole.endswith("I met [NAME_1] at 5.") and "Ngozi" not in whole


@pytest.mark.parametrize(
    "answer",
    [
        "- Visit the tower\n- Walk along the river\n- Visit Sacr\u00e9-C\u0153ur Basilica",
        "* Lower taxes for all\n* Maria Alvarez",
        "Ask your doctor for aspirin tablets. ASA EC",
        "You can call me \u201cHuman\u201d, if you like. What is on your mind?",
        "Amount: $3.50\nCard Ending In\n6211\nTime\n03:29 PM ET",
        "Hu\u00b7mira | \\ hy\u00fc-\u02c8mer-\u0259",
    ],
)
def test_items_doses_times_and_pronunciations_are_kept(answer: str) -> None:
    row: Any = talk("What is there to know or to do, please?", answer)
    assert answer_after(checked(), row).replace("[NAME_1]", "Maria Alvarez") == answer


def test_a_year_is_no_house() -> None:
    assert masked("In 1886, Robert Lane agreed to it.").startswith("In 1886, ")
    assert masked("I live at 1886, Robert Lane now.") == "I live at [ADDRESS] now."


def test_a_signature_with_a_dash_goes_still() -> None:
    for rest in ("Rest a lot in the afternoon.", "Do this:\n- rest a lot\n- walk every day."):
        row = talk("What can I do to sleep?", f"{rest}\n\n- Maria")
        assert answer_after(checked(), row) == rest


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (
            "hi sarah,\nmy boyfriend jason left. Sarah knows.",
            "hi [NAME_1],\nmy boyfriend [NAME_2] left. [NAME_1] knows.",
        ),
        ("my name is emma and dr patel said 5 mg", "my name is [NAME_1] and dr [NAME_2] said 5 mg"),
        (
            "call me john, please. my wife mary and i went",
            "call me [NAME_1], please. my wife [NAME_2] and i went",
        ),
    ],
)
def test_names_in_lower_case(text: str, right: str) -> None:
    assert masked(text) == right


@pytest.mark.parametrize(
    "text",
    [
        "my friend got mad, my son will go and my mom said that it is mine. my dog tore it.",
        "hello there, my dr said so. the dr prescribed 5 mg. my name is not important. i'm sure.",
        "call me later, my mom may call. my doctor mark my words.",
        "it's called zoloft, and my doctor named effexor too.",
    ],
)
def test_small_words_are_no_names(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize(
    ("language", "text", "right"),
    [
        # "My name is Salma. My husband Khalid Al-Ali, and my sister Noura says: O Salma."
        ("ar", "اسمي سلمى. زوجي خالد العلي لا يكلمني، وأختي نورة تقول يا سلمى.",
         "اسمي [NAME_1]. زوجي [NAME_2] لا يكلمني، وأختي [NAME_3] تقول يا [NAME_1]."),
        # The doctor Muhammad; the treating doctor; my big brother; its name is paracetamol.
        ("ar", "قال الدكتور محمد، وقال الدكتور المعالج إن أخي الكبير بخير. اسمه باراسيتامول 500.",
         "قال الدكتور [NAME_1]، وقال الدكتور المعالج إن أخي الكبير بخير. اسمه باراسيتامول 500."),
        ("hi", "मेरा नाम राहुल शर्मा है। इसका नाम पैरासिटामोल है।", "मेरा नाम [NAME_1] है। इसका नाम पैरासिटामोल है।"),
        ("ja", "私の名前は田中です。薬の名前はロラゼパムです。佐藤と申します。", "私の名前は[NAME_1]です。薬の名前はロラゼパムです。[NAME_2]と申します。"),
        ("ko", "제 이름은 김민수입니다. 약 이름은 타이레놀입니다.", "제 이름은 [NAME_1]입니다. 약 이름은 타이레놀입니다."),
    ],
)  # fmt: skip
def test_names_in_scripts_without_capitals(language: str, text: str, right: str) -> None:
    row = talk("?", text)
    Anonymiser(AnonymiseSettings(), language)(row, Ledger("anonymise"))
    assert row.messages[1].content == right


def test_an_answer_of_lines_alone_is_help_in_any_language() -> None:
    lines = "\u3044\u306e\u3061\u306e\u96fb\u8a71 0570-783-556\n\u751f\u547d\u7ebf 400-821-1215"
    row = talk("I want to end my life, and I live in Asia. Whom can I call?", lines)
    assert answer_after(checked(), row) == lines


@pytest.mark.parametrize("offer", ["My DMs are open.", "Feel free to DM me.", "Please message me."])
def test_who_offers_a_chat_of_their_own_goes(offer: str) -> None:
    row = talk("What can I do to sleep?", f"A walk in the afternoon helps. {offer}")
    assert answer_after(checked(), row) == "A walk in the afternoon helps."


def test_a_formula_is_of_no_language() -> None:
    row = talk(
        "\u8fd9\u4e9b\u7c7b\u7684\u5173\u7cfb\u662f\u4ec0\u4e48\uff1f", "P \u2286 NP \u2286 PSPACE"
    )
    assert answer_after(checked("zh"), row) == "P \u2286 NP \u2286 PSPACE"


def test_what_many_speakers_end_in_is_no_name_of_theirs(tmp_path: Path) -> None:
    lines = ["Amal Thomas Acme: Is the bag of Acme here?", "Ben Idukki Acme: No, Amal."] * 2
    lines += ["Cyra Kochi Acme: Yes, from Acme, 5 of them."]
    text = "\n".join(f"03/01/2022, 14:{n:02d} - {line}" for n, line in enumerate(lines))
    (tmp_path / "talk.txt").write_text(text, encoding="utf-8")
    out = datasets_prep.prepare(
        definition(tmp_path, source={"file": "talk.txt"}, shape="transcript", columns={},
                   turns={"roles_by": "appearance"}),
        out=tmp_path / "o", workers=1,
    )  # fmt: skip
    said = " ".join(m["content"] for row in all_rows(out) for m in row["messages"])
    assert "of Acme" in said and "from Acme" in said and "Amal" not in said
