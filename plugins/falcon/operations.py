"""What a Falcon block computes, in PyTorch; on CUDA with Triton, the same from `kernels`.

All tensors are [T, width], T being the tokens of the whole batch laid end to end.
"""

from __future__ import annotations

import importlib.util

import torch
from torch.nn import functional as F


def triton_runs(device: torch.device) -> str:
    """Why Triton's kernels can't run; empty when they can."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "Triton takes GPUs from Ampere on"
    return ""


def keep_mask(shape: torch.Size, dropout: float, seed: int, device: torch.device) -> torch.Tensor:
    """The dropout mask of `kernels` for a row-major tensor of ``shape``: True where kept."""
    low = 0xFFFFFFFF
    h = torch.arange(shape.numel(), dtype=torch.int64, device=device)
    h = (h * 0x9E3779B1 + seed) & low
    h = ((h ^ (h >> 16)) * 0x7FEB352D) & low
    h = ((h ^ (h >> 15)) * 0x846CA68B) & low
    return (h >= round(dropout * 2**32)).reshape(shape)


def drop(x: torch.Tensor, dropout: float, seed: int) -> torch.Tensor:
    """Dropout of ``x`` by `keep_mask`, the kept scaled by 1 / (1 - dropout)."""
    if dropout == 0:
        return x
    return x * keep_mask(x.shape, dropout, seed, x.device) / (1.0 - dropout)


def lora_down(
    x: torch.Tensor,
    a: torch.Tensor,
    scale: float,
    dropout: float,
    seed: int,
    triton: bool,
    active: torch.Tensor | None = None,
) -> torch.Tensor:
    """``scale * dropout(x) @ a.T``: x [T, in], a [r, in], result [T, r] in x's dtype.

    Given ``active`` [T, in], x goes through GELU first, and ``active`` is filled with the result.
    """
    if triton:
        from plugins.falcon import kernels

        return kernels.lora_down(x, a, scale, dropout, seed, active)
    if active is not None:
        x = active.copy_(F.gelu(x))
    return (drop(x, dropout, seed) @ a.T) * scale


def lora_backward_(
    dx: torch.Tensor,
    du: torch.Tensor,
    a: torch.Tensor,
    x: torch.Tensor,
    dropout: float,
    seed: int,
    gelu: bool,
    triton: bool,
) -> torch.Tensor:
    """In place ``dx += dropout(du @ a)``; return ``du.T @ dropout(x)``, the gradient of a, [r, in].

    With ``gelu`` the adapter's input is gelu(x), and dx is then multiplied by gelu'(x).
    """
    if triton:
        from plugins.falcon import kernels

        return kernels.lora_backward_(dx, du, a, x, dropout, seed, gelu)
    dx += drop(du @ a, dropout, seed)
    grad_a = du.T @ drop(F.gelu(x) if gelu else x, dropout, seed)
    if gelu:
        dx.copy_(torch.ops.aten.gelu_backward(dx, x))
    return grad_a


def norm_backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    weight: torch.Tensor,
    added: torch.Tensor,
    triton: bool,
) -> torch.Tensor:
    """``added`` plus the gradient of the input of a LayerNorm over the last axis.

    Args:
        grad: [T, width] of the output.
        x: [T, width], the input.
        mean: of x, T numbers, float32 (x's dtype on the CPU).
        rstd: one over the standard deviation of x, likewise.
        weight: [width].
        added: [T, width].
        triton: by Triton instead of PyTorch.
    """
    if triton:
        from plugins.falcon import kernels

        return kernels.norm_backward(grad, x, mean, rstd, weight, added)
    shape, mask = [x.shape[-1]], [True, False, False]
    through, _, _ = torch.ops.aten.native_layer_norm_backward(
        grad, x, shape, mean, rstd, weight, None, mask
    )
    return added + through


def rotate_(
    qkv: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    per_group: int,
    sign: float,
    triton: bool,
) -> None:
    """Rotary embedding in place on qkv [T, heads, d]; cos and sin [T, d / 2] float32.

    Heads come in groups of ``per_group``: queries, one key, one value. ``sign`` -1 rotates back,
    which is the backward.
    """
    if triton:
        from plugins.falcon import kernels

        kernels.rotate_(qkv, cos, sin, per_group, sign)
        return
    tokens, _, d = qkv.shape
    heads = qkv.view(tokens, -1, per_group, d)[:, :, :-1]
    low, high = heads.float().split(d // 2, dim=-1)
    c, s = cos[:, None, None], sin[:, None, None] * sign
    heads.copy_(torch.cat([low * c - high * s, high * c + low * s], dim=-1))
