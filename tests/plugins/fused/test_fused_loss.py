"""The fused loss where there is nothing to learn, and where a conversation begins."""

from __future__ import annotations

import inspect

import pytest
import torch

from plugins.fused.causal_lm import FusedLoss, put_before
from plugins.fused.loss import (
    OPENING,
    WithTargetRows,
    find_openings,
    find_target_rows,
    fused_cross_entropy,
)
from recipes.runner.core.labels import IGNORE

on_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("num_items", [None, 7])
def test_a_batch_without_labels_gives_zero_in_fp16(num_items) -> None:
    hidden = torch.full((1, 600, 64), 100.0, dtype=torch.float16, requires_grad=True)
    assert torch.isinf(hidden.sum())
    labels = torch.full((1, 600), IGNORE)
    rows = find_target_rows(labels)
    loss = fused_cross_entropy(hidden, torch.randn(9, 64), labels, rows, num_items)
    loss.backward()
    assert loss.item() == 0.0
    assert hidden.grad is not None and not hidden.grad.any()


@pytest.mark.parametrize("num_items", [None, 90])
@pytest.mark.parametrize("labelled", [1, 40, 300])
def test_on_a_cpu_it_is_the_plain_loss(num_items, labelled) -> None:
    """Value and gradient, whatever part of the batch is labelled."""
    torch.manual_seed(labelled)
    hidden = torch.randn(2, 200, 16, requires_grad=True)
    head = torch.randn(50, 16)
    labels = torch.full((400,), IGNORE)
    places = torch.randperm(400)[:labelled]
    labels[places] = torch.randint(50, (labelled,))
    labels = labels.view(2, 200)
    labels[0, 1] = 3  # one that the token before it predicts, whatever was drawn
    of_rows = fused_cross_entropy(hidden, head, labels, find_target_rows(labels), num_items)
    grad = torch.autograd.grad(of_rows, hidden)[0]
    shifted = labels[:, 1:].flatten()
    logits = (hidden @ head.T)[:, :-1].flatten(0, 1)
    plain = torch.nn.functional.cross_entropy(logits, shifted, reduction="sum")
    plain = plain / (num_items or (shifted != IGNORE).sum())
    assert of_rows.item() == pytest.approx(plain.item(), rel=1e-5)
    assert torch.allclose(grad, torch.autograd.grad(plain, hidden)[0], atol=1e-6)


def test_openings_are_the_first_labelled_tokens_of_each_answer() -> None:
    labels = torch.full((2, 40), IGNORE)
    labels[0, 3:20] = 1
    labels[0, 21:23] = 1  # a second answer, shorter than an opening
    labels[1, 0:12] = 1  # from the first token of a row on
    expected = torch.zeros(2, 40, dtype=torch.bool)
    expected[0, 3 : 3 + OPENING] = True
    expected[0, 21:23] = True
    expected[1, :OPENING] = True
    assert torch.equal(find_openings(labels), expected)
    expected[0, 5 : 3 + OPENING] = expected[1, 2:OPENING] = False
    assert torch.equal(find_openings(labels, 2), expected)


@pytest.mark.parametrize(("num_items", "tokens"), [(None, OPENING), (90, OPENING), (90, 2)])
def test_openings_count_as_often_as_asked(num_items, tokens) -> None:
    """Value and gradient against a weighted mean written out; weights of 1 change nothing."""
    torch.manual_seed(1)
    hidden = torch.randn(2, 60, 16, requires_grad=True)
    head = torch.randn(50, 16)
    labels = torch.randint(50, (2, 60))
    labels[:, :5] = IGNORE
    labels[:, 30:36] = IGNORE
    rows = find_target_rows(labels)
    weighted = fused_cross_entropy(hidden, head, labels, rows, num_items, 3.0, tokens)
    grad = torch.autograd.grad(weighted, hidden)[0]
    weights = torch.where(find_openings(labels, tokens), 3.0, 1.0)[:, 1:].flatten()
    shifted = labels[:, 1:].flatten()
    weights = weights * (shifted != IGNORE)
    logits = (hidden @ head.T)[:, :-1].flatten(0, 1)
    each = torch.nn.functional.cross_entropy(logits, shifted, reduction="none")
    labelled = (shifted != IGNORE).sum()
    plain = (each * weights).sum() / weights.sum() * labelled / (num_items or labelled)
    assert weighted.item() == pytest.approx(plain.item(), rel=1e-5)
    assert torch.allclose(grad, torch.autograd.grad(plain, hidden)[0], atol=1e-6)
    alike = fused_cross_entropy(hidden, head, labels, rows, num_items, 1.0)
    assert alike.item() != pytest.approx(weighted.item(), rel=1e-5)


