"""Prove: tool calls and preferences, on real templates of Axolotl's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from prep_data import all_rows, definition, jsonl, read, small_tokenizer

import datasets_prep
from recipes.runner.core.errors import UserError

SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
WORDS = ("rain", "wind", "snow", "fog", "hail", "sun", "frost", "storm", "haze", "sleet")


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"), SPECIAL)


def recipe(folder: Path, tokenizer: Path, template: str, kind: str, **keys: Any) -> Path:
    body = {
        "base_model": str(tokenizer),
        "chat_template": template,
        "eot_tokens": ["<|im_end|>"],
        "special_tokens": {"eos_token": "<|endoftext|>"},
        "sequence_len": 4096,
        "datasets": [{"path": str(folder / "out" / "train.jsonl"), "type": kind}],
        **keys,
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(body))
    return path


def made(folder: Path, rows: list[dict[str, Any]], recipe: Path, **keys: Any) -> Path:
    jsonl(folder / "rows.jsonl", rows)
    path = definition(folder, **{"columns": {}, **keys})
    return datasets_prep.prepare(path, out=folder / "out", recipe=recipe, workers=1)


def weather(number: int, word: str) -> dict[str, Any]:
    call = {"id": "c1", "type": "function"}
    arguments = json.dumps({"city": f"Town {number}", "what": word})
    return {
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "forecast",
                    "description": "The weather of a town.",
                    "parameters": {"type": "object", "properties": {word: {"default": number}}},
                },
            }
        ],
        "messages": [
            {"role": "user", "content": f"Will there be {word} in town {number} tomorrow?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{**call, "function": {"name": "forecast", "arguments": arguments}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": f"{word}: {number} of 100"},
            {"role": "assistant", "content": f"Yes, {word} is likely there, {number} in 100."},
        ],
    }


def test_tool_calls_are_proven_on_a_template_that_takes_them(
    tmp_path: Path, tokenizer_folder: Path
) -> None:
    path = recipe(tmp_path, tokenizer_folder, "qwen_25", "chat_template", train_on_eos="turn")
    rows = [weather(n, word) for n, word in enumerate(WORDS)]
    out = made(tmp_path, rows, path, shape="messages")
    kept = all_rows(out)
    assert len(kept) == len(rows)
    assert json.loads((out / "manifest.json").read_text())["unproven"] is None
    call = kept[0]["messages"][1]["tool_calls"][0]["function"]
    assert call["name"] == "forecast" and "Town" in call["arguments"]
    # Parameters differ by tool: as objects, readers of JSON Lines would make one type of them all.
    assert all(isinstance(r["tools"][0]["function"]["parameters"], str) for r in kept)
    from datasets import load_dataset

    loaded = load_dataset("json", data_files=str(out / "train.jsonl"), cache_dir=str(tmp_path))
    assert len(loaded["train"]) == len(read(out / "train.jsonl"))


def pairs() -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"What shall I do against {word}, number {n}?",
            "chosen": f"Stay inside until the {word} is over, {n} hours or more.",
            "rejected": f"Nobody cares about {word}.",
        }
        for n, word in enumerate(WORDS)
    ]


@pytest.mark.parametrize(
    ("kind", "keys"),
    [("chat_template.default", {"rl": "dpo"}), ("chat_template", {"train_on_eos": "turn"})],
)
def test_both_sides_of_a_preference_are_proven_and_counted(
    tmp_path: Path, tokenizer_folder: Path, kind: str, keys: dict[str, Any]
) -> None:
    path = recipe(tmp_path, tokenizer_folder, "chatml", kind, **keys)
    out = made(tmp_path, pairs(), path, shape="preference")
    assert len(all_rows(out)) == len(WORDS)
    card = (out / "card.md").read_text()
    assert "Tokens by side: prompt" in card and "chosen" in card and "rejected" in card


def test_kto_is_proven_by_its_label(tmp_path: Path, tokenizer_folder: Path) -> None:
    path = recipe(tmp_path, tokenizer_folder, "chatml", "chatml.argilla_chat", rl="kto")
    rows = [
        {"prompt": p["prompt"], "completion": p[side], "label": side == "chosen"}
        for p in pairs()
        for side in ("chosen", "rejected")
    ]
    out = made(tmp_path, rows, path, shape="kto", columns={"prompt": "prompt"})
    assert len(all_rows(out)) == len(rows)
    card = (out / "card.md").read_text()
    assert "wanted" in card and "unwanted" in card


def test_rows_of_another_kind_than_the_recipe_learns_from(
    tmp_path: Path, tokenizer_folder: Path
) -> None:
    path = recipe(tmp_path, tokenizer_folder, "chatml", "chatml.argilla_chat", rl="kto")
    with pytest.raises(UserError, match="Set rl: dpo in the recipe"):
        made(tmp_path, pairs(), path, shape="preference")


def test_a_side_that_is_too_long_is_dropped(tmp_path: Path, tokenizer_folder: Path) -> None:
    path = recipe(
        tmp_path, tokenizer_folder, "chatml", "chat_template.default", rl="dpo", sequence_len=256
    )
    rows = pairs()
    rows[3]["rejected"] = " ".join(f"word{n}" for n in range(300))
    out = made(tmp_path, rows, path, shape="preference")
    (line,) = read(out / "ledger.jsonl")
    assert "more than sequence_len 256" in line["reason"] and line["id"] == "small-000004"
