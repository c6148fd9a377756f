"""The backend whose frozen products are in fp8 on the way back; all else is the plain one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from plugins.fused import fp8
from plugins.fused.backend import Backend, full_weight
from plugins.fused.fp8 import FP8, Rows
from plugins.fused.products import Product, WideProduct
from plugins.fused.projection import Group


class Fp8Backend(Backend):
    """In plain PyTorch: the reference that the kernels are tested against."""

    name = "pytorch-fp8"
    joins_back = False  # gradients of adapters keep their own dtype

    def gradient(self, dout: torch.Tensor) -> Any:
        """dout [T, out] as `Rows`."""
        return self.quantize_rows(dout)

    def product(self, group: Any, dtype: torch.dtype) -> Product:
        """As `Backend.product`, of which the weights are made when they are multiplied by."""
        return Fp8Product(group, dtype, self)

    def quantize_rows(self, x: torch.Tensor) -> Rows:
        """x [T, width], rows any distance apart, in fp8 with a scale for each row."""
        return fp8.quantize_rows(x)

    def fill_flipped(
        self, out: torch.Tensor, weight: Any, base: nn.Module, inverse: torch.Tensor
    ) -> None:
        """Fill ``out`` with a frozen weight [out, in] times ``inverse``, its columns as rows.

        Args:
            out: fp8 [in, out], rows any distance apart.
            weight: 4-bit, 8-bit or plain.
            base: the layer that holds it.
            inverse: float32 without axes.
        """
        out.copy_((full_weight(weight, base, torch.float32) * inverse).to(FP8).T)


@dataclass(frozen=True)
class Fp8Product:
    """`plugins.fused.products.Product`: forward in the dtype of training, back in fp8.

    Attributes:
        group: whose frozen weights.
        dtype: of results.
        backend: that makes the weights.
    """

    group: Group
    dtype: torch.dtype
    backend: Fp8Backend

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """As `Product.forward`."""
        return self._wide().forward(x, bias)

    def with_adapters(
        self, x: torch.Tensor, u: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """As `Product.with_adapters`."""
        return self._wide().with_adapters(x, u, b, bias)

    def add_(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """As `Product.add_`."""
        return self._wide().add_(y, x)

    def backward(self, dout: Rows) -> torch.Tensor:
        """As `Product.backward`, [T, in]."""
        group, scale = self.group, self.group.fp8_scale
        flipped = torch.empty(group.width, group.out, dtype=FP8, device=scale.inverse.device)
        column = 0
        for part in group.parts:
            piece = flipped[:, column : column + part.out]
            self.backend.fill_flipped(piece, part.base.weight, part.base, scale.inverse)
            column += part.out
        return fp8.multiply(dout, flipped, scale.columns, self.dtype)

    def add_backward_(self, dx: torch.Tensor, dout: Rows) -> torch.Tensor:
        """As `Product.add_backward_`; the product is rounded to the dtype first."""
        return dx.add_(self.backward(dout))

    def _wide(self) -> WideProduct:
        return WideProduct(self.group.weight(self.dtype, self.backend))
