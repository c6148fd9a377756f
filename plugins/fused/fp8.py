"""Frozen products in fp8 (e4m3): the numbers, in plain PyTorch but for the product on CUDA.

Only the way back is in fp8. Forward, the weights' second rounding would make the base another one,
the same in every step: FP8.md has what training by that costs. Gradients get a scale for
each row (token), found when they are made. The frozen weights of a group share one, a power of
two: e4m3 is a floating point of 15 binades, so that a scale for each row or column would buy range
where none is wanted, and no precision. Hopper wants the axis that is summed over to lie last in
both operands, so that weights are made flipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from plugins.fused.backend import full_weight

FP8 = torch.float8_e4m3fn
LARGEST = 448.0  # of e4m3
TINIEST = 1e-30  # a row of zeros has a scale too
MULTIPLE = 16  # of which every width must be, for the product


class Rows(NamedTuple):
    """A matrix in fp8.

    Attributes:
        values: [T, width] e4m3, contiguous.
        scale: [T, 1] float32, by which each row of them is multiplied.
    """

    values: torch.Tensor
    scale: torch.Tensor


class WeightScale(NamedTuple):
    """The scale of a group's frozen weights, float32.

    Attributes:
        inverse: one over it, without axes.
        columns: [1, in], the same in each, since the product wants one a column.
    """

    inverse: torch.Tensor
    columns: torch.Tensor


def quantize_rows(x: torch.Tensor) -> Rows:
    """x [T, width] in fp8; the largest of each row at the end of the range."""
    wide = x.float()
    scale = wide.abs().amax(1, keepdim=True).clamp_min(TINIEST) / LARGEST
    return Rows((wide * (1.0 / scale)).to(FP8), scale)


def multiply(
    x: Rows, weight: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """(x * its scales) @ (weight * scale).T, [T, N].

    Args:
        x: [T, K].
        weight: [N, K] e4m3, contiguous.
        scale: [1, N] float32.
        dtype: of the result; bfloat16 on CUDA.
    """
    if x.values.is_cuda:
        return torch._scaled_mm(
            x.values, weight.T, x.scale, scale, out_dtype=dtype, use_fast_accum=True
        )
    return ((x.values.float() * x.scale) @ (weight.float().T * scale)).to(dtype)


def weight_scale(bases: Sequence[nn.Linear]) -> WeightScale:
    """The scale of linear layers of one input, without waiting for the card."""
    largest = torch.stack([_largest(base) for base in bases]).amax()
    scale = torch.exp2(torch.ceil(torch.log2(largest.clamp_min(TINIEST) / LARGEST)))
    return WeightScale(1.0 / scale, scale.repeat(1, bases[0].in_features))


def _largest(base: Any) -> torch.Tensor:
    """The largest magnitude in a frozen weight, float32: of 4 bits, by its blocks' scales alone."""
    state = getattr(base.weight, "quant_state", None)
    if state is None:
        return full_weight(base.weight, base, torch.float32).abs().amax()
    scales = state.absmax
    if state.nested:
        from bitsandbytes.functional import dequantize_blockwise

        scales = dequantize_blockwise(state.absmax, state.state2) + state.offset
    return scales.float().abs().amax() * state.code.float().abs().amax()


def why_not_fp8(linears: Iterable[nn.Module]) -> str:
    """Why these linear layers, under PEFT or not, can't be multiplied in fp8; empty when they can.

    4 bits only: other weights would be read at their full width to be made small, and 16-bit ones
    promise their own precision.
    """
    from plugins.fused.dequantize import can_dequantize

    for linear in linears:
        base: Any = getattr(linear, "base_layer", linear)
        if getattr(base.weight, "quant_state", None) is None:
            return "the frozen weights are not of 4 bits"
        if not can_dequantize(base.weight):
            return "a word of 8 weights lies across rows or blocks"
        if base.in_features % MULTIPLE or base.out_features % MULTIPLE:
            return (
                f"a layer of {base.in_features} x {base.out_features} has a width"
                f" that is no multiple of {MULTIPLE}"
            )
    return ""


def fp8_runs(device: torch.device, dtype: torch.dtype) -> str:
    """Why a card can't multiply in fp8; empty when it can, which a small product shows."""
    if dtype != torch.bfloat16:
        return f"products of fp8 come in bfloat16, and training is in {str(dtype)[6:]}"
    if torch.cuda.get_device_capability(device) < (8, 9):
        return "the card has no fp8 (Ada, Hopper and later have)"
    one = torch.ones(32, 32, device=device)
    try:
        rows = quantize_rows(one)
        got = multiply(rows, rows.values, rows.scale.T.contiguous(), dtype)
    except RuntimeError as error:
        return f"PyTorch says: {str(error).splitlines()[0]}"
    return "" if torch.equal(got.float(), 32 * one) else "a small product came out wrong"
