"""Log probabilities of answers, without ever holding the logits of all tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.utils import ModelOutput

LOGITS = 2**26
"""Logits that are held at once: 128 MiB of them in 16 bits, twice that in float32."""


class LogProbabilities:
    """Goes before a ``...ForCausalLM`` of transformers in a class's bases."""

    def forward(
        self,
        *args: Any,
        target_rows: torch.Tensor | None = None,
        target_ids: torch.Tensor | None = None,
        target_sequences: torch.Tensor | None = None,
        sequences: int = 0,
        **kwargs: Any,
    ) -> Any:
        """As the model's; with targets, the log probability of those of each sequence.

        Args:
            args: of the model.
            target_rows: [N] int64, places of tokens, rows of the batch laid end to end, that are
                followed by a target.
            target_ids: [N] int64, the targets.
            target_sequences: [N] int64, of which sequence each is.
            sequences: how many there are.
            kwargs: of the model.

        Returns:
            The model's output; with targets ``log_probabilities``, [sequences] float32 (float64
            where the head is), the sum over each sequence's targets, in nats.
        """
        if target_rows is None or target_ids is None or target_sequences is None:
            return super().forward(*args, **kwargs)  # type: ignore[misc]
        model: Any = self
        decoder = getattr(model, model.base_model_prefix)
        hidden = decoder(*args, **kwargs | {"use_cache": False}).last_hidden_state
        weight = model.lm_head.weight
        with torch.autocast(hidden.device.type, enabled=False):
            rows = hidden.flatten(0, 1).index_select(0, target_rows).to(weight.dtype)
            each = log_probabilities(rows, weight, target_ids)
        sums = each.new_zeros(sequences).index_add(0, target_sequences, each)
        return ModelOutput(log_probabilities=sums)


def why_not_chunked(model: Any) -> str:
    """Why `LogProbabilities` can't take this model's head; empty when it can."""
    head = model.lm_head
    if type(head) is not nn.Linear:
        return f"the language model head is a {type(head).__name__}"
    if head.bias is not None:
        return "the language model head has a bias"
    return "the language model head is trained" if head.weight.requires_grad else ""


def log_probabilities(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """[N] log probability of each target, in nats; differentiable in ``hidden``.

    float32 throughout but for the products with the head, float64 where the weight is.

    Args:
        hidden: [N, hidden], the last norm's output, in the weight's dtype.
        weight: [vocabulary, hidden] of the language model head, frozen.
        targets: [N] int64.
    """
    return _LogProbabilities.apply(hidden, weight, targets)


class _LogProbabilities(torch.autograd.Function):
    """The gradient of log p(target) in a row is ``weight[target] - softmax @ weight``.

    It is found beside the value, while the chunk's logits are there, and waits as one row of the
    hidden width: the backward only scales it by what the loss makes of the row's value.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        wide = torch.promote_types(weight.dtype, torch.float32)
        found = hidden.new_empty(len(targets), dtype=wide)
        trained = ctx.needs_input_grad[0]
        ascent = torch.empty_like(hidden) if trained else None
        rows = max(1, LOGITS // weight.shape[0])
        for begin in range(0, len(targets), rows):
            chunk = slice(begin, begin + rows)
            wanted = targets[chunk, None]
            logits = (hidden[chunk] @ weight.T).to(wide)
            total = logits.logsumexp(1, keepdim=True)
            found[chunk] = (logits.gather(1, wanted) - total)[:, 0]
            if ascent is not None:
                spread = logits.sub_(total).exp_().neg_()
                spread.scatter_add_(1, wanted, torch.ones_like(total))
                ascent[chunk] = spread.to(weight.dtype) @ weight
        ctx.save_for_backward(ascent)
        return found

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        (ascent,) = ctx.saved_tensors
        # Scaled in the wide dtype: in fp16 the loss's scale would overflow a row's own gradient.
        return (grad[:, None] * ascent).to(ascent.dtype), None, None
