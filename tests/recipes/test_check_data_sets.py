"""Entries of `datasets` against the rows that are there: kinds, files, splits, shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from recipes.runner.check.keys import Report, inspect_recipe
from recipes.runner.core import local_data, made_data
from recipes.runner.core.quiet import quiet
from recipes.runner.core.yaml_file import YamlFile

ROWS: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
    "alpaca": {"instruction": "a", "input": "", "output": "b"},
    "intel": {"system": "", "question": "a", "chosen": "b", "rejected": "c"},
    "argilla": {"chosen": [{"role": "user", "content": "a"}], "rejected": []},
    "pairs": {"messages": [], "chosen": {"role": "assistant"}, "rejected": {}},
    "human": {"messages": [{"role": "asker", "content": "a"}, {"role": "gpt", "content": "b"}]},
    "kto": {"instruction": "a", "completion": "b"},
}
# rl | rows | entry that is wrong | key of it | entry that is right
TABLE = """
     | alpaca | type: alpaca:chatt | type | type: alpaca:chat
     | alpaca | type: alpaca_w_system.load_open_orka | type | type: alpaca_w_system.load_open_orca
     | alpaca | type: alpacca | type | type: alpaca
     | alpaca | type: alpaca, roles_to_train: [assistant] | roles_to_train | type: alpaca
     | alpaca | type: alpaca, field: output | field | type: completion, field: output
     | alpaca | type: alpaca, temperature: 2 | temperature | type: alpaca
     | alpaca | type: alpaca, ds_type: csv | ds_type | type: alpaca, ds_type: json
     | alpaca | type: alpaca, data_files: [a.jsonl] | data_files | type: alpaca
     | alpaca | type: alpaca, split: "train[:abc]" | split | type: alpaca, split: "train[:50%]"
     | alpaca | type: alpaca, split: "train[:50%" | split | type: alpaca, split: "train[10:]"
     | alpaca | type: alpaca, split: "train[15:5]" | split | type: alpaca, split: "train[5:15]"
     | alpaca | type: alpaca, split: "train[50:99]" | split | type: alpaca, split: "train[:19]"
     | alpaca | type: alpaca, split: trian | split | type: alpaca, split: train
     | alpaca | type: alpaca, shards: 0 | shards | type: alpaca, shards: 2
     | alpaca | type: alpaca, shards: 4, shards_idx: 4 | shards_idx | type: alpaca, shards: 4
     | alpaca | type: alpaca, shards_idx: 1 | shards_idx | type: alpaca, shards: 4, shards_idx: 1
     | alpaca | type: alpaca, shards: 4, preprocess_shards: 2 | preprocess_shards | type: alpaca
     | chat | type: chat_template.default | type | type: chat_template
     | human | type: chat_template, roles: {user: [person]} | roles | type: chat_template
     | alpaca | type: {format: "{question}"} | type.format | type: {format: "{instruction}"}
     | chat | type: sharegpt | type | type: chat_template
