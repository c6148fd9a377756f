"""Memory of each of several devices: what a strategy parts, and what stands whole on each."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipes.runner.core.errors import UserError
from recipes.runner.core.paths import is_file
from recipes.runner.core.recipe import ROOT
from recipes.runner.estimate.memory import Memory, estimate
from recipes.runner.estimate.optimizer import KINDS, kind_of, state_bytes
from recipes.runner.estimate.sharding import PARTS_WEIGHTS
from recipes.runner.estimate.trained import (
    FLOAT32,
    base_bytes,
    computing_bytes,
    trained_tensors,
)
from recipes.runner.models.architecture import Architecture, CannotEstimate

_BLOCKS_GATHERED = 2
"""Whose weights are held whole at once: the block at work, and the one that is fetched."""
# DeepSpeed's own, of its `zero_optimization`: numbers that may be whole at once, and the size of a
# parameter up to which it stays whole.
_LIVE, _PERSISTENT = (
    ("stage3_max_live_parameters", 1e9),
    ("stage3_param_persistence_threshold", 1e5),
)


def own_strategy(config: Mapping[str, Any]) -> str | None:
    """The strategy that a recipe brings itself, by `deepspeed` or `fsdp_config`; None without.

    A DeepSpeed file that is not here (Axolotl's own lie in its repository) is taken by its name.

    Raises:
        CannotEstimate: neither the file nor its name says how much is in shards.
    """
    deepspeed = config.get("deepspeed")
    if not deepspeed:
        return "fsdp" if config.get("fsdp_config") or config.get("fsdp") else None
    content = _deepspeed_content(deepspeed)
    if content is not None:
        stage = _zero(content).get("stage") or 0
        if isinstance(stage, bool) or stage not in (0, 1, 2, 3):
            raise UserError(f"zero_optimization.stage is {stage!r}", "deepspeed", "Write 0 to 3")
        return f"zero{stage}"
    named = re.search(r"zero[_-]?([0-3])", str(deepspeed).rsplit("/", 1)[-1].lower())
    if named is None:
        raise CannotEstimate(
            f"there is no file {deepspeed} here, so that nobody knows what is in shards",
            "deepspeed",
            "Name a file that is here, or write its keys into the recipe",
        )
    return f"zero{named[1]}"


def _zero(content: dict[str, Any]) -> dict[str, Any]:
    found = content.get("zero_optimization")
    return found if isinstance(found, dict) else {}


def _deepspeed_content(deepspeed: Any) -> dict[str, Any] | None:
    if isinstance(deepspeed, dict):
        return deepspeed
    for path in (Path(str(deepspeed)), ROOT / str(deepspeed)):
        if is_file(path):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                return None
            return content if isinstance(content, dict) else None
    return None


def _offloaded(config: Mapping[str, Any], part: str) -> bool:
    """Whether DeepSpeed or FSDP keep ``optimizer`` or ``param`` on the host."""
    fsdp = config.get("fsdp_config") or {}
    if isinstance(fsdp, dict) and (fsdp.get("offload_params") or fsdp.get("fsdp_offload_params")):
        return True
    deepspeed = config.get("deepspeed")
    content = _deepspeed_content(deepspeed)
    if content is None:
        return part in ("optimizer", "param") and "offload" in str(deepspeed)
    held = _zero(content).get(f"offload_{part}")
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
    value = _zero(_deepspeed_content(config.get("deepspeed")) or {}).get(key, default)
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if known else default


def loading_bytes(config: dict[str, Any], shape: Architecture, strategy: str) -> float:
    """What stands on each GPU before the shards are cut: a quantised base, whole.

    One in 16 bits is read in shards. 0 where nothing is cut.
    """
    if strategy not in PARTS_WEIGHTS or not config.get("load_in_4bit"):
        return 0.0
    return sum(base_bytes(config, shape)) + estimate(config, shape).context
