"""Packed conversations are worth what they are worth one by one."""

from __future__ import annotations

import pytest
import torch
from tiny_falcon import LAYOUTS, make_falcon, with_adapter
from torch import nn
from transformers.models.falcon.modeling_falcon import FalconFlashAttention2

from plugins.falcon.model import install
from plugins.fused.packed import find_sequences
from tests.plugins.fused.comparison import losses_and_gradients, one_by_one, pack, relative


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


def leak(model: nn.Module, *told: str) -> float:
    """How much the second of two packed sequences differs from itself alone, told what is what."""
    batch = pack([6, 9])
    with torch.no_grad():
        packed = model(batch["input_ids"], **{key: batch[key] for key in told}).logits
        alone = model(batch["input_ids"][:, 6:]).logits
    return relative(packed[:, 6:], alone)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_position_ids_alone_keep_sequences_apart(layout: str) -> None:
    model = make_falcon(layout).eval()
    install(model)
    assert leak(model, "position_ids") < 1e-5


def test_stock_falcon_leaks_so_this_file_can_fail() -> None:
    """If this fails, transformers keeps packed Falcon sequences apart itself: retire the mask."""
    model = make_falcon().eval()
    assert leak(model, "position_ids", "attention_mask") > 0.05


def test_flash_attention_2_makes_way(monkeypatch) -> None:
    """It takes no mask of four axes: an IndexError, where the package is installed."""
    said = []
    monkeypatch.setattr("plugins.falcon.model.note_fallback", lambda *text: said.append(text))
    model = make_falcon().eval()
    for layer in model.transformer.h:
        layer.self_attention.__class__ = FalconFlashAttention2
    model.config._attn_implementation = "flash_attention_2"
    install(model)
    assert leak(model, "position_ids") < 1e-5
    assert [what for what, *_ in said] == ["falcon.attention"]


def test_eager_attention_too() -> None:
    model = make_falcon(attn_implementation="eager").eval()
    install(model)
    assert leak(model, "position_ids") < 1e-5


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
