"""Numbers out of range, and names that are none of the known ones."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

from recipes.runner.check.finding import Finding, listed, mapping, number, spelt, words
from recipes.runner.check.schema import load_plugin_class
from recipes.runner.core.nearest import did_you_mean, nearest

_Bounds = tuple[float, float, bool, str]
"""Least, most, whether the most itself is allowed, and what is wrong outside."""

_COUNT = (1, math.inf, True, "must be 1 or more")
_NOT_NEGATIVE = (0, math.inf, True, "must not be negative")
_SHARE = (0, 1, True, "must lie between 0 and 1")
_BELOW_ONE = (0, 1, False, "must be 0 or more and less than 1")

_BOUNDS: dict[str, _Bounds] = {
    **dict.fromkeys(
        words("""
    lora_r micro_batch_size eval_batch_size batch_size gradient_accumulation_steps
    sequence_len eval_sequence_len logging_steps dataset_processes dataset_num_proc
    pad_to_multiple_of sample_packing_group_size sample_packing_bin_size
    context_parallel_size num_labels sequence_parallel_degree tensor_parallel_size
    dp_shard_size dp_replicate_size chunked_cross_entropy_num_chunks lisa_n_layers
    lisa_step_interval gradio_max_new_tokens generation_max_new_tokens max_prompt_len
    tiled_mlp_num_shards qgalore_rank dataset_shard_num loss_watchdog_patience
    ray_num_workers dataloader_prefetch_factor
    """),
        _COUNT,
    ),
    **dict.fromkeys(
        words("""
    warmup_steps weight_decay max_grad_norm save_total_limit dataloader_num_workers
    evals_per_epoch saves_per_epoch neftune_noise_alpha gradio_temperature lora_alpha
    generation_temperature eval_table_size eval_max_new_tokens dataset_shard_idx
    val_set_size embedding_lr loraplus_lr_ratio loraplus_lr_embedding
    early_stopping_patience dpo_beta rl_beta orpo_alpha simpo_gamma cpo_alpha rpo_alpha
    min_sample_len ddp_timeout jagged_restart_steps jagged_restart_warmup_steps
    jagged_restart_anneal_steps
    """),
        _NOT_NEGATIVE,
    ),
    **dict.fromkeys(
        [
            "cosine_min_lr_ratio",
            "cosine_constant_lr_ratio",
            "sample_packing_eff_est",
            "generation_top_p",
        ],
        _SHARE,
    ),
    **dict.fromkeys(
        ["lora_dropout", "adam_beta1", "adam_beta2", "adam_beta3", "dpo_label_smoothing"],
        _BELOW_ONE,
    ),
    "warmup_ratio": (0, 1, False, "must be 0 or more and less than 1: a share of all steps"),
    "gradio_server_port": (0, 65_535, True, "is no port"),
    "seed": (0, 2**32 - 1, True, "must lie between 0 and 4,294,967,295"),
}
# At 0 these mean something else than a small number would.
_ABOVE_ZERO = {
    "num_epochs": "trains 0 steps",
    "learning_rate": "trains nothing",
    "adam_epsilon": "keeps nothing from being divided by zero",
    "save_steps": "never saves",
    "eval_steps": "never evaluates",
}
_LEAST_RATE, _MOST_RATE = 1e-7, 1e-1
_MOST_SCALING, _MOST_DROPOUT, _MOST_EPSILON, _MOST_HELD_OUT = 64, 0.5, 1e-2, 0.5


# Key, the most that is hardly meant otherwise, and what is usual.
_HARDLY_MORE = (
    ("neftune_noise_alpha", 50, "usual are 5 to 15"),
    ("dataloader_num_workers", 64, "usual are 1 to 8 a device"),
)


def check_numbers(config: dict[str, Any]) -> Iterator[Finding]:
    """Numbers that can't work, and some that are hardly meant."""
    for key, value in config.items():
        found = number(value)
        if found is None or not isinstance(key, str):
            continue
        place = (key,)
        if not math.isfinite(found) and (key in _BOUNDS or key in _ABOVE_ZERO):
            yield Finding(place, f"is {spelt(value)}, which is no number to train with")
        elif key in _BOUNDS:
            least, most, allowed, wrong = _BOUNDS[key]
            if found < least or found > most or (found == most and not allowed):
                yield Finding(place, f"is {spelt(value)}: {wrong}", "Give another number")
        elif key in _ABOVE_ZERO and found <= 0:
            todo = "Take it out" if key.endswith("_steps") else "Give a number above 0"
            # Axolotl takes 0 steps for none given.
            level = "warning" if key.endswith("_steps") and found == 0 else "error"
            yield Finding(place, f"is {spelt(value)}: {_ABOVE_ZERO[key]}", todo, level)  # type: ignore[arg-type]
    yield from _special_numbers(config)


