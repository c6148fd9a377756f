"""What a fused block computes besides its large matrix products, and who computes it.

`Backend` is plain PyTorch: any device, any dtype, and the reference that the kernels are tested
against. `plugins.fused.triton_backend` is the same by Triton. One of the two is chosen with the
model; nothing below it asks which.

All tensors are [T, width], T being the tokens of the whole batch laid end to end.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from plugins.fused.products import Product, WideProduct


class Activation(Enum):
    """What stands between an MLP's projections."""

    NONE = 0
    GELU = 1
    """active = gelu(x): x and active [T, ffn]."""
    SWIGLU = 2
    """active = silu(gate) * up: x is gate [T, ffn] with up [T, ffn] to its right."""


class AdapterBackward(NamedTuple):
    """An adapter in the backward, or several of one input stacked by rank.

    Attributes:
        du: [T, r], gradient of its inner activation, contiguous.
        a: [r, in], its first weight, in du's dtype, contiguous.
        seed: of its dropout, int64 without axes, on the card.
    """

    du: torch.Tensor
    a: torch.Tensor
    seed: torch.Tensor


class NormStatistics(NamedTuple):
    """What a norm's backward needs beside its input; T numbers each.

    Attributes:
        mean: of x; None for RMSNorm.
        rstd: one over the standard deviation of x, or over its root mean square.
    """

    mean: torch.Tensor | None
    rstd: torch.Tensor


