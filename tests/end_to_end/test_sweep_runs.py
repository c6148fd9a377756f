"""A sweep of real, tiny runs: one fails, one is interrupted, and the same command goes on."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from training import FEW_ANSWERS, recipe_with, tiny_llama, training_processes

from recipes.runner.core.recipe import ROOT, load_recipe
from recipes.runner.launch.run_log import LOG_FILE
from recipes.runner.run.record import read_record

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="written for a CPU's paths")

# In Axolotl's order, which it shuffles with a fixed seed.
FAILS, FINISHES, INTERRUPTED, FAILS_TOO = "8-0.001", "4-0.01", "8-0.01", "4-0.001"
CONVERSATION = """{"messages": [{"role": "user", "content": "I can not sleep."},
 {"role": "assistant", "content": "That sounds tiring. Since when?"}]}""".replace("\n", "")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """smollm2-135m-qlora over a model of two layers and a few rows, so that a step is quick."""
    config = load_recipe("smollm2-135m-qlora").config
    rows = {"datasets": tmp_path / "train.jsonl", "test_datasets": tmp_path / "validation.jsonl"}
    for path in rows.values():
        path.write_text(f"{CONVERSATION}\n" * 4)
    changes = {key: [{**config[key][0], "path": str(path)}] for key, path in rows.items()}
    return recipe_with(
        tmp_path,
        "smollm2-135m-qlora",
        **changes,
        **FEW_ANSWERS,
        base_model=str(tiny_llama(tmp_path / "llama")),
        output_dir=str(tmp_path / "runs" / "recipe"),
        dataset_prepared_path=str(tmp_path / "prepared"),
        sequence_len=256,
        # No pool of processes for four rows: each of its workers imports everything first.
        dataset_num_proc=1,
        sample_packing=False,
        eval_sample_packing=False,
        num_epochs=20,
        max_steps=12,
        eval_steps=6,
        save_steps=2,
        eval_strategy="steps",
        load_best_model_at_end=False,
        early_stopping_patience=None,
        save_total_limit=None,
    )


def test_sweep_goes_on_after_a_failure_and_after_ctrl_c(tmp_path: Path, recipe: Path) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text("lora_r: [4, 8]\nlearning_rate: [1e-3, 1e-2]\n")
    runs = tmp_path / "runs"
    for name in (FAILS, FAILS_TOO):  # no log can be opened here, so the run stops at its start
        (runs / f".recipe-grid-{name}.{LOG_FILE}").mkdir(parents=True)
    # Without preflight, which would build the tiny model's shape anew for each run.
    command = [sys.executable, "-m", "recipes", "sweep", str(recipe), str(grid)]

    checkpoint = runs / f"recipe-grid-{INTERRUPTED}" / "checkpoint-2" / "trainer_state.json"
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PREFLIGHT": "0"},
    ) as process:
        deadline = time.monotonic() + 400
        while process.poll() is None and not checkpoint.exists():
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        was_running = process.poll() is None and checkpoint.exists()
        process.send_signal(signal.SIGINT)
        first, _ = process.communicate(timeout=600)
    assert was_running, first
    assert process.returncode == 130, first
    assert "failed; going on" in first
    assert "interrupted: 1 of 4 runs are finished; the same command goes on" in first
    assert "Traceback" not in first
    assert not training_processes(runs), "a rank trains on after Ctrl-C"
    assert read_record(checkpoint.parent.parent)["status"] == "interrupted"

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    second = done.stdout + done.stderr
    assert done.returncode == 1, second
    assert f"finished already: {runs}/recipe-grid-{FINISHES}/" in second
    assert re.search(rf"Resuming from \S*recipe-grid-{re.escape(INTERRUPTED)}/checkpoint-", second)
    assert "2 of 4 runs failed:" in second
    assert f"recipe-grid-{FAILS}: ended with exit code 1" in second
    assert "held-out loss" in second and "learning_rate" not in second.split("held-out loss")[-1]
    assert (runs / "recipe-grid.png").read_bytes().startswith(b"\x89PNG")
    page = (runs / "recipe-grid.html").read_text()
    assert 'src="data:image/png;base64,' in page and "not evaluated" not in page.lower()[:200]


def test_a_sweep_over_folds_says_what_can_be_told(tmp_path: Path, recipe: Path) -> None:
    """Two settings, two folds, a budget: the folds are dealt, the end is written down."""
    questions = (
        "My cat is ill", "Nobody answers at work", "I lost my keys", "Rain frightens her",
        "Winter is long", "The exam went badly", "We moved house", "He snores", "Bread won't rise",
    )  # fmt: skip
    rows = [CONVERSATION.replace("I can not sleep", text) for text in questions]
    for name, part in (("train", rows[:6]), ("validation", rows[6:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{row}\n" for row in part))
    grid = tmp_path / "grid.yaml"
    grid.write_text("folds: 2\nlora_r: [4, 8]\nmax_steps: [4]\neval_steps: [2]\n")
    runs = tmp_path / "runs"
    command = [sys.executable, "-m", "recipes", "sweep", str(recipe), str(grid), "--budget", "1h"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=600,
        env={**os.environ, "PREFLIGHT": "0"},
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "2 settings x 2 folds: 4 runs" in said
    assert "best: lora_r: " in said or "these data can't tell them apart: lora_r: " in said
    assert "9 held-out conversations, 2 runs each" in said
    found = json.loads((runs / "recipe-grid.json").read_text())
    assert {run["repeat"] for run in found["runs"]} == {"f1", "f2"}
    assert [row["runs"] for row in found["standing"]["settings"]] == [2, 2]
    [folds] = runs.glob("recipe-grid-folds-*")
    held = [(folds / fold / "validation.jsonl").read_text().splitlines() for fold in "12"]
    assert sorted(held[0] + held[1]) == sorted(rows)
    record = read_record(runs / "recipe-grid-4-f2")
    assert record["config"]["datasets"][0]["path"] == str(folds / "2" / "train.jsonl")
