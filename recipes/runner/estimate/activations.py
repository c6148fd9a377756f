"""What one decoder block keeps of a token for the backward, and what passes through it.

Counted from the widths of its layers and from which tensors autograd saves on each way through
it; tests/recipes/test_activations.py holds the count to the hooks of autograd, on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from recipes.runner.estimate.passes import packs_pairs
from recipes.runner.estimate.trained import (
    FLOAT32,
    computing_bytes,
    held,
    is_quantised,
    trains_head,
)
from recipes.runner.models.architecture import Architecture, Module
from recipes.runner.models.families import LORA_KERNELS, family_of
from recipes.runner.models.saved_adapter import with_saved_adapter
from recipes.runner.models.targets import resolve

Way = Literal["fused", "kernels", "modules"]

# Bytes of a score (a query against a key) where attention holds all of them: while the block goes
# backward, set against stock Falcon's peaks in plugins/falcon/NOTES.md; and kept for it, by SDPA's
# plain way (softmax in float32) and by transformers' eager one (its 16-bit copy too).
_SCORE_PASSING = 15
_SCORE_KEPT = {"plain": 4, "eager": 6}
_DROPOUT_MASK = 1  # byte an element


@dataclass(frozen=True)
class Widths:
    """Widths of a decoder block, in elements a token.

    Attributes:
        hidden: of the residual stream.
        query: of all query heads, which is attention's output too.
        key_value: of all keys, and again of all values.
        middle: between the MLP's layers; 0 where there is none that is known.
        norms: of every norm in the block together.
        others: in + out of layers that are in neither attention nor MLP (a mixer).
    """

    hidden: int
    query: int
    key_value: int
    middle: int
    norms: int
    others: int


@dataclass(frozen=True)
class Block:
    """Bytes of one decoder block.

    Attributes:
        entry: of the residual stream, a token: all that checkpointing keeps.
        kept: for the backward without checkpointing, a token.
        passing: what stands beside it for a moment in the backward, a token.
        score_kept, score_passing: the same, a query and key of a sequence; 0 where attention
            never holds the scores.
        weights: dequantised or cast for a moment, whatever the tokens.
    """

    entry: float
    kept: float
    passing: float
    score_kept: float
    score_passing: float
    weights: float


def way_through(config: Mapping[str, Any], shape: Architecture, sharded: bool = False) -> Way:
    """Which code runs a block: this repository's fused path, Axolotl's LoRA kernels, or modules.

    Axolotl 0.19 switches its kernels on for an adapter in SFT, unless the recipe says no; they know
    separate projections and a gated MLP.

    Args:
        config: the recipe's keys.
        shape: the base model's.
        sharded: whether no device holds a whole model.
    """
    family = family_of(shape.model_type)
    options = config.get(str(family.options)) or {}
    cut = sharded and not gathers_blocks(config)
    if (
        family.fused_path(config, cut)
        and options.get("enabled", True)
        and options.get("block") != "plain"
    ):
        return "fused" if config.get("adapter") else "modules"
    wanted = all(config.get(key) is not False for key in LORA_KERNELS)
    able = family.lora_kernels and family.projections == "separate"
    able = able and family.activation in ("swiglu", "geglu")
    quiet = config.get("rl") or config.get("trust_remote_code") or not config.get("adapter")
    return "kernels" if wanted and able and not quiet else "modules"


def gathers_blocks(config: Mapping[str, Any]) -> bool:
    """Whether weights in shards are whole while their block works, so that blocks stay fused
    (plugins/fused/gathered.py): under FSDP2 and ZeRO-3, not under FSDP1."""
    return bool(config.get("deepspeed")) or gathers_head(config)


def gathers_head(config: Mapping[str, Any]) -> bool:
    """Whether the head is whole where the loss is computed: under FSDP2."""
    fsdp = config.get("fsdp_config") or {}
    version = config.get("fsdp_version") or fsdp.get("fsdp_version")
    return bool(fsdp) and str(version) == "2" and not config.get("deepspeed")


def widths_of(shape: Architecture) -> Widths:
    """The widths of a block, as a mean over all of them where they differ."""
    layers = max(shape.layers, 1)
    inputs = outputs = middle = norms = others = 0
    for module in shape.body:
        part = _part(module)
        if part == "attention":
            if module.out_features == shape.hidden_size and module.name in _ATTENTION_OUT:
                inputs += module.in_features
            else:
                outputs += module.out_features
        elif part == "mlp":
            if module.name in _MLP_OUT:
                middle += module.in_features
        else:
            others += module.in_features + module.out_features
    query = inputs // layers
    key_value = max(outputs // layers - query, 0) // 2
    for module in shape.modules:
        if not _is_norm(module) or ".0." not in _first_layer(module.path):
            continue
        wide = {"q_norm": query, "k_norm": key_value}.get(module.name, shape.hidden_size)
        norms += wide
    return Widths(shape.hidden_size, query, key_value, middle // layers, norms, others // layers)


def block_of(config: Mapping[str, Any], shape: Architecture, sharded: bool = False) -> Block:
    """Count a block's bytes on the way that this recipe takes through it.

    Args:
        config: the recipe's keys.
        shape: the base model's.
        sharded: whether no device holds a whole model.
    """
    config = keys = with_saved_adapter(config)
    width = widths_of(shape)
    computing = computing_bytes(keys)
    way = way_through(config, shape, sharded)
    whole = not config.get("adapter")
    stream = held(keys, shape).upcast if whole else computing
    largest = max((module.in_features * module.out_features for module in shape.body), default=0)
    quantised = any(is_quantised(module, keys, shape) for module in shape.body)
    dequantised = largest * computing if quantised and held(keys, shape).quantised else 0.0
    if way == "fused":
        gated = family_of(shape.model_type).activation != "gelu"
        pre = (2 if gated else 1) * width.middle
        kept = width.query + 2 * width.key_value + width.hidden + pre
        if gated:  # attention's output and the residual stream after it
            kept += width.query
        if width.norms > 2 * width.hidden and gated:  # queries and keys before their own norms
            kept += width.query + width.key_value
        # NOTES.md of plugins/falcon has the peaks: a weight is made anew beside the one in use.
        return Block(
            width.hidden * computing,
            (kept + width.hidden) * computing,
            1.1 * pre * computing,
            0.0,
            0.0,
            2.0 * dequantised,
        )
    liger = _liger(config)
    norms = width.norms * (computing if "liger_rms_norm" in liger else FLOAT32)
    scores = _scores(config, shape, width)
    family = family_of(shape.model_type)
    key_value = width.key_value
    if scores == "plain" or (family.own_linear and not family.helped(config)):
        key_value = width.query  # stock Falcon repeats keys and values for every query head
    attention = (2 * width.query + 2 * key_value) * computing
    if scores == "plain":
        attention += (width.query + 2 * key_value) * (FLOAT32 - computing)
    gated = family.activation != "gelu"
    halves = 2 if gated and (way == "kernels" or "liger_glu_activation" in liger) else 3
    mlp = (halves if gated else 1) * width.middle * computing
    if whole:
        norms += width.norms * stream
        inputs = _whole_inputs(shape, width, computing, stream)
        passing = 3.0 * width.middle * computing
    elif way == "kernels":
        dropped = computing + _DROPOUT_MASK if config.get("lora_dropout") else 0
        inputs = 2 * width.hidden * computing
        inputs += (2 * width.hidden + width.query) * dropped
        passing = float((2 * width.middle + width.hidden) * computing)
        if config.get("peft_use_dora"):
            inputs += _outputs_of_dora(keys, shape, computing)
    else:
        inputs = _adapter_inputs(keys, shape, computing)
        passing = float((2 * FLOAT32 + 2 * computing) * width.middle)
    cast = _cast_weights(keys, shape, computing)
    return Block(
        width.hidden * stream,
        norms + attention + mlp + inputs + width.others * computing,
        passing,
        _SCORE_KEPT[scores] * shape.attention_heads if scores else 0.0,
        _SCORE_PASSING * shape.attention_heads if scores else 0.0,
        dequantised + cast,
    )


_ATTENTION_OUT = ("o_proj", "dense", "out_proj", "c_proj")
_MLP_OUT = ("down_proj", "dense_4h_to_h", "c_proj", "fc2")


def _part(module: Module) -> str:
    parts = module.path.split(".")
    if any("attn" in part or "attention" in part for part in parts):
        return "attention"
    return "mlp" if any(part in ("mlp", "feed_forward") for part in parts) else "other"


def _is_norm(module: Module) -> bool:
    return module.kind == "other" and ("norm" in module.name or module.name.startswith("ln_"))


def _first_layer(path: str) -> str:
    """The path up to its first number, that one too, if it is of the first layer."""
    head, found, _ = path.partition(".0.")
    return head + found if not any(part.isdigit() for part in head.split(".")) else ""


def _whole_inputs(shape: Architecture, width: Widths, computing: int, stream: int) -> float:
    """Inputs that trained weights keep; a float32 norm's output is cast anew for each layer."""
    if stream == computing:
        norms = width.norms // max(width.hidden, 1)
        return (min(norms, 2) * width.hidden + width.middle) * computing
    readers = sum(
        module.in_features == width.hidden and module.name not in _ATTENTION_OUT
        for module in shape.body
    )
    return (readers / max(shape.layers, 1) * width.hidden + width.middle) * computing


