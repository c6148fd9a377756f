"""The fused Llama block equals transformers' modules under PEFT, in values and gradients."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from tiny_llama import KINDS, TARGETS, make_4bit_llama, make_llama

from plugins.fused.backends import Choice
from plugins.llama.model import install, why_not_fused
from recipes.runner.core.fallbacks import fallbacks_taken
from tests.plugins.fused.comparison import (
    SameDropout,
    assert_packed_equals_one_by_one,
    assert_same,
    pack,
    relative,
    with_adapter,
)  # fmt: skip

FUSED = Choice(block=True, memory="fast")
TOLERANCE = 3e-6  # norms and rotary embedding run in float32 in a float64 model too


@pytest.fixture
def fused_calls(monkeypatch):
    """Counts fused blocks, so that a silent fall back to the modules fails the test."""
    from plugins.fused import run as fused_run

    calls = []
    run = fused_run.run_block
    monkeypatch.setattr(
        fused_run, "run_block", lambda *args: calls.append(args[0].keep) or run(*args)
    )
    return calls


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("memory", ["fast", "low"])
def test_fused_equals_modules(kind, memory, fused_calls) -> None:
    model = with_adapter(make_llama(kind).double(), TARGETS, rank=8).train()
    reference = copy.deepcopy(model)
    install(reference)
    install(model, dataclasses.replace(FUSED, memory=memory))
    assert why_not_fused(model.base_model.model) == ""
    assert_same(model, reference, pack([7, 1, 12, 5], padding=3), TOLERANCE)
    assert fused_calls == [memory == "fast"] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_one_row_equals_stock_in_float32(kind, fused_calls) -> None:
    """Against transformers and PEFT as they come."""
    stock = with_adapter(make_llama(kind), TARGETS, rank=8).train()
    model = copy.deepcopy(stock)
    install(model, FUSED)
    assert_same(model, stock, pack([17]), 1e-5)
    assert len(fused_calls) == 2


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_packed_equals_one_by_one(kind, fused) -> None:
    model = with_adapter(make_llama(kind), TARGETS).train()
    install(model, FUSED if fused else None)
    assert_packed_equals_one_by_one(model)


@pytest.mark.parametrize("ranks", [4, 8, 136])
@pytest.mark.parametrize("memory", ["fast", "low"])
def test_ranks_joined_and_not(ranks, memory, fused_calls) -> None:
    """4 has no eight columns; three of 136 fit no tile together."""
    model = with_adapter(make_llama().double(), TARGETS, rank=ranks).train()
    reference = copy.deepcopy(model)
    install(reference)
    install(model, dataclasses.replace(FUSED, memory=memory))
    assert_same(model, reference, pack([9, 4]), TOLERANCE)
    assert len(fused_calls) == 2


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["up_proj", "o_proj"], ["down_proj"]])
def test_adapters_on_some_layers(targets, fused_calls) -> None:
    model = with_adapter(make_llama("qwen2").double(), targets, rank=8).train()
    reference = copy.deepcopy(model)
    install(reference)
    install(model, FUSED)
    assert_same(model, reference, pack([5, 8]), TOLERANCE)
    assert len(fused_calls) == 2


@pytest.mark.parametrize("memory", ["fast", "low"])
def test_dropout_masks_agree_between_forward_and_backward(memory, fused_calls, monkeypatch) -> None:
    model = with_adapter(make_llama(), TARGETS, rank=8, dropout=0.3).train()
    reference = copy.deepcopy(model)
    install(reference)
    install(model, dataclasses.replace(FUSED, memory=memory))
    from plugins.llama.block import LlamaBlock

    monkeypatch.setattr(LlamaBlock, "seed", lambda self, batch, which: torch.tensor(77))
    SameDropout.put_on(reference, 0.3, 77)
    assert_same(model, reference, pack([7, 9]), 1e-5)
    assert len(fused_calls) == 2


@pytest.mark.parametrize("memory", ["fast", "low"])
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_a_4bit_base(tmp_path, kind, memory, fused_calls) -> None:
    model = with_adapter(make_4bit_llama(tmp_path, kind), TARGETS, rank=8).train()
    reference = copy.deepcopy(model)
    install(reference)
    install(model, dataclasses.replace(FUSED, memory=memory))
    assert_same(model, reference, pack([9, 1, 4], padding=2), 1e-5)
    assert len(fused_calls) == 2


def test_two_backwards_through_one_forward_are_refused() -> None:
    model = with_adapter(make_llama(), TARGETS, rank=8).train()
    install(model, FUSED)
    loss = model(input_ids=pack([9])["input_ids"], use_cache=False).logits.square().mean()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden_act": "gelu"}, "activation is gelu"),
        ({"attention_dropout": 0.1}, "dropout of its own"),
    ],
)
def test_what_cannot_be_fused_runs_in_the_modules(changes, reason, fused_calls) -> None:
    model = with_adapter(make_llama(**changes), TARGETS, rank=8)
    model = model.train()
    install(model, FUSED)
    assert reason in why_not_fused(model.base_model.model)
    model(input_ids=pack([9])["input_ids"], use_cache=False)
    assert fused_calls == []
    assert [taken["part"] for taken in fallbacks_taken()] == ["llama.block"]


def test_rows_longer_than_a_sliding_window_run_in_the_modules(fused_calls) -> None:
    model = with_adapter(make_llama("mistral", sliding_window=8), TARGETS, rank=8).train()
    install(model, FUSED)
    model(input_ids=pack([8])["input_ids"], use_cache=False)
    assert len(fused_calls) == 2
    model(input_ids=pack([9])["input_ids"], use_cache=False)
    assert len(fused_calls) == 2


def test_a_saved_adapter_loads_into_plain_peft(tmp_path) -> None:
    from peft import PeftModel

    model = with_adapter(make_llama("qwen2"), TARGETS, rank=8).train()
    install(model, FUSED)
    ids = pack([9])["input_ids"]
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    model(input_ids=ids, use_cache=False).logits.square().mean().backward()
    optimizer.step()
    model.save_pretrained(tmp_path)
    plain = PeftModel.from_pretrained(make_llama("qwen2"), tmp_path).eval()
    asked = {"input_ids": ids, "use_cache": False}
    assert relative(model.eval()(**asked).logits, plain(**asked).logits) < 1e-5


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3"])
def test_generation_equals_stock(kind) -> None:
    stock = make_llama(kind).eval()
    ours = copy.deepcopy(stock)
    install(ours, FUSED)
    ids = torch.randint(12, 128, (2, 7), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    mask[0, :3] = 0  # left padding, as chat batches have it
    ids[0, :3] = 3
    for use_cache in (True, False):
        settings = {
            "attention_mask": mask, "max_new_tokens": 12, "do_sample": False,
            "use_cache": use_cache, "return_dict_in_generate": True, "output_logits": True,
        }  # fmt: skip
        want, got = stock.generate(ids, **settings), ours.generate(ids, **settings)
        assert torch.equal(got.sequences, want.sequences)
        assert torch.allclose(torch.stack(got.logits), torch.stack(want.logits), atol=1e-4)
