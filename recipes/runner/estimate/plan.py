"""`make plan`: parameters, memory, steps, tokens and time of a recipe, before it is run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from recipes.runner.core.errors import UserError
from recipes.runner.core.overrides import apply
from recipes.runner.core.recipe import ROOT, Recipe
from recipes.runner.core.terminal import duration
from recipes.runner.estimate.memory import GIB, adapter_parameters, show
from recipes.runner.estimate.sharding import (
    PARTS_WEIGHTS,
    STRATEGIES,
    estimate_shared,
    loading_bytes,
    strategy_settings,
)
from recipes.runner.models.architecture import Architecture, architecture
from recipes.runner.models.families import family_of

# 2 FLOPs a parameter and token forward, 2 backward to inputs; frozen weights need no gradient.
FLOPS_PER_PARAMETER = 4
# Share of the bf16 matmul ceiling that this repository's Falcon reaches (plugins/falcon/NOTES.md),
# and dense bf16 (fp16 where there is no bf16) TFLOP/s from the vendors' data sheets.
_SHARE = 0.5
_SHARE_OF_MODULES = 0.12  # where the fused path steps aside
_CARDS = {
    "RTX 3060 12 GB": 51,
    "T4 16 GB": 65,
    "RTX 4090 24 GB": 165,
    "A100 80 GB": 312,
    "H100 80 GB": 989,
}


def plan_lines(
    recipe: Recipe, config: dict[str, Any], gpus: int = 1, strategy: str = "ddp"
) -> list[str]:
    """The plan as lines of text.

    Args:
        recipe: the recipe.
        config: its keys, overrides applied.
        gpus: cards of the run, over all machines.
        strategy: how they share it.

    Raises:
        UserError: the base model's shape is not to be had, or the recipe can't be spread so.
    """
    shape = architecture(str(config["base_model"]))
    targets = config.get("lora_target_modules") or []
    rank = int(config.get("lora_r") or 0)
    trained = adapter_parameters(shape, list(targets), rank)
    lines = [
        f"{recipe.name}: {config['base_model']}, {shape.parameters / 1e9:.2f}B parameters,"
        f" {trained / 1e6:.1f}M of them trained ({100 * trained / shape.parameters:.2f}%)",
        "",
        "Memory on the card, estimated:"
        if gpus == 1
        else f"Memory on each of {gpus} cards ({strategy}), estimated:",
        *show(estimate_shared(_spread(config, strategy), shape, strategy, gpus)),
        "",
        *(_strategies(config, shape, gpus) if gpus > 1 else []),
        *_work(recipe, config, shape, gpus, strategy),
    ]
    return lines


def needed_bytes(config: dict[str, Any], shape: Architecture, strategy: str, gpus: int) -> float:
    """The least memory of each card: of training, or of loading where that takes more.

    Raises:
        UserError: the recipe can't be spread so.
    """
    return max(_training_and_loading(config, shape, strategy, gpus))


def _training_and_loading(
    config: dict[str, Any], shape: Architecture, strategy: str, gpus: int
) -> tuple[float, float]:
    spread = _spread(config, strategy)
    training = estimate_shared(spread, shape, strategy, gpus).total
    return training, loading_bytes(spread, shape, strategy)


def _spread(config: dict[str, Any], strategy: str) -> dict[str, Any]:
    return apply(config, strategy_settings(strategy, config, {}))


def _work(
    recipe: Recipe, config: dict[str, Any], shape: Architecture, gpus: int, strategy: str
) -> list[str]:
    tokens_a_step = (
        gpus
        * int(config.get("micro_batch_size") or 1)
        * int(config.get("gradient_accumulation_steps") or 1)
        * int(config.get("sequence_len") or 512)
    )
    data = _dataset_tokens(config)
    epochs = float(config.get("num_epochs") or 1)
    steps = config.get("max_steps")
    if steps is None and data:
        steps = math.ceil(data * epochs / tokens_a_step)
    lines = [f"Tokens a step     {tokens_a_step:,}"]
    if data:
        lines.append(f"Training data     about {data:,} tokens, {epochs:g} epochs")
    else:
        lines.append(f"Training data     not made yet: make data RECIPE={recipe.name} makes it")
    if steps is None:
        return lines
    tokens = int(steps) * tokens_a_step
    lines.append(f"Steps             {int(steps):,} ({tokens:,} tokens)")
    flops = FLOPS_PER_PARAMETER * shape.parameters * tokens
    family = family_of(shape.model_type)
    steps_aside = family.fused_path(config) and strategy in PARTS_WEIGHTS
    share = _SHARE_OF_MODULES if steps_aside else _SHARE
    lines.append(f"Time, estimated at {share:.0%} of each card's peak:")
    for card, teraflops in _CARDS.items():
        lines.append(f"  {card:<16}{duration(flops / (gpus * teraflops * 1e12 * share))}")
    return lines


def _strategies(config: dict[str, Any], shape: Architecture, gpus: int) -> list[str]:
    """A line a strategy: the least memory of each card, or why it can't be."""
    lines = [f"Least memory of each of {gpus} cards, by STRATEGY:"]
    for strategy in STRATEGIES:
        try:
            training, loading = _training_and_loading(config, shape, strategy, gpus)
        except UserError as reason:
            lines.append(f"  {strategy:<12}refused: {reason}")
            continue
        more = loading >= training
        why = "  while it loads: a 4-bit base stands whole until it is cut" if more else ""
        lines.append(f"  {strategy:<12}{max(training, loading) / GIB:7.2f} GiB{why}")
    return [*lines, ""]


def _dataset_tokens(config: dict[str, Any]) -> int | None:
    """Tokens of the train split, from datasets_prep's count; None when they weren't counted."""
    path = Path(str((config.get("datasets") or [{}])[0].get("path", "")))
    manifest = ROOT / path.parent / "manifest.json"
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    counts = found.get("counts") or {}
    written = counts.get("written") or {}
    if not counts.get("tokens") or not sum(written.values()):
        return None
    return round(counts["tokens"] * written.get("train", 0) / sum(written.values()))
