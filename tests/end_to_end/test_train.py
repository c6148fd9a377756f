"""The main command, for real: Axolotl, bitsandbytes, a pretrained model, kills and full disks."""

import json
import os
import re
import shutil

import pytest
import torch
from training import (
    FEW_ANSWERS,
    SHARED_TOKENIZER,
    few_held_out,
    few_rows,
    recipe_with,
    tiny_falcon,
    tiny_llama,
    train,
    train_and_kill,
)

from recipes.runner.core.recipe import load_recipe

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="written for a CPU's paths")

STEPS = {"max_steps": 6, "eval_steps": 2, "save_steps": 2, "logging_steps": 1}


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def small_recipe(tmp_path_factory, llama):
    """smollm2-135m-qlora itself, over a model of two layers and a few rows."""
    folder = tmp_path_factory.mktemp("recipe")
    return str(
        recipe_with(
            folder,
            "smollm2-135m-qlora",
            base_model=str(llama),
            **few_rows(folder, "smollm2-135m-qlora", train=160),
            **FEW_ANSWERS,
        )
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, small_recipe):
    result = train(small_recipe, tmp_path_factory.mktemp("runs") / "whole", **STEPS)
    assert result.code == 0, result.output
    return result


def interrupted(run, folder):
    """A copy of a finished run whose record says that it was stopped."""
    shutil.copytree(run, folder)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    return folder


def test_smollm2_learns_in_a_few_steps(tmp_path):
    folder = tmp_path / "smollm2"
    recipe = recipe_with(
        tmp_path, "smollm2-135m-qlora", **few_held_out("smollm2-135m-qlora"), **FEW_ANSWERS
    )
    result = train(str(recipe), folder, max_steps=4, eval_steps=4, save_steps=4, warmup_steps=0)
    assert result.code == 0, result.output
    held_out = result.held_out()
    assert held_out[4] < held_out[0]
    record = result.record
    assert record["status"] == "finished"
    assert {row["class"]: row["modules"] for row in record["base_as_held"]}[
        "Linear4bit"
    ] == 60  # gate and up of 30 blocks
    assert (folder / "adapter_model.safetensors").is_file()
    assert (folder / "curves.png").is_file()
    last = result.output.strip().splitlines()[-4:]
    assert any("Adapter" in line and "adapter_model.safetensors" in line for line in last)
    assert "make eval RUN=smollm2" in last[-1]
    # That epochs and patience mean nothing in 4 steps is ours to say; the rest is noise.
    rest = [line for line in result.output.splitlines() if not line.startswith("warning: ")]
    for noise in ("Warning", "warn", "Traceback", "torchao", "it/s]"):
        assert noise not in "\n".join(rest)


def test_run_record_tells_what_happened(uninterrupted):
    record = uninterrupted.record
    assert record["steps"] == record["steps_planned"] == 6
    assert [point["step"] for point in record["evaluations"]] == [0, 2, 4, 6]
    assert record["config"]["lora_r"] == 32
    assert record["packages"]["axolotl"] == "0.19.0"
    assert {fallback["part"] for fallback in record["fallbacks"]} >= {"device"}
    assert record["tokens"] == 6 * 256
    assert record["trained"]["modules"]["q_proj"] == 2
    assert {entry["use"] for entry in record["data"]} == {"datasets", "test_datasets"}
    assert "**Not evaluated.**" in (uninterrupted.folder / "README.md").read_text()


def test_killed_run_resumes_to_the_same_losses(tmp_path, small_recipe, uninterrupted):
    folder = tmp_path / "killed"
    killed = train_and_kill(small_recipe, folder, "checkpoint-2", **STEPS)
    assert killed.code != 0
    assert "goes on from the last checkpoint" in killed.output
    resumed = train(small_recipe, folder, **STEPS)
    assert resumed.code == 0, resumed.output
    assert "Resuming from" in resumed.output
    assert resumed.record["tokens"] == uninterrupted.record["tokens"]
    assert resumed.record["tokens_trained"] == uninterrupted.record["tokens_trained"]
    assert resumed.losses().keys() == uninterrupted.losses().keys()
    for step, loss in uninterrupted.losses().items():
        assert resumed.losses()[step] == pytest.approx(loss, abs=1e-4)
    for step, loss in uninterrupted.held_out().items():
        assert resumed.held_out()[step] == pytest.approx(loss, abs=1e-4)


def test_finished_run_is_not_written_over(small_recipe, uninterrupted):
    again = train(small_recipe, uninterrupted.folder, **STEPS)
    assert again.code == 1
    assert "this run is finished" in again.output
    assert "FORCE=1" in again.output


