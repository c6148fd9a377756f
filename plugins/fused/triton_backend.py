"""The operations of `plugins.fused.backend` by Triton's kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from plugins.fused import dequantize, lora_kernels, norm_kernels
from plugins.fused.backend import (
    Activation,
    AdapterBackward,
    Backend,
    Heads,
    NormStatistics,
    empty_rows,
)


class TritonBackend(Backend):
    """The operations fused into few passes over memory; falls to PyTorch where none is gained."""

    name = "triton"

    def fills_fast(self, weight: Any) -> bool:
        """4-bit weights whose blocks end with a word of eight."""
        return dequantize.can_dequantize(weight)

    def fill(self, out: torch.Tensor, weight: Any, base: nn.Module) -> None:
        """As `Backend.fill`, without a matrix between where `fills_fast`."""
        if dequantize.can_dequantize(weight):
            dequantize.dequantize_into(weight, out)
        else:
            super().fill(out, weight, base)

    def lora_down(
        self,
        x: torch.Tensor,
        a: torch.Tensor,
        scale: float,
        dropout: float,
        seed: torch.Tensor,
        activation: Activation = Activation.NONE,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `Backend.lora_down`, in one pass."""
        return lora_kernels.lora_down(x, a, scale, dropout, seed, activation)

    def lora_backward_(
        self,
        dx: torch.Tensor,
        x: torch.Tensor,
        adapters: list[AdapterBackward],
        dropout: float,
        activation: Activation = Activation.NONE,
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """As `Backend.lora_backward_`, in one pass; gradients of a come in float32."""
        if not adapters:
            return super().lora_backward_(dx, x, adapters, dropout, activation)
        return lora_kernels.lora_backward_(dx, x, adapters, dropout, activation)

    def norm(self, x: torch.Tensor, layer: Any, beside: int) -> tuple[torch.Tensor, NormStatistics]:
        """As `Backend.norm`."""
        out = empty_rows(x.shape[0], x.shape[1] + beside, x)
        bias, eps = (
            (layer.bias, layer.eps)
            if isinstance(layer, nn.LayerNorm)
            else (None, layer.variance_epsilon)
        )
        mean, rstd = norm_kernels.norm_into(x, layer.weight, bias, eps, out[:, : x.shape[1]])
        return out, NormStatistics(mean, rstd)

    def norm_backward(
        self,
        grad: torch.Tensor,
        x: torch.Tensor,
        layer: Any,
        statistics: NormStatistics,
        added: torch.Tensor,
    ) -> torch.Tensor:
        """As `Backend.norm_backward`."""
        mean, rstd = statistics
        return norm_kernels.norm_backward(grad, x, mean, rstd, layer.weight, added)

    def rotate_(
        self, qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, heads: Heads, sign: float
    ) -> None:
        """As `Backend.rotate_`."""
        lora_kernels.rotate_(qkv, cos, sin, heads.period, sign)
