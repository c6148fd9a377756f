"""A Llama block: RMSNorm, attention, SwiGLU, adapters and residuals, forward and backward.

Llama, Mistral, Qwen2 (bias on q, k, v), Qwen3 (norms on q and k) run attention and MLP in turn:

    h = x + o(attention(q(n), k(n), v(n)))           n = input_layernorm(x)
    y = h + down(silu(gate(m)) * up(m))              m = post_attention_layernorm(h)

q, k and v read one input, as do gate and up: their weights are dequantised into one matrix each,
and their adapters take part in its product (`plugins.fused.projection.Group`). The adapters of one
input share a dropout mask, where PEFT draws one for each: for every adapter by itself the same
distribution. Written by hand, the backward keeps x, h, the rotated queries, keys and values, the
attention's output, and gate and up; with ``keep`` False it keeps x alone. Where the host lends
memory, x and h wait there; with them the attention's output of a block that keeps, and of one that
doesn't queries, keys and values as far as the bus carries them.
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
from plugins.fused.projection import Group, NotFusable, read_group
from plugins.llama.head_norm import HeadNorms, RawHeads

_NORMS = ("LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm")


class Linears(IntEnum):
    """The products of a block: each of the projections that read one input."""

    QKV = 0
    OUT = 1
    GATE_UP = 2
    DOWN = 3


@dataclass(frozen=True)
class LlamaBlock:
    """One block's frozen layers and adapters, read from its modules.

    Attributes:
        groups: the four products.
        norms: before attention, before the MLP.
        head_norms: of queries and keys, or None.
        heads: queries, then keys, then values.
        head_dim: width of a head.
        layer_idx: of the block in the model.
        keep: whether activations are kept for the backward, or made again.
    """

    groups: dict[Linears, Group]
    norms: tuple[nn.Module, nn.Module]
    head_norms: HeadNorms | None
    heads: Heads
    head_dim: int
    layer_idx: int
    keep: bool

    def tensors(self) -> list[torch.Tensor | None]:
        """a and b of each projection, None without adapter."""
        return [t for group in self.groups.values() for t in group.tensors()]

    def seed(self, batch: Batch, which: Linears) -> torch.Tensor:
        """The dropout seed of a product, different in every block and pass."""
        return dropout_seed(batch, self.layer_idx, which)

    def forward(self, batch: Batch, x: torch.Tensor) -> tuple[torch.Tensor, list[Any]]:
        """The output [T, hidden], and what `_backward` says."""
        backend, down = batch.backend, self.groups[Linears.DOWN]
        away = batch.offload is not None
        begun: list[Any] = [send_away(batch, x), None, None, None]
        branch = _attention(self, batch, *_qkv(self, batch, x))
        kept: list[Any] = []
        if self.keep:
            attended = send_away(batch, branch.attended)
            kept = [branch.qkv, attended, branch.u_qkv, *branch.raw, *branch.attention]
        elif away and self._sends_qkv():
            begun[1:3] = send_away(batch, branch.qkv), branch.u_qkv
        h, u_out = _after_attention(self, batch, x, branch.attended)
        del branch
        if self.keep or away:
            begun[3] = send_away(batch, h)
        pre, u_gate_up = _mlp_input(self, batch, h)
        if self.keep:
            kept = [pre, u_gate_up, *kept]
        u_down, active = inner_activation(
            pre, down, self.seed(batch, Linears.DOWN), backend, Activation.SWIGLU
        )
        del pre
        y = _add_product(h, active, down, u_down, backend)
        return y, [u_out, u_down, *begun, *kept]

    def _sends_qkv(self) -> bool:
        """Whether queries, keys and values go to host memory too, in place of being made again.

        With x and h an H200's bus carries them in the time of a forward where keys are few, and
        every second block's where each query has its own. Norms of heads want them unrotated.
        """
        return self.head_norms is None and (self.heads.per_key > 1 or self.layer_idx % 2 == 0)

    def backward(
        self, batch: Batch, saved: list[Any], dy: torch.Tensor, needs_dx: bool
    ) -> tuple[torch.Tensor | None, list[torch.Tensor | None]]:
        """Gradients of x and of every adapter's a and b."""
        return _backward(self, batch, saved, dy, needs_dx)


