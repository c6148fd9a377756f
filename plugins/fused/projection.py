"""A frozen linear layer, 4-bit, 8-bit or plain, with its LoRA adapter: what a block reads of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from plugins.fused.backend import empty_rows

WIDEST = 256  # rank for which the kernels' tiles fit every card that Triton takes


class NotFusable(Exception):
    """This layer asks for something that the fused block doesn't compute; the text says what."""


@dataclass(frozen=True)
class Projection:
    """One linear layer under LoRA.

    Attributes:
        base: the frozen layer, of weight [out, in].
        a: LoRA's [r, in] weight, or None without adapter.
        b: LoRA's [out, r] weight, or None.
        scale: LoRA's scaling, lora_alpha / r.
        dropout: probability, in training, of dropping an input of ``a``.
    """

    base: nn.Module
    a: torch.Tensor | None = None
    b: torch.Tensor | None = None
    scale: float = 1.0
    dropout: float = 0.0

    @property
    def rank(self) -> int:
        """Of the adapter; 0 without one."""
        return 0 if self.b is None else self.b.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """Of the adapter's weights, and so of their gradients."""
        assert self.b is not None
        return self.b.dtype

    def joins(self) -> bool:
        """Whether `beside_adapter` can be had: a 4-bit base, and a rank that is a multiple of 8."""
        if not self.rank or self.rank % 8:
            return False
        from plugins.fused.dequantize import can_dequantize

        return can_dequantize(self.base.weight)

    def beside_adapter(self, dtype: torch.dtype) -> torch.Tensor:
        """The base weight at full width with ``b`` to its right, [out, in + r].

        ``[x, u] @ w.T`` is the layer with its adapter, u being the adapter's inner activation;
        ``dout @ w`` is the gradient of x and that of u.
        """
        from plugins.fused.dequantize import dequantize_into

        assert self.b is not None
        weight: Any = self.base.weight
        rows, columns = weight.quant_state.shape
        like = self.b.new_empty(0, dtype=dtype)
        wide = empty_rows(rows, columns + self.rank, like)
        dequantize_into(weight, wide[:, :columns])
        wide[:, columns:] = self.b
        return wide

    def weight(self, dtype: torch.dtype, triton: bool = False) -> torch.Tensor:
        """The base weight [out, in] at full width, made anew from its 4 or 8 bits."""
        weight: Any = self.base.weight
        if triton:
            from plugins.fused.dequantize import can_dequantize, dequantize_into

            if can_dequantize(weight):
                out = weight.data.new_empty(weight.quant_state.shape, dtype=dtype)
                dequantize_into(weight, out)
                return out
        if hasattr(weight, "quant_state"):
            from bitsandbytes.functional import dequantize_4bit

            return dequantize_4bit(weight.data, weight.quant_state).to(dtype)
        if weight.dtype == torch.int8:
            state: Any = self.base
            scales = weight.SCB if weight.SCB is not None else state.state.SCB
            return (weight.data * (scales.float() / 127.0).unsqueeze(1)).to(dtype)
        return weight.to(dtype)


def read_projection(layer: nn.Module, training: bool) -> Projection:
    """Read a linear layer or a PEFT LoRA layer as it stands now (adapters may be switched).

    Raises:
        NotFusable: more than one adapter, DoRA or another variant, a bias, a trained base, a rank
            above `WIDEST`.
    """
    base = layer.get_base_layer() if isinstance(layer, LoraLayer) else layer
    if not isinstance(base, nn.Linear):
        raise NotFusable(f"a linear layer is a {type(base).__name__}")
    if base.bias is not None:
        raise NotFusable("a linear layer has a bias")
    if base.weight.requires_grad:
        raise NotFusable("the base is trained too")
    if layer is base or not isinstance(layer, LoraLayer):
        return Projection(base)
    if layer.disable_adapters or layer.merged:
        return Projection(base)
    names = [name for name in layer.active_adapters if name in layer.lora_A]
    if not names:
        return Projection(base)
    if len(names) > 1:
        raise NotFusable("more than one adapter is active")
    name = names[0]
    if layer.use_dora.get(name) or getattr(layer, "lora_variant", {}).get(name):
        raise NotFusable("the adapter is a variant of LoRA")
    if layer.lora_bias.get(name):
        raise NotFusable("the adapter has a bias")
    if layer.r[name] > WIDEST:
        raise NotFusable(f"the adapter's rank is above {WIDEST}")
    dropout = layer.lora_dropout[name]
    probability = dropout.p if isinstance(dropout, nn.Dropout) and training else 0.0
    return Projection(
        base, layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name], probability
    )
