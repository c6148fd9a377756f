"""Triton kernels for what cuBLAS can't fuse: rotary embedding, activations, and LoRA's dropout.

Dropout is a function of a 32-bit seed, which lies on the card (a CUDA graph reads it anew), and the
element's place in the row-major tensor, so no mask is ever stored: forward and backward compute the
same one. `plugins.fused.backend` holds the same
functions in PyTorch; the hash is lowbias32 (Wellons, "Prospecting for Hash Functions", 2018) of
the place times an odd constant plus the seed, without its last shift: that one changes the low
half only, and what is compared with the threshold is the size of the whole.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# Triton reads annotations in kernels as its own: keep `from __future__` out of this file.

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from plugins.fused.backend import Activation, AdapterBackward
from plugins.fused.device import multiprocessors
from plugins.fused.sums import sum_parts


@dataclass(frozen=True)
class Tile:
    """How a kernel is launched: a program's tile, warps, loads under way, programs in all.

    Attributes:
        rows: tokens of a tile.
        columns: of the input's width.
        warps: of a program.
        stages: loads under way.
        waves: programs for each multiprocessor of the card; work is split until there are as many.
    """

    rows: int
    columns: int
    warps: int
    stages: int
    waves: int


# The fastest of 48 on an H100 at 8,192 tokens, rank 32; those under an activation and of wide
# ranks, in 16 bits, of 15 on an H200: falcon/NOTES.md.
DOWN = Tile(128, 64, 8, 3, 32)
DOWN_ACTIVATED = Tile(32, 128, 4, 3, 32)
BACKWARD = Tile(32, 64, 4, 2, 32)
BACKWARD_GELU = Tile(16, 128, 4, 2, 32)
BACKWARD_SWIGLU = Tile(32, 128, 4, 2, 32)
BACKWARD_WIDE = Tile(64, 32, 4, 2, 32)
MOST = 4096  # columns of a program times the rank: its sums lie in registers
# A pass's seeds lie side by side: compiling for those on even places would stall a step.
STEADY = ["seed_ptr", "seed_2_ptr"]
GELU, SWIGLU = tl.constexpr(1), tl.constexpr(2)  # of `Activation`


@triton.jit
def _keep(row, column, width, seed, THRESHOLD: tl.constexpr):
    """Whether the element at each row and column of a row-major tensor survives."""
    odd = tl.full((), 0x9E3779B1, tl.uint32)
    h = row.to(tl.uint32) * (width.to(tl.uint32) * odd) + seed.to(tl.uint32)
    h += column.to(tl.uint32) * odd
    h = (h ^ (h >> 16)) * tl.full((), 0x7FEB352D, tl.uint32)
    h = (h ^ (h >> 15)) * tl.full((), 0x846CA68B, tl.uint32)
    return h >= tl.full((), THRESHOLD, tl.uint32)


@triton.jit
def _normal(x):
    """Distribution function and density of the standard normal, from one exponential.

    Abramowitz and Stegun 7.1.26, absolute error below 1e-6; GELU is x times the first. A division
    and an exponential of base e would each cost several times these two instructions.
    """
    density = tl.exp2(-0.7213475204444817 * x * x)
    y = 1.0 + 0.2316418882663604 * tl.abs(x)
    t = tl.rsqrt(y * y)
    tail = 0.5307027145 * t - 0.7265760135
    tail = ((tail * t + 0.7107068705) * t - 0.142248368) * t + 0.127414796
    tail = tail * t * density
    return tl.where(x < 0, tail, 1.0 - tail), 0.3989422804014327 * density


@triton.jit(do_not_specialize=["seed_ptr"])
def _down_kernel(
    x_ptr,  # [T, width], rows stride apart; [T, 2 * width], gate and up, with SWIGLU
    a_ptr,  # [rank, width]
    partial_ptr,  # [SPLIT, T, rank] float32
    active_ptr,  # [T, width], filled under an activation
    seed_ptr,  # [1] int64, of the dropout
    tokens, width, stride, rank, scale,
    RANK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, SPLIT: tl.constexpr,
    THRESHOLD: tl.constexpr, ACTIVATION: tl.constexpr,
):  # fmt: skip
    """partial[split] = scale * dropout(activation(x)) @ a.T over a share of the width."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    split = tl.program_id(1)
    r = tl.arange(0, RANK)
    acc = tl.zeros((ROWS, RANK), tl.float32)
    share = tl.cdiv(tl.cdiv(width, COLUMNS), SPLIT) * COLUMNS
    start = split * share
    seed = tl.load(seed_ptr)
    for column in range(start, tl.minimum(start + share, width), COLUMNS):
        k = column + tl.arange(0, COLUMNS)
        offsets = row[:, None].to(tl.int64) * stride + k[None, :]
        mask = (row[:, None] < tokens) & (k[None, :] < width)
        values = tl.load(x_ptr + offsets, mask=mask, other=0.0)
        if ACTIVATION == GELU:
            wide = values.to(tl.float32)
            cdf, _ = _normal(wide)
            values = (wide * cdf).to(values.dtype)
        if ACTIVATION == SWIGLU:
            gate = values.to(tl.float32)
            up = tl.load(x_ptr + offsets + width, mask=mask, other=0.0).to(tl.float32)
            values = (gate * tl.sigmoid(gate) * up).to(values.dtype)
        if ACTIVATION > 0:
            active_offsets = row[:, None].to(tl.int64) * width + k[None, :]
            tl.store(active_ptr + active_offsets, values, mask=mask)
        if THRESHOLD > 0:
            kept = _keep(row[:, None], k[None, :], width, seed, THRESHOLD)
            values = tl.where(kept, values, 0.0)
        weights = tl.load(
            a_ptr + r[None, :] * width + k[:, None],
            mask=(r[None, :] < rank) & (k[:, None] < width), other=0.0,
        )  # fmt: skip
        acc += tl.dot(values, weights.to(values.dtype), input_precision="ieee")
    offsets = split.to(tl.int64) * tokens * rank + row[:, None] * rank + r[None, :]
    tl.store(partial_ptr + offsets, acc * scale, mask=(row[:, None] < tokens) & (r[None, :] < rank))


