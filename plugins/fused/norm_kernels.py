"""Triton kernels for LayerNorm and RMSNorm: one program a token, the whole row in registers."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# Triton reads annotations in kernels as its own: keep `from __future__` out of this file.

import torch
import triton
import triton.language as tl


@triton.jit
def _norm_kernel(
    x_ptr,  # [T, width]
    weight_ptr,  # [width]
    bias_ptr,  # [width], of LayerNorm
    out_ptr,  # [T, width], rows stride apart
    mean_ptr,  # [T] float32, of LayerNorm
    rstd_ptr,  # [T] float32
    width, stride, eps, CENTERED: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """LayerNorm (CENTERED) or RMSNorm of one token, with its statistics."""
    token = tl.program_id(0)
    k = tl.arange(0, BLOCK)
    mask = k < width
    values = tl.load(x_ptr + token.to(tl.int64) * width + k, mask=mask, other=0.0).to(tl.float32)
    if CENTERED:
        mean = tl.sum(values) / width
        values = tl.where(mask, values - mean, 0.0)
        tl.store(mean_ptr + token, mean)
    rstd = 1.0 / tl.sqrt(tl.sum(values * values) / width + eps)
    normed = values * rstd * tl.load(weight_ptr + k, mask=mask, other=0.0).to(tl.float32)
    if CENTERED:
        normed += tl.load(bias_ptr + k, mask=mask, other=0.0).to(tl.float32)
    offsets = token.to(tl.int64) * stride + k
    tl.store(out_ptr + offsets, normed.to(out_ptr.dtype.element_ty), mask=mask)
    tl.store(rstd_ptr + token, rstd)


@triton.jit
def _norm_backward_kernel(
    grad_ptr,  # [T, width], rows stride apart
    x_ptr,  # [T, width]
    mean_ptr,  # [T] float32, of LayerNorm
    rstd_ptr,  # [T] float32
    weight_ptr,  # [width]
    added_ptr,  # [T, width]
    dx_ptr,  # [T, width]
    width, stride, CENTERED: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """dx = added + the gradient of the norm's input, for one token."""
    token = tl.program_id(0)
    k = tl.arange(0, BLOCK)
    mask = k < width
    offsets = token.to(tl.int64) * width + k
    x = tl.load(x_ptr + offsets, mask=mask, other=0.0)
    rstd = tl.load(rstd_ptr + token)
    normed = x.to(tl.float32)
    if CENTERED:
        normed -= tl.load(mean_ptr + token)
    normed = tl.where(mask, normed * rstd, 0.0)
    g = tl.load(grad_ptr + token.to(tl.int64) * stride + k, mask=mask, other=0.0).to(tl.float32)
    g *= tl.load(weight_ptr + k, mask=mask, other=0.0).to(tl.float32)
    inner = g - normed * (tl.sum(g * normed) / width)
    if CENTERED:
        inner -= tl.sum(g) / width
    total = tl.load(added_ptr + offsets, mask=mask, other=0.0).to(tl.float32) + inner * rstd
    tl.store(dx_ptr + offsets, total.to(x.dtype), mask=mask)


def _launch(width: int) -> dict[str, int]:
    block = triton.next_power_of_2(width)
    return {"BLOCK": block, "num_warps": max(1, min(8, block // 512))}


def norm_into(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, eps: float, out: torch.Tensor
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Fill ``out`` with LayerNorm of x, or RMSNorm where there is no bias.

    Args:
        x: [T, width], contiguous.
        weight: [width].
        bias: [width], or None for RMSNorm.
        eps: added to the variance, or to the mean square.
        out: [T, width], rows any distance apart.

    Returns:
        Mean (None for RMSNorm) and 1 / standard deviation (1 / root mean square), [T] float32.
    """
    tokens, width = x.shape
    rstd = torch.empty(tokens, dtype=torch.float32, device=x.device)
    mean = None if bias is None else torch.empty_like(rstd)
    _norm_kernel[(tokens,)](
        x, weight, bias, out, mean, rstd, width, out.stride(0), eps,
        CENTERED=bias is not None, **_launch(width),
    )  # fmt: skip
    return mean, rstd


def norm_backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    mean: torch.Tensor | None,
    rstd: torch.Tensor,
    weight: torch.Tensor,
    added: torch.Tensor,
) -> torch.Tensor:
    """``added`` plus the gradient of the norm's input x; all [T, width] but the [T] statistics.

    Rows of ``grad`` may lie any distance apart. ``mean`` is None for RMSNorm.
    """
    dx = torch.empty_like(x)
    tokens, width = x.shape
    _norm_backward_kernel[(tokens,)](
        grad, x, mean, rstd, weight, added, dx, width, grad.stride(0),
        CENTERED=mean is not None, **_launch(width),
    )  # fmt: skip
    return dx