def _special_numbers(config: dict[str, Any]) -> Iterator[Finding]:
    rate = number(config.get("learning_rate"))
    if rate is not None and rate > 0 and not _LEAST_RATE <= rate <= _MOST_RATE:
        what = f"is {rate:g}, far from what trains: 1e-7 to 1e-1"
        yield Finding(("learning_rate",), what, "Usual are 1e-5 to 3e-4", "warning")
    steps = number(config.get("max_steps"))
    if steps is not None and (steps == 0 or steps < -1):
        todo = "Give a number above 0, or take it out"
        yield Finding(("max_steps",), f"is {spelt(config['max_steps'])}: trains 0 steps", todo)
    if config.get("adapter") and number(config.get("lora_alpha")) == 0:
        what = "is 0: the adapter is multiplied by it, and trains nothing"
        yield Finding(("lora_alpha",), what, "Give lora_r or twice that", "warning")
    patience = number(config.get("early_stopping_patience"))
    if patience == 0 and not isinstance(config.get("early_stopping_patience"), bool):
        what = "is 0: Axolotl takes it for no early stopping"
        todo = "Give 1 or more, or take it out"
        yield Finding(("early_stopping_patience",), what, todo, "warning")
    if number(config.get("save_total_limit")) == 0:
        what = "is 0: Axolotl takes it for none given, and keeps 4"
        yield Finding(("save_total_limit",), what, "Give 1 or more", "warning")
    epochs = number(config.get("num_epochs"))
    if epochs is not None and 100 < epochs < math.inf:
        yield Finding(("num_epochs",), f"is {epochs:g}: usual are 1 to 10", "", "warning")
    ratio = number(config.get("loraplus_lr_ratio"))
    if ratio is not None and 0 <= ratio < 1:
        what = f"is {ratio:g}: LoRA+ is for a B that learns faster, 2 to 16 times"
        yield Finding(("loraplus_lr_ratio",), what, "", "warning")
    version = number(config.get("fsdp_version", mapping(config, "fsdp_config").get("fsdp_version")))
    if version is not None and version not in (1, 2):
        place = ("fsdp_version",) if "fsdp_version" in config else ("fsdp_config", "fsdp_version")
        yield Finding(place, f"is {version:g}: FSDP has the versions 1 and 2")
    shortest, longest = number(config.get("min_sample_len")), number(config.get("sequence_len"))
    if shortest and longest and shortest > longest:
        what = f"is {shortest:g}, longer than sequence_len: every row is dropped"
        yield Finding(("min_sample_len",), what, "Lower it")
    if config.get("fp16") is True and config.get("bf16") not in (None, False):
        what = "is true beside bf16: one of them is not obeyed"
        yield Finding(("fp16",), what, "Write bf16: false, or take it out", "warning")
    for key, now in _OLD_NAMES.items():
        if config.get(key) is not None:
            what = f"is an old name, which Axolotl reads as {now}"
            yield Finding((key,), what, f"Write {now}", "note")
    yield from _hardly_meant(config)
    for key in ("lr_div_factor", "preprocess_iterable", "max_prompt_len"):
        if config.get(key) is not None:
            what = "is in Axolotl's schema, and nothing of it reads the key"
            yield Finding((key,), what, "Take it out", "warning")
    weight_decay = number(config.get("weight_decay"))
    if weight_decay is not None and weight_decay >= 1:
        what = f"is {weight_decay:g}: usual are 0 to 0.1"
        yield Finding(("weight_decay",), what, "", "warning")
    for key, most, usual in _HARDLY_MORE:
        value = number(config.get(key))
        if value is not None and most < value < math.inf:
            yield Finding((key,), f"is {value:g}: {usual}", "", "warning")
    length = number(config.get("sequence_len"))
    if length is not None and 1 <= length < 32:
        what = f"is {length:g} tokens: hardly one sentence"
        yield Finding(("sequence_len",), what, "", "warning")
    share = number(config.get("val_set_size"))
    if share is not None and (share == 1 or (1 < share < 1e12 and share != int(share))):
        what = f"is {share:g}: neither a share below 1 nor a number of rows"
        yield Finding(("val_set_size",), what, "Give 0.05, or a whole number of rows")
    elif share is not None and _MOST_HELD_OUT < share < 1:
        what = f"is {share:g}: more rows are held out than trained on"
        yield Finding(("val_set_size",), what, "Usual are 0.01 to 0.2", "warning")
    if config.get("adapter") in ("lora", "qlora"):
        for key in ("lora_r", "lora_alpha"):
            if key in config and config[key] is None:
                yield Finding((key,), "is empty, and the adapter needs it", "Give a whole number")
            elif key not in config and not config.get("lora_model_dir"):
                yield Finding(("adapter",), f"needs {key}, which is not there", "Add it")


