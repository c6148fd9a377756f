"""Fit what each sign adds (`eval.checks.signs`) to what the other readings say: seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from eval.checks.signs import NAMES, Signs, places

PENALTY = 3.0  # on squared weights, against one for each answer


def fit_signs(
    said: Sequence[tuple[str, str]], others: np.ndarray, wanted: np.ndarray, weight: np.ndarray
) -> Signs:
    """Logistic regressions beside a given logit, one a label, with a penalty on squared weights.

    Args:
        said: (question, answer) pairs.
        others: float, (answers, labels): logits of readings that have not seen the answer.
        wanted: float, (answers, labels): 1 where the answer does it.
        weight: float, (answers, labels): how much that counts.
    """
    found = [places(*pair) for pair in said]
    seen = csr_matrix(
        (
            np.ones(sum(map(len, found))),
            np.concatenate([np.array(at, np.int64) for at in found]),
            np.cumsum([0, *map(len, found)]),
        ),
        shape=(len(said), len(NAMES)),
    )
    fits = [
        _logistic(seen, others[:, j], wanted[:, j], weight[:, j]) for j in range(wanted.shape[1])
    ]
    return Signs(np.stack([one[:-1] for one in fits]), np.array([one[-1] for one in fits]))


def _logistic(
    seen: csr_matrix, others: np.ndarray, wanted: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Weights of the signs and, last, the bias."""
    counts = weight > 0
    x, given, sign, strength = seen[counts], others[counts], 2 * wanted[counts] - 1, weight[counts]

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (given + x @ point[:-1] + point[-1])
        pull = -strength * sign / (1 + np.exp(np.clip(margin, -30, 30)))
        slope = np.append(x.T @ pull + PENALTY * point[:-1], pull.sum())
        total = strength @ np.logaddexp(0, -margin) + PENALTY / 2 * point[:-1] @ point[:-1]
        return float(total), slope

    best: np.ndarray = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B").x
    return best
