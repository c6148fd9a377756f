"""Fused blocks whose weights FSDP2 has cut: each runs inside its own module.

FSDP2 gathers a module's weights when the module is called, lets go of them when it returns, and
does both again around its backward. A block that ran beside its module would find shards. So the
module is called with what a block needs, and reads and runs its fused self while its weights are
whole.
"""

from __future__ import annotations

import functools
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
    _gather_adapters_with_their_block()
    for layer in layers:
        put_before(FusedLayer, layer)
        for module in layer.modules():
            setattr(module, _IN_BLOCK, True)


_IN_BLOCK = "gathered_with_its_block"


def _gather_adapters_with_their_block() -> None:
    """Let Axolotl cut a fused block as one unit.

    It makes one of every adapter's weight besides, whose module gathers it when it is called; a
    fused block calls none of them.
    """
    try:
        from axolotl.monkeypatch.accelerate import fsdp2

        plain = fsdp2._process_lora_module_for_fsdp
    except (ImportError, AttributeError):  # another Axolotl, which may do without
        return
    if getattr(plain, _IN_BLOCK, False):
        return

    @functools.wraps(plain)
    def process(module: Any, *args: Any, **kwargs: Any) -> Any:
        return False if getattr(module, _IN_BLOCK, False) else plain(module, *args, **kwargs)

    setattr(process, _IN_BLOCK, True)
    fsdp2._process_lora_module_for_fsdp = process
