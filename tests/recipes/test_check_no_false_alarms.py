"""What Axolotl reads passes: each alarm is a key that Axolotl drops or a file that it refuses."""

from __future__ import annotations

import copy
import enum
import typing
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from recipes.runner.check.finding import Finding
from recipes.runner.check.keys import inspect_config, inspect_recipe
from recipes.runner.check.refusals import validated
from recipes.runner.check.schema import check_root, root_models
from recipes.runner.core.quiet import quiet
from recipes.runner.core.yaml_file import YamlFile

BASE = {
    "base_model": "org/model",
    "datasets": [{"path": "org/data", "type": "chat_template"}],
    "val_set_size": 0.05,
    "learning_rate": 0.0002,
    "micro_batch_size": 1,
    "num_epochs": 1,
    "optimizer": "adamw_torch",
    "output_dir": "runs/x",
}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def errors(config: dict[str, Any]) -> list[str]:
    with quiet():
        report = inspect_config(config, YamlFile(Path("recipe.yaml"), config))
    return [str(error) for error in report.errors]


def findings(config: dict[str, Any]) -> list[Finding]:
    with quiet():
        return [f for f in check_root(config, root_models([])) if f.level == "error"]


def sample(annotation: Any) -> Any:
    """A value of a type."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return arguments[0]
    if origin is typing.Annotated:
        return sample(arguments[0])
    if origin in (list, tuple, set):
        return [sample(arguments[0])] if arguments else []
    if origin is dict:
        return {sample(arguments[0]): sample(arguments[1])} if arguments else {}
    if arguments:
        return sample(next(a for a in arguments if a is not type(None)))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return next(iter(annotation)).value
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {
            name: sample(field.annotation)
            for name, field in annotation.model_fields.items()
            if field.is_required()
        }
    return {int: 1, float: 0.5, str: "x", bool: True, dict: {}, list: []}.get(annotation, "x")


def test_no_key_of_the_schema_is_unknown_at_any_depth() -> None:
    """Every field of every model, with a value of its type: known, whatever else is said of it."""
    with quiet():
        from axolotl.utils.schemas.config import AxolotlConfigWCapabilities as Config
    checked = 0
    for name, field in Config.model_fields.items():
        value = sample(field.annotation)
        unknown = [f for f in findings({name: value}) if f.what == "unknown key"]
        assert not unknown, (name, value, unknown)
        checked += 1
    assert checked > 350


@pytest.mark.parametrize("rl", ["dpo", "ipo", "simpo", "kto", "orpo", "grpo", None])
def test_keys_of_a_data_set_are_those_that_axolotl_keeps(rl: str | None) -> None:
    """For every kind of run: a key is refused exactly where Axolotl's own validation drops it."""
    with quiet():
        from axolotl.utils.schemas import datasets as known
    models = (known.SFTDataset, known.DPODataset, known.KTODataset, known.StepwiseSupervisedDataset)
    names = {name for model in models for name in model.model_fields} - {"path", "type"}
    names -= {"message_field_role", "message_field_content"}  # old, and read as a mapping
    config: dict[str, Any] = {**BASE, "datasets": [{"path": "org/data", "type": "x"}]}
    config |= {"rl": rl} if rl else {}
    for name in sorted(names):
        chosen_first = sorted(models, key=lambda model: model is not _as_axolotl_chooses(rl))
        model = next(model for model in chosen_first if name in model.model_fields)
        value = sample(model.model_fields[name].annotation)
        entry = {"path": "org/data", "type": "x", name: value}
        refused = any(
            f.place == ("datasets", 0, name) and ("unknown" in f.what or "drops" in f.what)
            for f in findings({**config, "datasets": [entry]})
        )
        with quiet():
            chosen = _as_axolotl_chooses(rl)(**copy.deepcopy(entry))
        kept = name in chosen.model_dump(exclude_unset=True)
        assert refused is not kept, (rl, name)


def _as_axolotl_chooses(rl: str | None) -> Any:
    """What `axolotl.utils.config.validate_config` does with an entry."""
    from axolotl.utils.schemas import datasets as known

    if rl in ("dpo", "ipo", "simpo"):
        return known.DPODataset
    return known.KTODataset if rl == "kto" else known.SFTDataset


