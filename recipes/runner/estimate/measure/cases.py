"""What is measured: three families and more, 512 to 8,192 tokens, full, LoRA and QLoRA."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from recipes.runner.models.families import LORA_KERNELS

_PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
_LIGER = {
    "plugins": ["axolotl.integrations.liger.LigerPlugin"], "liger_rms_norm": True,
    "liger_rope": True, "liger_glu_activation": True, "liger_fused_linear_cross_entropy": True,
}  # fmt: skip
_FALCON = {
    "plugins": ["plugins.hardware.HardwarePlugin", "plugins.falcon.FalconPlugin"],
    "lora_target_modules": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
}
_MODULES = dict.fromkeys(LORA_KERNELS, False)
_QLORA = {"adapter": "qlora", "load_in_4bit": True}
_LORA = {"adapter": "lora"}
_CHECKPOINT = {"gradient_checkpointing": True}

BASES: dict[str, dict[str, Any]] = {
    "falcon-7b": {
        "model_type": "falcon", "hidden_size": 4544, "num_hidden_layers": 32,
        "num_attention_heads": 71, "multi_query": True, "parallel_attn": True, "alibi": False,
        "bias": False, "new_decoder_architecture": False, "vocab_size": 65024,
    },
    "mistral-7b": {
        "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "vocab_size": 32768, "max_position_embeddings": 32768, "sliding_window": None,
    },
    "qwen2.5-7b": {
        "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944,
        "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
        "vocab_size": 152064, "max_position_embeddings": 32768,
    },
    "qwen3-0.6b": {
        "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072,
        "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
        "head_dim": 128, "vocab_size": 151936, "tie_word_embeddings": True,
    },
    "llama-1b": {
        "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192,
        "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 64, "vocab_size": 128256, "tie_word_embeddings": True,
        "max_position_embeddings": 131072,
    },
}  # fmt: skip
"""Configurations of the bases; their weights are random."""

_TINY = {
    "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 512,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One set-up: its base, its micro-batch, and what it adds to the common keys."""

    name: str
    base: str
    rows: int
    length: int
    keys: dict[str, Any] = field(default_factory=dict)


CASES = (
    Case("falcon-qlora-512", "falcon-7b", 1, 512, _FALCON | _QLORA | {"falcon": {"memory": "low"}}),
    Case("falcon-qlora", "falcon-7b", 4, 2048, _FALCON | _QLORA | {"falcon": {"memory": "low"}}),
    Case("falcon-lora", "falcon-7b", 1, 4096, _FALCON | _LORA | {"falcon": {"memory": "fast"}}),
    Case("mistral-qlora-liger", "mistral-7b", 1, 1024, _LIGER | _QLORA | _CHECKPOINT),
    Case("mistral-qlora-8192", "mistral-7b", 1, 8192, _LIGER | _QLORA | _CHECKPOINT),
    Case("mistral-lora-kept", "mistral-7b", 2, 2048, _LIGER | _LORA),
    Case("mistral-lora-modules", "mistral-7b", 1, 4096, _LORA | _MODULES | _CHECKPOINT),
    Case("mistral-8-bit", "mistral-7b", 1, 1024, _LORA | {"load_in_8bit": True} | _CHECKPOINT),
    Case("mistral-dora", "mistral-7b", 1, 1024, _QLORA | {"peft_use_dora": True} | _CHECKPOINT),
    Case("qwen-qlora-plain-loss", "qwen2.5-7b", 1, 2048, _QLORA | _CHECKPOINT),
    Case("qwen-qlora-8192", "qwen2.5-7b", 1, 8192, _LIGER | _QLORA | _CHECKPOINT),
    Case(
        "qwen-saved", "qwen2.5-7b", 1, 1024,
        _LIGER | _QLORA | _CHECKPOINT | {"lora_modules_to_save": ["embed_tokens", "lm_head"]},
    ),
    Case("qwen3-full", "qwen3-0.6b", 2, 1024, _CHECKPOINT),
    Case("qwen3-full-8-bit-optimizer", "qwen3-0.6b", 1, 512, {"optimizer": "adamw_8bit"}),
    Case("llama-full-liger", "llama-1b", 1, 4096, _LIGER | _CHECKPOINT),
    Case("llama-full-kept", "llama-1b", 1, 2048, _LIGER),
)  # fmt: skip


def base_config(name: str, tiny: bool) -> dict[str, Any]:
    """The configuration of a base, or of one of its family that a CPU trains."""
    config = BASES[name]
    if not tiny:
        return config
    small = {**config, **_TINY}
    if config["model_type"] != "falcon":
        small |= {"intermediate_size": 256, "num_key_value_heads": 2, "head_dim": 32}
    return small


def config_of(case: Case, model: str, data: str, folder: str, tiny: bool) -> dict[str, Any]:
    """The Axolotl configuration of a case.

    Args:
        case: which.
        model: folder of the model.
        data: JSONL file of rows that are tokens already, each as long as the case's length.
        folder: where the run may write.
        tiny: for a CPU: no kernels, short rows.
    """
    keys = dict(case.keys)
    adapter = (
        {"lora_r": 32, "lora_alpha": 32, "lora_dropout": 0.05, "lora_target_modules": _PROJECTIONS}
        if keys.get("adapter")
        else {}
    )
    config: dict[str, Any] = {
        "base_model": model, "bf16": True, "tf32": True, "attn_implementation": "sdpa",
        **adapter, "optimizer": "adamw_torch_fused", "learning_rate": 1e-5,
        "lr_scheduler": "constant", "warmup_steps": 0, "max_steps": STEPS, "num_epochs": 1000,
        "micro_batch_size": case.rows, "gradient_accumulation_steps": 1,
        "sequence_len": case.length, "sample_packing": False, "pad_to_sequence_len": True,
        "datasets": [{"path": data, "ds_type": "json", "type": ""}], "val_set_size": 0,
        "dataset_prepared_path": f"{folder}/prepared", "output_dir": f"{folder}/{case.name}",
        "save_strategy": "no", "logging_steps": 1, "gradient_checkpointing": False,
        "special_tokens": {"pad_token": "<pad>"}, "seed": 42,
        **keys,
    }  # fmt: skip
    config["plugins"] = [*config.get("plugins", []), PEAK_PLUGIN]
    if tiny:
        config |= _MODULES | {"optimizer": "adamw_torch", "bf16": False, "tf32": False}
        config["sequence_len"] = min(case.length, 64)
        config["plugins"] = ["plugins.hardware.HardwarePlugin", *config["plugins"]]
    return config


STEPS = 4
PEAK_PLUGIN = "recipes.runner.estimate.measure.peak.PeakPlugin"