def _hardly_meant(config: dict[str, Any]) -> Iterator[Finding]:
    """Numbers that run, and are a slip of the pen more often than not."""
    alpha, rank = number(config.get("lora_alpha")), number(config.get("lora_r"))
    if alpha and rank and rank > 0 and math.isfinite(alpha) and alpha / rank > _MOST_SCALING:
        what = (
            f"is {alpha:g}: the adapter is multiplied by lora_alpha / lora_r = {alpha / rank:,.0f}"
        )
        yield Finding(("lora_alpha",), what, "Usual are 1 to 4 times lora_r", "warning")
    dropout = number(config.get("lora_dropout"))
    if dropout is not None and _MOST_DROPOUT < dropout < 1:
        what = f"is {dropout:g}: that much of each input is thrown away"
        yield Finding(("lora_dropout",), what, "Usual are 0 to 0.1", "warning")
    epsilon = number(config.get("adam_epsilon"))
    if epsilon is not None and _MOST_EPSILON < epsilon < math.inf:
        what = f"is {epsilon:g}, beside which gradients count for nothing"
        yield Finding(("adam_epsilon",), what, "Usual are 1e-8 to 1e-6", "warning")
    if config.get("group_by_length") is True and config.get("sample_packing") is True:
        what = "is not read with sample_packing, which has an order of its own"
        yield Finding(("group_by_length",), what, "Take it out", "warning")


def check_names(config: dict[str, Any]) -> Iterator[Finding]:
    """Names that Axolotl takes as any text, and that are none when the trainer is built."""
    for key, names in _NAMES.items():
        value = config.get(key)
        if not isinstance(value, str) or not value:
            continue
        known = names()
        if value not in known:
            usual = _USUAL.get(value.lower())
            todo = f"Did you mean {usual}?" if usual in known else did_you_mean(value, known)
            yield Finding((key,), f"there is no {_kind(key)} {value}", todo)
    yield from _near_names(config)
    yield from _metric(config)


# Names by which an optimizer or scheduler goes elsewhere.
_USUAL = {
    "adam": "adamw_torch_fused",
    "adamw": "adamw_torch_fused",
    "adamw_hf": "adamw_torch_fused",
    "adam_8bit": "adamw_8bit",
    "adamw8bit": "adamw_8bit",
    "lion": "lion_32bit",
    "lion_pytorch": "lion_32bit",
    "lion8bit": "lion_8bit",
    "paged_lion": "paged_lion_32bit",
    "adamw_bnb": "adamw_8bit",
    "paged_adamw": "paged_adamw_32bit",
    "linear_with_warmup": "linear",
    "cosine_with_warmup": "cosine",
    "cosine_annealing": "cosine",
    "constant_warmup": "constant_with_warmup",
}
_OLD_NAMES = {
    "evaluation_strategy": "eval_strategy",
    "dpo_beta": "rl_beta",
    "noisy_embedding_alpha": "neftune_noise_alpha",
    "sequence_parallel_degree": "context_parallel_size",
    "dataset_processes": "dataset_num_proc",
    "pretrain_multipack_buffer_size": "streaming_multipack_buffer_size",
}
# Names that others may add to: only what is near a known one is a typing error.
_OPEN_NAMES = {
    "torch_compile_backend": words("inductor eager aot_eager cudagraphs tensorrt openxla tvm ipex"),
    "wandb_log_model": ("checkpoint", "end", "false"),
    "wandb_mode": ("online", "offline", "disabled", "shared"),
    "adapter": ("lora", "qlora", "llama-adapter"),
}


