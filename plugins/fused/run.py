"""The blocks of a model one after another, and which of them keep their activations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import nn

from plugins.fused.backend import Backend
from plugins.fused.backends import Choice
from plugins.fused.block import Batch, Block, run_block
from plugins.fused.memory import PassShape, blocks_that_fit
from plugins.fused.packed import PackedSequences
from plugins.fused.projection import state_of


class Architecture(Protocol):
    """What the fused path has to know of a model family's decoder."""

    name: str

    def layers(self, decoder: Any) -> nn.ModuleList:
        """The decoder's blocks."""

    def linears(self, layer: Any) -> tuple[nn.Module, ...]:
        """A block's linear layers, under PEFT or not."""

    def norms(self, layer: Any) -> tuple[nn.Module, ...]:
        """A block's norms."""

    def read_block(
        self, layer: Any, layer_idx: int, keep: bool, training: bool, backend: Backend
    ) -> Block:
        """A block as it stands; raises `NotFusable`."""

    def embed(self, decoder: Any, input_ids: torch.Tensor) -> torch.Tensor:
        """[B, T, hidden] for ids [B, T]."""

    def final_norm(self, decoder: Any, hidden: torch.Tensor) -> torch.Tensor:
        """The last norm of [T, hidden], in its dtype."""

    def bytes_kept(self, decoder: Any, tokens: int) -> tuple[int, int]:
        """Bytes a block keeps beyond its input, and the width of its MLP's input."""


@dataclass
class FusedState:
    """What the fused path keeps on a decoder.

    Attributes:
        choice: which parts run how.
        fitting: how many blocks keep their activations, by the tokens of a batch.
        fused_loss: whether no more than a few tokens' logits are held at once.
        read: blocks as they were last read, by place and way, with the state that they had.
    """

    choice: Choice
    fitting: dict[int, int] = field(default_factory=dict)
    fused_loss: bool = False
    read: dict[tuple[int, bool, bool], tuple[Any, Block]] = field(default_factory=dict)


def pass_shape(architecture: Architecture, decoder: Any, state: FusedState) -> PassShape:
    """What the memory of a pass through ``decoder`` depends on."""
    layers = architecture.layers(decoder)
    _, ffn = architecture.bytes_kept(decoder, 1)
    bases: list[Any] = [
        getattr(linear, "base_layer", linear) for linear in architecture.linears(layers[0])
    ]
    sizes = [base.in_features * base.out_features for base in bases]
    made_anew = any(hasattr(base.weight, "quant_state") for base in bases)
    return PassShape(
        decoder.config.hidden_size, ffn, len(layers), 2 * max(sizes) if made_anew else 0,
        0 if state.fused_loss else decoder.config.vocab_size,
    )  # fmt: skip


def kept_blocks(architecture: Architecture, decoder: Any, state: FusedState, tokens: int) -> int:
    """How many blocks keep their activations for a batch of ``tokens``."""
    blocks = len(architecture.layers(decoder))
    if state.choice.memory != "auto" or not torch.is_grad_enabled():
        return 0 if state.choice.memory == "low" else blocks
    if tokens not in state.fitting:
        per_block, _ = architecture.bytes_kept(decoder, tokens)
        shape = pass_shape(architecture, decoder, state)
        state.fitting[tokens] = blocks_that_fit(decoder, tokens, per_block, shape)
    return state.fitting[tokens]


def embedded(architecture: Architecture, decoder: Any, input_ids: torch.Tensor) -> torch.Tensor:
    """Embeddings [B, T, hidden], without a gradient that nobody trains by.

    Axolotl asks for gradients here for checkpointing's sake. With frozen embeddings that would
    send the backward through the blocks below the lowest adapter.
    """
    embeds = architecture.embed(decoder, input_ids)
    return embeds if embeds.grad_fn is not None else embeds.detach()


def run_blocks(
    architecture: Architecture,
    decoder: Any,
    state: FusedState,
    embeds: torch.Tensor,
    sequences: PackedSequences,
    position_ids: torch.Tensor | None,
) -> torch.Tensor:
    """Hidden states [B, T, hidden] after the last norm, through the fused blocks.

    Args:
        architecture: of the decoder.
        decoder: the transformers model without head.
        state: of the fused path.
        embeds: [B, T, hidden].
        sequences: who may attend to whom.
        position_ids: [B, T] or [1, T]; None counts from 0.

    Raises:
        NotFusable: a block can't be fused.
    """
    batch_size, length, width = embeds.shape
    device = embeds.device
    autocast = torch.is_autocast_enabled(device.type)
    dtype = torch.get_autocast_dtype(device.type) if autocast else embeds.dtype
    if position_ids is None:
        position_ids = torch.arange(length, device=device)[None]
    like = torch.empty(0, dtype=torch.float32, device=device)
    cos, sin = (
        table[..., : table.shape[-1] // 2].expand(batch_size, -1, -1).flatten(0, 1).contiguous()
        for table in decoder.rotary_emb(like, position_ids.to(device))
    )
    training, choice = decoder.training, state.choice
    seed = _pass_seed() if training else 0
    batch = Batch(sequences, cos, sin, seed, choice.attention, choice.backend())
    hidden = embeds.to(dtype).reshape(-1, width)
    layers = architecture.layers(decoder)
    # The last blocks keep theirs: the backward needs them first, and has let go of them by the
    # time that it makes those of the first blocks anew.
    made_anew = len(layers) - kept_blocks(architecture, decoder, state, batch_size * length)
    for layer_idx, layer in enumerate(layers):
        # Read one by one, so that the GPU works on the first while the others are read.
        keep = layer_idx >= made_anew
        block = _read(architecture, state, layer, layer_idx, keep, training, batch.backend)
        hidden = run_block(block, batch, hidden)
    with torch.autocast(device.type, enabled=False):
        hidden = architecture.final_norm(decoder, hidden)
    return hidden.view(batch_size, length, width)


def _read(
    architecture: Architecture,
    state: FusedState,
    layer: Any,
    layer_idx: int,
    keep: bool,
    training: bool,
    backend: Backend,
) -> Block:
    """A block as it stands: read anew only where something has changed since the last pass."""
    key = layer_idx, keep, training
    now = (
        type(backend),
        *(state_of(linear) for linear in architecture.linears(layer)),
        *(p.requires_grad for norm in architecture.norms(layer) for p in norm.parameters()),
    )
    before = state.read.get(key)
    if before is None or before[0] != now:
        block = architecture.read_block(layer, layer_idx, keep, training, backend)
        state.read[key] = before = (now, block)
    return before[1]


def _pass_seed() -> int:
    """Of a pass's dropout: from torch's generator, another on every rank."""
    rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
    return (int(torch.randint(2**31, (1,)).item()) + 0x9E3779B1 * rank) & 0x7FFFFFFF
