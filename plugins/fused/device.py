"""What the kernels ask of the card that they run on."""

from __future__ import annotations

from functools import cache

import torch

_ELSEWHERE = 132  # Triton's interpreter has no card; an H100's number keeps its results alike


def multiprocessors(device: torch.device) -> int:
    """Streaming multiprocessors of the card, asked once."""
    return _multiprocessors(device.index) if device.type == "cuda" else _ELSEWHERE


@cache
def _multiprocessors(index: int | None) -> int:
    place = torch.cuda.current_device() if index is None else index
    return int(torch.cuda.get_device_properties(place).multi_processor_count)
