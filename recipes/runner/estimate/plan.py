"""`make plan`: parameters, memory, steps, tokens and time of a recipe, before it is run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from recipes.runner.core.errors import UserError
from recipes.runner.core.local_data import held_out, training_rows
from recipes.runner.core.overrides import apply
from recipes.runner.core.recipe import ROOT, Recipe
from recipes.runner.core.terminal import duration
from recipes.runner.estimate.activations import way_through
from recipes.runner.estimate.memory import DEFAULT_LENGTH, GIB, show
from recipes.runner.estimate.own_shards import own_strategy
from recipes.runner.estimate.passes import copies_reference, packs_pairs, passes_of
from recipes.runner.estimate.remarks import remarks
from recipes.runner.estimate.settings import as_axolotl_reads, refuse_unreadable, whole
from recipes.runner.estimate.sharding import PARTS_WEIGHTS, STRATEGIES, strategy_settings
from recipes.runner.estimate.shards import estimate_shared, loading_bytes
from recipes.runner.estimate.trained import Tensor, trained_tensors
from recipes.runner.models.architecture import Architecture, architecture
from recipes.runner.models.families import family_of
from recipes.runner.models.saved_adapter import names_preference_plugin

# FLOPs a parameter and token: forward, backward to the inputs, and to a weight that is trained.
_FORWARD, _TO_INPUTS, _TO_WEIGHTS = 2, 2, 2
FLOPS_PER_PARAMETER = _FORWARD + _TO_INPUTS  # of a frozen base
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
        strategy: how they share it, where the recipe doesn't say so itself.

    Raises:
        CannotEstimate: what the recipe trains or how it is spread is not known here.
        UserError: the base model's shape is not to be had, the recipe can't be spread so, or it
            names layers that aren't there.
    """
    config = as_axolotl_reads(config)
    refuse_unreadable(config)
    shape = architecture(str(config["base_model"]))
    trained = trained_tensors(config, shape)
    elements = sum(tensor.size for tensor in trained)
    if not elements:
        raise UserError("trains nothing", recipe.name, "Give it an adapter's layers or no adapter")
    own = own_strategy(config)
    if own and strategy == "ddp":
        strategy, spread = own, config
    else:
        spread = _spread(config, strategy)
    memory = estimate_shared(spread, shape, strategy, gpus)
    where = "the card" if gpus == 1 else f"each of {gpus} cards"
    how = f" ({strategy}{', as the recipe says' if own else ''})" if gpus > 1 or own else ""
    said = remarks(spread, shape, memory, sharded=strategy in PARTS_WEIGHTS and gpus > 1)
    return [
        f"{recipe.name}: {config['base_model']}, {count(shape.parameters)} parameters,"
        f" {count(elements)} {_which(trained, shape)}",
        "",
        f"Memory on {where}{how}, estimated:",
        *show(memory),
        *(f"  {remark}" for remark in said),
        "",
        *(_strategies(config, shape, gpus) if gpus > 1 and not own else []),
        *_work(recipe, config, shape, trained, gpus, strategy),
    ]


def count(number: int) -> str:
    """A number of parameters, short, and never so short that it reads as none."""
    if number >= 10**9:
        return f"{number / 1e9:.2f}B"
    return f"{number / 1e6:.1f}M" if number >= 10**6 else f"{number:,}"


