"""The losses of DPO that need no logits but those of the answers' own tokens, as TRL has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn import functional as F

SFT = "sft"
KNOWN = ("sigmoid", "ipo", "robust", SFT)
"""Values of `dpo_loss_type`; `rl: ipo` is the second."""


class Sides(NamedTuple):
    """What a micro-batch's loss is made of, each tensor [2 * pairs], chosen above rejected.

    Attributes:
        found: log probabilities by the one that is trained, in nats.
        changes: the same less the reference's.
        tokens: how many trained tokens each has.
    """

    found: torch.Tensor
    changes: torch.Tensor
    tokens: torch.Tensor


def pair_losses(
    kinds: Sequence[str], weights: Sequence[float], sides: Sides, beta: float, smoothing: float
) -> torch.Tensor:
    """[pairs] weighted sum of the losses of pairs; `SFT` is none, and counts nothing here.

    Args:
        kinds: of `KNOWN`.
        weights: one for each.
        sides: of the micro-batch.
        beta: how dear it is to part from the reference; of ``ipo`` the margin that is aimed at is
            ``1 / (2 * beta)`` nats a token.
        smoothing: of ``robust``, the share of pairs that are taken to be the wrong way round.
    """
    chosen, rejected = sides.changes.chunk(2)
    margin = beta * (chosen - rejected)
    total = torch.zeros_like(margin)
    for kind, weight in zip(kinds, weights, strict=True):
        if kind == "sigmoid":
            total = total - weight * F.logsigmoid(margin)
        elif kind == "ipo":
            good, bad = (sides.changes / sides.tokens.clamp(min=1)).chunk(2)
            total = total + weight * (good - bad - 1 / (2 * beta)) ** 2
        elif kind == "robust":
            right, wrong = F.logsigmoid(margin), F.logsigmoid(-margin)
            each = ((1 - smoothing) * right - smoothing * wrong) / (1 - 2 * smoothing)
            total = total - weight * each
    return total


def sft_weight(kinds: Sequence[str], weights: Sequence[float]) -> float:
    """What the supervised loss on the chosen answers counts beside the others; 0 without it."""
    return sum(weight for kind, weight in zip(kinds, weights, strict=True) if kind == SFT)


def sft_loss(sides: Sides, tokens: torch.Tensor | int | None) -> torch.Tensor:
    """Negative log likelihood of the chosen answers, by token.

    Args:
        sides: of the micro-batch.
        tokens: by how many to divide; None: by the chosen answers' own.
    """
    chosen, counted = sides.found.chunk(2)[0], sides.tokens.chunk(2)[0].sum()
    return -chosen.sum() / (counted if tokens is None else tokens)
