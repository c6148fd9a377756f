"""Triton attention for heads that share one key and value: causal, within documents.

Falcon-7B has 71 query heads on one key and value. Kernels that know only heads of their own read
that key and value 71 times, and in the backward write 71 gradients of it and add them up; and over
short documents most of a tile of 128 tokens is masked. Here a tile is 128 rows of (token, head):
the heads of two tokens, which all look at the same keys. Everything is read from and written to
the output of query_key_value as it lies, [T, groups * (heads + 2) * d]: the query heads of a
group, then its key, then its value.

Source: the recurrences of FlashAttention-2 (arXiv 2307.08691, algorithms 1 and 2), in base 2.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# Triton reads annotations in kernels as its own: keep `from __future__` out of this file.

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

LOG2_E = 1.4426950408889634
NONE = tl.constexpr(-1e30)  # finite: minus infinity less minus infinity is no number


@dataclass(frozen=True)
class Tile:
    """How a kernel is launched: (token, head) rows and keys of a tile, warps, loads under way."""

    rows: int
    keys: int
    warps: int
    stages: int


# The fastest of 30 each on an H100, over short documents and long: NOTES.md.
FORWARD = Tile(64, 32, 4, 3)
QUERIES = Tile(64, 32, 4, 2)
KEYS = Tile(64, 64, 4, 3)
PROGRAMS = 2112  # of the kernel over keys, whose rows are split until there are this many


@triton.jit
def _rows(block, tokens, HEADS: tl.constexpr, ROWS: tl.constexpr):
    """Token, head and whether it exists of each row of a tile."""
    row = block * ROWS + tl.arange(0, ROWS)
    token = row // HEADS
    return token, row % HEADS, token < tokens


@triton.jit
def _seen(starts, block, token, inside, tokens, HEADS: tl.constexpr, ROWS: tl.constexpr):
    """What the rows of a tile look at.

    First token of each row's document, last token that any row looks at, and from where to where
    all rows do.
    """
    first = tl.load(starts + token, mask=inside, other=tokens)
    last = tl.minimum(((block + 1) * ROWS - 1) // HEADS, tokens - 1)
    return first, last, tl.max(first), block * ROWS // HEADS + 1


@triton.jit
def _hide(scores, start, key, token, first, all_from, all_to, COLUMNS: tl.constexpr):
    """Scores without those of keys that a row may not see; worked out only where some may not."""
    if (start < all_from) | (start + COLUMNS > all_to):
        allowed = (key[None, :] <= token[:, None]) & (key[None, :] >= first[:, None])
        scores = tl.where(allowed, scores, NONE)
    return scores


@triton.jit
def _places(token, head, group, GROUPS: tl.constexpr, HEADS: tl.constexpr, D: tl.constexpr):
    """Where each row lies: its query in qkv from the group's first on, its output, its number."""
    d = tl.arange(0, D)
    width: tl.constexpr = GROUPS * (HEADS + 2) * D
    query = token[:, None].to(tl.int64) * width + head[:, None] * D + d[None, :]
    row = (token[:, None].to(tl.int64) * GROUPS + group) * HEADS + head[:, None]
    return query, row * D + d[None, :], (token * GROUPS + group) * HEADS + head


