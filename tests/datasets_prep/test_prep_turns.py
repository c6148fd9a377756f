"""Turns: alternation, merging, and turns that nobody asked for or answered."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prep_data import reasons, talk

from datasets_prep.conversation import Conversation, Ledger, Message
from datasets_prep.definition import Turns
from datasets_prep.turns import alternate
from recipes.runner.core.errors import UserError


def conversation(*turns: tuple[str, str]) -> Conversation:
    return Conversation("row-1", "x#1", [Message(role, text) for role, text in turns])


def roles(row: Conversation) -> str:
    return "".join(m.role[0] for m in row.messages)


def test_runs_of_one_role_are_merged() -> None:
    row, ledger = conversation(("user", "a"), ("user", "b"), ("assistant", "c")), Ledger("turns")
    assert alternate(row, Turns(), ledger)
    assert [m.content for m in row.messages] == ["a\n\nb", "c"]
    assert reasons(ledger) == ["turns of the same role merged"]


@pytest.mark.parametrize(("rule", "kept"), [("drop_turn", True), ("drop_row", False)])
def test_leading_assistant_and_trailing_user(rule: str, kept: bool) -> None:
    settings_ = Turns.model_validate({"leading_assistant": rule, "trailing_user": rule})
    for row in (talk("hi", "q", "a", first="assistant"), talk("q", "a", "thanks")):
        ledger = Ledger("turns")
        assert alternate(row, settings_, ledger) is kept
        assert len(ledger.lines) == 1
        assert not kept or roles(row) == "ua"


def test_fail_names_the_row() -> None:
    with pytest.raises(UserError, match="row-1"):
        alternate(talk("q", "a", "more"), Turns(trailing_user="fail"), Ledger("turns"))


def test_system_goes_first() -> None:
    row = conversation(("user", "a"), ("system", "s"), ("assistant", "c"))
    assert alternate(row, Turns(), Ledger("turns")) and roles(row) == "sua"


@pytest.mark.parametrize("turns", [[], [("user", "a")], [("assistant", "b")], [("system", "s")]])
def test_no_exchange_is_a_drop(turns: list[tuple[str, str]]) -> None:
    row, ledger = conversation(*turns), Ledger("turns")
    assert not alternate(row, Turns(), ledger)
    assert [line["action"] for line in ledger.lines] == ["dropped"]


_ROLE = st.sampled_from(["system", "user", "assistant"])
_RULE = st.sampled_from(["drop_turn", "drop_row"])


@example([("user", ""), ("assistant", " ")], "drop_turn", "drop_turn")
@given(st.lists(st.tuples(_ROLE, st.text(max_size=8)), max_size=8), _RULE, _RULE)
@settings(max_examples=200, deadline=None)
def test_whatever_is_kept_alternates(
    turns: list[tuple[str, str]], leading: str, trailing: str
) -> None:
    row, ledger = conversation(*turns), Ledger("turns")
    rules = Turns.model_validate({"leading_assistant": leading, "trailing_user": trailing})
    kept = alternate(row, rules, ledger)
    dropped = [line for line in ledger.lines if line["action"] == "dropped"]
    assert len(dropped) == (not kept)
    if kept:
        body = [m.role for m in row.messages if m.role != "system"]
        assert body and body == ["user", "assistant"] * (len(body) // 2)
        assert all(m.content.strip() for m in row.messages)
