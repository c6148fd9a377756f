"""A whole decoder block as one autograd function, whatever its architecture."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.autograd.function import once_differentiable

from plugins.fused.backend import Backend
from plugins.fused.offload import Offload
from plugins.fused.packed import PackedSequences

DROPOUTS = 4  # of a block


@dataclass(frozen=True)
class Batch:
    """What all blocks of one forward pass share.

    Attributes:
        sequences: who may attend to whom.
        cos: [T, d / 2] float32.
        sin: [T, d / 2] float32.
        seeds: [blocks * 4] int64 of this pass's dropouts, 32 bits each.
        attention: ``grouped`` or ``flash`` kernels, or PyTorch's under a ``mask``.
        backend: of all else but the large products.
        offload: where some of what blocks need in the backward waits, or None: on the card.
    """

    sequences: PackedSequences
    cos: torch.Tensor
    sin: torch.Tensor
    seeds: torch.Tensor
    attention: str
    backend: Backend
    offload: Offload | None = None


class Block(Protocol):
    """One block's frozen layers and adapters, and how it computes; see `plugins.falcon.block`."""

    def tensors(self) -> list[torch.Tensor | None]:
        """What is trained in it."""

    def forward(self, batch: Batch, x: torch.Tensor) -> tuple[torch.Tensor, list[Any]]:
        """The output [T, hidden] for x [T, hidden], and what `backward` needs.

        That is tensors, None, and numbers of tensors that were sent away.
        """

    def backward(
        self, batch: Batch, saved: list[Any], dy: torch.Tensor, needs_dx: bool
    ) -> tuple[torch.Tensor | None, list[torch.Tensor | None]]:
        """Gradients of x, where needed, and of `tensors`, from dy [T, hidden]."""


def dropout_seeds(seed: int, blocks: int, device: torch.device) -> torch.Tensor:
    """Seeds [blocks * 4] int64 of a pass's dropouts, each another, from the pass's ``seed``."""
    places = torch.arange(1, DROPOUTS * blocks + 1, device=device)
    return (places * 0x9E3779B9 + seed) & 0x7FFFFFFF


def dropout_seed(batch: Batch, layer_idx: int, which: int) -> torch.Tensor:
    """The seed of one of a block's dropouts, int64 without axes."""
    return batch.seeds[DROPOUTS * layer_idx + which]


def send_away(batch: Batch, x: torch.Tensor) -> torch.Tensor | int:
    """x on its way to the host, as a number for `bring_back`; x itself where it stays."""
    return x if batch.offload is None else batch.offload.put(x)


def bring_back(batch: Batch, x: torch.Tensor | int, device: torch.device) -> torch.Tensor:
    """What `send_away` was given; asked in the opposite order."""
    if isinstance(x, torch.Tensor):
        return x
    assert batch.offload is not None
    return batch.offload.get(x, device)


def run_block(block: Block, batch: Batch, x: torch.Tensor) -> torch.Tensor:
    """The block's output [T, hidden] for x [T, hidden], differentiable in x and the adapters."""
    return _FusedBlock.apply(block, batch, x, *block.tensors())


class _FusedBlock(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, block: Block, batch: Batch, x: torch.Tensor, *adapters: torch.Tensor | None
    ) -> torch.Tensor:
        if not any(ctx.needs_input_grad):
            batch = dataclasses.replace(batch, offload=None)  # nothing will come back
        with torch.autocast(x.device.type, enabled=False):
            y, saved = block.forward(batch, x)
        ctx.block, ctx.batch = block, batch
        ctx.away = {place: one for place, one in enumerate(saved) if isinstance(one, int)}
        ctx.save_for_backward(*(None if isinstance(one, int) else one for one in saved))
        return y

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        saved = [ctx.away.get(place, one) for place, one in enumerate(ctx.saved_tensors)]
        block: Block = ctx.block
        with torch.autocast(dy.device.type, enabled=False):
            dx, grads = block.backward(ctx.batch, saved, dy.contiguous(), ctx.needs_input_grad[2])
        return (None, None, dx, *grads)
