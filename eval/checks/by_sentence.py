"""What an answer does by what its sentences resemble, each by itself.

The encoder of `eval.checks.encoder`, as it was published, gives each sentence and the end of the
person's messages a vector; linear heads say of each sentence what it does to this person, and the
highest counts. So what is said elsewhere in an answer, such as a question at its end, hides no
sentence that does harm. `eval.labelled.second` fits the heads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.checks.encoder import embed
from eval.checks.units import MOST_WORDS, units

SHARPNESS = 3.0  # of the log sum exp over sentences
_LENGTH = 4.8  # of the vectors, on average, before `embed` makes them of length one


def tail(question: str) -> str:
    """The end of the person's messages, as it is read."""
    return " ".join(question.split()[-MOST_WORDS:])


def prefetch(pairs: Iterable[tuple[str, str]]) -> None:
    """Get the vectors of many (question, answer) at once, which takes less time."""
    embed([text for question, answer in pairs for text in (*units(answer), tail(question))])


def features(question: str, answer: str) -> np.ndarray:
    """Of each sentence its vector, the message's, and their product: float32, (sentences, 1152)."""
    said = units(answer)
    vectors = _LENGTH * embed([*said, tail(question)])
    own, asked = vectors[:-1], vectors[-1:]
    return np.hstack([own, np.repeat(asked, len(own), 0), own * asked])


@dataclass(frozen=True)
class Sentences:
    """The fitted heads.

    Attributes:
        weight: float, (labels, features).
        bias: float, (labels,).
    """

    weight: np.ndarray
    bias: np.ndarray

    def logits(self, question: str, answer: str) -> np.ndarray:
        """By label, float, (labels,)."""
        by_sentence = features(question, answer) @ self.weight.T + self.bias
        top = by_sentence.max(0)
        summed = np.exp(SHARPNESS * (by_sentence - top)).sum(0)
        found: np.ndarray = top + np.log(summed) / SHARPNESS
        return found

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
