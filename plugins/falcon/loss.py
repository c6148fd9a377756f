"""Cross entropy without ever holding the logits of all tokens."""

from __future__ import annotations

import torch


def fused_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    num_items: torch.Tensor | int | None,
    ignore: int = -100,
) -> torch.Tensor:
    """Next-token loss by liger-kernel's fused linear cross entropy, over the labelled tokens only.

    Args:
        hidden: [B, T, hidden], the last norm's output.
        weight: [vocabulary, hidden] of the language model head.
        labels: [B, T], not shifted; ``ignore`` where nothing is to be predicted.
        num_items: labelled tokens of the whole optimizer step, to divide the sum by; None takes
            those of this batch.
        ignore: the label of tokens that don't count.
    """
    from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction

    shifted = labels[:, 1:].flatten()
    wanted = (shifted != ignore).nonzero().flatten()
    rows = hidden[:, :-1].flatten(0, 1).index_select(0, wanted)
    if rows.shape[0] == 0:
        return hidden.sum() * 0.0
    targets = shifted.index_select(0, wanted).to(rows.device)
    reduction = "mean" if num_items is None else "sum"
    result = LigerFusedLinearCrossEntropyFunction.apply(
        rows, weight, targets, None, None, ignore, 0.0, 0.0, reduction
    )
    loss = result[0] if isinstance(result, tuple) else result
    return loss if num_items is None else loss / num_items
