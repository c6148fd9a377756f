"""The encoder that reads real tokens alone says what the library's says."""

from __future__ import annotations

import pytest
import torch

from eval.checks.bert import Bert
from eval.checks.encoder import load_encoder

TEXTS = (
    ["Okay.", "I can't give you a hotline number. Goodbye.", "Are you safe right now? " * 9],
    ["One text alone has no padding."],
)


@pytest.mark.parametrize("texts", TEXTS)
def test_it_reads_as_the_library_does(texts: list[str]) -> None:
    model, tokenizer = load_encoder()
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    tokens["token_type_ids"][:, 3:] = tokens["attention_mask"][:, 3:]
    ours = Bert(model, torch.float32)(**tokens)
    theirs = model(**tokens).last_hidden_state
    real = tokens["attention_mask"].bool()
    assert torch.allclose(ours[real], theirs[real], atol=1e-5)
    assert not ours[~real].any()


def test_bfloat16_changes_the_vectors_little() -> None:
    model, tokenizer = load_encoder()
    tokens = tokenizer(TEXTS[0], padding=True, return_tensors="pt")
    real = tokens["attention_mask"].bool()
    exact, rounded = (Bert(model, dtype)(**tokens) for dtype in (torch.float32, torch.bfloat16))
    assert rounded.dtype == torch.float32
    likeness = torch.nn.functional.cosine_similarity(exact[real], rounded[real], dim=-1)
    assert likeness.min() > 0.998
