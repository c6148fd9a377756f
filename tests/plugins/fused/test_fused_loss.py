"""The fused loss where there is nothing to learn, and where a conversation begins."""

from __future__ import annotations

import pytest
import torch

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
