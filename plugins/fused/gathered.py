"""Fused blocks whose weights FSDP2 has cut: each runs inside its own module.

FSDP2 gathers a module's weights when the module is called, lets go of them when it returns, and
does both again around its backward. A block that ran beside its module would find shards. So the
module is called with what a block needs, and reads and runs its fused self while its weights are
whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from plugins.fused.causal_lm import put_before


class FusedLayer:
    """Goes before a decoder layer's class: called with ``run_fused``, it runs that."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        *args: Any,
        run_fused: Callable[[Any, torch.Tensor], torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> Any:
        """The fused block's output, or the layer's own."""
        if run_fused is None:
            return super().forward(hidden_states, *args, **kwargs)  # type: ignore[misc]
        return run_fused(self, hidden_states)


def run_inside(layers: Any) -> None:
    """Let the decoder's ``layers`` run fused when they are called, before FSDP2 wraps them."""
    for layer in layers:
        put_before(FusedLayer, layer)
