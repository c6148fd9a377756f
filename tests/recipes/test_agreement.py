"""A resumed run keeps its word: another setting is refused, with both values, or is really used."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import load_recipe, recipe_paths
from recipes.runner.run import folder
from recipes.runner.run.agreement import asked_for, changed_settings
from recipes.runner.run.record import RunRecord

RECIPE = load_recipe("falcon7b-qlora").config


def changed(**settings: Any) -> list[str]:
    return changed_settings({"asked": asked_for(RECIPE)}, {**RECIPE, **settings})


def test_torch_takes_the_rates_of_the_checkpoint() -> None:
    """Why they must agree: what the new command asks for is not what trains."""
    saved = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))], lr=1e-4, weight_decay=0.1)
    asked = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))], lr=5e-4, weight_decay=0.0)
    asked.load_state_dict(saved.state_dict())
    assert asked.param_groups[0]["lr"] == 1e-4
    assert asked.param_groups[0]["weight_decay"] == 0.1


def test_the_trainer_takes_the_steps_of_the_checkpoint(tmp_path: Path) -> None:
    """Why when to evaluate and to save must agree: the state comes back whole."""
    from transformers import Trainer, TrainingArguments
    from transformers.trainer_callback import TrainerState

    saved = TrainerState(
        eval_steps=5, save_steps=5, logging_steps=1, global_step=5, train_batch_size=8
    )
    saved.save_to_json(str(tmp_path / "trainer_state.json"))
    asked = TrainingArguments(
        str(tmp_path), eval_steps=7, save_steps=7, logging_steps=3, report_to=[], use_cpu=True
    )
    trainer = Trainer(torch.nn.Linear(1, 1), asked)
    trainer._init_training_state(20, 1, 20, str(tmp_path), None)
    state = trainer.state
    assert (state.eval_steps, state.save_steps, state.logging_steps) == (5, 5, 1)
    assert state.max_steps == 20, "how long is read anew"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"learning_rate": 1e-4}, "learning_rate 0.0002 -> 0.0001"),
        ({"lr_scheduler": "linear"}, "lr_scheduler cosine -> linear"),
        ({"warmup_ratio": 0.1}, "warmup_ratio 0.05 -> 0.1"),
        ({"warmup_steps": 10}, "warmup_steps unset -> 10"),
        ({"use_pose": True}, "use_pose unset -> True"),
        ({"use_eaft": True}, "use_eaft unset -> True"),
        ({"s2_attention": True}, "s2_attention unset -> True"),
        ({"lora_dropout": 0.1}, "lora_dropout 0.05 -> 0.1"),
        ({"weight_decay": 0.01}, "weight_decay 0.0 -> 0.01"),
        ({"max_grad_norm": 0.3}, "max_grad_norm 1.0 -> 0.3"),
        ({"adam_beta2": 0.95}, "adam_beta2 unset -> 0.95"),
        ({"optimizer": "sgd"}, f"optimizer {RECIPE['optimizer']} -> sgd"),
        ({"lora_target_modules": ["dense"]}, "lora_target_modules"),
        ({"chat_template": "chatml"}, "chat_template jinja -> chatml"),
        ({"special_tokens": {"pad_token": ">>PREFIX<<"}}, "special_tokens.pad_token >>SUFFIX<< ->"),
        ({"neftune_noise_alpha": 5}, "neftune_noise_alpha unset -> 5"),
        ({"metric_for_best_model": "loss"}, "metric_for_best_model eval_loss -> loss"),
        ({"falcon": {"enabled": False}}, "falcon.enabled True -> False"),
        ({"seed": 43}, "seed 42 -> 43"),
        ({"eval_steps": 999}, f"eval_steps {RECIPE['eval_steps']} -> 999"),
        ({"save_steps": 999}, f"save_steps {RECIPE['save_steps']} -> 999"),
        ({"logging_steps": 999}, f"logging_steps {RECIPE['logging_steps']} -> 999"),
    ],
)
def test_what_the_checkpoint_holds_is_refused(settings: dict[str, Any], said: str) -> None:
    assert any(said in text for text in changed(**settings)), changed(**settings)


def test_data_of_another_name_or_content_is_refused(tmp_path: Path) -> None:
    datasets = copy.deepcopy(RECIPE["datasets"])
    datasets[0]["train_on_eos"] = "last"
    assert changed(datasets=datasets) == ["datasets[0].train_on_eos turn -> last"]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n")
    data = [{"path": str(rows), "sha256": hashlib.sha256(rows.read_bytes()).hexdigest()}]
    record = {"asked": {}, "data": data}
    assert changed_settings(record, {}) == []
    rows.write_text('{"more": 1}\n')
    (text,) = changed_settings(record, {})
    assert "rows.jsonl (sha256" in text


@pytest.mark.parametrize(
    "settings",
    [
        {"num_epochs": 5}, {"max_steps": 10},
        {"save_total_limit": 5}, {"output_dir": "runs/other"}, {"gradient_checkpointing": True},
        {"bf16": False}, {"micro_batch_size": 2, "gradient_accumulation_steps": 2},
        {"use_wandb": True, "wandb_project": "x"}, {"falcon": {"memory": "low"}},
        {"learning_rate": "2e-4"}, {"lora_r": 32.0}, {"trust_remote_code": False},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_read_anew_may_differ(settings: dict[str, Any]) -> None:
    assert changed(**settings) == []


@pytest.mark.parametrize("path", recipe_paths(), ids=lambda path: path.stem)
def test_the_same_recipe_agrees(path: Path) -> None:
    config = load_recipe(path).config
    assert changed_settings({"asked": asked_for(config)}, copy.deepcopy(config)) == []


def test_the_refusal_names_both_values(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint-5"
    checkpoint.mkdir()
    (checkpoint / "trainer_state.json").write_text("{}")
    (checkpoint / "global_step5").mkdir()
    RunRecord(tmp_path).update(status="interrupted", config=RECIPE, asked=asked_for(RECIPE))
    with pytest.raises(UserError, match=r"learning_rate 0\.0002 -> 0\.001; lora_r 32 -> 8"):
        folder.prepare_resuming(tmp_path, {**RECIPE, "learning_rate": 1e-3, "lora_r": 8})
    assert folder.prepare_resuming(tmp_path, {**RECIPE, "num_epochs": 9}) == "checkpoint-5"


def test_a_record_of_before_is_compared_as_before(tmp_path: Path) -> None:
    assert changed_settings({"config": RECIPE}, {**RECIPE, "learning_rate": 1.0}) == []


INTERRUPTED = {"status": "interrupted", "config": RECIPE, "asked": asked_for(RECIPE)}


def make_checkpoint(run: Path) -> Path:
    checkpoint = run / "checkpoint-5"
    (checkpoint / "global_step5").mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text("{}")
    return checkpoint


def test_another_template_under_the_same_name_is_refused(tmp_path: Path) -> None:
    template = tmp_path / "chat.jinja"
    template.write_text("{{ one }}")
    config = {**RECIPE, "chat_template_jinja": str(template)}
    record = {"asked": asked_for(config)}
    assert changed_settings(record, config) == []
    template.write_text("{{ two }}")
    (text,) = changed_settings(record, config)
    assert text.startswith("content of chat_template_jinja ")
    written_out = {**RECIPE, "chat_template_jinja": "{% for message in messages %}\n" * 100}
    assert changed_settings({"asked": asked_for(written_out)}, written_out) == []


def test_a_named_checkpoint_keeps_its_own_runs_word(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "one")
    RunRecord(tmp_path / "one").update(**INTERRUPTED)
    start = {**RECIPE, "resume_from_checkpoint": str(checkpoint)}
    assert folder.prepare_resuming(tmp_path / "two", start) == str(checkpoint)
    with pytest.raises(UserError, match="learning_rate"):
        folder.prepare_resuming(tmp_path / "two", {**start, "learning_rate": 1e-3})


def test_a_recipe_that_does_not_go_on_does_not_write_over_a_run(tmp_path: Path) -> None:
    make_checkpoint(tmp_path)
    RunRecord(tmp_path).update(**INTERRUPTED)
    with pytest.raises(UserError, match="auto_resume_from_checkpoints: true"):
        folder.prepare_resuming(tmp_path, {**RECIPE, "auto_resume_from_checkpoints": False})