def test_a_run_that_goes_on_keeps_its_word(tmp_path, small_recipe, uninterrupted):
    """Other settings are refused, with both values; the record tells what was used."""
    folder = interrupted(uninterrupted.folder, tmp_path / "stopped")
    record = uninterrupted.record
    other = {
        "learning_rate": 0.0003, "lr_scheduler": "linear", "warmup_ratio": 0.3,
        "lora_dropout": 0.2, "weight_decay": 0.1, "seed": 7,
    }  # fmt: skip
    result = train(small_recipe, folder, **STEPS, **other)
    assert result.code == 1
    assert "an interrupted run with other settings is here" in result.output
    for key, value in other.items():
        assert f"{key} {record['asked'].get(key, 'unset')} -> {value}" in result.output
    assert result.record["config"] == record["config"]


def test_checkpoint_cut_short_is_passed_over(tmp_path, small_recipe, uninterrupted):
    folder = interrupted(uninterrupted.folder, tmp_path / "cut")
    weights = folder / "checkpoint-6" / "adapter_model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    resumed = train(small_recipe, folder, **STEPS)
    assert resumed.code == 0, resumed.output
    assert "checkpoint-6 is passed over: adapter_model.safetensors is cut short" in resumed.output
    assert re.search(r"Resuming from \S*checkpoint-4", resumed.output)
    assert resumed.held_out()[6] == pytest.approx(uninterrupted.held_out()[6], abs=1e-4)


def test_truncated_base_model_is_named(tmp_path, llama):
    broken = shutil.copytree(llama, tmp_path / "broken")
    weights = broken / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    rows = few_rows(tmp_path, "smollm2-135m-qlora")
    recipe = recipe_with(tmp_path, "smollm2-135m-qlora", base_model=str(broken), **rows)
    result = train(str(recipe), tmp_path / "run", **STEPS)
    assert result.code != 0
    assert "error: a weights file is damaged" in result.output
    assert "Traceback" not in result.output
    assert result.record["status"] == "failed"


def test_overfitting_is_told_under_settings_like_those_of_2023(tmp_path):
    """Few conversations, dozens of times each, as in 2023; here with a look at held-out ones.

    Those ask the same and are answered otherwise: first the words are learnt, which serves both,
    then which answer goes with which question, which is wrong for them.
    """
    said = ["Rest", "Grief", "Limits", "Company"]
    answers = {"train": said, "held_out": [*said[1:], said[0]]}
    questions = ["I can't sleep.", "My dog died.", "Work is too much.", "I feel alone."]
    for name, words in answers.items():
        pairs = list(zip(questions, words, strict=True)) * (150 if name == "train" else 1)
        rows = [
            {
                "messages": [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": answer},
                ]
            }
            for question, answer in pairs
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shipped = load_recipe("smollm2-135m-qlora").config
    recipe = recipe_with(
        tmp_path,
        "smollm2-135m-qlora",
        base_model=str(tiny_llama(tmp_path / "llama", able=True)),
        datasets=[{**shipped["datasets"][0], "path": str(tmp_path / "train.jsonl")}],
        test_datasets=[{**shipped["test_datasets"][0], "path": str(tmp_path / "held_out.jsonl")}],
        dataset_prepared_path=str(tmp_path / "prepared"),
        sequence_len=512,
        # Four times that for B: at 5e-3 rounding alone decides where such a run goes.
        learning_rate=2e-3,
        lora_r=64,
        lora_alpha=128,
        lora_dropout=0.0,
        lr_scheduler="constant",
        save_total_limit=20,
        overfitting_watch={"evaluations": 2},
        **FEW_ANSWERS,
    )
    steps = {"max_steps": 40, "eval_steps": 5, "save_steps": 5, "early_stopping_patience": 0}
    result = train(str(recipe), tmp_path / "run", **steps)
    assert result.code == 0, result.output
    assert result.output.count("warning: overfitting") == 1, result.output
    assert "Best so far: step" in result.output


@pytest.mark.skipif(
    not SHARED_TOKENIZER.is_dir(), reason="Falcon-7B's tokenizer is not in ../shared"
)
def test_falcon_recipe_itself_trains_a_tiny_falcon(tmp_path):
    model = tiny_falcon(tmp_path / "falcon")
    recipe = recipe_with(tmp_path, "falcon7b-qlora", **few_held_out("falcon7b-qlora"))
    result = train(
        str(recipe),
        tmp_path / "run",
        base_model=model,
        max_steps=2,
        eval_steps=2,
        save_steps=2,
    )
    assert result.code == 0, result.output
    record = result.record
    assert {row["class"]: row["modules"] for row in record["base_as_held"]}["Linear4bit"] == 8
    assert record["trained"]["modules"] == {
        "query_key_value": 2,
        "dense": 2,
        "dense_h_to_4h": 2,
        "dense_4h_to_h": 2,
    }
