"""Causal attention within documents, forward and backward, without a mask where flash runs.

q is [T, H, d], k and v are [T, G, d] with G dividing H; T are the tokens of all rows.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from plugins.falcon.documents import Documents

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


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, documents: Documents, flash: bool
) -> tuple[torch.Tensor, Saved]:
    """Attention output [T, H, d], and what `attend_backward` needs beside the inputs."""
    if not flash:
        return _masked(q, k, v, documents), ()
    lengths, longest = documents.cu_seqlens, documents.longest
    out, lse, state, unused, _ = torch.ops.aten._flash_attention_forward(
        q, k, v, lengths, lengths, longest, longest, 0.0, True, False
    )
    return out, (lse, state, unused)


def attend_backward(
    grad: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    out: torch.Tensor,
    saved: Saved,
    documents: Documents,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of q, k and v from ``grad`` [T, H, d] of the output."""
    if not saved:
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_() for t in (q, k, v)]
            result = _masked(leaves[0], leaves[1], leaves[2], documents)
        dq, dk, dv = torch.autograd.grad(result, leaves, grad)
        return dq, dk, dv
    lengths, longest = documents.cu_seqlens, documents.longest
    lse, state, unused = saved
    return torch.ops.aten._flash_attention_backward(
        grad, q, k, v, out, lse, lengths, lengths, longest, longest, 0.0, True, state, unused
    )


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
