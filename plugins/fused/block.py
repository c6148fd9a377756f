"""A whole decoder block as one autograd function, whatever its architecture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.autograd.function import once_differentiable

from plugins.fused.backend import Backend
from plugins.fused.packed import PackedSequences


@dataclass(frozen=True)
class Batch:
    """What all blocks of one forward pass share.

    Attributes:
        sequences: who may attend to whom.
        cos: [T, d / 2] float32.
        sin: [T, d / 2] float32.
        seed: of this pass's dropout, 32 bits.
        attention: ``grouped`` or ``flash`` kernels, or PyTorch's under a ``mask``.
        backend: of all else but the large products.
    """

    sequences: PackedSequences
    cos: torch.Tensor
    sin: torch.Tensor
    seed: int
    attention: str
    backend: Backend


class Block(Protocol):
    """One block's frozen layers and adapters, and how it computes; see `plugins.falcon.block`."""

    def tensors(self) -> list[torch.Tensor | None]:
        """What is trained in it."""

    def forward(self, batch: Batch, x: torch.Tensor) -> tuple[torch.Tensor, list[Any]]:
        """The output [T, hidden] for x [T, hidden], and the tensors that `backward` needs."""

    def backward(
        self, batch: Batch, saved: list[Any], dy: torch.Tensor, needs_dx: bool
    ) -> tuple[torch.Tensor | None, list[torch.Tensor | None]]:
        """Gradients of x, where needed, and of `tensors`, from dy [T, hidden]."""


def dropout_seed(batch: Batch, layer_idx: int, which: int) -> int:
    """The seed of one of a block's dropouts, another in every block and pass."""
    return (batch.seed + 0x9E3779B9 * (4 * layer_idx + which + 1)) & 0x7FFFFFFF


def run_block(block: Block, batch: Batch, x: torch.Tensor) -> torch.Tensor:
    """The block's output [T, hidden] for x [T, hidden], differentiable in x and the adapters."""
    return _FusedBlock.apply(block, batch, x, *block.tensors())


class _FusedBlock(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, block: Block, batch: Batch, x: torch.Tensor, *adapters: torch.Tensor | None
    ) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            y, saved = block.forward(batch, x)
        ctx.block, ctx.batch = block, batch
        ctx.save_for_backward(*saved)
        return y

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        block: Block = ctx.block
        with torch.autocast(dy.device.type, enabled=False):
            dx, grads = block.backward(
                ctx.batch, list(ctx.saved_tensors), dy.contiguous(), ctx.needs_input_grad[2]
            )
        return (None, None, dx, *grads)
