"""Whether a run that goes on from a checkpoint still has the settings that made the checkpoint.

The optimizer and the scheduler come back with the learning rate, weight decay, betas and warm-up of
the checkpoint, whatever the recipe says now: torch's ``load_state_dict`` takes the saved groups. So
every setting must be what it was, but for those that are read anew or change no number. When to
log, evaluate and save comes from there too (transformers 5: `TrainerState.load_from_json`).
"""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

from recipes.runner.core.hashes import file_hash
from recipes.runner.core.paths import ROOT

# Read anew when a run goes on, or without effect on what is learnt; a * stands for any ending.
_MAY_DIFFER = (
    # how long, and what is kept
    "num_epochs", "max_steps", "eval_strategy", "save_strategy", "save_total_limit",
    "save_only_model", "save_first_step", "early_stopping_patience", "auto_resume_from_checkpoints",
    "resume_from_checkpoint", "profiler_*", "debug*", "loss_watchdog_*",
    # how many sequences a step: looked at together with the number of ranks
    "micro_batch_size", "gradient_accumulation_steps", "batch_size", "eval_batch_size",
    # where it runs, and how fast
    "bf16", "fp16", "tf32", "bfloat16", "float16", "gradient_checkpointing*",
    "activation_offloading",
    "attn_implementation", "flash_attention", "sdp_attention", "eager_attention", "flex_attention",
    "xformers_attention", "sage_attention", "lora_*_kernel", "torch_compile*", "dataloader_*",
    "dataset_processes", "dataset_num_proc", "dataset_prepared_path", "dataset_keep_in_memory",
    "deepspeed", "fsdp*", "ddp*", "world_size", "local_rank", "device*", "max_memory",
    "gpu_memory_limit", "low_cpu*", "gc_steps", "gc_collect_steps", "torch_empty_cache_steps",
    "liger_*", "cut_cross_entropy", "falcon", "fused", "use_ray", "ray_*", "use_kernels",
    "use_*_kernels", "use_scattermoe", "use_sonicmoe", "plugins",
    # what is shown and kept
    "output_dir", "hub_*", "push_*", "use_wandb", "use_tensorboard", "use_mlflow", "use_comet",
    "use_trackio", "use_swanlab", "use_otel_metrics", "wandb_*", "mlflow_*", "comet_*", "trackio_*",
    "otel_*", "swanlab_*", "gradio_*", "generate_samples", "generation_*", "num_generation_samples",
    "overfitting_watch", "preference_watch", "axolotl_config_path", "capabilities",
    "env_capabilities", "strict", "prompter", "shard", "is_preprocess", "skip_prepare_dataset",
)  # fmt: skip
_TEMPLATE = "content of chat_template_jinja"
_NOT_SHOWN = 60  # characters of a value


def changed_settings(record: dict[str, Any], config: dict[str, Any]) -> list[str]:
    """What differs between a run's record and the recipe as it is now.

    Args:
        record: of the run whose checkpoint is here.
        config: the recipe's keys, overrides applied, before Axolotl's own changes.

    Returns:
        ``key before -> now`` for each; empty where nothing does that matters.
    """
    before = record.get("asked")
    if not isinstance(before, dict):
        return []
    changed = []
    config = asked_for(config)
    for key in sorted({*before, *config}):
        then, now = before.get(key), config.get(key)
        if any(fnmatch.fnmatchcase(key, pattern) for pattern in _MAY_DIFFER):
            continue
        if _plain(then) != _plain(now):
            changed += _differences(key, then, now)
    then, now = (_falcon_is_on(settings) for settings in (before, config))
    if then != now:
        changed.append(f"falcon.enabled {then} -> {now}")
    return changed + _changed_data(record)


def asked_for(config: dict[str, Any]) -> dict[str, Any]:
    """What of a recipe's keys a record keeps, so that a later command can be compared."""
    unshown = ("axolotl_config_path", "capabilities", "env_capabilities")
    asked = {key: value for key, value in config.items() if key not in unshown}
    template = config.get("chat_template_jinja")
    written_out = isinstance(template, str) and ("{" in template or "\n" in template)
    if isinstance(template, str) and not written_out and (ROOT / template).is_file():
        asked[_TEMPLATE] = file_hash(ROOT / template)[:8]
    return asked


def _differences(key: str, then: Any, now: Any) -> list[str]:
    """The keys inside that differ, where both are mappings or lists of as many."""
    if isinstance(then, dict) and isinstance(now, dict):
        pairs = [(f"{key}.{name}", then.get(name), now.get(name)) for name in {**then, **now}]
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        pairs = [
            (f"{key}[{n}]", one, other)
            for n, (one, other) in enumerate(zip(then, now, strict=True))
        ]
    else:
        return [f"{key} {_shown(then)} -> {_shown(now)}"]
    return [
        text for name, a, b in pairs if _plain(a) != _plain(b) for text in _differences(name, a, b)
    ]


def _plain(value: Any) -> Any:
    """A value as it is compared: 1e-4 written as text is the number, and nothing is nothing."""
    if isinstance(value, dict):
        plain = {str(key): _plain(item) for key, item in value.items()}
        return {key: item for key, item in plain.items() if item is not None} or None
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value] or None
    if isinstance(value, bool) or value is None:
        return value
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return str(value)


def _shown(value: Any) -> str:
    text = "unset" if value is None else str(value)
    return text if len(text) <= _NOT_SHOWN else f"{text[: _NOT_SHOWN - 3]}..."


def _falcon_is_on(config: dict[str, Any]) -> bool:
    block = config.get("falcon")
    return block.get("enabled", True) is not False if isinstance(block, dict) else True


def _changed_data(record: dict[str, Any]) -> list[str]:
    """Files of the run's data whose content is another one now."""
    changed = []
    for entry in record.get("data") or []:
        path, then = Path(str(entry.get("path"))), str(entry.get("sha256") or "")
        if then and path.is_file():
            now = file_hash(path)
            if now != then:
                changed.append(f"{path} (sha256 {then[:8]} -> {now[:8]})")
    return changed
