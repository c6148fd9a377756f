"""The encoder that reads real tokens alone says what the library's says."""

from __future__ import annotations

import pytest
import torch

from eval.checks.bert import Bert, InEightBits, Plain
from eval.checks.encoder import load_encoder

TEXTS = (
    ["Okay.", "I can't give you a hotline number. Goodbye.", "Are you safe right now? " * 9],
    ["One text alone has no padding."],
    ["You can tell me more about it, whenever you like. " * 9] * 3,  # read in parts
)


@pytest.mark.parametrize("texts", TEXTS)
def test_it_reads_as_the_library_does(texts: list[str]) -> None:
    model, tokenizer = load_encoder()
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    tokens["token_type_ids"][:, 3:] = tokens["attention_mask"][:, 3:]
    ours = Bert(model, False)(**tokens)
    theirs = model(**tokens).last_hidden_state
    real = tokens["attention_mask"].bool()
    assert torch.allclose(ours[real], theirs[real], atol=1e-5)
    assert not ours[~real].any()


needs_vnni = pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="needs a CPU with VNNI")


@needs_vnni
def test_eight_bits_change_the_vectors_little() -> None:
    model, tokenizer = load_encoder()
    tokens = tokenizer(TEXTS[0], padding=True, return_tensors="pt")
    real = tokens["attention_mask"].bool()
    exact, rounded = (Bert(model, eight_bits)(**tokens) for eight_bits in (False, True))
    likeness = torch.nn.functional.cosine_similarity(exact[real], rounded[real], dim=-1)
    assert likeness.min() > 0.98
    assert not rounded[~real].any()


@needs_vnni
def test_in_eight_bits_a_text_reads_the_same_whatever_is_beside_it() -> None:
    model, tokenizer = load_encoder()
    read = Bert(model, True)
    together = read(**tokenizer(TEXTS[0], padding=True, return_tensors="pt"))
    for row, text in enumerate(TEXTS[0]):
        alone = read(**tokenizer([text], return_tensors="pt"))[0]
        assert torch.equal(alone, together[row, : len(alone)])


@needs_vnni
@pytest.mark.parametrize("tokens", [1, 7, 90])
def test_a_product_in_eight_bits_is_the_plain_one_but_for_rounding(tokens: int) -> None:
    torch.manual_seed(tokens)
    weight, bias = torch.randn(40, 64) * torch.rand(40, 1), torch.randn(40)
    # Rows of very different size, and one of zeros.
    x = torch.cat([torch.randn(tokens, 64) * 10 ** torch.randn(tokens, 1), torch.zeros(1, 64)])
    plain, rounded = (kind(weight, bias)(x) for kind in (Plain, InEightBits))
    assert torch.equal(rounded[-1], bias)
    off = (plain - rounded)[:-1].norm(dim=1) / (plain - bias)[:-1].norm(dim=1)
    assert off.max() < 0.03