class Heads(NamedTuple):
    """Where queries, keys and values lie among the heads [T, heads, d] of one product.

    Grouped-query attention: each key and value serves ``per_key`` query heads.

    Attributes:
        keys: key heads, as many as value heads.
        per_key: query heads of a key.
        interleaved: True for Falcon's order, of each group its queries, its key, its value; False
            for all queries, then all keys, then all values.
    """

    keys: int
    per_key: int
    interleaved: bool

    @property
    def queries(self) -> int:
        """Query heads."""
        return self.keys * self.per_key

    @property
    def total(self) -> int:
        """Heads in all."""
        return self.keys * (self.per_key + 2)

    @property
    def period(self) -> tuple[int, int]:
        """After how many heads the order repeats, and how many of them, last, are values."""
        return (self.per_key + 2, 1) if self.interleaved else (self.total, self.keys)

    def split(self, qkv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """q, k, v of qkv [T, heads, d] as [T, their heads, d]: views, but for q of several groups.

        Args:
            qkv: [T, total, d].
        """
        if self.interleaved:
            grouped = qkv.view(qkv.shape[0], self.keys, self.per_key + 2, qkv.shape[-1])
            return grouped[:, :, :-2].flatten(1, 2), grouped[:, :, -2], grouped[:, :, -1]
        q, k, v = qkv.split([self.queries, self.keys, self.keys], 1)
        return q, k, v

    def join(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """The opposite of `split`, [T, total, d], in a new tensor."""
        if not self.interleaved:
            return torch.cat([q, k, v], 1)
        grouped = q.reshape(q.shape[0], self.keys, self.per_key, -1)
        return torch.cat([grouped, k.unsqueeze(2), v.unsqueeze(2)], 2).flatten(1, 2)


def keep_mask(
    shape: torch.Size, dropout: float, seed: torch.Tensor | int, device: torch.device
) -> torch.Tensor:
    """The dropout mask of the kernels for a row-major tensor of ``shape``: True where kept."""
    low = 0xFFFFFFFF
    h = torch.arange(shape.numel(), dtype=torch.int64, device=device)
    h = (h * 0x9E3779B1 + seed) & low
    h = ((h ^ (h >> 16)) * 0x7FEB352D) & low
    h = ((h ^ (h >> 15)) * 0x846CA68B) & low
    return (h >= round(dropout * 2**32)).reshape(shape)


def drop(x: torch.Tensor, dropout: float, seed: torch.Tensor | int) -> torch.Tensor:
    """Dropout of ``x`` by `keep_mask`, the kept scaled by 1 / (1 - dropout)."""
    if dropout == 0:
        return x
    return x * keep_mask(x.shape, dropout, seed, x.device) / (1.0 - dropout)


def empty_rows(rows: int, columns: int, like: torch.Tensor) -> torch.Tensor:
    """An empty matrix whose rows begin 128 bytes apart or a multiple, for 16-bit numbers."""
    return like.new_empty(rows, -(-columns // 64) * 64)[:, :columns]


class Backend:
    """The operations in plain PyTorch."""

    name = "pytorch"
    joins_back = True
    """Whether a joined group's product gives its inner activations' gradient on the way back."""

    def gradient(self, dout: torch.Tensor) -> Any:
        """dout [T, out], contiguous, as the frozen products take it on the way back."""
        return dout

    def product(self, group: Any, dtype: torch.dtype) -> Product:
        """The frozen weights of a `Group`, for results in ``dtype``."""
        return WideProduct(group.weight(dtype, self))

    def fills_fast(self, weight: Any) -> bool:
        """Whether `fill` makes this weight anew faster than a library does and a copy after it."""
        return False

    def fill(self, out: torch.Tensor, weight: Any, base: nn.Module) -> None:
        """Fill ``out`` [out, in], rows any distance apart, with a frozen weight at full width.

        Args:
            out: in the dtype of the products.
            weight: 4-bit, 8-bit or plain.
            base: the layer that holds it.
        """
        out.copy_(full_weight(weight, base, out.dtype))

    def activate(self, x: torch.Tensor, activation: Activation) -> torch.Tensor:
        """The activation of x, [T, ffn]; x itself for NONE."""
        if activation is Activation.GELU:
            return F.gelu(x)
        if activation is Activation.SWIGLU:
            gate, up = x.chunk(2, 1)
            return F.silu(gate) * up
        return x

    def lora_down(
        self,
        x: torch.Tensor,
        a: torch.Tensor,
        scale: float,
        dropout: float,
        seed: torch.Tensor,
        activation: Activation = Activation.NONE,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """An adapter's inner activation, and the input that it read.

        Args:
            x: [T, in], or the activation's input.
            a: [r, in], in x's dtype.
            scale: LoRA's.
            dropout: probability of dropping an input of the adapter.
            seed: of the dropout, int64 without axes, where x lies.
            activation: which x goes through first.

        Returns:
            ``scale * dropout(activation(x)) @ a.T``, [T, r], and ``activation(x)``, [T, in].
        """
        active = self.activate(x, activation)
        return (drop(active, dropout, seed) @ a.T) * scale, active

    def lora_backward_(
        self,
        dx: torch.Tensor,
        x: torch.Tensor,
        adapters: list[AdapterBackward],
        dropout: float,
        activation: Activation = Activation.NONE,
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """``dx + dropout(du @ a)`` back through the activation, and the gradient of each a.

        Args:
            dx: [T, in], the gradient of the adapters' input so far; rows any distance apart.
                Overwritten.
            x: [T, in], or the activation's input; likewise. Overwritten under SWIGLU.
            adapters: none, one, or two of one rank that read the same x (without activation).
            dropout: probability of dropping an input of an adapter.
            activation: which x went through first.

        Returns:
            The gradient of x, in the memory of dx (of x under SWIGLU), and ``du.T @ dropout(...)``,
            [r, in], for each adapter.
        """
        active = self.activate(x, activation)
        grads = []
        for du, a, seed in adapters:
            dx += drop(du @ a, dropout, seed)
            grads.append(du.T @ drop(active, dropout, seed))
        if activation is Activation.GELU:
            dx.copy_(torch.ops.aten.gelu_backward(dx, x))
        if activation is Activation.SWIGLU:
            gate, up = x.chunk(2, 1)
            dup = dx * F.silu(gate)
            gate.copy_(torch.ops.aten.silu_backward(dx * up, gate))
            up.copy_(dup)
            return x, grads
        return dx, grads

    def norm(self, x: torch.Tensor, layer: Any, beside: int) -> tuple[torch.Tensor, NormStatistics]:
        """LayerNorm or RMSNorm of x over the last axis, and its statistics.

        Args:
            x: [T, width], contiguous.
            layer: an nn.LayerNorm, or an RMSNorm of transformers, whose weight, bias and eps.
            beside: columns to leave free to the right of the result, [T, width + beside].
        """
        weight = layer.weight.to(x.dtype)
        if isinstance(layer, nn.LayerNorm):
            out, mean, rstd = torch.native_layer_norm(
                x, layer.normalized_shape, weight, layer.bias.to(x.dtype), layer.eps
            )
            statistics = NormStatistics(mean, rstd)
        else:
            wide = x if x.dtype == torch.float64 else x.float()
            rstd = torch.rsqrt(wide.square().mean(-1, keepdim=True) + layer.variance_epsilon)
            out = weight * (wide * rstd).to(x.dtype)
            statistics = NormStatistics(None, rstd)
        return (F.pad(out, (0, beside)) if beside else out), statistics

    def norm_backward(
        self,
        grad: torch.Tensor,
        x: torch.Tensor,
        layer: Any,
        statistics: NormStatistics,
        added: torch.Tensor,
    ) -> torch.Tensor:
        """``added`` plus the gradient of the input of a norm over the last axis, [T, width].

        Args:
            grad: [T, width] of the output; rows any distance apart.
            x: [T, width], the input.
            layer: as for `norm`.
            statistics: from `norm`.
            added: [T, width].
        """
        mean, rstd = statistics
        if mean is not None:
            shape, mask = [x.shape[-1]], [True, False, False]
            through, _, _ = torch.ops.aten.native_layer_norm_backward(
                grad, x, shape, mean, rstd, layer.weight.to(grad.dtype), None, mask
            )
            return added + through
        wide = rstd.dtype
        normed = x.to(wide) * rstd
        inner = grad.to(wide) * layer.weight.to(wide)
        inner = (inner - normed * (inner * normed).mean(-1, keepdim=True)) * rstd
        return (added.to(wide) + inner).to(x.dtype)

    def rotate_(
        self, qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, heads: Heads, sign: float
    ) -> None:
        """Rotary embedding of queries and keys, in place.

        Args:
            qkv: [T, heads, d].
            cos: [T, d / 2] float32.
            sin: likewise.
            heads: which of them are values, and stay.
            sign: -1 turns the gradient back.
        """
        tokens, _, d = qkv.shape
        period, values = heads.period
        turned = qkv.view(tokens, -1, period, d)[:, :, : period - values]
        low, high = turned.float().split(d // 2, dim=-1)
        c, s = cos[:, None, None], sin[:, None, None] * sign
        turned.copy_(torch.cat([low * c - high * s, high * c + low * s], dim=-1))


def full_weight(weight: Any, base: nn.Module, dtype: torch.dtype) -> torch.Tensor:
    """A frozen weight [out, in] at full width, by the library that made it small.

    Args:
        weight: of 4 bits, 8 bits, or plain, which is returned as it is where the dtype is right.
        base: the layer that holds it.
        dtype: of the result.
    """
    if hasattr(weight, "quant_state"):
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(weight.data, weight.quant_state).to(dtype)
    if weight.dtype == torch.int8:
        state: Any = base
        scales = weight.SCB if weight.SCB is not None else state.state.SCB
        return (weight.data * (scales.float() / 127.0).unsqueeze(1)).to(dtype)
    return weight.to(dtype)
