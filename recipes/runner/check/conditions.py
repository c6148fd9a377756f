"""Settings that nothing reads because of what another setting says, and those that need another.

As Axolotl 0.19 reads them: its trainer builders (`core/builders`), its mixins for optimizer and
scheduler, its validators. Each is a line of a table; what is off or empty asks for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from recipes.runner.check.against_run import validates
from recipes.runner.check.finding import (
    Finding,
    data_sets,
    mapping,
    number,
    spelt,
    words,
)
from recipes.runner.core.yaml_file import KeyPath

_Config = dict[str, Any]
_OFF = (None, False, "", 0)


class Rule(NamedTuple):
    """Keys that are read only where something else is so.

    Attributes:
        keys: the keys.
        read: whether a recipe has what reads them.
        without: what is missing, as it goes on from "is not read".
        todo: what to do about it.
    """

    keys: tuple[str, ...]
    read: Callable[[_Config], bool]
    without: str
    todo: str = "Take it out"


def is_given(value: Any) -> bool:
    """Whether a value asks for something: not off, not empty, not 0."""
    return bool(value) if isinstance(value, list | dict) else value not in _OFF


def _has(*keys: str) -> Callable[[_Config], bool]:
    return lambda config: any(is_given(config.get(key)) for key in keys)


def _is(key: str, *values: Any) -> Callable[[_Config], bool]:
    return lambda config: config.get(key) in values


def _optimizer(*parts: str) -> Callable[[_Config], bool]:
    return lambda config: any(part in _optimizer_of(config) for part in parts)


def _optimizer_of(config: _Config) -> str:
    return str(config.get("optimizer") or "adamw_torch_fused")


def _scheduler(config: _Config) -> str:
    return str(config.get("lr_scheduler") or "cosine")


def attention_of(config: _Config) -> str:
    """The attention that a recipe asks for, by the new key or an old switch; empty for none."""
    from axolotl.utils.schemas.enums import LEGACY_ATTN_FLAG_TO_IMPL

    flags = [now for flag, now in LEGACY_ATTN_FLAG_TO_IMPL.items() if config.get(flag)]
    return str(config.get("attn_implementation") or next(iter(flags), ""))


def _packs(config: _Config) -> bool:
    return bool(config.get("sample_packing") or config.get("eval_sample_packing"))


def _streams(config: _Config) -> bool:
    return bool(config.get("streaming") or config.get("pretraining_dataset"))


def _splits(config: _Config) -> bool:
    return (number(config.get("context_parallel_size")) or 1) > 1 or bool(
        config.get("sequence_parallel_degree")
    )


# Optimizers that are told no betas and no epsilon.
_NO_BETAS = words("""
    sgd adagrad adafactor rmsprop rmsprop_bnb rmsprop_bnb_8bit rmsprop_bnb_32bit polora flash_sgd
    flash_sgdw schedule_free_sgd lomo adalomo galore_adafactor galore_adafactor_layerwise
    """)
LOW_RANK = ("galore", "apollo")
"""Parts of the names of optimizers that project the gradients of the layers that they are told."""

# What only an adapter reads.
_OF_AN_ADAPTER = words("""
    lora_r lora_alpha lora_dropout lora_target_modules lora_target_linear lora_target_parameters
    lora_modules_to_save lora_rank_pattern lora_alpha_pattern lora_fan_in_fan_out lora_model_dir
    lora_exclude_modules lora_mlp_kernel lora_qkv_kernel lora_o_kernel lora_embedding_kernel
    loraplus_lr_ratio peft peft_use_dora peft_use_rslora peft_layers_to_transform
    peft_layers_pattern peft_layer_replication peft_init_lora_weights peft_ensure_weight_tying
    peft_trainable_token_indices peft_autocast_adapter_dtype qlora_sharded_model_loading
    """)

RULES: tuple[Rule, ...] = (
    # The learning rate.
    Rule(
        ("cosine_min_lr_ratio",),
        lambda c: _scheduler(c) in ("cosine", "rex") or is_given(c.get("jagged_restart_steps")),
        "under this lr_scheduler: cosine and rex read it",
        "Write lr_scheduler: cosine, or give lr_scheduler_kwargs its own least rate",
    ),
    Rule(
        ("cosine_constant_lr_ratio",),
        lambda c: _scheduler(c) == "cosine" and is_given(c.get("cosine_min_lr_ratio")),
        "without cosine_min_lr_ratio and lr_scheduler: cosine",
        "Add them, or take it out",
    ),
    Rule(("lr_quadratic_warmup",), lambda c: _scheduler(c) == "cosine",
         "under this lr_scheduler: cosine reads it"),
    Rule(
        ("warmup_steps", "warmup_ratio"),
        lambda c: _scheduler(c) not in ("constant", "reduce_lr_on_plateau", "greedy"),
        "under this lr_scheduler, which has no warm-up",
        "Write lr_scheduler: constant_with_warmup, or take it out",
    ),
    Rule(("loraplus_lr_embedding",), _has("loraplus_lr_ratio"), "without loraplus_lr_ratio"),
    Rule(("jagged_restart_warmup_steps", "jagged_restart_anneal_steps"),
         _has("jagged_restart_steps"), "without jagged_restart_steps"),
    Rule(("relora_prune_ratio", "relora_prune_method", "relora_cpu_offload"), _has("relora"),
         "without relora: true", "Add relora: true, or take it out"),
    # The optimizer.
    Rule(("adam_beta1", "adam_beta2", "adam_epsilon"),
         lambda c: _optimizer_of(c) not in _NO_BETAS,
         "by this optimizer"),
    Rule(("adam_beta3", "adam_epsilon2"), _optimizer("came"), "by this optimizer: CAME reads it"),
    Rule(("optim_target_modules",), _optimizer(*LOW_RANK),
         "by this optimizer: GaLore's and APOLLO's read it"),
    Rule(("dion_lr", "dion_momentum", "dion_rank_fraction", "dion_rank_multiple_of"),
         _optimizer("dion"), "by this optimizer: dion reads it"),
    Rule(
        words("""
        qgalore_rank qgalore_update_proj_gap qgalore_scale qgalore_proj_type qgalore_proj_quant
        qgalore_proj_bits qgalore_proj_group_size qgalore_cos_threshold qgalore_gamma_proj
        qgalore_queue_size
        """),
        _optimizer("q_galore"), "by this optimizer: q_galore_adamw8bit reads it",
    ),
    Rule(("torchdistx_path",), _optimizer("anyprecision"), "by this optimizer"),
    # The data.
    Rule(
        words("""
        sample_packing_eff_est sample_packing_group_size sample_packing_bin_size
        sample_packing_sequentially sample_packing_mp_start_method multipack_real_batches
        """),
        _packs, "without sample_packing: true", "Add sample_packing: true, or take it out",
    ),
    Rule(
        words("""
        streaming_multipack_buffer_size pretrain_multipack_buffer_size
        pretraining_sample_concatenation
        """),
        _streams, "without streaming or pretraining_dataset",
    ),
    Rule(("pose_split_on_token_ids", "pose_max_context_len", "pose_num_chunks"), _has("use_pose"),
         "without use_pose: true", "Add use_pose: true, or take it out"),
    Rule(("dataset_shard_idx",), _has("dataset_shard_num"), "without dataset_shard_num"),
    Rule(
        ("default_system_message",), _is("chat_template", "chatml"),
        "under this chat_template: chatml alone has a place for it",
        "Begin each conversation with a system message",
    ),
    # What is looked at on the way.
    Rule(("eval_causal_lm_metrics",), _has("do_causal_lm_eval"), "without do_causal_lm_eval: true"),
    Rule(("bench_dataset", "bench_split"), _has("do_bench_eval"), "without do_bench_eval: true"),
    Rule(
        words("""
        num_generation_samples generation_max_new_tokens generation_temperature generation_top_p
        generation_top_k generation_prompt_ratio generation_do_sample
        """),
        _has("generate_samples"), "without generate_samples: true",
        "Add generate_samples: true, or take it out",
    ),
    Rule(("loss_watchdog_patience",), _has("loss_watchdog_threshold"),
         "without loss_watchdog_threshold"),
    Rule(("eval_batch_size", "eval_sequence_len"),
         lambda c: validates(c) or _streams(c) or bool(c.get("do_bench_eval")),
         "without validation data", "Add test_datasets or val_set_size, or take it out"),
    Rule(("wandb_name", "wandb_run_id", "wandb_entity", "wandb_watch", "wandb_log_model"),
         _has("wandb_project", "use_wandb"), "without wandb_project", "Add it, or take this out"),
    Rule(("mlflow_tracking_uri", "mlflow_run_name", "hf_mlflow_log_artifacts"),
         _has("mlflow_experiment_name", "use_mlflow"), "without mlflow_experiment_name",
         "Add it, or take this out"),
    Rule(("trackio_run_name", "trackio_space_id"), _has("use_trackio", "trackio_project_name"),
         "without trackio_project_name", "Add it, or take this out"),
    Rule(("otel_metrics_host", "otel_metrics_port"), _has("use_otel_metrics"),
         "without use_otel_metrics: true"),
    Rule(("ray_run_name", "ray_num_workers", "resources_per_worker"), _has("use_ray"),
         "without use_ray: true"),
    Rule(("hub_strategy", "hub_revision"), _has("hub_model_id"), "without hub_model_id",
         "Add hub_model_id, or take it out"),
    Rule(("profiler_steps_start",), _has("profiler_steps"), "without profiler_steps"),
    # How the model runs.
    Rule(("torch_compile_backend", "torch_compile_mode"), _has("torch_compile"),
         "without torch_compile: true", "Add torch_compile: true, or take it out"),
    Rule(("flex_attn_compile_kwargs",), lambda c: attention_of(c) == "flex_attention",
         "without attn_implementation: flex_attention"),
    Rule(("scaling_softmax_factor", "scaling_softmax_bias"), _has("scaling_softmax"),
         "without scaling_softmax: true"),
    Rule(("eaft_alpha", "eaft_k"), _has("use_eaft"), "without use_eaft: true"),
    Rule(("tiled_mlp_num_shards", "tiled_mlp_use_original_mlp"), _has("tiled_mlp"),
         "without tiled_mlp: true"),
    Rule(("chunked_cross_entropy_num_chunks",), _has("chunked_cross_entropy"),
         "without chunked_cross_entropy: true"),
    Rule(("heads_k_stride", "ring_attn_func"), _splits, "without context_parallel_size above 1"),
    Rule(("gradient_checkpointing_kwargs",),
         _has("gradient_checkpointing", "activation_offloading"),
         "without gradient_checkpointing: true",
         "Add gradient_checkpointing: true, or take it out"),
    Rule(("model_quantization_config_kwargs",), _has("model_quantization_config"),
         "without model_quantization_config"),
    Rule(("lisa_n_layers",), _has("lisa_step_interval"), "without lisa_step_interval",
         "LISA needs both"),
    Rule(("lisa_step_interval",), _has("lisa_n_layers"), "without lisa_n_layers",
         "LISA needs both"),
    Rule(("fsdp_version", "fsdp_final_state_dict_type"), _has("fsdp_config", "fsdp"),
         "without fsdp_config", "Add fsdp_config, or take it out"),
    Rule(("ddp_find_unused_parameters",), lambda c: c.get("ddp") is not False,
         "beside ddp: false"),
    Rule(("image_size", "image_resize_algorithm", "processor_kwargs"), _has("processor_type"),
         "without processor_type"),
    # Rewards.
    Rule(("center_rewards_coefficient",), _has("reward_model"), "without reward_model: true"),
    Rule(("rl_beta", "dpo_beta", "trl"), _has("rl"), "without rl", "Add rl, or take it out"),
)  # fmt: skip


def check_conditions(config: _Config) -> Iterator[Finding]:
    """Settings that nothing reads in this recipe, and those that need another."""
    yield from _without_adapter(config)
    for rule in RULES:
        for key in rule.keys:
            if is_given(config.get(key)) and not rule.read(config):
                yield _unread((key,), rule.without, rule.todo)
    yield from _inside(config)
    yield from _needed(config)
    yield from _one_of_two(config)
    yield from _never_best(config)


def _unread(place: KeyPath, without: str, todo: str = "Take it out") -> Finding:
    return Finding(place, f"is not read {without}", todo, "warning")


def _without_adapter(config: _Config) -> Iterator[Finding]:
    """All of them in one line: a file without an adapter often has many left over."""
    if config.get("adapter") or config.get("merge_lora"):
        return
    left = [key for key in _OF_AN_ADAPTER if is_given(config.get(key))]
    if left:
        others = f", nor {', '.join(left[1:])}" if left[1:] else ""
        what = f"is not read without an adapter{others}: every weight is trained"
        todo = "Add adapter: lora, or take it out" if not others else "Add adapter: lora"
        yield Finding((left[0],), what, todo, "warning")


def _inside(config: _Config) -> Iterator[Finding]:
    """The same for keys of a block."""
    fsdp = mapping(config, "fsdp_config")
    if fsdp.get("auto_wrap_policy") == "SIZE_BASED_WRAP":
        if fsdp.get("transformer_layer_cls_to_wrap"):
            where = ("fsdp_config", "transformer_layer_cls_to_wrap")
            yield _unread(where, "under auto_wrap_policy: SIZE_BASED_WRAP")
    elif fsdp.get("min_num_params"):
        without = "without auto_wrap_policy: SIZE_BASED_WRAP"
        yield _unread(("fsdp_config", "min_num_params"), without)
    # Offloading takes the place of gradient_checkpointing.
    offloads = config.get("activation_offloading") not in (None, False, "hidden_states")
    both = fsdp.get("activation_checkpointing") and config.get("gradient_checkpointing")
    if both and not offloads:
        what = "stands beside gradient_checkpointing, and transformers' Trainer stops at both"
        place = ("fsdp_config", "activation_checkpointing")
        yield Finding(place, what, "Write gradient_checkpointing: false", "warning")


def _needed(config: _Config) -> Iterator[Finding]:
    """Settings that stop a run, or do nothing, without another."""
    optimizer = _optimizer_of(config)
    low_rank = any(part in optimizer for part in LOW_RANK) and "q_galore" not in optimizer
    if low_rank and not is_given(config.get("optim_target_modules")):
        what = f"is {optimizer}, which needs optim_target_modules"
        yield Finding(
            ("optimizer",), what, "Name parts of its linear layers in optim_target_modules"
        )
    if _optimizer_of(config) == "adamw_anyprecision" and not config.get("torchdistx_path"):
        what = "is adamw_anyprecision, which needs torchdistx_path"
        yield Finding(("optimizer",), what, "Take adamw_torch_fused")
    if config.get("rl") == "simpo" and number(config.get("simpo_gamma")) is None:
        yield Finding(("rl",), "is simpo, which needs simpo_gamma", "Write simpo_gamma: 0.5")
    if is_given(config.get("jagged_restart_steps")) and not config.get("relora"):
        what = "restarts the learning rate alone: without relora no adapter is merged"
        yield Finding(("jagged_restart_steps",), what, "Add relora: true if it is meant", "warning")
    if config.get("tokenizer_use_mistral_common") and config.get("tokenizer_type"):
        yield _unread(("tokenizer_type",), "beside tokenizer_use_mistral_common")


# Two keys for one thing: the first is not read beside the second.
_PAIRS = (
    ("embedding_lr", "embedding_lr_scale"),
    ("dpo_beta", "rl_beta"),
    ("pretrain_multipack_buffer_size", "streaming_multipack_buffer_size"),
    ("datasets", "pretraining_dataset"),
    ("reward_model", "rl"),
    ("process_reward_model", "rl"),
    ("process_reward_model", "reward_model"),
)


def _one_of_two(config: _Config) -> Iterator[Finding]:
    """Keys that say the same thing, each its own."""
    from axolotl.utils.schemas.enums import LEGACY_ATTN_FLAG_TO_IMPL

    for unread, read in _PAIRS:
        if is_given(config.get(unread)) and is_given(config.get(read)):
            yield _unread((unread,), f"beside {read}", "Take one out")
    flags = [flag for flag in LEGACY_ATTN_FLAG_TO_IMPL if config.get(flag)]
    for flag in flags[1:]:
        todo = f"Write attn_implementation: {LEGACY_ATTN_FLAG_TO_IMPL[flags[0]]}"
        yield _unread((flag,), f"beside {flags[0]}: a model has one attention", todo)
    both = config.get("load_in_4bit") is True and config.get("load_in_8bit") is True
    if both and config.get("adapter") == "lora":  # of qlora Axolotl says it
        what = "is true beside load_in_4bit: a base is held in one of them"
        yield Finding(("load_in_8bit",), what, "Take one out")
    beta, of_trl = config.get("rl_beta"), mapping(config, "trl").get("beta")
    if is_given(beta) and of_trl is not None and beta != of_trl:
        yield _unread(("rl_beta",), f"beside trl.beta, which is {spelt(of_trl)}", "Take one out")
    own: list[tuple[KeyPath, dict[Any, Any]]] = [((), config)]
    for place, entry in own + data_sets(config):
        template = entry.get("chat_template")
        if is_given(entry.get("chat_template_jinja")) and template not in (None, "", "jinja"):
            where = (*place, "chat_template_jinja")
            yield _unread(where, f"beside chat_template: {template}", "Write chat_template: jinja")
    if config.get("use_wandb") is False and is_given(config.get("wandb_project")):
        what = "is false, and wandb_project switches it on"
        yield Finding(("use_wandb",), what, "Take wandb_project out", "warning")


def _never_best(config: _Config) -> Iterator[Finding]:
    """Axolotl looks for the best checkpoint only where it saves and evaluates by steps."""
    if config.get("load_best_model_at_end") is not True or config.get("rl"):
        return
    for steps, epochs in (("save_steps", "saves_per_epoch"), ("eval_steps", "evals_per_epoch")):
        if not is_given(config.get(steps)) and not is_given(config.get(epochs)):
            what = f"does nothing without {steps} or {epochs}"
            yield Finding(("load_best_model_at_end",), what, f"Add {steps}", "warning")
            return
