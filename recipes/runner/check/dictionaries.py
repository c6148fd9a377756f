"""Free dictionaries: their keys are the parameters of another library's function."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from recipes.runner.check.base_model import built_config, config_keys
from recipes.runner.check.finding import Finding, mapping, number, spelt, words
from recipes.runner.check.values import optimizers, schedulers
from recipes.runner.core.nearest import did_you_mean, nearest
from recipes.runner.core.yaml_file import KeyPath


def check_dictionaries(config: dict[str, Any]) -> Iterator[Finding]:
    """Keys that what reads the dictionary doesn't take, and values that it refuses."""
    for key, known in _PARAMETERS.items():
        given = mapping(config, key)
        if given:
            yield from _unknown(given, known(), (key,), "takes")
        for name in _SWITCHES:
            if name in given and not isinstance(given[name], bool):
                what = f"is {spelt(given[name])}, which is no true or false"
                yield Finding((key, name), what, "Give one")
    yield from _quantisation(mapping(config, "bnb_config_kwargs"))
    yield from _scheduler(config)
    yield from _optimizer(config)
    yield from _deepspeed(config)
    yield from _model_config(config)


def _unknown(
    given: dict[Any, Any], known: set[str], place: KeyPath, verb: str
) -> Iterator[Finding]:
    for key in given:
        if key not in known:
            hint = nearest(str(key), known)
            todo = f"Did you mean {hint}?" if hint else f"It {verb} {', '.join(sorted(known))}"
            yield Finding((*place, str(key)), "unknown key", todo)


def _keywords(function: Any, without: set[str]) -> set[str]:
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(function).parameters
    named = {name for name, parameter in parameters.items() if parameter.kind not in kinds}
    return named - without - {"self"}


@functools.cache
def _bitsandbytes() -> set[str]:
    from transformers import BitsAndBytesConfig

    return _keywords(BitsAndBytesConfig.__init__, set())


@functools.cache
def _checkpoint() -> set[str]:
    from torch.utils.checkpoint import checkpoint

    return _keywords(checkpoint, {"function"})


@functools.cache
def _accelerator() -> set[str]:
    from transformers.trainer_pt_utils import AcceleratorConfig

    return {field.name for field in dataclasses.fields(AcceleratorConfig)}


_PARAMETERS: dict[str, Callable[[], set[str]]] = {
    "bnb_config_kwargs": _bitsandbytes,
    "gradient_checkpointing_kwargs": _checkpoint,
    "accelerator_config": _accelerator,
}
_SWITCHES = words("""
    use_reentrant early_stop split_batches dispatch_batches even_batches use_seedable_sampler
    non_blocking use_configured_state
    """)
_QUANT_TYPES = ("nf4", "fp4")


def _quantisation(given: dict[Any, Any]) -> Iterator[Finding]:
    """Each value alone through BitsAndBytesConfig, so that every fault is told."""
    from transformers import BitsAndBytesConfig

    for key, value in given.items():
        place = ("bnb_config_kwargs", str(key))
        if key not in _bitsandbytes():
            continue
        if key == "bnb_4bit_quant_type":
            if value not in _QUANT_TYPES:
                todo = did_you_mean(str(value), _QUANT_TYPES, "There are")
                yield Finding(place, f"there is no 4-bit type {spelt(value)}", todo)
            continue
        try:
            BitsAndBytesConfig(**{key: value})
        except Exception as error:  # a TypeError, a ValueError, or an AttributeError for a dtype
            yield Finding(place, f"is {spelt(value)}: {' '.join(str(error).split())}")


def _scheduler(config: dict[str, Any]) -> Iterator[Finding]:
    given = mapping(config, "lr_scheduler_kwargs")
    name = config.get("lr_scheduler") or "cosine"
    if not given or name not in schedulers():
        return
    if config.get("lr_quadratic_warmup") or config.get("cosine_min_lr_ratio") or name == "rex":
        what = "is not read: this scheduler is Axolotl's own and takes none"
        yield Finding(("lr_scheduler_kwargs",), what, "Take it out")
        return
    yield from _unknown(given, _scheduler_keywords(str(name)), ("lr_scheduler_kwargs",), "takes")


@functools.cache
def _scheduler_keywords(name: str) -> set[str]:
    if name == "one_cycle":
        from torch.optim.lr_scheduler import OneCycleLR

        return _keywords(OneCycleLR.__init__, {"optimizer", "max_lr", "total_steps"})
    from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION, SchedulerType

    given = {"optimizer", "num_warmup_steps", "num_training_steps", "last_epoch"}
    return _keywords(TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(name)], given)


