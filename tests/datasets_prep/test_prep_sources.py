# ruff: noqa: E501
"""Several sources in one set, kinds of rows, and rows that no prompt of the evaluation is near."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from prep_data import all_rows, definition, jsonl, questions, read, rows_of

import datasets_prep
from datasets_prep.contamination import Prompts, nearest_rows
from datasets_prep.definition import Definition
from datasets_prep.suites import Prompt
from datasets_prep.where import parse_condition
from recipes.runner.core.errors import UserError

PAIR = {"shape": "prompt_response", "columns": {"prompt": "q", "response": "a"}}


def made(folder: Path, body: dict[str, Any], **keys: Any) -> Path:
    path = folder / "set.yaml"
    path.write_text(yaml.safe_dump({"name": "set", **body}), encoding="utf-8")
    return datasets_prep.prepare(path, out=folder / "out", workers=1, **keys)


def one(folder: Path, rows: list[Any], shape: str, **keys: Any) -> list[dict[str, Any]]:
    """The rows that one source of a shape becomes, with everything in train."""
    jsonl(folder / "rows.jsonl", rows)
    split = {"validation": 0, "test": 0}
    body = {"source": {"file": "rows.jsonl"}, "shape": shape, "split": split, **keys}
    return sorted(all_rows(made(folder, body)), key=lambda row: row["id"])


def texts(row: dict[str, Any], key: str = "messages") -> list[str]:
    return [turn["content"] for turn in row[key]]


def test_sources_are_mixed_and_none_leaks_into_another(tmp_path: Path) -> None:
    rows = questions(60)
    for row in rows:
        row["keep"] = "yes" if row["topic"] != "work" else "no"
    jsonl(tmp_path / "a.jsonl", rows[:40])
    # The second source asks what the first one asks, in nearly the same words.
    again = [{"q": r["q"] + " Please?", "a": " ".join(r["a"].split()[::-1])} for r in rows[:20]]
    jsonl(tmp_path / "b.jsonl", again + questions(80)[60:])
    jsonl(tmp_path / "r.jsonl", [{"q": f"Count to {n}, would you?", "a": f"I count {n} now."}
                                 for n in range(30, 90)])  # fmt: skip
    out = made(
        tmp_path,
        {
            "sources": [
                {"name": "a", "source": {"file": "a.jsonl"}, "where": "keep == yes",
                 "model_written": False, **PAIR},
                {"name": "b", "source": {"file": "b.jsonl"}, "limit": 25, "weight": 2, **PAIR},
            ],
            "replay": {"source": {"file": "r.jsonl"}, "share": 0.1, "model_written": True, **PAIR},
            "split": {"validation": 0.2, "test": 0.2},
        },
    )  # fmt: skip
    rows_by_part: dict[str, set[str]] = {}
    splits: dict[str, set[str]] = {}
    for split, found in rows_of(out).items():
        for row in found:
            rows_by_part.setdefault(row["part"], set()).add(row["source"])
            opening = row["messages"][0]["content"].removesuffix(" Please?")
            splits.setdefault(opening, set()).add(split)
            assert row.get("by_model") == {"a": False, "b": None, "replay": True}[row["part"]]
    assert all(len(found) == 1 for found in splits.values()), "a question in two splits"
    assert len(rows_by_part["a"]) == 32 and len(rows_by_part["b"]) == 25
    assert len(rows_by_part["replay"]) == round(0.1 / 0.9 * 57)
    train = [row["id"] for row in rows_of(out)["train"] if row["part"] == "b"]
    assert len(train) == 2 * len({name.removesuffix(".x2") for name in train})
    reasons = {line["reason"] for line in read(out / "ledger.jsonl")}
    assert {"not 'keep == yes'", "over the limit of 25", "over the share of 0.1"} <= reasons
    card = (out / "card.md").read_text()
    assert "## Sources" in card and "| replay | 60 |" in card


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source": {"file": "a.jsonl"}}, "either source and shape, or sources"),
        ({"sources": [{"name": "a", "source": {"file": "x"}}]}, "source 'a' has no shape"),
        ({"where": "nonsense"}, "is no condition"),
        ({"where": ["q == &a [*a]"]}, "can't be read: refers to what it stands in"),
        (
            {"where": ["q == 2020-99-99", "nonsense"]},
            "can't be read: .*; 'nonsense' is no condition",
        ),
        ({"where": "size(q) > 2"}, "'size' is unknown"),
    ],
)
def test_a_faulty_mix_is_one_line(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    part = {"name": "a", "source": {"file": "a.jsonl"}, **PAIR}
    with pytest.raises(UserError, match=said):
        made(tmp_path, {"sources": [part], **change})


@pytest.mark.parametrize(
    ("condition", "row", "holds"),
    [
        ("label == true", {"label": True}, True),
        ("label == true", {"label": "True"}, True),
        ("label == true", {"label": 0}, False),
        ("score >= 3", {"score": "3.5"}, True),
        ("score > 3", {"score": None}, False),
        ("lang in [en, de]", {"lang": "de"}, True),
        ("lang not in [en, de]", {"lang": "fr"}, True),
        ("words(q) > 3", {"q": "only three words"}, False),
        ("language(q) == de", {"q": "Ich kann heute leider nicht kommen."}, True),
        ("meta.kind != spam", {"meta": {"kind": "spam"}}, False),
        ("tags contains safe", {"tags": ["safe", "short"]}, True),
        ("q matches ^How", {"q": "How is it?"}, True),
    ],
)
def test_conditions(condition: str, row: dict[str, Any], holds: bool) -> None:
    assert parse_condition(condition).holds(row) is holds


def test_a_preview_reads_the_first_rows_alone(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", questions(60))
    out = datasets_prep.prepare(definition(tmp_path), out=tmp_path / "o", workers=1, limit=20)
    assert len(all_rows(out)) == 20


def test_a_folder_a_pattern_and_packed_files_are_one_source(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    rows = questions(20)
    jsonl(folder / "a.jsonl", rows[:10])
    packed = "".join(json.dumps(row) + "\n" for row in rows[10:]).encode()
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(packed))
    for file in ("many", "many/*.jsonl*"):
        out = datasets_prep.prepare(
            definition(tmp_path, source={"file": file}), out=tmp_path / "o", workers=1
        )
        found = {row["source"] for row in all_rows(out)}
        assert len(found) == 20 and {"a.jsonl#1", "b.jsonl.gz#10"} <= found


def test_tables_without_a_header_and_texts_by_blank_lines(tmp_path: Path) -> None:
    lines = [f'"{r["q"]}","{r["a"]}"' for r in questions(12)]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    columns = {"prompt": "column_1", "response": "column_2"}
    source = {"file": "rows.csv", "header": False}
    path = definition(tmp_path, source=source, columns=columns)
    assert len(all_rows(datasets_prep.prepare(path, out=tmp_path / "o", workers=1))) == 12
    blocks = [f"<HUMAN>: {r['q']}\n<ASSISTANT>: {r['a']}" for r in questions(12)]
    (tmp_path / "rows.txt").write_text("\n\n".join(blocks))
    path = definition(tmp_path, source={"file": "rows.txt"}, shape="text", columns={})
    assert len(all_rows(datasets_prep.prepare(path, out=tmp_path / "o2", workers=1))) == 12


ASKED = "How do I tell my brother the news?"
GOOD, BAD = "Tell him soon, and in person if you can.", "No idea, ask somebody else about it."


@pytest.mark.parametrize(
    ("row", "keys"),
    [
        ({"prompt": ASKED, "chosen": GOOD, "rejected": BAD}, {"columns": {"prompt": "prompt"}}),
        (
            {
                "chosen": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": GOOD}],
                "rejected": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": BAD}],
            },
            {},
        ),
        (
            {
                "chosen": f"\n\nHuman: {ASKED}\n\nAssistant: {GOOD}",
                "rejected": f"\n\nHuman: {ASKED}\n\nAssistant: {BAD}",
            },
            {},
        ),
        (
            {
                "conversations": [{"from": "human", "value": ASKED}],
                "chosen": {"from": "gpt", "value": GOOD},
                "rejected": {"from": "gpt", "value": BAD},
            },
            {"columns": {"conversations": "conversations"}},
        ),
    ],
)  # fmt: skip
def test_preferences(tmp_path: Path, row: dict[str, Any], keys: dict[str, Any]) -> None:
    (found,) = one(tmp_path, [row], "preference", **keys)
    assert texts(found) == [ASKED]
    assert found["chosen"] == {"role": "assistant", "content": GOOD}
    assert found["rejected"] == {"role": "assistant", "content": BAD}


def test_kto_keeps_what_it_turns_down(tmp_path: Path) -> None:
    rows = [{"prompt": ASKED, "completion": GOOD, "label": True},
            {"prompt": "What do I say to him?", "completion": "You should die.", "label": "false"}]  # fmt: skip
    found = one(tmp_path, rows, "kto", columns={"prompt": "prompt"})
    assert [row["label"] for row in found] == [True, False]
    assert texts(found[0], "completion") == [ASKED, GOOD]


def test_trees_histories_and_reasoning(tmp_path: Path) -> None:
    flat = [
        {"message_id": "1", "parent_id": None, "message_tree_id": "t", "role": "prompter", "text": ASKED},
        {"message_id": "2", "parent_id": "1", "message_tree_id": "t", "role": "assistant", "text": BAD, "rank": 1},
        {"message_id": "3", "parent_id": "1", "message_tree_id": "t", "role": "assistant", "text": GOOD, "rank": 0},
    ]  # fmt: skip
    (best,) = one(tmp_path, flat, "tree", columns={"parent": "parent_id"})
    assert texts(best) == [ASKED, GOOD]
    nested = {"prompt": {"role": "prompter", "text": ASKED, "replies": [
        {"role": "assistant", "text": GOOD, "replies": []},
        {"role": "assistant", "text": BAD, "replies": []}]}}  # fmt: skip
    both = one(tmp_path, [nested], "tree", turns={"paths": "all"})
    assert [texts(row)[1] for row in both] == [GOOD, BAD]
    history = {
        "history": ["Hello there, you.", "Hi, how are you?", ASKED],
        "candidates": [BAD, GOOD],
    }
    columns = {"history": "history", "candidates": "candidates"}
    (talk,) = one(tmp_path, [history], "history", columns=columns)
    assert texts(talk) == [*history["history"], GOOD]
    alpaca = {
        "instruction": ASKED,
        "input": "",
        "output": GOOD,
        "history": [["Hello there.", "Hi you."]],
    }
    (row,) = one(
        tmp_path, [alpaca], "alpaca", columns={"history": "history"}, system_prompt="Be kind."
    )
    assert texts(row) == ["Be kind.", "Hello there.", "Hi you.", ASKED, GOOD]
    thought = [{"role": "user", "content": ASKED},
               {"role": "assistant", "content": GOOD, "reasoning_content": "He is close."}]  # fmt: skip
    (row,) = one(tmp_path, [{"messages": thought}], "messages")
    assert texts(row)[1] == f"<think>\nHe is close.\n</think>\n\n{GOOD}"


def test_tools_are_kept_in_openais_form_from_both_styles(tmp_path: Path) -> None:
    call = {"name": "forecast", "arguments": {"day": 1}}
    sharegpt = {
        "conversations": [
            {"from": "human", "value": "Will it rain there tomorrow, do you think?"},
            {"from": "function_call", "value": json.dumps(call)},
            {"from": "observation", "value": '{"rain_mm": 3}'},
            {"from": "gpt", "value": "Yes, about three millimetres."},
        ],
        "tools": json.dumps([{"name": "forecast", "parameters": {}}]),
    }
    (row,) = one(tmp_path, [sharegpt], "sharegpt", tools="keep")
    roles = [turn["role"] for turn in row["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant"]
    function = row["messages"][1]["tool_calls"][0]["function"]
    assert function == {"name": "forecast", "arguments": '{"day": 1}'}
    assert row["tools"] == [
        {"type": "function", "function": {"name": "forecast", "parameters": "{}"}}
    ], "parameters differ by tool: as text they have one type"


def test_replay_by_name_is_our_own_general_set(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", questions(100))
    sources = [{"name": "a", "source": {"file": "a.jsonl"}, "model_written": False, **PAIR}]
    out = made(tmp_path, {"sources": sources, "replay": "general"})
    replayed = [row for row in all_rows(out) if row["part"] == "replay"]
    assert len(replayed) == 25 and all(row["by_model"] for row in replayed), "a fifth of all rows"
    assert json.loads((out / "manifest.json").read_text())["counts"]["read"] >= 100 + 150
    with pytest.raises(UserError, match="no definition 'generall'"):
        made(tmp_path, {"sources": sources, "replay": "generall"})


def test_a_data_set_is_of_one_kind() -> None:
    parts = [{"name": "a", "source": {"file": "a"}, "shape": "kto"},
             {"name": "b", "source": {"file": "b"}, **PAIR}]  # fmt: skip
    with pytest.raises(ValueError, match="of one kind, not of chat and kto"):
        Definition.model_validate({"name": "x", "sources": parts})


def test_rows_near_a_prompt_are_dropped_and_named() -> None:
    asked = "My brother took the car again and I have to walk nine miles to work every morning now"
    prompts = Prompts([Prompt("s/one", asked), Prompt("s/two", "hey")], 8, 0.5)

    def near(question: str, answer: str = "It sounds tiring.") -> str | None:
        return prompts.near({"messages": [{"role": "user", "content": question},
                                          {"role": "assistant", "content": answer}]})  # fmt: skip

    assert near(asked.upper() + "!") == "a prompt of the suite: 's/one'"
    assert "Jaccard" in str(
        near("My brother took the car again, so I have to walk nine miles to work")
    )
    assert "8 words in a row" in str(near("So: I have to walk nine miles to work every Monday."))
    assert near("Hey!") and near("hey you, I slept badly") is None
    assert near("My sister took the bus and I was late for lunch with her friends") is None
    answer = "It usually passes within ten minutes, and it does no harm."
    known = Prompts([], 8, 0.5, {answer: "s/three"})
    row = {"messages": [{"role": "user", "content": "Well?"}],
           "chosen": {"role": "assistant", "content": answer.lower() + " "}}  # fmt: skip
    assert known.near(row) == "the answer of the suite to 's/three'"
    assert (
        known.near(row | {"rejected": row["chosen"], "chosen": {**row["chosen"], "content": "No"}})
        is None
    )


def test_suites_of_this_repository_are_held_against_the_rows(tmp_path: Path) -> None:
    rows = questions(30)
    rows[3]["q"] = "hey"
    jsonl(tmp_path / "rows.jsonl", rows)
    out = datasets_prep.prepare(definition(tmp_path), out=tmp_path / "o", workers=1)
    dropped = [x for x in read(out / "ledger.jsonl") if x["step"] == "contamination"]
    assert [x["id"] for x in dropped] == ["small-000004"]
    (near,) = nearest_rows([rows[5]["q"]], out / "train.jsonl") or [None]
    assert near is None or near.similarity > 0


def test_edited_chinese_copies_are_found_and_stay_in_one_split(tmp_path: Path) -> None:
    generator = random.Random(5)
    signs = [chr(code) for code in range(0x4E00, 0x4E00 + 900)]
    rows = []
    for _ in range(60):
        asked, answer = ("".join(generator.choices(signs, k=n)) for n in (24, 60))
        rows.append({"q": asked + "?", "a": answer + "。"})
        at = generator.randrange(4, 56)
        rows.append(
            {"q": asked[:10] + "的" + asked[11:], "a": answer[:at] + "了" + answer[at + 1 :]}
        )
    jsonl(tmp_path / "rows.jsonl", rows)
    steps = {"filter": {"language": False}}
    split = {"validation": 0.2, "test": 0.2}
    out = datasets_prep.prepare(
        definition(tmp_path, steps=steps, split=split), out=tmp_path / "o", workers=1
    )
    assert len(all_rows(out)) <= 62, "edited copies of an answer stay"
    steps["dedupe"] = False  # type: ignore[assignment]
    out = datasets_prep.prepare(
        definition(tmp_path, steps=steps, split=split), out=tmp_path / "o2", workers=1
    )
    where = {row["id"]: name for name, found in rows_of(out).items() for row in found}
    ids = [f"small-{n:06d}" for n in range(1, 121)]
    apart = [a for a, b in zip(ids[::2], ids[1::2], strict=True) if where[a] != where[b]]
    assert len(where) == 120 and apart == []
