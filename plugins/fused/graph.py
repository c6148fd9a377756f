"""A pass through all blocks recorded as two CUDA graphs, and replayed: no launches of its own.

A Falcon-7B block is some 75 kernels, forward and back. For 512 tokens an H200 needs 1.4 ms for
them, and the program took 5.4 to launch them. A replay is one launch. What changes from pass to
pass (embeddings, where sequences begin, angles, dropout's seeds) is copied to where the recording
reads it; adapters are trained in place. The graphs share memory of their own, apart from PyTorch's
other tensors, so a pass is recorded only where the card holds it twice.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from plugins.fused.backends import also_chosen
from plugins.fused.block import Batch, Block
from plugins.fused.offload import HostMemory, Offload
from plugins.fused.packed import PackedSequences
from recipes.runner.core.fallbacks import note_fallback

LARGEST = 8192
"""Tokens of a pass beyond which nothing is gained: the GPU is slower than the launching. A pass
that makes blocks anew keeps it busy at half of that, and is asked for where memory is short."""
MOST = 4  # shapes recorded: of rows that are not padded to one length, each batch has its own


class _Waiting:
    """A replayed forward whose backward may still come; it lives as long as its autograd node."""


@dataclass
class _Shape:
    """A shape of batches, and how far it is.

    Attributes:
        blocks: that the last pass of this shape ran through.
        compiled: whether one backward has been, so that nothing is compiled while recording.
        slabs: bytes of each slab of host memory that a pass takes.
        refused: whether the card had no memory for a recording; later it has less.
        recording: of the pass.
    """

    blocks: Sequence[Block]
    compiled: bool = False
    slabs: Sequence[int] = ()
    refused: bool = False
    recording: _Recording | None = None


@dataclass
class Graphs:
    """The recordings of a decoder.

    Attributes:
        shapes: by what a recording is for.
        bytes: of memory that belongs to the recordings alone.
        recorded: how many recordings were made.
    """

    shapes: dict[tuple[Any, ...], _Shape] = field(default_factory=dict)
    bytes: int = 0
    recorded: int = 0
    _pool: Any = None
    _waiting: Callable[[], _Waiting | None] = lambda: None
    _failed: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy of the model records anew."""
        return Graphs, ()

    def run(
        self,
        blocks: Sequence[Block],
        batch: Batch,
        x: torch.Tensor,
        launch: Callable[[], torch.Tensor],
        has_room: Callable[[], bool],
    ) -> torch.Tensor:
        """The last block's output [T, hidden], differentiable in the adapters.

        Args:
            blocks: of the model.
            batch: of this pass.
            x: [T, hidden], without gradient.
            launch: runs the blocks one by one: the first pass of a shape, and what can't be
                recorded.
            has_room: whether the card has memory for a recording, as a function.
        """
        key = (*x.shape, x.dtype, *batch.sequences.begins.shape)
        # Blocks are read anew, as other objects, where an adapter was switched or moved.
        shape = self.shapes.get(key)
        if self._failed or (shape is None and len(self.shapes) >= MOST):
            return launch()
        if shape is None or any(a is not b for a, b in zip(shape.blocks, blocks, strict=True)):
            shape = self.shapes[key] = _Shape(blocks)
        if shape.recording is None and shape.compiled and not shape.refused:
            shape.refused = not has_room()
            if not shape.refused:
                shape.recording = self._record(shape, batch, x)
        if shape.recording is None:
            y = launch()
            shape.slabs = batch.offload.slabs if batch.offload is not None else ()
            if y.requires_grad:
                y.register_hook(lambda grad: setattr(shape, "compiled", True))
            return y
        if self._waiting() is not None:  # its activations lie where this pass would write
            return launch()
        tensors = [t for block in blocks for t in block.tensors()]
        return _Replay.apply(self, shape.recording, batch, x, *tensors)

    def _record(self, shape: _Shape, batch: Batch, x: torch.Tensor) -> _Recording | None:
        torch.cuda.empty_cache()
        before = torch.cuda.memory_reserved(x.device)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        try:
            recording = _Recording(shape, batch, x, self._pool)
        except RuntimeError as error:
            self._failed = True
            note_fallback(
                "fused.cuda_graphs", "a launch for each kernel", str(error).split("\n")[0]
            )
            return None
        self.bytes += torch.cuda.memory_reserved(x.device) - before
        self.recorded += 1
        also_chosen(passes_recorded=self.recorded)
        return recording


