"""A whole Falcon block as one autograd function: LayerNorm, attention, MLP, adapters, residual.

Falcon runs attention and MLP side by side on the normalised input x:

    y = x + dense(attention(query_key_value(norm(x)))) + dense_4h_to_h(gelu(dense_h_to_4h(norm(x))))

Written by hand, the backward keeps x, the rotated queries, keys and values, the attention's output
and the input of GELU, and recomputes norm and GELU; with ``keep`` False it keeps x alone. Weights
are dequantised once a pass and dropped. Sums go into the matrix products' own accumulators.

Where the norm's output is read by two 4-bit layers with adapters ("joined"), an adapter costs no
product of its own there: its inner activation lies to the right of the input, its second weight to
the right of the base weight, and one product takes both, forward and backward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from plugins.fused import backend as ops
from plugins.fused.attention import Saved, attend, attend_backward, heads_per_group
from plugins.fused.packed import Documents
from plugins.fused.projection import NotFusable, Projection, read_projection

QKV, DENSE, UP, DOWN = range(4)


@dataclass(frozen=True)
class Batch:
    """What all blocks of one forward pass share.

    Attributes:
        documents: who may attend to whom.
        cos: [T, d / 2] float32.
        sin: [T, d / 2] float32.
        seed: of this pass's dropout, 32 bits.
        attention: ``shared`` or ``flash`` kernels, or PyTorch's under a ``mask``.
        triton: LoRA and rotary embedding by Triton instead of PyTorch.
    """

    documents: Documents
    cos: torch.Tensor
    sin: torch.Tensor
    seed: int
    attention: str
    triton: bool


@dataclass(frozen=True)
class Block:
    """One block's frozen layers and adapters, read from its modules.

    Attributes:
        projections: by QKV, DENSE, UP, DOWN.
        norms: one that both branches read, or attention's and the MLP's.
        per_group: heads of a group: queries, one key, one value.
        head_dim: width of a head.
        place: of the block in the model.
        keep: whether activations are kept for the backward, or made again.
        joined: whether QKV and UP take their adapters into their own products.
    """

    projections: tuple[Projection, Projection, Projection, Projection]
    norms: tuple[nn.LayerNorm, ...]
    per_group: int
    head_dim: int
    place: int
    keep: bool
    joined: bool

    def weight(self, batch: Batch, which: int, dtype: torch.dtype) -> torch.Tensor:
        """A frozen weight [out, in] at full width; with the adapter's columns where joined."""
        p = self.projections[which]
        if which in (QKV, UP) and self.joined:
            return p.beside_adapter(dtype)
        return p.weight(dtype, batch.triton)

    def seed(self, batch: Batch, which: int) -> int:
        """The dropout seed of projection ``which``, different in every block and pass."""
        return (batch.seed + 0x9E3779B9 * (4 * self.place + which + 1)) & 0x7FFFFFFF


def read_block(layer: Any, place: int, keep: bool, training: bool, triton: bool = False) -> Block:
    """Read a `FalconDecoderLayer`; with ``triton``, for a pass that uses its kernels.

    Raises:
        NotFusable: the layer is not two parallel branches without bias and dropout.
    """
    config = layer.config
    if not (config.parallel_attn or config.new_decoder_architecture):
        raise NotFusable("attention and MLP follow one another")
    if config.activation != "gelu":
        raise NotFusable(f"the activation is {config.activation}")
    if config.alibi:
        raise NotFusable("positions are alibi")
    if training and (config.hidden_dropout or config.attention_dropout):
        raise NotFusable("the model has dropout of its own")
    attention, mlp = layer.self_attention, layer.mlp
    if not (config.new_decoder_architecture or config.multi_query):
        raise NotFusable("every query head has its own key and value")
    per_group = heads_per_group(config)
    two = config.new_decoder_architecture and config.num_ln_in_parallel_attn == 2
    norms = (layer.ln_attn, layer.ln_mlp) if two else (layer.input_layernorm,)
    if any(p.requires_grad for norm in norms for p in norm.parameters()):
        raise NotFusable("the norms are trained too")
    linears = (attention.query_key_value, attention.dense, mlp.dense_h_to_4h, mlp.dense_4h_to_h)
    q, d, u, w = (read_projection(linear, training) for linear in linears)
    head_dim = config.hidden_size // config.num_attention_heads
    joined = triton and not two and q.rank == u.rank and q.joins() and u.joins()
    return Block((q, d, u, w), norms, per_group, head_dim, place, keep, joined)


def run_block(block: Block, batch: Batch, x: torch.Tensor) -> torch.Tensor:
    """The block's output [T, hidden] for x [T, hidden], differentiable in x and the adapters."""
    adapters = [t for projection in block.projections for t in (projection.a, projection.b)]
    return _FusedBlock.apply(block, batch, x, *adapters)