@triton.jit(do_not_specialize=STEADY)
def _backward_kernel(
    dx_ptr,  # [T, width], rows dx_stride apart
    x_ptr,  # [T, width], rows x_stride apart; [T, 2 * width], gate and up, with SWIGLU
    dx_stride, x_stride, tokens, width, rank, inverse_keep,
    du_ptr,  # [T, rank]
    a_ptr,  # [rank, width]
    partial_ptr,  # [SPLIT, rank, width] float32
    seed_ptr,  # [1] int64, of the dropout
    du_2_ptr, a_2_ptr, partial_2_ptr, seed_2_ptr,  # of the second adapter, alike
    RANK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, SPLIT: tl.constexpr,
    THRESHOLD: tl.constexpr, ACTIVATION: tl.constexpr, PAIR: tl.constexpr,
):  # fmt: skip
    """dx += dropout(du @ a), and partial[split] = du.T @ dropout(x), with one mask for both.

    Under an activation the adapter's input is activation(x), and dx goes back through it: in its
    own memory, or with SWIGLU in that of x. With PAIR a second adapter of the same input, rank and
    dropout follows, with a mask of its own. Tiles lie columns by rows, so that what comes out of
    the first product goes into the second as it lies.
    """
    k = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    split = tl.program_id(1)
    r = tl.arange(0, RANK)
    a_offsets = r[None, :] * width + k[:, None]
    a_mask = (r[None, :] < rank) & (k[:, None] < width)
    weights = tl.load(a_ptr + a_offsets, mask=a_mask, other=0.0)
    acc = tl.zeros((COLUMNS, RANK), tl.float32)
    seed = tl.load(seed_ptr)
    if PAIR:
        seed_2 = tl.load(seed_2_ptr)
        weights_2 = tl.load(a_2_ptr + a_offsets, mask=a_mask, other=0.0)
        acc_2 = tl.zeros((COLUMNS, RANK), tl.float32)
    share = tl.cdiv(tl.cdiv(tokens, ROWS), SPLIT) * ROWS
    start = split * share
    for token in range(start, tl.minimum(start + share, tokens), ROWS):
        row = token + tl.arange(0, ROWS)
        mask = (row[None, :] < tokens) & (k[:, None] < width)
        u_offsets = row[:, None] * rank + r[None, :]
        u_mask = (row[:, None] < tokens) & (r[None, :] < rank)
        grads = tl.load(du_ptr + u_offsets, mask=u_mask, other=0.0)
        x_place = x_ptr + (row[None, :].to(tl.int64) * x_stride + k[:, None])
        values = tl.load(x_place, mask=mask, other=0.0)
        dx_place = dx_ptr + (row[None, :].to(tl.int64) * dx_stride + k[:, None])
        stored = tl.load(dx_place, mask=mask, other=0.0)
        added = tl.dot(weights, tl.trans(grads), input_precision="ieee")
        # Always true of numbers. It ties the tile of x to the layout of the product: else the
        # compiler works out mask and activation twice, in that layout and the one x was read in.
        values = tl.where(added == added, values, 0.0)
        if THRESHOLD > 0:
            kept = _keep(row[None, :], k[:, None], width, seed, THRESHOLD)
            added = tl.where(kept, added * inverse_keep, 0.0)
        total = stored.to(tl.float32) + added
        if PAIR:
            grads_2 = tl.load(du_2_ptr + u_offsets, mask=u_mask, other=0.0)
            added = tl.dot(weights_2, tl.trans(grads_2), input_precision="ieee")
            dropped_2 = values
            if THRESHOLD > 0:
                kept_2 = _keep(row[None, :], k[:, None], width, seed_2, THRESHOLD)
                added = tl.where(kept_2, added * inverse_keep, 0.0)
                dropped_2 = tl.where(kept_2, values, 0.0)
            total += added
            acc_2 += tl.dot(dropped_2, grads_2, input_precision="ieee")
        if ACTIVATION == GELU:
            wide = values.to(tl.float32)
            cdf, density = _normal(wide)
            total *= cdf + wide * density
            values = (wide * cdf).to(values.dtype)
        if ACTIVATION == SWIGLU:
            up = tl.load(x_place + width, mask=mask, other=0.0).to(tl.float32)
            up = tl.where(added == added, up, 0.0)
            gate = values.to(tl.float32)
            sigmoid = tl.sigmoid(gate)
            silu = gate * sigmoid
            tl.store(x_place + width, (total * silu).to(stored.dtype), mask=mask)
            total *= up * (sigmoid + silu * (1.0 - sigmoid))
            values = (silu * up).to(values.dtype)
        if THRESHOLD > 0:
            values = tl.where(kept, values, 0.0)
        if ACTIVATION == SWIGLU:
            tl.store(x_place, total.to(stored.dtype), mask=mask)
        else:
            tl.store(dx_place, total.to(stored.dtype), mask=mask)
        acc += tl.dot(values, grads, input_precision="ieee")
    a_offsets += split.to(tl.int64) * rank * width
    tl.store(partial_ptr + a_offsets, acc * inverse_keep, mask=a_mask)
    if PAIR:
        tl.store(partial_2_ptr + a_offsets, acc_2 * inverse_keep, mask=a_mask)