def _optimizer(config: dict[str, Any]) -> Iterator[Finding]:
    given = config.get("optim_args")
    name = config.get("optimizer") or "adamw_torch_fused"
    if not given or name not in optimizers():
        return
    if isinstance(given, str):
        pairs = [part.partition("=") for part in given.replace(" ", "").split(",") if part]
        if any(not equals for _, equals, _ in pairs):
            yield Finding(("optim_args",), f"is {spelt(given)}", 'Write "key=value,key=value"')
            return
        given = {key: value for key, _, value in pairs}
    if not isinstance(given, dict):
        return
    known = _optimizer_keywords(str(name))
    if known is None:
        return
    for key in given:
        if key not in known:
            hint = nearest(str(key), known)
            takes = f"{name} reads {', '.join(sorted(known)) or 'none'} here"
            todo = f"Did you mean {hint}?" if hint else takes
            what = f"{name} doesn't read it"
            if str(key) in ("betas", "beta1", "beta2", "eps", "bta1"):
                todo = "Axolotl's names are adam_beta1, adam_beta2 and adam_epsilon"
            yield Finding(("optim_args", str(key)), what, todo)


@functools.cache
def _optimizer_keywords(name: str) -> set[str] | None:
    """What is read of ``optim_args``; None where that can't be known here."""
    from axolotl.utils.schemas.enums import CustomSupportedOptimizers

    if name in [member.value for member in CustomSupportedOptimizers]:
        return _custom_keywords(name)
    # transformers hands the parsed arguments to one function, which asks for the keys it knows.
    import re

    from transformers import trainer_optimizer

    handler = getattr(trainer_optimizer, "_OPTIMIZER_HANDLERS", {}).get(name)
    if handler is None:
        return None
    source = inspect.getsource(handler)
    read = set(re.findall(r"optim_args(?:\.get|\.pop)?[\[(]\s*\"(\w+)\"", source))
    read |= set(re.findall(r"\"(\w+)\" in ctx\.optim_args", source))
    for names in re.findall(r"for key in [\[(]([^\])]*)[\])]", source):
        read |= set(re.findall(r"\"(\w+)\"", names))
    if "ademamix" not in name and "bitsandbytes" in source:
        read -= {"beta1", "beta2", "beta3", "alpha", "eps", "t_alpha", "t_beta3"}
    whole = "= ctx.optim_args" in source or "(ctx.optim_args)" in source
    return None if whole and "bitsandbytes" not in source else read


def _custom_keywords(name: str) -> set[str] | None:
    places = {
        "adopt_adamw": ("axolotl.utils.optimizers.adopt", "ADOPT"),
        "adamc": ("axolotl.utils.optimizers.adamc", "AdamC"),
        "ao_adamw_fp8": ("torchao.optim.adam", "AdamWFp8"),
        "optimi_adamw": ("optimi", "AdamW"),
        "came_pytorch": ("came_pytorch", "CAME"),
        "flash_adamw": ("flashoptim", "FlashAdamW"),
        "flash_lion": ("flashoptim", "FlashLion"),
    }
    if name not in places:
        return None
    import importlib

    module, attribute = places[name]
    try:
        return _keywords(getattr(importlib.import_module(module), attribute).__init__, {"params"})
    except Exception:  # its package is not installed here
        return None


def _deepspeed(config: dict[str, Any]) -> Iterator[Finding]:
    given = config.get("deepspeed")
    if isinstance(given, str):
        path = Path(given)
        if not path.is_file():
            return
        try:
            given = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            yield Finding(("deepspeed",), f"{path} is no JSON: {error}", "Correct the file")
            return
        if not isinstance(given, dict):
            yield Finding(("deepspeed",), f"{path} holds no keys", "Name a DeepSpeed file")
            return
        for finding in _deepspeed_keys(given, ()):
            what = f"{config['deepspeed']}: {'.'.join(map(str, finding.place))}: {finding.what}"
            yield finding._replace(place=("deepspeed",), what=what)
    elif isinstance(given, dict):
        yield from _deepspeed_keys(given, ("deepspeed",))


def _deepspeed_keys(given: dict[Any, Any], place: KeyPath) -> Iterator[Finding]:
    known = _DEEPSPEED | set(_DEEPSPEED_BLOCKS)
    for finding in _unknown(given, known, place, "may be"):
        if finding.place[-1] in _DEEPSPEED_BLOCKS["zero_optimization"]:
            finding = finding._replace(todo="It belongs into zero_optimization")
        elif not finding.todo.startswith("Did"):
            finding = finding._replace(todo="DeepSpeed has no key like it: remove it")
        yield finding
    for key, inside in _DEEPSPEED_BLOCKS.items():
        block = given.get(key)
        if block is None:
            continue
        if not isinstance(block, dict):
            yield Finding((*place, key), f"is {spelt(block)}, which is no mapping of keys")
            continue
        yield from _unknown(block, set(inside), (*place, key), "may be")
    zero = given.get("zero_optimization")
    if isinstance(zero, dict):
        stage = zero.get("stage", 0)
        if stage not in (0, 1, 2, 3) or isinstance(stage, bool):
            what = f"is {spelt(stage)}: ZeRO has the stages 0 to 3"
            yield Finding((*place, "zero_optimization", "stage"), what)
        for key in ("offload_optimizer", "offload_param"):
            block = zero.get(key)
            if isinstance(block, dict):
                inner = (*place, "zero_optimization", key)
                yield from _unknown(block, set(_OFFLOAD), inner, "may be")


