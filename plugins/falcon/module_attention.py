"""transformers' Falcon attention by the kernels of `shared_attention`.

For where blocks can't be fused: under FSDP and ZeRO-3 weights are there only inside their own
module's call, but attention between two projections has none. Documents come the way of the
mask, which checkpointing passes on with the other arguments: [1, 1, 2, B * T] int32, of each token
the first of its document and the one after its last.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from transformers.models.falcon.modeling_falcon import FalconAttention

from plugins.fused import backend as ops
from plugins.fused.attention import heads_per_group
from plugins.fused.packed import Documents


def extents(documents: Documents) -> torch.Tensor:
    """The documents as `DocumentAttention` takes them, [1, 1, 2, B * T] int32."""
    return torch.stack([documents.starts, documents.ends])[None, None]


def install_document_attention(model: nn.Module) -> None:
    """Let every attention layer of ``model`` that is transformers' plain one know `extents`."""
    for module in model.modules():
        if type(module) is FalconAttention:
            module.__class__ = DocumentAttention


class DocumentAttention(FalconAttention):
    """`FalconAttention` that keeps documents apart without a mask, when given their extents."""

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
        out = _Attention.apply(heads, cos, sin, attention_mask[0, 0], heads_per_group(self.config))
        return self.dense(out.reshape(batch, length, -1)), None


class _Attention(torch.autograd.Function):
    """Rotary embedding and attention of qkv [T, groups * per_group, d] within documents."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        qkv: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        extents: torch.Tensor,
        per_group: int,
    ) -> torch.Tensor:
        from plugins.fused import grouped_attention as shared_attention

        qkv = qkv.clone(memory_format=torch.contiguous_format)
        ops.rotate_(qkv, cos, sin, per_group, 1.0, triton=True)
        out, lse = shared_attention.forward(qkv, per_group, extents[0])
        ctx.save_for_backward(qkv, out, lse, cos, sin, extents)
        ctx.per_group = per_group
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        from plugins.fused import grouped_attention as shared_attention

        qkv, out, lse, cos, sin, (starts, ends) = ctx.saved_tensors
        grad = grad.contiguous()
        dqkv = shared_attention.backward(grad, qkv, out, lse, ctx.per_group, starts, ends)
        ops.rotate_(dqkv, cos, sin, ctx.per_group, -1.0, triton=True)
        return dqkv, None, None, None, None
