"""lm-eval on both arms from one load, paired by document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_chat import KNOWN

from eval import lm_harness

pytest.importorskip("lm_eval")

TASK = """\
task: tiny_facts
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "<|user|>{{{{question}}}}<|assistant|>"
doc_to_choice: choices
doc_to_target: 0
target_delimiter: ""
metric_list: [{{metric: acc}}]
"""


def test_both_arms_are_scored_and_paired(
    worse_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "facts.jsonl"
    answers = list(KNOWN.values())
    rows = [
        {"question": q, "choices": [a, *(other for other in answers if other != a)]}
        for q, a in KNOWN.items()
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tiny_facts.yaml").write_text(TASK.format(data=data))
    code = lm_harness.main(
        ["--run", str(worse_run), "--tasks", "tiny_facts", "--include", str(tmp_path)]
    )
    assert code == 0
    found = json.loads((worse_run / "eval" / "lm_harness.json").read_text())["tasks"]
    acc = next(row for row in found if row["metric"] == "acc")
    assert acc["n"] == 12 and acc["base"] == 1.0 and acc["tuned"] < 0.5
    assert acc["verdict"] == "worse"
    assert "tiny_facts" in capsys.readouterr().out


def test_an_unknown_task_names_the_nearest(
    worse_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        lm_harness.main(["--run", str(worse_run), "--tasks", "helaswag"])
    assert caught.value.code == 1
    assert "Did you mean hellaswag?" in capsys.readouterr().err


def test_documents_that_are_not_there_are_one_line(
    worse_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny_facts.yaml").write_text(TASK.format(data=tmp_path / "gone.jsonl"))
    with pytest.raises(SystemExit) as caught:
        lm_harness.main(
            ["--run", str(worse_run), "--tasks", "tiny_facts", "--include", str(tmp_path)]
        )
    err = capsys.readouterr().err.strip()
    assert caught.value.code == 1 and err.startswith("error: tiny_facts: the documents can't be")
    assert "gone.jsonl" in err and "\n" not in err
