"""What an unknown key was meant to be: another library's name, or a key of another place."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Collection
from typing import Any

from pydantic import BaseModel

from recipes.runner.core.nearest import did_you_mean, nearest
from recipes.runner.core.yaml_file import KeyPath
from recipes.runner.models.families import FAMILIES

# Names of Hugging Face's Trainer, PEFT, TRL, Unsloth, LLaMA-Factory and torchtune, with Axolotl's.
AXOLOTL_NAMES = {
    "per_device_train_batch_size": "micro_batch_size",
    "train_batch_size": "micro_batch_size",
    "per_device_batch_size": "micro_batch_size",
    "per_gpu_train_batch_size": "micro_batch_size",
    "train_micro_batch_size_per_gpu": "micro_batch_size",
    "per_device_eval_batch_size": "eval_batch_size",
    "max_seq_length": "sequence_len",
    "max_seq_len": "sequence_len",
    "max_sequence_length": "sequence_len",
    "max_length": "sequence_len",
    "seq_len": "sequence_len",
    "seq_length": "sequence_len",
    "model_max_length": "sequence_len",
    "block_size": "sequence_len",
    "cutoff_len": "sequence_len",
    "context_length": "sequence_len",
    "max_prompt_length": "max_prompt_len",
    "alpha": "lora_alpha",
    "r": "lora_r",
    "rank": "lora_r",
    "lora_rank": "lora_r",
    "lora_dim": "lora_r",
    "dropout": "lora_dropout",
    "target_modules": "lora_target_modules",
    "lora_target": "lora_target_modules",
    "lora_attn_modules": "lora_target_modules",
    "target_parameters": "lora_target_parameters",
    "modules_to_save": "lora_modules_to_save",
    "additional_target": "lora_modules_to_save",
    "layers_to_transform": "peft_layers_to_transform",
    "layers_pattern": "peft_layers_pattern",
    "layer_replication": "peft_layer_replication",
    "rank_pattern": "lora_rank_pattern",
    "alpha_pattern": "lora_alpha_pattern",
    "use_dora": "peft_use_dora",
    "use_rslora": "peft_use_rslora",
    "init_lora_weights": "peft_init_lora_weights",
    "fan_in_fan_out": "lora_fan_in_fan_out",
    "trainable_token_indices": "peft_trainable_token_indices",
    "loftq_config": "peft: {loftq_config: ...}",
    "finetuning_type": "adapter",
    "peft_type": "adapter",
    "model_name_or_path": "base_model",
    "pretrained_model_name_or_path": "base_model",
    "model_name": "base_model",
    "model_id": "base_model",
    "model": "base_model",
    "tokenizer_name": "tokenizer_config",
    "tokenizer": "tokenizer_config",
    "adapter_name_or_path": "lora_model_dir",
    "peft_model_id": "lora_model_dir",
    "model_revision": "revision_of_model",
    "revision": "revision_of_model",
    "num_train_epochs": "num_epochs",
    "epochs": "num_epochs",
    "n_epochs": "num_epochs",
    "max_train_steps": "max_steps",
    "max_iters": "max_steps",
    "lr": "learning_rate",
    "lr_scheduler_type": "lr_scheduler",
    "scheduler": "lr_scheduler",
    "optim": "optimizer",
    "adam_eps": "adam_epsilon",
    "adam_b1": "adam_beta1",
    "adam_b2": "adam_beta2",
    "num_warmup_steps": "warmup_steps",
    "gradient_clipping": "max_grad_norm",
    "clip_grad": "max_grad_norm",
    "grad_clip": "max_grad_norm",
    "gradient_accumulation": "gradient_accumulation_steps",
    "grad_accum_steps": "gradient_accumulation_steps",
    "packing": "sample_packing",
    "eval_packing": "eval_sample_packing",
    "evaluation_strategy": "eval_strategy",
    "use_gradient_checkpointing": "gradient_checkpointing",
    "enable_activation_checkpointing": "gradient_checkpointing",
    "random_state": "seed",
    "random_seed": "seed",
    "data_seed": "seed",
    "train_file": "datasets: [{path: ...}]",
    "dataset": "datasets: [{path: ...}]",
    "dataset_name": "datasets: [{path: ...}]",
    "dataset_path": "datasets: [{path: ...}]",
    "data_path": "datasets: [{path: ...}]",
    "train_dataset": "datasets: [{path: ...}]",
    "dataset_text_field": "datasets: [{field: ...}]",
    "validation_file": "test_datasets: [{path: ...}]",
    "eval_dataset": "test_datasets: [{path: ...}]",
    "val_dataset": "test_datasets: [{path: ...}]",
    "val_size": "val_set_size",
    "test_size": "val_set_size",
    "validation_split": "val_set_size",
    "template": "chat_template",
    "train_on_prompt": "train_on_inputs",
    "completion_only_loss": "train_on_inputs: false",
    "assistant_only_loss": "datasets: [{roles_to_train: [assistant]}]",
    "train_on_responses_only": "train_on_inputs: false",
    "neftune_alpha": "neftune_noise_alpha",
    "preprocessing_num_workers": "dataset_num_proc",
    "use_flash_attention_2": "attn_implementation: flash_attention_2",
    "use_flash_attn": "attn_implementation: flash_attention_2",
    "flash_attn": "attn_implementation: flash_attention_2",
    "use_sdpa": "attn_implementation: sdpa",
    "torch_dtype": "bf16 or fp16",
    "dtype": "bf16 or fp16",
    "mixed_precision": "bf16 or fp16",
    "precision": "bf16 or fp16",
    "report_to": "use_wandb, use_tensorboard or use_mlflow",
    "run_name": "wandb_name",
    "output_path": "output_dir",
    "save_dir": "output_dir",
    "beta": "rl_beta",
    "loss_type": "rl",
    "pref_loss": "rl",
    "pref_beta": "rl_beta",
    "quantization_bit": "load_in_4bit or load_in_8bit",
    "load_in_4_bit": "load_in_4bit",
    "quant_type": "bnb_config_kwargs: {bnb_4bit_quant_type: ...}",
    "double_quant": "bnb_config_kwargs: {bnb_4bit_use_double_quant: ...}",
    "double_quantization": "bnb_config_kwargs: {bnb_4bit_use_double_quant: ...}",
    "fsdp_transformer_layer_cls_to_wrap": "fsdp_config: {transformer_layer_cls_to_wrap: ...}",
    "num_proc": "dataset_num_proc",
    "push_to_hub_model_id": "hub_model_id",
    "push_to_hub": "hub_model_id",
    "hub_repo": "hub_model_id",
    "hub_repo_id": "hub_model_id",
    "repo_id": "hub_model_id",
    "use_peft": "adapter",
    "use_lora": "adapter",
    "use_4bit": "load_in_4bit",
    "use_8bit": "load_in_8bit",
    "max_new_tokens": "generation_max_new_tokens",
    "deepspeed_config": "deepspeed",
    "wandb_run_name": "wandb_name",
    "save_limit": "save_total_limit",
    "eval_every": "eval_steps",
    "save_every": "save_steps",
    "save_interval": "save_steps",
    "relora_steps": "jagged_restart_steps",
    "relora_warmup_steps": "jagged_restart_warmup_steps",
    "relora_anneal_steps": "jagged_restart_anneal_steps",
    "global_batch_size": "micro_batch_size times gradient_accumulation_steps",
    "eval_interval": "eval_steps",
    "log_interval": "logging_steps",
    "checkpoint_interval": "save_steps",
    "warmup_proportion": "warmup_ratio",
    "warmup_iters": "warmup_steps",
    "load_best_model": "load_best_model_at_end",
    "pad_token_id": "special_tokens: {pad_token: ...}",
    "eos_token_id": "special_tokens: {eos_token: ...}",
    "bnb_config": "bnb_config_kwargs",
    "bnb_kwargs": "bnb_config_kwargs",
    "quantization_config": "load_in_4bit or load_in_8bit",
    "train_split": "datasets: [{split: ...}]",
    "prompt_template": "chat_template",
    "early_stopping": "early_stopping_patience",
    "num_workers": "dataloader_num_workers",
    "log_every": "logging_steps",
    "attention": "attn_implementation",
    "attention_implementation": "attn_implementation",
    "attn_impl": "attn_implementation",
    "eta_min": "cosine_min_lr_ratio",
    "min_lr_ratio": "cosine_min_lr_ratio",
    "min_lr": "cosine_min_lr_ratio",
}  # fmt: skip
# Other libraries' keys for which Axolotl has none, with what it does instead.
_NEEDLESS = {
    "lora_bias": "Axolotl trains no biases with an adapter",
    "bias": "Axolotl trains no biases with an adapter",
    "task_type": "Axolotl sets it by itself",
    **dict.fromkeys(
        ("full_finetune", "full_finetuning", "full_ft"),
        "Axolotl trains every weight where no adapter is named",
    ),
    "save_embedding_layers": "PEFT saves them by itself where they are trained",
    "do_train": "axolotl train trains, whatever stands here",
    "do_eval": "Axolotl evaluates where there is validation data",
    "stage": "Axolotl trains by SFT, or by rl",
    "logging_dir": "Axolotl logs into output_dir",
    "overwrite_output_dir": "Axolotl always writes there",
    "logging_first_step": "Axolotl logs by logging_steps",
    "logging_strategy": "Axolotl logs by logging_steps",
    **dict.fromkeys(
        ("unsloth_lora_mlp", "unsloth_lora_qkv", "unsloth_lora_o"),
        "Axolotl has lora_mlp_kernel, lora_qkv_kernel and lora_o_kernel for it",
    ),
    **dict.fromkeys(
        ("n_gpu", "num_gpus", "gpu_ids", "gpus", "devices"),
        "GPUS= of the command and CUDA_VISIBLE_DEVICES say on what it runs",
    ),
    "use_liger_kernel": "The plugin axolotl.integrations.liger.LigerPlugin does it",
}
# Where keys belong that stand at the top: by their start.
_BELONGS = {
    "bnb_4bit_": "bnb_config_kwargs",
    "llm_int8_": "bnb_config_kwargs",
    "stage3_": "deepspeed: {zero_optimization: ...}",
    "offload_optimizer": "deepspeed: {zero_optimization: ...}",
}
# Keys of one entry that stand at the top.
_OF_A_DATA_SET = (
    "field_messages", "roles_to_train", "train_on_eos", "train_on_eot", "ds_type", "data_files",
    "field_human", "field_model", "field_instruction", "field_output", "message_property_mappings",
    "message_field_role", "message_field_content", "message_field_training", "roles",
    "drop_system_message", "field_chosen", "field_rejected", "split",
)  # fmt: skip


def unknown_key(
    key: str, known: Collection[str], path: KeyPath, siblings: dict[Any, Any]
) -> tuple[str, str]:
    """What to say about a key that no model at its place has.

    Args:
        key: the key.
        known: the keys that may stand there.
        path: the place.
        siblings: what stands there, for what was left out.

    Returns:
        What is wrong, and what to do.
    """
    if not path:
        return "unknown key", _at_the_top(key, known)
    if path[0] in ("datasets", "test_datasets") and len(path) == 2:
        return _in_a_data_set(key, known, siblings)
    if path == ("peft",):
        return "unknown key", _in_peft(key)
    if path == ("fsdp_config",) and (todo := _OF_FSDP1.get(key.removeprefix("fsdp_"))):
        return "unknown key", todo
    if path == ("fsdp_config",) and (plain := key.removeprefix("fsdp_")) != key:
        key = plain
    hint = did_you_mean(key, known)
    if not hint.startswith("Did") and len(known) > 12:
        hint = "No key of this place is like it: remove it"
    return "unknown key", hint


# What FSDP1 was told through accelerate, and Axolotl 0.19 has no field for.
_OF_FSDP1 = {
    "sharding_strategy": "Write reshard_after_forward: true for FULL_SHARD",
    **dict.fromkeys(
        ("limit_all_gathers", "backward_prefetch", "backward_prefetch_policy", "forward_prefetch"),
        "Take it out: FSDP2 does it by itself",
    ),
}


def _in_peft(key: str) -> str:
    """The block `peft` holds loftq_config alone; what PEFT's LoraConfig takes stands at the top."""
    near = nearest(key, ("loftq_config", *_OF_PEFT))
    if near in _OF_PEFT:
        return f"It belongs to the top, as {AXOLOTL_NAMES[near]}"
    return f"Did you mean {near}?" if near else "It holds loftq_config alone: remove it"


