"""Frozen products in fp8 on the way back, by Triton's kernels and the card's own products."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from plugins.fused import fp8_kernels
from plugins.fused.fp8 import Rows
from plugins.fused.fp8_backend import Fp8Backend
from plugins.fused.triton_backend import TritonBackend


class Fp8TritonBackend(Fp8Backend, TritonBackend):
    """For weights of 4 bits only: see `plugins.fused.fp8.why_not_fp8`."""

    name = "triton-fp8"

    def quantize_rows(self, x: torch.Tensor) -> Rows:
        """As `Fp8Backend.quantize_rows`, by one kernel."""
        return fp8_kernels.quantize_rows(x)

    def fill_flipped(
        self, out: torch.Tensor, weight: Any, base: nn.Module, inverse: torch.Tensor
    ) -> None:
        """As `Fp8Backend.fill_flipped`, without a wider matrix between."""
        fp8_kernels.fill_flipped(out, weight, inverse)
