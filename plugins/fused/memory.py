"""What a pass takes on the card, and how many blocks may keep their activations there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

GIB = 2**30
_UNDER_WAY = 8  # leaving or coming: two tensors, the widest queries, keys and values together
_PASSING = 3  # buffers as wide as the MLP's input that a block's backward holds at once, at most
_PASSING_KEPT = 1  # the same of a block that makes nothing again
_SPARED = 3 * GIB // 4  # what PyTorch holds beyond what is in use, 0.4 to 0.7 GiB as measured


def trained_bytes(model: nn.Module) -> int:
    """Gradients and two Adam moments of what is trained, all float32, standing already or not."""
    return 12 * sum(p.numel() for p in model.parameters() if p.requires_grad)


@dataclass(frozen=True)
class Kept:
    """Bytes that a block holds on the card for the backward, beyond its input.

    Attributes:
        here: where nothing waits in host memory.
        beside: with the host's memory, where its input waits too.
    """

    here: int
    beside: int


@dataclass(frozen=True)
class PassShape:
    """What a pass's memory depends on.

    Attributes:
        hidden: width of the model.
        ffn: width of its MLP's input.
        blocks: how many.
        weight: bytes of the largest matrix that a block makes anew from 4 bits.
        vocabulary: columns of the logits, where all are held at once; 0 where the loss is fused.
        offloaded: whether some of what blocks need waits in host memory.
    """

    hidden: int
    ffn: int
    blocks: int
    weight: int = 0
    vocabulary: int = 0
    offloaded: bool = False


def bytes_of_low_memory_pass(model: nn.Module, tokens: int, shape: PassShape) -> int:
    """Bytes that a pass over ``tokens`` takes at least, beside the weights.

    Each block's input (where they wait in host memory what is on its way: eight of that width),
    what is trained, a block's passing buffers, two weights made anew (one is made while the other
    is in use), logits with their float32 copy and its gradient, and 1 GiB.

    Args:
        model: with its adapters.
        tokens: of the pass.
        shape: of the model.
    """
    inputs = (_UNDER_WAY if shape.offloaded else shape.blocks) * tokens * shape.hidden * 2
    logits = tokens * shape.vocabulary * (2 + 4 + 4)
    passing = _PASSING * tokens * shape.ffn * 2
    return inputs + trained_bytes(model) + passing + 2 * shape.weight + logits + GIB


def blocks_that_fit(
    model: nn.Module, tokens: int, per_block: int, shape: PassShape, free: int
) -> int:
    """How many blocks may keep ``per_block`` bytes each on a card.

    None where not even a pass fits that keeps nothing. All that is kept lies there when the
    backward begins, at blocks that make nothing again: their buffers are fewer. Of what is kept
    nothing is left when it comes to a block that does.

    Args:
        model: with its adapters.
        tokens: of the batch.
        per_block: bytes of `Kept`.
        shape: of the model.
        free: bytes of the card.
    """
    least = bytes_of_low_memory_pass(model, tokens, shape)
    if least > free:
        return 0
    beside = least - (_PASSING - _PASSING_KEPT) * tokens * shape.ffn * 2 - GIB + _SPARED
    return max(0, min(shape.blocks, int((free - beside) // per_block)))


def free_bytes(device: torch.device) -> int:
    """Free on the card, what PyTorch holds and doesn't use counted in, within PyTorch's limit."""
    free, total = torch.cuda.mem_get_info(device)
    held, used = torch.cuda.memory_reserved(device), torch.cuda.memory_allocated(device)
    limit = int(torch.cuda.get_per_process_memory_fraction(device) * total)
    return min(free + held, limit) - used