_OF_PEFT = (
    "target_modules", "target_parameters", "modules_to_save", "layers_to_transform",
    "layers_pattern", "rank_pattern", "alpha_pattern", "use_dora", "use_rslora",
    "init_lora_weights", "trainable_token_indices", "r", "lora_dim", "dropout",
)  # fmt: skip


def _at_the_top(key: str, known: Collection[str]) -> str:
    name = key.lower().replace("-", "_")
    if name in known and name != key:
        return f"Did you mean {name}?"
    if name in AXOLOTL_NAMES:
        return f"Axolotl's name for it is {AXOLOTL_NAMES[name]}"
    if name in _NEEDLESS:
        return f"{_NEEDLESS[name]}: remove it"
    for start, place in _BELONGS.items():
        if name.startswith(start):
            return f"It belongs into {place}"
    if name in _OF_A_DATA_SET:
        return "It belongs into an entry of datasets"
    if name in ("bos_token", "eos_token", "pad_token", "unk_token", "additional_special_tokens"):
        return "It belongs into special_tokens"
    if plugin := plugin_of_key(key):
        return f"It is a key of {plugin}: name that under plugins"
    if near := nearest(key, known):
        # Two names that share few letters are none for the other: use_peft is not use_eaft.
        likeness = difflib.SequenceMatcher(None, near.lower(), name).ratio()
        if likeness >= _LIKE or near.lower().startswith(name):
            return f"Did you mean {near}?"
    return "No key of Axolotl or a plugin is like it: remove it"


