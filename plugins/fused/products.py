"""A group's frozen weights as the block multiplies by them, in whatever numbers that happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch


class Product(Protocol):
    """The frozen weights W of one group, made anew for a pass.

    [out, in]; of a joined `Group` [out, in + r], but where `Backend.joins_back` is False on the
    way back.
    """

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """x @ W.T plus a bias [out], [T, out]."""

    def with_adapters(
        self, x: torch.Tensor, u: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """As `forward`, plus u @ b.T for inner activations u [T, r] and b [out, r]."""

    def add_(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """y [T, out] plus x @ W.T, in the memory of y."""

    def backward(self, dout: Any) -> torch.Tensor:
        """dout @ W, [T, in], for dout [T, out] as `Backend.gradient` gives it."""

    def add_backward_(self, dx: torch.Tensor, dout: Any) -> torch.Tensor:
        """dx [T, in] plus dout @ W, in the memory of dx."""


@dataclass(frozen=True)
class WideProduct:
    """In the dtype of the activations; sums go into the product's own accumulators.

    Attributes:
        weight: [out, in], or [out, in + r] where adapters take part (`Group`, "joined").
    """

    weight: torch.Tensor

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """As `Product.forward`."""
        return x @ self.weight.T if bias is None else torch.addmm(bias, x, self.weight.T)

    def with_adapters(
        self, x: torch.Tensor, u: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """As `Product.with_adapters`."""
        out = (u @ b.T).addmm_(x, self.weight.T)
        return out if bias is None else out.add_(bias)

    def add_(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """As `Product.add_`."""
        return y.addmm_(x, self.weight.T)

    def backward(self, dout: torch.Tensor) -> torch.Tensor:
        """As `Product.backward`."""
        return dout @ self.weight

    def add_backward_(self, dx: torch.Tensor, dout: torch.Tensor) -> torch.Tensor:
        """As `Product.add_backward_`."""
        return dx.addmm_(dout, self.weight)
