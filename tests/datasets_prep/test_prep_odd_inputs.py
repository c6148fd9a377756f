"""Inputs that were falsified or lost without a word, one of each kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from prep_data import all_rows, answer_after, definition, jsonl, questions, read, talk

from datasets_prep.cells import parsed
from datasets_prep.column_use import Watch
from datasets_prep.definition import Definition, load_definition
from datasets_prep.pipeline import prepare
from recipes.runner.core.errors import UserError

TABLE = "Name      Dose     Freq\nAspirin   100 mg   1x\nLasix      40 mg   2x"


def load(folder: Path, **keys: Any) -> Definition:
    return load_definition(definition(folder, **keys))[0]


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (f"{TABLE}\n\nTake them with food.", f"{TABLE}\n\nTake them with food."),
        (f"Read https://example.com/x first. {TABLE}", TABLE),
        ("| a | b |\n|---|---|\n| x<br>y | <b>z</b> |", "| a | b |\n|---|---|\n| x<br>y | z |"),
        (
            "Run `pip i x`, then\n\n    $ git clone https://github.com/a/b.git\n    $ cd b\n\nSo.",
            "Run `pip i x`, then\n\n    $ git clone https://github.com/a/b.git\n    $ cd b\n\nSo.",
        ),
        (
            "See https://example.com/x now. Then use this one:\n```cs\nSystem.Out.Write(1);\n```",
            "Then use this one:\n```cs\nSystem.Out.Write(1);\n```",
        ),
        ("I would use ASP.NET for the site.", "I would use ASP.NET for the site."),
    ],
)
def test_form_of_an_answer(tmp_path: Path, answer: str, kept: str) -> None:
    row = talk("What should I use, and how often, please?", answer)
    assert answer_after(load(tmp_path), row) == kept


def test_signature_takes_its_closing_word(tmp_path: Path) -> None:
    row = talk("How can I sleep?", "Go to bed at ten.\n\nBest,\nDr. Anna Kowalska, LMFT")
    assert answer_after(load(tmp_path), row) == "Go to bed at ten."


def test_german_nouns_are_no_names(tmp_path: Path) -> None:
    german = load(tmp_path, steps={"filter": {"language": {"keep": "de"}}})
    answer = "Gehen Sie jeden Abend ins Bett."
    row = talk("Was kann ich tun?", f"{answer} Try to relax before you go to sleep.")
    assert answer_after(german, row) == answer


@pytest.mark.parametrize(
    ("column", "values", "named"),
    [
        ("weight", ["1", "0"], "column 'weight' is 0"),
        ("weight", [1, 0.0], "column 'weight' is 0"),
        ("label", ["True", "False"], "column 'label' says"),
        ("label", ["1", "0"], "column 'label' says"),
        ("tool_calls", [[{"function": {"name": "f"}}]], "calls of tools"),
    ],
)
def test_columns_that_mean_something(
    tmp_path: Path, column: str, values: list[Any], named: str
) -> None:
    rows = [{"q": "Why?", "a": "So.", column: value} for value in values]
    with pytest.raises(UserError, match=named):
        Watch(rows, load(tmp_path), "rows.csv")


def test_columns_that_mean_something_further_on(tmp_path: Path) -> None:
    first = [{"q": "Why?", "a": "So."}]
    watch = Watch(first, load(tmp_path), "rows")
    for row in ({"weight": 1}, {"label": 3}, {"rejected": None}, {"q": "Why?"}):
        watch.see(row)
    for row in ({"weight": 0}, {"label": False}, {"rejected": "No."}):
        with pytest.raises(UserError):
            watch.see(row)
    classes = Watch([{"label": 3}], load(tmp_path), "rows")
    classes.see({"label": 1})


def test_text_of_an_array_keeps_its_turns_apart() -> None:
    assert parsed("['Hi , Jim .'\n \" What's up ?\" ' I am \"well\" .']") == [
        "Hi , Jim .",
        " What's up ?",
        ' I am "well" .',
    ]
    assert parsed("[{'role': 'user'}\n {'role': 'bot'}]") == [{"role": "user"}, {"role": "bot"}]
    assert parsed("['a', 'b']") == ["a", "b"]


def prepared(folder: Path, body: dict[str, Any], rows: list[Any], name: str) -> Path:
    if name.endswith(".jsonl"):
        jsonl(folder / name, rows)
    else:
        (folder / name).write_text(json.dumps(rows), encoding="utf-8")
    whole = {"split": {"validation": 0, "test": 0}, **body}
    (folder / "d.yaml").write_text(yaml.safe_dump({"source": {"file": name}, **whole}))
    return prepare(folder / "d.yaml", out=folder / "out", workers=1)


def test_parts_pairs_and_patterns(tmp_path: Path) -> None:
    """Content parts in a column, pairs of one chosen answer, patterns of one intent."""
    parts = [{"type": "text", "text": "One of them."}, {"type": "text", "text": "Two of them."}]
    rows = [{"q": "What is it now?", "a": parts}, {"q": "And then?", "a": json.dumps(parts)}]
    rows[1]["a"] = json.dumps([*parts, {"type": "text", "text": "Three of them."}])
    body = {"shape": "prompt_response", "columns": {"prompt": "q", "response": "a"}}
    out = prepared(tmp_path, body, rows, "rows.jsonl")
    assert [row["messages"][1]["content"] for row in all_rows(out)] == [
        "One of them.\nTwo of them.",
        "One of them.\nTwo of them.\nThree of them.",
    ]

    answers = [row["a"] for row in questions(3)]
    pairs = [{"prompt": "Why is it?", "chosen": answers[0], "rejected": a} for a in answers[1:]]
    columns = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
    out = prepared(tmp_path, {"shape": "preference", "columns": columns}, pairs, "pairs.jsonl")
    assert len(all_rows(out)) == 2

    asked = ["I feel lonely", "Nobody likes me", "I am so alone"]
    intent = {"patterns": asked, "responses": ["I am sorry to hear that, and I am here for you."]}
    columns = {"patterns": "patterns", "responses": "responses"}
    out = prepared(tmp_path, {"shape": "intents", "columns": columns}, [intent], "intents.json")
    assert [row["messages"][0]["content"] for row in all_rows(out)] == asked


def test_telegram_with_a_picture(tmp_path: Path) -> None:
    said = [("Ana", "Can you help?"), ("Ben", "Yes."), ("Ana", ""), ("Ana", "How?"), ("Ben", "So.")]
    rows = [{"id": n, "from": who, "text": text} for n, (who, text) in enumerate(said)]
    rows[2]["file"] = "photo.jpg"
    columns = {"conversation": "file", "text": "text", "speaker": "from", "order": "id"}
    body = {"shape": "turn_rows", "columns": columns, "turns": {"roles_by": "appearance"}}
    out = prepared(tmp_path, body, rows, "rows.jsonl")
    [row] = all_rows(out)
    assert [m["content"] for m in row["messages"]] == ["Can you help?", "Yes.", "How?", "So."]
    assert not [line for line in read(out / "ledger.jsonl") if line["action"] == "dropped"]


@pytest.mark.parametrize("condition", ["words(a) > 5 and ok == true", "a > 1 or b < 2"])
def test_two_conditions_in_one(tmp_path: Path, condition: str) -> None:
    with pytest.raises(UserError, match="two conditions"):
        load(tmp_path, where=condition)


def test_card_and_preview_of_several_sources(tmp_path: Path) -> None:
    """A source without a step is counted in it; a preview shows rows that meet the conditions."""
    rows = questions(40)
    jsonl(tmp_path / "a.jsonl", rows[:20])
    jsonl(tmp_path / "b.jsonl", rows[20:])
    part = {"shape": "prompt_response", "columns": {"prompt": "q", "response": "a"}}
    sources = [
        {"name": "a", "source": {"file": "a.jsonl"}, **part, "where": "topic == panic"},
        {"name": "b", "source": {"file": "b.jsonl"}, **part, "steps": {"anonymise": False}},
    ]
    file = tmp_path / "d.yaml"
    file.write_text(yaml.safe_dump({"name": "two", "sources": sources}), encoding="utf-8")
    card = (prepare(file, out=tmp_path / "out", workers=1) / "card.md").read_text(encoding="utf-8")
    lines = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in card.splitlines()}
    assert lines["anonymise"][4:6] == lines["clean"][4:6] == ["24", "48"]
    out = prepare(file, out=tmp_path / "preview", workers=1, limit=3)
    assert len(all_rows(out)) == 6


def test_spanish_goes_where_the_lines_are_lost(tmp_path: Path) -> None:
    english = "It is good to   talk with   your mother about it."
    spanish = "Es bueno que hables con tu madre sobre   tus problemas y   tus miedos de cada día."
    row = talk("How do I tell my mother?", f"{english} {spanish} {spanish.replace('madre', 'tía')}")
    answer = answer_after(load(tmp_path), row)
    assert "good to" in answer
    assert "madre" not in answer


@pytest.mark.parametrize(
    "closing", ["Hope that helps,\nAllison", "Good luck! Warmly,Angela Topcu, MFT"]
)
def test_closings_are_not_signed(tmp_path: Path, closing: str) -> None:
    row = talk(
        "How can I sleep?", f"Go to bed at ten. {closing}", authors=("Angela Topcu", "Allison")
    )
    answer = answer_after(load(tmp_path), row)
    assert answer.startswith("Go to bed at ten.")
    assert "NAME" not in answer
    assert "Warmly" not in answer


def test_who_said_a_quotation_stays(tmp_path: Path) -> None:
    answer = 'As she put it: "Nobody can make you feel small." - Eleanor Roosevelt'
    row = talk("How can I feel better about myself?", answer)
    assert answer_after(load(tmp_path), row) == answer


def test_history_that_says_nothing(tmp_path: Path) -> None:
    rows = [
        {"q": f"Why {n}?", "a": f"So {n}.", "h": h} for n, h in enumerate(["None", "", [], None])
    ]
    columns = {"prompt": "q", "response": "a", "history": "h"}
    out = prepared(tmp_path, {"shape": "prompt_response", "columns": columns}, rows, "rows.jsonl")
    assert [len(row["messages"]) for row in all_rows(out)] == [2, 2, 2, 2]


def test_lines_read_as_one_json_name_the_cure(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.json", questions(3))
    file = definition(tmp_path, source={"file": "rows.json", "format": "json"})
    with pytest.raises(UserError, match="format: jsonl"):
        prepare(file, out=tmp_path / "out", workers=1)
