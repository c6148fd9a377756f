"""Triton kernels of grouped-query attention: causal, over packed sequences.

Falcon-7B has 71 query heads on one key and value. Kernels that know only heads of their own read
that key and value 71 times, and in the backward write 71 gradients of it and add them up; and over
short sequences most of a tile of 128 tokens is masked. Here a tile is rows of (token, head): the
query heads of few tokens, which all look at the same keys. Everything is read from and written to
one product's output as it lies, [T, heads, d], in either order of `Heads`.

Source: the recurrences of FlashAttention-2 (arXiv 2307.08691, algorithms 1 and 2), in base 2.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# Triton reads annotations in kernels as its own: keep `from __future__` out of this file.

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from plugins.fused.backend import Heads
from plugins.fused.device import multiprocessors
from plugins.fused.sums import sum_parts

LOG2_E = 1.4426950408889634
MASKED = tl.constexpr(-1e30)  # finite: minus infinity less minus infinity is no number


@dataclass(frozen=True)
class Tile:
    """How a kernel is launched: (token, head) rows and keys of a tile, warps, loads under way."""

    rows: int
    keys: int
    warps: int
    stages: int


# The fastest of 30 each on an H100, over short sequences and long: falcon/NOTES.md.
FORWARD = Tile(64, 32, 4, 3)
QUERIES = Tile(64, 32, 4, 2)
KEYS = Tile(64, 64, 4, 3)
WAVES = 16  # programs a multiprocessor of the kernel over keys, whose rows are split until then


@triton.jit
def _rows(block, tokens, PER_KEY: tl.constexpr, ROWS: tl.constexpr):
    """Token, head and whether it exists of each row of a tile."""
    row = block * ROWS + tl.arange(0, ROWS)
    token = row // PER_KEY
    return token, row % PER_KEY, token < tokens


@triton.jit
def _seen(starts_ptr, block, token, mask, tokens, PER_KEY: tl.constexpr, ROWS: tl.constexpr):
    """What the rows of a tile look at.

    First token of each row's sequence, last token that any row looks at, and from where to where
    all rows do.
    """
    first = tl.load(starts_ptr + token, mask=mask, other=tokens)
    last = tl.minimum(((block + 1) * ROWS - 1) // PER_KEY, tokens - 1)
    return first, last, tl.max(first), block * ROWS // PER_KEY + 1


@triton.jit
def _hide(scores, start, key, token, first, all_from, all_to, COLUMNS: tl.constexpr):
    """Scores without those of keys that a row may not see; worked out only where some may not."""
    if (start < all_from) | (start + COLUMNS > all_to):
        allowed = (key[None, :] <= token[:, None]) & (key[None, :] >= first[:, None])
        scores = tl.where(allowed, scores, MASKED)
    return scores


@triton.jit
def _offsets(
    token, head, group, KEYS: tl.constexpr, PER_KEY: tl.constexpr, Q_STEP: tl.constexpr,
    D: tl.constexpr,
):  # fmt: skip
    """Offsets of each row: of its query in qkv, of its output, and of its one number."""
    d = tl.arange(0, D)
    width: tl.constexpr = KEYS * (PER_KEY + 2) * D
    query = token[:, None].to(tl.int64) * width + (group * Q_STEP + head[:, None]) * D + d[None, :]
    row = (token[:, None].to(tl.int64) * KEYS + group) * PER_KEY + head[:, None]
    return query, row * D + d[None, :], (token * KEYS + group) * PER_KEY + head


@triton.jit
def _forward_kernel(
    qkv_ptr,  # [T, heads, d]
    out_ptr,  # [T, queries, d]
    lse_ptr,  # [T, queries] float32
    starts_ptr,  # [T] int32
    tokens, scale,
    KEYS: tl.constexpr, PER_KEY: tl.constexpr, D: tl.constexpr, Q_STEP: tl.constexpr,
    K_FIRST: tl.constexpr, K_STEP: tl.constexpr, V_SHIFT: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """out = softmax(scale q k') v of one tile of rows, and the base-2 logarithm of its sum."""
    block, group = tl.program_id(0), tl.program_id(1)
    token, head, mask = _rows(block, tokens, PER_KEY, ROWS)
    width: tl.constexpr = KEYS * (PER_KEY + 2) * D
    d = tl.arange(0, D)
    q_offsets, out_offsets, row = _offsets(token, head, group, KEYS, PER_KEY, Q_STEP, D)
    q = tl.load(qkv_ptr + q_offsets, mask=mask[:, None], other=0.0)
    first, last, all_from, all_to = _seen(starts_ptr, block, token, mask, tokens, PER_KEY, ROWS)
    m_i = tl.full((ROWS,), MASKED, tl.float32)
    l_i = tl.zeros((ROWS,), tl.float32)
    acc = tl.zeros((ROWS, D), tl.float32)
    k_ptr = qkv_ptr + (K_FIRST + group * K_STEP) * D
    for start in range(tl.min(first), last + 1, COLUMNS):
        key = start + tl.arange(0, COLUMNS)
        k_mask = key <= last
        k_row = k_ptr + key.to(tl.int64) * width
        k = tl.load(k_row[None, :] + d[:, None], mask=k_mask[None, :], other=0.0)
        v = tl.load(k_row[:, None] + V_SHIFT * D + d[None, :], mask=k_mask[:, None], other=0.0)
        scores = tl.dot(q, k, input_precision="ieee") * scale
        scores = _hide(scores, start, key, token, first, all_from, all_to, COLUMNS)
        m_new = tl.maximum(m_i, tl.max(scores, 1))
        p = tl.exp2(scores - m_new[:, None])
        alpha = tl.exp2(m_i - m_new)
        l_i = l_i * alpha + tl.sum(p, 1)
        acc = acc * alpha[:, None]
        acc += tl.dot(p.to(v.dtype), v, input_precision="ieee")
        m_i = m_new
    result = acc / l_i[:, None]
    tl.store(out_ptr + out_offsets, result.to(q.dtype), mask=mask[:, None])
    tl.store(lse_ptr + row, m_i + tl.log2(l_i), mask=mask)


@triton.jit
def _queries_kernel(
    qkv_ptr,  # [T, heads, d]
    out_ptr,  # [T, queries, d]
    grad_ptr,  # [T, queries, d]
    lse_ptr,  # [T, queries] float32
    delta_ptr,  # [T, queries] float32, filled
    dqkv_ptr,  # [T, heads, d], queries filled
    starts_ptr,  # [T] int32
    tokens, scale, grad_scale,
    KEYS: tl.constexpr, PER_KEY: tl.constexpr, D: tl.constexpr, Q_STEP: tl.constexpr,
    K_FIRST: tl.constexpr, K_STEP: tl.constexpr, V_SHIFT: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Gradient of the queries of one tile of rows, and delta = sum(out * grad) of each row."""
    block, group = tl.program_id(0), tl.program_id(1)
    token, head, mask = _rows(block, tokens, PER_KEY, ROWS)
    width: tl.constexpr = KEYS * (PER_KEY + 2) * D
    d = tl.arange(0, D)
    q_offsets, out_offsets, row = _offsets(token, head, group, KEYS, PER_KEY, Q_STEP, D)
    q = tl.load(qkv_ptr + q_offsets, mask=mask[:, None], other=0.0)
    dout = tl.load(grad_ptr + out_offsets, mask=mask[:, None], other=0.0)
    out = tl.load(out_ptr + out_offsets, mask=mask[:, None], other=0.0)
    lse = tl.load(lse_ptr + row, mask=mask, other=0.0)
    delta = tl.sum(out.to(tl.float32) * dout.to(tl.float32), 1)
    tl.store(delta_ptr + row, delta, mask=mask)
    first, last, all_from, all_to = _seen(starts_ptr, block, token, mask, tokens, PER_KEY, ROWS)
    acc = tl.zeros((ROWS, D), tl.float32)
    k_ptr = qkv_ptr + (K_FIRST + group * K_STEP) * D
    for start in range(tl.min(first), last + 1, COLUMNS):
        key = start + tl.arange(0, COLUMNS)
        k_mask = key <= last
        k_row = k_ptr + key.to(tl.int64) * width
        k = tl.load(k_row[None, :] + d[:, None], mask=k_mask[None, :], other=0.0)
        v = tl.load(k_row[None, :] + V_SHIFT * D + d[:, None], mask=k_mask[None, :], other=0.0)
        scores = tl.dot(q, k, input_precision="ieee") * scale
        scores = _hide(scores, start, key, token, first, all_from, all_to, COLUMNS)
        p = tl.exp2(scores - lse[:, None])
        dp = tl.dot(dout, v, input_precision="ieee")
        ds = p * (dp - delta[:, None])
        acc += tl.dot(ds.to(k.dtype), tl.trans(k), input_precision="ieee")
    tl.store(dqkv_ptr + q_offsets, (acc * grad_scale).to(q.dtype), mask=mask[:, None])


@triton.jit
def _keys_kernel(
    qkv_ptr,  # [T, heads, d]
    grad_ptr,  # [T, queries, d]
    lse_ptr,  # [T, queries] float32
    delta_ptr,  # [T, queries] float32
    out_ptr,  # [T, heads, d], keys and values filled; else partial [SPLIT, T, keys, 2, d] float32
    ends_ptr,  # [T] int32
    tokens, scale, grad_scale,
    KEYS: tl.constexpr, PER_KEY: tl.constexpr, D: tl.constexpr, Q_STEP: tl.constexpr,
    K_FIRST: tl.constexpr, K_STEP: tl.constexpr, V_SHIFT: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    """Gradients of COLUMNS keys and values from every SPLIT-th tile of rows.

    With a SPLIT of one they go where they belong, else side by side to be summed.
    """
    split, group = tl.program_id(1), tl.program_id(2)
    key = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    k_mask = key < tokens
    width: tl.constexpr = KEYS * (PER_KEY + 2) * D
    d = tl.arange(0, D)
    k_row = qkv_ptr + (K_FIRST + group * K_STEP) * D + key.to(tl.int64) * width
    k = tl.load(k_row[:, None] + d[None, :], mask=k_mask[:, None], other=0.0)
    v = tl.load(k_row[:, None] + V_SHIFT * D + d[None, :], mask=k_mask[:, None], other=0.0)
    end = tl.load(ends_ptr + key, mask=k_mask, other=0)
    dk = tl.zeros((COLUMNS, D), tl.float32)
    dv = tl.zeros((COLUMNS, D), tl.float32)
    first_tile = tl.program_id(0) * COLUMNS * PER_KEY // ROWS
    tiles = tl.cdiv(tl.max(end) * PER_KEY, ROWS)
    for tile in range(first_tile + split, tiles, SPLIT):
        token, head, mask = _rows(tile, tokens, PER_KEY, ROWS)
        q_offsets, out_offsets, row = _offsets(token, head, group, KEYS, PER_KEY, Q_STEP, D)
        q = tl.load(qkv_ptr + q_offsets, mask=mask[:, None], other=0.0)
        dout = tl.load(grad_ptr + out_offsets, mask=mask[:, None], other=0.0)
        lse = tl.load(lse_ptr + row, mask=mask, other=0.0)
        delta = tl.load(delta_ptr + row, mask=mask, other=0.0)
        scores = tl.dot(k, tl.trans(q), input_precision="ieee") * scale
        allowed = (key[:, None] <= token[None, :]) & (token[None, :] < end[:, None])
        p = tl.where(allowed, tl.exp2(scores - lse[None, :]), 0.0)
        dv += tl.dot(p.to(dout.dtype), dout, input_precision="ieee")
        dp = tl.dot(v, tl.trans(dout), input_precision="ieee")
        ds = p * (dp - delta[None, :])
        dk += tl.dot(ds.to(q.dtype), q, input_precision="ieee")
    if SPLIT == 1:
        offsets = key[:, None].to(tl.int64) * width + (K_FIRST + group * K_STEP) * D + d[None, :]
        value = V_SHIFT * D
    else:
        offsets = ((split * tokens + key[:, None]).to(tl.int64) * KEYS + group) * 2 * D + d[None, :]
        value = D
    kind = out_ptr.dtype.element_ty
    tl.store(out_ptr + offsets, (dk * grad_scale).to(kind), mask=k_mask[:, None])
    tl.store(out_ptr + offsets + value, dv.to(kind), mask=k_mask[:, None])


def _layout(heads: Heads, d: int) -> dict[str, int]:
    """The order of heads as the kernels take it: steps from group to group, and to a value."""
    shape = {"KEYS": heads.keys, "PER_KEY": heads.per_key, "D": d}
    if heads.interleaved:
        step = heads.per_key + 2
        return shape | {"Q_STEP": step, "K_FIRST": heads.per_key, "K_STEP": step, "V_SHIFT": 1}
    return shape | {
        "Q_STEP": heads.per_key, "K_FIRST": heads.queries, "K_STEP": 1, "V_SHIFT": heads.keys,
    }  # fmt: skip


def forward(
    qkv: torch.Tensor, heads: Heads, starts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention output [T, queries, d], and the base-2 log-sum-exp of its rows, [T, queries].

    Args:
        qkv: [T, heads, d], contiguous.
        heads: their order.
        starts: [T] int32, first token of each token's sequence.
    """
    tokens, _, d = qkv.shape
    out = qkv.new_empty(tokens, heads.queries, d)
    lse = torch.empty(tokens, heads.queries, dtype=torch.float32, device=qkv.device)
    _forward_kernel[(triton.cdiv(tokens * heads.per_key, FORWARD.rows), heads.keys)](
        qkv, out, lse, starts, tokens, d**-0.5 * LOG2_E,
        **_layout(heads, d), ROWS=FORWARD.rows, COLUMNS=FORWARD.keys,
        num_warps=FORWARD.warps, num_stages=FORWARD.stages,
    )  # fmt: skip
    return out, lse


def backward(
    grad: torch.Tensor,
    qkv: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    heads: Heads,
    starts: torch.Tensor,
    ends: torch.Tensor,
) -> torch.Tensor:
    """Gradient of qkv, of its shape, from ``grad`` [T, queries, d] of the output.

    Args:
        grad: contiguous.
        qkv: as `forward` got it.
        out: as `forward` gave it.
        lse: likewise.
        heads: their order.
        starts: [T] int32, first token of each token's sequence.
        ends: [T] int32, the token after the last of it.
    """
    tokens, _, d = qkv.shape
    dqkv, delta = torch.empty_like(qkv), torch.empty_like(lse)
    layout, rows = _layout(heads, d), tokens * heads.per_key
    scale, grad_scale = d**-0.5 * LOG2_E, d**-0.5
    _queries_kernel[(triton.cdiv(rows, QUERIES.rows), heads.keys)](
        qkv, out, grad, lse, delta, dqkv, starts, tokens, scale, grad_scale,
        **layout, ROWS=QUERIES.rows, COLUMNS=QUERIES.keys,
        num_warps=QUERIES.warps, num_stages=QUERIES.stages,
    )  # fmt: skip
    blocks = triton.cdiv(tokens, KEYS.keys)
    programs = WAVES * multiprocessors(qkv.device)
    split = max(1, min(16, programs // (blocks * heads.keys), triton.cdiv(rows, KEYS.rows)))
    shape = split, tokens, heads.keys, 2, d
    out_of_keys = dqkv if split == 1 else qkv.new_empty(shape, dtype=torch.float32)
    _keys_kernel[(blocks, split, heads.keys)](
        qkv, grad, lse, delta, out_of_keys, ends, tokens, scale, grad_scale,
        **layout, ROWS=KEYS.rows, COLUMNS=KEYS.keys, SPLIT=split,
        num_warps=KEYS.warps, num_stages=KEYS.stages,
    )  # fmt: skip
    if split == 1:
        return dqkv
    both = sum_parts(out_of_keys[None], qkv.dtype)[0]
    if heads.interleaved:
        dqkv.view(tokens, heads.keys, heads.per_key + 2, d)[:, :, -2:] = both
    else:
        dqkv[:, heads.queries :].view(tokens, 2, heads.keys, d).copy_(both.transpose(1, 2))
    return dqkv
