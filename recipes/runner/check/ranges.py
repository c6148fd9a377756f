"""Numbers out of range in keys that few recipes have: blocks, other optimizers and losses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from recipes.runner.check.finding import Finding, data_sets, entries, mapping, number, spelt, words
from recipes.runner.core.yaml_file import KeyPath


class Range(NamedTuple):
    """The numbers that can work.

    Attributes:
        least, most: the ends.
        wrong: what is wrong outside, in words.
        open: whether ``least`` itself is outside.
    """

    least: float
    most: float
    wrong: str
    open: bool = False

    def holds(self, value: float) -> bool:
        """Whether a number lies inside."""
        above = value > self.least if self.open else value >= self.least
        return above and value <= self.most


_COUNT = Range(1, math.inf, "must be 1 or more")
_NOT_NEGATIVE = Range(0, math.inf, "must not be negative")
_ABOVE_ZERO = Range(0, math.inf, "must be above 0", open=True)
_SHARE = Range(0, 1, "must lie between 0 and 1")
_PART = Range(0, 1, "must be above 0, and 1 at the most", open=True)
_PORT = Range(0, 65_535, "is no port")

_TOP: dict[str, Range] = {
    **dict.fromkeys(
        words("""
        torch_empty_cache_steps streaming_multipack_buffer_size pretrain_multipack_buffer_size
        pose_max_context_len pose_num_chunks heads_k_stride eaft_k num_generation_samples
        qgalore_update_proj_gap qgalore_proj_bits qgalore_proj_group_size qgalore_queue_size
        dion_rank_multiple_of
        """),
        _COUNT,
    ),
    **dict.fromkeys(
        words("""
        kto_desirable_weight kto_undesirable_weight center_rewards_coefficient eaft_alpha
        embedding_lr_scale profiler_steps profiler_steps_start generation_top_k dion_lr
        ddp_bucket_cap_mb num_dataset_shards_to_save
        """),
        _NOT_NEGATIVE,
    ),
    **dict.fromkeys(
        words("loss_watchdog_threshold adam_epsilon2 qgalore_scale qgalore_gamma_proj"),
        _ABOVE_ZERO,
    ),
    **dict.fromkeys(
        words("""
        relora_prune_ratio generation_prompt_ratio dion_momentum qgalore_cos_threshold
        scaling_softmax_factor
        """),
        _SHARE,
    ),
    "dion_rank_fraction": _PART,
    "otel_metrics_port": _PORT,
}
_INSIDE: dict[str, dict[str, Range]] = {
    "trl": {
        **dict.fromkeys(
            words("""
            max_completion_length num_generations generation_batch_size ref_model_sync_steps
            num_iterations num_completions_to_print vllm_server_timeout prefetch_depth
            vllm_sync_interval streaming_min_groups reward_num_workers reroll_max_groups
            """),
            _COUNT,
        ),
        **dict.fromkeys(
            words("beta epsilon epsilon_high replay_buffer_size off_policy_mask_threshold"),
            _NOT_NEGATIVE,
        ),
        **dict.fromkeys(words("temperature repetition_penalty"), _ABOVE_ZERO),
        **dict.fromkeys(words("ref_model_mixup_alpha min_p reroll_start_fraction"), _SHARE),
        "top_p": _PART,
        "vllm_server_port": _PORT,
    },
    "vllm": {
        **dict.fromkeys(words("tensor_parallel_size data_parallel_size max_model_len"), _COUNT),
        "gpu_memory_utilization": _PART,
        "port": _PORT,
    },
    "qat": {"group_size": _COUNT, "fake_quant_after_n_steps": _NOT_NEGATIVE},
    "quantization": {"group_size": _COUNT},
    "lr_scheduler_kwargs": {
        **dict.fromkeys(words("min_lr min_lr_rate min_lr_ratio lr_end"), _NOT_NEGATIVE),
        **dict.fromkeys(words("num_cycles power div_factor final_div_factor"), _ABOVE_ZERO),
        **dict.fromkeys(words("num_decay_steps num_stable_steps patience"), _NOT_NEGATIVE),
        "factor": _PART,
        "pct_start": _SHARE,
    },
}
_BITS = (4, 8)  # what PEFT's LoftQ knows
_OF_A_DATA_SET = {"length": _COUNT, "sequence_length": _COUNT, "min_input_id": _NOT_NEGATIVE}


def check_ranges(config: dict[str, Any]) -> Iterator[Finding]:
    """Numbers that can't work in keys that few recipes have."""
    yield from _outside(config, _TOP, ())
    for block, ranges in _INSIDE.items():
        yield from _outside(mapping(config, block), ranges, (block,))
    for place, entry in data_sets(config):
        yield from _outside(entry, _OF_A_DATA_SET, place)
    shards, index = number(config.get("dataset_shard_num")), number(config.get("dataset_shard_idx"))
    if shards is not None and index is not None and shards >= 1 and index >= shards:
        what = f"is {index:g}: the {shards:g} shards are 0 to {shards - 1:g}"
        yield Finding(("dataset_shard_idx",), what, "Lower it")
    for index, group in entries(config, "lr_groups"):
        yield from _outside(group, {"lr": _NOT_NEGATIVE}, ("lr_groups", index))
    bits = mapping(mapping(config, "peft"), "loftq_config").get("loftq_bits")
    if number(bits) is not None and number(bits) not in _BITS:
        place = ("peft", "loftq_config", "loftq_bits")
        yield Finding(place, f"is {spelt(bits)}: LoftQ knows 4 and 8", "Write 4")
    low, high = (number(mapping(config, "trl").get(key)) for key in ("epsilon", "epsilon_high"))
    if low is not None and high is not None and high < low:
        what = f"is {high:g}, below epsilon, which is {low:g}"
        yield Finding(("trl", "epsilon_high"), what, "Raise it", "warning")


def _outside(given: dict[Any, Any], ranges: dict[str, Range], place: KeyPath) -> Iterator[Finding]:
    for key, allowed in ranges.items():
        value = given.get(key)
        found = number(value)
        if found is not None and not (math.isfinite(found) and allowed.holds(found)):
            what = f"is {spelt(value)}: {allowed.wrong}"
            yield Finding((*place, key), what, "Give another number")
