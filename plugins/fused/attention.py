"""Causal attention within documents, forward and backward, without a mask where kernels run.

All take the output of query_key_value, [T, heads, d], T being the tokens of all rows; heads come
in groups of ``per_group``: queries, one key, one value.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from plugins.fused.packed import Documents

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


def shared_runs(head_dim: int) -> str:
    """Why `shared_attention` can't run where flash and Triton do; empty when it can."""
    if head_dim not in (16, 32, 64, 128):
        return f"heads of {head_dim} fit no tile"
    return ""


def heads_per_group(config: Any) -> int:
    """Heads in a group of query_key_value's output: those that share a key, that key, its value."""
    if config.new_decoder_architecture:
        groups = config.num_kv_heads
    else:
        groups = 1 if config.multi_query else config.num_attention_heads
    return int(config.num_attention_heads // groups + 2)


def attend(
    qkv: torch.Tensor, per_group: int, documents: Documents, kind: str
) -> tuple[torch.Tensor, Saved]:
    """Attention output [T, query heads, d], and what `attend_backward` needs beside it and qkv.

    Args:
        qkv: [T, heads, d], queries and keys rotated.
        per_group: heads of a group.
        documents: who may attend to whom.
        kind: ``shared``, ``flash``, or ``mask``.
    """
    if kind == "shared":
        from plugins.fused import grouped_attention as shared_attention

        out, lse = shared_attention.forward(qkv, per_group, documents.starts)
        return out, (lse,)
    q, k, v = _split(qkv, per_group)
    if kind == "mask":
        return _masked(q, k, v, documents), ()
    lengths, longest = documents.cu_seqlens, documents.longest
    out, lse, state, unused, _ = torch.ops.aten._flash_attention_forward(
        q, k, v, lengths, lengths, longest, longest, 0.0, True, False
    )
    return out, (lse, state, unused)


def attend_backward(
    grad: torch.Tensor,
    qkv: torch.Tensor,
    per_group: int,
    out: torch.Tensor,
    saved: Saved,
    documents: Documents,
    kind: str,
) -> torch.Tensor:
    """Gradient of qkv, [T, heads, d], from ``grad`` [T, query heads, d] of the output."""
    if kind == "shared":
        from plugins.fused import grouped_attention as shared_attention

        starts, ends = documents.starts, documents.ends
        return shared_attention.backward(grad, qkv, out, saved[0], per_group, starts, ends)
    q, k, v = _split(qkv, per_group)
    if kind == "mask":
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_() for t in (q, k, v)]
            result = _masked(leaves[0], leaves[1], leaves[2], documents)
        dq, dk, dv = torch.autograd.grad(result, leaves, grad)
    else:
        lengths, longest = documents.cu_seqlens, documents.longest
        lse, state, unused = saved
        dq, dk, dv = torch.ops.aten._flash_attention_backward(
            grad, q, k, v, out, lse, lengths, lengths, longest, longest, 0.0, True, state, unused
        )
    grouped = dq.reshape(dq.shape[0], k.shape[1], per_group - 2, -1)
    return torch.cat([grouped, dk.unsqueeze(2), dv.unsqueeze(2)], 2).view_as(qkv)


def _split(qkv: torch.Tensor, per_group: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Views (a copy of q when there are several groups) of qkv as [T, heads, d] each."""
    grouped = qkv.view(qkv.shape[0], -1, per_group, qkv.shape[-1])
    return grouped[:, :, :-2].flatten(1, 2), grouped[:, :, -2], grouped[:, :, -1]


def _masked(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, documents: Documents
) -> torch.Tensor:
    """SDPA under a [B, 1, L, L] mask; keys and values repeated, for its kernels on any GPU."""
    batch, length = documents.index.shape
    q, k, v = (t.reshape(batch, length, -1, t.shape[-1]).transpose(1, 2) for t in (q, k, v))
    repeats = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=documents.mask())
    return out.transpose(1, 2).reshape(batch * length, -1, out.shape[-1])
