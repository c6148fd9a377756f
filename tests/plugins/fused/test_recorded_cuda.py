"""Passes recorded as CUDA graphs, and block inputs in host memory, give what plain passes give."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from plugins.falcon import model as falcon
from plugins.fused import run
from plugins.fused.backends import Choice
from plugins.llama import model as llama
from recipes.runner.core.fallbacks import fallbacks_taken
from tests.plugins.falcon.tiny_falcon import make_falcon
from tests.plugins.falcon.tiny_falcon import with_adapter as with_falcon_adapter
from tests.plugins.fused.comparison import outputs_and_gradients, pack, relative, with_adapter
from tests.plugins.llama.tiny_llama import TARGETS, make_llama

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
PLAIN = Choice(block=True, attention="grouped", triton=True, memory="fast")


def on_gpu(batch: dict) -> dict:
    return {key: value.cuda() for key, value in batch.items()}


def make(family: str, dropout: float = 0.3, **changes: object):
    """A model of three blocks, the module that installs the fused path, and its decoder."""
    torch.manual_seed(0)
    if family == "falcon":
        made = make_falcon(head_dim=32, num_hidden_layers=3)
        model = with_falcon_adapter(made, rank=8, dropout=dropout, **changes)
    else:
        made = make_llama(family, num_hidden_layers=3)
        model = with_adapter(made, TARGETS, 8, dropout, **changes)
    module = falcon if family == "falcon" else llama
    return model.train().cuda(), module


def decoder_of(model):
    causal = model.base_model.model
    return getattr(causal, causal.base_model_prefix)


def same(model, plain, batch, seed: int) -> None:
    """One set of values and gradients from both, to the bit but for sums in another order."""
    torch.manual_seed(seed)
    got, got_gradients = outputs_and_gradients(model, batch)
    torch.manual_seed(seed)
    want, want_gradients = outputs_and_gradients(plain, batch)
    assert relative(got, want) < 1e-6
    assert got_gradients.keys() == want_gradients.keys()
    for name, gradient in want_gradients.items():
        assert relative(got_gradients[name], gradient) < 1e-6, name


@pytest.mark.parametrize("family", ["falcon", "llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("memory,offload", [("fast", False), ("low", False), ("low", True)])
def test_a_recorded_pass_is_the_plain_one(family, memory, offload) -> None:
    model, module = make(family)
    plain = copy.deepcopy(model)
    choice = dataclasses.replace(PLAIN, memory=memory, offload=offload, cuda_graphs=True)
    module.install(model, choice)
    module.install(plain, PLAIN)
    for step, lengths in enumerate(([130, 1, 61], [100, 92], [3, 7, 182], [192], [64] * 3)):
        same(model, plain, on_gpu(pack(lengths, padding=5, seed=step)), step)
    (shape,) = decoder_of(model).fused.graphs.shapes.values()
    assert shape.recording is not None
    assert "fused.cuda_graphs" not in str(fallbacks_taken())


@pytest.mark.parametrize("memory", ["low", "fast"])
@pytest.mark.parametrize("family", ["falcon", "llama", "qwen2", "qwen3"])
def test_what_waits_in_host_memory(family, memory) -> None:
    model, module = make(family)
    plain = copy.deepcopy(model)
    module.install(model, dataclasses.replace(PLAIN, memory=memory, offload=True))
    module.install(plain, PLAIN)
    for step in range(3):
        same(model, plain, on_gpu(pack([130, 1, 61], padding=5, seed=step)), step)


@pytest.mark.parametrize("family", ["falcon", "llama", "qwen2"])
def test_some_blocks_keep_and_others_offload(monkeypatch, family) -> None:
    monkeypatch.setattr(run, "blocks_that_fit", lambda *args: 1)
    model, module = make(family)
    plain = copy.deepcopy(model)
    module.install(model, dataclasses.replace(PLAIN, memory="auto", offload=True, cuda_graphs=True))
    module.install(plain, PLAIN)
    for step in range(4):
        same(model, plain, on_gpu(pack([130, 1, 61], padding=5, seed=step)), step)


def test_gradients_add_up_over_recorded_passes() -> None:
    model, module = make("llama", dropout=0.0)
    plain = copy.deepcopy(model)
    module.install(model, dataclasses.replace(PLAIN, cuda_graphs=True))
    module.install(plain, PLAIN)
    for candidate in (model, plain):
        for step in range(5):
            batch = on_gpu(pack([60, 4], seed=step))
            candidate(**batch, use_cache=False).loss.backward()
    for got, want in zip(model.parameters(), plain.parameters(), strict=True):
        if want.grad is not None:
            assert relative(got.grad, want.grad) < 1e-5


def test_a_pass_that_waits_for_its_backward_is_left_alone() -> None:
    model, module = make("falcon")
    plain = copy.deepcopy(model)
    module.install(model, dataclasses.replace(PLAIN, cuda_graphs=True))
    module.install(plain, PLAIN)
    batches = [on_gpu(pack([60, 4], seed=step)) for step in range(2)]
    for _ in range(3):
        results = []
        for candidate in (model, plain):
            candidate.zero_grad()
            torch.manual_seed(3)
            losses = [candidate(**batch, use_cache=False).loss for batch in batches]
            sum(losses).backward()
            results.append([p.grad for p in candidate.parameters() if p.grad is not None])
        for got, want in zip(*results, strict=True):
            assert relative(got, want) < 1e-5
    loss = model(**batches[0], use_cache=False).loss
    del loss  # its backward never comes
    same(model, plain, batches[1], 5)


def test_switched_and_partly_trained_adapters() -> None:
    """Blocks below the lowest adapter run forward only; an adapter that is off takes no part."""
    model, module = make("llama", layers_to_transform=[1, 2])
    plain = copy.deepcopy(model)
    module.install(model, dataclasses.replace(PLAIN, cuda_graphs=True, memory="low", offload=True))
    module.install(plain, PLAIN)
    batch = on_gpu(pack([60, 4]))
    for step in range(4):
        same(model, plain, batch, step)
    with model.disable_adapter(), plain.disable_adapter(), torch.no_grad():
        off = [candidate(**batch, use_cache=False).logits for candidate in (model, plain)]
    assert relative(*off) < 1e-6
    with torch.no_grad():
        on = model(**batch, use_cache=False).logits
    assert relative(on, off[0]) > 1e-3
    with torch.no_grad():
        for one in (model, plain):
            for name, parameter in one.named_parameters():
                if "lora_B" in name:
                    parameter.mul_(1.5)  # as an optimizer does, in place
    for step in range(4):
        same(model, plain, batch, step)


def test_a_copy_of_the_model_records_anew() -> None:
    model, module = make("falcon")
    module.install(model, dataclasses.replace(PLAIN, cuda_graphs=True))
    batch = on_gpu(pack([60, 4]))
    for step in range(3):
        same(model, model, batch, step)
    other = copy.deepcopy(model)
    assert not decoder_of(other).fused.graphs.shapes
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if "lora_B" in name:
                parameter.zero_()
    same(model, model, batch, 1)
    torch.manual_seed(1)
    assert relative(outputs_and_gradients(other, batch)[0], outputs_and_gradients(model, batch)[0])
