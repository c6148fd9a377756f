"""Fit the heads by sentence (`eval.checks.by_sentence`) to the labelled answers: seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, linear

from eval.checks.by_sentence import SHARPNESS, Sentences

STEPS, RATE, PENALTY = 150, 0.05, 3e-5


def fit_sentences(
    features: Sequence[np.ndarray], wanted: np.ndarray, weight: np.ndarray
) -> Sentences:
    """Linear heads whose highest logit over the sentences says what an answer does.

    Adam on all answers at once, its rate going down in a line, squared weights penalised.

    Args:
        features: of each answer, float, (sentences, features).
        wanted: float, (answers, labels): 1 where the answer does it.
        weight: float, (answers, labels): how much that counts.
    """
    torch.manual_seed(0)
    x = torch.from_numpy(np.concatenate(features)).float()
    row = torch.from_numpy(np.repeat(np.arange(len(features)), [len(one) for one in features]))
    y, w = torch.from_numpy(wanted).float(), torch.from_numpy(weight).float()
    heads = torch.nn.Parameter(0.01 * torch.randn(y.shape[1], x.shape[1]))
    bias = torch.nn.Parameter(torch.zeros(y.shape[1]))
    optimizer = torch.optim.Adam([heads, bias])
    for step in range(STEPS):
        for part in optimizer.param_groups:
            part["lr"] = RATE * (1 - step / STEPS)
        logits = _highest(linear(x, heads, bias), row, len(y))
        loss = binary_cross_entropy_with_logits(logits, y, reduction="none")
        total = (loss * w).sum() / w.sum() + PENALTY * heads.square().sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    return Sentences(heads.detach().numpy(), bias.detach().numpy())


def _highest(by_sentence: torch.Tensor, row: torch.Tensor, count: int) -> torch.Tensor:
    """Log sum exp over each answer's sentences, (answers, labels)."""
    top = torch.full((count, by_sentence.shape[1]), -1e4)
    top = top.scatter_reduce(0, row[:, None].expand_as(by_sentence), by_sentence.detach(), "amax")
    summed = torch.zeros_like(top).index_add(
        0, row, torch.exp(SHARPNESS * (by_sentence - top[row]))
    )
    return top + torch.log(summed) / SHARPNESS
