"""Training mode and cleared gradients without PyTorch's way through every module.

The Trainer calls ``model.train()`` in every micro-step and ``model.zero_grad()`` in every step.
PyTorch does both by way of every module: of a Llama-7B under PEFT, 2,665 of them, 7.3 and 3.4 ms on
a core of 2.6 GHz, where a step of 4,096 tokens takes an H200 215. Where a step is logged the GPU
waits for them.
"""

from __future__ import annotations

from typing import Self

from torch import nn


class QuickModes:
    """Goes before a model's class in its bases."""

    def train(self, mode: bool = True) -> Self:
        """As PyTorch's, and over at once where every module has that mode already."""
        if all(module.training is mode for module in _modules(self)):
            return self
        return super().train(mode)  # type: ignore[misc, no-any-return]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As PyTorch's."""
        if not set_to_none:
            return super().zero_grad(set_to_none)  # type: ignore[misc, no-any-return]
        for module in _modules(self):
            for parameter in module._parameters.values():
                if parameter is not None and parameter.grad is not None:
                    parameter.grad = None
        return None


def _modules(root: object) -> list[nn.Module]:
    """All modules, one that has two parents twice; without names, which is what takes the time."""
    assert isinstance(root, nn.Module)
    found = [root]
    for module in found:  # and its children, as they are added
        found += [child for child in module._modules.values() if child is not None]
    return found
