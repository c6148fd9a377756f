"""README.md of a run: Hub metadata, honest about evaluation and data, with a snippet that runs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from eval.__main__ import main as evaluate
from eval.release import facts
from eval.release.card import FILE, cell, render_card, renew_card, write_card
from recipes.runner.core.recipe import ROOT
from recipes.runner.models.hub import describe_base
from recipes.runner.run.finished import Run, find_run
from recipes.runner.run.record import read_record


@pytest.fixture(scope="module")
def run(make_run: Callable[..., Path]) -> Run:
    return find_run(str(make_run("other")), None)


def python_blocks(card: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


def test_snippet_loads_the_adapter_and_the_next_one_asks_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = python_blocks(write_card(run).read_text())
    assert len(blocks[0].splitlines()) == 5
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(
            block.replace("I can't sleep before exams. What can I do?", "Which animal meows?"),
            names,
        )
    assert type(names["model"]).__name__ == "PeftModelForCausalLM"
    assert capsys.readouterr().out.strip() == "A cat meows."


def test_without_an_evaluation_it_says_so(run: Run) -> None:
    shutil.rmtree(run.eval_dir, ignore_errors=True)
    card = write_card(run).read_text()
    assert "**Not evaluated.**" in card
    assert "model-index" not in card
    assert "988" in card and "It is no clinician" in card


def test_evaluation_renews_it_with_verdicts_and_intervals(run: Run, known_suite: Path) -> None:
    assert evaluate(["--run", str(run.path), "--suites", str(known_suite), "--dtype", "fp32"]) in (
        0,
        3,
        4,
    )
    summary = json.loads((run.eval_dir / "summary.json").read_text())
    text = (run.path / FILE).read_text()
    card = ModelCard(text)
    results = {result.dataset_type: result for result in card.data.eval_results}
    for row in summary["suites"]:
        found = row["compared"]
        interval = f"({found['interval']['low']:+.3f} to {found['interval']['high']:+.3f})"
        assert (
            f"{found['difference']:+.3f} {interval} | {row['margin']} | **{row['verdict']}**"
            in text
        )
        assert results[row["name"]].metric_value == round(found["tuned"], 4)
    gates = "The one gate holds" if summary["gates_hold"] else "1 of 1 gates"
    assert summary["decision"]["sentence"] in text
    assert gates in text and "Not evaluated" not in text


def test_metadata_is_what_the_hub_reads(tmp_path: Path, run: Run) -> None:
    record = json.loads(json.dumps(run.record))
    record["config"]["base_model"] = "tiiuae/falcon-7b"
    card = ModelCard(write_card(Run(tmp_path, record)).read_text())
    assert card.data.base_model == "tiiuae/falcon-7b"
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "peft"
    assert card.data.pipeline_tag == "text-generation"


def test_data_card_stands_in_it_without_any_row(tmp_path: Path, run: Run) -> None:
    from datasets_prep import prepare

    folder = prepare(
        "mental_health_support", out=tmp_path / "mental_health_support", recipe="smollm2-135m-qlora"
    )
    record = json.loads(json.dumps(run.record))
    record["config"]["datasets"] = [{"path": str(folder / "train.jsonl")}]
    record["data"] = [{"use": "datasets", "rows": 156, "sha256": "0" * 64}]
    card = write_card(Run(tmp_path, record)).read_text()
    assert "Synthetic: written by a language model" in card
    rows = len((folder / "train.jsonl").read_text(encoding="utf-8").splitlines())
    assert rows > 1_500 and f"| train | {rows:,} |" in card
    assert "| data mental_health_support | Apache-2.0 |" in card
    assert "made anew since this run" in card  # the digest is another one
    first = json.loads((folder / "train.jsonl").read_text().splitlines()[0])
    assert first["messages"][-1]["content"][:60] not in card


def test_a_run_that_failed_gets_none(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"status": "failed", "config": {}}))
    renew_card(tmp_path)
    assert not (tmp_path / FILE).exists()


def test_a_card_that_fails_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"status": "finished", "config": {}}))
    renew_card(tmp_path)
    assert "was not written" in capsys.readouterr().out
    assert read_record(tmp_path)["status"] == "finished"


def test_text_from_elsewhere_stays_text() -> None:
    assert cell("<img src=x onerror=alert(1)> | [a](javascript:b)\nc") == (
        "&lt;img src=x onerror=alert(1)&gt; \\| [a]\\(javascript:b) c"
    )


def test_bases_say_where_they_live() -> None:
    small = describe_base("models/smollm2-135m-instruct")
    assert small.hub_id == "HuggingFaceTB/SmolLM2-135M-Instruct" and "Q4_1" in small.note
    assert describe_base("/somewhere/model").hub_id is None
    assert describe_base("someone/model").licence is None


def test_files_that_were_exported_stand_in_the_card_with_what_they_cost(
    run: Run, tmp_path: Path
) -> None:
    from eval.release.merge import adapter_digest

    copy = tmp_path / "exported"
    shutil.copytree(run.path, copy)
    exported = find_run(str(copy), None)
    proof = {
        "type": "q8_0", "bytes": 144_811_008, "adapter_digest": adapter_digest(exported),
        "held_out_loss": {"merged": 3.127, "file": 3.128, "rise": 0.0013, "low": -0.0005,
                          "high": 0.003, "conversations": 40},
        "prompts_equal": 50,
        "likelihoods": {"prompts": 50, "same": 49, "relative": 0.01, "without_adapter": None},
        "answers": {"asked": 50, "same": 1, "stopped": 48, "stopped_before": 49,
                    "no_longer_stop": 2, "newly_stop": 1, "chance": 0.5},
    }  # fmt: skip
    (copy / "exported-q8_0.json").write_text(json.dumps(proof))
    assert "llama.cpp" not in write_card(exported).read_text()  # a proof without its file
    (copy / "exported-q8_0.gguf").write_bytes(b"GGUF")
    card = write_card(exported).read_text()
    row = next(line for line in card.splitlines() if "exported-q8_0.gguf" in line)
    assert [cell.strip() for cell in row.split("|")[2:-1]] == [
        "145 MB", "3.128 (+0.0013, 95% -0.0005 to +0.0030)", "50 of 50", "49 of 50", "1 of 50",
        "48 (49)", "2 / 1",
    ]  # fmt: skip
    server = f"llama-server -m {copy}/exported-q8_0.gguf --jinja"
    assert f"```sh\n{server}\n```" in card
    assert "exported-q8_0" not in render_card(exported, "someone/model")  # it stays here
    (copy / "Modelfile").write_text("FROM ./exported-q8_0.gguf\n")
    create = f"ollama create exported -f {copy}/Modelfile"
    assert f"```sh\n{server}\n{create}\n```" in write_card(exported).read_text()
    apart = facts.run_commands(copy / "exported-lora-f16.gguf")
    assert apart == [
        f"llama-server -m {copy}/exported-base-bf16.gguf"
        f" --lora {copy}/exported-lora-f16.gguf --jinja"
    ]
    proof["adapter_digest"] = "of another adapter"
    (copy / "exported-q8_0.json").write_text(json.dumps(proof))
    assert "exported-q8_0.gguf" not in write_card(exported).read_text()
