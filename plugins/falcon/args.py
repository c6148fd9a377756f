"""The `falcon:` block of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class FalconOptions(BaseModel):
    """How Falcon is trained; the defaults are right on any machine."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool = True
    """False trains with transformers' own Falcon, packing leaks and all: for comparison only."""

    block: Literal["auto", "plain"] = "auto"
    """auto: one fused autograd function a decoder block, where it can run; plain: the modules."""

    attention: Literal["auto", "flash", "plain"] = "auto"
    """auto: Triton over the documents, for heads that share a key and value, where it can run, in
    fused blocks and in the modules; flash: PyTorch's flash kernels over the documents, in fused
    blocks; plain: SDPA with a mask."""

    loss: Literal["auto", "plain"] = "auto"
    """auto: cross entropy fused with the language model head; plain: all logits at once."""

    kernels: Literal["auto", "plain"] = "auto"
    """auto: Triton for rotary embedding and LoRA on CUDA; plain: PyTorch."""

    memory: Literal["auto", "fast", "low"] = "auto"
    """fast: keep what the backward needs; low: keep only each block's input and recompute the
    rest; auto: fast for as many blocks as the card's free memory holds."""


class FalconArgs(BaseModel):
    """What the plugin adds to Axolotl's configuration."""

    falcon: FalconOptions = Field(default_factory=FalconOptions)
