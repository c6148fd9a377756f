"""Likeness to a reference: against the libraries' own figures, and with a real (tiny) encoder."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval.checks.similarity import Embedder, chrf, rouge_l
from recipes.runner.core.errors import UserError


def test_chrf_by_hand() -> None:
    # chrF of one changed letter: F2 of the mean n-gram precision and recall over orders 1 to 6.
    answer, reference = "abcdefg", "abcdefx"
    shares = []
    for order in range(1, 7):
        left = {answer[i : i + order] for i in range(8 - order)}
        right = {reference[i : i + order] for i in range(8 - order)}
        shares.append(len(left & right) / (8 - order))
    assert chrf(answer, reference) == pytest.approx(sum(shares) / 6, abs=1e-6)
    assert chrf("same words", "same words") == pytest.approx(1.0)


def test_rouge_l_is_the_longest_common_subsequence() -> None:
    # "police kill the gunman" against "police killed the gunman" is the same after stemming;
    # against "the gunman kill police" the longest common subsequence has two of four words.
    assert rouge_l("police kill the gunman", "police killed the gunman") == pytest.approx(1.0)
    assert rouge_l("the gunman kill police", "police kill the gunman") == pytest.approx(0.5)


def test_embedding_similarity(tmp_path: Path) -> None:
    import torch
    from tiny_chat import make_tokenizer
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=420, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path)
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(tmp_path)
    embed = Embedder(tmp_path)
    assert embed("Grass is green.", "Grass is green.") == pytest.approx(1.0, abs=1e-5)
    short, long = "Rain.", "Grass is green and snow is white."
    assert embed(short, long) == pytest.approx(embed(long, short), abs=1e-5)
    assert embed(short, long) < 1
    assert -1 <= embed("", "Grass") <= 1
    with pytest.raises(UserError, match="no embedding model"):
        Embedder(tmp_path / "nowhere")