def _which(trained: list[Tensor], shape: Architecture) -> str:
    elements = sum(tensor.size for tensor in trained)
    share = f"{100 * elements / shape.parameters:.2f}%"
    inside = sum(tensor.size for tensor in trained if tensor.in_base)
    if inside == shape.parameters:
        return "trained: all"
    return f"of them trained ({share})" if inside else f"trained beside them ({share})"


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
    recipe: Recipe,
    config: dict[str, Any],
    shape: Architecture,
    trained: list[Tensor],
    gpus: int,
    strategy: str,
) -> list[str]:
    passes = passes_of(config)
    rows_a_step = (
        gpus
        * whole(config, "micro_batch_size", 1)
        * whole(config, "gradient_accumulation_steps", 1)
    )
    length = whole(config, "sequence_len", DEFAULT_LENGTH)
    tokens_a_step = rows_a_step * passes.sequences * length
    rows, data = _dataset(config)
    counted = rows or training_rows(config) or 0
    epochs = float(config.get("num_epochs") or 1)
    steps = whole(config, "max_steps", 0) or None
    packed = bool(config.get("sample_packing"))
    by_rows = steps is None and not (data and packed)
    if steps is None and data and packed:
        steps = math.ceil(data * epochs / tokens_a_step)
    elif steps is None and counted:
        steps = math.ceil(counted * epochs / rows_a_step)
    most = "" if packed else ", at most: rows are padded, not packed"
    if packs_pairs(config, family_of(shape.model_type)):
        what = "answers" if config.get("rl") == "kto" else "pairs"
        most = f", at most: {what} are packed, without padding"
    lines = [f"Tokens a step     {tokens_a_step:,}{most}"]
    if passes.sequences > 1:
        lines.append(f"                  {passes.sequences} sequences a row: chosen and rejected")
    if passes.forward_only:
        lines.append(f"                  {_asked(config, passes.forward_only)}")
    if data:
        lines.append(f"Training data     about {data:,} tokens in {rows:,} rows, {epochs:g} epochs")
    elif counted and not recipe.dataset:
        lines.append(f"Training data     {counted:,} rows, {epochs:g} epochs; tokens not counted")
    elif recipe.dataset:
        lines.append(f"Training data     not made yet: make data RECIPE={recipe.name} makes it")
    else:
        lines.append("Training data     not on this machine as JSON lines: steps are not known")
    if steps is None:
        return lines
    tokens = int(steps) * tokens_a_step
    fewer = ", at the most: packed rows make fewer" if packed and by_rows else ""
    lines.append(f"Steps             {int(steps):,} ({tokens:,} tokens{fewer})")
    flops = tokens * _flops_a_token(config, shape, trained)
    family = family_of(shape.model_type)
    fused = way_through(config, shape, strategy in PARTS_WEIGHTS and gpus > 1) != "modules"
    share = _SHARE if fused or not family.own_linear else _SHARE_OF_MODULES
    lines.append(f"Time, estimated at {share:.0%} of each card's peak:")
    if family.state_space:
        lines.append("  (of state-space kernels, not tried here; without them many times as long)")
    for card, teraflops in _CARDS.items():
        lines.append(f"  {card:<16}{duration(flops / (gpus * teraflops * 1e12 * share))}")
    return lines


def _asked(config: dict[str, Any], sequences: int) -> str:
    """The passes without gradients that a row takes beside its own."""
    how = "a second copy" if copies_reference(config) else "the base without its adapter"
    if config.get("lora_model_dir") and names_preference_plugin(config):
        how = "the SFT adapter, frozen"
    return f"and {sequences} more a row without gradients, by the reference: {how}"


def _flops_a_token(config: dict[str, Any], shape: Architecture, trained: list[Tensor]) -> float:
    """FLOPs of a trained token: weights that are trained cost more, a reference asks again."""
    passes = passes_of(config)
    inside = sum(tensor.size for tensor in trained if tensor.in_base)
    trained_flops = FLOPS_PER_PARAMETER * shape.parameters + _TO_WEIGHTS * inside
    asked = _FORWARD * shape.parameters * passes.forward_only / passes.sequences
    return trained_flops + asked


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


def _dataset(config: dict[str, Any]) -> tuple[int, int]:
    """Rows and tokens of the train split, from datasets_prep's count; 0 when not counted."""
    sources = config.get("datasets")
    first = sources[0] if isinstance(sources, list) and len(sources) == 1 else {}
    path = Path(str(first.get("path", "") if isinstance(first, dict) else ""))
    manifest = ROOT / path.parent / "manifest.json"
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0, 0
    counts = found.get("counts") or {}
    written = counts.get("written") or {}
    if not counts.get("tokens") or not sum(written.values()):
        return 0, 0
    rows = int(written.get("train", 0))
    rows -= held_out(config, rows)
    return rows, round(counts["tokens"] * rows / sum(written.values()))
