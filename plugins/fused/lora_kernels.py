"""Triton kernels for what cuBLAS can't fuse: rotary embedding, GELU, and LoRA's dropout.

Dropout is a function of a 32-bit seed and the element's place in the row-major tensor, so no mask
is ever stored: forward and backward compute the same one. `plugins.fused.backend` holds the
same functions in PyTorch; the hash is lowbias32 (Wellons, "Prospecting for Hash Functions", 2018)
of the place times an odd constant plus the seed, without its last shift: that one changes the low
half only, and what is compared with the threshold is the size of the whole.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# Triton reads annotations in kernels as its own: keep `from __future__` out of this file.

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from plugins.fused.adapted import Adapted


@dataclass(frozen=True)
class Tile:
    """How a kernel is launched: a program's tile, warps, loads under way, programs in all."""

    rows: int
    columns: int
    warps: int
    stages: int
    programs: int


# The fastest of 48 on an H100 at 8,192 tokens, rank 32: NOTES.md.
DOWN = Tile(128, 64, 8, 3, 4224)
BACKWARD = Tile(32, 64, 4, 2, 4224)
# New values each call: compiling for those divisible by 16 would stall a step.
STEADY = ["seed", "seed_2"]


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


@triton.jit(do_not_specialize=["seed"])
def _down_kernel(
    x, a, partial, active, tokens, width, stride, rank, scale, seed,
    RANK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, SPLIT: tl.constexpr,
    THRESHOLD: tl.constexpr, GELU: tl.constexpr,
):  # fmt: skip
    """partial[split] = scale * dropout(x) @ a.T over this split's share of the width.

    With GELU x goes through it first, and the result is stored in ``active``.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    part = tl.program_id(1)
    r = tl.arange(0, RANK)
    sums = tl.zeros((ROWS, RANK), tl.float32)
    share = tl.cdiv(tl.cdiv(width, COLUMNS), SPLIT) * COLUMNS
    start = part * share
    for column in range(start, tl.minimum(start + share, width), COLUMNS):
        k = column + tl.arange(0, COLUMNS)
        place = row[:, None].to(tl.int64) * stride + k[None, :]
        inside = (row[:, None] < tokens) & (k[None, :] < width)
        values = tl.load(x + place, mask=inside, other=0.0)
        if GELU:
            wide = values.to(tl.float32)
            share_below, _ = _normal(wide)
            values = (wide * share_below).to(values.dtype)
            tl.store(active + place, values, mask=inside)
        if THRESHOLD > 0:
            kept = _keep(row[:, None], k[None, :], width, seed, THRESHOLD)
            values = tl.where(kept, values, 0.0)
        weights = tl.load(
            a + r[None, :] * width + k[:, None],
            mask=(r[None, :] < rank) & (k[:, None] < width), other=0.0,
        )  # fmt: skip
        sums += tl.dot(values, weights.to(values.dtype), input_precision="ieee")
    place = part.to(tl.int64) * tokens * rank + row[:, None] * rank + r[None, :]
    tl.store(partial + place, sums * scale, mask=(row[:, None] < tokens) & (r[None, :] < rank))


@triton.jit(do_not_specialize=STEADY)
def _backward_kernel(
    dx, x, dx_stride, x_stride, tokens, width, rank, inverse_keep,
    du, a, partial, seed, du_2, a_2, partial_2, seed_2,
    RANK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, SPLIT: tl.constexpr,
    THRESHOLD: tl.constexpr, GELU: tl.constexpr, PAIR: tl.constexpr,
):  # fmt: skip
    """dx += dropout(du @ a), and partial[split] = du.T @ dropout(x), with one mask for both.

    With GELU the adapter's input is gelu(x), and dx is then multiplied by gelu'(x). With PAIR a
    second adapter of the same input, rank and dropout follows, with a mask of its own. Tiles lie
    columns by rows, so that what comes out of the first product goes into the second as it lies.
    """
    k = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    part = tl.program_id(1)
    r = tl.arange(0, RANK)
    place_a = r[None, :] * width + k[:, None]
    inside_a = (r[None, :] < rank) & (k[:, None] < width)
    weights = tl.load(a + place_a, mask=inside_a, other=0.0)
    sums = tl.zeros((COLUMNS, RANK), tl.float32)
    if PAIR:
        weights_2 = tl.load(a_2 + place_a, mask=inside_a, other=0.0)
        sums_2 = tl.zeros((COLUMNS, RANK), tl.float32)
    share = tl.cdiv(tl.cdiv(tokens, ROWS), SPLIT) * ROWS
    start = part * share
    for token in range(start, tl.minimum(start + share, tokens), ROWS):
        row = token + tl.arange(0, ROWS)
        inside = (row[None, :] < tokens) & (k[:, None] < width)
        place_u = row[:, None] * rank + r[None, :]
        inside_u = (row[:, None] < tokens) & (r[None, :] < rank)
        grads = tl.load(du + place_u, mask=inside_u, other=0.0)
        values = tl.load(
            x + (row[None, :].to(tl.int64) * x_stride + k[:, None]), mask=inside, other=0.0
        )
        place = dx + (row[None, :].to(tl.int64) * dx_stride + k[:, None])
        stored = tl.load(place, mask=inside, other=0.0)
        added = tl.dot(weights, tl.trans(grads), input_precision="ieee")
        # Always true of numbers. It ties the tile of x to the layout of the product: else the
        # compiler works out mask and GELU twice, in that layout and in the one x was read in.
        values = tl.where(added == added, values, 0.0)
        if THRESHOLD > 0:
            kept = _keep(row[None, :], k[:, None], width, seed, THRESHOLD)
            added = tl.where(kept, added * inverse_keep, 0.0)
        total = stored.to(tl.float32) + added
        if PAIR:
            grads_2 = tl.load(du_2 + place_u, mask=inside_u, other=0.0)
            added = tl.dot(weights_2, tl.trans(grads_2), input_precision="ieee")
            dropped_2 = values
            if THRESHOLD > 0:
                kept_2 = _keep(row[None, :], k[:, None], width, seed_2, THRESHOLD)
                added = tl.where(kept_2, added * inverse_keep, 0.0)
                dropped_2 = tl.where(kept_2, values, 0.0)
            total += added
            sums_2 += tl.dot(dropped_2, grads_2, input_precision="ieee")
        if GELU:
            wide = values.to(tl.float32)
            share_below, density = _normal(wide)
            total *= share_below + wide * density
            values = (wide * share_below).to(values.dtype)
        if THRESHOLD > 0:
            values = tl.where(kept, values, 0.0)
        tl.store(place, total.to(stored.dtype), mask=inside)
        sums += tl.dot(values, grads, input_precision="ieee")
    place_a += part.to(tl.int64) * rank * width
    tl.store(partial + place_a, sums * inverse_keep, mask=inside_a)
    if PAIR:
        tl.store(partial_2 + place_a, sums_2 * inverse_keep, mask=inside_a)


@triton.jit
def _rotate_kernel(
    qkv, cos, sin, per_token, per_group, sign,
    HALF: tl.constexpr, HEADS: tl.constexpr,
):  # fmt: skip
    """Rotate queries and keys of one token; the last head of each group, the value, stays."""
    token = tl.program_id(0)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    i = tl.arange(0, HALF)
    place = (token.to(tl.int64) * per_token + head[:, None]) * (2 * HALF) + i[None, :]
    rotated = (head[:, None] < per_token) & (head[:, None] % per_group < per_group - 1)
    low = tl.load(qkv + place, mask=rotated, other=0.0)
    high = tl.load(qkv + place + HALF, mask=rotated, other=0.0)
    c = tl.load(cos + token.to(tl.int64) * HALF + i)[None, :]
    s = tl.load(sin + token.to(tl.int64) * HALF + i)[None, :] * sign
    new_low = low.to(tl.float32) * c - high.to(tl.float32) * s
    new_high = high.to(tl.float32) * c + low.to(tl.float32) * s
    tl.store(qkv + place, new_low.to(low.dtype), mask=rotated)
    tl.store(qkv + place + HALF, new_high.to(high.dtype), mask=rotated)


def _fit(tile: Tile, rank: int) -> tuple[int, int]:
    """Rank rounded up to what a tensor core takes, and columns that fit beside it."""
    rounded = max(16, triton.next_power_of_2(rank))
    return rounded, tile.columns if rounded <= 64 else 32


def _threshold(dropout: float) -> int:
    return round(dropout * 2**32)


def lora_down(
    x: torch.Tensor,
    a: torch.Tensor,
    scale: float,
    dropout: float,
    seed: int,
    active: torch.Tensor | None = None,
) -> torch.Tensor:
    """``scale * dropout(x) @ a.T``: x [T, in] and a [r, in] of one dtype, result [T, r].

    Given ``active`` [T, in], x goes through GELU first, and ``active`` is filled with the result.
    """
    tokens, width = x.shape
    rank = a.shape[0]
    rounded, columns = _fit(DOWN, rank)
    row_blocks = triton.cdiv(tokens, DOWN.rows)
    split = max(1, min(16, DOWN.programs // row_blocks, triton.cdiv(width, columns)))
    partial = torch.empty(split, tokens, rank, dtype=torch.float32, device=x.device)
    _down_kernel[(row_blocks, split)](
        x, a, partial, x if active is None else active,
        tokens, width, x.stride(0), rank, scale / (1.0 - dropout), seed,
        RANK=rounded, ROWS=DOWN.rows, COLUMNS=columns, SPLIT=split,
        THRESHOLD=_threshold(dropout), GELU=active is not None,
        num_warps=DOWN.warps, num_stages=DOWN.stages,
    )  # fmt: skip
    return partial.sum(0).to(x.dtype)


def lora_backward_(
    dx: torch.Tensor, x: torch.Tensor, adapters: list[Adapted], dropout: float, gelu: bool
) -> list[torch.Tensor]:
    """In place ``dx += dropout(du @ a)``; return ``du.T @ dropout(x)``, [r, in] float32, of each.

    With ``gelu`` the adapter's input is gelu(x), and dx is then multiplied by gelu'(x). Rows of dx
    and x may lie any distance apart. Two adapters are of one rank.
    """
    tokens, width = dx.shape
    rank = adapters[0].du.shape[1]
    rounded, columns = _fit(BACKWARD, rank)
    column_blocks = triton.cdiv(width, columns)
    split = max(1, min(16, BACKWARD.programs // column_blocks, triton.cdiv(tokens, BACKWARD.rows)))
    shape = len(adapters), split, rank, width
    partial = torch.empty(shape, dtype=torch.float32, device=x.device)
    one, two = adapters[0], adapters[-1]
    _backward_kernel[(column_blocks, split)](
        dx, x, dx.stride(0), x.stride(0), tokens, width, rank, 1.0 / (1.0 - dropout),
        one.du, one.a, partial[0], one.seed, two.du, two.a, partial[-1], two.seed,
        RANK=rounded, ROWS=BACKWARD.rows, COLUMNS=columns, SPLIT=split,
        THRESHOLD=_threshold(dropout), GELU=gelu, PAIR=len(adapters) == 2,
        num_warps=BACKWARD.warps, num_stages=BACKWARD.stages,
    )  # fmt: skip
    return list(partial.sum(1))


def rotate_(
    qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, per_group: int, sign: float
) -> None:
    """Rotary embedding in place on qkv [T, heads, d]; cos and sin [T, d / 2] float32.

    Heads come in groups of ``per_group``: queries, one key, one value. ``sign`` -1 rotates back.
    """
    tokens, heads, d = qkv.shape
    block = min(128, triton.next_power_of_2(heads))
    _rotate_kernel[(tokens, triton.cdiv(heads, block))](
        qkv, cos, sin, heads, per_group, sign, HALF=d // 2, HEADS=block
    )
