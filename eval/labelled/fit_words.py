"""Fit the regression over words (`eval.checks.words`) to the labelled answers: seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from eval.checks.words import Words, grams, values

ANSWERS, WRITERS = 3, 2  # that must have a word at least, for it to count
STRENGTH = 5.0  # of the answers against the penalty on the weights


def fit_words(
    answers: Sequence[str], writers: Sequence[str], wanted: np.ndarray, weight: np.ndarray
) -> Words:
    """Logistic regressions with a penalty on squared weights, one a label.

    Args:
        answers: texts.
        writers: of each, a name.
        wanted: float, (answers, labels): 1 where the answer does it.
        weight: float, (answers, labels): how much that counts.
    """
    vocabulary = _vocabulary(answers, writers)
    places = {gram: place for place, gram in enumerate(vocabulary)}
    counts = Counter(gram for text in answers for gram in set(grams(text)) if gram in places)
    idf = np.array([1 + np.log((1 + len(answers)) / (1 + counts[gram])) for gram in vocabulary])
    rows = [values(text, places, idf) for text in answers]
    seen = csr_matrix(
        (
            np.concatenate([found for _, found in rows]),
            np.concatenate([at for at, _ in rows]),
            np.cumsum([0, *(len(at) for at, _ in rows)]),
        ),
        shape=(len(answers), len(vocabulary)),
    )
    fits = [_logistic(seen, wanted[:, j], weight[:, j]) for j in range(wanted.shape[1])]
    return Words(
        vocabulary,
        idf,
        np.stack([weights for weights, _ in fits]),
        np.array([bias for _, bias in fits]),
    )


def _vocabulary(answers: Sequence[str], writers: Sequence[str]) -> list[str]:
    having: Counter[str] = Counter()
    by: dict[str, set[str]] = {}
    for text, writer in zip(answers, writers, strict=True):
        for gram in set(grams(text)):
            having[gram] += 1
            by.setdefault(gram, set()).add(writer)
    return sorted(g for g, n in having.items() if n >= ANSWERS and len(by[g]) >= WRITERS)


def _logistic(seen: csr_matrix, wanted: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, float]:
    counts = weight > 0
    x, sign, strength = seen[counts], 2 * wanted[counts] - 1, STRENGTH * weight[counts]

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (x @ point[:-1] + point[-1])
        pull = -strength * sign / (1 + np.exp(np.clip(margin, -30, 30)))
        slope = np.append(x.T @ pull, pull.sum()) + point
        return float(strength @ np.logaddexp(0, -margin) + point @ point / 2), slope

    found = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B").x
    return found[:-1], float(found[-1])
