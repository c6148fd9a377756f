"""Held-out rows by source and writer, and the training row nearest to each prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval.evaluate import Evaluation
from eval.generation.heldout import HeldOut
from eval.report.provenance import by_source, nearest_first, nearest_training_rows
from eval.suite import load_suite


def held_out(folder: Path, rows: list[dict[str, Any]]) -> Evaluation:
    for row in rows:
        row["messages"] = [{"role": "user", "content": f"Question {row['id']}?"}]
    path = folder / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scored = [HeldOut(row["id"], (1, 2), (-100, 2), ()) for row in rows]
    base = [(20.0 * (n + 1), 10) for n in range(len(rows))]
    tuned = [(10.0 * (n + 1), 10) for n in range(len(rows))]
    return Evaluation({}, (base, tuned), scored, {"held_out": str(path)})


def test_held_out_rows_are_separated_by_source_and_writer(tmp_path: Path) -> None:
    outcome = held_out(
        tmp_path,
        [
            {"id": "a", "part": "support", "by_model": False},
            {"id": "b", "part": "support", "by_model": False},
            {"id": "c", "part": "replay", "by_model": True},
        ],
    )
    replay, support = by_source(outcome)
    assert (replay["source"], replay["written_by"], replay["conversations"]) == (
        "replay",
        "a model",
        1,
    )
    assert support["written_by"] == "people" and support["conversations"] == 2
    assert support["base"] == pytest.approx(3.0) and support["difference"] == pytest.approx(-1.5)


def test_data_of_one_source_that_say_nothing_have_no_table(tmp_path: Path) -> None:
    assert by_source(held_out(tmp_path, [{"id": "a"}, {"id": "b"}])) == []
    assert by_source(Evaluation({}, None, [], {})) == []


def test_each_prompt_gets_its_nearest_training_row(tmp_path: Path) -> None:
    suite = load_suite("empathy")
    prompt = suite.prompts[3]
    file = tmp_path / "train.jsonl"
    texts = {"far": "Which bread needs no yeast?", "near": f"Hello. {prompt.turns[0]}"}
    file.write_text(
        "".join(
            json.dumps({"id": name, "messages": [{"role": "user", "content": text}]}) + "\n"
            for name, text in texts.items()
        )
    )
    record = {"data": [{"use": "datasets", "path": str(file)}]}
    found = nearest_training_rows([suite], Evaluation({}, None, [], {}), record)
    near = found[suite.name, prompt.id]
    assert near["row"] == "near" and near["similarity"] > 0.8
    assert nearest_first(found)[0]["id"] == prompt.id
    assert nearest_training_rows([suite], Evaluation({}, None, [], {}), {}) == {}