# DeepSpeed's configuration (deepspeed.ai/docs/config-json, 0.18), which is no package of ours.
_DEEPSPEED = set(
    words(
        """
    train_batch_size train_micro_batch_size_per_gpu gradient_accumulation_steps optimizer
    scheduler communication_data_type seq_parallel_communication_data_type
    prescale_gradients gradient_predivide_factor sparse_gradients data_types
    gradient_clipping steps_per_print wall_clock_breakdown dump_state memory_breakdown
    zero_allow_untrained_optimizer zero_allow_untested_optimizer
    zero_force_ds_cpu_optimizer amp comms_logger autotuning sparse_attention
    data_efficiency curriculum_learning tensorboard wandb csv_monitor compression_training
    checkpoint pipeline elasticity aio flops_profiler tensor_parallel compile
    use_data_before_expert_parallelism graph_harvesting sequence_parallel_size nebula
    monitor_config progressive_layer_drop eigenvalue disable_allgather
    load_universal_checkpoint weight_quantization hybrid_engine torch_autocast
    use_node_local_storage comet timers
    """
    )
)
_OFFLOAD = words("""
    device nvme_path buffer_count buffer_size max_in_cpu pin_memory pipeline_read
    pipeline_write pipeline fast_init ratio super_offload cpuadam_cores_perc
    """)
_PRECISION = words("""
    enabled auto_cast loss_scale initial_scale_power loss_scale_window hysteresis
    consecutive_hysteresis min_loss_scale fp16_master_weights_and_grads
    immediate_grad_update check_grad_overflow bf16_master_weights_and_grads
    bf16_optimizer_states
    """)
_DEEPSPEED_BLOCKS: dict[str, tuple[str, ...]] = {
    "zero_optimization": (
        words("""
    stage contiguous_gradients reduce_scatter reduce_bucket_size
    use_multi_rank_bucket_allreduce allgather_partitions allgather_bucket_size
    overlap_comm load_from_fp32_weights elastic_checkpoint offload_param offload_optimizer
    sub_group_size cpu_offload cpu_offload_param cpu_offload_use_pin_memory
    stage3_prefetch_bucket_size stage3_param_persistence_threshold
    stage3_model_persistence_threshold stage3_max_live_parameters
    stage3_max_reuse_distance stage3_gather_16bit_weights_on_model_save
    stage3_gather_fp16_weights_on_model_save stage3_use_all_reduce_for_fetch_params
    stage3_module_granularity_threshold stage3_allgather_sequential
    use_all_reduce_for_fetch_params ignore_unused_parameters legacy_stage1
    round_robin_gradients zero_hpz_partition_size zero_quantized_weights
    zero_quantized_nontrainable_weights zero_quantized_gradients zeropp_loco_param
    mics_shard_size mics_hierarchical_params_gather memory_efficient_linear
    pipeline_loading_checkpoint override_module_apply log_trace_cache_warnings zenflow
    gather_16bit_weights_on_model_save
    """)
    ),
    "fp16": _PRECISION,
    "bf16": _PRECISION,
    "bfloat16": _PRECISION,
    "activation_checkpointing": words("""
    partition_activations cpu_checkpointing contiguous_memory_optimization number_checkpoints
    synchronize_checkpoint_boundary profile
    """),
}


def _model_config(config: dict[str, Any]) -> Iterator[Finding]:
    """Misspelt keys of the model's own configuration, and of from_pretrained."""
    given = mapping(config, "overrides_of_model_config")
    if given and (known := config_keys(config)):
        yield from _unknown(given, known, ("overrides_of_model_config",), "may be")
    built = built_config(config)
    for key, value in given.items():
        current = getattr(built, str(key), None)
        is_number = isinstance(current, int | float) and not isinstance(current, bool)
        place = ("overrides_of_model_config", str(key))
        if is_number and number(value) is None and value is not None:
            yield Finding(place, f"is {spelt(value)}, which is no number", f"It is {current} there")
        elif isinstance(current, bool) and not isinstance(value, bool):
            yield Finding(place, f"is {spelt(value)}, which is no true or false", "Give one")
    kwargs = mapping(config, "overrides_of_model_kwargs")
    for key in kwargs:
        takes = _FROM_PRETRAINED | (config_keys(config) or set())
        if key not in takes and (hint := nearest(str(key), takes)):
            place = ("overrides_of_model_kwargs", str(key))
            yield Finding(place, "unknown key", f"Did you mean {hint}?")


_FROM_PRETRAINED = set(
    words(
        """
    attn_implementation cache_dir config device_map dtype experts_implementation
    force_download from_tf gguf_file ignore_mismatched_sizes key_mapping local_files_only
    low_cpu_mem_usage max_memory offload_buffers offload_folder offload_state_dict
    output_loading_info proxies quantization_config revision state_dict subfolder token
    torch_dtype tp_plan tp_size trust_remote_code use_cache use_kernels use_safetensors
    variant weights_only
    """
    )
)
