"""Triton kernels that make fp8 (e4m3) operands: rows of gradients, 4-bit weights flipped."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# Triton reads annotations in kernels as its own: keep `from __future__` out of this file.

from typing import Any

import torch
import triton
import triton.language as tl

from plugins.fused.dequantize import WORD, block_scale
from plugins.fused.fp8 import FP8, LARGEST, TINIEST, Rows

WIDEST = 8192  # columns that a program holds; a wider row is read twice, from cache then
ROWS, WORDS, WARPS = 128, 8, 4  # of a tile of a weight: the fastest of 7 on an H200
END, FLOOR = tl.constexpr(LARGEST), tl.constexpr(TINIEST)


@triton.jit
def _rows_kernel(
    x_ptr,  # [T, width], rows stride apart
    out_ptr,  # [T, width] fp8
    scale_ptr,  # [T] float32
    width, stride, ONCE: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """out * scale = x for one token; read at ONCE where BLOCK holds the row."""
    token = tl.program_id(0)
    k = tl.arange(0, BLOCK)
    x_ptr += token.to(tl.int64) * stride
    out_ptr += token.to(tl.int64) * width
    values = tl.load(x_ptr + k, mask=k < width, other=0.0).to(tl.float32)
    largest = tl.abs(values)
    if not ONCE:
        for start in range(BLOCK, width, BLOCK):
            more = tl.load(x_ptr + start + k, mask=start + k < width, other=0.0)
            largest = tl.maximum(largest, tl.abs(more.to(tl.float32)))
    scale = tl.maximum(tl.max(largest), FLOOR) / END
    inverse = 1.0 / scale
    tl.store(scale_ptr + token, scale)
    tl.store(out_ptr + k, (values * inverse).to(tl.float8e4nv), mask=k < width)
    if not ONCE:
        for start in range(BLOCK, width, BLOCK):
            mask = start + k < width
            more = tl.load(x_ptr + start + k, mask=mask, other=0.0).to(tl.float32)
            tl.store(out_ptr + start + k, (more * inverse).to(tl.float8e4nv), mask=mask)


@triton.jit
def _weight_kernel(
    packed_ptr,  # [words] int32, eight weights each
    scales_ptr, code_ptr, second_scales_ptr, second_code_ptr, offset_ptr,  # as in `dequantize`
    inverse_ptr,  # [1] float32, one over the scale of the whole
    out_ptr,  # [in, out] fp8, rows stride apart
    rows, words, stride,
    PER_BLOCK: tl.constexpr, PER_SECOND: tl.constexpr, NESTED: tl.constexpr,
    ROWS: tl.constexpr, WORDS: tl.constexpr,
):  # fmt: skip
    """A tile of a 4-bit weight, flipped, in fp8; ``words``, ``PER_`` count words of 8 weights."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    word = tl.program_id(1) * WORDS + tl.arange(0, WORDS)
    mask = (row[:, None] < rows) & (word[None, :] < words)
    place = row[:, None] * words + word[None, :]
    bits = tl.load(packed_ptr + place, mask=mask, other=0)
    scale = block_scale(
        place // PER_BLOCK, mask, scales_ptr, second_scales_ptr, second_code_ptr, offset_ptr,
        PER_SECOND, NESTED,
    ) * tl.load(inverse_ptr)  # fmt: skip
    # The first weight of a byte is its upper half.
    i = tl.arange(0, 8)
    shift = 8 * (i // 2) + 4 * (1 - i % 2)
    values = tl.load(code_ptr + ((bits[:, :, None] >> shift[None, None, :]) & 15))
    tile = tl.reshape((values * scale[:, :, None]).to(tl.float8e4nv), [ROWS, WORDS * 8])
    column = tl.program_id(1) * WORDS * 8 + tl.arange(0, WORDS * 8)
    offsets = column[:, None].to(tl.int64) * stride + row[None, :]
    inside = (column[:, None] < words * 8) & (row[None, :] < rows)
    tl.store(out_ptr + offsets, tl.trans(tile), mask=inside)


def quantize_rows(x: torch.Tensor) -> Rows:
    """As `fp8.quantize_rows` for x [T, width], rows any distance apart, of unit stride within."""
    tokens, width = x.shape
    out = torch.empty(tokens, width, dtype=FP8, device=x.device)
    scale = torch.empty(tokens, 1, dtype=torch.float32, device=x.device)
    block = min(WIDEST, triton.next_power_of_2(width))
    _rows_kernel[(tokens,)](
        x, out, scale, width, x.stride(0), ONCE=width <= block, BLOCK=block,
        num_warps=max(1, min(8, block // 1024)),
    )  # fmt: skip
    return Rows(out, scale)


def fill_flipped(out: torch.Tensor, weight: Any, inverse: torch.Tensor) -> None:
    """Fill ``out`` with a 4-bit weight [out, in] times ``inverse``, its columns as rows.

    Args:
        out: fp8 [in, out], rows any distance apart.
        weight: bitsandbytes' parameter, which `can_dequantize`.
        inverse: float32 without axes, on the card.
    """
    state = weight.quant_state
    rows, words = state.shape[0], state.shape[1] // WORD
    nested = state.state2 if state.nested else None
    _weight_kernel[(triton.cdiv(rows, ROWS), triton.cdiv(words, WORDS))](
        weight.data.flatten().view(torch.int32), state.absmax, state.code,
        nested.absmax if nested else None, nested.code if nested else None,
        state.offset if nested else None, inverse, out, rows, words, out.stride(0),
        PER_BLOCK=state.blocksize // WORD, PER_SECOND=nested.blocksize if nested else 1,
        NESTED=state.nested, ROWS=ROWS, WORDS=WORDS, num_warps=WARPS,
    )  # fmt: skip