def _norms(
    block: Block, batch: Batch, x: torch.Tensor
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Each norm's output [T, hidden], with room for an adapter where joined, and its statistics."""
    beside = block.projections[QKV].rank if block.joined else 0
    return [ops.norm(x, layer, beside, batch.triton) for layer in block.norms]


def _lora_down(
    x: torch.Tensor, block: Block, batch: Batch, which: int, active: torch.Tensor | None = None
) -> torch.Tensor | None:
    """An adapter's inner activation [T, r], scaled; ``active``, if given, becomes GELU of x."""
    p = block.projections[which]
    if p.a is None or p.b is None:
        if active is not None:
            active.copy_(F.gelu(x))
        return None
    seed = block.seed(batch, which)
    return ops.lora_down(x, p.a.to(x.dtype), p.scale, p.dropout, seed, batch.triton, active)


def _project(
    x: torch.Tensor, block: Block, batch: Batch, which: int, weight: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A projection with its adapter, [T, out], and the adapter's inner activation [T, r].

    The adapter's part comes first: the large product then adds to it in its accumulators. Where
    joined, x has room for the inner activation, which takes part in the large product.
    """
    p = block.projections[which]
    weight = block.weight(batch, which, x.dtype) if weight is None else weight
    if block.joined:
        width = x.shape[1] - p.rank
        u = _lora_down(x[:, :width], block, batch, which)
        assert u is not None
        x[:, width:] = u
        return x @ weight.T, u
    u = _lora_down(x, block, batch, which)
    if u is None or p.b is None:
        return x @ weight.T, u
    return (u @ p.b.to(x.dtype).T).addmm_(x, weight.T), u


def _residual(
    x: torch.Tensor, adapted: list[tuple[Projection, torch.Tensor | None]]
) -> torch.Tensor:
    """A copy of x plus the output of the adapters whose inner activations are given."""
    pairs = [(u, p.b.to(x.dtype)) for p, u in adapted if u is not None and p.b is not None]
    if not pairs:
        return x.clone()
    us, bs = zip(*pairs, strict=True)
    return torch.addmm(x, _side_by_side(us), _side_by_side(bs).T)


def _side_by_side(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Matrices of as many rows as one; itself where it is alone."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), 1)


@dataclass
class _Activations:
    """What the forward computed on the way to the block's output."""

    qkv: torch.Tensor
    attended: torch.Tensor
    attention: Saved
    pre: torch.Tensor
    u_qkv: torch.Tensor | None
    u_up: torch.Tensor | None


def _inner(
    block: Block,
    batch: Batch,
    normed: list[torch.Tensor],
    w_up: torch.Tensor | None = None,
) -> _Activations:
    """Both branches up to their last projection, from the normalised input."""
    qkv, u_qkv = _project(normed[0], block, batch, QKV)
    heads = qkv.view(qkv.shape[0], -1, block.head_dim)
    ops.rotate_(heads, batch.cos, batch.sin, block.per_group, 1.0, batch.triton)
    attended, saved = attend(heads, block.per_group, batch.documents, batch.attention)
    pre, u_up = _project(normed[-1], block, batch, UP, w_up)
    return _Activations(qkv, attended.flatten(1), saved, pre, u_qkv, u_up)


class _FusedBlock(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, block: Block, batch: Batch, x: torch.Tensor, *adapters: torch.Tensor | None
    ) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            normed = [norm[0] for norm in _norms(block, batch, x)]
            inner = _inner(block, batch, normed)
            del normed
            dense, down = block.projections[DENSE], block.projections[DOWN]
            u_dense = _lora_down(inner.attended, block, batch, DENSE)
            active = torch.empty_like(inner.pre)
            u_down = _lora_down(inner.pre, block, batch, DOWN, active)
            y = _residual(x, [(dense, u_dense), (down, u_down)])
            y.addmm_(inner.attended, block.weight(batch, DENSE, x.dtype).T)
            y.addmm_(active, block.weight(batch, DOWN, x.dtype).T)
        ctx.block, ctx.batch = block, batch
        small = (u_dense, u_down)
        if block.keep:
            kept = (inner.qkv, inner.attended, inner.pre, inner.u_qkv, inner.u_up)
            ctx.save_for_backward(x, *small, *kept, *inner.attention)
        else:
            ctx.save_for_backward(x, *small)
        return y

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        with torch.autocast(dy.device.type, enabled=False):
            return (None, None, *_backward(ctx, dy.contiguous()))


def _backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    """Gradients of x and of every adapter's a and b."""
    block: Block = ctx.block
    batch: Batch = ctx.batch
    x, u_dense, u_down, *kept = ctx.saved_tensors
    dtype, hidden = x.dtype, x.shape[1]
    norms = _norms(block, batch, x)
    normed = [norm[0] for norm in norms]
    w_up = block.weight(batch, UP, dtype)
    if block.keep:
        qkv, attended, pre, u_qkv, u_up, *attention = kept
        inner = _Activations(qkv, attended, tuple(attention), pre, u_qkv, u_up)
    else:
        inner = _inner(block, batch, normed, w_up=w_up)
    us = {QKV: inner.u_qkv, DENSE: u_dense, UP: inner.u_up, DOWN: u_down}
    grads: list[torch.Tensor | None] = [None] * 8
    dus: dict[int, torch.Tensor] = {}

    def of_outputs(dout: torch.Tensor, *which: int, through: bool = True) -> None:
        """Gradients of b, and ``through`` it of the inner activation, of adapters of one output."""
        found = [(i, block.projections[i], u) for i in which if (u := us[i]) is not None]
        if not found:
            return
        ranks = [p.rank for _, p, _ in found]
        of_b = (dout.T @ _side_by_side([u for _, _, u in found])).split(ranks, 1)
        b = _side_by_side([p.b.to(dtype) for _, p, _ in found if p.b is not None])
        of_u = (dout @ b).split(ranks, 1) if through else ()
        for place, (i, p, _) in enumerate(found):
            grads[2 * i + 1] = of_b[place].to(p.dtype)
            if through:
                dus[i] = of_u[place] * p.scale

    def of_inputs(dx: torch.Tensor, entered: torch.Tensor, *which: int, gelu: bool = False) -> None:
        """Gradients of a of adapters that read ``entered``; their part goes into dx, then GELU."""
        found = [(i, block.projections[i]) for i in which if i in dus]
        if not found:
            if gelu:
                dx.copy_(torch.ops.aten.gelu_backward(dx, entered))
            return
        alike = len({(p.rank, p.dropout) for _, p in found}) == 1
        for group in [found] if alike else [[one] for one in found]:
            adapters = [
                ops.Adapted(dus[i], p.a.to(dtype), block.seed(batch, i))
                for i, p in group
                if p.a is not None
            ]
            dropout = group[0][1].dropout
            of_a = ops.lora_backward_(dx, entered, adapters, dropout, gelu, batch.triton)
            for (i, p), grad in zip(group, of_a, strict=True):
                grads[2 * i] = grad.to(p.dtype)

    def take(dx: torch.Tensor, which: int) -> None:
        """The gradient of an inner activation from beside that of its input; leave zeros there."""
        beside = dx[:, hidden:]
        dus[which] = beside * block.projections[which].scale
        beside.zero_()

    of_outputs(dy, DENSE, DOWN)
    dpre = dy @ block.weight(batch, DOWN, dtype)
    of_inputs(dpre, inner.pre, DOWN, gelu=True)

    of_outputs(dpre, UP, through=not block.joined)
    dmlp = dpre @ w_up
    del w_up, dpre
    if block.joined:
        take(dmlp, UP)

    dattended = dy @ block.weight(batch, DENSE, dtype)
    of_inputs(dattended, inner.attended, DENSE)
    heads = inner.qkv.view(inner.qkv.shape[0], -1, block.head_dim)
    out = inner.attended.view(heads.shape[0], -1, block.head_dim)
    dheads = attend_backward(
        dattended.view_as(out), heads, block.per_group, out, inner.attention, batch.documents,
        batch.attention,
    )  # fmt: skip
    del dattended
    ops.rotate_(dheads, batch.cos, batch.sin, block.per_group, -1.0, batch.triton)
    dqkv = dheads.view_as(inner.qkv)

    of_outputs(dqkv, QKV, through=not block.joined)
    w_qkv = block.weight(batch, QKV, dtype)
    if len(norms) == 1:
        dattn = dmlp.addmm_(dqkv, w_qkv)
        if block.joined:
            take(dattn, QKV)
        incoming = [dattn[:, :hidden]]
        of_inputs(incoming[0], normed[0][:, :hidden], QKV, UP)
    else:
        incoming = [dqkv @ w_qkv, dmlp]
        of_inputs(incoming[0], normed[0], QKV)
        of_inputs(incoming[1], normed[1], UP)
    del w_qkv

    if not ctx.needs_input_grad[2]:
        return (None, *grads)
    dx = dy
    for layer, (_, mean, rstd), grad in zip(block.norms, norms, incoming, strict=True):
        dx = ops.norm_backward(grad, x, mean, rstd, layer.weight, dx, batch.triton)
    return (dx, *grads)
