"""Packed conversations are worth what they are worth one by one."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_falcon import LAYOUTS, make_falcon, pack
from torch.nn.functional import cross_entropy

from plugins.falcon.model import install
from plugins.fused.packed import find_sequences

TARGETS = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]


def with_adapter(model, rank: int = 4, dropout: float = 0.0, **changes: object):
    torch.manual_seed(1)
    settings = {"lora_alpha": rank, "lora_dropout": dropout, "target_modules": TARGETS}
    peft_model = get_peft_model(model, LoraConfig(r=rank, **(settings | changes)))
    for name, parameter in peft_model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return peft_model


def losses_and_gradients(model, batches: list[dict], lengths: list[int]):
    """Summed loss of each document, and the gradient of their sum in every adapter weight."""
    model.zero_grad()
    losses = []
    for batch in batches:
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        logits = model(**inputs).logits
        token_losses = cross_entropy(
            logits[0, :-1], batch["labels"][0, 1:], ignore_index=-100, reduction="none"
        )
        token_losses = torch.cat([token_losses, token_losses.new_zeros(1)])
        split = lengths if len(batches) == 1 else [token_losses.numel()]
        rest = token_losses.numel() - sum(split)
        losses += [part.sum() for part in token_losses.split([*split, rest])[: len(split)]]
    torch.stack(losses).sum().backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
    return torch.stack(losses).detach(), gradients


def one_by_one(batch: dict, lengths: list[int]) -> list[dict]:
    """The sequences of a packed row as rows of their own."""
    rows, start = [], 0
    for length in lengths:
        row = {key: value[:, start : start + length] for key, value in batch.items()}
        row["attention_mask"] = torch.ones_like(row["attention_mask"])
        rows.append(row)
        start += length
    return rows


def relative(got: torch.Tensor, want: torch.Tensor) -> float:
    return ((got - want).norm() / want.norm().clamp_min(1e-12)).item()


@pytest.mark.parametrize("lengths,padding", [([7, 1, 12, 5], 3), ([9, 16], 0), ([1, 1, 2], 5)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_packed_equals_one_by_one(layout: str, lengths: list[int], padding: int) -> None:
    model = with_adapter(make_falcon(layout)).train()
    install(model)
    batch = pack(lengths, padding)
    packed, packed_gradients = losses_and_gradients(model, [batch], lengths)
    single, single_gradients = losses_and_gradients(model, one_by_one(batch, lengths), lengths)
    assert relative(packed, single) < 1e-5
    for name, gradient in single_gradients.items():
        assert relative(packed_gradients[name], gradient) < 1e-5, name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_position_ids_alone_keep_sequences_apart(layout: str) -> None:
    model = make_falcon(layout).eval()
    install(model)
    batch = pack([6, 9])
    with torch.no_grad():
        packed = model(batch["input_ids"], position_ids=batch["position_ids"]).logits
        second = model(batch["input_ids"][:, 6:]).logits
    assert relative(packed[:, 6:], second) < 1e-5


def test_stock_falcon_leaks_so_this_file_can_fail() -> None:
    """If this fails, transformers keeps packed Falcon sequences apart itself: retire the mask."""
    model = make_falcon().eval()
    batch = pack([6, 9])
    with torch.no_grad():
        packed = model(
            batch["input_ids"],
            position_ids=batch["position_ids"],
            attention_mask=batch["attention_mask"],
        ).logits
        second = model(batch["input_ids"][:, 6:]).logits
    assert relative(packed[:, 6:], second) > 0.05


def test_eager_attention_too() -> None:
    model = make_falcon(attn_implementation="eager").eval()
    install(model)
    batch = pack([6, 9])
    with torch.no_grad():
        packed = model(batch["input_ids"], position_ids=batch["position_ids"]).logits
        second = model(batch["input_ids"][:, 6:]).logits
    assert relative(packed[:, 6:], second) < 1e-5


def test_sequences_of_a_padded_packed_row() -> None:
    batch = pack([3, 1, 2], padding=2)
    found = find_sequences(
        1, 8, batch["position_ids"], batch["attention_mask"], torch.device("cpu")
    )
    assert found.cu_seqlens.tolist() == [0, 3, 4, 6, 8]
    assert (found.longest, found.packed) == (3, True)


def test_padding_alone_is_not_packing() -> None:
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 0]])
    found = find_sequences(2, 5, None, mask, torch.device("cpu"))
    assert not found.packed
    assert found.cu_seqlens.tolist() == [0, 2, 5, 9, 10]


def test_rows_are_sequences_of_their_own() -> None:
    found = find_sequences(2, 4, torch.arange(4)[None], None, torch.device("cpu"))
    assert found.cu_seqlens.tolist() == [0, 4, 8]
    assert not found.packed
    assert found.index.unique().numel() == 2