def _adapter_inputs(config: dict[str, Any], shape: Architecture, computing: int) -> float:
    """What PEFT's own modules keep: each adapter's input in 16 bits, and its dropout's mask."""
    each = computing + (_DROPOUT_MASK if config.get("lora_dropout") else 0)
    adapted = resolve(config, shape).adapted
    inputs = sum(one.module.in_features * each + one.rank * computing for one in adapted)
    if config.get("load_in_8bit"):
        inputs += sum(module.in_features * computing for module in shape.body)
    outputs = _outputs_of_dora(config, shape, computing) if config.get("peft_use_dora") else 0.0
    return inputs / max(shape.layers, 1) + outputs


def _outputs_of_dora(config: dict[str, Any], shape: Architecture, computing: int) -> float:
    """The base's output, by which the magnitude is scaled, and the adapter's own."""
    adapted = resolve(config, shape).adapted
    outputs = sum(2 * one.module.out_features * computing for one in adapted)
    return outputs / max(shape.layers, 1)


def _cast_weights(config: dict[str, Any], shape: Architecture, computing: int) -> float:
    """Frozen float32 weights under autocast: their 16-bit copies stand until the backward."""
    how = held(config, shape)
    if not config.get("adapter") or computing == FLOAT32 or how.base == computing:
        return 0.0
    plain = sum(module.size for module in shape.body if not is_quantised(module, config, shape))
    return plain / max(shape.layers, 1) * computing