_LIKE = 0.72


def _in_a_data_set(key: str, known: Collection[str], siblings: dict[Any, Any]) -> tuple[str, str]:
    from axolotl.utils.schemas.config import AxolotlInputConfig
    from axolotl.utils.schemas.datasets import (
        DPODataset,
        KTODataset,
        SFTDataset,
        StepwiseSupervisedDataset,
        UserDefinedDPOType,
        UserDefinedKTOType,
        UserDefinedPrompterType,
    )

    hint = did_you_mean(key, known)
    for kind in (UserDefinedPrompterType, UserDefinedDPOType, UserDefinedKTOType):
        if key in kind.model_fields and key not in SFTDataset.model_fields:
            return "unknown key", f"It belongs into type: {{{key}: ...}}, a mapping of its own"
    if key in AxolotlInputConfig.model_fields and key not in SFTDataset.model_fields:
        return "unknown key", "It belongs to the top of the file, beside datasets"
    if key in SFTDataset.model_fields:
        kinds = "under this rl" if siblings.get("type") != "_synthetic" else "for this type"
        todo = f"Take it out; read here: {', '.join(sorted(known))}"
        return f"Axolotl drops it {kinds}", todo
    for other in (DPODataset, KTODataset, StepwiseSupervisedDataset):
        if key in other.model_fields:
            return "Axolotl drops it: it takes the entry for another kind", "Take it out"
    if not hint.startswith("Did"):
        hint = "No key of a data set is like it: remove it"
    return "unknown key", hint


