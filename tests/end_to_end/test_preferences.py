"""DPO and KTO from an SFT adapter, by the real command on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training import recipe_with, tiny_llama, train

from recipes.runner.core.recipe import load_recipe

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="written for a CPU's paths")

TOPICS = ("sleep", "work", "my sister", "the exam", "the garden", "money", "the move", "my knee")
ENV = {"PREFLIGHT": "0"}
SMALL = {
    "sequence_len": 256, "dataset_num_proc": 1, "save_total_limit": None, "logging_steps": 1,
    "eval_strategy": "steps", "metric_for_best_model": "eval_loss",
}  # fmt: skip


def turns(topic: str) -> tuple[dict[str, str], ...]:
    """A prompt, a good answer, a bad one."""
    return (
        {"role": "user", "content": f"I worry about {topic}."},
        {"role": "assistant", "content": f"What about {topic} worries you most?"},
        {"role": "assistant", "content": "I am here to help. I am here to help."},
    )


def pairs(path: Path) -> str:
    rows = []
    for topic in TOPICS:
        prompt, good, bad = turns(topic)
        rows.append({"messages": [prompt], "chosen": good, "rejected": bad})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def sft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base, and an adapter on it that is far from none: what an SFT run leaves."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("sft")
    base = AutoModelForCausalLM.from_pretrained(tiny_llama(folder / "llama", able=True))
    config = load_recipe("smollm2-135m-dpo").config
    lora = LoraConfig(
        r=config["lora_r"], lora_alpha=config["lora_alpha"], task_type="CAUSAL_LM",
        target_modules=config["lora_target_modules"],
    )  # fmt: skip
    model = get_peft_model(base, lora)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    model.save_pretrained(folder / "run")
    return folder


def dpo(sft: Path, folder: Path, **changes: Any) -> str:
    entry = {"path": pairs(folder / "pairs.jsonl"), "split": "train",
             "type": "chat_template.default"}  # fmt: skip
    held = {**entry, "path": pairs(folder / "held.jsonl")}
    settings = {
        **SMALL, "base_model": str(sft / "llama"), "lora_model_dir": str(sft / "run"),
        "datasets": [entry], "test_datasets": [held],
        "dataset_prepared_path": str(folder / "prepared"),
        "answers_watch": {"held_out": 0, "max_new_tokens": 8}, "max_steps": 6, "eval_steps": 3,
        "save_steps": 3, "num_epochs": 20, "learning_rate": 5e-3, "micro_batch_size": 2,
        "gradient_accumulation_steps": 1, "warmup_ratio": None,
        # DPO's loss alone, whose first value is known.
        "dpo_loss_type": None, "dpo_loss_weights": None,
    }  # fmt: skip
    return str(recipe_with(folder, "smollm2-135m-dpo", **{**settings, **changes}))


def test_dpo_goes_on_from_the_sft_adapter_and_resumes(sft: Path, tmp_path: Path) -> None:
    recipe = dpo(sft, tmp_path)
    whole = train(recipe, tmp_path / "run", ENV)
    assert whole.code == 0, whole.output
    losses = whole.record["losses"]
    # At the first step the policy is the reference, the SFT adapter: no margin, a loss of ln 2.
    assert abs(losses[0]["reward_margin"]) < 1e-3
    assert losses[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    evaluations = whole.record["evaluations"]
    assert evaluations[-1]["reward_margin"] > 0.05
    assert evaluations[-1]["reward_accuracy"] == 1.0
    assert "held-out reward margin" in whole.output
    assert f"Next            make eval RUN=run AGAINST={sft / 'run'}" in whole.output
    assert whole.record["tokens"] > 0 and whole.record["tokens_per_second"] > 0
    # Begun from the SFT adapter's weights, not from new ones, and trained away from them.
    before, after = weights(sft / "run"), weights(tmp_path / "run")
    assert before.keys() == after.keys()
    moved = max(float((after[k] - before[k]).abs().max()) for k in before)
    assert 0 < moved < 6 * 5e-3 * 1.5
    assert all(t.dtype == torch.float32 for t in after.values())
    assert not list((tmp_path / "run").rglob("ref"))
    assert not (tmp_path / "run" / "model.safetensors").exists()
    # The best by held-out loss is kept, as in SFT.
    best = min(evaluations, key=lambda point: point["held_out_loss"])
    assert Path(whole.record["best_checkpoint"]).name == f"checkpoint-{best['step']}"

    # Its second half again, from its checkpoint: the same.
    (tmp_path / "half").mkdir()
    (tmp_path / "run" / "checkpoint-3").rename(tmp_path / "half" / "checkpoint-3")
    record = {**whole.record, "status": "interrupted"}
    (tmp_path / "half" / "run.json").write_text(json.dumps(record))
    half = train(recipe, tmp_path / "half", ENV)
    assert half.code == 0, half.output
    assert "Resuming from" in half.output
    for key, value in weights(tmp_path / "half").items():
        torch.testing.assert_close(value, after[key], atol=1e-5, rtol=1e-4)


def test_kto_goes_on_from_the_sft_adapter(sft: Path, tmp_path: Path) -> None:
    entries = []
    for name in ("answers.jsonl", "held-answers.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in labelled()))
        path = str(tmp_path / name)
        entries.append({"path": path, "split": "train", "type": "chat_template.default"})
    recipe = dpo(
        sft, tmp_path, rl="kto", datasets=entries[:1], test_datasets=entries[1:],
        remove_unused_columns=False, save_steps=6,
    )  # fmt: skip
    result = train(recipe, tmp_path / "run", ENV)
    assert result.code == 0, result.output
    # Wanted and unwanted alike are as likely as under the reference: 1 - sigmoid(0).
    assert result.record["losses"][0]["loss"] == pytest.approx(0.5, abs=1e-3)
    assert result.record["evaluations"][-1]["reward_margin"] > 0.05
    assert "held-out reward margin" in result.output


def labelled() -> list[dict[str, Any]]:
    made = []
    for topic in TOPICS:
        prompt, good, bad = turns(topic)
        made += [
            {"completion": [prompt, answer], "label": label}
            for answer, label in ((good, True), (bad, False))
        ]
    return made


def test_what_cannot_work_is_refused_before_weights_load(sft: Path, tmp_path: Path) -> None:
    config = json.loads((sft / "run" / "adapter_config.json").read_text())
    other = tmp_path / "other"
    other.mkdir()
    config["base_model_name_or_path"] = "tiiuae/falcon-7b"
    (other / "adapter_config.json").write_text(json.dumps(config))
    (other / "adapter_model.safetensors").write_bytes(b"")
    equal = tmp_path / "equal.jsonl"
    prompt, good, _ = turns("sleep")
    equal.write_text(json.dumps({"messages": [prompt], "chosen": good, "rejected": good}))
    entry = {"path": str(equal), "split": "train", "type": "chat_template.default"}
    recipe = dpo(sft, tmp_path, rl_beta=0, lora_model_dir=str(other), datasets=[entry])
    result = train(recipe, tmp_path / "run", ENV)
    assert result.code == 1
    for words in (
        "rl_beta: is 0: chosen and rejected weigh nothing",
        f"lora_model_dir: the adapter in {other} is one of tiiuae/falcon-7b",
        "has the same answer chosen and rejected",
    ):
        assert words in result.output, result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()
