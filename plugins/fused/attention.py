"""Causal attention over packed sequences, forward and backward, without a mask where kernels run.

All take one product's output, [T, heads, d], T being the tokens of all rows, and the order of its
heads.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from plugins.fused.backend import Heads
from plugins.fused.packed import PackedSequences

Saved = tuple[torch.Tensor, ...]


def flash_runs(device: torch.device, dtype: torch.dtype, head_dim: int) -> str:
    """Why PyTorch's native flash attention can't run; empty when it can."""
    if device.type != "cuda":
        return "there is no CUDA device"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "the GPU is older than Ampere"
    if dtype not in (torch.bfloat16, torch.float16):
        return f"flash attention takes bf16 or fp16, not {dtype}"
    if head_dim > 256 or head_dim % 8:
        return f"flash attention takes no heads of {head_dim}"
    return ""


def grouped_runs(head_dim: int) -> str:
    """Why `grouped_attention` can't run where flash and Triton do; empty when it can."""
    if head_dim not in (16, 32, 64, 128):
        return f"heads of {head_dim} fit no tile"
    return ""


def attend(
    qkv: torch.Tensor, heads: Heads, sequences: PackedSequences, kind: str
) -> tuple[torch.Tensor, Saved]:
    """Attention output [T, query heads, d], and what `attend_backward` needs beside it and qkv.

    Args:
        qkv: [T, heads, d], queries and keys rotated.
        heads: their order.
        sequences: who may attend to whom.
        kind: ``grouped``, ``flash``, or ``mask``.
    """
    if kind == "grouped":
        from plugins.fused import grouped_attention

        out, lse = grouped_attention.forward(qkv, heads, sequences.starts)
        return out, (lse,)
    q, k, v = heads.split(qkv)
    if kind == "mask":
        return _masked(q, k, v, sequences), ()
    cu_seqlens, longest = sequences.cu_seqlens, sequences.longest
    out, lse, state, unused, _ = torch.ops.aten._flash_attention_forward(
        q, k, v, cu_seqlens, cu_seqlens, longest, longest, 0.0, True, False
    )
    return out, (lse, state, unused)


def attend_backward(
    grad: torch.Tensor,
    qkv: torch.Tensor,
    heads: Heads,
    out: torch.Tensor,
    saved: Saved,
    sequences: PackedSequences,
    kind: str,
) -> torch.Tensor:
    """Gradient of qkv, [T, heads, d], from ``grad`` [T, query heads, d] of the output."""
    if kind == "grouped":
        from plugins.fused import grouped_attention

        starts, ends = sequences.starts, sequences.ends
        return grouped_attention.backward(grad, qkv, out, saved[0], heads, starts, ends)
    q, k, v = heads.split(qkv)
    if kind == "mask":
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_() for t in (q, k, v)]
            result = _masked(leaves[0], leaves[1], leaves[2], sequences)
        dq, dk, dv = torch.autograd.grad(result, leaves, grad)
    else:
        cu_seqlens, longest = sequences.cu_seqlens, sequences.longest
        lse, state, unused = saved
        dq, dk, dv = torch.ops.aten._flash_attention_backward(
            grad, q, k, v, out, lse, cu_seqlens, cu_seqlens, longest, longest, 0.0, True, state,
            unused,
        )  # fmt: skip
    return heads.join(dq, dk, dv)


def _masked(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, sequences: PackedSequences
) -> torch.Tensor:
    """SDPA under a [B, 1, L, L] mask; keys and values repeated, for its kernels on any GPU."""
    batch, length = sequences.index.shape
    q, k, v = (t.reshape(batch, length, -1, t.shape[-1]).transpose(1, 2) for t in (q, k, v))
    repeats = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=sequences.mask())
    return out.transpose(1, 2).reshape(batch * length, -1, out.shape[-1])
