"""Shapes: rows of the wild become conversations, and unknown roles are listed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prep_data import reasons

from datasets_prep.column_use import used
from datasets_prep.conversation import Conversation, Ledger
from datasets_prep.definition import Definition
from datasets_prep.roles import UnknownRole
from datasets_prep.shapes import Shaper, unknown_role_error
from recipes.runner.core.errors import UserError

Row = dict[str, Any]


def shaper(shape: str, **keys: Any) -> Shaper:
    body = {"name": "small", "source": {"file": "x.jsonl"}, "shape": shape, **keys}
    return Shaper(Definition.model_validate(body), "x.jsonl")


def convert(kind: Shaper, *rows: Row) -> tuple[list[Conversation], Ledger]:
    ledger = Ledger("shape")
    made = [kind.open(number, unit) for number, unit in kind.units(rows)]
    return [row for row in made if kind.fill(row, ledger)], ledger


def turns(row: Conversation) -> list[tuple[str, str]]:
    return [(m.role[0], m.content) for m in row.messages]


EXCHANGE = [("u", "Hello?"), ("a", "Hi.")]


@pytest.mark.parametrize(
    ("shape", "keys", "row"),
    [
        ("text", {}, {"text": "<HUMAN>: Hello?\n<ASSISTANT>: Hi."}),
        (
            "text",
            {"columns": {"text": "t"}, "markers": {"Q:": "user", "A:": "assistant"}},
            {"t": "Q: Hello? A: Hi."},
        ),
        (
            "prompt_response",
            {"columns": {"prompt": "Context", "response": "Response"}},
            {"Context": "Hello?", "Response": "Hi."},
        ),
        ("alpaca", {}, {"instruction": "Hello?", "input": "", "output": "Hi."}),
        (
            "sharegpt",
            {},
            {
                "conversations": [
                    {"from": "human", "value": "Hello?"},
                    {"from": "gpt", "value": "Hi."},
                ]
            },
        ),
        (
            "messages",
            {},
            {
                "messages": [
                    {"role": "user", "content": "Hello?"},
                    {"role": "assistant", "content": "Hi."},
                ]
            },
        ),
        (
            "messages",
            {},
            {
                "messages": json.dumps(
                    [
                        {"role": "user", "content": [{"type": "text", "text": "Hello?"}]},
                        {"role": "assistant", "content": "Hi."},
                    ]
                )
            },
        ),
        ("turns", {"columns": {"turns": "dialog"}}, {"dialog": ["Hello?", "Hi."]}),
        (
            "turns",
            {
                "columns": {"turns": "dialog", "speaker": "speaker"},
                "roles": {"user": ["Seeker"], "assistant": ["Supporter"]},
                "turns": {"content_key": "utterance"},
            },
            {
                "dialog": [
                    {"speaker": "seeker", "utterance": "Hello?"},
                    {"speaker": "SUPPORTER ", "utterance": "Hi."},
                ]
            },
        ),
        # As datasets gives a list of structs: a struct of lists.
        ("sharegpt", {}, {"conversations": {"from": ["human", "gpt"], "value": ["Hello?", "Hi."]}}),
    ],
)
def test_every_shape_gives_the_same_exchange(shape: str, keys: Row, row: Row) -> None:
    made, ledger = convert(shaper(shape, **keys), row)
    assert turns(made[0]) == EXCHANGE and ledger.lines == []
    assert (made[0].id, made[0].source) == ("small-000001", "x.jsonl#1")


def test_alpaca_input_follows_the_instruction() -> None:
    made, _ = convert(shaper("alpaca"), {"instruction": "Sum up", "input": "this", "output": "ok"})
    assert made[0].messages[0].content == "Sum up\n\nthis"


@pytest.mark.parametrize(
    ("title", "text", "question"),
    [
        ("How do I sleep? ", "I lie awake.", "How do I sleep? \n\nI lie awake."),
        ("How do I sleep?", "I lie awake. How do I SLEEP", "I lie awake. How do I SLEEP"),
        ("I lie awake at night. Why?", "I lie awake.", "I lie awake at night. Why?"),
        (" ", "I lie awake.", "I lie awake."),
        ("So", "Some of it.", "So\n\nSome of it."),
    ],
)
def test_a_question_may_stand_in_several_columns(title: str, text: str, question: str) -> None:
    kind = shaper("prompt_response", columns={"prompt": ["title", "text"], "response": "a"})
    made, _ = convert(kind, {"title": title, "text": text, "a": "ok"})
    assert made[0].messages[0].content == question
    with pytest.raises(UserError, match="missing column 'title'"):
        kind.check_columns([{"text": 1, "a": 2}])


def test_rows_of_one_turn_each_are_gathered_and_ordered() -> None:
    kind = shaper(
        "turn_rows",
        columns={"conversation": "conv", "text": "t", "speaker": "who", "order": "n"},
        roles={"user": ["speaker"], "assistant": ["listener"]},
    )
    rows = [
        {"conv": "c1", "n": 2, "who": "listener", "t": "Hi."},
        {"conv": "c1", "n": 1, "who": "speaker", "t": "Hello?"},
        {"conv": "c2", "n": 1, "who": "speaker", "t": "Bye?"},
        {"conv": "c2", "n": 10, "who": "speaker", "t": "last"},
        {"conv": "c2", "n": 9, "who": "listener", "t": "Bye."},
    ]
    made, _ = convert(kind, *rows)
    assert turns(made[0]) == EXCHANGE
    assert turns(made[1]) == [("u", "Bye?"), ("a", "Bye."), ("u", "last")]
    assert made[0].groups == ("conversation=c1",) and made[1].source == "x.jsonl#3"


def test_columns_for_system_id_topic_author_and_group() -> None:
    kind = shaper(
        "prompt_response",
        columns={
            "prompt": "q",
            "response": "a",
            "system": "s",
            "id": "k",
            "topic": "t",
            "author": ["by"],
            "group": ["g", "h"],
        },
    )
    row = {
        "q": "Hello?",
        "a": "Hi.",
        "s": "Be kind.",
        "k": 7,
        "t": "sleep",
        "by": "Jane",
        "g": 1,
        "h": None,
    }
    made, _ = convert(kind, row)
    assert turns(made[0]) == [("s", "Be kind."), *EXCHANGE]
    assert (made[0].id, made[0].topic, made[0].authors, made[0].groups) == (
        "small-7",
        "sleep",
        ("Jane",),
        ("g=1",),
    )


@pytest.mark.parametrize(
    ("shape", "row", "reason"),
    [
        ("text", {"text": "no markers"}, "none of the role markers stands in the text"),
        ("text", {"text": "Hm <HUMAN>: a"}, "text before the first role marker ('Hm')"),
        ("messages", {"messages": []}, "no turns"),
        ("messages", {"messages": None}, "no turns"),
        ("messages", {"messages": "not json"}, "the turns are neither a list nor JSON of one"),
        ("messages", {"messages": [7]}, "turn 1 is neither a text nor an object"),
        ("messages", {"messages": [{"who": "x"}]}, "turn 1 has no role or no text: who"),
    ],
)
def test_a_row_without_a_conversation_is_in_the_ledger(shape: str, row: Row, reason: str) -> None:
    made, ledger = convert(shaper(shape), row)
    assert made == [] and reasons(ledger) == [reason]


def test_roles_by_who_speaks_first() -> None:
    kind = shaper(
        "turn_rows",
        columns={"conversation": "conv", "text": "t", "speaker": "who"},
        turns={"roles_by": "appearance"},
    )
    rows = [
        {"conv": c, "who": w, "t": t}
        for c, w, t in [
            ("c1", 17, "Hello?"),
            ("c1", 4, "Hi."),
            ("c2", 4, "Bye?"),
            ("c2", 9, "Bye."),
            ("c2", 4, "x"),
        ]
    ]
    made, _ = convert(kind, *rows)
    assert turns(made[0]) == EXCHANGE
    assert turns(made[1]) == [("u", "Bye?"), ("a", "Bye."), ("u", "x")]


def test_a_conversation_that_comes_back_is_an_error() -> None:
    """Its halves would be two conversations, and the rows would say nothing of it."""
    kind = shaper("turn_rows", columns={"conversation": "conv", "text": "t", "speaker": "who"})
    rows = [{"conv": c, "who": "user", "t": "x"} for c in ("c1", "c2", "c1")]
    with pytest.raises(UserError, match=r"'c1' comes back at row 3 .* Sort the rows by conv"):
        convert(kind, *rows)


def test_a_list_in_a_csv_cell_may_be_a_python_literal() -> None:
    cell = repr([{"role": "user", "text": "It's me?"}, {"role": "bot", "text": 'A "b"'}])
    made, _ = convert(shaper("turns", columns={"turns": "d"}), {"d": cell})
    assert turns(made[0]) == [("u", "It's me?"), ("a", 'A "b"')]


def test_a_column_may_stand_within_another() -> None:
    keys = {
        "columns": {"turns": "text.dialog", "speaker": "speaker", "topic": "text.problem"},
        "roles": {"user": ["usr"], "assistant": ["sys"]},
    }
    talk = {
        "problem": "sleep",
        "dialog": [{"text": "Hello?", "speaker": "usr"}, {"text": "Hi.", "speaker": "sys"}],
    }
    for value in (talk, json.dumps(talk)):
        kind = shaper("turns", **keys)
        kind.check_columns([{"text": value}])
        made, _ = convert(kind, {"text": value})
        assert turns(made[0]) == EXCHANGE and made[0].topic == "sleep"
    made, ledger = convert(shaper("turns", **keys), {"text": "no json"}, {"text": "[1]"}, {})
    within = "column 'text' is a list of 1: 'text.dialog' names none of them"
    assert made == [] and reasons(ledger) == ["no turns", within, "no turns"]
    with pytest.raises(UserError, match=r"missing column 'text\.dialog'"):
        shaper("turns", **keys).check_columns([{"other": 1}])


def test_an_unknown_role_lists_what_was_found() -> None:
    kind = shaper("sharegpt")
    rows = [
        {"conversations": [{"from": "therapst", "value": "a"}, {"from": "human", "value": "b"}]},
        {"conversations": [{"from": "narrator", "value": "a"}, {"from": "human", "value": "b"}]},
    ]
    with pytest.raises(UnknownRole) as unknown:
        convert(kind, *rows)
    error = unknown_role_error(kind, rows, unknown.value.role)
    assert "unknown role 'therapst'" in str(error)
    assert "human (2), therapst (1), narrator (1)" in str(error)
    assert "roles:" in error.todo


def test_columns_are_checked_with_the_nearest_name() -> None:
    kind = shaper("prompt_response", columns={"prompt": "question", "response": "answer"})
    with pytest.raises(UserError, match=r"missing column 'question'. Did you mean 'questions'\?"):
        kind.check_columns([{"questions": 1, "answer": 2}])


@pytest.mark.parametrize("value", [None, float("nan"), "\ud800 lone", ["one text"]])
def test_any_text_is_one_that_utf8_can_hold(value: Any) -> None:
    made, _ = convert(
        shaper("prompt_response", columns={"prompt": "q", "response": "a"}), {"q": value, "a": "b"}
    )
    made[0].messages[0].content.encode()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (3, "column 'q' is a number ('3'), no text"),
        (3.5, "column 'q' is a number ('3.5'), no text"),
        (True, "column 'q' is true or false ('True'), no text"),
        ({"a": 1}, "column 'q' is an object of a, no text"),
        ([1, None], "column 'q' is a list of 2, where one text is wanted"),
        ([{"type": "image_url"}], "a part of column 'q' holds a part of type 'image_url'"),
    ],
)
def test_what_is_no_text_is_named(value: Any, reason: str) -> None:
    kind = shaper("prompt_response", columns={"prompt": "q", "response": "a"})
    made, ledger = convert(kind, {"q": value, "a": "b"})
    assert made == [] and reasons(ledger)[0].startswith(reason)


def test_numbers_are_texts_where_the_definition_says_so() -> None:
    columns = {"prompt": "q", "response": "a", "numbers_as_text": True}
    (row,), _ = convert(shaper("prompt_response", columns=columns), {"q": "6 * 7?", "a": 42})
    assert turns(row) == [("u", "6 * 7?"), ("a", "42")]


def test_turns_without_a_speaker_go_by_position() -> None:
    log = [{"text": "Hello?", "span": []}, {"text": "Hi.", "span": []}]
    by_position = shaper("turns", columns={"turns": "log"}, turns={"roles_by": "position"})
    (row,), _ = convert(by_position, {"log": log})
    assert turns(row) == EXCHANGE
    lines = [{"c": 1, "t": "Hello?"}, {"c": 1, "t": "Hi."}]
    by_rows = shaper(
        "turn_rows", columns={"conversation": "c", "text": "t"}, turns={"roles_by": "position"}
    )
    (row,), _ = convert(by_rows, *lines)
    assert turns(row) == EXCHANGE


def test_runs_of_one_speaker_may_be_lists() -> None:
    runs = [
        [{"sender": "720840be", "text": "Hello?"}],
        [{"sender": "549cc1d1", "text": "Hi."}, {"sender": "549cc1d1", "text": "You?"}],
    ]
    kind = shaper("turns", columns={"turns": "messages"}, turns={"roles_by": "appearance"})
    (row,), _ = convert(kind, {"messages": runs})
    assert turns(row) == [*EXCHANGE, ("a", "You?")]


def test_none_is_an_answer_in_a_talk_and_nothing_in_a_cell() -> None:
    kind = shaper("messages")
    asked = [
        {"role": "assistant", "content": "Any allergies?"},
        {"role": "user", "content": "None"},
        {"role": "assistant", "content": "nan"},
    ]
    rows, _ = convert(kind, {"messages": asked})
    assert turns(rows[0]) == [("a", "Any allergies?"), ("u", "None"), ("a", "")]


def test_a_place_within_a_list_is_named() -> None:
    kind = shaper(
        "prompt_response", columns={"prompt": "question", "response": "answers.answer_text"}
    )
    row = {"question": "Why?", "answers": [{"answer_text": "So."}, {"answer_text": "Or so."}]}
    _, ledger = convert(kind, row)
    assert reasons(ledger) == [
        "column 'answers' is a list of 2: 'answers.answer_text' names none of them"
    ]


def test_keys_of_a_turn_may_lie_further_in() -> None:
    kind = shaper(
        "turns",
        columns={"turns": "chat.turns"},
        turns={"role_key": "who", "content_key": "say.text"},
        roles={"user": ["patient"], "assistant": ["nurse"]},
    )
    said = [
        {"who": "patient", "say": {"text": "Hello?"}},
        {"who": "nurse", "say": {"text": "Hi."}},
    ]
    rows, _ = convert(kind, {"chat": {"turns": said}})
    assert turns(rows[0]) == EXCHANGE


def test_what_stands_before_the_first_marker_is_shown() -> None:
    kind = shaper("text", columns={"text": "t"}, markers={"Q:": "user", "A:": "assistant"})
    _, ledger = convert(kind, {"t": "Dialogue\nQ: Hello? A: Hi."})
    assert reasons(ledger) == ["text before the first role marker ('Dialogue')"]


def test_a_speaker_who_is_no_marker_is_told() -> None:
    kind = shaper("text", columns={"text": "t"}, markers={"Q:": "user", "A:": "assistant"})
    said = {"t": "Q: Hello?\nA: Hi.\nGuest_family: She is my aunt.\nA: I see: good."}
    assert kind.unmarked([said] * 3) == {"Guest_family:": 3}
    assert kind.unmarked([said]) == {}


def test_what_reddit_puts_in_place_of_a_text_is_empty() -> None:
    kind = shaper("prompt_response", columns={"prompt": "q", "response": "a"})
    rows, _ = convert(kind, {"q": "Hello?", "a": "[deleted]"}, {"q": "[removed]", "a": "Hi."})
    assert [turns(row) for row in rows] == [[("u", "Hello?"), ("a", "")], [("u", ""), ("a", "Hi.")]]


def test_keys_of_a_tree_that_are_read_are_used() -> None:
    kind = shaper(
        "tree",
        columns={"parent": "parent_id", "message": "id", "conversation": "link_id"},
        turns={"content_key": "body", "role_key": "author", "roles_by": "appearance"},
    )
    assert {"body", "author", "id"} <= used(kind.definition)
