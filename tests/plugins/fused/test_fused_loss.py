"""The fused loss where there is nothing to learn, and where a conversation begins."""

from __future__ import annotations

import inspect

import pytest
import torch

from plugins.fused.causal_lm import FusedLoss, put_before
from plugins.fused.loss import IGNORE, WithTargetRows, find_target_rows, fused_cross_entropy


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
