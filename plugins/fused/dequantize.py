"""4-bit weights of bitsandbytes at full width, by one Triton kernel, into a matrix of any stride.

bitsandbytes' own kernel writes a matrix of its own, after another that makes the scales. Here both
are one pass, and the weight may lie beside other columns: the adapter's, which then take part in
the same matrix product. In the dtype that a weight was quantised from, values are those of
bitsandbytes bit for bit; in another they are rounded once, where bitsandbytes rounds twice.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# Triton reads annotations in kernels as its own: keep `from __future__` out of this file.

from typing import Any

import torch
import triton
import triton.language as tl

WORD = 8  # weights in the 32 bits that a thread reads, and the 16 bytes that it writes
WORDS, WARPS = 512, 4  # the fastest of 7 on an H100


@triton.jit
def block_scale(
    block, mask, scales_ptr, second_scales_ptr, second_code_ptr, offset_ptr,
    PER_SECOND: tl.constexpr, NESTED: tl.constexpr,
):  # fmt: skip
    """Scales of blocks of weights; NESTED ones are second_code[8 bits] * second_scale + offset."""
    if NESTED:
        index = tl.load(scales_ptr + block, mask=mask, other=0).to(tl.int32)
        second = tl.load(second_scales_ptr + block // PER_SECOND, mask=mask, other=0.0)
        scale = tl.load(second_code_ptr + index) * second + tl.load(offset_ptr)
    else:
        scale = tl.load(scales_ptr + block, mask=mask, other=0.0)
    return scale


@triton.jit
def _dequantize_kernel(
    packed_ptr,  # [words] int32, eight weights each
    scales_ptr,  # [blocks] uint8 (NESTED) or float32
    code_ptr,  # [16] float32
    second_scales_ptr,  # [blocks of scales] float32, NESTED
    second_code_ptr,  # [256] float32, NESTED
    offset_ptr,  # [1] float32, NESTED
    out_ptr,  # [out, in], rows stride apart
    words, stride,
    PER_ROW: tl.constexpr, PER_BLOCK: tl.constexpr, PER_SECOND: tl.constexpr,
    NESTED: tl.constexpr, WORDS: tl.constexpr,
):  # fmt: skip
    """out[row, column] = code[4 bits] * scale of their block; ``PER_`` count words of 8 weights."""
    word = tl.program_id(0) * WORDS + tl.arange(0, WORDS)
    mask = word < words
    bits = tl.load(packed_ptr + word, mask=mask, other=0)
    scale = block_scale(
        word // PER_BLOCK, mask, scales_ptr, second_scales_ptr, second_code_ptr, offset_ptr,
        PER_SECOND, NESTED,
    )  # fmt: skip
    # The first weight of a byte is its upper half.
    i = tl.arange(0, 8)
    shift = 8 * (i // 2) + 4 * (1 - i % 2)
    values = tl.load(code_ptr + ((bits[:, None] >> shift[None, :]) & 15)) * scale[:, None]
    start = (word // PER_ROW).to(tl.int64) * stride + word % PER_ROW * 8
    offsets = start[:, None] + i[None, :]
    tl.store(out_ptr + offsets, values.to(out_ptr.dtype.element_ty), mask=mask[:, None])


def can_dequantize(weight: Any) -> bool:
    """Whether `dequantize_into` takes it: 4-bit, and no word of 8 lies across rows or blocks."""
    state = getattr(weight, "quant_state", None)
    if state is None or len(state.shape) != 2 or weight.shape[0] == 1:
        return False
    columns = state.shape[1]
    whole = columns % WORD == 0 and state.blocksize % WORD == 0
    return whole and weight.data.nbytes * 2 == state.shape.numel() < 2**31


def dequantize_into(weight: Any, out: torch.Tensor) -> None:
    """Fill ``out`` [out, in], 16-bit or float32, rows any distance apart, from a 4-bit weight.

    Args:
        weight: bitsandbytes' parameter, which `can_dequantize`.
        out: of unit stride within rows.
    """
    state = weight.quant_state
    words = state.shape.numel() // WORD
    nested = state.state2 if state.nested else None
    _dequantize_kernel[(triton.cdiv(words, WORDS),)](
        weight.data.flatten().view(torch.int32), state.absmax, state.code,
        nested.absmax if nested else None, nested.code if nested else None,
        state.offset if nested else None, out, words, out.stride(0),
        PER_ROW=state.shape[1] // WORD, PER_BLOCK=state.blocksize // WORD,
        PER_SECOND=nested.blocksize if nested else 1, NESTED=state.nested, WORDS=WORDS,
        num_warps=WARPS, enable_fp_fusion=False,
    )  # fmt: skip
