"""How much memory a recipe takes on each device, part by part; what preflight and plan show.

An estimate from shapes, not a measurement: the parts that a run can't do without, and the
activations as the training path of this repository keeps them. NOTES.md of plugins/falcon holds
the measurements that it was set against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recipes.runner.models.architecture import Architecture
from recipes.runner.models.families import family_of

GIB = 2**30

# nf4: half a byte a weight and, for each block of 64, an 8-bit absmax; the absmax of 256 blocks
# share one float32 (double quantisation, QLoRA, arXiv 2305.14314, section 3).
NF4_BYTES = 0.5 + (1 + 4 / 256) / 64
NF4_BYTES_SINGLE = 0.5 + 4 / 64
INT8_BYTES = 1.0
_ADAPTER_BYTES = 4  # PEFT keeps adapters, and so their gradients, in float32
_OPTIMIZER_BYTES = {"8bit": 2.0, "32bit": 8.0}  # two moments a parameter
# What a CUDA process holds before the first tensor, and the allocator's rounding.
_CUDA_CONTEXT = 0.6 * GIB
_LOGIT_BYTES = 2 + 4 + 4  # 16-bit logits, their float32 copy, its gradient
_FUSED_LOSS_ROWS = 1024  # tokens whose logits the fused loss holds at once


@dataclass(frozen=True)
class Memory:
    """Bytes on one device, by part.

    Attributes:
        weights: the frozen base, as it is held.
        adapters: trained parameters.
        gradients: of the adapters.
        optimizer: its state.
        activations: kept for the backward at this micro-batch and sequence length.
        logits: of the loss.
        context: CUDA's own.
    """

    weights: float
    adapters: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    context: float

    @property
    def total(self) -> float:
        """All parts together, in bytes."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, float]:
        """Part to bytes, in the order they are shown."""
        return dict(vars(self))


def estimate(
    config: dict[str, Any],
    shape: Architecture,
    on_gpu: bool = True,
    shards_weights: bool = False,
) -> Memory:
    """Estimate the memory of one device that holds the whole model (one GPU, or DDP).

    Args:
        config: the recipe's keys.
        shape: the base model's shape.
        on_gpu: whether CUDA's context counts.
        shards_weights: no device holds a whole model, and what fuses the loss steps aside.
    """
    family = family_of(shape.model_type)
    targets = _targets(config)
    rank = int(config.get("lora_r") or 0)
    trained = adapter_parameters(shape, targets, rank)
    tokens = int(config.get("micro_batch_size") or 1) * int(config.get("sequence_len") or 512)
    return Memory(
        weights=sum(weight_bytes(config, shape)),
        adapters=trained * _ADAPTER_BYTES,
        gradients=trained * _ADAPTER_BYTES,
        optimizer=trained * _optimizer_bytes(config),
        activations=_activation_bytes(config, shape, tokens),
        logits=min(
            tokens, _FUSED_LOSS_ROWS if family.fuses_loss(config, shards_weights) else tokens
        )
        * shape.vocabulary
        * _LOGIT_BYTES,
        context=_CUDA_CONTEXT if on_gpu else 0.0,
    )


def adapter_parameters(shape: Architecture, targets: list[str], rank: int) -> int:
    """LoRA's parameters: ``rank * (in + out)`` for each adapted layer (arXiv 2106.09685)."""
    return sum(
        rank * (linear.in_features + linear.out_features) for linear in shape.adapted(targets)
    )


def _targets(config: dict[str, Any]) -> list[str]:
    targets = config.get("lora_target_modules") or []
    return [targets] if isinstance(targets, str) else list(targets)


def weight_bytes(config: dict[str, Any], shape: Architecture) -> tuple[float, float]:
    """Bytes of the base's weights as they are held: in the blocks, and in embeddings and head."""
    body = sum(
        linear.in_features * linear.out_features for linear in shape.linears if not linear.is_head
    )
    sixteen = 2.0 if config.get("bf16") or config.get("fp16") else 4.0
    each = sixteen
    if config.get("load_in_4bit"):
        keywords = config.get("bnb_config_kwargs") or {}
        double = keywords.get("bnb_4bit_use_double_quant", True)
        each = NF4_BYTES if double else NF4_BYTES_SINGLE
    elif config.get("load_in_8bit"):
        each = INT8_BYTES
    return body * each, (shape.parameters - body) * sixteen


def _optimizer_bytes(config: dict[str, Any]) -> float:
    return _OPTIMIZER_BYTES["8bit" if "8bit" in str(config.get("optimizer")) else "32bit"]


def _activation_bytes(config: dict[str, Any], shape: Architecture, tokens: int) -> float:
    """Activations of the low-memory path: each block's input, and one block's inside.

    The Falcon plugin keeps more where the card has room for it (`memory: auto`), so this is what
    a run needs, not what it may take.
    """
    widths = [
        linear.in_features + linear.out_features for linear in shape.linears if not linear.is_head
    ]
    inside = sum(widths) / max(shape.layers, 1) * tokens * 2.0
    largest = max(
        (
            linear.in_features * linear.out_features
            for linear in shape.linears
            if not linear.is_head
        ),
        default=0,
    )
    dequantised = largest * 2.0 if config.get("load_in_4bit") else 0.0
    if family_of(shape.model_type).recomputes(config):
        return shape.layers * tokens * shape.hidden_size * 2.0 + 2 * inside + dequantised
    return shape.layers * inside + dequantised


def show(memory: Memory) -> list[str]:
    """The parts as lines of a table, in GiB."""
    lines = [f"  {name:<12}{size / GIB:7.2f} GiB" for name, size in memory.parts().items()]
    return [*lines, f"  {'total':<12}{memory.total / GIB:7.2f} GiB"]
