"""What a newcomer's definitions of imitated public sets met: forums, exports, other languages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prep_data import answer_after, definition, prepared, talk

from datasets_prep.definition import Definition, load_definition
from datasets_prep.frames import rows_of_table
from datasets_prep.language import LanguageFinder, is_foreign_latin
from datasets_prep.readers import read_rows
from datasets_prep.sentences import sentences
from datasets_prep.shapes import Shaper
from datasets_prep.source import Source
from datasets_prep.transcripts import read_transcript
from datasets_prep.units import units

QUESTION = "How do I go about it, please?"


def kept(text: str, language: str = "en", question: str = QUESTION) -> str:
    """An answer after the row-wise steps."""
    return prepared(question, text, language)


def said(rows: list[dict[str, Any]], folder: Path, **keys: Any) -> list[list[str]]:
    """The texts of each talk of a tree."""
    loaded = load_definition(definition(folder, shape="tree", **keys))[0]
    shaper = Shaper(loaded, "rows.jsonl")
    return [[m.content for m in shaper._turns(unit)] for _, unit in units(rows, loaded, "x")]


POSTS: list[dict[str, Any]] = [
    {"id": "p", "author": "a", "title": "Jaw tight", "selftext": "50 mg, day 6.", "link": "t3_p"},
    {"id": "c", "parent": "t3_p", "author": "b", "body": "Known.", "score": 2, "link": "t3_p"},
    {"id": "d", "parent": "t3_p", "author": "c", "body": "A guard.", "score": 9, "link": "t3_p"},
    {"id": "e", "parent": "t1_d", "author": "a", "body": "Which?", "score": 1, "link": "t3_p"},
    {"id": "f", "parent": "t1_e", "author": "c", "body": "Any.", "score": 1, "link": "t3_p"},
]
FORUM = {
    "columns": {"message": "id", "parent": "parent", "conversation": "link", "speaker": "author",
                "text": "body", "prompt": ["title", "selftext"]},
    "turns": {"roles_by": "appearance"},
}  # fmt: skip


def test_a_forum_by_reddits_ids(tmp_path: Path) -> None:
    best = {**FORUM, "turns": {"roles_by": "appearance", "paths": "best"}}
    first = "Jaw tight\n\n50 mg, day 6."
    assert said(POSTS, tmp_path, **best) == [[first, "A guard.", "Which?", "Any."]]
    every = {**FORUM, "turns": {"roles_by": "appearance", "paths": "all"}}
    assert [first, "Known."] in said(POSTS, tmp_path, **every)


def test_messages_without_ids_or_in_a_circle_are_not_lost(tmp_path: Path) -> None:
    rows = [
        {"id": "p", "author": "a", "title": "Jaw", "selftext": "", "link": "x"},
        {"parent": "p", "author": "b", "body": "One.", "link": "x"},
        {"parent": "p", "author": "b", "body": "Two.", "link": "x"},
        {"id": "q", "parent": "r", "author": "b", "body": "Three.", "link": "x"},
        {"id": "r", "parent": "q", "author": "b", "body": "Four.", "link": "x"},
    ]
    every = {**FORUM, "turns": {"roles_by": "appearance", "paths": "all"}}
    assert {text for talk in said(rows, tmp_path, **every) for text in talk} == {
        "Jaw", "One.", "Two.", "Three.", "Four.",
    }  # fmt: skip


def test_trees_without_a_conversation_are_groups_of_their_own(tmp_path: Path) -> None:
    rows = [
        {"tweet": n, "to": to, "in": who, "text": f"Text {n}."}
        for n, to, who in ((1, None, "u"), (2, 1, "s"), (3, None, "u"), (4, 3, "s"))
    ]
    columns = {"message": "tweet", "parent": "to", "text": "text", "speaker": "in"}
    loaded = load_definition(
        definition(
            tmp_path, shape="tree", columns=columns, roles={"user": ["u"], "assistant": ["s"]}
        )
    )[0]
    shaper = Shaper(loaded, "rows.csv")
    groups = [shaper.open(*unit).groups for unit in units(rows, loaded, "x")]
    assert len(groups) == len(set(groups)) == 2


ROWS = [{"q": "a", "a": "1 mg"}, {"q": "b", "a": "2 mg"}]


@pytest.mark.parametrize(
    "table",
    [
        {"q": {"0": "a", "1": "b"}, "a": {"0": "1 mg", "1": "2 mg"}},
        {"q": ["a", "b"], "a": ["1 mg", "2 mg"]},
        {"columns": ["q", "a"], "index": [0, 1], "data": [["a", "1 mg"], ["b", "2 mg"]]},
        {"schema": {"fields": []}, "data": ROWS},
    ],
)
def test_a_table_by_columns_is_turned_round(tmp_path: Path, table: dict[str, Any]) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(table))
    assert list(read_rows(Source(file=path.name), [path])) == ROWS


@pytest.mark.parametrize(
    "value",
    [[], {}, {"a": 1}, {"a": [1], "b": [1, 2]}, {"a": {"x": 1}, "b": {"x": 2}},
     {"a": {"0": 1}, "b": {"1": 2}}, {"data": [1], "columns": ["a"]}],
)  # fmt: skip
def test_what_is_no_table_is_none(value: Any) -> None:
    assert rows_of_table(value) == []


def test_whatsapp_in_other_languages() -> None:
    arabic = (
        "\u200f[\u0662\u0660\u0662\u0664/\u0663/\u0661\u0662\u060c \u0669:\u0660\u0661:\u0662"
        "٢ ص] سارة: مرحبا\n"
        "12/03/2024, 21:02 - \u202a\u0639\u064a\u0627\u062f\u0629\u202c: \u0665 \u0645\u0644"
        "غ\n"
        "2024/3/12 下午9:05 - Li: hi\n"
    )
    turns = read_transcript(arabic, lambda name: False).turns
    assert turns == [
        ("سارة", "مرحبا"),
        ("عيادة", "\u0665 ملغ"),
        ("Li", "hi"),
    ]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("好的。3月15日到。请电 [PHONE]。", 3),
        ("هل تنام؟ نعم.", 2),
        ("क्या? हाँ। ठीक।", 3),
        ("It is 3.5 mg. Yes.", 2),
    ],
)
def test_sentences_of_other_scripts(text: str, parts: int) -> None:
    assert len(sentences(text)) == parts


def test_chinese_phones_and_names_go_and_the_rest_stays() -> None:
    answer = "好的\uff0c张伟先生\uff0c您的订单预计3月15日送达。如需帮助请拨打 400-820-8820。"
    right = "好的\uff0c[NAME_1]先生\uff0c您的订单预计3月15日送达。"
    asked = "手机号是13812345678"
    assert kept(answer, "zh", asked) == right
    row = talk(asked, answer)
    zh = Definition.model_validate(
        {"name": "x", "source": {"file": "x"}, "shape": "prompt_response",
         "steps": {"filter": {"language": {"keep": "zh"}}}}
    )  # fmt: skip
    answer_after(zh, row)
    assert row.messages[0].content == "手机号是[PHONE]"
    # "For ladies", an order's number, and what a hotline has.
    plain = "对于女士\uff0c订单号 20240311887766。请拨打心理援助热线 12356。"
    assert kept(plain, "zh", "你好吗\uff1f") == plain


@pytest.mark.parametrize(
    "text",
    [
        "布洛芬每6\uff5e8小时一次。混悬液\uff08100 mg/5 ml\uff09约3.75\uff5e7.5 ml。",
        "先看文档。推荐使用 Python 的 requests 库。",
        "每天服用。维生素 D 800 IU/d。",
    ],
)
def test_doses_and_terms_stay_in_sentences_of_chinese(text: str) -> None:
    assert kept(text, "zh", "孩子发烧38.5\u2103\uff0c怎么办\uff1f") == text


@pytest.mark.parametrize(
    ("language", "text", "right"),
    [
        ("sw", "Daktari Juma Mwangi anapatikana kila siku. Simu: 0712 345 678.",
         "Daktari [NAME_1] anapatikana kila siku."),
        ("sw", "Tumia vidonge 2 vya 500 mg kila saa 6, au piga simu 1190 bila malipo.", ""),
        ("es", "Venga a C/ Mayor 14, 2.\u00ba B, y tome 600 mg cada 8 h con agua.",
         "Venga a [ADDRESS], y tome 600 mg cada 8 h con agua."),
        ("es", "Corra por la Calle Mayor 5 km al d\u00eda y descanse despu\u00e9s.", ""),
    ],
)  # fmt: skip
def test_personal_data_of_other_languages(language: str, text: str, right: str) -> None:
    question = {"sw": "Nifanye nini kila siku, daktari?", "es": "\u00bfQu\u00e9 hago ahora?"}[
        language
    ]
    assert kept(text, language, question) == (right or text)


@pytest.mark.parametrize(
    "text",
    [
        "Nenda hospitali mara moja, na unywe maji mengi kila siku.",
        "Ina jin zafi a ciki kuma ina da zazzabi tun jiya",
        "Waxaan dareemayaa murugo badan maalin kasta",
    ],
)
def test_languages_that_detectors_hardly_know_are_not_english(text: str) -> None:
    assert LanguageFinder("en").verdict(text) is False
    assert is_foreign_latin(text)


@pytest.mark.parametrize(
    ("language", "text", "verdict"),
    [
        ("en", 'How do you say "Ich m\u00f6chte ein Bier bestellen" in English?', True),
        ("en", '"Ich m\u00f6chte ein Bier bestellen, bitte"', False),
        ("zh", "把\u201cThe quick brown fox\u201d 翻译成中文", True),
        ("zh", "The quick brown fox", False),
        ("zh", "OK, please call me back later, \u8c22\u8c22", False),
        ("en", "\u03bc \u00b1 \u03c3", None),
        ("en", "x\u00b2 + y\u00b2 = z\u00b2", None),
    ],
)
def test_quotations_and_formulas_are_of_no_language(
    language: str, text: str, verdict: bool | None
) -> None:
    assert LanguageFinder(language).verdict(text) is verdict


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        # What a command fetches is a part of it.
        ('curl -H "Authorization: Bearer $T" https://api.example.com/v1/items?limit=10', ""),
        ('Add "deb http://archive.ubuntu.com/ubuntu lucid main" to your list.', ""),
        ("Run git clone https://github.com/a/b.git and then cd b.", ""),
        ("Read https://example.com/x first. Then rest for an hour.", "Then rest for an hour."),
        # Nothing is left of where a sentence led that went.
        (
            "Go to https://www.roe-directory.com. Once there you can filter by zip code. Good ones "
            "answer within 2 days.",
            "Good ones answer within 2 days.",
        ),
        ("Go to the park. Once there, breathe for 5 minutes.", ""),
        # Plants, and towns that are greeted.
        ("Rosa canina holds 400 mg of vitamin C; Melissa officinalis calms.", ""),
        ("My friend Rosa drinks it.", "My friend [NAME_1] drinks it."),
        ("Hello Denver! Good morning Chicago! Drink water.", ""),
        ("Hi, Ontario. I live in the other Ontario, in California.", ""),
        ("An author, Kellie Jo Holly, calls it a trap.", ""),
        (
            "My brother MARK takes it. Ask MARK, not GRACE.",
            "My brother [NAME_1] takes it. Ask [NAME_1], not GRACE.",
        ),
        ("A MARK of 7 of 10 is good, 20 mg MAX.", ""),
        ("<@123456789012345678> is right, 5 of 7.", "[HANDLE] is right, 5 of 7."),
    ],
)
def test_kinds_that_were_falsified(answer: str, right: str) -> None:
    assert kept(answer) == (right or answer)
