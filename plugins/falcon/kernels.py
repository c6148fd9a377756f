"""Triton kernels for what cuBLAS can't fuse: rotary embedding, and LoRA's dropout.

Dropout is a function of a 32-bit seed and the element's place in the row-major tensor, so no mask
is ever stored: forward and backward compute the same one. `plugins.falcon.operations` holds the
same functions in PyTorch; the hash is lowbias32 of the element's index times an odd constant plus
the seed (Wellons, "Prospecting for Hash Functions", 2018).
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# Triton reads annotations in kernels as its own: keep `from __future__` out of this file.

import torch
import triton
import triton.language as tl

ROWS = 64


@triton.jit
def _keep(index, seed, threshold):
    """Whether each element survives: its 24 high hash bits are at least ``threshold``."""
    h = index.to(tl.uint32) * tl.full((), 0x9E3779B1, tl.uint32) + seed.to(tl.uint32)
    h = (h ^ (h >> 16)) * tl.full((), 0x7FEB352D, tl.uint32)
    h = (h ^ (h >> 15)) * tl.full((), 0x846CA68B, tl.uint32)
    h = h ^ (h >> 16)
    return (h >> 8).to(tl.int32) >= threshold


@triton.jit
def _gelu(x):
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def _gelu_slope(x):
    density = 0.3989422804014327 * tl.exp(-0.5 * x * x)
    return 0.5 * (1.0 + tl.erf(x * 0.7071067811865476)) + x * density


@triton.jit
def _down_kernel(
    x, a, partial, tokens, width, rank, seed, threshold,
    RANK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, SPLIT: tl.constexpr,
    DROPOUT: tl.constexpr,
):  # fmt: skip
    """partial[split] = dropout(x) @ a.T over this split's share of the width."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    part = tl.program_id(1)
    r = tl.arange(0, RANK)
    sums = tl.zeros((ROWS, RANK), tl.float32)
    share = tl.cdiv(tl.cdiv(width, COLUMNS), SPLIT) * COLUMNS
    start = part * share
    for column in range(start, tl.minimum(start + share, width), COLUMNS):
        k = column + tl.arange(0, COLUMNS)
        place = row[:, None].to(tl.int64) * width + k[None, :]
        inside = (row[:, None] < tokens) & (k[None, :] < width)
        values = tl.load(x + place, mask=inside, other=0.0)
        if DROPOUT:
            values = tl.where(_keep(place, seed, threshold), values, 0.0)
        weights = tl.load(
            a + r[None, :] * width + k[:, None],
            mask=(r[None, :] < rank) & (k[:, None] < width), other=0.0,
        )  # fmt: skip
        sums += tl.dot(values, weights.to(values.dtype), input_precision="ieee")
    place = part.to(tl.int64) * tokens * rank + row[:, None] * rank + r[None, :]
    tl.store(partial + place, sums, mask=(row[:, None] < tokens) & (r[None, :] < rank))


@triton.jit
def _grad_a_kernel(
    du, x, partial, tokens, width, rank, seed, threshold,
    RANK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, SPLIT: tl.constexpr,
    DROPOUT: tl.constexpr, GELU: tl.constexpr,
):  # fmt: skip
    """partial[split] = du.T @ dropout(x or gelu(x)) over this split's share of the tokens."""
    k = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    part = tl.program_id(1)
    r = tl.arange(0, RANK)
    sums = tl.zeros((RANK, COLUMNS), tl.float32)
    share = tl.cdiv(tl.cdiv(tokens, ROWS), SPLIT) * ROWS
    start = part * share
    for token in range(start, tl.minimum(start + share, tokens), ROWS):
        row = token + tl.arange(0, ROWS)
        place = row[:, None].to(tl.int64) * width + k[None, :]
        inside = (row[:, None] < tokens) & (k[None, :] < width)
        values = tl.load(x + place, mask=inside, other=0.0)
        if GELU:
            values = _gelu(values.to(tl.float32)).to(values.dtype)
        if DROPOUT:
            values = tl.where(_keep(place, seed, threshold), values, 0.0)
        grads = tl.load(
            du + row[None, :] * rank + r[:, None],
            mask=(r[:, None] < rank) & (row[None, :] < tokens), other=0.0,
        )  # fmt: skip
        sums += tl.dot(grads.to(values.dtype), values, input_precision="ieee")
    place = part.to(tl.int64) * rank * width + r[:, None] * width + k[None, :]
    tl.store(partial + place, sums, mask=(r[:, None] < rank) & (k[None, :] < width))