@functools.cache
def _plugin_keys() -> dict[str, str]:
    """Every key that a plugin of Axolotl's or ours adds, with the plugin's name."""
    import axolotl.integrations

    found: dict[str, str] = {}
    packages = [
        f"axolotl.integrations.{module.name}"
        for module in pkgutil.iter_modules(axolotl.integrations.__path__)
        if module.ispkg
    ]
    for package in packages:
        try:
            arguments = importlib.import_module(f"{package}.args")
            root = importlib.import_module(package)
        except Exception:  # an integration whose own package is not installed
            continue
        plugins = [
            name
            for name, item in vars(root).items()
            if inspect.isclass(item) and name.endswith("Plugin") and name != "BasePlugin"
        ]
        if not plugins:
            continue
        for item in vars(arguments).values():
            if inspect.isclass(item) and issubclass(item, BaseModel) and item is not BaseModel:
                found.update(dict.fromkeys(item.model_fields, f"{package}.{plugins[0]}"))
    of_families = {
        family.options: family.plugin
        for family in FAMILIES.values()
        if family.options and family.plugin
    }
    return {**found, **_OWN_PLUGIN_KEYS, **of_families}


_OWN_PLUGIN_KEYS = {
    "overfitting_watch": "plugins.overfitting.OverfittingWatchPlugin",
    "answers_watch": "plugins.answers.AnswersPlugin",
    "preference_watch": "plugins.preference.PreferencePlugin",
    "spread_kinds": "plugins.packing.PackingPlugin",
}


def plugin_of_key(key: str) -> str | None:
    """The plugin that adds a key at the top of a recipe; None where none is known to."""
    return _plugin_keys().get(key)
