"""Block inputs where the host has no memory to pin; the rest needs a card: test_recorded_cuda."""

from __future__ import annotations

import itertools

import pytest
import torch

from plugins.fused import offload
from plugins.fused.offload import Offload
from recipes.runner.core.fallbacks import fallbacks_taken

needs_none = pytest.mark.skipif(torch.cuda.is_available(), reason="pins memory where CUDA is")


@needs_none
def test_inputs_stay_on_the_card_and_it_is_said(monkeypatch) -> None:
    monkeypatch.setattr(offload.torch.cuda, "current_stream", lambda device: None)
    inputs = [torch.full((2, 3), float(layer_idx)) for layer_idx in range(3)]
    away = Offload()
    for layer_idx, x in enumerate(inputs):
        away.put(layer_idx, x)
    away.finish()
    for layer_idx in (2, 1, 0):
        assert away.get(layer_idx, torch.device("cpu")) is inputs[layer_idx]
    assert "fused.offload" in str(fallbacks_taken())


def test_pinned_memory_is_cut_from_slabs(monkeypatch) -> None:
    asked = []
    empty = torch.empty

    def unpinned(size: int, dtype: torch.dtype, pin_memory: bool) -> torch.Tensor:
        asked.append(size)
        return empty(size, dtype=dtype)

    monkeypatch.setattr(offload.torch, "empty", unpinned)
    away = Offload()
    x = empty(100, 30, dtype=torch.bfloat16)  # 6,000 bytes, 6,144 with what fills up
    away.reserve(range(40), x)
    assert asked == [2**17, 2**17]  # 16 times the size, rounded up as PyTorch does
    assert all(room.shape == x.shape and room.dtype == x.dtype for room in away.host.values())
    starts = sorted(room.data_ptr() for room in away.host.values())
    assert all(b - a >= 6000 for a, b in itertools.pairwise(starts))
