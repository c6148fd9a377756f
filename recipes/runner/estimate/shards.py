"""Memory of each of several devices: what a strategy parts, and what stands whole on each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from recipes.runner.estimate.memory import Memory, estimate
from recipes.runner.estimate.optimizer import KINDS, kind_of, state_bytes
from recipes.runner.estimate.own_shards import deepspeed_content, zero_settings
from recipes.runner.estimate.sharding import PARTS_WEIGHTS
from recipes.runner.estimate.trained import (
    FLOAT32,
    base_bytes,
    computing_bytes,
    trained_tensors,
)
from recipes.runner.models.architecture import Architecture

_BLOCKS_GATHERED = 2
"""Whose weights are held whole at once: the block at work, and the one that is fetched."""
# DeepSpeed's own, of its `zero_optimization`: numbers that may be whole at once, and the size of a
# parameter up to which it stays whole.
_LIVE, _PERSISTENT = (
    ("stage3_max_live_parameters", 1e9),
    ("stage3_param_persistence_threshold", 1e5),
)


def _offloaded(config: Mapping[str, Any], part: str) -> bool:
    """Whether DeepSpeed or FSDP keep ``optimizer`` or ``param`` on the host."""
    fsdp = config.get("fsdp_config") or {}
    if isinstance(fsdp, dict) and (fsdp.get("offload_params") or fsdp.get("fsdp_offload_params")):
        return True
    deepspeed = config.get("deepspeed")
    content = deepspeed_content(deepspeed)
    if content is None:
        return part in ("optimizer", "param") and "offload" in str(deepspeed)
    held = zero_settings(content).get(f"offload_{part}")
    return isinstance(held, dict) and held.get("device", "none") not in ("none", None)


def estimate_shared(
    config: dict[str, Any], shape: Architecture, strategy: str, gpus: int
) -> Memory:
    """Estimate the memory of each of ``gpus`` devices (over all machines) that share a run.

    Estimated from ZeRO's partitioning (arXiv 1910.02054, section 5: stage 1 parts the optimizer,
    stage 2 gradients too, stage 3 the weights too), FSDP's gathering by blocks (arXiv 2304.11277,
    section 3) and the buckets that DDP copies gradients into (arXiv 2006.15704, section 3.2).

    Args:
        config: the recipe's keys, with what the strategy adds.
        shape: the base model's.
        strategy: one of `STRATEGIES`, or ``zero0`` and ``zero1`` of a recipe's own.
        gpus: devices, over all machines.

    Raises:
        CannotEstimate: what is trained can't be known.
        UserErrors: values or names that can't be read.
    """
    whole_model = strategy not in PARTS_WEIGHTS
    memory = estimate(config, shape, sharded=not whole_model and gpus > 1)
    if strategy == "ddp":
        return (
            memory
            if gpus == 1
            else replace(memory, gradients=2 * memory.gradients, accumulates=True)
        )
    if strategy == "fsdp" and gpus == 1:
        return memory
    trained = trained_tensors(config, shape)
    elements = sum(tensor.size for tensor in trained)
    beside = sum(tensor.size for tensor in trained if not tensor.in_base)
    kind = kind_of(config) or KINDS["adamw_torch"]
    state = state_bytes(kind, [replace(tensor, width=FLOAT32) for tensor in trained])
    computing = computing_bytes(config)
    if strategy == "fsdp":
        # accelerate lifts what is trained to float32, and computes in 16 bits
        # (`fsdp2_prepare_model`).
        width, master = FLOAT32, 0.0
    else:
        # DeepSpeed casts the model to 16 bits and steps a float32 copy (`bf16_optimizer`).
        width, master = computing, float(FLOAT32 * elements)
    stage = 3 if not whole_model else int(strategy[-1])
    parted = replace(
        memory,
        adapters=float(beside * width),
        gradients=elements * width / (gpus if stage >= 2 else 1),
        optimizer=(state + master) / (gpus if stage >= 1 else 1),
        step=memory.step / gpus,
        accumulates=True,
        paged=0.0,
    )
    if not config.get("adapter"):
        parted = replace(parted, weights=float(elements * width))
    if _offloaded(config, "optimizer"):
        parted = replace(parted, optimizer=0.0, step=0.0)
    if whole_model or (gpus == 1 and not _offloaded(config, "param")):
        return parted
    blocks, rest = base_bytes(config, shape)
    gathered = _BLOCKS_GATHERED * blocks / max(shape.layers, 1) + rest
    adapters, weights = parted.adapters / gpus, parted.weights
    if strategy == "zero3":
        # It fetches ahead up to its limit, and what stands ready is a copy beside the shards.
        live = max(gathered, _zero3(config, *_LIVE) * computing)
        gathered, weights = min(live, blocks + rest), math.inf
        whole = _zero3(config, *_PERSISTENT)
        beside_base = [tensor.size for tensor in trained if not tensor.in_base]
        adapters = sum(width * size / (1 if size <= whole else gpus) for size in beside_base)
    kept = 0.0 if _offloaded(config, "param") else parted.weights / gpus
    return replace(
        parted,
        weights=min(weights, kept + gathered),
        adapters=adapters,
        reference=parted.reference / gpus,
    )


def _zero3(config: Mapping[str, Any], key: str, default: float) -> float:
    """A number of DeepSpeed's; its default where the file leaves it out, or to be filled in."""
    value = zero_settings(deepspeed_content(config.get("deepspeed")) or {}).get(key, default)
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if known else default


def loading_bytes(config: dict[str, Any], shape: Architecture, strategy: str) -> float:
    """What stands on each GPU before the shards are cut: a quantised base, whole.

    One in 16 bits is read in shards. 0 where nothing is cut.
    """
    if strategy not in PARTS_WEIGHTS or not config.get("load_in_4bit"):
        return 0.0
    return sum(base_bytes(config, shape)) + estimate(config, shape).context