@triton.jit
def _rotate_kernel(
    qkv_ptr,  # [T, heads, d]
    cos_ptr,  # [T, d / 2] float32
    sin_ptr,  # likewise
    heads, period, values, half, sign,
    HALF: tl.constexpr, HEADS: tl.constexpr,
):  # fmt: skip
    """Rotate queries and keys of one token; the last ``values`` heads of each period stay."""
    token = tl.program_id(0)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    i = tl.arange(0, HALF)
    offsets = (token.to(tl.int64) * heads + head[:, None]) * (2 * half) + i[None, :]
    turned = (head[:, None] < heads) & (head[:, None] % period < period - values)
    mask = turned & (i[None, :] < half)
    low = tl.load(qkv_ptr + offsets, mask=mask, other=0.0)
    high = tl.load(qkv_ptr + offsets + half, mask=mask, other=0.0)
    c = tl.load(cos_ptr + token.to(tl.int64) * half + i, mask=i < half, other=0.0)[None, :]
    s = tl.load(sin_ptr + token.to(tl.int64) * half + i, mask=i < half, other=0.0)[None, :] * sign
    new_low = low.to(tl.float32) * c - high.to(tl.float32) * s
    new_high = high.to(tl.float32) * c + low.to(tl.float32) * s
    tl.store(qkv_ptr + offsets, new_low.to(low.dtype), mask=mask)
    tl.store(qkv_ptr + offsets + half, new_high.to(high.dtype), mask=mask)


def _tile_down(activation: Activation, dtype: torch.dtype) -> Tile:
    plain = activation is Activation.NONE or dtype.itemsize > 2
    return DOWN if plain else DOWN_ACTIVATED


