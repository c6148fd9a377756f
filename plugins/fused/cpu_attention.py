"""Causal attention over packed sequences on a CPU: each sequence by itself, all in one batch.

Under a mask every token is compared with every other of its row, whichever conversation they are
in, and the result thrown away. Here sequences are laid side by side, filled up to the longest. A
CPU multiplies small matrices faster in float32 than in 16 bits, so that is what scores are in.

All tensors are those of transformers' modules: [B, heads, T, d], keys and values of fewer heads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, AttentionMaskInterface

from plugins.fused.packed import PackedSequences

NAME = "packed_cpu"
"""As which transformers knows `attend_packed`."""


def attend_packed(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    *,
    packed_sequences: PackedSequences,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function of transformers; who may attend to whom comes from the decoder.

    Args:
        module: unused.
        query: [B, heads, T, d].
        key: [B, key heads, T, d].
        value: as ``key``.
        attention_mask: unused.
        scaling: of the scores.
        dropout: unused, and always 0: see `PackedDecoder`.
        packed_sequences: of the batch.
        kwargs: unused.

    Returns:
        [B, T, heads, d], and no weights.
    """
    del module, attention_mask, dropout, kwargs
    return _Attention.apply(query, key, value, packed_sequences, scaling), None


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        sequences: PackedSequences,
        scaling: float,
    ) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            keys, longest = key.shape[1], sequences.longest
            q, k, v = (_side_by_side(t, keys, sequences) for t in (query, key, value))
            scores = torch.bmm(q, k.transpose(1, 2)).mul_(scaling)
            # A token sees those before it in its sequence; what fills up comes after.
            later = torch.ones(longest, longest, dtype=torch.bool, device=q.device).triu_(1)
            scores.view(-1, longest, longest).masked_fill_(later, float("-inf"))
            weights = torch.softmax(scores, -1)
            ctx.save_for_backward(query, key, value, weights)
            ctx.sequences, ctx.scaling = sequences, scaling
            return _in_rows(torch.bmm(weights, v), query, sequences).transpose(1, 2).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        with torch.autocast("cpu", enabled=False):
            query, key, value, weights = ctx.saved_tensors
            sequences, keys = ctx.sequences, key.shape[1]
            q, k, v = (_side_by_side(t, keys, sequences) for t in (query, key, value))
            # Of what fills up nothing was read.
            dout = _side_by_side(grad.transpose(1, 2), keys, sequences, clear=True)
            dv = torch.bmm(weights.transpose(1, 2), dout)
            dweights = torch.bmm(dout, v.transpose(1, 2))
            dscores = torch._softmax_backward_data(dweights, weights, -1, weights.dtype)
            dscores.mul_(ctx.scaling)
            dq, dk = torch.bmm(dscores, k), torch.bmm(dscores.transpose(1, 2), q)
            return (
                _in_rows(dq, query, sequences), _in_rows(dk, key, sequences),
                _in_rows(dv, value, sequences), None, None,
            )  # fmt: skip


def _side_by_side(
    t: torch.Tensor, keys: int, sequences: PackedSequences, clear: bool = False
) -> torch.Tensor:
    """[B, some heads, T, d] as [N * keys, heads of a key * longest, d], in float32 at least.

    Args:
        t: [B, heads, T, d].
        keys: key heads.
        sequences: N of them.
        clear: whether places that only fill up hold zeros, in place of some other token.
    """
    batch, several, length, d = t.shape
    tokens = t.transpose(1, 2).reshape(batch * length, several, d)
    laid = tokens.index_select(0, sequences.side_by_side)
    if clear:
        laid.masked_fill_(sequences.filled_up[:, None, None], 0)
    laid = laid.view(-1, sequences.longest, keys, several // keys, d).permute(0, 2, 3, 1, 4)
    wide = torch.promote_types(t.dtype, torch.float32)
    return laid.to(wide, memory_format=torch.contiguous_format).flatten(0, 1).flatten(1, 2)


def _in_rows(laid: torch.Tensor, like: torch.Tensor, sequences: PackedSequences) -> torch.Tensor:
    """The opposite: [B, heads, T, d], of the shape and dtype of ``like``."""
    batch, several, length, d = like.shape
    count, longest = sequences.cu_seqlens.numel() - 1, sequences.longest
    by_place = laid.view(count, several, longest, d).transpose(1, 2).reshape(-1, several, d)
    tokens = by_place.index_select(0, sequences.places).to(like.dtype)
    return tokens.view(batch, length, several, d).transpose(1, 2)


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """Of transformers' masks none is wanted."""


AttentionInterface.register(NAME, attend_packed)
AttentionMaskInterface.register(NAME, _no_mask)