@triton.jit
def _add_grad_x_kernel(
    dx, du, a, pre, tokens, width, rank, seed, threshold, inverse_keep,
    RANK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    DROPOUT: tl.constexpr, LORA: tl.constexpr, GELU: tl.constexpr,
):  # fmt: skip
    """dx += dropout(du @ a), and then dx *= gelu'(pre), in place."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    k = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    place = row[:, None].to(tl.int64) * width + k[None, :]
    inside = (row[:, None] < tokens) & (k[None, :] < width)
    stored = tl.load(dx + place, mask=inside, other=0.0)
    total = stored.to(tl.float32)
    if LORA:
        r = tl.arange(0, RANK)
        grads = tl.load(
            du + row[:, None] * rank + r[None, :],
            mask=(row[:, None] < tokens) & (r[None, :] < rank), other=0.0,
        )  # fmt: skip
        weights = tl.load(
            a + r[:, None] * width + k[None, :],
            mask=(r[:, None] < rank) & (k[None, :] < width), other=0.0,
        )  # fmt: skip
        added = tl.dot(grads, weights.to(grads.dtype), input_precision="ieee")
        if DROPOUT:
            added = tl.where(_keep(place, seed, threshold), added * inverse_keep, 0.0)
        total += added
    if GELU:
        total *= _gelu_slope(tl.load(pre + place, mask=inside, other=0.0).to(tl.float32))
    tl.store(dx + place, total.to(stored.dtype), mask=inside)


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


def _blocks(rank: int) -> tuple[int, int]:
    """Rank rounded up to what a tensor core takes, and columns that fit beside it."""
    rounded = max(16, triton.next_power_of_2(rank))
    return rounded, 64 if rounded <= 64 else 32


def _threshold(dropout: float) -> int:
    return round(dropout * 2**24)


def lora_down(
    x: torch.Tensor, a: torch.Tensor, scale: float, dropout: float, seed: int
) -> torch.Tensor:
    """``scale * dropout(x) @ a.T``: x [T, in] and a [r, in] of one dtype, result [T, r]."""
    tokens, width = x.shape
    rank = a.shape[0]
    rounded, columns = _blocks(rank)
    row_blocks = triton.cdiv(tokens, ROWS)
    split = max(1, min(16, 528 // row_blocks, triton.cdiv(width, columns)))
    partial = torch.empty(split, tokens, rank, dtype=torch.float32, device=x.device)
    _down_kernel[(row_blocks, split)](
        x, a, partial, tokens, width, rank, seed, _threshold(dropout),
        RANK=rounded, ROWS=ROWS, COLUMNS=columns, SPLIT=split, DROPOUT=dropout > 0,
    )  # fmt: skip
    return partial.sum(0).mul_(scale / (1.0 - dropout)).to(x.dtype)


def lora_grad_a(
    du: torch.Tensor, x: torch.Tensor, dropout: float, seed: int, gelu: bool
) -> torch.Tensor:
    """``du.T @ dropout(x)``, x through GELU first when ``gelu``: [r, in] float32."""
    tokens, width = x.shape
    rank = du.shape[1]
    rounded, columns = _blocks(rank)
    column_blocks = triton.cdiv(width, columns)
    split = max(1, min(16, 1056 // column_blocks, triton.cdiv(tokens, ROWS)))
    partial = torch.empty(split, rank, width, dtype=torch.float32, device=x.device)
    _grad_a_kernel[(column_blocks, split)](
        du, x, partial, tokens, width, rank, seed, _threshold(dropout),
        RANK=rounded, ROWS=ROWS, COLUMNS=columns, SPLIT=split, DROPOUT=dropout > 0, GELU=gelu,
    )  # fmt: skip
    return partial.sum(0).mul_(1.0 / (1.0 - dropout))


def add_grad_x_(
    dx: torch.Tensor,
    du: torch.Tensor | None,
    a: torch.Tensor | None,
    dropout: float,
    seed: int,
    pre: torch.Tensor | None,
) -> None:
    """In place ``dx += dropout(du @ a)``, then ``dx *= gelu'(pre)`` when ``pre`` is given."""
    tokens, width = dx.shape
    rank = 0 if du is None else du.shape[1]
    rounded, columns = _blocks(rank)
    grid = (triton.cdiv(tokens, ROWS), triton.cdiv(width, columns))
    _add_grad_x_kernel[grid](
        dx, dx if du is None else du, dx if a is None else a, dx if pre is None else pre,
        tokens, width, rank, seed, _threshold(dropout), 1.0 / (1.0 - dropout),
        RANK=rounded, ROWS=ROWS, COLUMNS=columns,
        DROPOUT=dropout > 0, LORA=du is not None, GELU=pre is not None,
    )  # fmt: skip


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
