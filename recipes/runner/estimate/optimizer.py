"""Bytes of an optimizer's state, tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from recipes.runner.estimate.trained import FLOAT32, Tensor

# bitsandbytes keeps tensors below this many elements in 32 bits (`min_8bit_size`), and scales 8-bit
# states by blocks of 256 (arXiv 2110.02861, section 2; bitsandbytes 0.50, `Optimizer2State`).
_SMALLEST_IN_8BIT = 4096
_BLOCK = 256
# Moved between card and host where a tensor has this many elements (`get_state_buffer`).
_SMALLEST_PAGED = 100_000


@dataclass(frozen=True)
class Kind:
    """What an optimizer keeps of each trained tensor.

    Attributes:
        moments: how many tensors of the same size.
        held: ``own``: in the trained tensor's dtype; ``32``: in float32; ``8``: by bitsandbytes, in
            8 bits where it is large enough; ``torchao 8``: by torchao, likewise; ``factored``: a
            row and a column of a matrix; ``muon``: one moment of a matrix, two of embeddings and
            head, which AdamW steps, none of what has one dimension, which Axolotl leaves out.
        paged: large states live in memory that the host shares, outside torch's own count.
        copies: how many times the trained weights stand again while it steps (foreach kernels).
    """

    moments: int
    held: Literal["own", "32", "8", "torchao 8", "factored", "muon"]
    paged: bool = False
    copies: int = 0


KINDS = {
    "adamw_torch": Kind(2, "own", copies=1),
    "adamw_torch_fused": Kind(2, "own"),
    "adamw_bnb_8bit": Kind(2, "8"),
    "adamw_8bit": Kind(2, "8"),
    "paged_adamw_8bit": Kind(2, "8", paged=True),
    "paged_adamw_32bit": Kind(2, "32", paged=True),
    "ademamix": Kind(3, "32"),
    "ademamix_8bit": Kind(3, "8"),
    "paged_ademamix_32bit": Kind(3, "32", paged=True),
    "paged_ademamix_8bit": Kind(3, "8", paged=True),
    "lion_32bit": Kind(1, "32"),
    "lion_8bit": Kind(1, "8"),
    "paged_lion_32bit": Kind(1, "32", paged=True),
    "paged_lion_8bit": Kind(1, "8", paged=True),
    "rmsprop": Kind(1, "own", copies=1),
    "rmsprop_bnb": Kind(1, "8"),
    "rmsprop_bnb_8bit": Kind(1, "8"),
    "rmsprop_bnb_32bit": Kind(1, "32"),
    "adagrad": Kind(1, "own", copies=1),
    "sgd": Kind(0, "own"),
    "adafactor": Kind(1, "factored", copies=1),
    "adamw_torch_8bit": Kind(2, "torchao 8"),
    "ao_adamw_8bit": Kind(2, "torchao 8"),
    "schedule_free_adamw": Kind(2, "own", copies=1),
    "adopt_adamw": Kind(2, "own", copies=1),
    "muon": Kind(1, "muon"),
}
"""Optimizers whose state is known; of another `plan` says that it is not."""

DEFAULT = "adamw_torch_fused"  # transformers' `TrainingArguments.optim`


def kind_of(config: dict[str, Any]) -> Kind | None:
    """What a recipe's optimizer keeps; None where it is not known here."""
    return KINDS.get(str(config.get("optimizer") or DEFAULT))


def state_bytes(kind: Kind, tensors: Iterable[Tensor], paged: bool = True) -> float:
    """Bytes of all states.

    Args:
        kind: of the optimizer.
        tensors: what is trained.
        paged: with what can move to the host; else only what stays on the card.
    """
    return sum(
        _bytes_of(kind, tensor)
        for tensor in tensors
        if paged or not (kind.paged and tensor.size >= _SMALLEST_PAGED)
    )


def _bytes_of(kind: Kind, tensor: Tensor) -> float:
    if kind.held == "own":
        return kind.moments * tensor.bytes
    if kind.held == "muon":
        moments = 2 if tensor.by_adamw else 1
        return moments * tensor.bytes if len(tensor.shape) > 1 else 0.0
    if kind.held == "32":
        return kind.moments * tensor.size * FLOAT32
    if kind.held == "factored":
        rows = (*tensor.shape[:-1],), (*tensor.shape[:-2], tensor.shape[-1])
        return FLOAT32 * (sum(map(math.prod, rows)) if len(tensor.shape) > 1 else tensor.size)
    small = tensor.size < _SMALLEST_IN_8BIT
    if kind.held == "torchao 8":
        if small or tensor.size % _BLOCK:
            return kind.moments * tensor.bytes
        # Codes, a float32 scale a block, and the 256 values that codes stand for.
        scales = tensor.size // _BLOCK * FLOAT32
        return kind.moments * (tensor.size + scales + _BLOCK * FLOAT32)
    if small or tensor.embedding:
        return kind.moments * tensor.size * FLOAT32
    return kind.moments * (tensor.size + math.ceil(tensor.size / _BLOCK) * FLOAT32)