@triton.jit
def _forward_kernel(
    qkv, out, lse, starts, tokens, scale,
    GROUPS: tl.constexpr, HEADS: tl.constexpr, D: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """out = softmax(scale q k') v of one tile of rows, and the base-2 logarithm of its sum."""
    block, group = tl.program_id(0), tl.program_id(1)
    token, head, inside = _rows(block, tokens, HEADS, ROWS)
    width: tl.constexpr = GROUPS * (HEADS + 2) * D
    d = tl.arange(0, D)
    base = qkv + group * (HEADS + 2) * D
    place, mine, row = _places(token, head, group, GROUPS, HEADS, D)
    q = tl.load(base + place, mask=inside[:, None], other=0.0)
    first, last, all_from, all_to = _seen(starts, block, token, inside, tokens, HEADS, ROWS)
    top = tl.full((ROWS,), NONE, tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    sums = tl.zeros((ROWS, D), tl.float32)
    for start in range(tl.min(first), last + 1, COLUMNS):
        key = start + tl.arange(0, COLUMNS)
        there = key <= last
        spot = base + HEADS * D + key.to(tl.int64) * width
        k = tl.load(spot[None, :] + d[:, None], mask=there[None, :], other=0.0)
        v = tl.load(spot[:, None] + D + d[None, :], mask=there[:, None], other=0.0)
        scores = tl.dot(q, k, input_precision="ieee") * scale
        scores = _hide(scores, start, key, token, first, all_from, all_to, COLUMNS)
        highest = tl.maximum(top, tl.max(scores, 1))
        p = tl.exp2(scores - highest[:, None])
        shrink = tl.exp2(top - highest)
        total = total * shrink + tl.sum(p, 1)
        sums = sums * shrink[:, None]
        sums += tl.dot(p.to(v.dtype), v, input_precision="ieee")
        top = highest
    result = sums / total[:, None]
    tl.store(out + mine, result.to(q.dtype), mask=inside[:, None])
    tl.store(lse + row, top + tl.log2(total), mask=inside)


@triton.jit
def _queries_kernel(
    qkv, out, grad, lse, delta, dqkv, starts, tokens, scale, grad_scale,
    GROUPS: tl.constexpr, HEADS: tl.constexpr, D: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Gradient of the queries of one tile of rows, and delta = sum(out * grad) of each row."""
    block, group = tl.program_id(0), tl.program_id(1)
    token, head, inside = _rows(block, tokens, HEADS, ROWS)
    width: tl.constexpr = GROUPS * (HEADS + 2) * D
    d = tl.arange(0, D)
    base = qkv + group * (HEADS + 2) * D
    place, mine, row = _places(token, head, group, GROUPS, HEADS, D)
    q = tl.load(base + place, mask=inside[:, None], other=0.0)
    dout = tl.load(grad + mine, mask=inside[:, None], other=0.0)
    o = tl.load(out + mine, mask=inside[:, None], other=0.0)
    sum_log = tl.load(lse + row, mask=inside, other=0.0)
    diff = tl.sum(o.to(tl.float32) * dout.to(tl.float32), 1)
    tl.store(delta + row, diff, mask=inside)
    first, last, all_from, all_to = _seen(starts, block, token, inside, tokens, HEADS, ROWS)
    sums = tl.zeros((ROWS, D), tl.float32)
    for start in range(tl.min(first), last + 1, COLUMNS):
        key = start + tl.arange(0, COLUMNS)
        there = key <= last
        spot = base + HEADS * D + key.to(tl.int64) * width
        k = tl.load(spot[None, :] + d[:, None], mask=there[None, :], other=0.0)
        v = tl.load(spot[None, :] + D + d[:, None], mask=there[None, :], other=0.0)
        scores = tl.dot(q, k, input_precision="ieee") * scale
        scores = _hide(scores, start, key, token, first, all_from, all_to, COLUMNS)
        p = tl.exp2(scores - sum_log[:, None])
        dp = tl.dot(dout, v, input_precision="ieee")
        ds = p * (dp - diff[:, None])
        sums += tl.dot(ds.to(k.dtype), tl.trans(k), input_precision="ieee")
    dq = dqkv + group * (HEADS + 2) * D + place
    tl.store(dq, (sums * grad_scale).to(q.dtype), mask=inside[:, None])


@triton.jit
def _keys_kernel(
    qkv, grad, lse, delta, partial, ends, tokens, scale, grad_scale,
    GROUPS: tl.constexpr, HEADS: tl.constexpr, D: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    """This split's part of the gradients of COLUMNS keys and values, from the rows that saw them.

    ``partial`` is [SPLIT, T, GROUPS, 2, D] float32; split i takes every SPLIT-th tile of rows.
    """
    part, group = tl.program_id(1), tl.program_id(2)
    key = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    there = key < tokens
    width: tl.constexpr = GROUPS * (HEADS + 2) * D
    d = tl.arange(0, D)
    base = qkv + group * (HEADS + 2) * D
    spot = base + HEADS * D + key.to(tl.int64) * width
    k = tl.load(spot[:, None] + d[None, :], mask=there[:, None], other=0.0)
    v = tl.load(spot[:, None] + D + d[None, :], mask=there[:, None], other=0.0)
    end = tl.load(ends + key, mask=there, other=0)
    dk = tl.zeros((COLUMNS, D), tl.float32)
    dv = tl.zeros((COLUMNS, D), tl.float32)
    first_tile = tl.program_id(0) * COLUMNS * HEADS // ROWS
    tiles = tl.cdiv(tl.max(end) * HEADS, ROWS)
    for tile in range(first_tile + part, tiles, SPLIT):
        token, head, inside = _rows(tile, tokens, HEADS, ROWS)
        place, mine, row = _places(token, head, group, GROUPS, HEADS, D)
        q = tl.load(base + place, mask=inside[:, None], other=0.0)
        dout = tl.load(grad + mine, mask=inside[:, None], other=0.0)
        sum_log = tl.load(lse + row, mask=inside, other=0.0)
        diff = tl.load(delta + row, mask=inside, other=0.0)
        scores = tl.dot(k, tl.trans(q), input_precision="ieee") * scale
        allowed = (key[:, None] <= token[None, :]) & (token[None, :] < end[:, None])
        p = tl.where(allowed, tl.exp2(scores - sum_log[None, :]), 0.0)
        dv += tl.dot(p.to(dout.dtype), dout, input_precision="ieee")
        dp = tl.dot(v, tl.trans(dout), input_precision="ieee")
        ds = p * (dp - diff[None, :])
        dk += tl.dot(ds.to(q.dtype), q, input_precision="ieee")
    place = ((part * tokens + key[:, None]).to(tl.int64) * GROUPS + group) * 2 * D + d[None, :]
    tl.store(partial + place, dk * grad_scale, mask=there[:, None])
    tl.store(partial + place + D, dv, mask=there[:, None])


def _shape(qkv: torch.Tensor, per_group: int) -> tuple[int, int, int, int]:
    tokens, heads, d = qkv.shape
    return tokens, heads // per_group, per_group - 2, d


def forward(
    qkv: torch.Tensor, per_group: int, starts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention output [T, groups * heads, d], and the base-2 log-sum-exp of its rows.

    Args:
        qkv: [T, groups * per_group, d]: of each group the queries, one key, one value.
        per_group: heads of a group, key and value among them.
        starts: [T] int32, first token of each token's document.
    """
    tokens, groups, heads, d = _shape(qkv, per_group)
    out = qkv.new_empty(tokens, groups * heads, d)
    lse = torch.empty(tokens, groups * heads, dtype=torch.float32, device=qkv.device)
    _forward_kernel[(triton.cdiv(tokens * heads, FORWARD.rows), groups)](
        qkv, out, lse, starts, tokens, d**-0.5 * LOG2_E,
        GROUPS=groups, HEADS=heads, D=d, ROWS=FORWARD.rows, COLUMNS=FORWARD.keys,
        num_warps=FORWARD.warps, num_stages=FORWARD.stages,
    )  # fmt: skip
    return out, lse


def backward(
    grad: torch.Tensor,
    qkv: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    per_group: int,
    starts: torch.Tensor,
    ends: torch.Tensor,
) -> torch.Tensor:
    """Gradient of qkv, of its shape, from ``grad`` [T, groups * heads, d] of the output.

    Args:
        grad: contiguous.
        qkv: as `forward` got it.
        out: as `forward` gave it.
        lse: likewise.
        per_group: heads of a group, key and value among them.
        starts: [T] int32, first token of each token's document.
        ends: [T] int32, the token after the last of it.
    """
    tokens, groups, heads, d = _shape(qkv, per_group)
    dqkv, delta = torch.empty_like(qkv), torch.empty_like(lse)
    shape = {"GROUPS": groups, "HEADS": heads, "D": d}
    scale, grad_scale = d**-0.5 * LOG2_E, d**-0.5
    _queries_kernel[(triton.cdiv(tokens * heads, QUERIES.rows), groups)](
        qkv, out, grad, lse, delta, dqkv, starts, tokens, scale, grad_scale,
        **shape, ROWS=QUERIES.rows, COLUMNS=QUERIES.keys,
        num_warps=QUERIES.warps, num_stages=QUERIES.stages,
    )  # fmt: skip
    blocks = triton.cdiv(tokens, KEYS.keys)
    split = max(1, min(16, PROGRAMS // (blocks * groups), triton.cdiv(tokens * heads, KEYS.rows)))
    partial = torch.empty(split, tokens, groups, 2, d, dtype=torch.float32, device=qkv.device)
    _keys_kernel[(blocks, split, groups)](
        qkv, grad, lse, delta, partial, ends, tokens, scale, grad_scale,
        **shape, ROWS=KEYS.rows, COLUMNS=KEYS.keys, SPLIT=split,
        num_warps=KEYS.warps, num_stages=KEYS.stages,
    )  # fmt: skip
    dqkv.view(tokens, groups, per_group, d)[:, :, -2:] = partial.sum(0)
    return dqkv
