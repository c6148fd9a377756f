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
def _dequantize_kernel(
    packed, scales, code, second_scales, second_code, offset, out, words, stride,
    PER_ROW: tl.constexpr, PER_BLOCK: tl.constexpr, PER_SECOND: tl.constexpr,
    NESTED: tl.constexpr, WORDS: tl.constexpr,
):  # fmt: skip
    """out[row, column] = code[4 bits] * scale of their block; ``PER_`` count words of 8 weights.

    NESTED scales are 8 bits themselves: second_code[scale] * second_scale + offset.
    """
    word = tl.program_id(0) * WORDS + tl.arange(0, WORDS)
    inside = word < words
    bits = tl.load(packed + word, mask=inside, other=0)
    block = word // PER_BLOCK
    if NESTED:
        place = tl.load(scales + block, mask=inside, other=0).to(tl.int32)
        second = tl.load(second_scales + block // PER_SECOND, mask=inside, other=0.0)
        scale = tl.load(second_code + place) * second + tl.load(offset)
    else:
        scale = tl.load(scales + block, mask=inside, other=0.0)
    # The first weight of a byte is its upper half.
    i = tl.arange(0, 8)
    shift = 8 * (i // 2) + 4 * (1 - i % 2)
    values = tl.load(code + ((bits[:, None] >> shift[None, :]) & 15)) * scale[:, None]
    start = (word // PER_ROW).to(tl.int64) * stride + word % PER_ROW * 8
    place = out + start[:, None] + i[None, :]
    tl.store(place, values.to(out.dtype.element_ty), mask=inside[:, None])


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