@pytest.mark.parametrize(
    "keys",
    [
        {"fsdp_config": {"fsdp_version": 2, "fsdp_offload_params": True,
                         "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP"}},
        {"fsdp_config": {"version": 2, "state_dict_type": "FULL_STATE_DICT"}},
        {"qat": {"activation_dtype": "int8", "weight_dtype": "int4", "group_size": 32}},
        {"datasets": [{"path": "synthetic", "type": "_synthetic", "length": 5}]},
        {"datasets": [{"path": "a/b", "type": {"field_instruction": "q", "field_output": "a"}}]},
        {"datasets": [{"path": "a/b", "type": "chat_template", "message_field_role": "from",
                       "message_field_content": "value"}]},
        {"datasets": [{"path": "s3://bucket/train.parquet", "type": "alpaca"}]},
        {"datasets": [{"path": "https://example.org/rows.jsonl", "type": "alpaca"}]},
        {"datasets": [{"path": "a/b", "type": "alpaca_chat.load_qa", "shards": 5}]},
        {"datasets": [{"path": "a/b", "type": "completion", "field": "t", "split": "train[:9%]"}]},
        {"datasets": None, "pretraining_dataset": [{"path": "a/b", "name": "en"}], "max_steps": 9,
         "val_set_size": 0},
        {"rl": "dpo", "datasets": [{"path": "a/b", "type": "chat_template.default",
                                    "field_messages": "m", "field_chosen": "c"}]},
        {"rl": "kto", "datasets": [{"path": "a/b", "type": "llama3.argilla", "split": "train"}],
         "remove_unused_columns": False, "micro_batch_size": 2},
        {"rl": "orpo", "datasets": [{"path": "a/b", "type": "chat_template.argilla"}]},
        {"test_datasets": [{"path": "a/c", "type": "chat_template", "split": "test"}],
         "val_set_size": None},
        {"jagged_restart_anneal_steps": False},
        {"deepspeed": {"zero_optimization": {"stage": 3, "overlap_comm": True},
                       "bf16": {"enabled": "auto"}, "train_batch_size": "auto"}},
        {"plugins": ["axolotl.integrations.liger.LigerPlugin"], "liger_rope": True},
        {"adapter": "lora", "lora_r": 8, "lora_alpha": 16, "lora_target_modules": ["q_proj"]},
        {"chat_template": "tokenizer_default_fallback_chatml"},
        {"max_memory": {0: "20GiB", "cpu": "50GiB"}},
        {"learning_rate": "2e-4", "special_tokens": {"pad_token": "<|end|>"}},
        {"eval_steps": 0.1, "save_steps": 0.2},
        {"lr_scheduler": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-6}},
        {"attn_implementation": "kernels-community/flash-attn3"},
        {"hub_model_id": "a/b", "wandb_project": None, "adapter": None, "deepspeed": None},
    ],
    ids=str,
)  # fmt: skip
def test_what_axolotl_takes_passes(keys: dict[str, Any]) -> None:
    config = {key: value for key, value in {**BASE, **keys}.items() if value is not None}
    with quiet():
        validated(config)  # the oracle: Axolotl takes it
    assert errors(config) == []


@pytest.mark.parametrize(
    ("keys", "place", "words"),
    [
        (
            {"val_set_size": 0.1, "test_datasets": [{"path": "a/c"}]},
            "val_set_size",
            "test_datasets",
        ),
        ({"eval_steps": 5, "evals_per_epoch": 2}, "eval_steps", "mutually exclusive"),
        ({"sample_packing": True, "rl": "dpo"}, "sample_packing", "sample_packing"),
        ({"load_in_4bit": True}, "load_in_4bit", "without setting an adapter"),
        ({"save_safetensors": False}, "save_safetensors", "not supported"),
    ],
)
def test_what_axolotl_refuses_is_said_at_the_key_that_it_names(
    keys: dict[str, Any], place: str, words: str
) -> None:
    config = {**BASE, **keys}
    with quiet():
        report = inspect_recipe(config, YamlFile(Path("recipe.yaml"), config))
    assert any(place in str(error) and words in str(error) for error in report.errors), (
        report.errors
    )
