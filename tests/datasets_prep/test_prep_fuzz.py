"""Arbitrary texts and structures through every step: no crash, and no row lost without a line."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prep_data import all_rows, read, talk

import datasets_prep
from datasets_prep.anonymise import Anonymiser
from datasets_prep.clean import Cleaner
from datasets_prep.conversation import Ledger
from datasets_prep.definition import Definition
from datasets_prep.filters import Filter
from datasets_prep.roles import UnknownRole
from datasets_prep.sentences import sentences
from datasets_prep.settings import AnonymiseSettings, CleanSettings, FilterSettings
from datasets_prep.signatures import normalise
from datasets_prep.worker import RowSteps
from recipes.runner.core.errors import UserError

# Pieces that the steps look for, so that a random text meets their rules.
_PIECES = st.sampled_from(
    [
        "<b>",
        "</p>",
        "&amp;nbsp;",
        "<script>",
        "http://",
        "www.a.org",
        "@",
        "a@b.org",
        "988",
        "415-555-0132",
        "+44 20 7946 0958",
        ".",
        "?",
        "!I",
        "with.Seriously",
        "\u00a0",
        "\r\n",
        "\u200b",
        "Dr. ",
        "Maria",
        " - Jane",
        ", LCSW",
        "[NAME_1]",
        "[URL]",
        "¿Qué?",
        "call my office",
        "kys",
        "1428 Elm Street",
        "(",
        ")",
        '"',
        "\U0001f600",
        "Hi [NAME_1], ",
        "\ud800",
        "P.O. Box 7",
    ]
)
TEXT = st.lists(_PIECES | st.text(max_size=12), max_size=8).map("".join)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
_TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "human", "GPT "]), "content": _JSON}
)
SETTINGS = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
_anonymise, _filter = Anonymiser(AnonymiseSettings()), Filter(FilterSettings())


@given(TEXT, TEXT)
@SETTINGS
def test_each_step_takes_any_text(question: str, answer: str) -> None:
    question, answer = (t.encode("utf-8", "replace").decode() for t in (question, answer))
    row, ledger = talk(question, answer), Ledger("all")
    Cleaner(CleanSettings())(row, ledger)
    _anonymise(row, ledger)
    kept = _filter(row, ledger)
    assert kept != any(line["action"] == "dropped" for line in ledger.lines)
    for line in ledger.lines:
        json.dumps(line).encode()
        assert line["reason"] and all(s["before"] != s["after"] for s in line["spans"])


_REPEATED = (
    "<script>",
    "<a ",
    "&amp;",
    "A.",
    "[NAME_1] A.B.",
    ".",
    '."',
    " ",
    " \n",
    "Maria ",
    "a-",
    "a@",
    "www.",
    "http://",
    "1-",
    "(",
    "[URL] ",
    "[NAME_1], ",
    "Hi [NAME_1] ",
    "my friend ",
    "Dr. ",
    "LCSW, ",
    "a'",
    "12 Ab ",
    "<!-- ",
    "415-555-01 ",
    "+1 ",
    "Best, ",
    "call me or ",
    "?!",
)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", _REPEATED)
def test_no_pattern_takes_ages_on_repeated_text(piece: str) -> None:
    """A pattern that backtracks without end would run into the time limit."""
    text = (piece * 5000)[:5000] + " x"
    row, ledger = talk("How is it?", text), Ledger("all")
    Cleaner(CleanSettings())(row, ledger)
    _anonymise(row, ledger)
    _filter(row, ledger)
    row = talk("How is it?", text)
    Filter(FilterSettings(language=False))(row, ledger)


@given(TEXT)
@SETTINGS
def test_sentences_cover_any_text(text: str) -> None:
    spans = sentences(text)
    assert "".join(text[a:b] for a, b in spans) == text
    assert all(a < b for a, b in spans)


@given(TEXT)
@SETTINGS
def test_masking_keeps_the_text_around(text: str) -> None:
    """Undoing every span gives the text from before."""
    text = text.encode("utf-8", "replace").decode()
    row, ledger = talk(text), Ledger("anonymise")
    _anonymise(row, ledger)
    undone = row.messages[0].content
    spans = sorted((s for line in ledger.lines for s in line["spans"]), key=lambda s: s["start"])
    for span in spans:
        at = span["start"]
        assert undone[at:].startswith(span["after"])
        undone = undone[:at] + span["before"] + undone[at + len(span["after"]) :]
    assert undone == text


def steps_for(shape: str, **keys: Any) -> RowSteps:
    body = {"name": "small", "source": {"file": "x.jsonl"}, "shape": shape, **keys}
    return RowSteps(Definition.model_validate(body), "x.jsonl")


_messages = steps_for("messages")
_sharegpt = steps_for("sharegpt")
_turns = steps_for("turns", columns={"turns": "conversations"})
_text = steps_for("text")


@given(st.lists(_JSON | st.lists(_TURN, max_size=5), max_size=4))
@SETTINGS
def test_any_structure_is_a_row_or_a_line(cells: list[Any]) -> None:
    units = [
        (number, {"messages": cell, "conversations": cell, "text": cell})
        for number, cell in enumerate(cells, 1)
    ]
    for steps in (_messages, _sharegpt, _turns, _text):
        try:
            batch = steps(units)
        except UnknownRole:
            continue
        dropped = [line["id"] for line in batch.ledger if line["action"] == "dropped"]
        kept = [json.loads(line)["id"] for line in batch.block.lines]
        assert sorted(dropped + kept) == [f"small-{n:06d}" for n, _ in units]


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_whole_way_loses_no_row(rows: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [json.dumps({"q": q, "a": a}) + "\n" for q, a in rows]
        (folder / "rows.jsonl").write_text("".join(lines))
        (folder / "small.yaml").write_text(
            "name: small\nsource: {file: rows.jsonl}\nshape: prompt_response\n"
            "columns: {prompt: q, response: a}\nsplit: {validation: 0.2, test: 0.2}\n"
        )
        out = folder / "out"
        try:
            datasets_prep.prepare(folder / "small.yaml", out=out, workers=1)
        except UserError as error:
            assert "no usable row" in str(error) and not out.exists()
            return
        made = all_rows(out)
        dropped = [x["id"] for x in read(out / "ledger.jsonl") if x["action"] == "dropped"]
        expected = [f"small-{n:06d}" for n in range(1, len(rows) + 1)]
        assert sorted([*dropped, *(row["id"] for row in made)]) == expected
        sides: dict[str, set[str]] = {}
        for split in ("train", "validation", "test"):
            for row in read(out / f"{split}.jsonl"):
                sides.setdefault(normalise(row["messages"][0]["content"]), set()).add(split)
        assert all(len(splits) == 1 for splits in sides.values())
