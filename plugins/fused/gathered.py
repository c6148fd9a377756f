"""Fused blocks and a loss whose weights FSDP2 or ZeRO-3 has cut: each runs inside its module.

Both gather a module's weights when the module is called, let go of them when it returns, and
do both again around its backward. A block that ran beside its module would find shards. So the
module is called with what a block needs, and reads and runs its fused self while its weights are
whole; so is the head with the loss.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from plugins.fused.causal_lm import RunsInside, put_before


class FusedLayer(RunsInside):
    """Goes before a decoder layer's class.

    Attributes:
        listed: its parameters with their names, where these stay the same objects.
    """

    listed: tuple[tuple[str, nn.Parameter], ...] | None = None

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """As PyTorch's, at once where they are listed.

        DeepSpeed asks some ten times a block and step, and PyTorch walks 40 modules under PEFT.
        """
        if self.listed is None or args or kwargs != {"recurse": True}:
            return super().named_parameters(*args, **kwargs)  # type: ignore[misc, no-any-return]
        return iter(self.listed)


def run_inside(layers: Any, head: Any) -> None:
    """Let a decoder's ``layers`` run fused when they are called, and the model's ``head`` make the
    loss, before they are wrapped."""
    if type(head) is nn.Linear:
        put_before(RunsInside, head)
    _gather_adapters_with_their_block()
    for layer in layers:
        put_before(FusedLayer, layer)
        for module in layer.modules():
            setattr(module, _IN_BLOCK, True)


def gather_whole_blocks(layers: Any) -> None:
    """Let ZeRO-3 gather each of ``layers`` as one, where it would go by the modules inside."""
    from deepspeed.utils import set_z3_leaf_module

    for layer in layers:
        set_z3_leaf_module(layer, True)
        layer.listed = tuple(layer.named_parameters())
        if any(parameter.requires_grad for parameter in layer.parameters()):
            layer.register_forward_pre_hook(_with_gradient)


def _with_gradient(layer: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Let the input of the lowest trained block want a gradient, which nobody reads.

    ZeRO-3 takes up a block's gradients when that of its input is there, and where none comes, as
    soon as that of its output is: too early, and weights are gone when gradients are added.
    """
    x, *others = args
    if x.requires_grad or not torch.is_grad_enabled():
        return args
    return x.detach().requires_grad_(), *others


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