def _scores(
    config: Mapping[str, Any], shape: Architecture, width: Widths
) -> Literal["plain", "eager"] | None:
    """How attention holds every score: eager, or SDPA where stock Falcon shares one key for all."""
    family = family_of(shape.model_type)
    if config.get("eager_attention") or config.get("attn_implementation") == "eager":
        return "eager"
    options = config.get(str(family.options)) or {}
    plain = options.get("attention") == "plain" or options.get("enabled") is False
    stock = family.own_linear and (plain or not family.helped(config))
    shared = width.key_value * shape.attention_heads == width.query
    by_sdpa = config.get("attn_implementation") in (None, "sdpa")
    return "plain" if stock and shared and by_sdpa else None


def _liger(config: Mapping[str, Any]) -> set[str]:
    """The liger switches that are on, and whose plugin the recipe names."""
    if not any("liger" in str(plugin) for plugin in config.get("plugins") or []):
        return set()
    return {key for key, value in config.items() if str(key).startswith("liger_") and value}


Loss = Literal["plain", "fused", "cut", "chunked"]


def loss_of(config: Mapping[str, Any], shape: Architecture, sharded: bool = False) -> Loss:
    """How the loss is computed: with all logits at once, or with some of them at a time.

    Args:
        config: the recipe's keys.
        shape: the base model's.
        sharded: whether no device holds a whole model; the fused loss steps aside there, but not
            under FSDP2, nor under ZeRO-3 beside fused blocks.
    """
    family = family_of(shape.model_type)
    options = config.get(str(family.options)) or {}
    if config.get("rl") and not packs_pairs(config, family):
        return "plain"
    if family.helped(config) and options.get("enabled", True):
        beside_blocks = config.get("deepspeed") and options.get("block") != "plain"
        cut = sharded and not (gathers_head(config) or beside_blocks)
        fused = family.fuses_loss(config, cut) and not trains_head(dict(config), shape)
        return "fused" if fused else "plain"
    if "liger_fused_linear_cross_entropy" in _liger(config):
        return "fused"
    if config.get("cut_cross_entropy"):
        return "cut"
    return "chunked" if config.get("chunked_cross_entropy") else "plain"
