"""What waits in host memory: its bookkeeping, and whole blocks with copies on the CPU in its place.

The streams need a card: test_recorded_cuda.
"""

from __future__ import annotations

import copy
import itertools
from types import SimpleNamespace

import pytest
import torch

from plugins.falcon import model as falcon
from plugins.fused import offload, run
from plugins.fused.backends import Choice
from plugins.fused.offload import HostMemory, Offload
from plugins.llama import model as llama
from recipes.runner.core.fallbacks import fallbacks_taken
from tests.plugins.falcon.tiny_falcon import make_falcon
from tests.plugins.falcon.tiny_falcon import with_adapter as with_falcon_adapter
from tests.plugins.fused.comparison import assert_same, outputs_and_gradients, pack, with_adapter
from tests.plugins.llama.tiny_llama import TARGETS, make_llama

needs_none = pytest.mark.skipif(torch.cuda.is_available(), reason="pins memory where CUDA is")
CPU = torch.device("cpu")


class Stream:
    """Of a card that does everything at once."""

    def wait_event(self, event: object) -> None:
        pass


@pytest.fixture
def pinned(monkeypatch) -> list[int]:
    """Sizes of slabs that were asked for; memory is not pinned, and copies are made at once."""
    asked: list[int] = []

    def pin(size: int) -> torch.Tensor:
        asked.append(size)
        return torch.empty(size, dtype=torch.uint8)

    def copy_now(to: torch.Tensor, what: torch.Tensor, *streams: object) -> None:
        to.copy_(what)

    monkeypatch.setattr(offload, "_pin", pin)
    monkeypatch.setattr(offload, "_copy", copy_now)
    monkeypatch.setattr(offload, "_copies", lambda device: Stream())
    monkeypatch.setattr(offload.torch.cuda, "current_stream", lambda device: Stream())
    return asked


@needs_none
def test_tensors_stay_on_the_card_and_it_is_said() -> None:
    inputs = [torch.full((2, 3), float(place)) for place in range(3)]
    away = Offload(HostMemory())
    assert [away.put(x) for x in inputs] == [0, 1, 2]
    away.finish()
    for place in (2, 1, 0):
        assert away.get(place, CPU) is inputs[place]
    assert "fused.offload" in str(fallbacks_taken())


def test_the_host_keeps_a_fourth_for_others(monkeypatch) -> None:
    host = SimpleNamespace(available=30 * 2**30, total=100 * 2**30)
    monkeypatch.setattr(offload.psutil, "virtual_memory", lambda: host)
    monkeypatch.setattr(offload.torch, "empty", lambda size, **how: size)
    assert offload._pin(5 * 2**30) == 5 * 2**30
    assert offload._pin(6 * 2**30) is None
    assert "30.0 GiB free" in str(fallbacks_taken())


def test_what_comes_back_is_what_was_sent(pinned) -> None:
    sent = [torch.randn(3 + place % 2, 5).to(torch.bfloat16) for place in range(6)]
    away = Offload(HostMemory())
    for x in sent:
        away.put(x.clone())
    away.finish()
    for place in reversed(range(6)):
        assert torch.equal(away.get(place, CPU), sent[place])
    with pytest.raises(RuntimeError, match="backward once"):
        away.get(0, CPU)


def test_pinned_memory_is_cut_from_slabs(pinned) -> None:
    x = torch.empty(100, 30, dtype=torch.bfloat16)  # 6,000 bytes, 6,144 with what fills up
    away = Offload(HostMemory())
    for _ in range(40):
        away.put(x)
    assert pinned == away.slabs == [2**17, 2**17]  # 16 times the size, rounded up as PyTorch does
    starts = sorted(room.data_ptr() for room in away._host if room is not None)
    assert len(starts) == 40
    assert all(b - a >= 6000 for a, b in itertools.pairwise(starts))


def test_one_pass_after_another_uses_the_same_memory(pinned) -> None:
    memory, x = HostMemory(), torch.ones(64, 64)
    for _ in range(3):
        away = Offload(memory)
        for _ in range(20):
            away.put(x)
        away.finish()
        for place in reversed(range(20)):
            away.get(place, CPU)
    assert len(pinned) == 2
    waiting = Offload(memory)
    waiting.put(x)
    other = Offload(memory)  # while the first waits for its backward
    other.put(x)
    assert waiting._slabs[0].data_ptr() != other._slabs[0].data_ptr()
    del waiting, other  # their backward never comes
    assert len(memory._free) == 2 and len(pinned) == 2
    assert not copy.deepcopy(memory)._free


def test_longer_rows_take_larger_slabs(pinned) -> None:
    memory = HostMemory()
    for rows in (10, 1000):
        Offload(memory).put(torch.ones(rows, 64))
    assert len(memory._free) == 1 and memory._free[0].numel() == pinned[-1] > pinned[0]


def test_a_recordings_memory_is_pinned_before(pinned) -> None:
    memory = HostMemory([2**12])
    away = Offload(memory)
    first, second = torch.ones(1024), torch.zeros(1024)
    away.put(first)
    away.put(second)  # beyond what was pinned: it stays
    assert pinned == [2**12]
    assert away.get(1, CPU) is second
    assert torch.equal(away.get(0, CPU), first)


@pytest.mark.parametrize("family", ["falcon", "llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("kept", [0, 1, 3])
def test_a_model_whose_blocks_wait_there(pinned, monkeypatch, family, kept) -> None:
    torch.manual_seed(0)
    if family == "falcon":
        module = falcon
        made = with_falcon_adapter(make_falcon(num_hidden_layers=3), rank=8)
    else:
        module = llama
        made = with_adapter(make_llama(family, num_hidden_layers=3), TARGETS, 8)
    model = made.train()
    reference = copy.deepcopy(model)
    module.install(reference)
    module.install(model, Choice(block=True, memory="auto", offload=True))
    keeps = run.Keeping(kept, True)
    monkeypatch.setattr(run, "keeping", lambda *args: keeps)
    for seed in range(2):
        assert_same(model, reference, pack([7, 1, 12], padding=3, seed=seed), 1e-5)
    assert pinned
    state = getattr(model.base_model.model, model.base_model.model.base_model_prefix).fused
    assert len(state.host._free) == len(pinned)  # all given back


def test_adapters_on_the_upper_blocks_alone(pinned) -> None:
    """Blocks below send nothing, and the lowest that is trained takes back all that it sent."""
    for targets in (TARGETS, ["down_proj"]):
        model = with_adapter(
            make_llama(num_hidden_layers=3), targets, 8, layers_to_transform=[1, 2]
        )
        reference = copy.deepcopy(model.train())
        llama.install(reference)
        llama.install(model, Choice(block=True, memory="low", offload=True))
        assert_same(model, reference, pack([7, 1, 12]), 1e-5)
        host = model.base_model.model.model.fused.host
        got, _ = outputs_and_gradients(model, pack([7, 1, 12]))
        assert len(host._free) == 1 and got.isfinite().all()


def test_a_second_backward_is_refused(pinned) -> None:
    model = with_falcon_adapter(make_falcon(), rank=8).train()
    falcon.install(model, Choice(block=True, memory="low", offload=True))
    loss = model(input_ids=pack([9])["input_ids"], use_cache=False).logits.square().mean()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backward once"):
        loss.backward()
