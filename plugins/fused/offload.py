"""What the backward of a block needs, in pinned host memory while nothing else does.

A copy runs beside the products that follow: 67 MB of a Llama-7B block over 8,192 tokens take 1.1 ms
of an H200's bus, the block 5 of the GPU. Unsloth does the same with each block's input.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from functools import cache

import psutil
import torch

from recipes.runner.core.fallbacks import note_fallback

UNDER_WAY = 2  # tensors that may be leaving while the program goes on
SLAB = 2**32  # bytes pinned at once, at most: PyTorch rounds each request up to a power of two
SPARED = 4  # a fourth of the host's memory is left to others


class HostMemory:
    """Pinned memory that one pass after another uses.

    Pinning a GiB takes a good part of a second, and PyTorch's own cache gives a pass new memory
    while the copies of the pass before are under way. Here the next one may begin at once: all
    copies of a card run on one stream, one after the other.

    Args:
        sizes: bytes of slabs to pin now; none is pinned later, where any are given.
    """

    def __init__(self, sizes: Sequence[int] = ()) -> None:
        self._closed = bool(sizes)
        pinned = [_pin(size) for size in sizes]
        self._free = [slab for slab in pinned if slab is not None]

    def __reduce__(self) -> tuple[type[HostMemory], tuple[()]]:
        """A copy of the model pins its own."""
        return HostMemory, ()

    def take(self, size: int) -> torch.Tensor | None:
        """A slab of ``size`` bytes or more; None where the host has none to give."""
        for place, slab in enumerate(self._free):
            if slab.numel() >= size:
                return self._free.pop(place)
        if self._closed:
            return None
        self._free.clear()  # all too small: of shorter rows
        return _pin(max(size, min(SLAB, 2 ** math.ceil(math.log2(16 * size)))))

    def give_back(self, slabs: list[torch.Tensor]) -> None:
        """Slabs that nothing will be copied to or from by what took them."""
        self._free += slabs


class Offload:
    """The tensors of one pass, which come back in the opposite order, once.

    A tensor that is being copied is held until the stream that computes has waited for the copy,
    so that its memory is free for others in that stream's order; this holds in a CUDA graph too.

    Args:
        memory: of the host.
    """

    def __init__(self, memory: HostMemory) -> None:
        self._memory = memory
        self._slabs: list[torch.Tensor] = []
        self._room = torch.empty(0, dtype=torch.uint8)
        self._host: list[torch.Tensor | None] = []
        self._leaving: deque[tuple[int, torch.Tensor, torch.cuda.Event]] = deque()
        self._stayed: dict[int, torch.Tensor] = {}
        self._coming: dict[int, tuple[torch.Tensor, torch.cuda.Event]] = {}

    def __del__(self) -> None:
        """Give back the memory of a pass whose backward never came."""
        self._memory.give_back(self._slabs)

    @property
    def slabs(self) -> list[int]:
        """Bytes of each slab of host memory that the pass took."""
        return [slab.numel() for slab in self._slabs]

    def put(self, x: torch.Tensor) -> int:
        """Send a contiguous tensor to the host, and say by which number it comes back."""
        place = len(self._host)
        host = self._room_for(x)
        self._host.append(host)
        if host is None:
            self._stayed[place] = x
            return place
        main, copies = torch.cuda.current_stream(x.device), _copies(x.device)
        while len(self._leaving) >= UNDER_WAY:
            main.wait_event(self._leaving.popleft()[2])
        self._leaving.append((place, x, _copy(host, x, main, copies)))
        return place

    def finish(self) -> None:
        """After the last block; the backward begins with what was put last, which stays."""
        for place, x, left in self._leaving:
            torch.cuda.current_stream(x.device).wait_event(left)
            if place == len(self._host) - 1:
                self._stayed[place] = x
        self._leaving.clear()

    def get(self, place: int, device: torch.device) -> torch.Tensor:
        """A tensor back on ``device``; the one that was put before it is on its way then.

        Raises:
            RuntimeError: it came back before.
        """
        if place >= len(self._host):
            raise RuntimeError("a pass that waits in host memory can be run backward once")
        if place in self._stayed:
            x = self._stayed.pop(place)
        else:
            if place not in self._coming:
                self._coming[place] = self._fetch(place, device)
            x, arrived = self._coming.pop(place)
            torch.cuda.current_stream(device).wait_event(arrived)
        del self._host[place:]
        if place > 0 and place - 1 not in self._stayed:
            self._coming[place - 1] = self._fetch(place - 1, device)
        if place == 0:
            self._memory.give_back(self._slabs)
            self._slabs = []
        return x

    def _fetch(self, place: int, device: torch.device) -> tuple[torch.Tensor, torch.cuda.Event]:
        host = self._host[place]
        assert host is not None
        x = torch.empty(host.shape, dtype=host.dtype, device=device)
        return x, _copy(x, host, torch.cuda.current_stream(device), _copies(device))

    def _room_for(self, x: torch.Tensor) -> torch.Tensor | None:
        size = -(-x.nbytes // 256) * 256
        if self._room.numel() < size:
            slab = self._memory.take(size)
            if slab is None:
                return None
            self._slabs.append(slab)
            self._room = slab
        room, self._room = self._room[: x.nbytes], self._room[size:]
        return room.view(x.dtype).view(x.shape)


def _pin(size: int) -> torch.Tensor | None:
    host = psutil.virtual_memory()
    reason = f"the host has {host.available / 2**30:.1f} GiB free"
    if host.available - size >= host.total / SPARED:
        try:
            return torch.empty(size, dtype=torch.uint8, pin_memory=True)
        except RuntimeError as error:
            reason = str(error).split("\n")[0]
    note_fallback("fused.offload", "what would wait in host memory stays on the card", reason)
    return None


def _copy(
    to: torch.Tensor, what: torch.Tensor, main: torch.cuda.Stream, copies: torch.cuda.Stream
) -> torch.cuda.Event:
    """Copy beside ``main``, after what it has been given so far."""
    copies.wait_stream(main)
    with torch.cuda.stream(copies):
        to.copy_(what, non_blocking=True)
        return copies.record_event()


def _copies(device: torch.device) -> torch.cuda.Stream:
    return _stream(torch.cuda.current_device() if device.index is None else device.index)


@cache
def _stream(index: int) -> torch.cuda.Stream:
    return torch.cuda.Stream(index)
