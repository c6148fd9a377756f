"""The blocks of a model one after another, and which of them keep their activations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import nn

from plugins.fused.backend import Backend
from plugins.fused.backends import Choice
from plugins.fused.block import Batch, Block, dropout_seeds, run_block
from plugins.fused.graph import LARGEST, Graphs
from plugins.fused.memory import (
    Kept,
    PassShape,
    blocks_that_fit,
    bytes_of_low_memory_pass,
    free_bytes,
)
from plugins.fused.offload import HostMemory, Offload
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

    def bytes_kept(self, decoder: Any, tokens: int) -> Kept:
        """Bytes a block keeps for the backward."""

    def ffn(self, decoder: Any) -> int:
        """Width of the MLP's input."""


@dataclass(frozen=True)
class Keeping:
    """What is kept for the backward, and where.

    Attributes:
        blocks: how many keep their activations, counted from the last.
        offload: whether some of what blocks need waits in host memory.
    """

    blocks: int
    offload: bool


@dataclass
class FusedState:
    """What the fused path keeps on a decoder.

    Attributes:
        choice: which parts run how.
        fitting: what is kept, by the tokens of a batch.
        fused_loss: whether no more than a few tokens' logits are held at once.
        graphs: passes recorded as CUDA graphs.
        read: blocks as they were last read, by place and way, with the state that they had. A
            reference's pass, without gradients, has its own beside the policy's.
        host: memory of the host, in which tensors of a pass wait.
    """

    choice: Choice
    fitting: dict[int, Keeping] = field(default_factory=dict)
    fused_loss: bool = False
    graphs: Graphs = field(default_factory=Graphs)
    read: dict[tuple[int, bool, bool, bool], tuple[Any, Block]] = field(default_factory=dict)
    host: HostMemory = field(default_factory=HostMemory)


def pass_shape(
    architecture: Architecture, decoder: Any, state: FusedState, offload: bool | None = None
) -> PassShape:
    """What the memory of a pass through ``decoder`` depends on.

    Args:
        architecture: of the decoder.
        decoder: the transformers model without head.
        state: of the fused path.
        offload: whether host memory is used; None: where the choice says that it may.
    """
    layers = architecture.layers(decoder)
    offload = state.choice.offload if offload is None else offload
    bases: list[Any] = [
        getattr(linear, "base_layer", linear) for linear in architecture.linears(layers[0])
    ]
    sizes = [base.in_features * base.out_features for base in bases]
    made_anew = any(hasattr(base.weight, "quant_state") for base in bases)
    return PassShape(
        decoder.config.hidden_size, architecture.ffn(decoder), len(layers),
        2 * max(sizes) if made_anew else 0,
        0 if state.fused_loss else decoder.config.vocab_size, offload,
    )  # fmt: skip


def keeping(architecture: Architecture, decoder: Any, state: FusedState, tokens: int) -> Keeping:
    """What a pass over ``tokens`` keeps: all on the card where that fits, else what fits there
    while the host's memory holds its part."""
    blocks, choice = len(architecture.layers(decoder)), state.choice
    if not torch.is_grad_enabled():
        return Keeping(0 if choice.memory == "low" else blocks, False)
    if choice.memory != "auto":
        return Keeping(0 if choice.memory == "low" else blocks, choice.offload)
    if tokens not in state.fitting:
        free, kept = _free_bytes(decoder, state), architecture.bytes_kept(decoder, tokens)
        for offload in (False, True) if choice.offload else (False,):
            shape = pass_shape(architecture, decoder, state, offload)
            per_block = kept.beside if offload else kept.here
            fit = blocks_that_fit(decoder, tokens, per_block, shape, free)
            state.fitting[tokens] = Keeping(fit, offload)
            if fit == blocks:
                break
    return state.fitting[tokens]


def _free_bytes(decoder: Any, state: FusedState) -> int:
    """Free on the card for a pass that isn't recorded."""
    return free_bytes(next(decoder.parameters()).device) - state.graphs.bytes


def _room_to_record(
    architecture: Architecture, decoder: Any, state: FusedState, tokens: int, keeps: Keeping
) -> bool:
    """Whether a recording of a pass, and another pass that isn't recorded, fit the card."""
    kept = architecture.bytes_kept(decoder, tokens)
    shape = pass_shape(architecture, decoder, state, keeps.offload)
    per_block = kept.beside if keeps.offload else kept.here
    taken = bytes_of_low_memory_pass(decoder, tokens, shape) + keeps.blocks * per_block
    return 2 * taken <= _free_bytes(decoder, state)


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
    layers = architecture.layers(decoder)
    seeds = dropout_seeds(_pass_seed() if training else 0, len(layers), device)
    tokens = batch_size * length
    keeps = keeping(architecture, decoder, state, tokens)
    kept = keeps.blocks
    offload = Offload(state.host) if keeps.offload else None
    batch = Batch(sequences, cos, sin, seeds, choice.attention, choice.backend(), offload)
    hidden = embeds.to(dtype).reshape(-1, width)
    # The last blocks keep theirs: the backward needs them first, and has let go of them by the
    # time that it makes those of the first blocks anew.
    if choice.gathered:
        for layer_idx, layer in enumerate(layers):
            keep = layer_idx >= len(layers) - kept
            hidden = layer(hidden, run_fused=partial(
                _run_here, architecture, state, batch, layer_idx, keep, training
            ))  # fmt: skip
        if offload is not None:
            offload.finish()
        return _normed(architecture, decoder, hidden).view(batch_size, length, width)
    blocks = [
        _read(architecture, state, layer, layer_idx, layer_idx >= len(layers) - kept, training,
              batch.backend)
        for layer_idx, layer in enumerate(layers)
    ]  # fmt: skip
    roomy = kept == len(layers) and not keeps.offload
    recorded = choice.cuda_graphs and tokens <= (LARGEST if roomy else LARGEST // 2)
    room = partial(_room_to_record, architecture, decoder, state, tokens, keeps)
    hidden = _run(blocks, batch, hidden, state.graphs if recorded else None, room)
    return _normed(architecture, decoder, hidden).view(batch_size, length, width)


def _normed(architecture: Architecture, decoder: Any, hidden: torch.Tensor) -> torch.Tensor:
    with torch.autocast(hidden.device.type, enabled=False):
        return architecture.final_norm(decoder, hidden)


def _run_here(
    architecture: Architecture,
    state: FusedState,
    batch: Batch,
    layer_idx: int,
    keep: bool,
    training: bool,
    layer: Any,
    x: torch.Tensor,
) -> torch.Tensor:
    """A block's output [T, hidden], read from ``layer`` while its weights are gathered."""
    block = _read(architecture, state, layer, layer_idx, keep, training, batch.backend)
    return run_block(block, batch, x)


def _run(
    blocks: list[Block],
    batch: Batch,
    x: torch.Tensor,
    graphs: Graphs | None,
    room_to_record: Callable[[], bool],
) -> torch.Tensor:
    """The last block's output [T, hidden], where there are graphs from a recording."""

    def launch() -> torch.Tensor:
        hidden = x
        for block in blocks:
            hidden = run_block(block, batch, hidden)
        if batch.offload is not None:
            batch.offload.finish()
        return hidden

    trained = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for block in blocks for t in block.tensors()
    )
    if graphs is None or not trained or x.requires_grad:
        return launch()
    return graphs.run(blocks, batch, x, launch, room_to_record)


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
    key = layer_idx, keep, training, torch.is_grad_enabled()
    gathered = state.choice.gathered
    now = (
        type(backend),
        *(state_of(linear, gathered) for linear in architecture.linears(layer)),
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
