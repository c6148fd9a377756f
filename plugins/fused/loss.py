"""Cross entropy without ever holding the logits of all tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from plugins.collators import OverCollator
from recipes.runner.core.labels import IGNORE

ROWS_MULTIPLE = 256  # one shape of buffers and kernels for many batches
OPENING = 8
"""Trained tokens at the beginning of an answer, where a recipe names no other number."""


class WithTargetRows(OverCollator):
    """A collator that also says which rows of the batch predict something.

    Their number decides the shape of the loss; known with the batch, it need not be asked of the
    GPU in the middle of a step.

    Args:
        collate: the collator of the trainer.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As the collator's, with ``target_rows`` beside the labels."""
        batch = self.collate(*args, **kwargs)
        if "labels" in batch:
            batch["target_rows"] = find_target_rows(torch.as_tensor(batch["labels"]))
        return batch


def find_target_rows(labels: torch.Tensor) -> torch.Tensor:
    """[N] int64, places of the tokens, laid end to end, that are followed by a labelled one.

    Filled up to a multiple of `ROWS_MULTIPLE` with the last token, which predicts nothing. Waits
    for the GPU if the labels are there.

    Args:
        labels: [B, T], not shifted; `IGNORE` where nothing is to be predicted.
    """
    rows = (_following(labels) != IGNORE).nonzero().flatten()
    return torch.cat([rows, rows.new_full((-rows.numel() % ROWS_MULTIPLE,), labels.numel() - 1)])


def find_openings(labels: torch.Tensor, tokens: int = OPENING) -> torch.Tensor:
    """[B, T] bool, True at the first labelled tokens of each unbroken run of them.

    Args:
        labels: [B, T], not shifted; `IGNORE` where nothing is to be predicted.
        tokens: how many of each run.
    """
    trained = labels != IGNORE
    so_far = trained.cumsum(1)
    before_run = so_far.masked_fill(trained, 0).cummax(1).values
    return trained & (so_far - before_run <= tokens)


def _following(labels: torch.Tensor) -> torch.Tensor:
    """[B * T] int64, the label of the token after each, `IGNORE` at the end of a row."""
    following = torch.full_like(labels, IGNORE)
    following[:, :-1] = labels[:, 1:]
    return following.flatten()


def fused_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    target_rows: torch.Tensor,
    num_items: torch.Tensor | int | None,
    opening_weight: float = 1.0,
    opening_tokens: int = OPENING,
) -> torch.Tensor:
    """Next-token loss over the labelled tokens only: no other's logits are computed.

    On a GPU by liger-kernel's fused linear cross entropy; elsewhere in plain PyTorch, which holds
    the logits of the labelled tokens.

    Args:
        hidden: [B, T, hidden], the last norm's output.
        weight: [vocabulary, hidden] of the language model head.
        labels: [B, T], not shifted; `IGNORE` where nothing is to be predicted.
        target_rows: from `find_target_rows`; labels may have become `IGNORE` since.
        num_items: labelled tokens of the whole optimizer step, to divide the sum by; None takes
            those of this batch.
        opening_weight: how many times as much as another the first tokens of each answer count.
            All weights of a batch have a mean of 1, so that sums stay what they are.
        opening_tokens: how many tokens of each answer that is.
    """
    if target_rows.numel() == 0:
        # Of nothing: the sum of all would overflow in fp16, and infinity times zero is no number.
        return hidden[..., :0].sum()
    rows = hidden.flatten(0, 1).index_select(0, target_rows)
    targets = _following(labels).index_select(0, target_rows)
    counted = targets != IGNORE
    count = counted.sum().clamp_min(1) if num_items is None else num_items
    # A sum, divided afterwards: the gradients of a mean would vanish in fp16.
    if opening_weight == 1.0:
        return _summed(rows, weight, targets) / count
    first = find_openings(labels, opening_tokens)
    openings = _following(first.long()).index_select(0, target_rows) == 1
    opened, others = (openings & counted).sum(), (~openings & counted).sum()
    mean = (opening_weight * opened + others) / (opened + others).clamp_min(1)
    total = opening_weight * _summed(rows, weight, targets.masked_fill(~openings, IGNORE))
    total = total + _summed(rows, weight, targets.masked_fill(openings, IGNORE))
    return total / mean.clamp_min(1.0) / count


def _summed(rows: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross entropy of rows [N, hidden] against targets [N], summed over those not `IGNORE`."""
    if not rows.is_cuda:
        # Nothing waits for a CPU, so that what fills up need not be multiplied by the head.
        counted = targets != IGNORE
        logits = F.linear(rows[counted], weight).float()
        return F.cross_entropy(logits, targets[counted], reduction="sum")
    from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction

    result = LigerFusedLinearCrossEntropyFunction.apply(
        rows, weight, targets, None, None, IGNORE, 0.0, 0.0, "sum"
    )
    return result[0] if isinstance(result, tuple) else result