def _near_names(config: dict[str, Any]) -> Iterator[Finding]:
    for key, known in _OPEN_NAMES.items():
        value = config.get(key)
        if isinstance(value, str) and value not in known and (near := nearest(value, known)):
            yield Finding((key,), f"there is no {_kind(key)} {value}", f"Did you mean {near}?")
    start = config.get("peft_init_lora_weights")
    named = isinstance(start, str) and not start.startswith("pissa_niter_")
    if named and start not in _starts():
        what = f"PEFT starts no adapter by {start}"
        yield Finding(("peft_init_lora_weights",), what, did_you_mean(str(start), _starts()))


@functools.cache
def _starts() -> tuple[str, ...]:
    import typing

    from peft import LoraConfig

    hints = typing.get_args(typing.get_type_hints(LoraConfig)["init_lora_weights"])
    names = [name for hint in hints for name in typing.get_args(hint)]
    return tuple(name for name in names if "[" not in name)


def _kind(key: str) -> str:
    return {"lr_scheduler": "scheduler"}.get(key, key.replace("_", " "))


def _metric(config: dict[str, Any]) -> Iterator[Finding]:
    metric = config.get("metric_for_best_model")
    plugins = [str(name) for name in listed(config.get("plugins"))]
    known = ["eval_loss", "loss", *(name for plugin in plugins for name in _measured_by(plugin))]
    if not isinstance(metric, str) or metric in known:
        return
    others = config.get("rl") or config.get("do_causal_lm_eval") or config.get("do_bench_eval")
    others = others or not all(name.startswith(("plugins.", "eval.")) for name in plugins)
    place = ("metric_for_best_model",)
    hint = nearest(metric, known)
    if hint and not metric.startswith("eval_rewards"):
        yield Finding(place, f"there is no metric {metric}", f"Did you mean {hint}?")
    elif not others:
        what = f"{metric} is none that Axolotl's trainer measures"
        yield Finding(place, what, f"Here are {', '.join(known)}", "warning")


def _measured_by(plugin: str) -> tuple[str, ...]:
    """The metrics that a plugin says it adds to an evaluation, in its ``measures``."""
    try:
        return tuple(getattr(load_plugin_class(plugin), "measures", ()))
    except Exception:  # no such plugin, which is said elsewhere
        return ()


@functools.cache
def schedulers() -> tuple[str, ...]:
    """Every name that Axolotl's trainer knows as ``lr_scheduler``."""
    from transformers.trainer_utils import SchedulerType

    return (*(member.value for member in SchedulerType), "one_cycle", "rex")


@functools.cache
def optimizers() -> tuple[str, ...]:
    """Every name that Axolotl's trainer knows as ``optimizer``."""
    from axolotl.utils.schemas.enums import CustomSupportedOptimizers
    from transformers.training_args import OptimizerNames

    kinds = (OptimizerNames, CustomSupportedOptimizers)
    return tuple(str(member.value) for kind in kinds for member in kind)


@functools.cache
def _saving() -> tuple[str, ...]:
    from transformers.trainer_utils import SaveStrategy

    return tuple(member.value for member in SaveStrategy)


@functools.cache
def _evaluating() -> tuple[str, ...]:
    from transformers.trainer_utils import IntervalStrategy

    return tuple(member.value for member in IntervalStrategy)


@functools.cache
def _pushing() -> tuple[str, ...]:
    from transformers.trainer_utils import HubStrategy

    return tuple(member.value for member in HubStrategy)


_NAMES: dict[str, Callable[[], tuple[str, ...]]] = {
    "optimizer": optimizers,
    "lr_scheduler": schedulers,
    "eval_strategy": _evaluating,
    "save_strategy": _saving,
    "hub_strategy": _pushing,
    "torch_compile_mode": lambda: (
        "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs",
    ),
}  # fmt: skip
