"""Inputs of blocks that are made anew, in pinned host memory while nothing needs them.

A copy runs beside the next block's products: 74 MB of a Falcon-7B block over 8,192 tokens take
1.5 ms of the bus, the block 4 of the GPU. Unsloth does the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache

import torch

from recipes.runner.core.fallbacks import note_fallback

SLAB = 2**30  # bytes pinned at once, at most: PyTorch rounds each request up to a power of two


class Offload:
    """The inputs of one pass.

    A tensor that is being copied is held until the stream that computes has waited for the copy,
    so that its memory is free for others in that stream's order; this holds in a CUDA graph too.

    Attributes:
        host: [T, hidden] by block, pinned; without those for which the host has no room.
    """

    def __init__(self) -> None:
        self.host: dict[int, torch.Tensor] = {}
        self._slab: torch.Tensor | None = None
        self._leaving: tuple[int, torch.Tensor] | None = None
        self._stayed: dict[int, torch.Tensor] = {}
        self._coming: dict[int, torch.Tensor] = {}

    def reserve(self, blocks: Iterable[int], like: torch.Tensor) -> None:
        """Pin memory for the inputs of ``blocks``, each like ``like``; a recording can't."""
        for layer_idx in blocks:
            room = self._pin(like)
            if room is not None:
                self.host[layer_idx] = room

    def put(self, layer_idx: int, x: torch.Tensor) -> None:
        """Send x [T, hidden], a block's input, to the host."""
        if layer_idx not in self.host:
            self.reserve([layer_idx], x)
        if layer_idx not in self.host:
            self._stayed[layer_idx] = x
            return
        main, copies = torch.cuda.current_stream(x.device), _copies(x.device)
        if self._leaving is not None:  # the input before this one, while its block ran
            main.wait_stream(copies)
        copies.wait_stream(main)
        with torch.cuda.stream(copies):
            self.host[layer_idx].copy_(x, non_blocking=True)
        self._leaving = layer_idx, x

    def finish(self) -> None:
        """After the last block; the backward begins with its input, which therefore stays."""
        if self._leaving is not None:
            layer_idx, x = self._leaving
            torch.cuda.current_stream(x.device).wait_stream(_copies(x.device))
            self._stayed[layer_idx], self._leaving = x, None

    def get(self, layer_idx: int, device: torch.device) -> torch.Tensor:
        """A block's input [T, hidden], back on ``device``; the next one is on its way then."""
        main = torch.cuda.current_stream(device)
        x = self._stayed.pop(layer_idx, None)
        if x is None:
            x = self._coming.pop(layer_idx, None)
            if x is None:
                x = self._fetch(layer_idx, main, device)
            main.wait_stream(_copies(device))
        below = max((other for other in self.host if other < layer_idx), default=None)
        if below is not None:
            self._coming[below] = self._fetch(below, main, device)
        return x

    def _pin(self, like: torch.Tensor) -> torch.Tensor | None:
        """Memory of the host like ``like``; None where there is none."""
        size = -(-like.nbytes // 256) * 256
        if self._slab is None or self._slab.numel() < size:
            wanted = max(size, min(SLAB, 2 ** math.ceil(math.log2(16 * size))))
            try:
                self._slab = torch.empty(wanted, dtype=torch.uint8, pin_memory=True)
            except RuntimeError as error:
                reason = str(error).split("\n")[0]
                note_fallback("fused.offload", "block inputs stay on the card", reason)
                return None
        room, self._slab = self._slab[: like.nbytes], self._slab[size:]
        return room.view(like.dtype).view(like.shape)

    def _fetch(self, layer_idx: int, main: torch.cuda.Stream, device: torch.device) -> torch.Tensor:
        host, copies = self.host[layer_idx], _copies(device)
        x = torch.empty(host.shape, dtype=host.dtype, device=device)
        copies.wait_stream(main)  # where x lies, work of this stream may still be under way
        with torch.cuda.stream(copies):
            x.copy_(host, non_blocking=True)
        return x


def _copies(device: torch.device) -> torch.cuda.Stream:
    return _stream(torch.cuda.current_device() if device.index is None else device.index)


@cache
def _stream(index: int) -> torch.cuda.Stream:
    return torch.cuda.Stream(index)
