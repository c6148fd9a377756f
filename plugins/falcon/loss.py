"""Cross entropy without ever holding the logits of all tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch

IGNORE = -100
ROWS_MULTIPLE = 256  # one shape of buffers and kernels for many batches


@dataclass(frozen=True)
class Targets:
    """What is to be predicted from which hidden states.

    Attributes:
        rows: [N] int64, places in the batch's tokens laid end to end.
        tokens: [N] int64, the token that follows each, or `IGNORE` in the rows that only pad N.
        count: rows that count.
    """

    rows: torch.Tensor
    tokens: torch.Tensor
    count: int


def find_targets(labels: torch.Tensor) -> Targets:
    """Find the labelled tokens. Waits for the GPU, so it is called before work is queued on it.

    Args:
        labels: [B, T], not shifted; `IGNORE` where nothing is to be predicted.
    """
    following = torch.full_like(labels, IGNORE)
    following[:, :-1] = labels[:, 1:]
    following = following.flatten()
    rows = (following != IGNORE).nonzero().flatten()
    count = rows.numel()
    padding = -count % ROWS_MULTIPLE
    tokens = following.index_select(0, rows)
    return Targets(
        torch.cat([rows, rows.new_zeros(padding)]),
        torch.cat([tokens, tokens.new_full((padding,), IGNORE)]),
        count,
    )


def fused_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: Targets,
    num_items: torch.Tensor | int | None,
) -> torch.Tensor:
    """Next-token loss by liger-kernel's fused linear cross entropy, over the labelled tokens only.

    Args:
        hidden: [B, T, hidden], the last norm's output.
        weight: [vocabulary, hidden] of the language model head.
        targets: from `find_targets`.
        num_items: labelled tokens of the whole optimizer step, to divide the sum by; None takes
            those of this batch.
    """
    from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction

    if targets.count == 0:
        return hidden.sum() * 0.0
    rows = hidden.flatten(0, 1).index_select(0, targets.rows)
    # A sum, divided afterwards: the gradients of a mean would vanish in fp16.
    result = LigerFusedLinearCrossEntropyFunction.apply(
        rows, weight, targets.tokens, None, None, IGNORE, 0.0, 0.0, "sum"
    )
    total = result[0] if isinstance(result, tuple) else result
    return total / (targets.count if num_items is None else num_items)
