"""What a Falcon block computes, in PyTorch; on CUDA with Triton, the same from `kernels`.

All tensors are [T, width], T being the tokens of the whole batch laid end to end.
"""

from __future__ import annotations

import importlib.util

import torch
from torch import nn
from torch.nn import functional as F

from plugins.fused.adapted import Adapted


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
        from plugins.fused import lora_kernels as kernels

        return kernels.lora_down(x, a, scale, dropout, seed, active)
    if active is not None:
        x = active.copy_(F.gelu(x))
    return (drop(x, dropout, seed) @ a.T) * scale


def lora_backward_(
    dx: torch.Tensor,
    x: torch.Tensor,
    adapters: list[Adapted],
    dropout: float,
    gelu: bool,
    triton: bool,
) -> list[torch.Tensor]:
    """In place ``dx += dropout(du @ a)``; return ``du.T @ dropout(x)``, the gradient of a, of each.

    With ``gelu`` the adapter's input is gelu(x), and dx is then multiplied by gelu'(x).

    Args:
        dx: [T, in], the gradient of x so far; rows any distance apart.
        x: [T, in], likewise.
        adapters: one, or two of one rank that read the same x.
        dropout: probability of dropping an input of an adapter.
        gelu: whether x goes through GELU first; then there is one adapter.
        triton: by Triton instead of PyTorch.
    """
    if triton:
        from plugins.fused import lora_kernels as kernels

        return kernels.lora_backward_(dx, x, adapters, dropout, gelu)
    active = F.gelu(x) if gelu else x
    grads = []
    for du, a, seed in adapters:
        dx += drop(du @ a, dropout, seed)
        grads.append(du.T @ drop(active, dropout, seed))
    if gelu:
        dx.copy_(torch.ops.aten.gelu_backward(dx, x))
    return grads


def norm(
    x: torch.Tensor, layer: nn.LayerNorm, beside: int, triton: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """LayerNorm of x [T, width] over the last axis; mean and 1 / standard deviation, T numbers.

    Args:
        x: contiguous.
        layer: whose weight, bias and eps.
        beside: columns to leave free to the right of the result, [T, width + beside].
        triton: by Triton instead of PyTorch.
    """
    if triton:
        from plugins.fused import norm_kernels

        out = empty_rows(x.shape[0], x.shape[1] + beside, x)
        mean, rstd = norm_kernels.norm_into(
            x, layer.weight, layer.bias, layer.eps, out[:, : x.shape[1]]
        )
        return out, mean, rstd
    weight, bias = layer.weight.to(x.dtype), layer.bias.to(x.dtype)
    out, mean, rstd = torch.native_layer_norm(x, layer.normalized_shape, weight, bias, layer.eps)
    return (F.pad(out, (0, beside)) if beside else out), mean, rstd


def empty_rows(rows: int, columns: int, like: torch.Tensor) -> torch.Tensor:
    """An empty matrix whose rows begin 128 bytes apart or a multiple, for 16-bit numbers."""
    return like.new_empty(rows, -(-columns // 64) * 64)[:, :columns]


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
        grad: [T, width] of the output; rows any distance apart.
        x: [T, width], the input.
        mean: of x, T numbers, float32 (x's dtype on the CPU).
        rstd: one over the standard deviation of x, likewise.
        weight: [width].
        added: [T, width].
        triton: by Triton instead of PyTorch.
    """
    if triton:
        from plugins.fused import norm_kernels

        return norm_kernels.norm_backward(grad, x, mean, rstd, weight, added)
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
        from plugins.fused import lora_kernels as kernels

        kernels.rotate_(qkv, cos, sin, per_group, sign)
        return
    tokens, _, d = qkv.shape
    heads = qkv.view(tokens, -1, per_group, d)[:, :, :-1]
    low, high = heads.float().split(d // 2, dim=-1)
    c, s = cos[:, None, None], sin[:, None, None] * sign
    heads.copy_(torch.cat([low * c - high * s, high * c + low * s], dim=-1))
