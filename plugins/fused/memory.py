"""What a pass takes on the card, and how many blocks may keep their activations there."""

from __future__ import annotations

import torch
from torch import nn

GIB = 2**30
_PASSING = 6  # buffers as wide as the MLP that a block's backward holds at once, at most


def trained_bytes(model: nn.Module) -> int:
    """Gradients and two Adam moments of what is trained, all float32, standing already or not."""
    return 12 * sum(p.numel() for p in model.parameters() if p.requires_grad)


def bytes_of_low_memory_pass(
    model: nn.Module, tokens: int, hidden: int, ffn: int, blocks: int
) -> int:
    """Bytes that a pass over ``tokens`` takes at least, beside the weights.

    Each block's input, what is trained, a block's passing buffers, and 1 GiB.

    Args:
        model: with its adapters.
        tokens: of the pass.
        hidden: width of the model.
        ffn: width of its MLP's input.
        blocks: how many.
    """
    inputs = blocks * tokens * hidden * 2
    return inputs + trained_bytes(model) + _PASSING * tokens * ffn * 2 + GIB


def blocks_that_fit(
    model: nn.Module, tokens: int, blocks: int, per_block: int, hidden: int, ffn: int
) -> int:
    """How many of ``blocks`` may keep ``per_block`` bytes each, by the free memory of the card.

    Left free: what a pass takes that keeps nothing but the blocks' inputs.

    Args:
        model: the decoder.
        tokens: of the batch.
        blocks: of the decoder.
        per_block: bytes that a block keeps beyond its input.
        hidden: width of the model.
        ffn: width of its MLP's input.
    """
    device = next(model.parameters()).device
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    room = free - bytes_of_low_memory_pass(model, tokens, hidden, ffn, blocks)
    return max(0, min(blocks, int(room // per_block)))