def read_block(
    layer: Any, layer_idx: int, keep: bool, training: bool, backend: Backend
) -> LlamaBlock:
    """Read a decoder layer of Llama, Mistral, Qwen2 or Qwen3.

    Raises:
        NotFusable: it has parts that a Llama has not.
    """
    attention, mlp = layer.self_attn, layer.mlp
    config = attention.config
    if config.hidden_act != "silu":
        raise NotFusable(f"the activation is {config.hidden_act}")
    if training and config.attention_dropout:
        raise NotFusable("the model has dropout of its own")
    norms = (layer.input_layernorm, layer.post_attention_layernorm)
    head_norms = HeadNorms.of(attention)
    for norm in (*norms, *(head_norms or ())):
        if type(norm).__name__ not in _NORMS:
            raise NotFusable(f"a norm is a {type(norm).__name__}")
        if any(p.requires_grad for p in norm.parameters()):
            raise NotFusable("the norms are trained too")
    if attention.scaling != attention.head_dim**-0.5:
        raise NotFusable("attention has a scale of its own")
    linears = {
        Linears.QKV: (attention.q_proj, attention.k_proj, attention.v_proj),
        Linears.OUT: (attention.o_proj,),
        Linears.GATE_UP: (mlp.gate_proj, mlp.up_proj),
        Linears.DOWN: (mlp.down_proj,),
    }
    groups = {
        which: read_group(layers, training, join=len(layers) > 1, biased=True)
        for which, layers in linears.items()
    }
    keys = config.num_key_value_heads
    heads = Heads(keys, config.num_attention_heads // keys, interleaved=False)
    return LlamaBlock(groups, norms, head_norms, heads, attention.head_dim, layer_idx, keep)


def _norm(
    block: LlamaBlock, batch: Batch, x: torch.Tensor, which: Linears
) -> tuple[torch.Tensor, NormStatistics]:
    """The norm before a product, [T, hidden], with room for adapters where joined."""
    group = block.groups[which]
    layer = block.norms[0 if which is Linears.QKV else 1]
    return batch.backend.norm(x, layer, group.rank if group.joined else 0)


def _add_product(
    x: torch.Tensor, entered: torch.Tensor, group: Group, u: torch.Tensor | None, backend: Backend
) -> torch.Tensor:
    """x plus a group's output for ``entered`` [T, in], in a new tensor [T, hidden]."""
    y = add_adapters(x, [(group, u)])
    backend.product(group, x.dtype).add_(y, entered)
    bias = group.bias(x.dtype)
    return y if bias is None else y.add_(bias)


@dataclass
class _Attention:
    """What the forward computed on the way to the attention's output."""

    qkv: torch.Tensor
    attended: torch.Tensor
    u_qkv: torch.Tensor | None
    raw: RawHeads
    attention: Saved


def _qkv(
    block: LlamaBlock, batch: Batch, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None, RawHeads]:
    """Queries, keys and values, rotated; the inner activation; what norms of heads need."""
    backend, group = batch.backend, block.groups[Linears.QKV]
    normed, _ = _norm(block, batch, x, Linears.QKV)
    product = backend.product(group, x.dtype)
    qkv, u_qkv = project(normed, group, block.seed(batch, Linears.QKV), product, backend)
    del product
    heads = qkv.view(qkv.shape[0], -1, block.head_dim)
    raw = block.head_norms.apply_(heads, block.heads, backend) if block.head_norms else ()
    backend.rotate_(heads, batch.cos, batch.sin, block.heads, 1.0)
    return qkv, u_qkv, raw


def _attention(
    block: LlamaBlock,
    batch: Batch,
    qkv: torch.Tensor,
    u_qkv: torch.Tensor | None,
    raw: RawHeads = (),
) -> _Attention:
    """Attention up to its last projection."""
    heads = qkv.view(qkv.shape[0], -1, block.head_dim)
    out, attention = attend(heads, block.heads, batch.sequences, batch.attention)
    return _Attention(qkv, out.flatten(1), u_qkv, raw, attention)


def _after_attention(
    block: LlamaBlock, batch: Batch, x: torch.Tensor, attended: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """h [T, hidden], and the inner activation of OUT."""
    group = block.groups[Linears.OUT]
    u, _ = inner_activation(attended, group, block.seed(batch, Linears.OUT), batch.backend)
    return _add_product(x, attended, group, u, batch.backend), u


def _mlp_input(
    block: LlamaBlock, batch: Batch, h: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Gate and up, [T, 2 * ffn], and the inner activation."""
    group, seed = block.groups[Linears.GATE_UP], block.seed(batch, Linears.GATE_UP)
    normed, _ = _norm(block, batch, h, Linears.GATE_UP)
    product = batch.backend.product(group, h.dtype)
    return project(normed, group, seed, product, batch.backend)


def _backward(
    block: LlamaBlock, batch: Batch, saved: list[Any], dy: torch.Tensor, needs_dx: bool
) -> tuple[torch.Tensor | None, list[torch.Tensor | None]]:
    """As `LlamaBlock.backward`.

    Saved are the inner activations of OUT and DOWN; x; of a block that is made again, where they
    wait in host memory, queries, keys and values with their inner activation, and h, so that the
    MLP's part is over before attention is made again; and what is kept.
    """
    u_out, u_down, x, qkv, u_qkv, h, *kept = saved
    backend, dtype, hidden = batch.backend, dy.dtype, dy.shape[1]
    inner: _Attention | None = None
    if h is None:
        inner = _attention(block, batch, *_qkv(block, batch, x))
        h, _ = _after_attention(block, batch, x, inner.attended)
    h = bring_back(batch, h, dy.device)
    if block.keep:
        pre, u_gate_up, *kept = kept
    else:
        pre, u_gate_up = _mlp_input(block, batch, h)
    us: dict[Linears, torch.Tensor | None] = {
        Linears.OUT: u_out, Linears.GATE_UP: u_gate_up, Linears.DOWN: u_down,
    }  # fmt: skip
    seeds = {which: block.seed(batch, which) for which in Linears}
    grads = AdapterGradients(block.groups, us, seeds, backend, dtype)

    grads.from_output(dy, Linears.DOWN)
    product = backend.product(block.groups[Linears.DOWN], dtype)
    dactive = product.backward(backend.gradient(dy))
    del product
    # Into the memory of gate and up, which a second backward must not find.
    torch.autograd.graph.increment_version(pre)
    dpre = grads.from_input(dactive, pre, Linears.DOWN, activation=Activation.SWIGLU)
    del dactive, pre
    dh = _through_norm(block, batch, grads, Linears.GATE_UP, dpre, h, dy)
    del dpre, h

    if block.keep:
        qkv, attended, u_qkv, *rest = kept
        raw, attention = HeadNorms.part(block.head_norms, rest)
        attended = bring_back(batch, attended, dy.device)
        inner = _Attention(qkv, attended, u_qkv, raw, tuple(attention))
    elif qkv is not None:
        inner = _attention(block, batch, bring_back(batch, qkv, dy.device), u_qkv)
    elif inner is None:
        x = bring_back(batch, x, dy.device)
        inner = _attention(block, batch, *_qkv(block, batch, x))
    us[Linears.QKV] = inner.u_qkv

    grads.from_output(dh, Linears.OUT)
    product = backend.product(block.groups[Linears.OUT], dtype)
    dattended = product.backward(backend.gradient(dh))
    del product
    dattended = grads.from_input(dattended, inner.attended, Linears.OUT)
    heads = inner.qkv.view(dy.shape[0], -1, block.head_dim)
    out = inner.attended.view(dy.shape[0], -1, block.head_dim)
    dheads = attend_backward(
        dattended.view_as(out), heads, block.heads, out, inner.attention, batch.sequences,
        batch.attention,
    )  # fmt: skip
    del dattended, heads, out
    backend.rotate_(dheads, batch.cos, batch.sin, block.heads, -1.0)
    if block.head_norms:
        dheads = block.head_norms.backward(dheads, inner.raw, block.heads, backend)
    dqkv = dheads.view(dy.shape[0], -1)
    del inner
    x = bring_back(batch, x, dy.device)
    if not needs_dx and not block.groups[Linears.QKV].rank:
        return None, grads.in_order()
    dx = _through_norm(block, batch, grads, Linears.QKV, dqkv, x, dh)
    assert dx.shape[1] == hidden
    return (dx if needs_dx else None), grads.in_order()


def _through_norm(
    block: LlamaBlock,
    batch: Batch,
    grads: AdapterGradients[Linears],
    which: Linears,
    dout: torch.Tensor,
    x: torch.Tensor,
    added: torch.Tensor,
) -> torch.Tensor:
    """``added`` plus the gradient of x [T, hidden] through a norm and the product after it.

    Args:
        block: whose.
        batch: of this pass.
        grads: of the adapters, filled.
        which: product.
        dout: [T, out], its output's gradient.
        x: [T, hidden], the norm's input.
        added: [T, hidden].
    """
    group = block.groups[which]
    grads.from_output(dout, which)
    product = batch.backend.product(group, x.dtype)
    dnormed = grads.from_product(product.backward(batch.backend.gradient(dout)), which)
    del product
    normed, statistics = _norm(block, batch, x, which)
    dnormed = grads.from_input(dnormed, normed[:, : x.shape[1]], which)
    layer = block.norms[0 if which is Linears.QKV else 1]
    return batch.backend.norm_backward(dnormed, x, layer, statistics, added)
