"""How many blocks may keep their activations on the card."""

from __future__ import annotations

import torch
from torch import nn

GIB = 2**30


def bytes_kept_per_block(tokens: int, hidden: int, qkv: int, ffn: int, width: int) -> int:
    """Bytes a block keeps beyond its input: qkv, the attention's output, the input of GELU.

    Args:
        tokens: of the batch.
        hidden: model width.
        qkv: width of query_key_value.
        ffn: width of the MLP.
        width: bytes of one activation.
    """
    return tokens * (qkv + hidden + ffn) * width


def blocks_that_fit(model: nn.Module, tokens: int, blocks: int, per_block: int, ffn: int) -> int:
    """How many of ``blocks`` may keep ``per_block`` bytes each, by the free memory of the card.

    Left free: each block's input, gradients and two Adam moments of what is trained (all float32,
    whether they stand already or not), a block's passing buffers, and 1 GiB.
    """
    device = next(model.parameters()).device
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    passing = 6 * tokens * ffn * 2
    inputs = blocks * tokens * (ffn // 4) * 2
    room = free - inputs - 12 * trained - passing - GIB
    return max(0, min(blocks, int(room // per_block)))
