"""A whole Falcon block as one autograd function: LayerNorm, attention, MLP, adapters, residual.

Falcon runs attention and MLP side by side on the normalised input x:

    y = x + dense(attention(query_key_value(norm(x)))) + dense_4h_to_h(gelu(dense_h_to_4h(norm(x))))

Written by hand, the backward keeps x, the rotated queries, keys and values, the attention's output
and the input of GELU, and recomputes norm and GELU; with ``keep`` False it keeps x alone. Weights
are dequantised once a pass and dropped. Sums go into the matrix products' own accumulators.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from plugins.falcon import operations as ops
from plugins.falcon.attention import Saved, attend, attend_backward
from plugins.falcon.documents import Documents
from plugins.falcon.projection import NotFusable, Projection, read_projection

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
    """One block's frozen layers and adapters, read from its modules."""

    projections: tuple[Projection, Projection, Projection, Projection]
    norms: tuple[nn.LayerNorm, ...]
    per_group: int
    head_dim: int
    place: int
    keep: bool

    def seed(self, batch: Batch, which: int) -> int:
        """The dropout seed of projection ``which``, different in every block and pass."""
        return (batch.seed + 0x9E3779B9 * (4 * self.place + which + 1)) & 0x7FFFFFFF


def read_block(layer: Any, place: int, keep: bool, training: bool) -> Block:
    """Read a `FalconDecoderLayer`.

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
    if config.new_decoder_architecture:
        groups = config.num_kv_heads
    elif config.multi_query:
        groups = 1
    else:
        raise NotFusable("every query head has its own key and value")
    two = config.new_decoder_architecture and config.num_ln_in_parallel_attn == 2
    norms = (layer.ln_attn, layer.ln_mlp) if two else (layer.input_layernorm,)
    if any(p.requires_grad for norm in norms for p in norm.parameters()):
        raise NotFusable("the norms are trained too")
    linears = (attention.query_key_value, attention.dense, mlp.dense_h_to_4h, mlp.dense_4h_to_h)
    q, d, u, w = (read_projection(linear, training) for linear in linears)
    head_dim = config.hidden_size // config.num_attention_heads
    per_group = config.num_attention_heads // groups + 2
    return Block((q, d, u, w), norms, per_group, head_dim, place, keep)


def run_block(block: Block, batch: Batch, x: torch.Tensor) -> torch.Tensor:
    """The block's output [T, hidden] for x [T, hidden], differentiable in x and the adapters."""
    adapters = [t for projection in block.projections for t in (projection.a, projection.b)]
    return _FusedBlock.apply(block, batch, x, *adapters)


def _norm(norm: nn.LayerNorm, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    weight, bias = norm.weight.to(x.dtype), norm.bias.to(x.dtype)
    return torch.native_layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)


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

    The adapter's part comes first: the large product then adds to it in its accumulators.
    """
    p = block.projections[which]
    u = _lora_down(x, block, batch, which)
    weight = p.weight(x.dtype) if weight is None else weight
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
    return torch.addmm(x, torch.cat(us, 1), torch.cat(bs, 1).T)


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
            normed = [_norm(norm, x)[0] for norm in block.norms]
            inner = _inner(block, batch, normed)
            del normed
            dense, down = block.projections[DENSE], block.projections[DOWN]
            u_dense = _lora_down(inner.attended, block, batch, DENSE)
            active = torch.empty_like(inner.pre)
            u_down = _lora_down(inner.pre, block, batch, DOWN, active)
            y = _residual(x, [(dense, u_dense), (down, u_down)])
            y.addmm_(inner.attended, dense.weight(x.dtype).T)
            y.addmm_(active, down.weight(x.dtype).T)
        ctx.block, ctx.batch = block, batch
        small = (u_dense, u_down)
        if block.keep:
            kept = (inner.qkv, inner.attended, inner.pre, inner.u_qkv, inner.u_up)
            ctx.save_for_backward(x, *small, *kept, *inner.attention)
        else:
            ctx.save_for_backward(x, *small)
        return y

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        with torch.autocast(dy.device.type, enabled=False):
            return (None, None, *_backward(ctx, dy.contiguous()))


def _backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    """Gradients of x and of every adapter's a and b."""
    block: Block = ctx.block
    batch: Batch = ctx.batch
    x, u_dense, u_down, *kept = ctx.saved_tensors
    dtype = x.dtype
    norms = [_norm(norm, x) for norm in block.norms]
    normed = [norm[0] for norm in norms]
    w_up = block.projections[UP].weight(dtype)
    if block.keep:
        qkv, attended, pre, u_qkv, u_up, *attention = kept
        inner = _Activations(qkv, attended, tuple(attention), pre, u_qkv, u_up)
    else:
        inner = _inner(block, batch, normed, w_up=w_up)
    grads: list[torch.Tensor | None] = [None] * 8

    def lora(which: int, dout: torch.Tensor, u: torch.Tensor | None) -> torch.Tensor | None:
        """Gradient of b; return that of the adapter's inner activation."""
        p = block.projections[which]
        if p.a is None or p.b is None or u is None:
            return None
        grads[2 * which + 1] = (dout.T @ u).to(p.b.dtype)
        return (dout @ p.b.to(dtype)) * p.scale

    def into(
        which: int, dx: torch.Tensor, du: torch.Tensor | None, x: torch.Tensor, gelu: bool = False
    ) -> None:
        """Gradient of a; add the adapter's part to dx, which then goes back through GELU."""
        p = block.projections[which]
        if du is not None and p.a is not None:
            a, seed = p.a.to(dtype), block.seed(batch, which)
            grad_a = ops.lora_backward_(dx, du, a, x, p.dropout, seed, gelu, batch.triton)
            grads[2 * which] = grad_a.to(p.a.dtype)
        elif gelu:
            dx.copy_(torch.ops.aten.gelu_backward(dx, x))

    du = lora(DOWN, dy, u_down)
    dpre = dy @ block.projections[DOWN].weight(dtype)
    into(DOWN, dpre, du, inner.pre, gelu=True)

    dmlp = dpre @ w_up
    del w_up
    into(UP, dmlp, lora(UP, dpre, inner.u_up), normed[-1])
    del dpre

    du = lora(DENSE, dy, u_dense)
    dattended = dy @ block.projections[DENSE].weight(dtype)
    into(DENSE, dattended, du, inner.attended)

    heads = inner.qkv.view(inner.qkv.shape[0], -1, block.head_dim)
    out = inner.attended.view(heads.shape[0], -1, block.head_dim)
    dheads = attend_backward(
        dattended.view_as(out), heads, block.per_group, out, inner.attention, batch.documents,
        batch.attention,
    )  # fmt: skip
    del dattended
    ops.rotate_(dheads, batch.cos, batch.sin, block.per_group, -1.0, batch.triton)
    dqkv = dheads.view_as(inner.qkv)

    w_qkv = block.projections[QKV].weight(dtype)
    shared = len(norms) == 1
    dattn = dmlp.addmm_(dqkv, w_qkv) if shared else dqkv @ w_qkv
    del w_qkv
    into(QKV, dattn, lora(QKV, dqkv, inner.u_qkv), normed[0])

    if not ctx.needs_input_grad[2]:
        return (None, *grads)
    dx = dy
    incoming = [dattn] if shared else [dattn, dmlp]
    for norm, (_, mean, rstd), grad in zip(block.norms, norms, incoming, strict=True):
        dx = ops.norm_backward(grad, x, mean, rstd, norm.weight.to(dtype), dx, batch.triton)
    return (dx, *grads)
