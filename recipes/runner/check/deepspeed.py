"""DeepSpeed's configuration: by its own models where it is installed, else by their fields.

Kept from the version that pyproject.toml pins: `zero/config.py`, `zero/offload_config.py`,
`precision_config.py`, `constants.py` and `activation_checkpointing/config.py`. The Trainer fills in
what is ``auto``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from recipes.runner.check.finding import Finding, number, spelt, words
from recipes.runner.core.nearest import nearest
from recipes.runner.core.paths import file_here
from recipes.runner.core.yaml_file import KeyPath

VERSION = "0.18.9"
"""Of DeepSpeed, whose fields these are."""

_TOP = frozenset(
    words("""
    train_batch_size train_micro_batch_size_per_gpu gradient_accumulation_steps optimizer scheduler
    communication_data_type seq_parallel_communication_data_type prescale_gradients
    gradient_predivide_factor sparse_gradients data_types gradient_clipping
    steps_per_print wall_clock_breakdown dump_state memory_breakdown
    zero_allow_untested_optimizer zero_force_ds_cpu_optimizer amp comms_logger autotuning
    sparse_attention data_efficiency curriculum_learning tensorboard wandb csv_monitor comet
    compression_training checkpoint pipeline elasticity aio flops_profiler tensor_parallel compile
    use_data_before_expert_parallelism graph_harvesting sequence_parallel_size nebula
    progressive_layer_drop eigenvalue disable_allgather weight_quantization
    hybrid_engine torch_autocast timers dataloader_drop_last ddp_bf16
    """)
)
_SWITCHES = {
    "zero_optimization": words("""
    contiguous_gradients reduce_scatter use_multi_rank_bucket_allreduce allgather_partitions
    overlap_comm load_from_fp32_weights elastic_checkpoint cpu_offload cpu_offload_param
    cpu_offload_use_pin_memory stage3_gather_16bit_weights_on_model_save
    gather_16bit_weights_on_model_save stage3_gather_fp16_weights_on_model_save
    stage3_use_all_reduce_for_fetch_params use_all_reduce_for_fetch_params allgather_sequential
    stage3_allgather_sequential ignore_unused_parameters legacy_stage1 round_robin_gradients
    zero_quantized_weights zero_quantized_nontrainable_weights zero_quantized_gradients
    mics_hierarchical_params_gather memory_efficient_linear pipeline_loading_checkpoint
    override_module_apply log_trace_cache_warnings enable_sanity_checks
    save_muon_momentum_buffer_in_memory
    """),
    "bf16": words("""
    enabled immediate_grad_update check_grad_overflow bf16_master_weights_and_grads
    bf16_optimizer_states
    """),
    "fp16": words("enabled auto_cast consecutive_hysteresis fp16_master_weights_and_grads"),
    "activation_checkpointing": words("""
    partition_activations contiguous_memory_optimization cpu_checkpointing
    synchronize_checkpoint_boundary profile
    """),
    "offload_param": ("pin_memory",),
    "offload_optimizer": words("""
    pin_memory pipeline_read pipeline_write fast_init super_offload
    """),
}
_WHOLE = {
    "zero_optimization": words("""
    reduce_bucket_size allgather_bucket_size sub_group_size stage3_prefetch_bucket_size
    prefetch_bucket_size stage3_param_persistence_threshold param_persistence_threshold
    stage3_model_persistence_threshold model_persistence_threshold stage3_max_live_parameters
    max_live_parameters stage3_max_reuse_distance max_reuse_distance
    stage3_module_granularity_threshold module_granularity_threshold zero_hpz_partition_size
    """),
    "fp16": words("initial_scale_power loss_scale_window hysteresis min_loss_scale"),
    "activation_checkpointing": ("number_checkpoints",),
    "offload_param": words("buffer_count buffer_size max_in_cpu"),
    "offload_optimizer": ("buffer_count",),
}
_DEVICE = Literal["none", "cpu", "nvme"]
_OTHERS: dict[str, dict[str, Any]] = {
    "zero_optimization": {
        "stage": Literal[0, 1, 2, 3], "offload_param": dict[str, Any],
        "offload_optimizer": dict[str, Any], "zenflow": dict[str, Any],
        "zeropp_loco_param": dict[str, Any], "leaf_module": dict[str, Any], "mics_shard_size": int,
    },
    "fp16": {"loss_scale": float},
    "offload_param": {"device": _DEVICE, "nvme_path": str},
    "offload_optimizer": {
        "device": _DEVICE, "nvme_path": str, "ratio": float, "cpuadam_cores_perc": float,
    },
}  # fmt: skip
_INSTALLED = {
    "zero_optimization": "runtime.zero.config.DeepSpeedZeroConfig",
    "bf16": "runtime.precision_config.DeepSpeedBF16Config",
    "fp16": "runtime.precision_config.DeepSpeedFP16Config",
    "offload_param": "runtime.zero.offload_config.DeepSpeedZeroOffloadParamConfig",
    "offload_optimizer": "runtime.zero.offload_config.DeepSpeedZeroOffloadOptimizerConfig",
}
_BLOCKS = {"zero_optimization", "bf16", "bfloat16", "fp16", "activation_checkpointing"}


def check_deepspeed(config: dict[str, Any]) -> Iterator[Finding]:
    """Keys and values of `deepspeed`, written in the recipe or in a file."""
    given = config.get("deepspeed")
    if isinstance(given, dict):
        yield from _top(given, ("deepspeed",))
        yield from _against_the_recipe(given, config, ("deepspeed",))
        return
    if not isinstance(given, str) or not given:
        return
    path = file_here(given)
    if path is None:
        return
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        yield Finding(("deepspeed",), f"{given} is no JSON: {error}", "Correct the file")
        return
    if not isinstance(content, dict):
        yield Finding(("deepspeed",), f"{given} holds no keys", "Name a DeepSpeed file")
        return
    for finding in (*_top(content, ()), *_against_the_recipe(content, config, ())):
        what = f"{given}: {'.'.join(map(str, finding.place))}: {finding.what}"
        yield finding._replace(place=("deepspeed",), what=what)


# What transformers' Trainer wants alike in both (`HfTrainerDeepSpeedConfig`),
# with what Axolotl hands it where a recipe says nothing.
_ALIKE: dict[tuple[str, ...], tuple[str, float | None]] = {
    ("train_micro_batch_size_per_gpu",): ("micro_batch_size", 1),
    ("gradient_accumulation_steps",): ("gradient_accumulation_steps", 1),
    ("gradient_clipping",): ("max_grad_norm", 1.0),
    ("optimizer", "params", "lr"): ("learning_rate", None),
    ("optimizer", "params", "weight_decay"): ("weight_decay", 0.0),
    ("scheduler", "params", "warmup_max_lr"): ("learning_rate", None),
}


def _against_the_recipe(
    given: dict[Any, Any], config: dict[str, Any], place: KeyPath
) -> Iterator[Finding]:
    """Numbers that stand in both and differ: the Trainer stops there, once the model is loaded."""
    for path, (key, usual) in _ALIKE.items():
        value: Any = given
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        there, here = number(value), number(config.get(key))
        here = usual if config.get(key) is None else here
        of_batch = key == "gradient_accumulation_steps" and config.get("batch_size")
        if there is not None and here is not None and there != here and not of_batch:
            what = f"is {there:g}, and {key} is {here:g}: the Trainer stops where they differ"
            yield Finding((*place, *path), what, "Write auto")
    for name, switches in (("bf16", ("bf16", "bfloat16")), ("fp16", ("fp16", "float16"))):
        block = given.get(name)
        enabled = block.get("enabled") if isinstance(block, dict) else None
        asked = [config.get(switch) for switch in switches if config.get(switch) is not None]
        if isinstance(enabled, bool) and asked and enabled not in asked and "auto" not in asked:
            what = f"is {spelt(enabled)}, and {name} is {spelt(asked[0])} in the recipe"
            yield Finding((*place, name, "enabled"), what, "Write auto")


def _top(given: dict[Any, Any], place: KeyPath) -> Iterator[Finding]:
    inside = set(_model("zero_optimization").model_fields)
    for key, value in given.items():
        here = (*place, str(key))
        if key in _BLOCKS:
            if isinstance(value, dict):
                yield from _block(value, "bf16" if key == "bfloat16" else str(key), here)
            elif value is not None:
                yield Finding(here, f"is {spelt(value)}, which is no mapping of keys", "Give one")
        elif key not in _TOP:
            near = nearest(str(key), _TOP | _BLOCKS)
            todo = f"Did you mean {near}?" if near else "DeepSpeed has no key like it: remove it"
            if key in inside:
                todo = "It belongs into zero_optimization"
            yield Finding(here, "unknown key", todo)


def _block(given: dict[Any, Any], name: str, place: KeyPath) -> Iterator[Finding]:
    """Each key by itself, so that every fault is told."""
    model = _model(name)
    known = {*model.model_fields, *(info.alias or "" for info in model.model_fields.values())}
    for key, value in given.items():
        here = (*place, str(key))
        if key not in known:
            near = nearest(str(key), known)
            todo = f"Did you mean {near}?" if near else f"{name} has no key like it: remove it"
            yield Finding(here, "unknown key", todo)
            continue
        if key in ("offload_param", "offload_optimizer") and isinstance(value, dict):
            yield from _block(value, str(key), here)
            continue
        if value == "auto" or value is None:
            continue
        if key == "stage" and (isinstance(value, bool) or value not in (0, 1, 2, 3)):
            yield Finding(here, f"is {spelt(value)}: ZeRO has the stages 0 to 3", "Give one")
            continue
        try:
            model(**{str(key): value})
        except ValidationError as error:
            message = " ".join(error.errors()[0]["msg"].split())
            yield Finding(here, f"is {spelt(value)}: {message}", "Correct it")


@functools.cache
def _model(name: str) -> type[BaseModel]:
    """A block's model: DeepSpeed's own, or one of the same fields."""
    own = _INSTALLED.get(name)
    if own and importlib.util.find_spec("deepspeed") is not None:
        module, _, attribute = own.rpartition(".")
        try:
            found: type[BaseModel] = getattr(
                importlib.import_module(f"deepspeed.{module}"), attribute
            )
            return found
        except Exception:  # another version, or one that wants a compiler
            pass
    fields: dict[str, Any] = dict.fromkeys(_SWITCHES.get(name, ()), (bool, False))
    fields |= dict.fromkeys(_WHOLE.get(name, ()), (int, Field(0, ge=0)))
    fields |= {key: (kind, None) for key, kind in _OTHERS.get(name, {}).items()}
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
