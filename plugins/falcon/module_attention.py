"""transformers' Falcon attention by the kernels of `grouped_attention`.

For where blocks can't be fused: under FSDP and ZeRO-3 weights are there only inside their own
module's call, but attention between two projections has none. Packed sequences come the way of the
mask, which checkpointing passes on with the other arguments: [1, 1, 2, B * T] int32, of each token
the first of its sequence and the one after its last.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from transformers.models.falcon.modeling_falcon import FalconAttention

from plugins.falcon.block import heads_of
from plugins.fused.backend import Heads
from plugins.fused.packed import PackedSequences


def extents(sequences: PackedSequences) -> torch.Tensor:
    """The sequences as `PackedAttention` takes them, [1, 1, 2, B * T] int32."""
    return torch.stack([sequences.starts, sequences.ends])[None, None]


def install_packed_attention(model: nn.Module) -> None:
    """Let every attention layer of ``model`` that is transformers' plain one know `extents`."""
    for module in model.modules():
        if type(module) is FalconAttention:
            module.__class__ = PackedAttention


class PackedAttention(FalconAttention):
    """`FalconAttention` that keeps packed sequences apart by their extents, without a mask."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        alibi: torch.Tensor | None,
        attention_mask: torch.Tensor,
        *args: Any,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> Any:
        """As `FalconAttention.forward`; with extents for a mask there is no cache and no alibi."""
        given = attention_mask is not None and attention_mask.dtype == torch.int32
        if not given:
            kwargs["position_embeddings"] = position_embeddings
            return super().forward(hidden_states, alibi, attention_mask, *args, **kwargs)
        assert position_embeddings is not None
        qkv = self.query_key_value(hidden_states)
        batch, length, _ = qkv.shape
        # A 4-bit layer answers in the dtype of its input: after a norm, autocast's wide one.
        if torch.is_autocast_enabled(qkv.device.type):
            qkv = qkv.to(torch.get_autocast_dtype(qkv.device.type))
        half = self.head_dim // 2
        cos, sin = (
            table[..., :half].expand(batch, -1, -1).reshape(-1, half).float().contiguous()
            for table in position_embeddings
        )
        heads = qkv.reshape(batch * length, -1, self.head_dim)
        out = _Attention.apply(heads, cos, sin, attention_mask[0, 0], heads_of(self.config))
        return self.dense(out.reshape(batch, length, -1)), None


class _Attention(torch.autograd.Function):
    """Rotary embedding and attention of qkv [T, heads, d] over packed sequences."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        qkv: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        extents: torch.Tensor,
        order: Heads,
    ) -> torch.Tensor:
        from plugins.fused import grouped_attention
        from plugins.fused.triton_backend import TritonBackend

        qkv = qkv.clone(memory_format=torch.contiguous_format)
        TritonBackend().rotate_(qkv, cos, sin, order, 1.0)
        out, lse = grouped_attention.forward(qkv, order, extents[0])
        ctx.save_for_backward(qkv, out, lse, cos, sin, extents)
        ctx.order = order
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        from plugins.fused import grouped_attention
        from plugins.fused.triton_backend import TritonBackend

        qkv, out, lse, cos, sin, (starts, ends) = ctx.saved_tensors
        grad = grad.contiguous()
        dqkv = grouped_attention.backward(grad, qkv, out, lse, ctx.order, starts, ends)
        TritonBackend().rotate_(dqkv, cos, sin, ctx.order, -1.0)
        return dqkv, None, None, None, None