@on_card
@pytest.mark.parametrize("num_items", [None, 900])
@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_on_a_card_it_is_the_plain_loss_too(num_items, weight) -> None:
    """Value and gradient by liger's kernels, openings weighed and not, against float64."""
    torch.manual_seed(2)
    hidden = torch.randn(2, 700, 64, device="cuda", requires_grad=True)
    head = torch.randn(1000, 64, device="cuda") / 8
    labels = torch.randint(1000, (2, 700), device="cuda")
    for start in range(5, 700, 60):
        labels[:, start : start + 31] = IGNORE
    rows = find_target_rows(labels)
    loss = fused_cross_entropy(hidden, head, labels, rows, num_items, weight)
    (grad,) = torch.autograd.grad(loss, hidden)
    wide = hidden.detach().double().requires_grad_()
    weights = torch.where(find_openings(labels), weight, 1.0)[:, 1:].flatten().double()
    shifted = labels[:, 1:].flatten()
    weights = weights * (shifted != IGNORE)
    logits = (wide @ head.double().T)[:, :-1].flatten(0, 1)
    each = torch.nn.functional.cross_entropy(logits, shifted, reduction="none")
    labelled = (shifted != IGNORE).sum()
    plain = (each * weights).sum() / weights.sum() * labelled / (num_items or labelled)
    (want,) = torch.autograd.grad(plain, wide)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-3)
    assert ((grad - want).norm() / want.norm()).item() < 1e-3


@on_card
@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_on_a_card_in_16_bits(weight) -> None:
    torch.manual_seed(3)
    hidden = torch.randn(1, 600, 128, device="cuda").bfloat16().requires_grad_()
    head = torch.randn(5000, 128, device="cuda").bfloat16() / 11
    labels = torch.randint(5000, (1, 600), device="cuda")
    labels[:, 100:400] = IGNORE
    rows = find_target_rows(labels)
    results = []
    for of, by in ((hidden, head), (hidden.detach().double().requires_grad_(), head.double())):
        given = [of, by, labels, rows]
        if of is not hidden:
            given = [tensor.cpu() for tensor in given]
        loss = fused_cross_entropy(*given, 333, weight)
        results.append((loss.item(), torch.autograd.grad(loss, of)[0].double()))
    (got, got_grad), (want, want_grad) = results
    assert got == pytest.approx(want, rel=2e-2)
    assert ((got_grad - want_grad).norm() / want_grad.norm()).item() < 2e-2


@on_card
def test_on_a_card_a_batch_without_labels_has_no_gradient() -> None:
    hidden = torch.randn(1, 8, 16, device="cuda", requires_grad=True)
    labels = torch.full((1, 8), IGNORE, device="cuda")
    rows = torch.tensor([2, 7], device="cuda")
    loss = fused_cross_entropy(hidden, torch.randn(9, 16, device="cuda"), labels, rows, None, 3.0)
    loss.backward()
    assert loss.item() == 0.0
    assert hidden.grad is not None and not hidden.grad.any()


def test_a_batch_without_labels_is_zero_with_weights_too() -> None:
    hidden = torch.randn(1, 8, 4, requires_grad=True)
    labels = torch.full((1, 8), IGNORE)
    rows = torch.tensor([2, 7])  # found before the labels were masked
    loss = fused_cross_entropy(hidden, torch.randn(9, 4), labels, rows, None, 3.0)
    assert loss.item() == 0.0


def test_target_rows_stand_before_the_labels() -> None:
    labels = torch.tensor([[IGNORE, 4, IGNORE, 5], [6, IGNORE, 7, IGNORE]])
    rows = find_target_rows(labels)
    assert rows.numel() == 256
    assert rows.unique().tolist() == [0, 2, 5, 7]  # 7, the last token, fills up


class Collator:
    tokenizer = "its tokenizer"

    def __call__(self, rows):
        return {"labels": rows}


def test_the_collators_attributes_stay_in_reach() -> None:
    wrapped = WithTargetRows(Collator())
    assert wrapped.tokenizer == "its tokenizer"
    assert wrapped(torch.tensor([[1, 2]]))["target_rows"].unique().tolist() == [0, 1]


def test_a_model_keeps_the_parameters_of_its_forward() -> None:
    """From which the Trainer reads what columns of a data set to keep."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=8
    )
    model = LlamaForCausalLM(config)
    before = list(inspect.signature(model.forward).parameters)
    put_before(FusedLoss, model)
    assert list(inspect.signature(model.forward).parameters) == before
    assert "input_ids" in before
    ids = torch.tensor([[1, 2, 3]])
    assert model(input_ids=ids, labels=ids).loss is not None
