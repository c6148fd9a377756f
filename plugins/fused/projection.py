"""Frozen linear layers, 4-bit, 8-bit or plain, with their LoRA adapters: what a block reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from peft.tuners import lora
from torch import nn

from plugins.fused.backend import Backend, empty_rows, full_weight
from plugins.fused.fp8 import WeightScale, weight_scale

WIDEST = 256  # rank for which the kernels' tiles fit every card that Triton takes
_LORA_LAYERS = {"Linear", "Linear4bit", "Linear8bitLt"}
"""PEFT's LoRA layers that are known here, of exactly these classes."""


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

    base: nn.Linear
    a: torch.Tensor | None = None
    b: torch.Tensor | None = None
    scale: float = 1.0
    dropout: float = 0.0

    @property
    def rank(self) -> int:
        """Of the adapter; 0 without one."""
        return 0 if self.b is None else self.b.shape[1]

    @property
    def out(self) -> int:
        """Width of the output."""
        return self.base.out_features

    def fills_fast(self, backend: Backend) -> bool:
        """Whether the weight is made anew each pass, without a matrix between."""
        return backend.fills_fast(self.base.weight)


@dataclass(frozen=True)
class Group:
    """Projections that read one input, as one product.

    Joined, their adapters cost no product of their own: the inner activation lies to the right of
    the input, the second weights to the right of the base weights, and one product takes both.

                      in        r                                in      r_q   r_k   r_v
        x_u:    T [ input   |   u  ]        weight:     out_q [  W_q  |  b_q    0     0   ]
                                                        out_k [  W_k  |   0    b_k    0   ]
                u = scale * dropout(input) @ a.T        out_v [  W_v  |   0     0    b_v  ]

        forward:    output [T, out] = x_u @ weight.T
        backward:   [ dinput [T, in] | du [T, r] ] = doutput @ weight

    Attributes:
        parts: from the top; of one LoRA scaling and dropout.
        joined: whether adapters take part in the product.
    """

    parts: tuple[Projection, ...]
    joined: bool = False

    @cached_property
    def adapted(self) -> tuple[Projection, ...]:
        """The parts that have an adapter."""
        return tuple(p for p in self.parts if p.rank)

    @cached_property
    def ranks(self) -> tuple[int, ...]:
        """Of each adapted part."""
        return tuple(p.rank for p in self.adapted)

    @cached_property
    def rank(self) -> int:
        """Of all adapters together."""
        return sum(self.ranks)

    @cached_property
    def width(self) -> int:
        """Of the input."""
        return self.parts[0].base.in_features

    @cached_property
    def out(self) -> int:
        """Width of the output."""
        return sum(p.out for p in self.parts)

    @property
    def scale(self) -> float:
        """LoRA's."""
        return self.adapted[0].scale

    @property
    def dropout(self) -> float:
        """LoRA's."""
        return self.adapted[0].dropout if self.adapted else 0.0

    @cached_property
    def blocks(self) -> tuple[tuple[Projection, slice, slice], ...]:
        """Each adapted part with its rows of the output and its columns of the inner activation."""
        found, row, column = [], 0, 0
        for part in self.parts:
            if part.rank:
                rows, columns = slice(row, row + part.out), slice(column, column + part.rank)
                found.append((part, rows, columns))
                column += part.rank
            row += part.out
        return tuple(found)

    def tensors(self) -> list[torch.Tensor | None]:
        """What is trained: a and b of each part, None where it has no adapter."""
        return [t for p in self.parts for t in (p.a, p.b)]

    def a(self, dtype: torch.dtype) -> torch.Tensor:
        """First weights of the adapters, one above the other, [r, in]."""
        return _stacked([p.a.to(dtype) for p in self.adapted if p.a is not None], 0)

    def b(self, dtype: torch.dtype) -> torch.Tensor:
        """Second weights of the adapters, [out, r], zero where a part doesn't read a column."""
        if len(self.parts) == 1 and self.parts[0].b is not None:
            return self.parts[0].b.to(dtype)
        like = self.adapted[0].b
        assert like is not None
        return self._fill_b(like.new_zeros(self.out, self.rank, dtype=dtype))

    def _fill_b(self, out: torch.Tensor) -> torch.Tensor:
        for part, rows, columns in self.blocks:
            assert part.b is not None
            out[rows, columns] = part.b
        return out

    def weight(self, dtype: torch.dtype, backend: Backend) -> torch.Tensor:
        """The frozen weights at full width, one above the other: [out, in], or [out, in + r]."""
        first = self.parts[0]
        if len(self.parts) == 1 and not self.joined and not first.fills_fast(backend):
            return full_weight(first.base.weight, first.base, dtype)
        like = torch.empty(0, dtype=dtype, device=first.base.weight.device)
        extra = self.rank if self.joined else 0
        whole = empty_rows(self.out, self.width + extra, like)
        row = 0
        for part in self.parts:
            rows = whole[row : row + part.out, : self.width]
            backend.fill(rows, part.base.weight, part.base)
            row += part.out
        if extra:
            beside = whole[:, self.width :]
            self._fill_b(beside.zero_() if len(self.parts) > 1 else beside)
        return whole

    @cached_property
    def fp8_scale(self) -> WeightScale:
        """Of the frozen weights, in fp8."""
        return weight_scale([p.base for p in self.parts])

    @cached_property
    def _biased(self) -> bool:
        return any(p.base.bias is not None for p in self.parts)

    def bias(self, dtype: torch.dtype) -> torch.Tensor | None:
        """The frozen biases, [out], zero where a part has none; None where no part has one."""
        if not self._biased:
            return None
        return _stacked([
            p.base.weight.new_zeros(p.out, dtype=dtype) if p.base.bias is None
            else p.base.bias.to(dtype) for p in self.parts
        ], 0)  # fmt: skip