def _tile_back(activation: Activation, dtype: torch.dtype, rank: int) -> Tile:
    if dtype.itemsize > 2:
        return BACKWARD  # a larger one would take more shared memory than some cards have
    if activation is Activation.NONE:
        return BACKWARD_WIDE if 64 < rank <= 128 else BACKWARD
    return BACKWARD_GELU if activation is Activation.GELU else BACKWARD_SWIGLU


def _fit(tile: Tile, rank: int) -> tuple[int, int]:
    """Rank rounded up to what a tensor core takes, and columns that fit beside it."""
    rounded = max(16, triton.next_power_of_2(rank))
    return rounded, min(tile.columns, max(32, MOST // rounded))


def _splits(tile: Tile, device: torch.device, blocks: int, longest: int) -> int:
    """Into how many parts the loop of each of ``blocks`` programs is cut, at most ``longest``."""
    programs = tile.waves * multiprocessors(device)
    return max(1, min(16, programs // blocks, longest))


def _threshold(dropout: float) -> int:
    return round(dropout * 2**32)


def lora_down(
    x: torch.Tensor, a: torch.Tensor, scale: float, dropout: float, seed: torch.Tensor,
    activation: Activation = Activation.NONE,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """As `Backend.lora_down`: x [T, in] and a [r, in] of one dtype, results [T, r] and [T, in]."""
    tokens, width = x.shape[0], a.shape[1]
    rank = a.shape[0]
    tile = _tile_down(activation, x.dtype)
    rounded, columns = _fit(tile, rank)
    row_blocks = triton.cdiv(tokens, tile.rows)
    split = _splits(tile, x.device, row_blocks, triton.cdiv(width, columns))
    partial = torch.empty(split, tokens, rank, dtype=torch.float32, device=x.device)
    active = x if activation is Activation.NONE else x.new_empty(tokens, width)
    _down_kernel[(row_blocks, split)](
        x, a, partial, active, seed, tokens, width, x.stride(0), rank, scale / (1.0 - dropout),
        RANK=rounded, ROWS=tile.rows, COLUMNS=columns, SPLIT=split,
        THRESHOLD=_threshold(dropout), ACTIVATION=activation.value,
        num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return sum_parts(partial[None], x.dtype)[0], active


def lora_backward_(
    dx: torch.Tensor, x: torch.Tensor, adapters: list[AdapterBackward], dropout: float,
    activation: Activation = Activation.NONE,
) -> tuple[torch.Tensor, list[torch.Tensor]]:  # fmt: skip
    """As `Backend.lora_backward_` for one adapter or two; gradients of a, [r, in], in float32."""
    tokens, width = dx.shape
    rank = adapters[0].du.shape[1]
    tile = _tile_back(activation, x.dtype, rank)
    rounded, columns = _fit(tile, rank)
    column_blocks = triton.cdiv(width, columns)
    split = _splits(tile, x.device, column_blocks, triton.cdiv(tokens, tile.rows))
    shape = len(adapters), split, rank, width
    partial = torch.empty(shape, dtype=torch.float32, device=x.device)
    one, two = adapters[0], adapters[-1]
    _backward_kernel[(column_blocks, split)](
        dx, x, dx.stride(0), x.stride(0), tokens, width, rank, 1.0 / (1.0 - dropout),
        one.du, one.a, partial[0], one.seed, two.du, two.a, partial[-1], two.seed,
        RANK=rounded, ROWS=tile.rows, COLUMNS=columns, SPLIT=split,
        THRESHOLD=_threshold(dropout), ACTIVATION=activation.value, PAIR=len(adapters) == 2,
        num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    sums = sum_parts(partial, torch.float32)
    return x if activation is Activation.SWIGLU else dx, list(sums)


def rotate_(
    qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, period: tuple[int, int], sign: float
) -> None:
    """Rotary embedding in place on qkv [T, heads, d]; cos and sin [T, d / 2] float32.

    Args:
        qkv: contiguous; d even.
        cos: contiguous.
        sin: likewise.
        period: after how many heads their order repeats, and how many of them, last, are values.
        sign: -1 rotates back.
    """
    tokens, heads, d = qkv.shape
    block = min(128, triton.next_power_of_2(heads))
    _rotate_kernel[(tokens, triton.cdiv(heads, block))](
        qkv, cos, sin, heads, *period, d // 2, sign,
        HALF=triton.next_power_of_2(d // 2), HEADS=block,
    )  # fmt: skip
