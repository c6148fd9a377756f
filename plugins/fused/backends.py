"""Which path each part takes on this machine, and why not the fast one."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict, dataclass

import torch

from plugins.falcon.args import FalconOptions
from plugins.fused.attention import flash_runs, shared_runs
from plugins.fused.backend import triton_runs
from recipes.runner.core.fallbacks import note_fallback


@dataclass(frozen=True)
class Paths:
    """The paths taken; False is transformers' or PyTorch's plain way.

    Attributes:
        block: blocks as one autograd function each.
        attention: ``shared`` by Triton; of a fused block also ``flash`` by PyTorch's kernels; or
            ``mask``.
        triton: a fused block's LoRA, norms, rotary embedding and 4-bit weights by Triton.
        loss: language model head and cross entropy fused.
        memory: how many blocks keep their activations: all (fast), none (low), or what fits (auto).
    """

    block: bool = False
    attention: str = "mask"
    triton: bool = False
    loss: bool = False
    memory: str = "auto"


_taken: dict[str, bool | str] = {}


def paths_taken() -> dict[str, bool | str]:
    """The paths of the model last set up in this process, ready for JSON; empty before."""
    return dict(_taken)


def choose_paths(
    options: FalconOptions,
    device: torch.device,
    dtype: torch.dtype,
    head_dim: int,
    sharded: str,
    not_fused: str,
) -> Paths:
    """Take every fast path that the options allow and the machine has; note the others.

    Args:
        options: the recipe's `falcon:` block.
        device: where the model trains.
        dtype: of the activations in training.
        head_dim: width of an attention head.
        sharded: FSDP or ZeRO-3 by name, empty when parameters are whole on every device.
        not_fused: why the blocks of this model can't be fused, empty when they can.
    """
    block = options.block == "auto"
    if block and sharded:
        note_fallback("falcon.block", "the modules", f"{sharded} gathers weights in their hooks")
        block = False
    if block and device.type != "cuda":
        note_fallback("falcon.block", "the modules in plain PyTorch", "there is no CUDA device")
        block = False
    if block and not_fused:
        note_fallback("falcon.block", "the modules", not_fused)
        block = False
    triton = device.type == "cuda" and options.kernels == "auto"
    if triton and (reason := triton_runs(device)):
        note_fallback("falcon.kernels", "plain PyTorch", reason)
        triton = False
    attention = "mask"
    if device.type == "cuda":
        attention = _choose_attention(options, device, dtype, head_dim, block, triton)
    loss = options.loss == "auto" and device.type == "cuda" and not sharded
    if loss and importlib.util.find_spec("liger_kernel") is None:
        note_fallback("falcon.loss", "all logits at once", "liger-kernel is not installed")
        loss = False
    if loss and (reason := triton_runs(device)):
        note_fallback("falcon.loss", "all logits at once", reason)
        loss = False
    paths = Paths(block, attention, block and triton, loss, options.memory)
    _taken.update(asdict(paths))
    return paths


def _choose_attention(
    options: FalconOptions,
    device: torch.device,
    dtype: torch.dtype,
    head_dim: int,
    block: bool,
    triton: bool,
) -> str:
    if options.attention == "plain":
        return "mask"
    if reason := flash_runs(device, dtype, head_dim):
        note_fallback("falcon.attention", "SDPA with a mask", reason)
        return "mask"
    # Only a fused block calls PyTorch's flash kernels over documents.
    kind, name = ("flash", "flash attention") if block else ("mask", "SDPA with a mask")
    if options.attention == "flash" and not block:
        note_fallback("falcon.attention", name, "only fused blocks call flash attention")
    if options.attention == "flash" or not triton:
        return kind
    if reason := shared_runs(head_dim):
        note_fallback("falcon.attention", name, reason)
        return kind
    return "shared"