def _stacked(parts: Sequence[torch.Tensor], axis: int) -> torch.Tensor:
    """Tensors as one; itself where it is alone."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), axis)


def read_group(
    layers: Sequence[nn.Module], training: bool, join: bool, biased: bool = False
) -> Group:
    """Read linear layers of one input as they stand now (adapters may be switched).

    Args:
        layers: PEFT LoRA layers or linear layers.
        training: whether dropout acts.
        join: whether adapters may take part in the product, where their rank lets them.
        biased: whether the block adds biases.

    Raises:
        NotFusable: as `read_projection`, or adapters of one input that differ.
    """
    parts = tuple(read_projection(layer, training, biased) for layer in layers)
    adapted = [p for p in parts if p.rank]
    if len({(p.scale, p.dropout) for p in adapted}) > 1:
        raise NotFusable("adapters of one input differ in scaling or dropout")
    # Columns of the product come in eights.
    joined = join and bool(adapted) and all(p.rank % 8 == 0 for p in adapted)
    return Group(parts, joined)


def state_of(layer: Any, gathered: bool = False) -> tuple[Any, ...]:
    """What `read_projection` looks at, for comparison: quick, since it is asked every pass.

    Adapters may be switched, merged, replaced or scaled anew between two passes.

    Args:
        layer: PEFT LoRA layer or linear layer.
        gathered: whether weights come to another place in every pass, which then means nothing.
    """
    own = layer.__dict__
    if not isinstance(layer, lora.LoraLayer):
        whole = layer.weight
        hooks = len(own["_forward_pre_hooks"]), len(own["_forward_hooks"])
        return (id(whole), 0 if gathered else whole.data_ptr(), *hooks)
    base: Any = layer.base_layer
    name = layer.active_adapters[0] if layer.active_adapters else ""
    has = name in layer.lora_A
    weight = base.weight
    adapter: Any = (layer.lora_A[name].weight, layer.lora_B[name].weight) if has else ()
    return (
        id(weight), 0 if gathered else weight.data_ptr(), weight.requires_grad,
        own["_disable_adapters"],
        bool(layer.merged_adapters), tuple(layer.active_adapters),
        tuple((id(one), 0 if gathered else one.data_ptr()) for one in adapter),
        layer.scaling.get(name), layer.lora_dropout[name].__dict__.get("p") if has else None,
        len(own["_forward_pre_hooks"]), len(own["_forward_hooks"]),
        len(base._forward_pre_hooks), len(base._forward_hooks),
    )  # fmt: skip


def read_projection(layer: nn.Module, training: bool, biased: bool = False) -> Projection:
    """Read a linear layer or a PEFT LoRA layer as it stands now.

    What PEFT can do and is not known here is refused, not passed over: layers of other classes,
    more than one adapter, DoRA and other variants, hooks (which choose adapters by row).

    Raises:
        NotFusable: any of these; also a bias that the block doesn't add, a trained base, a rank
            above `WIDEST`.
    """
    base = layer.get_base_layer() if isinstance(layer, lora.LoraLayer) else layer
    if not isinstance(base, nn.Linear):
        raise NotFusable(f"a linear layer is a {type(base).__name__}")
    if base.bias is not None and not biased:
        raise NotFusable("a linear layer has a bias")
    if any(p.requires_grad for p in base.parameters(recurse=False)):
        raise NotFusable("the base is trained too")
    for module in {layer, base}:
        if module._forward_pre_hooks or module._forward_hooks:
            raise NotFusable("a hook watches a linear layer (adapter_names, for one)")
    if layer is base:
        return Projection(base)
    if not isinstance(layer, lora.LoraLayer) or type(layer).__name__ not in _LORA_LAYERS:
        raise NotFusable(f"the adapter is a {type(layer).__name__}")
    if layer.disable_adapters or layer.merged:
        return Projection(base)
    names = [name for name in layer.active_adapters if name in layer.lora_A]
    if not names:
        return Projection(base)
    if len(names) > 1:
        raise NotFusable("more than one adapter is active")
    return _read_adapter(layer, base, names[0], training)


def _read_adapter(layer: lora.LoraLayer, base: nn.Linear, name: str, training: bool) -> Projection:
    if layer.use_dora.get(name) or getattr(layer, "lora_variant", {}).get(name):
        raise NotFusable("the adapter is a variant of LoRA")
    if getattr(layer, "fan_in_fan_out", False):
        raise NotFusable("the base weight is transposed")
    if layer.r[name] > WIDEST:
        raise NotFusable(f"the adapter's rank is above {WIDEST}")
    a, b, dropout = layer.lora_A[name], layer.lora_B[name], layer.lora_dropout[name]
    if type(a) is not nn.Linear or type(b) is not nn.Linear:
        raise NotFusable(f"the adapter's weights are a {type(a).__name__}")
    if a.bias is not None or b.bias is not None:
        raise NotFusable("the adapter has a bias")
    if not isinstance(dropout, (nn.Dropout, nn.Identity)):
        raise NotFusable(f"the adapter's dropout is a {type(dropout).__name__}")
    probability = dropout.p if isinstance(dropout, nn.Dropout) and training else 0.0
    return Projection(base, a.weight, b.weight, layer.scaling[name], probability)
