"""A CPU's attention over packed sequences equals the modules' under a mask."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from tiny_llama import KINDS, TARGETS, make_llama

from plugins.fused import cpu_attention
from plugins.fused.args import FusedOptions
from plugins.fused.backends import Choice, Machine, choose
from plugins.llama.model import install
from tests.plugins.fused.comparison import (
    assert_packed_equals_one_by_one,
    assert_same,
    outputs_and_gradients,
    pack,
    relative,
    with_adapter,
)

PADDED = Choice(attention="padded")


@pytest.fixture
def calls(monkeypatch):
    """Shapes of the queries, so that a silent fall back to the mask fails the test."""
    shapes = []
    laid = cpu_attention._side_by_side
    monkeypatch.setattr(
        cpu_attention, "_side_by_side",
        lambda t, *rest, **how: shapes.append(tuple(t.shape)) or laid(t, *rest, **how),
    )  # fmt: skip
    return shapes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("implementation", "tolerance"), [("sdpa", 1e-9), ("eager", 3e-6)])
def test_equals_the_mask(kind, implementation, tolerance, calls) -> None:
    """Eager takes its softmax in float32, of a float64 model too."""
    model = with_adapter(make_llama(kind).double(), TARGETS, rank=8).train()
    model.config._attn_implementation = implementation
    reference = copy.deepcopy(model)
    install(reference)
    install(model, PADDED)
    assert_same(model, reference, pack([7, 1, 12, 5], padding=3), tolerance)
    assert calls
    assert model.base_model.model.config._attn_implementation == implementation


def test_equals_stock_in_float32(calls) -> None:
    """One conversation a row, against transformers and PEFT as they come."""
    stock = with_adapter(make_llama("smollm2"), TARGETS, rank=8).train()
    model = copy.deepcopy(stock)
    install(model, PADDED)
    assert_same(model, stock, pack([17]), 1e-5)
    assert calls


def test_in_bfloat16_it_is_as_near_to_float32_as_the_modules(calls) -> None:
    stock = with_adapter(make_llama("smollm2"), TARGETS, rank=8).train()
    model = copy.deepcopy(stock)
    install(model, PADDED)
    exact, gradients = outputs_and_gradients(stock, pack([17]))
    far = []
    for one in (model, stock):
        with torch.autocast("cpu", torch.bfloat16):
            got, found = outputs_and_gradients(one, pack([17]))
        names = sorted(gradients)
        whole = [torch.cat([grads[n].flatten() for n in names]) for grads in (found, gradients)]
        far.append((relative(got.float(), exact), relative(*whole)))
    for ours, theirs in zip(*far, strict=True):
        assert ours < 1.2 * theirs < 0.1
    assert calls


def test_packed_equals_one_by_one(calls) -> None:
    model = with_adapter(make_llama("llama"), TARGETS).train()
    install(model, PADDED)
    assert_packed_equals_one_by_one(model)
    assert calls


@pytest.mark.parametrize("training", [True, False])
def test_several_rows(training, calls) -> None:
    model = with_adapter(make_llama().double(), TARGETS, rank=8).train(training)
    reference = copy.deepcopy(model)
    install(reference)
    install(model, PADDED)
    rows = [pack([5, 6, 4]), pack([7, 8])]
    batch = {key: torch.cat([row[key] for row in rows]) for key in rows[0]}
    got, wanted = (one(**batch, use_cache=False).logits for one in (model, reference))
    assert relative(got, wanted) < 1e-9
    assert calls[0][0] == 2


def test_where_it_is_more_work_or_not_the_same_the_modules_attend(calls) -> None:
    model = with_adapter(make_llama().double(), TARGETS, rank=8).train()
    install(model, PADDED)
    # One long sequence and many of one token: side by side they are more than under a mask.
    assert_same(model, copy.deepcopy(model), pack([20] + [1] * 9), 1e-9)
    model.base_model.model.model.config.attention_dropout = 0.1
    model(**pack([9, 4]), use_cache=False)
    assert not calls


def test_checkpointing_takes_the_mask(calls) -> None:
    """Made again in the backward, a block would find no sequences."""
    model = with_adapter(make_llama().double(), TARGETS, rank=8).train()
    reference = copy.deepcopy(model)
    install(reference)
    install(model, PADDED)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    assert_same(model, reference, pack([9, 4, 6]), 1e-9)
    assert not calls


def test_generation_is_as_before(calls) -> None:
    model = make_llama().eval()
    reference = copy.deepcopy(model)
    install(model, PADDED)
    ids = pack([9])["input_ids"]
    said = [one.generate(ids, max_new_tokens=5, do_sample=False) for one in (model, reference)]
    assert torch.equal(*said)
    assert not calls


@pytest.mark.parametrize(
    ("wanted", "pads", "attention"),
    [({}, True, "padded"), ({}, False, "mask"), ({"attention": "plain"}, True, "mask")],
)
def test_chosen_on_a_cpu(wanted, pads, attention) -> None:
    machine = Machine(torch.device("cpu"), torch.bfloat16, 64, pads_in_modules=pads)
    assert choose(FusedOptions(**wanted), machine, "llama").attention == attention
    choice = dataclasses.replace(PADDED, loss=True)
    assert choose(FusedOptions(), dataclasses.replace(machine, pads_in_modules=True), "llama") == (
        dataclasses.replace(choice, memory="auto")
    )
