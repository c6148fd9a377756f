"""A Falcon block: LayerNorm, attention, MLP, adapters and residual, forward and backward.

Falcon runs attention and MLP side by side on the normalised input x:

    y = x + dense(attention(query_key_value(norm(x)))) + dense_4h_to_h(gelu(dense_h_to_4h(norm(x))))

Written by hand, the backward keeps x, the rotated queries, keys and values, the attention's output
and the input of GELU, and recomputes norm and GELU; with ``keep`` False it keeps x alone. Where
the host lends memory, x waits there with the attention's output, or with queries, keys and values
in place of making them again. Weights are dequantised once a pass and dropped. Sums go into the
matrix products' own accumulators.

Where the norm's output is read by two 4-bit layers with adapters, these take part in the layers'
own products: `plugins.fused.projection.Group`, "joined".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch
from torch import nn

from plugins.fused.adapters import AdapterGradients, add_adapters, inner_activation, project
from plugins.fused.attention import Saved, attend, attend_backward
from plugins.fused.backend import Activation, Backend, Heads, NormStatistics
from plugins.fused.block import Batch, bring_back, dropout_seed, send_away
from plugins.fused.products import Product
from plugins.fused.projection import Group, NotFusable, read_group


class Linear(IntEnum):
    """The four projections of a block."""

    QKV = 0
    DENSE = 1
    UP = 2
    DOWN = 3


def heads_of(config: Any) -> Heads:
    """How query_key_value's output lies."""
    if config.new_decoder_architecture:
        groups = config.num_kv_heads
    else:
        groups = 1 if config.multi_query else config.num_attention_heads
    return Heads(groups, config.num_attention_heads // groups, interleaved=True)


@dataclass(frozen=True)
class FalconBlock:
    """One block's frozen layers and adapters, read from its modules.

    Attributes:
        groups: the four projections.
        norms: one that both branches read, or attention's and the MLP's.
        heads: order of query_key_value's output.
        head_dim: width of a head.
        layer_idx: of the block in the model.
        keep: whether activations are kept for the backward, or made again.
    """

    groups: dict[Linear, Group]
    norms: tuple[nn.LayerNorm, ...]
    heads: Heads
    head_dim: int
    layer_idx: int
    keep: bool

    @property
    def joined(self) -> bool:
        """Whether the layers that read the norm take their adapters into their own products."""
        return self.groups[Linear.QKV].joined

    def tensors(self) -> list[torch.Tensor | None]:
        """a and b of each projection, None without adapter."""
        return [t for group in self.groups.values() for t in group.tensors()]

    def seed(self, batch: Batch, which: Linear) -> torch.Tensor:
        """The dropout seed of a projection, different in every block and pass."""
        return dropout_seed(batch, self.layer_idx, which)

    def forward(self, batch: Batch, x: torch.Tensor) -> tuple[torch.Tensor, list[Any]]:
        """The output [T, hidden], and what `_backward` says."""
        backend, dtype = batch.backend, x.dtype
        normed = [out for out, _ in _norms(self, batch, x)]
        branch = _attention(self, batch, *_qkv(self, batch, normed[0]))
        begun: list[Any] = [x, None, None]
        attended: torch.Tensor | int = branch.attended
        if batch.offload is not None:
            # The backward begins with x, so that it goes last.
            if self.keep:
                attended = send_away(batch, branch.attended)
            else:
                begun[1:] = send_away(batch, branch.qkv), branch.u_qkv
            begun[0] = send_away(batch, x)
        up = backend.product(self.groups[Linear.UP], dtype)
        pre, u_up = _mlp_input(self, batch, normed[-1], up)
        del normed, up
        dense, down = self.groups[Linear.DENSE], self.groups[Linear.DOWN]
        u_dense, _ = inner_activation(
            branch.attended, dense, self.seed(batch, Linear.DENSE), backend
        )
        u_down, active = inner_activation(
            pre, down, self.seed(batch, Linear.DOWN), backend, Activation.GELU
        )
        y = add_adapters(x, [(dense, u_dense), (down, u_down)])
        backend.product(dense, dtype).add_(y, branch.attended)
        kept: list[Any] = []
        if self.keep:
            kept = [pre, u_up, branch.qkv, attended, branch.u_qkv, *branch.attention]
        del pre, branch
        backend.product(down, dtype).add_(y, active)
        return y, [u_dense, u_down, *begun, *kept]

    def backward(
        self, batch: Batch, saved: list[Any], dy: torch.Tensor, needs_dx: bool
    ) -> tuple[torch.Tensor | None, list[torch.Tensor | None]]:
        """Gradients of x and of every adapter's a and b."""
        return _backward(self, batch, saved, dy, needs_dx)


def read_block(
    layer: Any, layer_idx: int, keep: bool, training: bool, backend: Backend
) -> FalconBlock:
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
    if not (config.new_decoder_architecture or config.multi_query):
        raise NotFusable("every query head has its own key and value")
    two = config.new_decoder_architecture and config.num_ln_in_parallel_attn == 2
    norms = (layer.ln_attn, layer.ln_mlp) if two else (layer.input_layernorm,)
    if any(p.requires_grad for norm in norms for p in norm.parameters()):
        raise NotFusable("the norms are trained too")
    linears = (attention.query_key_value, attention.dense, mlp.dense_h_to_4h, mlp.dense_4h_to_h)
    groups = {
        which: read_group([linear], training, join=False)
        for which, linear in zip(Linear, linears, strict=True)
    }
    of_norm = [groups[Linear.QKV], groups[Linear.UP]]
    # Both inner activations use the same room, one after the other.
    if not two and of_norm[0].rank == of_norm[1].rank and all(_joins(g, backend) for g in of_norm):
        for which in (Linear.QKV, Linear.UP):
            groups[which] = Group(groups[which].parts, joined=True)
    head_dim = config.hidden_size // config.num_attention_heads
    return FalconBlock(groups, norms, heads_of(config), head_dim, layer_idx, keep)


def _joins(group: Group, backend: Backend) -> bool:
    """Whether the weight is made anew anyway, and its columns come in eights."""
    return bool(group.rank) and group.rank % 8 == 0 and group.parts[0].fills_fast(backend)


def _norms(
    block: FalconBlock, batch: Batch, x: torch.Tensor
) -> list[tuple[torch.Tensor, NormStatistics]]:
    """Each norm's output [T, hidden], with room for an adapter where joined, and its statistics."""
    beside = block.groups[Linear.QKV].rank if block.joined else 0
    return [batch.backend.norm(x, layer, beside) for layer in block.norms]


@dataclass
class _AttentionBranch:
    """What the forward computed on the way to the attention's output."""

    qkv: torch.Tensor
    attended: torch.Tensor
    u_qkv: torch.Tensor | None
    attention: Saved


def _qkv(
    block: FalconBlock, batch: Batch, normed: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """query_key_value's output, rotated, and the inner activation, from the normalised input."""
    backend, group = batch.backend, block.groups[Linear.QKV]
    product = backend.product(group, normed.dtype)
    qkv, u_qkv = project(normed, group, block.seed(batch, Linear.QKV), product, backend)
    heads = qkv.view(qkv.shape[0], -1, block.head_dim)
    backend.rotate_(heads, batch.cos, batch.sin, block.heads, 1.0)
    return qkv, u_qkv


def _attention(
    block: FalconBlock, batch: Batch, qkv: torch.Tensor, u_qkv: torch.Tensor | None
) -> _AttentionBranch:
    """Attention up to its last projection."""
    heads = qkv.view(qkv.shape[0], -1, block.head_dim)
    attended, saved = attend(heads, block.heads, batch.sequences, batch.attention)
    return _AttentionBranch(qkv, attended.flatten(1), u_qkv, saved)


def _mlp_input(
    block: FalconBlock, batch: Batch, normed: torch.Tensor, up: Product
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The input of GELU, [T, ffn], and the adapter's inner activation, from the normalised x."""
    group = block.groups[Linear.UP]
    return project(normed, group, block.seed(batch, Linear.UP), up, batch.backend)


def _backward(
    block: FalconBlock, batch: Batch, saved: list[Any], dy: torch.Tensor, needs_dx: bool
) -> tuple[torch.Tensor | None, list[torch.Tensor | None]]:
    """As `FalconBlock.backward`.

    Saved are the inner activations of DENSE and DOWN; x; of a block that is made again, query, key
    and value with their inner activation where they wait in host memory; and what is kept.
    """
    u_dense, u_down, x, qkv, u_qkv, *kept = saved
    x = bring_back(batch, x, dy.device)
    backend, dtype, hidden = batch.backend, x.dtype, x.shape[1]
    norms = _norms(block, batch, x)
    normed = [out for out, _ in norms]
    us: dict[Linear, torch.Tensor | None] = {Linear.DENSE: u_dense, Linear.DOWN: u_down}
    seeds = {which: block.seed(batch, which) for which in Linear}
    grads = AdapterGradients(block.groups, us, seeds, backend, dtype)
    up = backend.product(block.groups[Linear.UP], dtype)

    # The MLP first, and only then what attention computed: where both are made anew, they never
    # lie in memory together.
    pre, us[Linear.UP] = kept[:2] if block.keep else _mlp_input(block, batch, normed[-1], up)
    grads.from_output(dy, Linear.DENSE, Linear.DOWN)
    dout = backend.gradient(dy)
    dactive = backend.product(block.groups[Linear.DOWN], dtype).backward(dout)
    dpre = grads.from_input(dactive, pre, Linear.DOWN, activation=Activation.GELU)
    del pre
    grads.from_output(dpre, Linear.UP)
    entered = backend.gradient(dpre)
    del dpre, dactive
    dmlp = up.backward(entered)
    del up, entered
    grads.from_product(dmlp, Linear.UP)

    if block.keep:
        qkv, attended, u_qkv, *attention = kept[2:]
        attended = bring_back(batch, attended, dy.device)
        inner = _AttentionBranch(qkv, attended, u_qkv, tuple(attention))
    elif qkv is None:
        inner = _attention(block, batch, *_qkv(block, batch, normed[0]))
    else:
        inner = _attention(block, batch, bring_back(batch, qkv, dy.device), u_qkv)
    us[Linear.QKV] = inner.u_qkv
    dattended = backend.product(block.groups[Linear.DENSE], dtype).backward(dout)
    del dout
    dattended = grads.from_input(dattended, inner.attended, Linear.DENSE)
    heads = inner.qkv.view(inner.qkv.shape[0], -1, block.head_dim)
    out = inner.attended.view(heads.shape[0], -1, block.head_dim)
    dheads = attend_backward(
        dattended.view_as(out), heads, block.heads, out, inner.attention, batch.sequences,
        batch.attention,
    )  # fmt: skip
    del dattended
    backend.rotate_(dheads, batch.cos, batch.sin, block.heads, -1.0)
    dqkv = dheads.view_as(inner.qkv)

    grads.from_output(dqkv, Linear.QKV)
    product, dout = backend.product(block.groups[Linear.QKV], dtype), backend.gradient(dqkv)
    if len(norms) == 1:
        # Beside dmlp are zeros, to which the inner activation's gradient is added.
        dattn = grads.from_product(product.add_backward_(dmlp, dout), Linear.QKV)
        incoming = [grads.from_input(dattn, normed[0][:, :hidden], Linear.QKV, Linear.UP)]
    else:
        incoming = [
            grads.from_input(product.backward(dout), normed[0], Linear.QKV),
            grads.from_input(dmlp, normed[1], Linear.UP),
        ]
    del product, dout

    if not needs_dx:
        return None, grads.in_order()
    dx = dy
    for layer, (_, statistics), grad in zip(block.norms, norms, incoming, strict=True):
        dx = backend.norm_backward(grad, x, layer, statistics, dx)
    return dx, grads.in_order()
