"""LoRA layers on a CPU: four products a pass in place of PEFT's chain of operations."""

from __future__ import annotations

import functools
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from peft.tuners.lora import Linear
from peft.tuners.lora.bnb import Linear4bit as LoraLinear4bit
from torch import nn
from torch.autograd.function import once_differentiable

from recipes.runner.estimate.trained import UNPACKED_MOST


def join_products(model: nn.Module) -> None:
    """Have LoRA layers add what the adapter says into the frozen layer's product.

    PEFT multiplies, scales and adds in an operation each, and autograd once more; bitsandbytes
    takes frozen weights out of four bits in every pass. Here the product of B is added where it is
    made, and weights are taken out once, where all together are few. Same values but for one
    rounding to 16 bits fewer. It holds under a CPU's autocast, for one adapter that is plain LoRA
    without dropout; at any other call PEFT's own forward runs.

    Args:
        model: under PEFT or not; its LoRA layers are changed.
    """
    layers = [m for m in model.modules() if isinstance(m, Linear | LoraLinear4bit)]
    packed = [
        m.base_layer.in_features * m.base_layer.out_features
        for m in layers
        if isinstance(m.base_layer, Linear4bit)
    ]
    few = sum(packed) <= UNPACKED_MOST
    for layer in layers:
        # For the backward a weight out of four bits would stand as long as what is kept.
        if few or not isinstance(layer.base_layer, Linear4bit):
            changed: Any = layer
            changed.forward = functools.partial(_forward, layer, _Frozen())


class _Frozen:
    """A frozen layer's weight in the dtype of a product."""

    def __init__(self) -> None:
        self.kept: torch.Tensor | None = None

    def weight_of(self, layer: Any, dtype: torch.dtype) -> torch.Tensor:
        """[outputs, inputs] of the base layer ``layer``."""
        if not isinstance(layer, Linear4bit):
            return layer.weight.detach().to(dtype)
        if self.kept is None or self.kept.dtype != dtype:
            packed: Any = layer.weight
            self.kept = dequantize_4bit(packed.data, packed.quant_state).to(dtype)
        return self.kept


def _forward(
    layer: Any, frozen: _Frozen, x: torch.Tensor, *args: Any, **kwargs: Any
) -> torch.Tensor:
    adapter = _adapter_of(layer, x) if not args and not kwargs else None
    if adapter is None:
        return type(layer).forward(layer, x, *args, **kwargs)  # type: ignore[no-any-return]
    dtype = torch.get_autocast_dtype("cpu")
    joined = _Joined.apply(
        x.to(dtype),
        frozen.weight_of(layer.base_layer, dtype),
        layer.lora_A[adapter].weight,
        layer.lora_B[adapter].weight,
        float(layer.scaling[adapter]),
    )
    return joined  # type: ignore[no-any-return]


def _adapter_of(layer: Any, x: torch.Tensor) -> str | None:
    """The one adapter that applies, where it is one that `_Joined` knows."""
    if layer.disable_adapters or layer.merged or not torch.is_autocast_enabled("cpu"):
        return None
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    if len(active) != 1 or active[0] in layer.lora_variant or x.device.type != "cpu":
        return None
    name = active[0]
    base = layer.base_layer
    biases = base.bias, layer.lora_A[name].bias, layer.lora_B[name].bias
    plain = isinstance(layer.lora_dropout[name], nn.Identity) and all(b is None for b in biases)
    whole = not getattr(layer, "fan_in_fan_out", False) and not base.weight.requires_grad
    return name if plain and whole and isinstance(base, nn.Linear) else None


class _Joined(torch.autograd.Function):
    """y = x W' + s (x A') B', of 16-bit or wider tensors.

    Shapes: x [..., inputs]; W [outputs, inputs], frozen; A [r, inputs] and B [outputs, r], whose
    gradients come in their own dtype.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, w: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float
    ) -> torch.Tensor:
        rows, low, high = x.reshape(-1, x.shape[-1]), a.to(x.dtype), b.to(x.dtype)
        with torch.autocast("cpu", enabled=False):
            u = rows @ low.t()
            y = (rows @ w.t()).addmm_(u, high.t(), alpha=scale)
        ctx.save_for_backward(rows, u, w, low, high)
        ctx.scale, ctx.dtypes, ctx.shape = scale, (a.dtype, b.dtype), x.shape
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, u, w, low, high = ctx.saved_tensors
        with torch.autocast("cpu", enabled=False):
            dy = grad.reshape(-1, grad.shape[-1])
            du = (dy @ high).mul_(ctx.scale)
            dx = None
            if ctx.needs_input_grad[0]:
                dx = (dy @ w).addmm_(du, low).view(ctx.shape)
            da = (du.t() @ rows).to(ctx.dtypes[0])
            db = (dy.t() @ u).mul_(ctx.scale).to(ctx.dtypes[1])
        return dx, None, da, db, None
