"""What the backward of an adapter needs, whichever backend runs it."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Adapted(NamedTuple):
    """An adapter in the backward.

    Attributes:
        du: [T, r], gradient of its inner activation, contiguous.
        a: [r, in], its first weight, in du's dtype.
        seed: of its dropout.
    """

    du: torch.Tensor
    a: torch.Tensor
    seed: int
