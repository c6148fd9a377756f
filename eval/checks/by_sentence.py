"""What an answer does by what its sentences say, each by itself.

The encoder that reads message and answer together (`eval.checks.meaning`) gives each sentence and
the messages a vector half way up, where a sentence is still itself: the mean over its tokens.
Linear heads say of each sentence what it does to this person, and the highest counts. So what is
said elsewhere in an answer, such as a question at its end, hides no sentence that does harm.
`eval.labelled.second` fits the heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

SHARPNESS = 3.0  # of the log sum exp over sentences
DEPTH = (
    3  # of six layers; higher ones know more of what the first reading was taught, and err with it
)
_LENGTH = 4.8  # of the vectors


def features(sentences: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Of each sentence its vector, the messages', and their product: float32, (sentences, 1152).

    Args:
        sentences: float, (sentences, 384).
        asked: float, (384,).
    """
    own, other = _of_one_length(sentences), _of_one_length(asked[None])
    return np.hstack([own, np.repeat(other, len(own), 0), own * other])


def _of_one_length(vectors: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = _LENGTH * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


@dataclass(frozen=True)
class Sentences:
    """The fitted heads.

    Attributes:
        weight: float, (labels, features).
        bias: float, (labels,).
    """

    weight: np.ndarray
    bias: np.ndarray

    def logits(self, by_sentence: np.ndarray) -> np.ndarray:
        """By label, float, (labels,), of `features`."""
        found: np.ndarray = by_sentence @ self.weight.T + self.bias
        top = found.max(0)
        summed: np.ndarray = top + np.log(np.exp(SHARPNESS * (found - top)).sum(0)) / SHARPNESS
        return summed

    def tensors(self) -> dict[str, Any]:
        """As they are stored."""
        import torch

        return {
            "sentences.weight": torch.from_numpy(self.weight).half(),
            "sentences.bias": torch.from_numpy(self.bias).half(),
        }

    @classmethod
    def stored(cls, tensors: Mapping[str, Any]) -> Sentences:
        """Of the tensors of a file."""
        return cls(*(tensors[f"sentences.{name}"].float().numpy() for name in ("weight", "bias")))
