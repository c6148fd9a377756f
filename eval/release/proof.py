"""Do two models say the same? Logits on held-out conversations, and how far apart they may be."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch

CONVERSATIONS = 8
POSITIONS = 64
LONGEST = 256

# Unit roundoff: half the distance between neighbours, relative to the value (IEEE 754; bfloat16
# has 8 bits of significand, float16 11, float32 24).
ROUNDOFF = {"bf16": 2.0**-8, "fp16": 2.0**-11, "fp32": 2.0**-24}
# float32 arithmetic itself, in sums of thousands of terms taken in another order.
_ARITHMETIC = 1e-4
_SAFETY = 4.0
# Of what the adapter does to the logits, at most this share may be lost to rounding.
LARGEST_SHARE = 0.25


@dataclass(frozen=True)
class Distance:
    """How far one model's logits are from another's.

    Attributes:
        relative: root mean square of the differences over that of the reference's logits, each
            position's logits taken without their mean (softmax does not see it).
        largest: the largest single difference, in logits.
        same_choice: share of positions where both find the same token likeliest.
        positions: positions compared.
    """

    relative: float
    largest: float
    same_choice: float
    positions: int

    def to_json(self) -> dict[str, float]:
        """A plain dict."""
        return asdict(self)


@torch.inference_mode()
def logits_of(model: Any, rows: list[list[int]]) -> torch.Tensor:
    """Logits of the last positions of each row, float32 on the CPU, shape (positions, vocabulary).

    Args:
        model: a causal language model in eval mode.
        rows: token ids of each conversation; cut to the first `LONGEST`.
    """
    kept = []
    for ids in rows:
        ids = ids[:LONGEST]
        inputs = torch.tensor([ids], device=model.device)
        logits = model(input_ids=inputs, use_cache=False).logits[0, -POSITIONS:]
        kept.append(logits.float().cpu())
    return torch.cat(kept)


def distance(logits: torch.Tensor, reference: torch.Tensor) -> Distance:
    """Compare logits of the same positions, both float32 of shape (positions, vocabulary)."""
    left = logits - logits.mean(-1, keepdim=True)
    right = reference - reference.mean(-1, keepdim=True)
    difference = left - right
    return Distance(
        relative=float(difference.norm() / right.norm()),
        largest=float(difference.abs().max()),
        same_choice=float((left.argmax(-1) == right.argmax(-1)).float().mean()),
        positions=len(left),
    )


def tolerance(dtype: str, layers: int) -> float:
    """The largest relative distance of logits that rounding the merged weights explains.

    Merging rounds each weight once, by at most the unit roundoff of the dtype that it is kept in.
    The rounding errors of one layer are independent, so a layer's output is off by about that
    much relative to its size, and over ``layers`` layers the errors add up as a random walk: with
    the square root of their number. `_SAFETY` is the room for layers that pass less on than they
    take in. Models are compared in float32, so nothing else but the order of sums differs.

    Args:
        dtype: ``bf16``, ``fp16`` or ``fp32``: what the merged weights are kept in.
        layers: decoder layers.
    """
    return _SAFETY * ROUNDOFF[dtype] * math.sqrt(layers) + _ARITHMETIC


def problems(found: Distance, effect: Distance, dtype: str, layers: int) -> list[str]:
    """Why a merge does not pass, in words; empty when it does.

    Args:
        found: the merged model's distance from the adapter over the same base.
        effect: the plain base's distance from it: what the adapter does.
        dtype: what the merged weights are kept in.
        layers: decoder layers.
    """
    allowed = tolerance(dtype, layers)
    why = []
    if not found.relative <= allowed:  # also when it is not a number
        why.append(f"logits differ by {found.relative:.2g}, and {dtype} explains {allowed:.2g}")
    if not found.relative <= LARGEST_SHARE * effect.relative:
        why.append(
            f"logits differ by {found.relative:.2g}, and all that the adapter does is "
            f"{effect.relative:.2g}: {dtype} is too coarse for this adapter"
        )
    return why
