"""Settings that each are right, and together do nothing, do harm, or stop the run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recipes.runner.check.against_run import most_steps, validates
from recipes.runner.check.base_model import built_config, embedding_modules, vocabulary
from recipes.runner.check.conditions import attention_of, is_given
from recipes.runner.check.finding import Finding, is_ours, listed, mapping, number
from recipes.runner.check.tokenizers import tokenizer_name
from recipes.runner.core.yaml_file import KeyPath


def check_consequences(config: dict[str, Any]) -> Iterator[Finding]:
    """What settings do to each other."""
    yield from _precision(config)
    yield from _held_out_in_vain(config)
    yield from _workers(config)
    yield from _restarts(config)
    yield from _divided(config)
    yield from _new_tokens(config)
    yield from _of_the_adapter(config)
    yield from _idle_plugin(config)
    if is_given(config.get("lisa_n_layers")) and config.get("adapter"):
        what = "gives the base's layers gradients in turn, and an adapter is trained beside them"
        yield Finding(("lisa_n_layers",), what, "Take one of them out", "warning")


def _idle_plugin(config: dict[str, Any]) -> Iterator[Finding]:
    liger = any(str(name).endswith("LigerPlugin") for name in listed(config.get("plugins")))
    if liger and not any(str(key).startswith("liger_") and config[key] for key in config):
        what = "names liger's plugin, and no liger_* key: it changes nothing"
        todo = "Add liger_rope, liger_rms_norm, liger_glu_activation or a fused loss"
        yield Finding(("plugins",), what, todo, "warning")


def _precision(config: dict[str, Any]) -> Iterator[Finding]:
    """Flash attention's kernels know 16 bits alone."""
    sixteen = [config.get(key) for key in ("bf16", "bfloat16", "fp16", "float16")]
    off = config.get("bf16") is False and not any(sixteen)
    name = attention_of(config)
    if off and name.startswith("flash"):
        key = "attn_implementation" if config.get("attn_implementation") else "flash_attention"
        what = f"is {name}, whose kernels know 16 bits alone, and bf16 and fp16 are off"
        yield Finding((key,), what, "Write bf16: auto, or attn_implementation: sdpa", "warning")


def _held_out_in_vain(config: dict[str, Any]) -> Iterator[Finding]:
    if config.get("eval_strategy") in ("no", False) and validates(config):
        what = "is no, and rows are held out: they are neither trained on nor looked at"
        yield Finding(("eval_strategy",), what, "Write val_set_size: 0", "warning")
    best = ("load_best_model_at_end", "early_stopping_patience")
    wanted = any(config.get(key) for key in best) or config.get("save_strategy") == "best"
    for key in ("metric_for_best_model", "greater_is_better"):
        if is_given(config.get(key)) and not wanted and not is_ours(config):
            what = "is not read: nothing asks for the best checkpoint"
            yield Finding((key,), what, "Add load_best_model_at_end: true", "warning")
    if config.get("save_only_model") and config.get("auto_resume_from_checkpoints"):
        what = "is true, and a checkpoint without its optimizer can't be gone on from"
        yield Finding(("save_only_model",), what, "Take one out", "warning")


def _workers(config: dict[str, Any]) -> Iterator[Finding]:
    """PyTorch's loader fetches ahead by its workers alone."""
    ahead = number(config.get("dataloader_prefetch_factor"))
    if ahead and number(config.get("dataloader_num_workers")) == 0:
        what = "needs dataloader_num_workers above 0, and it is 0: PyTorch stops there"
        yield Finding(("dataloader_prefetch_factor",), what, "Take it out")


def _restarts(config: dict[str, Any]) -> Iterator[Finding]:
    every, steps = number(config.get("jagged_restart_steps")), most_steps(config)
    if every and steps is not None and every >= steps:
        what = f"is {every:g}, and the run has {steps:,} steps at the most: it never restarts"
        yield Finding(("jagged_restart_steps",), what, "Lower it", "warning")


def _divided(config: dict[str, Any]) -> Iterator[Finding]:
    """Heads that devices share."""
    built = built_config(config)
    heads = getattr(built, "num_attention_heads", None)
    shared = getattr(built, "num_key_value_heads", None) or heads
    for key, of, what in (
        ("tensor_parallel_size", heads, "attention heads"),
        ("heads_k_stride", shared, "key heads"),
    ):
        parts = number(config.get(key))
        if isinstance(of, int) and parts is not None and parts >= 1 and of % parts:
            yield Finding((key,), f"is {parts:g}, which does not divide {of} {what}", "Lower it")


def _new_tokens(config: dict[str, Any]) -> Iterator[Finding]:
    """Embeddings of new tokens start at random or as a mean, and an adapter leaves them so."""
    name, new = tokenizer_name(config), config.get("tokens")
    if config.get("adapter") not in ("lora", "qlora") or not isinstance(new, list):
        return
    found = vocabulary(name) if name else None
    if found is None:
        return
    tokens, all_of_them = found
    modules = embedding_modules(config)
    named = [config.get("lora_modules_to_save"), config.get("lora_target_modules")]
    trained = any(name in str(named) for name in ("embed", modules[0]))
    trained = trained or is_given(config.get("peft_trainable_token_indices"))
    added = [str(token) for token in new if str(token) not in tokens]
    if added and not trained:
        adds = "adds" if all_of_them else "may add"
        what = f"{adds} {', '.join(added[:3])}, whose embeddings nothing trains"
        todo = f"Add lora_modules_to_save: [{', '.join(modules)}]"
        yield Finding(("tokens",), what, todo, "warning")


def _of_the_adapter(config: dict[str, Any]) -> Iterator[Finding]:
    start, given = config.get("peft_init_lora_weights"), mapping(config, "peft")
    place: KeyPath = ("peft_init_lora_weights",)
    if start == "loftq" and not given.get("loftq_config"):
        what = "is loftq, which needs peft: {loftq_config: {loftq_bits: 4}}"
        yield Finding(place, what, "Add it")
    if given.get("loftq_config") and (config.get("load_in_4bit") or config.get("load_in_8bit")):
        what = "quantises a base by itself, and this one is loaded quantised already"
        yield Finding(("peft", "loftq_config"), what, "Write load_in_4bit: false", "warning")