class _Recording:
    """One pass, forward and backward.

    Args:
        shape: blocks of the model, and the host memory that they want.
        batch: of a pass of this shape.
        x: [T, hidden], likewise.
        pool: of graphs' memory.
    """

    def __init__(self, shape: _Shape, batch: Batch, x: torch.Tensor, pool: Any) -> None:
        blocks = shape.blocks
        begins, real = batch.sequences.begins.clone(), batch.sequences.real.clone()
        self.x = x.clone()
        self.batch = dataclasses.replace(
            batch, sequences=PackedSequences(begins, real), cos=batch.cos.clone(),
            sin=batch.sin.clone(), seeds=batch.seeds.clone(), offload=None,
        )  # fmt: skip
        has = [any(t is not None for t in block.tensors()) for block in blocks]
        lowest = has.index(True)
        below = self.batch  # of blocks that the backward doesn't reach
        if shape.slabs:
            offload = Offload(HostMemory(shape.slabs))
            self.batch = dataclasses.replace(self.batch, offload=offload)
        self.forward, self.backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        # Other threads may go on allocating: those of the data loader pin memory.
        how: dict[str, Any] = {"pool": pool, "capture_error_mode": "thread_local"}
        saved: list[Any] = []
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            with torch.cuda.graph(self.forward, **how):
                self.y = self.x
                for place, block in enumerate(blocks):
                    self.y, kept = block.forward(self.batch if place >= lowest else below, self.y)
                    saved.append(kept if place >= lowest else None)
                if self.batch.offload is not None:
                    self.batch.offload.finish()
            with torch.cuda.graph(self.backward, **how):
                self.dy = torch.empty_like(self.y)
                dx: torch.Tensor | None = self.dy
                grads: list[list[torch.Tensor | None]] = [[None] * len(b.tensors()) for b in blocks]
                for place in range(len(blocks) - 1, lowest - 1, -1):
                    assert dx is not None
                    dx, grads[place] = blocks[place].backward(
                        self.batch, saved.pop(), dx, place > lowest
                    )
        self.grads = [grad for found in grads for grad in found]
        tensors = [t for block in blocks for t in block.tensors()]
        self._copied: dict[tuple[torch.dtype, torch.dtype, bool], list[int]] = {}
        for place, (tensor, grad) in enumerate(zip(tensors, self.grads, strict=True)):
            if tensor is not None and grad is not None:
                kind = tensor.dtype, grad.dtype, grad.is_contiguous()
                self._copied.setdefault(kind, []).append(place)

    def run_forward(self, batch: Batch, x: torch.Tensor) -> torch.Tensor:
        """The last block's output [T, hidden], which the next pass overwrites."""
        self.x.copy_(x)
        self.batch.sequences.begins.copy_(batch.sequences.begins)
        self.batch.sequences.real.copy_(batch.sequences.real)
        self.batch.cos.copy_(batch.cos)
        self.batch.sin.copy_(batch.sin)
        self.batch.seeds.copy_(batch.seeds)
        self.forward.replay()
        return self.y.detach()

    def run_backward(self, dy: torch.Tensor) -> list[torch.Tensor | None]:
        """Gradients of all adapters in their dtypes, parts of a few new tensors.

        The recording's own are overwritten by the next pass. Left to autograd, each would be copied
        by itself, and cast by itself before: 670 launches for a Llama-7B.
        """
        self.dy.copy_(dy)
        self.backward.replay()
        found: list[torch.Tensor | None] = [None] * len(self.grads)
        for (dtype, _, _), places in self._copied.items():
            held = [grad for place in places if (grad := self.grads[place]) is not None]
            flat = torch.empty(sum(map(torch.numel, held)), dtype=dtype, device=dy.device)
            parts = flat.split([grad.numel() for grad in held])
            views = [part.view(grad.shape) for part, grad in zip(parts, held, strict=True)]
            torch._foreach_copy_(views, held)  # few launches where all are laid out alike
            for place, view in zip(places, views, strict=True):
                found[place] = view
        return found


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        graphs: Graphs,
        recording: _Recording,
        batch: Batch,
        x: torch.Tensor,
        *adapters: torch.Tensor | None,
    ) -> torch.Tensor:
        ctx.recording, ctx.waiting = recording, _Waiting()
        graphs._waiting = weakref.ref(ctx.waiting)
        return recording.run_forward(batch, x)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        if ctx.waiting is None:
            raise RuntimeError("a recorded pass can be run backward once")
        ctx.waiting = None
        return (None, None, None, None, *ctx.recording.run_backward(dy))
