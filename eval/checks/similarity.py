"""Likeness of an answer to its reference: chrF, ROUGE-L, and embeddings when a model is given."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from recipes.runner.core.errors import UserError


def chrf(answer: str, reference: str) -> float:
    """chrF (Popovic 2015), sacrebleu's defaults, from 0 to 1."""
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF().sentence_score(answer, [reference]).score) / 100


def rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L F1 with stemming (Lin 2004), from 0 to 1."""
    return float(_rouge().score(reference, answer)["rougeL"].fmeasure)


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=True)


class Embedder:
    """Cosine of mean-pooled token embeddings of a local encoder.

    Args:
        path: folder of a transformers encoder (safetensors) with its tokenizer.

    Raises:
        UserError: the folder holds no such model.
    """

    def __init__(self, path: Path) -> None:
        from transformers import AutoModel, AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
            self._model = AutoModel.from_pretrained(
                path, trust_remote_code=False, use_safetensors=True
            ).eval()
        except (OSError, ValueError) as error:
            raise UserError(
                f"is no embedding model: {str(error).splitlines()[0]}", str(path)
            ) from None

    def __call__(self, answer: str, reference: str) -> float:
        """Cosine similarity, from -1 to 1."""
        import torch

        tokens = self._tokenizer(
            [answer or " ", reference], padding=True, truncation=True, return_tensors="pt"
        )
        with torch.inference_mode():
            hidden = self._model(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1)
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        return float(torch.nn.functional.cosine_similarity(pooled[0], pooled[1], dim=0))
