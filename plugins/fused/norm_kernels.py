"""Triton kernels for LayerNorm: one program a token, the whole row in registers."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# Triton reads annotations in kernels as its own: keep `from __future__` out of this file.

import torch
import triton
import triton.language as tl


@triton.jit
def _norm_kernel(
    x, weight, bias, out, mean, rstd, width, stride, eps, BLOCK: tl.constexpr
):  # fmt: skip
    """LayerNorm of one token, into rows ``stride`` apart, with its statistics."""
    token = tl.program_id(0)
    k = tl.arange(0, BLOCK)
    inside = k < width
    values = tl.load(x + token.to(tl.int64) * width + k, mask=inside, other=0.0).to(tl.float32)
    center = tl.sum(values) / width
    values = tl.where(inside, values - center, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(values * values) / width + eps)
    normed = values * scale * tl.load(weight + k, mask=inside, other=0.0).to(tl.float32)
    normed += tl.load(bias + k, mask=inside, other=0.0).to(tl.float32)
    place = out + token.to(tl.int64) * stride + k
    tl.store(place, normed.to(out.dtype.element_ty), mask=inside)
    tl.store(mean + token, center)
    tl.store(rstd + token, scale)


@triton.jit
def _norm_backward_kernel(
    grad, x, mean, rstd, weight, added, dx, width, stride, BLOCK: tl.constexpr
):  # fmt: skip
    """dx = added + the gradient of LayerNorm's input, for one token."""
    token = tl.program_id(0)
    k = tl.arange(0, BLOCK)
    inside = k < width
    place = token.to(tl.int64) * width + k
    stored = tl.load(x + place, mask=inside, other=0.0)
    scale = tl.load(rstd + token)
    normed = tl.where(inside, (stored.to(tl.float32) - tl.load(mean + token)) * scale, 0.0)
    g = tl.load(grad + token.to(tl.int64) * stride + k, mask=inside, other=0.0).to(tl.float32)
    g *= tl.load(weight + k, mask=inside, other=0.0).to(tl.float32)
    inner = g - tl.sum(g) / width - normed * (tl.sum(g * normed) / width)
    total = tl.load(added + place, mask=inside, other=0.0).to(tl.float32) + inner * scale
    tl.store(dx + place, total.to(stored.dtype), mask=inside)


def _launch(width: int) -> dict[str, int]:
    block = triton.next_power_of_2(width)
    return {"BLOCK": block, "num_warps": max(1, min(8, block // 512))}


def norm_into(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float, out: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fill ``out`` with LayerNorm of x; return mean and 1 / standard deviation, [T] float32.

    Args:
        x: [T, width], contiguous.
        weight: [width].
        bias: [width].
        eps: added to the variance.
        out: [T, width], rows any distance apart.
    """
    tokens, width = x.shape
    mean = torch.empty(tokens, dtype=torch.float32, device=x.device)
    rstd = torch.empty_like(mean)
    _norm_kernel[(tokens,)](
        x, weight, bias, out, mean, rstd, width, out.stride(0), eps, **_launch(width)
    )
    return mean, rstd


def norm_backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    weight: torch.Tensor,
    added: torch.Tensor,
) -> torch.Tensor:
    """``added`` plus the gradient of LayerNorm's input x; all [T, width] but the [T] statistics.

    Rows of ``grad`` may lie any distance apart.
    """
    dx = torch.empty_like(x)
    tokens, width = x.shape
    _norm_backward_kernel[(tokens,)](
        grad, x, mean, rstd, weight, added, dx, width, grad.stride(0), **_launch(width)
    )
    return dx
