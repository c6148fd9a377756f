"""A conversation's first token is never a target: what comes before it is another's last."""

from __future__ import annotations

import pickle

import torch
from axolotl.utils.collators import V2BatchSamplerDataCollatorForSeq2Seq
from tiny_chat import make_tokenizer
from torch.nn.functional import cross_entropy

from plugins.packing.first_labels import WithoutFirstLabels, mask_first
from recipes.runner.core.labels import IGNORE


def rows(*lengths: int) -> list[dict]:
    """Rows whose every token is trained, as ``train_on_inputs`` makes them."""
    return [
        {
            "input_ids": list(range(20, 20 + n)), "labels": list(range(20, 20 + n)),
            "attention_mask": [1] * n, "position_ids": list(range(n)),
        }
        for n in lengths
    ]  # fmt: skip


def collator() -> WithoutFirstLabels:
    tokenizer = make_tokenizer()
    tokenizer.pad_token = "<|pad|>"
    return WithoutFirstLabels(V2BatchSamplerDataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=8))


def test_packed_as_one_by_one() -> None:
    """The tokens that count, and their loss, are those of each conversation by itself."""
    lengths = [5, 1, 3]
    packed = collator()([rows(*lengths)])
    assert packed["labels"].shape == (1, 16)
    assert int((packed["labels"] != IGNORE).sum()) == sum(n - 1 for n in lengths)
    torch.manual_seed(0)
    table = torch.randn(64, 64)  # a model that looks at one token alone
    logits = table[packed["input_ids"][0]]
    got = cross_entropy(logits[:-1], packed["labels"][0, 1:], ignore_index=IGNORE, reduction="sum")
    want = sum(
        cross_entropy(
            table[torch.tensor(row["input_ids"][:-1])], torch.tensor(row["labels"][1:]),
            reduction="sum",
        )
        for row in rows(*lengths) if len(row["labels"]) > 1
    )  # fmt: skip
    assert torch.allclose(got, torch.as_tensor(want))


def test_rows_without_positions_lose_their_first_label() -> None:
    labels = torch.tensor([[5, 6, 7], [IGNORE, 8, 9]])
    assert mask_first(labels, None).tolist() == [[IGNORE, 6, 7], [IGNORE, 8, 9]]


def test_the_collators_attributes_stay_in_reach() -> None:
    wrapped = collator()
    assert wrapped.tokenizer.pad_token == "<|pad|>"
    assert wrapped.pad_to_multiple_of == 8
    assert pickle.loads(pickle.dumps(wrapped)).pad_to_multiple_of == 8