dpo  | intel | type: chatml.intell | type | type: chatml.intel
dpo  | intel | type: chatml.ultra | type | type: chatml.intel
dpo  | intel | type: chatlm.intel | type | type: llama3.intel
dpo  | pairs | type: chat_template.argilla | type | type: chat_template.default
dpo  | pairs | type: chat_template.default, field_chosen: a | field_chosen | type: chat_template
ipo  | pairs | type: chatml.icr | type | type: chat_template.default
kto  | kto | type: chatml | type | type: chatml.argilla
kto  | kto | type: llama3.intel | type | type: llama3.argilla
orpo | argilla | type: chat_template | type | type: chat_template.argilla
"""
LINES = [
    tuple(cell.strip() for cell in line.split(" | ")) for line in TABLE.splitlines() if line.strip()
]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def said(path: Path, rl: str, entry: str) -> list[str]:
    config = {
        "base_model": "mistralai/Mistral-7B-Instruct-v0.3",
        "datasets": [{"path": str(path), **yaml.safe_load(f"{{{entry}}}")}],
        "learning_rate": 0.0002,
        "micro_batch_size": 1,
        "output_dir": "runs/x",
        "remove_unused_columns": False,
        **({"rl": rl} if rl else {"val_set_size": 0.1}),
    }
    report = inspected(config)
    return [error.what for error in (*report.errors, *report.warnings)]


def inspected(config: dict[str, Any]) -> Report:
    with quiet():
        return inspect_recipe(config, YamlFile(Path("recipe.yaml"), config))


@pytest.mark.parametrize(("rl", "rows", "wrong", "key", "right"), LINES)
def test_wrong_is_told_and_right_is_not(
    tmp_path: Path, rl: str, rows: str, wrong: str, key: str, right: str
) -> None:
    path = tmp_path / f"{rows}.jsonl"
    written = [{**ROWS[rows], "label": bool(index % 2)} for index in range(20)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in written), encoding="utf-8")
    told = said(path, rl, wrong)
    assert [line for line in told if line.startswith(f"datasets[0].{key}: ")], told
    assert not [line for line in said(path, rl, right) if line.startswith("datasets[0]")]


def test_a_file_without_a_known_ending_is_read_as_json(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("instruction\toutput\na\tb\n", encoding="utf-8")
    assert [line for line in said(path, "", "type: alpaca") if "ds_type" in line]
    assert not [line for line in said(path, "", "type: alpaca, ds_type: csv") if "ds_type" in line]


def test_a_column_counts_that_only_later_rows_have(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    first = {key: value for key, value in ROWS["intel"].items() if key != "system"}
    path.write_text(f"{json.dumps(first)}\n{json.dumps(ROWS['intel'])}\n", encoding="utf-8")
    assert not [line for line in said(path, "dpo", "type: chatml.intel") if "no row has" in line]
    path.write_text(f"{json.dumps({'question': 'a'})}\n", encoding="utf-8")
    assert [line for line in said(path, "dpo", "type: chatml.intel") if "no row has" in line]


CHAT = ROWS["chat"]


def rows_in(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_every_row_counts_not_the_first_alone(tmp_path: Path) -> None:
    later = rows_in(tmp_path / "a.jsonl", {"other": 1}, CHAT, CHAT)
    told = said(later, "", "type: chat_template, field_messages: messages")
    assert not [line for line in told if "field_messages" in line]
    assert [line for line in told if "row 1 has no messages" in line]
    foreign = {"messages": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    named = "type: chat_template, message_property_mappings: {role: from, content: value}"
    path = rows_in(tmp_path / "b.jsonl", foreign)
    assert [line for line in said(path, "", "type: chat_template") if "has no role" in line]
    assert not [line for line in said(path, "", named) if "has no" in line]


def test_texts_of_a_pretraining_set_stand_in_their_column(tmp_path: Path) -> None:
    path = rows_in(tmp_path / "texts.jsonl", {"content": "a"}, {"content": "b"})
    made = "data/mental_health_support/train.jsonl"  # as it will be: conversations
    for file, column, wrong in ((path, "text", 1), (path, "content", 0), (made, "text", 1)):
        config = {
            "base_model": "mistralai/Mistral-7B-Instruct-v0.3",
            "pretraining_dataset": [{"path": str(file), "text_column": column, "type": "pretrain"}],
            "max_steps": 5,
        }
        with quiet():
            report = inspect_recipe(config, YamlFile(Path("recipe.yaml"), config))
        place = "pretraining_dataset[0].text_column: the rows have no text"
        assert bool([error for error in report.errors if place in error.what]) == wrong


def test_a_key_of_the_top_inside_a_data_set_is_sent_there(tmp_path: Path) -> None:
    path = rows_in(tmp_path / "a.jsonl", CHAT)
    with quiet():
        config = {"datasets": [{"path": str(path), "type": "chat_template", "train_on_inputs": 1}]}
        report = inspect_recipe(config, YamlFile(Path("recipe.yaml"), config))
    told = [error for error in report.errors if "train_on_inputs" in error.what]
    assert told and "top of the file" in told[0].todo


def test_a_module_of_the_users_own_is_let_be(tmp_path: Path) -> None:
    """`rl: dpo` takes a function of any module that Python finds."""
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n", encoding="utf-8")
    assert not [line for line in said(path, "dpo", "type: json.loads") if "type" in line]


def test_stale_data_are_said_and_their_rows_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    definitions, made = tmp_path / "datasets_prep/definitions", tmp_path / "data/mine"
    definitions.mkdir(parents=True)
    made.mkdir(parents=True)
    row = json.dumps(ROWS["chat"]) + "\n"
    definition, source = definitions / "mine.yaml", definitions / "mine.jsonl"
    definition.write_text("name: mine\nsource: {file: mine.jsonl}\nshape: messages\n")
    source.write_text(row * 8)
    for name in ("train", "validation"):
        (made / f"{name}.jsonl").write_text(row * 8)
    monkeypatch.setattr(made_data, "ROOT", tmp_path)
    monkeypatch.setattr(local_data, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    path = "data/mine/train.jsonl"
    config: dict[str, Any] = {
        "base_model": "mistralai/Mistral-7B-Instruct-v0.3",
        "datasets": [{"path": path, "type": "chat_template"}],
        "test_datasets": [{"path": "data/mine/validation.jsonl", "type": "chat_template"}],
        "learning_rate": 0.0002,
        "micro_batch_size": 1,
        "output_dir": "runs/x",
        "eval_steps": 10,
        "load_best_model_at_end": True,
        "num_epochs": 1,
    }
    held = {"made_from": made_data.made_from(definition, [source])}
    (made / "manifest.json").write_text(json.dumps(held))
    definition.write_text("# a comment\n" + definition.read_text())
    assert not made_data.is_stale(path)
    assert any("8 steps at the most" in str(e) for e in inspected(config).errors)
    # The definition's source has grown since: train makes the data again, with as many rows.
    source.write_text(row * 40)
    assert made_data.is_stale(path)
    report = inspected(config)
    found = [*report.errors, *report.warnings]
    assert not any("steps at the most" in str(one) for one in found)
    assert [n for n in map(str, report.notes) if "out of date" in n and "DATASET=mine" in n]
    # A version that wrote nothing of its inputs made them.
    (made / "manifest.json").write_text(json.dumps({"inputs": {}}))
    assert made_data.is_stale(path)
