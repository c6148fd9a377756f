"""What the words of an answer say of what it does, beside what its sentences mean.

A small encoder knows less of a stranger's way to say a thing than the words that strangers share: a
logistic regression over the single words and pairs of words that at least two writers used, the
shipped data set counted as one (`eval.labelled.fit_words`), by tf-idf. It alone is worse than the
encoder, and the two err in different answers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

_TOKEN = re.compile(r"[\w']+|[.,;:!?]")
_STOPS = frozenset(".,;:!?")
_NEGATIONS = frozenset(
    (
        *("not", "no", "never", "nobody", "nothing", "none", "nor", "neither", "without"),
        *("cannot", "can't", "cant", "won't", "wont", "don't", "dont", "doesn't", "didn't"),
        *("isn't", "aren't", "wasn't", "shouldn't", "wouldn't", "couldn't", "needn't"),
        *("mustn't", "shan't"),
    )
)
_REACH = 5  # words behind a negation, up to the next stop, that count as negated too


def grams(text: str) -> list[str]:
    """Words, pairs of neighbours, and negated words once more as such ("not: take"), lower case.

    A question mark at the end decides nothing.
    """
    tokens = _TOKEN.findall(text.replace("\u2019", "'").casefold())
    words = [token for token in tokens if token not in _STOPS]
    return [*words, *(f"{one} {two}" for one, two in pairwise(words)), *_negated(tokens)]


def _negated(tokens: Sequence[str]) -> list[str]:
    found, left = [], 0
    for token in tokens:
        if token in _STOPS:
            left = 0
            continue
        if left:
            found.append(f"not: {token}")
            left -= 1
        if token in _NEGATIONS:
            left = _REACH
    return found


@dataclass(frozen=True)
class Words:
    """The fitted regression.

    Attributes:
        vocabulary: words and pairs.
        idf: float, (words,): how rare each is.
        weight: float, (labels, words).
        bias: float, (labels,).
    """

    vocabulary: Sequence[str]
    idf: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    @cached_property
    def _places(self) -> dict[str, int]:
        return {gram: place for place, gram in enumerate(self.vocabulary)}

    def values(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """(places, values) of what an answer has: 1 + log of the count, times idf; of length 1."""
        return values(text, self._places, self.idf)

    def logits(self, text: str) -> np.ndarray:
        """By label, float, (labels,)."""
        places, found = self.values(text)
        logits: np.ndarray = self.weight[:, places] @ found + self.bias
        return logits

    def tensors(self) -> dict[str, Any]:
        """As they are stored."""
        import torch

        text = "\n".join(self.vocabulary).encode()
        return {
            "words.vocabulary": torch.frombuffer(bytearray(text), dtype=torch.uint8),
            "words.idf": torch.from_numpy(self.idf).half(),
            "words.weight": torch.from_numpy(self.weight).half(),
            "words.bias": torch.from_numpy(self.bias).half(),
        }

    @classmethod
    def stored(cls, tensors: Mapping[str, Any]) -> Words:
        """Of the tensors of a file."""
        text = bytes(tensors["words.vocabulary"].numpy()).decode()
        rest = (tensors[f"words.{name}"].float().numpy() for name in ("idf", "weight", "bias"))
        return cls(text.split("\n"), *rest)


def values(text: str, places: Mapping[str, int], idf: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`Words.values`, before anything is fitted."""
    counts = Counter(gram for gram in grams(text) if gram in places)
    at = np.array([places[gram] for gram in counts], np.int64)
    found = (1 + np.log(np.array(list(counts.values()), np.float64))) * idf[at]
    return at, found / max(1e-9, float(np.linalg.norm(found)))
